//! Checks a git ref out. Runs the `git` program with an environment of its own.

use crate::build_json::SourceSpec;
use crate::plugin::PluginError;
use crate::run::Run;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// How often and how patiently git is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GitPolicy {
    /// Further attempts of a clone after a failure that may pass.
    pub retries: u32,
    /// Before the first of them; doubled each time.
    pub delay: Duration,
    /// How often a shallow clone that lacks the commit is deepened.
    pub deepen: u32,
}

impl Default for GitPolicy {
    /// `reactor.md` 1.2: 3 retries after `60 * 2^n` seconds, 9 deepenings.
    fn default() -> Self {
        Self { retries: 3, delay: Duration::from_secs(60), deepen: 9 }
    }
}

/// Clones into `root`, which does not exist yet, and gives the commit id of what is checked out.
pub(super) async fn clone(run: &Run, spec: &SourceSpec, root: &Path) -> Result<String, PluginError> {
    let policy = run.services.git;
    let params = &spec.provider_params;
    let wanted = params.git_commit.as_deref().unwrap_or("master");
    for value in [Some(wanted), params.git_branch.as_deref(), Some(spec.uri.as_str())].into_iter().flatten() {
        if value.starts_with('-') {
            return Err(PluginError::user(format!("{value:?} is neither a git URL nor a git ref")));
        }
    }
    let mut attempt = 0;
    let mut delay = policy.delay;
    loop {
        match clone_once(run, spec, root).await {
            Ok(()) => break,
            Err(error) if attempt < policy.retries && may_pass(&error) => {
                run.log().warning(format!("git clone failed, trying again in {} s: {error}", delay.as_secs()));
                tokio::time::sleep(delay).await;
                attempt += 1;
                delay *= 2;
                let _ = std::fs::remove_dir_all(root);
            }
            Err(error) => return Err(error),
        }
    }
    let depth = params.git_commit_depth.filter(|_| params.git_branch.is_some());
    let mut deepened = 0;
    loop {
        let Err(error) = reset(run, root, wanted).await else { break };
        let Some(depth) = depth.filter(|_| deepened < policy.deepen) else { return Err(error) };
        deepened += 1;
        let by = format!("--deepen={depth}");
        git(run, Some(root), &["fetch", "--quiet", &by, "origin"]).await?;
    }
    let head = git(run, Some(root), &["rev-parse", "HEAD"]).await?;
    run.log().info(format!("checked out {wanted} of {}: commit {}", spec.uri, head.trim()));
    Ok(head.trim().to_owned())
}

async fn clone_once(run: &Run, spec: &SourceSpec, root: &Path) -> Result<(), PluginError> {
    let params = &spec.provider_params;
    let depth = params.git_commit_depth.map(|depth| depth.to_string());
    let mut args = vec!["clone", "--quiet", "--no-checkout"];
    if let Some(branch) = &params.git_branch {
        args.extend(["-b", branch.as_str(), "--single-branch"]);
        if let Some(depth) = &depth {
            args.extend(["--depth", depth.as_str()]);
        }
    }
    let root = root.to_string_lossy().into_owned();
    args.extend(["--", spec.uri.as_str(), root.as_str()]);
    git(run, None, &args).await.map(|_| ())
}

/// Resets to a commit, tag or branch; a branch name means the remote's.
async fn reset(run: &Run, root: &Path, wanted: &str) -> Result<(), PluginError> {
    let remote = format!("origin/{wanted}");
    for name in [remote.as_str(), wanted] {
        let commit = format!("{name}^{{commit}}");
        if git(run, Some(root), &["rev-parse", "--quiet", "--verify", &commit]).await.is_ok() {
            return git(run, Some(root), &["reset", "--quiet", "--hard", name]).await.map(|_| ());
        }
    }
    Err(PluginError::user(format!("the repository has no commit, branch or tag {wanted:?}"))
        .with_hint("push the commit, or name one that is there"))
}

/// Failures after which another try makes sense; what is wrong in the request stays wrong.
fn may_pass(error: &PluginError) -> bool {
    matches!(error, PluginError::Failed(failure) if failure.kind == osbs_types::ErrorKind::Remote)
}

async fn git(run: &Run, folder: Option<&Path>, args: &[&str]) -> Result<String, PluginError> {
    let mut command = Command::new("git");
    command
        .env_clear()
        .env("PATH", &run.services.program_path)
        .env("LC_ALL", "C.UTF-8")
        .env("HOME", "/nonexistent")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ALLOW_PROTOCOL", "https:http:ssh:git:file")
        .args(["-c", "core.hooksPath=/dev/null", "-c", "safe.directory=*", "-c", "gc.auto=0"])
        .args(args)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if let Some(folder) = folder {
        command.current_dir(folder);
    }
    let output = command.output().await.map_err(|error| {
        PluginError::resource(format!("git cannot be run: {error}")).with_hint("install the package git")
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let permanent = ["not found", "does not exist", "not appear to be a git", "could not read Username", "not allowed"];
    let verb = args.first().copied().unwrap_or_default();
    let message = format!("git {verb} failed: {text}");
    Err(if permanent.iter().any(|part| text.contains(part)) {
        PluginError::user(message).with_hint("check the repository's URL, the branch and who may read it")
    } else {
        PluginError::remote(message)
    })
}
