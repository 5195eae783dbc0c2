//! Each rule by itself: a site and a request that need everything, then one thing after the other taken away
//! (`reactor.md` 1.3.3, 2.4, 2.5). What goes is compared with the whole list, so that nothing else may go.
//!
//! Three rules are ours: without a Koji hub `bump_release`, `koji_upload` and `fetch_maven_artifacts` stay; `pulp_push`
//! and `pulp_tag` are for image archives, which a site asks for; in arrangement 6 what has nothing to do is not run.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use osbs_arrangement::{PluginLists, RenderInput, prune_by_environment, render, render_user_params, template};
use osbs_config::{GeneralConfig, InstanceConfig, OsbsConf, ReactorConfig, Settings, UserParams};
use osbs_types::{BuildType, Phase};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const BOTH: [BuildType; 2] = [BuildType::Orchestrator, BuildType::Worker];

/// A request that leaves nothing out.
fn request(build_type: BuildType) -> UserParams {
    UserParams {
        build_type: Some(build_type),
        git_uri: "https://src.example.com/x".into(),
        git_ref: Some("main".into()),
        user: "me".into(),
        base_image: Some("fedora:40".into()),
        image_tag: Some("me/x:none-12345-20170601123045".into()),
        platforms: vec!["x86_64".parse().unwrap()],
        platform: (build_type == BuildType::Worker).then(|| "x86_64".parse().unwrap()),
        koji_target: Some("target".into()),
        koji_parent_build: Some("parent-1-1".into()),
        koji_upload_dir: Some("upload".into()),
        imagestream_name: Some("stream".into()),
        trigger_imagestreamtag: Some("stream:1".into()),
        operator_manifests_extract_platform: Some("x86_64".into()),
        filesystem_koji_task_id: Some(7),
        ..UserParams::default()
    }
}

type Change = fn(&mut UserParams);

/// One thing that is otherwise, and what follows from it.
struct Case {
    /// Lines of the configuration that begin so are left out, or `KEY = ` replaced by the whole text.
    config: &'static [&'static str],
    change: Change,
    /// What goes besides what is always gone.
    gone: &'static [&'static str],
    /// What is there that otherwise is not.
    came: &'static [&'static str],
}

fn case(gone: &'static [&'static str]) -> Case {
    Case { config: &[], change: |_| (), gone, came: &[] }
}

/// Without the lines that begin so.
fn without(config: &'static [&'static str], gone: &'static [&'static str]) -> Case {
    Case { config, ..case(gone) }
}

/// With another request.
fn with(change: Change, gone: &'static [&'static str]) -> Case {
    Case { change, ..case(gone) }
}

impl Case {
    fn and_come(self, came: &'static [&'static str]) -> Self {
        Self { came, ..self }
    }
}

/// Names of all phases, in order.
fn names(lists: &PluginLists) -> Vec<String> {
    let of = |phase: Phase| lists.phase(phase).iter().map(move |entry| format!("{phase} {}", entry.name));
    Phase::ALL.into_iter().flat_map(of).collect()
}

#[track_caller]
fn check_left(what: &str, version: u32, build_type: BuildType, left: &PluginLists, always: &[&str], case: &Case) {
    let mut gone: BTreeSet<&str> = always.iter().chain(case.gone).copied().collect();
    gone.retain(|name| !case.came.contains(name));
    let mut wanted = names(&template(build_type, version).unwrap());
    wanted.retain(|name| !gone.contains(name.split_once(' ').unwrap().1));
    assert_eq!(names(left), wanted, "arrangement {version}, {build_type}, {what}");
}

// --- 1 to 5 -------------------------------------------------------------------------------------------------------------

const CONF: &str = "koji_hub = hub
koji_root = root
registry_uri = https://reg.example.com
source_registry_uri = https://parents.example.com
pulp_registry_name = pulp
pulp_secret = pulpsecret
pulp_image_archives = true
odcs_url = odcs
smtp_host = mail
smtp_from = me@example.com
sources_command = fedpkg sources
reactor_config_secret = reactorconf
vendor = Ours
authoritative_registry = registry.example.com
distribution_scope = public
info_url_format = https://x/{name}
yum_proxy = http://proxy";

