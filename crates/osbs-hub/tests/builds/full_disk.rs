//! A hub whose disk is full says so, keeps nothing by halves, and goes on when there is room.

use crate::fixture::*;
use crate::process::{HubProcess, Remote, prepare};
use osbs_koji::{Arguments, Value};
use std::path::Path;
use std::process::Command;

/// A file system of its own, of a few MiB. It goes with this.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "osbs-hub-test"]).arg(folder.path()).status();
        assert!(mounted.unwrap().success(), "mounting needs root: OSBS_TEST_SKIP_REAL=1 leaves this test out");
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

#[test]
fn a_full_disk_is_said_and_nothing_is_kept_by_halves() {
    if std::env::var_os("OSBS_TEST_SKIP_REAL").is_some_and(|value| value == "1") {
        return;
    }
    let disk = SmallDisk::new();
    let hub = HubProcess::start(disk.path());
    prepare(hub.address);
    let remote = Remote::login(hub.address, "reactor").unwrap();
    let refused = remote.upload("koji-upload/big", "big.tar", &vec![b'x'; 12 << 20]).unwrap().unwrap_err();
    assert_eq!(refused.code, 1000);
    assert!(refused.text.contains("disk is full"), "{refused}");
    let size = std::fs::metadata(disk.path().join("work/koji-upload/big/big.tar")).unwrap().len();
    assert!(size < 4 << 20, "{size} bytes stay");
    for (name, bytes) in [(IMAGE, IMAGE_BYTES), (LOG, LOG_BYTES)] {
        remote.upload("koji-upload/1", name, bytes).unwrap().unwrap();
    }
    // Not even a note fits.
    let rest = std::fs::File::create(disk.path().join("rest")).unwrap();
    while std::io::copy(&mut std::io::repeat(b'x'), &mut &rest).is_ok() {}
    let sent = Value::from_json(&metadata("1"));
    let import = || remote.call("CGImport", Arguments::of([sent.clone(), "koji-upload/1".into()])).unwrap();
    let refused = import().unwrap_err();
    assert!(refused.text.contains("disk is full"), "{refused}");
    assert!(!disk.path().join(format!("packages/{PACKAGE}/2.4/1")).exists());
    drop(rest);
    std::fs::remove_file(disk.path().join("rest")).unwrap();
    import().unwrap();
    assert_eq!(
        std::fs::read(disk.path().join(format!("packages/{PACKAGE}/2.4/1/images/{IMAGE}"))).unwrap(),
        IMAGE_BYTES
    );
}
