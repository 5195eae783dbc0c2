//! The log files of a container task, as they grow: the orchestrator's and one a platform.
//!
//! Looked at after the task's state, so that the look after its end finds all there is.

use super::Screen;
use osbs_koji::{Koji, KojiError, calls};
use std::collections::BTreeMap;

/// Everything, interleaved: the same lines as in the other files, and all there is from builders that do not part them.
const MIXED: &str = "openshift-incremental.log";
const ORCHESTRATOR: &str = "orchestrator.log";
/// Logs of the builder itself.
const OF_THE_BUILDER: [&str; 2] = ["checkout-for-labels.log", "osbs-client.log"];

/// Bytes of one answer; the stock client asks for a quarter.
const PART: i64 = 65_536;
/// A line is shown in parts if it is longer.
const LONGEST_LINE: usize = 1 << 20;

/// Where we are in each file.
pub(super) struct Logs {
    task: i64,
    files: BTreeMap<String, Reading>,
    /// The mixed file was there the last time, and no other.
    only_mixed: bool,
}

#[derive(Default)]
struct Reading {
    offset: i64,
    /// A line without its end.
    rest: Vec<u8>,
}

/// Whose lines are in a file: what stands before each. `None`: they are not shown.
fn whose(file: &str) -> Option<&str> {
    let name = file.strip_suffix(".log")?;
    match file {
        MIXED => Some("build"),
        ORCHESTRATOR => Some(name),
        _ if OF_THE_BUILDER.contains(&file) || name.contains('/') => None,
        _ => Some(name),
    }
}

impl Logs {
    pub(super) fn new(task: i64) -> Self {
        Self { task, files: BTreeMap::new(), only_mixed: false }
    }

    /// Shows what has been added; with `last` also lines without an end.
    ///
    /// # Errors
    /// The hub fails.
    pub(super) async fn follow(&mut self, koji: &Koji, screen: &Screen<'_>, last: bool) -> Result<(), KojiError> {
        let files = koji.call(calls::list_task_output(self.task)).await?;
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        let with_mixed = self.wants_mixed(&names, last);
        for file in &files {
            let Some(who) = whose(&file.name).filter(|_| file.name != MIXED || with_mixed) else { continue };
            let volume = file.volumes.first().map(String::as_str);
            let reading = self.files.entry(file.name.clone()).or_default();
            reading.read(koji, self.task, (&file.name, volume), &mut |line| screen.log(who, line)).await?;
            if last {
                reading.flush(&mut |line| screen.log(who, line));
            }
        }
        Ok(())
    }

    /// Whether the mixed file is shown: only if there is no other, and for longer than it takes a builder to make one.
    fn wants_mixed(&mut self, names: &[&str], last: bool) -> bool {
        let others = names.iter().any(|name| *name != MIXED && whose(name).is_some());
        let only = names.contains(&MIXED) && !others;
        let wants = self.files.contains_key(MIXED) || (only && (self.only_mixed || last));
        self.only_mixed = only;
        wants
    }
}

impl Reading {
    async fn read(
        &mut self,
        koji: &Koji,
        task: i64,
        (name, volume): (&str, Option<&str>),
        show: &mut impl FnMut(&str),
    ) -> Result<(), KojiError> {
        loop {
            let part = calls::OutputPart { name, offset: self.offset, size: PART, volume };
            let bytes = koji.call(calls::download_task_output(task, part)).await?;
            if bytes.is_empty() {
                return Ok(());
            }
            self.offset += bytes.len() as i64;
            self.add(&bytes, show);
        }
    }

    fn add(&mut self, bytes: &[u8], show: &mut impl FnMut(&str)) {
        self.rest.extend_from_slice(bytes);
        let mut from = 0;
        while let Some(length) = self.rest[from..].iter().position(|byte| *byte == b'\n') {
            show(&String::from_utf8_lossy(&self.rest[from..from + length]));
            from += length + 1;
        }
        self.rest.drain(..from);
        if self.rest.len() > LONGEST_LINE {
            self.flush(show);
        }
    }

    fn flush(&mut self, show: &mut impl FnMut(&str)) {
        if !self.rest.is_empty() {
            show(&String::from_utf8_lossy(&self.rest));
            self.rest.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_however_they_arrive() {
        let text = "one\ntwo\u{fffd}\n\nlast";
        for size in 1..=text.len() {
            let (mut reading, mut lines) = (Reading::default(), Vec::new());
            for part in text.as_bytes().chunks(size) {
                reading.add(part, &mut |line| lines.push(line.to_owned()));
            }
            assert_eq!(lines, ["one", "two\u{fffd}", ""], "{size}");
            reading.flush(&mut |line| lines.push(line.to_owned()));
            assert_eq!(lines.last().unwrap(), "last");
        }
    }

    #[test]
    fn which_files_are_shown() {
        for (file, expected) in [
            ("x86_64.log", Some("x86_64")),
            ("orchestrator.log", Some("orchestrator")),
            (MIXED, Some("build")),
            ("checkout-for-labels.log", None),
            ("osbs-client.log", None),
            ("metadata.json", None),
            ("a/b.log", None),
        ] {
            assert_eq!(whose(file), expected, "{file}");
        }
    }

    #[test]
    fn the_mixed_file_is_shown_where_there_is_no_other() {
        let mut logs = Logs::new(1);
        assert!(!logs.wants_mixed(&[MIXED], false), "others may be on their way");
        assert!(logs.wants_mixed(&[MIXED, "osbs-client.log"], false));
        let mut parted = Logs::new(1);
        assert!(!parted.wants_mixed(&[MIXED], false));
        assert!(!parted.wants_mixed(&[MIXED, "x86_64.log"], true));
        assert!(Logs::new(1).wants_mixed(&[MIXED], true));
    }
}