fn instance(case: &Case) -> InstanceConfig {
    let is_left_out =
        |line: &&str| !case.config.iter().any(|start| line.starts_with(start.split_inclusive('=').next().unwrap()));
    let added = case.config.iter().filter(|line| line.contains("= "));
    let lines: Vec<_> = CONF.lines().filter(is_left_out).chain(added.copied()).collect();
    let conf = OsbsConf::parse(&format!("[default]\n{}\n", lines.join("\n")), "osbs.conf").unwrap().value;
    Settings::new(Some(conf), "default", BTreeMap::new(), BTreeMap::new()).resolve().unwrap().value
}

fn rendered(version: u32, build_type: BuildType, case: &Case, triggers: bool) -> PluginLists {
    let mut params = request(build_type);
    (case.change)(&mut params);
    let input = RenderInput {
        build_type,
        arrangement_version: version,
        params: &params,
        config: &instance(case),
        general: &GeneralConfig::default(),
        platforms: &BTreeMap::new(),
        is_auto: false,
        triggers,
        config_in_environment: false,
        customization: None,
    };
    render(template(build_type, version).unwrap(), &input).unwrap().lists
}

const ALWAYS: [&str; 4] =
    ["add_filesystem", "resolve_module_compose", "flatpak_create_dockerfile", "flatpak_create_oci"];
const FLATPAK: [&str; 3] = ["resolve_module_compose", "flatpak_create_dockerfile", "flatpak_create_oci"];
const PULP: [&str; 6] = ["pulp_push", "pulp_tag", "pulp_sync", "pulp_publish", "pulp_pull", "delete_from_registry"];

fn cases() -> Vec<(&'static str, Case)> {
    vec![
        ("everything", case(&[])),
        ("no reactor_config_secret", without(&["reactor_config_secret"], &["reactor_config"])),
        ("no platforms", with(|it| it.platforms.clear(), &["orchestrate_build"])),
        ("flatpak", with(|it| it.flatpak = true, &["squash"]).and_come(&FLATPAK)),
        (
            "custom base image",
            with(
                |it| it.base_image = Some("koji/image-build:x.conf".into()),
                &["pull_base_image", "koji_parent", "inject_parent_image", "check_and_set_rebuild"],
            )
            .and_come(&["add_filesystem"]),
        ),
        (
            "no hub",
            without(
                &["koji_hub"],
                &["koji_parent", "inject_parent_image", "koji", "koji_promote", "koji_import", "koji_tag_build"],
            ),
        ),
        ("no root", without(&["koji_root"], &["koji"])),
        ("no koji_parent_build", with(|it| it.koji_parent_build = None, &["inject_parent_image"])),
        ("release", with(|it| it.release = Some("3".into()), &["bump_release"])),
        (
            "isolated",
            with(
                |it| (it.isolated, it.release) = (true, Some("3.1".into())),
                &["bump_release", "check_and_set_rebuild"],
            ),
        ),
        ("no odcs", without(&["odcs_url"], &["resolve_composes"])),
        ("repositories", with(|it| it.yum_repourls = vec!["http://r".into()], &["resolve_composes", "koji"])),
        ("no sources_command", without(&["sources_command"], &["distgit_fetch_artefacts"])),
        ("no target", with(|it| it.koji_target = None, &["koji", "koji_tag_build"])),
        ("no pulp", without(&["pulp_"], &PULP)),
        ("no archives", without(&["pulp_image_archives"], &["pulp_push", "pulp_tag"])),
        ("no registry", without(&["registry_uri"], &["pulp_sync", "delete_from_registry"])),
        (
            "the registry is the source",
            without(&["source_registry_uri = https://reg.example.com"], &["delete_from_registry"]),
        ),
        ("no image stream", with(|it| it.imagestream_name = None, &["import_image"])),
        ("no mail server", without(&["smtp_host"], &["sendmail"])),
        ("no sender", without(&["smtp_from"], &["sendmail"])),
    ]
}

#[test]
fn arrangements_1_to_5() {
    for version in 1..=5 {
        for build_type in BOTH {
            for (what, case) in cases() {
                check_left(what, version, build_type, &rendered(version, build_type, &case, true), &ALWAYS, &case);
            }
            let none = case(&["check_and_set_rebuild"]);
            check_left(
                "no triggers",
                version,
                build_type,
                &rendered(version, build_type, &none, false),
                &ALWAYS,
                &none,
            );
        }
    }
}

