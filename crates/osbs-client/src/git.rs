//! Checking out one commit of a git repository, by the `git` program.
//!
//! URL, branch and ref come from strangers: they never stand where an option could, only known transports are allowed, and
//! hooks, templates, submodules and the caller's configuration stay out. The files that come out are as hostile as before;
//! read them through `osbs_sandbox::rooted`.

mod classify;
mod commit_time;
mod error;

pub use commit_time::CommitTimeError;
pub use error::GitError;

use classify::classify;
use osbs_sandbox::ProcessId;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

/// Transports that are allowed; `ext::` and friends would run programs.
const PROTOCOLS: &str = "file:http:https:ssh:git";

/// How git is run.
#[derive(Debug, Clone)]
pub struct Git {
    /// The program, found on `path` if it is a bare name.
    pub program: PathBuf,
    /// Its `PATH`.
    pub path: OsString,
    /// More of its environment: proxies. Everything else of the caller's is left out.
    pub env: Vec<(OsString, OsString)>,
    /// Waits before another try when a server fails; their number is the number of tries.
    pub retry_after: Vec<Duration>,
    /// Longest time for one run of git.
    pub time_limit: Duration,
}

/// What to check out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckoutRequest {
    /// The repository: URL, `host:path`, or folder.
    pub uri: String,
    /// A branch that must exist; it is searched for the ref.
    pub branch: Option<String>,
    /// Commit (also abbreviated), tag or branch.
    pub git_ref: String,
    /// How many commits to fetch before the wanted one; `None` = just that one where the server can, and all otherwise.
    pub depth: Option<u32>,
}

/// A checked out commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// The work tree.
    pub root: PathBuf,
    /// Its commit id.
    pub commit: String,
}

impl Git {
    /// `git` on that `PATH`, with two more tries after 2 and 10 s, and half an hour of patience.
    pub fn new(path: impl Into<OsString>) -> Self {
        Self {
            program: "git".into(),
            path: path.into(),
            env: Vec::new(),
            retry_after: [2, 10].map(Duration::from_secs).to_vec(),
            time_limit: Duration::from_mins(30),
        }
    }

    /// Checks the commit out into the folder `into`, which is made and must not hold a repository yet.
    ///
    /// # Errors
    /// See [`GitError`]; failures of kind remote have been tried again.
    pub async fn checkout(
        &self,
        request: &CheckoutRequest,
        into: &Path,
        cancel: &CancellationToken,
    ) -> Result<Checkout, GitError> {
        check(request)?;
        make_repository(into)?;
        let mut waits = self.retry_after.iter();
        loop {
            match self.fetch(request, into, cancel).await {
                Ok(()) => break,
                Err(error) => match waits.next().filter(|_| error.may_pass()) {
                    Some(wait) => pause(*wait, request, cancel).await?,
                    None => return Err(error),
                },
            }
        }
        self.run(into, &["checkout", "--quiet", "--force", "--detach", "refs/osbs/wanted", "--"], request, cancel)
            .await?;
        // A detached HEAD is the commit id itself.
        let head = into.join(".git/HEAD");
        let commit = std::fs::read_to_string(&head).map_err(folder_failed(&head))?.trim().to_owned();
        Ok(Checkout { root: into.to_owned(), commit })
    }

