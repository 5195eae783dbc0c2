//! Real containers, by the runtime that works on this machine.
// In functions that tests share, clippy sees no test.
#![allow(clippy::unwrap_used, clippy::print_stderr)]
mod needs;

use osbs_sandbox::{
    BindMount, Network, Output, RunOutcome, RunSpec, Runtime, RuntimeError, StreamId, Tmpfs, User, mounts_below,
    remove_cgroups, run,
};
use osbs_types::ErrorKind;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

struct Machine {
    runtime: Runtime,
    dir: tempfile::TempDir,
    root: PathBuf,
    bundle: PathBuf,
}

type Lines = Vec<(StreamId, Vec<u8>)>;

impl Machine {
    /// `None` when real tests are switched off.
    fn new() -> Option<Self> {
        static RUNTIME: OnceLock<Runtime> = OnceLock::new();
        if needs::skip("root, runc and busybox-static") {
            return None;
        }
        let runtime = RUNTIME.get_or_init(needs::runtime).clone();
        let dir = tempfile::tempdir().unwrap();
        let (root, bundle) = (dir.path().join("root"), dir.path().join("bundle"));
        std::fs::create_dir(&bundle).unwrap();
        needs::busybox_root(&root);
        Some(Self { runtime, dir, root, bundle })
    }

    fn spec(&self, script: &str) -> RunSpec<'_> {
        let args = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let mut spec = RunSpec::new(&self.root, &self.bundle, args);
        spec.env = vec!["PATH=/bin".to_owned()];
        spec
    }

    fn run(&self, spec: &RunSpec<'_>) -> (Result<RunOutcome, RuntimeError>, Lines) {
        let mut lines = Vec::new();
        let outcome = run(
            &self.runtime,
            spec,
            &mut |stream, line| lines.push((stream, line.to_vec())),
            &CancellationToken::new(),
        );
        (outcome, lines)
    }

    /// Standard output of a script that succeeds.
    fn output(&self, spec: &RunSpec<'_>) -> Vec<String> {
        let (outcome, lines) = self.run(spec);
        let text: Vec<String> = lines.iter().map(|(_, line)| String::from_utf8_lossy(line).into_owned()).collect();
        assert_eq!(outcome.unwrap().exit_code, 0, "{text:?}");
        text
    }
}

#[test]
fn streams_and_exit_codes() {
    let Some(machine) = Machine::new() else { return };
    let before = needs::tree(machine.dir.path());
    for (script, exit_code, signal) in [
        ("exit 0", 0, None),
        ("exit 7", 7, None),
        ("sh -c 'kill -9 $$'; exit $?", 137, Some(9)),
        ("kill -15 $$; exit 3", 3, None),
    ] {
        let (outcome, _) = machine.run(&machine.spec(script));
        assert_eq!(outcome.unwrap(), RunOutcome { exit_code, signal, limit: None }, "{script}");
    }
    let (_, lines) = machine.run(&machine.spec("echo out; echo err >&2; echo -n last"));
    let of = |wanted| lines.iter().filter(|(stream, _)| *stream == wanted).map(|(_, l)| l.clone()).collect::<Vec<_>>();
    assert_eq!(of(StreamId::Stdout), [b"out".to_vec(), b"last".to_vec()]);
    assert_eq!(of(StreamId::Stderr), [b"err".to_vec()]);
    assert_eq!(needs::tree(machine.dir.path()), before, "no mount points, no state");
}

#[test]
fn what_a_program_sees() {
    let Some(machine) = Machine::new() else { return };
    let mut spec = machine.spec("env; pwd; hostname; echo $$; id; grep CapEff /proc/self/status");
    spec.hostname = "builder".to_owned();
    spec.cwd = "/bin".to_owned();
    spec.env.push("COLOUR=a b".to_owned());
    let seen = machine.output(&spec);
    for expected in ["COLOUR=a b", "/bin", "builder", "1", "CapEff:\t00000000a80425fb"] {
        assert!(seen.iter().any(|line| line == expected), "{expected} in {seen:?}");
    }
    assert!(!seen.iter().any(|line| line.starts_with("CARGO") || line.starts_with("LANG")), "{seen:?}");
    let mut spec = machine.spec("id; grep CapEff /proc/self/status; touch /x 2>&1 || echo denied");
    spec.user = User { uid: 1000, gid: 2000, additional_gids: vec![3000, 4000] };
    let seen = machine.output(&spec);
    assert_eq!(seen[0], "uid=1000 gid=2000 groups=3000,4000");
    assert_eq!(seen[1], "CapEff:\t0000000000000000");
    assert_eq!(seen.last().unwrap(), "denied");
}

