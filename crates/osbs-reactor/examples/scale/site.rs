//! A site: worker clusters of different size, speed and health, in memory and on virtual time. What runs a build is played;
//! the queue is the real one.
//!
//! Every call of the `Cluster` trait is counted as a request, costs time, and may fail.

use crate::load::Random;
use async_trait::async_trait;
use futures_util::StreamExt;
use osbs_cluster::{
    Build, BuildConfig, BuildFilter, BuildPatch, Cluster, ClusterError, EventStream, MemoryCluster, NameRule, NewBuild,
    Reservation, Script, SecretData, TextMap, WaitFor,
};
use osbs_types::{BuildName, BuildState, Nvr, Timestamp};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// A cluster as it is to be.
#[derive(Clone, Debug)]
pub struct Spec {
    pub name: String,
    pub platforms: Vec<&'static str>,
    pub max_concurrent_builds: u32,
    /// Times the usual duration of a build.
    pub slowness: f64,
    /// Of one request.
    pub latency: Duration,
    /// Since midnight: its API does not answer from then to then. Builds that run there go on, and none starts.
    pub away: Option<(Duration, Duration)>,
}

/// What all clusters share: the clock, and the book of requests.
pub struct World {
    midnight: Instant,
    /// Share of requests that fail for no reason.
    pub errors: f64,
    random: Mutex<Random>,
    /// Second of the day -> requests.
    pub by_second: Mutex<Vec<u32>>,
    /// Kind of request -> how many.
    pub by_kind: Mutex<BTreeMap<&'static str, u64>>,
}

impl World {
    pub fn new(errors: f64) -> Arc<Self> {
        Arc::new(Self {
            midnight: Instant::now(),
            errors,
            random: Mutex::new(Random::new(7)),
            by_second: Mutex::default(),
            by_kind: Mutex::default(),
        })
    }

    /// Since midnight.
    pub fn now(&self) -> Duration {
        self.midnight.elapsed()
    }

    /// When a timestamp of a build was, since midnight.
    pub fn time_of(stamp: Timestamp) -> f64 {
        stamp.as_microsecond() as f64 / 1e6
    }

    pub async fn sleep_until(&self, time: Duration) {
        tokio::time::sleep_until(self.midnight + time).await;
    }

    pub fn requests(&self) -> u64 {
        self.by_kind.lock().expect("nobody panicked").values().sum()
    }

    fn count(&self, kind: &'static str) {
        let second = self.now().as_secs() as usize;
        let mut seconds = self.by_second.lock().expect("nobody panicked");
        if seconds.len() <= second {
            seconds.resize(second + 1, 0);
        }
        seconds[second] += 1;
        *self.by_kind.lock().expect("nobody panicked").entry(kind).or_default() += 1;
    }

    /// A cluster in memory that lives on this clock. Midnight is the epoch.
    pub fn memory(
        self: &Arc<Self>,
        namespace: &str,
        script: impl Fn(&Build) -> Script + Send + Sync + 'static,
    ) -> MemoryCluster {
        let world = Arc::clone(self);
        let now = move || Timestamp::UNIX_EPOCH + world.now();
        MemoryCluster::new(namespace, script).with_clock(now)
    }
}

/// Annotations of a played build: how long it takes, in seconds, and whether it fails.
pub const TAKES: &str = "takes";
pub const FAILS: &str = "fails";

/// A worker cluster.
#[derive(Clone)]
pub struct SimCluster {
    pub spec: Arc<Spec>,
    pub memory: MemoryCluster,
    world: Arc<World>,
    away: watch::Receiver<bool>,
}

impl SimCluster {
    pub fn new(world: &Arc<World>, spec: Spec) -> Self {
        let spec = Arc::new(spec);
        let (started, mut starting) = tokio::sync::mpsc::unbounded_channel::<(BuildName, Duration, BuildState)>();
        let slowness = spec.slowness;
        let memory = world.memory(&spec.name, move |build| {
            let takes: f64 = build.annotations.get(TAKES).and_then(|text| text.parse().ok()).unwrap_or_default();
            let state = if build.annotations.contains_key(FAILS) { BuildState::Failed } else { BuildState::Complete };
            let _ = started.send((build.name.clone(), Duration::from_secs_f64(takes * slowness), state));
            Script::holds()
        });
        let theirs = memory.clone();
        tokio::spawn(async move {
            while let Some((name, takes, state)) = starting.recv().await {
                let memory = theirs.clone();
                tokio::spawn(async move {
                    sleep(takes).await;
                    memory.finish(&name, state, None);
                });
            }
        });
        let (sender, away) = watch::channel(false);
        if let Some((from, to)) = spec.away {
            let (world, memory) = (Arc::clone(world), memory.clone());
            tokio::spawn(async move {
                world.sleep_until(from).await;
                memory.pause_starts(true);
                sender.send_replace(true);
                world.sleep_until(to).await;
                sender.send_replace(false);
                memory.pause_starts(false);
            });
        }
        Self { spec, memory, world: Arc::clone(world), away }
    }

