//! Is a parent in the registry the image that Koji has? Pure.

use osbs_image::media_type::{DOCKER_MANIFEST, OCI_MANIFEST, is_index};
use osbs_koji::Archive;
use serde_json::Value;
use std::collections::BTreeMap;

/// What Koji says of a build's images.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Registered {
    /// Media type -> digest of the index.
    index: BTreeMap<String, String>,
    /// Architecture -> media type -> digest of the images.
    images: BTreeMap<String, BTreeMap<String, String>>,
}

/// What comes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Compared {
    Same,
    /// And why.
    Different(String),
    /// The index is another; its images must be these, by architecture.
    LookInside(BTreeMap<String, String>),
}

fn texts(members: &Value) -> BTreeMap<String, String> {
    let pair = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
    members.as_object().into_iter().flatten().filter_map(pair).collect()
}

impl Registered {
    /// From a build's `extra` and its archives of type image.
    pub(super) fn of(extra: &Value, archives: &[Archive]) -> Self {
        let image = |archive: &Archive| {
            let docker = archive.extra.to_json()["docker"].clone();
            let architecture = docker["config"]["architecture"].as_str()?.to_owned();
            Some((architecture, texts(&docker["digests"])))
        };
        Self { index: texts(&extra["image"]["index"]["digests"]), images: archives.iter().filter_map(image).collect() }
    }

    /// Architecture -> digest of the images, whatever their type.
    fn members(&self) -> BTreeMap<String, String> {
        let digest = |digests: &BTreeMap<String, String>| {
            [OCI_MANIFEST, DOCKER_MANIFEST].iter().find_map(|media_type| digests.get(*media_type)).cloned()
        };
        self.images.iter().filter_map(|(name, digests)| Some((name.clone(), digest(digests)?))).collect()
    }
}

/// Compares what was captured with what Koji says. `deep`: an index may be another if its images are the same.
pub(super) fn compare(registered: &Registered, media_type: &str, digest: &str, deep: bool) -> Compared {
    if !is_index(media_type) {
        // An image that no index names: a build for one platform, or one of the images of several.
        let known = registered.images.values().filter_map(|digests| digests.get(media_type));
        if known.clone().any(|known| known == digest) {
            return Compared::Same;
        }
        let known: Vec<_> = known.map(String::as_str).collect();
        let known = if known.is_empty() { "none of that type".to_owned() } else { known.join(", ") };
        return Compared::Different(format!("it is {digest}, in Koji {known}"));
    }
    match registered.index.get(media_type) {
        Some(known) if known == digest => Compared::Same,
        Some(_) if deep => Compared::LookInside(registered.members()),
        Some(known) => Compared::Different(format!("it is {digest}, in Koji {known}")),
        None => Compared::Different(format!("Koji knows no digest of type {media_type} of it: it must be rebuilt")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use osbs_image::media_type::{DOCKER_MANIFEST_LIST, OCI_INDEX};
    use serde_json::json;

    fn registered() -> Registered {
        let extra = json!({"image": {"index": {"digests": { OCI_INDEX: "sha256:1" }}}});
        let archive = |architecture: &str, digests: Value| {
            let docker = json!({"config": {"architecture": architecture}, "digests": digests});
            let answer = json!({"id": 1, "build_id": 1, "filename": "f", "extra": {"docker": docker}});
            Archive::read(osbs_koji::Value::from_json(&answer)).unwrap()
        };
        let archives = [
            archive("amd64", json!({ OCI_MANIFEST: "sha256:a" })),
            archive("ppc64le", json!({ DOCKER_MANIFEST: "sha256:b" })),
            archive("s390x", json!({})),
        ];
        Registered::of(&extra, &archives)
    }

    #[track_caller]
    fn check(media_type: &str, digest: &str, deep: bool, expected: &str) {
        let found = match compare(&registered(), media_type, digest, deep) {
            Compared::Same => "same".to_owned(),
            Compared::Different(why) => why,
            Compared::LookInside(images) => format!("{images:?}"),
        };
        assert!(found.contains(expected), "{media_type} {digest} {deep}: {found}");
    }

    #[test]
    fn cases() {
        check(OCI_INDEX, "sha256:1", true, "same");
        check(OCI_INDEX, "sha256:2", false, "it is sha256:2, in Koji sha256:1");
        check(OCI_INDEX, "sha256:2", true, r#"{"amd64": "sha256:a", "ppc64le": "sha256:b"}"#);
        check(DOCKER_MANIFEST_LIST, "sha256:1", true, "must be rebuilt");
        check(OCI_MANIFEST, "sha256:a", false, "same");
        check(OCI_MANIFEST, "sha256:b", true, "in Koji sha256:a");
        check(DOCKER_MANIFEST, "sha256:b", true, "same");
        check("other", "sha256:b", true, "none of that type");
    }
}
