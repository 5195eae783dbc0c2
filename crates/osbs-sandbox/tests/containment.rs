//! What holds a container, tried from inside: system calls, limits, the user namespace.
// In functions that tests share, clippy sees no test.
#![allow(clippy::unwrap_used, clippy::print_stderr, unsafe_code)]
mod needs;

use osbs_sandbox::{
    BindMount, ContainerLimits, IdMap, LimitHit, Network, Output, Overlay, OverlayOptions, RunOutcome, RunSpec,
    Runtime, RuntimeError, Security, User, mounts_below, run,
};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

struct Machine {
    runtime: Runtime,
    dir: tempfile::TempDir,
    /// The image's tree.
    tree: PathBuf,
    bundle: PathBuf,
}

impl Machine {
    fn new() -> Option<Self> {
        static RUNTIME: OnceLock<Runtime> = OnceLock::new();
        if needs::skip("root, runc and busybox-static") {
            return None;
        }
        let runtime = RUNTIME.get_or_init(needs::runtime).clone();
        let dir = tempfile::tempdir().unwrap();
        // As a work folder in root's home: nobody else gets through.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let (tree, bundle) = (dir.path().join("tree"), dir.path().join("bundle"));
        std::fs::create_dir(&bundle).unwrap();
        needs::busybox_root(&tree);
        Some(Self { runtime, dir, tree, bundle })
    }

    fn spec<'a>(&'a self, root: &'a Path, script: &str) -> RunSpec<'a> {
        let args = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let mut spec = RunSpec::new(root, &self.bundle, args);
        spec.env = vec!["PATH=/bin".to_owned()];
        spec
    }

    fn run(&self, spec: &RunSpec<'_>) -> (Result<RunOutcome, RuntimeError>, Vec<String>) {
        let mut lines = Vec::new();
        let mut listen = |_, line: &[u8]| lines.push(String::from_utf8_lossy(line).into_owned());
        let outcome = run(&self.runtime, spec, &mut listen, &CancellationToken::new());
        (outcome, lines)
    }

    #[track_caller]
    fn output(&self, spec: &RunSpec<'_>) -> Vec<String> {
        let (outcome, lines) = self.run(spec);
        assert!(matches!(&outcome, Ok(outcome) if outcome.exit_code == 0), "{outcome:?}: {lines:?}");
        lines
    }

    /// The tree below an overlay whose ids are a container's.
    fn mapped(&self, name: &str) -> (Overlay, PathBuf) {
        let [upper, work, target] =
            ["upper", "work", "root"].map(|part| self.dir.path().join(format!("{name}-{part}")));
        for folder in [&upper, &work, &target] {
            std::fs::create_dir(folder).unwrap();
        }
        let map = IdMap::get().unwrap();
        let options = OverlayOptions { volatile: true, ..OverlayOptions::default() };
        let overlay = map.mount_overlay(std::slice::from_ref(&self.tree), &upper, &work, &target, options).unwrap();
        (overlay, upper)
    }
}

