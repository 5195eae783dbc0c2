//! Where the events of a run go: a file that survives `kill -9`, a text stream, a list for tests.
//!
//! A sink never loses an event in silence and never makes a plugin wait for a slow disk, except when megabytes are
//! waiting already. It does not decide what is worth an event: plugins and the engine do.

use osbs_types::{Event, EventKind, Failure, Level, LogLine, Phase, Timestamp, render_log_line};
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Takes events from many threads, in the order of the calls.
pub trait EventSink: Send + Sync {
    /// Takes one event. Must not fail; see [`EventSink::check`].
    fn emit(&self, event: &Event);

    /// Returns when everything taken so far is where it belongs.
    fn flush(&self) {}

    /// Whether events could be kept so far. The engine asks between plugins: a build whose log cannot be written fails.
    ///
    /// # Errors
    /// What went wrong first.
    fn check(&self) -> Result<(), Failure> {
        Ok(())
    }

    /// A text for a record that is no event, without what this sink lets into no event.
    fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        Cow::Borrowed(text)
    }
}

/// Where the engine and plugins take the time from.
pub trait Clock: Send + Sync {
    /// Now, UTC.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Bytes that may wait for the disk before a caller has to wait too.
const HIGH_WATER: usize = 2 << 20;
/// How long a failing write is tried again before the sink gives up.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);
const WRITE_RETRY: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    taken: u64,
    written: u64,
    closing: bool,
    broken: Option<Failure>,
}

struct Shared {
    pending: Mutex<Pending>,
    work: Condvar,
    done: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Appends events to a file, one JSON object a line. Its thread writes as soon as there is something: one line when all
/// is calm, everything that came meanwhile when it is not. Every write ends at the end of a line.
pub struct FileSink {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

impl FileSink {
    /// Opens (and makes) `path` for appending.
    ///
    /// # Errors
    /// The file cannot be opened or the thread not started.
    pub fn append(path: &Path) -> io::Result<Self> {
        Self::over(std::fs::OpenOptions::new().create(true).append(true).open(path)?)
    }

