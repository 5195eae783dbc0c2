//! Writing the event log: JSON lines, appended whole, by any number of processes.
//!
//! The kernel appends one `write` at a time to a file opened with `O_APPEND`, so lines of several writers never mix. A
//! write cut short (disk full, killed) leaves a torn line; the next writer closes it with a line end, and readers show it
//! as an ordinary log line.

use crate::{ClusterError, storage};
use osbs_types::{Event, EventKind, Timestamp};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The writing end of an event log.
#[derive(Debug)]
pub struct EventLog {
    file: File,
    path: PathBuf,
    buffer: Vec<u8>,
    torn: bool,
}

impl EventLog {
    /// Opens the log at `path`, makes it if need be, and closes a torn last line.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: &Path) -> Result<Self, ClusterError> {
        let file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .mode(0o600)
            .open(path)
            .map_err(storage("open the event log", path))?;
        let torn = ends_torn(&file).map_err(storage("read the event log", path))?;
        Ok(Self { file, path: path.to_owned(), buffer: Vec::new(), torn })
    }

    /// Appends what happened now.
    ///
    /// # Errors
    /// See [`EventLog::append_batch`].
    pub fn append(&mut self, kind: EventKind) -> Result<(), ClusterError> {
        self.append_batch(&[Event { time: Timestamp::now(), kind }])
    }

    /// Appends events with one write. States and failures are on disk when this returns; other events are safe from the
    /// death of this process, and from that of the machine after [`EventLog::sync`].
    ///
    /// # Errors
    /// The file cannot be written. What was written of it is closed as a torn line by the next call.
    pub fn append_batch(&mut self, events: &[Event]) -> Result<(), ClusterError> {
        self.buffer.clear();
        if self.torn {
            self.buffer.push(b'\n');
        }
        for event in events {
            serde_json::to_writer(&mut self.buffer, event)
                .map_err(|e| storage("write the event log", &self.path)(e.into()))?;
            self.buffer.push(b'\n');
        }
        let written = write_counting(&mut self.file, &self.buffer);
        let result = match written {
            Ok(()) => {
                self.torn = false;
                Ok(())
            }
            Err((0, error)) => Err(error),
            Err((count, error)) => {
                self.torn = self.buffer[count - 1] != b'\n';
                Err(error)
            }
        };
        if self.buffer.capacity() > 4 << 20 {
            self.buffer = Vec::new();
        }
        result.map_err(storage("write the event log", &self.path))?;
        let durable = |event: &Event| matches!(event.kind, EventKind::State { .. } | EventKind::Failure(_));
        if events.iter().any(durable) { self.sync() } else { Ok(()) }
    }

    /// Waits until all is on disk.
    ///
    /// # Errors
    /// The disk failed.
    pub fn sync(&self) -> Result<(), ClusterError> {
        self.file.sync_data().map_err(storage("write the event log", &self.path))
    }
}

/// Writes all of it, in one call if the kernel takes it in one; else says how much of it went in.
fn write_counting(file: &mut File, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut done = 0;
    while done < bytes.len() {
        match file.write(&bytes[done..]) {
            Ok(0) => return Err((done, io::ErrorKind::WriteZero.into())),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((done, error)),
        }
    }
    Ok(())
}

fn ends_torn(file: &File) -> io::Result<bool> {
    let length = file.metadata()?.len();
    if length == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.read_exact_at(&mut last, length - 1)?;
    Ok(last != *b"\n")
}
