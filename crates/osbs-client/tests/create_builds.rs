//! From a request to a build in a cluster: real git repositories, the in-memory cluster.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod repository;

use futures_util::TryStreamExt;
use osbs_client::git::Git;
use osbs_client::{BuildRequest, ClientError, Osbs, OsbsParts, ReactorConfigText, WorkerBuildRequest};
use osbs_cluster::{Build, Cluster, MemoryCluster, Script, SecretData, Slots};
use osbs_config::{OsbsConf, Settings};
use osbs_types::{BuildState, BuildType, ErrorKind, EventKind, Level, LogLine};
use repository::{DOCKERFILE, Repository};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

const CONFIG: &str = "version: 1\nclusters:\n  x86_64: [{name: local, max_concurrent_builds: 2}]\n";

struct Site {
    osbs: Osbs,
    cluster: MemoryCluster,
    folder: tempfile::TempDir,
}

impl Site {
    /// An instance whose section of osbs.conf has these lines.
    fn new(lines: &str) -> Self {
        let cluster = MemoryCluster::new("osbs", |_| Script::holds());
        let folder = tempfile::tempdir().unwrap();
        let conf = OsbsConf::parse(&format!("[default]\n{lines}"), "osbs.conf").unwrap().value;
        let osbs = Osbs::new(OsbsParts {
            settings: Settings::new(Some(conf), "default", BTreeMap::new(), BTreeMap::new()),
            cluster: Arc::new(cluster.clone()),
            reactor_config: ReactorConfigText { text: CONFIG.to_owned(), origin: "config.yaml".to_owned() },
            git: Git { retry_after: Vec::new(), ..Git::new("/usr/bin:/bin") },
            scratch_dir: folder.path().join("clones"),
            default_max_concurrent_builds: 4,
        });
        Self { osbs: osbs.unwrap(), cluster, folder }
    }

    async fn create(&self, request: &BuildRequest) -> Result<Build, ClientError> {
        let submitted = self.osbs.create_orchestrator_build(request, &CancellationToken::new()).await?;
        let clones = self.folder.path().join("clones");
        assert_eq!(std::fs::read_dir(clones).map_or(0, Iterator::count), 0, "a clone was left behind");
        Ok(submitted.build)
    }

    async fn refused(&self, request: &BuildRequest) -> ClientError {
        let error = self.create(request).await.unwrap_err();
        assert!(self.osbs.list_builds(false, None, BTreeMap::new()).await.unwrap().is_empty(), "a build was made");
        error
    }
}

fn request(repository: &Repository) -> BuildRequest {
    BuildRequest {
        git_uri: repository.uri(),
        git_ref: "f40".into(),
        git_branch: Some("f40".into()),
        user: Some("alice".into()),
        platforms: vec!["x86_64".parse().unwrap(), "aarch64".parse().unwrap()],
        ..BuildRequest::default()
    }
}

fn user_params(build: &Build) -> Value {
    serde_json::from_str(&build.env["USER_PARAMS"]).unwrap()
}

#[tokio::test]
async fn arrangement_6() {
    let repository = Repository::new(&[("Dockerfile", DOCKERFILE), ("additional-tags", "stable\n")]);
    let site = Site::new("can_orchestrate = true\nmax_concurrent_builds = 3\ncpu_limit = 100m\n");
    let build =
        site.create(&BuildRequest { target: Some("f40-candidate".into()), ..request(&repository) }).await.unwrap();
    assert_eq!((build.build_type, build.number), (BuildType::Orchestrator, Some(1)));
    let folder = repository.path().file_name().unwrap().to_str().unwrap().to_owned();
    assert!(build.name.as_str().ends_with("-1"), "{}", build.name);
    assert_eq!(build.slots, Some(Slots { group: "orchestrator".into(), max: 3 }));
    assert_eq!(build.limits.cpu.as_deref(), Some("100m"));
    assert_eq!(build.labels["is_autorebuild"], "false");
    assert_eq!(build.labels["git-branch"], "f40");
    let allowed: String =
        folder.chars().filter(|c| "-.".contains(*c) || c.is_ascii_lowercase() || c.is_ascii_digit()).collect();
    assert_eq!(build.labels["git-repo-name"], allowed);
    assert_eq!(build.annotations["commit_id"], repository.git(&["rev-parse", "HEAD"]));
    assert!(build.output_image.starts_with("alice/web-container:f40-candidate-"), "{}", build.output_image);
    assert_eq!(build.source.git_ref, build.annotations["commit_id"], "the branch may move while the build waits");
    assert_eq!(build.env.keys().collect::<Vec<_>>(), ["REACTOR_CONFIG", "USER_PARAMS"]);
    assert_eq!(build.env["REACTOR_CONFIG"], CONFIG);
    let params = user_params(&build);
    for (key, value) in [
        ("build_type", json!("orchestrator")),
        ("arrangement_version", json!(6)),
        ("base_image", json!("fedora:40")),
        ("component", json!("web-container")),
        ("koji_target", json!("f40-candidate")),
        ("additional_tags", json!(["stable"])),
        ("platforms", json!(["x86_64", "aarch64"])),
        ("image_tag", json!(build.output_image)),
        ("scratch", Value::Null),
    ] {
        assert_eq!(params.get(key).cloned().unwrap_or_default(), value, "{key}");
    }
}

