//! How a build ends: what it leaves is removed, its last words are kept, its record is closed. Also for builds whose
//! runner is dead, by whoever finds them ([`recover`]).

use crate::database::{Database, advance};
use crate::layout::{BuildPaths, Home, ring};
use crate::lock;
use crate::process_mark::{ProcessMark, boot_id};
use crate::unrecorded;
use osbs_cluster::{Build, ClusterError, Conclusion, Ending, EventLog, Verdict, conclude, console_events};
use osbs_sandbox::rooted::Root;
use osbs_types::{BuildName, BuildState, ErrorKind, Event, Timestamp};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// How much of the console is kept in the event log when a build died without saying why.
const LAST_WORDS: u64 = 64 << 10;

/// A build found dead and closed by [`recover`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: BuildName,
    /// The state it was given.
    pub state: BuildState,
    /// Why.
    pub reason: String,
}

/// The cgroup below which everything that a build starts belongs, as a path in every hierarchy. Removed with the build.
pub fn build_cgroup(namespace: &str, name: &BuildName) -> String {
    format!("/osbs-{namespace}-{name}")
}

/// Closes builds whose runner is dead: kills what is left of them, cleans up after them, marks them with the reason. Cheap
/// when there is nothing to do. Every command calls it first.
///
/// # Errors
/// The home cannot be read or written.
pub fn recover(root: &Path) -> Result<Vec<Recovered>, ClusterError> {
    let home = Home::new(root);
    if !home.database().exists() {
        return Ok(Vec::new());
    }
    let mut database = Database::open(&home)?;
    let mut recovered = Vec::new();
    // Twice: an orchestrator build that is closed here may leave workers that are dead too.
    for _ in 0..2 {
        for (namespace, name) in database.unfinished()? {
            recovered.extend(recover_one(&home, &mut database, &namespace, &name)?);
        }
    }
    Ok(recovered)
}

/// Builds of all namespaces that have not ended. What belongs to any other build is free to be removed.
///
/// # Errors
/// The home cannot be read.
pub fn unfinished_builds(root: &Path) -> Result<Vec<(String, BuildName)>, ClusterError> {
    let home = Home::new(root);
    if home.database().exists() { Database::open(&home)?.unfinished() } else { Ok(Vec::new()) }
}

/// Closes one build if its runner is dead.
pub(crate) fn recover_one(
    home: &Home,
    database: &mut Database,
    namespace: &str,
    name: &BuildName,
) -> Result<Option<Recovered>, ClusterError> {
    let paths = home.build(namespace, name);
    if !paths.dir.exists() {
        // Somebody removed the folder. Without it there is no lock to look at, so nothing can be running there.
        crate::layout::make_dir(&paths.dir)?;
    }
    if lock::is_held(&paths)? {
        return Ok(None);
    }
    let Some(_held) = lock::take(&paths)? else { return Ok(None) };
    let stored = database.build(namespace, name)?;
    if stored.build.is_finished() {
        return Ok(None);
    }
    let mark = stored.runner.as_deref().and_then(|text| serde_json::from_str::<ProcessMark>(text).ok());
    if let Some(mark) = &mark {
        mark.kill_rest();
    }
    let ending = ending_of_the_dead(&stored.build, mark.as_ref());
    let build = close(home, database, &stored.build, ending)?;
    Ok(Some(Recovered {
        namespace: namespace.to_owned(),
        name: name.clone(),
        state: build.state,
        reason: build.reason.unwrap_or_default(),
    }))
}

fn ending_of_the_dead(build: &Build, mark: Option<&ProcessMark>) -> Ending {
    let reason = match mark {
        Some(mark) if mark.boot_id != boot_id() => "the machine was restarted before the build had ended".to_owned(),
        Some(_) => "the build's runner died before the build had ended".to_owned(),
        None => "the build's runner did not start".to_owned(),
    };
    if build.cancel_requested {
        let wish = build.reason.as_deref().unwrap_or("cancelled");
        let reason = Some(format!("{wish}; {reason}"));
        return Ending { state: BuildState::Cancelled, reason, kind: ErrorKind::Cancelled };
    }
    Ending { state: BuildState::Error, reason: Some(reason), kind: ErrorKind::Resource }
}

