//! Media types of the OCI image-spec 1.1 and of Docker's image manifest v2 schema 2, and what they say about a blob.

/// OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI image config.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// OCI layer, not compressed.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// OCI layer, gzip.
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// OCI layer, zstd.
pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// Docker manifest, version 2 schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker manifest list.
pub const DOCKER_MANIFEST_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker image config.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Docker layer, gzip.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// Docker layer, not compressed. Registries take it, Docker itself never makes one.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// Docker layer, zstd: what containers/image writes when it is asked for the combination.
pub const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";

/// Manifests of one image, in the order a client prefers them.
pub const MANIFESTS: [&str; 2] = [OCI_MANIFEST, DOCKER_MANIFEST];
/// Manifests of several platforms, in the order a client prefers them.
pub const INDEXES: [&str; 2] = [OCI_INDEX, DOCKER_MANIFEST_LIST];

/// How deep indexes may stand inside each other. The specification sets no end; two are seen, in registries of artifacts.
pub(crate) const MAX_INDEXES: usize = 4;

/// Which of the two families an image is written in. They differ in media types only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ImageFormat {
    /// OCI image-spec 1.1.
    #[default]
    Oci,
    /// Docker image manifest v2 schema 2.
    DockerV2S2,
}

impl ImageFormat {
    /// Media type of the manifest.
    pub fn manifest(self) -> &'static str {
        match self {
            Self::Oci => OCI_MANIFEST,
            Self::DockerV2S2 => DOCKER_MANIFEST,
        }
    }

    /// Media type of the index or manifest list.
    pub fn index(self) -> &'static str {
        match self {
            Self::Oci => OCI_INDEX,
            Self::DockerV2S2 => DOCKER_MANIFEST_LIST,
        }
    }

    /// Media type of the config.
    pub fn config(self) -> &'static str {
        match self {
            Self::Oci => OCI_CONFIG,
            Self::DockerV2S2 => DOCKER_CONFIG,
        }
    }

    /// The media type of the same layer in this family. An unknown type stays as it is.
    pub fn layer(self, media_type: &str) -> &str {
        let pairs =
            [(OCI_LAYER, DOCKER_LAYER), (OCI_LAYER_GZIP, DOCKER_LAYER_GZIP), (OCI_LAYER_ZSTD, DOCKER_LAYER_ZSTD)];
        let found = pairs.into_iter().find(|(oci, docker)| *oci == media_type || *docker == media_type);
        match (found, self) {
            (Some((oci, _)), Self::Oci) => oci,
            (Some((_, docker)), Self::DockerV2S2) => docker,
            (None, _) => media_type,
        }
    }

    /// The family a manifest's media type belongs to.
    pub fn of_manifest(media_type: &str) -> Option<Self> {
        match media_type {
            OCI_MANIFEST | OCI_INDEX => Some(Self::Oci),
            DOCKER_MANIFEST | DOCKER_MANIFEST_LIST => Some(Self::DockerV2S2),
            _ => None,
        }
    }
}

/// Whether the media type is that of a manifest of one image.
pub fn is_manifest(media_type: &str) -> bool {
    MANIFESTS.contains(&media_type)
}

/// Whether the media type is that of an index or manifest list.
pub fn is_index(media_type: &str) -> bool {
    INDEXES.contains(&media_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_change_family() {
        assert_eq!(ImageFormat::DockerV2S2.layer(OCI_LAYER_GZIP), DOCKER_LAYER_GZIP);
        assert_eq!(ImageFormat::Oci.layer(DOCKER_LAYER_GZIP), OCI_LAYER_GZIP);
        assert_eq!(ImageFormat::Oci.layer("x/y"), "x/y");
    }
}
