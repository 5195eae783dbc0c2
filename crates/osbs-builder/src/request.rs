//! What a build is asked for and what it gives: the types a caller meets.

use crate::error::BuildError;
use crate::fetcher::Fetcher;
use osbs_dockerfile::Dockerfile;
use osbs_image::{BlobSink, Compression, ImageFormat, LayerTap, Store, StoredImage, WrittenLayer};
use osbs_sandbox::Runtime;
use osbs_types::Architecture;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Where images named in a Dockerfile come from. Implemented over a registry, an OCI folder, or ids that a plugin fixed.
pub trait ParentImages: Sync {
    /// The image for a name as it stands in FROM, COPY --from or RUN --mount from, with all its blobs in the store. Asked
    /// once in a build for each name and platform; stages side by side ask at the same time.
    ///
    /// # Errors
    /// [`BuildError::Parent`], with the kind that says whose fault; soon after `cancel`, when another stage has failed
    /// or the build is cancelled.
    fn parent(
        &self,
        name: &str,
        platform: &Architecture,
        cancel: &CancellationToken,
    ) -> Result<StoredImage, BuildError>;
}

/// Bounds on what one RUN may take of the machine. `None`: no bound of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunLimits {
    /// Bytes of memory, swap included.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// Thousandths of a processor.
    pub milli_cpus: Option<u32>,
    /// How long one RUN may take.
    pub time: Option<Duration>,
}

/// Whether RUN gets a user namespace, so that its root is nobody outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UserNamespace {
    /// Where kernel, runtime and file system can; else without, and the log says so.
    #[default]
    Auto,
    /// An error where it cannot be.
    Always,
    /// Never: device nodes can be made then.
    Off,
}

/// What a RUN gets of the network when it does not say so itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RunNetwork {
    /// The machine's.
    #[default]
    Host,
    /// Loopback only.
    None,
}

/// Bounds on what a repository may make the builder do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that one ADD archive may unpack to.
    pub archive_bytes: u64,
    /// Bytes that one COPY or ADD may copy, as the sizes of files tell: holes count.
    pub copied_bytes: u64,
    /// Entries that one COPY or ADD may make.
    pub files: u64,
    /// Depth of directories that are walked.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { archive_bytes: 64 << 30, copied_bytes: 256 << 30, files: 20_000_000, depth: 2_000 }
    }
}

/// One image to build.
pub struct BuildRequest<'a> {
    /// Parsed; its file name is what messages show.
    pub dockerfile: &'a Dockerfile,
    /// The build context. Read in place, never copied.
    pub context: &'a Path,
    /// Text of the ignore file; `None`: `.dockerignore` of the context, if there.
    pub ignore: Option<String>,
    /// Where named images come from.
    pub parents: &'a dyn ParentImages,
    /// For `ADD` of URLs and git repositories.
    pub fetcher: Option<&'a dyn Fetcher>,
    /// What the image is for.
    pub architecture: Architecture,
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// The stage to build: name or index; `None`: the last.
    pub target: Option<String>,
    /// Set after the Dockerfile's own labels.
    pub labels: Vec<(String, String)>,
    /// Of the image's manifest; only OCI has them.
    pub annotations: BTreeMap<String, String>,
    /// Media types.
    pub format: ImageFormat,
    /// Of the new layer.
    pub compression: Compression,
    /// Seconds since the epoch; also `created` of the config. Times later than it become it.
    pub clamp_mtime: Option<i64>,
    /// An empty or absent folder, on a file system that can be an overlay's upper. Empty again afterwards.
    pub work_dir: &'a Path,
    /// Where parents are unpacked and the image is put.
    pub store: &'a Store,
    /// Runs the containers. `None`: a RUN is an error.
    pub runtime: Option<&'a Runtime>,
    /// Why there is none, for that error.
    pub no_runtime: Option<String>,
    /// Cgroup of the containers.
    pub cgroup: Option<String>,
    /// Network of RUN without `--network`.
    pub network: RunNetwork,
    /// Of every RUN.
    pub run_limits: RunLimits,
    /// Of every RUN.
    pub user_namespace: UserNamespace,
    /// Whether `RUN --security=insecure` is carried out: all capabilities, no seccomp, no user namespace.
    pub allow_insecure: bool,
    /// `RUN --mount=type=ssh`: id to the socket of an agent.
    pub ssh: BTreeMap<String, PathBuf>,
    /// `RUN --mount=type=secret`: id to file.
    pub secrets: BTreeMap<String, PathBuf>,
    /// `RUN --mount=type=cache` keeps its folders here; `None`: they live as long as the build.
    pub cache_dir: Option<PathBuf>,
    /// Sees the compressed layer while it is made.
    pub sink: Option<Box<dyn BlobSink + Sync>>,
    /// See the uncompressed layer while it is made.
    pub taps: Vec<Box<dyn LayerTap + Sync>>,
    /// Also takes the checksum of the uncompressed docker-archive while the layer is made
    /// ([`osbs_image::ArchiveDigest`]), so that writing the archive need not inflate anything.
    pub prepare_archive: bool,
    /// The unpacked layer stays in the store, so that a child of this image need not unpack it (and nothing has to be
    /// deleted now). Costs its size on disk until garbage is collected. Without effect when the work folder is on another
    /// file system than the store.
    pub keep_unpacked: bool,
    /// Bounds.
    pub limits: Limits,
    /// For copying and compressing; 0: as many as the machine has.
    pub threads: usize,
}