/// Removes what the build leaves behind, then writes its last events and its final state. Its processes are dead.
pub(crate) fn close(
    home: &Home,
    database: &mut Database,
    build: &Build,
    ending: Ending,
) -> Result<Build, ClusterError> {
    let paths = home.build(&build.namespace, &build.name);
    let mut trouble = cancel_children(home, database, build);
    trouble.extend(remove_leftovers(build, &paths));
    let conclusion = conclude(&ending, Verdict::of_file(&paths.events()), || last_words(&paths), trouble);
    // A full disk must not keep the build open: its record matters more than its last lines.
    let logged = EventLog::open(&paths.events()).and_then(|mut log| log.append_batch(&conclusion.events));
    let finished = record_end(database, build, conclusion);
    ring(&paths.bell())?;
    ring(&home.queue_bell())?;
    let finished = finished?;
    logged.map(|()| finished)
}

fn record_end(database: &mut Database, build: &Build, conclusion: Conclusion) -> Result<Build, ClusterError> {
    let Conclusion { state, reason, failure, .. } = conclusion;
    database.end_build(&build.namespace, &build.name, |stored| {
        if advance(&mut stored.build, state, reason) {
            stored.build.failure = failure;
            stored.build.finished = Some(Timestamp::now());
            stored.build.pid = None;
            stored.runner = None;
        }
    })
}

/// An orchestrator's workers end with it.
fn cancel_children(home: &Home, database: &mut Database, build: &Build) -> Vec<String> {
    let mut trouble = Vec::new();
    let children = match database.unfinished_children(&build.namespace, &build.name) {
        Ok(children) => children,
        Err(error) => return vec![format!("cannot look for worker builds that still run: {error}")],
    };
    for (namespace, child) in children {
        let asked = request_cancel(home, database, &namespace, &child, "its orchestrator build has ended");
        let closed = asked.and_then(|_| recover_one(home, database, &namespace, &child));
        if let Err(error) = closed {
            trouble.push(with_cause(&format!("cannot cancel worker build {child}"), &error));
        }
    }
    // It may have died while it made one.
    let of_workers = format!("{}-", build.name);
    if let Err(error) = unrecorded::remove(home, database, &build.namespace, &of_workers) {
        trouble.push(with_cause("cannot remove folders of worker builds that were never made", &error));
    }
    trouble
}

/// Notes the wish and wakes the runner.
pub(crate) fn request_cancel(
    home: &Home,
    database: &mut Database,
    namespace: &str,
    name: &BuildName,
    reason: &str,
) -> Result<Build, ClusterError> {
    let (build, ()) = database.change_build("cancel the build", namespace, name, |stored| {
        if !stored.build.is_finished() && !stored.build.cancel_requested {
            stored.build.cancel_requested = true;
            stored.build.reason = Some(reason.to_owned());
        }
    })?;
    if !build.is_finished() {
        ring(&home.build(namespace, name).bell())?;
    }
    Ok(build)
}

/// Scratch space and cgroups. Mounts vanished with the mount namespace of the build.
fn remove_leftovers(build: &Build, paths: &BuildPaths) -> Vec<String> {
    let mut trouble = Vec::new();
    if let Err(error) = Root::open(&paths.dir).and_then(|dir| dir.remove_tree(Path::new("work"))) {
        trouble.push(with_cause("cannot clear the build's work folder", &error));
    }
    if let Err(error) = osbs_sandbox::remove_cgroups(&build_cgroup(&build.namespace, &build.name)) {
        trouble.push(with_cause("cannot remove the build's cgroups", &error));
    }
    trouble
}

fn with_cause(what: &str, error: &dyn std::error::Error) -> String {
    let cause = error.source().map_or_else(String::new, |cause| format!(": {cause}"));
    format!("{what}: {error}{cause}")
}

/// The end of what the build's processes wrote to their standard output and error.
fn last_words(paths: &BuildPaths) -> Vec<Event> {
    let Ok(console) = File::open(paths.console()) else { return Vec::new() };
    let length = console.metadata().map_or(0, |metadata| metadata.len());
    let start = length.saturating_sub(LAST_WORDS);
    let mut bytes = vec![0; (length - start) as usize];
    if console.read_exact_at(&mut bytes, start).is_err() {
        return Vec::new();
    }
    console_events(&bytes)
}
