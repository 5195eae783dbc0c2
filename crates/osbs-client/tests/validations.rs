//! Every check of a request, as a table: what was asked, whose fault it is, and what is said.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod repository;

use osbs_client::git::Git;
use osbs_client::{BuildRequest, ClientError, Osbs, OsbsParts, ReactorConfigText, TokenSource, WorkerBuildRequest};
use osbs_cluster::{Cluster, MemoryCluster, Script, SecretData};
use osbs_config::{OsbsConf, Settings};
use osbs_types::{ErrorKind, Secret};
use repository::{DOCKERFILE, Repository};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

struct Site {
    osbs: Osbs,
    cluster: MemoryCluster,
    _folder: tempfile::TempDir,
}

fn try_site(lines: &str) -> Result<Site, ClientError> {
    let cluster = MemoryCluster::new("osbs", |_| Script::holds());
    let folder = tempfile::tempdir().unwrap();
    let conf = OsbsConf::parse(&format!("[default]\n{lines}\n"), "osbs.conf")?.value;
    let osbs = Osbs::new(OsbsParts {
        settings: Settings::new(Some(conf), "default", BTreeMap::new(), BTreeMap::new()),
        cluster: Arc::new(cluster.clone()),
        reactor_config: ReactorConfigText { text: "version: 1".to_owned(), origin: "config.yaml".to_owned() },
        git: Git { retry_after: Vec::new(), ..Git::new("/usr/bin:/bin") },
        scratch_dir: folder.path().join("clones"),
        default_max_concurrent_builds: 4,
    })?;
    Ok(Site { osbs, cluster, _folder: folder })
}

fn site(lines: &str) -> Site {
    try_site(lines).unwrap_or_else(|error| panic!("{lines}: {error}"))
}