#[test]
fn the_machine_is_out_of_reach() {
    let Some(machine) = Machine::new() else { return };
    for (script, expected) in [
        ("echo 1 > /proc/sys/kernel/hostname", "Read-only"),
        ("touch /sys/x", "Read-only"),
        ("ls /sys/firmware", ""),
        ("cat /proc/timer_list", ""),
        ("echo x >> /etc/resolv.conf", "Read-only"),
    ] {
        let (outcome, lines) = machine.run(&machine.spec(script));
        let text: String = lines.iter().map(|(_, line)| String::from_utf8_lossy(line)).collect();
        assert!(
            outcome.is_ok() && text.contains(expected) && (!expected.is_empty() || text.is_empty()),
            "{script}: {text}"
        );
    }
    let mut spec = machine.spec("grep -c : /proc/net/dev; ls /etc 2>&1");
    spec.network = Network::None;
    let seen = machine.output_or_not(&spec);
    assert!(seen.iter().all(|line| !line.contains("resolv.conf")), "{seen:?}");
    assert!(!machine.root.join("etc").exists());
}

impl Machine {
    fn output_or_not(&self, spec: &RunSpec<'_>) -> Vec<String> {
        self.run(spec).1.iter().map(|(_, line)| String::from_utf8_lossy(line).into_owned()).collect()
    }
}

#[test]
fn bind_mounts_and_tmpfs() {
    let Some(machine) = Machine::new() else { return };
    let shared = machine.dir.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::write(shared.join("given"), "hello\n").unwrap();
    let before = needs::tree(&machine.root);
    std::os::unix::fs::symlink("/", machine.root.join("way-out")).unwrap();
    let script = "cat /mnt/ro/given /way-out/run/secret; echo made > /mnt/rw/new; touch /mnt/ro/x 2>/dev/null || echo ro; \
                  touch /scratch/y; ls /scratch";
    let mut spec = machine.spec(script);
    spec.mounts = vec![
        BindMount { source: shared.clone(), target: "/mnt/ro".into(), readonly: true, mapped: false },
        BindMount { source: shared.clone(), target: "/mnt/rw".into(), readonly: false, mapped: false },
        BindMount { source: shared.join("given"), target: "/way-out/run/secret".into(), readonly: true, mapped: false },
    ];
    spec.tmpfs = vec![Tmpfs { target: "/scratch".into(), size: Some(1 << 20), mode: 0o1777 }];
    assert_eq!(machine.output(&spec), ["hello", "hello", "ro", "y"]);
    assert_eq!(std::fs::read_to_string(shared.join("new")).unwrap(), "made\n");
    std::fs::remove_file(machine.root.join("way-out")).unwrap();
    assert_eq!(needs::tree(&machine.root), before);
}

#[test]
fn no_line_is_lost() {
    let Some(machine) = Machine::new() else { return };
    let begun = Instant::now();
    let seen = machine.output(&machine.spec("seq 1 300000"));
    let took = begun.elapsed();
    assert_eq!(seen.len(), 300_000);
    assert!(seen.iter().enumerate().all(|(index, line)| *line == (index + 1).to_string()));
    assert!(took < Duration::from_secs(3), "100,000 lines a second: {took:?}");
    let (_, lines) =
        machine.run(&machine.spec("dd if=/dev/zero bs=1M count=1 2>/dev/null; echo; echo -ne '\\xff\\xfe\\n\\xc3'"));
    assert_eq!(lines.iter().map(|(_, line)| line.len()).collect::<Vec<_>>(), [1 << 20, 2, 1]);
    assert_eq!(lines[1].1, [0xff, 0xfe]);
    // Streams closed, and still running: its exit code counts.
    let (outcome, _) = machine.run(&machine.spec("exec >&- 2>&-; sleep 0.3; exit 5"));
    assert_eq!(outcome.unwrap().exit_code, 5);
}

