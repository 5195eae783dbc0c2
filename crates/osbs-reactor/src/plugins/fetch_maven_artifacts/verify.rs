//! What a downloaded file is, by every checksum that was asked for, in one reading.

use super::error::ArtifactError;
use crate::plugin::PluginError;
use md5::Digest;
use osbs_config::{Checksums, UrlArtifact};
use osbs_fetch::shown_url;
use osbs_sandbox::rooted::Root;
use std::io::Read;
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// Bytes read at a time.
const BLOCK: usize = 64 << 10;

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    /// The file's size.
    pub(super) bytes: u64,
    sums: Checksums,
}

/// The checksums that were given, by name.
pub(super) fn wanted(sums: &Checksums) -> impl Iterator<Item = (&'static str, &str)> {
    let all = [("sha256", &sums.sha256), ("sha1", &sums.sha1), ("md5", &sums.md5)];
    all.into_iter().filter_map(|(name, sum)| Some((name, sum.as_deref()?)))
}

/// Reads the file and computes what is wanted of it.
pub(super) fn checksums(
    folder: &Root,
    path: &Path,
    wanted: &Checksums,
    cancel: &CancellationToken,
) -> Result<Found, PluginError> {
    let mut file = folder.open_file(path)?;
    let mut sha256 = wanted.sha256.is_some().then(sha2::Sha256::new);
    let mut sha1 = wanted.sha1.is_some().then(sha1::Sha1::new);
    let mut md5 = wanted.md5.is_some().then(md5::Md5::new);
    let (mut block, mut bytes) = (vec![0; BLOCK], 0);
    loop {
        if cancel.is_cancelled() {
            return Err(PluginError::Cancelled);
        }
        let count = match file.read(&mut block) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(ArtifactError::Read { target: path.display().to_string(), source }.into()),
        };
        let piece = &block[..count];
        bytes += count as u64;
        if let Some(hash) = &mut sha256 {
            hash.update(piece);
        }
        if let Some(hash) = &mut sha1 {
            hash.update(piece);
        }
        if let Some(hash) = &mut md5 {
            hash.update(piece);
        }
    }
    let sums = Checksums {
        md5: md5.map(|hash| hex(&hash.finalize())),
        sha1: sha1.map(|hash| hex(&hash.finalize())),
        sha256: sha256.map(|hash| hex(&hash.finalize())),
    };
    Ok(Found { bytes, sums })
}

/// In hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

impl Found {
    /// Every checksum that was given must be the file's.
    pub(super) fn check(&self, artifact: &UrlArtifact) -> Result<(), ArtifactError> {
        let pairs = wanted(&artifact.checksums).zip(wanted(&self.sums));
        let wrong = pairs.into_iter().find(|((_, expected), (_, found))| expected != found);
        let Some(((algorithm, expected), (_, found))) = wrong else { return Ok(()) };
        Err(ArtifactError::Checksum {
            target: artifact.target.clone(),
            url: shown_url(&artifact.url),
            position: artifact.position.clone(),
            algorithm,
            expected: expected.to_owned(),
            found: found.to_owned(),
            bytes: self.bytes,
        })
    }
}
