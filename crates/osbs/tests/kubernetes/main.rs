//! Whole builds on a real Kubernetes, deployed by `deploy/`: orchestrator and workers as Jobs, two worker clusters behind
//! two API servers, with no more permissions than are listed; what equals the cluster on this machine, what Kubernetes is
//! left with, and what happens when something goes away in the middle.
//!
//! Needs: what scripts/kubernetes.sh needs, and what builds on this machine need. `OSBS_TEST_SKIP_REAL=1` skips.
#![allow(clippy::print_stdout, reason = "tells what was measured")]

#[path = "../world/kubernetes.rs"]
mod kubernetes;
#[path = "../world/kubernetes_site.rs"]
mod kubernetes_site;
mod lines;
#[path = "../world/mod.rs"]
mod world;

use kubernetes::can_run_kubernetes;
use kubernetes_site::{KubernetesSite, ORCHESTRATOR, WORKERS};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use world::{can_run, done, wait_for};

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
    let checks: [(&str, Check); 7] = [
        ("a_build_for_two_platforms", a_build_for_two_platforms),
        ("builds_are_cancelled_by_whoever_may", builds_are_cancelled_by_whoever_may),
        (
            "the_load_decides_and_a_cluster_that_is_away_keeps_only_its_own",
            the_load_decides_and_a_cluster_that_is_away_keeps_only_its_own,
        ),
        ("tokens_expire_and_are_rotated", tokens_expire_and_are_rotated),
        ("what_keeps_a_client_away_is_told", what_keeps_a_client_away_is_told),
        ("each_permission_that_lacks_is_named", each_permission_that_lacks_is_named),
        ("no_line_is_lost_between_pods", lines::no_line_is_lost_between_pods),
    ];
    // One of them by hand: a part of its name.
    let only = std::env::var("OSBS_TEST_ONLY").unwrap_or_default();
    for (name, check) in checks.into_iter().filter(|(name, _)| name.contains(&only)) {
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

/// The most memory that the pod of a build used, by its control group, for as long as it is watched.
struct MemoryWatch {
    end: Arc<AtomicBool>,
    /// Without the page cache, as `memory.stat` has it.
    own: Arc<AtomicU64>,
    /// With it, as the limit counts.
    all: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl MemoryWatch {
    /// Of the first pod with these labels that runs.
    fn start(site: &KubernetesSite, selector: &str) -> Self {
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

    fn stop(mut self) -> (u64, u64) {
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

fn a_build_for_two_platforms(site: &KubernetesSite) {
    check_nothing_lacks(site);
    let before = audit(site).len();
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
    check_audit(site, before);
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

/// Requests of service accounts: who, verb, resource, code.
fn audit(site: &KubernetesSite) -> Vec<(String, String, String, u64)> {
    let mut found = Vec::new();
    for file in site.server.ready["audit_logs"].as_array().expect("a list") {
        let text = fs::read_to_string(file.as_str().expect("a path")).unwrap_or_default();
        for event in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let user = event["user"]["username"].as_str().unwrap_or_default();
            let Some(account) = user.strip_prefix("system:serviceaccount:").and_then(|it| it.split(':').nth(1)) else {
                continue;
            };
            if !account.starts_with("osbs-") {
                continue;
            }
            let object = &event["objectRef"];
            let text = |key: &str| object[key].as_str().unwrap_or_default();
            let mut resource = text("resource").to_owned();
            for (sign, part) in [("/", text("subresource")), (".", text("apiGroup"))] {
                if !part.is_empty() {
                    resource.push_str(sign);
                    resource.push_str(part);
                }
            }
            let code = event["responseStatus"]["code"].as_u64().unwrap_or(0);
            found.push((account.to_owned(), event["verb"].as_str().unwrap_or_default().to_owned(), resource, code));
        }
    }
    found
}

/// Of what is granted all is used, and nothing else was wanted: by a build, or where the text says by what.
#[track_caller]
fn check_audit(site: &KubernetesSite, before: usize) {
    let requests = audit(site);
    let of_build = requests.len() - before;
    println!("{of_build} requests to the API for a build of two platforms, all of its accounts together");
    let mut used: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (account, verb, resource, code) in &requests {
        // `deploy check` asks for these, and takes no for an answer.
        let may_be_refused = resource == "nodes" || resource.starts_with("priorityclasses");
        assert!(*code != 403 || may_be_refused, "{account} wanted to {verb} {resource}");
        if !resource.contains("accessreviews")
            && !resource.starts_with("nodes")
            && !resource.starts_with("priorityclasses")
        {
            used.entry(account).or_default().insert(format!("{verb} {resource}"));
        }
    }
    for (role, elsewhere) in [
        // When the environment of a build cannot be kept; when a build is cancelled before it began.
        ("client", &["delete jobs.batch", "delete secrets"][..]),
        // To close a build whose pod died; when a build ends while others wait; records of Koji's reservations.
        (
            "build",
            &["list pods", "get pods/log", "list configmaps", "update leases.coordination.k8s.io", "delete configmaps"],
        ),
    ] {
        let granted = granted(site, role);
        let account = format!("osbs-{role}");
        let used = &used[account.as_str()];
        let unused: Vec<_> = granted.difference(used).filter(|it| !elsewhere.contains(&it.as_str())).collect();
        assert!(unused.is_empty(), "granted to {role} and not used: {unused:?}");
        assert!(used.is_subset(&granted), "{role}: {:?}", used.difference(&granted));
    }
}

/// What a Role of `deploy/` says, which is what `osbs deploy check` asks for.
#[track_caller]
fn granted(site: &KubernetesSite, role: &str) -> BTreeSet<String> {
    let text = site.server.kubectl(&["get", "role", &format!("osbs-{role}"), "-n", ORCHESTRATOR, "-o", "json"]);
    let mut granted = BTreeSet::new();
    for rule in parse(&text)["rules"].as_array().expect("rules") {
        let group = rule["apiGroups"][0].as_str().expect("a group");
        let resource = rule["resources"][0].as_str().expect("a resource");
        let full = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
        let verbs = rule["verbs"].as_array().expect("verbs").iter().map(|verb| verb.as_str().expect("text").to_owned());
        granted.extend(verbs.map(|verb| format!("{verb} {full}")));
    }
    let asked = site.run("admin.conf", &["deploy", "check", "--role", role, "--output", "json"]);
    let asked = parse(&asked.out);
    let permissions = asked["findings"].as_array().expect("a list").iter().filter(|it| it["check"] == "permission");
    let asked: BTreeSet<_> = permissions.map(|it| it["what"].as_str().expect("text").to_owned()).collect();
    assert_eq!(granted, asked, "deploy/ and osbs deploy check, for {role}");
    granted
}

/// Manifest and configuration of the newest `hello`, by platform. Both clusters give it the release 1.
fn images(site: &KubernetesSite) -> Vec<(Value, Value)> {
    let name = format!("docker://{}/example/hello:1.0-1", site.world.registry);
    let inspect = |more: &[&str], name: &str| {
        parse(&run("skopeo", &[&["inspect", "--raw", "--tls-verify=false"], more, &[name]].concat()))
    };
    let index = inspect(&[], &name);
    let of = |(_, architecture): &(&str, &str)| {
        let entries = index["manifests"].as_array().expect("an index");
        let entry =
            entries.iter().find(|entry| entry["platform"]["architecture"] == *architecture).expect("the platform");
        let digest = entry["digest"].as_str().expect("a digest");
        let by_digest = format!("{}@{digest}", name.rsplit_once(':').expect("a tag").0);
        (inspect(&[], &by_digest), inspect(&["--config"], &by_digest))
    };
    PLATFORMS.iter().map(of).collect()
}

/// Files of a layer: names, kinds, owners, modes and content. Times and what RUN wrote with the time in it are the build's.
const FILES_OF_LAYER: &str = r#"
import hashlib, json, sys, tarfile
found = {}
tar = tarfile.open(sys.argv[1], "r:*")
for member in tar:
    content = hashlib.sha256(tar.extractfile(member).read()).hexdigest() if member.isreg() else member.linkname
    found[member.name] = [member.type.decode(), member.mode, member.uid, member.gid, content]
print(json.dumps(found))
"#;

/// Images of the cluster on this machine and those of Kubernetes, of the same commit: what does not tell of time and place is
/// the same.
#[track_caller]
fn check_same_images(site: &KubernetesSite, here: &[(Value, Value)], there: &[(Value, Value)]) {
    for (((here, config), (there, other)), (platform, _)) in here.iter().zip(there).zip(PLATFORMS) {
        let layers = |manifest: &Value| -> Vec<String> {
            let layers = manifest["layers"].as_array().expect("layers");
            layers.iter().map(|layer| layer["digest"].as_str().expect("a digest").to_owned()).collect()
        };
        let (here, there) = (layers(here), layers(there));
        assert_eq!(here.len(), there.len());
        assert_eq!(here[..here.len() - 1], there[..there.len() - 1], "the parent's layers");
        let same = |config: &Value| {
            let mut config = config.clone();
            for key in ["created", "history", "rootfs"] {
                config.as_object_mut().expect("an object").remove(key);
            }
            let labels = config["config"]["Labels"].as_object_mut().expect("labels");
            for label in ["build-date", "com.redhat.build-host"] {
                assert!(labels.remove(label).is_some(), "{label}");
            }
            config
        };
        assert_eq!(same(config), same(other), "{platform}");
        let files = |digest: &str| -> BTreeMap<String, Value> {
            let blob = site.world.path("blob");
            let url = format!("http://{}/v2/example/hello/blobs/{digest}", site.world.registry);
            run("curl", &["-sSf", "-o", &blob.display().to_string(), &url]);
            serde_json::from_str(&run("python3", &["-c", FILES_OF_LAYER, &blob.display().to_string()])).expect("JSON")
        };
        let (mut here, mut there) = (files(&here[here.len() - 1]), files(&there[there.len() - 1]));
        // The database of packages says when each was installed.
        let with_times = |name: &str| name.contains("var/lib/rpm/") || name.starts_with("root/buildinfo/");
        let names = |files: &BTreeMap<String, Value>| {
            files
                .keys()
                .map(|name| if with_times(name) { "(with times)".to_owned() } else { name.clone() })
                .collect::<BTreeSet<_>>()
        };
        assert_eq!(names(&here), names(&there), "{platform}: files");
        here.retain(|name, _| !with_times(name));
        there.retain(|name, _| !with_times(name));
        assert_eq!(here, there, "{platform}");
    }
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

/// A build that sleeps, followed, and far enough.
#[track_caller]
fn sleeping(site: &KubernetesSite, repository: &str) -> (Child, String) {
    site.repository(repository, "RUN echo it sleeps now && sleep 600");
    let build = site.start_build(repository, &["--platforms", "x86_64"]);
    let name = newest(site, &format!("{repository}-main-"));
    wait_said(site, &name, "it sleeps now");
    (build, name)
}

fn builds_are_cancelled_by_whoever_may(site: &KubernetesSite) {
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

fn the_load_decides_and_a_cluster_that_is_away_keeps_only_its_own(site: &KubernetesSite) {
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

fn tokens_expire_and_are_rotated(site: &KubernetesSite) {
    let token = |seconds: u32| {
        let token = site.server.short_token(ORCHESTRATOR, "osbs-client", seconds);
        fs::write(site.token_file(), token).expect("written");
    };
    token(20);
    site.repository("rotated", "RUN echo it works now && sleep 30");
    let build = site.start_build("rotated", &["--platforms", "x86_64"]);
    std::thread::sleep(Duration::from_secs(10));
    token(7200);
    let done = done(build.wait_with_output().expect("osbs ends"));
    assert_eq!(done.code, 0, "the new token was read: {}\n{}", done.out, done.err);

    fs::write(site.token_file(), "nobody's").expect("written");
    let refused = site.run("kube.conf", &["list-builds"]);
    assert_eq!(refused.code, 3, "{}", refused.err);
    assert!(refused.err.contains("does not accept the login") && refused.err.lines().count() < 12, "{}", refused.err);
    println!("{}", refused.err);
    token(7200);
    site.ok(&["list-builds"]);
}

fn what_keeps_a_client_away_is_told(site: &KubernetesSite) {
    let fact = |name: &str| site.server.fact(name).to_owned();
    let wrong = site.world.path("wrong.crt");
    run(
        "openssl",
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            "/CN=other",
            "-days",
            "2",
            "-keyout",
            "/dev/null",
            "-out",
            &wrong.display().to_string(),
        ],
    );
    let ca = fact("ca_file");
    let token = site.token_file().display().to_string();
    let by_certificate = format!(
        "openshift_url = {}\ncertificate_authority = {ca}\nclient_cert = {}\nclient_key = {}\nnamespace = {ORCHESTRATOR}\n",
        fact("server"),
        fact("client_certificate_file"),
        fact("client_key_file")
    );
    for (way, code, parts) in [
        (by_certificate, 0, &[][..]),
        (
            format!(
                "openshift_url = {}\nverify_ssl = false\ntoken_file = {token}\nnamespace = {ORCHESTRATOR}\n",
                fact("server")
            ),
            0,
            &[],
        ),
        (
            format!(
                "openshift_url = {}\ncertificate_authority = {}\ntoken_file = {token}\n",
                fact("server"),
                wrong.display()
            ),
            3,
            &["certificate", "certificate_authority"],
        ),
        (
            format!("openshift_url = {}\ncertificate_authority = {token}\ntoken_file = {token}\n", fact("server")),
            3,
            &["holds no certificate"],
        ),
        (
            format!("openshift_url = {}\ncertificate_authority = {ca}\nuse_auth = false\n", fact("server")),
            3,
            &["system:anonymous", "list jobs.batch"],
        ),
        (
            format!(
                "openshift_url = {}\ncertificate_authority = {ca}\ntoken_file = {token}\nnamespace = default\n",
                fact("server")
            ),
            3,
            &["list jobs.batch", "namespace default", "osbs-client"],
        ),
        (
            format!("openshift_url = http://{}\ntoken_file = {token}\n", fact("server").trim_start_matches("https://")),
            3,
            &["never sent over http"],
        ),
        (format!("kubeconfig = {}\nkube_context = nowhere\n", fact("kubeconfig")), 3, &["kubeconfig", "nowhere"]),
    ] {
        site.write_conf("way.conf", &way);
        let done = site.run("way.conf", &["list-builds"]);
        assert_eq!(done.code, code, "{way}\n{}", done.err);
        assert!(parts.iter().all(|part| done.err.contains(part)), "{parts:?} of {way}\n{}", done.err);
        assert!(done.err.lines().count() < 24, "one screen: {}", done.err);
        if code != 0 {
            println!("{}", done.err);
        }
    }
}

fn each_permission_that_lacks_is_named(site: &KubernetesSite) {
    for role in ["client", "build", "gc"] {
        let name = format!("osbs-{role}");
        let text = site.server.kubectl(&["get", "role", &name, "-n", ORCHESTRATOR, "-o", "json"]);
        let whole = parse(&text);
        let begun = Instant::now();
        let mut count = 0;
        for (place, rule) in whole["rules"].as_array().expect("rules").iter().enumerate() {
            let group = rule["apiGroups"][0].as_str().expect("a group");
            let resource = rule["resources"][0].as_str().expect("a resource");
            let resource = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
            for verb in rule["verbs"].as_array().expect("verbs") {
                let others: Vec<_> = rule["verbs"].as_array().expect("verbs").iter().filter(|it| *it != verb).collect();
                let left = if others.is_empty() { json!(["deletecollection"]) } else { json!(others) };
                let patch =
                    json!([{"op": "replace", "path": format!("/rules/{place}/verbs"), "value": left}]).to_string();
                let patched = ["patch", "role", &name, "-n", ORCHESTRATOR, "--type=json", "-p", &patch];
                site.server.kubectl(&patched);
                check_lack(site, role, &format!("{} {resource}", verb.as_str().expect("text")));
                count += 1;
                let patch = json!([{"op": "replace", "path": format!("/rules/{place}/verbs"), "value": rule["verbs"]}])
                    .to_string();
                site.server.kubectl(&["patch", "role", &name, "-n", ORCHESTRATOR, "--type=json", "-p", &patch]);
            }
        }
        println!("{role}: {count} permissions, {:.1} s", begun.elapsed().as_secs_f64());
    }
    check_refused_build(site);
}

/// That one lacks, and no other. The authorizer hears of a change a moment later.
#[track_caller]
fn check_lack(site: &KubernetesSite, role: &str, permission: &str) {
    let account = format!("osbs-{role}");
    let asked = ["deploy", "check", "--role", role, "--service-account", &account, "--output", "json"];
    let own = ["deploy", "check", "--output", "json"];
    let (conf, asked) = if role == "client" { ("kube.conf", &own[..]) } else { ("admin.conf", &asked[..]) };
    let mut last = String::new();
    wait_for(permission, 60, || {
        let done = site.run(conf, asked);
        last = format!("{}\n{}", done.out, done.err);
        let Ok(told) = serde_json::from_str::<Value>(&done.out) else { return false };
        let lacks = told["findings"].as_array().expect("a list").iter().filter(|it| it["state"] == "lacks");
        let lacks: Vec<_> = lacks.map(|it| it["what"].as_str().unwrap_or_default().to_owned()).collect();
        done.code == 3 && lacks == [permission]
    });
    drop(last);
}

/// A build that is refused says by which permission, of whom.
#[track_caller]
fn check_refused_build(site: &KubernetesSite) {
    let patch = |verbs: &str| {
        let patch = format!("[{{\"op\": \"replace\", \"path\": \"/rules/0/verbs\", \"value\": {verbs}}}]");
        site.server.kubectl(&["patch", "role", "osbs-client", "-n", ORCHESTRATOR, "--type=json", "-p", &patch]);
    };
    let role = parse(&site.server.kubectl(&["get", "role", "osbs-client", "-n", ORCHESTRATOR, "-o", "json"]));
    patch("[\"get\", \"list\", \"watch\"]");
    let mut refused = site.build("hello", &["--no-logs"]);
    let end = Instant::now() + Duration::from_mins(1);
    while refused.code == 0 && Instant::now() < end {
        refused = site.build("hello", &["--no-logs"]);
    }
    patch(&role["rules"][0]["verbs"].to_string());
    assert_eq!(refused.code, 3, "{}", refused.err);
    for part in ["create jobs.batch", ORCHESTRATOR, "system:serviceaccount:osbs:osbs-client", "osbs deploy check"] {
        assert!(refused.err.contains(part), "{part}: {}", refused.err);
    }
    println!("{}", refused.err);
}