#[test]
fn scratch_builds_of_arrangements_1_to_5() {
    const GONE: [&str; 12] = [
        "koji_parent",
        "compress",
        "pulp_pull",
        "koji_upload",
        "fetch_worker_metadata",
        "compare_components",
        "import_image",
        "koji_promote",
        "koji_import",
        "koji_tag_build",
        "remove_worker_metadata",
        "check_and_set_rebuild",
    ];
    for version in 1..=5 {
        for build_type in BOTH {
            let scratch = with(|it| it.scratch = true, &GONE);
            let left = rendered(version, build_type, &scratch, true);
            // Templates without a place for suffixes.
            let always: Vec<_> = ALWAYS.into_iter().chain((version < 4).then_some("tag_from_config")).collect();
            check_left("scratch", version, build_type, &left, &always, &scratch);
            let unique = left.find("tag_by_labels").map(|entry| entry.args["unique_tag_only"].clone());
            assert!(unique.is_none_or(|unique| unique == json!(true)));
        }
    }
}

/// Plugin, argument, and its value in the orchestrator and in the worker; null: not there, or not that plugin.
type Argument = (&'static str, &'static str, Value, Value);

#[track_caller]
fn check_arguments(version: u32, orchestrator: &PluginLists, worker: &PluginLists, expected: Vec<Argument>) {
    for (plugin, argument, of_orchestrator, of_worker) in expected {
        for (lists, wanted, whose) in [(orchestrator, of_orchestrator, "orchestrator"), (worker, of_worker, "worker")] {
            let found = lists.find(plugin).and_then(|entry| entry.args.get(argument)).cloned().unwrap_or_default();
            assert_eq!(found, wanted, "arrangement {version}, {whose}: {plugin}.{argument}");
        }
    }
}

#[test]
fn arguments_of_arrangement_5() {
    let change: Change = |it| {
        it.release = Some("3".into());
        it.compose_ids = vec![5];
        it.signing_intent = Some("beta".into());
    };
    let [orchestrator, worker] = BOTH.map(|build_type| rendered(5, build_type, &with(change, &[]), true));
    let config = json!("/var/run/secrets/atomic-reactor/reactorconf");
    let labels = json!({"vendor": "Ours", "authoritative-source-url": "registry.example.com",
        "distribution-scope": "public", "release": "3"});
    let both = |plugin, argument, value: Value| (plugin, argument, value.clone(), value);
    let registries = json!({"reg.example.com": {"insecure": false}});
    let suffixes = json!({"unique": ["none-12345-20170601123045"], "primary": ["{version}-{release}"],
        "floating": ["latest", "{version}"]});
    let unique = json!({"unique": ["none-12345-20170601123045"], "primary": [], "floating": []});
    let none = Value::Null;
    check_arguments(
        5,
        &orchestrator,
        &worker,
        vec![
            ("reactor_config", "config_path", config, none.clone()),
            ("orchestrate_build", "platforms", json!(["x86_64"]), none.clone()),
            both("inject_parent_image", "koji_parent_build", json!("parent-1-1")),
            both("inject_parent_image", "koji_hub", json!("hub")),
            ("koji_parent", "koji_hub", json!("hub"), none.clone()),
            both("add_labels_in_dockerfile", "labels", labels),
            both("add_labels_in_dockerfile", "info_url_format", json!("https://x/{name}")),
            ("resolve_composes", "koji_target", json!("target"), none.clone()),
            ("resolve_composes", "compose_ids", json!([5]), none.clone()),
            ("resolve_composes", "signing_intent", json!("beta"), none.clone()),
            ("distgit_fetch_artefacts", "command", none.clone(), json!("fedpkg sources")),
            ("fetch_maven_artifacts", "koji_hub", none.clone(), json!("hub")),
            ("fetch_maven_artifacts", "koji_root", none.clone(), json!("root")),
            ("koji", "target", none.clone(), json!("target")),
            ("koji", "hub", none.clone(), json!("hub")),
            ("koji", "root", none.clone(), json!("root")),
            ("koji", "proxy", none.clone(), json!("http://proxy")),
            ("add_yum_repo_by_url", "repourls", none.clone(), json!([])),
            ("add_yum_repo_by_url", "inject_proxy", none.clone(), json!("http://proxy")),
            ("tag_from_config", "tag_suffixes", suffixes, unique),
            ("tag_and_push", "registries", none.clone(), registries.clone()),
            ("group_manifests", "registries", registries, none.clone()),
            ("koji_tag_build", "target", json!("target"), none.clone()),
            ("koji_upload", "koji_upload_dir", none.clone(), json!("upload")),
            ("koji_upload", "platform", none.clone(), json!("x86_64")),
            ("sendmail", "smtp_host", json!("mail"), none.clone()),
            ("sendmail", "from_address", json!("me@example.com"), none.clone()),
            ("import_image", "imagestream", json!("stream"), none),
        ],
    );
    let custom: Change = |it| it.base_image = Some("koji/image-build".into());
    let [orchestrator, worker] = BOTH.map(|build_type| rendered(5, build_type, &with(custom, &[]), true));
    check_arguments(
        5,
        &orchestrator,
        &worker,
        vec![
            both("add_filesystem", "koji_hub", json!("hub")),
            both("add_filesystem", "repos", json!([])),
            ("add_filesystem", "architectures", json!(["x86_64"]), Value::Null),
            ("add_filesystem", "from_task_id", Value::Null, json!(7)),
        ],
    );
    let flatpak: Change = |it| it.flatpak = true;
    let [orchestrator, worker] = BOTH.map(|build_type| rendered(5, build_type, &with(flatpak, &[]), true));
    check_arguments(5, &orchestrator, &worker, vec![("bump_release", "append", json!(true), Value::Null)]);
}

