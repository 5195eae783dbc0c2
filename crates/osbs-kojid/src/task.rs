//! One task, from its request to its result.
//!
//! Must not decide which tasks are taken: `daemon.rs` does. May begin in the middle: a build that belongs to the task
//! already is watched, not made again.

use crate::checks::{check_repository, plan};
use crate::log_upload::LogUpload;
use crate::task_error::of_client;
use crate::{AllowedScms, Happening, TaskError, TaskRequest};
use osbs_client::Osbs;
use osbs_cluster::{Build, BuildFilter};
use osbs_koji::{FaultCode, Koji, Task, TaskState, Value, calls};
use osbs_types::{BuildState, Failure};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// Faults that say so.
const NOT_OURS: [FaultCode; 2] = [FaultCode::ActionNotAllowed, FaultCode::AuthError];

/// Between two looks for a cluster that is away; the client itself has tried for some seconds.
const PAUSE: Duration = Duration::from_secs(5);

/// Who is told what happens.
pub type Observer = Arc<dyn Fn(&Happening) + Send + Sync>;

/// What every task needs.
#[derive(Clone)]
pub(crate) struct Surroundings {
    /// Where builds are made, and where throw-away ones are.
    pub(crate) osbs: Arc<Osbs>,
    pub(crate) scratch_osbs: Arc<Osbs>,
    pub(crate) allowed: Arc<AllowedScms>,
    pub(crate) observer: Observer,
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").finish_non_exhaustive()
    }
}

/// A task that is ours.
#[derive(Debug)]
pub(crate) struct TaskRun {
    pub(crate) surroundings: Surroundings,
    /// With the task's own session.
    pub(crate) koji: Koji,
    pub(crate) task: Task,
    /// The hub has taken it away from us.
    pub(crate) taken_away: CancellationToken,
    /// We are to end; the build goes on.
    pub(crate) shutdown: CancellationToken,
    /// The cluster counts its build.
    pub(crate) has_build: Arc<AtomicBool>,
    /// Held while its build is being made.
    pub(crate) making: Mutex<()>,
}

/// How it ended, as far as we go on.
enum End {
    Done(Value),
    Failed(TaskError),
    /// The hub knows already.
    TakenAway,
    /// Somebody goes on after the restart.
    Left,
}

impl TaskRun {
    /// Runs it to its end and tells the hub. A hub that is not reached is asked again as long as it takes.
    pub(crate) async fn run(self) {
        let end = tokio::select! {
            biased;
            () = self.shutdown.cancelled() => End::Left,
            end = self.work() => end,
        };
        let how = match end {
            End::Left => "left for later".to_owned(),
            End::TakenAway => "canceled".to_owned(),
            End::Done(result) => match self.koji.call(calls::host::close_task(self.task.id, &result)).await {
                Ok(()) => "closed".to_owned(),
                Err(error) => format!("cannot be closed: {error}"),
            },
            End::Failed(TaskError::Cancelled) => match self.koji.call(calls::cancel_task(self.task.id)).await {
                Ok(()) => "canceled, as its build was".to_owned(),
                Err(error) => format!("cannot be canceled: {error}"),
            },
            End::Failed(error) => {
                let fault = error.to_fault();
                match self.koji.call(calls::host::fail_task(self.task.id, &fault)).await {
                    Ok(()) => format!("failed: {}", fault.text),
                    Err(error) => format!("failed ({}), and the hub cannot be told: {error}", fault.text),
                }
            }
        };
        self.tell(&Happening::Ended { task: self.task.id, how });
        // It ends with the builder's session anyway.
        let _ = self.koji.log_out().await;
    }

    fn tell(&self, happening: &Happening) {
        (self.surroundings.observer)(happening);
    }

    async fn work(&self) -> End {
        let mut building = std::pin::pin!(self.build());
        let result = tokio::select! {
            result = &mut building => result,
            () = self.may_be_cancelled() => {
                self.cancel_builds().await;
                return End::TakenAway;
            }
        };
        match result {
            Ok(result) => End::Done(result),
            Err(TaskError::Hub(fault)) if NOT_OURS.contains(&fault.class()) => self.not_ours().await,
            Err(error) => End::Failed(error),
        }
    }

    /// The task is taken away, and no build of it is half made: one that nobody finds would go on.
    async fn may_be_cancelled(&self) {
        self.taken_away.cancelled().await;
        drop(self.making.lock().await);
    }

    /// The hub takes nothing for the task from us: it was cancelled, or is somebody else's now.
    async fn not_ours(&self) -> End {
        match self.koji.anonymous().call(calls::get_task_info(self.task.id, false)).await {
            Ok(Some(info)) if info.state == TaskState::Canceled => {
                self.cancel_builds().await;
                End::TakenAway
            }
            _ => End::Left,
        }
    }

    fn osbs(&self, scratch: bool) -> &Arc<Osbs> {
        if scratch { &self.surroundings.scratch_osbs } else { &self.surroundings.osbs }
    }

    async fn build(&self) -> Result<Value, TaskError> {
        let request = TaskRequest::read(&self.task.request().unwrap_or_default())?;
        let mut told = None;
        loop {
            match self.build_once(&request).await {
                // The build goes on, or was not made: what the cluster says when it is back decides.
                Err(TaskError::ClusterAway(failure)) => self.wait_for_cluster(failure, &mut told).await,
                result => return result,
            }
        }
    }

