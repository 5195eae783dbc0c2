//! Uploads to the hub's work folder: in blocks, each compared with what the hub has written; gone on with where an
//! interrupted one has ended; blocks of a log as it grows.
//!
//! Holds one block in memory. A block that is sent twice comes to the same: the file is truncated where it begins.

use crate::client::{Errand, What};
use crate::objects::UploadedBlock;
use crate::wire::RawUpload;
use crate::{Effect, FaultCode, Koji, KojiError, calls};
use osbs_http::Bytes;
use sha2::{Digest as _, Sha256};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncSeekExt as _};

/// Longest block within a call: base64 makes a third more of it, and hubs take 4 MiB.
const MAX_CALLED_BLOCK: usize = 2 << 20;
/// How often a block is sent of which the hub has written something else.
const BLOCK_ATTEMPTS: u32 = 6;
/// How often a whole file is sent of which the hub has something else in the end.
const FILE_ATTEMPTS: u32 = 2;

/// Where an upload goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// Folder below the hub's work folder: `koji-upload/TIME.RANDOM`, `tasks/26/26`.
    pub directory: &'a str,
    /// Name there; without a slash.
    pub name: &'a str,
}

/// Who is told of an upload or download: bytes that are there, and of how many, if that is known.
pub type ByteProgress<'a> = &'a (dyn Fn(u64, Option<u64>) + Send + Sync);

/// What was uploaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploaded {
    /// Bytes.
    pub size: u64,
    /// SHA-256 of what was read, hex digits.
    pub sha256: String,
    /// Bytes of it that were there already.
    pub found: u64,
}

/// The folder below the hub's work folder that holds a task's output.
pub fn task_directory(task: i64) -> String {
    format!("tasks/{}/{task}", task % 10_000)
}

struct Sending {
    offset: u64,
    sum: Sha256,
    /// A block was sent more than once: the whole is compared in the end.
    repeated: bool,
}

impl Koji {
    /// Uploads a file. What is there of it from before is not sent again; a file that is there whole is not sent at all.
    ///
    /// # Errors
    /// It cannot be read, the hub refuses it, has something else in the end, or does not answer.
    pub async fn upload_file(
        &self,
        path: &Path,
        place: Place<'_>,
        progress: ByteProgress<'_>,
    ) -> Result<Uploaded, KojiError> {
        let unreadable = |source| KojiError::File { verb: "read", path: path.to_owned(), source };
        let mut file = File::open(path).await.map_err(unreadable)?;
        let size = file.metadata().await.map_err(unreadable)?.len();
        let mut attempt = 1;
        let mut sending = self.found(path, &mut file, size, place).await?;
        loop {
            let found = sending.offset;
            progress(found, Some(size));
            self.send_blocks(&mut file, unreadable, &mut sending, place, &|done| progress(done, Some(size))).await?;
            if sending.offset != size {
                return Err(unreadable(io::Error::other("it has changed while it was uploaded")));
            }
            let Sending { offset: size, repeated, sum } = sending;
            let sha256 = hex(&sum.finalize());
            match self.compare(place, size, &sha256, repeated).await {
                Ok(()) => return Ok(Uploaded { size, sha256, found }),
                Err(KojiError::Mismatch { .. }) if attempt < FILE_ATTEMPTS && self.inner.settings.fast_upload => {}
                Err(error) => return Err(error),
            }
            attempt += 1;
            file.rewind().await.map_err(unreadable)?;
            // Whatever it was that came between may do so again.
            sending = Sending { offset: 0, sum: Sha256::new(), repeated: true };
        }
    }

    /// Uploads what a reader gives, from the beginning.
    ///
    /// # Errors
    /// It cannot be read, the hub refuses it, has something else in the end, or does not answer.
    pub async fn upload_from(
        &self,
        reader: &mut (dyn AsyncRead + Unpin + Send),
        place: Place<'_>,
        progress: ByteProgress<'_>,
    ) -> Result<Uploaded, KojiError> {
        let unreadable = |source| KojiError::File { verb: "read", path: place.name.into(), source };
        let mut sending = Sending { offset: 0, sum: Sha256::new(), repeated: false };
        self.send_blocks(reader, unreadable, &mut sending, place, &|done| progress(done, None)).await?;
        let Sending { offset: size, repeated, sum } = sending;
        let sha256 = hex(&sum.finalize());
        self.compare(place, size, &sha256, repeated).await?;
        Ok(Uploaded { size, sha256, found: 0 })
    }

