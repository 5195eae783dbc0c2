//! `group_manifests`: the final names, on an index over all platforms or on the single image (`reactor.md` 3.4.13, M12 to
//! M14, O4 to O6).
//!
//! First everything is brought into every target repository, then it gets its unique and primary names: a failure in
//! between leaves no name on half an image. Floating names wait for the end of the run.

use super::store_metadata_in_osv3::announce_pushes;
use crate::floating::{FloatingName, version};
use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::registries::{OutputRegistry, RegistryArg, refused};
use crate::run::{Run, TagClass};
use async_trait::async_trait;
use osbs_image::Descriptor;
use osbs_registry::{BuiltIndex, IndexMember, RegistryError, build_index, copy_image, inspect};
use osbs_types::{Architecture, Digest, Phase, Platform, PullSpec, Reference};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The plugin.
pub fn plugin() -> PluginType {
    PluginType::new("group_manifests", &[Phase::Postbuild], |args| Ok(Box::new(args.parse::<GroupManifests>()?)))
        .purpose(
            "Gives the images of all worker builds their final names: on an index over the platforms, or on the only image.",
        )
        .argument(
            "registries",
            "registry to {insecure, secret}: where to publish, where config.yaml has no `registries` (arrangements 4 and 5)",
        )
        .argument("group", "make an index; true, and `group_manifests` of config.yaml wins")
        .argument("goarch", "platform to architecture, where config.yaml has no `platform_descriptors` for it")
        .reads(&[
            "`registries`, `group_manifests` and `platform_descriptors` of config.yaml",
            "annotation `digests` of the worker builds",
            "manifests and image configurations in the registries",
            "names that tag_from_config gave",
        ])
        .writes(&[
            "manifests, blobs and the index in every repository of a final name",
            "unique and primary names in every registry",
            "digests per registry and name, for the annotations repositories and digests",
            "names that push_floating_tags moves at the end",
        ])
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct GroupManifests {
    registries: BTreeMap<String, RegistryArg>,
    group: Option<bool>,
    goarch: BTreeMap<Platform, String>,
}

/// An entry of a worker's annotation `digests`.
#[derive(Debug, Clone, Deserialize)]
struct WorkerDigest {
    registry: String,
    repository: String,
    digest: Digest,
    #[serde(default)]
    version: String,
}

/// The image of one platform in a registry.
struct Member {
    repository: String,
    manifest: Descriptor,
    bytes: Arc<[u8]>,
    architecture: Architecture,
}

/// All that is to be published in one registry.
struct Plan {
    registry: OutputRegistry,
    members: Vec<Member>,
    index: Option<BuiltIndex>,
}

#[async_trait]
impl Plugin for GroupManifests {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let group = run.config.group_manifests.or(self.group).unwrap_or(true);
        if run.tags.all().next().is_none() {
            return Err(PluginError::internal("the image has no names: tag_from_config gave none"));
        }
        let mut plans = Vec::new();
        for registry in run.output_registries(&self.registries).await? {
            let members = self.members(run, &registry).await?;
            if !group && members.len() > 1 {
                let text = format!("{} platforms were built, but group_manifests is off", members.len());
                return Err(PluginError::policy(text).with_hint("set group_manifests: true in config.yaml"));
            }
            let index = group.then(|| build_index(&index_members(&members)));
            plans.push(Plan { registry, members, index });
        }
        for plan in &plans {
            plan.bring_everything(run).await?;
        }
        announce_pushes(run, &plans.iter().map(|plan| &*plan.registry.host).collect::<Vec<_>>()).await?;
        let mut tagged = Vec::new();
        for class in [TagClass::Unique, TagClass::Primary, TagClass::Floating] {
            for name in run.tags.class(class).to_vec() {
                for plan in &plans {
                    if run.moves_last(&name) {
                        run.floating.push(plan.waiting(&name));
                    } else {
                        tagged.push(plan.tag(run, &name).await?);
                    }
                }
            }
        }
        let result = result(run, &plans, &tagged);
        Ok(Done::Value(result))
    }
}

