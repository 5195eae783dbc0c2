//! Edges that random histories do not reach, or that umoci cannot follow; each carried out, packed, applied and compared.

use super::support::{self, Mounted, assert_same, image, layer, ready, snapshot, unpack};
use crate::os;
use osbs_image::{ImageFormat, LayerError, Store, write_layer};
use rustix::fs::{Mode, OFlags};
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// A base and one change on top of it, applied by us.
fn check(what: &str, base: impl FnOnce(&Path), change: impl FnOnce(&Path)) {
    if !ready(&[("mount", "mount")]) {
        return;
    }
    let dir = tempfile::tempdir().expect("temp folder");
    let at = |name: &str| dir.path().join(name);
    let store = Store::open(&at("store")).expect("store");
    fs::create_dir(at("base")).expect("base");
    base(&at("base"));
    let below = layer(&store, &at("base"));
    let folders = unpack(&store, &image(&store, &[&below], ImageFormat::Oci));
    let expected = {
        let mounted = Mounted::overlay(&folders, Some((&at("upper"), &at("work"))), &at("merged"));
        assert_same(what, &snapshot(&at("base")), &snapshot(&mounted.0));
        change(&mounted.0);
        snapshot(&mounted.0)
    };
    let above = layer(&store, &at("upper"));
    let folders = unpack(&store, &image(&store, &[&below, &above], ImageFormat::Oci));
    let mounted = Mounted::overlay(&folders, None, &at("final"));
    assert_same(what, &expected, &snapshot(&mounted.0));
}

/// A folder `depth` folders of this name down, made one by one.
fn deep(root: &Path, name: &str, depth: usize) -> OwnedFd {
    let mut at = OwnedFd::from(File::open(root).expect("root"));
    for _ in 0..depth {
        match rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(0o750)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(e) => panic!("{e}"),
        }
        at = rustix::fs::openat(&at, name, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).expect("open");
    }
    at
}

fn put(folder: &OwnedFd, name: &str, text: &str) {
    let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o640)).expect("create");
    rustix::io::write(fd, text.as_bytes()).expect("write");
}

#[test]
fn paths_beyond_path_max() {
    let long = "d".repeat(255);
    check(
        "paths beyond PATH_MAX",
        |base| {
            let end = deep(base, &long, 20);
            put(&end, "changed", "1");
            put(&end, "removed", "2");
            put(&end, "linked", "3");
        },
        |merged| {
            let end = deep(merged, &long, 20);
            put(&end, "changed", "4");
            rustix::fs::unlinkat(&end, "removed", rustix::fs::AtFlags::empty()).expect("unlink");
            rustix::fs::linkat(&end, "linked", &end, "again", rustix::fs::AtFlags::empty()).expect("link");
            rustix::fs::symlinkat("linked", &end, "soft").expect("symlink");
            let times = support::times(-5, 250_000_000);
            rustix::fs::futimens(&end, &times).expect("times");
        },
    );
}

/// Nothing may hold a file descriptor, or a stack frame, for every folder on the way down.
#[test]
fn folders_deeper_than_a_process_has_files() {
    const DEPTH: usize = 1200;
    if !ready(&[("mount", "mount"), ("rm", "coreutils")]) {
        return;
    }
    let dir = tempfile::tempdir().expect("temp folder");
    let at = |name: &str| dir.path().join(name);
    let store = Store::open(&at("store")).expect("store");
    fs::create_dir(at("base")).expect("base");
    put(&deep(&at("base"), "d", DEPTH), "f", "1");
    let below = layer(&store, &at("base"));
    let folders = unpack(&store, &image(&store, &[&below], ImageFormat::Oci));
    {
        let mounted = Mounted::overlay(&folders, Some((&at("upper"), &at("work"))), &at("merged"));
        put(&deep(&mounted.0, "d", DEPTH), "g", "2");
    }
    let above = layer(&store, &at("upper"));
    let folders = unpack(&store, &image(&store, &[&below, &above], ImageFormat::Oci));
    {
        let mounted = Mounted::overlay(&folders, None, &at("final"));
        let end = deep(&mounted.0, "d", DEPTH);
        for (name, expected) in [("f", "1"), ("g", "2")] {
            let fd = rustix::fs::openat(&end, name, OFlags::RDONLY, Mode::empty()).expect("open");
            assert_eq!(std::io::read_to_string(File::from(fd)).expect("read"), expected);
        }
        let stat = rustix::fs::fstat(&end).expect("stat");
        assert_eq!(stat.st_mode & 0o777, 0o750);
    }
    assert_eq!(store.gc(false).expect("gc").layers, 2);
    // Not every library is as careful.
    support::run("rm", os!["-rf", at("base").as_path(), at("upper").as_path(), at("work").as_path()]);
}

