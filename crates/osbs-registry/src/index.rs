//! Index over the images of several platforms (`reactor.md` 3.4.13, 6.1 O4).

use crate::response::digest_of;
use crate::{Registry, RegistryError};
use osbs_image::media_type::{DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, OCI_INDEX};
use osbs_image::{Descriptor, ImagePlatform, Index, canonical_json};
use osbs_types::{Architecture, Digest, Reference};

/// One image of an index.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexMember {
    /// Media type, digest and size of its manifest.
    pub manifest: Descriptor,
    /// Architecture and variant out of its config.
    pub architecture: Architecture,
}

/// An index ready to be put.
#[derive(Debug, Clone, PartialEq)]
pub struct BuiltIndex {
    /// Media type, digest and size.
    pub descriptor: Descriptor,
    /// The bytes the digest was computed from.
    pub bytes: Vec<u8>,
}

/// Builds an index: a Docker manifest list when every member is a Docker manifest, else an OCI index. Sorted by
/// architecture and variant, compact JSON: the same members give the same digest, in whatever order they come.
pub fn build_index(members: &[IndexMember]) -> BuiltIndex {
    let docker = !members.is_empty() && members.iter().all(|member| member.manifest.media_type == DOCKER_MANIFEST);
    let media_type = if docker { DOCKER_MANIFEST_LIST } else { OCI_INDEX };
    let mut members: Vec<&IndexMember> = members.iter().collect();
    members.sort_by(|a, b| (&a.architecture, &a.manifest.digest).cmp(&(&b.architecture, &b.manifest.digest)));
    let entry = |member: &IndexMember| {
        let Descriptor { media_type, digest, size, .. } = &member.manifest;
        let platform = Some(ImagePlatform::linux(&member.architecture));
        Descriptor { platform, ..Descriptor::new(media_type, digest.clone(), *size) }
    };
    let index = Index {
        schema_version: 2,
        media_type: media_type.to_owned(),
        manifests: members.into_iter().map(entry).collect(),
        annotations: None,
        other: serde_json::Map::new(),
    };
    let bytes = canonical_json(&index);
    BuiltIndex { descriptor: Descriptor::new(media_type, digest_of(&bytes), bytes.len() as u64), bytes }
}

/// Puts an index under a tag. Its manifests must be in the repository: see [`crate::copy_image`].
///
/// # Errors
/// As [`Registry::put_manifest`].
pub async fn put_index(
    registry: &Registry,
    repository: &str,
    tag: &str,
    index: &BuiltIndex,
) -> Result<Digest, RegistryError> {
    let reference = Reference::Tag(tag.to_owned());
    registry.put_manifest(repository, &reference, &index.descriptor.media_type, &index.bytes).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use osbs_image::media_type::OCI_MANIFEST;

    fn member(kind: &str, byte: u8, name: &str, variant: Option<&str>) -> IndexMember {
        let architecture = Architecture { name: name.into(), variant: variant.map(str::to_owned) };
        IndexMember { manifest: Descriptor::new(kind, Digest::from_sha256(&[byte; 32]), u64::from(byte)), architecture }
    }

    #[test]
    fn the_same_members_give_the_same_bytes() {
        let amd = member(OCI_MANIFEST, 1, "amd64", None);
        let arm = member(OCI_MANIFEST, 2, "arm64", Some("v8"));
        let index = build_index(&[arm.clone(), amd.clone()]);
        assert_eq!(index, build_index(&[amd, arm]));
        let hex = |digits: &str| digits.repeat(32);
        let expected = format!(
            concat!(
                r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":["#,
                r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:{}","size":1,"#,
                r#""platform":{{"architecture":"amd64","os":"linux"}}}},"#,
                r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:{}","size":2,"#,
                r#""platform":{{"architecture":"arm64","os":"linux","variant":"v8"}}}}]}}"#
            ),
            hex("01"),
            hex("02")
        );
        assert_eq!(String::from_utf8(index.bytes).expect("utf-8"), expected);
    }

    #[test]
    fn a_docker_list_only_of_docker_images() {
        let docker = member(DOCKER_MANIFEST, 1, "amd64", None);
        let oci = member(OCI_MANIFEST, 2, "arm64", None);
        assert_eq!(build_index(std::slice::from_ref(&docker)).descriptor.media_type, DOCKER_MANIFEST_LIST);
        assert_eq!(build_index(&[docker, oci]).descriptor.media_type, OCI_INDEX);
    }
}
