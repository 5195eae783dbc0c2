//! A day at a site, played on virtual time. Orchestrator builds wait in a real queue, and run the real `orchestrate_build`
//! (or, to compare, the rule of upstream); worker builds wait in the real queue of their cluster.

use crate::load::{Request, Work};
use crate::site::{FAILS, SimCluster, Spec, TAKES, World, new_build};
use async_trait::async_trait;
use futures_util::StreamExt;
use osbs_cluster::{Build, BuildFilter, Cluster, MemoryCluster, NameRule, NewBuild, Script, Slots};
use osbs_config::ReactorConfig;
use osbs_reactor::build_json::{BuildJson, PluginLists};
use osbs_reactor::events::EventSink;
use osbs_reactor::testing::{TestRun, run_with};
use osbs_reactor::{PluginArgs, Run, SourceTree, WorkerCluster, WorkerClusters, WorkerRequest};
use osbs_types::{BuildState, BuildType, Event, Failure, Phase};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use tokio_util::sync::CancellationToken;

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// `orchestrate_build` and `osbs_cluster::queue` as they are.
    Osbs,
    /// Loads are asked once, the minimum gets the build, a failure is the build's end; queues are first in, first out.
    Upstream,
}

/// What came of one platform of an image.
#[derive(Clone, Debug)]
pub struct Piece {
    pub platform: &'static str,
    /// When it was to be built, and when that began: seconds since midnight.
    pub asked: f64,
    pub started: Option<f64>,
    pub state: Option<BuildState>,
}

/// What came of an image.
#[derive(Clone, Debug)]
pub struct Image {
    pub user: String,
    /// Seconds since midnight.
    pub requested: f64,
    /// When its orchestrator had its turn.
    pub started: f64,
    pub pieces: Vec<Piece>,
    /// No platform failed but by its own fault.
    pub served: bool,
}

impl Image {
    /// Seconds spent in queues: the orchestrator's, then the longest of its workers.
    pub fn waited(&self) -> f64 {
        let worker = self.pieces.iter().filter_map(|piece| Some(piece.started? - piece.asked));
        self.started - self.requested + worker.fold(0.0, f64::max)
    }
}

/// All that is known at the end of the day.
pub struct Played {
    pub world: Arc<World>,
    pub images: Vec<Image>,
    /// Cluster -> its worker builds.
    pub builds: BTreeMap<String, Vec<Build>>,
    pub orchestrators: Vec<Build>,
}

struct Silent;

impl EventSink for Silent {
    fn emit(&self, _event: &Event) {}
}

/// The clusters as `orchestrate_build` meets them.
struct Workers {
    rule: Rule,
    clusters: BTreeMap<String, Arc<SimCluster>>,
    /// Orchestrator build -> its request.
    requests: Mutex<BTreeMap<String, Arc<Request>>>,
    made: AtomicUsize,
}

struct Worker {
    cluster: Arc<SimCluster>,
    workers: Arc<Workers>,
}

/// The same thing, shared: a worker needs to know the requests.
struct Shared(Arc<Workers>);

#[async_trait]
impl WorkerClusters for Shared {
    async fn connect(
        &self,
        name: &str,
        _config_dir: Option<&Path>,
        _overrides: &Map<String, Value>,
    ) -> Result<Arc<dyn WorkerCluster>, Failure> {
        let cluster = Arc::clone(&self.0.clusters[name]);
        Ok(Arc::new(Worker { cluster, workers: Arc::clone(&self.0) }))
    }
}

#[async_trait]
impl WorkerCluster for Worker {
    fn cluster(&self) -> Arc<dyn Cluster> {
        Arc::clone(&self.cluster) as _
    }

    fn openshift(&self) -> Value {
        json!({})
    }

    async fn create_worker_build(&self, request: WorkerRequest) -> Result<Build, Failure> {
        let new = self.workers.worker_build(request.parent.as_str(), request.platform.as_str(), request.slots);
        self.cluster.create_build(new).await.map_err(|error| Failure::new(error.kind(), &error))
    }
}

impl Workers {
    fn worker_build(&self, parent: &str, platform: &str, slots: Slots) -> NewBuild {
        let request = Arc::clone(&self.requests.lock().expect("nobody panicked")[parent]);
        let work = request.work.iter().find(|work| work.platform == platform).expect("asked for by the request");
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        // Names decide between builds of the same moment: the older one first.
        let name = format!("w{number:06}-{}", platform.replace('_', "-"));
        let mut new = new_build(NameRule::Exact(name.parse().expect("valid")), BuildType::Worker, self.user(&request));
        new.platform = Some(platform.parse().expect("valid"));
        new.parent = Some(parent.parse().expect("valid"));
        new.slots = Some(slots);
        new.annotations.insert(TAKES.into(), work.takes.as_secs_f64().to_string());
        if work.fails {
            new.annotations.insert(FAILS.into(), "true".into());
        }
        new
    }

