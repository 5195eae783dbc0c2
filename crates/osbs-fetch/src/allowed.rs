//! Lists of what may be fetched, `host[:port][/path]`, as `artifacts_allowed_domains` has them (`reactor.md` 3.1.18, 6.3
//! X2). Pure: text in, a judgement of URLs out.
//!
//! An entry is no prefix of a text: its host is compared whole and its path by segments, so that `example.com/a` admits
//! neither `example.com.evil.org` nor `example.com/ab`.

use osbs_http::{Url, UrlRule};
use std::fmt;
use std::sync::Arc;

/// The entries, read. An empty list allows everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllowedUrls(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// As written.
    text: String,
    /// As a URL has it: lower case, international names in ASCII.
    host: String,
    /// `None`: the usual one of the URL's scheme.
    port: Option<u16>,
    /// Decoded, lower case.
    segments: Vec<Vec<u8>>,
}

/// An entry that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{entry:?} is not host, host:port or host/path")]
pub struct BadAllowedUrl {
    /// As written.
    pub entry: String,
}

impl AllowedUrls {
    /// Reads the entries.
    ///
    /// # Errors
    /// The first that is not `host[:port][/path]`, in any case of letters.
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Self, BadAllowedUrl> {
        entries.iter().map(|entry| Entry::parse(entry.as_ref())).collect::<Result<_, _>>().map(Self)
    }

    /// Whether there is no restriction.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of the entries admits this URL.
    pub fn allows(&self, url: &Url) -> bool {
        self.0.is_empty() || self.0.iter().any(|entry| entry.admits(url))
    }

    /// For requests; `None` when there is no restriction.
    pub fn rule(&self) -> Option<UrlRule> {
        let entries = Arc::new(self.clone());
        (!self.is_empty()).then(|| UrlRule::new(move |url| entries.allows(url)))
    }
}

/// The entries as written.
impl fmt::Display for AllowedUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(|entry| entry.text.as_str()).collect::<Vec<_>>().join(", "))
    }
}

impl Entry {
    fn parse(text: &str) -> Result<Self, BadAllowedUrl> {
        let bad = || BadAllowedUrl { entry: text.to_owned() };
        let trimmed = text.trim();
        let (authority, _) = trimmed.split_once('/').unwrap_or((trimmed, ""));
        if trimmed.contains("://") || trimmed.contains(['?', '#', '@', '\\', '*']) || authority.is_empty() {
            return Err(bad());
        }
        let url = Url::parse(&format!("http://{trimmed}")).map_err(|_| bad())?;
        // Written down, port 80 counts too, which the URL leaves out as the usual one.
        let port = match authority.rsplit_once(':') {
            Some((before, digits)) if !before.is_empty() && !digits.ends_with(']') => {
                Some(digits.parse().map_err(|_| bad())?)
            }
            _ => None,
        };
        let segments = segments(&url).filter(|segment| !segment.is_empty()).collect();
        let text = trimmed.to_owned();
        Ok(Self { text, host: url.host_str().ok_or_else(bad)?.to_owned(), port, segments })
    }

    fn admits(&self, url: &Url) -> bool {
        let same_port = match self.port {
            Some(port) => url.port_or_known_default() == Some(port),
            None => url.port().is_none(),
        };
        if !same_port || url.host_str() != Some(self.host.as_str()) {
            return false;
        }
        let mut asked = segments(url);
        self.segments.iter().all(|wanted| asked.next().as_ref() == Some(wanted))
            // What some servers take for a way up, behind an encoded slash, must not lead out of the path.
            && (self.segments.is_empty() || segments(url).all(|segment| !climbs(&segment)))
    }
}

/// The parts of the path, percent-decoded, in lower case.
fn segments(url: &Url) -> impl Iterator<Item = Vec<u8>> + '_ {
    url.path().trim_start_matches('/').split('/').map(|segment| {
        let mut decoded = crate::download::percent_decoded(segment);
        decoded.make_ascii_lowercase();
        decoded
    })
}

fn climbs(segment: &[u8]) -> bool {
    segment.split(|byte| matches!(byte, b'/' | b'\\')).any(|part| part == b"..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(entry: &str, url: &str, expected: bool) {
        let allowed = AllowedUrls::parse(&[entry]).expect(entry);
        assert_eq!(allowed.allows(&Url::parse(url).expect(url)), expected, "{entry} {url}");
    }

    #[test]
    fn hosts_are_whole_and_paths_by_segments() {
        for (entry, url, expected) in [
            ("example.com", "https://example.com/x", true),
            ("Example.COM", "http://EXAMPLE.com/x", true),
            ("example.com", "https://example.com:443/x", true),
            ("example.com", "https://example.com:8443/x", false),
            ("example.com:8443", "https://example.com:8443/x", true),
            ("example.com:443", "https://example.com/x", true),
            ("example.com:80", "https://example.com/x", false),
            ("example.com", "https://example.com.evil.org/x", false),
            ("example.com", "https://evil-example.com/x", false),
            ("example.com", "https://sub.example.com/x", false),
            ("example.com", "https://example.com@evil.org/x", false),
            ("example.com", "https://evil.org/example.com/x", false),
            ("example.com", "https://evil.org\\@example.com/x", false),
            ("example.com", "https://example.com./x", false),
            ("bücher.example", "https://xn--bcher-kva.example/x", true),
            ("127.0.0.1", "http://127.1/x", true),
            ("[::1]:8080", "http://[::1]:8080/x", true),
            ("[::1]", "http://[::1]/x", true),
            ("example.com/a", "https://example.com/a", true),
            ("example.com/a/", "https://example.com/a/b", true),
            ("example.com/a", "https://example.com/A/b", true),
            ("example.com/a", "https://example.com/%61/b", true),
            ("example.com/a", "https://example.com/ab", false),
            ("example.com/a", "https://example.com/a/../b", false),
            ("example.com/a", "https://example.com/a/%2e%2e/b", false),
            ("example.com/a", "https://example.com/a/..%2fb", false),
            ("example.com/a", "https://example.com/a/x%5c..%5cb", false),
            ("example.com/a", "https://example.com/b?x=/a", false),
            ("example.com/a/b", "https://example.com/a%2fb", false),
        ] {
            check(entry, url, expected);
        }
    }

    #[test]
    fn no_entries_allow_all() {
        assert!(AllowedUrls::default().allows(&Url::parse("http://x/").expect("a URL")));
        assert!(AllowedUrls::default().rule().is_none());
    }

    #[test]
    fn what_is_no_entry() {
        for bad in
            ["", "https://example.com", "/path", "me@example.com", "a b", "example.com:port", "*.example.com", "x?y"]
        {
            assert!(AllowedUrls::parse(&["ok.example", bad]).is_err(), "{bad:?}");
        }
    }
}
