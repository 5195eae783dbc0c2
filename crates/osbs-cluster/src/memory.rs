//! A cluster that lives in memory, for tests and simulations of everything that talks to one. No process runs: a script
//! says what each build does.

use crate::queue::{Queued, decide};
use crate::{
    Build, BuildConfig, BuildFilter, BuildPatch, Cluster, ClusterError, EventStream, NameRule, NewBuild, Reservation,
    SecretData, StoredEvent, TextMap, WaitFor, is_object_name, merge_build_config, next_release,
};
use async_trait::async_trait;
use futures_util::StreamExt;
use osbs_types::{BuildName, BuildState, Event, EventKind, Failure, Nvr, Timestamp};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::watch;

/// What a build of a [`MemoryCluster`] does once it runs.
#[derive(Debug, Clone)]
pub struct Script {
    /// Events it writes, after `State: Running`.
    pub events: Vec<EventKind>,
    /// Labels and annotations it sets.
    pub patch: BuildPatch,
    /// How it ends; `None` = it runs until [`MemoryCluster::finish`] or a cancellation.
    pub end: Option<BuildState>,
    /// Why it fails.
    pub failure: Option<Failure>,
}

impl Script {
    /// Ends at once in that state.
    pub fn ends(state: BuildState) -> Self {
        Self { events: Vec::new(), patch: BuildPatch::default(), end: Some(state), failure: None }
    }

    /// Runs until told.
    pub fn holds() -> Self {
        Self { end: None, ..Self::ends(BuildState::Complete) }
    }

    /// With these events.
    #[must_use]
    pub fn with_events(mut self, events: impl IntoIterator<Item = EventKind>) -> Self {
        self.events.extend(events);
        self
    }

    /// With these labels and annotations.
    #[must_use]
    pub fn with_patch(mut self, patch: BuildPatch) -> Self {
        self.patch = patch;
        self
    }
}

type ScriptFor = dyn Fn(&Build) -> Script + Send + Sync;
type FailCreate = dyn Fn(&NewBuild) -> Option<ClusterError> + Send + Sync;

type Clock = dyn Fn() -> Timestamp + Send + Sync;

#[derive(Default)]
struct State {
    builds: Vec<(Build, Vec<Event>)>,
    /// Name -> place in `builds`.
    places: BTreeMap<BuildName, usize>,
    /// Places of the builds that are not finished.
    unfinished: Vec<usize>,
    clock: Option<Arc<Clock>>,
    /// Nothing starts.
    paused: bool,
    build_configs: BTreeMap<String, BuildConfig>,
    config_maps: BTreeMap<String, TextMap>,
    secrets: BTreeMap<String, SecretData>,
    nvrs: BTreeMap<Nvr, Reservation>,
    refuse: Option<Arc<FailCreate>>,
}

/// The in-memory cluster. Clones are the same cluster.
#[derive(Clone)]
pub struct MemoryCluster {
    namespace: String,
    secret_root: Option<PathBuf>,
    script: Arc<ScriptFor>,
    state: Arc<Mutex<State>>,
    changed: Arc<watch::Sender<u64>>,
}

impl MemoryCluster {
    /// Every build does what `script` says for it.
    pub fn new(namespace: &str, script: impl Fn(&Build) -> Script + Send + Sync + 'static) -> Self {
        Self {
            namespace: namespace.to_owned(),
            secret_root: None,
            script: Arc::new(script),
            state: Arc::default(),
            changed: Arc::new(watch::Sender::new(0)),
        }
    }

    /// With a folder below which the test has put the files of secrets, `ROOT/NAME/KEY`.
    #[must_use]
    pub fn with_secret_root(mut self, root: impl Into<PathBuf>) -> Self {
        self.secret_root = Some(root.into());
        self
    }

    /// With another clock than the machine's.
    #[must_use]
    pub fn with_clock(self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        self.lock().clock = Some(Arc::new(clock));
        self
    }

    /// Makes `create_build` fail where `refuse` gives an error.
    pub fn refuse_builds(&self, refuse: impl Fn(&NewBuild) -> Option<ClusterError> + Send + Sync + 'static) {
        self.lock().refuse = Some(Arc::new(refuse));
    }

    /// Whether builds wait though it is their turn, as in a cluster whose API is down: what runs goes on.
    pub fn pause_starts(&self, paused: bool) {
        self.change(|state| state.paused = paused);
    }