    /// Writes one block of a file that grows, a log: the file ends with it afterwards.
    ///
    /// # Errors
    /// The hub refuses it (1004: the task is not ours any more), writes something else, or does not answer.
    pub async fn upload_block(&self, place: Place<'_>, offset: u64, bytes: Bytes) -> Result<(), KojiError> {
        self.send_block(place, offset, bytes).await.map(drop)
    }

    async fn send_blocks(
        &self,
        reader: &mut (dyn AsyncRead + Unpin + Send),
        unreadable: impl Fn(io::Error) -> KojiError,
        sending: &mut Sending,
        place: Place<'_>,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), KojiError> {
        let settings = &self.inner.settings;
        let limit = if settings.fast_upload { settings.block } else { settings.block.min(MAX_CALLED_BLOCK) };
        loop {
            let block = read_block(reader, limit).await.map_err(&unreadable)?;
            // An empty file is one empty block.
            if block.is_empty() && sending.offset > 0 {
                return Ok(());
            }
            let (length, is_last) = (block.len() as u64, block.len() < limit);
            sending.sum.update(&block);
            sending.repeated |= self.send_block(place, sending.offset, block).await?;
            sending.offset += length;
            progress(sending.offset);
            if is_last {
                return Ok(());
            }
        }
    }

    /// Sends a block; whether that took more than one attempt.
    async fn send_block(&self, place: Place<'_>, offset: u64, bytes: Bytes) -> Result<bool, KojiError> {
        let mut repeated = false;
        for attempt in 1.. {
            let (outcome, more) = if self.inner.settings.fast_upload {
                self.raw_block(place, offset, bytes.clone()).await?
            } else {
                (self.called_block(place, offset, &bytes).await?, false)
            };
            repeated |= more;
            let Some(found) = outcome else { return Ok(repeated) };
            if attempt == BLOCK_ATTEMPTS {
                return Err(self.mismatch(
                    format!("the {} bytes of {} at {offset}", bytes.len(), place.name),
                    checksum(&bytes),
                    found,
                ));
            }
            repeated = true;
            let reason = format!("the hub has written a block with the checksum {found}");
            self.pause(&of_upload(place), attempt, reason, self.inner.settings.delay(attempt, 1.0)).await?;
        }
        Ok(repeated)
    }

    /// Nothing if the hub has written what was sent, else what it has; and whether it was sent more than once.
    async fn raw_block(
        &self,
        place: Place<'_>,
        offset: u64,
        bytes: Bytes,
    ) -> Result<(Option<String>, bool), KojiError> {
        let action = of_upload(place);
        let (length, expected) = (bytes.len() as u64, checksum(&bytes));
        let offset = i64::try_from(offset).unwrap_or(i64::MAX);
        let arguments = RawUpload { directory: place.directory, name: place.name, offset, overwrite: true };
        let errand = Errand {
            action: &action,
            effect: Effect::Repeatable,
            says_nothing: false,
            what: What::Upload { arguments, bytes },
            secrets: &[],
            repeated: AtomicBool::new(false),
        };
        let answer = self.run(&errand).await?;
        let written = UploadedBlock::read(answer).map_err(|error| self.protocol(&action, error.to_string()))?;
        let same = written.size == length && written.hexdigest.eq_ignore_ascii_case(&expected);
        let found =
            (!same).then(|| crate::error::one_line(&format!("{} of {} bytes", written.hexdigest, written.size)));
        Ok((found, errand.repeated.load(Ordering::Relaxed)))
    }

    async fn called_block(&self, place: Place<'_>, offset: u64, bytes: &Bytes) -> Result<Option<String>, KojiError> {
        let sum = hex(&Sha256::digest(bytes));
        let offset = i64::try_from(offset).unwrap_or(i64::MAX);
        let call = calls::upload_file(place.directory, place.name, bytes.len() as u64, &sum, offset, bytes);
        Ok(if self.call(call).await? { None } else { Some("another".to_owned()) })
    }

