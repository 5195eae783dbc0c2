//! Blobs going into the store and out of it: hashed on the way in, verified on the way out.
//!
//! Nothing else in the workspace opens a file under `blobs/`.

use crate::error::StoreError;
use crate::manifest::Descriptor;
use crate::store::Store;
use osbs_types::Digest;
use sha2::digest::common::hazmat::SerializableState;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

impl Store {
    /// A new blob of unknown digest.
    ///
    /// # Errors
    /// The temporary file cannot be made.
    pub fn blob_writer(&self) -> Result<BlobWriter, StoreError> {
        let path = self.tmp_path("blob");
        let file = File::create_new(&path).map_err(StoreError::io("create", &path))?;
        Ok(BlobWriter { store: self.clone(), path, state_path: None, file, hash: Sha256::new(), size: 0, done: false })
    }

    /// Goes on with a blob of which a part may be here from an earlier attempt: ask [`BlobWriter::size`] where to resume.
    /// When it is dropped without commit, what was written stays for the next attempt ([`BlobWriter::discard`] removes it).
    /// Two processes that fetch the same blob do not share a part: the second one starts a part of its own.
    ///
    /// # Errors
    /// The partial file cannot be opened.
    pub fn blob_writer_resume(&self, digest: &Digest) -> Result<BlobWriter, StoreError> {
        let path = self.root().join("partial").join(digest.hex());
        let state_path = path.with_extension("state");
        let file =
            File::options().create(true).read(true).append(true).open(&path).map_err(StoreError::io("open", &path))?;
        if rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
            return self.blob_writer();
        }
        let (hash, size) = resume_state(&path, &state_path);
        file.set_len(size).map_err(StoreError::io("truncate", &path))?;
        Ok(BlobWriter { store: self.clone(), path, state_path: Some(state_path), file, hash, size, done: false })
    }

    /// Whether the blob is here. It says nothing about damage; reading does.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.blob_path(digest).is_file()
    }

    /// The size of a blob that is here.
    pub fn blob_size(&self, digest: &Digest) -> Option<u64> {
        fs::metadata(self.blob_path(digest)).ok().filter(fs::Metadata::is_file).map(|m| m.len())
    }

    /// Opens a blob through a reader that checks size and digest.
    ///
    /// # Errors
    /// The blob is not here or cannot be opened.
    pub fn open_blob(&self, descriptor: &Descriptor) -> Result<BlobReader, StoreError> {
        let path = self.blob_path(&descriptor.digest);
        let file = File::open(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => StoreError::Missing { digest: descriptor.digest.clone() },
            _ => StoreError::io("open", &path)(e),
        })?;
        Ok(BlobReader {
            file,
            path,
            expected: descriptor.digest.clone(),
            size: descriptor.size,
            read: 0,
            hash: Sha256::new(),
            verified: false,
        })
    }

    /// Reads and verifies a document.
    ///
    /// # Errors
    /// Larger than `limit` bytes, missing, damaged or unreadable.
    pub fn read_small(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, StoreError> {
        if descriptor.size > limit {
            let what = descriptor.digest.to_string();
            return Err(StoreError::Limit { what, limit, unit: "bytes", option: "document" });
        }
        let mut reader = self.open_blob(descriptor)?;
        let mut bytes = Vec::with_capacity(descriptor.size as usize);
        let path = reader.path.clone();
        reader.read_to_end(&mut bytes).map_err(StoreError::io("read blob", &path))?;
        Ok(bytes)
    }

    /// Stores a document.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn put_small(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::from_sha256(&Sha256::digest(bytes).into());
        if self.blob_size(&digest) != Some(bytes.len() as u64) {
            self.write_whole(&self.blob_path(&digest), bytes)?;
        }
        Ok(digest)
    }
}

/// State of the hash is kept as the library's own serialisation, with the number of bytes before it.
fn resume_state(path: &Path, state_path: &Path) -> (Sha256, u64) {
    let fresh = || (Sha256::new(), 0);
    let Ok(bytes) = fs::read(state_path) else { return fresh() };
    let Some((size, state)) = bytes.split_first_chunk::<8>() else { return fresh() };
    let size = u64::from_le_bytes(*size);
    let Some(hash) = sha256_from_state(state) else { return fresh() };
    if fs::metadata(path).map_or(0, |m| m.len()) < size { fresh() } else { (hash, size) }
}

/// The inner state of a hash, to go on later.
pub(crate) fn sha256_state(hash: &Sha256) -> Vec<u8> {
    hash.serialize().to_vec()
}

