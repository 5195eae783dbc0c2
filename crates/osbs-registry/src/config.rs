//! Which registry, and how it may be spoken to.
//!
//! "Skip verification" and "allow plain HTTP" are two things here (`reactor.md` 6.3, X6):
//!
//! | written | `insecure` | spoken | credentials over plain HTTP |
//! |---|---|---|---|
//! | `https://H` | no / yes | https, verified / not verified | never |
//! | `http://H` | any | http | yes: the site said so |
//! | `H` | no | https, verified | never |
//! | `H` | yes | https, not verified | never |
//! | `H` is loopback | any | https not verified; http if no TLS peer answers the first request | yes: they do not leave the machine |

use crate::Credentials;
use std::net::IpAddr;
use url::Url;

/// The configuration names no registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryUriError {
    /// Not `[http[s]://]HOST[:PORT][/v2]`.
    #[error("{0:?} is not a registry: expected [http://|https://]HOST[:PORT][/v2]")]
    Syntax(String),
    /// The API of Docker 1.
    #[error("{0:?} asks for registry API version {1}, only v2 is spoken")]
    Version(String, String),
}

/// How to reach a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// TLS only.
    Https,
    /// TLS, else plain HTTP, decided by the first request.
    HttpsElseHttp,
    /// Plain HTTP.
    Http,
}

/// One registry as configured.
#[derive(Debug, Clone)]
pub struct RegistryConfig {
    pub(crate) host: String,
    pub(crate) scheme: Scheme,
    pub(crate) skip_verification: bool,
    pub(crate) credentials: Credentials,
}

impl RegistryConfig {
    /// From a registry as `config.yaml` or a pull spec writes it, and the `insecure` beside it.
    ///
    /// # Errors
    /// The text names no registry, or one of API version 1.
    pub fn new(uri: &str, insecure: bool) -> Result<Self, RegistryUriError> {
        let (scheme, rest) = match uri.split_once("://") {
            Some(("https", rest)) => (Some(Scheme::Https), rest),
            Some(("http", rest)) => (Some(Scheme::Http), rest),
            Some(_) => return Err(RegistryUriError::Syntax(uri.to_owned())),
            None => (None, uri),
        };
        let host = check_version(uri, rest)?;
        // The URL parser knows what a host is; all that is no host and port must be absent.
        let parsed = Url::parse(&format!("https://{host}/")).map_err(|_| RegistryUriError::Syntax(uri.to_owned()))?;
        let plain = parsed.username().is_empty() && parsed.password().is_none() && parsed.path() == "/";
        if host.is_empty() || !plain || parsed.query().is_some() || host.contains(['/', '?', '#', '@', '\\', ' ']) {
            return Err(RegistryUriError::Syntax(uri.to_owned()));
        }
        let loopback = is_loopback(&parsed);
        Ok(Self {
            host: host.to_owned(),
            scheme: match scheme {
                Some(scheme) => scheme,
                None if loopback => Scheme::HttpsElseHttp,
                None => Scheme::Https,
            },
            skip_verification: insecure || (scheme.is_none() && loopback),
            credentials: Credentials::default(),
        })
    }

    /// With credentials; those of other hosts among them are never used.
    #[must_use]
    pub fn with_credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = credentials;
        self
    }

    /// Speaks plain HTTP too where no TLS peer answers the first request; never with credentials. For a person who names a
    /// registry without a scheme and asks for it, not for a site's configuration, which can write `http://`.
    #[must_use]
    pub fn or_plain_http(mut self) -> Self {
        if self.scheme == Scheme::Https {
            self.scheme = Scheme::HttpsElseHttp;
        }
        self
    }

    /// Host and port as in a pull spec.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Docker Hub is called `docker.io` and lives elsewhere.
    pub(crate) fn address(&self) -> &str {
        match self.host.as_str() {
            "docker.io" | "index.docker.io" => "registry-1.docker.io",
            host => host,
        }
    }

    pub(crate) fn base(&self, scheme: &str) -> Url {
        Url::parse(&format!("{scheme}://{}/v2/", self.address())).expect("the host was checked by the constructor")
    }

    /// Whether credentials may go to this URL.
    pub(crate) fn may_send_login(&self, url: &Url) -> bool {
        url.scheme() == "https" || self.scheme == Scheme::Http || is_loopback(url)
    }
}

fn check_version<'a>(uri: &str, rest: &'a str) -> Result<&'a str, RegistryUriError> {
    let rest = rest.trim_end_matches('/');
    match rest.rsplit_once('/') {
        None => Ok(rest),
        Some((host, "v2")) => Ok(host),
        Some((_, version)) if version.len() > 1 && version.starts_with('v') => {
            Err(RegistryUriError::Version(uri.to_owned(), version.to_owned()))
        }
        Some(_) => Err(RegistryUriError::Syntax(uri.to_owned())),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(url::Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_config(uri: &str, insecure: bool, host: &str, scheme: Scheme, skip: bool) {
        let config = RegistryConfig::new(uri, insecure).expect(uri);
        assert_eq!((config.host(), config.scheme, config.skip_verification), (host, scheme, skip), "{uri}");
    }

    #[test]
    fn forms() {
        check_config("r.example.com", false, "r.example.com", Scheme::Https, false);
        check_config("https://r.example.com/v2/", true, "r.example.com", Scheme::Https, true);
        check_config("http://r.example.com:5000", false, "r.example.com:5000", Scheme::Http, false);
        check_config("r.example.com:5000/v2", true, "r.example.com:5000", Scheme::Https, true);
        check_config("localhost:5000", false, "localhost:5000", Scheme::HttpsElseHttp, true);
        check_config("127.0.0.1:5000", false, "127.0.0.1:5000", Scheme::HttpsElseHttp, true);
        check_config("[::1]:5000", false, "[::1]:5000", Scheme::HttpsElseHttp, true);
        check_config("https://localhost:5000", false, "localhost:5000", Scheme::Https, false);
    }

    #[test]
    fn refused() {
        for bad in ["", "ftp://x", "a/b", "u:p@host", "host/v1", "http://host/v1/", "a b", "host?x", "https://", "a#b"]
        {
            assert!(RegistryConfig::new(bad, false).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn who_gets_the_password() {
        let may = |uri: &str, url: &str| {
            let config = RegistryConfig::new(uri, true).expect("valid");
            config.may_send_login(&Url::parse(url).expect("valid"))
        };
        assert!(may("r.example.com", "https://r.example.com/v2/"));
        assert!(!may("r.example.com", "http://r.example.com/v2/"));
        assert!(may("http://r.example.com", "http://r.example.com/v2/"));
        assert!(may("127.0.0.1:5000", "http://127.0.0.1:5000/v2/"));
        assert!(may("localhost:5000", "http://localhost:5000/v2/"));
    }
}
