//! Two worker clusters: which gets a build, and what becomes of it when one of them is away.

use crate::kubernetes_site::{KubernetesSite, WORKERS};
use crate::world::{done, wait_for};
use crate::{check_stopped, kill_pod, newest, wait_said};
use std::time::Instant;

pub fn the_load_decides_and_a_cluster_that_is_away_keeps_only_its_own(site: &KubernetesSite) {
    site.repository("first", "RUN echo it works now && sleep 15");
    site.repository("second", "RUN echo it works now && sleep 20\nRUN echo it has worked");
    let mut builds = Vec::new();
    for repository in ["first", "second"] {
        let build = site.start_build(repository, &["--platforms", "x86_64"]);
        let name = newest(site, &format!("{repository}-main-"));
        wait_said(site, &name, "it works now");
        builds.push((build, name));
    }
    let of = |name: &str| {
        let worker = format!("{name}-x86-64");
        WORKERS.into_iter().find(|namespace| {
            site.objects(namespace, "jobs").iter().any(|job| job["metadata"]["name"] == worker.as_str())
        })
    };
    let placed: Vec<_> = builds.iter().map(|(_, name)| of(name)).collect();
    assert_eq!(placed, [Some(WORKERS[0]), Some(WORKERS[1])], "the second went where nothing ran");
    site.server.component("apiserver2", "kill");
    let begun = Instant::now();
    let (second, first) = (builds.pop().expect("two"), builds.pop().expect("two"));
    let told = done(first.0.wait_with_output().expect("osbs ends"));
    println!("{}: {} after {:.1} s without the other cluster", first.1, told.code, begun.elapsed().as_secs_f64());
    assert_eq!(told.code, 0, "{}\n{}", told.out, told.err);
    assert_eq!(site.status(&second.1), "Running", "a cluster that is away for a while is waited for");
    // Builds that come now go where there is somebody.
    let third = site.build("first", &["--platforms", "x86_64", "--no-logs"]);
    assert_eq!(third.code, 0, "{}", third.err);
    let third = third.out.trim().to_owned();
    assert_eq!(site.run("kube.conf", &["watch-build", &third]).code, 0);
    assert_eq!(of(&third), Some(WORKERS[0]));
    site.server.component("apiserver2", "start");
    let told = done(second.0.wait_with_output().expect("osbs ends"));
    println!("{}: {} after {:.1} s", second.1, told.code, begun.elapsed().as_secs_f64());
    assert_eq!(told.code, 0, "{}\n{}", told.out, told.err);
    let lines = |text: &str| told.out.matches(text).count();
    assert_eq!(
        (lines("docker_api - INFO - it works now"), lines("docker_api - INFO - it has worked")),
        (1, 1),
        "no line lost, none twice: {}",
        told.out
    );
    check_stopped(site, &second.1);
}

/// Whether a check that takes a quarter of an hour is to be done; says so if it is not.
fn is_asked_for(variable: &str) -> bool {
    let asked = std::env::var_os(variable).is_some();
    if !asked {
        println!("skipped: it takes a quarter of an hour; {variable}=1 asks for it");
    }
    asked
}

/// By hand, `OSBS_TEST_CLUSTER_AWAY=1`, for it takes a quarter of an hour: it is given up with a word on what it does not answer.
pub fn a_worker_cluster_that_never_comes_back(site: &KubernetesSite) {
    if !is_asked_for("OSBS_TEST_CLUSTER_AWAY") {
        return;
    }
    // The one whose server stays.
    site.configure_at(1, ["server", "server2"].map(|server| site.server.fact(server)));
    site.repository("stays", "RUN echo it works now && sleep 1500");
    site.repository("lost", "RUN echo it works now && sleep 1500");
    let mut builds = Vec::new();
    for repository in ["stays", "lost"] {
        let build = site.start_build(repository, &["--platforms", "x86_64"]);
        let name = newest(site, &format!("{repository}-main-"));
        wait_said(site, &name, "it works now");
        builds.push((build, name));
    }
    site.server.component("apiserver2", "kill");
    let begun = Instant::now();
    let (lost, stays) = (builds.pop().expect("two"), builds.pop().expect("two"));
    let told = done(lost.0.wait_with_output().expect("osbs ends"));
    println!(
        "{}: {} after {:.1} s without its cluster\n{}",
        lost.1,
        told.code,
        begun.elapsed().as_secs_f64(),
        told.err
    );
    assert!(told.code != 0 && told.err.contains("does not answer"), "{}", told.err);
    assert!(told.err.lines().count() < 24, "one screen: {}", told.err);
    assert_eq!(site.status(&lost.1), "Failed");
    assert_eq!(site.status(&stays.1), "Running", "the other cluster's go on");
    drop(site.ok(&["cancel-build", &stays.1]));
    drop(stays.0.wait_with_output());
    site.server.component("apiserver2", "start");
    site.configure(2);
}

/// By hand, `OSBS_TEST_UNWANTED=1`, for it takes a quarter of an hour: its orchestrator was killed and cannot cancel it, and
/// nobody else reaches its cluster.
pub fn a_worker_build_that_nobody_wants_ends(site: &KubernetesSite) {
    if !is_asked_for("OSBS_TEST_UNWANTED") {
        return;
    }
    site.repository("alone", "RUN echo it works now && sleep 1500");
    let build = site.start_build("alone", &["--platforms", "x86_64"]);
    let name = newest(site, "alone-main-");
    wait_said(site, &name, "it works now");
    kill_pod(&name);
    let begun = Instant::now();
    let told = done(build.wait_with_output().expect("osbs ends"));
    println!("{name}: {} after {:.1} s\n{}", told.code, begun.elapsed().as_secs_f64(), told.err);
    assert_ne!(told.code, 0);
    let worker = format!("{name}-x86-64");
    let runs = |namespace: &&str| {
        let pods = site.objects(namespace, "pods");
        pods.iter()
            .any(|pod| pod["metadata"]["labels"]["job-name"] == worker.as_str() && pod["status"]["phase"] == "Running")
    };
    assert!(WORKERS.iter().any(runs), "it goes on for nobody");
    wait_for("it ends", 900, || !WORKERS.iter().any(runs));
    println!("{worker} ended {:.1} s after its orchestrator", begun.elapsed().as_secs_f64());
    check_stopped(site, &name);
}
