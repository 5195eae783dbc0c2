//! The hub is killed in the middle of uploads and imports, at many moments: afterwards a build is there as a whole or not
//! at all, and the same import again succeeds.

use crate::fixture::*;
use crate::harness::PATIENCE;
use crate::process::{HubProcess, Remote, prepare};
use osbs_koji::{Arguments, Value};
use std::path::Path;
use std::time::{Duration, Instant};

/// An upload that takes a while.
const BULK: usize = 6 << 20;

/// Moments at which the hub is killed.
const KILLS: u32 = 24;

fn attempt(remote: &Remote, directory: &str, release: &str) -> Option<()> {
    let bulk = vec![b'x'; BULK];
    for (name, bytes) in [("bulk.tar", &*bulk), (IMAGE, IMAGE_BYTES), (LOG, LOG_BYTES)] {
        let answer = remote.upload(directory, name, bytes)?.ok()?;
        assert_eq!(answer.get("size").as_int(), Some(bytes.len() as i64));
    }
    let sent = Value::from_json(&metadata(release));
    remote.call("CGImport", Arguments::of([sent, directory.into()]))?.ok().map(drop)
}

fn build(remote: &Remote, release: &str) -> Value {
    remote.call("getBuild", Arguments::of([format!("{PACKAGE}-2.4-{release}").into()])).unwrap().unwrap()
}

/// A build is whole: its record, its archive's record, its files.
fn check_whole(remote: &Remote, folder: &Path, release: &str) {
    let build = build(remote, release);
    assert_eq!(build.get("state"), &Value::Int(1), "{release}");
    let archives = remote.call("listArchives", Arguments::of([build.get("id").clone()])).unwrap().unwrap();
    assert_eq!(archives.as_array().unwrap().len(), 1, "{release}");
    let place = folder.join(format!("packages/{PACKAGE}/2.4/{release}"));
    assert_eq!(std::fs::read(place.join("images").join(IMAGE)).unwrap(), IMAGE_BYTES);
    assert_eq!(std::fs::read(place.join("data/logs").join(LOG)).unwrap(), LOG_BYTES);
    assert!(place.join("metadata.json").is_file());
}

#[test]
fn a_hub_killed_at_any_moment_has_whole_builds_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut hub = HubProcess::start(folder.path());
    prepare(hub.address);
    let remote = Remote::login(hub.address, "reactor").unwrap();
    // How long all of it takes here: the moments lie within, and some behind, as a hub that has just started is slower.
    let begun = Instant::now();
    attempt(&remote, "koji-upload/0", "0").unwrap();
    let whole = begun.elapsed() * 3;
    let mut seen = [0, 0];
    for kill in 1..=KILLS {
        let release = kill.to_string();
        let remote = Remote::login(hub.address, "reactor").unwrap();
        let (address, moment) = (release.clone(), whole * kill / KILLS);
        let worker = std::thread::spawn(move || attempt(&remote, &format!("koji-upload/{address}"), &address));
        std::thread::sleep(moment);
        hub.kill();
        let answered = worker.join().unwrap().is_some();
        hub = HubProcess::start(folder.path());
        let remote = Remote::login(hub.address, "reactor").unwrap();
        let left = folder.path().join("importing");
        assert!(!left.exists() || std::fs::read_dir(left).unwrap().next().is_none(), "{release}");
        let there = !build(&remote, &release).is_nil();
        seen[usize::from(there)] += 1;
        if there {
            check_whole(&remote, folder.path(), &release);
            continue;
        }
        assert!(!answered, "an answered import is gone: {release}");
        assert!(!folder.path().join(format!("packages/{PACKAGE}/2.4/{release}")).exists(), "{release}");
        // The very same once more.
        attempt(&remote, &format!("koji-upload/{release}"), &release).expect("the same import succeeds");
        check_whole(&remote, folder.path(), &release);
    }
    println!(
        "killed at {KILLS} moments within {whole:?}: {} builds were there afterwards, {} were not",
        seen[1], seen[0]
    );
}

#[test]
fn two_hundred_tasks_need_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(folder.path());
    let remote = Remote::login(hub.address, "mwells").unwrap();
    let call = |method: &str, arguments: Arguments| remote.call(method, arguments).unwrap().unwrap();
    let mut tasks = Vec::new();
    for _ in 0..200 {
        let arguments = Arguments::of(["git://example.com/x#1".into(), TAG.into(), Value::members([])]);
        tasks.push(call("buildContainer", arguments));
    }
    // As many watchers as tasks, three turns each, eight at a time.
    let begun = Instant::now();
    let mut slowest = Duration::ZERO;
    std::thread::scope(|scope| {
        let watchers = tasks.chunks(25).map(|tasks| {
            scope.spawn(|| {
                let mut slowest = Duration::ZERO;
                for task in tasks.iter().cycle().take(3 * tasks.len()) {
                    let begun = Instant::now();
                    for method in ["getTaskInfo", "getTaskChildren", "listTaskOutput"] {
                        call(method, Arguments::of([task.clone()]));
                    }
                    slowest = slowest.max(begun.elapsed());
                }
                slowest
            })
        });
        for watcher in watchers.collect::<Vec<_>>() {
            slowest = slowest.max(watcher.join().unwrap());
        }
    });
    let listed = call("listTasks", Arguments::of([Value::members([("decode", true.into())])]));
    assert_eq!(listed.as_array().unwrap().len(), 200);
    let (peak, own) = (hub.memory("VmHWM"), hub.memory("RssAnon"));
    println!(
        "200 tasks, 600 turns of watchers in {:?}, the slowest {slowest:?}; {own} KiB of the hub's own, at most {peak} with its program",
        begun.elapsed()
    );
    assert!(own < 100 * 1024, "{own} KiB");
    assert!(slowest < PATIENCE);
}
