//! What a run has brought to Pulp, and how clients come to see it: all of it or nothing, and the names that move last.
//!
//! A version of a repository that no distribution shows is seen by nobody; what is done here first makes versions, then
//! moves distributions, and goes back when it cannot go on.

use super::{PulpArgs, PulpSite, TaskLog};
use crate::plugin::{PluginArgs, PluginError};
use crate::run::{PushedRegistry, Run};
use osbs_cluster::BuildPatch;
use osbs_pulp::{Distribution, Href, PulpError, Repository};
use osbs_types::{Digest, Failure, Phase, PullSpec};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// The annotation that names Pulp's repositories in which this build may have left something.
const ANNOTATION: &str = "pulp-repositories";

/// One thing in Pulp that clients are to see after success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulpRepository {
    /// Its name in Pulp.
    pub name: String,
    /// Where clients shall see it: `namespace/repo`.
    pub base_path: String,
    /// The version with what this build has brought.
    pub version: Href,
    /// The versions this build made, oldest first; none when everything was there already.
    pub made: Vec<Href>,
    /// Tag -> digest; for archives tag -> nothing.
    pub tags: BTreeMap<String, Option<Digest>>,
    /// Names that move: given when nothing is left that could fail.
    pub waiting: Vec<WaitingName>,
    /// Holds image archives as files, not images.
    pub holds_archives: bool,
    /// Clients see that version.
    pub is_published: bool,
}

/// A name in Pulp that waits for the end of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitingName {
    /// A tag for an image of the repository.
    Tag {
        /// Without repository.
        tag: String,
        /// What it shall stand for.
        digest: Digest,
    },
    /// A path for an image archive.
    File {
        /// `TAG/PLATFORM.tar.gz`
        path: String,
        /// Its bytes, which Pulp has.
        artifact: Href,
    },
}

impl WaitingName {
    fn text(&self) -> &str {
        match self {
            Self::Tag { tag, .. } => tag,
            Self::File { path, .. } => path,
        }
    }
}

impl PulpRepository {
    /// A repository as it was found.
    pub(crate) fn new(found: &Repository, base_path: &str, holds_archives: bool) -> Self {
        Self {
            name: found.name.clone(),
            base_path: base_path.to_owned(),
            version: found.latest_version.clone(),
            made: Vec::new(),
            tags: BTreeMap::new(),
            waiting: Vec::new(),
            holds_archives,
            is_published: false,
        }
    }

    /// Goes on to a version that this build has asked for.
    pub(crate) fn advance(&mut self, version: Href, before: &Href) {
        if version != *before && !self.made.contains(&version) {
            self.made.push(version.clone());
        }
        self.version = version;
    }
}

impl Run {
    /// Says in the record in which of Pulp's repositories this build may leave something, before it does.
    pub(crate) async fn announce_in_pulp(&self, site: &PulpSite, names: &[String]) -> Result<(), PluginError> {
        let all: BTreeSet<_> = self.pulp.iter().map(|brought| &brought.name).chain(names).collect();
        let text = json!({"server": site.client.host(), "repositories": all}).to_string();
        let patch = BuildPatch::default().annotation(ANNOTATION, text);
        self.services.cluster.update_build(&self.build.name, patch).await?;
        Ok(())
    }

    /// Names that wait in Pulp, as clients will see them.
    pub(crate) fn waiting_in_pulp(&self) -> Vec<String> {
        let of = |brought: &PulpRepository| {
            let base_path = brought.base_path.clone();
            let names = brought.waiting.iter().map(move |name| format!("{base_path}:{}", name.text()));
            names.collect::<Vec<_>>()
        };
        self.pulp.iter().flat_map(of).collect()
    }

    /// Adds tags that wait in Pulp to its part of a record of pushes: clients will see them.
    pub(crate) fn add_waiting_in_pulp(&self, published: &mut [PushedRegistry]) {
        let Some(registry) = published.iter_mut().find(|registry| registry.server_side_sync) else { return };
        for brought in self.pulp.iter().filter(|brought| brought.is_published) {
            for name in &brought.waiting {
                if let WaitingName::Tag { tag, digest } = name {
                    let versions = registry.digests.entry(format!("{}:{tag}", brought.base_path)).or_default();
                    versions.insert(self.version_of(digest), digest.clone());
                }
            }
        }
    }

    /// The tags that wait in a repository; for `pulp_sync`, which takes the others.
    pub(crate) fn waiting_tags(&self, repository: &str) -> Vec<WaitingName> {
        let of = |name: &&PullSpec| name.repository() == repository && self.moves_last(name);
        let tag = |name: &PullSpec| {
            let pushed = self.floating.iter().find(|waiting| waiting.name == *name)?;
            let tag = name.tag().unwrap_or("latest").to_owned();
            Some(WaitingName::Tag { tag, digest: pushed.manifest.digest.clone() })
        };
        self.tags.all().filter(of).filter_map(tag).collect()
    }

