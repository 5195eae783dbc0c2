//! A worker build from its creation to its end: log relayed, events forwarded, cancelled with the orchestrator
//! (`reactor.md` 3.3.5, 4.2).

use super::Shared;
use super::cluster_choice::Created;
use super::outcome::PlatformOutcome;
use crate::events::Logger;
use crate::run::WorkerBuild;
use futures_util::StreamExt;
use osbs_cluster::{Build, Cluster, ClusterError, WaitFor};
use osbs_types::{
    BuildName, BuildState, ErrorKind, Event, EventKind, Failure, Level, LogLine, Platform, render_log_line,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a build's cluster may be away, or its event stream be interrupted without any event, before monitoring has failed.
const PATIENCE: Duration = Duration::from_mins(8);
/// How often a worker build is said to be wanted, and for how long: longer than [`PATIENCE`].
const WANTED_EVERY: Duration = Duration::from_mins(2);
const WANTED_FOR: Duration = Duration::from_mins(12);
/// The first pause before the stream is asked for again; each one is twice as long as the one before.
const RESUME_AFTER: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How often a cluster that lost sight of a build is told again to stop it.
const TELL_AGAIN: Duration = Duration::from_mins(1);
/// How long a cancelled worker build may take to end before its orchestrator stops waiting for it.
const CANCEL_GRACE: Duration = Duration::from_mins(1);

/// What became of a worker build.
pub(super) enum Followed {
    /// It ended, or it ran and cannot be watched any more.
    Ended(Box<PlatformOutcome>),
    /// Its cluster does not answer any more, and it had not had its turn there: it can be built elsewhere.
    NeverStarted {
        /// Where.
        cluster_name: String,
        /// Why it cannot be watched.
        failure: Box<Failure>,
        /// The build that must not start when the cluster is back.
        abandoned: Option<(Arc<dyn Cluster>, BuildName)>,
    },
}

/// Why watching ended without the build's end.
struct Lost {
    failure: Failure,
    started: bool,
}

/// Follows the build until it is finished.
pub(super) async fn to_the_end(shared: &Shared, platform: Platform, created: Created) -> Followed {
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
            let lost = |_| Err(Lost { failure: crate::plugin::cancelled(), started: true });
            tokio::time::timeout(CANCEL_GRACE, &mut watching).await.unwrap_or_else(lost)
        }
    };
    drop(watching);
    let mut monitoring = None;
    let build = match watched {
        Ok(build) => build,
        Err(Lost { failure, started: false }) if failure.kind == ErrorKind::Remote && !shared.cancel.is_cancelled() => {
            return never_started(created, failure, &log).await;
        }
        Err(Lost { failure, .. }) => {
            log.error(format!("build {name} cannot be watched any more, so it is cancelled: {failure}"));
            monitoring = Some(failure);
            ask_to_stop(&*cluster, &name, &log).await;
            wait_for_the_end(&*cluster, &name, &log).await.unwrap_or(created.build)
        }
    };
    log.event(EventKind::WorkerEnd { platform: platform.to_string(), build: name.to_string(), state: build.state });
    let worker = WorkerBuild { cluster_name: created.cluster_name, cluster, build };
    Followed::Ended(Box::new(PlatformOutcome { platform, worker: Some(worker), monitoring }))
}

/// Gives up a build that waited for its turn on a cluster that does not answer any more.
async fn never_started(created: Created, failure: Failure, log: &Logger) -> Followed {
    let Created { cluster_name, worker, build } = created;
    log.warning(format!(
        "build {} was still waiting on cluster {cluster_name}, which cannot be watched any more; it is given up there: {failure}",
        build.name
    ));
    let cluster = worker.cluster();
    let told = cluster.cancel_build(&build.name).await.is_ok();
    let failure = Box::new(failure);
    Followed::NeverStarted { cluster_name, failure, abandoned: (!told).then_some((cluster, build.name)) }
}

/// Tells a cluster that did not answer to stop a build, until it has heard.
pub(super) async fn stop_when_it_is_back(cluster: Arc<dyn Cluster>, name: BuildName) {
    while matches!(cluster.cancel_build(&name).await, Err(error) if error.kind() == ErrorKind::Remote) {
        tokio::time::sleep(TELL_AGAIN).await;
    }
}

/// Relays until the build is finished and its last event was seen.
async fn watch(cluster: &dyn Cluster, name: &BuildName, log: &Logger, platform: &Platform) -> Result<Build, Lost> {
    let mut seen = Seen::default();
    let watched = tokio::select! {
        biased;
        watched = relay_all(cluster, name, log, platform, &mut seen) => watched,
        error = want(cluster, name) => Err(error),
    };
    watched.map_err(|error| Lost { failure: failure(error), started: seen.started })
}

/// Says that the build is wanted: one whose orchestrator was killed must not go on for nobody. Returns when the cluster has
/// not heard it for too long; the stream of events may be patient without a word.
async fn want(cluster: &dyn Cluster, name: &BuildName) -> ClusterError {
    let mut heard = Instant::now();
    loop {
        let pause = match cluster.still_wanted(name, WANTED_FOR).await {
            Ok(()) => {
                heard = Instant::now();
                WANTED_EVERY
            }
            Err(error) if error.kind() == ErrorKind::Remote && heard.elapsed() >= PATIENCE => return error,
            Err(_) => LONGEST_PAUSE,
        };
        tokio::time::sleep(pause).await;
    }
}

/// Goes on where it was interrupted.
async fn relay_all(
    cluster: &dyn Cluster,
    name: &BuildName,
    log: &Logger,
    platform: &Platform,
    seen: &mut Seen,
) -> Result<Build, ClusterError> {
    loop {
        let watched = match relay(cluster, name, log, platform, seen).await {
            Ok(()) => cluster.wait_build(name, WaitFor::Finished).await,
            Err(error) => Err(error),
        };
        match watched {
            Ok(build) => return Ok(build),
            Err(error) if error.kind() == ErrorKind::Remote && seen.is_worth_waiting() => {
                log.debug(format!("the log of build {name} was interrupted, going on in a moment: {error}"));
                tokio::time::sleep(LONGEST_PAUSE.min(RESUME_AFTER * (1 << seen.interruptions.min(8)))).await;
                seen.interruptions += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// How far a build was followed.
#[derive(Default)]
struct Seen {
    /// The offset behind the last event.
    from: u64,
    /// Since the last event, how often,
    interruptions: u32,
    /// and since when.
    interrupted: Option<Instant>,
    /// It has had its turn.
    started: bool,
}

impl Seen {
    /// The cluster may come back. Each attempt is patient itself, so this goes by the time and not by their number.
    fn is_worth_waiting(&mut self) -> bool {
        self.interrupted.get_or_insert_with(Instant::now).elapsed() < PATIENCE
    }
}

fn failure(error: ClusterError) -> Failure {
    Failure::new(error.kind(), &error)
}

/// Relays events behind those that were seen.
async fn relay(
    cluster: &dyn Cluster,
    name: &BuildName,
    log: &Logger,
    platform: &Platform,
    seen: &mut Seen,
) -> Result<(), ClusterError> {
    let mut events = cluster.events(name, seen.from, true).await?;
    while let Some(stored) = events.next().await {
        let stored = stored?;
        let waits = |kind: &EventKind| matches!(kind, EventKind::State { state, .. } if *state < BuildState::Running);
        let started = seen.started || !waits(&stored.event.kind);
        *seen = Seen { from: stored.offset, started, ..Seen::default() };
        forward(log, platform, stored.event);
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
