//! What the answers of a registry mean, as pure functions. Every byte of them is hostile.

use osbs_image::media_type::{is_index, is_manifest};
use osbs_types::Digest;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::time::Duration;
use url::Url;

/// Largest manifest read (distribution-spec asks registries for at least 4 MiB; more is nobody's honest manifest).
pub(crate) const MAX_MANIFEST: u64 = 4 << 20;
/// Largest config read.
pub(crate) const MAX_CONFIG: u64 = 8 << 20;
/// Largest token answer and error page read.
pub(crate) const MAX_SMALL: u64 = 1 << 20;
/// Longest token used. It goes into every request, and servers take heads of 8 to 64 KiB.
pub(crate) const MAX_TOKEN: usize = 32 << 10;

/// The digest of bytes in memory.
pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_sha256(&Sha256::digest(bytes).into())
}

#[derive(Deserialize)]
struct Typed {
    #[serde(rename = "mediaType", default)]
    media_type: String,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    layers: Option<serde::de::IgnoredAny>,
    #[serde(rename = "schemaVersion", default)]
    schema_version: u32,
}

/// The media type of a manifest: what the header says, which must agree with the document (CVE-2021-41190: the same bytes
/// read as a manifest and as an index). Without a telling header the document decides.
pub(crate) fn manifest_type(header: Option<&str>, bytes: &[u8]) -> Result<String, String> {
    let document: Typed = serde_json::from_slice(bytes).map_err(|error| format!("not a JSON manifest: {error}"))?;
    if document.manifests.is_some() && document.layers.is_some() {
        return Err("a document that is both image and index".to_owned());
    }
    let header = header.map(|value| value.split(';').next().unwrap_or_default().trim()).unwrap_or_default();
    let known = |name: &str| is_manifest(name) || is_index(name);
    let named = if known(header) { header } else { &document.media_type };
    if known(header) && !document.media_type.is_empty() && document.media_type != header {
        return Err(format!("sent as {header}, but says that it is {}", document.media_type));
    }
    let named = match (named, &document) {
        ("", Typed { schema_version: 1, .. }) => "application/vnd.docker.distribution.manifest.v1+json",
        ("", Typed { manifests: Some(_), .. }) => osbs_image::media_type::OCI_INDEX,
        ("", Typed { layers: Some(_), .. }) => osbs_image::media_type::OCI_MANIFEST,
        (named, _) => named,
    };
    if (is_index(named) && document.layers.is_some()) || (is_manifest(named) && document.manifests.is_some()) {
        return Err(format!("said to be {named}, which it is not"));
    }
    Ok(if named.is_empty() { header.to_owned() } else { named.to_owned() })
}

/// The `Location` of an upload, which may be relative.
pub(crate) fn upload_location(request: &Url, location: Option<&str>) -> Result<Url, String> {
    let text = location.ok_or("no Location header")?;
    let url = request.join(text).map_err(|_| "a Location header that is no URL".to_owned())?;
    if matches!(url.scheme(), "http" | "https") && url.host().is_some() {
        Ok(url)
    } else {
        Err("a Location header that is no http URL".to_owned())
    }
}

#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<OneError>,
}

#[derive(Deserialize)]
struct OneError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// What an error page says, on one line: the spec's `errors`, else the start of the text.
pub(crate) fn error_detail(body: &str) -> String {
    let listed = serde_json::from_str::<Errors>(body).map(|page| page.errors).unwrap_or_default();
    let lines: Vec<String> = listed
        .iter()
        .map(|error| format!("{} {}", error.code, error.message).trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect();
    let text = if lines.is_empty() { body.to_owned() } else { lines.join("; ") };
    let html = text.trim_start().starts_with('<');
    if html { String::new() } else { text.chars().take(300).collect() }
}

/// A token server's answer.
#[derive(Deserialize)]
pub(crate) struct TokenAnswer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl TokenAnswer {
    /// The token, and how long to use it: a tenth less than it lives, at least some seconds; a minute by default.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn token(self) -> Result<(String, Duration), String> {
        let token = if self.token.is_empty() { self.access_token } else { self.token };
        // Never longer than a day: nobody needs it, and a hostile number must not overflow.
        let lives = Duration::from_secs(self.expires_in.filter(|seconds| *seconds > 0).unwrap_or(60).min(86_400));
        if token.is_empty() {
            return Err("no token in it".to_owned());
        }
        if token.len() > MAX_TOKEN {
            return Err(format!("a token of {} bytes, more than {MAX_TOKEN}", token.len()));
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("a token with characters that no token has".to_owned());
        }
        Ok((token, lives * 9 / 10))
    }
}

/// One page of tags.
#[derive(Deserialize)]
pub(crate) struct TagsAnswer {
    #[serde(default)]
    pub tags: Option<Vec<String>>,
}

