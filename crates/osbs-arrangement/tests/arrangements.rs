//! The data files against the published tables, and what is left of them after rendering and pruning.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use osbs_arrangement::{
    ArrangementError, LATEST, PluginLists, RenderInput, Rendered, prune_by_environment, render, render_user_params,
    template, template_from_dir,
};
use osbs_config::{GeneralConfig, InstanceConfig, OsbsConf, ReactorConfig, Settings, UserParams};
use osbs_types::{BuildType, Phase};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// `orchestrator prebuild PLUGIN`, then its place in the arrangements 1 to 6 or `-`.
const TABLES: &str = include_str!("tables.txt");

fn names(lists: &PluginLists, phase: Phase) -> Vec<&str> {
    lists.phase(phase).iter().map(|entry| entry.name.as_str()).collect()
}

fn expected(build_type: BuildType, phase: Phase, version: usize) -> Vec<&'static str> {
    match (phase, build_type) {
        (Phase::Buildstep, BuildType::Orchestrator) => return vec!["orchestrate_build"],
        (Phase::Buildstep, BuildType::Worker) | (Phase::Prepublish, BuildType::Orchestrator) => return vec![],
        (Phase::Prepublish, BuildType::Worker) if version >= 4 => return vec!["squash", "flatpak_create_oci"],
        (Phase::Prepublish, BuildType::Worker) => return vec!["squash"],
        _ => {}
    }
    let mut plugins: Vec<(u32, &str)> = TABLES
        .lines()
        .filter_map(|line| {
            let words: Vec<&'static str> = line.split(' ').collect();
            let of_list = words[0] == build_type.as_str() && words[1] == phase.as_str();
            Some((words[2 + version].parse().ok().filter(|_| of_list)?, words[2]))
        })
        .collect();
    plugins.sort_unstable();
    plugins.into_iter().map(|(_, plugin)| plugin).collect()
}

#[test]
fn data_files_are_the_published_tables() {
    assert_eq!(TABLES.lines().count(), 62);
    for version in 1..=6_u32 {
        for build_type in [BuildType::Orchestrator, BuildType::Worker] {
            let lists = template(build_type, version).unwrap();
            for phase in Phase::ALL {
                let wanted = expected(build_type, phase, version as usize);
                assert_eq!(names(&lists, phase), wanted, "{build_type} {version} {phase}");
            }
        }
    }
    for version in [0, 7] {
        assert!(matches!(template(BuildType::Worker, version), Err(ArrangementError::UnknownVersion { .. })));
    }
}

/// Arguments of the published templates, and whether a plugin is required there. What is insecure is for the site to say
/// (6.3, X7): `pull_base_image` has no `parent_registry_insecure`.
fn entry_of(build_type: BuildType, version: u32, plugin: &str) -> (Value, bool) {
    let is_worker = build_type == BuildType::Worker;
    let args = match plugin {
        "all_rpm_packages" => json!({"image_id": "BUILT_IMAGE_ID"}),
        "tag_from_config" if version >= 4 => json!({"tag_suffixes": "{{TAG_SUFFIXES}}"}),
        "pulp_push" if version >= 4 => json!({"load_exported_image": true, "publish": false}),
        "pulp_push" => json!({"load_exported_image": true}),
        "pulp_sync" if !is_worker => json!({"publish": false}),
        "pulp_pull" => json!({"insecure": true}),
        "compress" => json!({"load_exported_image": true, "method": "gzip"}),
        "koji_upload" | "koji_promote" => json!({"blocksize": 10_485_760}),
        "pull_base_image" if version == 6 && is_worker => json!({"check_platforms": false}),
        "pull_base_image" if version == 6 => json!({"check_platforms": true, "inspect_only": true}),
        _ => json!({}),
    };
    let optional = match (plugin, is_worker) {
        ("add_help" | "fetch_maven_artifacts", true) => version <= 3,
        ("koji_parent", false) => (2..=5).contains(&version),
        ("resolve_composes", false) => version == 5,
        ("check_and_set_platforms" | "verify_media", false) => version == 6,
        ("import_image", false) => version >= 5,
        ("remove_worker_metadata", false) => version <= 5,
        _ => false,
    };
    (args, !optional)
}

#[test]
fn entries_are_those_of_the_published_templates() {
    for version in 1..=6_u32 {
        for build_type in [BuildType::Orchestrator, BuildType::Worker] {
            let lists = template(build_type, version).unwrap();
            for entry in Phase::ALL.into_iter().flat_map(|phase| lists.phase(phase)) {
                let (args, required) = entry_of(build_type, version, &entry.name);
                let found = (Value::Object(entry.args.clone()), entry.required);
                assert_eq!(found, (args, required), "{build_type} {version} {}", entry.name);
                assert!(entry.is_allowed_to_fail.is_none() && entry.program.is_none());
            }
            assert!(lists.other.is_empty());
        }
    }
}

