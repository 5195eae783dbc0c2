//! `osbs kojid` before a Kubernetes: tasks of a hub become Jobs, their logs and results come back, and nothing is lost or
//! done twice whoever is killed, whatever is deleted, whichever server is away. The builds inside end in the same hub.

use crate::audit;
use crate::kubernetes_site::{KubernetesSite, ORCHESTRATOR, WORKERS, local_clusters};
use crate::world::hub::{HOST, IMPORTER, PASSWORD, TARGET, TestHub, USER, is_not_for_a_real_hub};
use crate::world::{self, Done, wait_for};
use crate::{check_stopped, kill_pod, root, wait_said};
use osbs_koji::{Arguments, BuildState, MethodCall, TaskState, calls};
use serde_json::{Value, json};
use std::fs;
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// The builder's `osbs.conf`.
const CONF: &str = "builder.conf";
/// What it adds to the way to the cluster.
const SLOTS: &str = "max_concurrent_builds = 2\n";
const LOG: &str = "kojid.log";

pub fn a_koji_builder_on_kubernetes(site: &KubernetesSite) {
    if is_not_for_a_real_hub("a real hub would have its builders make the file system of the site's base image") {
        return;
    }
    let before = audit::now(site);
    let koji = Koji::start(site);
    let check = |what: &str, check: fn(&Koji<'_>)| {
        let begun = Instant::now();
        check(&koji);
        println!("{what}: {:.1} s", begun.elapsed().as_secs_f64());
    };
    check("a task becomes Jobs and a build in Koji", a_task_becomes_jobs_and_a_build_in_koji);
    check("a killed builder goes on with the same Job", a_killed_builder_goes_on_with_the_same_job);
    check(
        "tasks are taken by free slots, and end with their Jobs",
        tasks_are_taken_by_free_slots_and_end_with_their_jobs,
    );
    check("a killed pod leaves no reservation in Koji", a_killed_pod_leaves_no_reservation);
    for (account, verb, resource, code) in &audit::audit(site, &before) {
        assert_ne!(*code, 403, "{account} wanted to {verb} {resource}");
    }
    println!("{}", koji.log());
    drop(koji);
    site.configure(2);
}

/// A builder; killed when dropped.
struct Builder(Child);

impl Drop for Builder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A way to the API server that may be closed. It ends with the program.
struct Way {
    /// Its `https` URL: on the server's own address, for which its certificate is.
    url: String,
    open: Arc<AtomicBool>,
}

impl Way {
    fn closed_before(url: &str) -> Self {
        let server = url.trim_start_matches("https://").trim_end_matches('/').to_owned();
        let host = server.rsplit_once(':').expect("a port").0;
        let listener = TcpListener::bind((host, 0)).expect("a free port");
        let url = format!("https://{}", listener.local_addr().expect("bound"));
        let open = Arc::<AtomicBool>::default();
        let is_open = Arc::clone(&open);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten().filter(|_| is_open.load(Ordering::SeqCst)) {
                let Ok(far) = TcpStream::connect(&server) else { continue };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (mut from, mut to) = (from.try_clone().expect("a handle"), to.try_clone().expect("a handle"));
                    std::thread::spawn(move || {
                        // An end that is cut off is the end.
                        let _ = io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        Self { url, open }
    }
}

/// The site with a hub that its pods reach too.
struct Koji<'a> {
    site: &'a KubernetesSite,
    hub: TestHub,
    builder: std::cell::RefCell<Option<Builder>>,
    way: Way,
}

impl Koji<'_> {
    #[track_caller]
    fn start(site: &KubernetesSite) -> Koji<'_> {
        let folder = site.world.folder.path();
        let packages = [
            "example-base-container",
            "example-hello-container",
            "killed-container",
            "given-up-container",
            "removed-container",
            "cut-container",
            "cut-too-container",
            "after-container",
        ];
        let hub = TestHub::start_program_at(site.server.fact("host_address"), folder, &packages);
        let edit = Arguments::of(["f43-build".into()]).named("arches", "x86_64 aarch64");
        hub.call(&hub.log_in("kojiadmin"), MethodCall::raw("editTag2", edit));
        let url = hub.url();
        fs::write(site.world.path("password"), PASSWORD).expect("written");
        for namespace in [&[ORCHESTRATOR][..], &WORKERS].concat() {
            site.put(namespace, &["secret", "generic"], "koji", &site.world.path("password"));
        }
        let inside = login(&hub, Path::new("/var/run/secrets/atomic-reactor/koji"));
        site.add_to_config(&format!("required_secrets: [koji]\n{inside}"));
        let conf = format!(
            "[kojid]\nserver = {url}\nuser = {HOST}\npassword = {PASSWORD}\nsleeptime = 1\nallowed_scms = {}:/*\n",
            site.server.fact("host_address")
        );
        fs::write(site.world.path("kojid.conf"), conf).expect("written");
        let conf = format!(
            "[koji]\nserver = {url}\nweburl = http://koji.test/koji\nauthtype = password\n\
             poll_interval = 1\nuser = {USER}\npassword = {PASSWORD}\n"
        );
        fs::write(site.world.path("koji.conf"), conf).expect("written");
        let way = Way::closed_before(site.server.fact("server"));
        let koji = Koji { site, hub, builder: None.into(), way };
        koji.start_builder(&site.by_token(SLOTS));
        koji
    }

