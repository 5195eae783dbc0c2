//! Names that move from build to build, `latest` before all: they move last, when everything else has succeeded
//! (`reactor.md` 2.3, M16).
//!
//! Keeps what is to be moved; the moving is `push_floating_tags`'s.

use crate::run::{PushedRegistry, Run, TagClass};
use osbs_image::Descriptor;
use osbs_image::media_type::{DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, OCI_INDEX, OCI_MANIFEST};
use osbs_registry::Registry;
use osbs_types::{Phase, PullSpec};
use std::sync::Arc;

/// A name that waits for the end of the run. Manifest and blobs are in its repository already.
#[derive(Debug, Clone)]
pub struct FloatingName {
    /// The registry, logged in.
    pub registry: Registry,
    /// Name and tag, without registry.
    pub name: PullSpec,
    /// The index or manifest it shall stand for.
    pub manifest: Descriptor,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
}

impl FloatingName {
    /// `host/ns/repo:tag`.
    pub fn pull_spec(&self) -> String {
        format!("{}/{}", self.registry.host(), self.name.with_explicit_tag())
    }
}

/// The key of a media type in digest records (`reactor.md` 1.13).
pub fn version(media_type: &str) -> &'static str {
    match media_type {
        DOCKER_MANIFEST => "v2",
        DOCKER_MANIFEST_LIST => "v2_list",
        OCI_INDEX => "oci_index",
        OCI_MANIFEST => "oci",
        _ => "unknown",
    }
}

impl Run {
    /// Whether a name moves at the end of this run: a floating one, and a primary one without a dash, as `tag_by_labels`
    /// and `additional-tags` give them in arrangements 1 to 3.
    ///
    /// Where `pulp_sync` takes the image over, a name waits only if its repository has one that does not: Pulp fetches by
    /// names.
    pub(crate) fn moves_last(&self, name: &PullSpec) -> bool {
        let stays = |other: &PullSpec| other.repository() == name.repository() && !self.moves(other);
        self.moves(name) && (!self.pulp_takes_over() || self.tags.all().any(stays))
    }

    fn moves(&self, name: &PullSpec) -> bool {
        let is_in = |class| self.tags.class(class).contains(name);
        is_in(TagClass::Floating) || (is_in(TagClass::Primary) && name.tag().is_some_and(|tag| !tag.contains('-')))
    }

    /// Whether some name waits for the end of this run.
    pub(crate) fn has_waiting_names(&self) -> bool {
        !self.floating.is_empty() || self.pulp.iter().any(|brought| !brought.waiting.is_empty())
    }

    /// Whether users get the image from Pulp, which takes it out of the registry.
    pub(crate) fn pulp_takes_over(&self) -> bool {
        self.request.plugins.entry(Phase::Postbuild, "pulp_sync").is_some()
    }

    /// What this build has pushed, as its record tells it: with the names that wait, because the record is written before
    /// they move; a failed build moves none. Of an orchestrator that has published to Pulp, Pulp's registry only
    /// (`reactor.md` 3.5.7).
    pub fn published(&self) -> Vec<PushedRegistry> {
        let mut published = self.pushed.clone();
        if self.is_orchestrator() && published.iter().any(|registry| registry.server_side_sync) {
            published.retain(|registry| registry.server_side_sync);
        }
        for waiting in self.floating.iter().filter(|_| !self.has_failed()) {
            let host = waiting.registry.host();
            if let Some(registry) = published.iter_mut().find(|registry| registry.host == host) {
                registry.add(&waiting.name, &waiting.manifest);
            }
        }
        if !self.has_failed() {
            self.add_waiting_in_pulp(&mut published);
        }
        published
    }

    /// As [`Run::build_process_failed`], and cancelled or stopped between plugins too.
    pub(crate) fn has_failed(&self) -> bool {
        self.build_process_failed() || self.records.failure.is_some()
    }
}

impl PushedRegistry {
    /// Remembers that `name` stands for this manifest.
    pub(crate) fn add(&mut self, name: &PullSpec, manifest: &Descriptor) {
        let key = name.with_explicit_tag().with_registry(None).to_string();
        let version = version(&manifest.media_type).to_owned();
        self.digests.entry(key).or_default().insert(version, manifest.digest.clone());
    }
}