    /// Says why, once.
    async fn wait_for_cluster(&self, failure: Failure, told: &mut Option<Failure>) {
        if told.as_ref() != Some(&failure) {
            self.tell(&Happening::Trouble { task: Some(self.task.id), problem: format!("waits: {failure}") });
            *told = Some(failure);
        }
        tokio::time::sleep(PAUSE).await;
    }

    async fn build_once(&self, request: &TaskRequest) -> Result<Value, TaskError> {
        let osbs = self.osbs(request.scratch);
        let mut logs = LogUpload::resume(&self.koji, self.task.id, &self.surroundings.observer).await?;
        if let Some(build) = self.find_build(osbs).await? {
            let build = self.watch(osbs, build, true, &mut logs).await?;
            // Who made it was killed before it could be started: nothing of it has been done.
            if build.started.is_some() || build.state != BuildState::Error {
                return result_of(&build, request.scratch);
            }
        }
        let build = self.submit(osbs, request, &mut logs).await?;
        let build = self.watch(osbs, build, false, &mut logs).await?;
        result_of(&build, request.scratch)
    }

    /// Until the build has ended and the hub has its log; the build as it is then.
    async fn watch(
        &self,
        osbs: &Osbs,
        build: Build,
        existing: bool,
        logs: &mut LogUpload<'_>,
    ) -> Result<Build, TaskError> {
        self.has_build.store(true, Ordering::Relaxed);
        self.tell(&Happening::Submitted { task: self.task.id, build: build.name.clone(), existing });
        logs.follow(osbs, &build.name).await?;
        osbs.wait_for_build_to_finish(&build.name).await.map_err(of_client)
    }

    /// The build that belongs to the task, in whatever state: the newest, should there be several.
    async fn find_build(&self, osbs: &Osbs) -> Result<Option<Build>, TaskError> {
        let labels = [("koji-task-id".to_owned(), self.task.id.to_string())].into_iter().collect();
        let filter = BuildFilter { labels, ..BuildFilter::default() };
        let builds = osbs.list_builds_by(&filter).await.map_err(of_client)?;
        Ok(builds.into_iter().rfind(|build| build.parent.is_none()))
    }

    async fn submit(&self, osbs: &Osbs, request: &TaskRequest, logs: &mut LogUpload<'_>) -> Result<Build, TaskError> {
        let plan = plan(&self.koji, &self.task, request, &self.surroundings.allowed).await?;
        let cancel = self.taken_away.child_token();
        let prepared = osbs.prepare_orchestrator_build(&plan.build, &cancel).await.map_err(of_client)?;
        let found = format!("{} at {}\n", osbs_types::without_logins(&plan.scm.text), prepared.commit());
        logs.add_text("checkout-for-labels.log", &found);
        check_repository(&self.koji, request, &plan.target, prepared.repository()).await?;
        let making = self.making.lock().await;
        let submitted = osbs.create_prepared_build(prepared).await.map_err(of_client)?;
        drop(making);
        for warning in &submitted.warnings {
            logs.add_text("osbs-client.log", &format!("{warning}\n"));
        }
        Ok(submitted.build)
    }

    /// The hub has cancelled the task: so are its builds, should it have any.
    async fn cancel_builds(&self) {
        for scratch in [false, true] {
            let mut told = None;
            while let Err(error) = self.cancel_build(self.osbs(scratch)).await {
                if let TaskError::ClusterAway(failure) = &error
                    && !self.shutdown.is_cancelled()
                {
                    self.wait_for_cluster(failure.clone(), &mut told).await;
                    continue;
                }
                let problem = format!("its build cannot be cancelled: {error}");
                self.tell(&Happening::Trouble { task: Some(self.task.id), problem });
                break;
            }
        }
    }

    async fn cancel_build(&self, osbs: &Osbs) -> Result<(), TaskError> {
        if let Some(build) = self.find_build(osbs).await?
            && !build.state.is_finished()
        {
            osbs.cancel_build(&build.name).await.map_err(of_client)?;
        }
        Ok(())
    }
}

/// What the task returns (client-and-koji 4.4, step 15).
fn result_of(build: &Build, scratch: bool) -> Result<Value, TaskError> {
    match build.state {
        BuildState::Complete => {}
        BuildState::Cancelled => return Err(TaskError::Cancelled),
        _ => {
            let failure = build.failure.as_ref().map(ToString::to_string).or_else(|| build.reason.clone());
            let message = failure.map_or_else(String::new, |text| format!("{}. ", text.trim_end_matches('.')));
            return Err(TaskError::BuildFailed { message, build: build.name.to_string() });
        }
    }
    let text = |key: &str| build.annotations.get(key).map(String::as_str).unwrap_or_default();
    let kinds: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(text("repositories")).unwrap_or_default();
    let specs = kinds.values().filter_map(serde_json::Value::as_array).flatten().filter_map(|spec| spec.as_str());
    let repositories: Vec<Value> = specs.map(Value::from).collect();
    let id = build.labels.get("koji-build-id").filter(|id| !scratch && !id.is_empty());
    let builds: Vec<Value> = id.map(Value::from).into_iter().collect();
    Ok(Value::members([("repositories", repositories.into()), ("koji_builds", builds.into())]))
}
