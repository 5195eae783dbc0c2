//! The build context that all cases share: every kind of file, with times long ago.

use crate::support::run;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, mknodat, setxattr, utimensat};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

const FILES: &[(&str, &str)] = &[
    ("a.txt", "a\n"),
    ("b.txt", "bb\n"),
    ("c.md", "c\n"),
    ("run.sh", "#!/bin/sh\necho run\n"),
    ("zero", ""),
    (".hidden", "hidden\n"),
    ("dir/one", "1\n"),
    ("dir/.dot", "dot\n"),
    ("dir/sub/two", "2\n"),
    ("dir/sub/three", "3\n"),
    ("dir2/one", "another 1\n"),
    ("dir2/other", "o\n"),
    ("deep/x/y/z/leaf", "leaf\n"),
    ("deep/x/leaf.txt", "leaf\n"),
    ("deep/w/y/leaf.txt", "w\n"),
    ("globs/1.txt", "1\n"),
    ("globs/2.txt", "2\n"),
    ("globs/10.txt", "10\n"),
    ("globs/x.txt", "x\n"),
    ("brackets/arr[0].txt", "arr\n"),
    ("brackets/arr0.txt", "no\n"),
    ("brackets/back\\slash", "back\n"),
    ("globs/star*.txt", "star\n"),
    ("globs/sp ace.txt", "space\n"),
    ("globs/-dash", "dash\n"),
    ("globs/\u{fc}nicode", "u\n"),
    ("ignored/keep.md", "keep\n"),
    ("ignored/drop.md", "drop\n"),
    ("ignored/sub/keep.md", "keep\n"),
    ("ignored/sub/drop.log", "drop\n"),
    ("ignored/.git/config", "git\n"),
    ("hard/1", "hard\n"),
    ("xattr/user", "x\n"),
    ("xattr/capable", "x\n"),
    ("modes/setuid", "s\n"),
    ("modes/setgid", "s\n"),
    ("modes/readonly", "r\n"),
    ("modes/none", "n\n"),
    ("modes/sticky/f", "t\n"),
    ("modes/shared/f", "g\n"),
    ("owned/theirs", "t\n"),
    ("owned/folder/f", "f\n"),
    ("like.tar.gz", "this is no archive\n"),
    ("over/bin/new", "n\n"),
    ("over/usr/lib/new", "n\n"),
    ("over/lib/linked", "l\n"),
    ("tree/top.txt", "top\n"),
    ("tree/one/a.txt", "a\n"),
    ("tree/one/b.md", "b\n"),
    ("tree/one/two/c.txt", "c\n"),
    ("tree/one/two/d.md", "d\n"),
    ("tree/other/two/e.txt", "e\n"),
    ("tree/other/f.sh", "f\n"),
];

const MODES: &[(&str, u32)] = &[
    ("b.txt", 0o640),
    ("run.sh", 0o755),
    ("dir/sub", 0o700),
    ("dir2", 0o711),
    ("tree/one", 0o750),
    ("tree/one/two", 0o700),
    ("tree/other/f.sh", 0o700),
    ("special/fifo", 0o620),
    ("special/null", 0o620),
    ("special/disk", 0o620),
    ("modes/setuid", 0o4755),
    ("modes/setgid", 0o2755),
    ("modes/readonly", 0o444),
    ("modes/none", 0o000),
    ("modes/sticky", 0o1777),
    ("modes/shared", 0o2775),
];

const LINKS: &[(&str, &str)] = &[
    ("link", "dir"),
    ("filelink", "a.txt"),
    ("links/up", "../a.txt"),
    ("links/dangling", "/nowhere"),
    ("links/folder", "../dir"),
    ("links/absolute", "/a.txt"),
    ("tree/other/link", "two"),
    ("links/outside", "../../../../etc/passwd"),
];

