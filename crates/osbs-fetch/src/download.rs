//! One file by URL: streamed to disk, gone on with after a cut, bounded.

use crate::{FetchError, FetchLimits, shown_url};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use osbs_http::{AddressRule, HeaderValue, HttpError, Request, Response, Transport, Url, UrlRule, header};
use osbs_types::Secret;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

/// What counts as progress between two cuts, in bytes. Progress renews the budget of retries.
const PROGRESS: u64 = 1 << 20;

/// A URL of a stranger, as far as it can be judged by looking.
pub(crate) fn parse(text: &str) -> Result<Url, FetchError> {
    let problem = |problem: String| FetchError::Url { url: shown_url(text), problem };
    if !text.starts_with("http://") && !text.starts_with("https://") {
        return Err(FetchError::Scheme { url: shown_url(text) });
    }
    let url = Url::parse(text).map_err(|error| problem(error.to_string()))?;
    if url.has_host() { Ok(url) } else { Err(problem("it names no host".to_owned())) }
}

/// User and password of a URL as `Authorization`; they never stay in the URL itself.
pub fn login(url: &Url) -> Option<Secret> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let plain = |text: &str| percent_decoded(text);
    let mut pair = plain(url.username());
    pair.push(b':');
    pair.extend(plain(url.password().unwrap_or_default()));
    Some(Secret::new(format!("Basic {}", STANDARD.encode(pair))))
}

/// The bytes that a part of a URL stands for. A percent sign without two digits stands for itself.
pub fn percent_decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = hex.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    out
}

/// How one file is fetched; for callers on the runtime.
#[derive(Clone)]
pub struct Download<'a> {
    /// Sends the requests.
    pub transport: &'a Transport,
    /// How much, and how long.
    pub limits: FetchLimits,
    /// Which addresses may be reached.
    pub addresses: AddressRule,
    /// Which URLs, after redirects too; `None`: any.
    pub urls: Option<UrlRule>,
    /// Told of the bytes so far, and of the whole when the server says.
    pub progress: &'a (dyn Fn(u64, Option<u64>) + Send + Sync),
}

impl Download<'_> {
    /// Fetches `url` into the file, from its start. A connection that breaks is gone on with where it broke. Returns when
    /// the server says that it was last changed. Drop the future to cancel.
    ///
    /// # Errors
    /// No answer, one that means failure, or a limit; never with a credential in its text.
    pub async fn run(&self, url: &str, into: &mut File) -> Result<Option<i64>, FetchError> {
        let seconds = self.limits.time.as_secs();
        let late = |_| FetchError::TooSlow { url: shown_url(url), seconds };
        tokio::time::timeout(self.limits.time, self.whole(url, into)).await.map_err(late)?
    }

    async fn whole(&self, url: &str, into: &mut File) -> Result<Option<i64>, FetchError> {
        let url = parse(url)?;
        let mut part = Part { job: self, login: login(&url), url: &url, into, written: 0, same: None, modified: None };
        let (mut cuts, mut mark) = (0, 0);
        loop {
            let Err(cut) = part.connection().await? else { return Ok(part.modified) };
            if part.written >= mark + PROGRESS {
                (cuts, mark) = (0, part.written);
            }
            cuts += 1;
            if !cut.is_transient() || cuts > self.transport.config().retry.retries {
                return Err(cut.into());
            }
            self.transport.wait_before_retry(&url, cuts, &cut.to_string()).await;
        }
    }
}

/// What has come so far.
struct Part<'a> {
    job: &'a Download<'a>,
    url: &'a Url,
    login: Option<Secret>,
    into: &'a mut File,
    written: u64,
    /// Tells whether the rest is of the same thing: a strong ETag, or `Last-Modified`.
    same: Option<HeaderValue>,
    modified: Option<i64>,
}

impl Part<'_> {
    /// One connection. The inner error is a cut.
    async fn connection(&mut self) -> Result<Result<(), HttpError>, FetchError> {
        let mut request = Request::get(self.url.clone())
            .addresses(self.job.addresses)
            .only(self.job.urls.clone())
            .allow_plain_http(true)
            .authorization(self.login.clone())
            // The file itself is wanted, not a compressed form of it.
            .header(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"))
            .without_deadline();
        match &self.same {
            Some(same) if self.written > 0 => {
                let range = HeaderValue::from_str(&format!("bytes={}-", self.written));
                request = request.header(header::IF_RANGE, same.clone());
                request = request.header(header::RANGE, range.expect("digits are a header value"));
            }
            _ => self.restart()?,
        }
        let mut response = self.job.transport.send(&request).await?;
        match response.status().as_u16() {
            200 => self.restart()?,
            206 if self.written > 0 => match response.content_range() {
                Some((first, _)) if first == self.written => {}
                _ => return Err(FetchError::Range { url: osbs_http::shown(response.url()) }),
            },
            // What was there is shorter now: from the start, without a range.
            416 if self.written > 0 => {
                self.same = None;
                return Box::pin(self.connection()).await;
            }
            status => {
                let (url, attempts) = (osbs_http::shown(response.url()), response.attempts());
                return Err(FetchError::Status { url, status, attempts });
            }
        }
        self.same = validator(&response);
        self.modified = response.last_modified();
        let total = response.content_length().map(|rest| self.written.saturating_add(rest));
        self.check_size(response.content_length().unwrap_or(0))?;
        loop {
            let piece = match response.chunk().await {
                Ok(Some(piece)) => piece,
                Ok(None) => return Ok(Ok(())),
                Err(cut) => return Ok(Err(cut)),
            };
            self.check_size(piece.len() as u64)?;
            self.into.write_all(&piece).map_err(FetchError::local("write what is downloaded"))?;
            self.written += piece.len() as u64;
            (self.job.progress)(self.written, total);
        }
    }

    fn restart(&mut self) -> Result<(), FetchError> {
        let emptied = self.into.set_len(0).and_then(|()| self.into.seek(SeekFrom::Start(0)));
        emptied.map_err(FetchError::local("write what is downloaded"))?;
        self.written = 0;
        Ok(())
    }

    fn check_size(&self, more: u64) -> Result<(), FetchError> {
        let limit = self.job.limits.bytes;
        if self.written.saturating_add(more) <= limit {
            return Ok(());
        }
        Err(FetchError::TooLarge { url: osbs_http::shown(self.url), limit, unit: "bytes" })
    }
}

/// RFC 9110 13.1.5: a weak ETag does not tell that bytes are the same.
fn validator(response: &Response) -> Option<HeaderValue> {
    let headers = response.headers();
    let strong = headers.get(header::ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/"));
    strong.or_else(|| headers.get(header::LAST_MODIFIED)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_fetched() {
        for good in ["http://example.com/x", "https://me:pw@example.com/x?y"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in ["", "x", "file:///etc/passwd", "ext::sh -c x", "ftp://h/x", "ssh://h/x", "https://", "data:,x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn logins() {
        let login = |text: &str| login(&Url::parse(text).expect("a URL")).map(|secret| secret.reveal().to_owned());
        assert_eq!(login("https://h/x"), None);
        assert_eq!(login("https://me:pw@h/x").as_deref(), Some("Basic bWU6cHc="));
        assert_eq!(login("https://me:p%77@h/x").as_deref(), Some("Basic bWU6cHc="));
    }
}
