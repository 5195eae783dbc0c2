//! Cases of `osbs.conf`.

use super::*;
use crate::problem::Severity;
use std::collections::BTreeMap;

const OUTSIDE: &str = "\
[general]
build_json_dir = /usr/share/osbs/

[platform:x86_64]
architecture = amd64
enable_v1 = true

[DEFAULT]
base = example.com

[default]
openshift_url = https://orchestrator.%(base)s:8443/
build_image = registry.%(base)s/buildroot:blue
distribution_scope = public
can_orchestrate = true  # why
reactor_config_secret = reactorconf
arrangement_version = 4
registry_uri = one.example.com/v2, http://two.example.com:5000
registry_secret = , twosecret
Node_Selector.x86_64 = beta.kubernetes.io/arch=amd64
node_selector.ppc64le = none
token_secrets =
  workertoken:/var/run/secrets/atomic-reactor/workertoken
token_file =
  /var/run/token

[old]
openshift_uri = https://old/
openshift_url = https://new/
";

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn settings(text: &str, instance: &str, options: &[(&str, &str)], arguments: &[(&str, &str)]) -> Settings {
    let conf = OsbsConf::parse(text, "osbs.conf").unwrap().value;
    Settings::new(Some(conf), instance, map(options), map(arguments))
}

#[test]
fn the_published_example() {
    let settings = settings(OUTSIDE, "default", &[], &[]);
    let config = settings.resolve().unwrap().value;
    assert_eq!(config.openshift_url.as_deref(), Some("https://orchestrator.example.com:8443/"));
    assert!(config.can_orchestrate, "an inline comment is no part of the value");
    assert_eq!(config.build_from, Some(BuildFrom::Image("registry.example.com/buildroot:blue".into())));
    assert_eq!(config.arrangement_version, 4);
    let registries: Vec<_> =
        config.registries.iter().map(|(uri, secret)| (uri.docker_uri(), secret.as_deref())).collect();
    assert_eq!(registries, [("one.example.com", None), ("two.example.com:5000", Some("twosecret"))]);
    assert_eq!(config.node_selectors["x86_64"]["beta.kubernetes.io/arch"], "amd64");
    assert!(config.node_selectors["ppc64le"].is_empty());
    assert_eq!(config.token_secrets[0].secret, "workertoken");
    assert_eq!(config.token_file.as_deref(), Some("/var/run/token"));
    assert_eq!((config.namespace.as_str(), config.verify_ssl), ("default", true));
    assert_eq!(config.builder_build_json_dir.as_deref(), Some("/usr/share/osbs/"));
    let conf = settings.conf().unwrap();
    assert_eq!(conf.instances().collect::<Vec<_>>(), ["default", "old"]);
    assert_eq!(conf.platforms().values().next().unwrap().architecture.name, "amd64");
}

#[test]
fn where_values_come_from() {
    let of =
        |options, arguments| settings(OUTSIDE, "default", options, arguments).lookup("distribution_scope").unwrap();
    assert_eq!(of(&[], &[]).origin.to_string(), "osbs.conf:14:22");
    assert_eq!(of(&[("distribution_scope", "x")], &[]).origin.to_string(), "option --distribution-scope");
    let both = of(&[("distribution_scope", "x")], &[("distribution_scope", "y")]);
    assert_eq!((both.value.as_str(), both.origin), ("y", Origin::Argument));
    let settings = settings(OUTSIDE, "default", &[("token", "hunter2")], &[]);
    assert_eq!(settings.lookup("namespace").unwrap().origin, Origin::Default);
    let listing = settings.effective();
    let token = listing.iter().find(|setting| setting.key == "token").unwrap();
    assert_eq!(token.value.as_deref(), Some("***"));
    assert!(listing.iter().any(|setting| setting.key == "node_selector.ppc64le"));
    let config = settings.resolve().unwrap().value;
    assert!(config.token.is_some() && config.token_file.is_none(), "the option's token beats the file's token_file");
}

#[test]
fn old_names_and_missing_instances() {
    let old = settings(OUTSIDE, "old", &[], &[]).resolve().unwrap();
    assert_eq!(old.value.openshift_url.as_deref(), Some("https://old/"));
    assert_eq!(old.warnings.len(), 1, "{:?}", old.warnings);
    assert!(old.warnings[0].to_string().contains("old name of openshift_url"));
    let missing = settings(OUTSIDE, "nowhere", &[], &[]);
    assert!(missing.lacks_instance());
    assert_eq!(missing.resolve().unwrap().value.openshift_url, None);
    let without_file = Settings::new(None, "default", BTreeMap::new(), BTreeMap::new());
    assert!(!without_file.lacks_instance());
    assert_eq!(without_file.resolve().unwrap().value.arrangement_version, 6);
}

