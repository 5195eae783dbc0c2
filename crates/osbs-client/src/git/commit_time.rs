//! The time of the commit that is checked out in a folder, for reproducible images.
//!
//! Asks git for one object; nothing that the repository configures is run.

use super::Git;
use osbs_types::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The commit's time cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitTimeError {
    /// Git cannot be started.
    #[error("cannot run {program}")]
    NotRun {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The folder is in no checkout, or nothing is committed.
    #[error("{} holds no commit: {message}", folder.display())]
    NoCommit {
        /// The folder.
        folder: PathBuf,
        /// Git's words.
        message: String,
    },
}

impl CommitTimeError {
    /// Whose fault.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotRun { .. } => ErrorKind::Resource,
            Self::NoCommit { .. } => ErrorKind::User,
        }
    }
}

impl Git {
    /// Seconds since 1970 at which the commit checked out in `folder`, or above it, was committed. Waits for git: a
    /// matter of milliseconds.
    ///
    /// # Errors
    /// See [`CommitTimeError`].
    pub fn commit_time(&self, folder: &Path) -> Result<i64, CommitTimeError> {
        let output = Command::new(&self.program)
            // The folder is trusted to be read, whoever owns it.
            .args(["-c", "safe.directory=*", "-c", "core.fsmonitor=false", "cat-file", "commit", "HEAD"])
            .current_dir(folder)
            .env_clear()
            .envs(self.env.iter().map(|(key, value)| (key, value)))
            .env("PATH", &self.path)
            .env("LC_ALL", "C.UTF-8")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .stdin(Stdio::null())
            .output()
            .map_err(|source| CommitTimeError::NotRun { program: self.program.display().to_string(), source })?;
        let none = |message: &str| CommitTimeError::NoCommit { folder: folder.to_owned(), message: message.to_owned() };
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(none(said.trim_end().lines().last().unwrap_or("git failed")));
        }
        committed(&String::from_utf8_lossy(&output.stdout)).ok_or_else(|| none("the commit has no time"))
    }
}

/// Of a commit object: `committer NAME <MAIL> SECONDS ZONE`.
fn committed(object: &str) -> Option<i64> {
    let line = object.lines().take_while(|line| !line.is_empty()).find_map(|line| line.strip_prefix("committer "))?;
    line.rsplit(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::committed;

    #[test]
    fn the_committers_time_counts() {
        let object = "tree 0\nauthor A B <a@b> 5 +0000\ncommitter C <c@d> 1700000000 +0200\n\ncommitter x 9 +0000\n";
        assert_eq!(committed(object), Some(1_700_000_000));
        assert_eq!(committed("tree 0\n\ncommitter x 9 +0000\n"), None);
        assert_eq!(committed(""), None);
    }
}
