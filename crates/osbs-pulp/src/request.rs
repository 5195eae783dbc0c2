//! What is asked, as pure functions: URLs below the API's root, and JSON bodies.

use crate::response::Href;
use osbs_types::{Digest, Secret};
use serde_json::{Map, Value, json};
use url::Url;

/// Objects asked for at once. Pulp's own default.
pub(crate) const PAGE: usize = 100;

/// Kinds of objects, by their place in the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Status,
    ContainerRepositories,
    ContainerRemotes,
    ContainerDistributions,
    ContainerTags,
    FileRepositories,
    Files,
    FilePublications,
    FileDistributions,
    Uploads,
}

impl Kind {
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Status => "status/",
            Self::ContainerRepositories => "repositories/container/container/",
            Self::ContainerRemotes => "remotes/container/container/",
            Self::ContainerDistributions => "distributions/container/container/",
            Self::ContainerTags => "content/container/tags/",
            Self::FileRepositories => "repositories/file/file/",
            Self::Files => "content/file/files/",
            Self::FilePublications => "publications/file/file/",
            Self::FileDistributions => "distributions/file/file/",
            Self::Uploads => "uploads/",
        }
    }
}

/// The list of a kind, where new ones are made too.
pub(crate) fn kind_url(root: &Url, kind: Kind) -> Url {
    let mut url = root.clone();
    url.set_path(&format!("{}{}", root.path(), kind.path()));
    url
}

/// One page of a list.
pub(crate) fn page_url(root: &Url, kind: Kind, filters: &[(&str, &str)], offset: usize) -> Url {
    let mut url = kind_url(root, kind);
    {
        let mut query = url.query_pairs_mut();
        query.extend_pairs(filters);
        query.append_pair("limit", &PAGE.to_string()).append_pair("offset", &offset.to_string());
    }
    url
}

/// An object, or (`action` such as `sync/`) what can be done with it.
///
/// # Errors
/// The reference does not lie below the root: a login must not go elsewhere.
pub(crate) fn object_url(root: &Url, href: &Href, action: &str) -> Result<Url, String> {
    if !href.as_str().starts_with(root.path()) {
        return Err(format!("{href} is not below {}", root.path()));
    }
    let mut url = root.clone();
    url.set_path(&format!("{href}{action}"));
    Ok(url)
}

/// What a remote says.
pub(crate) struct RemoteBody<'a> {
    pub name: &'a str,
    pub url: &'a str,
    pub upstream_name: &'a str,
    pub include_tags: &'a [String],
    pub tls_validation: bool,
    pub ca_cert: Option<&'a str>,
    pub login: Option<(&'a str, &'a Secret)>,
}

/// Makes a remote or brings one up to date: what is not said is taken away, so that no login stays in it.
pub(crate) fn remote_body(remote: &RemoteBody<'_>) -> Value {
    let (username, password) = match remote.login {
        Some((username, password)) => (json!(username), json!(password.reveal())),
        None => (Value::Null, Value::Null),
    };
    json!({
        "name": remote.name,
        "url": remote.url,
        "upstream_name": remote.upstream_name,
        "include_tags": remote.include_tags,
        "policy": "immediate",
        "tls_validation": remote.tls_validation,
        "ca_cert": remote.ca_cert,
        "username": username,
        "password": password,
    })
}

pub(crate) fn sync_body(remote: &Href) -> Value {
    // Tags of earlier builds stay.
    json!({"remote": remote, "mirror": false})
}

pub(crate) fn tag_body(tag: &str, digest: Option<&Digest>) -> Value {
    let mut body = Map::from_iter([("tag".to_owned(), json!(tag))]);
    if let Some(digest) = digest {
        body.insert("digest".to_owned(), json!(digest));
    }
    Value::Object(body)
}

