//! The time of the commit that is checked out in a folder, for `--reproducible`.
//!
//! Asks git for one object. Nothing that the repository configures is run.

use osbs_types::{ErrorKind, Failure};
use std::path::Path;
use std::process::{Command, Stdio};

/// Seconds since 1970 at which HEAD was committed.
pub(super) fn commit_time(folder: &Path) -> Result<i64, Failure> {
    let output = Command::new("git")
        // The folder is the user's word; an object is read, nothing of it is run.
        .args(["-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-C"])
        .arg(folder)
        .args(["cat-file", "commit", "HEAD"])
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure::new(ErrorKind::Resource, &error).with_hint("--reproducible needs git: install it"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let message = format!("{} holds no commit: {}", folder.display(), said.lines().last().unwrap_or_default());
        return Err(Failure::message(ErrorKind::User, message).with_hint(
            "--reproducible takes the time of the commit; outside a git checkout give --source-date-epoch",
        ));
    }
    committed(&String::from_utf8_lossy(&output.stdout))
        .ok_or_else(|| Failure::message(ErrorKind::User, format!("the commit of {} has no time", folder.display())))
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
