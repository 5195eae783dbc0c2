//! `enter_private_mounts` must come before the first thread, which the usual test harness has by then: so none here.
#![allow(clippy::print_stderr, clippy::print_stdout)]

use osbs_sandbox::{Overlay, OverlayOptions, enter_private_mounts};

fn main() {
    if std::env::var_os("OSBS_TEST_SKIP_REAL").is_some_and(|value| value == "1") {
        eprintln!("skipped, as OSBS_TEST_SKIP_REAL=1 asks: needs root");
        return;
    }
    assert!(rustix::process::getuid().is_root(), "run as root, or set OSBS_TEST_SKIP_REAL=1");
    let before = std::fs::read_link("/proc/self/ns/mnt").expect("/proc");
    enter_private_mounts().expect("root");
    assert_ne!(std::fs::read_link("/proc/self/ns/mnt").expect("/proc"), before);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let [lower, upper, work, target] = ["lower", "upper", "work", "target"].map(|name| {
        let path = dir.path().join(name);
        std::fs::create_dir(&path).expect("a folder");
        path
    });
    let overlay = Overlay::mount(&[lower], &upper, &work, &target, OverlayOptions::default()).expect("an overlay");
    let of_others = std::fs::read_to_string(format!(
        "/proc/{}/mountinfo",
        rustix::process::getppid().map_or(1, |p| p.as_raw_nonzero().get())
    ));
    assert!(!of_others.unwrap_or_default().contains(&*target.to_string_lossy()), "the machine does not see it");
    overlay.unmount().expect("unmounted");
    std::thread::spawn(|| assert!(enter_private_mounts().is_err(), "too late")).join().expect("the thread's check");
    println!("private mounts: ok");
}