/// Runs in the container: each line is a call and how it ended.
#[test]
#[ignore = "started by system_calls_are_filtered"]
fn child_that_tries_system_calls() {
    let zero = 0_usize;
    let try_call = |name: &str, number: libc::c_long, arguments: [usize; 5]| {
        // SAFETY: every call is one that fails, or one that is harmless in a process that is about to end.
        let result =
            unsafe { libc::syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4]) };
        let error = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
        println!("\n{name} {}", if result < 0 { error } else { 0 });
    };
    let new_user = libc::CLONE_NEWUSER as usize;
    try_call("keyctl", libc::SYS_keyctl, [0, zero, 0, 0, 0]);
    try_call("add_key", libc::SYS_add_key, [zero; 5]);
    try_call("request_key", libc::SYS_request_key, [zero; 5]);
    try_call("bpf", libc::SYS_bpf, [zero; 5]);
    try_call("kexec_load", libc::SYS_kexec_load, [zero; 5]);
    try_call("mount", libc::SYS_mount, [zero; 5]);
    try_call("umount2", libc::SYS_umount2, [zero; 5]);
    try_call("fsopen", libc::SYS_fsopen, [zero; 5]);
    try_call("open_tree", libc::SYS_open_tree, [zero; 5]);
    try_call("unshare", libc::SYS_unshare, [new_user, 0, 0, 0, 0]);
    try_call("setns", libc::SYS_setns, [zero; 5]);
    try_call("clone-newuser", libc::SYS_clone, [new_user | libc::SIGCHLD as usize, 0, 0, 0, 0]);
    try_call("clone3", libc::SYS_clone3, [zero; 5]);
    try_call("userfaultfd", libc::SYS_userfaultfd, [zero; 5]);
    try_call("perf_event_open", libc::SYS_perf_event_open, [zero; 5]);
    try_call("open_by_handle_at", libc::SYS_open_by_handle_at, [zero; 5]);
    try_call("io_uring_setup", libc::SYS_io_uring_setup, [zero; 5]);
    try_call("init_module", libc::SYS_init_module, [zero; 5]);
    try_call("reboot", libc::SYS_reboot, [zero; 5]);
    try_call("swapon", libc::SYS_swapon, [zero; 5]);
    try_call("pivot_root", libc::SYS_pivot_root, [zero; 5]);
    try_call("settimeofday", libc::SYS_settimeofday, [zero; 5]);
    try_call("syslog", libc::SYS_syslog, [3, 0, 0, 0, 0]);
    try_call("socket-alg", libc::SYS_socket, [libc::AF_ALG as usize, libc::SOCK_SEQPACKET as usize, 0, 0, 0]);
    try_call("socket-vsock", libc::SYS_socket, [libc::AF_VSOCK as usize, libc::SOCK_STREAM as usize, 0, 0, 0]);
    try_call("personality-odd", libc::SYS_personality, [0x40000, 0, 0, 0, 0]);
    // These must go on working.
    try_call("ok-socket-inet", libc::SYS_socket, [libc::AF_INET as usize, libc::SOCK_STREAM as usize, 0, 0, 0]);
    try_call("ok-socket-unix", libc::SYS_socket, [libc::AF_UNIX as usize, libc::SOCK_STREAM as usize, 0, 0, 0]);
    try_call("ok-personality", libc::SYS_personality, [0xffff_ffff, 0, 0, 0, 0]);
    try_call("ok-getpid", libc::SYS_getpid, [zero; 5]);
    try_call("ok-memfd", libc::SYS_memfd_create, [c"x".as_ptr() as usize, 0, 0, 0, 0]);
    std::thread::spawn(|| println!("\nok-thread 0")).join().unwrap();
}

/// This test's own program, in the container by what it needs of the machine.
fn own_program(spec: &mut RunSpec<'_>, test: &str) {
    let bind =
        |source: PathBuf, target: &str| BindMount { source, target: target.into(), readonly: true, mapped: false };
    spec.mounts.push(bind(std::env::current_exe().unwrap(), "/probe"));
    for folder in ["/usr/lib", "/lib", "/lib64"] {
        if let Ok(real) = std::fs::canonicalize(folder) {
            spec.mounts.push(bind(real, folder));
        }
    }
    spec.args = ["/probe", "--exact", test, "--ignored", "--nocapture"].map(str::to_owned).to_vec();
}

fn check_system_calls(machine: &Machine, map: Option<&'static IdMap>, root: &Path) {
    let mut spec = machine.spec(root, "");
    spec.id_map = map;
    own_program(&mut spec, "child_that_tries_system_calls");
    let lines = machine.output(&spec);
    let ended =
        |line: &&String| line.split_once(' ').and_then(|(name, code)| Some((name.to_owned(), code.parse().ok()?)));
    let calls: Vec<(String, i32)> = lines.iter().filter_map(|line| ended(&line)).collect();
    assert!(calls.len() >= 32, "{lines:?}");
    for (name, error) in calls {
        let expected = match name.as_str() {
            ok if ok.starts_with("ok-") => 0,
            "clone3" => libc::ENOSYS,
            _ => libc::EPERM,
        };
        assert_eq!(error, expected, "{name}, with a user namespace: {}", map.is_some());
    }
}

#[test]
fn system_calls_are_filtered() {
    let Some(machine) = Machine::new() else { return };
    check_system_calls(&machine, None, &machine.tree);
    let (overlay, _) = machine.mapped("calls");
    check_system_calls(&machine, Some(IdMap::get().unwrap()), overlay.path());
}