    /// Leaves the wanted commit in `refs/osbs/wanted`.
    async fn fetch(&self, request: &CheckoutRequest, into: &Path, cancel: &CancellationToken) -> Result<(), GitError> {
        let depth = format!("--depth={}", request.depth.unwrap_or(1));
        let wanted = format!("+{}:refs/osbs/wanted", request.git_ref);
        let branch = request.branch.as_ref().map(|branch| format!("+refs/heads/{branch}:refs/osbs/branch"));
        // One small request serves full commit ids, tags and branches.
        let mut args = vec!["fetch", "--quiet", "--no-tags", "--no-recurse-submodules", &depth, "--", &request.uri];
        args.extend(branch.as_deref());
        args.push(&wanted);
        match self.run(into, &args, request, cancel).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_missing_ref() => {}
            Err(error) => return Err(error),
        }
        // An abbreviated id, or a server that gives only what it advertises: fetch the branch, or everything.
        let all = ["+refs/heads/*:refs/osbs/heads/*", "+refs/tags/*:refs/tags/*"];
        let mut args = vec!["fetch", "--quiet", "--no-tags", "--no-recurse-submodules"];
        if into.join(".git/shallow").exists() {
            args.push("--unshallow");
        }
        args.extend(["--", &request.uri]);
        match &branch {
            Some(branch) => args.push(branch),
            None => args.extend(all),
        }
        self.run(into, &args, request, cancel).await?;
        let commit = format!("{}^{{commit}}", request.git_ref);
        let args = ["rev-parse", "--quiet", "--verify", "--end-of-options", &commit];
        let Ok(id) = self.run(into, &args, request, cancel).await else {
            return Err(GitError::RefNotFound { request: request.clone() });
        };
        self.run(into, &["update-ref", "refs/osbs/wanted", &id], request, cancel).await.map(drop)
    }

    async fn run(
        &self,
        folder: &Path,
        args: &[&str],
        request: &CheckoutRequest,
        cancel: &CancellationToken,
    ) -> Result<String, GitError> {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .envs(self.env.iter().map(|(key, value)| (key, value)))
            .env("PATH", &self.path)
            .env("LC_ALL", "C.UTF-8")
            .env("HOME", folder)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", folder.join(OWN_CONFIGURATION))
            .env("GIT_CEILING_DIRECTORIES", folder.parent().unwrap_or(folder))
            .env("GIT_ALLOW_PROTOCOL", PROTOCOLS)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes")
            .args(["-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0", "-c", "advice.detachedHead=false"])
            .args(["-c", "core.fsmonitor=false", "-c", "protocol.version=2"])
            .args(args)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let child = command
            .spawn()
            .map_err(|source| GitError::NotRun { program: self.program.display().to_string(), source })?;
        let leader = child.id().and_then(|pid| ProcessId::of(pid).ok());
        let mut ended = std::pin::pin!(child.wait_with_output());
        // After `ended`, to be dropped before it: a leader that is killed and reaped no longer stands for its group.
        let mut group = Group(leader);
        let output = tokio::select! {
            output = &mut ended => output,
            () = cancel.cancelled() => return Err(GitError::Cancelled { uri: request.uri.clone() }),
            () = tokio::time::sleep(self.time_limit) => {
                return Err(GitError::TooSlow { uri: request.uri.clone(), seconds: self.time_limit.as_secs() });
            }
        };
        group.0 = None;
        let output =
            output.map_err(|source| GitError::NotRun { program: self.program.display().to_string(), source })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        Err(classify(request, &String::from_utf8_lossy(&output.stderr)))
    }
}

/// A running git and the programs it starts (`git-remote-https`, ssh), which wait for their server even without it. In a
/// group of their own, an interrupt at the terminal is ours to pass on.
struct Group(Option<ProcessId>);

impl Drop for Group {
    fn drop(&mut self) {
        const KILL: i32 = 9;
        if let Some(git) = &self.0 {
            // Gone already: nothing to kill.
            let _ = git.kill_group(KILL);
        }
    }
}

/// The only configuration git reads beside the repository's own.
const OWN_CONFIGURATION: &str = ".git/osbs-configuration";

/// Objects are checked as they come, but for old mistakes of real repositories that harm nobody.
const OWN_SETTINGS: &str = "[safe]\n\tdirectory = *\n[fetch]\n\tfsckObjects = true\n[fetch \"fsck\"]\n\
    \tzeroPaddedFilemode = ignore\n\tbadTimezone = ignore\n\tmissingSpaceBeforeDate = ignore\n";

fn folder_failed(path: &Path) -> impl FnOnce(std::io::Error) -> GitError {
    move |source| GitError::Folder { path: path.display().to_string(), source }
}

