//! Layers of an image into `layers/` of the store: in parallel, at most once a machine, whole or not at all.
//!
//! Two threads a layer: one reads, verifies and inflates, the other hashes for the diff id and writes files.

use crate::error::StoreError;
use crate::gzip_reader::GzipFacts;
use crate::layer::LayerError;
use crate::layer::pipeline::join;
use crate::limits::Limits;
use crate::manifest::Descriptor;
use crate::note::{LayerNote, LeftOut};
use crate::rooted;
use crate::store::Store;
use crate::stored_image::StoredImage;
use crate::tar::TarReader;
use crate::unpack::inflate::{ChannelReader, spawn_inflater};
use crate::unpack::lower;
use crate::unpack::tree::{Overrides, Reading, Tree};
use crate::unpacked::remove_tmp;
use osbs_types::Digest;
use rustix::fd::AsFd;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use tokio_util::sync::CancellationToken;

impl Store {
    /// Unpacks every layer that is not unpacked yet, in parallel, at most once a machine, and verifies digests and diff
    /// ids. Returns the folders, bottom first. `progress` is told compressed bytes done, as increments.
    ///
    /// # Errors
    /// A layer is damaged or hostile, or the disk is full; a layer that failed leaves nothing behind.
    pub fn unpack(
        &self,
        image: &StoredImage,
        cancel: &CancellationToken,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<PathBuf>, LayerError> {
        let chain = image.chain_ids();
        let folders: Vec<PathBuf> = chain.iter().map(|id| self.layer_path(id)).collect();
        if chain.iter().all(|id| self.is_unpacked(id)) {
            return Ok(folders);
        }
        // A chain id stands for one place above one base, so everybody takes these locks in the same order.
        let mut locks = Vec::new();
        for id in chain.iter().filter(|id| !self.is_unpacked(id)) {
            locks.push(self.lock_layer(id, cancel)?);
        }
        let missing: Vec<usize> = (0..chain.len()).filter(|n| !self.is_unpacked(&chain[*n])).collect();
        let unpacked = self.unpack_missing(image, &missing, cancel, progress);
        let result = self.place(&missing, unpacked, &chain, &folders);
        drop(locks);
        result.map(|()| folders)
    }

    /// Unpacks into temporary folders, as many layers at once as there are cores.
    fn unpack_missing(
        &self,
        image: &StoredImage,
        missing: &[usize],
        cancel: &CancellationToken,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Vec<Result<Unpacked, LayerError>> {
        let next = AtomicUsize::new(0);
        let results: Mutex<Vec<Option<Result<Unpacked, LayerError>>>> =
            Mutex::new(missing.iter().map(|_| None).collect());
        let stop = cancel.child_token();
        let threads = thread::available_parallelism().map_or(1, usize::from).min(missing.len());
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let job = next.fetch_add(1, Ordering::Relaxed);
                        let Some(number) = missing.get(job) else { return };
                        let result = if stop.is_cancelled() {
                            Err(LayerError::Cancelled)
                        } else {
                            self.unpack_one(&image.layers[*number], &image.diff_ids[*number], &stop, progress)
                        };
                        if result.is_err() {
                            stop.cancel();
                        }
                        results.lock().unwrap_or_else(PoisonError::into_inner)[job] = Some(result);
                    }
                });
            }
        });
        let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        results.into_iter().map(|result| result.unwrap_or(Err(LayerError::Cancelled))).collect()
    }

    fn unpack_one(
        &self,
        layer: &Descriptor,
        diff_id: &Digest,
        cancel: &CancellationToken,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Unpacked, LayerError> {
        let folder = TmpFolder::make(self)?;
        let what = format!("layer {}", layer.digest);
        let limits = self.options().limits;
        let root = rooted::open_root(&folder.path).map_err(LayerError::file("open", &folder.path))?;
        let mut tree = Tree::new(root.as_fd(), Reading::Layer(self.overlay_xattrs()), Overrides::default(), &what)
            .map_err(LayerError::file("open", &folder.path))?;
        let blob = self.open_blob(layer)?;
        let (reader, facts) = thread::scope(|scope| {
            let (reader, inflater) = spawn_inflater(scope, blob, limits, progress);
            let mut tar = TarReader::new(reader, what.clone(), &limits);
            let written = write_entries(&mut tar, &mut tree, &limits, cancel);
            let reader = written.and_then(|()| tar.finish());
            // With the receiver gone the other thread ends too.
            reader.map(|mut reader| {
                reader.close();
                (reader, join(inflater))
            })
        })?;
        let facts = facts.map_err(|source| LayerError::read(&what, source))?;
        let note = reader.note(facts.as_ref());
        if note.diff_id != *diff_id {
            let (layer, expected) = (layer.digest.clone(), diff_id.clone());
            return Err(LayerError::WrongDiffId { layer, expected, actual: note.diff_id });
        }
        self.save_note(&layer.digest, &note, facts)?;
        Ok(Unpacked { folder, tree })
    }

    /// Completes the layers from the bottom up, each with those below it, and gives them their names.
    fn place(
        &self,
        missing: &[usize],
        unpacked: Vec<Result<Unpacked, LayerError>>,
        chain: &[Digest],
        folders: &[PathBuf],
    ) -> Result<(), LayerError> {
        for (number, mut layer) in missing.iter().zip(all(unpacked)?) {
            lower::complete(&mut layer.tree, &folders[..*number])?;
            layer.tree.finish()?;
            if !layer.tree.left_out().is_empty() {
                LeftOut::of(layer.tree.left_out().iter().map(Vec::as_slice)).save(self, &chain[*number])?;
            }
            self.place_layer(&chain[*number], &layer.folder.path)?;
            layer.folder.kept = true;
        }
        Ok(())
    }

    /// Saves a note and its tail, unless there is one.
    pub(crate) fn save_note(
        &self,
        blob: &Digest,
        note: &LayerNote,
        facts: Option<GzipFacts>,
    ) -> Result<(), StoreError> {
        if LayerNote::load(self, blob).is_some() {
            return Ok(());
        }
        if let Some(facts) = facts.filter(|facts| !facts.tail.is_empty()) {
            self.write_whole(&self.note_path(blob.hex(), "tail"), &facts.tail)?;
        }
        note.save(self, blob)
    }
}

