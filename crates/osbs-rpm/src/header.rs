//! RPM headers as the database stores them.
//!
//! Layout (rpm's documentation, "Header format"), all numbers big-endian:
//!
//! | bytes | meaning |
//! |---|---|
//! | 4 | number of index entries |
//! | 4 | size of the data section |
//! | 16 each | index entries: tag, type, offset into the data, count |
//! | rest | the data section |

use crate::Package;
use crate::signature::{hex, key_id};

/// A header that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Shorter than its own numbers say.
    #[error("an RPM header of {have} bytes says it has {wanted}")]
    Truncated {
        /// What is there.
        have: usize,
        /// What it says.
        wanted: u64,
    },
    /// No name, version or release.
    #[error("an RPM header lacks its {0}")]
    Missing(&'static str),
}

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const BUILD_TIME: u32 = 1006;
const SIZE: u32 = 1009;
const ARCH: u32 = 1022;
const LONG_SIZE: u32 = 5009;
const SIG_MD5: u32 = 261;
/// In the order in which they are believed: header signatures of current rpm, then the old ones over header and payload.
const SIGNATURES: [u32; 4] = [268, 267, 259, 262];

const TYPE_INT32: u32 = 4;
const TYPE_INT64: u32 = 5;
const TYPE_STRING: u32 = 6;
const TYPE_BIN: u32 = 7;
const TYPE_STRING_ARRAY: u32 = 8;
const TYPE_I18N_STRING: u32 = 9;

struct Header<'a> {
    index: &'a [u8],
    data: &'a [u8],
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

impl<'a> Header<'a> {
    fn parse(blob: &'a [u8]) -> Result<Self, HeaderError> {
        let truncated = |wanted| HeaderError::Truncated { have: blob.len(), wanted };
        let (Some(entries), Some(size)) = (number(blob, 0), number(blob, 4)) else {
            return Err(truncated(8));
        };
        let index_end = 8 + u64::from(entries) * 16;
        let wanted = index_end + u64::from(size);
        if wanted > blob.len() as u64 {
            return Err(truncated(wanted));
        }
        let (index, data) = blob[8..].split_at(index_end as usize - 8);
        Ok(Self { index, data })
    }

    /// The data from the tag's first value on, with type and count.
    fn find(&self, tag: u32) -> Option<(u32, u32, &'a [u8])> {
        let entry = self.index.chunks_exact(16).find(|entry| number(entry, 0) == Some(tag))?;
        let offset = number(entry, 8)? as usize;
        Some((number(entry, 4)?, number(entry, 12)?, self.data.get(offset..)?))
    }

    fn text(&self, tag: u32) -> Option<String> {
        let (kind, _, data) = self.find(tag)?;
        if ![TYPE_STRING, TYPE_STRING_ARRAY, TYPE_I18N_STRING].contains(&kind) {
            return None;
        }
        let end = data.iter().position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(&data[..end]).into_owned())
    }

    fn integer(&self, tag: u32) -> Option<u64> {
        match self.find(tag)? {
            (TYPE_INT32, _, data) => number(data, 0).map(u64::from),
            (TYPE_INT64, _, data) => Some(u64::from_be_bytes(data.get(..8)?.try_into().ok()?)),
            _ => None,
        }
    }

    fn binary(&self, tag: u32) -> Option<&'a [u8]> {
        match self.find(tag)? {
            (TYPE_BIN, count, data) => data.get(..count as usize),
            _ => None,
        }
    }
}

/// The package that a header blob of the database describes.
///
/// # Errors
/// A truncated header, or one without name, version or release.
pub fn read_header(blob: &[u8]) -> Result<Package, HeaderError> {
    let header = Header::parse(blob)?;
    Ok(Package {
        name: header.text(NAME).ok_or(HeaderError::Missing("name"))?,
        version: header.text(VERSION).ok_or(HeaderError::Missing("version"))?,
        release: header.text(RELEASE).ok_or(HeaderError::Missing("release"))?,
        arch: header.text(ARCH),
        epoch: header.integer(EPOCH).map(|epoch| epoch as u32),
        size: header.integer(LONG_SIZE).or_else(|| header.integer(SIZE)),
        sigmd5: header.binary(SIG_MD5).map(hex),
        build_time: header.integer(BUILD_TIME),
        signature: SIGNATURES.iter().find_map(|tag| header.binary(*tag).and_then(key_id)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(fields: &[(u32, u32, &[u8])]) -> Vec<u8> {
        let mut index = Vec::new();
        let mut data = Vec::new();
        for (tag, kind, bytes) in fields {
            let count = if *kind == TYPE_BIN { bytes.len() as u32 } else { 1 };
            for value in [*tag, *kind, data.len() as u32, count] {
                index.extend_from_slice(&value.to_be_bytes());
            }
            data.extend_from_slice(bytes);
        }
        let mut blob = (fields.len() as u32).to_be_bytes().to_vec();
        blob.extend_from_slice(&(data.len() as u32).to_be_bytes());
        blob.extend(index);
        blob.extend(data);
        blob
    }

    #[test]
    fn a_package() {
        let blob = header(&[
            (NAME, TYPE_STRING, b"hello\0"),
            (VERSION, TYPE_STRING, b"2.10\0"),
            (RELEASE, TYPE_STRING, b"1\0"),
            (EPOCH, TYPE_INT32, &[0, 0, 0, 2]),
            (SIG_MD5, TYPE_BIN, &[0xab, 0xcd]),
        ]);
        let package = read_header(&blob).expect("whole");
        assert_eq!((package.name.as_str(), package.epoch, package.sigmd5.as_deref()), ("hello", Some(2), Some("abcd")));
    }

    #[test]
    fn numbers_in_the_data_are_not_believed() {
        let blob = header(&[(NAME, TYPE_STRING, b"hello\0")]);
        assert_eq!(read_header(&blob), Err(HeaderError::Missing("version")));
        for end in 0..blob.len() {
            assert!(read_header(&blob[..end]).is_err());
        }
        let mut huge = blob;
        huge[..4].copy_from_slice(&[0xff; 4]);
        assert!(matches!(read_header(&huge), Err(HeaderError::Truncated { .. })));
    }
}
