//! What `ADD` and other steps of a build fetch: files by URL and git repositories.
//!
//! URLs come from strangers. Every address is judged after name resolution and after each redirect, and the address that
//! was judged is the one that is connected to, by git too. Sizes and times are bounded. Nothing of a repository is run:
//! git fetches objects and writes no work tree; the files come out of `git archive` through our own unpacking, below a
//! folder that they cannot leave. Must not know Dockerfiles: [`osbs_builder::Fetcher`] is all it serves.
//!
//! Start at [`WebFetcher`], which serves the builder; [`Download`] is one file of it, for who is on the runtime.

mod allowed;
mod download;
mod error;
mod git_program;
mod repository;

pub use allowed::{AllowedUrls, BadAllowedUrl};
pub use download::{Download, login, percent_decoded};
pub use error::FetchError;

use osbs_builder::{CheckedOut, Fetcher, GitSource};
use osbs_http::{AddressRule, HttpError, Transport};
use osbs_types::{ErrorKind, Failure};
use std::ffi::OsString;
use std::fs::File;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// Bounds on one ADD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLimits {
    /// Bytes of a file; of a repository, as fetched and as unpacked.
    pub bytes: u64,
    /// Files of a repository.
    pub files: u64,
    /// Address space of each process of git, in bytes: a few hundred bytes of a pack can stand for gigabytes.
    pub git_memory: u64,
    /// How long one download or checkout may take, retries included.
    pub time: Duration,
}

impl Default for FetchLimits {
    fn default() -> Self {
        Self { bytes: 16 << 30, files: 5_000_000, git_memory: 4 << 30, time: Duration::from_hours(1) }
    }
}

/// The git program.
#[derive(Debug, Clone)]
pub struct GitProgram {
    /// Found on `path` if it is a bare name.
    pub program: PathBuf,
    /// Its `PATH`: all of the caller's environment that it gets.
    pub path: OsString,
}

/// Fetches over http and https. Call it from a thread that is none of the runtime's own workers (`spawn_blocking` is
/// right).
#[derive(Debug)]
pub struct WebFetcher {
    transport: Transport,
    handle: Handle,
    git: GitProgram,
    limits: FetchLimits,
    how_to_allow: String,
    cancel: CancellationToken,
}

impl WebFetcher {
    /// `transport` holds the address lists, `handle` the runtime that requests run on. Cancelling ends whatever is going
    /// on, with all processes of git.
    pub fn new(transport: Transport, handle: Handle, git: GitProgram, cancel: CancellationToken) -> Self {
        let (limits, how_to_allow) = (FetchLimits::default(), String::new());
        Self { transport, handle, git, limits, how_to_allow, cancel }
    }

    /// Ended by another token.
    #[must_use]
    pub fn cancelled_by(mut self, cancel: &CancellationToken) -> Self {
        self.cancel = cancel.clone();
        self
    }

    /// With other bounds.
    #[must_use]
    pub fn limits(mut self, limits: FetchLimits) -> Self {
        self.limits = limits;
        self
    }

    /// With the words that tell a user whose address was denied what can be done about it.
    #[must_use]
    pub fn how_to_allow(mut self, text: impl Into<String>) -> Self {
        self.how_to_allow = text.into();
        self
    }

    fn run<T>(&self, url: &str, work: impl Future<Output = Result<T, FetchError>>) -> Result<T, Box<Failure>> {
        let limited = async {
            let seconds = self.limits.time.as_secs();
            let late = |_| FetchError::TooSlow { url: shown_url(url), seconds };
            tokio::time::timeout(self.limits.time, work).await.map_err(late)?
        };
        let ended = self.handle.block_on(self.cancel.run_until_cancelled(limited));
        ended.unwrap_or(Err(FetchError::Cancelled)).map_err(|error| Box::new(self.failure(&error)))
    }

    fn failure(&self, error: &FetchError) -> Failure {
        let failure = Failure::new(error.kind(), error);
        match error {
            FetchError::Http(HttpError::AddressDenied { .. }) if !self.how_to_allow.is_empty() => {
                failure.with_hint(self.how_to_allow.clone())
            }
            error => match error.hint() {
                Some(hint) => failure.with_hint(hint),
                None => failure,
            },
        }
    }
}

impl Fetcher for WebFetcher {
    fn fetch(&self, url: &str, into: &mut File) -> Result<Option<i64>, Box<Failure>> {
        let (transport, limits) = (&self.transport, self.limits);
        let job = Download { transport, limits, addresses: AddressRule::PublicOnly, urls: None, progress: &|_, _| {} };
        self.run(url, job.run(url, into))
    }

    fn checkout(&self, repository: &GitSource, into: &Path) -> Result<CheckedOut, Box<Failure>> {
        let job = repository::Checkout {
            transport: &self.transport,
            git: &self.git,
            limits: &self.limits,
            cancel: &self.cancel,
            repository,
        };
        self.run(&repository.url, job.run(into))
    }
}

/// A URL as messages show it, also one that is none: without user and password.
pub fn shown_url(text: &str) -> String {
    match osbs_http::Url::parse(text) {
        Ok(url) if url.has_host() => osbs_http::shown(&url),
        _ => {
            let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let start = rest[..end].rfind('@').map_or(0, |at| at + 1);
            let colon = if scheme.is_empty() { "" } else { "://" };
            format!("{scheme}{colon}{}", rest[start..].split(['?', '#']).next().unwrap_or_default())
        }
    }
}

/// The kinds of statuses, the same for files and repositories: what a URL names is the user's affair, unless the server
/// is sick.
pub(crate) fn status_kind(status: u16) -> ErrorKind {
    match status {
        408 | 429 | 500.. => ErrorKind::Remote,
        _ => ErrorKind::User,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_shown_without_secrets() {
        let check = |text: &str, expected: &str| assert_eq!(shown_url(text), expected);
        check("https://me:hunter2@h.example.com/a?token=x#f", "https://h.example.com/a");
        check("ssh://me:hunter2@h/a", "ssh://h/a");
        check("me:hunter2@h:a.git", "h:a.git");
        check("ext::sh -c x", "ext::sh -c x");
        check("https://me:hun/ter2@[bad/a", "https://me:hun/ter2@[bad/a");
    }
}