/// Goes on from [`sha256_state`].
pub(crate) fn sha256_from_state(state: &[u8]) -> Option<Sha256> {
    Sha256::deserialize(state.try_into().ok()?).ok()
}

/// Takes the bytes of a blob. Dropped without [`BlobWriter::commit`] it leaves nothing (or its part, when resumable).
#[derive(Debug)]
pub struct BlobWriter {
    store: Store,
    path: PathBuf,
    state_path: Option<PathBuf>,
    file: File,
    hash: Sha256,
    size: u64,
    done: bool,
}

impl BlobWriter {
    /// Bytes so far, those of an earlier attempt included.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Starts again from nothing: the server does not know ranges, or the part was wrong.
    ///
    /// # Errors
    /// The file cannot be truncated.
    pub fn restart(&mut self) -> Result<(), StoreError> {
        self.file.set_len(0).map_err(StoreError::io("truncate", &self.path))?;
        // A file from `create_new` is not in append mode: its offset must go back too.
        io::Seek::rewind(&mut self.file).map_err(StoreError::io("truncate", &self.path))?;
        self.hash = Sha256::new();
        self.size = 0;
        Ok(())
    }

    /// Removes what was written, a resumable part too.
    pub fn discard(mut self) {
        self.remove();
    }

    /// Makes the blob visible under its digest, after comparing it with what was promised.
    ///
    /// # Errors
    /// [`StoreError::WrongContent`] (the part is removed then), or it cannot be written.
    pub fn commit(mut self, digest: Option<&Digest>, size: Option<u64>) -> Result<(Digest, u64), StoreError> {
        let actual = Digest::from_sha256(&self.hash.clone().finalize().into());
        if digest.is_some_and(|d| *d != actual) || size.is_some_and(|s| s != self.size) {
            let expected = digest.unwrap_or(&actual).clone();
            self.remove();
            return Err(StoreError::WrongContent { expected, expected_size: size, actual, actual_size: self.size });
        }
        if self.store.options().fsync {
            self.file.sync_all().map_err(StoreError::io("flush", &self.path))?;
        }
        let target = self.store.blob_path(&actual);
        fs::rename(&self.path, &target).map_err(StoreError::io("commit blob", &target))?;
        if let Some(state) = &self.state_path {
            let _ = fs::remove_file(state);
        }
        self.done = true;
        Ok((actual, self.size))
    }

    fn remove(&mut self) {
        let _ = fs::remove_file(&self.path);
        if let Some(state) = &self.state_path {
            let _ = fs::remove_file(state);
        }
        self.done = true;
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        if let Some(state) = &self.state_path {
            let bytes = [self.size.to_le_bytes().as_slice(), &sha256_state(&self.hash)].concat();
            if fs::write(state, bytes).is_ok() {
                return;
            }
        }
        self.remove();
    }
}

/// Reads a blob and compares size and digest. The last bytes are handed out only together with the verdict: a reader that
/// reads to the end (a `read` that returns 0) has seen verified bytes, one that stops before has not. Never reads more than
/// the promised size plus one byte. A damaged blob is removed, so that the next user fetches it again.
#[derive(Debug)]
pub struct BlobReader {
    file: File,
    path: PathBuf,
    expected: Digest,
    size: u64,
    read: u64,
    hash: Sha256,
    verified: bool,
}

impl BlobReader {
    /// The promised size.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The file itself, to share its bytes. Nothing is verified by that.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Reads what is left and verifies: for a consumer whose format ended before the blob did.
    ///
    /// # Errors
    /// As reading.
    pub fn finish(&mut self) -> io::Result<()> {
        io::copy(self, &mut io::sink()).map(drop)
    }

    fn verify(&mut self) -> io::Result<()> {
        let actual = Digest::from_sha256(&self.hash.clone().finalize().into());
        if self.read == self.size && actual == self.expected {
            self.verified = true;
            return Ok(());
        }
        let _ = fs::remove_file(&self.path);
        let expected = self.expected.clone();
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            StoreError::WrongContent { expected, expected_size: Some(self.size), actual, actual_size: self.read },
        ))
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.verified || buffer.is_empty() {
            return Ok(0);
        }
        let got = self.file.read(buffer)?;
        self.hash.update(&buffer[..got]);
        self.read += got as u64;
        if self.read > self.size || (got == 0 && self.read < self.size) {
            return Err(self.verify().err().unwrap_or_else(|| io::ErrorKind::InvalidData.into()));
        }
        if self.read == self.size {
            // Excess must be found before the last bytes are believed.
            let mut one = [0; 1];
            self.read += self.file.read(&mut one)? as u64;
            self.verify()?;
        }
        Ok(got)
    }
}