#[test]
fn limits_are_quantities() {
    let text = "[default]\ncpu_limit = 1.5\nmemory_limit = 2Gi\nstorage_limit = 10G\n";
    let config = settings(text, "default", &[], &[]).resolve().unwrap().value;
    let limits = [config.cpu_limit, config.memory_limit, config.storage_limit];
    assert_eq!(limits.each_ref().map(Option::as_deref), [Some("1.5"), Some("2Gi"), Some("10G")]);
    for (line, column) in [("cpu_limit = 1.5GHz", 13), ("memory_limit = lots", 16), ("storage_limit = -1", 17)] {
        let error = settings(&format!("[default]\n{line}\n"), "default", &[], &[]).resolve().unwrap_err();
        let text = error.to_string();
        let key = line.split(' ').next().unwrap();
        assert!(text.contains(&format!("osbs.conf:2:{column}")) && text.contains(key), "{text}");
    }
}

#[test]
fn mistakes_in_names() {
    for (text, place, part) in [
        ("[default]\ncan_orchestate = true\n", (2, 1), "did you mean \"can_orchestrate\"?"),
        ("[default]\ngit_ref = x\n", (2, 1), "did you mean \"git_commit\"?"),
        ("[default]\nverbose = 1\n", (2, 1), "did you mean \"verbose in [general]\"?"),
        ("[general]\nverbos = 1\n", (2, 1), "(allowed: build_json_dir, openshift_required_version, verbose)"),
        ("[default]\nzzzzzz = 1\n", (2, 1), "nfs_server_path, node_selector.PLATFORM"),
        ("[platform:x-y]\n", (1, 1), "a platform name"),
        ("[platform:a]\nenable_v1=1\n[platform:b]\nenable_v1 = true\n", (4, 13), "more than one platform: a, b"),
        ("early = 1\n", (1, 1), "before any [section]"),
    ] {
        let error = OsbsConf::parse(text, "osbs.conf").unwrap_err();
        let problem = error.problems().iter().find(|problem| problem.severity == Severity::Error).unwrap();
        assert!(problem.to_string().contains(part), "{text:?}: {error}");
        assert_eq!((problem.position.line, problem.position.column), (place.0, Some(place.1)), "{text:?}: {error}");
    }
}

#[test]
fn mistakes_in_values() {
    for (line, column, part) in [
        ("verify_ssl = yes", 14, "\"yes\" is not true or false"),
        ("arrangement_version = seven", 23, "1 to 6"),
        ("max_concurrent_builds = 0", 25, "at least 1"),
        ("pod_security = root", 16, "rootless or privileged"),
        ("home_volume = hostPath:x", 15, "emptyDir, or hostPath:/DIR"),
        ("image_pull_policy = never", 21, "Always, IfNotPresent or Never"),
        ("active_deadline_seconds = 1h", 27, "at least 1"),
        ("registry_uri = a/v1", 16, "v1, which is not supported"),
        ("registry_api_versions = v1", 25, "a list with v2 in it"),
        ("auto_build_node_selector = None", 28, "LABEL=VALUE"),
        ("token_secrets = a:/ b", 17, "\"a:/\" is not SECRET"),
        ("equal_labels = a", 16, "groups of two or more labels"),
        ("build_from = docker:x", 14, "image:PULLSPEC or imagestream:STREAM:TAG"),
        ("build_image = x\nbuild_imagestream = y:z", 21, "only one of build_from"),
    ] {
        let error = settings(&format!("[default]\n{line}\n"), "default", &[], &[]).resolve().unwrap_err();
        let problem = error.problems().iter().find(|problem| problem.severity == Severity::Error).unwrap();
        assert!(problem.to_string().contains(part), "{line:?}: {error}");
        assert_eq!(problem.position.column, Some(column), "{line:?}: {error}");
    }
}

#[test]
fn doubtful_values_are_told_and_used() {
    for (line, part) in [
        ("can_orchestrate = yes", "counts as false"),
        ("token = 50%", "counts as unset"),
        ("smtp_host = mail", "ignored with arrangement 6"),
        ("registry_api_versions = v1, v2\narrangement_version = 4", "taken as v2"),
    ] {
        let parsed = settings(&format!("[default]\n{line}\n"), "default", &[], &[]).resolve().unwrap();
        assert!(
            parsed.warnings.iter().any(|warning| warning.to_string().contains(part)),
            "{line:?}: {:?}",
            parsed.warnings
        );
        assert!(!parsed.value.can_orchestrate && parsed.value.token.is_none());
    }
}