// --- 6 ------------------------------------------------------------------------------------------------------------------

const YAML: &str = "version: 1
clusters: {x86_64: [{name: local, max_concurrent_builds: 2}]}
registries: [{url: 'https://reg.example.com', expected_media_types: [application/vnd.oci.image.manifest.v1+json]}]
source_registry: {url: 'https://parents.example.com'}
koji: {hub_url: h, root_url: r, auth: {}}
pulp: {name: p, url: 'https://pulp.example.com', auth: {ssl_certs_dir: /c}, image_archives: true}
odcs: {api_url: u, auth: {openidc_dir: d}, signing_intents: [{name: a, keys: []}], default_signing_intent: a}
smtp: {host: h, from_address: f@example.com}
sources_command: fedpkg sources
hide_files: {tmpdir: /t, files: [f]}";

fn rendered_6(build_type: BuildType, case: &Case) -> PluginLists {
    let mut params = request(build_type);
    (case.change)(&mut params);
    let is_left_out =
        |line: &&str| !case.config.iter().any(|start| line.starts_with(start.split_inclusive(':').next().unwrap()));
    let added = case.config.iter().filter(|line| line.contains(": "));
    let lines: Vec<_> = YAML.lines().filter(is_left_out).chain(added.copied()).collect();
    let config = ReactorConfig::parse(&lines.join("\n"), "config.yaml").unwrap().value;
    let (mut lists, _) = render_user_params(template(build_type, 6).unwrap(), &params, None).unwrap();
    prune_by_environment(&mut lists, &config, &params);
    lists
}

/// Ours: it has nothing to do without repositories of the request.
const ALWAYS_6: [&str; 4] =
    ["add_yum_repo_by_url", "resolve_module_compose", "flatpak_create_dockerfile", "flatpak_create_oci"];

