//! The cases.

use crate::Case;
use crate::site::{Site, block_on, exact, kill, runner, script};
use crate::{remains, secrets};
use osbs_cluster::conformance::{self, Behaviour};
use osbs_cluster::{
    BuildConfig, BuildFilter, Cluster, ClusterError, EventLog, EventReader, GitSource, NameRule, Slots,
};
use osbs_cluster_local::{LocalCluster, RunnerCommand, recover};
use osbs_types::{BuildName, BuildState, ErrorKind, EventKind, Level, LogLine};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

pub const ALL: &[Case] = &[
    ("conforms", conforms),
    ("environment_is_exact", environment_is_exact),
    ("secrets_of_one_build_alone", secrets::of_one_build_alone),
    ("secrets_that_come_later", secrets::that_come_later),
    ("secrets_of_an_orchestrator_and_its_worker", secrets::of_an_orchestrator_and_its_worker),
    ("starts_quickly_and_waits_idly", starts_quickly_and_waits_idly),
    ("eight_builds_two_slots", eight_builds_two_slots),
    ("one_build_config_in_order", one_build_config_in_order),
    ("killed_inside", killed_inside),
    ("killed_runner", killed_runner),
    ("killed_both", killed_both),
    ("the_next_in_line_goes_on", the_next_in_line_goes_on),
    ("cancelled_with_grace", cancelled_with_grace),
    ("cancelled_at_any_moment", cancelled_at_any_moment),
    ("cancelled_and_deaf", cancelled_and_deaf),
    ("terminated_runner", terminated_runner),
    ("restarted_machine", restarted_machine),
    ("workers_end_with_their_orchestrator", workers_end_with_their_orchestrator),
    ("workers_inside_an_orchestrator", workers_inside_an_orchestrator),
    ("last_words", last_words),
    ("exit_codes", exit_codes),
    ("no_runner", no_runner),
    ("many_at_once", many_at_once),
    ("a_flood_of_lines", a_flood_of_lines),
    ("killed_while_a_build_is_made", remains::killed_while_a_build_is_made),
    ("passwords_of_a_request", remains::passwords_of_a_request),
    ("hostile_leftovers", hostile_leftovers),
    ("full_disk", full_disk),
];

fn config(name: &str) -> BuildConfig {
    let source = GitSource { uri: "https://git.example.com/web.git".into(), git_ref: "main".into() };
    BuildConfig { name: name.to_owned(), labels: BTreeMap::default(), source, last_version: 0 }
}

fn conforms() {
    let mut sites = Vec::new();
    block_on(conformance::all(|| {
        sites.push(Site::new());
        sites.last().unwrap().cluster.clone()
    }));
    for site in sites {
        site.assert_nothing_left();
    }
}

fn environment_is_exact() {
    let site = Site::new();
    block_on(async {
        let mut new = script("a", "env -0 > ../results/env; cat /proc/1/comm > ../results/pid1; pwd > ../results/pwd");
        new.env.insert("REACTOR_CONFIG".into(), "version: 1\n".into());
        let name = site.create(new).await;
        assert_eq!(site.finished(&name).await.state, BuildState::Complete);
        let results = site.cluster.build_paths(&name).results();
        let env = std::fs::read_to_string(results.join("env")).unwrap();
        let mut names: Vec<_> = env.split('\0').filter_map(|pair| pair.split_once('=')).map(|(name, _)| name).collect();
        names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name)); // the shell's own
        names.sort_unstable();
        let expected = "BUILD LC_ALL OSBS_EVENTS OSBS_HOME OUTPUT_IMAGE PATH REACTOR_CONFIG SCRIPT SOURCE_REF SOURCE_URI USER_PARAMS";
        assert_eq!(names.join(" "), expected);
        let build = env.split('\0').find_map(|pair| pair.strip_prefix("BUILD=")).unwrap();
        let object: serde_json::Value = serde_json::from_str(build).unwrap();
        assert_eq!(object["metadata"]["name"], "a");
        assert_eq!(object["status"]["phase"], "Running");
        assert_eq!(std::fs::read_to_string(results.join("pid1")).unwrap(), "sh\n");
        assert!(std::fs::read_to_string(results.join("pwd")).unwrap().ends_with("/builds/osbs/a/work\n"));
    });
    site.assert_nothing_left();
}

