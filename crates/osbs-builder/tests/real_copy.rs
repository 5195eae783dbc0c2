//! COPY and ADD on real file systems: extents are shared where the file system can, holes stay holes, what cannot be
//! read does not hang, limits hold, and how long it takes beside `cp`.
//!
//! `OSBS_TEST_LARGE_MB` (default 16) and `OSBS_TEST_FILES` (default 5000) choose the sizes.

#![allow(clippy::print_stdout, reason = "it measures")]

mod support;

use osbs_builder::{BuildRequest, Limits};
use osbs_types::ErrorKind;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use support::{Seen, Site, ready, run};
use tokio_util::sync::CancellationToken;

const PROGRAMS: &[(&str, &str)] = &[("runc", "runc"), ("mkfs.xfs", "xfsprogs"), ("umoci", "umoci")];

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// A file system that shares extents, in a file.
struct Xfs {
    dir: tempfile::TempDir,
}

impl Xfs {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temp folder");
        let (image, target) = (dir.path().join("image"), dir.path().join("mounted"));
        File::create(&image).expect("image").set_len(1 << 30).expect("length");
        let image = image.display().to_string();
        run("mkfs.xfs", &["-q", "-m", "reflink=1", &image]);
        fs::create_dir(&target).expect("folder");
        run("mount", &["-o", "loop", &image, &target.display().to_string()]);
        Self { dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("mounted")
    }

    /// Bytes in use, once all is on disk.
    fn used(&self) -> u64 {
        rustix::fs::syncfs(File::open(self.path()).expect("open")).expect("syncfs");
        let stat = rustix::fs::statvfs(self.path()).expect("statvfs");
        (stat.f_blocks - stat.f_bfree) * stat.f_frsize
    }
}

impl Drop for Xfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

fn text_of(size: u64) -> Vec<u8> {
    (0..size / 8).flat_map(|at| format!("{at:08}").into_bytes()).collect()
}

#[test]
fn extents_are_shared_where_the_file_system_can() {
    if !ready(PROGRAMS) {
        return;
    }
    let xfs = Xfs::new();
    let site = Site::new_in(&xfs.path(), &["sh", "cmp", "true"]);
    let size = number("OSBS_TEST_LARGE_MB", 16) << 20;
    fs::write(site.file("large", ""), text_of(size)).expect("write");
    fs::write(site.file("folder/large", ""), text_of(size)).expect("write");
    for number in 0..300 {
        site.file(&format!("folder/{number}"), "x");
    }
    for text in [
        "FROM localhost/base\nCOPY large /one\n",
        "FROM localhost/base\nCOPY large folder/large /two/\nCOPY --chown=5:6 --chmod=4711 large /two/suid\n",
        "FROM localhost/base\nCOPY folder /many\n",
        "FROM scratch\nCOPY folder/large /existing/\nCOPY large /existing/\n",
    ] {
        let before = xfs.used();
        let built = site.build(text).expect("build");
        let (grown, packed) = (xfs.used().saturating_sub(before), built.new_layer.descriptor.size);
        // The layer's blob is new; the unpacked layer that is kept shares its extents with the context.
        assert!(grown < packed + size / 4, "{text}: {grown} bytes for a layer of {packed}");
        let tree = site.unpack(&built.image, "shared");
        let large = tree.iter().filter(|(_, entry)| entry.content.len() as u64 == size);
        assert!(large.clone().count() > 0, "{text}: {:?}", tree.keys());
        assert!(large.clone().all(|(_, entry)| entry.content == text_of(size)), "{text}");
        let suid = tree.get(Path::new("two/suid")).map(|entry| (entry.mode & 0o7777, entry.owner));
        assert!(suid.is_none_or(|is| is == (0o4711, (5, 6))), "{suid:?}");
        fs::remove_dir_all(site.dir.path().join("oci-shared")).expect("layout");
    }
}

