//! Which log files of a task an event of its build adds to (client-and-koji 4.5).
//!
//! The same events make the same bytes, always: whoever starts again after an interruption renders from the first event
//! and leaves out what the hub has. Must not know how bytes get to the hub.

use osbs_client::entries_of;
use osbs_types::{Event, EventKind, NO_PLATFORM, render_log_line};
use std::collections::BTreeMap;

/// Everything, interleaved, with the platform in each line: `koji watch-logs TASK | grep -w x86_64`.
const MIXED: &str = "openshift-incremental.log";
/// The orchestrator's own lines.
const ORCHESTRATOR: &str = "orchestrator.log";

/// Log files as they grow.
#[derive(Debug, Default)]
pub struct LogFiles {
    files: BTreeMap<String, LogFile>,
}

/// One of them.
#[derive(Debug, Default)]
struct LogFile {
    /// Bytes that were made so far, those handed out included.
    made: u64,
    /// Bytes that the hub has.
    there: u64,
    /// What it does not have: the last bytes of `made`.
    waiting: Vec<u8>,
}

impl LogFiles {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The hub has so many bytes of a file already, from an earlier run.
    pub fn resume(&mut self, name: &str, there: u64) {
        self.files.entry(name.to_owned()).or_default().there = there;
    }

    /// Adds what an event says.
    pub fn add(&mut self, event: &Event) {
        let EventKind::Log(line) = &event.kind else { return };
        let mut mixed = Vec::new();
        render_log_line(&mut mixed, event.time, line);
        self.append(MIXED, &mixed);
        for entry in entries_of(event) {
            let name = match entry.platform.as_deref() {
                Some(platform) if platform != NO_PLATFORM => file_of(platform),
                _ => ORCHESTRATOR.to_owned(),
            };
            self.append(&name, format!("{}\n", entry.line).as_bytes());
        }
    }

    /// Adds lines that are not the build's, to a file of their own.
    pub fn add_text(&mut self, name: &str, text: &str) {
        self.append(name, text.as_bytes());
    }

    fn append(&mut self, name: &str, bytes: &[u8]) {
        let file = self.files.entry(name.to_owned()).or_default();
        let known = usize::try_from(file.there.saturating_sub(file.made)).unwrap_or(usize::MAX).min(bytes.len());
        file.made += bytes.len() as u64;
        file.waiting.extend_from_slice(&bytes[known..]);
    }

    /// Bytes that wait, of all files.
    pub fn waiting(&self) -> usize {
        self.files.values().map(|file| file.waiting.len()).sum()
    }

    /// Names of the files for which something waits.
    pub fn with_news(&self) -> Vec<String> {
        self.files.iter().filter(|(_, file)| !file.waiting.is_empty()).map(|(name, _)| name.clone()).collect()
    }

    /// The next bytes of a file, at most `most`, with the offset that they belong at.
    pub fn next(&self, name: &str, most: usize) -> Option<(u64, &[u8])> {
        let file = self.files.get(name).filter(|file| !file.waiting.is_empty())?;
        Some((file.there, &file.waiting[..most.min(file.waiting.len())]))
    }

    /// The hub has so many more bytes of it.
    pub fn taken(&mut self, name: &str, bytes: usize) {
        if let Some(file) = self.files.get_mut(name) {
            let bytes = bytes.min(file.waiting.len());
            file.waiting.drain(..bytes);
            if file.waiting.is_empty() {
                // Most files are silent for long, and tasks are many.
                file.waiting = Vec::new();
            }
            file.there += bytes as u64;
        }
    }
}

/// A platform becomes a file name: nothing of it may lead elsewhere.
fn file_of(platform: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "_-".contains(c) { c } else { '_' };
    format!("{}.log", platform.chars().map(safe).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use osbs_types::{Level, LogLine};

    fn event(platform: Option<&str>, message: &str) -> Event {
        let mut line = LogLine::new("x.y", Level::Info, message);
        line.platform = platform.map(str::to_owned);
        Event { time: "2024-01-02T03:04:05.678Z".parse().expect("valid"), kind: EventKind::Log(line) }
    }

    fn whole(files: &LogFiles, name: &str) -> String {
        files.next(name, usize::MAX).map_or_else(String::new, |(_, bytes)| String::from_utf8_lossy(bytes).into_owned())
    }

    #[test]
    fn each_line_goes_to_its_file_and_to_the_mixed_one() {
        let mut files = LogFiles::new();
        files.add(&event(None, "pulled"));
        files.add(&event(Some("x86_64"), "2024-01-02 03:04:05,400 platform:- - a.b - DEBUG - built"));
        files.add(&event(Some("../etc"), "odd"));
        assert_eq!(whole(&files, ORCHESTRATOR), "2024-01-02 03:04:05,678 platform:- - x.y - INFO - pulled\n");
        assert_eq!(whole(&files, "x86_64.log"), "2024-01-02 03:04:05,400 - a.b - DEBUG - built\n");
        assert_eq!(whole(&files, "___etc.log"), "odd\n");
        assert_eq!(
            whole(&files, MIXED).lines().collect::<Vec<_>>(),
            [
                "2024-01-02 03:04:05,678 platform:- - x.y - INFO - pulled",
                "2024-01-02 03:04:05,678 platform:x86_64 - x.y - INFO - \
                 2024-01-02 03:04:05,400 platform:- - a.b - DEBUG - built",
                "2024-01-02 03:04:05,678 platform:../etc - x.y - INFO - odd",
            ]
        );
    }

    #[test]
    fn what_the_hub_has_is_left_out_after_a_restart() {
        let lines: Vec<Event> = (0..50).map(|number| event(None, &format!("line {number}"))).collect();
        let mut first = LogFiles::new();
        for line in &lines {
            first.add(line);
        }
        let all = whole(&first, ORCHESTRATOR);
        for there in [0, 1, 60, 61, all.len() - 1, all.len()] {
            let mut again = LogFiles::new();
            again.resume(ORCHESTRATOR, there as u64);
            for line in &lines {
                again.add(line);
            }
            let mut text = all[..there].to_owned();
            while let Some((offset, bytes)) = again.next(ORCHESTRATOR, 7) {
                assert_eq!(offset, text.len() as u64);
                text.push_str(std::str::from_utf8(bytes).expect("ASCII"));
                let bytes = bytes.len();
                again.taken(ORCHESTRATOR, bytes);
            }
            assert_eq!(text, all, "{there}");
        }
    }
}