fn request(repository: &Repository) -> BuildRequest {
    BuildRequest {
        git_uri: repository.uri(),
        git_ref: "f40".into(),
        git_branch: Some("f40".into()),
        user: Some("alice".into()),
        platforms: vec!["x86_64".parse().unwrap()],
        ..BuildRequest::default()
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Api {
    Orchestrator,
    Worker,
    Prod,
}

async fn create(site: &Site, api: Api, request: &BuildRequest) -> Result<(), ClientError> {
    let cancel = CancellationToken::new();
    match api {
        Api::Orchestrator => site.osbs.create_orchestrator_build(request, &cancel).await.map(drop),
        Api::Worker => site.osbs.create_lone_worker_build(request, &cancel).await.map(drop),
        Api::Prod => site.osbs.create_prod_build(request, &"x86_64".parse().unwrap(), &cancel).await.map(drop),
    }
}

const ON: &str = "can_orchestrate = true";
const NOT_SAID: &str = "build_host = b";

/// A change of a good request.
type Change = fn(&mut BuildRequest);

#[tokio::test]
#[rustfmt::skip]
async fn requests() {
    use Api::{Orchestrator, Prod, Worker};
    use ErrorKind::{Policy, User};
    let cases: &[(Api, &str, Change, ErrorKind, &str)] = &[
        (Orchestrator, NOT_SAID, |_| {}, Policy, "instance \"default\" may not create orchestrator builds: can_orchestrate is not true"),
        (Orchestrator, "can_orchestrate = yes", |_| {}, Policy, "instance \"default\" may not create orchestrator builds: can_orchestrate is not true"),
        (Orchestrator, ON, |r| *r = BuildRequest::default(), User, "an orchestrator build needs: git_branch, git_ref, git_uri, user"),
        (Orchestrator, ON, |r| r.git_branch = Some(String::new()), User, "an orchestrator build needs: git_branch"),
        (Orchestrator, "can_orchestrate = true\narrangement_version = 1", |r| r.platforms.clear(), User, "an orchestrator build needs: platforms"),
        (Orchestrator, ON, |r| { r.arrangement_version = Some(5); r.platforms.clear(); }, User, "an orchestrator build needs: platforms"),
        (Orchestrator, ON, |r| r.platform = Some("x86_64".parse().unwrap()), User, "an orchestrator build takes no platform"),
        (Orchestrator, ON, |r| r.arrangement_version = Some(0), User, "arrangement_version \"0\" cannot be used: expected 1 to 6 (there is no orchestrator_inner:0.json)"),
        (Orchestrator, ON, |r| r.arrangement_version = Some(7), User, "arrangement_version \"7\" cannot be used: expected 1 to 6 (there is no orchestrator_inner:7.json)"),
        (Orchestrator, ON, |r| { r.scratch = true; r.isolated = true; }, User, "scratch and isolated exclude each other"),
        (Orchestrator, ON, |r| { r.scratch = true; r.is_auto = true; }, User, "scratch and is_auto exclude each other"),
        (Orchestrator, ON, |r| { r.is_auto = true; r.isolated = true; }, User, "is_auto and isolated exclude each other"),
        (Orchestrator, "can_orchestrate = true\nscratch = true", |r| r.is_auto = true, User, "scratch and is_auto exclude each other"),
        (Orchestrator, ON, |r| { r.flatpak = true; r.isolated = true; }, User, "flatpak and isolated exclude each other"),
        (Orchestrator, ON, |r| { r.signing_intent = Some("release".into()); r.compose_ids = vec![1]; }, User, "signing_intent and compose_ids exclude each other"),
        (Orchestrator, ON, |r| r.isolated = true, User, "release \"\" cannot be used: expected N.N or N.N.SUFFIX, which an isolated build needs"),
        (Orchestrator, ON, |r| { r.isolated = true; r.release = Some("1".into()); }, User, "release \"1\" cannot be used: expected N.N or N.N.SUFFIX, which an isolated build needs"),
        (Orchestrator, ON, |r| { r.isolated = true; r.release = Some("1.x".into()); }, User, "release \"1.x\" cannot be used: expected N.N or N.N.SUFFIX, which an isolated build needs"),
        (Orchestrator, ON, |r| r.release = Some("beta".into()), User, "release \"beta\" cannot be used: expected a number, then letters and digits, with '.' or '_' between"),
        (Orchestrator, ON, |r| r.yum_repourls = vec!["repo".into()], User, "yum_repourls \"repo\" cannot be used: expected an http or https URL of a file with package repositories"),
        (Orchestrator, ON, |r| r.yum_repourls = vec!["https://good/x.repo".into(), "file:///etc/x".into()], User, "yum_repourls \"file:///etc/x\" cannot be used: expected an http or https URL of a file with package repositories"),
        (Orchestrator, ON, |r| r.yum_repourls = vec!["ftp://me:hunter2@h/x".into()], User, "yum_repourls \"ftp://***@h/x\" cannot be used: expected an http or https URL of a file with package repositories"),
        (Orchestrator, "can_orchestrate = true\nyum_repourls = nothing", |_| {}, User, "yum_repourls \"nothing\" cannot be used: expected an http or https URL of a file with package repositories"),
        (Orchestrator, ON, |r| r.koji_parent_build = Some("base".into()), User, "koji_parent_build \"base\" cannot be used: expected a Koji build, as name-version-release"),
        (Orchestrator, ON, |r| r.user = Some("A B".into()), User, "user \"A B\" cannot be used: expected lower-case letters and digits, with single '.', '_' or '-' between, since it is part of an image name"),
        (Orchestrator, ON, |r| r.target = Some("f 40".into()), User, "target"),
        (Orchestrator, ON, |r| r.git_branch = Some("nope".into()), User, "nope"),
        (Orchestrator, ON, |r| r.git_ref = "nope".into(), User, "nope"),
        (Worker, ON, |r| *r = BuildRequest::default(), User, "a worker build needs: arrangement_version, git_branch, git_ref, git_uri, platform, release, user"),
        (Worker, ON, |r| r.platform = Some("x86_64".parse().unwrap()), User, "a worker build needs: arrangement_version, release"),
        (Worker, ON, |r| { r.platform = Some("x86_64".parse().unwrap()); r.release = Some("1".into()); r.arrangement_version = Some(6); }, User, "a worker build takes no platforms"),
        (Prod, ON, |_| {}, User, "a build without orchestrator takes no platforms"),
        (Prod, ON, |r| { r.platforms.clear(); r.release = Some("1".into()); }, User, "a build without orchestrator takes no release"),
        (Prod, ON, |r| { r.platforms.clear(); r.arrangement_version = Some(1); }, User, "a build without orchestrator takes no arrangement_version"),
        (Prod, ON, |r| { r.platforms.clear(); r.platform = Some("x86_64".parse().unwrap()); }, User, "a build without orchestrator takes no platform"),
        (Prod, ON, |r| { r.platforms.clear(); r.architecture = Some("x-y".into()); }, User, "architecture \"x-y\" cannot be used: expected a platform name: letters, digits and _ only"),
        (Prod, NOT_SAID, |r| r.platforms.clear(), Policy, "instance \"default\" may not create orchestrator builds: can_orchestrate is not true"),
    ];
    let repository = Repository::new(&[("Dockerfile", DOCKERFILE)]);
    for (api, conf, change, kind, text) in cases {
        let site = site(conf);
        let mut asked = request(&repository);
        change(&mut asked);
        let error = create(&site, *api, &asked).await.expect_err(text);
        let failure = error.to_failure();
        assert!(failure.to_string().contains(text), "{text:?} is not in\n{failure}");
        assert_eq!(failure.kind, *kind, "{failure}");
        assert!(!failure.to_string().contains("hunter2"), "{failure}");
        let builds = site.osbs.list_builds(false, None, BTreeMap::new()).await.unwrap();
        assert!(builds.is_empty(), "{text}: a build was made");
    }
}

#[tokio::test]
#[rustfmt::skip]
async fn repositories() {
    let label = |text: &str| format!("FROM fedora:40\nLABEL {text}\n");
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("README", "")], "there is no Dockerfile in the top folder of"),
        (&[("Dockerfile", &label("a=b"))], "the Dockerfile lacks the labels name, com.redhat.component, version"),
        (&[("Dockerfile", &label("name=a version=1"))], "the Dockerfile lacks the label com.redhat.component"),
        (&[("Dockerfile", &label("Name=a BZComponent=b"))], "the Dockerfile lacks the label version"),
        (&[("Dockerfile", &label("name=reg.io/a com.redhat.component=b version=1"))], "label name=\"reg.io/a\" cannot be used"),
        (&[("Dockerfile", &label("name=a com.redhat.component=b version=1 release=x"))], "label release=\"x\" cannot be used"),
        (&[("Dockerfile", &label("name=a com.redhat.component=\"\" version=1"))], "label com.redhat.component=\"\" cannot be used"),
        (&[("Dockerfile", &label("name=a com.redhat.component=B version=1"))], "label com.redhat.component \"B\" cannot be used"),
        (&[("Dockerfile", "LABEL name=a com.redhat.component=b version=1\n")], "Dockerfile:1"),
        (&[("Dockerfile", DOCKERFILE), ("container.yaml", "tags: x\n")], "container.yaml:1:7"),
        (&[("Dockerfile", &label("name=a com.redhat.component=b version=1 release=1")), (".osbs-repo-config", "[autorebuild]\nenabled = true\n")],
         "sets the label release, which a repository with autorebuild enabled must not"),
    ];
    for (files, text) in cases {
        let repository = Repository::new(files);
        let error = create(&site(ON), Api::Orchestrator, &request(&repository)).await.expect_err(text);
        let failure = error.to_failure();
        assert!(failure.to_string().contains(text), "{text:?} is not in\n{failure}");
        assert_eq!(failure.kind, ErrorKind::User, "{failure}");
    }
}

