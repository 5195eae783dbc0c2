//! Runs for tests: an in-memory cluster, events kept in memory, everything on disk in one temporary folder.
//!
//! Public, so that integration tests and other crates' tests can use it. Nothing in production calls it.

use crate::build_json::{BuildJson, PluginEntry, PluginLists, ProviderParams, SourceSpec};
use crate::events::{MemorySink, SystemClock};
use crate::plugin::{Done, Plugin, PluginArgs, PluginResult};
use crate::{Run, Services, SourceTree, WorkerCluster, WorkerClusters, WorkerRequest};
use async_trait::async_trait;
use osbs_client::git::Git;
use osbs_cluster::{Build, Cluster, GitSource, MemoryCluster, NameRule, NewBuild, Script};
use osbs_http::{Transport, TransportConfig};
use osbs_image::Store;
use osbs_types::{BuildType, ErrorKind, Event, EventKind, Failure, LogLine};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio_util::sync::CancellationToken;

/// A run and what it works on.
pub struct TestRun {
    /// The run.
    pub run: Run,
    /// Cancels its main part.
    pub cancel: CancellationToken,
    /// Its events.
    pub sink: Arc<MemorySink>,
    /// Its own cluster; its build is `test-1`.
    pub cluster: MemoryCluster,
    /// Holds everything; removed with the value.
    pub folder: tempfile::TempDir,
}

/// A run whose source is there already, with this Dockerfile and these files beside it.
///
/// # Panics
/// When the temporary folder cannot be used.
pub async fn run_with(dockerfile: &str, files: &[(&str, &str)], plugins: PluginLists) -> TestRun {
    let mut test = run_without_source(plugins).await;
    let root = test.folder.path().join("run/source");
    std::fs::create_dir_all(&root).expect("a temporary folder can be written");
    for (name, text) in [("Dockerfile", dockerfile)].iter().chain(files) {
        std::fs::write(root.join(name), text).expect("a temporary folder can be written");
    }
    let tree = SourceTree::over(&root, &test.run.request.source).expect("the folder has a Dockerfile");
    test.run.parents = tree.parents().expect("tests use valid Dockerfiles");
    test.run.source_tree = Some(tree);
    test
}

/// A run that will fetch its source itself, from the empty folder `repo`.
///
/// # Panics
/// When the temporary folder cannot be used.
pub async fn run_without_source(plugins: PluginLists) -> TestRun {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let repo = folder.path().join("repo");
    std::fs::create_dir(&repo).expect("a temporary folder can be written");
    let sink = Arc::new(MemorySink::default());
    let cluster = MemoryCluster::new("osbs", |_| Script::holds());
    let image = "alice/web:f40-1-20240102030405";
    let new = NewBuild::new(
        NameRule::Exact("test-1".parse().expect("valid")),
        BuildType::Orchestrator,
        GitSource { uri: "https://git.example.com/web.git".to_owned(), git_ref: "main".to_owned() },
        image,
    );
    let build = cluster.create_build(new).await.expect("the memory cluster takes it");
    let request = BuildJson {
        source: SourceSpec {
            provider: "path".to_owned(),
            uri: repo.to_string_lossy().into_owned(),
            dockerfile_path: None,
            provider_params: ProviderParams::default(),
        },
        image: image.to_owned(),
        plugins,
        openshift_build_selflink: None,
        client_version: None,
        unknown: Map::new(),
    };
    let services = Services {
        cluster: Arc::new(cluster.clone()),
        events: Arc::clone(&sink) as _,
        clock: Arc::new(SystemClock),
        work_root: folder.path().join("work"),
        store: Store::open(&folder.path().join("store")).expect("a store can be made"),
        imaging: crate::imaging::Imaging::in_folder(folder.path()),
        workers: Arc::new(MemoryWorkers::default()),
        transport: Transport::new(TransportConfig::default()),
        program_path: "/usr/local/bin:/usr/bin:/bin".to_owned(),
        kerberos_config: None,
        git: Git { retry_after: Vec::new(), ..Git::new("/usr/local/bin:/usr/bin:/bin") },
        watched_disk: folder.path().to_owned(),
    };
    let cancel = CancellationToken::new();
    let run = Run::new(request, build, services, cancel.clone());
    TestRun { run, cancel, sink, cluster, folder }
}

impl TestRun {
    /// Makes and runs one plugin on this run, without the engine.
    ///
    /// # Errors
    /// As the plugin.
    ///
    /// # Panics
    /// `args` is no object.
    pub async fn plugin(&mut self, kind: &crate::PluginType, args: Value) -> PluginResult {
        let Value::Object(args) = args else { panic!("arguments are an object") };
        (kind.make)(PluginArgs(args))?.run(&mut self.run).await
    }

    /// The log lines so far.
    pub fn log_lines(&self) -> Vec<LogLine> {
        let line = |event: Event| match event.kind {
            EventKind::Log(line) => Some(line),
            _ => None,
        };
        self.sink.events().into_iter().filter_map(line).collect()
    }

