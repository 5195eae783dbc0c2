//! `check_and_set_platforms`: for which platforms this build is (`reactor.md` 3.1.3, M23).

use crate::koji::KojiArgs;
use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::run::Run;
use async_trait::async_trait;
use osbs_config::ContainerYaml;
use osbs_types::{Phase, Platform};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The plugin.
pub fn plugin() -> PluginType {
    PluginType::new("check_and_set_platforms", &[Phase::Prebuild], |args| {
        Ok(Box::new(args.parse::<CheckAndSetPlatforms>()?))
    })
    .purpose("Decides which platforms are built.")
    .argument("koji_target", "build target: the arches of its build tag are the platforms; without Koji it is only told in the log")
    .reads(&[
        "the target's build tag in Koji",
        "user parameter `platforms`, where there is no target, where its tag names no arches, and in scratch and isolated builds",
        "else the platforms with an enabled cluster under `clusters` of config.yaml",
        "`platforms.only` and `platforms.not` of container.yaml",
    ])
    .writes(&["the platforms, for `orchestrate_build`"])
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CheckAndSetPlatforms {
    koji_target: Option<String>,
}

#[async_trait]
impl Plugin for CheckAndSetPlatforms {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let asked = self.asked(run).await?;
        let mut with_cluster = Vec::new();
        for platform in asked.clone() {
            if run.config.enabled_clusters(&platform).is_empty() {
                run.log()
                    .for_platform(platform.as_str())
                    .warning("left out: no enabled cluster builds for this platform");
            } else {
                with_cluster.push(platform);
            }
        }
        let yaml = match run.source()?.read_beside("container.yaml")? {
            Some(text) => {
                let parsed = ContainerYaml::parse(&text, "container.yaml")?;
                parsed.warnings.iter().for_each(|warning| run.log().warning(warning.to_string()));
                parsed.value
            }
            None => ContainerYaml::default(),
        };
        let platforms: BTreeSet<_> = yaml.restrict(&with_cluster).into_iter().collect();
        if platforms.is_empty() {
            return Err(nothing_left(&asked, &with_cluster, &yaml));
        }
        // A line a platform, in its own field: whoever looks for one platform's lines finds no line on another.
        for platform in &platforms {
            run.log().for_platform(platform.as_str()).info("is a platform of this build");
        }
        let result = json!(platforms);
        run.platforms = Some(platforms);
        Ok(Done::Value(result))
    }
}

impl CheckAndSetPlatforms {
    /// What is asked for, before clusters and container.yaml have their say: the arches of the target's build tag, but in
    /// scratch and isolated builds those that the request names; without either, what is configured.
    async fn asked(&self, run: &Run) -> Result<Vec<Platform>, PluginError> {
        let listed = listed(run)?;
        if let Some(target) = &self.koji_target {
            let of_tag = of_tag(run, target).await?;
            let chooses = (run.is_scratch() || run.is_isolated()) && !listed.is_empty();
            if !of_tag.is_empty() && !chooses {
                let differs = !listed.is_empty() && set(&listed) != set(&of_tag);
                if differs {
                    let text = "the platforms of the request count in scratch and isolated builds only";
                    run.log().info(format!("{text}: target {target} is for {}", join(&of_tag)));
                }
                return Ok(of_tag);
            }
        }
        if listed.is_empty() { configured(run) } else { Ok(listed) }
    }
}

/// The arches of the target's build tag; none: there is no Koji, or its tag names none.
async fn of_tag(run: &Run, target: &str) -> Result<Vec<Platform>, PluginError> {
    let Some(koji) = run.koji(&KojiArgs::default()).await? else {
        let text = "no Koji hub is asked for the arches of target";
        run.log().info(format!("{text} {target}: the configured platforms count"));
        return Ok(Vec::new());
    };
    let arches = koji.arches_of_target(target).await?;
    if arches.is_empty() {
        run.log().info(format!("the build tag of target {target} names no arches: the configured platforms count"));
    }
    let wrong = |arch: &str| PluginError::policy(format!("{arch:?} of target {target} in Koji cannot be a platform"));
    arches.iter().map(|arch| arch.parse().map_err(|_| wrong(arch))).collect()
}

