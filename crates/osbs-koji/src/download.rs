//! Downloads: a task's output in parts through the hub, files from below the top URL.
//!
//! Holds one part in memory. A connection that breaks is gone on with where it broke.

use crate::calls::{self, OutputPart};
use crate::upload::ByteProgress;
use crate::{Koji, KojiError};
use osbs_http::{AddressRule, HeaderValue, HttpError, Request, Response, Url, header};
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

/// Bytes that are asked for at once of a task's output; base64 makes a third more of them.
const PART: i64 = 4 << 20;
/// How often a download is gone on with that brings nothing more.
const ATTEMPTS: u32 = 5;

/// Where a download goes.
pub type Sink<'a> = &'a mut (dyn AsyncWrite + Unpin + Send);

impl Koji {
    /// Downloads a file of a task's output; how many bytes it has. For long files [`Koji::download`] is faster, where the
    /// top URL is known.
    ///
    /// # Errors
    /// There is none, it cannot be written, or no answer.
    pub async fn download_output(
        &self,
        task: i64,
        name: &str,
        volume: Option<&str>,
        sink: Sink<'_>,
        progress: ByteProgress<'_>,
    ) -> Result<u64, KojiError> {
        let mut offset = 0_i64;
        loop {
            let part = OutputPart { name, offset, size: PART, volume };
            let bytes = self.call(calls::download_task_output(task, part)).await?;
            if bytes.is_empty() {
                break;
            }
            sink.write_all(&bytes).await.map_err(|source| unwritable(name, source))?;
            offset = offset.saturating_add(bytes.len() as i64);
            progress(offset as u64, None);
        }
        sink.flush().await.map_err(|source| unwritable(name, source))?;
        Ok(offset as u64)
    }

    /// Downloads a file that is kept at this path below the top URL; how many bytes it has.
    ///
    /// # Errors
    /// It is not known where files are, there is none, it is longer than `limit` bytes, cannot be written, or no answer.
    pub async fn download(
        &self,
        path: &str,
        limit: u64,
        sink: Sink<'_>,
        progress: ByteProgress<'_>,
    ) -> Result<u64, KojiError> {
        let no_top = || KojiError::NoTop { path: path.to_owned() };
        let url = self.server().file_url(path).ok_or_else(no_top)?;
        let mut got = Got { path, url, limit, bytes: 0, attempts: 0, tag: None };
        loop {
            let before = got.bytes;
            let Some(trouble) = self.go_on(&mut got, sink, progress).await? else { break };
            got.attempts = if got.bytes > before { 1 } else { got.attempts + 1 };
            if got.attempts >= ATTEMPTS || !trouble.is_transient() {
                return Err(self.not_downloaded(path, trouble));
            }
            let delay = self.inner.settings.delay(got.attempts, rand::random());
            self.pause(&of_download(path), got.attempts, trouble.to_string(), delay).await?;
        }
        sink.flush().await.map_err(|source| unwritable(path, source))?;
        Ok(got.bytes)
    }

    /// One request for what is missing: nothing when that came, else why not.
    async fn go_on(
        &self,
        got: &mut Got<'_>,
        sink: Sink<'_>,
        progress: ByteProgress<'_>,
    ) -> Result<Option<HttpError>, KojiError> {
        let request = got.request(self.server().is_insecure());
        let sent = tokio::select! {
            sent = self.inner.files.send(&request) => sent,
            () = self.cancellation().cancelled() => return Err(KojiError::Cancelled),
        };
        let mut response = match sent {
            Ok(response) => response,
            Err(trouble) => return Ok(Some(trouble)),
        };
        let mut skip = self.place_of(&response, got)?;
        let total = response.content_length().map(|length| length.saturating_add(got.bytes - skip));
        if total.is_some_and(|total| total > got.limit) {
            return Ok(Some(got.too_large()));
        }
        got.tag = response.headers().get(header::ETAG).cloned();
        loop {
            let chunk = tokio::select! {
                chunk = response.chunk() => chunk,
                () = self.cancellation().cancelled() => return Err(KojiError::Cancelled),
            };
            let chunk = match chunk {
                Ok(Some(chunk)) => chunk,
                Ok(None) => return Ok(None),
                Err(trouble) => return Ok(Some(trouble)),
            };
            let known = skip.min(chunk.len() as u64);
            skip -= known;
            let new = &chunk[known as usize..];
            if got.bytes + new.len() as u64 > got.limit {
                return Ok(Some(got.too_large()));
            }
            sink.write_all(new).await.map_err(|source| unwritable(got.path, source))?;
            got.bytes += new.len() as u64;
            progress(got.bytes, total);
        }
    }

    /// Bytes of this answer that were got before.
    fn place_of(&self, response: &Response, got: &Got<'_>) -> Result<u64, KojiError> {
        let path = got.path;
        let status = response.status().as_u16();
        match (status, response.content_range()) {
            (200, _) => Ok(got.bytes),
            (206, Some((first, _))) if first == got.bytes => Ok(0),
            (206, _) => Err(self.protocol(&of_download(path), "another part of the file than asked for".to_owned())),
            _ => {
                let hub = self.server().host();
                Err(KojiError::Status { action: of_download(path), hub, status, detail: String::new() })
            }
        }
    }

    fn not_downloaded(&self, path: &str, source: HttpError) -> KojiError {
        let (action, hub) = (of_download(path), self.server().host());
        KojiError::Transport { action, hub, waited: Duration::ZERO, source }
    }
}

fn of_download(path: &str) -> String {
    format!("the download of {path}")
}

fn unwritable(name: &str, source: std::io::Error) -> KojiError {
    KojiError::File { verb: "write", path: name.into(), source }
}

/// What has come so far.
struct Got<'a> {
    path: &'a str,
    url: Url,
    limit: u64,
    bytes: u64,
    attempts: u32,
    /// Of the file that the bytes are of.
    tag: Option<HeaderValue>,
}

impl Got<'_> {
    fn too_large(&self) -> HttpError {
        HttpError::TooLarge { url: osbs_http::shown(&self.url), limit: self.limit }
    }

    fn request(&self, insecure: bool) -> Request {
        let request = Request::get(self.url.clone())
            .addresses(AddressRule::Any)
            .allow_plain_http(self.url.scheme() == "http")
            .skip_verification(insecure)
            .without_deadline();
        let range = HeaderValue::from_str(&format!("bytes={}-", self.bytes));
        match (range, &self.tag) {
            (Ok(range), Some(tag)) if self.bytes > 0 => {
                request.header(header::RANGE, range).header(header::IF_RANGE, tag.clone())
            }
            (Ok(range), None) if self.bytes > 0 => request.header(header::RANGE, range),
            _ => request,
        }
    }
}
