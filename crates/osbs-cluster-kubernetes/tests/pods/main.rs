//! Pods of builds on a real Kubernetes: a log of a million lines that is read over connections which are cut again and again,
//! and every end that a pod can come to.
//!
//! Builds are pods of an image that holds this very program. Needs: what scripts/kubernetes.sh needs. `OSBS_TEST_SKIP_REAL=1`
//! skips. OSBS_TEST_LINES: how many lines the long log has.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is its own test harness")]

mod cutter;
mod failures;
#[path = "../conforms/image.rs"]
mod image;
mod inside;
#[path = "../../../osbs/tests/world/kubernetes.rs"]
mod kubernetes;
mod log;
#[path = "../conforms/pod.rs"]
mod pod;
mod reading;
#[path = "../conforms/world.rs"]
#[allow(dead_code, reason = "the conformance tests use more of it")]
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;
use world::World;

/// One test.
type Case = (&'static str, fn(&World));

const CASES: &[Case] = &[
    ("a_pod_deleted_right_after_its_end", log::a_pod_deleted_right_after_its_end),
    ("every_end_has_its_reason", failures::every_end_has_its_reason),
    ("servers_that_come_and_go", log::servers_that_come_and_go),
    ("a_million_lines", log::a_million_lines),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("run-pod") => pod::run_pod(&args[1]),
        Some("inside") => inside::run(),
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
    let mut failed = Vec::new();
    for (name, case) in CASES.iter().filter(|(name, _)| name.contains(filter)) {
        let begun = Instant::now();
        let is_ok = catch_unwind(AssertUnwindSafe(|| case(&world))).is_ok();
        println!("test {name} ... {} ({:.1} s)", if is_ok { "ok" } else { "FAILED" }, begun.elapsed().as_secs_f32());
        if !is_ok {
            failed.push(*name);
        }
    }
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("{}", world.tell());
    println!("failed: {}", failed.join(", "));
    ExitCode::FAILURE
}
