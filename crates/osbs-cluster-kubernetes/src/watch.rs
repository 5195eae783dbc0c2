//! One watch over the unfinished builds of the namespace, shared by all who wait in this process.
//!
//! It begins with the first who waits and ends with the last. Beside telling them what changed it is the safety net of the
//! queue: when it sees a build that could start and nobody starts it, it makes a pass.

use crate::KubernetesCluster;
use crate::client::{asked, code};
use crate::job::{JobFacts, facts};
use crate::turns::{self, SELECTOR};
use crate::wanted::Wanted;
use futures_util::StreamExt;
use k8s_openapi::api::batch::v1::Job;
use kube::runtime::utils::Backoff;
use kube::runtime::{WatchStreamExt, watcher};
use osbs_cluster::ClusterError;
use osbs_types::BuildName;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Whoever waits looks at this interval even if nothing is told: a pod that cannot start changes no Job.
pub(crate) const LOOK_AROUND: Duration = Duration::from_secs(30);
/// Refusals in a row after which those who wait are told. A token that is being renewed is refused once or twice.
const REFUSALS: u32 = 4;
/// The watch leaves others this long, at least and at most, to make the pass that it would make.
const LEAVE_TO_OTHERS: (f64, f64) = (2.0, 6.0);

/// Pauses after errors: kube's own, from 0.8 to 30 s, and from the beginning after two minutes without any. Its stream would
/// begin them anew before every list that it tries, so that a server that refuses to list would be asked each second.
#[derive(Default)]
struct Attempts(watcher::DefaultBackoff);

impl Iterator for Attempts {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next()
    }
}

impl Backoff for Attempts {
    fn reset(&mut self) {}
}

/// What is known of the namespace's unfinished builds.
#[derive(Default)]
struct Seen {
    /// A first list is complete.
    listed: bool,
    jobs: BTreeMap<String, Arc<JobFacts>>,
    /// Of a list that is under way.
    listing: BTreeMap<String, Arc<JobFacts>>,
    refusals: u32,
    refusal: Option<(u16, String)>,
}

/// The watch. Ends when it is dropped.
pub(crate) struct Watching {
    seen: Mutex<Seen>,
    version: watch::Sender<u64>,
    _end: DropGuard,
}

/// Where a process keeps its watch while somebody waits.
pub(crate) type WatchPlace = Mutex<Weak<Watching>>;

impl Watching {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        // Whoever panicked left a map that is whole.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, event: Result<watcher::Event<Job>, watcher::Error>) {
        let mut seen = self.seen();
        match event {
            Ok(watcher::Event::Init) => seen.listing.clear(),
            Ok(watcher::Event::InitApply(job)) => {
                if let Ok(facts) = facts(&job) {
                    seen.listing.insert(facts.build.name.to_string(), Arc::new(facts));
                }
                return;
            }
            Ok(watcher::Event::InitDone) => {
                seen.jobs = std::mem::take(&mut seen.listing);
                seen.listed = true;
                seen.refusals = 0;
            }
            Ok(watcher::Event::Apply(job)) => {
                if let Ok(facts) = facts(&job) {
                    seen.jobs.insert(facts.build.name.to_string(), Arc::new(facts));
                }
                seen.refusals = 0;
            }
            Ok(watcher::Event::Delete(job)) => {
                seen.jobs.remove(job.metadata.name.as_deref().unwrap_or_default());
            }
            Err(error) => {
                let Some(refusal) = refusal(&error) else { return };
                seen.refusals += 1;
                seen.refusal = Some(refusal);
                if seen.refusals < REFUSALS {
                    return;
                }
            }
        }
        drop(seen);
        self.version.send_modify(|version| *version += 1);
    }

    /// Whether something waits that could start.
    fn somebody_could_start(&self) -> bool {
        let seen = self.seen();
        seen.listed && turns::work(seen.jobs.values().map(|facts| &**facts))
    }
}

/// Code and words of a refusal of the login or of the right to watch.
fn refusal(error: &watcher::Error) -> Option<(u16, String)> {
    let (code, text) = match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => (code(error)?, error.to_string()),
        watcher::Error::WatchError(status) => (status.code, status.message.clone()),
        watcher::Error::NoResourceVersion => return None,
    };
    matches!(code, 401 | 403).then_some((code, text))
}

/// Told when something about a build's Job changes.
pub(crate) struct Changes {
    cluster: KubernetesCluster,
    watching: Arc<Watching>,
    version: watch::Receiver<u64>,
    name: BuildName,
    told: Told,
}

/// What whoever waits knows of the Job.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    /// It is finished, or gone.
    Absent,
    /// Its version.
    Version(String),
}

impl Changes {
    /// Returns when the Job has changed, ended or vanished since the last call, or 30 s have passed: ask then. The first
    /// call returns as soon as the watch stands.
    ///
    /// # Errors
    /// The cluster refuses the watch.
    pub async fn changed(&mut self) -> Result<(), ClusterError> {
        self.changed_or_late().await.map(drop)
    }

