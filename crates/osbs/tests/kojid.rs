//! `osbs kojid` with a hub, a cluster and a registry that are real: tasks become builds, logs arrive whole, and nothing is
//! lost or done twice whoever is killed.

mod world;

use osbs_koji::{TaskState, Value, calls};
use std::fs;
use std::process::{Child, Stdio};
use world::hub::{HOST, PASSWORD, TARGET, TestHub, USER, is_not_for_a_real_hub, while_away};
use world::{World, can_run, wait_for};

/// A builder; killed when dropped.
struct Builder(Child);

impl Builder {
    fn start(world: &World, hub: &TestHub) -> Self {
        let conf = format!(
            "[kojid]\nserver = {}\nuser = {HOST}\npassword = {PASSWORD}\nsleeptime = 1\nallowed_scms = *:{}/*\n",
            hub.url(),
            world.folder.path().display()
        );
        fs::write(world.path("kojid.conf"), conf).expect("written");
        let log = fs::OpenOptions::new().create(true).append(true).open(world.path("kojid.log")).expect("a log");
        let mut command = world.command(&["kojid", "--kojid-config"]);
        let child = command.arg(world.path("kojid.conf")).stdout(Stdio::null()).stderr(log).spawn();
        Self(child.expect("osbs starts"))
    }

    /// kill -9.
    fn kill(mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("ended");
    }

    /// SIGTERM, as systemd does; its exit code.
    fn stop(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signalled");
        wait_for("the builder stops", 60, || self.0.try_wait().expect("asked").is_some());
        self.0.wait().expect("ended").code()
    }
}

impl Drop for Builder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn log(world: &World) -> String {
    fs::read_to_string(world.path("kojid.log")).unwrap_or_default()
}

/// `git+file://...#main` of a layered repository.
fn source(world: &World, name: &str, lines: &str) -> String {
    format!("git+{}#main", world.layered(name, lines))
}