#[tokio::test]
async fn arrangements_1_to_5() {
    let repository = Repository::new(&[("Dockerfile", DOCKERFILE)]);
    for version in 1..=5 {
        let site = Site::new(&format!("can_orchestrate = true\narrangement_version = {version}\n"));
        let build = site.create(&request(&repository)).await.unwrap();
        assert_eq!(build.env.keys().collect::<Vec<_>>(), ["ATOMIC_REACTOR_PLUGINS", "REACTOR_CONFIG"]);
        let lists: Value = serde_json::from_str(&build.env["ATOMIC_REACTOR_PLUGINS"]).unwrap();
        let orchestrate = &lists["buildstep_plugins"][0];
        assert_eq!(orchestrate["name"], "orchestrate_build");
        assert_eq!(orchestrate["args"]["platforms"], json!(["x86_64", "aarch64"]));
        assert_eq!(orchestrate["args"]["build_kwargs"]["arrangement_version"], version);
    }
    let site = Site::new("can_orchestrate = true\narrangement_version = 1\n");
    let error = site.refused(&BuildRequest { platforms: Vec::new(), ..request(&repository) }).await;
    assert!(error.to_string().contains("needs: platforms"), "{error}");
}

#[tokio::test]
async fn builds_of_one_branch_queue() {
    let repository = Repository::new(&[("Dockerfile", DOCKERFILE)]);
    let site = Site::new("can_orchestrate = true\n");
    let first = site.create(&request(&repository)).await.unwrap();
    let second = site.create(&request(&repository)).await.unwrap();
    assert_eq!((first.build_config.clone(), second.number), (second.build_config.clone(), Some(2)));
    assert_eq!((first.state, second.state), (BuildState::Running, BuildState::Pending));
    assert_ne!(first.output_image, second.output_image);

    repository.git(&["branch", "f41"]);
    let other = BuildRequest { git_branch: Some("f41".into()), git_ref: "f41".into(), ..request(&repository) };
    assert_eq!(site.create(&other).await.unwrap().state, BuildState::Running);

    // Scratch builds wait for nobody.
    let scratch = site.create(&BuildRequest { scratch: true, ..request(&repository) }).await.unwrap();
    assert!(scratch.name.as_str().starts_with("scratch-") && scratch.flag("scratch"), "{}", scratch.name);
    assert_eq!(scratch.state, BuildState::Running);
}

#[tokio::test]
async fn isolated_builds() {
    let repository = Repository::new(&[("Dockerfile", DOCKERFILE)]);
    let site = Site::new("can_orchestrate = true\n");
    let isolated =
        |release: &str| BuildRequest { isolated: true, release: Some(release.into()), ..request(&repository) };
    let error = site.refused(&isolated("1")).await;
    assert!(error.to_string().contains("isolated"), "{error}");
    let build = site.create(&isolated("1.2")).await.unwrap();
    assert!(build.name.as_str().starts_with("isolated-"));
    assert_eq!(build.labels["isolated-release"], "1.2");
    let error = site.create(&isolated("1.2")).await.unwrap_err();
    assert!(matches!(&error, ClientError::IsolatedRunning { build: other } if *other == build.name), "{error}");
    site.create(&isolated("1.3")).await.unwrap();
}