fn cases_6() -> Vec<(&'static str, Case)> {
    vec![
        ("everything", case(&[])),
        (
            "scratch",
            with(
                |it| it.scratch = true,
                &[
                    "koji_parent",
                    "compress",
                    "compare_components",
                    "import_image",
                    "koji_tag_build",
                    "check_and_set_rebuild",
                ],
            ),
        ),
        (
            "isolated",
            with(
                |it| (it.isolated, it.release) = (true, Some("3.1".into())),
                &["bump_release", "check_and_set_rebuild"],
            ),
        ),
        (
            "flatpak",
            with(
                |it| it.flatpak = true,
                &[
                    "resolve_composes",
                    "squash",
                    "pulp_push",
                    "pulp_tag",
                    "pulp_sync",
                    "pulp_publish",
                    "pulp_pull",
                    "delete_from_registry",
                ],
            )
            .and_come(&FLATPAK),
        ),
        ("release", with(|it| it.release = Some("3".into()), &["bump_release"])),
        ("no koji_parent_build", with(|it| it.koji_parent_build = None, &["inject_parent_image"])),
        ("no image stream", with(|it| it.imagestream_name = None, &["import_image"])),
        (
            "repositories",
            with(|it| it.yum_repourls = vec!["http://r".into()], &["koji"]).and_come(&["add_yum_repo_by_url"]),
        ),
        ("no target", with(|it| it.koji_target = None, &["koji", "koji_tag_build", "inject_yum_repo"])),
        ("no triggers", with(|it| it.trigger_imagestreamtag = None, &["check_and_set_rebuild"])),
        (
            "another platform extracts",
            with(|it| it.operator_manifests_extract_platform = Some("aarch64".into()), &["export_operator_manifests"]),
        ),
        (
            "no koji",
            without(
                &["koji:"],
                &["inject_parent_image", "koji_parent", "koji", "koji_import", "koji_tag_build", "inject_yum_repo"],
            ),
        ),
        ("no pulp", without(&["pulp:"], &PULP)),
        (
            "no archives",
            without(
                &["pulp: {name: p, url: 'https://pulp.example.com', auth: {ssl_certs_dir: /c}}"],
                &["pulp_push", "pulp_tag"],
            ),
        ),
        ("no registries", without(&["registries:"], &["pulp_sync", "delete_from_registry", "verify_media"])),
        ("no media types", without(&["registries: [{url: 'https://reg.example.com'}]"], &["verify_media"])),
        ("no odcs", without(&["odcs:"], &["resolve_composes"])),
        ("no smtp", without(&["smtp:"], &["sendmail"])),
        ("no sources_command", without(&["sources_command:"], &["distgit_fetch_artefacts"])),
        ("no hide_files", without(&["hide_files:"], &["hide_files"])),
    ]
}

#[test]
fn arrangement_6() {
    for build_type in BOTH {
        for (what, case) in cases_6() {
            check_left(what, 6, build_type, &rendered_6(build_type, &case), &ALWAYS_6, &case);
        }
    }
}

#[test]
fn arguments_of_arrangement_6() {
    let change: Change = |it| {
        it.release = Some("3".into());
        it.compose_ids = vec![5];
        it.signing_intent = Some("beta".into());
        it.yum_repourls = vec!["http://r".into()];
    };
    let [orchestrator, worker] = BOTH.map(|build_type| rendered_6(build_type, &with(change, &[])));
    let none = Value::Null;
    let both = |plugin, argument, value: Value| (plugin, argument, value.clone(), value);
    check_arguments(
        6,
        &orchestrator,
        &worker,
        vec![
            both("add_filesystem", "repos", json!(["http://r"])),
            both("add_filesystem", "from_task_id", json!(7)),
            ("add_filesystem", "architecture", none.clone(), json!("x86_64")),
            both("add_filesystem", "koji_target", json!("target")),
            both("add_labels_in_dockerfile", "labels", json!({"release": "3"})),
            ("add_yum_repo_by_url", "repourls", none.clone(), json!(["http://r"])),
            ("check_and_set_platforms", "koji_target", json!("target"), none.clone()),
            ("import_image", "imagestream", json!("stream"), none.clone()),
            both("inject_parent_image", "koji_parent_build", json!("parent-1-1")),
            ("koji_tag_build", "target", json!("target"), none.clone()),
            ("koji_upload", "koji_upload_dir", none.clone(), json!("upload")),
            ("koji_upload", "platform", none.clone(), json!("x86_64")),
            ("koji_upload", "report_multiple_digests", none.clone(), json!(true)),
            ("export_operator_manifests", "platform", none.clone(), json!("x86_64")),
            ("export_operator_manifests", "operator_manifests_extract_platform", none.clone(), json!("x86_64")),
            ("resolve_composes", "compose_ids", json!([5]), none.clone()),
            ("resolve_composes", "signing_intent", json!("beta"), none.clone()),
            ("resolve_composes", "koji_target", json!("target"), none.clone()),
            ("resolve_composes", "repourls", json!(["http://r"]), none.clone()),
            ("orchestrate_build", "platforms", json!(["x86_64"]), none.clone()),
            ("orchestrate_build", "config_kwargs", json!({}), none.clone()),
            ("pull_base_image", "inspect_only", json!(true), none.clone()),
            ("pull_base_image", "check_platforms", json!(true), json!(false)),
        ],
    );
    let kwargs = &orchestrator.find("orchestrate_build").unwrap().args["build_kwargs"];
    assert_eq!((&kwargs["target"], &kwargs["yum_repourls"]), (&json!("target"), &json!(["http://r"])));
    assert!(kwargs.get("scratch").is_none() && kwargs.get("flatpak").is_none(), "only what is there: {kwargs}");
}
