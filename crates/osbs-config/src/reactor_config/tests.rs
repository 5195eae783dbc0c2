//! Cases of `config.yaml`.

use super::*;

const FULL: &str = "\
version: 1
clusters:
  x86_64:
  - {name: a, max_concurrent_builds: 2, enabled: false}
  - {name: b, max_concurrent_builds: 6}
  ppc64le:
  - {name: c, max_concurrent_builds: 1, enabled: false}
koji:
  hub_url: https://koji.example.com/kojihub
  root_url: https://koji.example.com/kojiroot
  auth: {krb_principal: p, krb_keytab_path: FILE:/k}
pulp: {name: prod, auth: {username: me, password: hunter2}, url: 'https://pulp.example.com', registry: 'http://r.io:5000'}
odcs:
  api_url: https://user:hunter2@odcs.example.com/api/1
  auth: {openidc_dir: /o}
  signing_intents: [{name: release, keys: [R]}, {name: beta, keys: [R, B]}, {name: unsigned, keys: []}]
  default_signing_intent: release
registries:
- {url: https://registry.example.com/v2, insecure: true, auth: {cfg_path: /s}}
- {url: http://localhost:5000, expected_media_types: [application/vnd.oci.image.index.v1+json]}
source_registry: {url: registry.example.com, ca_file: /ca.pem}
platform_descriptors: [{platform: mine, architecture: riscv64}]
image_labels: {vendor: Ours}
image_equal_labels: [[a, b]]
hide_files: {tmpdir: /tmp, files: [/etc/yum.repos.d/x.repo]}
required_secrets: [kojisecret]
future_key: {x: 1}
";

#[test]
fn a_full_file() {
    let parsed = ReactorConfig::parse(FULL, "config.yaml").unwrap();
    assert_eq!(parsed.warnings.len(), 1, "{:?}", parsed.warnings);
    assert!(parsed.warnings[0].to_string().starts_with("config.yaml:27:1: unknown key \"future_key\""));
    let config = parsed.value;
    let platform = |name: &str| name.parse::<Platform>().unwrap();
    let expected = ClusterChoice { name: "b".into(), priority: 1, max_concurrent_builds: 6 };
    assert_eq!(config.enabled_clusters(&platform("x86_64")), [expected]);
    assert_eq!(config.enabled_platforms(), [platform("x86_64")]);
    assert_eq!(config.architecture(&platform("mine")).name, "riscv64");
    assert_eq!(config.architecture(&platform("x86_64")).name, "amd64");
    assert!(config.registries[1].uri.is_plain_http() && config.registries[0].insecure);
    assert_eq!(config.registries[0].cfg_path.as_deref(), Some("/s"));
    assert_eq!(config.source_registry.as_ref().and_then(|source| source.ca_file.as_deref()), Some("/ca.pem"));
    let pulp = config.pulp.as_ref().unwrap();
    assert!(pulp.registry.as_ref().is_some_and(RegistryUri::is_plain_http) && !pulp.image_archives, "{pulp:?}");
    let odcs = config.odcs.as_ref().unwrap();
    let intent = |keys: &[&str]| {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        odcs.intent_of_keys(&keys).map(|intent| (intent.name.clone(), intent.restrictiveness))
    };
    assert_eq!(intent(&["R"]), Some(("release".into(), 2)));
    assert_eq!(intent(&["B"]), Some(("beta".into(), 1)));
    assert_eq!(intent(&[]), Some(("unsigned".into(), 0)));
    assert_eq!(intent(&["X"]), None);
    assert!(config.groups_manifests());
}

#[test]
fn logs_show_no_secret() {
    let config = ReactorConfig::parse(FULL, "config.yaml").unwrap().value;
    let shown = config.redacted().to_string();
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("kojisecret") && shown.contains("***@odcs.example.com"), "{shown}");
    assert!(config.raw().to_string().contains("hunter2"), "workers need the real one");
    assert!(!format!("{config:?}").contains("Password { username: \"me\", password: \"hunter2\""));
}

#[test]
fn json_is_read_alike() {
    let config = ReactorConfig::parse(FULL, "config.yaml").unwrap().value;
    let again = ReactorConfig::from_json(config.raw(), "reactor_config_override").unwrap().value;
    assert_eq!(again.raw(), config.raw());
    assert_eq!(ReactorConfig::default().raw().to_string(), r#"{"version":1}"#);
}

#[test]
fn every_mistake_with_its_place() {
    for (text, line, column, part) in [
        ("clusters: {}\n", 1, 1, "required key \"version\" is missing"),
        ("", 1, 1, "expected an object, found nothing"),
        ("version: 2\n", 1, 10, "\"2\" is not 1"),
        ("version: '1'\n", 1, 10, "expected a whole number, found a text"),
        (
            "version: 1\nclusters:\n  x86_64:\n  - name: a\n",
            4,
            5,
            "clusters.x86_64[0]: the required key \"max_concurrent_builds\"",
        ),
        ("version: 1\nclusters: {x-y: []}\n", 2, 12, "a platform name"),
        ("version: 1\nclusters: {x: [{name: a, max_concurrent_builds: -1}]}\n", 2, 49, "at least 0"),
        (
            "version: 1\nclusters: {x: [{name: a, max_concurent_builds: 1, max_concurrent_builds: 1}]}\n",
            2,
            26,
            "did you mean \"max_concurrent_builds\"?",
        ),
        ("version: 1\nregistries: [{url: r.example.com/v1}]\n", 2, 20, "v1, which is not supported"),
        ("version: 1\nregistries: [{url: r, insecure: 'yes'}]\n", 2, 33, "expected true or false, found a text"),
        ("version: 1\nregistries: {url: r}\n", 2, 13, "expected a list, found an object"),
        (
            "version: 1\npulp: {name: x, auth: {username: u}, url: 'https://p.io'}\n",
            2,
            23,
            "either ssl_certs_dir, or username and password",
        ),
        ("version: 1\nkoji: {hub_url: h, root_url: r}\n", 2, 7, "required key \"auth\""),
        ("version: 1\nhide_files: {tmpdir: /t, files: []}\n", 2, 33, "at least one"),
        ("version: 1\narrangement_version: 7\n", 2, 22, "1 to 6"),
        ("version: 1\nbuildstep_alias: {x: buildah_bud}\n", 2, 18, "one of docker_api, imagebuilder"),
        ("version: 1\ncontent_versions: [v3]\n", 2, 19, "\"v3\" is not v2"),
    ] {
        let error = ReactorConfig::parse(text, "config.yaml").unwrap_err();
        let first = &error.problems()[0];
        assert!(first.to_string().contains(part), "{text:?}: {error}");
        assert_eq!((first.position.line, first.position.column.unwrap_or(1)), (line, column), "{text:?}: {error}");
        assert_eq!(error.kind(), ErrorKind::Policy);
    }
}

#[test]
fn build_methods() {
    let with = |text: &str| ReactorConfig::parse(&format!("version: 1\n{text}"), "f").unwrap().value;
    let aliased = with("buildstep_alias: {buildah_bud: imagebuilder}\n");
    assert_eq!(aliased.build_method(Some(BuildMethod::BuildahBud)), Ok(BuildMethod::Imagebuilder));
    let plain = with("");
    assert_eq!(plain.build_method(None), Ok(BuildMethod::DockerApi));
    assert_eq!(plain.build_method(Some(BuildMethod::BuildahBud)), Err(BuildMethod::BuildahBud));
}

#[test]
fn how_a_run_is_contained() {
    let run =
        |text: &str| ReactorConfig::parse(&format!("version: 1\n{text}"), "config.yaml").map(|parsed| parsed.value.run);
    assert_eq!(run("").unwrap(), RunConfig::default());
    let said = run("run: {user_namespace: never, network: none, pids: 500, timeout: 60}\n").unwrap();
    let namespace = RunUserNamespace::Never;
    let expected = RunConfig { user_namespace: namespace, without_network: true, pids: Some(500), timeout: Some(60) };
    assert_eq!(said, expected);
    let error = run("run: {user_namespace: maybe, network: some, pids: 0, timeout: soon, memory: 1}\n").unwrap_err();
    for part in ["maybe", "some", "pids", "timeout", "memory"] {
        assert!(error.to_string().contains(part), "{part:?} is not in {error}");
    }
}

#[test]
fn what_add_may_fetch() {
    let text = "version: 1\nfetch: {allow: [artifacts.example.com, 10.0.0.0/8], deny: [10.9.0.0/16], timeout: 60, max_size: 5}\n";
    let fetch = ReactorConfig::parse(text, "config.yaml").unwrap().value.fetch;
    let verdict = |host: &str, address: &str| fetch.addresses.verdict(host, address.parse().unwrap());
    assert_eq!(verdict("artifacts.example.com", "192.168.1.1"), Some(true));
    assert_eq!((verdict("x", "10.1.1.1"), verdict("x", "10.9.1.1")), (Some(true), Some(false)));
    assert_eq!((fetch.timeout, fetch.max_size), (Some(60), Some(5)));
    let text = "version: 1\nfetch: {allow: ['no address', 10.0.0.1/8], deny: [a.example.com], timeout: -1, other: 1}\n";
    let error = ReactorConfig::parse(text, "config.yaml").unwrap_err().to_string();
    for part in ["no address", "10.0.0.1/8", "a.example.com", "timeout", "other"] {
        assert!(error.contains(part), "{part:?} is not in {error}");
    }
}