fn options() -> [(&'static str, Value); 1] {
    [("git_branch", "main".into())]
}

/// Builds that belong to the task, workers left out.
fn builds_of(world: &World, task: i64) -> Vec<String> {
    let builds = world.json(&["list-builds", "--output", "json"]);
    let is_of = |build: &&serde_json::Value| build["labels"]["koji-task-id"].as_str() == Some(&task.to_string());
    let builds = builds.as_array().expect("a list").iter().filter(is_of);
    builds.map(|build| build["name"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn a_task_becomes_a_build_and_its_log_arrives_whole() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let hub = TestHub::start(world.folder.path(), &["web-container"]);
    let builder = Builder::start(&world, &hub);
    let user = hub.log_in(USER);
    let task = hub.build_container(&user, &source(&world, "web", "RUN seq 1 2000"), &options());
    let ended = hub.wait_for(task, 120);
    assert_eq!(ended.state, TaskState::Closed, "{}", log(&world));

    let result = hub.call(&hub.anonymous(), calls::get_task_result(task));
    let specs = result.array_of("repositories").expect("a list");
    assert!(specs.iter().any(|spec| spec.as_str().is_some_and(|spec| spec.contains(&world.registry))), "{result:?}");
    let [build] = &builds_of(&world, task)[..] else { panic!("{:?}", builds_of(&world, task)) };

    // What the hub has is what the cluster has, line for line.
    let mixed = hub.output(task, "openshift-incremental.log");
    assert_eq!(mixed, world.ok(&["build-logs", build]));
    for number in 1..=2000 {
        assert!(mixed.contains(&format!(" - {number}\n")), "line {number}");
    }
    assert!(mixed.lines().filter(|line| line.contains("platform:x86_64")).count() > 2000);
    let own = hub.output(task, "x86_64.log");
    assert_eq!(own, world.ok(&["build-logs", build, "--platform", "x86_64"]));
    let orchestrator = hub.output(task, "orchestrator.log");
    assert_eq!(orchestrator, world.ok(&["build-logs", build, "--platform", "-"]));
    assert!(orchestrator.contains("platform:-") && !orchestrator.contains("platform:x86_64"), "{orchestrator}");
    assert!(hub.output(task, "checkout-for-labels.log").contains("git/web"));
    assert_eq!(builder.stop(), Some(0), "{}", log(&world));
    assert!(!log(&world).contains(PASSWORD));
}

#[test]
fn bad_requests_fail_with_the_right_fault() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let hub = TestHub::start(world.folder.path(), &["good-container"]);
    let admin = hub.log_in("kojiadmin");
    hub.call(&admin, calls::create_tag("empty-build"));
    hub.call(&admin, calls::create_build_target("empty", "empty-build", TARGET));
    let _builder = Builder::start(&world, &hub);
    let user = hub.log_in(USER);
    let good = source(&world, "good", "RUN true");
    let unlisted = source(&world, "unlisted", "RUN true");
    let bare = format!("git+{}#main", world.repository("bare", &[("Dockerfile", "FROM base:1\n")]));
    let broken = source(&world, "good", "RUN false");
    let missing = good.replace("#main", "#nowhere");
    let on = |name: &'static str, value: Value| vec![options()[0].clone(), (name, value)];
    let cases = [
        (good.as_str(), "nowhere", options().to_vec(), 1005, "Target not found: nowhere"),
        (&good, "empty", options().to_vec(), 1005, "No arches for tag empty-build"),
        ("git://elsewhere.example/web#main", TARGET, options().to_vec(), 1005, "not in the list of allowed SCMs"),
        ("https://elsewhere.example/web#main", TARGET, options().to_vec(), 1005, "scheme"),
        (&unlisted, TARGET, options().to_vec(), 1005, "unlisted-container is not in the list for tag f43-candidate"),
        (&bare, TARGET, options().to_vec(), 2001, "com.redhat.component"),
        (&missing, TARGET, options().to_vec(), 2001, "nowhere"),
        (&broken, TARGET, options().to_vec(), 2001, "Image build failed"),
        (&good, TARGET, on("arch_override", "x86_64".into()), 1005, "arch_override"),
        (&good, TARGET, on("userdata", Value::members([])), 1005, "userdata"),
        (&good, TARGET, on("epoch", 1.into()), 1005, "epoch"),
    ];
    let tasks: Vec<i64> = cases
        .iter()
        .map(|(source, target, options, ..)| {
            let options = options.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            hub.call(&user, calls::build_container(source, target, options, None, Some("container")))
        })
        .collect();
    for (task, (source, .., code, text)) in tasks.iter().zip(&cases) {
        assert_eq!(hub.wait_for(*task, 120).state, TaskState::Failed, "{source}: {text}\n{}", log(&world));
        let error = hub.try_call(&hub.anonymous(), calls::get_task_result(*task)).expect_err("a fault");
        let fault = error.fault().unwrap_or_else(|| panic!("{error:?}"));
        assert_eq!(fault.code, *code, "{source}: {fault:?}");
        assert!(fault.text.contains(text), "{source}: {fault:?} lacks {text:?}");
    }
}

#[test]
fn cancelling_goes_both_ways() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let hub = TestHub::start(world.folder.path(), &["web-container", "other-container"]);
    let _builder = Builder::start(&world, &hub);
    let user = hub.log_in(USER);
    let long = "RUN sleep 300";
    let tasks = ["web", "other"].map(|name| hub.build_container(&user, &source(&world, name, long), &options()));
    let running = |task: i64| builds_of(&world, task).first().is_some_and(|build| world.status(build) == "Running");
    wait_for("both builds run", 120, || tasks.iter().all(|task| running(*task)));
    let builds = tasks.map(|task| builds_of(&world, task)[0].clone());

    hub.call(&user, calls::cancel_task(tasks[0]));
    wait_for("the build of a cancelled task is cancelled", 60, || world.status(&builds[0]) == "Cancelled");
    world.ok(&["cancel-build", &builds[1]]);
    assert_eq!(hub.wait_for(tasks[1], 60).state, TaskState::Canceled);
    assert_eq!(hub.task(tasks[0]).state, TaskState::Canceled);
    wait_for("nothing runs", 60, || world::leftovers(&world).iter().all(|left| left.contains("kojid")));
}

/// Cancelled at the hub while no builder runs: the next one cancels what goes on for nobody.
#[test]
fn a_task_that_is_cancelled_while_the_builder_is_down_loses_its_build() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let hub = TestHub::start(world.folder.path(), &["web-container", "other-container"]);
    let builder = Builder::start(&world, &hub);
    let user = hub.log_in(USER);
    let ask = |(name, lines)| hub.build_container(&user, &source(&world, name, lines), &options());
    let tasks = [("web", "RUN sleep 300"), ("other", "RUN sleep 15")].map(ask);
    let running = |task: i64| builds_of(&world, task).first().is_some_and(|build| world.status(build) == "Running");
    wait_for("both builds run", 120, || tasks.iter().all(|task| running(*task)));
    builder.kill();
    hub.call(&user, calls::cancel_task(tasks[0]));
    assert!(running(tasks[0]), "nobody has seen it yet");
    let _builder = Builder::start(&world, &hub);
    let [build] = &builds_of(&world, tasks[0])[..] else { panic!("{:?}", builds_of(&world, tasks[0])) };
    wait_for("its build is cancelled", 60, || world.status(build) == "Cancelled");
    assert_eq!(hub.task(tasks[0]).state, TaskState::Canceled);
    assert_eq!(hub.wait_for(tasks[1], 60).state, TaskState::Closed, "the other is left alone\n{}", log(&world));
    wait_for("nothing runs", 60, || world::leftovers(&world).iter().all(|left| left.contains("kojid")));
}

