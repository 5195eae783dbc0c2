//! Reading the event log from any offset, while it is being written. Never fails on what it reads: a line that is no
//! event is shown as a log line.

use crate::layout::storage;
use osbs_cluster::{ClusterError, StoredEvent};
use osbs_types::{Event, EventKind, Failure, Level, LogLine, Timestamp};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// How much is read at once.
const CHUNK: usize = 256 << 10;
/// A longer line is not one of ours: it is shown in pieces of this size, so that memory stays flat.
const LONGEST_LINE: usize = 32 << 20;
/// Logger of lines that are not events.
pub const STRAY_LOGGER: &str = "osbs.stray";

/// The reading end of an event log.
#[derive(Debug)]
pub struct EventReader {
    path: PathBuf,
    file: Option<File>,
    /// Where `buffer` begins in the file: always the start of a line.
    offset: u64,
    buffer: Vec<u8>,
    /// The first line begins in the middle of one: skip to its end.
    skip: bool,
    last_time: Timestamp,
}

impl EventReader {
    /// Reads the log at `path` behind `from` (0, or an offset from [`StoredEvent`]). The file may come later.
    pub fn new(path: &Path, from: u64) -> Self {
        Self {
            path: path.to_owned(),
            file: None,
            offset: from,
            buffer: Vec::new(),
            skip: false,
            last_time: Timestamp::UNIX_EPOCH,
        }
    }

    /// The next events, some of those that are there. None: that was all for now, a torn line at the end aside.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn next_batch(&mut self) -> Result<Vec<StoredEvent>, ClusterError> {
        self.read_batch().map_err(storage("read the event log", &self.path))
    }

    /// What is left when no writer is: a torn last line.
    pub fn rest(&mut self) -> Option<StoredEvent> {
        if self.buffer.is_empty() {
            return None;
        }
        let line = std::mem::take(&mut self.buffer);
        self.offset += line.len() as u64;
        self.event(&line)
    }

    fn open(&mut self) -> io::Result<Option<&File>> {
        if self.file.is_none() {
            let file = match File::open(&self.path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
            if let Ok(modified) = file.metadata()?.modified() {
                self.last_time = Timestamp::try_from(modified).unwrap_or(self.last_time);
            }
            if self.offset > 0 {
                let mut before = [0];
                self.skip = file.read_at(&mut before, self.offset - 1)? == 1 && before != *b"\n";
            }
            self.file = Some(file);
        }
        Ok(self.file.as_ref())
    }

    fn read_batch(&mut self) -> io::Result<Vec<StoredEvent>> {
        loop {
            let held = self.buffer.len();
            let place = self.offset + held as u64;
            let mut chunk = std::mem::take(&mut self.buffer);
            let Some(file) = self.open()? else { return Ok(Vec::new()) };
            chunk.resize(held + CHUNK, 0);
            let count = file.read_at(&mut chunk[held..], place);
            chunk.truncate(held + *count.as_ref().unwrap_or(&0));
            self.buffer = chunk;
            if count? == 0 {
                return Ok(Vec::new());
            }
            let end = match self.buffer[held..].iter().rposition(|b| *b == b'\n') {
                Some(position) => held + position + 1,
                None if self.buffer.len() >= LONGEST_LINE => self.buffer.len(),
                None => continue,
            };
            let tail = self.buffer.split_off(end);
            let lines = std::mem::replace(&mut self.buffer, tail);
            let events = self.split(&lines);
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }

    fn split(&mut self, lines: &[u8]) -> Vec<StoredEvent> {
        let mut events = Vec::new();
        for line in lines.split_inclusive(|b| *b == b'\n') {
            self.offset += line.len() as u64;
            if std::mem::take(&mut self.skip) {
                continue;
            }
            events.extend(self.event(line.strip_suffix(b"\n").unwrap_or(line)));
        }
        events
    }

    fn event(&mut self, line: &[u8]) -> Option<StoredEvent> {
        if line.is_empty() {
            return None;
        }
        let event = serde_json::from_slice::<Event>(line).unwrap_or_else(|_| Event {
            time: self.last_time,
            kind: EventKind::Log(LogLine::new(STRAY_LOGGER, Level::Warning, line)),
        });
        self.last_time = event.time;
        Some(StoredEvent { offset: self.offset, event })
    }
}

/// The last failure and the last final state that a log tells of.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub failure: Option<Failure>,
    pub end: Option<(osbs_types::BuildState, Option<String>)>,
}

/// Looks through a log for how its build ended. Lines that are no state and no failure are not taken apart.
pub(crate) fn verdict(path: &Path) -> Verdict {
    use std::io::BufRead;
    let mut verdict = Verdict::default();
    let Ok(file) = File::open(path) else { return verdict };
    let mut lines = io::BufReader::with_capacity(CHUNK, file);
    let mut line = Vec::new();
    loop {
        line.clear();
        match lines.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return verdict,
            Ok(_) => {}
        }
        // `{"time":"2024-01-02T03:04:05.678901234Z","event":"failure"`: the kind stands near the start.
        let head = &line[..line.len().min(80)];
        let is = |kind: &[u8]| head.windows(kind.len()).any(|window| window == kind);
        if !is(br#""event":"failure""#) && !is(br#""event":"state""#) {
            continue;
        }
        match serde_json::from_slice::<Event>(&line).map(|event| event.kind) {
            Ok(EventKind::Failure(failure)) => verdict.failure = Some(failure),
            Ok(EventKind::State { state, reason }) if state.is_finished() => verdict.end = Some((state, reason)),
            _ => {}
        }
    }
}
