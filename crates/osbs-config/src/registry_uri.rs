//! How both configuration files write a registry: `[SCHEME://]HOST[:PORT][/][VERSION]` (`reactor.md` 1.11).

use std::fmt;
use std::str::FromStr;

/// The scheme written in front of a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain HTTP: only because the site wrote it.
    Http,
    /// TLS.
    Https,
}

/// A registry of API version 2.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RegistryUri {
    /// As written, if at all.
    pub scheme: Option<Scheme>,
    /// `HOST[:PORT]`, as in image names.
    pub host: String,
}

impl RegistryUri {
    /// `HOST[:PORT]`, which goes into image names.
    pub fn docker_uri(&self) -> &str {
        &self.host
    }

    /// With scheme, TLS unless `http://` was written.
    pub fn uri(&self) -> String {
        format!("{}://{}", if self.is_plain_http() { "http" } else { "https" }, self.host)
    }

    /// Whether `http://` was written.
    pub fn is_plain_http(&self) -> bool {
        self.scheme == Some(Scheme::Http)
    }
}

/// The text is not a registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryUriError {
    /// Registry API version 1 left the field years ago.
    #[error("{uri:?} asks for registry API v1, which is not supported: write v2 or nothing")]
    VersionOne {
        /// As written.
        uri: String,
    },
    /// Not of the form.
    #[error("{uri:?} is not a registry: [http://|https://]HOST[:PORT][/v2]")]
    Form {
        /// As written.
        uri: String,
    },
}

impl FromStr for RegistryUri {
    type Err = RegistryUriError;

    fn from_str(text: &str) -> Result<Self, RegistryUriError> {
        let form = || RegistryUriError::Form { uri: text.to_owned() };
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Some(Scheme::Http), rest),
            Some(("https", rest)) => (Some(Scheme::Https), rest),
            Some(_) => return Err(form()),
            None => (None, text),
        };
        let rest = rest.trim_end_matches('/');
        let (host, version) = rest.split_once('/').map_or((rest, "v2"), |(host, version)| (host, version));
        match version {
            "v2" => {}
            "v1" => return Err(RegistryUriError::VersionOne { uri: text.to_owned() }),
            _ => return Err(form()),
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']' | b'_');
        if host.is_empty() || host.starts_with(':') || !host.bytes().all(plain) {
            return Err(form());
        }
        Ok(Self { scheme, host: host.to_owned() })
    }
}

impl fmt::Display for RegistryUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (text, scheme, host) in [
            ("registry.example.com", None, "registry.example.com"),
            ("registry.example.com:5000/v2", None, "registry.example.com:5000"),
            ("http://localhost:5000/", Some(Scheme::Http), "localhost:5000"),
            ("https://r.example.com/v2/", Some(Scheme::Https), "r.example.com"),
            ("[::1]:5000", None, "[::1]:5000"),
        ] {
            let uri: RegistryUri = text.parse().unwrap();
            assert_eq!((uri.scheme, uri.host.as_str()), (scheme, host), "{text}");
        }
        for text in ["", "ftp://x", "http://", "x/v3", "x y", "user:pw@host", "x/ns/repo", ":5000"] {
            assert!(matches!(text.parse::<RegistryUri>(), Err(RegistryUriError::Form { .. })), "{text:?}");
        }
        assert!(matches!("x/v1".parse::<RegistryUri>(), Err(RegistryUriError::VersionOne { .. })));
    }
}
