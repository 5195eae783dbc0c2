//! Which digests of a repository other tags lead to: those must stay.

use super::Ours;
use futures_util::{StreamExt, TryStreamExt};
use osbs_image::media_type::is_index;
use osbs_image::{Descriptor, Index, Limits};
use osbs_registry::{Registry, RegistryError};
use osbs_types::{Digest, Reference};
use std::collections::BTreeMap;

/// Tags asked for at once.
const PARALLEL: usize = 8;

/// Digest -> a tag that leads to it, itself or through an index. A tag that this build made counts too once it stands for
/// something else: then it is somebody else's now.
pub(super) async fn wanted_by_others(
    registry: &Registry,
    repository: &str,
    ours: &[Ours],
) -> Result<BTreeMap<Digest, String>, RegistryError> {
    let is_ours = |tag: &str, digest: &Digest| {
        ours.iter().any(|ours| ours.repository == repository && ours.tag == tag && ours.digest == *digest)
    };
    let tags = registry.tags(repository).await?;
    // Collected: a lazy closure over references makes the whole future too special to be sent between threads.
    let asked: Vec<_> = tags.into_iter().map(|tag| asked(registry.clone(), repository.to_owned(), tag)).collect();
    let found: Vec<_> = futures_util::stream::iter(asked).buffer_unordered(PARALLEL).try_collect().await?;
    let mut wanted = BTreeMap::new();
    for (tag, descriptor) in found {
        let Some(descriptor) = descriptor.filter(|descriptor| !is_ours(&tag, &descriptor.digest)) else { continue };
        if is_index(&descriptor.media_type) {
            for member in members(registry, repository, &descriptor).await? {
                wanted.insert(member, tag.clone());
            }
        }
        wanted.insert(descriptor.digest, tag);
    }
    Ok(wanted)
}

async fn asked(
    registry: Registry,
    repository: String,
    tag: String,
) -> Result<(String, Option<Descriptor>), RegistryError> {
    let found = registry.head_manifest(&repository, &Reference::Tag(tag.clone())).await?;
    Ok((tag, found))
}

async fn members(registry: &Registry, repository: &str, index: &Descriptor) -> Result<Vec<Digest>, RegistryError> {
    let name = format!("{}/{repository}@{}", registry.host(), index.digest);
    let fetched = registry.manifest(repository, &Reference::Digest(index.digest.clone())).await?;
    let parsed = Index::parse(&fetched.bytes, &fetched.descriptor.media_type, &name, &Limits::default())
        .map_err(|source| RegistryError::Manifest { image: name, source })?;
    Ok(parsed.manifests.into_iter().map(|member| member.digest).collect())
}