/// Points a distribution at what is to be seen: a member and its reference. A repository as a whole, or whatever else
/// was served, no longer is.
pub(crate) fn distribution_body(name: Option<&str>, base_path: &str, what: &str, href: &Href) -> Value {
    let mut body = Map::from_iter([(what.to_owned(), json!(href)), ("repository".to_owned(), Value::Null)]);
    if let Some(name) = name {
        body.insert("name".to_owned(), json!(name));
        body.insert("base_path".to_owned(), json!(base_path));
    }
    Value::Object(body)
}

/// A multipart form of one file, which is how a piece of an upload travels. `boundary` must not occur in `bytes`.
pub(crate) fn chunk_form(boundary: &str, bytes: &[u8]) -> Vec<u8> {
    let head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"chunk\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    let mut form = Vec::with_capacity(head.len() + bytes.len() + boundary.len() + 8);
    form.extend_from_slice(head.as_bytes());
    form.extend_from_slice(bytes);
    form.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    form
}

/// `Content-Range` of a piece that is not empty.
pub(crate) fn content_range(offset: u64, length: u64, size: u64) -> String {
    format!("bytes {offset}-{}/{size}", offset + length - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> Url {
        Url::parse("https://p.io/pulp/api/v3/").unwrap()
    }

    fn href(text: &str) -> Href {
        serde_json::from_value(json!(text)).unwrap()
    }

    #[test]
    fn urls() {
        let page = page_url(&root(), Kind::ContainerTags, &[("name__in", "1,a b"), ("x", "&")], 200);
        assert_eq!(
            page.as_str(),
            "https://p.io/pulp/api/v3/content/container/tags/?name__in=1%2Ca+b&x=%26&limit=100&offset=200"
        );
        let object = href("/pulp/api/v3/repositories/container/container/1/");
        let sync = object_url(&root(), &object, "sync/").unwrap();
        assert_eq!(sync.as_str(), "https://p.io/pulp/api/v3/repositories/container/container/1/sync/");
        assert!(object_url(&root(), &href("/pulp/other/1/"), "").is_err(), "the login stays below the API");
    }

    #[test]
    fn bodies() {
        let tags = ["1".to_owned(), "1-1".to_owned()];
        let password = Secret::new("hunter2");
        let mut remote = RemoteBody {
            name: "ns-web",
            url: "https://r.io",
            upstream_name: "ns/web",
            include_tags: &tags,
            tls_validation: true,
            ca_cert: Some("PEM"),
            login: Some(("me", &password)),
        };
        let expected = json!({"name": "ns-web", "url": "https://r.io", "upstream_name": "ns/web",
            "include_tags": ["1", "1-1"], "policy": "immediate", "tls_validation": true, "ca_cert": "PEM",
            "username": "me", "password": "hunter2"});
        assert_eq!(remote_body(&remote), expected);
        remote.login = None;
        assert_eq!(remote_body(&remote)["password"], Value::Null, "a login that is no longer used goes");

        let version = href("/pulp/api/v3/r/1/versions/2/");
        assert_eq!(sync_body(&version), json!({"remote": version, "mirror": false}));
        let digest = Digest::from_sha256(&[7; 32]);
        assert_eq!(tag_body("1", Some(&digest)), json!({"tag": "1", "digest": digest}));
        assert_eq!(tag_body("1", None), json!({"tag": "1"}));
        assert_eq!(
            distribution_body(Some("ns-web"), "ns/web", "repository_version", &version),
            json!({"repository_version": version, "repository": null, "name": "ns-web", "base_path": "ns/web"})
        );
        assert_eq!(
            distribution_body(None, "ns/web", "publication", &version),
            json!({"publication": version, "repository": null})
        );
    }

    #[test]
    fn pieces_of_an_upload() {
        let form = String::from_utf8(chunk_form("B", b"abc")).unwrap();
        assert_eq!(
            form,
            "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"chunk\"\r\n\
             Content-Type: application/octet-stream\r\n\r\nabc\r\n--B--\r\n"
        );
        assert_eq!(content_range(0, 10, 25), "bytes 0-9/25");
        assert_eq!(content_range(20, 5, 25), "bytes 20-24/25");
    }
}
