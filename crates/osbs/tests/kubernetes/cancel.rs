//! Builds that are cancelled: by the command, by Ctrl-C, by an administrator who deletes the Job.

use crate::kubernetes_site::{KubernetesSite, ORCHESTRATOR, WORKERS};
use crate::world::done;
use crate::{check_stopped, newest, parse, run, wait_said};
use serde_json::json;
use std::process::Child;
use std::time::Instant;

/// A build that sleeps, followed, and far enough.
#[track_caller]
pub fn sleeping(site: &KubernetesSite, repository: &str) -> (Child, String) {
    site.repository(repository, "RUN echo it sleeps now && sleep 600");
    let build = site.start_build(repository, &["--platforms", "x86_64"]);
    let name = newest(site, &format!("{repository}-main-"));
    wait_said(site, &name, "it sleeps now");
    (build, name)
}

pub fn builds_are_cancelled_by_whoever_may(site: &KubernetesSite) {
    for (repository, by) in [("by-command", "command"), ("by-interrupt", "interrupt"), ("by-kubectl", "kubectl")] {
        let (build, name) = sleeping(site, repository);
        let begun = Instant::now();
        match by {
            "command" => drop(site.ok(&["cancel-build", &name])),
            "interrupt" => drop(run("kill", &["-INT", &build.id().to_string()])),
            _ => drop(site.server.kubectl(&["delete", "job", "--namespace", ORCHESTRATOR, "--wait=false", &name])),
        }
        let done = done(build.wait_with_output().expect("osbs ends"));
        println!("by {by}: told after {:.1} s", begun.elapsed().as_secs_f64());
        check_stopped(site, &name);
        println!("by {by}: all has ended after {:.1} s", begun.elapsed().as_secs_f64());
        if by == "kubectl" {
            assert!(done.code != 0 && done.err.contains("was deleted"), "{by}: {}\n{}", done.code, done.err);
            let gone = site.run("kube.conf", &["get-build", &name]);
            assert!(gone.code == 1 && gone.err.contains("there is no build"), "{}", gone.err);
        } else {
            assert_eq!(done.code, 130, "{by}: {}\n{}", done.out, done.err);
            assert_eq!(site.status(&name), "Cancelled", "{by}");
            let logs = site.ok(&["build-logs", &name]);
            assert!(
                logs.contains("store_metadata_in_osv3") || logs.contains("remove_worker_metadata"),
                "exit plugins ran: {logs}"
            );
        }
        let worker = format!("{name}-x86-64");
        let states: Vec<_> = WORKERS
            .iter()
            .flat_map(|namespace| site.objects(namespace, "jobs"))
            .filter(|job| job["metadata"]["name"] == worker.as_str())
            .map(|job| parse(job["metadata"]["annotations"]["osbs/state"].as_str().expect("text"))["state"].clone())
            .collect();
        assert_eq!(states, [json!("Cancelled")], "{by}: the worker");
    }
}
