//! What a site's program may say, and what becomes of everything else it writes.
//!
//! Standard output: one JSON object a line. Both streams are bounded, in the length of a line and as a whole; control
//! characters do not reach the log, and every line of log has the prefix of the plugin. What is secret in this build is
//! masked before anything is cut.

use crate::events::Logger;
use crate::plugin::{Done, PluginError, PluginResult};
use osbs_types::{ErrorKind, Failure, Level};
use serde::Deserialize;
use serde_json::Value;
use std::io::Read;
use std::sync::{Mutex, PoisonError};

/// Longest line; a longer one is refused on standard output and cut in pieces on standard error.
pub(super) const MAX_LINE: usize = 1 << 20;
/// Most bytes of each stream.
pub(super) const MAX_OUTPUT: u64 = 64 << 20;
/// Longest text of an error; what is longer is cut.
const MAX_TEXT: usize = 4 << 10;
/// Lines of standard error that the error of a failed program shows.
const KEPT_LINES: usize = 5;

/// One line of standard output. Exactly one of the first four is there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    log: Option<String>,
    /// Absent is no result, null is one.
    #[serde(default, deserialize_with = "some")]
    result: Option<Value>,
    skip: Option<String>,
    error: Option<String>,
    /// Of `log`.
    level: Option<SaidLevel>,
    /// Of `error`.
    kind: Option<SaidKind>,
    /// Of `error`.
    hint: Option<String>,
}

fn some<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum SaidLevel {
    Debug,
    Info,
    Warning,
    Error,
}

/// The kinds a program may blame; whether a build was cancelled is not its to say.
#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum SaidKind {
    User,
    Policy,
    Remote,
    Resource,
    Internal,
}

/// What the program said so far.
#[derive(Default)]
struct Told {
    end: Option<End>,
    last_errors: std::collections::VecDeque<String>,
    /// What it may not say: the program is stopped.
    broken: Option<String>,
}

enum End {
    Result(Value),
    Skip(String),
    Error(Box<Failure>),
}

/// Listens to both streams.
pub(super) struct Listener<'a> {
    log: &'a Logger,
    told: Mutex<Told>,
}

impl<'a> Listener<'a> {
    /// Nothing is heard yet; what is worth it goes to `log`.
    pub(super) fn new(log: &'a Logger) -> Self {
        Self { log, told: Mutex::default() }
    }

    /// Reads standard output to its end.
    pub(super) fn output(&self, stream: impl Read) {
        read_lines(stream, |line, is_whole| {
            if is_whole {
                self.said(line);
            } else {
                self.break_off(format!("a line of more than {} KiB", MAX_LINE >> 10));
            }
        })
        .unwrap_or_else(|()| self.break_off(format!("more than {} MiB of output", MAX_OUTPUT >> 20)));
    }

    /// Reads standard error to its end: warnings.
    pub(super) fn errors(&self, stream: impl Read) {
        read_lines(stream, |line, _| {
            let text = self.fit(&String::from_utf8_lossy(line));
            let mut told = self.told();
            told.last_errors.push_back(cut(&text, 200));
            if told.last_errors.len() > KEPT_LINES {
                told.last_errors.pop_front();
            }
            drop(told);
            self.log.warning(text);
        })
        .unwrap_or_else(|()| self.break_off(format!("more than {} MiB of errors", MAX_OUTPUT >> 20)));
    }

    /// Whether it said what it may not say.
    pub(super) fn is_broken(&self) -> bool {
        self.told().broken.is_some()
    }

