//! What is asked of a registry, as pure functions: URLs, scopes, headers (distribution-spec 1.1, "Endpoints").

use osbs_image::media_type::{INDEXES, MANIFESTS};
use osbs_types::{Digest, Reference};
use url::Url;

/// What may be done with a repository, as token servers write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Access {
    Pull,
    PullPush,
    Delete,
}

/// The scopes of a token for work on `repository`, and for reading from `also` (a mount reads there).
pub(crate) fn scopes(repository: &str, access: Access, also: Option<&str>) -> Vec<String> {
    let actions = match access {
        Access::Pull => "pull",
        Access::PullPush => "pull,push",
        Access::Delete => "delete,pull,push",
    };
    let mut scopes = vec![format!("repository:{repository}:{actions}")];
    scopes.extend(also.filter(|from| *from != repository).map(|from| format!("repository:{from}:pull")));
    scopes
}

/// Every manifest type we can use, in order of preference.
pub(crate) fn accept() -> String {
    let all: Vec<&str> = INDEXES.into_iter().chain(MANIFESTS).collect();
    all.join(", ")
}

/// `base` is `.../v2/`; repository, tag and digest were checked by their types, so that nothing here can leave it.
pub(crate) fn manifest_url(base: &Url, repository: &str, reference: &Reference) -> Url {
    join(base, &format!("{repository}/manifests/{reference}"))
}

pub(crate) fn blob_url(base: &Url, repository: &str, digest: &Digest) -> Url {
    join(base, &format!("{repository}/blobs/{digest}"))
}

pub(crate) fn uploads_url(base: &Url, repository: &str) -> Url {
    join(base, &format!("{repository}/blobs/uploads/"))
}

pub(crate) fn mount_url(base: &Url, from: &str, to: &str, digest: &Digest) -> Url {
    let mut url = uploads_url(base, to);
    url.query_pairs_mut().append_pair("mount", digest.as_str()).append_pair("from", from);
    url
}

pub(crate) fn tags_url(base: &Url, repository: &str) -> Url {
    let mut url = join(base, &format!("{repository}/tags/list"));
    url.query_pairs_mut().append_pair("n", "1000");
    url
}

/// The last step of an upload: its location with the digest added to whatever state the registry keeps in the query.
pub(crate) fn finish_url(location: &Url, digest: &Digest) -> Url {
    let mut url = location.clone();
    url.query_pairs_mut().append_pair("digest", digest.as_str());
    url
}

pub(crate) fn token_url(realm: &Url, service: Option<&str>, scopes: &[String]) -> Url {
    let mut url = realm.clone();
    {
        let mut query = url.query_pairs_mut();
        if let Some(service) = service {
            query.append_pair("service", service);
        }
        for scope in scopes {
            query.append_pair("scope", scope);
        }
    }
    url
}

/// The form by which a refresh token becomes an access token (OAuth 2, as Docker's token servers take it).
pub(crate) fn refresh_form(service: Option<&str>, scopes: &[String], refresh_token: &str) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "refresh_token").append_pair("client_id", "osbs");
    form.append_pair("service", service.unwrap_or_default());
    form.append_pair("scope", &scopes.join(" ")).append_pair("refresh_token", refresh_token);
    form.finish()
}

fn join(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path()));
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Url {
        Url::parse("https://r.example.com:5000/v2/").expect("valid")
    }

    fn digest() -> Digest {
        Digest::from_sha256(&[0xab; 32])
    }

    #[test]
    fn urls() {
        let hex = "ab".repeat(32);
        let at = |url: Url| url.as_str().strip_prefix("https://r.example.com:5000/v2/").expect("inside").to_owned();
        assert_eq!(at(manifest_url(&base(), "a/b", &Reference::Tag("1.0".into()))), "a/b/manifests/1.0");
        let by_digest = manifest_url(&base(), "a/b", &Reference::Digest(digest()));
        assert_eq!(at(by_digest), format!("a/b/manifests/sha256:{hex}"));
        assert_eq!(at(blob_url(&base(), "a", &digest())), format!("a/blobs/sha256:{hex}"));
        assert_eq!(at(uploads_url(&base(), "a")), "a/blobs/uploads/");
        assert_eq!(
            at(mount_url(&base(), "src/x", "dst", &digest())),
            format!("dst/blobs/uploads/?mount=sha256%3A{hex}&from=src%2Fx")
        );
        let location = Url::parse("https://r.example.com:5000/v2/a/blobs/uploads/1?_state=x%3D").expect("valid");
        assert_eq!(
            at(finish_url(&location, &digest())),
            format!("a/blobs/uploads/1?_state=x%3D&digest=sha256%3A{hex}")
        );
    }

    #[test]
    fn a_mount_needs_two_scopes() {
        assert_eq!(scopes("dst", Access::PullPush, Some("src")), ["repository:dst:pull,push", "repository:src:pull"]);
        assert_eq!(scopes("a", Access::Pull, Some("a")), ["repository:a:pull"]);
        let realm = Url::parse("https://auth.example.com/token?x=1").expect("valid");
        let url = token_url(&realm, Some("r"), &scopes("dst", Access::PullPush, Some("src")));
        assert_eq!(
            url.query(),
            Some("x=1&service=r&scope=repository%3Adst%3Apull%2Cpush&scope=repository%3Asrc%3Apull")
        );
    }
}
