//! Follows a build to its end on a terminal (a bar a platform), in a pipe (plain lines), or for a program (JSON).
//!
//! The event stream is all it looks at; nothing here changes a build, but for the interrupt that cancels it.

mod bars;

use crate::session::Session;
use bars::Bars;
use futures_util::StreamExt;
use osbs_cluster::{Build, ClusterError};
use osbs_types::{Event, EventKind, Failure, Level, LogLine, exit_code as code, render_log_line};
use std::io::Write;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How to follow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Follow {
    /// Show log lines.
    pub(crate) logs: bool,
    /// The first interrupt cancels the build and goes on following; the second leaves.
    pub(crate) cancel_on_interrupt: bool,
}

fn failed(error: ClusterError) -> Failure {
    Failure::new(error.kind(), &error)
}

/// The exit code that tells how a build ended.
pub(crate) fn exit_code(build: &Build) -> u8 {
    use osbs_types::BuildState::{Cancelled, Complete};
    match (build.state, &build.failure) {
        (Complete, _) => code::SUCCESS,
        (Cancelled, _) => code::CANCELLED,
        (_, Some(failure)) => failure.kind.exit_code(),
        (_, None) => code::INTERNAL,
    }
}

/// Shows the build until it has ended, and returns it as it is then.
pub(crate) async fn follow(
    session: &Session,
    build: &Build,
    how: Follow,
    mut interrupts: Interrupts,
) -> Result<Build, Failure> {
    let cluster = session.cluster()?;
    let mut events = cluster.events(&build.name, 0, true).await.map_err(failed)?.ready_chunks(512);
    let mut display = Display::new(session, how);
    let mut cancelling = false;
    loop {
        tokio::select! {
            chunk = events.next() => match chunk {
                Some(chunk) => {
                    for stored in chunk {
                        display.show(&stored.map_err(failed)?.event);
                    }
                    display.flush();
                }
                None => break,
            },
            () = interrupts.next() => {
                if !how.cancel_on_interrupt || cancelling {
                    display.finish();
                    return Err(Failure::message(osbs_types::ErrorKind::Cancelled, format!("no longer watching {}", build.name))
                        .with_hint(format!("the build goes on: osbs watch-build {}", build.name)));
                }
                cancelling = true;
                display.note(&format!("cancelling {}; interrupt again to leave it to itself", build.name));
                cluster.cancel_build(&build.name).await.map_err(failed)?;
            }
        }
    }
    display.finish();
    cluster.get_build(&build.name).await.map_err(failed)
}

/// SIGINT and SIGTERM, from the moment this is made.
pub(crate) struct Interrupts {
    int: Signal,
    term: Signal,
}

impl Interrupts {
    pub(crate) fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|e| Failure::new(osbs_types::ErrorKind::Resource, &e));
        Ok(Self { int: listen(SignalKind::interrupt())?, term: listen(SignalKind::terminate())? })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.int.recv() => {}
            _ = self.term.recv() => {}
        }
    }
}

/// Where events go.
struct Display<'a> {
    session: &'a Session,
    logs: bool,
    bars: Option<Bars>,
    pending: Vec<u8>,
}

impl<'a> Display<'a> {
    fn new(session: &'a Session, how: Follow) -> Self {
        let bars = session.is_interactive().then(|| Bars::new(session.paint()));
        Self { session, logs: how.logs, bars, pending: Vec::new() }
    }

    fn shows(&self, line: &LogLine) -> bool {
        self.logs && line.level >= self.session.level()
    }

    fn show(&mut self, event: &Event) {
        if let Some(bars) = &mut self.bars {
            bars.show(&event.kind);
            if let EventKind::Log(line) = &event.kind
                && self.logs
                && (line.level >= Level::Warning || self.session.is_verbose())
            {
                bars.print(line);
            }
            return;
        }
        match &event.kind {
            EventKind::Log(line) if self.shows(line) => render_log_line(&mut self.pending, event.time, line),
            _ => {}
        }
    }

    /// Writes what has gathered. To standard error when standard output is for JSON.
    fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        // A reader that has gone must not end the following: the build is still to be waited for.
        let _ = if self.session.wants_json() {
            std::io::stderr().write_all(&self.pending)
        } else {
            std::io::stdout().write_all(&self.pending).and_then(|()| std::io::stdout().flush())
        };
        self.pending.clear();
    }

    fn note(&mut self, text: &str) {
        match &self.bars {
            Some(bars) => bars.note(text),
            None => self.session.note(text),
        }
    }

    fn finish(&mut self) {
        self.flush();
        if let Some(bars) = self.bars.take() {
            bars.finish();
        }
    }
}
