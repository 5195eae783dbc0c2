//! `push_floating_tags`: moves `latest` and the other floating names, when nothing is left that could fail
//! (`reactor.md` 2.3, M16).
//!
//! The lists of arrangements 1 to 6 do not have it: the engine runs it behind the last exit plugin. A site whose own list
//! names it, as later ones of arrangement 6 did, gets it at that place.

use super::store_metadata_in_osv3::annotations_of_pushes;
use crate::floating::FloatingName;
use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::registries::refused;
use crate::run::Run;
use async_trait::async_trait;
use osbs_cluster::BuildPatch;
use osbs_registry::RegistryError;
use osbs_types::Phase;
use serde_json::{Value, json};

/// Its name, which the engine knows.
pub(crate) const NAME: &str = "push_floating_tags";

/// The plugin.
pub fn plugin() -> PluginType {
    PluginType::new(NAME, &[Phase::Exit], |_| Ok(Box::new(PushFloatingTags)))
        .purpose("Moves floating tags such as `latest` to the new image, after everything else has succeeded.")
        .reads(&["the names that tag_and_push and group_manifests left for the end", "whether anything has failed"])
        .writes(&[
            "floating tags in every registry",
            "the annotations repositories and digests, when a tag cannot be moved",
        ])
}

struct PushFloatingTags;

#[async_trait]
impl Plugin for PushFloatingTags {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        if run.has_failed() {
            let names = spoken(&std::mem::take(&mut run.floating));
            // A step behind the one that wrote the record has failed.
            correct_record(run).await;
            return Ok(Done::Skipped(format!("the build failed, so these stay where they are: {names}")));
        }
        let waiting = std::mem::take(&mut run.floating);
        if waiting.is_empty() {
            return Ok(Done::Skipped("no name moves".to_owned()));
        }
        let mut moved = Vec::new();
        let outcome = move_all(run, &waiting, &mut moved).await;
        if let Some(specs) = run.facts.get_mut("pull_specs").and_then(Value::as_array_mut) {
            specs.extend(moved.iter().map(|name| json!(name)));
        }
        let Err((name, error)) = outcome else { return Ok(Done::Value(json!(moved))) };
        correct_record(run).await;
        let mut failure = refused(error, "push to").into_failure();
        let before =
            if moved.is_empty() { "no floating tag was moved".to_owned() } else { moved.join(", ") + " moved" };
        failure.message = format!("{} cannot be moved ({before}): {}", name.pull_spec(), failure.message);
        Err(PluginError::from(failure))
    }
}

/// First every registry is asked for every name, so that one that is down or refuses us moves nothing anywhere.
async fn move_all<'a>(
    run: &mut Run,
    waiting: &'a [FloatingName],
    moved: &mut Vec<String>,
) -> Result<(), (&'a FloatingName, RegistryError)> {
    for name in waiting {
        let asked = name.registry.head_manifest(name.name.repository(), &name.name.reference()).await;
        asked.map_err(|error| (name, error))?;
    }
    for name in waiting {
        let (repository, reference) = (name.name.repository(), name.name.reference());
        let put = name.registry.put_manifest(repository, &reference, &name.manifest.media_type, &name.bytes).await;
        put.map_err(|error| (name, error))?;
        let spec = name.pull_spec();
        run.log().info(format!("{spec} is {}", name.manifest.digest));
        run.pushed_registry(name.registry.host()).add(&name.name, &name.manifest);
        moved.push(spec);
    }
    Ok(())
}

/// The record was written when nothing had failed yet.
async fn correct_record(run: &Run) {
    if run.result(Phase::Exit, "store_metadata_in_osv3").is_none() {
        return;
    }
    let mut patch = BuildPatch::default();
    for (name, value) in annotations_of_pushes(run) {
        patch = patch.annotation(name, value);
    }
    if let Err(error) = run.services.cluster.update_build(&run.build.name, patch).await {
        run.log().warning(format!("the build's record still names floating tags that did not move: {error}"));
    }
}

fn spoken(names: &[FloatingName]) -> String {
    names.iter().map(FloatingName::pull_spec).collect::<Vec<_>>().join(", ")
}
