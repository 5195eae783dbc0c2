//! References: names that keep images in the store, each with its owner and time.

use crate::error::StoreError;
use crate::manifest::Descriptor;
use crate::store::Store;
use osbs_types::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::{fs, io};

/// What a reference names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageRef {
    /// A manifest or an index in the store.
    pub descriptor: Descriptor,
}

/// A reference as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RefRecord {
    /// The name, any text.
    pub name: String,
    /// What it keeps alive.
    #[serde(flatten)]
    pub image: ImageRef,
    /// Who set it: a build name, a command.
    pub owner: String,
    /// When it was set.
    pub time: Timestamp,
}

impl Store {
    /// Sets or moves a reference.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn set_ref(&self, name: &str, image: &ImageRef, owner: &str) -> Result<(), StoreError> {
        let record =
            RefRecord { name: name.to_owned(), image: image.clone(), owner: owner.to_owned(), time: Timestamp::now() };
        let bytes = crate::manifest::canonical_json(&record);
        self.write_whole(&self.ref_path(name), &bytes)
    }

    /// The reference, if it exists.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn get_ref(&self, name: &str) -> Result<Option<RefRecord>, StoreError> {
        let path = self.ref_path(name);
        match fs::read(&path) {
            Ok(bytes) => parse(&path.display().to_string(), &bytes).map(Some),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(StoreError::io("read", &path)(e)),
        }
    }

    /// Removes a reference; says whether it was there.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove_ref(&self, name: &str) -> Result<bool, StoreError> {
        let path = self.ref_path(name);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(StoreError::io("remove", &path)(e)),
        }
    }

    /// All references, sorted by name.
    ///
    /// # Errors
    /// One cannot be read. Garbage collection must not go on then.
    pub fn list_refs(&self) -> Result<Vec<RefRecord>, StoreError> {
        let folder = self.root().join("refs");
        let mut found = Vec::new();
        for entry in fs::read_dir(&folder).map_err(StoreError::io("list", &folder))? {
            let path = entry.map_err(StoreError::io("list", &folder))?.path();
            match fs::read(&path) {
                Ok(bytes) => found.push(parse(&path.display().to_string(), &bytes)?),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(StoreError::io("read", &path)(e)),
            }
        }
        found.sort_by(|a: &RefRecord, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn ref_path(&self, name: &str) -> PathBuf {
        self.root().join("refs").join(format!("{}.json", file_name(name)))
    }
}

fn parse(name: &str, bytes: &[u8]) -> Result<RefRecord, StoreError> {
    serde_json::from_slice(bytes).map_err(|source| StoreError::Document {
        what: "reference",
        name: name.to_owned(),
        source,
    })
}

/// Any text as a file name: all but `[A-Za-z0-9._-]` as `%XX`, and a long one cut and made unique by its hash.
pub(crate) fn file_name(text: &str) -> String {
    use sha2::Digest as _;
    let mut name = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-') || (byte == b'.' && !name.is_empty()) {
            name.push(byte as char);
        } else {
            let _ = write!(name, "%{byte:02X}");
        }
    }
    if name.len() > 200 {
        let digest = osbs_types::Digest::from_sha256(&sha2::Sha256::digest(text).into());
        name.truncate(120);
        name.push('%');
        name.push_str(digest.hex());
    }
    name
}

/// The text of a [`file_name`], as far as it was not cut.
pub(crate) fn text_of(name: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = name.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok()).map(|hex| u8::from_str_radix(hex, 16));
        if let (b'%', Some(Ok(byte))) = (first, code) {
            bytes.push(byte);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{file_name, text_of};

    #[test]
    fn names_are_files() {
        assert_eq!(file_name("a.b/c:1"), "a.b%2Fc%3A1");
        assert_eq!(file_name(".."), "%2E.");
        assert_eq!(text_of(&file_name("osbs build (process 1)")), "osbs build (process 1)");
        assert_ne!(file_name(&"x/".repeat(300)), file_name(&"x/".repeat(301)));
        assert!(file_name(&"ä".repeat(300)).len() < 200);
    }
}
