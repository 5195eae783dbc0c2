//! Garbage collection: what no reference reaches goes, when nobody holds a lease.

use crate::error::StoreError;
use crate::manifest::{Descriptor, Index, Manifest};
use crate::media_type::{MAX_INDEXES, is_index};
use crate::refs::RefRecord;
use crate::rooted::{disk_usage, remove_tree};
use crate::store::Store;
use crate::stored_image::chain_ids;
use crate::{ImageConfig, rooted};
use rustix::fd::AsFd;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::collections::HashSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;

/// What garbage collection removed, or would remove.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Number of blobs.
    pub blobs: u64,
    /// Number of unpacked layers.
    pub layers: u64,
    /// Number of temporary and partial files and folders.
    pub temporary: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

/// Hex digits that stay: of blobs, and of chain ids.
#[derive(Default)]
struct Reached {
    blobs: HashSet<String>,
    chains: HashSet<String>,
}

impl Store {
    /// Removes blobs, notes and unpacked layers that no reference reaches, and everything in `tmp/` and `partial/`. With
    /// `dry_run` only counts. Leases keep it away, not the other way round: it never waits.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while a lease is held, or something cannot be read or removed. Nothing is removed unless every
    /// reference and every document it names could be read.
    pub fn gc(&self, dry_run: bool) -> Result<GcReport, StoreError> {
        self.gc_without(&|_| false, dry_run)
    }

    /// As [`Store::gc`], after removing the references that `ended` says are nobody's any more; a dry run only counts
    /// without them.
    ///
    /// # Errors
    /// As [`Store::gc`]; no reference is removed then.
    pub fn gc_without(&self, ended: &dyn Fn(&RefRecord) -> bool, dry_run: bool) -> Result<GcReport, StoreError> {
        let lock = self.open_lock()?;
        let path = self.root().join("lock");
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(StoreError::InUse { owners: self.lease_owners() }),
            Err(e) => return Err(StoreError::io("lock", &path)(e.into())),
        }
        let (ended, kept): (Vec<_>, Vec<_>) = self.list_refs()?.into_iter().partition(ended);
        let mut reached = Reached::default();
        for record in &kept {
            self.reach(&record.image.descriptor, 0, &mut reached)?;
        }
        if !dry_run {
            for record in &ended {
                self.remove_ref(&record.name)?;
            }
        }
        let mut report = GcReport::default();
        let blob = |name: &str| reached.blobs.contains(name);
        report.blobs = self.sweep("blobs/sha256", &blob, dry_run, &mut report.bytes)?;
        let chain = |name: &str| reached.chains.contains(name);
        report.layers = self.sweep("layers", &chain, dry_run, &mut report.bytes)?;
        let note = |name: &str| name.split('.').next().is_some_and(|hex| blob(hex) || chain(hex));
        self.sweep("notes", &note, dry_run, &mut report.bytes)?;
        for folder in ["tmp", "partial"] {
            report.temporary += self.sweep(folder, &|_| false, dry_run, &mut report.bytes)?;
        }
        if !dry_run {
            self.sync_unpacked()?;
        }
        // Nobody holds the lock, so these are of the dead.
        for folder in ["leases", "locks"] {
            self.sweep(folder, &|_| false, dry_run, &mut 0)?;
        }
        Ok(report)
    }

    fn lease_owners(&self) -> Vec<String> {
        let names = fs::read_dir(self.root().join("leases")).into_iter().flatten().flatten();
        let mut owners: Vec<String> =
            names.map(|entry| crate::refs::text_of(&entry.file_name().to_string_lossy())).collect();
        owners.sort();
        if owners.is_empty() {
            owners.push("another process".to_owned());
        }
        owners
    }

    /// An index may name images that were never fetched, and other indexes; a manifest's parts are all kept that are here.
    fn reach(&self, descriptor: &Descriptor, depth: usize, reached: &mut Reached) -> Result<(), StoreError> {
        if !reached.blobs.insert(descriptor.digest.hex().to_owned()) || !self.has_blob(&descriptor.digest) {
            return Ok(());
        }
        let (name, limits) = (descriptor.digest.to_string(), self.options().limits);
        let bytes = self.read_small(descriptor, limits.document)?;
        if is_index(&descriptor.media_type) {
            if depth >= MAX_INDEXES {
                let reason = format!("more than {MAX_INDEXES} indexes inside each other");
                return Err(StoreError::Inconsistent { what: "index", name, reason });
            }
            let index = Index::parse(&bytes, &descriptor.media_type, &name, &limits)?;
            return index.manifests.iter().try_for_each(|manifest| self.reach(manifest, depth + 1, reached));
        }
        let manifest = Manifest::parse(&bytes, &descriptor.media_type, &name, &limits)?;
        for part in manifest.layers.iter().chain([&manifest.config]) {
            reached.blobs.insert(part.digest.hex().to_owned());
        }
        // A config that is no image config (an artifact's) has no layers to unpack.
        if self.has_blob(&manifest.config.digest)
            && let Ok(config) = self.read_small(&manifest.config, limits.document)
            && let Ok(config) = serde_json::from_slice::<ImageConfig>(&config)
        {
            reached.chains.extend(chain_ids(&config.rootfs.diff_ids).iter().map(|id| id.hex().to_owned()));
        }
        Ok(())
    }

    fn sweep(
        &self,
        folder: &str,
        keep: &dyn Fn(&str) -> bool,
        dry_run: bool,
        bytes: &mut u64,
    ) -> Result<u64, StoreError> {
        let path = self.root().join(folder);
        let root = rooted::open_root(&path).map_err(StoreError::io("open", &path))?;
        let mut count = 0;
        for entry in fs::read_dir(&path).map_err(StoreError::io("list", &path))? {
            let entry = entry.map_err(StoreError::io("list", &path))?;
            let name = entry.file_name();
            if name.to_str().is_some_and(keep) {
                continue;
            }
            count += 1;
            let at = entry.path();
            let is_dir = entry.file_type().map_err(StoreError::io("inspect", &at))?.is_dir();
            *bytes += disk_usage(root.as_fd(), name.as_bytes()).map_err(StoreError::io("inspect", &at))?;
            if dry_run {
                continue;
            }
            let removed = if is_dir { remove_tree(root.as_fd(), name.as_bytes()) } else { fs::remove_file(&at) };
            removed.map_err(StoreError::io("remove", &at))?;
        }
        Ok(count)
    }
}