#[test]
#[rustfmt::skip]
fn configurations() {
    for (line, text) in [
        ("arrangement_version = 7", "\"7\" is not 1 to 6"),
        ("arrangement_version = new", "\"new\" is not 1 to 6"),
        ("build_image = a\nbuild_imagestream = b:c", "only one of build_from, build_image and build_imagestream may be set"),
        ("build_from = docker:a", "\"docker:a\" is not image:PULLSPEC or imagestream:STREAM:TAG"),
        ("token_secrets = a: b:/ c", "\"a:\" is not SECRET or SECRET:PATH"),
        ("equal_labels = a:b, c", "groups of two or more labels"),
        ("registry_uri = r.example/v1", "v1, which is not supported"),
        ("registry_api_versions = v1", "a list with v2 in it"),
        ("scratch_build_node_selector = None", "LABEL=VALUE"),
        ("node_selector.x86_64 = a=b,", "LABEL=VALUE"),
        ("verify_ssl = yes", "\"yes\" is not true or false"),
        ("cpu_limit = many", "a quantity"),
    ] {
        let Err(error) = try_site(line) else { panic!("{line} was taken") };
        let failure = error.to_failure();
        assert!(failure.to_string().contains(text), "{text:?} is not in\n{failure}");
        assert_eq!(failure.kind, ErrorKind::Policy, "{failure}");
        assert_eq!(failure.position.as_ref().map(|at| at.file.as_str()), Some("osbs.conf"), "{failure}");
    }
}

