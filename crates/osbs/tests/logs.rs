//! No line is lost and no byte changed on the way from a RUN through worker and orchestrator to `osbs build-logs`.
#![allow(clippy::print_stdout, reason = "tells what was measured")]

mod world;

use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::time::Instant;
use world::lines::{message, platform, split};
use world::{World, can_run, check_nothing_left};

const ROWS: usize = 100_000;
const LONG: usize = 1_000_000;

/// Imitates a line of another platform, whichever way.
const LIE: &str = "2024-01-02 03:04:05,678 platform:s390x - atomic_reactor.core - INFO - lie";

fn loud(world: &World) -> String {
    let run = format!(
        "RUN busybox seq 1 {ROWS} | busybox sed 's/^/row  /'\n\
         RUN echo begin; head -c {LONG} /dev/zero | busybox tr '\\0' 'x'; echo end\n\
         RUN printf 'bytes \\377\\376 \\303\\050 \\001\\033[31m end\\n'\n\
         RUN printf '%s\\n' '{LIE}' '2024-01-02 03:04:05,678 platform:_metadata_ - x - INFO - /lie'; printf 'a\\r{LIE}\\rb\\n' >&2\n\
         RUN <<LIES\ntrue\n: {LIE}\nLIES"
    );
    world.layered("loud", &run)
}

fn sum(lines: &[&[u8]]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lines");
    std::fs::write(&path, lines.concat()).expect("written");
    let output = std::process::Command::new("sha256sum").arg(&path).output().expect("sha256sum starts");
    String::from_utf8_lossy(&output.stdout).split(' ').next().expect("a sum").to_owned()
}

/// The messages in which the program's own output stands.
#[track_caller]
fn check_content(what: &str, lines: &[&[u8]]) {
    let rows: Vec<_> = lines.iter().copied().filter(|line| line.starts_with(b"row  ")).collect();
    assert_eq!(rows.len(), ROWS, "{what}");
    let expected: Vec<_> = (1..=ROWS).map(|number| format!("row  {number}").into_bytes()).collect();
    let expected: Vec<_> = expected.iter().map(Vec::as_slice).collect();
    assert_eq!(sum(&rows), sum(&expected), "{what}: every row once and in order");
    let long = [&b"x".repeat(LONG)[..], b"end"].concat();
    assert_eq!(lines.iter().filter(|line| **line == long).count(), 1, "{what}: the long line, whole");
    let bytes = b"bytes \xff\xfe \xc3\x28 \x01\x1b[31m end";
    assert_eq!(lines.iter().filter(|line| **line == bytes).count(), 1, "{what}: bytes that are no UTF-8");
}

#[test]
fn every_byte_of_a_loud_build() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let started = Instant::now();
    let name = world.submit(&loud(&world), &[]);
    let done = world.run(&["watch-build", &name]);
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    println!("built in {:.1} s", started.elapsed().as_secs_f64());
    check_nothing_left(&world);

    let started = Instant::now();
    let log = world.log(&name, &[]);
    println!("{} lines, {} bytes shown in {:.2} s", split(&log).len(), log.len(), started.elapsed().as_secs_f64());
    let lines = split(&log);
    for line in &lines {
        let known = matches!(platform(line), Some(b"-" | b"x86_64"));
        assert!(known && message(line).is_some(), "{}", String::from_utf8_lossy(&line[..line.len().min(300)]));
    }
    let relayed: Vec<_> = lines.iter().filter_map(|line| message(line)).collect();
    check_content("orchestrator", &relayed.iter().filter_map(|line| message(line)).collect::<Vec<_>>());
    let worker = world.log(&format!("{name}-x86_64"), &[]);
    check_content("worker", &split(&worker).into_iter().filter_map(message).collect::<Vec<_>>());
    for line in split(&worker) {
        assert_eq!(platform(line), Some(&b"-"[..]), "a worker's line is the worker's");
    }
    let only = world.log(&name, &["--platform", "x86_64"]);
    check_content("--platform", &split(&only).into_iter().filter_map(message).collect::<Vec<_>>());
    assert!(world.log(&name, &["--platform", "s390x"]).is_empty(), "nobody's lie made a platform");
    world.check_grep(&name, "x86_64");
    check_selections(&world, &name, &log);
    check_json(&world, &name, lines.len());
}

