//! Checks of the source tree that no compiler makes: `cargo xtask tidy`.
//!
//! Must stay free of dependencies, so that it builds in a second.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line program")]

mod tidy;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace");
    if std::env::args().nth(1).as_deref() != Some("tidy") {
        eprintln!("usage: cargo xtask tidy");
        return ExitCode::from(2);
    }
    let problems = tidy::check(root);
    for problem in &problems {
        eprintln!("{problem}");
    }
    if problems.is_empty() {
        println!("tidy: all crates import downwards, every file has a module comment and a readable size");
        return ExitCode::SUCCESS;
    }
    eprintln!("tidy: {} problem(s)", problems.len());
    ExitCode::FAILURE
}
