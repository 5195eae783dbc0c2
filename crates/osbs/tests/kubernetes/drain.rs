//! A node is drained, as an administrator does it: what ran there ends with the reason, what comes waits for the node.

use crate::cancel::sleeping;
use crate::kubernetes_site::{KubernetesSite, WORKERS};
use crate::world::{done, wait_for};
use crate::{check_stopped, newest};
use std::time::Instant;

pub fn a_node_is_drained(site: &KubernetesSite) {
    let (build, name) = sleeping(site, "drained");
    let begun = Instant::now();
    let node = site.server.fact("node").to_owned();
    site.server.kubectl(&[
        "drain",
        &node,
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--force",
        "--pod-selector=osbs/build",
        "--timeout=90s",
    ]);
    let told = done(build.wait_with_output().expect("osbs ends"));
    println!("{name}: {} after {:.1} s\n{}", told.code, begun.elapsed().as_secs_f64(), told.err);
    assert!(told.code != 0 && told.err.contains("drained"), "{}\n{}", told.code, told.err);
    assert!(told.err.lines().count() < 24, "one screen: {}", told.err);
    check_stopped(site, &name);
    assert_eq!(site.status(&name), "Error");
    let worker = format!("{name}-x86-64");
    let states: Vec<_> = WORKERS
        .iter()
        .flat_map(|namespace| site.objects(namespace, "jobs"))
        .filter(|job| job["metadata"]["name"] == worker.as_str())
        .map(|job| job["metadata"]["annotations"]["osbs/state"].as_str().expect("text").to_owned())
        .collect();
    println!("{states:?}");
    assert_eq!(states.len(), 1);

    // What comes now says for what it waits, and runs when the node is back.
    site.repository("waiting", "RUN echo it works now");
    let waits = site.start_build("waiting", &["--platforms", "x86_64"]);
    let name = newest(site, "waiting-main-");
    wait_for("the scheduler's words", 60, || site.record(&name)["reason"].to_string().contains("unschedulable"));
    println!("{name} waits: {}", site.record(&name)["reason"]);
    site.server.kubectl(&["uncordon", &node]);
    let told = done(waits.wait_with_output().expect("osbs ends"));
    assert_eq!(told.code, 0, "{}\n{}", told.out, told.err);
}
