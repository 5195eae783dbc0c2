//! The loop that takes tasks (client-and-koji 5.5): as many as the cluster has slots for, many in one process.
//!
//! Must not know what a task does. Nothing is kept on disk: tasks that are ours and that nobody here works on are begun
//! again where their builds stand.

use crate::AllowedScms;
use crate::happening::Happening;
use crate::task::{Observer, Surroundings, TaskRun};
use osbs_client::Osbs;
use osbs_cluster::BuildFilter;
use osbs_koji::{FaultCode, Koji, KojiError, Struct, Task, TaskState, Value, calls};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The tasks that we take.
const METHODS: [&str; 2] = ["buildContainer", "createContainer"];
/// Without a session there is nothing to be done here; other faults are about one call.
const LOST: [FaultCode; 4] =
    [FaultCode::AuthError, FaultCode::AuthLockError, FaultCode::AuthExpired, FaultCode::GSSAPIAuthError];
/// To say good-bye in.
const GRACE: Duration = Duration::from_secs(5);
/// For the cluster to count its builds in: the hub is not to be kept waiting for it.
const COUNT: Duration = Duration::from_secs(15);
/// A container build on its own counts so much of a host's capacity.
const WEIGHT: f64 = 2.0;

/// A builder.
pub struct Kojid {
    /// Logs in as the host.
    pub koji: Koji,
    /// Where builds are made.
    pub osbs: Arc<Osbs>,
    /// Where throw-away builds are made.
    pub scratch_osbs: Arc<Osbs>,
    /// Repositories that are built.
    pub allowed_scms: AllowedScms,
    /// Time between two looks at the hub.
    pub poll: Duration,
    /// Fewer tasks at once than the cluster has slots for.
    pub max_jobs: Option<usize>,
    /// Is told what happens.
    pub observer: Observer,
}

/// A task that somebody here works on.
struct Job {
    taken_away: CancellationToken,
    weight: f64,
    has_build: Arc<AtomicBool>,
}

/// The state of the loop.
struct Loop<'a> {
    kojid: &'a Kojid,
    koji: Koji,
    surroundings: Surroundings,
    jobs: BTreeMap<i64, Job>,
    running: JoinSet<i64>,
    shutdown: CancellationToken,
    /// Why the cluster did not count its builds, as it was told.
    told: Option<String>,
    /// Builds from before our start whose tasks are not ours any more have been looked for.
    looked_back: bool,
}

impl Kojid {
    /// Takes tasks until `cancel`. Builds go on then, and their tasks stay ours: the next start watches them again.
    ///
    /// # Errors
    /// The hub does not let us in, or somebody else works under our name. That it is not reached is no error: it is asked
    /// again.
    pub async fn run(&self, cancel: &CancellationToken) -> Result<(), KojiError> {
        let koji = self.koji.cancelled_by(cancel);
        koji.log_in().await?;
        koji.exclusive_session(true).await?;
        let host = koji.call(calls::host::get_host()).await?;
        (self.observer)(&Happening::Ready { host: host.name, slots: self.slots() });
        let surroundings = Surroundings {
            osbs: Arc::clone(&self.osbs),
            scratch_osbs: Arc::clone(&self.scratch_osbs),
            allowed: Arc::new(self.allowed_scms.clone()),
            observer: Arc::clone(&self.observer),
        };
        let shutdown = CancellationToken::new();
        let mut state = Loop {
            kojid: self,
            koji,
            surroundings,
            jobs: BTreeMap::new(),
            running: JoinSet::new(),
            shutdown,
            told: None,
            looked_back: false,
        };
        let result = state.go(cancel).await;
        state.shutdown.cancel();
        while state.running.join_next().await.is_some() {}
        if result.is_ok() {
            // So that nothing is assigned to us for a while; that it cannot be said harms nobody.
            let farewell = async {
                let _ = self.koji.call(calls::host::leave()).await;
                let _ = self.koji.log_out().await;
            };
            let _ = tokio::time::timeout(GRACE, farewell).await;
        }
        result
    }

    /// How many builds the cluster runs at once.
    fn slots(&self) -> usize {
        let slots = self.osbs.orchestrator_slots().max as usize;
        self.max_jobs.map_or(slots, |jobs| jobs.min(slots)).max(1)
    }
}

