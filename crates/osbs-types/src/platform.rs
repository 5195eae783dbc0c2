//! Builder platforms (`x86_64`) and image architectures (`amd64`): two words, never mixed.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A platform name chosen by the site: `x86_64`, `aarch64`, `ppc64le`, `s390x`. The pattern is the one of `clusters` in
/// `config.yaml`: `^[a-zA-Z0-9_]+$`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Platform(String);

/// The text is not a platform name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a platform name: letters, digits and _ only")]
pub struct PlatformError(pub String);

impl Platform {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The platform this binary was compiled for, as `uname -m` calls it.
    pub fn native() -> Self {
        let machine = match std::env::consts::ARCH {
            "powerpc64" => "ppc64le",
            other => other,
        };
        Self(machine.to_owned())
    }

    /// The image architecture of a well-known platform; an unknown name stands for itself, as without
    /// `platform_descriptors` in OSBS.
    pub fn architecture(&self) -> Architecture {
        let (name, variant) = match self.0.as_str() {
            "x86_64" => ("amd64", None),
            "aarch64" => ("arm64", None),
            "armhfp" => ("arm", Some("v7")),
            "i686" | "i386" => ("386", None),
            other => (other, None),
        };
        Architecture { name: name.to_owned(), variant: variant.map(str::to_owned) }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            Ok(Self(text.to_owned()))
        } else {
            Err(PlatformError(text.to_owned()))
        }
    }
}

impl TryFrom<String> for Platform {
    type Error = PlatformError;

    fn try_from(text: String) -> Result<Self, PlatformError> {
        text.parse()
    }
}

impl From<Platform> for String {
    fn from(platform: Platform) -> Self {
        platform.0
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an image says of itself: GOARCH and, on arm, a variant (OCI image-spec 1.1, config.md).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Architecture {
    /// GOARCH, for example `arm64`.
    pub name: String,
    /// For example `v7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Architecture {
    /// An architecture without variant.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), variant: None }
    }

    /// Whether an image of architecture `image` runs where this one is asked for. A missing variant on either side fits
    /// any, and `arm64` means `v8`.
    pub fn accepts(&self, image: &Self) -> bool {
        let variant = |a: &Self| match (a.name.as_str(), a.variant.as_deref()) {
            ("arm64", None) => Some("v8".to_owned()),
            (_, v) => v.map(str::to_owned),
        };
        self.name == image.name
            && match (variant(self), variant(image)) {
                (Some(a), Some(b)) => a == b,
                _ => true,
            }
    }

    /// The name `uname -m` gives on such a machine, as OSBS labels and Koji metadata want it.
    pub fn machine(&self) -> &str {
        match self.name.as_str() {
            "amd64" => "x86_64",
            "arm64" => "aarch64",
            "arm" => "armhfp",
            "386" => "i686",
            other => other,
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert!("x86_64".parse::<Platform>().is_ok());
        assert!("x86-64".parse::<Platform>().is_err());
        assert!("".parse::<Platform>().is_err());
    }

    #[test]
    fn variants_fit_loosely() {
        let arm = |v: Option<&str>| Architecture { name: "arm".into(), variant: v.map(str::to_owned) };
        assert!(arm(None).accepts(&arm(Some("v6"))));
        assert!(!arm(Some("v7")).accepts(&arm(Some("v6"))));
        let v8 = Architecture { name: "arm64".into(), variant: Some("v8".into()) };
        assert!(Architecture::new("arm64").accepts(&v8));
        assert!(!Architecture::new("amd64").accepts(&v8));
    }
}
