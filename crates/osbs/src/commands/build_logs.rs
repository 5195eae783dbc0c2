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
            if skip > 0 {
                skip -= 1;
                continue;
            }
            args.render(&mut out, &stored.event, line, session.wants_json());
        }
        if std::io::stdout().write_all(&out).and_then(|()| std::io::stdout().flush()).is_err() {
            // The reader has gone, as `head` does: nothing is wrong.
            return Ok(0);
        }
        out.clear();
    }
    Ok(0)
}
