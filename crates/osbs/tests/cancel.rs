//! A build is cancelled in every phase, by an interrupt of `osbs build` and by `osbs cancel-build`: its workers stop
//! within two seconds, exit plugins run, nothing is left, no tag has moved.
#![expect(clippy::print_stdout, reason = "figures, for whoever runs this by hand")]

mod world;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use world::gate::Gate;
use world::inspect::{Dice, interrupt, now, surroundings, worker_of};
use world::{Done, World, wait_for};

/// Seconds from the request until everything of the build has ended.
const PROMPT: f64 = 2.0;
const PLATFORM: &str = "x86_64";

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq)]
enum By {
    Interrupt,
    Command,
}

/// Which build must be there before the gate holds anything.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Who {
    Orchestrator,
    Worker,
}

/// Where the build stands when it is cancelled.
enum Place {
    /// What it sends to the registry, with `NAME` for the repository's, does not go through.
    Registry(Who, &'static str),
    /// The git server does not answer.
    Git(Who),
    /// The worker has said this.
    Said(&'static str),
    /// The worker's plugin has begun.
    Plugin(&'static str),
}

struct Case {
    name: &'static str,
    lines: &'static str,
    place: Place,
}

/// More than every buffer between the layer and the registry.
const LARGE: &str = "RUN dd if=/dev/urandom of=/large bs=1M count=48 2> /dev/null";

const CASES: &[Case] = &[
    // The first that needs the parent's layer: here it is not in the store yet.
    Case { name: "pulling", lines: "", place: Place::Registry(Who::Worker, "GET /v2/base/blobs/") },
    Case { name: "source", lines: "", place: Place::Git(Who::Orchestrator) },
    Case { name: "prebuild", lines: "", place: Place::Registry(Who::Orchestrator, " /v2/base/manifests/") },
    Case { name: "workersource", lines: "", place: Place::Git(Who::Worker) },
    Case {
        name: "running",
        lines: "RUN trap '' TERM INT HUP; sleep 601 & echo asleep; sleep 600",
        place: Place::Said("asleep"),
    },
    Case { name: "layer", lines: LARGE, place: Place::Registry(Who::Worker, "PATCH /v2/test/NAME/blobs/uploads/") },
    Case {
        name: "pushing",
        lines: "RUN echo 1 > /1",
        place: Place::Registry(Who::Worker, "PUT /v2/test/NAME/manifests/"),
    },
    Case { name: "archive", lines: LARGE, place: Place::Plugin("compress") },
    Case { name: "grouping", lines: "", place: Place::Registry(Who::Worker, "PUT /v2/test/NAME/manifests/1-1 ") },
];

/// A world whose registry and git server are behind gates.
struct Gated {
    world: World,
    registry: Gate,
    git: Gate,
    daemon: Child,
}

impl Gated {
    fn new() -> Self {
        let mut world = World::new();
        // So that the first build pulls its parent.
        std::fs::remove_dir_all(world.path("home/store")).expect("there is a store");
        let registry = Gate::before(&world.registry);
        world.registry.clone_from(&registry.address);
        world.write_conf("can_orchestrate = true\nmax_concurrent_builds = 4\n", "");
        let port = world::free_port().to_string();
        std::fs::create_dir_all(world.path("git")).expect("made");
        let daemon = Command::new("git")
            .args(["daemon", "--export-all", "--reuseaddr", "--listen=127.0.0.1"])
            .arg(format!("--port={port}"))
            .arg(format!("--base-path={}", world.path("git").display()))
            .stderr(Stdio::null())
            .spawn()
            .expect("git starts");
        let address = format!("127.0.0.1:{port}");
        wait_for("git daemon listens", 10, || std::net::TcpStream::connect(&address).is_ok());
        let git = Gate::before(&address);
        Self { world, registry, git, daemon }
    }
}

impl Drop for Gated {
    fn drop(&mut self) {
        // git daemon is a program that git starts: ask, so that both go.
        let _ = Command::new("kill").arg(self.daemon.id().to_string()).status();
        let _ = self.daemon.wait();
    }
}

/// Whether the repository's orchestrator or worker build has a folder.
fn exists(builds: PathBuf, repository: &str, who: Who) -> impl Fn() -> bool + Send + 'static {
    let prefix = format!("{repository}-main-");
    move || {
        let names = std::fs::read_dir(&builds).into_iter().flatten().flatten();
        names
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .any(|name| name.starts_with(&prefix) && name.ends_with(PLATFORM) == (who == Who::Worker))
    }
}

/// Asks for the end of the build and waits for it: when it was asked, and what `osbs build` said.
fn cancel(world: &World, by: By, follower: Child, name: &str) -> (f64, Done) {
    let asked = now();
    match by {
        By::Interrupt => interrupt(follower.id()),
        By::Command => drop(world.ok(&["cancel-build", name])),
    }
    (asked, world::done(follower.wait_with_output().expect("osbs ends")))
}

/// Checks that the build has ended as told, and soon.
#[track_caller]
fn check_cancelled(world: &World, case: &str, name: &str, asked: f64) -> f64 {
    let (ended, reason) =
        world.reached(name, "Cancelled").unwrap_or_else(|| panic!("{case}: {:?}", world.record(name)));
    let took = ended - asked;
    assert!(took < PROMPT, "{case}: {name} ended {took:.2} s after the request");
    assert!(reason.is_some_and(|reason| !reason.is_empty()), "{case}: {name} has no reason");
    assert_eq!(world.status(name), "Cancelled", "{case}: {name}");
    took
}

/// Checks that every exit plugin ran to its end, as in a build that completes.
#[track_caller]
fn check_exit_plugins(world: &World, case: &str, name: &str, expected: &[String]) {
    let (begun, ended) = world.plugins(name, "exit");
    assert_eq!(begun, ended, "{case}: {name}");
    assert_eq!(begun, expected, "{case}: {name}");
}

fn check_case(gated: &Gated, case: &Case, by: By, exit: &[Vec<String>; 2]) {
    let Gated { world, registry, git, .. } = gated;
    let repository = case.name;
    let url = world.layered(repository, case.lines);
    let builds = world.path("home/builds/default");
    let url = match &case.place {
        Place::Git(who) => {
            git.hold("git-upload-pack", exists(builds, repository, *who));
            format!("git://{}/{repository}", git.address)
        }
        Place::Registry(who, request) => {
            registry.hold(&request.replace("NAME", repository), exists(builds, repository, *who));
            url
        }
        Place::Said(_) | Place::Plugin(_) => url,
    };
    let mut follower = world.start_build(&url, &[]);
    let mut name = String::new();
    wait_for(&format!("{repository}: the build is where it is to be"), 60, || {
        if let Ok(Some(_)) = follower.try_wait() {
            panic!("{repository}: ended early: {:?}", world.newest(repository).map(|name| world.record(&name)));
        }
        name = world.newest(repository).unwrap_or_default();
        let worker = worker_of(&name, PLATFORM);
        match case.place {
            Place::Git(_) => git.held() > 0,
            Place::Registry(..) => registry.held() > 0,
            Place::Said(text) => world.has_said(&worker, text),
            Place::Plugin(plugin) => world.has_begun(&worker, plugin),
        }
    });
    let (asked, done) = cancel(world, by, follower, &name);
    registry.open();
    git.open();
    assert_eq!(done.code, 130, "{repository}:\n{}\n{}", done.out, done.err);
    let took = check_cancelled(world, repository, &name, asked);
    check_exit_plugins(world, repository, &name, &exit[0]);
    let worker = worker_of(&name, PLATFORM);
    let has_worker = world.build_names().contains(&worker);
    let worker_took = has_worker.then(|| match world.status(&worker).as_str() {
        // Its work was done: only its orchestrator was left to be cancelled.
        "Complete" => 0.0,
        _ => check_cancelled(world, repository, &worker, asked),
    });
    if has_worker {
        check_exit_plugins(world, repository, &worker, &exit[1]);
    }
    println!("{by:?}, {repository}: orchestrator {took:.2} s, worker {worker_took:.2?}");
    let tags = world.tags(&format!("test/{repository}"));
    assert!(!tags.iter().any(|tag| ["latest", "1", "1-1"].contains(&tag.as_str())), "{repository}: {tags:?}");
    world::check_nothing_left(world);
}

fn check_phases(by: By) {
    if !world::can_run() {
        return;
    }
    let before = surroundings();
    let gated = Gated::new();
    let world = &gated.world;
    let (first, rest) = CASES.split_first().expect("some");
    // Exit plugins of a build that completes; before it, the case that needs an empty store.
    let pulling = world.layered("plain", "");
    let mut exit = [Vec::new(), Vec::new()];
    let learn = |exit: &mut [Vec<String>; 2]| {
        let done = world.build(&pulling, &[]);
        assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
        let name = world.newest("plain").expect("a build");
        *exit = [world.plugins(&name, "exit").1, world.plugins(&worker_of(&name, PLATFORM), "exit").1];
        // No floating tag moves unless all is well.
        for plugins in exit.iter_mut() {
            plugins.retain(|name| name != "push_floating_tags");
        }
        assert!(exit.iter().all(|plugins| !plugins.is_empty()), "{exit:?}");
    };
    learn(&mut exit);
    std::fs::remove_dir_all(world.path("home/store")).expect("there is a store");
    check_case(&gated, first, by, &exit);
    for case in rest {
        check_case(&gated, case, by, &exit);
    }
    // After all that the same home still builds.
    learn(&mut exit);
    world::check_nothing_left(world);
    drop(gated);
    world::wait_until_clean(&before);
}

#[test]
fn by_an_interrupt() {
    check_phases(By::Interrupt);
}

#[test]
fn by_a_command() {
    check_phases(By::Command);
}

/// Neither the second build of a BuildConfig, nor a worker that waits for a slot, has started when it is cancelled.
#[test]
fn before_it_has_started() {
    if !world::can_run() {
        return;
    }
    let world = World::new();
    let one_slot = "clusters:\n  x86_64: [{name: local, max_concurrent_builds: 1}]\n";
    world.write_conf("can_orchestrate = true\nmax_concurrent_builds = 2\n", one_slot);
    let long = world.layered("long", "RUN echo asleep; sleep 600");
    let running = world.submit(&long, &[]);
    wait_for("the first worker is at work", 60, || world.has_said(&worker_of(&running, PLATFORM), "asleep"));

    for by in [By::Interrupt, By::Command] {
        // In the queue of its BuildConfig.
        let follower = world.start_build(&long, &[]);
        let mut name = String::new();
        wait_for("the second build waits", 30, || {
            name = world.newest("long").unwrap_or_default();
            world.reached(&name, "Pending").is_some() && world.reached(&name, "Cancelled").is_none()
        });
        let (asked, done) = cancel(&world, by, follower, &name);
        assert_eq!(done.code, 130, "{}\n{}", done.out, done.err);
        let took = check_cancelled(&world, "in the queue", &name, asked);
        println!("{by:?}, in the queue: {took:.2} s");
        assert_eq!(world.plugins(&name, "exit").0, Vec::<String>::new(), "it never ran");

        // Its worker waits for the only slot of the cluster.
        let repository = format!("waits{by:?}").to_lowercase();
        let follower = world.start_build(&world.layered(&repository, ""), &[]);
        wait_for("the worker waits", 30, || {
            name = world.newest(&repository).unwrap_or_default();
            world.reached(&worker_of(&name, PLATFORM), "Pending").is_some()
        });
        let (asked, done) = cancel(&world, by, follower, &name);
        assert_eq!(done.code, 130, "{}\n{}", done.out, done.err);
        let took = check_cancelled(&world, "waiting", &name, asked);
        let worker_took = check_cancelled(&world, "waiting", &worker_of(&name, PLATFORM), asked);
        println!("{by:?}, waiting for a worker: orchestrator {took:.2} s, worker {worker_took:.2} s");
        let (begun, ended) = world.plugins(&name, "exit");
        assert!(!begun.is_empty() && begun == ended, "{begun:?} {ended:?}");
    }

    // Waiting for one of the orchestrators' two slots, which both are taken.
    let second = world.submit(&world.layered("second", ""), &[]);
    wait_for("the second orchestrator runs", 30, || world.reached(&second, "Running").is_some());
    let third = world.submit(&world.layered("third", ""), &[]);
    wait_for("the third waits", 30, || world.reached(&third, "Pending").is_some());
    let asked = now();
    world.ok(&["cancel-build", "--wait", &third, &second, &running]);
    for name in [&third, &second, &running] {
        let took = check_cancelled(&world, "all", name, asked);
        println!("all at once: {name} {took:.2} s");
    }
    assert!(world.tags("test/long").is_empty() && world.tags("test/second").is_empty());
    world::check_nothing_left(&world);
}

/// Interrupts at random moments from the very start, for two platforms: before anything is submitted, in the middle of a
/// plugin, between two.
#[test]
fn at_random_moments() {
    if !world::can_run() {
        return;
    }
    let mut dice = Dice::new("interrupt");
    let before = surroundings();
    let world = World::new();
    let two = "clusters:\n  x86_64: [{name: local, max_concurrent_builds: 4}]\n  \
        second: [{name: local, max_concurrent_builds: 4}]\n\
        platform_descriptors: [{platform: second, architecture: amd64}]\n";
    world.write_conf("can_orchestrate = true\n", two);
    let base = "FROM scratch\nLABEL name=test/both com.redhat.component=both-container version=1\nADD file.txt /\n";
    let url = world.repository("both", &[("Dockerfile", base), ("file.txt", "content\n")]);
    let begun = std::time::Instant::now();
    let done = world.build(&url, &[]);
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    let span = begun.elapsed();
    let tags = world.tags("test/both");
    let (mut codes, mut submitted, mut slowest) = (Vec::new(), 0, 0.0_f64);
    for _ in 0..10 {
        let earlier = world.newest("both");
        let follower = world.start_build(&url, &[]);
        std::thread::sleep(span.mul_f64(dice.next()));
        let asked = now();
        interrupt(follower.id());
        let done = world::done(follower.wait_with_output().expect("osbs ends"));
        codes.push(done.code);
        let name = world.newest("both").expect("the first");
        if Some(&name) == earlier.as_ref() {
            assert_eq!(done.code, 130, "nothing was submitted: {}", done.err);
        } else {
            submitted += 1;
            for build in [name.clone(), worker_of(&name, PLATFORM), worker_of(&name, "second")] {
                if !world.build_names().contains(&build) {
                    continue;
                }
                let record = world.record(&build);
                assert!(!record["finished"].is_null(), "{record}");
                let (exit, ended) = world.plugins(&build, "exit");
                assert_eq!(exit, ended, "{build}");
                if record["status"] == "Cancelled" {
                    slowest = slowest.max(check_cancelled(&world, "at random", &build, asked));
                }
            }
            assert_eq!(done.code == 0, world.status(&name) == "Complete", "{}", done.err);
        }
        world::check_nothing_left(&world);
        let clones = std::fs::read_dir(world.path("home/work")).into_iter().flatten().count();
        assert_eq!(clones, 0, "a clone of the repository is left");
    }
    println!(
        "interrupt: {submitted} of 10 were submitted; within {span:.1?}, exit codes {codes:?}, the last to end took {slowest:.2} s"
    );
    assert!(codes.contains(&130));
    assert!(world.tags("test/both").len() >= tags.len());
    let done = world.build(&url, &[]);
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    drop(world);
    world::wait_until_clean(&before);
}

/// A git server that never answers: nothing is submitted, and no helper of git waits on.
#[test]
fn while_the_repository_is_looked_at() {
    if !world::can_run() {
        return;
    }
    let world = World::bare();
    let server = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/web.git", server.local_addr().expect("bound"));
    let follower = world.start_build(&url, &[]);
    let connection = server.accept().expect("git asks");
    interrupt(follower.id());
    let asked = std::time::Instant::now();
    let done = world::done(follower.wait_with_output().expect("osbs ends"));
    println!("git server silent: ended after {:.2?}", asked.elapsed());
    assert_eq!(done.code, 130, "{}", done.err);
    assert!(done.err.contains("before anything was submitted"), "{}", done.err);
    assert!(world.builds().is_empty());
    // Still nobody has answered git.
    world::check_nothing_left(&world);
    assert_eq!(std::fs::read_dir(world.path("home/work")).into_iter().flatten().count(), 0);
    drop(connection);
}
