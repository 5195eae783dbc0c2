//! Descriptor, manifest and index, of OCI and of Docker alike.
//!
//! Members this program does not know are kept in `other`, in their order. Even so a document that was fetched is never
//! serialised again in place of its bytes: the digest is that of the bytes.

use osbs_types::{Architecture, Digest};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Points to a blob (OCI image-spec 1.1, descriptor.md).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Descriptor {
    /// Media type of what is pointed to.
    #[serde(rename = "mediaType", default)]
    pub media_type: String,
    /// Digest of the bytes.
    pub digest: Digest,
    /// Number of bytes.
    pub size: u64,
    /// In an index: what the image runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<ImagePlatform>,
    /// Annotations, sorted.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "annotations")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Everything else (`urls`, `data`, `artifactType`, ...), unchanged.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Descriptor {
    /// A descriptor without platform and annotations.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self { media_type: media_type.to_owned(), digest, size, platform: None, annotations: None, other: Map::new() }
    }
}

/// Platform member of a descriptor in an index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImagePlatform {
    /// GOARCH.
    pub architecture: String,
    /// GOOS.
    pub os: String,
    /// For example `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// `os.version`, `os.features` and unknown members.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl ImagePlatform {
    /// Linux on this architecture.
    pub fn linux(architecture: &Architecture) -> Self {
        Self {
            architecture: architecture.name.clone(),
            os: "linux".to_owned(),
            variant: architecture.variant.clone(),
            other: Map::new(),
        }
    }

    /// GOARCH and variant.
    pub fn architecture(&self) -> Architecture {
        Architecture { name: self.architecture.clone(), variant: self.variant.clone() }
    }
}

/// The manifest of one image (OCI image-spec 1.1, manifest.md; Docker image manifest v2 schema 2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always 2.
    #[serde(rename = "schemaVersion")]
    pub schema_version: u32,
    /// Optional in OCI, required by Docker; we always write it.
    #[serde(rename = "mediaType", default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// The image config.
    pub config: Descriptor,
    /// Layers, bottom first.
    pub layers: Vec<Descriptor>,
    /// Annotations, sorted.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "annotations")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Everything else (`subject`, `artifactType`, ...), unchanged.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// An index or manifest list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Index {
    /// Always 2.
    #[serde(rename = "schemaVersion")]
    pub schema_version: u32,
    /// Optional in OCI, required by Docker; we always write it.
    #[serde(rename = "mediaType", default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// Manifests, in the order of the document.
    pub manifests: Vec<Descriptor>,
    /// Annotations, sorted.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "annotations")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Everything else, unchanged.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Index {
    /// The first manifest for Linux on an architecture that `wanted` accepts.
    pub fn select(&self, wanted: &Architecture) -> Option<&Descriptor> {
        self.manifests
            .iter()
            .find(|entry| entry.platform.as_ref().is_some_and(|p| p.os == "linux" && wanted.accepts(&p.architecture())))
    }
}

/// The bytes under which a document of ours is stored and pushed: compact JSON, members in the order of the struct, then
/// unknown ones in the order they came, maps sorted. The same value always gives the same bytes.
pub fn canonical_json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("our documents have string keys and no failing serialisers")
}

/// `null` means absent, as Go writes it for an empty map.
fn annotations<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<BTreeMap<String, String>>, D::Error> {
    Option::deserialize(from)
}
