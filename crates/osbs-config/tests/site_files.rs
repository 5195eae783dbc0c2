//! The files of an existing site load as they are, every key of them, and say what they said.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use osbs_config::{
    BuildFrom, ContainerYaml, InstanceConfig, OsbsConf, ReactorConfig, Settings, UserParams, known_keys,
};
use std::collections::BTreeMap;

const OUTSIDE: &str = include_str!("site_files/outside.conf");
const INSIDE: &str = include_str!("site_files/inside.conf");
const CONFIG: &str = include_str!("site_files/config.yaml");
const CONFIG_SEED: &str = include_str!("site_files/config-seed.yaml");
const CONTAINER: &str = include_str!("site_files/container.yaml");
const CONTAINER_SEED: &str = include_str!("site_files/container-seed.yaml");
const USER_PARAMS: &str = include_str!("site_files/user-params.json");

fn instance(text: &str, name: &str) -> InstanceConfig {
    let conf = OsbsConf::parse(text, "osbs.conf").unwrap_or_else(|error| panic!("{error}")).value;
    let settings = Settings::new(Some(conf), name, BTreeMap::new(), BTreeMap::new());
    assert!(!settings.lacks_instance(), "{name}");
    settings.resolve().unwrap_or_else(|error| panic!("{error}")).value
}

#[test]
fn the_file_outside() {
    let site = instance(OUTSIDE, "default");
    assert_eq!(site.openshift_url.as_deref(), Some("https://orchestrator.builds.example.org:8443/"));
    assert_eq!(site.build_from, Some(BuildFrom::Image("registry.builds.example.org/buildroot:blue".into())));
    assert_eq!((site.can_orchestrate, site.arrangement_version), (true, 1));
    assert_eq!(site.reactor_config_secret.as_deref(), Some("reactorconf"));
    assert_eq!(site.client_config_secret.as_deref(), Some("osbsconf"));
    let secrets: Vec<_> = site.token_secrets.iter().map(|s| (s.secret.as_str(), s.path.as_deref())).collect();
    assert_eq!(secrets, [("workertoken", Some("/var/run/secrets/atomic-reactor/workertoken")), ("plaintoken", None)]);
    assert_eq!(site.password.unwrap().reveal(), "50%off");
    assert_eq!(site.token_file.as_deref(), Some("/var/lib/koji/orchestrator.token"));
    let registries: Vec<_> =
        site.registries.iter().map(|(uri, secret)| (uri.docker_uri(), secret.as_deref())).collect();
    let expected =
        [("registry.builds.example.org", Some("pushsecret")), ("mirror.builds.example.org:5000", Some("mirrorsecret"))];
    assert_eq!(registries, expected);
    assert_eq!(site.equal_labels, [["name", "Name"], ["version", "Version"]]);
    assert_eq!(site.smtp_error_addresses, ["admins@builds.example.org", "oncall@builds.example.org"]);
    assert_eq!(site.scratch_build_node_selector["kind"], "scratch");
    assert_eq!(site.node_selectors["x86_64"]["beta.kubernetes.io/arch"], "amd64");
    assert!(site.node_selectors["ppc64le"].is_empty());
    assert_eq!(site.info_url_format.as_deref(), Some("https://catalog.builds.example.org/{name}/{version}-{release}"));

    let scratch = instance(OUTSIDE, "scratch");
    assert_eq!((scratch.scratch, scratch.can_orchestrate), (Some(true), false));
    assert_eq!(scratch.distribution_scope.as_deref(), Some("private"));
    let late = instance(OUTSIDE, "late");
    assert_eq!(late.build_from, Some(BuildFrom::ImageStream("buildroot:latest".into())));
    assert_eq!(late.openshift_url.as_deref(), Some("https://old.builds.example.org:8443/"));
    assert_eq!(late.reactor_config_map.as_deref(), Some("reactor-config"));

    let conf = OsbsConf::parse(OUTSIDE, "osbs.conf").unwrap().value;
    let platforms: Vec<_> = conf.platforms().iter().map(|(p, s)| format!("{p} {}", s.architecture.name)).collect();
    assert_eq!(platforms, ["ppc64le ppc64le", "x86_64 amd64"]);
}