    /// The base image comes into Koji, by a build on this machine.
    #[track_caller]
    fn import_base(&self) {
        let (world, begun) = (&self.site.world, Instant::now());
        let password = world.path("password");
        world.write_conf("can_orchestrate = true\n", &(local_clusters() + &login(&self.hub, &password)));
        let done = world.build(&self.source("base").replace("#main", ""), &["--target", TARGET]);
        assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
        world.write_conf("can_orchestrate = true\n", &local_clusters());
        println!("base: {:.1} s", begun.elapsed().as_secs_f64());
    }

    /// Starts the builder with this way to the cluster.
    fn start_builder(&self, way: &str) {
        assert!(self.builder.borrow().is_none(), "one at a time");
        self.site.write_conf(CONF, way);
        let log = fs::OpenOptions::new().create(true).append(true).open(self.site.world.path(LOG)).expect("a log");
        let conf = self.site.world.path("kojid.conf").display().to_string();
        let mut command = self.site.command(CONF, &["kojid", "--kojid-config", &conf]);
        let child = command.stdout(Stdio::null()).stderr(log).spawn().expect("osbs starts");
        self.builder.replace(Some(Builder(child)));
    }

    fn log(&self) -> String {
        world::read(&self.site.world.path(LOG))
    }

    fn source(&self, repository: &str) -> String {
        format!("{}/{repository}#main", self.site.git_url)
    }

    /// `osbs koji-build`, to its end; the task.
    #[track_caller]
    fn build(&self, repository: &str) -> i64 {
        let begun = Instant::now();
        let conf = self.site.world.path("koji.conf").display().to_string();
        let args = ["koji-build", "--koji-config", &conf, "--wait", "--git-branch", "main", TARGET];
        let done = within_minutes(Path::new(world::OSBS), &[&args[..], &[&self.source(repository)]].concat());
        println!("{repository}: {:.1} s", begun.elapsed().as_secs_f64());
        assert_eq!(done.code, 0, "{}\n{}\n{}", done.out, done.err, self.log());
        let task = done.out.lines().find_map(|line| line.strip_prefix("Created task: ")).expect("a task");
        assert!(done.out.contains(&format!("{task} buildContainer (noarch) completed successfully")), "{}", done.out);
        task.parse().expect("a number")
    }

    /// Koji's own client, as the user.
    #[track_caller]
    fn koji(&self, args: &[&str]) {
        let cache = std::env::var_os("OSBS_TEST_CACHE").map_or_else(|| root().join(".cache"), PathBuf::from);
        let found = Command::new(root().join("scripts/koji.sh")).arg("bin").arg(cache).output().expect("bash starts");
        assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
        let program = PathBuf::from(String::from_utf8_lossy(&found.stdout).trim()).join("koji");
        let conf = self.site.world.path("koji.conf").display().to_string();
        let login = ["-c", &conf, "--user", USER, "--password", PASSWORD];
        let done = within_minutes(&program, &[&login[..], args].concat());
        assert_eq!(done.code, 0, "koji {args:?}\n{}\n{}", done.out, done.err);
    }

    /// Asks for a build of one platform that is kept, so that it is reserved in Koji.
    #[track_caller]
    fn ask(&self, repository: &str, lines: &str) -> i64 {
        self.site.repository(repository, lines);
        let options = [
            ("git_branch", "main".into()),
            ("isolated", true.into()),
            ("release", "1.1".into()),
            ("arch_override", "x86_64".into()),
        ];
        self.hub.build_container(&self.hub.log_in(USER), &self.source(repository), &options)
    }

