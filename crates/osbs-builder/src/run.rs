//! RUN: one container in the stage's root.

use crate::accounts::{rooted, run_as};
use crate::config_change::StageConfig;
use crate::error::{BuildError, InstructionError};
use crate::request::RunNetwork as DefaultNetwork;
use crate::run_mounts::RunMounts;
use crate::variables::{GlobalArgs, env_value};
use osbs_dockerfile::{Heredoc, Run, RunNetwork, RunProgram, RunSecurity};
use osbs_sandbox::rooted::Root;
use osbs_sandbox::{Network, RunSpec, Runtime, RuntimeError};
use std::collections::VecDeque;
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// Docker's default, when the image has none.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// So much of a failed command's output is kept for the error.
const LAST_LINES: usize = 20;
/// Longer lines are cut in the error, not in the log.
const LINE_LENGTH: usize = 400;

/// What a RUN works with.
pub(crate) struct RunContext<'a> {
    pub config: &'a StageConfig,
    pub global: &'a GlobalArgs,
    pub runtime: &'a Runtime,
    pub network: DefaultNetwork,
    pub cgroup: Option<&'a str>,
    /// The mounted root.
    pub root: &'a Path,
    /// A new folder of this RUN's own.
    pub scratch: &'a Path,
    /// Gets each line of output.
    pub on_line: &'a dyn Fn(&[u8]),
    pub cancel: &'a CancellationToken,
}

/// Runs the command to its end.
pub(crate) fn run(
    context: &RunContext<'_>,
    run: &Run,
    heredocs: &[Heredoc],
    mut mounts: RunMounts,
) -> Result<(), InstructionError> {
    if run.security == Some(RunSecurity::Insecure) {
        let instead = Some("leave --security out".into());
        return Err(InstructionError::Unsupported { what: "RUN --security=insecure".into(), instead });
    }
    let args = match run.program(heredocs) {
        RunProgram::Exec(args) => args,
        RunProgram::Shell(text) => {
            let mut args = context.config.shell();
            args.push(text);
            args
        }
        RunProgram::Script { content, .. } => vec![mounts.script(context.scratch, &content)?],
    };
    let root = Root::open(context.root).map_err(rooted)?;
    let (user, home) = run_as(&root, &context.config.image.config.user)?;
    drop(root);
    let mut env = context.config.args.run_environment(context.config.env(), context.global);
    if env_value(&env, "PATH").is_none() {
        env.insert(0, PATH.to_owned());
    }
    if env_value(&env, "HOME").is_none() {
        env.push(format!("HOME={}", home.as_deref().unwrap_or("/")));
    }
    env.append(&mut mounts.env);

    let bundle = context.scratch.join("bundle");
    std::fs::create_dir_all(&bundle)
        .map_err(|e| crate::FileError::new("create", &bundle, e).located(context.scratch))?;
    let mut spec = RunSpec::new(context.root, &bundle, args);
    spec.env = env;
    spec.cwd = match context.config.image.config.working_dir.as_str() {
        "" => "/".to_owned(),
        folder => folder.to_owned(),
    };
    spec.user = user;
    spec.network = match (run.network, context.network) {
        (Some(RunNetwork::None), _) | (None | Some(RunNetwork::Default), DefaultNetwork::None) => Network::None,
        _ => Network::Host,
    };
    spec.mounts.clone_from(&mounts.binds);
    spec.tmpfs.clone_from(&mounts.tmpfs);
    spec.cgroup_path = context.cgroup.map(str::to_owned);
    execute(context, &spec, &mounts)
}

fn execute(context: &RunContext<'_>, spec: &RunSpec<'_>, mounts: &RunMounts) -> Result<(), InstructionError> {
    let mut last = VecDeque::with_capacity(LAST_LINES);
    let outcome = osbs_sandbox::run(
        context.runtime,
        spec,
        &mut |_, line| {
            let line = mounts.redact(line);
            (context.on_line)(&line);
            if last.len() == LAST_LINES {
                last.pop_front();
            }
            last.push_back(shortened(&line));
        },
        context.cancel,
    );
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(RuntimeError::Cancelled) => return Err(BuildError::Cancelled.into()),
        Err(error) => return Err(InstructionError::Runtime(error)),
    };
    if outcome.exit_code == 0 && outcome.signal.is_none() {
        return Ok(());
    }
    if context.cancel.is_cancelled() {
        return Err(BuildError::Cancelled.into());
    }
    let last_lines: Vec<String> = last.into();
    let hint = disk_hint(&last_lines, context.scratch);
    Err(InstructionError::Command { exit_code: outcome.exit_code, signal: outcome.signal, last_lines, hint })
}

fn shortened(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(&line[..line.len().min(4 * LINE_LENGTH)]);
    let text = text.trim_end_matches('\r');
    match text.char_indices().nth(LINE_LENGTH) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None if line.len() > 4 * LINE_LENGTH => format!("{text}..."),
        None => text.to_owned(),
    }
}

/// A command that met a full disk says so in its own words only.
fn disk_hint(last_lines: &[String], scratch: &Path) -> Option<String> {
    let said = last_lines.iter().any(|line| line.contains("No space left on device") || line.contains("ENOSPC"));
    let stat = rustix::fs::statvfs(scratch).ok();
    let full = stat.is_some_and(|stat| stat.f_bavail * stat.f_frsize < 1 << 20 || stat.f_favail == 0);
    // A quota, or files that were removed when the command ended, leave room again.
    (said || full).then(|| format!("disk full: {}", crate::disk::describe(scratch)))
}