    fn unreachable(&self) -> ClusterError {
        ClusterError::Unreachable { url: self.url(), source: "connection refused".into() }
    }

    async fn request(&self, kind: &'static str) -> Result<(), ClusterError> {
        self.world.count(kind);
        sleep(self.spec.latency).await;
        let chance = self.world.random.lock().expect("nobody panicked").unit();
        if *self.away.borrow() {
            // A dead machine does not even refuse.
            sleep(Duration::from_secs(10)).await;
            return Err(self.unreachable());
        }
        if chance < self.world.errors { Err(self.unreachable()) } else { Ok(()) }
    }
}

#[async_trait]
impl Cluster for SimCluster {
    fn namespace(&self) -> &str {
        self.memory.namespace()
    }

    fn url(&self) -> String {
        format!("https://{}.example.com", self.spec.name)
    }

    async fn create_build(&self, new: NewBuild) -> Result<Build, ClusterError> {
        self.request("create_build").await?;
        self.memory.create_build(new).await
    }

    async fn wait_build(&self, name: &BuildName, until: WaitFor) -> Result<Build, ClusterError> {
        self.request("wait_build").await?;
        self.memory.wait_build(name, until).await
    }

    async fn events(&self, name: &BuildName, from: u64, follow: bool) -> Result<EventStream, ClusterError> {
        self.request("events").await?;
        let stream = self.memory.events(name, from, follow).await?;
        let cut = futures_util::stream::unfold(Some((stream, self.clone())), |state| async move {
            let (mut stream, cluster) = state?;
            let mut away = cluster.away.clone();
            let lost = async move {
                if away.wait_for(|away| *away).await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                biased;
                () = lost => Some((Err(cluster.unreachable()), None)),
                next = stream.next() => next.map(|next| (next, Some((stream, cluster)))),
            }
        });
        Ok(cut.boxed())
    }

    async fn active_builds(&self, group: Option<&str>) -> Result<usize, ClusterError> {
        self.request("active_builds").await?;
        self.memory.active_builds(group).await
    }

    async fn get_config_map(&self, name: &str) -> Result<TextMap, ClusterError> {
        self.memory.get_config_map(name).await
    }

    async fn get_build(&self, name: &BuildName) -> Result<Build, ClusterError> {
        self.request("get_build").await?;
        self.memory.get_build(name).await
    }

    async fn list_builds(&self, filter: &BuildFilter) -> Result<Vec<Build>, ClusterError> {
        self.request("list_builds").await?;
        self.memory.list_builds(filter).await
    }

    async fn cancel_build(&self, name: &BuildName) -> Result<Build, ClusterError> {
        self.request("cancel_build").await?;
        self.memory.cancel_build(name).await
    }

    async fn update_build(&self, name: &BuildName, patch: BuildPatch) -> Result<Build, ClusterError> {
        self.request("update_build").await?;
        self.memory.update_build(name, patch).await
    }

    async fn ensure_build_config(&self, config: BuildConfig) -> Result<BuildConfig, ClusterError> {
        self.request("ensure_build_config").await?;
        self.memory.ensure_build_config(config).await
    }

    async fn get_build_config(&self, name: &str) -> Result<Option<BuildConfig>, ClusterError> {
        self.request("get_build_config").await?;
        self.memory.get_build_config(name).await
    }

    async fn find_build_configs(&self, labels: &TextMap) -> Result<Vec<BuildConfig>, ClusterError> {
        self.request("find_build_configs").await?;
        self.memory.find_build_configs(labels).await
    }

