//! Files of a secret, kept out of logs.

use std::collections::BTreeMap;
use std::fmt;

/// The content of a secret: file name to bytes. Prints only the file names.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretData(BTreeMap<String, Vec<u8>>);

impl SecretData {
    /// Nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more file.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        self.0.insert(key.into(), bytes.into());
        self
    }

    /// The bytes of a file, for the one place that uses them.
    pub fn reveal(&self, key: &str) -> Option<&[u8]> {
        self.0.get(key).map(Vec::as_slice)
    }

    /// File names.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl FromIterator<(String, Vec<u8>)> for SecretData {
    fn from_iter<I: IntoIterator<Item = (String, Vec<u8>)>>(files: I) -> Self {
        Self(files.into_iter().collect())
    }
}

impl fmt::Debug for SecretData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_are_shown() {
        let data = SecretData::new().with("token", "hunter2");
        assert_eq!(format!("{data:?}"), r#"{"token"}"#);
        assert_eq!(data.reveal("token"), Some(b"hunter2".as_slice()));
    }
}
