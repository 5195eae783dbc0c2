//! What the tests with real programs share: programs, overlay mounts, random trees and their comparison.
#![allow(clippy::unnecessary_debug_formatting, reason = "names may be any bytes")]
#![allow(dead_code, reason = "every test file uses another part")]
#![allow(clippy::print_stdout, reason = "tells why a test skips, or what it measured")]

use osbs_image::{
    Descriptor, History, ImageConfig, ImageFormat, LayerRequest, Store, StoredImage, WrittenLayer, write_layer,
};
use osbs_types::{Architecture, Digest};
use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tokio_util::sync::CancellationToken;

/// False when real tests are switched off; fails when something they need is missing.
pub fn ready(programs: &[(&str, &str)]) -> bool {
    if std::env::var_os("OSBS_TEST_SKIP_REAL").is_some_and(|v| v == "1") {
        println!("skipped: OSBS_TEST_SKIP_REAL=1");
        return false;
    }
    assert!(rustix::process::geteuid().is_root(), "this test mounts overlayfs and makes devices: run it as root");
    for (program, package) in programs {
        let found =
            std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|p| p.join(program).is_file());
        assert!(found, "{program} is missing: apt-get install {package}");
    }
    true
}

pub fn run(program: &str, args: &[&OsStr]) -> Output {
    let output = Command::new(program).args(args).output().expect(program);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {text}");
    output
}

/// Arguments of a program.
#[macro_export]
macro_rules! os {
    ($($arg:expr),* $(,)?) => { &[$(std::ffi::OsStr::new($arg)),*] };
}

/// A small generator: tests must not differ from run to run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) ^ (self.0 >> 17 & 0xffff)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|n| if n % 7 == 0 { self.next() as u8 } else { (n % 50) as u8 }).collect()
    }
}

/// An overlay mount, removed when dropped.
pub struct Mounted(pub PathBuf);

impl Mounted {
    pub fn overlay(lowers: &[PathBuf], upper: Option<(&Path, &Path)>, target: &Path) -> Self {
        fs::create_dir_all(target).expect("target");
        let list: Vec<String> = lowers.iter().rev().map(|p| p.display().to_string()).collect();
        let mut options = format!("lowerdir={},index=off,metacopy=off,redirect_dir=off", list.join(":"));
        if let Some((upper, work)) = upper {
            fs::create_dir_all(upper).expect("upper");
            fs::create_dir_all(work).expect("work");
            options = format!("{options},upperdir={},workdir={}", upper.display(), work.display());
        } else if lowers.len() == 1 {
            let empty = target.with_extension("empty");
            fs::create_dir_all(&empty).expect("empty");
            options = options.replacen("lowerdir=", &format!("lowerdir={}:", empty.display()), 1);
        }
        run("mount", os!["-t", "overlay", "overlay", "-o", &options, target]);
        Self(target.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: a program that another thread is starting may hold a folder of it for a moment.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Everything about one path that a layer keeps. Times are whole seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub mode: u32,
    pub owner: (u32, u32),
    pub mtime: i64,
    pub device: u64,
    pub content: String,
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// The first path with the same inode.
    pub same_as: Option<PathBuf>,
}

/// The whole tree, by path.
pub fn snapshot(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut found: BTreeMap<PathBuf, Seen> = BTreeMap::new();
    let mut inodes = BTreeMap::new();
    look(root, Path::new(""), &mut found, &mut inodes);
    // overlayfs tells the link count of the file below, of which other names may be hidden.
    let mut groups: BTreeMap<PathBuf, u32> = BTreeMap::new();
    for first in found.values().filter_map(|seen| seen.same_as.clone()) {
        *groups.entry(first).or_default() += 1;
    }
    for seen in found.values_mut() {
        seen.same_as = seen.same_as.take().filter(|first| groups[first] > 1);
    }
    found
}

/// `at` is reached through the open folder it is in: paths may be longer than a call takes.
fn look(at: &Path, path: &Path, found: &mut BTreeMap<PathBuf, Seen>, inodes: &mut BTreeMap<(u64, u64), PathBuf>) {
    let m = fs::symlink_metadata(at).unwrap_or_else(|e| panic!("{path:?} is listed but: {e}"));
    let kind = m.file_type();
    let content = if kind.is_file() {
        Digest::from_sha256(&sha256(&fs::read(at).expect("read"))).to_string()
    } else if kind.is_symlink() {
        format!("{:?}", fs::read_link(at).expect("link"))
    } else {
        String::new()
    };
    let mut same_as = None;
    if !kind.is_dir() && m.nlink() > 1 {
        let first = inodes.entry((m.dev(), m.ino())).or_insert_with(|| path.to_owned()).clone();
        same_as = Some(first);
    }
    let device = if kind.is_char_device() || kind.is_block_device() { m.rdev() } else { 0 };
    let mut xattrs = BTreeMap::new();
    for name in xattr::list(at).into_iter().flatten() {
        let name_text = name.to_string_lossy().into_owned();
        if !name_text.starts_with("trusted.overlay")
            && name_text != "security.selinux"
            && name_text != "user.rootlesscontainers"
        {
            xattrs.insert(name_text, xattr::get(at, &name).expect("xattr").unwrap_or_default());
        }
    }
    // The time of an unchanged root is not part of a layer.
    let mtime = if path.as_os_str().is_empty() { 0 } else { m.mtime() };
    let seen = Seen { mode: m.mode(), owner: (m.uid(), m.gid()), mtime, device, content, xattrs, same_as };
    found.insert(path.to_owned(), seen);
    if kind.is_dir() {
        let names = names(at);
        // Open folders are few, the depth of a tree is not: a deep one is walked with two.
        let folder = File::open(at).expect("open");
        let here = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&folder)));
        for name in names {
            look(&here.join(&name), &path.join(name), found, inodes);
        }
    }
}

