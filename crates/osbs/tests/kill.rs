//! SIGKILL at random moments for what runs a build, and for everything at once: the next command closes the build with
//! a reason, nothing is left, and the same repository builds again.
#![expect(clippy::print_stdout, reason = "figures, for whoever runs this by hand")]

mod world;

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use world::inspect::{Dice, Process, kill_9, surroundings, worker_of};
use world::{World, wait_for};

const PLATFORM: &str = "x86_64";
const MOMENTS: usize = 10;
/// Builds at most, to get so many that were hit before they had ended.
const AT_MOST: usize = 30;

/// A process to be killed.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Worker(Process),
    Orchestrator(Process),
}

impl Victim {
    fn pid(self, world: &World, name: &str) -> Option<u32> {
        match self {
            Self::Worker(process) => world.process(&worker_of(name, PLATFORM), process),
            Self::Orchestrator(process) => world.process(name, process),
        }
    }
}

impl Victim {
    fn build(self, name: &str) -> String {
        match self {
            Self::Worker(_) => worker_of(name, PLATFORM),
            Self::Orchestrator(_) => name.to_owned(),
        }
    }

    /// What the build was doing.
    fn doing(self, world: &World, name: &str) -> String {
        let last = world.events(&self.build(name)).into_iter().rfind(|event| event["event"] == "plugin_start");
        last.map_or_else(|| "nothing yet".to_owned(), |event| event["plugin"].as_str().unwrap_or_default().to_owned())
    }
}

/// A build that is on its way, and who watches it.
struct Started {
    name: String,
    follower: Child,
}

fn start(world: &World, url: &str, repository: &str) -> Started {
    let earlier = world.newest(repository);
    let mut command = world.command(&["build", "--git-url", url, "--git-branch", "main", "--user", "test"]);
    let follower = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("osbs starts");
    wait_for("the build has a folder", 30, || world.newest(repository) != earlier);
    Started { name: world.newest(repository).expect("there is one"), follower }
}

/// How long a build ran.
fn span(world: &World, build: &str) -> Duration {
    let at = |state| world.reached(build, state).expect("it ran").0;
    Duration::from_secs_f64(at("Complete") - at("Running"))
}

