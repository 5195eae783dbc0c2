//! `pull_base_image`: parents resolved, checked, pinned, and brought into the store (`reactor.md` 3.1.8, late era).
//!
//! An orchestrator only inspects: it needs labels and environment, never the layers.

mod resolve;

use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::registries::refused;
use crate::run::{ParentInspect, Run};
use async_trait::async_trait;
use osbs_config::RegistryUri;
use osbs_dockerfile::is_custom_base_image;
use osbs_image::{ImageConfig, ImageRef};
use osbs_registry::{Progress, Pulled, Registry, RegistryError, pull};
use osbs_types::{Digest, Phase, PullSpec};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Parent image -> media type -> digest, as the request carries it.
type Digests = BTreeMap<String, BTreeMap<String, Digest>>;

/// The plugin.
pub fn plugin() -> PluginType {
    PluginType::new("pull_base_image", &[Phase::Prebuild], |args| Ok(Box::new(args.parse::<PullBaseImage>()?)))
        .purpose(
            "Finds the parent images, fixes their digests for the whole build, and brings them into the store of a worker.",
        )
        .argument("parent_registry", "the registry parents must come from, where `source_registry` says none")
        .argument("parent_registry_insecure", "do not verify its certificate; false")
        .argument("check_platforms", "every platform of the build must be in the parent's index; false")
        .argument("inspect_only", "read labels and environment only; always so in an orchestrator build")
        .argument("parent_images_digests", "image name to media type to digest: what the orchestrator build has found")
        .reads(&[
            "FROM lines of the Dockerfile",
            "`source_registry`, `registries`, `registries_organization` and `platform_descriptors` of config.yaml",
            "the platforms of the build",
            "the image that triggered an automatic build",
        ])
        .writes(&[
            "usable name of each parent, pinned to a digest",
            "digests of the parents, which workers get as parent_images_digests",
            "labels, environment and user of the base image",
            "worker: the parents in the store, under names that remove_built_image takes away",
        ])
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PullBaseImage {
    parent_registry: Option<String>,
    parent_registry_insecure: bool,
    check_platforms: bool,
    inspect_only: bool,
    parent_images_digests: Option<Digests>,
}

/// One parent on its way.
struct Parent {
    /// Its name in the Dockerfile, tag explicit.
    written: String,
    /// Its place among all parents, by name.
    index: usize,
    is_base: bool,
    /// Where it is looked for.
    spec: PullSpec,
    registry: Registry,
}

#[async_trait]
impl Plugin for PullBaseImage {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let inspect_only = self.inspect_only || run.is_orchestrator();
        let names: Vec<_> = run.parents.images.keys().cloned().collect();
        for (index, written) in names.into_iter().enumerate() {
            if is_custom_base_image(&written) {
                continue;
            }
            let mut parent = self.parent(run, written, index).await?;
            if self.check_platforms {
                Box::pin(resolve::check_and_capture(run, &parent)).await?;
            } else if run.is_orchestrator() {
                // The templates of arrangements 1 to 5 ask for no check. The digest is fixed all the same, once a build.
                resolve::capture(run, &parent).await?;
            }
            self.pin(run, &mut parent);
            let usable = parent.spec.to_string();
            if inspect_only {
                inspect_base(run, &parent).await?;
            } else {
                // Boxed: a large future, in an orchestrator never needed.
                Box::pin(bring(run, &mut parent)).await?;
            }
            if parent.is_base {
                run.parents.base_image = Some(usable.clone());
            }
            run.parents.images.insert(parent.written, Some(usable));
        }
        run.parents.pulled = !inspect_only;
        Ok(Done::nothing())
    }
}

impl PullBaseImage {
    /// Where a parent is looked for: base image of the trigger or as injected, the site's registry, the organisation.
    async fn parent(&self, run: &Run, written: String, index: usize) -> Result<Parent, PluginError> {
        let is_base = run.parents.original_base_image.as_deref() == Some(&written);
        let name = match (is_base, triggered_by(run), &run.parents.base_image) {
            (true, Some(image), _) => image,
            (true, None, Some(current)) => current.clone(),
            _ => written.clone(),
        };
        let spec: PullSpec = name.parse().map_err(|error| PluginError::user(format!("parent image: {error}")))?;
        let said = self.said_registry()?;
        let mut spec = in_allowed_registry(run, said.as_ref(), &spec.with_explicit_tag())?;
        if let Some(organization) = &run.config.registries_organization {
            spec = spec.enclose(organization);
        }
        let registry = run.source_registry(&spec, said.as_ref(), self.parent_registry_insecure).await?;
        Ok(Parent { written, index, is_base, spec, registry })
    }

    /// The registry of the arguments (arrangements 1 to 5).
    fn said_registry(&self) -> Result<Option<RegistryUri>, PluginError> {
        let parsed = self.parent_registry.as_deref().map(str::parse::<RegistryUri>).transpose();
        parsed.map_err(|error| {
            PluginError::policy(format!("parent_registry: {error}")).with_hint("mend source_registry_uri in osbs.conf")
        })
    }