#[test]
fn a_site_may_bring_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("worker_inner:6.json");
    std::fs::write(&path, r#"{"prebuild_plugins": [{"name": "mine"}]}"#).unwrap();
    let own = template_from_dir(BuildType::Worker, 6, Some(dir.path())).unwrap();
    assert_eq!(names(&own, Phase::Prebuild), ["mine"]);
    let built_in = template_from_dir(BuildType::Orchestrator, 6, Some(dir.path())).unwrap();
    assert_eq!(built_in, template(BuildType::Orchestrator, 6).unwrap());
    std::fs::write(&path, "{").unwrap();
    let error = template_from_dir(BuildType::Worker, 6, Some(dir.path())).unwrap_err();
    assert!(error.to_string().contains("worker_inner:6.json"), "{error}");
}

fn instance(text: &str) -> InstanceConfig {
    let conf = OsbsConf::parse(&format!("[default]\n{text}"), "osbs.conf").unwrap().value;
    Settings::new(Some(conf), "default", BTreeMap::new(), BTreeMap::new()).resolve().unwrap().value
}

fn request(build_type: BuildType, base_image: &str) -> UserParams {
    UserParams {
        build_type: Some(build_type),
        git_uri: "https://src.example.com/x".into(),
        git_ref: Some("main".into()),
        user: "me".into(),
        base_image: Some(base_image.into()),
        image_tag: Some("me/x:none-12345-20170601123045".into()),
        platforms: match build_type {
            BuildType::Orchestrator => vec!["x86_64".parse().unwrap()],
            BuildType::Worker => vec![],
        },
        ..UserParams::default()
    }
}

fn render_with(
    version: u32,
    params: &UserParams,
    config: &InstanceConfig,
    in_environment: bool,
) -> Result<Rendered, ArrangementError> {
    let build_type = params.build_type.unwrap();
    let input = RenderInput {
        build_type,
        arrangement_version: version,
        params,
        config,
        general: &GeneralConfig::default(),
        platforms: &BTreeMap::new(),
        is_auto: false,
        triggers: false,
        config_in_environment: in_environment,
        customization: None,
    };
    render(template(build_type, version).unwrap(), &input)
}

#[test]
fn arrangement_1_without_koji() {
    let config = instance("registry_uri = http://localhost:5000\nsource_registry_uri = localhost:5000\n");
    let orchestrator = render_with(1, &request(BuildType::Orchestrator, "fedora"), &config, true).unwrap().lists;
    let prebuild = ["pull_base_image", "bump_release", "add_labels_in_dockerfile", "reactor_config"];
    assert_eq!(names(&orchestrator, Phase::Prebuild), prebuild);
    assert_eq!(names(&orchestrator, Phase::Exit), ["store_metadata_in_osv3", "remove_built_image"]);
    assert_eq!(orchestrator.find("orchestrate_build").unwrap().args["platforms"][0], "x86_64");

    let mut params = request(BuildType::Worker, "fedora");
    params.release = Some("1".into());
    let worker = render_with(1, &params, &config, false).unwrap().lists;
    let prebuild = [
        "pull_base_image",
        "add_labels_in_dockerfile",
        "change_from_in_dockerfile",
        "add_help",
        "add_dockerfile",
        "fetch_maven_artifacts",
        "add_yum_repo_by_url",
        "inject_yum_repo",
        "distribution_scope",
    ];
    assert_eq!(names(&worker, Phase::Prebuild), prebuild);
    let postbuild = ["all_rpm_packages", "tag_by_labels", "tag_from_config", "tag_and_push", "compress"];
    assert_eq!(names(&worker, Phase::Postbuild), postbuild);
    assert_eq!(names(&worker, Phase::Exit), ["store_metadata_in_osv3", "remove_built_image"]);
    assert_eq!(worker.find("tag_and_push").unwrap().args["registries"]["http://localhost:5000"]["insecure"], true);
    assert_eq!(worker.find("add_labels_in_dockerfile").unwrap().args["labels"]["release"], "1");
}

