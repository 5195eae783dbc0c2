//! Runs for tests: an in-memory cluster, events kept in memory, everything on disk in one temporary folder.
//!
//! Public, so that integration tests and other crates' tests can use it. Nothing in production calls it.

use crate::build_json::{BuildJson, PluginEntry, PluginLists, ProviderParams, SourceSpec};
use crate::events::{MemorySink, SystemClock};
use crate::plugin::{Done, Plugin, PluginArgs, PluginResult};
use crate::{GitPolicy, Run, Services, SourceTree};
use async_trait::async_trait;
use osbs_cluster::{Cluster, GitSource, MemoryCluster, NameRule, NewBuild, Script};
use osbs_http::{Transport, TransportConfig};
use osbs_image::Store;
use osbs_types::{BuildType, Event, EventKind, LogLine};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;
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
        transport: Transport::new(TransportConfig::default()),
        program_path: "/usr/local/bin:/usr/bin:/bin".to_owned(),
        git: GitPolicy { retries: 1, delay: Duration::from_millis(1), deepen: 2 },
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
