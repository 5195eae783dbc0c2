//! What a request looks like and what an answer means: pure functions, no connection.

use crate::error::one_line;
use crate::session::{SessionMark, SessionStyle};
use crate::{Fault, Value, xmlrpc};
use osbs_http::{
    Bytes, HeaderName, HeaderValue, Method, Request, RequestBody, Url, UrlRule, header, same_origin, shown,
};
use std::fmt;
use std::io;

/// Bytes that are handed over at once: a slow line then shows progress, and is not taken for a silent hub.
const PIECE: usize = 65_536;

/// Arguments of a raw upload (client-and-koji 5.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawUpload<'a> {
    /// Folder below the hub's work folder.
    pub directory: &'a str,
    /// Name there.
    pub name: &'a str,
    /// Where the bytes go; -1: at the end.
    pub offset: i64,
    /// Truncate the file at the offset first, so that a repetition comes to the same.
    pub overwrite: bool,
}

/// A request, before it meets a connection.
#[derive(Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Where to, query and all.
    pub url: Url,
    /// `Content-Type`, and the session.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What.
    pub body: Bytes,
}

/// A call. `path` is appended to the hub's: `/ssllogin`, or nothing.
pub fn call(hub: &Url, path: &str, session: Option<&SessionMark>, document: Bytes) -> Outgoing {
    let mut url = hub.clone();
    if !path.is_empty() {
        url.set_path(&format!("{}{path}", hub.path().trim_end_matches('/')));
    }
    outgoing(url, "text/xml", session, document)
}

/// A raw upload.
pub fn raw_upload(hub: &Url, arguments: &RawUpload<'_>, session: Option<&SessionMark>, bytes: Bytes) -> Outgoing {
    let mut url = hub.clone();
    {
        let mut query = url.query_pairs_mut();
        query.append_pair("filename", arguments.name).append_pair("filepath", arguments.directory);
        query.append_pair("fileverify", "adler32").append_pair("offset", &arguments.offset.to_string());
        if arguments.overwrite {
            query.append_pair("overwrite", "1");
        }
    }
    outgoing(url, "application/octet-stream", session, bytes)
}

fn outgoing(mut url: Url, kind: &'static str, session: Option<&SessionMark>, body: Bytes) -> Outgoing {
    let mut headers = vec![(header::CONTENT_TYPE, HeaderValue::from_static(kind))];
    match session {
        Some(mark) if mark.style == SessionStyle::Headers => {
            headers.push((HeaderName::from_static("koji-session-id"), HeaderValue::from(mark.id)));
            // A key that is no header value proves nothing; the hub will say so.
            if let Ok(mut key) = HeaderValue::from_str(mark.key.reveal()) {
                key.set_sensitive(true);
                headers.push((HeaderName::from_static("koji-session-key"), key));
            }
            headers.push((HeaderName::from_static("koji-session-callnum"), HeaderValue::from(mark.callnum)));
        }
        Some(mark) => {
            url.query_pairs_mut()
                .append_pair("session-id", &mark.id.to_string())
                .append_pair("session-key", mark.key.reveal())
                .append_pair("callnum", &mark.callnum.to_string());
        }
        None => {}
    }
    Outgoing { url, headers, body }
}

impl fmt::Debug for Outgoing {
    /// Without query and body, where a session's key or a password may be.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").field("url", &shown(&self.url)).finish_non_exhaustive()
    }
}

impl Outgoing {
    /// As a request that is sent once. It never leaves the hub's origin: the session stands in plain headers.
    pub(crate) fn into_request(self) -> Request {
        let origin = self.url.clone();
        let body = self.body;
        let length = body.len() as u64;
        let pieces = move || -> io::Result<osbs_http::BodyStream> {
            let body = body.clone();
            let starts = (0..body.len()).step_by(PIECE);
            let pieces = starts.map(move |start| Ok(body.slice(start..body.len().min(start + PIECE))));
            Ok(Box::pin(futures_util::stream::iter(pieces)))
        };
        let mut request = Request::new(Method::POST, self.url)
            .body(RequestBody::replayable(Some(length), pieces))
            .only(Some(UrlRule::new(move |url| same_origin(url, &origin))))
            .without_retry();
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        request
    }
}

/// An answer that is none of a hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoAnswer {
    /// A status other than 200.
    Status(u16, String),
    /// No XML-RPC.
    Garbage(String),
}

/// What an answer means.
///
/// # Errors
/// It is none of a hub.
pub fn answer(status: u16, body: &[u8]) -> Result<Result<Value, Fault>, NoAnswer> {
    if status != 200 {
        return Err(NoAnswer::Status(status, one_line(&String::from_utf8_lossy(&body[..body.len().min(4000)]))));
    }
    xmlrpc::decode_response(body).map_err(|error| NoAnswer::Garbage(one_line(&error.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use osbs_types::Secret;

    #[test]
    fn secrets_are_not_shown() {
        let hub = Url::parse("https://k.io/kojihub").unwrap();
        for style in [SessionStyle::Headers, SessionStyle::Url] {
            let mark = SessionMark { id: 1, key: Secret::new("1-secretkey"), callnum: 0, style };
            let request = call(&hub, "", Some(&mark), Bytes::from_static(b"hunter2"));
            let shown = format!("{mark:?} {request:?} {:?}", request.headers);
            assert!(!shown.contains("secretkey") && !shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn the_login_has_a_path_of_its_own() {
        for hub in ["https://k.io", "https://k.io/kojihub", "https://k.io/kojihub/"] {
            let hub = Url::parse(hub).unwrap();
            let request = call(&hub, "/ssllogin", None, Bytes::new());
            assert_eq!(request.url.path(), format!("{}/ssllogin", hub.path().trim_end_matches('/')));
        }
    }
}