#[test]
fn a_trivial_one_is_quick() {
    let Some(machine) = Machine::new() else { return };
    let spec = machine.spec("true");
    let mut times: Vec<Duration> = (0..15)
        .map(|_| {
            let begun = Instant::now();
            machine.output(&spec);
            begun.elapsed()
        })
        .collect();
    times.sort();
    eprintln!("a trivial container: median {:?}, best {:?}, worst {:?}", times[7], times[0], times[14]);
    // The promise is 60 ms on an idle machine; the tests around this one leave it none.
    assert!(times[0] < Duration::from_millis(150), "{times:?}");
}

#[test]
fn cancelled_within_a_second() {
    let Some(machine) = Machine::new() else { return };
    let before = needs::tree(&machine.root);
    let scripts = [
        ("4711001", "sleep 4711001"),
        ("4711002", "trap '' TERM; sleep 4711002 & sleep 4711002; wait"),
        ("4711003", "(trap '' TERM; while true; do sleep 4711003; done) & exec >&- 2>&-; sleep 4711003"),
    ];
    for (word, script) in scripts {
        // Late, early, and in the middle of the runtime's own work.
        for delay in [400, 0, 8, 16, 30] {
            let cancel = CancellationToken::new();
            let (canceller, begun) = (cancel.clone(), Instant::now());
            let timer = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(delay));
                canceller.cancel();
            });
            let outcome = run(&machine.runtime, &machine.spec(script), &mut |_, _| {}, &cancel);
            let took = begun.elapsed().saturating_sub(Duration::from_millis(delay));
            timer.join().unwrap();
            assert!(matches!(&outcome, Err(RuntimeError::Cancelled)), "{script} after {delay} ms: {outcome:?}");
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Cancelled);
            assert!(took < Duration::from_secs(1), "{script} after {delay} ms took {took:?}");
            assert!(!needs::runs(word), "{script} after {delay} ms");
        }
    }
    assert!(needs::cgroups(&format!("osbs-{}-", std::process::id())).iter().all(|group| is_anothers(group)));
    assert!(mounts_below(machine.dir.path()).unwrap().is_empty());
    assert_eq!(needs::tree(&machine.root), before);
}

/// Tests run at once in this process: a cgroup with somebody in it is that of another.
fn is_anothers(group: &std::path::Path) -> bool {
    std::fs::read_to_string(group.join("cgroup.procs")).is_ok_and(|members| !members.is_empty()) || !group.exists()
}

#[test]
fn programs_that_cannot_start() {
    let Some(machine) = Machine::new() else { return };
    std::fs::write(machine.root.join("bin/data"), "x").unwrap();
    for program in ["/bin/missing", "missing", "/bin/data"] {
        let mut spec = machine.spec("");
        spec.args = vec![program.to_owned()];
        let error = machine.run(&spec).0.unwrap_err();
        assert!(matches!(&error, RuntimeError::Start { .. }), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::User);
    }
    let mut spec = machine.spec("true");
    spec.mounts = vec![BindMount { source: "/no/such".into(), target: "/x".into(), readonly: true, mapped: false }];
    let error = machine.run(&spec).0.unwrap_err();
    assert!(matches!(&error, RuntimeError::Setup { .. }), "{error:?}");
    assert!(!machine.root.join("x").exists());
}

#[test]
fn the_cgroup_of_the_caller() {
    let Some(machine) = Machine::new() else { return };
    let name = format!("osbs-test-{}", std::process::id());
    let mut spec = machine.spec("cat /proc/self/cgroup");
    spec.cgroup_path = Some(format!("/{name}/build"));
    let seen = machine.output(&spec);
    assert!(seen.iter().any(|line| line.contains(&format!("{name}/build/osbs-"))), "{seen:?}");
    assert!(!needs::cgroups(&name).is_empty());
    remove_cgroups(&format!("/{name}")).unwrap();
    assert!(needs::cgroups(&name).is_empty());
}