fn index_members(members: &[Member]) -> Vec<IndexMember> {
    members
        .iter()
        .map(|member| IndexMember { manifest: member.manifest.clone(), architecture: member.architecture.clone() })
        .collect()
}

impl GroupManifests {
    /// The image of every platform in this registry, as the workers recorded and the registry serves it.
    async fn members(&self, run: &Run, registry: &OutputRegistry) -> Result<Vec<Member>, PluginError> {
        let mut members = Vec::new();
        let mut missing = Vec::new();
        for (platform, worker) in &run.workers {
            let digests = worker.build.annotations.get("digests").map_or("[]", String::as_str);
            match pushed(digests, &registry.host) {
                Some(found) => {
                    let platform: Platform =
                        platform.parse().map_err(|error| PluginError::internal(format!("{error}")))?;
                    members.push(self.member(run, registry, &platform, found).await?);
                }
                None => missing.push(format!("{platform} ({})", found_instead(digests))),
            }
        }
        if missing.is_empty() && !members.is_empty() {
            return Ok(members);
        }
        let found = run.workers.len() - missing.len();
        let text = format!(
            "{found} of {} worker builds pushed an image to {}; there is none of {}",
            run.workers.len(),
            registry.host,
            missing.join(", ")
        );
        Err(PluginError::policy(text).with_hint(
            "do worker builds get the same `registries` as this one? Compare the configurations of the clusters",
        ))
    }

    async fn member(
        &self,
        run: &Run,
        registry: &OutputRegistry,
        platform: &Platform,
        found: WorkerDigest,
    ) -> Result<Member, PluginError> {
        let name = format!("{}/{}@{}", registry.host, found.repository, found.digest);
        let spec: PullSpec = name.parse().map_err(|error| PluginError::internal(format!("{error}")))?;
        let inspected = inspect(&registry.client, &spec, None).await.map_err(|error| match error {
            RegistryError::NotFound { .. } => {
                let text = format!("{name}, which the worker build for {platform} pushed, is not there any more");
                PluginError::remote(text)
                    .with_hint("does something clean the registry up while builds run? Build again")
            }
            error => refused(error, "read from"),
        })?;
        let wanted = match self.goarch.get(platform) {
            Some(name) if !run.config.platform_descriptors.contains_key(platform) => Architecture::new(name),
            _ => run.config.architecture(platform),
        };
        let config = &inspected.config;
        let built = Architecture { name: config.architecture.clone(), variant: config.variant.clone() };
        if built.name != wanted.name {
            let text = format!("{name}, built for {platform} ({wanted}), says it is for {built}");
            run.log().warning(text);
        }
        // The platform decides; a variant is only in the image.
        let variant = built.variant.filter(|_| built.name == wanted.name).or(wanted.variant);
        let architecture = Architecture { name: wanted.name, variant };
        let (manifest, bytes) = (inspected.manifest, inspected.manifest_bytes.into());
        Ok(Member { repository: found.repository, manifest, bytes, architecture })
    }
}

/// What a worker pushed to this registry; of several repositories the first by alphabet.
fn pushed(annotation: &str, host: &str) -> Option<WorkerDigest> {
    let entries: Vec<Value> = serde_json::from_str(annotation).ok()?;
    let known = ["v2", "v2_list", "oci", "oci_index"];
    entries
        .into_iter()
        .filter_map(|entry| serde_json::from_value::<WorkerDigest>(entry).ok())
        .filter(|entry| known.contains(&entry.version.as_str()) && bare_host(&entry.registry) == host)
        .min_by(|a, b| a.repository.cmp(&b.repository))
}

/// Where a worker's images are instead, for an error.
fn found_instead(annotation: &str) -> String {
    let entries: Vec<WorkerDigest> = serde_json::from_str(annotation).unwrap_or_default();
    let found: BTreeSet<_> = entries.iter().map(|e| format!("{} at {}", e.version, bare_host(&e.registry))).collect();
    if found.is_empty() { "it pushed nothing".to_owned() } else { found.into_iter().collect::<Vec<_>>().join(", ") }
}