    /// Over a file that was opened for appending.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn over(file: File) -> io::Result<Self> {
        let shared = Arc::new(Shared { pending: Mutex::default(), work: Condvar::new(), done: Condvar::new() });
        let theirs = Arc::clone(&shared);
        let writer = std::thread::Builder::new().name("events".to_owned()).spawn(move || write_loop(&theirs, file))?;
        Ok(Self { shared, writer: Some(writer) })
    }
}

fn write_loop(shared: &Shared, mut file: File) {
    let mut batch = Vec::new();
    loop {
        let mut pending = shared.lock();
        while pending.bytes.is_empty() {
            if pending.closing {
                return;
            }
            pending = shared.work.wait(pending).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        std::mem::swap(&mut batch, &mut pending.bytes);
        drop(pending);
        let outcome = write_patiently(&mut file, &batch);
        let mut pending = shared.lock();
        pending.written += batch.len() as u64;
        if let Err(error) = outcome {
            pending.broken.get_or_insert_with(|| {
                Failure::message(
                    osbs_types::ErrorKind::Resource,
                    format!("the build's events cannot be written: {error}"),
                )
                .with_hint("make room on the disk that holds the builds, then build again")
            });
        }
        drop(pending);
        shared.done.notify_all();
        batch.clear();
        batch.shrink_to(1 << 20);
    }
}

/// Writes all of `batch`, going on where a full disk stopped it.
fn write_patiently(file: &mut File, batch: &[u8]) -> io::Result<()> {
    let (mut rest, give_up) = (batch, Instant::now() + WRITE_PATIENCE);
    while !rest.is_empty() {
        match file.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => rest = &rest[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if Instant::now() >= give_up => return Err(error),
            Err(_) => std::thread::sleep(WRITE_RETRY),
        }
    }
    Ok(())
}

impl EventSink for FileSink {
    fn emit(&self, event: &Event) {
        if self.shared.lock().broken.is_some() {
            return;
        }
        let mut line = serde_json::to_vec(event).expect("an event is made of strings and numbers");
        line.push(b'\n');
        let mut pending = self.shared.lock();
        while pending.bytes.len() > HIGH_WATER && pending.broken.is_none() {
            pending = self.shared.done.wait(pending).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        if pending.broken.is_some() {
            return;
        }
        let was_idle = pending.bytes.is_empty();
        pending.taken += line.len() as u64;
        pending.bytes.append(&mut line);
        drop(pending);
        if was_idle {
            self.shared.work.notify_one();
        }
    }

    fn flush(&self) {
        let mut pending = self.shared.lock();
        let goal = pending.taken;
        while pending.written < goal && pending.broken.is_none() {
            pending = self.shared.done.wait(pending).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    fn check(&self) -> Result<(), Failure> {
        self.shared.lock().broken.clone().map_or(Ok(()), Err)
    }
}

impl Drop for FileSink {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.work.notify_all();
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has nothing left to tell.
            let _ = writer.join();
        }
    }
}

/// Renders log lines in the OSBS text format to any stream, for example standard error.
pub struct TextSink {
    out: Mutex<Box<dyn Write + Send>>,
    least: Level,
}

impl TextSink {
    /// Lines of level `least` and above.
    pub fn new(out: Box<dyn Write + Send>, least: Level) -> Self {
        Self { out: Mutex::new(out), least }
    }
}

impl EventSink for TextSink {
    fn emit(&self, event: &Event) {
        let mut text = Vec::new();
        match &event.kind {
            EventKind::Log(line) if line.level >= self.least => render_log_line(&mut text, event.time, line),
            EventKind::Failure(failure) => {
                let line = LogLine::new("atomic_reactor.core", Level::Error, failure.to_string());
                render_log_line(&mut text, event.time, &line);
            }
            _ => return,
        }
        let mut out = self.out.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Console text is a copy of the events; when nobody can read it any more the build goes on.
        let _ = out.write_all(&text).and_then(|()| out.flush());
    }
}

/// Gives every event to several sinks.
pub struct TeeSink(pub Vec<Arc<dyn EventSink>>);

impl EventSink for TeeSink {
    fn emit(&self, event: &Event) {
        self.0.iter().for_each(|sink| sink.emit(event));
    }

    fn flush(&self) {
        self.0.iter().for_each(|sink| sink.flush());
    }

    fn check(&self) -> Result<(), Failure> {
        self.0.iter().try_for_each(|sink| sink.check())
    }
}

/// Keeps events in memory, for tests and short runs.
#[derive(Default)]
pub struct MemorySink(Mutex<Vec<Event>>);

impl MemorySink {
    /// All events so far.
    pub fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

impl EventSink for MemorySink {
    fn emit(&self, event: &Event) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(event.clone());
    }
}

/// Writes log lines and progress under one logger name. Cheap to clone; usable from any thread.
#[derive(Clone)]
pub struct Logger {
    sink: Arc<dyn EventSink>,
    clock: Arc<dyn Clock>,
    name: Arc<str>,
    platform: Option<Arc<str>>,
}

impl Logger {
    /// A logger of that dotted name, for lines of the build itself.
    pub fn new(sink: Arc<dyn EventSink>, clock: Arc<dyn Clock>, name: &str) -> Self {
        Self { sink, clock, name: name.into(), platform: None }
    }

    /// The same with another dotted name.
    #[must_use]
    pub fn named(&self, name: &str) -> Self {
        Self { name: name.into(), ..self.clone() }
    }

    /// The same for lines about one platform.
    #[must_use]
    pub fn for_platform(&self, platform: &str) -> Self {
        Self { platform: Some(platform.into()), ..self.clone() }
    }

    /// One message. It need not be UTF-8 and may have several lines.
    pub fn log(&self, level: Level, message: impl Into<Vec<u8>>) {
        let mut line = LogLine::new(&*self.name, level, message);
        line.platform = self.platform.as_deref().map(str::to_owned);
        self.event(EventKind::Log(line));
    }

    /// A text without what no line of this log may hold: to be asked before a text is cut, for half a secret is not known.
    pub fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.sink.mask(text)
    }

    /// For those who look for a fault.
    pub fn debug(&self, message: impl Into<Vec<u8>>) {
        self.log(Level::Debug, message);
    }

    /// What goes on.
    pub fn info(&self, message: impl Into<Vec<u8>>) {
        self.log(Level::Info, message);
    }

    /// Odd, and survived.
    pub fn warning(&self, message: impl Into<Vec<u8>>) {
        self.log(Level::Warning, message);
    }

    /// Something failed.
    pub fn error(&self, message: impl Into<Vec<u8>>) {
        self.log(Level::Error, message);
    }

    /// How far a long piece of work is, in bytes or steps.
    pub fn progress(&self, what: impl Into<String>, done: u64, total: Option<u64>) {
        let platform = self.platform.as_deref().map(str::to_owned);
        self.event(EventKind::Progress { platform, what: what.into(), done, total });
    }

    /// Progress that is told often: no more than five events a second, and the last.
    pub fn meter(&self, what: impl Into<String>) -> Meter {
        Meter { log: self.clone(), what: what.into(), last: Mutex::new(None) }
    }

    /// Returns when everything told so far is where it belongs.
    pub fn flush(&self) {
        self.sink.flush();
    }

    /// Any other event, with the time of now.
    pub fn event(&self, kind: EventKind) {
        self.sink.emit(&Event { time: self.clock.now(), kind });
    }
}

/// Thins out progress. See [`Logger::meter`].
pub struct Meter {
    log: Logger,
    what: String,
    last: Mutex<Option<Instant>>,
}

const METER_EVERY: Duration = Duration::from_millis(200);

impl Meter {
    /// So far.
    pub fn tell(&self, done: u64, total: Option<u64>) {
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let complete = total == Some(done);
        if complete || last.is_none_or(|last| last.elapsed() >= METER_EVERY) {
            *last = Some(Instant::now());
            drop(last);
            self.log.progress(self.what.as_str(), done, total);
        }
    }
}

/// The logger name of a plugin, as OSBS has it.
pub(crate) fn plugin_logger_name(plugin: &str) -> String {
    format!("atomic_reactor.plugins.{plugin}")
}

/// The logger name of the engine in one phase.
pub(crate) const ENGINE_LOGGER: &str = "atomic_reactor.plugin";
/// The logger name of all that is no plugin.
pub(crate) const CORE_LOGGER: &str = "atomic_reactor.core";

/// One line for the log about a phase.
pub(crate) fn phase_text(phase: Phase, plugin: &str) -> String {
    format!("{phase} plugin '{plugin}'")
}
