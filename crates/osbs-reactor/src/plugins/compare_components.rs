//! `compare_components`: the same package is the same on every platform (`reactor.md` 3.4.12, M33).

use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::run::Run;
use async_trait::async_trait;
use osbs_types::Phase;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The plugin.
pub fn plugin() -> PluginType {
    PluginType::new("compare_components", &[Phase::Postbuild], |_| Ok(Box::new(CompareComponents)))
        .purpose("Fails a build whose platforms have different versions of the same package.")
        .reads(&["result of `fetch_worker_metadata`", "`package_comparison_exceptions` of config.yaml"])
        .writes(&["nothing but the log, where packages differ"])
}

struct CompareComponents;

/// A component of an image, as fragments have it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Component {
    name: String,
    epoch: Option<i64>,
    version: String,
    release: String,
    signature: Option<String>,
    #[serde(rename = "type", default)]
    kind: String,
}

/// Package name -> platform -> all of that name there.
type ByName = BTreeMap<String, BTreeMap<String, BTreeSet<Component>>>;

#[async_trait]
impl Plugin for CompareComponents {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        if run.parents.base_is_scratch() {
            return Ok(Done::Skipped("the base image is scratch".to_owned()));
        }
        let fragments = run.result(Phase::Postbuild, "fetch_worker_metadata").cloned().unwrap_or_default();
        let found = gather(run, &fragments)?;
        let differing: Vec<_> = found
            .iter()
            .filter(|(name, _)| !run.config.package_comparison_exceptions.contains(name))
            .filter(|(_, platforms)| platforms.values().collect::<BTreeSet<_>>().len() > 1)
            .collect();
        for (name, platforms) in &differing {
            for (platform, components) in *platforms {
                for component in components {
                    run.log().error(format!(
                        "{platform}: {name}-{}-{} ({})",
                        component.version,
                        component.release,
                        component.signature.as_deref().unwrap_or("unsigned")
                    ));
                }
            }
        }
        if differing.is_empty() {
            return Ok(Done::nothing());
        }
        let names: Vec<_> = differing.iter().map(|(name, _)| name.as_str()).collect();
        Err(PluginError::user(format!("packages differ between platforms: {}", names.join(", ")))
            .with_hint("make the same versions available to all platforms, then build again"))
    }
}

/// Components of all images, by name.
fn gather(run: &Run, fragments: &Value) -> Result<ByName, PluginError> {
    let mut found = ByName::new();
    let mut any = false;
    for (platform, fragment) in fragments.as_object().into_iter().flatten() {
        let outputs = fragment["output"].as_array().into_iter().flatten();
        for output in outputs.filter(|output| output["type"] == "docker-image") {
            let Some(components) = output.get("components") else {
                run.log().for_platform(platform).warning("the image tells no components");
                continue;
            };
            any = true;
            let components: Vec<Component> = serde_json::from_value(components.clone())
                .map_err(|error| PluginError::internal(format!("components of {platform}: {error}")))?;
            for component in components {
                if component.kind != "rpm" {
                    let text =
                        format!("component {} of {platform} is of type {:?}, not rpm", component.name, component.kind);
                    return Err(PluginError::internal(text));
                }
                let platforms = found.entry(component.name.clone()).or_default();
                platforms.entry(platform.clone()).or_default().insert(component);
            }
        }
    }
    if any {
        Ok(found)
    } else {
        Err(PluginError::internal("no image tells its components, so nothing can be compared"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build_json::PluginLists;
    use crate::testing::run_with;
    use serde_json::json;

    fn rpm(name: &str, version: &str, epoch: Option<i64>) -> Value {
        json!({"type": "rpm", "name": name, "epoch": epoch, "version": version, "release": "1", "arch": "x", "signature": null})
    }

    fn fragment(components: &[&Value]) -> Value {
        json!({"output": [{"type": "log"}, {"type": "docker-image", "components": components}]})
    }

    async fn check(fragments: Value, expected: Result<(), &str>) {
        let mut test = run_with("FROM fedora:40\n", &[], PluginLists::default()).await;
        let results = test.run.records.results.entry(Phase::Postbuild).or_default();
        results.insert("fetch_worker_metadata".to_owned(), Ok(fragments.clone()));
        match (test.plugin(&plugin(), json!({})).await, expected) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(part)) => assert!(error.to_string().ends_with(part), "{error}"),
            (other, _) => panic!("{fragments}: {other:?}, expected {expected:?}"),
        }
    }

    #[tokio::test]
    async fn sets_of_packages_per_name() {
        let (a1, a2, b1) = (rpm("a", "1", None), rpm("a", "2", None), rpm("b", "1", None));
        let two = |x: &[&Value], y: &[&Value]| json!({"x86_64": fragment(x), "aarch64": fragment(y)});
        check(two(&[&a1, &b1], &[&a1]), Ok(())).await;
        check(two(&[&a1], &[&a2]), Err("platforms: a")).await;
        check(two(&[&a1, &b1], &[&a2, &rpm("b", "9", None)]), Err("platforms: a, b")).await;
        // Several versions of one package (kernels, keys) on each platform.
        check(two(&[&a1, &a2], &[&a2, &a1]), Ok(())).await;
        check(two(&[&a1], &[&rpm("a", "1", Some(1))]), Err("platforms: a")).await;
        check(json!({"x86_64": {"output": [{"type": "docker-image"}]}}), Err("nothing can be compared")).await;
        check(two(&[&json!({"type": "maven", "name": "a", "version": "1", "release": "1"})], &[]), Err("not rpm"))
            .await;
    }
}
