//! Taking an orchestrator's log apart again (`client-and-koji.md` 2.13, `reactor.md` 4.3).
//!
//! From events the platform comes out of band, so nothing a build prints can pass for another platform's line
//! (`reactor.md` 6.3, X8). [`demultiplex_line`] does the same for a text in the OSBS format that comes from elsewhere.

use osbs_types::{Event, EventKind, NO_PLATFORM, render_log_line};
use std::borrow::Cow;

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// The worker it comes from; `None` = the orchestrator itself.
    pub platform: Option<String>,
    /// The line without its end; bytes that are not UTF-8 are replaced.
    pub line: String,
}

/// The field that a relayed line carries still.
const OWN_FIELD: &[u8] = b"platform:-";

/// A worker's line without its own `platform:-`: `DATE TIME - LOGGER ...`. Any other line as it is.
pub fn strip_relayed_platform(line: &[u8]) -> Cow<'_, [u8]> {
    let mut fields = line.splitn(4, |b| *b == b' ');
    match (fields.next(), fields.next(), fields.next(), fields.next()) {
        (Some(date), Some(time), Some(third), Some(rest)) if third == OWN_FIELD => {
            Cow::Owned([date, time, rest].join(&b' '))
        }
        _ => Cow::Borrowed(line),
    }
}

/// The lines of an event: none if it is no log line, several if its message is.
pub fn entries_of(event: &Event) -> Vec<LogEntry> {
    let EventKind::Log(line) = &event.kind else { return Vec::new() };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if let Some(platform) = line.platform.as_deref().filter(|platform| *platform != NO_PLATFORM) {
        return line
            .message
            .split(|b| *b == b'\n')
            .map(|physical| LogEntry {
                platform: Some(platform.to_owned()),
                line: text(&strip_relayed_platform(physical)),
            })
            .collect();
    }
    let mut rendered = Vec::new();
    render_log_line(&mut rendered, event.time, line);
    let body = rendered.strip_suffix(b"\n").unwrap_or(&rendered);
    body.split(|b| *b == b'\n').map(|line| LogEntry { platform: None, line: text(line) }).collect()
}

/// Platform and text of one physical line in the OSBS format. Lines that name a platform and have no eight fields are the
/// orchestrator's, unchanged.
pub fn demultiplex_line(line: &str) -> LogEntry {
    let own = || LogEntry { platform: None, line: line.to_owned() };
    if line.split_whitespace().count() < 4 {
        return own();
    }
    let third = line.split_whitespace().nth(2).unwrap_or_default();
    let Some(platform) = third.strip_prefix("platform:").filter(|platform| *platform != NO_PLATFORM) else {
        return own();
    };
    // Eight fields, each with the one space behind it; further spaces belong to the message.
    let mut rest = line.trim_start();
    for field in 0..8 {
        rest = match (rest.split_once(' '), field) {
            (Some(("", _)), _) => return own(),
            (Some((_, behind)), _) => behind,
            (None, 7) if !rest.is_empty() => "",
            (None, _) => return own(),
        };
    }
    let stripped = strip_relayed_platform(rest.as_bytes());
    LogEntry { platform: Some(platform.to_owned()), line: String::from_utf8_lossy(&stripped).into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use osbs_types::{Level, LogLine};

    #[track_caller]
    fn check(line: &str, platform: Option<&str>, expect: &str) {
        let entry = LogEntry { platform: platform.map(str::to_owned), line: expect.to_owned() };
        assert_eq!(demultiplex_line(line), entry);
    }

    #[test]
    fn lines_of_the_reference() {
        let own = "2017-06-23 17:18:41,791 platform:- - atomic_reactor.foo - DEBUG - from the orchestrator";
        check(own, None, own);
        check(
            "2017-06-23 17:18:41,791 platform:x86_64 - atomic_reactor.foo - INFO - 2017-06-23 17:18:41,400 platform:- - atomic_reactor.foo - DEBUG - from a worker",
            Some("x86_64"),
            "2017-06-23 17:18:41,400 - atomic_reactor.foo - DEBUG - from a worker",
        );
        let relayed = "2017-06-23 17:18:41,791 platform:x86_64 - atomic_reactor.foo - INFO - ";
        check(&format!("{relayed}continuation line"), Some("x86_64"), "continuation line");
        check(&format!("{relayed}  indented"), Some("x86_64"), "  indented");
        check(relayed, Some("x86_64"), "");
        check(relayed.trim_end(), Some("x86_64"), "");
        for own in ["2017-06-23 17:18:41,791 - I really like bacon", "   line 1", "", "a b platform:x86_64 c"] {
            check(own, None, own);
        }
    }

    #[track_caller]
    fn check_event(platform: Option<&str>, message: &[u8], expect: &[(Option<&str>, &str)]) {
        let mut line = LogLine::new("x.y", Level::Info, message);
        line.platform = platform.map(str::to_owned);
        let event = Event { time: "2024-01-02T03:04:05.678Z".parse().expect("valid"), kind: EventKind::Log(line) };
        let entries = entries_of(&event);
        let found: Vec<_> = entries.iter().map(|e| (e.platform.as_deref(), e.line.as_str())).collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn events() {
        let prefix = "2024-01-02 03:04:05,678 platform:- - x.y - INFO - ";
        check_event(None, b"pulled ", &[(None, &format!("{prefix}pulled"))]);
        check_event(None, b"a\nb", &[(None, &format!("{prefix}a")), (None, &format!("{prefix}b"))]);
        check_event(
            Some("ppc64le"),
            b"2024-01-02 03:04:05,400 platform:- - a.b - DEBUG - from a worker",
            &[(Some("ppc64le"), "2024-01-02 03:04:05,400 - a.b - DEBUG - from a worker")],
        );
        check_event(Some("x86_64"), b"\xff", &[(Some("x86_64"), "\u{fffd}")]);
        // Text that imitates a relayed line stays what it is.
        check_event(
            None,
            b"2024-01-02 03:04:05,678 platform:x86_64 - a - INFO - fake",
            &[(None, &format!("{prefix}2024-01-02 03:04:05,678 platform:x86_64 - a - INFO - fake"))],
        );
    }
}
