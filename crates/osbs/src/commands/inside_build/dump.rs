//! What a build is doing, told on standard error when somebody sends SIGUSR1. The build goes on.
//!
//! Upstream dumps the stacks of its threads; here work is futures, so the plugins and the threads' states are told.

use osbs_reactor::events::EventSink;
use osbs_types::{ErrorKind, Event, EventKind, Failure, Phase};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::signal::unix::{SignalKind, signal};

/// Passes events on, and remembers which plugin runs.
pub(super) struct Watching {
    inner: Arc<dyn EventSink>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    running: Option<(Phase, String, Instant)>,
    ended: Vec<String>,
}

impl Watching {
    /// Over another sink; answers SIGUSR1 from now on.
    pub(super) fn over(inner: Arc<dyn EventSink>) -> Result<Arc<Self>, Failure> {
        let watching = Arc::new(Self { inner, seen: Mutex::default() });
        let mut asked = signal(SignalKind::user_defined1()).map_err(|e| Failure::new(ErrorKind::Resource, &e))?;
        let theirs = Arc::downgrade(&watching);
        tokio::spawn(async move {
            while asked.recv().await.is_some() {
                let Some(watching) = theirs.upgrade() else { return };
                eprint!("{}", watching.report());
            }
        });
        Ok(watching)
    }

    fn report(&self) -> String {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = match &seen.running {
            Some((phase, plugin, since)) => {
                format!("SIGUSR1: {phase} plugin {plugin} has been running for {} s\n", since.elapsed().as_secs())
            }
            None => "SIGUSR1: no plugin is running\n".to_owned(),
        };
        if !seen.ended.is_empty() {
            let _ = writeln!(text, "  ended: {}", seen.ended.join(", "));
        }
        drop(seen);
        for thread in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
            let read = |name: &str| std::fs::read_to_string(thread.path().join(name)).unwrap_or_default();
            let status = read("status");
            let state = status.lines().find_map(|line| line.strip_prefix("State:")).unwrap_or_default().trim();
            let id = thread.file_name();
            let _ =
                writeln!(text, "  thread {} {}: {state} {}", id.display(), read("comm").trim(), read("wchan").trim());
        }
        text
    }
}

impl EventSink for Watching {
    fn emit(&self, event: &Event) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match &event.kind {
            EventKind::PluginStart { phase, plugin } => {
                seen.running = Some((*phase, plugin.clone(), Instant::now()));
            }
            EventKind::PluginEnd { plugin, .. } => {
                seen.running = None;
                seen.ended.push(plugin.clone());
            }
            _ => {}
        }
        drop(seen);
        self.inner.emit(event);
    }

    fn flush(&self) {
        self.inner.flush();
    }

    fn check(&self) -> Result<(), Failure> {
        self.inner.check()
    }

    fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.inner.mask(text)
    }
}
