//! What the real tests need of the machine, and what they say when it is missing.
#![allow(dead_code)]

use osbs_sandbox::{Runtime, probe_runtime};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Whether to skip, which somebody has to ask for.
pub fn skip(what: &str) -> bool {
    let asked = std::env::var_os("OSBS_TEST_SKIP_REAL").is_some_and(|value| value == "1");
    if asked {
        eprintln!("skipped, as OSBS_TEST_SKIP_REAL=1 asks: needs {what}");
    }
    asked
}

pub fn root_user() {
    assert!(rustix::process::getuid().is_root(), "run as root, or set OSBS_TEST_SKIP_REAL=1");
}

pub fn runtime() -> Runtime {
    root_user();
    probe_runtime(None).unwrap_or_else(|error| panic!("{error}"))
}

/// A root file system with a static busybox and nothing else.
pub fn busybox_root(root: &Path) {
    let busybox = Path::new("/bin/busybox");
    assert!(busybox.is_file(), "apt-get install busybox-static");
    std::fs::create_dir_all(root.join("bin")).unwrap();
    std::fs::copy(busybox, root.join("bin/busybox")).unwrap();
    for name in ["sh", "true", "cat", "echo", "sleep", "id", "grep", "ls", "hostname", "seq", "env", "dd", "touch"] {
        symlink("busybox", root.join("bin").join(name)).unwrap();
    }
}

/// Every file below, relative.
pub fn tree(root: &Path) -> Vec<PathBuf> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            found.push(entry.path());
            if entry.file_type().unwrap().is_dir() {
                walk(&entry.path(), found);
            }
        }
    }
    let mut found = Vec::new();
    walk(root, &mut found);
    found.sort();
    found
}

/// Whether a process with `word` among its arguments runs.
pub fn runs(word: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    processes.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok()).any(|entry| {
        let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        arguments.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes())
    })
}

/// The cgroups whose name begins with `prefix`, at the top of any hierarchy.
pub fn cgroups(prefix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut hierarchies = vec![PathBuf::from("/sys/fs/cgroup")];
    hierarchies.extend(std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path()));
    for hierarchy in hierarchies {
        for entry in std::fs::read_dir(hierarchy).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                found.push(entry.path());
            }
        }
    }
    found
}
