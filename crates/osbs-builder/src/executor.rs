//! Carries out the stages of a plan, side by side where they do not need each other.
//!
//! Every stage is a value that whoever needs it first makes, while the others wait ([`Once`]): its own thread, a stage
//! that continues it, or a COPY --from of it. A stage refers to earlier ones only, so nobody waits in a circle. What is
//! shared by the threads is here; what belongs to one stage is in [`Stage`].

use crate::error::{BuildError, FileError, InstructionError};
use crate::once::{Keyed, Once, locked};
use crate::plan::Plan;
use crate::request::{BuildObserver, BuildRequest};
use crate::source::SourceRoot;
use crate::stage::Stage;
use crate::stage_root::{View, WorkDir};
use osbs_types::ErrorKind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// So many stages are at work at once. Each may run a container; more than this only fight for the machine.
const MOST_AT_ONCE: usize = 16;

/// The build while stages are carried out.
pub(crate) struct Executor<'b, 'a> {
    pub request: &'b BuildRequest<'a>,
    pub plan: &'b Plan<'a>,
    pub observer: &'b dyn BuildObserver,
    /// Ends all stages: with the build's, or when one of them has failed.
    pub cancel: CancellationToken,
    // Views before stages before the folder: what is mounted on something goes first.
    pub views: Keyed<View>,
    /// Folders of unpacked images, by name and platform.
    pub unpacked: Keyed<crate::views::Unpacked>,
    stages: Vec<Once<Stage>>,
    pub context: Once<SourceRoot>,
    /// The context's folders as RUN sees it, bottom first: itself, and what hides the ignored files.
    pub context_layers: Once<Vec<PathBuf>>,
    /// Of the user namespaces of RUN, if they get one.
    pub id_map: Once<Option<&'static osbs_sandbox::IdMap>>,
    pub work: &'b WorkDir,
    /// Architectures whose programs run here.
    pub runnable: Keyed<()>,
    /// Time that unpacking took, in microseconds.
    pub unpack_micros: AtomicU64,
    folders: AtomicU32,
    step: AtomicUsize,
    total: AtomicUsize,
    /// The first error that is not the cancellation it causes.
    failure: Mutex<Option<BuildError>>,
}

impl<'b, 'a> Executor<'b, 'a> {
    pub(crate) fn new(
        request: &'b BuildRequest<'a>,
        plan: &'b Plan<'a>,
        work: &'b WorkDir,
        observer: &'b dyn BuildObserver,
        cancel: &CancellationToken,
    ) -> Self {
        let total = plan.order.iter().map(|&index| plan.stages[index].instructions.len() + 1).sum();
        Self {
            request,
            plan,
            observer,
            cancel: cancel.child_token(),
            views: Keyed::default(),
            unpacked: Keyed::default(),
            stages: plan.stages.iter().map(|_| Once::default()).collect(),
            context: Once::default(),
            context_layers: Once::default(),
            id_map: Once::default(),
            work,
            runnable: Keyed::default(),
            unpack_micros: AtomicU64::new(0),
            folders: AtomicU32::new(0),
            step: AtomicUsize::new(0),
            total: AtomicUsize::new(total),
            failure: Mutex::default(),
        }
    }

    /// Builds the target and what it needs; the target stage, unmounted, and the time that unpacking images took.
    pub(crate) fn target(self) -> Result<(Stage, Duration), BuildError> {
        self.all_stages();
        let unpack = Duration::from_micros(self.unpack_micros.load(Ordering::Relaxed));
        let Self { mut stages, failure, plan, cancel, .. } = self;
        let failure = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
        match stages.swap_remove(plan.target).into_inner() {
            Some(stage) if failure.is_none() => Ok((stage, unpack)),
            _ => Err(failure.unwrap_or(if cancel.is_cancelled() {
                BuildError::Cancelled
            } else {
                BuildError::Internal("the target stage was not built")
            })),
        }
    }

    /// Until all are built, or one has failed and the others have ended.
    fn all_stages(&self) {
        let next = AtomicUsize::new(0);
        // In this order a stage comes after those it needs: the first unfinished one never waits.
        let work = || {
            while let Some(&index) = self.plan.order.get(next.fetch_add(1, Ordering::Relaxed)) {
                if self.stage(index).is_err() {
                    return;
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.plan.order.len().min(MOST_AT_ONCE) {
                // A machine without room for another thread builds the stages with those it has.
                let _ = std::thread::Builder::new().name("stage".into()).spawn_scoped(scope, work);
            }
            work();
        });
    }

    /// A finished stage; built here if nobody has.
    ///
    /// # Errors
    /// [`BuildError::Cancelled`] for whatever reason; [`Executor::target`] tells the real one.
    pub(crate) fn stage(&self, index: usize) -> Result<&Stage, BuildError> {
        self.stages[index].get_or_make(|| {
            if self.cancel.is_cancelled() {
                return Err(BuildError::Cancelled);
            }
            self.build(index).map_err(|error| self.stop(error))
        })
    }

    /// Remembers why and ends all other stages.
    fn stop(&self, error: BuildError) -> BuildError {
        if error.kind() != ErrorKind::Cancelled {
            locked(&self.failure).get_or_insert(error);
        }
        self.cancel.cancel();
        BuildError::Cancelled
    }

    pub(crate) fn threads(&self) -> usize {
        threads(self.request.threads)
    }

    /// A folder of the work folder that nobody else uses, not made yet.
    pub(crate) fn new_path(&self, what: &str) -> PathBuf {
        self.work.path().join(format!("{what}{}", self.folders.fetch_add(1, Ordering::Relaxed)))
    }

    /// A new folder for one instruction.
    pub(crate) fn scratch(&self) -> Result<PathBuf, InstructionError> {
        let path = self.new_path("scratch");
        std::fs::create_dir(&path).map_err(|e| FileError::new("create", &path, e).located(self.work.path()))?;
        Ok(path)
    }

    /// The number of the instruction that starts now, and of all.
    pub(crate) fn next_step(&self) -> (usize, usize) {
        (self.step.fetch_add(1, Ordering::Relaxed) + 1, self.total.load(Ordering::Relaxed))
    }

    /// An instruction that the Dockerfile does not have.
    pub(crate) fn one_more_step(&self) {
        self.total.fetch_add(1, Ordering::Relaxed);
    }
}

/// 0 means as many as the machine has.
pub(crate) fn threads(wanted: usize) -> usize {
    if wanted > 0 { wanted } else { std::thread::available_parallelism().map_or(1, usize::from) }
}
