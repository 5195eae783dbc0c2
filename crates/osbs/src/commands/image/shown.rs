//! What a user sees of a build while it runs.

use crate::session::Session;
use crate::terminal::harmless;
use osbs_builder::{BuildObserver, StageLabel};
use std::io::Write;

/// What a user sees of a build.
pub(super) fn observer(session: &Session) -> Box<dyn BuildObserver> {
    Box::new(Shown { quiet: session.global().quiet, paint: session.paint() })
}

/// Steps and output lines as they come.
struct Shown {
    quiet: bool,
    paint: crate::terminal::Paint,
}

impl BuildObserver for Shown {
    fn step(&self, stage: StageLabel<'_>, index: usize, total: usize, text: &str) {
        if !self.quiet {
            let first = text.lines().next().unwrap_or_default();
            let (number, prefix) = (self.paint.bold(&format!("[{index}/{total}]")), harmless(&stage.prefix()));
            eprintln!("{number} {prefix}{}", harmless(first));
        }
    }

    fn line(&self, stage: StageLabel<'_>, line: &[u8]) {
        if !self.quiet {
            let text = format!("{}{}", stage.prefix(), String::from_utf8_lossy(line));
            let mut out = std::io::stderr().lock();
            let _ = writeln!(out, "    {}", harmless(&text));
        }
    }

    fn warning(&self, text: &str) {
        eprintln!("{} {}", self.paint.yellow("warning:"), harmless(text));
    }

    fn progress(&self, _what: &'static str, _done: u64, _total: u64) {}
}
