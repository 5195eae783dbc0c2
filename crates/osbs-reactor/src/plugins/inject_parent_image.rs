//! `inject_parent_image`: the image of a given Koji build instead of the base image (`reactor.md` 3.1.7).
//!
//! Only names it: `pull_base_image`, which runs next, sees to the registry and the pull.

use crate::koji::{KojiArgs, with_koji_arguments};
use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::run::Run;
use async_trait::async_trait;
use osbs_koji::{Archive, Build, BuildInfo};
use osbs_types::{Phase, PullSpec};
use serde::Deserialize;
use serde_json::{Value, json};

/// The plugin's type.
pub fn plugin() -> PluginType {
    let kind = PluginType::new("inject_parent_image", &[Phase::Prebuild], |args| {
        Ok(Box::new(args.parse::<InjectParentImage>()?))
    })
    .purpose("Builds on the image of a given Koji build instead of the one that the Dockerfile names.")
    .argument("koji_parent_build", "number or NVR of the build; without one nothing is changed")
    .argument("koji_hub", "XML-RPC URL of the hub, where config.yaml has no `koji`");
    with_koji_arguments(kind)
        .reads(&["FROM of the Dockerfile", "config.yaml: koji, source_registry, registries_organization"])
        .writes(&["state base image, for pull_base_image"])
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct InjectParentImage {
    koji_parent_build: Option<String>,
    #[serde(flatten)]
    koji: KojiArgs,
}

#[async_trait]
impl Plugin for InjectParentImage {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let Some(named) = self.koji_parent_build.clone() else {
            return Ok(Done::Skipped("the request names no parent build".to_owned()));
        };
        if run.parents.base_is_scratch() || run.parents.base_is_custom() {
            return Ok(Done::Skipped("the image has no base image of a registry".to_owned()));
        }
        let current = run.parents.base_image.clone().or_else(|| run.parents.original_base_image.clone());
        let current: PullSpec = parsed(&current.unwrap_or_default())?;
        let koji = run.needed_koji(&self.koji).await?;
        let info = named.parse::<i64>().map_or(BuildInfo::Nvr(&named), BuildInfo::Id);
        let build = koji.build(info).await?.ok_or_else(|| {
            PluginError::user(format!("Koji has no build {named}, whose image was to be the parent"))
                .with_hint("koji_parent_build is a build's number or name-version-release")
        })?;
        let archives = koji.archives(build.id, "image").await?;
        let spec = candidate(&build, &archives).ok_or_else(|| {
            PluginError::user(format!("Koji's build {} says of no image where it can be pulled", build.nvr))
                .with_hint("was it built by OSBS?")
        })?;
        let parent = replacement(run, &current, &parsed(&spec)?, &build.nvr)?;
        run.log().info(format!("the base image is that of Koji's build {}: {parent}", build.nvr));
        run.parents.base_image = Some(parent.to_string());
        Ok(Done::Value(json!(build.id)))
    }
}

fn parsed(text: &str) -> Result<PullSpec, PluginError> {
    text.parse().map_err(|error| PluginError::user(format!("parent image: {error}")))
}

/// Where the build's image can be pulled; by digest if that is known.
fn candidate(build: &Build, archives: &[Archive]) -> Option<String> {
    let texts = |list: Value| -> Vec<String> {
        let list = list.as_array().cloned().unwrap_or_default();
        list.iter().filter_map(|spec| spec.as_str().map(str::to_owned)).collect()
    };
    let of_index = texts(build.extra.to_json()["image"]["index"]["pull"].clone());
    let of_archives = || {
        let all = archives.iter().map(|archive| texts(archive.extra.to_json()["docker"]["repositories"].clone()));
        all.into_iter().find(|specs| !specs.is_empty()).unwrap_or_default()
    };
    let specs = if of_index.is_empty() { of_archives() } else { of_index };
    specs.iter().find(|spec| spec.contains('@')).or(specs.first()).cloned()
}

