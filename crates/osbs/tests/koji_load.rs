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
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use world::hub::{HOST, PASSWORD, TestHub, USER, koji_source};
use world::{World, can_run};

/// What the hub and the builder may hold each, in bytes.
const MOST_MEMORY: u64 = 100 << 20;
/// How often a watcher asks; the official client waits three times as long.
const POLL: Duration = Duration::from_secs(2);
/// The official client's own poll: no round of questions may take longer.
const LONGEST_ROUND: Duration = Duration::from_secs(6);
/// What the official client reads at once.
const PIECE: i64 = 16_384;
/// The log of all platforms.
const MIXED: &str = "openshift-incremental.log";
const PLATFORMS: [&str; 2] = ["x86_64", "second"];
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
    /// `osbs hub serve`; a real hub is not measured.
    server: Option<Process>,
    hub: TestHub,
    world: World,
}

impl Site {
    fn start(instance: &str, reactor: &str, package: &str) -> Self {
        let world = World::new();
        world.write_conf(instance, reactor);
        let mut hub = TestHub::start(world.folder.path(), &[package]);
        let is_real = koji_source().is_some();
        if reactor.contains("second") {
            let edit = Arguments::of(["f43-build".into()]).named("arches", "x86_64 second");
            hub.call(&hub.log_in("kojiadmin"), MethodCall::raw("editTag2", edit));
        }
        let server = (!is_real).then(|| {
            hub.pause();
            serve(&world, &hub)
        });
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
        let hub = self.server.iter().map(|server| ("hub", server));
        for (name, process) in hub.chain([("kojid", &self.builder)]) {
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

/// Every line of two platforms reaches the hub once, in order, in the platform's file and in the mixed one; and the
/// official client, which watches while the build runs, prints the same.
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
    let mut watcher = watch_logs(&site, task);
    let ended = site.hub.wait_for(task, 180 + count as u64 / 500);
    assert_eq!(ended.state, TaskState::Closed, "{}", site.log());
    println!("{count} lines of each platform in {:.1} s", started.elapsed().as_secs_f64());
    world::wait_for("koji watch-logs ends", 180 + count as u64 / 500, || {
        watcher.0.try_wait().expect("asked").is_some_and(|status| status.success())
    });
    println!("koji watch-logs has shown all of them after {:.1} s", started.elapsed().as_secs_f64());
    let folder = site.hub.topdir.join("work").join(osbs_koji::task_directory(task));
    for platform in PLATFORMS {
        assert_eq!(rows_of(&folder.join(format!("{platform}.log")), |_| true), count, "{platform}");
    }
    let shown = site.world.path("watched");
    for log in [&folder.join(MIXED), &shown] {
        for platform in PLATFORMS {
            let is_its = |line: &[u8]| world::lines::platform(line) == Some(platform.as_bytes());
            assert_eq!(rows_of(log, is_its), count, "{platform} in {}", log.display());
        }
    }
    let shown = fs::read(shown).expect("read");
    let mixed = fs::read(folder.join(MIXED)).expect("read");
    let head = format!("Watching logs (this may be safely interrupted)...\n==> {task}:DEFAULT:{MIXED}: <==\n");
    assert!(shown == [head.as_bytes(), &mixed].concat(), "byte for byte: {}", String::from_utf8_lossy(&shown[..200]));
    site.check_memory();
}

/// `koji watch-logs`, into the file `watched`.
fn watch_logs(site: &Site, task: i64) -> Process {
    let project = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace");
    let cache = std::env::var_os("OSBS_TEST_CACHE").map_or_else(|| project.join(".cache"), PathBuf::from);
    let found = Command::new(project.join("scripts/koji.sh")).arg("bin").arg(cache).output().expect("bash starts");
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    let programs = PathBuf::from(String::from_utf8_lossy(&found.stdout).trim());
    let profile = format!("[koji]\nserver = {}\npoll_interval = 1\n", site.hub.url());
    let conf = site.world.path("koji.conf");
    fs::write(&conf, profile).expect("written");
    let mut command = Command::new(programs.join("python"));
    // As at a terminal: text and bytes in the order in which they were written.
    command.arg("-u").arg(programs.join("koji")).arg("--config").arg(conf);
    command.args(["--noauth", "watch-logs", "--log", MIXED, &task.to_string()]);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", site.world.folder.path()).env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
    let out = fs::File::create(site.world.path("watched")).expect("a file");
    Process(command.stdin(Stdio::null()).stdout(out).spawn().expect("python starts"))
}

/// How many rows a file has among the lines that `is_its` takes; they must come once each and in order.
#[track_caller]
fn rows_of(path: &Path, is_its: impl Fn(&[u8]) -> bool) -> usize {
    let mut rows = Rows::default();
    let log = BufReader::new(fs::File::open(path).expect("a log"));
    for line in log.split(b'\n') {
        let line = line.expect("read");
        if is_its(&line) {
            rows.see(&line);
        }
    }
    rows.seen
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
