//! Writes the archive, compressed by taking blocks over or plain.

use crate::archive::content::{inflate, layer_header, layer_padding, note, rest};
use crate::archive::digest::state_behind;
use crate::archive::error::ArchiveError;
use crate::archive::output::{ArchiveChecksums, ArchiveInfo, Checksums, HashedFile};
use crate::archive::splice::Splicer;
use crate::error::StoreError;
use crate::layer::pipeline::{Output, Pipeline, join};
use crate::layer::source::BlockSource;
use crate::layer::{BlockCompressor, Compression, GZIP_HEADER, LayerError, gzip_trailer};
use crate::manifest::Descriptor;
use crate::note::{ArchiveState, LayerNote};
use crate::store::Store;
use crate::stored_image::StoredImage;
use crate::unpack::{ChannelReader, spawn_inflater};
use osbs_types::Digest;
use sha2::Digest as _;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::thread;
use tokio_util::sync::CancellationToken;

const READ: usize = 256 << 10;

/// Writes the image as a docker-archive, one gzip member, with `names` (`repository:tag`) as its tags. `progress` is told
/// the number of compressed bytes written so far.
///
/// # Errors
/// The output cannot be written or a layer is damaged; no file is left then.
pub fn write_archive(
    store: &Store,
    image: &StoredImage,
    names: &[String],
    (out, checksums): (&Path, Checksums),
    cancel: &CancellationToken,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<ArchiveInfo, ArchiveError> {
    let rest = rest(store, image, names)?;
    thread::scope(|scope| {
        // Normally at hand; where it is not, the layers are inflated beside the writing.
        let state = (checksums == Checksums::Koji).then(|| scope.spawn(|| state_behind(store, image, cancel)));
        let mut file = HashedFile::create(scope, out, checksums)?;
        let mut member = Member { crc: crc32fast::Hasher::new(), size: 0, compressor: BlockCompressor::new(6) };
        file.write(&GZIP_HEADER)?;
        for (number, layer) in image.layers.iter().enumerate() {
            let note = note(store, layer, cancel)?;
            member.own(&mut file, &layer_header(number, note.uncompressed_size))?;
            member.layer(&mut file, store, layer, &note, (cancel, progress))?;
            member.own(&mut file, &layer_padding(note.uncompressed_size))?;
        }
        member.own(&mut file, &rest)?;
        file.write(&gzip_trailer(member.crc.finalize(), member.size))?;
        progress(file.size());
        let state = state.map(join).transpose()?;
        let written = file.finish()?;
        let checksums = written.sums.zip(state).map(|(sums, state)| with_tar(sums, state, &rest));
        Ok(ArchiveInfo { size: written.size, uncompressed_size: member.size, checksums })
    })
}

fn with_tar((md5, sha256): (String, Digest), mut state: ArchiveState, rest: &[u8]) -> ArchiveChecksums {
    state.hash.update(rest);
    ArchiveChecksums { md5, sha256, uncompressed_sha256: Digest::from_sha256(&state.hash.finalize().into()) }
}

/// The one gzip member.
struct Member {
    crc: crc32fast::Hasher,
    size: u64,
    compressor: BlockCompressor,
}

impl Member {
    /// Bytes of our own: headers, padding, documents.
    fn own(&mut self, file: &mut HashedFile<'_>, bytes: &[u8]) -> Result<(), ArchiveError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.crc.update(bytes);
        self.size += bytes.len() as u64;
        let deflated = self.compressor.compress(&[], bytes)?;
        file.write(&deflated)
    }

    fn layer(
        &mut self,
        file: &mut HashedFile<'_>,
        store: &Store,
        layer: &Descriptor,
        note: &LayerNote,
        (cancel, progress): (&CancellationToken, &(dyn Fn(u64) + Sync)),
    ) -> Result<(), ArchiveError> {
        self.crc.combine(&crc32fast::Hasher::new_with_initial_len(note.crc32, note.uncompressed_size));
        self.size += note.uncompressed_size;
        let read_failed = |source| LayerError::Read { what: format!("layer {}", layer.digest), source };
        let Some(splice) = note.splice else {
            return append_recompressed(file, store, layer, (cancel, progress));
        };
        let mut blob = store.open_blob(layer)?;
        let mut splicer = Splicer::new(splice);
        let mut buffer = vec![0; READ];
        loop {
            if cancel.is_cancelled() {
                return Err(ArchiveError::Cancelled);
            }
            let got = blob.read(&mut buffer).map_err(read_failed)?;
            if got == 0 {
                break;
            }
            file.with(|out| splicer.pass(&buffer[..got], out))?;
            progress(file.size());
        }
        file.with(|out| splicer.finish(out))?;
        if splice.tail > 0 {
            let path = store.note_path(layer.digest.hex(), "tail");
            let tail = fs::read(&path).map_err(StoreError::io("read", &path))?;
            if tail.len() as u64 != splice.tail {
                let (what, name) = ("note", path.display().to_string());
                return Err(StoreError::Inconsistent { what, name, reason: "wrong length".to_owned() }.into());
            }
            file.write(&tail)?;
        }
        Ok(())
    }
}

/// A layer that is zstd, plain, or gzip of a kind whose blocks cannot be taken over is deflated once a machine, into
/// `notes/HEX.deflate`.
fn append_recompressed(
    file: &mut HashedFile<'_>,
    store: &Store,
    layer: &Descriptor,
    (cancel, progress): (&CancellationToken, &(dyn Fn(u64) + Sync)),
) -> Result<(), ArchiveError> {
    let path = store.note_path(layer.digest.hex(), "deflate");
    if !path.exists() {
        recompress(store, layer, &path, cancel)?;
    }
    let failed = || StoreError::io("read", &path);
    let mut deflated = File::open(&path).map_err(failed())?;
    let mut buffer = vec![0; READ];
    loop {
        if cancel.is_cancelled() {
            return Err(ArchiveError::Cancelled);
        }
        let got = deflated.read(&mut buffer).map_err(failed())?;
        if got == 0 {
            return Ok(());
        }
        file.write(&buffer[..got])?;
        progress(file.size());
    }
}

fn recompress(store: &Store, layer: &Descriptor, path: &Path, cancel: &CancellationToken) -> Result<(), LayerError> {
    let tmp = store.tmp_path("deflate");
    let file = File::create_new(&tmp).map_err(StoreError::io("create", &tmp))?;
    let result = thread::scope(|scope| {
        let (reader, inflater) = spawn_inflater(scope, store.open_blob(layer)?, store.options().limits, &|_| ());
        let mut source = ReaderSource { reader, what: format!("layer {}", layer.digest) };
        let pipeline = Pipeline {
            compression: Compression::default(),
            bare: true,
            threads: thread::available_parallelism().map_or(1, usize::from),
            cancel,
            progress: &|_| (),
        };
        let passed = pipeline.run(&mut source, &mut [], &mut FileOutput(file))?;
        source.reader.close();
        join(inflater).map_err(|source_error| LayerError::Read { what: source.what.clone(), source: source_error })?;
        Ok(passed)
    });
    let kept = result.and_then(|_| fs::rename(&tmp, path).map_err(|e| StoreError::io("write", path)(e).into()));
    if kept.is_err() {
        let _ = fs::remove_file(&tmp);
    }
    kept
}

/// The uncompressed bytes of a blob as a source.
struct ReaderSource {
    reader: ChannelReader,
    what: String,
}

impl BlockSource for ReaderSource {
    fn fill(&mut self, block: &mut Vec<u8>, most: usize) -> Result<(), LayerError> {
        let room = (most - block.len()) as u64;
        let got = (&mut self.reader).take(room).read_to_end(block);
        got.map(drop).map_err(|source| LayerError::Read { what: self.what.clone(), source })
    }
}

struct FileOutput(File);

impl Output for FileOutput {
    fn write(&mut self, bytes: &[u8]) -> Result<(), LayerError> {
        self.0.write_all(bytes).map_err(LayerError::file("write", "the layer compressed again"))
    }
}

/// The same tar, not compressed.
///
/// # Errors
/// As [`write_archive`].
pub fn write_docker_archive_plain(
    store: &Store,
    image: &StoredImage,
    names: &[String],
    (out, checksums): (&Path, Checksums),
    cancel: &CancellationToken,
) -> Result<ArchiveInfo, ArchiveError> {
    let rest = rest(store, image, names)?;
    thread::scope(|scope| {
        let mut file = HashedFile::create(scope, out, checksums)?;
        for (number, layer) in image.layers.iter().enumerate() {
            let size = note(store, layer, cancel)?.uncompressed_size;
            file.write(&layer_header(number, size))?;
            let mut failed = None;
            let result = inflate(store, layer, cancel, &mut |bytes| {
                file.write(bytes).map_err(|e| {
                    failed = Some(e);
                    LayerError::Cancelled
                })
            });
            match failed {
                Some(e) => return Err(e),
                None => result?,
            };
            file.write(&layer_padding(size))?;
        }
        file.write(&rest)?;
        let written = file.finish()?;
        let checksums = written.sums.map(|(md5, sha256)| {
            let uncompressed_sha256 = sha256.clone();
            ArchiveChecksums { md5, sha256, uncompressed_sha256 }
        });
        Ok(ArchiveInfo { uncompressed_size: written.size, size: written.size, checksums })
    })
}
