//! Eight builds at once where two may run: never more than two run, all end, those of one BuildConfig in order.
#![expect(clippy::print_stdout, reason = "figures, for whoever runs this by hand")]

mod world;

use std::time::Duration;
use world::World;
use world::inspect::{seconds, worker_of};

const BUILDS: usize = 8;
const LIMIT: usize = 2;
const PLATFORM: &str = "x86_64";

/// From when to when a build ran, by its own log.
#[derive(Debug, Clone)]
struct Ran {
    name: String,
    from: f64,
    to: f64,
}

fn limited() -> World {
    let world = World::new();
    let clusters = format!("clusters:\n  x86_64: [{{name: local, max_concurrent_builds: {LIMIT}}}]\n");
    world.write_conf(&format!("can_orchestrate = true\nmax_concurrent_builds = {LIMIT}\n"), &clusters);
    world
}

fn ran(world: &World, name: &str) -> Ran {
    let (from, _) = world.reached(name, "Running").unwrap_or_else(|| panic!("{name} never ran"));
    let (to, _) = world.reached(name, "Complete").unwrap_or_else(|| panic!("{name}: {}", world.record(name)));
    Ran { name: name.to_owned(), from, to }
}

/// The most that ran at one moment. A build's log tells its end after it has left its slot's work, so these are the
/// longest spans that can be meant; what the cluster itself knows is sampled beside.
fn most_at_once(all: &[Ran]) -> usize {
    let at = |moment: f64| all.iter().filter(|ran| ran.from <= moment && moment < ran.to).count();
    all.iter().map(|ran| at(ran.from)).max().unwrap_or(0)
}

/// Waits until all have ended; the most orchestrators and workers ever seen running.
fn watch(world: &World, names: &[String]) -> (usize, usize) {
    let (mut orchestrators, mut workers) = (0, 0);
    let end = std::time::Instant::now() + Duration::from_mins(2);
    loop {
        let builds = world.builds();
        let running = |kind: &str| {
            let of_kind = |build: &&serde_json::Value| build["status"] == "Running" && build["type"] == kind;
            builds.iter().filter(of_kind).count()
        };
        orchestrators = orchestrators.max(running("orchestrator"));
        workers = workers.max(running("worker"));
        let open = builds.iter().filter(|build| build["finished"].is_null()).count();
        if open == 0 && builds.len() == 2 * names.len() {
            return (orchestrators, workers);
        }
        assert!(std::time::Instant::now() < end, "{open} builds have not ended: {builds:#?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn check(world: &World, names: &[String], one_at_a_time: bool) {
    let seen = watch(world, names);
    let orchestrators: Vec<_> = names.iter().map(|name| ran(world, name)).collect();
    let workers: Vec<_> = names.iter().map(|name| ran(world, &worker_of(name, PLATFORM))).collect();
    let logged = (most_at_once(&orchestrators), most_at_once(&workers));
    let first = orchestrators.iter().map(|ran| ran.from).fold(f64::MAX, f64::min);
    let last = orchestrators.iter().map(|ran| ran.to).fold(0.0, f64::max);
    println!("{} builds in {:.1} s; at once, sampled {seen:?}, logged {logged:?}", names.len(), last - first);
    let limit = if one_at_a_time { 1 } else { LIMIT };
    assert!(seen.0 <= limit && seen.1 <= limit, "{seen:?}");
    assert!(logged.0 <= limit && logged.1 <= limit, "{orchestrators:#?}\n{workers:#?}");
    assert!(one_at_a_time || seen.0 == LIMIT, "two run where two may: {seen:?}");
    // In the order in which they were submitted. Slots are given in order; who is given one says so by itself, so those
    // that were given theirs at the same moment may be told in any order.
    let mut by_start = orchestrators.clone();
    by_start.sort_by(|a, b| a.from.total_cmp(&b.from));
    for (at, name) in names.iter().enumerate() {
        let told = by_start.iter().position(|ran| ran.name == *name).expect("every build ran");
        assert!(told.abs_diff(at) < limit, "{name} was submitted as {at}: {by_start:#?}");
    }
    // Whoever waited was told what for.
    for name in &names[LIMIT..] {
        let (_, reason) = world.reached(name, "Pending").unwrap_or_else(|| panic!("{name} did not wait"));
        let reason = reason.expect("a reason");
        assert!(reason.contains(if one_at_a_time { "of the same BuildConfig" } else { "slots of" }), "{reason}");
    }
    world::check_nothing_left(world);
}

#[test]
fn eight_of_one_build_config() {
    if !world::can_run() {
        return;
    }
    let world = limited();
    let url = world.layered("line", "RUN echo a > /a");
    let names: Vec<_> = (0..BUILDS).map(|_| world.submit(&url, &[])).collect();
    check(&world, &names, true);
    // Each has its own release: the first is 1, the last is 8, and `latest` is the last.
    let numbers: Vec<_> = names.iter().map(|name| name.rsplit('-').next().expect("a number").to_owned()).collect();
    assert_eq!(numbers, (1..=BUILDS).map(|number| number.to_string()).collect::<Vec<_>>());
    let tags = world.tags("test/line");
    for release in 1..=BUILDS {
        assert!(tags.contains(&format!("1-{release}")), "{tags:?}");
    }
    let manifest = |tag: &str| world.registry_get(&format!("/v2/test/line/manifests/{tag}")).1;
    assert_eq!(manifest("latest"), manifest(&format!("1-{BUILDS}")));
}

#[test]
fn eight_of_eight_build_configs() {
    if !world::can_run() {
        return;
    }
    let world = limited();
    let urls: Vec<_> = (0..BUILDS).map(|number| world.layered(&format!("wide{number}"), "RUN echo a > /a")).collect();
    let names: Vec<_> = urls.iter().map(|url| world.submit(url, &[])).collect();
    check(&world, &names, false);
}

/// All at the same moment, by eight processes: the order is theirs, the limit is not.
#[test]
fn eight_submitted_by_eight() {
    if !world::can_run() {
        return;
    }
    let world = limited();
    let url = world.layered("crowd", "");
    let children: Vec<_> = (0..BUILDS).map(|_| world.start_build(&url, &[])).collect();
    let codes: Vec<_> =
        children.into_iter().map(|child| world::done(child.wait_with_output().expect("osbs ends"))).collect();
    for done in &codes {
        assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    }
    let builds = world.builds();
    let mut orchestrators: Vec<_> = builds.iter().filter(|build| build["type"] == "orchestrator").collect();
    orchestrators.sort_by(|a, b| seconds(&a["created"]).total_cmp(&seconds(&b["created"])));
    let spans: Vec<_> =
        orchestrators.iter().map(|build| ran(&world, build["name"].as_str().expect("a name"))).collect();
    assert_eq!((spans.len(), most_at_once(&spans)), (BUILDS, 1), "{spans:#?}");
    assert!(spans.is_sorted_by(|a, b| a.to <= b.from), "{spans:#?}");
    world::check_nothing_left(&world);
}