fn set(platforms: &[Platform]) -> BTreeSet<&Platform> {
    platforms.iter().collect()
}

/// The argument `platforms` of `orchestrate_build`.
fn listed(run: &Run) -> Result<Vec<Platform>, PluginError> {
    let entry = run.request.plugins.entry(Phase::Buildstep, "orchestrate_build");
    match entry.and_then(|entry| entry.args.get("platforms")) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(list) => serde_json::from_value(list.clone())
            .map_err(|error| PluginError::user(format!("`platforms` of orchestrate_build: {error}"))),
    }
}

/// All platforms that have a cluster.
fn configured(run: &Run) -> Result<Vec<Platform>, PluginError> {
    let all = run.config.enabled_platforms();
    if all.is_empty() {
        return Err(PluginError::policy(
            "no platform is configured: neither the request nor the configuration names one",
        )
        .with_hint("add `clusters` to config.yaml"));
    }
    Ok(all)
}

fn join<'a>(platforms: impl IntoIterator<Item = &'a Platform>) -> String {
    platforms.into_iter().map(Platform::as_str).collect::<Vec<_>>().join(", ")
}

fn nothing_left(asked: &[Platform], with_cluster: &[Platform], yaml: &ContainerYaml) -> PluginError {
    let hint = "compare `platforms` in container.yaml with `clusters` in config.yaml";
    if with_cluster.is_empty() {
        let text = format!("none of the platforms asked for has an enabled cluster: {}", join(asked));
        return PluginError::policy(text).with_hint(hint);
    }
    let text = format!("container.yaml leaves no platform to build for; clusters are there for {}", join(with_cluster));
    let error = PluginError::user(text).with_hint(hint);
    match yaml.only.as_ref().or(yaml.not.as_ref()) {
        Some(rule) => error.at(rule.position.clone()),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build_json::{PluginEntry, PluginLists};
    use crate::koji::fake_hub::{Answer, FakeHub};
    use crate::testing::run_with;
    use osbs_config::ReactorConfig;
    use std::sync::Arc;

    const CLUSTERS: &str = "
version: 1
clusters:
  x86_64: [{name: a, max_concurrent_builds: 2}]
  aarch64: [{name: a, max_concurrent_builds: 2}]
  s390x: [{name: a, max_concurrent_builds: 2, enabled: false}]
";

    /// A build for target f43, whose build tag has these arches; `flag`: what kind of build it is.
    async fn check_target(asked: &[&str], arches: &'static str, flag: &str, expected: Result<&[&str], &str>) {
        let hub = FakeHub::start(move |method, arguments| match method {
            "getLastEvent" => Answer::Is(json!({"id": 70, "ts": 1.5})),
            "getBuildTarget" if arches == "unknown" => Answer::Is(Value::Null),
            "getBuildTarget" => {
                assert_eq!(arguments.last(), Some(&json!({"event": 70})));
                Answer::Is(json!({"id": 1, "name": "f43", "build_tag": 2, "build_tag_name": "f43-build",
                                  "dest_tag": 3, "dest_tag_name": "f43"}))
            }
            "getBuildConfig" => {
                assert_eq!(arguments, [json!("f43-build"), json!({"event": 70})]);
                let arches = if arches.is_empty() { Value::Null } else { json!(arches) };
                Answer::Is(json!({"id": 2, "name": "f43-build", "arches": arches}))
            }
            other => panic!("{other} is not expected"),
        });
        let mut entry = PluginEntry::new("orchestrate_build");
        entry.args.insert("platforms".to_owned(), json!(asked));
        let lists = PluginLists { buildstep_plugins: vec![entry], ..PluginLists::default() };
        let mut test = run_with("FROM scratch\n", &[], lists).await;
        let config = format!("{}{}", hub.config(), CLUSTERS.replace("\nversion: 1\n", ""));
        test.run.config = Arc::new(ReactorConfig::parse(&config, "config.yaml").unwrap().value);
        test.run.build.labels.insert(flag.to_owned(), "true".to_owned());
        match (test.plugin(&plugin(), json!({"koji_target": "f43"})).await, expected) {
            (Ok(_), Ok(wanted)) => {
                let got: Vec<_> = test.run.platforms.iter().flatten().map(Platform::as_str).collect();
                assert_eq!(got, wanted, "{asked:?} {arches} {flag}");
            }
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{arches}: {error}"),
            (other, _) => panic!("{asked:?} {arches}: {other:?}, expected {expected:?}"),
        }
    }

    #[tokio::test]
    async fn platforms_of_a_target() {
        check_target(&[], "x86_64 aarch64", "none", Ok(&["aarch64", "x86_64"])).await;
        check_target(&[], "x86_64 ppc64le s390x", "none", Ok(&["x86_64"])).await;
        // Who asks for less gets it in builds that nobody else takes their platforms from.
        check_target(&["aarch64"], "x86_64 aarch64", "none", Ok(&["aarch64", "x86_64"])).await;
        check_target(&["aarch64"], "x86_64 aarch64", "scratch", Ok(&["aarch64"])).await;
        check_target(&["aarch64"], "x86_64", "isolated", Ok(&["aarch64"])).await;
        // They are no way around the clusters (M23).
        check_target(&["s390x"], "x86_64", "scratch", Err("enabled cluster")).await;
        // A tag without arches leaves what is configured.
        check_target(&["aarch64"], "", "none", Ok(&["aarch64"])).await;
        check_target(&[], "", "none", Ok(&["aarch64", "x86_64"])).await;
        check_target(&[], "unknown", "none", Err("no build target f43")).await;
    }

    async fn check(asked: &[&str], yaml: &str, expected: Result<&[&str], &str>) {
        let mut entry = PluginEntry::new("orchestrate_build");
        entry.args.insert("platforms".to_owned(), json!(asked));
        let lists = PluginLists { buildstep_plugins: vec![entry], ..PluginLists::default() };
        let mut test = run_with("FROM scratch\n", &[("container.yaml", yaml)], lists).await;
        test.run.config = Arc::new(ReactorConfig::parse(CLUSTERS, "config.yaml").unwrap().value);
        match (test.plugin(&plugin(), json!({})).await, expected) {
            (Ok(_), Ok(wanted)) => {
                let got: Vec<_> = test.run.platforms.iter().flatten().map(Platform::as_str).collect();
                assert_eq!(got, wanted, "{asked:?} {yaml}");
            }
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{yaml}: {error}"),
            (other, _) => panic!("{asked:?} {yaml}: {other:?}, expected {expected:?}"),
        }
    }

    #[tokio::test]
    async fn arithmetic() {
        let both = ["x86_64", "aarch64"];
        check(&both, "", Ok(&["aarch64", "x86_64"])).await;
        check(&[], "", Ok(&["aarch64", "x86_64"])).await;
        check(&["x86_64", "s390x", "vax"], "", Ok(&["x86_64"])).await;
        check(&["s390x"], "", Err("enabled cluster")).await;
        check(&both, "platforms: {only: x86_64}", Ok(&["x86_64"])).await;
        check(&both, "platforms: {only: [x86_64, vax]}", Ok(&["x86_64"])).await;
        check(&both, "platforms: {not: x86_64}", Ok(&["aarch64"])).await;
        check(&both, "platforms: {not: [x86_64], only: [x86_64, aarch64]}", Ok(&["aarch64"])).await;
        check(&both, "platforms: {not: x86_64, only: x86_64}", Err("container.yaml")).await;
        check(&both, "platforms:\n  only: vax", Err("container.yaml:2")).await;
        check(&both, "platforms: {only: []}", Ok(&["aarch64", "x86_64"])).await;
        check(&both, "platform: x86_64", Err("container.yaml:1")).await;
    }
}
