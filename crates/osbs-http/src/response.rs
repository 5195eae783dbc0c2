//! One answer: head at once, body in pieces or whole up to a limit.

use crate::HttpError;
use crate::error::shown;
use bytes::{Bytes, BytesMut};
use osbs_types::Secret;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde::de::DeserializeOwned;
use std::time::{Duration, Instant};
use url::Url;

/// An answer whose body is still to come.
#[derive(Debug)]
pub struct Response {
    inner: reqwest::Response,
    url: Url,
    attempts: u32,
    received: u64,
    idle: Duration,
    deadline: Option<Instant>,
    secret: Option<Secret>,
}

impl Response {
    pub(crate) fn new(inner: reqwest::Response, url: Url, idle: Duration, secret: Option<Secret>) -> Self {
        Self { inner, url, attempts: 1, received: 0, idle, deadline: None, secret }
    }

    pub(crate) fn finish(mut self, attempts: u32, deadline: Option<Instant>) -> Self {
        self.attempts = attempts;
        self.deadline = deadline;
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.inner.status()
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        self.inner.headers()
    }

    /// A header as text; `None` also when it is not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.inner.headers().get(name)?.to_str().ok()
    }

    /// Where the answer came from, after redirects.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Attempts made until this answer.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The announced length of the body.
    pub fn content_length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    /// First byte and, if told, whole length of `Content-Range: bytes 5-9/10`.
    pub fn content_range(&self) -> Option<(u64, Option<u64>)> {
        content_range(self.header("content-range")?)
    }

    /// `Last-Modified`, in seconds since the epoch.
    pub fn last_modified(&self) -> Option<i64> {
        crate::retry::http_date(self.header("last-modified")?).map(jiff::Timestamp::as_second)
    }

    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// The connection broke, or nothing came for the idle limit.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let limit = left.map_or(self.idle, |left| left.min(self.idle));
        match tokio::time::timeout(limit, self.inner.chunk()).await {
            Ok(Ok(chunk)) => {
                self.received += chunk.as_ref().map_or(0, |bytes| bytes.len() as u64);
                Ok(chunk)
            }
            Ok(Err(source)) => Err(HttpError::Interrupted {
                url: shown(&self.url),
                received: self.received,
                source: source.without_url(),
            }),
            Err(_) => Err(HttpError::Timeout {
                url: shown(&self.url),
                what: "reading the answer",
                limit,
                attempts: self.attempts,
            }),
        }
    }

    /// The whole body, if it is not longer than `limit` bytes.
    ///
    /// # Errors
    /// It is longer, or reading failed.
    pub async fn bytes(mut self, limit: u64) -> Result<Bytes, HttpError> {
        let too_large = |url: &Url| HttpError::TooLarge { url: shown(url), limit };
        if self.content_length().is_some_and(|length| length > limit) {
            return Err(too_large(&self.url));
        }
        let mut whole = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if whole.len() as u64 + chunk.len() as u64 > limit {
                return Err(too_large(&self.url));
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }

    /// The body as JSON, if it is not longer than `limit` bytes.
    ///
    /// # Errors
    /// As [`Response::bytes`], or it is not the JSON expected.
    pub async fn json<T: DeserializeOwned>(self, limit: u64) -> Result<T, HttpError> {
        let url = shown(&self.url);
        let bytes = self.bytes(limit).await?;
        serde_json::from_slice(&bytes).map_err(|source| HttpError::Json { url, source })
    }

    /// The start of an error page for people: at most `limit` characters on one line, printable, without the credential
    /// that was sent. Empty when it cannot be read.
    pub async fn error_text(mut self, limit: usize) -> String {
        let mut start = Vec::new();
        while start.len() < limit.saturating_mul(4) {
            match self.chunk().await {
                Ok(Some(chunk)) => start.extend_from_slice(&chunk),
                _ => break,
            }
        }
        redacted_line(&String::from_utf8_lossy(&start), self.secret.as_ref(), limit)
    }

    /// `text` on one line without the credential that was sent with the request.
    pub fn redact(&self, text: &str) -> String {
        redacted_line(text, self.secret.as_ref(), usize::MAX)
    }
}

fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse::<u64>().ok()?);
    (first <= last).then_some((first, total.parse().ok()))
}

fn redacted_line(text: &str, secret: Option<&Secret>, limit: usize) -> String {
    let mut text = text.to_owned();
    if let Some(secret) = secret {
        // "Bearer TOKEN": the token alone must go too.
        let value = secret.reveal();
        let token = value.split_once(' ').map_or(value, |(_, token)| token);
        for part in [value, token].into_iter().filter(|part| part.len() >= 4) {
            text = text.replace(part, "***");
        }
    }
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let line: String = printable.take(limit).collect();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        for bad in ["", "bytes */10", "bytes 9-5/10", "items 5-9/10", "bytes a-b/c"] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn error_pages_become_one_clean_line() {
        let secret = Secret::new("Bearer abcdef");
        assert_eq!(redacted_line("no\n\u{1b}[31m abcdef ok", Some(&secret), 100), "no [31m *** ok");
        assert_eq!(redacted_line("abcdef", None, 3), "abc");
    }
}
