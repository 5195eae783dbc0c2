//! What the official `koji` prints at our hub is what it prints given a real one's recorded answers
//! (`integrations/koji/tests/stock`). For a hub that is in the state of the recorded exchanges.

#![allow(clippy::print_stdout, reason = "tells why it was skipped")]

use crate::harness::{PASSWORD, TestHub};
use osbs_koji::TaskState;
use serde_json::Value as Json;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Commands whose expected output is of a moment in which something goes on: each has a function of its own.
const OF_A_MOMENT: [&str; 6] = ["watch-task", "list-builds", "list-tasks", "list-tasks-mine", "cancel", "cancel-task"];

/// Every wait ends.
const PATIENCE: Duration = Duration::from_mins(2);

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

/// The program, the recorded outputs, and what differs from them.
struct Stock {
    folder: tempfile::TempDir,
    program: PathBuf,
    commands: Vec<Json>,
    address: String,
    problems: Vec<String>,
}

fn stock() -> PathBuf {
    project().join("integrations/koji/tests/stock")
}

impl Stock {
    /// `None` where there is no such program.
    fn new(hub: &TestHub) -> Option<Self> {
        if std::env::var_os("OSBS_TEST_SKIP_REAL").is_some() {
            println!("skipped: OSBS_TEST_SKIP_REAL is set");
            return None;
        }
        let commands = serde_json::from_slice(&fs::read(stock().join("commands.json")).unwrap()).unwrap();
        let (folder, address) = (tempfile::tempdir().unwrap(), hub.address.to_string());
        let conf =
            format!("[koji]\nserver = http://{address}/kojihub\nweburl = x\nauthtype = password\npoll_interval = 1\n");
        fs::write(folder.path().join("koji.conf"), conf).unwrap();
        Some(Self { folder, program: programs().join("koji"), commands, address, problems: Vec::new() })
    }

    fn named(&self, name: &str) -> Json {
        self.commands.iter().find(|command| command["name"] == name).expect("it is recorded").clone()
    }

    /// Starts it; `at_once`: what it prints is read while it runs.
    fn start(&self, command: &Json, at_once: bool) -> Child {
        let mut koji = Command::new("timeout");
        koji.args(["--kill-after=5", "120"]).arg(&self.program).arg("-c").arg(self.folder.path().join("koji.conf"));
        koji.args(["--user", "mwells", "--password", PASSWORD]);
        koji.args(command["arguments"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap()));
        koji.env_clear().env("HOME", self.folder.path()).env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8");
        koji.env("TZ", "UTC");
        if at_once {
            koji.env("PYTHONUNBUFFERED", "1");
        }
        koji.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn compare(&mut self, command: &Json, output: &Output) {
        let name = command["name"].as_str().unwrap();
        let shown = normalised(&String::from_utf8_lossy(&output.stdout), &self.address);
        let expected = normalised(&fs::read_to_string(stock().join(format!("{name}.txt"))).unwrap(), &self.address);
        if shown != expected || output.status.code().map(i64::from) != command["status"].as_i64() {
            let err = String::from_utf8_lossy(&output.stderr);
            self.problems.push(format!("{name} ({}):\n{shown}{err}expected:\n{expected}", output.status));
        }
    }

    fn run(&mut self, command: &Json) {
        let output = self.start(command, false).wait_with_output().unwrap();
        self.compare(command, &output);
    }
}

/// The moment at which there was one build.
pub fn check_builds(hub: &TestHub) {
    let Some(mut stock) = Stock::new(hub) else { return };
    stock.run(&stock.named("list-builds"));
    assert!(stock.problems.is_empty(), "{}", stock.problems.join("\n"));
}

/// Runs every other command and compares: those that fit the state at the end, then those of a moment.
pub fn check(hub: &TestHub) {
    let Some(mut stock) = Stock::new(hub) else { return };
    for command in stock.commands.clone() {
        if !OF_A_MOMENT.contains(&command["name"].as_str().unwrap()) {
            stock.run(&command);
        }
    }
    check_cancel(hub, &mut stock);
    check_lists(hub, &mut stock);
    check_watch(hub, &mut stock);
    assert!(stock.problems.is_empty(), "{}", stock.problems.join("\n"));
}

/// A task in a state, given to the host just now.
fn set_task(hub: &TestHub, task: i64, state: TaskState) {
    let host = matches!(state, TaskState::Open | TaskState::Assigned).then_some(4);
    let sql = "UPDATE task SET state = ?, host_id = coalesce(?, host_id), assign_time = ? WHERE id = ?";
    let now = hub.clock.load(std::sync::atomic::Ordering::SeqCst);
    let database = hub.database();
    database.execute("UPDATE host SET update_time = ? WHERE id = 4", [now]).unwrap();
    assert_eq!(database.execute(sql, rusqlite::params![state as i64, host, now, task]).unwrap(), 1);
}

fn state(hub: &TestHub, task: i64) -> i64 {
    hub.database().query_row("SELECT state FROM task WHERE id = ?", [task], |row| row.get(0)).unwrap()
}

/// Silent, and done; also where one of two things is not there.
fn check_cancel(hub: &TestHub, stock: &mut Stock) {
    for name in ["cancel-task", "cancel"] {
        set_task(hub, 30, TaskState::Open);
        stock.run(&stock.named(name));
        assert_eq!(state(hub, 30), TaskState::Canceled as i64, "{name}");
    }
}

fn check_lists(hub: &TestHub, stock: &mut Stock) {
    hub.database().execute("UPDATE task SET state = 3 WHERE state IN (0, 1, 4)", []).unwrap();
    set_task(hub, 31, TaskState::Open);
    stock.run(&stock.named("list-tasks"));
    stock.run(&stock.named("list-tasks-mine"));
    set_task(hub, 31, TaskState::Canceled);
}

/// A task is taken and done while somebody watches.
fn check_watch(hub: &TestHub, stock: &mut Stock) {
    let command = stock.named("watch-task");
    set_task(hub, 26, TaskState::Assigned);
    let mut child = stock.start(&command, true);
    let (mut lines, mut shown) = (BufReader::new(child.stdout.take().unwrap()).lines(), String::new());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || lines.by_ref().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let mut read = |until: &str| {
        while !shown.ends_with(until) {
            match receiver.recv_timeout(PATIENCE) {
                Ok(line) => shown.push_str(&format!("{line}\n")),
                Err(_) => break,
            }
        }
        shown.clone()
    };
    let host = "(kojibuilder03.example.com)\n";
    read(&format!(": assigned {host}"));
    set_task(hub, 26, TaskState::Open);
    read(&format!("-> open {host}"));
    set_task(hub, 26, TaskState::Closed);
    let shown = read("what is never said");
    let mut output = child.wait_with_output().unwrap();
    output.stdout = shown.into_bytes();
    stock.compare(&command, &output);
}
