//! `tag_and_push`: sends the image to every registry under every name (`reactor.md` 3.4.4).
//!
//! Digest and configuration are those of the registry just pushed to (M10, M11).

use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::push_targets::push_targets;
use crate::registries::OutputRegistry;
use crate::run::{Run, TagClass};
use async_trait::async_trait;
use osbs_image::StoredImage;
use osbs_registry::{Progress, push};
use osbs_types::{Failure, Phase, PullSpec};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The plugin's type.
pub fn plugin() -> PluginType {
    PluginType::new("tag_and_push", &[Phase::Postbuild], |_| Ok(Box::new(TagAndPush))).accepts(&["registries"])
}

struct TagAndPush;

#[async_trait]
impl Plugin for TagAndPush {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let facts = run.built.as_ref().ok_or_else(|| PluginError::internal("there is no built image to push"))?;
        let image = StoredImage::load(&run.services.store, &facts.manifest)?;
        if run.tags.class(TagClass::Unique).is_empty() {
            let name: PullSpec =
                run.request.image.parse().map_err(|e: osbs_types::PullSpecError| PluginError::user(e.to_string()))?;
            run.tags.add(TagClass::Unique, name.with_registry(None));
        }
        let targets = push_targets(run).await?;
        if targets.is_empty() {
            let why = "no registry is configured: the image stays on this machine";
            run.log().warning(why);
            return Ok(Done::Skipped(why.to_owned()));
        }
        let names: Vec<_> = run.tags.all().cloned().collect();
        let mut pushed = Vec::new();
        for target in &targets {
            for name in &names {
                pushed.push(self.push_one(run, target, &image, name).await?);
            }
            let config = serde_json::to_value(&image.image_config).map_err(|error| {
                PluginError::internal(format!("the image configuration does not serialise: {error}"))
            })?;
            run.pushed_registry(&target.host).config = Some(config);
        }
        run.facts.insert("pull_specs".into(), pushed.clone().into());
        Ok(Done::Value(pushed.into()))
    }
}

impl TagAndPush {
    async fn push_one(
        &self,
        run: &mut Run,
        target: &OutputRegistry,
        image: &StoredImage,
        name: &PullSpec,
    ) -> Result<String, PluginError> {
        if name.registry().is_some() {
            return Err(PluginError::internal(format!("the name {name} names a registry already")));
        }
        let full = name.with_registry(Some(&target.host)).with_explicit_tag();
        let descriptor = push(
            &target.client,
            &run.services.store,
            image,
            name.repository(),
            &full.reference(),
            &mount_sources(run, target),
            run.cancel(),
            progress(run, &full),
        )
        .await
        .map_err(|error| {
            PluginError::from(Failure::new(error.kind(), &error).with_hint(format!(
                "is {} up, and may this build push to {}?",
                target.host,
                name.repository()
            )))
        })?;
        let version = if descriptor.media_type.contains("oci") { "oci" } else { "v2" };
        let key = name.with_explicit_tag().to_string();
        run.pushed_registry(&target.host)
            .digests
            .entry(key)
            .or_default()
            .insert(version.to_owned(), descriptor.digest.clone());
        run.log().info(format!("pushed {full}@{}", descriptor.digest));
        run.facts.insert("digest".into(), descriptor.digest.to_string().into());
        Ok(full.to_string())
    }
}

/// Repositories of that registry which hold the parents' layers: those need not be sent again.
fn mount_sources(run: &Run, target: &OutputRegistry) -> Vec<String> {
    let names = run.parents.local_ids.keys().filter_map(|name| name.parse::<PullSpec>().ok());
    names.filter(|name| name.registry() == Some(&target.host)).map(|name| name.repository().to_owned()).collect()
}

fn progress(run: &Run, name: &PullSpec) -> Progress {
    let log = run.log().clone();
    let what = format!("push {name}");
    let shown = Arc::new(AtomicU64::new(0));
    Progress::new(move |done, total| {
        if done == total || done >= shown.load(Ordering::Relaxed) + 16_000_000 {
            shown.store(done, Ordering::Relaxed);
            log.progress(what.clone(), done, Some(total));
        }
    })
}
