//! Which OCI runtime works on this machine: found out by running a container, not by guessing from versions.
//!
//! Must not hold a preference beyond the order runc, crun, youki, or remember the answer: the caller does.

use crate::container::run;
use crate::mounts::MountError;
use crate::probe_program::{Machine, native_machine, probe_dir, write_probe_program};
use crate::{IdMap, Network, OverlayOptions, ProcessError, RunSpec, rooted::RootedError};
use osbs_types::ErrorKind;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tokio_util::sync::CancellationToken;

/// Where programs of this kind are installed. Not PATH: a library does not read the environment.
const PROGRAM_DIRS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// The runtimes we know how to call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuntimeKind {
    /// runc.
    Runc,
    /// crun.
    Crun,
    /// youki.
    Youki,
}

impl RuntimeKind {
    pub(crate) const ALL: [Self; 3] = [Self::Runc, Self::Crun, Self::Youki];

    /// The program's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::Crun => "crun",
            Self::Youki => "youki",
        }
    }
}

/// A runtime that has been seen working.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// Which one.
    pub kind: RuntimeKind,
    /// Where it is.
    pub program: PathBuf,
    /// First line of `--version`.
    pub version: String,
    /// Why its containers cannot have a user namespace here, one line; `None`: one was seen running.
    pub no_user_namespace: Option<String>,
}

/// Why one runtime was not chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its name or path.
    pub runtime: String,
    /// The reason, one line.
    pub reason: String,
}

/// A container could not be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// Somebody asked to stop.
    #[error("the container was stopped because the build was cancelled")]
    Cancelled,
    /// It took longer than it may.
    #[error("it was stopped because it ran longer than the time limit of {limit:?}")]
    TimeLimit {
        /// The limit.
        limit: std::time::Duration,
    },
    /// The container met its limit before its program ran.
    #[error("it could not be started: {limit} leaves no room for that")]
    LimitTooLow {
        /// The limit.
        limit: crate::LimitHit,
    },
    /// None of the runtimes runs a container here.
    #[error("no OCI runtime works on this machine: {}; install one: apt-get install runc", list(tried))]
    NoneWorks {
        /// What was tried, and why it was refused.
        tried: Vec<Refusal>,
    },
    /// `preferred` is neither a known name nor the path of a program so named.
    #[error("{name:?} is not an OCI runtime we know; allowed are runc, crun, youki or an absolute path to one of them")]
    UnknownName {
        /// What was asked for.
        name: String,
    },
    /// The program in the image could not be started.
    #[error("cannot start {program:?} in the container: {reason}")]
    Start {
        /// First word of the command.
        program: String,
        /// What the runtime said.
        reason: String,
    },
    /// Limits were asked for in a user namespace.
    #[error(
        "memory, processes and processors of a RUN can only be limited by root: an ordinary user may not write cgroups"
    )]
    LimitsNeedRoot,
    /// The runtime failed before the program ran.
    #[error("{runtime} could not set up the container: {reason}")]
    Setup {
        /// Its name.
        runtime: &'static str,
        /// What it said.
        reason: String,
    },
    /// The runtime itself was killed, mostly for want of memory.
    #[error("{runtime} was killed by signal {signal} while the container ran")]
    Killed {
        /// Its name.
        runtime: &'static str,
        /// The signal.
        signal: i32,
    },
    /// A mount point could not be made in the image's root.
    #[error("cannot make a mount point in the container's root file system")]
    MountPoint(#[source] RootedError),
    /// The list of mounts could not be read.
    #[error("cannot prepare the container's mounts")]
    Mount(#[source] MountError),
    /// A process or cgroup operation failed.
    #[error("cannot supervise the container")]
    Process(#[source] ProcessError),
    /// A file of ours, or a pipe.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

fn list(tried: &[Refusal]) -> String {
    let lines: Vec<String> = tried.iter().map(|refusal| format!("{}: {}", refusal.runtime, refusal.reason)).collect();
    lines.join("; ")
}

impl RuntimeError {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Start { .. } | Self::UnknownName { .. } | Self::TimeLimit { .. } | Self::LimitTooLow { .. } => {
                ErrorKind::User
            }
            Self::LimitsNeedRoot
            | Self::NoneWorks { .. }
            | Self::Setup { .. }
            | Self::Killed { .. }
            | Self::Io { .. } => ErrorKind::Resource,
            Self::MountPoint(error) => error.kind(),
            Self::Mount(error) => error.kind(),
            Self::Process(error) => error.kind(),
        }
    }

    /// Wraps an I/O error.
    pub(crate) fn io(operation: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { operation, path: path.to_owned(), source: source.into() }
    }
}

/// Finds a runtime that really runs a container here (about 40 ms for the first one that does). `preferred`: a name
/// (`crun`) or absolute path to use and no other.
///
/// # Errors
/// [`RuntimeError::NoneWorks`] with the reason for each.
pub fn probe_runtime(preferred: Option<&str>) -> Result<Runtime, RuntimeError> {
    let candidates = match preferred {
        Some(name) => vec![candidate(name)?],
        None => RuntimeKind::ALL.into_iter().map(|kind| (kind, installed(kind.as_str()))).collect(),
    };
    let mut tried = Vec::new();
    for (kind, program) in candidates {
        match program.ok_or_else(|| "not installed".to_owned()).and_then(|program| try_runtime(kind, program)) {
            Ok(runtime) => return Ok(runtime),
            Err(reason) => tried.push(Refusal { runtime: kind.as_str().to_owned(), reason }),
        }
    }
    Err(RuntimeError::NoneWorks { tried })
}

type Candidate = (RuntimeKind, Option<PathBuf>);

fn candidate(name: &str) -> Result<Candidate, RuntimeError> {
    let path = Path::new(name);
    let last = path.file_name().map(|last| last.to_string_lossy().into_owned()).unwrap_or_default();
    let kind = RuntimeKind::ALL.into_iter().find(|kind| last == kind.as_str());
    match kind {
        Some(kind) if name == kind.as_str() => Ok((kind, installed(name))),
        Some(kind) if path.is_absolute() => Ok((kind, path.is_file().then(|| path.to_owned()))),
        _ => Err(RuntimeError::UnknownName { name: name.to_owned() }),
    }
}

/// The first file of that name in the usual folders.
pub(crate) fn installed(name: &str) -> Option<PathBuf> {
    PROGRAM_DIRS.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.is_file())
}

