//! How a worker makes images: the choices of the machine and the site, handed in with the services.

use osbs_builder::RunLimits;
use osbs_image::{Compression, Descriptor, ImageFormat};
use osbs_sandbox::{Runtime, RuntimeError, known_runtime};
use osbs_types::Digest;
use std::path::PathBuf;

/// What the native builder and `compress` need beside the store.
#[derive(Debug, Clone)]
pub struct Imaging {
    /// Archives are put here and stay after the run.
    pub results_dir: PathBuf,
    /// Of the new layer.
    pub compression: Compression,
    /// Media types, unless a registry expects others.
    pub format: ImageFormat,
    /// For copying and compressing; 0: as many as the machine has.
    pub threads: usize,
    /// What one RUN may take.
    pub run_limits: RunLimits,
    /// Containers of this build live in it, so that whoever cleans up finds them.
    pub cgroup: Option<String>,
    /// Preferred OCI runtime; `None`: the first that works.
    pub runtime: Option<String>,
    /// The file that remembers which one did.
    pub runtime_memory: PathBuf,
}

/// The image a worker has built, for plugins that push and measure it.
#[derive(Debug, Clone)]
pub struct BuiltFacts {
    /// Its manifest in the store.
    pub manifest: Descriptor,
    /// Digest of its configuration.
    pub image_id: Digest,
    /// Id of the parent; `None` for `FROM scratch`.
    pub parent_id: Option<Digest>,
    /// Diff id and uncompressed size of each layer whose size is known, oldest first.
    pub layer_sizes: Vec<(Digest, u64)>,
    /// Lines the build step wrote, for `<platform>-build.log`.
    pub log_lines: usize,
}

impl Imaging {
    /// The OCI runtime that works on this machine.
    ///
    /// # Errors
    /// None does.
    pub fn oci_runtime(&self) -> Result<Runtime, RuntimeError> {
        known_runtime(self.runtime.as_deref(), &self.runtime_memory)
    }

    /// The defaults, with archives in `results` below `folder`.
    pub fn in_folder(folder: &std::path::Path) -> Self {
        Self {
            results_dir: folder.join("results"),
            compression: Compression::default(),
            format: ImageFormat::default(),
            threads: 0,
            run_limits: RunLimits::default(),
            cgroup: None,
            runtime: None,
            runtime_memory: folder.join("runtime.json"),
        }
    }
}
