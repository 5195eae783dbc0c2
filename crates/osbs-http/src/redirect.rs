//! Redirects followed by hand: which are followed, and what may go along. Pure functions.

use crate::HttpError;
use crate::error::shown;
use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{Method, StatusCode};
use url::Url;

/// Same scheme, host and port: the limit beyond which no credential goes.
pub fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme() && a.host() == b.host() && a.port_or_known_default() == b.port_or_known_default()
}

/// Where the answer sends this request, or `None` when it is an answer. A 301 or 302 on anything but GET and HEAD is an
/// answer: repeating it as GET, as browsers do, would ask something else. 303 only ever asks for a GET.
pub(crate) fn target(
    method: &Method,
    url: &Url,
    status: StatusCode,
    headers: &HeaderMap,
    body_can_be_sent_again: bool,
) -> Result<Option<Url>, HttpError> {
    let reading = *method == Method::GET || *method == Method::HEAD;
    let follows = match status.as_u16() {
        301..=303 => reading,
        307 | 308 => reading || body_can_be_sent_again,
        _ => false,
    };
    let Some(location) = headers.get(LOCATION).filter(|_| follows) else { return Ok(None) };
    let bad = || HttpError::BadRedirect {
        url: shown(url),
        location: Url::parse(&String::from_utf8_lossy(location.as_bytes())).map_or_else(|_| "?".into(), |u| shown(&u)),
    };
    let text = location.to_str().map_err(|_| bad())?;
    let next = url.join(text).map_err(|_| bad())?;
    if next.host().is_none() { Err(bad()) } else { Ok(Some(next)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_target(method: Method, status: u16, location: &str, again: bool, expected: Option<&str>) {
        let url = Url::parse("https://r.example.com/v2/a/blobs/x").expect("valid");
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, location.parse().expect("header"));
        let status = StatusCode::from_u16(status).expect("status");
        let found = target(&method, &url, status, &headers, again).expect("a good redirect");
        assert_eq!(found.as_ref().map(Url::as_str), expected);
    }

    #[test]
    fn targets() {
        let cdn = "https://cdn.example.net/x?sig=1";
        check_target(Method::GET, 307, cdn, true, Some(cdn));
        check_target(Method::GET, 302, "/y", true, Some("https://r.example.com/y"));
        check_target(Method::POST, 302, cdn, true, None);
        check_target(Method::PUT, 307, cdn, true, Some(cdn));
        check_target(Method::PUT, 307, cdn, false, None);
        check_target(Method::GET, 200, cdn, true, None);
        check_target(Method::POST, 202, cdn, true, None);
    }

    #[test]
    fn origins() {
        let same = |a: &str, b: &str| same_origin(&Url::parse(a).expect("a"), &Url::parse(b).expect("b"));
        assert!(same("https://a/x", "https://a:443/y"));
        assert!(!same("https://a/", "http://a/"));
        assert!(!same("https://a/", "https://a:444/"));
        assert!(!same("https://a/", "https://b.a/"));
    }
}