/// The part of [`inside_a_pid_namespace`] that is inside.
#[test]
#[ignore = "started by inside_a_pid_namespace"]
fn child_that_is_process_one() {
    assert_eq!(std::process::id(), 1);
    let machine = Machine::new().expect("only started for real");
    // The shell and what lists; whether the one that counts is there already is a matter of luck.
    let seen = machine.output(&machine.spec("echo $$; ls -d /proc/[0-9]* | grep -c proc"));
    assert!(seen == ["1", "2"] || seen == ["1", "3"], "{seen:?}");
    let cancel = CancellationToken::new();
    let outcome = run(&machine.runtime, &machine.spec("echo x; sleep 60"), &mut |_, _| cancel.cancel(), &cancel);
    assert!(matches!(outcome, Err(RuntimeError::Cancelled)));
}

/// As every RUN of a build: the one who calls is process 1 of a pid namespace with its own /proc.
#[test]
fn inside_a_pid_namespace() {
    if needs::skip("root, runc and busybox-static") {
        return;
    }
    needs::root_user();
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child_that_is_process_one", "--ignored"]).stdout(std::process::Stdio::piped());
    let child = osbs_sandbox::spawn_isolated(command, osbs_sandbox::Isolation::FULL).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(needs::cgroups("osbs-1-").iter().all(|group| is_anothers(group)));
}

/// The part of [`killed_with_its_parent`] that is killed.
#[test]
#[ignore = "started by killed_with_its_parent"]
fn child_that_runs_a_container() {
    let machine = Machine::new().expect("only started for real");
    let _ = machine.run(&machine.spec("sleep 4711009 & sleep 4711009"));
}

#[test]
fn killed_with_its_parent() {
    if needs::skip("root, runc and busybox-static") {
        return;
    }
    needs::root_user();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_runs_a_container", "--ignored"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the container runs", || needs::runs("4711009"));
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("the container is gone", || !needs::runs("4711009"));
    for group in needs::cgroups(&format!("osbs-{}-", child.id())) {
        let name = group.file_name().unwrap().to_string_lossy().into_owned();
        remove_cgroups(&format!("/{name}")).unwrap();
    }
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(10), "waited for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn lines_keep_their_order() {
    let Some(machine) = Machine::new() else { return };
    let script = "i=0; while [ $i -lt 1000 ]; do echo a; echo b >&2; echo c; i=$((i+1)); done";
    let mut spec = machine.spec(script);
    spec.output = Output::Together;
    let (outcome, lines) = machine.run(&spec);
    assert_eq!(outcome.unwrap().exit_code, 0);
    let text: Vec<&[u8]> = lines.iter().map(|(_, line)| line.as_slice()).collect();
    let swapped = text.chunks(3).filter(|lines| *lines != [b"a", b"b", b"c"]).count();
    assert_eq!((text.len(), swapped), (3000, 0));
}

/// The program may open its streams once more, whoever it is.
#[test]
fn streams_by_name() {
    let Some(machine) = Machine::new() else { return };
    for uid in [0, 1000] {
        for output in [Output::Apart, Output::Together] {
            let mut spec = machine.spec("echo out >/proc/self/fd/1; echo err >/proc/self/fd/2; cat; echo in $?");
            spec.user.uid = uid;
            spec.output = output;
            let mut seen = machine.output(&spec);
            seen.sort();
            assert_eq!(seen, ["err", "in 0", "out"], "{uid} {output:?}");
        }
    }
}

#[test]
fn a_program_is_asked_to_end() {
    let Some(machine) = Machine::new() else { return };
    let mut spec = machine.spec("trap 'echo asked; exit 0' TERM; while :; do sleep 0.01; done");
    spec.limits.time = Some(Duration::from_millis(500));
    let (outcome, lines) = machine.run(&spec);
    assert!(matches!(outcome, Err(RuntimeError::TimeLimit { .. })), "{outcome:?}");
    assert_eq!(lines, [(StreamId::Stdout, b"asked".to_vec())]);
}