#[tokio::test]
async fn worker_parameters() {
    let good = json!({"git_uri": "https://h/web.git", "git_ref": "c0ffee", "git_branch": "f40", "user": "alice",
                      "component": "web"});
    let cases: &[(Value, &str, u32, &str)] = &[
        (json!({}), "", 6, "a worker build needs: release"),
        (json!({}), "1", 0, "arrangement_version \"0\" cannot be used: expected 1 to 6"),
        (json!({}), "1", 9, "arrangement_version \"9\" cannot be used: expected 1 to 6"),
        (json!({"platforms": ["x86_64"]}), "1", 6, "a worker build takes no platforms"),
        (json!({"git_uri": null}), "1", 6, "the required key \"git_uri\" is missing"),
        (json!({"user": ""}), "1", 6, "the required key \"user\" is missing"),
        (json!({"git_ref": 7}), "1", 6, "git_ref: expected a text"),
        (json!({"yum_repourls": "https://r"}), "1", 6, "yum_repourls: expected a list"),
        (json!({"scratch": "true"}), "1", 6, "scratch: expected true or false"),
        (json!({"koji_task_id": "x"}), "1", 6, "koji_task_id: expected a whole number"),
        (json!({"user": "A"}), "1", 6, "user \"A\" cannot be used"),
    ];
    for (changes, release, version, text) in cases {
        let mut parameters = good.as_object().unwrap().clone();
        parameters.extend(changes.as_object().unwrap().clone());
        let worker = WorkerBuildRequest {
            platform: "x86_64".parse().unwrap(),
            release: (*release).to_owned(),
            arrangement_version: *version,
            parameters,
            parent: None,
            slots: None,
        };
        let error = site(ON).osbs.create_worker_build(&worker).await.expect_err(text);
        let failure = error.to_failure();
        assert!(failure.to_string().contains(text), "{text:?} is not in\n{failure}");
        assert_eq!(failure.kind, ErrorKind::User, "{failure}");
    }
}

#[tokio::test]
async fn what_the_file_says_is_asked_where_nobody_says_more() {
    let repository = Repository::new(&[("Dockerfile", DOCKERFILE)]);
    let lines = format!(
        "can_orchestrate = true\ngit_url = {}\ngit_branch = f40\nuser = bob\ntarget = t\nyum_repourls = https://h/a.repo, http://h/b.repo",
        repository.uri()
    );
    let site = site(&lines);
    let cancel = CancellationToken::new();
    let build = site.osbs.create_orchestrator_build(&BuildRequest::default(), &cancel).await.unwrap().build;
    let params: Value = serde_json::from_str(&build.env["USER_PARAMS"]).unwrap();
    assert_eq!(params["yum_repourls"], json!(["https://h/a.repo", "http://h/b.repo"]));
    assert_eq!((&params["user"], &params["koji_target"]), (&json!("bob"), &json!("t")));
}

