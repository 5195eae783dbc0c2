//! The image store: one folder shared by all builds of a machine (see [`crate::store_layout`]).
//!
//! This file opens it, hands out paths and leases. Blobs, references, garbage collection and unpacking have their own.

use crate::error::StoreError;
use crate::limits::Limits;
use crate::ownership::Ownership;
use crate::store_layout::VERSION;
use osbs_types::{Digest, OverlayXattrs};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How a store writes.
#[derive(Debug, Clone, Copy, Default)]
pub struct StoreOptions {
    /// Write blobs through to the disk before they get their name. Costs most of the time of a large build; without it a
    /// power cut can damage what was written in the seconds before, which is found and mended when it is next read.
    pub fsync: bool,
    /// What images may ask for; `limits.json` in the store's folder comes before it.
    pub limits: Limits,
}

/// The store. Cheap to clone, safe to share between threads; any number of processes may use one folder.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    options: StoreOptions,
    ownership: Ownership,
}

/// Makes names unique in this process, which may have opened the store twice.
static COUNTER: AtomicU64 = AtomicU64::new(0);

const FOLDERS: [&str; 8] = ["blobs/sha256", "layers", "notes", "refs", "locks", "leases", "tmp", "partial"];

impl Store {
    /// Opens the store in `root`, or makes it.
    ///
    /// # Errors
    /// The folder cannot be made, holds another layout version, or is a store of other ids ([`StoreError::Ownership`]), or its
    /// `limits.json` cannot be understood.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        Self::open_with(root, StoreOptions::default())
    }

    /// As [`Store::open`], with options.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with(root: &Path, mut options: StoreOptions) -> Result<Self, StoreError> {
        for folder in FOLDERS {
            let path = root.join(folder);
            fs::create_dir_all(&path).map_err(StoreError::io("create folder", &path))?;
        }
        let root = fs::canonicalize(root).map_err(StoreError::io("open store", root))?;
        if let Some(limits) = Limits::read(&root.join("limits.json"))? {
            options.limits = limits;
        }
        let ownership = Ownership::of_this_process(&root.join("tmp"))?;
        let store = Self { inner: Arc::new(Inner { root, options, ownership }) };
        store.check_ownership()?;
        store.check_version()?;
        Ok(store)
    }

    /// Before the version: a store that has one was complete, and says nothing only if it is of old.
    fn check_ownership(&self) -> Result<(), StoreError> {
        let path = self.root().join("ownership");
        let mut found = Ownership::read(&path)?;
        if found.is_none() && !self.root().join("version").exists() {
            self.write_whole(&path, self.inner.ownership.render().as_bytes())?;
            found = Ownership::read(&path)?;
        }
        self.inner.ownership.check(self.root(), found)
    }

    /// Under which names overlayfs marks the files of this store.
    pub fn overlay_xattrs(&self) -> OverlayXattrs {
        self.inner.ownership.xattrs
    }

    fn check_version(&self) -> Result<(), StoreError> {
        let path = self.root().join("version");
        match fs::read_to_string(&path) {
            Ok(text) if text.trim() == VERSION.to_string() => Ok(()),
            Ok(text) => {
                let found = text.trim().to_owned();
                Err(StoreError::Version { path: self.root().to_owned(), found, known: VERSION })
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => self.write_whole(&path, format!("{VERSION}\n").as_bytes()),
            Err(e) => Err(StoreError::io("read", &path)(e)),
        }
    }

    /// The folder, absolute.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    pub(crate) fn options(&self) -> StoreOptions {
        self.inner.options
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root().join("blobs/sha256").join(digest.hex())
    }

    pub(crate) fn note_path(&self, hex: &str, ending: &str) -> PathBuf {
        self.root().join("notes").join(format!("{hex}.{ending}"))
    }

    /// The folder of the unpacked layer with this chain id. Whether it is whole says [`Store::is_unpacked`].
    pub fn layer_path(&self, chain_id: &Digest) -> PathBuf {
        self.root().join("layers").join(chain_id.hex())
    }

    /// A fresh name in `tmp/`; nothing is created. It holds the process id, so that gc can tell the dead from the living.
    pub(crate) fn tmp_path(&self, what: &str) -> PathBuf {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let nanos =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
        self.root().join("tmp").join(format!("{what}-{}-{number}-{nanos:x}", std::process::id()))
    }

    /// Writes a small file so that readers see the old or the new content, never half of it.
    pub(crate) fn write_whole(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let tmp = self.tmp_path("file");
        let write = || -> io::Result<()> {
            fs::write(&tmp, bytes)?;
            if self.inner.options.fsync {
                File::open(&tmp)?.sync_all()?;
            }
            fs::rename(&tmp, path)
        };
        write().map_err(|e| {
            let _ = fs::remove_file(&tmp);
            StoreError::io("write", path)(e)
        })
    }

    /// Holds off garbage collection until the lease is dropped, or the process ends in whatever way. Blocks while gc runs.
    ///
    /// # Errors
    /// The lock file cannot be opened or locked.
    pub fn lease(&self, owner: &str) -> Result<Lease, StoreError> {
        let lock = self.open_lock()?;
        let path = self.root().join("lock");
        flock(&lock, FlockOperation::LockShared).map_err(|e| StoreError::io("lock", &path)(e.into()))?;
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = crate::refs::file_name(&format!("{owner} (process {} lease {number})", std::process::id()));
        let note = self.root().join("leases").join(name);
        // Only for the message of a gc that has to wait: failing to write it must not stop a build.
        let _ = fs::write(&note, b"");
        Ok(Lease { _lock: lock, note })
    }

    pub(crate) fn open_lock(&self) -> Result<File, StoreError> {
        let path = self.root().join("lock");
        File::options().create(true).append(true).open(&path).map_err(StoreError::io("open", &path))
    }
}

/// Keeps everything in the store alive. See [`Store::lease`].
#[derive(Debug)]
pub struct Lease {
    _lock: File,
    note: PathBuf,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.note);
    }
}
