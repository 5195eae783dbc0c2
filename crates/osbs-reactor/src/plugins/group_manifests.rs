//! `group_manifests`: the final names, on an index over all platforms or on the single image (`reactor.md` 3.4.13, M12 to
//! M14, O4 to O6).
//!
//! First everything is brought into every target repository, then names are moved, floating ones last: a failure in
//! between leaves no name on half an image.

use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::registries::{OutputRegistry, RegistryArg};
use crate::run::{Run, TagClass};
use async_trait::async_trait;
use osbs_image::Descriptor;
use osbs_image::media_type::{DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, OCI_INDEX, OCI_MANIFEST};
use osbs_registry::{BuiltIndex, IndexMember, build_index, copy_image, copy_manifest, inspect, put_index};
use osbs_types::{Architecture, Digest, Phase, Platform, PullSpec, Reference};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The plugin.
pub fn plugin() -> PluginType {
    PluginType::new("group_manifests", &[Phase::Postbuild], |args| Ok(Box::new(args.parse::<GroupManifests>()?)))
        .accepts(&["registries", "group", "goarch"])
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
        // Unique, primary, floating.
        for class in [TagClass::Unique, TagClass::Primary, TagClass::Floating] {
            let names = run.tags.class(class).to_vec();
            for plan in &plans {
                for name in &names {
                    plan.tag(run, name).await?;
                }
            }
        }
        let result = result(run, &plans);
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
            match pushed(worker.build.annotations.get("digests").map_or("[]", String::as_str), &registry.host) {
                Some(found) => {
                    let platform: Platform =
                        platform.parse().map_err(|error| PluginError::internal(format!("{error}")))?;
                    members.push(self.member(run, registry, &platform, found).await?);
                }
                None => missing.push(platform.as_str()),
            }
        }
        if missing.is_empty() && !members.is_empty() {
            return Ok(members);
        }
        let found = run.workers.len() - missing.len();
        Err(PluginError::internal(format!(
            "{found} of {} worker builds pushed an image to {}; there is none of {}",
            run.workers.len(),
            registry.host,
            missing.join(", ")
        )))
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
        let inspected = inspect(&registry.client, &spec, None).await?;
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
        Ok(Member { repository: found.repository, manifest: inspected.manifest, architecture })
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
                copy_image(&self.registry.client, &member.repository, digest, repository, None, run.cancel()).await?;
            }
        }
        Ok(())
    }

    /// One name.
    async fn tag(&self, run: &mut Run, name: &PullSpec) -> Result<(), PluginError> {
        let client = &self.registry.client;
        let (repository, Reference::Tag(tag)) = (name.repository(), name.reference()) else {
            return Err(PluginError::internal(format!("the name {name} has no tag")));
        };
        let (digest, media_type) = if let Some(index) = &self.index {
            (put_index(client, repository, &tag, index).await?, index.descriptor.media_type.clone())
        } else {
            let only = &self.members[0].manifest;
            let put = copy_manifest(client, repository, &only.digest, &tag).await?;
            (put.digest, put.media_type)
        };
        run.log().info(format!("{}/{name} is {digest}", self.registry.host));
        let record = run.pushed_registry(&self.registry.host);
        let version = version(&media_type).to_owned();
        record.digests.entry(format!("{repository}:{tag}")).or_default().insert(version, digest);
        Ok(())
    }
}

/// The key of a media type in digest records.
fn version(media_type: &str) -> &'static str {
    match media_type {
        DOCKER_MANIFEST => "v2",
        DOCKER_MANIFEST_LIST => "v2_list",
        OCI_INDEX => "oci_index",
        OCI_MANIFEST => "oci",
        _ => "unknown",
    }
}

/// Repository -> version -> digest, `{}` without grouping; and the facts of the summary.
fn result(run: &mut Run, plans: &[Plan]) -> Value {
    let mut result = Map::new();
    let mut tagged = Vec::new();
    let mut by_digest = BTreeSet::new();
    for plan in plans {
        let descriptor = plan.index.as_ref().map_or(&plan.members[0].manifest, |index| &index.descriptor);
        for name in run.tags.all() {
            tagged.push(format!("{}/{name}", plan.registry.host));
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