#[test]
fn a_large_file_that_is_replaced_at_once_stays_replaced() {
    if !ready(PROGRAMS) {
        return;
    }
    let site = Site::new();
    fs::write(site.file("one/file", ""), text_of(3 << 20)).expect("write");
    fs::write(site.file("two/file", ""), text_of(2 << 20)).expect("write");
    site.file("three/file", "small");
    for (text, length) in [
        ("COPY one two /x/\n", 2 << 20),
        ("COPY two one /x/\n", 3 << 20),
        ("COPY one two three /x/\n", 5),
        ("COPY three one /x/\n", 3 << 20),
        ("COPY one /x/\nRUN rm /x/file && echo > /x/file\n", 1),
        ("COPY one /x/\nRUN echo more >> /x/file\n", (3 << 20) + 5),
    ] {
        let built = site.build(&format!("FROM localhost/base\n{text}")).expect(text);
        let tree = site.unpack(&built.image, "replaced");
        assert_eq!(tree[Path::new("x/file")].content.len(), length, "{text}");
        fs::remove_dir_all(site.dir.path().join("oci-replaced")).expect("layout");
    }
}

#[test]
fn holes_stay_holes() {
    if !ready(PROGRAMS) {
        return;
    }
    let site = Site::new();
    let sparse = File::create(site.file("sparse", "")).expect("file");
    sparse.write_all_at(b"end", 5 << 30).expect("write");
    drop(sparse);
    // Cancelled when the copy is there: such a layer would be five gigabytes of zeros.
    let cancel = CancellationToken::new();
    let seen = Seen { cancel_at: Some((b"blocks".to_vec(), cancel.clone())), ..Seen::default() };
    let started = Instant::now();
    let text = "FROM localhost/base\nCOPY sparse /s\nRUN stat -c 'blocks %b %s' /s\n";
    site.build_with(text, |_| {}, &seen, &cancel).expect_err("cancelled");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    let lines = seen.lines.lock().expect("lock").clone();
    let line = String::from_utf8_lossy(&lines[0]).into_owned();
    let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    assert!(numbers[0] < 1000 && numbers[1] == (5 << 30) + 3, "{line}");
}

/// What is no file does not hang a COPY, and nothing outside is reached through it.
#[test]
fn what_is_no_file_does_not_hang() {
    if !ready(PROGRAMS) {
        return;
    }
    let site = Site::new();
    let context = site.context();
    let mode = Mode::from_raw_mode(0o644);
    for name in ["folder/fifo", "fifo"] {
        site.file(name, "");
        fs::remove_file(context.join(name)).expect("remove");
        mknodat(CWD, context.join(name), FileType::Fifo, mode, 0).expect("fifo");
    }
    let tty = rustix::fs::makedev(5, 0);
    mknodat(CWD, context.join("tty"), FileType::CharacterDevice, mode, tty).expect("device");
    fs::write(site.dir.path().join("canary"), "outside").expect("canary");
    for (name, target) in [
        ("self", "/proc/self/cwd"),
        ("fd", "/proc/self/fd/0"),
        ("root", "/proc/self/root/etc/passwd"),
        ("up", "../canary"),
        ("loop", "loop"),
        ("absolute", "/etc/passwd"),
    ] {
        symlink(target, context.join(name)).expect("link");
    }
    let check = |text: &str, fails: bool| {
        let started = Instant::now();
        let built = site.build(&format!("FROM scratch\n{text}"));
        assert!(started.elapsed() < Duration::from_secs(10), "{text}: {:?}", started.elapsed());
        assert_eq!(built.is_err(), fails, "{text}: {built:?}");
        if let Err(error) = &built {
            assert_eq!(error.kind(), ErrorKind::User, "{text}: {error}");
        }
        built.ok()
    };
    for text in ["COPY fifo /x/\n", "COPY folder /x/\n", "ADD fifo /x/\n", "COPY tty /x\n", "ADD tty /x\n"] {
        check(text, false);
    }
    for name in ["self", "fd", "root", "up", "loop", "absolute"] {
        check(&format!("COPY {name} /x/\n"), true);
        check(&format!("ADD {name} /x/\n"), true);
        check(&format!("COPY --parents {name}/x /x/\n"), true);
    }
    let built = check("COPY . /x/\n", false).expect("built");
    let tree = site.unpack(&built.image, "links");
    assert_eq!(tree[Path::new("x/up")].content, b"../canary");
    assert!(tree.values().all(|entry| entry.content != b"outside"));
}

