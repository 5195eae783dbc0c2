//! The conformance tests of all clusters, unchanged, on a real Kubernetes; then what only Kubernetes can do to it: writers
//! that are at it together, a restarted API server, watches that expired, many builds and few slots.
//!
//! Builds are pods of an image that holds this very program: it is the runner there, and what runs inside.
//! Needs: what scripts/kubernetes.sh needs. `OSBS_TEST_SKIP_REAL=1` skips. OSBS_TEST_BUILDS: how many builds queue up.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is its own test harness")]

mod cases;
mod image;
#[path = "../../../osbs/tests/world/kubernetes.rs"]
mod kubernetes;
mod pod;
mod queue;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;
use world::World;

/// One test.
type Case = (&'static str, fn(&World));

/// Beside each other, each in namespaces of its own: most of their time they wait for pods.
const TOGETHER: &[&[Case]] = &[
    &[("conforms", cases::conforms)],
    &[
        ("builds_queue_up", queue::builds_queue_up),
        ("many_writers", cases::many_writers),
        ("what_is_old_is_removed", cases::what_is_old_is_removed),
        ("a_granted_build_starts_though_its_granter_died", queue::a_granted_build_starts_though_its_granter_died),
    ],
];
/// What happens to the cluster in these happens to all that is in it.
const ALONE: &[Case] = &[
    ("the_api_server_is_restarted_while_somebody_waits", cases::the_api_server_is_restarted_while_somebody_waits),
    ("etcd_stands_still", cases::etcd_stands_still),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("run-pod") => pod::run_pod(&args[1]),
        Some("inside") => pod::inside(),
        Some("--list") => ExitCode::SUCCESS,
        _ => run_cases(args.iter().find(|arg| !arg.starts_with('-')).map_or("", String::as_str)),
    }
}

fn run_cases(filter: &str) -> ExitCode {
    if !kubernetes::can_run_kubernetes() {
        return ExitCode::SUCCESS;
    }
    let begun = Instant::now();
    let world = World::start();
    println!("Kubernetes and the image are there ({:.1} s)", begun.elapsed().as_secs_f32());
    let run = |cases: &'static [Case]| -> Vec<&'static str> {
        let wanted = cases.iter().filter(|(name, _)| name.contains(filter));
        wanted.filter(|case| !succeeds(case, &world)).map(|(name, _)| *name).collect()
    };
    let mut failed: Vec<_> = std::thread::scope(|scope| {
        let groups: Vec<_> = TOGETHER.iter().map(|cases| scope.spawn(|| run(cases))).collect();
        groups.into_iter().flat_map(|group| group.join().unwrap()).collect()
    });
    failed.extend(run(ALONE));
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("{}", world.tell());
    println!("failed: {}", failed.join(", "));
    ExitCode::FAILURE
}

fn succeeds((name, case): &Case, world: &World) -> bool {
    let begun = Instant::now();
    let is_ok = catch_unwind(AssertUnwindSafe(|| case(world))).is_ok();
    println!("test {name} ... {} ({:.1} s)", if is_ok { "ok" } else { "FAILED" }, begun.elapsed().as_secs_f32());
    is_ok
}
