//! What a dead pod has left of its log behind the archive. Pure. Lines that are lost for good, because the kubelet has
//! rotated them away and nobody had archived them, are made up for by a line that says so and by empty lines, so that what
//! comes behind them keeps its offset.

use super::line_of;
use super::pod_log;
use osbs_cluster::STRAY_LOGGER;
use osbs_types::{Event, EventKind, Level, LogLine, Timestamp};

/// Kept of what is on standard output and is no line of the log.
const CONSOLE: usize = 16 << 10;
/// Longest line that is put together.
const LONGEST_LINE: usize = 33 << 20;

/// A longer gap is none that the kubelet makes within the time in which a log is archived: such a line is none of ours.
const LONGEST_GAP: u64 = 256 << 20;

/// The log behind some place.
pub(crate) struct Tail {
    from: u64,
    bytes: Vec<u8>,
    /// A line of the pod's output that has begun.
    line: Vec<u8>,
    console: Vec<u8>,
}

impl Tail {
    /// Everything before `from` is archived.
    pub(crate) fn behind(from: u64) -> Self {
        Self { from, bytes: Vec::new(), line: Vec::new(), console: Vec::new() }
    }

    /// More of the pod's output.
    pub(crate) fn pod_log(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") || self.line.len() > LONGEST_LINE {
                let line = std::mem::take(&mut self.line);
                self.take(&line);
            }
        }
    }

    fn take(&mut self, line: &[u8]) {
        if let Some(piece) = pod_log::parse(line) {
            self.line(piece.from, &piece.bytes);
        } else {
            self.console.extend_from_slice(line);
            self.console.drain(..self.console.len().saturating_sub(CONSOLE));
        }
    }

    /// A line of the log that begins at `from`.
    pub(crate) fn line(&mut self, from: u64, line: &[u8]) {
        let next = self.from + self.bytes.len() as u64;
        if from.saturating_sub(next) > LONGEST_GAP {
            return;
        }
        if from > next {
            self.fill((from - next) as usize);
        }
        let known = (self.from + self.bytes.len() as u64).saturating_sub(from);
        self.bytes.extend(line.get(known as usize..).unwrap_or_default());
    }

    /// Fills a gap.
    fn fill(&mut self, length: usize) {
        let text = format!("{length} bytes of this log were lost with the build's pod");
        let line = LogLine::new(STRAY_LOGGER, Level::Warning, text);
        let told = [vec![b'\n'], line_of(&Event { time: Timestamp::now(), kind: EventKind::Log(line) })].concat();
        let end = self.bytes.len() + length;
        if told.len() <= length {
            self.bytes.extend(told);
        }
        self.bytes.resize(end, b'\n');
    }

    /// Where it begins, its bytes, and what else stood on standard output.
    pub(crate) fn into_parts(mut self) -> (u64, Vec<u8>, Vec<u8>) {
        if !self.line.is_empty() {
            let line = std::mem::take(&mut self.line);
            self.take(&line);
        }
        (self.from, self.bytes, self.console)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;
    use osbs_cluster::{EventParser, Lines, StoredEvent};

    const LOG: &[u8] = b"{\"one\":1}\n{\"two\":2}\n{\"three\":3}\n";

    fn printed(from: usize) -> Vec<u8> {
        let mut out = Vec::new();
        pod_log::print(&mut out, from as u64, &LOG[from..]).unwrap();
        out
    }

    fn events(from: u64, bytes: Vec<u8>) -> Vec<StoredEvent> {
        EventParser::new(Timestamp::UNIX_EPOCH).events(&Lines { from, bytes })
    }

    #[test]
    fn it_begins_where_the_archive_ends() {
        for archived in 0..=LOG.len() {
            let mut tail = Tail::behind(archived as u64);
            let output = [b"exec: ".to_vec(), printed(0), b"no such file\n".to_vec()].concat();
            for part in output.chunks(7) {
                tail.pod_log(part);
            }
            tail.pod_log(b"half");
            let (from, bytes, console) = tail.into_parts();
            // The first line is spoiled by what stands before it.
            let found = if archived < 10 { &b""[..] } else { &LOG[archived..] };
            if archived >= 10 {
                assert_eq!((from, &bytes[..]), (archived as u64, found));
            } else {
                assert_eq!((from + bytes.len() as u64) as usize, LOG.len());
            }
            assert!(console.ends_with(b"no such file\nhalf"));
        }
    }

    #[test]
    fn what_is_lost_leaves_the_offsets_as_they_were() {
        for gap in [1_u64, 90, 91, 1000, 20_000_000] {
            let mut tail = Tail::behind(5);
            let begin = 5 + gap;
            let mut line = Vec::new();
            pod_log::print(&mut line, begin, b"{\"last\":9}\n").unwrap();
            tail.pod_log(&line);
            let (from, bytes, _) = tail.into_parts();
            let found = events(from, bytes);
            let last = found.last().unwrap();
            assert_eq!(last.offset, begin + 11);
            let told = found.iter().any(|stored| serde_json::to_string(&stored.event).unwrap().contains("were lost"));
            assert_eq!(told, gap > 200 || found.len() > 1, "{gap}");
        }
        let mut tail = Tail::behind(0);
        let mut line = Vec::new();
        pod_log::print(&mut line, u64::MAX - 10, b"x\n").unwrap();
        tail.pod_log(&line);
        assert_eq!(tail.into_parts().1.len(), 0);
    }
}