    /// Replaces the tag by a digest known for exactly this name: all platforms build on the same parent, even if the tag
    /// moves meanwhile.
    fn pin(&self, run: &Run, parent: &mut Parent) {
        let key = parent.spec.to_string();
        let known = run.parents.digests.get(&key).or_else(|| self.parent_images_digests.as_ref()?.get(&key));
        let preferred = known.and_then(|digests| {
            let index = digests.iter().find(|(media_type, _)| osbs_image::media_type::is_index(media_type));
            index.or_else(|| digests.iter().next()).map(|(_, digest)| digest.clone())
        });
        match preferred {
            Some(digest) => {
                parent.spec = parent.spec.with_digest(digest);
                run.log().info(format!("{key} is pinned to {}", parent.spec));
            }
            None if parent.spec.digest().is_none() => {
                run.log().warning(format!("no digest is known for {key}: its tag may move during the build"));
            }
            None => {}
        }
    }
}

/// Parents come from the configured source registry or nowhere.
fn in_allowed_registry(run: &Run, said: Option<&RegistryUri>, spec: &PullSpec) -> Result<PullSpec, PluginError> {
    let configured = run.config.source_registry.as_ref().map(|source| &source.uri);
    let allowed = configured.or(said).map(|uri| uri.host.as_str());
    match (allowed, spec.registry()) {
        (Some(allowed), Some(named)) if allowed != named => {
            let text = format!("{spec} is in registry {named}, but parent images must come from {allowed}");
            Err(PluginError::policy(text).with_hint("use a parent image of that registry, or leave its name away"))
        }
        (Some(allowed), _) => Ok(spec.with_registry(Some(allowed))),
        (None, Some(_)) => Ok(spec.clone()),
        (None, None) => Ok(spec.with_registry(Some("docker.io"))),
    }
}

/// The image that triggered an automatic build.
fn triggered_by(run: &Run) -> Option<String> {
    let triggers = run.build.triggered_by.as_ref()?;
    triggers.pointer("/0/imageChangeBuild/imageID")?.as_str().map(str::to_owned)
}

/// Of the base image only: labels and environment.
async fn inspect_base(run: &mut Run, parent: &Parent) -> Result<(), PluginError> {
    if !parent.is_base {
        return Ok(());
    }
    let inspected = osbs_registry::inspect(&parent.registry, &parent.spec, None).await.map_err(parent_error)?;
    run.log().info(format!("parent {} is {}", parent.written, parent.spec));
    run.parents.base_inspect = Some(inspect(&inspected.parsed.config.digest, &inspected.config));
    Ok(())
}

/// Pulls, and keeps the image alive until the end of the build by a name of its own.
async fn bring(run: &mut Run, parent: &mut Parent) -> Result<(), PluginError> {
    let pulled = match fetch(run, parent).await {
        Err(first @ RegistryError::NotFound { .. }) if parent.spec.namespace().is_none() => {
            let library = format!("{}/library/{}", parent.spec.registry().unwrap_or_default(), last_part(&parent.spec));
            let Ok(spec) = library.parse() else { return Err(parent_error(first)) };
            let as_written = std::mem::replace(&mut parent.spec, spec);
            if let Ok(pulled) = fetch(run, parent).await {
                pulled
            } else {
                parent.spec = as_written;
                return Err(parent_error(first));
            }
        }
        other => other.map_err(parent_error)?,
    };
    let image = &pulled.image;
    let name = format!("{}:{}", run.build.name, parent.index);
    let reference = ImageRef { descriptor: image.manifest.clone() };
    run.services.store.set_ref(&name, &reference, run.build.name.as_str())?;
    run.images_to_remove.push(name);
    run.log().info(format!("parent {} is {}, image id {}", parent.written, parent.spec, image.image_id()));
    run.parents.local_ids.insert(parent.spec.to_string(), image.image_id().clone());
    if parent.is_base {
        run.parents.base_inspect = Some(inspect(image.image_id(), &image.image_config));
    }
    Ok(())
}

/// `repo:tag@digest` without registry and namespace.
fn last_part(spec: &PullSpec) -> String {
    spec.with_registry(None).to_string()
}

async fn fetch(run: &Run, parent: &Parent) -> Result<Pulled, RegistryError> {
    let architecture = run.config.architecture(&run.platform());
    let meter = run.log().meter(format!("pull {}", parent.written));
    let progress = Progress::new(move |done, total| meter.tell(done, Some(total)));
    pull(&parent.registry, &parent.spec, &architecture, &run.services.store, run.cancel(), progress).await
}

/// A parent that is not there is the repository's mistake; the rest is as the registry says.
fn parent_error(error: RegistryError) -> PluginError {
    match error {
        RegistryError::NotFound { .. } | RegistryError::NoSuchPlatform { .. } => {
            PluginError::from(error).with_hint("check the FROM lines of the Dockerfile against the registry")
        }
        error => refused(error, "read from"),
    }
}

fn inspect(image_id: &Digest, config: &ImageConfig) -> ParentInspect {
    let pair = |text: &String| text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    ParentInspect {
        image_id: Some(image_id.clone()),
        env: config.config.env.iter().filter_map(pair).collect(),
        labels: config.config.labels.clone(),
        user: config.config.user.clone(),
    }
}
