//! Download of files: `/kojifiles/...` is the hub's folder as Koji lays it out, without its database. Read only.
//!
//! Paths are resolved beneath the folder, whatever links lie there; a piece is asked for by `Range`.

use crate::hub::HubState;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use osbs_sandbox::rooted::Root;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::io::ReaderStream;

/// What may be looked at. The rest of the folder is the hub's own.
const PUBLIC: &[&str] = &["packages", "vol", "scratch", "work"];

/// Bytes read at a time.
const PIECE: usize = 64 * 1024;

/// Answers GET and HEAD below `/kojifiles`.
pub(crate) async fn serve(hub: Arc<HubState>, request: Request) -> Response {
    let path = request.uri().path().trim_start_matches('/').split_once('/').map_or("", |(_, path)| path);
    let Some(path) = public_path(path) else { return StatusCode::NOT_FOUND.into_response() };
    let opened = tokio::task::spawn_blocking(move || {
        let file = Root::open(&hub.topdir)?.open_file(&path)?;
        Ok::<_, osbs_sandbox::rooted::RootedError>((file, path))
    });
    let Ok(Ok((file, path))) = opened.await else { return StatusCode::NOT_FOUND.into_response() };
    let Ok(metadata) = file.metadata() else { return StatusCode::NOT_FOUND.into_response() };
    let size = metadata.len();
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(&path)));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // What users uploaded is never a page of this site.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(modified) = metadata.modified().ok().and_then(http_date) {
        headers.insert(header::LAST_MODIFIED, modified);
    }
    let asked = request.headers().get(header::RANGE).and_then(|range| range.to_str().ok());
    let (status, from, length) = match asked.map_or(Range::Whole, |range| Range::of(range, size)) {
        Range::Whole => (StatusCode::OK, 0, size),
        Range::Part { from, length } => {
            headers.extend(number_header(header::CONTENT_RANGE, format!("bytes {from}-{}/{size}", from + length - 1)));
            (StatusCode::PARTIAL_CONTENT, from, length)
        }
        Range::Beyond => {
            headers.extend(number_header(header::CONTENT_RANGE, format!("bytes */{size}")));
            return (StatusCode::RANGE_NOT_SATISFIABLE, headers).into_response();
        }
    };
    headers.extend(number_header(header::CONTENT_LENGTH, length.to_string()));
    let body = if request.method() == Method::HEAD { Body::empty() } else { body(file, from, length).await };
    (status, headers, body).into_response()
}

fn number_header(name: header::HeaderName, value: String) -> Option<(header::HeaderName, HeaderValue)> {
    Some((name, HeaderValue::from_str(&value).ok()?))
}

/// The bytes, read as the other end takes them. A file that grows meanwhile is not read beyond what was announced.
async fn body(mut file: std::fs::File, from: u64, length: u64) -> Body {
    use tokio::io::AsyncReadExt as _;
    let sought = tokio::task::spawn_blocking(move || file.seek(SeekFrom::Start(from)).map(|_| file)).await;
    let Ok(Ok(mut file)) = sought else { return Body::empty() };
    if length <= PIECE as u64 {
        let mut bytes = Vec::with_capacity(length as usize);
        let read =
            tokio::task::spawn_blocking(move || file.by_ref().take(length).read_to_end(&mut bytes).map(|_| bytes));
        return read.await.ok().and_then(Result::ok).map_or_else(Body::empty, Body::from);
    }
    let file = tokio::fs::File::from_std(file).take(length);
    Body::from_stream(ReaderStream::with_capacity(file, PIECE))
}

/// The path below the hub's folder, if it is one that may be looked at.
fn public_path(encoded: &str) -> Option<PathBuf> {
    let decoded = percent_decoded(encoded)?;
    let path = crate::paths::below("path", &decoded).ok()?;
    let first = path.components().next()?.as_os_str().to_str()?;
    let hidden = path.iter().any(|name| name.as_encoded_bytes().starts_with(b"."));
    (PUBLIC.contains(&first) && !hidden).then_some(path)
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        if *byte != b'%' {
            bytes.push(*byte);
            rest = after;
            continue;
        }
        let (digits, after) = after.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

fn content_type(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("log" | "txt") => "text/plain; charset=utf-8",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}

fn http_date(time: std::time::SystemTime) -> Option<HeaderValue> {
    let time = Timestamp::try_from(time).ok()?;
    HeaderValue::from_str(&time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()).ok()
}

/// What a `Range` header asks of a file. Several ranges at once, and what is no range, get the whole file.
#[derive(Debug, PartialEq)]
enum Range {
    Whole,
    Part { from: u64, length: u64 },
    Beyond,
}

impl Range {
    fn of(header: &str, size: u64) -> Self {
        let bounds = header.strip_prefix("bytes=").filter(|ranges| !ranges.contains(','));
        let Some((from, to)) = bounds.and_then(|range| range.trim().split_once('-')) else { return Self::Whole };
        match (from.parse::<u64>(), to.parse::<u64>()) {
            (Ok(from), _) if from >= size && (to.is_empty() || to.parse::<u64>().is_ok()) => Self::Beyond,
            (Ok(from), Ok(to)) if to >= from => Self::Part { from, length: to.min(size - 1) - from + 1 },
            (Ok(from), Err(_)) if to.is_empty() => Self::Part { from, length: size - from },
            (Err(_), Ok(last)) if from.is_empty() => match last.min(size) {
                0 => Self::Beyond,
                last => Self::Part { from: size - last, length: last },
            },
            _ => Self::Whole,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_path(encoded: &str, expected: Option<&str>) {
        assert_eq!(public_path(encoded), expected.map(PathBuf::from), "{encoded}");
    }

    #[test]
    fn only_what_is_public_is_found() {
        check_path("packages/a/1/1/images/x%3Ay.tar", Some("packages/a/1/1/images/x:y.tar"));
        check_path("work/tasks/26/26/orchestrator.log", Some("work/tasks/26/26/orchestrator.log"));
        for hidden in [
            "hub.db",
            "",
            "packages/../hub.db",
            "packages/%2e%2e/hub.db",
            "importing/1/x",
            "packages/.x",
            "work/%ff",
            "work/%0",
        ] {
            check_path(hidden, None);
        }
    }

    fn check_range(header: &str, expected: Range) {
        assert_eq!(Range::of(header, 10), expected, "{header}");
    }

    #[test]
    fn ranges_are_read() {
        check_range("bytes=0-3", Range::Part { from: 0, length: 4 });
        check_range("bytes=4-", Range::Part { from: 4, length: 6 });
        check_range("bytes=4-100", Range::Part { from: 4, length: 6 });
        check_range("bytes=-3", Range::Part { from: 7, length: 3 });
        check_range("bytes=-30", Range::Part { from: 0, length: 10 });
        check_range("bytes=10-", Range::Beyond);
        check_range("bytes=-0", Range::Beyond);
        for whole in ["bytes=3-2", "bytes=0-1,3-4", "items=0-1", "bytes=", "bytes=a-b"] {
            check_range(whole, Range::Whole);
        }
    }
}
