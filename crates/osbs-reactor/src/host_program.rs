//! Runs a program of the build host for a plugin, on a thread: minimal environment, its own namespaces, killed as a whole.
//!
//! What a build runs beside containers must not see the reactor's tokens (`reactor.md` 6.3, X9). Must not judge what the
//! program did: that is the plugin's.

use crate::events::Logger;
use crate::plugin::PluginError;
use osbs_sandbox::{Isolation, ProcessError, spawn_isolated, spawn_writing_only};
use osbs_types::Level;
use std::collections::VecDeque;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Longer lines are logged in pieces of that many bytes.
const MAX_LINE: usize = 64 << 10;
/// Output that is logged; a program that writes more is let go on, unheard. Every line is an event of its own, which
/// every reader of the log pays for.
const MAX_OUTPUT: Amount = Amount { bytes: 8 << 20, lines: 20_000 };
/// Lines kept for the error message, and characters of each.
const KEPT_LINES: usize = 10;
const KEPT_CHARACTERS: usize = 300;
/// How often it is looked whether the program has ended.
const EVERY: Duration = Duration::from_millis(20);

/// What to run.
pub(crate) struct HostProgram {
    /// A name to be found on `path`, or a path.
    pub(crate) program: String,
    /// Its arguments.
    pub(crate) args: Vec<String>,
    /// Where it starts.
    pub(crate) folder: PathBuf,
    /// `HOME`, an empty folder of the run's own; `TMPDIR` is in it.
    pub(crate) home: PathBuf,
    /// `PATH`.
    pub(crate) path: String,
    /// Where it may write, beside `home`; `None`: wherever this process may.
    pub(crate) writable: Option<Vec<PathBuf>>,
    /// How long it may take.
    pub(crate) time: Option<Duration>,
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Exit code or signal.
    pub(crate) status: ExitStatus,
    /// The last lines it wrote to standard error, or of its output if there are none.
    pub(crate) last_lines: Vec<String>,
    /// It was killed because it took too long.
    pub(crate) is_late: bool,
}

/// Why a program was not run to its end.
#[derive(Debug)]
pub(crate) enum HostProgramError {
    /// There is no such program.
    NotFound,
    /// It cannot be started.
    Start(ProcessError),
    /// This machine's own trouble.
    Resource(String),
    /// Somebody asked to stop.
    Cancelled,
}

impl HostProgramError {
    /// For a plugin; `what` is the program as a user knows it.
    pub(crate) fn into_plugin_error(self, what: &str, hint: &str) -> PluginError {
        match self {
            Self::NotFound => PluginError::resource(format!("{what} is not installed")).with_hint(hint),
            Self::Start(source) => PluginError::from(osbs_types::Failure::new(source.kind(), &source)).with_hint(hint),
            Self::Resource(text) => PluginError::resource(format!("{what}: {text}")),
            Self::Cancelled => PluginError::Cancelled,
        }
    }
}

impl HostProgram {
    /// Runs it and relays its output line by line: standard output as INFO, standard error as `errors`. It and all it has
    /// started are gone when this returns.
    pub(crate) fn run(
        &self,
        log: &Logger,
        errors: Level,
        cancel: &CancellationToken,
    ) -> Result<Ended, HostProgramError> {
        let mut child = self.start()?;
        let heard = Heard { log, left: Mutex::new(MAX_OUTPUT), unheard: Mutex::default() };
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let (ended, output, complaints) = std::thread::scope(|scope| {
            let readers = (scope.spawn(|| heard.relay(out, Level::Info)), scope.spawn(|| heard.relay(err, errors)));
            // When this returns the whole pid namespace is dead, and with it whoever held the pipes open.
            let ended = self.wait(&mut child, cancel);
            // A reader cannot panic; if it did, only lines are missing.
            (ended, readers.0.join().unwrap_or_default(), readers.1.join().unwrap_or_default())
        });
        let (status, is_late) = ended?;
        let Amount { bytes, lines } = *lock(&heard.unheard);
        if lines > 0 {
            log.warning(format!(
                "{lines} more lines of output, {bytes} bytes, were not kept: it is too much for a log"
            ));
        }
        let last_lines = if complaints.is_empty() { output } else { complaints }.into();
        Ok(Ended { status, last_lines, is_late })
    }