    async fn delete_build_config(&self, name: &str) -> Result<(), ClusterError> {
        self.request("delete_build_config").await?;
        self.memory.delete_build_config(name).await
    }

    async fn put_config_map(&self, name: &str, data: &TextMap) -> Result<(), ClusterError> {
        self.request("put_config_map").await?;
        self.memory.put_config_map(name, data).await
    }

    async fn list_config_maps(&self) -> Result<Vec<String>, ClusterError> {
        self.request("list_config_maps").await?;
        self.memory.list_config_maps().await
    }

    async fn delete_config_map(&self, name: &str) -> Result<(), ClusterError> {
        self.request("delete_config_map").await?;
        self.memory.delete_config_map(name).await
    }

    async fn put_secret(&self, name: &str, data: &SecretData) -> Result<(), ClusterError> {
        self.request("put_secret").await?;
        self.memory.put_secret(name, data).await
    }

    async fn get_secret(&self, name: &str) -> Result<SecretData, ClusterError> {
        self.request("get_secret").await?;
        self.memory.get_secret(name).await
    }

    async fn list_secrets(&self) -> Result<Vec<String>, ClusterError> {
        self.request("list_secrets").await?;
        self.memory.list_secrets().await
    }

    async fn delete_secret(&self, name: &str) -> Result<(), ClusterError> {
        self.request("delete_secret").await?;
        self.memory.delete_secret(name).await
    }

    async fn secret_dir(&self, name: &str) -> Result<PathBuf, ClusterError> {
        self.request("secret_dir").await?;
        self.memory.secret_dir(name).await
    }

    async fn reserve_nvr(&self, nvr: &Nvr, by: &BuildName) -> Result<Reservation, ClusterError> {
        self.request("reserve_nvr").await?;
        self.memory.reserve_nvr(nvr, by).await
    }

    async fn nvr_owner(&self, nvr: &Nvr) -> Result<Option<BuildName>, ClusterError> {
        self.request("nvr_owner").await?;
        self.memory.nvr_owner(nvr).await
    }

    async fn next_release(&self, component: &str, version: &str) -> Result<String, ClusterError> {
        self.request("next_release").await?;
        self.memory.next_release(component, version).await
    }
}

/// A request for a build that is played.
pub fn new_build(name: NameRule, build_type: osbs_types::BuildType, user: &str) -> NewBuild {
    let source = osbs_cluster::GitSource { uri: "https://git.example.com/web.git".into(), git_ref: "main".into() };
    NewBuild::new(name, build_type, source, format!("{user}/web:1"))
}

/// Twenty clusters for four platforms; two of them serve two platforms, two are slow, two are away for an hour.
pub fn twenty_clusters() -> Vec<Spec> {
    let ms = Duration::from_millis;
    let spec = |name: &str, platforms: &[&'static str], max_concurrent_builds| Spec {
        name: name.to_owned(),
        platforms: platforms.to_vec(),
        max_concurrent_builds,
        slowness: 1.0,
        latency: ms(30),
        away: None,
    };
    let hours =
        |from: f64, to: f64| Some((Duration::from_secs_f64(from * 3600.0), Duration::from_secs_f64(to * 3600.0)));
    vec![
        Spec { away: hours(10.5, 11.5), ..spec("x1", &["x86_64"], 30) },
        spec("x2", &["x86_64"], 24),
        spec("x3", &["x86_64"], 24),
        spec("x4", &["x86_64"], 16),
        Spec { slowness: 1.5, latency: ms(400), ..spec("x5", &["x86_64"], 16) },
        spec("x6", &["x86_64"], 10),
        spec("x7", &["x86_64"], 6),
        spec("xa", &["x86_64", "aarch64"], 20),
        spec("a1", &["aarch64"], 24),
        spec("a2", &["aarch64"], 16),
        spec("a3", &["aarch64"], 12),
        Spec { slowness: 1.5, ..spec("a4", &["aarch64"], 8) },
        spec("p1", &["ppc64le"], 20),
        spec("p2", &["ppc64le"], 14),
        spec("p3", &["ppc64le"], 8),
        spec("p4", &["ppc64le"], 8),
        spec("pz", &["ppc64le", "s390x"], 10),
        Spec { away: hours(15.0, 16.0), ..spec("z1", &["s390x"], 20) },
        spec("z2", &["s390x"], 14),
        spec("z3", &["s390x"], 8),
    ]
}