/// `host[:port]` of a registry that may be written with scheme and version.
fn bare_host(text: &str) -> &str {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

impl Plan {
    /// Manifests and blobs into every repository a final name is in.
    async fn bring_everything(&self, run: &Run) -> Result<(), PluginError> {
        let repositories: BTreeSet<_> = run.tags.all().map(|name| name.repository().to_owned()).collect();
        for repository in &repositories {
            for member in self.members.iter().filter(|member| member.repository != *repository) {
                let digest = &member.manifest.digest;
                run.log().info(format!("{}@{digest} into {repository} at {}", member.repository, self.registry.host));
                copy_image(&self.registry.client, &member.repository, digest, repository, None, run.cancel())
                    .await
                    .map_err(|error| refused(error, "push to"))?;
            }
        }
        Ok(())
    }

    /// What the names shall stand for, with its bytes.
    fn target(&self) -> (&Descriptor, Arc<[u8]>) {
        let only = &self.members[0];
        match &self.index {
            Some(index) => (&index.descriptor, index.bytes.as_slice().into()),
            None => (&only.manifest, Arc::clone(&only.bytes)),
        }
    }

    /// One name. Gives it with its registry.
    async fn tag(&self, run: &mut Run, name: &PullSpec) -> Result<String, PluginError> {
        let (repository, reference) = (name.repository(), name.reference());
        if !matches!(reference, Reference::Tag(_)) {
            return Err(PluginError::internal(format!("the name {name} has no tag")));
        }
        let (manifest, bytes) = self.target();
        let put = self.registry.client.put_manifest(repository, &reference, &manifest.media_type, &bytes).await;
        put.map_err(|error| refused(error, "push to"))?;
        let full = format!("{}/{name}", self.registry.host);
        run.log().info(format!("{full} is {}", manifest.digest));
        run.pushed_registry(&self.registry.host).add(name, manifest);
        Ok(full)
    }

    /// A name for the end of the run.
    fn waiting(&self, name: &PullSpec) -> FloatingName {
        let (manifest, bytes) = self.target();
        FloatingName { registry: self.registry.client.clone(), name: name.clone(), manifest: manifest.clone(), bytes }
    }
}

/// Repository -> version -> digest, `{}` without grouping; and the facts of the summary.
fn result(run: &mut Run, plans: &[Plan], tagged: &[String]) -> Value {
    let mut result = Map::new();
    let mut by_digest = BTreeSet::new();
    for plan in plans {
        let descriptor = plan.index.as_ref().map_or(&plan.members[0].manifest, |index| &index.descriptor);
        for name in run.tags.all() {
            by_digest.insert(format!("{}/{}@{}", plan.registry.host, name.repository(), descriptor.digest));
            if plan.index.is_some() {
                let digests = json!({ version(&descriptor.media_type): descriptor.digest });
                result.insert(name.repository().to_owned(), digests);
            }
        }
        run.facts.insert("media_type".to_owned(), descriptor.media_type.as_str().into());
        run.facts.insert("digest".to_owned(), descriptor.digest.as_str().into());
    }
    run.facts.insert("pull_specs".to_owned(), json!(tagged));
    run.facts.insert("pull_specs_by_digest".to_owned(), json!(by_digest));
    Value::Object(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_pushed(annotation: &Value, expected: Option<&str>) {
        let found = pushed(&annotation.to_string(), "r.example.com:5000").map(|found| found.repository);
        assert_eq!(found.as_deref(), expected, "{annotation}");
    }

    #[test]
    fn a_workers_image_is_found_by_host_and_version() {
        let digest = Digest::from_sha256(&[1; 32]);
        let entry = |registry: &str, repository: &str, version: &str| json!({"registry": registry, "repository": repository, "tag": "t", "digest": digest, "version": version});
        let host = "r.example.com:5000";
        check_pushed(&json!([entry(host, "ns/b", "oci"), entry(host, "ns/a", "v2")]), Some("ns/a"));
        check_pushed(&json!([entry("https://r.example.com:5000/v2", "ns/a", "oci")]), Some("ns/a"));
        check_pushed(&json!([entry("r.example.com", "ns/a", "oci")]), None);
        check_pushed(&json!([entry(host, "ns/a", "v1"), {"registry": host}]), None);
        check_pushed(&json!({}), None);
    }
}
