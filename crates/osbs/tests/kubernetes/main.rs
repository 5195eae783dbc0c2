//! Whole builds on a real Kubernetes, deployed by `deploy/`: orchestrator and workers as Jobs, two worker clusters behind
//! two API servers, with no more permissions than are listed; what equals the cluster on this machine, what Kubernetes is
//! left with, and what happens when something goes away in the middle.
//!
//! Needs: what scripts/kubernetes.sh needs, and what builds on this machine need. `OSBS_TEST_SKIP_REAL=1` skips.
#![allow(clippy::print_stdout, reason = "tells what was measured")]

mod audit;
mod cancel;
mod drain;
mod images;
mod koji_builder;
#[path = "../world/kubernetes.rs"]
mod kubernetes;
#[path = "../world/kubernetes_site.rs"]
mod kubernetes_site;
mod lines;
mod memory;
mod permissions;
mod pods;
mod reach;
mod two_platforms;
mod worker_clusters;
#[path = "../world/mod.rs"]
mod world;

use kubernetes::can_run_kubernetes;
use kubernetes_site::{KubernetesSite, ORCHESTRATOR, WORKERS};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use world::{can_run, wait_for};

const PLATFORMS: [(&str, &str); 2] = [("x86_64", "amd64"), ("aarch64", "arm64")];
/// A megabyte as memory limits have it.
const MIB: u64 = 1 << 20;

type Check = fn(&KubernetesSite);

/// One site for all. In this order: the first looks at all that there is.
#[test]
fn builds_on_kubernetes() {
    if !can_run() || !can_run_kubernetes() {
        return;
    }
    let begun = Instant::now();
    let site = KubernetesSite::start();
    push_base(&site);
    println!("the site is ready after {:.1} s", begun.elapsed().as_secs_f64());
    let checks: &[(&str, Check)] = &[
        ("a_build_for_two_platforms", two_platforms::a_build_for_two_platforms),
        ("builds_are_cancelled_by_whoever_may", cancel::builds_are_cancelled_by_whoever_may),
        (
            "the_load_decides_and_a_cluster_that_is_away_keeps_only_its_own",
            worker_clusters::the_load_decides_and_a_cluster_that_is_away_keeps_only_its_own,
        ),
        ("a_worker_cluster_that_never_comes_back", worker_clusters::a_worker_cluster_that_never_comes_back),
        ("a_worker_build_that_nobody_wants_ends", worker_clusters::a_worker_build_that_nobody_wants_ends),
        ("a_node_is_drained", drain::a_node_is_drained),
        ("tokens_expire_and_are_rotated", reach::tokens_expire_and_are_rotated),
        ("what_keeps_a_client_away_is_told", reach::what_keeps_a_client_away_is_told),
        ("each_permission_that_lacks_is_named", permissions::each_permission_that_lacks_is_named),
        ("pods_get_what_the_site_gives_them", pods::pods_get_what_the_site_gives_them),
        ("a_koji_builder_on_kubernetes", koji_builder::a_koji_builder_on_kubernetes),
        ("no_line_is_lost_between_pods", lines::no_line_is_lost_between_pods),
    ];
    // One of them by hand: a part of its name.
    let only = std::env::var("OSBS_TEST_ONLY").unwrap_or_default();
    for (name, check) in checks.iter().filter(|(name, _)| name.contains(&only)) {
        let begun = Instant::now();
        check(&site);
        println!("{name}: {:.1} s", begun.elapsed().as_secs_f64());
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace")
}

#[track_caller]
fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {args:?}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("no JSON: {error}\n{text}"))
}

/// The demo's base image, of RPMs, for both platforms, built on this machine.
fn push_base(site: &KubernetesSite) {
    let cache = root().join(".cache");
    let (packages, distribution) = (cache.join("distribution-cache"), cache.join("distribution"));
    let text = |path: &Path| path.display().to_string();
    let script = text(&root().join("scripts/make-distribution.sh"));
    run(&script, &["--cache", &text(&packages), &text(&distribution), "x86_64", "aarch64"]);
    for example in ["base", "hello"] {
        let script = text(&root().join("scripts/make-example.sh"));
        run(&script, &[example, &text(&distribution), &text(&site.world.path("git").join(example))]);
    }
    site.world.ok(&["config", "enable-platform", "x86_64", "aarch64"]);
    local_build(site, "base");
}

/// A build of the same repository on this machine.
#[track_caller]
fn local_build(site: &KubernetesSite, repository: &str) {
    let url = format!("{}/{repository}", site.git_url);
    let done = site.world.build(&url, &[]);
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
}

fn name_of(err: &str) -> String {
    let name = err.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
    name.unwrap_or_else(|| panic!("no name in\n{err}")).0.to_owned()
}

/// Waits until the build's log says so.
#[track_caller]
fn wait_said(site: &KubernetesSite, name: &str, text: &str) {
    let end = Instant::now() + Duration::from_mins(2);
    while !site.run("kube.conf", &["build-logs", name]).out.contains(text) {
        if Instant::now() > end {
            let objects = site.server.kubectl(&["get", "jobs,pods,events", "--all-namespaces"]);
            panic!("{name} never said {text:?}\n{objects}\n{:#}", site.record(name));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[track_caller]
fn newest(site: &KubernetesSite, prefix: &str) -> String {
    let mut name = String::new();
    wait_for("the build is made", 60, || {
        let list = site.run("kube.conf", &["list-builds", "--output", "json"]);
        let list: Vec<Value> = serde_json::from_str(&list.out).unwrap_or_default();
        let names = list.iter().filter_map(|build| build["name"].as_str()).filter(|name| name.starts_with(prefix));
        names.max().unwrap_or_default().clone_into(&mut name);
        !name.is_empty()
    });
    name
}

/// kill -9 to the first process of a build's pod.
#[track_caller]
fn kill_pod(name: &str) {
    let runner = format!("run-pod\0{name}\0");
    let mut processes = fs::read_dir("/proc").expect("procfs").flatten().map(|entry| entry.path());
    let is_it = |path: &PathBuf| fs::read(path.join("cmdline")).is_ok_and(|line| line.ends_with(runner.as_bytes()));
    let found = processes.find(is_it).expect("the first process of the pod");
    let pid = found.file_name().expect("a number").to_string_lossy().into_owned();
    run("kill", &["-9", &pid]);
}

/// Nothing of a build runs any more.
#[track_caller]
fn check_stopped(site: &KubernetesSite, name: &str) {
    for namespace in [&[ORCHESTRATOR][..], &WORKERS].concat() {
        wait_for("pods end and environments are gone", 90, || {
            let runs = |pod: &Value| {
                let build = pod["metadata"]["labels"]["osbs/build"].as_str().unwrap_or_default();
                build.starts_with(name)
                    && ["Running", "Pending"].contains(&pod["status"]["phase"].as_str().unwrap_or_default())
            };
            let secret = |it: &Value| it["metadata"]["name"].as_str().is_some_and(|it| it.starts_with(name));
            !site.objects(namespace, "pods").iter().any(runs) && !site.objects(namespace, "secrets").iter().any(secret)
        });
    }
}
