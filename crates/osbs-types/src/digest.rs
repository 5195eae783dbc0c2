//! Content digests as the OCI image-spec writes them.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A digest `sha256:<64 hex>` (OCI image-spec 1.1, descriptor.md, "Digests"). Other algorithms are refused: registries
/// in the field use no other, and one algorithm leaves no room for confusion (CVE-2024-3727).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// The text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a digest: expected sha256: and 64 lower-case hex digits")]
pub struct DigestError(pub String);

impl Digest {
    /// From the 32 bytes of a SHA-256.
    pub fn from_sha256(bytes: &[u8; 32]) -> Self {
        use fmt::Write;
        let mut text = String::with_capacity(71);
        text.push_str("sha256:");
        for byte in bytes {
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// The whole text, `sha256:...`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 64 hex digits: also the file name of a blob, safe as a path component by construction.
    pub fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }

    /// The first 12 hex digits, for people.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        // Enough for a message: the text may come from anywhere and be of any length.
        let error = || DigestError(text.chars().take(200).collect());
        let hex = text.strip_prefix("sha256:").ok_or_else(error)?;
        let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if hex.len() == 64 && hex.bytes().all(lower_hex) { Ok(Self(text.to_owned())) } else { Err(error()) }
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_parse(text: &str, valid: bool) {
        assert_eq!(text.parse::<Digest>().is_ok(), valid, "{text}");
    }

    #[test]
    fn only_sha256_with_64_lower_case_digits() {
        let hex = "0123456789abcdef".repeat(4);
        check_parse(&format!("sha256:{hex}"), true);
        check_parse(&format!("sha256:{}", hex.to_uppercase()), false);
        check_parse(&format!("sha512:{hex}"), false);
        check_parse(&format!("sha256:{}", &hex[1..]), false);
        check_parse(&format!("sha256:../{}", &hex[3..]), false);
        check_parse(&hex, false);
        check_parse("", false);
    }

    #[test]
    fn bytes_give_the_text() {
        let digest = Digest::from_sha256(&[0xab; 32]);
        assert_eq!(digest.hex(), "ab".repeat(32));
        assert_eq!(digest.short(), "abababababab");
    }
}
