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
use osbs_types::{Failure, Phase};
use serde_json::{Value, json};

/// Its name, which the engine knows.
pub(crate) const NAME: &str = "push_floating_tags";

/// The plugin.
pub fn plugin() -> PluginType {
    PluginType::new(NAME, &[Phase::Exit], |_| Ok(Box::new(PushFloatingTags)))
        .purpose("Moves floating tags such as `latest` to the new image, after everything else has succeeded.")
        .reads(&[
            "the names that tag_and_push, group_manifests, pulp_push, pulp_tag and pulp_sync left for the end",
            "whether anything has failed",
        ])
        .writes(&[
            "floating tags in every registry and in Pulp",
            "the annotations repositories and digests, when a tag cannot be moved",
        ])
}

struct PushFloatingTags;

#[async_trait]
impl Plugin for PushFloatingTags {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let in_pulp = run.waiting_in_pulp();
        if run.has_failed() {
            let names = [names(&std::mem::take(&mut run.floating)), in_pulp].concat().join(", ");
            run.pulp.iter_mut().for_each(|brought| brought.waiting.clear());
            // A step behind the one that wrote the record has failed.
            correct_record(run).await;
            return Ok(Done::Skipped(format!("the build failed, so these stay where they are: {names}")));
        }
        if !run.has_waiting_names() {
            return Ok(Done::Skipped("no name moves".to_owned()));
        }
        let mut moved = Vec::new();
        let outcome = move_everywhere(run, &mut moved).await;
        if let Some(specs) = run.facts.get_mut("pull_specs").and_then(Value::as_array_mut) {
            specs.extend(moved.iter().map(|name| json!(name)));
        }
        let Err((name, mut failure)) = outcome else { return Ok(Done::Value(json!(moved))) };
        run.floating.clear();
        run.pulp.iter_mut().for_each(|brought| brought.waiting.clear());
        correct_record(run).await;
        let before =
            if moved.is_empty() { "no floating tag was moved".to_owned() } else { moved.join(", ") + " moved" };
        failure.message = format!("{name} cannot be moved ({before}): {}", failure.message);
        Err(PluginError::from(failure))
    }
}

/// Which name it was, and why.
type Stuck = (String, Failure);

/// Pulp first gets versions with the names, which nobody sees; then registries move, then Pulp shows them.
async fn move_everywhere(run: &mut Run, moved: &mut Vec<String>) -> Result<(), Stuck> {
    let waiting = std::mem::take(&mut run.floating);
    let in_pulp = run.waiting_in_pulp().join(", ");
    let stuck = |error: PluginError| (in_pulp.clone(), error.into_failure());
    let pulp = if in_pulp.is_empty() {
        None
    } else {
        let site = run.pulp_of_lists().await.map_err(stuck)?;
        let prepared = site.prepare_waiting(run).await.map_err(|error| stuck(error.into()))?;
        Some((site, prepared))
    };
    if let Err((name, error)) = move_all(run, &waiting, moved).await {
        let spec = name.pull_spec();
        if let Some((site, prepared)) = &pulp {
            site.forget(run, prepared).await;
        }
        return Err((spec, refused(error, "push to").into_failure()));
    }
    if let Some((site, prepared)) = pulp {
        let shown = site.show_waiting(run, prepared).await.map_err(|error| stuck(error.into()))?;
        for name in &shown {
            run.log().info(format!("{name} is the new image in Pulp"));
        }
        moved.extend(shown);
    }
    Ok(())
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

fn names(waiting: &[FloatingName]) -> Vec<String> {
    waiting.iter().map(FloatingName::pull_spec).collect()
}
