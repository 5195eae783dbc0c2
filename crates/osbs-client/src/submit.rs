//! Handing a rendered build to the cluster: through its BuildConfig, or directly (`client-and-koji.md` 2.6).

use crate::error::ClientError;
use crate::osbs::Osbs;
use osbs_arrangement::{UniqueName, build_config_name, git_labels, isolated_build_name, scratch_build_name};
use osbs_cluster::{Build, BuildConfig, BuildFilter, ClusterError, NameRule, NewBuild, TextMap};
use osbs_config::UserParams;
use osbs_types::{BuildName, Timestamp};

/// What [`ClusterError::Invalid`] calls the name of a build.
const BUILD_NAME: &str = "build name";

/// Five random digits and the time of the request.
pub(crate) fn unique_name() -> UniqueName {
    let random = rand::random_range(10_000..100_000);
    UniqueName::new(random, Timestamp::now()).expect("the range has five digits")
}

/// The git labels as a map.
pub(crate) fn labels_of(params: &UserParams) -> TextMap {
    let labels = git_labels(&params.git_uri, params.git_branch.as_deref());
    labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn name(text: String) -> Result<BuildName, ClientError> {
    text.parse().map_err(|expected| ClientError::Invalid { parameter: "build name".to_owned(), value: text, expected })
}

impl Osbs {
    /// Creates `new`, whose name does not matter yet.
    pub(crate) async fn submit(
        &self,
        mut new: NewBuild,
        params: &UserParams,
        unique: &UniqueName,
    ) -> Result<Build, ClientError> {
        let branch = params.git_branch.as_deref();
        if params.scratch {
            return self.create_named(new, &scratch_build_name(unique)).await;
        }
        if params.isolated {
            self.refuse_second_isolated(&new).await?;
            return self.create_named(new, &isolated_build_name(unique, &params.git_uri, branch)).await;
        }
        let build_config = self.ensure_build_config(params, &new).await?;
        new.name = NameRule::Config { build_config };
        Ok(self.parts.cluster.create_build(new).await?)
    }

    /// Only one isolated build of a repository, branch and release at a time.
    async fn refuse_second_isolated(&self, new: &NewBuild) -> Result<(), ClientError> {
        let same = ["git-repo-name", "git-branch", "git-full-repo", "isolated", "isolated-release"];
        let labels = same.iter().filter_map(|key| Some(((*key).to_owned(), new.labels.get(*key)?.clone())));
        let filter = BuildFilter { labels: labels.collect(), unfinished: true, ..BuildFilter::default() };
        match self.parts.cluster.list_builds(&filter).await?.into_iter().next() {
            Some(build) => Err(ClientError::IsolatedRunning { build: build.name }),
            None => Ok(()),
        }
    }

    /// Finds or makes the BuildConfig and gives its name. Builds that run already are no obstacle: the new one waits.
    async fn ensure_build_config(&self, params: &UserParams, new: &NewBuild) -> Result<String, ClientError> {
        let cluster = &self.parts.cluster;
        let labels = labels_of(params);
        // Label values are shortened, so several repositories may have the same ones: the whole URL decides.
        let mut known = cluster.find_build_configs(&labels).await?;
        known.retain(|config| config.source.uri == params.git_uri);
        let name = match &known[..] {
            [one] => one.name.clone(),
            _ => build_config_name(&params.git_uri, params.git_branch.as_deref()),
        };
        let mut wanted = labels;
        if let Some(task) = new.labels.get("koji-task-id") {
            wanted.insert("koji-task-id".to_owned(), task.clone());
        }
        let config = BuildConfig { name, labels: wanted, source: new.source.clone(), last_version: 0 };
        Ok(cluster.ensure_build_config(config).await?.name)
    }

    /// The build that a Koji task has already, if it was not cancelled and not started by a trigger.
    pub(crate) async fn build_of_task(&self, task: u64) -> Result<Option<Build>, ClientError> {
        let labels = [("koji-task-id", task.to_string()), ("is_autorebuild", "false".to_owned())];
        let labels = labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let filter = BuildFilter { labels, ..BuildFilter::default() };
        let mut builds = self.parts.cluster.list_builds(&filter).await?;
        builds.retain(|build| build.state != osbs_types::BuildState::Cancelled && build.parent.is_none());
        if builds.len() > 1 {
            let builds = builds.iter().map(|build| build.name.to_string()).collect();
            return Err(ClientError::SeveralBuilds { task, builds });
        }
        Ok(builds.pop())
    }

    /// Creates a build under the first free of `NAME`, `NAME-2`, `NAME-3`, ... A cluster that takes no `_` in names, which is
    /// in those of platforms, gets `-` there.
    pub(crate) async fn create_named(&self, new: NewBuild, base: &str) -> Result<Build, ClientError> {
        let plain = base.replace('_', "-");
        let mut base = base;
        let mut attempts = 1..=99;
        while let Some(attempt) = attempts.next() {
            let text = if attempt == 1 { base.to_owned() } else { format!("{base}-{attempt}") };
            let named = NewBuild { name: NameRule::Exact(name(text)?), ..new.clone() };
            match self.parts.cluster.create_build(named).await {
                Err(ClusterError::NameTaken { .. }) => {}
                Err(ClusterError::Invalid { what: BUILD_NAME, .. }) if base != plain => {
                    (base, attempts) = (&plain, 1..=99);
                }
                result => return Ok(result?),
            }
        }
        Err(ClientError::Invalid {
            parameter: "build name".to_owned(),
            value: base.to_owned(),
            expected: "a name with fewer than 99 builds".to_owned(),
        })
    }
}