    /// Builds that belong to the task, workers left out.
    fn builds_of(&self, task: i64) -> Vec<String> {
        let builds = self.site.json(&["list-builds", "--output", "json"]);
        let builds = builds.as_array().expect("a list").iter();
        let builds = builds.filter(|build| build["labels"]["koji-task-id"].as_str() == Some(&task.to_string()));
        builds.map(|build| build["name"].as_str().expect("a name").to_owned()).collect()
    }

    /// The one build of a task, as soon as there is one.
    #[track_caller]
    fn build_of(&self, task: i64) -> String {
        let mut builds = Vec::new();
        wait_for("the task's build is made", 60, || {
            builds = self.builds_of(task);
            !builds.is_empty() || self.hub.task(task).state.is_finished()
        });
        let [build] = &builds[..] else { panic!("builds of task {task}: {builds:?}\n{}", self.log()) };
        build.clone()
    }

    /// The task has closed; its result.
    #[track_caller]
    fn closed(&self, task: i64) -> Value {
        let ended = self.hub.wait_for(task, 180);
        let log = self.hub.output(task, "openshift-incremental.log");
        assert_eq!(ended.state, TaskState::Closed, "{}\n{log}", self.log());
        self.hub.call(&self.hub.anonymous(), calls::get_task_result(task)).to_json()
    }

    /// The hub has the log that the cluster has, line for line, in all its files.
    #[track_caller]
    fn check_logs(&self, task: i64, build: &str, platforms: &[&str]) {
        let mixed = self.hub.output(task, "openshift-incremental.log");
        assert_eq!(mixed, self.site.ok(&["build-logs", build]));
        for platform in [platforms, &["-"]].concat() {
            let file = if platform == "-" { "orchestrator.log".to_owned() } else { format!("{platform}.log") };
            let own = self.hub.output(task, &file);
            assert_eq!(own, self.site.ok(&["build-logs", build, "--platform", platform]), "{file}");
            assert!(!own.is_empty() && mixed.contains(&format!("platform:{platform} ")), "{file}: {mixed}");
        }
    }

    /// Kills the pod of a task's orchestrator build, by its first process, when it sleeps; the task fails, and what it has
    /// reserved is left.
    #[track_caller]
    fn kill_pod_of(&self, task: i64, nvr: &str) {
        let name = self.build_of(task);
        wait_said(self.site, &name, "it sleeps now");
        assert!(self.is_in_koji(nvr, BuildState::Building), "it is reserved");
        kill_pod(&name);
        assert_eq!(self.hub.wait_for(task, 90).state, TaskState::Failed, "{}", self.log());
        // Its worker build would end by itself twelve minutes later.
        for namespace in WORKERS {
            let worker = format!("{name}-x86-64");
            self.site.server.kubectl(&["delete", "job", "--namespace", namespace, "--ignore-not-found", &worker]);
        }
        assert!(self.is_in_koji(nvr, BuildState::Building), "nobody could give it back: its pod had the login");
    }

    /// A build in Koji of this state.
    fn is_in_koji(&self, nvr: &str, state: BuildState) -> bool {
        let build = self.hub.call(&self.hub.anonymous(), calls::get_build(nvr));
        build.is_some_and(|build| build.state == state)
    }
}

/// By `osbs koji-build`, for two platforms, on a parent that is in Koji.
fn a_task_becomes_jobs_and_a_build_in_koji(koji: &Koji<'_>) {
    let (site, hub) = (koji.site, &koji.hub);
    koji.import_base();
    let (source, task) = (koji.source("hello"), koji.build("hello"));
    let result = koji.closed(task);
    let name = koji.build_of(task);
    koji.check_logs(task, &name, &["x86_64", "aarch64"]);
    assert!(hub.output(task, "checkout-for-labels.log").contains(&source), "what was looked at");

    // Where it ran.
    let record = site.record(&name);
    assert_eq!(record["status"], "Complete");
    let is_done = |namespace: &str, name: &str| {
        let jobs = site.objects(namespace, "jobs");
        jobs.iter().any(|job| job["metadata"]["name"] == name && job["status"]["succeeded"] == 1)
    };
    assert!(is_done(ORCHESTRATOR, &name), "the orchestrator's Job");
    for platform in ["x86_64", "aarch64"] {
        let worker = &record["annotations"]["worker-builds"][platform]["build"];
        let text = |key: &str| worker[key].as_str().unwrap_or_else(|| panic!("no {key} in {worker}"));
        assert!(WORKERS.contains(&text("namespace")) && is_done(text("namespace"), text("build-name")), "{worker}");
    }

    // What it has become.
    let specs = result["repositories"].as_array().expect("a list");
    let of_site = format!("{}/example/hello:1.0-1", site.world.registry);
    assert!(specs.iter().any(|spec| *spec == *of_site), "{result}");
    let built = hub.call(&hub.anonymous(), calls::get_build("example-hello-container-1.0-1")).expect("in Koji");
    assert_eq!((built.state, built.task_id), (BuildState::Complete, Some(task)));
    assert_eq!(built.owner_name.as_deref(), Some(USER));
    assert_eq!(result["koji_builds"], json!([built.id.to_string()]), "{result}");
    assert_eq!(record["labels"]["koji-build-id"], built.id.to_string());
    let parents = &built.extra.to_json()["image"]["parent_image_builds"];
    assert!(parents.to_string().contains("\"nvr\":\"example-base-container-1-"), "{parents}");
    let archives = hub.call(&hub.anonymous(), calls::list_archives(built.id, Some("image")));
    assert_eq!(archives.len(), 2, "one a platform: {archives:?}");
    let tagged = hub.call(&hub.anonymous(), calls::list_tagged(TARGET));
    assert!(tagged.iter().any(|one| one.build.id == built.id), "{tagged:?}");
}