/// What every kill must end in.
#[track_caller]
fn check_closed(world: &World, name: &str) -> Vec<String> {
    // Any command closes what is dead. What was killed a moment ago may still be dying: the kernel takes its time over
    // mounts and namespaces.
    let of_family = |build: &serde_json::Value| build["name"] == name || build["parent"] == name;
    let mut builds = Vec::new();
    wait_for("what was killed is closed", 60, || {
        builds = world.builds();
        builds.iter().filter(|build| of_family(build)).all(|build| !build["finished"].is_null())
    });
    let family: Vec<_> = builds.iter().filter(|build| of_family(build)).collect();
    let mut told = Vec::new();
    for build in family {
        let state = build["status"].as_str().expect("a state");
        let what = format!("{} {state}: {}", build["name"], build["reason"]);
        if state != "Complete" {
            assert!(build["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "no reason: {what}");
            let last = world.events(build["name"].as_str().expect("a name")).pop().expect("events");
            assert_eq!((&last["event"], &last["state"]), (&"state".into(), &build["status"]), "{what}");
        }
        told.push(what);
    }
    assert!(!told.is_empty(), "{name} is not in the list");
    world::check_nothing_left(world);
    told
}

/// `osbs gc` finds no build at work, and takes away what killed builds kept in the image store.
#[track_caller]
fn check_store(world: &World) {
    world.ok(&["gc"]);
    for folder in ["refs", "tmp", "partial", "leases", "locks", "blobs/sha256", "layers"] {
        let entries = std::fs::read_dir(world.path("home/store").join(folder)).into_iter().flatten().flatten();
        let names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        // What `osbs image build` made stays: the parent that this world began with, its manifest, config and layer.
        let of_builds = match folder {
            "refs" => names.iter().filter(|name| name.contains("target") || name.contains("build")).count(),
            "blobs/sha256" => names.len().saturating_sub(3),
            "layers" => names.len().saturating_sub(1),
            _ => names.len(),
        };
        assert_eq!(of_builds, 0, "{folder}: {names:?}");
    }
}

/// Kills the victims together at random moments, until ten builds were hit before their end.
fn check_kills(test: &str, rounds: impl Fn(usize) -> Vec<Victim>) {
    if !world::can_run() {
        return;
    }
    let mut dice = Dice::new(test);
    let before = surroundings();
    let world = World::new();
    let url = world.layered("target", "RUN echo a > /a; sleep 0.2");
    let warm = world.build(&url, &[]);
    assert_eq!(warm.code, 0, "{}\n{}", warm.out, warm.err);
    let mut undisturbed = world.newest("target").expect("a build");
    let (mut hits, mut round) = (0, 0);
    while hits < MOMENTS {
        assert!(round < AT_MOST, "only {hits} of {round} builds were hit: the others had ended before");
        let victims = rounds(hits);
        // Somewhere in the time that the first of them took when nobody disturbed it.
        let moment = span(&world, &victims[0].build(&undisturbed)).mul_f64(dice.next());
        let mut started = start(&world, &url, "target");
        let name = started.name.clone();
        let mut alive = Vec::new();
        wait_for("what is to be killed is there", 30, || {
            alive = victims.iter().filter_map(|victim| victim.pid(&world, &name)).collect();
            alive.len() == victims.len() || started.follower.try_wait().is_ok_and(|ended| ended.is_some())
        });
        std::thread::sleep(moment);
        let doing: Vec<_> = victims.iter().map(|victim| victim.doing(&world, &name)).collect();
        alive.iter().copied().for_each(kill_9);
        let killed = Instant::now();
        wait_for("whoever watches sees the end", 20, || started.follower.try_wait().is_ok_and(|ended| ended.is_some()));
        let seen = killed.elapsed();
        let code = started.follower.wait().expect("ended").code();
        let told = check_closed(&world, &name);
        assert_eq!(code == Some(0), world.status(&name) == "Complete", "{code:?} {told:?}");
        let hit = told.iter().any(|what| !what.contains("Complete"));
        round += 1;
        if hit {
            hits += 1;
            println!("{test} {hits}: {victims:?} after {moment:.0?} in {doing:?}: end seen after {seen:.1?}, {told:?}");
        } else {
            undisturbed = name;
        }
    }
    println!("{test}: {hits} of {round} builds were hit before they had ended");
    check_store(&world);
    // The same repository, the same home: as if nothing had been.
    let again = world.build(&url, &[]);
    assert_eq!(again.code, 0, "{}\n{}", again.out, again.err);
    world::check_nothing_left(&world);
    drop(world);
    world::wait_until_clean(&before);
}

#[test]
fn the_workers_reactor() {
    check_kills("worker", |_| vec![Victim::Worker(Process::Reactor)]);
}

#[test]
fn the_orchestrators_reactor() {
    check_kills("orchestrator", |_| vec![Victim::Orchestrator(Process::Reactor)]);
}

#[test]
fn both_reactors() {
    check_kills("both", |_| vec![Victim::Worker(Process::Reactor), Victim::Orchestrator(Process::Reactor)]);
}

/// The worker's, the orchestrator's, both, in turn.
#[test]
fn their_runners() {
    let (worker, orchestrator) = (Victim::Worker(Process::Runner), Victim::Orchestrator(Process::Runner));
    check_kills("runners", |round| match round % 3 {
        0 => vec![worker],
        1 => vec![orchestrator],
        _ => vec![worker, orchestrator],
    });
}

/// Everything at once, as when the machine loses its power: three builds in different states, and who watches them.
#[test]
fn everything_at_once() {
    if !world::can_run() {
        return;
    }
    let before = surroundings();
    let world = World::new();
    world.write_conf("can_orchestrate = true\nmax_concurrent_builds = 2\n", "");
    let asleep = world.layered("asleep", "RUN echo asleep; sleep 600");
    let first = start(&world, &asleep, "asleep");
    wait_for("a RUN step sleeps", 60, || world.has_said(&worker_of(&first.name, PLATFORM), "asleep"));
    let queued = start(&world, &asleep, "asleep");
    wait_for("the second waits", 30, || world.reached(&queued.name, "Pending").is_some());
    let quick = start(&world, &world.layered("quick", "RUN sleep 2"), "quick");
    let home = world.path("home").display().to_string();
    let all = world::processes_with(&home);
    assert!(all.len() >= 8, "{all:?}");
    // Again for what was started while the list was made.
    wait_for("all are killed", 10, || {
        let left = world::processes_with(&home);
        let together: Vec<_> = left.iter().map(ToString::to_string).collect();
        if left.is_empty() {
            return true;
        }
        let _ = std::process::Command::new("kill").arg("-9").args(&together).stderr(Stdio::null()).status();
        false
    });
    let mut all = [first, queued, quick];
    for started in &mut all {
        let _ = started.follower.wait();
    }
    for started in all {
        let told = check_closed(&world, &started.name);
        println!("{told:?}");
        assert!(told.iter().all(|what| what.contains("Error") || what.contains("Cancelled")), "{told:?}");
    }
    assert!(world.tags("test/asleep").is_empty() && world.tags("test/quick").is_empty());
    let again = world.build(&world.layered("quick", "RUN sleep 2"), &[]);
    assert_eq!(again.code, 0, "{}\n{}", again.out, again.err);
    world::check_nothing_left(&world);
    drop(world);
    world::wait_until_clean(&before);
}