/// `--since`, `--platform -`, and the follower of a build that has ended.
#[track_caller]
fn check_selections(world: &World, name: &str, log: &[u8]) {
    let total = split(log).len();
    for since in [0, 1, 17, total - 3, total, total + 5] {
        let rest = world.log(name, &["--since", &since.to_string()]);
        let skipped: usize = split(log).iter().take(since).map(|line| line.len() + 1).sum();
        assert!(rest == log[skipped..], "--since {since}");
    }
    let own = world.log(name, &["--platform", "-"]);
    let expected: Vec<_> = split(log).into_iter().filter(|line| platform(line) == Some(b"-")).collect();
    assert!(split(&own) == expected, "the orchestrator's own lines");
    assert!(world.log(name, &["--follow"]) == log, "following a build that has ended shows all of it and ends");
    // A reader that has enough is no error.
    let program = world.command(&["build-logs", name]);
    let mut program = { program }.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("osbs starts");
    let mut some = [0; 100];
    program.stdout.take().expect("a pipe").read_exact(&mut some).expect("a log");
    let ended = program.wait_with_output().expect("osbs ends");
    assert!(ended.status.success() && ended.stderr.is_empty(), "{}", String::from_utf8_lossy(&ended.stderr));
}

/// One JSON object a line; what is no UTF-8 is base64.
#[track_caller]
fn check_json(world: &World, name: &str, least: usize) {
    let log = world.log(name, &["--output", "json"]);
    let events: Vec<Value> = split(&log).iter().map(|line| serde_json::from_slice(line).expect("JSON")).collect();
    assert_eq!(events.len(), least, "an event a line");
    for event in &events {
        assert!(event["event"] == "log" && event["time"].is_string() && event["logger"].is_string(), "{event}");
        assert!(event["message"].is_string() != event["bytes"].is_string(), "{event}");
    }
    assert_eq!(events.iter().filter(|event| event["bytes"].is_string()).count(), 1);
    assert!(events.iter().any(|event| event["platform"] == "x86_64"));
}

#[test]
fn a_running_build_is_followed_live() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let ticks = "RUN for i in 1 2 3 4 5 6; do echo tick $i; sleep 0.5; done; yes spam | head -n 3000; echo last words";
    let url = world.layered("slow", ticks);
    let name = world.submit(&url, &[]);
    let mut follower = world
        .command(&["build-logs", &name, "--follow", "--wait-if-missing"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("osbs starts");
    let mut seen = Vec::new();
    let mut reader = BufReader::new(follower.stdout.take().expect("a pipe"));
    loop {
        let mut line = Vec::new();
        assert_ne!(reader.read_until(b'\n', &mut line).expect("readable"), 0, "the log ended before the first tick");
        seen.extend_from_slice(&line);
        if line.ends_with(b"tick 1\n") {
            break;
        }
    }
    assert_eq!(world.status(&name), "Running", "the line is shown as it comes");
    let early = world.log(&name, &[]);
    assert!(early.starts_with(&seen) && !early.ends_with(b"last words\n"), "without --follow: what there is so far");
    reader.read_to_end(&mut seen).expect("readable");
    assert!(follower.wait().expect("it ends by itself").success());
    let all = world.log(&name, &[]);
    assert!(seen == all, "a follower sees all of it, also what came last");
    let rest = world.log(&name, &["--since", &split(&early).len().to_string()]);
    assert!([early, rest].concat() == all, "going on where an earlier reader stopped");
    assert_eq!(split(&all).iter().filter(|line| line.ends_with(b" - spam")).count(), 3000);
    world.check_grep(&name, "x86_64");
}

#[test]
fn a_failed_build_names_no_platform_in_foreign_lines() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let name = world.submit(&world.layered("broken", "RUN echo on its way down; false"), &[]);
    assert_eq!(world.run(&["watch-build", &name]).code, 1);
    world.check_grep(&name, "x86_64");
    let log = String::from_utf8_lossy(&world.log(&name, &["--platform", "x86_64"])).into_owned();
    assert!(log.contains("on its way down") && log.contains("exit code 1"), "{log}");
}
