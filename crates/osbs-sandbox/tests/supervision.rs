//! Overlays, namespaces and foreign programs, for real.
// In functions that tests share, clippy sees no test.
#![allow(clippy::unwrap_used, clippy::print_stderr)]
mod needs;

use osbs_sandbox::{
    Isolation, Overlay, OverlayOptions, ProcessId, can_run, mounts_below, register_binfmt, spawn_isolated,
    spawn_writing_only, unmount_below,
};
use osbs_types::Architecture;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn check_overlay(names: &[&str], lowers: usize, volatile: bool) {
    let dir = tempfile::tempdir().unwrap();
    let base = names.iter().fold(dir.path().to_owned(), |path, name| path.join(name));
    let folder = |name: &str| {
        let path = base.join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    };
    let stack: Vec<PathBuf> = (0..lowers).map(|index| folder(&format!("lower{index}"))).collect();
    for (index, lower) in stack.iter().enumerate() {
        std::fs::write(lower.join("top"), index.to_string()).unwrap();
        std::fs::write(lower.join(format!("only{index}")), "").unwrap();
    }
    let (upper, work, target) = (folder("upper"), folder("work"), folder("target"));
    for round in 0..2 {
        let overlay = Overlay::mount(&stack, &upper, &work, &target, options(volatile)).unwrap();
        assert_eq!(std::fs::read_to_string(target.join("top")).unwrap(), (lowers - 1).to_string());
        assert!(target.join("only0").exists() || round > 0);
        std::fs::write(target.join(format!("new{round}")), "").unwrap();
        let _ = std::fs::remove_file(target.join("only0"));
        assert_eq!(mounts_below(overlay.path()).unwrap(), std::slice::from_ref(&target));
        overlay.unmount().unwrap();
        assert!(upper.join(format!("new{round}")).exists());
        assert!(!target.join("top").exists());
    }
    let in_use = Overlay::mount(&stack, &upper, &work, &target, options(volatile)).unwrap();
    let open = std::fs::File::open(target.join("top")).unwrap();
    drop(in_use);
    assert!(mounts_below(&base).unwrap().is_empty(), "also when a file is open");
    drop(open);
    let forgotten = Overlay::mount(&stack, &upper, &work, &target, options(false)).unwrap();
    std::mem::forget(forgotten);
    assert_eq!(unmount_below(&base).unwrap(), 1);
    assert!(mounts_below(&base).unwrap().is_empty());
}

fn options(volatile: bool) -> OverlayOptions {
    OverlayOptions { volatile, ..OverlayOptions::default() }
}

#[test]
fn overlays() {
    if needs::skip("root") {
        return;
    }
    needs::root_user();
    check_overlay(&["a"], 1, false);
    check_overlay(&["a"], 3, true);
    check_overlay(&["with,comma", "and:colon", "back\\slash and space"], 2, true);
    let long = "n".repeat(200);
    check_overlay(&[&long, &long], 60, false);
}

#[test]
fn an_overlay_that_cannot_be() {
    if needs::skip("root") {
        return;
    }
    needs::root_user();
    let dir = tempfile::tempdir().unwrap();
    let none = dir.path().join("none");
    let error = Overlay::mount(std::slice::from_ref(&none), &none, &none, dir.path(), options(false)).unwrap_err();
    assert!(error.to_string().starts_with("cannot mount an overlay on"), "{error}");
    assert!(Overlay::mount(&[], &none, &none, dir.path(), options(false)).is_err());
}

fn sh(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

fn output(script: &str, isolation: Isolation) -> String {
    let mut child = spawn_isolated(sh(script), isolation).unwrap();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success());
    text
}

#[test]
fn a_pid_namespace_of_its_own() {
    if needs::skip("root") {
        return;
    }
    needs::root_user();
    let seen =
        output("echo $$; ls -d /proc/[0-9]* | grep -c proc; mount -t tmpfs none /media; ps | wc -l", Isolation::FULL);
    assert_eq!(seen.lines().next(), Some("1"));
    assert!(seen.lines().nth(1).unwrap().parse::<u32>().unwrap() < 5, "{seen}");
    assert!(mounts_below("/media".as_ref()).unwrap().is_empty(), "its mounts went with it");
    // This thread's next child is an ordinary one.
    let plain = output("echo $$", Isolation::default());
    assert!(ProcessId::of(plain.trim().parse().unwrap()).is_err() && plain.trim() != "1");
    assert_eq!(output("echo $$ $(cut -d' ' -f5 /proc/$$/stat)", Isolation::default()).split(' ').count(), 2);
}

