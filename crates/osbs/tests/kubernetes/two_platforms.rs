//! A build for two platforms: every object of it, and that its images are those of this machine.

use crate::audit::{check_audit, now};
use crate::images::{check_same_images, images};
use crate::kubernetes_site::{KubernetesSite, ORCHESTRATOR, WORKERS};
use crate::memory::MemoryWatch;
use crate::world::wait_for;
use crate::{MIB, PLATFORMS, local_build, name_of};
use serde_json::{Value, json};
use std::time::Instant;

pub fn a_build_for_two_platforms(site: &KubernetesSite) {
    check_nothing_lacks(site);
    let before = now(site);
    let watch = MemoryWatch::start(site, "osbs/type=orchestrator");
    let begun = Instant::now();
    let done = site.build("hello", &[]);
    let took = begun.elapsed();
    let (own, all) = watch.stop();
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    let name = name_of(&done.err);
    let (own_mib, all_mib) = (own as f64 / MIB as f64, all as f64 / MIB as f64);
    println!(
        "{name}: {:.1} s; its pod: at most {own_mib:.1} MiB of its own, {all_mib:.1} MiB with files",
        took.as_secs_f64()
    );
    assert!(own > 0 && own < 40 * MIB, "the orchestrator's pod used {own_mib:.1} MiB");
    check_objects(site, &name);
    check_pods(site, &name);
    check_commands(site, &name, &done.out);
    check_audit(site, &before);
    let there = images(site);
    local_build(site, "hello");
    check_same_images(site, &images(site), &there);
    check_gc(site);
}

#[track_caller]
fn check_nothing_lacks(site: &KubernetesSite) {
    for (conf, more) in [
        ("kube.conf", &["--pull"][..]),
        ("admin.conf", &["--role", "build", "--service-account", "osbs-build"]),
        ("admin.conf", &["--role", "gc", "--service-account", "osbs-gc"]),
    ] {
        let done = site.run(conf, &[&["deploy", "check"], more].concat());
        assert_eq!(done.code, 0, "{more:?}\n{}\n{}", done.out, done.err);
        assert!(!done.out.contains("LACKS"), "{}", done.out);
    }
    let image = site.json(&["deploy", "check", "--pull", "--output", "json"]);
    let findings = image["findings"].as_array().expect("a list");
    let of = |kind: &str| findings.iter().filter(|it| it["check"] == kind).cloned().collect::<Vec<_>>();
    assert_eq!(of("image")[0]["why"], "pulled and started", "{image}");
    assert_eq!(of("secret").len(), 2, "those that the configuration names: {image}");
    // The client may not list nodes, and is told so: no failure.
    assert!(of("nodes").iter().all(|it| it["state"] == "unknown"), "{image}");
}

/// What there is when a build has ended: Jobs, pods, logs. No environment.
#[track_caller]
fn check_objects(site: &KubernetesSite, name: &str) {
    let one = |namespace: &str, what: &str, object: &str| -> Value {
        let found = site.objects(namespace, what).into_iter().find(|it| it["metadata"]["name"] == object);
        found.unwrap_or_else(|| panic!("no {what} {object} in {namespace}"))
    };
    let job = one(ORCHESTRATOR, "jobs", name);
    let labels = &job["metadata"]["labels"];
    assert_eq!((&labels["osbs/type"], &labels["osbs/finished"]), (&json!("orchestrator"), &json!("true")), "{labels}");
    assert_eq!(job["spec"]["backoffLimit"], 0);
    let log = one(ORCHESTRATOR, "configmaps", &format!("{name}-log-00000"));
    assert_eq!(log["metadata"]["labels"]["osbs/last"], "true");
    assert_eq!(log["metadata"]["ownerReferences"][0]["name"], name, "it goes with the Job");
    one(ORCHESTRATOR, "configmaps", &format!("buildconfig-{}", name.rsplit_once('-').expect("a number").0));
    // Both clusters are empty, so each platform goes to the first, or, when it was counted already, to the second.
    let mut found = Vec::new();
    for namespace in WORKERS {
        for job in site.objects(namespace, "jobs") {
            assert_eq!(job["metadata"]["labels"]["osbs/parent"], name);
            assert_eq!(job["status"]["succeeded"], 1, "{job}");
            found.push(job["metadata"]["name"].as_str().expect("a name").to_owned());
        }
    }
    found.sort();
    assert_eq!(found, [format!("{name}-aarch64"), format!("{name}-x86-64")]);
    for namespace in [&[ORCHESTRATOR][..], &WORKERS].concat() {
        let left = site
            .objects(namespace, "secrets")
            .into_iter()
            .filter(|it| !it["metadata"]["labels"]["osbs/build"].is_null());
        let left: Vec<_> = left.map(|it| it["metadata"]["name"].clone()).collect();
        assert!(left.is_empty(), "environments are left: {left:?}");
        let maps = site.objects(namespace, "configmaps");
        let handed: Vec<_> =
            maps.iter().filter(|it| it["metadata"]["name"].as_str().is_some_and(|it| it.ends_with("-md"))).collect();
        assert!(handed.is_empty(), "what workers handed back is left: {handed:?}");
    }
    let objects = site.server.kubectl(&["get", "jobs,pods,configmaps", "--all-namespaces"]);
    println!("{}", objects.lines().filter(|line| !line.contains("kube-")).collect::<Vec<_>>().join("\n"));
}