#[tokio::test]
async fn a_koji_task_gets_one_build() {
    let repository = Repository::new(&[("Dockerfile", DOCKERFILE)]);
    let site = Site::new("can_orchestrate = true\n");
    let of_task = BuildRequest { koji_task_id: Some(7), ..request(&repository) };
    let first = site.create(&of_task).await.unwrap();
    assert_eq!(site.create(&of_task).await.unwrap().name, first.name);
    site.osbs.cancel_build(&first.name).await.unwrap();
    assert_ne!(site.create(&of_task).await.unwrap().name, first.name, "a cancelled one does not count");
    assert_eq!(site.osbs.list_builds(true, Some(7), BTreeMap::new()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn refused_requests() {
    let good = Repository::new(&[("Dockerfile", DOCKERFILE)]);
    let site = Site::new("can_orchestrate = true\n");
    let none = Repository::new(&[("README", "x")]);
    let no_from = Repository::new(&[("Dockerfile", "RUN true\n")]);
    let no_label = Repository::new(&[("Dockerfile", "FROM x\nLABEL name=web\n")]);
    let bad_yaml = Repository::new(&[("Dockerfile", DOCKERFILE), ("container.yaml", "platforms:\n  onyl: x86_64\n")]);
    let upper = Repository::new(&[("Dockerfile", &DOCKERFILE.replace("web-container", "Web"))]);
    let base = || request(&good);
    for (request, kind, contains) in [
        (request(&none), ErrorKind::User, "no Dockerfile"),
        (request(&no_from), ErrorKind::User, "Dockerfile"),
        (request(&no_label), ErrorKind::User, "com.redhat.component, version"),
        (request(&bad_yaml), ErrorKind::User, "container.yaml:2"),
        (request(&upper), ErrorKind::User, "label com.redhat.component \"Web\""),
        (BuildRequest { git_ref: "nope".into(), ..base() }, ErrorKind::User, "nope"),
        (BuildRequest { git_branch: None, ..base() }, ErrorKind::User, "needs: git_branch"),
        (BuildRequest { user: None, ..base() }, ErrorKind::User, "needs: user"),
        (BuildRequest { user: Some("A B".into()), ..base() }, ErrorKind::User, "user \"A B\""),
        (BuildRequest { platform: Some("x86_64".parse().unwrap()), ..base() }, ErrorKind::User, "takes no platform"),
        (BuildRequest { scratch: true, isolated: true, ..base() }, ErrorKind::User, "scratch and isolated"),
        (BuildRequest { arrangement_version: Some(9), ..base() }, ErrorKind::User, "arrangement_version \"9\""),
        (BuildRequest { release: Some("a-b".into()), ..base() }, ErrorKind::User, "release \"a-b\""),
    ] {
        let error = site.refused(&request).await;
        let failure = error.to_failure();
        assert_eq!(failure.kind, kind, "{failure}");
        assert!(failure.to_string().contains(contains), "{failure}");
    }
    let site = Site::new("vendor = x\n");
    let error = site.refused(&BuildRequest { git_ref: "nope".into(), ..base() }).await;
    assert!(matches!(error, ClientError::OrchestratorNotEnabled { .. }), "{error}");
    let failure = error.to_failure();
    assert_eq!(failure.kind, ErrorKind::Policy);
    assert!(failure.hint.unwrap().contains("section [default] of osbs.conf"));
}

#[tokio::test]
async fn configuration_from_the_cluster() {
    let repository = Repository::new(&[("Dockerfile", DOCKERFILE)]);
    let text = "version: 1\nrequired_secrets: [regcred]\nworker_token_secrets: [token]\n";
    let site = Site::new("can_orchestrate = true\nreactor_config_map = conf\n");
    let error = site.refused(&request(&repository)).await;
    assert!(error.to_string().contains("no ConfigMap conf"), "{error}");
    site.cluster.put_config_map("conf", &[("config.yaml".to_owned(), text.to_owned())].into()).await.unwrap();
    let error = site.refused(&request(&repository)).await;
    assert!(matches!(&error, ClientError::NoSecret { secret, .. } if secret == "regcred"), "{error}");
    for name in ["regcred", "token"] {
        site.cluster.put_secret(name, &SecretData::new().with("x", "y")).await.unwrap();
    }
    let build = site.create(&request(&repository)).await.unwrap();
    assert_eq!(build.env["REACTOR_CONFIG"], text);
    let mounts: Vec<_> = build.secrets.iter().map(|mount| mount.mount_path.as_str()).collect();
    assert_eq!(mounts, ["/var/run/secrets/atomic-reactor/regcred", "/var/run/secrets/atomic-reactor/token"]);

    let site = Site::new("can_orchestrate = true\nreactor_config_secret = conf\narrangement_version = 1\n");
    site.cluster.put_secret("conf", &SecretData::new().with("config.yaml", CONFIG)).await.unwrap();
    let build = site.create(&request(&repository)).await.unwrap();
    assert!(!build.env.contains_key("REACTOR_CONFIG"), "the reactor reads the secret");
    assert_eq!(build.secrets[0].secret, "conf");
}

fn worker(parameters: Value) -> WorkerBuildRequest {
    WorkerBuildRequest {
        platform: "x86_64".parse().unwrap(),
        release: "3".into(),
        arrangement_version: 6,
        parameters: parameters.as_object().unwrap().clone(),
        parent: Some("web-f40-9ab12-7".parse().unwrap()),
        slots: Some(Slots { group: "worker:local".into(), max: 2 }),
    }
}

#[tokio::test]
async fn worker_builds() {
    let site = Site::new("node_selector.x86_64 = arch=amd64\nexplicit_build_node_selector = kind=explicit\n");
    let parameters = json!({
        "git_uri": "https://git.example.com/web.git", "git_ref": "4f2c1d0", "git_branch": "f40", "user": "alice",
        "component": "web-container", "target": "f40-candidate", "scratch": false, "koji_task_id": null,
        "koji_upload_dir": "koji-upload/1.x", "is_auto": false, "git_push_url": "ignored",
        "reactor_config_override": {"version": 1, "registries": []},
    });
    let build = site.osbs.create_worker_build(&worker(parameters.clone())).await.unwrap();
    assert_eq!(build.name.as_str(), "web-f40-9ab12-7-x86_64");
    assert_eq!((build.build_type, build.parent.unwrap().as_str()), (BuildType::Worker, "web-f40-9ab12-7"));
    assert_eq!(build.slots.unwrap().group, "worker:local");
    assert!(build.output_image.starts_with("alice/web-container:f40-candidate-"));
    assert!(build.output_image.ends_with("-x86_64"));
    assert!(!build.labels.contains_key("is_autorebuild"));
    let selector: Vec<_> = build.node_selector.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(selector, ["arch=amd64", "kind=explicit"]);
    assert_eq!(build.env["REACTOR_CONFIG"], r#"{"version":1,"registries":[]}"#);
    let params: Value = serde_json::from_str(&build.env["USER_PARAMS"]).unwrap();
    assert_eq!(
        (&params["platform"], &params["release"], &params["koji_target"]),
        (&json!("x86_64"), &json!("3"), &json!("f40-candidate"))
    );
    assert!(params.get("reactor_config_override").is_none(), "it travels once");

    let again = site.osbs.create_worker_build(&worker(parameters.clone())).await.unwrap();
    assert_eq!(again.name.as_str(), "web-f40-9ab12-7-x86_64-2");

    let mut old = worker(parameters);
    old.arrangement_version = 1;
    let build = site.osbs.create_worker_build(&old).await.unwrap();
    let lists: Value = serde_json::from_str(&build.env["ATOMIC_REACTOR_PLUGINS"]).unwrap();
    assert!(lists["prebuild_plugins"].as_array().unwrap().iter().any(|plugin| plugin["name"] == "pull_base_image"));
    assert!(!build.output_image.ends_with("-x86_64"), "only from arrangement 4 on: {}", build.output_image);

    let mut bad = worker(json!({"git_uri": "u", "git_ref": "r", "user": "alice", "platforms": ["x86_64"]}));
    assert!(matches!(site.osbs.create_worker_build(&bad).await, Err(ClientError::Unwanted { .. })));
    bad.parameters.insert("platforms".into(), Value::Null);
    bad.release.clear();
    assert!(matches!(site.osbs.create_worker_build(&bad).await, Err(ClientError::Missing { .. })));
}

#[tokio::test]
async fn logs_by_platform() {
    let repository = Repository::new(&[("Dockerfile", DOCKERFILE)]);
    let site = Site::new("can_orchestrate = true\n");
    let build = site.create(&request(&repository)).await.unwrap();
    let relayed = |platform: &str, text: &str| {
        let mut line = LogLine::new("atomic_reactor.plugins.orchestrate_build", Level::Info, text);
        line.platform = Some(platform.to_owned());
        EventKind::Log(line)
    };
    let follow = site.osbs.get_orchestrator_build_logs(&build.name, true, false).await.unwrap();
    for kind in [
        EventKind::Log(LogLine::new("osbs", Level::Info, "own")),
        relayed("x86_64", "2024-01-02 03:04:05,678 platform:- - a.b - DEBUG - one"),
        relayed("aarch64", "plain"),
        relayed("x86_64", "two"),
    ] {
        site.cluster.emit(&build.name, kind);
    }
    site.cluster.finish(&build.name, BuildState::Complete, None);
    let followed: Vec<_> = follow.try_collect().await.unwrap();
    assert_eq!(followed.len(), 4);
    let logs = site.osbs.logs_by_platform(&build.name).await.unwrap();
    assert_eq!(logs[&Some("x86_64".to_owned())], "2024-01-02 03:04:05,678 - a.b - DEBUG - one\ntwo\n");
    assert_eq!(logs[&Some("aarch64".to_owned())], "plain\n");
    assert!(logs[&None].ends_with(" platform:- - osbs - INFO - own\n"), "{:?}", logs[&None]);

    let later = site.osbs.clone();
    let waiting = tokio::spawn(async move {
        later.get_orchestrator_build_logs(&"later".parse().unwrap(), false, true).await.map(drop)
    });
    assert!(site.osbs.get_orchestrator_build_logs(&"later".parse().unwrap(), false, false).await.is_err());
    let mut new = osbs_cluster::conformance::request(
        osbs_cluster::NameRule::Exact("later".parse().unwrap()),
        osbs_cluster::conformance::Behaviour::Complete,
    );
    new.slots = None;
    site.cluster.create_build(new).await.unwrap();
    waiting.await.unwrap().unwrap();
}