fn names(folder: &Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> = fs::read_dir(folder).expect("list").map(|e| e.expect("entry").file_name()).collect();
    names.sort();
    names
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).into()
}

#[track_caller]
pub fn assert_same(what: &str, expected: &BTreeMap<PathBuf, Seen>, actual: &BTreeMap<PathBuf, Seen>) {
    if let Err(text) = difference(what, expected, actual) {
        panic!("{text}");
    }
}

/// All differences, or nothing.
pub fn difference(
    what: &str,
    expected: &BTreeMap<PathBuf, Seen>,
    actual: &BTreeMap<PathBuf, Seen>,
) -> Result<(), String> {
    let mut differences = Vec::new();
    for (path, seen) in expected {
        match actual.get(path) {
            None => differences.push(format!("missing {path:?}: {seen:?}")),
            Some(other) if other != seen => {
                differences.push(format!("{path:?}:\n  expected {seen:?}\n  actual   {other:?}"));
            }
            Some(_) => {}
        }
    }
    for path in actual.keys().filter(|path| !expected.contains_key(*path)) {
        differences.push(format!("too much {path:?}: {:?}", actual[path]));
    }
    if differences.is_empty() {
        return Ok(());
    }
    Err(format!("{what}: {} differences\n{}", differences.len(), differences.join("\n")))
}

/// Does `count` random things to the tree at `root`.
pub fn change(random: &mut Random, root: &Path, count: usize) {
    for _ in 0..count {
        let paths = all_paths(root);
        let dirs: Vec<PathBuf> =
            paths.iter().filter(|p| fs::symlink_metadata(p).is_ok_and(|m| m.is_dir())).cloned().collect();
        let dir = random.pick(&dirs).clone();
        let any = random.pick(&paths).clone();
        let fresh = dir.join(name(random));
        let _ = step(random, root, &any, &fresh);
    }
    // Time stands out only where it was set.
    for path in all_paths(root) {
        if random.below(4) == 0 {
            set_mtime(&path, 1_000_000_000 + random.below(500_000_000) as i64, random.below(1_000_000_000) as u32);
        }
    }
}

fn step(random: &mut Random, root: &Path, any: &Path, fresh: &Path) -> std::io::Result<()> {
    match random.below(16) {
        0..=3 => {
            let length = *random.pick(&[0, 1, 511, 512, 513, 5000, 70_000]);
            // A new file only: what stands there may be a link that leads out of the tree, or a fifo.
            std::io::Write::write_all(&mut File::create_new(fresh)?, &random.bytes(length))?;
        }
        4 | 5 => fs::create_dir(fresh)?,
        6 => {
            std::os::unix::fs::symlink(random.pick(&["/no/such/place", "./x", "no/where", ".", "\u{fc}mlaut"]), fresh)?;
        }
        7 if fs::symlink_metadata(any)?.is_file() => {
            fs::hard_link(any, fresh)?;
        }
        8 if any != root => {
            if fs::symlink_metadata(any)?.is_dir() {
                fs::remove_dir_all(any)?;
            } else {
                fs::remove_file(any)?;
            }
        }
        9 if any != root => {
            // Removed and made again, maybe as something else.
            if fs::symlink_metadata(any)?.is_dir() {
                fs::remove_dir_all(any)?;
            } else {
                fs::remove_file(any)?;
            }
            match random.below(3) {
                0 => fs::create_dir(any)?,
                1 => std::io::Write::write_all(&mut File::create_new(any)?, b"again")?,
                _ => std::os::unix::fs::symlink("elsewhere", any)?,
            }
        }
        10 if any != root && !fs::symlink_metadata(any)?.is_symlink() => {
            let mode = *random.pick(&[0o644, 0o755, 0o4755, 0o2755, 0o1777, 0o600]);
            fs::set_permissions(any, fs::Permissions::from_mode(mode))?;
        }
        11 if any != root => {
            std::os::unix::fs::lchown(any, Some(*random.pick(&[0, 1000, 3_000_000])), Some(*random.pick(&[0, 5])))?;
        }
        12 => {
            let kind = *random.pick(&[libc::S_IFIFO, libc::S_IFCHR, libc::S_IFBLK]);
            mknod(fresh, kind | 0o640, libc::makedev(1 + random.below(200) as u32, random.below(300) as u32));
        }
        13 if fs::symlink_metadata(any)?.is_file() => {
            xattr::set(any, "user.note", b"some\nvalue")?;
            if random.below(2) == 0 {
                xattr::set(any, "security.capability", &[1, 0, 0, 2, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])?;
            }
        }
        14 if any != root && fs::symlink_metadata(any)?.is_file() => {
            use std::io::Write;
            File::options().append(true).open(any)?.write_all(b"more")?;
        }
        15 if any != root => fs::rename(any, fresh)?,
        _ => {}
    }
    Ok(())
}

