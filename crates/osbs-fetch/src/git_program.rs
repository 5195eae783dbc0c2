//! Runs the git program: with nothing of the caller's environment or configuration, no transport but http and https, no
//! credential helper, hook, filter or template, bounded in output and disk, and killed with all that it started.

use crate::{FetchError, GitProgram};
use osbs_sandbox::ProcessId;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, ChildStdout, Command};

/// Most bytes of git's words and of a small answer that are kept.
const MAX_OUTPUT: u64 = 1 << 20;
/// How often the size of what git fetches is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// The first git that can be told which addresses to connect to.
const NEEDED: (u32, u32) = (2, 37);

/// Settings of every run, with what they prevent.
const SETTINGS: &[(&str, &str)] = &[
    // A redirect would lead where nobody has looked; it also switches off `http-alternates`.
    ("http.followRedirects", "false"),
    ("fetch.fsckObjects", "true"),
    ("transfer.fsckObjects", "true"),
    // Old mistakes of real repositories that harm nobody.
    ("fetch.fsck.zeroPaddedFilemode", "ignore"),
    ("fetch.fsck.badTimezone", "ignore"),
    ("fetch.fsck.missingSpaceBeforeDate", "ignore"),
    // Other URLs that a server could name.
    ("transfer.bundleURI", "false"),
    ("fetch.uriProtocols", ""),
    ("fetch.recurseSubmodules", "false"),
    ("submodule.recurse", "false"),
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.askPass", ""),
    ("credential.helper", ""),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    // One pack, whose size can be looked at, instead of many files.
    ("fetch.unpackLimit", "1"),
    ("tar.umask", "0022"),
    ("protocol.version", "2"),
    // Large objects are streamed, and packs are looked at through small windows: all of it fits into the memory limit.
    ("core.bigFileThreshold", "32m"),
    ("core.packedGitWindowSize", "32m"),
    ("core.packedGitLimit", "256m"),
    ("pack.threads", "2"),
];

/// One repository folder and how git is run there.
pub(crate) struct Git<'a> {
    pub program: &'a GitProgram,
    /// Address space of each process, in bytes.
    pub memory: u64,
    /// `GIT_DIR`.
    pub folder: &'a Path,
    /// More settings; they go by the environment, which others cannot read, not by the command line.
    pub settings: Vec<(String, String)>,
}

/// What a run left.
#[derive(Debug)]
pub(crate) struct Ended {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

/// A running git. Dropped, it is killed with the programs it started (`git-remote-https`, `index-pack`), which would wait
/// for their server even without it.
pub(crate) struct Running {
    child: Child,
    leader: Option<ProcessId>,
}

impl Drop for Running {
    fn drop(&mut self) {
        const KILL: i32 = 9;
        if let Some(leader) = &self.leader {
            // Gone already: nothing to kill.
            let _ = leader.kill_group(KILL);
        }
    }
}

impl Running {
    pub(crate) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Waits for the end; what of its output was not taken is kept up to a limit.
    pub(crate) async fn end(mut self) -> std::io::Result<Ended> {
        let (stdout, stderr) = (self.child.stdout.take(), self.child.stderr.take());
        let (stdout, stderr) = tokio::join!(kept(stdout), kept(stderr));
        let status = self.child.wait().await?;
        self.leader = None;
        Ok(Ended { status, stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() })
    }
}

/// The start of what comes; the rest is read and dropped, for git must not wait for us.
async fn kept(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut start = Vec::new();
    if let Some(mut stream) = stream {
        let _ = (&mut stream).take(MAX_OUTPUT).read_to_end(&mut start).await;
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    }
    start
}

impl Git<'_> {
    pub(crate) fn spawn<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Running, FetchError> {
        // The shell sets the limit before it becomes git, so that all that git starts has it too. Where a lower limit
        // holds already, that one stays.
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "ulimit -v \"$0\" 2>/dev/null; exec \"$@\""])
            .arg((self.memory / 1024).to_string())
            .arg(&self.program.program)
            .env_clear()
            .env("PATH", &self.program.path)
            .env("LC_ALL", "C.UTF-8")
            .env("HOME", self.folder)
            .env("GIT_DIR", self.folder)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_ALLOW_PROTOCOL", "http:https")
            .env("GIT_PROTOCOL_FROM_USER", "0")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_LITERAL_PATHSPECS", "1")
            .env("GIT_OPTIONAL_LOCKS", "0");
        let own = self.settings.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let mut count = 0;
        for (key, value) in SETTINGS.iter().copied().chain(own) {
            command.env(format!("GIT_CONFIG_KEY_{count}"), key).env(format!("GIT_CONFIG_VALUE_{count}"), value);
            count += 1;
        }
        command
            .env("GIT_CONFIG_COUNT", count.to_string())
            .args(args)
            .current_dir(self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let child = command.spawn().map_err(FetchError::local("run git"))?;
        let leader = child.id().and_then(|pid| ProcessId::of(pid).ok());
        Ok(Running { child, leader })
    }

    pub(crate) async fn run(&self, args: &[&str]) -> Result<Ended, FetchError> {
        self.spawn(args)?.end().await.map_err(FetchError::local("run git"))
    }

    /// Runs git as long as its folder stays below a size.
    pub(crate) async fn run_below(&self, args: &[&str], bytes: u64) -> Result<Option<Ended>, FetchError> {
        let mut ended = std::pin::pin!(self.spawn(args)?.end());
        loop {
            match tokio::time::timeout(LOOK, &mut ended).await {
                Ok(ended) => {
                    let fits = size_of(self.folder) <= bytes;
                    return ended.map(|ended| fits.then_some(ended)).map_err(FetchError::local("run git"));
                }
                Err(_) if size_of(self.folder) > bytes => return Ok(None),
                Err(_) => {}
            }
        }
    }

    /// A git too old to be told addresses would resolve the name again by itself.
    pub(crate) async fn check_version(&self) -> Result<(), FetchError> {
        let ended = self.run(&["version"]).await?;
        let text = String::from_utf8_lossy(&ended.stdout).trim().to_owned();
        if version(&text).is_some_and(|found| found >= NEEDED) {
            return Ok(());
        }
        Err(FetchError::GitVersion { needed: "2.37", found: format!("this is {text:?}") })
    }
}

/// Major and minor out of `git version 2.47.3`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.strip_prefix("git version ")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Bytes of the files below a folder, links not followed. What vanishes meanwhile does not count.
fn size_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| {
        let about = entry.metadata().ok()?;
        Some(if about.is_dir() { size_of(&entry.path()) } else { about.len() })
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(version("git version 2.47.3"), Some((2, 47)));
        assert_eq!(version("git version 2.39.5 (Apple Git-154)"), Some((2, 39)));
        assert_eq!(version("git 3"), None);
        assert!(version("git version 2.30.2").is_some_and(|found| found < NEEDED));
    }
}
