//! The runner: one process a build, which waits for the build's turn, runs the reactor, and closes the build.
//!
//! One thread, so that the reactor can be told to die with it. It holds the build's lock as long as it lives; whoever finds
//! the lock free knows that the runner is dead (`ending.rs`).

use crate::database::{Database, Turn, advance, turn};
use crate::ending::{close, recover_one, request_cancel};
use crate::layout::{BuildPaths, Home, make_dir, ring, storage};
use crate::lock;
use crate::process_mark::ProcessMark;
use osbs_cluster::{Build, ClusterError, Ending, EventLog, FileWatch, InsideCommand, judge};
use osbs_sandbox::{Isolation, ProcessId, spawn_isolated};
use osbs_types::{BuildName, BuildState, ErrorKind, EventKind, Timestamp};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};

const TERM: i32 = 15;
const KILL: i32 = 9;
/// How often the reactor is told to stop. It is pid 1 of its namespace: before it has a handler, a SIGTERM is lost.
const TELL_AGAIN: Duration = Duration::from_millis(250);
/// How often a waiting runner makes sure that those before it still live.
const LOOK_AROUND: Duration = Duration::from_secs(1);

/// Runs one build to its end, in this process. To be called from the main thread of a process that has no other.
///
/// # Errors
/// The home cannot be used. That the *build* fails is no error.
pub fn run_build(
    root: &Path,
    namespace: &str,
    name: &BuildName,
    inside: &InsideCommand,
) -> Result<Build, ClusterError> {
    crate::layout::check_name("namespace", namespace)?;
    let home = Home::new(root);
    let paths = home.build(namespace, name);
    let database = Database::open(&home)?;
    database.build(namespace, name)?;
    let Some(_held) = lock::inherit_or_take(&paths)? else {
        return Err(ClusterError::Internal(format!("build {name} has a runner already")));
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(storage("set up waiting", &paths.dir))?;
    let mut runner =
        Runner { home, paths, database, namespace: namespace.to_owned(), name: name.clone(), inside: inside.clone() };
    runtime.block_on(runner.run())
}

struct Runner {
    home: Home,
    paths: BuildPaths,
    database: Database,
    namespace: String,
    name: BuildName,
    inside: InsideCommand,
}

/// What woke a waiting runner.
enum Woken {
    Change,
    Terminate,
}

impl Runner {
    async fn run(&mut self) -> Result<Build, ClusterError> {
        let mut terminate = signal(SignalKind::terminate()).map_err(storage("watch for signals", &self.paths.dir))?;
        if !self.wait_for_turn(&mut terminate).await? {
            let build = self.database.build(&self.namespace, &self.name)?.build;
            if build.is_finished() {
                return Ok(build);
            }
            let reason = Some(build.reason.clone().unwrap_or_else(|| "cancelled before it started".to_owned()));
            let ending = Ending { state: BuildState::Cancelled, reason, kind: ErrorKind::Cancelled };
            return close(&self.home, &mut self.database, &build, ending);
        }
        let build = self.database.build(&self.namespace, &self.name)?.build;
        let ending = match self.start(&build) {
            Ok(child) => self.see_through(child, &mut terminate).await?,
            Err(error) => {
                let mut reason = error.to_string();
                if let Some(cause) = std::error::Error::source(&error) {
                    reason = format!("{reason}: {cause}");
                }
                Ending { state: BuildState::Error, reason: Some(reason), kind: error.kind() }
            }
        };
        let build = self.database.build(&self.namespace, &self.name)?.build;
        close(&self.home, &mut self.database, &build, ending)
    }

    /// Waits until the build is Running (true) or not to be run at all (false).
    async fn wait_for_turn(&mut self, terminate: &mut Signal) -> Result<bool, ClusterError> {
        let (queue, bell) = (self.home.queue_bell(), self.paths.bell());
        let mut watch = None;
        let mut looked = Instant::now();
        loop {
            match self.take_turn()? {
                Turn::Free => return Ok(true),
                Turn::Over => return Ok(false),
                Turn::Wait { blockers, .. } => {
                    if watch.is_none() {
                        // Look once more after the watch is set: nothing is missed.
                        watch = Some(FileWatch::new(&[&queue, &bell]));
                        continue;
                    }
                    if looked.elapsed() >= LOOK_AROUND {
                        looked = Instant::now();
                        for (namespace, name) in blockers {
                            recover_one(&self.home, &mut self.database, &namespace, &name)?;
                        }
                    }
                }
            }
            let watch = watch.as_ref().expect("set in the first round");
            let woken = tokio::select! {
                () = watch.changed(LOOK_AROUND) => Woken::Change,
                _ = terminate.recv() => Woken::Terminate,
            };
            if matches!(woken, Woken::Terminate) {
                request_cancel(
                    &self.home,
                    &mut self.database,
                    &self.namespace,
                    &self.name,
                    "its runner was told to stop",
                )?;
            }
        }
    }

    /// Marks the build Running if it is its turn, Pending if not.
    fn take_turn(&mut self) -> Result<Turn, ClusterError> {
        // Most looks end in "not yet": they need no write.
        let stored = self.database.build(&self.namespace, &self.name)?;
        let before = stored.build.state;
        if let Turn::Wait { reason, blockers } = turn(self.database.connection(), self.database.place(), &stored)?
            && before == BuildState::Pending
            && stored.build.reason.as_ref() == Some(&reason)
        {
            return Ok(Turn::Wait { reason, blockers });
        }
        let (namespace, name) = (&self.namespace, &self.name);
        let (turn, build) = self.database.write("start the build", |transaction, place| {
            let mut stored = crate::database::find(transaction, place, namespace, name)?;
            let turn = turn(transaction, place, &stored)?;
            let changed = match &turn {
                Turn::Free => {
                    stored.build.started = Some(Timestamp::now());
                    advance(&mut stored.build, BuildState::Running, None)
                }
                Turn::Wait { reason, .. } => advance(&mut stored.build, BuildState::Pending, Some(reason.clone())),
                Turn::Over => false,
            };
            if changed {
                let mark = ProcessMark::of_this_runner();
                stored.build.pid = Some(mark.runner);
                stored.runner = serde_json::to_string(&mark).ok();
                crate::database::save(transaction, place, &stored)?;
            }
            Ok((turn, stored.build))
        })?;
        if build.state != before && build.state != BuildState::New && !build.is_finished() {
            self.tell(build.state, build.reason)?;
        }
        Ok(turn)
    }

    fn tell(&self, state: BuildState, reason: Option<String>) -> Result<(), ClusterError> {
        EventLog::open(&self.paths.events())?.append(EventKind::State { state, reason })?;
        ring(&self.paths.bell())
    }

    fn start(&mut self, build: &Build) -> Result<Child, ClusterError> {
        let (work, console) = (self.paths.work(), self.paths.console());
        make_dir(&work)?;
        make_dir(&self.paths.results())?;
        crate::secret_mounts::mount(&self.home, build)?;
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&console)
            .map_err(storage("open", &console))?;
        let errors = output.try_clone().map_err(storage("open", &console))?;
        let mut command = Command::new(&self.inside.program);
        command.args(&self.inside.args).current_dir(&work).env_clear();
        command.envs(self.inside.environment(build, &self.paths.events()));
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let program = self.inside.program.display().to_string();
        let child = spawn_isolated(command, Isolation::FULL)
            .map_err(|source| ClusterError::Launch { program, source: source.into() })?;
        let inside = ProcessId::of(child.id()).ok();
        self.database.change_build("record the build's process", &self.namespace, &self.name, |stored| {
            let mark = ProcessMark { inside, ..ProcessMark::of_this_runner() };
            stored.build.pid = Some(child.id());
            stored.runner = serde_json::to_string(&mark).ok();
        })?;
        Ok(child)
    }

    /// Waits for the reactor's end, passing on the wish to cancel.
    async fn see_through(&mut self, mut child: Child, terminate: &mut Signal) -> Result<Ending, ClusterError> {
        let bell = self.paths.bell();
        let watch = FileWatch::new(&[&bell]);
        let mut exits = signal(SignalKind::child()).map_err(storage("watch for signals", &self.paths.dir))?;
        let id = ProcessId::of(child.id());
        let (mut asked, mut told): (Option<Instant>, Option<Instant>) = (None, None);
        let mut killed = false;
        let status = loop {
            if let Some(status) = child.try_wait().map_err(storage("wait for the build", &self.paths.dir))? {
                break status;
            }
            if asked.is_none() && self.database.build(&self.namespace, &self.name)?.build.cancel_requested {
                asked = Some(Instant::now());
            }
            if asked.is_some() && !killed && told.is_none_or(|told: Instant| told.elapsed() >= TELL_AGAIN) {
                told = Some(Instant::now());
                send(&id, TERM);
            }
            let left = asked.map(|since| self.inside.grace.saturating_sub(since.elapsed()));
            if left == Some(Duration::ZERO) && !killed {
                killed = true;
                send(&id, KILL);
            }
            let at_most = left.filter(|_| !killed).map_or(LOOK_AROUND, |left| left.min(TELL_AGAIN));
            tokio::select! {
                () = watch.changed(at_most) => {}
                _ = exits.recv() => {}
                _ = terminate.recv() => {
                    request_cancel(&self.home, &mut self.database, &self.namespace, &self.name, "its runner was told to stop")?;
                }
            }
        };
        let build = self.database.build(&self.namespace, &self.name)?.build;
        Ok(judge(status, &build, killed.then_some(self.inside.grace)))
    }
}

fn send<E>(process: &Result<ProcessId, E>, signal: i32) {
    if let Ok(process) = process {
        // Gone already: its end will be seen.
        let _ = process.signal(signal);
    }
}