#[test]
fn an_insecure_one_may_mount() {
    let Some(machine) = Machine::new() else { return };
    let script = "mkdir /m && mount -t tmpfs x /m && umount /m && rmdir /m; grep Seccomp: /proc/self/status; \
                  ls -d /sys/firmware; grep CapEff /proc/self/status";
    let mut spec = machine.spec(&machine.tree, script);
    spec.security = Security::Insecure;
    let seen = machine.output(&spec);
    assert_eq!(&seen[..2], ["Seccomp:\t0", "/sys/firmware"]);
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    assert!(own.lines().any(|line| line == seen[2]), "all that this process has: {seen:?}");
}

#[test]
fn limits_hold_and_are_told() {
    let Some(machine) = Machine::new() else { return };
    let limit = |limits: ContainerLimits, script: &str| {
        let mut spec = machine.spec(&machine.tree, script);
        spec.limits = limits;
        machine.run(&spec)
    };
    let memory = ContainerLimits { memory: Some(32 << 20), ..ContainerLimits::default() };
    // A memory file system counts as memory of who writes it, and so does what a shell holds.
    let (outcome, lines) = limit(memory, "x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo ${#x}");
    let outcome = outcome.unwrap();
    assert_eq!((outcome.limit, outcome.signal), (Some(LimitHit::Memory(32 << 20)), Some(9)), "{outcome:?} {lines:?}");
    let (outcome, _) = limit(memory, "exit 3");
    assert_eq!(outcome.unwrap(), RunOutcome { exit_code: 3, signal: None, limit: None });

    for limits in [
        ContainerLimits { memory: Some(2 << 20), ..ContainerLimits::default() },
        ContainerLimits { pids: Some(2), ..ContainerLimits::default() },
    ] {
        let error = limit(limits, "true").0.unwrap_err();
        assert!(matches!(error, RuntimeError::LimitTooLow { .. }), "{error:?}");
    }

    let pids = ContainerLimits { pids: Some(12), ..ContainerLimits::default() };
    let (outcome, lines) = limit(pids, "for i in $(seq 40); do sleep 1 & done; wait");
    let outcome = outcome.unwrap();
    assert_eq!(outcome.limit, Some(LimitHit::Pids(12)), "{outcome:?} {lines:?}");
    assert_ne!(outcome.exit_code, 0);

    let time = ContainerLimits { time: Some(Duration::from_millis(300)), ..ContainerLimits::default() };
    let begun = Instant::now();
    let error = limit(time, "trap '' TERM; while true; do sleep 4713001; done").0.unwrap_err();
    assert!(matches!(error, RuntimeError::TimeLimit { limit } if limit == Duration::from_millis(300)), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(3) && !needs::runs("4713001"), "{:?}", begun.elapsed());

    let mut spec = machine.spec(&machine.tree, "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done; echo done");
    spec.limits = ContainerLimits { milli_cpus: Some(200), ..ContainerLimits::default() };
    let mut throttled = Vec::new();
    let mut look = |_, _: &[u8]| {
        for group in needs::cgroups(&format!("osbs-{}-", std::process::id())) {
            throttled.extend(std::fs::read_to_string(group.join("cpu.stat")));
        }
    };
    assert_eq!(run(&machine.runtime, &spec, &mut look, &CancellationToken::new()).unwrap().exit_code, 0);
    let was = |text: &String| text.lines().any(|line| line.starts_with("nr_throttled ") && line != "nr_throttled 0");
    assert!(throttled.iter().any(was), "a fifth of a processor: {throttled:?}");
    assert!(needs::cgroups(&format!("osbs-{}-", std::process::id())).iter().all(|group| is_anothers(group)));
}

/// Tests run at once in this process: a cgroup with somebody in it, or below, is that of another.
fn is_anothers(group: &Path) -> bool {
    std::thread::sleep(Duration::from_millis(200));
    !group.exists() || std::fs::read_to_string(group.join("cgroup.procs")).is_ok_and(|members| !members.is_empty())
}

