//! The worker or the orchestrator is killed (SIGKILL) while each of its plugins runs: what was pushed is recorded or is
//! gone, what was left for others is gone, and the same build succeeds when it is asked for again.
//!
//! A build is killed as soon as its event log says that the plugin has begun. Some are over within microseconds: then it
//! dies in one of the next, and the test says in which.
#![expect(clippy::print_stdout, reason = "figures, for whoever runs this by hand")]

mod world;

use serde_json::Value;
use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use world::inspect::{Process, kill_9, surroundings, worker_of};
use world::{World, wait_for};

const PLATFORM: &str = "x86_64";
/// Builds at once.
const SIDE_BY_SIDE: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Worker,
    Orchestrator,
}

impl Who {
    fn build(self, name: &str) -> String {
        match self {
            Self::Worker => worker_of(name, PLATFORM),
            Self::Orchestrator => name.to_owned(),
        }
    }
}

fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill").args([name, &pid.to_string()]).stderr(Stdio::null()).status();
}

/// The plugin that the build's own log says has begun and not ended.
fn running(world: &World, build: &str) -> Option<String> {
    let mut open = None;
    for event in world.events(build) {
        match event["event"].as_str() {
            Some("plugin_start") => open = event["plugin"].as_str().map(str::to_owned),
            Some("plugin_end") => open = None,
            _ => {}
        }
    }
    open
}

/// Kills the reactor of the build as soon as its log says that the plugin has begun. Gives the plugin that it was in then:
/// this one, or where this one had nothing to do, one of the next. `None`: the build was over.
fn kill_within(world: &World, build: &str, plugin: &str, follower: &mut Child) -> Option<String> {
    let log = world.path("home/builds/default").join(build).join("events.jsonl");
    let begun = format!("\"plugin\":\"{plugin}\"");
    wait_for("the build's log begins", 120, || log.exists() || follower.try_wait().is_ok_and(|ended| ended.is_some()));
    let mut pid = None;
    wait_for("its process is there", 120, || {
        pid = world.process(build, Process::Reactor);
        pid.is_some() || follower.try_wait().is_ok_and(|ended| ended.is_some())
    });
    let pid = pid?;
    let give_up = Instant::now() + Duration::from_mins(2);
    while !world::read(&log).contains(&begun) {
        assert!(Instant::now() < give_up, "{build} never came to {plugin}");
        if follower.try_wait().is_ok_and(|ended| ended.is_some()) {
            return None;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    signal(pid, "-STOP");
    let within = running(world, build);
    kill_9(pid);
    within
}

/// Names that the records of the builds tell of.
fn recorded(world: &World, builds: &[&str]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let there = world.builds();
    for build in builds.iter().filter(|build| there.iter().any(|one| one["name"] == ***build)) {
        let record = world.record(build);
        for class in ["unique", "primary", "floating"] {
            let list = record["annotations"]["repositories"][class].as_array().cloned().unwrap_or_default();
            let tag =
                |name: &Value| name.as_str().and_then(|name| name.rsplit_once(':')).map(|(_, tag)| tag.to_owned());
            names.extend(list.iter().filter_map(tag));
        }
    }
    names
}

/// One plugin of one kind of build.
fn check_plugin(world: &World, who: Who, plugin: &str) {
    let repository = format!("{}{}", plugin.replace('_', ""), if who == Who::Worker { "w" } else { "o" });
    let case = format!("{who:?} in {plugin}");
    let url = world.layered(&repository, "RUN echo a > /a");
    let earlier = world.newest(&repository);
    let mut follower = world.start_build(&url, &[]);
    wait_for("the build has a folder", 120, || world.newest(&repository) != earlier);
    let name = world.newest(&repository).expect("there is one");
    let within = kill_within(world, &who.build(&name), plugin, &mut follower);
    let code = world::done(follower.wait_with_output().expect("it ends")).code;
    assert_eq!(code == 0, world.status(&name) == "Complete", "{case}: {code}");
    let worker = worker_of(&name, PLATFORM);
    let state = world.status(&name);
    println!("{case}: killed in {within:?}, {name} is {state}");
    assert!(["Failed", "Error", "Complete"].contains(&state.as_str()), "{case}: {state}");
    // What the registry has, somebody knows of.
    let known = recorded(world, &[&name, &worker]);
    for tag in world.tags(&format!("test/{repository}")) {
        assert!(known.contains(&tag), "{case}: {tag} is in the registry and in no record: {known:?}");
    }
    // The same again.
    let again = world.build(&url, &[]);
    assert_eq!(again.code, 0, "{case}, again:\n{}\n{}", again.out, again.err);
    let tags: BTreeSet<String> = world.tags(&format!("test/{repository}")).into_iter().collect();
    assert!(tags.contains("latest") && tags.contains("1"), "{case}: {tags:?}");
}

fn check_all(who: Who) {
    if !world::can_run() {
        return;
    }
    let before = surroundings();
    let world = World::new();
    world.write_conf(
        "can_orchestrate = true\nmax_concurrent_builds = 16\n",
        "clusters:\n  x86_64: [{name: local, max_concurrent_builds: 16}]\n",
    );
    // Which plugins there are, a build that succeeds tells.
    let done = world.build(&world.layered("first", "RUN echo a > /a"), &[]);
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    let name = who.build(&world.newest("first").expect("a build"));
    let phases = ["prebuild", "buildstep", "prepublish", "postbuild", "exit"];
    let plugins: BTreeSet<String> = phases.iter().flat_map(|phase| world.plugins(&name, phase).0).collect();
    assert!(plugins.len() > 5, "{plugins:?}");
    let left = std::sync::Mutex::new(plugins.into_iter().collect::<Vec<_>>());
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                while let Some(plugin) = { left.lock().expect("no panic").pop() } {
                    check_plugin(&world, who, &plugin);
                }
            });
        }
    });
    // What workers left for an orchestrator that was killed is in their records.
    let sql = "SELECT name FROM config_maps;";
    let maps = Command::new("sqlite3").arg(world.path("home/cluster.db")).arg(sql).output().expect("sqlite3 starts");
    for map in String::from_utf8_lossy(&maps.stdout).lines() {
        let build = map.strip_suffix("-md").expect("metadata of a worker");
        let told = world.record(build)["annotations"]["metadata_fragment"].clone();
        assert_eq!(told, format!("configmap/{map}"), "a ConfigMap that no record tells of");
    }
    world.ok(&["gc"]);
    world::check_nothing_left(&world);
    drop(world);
    world::wait_until_clean(&before);
}

#[test]
fn the_worker_in_each_plugin() {
    check_all(Who::Worker);
}

#[test]
fn the_orchestrator_in_each_plugin() {
    check_all(Who::Orchestrator);
}