    /// Ends a build that holds.
    pub fn finish(&self, name: &BuildName, state: BuildState, failure: Option<Failure>) {
        self.change(|s| {
            let time = s.now();
            if let Some((build, events)) = s.get_mut(name) {
                end(build, events, time, state, failure);
            }
        });
    }

    /// Appends an event to a build.
    pub fn emit(&self, name: &BuildName, kind: EventKind) {
        self.change(|s| {
            let time = s.now();
            if let Some((_, events)) = s.get_mut(name) {
                events.push(Event { time, kind });
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds the state")
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state);
        state.start_what_may_run(&*self.script);
        drop(state);
        self.changed.send_modify(|version| *version += 1);
        result
    }

    fn check_name(what: &'static str, name: &str) -> Result<(), ClusterError> {
        if is_object_name(name) {
            return Ok(());
        }
        let reason = "letters, digits, '-', '_' and '.' only".to_owned();
        Err(ClusterError::Invalid { what, value: name.to_owned(), reason })
    }

    fn not_found(&self, kind: &'static str, name: &str) -> ClusterError {
        ClusterError::NotFound { kind, name: name.to_owned(), namespace: self.namespace.clone() }
    }
}

fn end(build: &mut Build, events: &mut Vec<Event>, time: Timestamp, state: BuildState, failure: Option<Failure>) {
    if build.is_finished() {
        return;
    }
    if let Some(failure) = &failure {
        events.push(Event { time, kind: EventKind::Failure(failure.clone()) });
    }
    build.reason = failure.as_ref().map(ToString::to_string);
    build.failure = failure;
    build.state = state;
    build.finished = Some(time);
    events.push(Event { time, kind: EventKind::State { state, reason: build.reason.clone() } });
}

impl State {
    fn now(&self) -> Timestamp {
        self.clock.as_ref().map_or_else(Timestamp::now, |clock| clock())
    }

    fn get_mut(&mut self, name: &BuildName) -> Option<&mut (Build, Vec<Event>)> {
        self.builds.get_mut(*self.places.get(name)?)
    }

    /// Passes until nothing more starts: a script may end its build at once.
    fn start_what_may_run(&mut self, script: &ScriptFor) {
        loop {
            self.unfinished.retain(|place| !self.builds[*place].0.is_finished());
            if self.paused {
                return;
            }
            let (places, queued): (Vec<_>, Vec<_>) = self
                .unfinished
                .iter()
                .filter_map(|place| Some((*place, Queued::of(&self.builds[*place].0, false)?)))
                .unzip();
            let pass = decide(&queued);
            let start: Vec<_> = pass.start.iter().map(|index| places[*index]).collect();
            let wait: Vec<_> = pass.wait.iter().map(|(index, why)| (places[*index], why.to_string())).collect();
            for (place, reason) in wait {
                self.hold_back(place, reason);
            }
            for place in &start {
                self.start(*place, script);
            }
            if start.is_empty() {
                return;
            }
        }
    }

    fn hold_back(&mut self, place: usize, reason: String) {
        let time = self.now();
        let (build, events) = &mut self.builds[place];
        if build.state != BuildState::Pending {
            build.state = BuildState::Pending;
            events.push(Event {
                time,
                kind: EventKind::State { state: BuildState::Pending, reason: Some(reason.clone()) },
            });
        }
        build.reason = Some(reason);
    }

    fn start(&mut self, place: usize, script: &ScriptFor) {
        let time = self.now();
        let (build, events) = &mut self.builds[place];
        build.state = BuildState::Running;
        build.reason = None;
        build.started = Some(time);
        events.push(Event { time, kind: EventKind::State { state: BuildState::Running, reason: None } });
        let script = script(build);
        script.patch.apply(build);
        events.extend(script.events.into_iter().map(|kind| Event { time, kind }));
        if let Some(state) = script.end {
            end(build, events, time, state, script.failure);
        }
    }

    fn find(&mut self, namespace: &str, name: &BuildName) -> Result<&mut (Build, Vec<Event>), ClusterError> {
        self.get_mut(name)
            .ok_or_else(|| ClusterError::BuildNotFound { namespace: namespace.to_owned(), build: name.clone() })
    }

    fn create(&mut self, namespace: &str, new: NewBuild) -> Result<BuildName, ClusterError> {
        if let Some(error) = self.refuse.clone().and_then(|refuse| refuse(&new)) {
            return Err(error);
        }
        let (name, number) = match &new.name {
            NameRule::Exact(name) => (name.clone(), None),
            NameRule::Config { build_config } => {
                let config = self.build_configs.get_mut(build_config).ok_or_else(|| ClusterError::NotFound {
                    kind: "BuildConfig",
                    name: build_config.clone(),
                    namespace: namespace.to_owned(),
                })?;
                config.last_version += 1;
                let name = format!("{build_config}-{}", config.last_version);
                (name.parse().map_err(ClusterError::Internal)?, Some(config.last_version))
            }
        };
        if self.places.contains_key(&name) {
            return Err(ClusterError::NameTaken {
                kind: "Build",
                name: name.to_string(),
                namespace: namespace.to_owned(),
            });
        }
        let created = self.now();
        let build = Build::from_new(namespace, name.clone(), number, new, created);
        let kind = EventKind::State { state: BuildState::New, reason: None };
        self.places.insert(name.clone(), self.builds.len());
        self.unfinished.push(self.builds.len());
        self.builds.push((build, vec![Event { time: created, kind }]));
        Ok(name)
    }
}

#[async_trait]
impl Cluster for MemoryCluster {
    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn url(&self) -> String {
        "memory:".to_owned()
    }

    async fn create_build(&self, new: NewBuild) -> Result<Build, ClusterError> {
        let name = self.change(|state| state.create(&self.namespace, new))?;
        self.get_build(&name).await
    }

    async fn get_build(&self, name: &BuildName) -> Result<Build, ClusterError> {
        Ok(self.lock().find(&self.namespace, name)?.0.clone())
    }

    async fn list_builds(&self, filter: &BuildFilter) -> Result<Vec<Build>, ClusterError> {
        let state = self.lock();
        let mut found: Vec<_> = state.builds.iter().map(|(build, _)| build).filter(|b| filter.matches(b)).collect();
        if let Some(limit) = filter.limit {
            found.drain(..found.len().saturating_sub(limit));
        }
        Ok(found.into_iter().cloned().collect())
    }

    async fn cancel_build(&self, name: &BuildName) -> Result<Build, ClusterError> {
        self.change(|state| {
            let time = state.now();
            let (build, events) = state.find(&self.namespace, name)?;
            if !build.is_finished() {
                build.cancel_requested = true;
                end(build, events, time, BuildState::Cancelled, None);
            }
            Ok(())
        })?;
        self.get_build(name).await
    }

    async fn wait_build(&self, name: &BuildName, until: WaitFor) -> Result<Build, ClusterError> {
        let mut changes = self.changed.subscribe();
        loop {
            // Only what ends the wait is copied: every change of the cluster wakes all who wait.
            let reached = until.is_reached(self.lock().find(&self.namespace, name)?.0.state);
            if reached {
                return self.get_build(name).await;
            }
            changes.changed().await.map_err(|_| ClusterError::Internal("the cluster is gone".to_owned()))?;
        }
    }

    async fn update_build(&self, name: &BuildName, patch: BuildPatch) -> Result<Build, ClusterError> {
        self.change(|state| state.find(&self.namespace, name).map(|(build, _)| patch.apply(build)))?;
        self.get_build(name).await
    }

    async fn events(&self, name: &BuildName, from: u64, follow: bool) -> Result<EventStream, ClusterError> {
        self.get_build(name).await?;
        let start = (self.clone(), name.clone(), from, self.changed.subscribe());
        let stream = futures_util::stream::unfold(start, move |(cluster, name, from, mut changes)| async move {
            loop {
                let next = {
                    let mut state = cluster.lock();
                    let (build, events) = state.find(&cluster.namespace, &name).ok()?;
                    let next = events.get(from as usize).cloned();
                    if next.is_none() && (!follow || build.is_finished()) {
                        return None;
                    }
                    next
                };
                if let Some(event) = next {
                    let stored = StoredEvent { offset: from + 1, event };
                    return Some((Ok(stored), (cluster, name, from + 1, changes)));
                }
                changes.changed().await.ok()?;
            }
        });
        Ok(stream.boxed())
    }

    async fn active_builds(&self, group: Option<&str>) -> Result<usize, ClusterError> {
        let in_group = |b: &Build| group.is_none_or(|group| b.slots.as_ref().is_some_and(|slots| slots.group == group));
        let state = self.lock();
        Ok(state.unfinished.iter().filter(|place| in_group(&state.builds[**place].0)).count())
    }

    async fn ensure_build_config(&self, config: BuildConfig) -> Result<BuildConfig, ClusterError> {
        Self::check_name("BuildConfig name", &config.name)?;
        let mut state = self.lock();
        if let Some(existing) = state.build_configs.get_mut(&config.name) {
            merge_build_config(existing, &config)?;
            return Ok(existing.clone());
        }
        let config = BuildConfig { last_version: 0, ..config };
        state.build_configs.insert(config.name.clone(), config.clone());
        Ok(config)
    }

    async fn get_build_config(&self, name: &str) -> Result<Option<BuildConfig>, ClusterError> {
        Ok(self.lock().build_configs.get(name).cloned())
    }

    async fn find_build_configs(&self, labels: &TextMap) -> Result<Vec<BuildConfig>, ClusterError> {
        let fits = |config: &&BuildConfig| labels.iter().all(|(key, value)| config.labels.get(key) == Some(value));
        Ok(self.lock().build_configs.values().filter(fits).cloned().collect())
    }

    async fn delete_build_config(&self, name: &str) -> Result<(), ClusterError> {
        self.lock().build_configs.remove(name);
        Ok(())
    }

    async fn put_config_map(&self, name: &str, data: &TextMap) -> Result<(), ClusterError> {
        Self::check_name("ConfigMap name", name)?;
        self.lock().config_maps.insert(name.to_owned(), data.clone());
        Ok(())
    }

    async fn get_config_map(&self, name: &str) -> Result<TextMap, ClusterError> {
        self.lock().config_maps.get(name).cloned().ok_or_else(|| self.not_found("ConfigMap", name))
    }

    async fn list_config_maps(&self) -> Result<Vec<String>, ClusterError> {
        Ok(self.lock().config_maps.keys().cloned().collect())
    }

    async fn delete_config_map(&self, name: &str) -> Result<(), ClusterError> {
        self.lock().config_maps.remove(name);
        Ok(())
    }

    async fn put_secret(&self, name: &str, data: &SecretData) -> Result<(), ClusterError> {
        Self::check_name("Secret name", name)?;
        for key in data.keys() {
            Self::check_name("key of a Secret", key)?;
        }
        self.lock().secrets.insert(name.to_owned(), data.clone());
        Ok(())
    }

    async fn get_secret(&self, name: &str) -> Result<SecretData, ClusterError> {
        self.lock().secrets.get(name).cloned().ok_or_else(|| self.not_found("Secret", name))
    }

    async fn list_secrets(&self) -> Result<Vec<String>, ClusterError> {
        Ok(self.lock().secrets.keys().cloned().collect())
    }

    async fn delete_secret(&self, name: &str) -> Result<(), ClusterError> {
        self.lock().secrets.remove(name);
        Ok(())
    }

    async fn secret_dir(&self, name: &str) -> Result<PathBuf, ClusterError> {
        Self::check_name("Secret name", name)?;
        self.secret_root.as_ref().map(|root| root.join(name)).ok_or_else(|| self.not_found("Secret", name))
    }

    async fn reserve_nvr(&self, nvr: &Nvr, by: &BuildName) -> Result<Reservation, ClusterError> {
        let mut state = self.lock();
        let at = state.now();
        let reservation =
            state.nvrs.entry(nvr.clone()).or_insert_with(|| Reservation { nvr: nvr.clone(), by: by.clone(), at });
        if reservation.by == *by {
            return Ok(reservation.clone());
        }
        Err(ClusterError::NvrTaken { nvr: nvr.clone(), by: reservation.by.clone() })
    }

    async fn nvr_owner(&self, nvr: &Nvr) -> Result<Option<BuildName>, ClusterError> {
        Ok(self.lock().nvrs.get(nvr).map(|reservation| reservation.by.clone()))
    }

    async fn next_release(&self, component: &str, version: &str) -> Result<String, ClusterError> {
        let state = self.lock();
        let taken = state.nvrs.keys().filter(|nvr| nvr.name() == component && nvr.version() == version);
        Ok(next_release(taken.map(Nvr::release)))
    }
}