#[test]
fn a_huge_folder() {
    let make = |root: &Path, from: usize, to: usize| {
        fs::create_dir_all(root.join("huge")).expect("folder");
        (from..to).for_each(|n| fs::write(root.join(format!("huge/file-{n:06}")), b"").expect("file"));
    };
    check(
        "20,000 names",
        |base| make(base, 0, 20_000),
        |merged| {
            make(merged, 20_000, 21_000);
            (0..500).for_each(|n| fs::remove_file(merged.join(format!("huge/file-{:06}", n * 7))).expect("remove"));
        },
    );
}

#[test]
fn what_only_tar_readers_like_ours_carry() {
    check(
        "an empty attribute, an ACL, a default ACL",
        |base| {
            fs::create_dir(base.join("shared")).expect("folder");
            fs::write(base.join("shared/before"), b"x").expect("file");
            fs::write(base.join("f"), b"x").expect("file");
            xattr::set(base.join("f"), "user.empty", b"").expect("xattr");
        },
        |merged| {
            // acl(5): version, then tag, permissions and id of each entry: owner, user 1000, group, mask, others.
            let acl: &[&[u8]] = &[
                &[2, 0, 0, 0],
                &[1, 0, 7, 0, 255, 255, 255, 255],
                &[2, 0, 4, 0, 0xe8, 3, 0, 0],
                &[4, 0, 5, 0, 255, 255, 255, 255],
                &[16, 0, 5, 0, 255, 255, 255, 255],
                &[32, 0, 0, 0, 255, 255, 255, 255],
            ];
            let acl = acl.concat();
            xattr::set(merged.join("f"), "system.posix_acl_access", &acl).expect("acl");
            xattr::set(merged.join("shared"), "system.posix_acl_default", &acl).expect("default acl");
            fs::write(merged.join("shared/after"), b"y").expect("inherits");
            xattr::remove(merged.join("shared/after"), "system.posix_acl_access").expect("lose it again");
            fs::create_dir(merged.join("shared/folder")).expect("inherits");
        },
    );
}

/// A socket in place of a file of the parent: it is left out, and the file does not come back.
#[test]
fn a_socket_hides_what_it_replaced() {
    if !ready(&[("mount", "mount")]) {
        return;
    }
    let dir = tempfile::tempdir().expect("temp folder");
    let at = |name: &str| dir.path().join(name);
    let store = Store::open(&at("store")).expect("store");
    fs::create_dir(at("base")).expect("base");
    fs::write(at("base/run"), b"x").expect("file");
    let below = layer(&store, &at("base"));
    let folders = unpack(&store, &image(&store, &[&below], ImageFormat::Oci));
    {
        let mounted = Mounted::overlay(&folders, Some((&at("upper"), &at("work"))), &at("merged"));
        fs::remove_file(mounted.0.join("run")).expect("remove");
        drop(std::os::unix::net::UnixListener::bind(mounted.0.join("run")).expect("bind"));
    }
    let above = layer(&store, &at("upper"));
    let folders = unpack(&store, &image(&store, &[&below, &above], ImageFormat::Oci));
    let mounted = Mounted::overlay(&folders, None, &at("final"));
    assert!(fs::symlink_metadata(mounted.0.join("run")).is_err());
}

#[test]
fn names_of_whiteouts_are_refused() {
    if !ready(&[]) {
        return;
    }
    let dir = tempfile::tempdir().expect("temp folder");
    let store = Store::open(&dir.path().join("store")).expect("store");
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).expect("tree");
    fs::write(tree.join(".wh.x"), b"").expect("file");
    let made = write_layer(&store, support::request(&[tree]), &CancellationToken::new(), &|_, _| ());
    assert!(matches!(made, Err(LayerError::Entry { .. })), "{made:?}");
}