/// The build's image in the registry of the current base image; it must be an image of the same name.
fn replacement(run: &Run, current: &PullSpec, of_build: &PullSpec, nvr: &str) -> Result<PullSpec, PluginError> {
    let enclosed = |spec: &PullSpec| match &run.config.registries_organization {
        Some(organization) => spec.enclose(organization),
        None => spec.clone(),
    };
    let (current, of_build) = (enclosed(current), enclosed(&of_build.with_registry(current.registry())));
    if current.repository() == of_build.repository() {
        return Ok(of_build);
    }
    let text = format!(
        "Koji's build {nvr} is an image {}, and the Dockerfile is FROM {}",
        of_build.repository(),
        current.repository()
    );
    Err(PluginError::user(text).with_hint("give a build of the same image as koji_parent_build"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build_json::PluginLists;
    use crate::testing::run_with;

    fn build(extra: &Value) -> Build {
        let answer = json!({"id": 1, "name": "f", "version": "40", "release": "2", "state": 1, "extra": extra});
        Build::read(osbs_koji::Value::from_json(&answer)).unwrap()
    }

    fn archive(repositories: &Value) -> Archive {
        let answer =
            json!({"id": 1, "build_id": 1, "filename": "f", "extra": {"docker": {"repositories": repositories}}});
        Archive::read(osbs_koji::Value::from_json(&answer)).unwrap()
    }

    #[track_caller]
    fn check_candidate(pull: &Value, archives: &[Value], expected: Option<&str>) {
        let build = build(&json!({"image": {"index": {"pull": pull}}}));
        let archives: Vec<_> = archives.iter().map(archive).collect();
        assert_eq!(candidate(&build, &archives).as_deref(), expected);
    }

    #[test]
    fn where_the_image_is() {
        check_candidate(&json!(["r/f:40", "r/f@sha256:1"]), &[], Some("r/f@sha256:1"));
        check_candidate(&json!(["r/f:40"]), &[], Some("r/f:40"));
        check_candidate(&json!([]), &[json!([]), json!(["r/f:1"])], Some("r/f:1"));
        check_candidate(&Value::Null, &[], None);
    }

    #[tokio::test]
    async fn only_the_same_image_takes_its_place() {
        let mut test = run_with("FROM r.io/fedora:40\n", &[], PluginLists::default()).await;
        let digest = format!("@sha256:{}", "1".repeat(64));
        let spec = |text: &str| text.parse::<PullSpec>().unwrap();
        let current = spec("r.io/fedora:40");
        let found = replacement(&test.run, &current, &spec(&format!("other.io/fedora{digest}")), "f-40-2").unwrap();
        assert_eq!(found.to_string(), format!("r.io/fedora{digest}"), "the registry stays");
        let error = replacement(&test.run, &current, &spec("r.io/centos:8"), "c-8-1").unwrap_err().to_string();
        assert!(error.contains("centos") && error.contains("c-8-1"), "{error}");
        let config = "version: 1\nregistries_organization: org\n";
        let config = osbs_config::ReactorConfig::parse(config, "config.yaml").unwrap().value;
        test.run.config = std::sync::Arc::new(config);
        let found = replacement(&test.run, &spec("r.io/ns/web:1"), &spec("r.io/org/ns-web:2"), "w-1-1").unwrap();
        assert_eq!(found.to_string(), "r.io/org/ns-web:2");
    }

    #[tokio::test]
    async fn nothing_to_replace() {
        for (dockerfile, args) in
            [("FROM r.io/fedora:40\n", json!({})), ("FROM scratch\n", json!({"koji_parent_build": "f-40-2"}))]
        {
            let mut test = run_with(dockerfile, &[], PluginLists::default()).await;
            assert!(matches!(test.plugin(&plugin(), args).await, Ok(Done::Skipped(_))), "{dockerfile}");
        }
    }
}