/// Fills `context`; `scratch` is a new folder beside it.
pub fn fill(context: &Path, scratch: &Path) {
    for (path, content) in FILES {
        let path = context.join(path);
        fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        fs::write(path, content).expect("file");
    }
    for folder in ["empty", "links", "special", "names", "many"] {
        fs::create_dir_all(context.join(folder)).expect("folder");
    }
    for (path, target) in LINKS {
        symlink(target, context.join(path)).expect("link");
    }
    special(context);
    names(&context.join("names"));
    for number in 0..400 {
        fs::write(context.join(format!("many/{number}")), number.to_string()).expect("file");
    }
    fs::hard_link(context.join("many/1"), context.join("many/second-name-of-1")).expect("hard link");
    for name in ["hard/2", "hard-too"] {
        fs::hard_link(context.join("hard/1"), context.join(name)).expect("hard link");
    }
    chown(context.join("owned/theirs"), Some(1000), Some(1001)).expect("owner");
    chown(context.join("owned/folder"), Some(5), Some(6)).expect("owner");
    for (path, mode) in MODES {
        fs::set_permissions(context.join(path), fs::Permissions::from_mode(*mode)).expect("mode");
    }
    setxattr(context.join("xattr/user"), "user.note", b"kept", XattrFlags::empty()).expect("attribute");
    // Version 2, effective, CAP_NET_BIND_SERVICE (linux/capability.h).
    let mut capability = [0_u8; 20];
    capability[..8].copy_from_slice(&[1, 0, 0, 2, 0, 4, 0, 0]);
    setxattr(context.join("xattr/capable"), "security.capability", &capability, XattrFlags::empty())
        .expect("capability");
    archives(context, scratch);
    long_ago(context);
}

fn special(context: &Path) {
    let sparse = fs::File::create(context.join("special/sparse")).expect("file");
    sparse.write_all_at(b"begin", 0).expect("write");
    sparse.write_all_at(b"middle", 600 << 10).expect("write");
    sparse.set_len(1 << 20).expect("length");
    let mode = Mode::from_raw_mode(0o620);
    mknodat(CWD, context.join("special/fifo"), FileType::Fifo, mode, 0).expect("fifo");
    let null = rustix::fs::makedev(1, 3);
    mknodat(CWD, context.join("special/null"), FileType::CharacterDevice, mode, null).expect("device");
    mknodat(CWD, context.join("special/disk"), FileType::BlockDevice, mode, rustix::fs::makedev(7, 9)).expect("device");
    drop(UnixListener::bind(context.join("special/socket")).expect("socket"));
}

fn names(folder: &Path) {
    let long = "n".repeat(255);
    for name in [b"\xff\xfe".as_slice(), b"new\nline", b"tab\there", long.as_bytes(), b"\xf0\x9f\x90\x9a"] {
        fs::write(folder.join(OsStr::from_bytes(name)), "n").expect("file");
    }
}

/// Times that no build can have made, all different.
fn long_ago(context: &Path) {
    let mut paths = vec![context.to_owned()];
    let mut next = 0;
    while next < paths.len() {
        if fs::symlink_metadata(&paths[next]).expect("metadata").is_dir() {
            let mut entries: Vec<PathBuf> =
                fs::read_dir(&paths[next]).expect("list").map(|entry| entry.expect("entry").path()).collect();
            entries.sort();
            paths.append(&mut entries);
        }
        next += 1;
    }
    for (number, path) in paths.iter().enumerate() {
        let time = Timespec { tv_sec: 1_100_000_000 + 1000 * number as i64, tv_nsec: 123_456_789 };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("time");
    }
}

fn archives(context: &Path, scratch: &Path) {
    for folder in ["sub", "empty"] {
        fs::create_dir_all(scratch.join(folder)).expect("folder");
    }
    fs::write(scratch.join("file"), "f\n").expect("file");
    fs::write(scratch.join("sub/two"), "2\n").expect("file");
    symlink("file", scratch.join("link")).expect("link");
    symlink("/etc/passwd", scratch.join("far")).expect("link");
    fs::hard_link(scratch.join("file"), scratch.join("same")).expect("hard link");
    for (path, mode) in [("file", 0o4711), ("sub", 0o750)] {
        fs::set_permissions(scratch.join(path), fs::Permissions::from_mode(mode)).expect("mode");
    }
    long_ago(scratch);
    let tree = scratch.display().to_string();
    let tar = |name: &str, flags: &[&str], what: &[&str]| {
        let out = context.join(name).display().to_string();
        let mut args = vec!["--owner=7", "--group=8", "--numeric-owner"];
        args.extend(flags);
        args.extend(["-cf", &out, "-C", &tree]);
        args.extend(what);
        run("tar", &args);
    };
    tar("tree.tar", &[], &["."]);
    // Without an entry for the folder itself.
    let names = ["file", "same", "link", "far", "sub", "empty"];
    for (name, flag) in [
        ("plain.tar", "--posix"),
        ("gnu.tar", "--format=gnu"),
        ("tree.tar.gz", "-z"),
        ("tree.tar.bz2", "-j"),
        ("tree.tar.xz", "-J"),
        ("tree.tar.zst", "--zstd"),
    ] {
        tar(name, &[flag], &names);
    }
    fs::copy(context.join("tree.tar.gz"), context.join("no-ending")).expect("copy");
    let text = context.join("text").display().to_string();
    fs::copy(context.join("b.txt"), &text).expect("copy");
    run("gzip", &["-n", &text]);
}
