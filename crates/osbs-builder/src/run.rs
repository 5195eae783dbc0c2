//! RUN: one container in the stage's root.

use crate::accounts::rooted;
use crate::config_change::StageConfig;
use crate::error::{BuildError, InstructionError};
use crate::request::{RunLimits, RunNetwork as DefaultNetwork};
use crate::run_mounts::RunMounts;
use crate::variables::{GlobalArgs, env_value};
use osbs_dockerfile::{Heredoc, Run, RunNetwork, RunProgram, RunSecurity};
use osbs_sandbox::rooted::Root;
use osbs_sandbox::{ContainerLimits, IdMap, LimitHit, Network, Output, RunSpec, Runtime, RuntimeError, Security, User};
use std::collections::VecDeque;
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// Docker's default, when the image has none.
pub(crate) const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
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
    pub limits: RunLimits,
    /// Whether `--security=insecure` is carried out.
    pub allow_insecure: bool,
    /// The mounted root.
    pub root: &'a Path,
    /// Of its user namespace, if it gets one; the root is mounted so.
    pub id_map: Option<&'static IdMap>,
    /// Who runs it, and where they are at home.
    pub user: User,
    pub home: Option<String>,
    /// A new folder of this RUN's own.
    pub scratch: &'a Path,
    /// Gets each line of output.
    pub on_line: &'a dyn Fn(&[u8]),
    pub cancel: &'a CancellationToken,
}

/// Whether it is to have no walls around it.
pub(crate) fn is_insecure(run: &Run) -> bool {
    run.security == Some(RunSecurity::Insecure)
}

/// Runs the command to its end.
pub(crate) fn run(
    context: &RunContext<'_>,
    run: &Run,
    heredocs: &[Heredoc],
    mut mounts: RunMounts,
) -> Result<(), InstructionError> {
    check_wishes(context, run)?;
    let args = match run.program(heredocs) {
        RunProgram::Exec(args) => args,
        RunProgram::Shell(text) => {
            let mut args = context.config.shell();
            args.push(text);
            args
        }
        RunProgram::Script { name, content } => vec![mounts.script(context.scratch, &name, &content)?],
    };
    let mut env = context.config.args.run_environment(context.config.env(), context.global);
    if env_value(&env, "PATH").is_none() {
        env.insert(0, PATH.to_owned());
    }
    if env_value(&env, "HOME").is_none() {
        env.push(format!("HOME={}", context.home.as_deref().unwrap_or("/")));
    }
    env.append(&mut mounts.env);
    if let Some(agent) = mounts.agent.take().filter(|_| env_value(&env, "SSH_AUTH_SOCK").is_none()) {
        env.push(format!("SSH_AUTH_SOCK={agent}"));
    }

    let bundle = mounts.bundle(context.scratch);
    std::fs::create_dir_all(&bundle)
        .map_err(|e| crate::FileError::new("create", &bundle, e).located(context.scratch))?;
    let mut spec = RunSpec::new(context.root, &bundle, args);
    spec.env = env;
    spec.cwd = match context.config.image.config.working_dir.as_str() {
        "" => "/".to_owned(),
        folder => folder.to_owned(),
    };
    spec.user = context.user.clone();
    spec.output = Output::Together;
    spec.network = match (run.network, context.network) {
        (Some(RunNetwork::None), _) | (None | Some(RunNetwork::Default), DefaultNetwork::None) => Network::None,
        _ => Network::Host,
    };
    spec.mounts.clone_from(&mounts.binds);
    spec.tmpfs.clone_from(&mounts.tmpfs);
    spec.cgroup_path = context.cgroup.map(str::to_owned);
    let RunLimits { memory, pids, milli_cpus, time } = context.limits;
    spec.limits = ContainerLimits { memory, pids, milli_cpus, time };
    spec.id_map = context.id_map;
    if is_insecure(run) {
        spec.security = Security::Insecure;
    } else {
        let root = Root::open(context.root).map_err(rooted)?;
        spec.no_new_privileges = needs_no_new_privileges(&root, &spec.user)?;
    }
    execute(context, &spec, &mounts)
}