/// Runs a program of a few bytes that exits with 0, in a container whose root holds nothing else: with a user namespace,
/// and if that does not work without.
fn try_runtime(kind: RuntimeKind, program: PathBuf) -> Result<Runtime, String> {
    let version = version_of(&program).map_err(|error| format!("{}: {error}", program.display()))?;
    let mut runtime = Runtime { kind, program, version, no_user_namespace: None };
    if let Err(reason) = trial(&runtime, true, native_machine()) {
        runtime.no_user_namespace = Some(reason);
        trial(&runtime, false, native_machine())?;
    }
    Ok(runtime)
}

fn trial(runtime: &Runtime, user_namespace: bool, machine: &Machine) -> Result<(), String> {
    let dir = probe_dir().map_err(|error| format!("cannot make a folder to try it in: {error}"))?;
    let [root, bundle, upper, work, seen] =
        ["root", "bundle", "upper", "work", "seen"].map(|name| dir.path().join(name));
    let prepare = || {
        for folder in [&root, &bundle, &upper, &work, &seen] {
            std::fs::create_dir(folder)?;
        }
        write_probe_program(&root.join("probe"), machine)
    };
    prepare().map_err(|error: io::Error| format!("cannot prepare a container to try it with: {error}"))?;
    let map = if user_namespace { Some(IdMap::get().map_err(|error| with_causes(&error))?) } else { None };
    let overlay =
        map.map(|map| map.mount_overlay(std::slice::from_ref(&root), &upper, &work, &seen, OverlayOptions::default()));
    let overlay = overlay.transpose().map_err(|error| with_causes(&error))?;
    let mut spec = RunSpec::new(overlay.as_ref().map_or(&root, |_| &seen), &bundle, vec!["/probe".to_owned()]);
    spec.network = Network::None;
    spec.id_map = map;
    let mut said = String::new();
    let mut listen = |_, line: &[u8]| said = String::from_utf8_lossy(line).into_owned();
    match run(runtime, &spec, &mut listen, &CancellationToken::new()) {
        Ok(outcome) if outcome.exit_code == 0 => Ok(()),
        Ok(outcome) => Err(format!("a trial container ended with exit code {}: {said}", outcome.exit_code)),
        Err(RuntimeError::Setup { reason, .. } | RuntimeError::Start { reason, .. }) => Err(reason),
        Err(error) => Err(with_causes(&error)),
    }
}

/// An error and its causes in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn version_of(program: &Path) -> io::Result<String> {
    let output = Command::new(program).arg("--version").env_clear().stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_names() {
        for name in ["docker", "", "./runc", "/bin/sh", "runc "] {
            assert!(matches!(probe_runtime(Some(name)), Err(RuntimeError::UnknownName { .. })), "{name:?}");
        }
        let error = probe_runtime(Some("/no/such/runc")).unwrap_err();
        assert!(error.to_string().contains("runc: not installed"), "{error}");
    }

    /// QEMU is a program of this machine's, and lives in the container with the filter and the ids that all have there.
    #[test]
    fn foreign_programs_run_in_containers() {
        if std::env::var_os("OSBS_TEST_SKIP_REAL").is_some_and(|value| value == "1") {
            return;
        }
        let runtime = probe_runtime(None).unwrap();
        assert_eq!(runtime.no_user_namespace, None);
        for name in ["arm64", "s390x", "ppc64le"] {
            crate::register_binfmt(&osbs_types::Architecture::new(name)).unwrap();
            for user_namespace in [true, false] {
                let machine = crate::probe_program::machine(name).unwrap();
                assert_eq!(trial(&runtime, user_namespace, machine), Ok(()), "{name}, {user_namespace}");
            }
        }
    }
}