#[test]
fn arrangements_1_to_5_with_everything() {
    let config = instance(
        "koji_hub = h\nkoji_root = r\nkoji_certs_secret = kc\nregistry_uri = reg.example.com\nregistry_secret = rs\n\
         smtp_host = m\nsmtp_from = f\nreactor_config_secret = rc\nclient_config_secret = cc\n\
         token_secrets = t:/there kc:/elsewhere\nvendor = Ours\n",
    );
    let mut params = request(BuildType::Orchestrator, "koji/image-build:x.conf");
    params.koji_target = Some("target".into());
    let rendered = render_with(5, &params, &config, false).unwrap();
    let lists = &rendered.lists;
    assert!(lists.contains("add_filesystem") && !lists.contains("pull_base_image"));
    assert_eq!(lists.find("reactor_config").unwrap().args["config_path"], "/var/run/secrets/atomic-reactor/rc");
    assert_eq!(lists.find("koji_tag_build").unwrap().args["target"], "target");
    assert_eq!(lists.find("tag_from_config").unwrap().args["tag_suffixes"]["floating"][0], "latest");
    let mounts: Vec<(&str, &str)> =
        rendered.secrets.iter().map(|mount| (mount.secret.as_str(), mount.path.as_str())).collect();
    assert!(mounts.contains(&("t", "/there")));
    assert!(mounts.contains(&("kc", "/var/run/secrets/atomic-reactor/kc")), "the first place stays: {mounts:?}");
    assert!(
        rendered.removed.iter().any(|removal| removal.plugin == "pulp_tag" && removal.reason == "no Pulp registry")
    );

    for version in 1..=5 {
        let mut scratch = request(BuildType::Worker, "fedora");
        scratch.scratch = true;
        let lists = render_with(version, &scratch, &config, false).unwrap().lists;
        for plugin in ["compress", "koji_upload", "koji_promote", "koji_tag_build"] {
            assert!(!lists.contains(plugin), "{version} {plugin}");
        }
        assert_eq!(lists.contains("tag_from_config"), version >= 4);
    }
}

#[test]
fn koji_upload_and_bump_release_stay_without_koji() {
    for version in 1..=5 {
        let config = InstanceConfig::default();
        let worker = render_with(version, &request(BuildType::Worker, "fedora"), &config, false).unwrap().lists;
        assert_eq!(worker.contains("koji_upload"), version >= 3);
        let orchestrator =
            render_with(version, &request(BuildType::Orchestrator, "fedora"), &config, false).unwrap().lists;
        assert!(orchestrator.contains("bump_release"));
        assert!(!orchestrator.contains("reactor_config"), "nothing names a configuration");
    }
}