    /// The same, and whether it was a change.
    ///
    /// # Errors
    /// The cluster refuses the watch.
    pub async fn changed_or_late(&mut self) -> Result<bool, ClusterError> {
        let wait = async {
            loop {
                self.version.borrow_and_update();
                if let Some(told) = self.news()? {
                    self.told = told;
                    return Ok(true);
                }
                // Its sender is in `self.watching`.
                let _ = self.version.changed().await;
            }
        };
        tokio::time::timeout(LOOK_AROUND, wait).await.unwrap_or(Ok(false))
    }

    /// The unfinished build as the watch saw it last; `None`: finished, gone, or not seen yet. It may be some milliseconds old.
    pub fn latest(&self) -> Option<Arc<JobFacts>> {
        self.watching.seen().jobs.get(self.name.as_str()).cloned()
    }

    /// Why the build waits for its turn; `None`: it does not, or the watch does not know yet.
    pub fn waiting_reason(&self) -> Option<String> {
        let seen = self.watching.seen();
        turns::reason(seen.jobs.values().map(|facts| &**facts), &self.name)
    }

    fn news(&self) -> Result<Option<Told>, ClusterError> {
        let seen = self.watching.seen();
        if seen.refusals >= REFUSALS
            && let Some((code, text)) = &seen.refusal
        {
            let status = kube::core::Status::failure(text, "").with_code(*code).boxed();
            return Err(self.cluster.failed(asked("watch", "jobs.batch"), None)(kube::Error::Api(status)));
        }
        if !seen.listed {
            return Ok(None);
        }
        let job = seen.jobs.get(self.name.as_str());
        let now = job.map_or(Told::Absent, |facts| Told::Version(facts.resource_version.clone()));
        Ok((self.told != now).then_some(now))
    }
}

impl KubernetesCluster {
    /// Returns when somebody asks to cancel that build, or nobody wants it any more; never, as long as the account may not
    /// watch, which is asked twice a minute. A watch of its own, on this one Job: a runner has no memory for the whole queue.
    pub(crate) async fn cancel_requested(self, name: BuildName) {
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut events = watcher(self.api::<Job>(), config).backoff(Attempts::default()).boxed();
        let mut wanted = Wanted::default();
        loop {
            let event = tokio::select! {
                Some(event) = events.next() => event,
                () = wanted.over() => {
                    if Box::pin(wanted.end(&self, &name)).await {
                        return;
                    }
                    continue;
                }
            };
            // After a refusal it asks again: a server that has just started refuses everybody for a moment.
            if let Ok(watcher::Event::InitApply(job) | watcher::Event::Apply(job)) = event {
                wanted.see(&job);
                if facts(&job).is_ok_and(|facts| facts.build.cancel_requested) {
                    return;
                }
            }
        }
    }

    /// Changes of one build's Job from now on.
    pub(crate) fn changes_of(&self, name: &BuildName) -> Changes {
        let watching = self.watching();
        let version = watching.version.subscribe();
        Changes { cluster: self.clone(), watching, version, name: name.clone(), told: Told::Nothing }
    }

    fn watching(&self) -> Arc<Watching> {
        let mut place = self.watch_place().lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watching) = place.upgrade() {
            return watching;
        }
        let end = CancellationToken::new();
        let watching = Arc::new(Watching {
            seen: Mutex::default(),
            version: watch::Sender::new(0),
            _end: end.clone().drop_guard(),
        });
        *place = Arc::downgrade(&watching);
        let (cluster, of_watch) = (self.clone(), Arc::downgrade(&watching));
        tokio::spawn(async move {
            tokio::select! {
                () = end.cancelled() => {}
                () = cluster.clone().watch(of_watch.clone()) => {}
                () = cluster.start_what_others_leave(of_watch) => {}
            }
        });
        watching
    }

    async fn watch(self, watching: Weak<Watching>) {
        let config = watcher::Config::default().labels(SELECTOR);
        let mut events = watcher(self.api::<Job>(), config).backoff(Attempts::default()).boxed();
        while let Some(event) = events.next().await {
            let Some(watching) = watching.upgrade() else { return };
            watching.apply(event);
        }
    }

    /// Makes the pass that a build which died, or a process that was killed, did not make.
    async fn start_what_others_leave(self, watching: Weak<Watching>) {
        let Some(mut version) = watching.upgrade().map(|watching| watching.version.subscribe()) else { return };
        let could = || watching.upgrade().is_some_and(|watching| watching.somebody_could_start());
        let mut pause = Duration::ZERO;
        loop {
            if could() {
                let (least, most) = LEAVE_TO_OTHERS;
                tokio::time::sleep(pause + Duration::from_secs_f64(rand::random_range(least..most))).await;
                if could() {
                    // Those who wait find out themselves what does not work; what a pass could not do the next one may.
                    let _ = self.pass().await;
                    pause = (pause * 2).clamp(Duration::from_secs(1), LOOK_AROUND);
                    continue;
                }
            }
            pause = Duration::ZERO;
            if version.changed().await.is_err() {
                return;
            }
        }
    }
}
