//! What the official `koji` prints at our hub is what it prints given a real one's recorded answers
//! (`integrations/koji/tests/stock`). For a hub that is in the state of the recorded exchanges.

#![allow(clippy::print_stdout, reason = "tells why it was skipped")]

use crate::harness::{PASSWORD, TestHub};
use serde_json::Value as Json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Commands whose expected output is of a moment that has passed in that state, or that change something.
const OF_ANOTHER_MOMENT: [&str; 6] =
    ["watch-task", "list-builds", "list-tasks", "list-tasks-mine", "cancel", "cancel-task"];

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The folder with the program.
fn programs() -> PathBuf {
    let cache = std::env::var_os("OSBS_TEST_CACHE").map_or_else(|| project().join(".cache"), PathBuf::from);
    let found = Command::new(project().join("scripts/koji.sh")).arg("bin").arg(cache).output().unwrap();
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    PathBuf::from(String::from_utf8(found.stdout).unwrap().trim())
}

/// Without what differs from run to run: times, and the hub's address.
fn normalised(text: &str, address: &str) -> String {
    let plain = text.replace(address, "127.0.0.1:PORT");
    let timed = ["Created: ", "Started: ", "Finished: "];
    let line = |line: &str| match timed.iter().find(|start| line.starts_with(**start)) {
        Some(start) => format!("{start}TIME\n"),
        // One of many greetings.
        None => line.split_once(", mwells!").map_or_else(|| format!("{line}\n"), |_| "GREETING, mwells!\n".to_owned()),
    };
    plain.lines().map(line).collect::<Vec<_>>().concat()
}

/// Runs every command that fits the state, and compares.
pub fn check(hub: &TestHub) {
    if std::env::var_os("OSBS_TEST_SKIP_REAL").is_some() {
        println!("skipped: OSBS_TEST_SKIP_REAL is set");
        return;
    }
    let stock = project().join("integrations/koji/tests/stock");
    let commands: Json = serde_json::from_slice(&fs::read(stock.join("commands.json")).unwrap()).unwrap();
    let (folder, programs) = (tempfile::tempdir().unwrap(), programs());
    let address = hub.address.to_string();
    let conf =
        format!("[koji]\nserver = http://{address}/kojihub\nweburl = x\nauthtype = password\npoll_interval = 1\n");
    fs::write(folder.path().join("koji.conf"), conf).unwrap();
    let mut problems = Vec::new();
    for command in commands.as_array().unwrap() {
        let name = command["name"].as_str().unwrap();
        if OF_ANOTHER_MOMENT.contains(&name) {
            continue;
        }
        let mut koji = Command::new("timeout");
        koji.args(["--kill-after=5", "120"]).arg(programs.join("koji")).arg("-c").arg(folder.path().join("koji.conf"));
        koji.args(["--user", "mwells", "--password", PASSWORD]);
        koji.args(command["arguments"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap()));
        koji.env_clear().env("HOME", folder.path()).env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8");
        let output = koji.env("TZ", "UTC").stdin(Stdio::null()).output().unwrap();
        let shown = normalised(&String::from_utf8_lossy(&output.stdout), &address);
        let expected = normalised(&fs::read_to_string(stock.join(format!("{name}.txt"))).unwrap(), &address);
        if shown != expected || output.status.code().map(i64::from) != command["status"].as_i64() {
            let err = String::from_utf8_lossy(&output.stderr);
            problems.push(format!("{name} ({}):\n{shown}{err}expected:\n{expected}", output.status));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