    /// First in, first out is the fair rule with one user only.
    fn user<'a>(&self, request: &'a Request) -> &'a str {
        if self.rule == Rule::Osbs { &request.user } else { "everybody" }
    }
}

/// One orchestrator and everything around it.
struct Site {
    world: Arc<World>,
    rule: Rule,
    orchestrator: MemoryCluster,
    orchestrator_slots: Slots,
    workers: Arc<Workers>,
    /// Platform -> candidates in the order of the configuration.
    candidates: BTreeMap<&'static str, Vec<(Arc<SimCluster>, u32)>>,
    config: Arc<ReactorConfig>,
    /// A run to take services and source from.
    template: TestRun,
}

/// Plays these requests to the last one's end.
pub async fn play(rule: Rule, specs: Vec<Spec>, orchestrators: u32, errors: f64, requests: Vec<Request>) -> Played {
    let world = World::new(errors);
    let (starts, mut started) = tokio::sync::mpsc::unbounded_channel::<Build>();
    let memory = world.memory("orchestrator", move |build| {
        let _ = starts.send(build.clone());
        Script::holds()
    });
    let site = Arc::new(Site::new(rule, &world, memory, orchestrators, specs).await);
    let expected = requests.len();
    let (ends, mut ended) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn({
        let site = Arc::clone(&site);
        async move {
            for (number, request) in requests.into_iter().enumerate() {
                site.world.sleep_until(request.at).await;
                site.submit(number, request).await;
            }
        }
    });
    let running = Arc::clone(&site);
    tokio::spawn(async move {
        while let Some(build) = started.recv().await {
            let (site, ends) = (Arc::clone(&running), ends.clone());
            tokio::spawn(async move {
                let image = site.orchestrate(build).await;
                let _ = ends.send(image);
            });
        }
    });
    let mut images = Vec::new();
    while images.len() < expected {
        images.push(ended.recv().await.expect("the sender lives with the task above"));
    }
    let mut builds = BTreeMap::new();
    for (name, cluster) in &site.workers.clusters {
        let all = cluster.memory.list_builds(&BuildFilter::default()).await.expect("it is in memory");
        builds.insert(name.clone(), all);
    }
    let all = site.orchestrator.list_builds(&BuildFilter::default()).await.expect("it is in memory");
    Played { world, images, builds, orchestrators: all }
}

impl Site {
    async fn new(rule: Rule, world: &Arc<World>, orchestrator: MemoryCluster, slots: u32, specs: Vec<Spec>) -> Self {
        let mut table: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        let mut candidates: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut clusters = BTreeMap::new();
        for spec in specs {
            let cluster = Arc::new(SimCluster::new(world, spec.clone()));
            for platform in spec.platforms {
                let entry = json!({"name": spec.name, "max_concurrent_builds": spec.max_concurrent_builds});
                table.entry(platform).or_default().push(entry);
                candidates.entry(platform).or_default().push((Arc::clone(&cluster), spec.max_concurrent_builds));
            }
            clusters.insert(spec.name, cluster);
        }
        let config = json!({"version": 1, "clusters": table});
        Self {
            world: Arc::clone(world),
            rule,
            orchestrator,
            orchestrator_slots: Slots { group: "orchestrator".into(), max: slots },
            workers: Arc::new(Workers { rule, clusters, requests: Mutex::default(), made: AtomicUsize::new(0) }),
            candidates,
            config: Arc::new(ReactorConfig::from_json(&config, "config.yaml").expect("valid").value),
            template: run_with("FROM scratch\nLABEL name=web version=1 release=3\n", &[], PluginLists::default()).await,
        }
    }

    /// What a client does.
    async fn submit(&self, number: usize, request: Request) {
        let name = match &request.build_config {
            Some(config) => {
                let config = osbs_cluster::BuildConfig {
                    name: config.clone(),
                    labels: BTreeMap::new(),
                    source: osbs_cluster::GitSource { uri: "u".into(), git_ref: "r".into() },
                    last_version: 0,
                };
                self.orchestrator.ensure_build_config(config.clone()).await.expect("it is in memory");
                NameRule::Config { build_config: config.name }
            }
            None => NameRule::Exact(format!("scratch-{number:06}").parse().expect("valid")),
        };
        let mut new = new_build(name, BuildType::Orchestrator, self.workers.user(&request));
        new.slots = Some(self.orchestrator_slots.clone());
        new.annotations.insert("request".into(), number.to_string());
        let request = Arc::new(request);
        // Before its first chance to run.
        self.workers.requests.lock().expect("nobody panicked").insert(format!("#{number}"), request);
        self.orchestrator.create_build(new).await.expect("it is in memory");
    }

