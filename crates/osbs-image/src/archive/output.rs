//! The file being written, hashed by threads of their own.

use crate::archive::error::ArchiveError;
use crate::layer::pipeline::join;
use md5::Md5;
use osbs_types::Digest;
use sha2::Sha256;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

/// Facts about a written archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveInfo {
    /// Size of the file.
    pub size: u64,
    /// Size of the tar.
    pub uncompressed_size: u64,
    /// Where they were wanted.
    pub checksums: Option<ArchiveChecksums>,
}

/// Checksums of a written archive, as Koji wants them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveChecksums {
    /// MD5 of the file, hex.
    pub md5: String,
    /// SHA-256 of the file.
    pub sha256: Digest,
    /// SHA-256 of the tar.
    pub uncompressed_sha256: Digest,
}

/// Which checksums are taken of an archive. They cost as much processor time as writing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksums {
    /// Those of [`ArchiveChecksums`].
    Koji,
    /// None.
    None,
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn hashed<H: sha2::Digest>(pieces: Receiver<Arc<Vec<u8>>>) -> sha2::digest::Output<H> {
    let mut hash = H::new();
    for piece in pieces {
        hash.update(piece.as_slice());
    }
    hash.finalize()
}

/// Pieces are gathered to this size before they are handed on.
const PIECE: usize = 1 << 20;

/// Writes beside the target and renames at the end.
pub(crate) struct HashedFile<'s> {
    target: PathBuf,
    path: PathBuf,
    file: File,
    size: u64,
    pending: Vec<u8>,
    hashers: Vec<SyncSender<Arc<Vec<u8>>>>,
    sums: Option<(ScopedJoinHandle<'s, String>, ScopedJoinHandle<'s, Digest>)>,
    done: Cleanup,
}

/// Removes the file unless it was finished.
struct Cleanup(Option<PathBuf>);

impl Drop for Cleanup {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

/// What is known of the file.
pub(crate) struct Written {
    pub size: u64,
    /// MD5 and SHA-256.
    pub sums: Option<(String, Digest)>,
}

impl<'s> HashedFile<'s> {
    pub(crate) fn create(scope: &'s Scope<'s, '_>, target: &Path, checksums: Checksums) -> Result<Self, ArchiveError> {
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let path = target.with_file_name(name);
        let file = File::create(&path).map_err(|source| ArchiveError::Output { path: path.clone(), source })?;
        let mut hashers = Vec::new();
        let sums = (checksums == Checksums::Koji).then(|| {
            let [md5, sha256] = [(); 2].map(|()| {
                let (into, pieces) = sync_channel::<Arc<Vec<u8>>>(4);
                hashers.push(into);
                pieces
            });
            let md5 = scope.spawn(move || hex(&hashed::<Md5>(md5)));
            let sha256 = scope.spawn(move || Digest::from_sha256(&hashed::<Sha256>(sha256).into()));
            (md5, sha256)
        });
        let done = Cleanup(Some(path.clone()));
        let pending = Vec::with_capacity(PIECE + PIECE / 4);
        Ok(Self { target: target.to_owned(), path, file, size: 0, pending, hashers, sums, done })
    }

    /// Appends bytes that `fill` puts at the end of the buffer it is given.
    pub(crate) fn with(&mut self, fill: impl FnOnce(&mut Vec<u8>)) -> Result<(), ArchiveError> {
        fill(&mut self.pending);
        if self.pending.len() >= PIECE { self.flush() } else { Ok(()) }
    }

    /// Appends bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.with(|pending| pending.extend_from_slice(bytes))
    }

    pub(crate) fn size(&self) -> u64 {
        self.size + self.pending.len() as u64
    }

    fn flush(&mut self) -> Result<(), ArchiveError> {
        let piece = std::mem::replace(&mut self.pending, Vec::with_capacity(PIECE + PIECE / 4));
        self.size += piece.len() as u64;
        let piece = Arc::new(piece);
        for hasher in &self.hashers {
            // A hasher ends only by a panic, which its join reports.
            let _ = hasher.send(Arc::clone(&piece));
        }
        self.file.write_all(&piece).map_err(|source| ArchiveError::Output { path: self.path.clone(), source })
    }

    pub(crate) fn finish(mut self) -> Result<Written, ArchiveError> {
        self.flush()?;
        self.hashers.clear();
        let sums = self.sums.map(|(md5, sha256)| (join(md5), join(sha256)));
        let written = Written { size: self.size, sums };
        fs::rename(&self.path, &self.target)
            .map_err(|source| ArchiveError::Output { path: self.target.clone(), source })?;
        self.done.0 = None;
        Ok(written)
    }
}
