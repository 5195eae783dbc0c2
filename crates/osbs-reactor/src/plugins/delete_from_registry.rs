//! `delete_from_registry`: takes the images out of the registry that only served as source for Pulp (`reactor.md` 3.5.5,
//! O11).
//!
//! Deletes by digest and nothing that another tag leads to, an index before its members; after a successful build only
//! when Pulp has published it.

mod reach;

use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::registries::{OutputRegistry, RegistryArg, refused};
use crate::run::{PushedRegistry, Run};
use async_trait::async_trait;
use osbs_registry::RegistryError;
use osbs_types::{Digest, Failure, Phase};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Of the digests recorded for a name, the one that a client gets (`reactor.md` 1.13).
const PREFERENCE: [&str; 5] = ["v2_list", "oci_index", "oci", "v2", "v1"];

/// The plugin.
pub fn plugin() -> PluginType {
    PluginType::new("delete_from_registry", &[Phase::Exit], |args| Ok(Box::new(args.parse::<DeleteFromRegistry>()?)))
        .purpose("Deletes the pushed images from the registry that only served as source for Pulp.")
        .argument(
            "registries",
            "registry to {insecure, secret}: where to delete; the first of config.yaml's `registries`",
        )
        .reads(&[
            "whether Pulp has published the image",
            "digests this build and its worker builds have pushed",
            "all tags of the repositories, so that nothing of another tag is deleted",
        ])
        .writes(&["the images, gone from the registry", "the registry, gone from the record of pushes"])
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct DeleteFromRegistry {
    registries: BTreeMap<String, RegistryArg>,
}

/// Something this build has put into a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ours {
    repository: String,
    tag: String,
    digest: Digest,
    is_index: bool,
}

/// What became of a registry's images.
#[derive(Default)]
struct Deleted {
    digests: BTreeSet<Digest>,
    /// Deleted now, or gone before.
    gone: usize,
}

#[async_trait]
impl Plugin for DeleteFromRegistry {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        if let Some(why) = keep(run) {
            return Ok(Done::Skipped(why));
        }
        let mut deleted = BTreeSet::new();
        let mut failures: Vec<Failure> = Vec::new();
        for registry in self.targets(run).await? {
            let ours = ours(run, &registry.host);
            if ours.is_empty() && !run.is_orchestrator() {
                run.log().warning(format!("nothing was pushed to {}: there is nothing to delete", registry.host));
            }
            let mut done = Deleted::default();
            if let Err(error) = delete_all(run, &registry, &ours, &mut done).await {
                failures.push(error.into_failure());
            }
            if done.gone > 0 {
                // Later records shall tell of Pulp only.
                run.pushed.retain(|pushed| pushed.host != registry.host);
                run.floating.retain(|waiting| waiting.registry.host() != registry.host);
            }
            deleted.extend(done.digests);
        }
        match failures.into_iter().next() {
            Some(failure) => Err(failure.into()),
            None => Ok(Done::Value(json!(deleted))),
        }
    }
}

/// Why nothing may be deleted; `None`: it may.
fn keep(run: &Run) -> Option<String> {
    if run.has_failed() {
        let failed = run.records.errors.keys().find(|plugin| plugin.starts_with("pulp_"));
        return failed.map(|plugin| format!("{plugin} failed, so the registry keeps what Pulp may not have"));
    }
    let ended = |phase, plugin| run.result(phase, plugin).is_some_and(|result| !result.is_null());
    let published = match run.request.plugins.entry(Phase::Exit, "pulp_publish") {
        Some(_) => ended(Phase::Exit, "pulp_publish"),
        None => ended(Phase::Postbuild, "pulp_sync"),
    };
    (!published).then(|| "Pulp has not published the image, so the registry keeps it".to_owned())
}

impl DeleteFromRegistry {
    /// The registries of the argument; without one that from which Pulp syncs, the first. Never that of the parents.
    async fn targets(&self, run: &Run) -> Result<Vec<OutputRegistry>, PluginError> {
        let mut targets = run.output_registries(&self.registries).await?;
        if self.registries.is_empty() {
            targets.truncate(1);
        } else {
            let named: BTreeSet<_> = self.registries.keys().map(|uri| bare_host(uri)).collect();
            targets.retain(|target| named.contains(target.host.as_str()));
        }
        let parents = run.config.source_registry.as_ref().map(|source| source.uri.host.as_str());
        targets.retain(|target| {
            let is_source = parents == Some(target.host.as_str());
            if is_source {
                run.log().warning(format!("{} is also the source registry: nothing is deleted there", target.host));
            }
            !is_source
        });
        Ok(targets)
    }
}

