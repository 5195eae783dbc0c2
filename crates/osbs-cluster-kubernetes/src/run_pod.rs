//! The runner in a build's pod: process 1. Starts the reactor, hands its events on to followers and to the archive, passes on
//! the wish to stop, reaps what nobody else does, and records the end. Small, for it shares the pod's memory with the build.

mod child;
mod memory;

use crate::KubernetesCluster;
use crate::closing::{cancel_workers, close, close_if_dead, record_end, take_pods_away};
use crate::job::JobFacts;
use crate::log::archive::Stored;
use crate::log::printer::Printer;
use crate::log::writer::{Archiver, Source, patiently};
use crate::log::{first_line, lines_of};
use crate::pod_reason::{PodState, out_of_memory, pod_state, told_to_stop};
use crate::pods::pods_of;
use child::Child;
use memory::OomCount;
use osbs_cluster::{
    Build, ClusterError, Conclusion, Ending, EventLog, FileWatch, InsideCommand, Verdict, conclude, console_events,
    judge, storage,
};
use osbs_types::{BuildName, BuildState, ErrorKind, EventKind, Timestamp};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// The archiver looks at the event file at this interval.
const LOOK: Duration = Duration::from_secs(1);
/// How often the reactor is told to stop: before it has a handler, a SIGTERM may be lost.
const TELL_AGAIN: Duration = Duration::from_millis(500);
/// How long standard output may take for the last lines. They are archived anyway.
const LAST_LINES: Duration = Duration::from_secs(10);
/// How long what others do too may take: to take away what is left, to make a pass.
const LAST_ACT: Duration = Duration::from_secs(30);
/// How long the status of a pod that is told to stop may take to say why.
const STATUS_PATIENCE: Duration = Duration::from_secs(5);
/// How much of the console is kept in the log when a build died without saying why.
const LAST_WORDS: u64 = 64 << 10;
/// The exit code of a pod whose build is not run by it.
const NOT_RUN: u8 = 1;

/// Runs the build of this pod to its end and records it. The exit code is the pod's. `inside.env` holds `OSBS_EVENTS`, the
/// event file, and `OSBS_POD_UID`; `inside.grace` is to be shorter than the pod's own. To be called once, in process 1 of the
/// pod, best from a runtime with one thread.
///
/// # Errors
/// The cluster cannot be used. That the *build* fails is no error.
pub async fn run_pod(cluster: KubernetesCluster, name: &BuildName, inside: InsideCommand) -> Result<u8, ClusterError> {
    let mut runner = Runner::new(cluster, name.clone(), inside)?;
    let Some(facts) = runner.claim().await? else { return Ok(NOT_RUN) };
    runner.run(facts).await
}

struct Runner {
    cluster: KubernetesCluster,
    name: BuildName,
    inside: InsideCommand,
    events: PathBuf,
    /// Its uid.
    pod: String,
    terminate: Signal,
}

/// How the reactor ended.
struct Ended {
    status: ExitStatus,
    killed_after: Option<Duration>,
    /// The runner was told to stop.
    stopped: bool,
}

impl Runner {
    fn new(cluster: KubernetesCluster, name: BuildName, inside: InsideCommand) -> Result<Self, ClusterError> {
        let given = |key: &str| {
            let found = inside.env.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
            found.ok_or_else(|| ClusterError::Internal(format!("the environment of a pod has no {key}")))
        };
        let events = PathBuf::from(given("OSBS_EVENTS")?);
        let pod = given("OSBS_POD_UID")?.to_string_lossy().into_owned();
        let terminate = signal(SignalKind::terminate()).map_err(storage("watch for signals", Path::new("/")))?;
        Ok(Self { cluster, name, inside, events, pod, terminate })
    }

    fn folder(&self) -> &Path {
        self.events.parent().unwrap_or(Path::new("/"))
    }

    fn console(&self) -> PathBuf {
        self.folder().join("console.log")
    }