#[test]
fn all_die_with_the_first() {
    if needs::skip("root") {
        return;
    }
    needs::root_user();
    let script = "setsid sleep 4712001 & sleep 4712001 & echo ready; wait";
    let mut child = spawn_isolated(sh(script), Isolation::FULL).unwrap();
    let mut ready = [0; 6];
    child.stdout.take().unwrap().read_exact(&mut ready).unwrap();
    let id = ProcessId::of(child.id()).unwrap();
    // The shell says so when it has forked, which is before a busy machine has started `sleep`.
    let begun = Instant::now();
    while !needs::runs("4712001") && begun.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(id.is_alive() && needs::runs("4712001"));
    assert!(id.kill_group(libc::SIGKILL).unwrap());
    child.wait().unwrap();
    assert!(!needs::runs("4712001"), "also who left the group and the session");
    assert!(!id.is_alive());
}

#[test]
fn children_die_with_the_thread() {
    if needs::skip("root") {
        return;
    }
    needs::root_user();
    let starter = std::thread::spawn(|| {
        let mut child = spawn_isolated(sh("echo ready; sleep 4712002"), Isolation::FULL).unwrap();
        let mut ready = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        child
    });
    let mut child = starter.join().unwrap();
    let begun = Instant::now();
    while needs::runs("4712002") {
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
    assert!(!child.wait().unwrap().success());
}

#[test]
fn a_program_that_is_missing() {
    let error = spawn_isolated(Command::new("/no/such/program"), Isolation::default()).unwrap_err();
    assert_eq!(error.to_string(), "cannot start /no/such/program");
}

#[test]
fn foreign_programs_run() {
    if needs::skip("root and qemu-user-static") {
        return;
    }
    needs::root_user();
    let binfmt = "/proc/sys/fs/binfmt_misc";
    let was_mounted = !mounts_below(binfmt.as_ref()).unwrap().is_empty();
    for name in ["arm64", "ppc64le", "s390x", "arm"] {
        let architecture = Architecture::new(name);
        register_binfmt(&architecture).unwrap_or_else(|error| panic!("{error}"));
        can_run(&architecture).unwrap_or_else(|error| panic!("{error}"));
    }
    if !was_mounted {
        unmount_below(binfmt.as_ref()).unwrap();
    }
}

#[test]
fn a_child_that_writes_in_its_folders_only() {
    if needs::skip("root") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (here, home, elsewhere) = (dir.path().join("here"), dir.path().join("home"), dir.path().join("elsewhere"));
    for folder in [&here, &home, &elsewhere] {
        std::fs::create_dir(folder).unwrap();
    }
    let script = "pwd; echo 1 > made; echo 2 > $1/made; echo 3 > $2/made; echo 4 > ../made; rm -rf $2; mkdir /osbs-x; \
                  mount -o remount,rw / && echo bad; mount -t tmpfs x $1 && echo bad; mknod $1/disk b 8 0 && echo bad; setsid sleep 100 & echo $! > pid; echo >/dev/null && cat made; exit 0";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).args([&home, &elsewhere]).current_dir(&here);
    command.stdout(Stdio::piped()).stderr(Stdio::null()).stdin(Stdio::null());
    let child = spawn_writing_only(command, &here, &[&here, &home]).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{}\n1\n", here.display()));
    assert!(home.join("made").exists() && here.join("made").exists());
    assert!(elsewhere.exists() && !elsewhere.join("made").exists() && !dir.path().join("made").exists());
    assert!(!PathBuf::from("/osbs-x").exists());
    let missing = dir.path().join("missing");
    assert!(spawn_writing_only(Command::new("true"), &here, &[&missing]).is_err());
    assert!(mounts_below(dir.path()).unwrap().is_empty());
}
