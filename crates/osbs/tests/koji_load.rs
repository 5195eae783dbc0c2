//! `osbs hub` and `osbs kojid`, each a process of its own, with much to do: many tasks in few slots while everybody
//! watches, and a build that writes more lines than fit in memory. Few and short here; the whole by hand:
//! `OSBS_TEST_TASKS=200`, `OSBS_TEST_LINES=1000000`.
#![allow(clippy::print_stdout, reason = "tells what was measured")]

mod world;

use osbs_koji::calls::OutputPart;
use osbs_koji::{Arguments, Koji, MethodCall, TaskState, calls};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use world::hub::{HOST, PASSWORD, TestHub, USER};
use world::{World, can_run};

/// What the hub and the builder may hold each, in bytes.
const MOST_MEMORY: u64 = 100 << 20;
/// How often a watcher asks; the official client waits three times as long.
const POLL: Duration = Duration::from_secs(2);
/// The official client's own poll: no round of questions may take longer.
const LONGEST_ROUND: Duration = Duration::from_secs(6);
/// What the official client reads at once.
const PIECE: i64 = 16_384;
/// Two platforms on one machine.
const TWO_PLATFORMS: &str = "clusters:\n  x86_64: [{name: local, max_concurrent_builds: 4}]\n  \
    second: [{name: local, max_concurrent_builds: 4}]\n\
    platform_descriptors: [{platform: second, architecture: amd64}]\n";

/// A process that dies with this.
struct Process(Child);

impl Process {
    /// The most memory that it has held so far, in bytes.
    fn peak(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a figure");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
    }

    /// Processor seconds that it has used so far.
    fn seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).expect("it runs");
        let fields: Vec<&str> = stat.rsplit(')').next().expect("a name").split_whitespace().collect();
        let ticks = |index: usize| fields[index].parse::<u32>().map_or(0.0, f64::from);
        // A tick is a hundredth of a second on every Linux.
        (ticks(11) + ticks(12)) / 100.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A site of processes; the hub of tests sets it up, and its clients ask it.
struct Site {
    builder: Process,
    server: Process,
    hub: TestHub,
    world: World,
}

impl Site {
    fn start(instance: &str, reactor: &str, package: &str) -> Self {
        let world = World::new();
        world.write_conf(instance, reactor);
        let mut hub = TestHub::start(world.folder.path(), &[package]);
        if reactor.contains("second") {
            let edit = Arguments::of(["f43-build".into()]).named("arches", "x86_64 second");
            hub.call(&hub.log_in("kojiadmin"), MethodCall::raw("editTag2", edit));
        }
        hub.pause();
        let server = serve(&world, &hub);
        let conf = format!(
            "[kojid]\nserver = {}\nuser = {HOST}\npassword = {PASSWORD}\nsleeptime = 1\nallowed_scms = *:{}/*\n",
            hub.url(),
            world.folder.path().display()
        );
        fs::write(world.path("kojid.conf"), conf).expect("written");
        let log = fs::File::create(world.path("kojid.log")).expect("a log");
        let mut command = world.command(&["kojid", "--kojid-config"]);
        let child = command.arg(world.path("kojid.conf")).stdout(Stdio::null()).stderr(log).spawn();
        Self { builder: Process(child.expect("osbs starts")), server, hub, world }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.world.path("kojid.log")).unwrap_or_default()
    }

    #[track_caller]
    fn check_memory(&self) {
        for (name, process) in [("hub", &self.server), ("kojid", &self.builder)] {
            let (peak, seconds) = (process.peak(), process.seconds());
            println!("{name}: at most {} MB, {seconds:.1} s of processor time", peak >> 20);
            assert!(peak < MOST_MEMORY, "{name}: {peak} bytes");
        }
    }
}

/// `osbs hub serve` with the data and on the port of the hub of tests.
fn serve(world: &World, hub: &TestHub) -> Process {
    let mut command = world.command(&["hub", "--dir"]);
    command.arg(&hub.topdir).args(["serve", "--listen", &format!("127.0.0.1:{}", hub.port)]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("osbs starts");
    let out = child.stdout.take().expect("piped");
    let server = Process(child);
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let _ = BufReader::new(out).read_line(&mut line);
        let _ = sender.send(line);
    });
    let line = receiver.recv_timeout(Duration::from_mins(2)).expect("the hub says where it listens");
    assert_eq!(line.trim(), hub.url());
    server
}