    /// Makes the build this pod's; `None`: it is not to be run here.
    async fn claim(&mut self) -> Result<Option<JobFacts>, ClusterError> {
        let (cluster, name, pod) = (self.cluster.clone(), self.name.clone(), self.pod.clone());
        let mut work = (cluster, name, pod);
        let claim = patiently(&mut work, |(cluster, name, pod)| {
            Box::pin(cluster.change_state(name, move |state| {
                if state.state.is_finished() || state.cancel_requested || state.pod.is_some() {
                    return false;
                }
                state.started = Some(Timestamp::now());
                state.pod = Some(pod.clone());
                state.advance(BuildState::Running, None)
            }))
        });
        let facts = tokio::select! {
            facts = claim => facts?,
            // Nothing has begun: whoever looks sees a pod that ended and closes the build.
            _ = self.terminate.recv() => return Ok(None),
        };
        if facts.pod.as_deref() == Some(self.pod.as_str()) && !facts.build.is_finished() {
            return Ok(Some(facts));
        }
        self.close_for_others(&facts).await?;
        Ok(None)
    }

    /// The build was cancelled before it began, or another pod has run it: a build is never run twice.
    async fn close_for_others(&mut self, facts: &JobFacts) -> Result<(), ClusterError> {
        if facts.build.is_finished() {
            return Ok(());
        }
        let pods = pods_of(&self.cluster, &self.name).await?;
        let ending = match &facts.pod {
            None => {
                let reason =
                    Some(facts.build.reason.clone().unwrap_or_else(|| "cancelled before it started".to_owned()));
                Ending { state: BuildState::Cancelled, reason, kind: ErrorKind::Cancelled }
            }
            Some(first) => {
                let first = pods.iter().find(|pod| pod.metadata.uid.as_ref() == Some(first));
                let state = first.map(|pod| pod_state(pod, Timestamp::now(), Duration::MAX));
                match (first, state) {
                    (_, Some(PodState::Ended(ending) | PodState::Stuck(ending))) => ending,
                    // It still has its grace: when it ends it closes the build itself, or whoever looks does.
                    (Some(_), _) => return self.wait_for_the_first(facts).await,
                    (None, _) => Ending {
                        state: BuildState::Error,
                        reason: Some("its pod was deleted, with force or with its node".to_owned()),
                        kind: ErrorKind::Resource,
                    },
                }
            }
        };
        close(&self.cluster, facts, &pods, &ending).await?;
        self.cluster.pass().await
    }