/// What only the one who asks for the build may allow.
fn check_wishes(context: &RunContext<'_>, run: &Run) -> Result<(), InstructionError> {
    let refused = |what: &str, instead: &str| {
        Err(InstructionError::Unsupported { what: what.to_owned(), instead: Some(instead.to_owned()) })
    };
    if is_insecure(run) && !context.allow_insecure {
        return refused(
            "RUN --security=insecure in a build that does not allow it",
            "leave --security out, or build with --allow-insecure: the command is root of the machine then",
        );
    }
    if run.network == Some(RunNetwork::Host) && context.network == DefaultNetwork::None {
        return refused("RUN --network=host in a build without network", "leave --network out, or build with network");
    }
    Ok(())
}

/// Programs that take another user's place by being set-id, and that a command of root may mean to use after it has
/// become somebody else (`su builder -c 'sudo ...'`).
const SET_ID_WANTED: [&str; 6] =
    ["/usr/bin/sudo", "/bin/sudo", "/usr/local/bin/sudo", "/usr/bin/doas", "/bin/doas", "/usr/local/bin/doas"];

/// Set-id programs have no effect where nobody needs them: root need not become root. Another user may need them, and
/// gets them as in Docker.
fn needs_no_new_privileges(root: &Root, user: &User) -> Result<bool, InstructionError> {
    if user.uid != 0 {
        return Ok(false);
    }
    for program in SET_ID_WANTED {
        if root.stat(Path::new(program)).map_err(rooted)?.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
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
        Err(RuntimeError::TimeLimit { limit }) => {
            let what = "the running time of the command".to_owned();
            let advice = "let it do less, or build with a longer limit (--run-timeout)".to_owned();
            return Err(InstructionError::Limit {
                what,
                limit: format!("{} s", limit.as_secs_f64()),
                advice: Some(advice),
            });
        }
        Err(error) => return Err(InstructionError::Runtime(error)),
    };
    if outcome.exit_code == 0 && outcome.signal.is_none() {
        return Ok(());
    }
    if context.cancel.is_cancelled() {
        return Err(BuildError::Cancelled.into());
    }
    let last_lines: Vec<String> = last.into();
    let hint = (outcome.limit.map(limit_hint))
        .or_else(|| disk_hint(&last_lines, context.scratch))
        .or_else(|| containment_hint(&last_lines, spec));
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

fn limit_hint(limit: LimitHit) -> String {
    match limit {
        LimitHit::Memory(_) => {
            format!("a process was killed by {limit}; let it use less, or build with more (--memory)")
        }
        LimitHit::Pids(_) => format!("it met {limit}; let it start fewer at a time, or build with more (--pids-limit)"),
    }
}

/// What our walls refuse and Docker's do not, if the command seems to have met one.
fn containment_hint(last_lines: &[String], spec: &RunSpec<'_>) -> Option<String> {
    let said = |words: &[&str]| last_lines.iter().any(|line| words.iter().all(|word| line.contains(word)));
    let device = said(&["mknod", "Operation not permitted"]) || said(&["cpio: mknod"]);
    if spec.id_map.is_some() && device {
        return Some("in a user namespace no device nodes can be made; build without one (--userns off)".into());
    }
    let port = said(&["bind", "ermission denied"])
        || said(&["socket", "not permitted"])
        || said(&["ping", "ermission denied"]);
    if spec.id_map.is_some() && spec.network == Network::Host && port {
        let what = "ports below 1024 and raw sockets of the machine's network are not for a user namespace";
        return Some(format!("{what}; use another port or RUN --network=none, or build with --userns off"));
    }
    let set_id = said(&["setuid"]) || said(&["must be suid"]) || said(&["no new privileges"]);
    (spec.no_new_privileges && set_id).then(|| {
        "set-id programs have no effect in a RUN of root, unless sudo or doas was in the image before it: \
         install it in an earlier RUN"
            .into()
    })
}

/// A command that met a full disk says so in its own words only.
fn disk_hint(last_lines: &[String], scratch: &Path) -> Option<String> {
    let said = last_lines.iter().any(|line| line.contains("No space left on device") || line.contains("ENOSPC"));
    let stat = rustix::fs::statvfs(scratch).ok();
    let full = stat.is_some_and(|stat| stat.f_bavail * stat.f_frsize < 1 << 20 || stat.f_favail == 0);
    // A quota, or files that were removed when the command ended, leave room again.
    (said || full).then(|| format!("disk full: {}", crate::disk::describe(scratch)))
}
