//! One container from start to end: its output, cancellation, and nothing left of it.
//!
//! The runtime is started by pid 1 of a pid namespace of its own ([`Reaper`]). So killing that one process kills the
//! container and all that ever ran in it, in whatever state the runtime is, and the kernel does just that when the calling
//! thread dies.

use crate::container_config::config;
use crate::id_map::FIRST;
use crate::mount_points::MountPoints;
use crate::place::Place;
use crate::reaper::Reaper;
use crate::rootless::{in_user_namespace, without_privileges};
use crate::run_group::{LimitHit, RunGroup};
use crate::run_spec::{BindMount, Network, Output, RunSpec, StreamId};
use crate::running::{Running, Stop};
use crate::supervise::spawn_isolated_then;
use crate::{Isolation, ProcessError, Runtime, RuntimeError};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio_util::sync::CancellationToken;

/// How a container ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunOutcome {
    /// Exit code of the program; 128 + signal when a signal ended it (or, in a shell, its last child).
    pub exit_code: i32,
    /// The signal that `exit_code` speaks of, if it does.
    pub signal: Option<i32>,
    /// The limit it met on its way, which may be why it failed.
    pub limit: Option<LimitHit>,
}

impl RunOutcome {
    fn from_code(exit_code: i32) -> Self {
        let signal = (129..=128 + 64).contains(&exit_code).then(|| exit_code - 128);
        Self { exit_code, signal, limit: None }
    }
}

/// Runs one container to its end and hands every output line, without its newline, to `on_line`; lines of more than 16
/// MiB come in pieces. A trivial one takes about 40 ms.
///
/// # Errors
/// [`RuntimeError::Cancelled`] within a second of `cancel`, with the container and all its processes gone;
/// [`RuntimeError::TimeLimit`] likewise when its time was over; [`RuntimeError::Start`] when the program could not be
/// started; [`RuntimeError::LimitTooLow`] when a limit left no room to start it. A program that fails is not an error.
pub fn run(
    runtime: &Runtime,
    spec: &RunSpec<'_>,
    on_line: &mut dyn FnMut(StreamId, &[u8]),
    cancel: &CancellationToken,
) -> Result<RunOutcome, RuntimeError> {
    if cancel.is_cancelled() {
        return Err(RuntimeError::Cancelled);
    }
    let files = BundleFiles::new(spec.bundle_dir);
    files.clear()?;
    let rootless = in_user_namespace();
    if rootless && spec.limits.need_cgroup() {
        return Err(RuntimeError::LimitsNeedRoot);
    }
    let (points, binds) = MountPoints::prepare(spec, network_files(spec)).map_err(RuntimeError::MountPoint)?;
    let name = container_name();
    let parent = spec.cgroup_path.as_deref().unwrap_or_default().trim_end_matches('/');
    let group = RunGroup::make(&format!("{parent}/{name}"), spec.limits).map_err(RuntimeError::Process)?;
    let (place, binds) = match spec.id_map {
        Some(map) => Place::prepare(map, spec, binds).map(|(place, binds)| (Some(place), binds))?,
        None => (None, binds),
    };
    let mut document = config(spec, &binds, &group);
    if rootless {
        without_privileges(&mut document);
    }
    files.write_config(&document)?;
    let ended = start(runtime, spec, &files, &name, place)
        .and_then(|running| running.follow(on_line, cancel, spec.limits.time));
    let hit = group.hit();
    // With it the container's own, which the runtime has left there.
    let removed = group.remove().map_err(RuntimeError::Process);
    drop(points);
    let ended = ended?;
    let outcome = match (ended.stop, spec.limits.time) {
        (Some(Stop::Time), Some(limit)) => Err(RuntimeError::TimeLimit { limit }),
        (Some(_), _) => Err(RuntimeError::Cancelled),
        (None, _) => judge(runtime, spec, &files, ended.status),
    };
    let outcome = match (outcome, hit) {
        (Err(RuntimeError::Setup { .. }), Some(limit)) => Err(RuntimeError::LimitTooLow { limit }),
        (outcome, _) => outcome,
    };
    files.clear()?;
    removed.and(outcome).map(|outcome| RunOutcome { limit: hit, ..outcome })
}