    /// How the plugin ends, once the program has ended with that (`None`: well).
    pub(super) fn ended(self, bad_status: Option<String>) -> PluginResult {
        let told = self.told.into_inner().unwrap_or_else(PoisonError::into_inner);
        let failed = |text: String| {
            Err(PluginError::resource(text).with_hint("it is the site's own plugin: ask whoever keeps it"))
        };
        if let Some(problem) = told.broken {
            return failed(format!("the program does not keep to the protocol: {problem}"));
        }
        match (told.end, bad_status) {
            (Some(End::Error(failure)), _) => Err(PluginError::Failed(failure)),
            (_, Some(status)) => {
                let last: Vec<_> = told.last_errors.into();
                let last = if last.is_empty() { String::new() } else { format!(": {}", last.join("; ")) };
                failed(format!("the program failed ({status}){last}"))
            }
            (Some(End::Result(value)), None) => Ok(Done::Value(value)),
            (Some(End::Skip(why)), None) => Ok(Done::Skipped(why)),
            (None, None) => Ok(Done::nothing()),
        }
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The text as it may be shown.
    fn fit(&self, text: &str) -> String {
        let text = clean(text);
        self.log.mask(&text).into_owned()
    }

    fn break_off(&self, problem: String) {
        self.told().broken.get_or_insert(problem);
    }

    fn said(&self, line: &[u8]) {
        let start = line.trim_ascii_start();
        if start.is_empty() {
            return;
        }
        if start[0] != b'{' {
            // Somebody's echo: worth the log, and no more.
            return self.log.info(self.fit(&String::from_utf8_lossy(line)));
        }
        match serde_json::from_slice::<Said>(line)
            .map_err(|error| error.to_string())
            .and_then(|said| said.meaning(&|text| self.fit(text)))
        {
            Ok(Meaning::Log(level, text)) => self.log.log(level, text),
            // An error stands, whatever comes after it.
            Ok(Meaning::End(end)) => {
                let mut told = self.told();
                if !matches!(told.end, Some(End::Error(_))) {
                    told.end = Some(end);
                }
            }
            Err(problem) => {
                let line = cut(&self.fit(&String::from_utf8_lossy(line)), 200);
                self.break_off(format!("{problem} in its line {line}"));
            }
        }
    }
}

enum Meaning {
    Log(Level, String),
    End(End),
}

impl Said {
    /// `fit` makes a text one that may be shown.
    fn meaning(self, fit: &dyn Fn(&str) -> String) -> Result<Meaning, String> {
        let given = [self.log.is_some(), self.result.is_some(), self.skip.is_some(), self.error.is_some()];
        if given.iter().filter(|given| **given).count() != 1 {
            return Err("not exactly one of log, result, skip and error".to_owned());
        }
        if self.level.is_some() && self.log.is_none() {
            return Err("level without log".to_owned());
        }
        if (self.kind.is_some() || self.hint.is_some()) && self.error.is_none() {
            return Err("kind or hint without error".to_owned());
        }
        if let Some(text) = self.log {
            let level = match self.level.unwrap_or(SaidLevel::Info) {
                SaidLevel::Debug => Level::Debug,
                SaidLevel::Info => Level::Info,
                SaidLevel::Warning => Level::Warning,
                SaidLevel::Error => Level::Error,
            };
            return Ok(Meaning::Log(level, fit(&text)));
        }
        let one_line = |text: &str| cut(&fit(text).replace('\n', " "), MAX_TEXT);
        if let Some(why) = self.skip {
            return Ok(Meaning::End(End::Skip(one_line(&why))));
        }
        if let Some(text) = self.error {
            let kind = match self.kind.unwrap_or(SaidKind::User) {
                SaidKind::User => ErrorKind::User,
                SaidKind::Policy => ErrorKind::Policy,
                SaidKind::Remote => ErrorKind::Remote,
                SaidKind::Resource => ErrorKind::Resource,
                SaidKind::Internal => ErrorKind::Internal,
            };
            let mut failure = Failure::message(kind, one_line(&text));
            failure.hint = self.hint.as_deref().map(one_line);
            return Ok(Meaning::End(End::Error(Box::new(failure))));
        }
        Ok(Meaning::End(End::Result(self.result.unwrap_or_default())))
    }
}

/// Without control characters but newline and tab: a log is shown on terminals.
fn clean(text: &str) -> String {
    let keep = |c: char| if c.is_control() && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c };
    text.trim_end_matches(['\n', '\r']).chars().map(keep).collect()
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Gives each line, without its newline, and whether it is whole; `Err`: there was too much, and the rest is not read.
fn read_lines(mut stream: impl Read, mut tell: impl FnMut(&[u8], bool)) -> Result<(), ()> {
    let (mut line, mut buffer, mut total) = (Vec::new(), vec![0; 16 << 10], 0_u64);
    loop {
        let count = match stream.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => 0,
        };
        if count == 0 {
            if !line.is_empty() {
                tell(&line, true);
            }
            return Ok(());
        }
        total += count as u64;
        if total > MAX_OUTPUT {
            return Err(());
        }
        for piece in buffer[..count].split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(piece.strip_suffix(b"\n").unwrap_or(piece));
            if piece.ends_with(b"\n") {
                tell(&line, true);
                line.clear();
            } else if line.len() >= MAX_LINE {
                tell(&line, false);
                line.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{MemorySink, SystemClock};
    use osbs_types::EventKind;
    use serde_json::json;
    use std::sync::Arc;

    /// What these bytes on standard output lead to, and the log.
    fn heard(output: &[u8], status: Option<&str>) -> (PluginResult, Vec<String>) {
        let sink = Arc::new(MemorySink::default());
        let log = Logger::new(Arc::clone(&sink) as _, Arc::new(SystemClock), "test");
        let listener = Listener::new(&log);
        listener.output(output);
        let done = listener.ended(status.map(str::to_owned));
        let texts = sink.events().into_iter().filter_map(|event| match event.kind {
            EventKind::Log(line) => Some(format!("{} {}", line.level.as_str(), line.text())),
            _ => None,
        });
        (done, texts.collect())
    }

    #[track_caller]
    fn check_end(output: &str, status: Option<&str>, expected: Result<Done, (ErrorKind, &str)>) {
        match (heard(output.as_bytes(), status).0, expected) {
            (Ok(done), Ok(wanted)) => assert_eq!(done, wanted, "{output}"),
            (Err(error), Err((kind, part))) => {
                let failure = error.into_failure();
                assert!(failure.kind == kind && failure.message.contains(part), "{output}: {failure}");
            }
            (other, wanted) => panic!("{output}: {other:?}, expected {wanted:?}"),
        }
    }

    #[test]
    fn every_way_to_end() {
        check_end("", None, Ok(Done::nothing()));
        check_end("{\"result\": {\"a\": 1}}\n", None, Ok(Done::Value(json!({"a": 1}))));
        check_end("{\"result\": null}", None, Ok(Done::Value(Value::Null)));
        check_end("{\"result\": 1}\n{\"result\": 2}\n", None, Ok(Done::Value(json!(2))));
        check_end("{\"skip\": \"not today\"}", None, Ok(Done::Skipped("not today".into())));
        check_end("{\"error\": \"too large\"}", None, Err((ErrorKind::User, "too large")));
        check_end(
            "{\"error\": \"no\", \"kind\": \"policy\", \"hint\": \"h\"}",
            Some("exit 3"),
            Err((ErrorKind::Policy, "no")),
        );
        check_end("{\"error\": \"first\"}\n{\"result\": 1}\n", None, Err((ErrorKind::User, "first")));
        check_end("{\"result\": 1}\n", Some("exit status: 3"), Err((ErrorKind::Resource, "failed (exit status: 3)")));
        check_end("{\"error\": \"a\\nb\\u001b[2J\"}", None, Err((ErrorKind::User, "a b\u{fffd}[2J")));
    }

    #[test]
    fn what_is_against_the_protocol() {
        for (output, part) in [
            ("{\"result\": }", "expected value"),
            ("{\"resutl\": 1}", "unknown field `resutl`"),
            ("{}", "not exactly one of log, result, skip and error"),
            ("{\"log\": \"a\", \"result\": 1}", "not exactly one"),
            ("{\"log\": 1}", "expected a string"),
            ("{\"log\": \"a\", \"level\": \"loud\"}", "unknown variant `loud`"),
            ("{\"error\": \"a\", \"kind\": \"cancelled\"}", "unknown variant `cancelled`"),
            ("{\"log\": \"a\", \"kind\": \"user\"}", "kind or hint without error"),
            ("{\"result\": 1, \"level\": \"info\"}", "level without log"),
        ] {
            check_end(output, None, Err((ErrorKind::Resource, part)));
        }
        check_end(
            &format!("{{\"log\": \"{}\"}}\n", "x".repeat(MAX_LINE)),
            None,
            Err((ErrorKind::Resource, "1024 KiB")),
        );
    }

    #[test]
    fn the_log_has_no_control_characters_and_no_lines_of_others() {
        let output = b"{\"log\": \"one\\ntwo\\u001b]0;x\\u0007\", \"level\": \"warning\"}\nplain \x1b[31m\xff\n\n";
        let (_, texts) = heard(output, None);
        assert_eq!(texts, ["WARNING one\ntwo\u{fffd}]0;x\u{fffd}", "INFO plain \u{fffd}[31m\u{fffd}"]);
    }

    #[test]
    fn a_flood_ends() {
        struct Flood;
        impl Read for Flood {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                buffer.fill(b'\n');
                Ok(buffer.len())
            }
        }
        let sink = Arc::new(MemorySink::default());
        let log = Logger::new(sink as _, Arc::new(SystemClock), "test");
        let listener = Listener::new(&log);
        listener.output(Flood);
        assert!(listener.is_broken());
    }
}
