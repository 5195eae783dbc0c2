//! Reading the event log from any offset, while it is being written. Never fails on what it reads: a line that is no
//! event is shown as a log line.

use crate::{ClusterError, StoredEvent, storage};
use osbs_types::{Event, EventKind, Level, LogLine, Timestamp};
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

/// Whole lines of a log, line ends and all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lines {
    /// Where the first begins.
    pub from: u64,
    /// The lines.
    pub bytes: Vec<u8>,
}

/// The reading end of a file of lines that grows.
#[derive(Debug)]
pub struct LineReader {
    path: PathBuf,
    file: Option<File>,
    /// Where `buffer` begins in the file: always the start of a line, or a place that was asked for.
    offset: u64,
    buffer: Vec<u8>,
}

impl LineReader {
    /// Reads the file at `path` behind `from`. The file may come later.
    pub fn new(path: &Path, from: u64) -> Self {
        Self { path: path.to_owned(), file: None, offset: from, buffer: Vec::new() }
    }

    /// The next lines, some of those that are there. None: that was all for now, a torn line at the end aside.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn next_lines(&mut self) -> Result<Option<Lines>, ClusterError> {
        self.read_lines().map_err(storage("read the event log", &self.path))
    }

    /// What is left when no writer is: a torn last line.
    pub fn rest(&mut self) -> Option<Lines> {
        let (from, bytes) = (self.offset, std::mem::take(&mut self.buffer));
        self.offset += bytes.len() as u64;
        (!bytes.is_empty()).then_some(Lines { from, bytes })
    }

    fn open(&mut self) -> io::Result<Option<&File>> {
        if self.file.is_none() {
            match File::open(&self.path) {
                Ok(file) => self.file = Some(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.file.as_ref())
    }

    fn read_lines(&mut self) -> io::Result<Option<Lines>> {
        loop {
            let held = self.buffer.len();
            let place = self.offset + held as u64;
            let mut chunk = std::mem::take(&mut self.buffer);
            let Some(file) = self.open()? else { return Ok(None) };
            chunk.resize(held + CHUNK, 0);
            let count = file.read_at(&mut chunk[held..], place);
            chunk.truncate(held + *count.as_ref().unwrap_or(&0));
            self.buffer = chunk;
            if count? == 0 {
                return Ok(None);
            }
            let end = match self.buffer[held..].iter().rposition(|b| *b == b'\n') {
                Some(position) => held + position + 1,
                None if self.buffer.len() >= LONGEST_LINE => self.buffer.len(),
                None => continue,
            };
            let tail = self.buffer.split_off(end);
            let lines = Lines { from: self.offset, bytes: std::mem::replace(&mut self.buffer, tail) };
            self.offset += end as u64;
            return Ok(Some(lines));
        }
    }
}

/// Makes events of lines.
#[derive(Debug, Clone)]
pub struct EventParser {
    /// The time of a line that tells none: that of the event before it.
    last_time: Timestamp,
}

impl EventParser {
    /// For lines whose times are not known, `time` until one tells its own.
    pub fn new(time: Timestamp) -> Self {
        Self { last_time: time }
    }

    /// The event of one line, without its end, that ends before `offset`. An empty line is none.
    pub fn event(&mut self, line: &[u8], offset: u64) -> Option<StoredEvent> {
        if line.is_empty() {
            return None;
        }
        let event = serde_json::from_slice::<Event>(line).unwrap_or_else(|_| Event {
            time: self.last_time,
            kind: EventKind::Log(LogLine::new(STRAY_LOGGER, Level::Warning, line)),
        });
        self.last_time = event.time;
        Some(StoredEvent { offset, event })
    }

    /// The events of whole lines.
    pub fn events(&mut self, lines: &Lines) -> Vec<StoredEvent> {
        let mut offset = lines.from;
        let mut events = Vec::new();
        for line in lines.bytes.split_inclusive(|b| *b == b'\n') {
            offset += line.len() as u64;
            events.extend(self.event(line.strip_suffix(b"\n").unwrap_or(line), offset));
        }
        events
    }
}

/// The reading end of an event log that is a file.
#[derive(Debug)]
pub struct EventReader {
    lines: LineReader,
    parser: Option<EventParser>,
    /// The first line begins in the middle of one: skip to its end.
    skip: bool,
}

impl EventReader {
    /// Reads the log at `path` behind `from` (0, or an offset from [`StoredEvent`]). The file may come later.
    pub fn new(path: &Path, from: u64) -> Self {
        Self { lines: LineReader::new(path, from), parser: None, skip: false }
    }

    /// The next events, some of those that are there. None: that was all for now, a torn line at the end aside.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn next_batch(&mut self) -> Result<Vec<StoredEvent>, ClusterError> {
        self.set_up().map_err(storage("read the event log", &self.lines.path))?;
        while let Some(mut lines) = self.lines.next_lines()? {
            if std::mem::take(&mut self.skip) {
                let end = lines.bytes.iter().position(|b| *b == b'\n').map_or(lines.bytes.len(), |end| end + 1);
                lines.bytes.drain(..end);
                lines.from += end as u64;
            }
            let events = self.events(&lines);
            if !events.is_empty() {
                return Ok(events);
            }
        }
        Ok(Vec::new())
    }

    /// What is left when no writer is: a torn last line.
    pub fn rest(&mut self) -> Option<StoredEvent> {
        let rest = self.lines.rest()?;
        self.events(&rest).pop()
    }

    fn events(&mut self, lines: &Lines) -> Vec<StoredEvent> {
        self.parser.as_mut().map(|parser| parser.events(lines)).unwrap_or_default()
    }

    fn set_up(&mut self) -> io::Result<()> {
        if self.parser.is_some() {
            return Ok(());
        }
        let offset = self.lines.offset;
        let Some(file) = self.lines.open()? else { return Ok(()) };
        let modified = file.metadata()?.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
        if offset > 0 {
            let mut before = [0];
            self.skip = file.read_at(&mut before, offset - 1)? == 1 && before != *b"\n";
        }
        self.parser = Some(EventParser::new(modified.unwrap_or(Timestamp::UNIX_EPOCH)));
        Ok(())
    }
}