/// No privilege for the orchestrator; for workers what a user namespace needs.
#[track_caller]
fn check_pods(site: &KubernetesSite, name: &str) {
    let pods = site.objects(ORCHESTRATOR, "pods");
    let pod = pods.iter().find(|it| it["metadata"]["labels"]["osbs/build"] == name).expect("the pod");
    let spec = &pod["spec"];
    assert_eq!(
        (&spec["securityContext"]["runAsNonRoot"], &spec["serviceAccountName"]),
        (&json!(true), &json!("osbs-build"))
    );
    let container = &spec["containers"][0]["securityContext"];
    assert_eq!(container["readOnlyRootFilesystem"], true);
    assert_eq!((&container["capabilities"], &container["privileged"]), (&json!({"drop": ["ALL"]}), &Value::Null));
    assert!(!spec["volumes"].to_string().contains("hostPath"), "{}", spec["volumes"]);
    assert_eq!(spec["priorityClassName"], "osbs-build");
    for worker in WORKERS.iter().flat_map(|namespace| site.objects(namespace, "pods")) {
        let spec = &worker["spec"];
        assert_eq!(
            (&spec["securityContext"]["runAsUser"], &spec["containers"][0]["securityContext"]["privileged"]),
            (&json!(1000), &Value::Null)
        );
        let is_native = worker["metadata"]["name"].as_str().is_some_and(|name| name.contains("x86"));
        let selector = if is_native { json!({"kubernetes.io/os": "linux"}) } else { Value::Null };
        assert_eq!(spec["nodeSelector"], selector, "by platform");
    }
}

/// Everything that looks at builds works as on one machine.
#[track_caller]
fn check_commands(site: &KubernetesSite, name: &str, out: &str) {
    assert!(out.contains(&format!("{name} is Complete")), "{out}");
    let record = site.record(name);
    assert_eq!(record["status"], "Complete");
    let workers = &record["annotations"]["worker-builds"];
    for (platform, _) in PLATFORMS {
        let worker = &workers[platform]["build"];
        assert!(WORKERS.contains(&worker["namespace"].as_str().expect("text")), "{worker}");
        assert!(worker["cluster-url"].as_str().is_some_and(|url| url.starts_with("https://")), "{worker}");
    }
    let logs = site.ok(&["build-logs", name]);
    assert!(logs.lines().count() > 50 && logs.contains("platform:aarch64"), "{logs}");
    let live: Vec<_> = out.lines().filter(|line| line.contains(" - INFO - ")).collect();
    let kept: Vec<_> = logs.lines().filter(|line| line.contains(" - INFO - ")).collect();
    assert_eq!(live, kept, "the live log is the kept one, line for line");
    let list = site.json(&["list-builds", "--output", "json"]);
    assert!(list.as_array().is_some_and(|all| all.iter().any(|build| build["name"] == name)), "{list}");
    let watched = site.run("kube.conf", &["watch-build", name]);
    assert_eq!(watched.code, 0, "{}", watched.err);
}

/// The CronJob of `deploy/`, now: finished builds go, and all that belongs to them.
#[track_caller]
fn check_gc(site: &KubernetesSite) {
    for namespace in [&[ORCHESTRATOR][..], &WORKERS].concat() {
        site.server.kubectl(&["create", "job", "--namespace", namespace, "--from=cronjob/osbs-gc", "gc-now"]);
        site.server.kubectl(&[
            "wait",
            "--namespace",
            namespace,
            "--for=condition=complete",
            "--timeout=120s",
            "job/gc-now",
        ]);
        wait_for("finished builds are removed", 60, || {
            let left = |what: &str| {
                let all = site.objects(namespace, what);
                all.iter().any(|it| {
                    !it["metadata"]["labels"]["osbs/build"].is_null() || !it["metadata"]["labels"]["osbs/log"].is_null()
                })
            };
            !left("jobs") && !left("pods") && !left("configmaps") && !left("secrets")
        });
        site.server.kubectl(&["delete", "job", "--namespace", namespace, "gc-now"]);
    }
}