/// Not twice at a time on one machine: a build is process 1 of its own pid namespace, as every other build is, so the
/// namespace belongs to the name.
fn container_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let namespace = std::fs::metadata("/proc/self/ns/pid").map_or(0, |metadata| metadata.ino());
    format!("osbs-{}-{namespace}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// With the machine's network comes the machine's way to find names.
fn network_files(spec: &RunSpec<'_>) -> Vec<BindMount> {
    let files: &[&str] = if spec.network == Network::Host { &["/etc/resolv.conf", "/etc/hosts"] } else { &[] };
    let present = files.iter().map(Path::new).filter(|file| file.is_file());
    present.map(|file| BindMount { source: file.into(), target: file.into(), readonly: true, mapped: false }).collect()
}

/// Our files in the bundle folder; gone when this is, for there may be secrets in them.
struct BundleFiles {
    config: PathBuf,
    state: PathBuf,
    log: PathBuf,
    pid: PathBuf,
}

impl BundleFiles {
    fn new(bundle: &Path) -> Self {
        let [config, state, log, pid] =
            ["config.json", "state", "runtime.log", "container.pid"].map(|name| bundle.join(name));
        Self { config, state, log, pid }
    }

    /// For our eyes and the runtime's: the environment may hold secrets.
    fn write_config(&self, config: &serde_json::Value) -> Result<(), RuntimeError> {
        let mut options = std::fs::File::options();
        let file = options.create_new(true).write(true).mode(0o600).open(&self.config);
        let written = file.and_then(|mut file| file.write_all(config.to_string().as_bytes()));
        written.map_err(|error| RuntimeError::io("write", &self.config, error))
    }

    fn clear(&self) -> Result<(), RuntimeError> {
        for (path, removed) in [
            (&self.state, std::fs::remove_dir_all(&self.state)),
            (&self.config, std::fs::remove_file(&self.config)),
            (&self.log, std::fs::remove_file(&self.log)),
            (&self.pid, std::fs::remove_file(&self.pid)),
        ] {
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(RuntimeError::io("remove", path, error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The runtime's last complaint. Of a program that started and failed it has none.
    fn complaint(&self) -> Option<String> {
        let log = std::fs::read_to_string(&self.log).ok()?;
        let mut records = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let bad = |record: &serde_json::Value| matches!(record["level"].as_str(), Some("error" | "fatal"));
        let last = records.rfind(bad)?;
        Some(last["msg"].as_str().unwrap_or_default().to_owned())
    }
}

impl Drop for BundleFiles {
    fn drop(&mut self) {
        // Told of by the call before, where all went well.
        let _ = self.clear();
    }
}

fn start(
    runtime: &Runtime,
    spec: &RunSpec<'_>,
    files: &BundleFiles,
    name: &str,
    place: Option<Place>,
) -> Result<Running, RuntimeError> {
    let refused = |error| RuntimeError::Process(ProcessError::refused("start", runtime.kind.as_str(), error));
    let mut command = Command::new(&runtime.program);
    command.arg("--root").arg(&files.state).arg("--log").arg(&files.log).args(["--log-format", "json"]);
    command.args(["run", "--detach", "--pid-file"]).arg(&files.pid).arg("--bundle").arg(spec.bundle_dir).arg(name);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir(spec.bundle_dir);
    let (out, out_end) = output_pipe(spec).map_err(refused)?;
    let (err, err_end) = match spec.output {
        Output::Together => (None, out_end.try_clone().map_err(refused)?),
        Output::Apart => output_pipe(spec).map(|(err, end)| (Some(err), end)).map_err(refused)?,
    };
    command.stdin(Stdio::null()).stdout(out_end).stderr(err_end);
    let reaper = Reaper::new(&files.pid).map_err(refused)?;
    let child = spawn_isolated_then(command, Isolation::FULL, move || {
        place.as_ref().map_or(Ok(()), Place::enter)?;
        reaper.split()
    });
    Running::new(child.map_err(RuntimeError::Process)?, out, err)
}

/// A pipe that the container's root owns, as it would if the runtime had made it: the program may open it by its name,
/// `/dev/stderr`.
fn output_pipe(spec: &RunSpec<'_>) -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    if spec.id_map.is_some() {
        let (user, group) = (rustix::fs::Uid::from_raw(FIRST), rustix::fs::Gid::from_raw(FIRST));
        rustix::fs::fchown(&write, Some(user), Some(group))?;
    }
    Ok((read, write))
}

fn judge(
    runtime: &Runtime,
    spec: &RunSpec<'_>,
    files: &BundleFiles,
    status: ExitStatus,
) -> Result<RunOutcome, RuntimeError> {
    use std::os::unix::process::ExitStatusExt as _;
    let Some(code) = status.code() else {
        return Err(RuntimeError::Killed { runtime: runtime.kind.as_str(), signal: status.signal().unwrap_or(0) });
    };
    match files.complaint().filter(|_| code != 0) {
        // What ended with a signal was the runtime: there was no container yet.
        None if code > 128 && !files.pid.exists() => {
            Err(RuntimeError::Killed { runtime: runtime.kind.as_str(), signal: code - 128 })
        }
        None => Ok(RunOutcome::from_code(code)),
        Some(reason) if is_about_the_program(&reason) => {
            Err(RuntimeError::Start { program: spec.args.first().cloned().unwrap_or_default(), reason })
        }
        Some(reason) => Err(RuntimeError::Setup { runtime: runtime.kind.as_str(), reason }),
    }
}

/// Messages of runc, crun and youki for a program or working folder that the image lacks.
fn is_about_the_program(reason: &str) -> bool {
    ["exec: \"", "executable file", "chdir to cwd", "container init: mkdir", "executable '"]
        .iter()
        .any(|part| reason.contains(part))
}