/// kill -9 while the build runs; the next builder begins before it can reach the cluster, and with a token that has expired.
fn a_killed_builder_goes_on_with_the_same_job(koji: &Koji<'_>) {
    let (site, hub) = (koji.site, &koji.hub);
    let task = koji.ask("killed", "RUN for i in $(seq 1 24); do seq $i 100 | sed 's/^/row /'; sleep 0.5; done");
    wait_for("the log has begun", 120, || hub.output(task, "x86_64.log").contains("row 100"));
    let name = koji.build_of(task);
    assert_eq!(site.status(&name), "Running", "it is in the middle");
    let waits = |why: &str| {
        let tells = |line: &str| line.contains(&format!("task {task}: waits: ")) && line.contains(why);
        wait_for(why, 60, || koji.log().lines().any(tells));
        assert_eq!(hub.task(task).state, TaskState::Open, "a task waits for its cluster: {}", koji.log());
    };
    koji.builder.replace(None);
    let token = site.world.path("old.token");
    fs::write(&token, "nobody's").expect("written");
    let way = site.by_token(SLOTS);
    koji.start_builder(&way.replace(&site.token_file().display().to_string(), &token.display().to_string()));
    waits("does not accept the login");
    koji.builder.replace(None);
    koji.start_builder(&site.by_token_at(&koji.way.url, SLOTS));
    waits("does not answer");
    koji.way.open.store(true, Ordering::SeqCst);
    let result = koji.closed(task);
    assert_eq!(koji.builds_of(task), [name.as_str()], "there is no second one");
    let found = format!("task {task}: build {name} is there already");
    assert!(koji.log().contains(&found), "{}", koji.log());
    koji.check_logs(task, &name, &["x86_64"]);
    let rows = hub.output(task, "x86_64.log").matches(" - row ").count();
    assert_eq!(rows, (1..=24).map(|first| 101 - first).sum::<usize>(), "no line lost, none twice");
    assert_eq!(result["koji_builds"].as_array().map(Vec::len), Some(1), "{result}");
}