#[tokio::test]
async fn lone_builds() {
    let repository = Repository::new(&[("Dockerfile", DOCKERFILE)]);
    let site = site("can_orchestrate = true\narchitecture = ppc64le");
    let cancel = CancellationToken::new();
    let asked = BuildRequest { platforms: Vec::new(), ..request(&repository) };
    let prod = site.osbs.create_prod_build(&asked, &"x86_64".parse().unwrap(), &cancel).await.unwrap().build;
    let lists: Value = serde_json::from_str(&prod.env["ATOMIC_REACTOR_PLUGINS"]).unwrap();
    let args = &lists["buildstep_plugins"][0]["args"];
    assert_eq!((&args["platforms"], &args["build_kwargs"]["arrangement_version"]), (&json!(["ppc64le"]), &json!(1)));

    let asked = BuildRequest {
        platform: Some("x86_64".parse().unwrap()),
        release: Some("7".into()),
        arrangement_version: Some(6),
        ..asked
    };
    let worker = site.osbs.create_lone_worker_build(&asked, &cancel).await.unwrap().build;
    assert!(worker.parent.is_none() && worker.name.as_str().starts_with("worker-"), "{}", worker.name);
    let params: Value = serde_json::from_str(&worker.env["USER_PARAMS"]).unwrap();
    for (key, value) in [
        ("build_type", json!("worker")),
        ("component", json!("web-container")),
        ("release", json!("7")),
        ("platform", json!("x86_64")),
        ("git_ref", json!(repository.git(&["rev-parse", "HEAD"]))),
    ] {
        assert_eq!(params[key], value, "{key}");
    }
}

#[tokio::test]
async fn config_maps_hold_json() {
    let site = site(ON);
    let data = json!({"metadata.json": {"a": [1]}, "x": "text"});
    site.osbs.create_config_map("md", data.as_object().unwrap()).await.unwrap();
    assert_eq!(site.cluster.get_config_map("md").await.unwrap()["x"], "\"text\"");
    let map = site.osbs.get_config_map("md").await.unwrap();
    assert_eq!(Value::Object(map.data()), data);
    assert_eq!(map.data_by_key("metadata.json"), json!({"a": [1]}));
    assert_eq!(map.data_by_key("nope"), json!({}));
    site.osbs.delete_config_map("md").await.unwrap();
    site.osbs.delete_config_map("md").await.unwrap();
    let error = site.osbs.get_config_map("md").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::User, "there is no ConfigMap md in namespace osbs")
    );
}

#[tokio::test]
async fn tokens() {
    for (lines, source) in [
        ("token = hunter2\ntoken_file = /t", TokenSource::Given(Secret::new("hunter2"))),
        ("token_file = /t", TokenSource::File("/t".into())),
        (ON, TokenSource::Login),
    ] {
        let found = TokenSource::of(site(lines).osbs.instance());
        assert_eq!(found, source);
        assert!(!format!("{found:?}").contains("hunter2"));
    }
    let site = site(ON);
    for (name, key) in [("builder-token-x1", "token"), ("builder-dockercfg", "token"), ("builder-token-y", "other")] {
        site.cluster.put_secret(name, &SecretData::new().with(key, "hunter3\n")).await.unwrap();
    }
    let tokens = site.osbs.get_serviceaccount_tokens("builder").await.unwrap();
    assert_eq!(tokens, [("builder-token-x1".to_owned(), Secret::new("hunter3"))]);
    let error = site.osbs.get_serviceaccount_tokens("build").await.unwrap_err();
    assert!(error.to_string().contains("service account build has no token"), "{error}");
}
