//! The plugins for the stock Koji in `integrations/koji`: their form, types and tests, which are Python;
//! and `osbs koji-build`, which is held to the same tables.
#![allow(clippy::print_stdout, reason = "tells why it was skipped")]

use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn the_plugins_for_the_stock_koji_pass_their_checks() {
    if std::env::var_os("OSBS_TEST_SKIP_REAL").is_some() {
        println!("skipped: OSBS_TEST_SKIP_REAL is set");
        return;
    }
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let cache = std::env::var_os("OSBS_TEST_CACHE").map_or_else(|| project.join(".cache"), PathBuf::from);
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after=10", "480"])
        .arg(project.join("scripts/koji.sh"))
        .arg("test")
        .arg(cache)
        .env("OSBS", env!("CARGO_BIN_EXE_osbs"));
    let output = command.output().expect("timeout starts");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{text}");
}
