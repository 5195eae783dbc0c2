//! Every plugin that is left of an arrangement is known to the reactor, for its phase.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use osbs_arrangement::{PluginLists, RenderInput, prune_by_environment, render, render_user_params, template};
use osbs_config::{GeneralConfig, InstanceConfig, OsbsConf, ReactorConfig, Settings, UserParams};
use osbs_reactor::plugins;
use osbs_types::{BuildType, Phase};
use std::collections::BTreeMap;

/// A site with nothing but clusters and registries.
const CONFIG: &str = "
version: 1
clusters: {x86_64: [{name: local, max_concurrent_builds: 2}]}
registries: [{url: 'http://localhost:5000'}]
source_registry: {url: 'http://localhost:5000'}
";

fn params(build_type: BuildType) -> UserParams {
    UserParams {
        build_type: Some(build_type),
        user: "alice".to_owned(),
        component: Some("web".to_owned()),
        git_uri: "https://git.example.com/web.git".to_owned(),
        git_ref: Some("4f2c1d0".to_owned()),
        image_tag: Some("alice/web:none-12345-20240102030405".to_owned()),
        base_image: Some("fedora:40".to_owned()),
        platforms: vec!["x86_64".parse().unwrap()],
        platform: (build_type == BuildType::Worker).then(|| "x86_64".parse().unwrap()),
        release: (build_type == BuildType::Worker).then(|| "1".to_owned()),
        ..UserParams::default()
    }
}

fn instance() -> InstanceConfig {
    let text = "[default]\nregistry_uri = http://localhost:5000\nsource_registry_uri = http://localhost:5000\n";
    let conf = OsbsConf::parse(text, "osbs.conf").unwrap().value;
    Settings::new(Some(conf), "default", BTreeMap::new(), BTreeMap::new()).resolve().unwrap().value
}

fn rendered(version: u32, params: &UserParams) -> PluginLists {
    let build_type = params.build_type.unwrap();
    let lists = template(build_type, version).unwrap();
    if version == 6 {
        let (mut lists, _) = render_user_params(lists, params, None).unwrap();
        let config = ReactorConfig::parse(CONFIG, "config.yaml").unwrap().value;
        prune_by_environment(&mut lists, &config, params);
        return lists;
    }
    let input = RenderInput {
        build_type,
        arrangement_version: version,
        params,
        config: &instance(),
        general: &GeneralConfig::default(),
        platforms: &BTreeMap::new(),
        is_auto: false,
        triggers: false,
        config_in_environment: true,
        customization: None,
    };
    render(lists, &input).unwrap().lists
}

/// `VERSION TYPE PHASE NAME` of what is left and not known.
fn unknown(version: u32, params: &UserParams) -> Vec<String> {
    let types = plugins::all();
    let lists = rendered(version, params);
    let of_phase = |phase: Phase| lists.phase(phase).iter().map(move |entry| (phase, entry.name.as_str()));
    Phase::ALL
        .into_iter()
        .flat_map(of_phase)
        .filter(|(phase, name)| types.find(name, *phase).is_none())
        .map(|(phase, name)| format!("{version} {} {phase} {name}", params.build_type.unwrap()))
        .collect()
}

#[test]
fn all_that_is_left_of_an_arrangement_is_known() {
    let mut missing = Vec::new();
    for version in [1, 6] {
        for build_type in [BuildType::Orchestrator, BuildType::Worker] {
            for (scratch, repos) in [(false, false), (true, false), (false, true)] {
                let mut params = params(build_type);
                params.scratch = scratch;
                params.yum_repourls = repos.then(|| "http://localhost/r.repo".to_owned()).into_iter().collect();
                missing.extend(unknown(version, &params));
            }
        }
    }
    missing.sort();
    missing.dedup();
    assert!(missing.is_empty(), "not known to the reactor: {missing:#?}");
}

#[test]
fn the_builders_of_a_worker_are_known() {
    for method in ["docker_api", "imagebuilder"] {
        assert!(plugins::all().find(method, Phase::Buildstep).is_some(), "{method}");
    }
}