#[test]
fn a_user_namespace_keeps_the_images_ids() {
    let Some(machine) = Machine::new() else { return };
    std::fs::write(machine.tree.join("given"), "hello\n").unwrap();
    std::os::unix::fs::chown(machine.tree.join("given"), Some(5), Some(6)).unwrap();
    let context = machine.dir.path().join("context");
    std::fs::create_dir(&context).unwrap();
    std::fs::write(context.join("file"), "mine\n").unwrap();
    std::fs::set_permissions(context.join("file"), std::fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::chown(context.join("file"), Some(0), Some(0)).unwrap();
    let (overlay, upper) = machine.mapped("ids");
    let script = "id -u; stat -c %u:%g /given /mnt/in/file /etc; cat /mnt/in/file; cat /proc/self/uid_map; \
                  echo new > /new; chown 7:8 /new; chmod 4755 /new; mkdir /dir; mkfifo /fifo; ln -s x /link; echo more >> /given; \
                  rm -r /bin/true; echo written > /mnt/out/made; chown 9 /mnt/out/made; echo err > /dev/stderr; \
                  mknod /node c 1 3 2>/dev/null || echo no node; ls /sys | grep -c kernel; \
                  (echo x > /sys/kernel/mm/ksm/run) 2>/dev/null || echo ro";
    let bind = |source: &Path, target: &str, readonly| BindMount {
        source: source.to_owned(),
        target: target.into(),
        readonly,
        mapped: false,
    };
    let mut spec = machine.spec(overlay.path(), &format!("{script}; true"));
    spec.id_map = Some(IdMap::get().unwrap());
    spec.mounts = vec![bind(&context, "/mnt/in", true), bind(&context, "/mnt/out", false)];
    let seen = machine.output(&spec);
    let expected = ["0", "5:6", "0:0", "0:0", "mine", "         0 2000000000 2000000000", "no node", "1", "ro"];
    // Standard error may come earlier or later.
    let (errors, seen): (Vec<_>, Vec<_>) = seen.into_iter().partition(|line| line == "err");
    assert_eq!((seen.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), errors.len()), (&expected[..], 1));
    drop(overlay);
    let owner =
        |path: PathBuf| std::fs::symlink_metadata(path).map(|meta| (meta.uid(), meta.gid(), meta.mode())).unwrap();
    assert_eq!(owner(upper.join("new")), (7, 8, 0o104_755));
    for (name, mode) in [("dir", 0o40_755), ("fifo", 0o10_644), ("link", 0o120_777), ("given", 0o100_644)] {
        let (uid, gid, found) = owner(upper.join(name));
        let wanted = if name == "given" { (5, 6) } else { (0, 0) };
        assert_eq!((uid, gid, found), (wanted.0, wanted.1, mode), "{name}");
    }
    assert!(owner(upper.join("bin/true")).2 & 0o170_000 == 0o20_000, "a whiteout");
    assert_eq!(owner(context.join("made")).0, 9);
    for stub in ["proc", "sys", "dev", "etc", "mnt", "node"] {
        assert!(!upper.join(stub).join("resolv.conf").exists() && !upper.join("node").exists(), "{stub}");
    }
    assert!(mounts_below(machine.dir.path()).unwrap().is_empty());
    assert!(std::fs::read_dir("/run/osbs-container").unwrap().next().is_none(), "nothing of it here");
}

