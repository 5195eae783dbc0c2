//! What callers ask for, under the names of `client-and-koji.md` 2.3.

use osbs_cluster::{Build, Slots};
use osbs_types::{BuildName, Platform};
use serde_json::{Map, Value};

/// A request for an orchestrator build.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BuildRequest {
    /// The repository. Required; empty = the instance's `git_url`.
    pub git_uri: String,
    /// Commit, tag or branch. Required; empty = the instance's `git_commit`, else the branch.
    pub git_ref: String,
    /// The branch it is on. Required; `None` = the instance's `git_branch`.
    pub git_branch: Option<String>,
    /// First component of the image name; `None` = the instance's `user`.
    pub user: Option<String>,
    /// Koji target; `None` = the instance's `target`.
    pub target: Option<String>,
    /// The platforms to build, before `config.yaml` and `container.yaml` narrow them. Required below arrangement 6.
    pub platforms: Vec<Platform>,
    /// Of a lone worker build; refused for all others.
    pub platform: Option<Platform>,
    /// Of a build without orchestrator: its platform. `None` = the instance's `architecture`.
    pub architecture: Option<String>,
    /// Release to build, instead of the next free one.
    pub release: Option<String>,
    /// `None` = the instance's.
    pub arrangement_version: Option<u32>,
    /// Scratch build. The instance's `scratch`, if its file sets it, wins.
    pub scratch: bool,
    /// Isolated build; needs `release`.
    pub isolated: bool,
    /// Started by a trigger.
    pub is_auto: bool,
    /// Flatpak.
    pub flatpak: bool,
    /// URLs of further repositories of packages; empty = the instance's.
    pub yum_repourls: Vec<String>,
    /// The Koji task that waits for this build.
    pub koji_task_id: Option<u64>,
    /// Koji build to take the parent from.
    pub koji_parent_build: Option<String>,
    /// Where workers upload to.
    pub koji_upload_dir: Option<String>,
    /// Koji task that makes the file systems of a base image.
    pub filesystem_koji_task_id: Option<u64>,
    /// ODCS signing intent; excludes `compose_ids`.
    pub signing_intent: Option<String>,
    /// Existing ODCS composes.
    pub compose_ids: Vec<i64>,
    /// How many commits to clone.
    pub git_commit_depth: Option<u32>,
    /// Server-side configuration instead of the site's.
    pub reactor_config_override: Option<Value>,
}

/// A request for a worker build, as the orchestrator makes it.
#[derive(Debug, Clone)]
pub struct WorkerBuildRequest {
    /// Its platform.
    pub platform: Platform,
    /// The value of its release label.
    pub release: String,
    /// Which plugins it runs.
    pub arrangement_version: u32,
    /// The parameters of `create_worker_build` under their own names (`reactor.md` 3.3.3). Unknown ones are ignored. May hold
    /// the site's configuration: not for logs.
    pub parameters: Map<String, Value>,
    /// The orchestrator build: the worker ends with it.
    pub parent: Option<BuildName>,
    /// Its share of the cluster.
    pub slots: Option<Slots>,
}

/// A build that was made, and what its author should hear.
#[derive(Debug, Clone)]
pub struct Submitted {
    /// The build.
    pub build: Build,
    /// It was there already (`koji_task_id`), nothing was created.
    pub existing: bool,
    /// What is odd and was survived, one line each.
    pub warnings: Vec<String>,
}
