//! The OSBS text format of a log line, one rendering of [`LogLine`] (`reactor.md` section 4).

use crate::{LogLine, Timestamp};
use jiff::tz::TimeZone;
use std::io::Write;

/// Stands where a line belongs to no platform.
pub const NO_PLATFORM: &str = "-";

/// The pseudo-platform of the line that tells a scratch build's metadata path (`reactor.md` 4.4).
pub const METADATA_PLATFORM: &str = "_metadata_";

/// Appends `<date> <time> platform:<P> - <logger> - <LEVEL> - <message>` and a newline to `out`, byte for byte.
///
/// A message of several lines becomes that many lines, each with the prefix: text from a repository can then never stand
/// at the start of a line and imitate one of ours (`reactor.md` 6.3, X8). Times are UTC: machines of several zones meet
/// in one log (6.2, M8).
pub fn render_log_line(out: &mut Vec<u8>, time: Timestamp, line: &LogLine) {
    let time = time.to_zoned(TimeZone::UTC);
    let platform = line.platform.as_deref().unwrap_or(NO_PLATFORM);
    for physical in line.message.split(|b| *b == b'\n') {
        let _ = write!(
            out,
            "{} platform:{platform} - {} - {} - ",
            time.strftime("%Y-%m-%d %H:%M:%S,%3f"),
            line.logger,
            line.level.as_str()
        );
        out.extend_from_slice(physical.strip_suffix(b"\r").unwrap_or(physical));
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Level;

    #[track_caller]
    fn check_render(platform: Option<&str>, message: &[u8], expect: &[u8]) {
        let mut line = LogLine::new("atomic_reactor.core", Level::Info, message);
        line.platform = platform.map(str::to_owned);
        let mut out = Vec::new();
        render_log_line(&mut out, "2024-01-02T03:04:05.678901Z".parse().expect("valid"), &line);
        assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(expect));
    }

    #[test]
    fn eight_fields_then_the_message() {
        check_render(None, b"pulled", b"2024-01-02 03:04:05,678 platform:- - atomic_reactor.core - INFO - pulled\n");
        check_render(
            Some("x86_64"),
            b"a\xffb",
            b"2024-01-02 03:04:05,678 platform:x86_64 - atomic_reactor.core - INFO - a\xffb\n",
        );
    }

    #[test]
    fn every_physical_line_has_the_prefix() {
        check_render(
            None,
            b"one\r\ntwo",
            b"2024-01-02 03:04:05,678 platform:- - atomic_reactor.core - INFO - one\n\
              2024-01-02 03:04:05,678 platform:- - atomic_reactor.core - INFO - two\n",
        );
    }
}
