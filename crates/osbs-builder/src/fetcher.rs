//! What the builder asks of whoever fetches for ADD. Implemented by `osbs-fetch`; the builder itself has no network.

use osbs_types::Failure;
use std::fs::File;
use std::path::Path;

/// Downloads for `ADD`. Absent: such an ADD is refused.
pub trait Fetcher: Sync {
    /// Writes the body to `into`, a file that belongs to the caller and may be emptied to begin again; gives its
    /// modification time in seconds since the epoch, if the server told one. Must obey the address deny list.
    ///
    /// # Errors
    /// Whatever happened, after retries.
    fn fetch(&self, url: &str, into: &mut File) -> Result<Option<i64>, Box<Failure>>;

    /// Checks a git repository out into `into`, an empty folder that belongs to the caller. Must obey the address deny
    /// list, run no hook, filter or submodule of the repository, and leave `.git` only where `keep_git` says so.
    ///
    /// # Errors
    /// Whatever happened, after retries.
    fn checkout(&self, repository: &GitSource, into: &Path) -> Result<CheckedOut, Box<Failure>>;
}

/// A git repository as `ADD` names it: `URL[#REF[:SUBDIR]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitSource {
    /// Without fragment and query.
    pub url: String,
    /// Branch, tag or commit; `None`: the remote's default.
    pub reference: Option<String>,
    /// The folder of the repository that is wanted; `None`: all of it.
    pub subdir: Option<String>,
    /// `--keep-git-dir`. Without effect on a subfolder.
    pub keep_git: bool,
    /// `?submodules=`. Submodules are never fetched; a repository that has some is refused unless this is `false`.
    pub submodules: Option<bool>,
}

/// What was checked out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedOut {
    /// Commit id, whole.
    pub commit: String,
    /// Id of the annotated tag that led to it.
    pub tag: Option<String>,
}