fn starts_quickly_and_waits_idly() {
    let site = Site::new();
    block_on(async {
        let (mut asked, mut whole, mut turns) = (Vec::new(), Vec::new(), Vec::new());
        for index in 0..10 {
            let start = Instant::now();
            let name = site.create(exact(&format!("a{index}"), Behaviour::Complete)).await;
            asked.push(start.elapsed());
            let build = site.finished(&name).await;
            whole.push(start.elapsed());
            turns.push(build.started.unwrap().duration_since(build.created).unsigned_abs());
        }
        for times in [&mut asked, &mut whole, &mut turns] {
            times.sort_unstable();
        }
        println!(
            "  median of 10: create_build {:?}, until Running {:?}, until seen finished {:?}",
            asked[5], turns[5], whole[5]
        );
        assert!(turns[5] < Duration::from_millis(100), "until Running: {turns:?}");

        site.cluster.ensure_build_config(config("web")).await.unwrap();
        let of_config = |b| conformance::request(NameRule::Config { build_config: "web".into() }, b);
        let first = site.create(of_config(Behaviour::Hold)).await;
        let second = site.create(of_config(Behaviour::Complete)).await;
        site.running(&first).await;
        let pid = loop {
            if let Some(pid) = site.runner_pid(&second) {
                break pid;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let before = cpu_ticks(pid);
        tokio::time::sleep(Duration::from_secs(2)).await;
        let used = cpu_ticks(pid) - before;
        println!("  a waiting runner used {} ms of CPU in 2 s", used * 10);
        assert!(used <= 5, "{used} ticks in 2 s");
        site.cluster.cancel_build(&first).await.unwrap();
        let first = site.finished(&first).await;
        let second = site.finished(&second).await;
        let gap = second.started.unwrap().duration_since(first.finished.unwrap()).unsigned_abs();
        println!("  the next build ran {gap:?} after the one before it had ended");
        assert!(gap < Duration::from_millis(200), "{gap:?}");
    });
    site.assert_nothing_left();
}

/// User and system time of a process, in ticks of 10 ms.
fn cpu_ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Writes when it starts and ends, so that overlaps show.
const TIMED: &str = r#"echo "+ $1" >> "$OSBS_HOME/trace"; sleep 0.1; echo "- $1" >> "$OSBS_HOME/trace""#;

/// How many ran at most at once, and the order they started in.
fn trace(site: &Site) -> (i32, usize) {
    let trace = std::fs::read_to_string(site.home().join("trace")).unwrap();
    let (mut now, mut most) = (0, 0);
    for line in trace.lines() {
        now += if line.starts_with('+') { 1 } else { -1 };
        most = most.max(now);
    }
    (most, trace.lines().count())
}

fn eight_builds_two_slots() {
    let site = Site::new();
    block_on(async {
        let mut names = Vec::new();
        for index in 0..8 {
            let mut new = script(&format!("b{index}"), TIMED);
            new.slots = Some(Slots { group: "orchestrator".into(), max: 2 });
            names.push(site.create(new).await);
        }
        let mut started = Vec::new();
        for name in &names {
            let build = site.finished(name).await;
            assert_eq!(build.state, BuildState::Complete);
            started.push(build.started.unwrap());
        }
        // Two slots may become free at once and the two next in line start in either order; nobody passes two.
        for (index, mine) in started.iter().enumerate() {
            let passed = started[..index].iter().filter(|other| *other > mine).count();
            assert!(passed <= 1, "build {index} overtook: {started:?}");
        }
    });
    assert_eq!(trace(&site), (2, 16));
    site.assert_nothing_left();
}

fn one_build_config_in_order() {
    let site = Site::new();
    block_on(async {
        site.cluster.ensure_build_config(config("web")).await.unwrap();
        let mut names = Vec::new();
        for _ in 0..6 {
            let mut new = conformance::request(NameRule::Config { build_config: "web".into() }, Behaviour::Complete);
            new.env.insert("SCRIPT".into(), TIMED.into());
            new.slots = Some(Slots { group: "orchestrator".into(), max: 3 });
            names.push(site.create(new).await);
        }
        // Builds of other BuildConfigs use the slots that those cannot.
        let mut other = exact("other", Behaviour::Complete);
        other.slots = Some(Slots { group: "orchestrator".into(), max: 3 });
        let other = site.create(other).await;
        let other = site.finished(&other).await;
        let third = site.cluster.get_build(&names[5]).await.unwrap();
        assert!(!third.is_finished(), "the free slots were not used");
        let mut before = None;
        for name in &names {
            let build = site.finished(name).await;
            assert!(build.started >= before);
            before = build.finished;
        }
        assert_eq!(other.state, BuildState::Complete);
    });
    assert_eq!(trace(&site), (1, 12));
    site.assert_nothing_left();
}

/// A build with processes below it and a mount of its own.
const BUSY: &str = "mkdir -p m; mount -t tmpfs none m; (setsid sleep 1000 &) ; sleep 1000 & hold";

/// Starts a busy build, waits a random moment, does `harm` to its (runner, reactor).
fn harmed(times: u32, harm: fn(i32, i32), expect: &str) {
    let site = Site::new();
    block_on(async {
        for index in 0..times {
            let name = site.create(script(&format!("k{index}"), BUSY)).await;
            let build = site.running(&name).await;
            let runner = site.runner_pid(&name).unwrap();
            // From "just forked" to "holding".
            tokio::time::sleep(Duration::from_millis(u64::from(index * 7))).await;
            let inside = site.cluster.get_build(&name).await.unwrap().pid.or(build.pid).unwrap();
            let start = Instant::now();
            harm(runner, i32::try_from(inside).unwrap());
            let mut recovered = Vec::new();
            while !site.cluster.get_build(&name).await.unwrap().is_finished() {
                recovered.extend(recover(site.home()).unwrap());
                assert!(start.elapsed() < Duration::from_secs(2), "not closed within 2 s");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            let build = site.cluster.get_build(&name).await.unwrap();
            assert_eq!(build.state, BuildState::Error);
            let reason = build.reason.unwrap();
            assert!(reason.contains(expect), "{reason}");
            assert!(build.failure.is_some());
            let last = site.events(&name).await.pop().unwrap().event.kind;
            assert!(matches!(last, EventKind::State { state: BuildState::Error, .. }), "{last:?}");
            assert!(recover(site.home()).unwrap().is_empty(), "recovery is done once");
        }
    });
    site.assert_nothing_left();
}

fn killed_inside() {
    // Before the reactor's id is recorded it is the runner's: that one is left alone here.
    harmed(
        10,
        |runner, inside| if inside == runner { kill_children(runner) } else { kill(inside) },
        "killed by signal 9",
    );
}

fn kill_children(runner: i32) {
    let start = Instant::now();
    loop {
        let children = std::fs::read_to_string(format!("/proc/{runner}/task/{runner}/children")).unwrap_or_default();
        if let Some(child) = children.split_whitespace().next() {
            return kill(child.parse().unwrap());
        }
        assert!(start.elapsed() < Duration::from_secs(2), "the runner has no child");
    }
}

fn killed_runner() {
    harmed(10, |runner, _| kill(runner), "runner died");
}

fn killed_both() {
    harmed(
        10,
        |runner, inside| {
            kill(inside);
            kill(runner);
        },
        // Which of the two the runner could still note is a matter of luck.
        "",
    );
}

fn the_next_in_line_goes_on() {
    let site = Site::new();
    block_on(async {
        site.cluster.ensure_build_config(config("web")).await.unwrap();
        let of_config = |b| conformance::request(NameRule::Config { build_config: "web".into() }, b);
        let first = site.create(of_config(Behaviour::Hold)).await;
        site.running(&first).await;
        let second = site.create(of_config(Behaviour::Complete)).await;
        let start = Instant::now();
        kill(site.runner_pid(&first).unwrap());
        // Nobody calls recover(): the waiting runner notices.
        assert_eq!(site.finished(&second).await.state, BuildState::Complete);
        println!("  {:?} after the kill the next build had ended", start.elapsed());
        assert_eq!(site.cluster.get_build(&first).await.unwrap().state, BuildState::Error);
    });
    site.assert_nothing_left();
}

fn cancelled_with_grace() {
    let site = Site::new();
    block_on(async {
        let name = site.create(script("a", BUSY)).await;
        site.line(&name, "holding").await;
        let start = Instant::now();
        site.cluster.cancel_build(&name).await.unwrap();
        let build = site.finished(&name).await;
        println!("  cancelled and closed within {:?}", start.elapsed());
        assert!(start.elapsed() < Duration::from_secs(2));
        assert_eq!((build.state, build.reason.as_deref()), (BuildState::Cancelled, Some("cancelled on request")));
        assert_eq!(site.lines(&name).await, ["holding", "exit plugins ran"]);
    });
    site.assert_nothing_left();
}

fn cancelled_at_any_moment() {
    let site = Site::new();
    block_on(async {
        let mut slowest = Duration::ZERO;
        for index in 0..20 {
            let name = site.create(script(&format!("c{index}"), BUSY)).await;
            tokio::time::sleep(Duration::from_millis(index * 3)).await;
            let start = Instant::now();
            site.cluster.cancel_build(&name).await.unwrap();
            let build = site.finished(&name).await;
            slowest = slowest.max(start.elapsed());
            assert_eq!(build.state, BuildState::Cancelled);
        }
        println!("  20 cancelled at 0 to 57 ms after they were asked for, the slowest within {slowest:?}");
        assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    });
    site.assert_nothing_left();
}

fn cancelled_and_deaf() {
    let site = Site::new().with_grace(300);
    block_on(async {
        let name = site.create(script("a", "trap '' TERM; line deaf; while :; do sleep 0.02; done")).await;
        site.line(&name, "deaf").await;
        site.cluster.cancel_build(&name).await.unwrap();
        let build = site.finished(&name).await;
        assert_eq!(build.state, BuildState::Cancelled);
        assert!(build.reason.clone().unwrap().contains("killed because it had not ended"), "{:?}", build.reason);
    });
    site.assert_nothing_left();
}

fn terminated_runner() {
    let site = Site::new();
    block_on(async {
        let name = site.create(script("a", BUSY)).await;
        site.line(&name, "holding").await;
        let runner = rustix::process::Pid::from_raw(site.runner_pid(&name).unwrap()).unwrap();
        rustix::process::kill_process(runner, rustix::process::Signal::TERM).unwrap();
        assert_eq!(site.finished(&name).await.state, BuildState::Cancelled);
        assert!(site.lines(&name).await.contains(&"exit plugins ran".to_owned()));
    });
    site.assert_nothing_left();
}

fn restarted_machine() {
    let site = Site::new();
    block_on(async {
        let name = site.create(script("a", BUSY)).await;
        site.line(&name, "holding").await;
        let waiting = {
            let mut new = exact("b", Behaviour::Complete);
            new.slots = Some(Slots { group: "none".into(), max: 1 });
            let mut first = exact("c", Behaviour::Hold);
            first.slots.clone_from(&new.slots);
            let first = site.create(first).await;
            site.running(&first).await;
            let waiting = site.create(new).await;
            kill(site.runner_pid(&first).unwrap());
            waiting
        };
        while site.runner_pid(&waiting).is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // A power cut: every process gone, another boot id, a torn line in the log.
        for pid in [site.runner_pid(&name), site.runner_pid(&waiting)].into_iter().flatten() {
            kill(pid);
        }
        let events = site.cluster.build_paths(&name).events();
        let mut log = std::fs::OpenOptions::new().append(true).open(events).unwrap();
        std::io::Write::write_all(&mut log, br#"{"time":"2024-01-02T03:04:05Z","event":"lo"#).unwrap();
        let database = rusqlite::Connection::open(site.home().join("cluster.db")).unwrap();
        let changed = database.execute("UPDATE builds SET runner = json_set(runner, '$.boot_id', 'x')", []).unwrap();
        assert!(changed >= 2);
        let (start, mut recovered) = (Instant::now(), Vec::new());
        while recovered.len() < 3 {
            recovered.extend(recover(site.home()).unwrap());
            assert!(start.elapsed() < Duration::from_secs(2), "{recovered:?}");
        }
        for name in [&name, &waiting] {
            let build = site.cluster.get_build(name).await.unwrap();
            assert_eq!(build.state, BuildState::Error);
            assert_eq!(build.reason.as_deref(), Some("the machine was restarted before the build had ended"));
        }
        let lines = site.lines(&name).await;
        assert!(lines.iter().any(|line| line.starts_with("{\"time\"")), "the torn line is shown: {lines:?}");
    });
    site.assert_nothing_left();
}

fn workers_end_with_their_orchestrator() {
    for killed in [false, true] {
        let site = Site::new();
        block_on(async {
            let parent = site.create(exact("o", Behaviour::Hold)).await;
            site.running(&parent).await;
            let mut worker = script("w", BUSY);
            worker.parent = Some(parent.clone());
            let worker = site.create(worker).await;
            site.line(&worker, "holding").await;
            if killed {
                kill(site.runner_pid(&parent).unwrap());
                let start = Instant::now();
                while recover(site.home()).unwrap().is_empty() {
                    assert!(start.elapsed() < Duration::from_secs(2));
                }
            } else {
                site.cluster.cancel_build(&parent).await.unwrap();
            }
            assert!(site.finished(&parent).await.is_finished());
            let worker = site.finished(&worker).await;
            assert_eq!(worker.state, BuildState::Cancelled);
            assert_eq!(worker.reason.as_deref(), Some("its orchestrator build has ended"));
            assert!(site.lines(&worker.name).await.contains(&"exit plugins ran".to_owned()));
        });
        site.assert_nothing_left();
    }
}

/// `create-worker HOME PARENT`: what an orchestrator build does from within its pid namespace.
pub fn create_worker(args: &[String]) -> ExitCode {
    let cluster = LocalCluster::open(Path::new(&args[0]), "osbs", runner()).unwrap();
    let mut new = script("w", BUSY);
    new.parent = Some(args[1].parse().unwrap());
    block_on(cluster.create_build(new)).unwrap();
    ExitCode::SUCCESS
}

fn workers_inside_an_orchestrator() {
    for harm in ["cancel", "inside", "runner"] {
        let site = Site::new();
        block_on(async {
            let program = std::env::current_exe().unwrap();
            let orchestrate = format!("'{}' create-worker \"$OSBS_HOME\" o && hold", program.display());
            let parent = site.create(script("o", &orchestrate)).await;
            site.line(&parent, "holding").await;
            let worker: BuildName = "w".parse().unwrap();
            site.line(&worker, "holding").await;
            match harm {
                "cancel" => drop(site.cluster.cancel_build(&parent).await.unwrap()),
                "inside" => kill(site.running(&parent).await.pid.unwrap().try_into().unwrap()),
                _ => kill(site.runner_pid(&parent).unwrap()),
            }
            let start = Instant::now();
            for name in [&parent, &worker] {
                let build = site.finished(name).await;
                println!("  {harm}: {name} is {} ({:?})", build.state, build.reason.unwrap_or_default());
            }
            assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        });
        site.assert_nothing_left();
    }
}

fn last_words() {
    let site = Site::new();
    block_on(async {
        let name = site.create(script("a", r"printf 'thread main panicked\n\377oops\n' >&2; exit 101")).await;
        let build = site.finished(&name).await;
        assert_eq!(build.state, BuildState::Failed);
        let failure = build.failure.unwrap();
        assert_eq!(
            (failure.kind, failure.message.as_str()),
            (ErrorKind::Internal, "the build ended with exit code 101")
        );
        assert_eq!(site.lines(&name).await, ["thread main panicked", "\u{fffd}oops"]);
    });
}

fn exit_codes() {
    let site = Site::new();
    block_on(async {
        for (script_text, state, kind) in [
            ("exit 0", BuildState::Complete, None),
            ("exit 1", BuildState::Failed, Some(ErrorKind::User)),
            ("exit 4", BuildState::Failed, Some(ErrorKind::Remote)),
            ("exit 130", BuildState::Cancelled, None),
            ("kill -9 $$", BuildState::Complete, None), // pid 1 cannot kill itself
        ] {
            let name = format!("e{}", script_text.replace(|c: char| !c.is_ascii_alphanumeric(), ""));
            let name = site.create(script(&name, script_text)).await;
            let build = site.finished(&name).await;
            assert_eq!((build.state, build.failure.map(|f| f.kind)), (state, kind), "{script_text}");
        }
    });
}

fn no_runner() {
    let site = Site::new();
    let command = RunnerCommand { program: "/nonexistent/osbs".into(), args: Vec::new(), env: Vec::new() };
    let broken = LocalCluster::open(site.home(), "osbs", command).unwrap();
    block_on(async {
        let error = broken.create_build(exact("a", Behaviour::Complete)).await.unwrap_err();
        assert!(matches!(error, ClusterError::Launch { .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::Resource);
        let build = site.cluster.get_build(&"a".parse().unwrap()).await.unwrap();
        assert_eq!(
            (build.state, build.reason.as_deref()),
            (BuildState::Error, Some("the build's runner did not start"))
        );

        let mut long = exact("b", Behaviour::Complete);
        long.env.insert("REACTOR_CONFIG".into(), "x".repeat(200_000));
        let error = site.cluster.create_build(long).await.unwrap_err();
        assert!(matches!(error, ClusterError::Invalid { .. }), "{error}");
    });
}

fn many_at_once() {
    let site = Site::new();
    block_on(async {
        // Eight connections, as eight processes would have.
        let create = |index: usize| {
            let cluster = LocalCluster::open(site.home(), "osbs", runner()).unwrap();
            async move {
                let mut new = exact(&format!("m{index}"), Behaviour::Complete);
                new.slots = Some(Slots { group: "orchestrator".into(), max: 4 });
                cluster.create_build(new).await.unwrap().name
            }
        };
        let start = Instant::now();
        let names = futures_util::future::join_all((0..32).map(create)).await;
        for name in &names {
            assert_eq!(site.finished(name).await.state, BuildState::Complete);
        }
        println!("  32 builds through 4 slots in {:?}", start.elapsed());
        assert_eq!(site.cluster.list_builds(&BuildFilter::default()).await.unwrap().len(), 32);
    });
    site.assert_nothing_left();
}

/// A deep tree, odd names, links to the outside, another's cgroup: what a build may leave.
fn hostile_leftovers() {
    let site = Site::new();
    let precious = tempfile::tempdir().unwrap();
    std::fs::write(precious.path().join("file"), "x").unwrap();
    block_on(async {
        let text = format!(
            "ln -s {} link; mkdir -m 000 locked; perl -e 'for (1..3000) {{ mkdir q(d); chdir q(d) or die }}' && exit 1",
            precious.path().display()
        );
        let name = site.create(script("a", &text)).await;
        let build = site.finished(&name).await;
        assert_eq!(build.state, BuildState::Failed);
        let lines = site.lines(&name).await;
        assert!(lines.is_empty(), "{lines:?}");
    });
    site.assert_nothing_left();
    assert!(precious.path().join("file").exists());
}

/// The disk is full while the build writes its log; later it has room again.
fn full_disk() {
    let mount = tempfile::tempdir().unwrap();
    let status =
        std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "none"]).arg(mount.path()).status();
    assert!(status.unwrap().success());
    let path = mount.path().join("events.jsonl");
    let mut log = EventLog::open(&path).unwrap();
    let line = |n: usize| EventKind::Log(LogLine::new("x", Level::Info, format!("{n} {}", "y".repeat(100_000))));
    let mut written = 0;
    let error = loop {
        match log.append(line(written)) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Resource);
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("No space left"), "{error:?}");
    let status = std::process::Command::new("mount").args(["-o", "remount,size=16m"]).arg(mount.path()).status();
    assert!(status.unwrap().success());
    log.append(line(written)).unwrap();
    let mut other = EventLog::open(&path).unwrap();
    other.append(EventKind::State { state: BuildState::Complete, reason: None }).unwrap();
    let mut reader = EventReader::new(&path, 0);
    let mut events = Vec::new();
    loop {
        let batch = reader.next_batch().unwrap();
        if batch.is_empty() {
            break;
        }
        events.extend(batch.into_iter().map(|stored| stored.event.kind));
    }
    let is_whole = |kind: &&EventKind| matches!(kind, EventKind::Log(line) if line.logger == "x");
    assert_eq!(events.iter().filter(is_whole).count(), written + 1);
    assert!(matches!(events.last(), Some(EventKind::State { .. })));
    drop((log, other, reader));
    assert!(std::process::Command::new("umount").arg(mount.path()).status().unwrap().success());
}

fn a_flood_of_lines() {
    let site = Site::new();
    block_on(async {
        let flood = r#"awk 'BEGIN { for (n = 0; n < 100000; n++)
            printf "{\"time\":\"2024-01-02T03:04:05Z\",\"event\":\"log\",\"logger\":\"x\",\"level\":\"INFO\",\"message\":\"line %d\"}\n", n }' >> "$OSBS_EVENTS""#;
        let name = site.create(script("a", flood)).await;
        let start = Instant::now();
        let events = site.cluster.events(&name, 0, true).await.unwrap();
        let count = futures_util::StreamExt::fold(events, 0, |count, stored| async move {
            count + usize::from(matches!(stored.unwrap().event.kind, EventKind::Log(_)))
        })
        .await;
        println!("  100,000 lines written and followed in {:?}", start.elapsed());
        assert_eq!(count, 100_000);
    });
}