impl<'a> BuildRequest<'a> {
    /// With defaults for all that is optional.
    pub fn new(
        dockerfile: &'a Dockerfile,
        context: &'a Path,
        parents: &'a dyn ParentImages,
        architecture: Architecture,
        work_dir: &'a Path,
        store: &'a Store,
    ) -> Self {
        Self {
            dockerfile,
            context,
            ignore: None,
            parents,
            fetcher: None,
            architecture,
            build_args: BTreeMap::new(),
            target: None,
            labels: Vec::new(),
            annotations: BTreeMap::new(),
            format: ImageFormat::default(),
            compression: Compression::default(),
            clamp_mtime: None,
            work_dir,
            store,
            runtime: None,
            no_runtime: None,
            cgroup: None,
            network: RunNetwork::default(),
            run_limits: RunLimits::default(),
            user_namespace: UserNamespace::default(),
            allow_insecure: false,
            ssh: BTreeMap::new(),
            secrets: BTreeMap::new(),
            cache_dir: None,
            sink: None,
            taps: Vec::new(),
            prepare_archive: false,
            keep_unpacked: true,
            limits: Limits::default(),
            threads: 0,
        }
    }
}

/// Which stage a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageLabel<'a> {
    /// From 1, among the stages that are built, in an order in which each comes after those it needs.
    pub number: usize,
    /// Its name in the Dockerfile, else `stage` and its index there.
    pub name: &'a str,
    /// Another stage may be at work at the same time, so that a reader must be told whose a message is.
    pub side_by_side: bool,
}

impl StageLabel<'_> {
    /// What stands before a message: `[NAME] ` where stages are side by side, else nothing.
    pub fn prefix(&self) -> String {
        if self.side_by_side { format!("[{}] ", self.name) } else { String::new() }
    }
}

/// Learns what a build does, while it does it. Called from the threads of all stages at work.
pub trait BuildObserver: Send + Sync {
    /// An instruction starts. `index` counts the instructions of all stages that have started, from 1, and `total` those
    /// there are. `text` is the instruction as written.
    fn step(&self, stage: StageLabel<'_>, index: usize, total: usize, text: &str);
    /// A line of a command's output, without its newline; any bytes.
    fn line(&self, stage: StageLabel<'_>, line: &[u8]);
    /// Something that is not as the Dockerfile's author may expect, one line.
    fn warning(&self, _text: &str) {}
    /// Bytes done of something long: `unpack`, `layer`. `total` is 0 while unknown.
    fn progress(&self, what: &'static str, done: u64, total: u64);
}

/// The result.
#[derive(Debug)]
pub struct BuiltImage {
    /// Config and manifest are in the store too. The caller sets a reference before its lease ends.
    pub image: StoredImage,
    /// The one layer over the parent's.
    pub new_layer: WrittenLayer,
    /// `None` for `FROM scratch`.
    pub parent: Option<StoredImage>,
    /// Name of the parent as FROM had it, expanded.
    pub parent_name: Option<String>,
    /// Where the time went, in order: name and seconds.
    pub timings: Vec<(&'static str, f64)>,
}
