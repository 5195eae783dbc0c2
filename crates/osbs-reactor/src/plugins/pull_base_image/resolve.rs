//! Is the parent there for every platform, and by which digest (`reactor.md` 3.1.8, step 4)?

use super::Parent;
use crate::plugin::PluginError;
use crate::run::Run;
use osbs_image::Index;
use osbs_image::media_type::is_index;
use osbs_registry::{Fetched, inspect};
use osbs_types::{Architecture, PullSpec};

/// Remembers the digest under the parent's name: of its index, else of its manifest.
pub(super) async fn capture(run: &mut Run, parent: &Parent) -> Result<(), PluginError> {
    let found = fetch(parent, &parent.spec).await?;
    remember(run, parent, found);
    Ok(())
}

/// Checks the platforms, then remembers the digest.
pub(super) async fn check_and_capture(run: &mut Run, parent: &Parent) -> Result<(), PluginError> {
    let named = fetch(parent, &parent.spec).await?;
    let list = match parent.spec.digest() {
        Some(_) if !is_index(&named.descriptor.media_type) => list_of_digest(parent).await?,
        _ => Some(named.clone()).filter(|found| is_index(&found.descriptor.media_type)),
    };
    check_platforms(run, parent, list.as_ref())?;
    remember(run, parent, list.unwrap_or(named));
    Ok(())
}

fn remember(run: &mut Run, parent: &Parent, found: Fetched) {
    let key = digest_key(run, parent);
    let digests = run.parents.digests.entry(key).or_default();
    digests.insert(found.descriptor.media_type, found.descriptor.digest);
}

async fn fetch(parent: &Parent, spec: &PullSpec) -> Result<Fetched, PluginError> {
    parent.registry.manifest(spec.repository(), &spec.reference()).await.map_err(super::parent_error)
}

/// The name digests are kept under: with registry and the tag of the Dockerfile, even when a trigger named another
/// reference of the base image.
fn digest_key(run: &Run, parent: &Parent) -> String {
    let original = run.parents.original_base_image.as_deref().filter(|_| parent.is_base);
    let tag = original.and_then(|name| name.parse::<PullSpec>().ok()).and_then(|spec| spec.tag().map(str::to_owned));
    match tag.map(|tag| parent.spec.with_tag(&tag)) {
        Some(Ok(spec)) => spec.to_string(),
        _ => parent.spec.to_string(),
    }
}

/// The list an image named by digest belongs to: that of tag `<version>-<release>` of its labels.
async fn list_of_digest(parent: &Parent) -> Result<Option<Fetched>, PluginError> {
    let inspected = inspect(&parent.registry, &parent.spec, None).await.map_err(super::parent_error)?;
    let label = |name: &str| inspected.config.config.labels.get(name);
    let (Some(version), Some(release)) = (label("version"), label("release")) else { return Ok(None) };
    let Ok(tagged) = parent.spec.with_tag(&format!("{version}-{release}")) else { return Ok(None) };
    match fetch(parent, &tagged).await {
        Ok(found) if is_index(&found.descriptor.media_type) => {
            let lists_it = entries(&found)?.manifests.iter().any(|entry| entry.digest == inspected.manifest.digest);
            Ok(lists_it.then_some(found))
        }
        Ok(_) => Ok(None),
        Err(PluginError::Failed(failure)) if failure.kind == osbs_types::ErrorKind::User => Ok(None),
        Err(error) => Err(error),
    }
}

fn entries(list: &Fetched) -> Result<Index, PluginError> {
    serde_json::from_slice(&list.bytes)
        .map_err(|error| PluginError::user(format!("the parent's index is wrong: {error}")))
}

/// Every platform of the build must be in the list; without a list only one platform can be built.
fn check_platforms(run: &Run, parent: &Parent, list: Option<&Fetched>) -> Result<(), PluginError> {
    let Some(platforms) = &run.platforms else {
        run.log().info(format!("platforms of {} are not checked: those of this build are unknown", parent.spec));
        return Ok(());
    };
    let Some(list) = list else {
        if platforms.len() > 1 {
            let text = format!("{} is an image of one platform, this build is for {}", parent.spec, platforms.len());
            return Err(PluginError::user(text)
                .with_hint("use a parent that is there for all platforms, or restrict `platforms` in container.yaml"));
        }
        run.log().warning(format!("{} is no index: its platform is not checked", parent.spec));
        return Ok(());
    };
    let index = entries(list)?;
    let missing: Vec<_> = platforms
        .iter()
        .map(|platform| run.config.architecture(platform))
        .filter(|wanted| index.select(wanted).is_none())
        .map(|architecture: Architecture| architecture.to_string())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(PluginError::user(format!("parent {} has no image for {}", parent.spec, missing.join(", ")))
        .with_hint("use a parent that is there for all platforms, or restrict `platforms` in container.yaml"))
}