fn figure(name: &str, usual: usize) -> usize {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// One round of what `koji watch-logs` asks: state, files, and what is new in each. `true`: the task has ended.
async fn look(koji: &Koji, task: i64, read: &mut BTreeMap<String, i64>) -> bool {
    let info = koji.call(calls::get_task_info(task, false)).await.expect("an answer").expect("the task");
    for file in koji.call(calls::list_task_output(task)).await.expect("an answer") {
        let offset = read.entry(file.name.clone()).or_default();
        loop {
            let part = OutputPart { name: &file.name, offset: *offset, size: PIECE, volume: None };
            let bytes = koji.call(calls::download_task_output(task, part)).await.expect("an answer");
            *offset += i64::try_from(bytes.len()).expect("small");
            if bytes.is_empty() {
                break;
            }
        }
    }
    info.state.is_finished()
}

/// Watches a task to its end; the longest round, and how much was read.
async fn watch(koji: Koji, task: i64, deadline: Instant) -> (Duration, i64) {
    let (mut read, mut longest) = (BTreeMap::new(), Duration::ZERO);
    // Not all at the same moment.
    tokio::time::sleep(POLL.mul_f64((task % 20) as f64 / 20.0)).await;
    loop {
        let started = Instant::now();
        let has_ended = look(&koji, task, &mut read).await;
        longest = longest.max(started.elapsed());
        if has_ended {
            return (longest, read.values().sum());
        }
        assert!(Instant::now() < deadline, "task {task} does not end");
        tokio::time::sleep(POLL.saturating_sub(started.elapsed())).await;
    }
}

/// Two slots, and a watcher for every task in the queue.
#[test]
fn many_tasks_wait_for_two_slots() {
    if !can_run() {
        return;
    }
    let count = figure("OSBS_TEST_TASKS", 8);
    let site = Site::start("can_orchestrate = true\nmax_concurrent_builds = 2\n", "", "web-container");
    let source = format!("git+{}#main", site.world.layered("web", "COPY file.txt /"));
    let user = site.hub.log_in(USER);
    let options = [("git_branch", "main".into()), ("scratch", true.into())];
    let started = Instant::now();
    let tasks: Vec<i64> = (0..count).map(|_| site.hub.build_container(&user, &source, &options)).collect();
    println!("{count} tasks queued in {:.1} s", started.elapsed().as_secs_f64());
    let deadline = started + Duration::from_secs(120 + 30 * count as u64);
    let (mut longest, mut bytes) = (Duration::ZERO, 0);
    let mut most_at_once = 0;
    site.hub.runtime.block_on(async {
        let mut watchers = JoinSet::new();
        for task in &tasks {
            watchers.spawn(watch(site.hub.anonymous(), *task, deadline));
        }
        let counter = site.hub.anonymous();
        while !watchers.is_empty() {
            tokio::select! {
                Some(ended) = watchers.join_next() => {
                    let (round, read) = ended.expect("a watcher ends well");
                    longest = longest.max(round);
                    bytes += read;
                }
                () = tokio::time::sleep(POLL / 2) => {
                    let mut open = 0;
                    for task in &tasks {
                        let info = counter.call(calls::get_task_info(*task, false)).await.expect("an answer");
                        open += usize::from(info.is_some_and(|info| info.state == TaskState::Open));
                    }
                    most_at_once = most_at_once.max(open);
                }
            }
        }
    });
    let seconds = started.elapsed().as_secs_f64();
    println!("{count} tasks in {seconds:.1} s, at most {most_at_once} at once, watchers read {bytes} bytes");
    println!("longest round of a watcher that asks every {POLL:?}: {longest:?}");
    for task in &tasks {
        assert_eq!(site.hub.task(*task).state, TaskState::Closed, "{}", site.log());
    }
    assert!(most_at_once <= 2, "{most_at_once}");
    assert!(longest < LONGEST_ROUND, "{longest:?}");
    site.check_memory();
}

/// A repository that needs no parent image, which would have to be there for two platforms, and writes `count` rows.
fn loud(world: &World, count: usize) -> String {
    let bin = world.path("git/loud/bin");
    fs::create_dir_all(&bin).expect("made");
    fs::copy(world.path("base/root/bin/busybox"), bin.join("busybox")).expect("busybox is there");
    for name in ["sh", "seq", "sed"] {
        std::os::unix::fs::symlink("busybox", bin.join(name)).expect("made");
    }
    let dockerfile = format!(
        "FROM scratch\nLABEL name=test/loud com.redhat.component=loud-container version=1\nCOPY bin /bin\nENV PATH=/bin\n\
         RUN seq 1 {count} | sed 's/^/row /'\n"
    );
    format!("git+{}#main", world.repository("loud", &[("Dockerfile", &dockerfile)]))
}

/// Every line of two platforms reaches the hub once, in order, in the platform's file and in the mixed one; and a watcher
/// who reads piece by piece while the build runs has read the same.
#[test]
fn no_line_of_two_platforms_is_lost() {
    if !can_run() {
        return;
    }
    let count = figure("OSBS_TEST_LINES", 20_000);
    let site = Site::start("can_orchestrate = true\n", TWO_PLATFORMS, "loud-container");
    let source = loud(&site.world, count);
    let user = site.hub.log_in(USER);
    let options = [("git_branch", "main".into()), ("scratch", true.into())];
    let started = Instant::now();
    let task = site.hub.build_container(&user, &source, &options);
    let has_ended = AtomicBool::new(false);
    let patience = 180 + count as u64 / 500;
    let watched = std::thread::scope(|scope| {
        let watchers = ["x86_64.log", "second.log"].map(|name| {
            let (koji, has_ended) = (site.hub.anonymous(), &has_ended);
            scope.spawn(move || follow(&koji, task, name, has_ended, patience))
        });
        let deadline = Instant::now() + Duration::from_secs(patience);
        while !site.hub.task(task).state.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(200));
        }
        println!("{count} lines of each platform in {:.1} s", started.elapsed().as_secs_f64());
        has_ended.store(true, Ordering::Release);
        watchers.map(|watcher| watcher.join().expect("a watcher ends well"))
    });
    println!("watched to the end in {:.1} s", started.elapsed().as_secs_f64());
    assert_eq!(site.hub.task(task).state, TaskState::Closed, "{}", site.log());
    let folder = site.hub.topdir.join("work").join(osbs_koji::task_directory(task));
    for (name, (length, rows)) in ["x86_64.log", "second.log"].into_iter().zip(watched) {
        assert_eq!(rows, count, "{name}: rows that a watcher read");
        assert_eq!(length, fs::metadata(folder.join(name)).expect("a log").len(), "{name}: bytes that a watcher read");
        let mut rows = Rows::default();
        let log = BufReader::new(fs::File::open(folder.join(name)).expect("a log"));
        log.split(b'\n').for_each(|line| rows.see(&line.expect("read")));
        assert_eq!(rows.seen, count, "{name}");
    }
    let mut mixed = [Rows::default(), Rows::default()];
    let log = BufReader::new(fs::File::open(folder.join("openshift-incremental.log")).expect("a log"));
    for line in log.split(b'\n') {
        let line = line.expect("read");
        match world::lines::platform(&line) {
            Some(b"x86_64") => mixed[0].see(&line),
            Some(b"second") => mixed[1].see(&line),
            _ => {}
        }
    }
    assert_eq!(mixed.map(|rows| rows.seen), [count, count], "each platform's rows in the mixed log");
    site.check_memory();
}

