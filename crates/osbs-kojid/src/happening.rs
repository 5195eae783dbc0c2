//! What a builder has to say while it runs.
//!
//! Must not format for a terminal: the caller prints.

use osbs_types::BuildName;
use std::fmt;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Happening {
    /// The hub knows us.
    Ready {
        /// Our name there.
        host: String,
        /// Builds at once, as many as the cluster has slots for.
        slots: usize,
    },
    /// A task was taken, or found to be ours after a restart.
    Taken {
        /// The task.
        task: i64,
        /// It was ours before.
        again: bool,
    },
    /// A task has a build.
    Submitted {
        /// The task.
        task: i64,
        /// Its build.
        build: BuildName,
        /// The build was there before.
        existing: bool,
    },
    /// A task has ended.
    Ended {
        /// The task.
        task: i64,
        /// `closed`, `failed: WHY`, `canceled`, or `left for later`.
        how: String,
    },
    /// Something went wrong that will be tried again.
    Trouble {
        /// The task, if it is about one.
        task: Option<i64>,
        /// One line.
        problem: String,
    },
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready { host, slots } => write!(f, "{host} takes container builds, {slots} at once"),
            Self::Taken { task, again: false } => write!(f, "task {task}: taken"),
            Self::Taken { task, again: true } => write!(f, "task {task}: ours from before, watched again"),
            Self::Submitted { task, build, existing: false } => write!(f, "task {task}: build {build} submitted"),
            Self::Submitted { task, build, existing: true } => write!(f, "task {task}: build {build} is there already"),
            Self::Ended { task, how } => write!(f, "task {task}: {how}"),
            Self::Trouble { task: Some(task), problem } => write!(f, "task {task}: {problem}"),
            Self::Trouble { task: None, problem } => f.write_str(problem),
        }
    }
}