    /// Pulp, as the plugins that have brought something to it know it.
    pub(crate) async fn pulp_of_lists(&self) -> Result<PulpSite, PluginError> {
        let plugins = ["pulp_sync", "pulp_push", "pulp_tag"];
        let entry = plugins.iter().find_map(|plugin| self.request.plugins.entry(Phase::Postbuild, plugin));
        let args: PulpArgs = match entry {
            Some(entry) => PluginArgs(entry.args.clone()).parse()?,
            None => PulpArgs::default(),
        };
        self.pulp(&args).await
    }

    /// The key of a digest in records: as the registry's own record has it.
    fn version_of(&self, digest: &Digest) -> String {
        let all = self.pushed.iter().flat_map(|registry| registry.digests.values()).flatten();
        let mut known = all.filter(|(_, known)| *known == digest);
        known.next().map_or_else(|| "oci".to_owned(), |(version, _)| version.clone())
    }
}

/// What clients saw of a repository before.
type Before<'a> = Vec<(&'a PulpRepository, Option<Distribution>)>;

/// Distributions that could not be moved.
struct NotShown {
    error: PulpError,
    /// Clients see what they saw before.
    is_undone: bool,
}

impl PulpSite {
    /// Shows clients all that this build has brought: all of it, or, when something fails, nothing. Gives the names under
    /// which images can be pulled now.
    pub(crate) async fn publish(&self, run: &mut Run) -> Result<Vec<String>, PluginError> {
        let brought = run.pulp.clone();
        self.show(run, &brought.iter().collect::<Vec<_>>()).await.map_err(|failed| failed.error)?;
        run.pulp.iter_mut().for_each(|repository| repository.is_published = true);
        let mut names = Vec::new();
        for repository in brought.iter().filter(|repository| !repository.holds_archives) {
            run.pushed_registry(&self.registry.host).server_side_sync = true;
            for (tag, digest) in &repository.tags {
                names.push(self.record(run, repository, tag, digest.as_ref()));
            }
        }
        run.facts.insert("pull_specs".to_owned(), json!(names));
        Ok(names)
    }

    /// Remembers a name that clients of Pulp see. Gives it with Pulp's registry.
    fn record(&self, run: &mut Run, repository: &PulpRepository, tag: &str, digest: Option<&Digest>) -> String {
        let key = format!("{}:{tag}", repository.base_path);
        let name = format!("{}/{key}", self.registry.host);
        if let Some(digest) = digest {
            let version = run.version_of(digest);
            let registry = run.pushed_registry(&self.registry.host);
            registry.digests.entry(key).or_default().insert(version, digest.clone());
        }
        name
    }

