//! A Koji builder that takes container builds and nothing else: tasks of a hub in, orchestrator builds of an instance
//! out, logs and results back to the task.
//!
//! Rank 4: knows no reactor and no terminal. What a task asks for ([`TaskRequest`]), which arches are built
//! ([`select_arches`]), which repositories are allowed ([`AllowedScms`]) and which log files an event adds to
//! ([`LogFiles`]) are pure; `task.rs` runs one task, `daemon.rs` the loop that takes them. Nothing is kept on disk: after a
//! restart the hub says which tasks are ours, and the cluster which build belongs to each.

mod arches;
mod checks;
mod daemon;
mod happening;
mod labels;
mod log_files;
mod log_upload;
mod request;
mod scm;
mod task;
mod task_error;

pub use arches::{canonical_arch, select_arches};
pub use daemon::Kojid;
pub use happening::Happening;
pub use labels::{RELEASE_LABEL, check_labels, check_tag_length};
pub use log_files::LogFiles;
pub use request::TaskRequest;
pub use scm::{AllowedScms, ScmUrl};
pub use task::Observer;
pub use task_error::TaskError;