/// An access list as the kernel stores it: user `id` may read (linux/posix_acl_xattr.h).
fn acl(id: u32) -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in
        [(1_u16, 7_u16, u32::MAX), (2, 4, id), (4, 5, u32::MAX), (0x10, 5, u32::MAX), (0x20, 5, u32::MAX)]
    {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

/// `cap_net_raw=ep` as the kernel stores it, version 2: it speaks of no user namespace.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[test]
#[ignore = "started by file_capabilities_are_those_of_the_image"]
fn child_that_sets_a_capability() {
    rustix::fs::setxattr("/bin", "system.posix_acl_access", &acl(5), rustix::fs::XattrFlags::empty()).unwrap();
    std::fs::write("/capable", "x").unwrap();
    let name = "security.capability";
    rustix::fs::setxattr("/capable", name, &CAPABILITY, rustix::fs::XattrFlags::empty()).unwrap();
    let mut value = [0; 64];
    let length = rustix::fs::getxattr("/capable", name, &mut value).unwrap();
    assert_eq!(value[..length], CAPABILITY);
    let length = rustix::fs::getxattr("/from-below", name, &mut value).unwrap();
    assert_eq!(value[..length], CAPABILITY);
    // Copied up with what it has.
    std::fs::set_permissions("/from-below", std::fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn file_capabilities_are_those_of_the_image() {
    let Some(machine) = Machine::new() else { return };
    let below = machine.tree.join("from-below");
    std::fs::write(&below, "x").unwrap();
    let name = "security.capability";
    rustix::fs::setxattr(&below, name, &CAPABILITY, rustix::fs::XattrFlags::empty()).unwrap();
    let (overlay, upper) = machine.mapped("capable");
    let mut spec = machine.spec(overlay.path(), "");
    spec.id_map = Some(IdMap::get().unwrap());
    own_program(&mut spec, "child_that_sets_a_capability");
    machine.output(&spec);
    drop(overlay);
    let mut value = [0; 64];
    let length = rustix::fs::getxattr(upper.join("bin"), "system.posix_acl_access", &mut value).unwrap();
    assert_eq!(value[..length], acl(5));
    for file in ["capable", "from-below"] {
        let mut value = [0; 64];
        let length = rustix::fs::getxattr(upper.join(file), name, &mut value).unwrap();
        assert_eq!(value[..length], CAPABILITY, "{file}");
    }
}

#[test]
fn a_user_namespace_with_other_users_and_networks() {
    let Some(machine) = Machine::new() else { return };
    std::fs::create_dir(machine.tree.join("suid")).unwrap();
    std::fs::copy("/bin/busybox", machine.tree.join("suid/su")).unwrap();
    std::fs::set_permissions(machine.tree.join("suid/su"), std::fs::Permissions::from_mode(0o4755)).unwrap();
    let (overlay, _) = machine.mapped("users");
    let map = IdMap::get().unwrap();
    let mut spec = machine.spec(overlay.path(), "echo by name >/dev/stderr; id -u; ln -s x /no 2>/dev/null || echo denied; grep CapEff /proc/self/status; grep -c : /proc/net/dev; ls -d /sys/class/net/*");
    spec.id_map = Some(map);
    spec.user = User { uid: 1000, gid: 1000, additional_gids: vec![33] };
    spec.network = Network::None;
    spec.output = Output::Together;
    let seen = machine.output(&spec);
    assert_eq!(&seen[..4], ["by name", "1000", "denied", "CapEff:\t0000000000000000"]);
    assert!(seen.last().unwrap().ends_with("/lo"), "{seen:?}");
    // Set-id works, unless it is to have no effect.
    for no_new_privileges in [false, true] {
        let mut spec = machine.spec(overlay.path(), "");
        spec.id_map = Some(map);
        spec.user = User { uid: 1000, gid: 1000, additional_gids: Vec::new() };
        spec.args = vec!["/suid/su".to_owned()];
        spec.no_new_privileges = no_new_privileges;
        let (_, lines) = machine.run(&spec);
        let without_effect = lines.iter().any(|line| line.contains("must be suid"));
        assert_eq!(without_effect, no_new_privileges, "{lines:?}");
    }
}

#[test]
fn a_user_namespace_costs_little() {
    let Some(machine) = Machine::new() else { return };
    let map = IdMap::get().unwrap();
    let mut best = [Duration::MAX; 2];
    // In turns, so that what else the machine does meets both.
    for index in 0..18 {
        let mapped = index % 2 == 1;
        let begun = Instant::now();
        let overlay = mapped.then(|| machine.mapped(&format!("cost{index}")).0);
        let root = overlay.as_ref().map_or(machine.tree.as_path(), Overlay::path);
        let mut spec = machine.spec(root, "true");
        spec.id_map = mapped.then_some(map);
        machine.output(&spec);
        drop(overlay);
        best[usize::from(mapped)] = best[usize::from(mapped)].min(begun.elapsed());
    }
    let [plain, mapped] = best;
    eprintln!("a trivial container: {plain:?}; with a user namespace and its overlay: {mapped:?}");
    assert!(mapped < plain + Duration::from_millis(150), "{plain:?} {mapped:?}");
}
