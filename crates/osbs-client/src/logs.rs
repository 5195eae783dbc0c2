//! Logs of a build as lines, by platform (`client-and-koji.md` 2.12, 2.13).

use crate::demultiplex::{LogEntry, entries_of};
use crate::error::ClientError;
use crate::osbs::Osbs;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use osbs_cluster::{ClusterError, EventStream};
use osbs_types::{BuildName, Event, EventKind, render_log_line};
use std::collections::BTreeMap;
use std::time::Duration;

/// Lines as they come.
pub type LogStream = BoxStream<'static, Result<LogEntry, ClientError>>;

/// How often to look for a build that is not there yet.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

impl Osbs {
    /// `get_orchestrator_build_logs`: every line with the platform of the worker it comes from (`None` = the orchestrator).
    /// With `follow` the stream ends when the build is finished. With `wait_if_missing` the build may be made later.
    ///
    /// # Errors
    /// There is no such build, or the cluster failed.
    pub async fn get_orchestrator_build_logs(
        &self,
        name: &BuildName,
        follow: bool,
        wait_if_missing: bool,
    ) -> Result<LogStream, ClientError> {
        let events = self.events_of(name, follow, wait_if_missing).await?;
        let lines = events.flat_map(|stored| {
            stream::iter(match stored {
                Ok(stored) => entries_of(&stored.event).into_iter().map(Ok).collect(),
                Err(error) => vec![Err(ClientError::from(error))],
            })
        });
        Ok(lines.boxed())
    }

    /// `get_build_logs`: every line as the log has it, without its end. With `follow` the stream ends when the build is
    /// finished. With `wait_if_missing` the build may be made later.
    ///
    /// # Errors
    /// There is no such build, or the cluster failed.
    pub async fn get_build_logs(
        &self,
        name: &BuildName,
        follow: bool,
        wait_if_missing: bool,
    ) -> Result<BoxStream<'static, Result<String, ClientError>>, ClientError> {
        let events = self.events_of(name, follow, wait_if_missing).await?;
        let lines = events.flat_map(|stored| {
            stream::iter(match stored {
                Ok(stored) => lines_of(&stored.event).into_iter().map(Ok).collect(),
                Err(error) => vec![Err(ClientError::from(error))],
            })
        });
        Ok(lines.boxed())
    }

    async fn events_of(
        &self,
        name: &BuildName,
        follow: bool,
        wait_if_missing: bool,
    ) -> Result<EventStream, ClientError> {
        loop {
            match self.cluster().events(name, 0, follow).await {
                Err(ClusterError::BuildNotFound { .. }) if wait_if_missing => tokio::time::sleep(LOOK_AGAIN).await,
                result => return Ok(result?),
            }
        }
    }

    /// The whole log taken apart: text by platform, the orchestrator's under `None`.
    ///
    /// # Errors
    /// As [`Osbs::get_orchestrator_build_logs`].
    pub async fn logs_by_platform(&self, name: &BuildName) -> Result<BTreeMap<Option<String>, String>, ClientError> {
        let mut lines = self.get_orchestrator_build_logs(name, false, false).await?;
        let mut logs: BTreeMap<Option<String>, String> = BTreeMap::new();
        while let Some(entry) = lines.next().await {
            let LogEntry { platform, line } = entry?;
            let log = logs.entry(platform).or_default();
            log.push_str(&line);
            log.push('\n');
        }
        Ok(logs)
    }
}

/// The lines of an event as the log has them: none if it is no log line, several if its message has.
fn lines_of(event: &Event) -> Vec<String> {
    let EventKind::Log(line) = &event.kind else { return Vec::new() };
    let mut rendered = Vec::new();
    render_log_line(&mut rendered, event.time, line);
    String::from_utf8_lossy(&rendered).lines().map(|line| line.trim_end().to_owned()).collect()
}