    /// How much of a file is there already: as much as has the same digest.
    async fn found(&self, path: &Path, file: &mut File, size: u64, place: Place<'_>) -> Result<Sending, KojiError> {
        let unreadable = |source| KojiError::File { verb: "read", path: path.to_owned(), source };
        let nothing = || Sending { offset: 0, sum: Sha256::new(), repeated: false };
        let there = match self.checked(place, false).await? {
            Some((there, _)) if there > 0 && there <= size => there,
            _ => return Ok(nothing()),
        };
        let mut sum = Sha256::new();
        let mut left = there;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(1 << 20);
            let block = read_block(file, want).await.map_err(unreadable)?;
            if block.is_empty() {
                return Err(unreadable(io::ErrorKind::UnexpectedEof.into()));
            }
            sum.update(&block);
            left -= block.len() as u64;
        }
        let ours = hex(&sum.clone().finalize());
        match self.checked(place, true).await? {
            Some((size, Some(theirs))) if size == there && theirs.eq_ignore_ascii_case(&ours) => {
                Ok(Sending { offset: there, sum, repeated: false })
            }
            _ => {
                file.rewind().await.map_err(unreadable)?;
                Ok(nothing())
            }
        }
    }

    /// Size and, if wanted, SHA-256 of what the hub has; nothing also where it cannot say: a link to an imported file.
    async fn checked(&self, place: Place<'_>, digest: bool) -> Result<Option<(u64, Option<String>)>, KojiError> {
        let call = calls::check_upload(place.directory, place.name);
        let call = if digest { call.named("verify", "sha256") } else { call };
        match self.call(call).await {
            Ok(found) => Ok(found.map(|found| (found.size, found.hexdigest))),
            Err(KojiError::Fault { fault, .. }) if matches!(fault.class(), FaultCode::GenericError) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn compare(&self, place: Place<'_>, size: u64, sha256: &str, digest: bool) -> Result<(), KojiError> {
        if !self.inner.settings.fast_upload {
            // The hub compares: truncated to the size, with the digest of the whole.
            let call = calls::upload_file(place.directory, place.name, size, sha256, -1, &[]);
            let same = size == 0 || self.call(call).await?;
            let found = "another".to_owned();
            return if same { Ok(()) } else { Err(self.mismatch(place.name.to_owned(), sha256.to_owned(), found)) };
        }
        match self.checked(place, digest).await? {
            Some((there, _)) if there != size => {
                Err(self.mismatch(place.name.to_owned(), format!("{size} bytes"), format!("{there} bytes")))
            }
            Some((_, Some(found))) if digest && !found.eq_ignore_ascii_case(sha256) => {
                Err(self.mismatch(place.name.to_owned(), sha256.to_owned(), crate::error::one_line(&found)))
            }
            Some(_) => Ok(()),
            None => Err(self.mismatch(place.name.to_owned(), format!("{size} bytes"), "nothing".to_owned())),
        }
    }

    pub(crate) fn mismatch(&self, what: String, expected: String, found: String) -> KojiError {
        KojiError::Mismatch { hub: self.server().host(), what, expected, found }
    }
}

fn of_upload(place: Place<'_>) -> String {
    format!("the upload of {}", place.name)
}

/// Adler-32 as the hub writes it.
fn checksum(bytes: &[u8]) -> String {
    format!("{:08x}", adler2::adler32_slice(bytes))
}

fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// As many bytes as there are, up to `limit`.
async fn read_block(reader: &mut (dyn AsyncRead + Unpin + Send), limit: usize) -> io::Result<Bytes> {
    let mut block = Vec::new();
    reader.take(limit as u64).read_to_end(&mut block).await?;
    Ok(Bytes::from(block))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_as_the_hub_writes_them() {
        assert_eq!(checksum(b""), "00000001");
        assert_eq!(checksum(b"Wikipedia"), "11e60398");
        assert_eq!(task_directory(123_456), "tasks/3456/123456");
        assert_eq!(task_directory(26), "tasks/26/26");
    }

    #[tokio::test]
    async fn blocks() {
        let mut reader: &[u8] = b"abcde";
        for expected in [&b"ab"[..], b"cd", b"e", b""] {
            assert_eq!(read_block(&mut reader, 2).await.unwrap(), expected);
        }
    }
}