#[test]
fn limits_are_named_with_what_to_do() {
    if !ready(PROGRAMS) {
        return;
    }
    let site = Site::new();
    for number in 0..40 {
        site.file(&format!("many/{number}"), "12345678");
    }
    site.file(&format!("deep{}/leaf", "/d".repeat(40)), "x");
    File::create(site.file("sparse", "")).expect("file").set_len(1 << 40).expect("length");
    let check = |text: &str, limits: Limits, words: &[&str]| {
        let set = |request: &mut BuildRequest<'_>| request.limits = limits;
        let started = Instant::now();
        let error = site
            .build_with(&format!("FROM localhost/base\n{text}"), set, &Seen::default(), &CancellationToken::new())
            .expect_err(text);
        assert!(started.elapsed() < Duration::from_secs(10), "{text}");
        let failure = error.to_failure();
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        let said = format!("{source} {}", failure.hint.unwrap_or_default());
        for word in words {
            assert!(said.contains(word), "{text}: {said:?} lacks {word:?}");
        }
        assert_eq!(failure.kind, ErrorKind::User);
    };
    let limits = Limits::default();
    let ignore = ".dockerignore";
    check("COPY many /x\n", Limits { files: 20, ..limits }, &["number of files", "20", "in parts", ignore]);
    check("COPY many /x\n", Limits { copied_bytes: 100, ..limits }, &["100 bytes", "in parts", ignore]);
    check("COPY many/1 /x\n", Limits { copied_bytes: 7, ..limits }, &["7 bytes", "many/1"]);
    check("COPY sparse /x\n", limits, &["bytes", "sparse"]);
    check("COPY . /x\n", limits, &["bytes"]);
    check("COPY deep /x\n", Limits { depth: 10, ..limits }, &["10 levels", "in parts"]);
    // What is left out does not count.
    fs::write(site.context().join(".dockerignore"), "sparse\nmany/[2-9]*\n").expect("ignore file");
    let set = |request: &mut BuildRequest<'_>| request.limits = Limits { copied_bytes: 1000, ..limits };
    let text = "FROM localhost/base\nCOPY . /x\n";
    site.build_with(text, set, &Seen::default(), &CancellationToken::new()).expect("within the limits");
}

/// Prints how long COPY takes beside `cp -a --reflink=auto` of the same files.
#[test]
fn as_fast_as_cp() {
    if !ready(PROGRAMS) {
        return;
    }
    let site = Site::new();
    let (files, large) = (number("OSBS_TEST_FILES", 5000), number("OSBS_TEST_LARGE_MB", 16) << 20);
    for number in 0..files {
        site.file(&format!("files/d{}/f{number}", number / 100), &"content\n".repeat(1 + number as usize % 500));
    }
    fs::write(site.file("large/file", ""), text_of(large)).expect("write");
    for folder in ["files", "large"] {
        let started = Instant::now();
        let target = site.dir.path().join(format!("cp-{folder}"));
        let source = site.context().join(folder).display().to_string();
        run("cp", &["-a", "--reflink=auto", &source, &target.display().to_string()]);
        let cp = started.elapsed();
        let step = |build: &str| {
            let built = site.build(build).expect("build");
            built.timings.iter().find(|(name, _)| *name == "instructions").expect("timing").1
        };
        step("FROM localhost/base\n");
        let copy = step(&format!("FROM localhost/base\nCOPY {folder} /copy\n"));
        println!("{folder}: cp {:.2} s, COPY {copy:.2} s", cp.as_secs_f64());
        // A busy machine may favour one of them; twice is a fault.
        assert!(copy < 2.0 * cp.as_secs_f64() + 1.0, "{folder}: cp {cp:?}, COPY {copy} s");
    }
}

#[test]
fn a_wild_card_that_matches_nothing_is_told() {
    if !ready(PROGRAMS) {
        return;
    }
    let site = Site::new();
    site.file("a.txt", "a");
    let seen = Seen::default();
    let text = "FROM scratch AS one\nCOPY *.txt *.none /x/\n";
    site.build_with(text, |_| {}, &seen, &CancellationToken::new()).expect("build");
    let lines = seen.lines.lock().expect("lock").clone();
    assert_eq!(lines, [b"*.none matches nothing in the build context".to_vec()]);
}