#[test]
fn requests_that_contradict_themselves() {
    let config = InstanceConfig::default();
    let params = |scratch, isolated, release: Option<&str>| UserParams {
        scratch,
        isolated,
        release: release.map(str::to_owned),
        ..request(BuildType::Worker, "fedora")
    };
    for (params, part) in [
        (params(true, true, Some("1.1")), "cannot be scratch and isolated at once"),
        (params(false, true, None), "needs a release"),
        (params(false, true, Some("1")), "needs a release"),
    ] {
        for result in [
            render_with(4, &params, &config, false).map(|_| ()),
            render_user_params(template(BuildType::Worker, 6).unwrap(), &params, None).map(|_| ()),
        ] {
            let error = result.unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
    let pulp = instance("pulp_registry_name = p\nregistry_uri = r\n");
    let error = render_with(4, &request(BuildType::Orchestrator, "fedora"), &pulp, false).unwrap_err();
    assert!(matches!(error, ArrangementError::PulpWithoutLogin { .. }), "{error}");
    assert!(render_with(6, &params(false, false, None), &config, false).is_err());
}

fn pruned(params: &UserParams, yaml: &str) -> PluginLists {
    let config = ReactorConfig::parse(yaml, "config.yaml").unwrap().value;
    let template = template(params.build_type.unwrap(), LATEST).unwrap();
    let (mut lists, _) = render_user_params(template, params, None).unwrap();
    prune_by_environment(&mut lists, &config, params);
    lists
}

const SMALL: &str = "
version: 1
clusters: {x86_64: [{name: local, max_concurrent_builds: 2}]}
registries: [{url: 'http://localhost:5000'}]
source_registry: {url: 'http://localhost:5000'}
";

#[test]
fn arrangement_6_with_a_small_configuration() {
    let orchestrator = pruned(&request(BuildType::Orchestrator, "fedora"), SMALL);
    for (phase, wanted) in [
        (
            Phase::Prebuild,
            &[
                "reactor_config",
                "check_and_set_platforms",
                "add_filesystem",
                "pull_base_image",
                "bump_release",
                "add_labels_in_dockerfile",
            ][..],
        ),
        (Phase::Buildstep, &["orchestrate_build"]),
        (Phase::Postbuild, &["fetch_worker_metadata", "compare_components", "tag_from_config", "group_manifests"]),
        (Phase::Exit, &["store_metadata_in_osv3", "remove_built_image", "remove_worker_metadata"]),
    ] {
        assert_eq!(names(&orchestrator, phase), wanted, "{phase}");
    }
    let mut params = request(BuildType::Worker, "fedora");
    params.release = Some("1".into());
    params.platform = Some("x86_64".parse().unwrap());
    let worker = pruned(&params, SMALL);
    for (phase, wanted) in [
        (
            Phase::Prebuild,
            &[
                "reactor_config",
                "add_filesystem",
                "pull_base_image",
                "add_labels_in_dockerfile",
                "change_from_in_dockerfile",
                "add_help",
                "add_dockerfile",
                "fetch_maven_artifacts",
                "distribution_scope",
            ][..],
        ),
        (Phase::Prepublish, &["squash"]),
        (Phase::Postbuild, &["all_rpm_packages", "tag_from_config", "tag_and_push", "compress", "koji_upload"]),
        (Phase::Exit, &["store_metadata_in_osv3", "remove_built_image"]),
    ] {
        assert_eq!(names(&worker, phase), wanted, "{phase}");
    }
    assert_eq!(worker.find("koji_upload").unwrap().args["platform"], "x86_64");
}

#[test]
fn arrangement_6_with_everything() {
    let yaml = format!(
        "{SMALL}
koji: {{hub_url: h, root_url: r, auth: {{}}}}
odcs: {{api_url: u, auth: {{openidc_dir: d}}, signing_intents: [{{name: a, keys: []}}], default_signing_intent: a}}
smtp: {{host: h, from_address: f}}
hide_files: {{tmpdir: t, files: [f]}}
sources_command: fedpkg sources
"
    );
    let mut params = request(BuildType::Orchestrator, "fedora");
    params.koji_target = Some("t".into());
    let lists = pruned(&params, &yaml);
    for plugin in ["koji_parent", "resolve_composes", "koji_import", "koji_tag_build", "sendmail"] {
        assert!(lists.contains(plugin), "{plugin}");
    }
    params.scratch = true;
    let lists = pruned(&params, &yaml);
    for (plugin, stays) in
        [("koji_parent", false), ("compare_components", false), ("koji_import", true), ("fetch_worker_metadata", true)]
    {
        assert_eq!(lists.contains(plugin), stays, "{plugin}");
    }
    let mut params = request(BuildType::Worker, "fedora");
    params.yum_repourls = vec!["http://x/r.repo".into()];
    let lists = pruned(&params, &yaml);
    for plugin in
        ["hide_files", "distgit_fetch_artefacts", "fetch_maven_artifacts", "add_yum_repo_by_url", "inject_yum_repo"]
    {
        assert!(lists.contains(plugin), "{plugin}");
    }
    assert!(!lists.contains("koji"));
}

#[test]
fn pulp_needs_no_koji_and_takes_archives_where_a_site_says_so() {
    let of_pulp = ["pulp_push", "pulp_tag", "pulp_sync", "pulp_publish", "pulp_pull"];
    let there = |lists: &PluginLists| of_pulp.into_iter().filter(|plugin| lists.contains(plugin)).collect::<Vec<_>>();
    let (orchestrator, mut worker) = (request(BuildType::Orchestrator, "fedora"), request(BuildType::Worker, "fedora"));
    worker.platform = Some("x86_64".parse().unwrap());
    let yaml = |more: &str| format!("{SMALL}pulp: {{name: 'https://p.io', auth: {{ssl_certs_dir: /c}}{more}}}\n");
    assert_eq!(there(&pruned(&orchestrator, SMALL)), [""; 0]);
    let images = ["pulp_sync", "pulp_publish", "pulp_pull"];
    assert_eq!(there(&pruned(&orchestrator, &yaml(""))), images);
    assert_eq!(there(&pruned(&worker, &yaml(""))), [""; 0]);
    let archives = yaml(", image_archives: true");
    assert_eq!(there(&pruned(&orchestrator, &archives)), ["pulp_tag", "pulp_sync", "pulp_publish", "pulp_pull"]);
    assert_eq!(there(&pruned(&worker, &archives)), ["pulp_push"]);

    let conf = "registry_uri = http://r.io\npulp_registry_name = https://p.io\npulp_secret = s\n";
    for (more, worker_1, orchestrator_4) in [
        ("", &["pulp_sync", "pulp_pull"][..], &images[..]),
        (
            "pulp_image_archives = true\n",
            &["pulp_push", "pulp_sync", "pulp_pull"],
            &["pulp_tag", "pulp_sync", "pulp_publish", "pulp_pull"],
        ),
    ] {
        let config = instance(&format!("{conf}{more}"));
        let lists = render_with(1, &worker, &config, false).unwrap().lists;
        assert_eq!(there(&lists), worker_1, "{more}");
        assert_eq!(lists.find("pulp_pull").unwrap().args["pulp_registry_name"], "https://p.io");
        assert_eq!(there(&render_with(4, &orchestrator, &config, false).unwrap().lists), orchestrator_4, "{more}");
    }
}