/// An empty repository, as `git init` without any template makes it, and [`OWN_CONFIGURATION`]. A repository on this
/// machine may belong to the user for whom root builds, so its owner is not asked for; what is in its configuration has no
/// say in a fetch from it.
fn make_repository(root: &Path) -> Result<(), GitError> {
    for folder in [".git/objects", ".git/refs"] {
        let path = root.join(folder);
        std::fs::create_dir_all(&path).map_err(folder_failed(&path))?;
    }
    for (file, text) in [
        (".git/HEAD", "ref: refs/heads/osbs\n"),
        (".git/config", "[core]\n\trepositoryformatversion = 0\n\tbare = false\n"),
        (OWN_CONFIGURATION, OWN_SETTINGS),
    ] {
        let path = root.join(file);
        std::fs::write(&path, text).map_err(folder_failed(&path))?;
    }
    Ok(())
}

async fn pause(wait: Duration, request: &CheckoutRequest, cancel: &CancellationToken) -> Result<(), GitError> {
    tokio::select! {
        () = tokio::time::sleep(wait) => Ok(()),
        () = cancel.cancelled() => Err(GitError::Cancelled { uri: request.uri.clone() }),
    }
}

/// Whether a text can be a ref: no option, none of what git's own check refuses.
fn is_ref(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(['-', '/', '+'])
        && !text.ends_with(['/', '.'])
        && !text.contains("..")
        && !text.contains("@{")
        && text.chars().all(|c| !c.is_control() && !" ~^:?*[\\".contains(c))
}

/// `[USER@]HOST:PATH`, as git knows it from ssh: a colon before any slash.
fn is_host_and_path(uri: &str) -> bool {
    uri.split('/').next().is_some_and(|first| first.contains(':'))
}

fn check(request: &CheckoutRequest) -> Result<(), GitError> {
    let uri = request.uri.as_str();
    if uri.is_empty() || uri.starts_with('-') || uri.contains(['\0', '\n']) {
        return Err(GitError::BadUri { uri: uri.to_owned() });
    }
    if let Some((_, rest)) = uri.split_once("://") {
        let authority = rest.split('/').next().unwrap_or_default();
        if authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':')) {
            return Err(GitError::PasswordInUri);
        }
    } else if !uri.starts_with('/') && !is_host_and_path(uri) {
        // The build would look for it in another folder than whoever asked for it.
        return Err(GitError::RelativePath { uri: uri.to_owned() });
    }
    for name in std::iter::once(&request.git_ref).chain(&request.branch) {
        if !is_ref(name) {
            return Err(GitError::BadRef { name: name.clone() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_request(uri: &str, branch: Option<&str>, git_ref: &str, good: bool) {
        let request = CheckoutRequest {
            uri: uri.into(),
            branch: branch.map(str::to_owned),
            git_ref: git_ref.into(),
            depth: None,
        };
        assert_eq!(check(&request).is_ok(), good, "{request:?}");
    }

    #[test]
    fn no_options_and_no_passwords() {
        check_request("https://git.example.com/web.git", Some("f40"), "4f2c1d0", true);
        check_request("git@git.example.com:web.git", None, "v1.0", true);
        check_request("https://alice@git.example.com/web", None, "feature/x", true);
        check_request("https://alice:pw@git.example.com/web", None, "main", false);
        check_request("--upload-pack=touch /tmp/x", None, "main", false);
        check_request("", None, "main", false);
        check_request("/srv/git/web", None, "main", true);
        check_request("git.example.com:web", None, "main", true);
        for relative in ["web", "./web", "../web", "git/web:1", "web.git"] {
            check_request(relative, None, "main", false);
        }
        for bad in ["", "-x", "--all", "a..b", "a b", "a:b", "a^", "a~1", "@{u}", "a\nb", "+main", "/x", "x/"] {
            check_request("https://h/x", None, bad, false);
            check_request("https://h/x", Some(bad), "main", false);
        }
    }
}
