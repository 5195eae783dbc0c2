//! A Kubernetes with the image of these tests, and namespaces in it.

use crate::image::{self, IMAGE, PROGRAM};
use crate::kubernetes::KubernetesServer;
use kube::config::{KubeConfigOptions, Kubeconfig};
use osbs_cluster_kubernetes::{KubernetesCluster, PodOptions};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Nothing here takes that long.
pub const PATIENCE: Duration = Duration::from_mins(3);

/// What all tests share.
pub struct World {
    pub server: KubernetesServer,
    pub runtime: tokio::runtime::Runtime,
    namespaces: AtomicUsize,
}

impl World {
    pub fn start() -> Self {
        let server = KubernetesServer::start();
        let folder = tempfile::tempdir().unwrap();
        server.import(&image::archive(folder.path()), IMAGE);
        // Exactly what is needed is the matter of the tests of the deployment.
        let group = "--group=system:serviceaccounts";
        server.kubectl(&["create", "clusterrolebinding", "builds", "--clusterrole=cluster-admin", group]);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
        Self { server, runtime, namespaces: AtomicUsize::new(0) }
    }

    /// A new namespace whose pods can be made.
    pub fn namespace(&self) -> String {
        let name = format!("test-{}", self.namespaces.fetch_add(1, Ordering::Relaxed));
        self.server.kubectl(&["create", "namespace", &name]);
        let deadline = Instant::now() + PATIENCE;
        while !self.server.try_kubectl(&["--namespace", &name, "get", "serviceaccount", "default"]).status.success() {
            assert!(Instant::now() < deadline, "the namespace {name} gets no service account");
            std::thread::sleep(Duration::from_millis(50));
        }
        name
    }

    /// The namespace, by a connection of its own, as another process has one.
    pub fn cluster(&self, namespace: &str) -> KubernetesCluster {
        let kubeconfig = Kubeconfig::read_from(self.server.fact("kubeconfig")).unwrap();
        let _guard = self.runtime.enter();
        let context = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &context);
        let config = tokio::task::block_in_place(|| self.runtime.handle().block_on(config)).unwrap();
        let url = config.cluster_url.to_string();
        KubernetesCluster::new(kube::Client::try_from(config).unwrap(), namespace, url, options())
    }

    /// Requests of clients in that namespace so far: `VERB RESOURCE` -> how many.
    pub fn requests(&self, namespace: &str) -> BTreeMap<String, usize> {
        let mut requests = BTreeMap::new();
        for log in self.server.ready["audit_logs"].as_array().unwrap() {
            let text = std::fs::read_to_string(log.as_str().unwrap()).unwrap_or_default();
            for line in text.lines() {
                let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
                let object = &event["objectRef"];
                let agent = event["userAgent"].as_str().unwrap_or_default();
                if object["namespace"] != namespace || agent.starts_with("kubectl") {
                    continue;
                }
                // A watch and a followed log are told of at their begin and at their end.
                let long = event["verb"] == "watch" || object["subresource"] == "log";
                if event["stage"] != if long { "ResponseStarted" } else { "ResponseComplete" } {
                    continue;
                }
                let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let mut what = format!("{} {}", word(&event["verb"]), word(&object["resource"]));
                if object["subresource"].is_string() {
                    what = format!("{what}/{}", word(&object["subresource"]));
                }
                *requests.entry(what).or_insert(0) += 1;
            }
        }
        requests
    }

    /// What stands in the cluster, for whoever reads why a test failed.
    pub fn tell(&self) -> String {
        let told = self.server.try_kubectl(&["get", "jobs,pods,events", "--all-namespaces", "--output=wide"]);
        String::from_utf8_lossy(&told.stdout).into_owned()
    }
}

/// How the builds' pods look.
pub fn options() -> PodOptions {
    PodOptions {
        image: Some(IMAGE.to_owned()),
        command: vec![PROGRAM.to_owned(), "run-pod".to_owned()],
        image_pull_policy: Some("Never".to_owned()),
        grace: Duration::from_secs(30),
        ..PodOptions::default()
    }
}