/// All of them, or the error that ended the work.
fn all(unpacked: Vec<Result<Unpacked, LayerError>>) -> Result<Vec<Unpacked>, LayerError> {
    // The error of one layer stops the others; theirs is then "cancelled", which nobody wants to read.
    let mut first: Option<LayerError> = None;
    let mut good = Vec::new();
    for result in unpacked {
        match result {
            Ok(layer) => good.push(layer),
            Err(e) => {
                if !matches!(e, LayerError::Cancelled) || first.is_none() {
                    first = Some(e);
                }
            }
        }
    }
    first.map_or(Ok(good), Err)
}

fn write_entries(
    tar: &mut TarReader<ChannelReader>,
    tree: &mut Tree,
    limits: &Limits,
    cancel: &CancellationToken,
) -> Result<(), LayerError> {
    while let Some(entry) = tar.next()? {
        if cancel.is_cancelled() {
            return Err(LayerError::Cancelled);
        }
        let limit = |limit, unit| LayerError::Limit { what: tar.what().to_owned(), limit, unit, option: unit };
        if tree.entries >= limits.entries {
            return Err(limit(limits.entries, "entries"));
        }
        if tree.bytes.saturating_add(entry.file_size()) > limits.bytes {
            return Err(limit(limits.bytes, "bytes"));
        }
        tree.apply(tar, entry)?;
    }
    Ok(())
}

/// A layer in its temporary folder.
struct Unpacked {
    folder: TmpFolder,
    tree: Tree,
}

/// A folder in `tmp/`, removed when dropped.
struct TmpFolder {
    path: PathBuf,
    kept: bool,
}

impl TmpFolder {
    fn make(store: &Store) -> Result<Self, StoreError> {
        let path = store.tmp_path("layer");
        fs::create_dir(&path).map_err(StoreError::io("create folder", &path))?;
        Ok(Self { path, kept: false })
    }
}

impl Drop for TmpFolder {
    fn drop(&mut self) {
        if !self.kept {
            remove_tmp(&self.path);
        }
    }
}