    /// Moves the distributions, all or none.
    async fn show(&self, run: &Run, repositories: &[&PulpRepository]) -> Result<(), NotShown> {
        let progress = TaskLog::of(run);
        let mut before: Before<'_> = Vec::new();
        for repository in repositories {
            let shown = match self.shown(repository).await {
                Ok(was) => {
                    before.push((repository, was));
                    self.show_one(run, repository, &progress).await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = shown {
                return Err(NotShown { error, is_undone: self.restore(run, &before, &progress).await });
            }
        }
        Ok(())
    }

    /// What clients see now.
    async fn shown(&self, repository: &PulpRepository) -> Result<Option<Distribution>, PulpError> {
        if repository.holds_archives {
            return self.client.file_distribution(&archives_path(&repository.base_path)).await;
        }
        self.client.distribution(&repository.base_path).await
    }

    async fn show_one(&self, run: &Run, repository: &PulpRepository, progress: &TaskLog) -> Result<(), PulpError> {
        let wait = self.wait(run, progress);
        let PulpRepository { name, base_path, version, .. } = repository;
        let address = if repository.holds_archives {
            self.client.publish_files(name, &archives_path(base_path), version, &wait).await?.address
        } else {
            let shown = self.shown(repository).await?.and_then(|distribution| distribution.shows);
            let newer = shown.filter(|shown| {
                shown.repository() == version.repository() && shown.version_number() > version.version_number()
            });
            if let Some(newer) = newer {
                // Of a later build; it holds ours, and going back would take that build's names away.
                run.log().info(format!("{base_path}: the later version {newer} is published already"));
                return Ok(());
            }
            self.client.publish(name, base_path, version, &wait).await?.address
        };
        run.log().info(format!("published {}", address.unwrap_or_else(|| base_path.clone())));
        Ok(())
    }

    /// Back to what clients saw before; where they saw nothing, to nothing. Says whether that was possible.
    async fn restore(&self, run: &Run, before: &Before<'_>, progress: &TaskLog) -> bool {
        let mut is_undone = true;
        for (repository, was) in before {
            if let Err(error) = self.restore_one(run, repository, was.as_ref(), progress).await {
                is_undone = false;
                run.log().warning(format!("{} may show the new image already: {error}", repository.base_path));
            }
        }
        is_undone
    }

    async fn restore_one(
        &self,
        run: &Run,
        repository: &PulpRepository,
        was: Option<&Distribution>,
        progress: &TaskLog,
    ) -> Result<(), PulpError> {
        let is = self.shown(repository).await?;
        let wait = self.wait(run, progress);
        let PulpRepository { name, base_path, .. } = repository;
        match (was, is) {
            (_, None) => Ok(()),
            (None, Some(is)) => self.client.remove_distribution(&is, &wait).await,
            (Some(was), Some(is)) if was.shows == is.shows => Ok(()),
            (Some(was), Some(_)) => match &was.shows {
                Some(shown) if repository.holds_archives => {
                    self.client.show_files(name, &archives_path(base_path), shown, &wait).await.map(drop)
                }
                Some(shown) => self.client.publish(name, base_path, shown, &wait).await.map(drop),
                // It showed a whole repository or nothing: whoever made it that way has to say which.
                None => Ok(()),
            },
        }
    }

    /// After a failed build: the versions it made, which nobody has seen, go. What cannot be removed is told and harmless.
    pub(crate) async fn withdraw(&self, run: &mut Run) {
        for repository in std::mem::take(&mut run.pulp) {
            if !repository.is_published && self.remove_versions(run, &repository.made).await {
                run.log().info(format!("{}: what this build brought to Pulp is removed", repository.name));
            }
        }
    }

    /// Removes versions that nobody has seen, the newest first. Says whether there were some and all are gone.
    pub(crate) async fn remove_versions(&self, run: &Run, made: &[Href]) -> bool {
        let progress = TaskLog::of(run);
        for version in made.iter().rev() {
            if let Err(error) = self.client.delete_version(version, &self.wait(run, &progress)).await {
                let failure = Failure::new(error.kind(), &error);
                run.log().warning(format!("{version} stays in Pulp, unpublished: {failure}"));
                return false;
            }
        }
        !made.is_empty()
    }

    /// Makes versions that have the waiting names too. Nobody sees them before [`PulpSite::show_waiting`].
    pub(crate) async fn prepare_waiting(&self, run: &Run) -> Result<Vec<PulpRepository>, PulpError> {
        let mut prepared: Vec<PulpRepository> = Vec::new();
        for brought in run.pulp.iter().filter(|brought| !brought.waiting.is_empty()) {
            prepared.push(PulpRepository { made: Vec::new(), ..brought.clone() });
            let Some(last) = prepared.last_mut() else { continue };
            if let Err(error) = self.name_all(run, last).await {
                self.forget(run, &prepared).await;
                return Err(error);
            }
        }
        Ok(prepared)
    }

    async fn name_all(&self, run: &Run, repository: &mut PulpRepository) -> Result<(), PulpError> {
        let progress = TaskLog::of(run);
        let wait = self.wait(run, &progress);
        for name in repository.waiting.clone() {
            let found = self.found(repository).await?;
            let version = match &name {
                WaitingName::Tag { tag, digest } => self.client.tag(&found, tag, digest, &wait).await?,
                WaitingName::File { path, artifact } => self.client.add_file(&found, artifact, path, &wait).await?,
            };
            repository.advance(version, &found.latest_version);
        }
        Ok(())
    }

    async fn found(&self, repository: &PulpRepository) -> Result<Repository, PulpError> {
        if repository.holds_archives {
            return self.client.file_repository(&repository.name).await;
        }
        self.client.repository(&repository.name).await
    }

    /// Takes prepared versions away again.
    pub(crate) async fn forget(&self, run: &Run, prepared: &[PulpRepository]) {
        for repository in prepared {
            self.remove_versions(run, &repository.made).await;
        }
    }

    /// Shows clients the prepared versions of what is published; the others are left to whoever publishes. Gives the names.
    pub(crate) async fn show_waiting(
        &self,
        run: &mut Run,
        prepared: Vec<PulpRepository>,
    ) -> Result<Vec<String>, PulpError> {
        let visible: Vec<_> = prepared.iter().filter(|repository| repository.is_published).collect();
        if let Err(NotShown { error, is_undone }) = self.show(run, &visible).await {
            if is_undone {
                self.forget(run, &prepared).await;
            }
            return Err(error);
        }
        let mut names = Vec::new();
        for mut repository in prepared {
            for name in std::mem::take(&mut repository.waiting) {
                names.push(match &name {
                    WaitingName::Tag { tag, digest } => {
                        repository.tags.insert(tag.clone(), Some(digest.clone()));
                        if repository.is_published {
                            self.record(run, &repository, tag, Some(digest))
                        } else {
                            format!("{}/{}:{tag}", self.registry.host, repository.base_path)
                        }
                    }
                    WaitingName::File { path, .. } => format!("{}/{path}", archives_path(&repository.base_path)),
                });
            }
            let place = run.pulp.iter_mut().find(|one| one.name == repository.name);
            if let Some(place) = place {
                repository.made = [std::mem::take(&mut place.made), repository.made].concat();
                *place = repository;
            }
        }
        Ok(names)
    }
}

/// Where clients find image archives, below Pulp's content path.
fn archives_path(base_path: &str) -> String {
    format!("image-archives/{base_path}")
}

#[cfg(test)]
mod tests;