    async fn wait_for_the_first(&mut self, facts: &JobFacts) -> Result<(), ClusterError> {
        let mut facts = facts.clone();
        loop {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(2)) => {}
                _ = self.terminate.recv() => return Ok(()),
            }
            facts = self.cluster.facts_of(&facts.build.name).await?;
            if facts.build.is_finished() || close_if_dead(&self.cluster, &facts).await?.is_some() {
                return self.cluster.pass().await;
            }
        }
    }

    async fn run(mut self, facts: JobFacts) -> Result<u8, ClusterError> {
        self.begin_log(&facts.build)?;
        let source = Source {
            cluster: self.cluster.clone(),
            build: self.name.clone(),
            uid: facts.uid.clone(),
            path: self.events.clone(),
        };
        let printer =
            Printer::start(&self.events, std::io::stdout()).map_err(storage("print the event log", &self.events))?;
        printer.more();
        let (archive, mut taken) = Archive::start(source);
        let memory = OomCount::now();
        let mut build = facts.build.clone();
        let mut stopped = false;
        let ending = match self.start(&mut build).await {
            Ok(child) => {
                let Some(ended) = self.see_through(child, &printer, &mut taken).await? else {
                    // Somebody else has closed the build.
                    return Ok(NOT_RUN);
                };
                stopped = ended.stopped;
                self.ending_of(&ended, &mut build, &memory).await
            }
            Err(error) => Ending { state: BuildState::Error, reason: Some(with_causes(&error)), kind: error.kind() },
        };
        self.end(facts, ending, stopped, printer, archive).await
    }

    /// The first lines, unless they are there.
    fn begin_log(&self, build: &Build) -> Result<(), ClusterError> {
        let failed = || storage("write the event log", &self.events);
        std::fs::create_dir_all(self.folder()).map_err(failed())?;
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&self.events).map_err(failed())?;
        file.write_all(&first_line(build)).map_err(failed())?;
        EventLog::open(&self.events)?.append(EventKind::State { state: BuildState::Running, reason: None })
    }

    async fn start(&self, build: &mut Build) -> Result<Child, ClusterError> {
        let mut work = (self.cluster.clone(), self.name.clone());
        let env = patiently(&mut work, |(cluster, name)| Box::pin(cluster.environment_of(name)));
        build.env = env.await?;
        Child::start(&self.inside, build, &self.events, &self.console())
    }

    /// Waits for the reactor's end, passing on the wish to stop; `None`: somebody else has closed the build.
    async fn see_through(
        &mut self,
        mut child: Child,
        printer: &Printer,
        taken: &mut mpsc::Receiver<()>,
    ) -> Result<Option<Ended>, ClusterError> {
        let watch = FileWatch::new(&[&self.events]);
        let mut exits = signal(SignalKind::child()).map_err(storage("watch for signals", &self.events))?;
        // The kubelet passes the wish on too, but it may take a minute for it with a pod that it has just started.
        let mut cancelled = std::pin::pin!(self.cluster.clone().cancel_requested(self.name.clone()));
        let (mut asked, mut told): (Option<Instant>, Option<Instant>) = (None, None);
        let mut killed = false;
        loop {
            if let Some(status) = child.reap() {
                let killed_after = killed.then_some(self.inside.grace);
                return Ok(Some(Ended { status, killed_after, stopped: asked.is_some() }));
            }
            if asked.is_some() && !killed && told.is_none_or(|told: Instant| told.elapsed() >= TELL_AGAIN) {
                told = Some(Instant::now());
                child.terminate();
            }
            let left = asked.map(|since: Instant| self.inside.grace.saturating_sub(since.elapsed()));
            if left == Some(Duration::ZERO) && !killed {
                killed = true;
                child.kill();
            }
            let at_most = left.filter(|_| !killed).map_or(LOOK, |left| left.min(TELL_AGAIN));
            tokio::select! {
                () = watch.changed(at_most) => printer.more(),
                _ = exits.recv() => {}
                _ = self.terminate.recv() => asked = asked.or_else(|| Some(Instant::now())),
                () = &mut cancelled, if asked.is_none() => asked = Some(Instant::now()),
                Some(()) = taken.recv() => {
                    child.kill();
                    return Ok(None);
                }
            }
        }
    }

    /// What the end means: cancelled, out of memory, or taken down by Kubernetes.
    async fn ending_of(&self, ended: &Ended, build: &mut Build, memory: &OomCount) -> Ending {
        let stop = if ended.stopped { self.why_stopped(build).await } else { None };
        let mut ending = judge(ended.status, build, ended.killed_after);
        if let Some(reason) = stop
            && ending.state != BuildState::Complete
        {
            return Ending { state: BuildState::Error, reason: Some(reason), kind: ErrorKind::Resource };
        }
        if ending.state == BuildState::Error && memory.has_grown() {
            let limit = build.limits.memory.clone().or_else(memory::limit);
            ending.reason = Some(out_of_memory(limit.as_deref()));
        }
        ending
    }

    /// Why the pod was told to stop; `None`: the build was cancelled.
    async fn why_stopped(&self, build: &mut Build) -> Option<String> {
        let mut work = (self.cluster.clone(), self.name.clone());
        match patiently(&mut work, |(cluster, name)| Box::pin(cluster.facts_of(name))).await {
            Ok(facts) if facts.build.cancel_requested => {
                build.cancel_requested = true;
                build.reason = facts.build.reason;
                return None;
            }
            Err(ClusterError::BuildNotFound { .. }) => return Some("its Job was deleted".to_owned()),
            Ok(_) | Err(_) => {}
        }
        // The kubelet says why somewhat later than it does it.
        let begun = Instant::now();
        while begun.elapsed() < STATUS_PATIENCE {
            let pods = patiently(&mut work, |(cluster, name)| Box::pin(pods_of(cluster, name))).await;
            let pods = pods.unwrap_or_default();
            match pods.iter().find(|pod| pod.metadata.uid.as_deref() == Some(self.pod.as_str())) {
                None => return Some("its pod was deleted".to_owned()),
                Some(own) => match told_to_stop(own, Timestamp::now()) {
                    None => tokio::time::sleep(LOOK / 4).await,
                    reason => return reason,
                },
            }
        }
        Some("its pod was told to stop, and nothing says why".to_owned())
    }

    /// Last events, last chunk, environment, record, pass: in this order, so that whatever does not happen any more is done
    /// by whoever closes the build.
    async fn end(
        self,
        facts: JobFacts,
        ending: Ending,
        stopped: bool,
        printer: Printer,
        archive: Archive,
    ) -> Result<u8, ClusterError> {
        let trouble = cancel_workers(&self.cluster, &self.name).await;
        let mut verdict = Verdict::of_file(&self.events);
        if ending.state == BuildState::Error {
            // The reactor was told to stop and said so; why it was told stands in the ending.
            verdict.failure = verdict.failure.filter(|failure| failure.kind != ErrorKind::Cancelled);
        }
        let conclusion = conclude(&ending, verdict, || last_words(&self.console()), trouble);
        let written = EventLog::open(&self.events).and_then(|mut log| log.append_batch(&conclusion.events));
        // A full disk must not keep the last events out of the archive.
        let tail = if written.is_err() { [vec![b'\n'], lines_of(&conclusion.events)].concat() } else { Vec::new() };
        printer.finish(LAST_LINES).await;
        if archive.finish(tail).await? == Stored::Theirs {
            return Ok(NOT_RUN);
        }
        let code = exit_code(&conclusion);
        let leave = async {
            if stopped {
                // The Job controller has made another pod already.
                take_pods_away(&self.cluster, &facts).await?;
            }
            self.cluster.forget_env(&self.name).await
        };
        // The Job owns what stays.
        let _ = tokio::time::timeout(LAST_ACT, leave).await;
        let mut work = (self.cluster.clone(), facts.build.name.clone(), conclusion);
        patiently(&mut work, |(cluster, name, conclusion)| Box::pin(record_end(cluster, name, conclusion))).await?;
        // The build is recorded; whoever waits makes passes too.
        let _ = tokio::time::timeout(LAST_ACT, self.cluster.pass()).await;
        Ok(code)
    }
}

