//! Where things are in the home folder of a local cluster. Names are checked before they become paths.

pub(crate) use osbs_cluster::storage;
use osbs_cluster::{ClusterError, is_object_name};
use osbs_types::BuildName;
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The home folder: `cluster.db`, `builds/NAMESPACE/NAME/`, `secrets/NAMESPACE/NAME/KEY`, `wake`.
#[derive(Debug, Clone)]
pub struct Home {
    root: PathBuf,
}

/// Paths of one build.
#[derive(Debug, Clone)]
pub struct BuildPaths {
    /// The build's folder.
    pub dir: PathBuf,
}

/// Makes a folder and what is above it, for its owner only.
pub(crate) fn make_dir(path: &Path) -> Result<(), ClusterError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(storage("make a folder", path))
}

impl Home {
    /// The home at `root`; nothing is read or made.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `cluster.db`.
    pub fn database(&self) -> PathBuf {
        self.root.join("cluster.db")
    }

    /// Touched whenever a slot or a turn may have become free: waiting builds watch it.
    pub(crate) fn queue_bell(&self) -> PathBuf {
        self.root.join("wake")
    }

    /// Paths of a build. The namespace must have been checked by [`check_name`].
    pub fn build(&self, namespace: &str, name: &BuildName) -> BuildPaths {
        BuildPaths { dir: self.all_builds().join(namespace).join(name.as_str()) }
    }

    /// Folders of builds, by namespace.
    pub(crate) fn all_builds(&self) -> PathBuf {
        self.root.join("builds")
    }

    /// Secrets of all namespaces.
    pub(crate) fn all_secrets(&self) -> PathBuf {
        self.root.join("secrets")
    }

    pub(crate) fn secrets(&self, namespace: &str) -> PathBuf {
        self.all_secrets().join(namespace)
    }

    /// Makes the home, the folder of secrets and the bell.
    pub(crate) fn create(&self) -> Result<(), ClusterError> {
        make_dir(&self.root)?;
        // There from the start, so that it is covered in every build: also in one that ran before the first secret came.
        make_dir(&self.all_secrets())?;
        open_bell(&self.queue_bell()).map(drop)
    }
}

impl BuildPaths {
    /// The event log.
    pub fn events(&self) -> PathBuf {
        self.dir.join("events.jsonl")
    }

    /// What the build's processes wrote to standard output and error.
    pub fn console(&self) -> PathBuf {
        self.dir.join("console.log")
    }

    /// Scratch space; gone when the build has ended.
    pub fn work(&self) -> PathBuf {
        self.dir.join("work")
    }

    /// What is kept: archives, metadata.
    pub fn results(&self) -> PathBuf {
        self.dir.join("results")
    }

    /// Locked as long as the build's runner lives.
    pub(crate) fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// Touched whenever the build's record has changed: its runner and whoever waits watch it.
    pub(crate) fn bell(&self) -> PathBuf {
        self.dir.join("wake")
    }
}

fn open_bell(path: &Path) -> Result<File, ClusterError> {
    // A new length each time would grow it; setting the length it has still tells watchers.
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path).map_err(storage("open", path))
}

/// Wakes whoever watches the file.
pub(crate) fn ring(path: &Path) -> Result<(), ClusterError> {
    use std::os::unix::fs::FileExt;
    open_bell(path)?.write_all_at(b"!", 0).map_err(storage("write", path))
}

/// Checks the name of an object that becomes a path.
pub(crate) fn check_name(what: &'static str, name: &str) -> Result<(), ClusterError> {
    if is_object_name(name) {
        return Ok(());
    }
    let reason = "letters, digits, '-', '_' and '.' only, at most 253, a letter or digit at both ends".to_owned();
    Err(ClusterError::Invalid { what, value: name.chars().take(80).collect(), reason })
}
