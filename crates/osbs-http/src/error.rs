//! What can go wrong between sending a request and reading its answer.

use crate::AddressRule;
use osbs_types::ErrorKind;
use std::io;
use std::net::IpAddr;
use std::time::Duration;
use url::Url;

/// A URL as errors and logs show it: without user information, query and fragment, where tokens hide.
pub fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{}{}", url.scheme(), url.host_str().unwrap_or_default(), port, url.path())
}

/// A request that got no usable answer. An answer with a bad status is not an error here: its meaning belongs to the
/// caller.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Nobody answered, or the connection broke before the response head.
    #[error("cannot reach {url} ({attempts} attempts)")]
    Connect {
        /// Where to, [`shown`].
        url: String,
        /// Attempts made.
        attempts: u32,
        /// The last failure.
        #[source]
        source: reqwest::Error,
    },
    /// The host's name is not known.
    #[error("the host of {url} cannot be found")]
    Resolve {
        /// Where to, [`shown`].
        url: String,
        /// The resolver's answer.
        #[source]
        source: io::Error,
    },
    /// The other side's certificate was refused, or it does not speak TLS.
    #[error("no trusted TLS connection to {url}")]
    Tls {
        /// Where to, [`shown`].
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The connection broke in the middle of a body.
    #[error("the connection to {url} broke after {received} bytes of the answer")]
    Interrupted {
        /// Where from, [`shown`].
        url: String,
        /// Bytes of this answer read so far.
        received: u64,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// Silence longer than allowed.
    #[error("no answer from {url} for {} s while {what} ({attempts} attempts)", limit.as_secs_f32())]
    Timeout {
        /// Where to, [`shown`].
        url: String,
        /// What was waited for.
        what: &'static str,
        /// The limit that was passed.
        limit: Duration,
        /// Attempts made.
        attempts: u32,
    },
    /// The address belongs to a range that this request may not reach.
    #[error("{}, an address that requests of this kind may not reach ({rule})", host_and_address(host, *address))]
    AddressDenied {
        /// Host name as asked for.
        host: String,
        /// What it resolved to.
        address: IpAddr,
        /// The rule that denied it.
        rule: AddressRule,
    },
    /// The URL, or one that it redirects to, is none of those this request may reach.
    #[error("{url} is not among what may be fetched here")]
    UrlNotAllowed {
        /// Where to, [`shown`].
        url: String,
    },
    /// Plain HTTP where it is not allowed.
    #[error("{url} is plain HTTP, which is not allowed here")]
    PlainHttp {
        /// Where to, [`shown`].
        url: String,
    },
    /// A scheme that is neither `http` nor `https`.
    #[error("{url} has a scheme other than http and https")]
    Scheme {
        /// Where to, [`shown`].
        url: String,
    },
    /// A redirect without a usable `Location`.
    #[error("{url} redirects to {location:?}, which is not a URL")]
    BadRedirect {
        /// Where from, [`shown`].
        url: String,
        /// The header.
        location: String,
    },
    /// Too many redirects.
    #[error("{url} redirected more than {limit} times")]
    TooManyRedirects {
        /// The first URL, [`shown`].
        url: String,
        /// The limit.
        limit: usize,
    },
    /// An answer longer than the caller wants to hold.
    #[error("the answer of {url} is longer than {limit} bytes")]
    TooLarge {
        /// Where from, [`shown`].
        url: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// An answer that should be JSON is not.
    #[error("the answer of {url} is not the JSON expected")]
    Json {
        /// Where from, [`shown`].
        url: String,
        /// Where it stops making sense.
        #[source]
        source: serde_json::Error,
    },
    /// Our own source of the request body failed.
    #[error("what was to be sent to {url} could not be read")]
    RequestBody {
        /// Where to, [`shown`].
        url: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A one-shot body was asked for twice.
    #[error("the body of the request to {url} was used already")]
    BodyUsed {
        /// Where to, [`shown`].
        url: String,
    },
    /// Certificates of authorities that are none.
    #[error("expected certificates in PEM, -----BEGIN CERTIFICATE-----")]
    Roots {
        /// What is wrong with them; nothing when there are none.
        #[source]
        source: Option<reqwest::Error>,
    },
    /// A client certificate that is none.
    #[error("expected a certificate and its private key in PEM")]
    Identity {
        /// What is wrong with it; never its content.
        #[source]
        source: reqwest::Error,
    },
    /// The HTTP client could not be set up: no root certificates, a bad proxy or certificate in the configuration.
    #[error("the HTTP client cannot be set up; for https the package ca-certificates must be installed")]
    Setup {
        /// Why.
        #[source]
        source: reqwest::Error,
    },
}

fn host_and_address(host: &str, address: IpAddr) -> String {
    if host == address.to_string() { host.to_owned() } else { format!("{host} is {address}") }
}

impl HttpError {
    /// Whose fault.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Connect { .. }
            | Self::Resolve { .. }
            | Self::Tls { .. }
            | Self::Interrupted { .. }
            | Self::Timeout { .. }
            | Self::BadRedirect { .. }
            | Self::TooManyRedirects { .. }
            | Self::TooLarge { .. }
            | Self::Json { .. } => ErrorKind::Remote,
            Self::AddressDenied { .. }
            | Self::UrlNotAllowed { .. }
            | Self::PlainHttp { .. }
            | Self::Roots { .. }
            | Self::Identity { .. } => ErrorKind::Policy,
            Self::Scheme { .. } => ErrorKind::User,
            Self::RequestBody { .. } | Self::Setup { .. } => ErrorKind::Resource,
            Self::BodyUsed { .. } => ErrorKind::Internal,
        }
    }

    /// Whether the same request may do better later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Resolve { .. } | Self::Interrupted { .. } | Self::Timeout { .. })
    }

    /// Whether no connection with a TLS peer came about: what makes a fallback to plain HTTP thinkable.
    pub fn is_unreachable_over_tls(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Tls { .. })
    }

    pub(crate) fn with_attempts(mut self, count: u32) -> Self {
        if let Self::Connect { attempts, .. } | Self::Timeout { attempts, .. } = &mut self {
            *attempts = count;
        }
        self
    }
}

/// The error of type `T` in the chain below `error`, also inside an [`io::Error`].
pub(crate) fn find_in_chain<'a, T: std::error::Error + 'static>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(inner) = inner {
            return find_in_chain::<T>(inner);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_shown_without_secrets() {
        let url = Url::parse("https://me:hunter2@r.example.com:5000/v2/x?token=abc#f").expect("valid");
        assert_eq!(shown(&url), "https://r.example.com:5000/v2/x");
    }
}