/// The next page out of a `Link` header: `</v2/a/tags/list?last=x&n=10>; rel="next"`.
pub(crate) fn next_page(request: &Url, link: Option<&str>) -> Option<Url> {
    let (target, rest) = link?.trim().strip_prefix('<')?.split_once('>')?;
    let next = request.join(target).ok()?;
    (rest.contains("next") && next.origin() == request.origin()).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use osbs_image::media_type::{DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, OCI_INDEX, OCI_MANIFEST};

    #[track_caller]
    fn check_type(header: Option<&str>, document: &str, expected: Option<&str>) {
        let found = manifest_type(header, document.as_bytes());
        assert_eq!(found.as_deref().ok(), expected, "{header:?} {document} {found:?}");
    }

    #[test]
    fn media_types_must_agree() {
        let typed = |name: &str, member: &str| format!(r#"{{"schemaVersion":2,"mediaType":"{name}","{member}":[]}}"#);
        check_type(Some(OCI_MANIFEST), &typed(OCI_MANIFEST, "layers"), Some(OCI_MANIFEST));
        check_type(Some(OCI_MANIFEST), r#"{"schemaVersion":2,"layers":[]}"#, Some(OCI_MANIFEST));
        check_type(Some("application/json"), &typed(DOCKER_MANIFEST, "layers"), Some(DOCKER_MANIFEST));
        check_type(None, &typed(DOCKER_MANIFEST_LIST, "manifests"), Some(DOCKER_MANIFEST_LIST));
        check_type(None, r#"{"schemaVersion":2,"manifests":[]}"#, Some(OCI_INDEX));
        check_type(Some(&format!("{OCI_INDEX}; charset=utf-8")), r#"{"manifests":[]}"#, Some(OCI_INDEX));
        check_type(Some(OCI_MANIFEST), &typed(OCI_INDEX, "manifests"), None);
        check_type(Some(OCI_MANIFEST), r#"{"manifests":[]}"#, None);
        check_type(Some(OCI_INDEX), r#"{"layers":[]}"#, None);
        check_type(Some(OCI_INDEX), r#"{"layers":[],"manifests":[]}"#, None);
        check_type(Some(OCI_INDEX), "<html>", None);
        let schema1 = Some("application/vnd.docker.distribution.manifest.v1+json");
        check_type(None, r#"{"schemaVersion":1,"fsLayers":[]}"#, schema1);
    }

    #[test]
    fn locations() {
        let request = Url::parse("https://r.io/v2/a/blobs/uploads/").expect("valid");
        let at = |text: &str| upload_location(&request, Some(text)).map(String::from);
        assert_eq!(at("/v2/a/blobs/uploads/1?s=2").as_deref(), Ok("https://r.io/v2/a/blobs/uploads/1?s=2"));
        assert_eq!(at("https://u.io/x").as_deref(), Ok("https://u.io/x"));
        assert!(at("file:///etc/passwd").is_err());
        assert!(upload_location(&request, None).is_err());
    }

    #[test]
    fn errors_on_one_line() {
        let page = r#"{"errors":[{"code":"DENIED","message":"no","detail":{"x":1}},{"code":"X"}]}"#;
        assert_eq!(error_detail(page), "DENIED no; X");
        assert_eq!(error_detail("<html><body>"), "");
        assert_eq!(error_detail("plain"), "plain");
    }

    #[test]
    fn tokens() {
        let token = |text: &str| serde_json::from_str::<TokenAnswer>(text).expect("valid").token().ok();
        assert_eq!(token(r#"{"token":"a","expires_in":100}"#), Some(("a".into(), Duration::from_secs(90))));
        assert_eq!(token(r#"{"access_token":"b"}"#), Some(("b".into(), Duration::from_secs(54))));
        assert_eq!(token(r#"{"token":"a\r\nX: y"}"#), None);
        let forever = token(&format!(r#"{{"token":"a","expires_in":{}}}"#, u64::MAX));
        assert_eq!(forever, Some(("a".into(), Duration::from_mins(1_296))));
        assert_eq!(token("{}"), None);
        assert_eq!(token(&format!(r#"{{"token":"{}"}}"#, "a".repeat(MAX_TOKEN + 1))), None);
    }

    #[test]
    fn pages_stay_on_the_registry() {
        let request = Url::parse("https://r.io/v2/a/tags/list?n=2").expect("valid");
        let next = |link: &str| next_page(&request, Some(link)).map(String::from);
        let found = next(r#"</v2/a/tags/list?last=b&n=2>; rel="next""#);
        assert_eq!(found.as_deref(), Some("https://r.io/v2/a/tags/list?last=b&n=2"));
        assert_eq!(next(r#"<https://evil.io/x>; rel="next""#), None);
        assert_eq!(next("garbage"), None);
    }
}