    /// An orchestrator build, from its turn to its end.
    async fn orchestrate(&self, build: Build) -> Image {
        let request = {
            let mut requests = self.workers.requests.lock().expect("nobody panicked");
            let request = requests.remove(&format!("#{}", build.annotations["request"])).expect("submitted");
            requests.insert(build.name.to_string(), Arc::clone(&request));
            request
        };
        let started = self.world.now().as_secs_f64();
        tokio::time::sleep(request.prepare).await;
        let asked = self.world.now().as_secs_f64();
        let pieces = match self.rule {
            Rule::Osbs => self.run_plugin(build.clone(), &request, asked).await,
            Rule::Upstream => {
                let all = request.work.iter().map(|work| self.upstream(&build, work, asked));
                futures_util::future::join_all(all).await
            }
        };
        tokio::time::sleep(request.publish).await;
        self.orchestrator.finish(&build.name, BuildState::Complete, None);
        let ended_by_itself = |piece: &Piece, work: &Work| {
            piece.state == Some(if work.fails { BuildState::Failed } else { BuildState::Complete })
        };
        Image {
            user: request.user.clone(),
            requested: World::time_of(build.created),
            started,
            served: pieces.iter().zip(&request.work).all(|(piece, work)| ended_by_itself(piece, work)),
            pieces,
        }
    }

    /// The real plugin.
    async fn run_plugin(&self, build: Build, request: &Request, asked: f64) -> Vec<Piece> {
        static PLUGIN: OnceLock<osbs_reactor::PluginType> = OnceLock::new();
        let kind = PLUGIN.get_or_init(|| {
            osbs_reactor::plugins::all().find("orchestrate_build", Phase::Buildstep).expect("it is there").clone()
        });
        let mut services = self.template.run.services.clone();
        services.events = Arc::new(Silent);
        services.workers = Arc::new(Shared(Arc::clone(&self.workers)));
        let json: BuildJson = self.template.run.request.clone();
        let root = self.template.folder.path().join("run/source");
        let source = SourceTree::over(&root, &json.source).expect("it is there");
        let mut run = Run::new(json, build, services, CancellationToken::new());
        run.source_tree = Some(source);
        run.config = Arc::clone(&self.config);
        run.platforms = Some(request.work.iter().map(|work| work.platform.parse().expect("valid")).collect());
        let args = json!({"build_kwargs": {"arrangement_version": 6}});
        let Value::Object(args) = args else { unreachable!("it is an object") };
        let mut plugin = (kind.make)(PluginArgs(args)).expect("valid arguments");
        plugin.run(&mut run).await.expect("failures are results");
        request
            .work
            .iter()
            .map(|work| {
                let worker = run.workers.get(work.platform);
                piece(work, asked, worker.map(|worker| &worker.build))
            })
            .collect()
    }

    /// What upstream does for a platform.
    async fn upstream(&self, parent: &Build, work: &Work, asked: f64) -> Piece {
        let mut least: Option<(f64, &(Arc<SimCluster>, u32))> = None;
        for candidate in &self.candidates[work.platform] {
            let group = format!("worker:{}", candidate.0.spec.name);
            let Ok(active) = candidate.0.active_builds(Some(&group)).await else { continue };
            let load = active as f64 / f64::from(candidate.1);
            if least.is_none_or(|(other, _)| load < other) {
                least = Some((load, candidate));
            }
        }
        let Some((_, (cluster, max))) = least else { return piece(work, asked, None) };
        let slots = Slots { group: format!("worker:{}", cluster.spec.name), max: *max };
        let new = self.workers.worker_build(parent.name.as_str(), work.platform, slots);
        let Ok(build) = cluster.create_build(new).await else { return piece(work, asked, None) };
        if let Ok(mut events) = cluster.events(&build.name, 0, true).await {
            while let Some(Ok(_)) = events.next().await {}
        }
        let followed = cluster.get_build(&build.name).await;
        match followed {
            Ok(build) if build.is_finished() => piece(work, asked, Some(&build)),
            _ => {
                let _ = cluster.cancel_build(&build.name).await;
                piece(work, asked, Some(&build))
            }
        }
    }
}

fn piece(work: &Work, asked: f64, build: Option<&Build>) -> Piece {
    Piece {
        platform: work.platform,
        asked,
        started: build.and_then(|build| build.started).map(World::time_of),
        state: build.map(|build| build.state),
    }
}