#[test]
fn the_file_inside() {
    let mixed = instance(INSIDE, "prod-mixed");
    assert_eq!((mixed.use_auth, mixed.can_orchestrate, mixed.arrangement_version), (Some(true), false, 6));
    let token = "/var/run/secrets/atomic-reactor/workertoken/worker01-serviceaccount-token";
    assert_eq!(mixed.token_file.as_deref(), Some(token));
    assert_eq!(mixed.node_selectors.len(), 2);
    let osd = instance(INSIDE, "prod-osd");
    assert_eq!((osd.namespace.as_str(), osd.verify_ssl), ("builders", false));
}

#[test]
fn no_key_is_missing_from_the_example() {
    // Keys that only we have are in no site's file yet.
    let ours = [
        "pulp_image_archives",
        "certificate_authority",
        "kubeconfig",
        "kube_context",
        "service_account",
        "pod_security",
        "home_volume",
        "image_pull_policy",
        "image_pull_secrets",
        "priority_class_name",
        "low_priority_class_name",
        "active_deadline_seconds",
        "termination_grace_period_seconds",
        "ttl_seconds_after_finished",
    ];
    let missing: Vec<_> = known_keys()
        .iter()
        .map(|key| key.name)
        .filter(|name| !ours.contains(name))
        .filter(|name| {
            !OUTSIDE.lines().any(|line| line.split(['=', ':']).next().is_some_and(|key| key.trim() == *name))
        })
        .collect();
    assert!(missing.is_empty(), "tests/site_files/outside.conf lacks {missing:?}, or they are ours alone");
}

/// What the keys look like in the file, so that none is forgotten when one is added.
fn lacks(schema: &serde_json::Value, text: &str) -> Vec<String> {
    let known = schema["properties"].as_object().unwrap().keys();
    known.filter(|key| !text.contains(&format!("{key}:")) && !text.contains(&format!("\"{key}\""))).cloned().collect()
}

#[test]
fn the_reactors_configuration() {
    let seed = ReactorConfig::parse(CONFIG_SEED, "config.yaml").unwrap();
    assert!(seed.warnings.is_empty());
    let names: Vec<_> = seed.value.enabled_platforms().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["ppc64le", "x86_64"]);
    let x86 = seed.value.enabled_clusters(&"x86_64".parse().unwrap());
    assert_eq!((x86.len(), x86[0].name.as_str(), x86[0].max_concurrent_builds), (1, "prod-mixed", 16));

    let parsed = ReactorConfig::parse(CONFIG, "config.yaml").unwrap_or_else(|error| panic!("{error}"));
    // The name of a Pulp configuration says no address: the one key with which a site has to do something.
    let warnings: Vec<_> = parsed.warnings.iter().map(|warning| warning.path.as_str()).collect();
    assert_eq!(warnings, ["pulp.name"]);
    let config = parsed.value;
    assert_eq!(config.required_secrets, ["kojisecret", "pushsecret"]);
    assert_eq!(config.worker_token_secrets, ["workertoken", "osbsconf"]);
    assert_eq!(config.registries[0].cfg_path.as_deref(), Some("/var/run/secrets/atomic-reactor/pushsecret"));
    assert!(config.koji.is_some() && config.pulp.is_some() && config.odcs.is_some() && config.smtp.is_some());
}

#[test]
fn the_files_of_a_repository_and_a_request() {
    let seed = ContainerYaml::parse(CONTAINER_SEED, "container.yaml").unwrap().value;
    assert_eq!(seed.only.unwrap().names, ["x86_64"]);
    let whole = ContainerYaml::parse(CONTAINER, "container.yaml").unwrap_or_else(|error| panic!("{error}"));
    assert!(whole.warnings.is_empty(), "{:?}", whole.warnings);
    let compose = whole.value.compose.unwrap();
    assert_eq!(compose.packages.unwrap(), ["nss_wrapper", "httpd"]);
    assert_eq!(whole.value.tags.unwrap(), ["stable", "1.0"]);
    let params = UserParams::parse(USER_PARAMS, "USER_PARAMS").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((params.release.as_deref(), params.compose_ids.as_slice()), (Some("3"), &[1, 2][..]));
    for (file, text) in
        [(osbs_config::SchemaOf::ContainerYaml, CONTAINER), (osbs_config::SchemaOf::UserParams, USER_PARAMS)]
    {
        let lacking = lacks(&file.json(), text);
        assert!(lacking.is_empty(), "the example of {} lacks {lacking:?}", file.name());
    }
}