fn name(random: &mut Random) -> std::ffi::OsString {
    use std::os::unix::ffi::OsStringExt;
    let number = random.below(30);
    match random.below(12) {
        0 => std::ffi::OsString::from_vec(vec![b'l', 0xff, 0xfe, b'0' + (number % 10) as u8]),
        1 => format!("{number}{}", "long".repeat(40)).into(),
        2 => format!("sp ace {number}\n").into(),
        3 => format!("\u{e4}\u{4e2d}{number}").into(),
        _ => format!("n{number}").into(),
    }
}

fn all_paths(root: &Path) -> Vec<PathBuf> {
    paths_below(root, Vec::new())
}

fn paths_below(at: &Path, mut found: Vec<PathBuf>) -> Vec<PathBuf> {
    found.push(at.to_owned());
    if fs::symlink_metadata(at).is_ok_and(|m| m.is_dir()) {
        let mut names: Vec<_> = fs::read_dir(at).expect("list").map(|e| e.expect("entry").path()).collect();
        names.sort();
        for path in names {
            found = paths_below(&path, found);
        }
    }
    found
}

pub fn mknod(path: &Path, mode: u32, device: u64) {
    let path = CString::new(path.as_os_str().as_bytes()).expect("no zero");
    let kind = rustix::fs::FileType::from_raw_mode(mode);
    let _ = rustix::fs::mknodat(rustix::fs::CWD, &*path, kind, rustix::fs::Mode::from_raw_mode(mode & 0o7777), device);
}

pub fn set_mtime(path: &Path, seconds: i64, nanos: u32) {
    let times = times(seconds, nanos);
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, flags).expect("utimens");
}

pub fn times(seconds: i64, nanos: u32) -> rustix::fs::Timestamps {
    let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
    rustix::fs::Timestamps { last_access: time, last_modification: time }
}

pub fn request(uppers: &[PathBuf]) -> LayerRequest<'_> {
    LayerRequest {
        uppers,
        compression: osbs_image::Compression::default(),
        clamp_mtime: None,
        threads: 2,
        taps: Vec::new(),
        sink: None,
    }
}

pub fn layer(store: &Store, upper: &Path) -> WrittenLayer {
    write_layer(store, request(&[upper.to_owned()]), &CancellationToken::new(), &|_, _| ()).expect("layer")
}

/// An image of these layers.
pub fn image(store: &Store, layers: &[&WrittenLayer], format: ImageFormat) -> StoredImage {
    let parts: Vec<(Descriptor, Digest)> = layers.iter().map(|l| (l.descriptor.clone(), l.diff_id.clone())).collect();
    image_of(store, &parts, format)
}

pub fn image_of(store: &Store, layers: &[(Descriptor, Digest)], format: ImageFormat) -> StoredImage {
    let mut config = ImageConfig::scratch(&Architecture::new("amd64"));
    config.created = Some("2026-01-01T00:00:00Z".to_owned());
    config.rootfs.diff_ids = layers.iter().map(|l| l.1.clone()).collect();
    config.history =
        layers.iter().map(|_| History { created_by: Some("test".to_owned()), ..History::default() }).collect();
    let descriptors: Vec<Descriptor> = layers.iter().map(|l| l.0.clone()).collect();
    StoredImage::create(store, format, &config, &descriptors, None).expect("image")
}

pub fn unpack(store: &Store, image: &StoredImage) -> Vec<PathBuf> {
    store.unpack(image, &CancellationToken::new(), &|_| ()).expect("unpack")
}
