//! What the pod of a build needs of memory, by its control group.

use crate::kubernetes_site::{KubernetesSite, ORCHESTRATOR};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The most memory that the pod of a build used, by its control group, for as long as it is watched.
pub struct MemoryWatch {
    end: Arc<AtomicBool>,
    /// Without the page cache, as `memory.stat` has it.
    own: Arc<AtomicU64>,
    /// With it, as the limit counts.
    all: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl MemoryWatch {
    /// Of the first pod with these labels that runs.
    pub fn start(site: &KubernetesSite, selector: &str) -> Self {
        let (end, own, all) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let (kubectl, config) = (site.server.fact("kubectl").to_owned(), site.server.fact("kubeconfig").to_owned());
        let selector = selector.to_owned();
        let shared = (Arc::clone(&end), Arc::clone(&own), Arc::clone(&all));
        let thread = std::thread::spawn(move || {
            let (end, own, all) = shared;
            let mut uid = String::new();
            while !end.load(Ordering::SeqCst) {
                if uid.is_empty() {
                    let asked = ["--kubeconfig", &config, "get", "pods", "-n", ORCHESTRATOR, "-l", &selector];
                    let running =
                        ["--field-selector", "status.phase=Running", "-o", "jsonpath={.items[0].metadata.uid}"];
                    let output = Command::new(&kubectl).args(asked).args(running).output();
                    uid = output.map(|it| String::from_utf8_lossy(&it.stdout).trim().to_owned()).unwrap_or_default();
                }
                if !uid.is_empty() {
                    for group in groups_of(&uid) {
                        let (this_own, this_all) = memory_of(&group);
                        own.fetch_max(this_own, Ordering::SeqCst);
                        all.fetch_max(this_all, Ordering::SeqCst);
                    }
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        Self { end, own, all, thread: Some(thread) }
    }

    pub fn stop(mut self) -> (u64, u64) {
        self.end.store(true, Ordering::SeqCst);
        self.thread.take().expect("runs").join().expect("it ends");
        (self.own.load(Ordering::SeqCst), self.all.load(Ordering::SeqCst))
    }
}

/// The control groups of a pod's containers, whichever version there is.
fn groups_of(uid: &str) -> Vec<PathBuf> {
    let found = Command::new("find").args(["/sys/fs/cgroup", "-type", "d", "-path", &format!("*pod{uid}/*")]).output();
    let text = found.map(|it| String::from_utf8_lossy(&it.stdout).into_owned()).unwrap_or_default();
    let has = |path: &PathBuf| path.join("memory.stat").exists();
    text.lines().map(PathBuf::from).filter(has).collect()
}

fn memory_of(group: &Path) -> (u64, u64) {
    let number =
        |name: &str| fs::read_to_string(group.join(name)).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let of = |key: &str| stat.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok());
    let own = of("total_rss ").or_else(|| of("anon ")).unwrap_or(0);
    let peak = number("memory.max_usage_in_bytes").or_else(|| number("memory.peak"));
    (own, peak.or_else(|| number("memory.current")).unwrap_or(0))
}
