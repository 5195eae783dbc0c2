//! Builds run for real: runner processes (this very program), a shell script instead of the reactor, `kill -9`, waiting,
//! cancelling, recovery. Needs root, as builds do.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is its own test harness")]

mod cases;
mod remains;
mod secrets;
mod site;

use osbs_cluster::InsideCommand;
use osbs_cluster_local::run_build;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// One test.
pub type Case = (&'static str, fn());

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("run-build") => runner(&args[1..]),
        Some("create-worker") => cases::create_worker(&args[1..]),
        Some("create-named") => remains::create_named(&args[1..]),
        Some("create-worker-with-secret") => secrets::create_worker(&args[1..]),
        Some("--list") => ExitCode::SUCCESS,
        _ => run_cases(args.iter().find(|arg| !arg.starts_with('-')).map_or("", String::as_str)),
    }
}

/// `run-build --home HOME --namespace NAMESPACE NAME`, as the osbs program does it.
fn runner(args: &[String]) -> ExitCode {
    let [_, home, _, namespace, name] = args else { return ExitCode::FAILURE };
    let mut inside = InsideCommand::new("/bin/sh");
    inside.args.push(Path::new(home).join("stub.sh").into());
    inside.env = vec![("PATH".into(), "/usr/bin:/bin".into()), ("OSBS_HOME".into(), home.into())];
    inside.grace = std::fs::read_to_string(Path::new(home).join("grace"))
        .ok()
        .and_then(|text| text.parse().ok())
        .map_or(Duration::from_secs(30), Duration::from_millis);
    match run_build(Path::new(home), namespace, &name.parse().unwrap(), &inside) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("runner: {error:?}");
            ExitCode::FAILURE
        }
    }
}

fn run_cases(filter: &str) -> ExitCode {
    if !rustix::process::geteuid().is_root() {
        if std::env::var_os("OSBS_TEST_SKIP_REAL").is_some() {
            println!("skipped: these tests need root (namespaces, mounts)");
            return ExitCode::SUCCESS;
        }
        println!("these tests need root (namespaces, mounts); OSBS_TEST_SKIP_REAL=1 skips them");
        return ExitCode::FAILURE;
    }
    let mut failed = Vec::new();
    for (name, case) in cases::ALL.iter().filter(|(name, _)| name.contains(filter)) {
        let start = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(case));
        println!(
            "test {name} ... {} ({} ms)",
            if result.is_ok() { "ok" } else { "FAILED" },
            start.elapsed().as_millis()
        );
        if result.is_err() {
            failed.push(*name);
        }
    }
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("failed: {}", failed.join(", "));
    ExitCode::FAILURE
}