    /// The texts of the log lines so far.
    pub fn log_texts(&self) -> Vec<String> {
        self.log_lines().iter().map(|line| line.text().into_owned()).collect()
    }
}

/// Entries without arguments.
pub fn entries(names: &[&str]) -> Vec<PluginEntry> {
    names.iter().map(|name| PluginEntry::new(name)).collect()
}

/// A plugin that does what a closure says.
pub struct Scripted<F>(pub F);

#[async_trait]
impl<F> Plugin for Scripted<F>
where
    F: FnMut(&mut Run) -> PluginResult + Send,
{
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        (self.0)(run)
    }
}

/// A plugin that waits until the build is cancelled, and longer.
pub struct Endless;

#[async_trait]
impl Plugin for Endless {
    async fn run(&mut self, _run: &mut Run) -> PluginResult {
        std::future::pending::<()>().await;
        Ok(Done::nothing())
    }
}

type Refusal = Box<dyn Fn(usize) -> Option<Failure> + Send>;

/// Worker clusters in memory, by name. What is not there is unreachable.
#[derive(Default)]
pub struct MemoryWorkers {
    clusters: BTreeMap<String, MemoryCluster>,
    /// Names of the clusters that were asked to connect, in order.
    pub asked: Mutex<Vec<String>>,
    /// Requests that led to a build.
    pub requests: Arc<Mutex<Vec<WorkerRequest>>>,
    /// Cluster -> how often connecting fails first.
    pub unreachable: Mutex<BTreeMap<String, u32>>,
    /// Cluster -> what becomes of its n-th creation.
    pub refusals: Arc<Mutex<BTreeMap<String, Refusal>>>,
    attempts: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl MemoryWorkers {
    /// These clusters.
    pub fn new(clusters: impl IntoIterator<Item = (&'static str, MemoryCluster)>) -> Self {
        let clusters = clusters.into_iter().map(|(name, cluster)| (name.to_owned(), cluster)).collect();
        Self { clusters, ..Self::default() }
    }

    /// Makes creations on a cluster fail where `refuse` says so; it sees how many came before.
    ///
    /// # Panics
    /// Another test has panicked meanwhile.
    pub fn refuse(&self, cluster: &str, refuse: impl Fn(usize) -> Option<Failure> + Send + 'static) {
        self.refusals.lock().expect("no panic").insert(cluster.to_owned(), Box::new(refuse));
    }
}

struct MemoryWorker {
    name: String,
    cluster: MemoryCluster,
    requests: Arc<Mutex<Vec<WorkerRequest>>>,
    refusals: Arc<Mutex<BTreeMap<String, Refusal>>>,
    attempts: Arc<Mutex<BTreeMap<String, usize>>>,
}

#[async_trait]
impl WorkerClusters for MemoryWorkers {
    async fn connect(
        &self,
        name: &str,
        _config_dir: Option<&Path>,
        _overrides: &Map<String, Value>,
    ) -> Result<Arc<dyn WorkerCluster>, Failure> {
        self.asked.lock().expect("no panic").push(name.to_owned());
        let unreachable = || Failure::message(ErrorKind::Remote, format!("{name} does not answer"));
        if let Some(left) = self.unreachable.lock().expect("no panic").get_mut(name).filter(|left| **left > 0) {
            *left -= 1;
            return Err(unreachable());
        }
        let cluster = self.clusters.get(name).cloned().ok_or_else(unreachable)?;
        Ok(Arc::new(MemoryWorker {
            name: name.to_owned(),
            cluster,
            requests: Arc::clone(&self.requests),
            refusals: Arc::clone(&self.refusals),
            attempts: Arc::clone(&self.attempts),
        }))
    }
}

#[async_trait]
impl WorkerCluster for MemoryWorker {
    fn cluster(&self) -> Arc<dyn Cluster> {
        Arc::new(self.cluster.clone())
    }

    fn openshift(&self) -> Value {
        serde_json::json!({ "url": format!("memory:{}", self.name), "build_json_dir": "", "insecure": false, "auth": {"enable": false} })
    }

    async fn create_worker_build(&self, request: WorkerRequest) -> Result<Build, Failure> {
        let before = {
            let mut attempts = self.attempts.lock().expect("no panic");
            let count = attempts.entry(self.name.clone()).or_default();
            *count += 1;
            *count - 1
        };
        if let Some(failure) = self.refusals.lock().expect("no panic").get(&self.name).and_then(|refuse| refuse(before))
        {
            return Err(failure);
        }
        let name = format!("worker-{}-{before}", request.platform.as_str().replace('_', "-"));
        let source = GitSource { uri: "https://git.example.com/web.git".to_owned(), git_ref: "main".to_owned() };
        let mut new =
            NewBuild::new(NameRule::Exact(name.parse().expect("valid")), BuildType::Worker, source, "alice/web:1");
        new.platform = Some(request.platform.clone());
        new.parent = Some(request.parent.clone());
        new.slots = Some(request.slots.clone());
        self.requests.lock().expect("no panic").push(request);
        self.cluster.create_build(new).await.map_err(|error| Failure::new(error.kind(), &error))
    }
}
