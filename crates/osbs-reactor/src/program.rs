//! Runs a program of the build host for a plugin: minimal environment, own process group, killed as a whole.
//!
//! What a build runs beside containers must not see the reactor's tokens (`reactor.md` 6.3, X9). Must not judge what
//! the program did: that is the plugin's.

use crate::events::Logger;
use crate::run::Run;
use osbs_types::Level;
use rustix::process::{Pid, Signal};
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

/// Longer lines are logged in pieces of that many bytes.
const MAX_LINE: usize = 64 << 10;
/// Lines kept for the error message.
const KEPT_LINES: usize = 5;
/// How long output is waited for after the program and its whole group have ended.
const LAST_OUTPUT: Duration = Duration::from_secs(5);

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Exit code or signal.
    pub status: ExitStatus,
    /// Its last lines of output, joined by `; `.
    pub last_lines: String,
}

/// Runs `program` in `folder` and relays its output line by line: standard output as INFO, standard error as WARNING.
/// When the future is dropped, the program and all it has started in its process group are killed.
///
/// # Errors
/// It cannot be started; [`io::ErrorKind::NotFound`] when there is no such program.
pub(crate) async fn run_program<S: AsRef<OsStr>>(
    run: &Run,
    program: &str,
    args: &[S],
    folder: &Path,
    home: &Path,
) -> io::Result<Ended> {
    let mut child = Command::new(program)
        .args(args)
        .current_dir(folder)
        .env_clear()
        .env("PATH", &run.services.program_path)
        .env("LC_ALL", "C.UTF-8")
        .env("HOME", home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let group = Group(child.id().and_then(|id| Pid::from_raw(id as i32)));
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let last = LastLines::default();
    let relayed = async {
        tokio::join!(relay(out, run.log(), Level::Info, &last), relay(err, run.log(), Level::Warning, &last));
    };
    let mut relayed = std::pin::pin!(relayed);
    let mut is_relayed = false;
    let status = tokio::select! {
        biased;
        () = &mut relayed => {
            is_relayed = true;
            child.wait().await?
        }
        status = child.wait() => status?,
    };
    // What it left running in the background would hold the pipes open for ever.
    drop(group);
    if !is_relayed {
        let _ = tokio::time::timeout(LAST_OUTPUT, relayed).await;
    }
    Ok(Ended { status, last_lines: last.text() })
}

/// A process group that dies with this value.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // Nobody is left in it: nothing to do.
            let _ = rustix::process::kill_process_group(leader, Signal::KILL);
        }
    }
}

/// The end of the output, both streams together, for error messages.
#[derive(Default)]
struct LastLines(Mutex<VecDeque<String>>);

impl LastLines {
    fn add(&self, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !line.is_empty() {
            lines.push_back(line.chars().take(200).collect());
        }
        while lines.len() > KEPT_LINES {
            lines.pop_front();
        }
    }

    fn text(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(String::as_str).collect::<Vec<_>>().join("; ")
    }
}

async fn relay(stream: Option<impl AsyncRead + Unpin>, log: &Logger, level: Level, last: &LastLines) {
    let Some(mut stream) = stream else { return };
    let mut line = Vec::new();
    let mut buffer = vec![0; 8 << 10];
    let tell = |line: &mut Vec<u8>| {
        let text = String::from_utf8_lossy(line).trim_end_matches('\r').to_owned();
        line.clear();
        last.add(text.trim());
        log.log(level, text);
    };
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        for byte in &buffer[..count] {
            if *byte == b'\n' {
                tell(&mut line);
            } else {
                line.push(*byte);
                if line.len() >= MAX_LINE {
                    tell(&mut line);
                }
            }
        }
    }
    if !line.is_empty() {
        tell(&mut line);
    }
}