    fn start(&self) -> Result<Child, HostProgramError> {
        let temporary = self.home.join("tmp");
        std::fs::create_dir_all(&temporary).map_err(|e| {
            HostProgramError::Resource(format!("the folder {} cannot be made: {e}", temporary.display()))
        })?;
        let mut command = Command::new(&self.program);
        command.args(&self.args).current_dir(&self.folder).env_clear();
        command.env("PATH", &self.path).env("LC_ALL", "C.UTF-8").env("HOME", &self.home).env("TMPDIR", &temporary);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = match &self.writable {
            None => spawn_isolated(command, Isolation::FULL),
            Some(folders) => {
                let all: Vec<&Path> = folders.iter().chain([&self.home]).map(PathBuf::as_path).collect();
                spawn_writing_only(command, &self.folder, &all)
            }
        };
        started.map_err(|error| match error {
            ProcessError::Refused { ref source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                HostProgramError::NotFound
            }
            other => HostProgramError::Start(other),
        })
    }

    fn wait(&self, child: &mut Child, cancel: &CancellationToken) -> Result<(ExitStatus, bool), HostProgramError> {
        let deadline = self.time.map(|time| Instant::now() + time);
        loop {
            let ended = child.try_wait();
            let is_late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            match ended {
                Ok(Some(status)) => return Ok((status, false)),
                Ok(None) if !is_late && !cancel.is_cancelled() => std::thread::sleep(EVERY),
                Ok(None) => {
                    // It may have ended this very moment.
                    let _ = child.kill();
                    let status = child.wait().map_err(|e| HostProgramError::Resource(format!("cannot wait: {e}")))?;
                    return if cancel.is_cancelled() { Err(HostProgramError::Cancelled) } else { Ok((status, true)) };
                }
                Err(error) => {
                    let _ = child.kill();
                    return Err(HostProgramError::Resource(format!("cannot wait: {error}")));
                }
            }
        }
    }
}

/// Of output.
#[derive(Debug, Clone, Copy, Default)]
struct Amount {
    bytes: u64,
    lines: u64,
}

/// What was heard of a program, by two threads.
struct Heard<'a> {
    log: &'a Logger,
    /// What may still be logged.
    left: Mutex<Amount>,
    unheard: Mutex<Amount>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Heard<'_> {
    /// Returns the last lines.
    fn relay(&self, stream: Option<impl Read>, level: Level) -> VecDeque<String> {
        let mut last = VecDeque::new();
        let Some(mut stream) = stream else { return last };
        let (mut line, mut buffer) = (Vec::new(), vec![0; 16 << 10]);
        loop {
            let count = match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            for piece in buffer[..count].split_inclusive(|byte| *byte == b'\n') {
                line.extend_from_slice(piece);
                if piece.ends_with(b"\n") || line.len() >= MAX_LINE {
                    self.tell(&mut line, level, &mut last);
                }
            }
        }
        if !line.is_empty() {
            self.tell(&mut line, level, &mut last);
        }
        last
    }

    fn tell(&self, line: &mut Vec<u8>, level: Level, last: &mut VecDeque<String>) {
        let bytes = line.len() as u64;
        let text = String::from_utf8_lossy(line).trim_end_matches(['\n', '\r']).to_owned();
        line.clear();
        if !text.trim().is_empty() {
            last.push_back(text.trim().chars().take(KEPT_CHARACTERS).collect());
            last.drain(..last.len().saturating_sub(KEPT_LINES));
        }
        let mut left = lock(&self.left);
        if left.lines > 0 && left.bytes >= bytes {
            *left = Amount { bytes: left.bytes - bytes, lines: left.lines - 1 };
            drop(left);
            self.log.log(level, text);
        } else {
            *left = Amount::default();
            drop(left);
            let mut unheard = lock(&self.unheard);
            *unheard = Amount { bytes: unheard.bytes + bytes, lines: unheard.lines + 1 };
        }
    }
}