/// Killed at ten moments of a build's life, and started again: each task ends well, with one build and a whole log.
#[test]
fn a_killed_builder_loses_no_task_and_does_none_twice() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let names: Vec<String> = (0..10).map(|number| format!("web{number}")).collect();
    let packages: Vec<String> = names.iter().map(|name| format!("{name}-container")).collect();
    let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
    let hub = TestHub::start(world.folder.path(), &packages);
    let user = hub.log_in(USER);
    let lines = "RUN for i in 1 2 3 4 5 6 7 8; do seq $i 100; sleep 0.2; done";
    let mut tasks = Vec::new();
    for (number, name) in (0_u64..).zip(&names) {
        let builder = Builder::start(&world, &hub);
        tasks.push(hub.build_container(&user, &source(&world, name, lines), &options()));
        std::thread::sleep(std::time::Duration::from_millis(300 * number));
        builder.kill();
    }
    let _builder = Builder::start(&world, &hub);
    for task in tasks {
        assert_eq!(hub.wait_for(task, 180).state, TaskState::Closed, "{}", log(&world));
        let builds = builds_of(&world, task);
        // A builder that was killed before it could start a build leaves a record of it.
        let started: Vec<_> = builds.iter().filter(|build| world.status(build) != "Error").collect();
        assert_eq!(started.len(), 1, "{builds:?}");
        assert_eq!(hub.output(task, "openshift-incremental.log"), world.ok(&["build-logs", started[0]]));
    }
}

/// The hub is away while a build runs.
#[test]
fn a_hub_that_is_away_costs_no_line() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let mut hub = TestHub::start(world.folder.path(), &["web-container"]);
    let _builder = Builder::start(&world, &hub);
    let user = hub.log_in(USER);
    let lines = "RUN for i in 1 2 3 4 5 6 7 8 9 10 11 12; do seq $i 500; sleep 0.5; done";
    let task = hub.build_container(&user, &source(&world, "web", lines), &options());
    wait_for("the log has begun", 120, || hub.output(task, "x86_64.log").contains("500"));
    hub.pause();
    let [build] = &builds_of(&world, task)[..] else { panic!() };
    wait_for("the build ends without the hub", 120, || world.status(build) == "Complete");
    while_away();
    hub.resume();
    assert_eq!(hub.wait_for(task, 120).state, TaskState::Closed, "{}", log(&world));
    assert_eq!(hub.output(task, "openshift-incremental.log"), world.ok(&["build-logs", build]));
}

/// A builder runs for longer than a session lasts.
#[test]
fn sessions_that_expire_are_renewed() {
    if !can_run() || is_not_for_a_real_hub("sessions of a real hub last minutes at least") {
        return;
    }
    let world = World::new();
    let mut hub = TestHub::start(world.folder.path(), &["web-container"]);
    let user = hub.log_in(USER);
    hub.pause();
    hub.session_renewal = std::time::Duration::from_secs(2);
    hub.resume();
    let builder = Builder::start(&world, &hub);
    let lines = "RUN for i in 1 2 3 4 5 6 7 8 9 10; do seq $i 500; sleep 0.6; done";
    for _ in 0..2 {
        let task = hub.build_container(&user, &source(&world, "web", lines), &options());
        assert_eq!(hub.wait_for(task, 120).state, TaskState::Closed, "{}", log(&world));
        let [build] = &builds_of(&world, task)[..] else { panic!() };
        assert_eq!(hub.output(task, "openshift-incremental.log"), world.ok(&["build-logs", build]));
    }
    assert_eq!(builder.stop(), Some(0), "{}", log(&world));
}