fn exit_code(conclusion: &Conclusion) -> u8 {
    match (conclusion.state, &conclusion.failure) {
        (BuildState::Complete, _) => 0,
        (BuildState::Cancelled, _) => ErrorKind::Cancelled.exit_code(),
        (_, Some(failure)) => failure.kind.exit_code(),
        (_, None) => ErrorKind::Internal.exit_code(),
    }
}

fn with_causes(error: &ClusterError) -> String {
    let cause = std::error::Error::source(error).map_or_else(String::new, |cause| format!(": {cause}"));
    format!("{error}{cause}")
}

/// The end of what the build's processes wrote to their standard output and error.
fn last_words(console: &Path) -> Vec<osbs_types::Event> {
    let Ok(console) = std::fs::File::open(console) else { return Vec::new() };
    let length = console.metadata().map_or(0, |metadata| metadata.len());
    let start = length.saturating_sub(LAST_WORDS);
    let mut bytes = vec![0; (length - start) as usize];
    if console.read_exact_at(&mut bytes, start).is_err() {
        return Vec::new();
    }
    console_events(&bytes)
}

/// The archiver at work, in a task.
struct Archive {
    finish: tokio::sync::oneshot::Sender<Vec<u8>>,
    task: JoinHandle<Result<Stored, ClusterError>>,
}

impl Archive {
    /// The other end tells when somebody else has closed the build.
    fn start(source: Source) -> (Self, mpsc::Receiver<()>) {
        let (finish, mut asked) = tokio::sync::oneshot::channel();
        let (tell, taken) = mpsc::channel(1);
        let task = tokio::spawn(async move {
            let mut archiver = Archiver::new(source);
            let tail: Vec<u8> = loop {
                tokio::select! {
                    tail = &mut asked => break tail.unwrap_or_default(),
                    () = tokio::time::sleep(LOOK) => {}
                }
                // What does not work now is tried again, also at the end.
                if matches!(archiver.work().await, Ok(Stored::Theirs)) {
                    let _ = tell.send(()).await;
                    return Ok(Stored::Theirs);
                }
            };
            archiver.finish(&tail).await
        });
        (Self { finish, task }, taken)
    }

    async fn finish(self, tail: Vec<u8>) -> Result<Stored, ClusterError> {
        let _ = self.finish.send(tail);
        self.task.await.map_err(|error| ClusterError::Internal(format!("the archiver was lost: {error}")))?
    }
}