/// Lines that end in `row NUMBER`, which must come once each and in order.
#[derive(Default)]
struct Rows {
    seen: usize,
}

impl Rows {
    #[track_caller]
    fn see(&mut self, line: &[u8]) {
        let Some((_, number)) = std::str::from_utf8(line).ok().and_then(|line| line.rsplit_once(" - row ")) else {
            return;
        };
        self.seen += 1;
        assert_eq!(number.parse(), Ok(self.seen), "rows come in order");
    }
}

/// Reads a file of a task while it grows, as `koji watch-logs` does: its bytes, and its rows.
fn follow(koji: &Koji, task: i64, name: &str, has_ended: &AtomicBool, patience: u64) -> (u64, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let deadline = Instant::now() + Duration::from_secs(patience + 60);
    let (mut offset, mut rows, mut rest) = (0, Rows::default(), Vec::new());
    while Instant::now() < deadline {
        let is_last = has_ended.load(Ordering::Acquire);
        let part = OutputPart { name, offset, size: PIECE, volume: None };
        // It is no error that the file is not there yet.
        let bytes = runtime.block_on(koji.call(calls::download_task_output(task, part))).unwrap_or_default();
        if bytes.is_empty() {
            if is_last {
                break;
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        offset += i64::try_from(bytes.len()).expect("small");
        rest.extend_from_slice(&bytes);
        let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        rest.drain(..whole).as_slice().split(|byte| *byte == b'\n').for_each(|line| rows.see(line));
    }
    (offset.unsigned_abs(), rows.seen)
}
