//! `verify_media`: every registry must serve the image in the media types its users expect (`reactor.md` 3.5.3, O3, O5).
//!
//! A registry is asked once for what the unique name stands for; an index counts with its members, each of which must be
//! there.

use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::registries::{OutputRegistry, refused};
use crate::run::{Run, TagClass};
use async_trait::async_trait;
use osbs_image::media_type::{DOCKER_MANIFEST_LIST, OCI_INDEX, is_index};
use osbs_image::{Descriptor, Index, Limits};
use osbs_registry::RegistryError;
use osbs_types::{Phase, PullSpec, Reference};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// Types that nobody makes any more (O1, O2): they are expected in vain, which is told when config.yaml is read.
const OBSOLETE: [&str; 2] = ["application/json", "application/vnd.docker.distribution.manifest.v1+json"];

/// The plugin.
pub fn plugin() -> PluginType {
    PluginType::new("verify_media", &[Phase::Exit], |_| Ok(Box::new(VerifyMedia)))
        .purpose(
            "Fails the build when a registry does not serve the image in every media type that the site expects there.",
        )
        .reads(&[
            "`registries` of config.yaml: expected_media_types",
            "what the first unique name stands for in each registry",
            "whether group_manifests made an index, and for which platforms",
        ])
        .writes(&["the media types found, for the annotation media-types"])
}

struct VerifyMedia;

#[async_trait]
impl Plugin for VerifyMedia {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        if run.has_failed() {
            return Ok(Done::Value(json!([])));
        }
        if run.pulp_takes_over() {
            return Ok(Done::Skipped("the image is served by Pulp, whose own steps look at it".to_owned()));
        }
        let name = run.tags.class(TagClass::Unique).first().cloned();
        let name = name.ok_or_else(|| PluginError::internal("the image has no unique name to look for"))?;
        let only = index_for_others(run);
        let (mut all, mut wrong) = (BTreeSet::new(), Vec::new());
        for registry in run.output_registries(&BTreeMap::new()).await? {
            let found = media_types(&registry, &name).await?;
            run.log().info(format!("{}/{name} is there as {}", registry.host, listed(&found)));
            let missing = missing(&registry, only, &found);
            if !missing.is_empty() {
                let text = format!("{} has {name} as {}, not as {}", registry.host, listed(&found), listed(&missing));
                run.log().error(text.clone());
                wrong.push(text);
            }
            all.extend(found);
        }
        if !wrong.is_empty() {
            return Err(PluginError::policy(format!("expected media types are missing: {}", wrong.join("; "))).with_hint(
                "compare `expected_media_types` and `group_manifests` in config.yaml: images have OCI types unless all \
                 that is expected is Docker's, and an index is there only with group_manifests",
            ));
        }
        Ok(Done::Value(only.map_or_else(|| json!(all), |only| json!([only]))))
    }
}

/// The index's type, if there is one and no image in it is for amd64: then nothing else is expected, because what a
/// registry makes of an index for clients that know none is its image for amd64.
fn index_for_others(run: &Run) -> Option<&'static str> {
    let made = run.result(Phase::Postbuild, "group_manifests")?.as_object()?.values().next()?;
    let media_type = if made.get("v2_list").is_some() { DOCKER_MANIFEST_LIST } else { OCI_INDEX };
    let architecture = |name: &String| name.parse().map(|platform| run.config.architecture(&platform).name);
    let any_amd64 = run.workers.keys().any(|platform| architecture(platform).is_ok_and(|name| name == "amd64"));
    (!any_amd64).then_some(media_type)
}

fn missing(registry: &OutputRegistry, only: Option<&'static str>, found: &BTreeSet<String>) -> BTreeSet<String> {
    let expected: BTreeSet<String> = match only {
        Some(only) => [only.to_owned()].into(),
        None => registry.expected_media_types.iter().cloned().collect(),
    };
    expected.into_iter().filter(|name| !found.contains(name) && !OBSOLETE.contains(&name.as_str())).collect()
}

/// The types under which a registry serves the name: its own, and those of the members of an index.
async fn media_types(registry: &OutputRegistry, name: &PullSpec) -> Result<BTreeSet<String>, PluginError> {
    let (client, repository) = (&registry.client, name.repository());
    let failed = |error: RegistryError| match error {
        RegistryError::NotFound { .. } => {
            let text = format!("{}/{name}, which this build has pushed, is not there any more", registry.host);
            PluginError::remote(text).with_hint("does something clean the registry up while builds run?")
        }
        error => refused(error, "read from"),
    };
    let named = client.manifest(repository, &name.reference()).await.map_err(failed)?;
    let Descriptor { media_type, digest, .. } = &named.descriptor;
    let mut types = BTreeSet::from([media_type.clone()]);
    if is_index(media_type) {
        let index = Index::parse(&named.bytes, media_type, digest.as_str(), &Limits::default())?;
        for member in index.manifests {
            let found = client.head_manifest(repository, &Reference::Digest(member.digest.clone())).await;
            let Some(found) = found.map_err(failed)? else {
                let text = format!("the index {}/{name} lists {}, which is not there", registry.host, member.digest);
                return Err(PluginError::remote(text));
            };
            types.insert(found.media_type);
        }
    }
    Ok(types)
}

fn listed(types: &BTreeSet<String>) -> String {
    types.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build_json::{PluginEntry, PluginLists};
    use crate::testing::{TestRun, run_without_source};
    use crate::{BuildResult, plugin::PluginArgs};
    use osbs_types::{Digest, ErrorKind, Failure};

    async fn succeeded(lists: PluginLists) -> TestRun {
        let mut test = run_without_source(lists).await;
        test.run.build_result = Some(BuildResult::local(Digest::from_sha256(&[1; 32])));
        test
    }

    #[tokio::test]
    async fn failed_builds_and_those_of_pulp_are_passed_over() {
        let mut test = run_without_source(PluginLists::default()).await;
        assert_eq!(test.plugin(&plugin(), json!({})).await, Ok(Done::Value(json!([]))));
        let mut test = succeeded(PluginLists::default()).await;
        test.run.records.failure = Some(Failure::message(ErrorKind::Cancelled, "cancelled"));
        assert_eq!(test.plugin(&plugin(), json!({})).await, Ok(Done::Value(json!([]))));
        let mut lists = PluginLists::default();
        lists.postbuild_plugins.push(PluginEntry::new("pulp_sync"));
        let mut test = succeeded(lists).await;
        assert!(matches!(test.plugin(&plugin(), json!({})).await, Ok(Done::Skipped(_))));
    }

    #[tokio::test]
    async fn what_cannot_be_looked_for() {
        let mut test = succeeded(PluginLists::default()).await;
        let error = test.plugin(&plugin(), json!({})).await.unwrap_err().into_failure();
        assert_eq!(
            (error.kind, error.message.as_str()),
            (ErrorKind::Internal, "the image has no unique name to look for")
        );
        test.run.tags.add(TagClass::Unique, "ns/web:u".parse().unwrap());
        let error = test.plugin(&plugin(), json!({})).await.unwrap_err().into_failure();
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Policy, "no registry is configured to push to"));
        assert!((plugin().make)(PluginArgs::default()).is_ok());
    }
}