impl Loop<'_> {
    async fn go(&mut self, cancel: &CancellationToken) -> Result<(), KojiError> {
        loop {
            match self.look().await {
                Ok(()) => {}
                Err(KojiError::Cancelled) => return Ok(()),
                // Somebody else works under our name, or may no more.
                Err(error) if LOST.iter().any(|class| error.is(*class)) => return Err(error),
                Err(error) => {
                    let problem = format!("{error}; asking again");
                    (self.kojid.observer)(&Happening::Trouble { task: None, problem });
                }
            }
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                () = tokio::time::sleep(self.kojid.poll) => {}
                // A slot is free: the next task need not wait.
                Some(ended) = self.running.join_next(), if !self.running.is_empty() => {
                    if let Ok(task) = ended {
                        self.jobs.remove(&task);
                    }
                }
            }
        }
    }

    /// One look at the hub: what is ours, what is not any more, and what may be taken.
    async fn look(&mut self) -> Result<(), KojiError> {
        let koji = self.koji.clone();
        let ours = koji.call(calls::host::get_host_tasks()).await?;
        for task in &ours {
            if !self.jobs.contains_key(&task.id)
                && let Some(info) = koji.call(calls::get_task_info(task.id, true)).await?
                && info.state == TaskState::Open
            {
                self.start(info, task.weight, true).await?;
            }
        }
        let gone: Vec<i64> = self.jobs.keys().copied().filter(|id| !ours.iter().any(|task| task.id == *id)).collect();
        for id in gone {
            self.look_after(id).await?;
        }
        let host = koji.call(calls::host::get_host()).await?;
        let slots = self.kojid.slots();
        let used = self.used_slots().await;
        if used.is_some() && !self.looked_back {
            self.looked_back = self.look_back(host.id).await?;
        }
        let free = slots.saturating_sub(used.unwrap_or(slots));
        let ready = host.enabled && free > 0;
        let methods: Vec<Value> = METHODS.map(Value::from).to_vec();
        let mut data = Struct::new();
        data.insert("methods".to_owned(), methods.into());
        data.insert("maxjobs".to_owned(), Value::Int(slots as i64));
        let load = self.jobs.values().map(|job| job.weight).sum();
        koji.call(calls::host::update_host(load, ready, Some(data))).await?;
        if !ready {
            return Ok(());
        }
        // So that the slots, not a figure in the hub's table, say how many fit.
        let weight = WEIGHT.min(host.capacity / slots as f64);
        let assigned = koji.call(calls::host::get_tasks()).await?;
        let assigned =
            assigned.iter().filter(|task| task.state == TaskState::Assigned && task.host_id == Some(host.id));
        for task in assigned.take(free) {
            if METHODS.contains(&task.method.as_str()) {
                self.take(task.id, weight).await?;
            } else {
                let message = format!("this builder takes {} only", METHODS.join(" and "));
                koji.call(calls::host::refuse_task(task.id, &message)).await?;
            }
        }
        Ok(())
    }

    /// Tasks that were cancelled while nobody was here to see it: their builds go on for nobody. False: a cluster did not
    /// say which builds it has.
    async fn look_back(&mut self, host: i64) -> Result<bool, KojiError> {
        let filter = BuildFilter { unfinished: true, ..BuildFilter::default() };
        let mut ids = BTreeSet::new();
        for osbs in [&self.kojid.osbs, &self.kojid.scratch_osbs] {
            let Ok(Ok(builds)) = tokio::time::timeout(COUNT, osbs.list_builds_by(&filter)).await else {
                return Ok(false);
            };
            let builds = builds.iter().filter(|build| build.parent.is_none());
            ids.extend(builds.filter_map(|build| build.labels.get("koji-task-id")?.parse::<i64>().ok()));
        }
        for id in ids {
            if !self.jobs.contains_key(&id)
                && let Some(info) = self.koji.call(calls::get_task_info(id, true)).await?
                // Another hub's task may have the same number, and another builder sees to its own.
                && (info.state, info.host_id) == (TaskState::Canceled, Some(host))
                && METHODS.contains(&info.method.as_str())
            {
                self.start(info, 0.0, true).await?;
                if let Some(job) = self.jobs.get(&id) {
                    job.taken_away.cancel();
                }
            }
        }
        Ok(true)
    }

    /// Slots of the cluster that builds use, whoever asked for them, or that tasks of ours are about to; `None`: it does not
    /// say, so that nothing can be built there.
    async fn used_slots(&mut self) -> Option<usize> {
        let osbs = &self.kojid.osbs;
        let group = osbs.orchestrator_slots().group;
        // Before the count: a build that is made meanwhile is rather counted twice than not at all.
        let coming = self.jobs.values().filter(|job| !job.has_build.load(Ordering::Relaxed)).count();
        let problem = match tokio::time::timeout(COUNT, osbs.cluster().active_builds(Some(&group))).await {
            Ok(Ok(active)) => {
                self.told = None;
                return Some(self.jobs.len().max(active + coming));
            }
            Ok(Err(error)) => error.to_failure().to_string(),
            Err(_) => format!("the cluster at {} does not answer", osbs.cluster().url()),
        };
        if self.told.as_ref() != Some(&problem) {
            let told = Happening::Trouble { task: None, problem: format!("no task is taken: {problem}") };
            (self.kojid.observer)(&told);
            self.told = Some(problem);
        }
        None
    }

    async fn take(&mut self, id: i64, weight: f64) -> Result<(), KojiError> {
        let koji = self.koji.clone();
        // Somebody else has it, or it was cancelled: no error.
        if let Some(task) = koji.call(calls::host::open_task(id)).await? {
            koji.call(calls::host::set_task_weight(id, weight)).await?;
            self.start(task, weight, false).await?;
        }
        Ok(())
    }

    async fn start(&mut self, task: Task, weight: f64, again: bool) -> Result<(), KojiError> {
        (self.kojid.observer)(&Happening::Taken { task: task.id, again });
        let taken_away = CancellationToken::new();
        let id = task.id;
        let koji = self.koji.subsession().await?.cancelled_by(&self.shutdown);
        let has_build = Arc::<AtomicBool>::default();
        self.jobs.insert(id, Job { taken_away: taken_away.clone(), weight, has_build: Arc::clone(&has_build) });
        let (surroundings, shutdown) = (self.surroundings.clone(), self.shutdown.clone());
        let run = TaskRun { surroundings, koji, task, taken_away, shutdown, has_build, making: Mutex::default() };
        self.running.spawn(async move {
            // It is large: the set of tasks need not hold it by value.
            Box::pin(run.run()).await;
            id
        });
        Ok(())
    }

    /// A task of ours is not in the hub's list: it has just ended, or was taken away.
    async fn look_after(&mut self, id: i64) -> Result<(), KojiError> {
        let info = self.koji.call(calls::get_task_info(id, false)).await?;
        let ended_by_us = info.is_some_and(|info| matches!(info.state, TaskState::Closed | TaskState::Failed));
        if !ended_by_us && let Some(job) = self.jobs.get(&id) {
            job.taken_away.cancel();
        }
        Ok(())
    }
}
