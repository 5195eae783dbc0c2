//! How a build ends: what the exit status of its reactor and its log say, and which events are the last. Pure rules, the
//! same in every cluster; who applies them removes what the build leaves and records the end.

use crate::Build;
use osbs_types::{BuildState, ErrorKind, Event, EventKind, Failure, Level, LogLine, Timestamp};
use std::io::{self, BufRead};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

/// Logger of what the processes of a build wrote to their standard output and error.
pub const CONSOLE_LOGGER: &str = "osbs.console";

/// How a build's process ended, before its log was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// The state it leads to.
    pub state: BuildState,
    /// For people, when the log holds no failure.
    pub reason: Option<String>,
    /// Its class, when the log holds no failure.
    pub kind: ErrorKind,
}

/// What the reactor's exit status says of the build. `killed_after`: it had to be killed, that long after it was told to
/// stop.
pub fn judge(status: ExitStatus, build: &Build, killed_after: Option<Duration>) -> Ending {
    const CANCELLED: i32 = osbs_types::exit_code::CANCELLED as i32;
    let cancelled = |reason: Option<String>| Ending {
        state: BuildState::Cancelled,
        reason: reason.or_else(|| build.reason.clone()),
        kind: ErrorKind::Cancelled,
    };
    match (status.code(), status.signal()) {
        (Some(0), _) => Ending { state: BuildState::Complete, reason: None, kind: ErrorKind::Internal },
        (_, Some(_)) if killed_after.is_some() => {
            let seconds = killed_after.unwrap_or_default().as_secs();
            cancelled(Some(format!("cancelled, and killed because it had not ended after {seconds} s")))
        }
        _ if build.cancel_requested => cancelled(None),
        (Some(CANCELLED), _) => cancelled(Some("the build was told to stop".to_owned())),
        (Some(code), _) => Ending {
            state: BuildState::Failed,
            reason: Some(format!("the build ended with exit code {code}")),
            kind: ErrorKind::from_exit_code(u8::try_from(code).unwrap_or(u8::MAX)),
        },
        (None, signal) => Ending {
            state: BuildState::Error,
            reason: Some(format!("killed by signal {}", signal.unwrap_or_default())),
            kind: ErrorKind::Resource,
        },
    }
}

/// The last failure and the last final state that a log tells of.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verdict {
    /// Why the build failed.
    pub failure: Option<Failure>,
    /// The state it ended in, and why.
    pub end: Option<(BuildState, Option<String>)>,
}

impl Verdict {
    /// Looks through the log at `path`, as far as it can be read.
    pub fn of_file(path: &Path) -> Self {
        let mut verdict = Self::default();
        if let Ok(file) = std::fs::File::open(path) {
            verdict.read(io::BufReader::with_capacity(256 << 10, file));
        }
        verdict
    }

    /// Looks through more of a log, as far as it can be read.
    pub fn read(&mut self, mut lines: impl BufRead) {
        let mut line = Vec::new();
        loop {
            line.clear();
            match lines.read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => self.look_at(&line),
            }
        }
    }

    /// Looks at one line. One that is no state and no failure is not taken apart.
    fn look_at(&mut self, line: &[u8]) {
        // `{"time":"2024-01-02T03:04:05.678901234Z","event":"failure"`: the kind stands near the start.
        let head = &line[..line.len().min(80)];
        let is = |kind: &[u8]| head.windows(kind.len()).any(|window| window == kind);
        if !is(br#""event":"failure""#) && !is(br#""event":"state""#) {
            return;
        }
        match serde_json::from_slice::<Event>(line).map(|event| event.kind) {
            Ok(EventKind::Failure(failure)) => self.failure = Some(failure),
            Ok(EventKind::State { state, reason }) if state.is_finished() => self.end = Some((state, reason)),
            _ => {}
        }
    }
}

/// How a build has ended, and what its log still lacks.
#[derive(Debug, Clone, PartialEq)]
pub struct Conclusion {
    /// The final state.
    pub state: BuildState,
    /// Why, for people.
    pub reason: Option<String>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// To be appended to the log.
    pub events: Vec<Event>,
}

/// Concludes from how the process ended, what the log says already, what the console holds (asked only when the build did
/// not end well), and what went wrong while it was cleaned up after.
pub fn conclude(
    ending: &Ending,
    verdict: Verdict,
    console: impl FnOnce() -> Vec<Event>,
    trouble: Vec<String>,
) -> Conclusion {
    let explained = verdict.failure.is_some();
    // The reactor or a runner that died at this point may have told the end already.
    let (state, told) = match verdict.end {
        Some((state, reason)) => (state, Some(reason)),
        None => (ending.state, None),
    };
    let well = matches!(state, BuildState::Complete | BuildState::Cancelled);
    let failure = match verdict.failure {
        Some(failure) => Some(failure),
        None if well => None,
        None => Some(unexplained(ending)),
    };
    let reason = told.clone().flatten().or_else(|| match &failure {
        // With the step: "killed by signal 9" may be said of a worker.
        Some(failure) if state == BuildState::Failed => Some(match &failure.step {
            Some(step) => format!("{step}: {failure}"),
            None => failure.to_string(),
        }),
        _ => ending.reason.clone(),
    });
    let mut events = Vec::new();
    if !well && told.is_none() {
        events.extend(console());
    }
    let time = Timestamp::now();
    events.extend(trouble.into_iter().map(|text| {
        let line = LogLine::new("osbs.cluster", Level::Warning, text);
        Event { time, kind: EventKind::Log(line) }
    }));
    if told.is_none() {
        if !explained {
            events.extend(failure.clone().map(|failure| Event { time, kind: EventKind::Failure(failure) }));
        }
        events.push(Event { time, kind: EventKind::State { state, reason: reason.clone() } });
    }
    Conclusion { state, reason, failure, events }
}

fn unexplained(ending: &Ending) -> Failure {
    let message = ending.reason.clone().unwrap_or_else(|| "the build ended without saying why".to_owned());
    let hint = if message.ends_with("signal 9") {
        "somebody killed it, or the machine ran out of memory (dmesg tells); its last output stands at the end of its log"
    } else {
        "its last lines of output stand at the end of its log"
    };
    Failure::message(ending.kind, message).with_hint(hint)
}

/// What processes of the build wrote beside its log, as events of now.
pub fn console_events(bytes: &[u8]) -> Vec<Event> {
    let time = Timestamp::now();
    bytes
        .split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| Event { time, kind: EventKind::Log(LogLine::new(CONSOLE_LOGGER, Level::Error, line)) })
        .collect()
}