/// Two slots, one of them in use by somebody who does not ask Koji. Who waits gets it; then one task is cancelled by the
/// official client, and the other one's Job is deleted by an administrator.
fn tasks_are_taken_by_free_slots_and_end_with_their_jobs(koji: &Koji<'_>) {
    let (site, hub) = (koji.site, &koji.hub);
    let sleep = "RUN echo it sleeps now && sleep 600";
    site.repository("theirs", sleep);
    let theirs = Builder(site.start_build("theirs", &["--scratch", "--platforms", "x86_64"]));
    let mut their_name = String::new();
    wait_for("their build runs", 60, || {
        let builds = site.json(&["list-builds", "--output", "json"]);
        let builds = builds.as_array().expect("a list").iter();
        let running = builds.filter(|build| build["status"] == "Running" || build["status"] == "Pending");
        let mut names = running.filter_map(|build| build["name"].as_str()).filter(|name| name.starts_with("scratch-"));
        names.next().unwrap_or_default().clone_into(&mut their_name);
        !their_name.is_empty()
    });
    let given_up = koji.ask("given-up", sleep);
    let removed = koji.ask("removed", sleep);
    let given_up_build = koji.build_of(given_up);
    wait_said(site, &given_up_build, "it sleeps now");
    assert!(!hub.task(removed).state.is_finished() && hub.task(removed).state != TaskState::Open, "no slot is free");
    assert!(koji.builds_of(removed).is_empty());
    site.ok(&["cancel-build", &their_name]);
    let removed_build = koji.build_of(removed);
    check_stopped(site, &their_name);
    drop(theirs);
    wait_said(site, &removed_build, "it sleeps now");

    let begun = Instant::now();
    koji.koji(&["cancel", &given_up.to_string()]);
    assert_eq!(hub.wait_for(given_up, 60).state, TaskState::Canceled);
    wait_for("the build of a cancelled task is cancelled", 90, || site.status(&given_up_build) == "Cancelled");
    check_stopped(site, &given_up_build);
    println!("cancelled: nothing runs after {:.1} s", begun.elapsed().as_secs_f64());

    let begun = Instant::now();
    site.server.kubectl(&["delete", "job", "--namespace", ORCHESTRATOR, "--wait=false", &removed_build]);
    assert_eq!(hub.wait_for(removed, 90).state, TaskState::Failed, "{}", koji.log());
    println!("deleted: told after {:.1} s", begun.elapsed().as_secs_f64());
    let error = hub.try_call(&hub.anonymous(), calls::get_task_result(removed)).expect_err("a fault");
    let fault = error.fault().unwrap_or_else(|| panic!("{error:?}"));
    println!("{} {}", fault.code, fault.text);
    assert_eq!(fault.code, 2001, "{fault:?}");
    assert!(fault.text.contains(&format!("build {removed_build} was deleted from the cluster")), "{fault:?}");
    assert_eq!(fault.text.lines().count(), 1, "{fault:?}");
    check_stopped(site, &removed_build);
    assert!(koji.builds_of(removed).is_empty(), "it is not made again");

    // What was reserved is given back, by the builds themselves.
    for package in ["given-up-container-1-1.1", "removed-container-1-1.1"] {
        let gone = || koji.is_in_koji(package, BuildState::Canceled) || koji.is_in_koji(package, BuildState::Failed);
        wait_for("the reservation is given back", 60, gone);
    }
}

/// An orchestrator build's pod is killed with everything in it: its login was there, so the next pod that has one gives back
/// what it had reserved; or `osbs gc`, in a pod that has the login too.
fn a_killed_pod_leaves_no_reservation(koji: &Koji<'_>) {
    let sleep = "RUN echo it sleeps now && sleep 600";
    let (cut, next) = (koji.ask("cut", sleep), koji.ask("after", sleep));
    let next_build = koji.build_of(next);
    koji.kill_pod_of(cut, "cut-container-1-1.1");
    wait_said(koji.site, &next_build, "it sleeps now");
    koji.koji(&["cancel", &next.to_string()]);
    let is_back = |nvr: &str| koji.is_in_koji(nvr, BuildState::Canceled);
    wait_for("the next pod gives back what another had reserved", 90, || is_back("cut-container-1-1.1"));
    check_stopped(koji.site, &next_build);

    let cut_too = koji.ask("cut-too", sleep);
    koji.kill_pod_of(cut_too, "cut-too-container-1-1.1");
    let place = ["--namespace", ORCHESTRATOR];
    let patch = json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": {
        "volumes": [{"name": "koji", "secret": {"secretName": "koji"}}],
        "containers": [{"name": "gc", "volumeMounts":
            [{"name": "koji", "mountPath": "/var/run/secrets/atomic-reactor/koji", "readOnly": true}]}],
    }}}}}});
    koji.site.server.kubectl(&[&["patch", "cronjob", "osbs-gc", "--patch", &patch.to_string()][..], &place].concat());
    let create = ["create", "job", "--from=cronjob/osbs-gc", "gc-with-koji"];
    koji.site.server.kubectl(&[&create[..], &place].concat());
    wait_for("osbs gc gives back a reservation", 60, || is_back("cut-too-container-1-1.1"));
    koji.site.server.kubectl(&[&["delete", "job", "gc-with-koji"][..], &place].concat());
}

/// Koji in `config.yaml`.
fn login(hub: &TestHub, password: &Path) -> String {
    let url = hub.url();
    let root_url = url.replace("/kojihub", "/kojifiles");
    format!(
        "koji:\n  hub_url: {url}\n  root_url: {root_url}\n  auth: {{username: {IMPORTER}, password_path: {}}}\n",
        password.display()
    )
}

/// Runs a program, which may take three minutes.
fn within_minutes(program: &Path, args: &[&str]) -> Done {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", "180"]).arg(program).args(args).stdin(Stdio::null());
    world::done(command.output().expect("timeout starts"))
}