/// All that this build and its workers put into a registry: indexes, then workers' images, then the rest.
fn ours(run: &Run, host: &str) -> Vec<Ours> {
    let mut found: Vec<Ours> =
        run.workers.values().flat_map(|worker| of_worker(&worker.build.annotations, host)).collect();
    found.extend(run.pushed.iter().filter(|pushed| pushed.host == host).flat_map(of_run));
    // Stable: indexes come first, all else stays in order.
    found.sort_by_key(|ours| !ours.is_index);
    found
}

fn of_run(pushed: &PushedRegistry) -> Vec<Ours> {
    let default = |versions: &BTreeMap<String, Digest>| {
        PREFERENCE.iter().find_map(|version| Some(((*version).to_owned(), versions.get(*version)?.clone())))
    };
    let names = pushed.digests.iter().filter_map(|(name, versions)| {
        let ((repository, tag), (version, digest)) = (name.rsplit_once(':')?, default(versions)?);
        Some(Ours { repository: repository.to_owned(), tag: tag.to_owned(), digest, is_index: is_index(&version) })
    });
    names.collect()
}

/// The annotation `digests` of a worker build; nothing when it has none that can be read.
fn of_worker(annotations: &BTreeMap<String, String>, host: &str) -> Vec<Ours> {
    #[derive(Deserialize)]
    struct Entry {
        registry: String,
        repository: String,
        tag: String,
        digest: Digest,
        #[serde(default)]
        version: String,
    }
    let text = annotations.get("digests").map_or("[]", String::as_str);
    let entries: Vec<Value> = serde_json::from_str(text).unwrap_or_default();
    let entries = entries.into_iter().filter_map(|entry| serde_json::from_value::<Entry>(entry).ok());
    let there = entries.filter(|entry| bare_host(&entry.registry) == host);
    let ours = there.map(|Entry { repository, tag, digest, version, .. }| {
        let is_index = is_index(&version);
        Ours { repository, tag, digest, is_index }
    });
    ours.collect()
}

fn is_index(version: &str) -> bool {
    matches!(version, "v2_list" | "oci_index")
}

/// `host[:port]` of a registry that may be written with scheme and version.
fn bare_host(text: &str) -> &str {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// Each digest once. What cannot be deleted ends the registry's part.
async fn delete_all(
    run: &Run,
    registry: &OutputRegistry,
    ours: &[Ours],
    done: &mut Deleted,
) -> Result<(), PluginError> {
    let repositories: BTreeSet<&str> = ours.iter().map(|ours| ours.repository.as_str()).collect();
    let mut wanted = BTreeMap::new();
    for repository in repositories {
        let kept = reach::wanted_by_others(&registry.client, repository, ours);
        wanted.insert(repository, kept.await.map_err(|error| refused(error, "read from"))?);
    }
    let mut seen = BTreeSet::new();
    for Ours { repository, digest, .. } in ours {
        if !seen.insert((repository, digest)) {
            continue;
        }
        let name = format!("{}/{repository}@{digest}", registry.host);
        if let Some(tag) = wanted[repository.as_str()].get(digest) {
            run.log().info(format!("{name} stays: the tag {tag}, which is not of this build, leads to it"));
            continue;
        }
        match registry.client.delete_manifest(repository, digest).await {
            Ok(()) => {
                run.log().info(format!("deleted {name}"));
                done.gone += 1;
                done.digests.insert(digest.clone());
            }
            Err(RegistryError::NotFound { .. }) => {
                run.log().warning(format!("{name} was gone already"));
                done.gone += 1;
            }
            Err(error) if error.status() == Some(405) => {
                let host = &registry.host;
                run.log().warning(format!("{host} does not delete: what was pushed for Pulp stays there"));
                return Ok(());
            }
            Err(error) => return Err(refused(error, "delete from")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
