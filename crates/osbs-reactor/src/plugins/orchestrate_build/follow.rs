//! A worker build from its creation to its end: log relayed, events forwarded, cancelled with the orchestrator
//! (`reactor.md` 3.3.5, 4.2).

use super::Shared;
use super::cluster_choice::Created;
use super::outcome::PlatformOutcome;
use crate::events::Logger;
use crate::run::WorkerBuild;
use futures_util::StreamExt;
use osbs_cluster::{Build, Cluster, ClusterError, WaitFor};
use osbs_types::{BuildName, ErrorKind, Event, EventKind, Failure, Level, LogLine, Platform, render_log_line};
use std::time::Duration;

/// Interruptions of the event stream without any event between them, after which monitoring has failed.
const MAX_INTERRUPTIONS: u32 = 20;
const RESUME_AFTER: Duration = Duration::from_secs(1);
/// How long a cancelled worker build may take to end before its orchestrator stops waiting for it.
const CANCEL_GRACE: Duration = Duration::from_mins(1);

/// Follows the build until it is finished.
pub(super) async fn to_the_end(shared: &Shared, platform: Platform, created: Created) -> PlatformOutcome {
    let log = shared.log.for_platform(platform.as_str());
    let cluster = created.worker.cluster();
    let name = created.build.name.clone();
    log.info(format!("created build {name} on cluster {}", created.cluster_name));
    log.event(EventKind::WorkerStart {
        platform: platform.to_string(),
        cluster: created.cluster_name.clone(),
        build: name.to_string(),
    });
    let mut watching = Box::pin(watch(&*cluster, &name, &log, &platform));
    let watched = tokio::select! {
        watched = &mut watching => watched,
        () = shared.cancel.cancelled() => {
            ask_to_stop(&*cluster, &name, &log).await;
            // What it still has to say is relayed too.
            tokio::time::timeout(CANCEL_GRACE, &mut watching).await.unwrap_or_else(|_| Err(crate::plugin::cancelled()))
        }
    };
    drop(watching);
    let mut monitoring = None;
    let build = match watched {
        Ok(build) => build,
        Err(failure) => {
            log.error(format!("build {name} cannot be watched any more, so it is cancelled: {failure}"));
            monitoring = Some(failure);
            ask_to_stop(&*cluster, &name, &log).await;
            wait_for_the_end(&*cluster, &name, &log).await.unwrap_or(created.build)
        }
    };
    log.event(EventKind::WorkerEnd { platform: platform.to_string(), build: name.to_string(), state: build.state });
    let worker = WorkerBuild { cluster_name: created.cluster_name, cluster, build };
    PlatformOutcome { platform, worker: Some(worker), monitoring }
}

/// Relays until the build is finished and its last event was seen.
async fn watch(cluster: &dyn Cluster, name: &BuildName, log: &Logger, platform: &Platform) -> Result<Build, Failure> {
    let (mut from, mut interruptions) = (0, 0);
    loop {
        match relay(cluster, name, log, platform, &mut from, &mut interruptions).await {
            Ok(()) => return cluster.wait_build(name, WaitFor::Finished).await.map_err(failure),
            Err(error) if error.kind() == ErrorKind::Remote && interruptions < MAX_INTERRUPTIONS => {
                interruptions += 1;
                log.debug(format!("the log of build {name} was interrupted, going on in a moment: {error}"));
                tokio::time::sleep(RESUME_AFTER).await;
            }
            Err(error) => return Err(failure(error)),
        }
    }
}

fn failure(error: ClusterError) -> Failure {
    Failure::new(error.kind(), &error)
}

/// Relays events from `from` on, which is moved along.
async fn relay(
    cluster: &dyn Cluster,
    name: &BuildName,
    log: &Logger,
    platform: &Platform,
    from: &mut u64,
    interruptions: &mut u32,
) -> Result<(), ClusterError> {
    let mut events = cluster.events(name, *from, true).await?;
    while let Some(stored) = events.next().await {
        let stored = stored?;
        forward(log, platform, stored.event);
        *from = stored.offset;
        *interruptions = 0;
    }
    Ok(())
}

/// One event of a worker as event of its orchestrator.
fn forward(log: &Logger, platform: &Platform, event: Event) {
    let of = || Some(platform.to_string());
    match event.kind {
        EventKind::Log(line) => relay_line(log, &event.time, &line),
        EventKind::Progress { what, done, total, .. } => {
            log.event(EventKind::Progress { platform: of(), what, done, total });
        }
        EventKind::PluginStart { plugin, .. } => {
            log.event(EventKind::Progress { platform: of(), what: plugin, done: 0, total: None });
        }
        EventKind::Result { facts, .. } => log.event(EventKind::Result { platform: of(), facts }),
        _ => {}
    }
}

/// The worker's complete line is the message, one physical line an event.
fn relay_line(log: &Logger, time: &osbs_types::Timestamp, line: &LogLine) {
    let mut text = Vec::new();
    render_log_line(&mut text, *time, line);
    for physical in text.strip_suffix(b"\n").unwrap_or(&text).split(|byte| *byte == b'\n') {
        log.log(Level::Info, physical.trim_ascii_end());
    }
}

async fn ask_to_stop(cluster: &dyn Cluster, name: &BuildName, log: &Logger) {
    if let Err(error) = cluster.cancel_build(name).await {
        log.warning(format!("build {name} could not be cancelled: {error}"));
    }
}

async fn wait_for_the_end(cluster: &dyn Cluster, name: &BuildName, log: &Logger) -> Option<Build> {
    match tokio::time::timeout(CANCEL_GRACE, cluster.wait_build(name, WaitFor::Finished)).await {
        Ok(Ok(build)) => Some(build),
        Ok(Err(error)) => {
            log.warning(format!("the state of build {name} is unknown: {error}"));
            None
        }
        Err(_) => {
            log.warning(format!("build {name} has not stopped after {} s", CANCEL_GRACE.as_secs()));
            cluster.get_build(name).await.ok()
        }
    }
}
