//! `osbs build-logs`: every line a build wrote, now or as it comes.

use crate::args::OutputArg;
use crate::session::Session;
use clap::Args;
use futures_util::StreamExt;
use osbs_types::{Event, EventKind, Failure, LogLine, render_log_line};
use std::io::Write;

/// Show the log of a build, old or running
///
/// Lines of all platforms come mixed, in the order they arrived; `| grep -w x86_64` gives those of one worker as they
/// stand, `--platform x86_64` gives what that worker wrote itself.
#[derive(Debug, Args)]
pub(crate) struct BuildLogsArgs {
    #[command(flatten)]
    pub(crate) output: OutputArg,

    /// Name of the build
    build: String,

    /// Go on until the build has ended
    #[arg(long, short)]
    follow: bool,

    /// Only the worker of this platform, without the orchestrator's prefix; `-` for the orchestrator's own lines
    #[arg(long, value_name = "P")]
    platform: Option<String>,

    /// Leave out the first N lines: go on where an earlier reader stopped
    #[arg(long, value_name = "N", default_value_t = 0)]
    since: u64,

    /// Wait until the build exists
    #[arg(long)]
    wait_if_missing: bool,
}

impl BuildLogsArgs {
    fn wants(&self, line: &LogLine) -> bool {
        match self.platform.as_deref() {
            None => true,
            Some("-") => line.platform.is_none(),
            Some(platform) => line.platform.as_deref() == Some(platform),
        }
    }

    fn render(&self, out: &mut Vec<u8>, event: &Event, line: &LogLine, json: bool) {
        if json {
            // A log line is made of texts and numbers: it always serialises.
            let _ = serde_json::to_writer(&mut *out, event);
            out.push(b'\n');
        } else if self.platform.as_deref().is_some_and(|platform| platform != "-") {
            out.extend_from_slice(&osbs_client::strip_relayed_platform(&line.message));
            out.push(b'\n');
        } else {
            render_log_line(out, event.time, line);
        }
    }
}

/// Takes the first `skip` lines behind `start` out again and says how many there were: a message may have several, and
/// an earlier reader has counted lines.
fn leave_out(out: &mut Vec<u8>, start: usize, skip: u64) -> u64 {
    let ends = out[start..].iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    let (lines, end) = ends.zip(1..=skip).last().map_or((0, 0), |(end, lines)| (lines, end));
    out.drain(start..start + end);
    lines
}

/// Runs the command.
pub(crate) async fn run(session: &Session, args: BuildLogsArgs) -> Result<u8, Failure> {
    let build = loop {
        match session.find_build(&args.build).await {
            Err(_) if args.wait_if_missing => tokio::time::sleep(std::time::Duration::from_millis(200)).await,
            found => break found?,
        }
    };
    let failed = |e: osbs_cluster::ClusterError| Failure::new(e.kind(), &e);
    let mut events = session.cluster()?.events(&build.name, 0, args.follow).await.map_err(failed)?.ready_chunks(512);
    let mut skip = args.since;
    let mut out = Vec::new();
    while let Some(chunk) = events.next().await {
        for stored in chunk {
            let stored = stored.map_err(failed)?;
            let EventKind::Log(line) = &stored.event.kind else { continue };
            if !args.wants(line) {
                continue;
            }
            let start = out.len();
            args.render(&mut out, &stored.event, line, session.wants_json());
            skip -= leave_out(&mut out, start, skip);
        }
        if std::io::stdout().write_all(&out).and_then(|()| std::io::stdout().flush()).is_err() {
            // The reader has gone, as `head` does: nothing is wrong.
            return Ok(0);
        }
        out.clear();
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, skip: u64, expected: (&str, u64)) {
        let mut out = [b"before\n", text.as_bytes()].concat();
        let lines = leave_out(&mut out, 7, skip);
        assert_eq!((String::from_utf8_lossy(&out[7..]).as_ref(), lines), expected);
    }

    #[test]
    fn lines_are_counted_not_messages() {
        check("a\nb\nc\n", 0, ("a\nb\nc\n", 0));
        check("a\nb\nc\n", 2, ("c\n", 2));
        check("a\nb\nc\n", 3, ("", 3));
        check("a\n", 9, ("", 1));
    }
}
