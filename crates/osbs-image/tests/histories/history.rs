//! What can happen to a file system, as data, and how it is done.

use super::support::{Random, mknod, set_mtime};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Write,
    SparseWrite,
    WriteInside,
    Append,
    Truncate,
    MakeFolder,
    ManyFiles,
    Link,
    HardLink,
    Fifo,
    Device,
    Socket,
    Chmod,
    Chown,
    SetId,
    SetTime,
    SetXattr,
    Capability,
    RemoveXattr,
    Rename,
    RenameOver,
    Exchange,
    Remove,
    RemoveAndMakeFolder,
    FolderToLink,
    FolderToLinkAndBack,
    ToOtherKind,
}

/// All, those that matter most several times.
const WHATS: &[What] = &[
    What::Write,
    What::Write,
    What::SparseWrite,
    What::WriteInside,
    What::Append,
    What::Truncate,
    What::MakeFolder,
    What::MakeFolder,
    What::MakeFolder,
    What::Link,
    What::HardLink,
    What::HardLink,
    What::Fifo,
    What::Device,
    What::Socket,
    What::Chmod,
    What::Chmod,
    What::Chown,
    What::SetId,
    What::SetTime,
    What::SetTime,
    What::SetXattr,
    What::Capability,
    What::RemoveXattr,
    What::Rename,
    What::Rename,
    What::RenameOver,
    What::Exchange,
    What::Remove,
    What::Remove,
    What::RemoveAndMakeFolder,
    What::RemoveAndMakeFolder,
    What::FolderToLink,
    What::FolderToLinkAndBack,
    What::ToOtherKind,
];

/// One operation. The numbers choose paths and values, each from what there is when its turn comes.
#[derive(Debug, Clone, Copy)]
pub struct Operation(pub What, pub [u32; 4]);

#[derive(Debug, Clone)]
pub struct History {
    pub seed: u64,
    /// Every step becomes a layer.
    pub steps: Vec<Vec<Operation>>,
}

impl History {
    pub fn random(seed: u64, steps: usize) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bd1_e995);
        let steps = (0..steps)
            .map(|step| {
                let count = if step == 0 { 25 } else { 8 + random.below(12) };
                let mut operation = || {
                    // A huge folder now and then.
                    let what = if random.below(400) == 0 { What::ManyFiles } else { *random.pick(WHATS) };
                    Operation(what, [(); 4].map(|()| random.next() as u32))
                };
                (0..count).map(|_| operation()).collect()
            })
            .collect();
        Self { seed, steps }
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "layer {number}:")?;
            step.iter().try_for_each(|Operation(what, numbers)| writeln!(f, "    {what:?} {numbers:?}"))?;
        }
        Ok(())
    }
}

/// What there is below a history's folder, kept to spare a walk for every operation.
#[derive(Debug, Default)]
pub struct Paths {
    /// Relative, in the order they came.
    all: Vec<PathBuf>,
}

impl Paths {
    fn list(&mut self, root: &Path) {
        self.all.retain(|path| fs::symlink_metadata(root.join(path)).is_ok());
    }

    fn any(&self, number: u32) -> Option<&Path> {
        self.all.get(number as usize % self.all.len().max(1)).map(PathBuf::as_path)
    }

    fn folder(&self, root: &Path, number: u32) -> PathBuf {
        let folders: Vec<_> = self.all.iter().filter(|path| is_folder(&root.join(path))).collect();
        // The history's own folder is one of them.
        match folders.get(number as usize % (folders.len() + 1)) {
            Some(path) => (*path).clone(),
            None => PathBuf::new(),
        }
    }

    fn file(&self, root: &Path, number: u32) -> Option<PathBuf> {
        let is_file = |path: &&PathBuf| fs::symlink_metadata(root.join(path)).is_ok_and(|m| m.is_file());
        let files: Vec<_> = self.all.iter().filter(is_file).collect();
        files.get(number as usize % files.len().max(1)).map(|path| (*path).clone())
    }

    fn add(&mut self, path: PathBuf) {
        if !self.all.contains(&path) {
            self.all.push(path);
        }
    }

    fn renamed(&mut self, from: &Path, to: &Path) {
        let moved: Vec<PathBuf> =
            self.all.iter().filter_map(|path| Some(to.join(path.strip_prefix(from).ok()?))).collect();
        for path in moved {
            // Joined with an empty rest there is a slash at the end.
            self.add(path.components().collect());
        }
    }
}

fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|m| m.is_dir())
}

/// Does the operations below `root`. One that the system refuses (a rename into itself, say) is none.
pub fn play(root: &Path, operations: &[Operation], paths: &mut Paths) {
    for Operation(what, numbers) in operations {
        let _ = perform(root, *what, *numbers, paths);
        paths.list(root);
    }
}

fn perform(root: &Path, what: What, [a, b, c, d]: [u32; 4], paths: &mut Paths) -> io::Result<()> {
    let fresh = paths.folder(root, a).join(name(b, c));
    let place = root.join(&fresh);
    let target = paths.any(a).map(Path::to_owned);
    let existing = || target.clone().ok_or(io::ErrorKind::NotFound);
    let file = |paths: &Paths| paths.file(root, a).map(|path| root.join(path)).ok_or(io::ErrorKind::NotFound);
    match what {
        What::Write => {
            let length = pick(&[0, 1, 511, 512, 513, 5000, 70_000], d);
            create(&place)?.write_all(&Random(u64::from(c)).bytes(length))?;
        }
        What::SparseWrite => {
            let file = create(&place)?;
            file.write_all_at(b"begin", 0)?;
            file.write_all_at(&Random(u64::from(c)).bytes(3000), pick(&[4096, 10_000, 150_000], d))?;
            file.set_len(pick(&[160_000, 200_000], c))?;
        }
        What::WriteInside => {
            File::options().write(true).open(file(paths)?)?.write_all_at(b"inside", u64::from(b % 600))?;
        }
        What::Append => File::options().append(true).open(file(paths)?)?.write_all(b"more")?,
        What::Truncate => File::options().write(true).open(file(paths)?)?.set_len(u64::from(b % 2000))?,
        What::MakeFolder => fs::create_dir(&place)?,
        What::ManyFiles => {
            fs::create_dir(&place)?;
            (0..1500).try_for_each(|number| File::create(place.join(format!("file{number}"))).map(drop))?;
        }
        What::Link => std::os::unix::fs::symlink(link_target(c), &place)?,
        What::HardLink => fs::hard_link(root.join(existing()?), root.join(paths.folder(root, b)).join(name(c, d)))
            .map(|()| paths.add(paths.folder(root, b).join(name(c, d))))?,
        What::Fifo => mknod(&place, libc::S_IFIFO | 0o640, 0),
        What::Device => {
            let kind = pick(&[libc::S_IFCHR, libc::S_IFBLK], c);
            mknod(&place, kind | 0o640, libc::makedev(1 + d % 200, d % 300));
        }
        What::Socket => drop(std::os::unix::net::UnixListener::bind(&place)?),
        _ => return change(root, what, &existing()?, [b, c, d], paths),
    }
    if what != What::HardLink && fs::symlink_metadata(&place).is_ok() {
        paths.add(fresh);
    }
    Ok(())
}

/// What needs something that is there.
fn change(root: &Path, what: What, at: &Path, [b, c, d]: [u32; 3], paths: &mut Paths) -> io::Result<()> {
    let place = root.join(at);
    let metadata = fs::symlink_metadata(&place)?;
    let chmod = |mode| fs::set_permissions(&place, fs::Permissions::from_mode(mode));
    match what {
        What::Chmod if !metadata.is_symlink() => chmod(pick(&[0o644, 0o755, 0o1777, 0o600, 0, 0o4755, 0o2755], b))?,
        What::Chown => {
            let owner = pick(&[0, 1, 1000, 3_000_000], b);
            std::os::unix::fs::lchown(&place, Some(owner), Some(pick(&[0, 5, 70_000], c)))?;
        }
        What::SetId if metadata.is_file() => {
            std::os::unix::fs::lchown(&place, Some(pick(&[0, 7], b)), Some(3))?;
            chmod(pick(&[0o6755, 0o4711, 0o2711], c))?;
        }
        What::SetTime => {
            let seconds = pick(&[0, -1, -86_401, 1_000_000_000, 2_147_483_648, 9_000_000_000], b);
            set_mtime(&place, seconds, pick(&[0, 1, 500_000_000, 999_999_999], c));
        }
        What::SetXattr => {
            let user = metadata.is_file() || metadata.is_dir();
            let key = if user { pick(&["user.note", "user.\u{e4} b", "trusted.mark"], b) } else { "trusted.mark" };
            xattr::set(&place, key, pick(&[b"some\nvalue".as_slice(), b"12 path=x\n", b"\0\xff=", &[b'x'; 1500]], c))?;
        }
        What::Capability if metadata.is_file() => {
            // CAP_CHOWN and CAP_DAC_READ_SEARCH..: version 2, with a newline's byte in it.
            let value = [1, 0, 0, 2, 10, b as u8, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            xattr::set(&place, "security.capability", &value)?;
        }
        What::RemoveXattr => {
            for key in xattr::list(&place)? {
                xattr::remove(&place, key)?;
            }
        }
        What::Rename => {
            let to = paths.folder(root, b).join(name(c, d));
            if fs::symlink_metadata(root.join(&to)).is_err() {
                fs::rename(&place, root.join(&to))?;
                paths.renamed(at, &to);
            }
        }
        What::RenameOver => {
            let to = paths.any(b).ok_or(io::ErrorKind::NotFound)?.to_owned();
            fs::rename(&place, root.join(&to))?;
            paths.renamed(at, &to);
        }
        What::Exchange => {
            let to = paths.any(b).ok_or(io::ErrorKind::NotFound)?.to_owned();
            let flags = rustix::fs::RenameFlags::EXCHANGE;
            rustix::fs::renameat_with(rustix::fs::CWD, &place, rustix::fs::CWD, root.join(&to), flags)?;
            paths.renamed(at, &to);
            paths.renamed(&to, at);
        }
        What::Remove => remove(&place)?,
        What::RemoveAndMakeFolder if metadata.is_dir() => {
            remove(&place)?;
            fs::create_dir(&place)?;
            if b % 2 == 0 {
                create(&place.join("again"))?.write_all(b"x")?;
                paths.add(at.join("again"));
            }
        }
        What::FolderToLink | What::FolderToLinkAndBack if metadata.is_dir() => {
            remove(&place)?;
            std::os::unix::fs::symlink(link_target(c), &place)?;
            if what == What::FolderToLinkAndBack {
                fs::remove_file(&place)?;
                fs::create_dir(&place)?;
            }
        }
        What::ToOtherKind => {
            remove(&place)?;
            match b % 4 {
                0 => fs::create_dir(&place)?,
                1 => create(&place)?.write_all(b"again")?,
                2 => mknod(&place, libc::S_IFIFO | 0o600, 0),
                _ => std::os::unix::fs::symlink("elsewhere", &place)?,
            }
        }
        _ => {}
    }
    Ok(())
}

/// A new file, never through a link and never into a fifo of that name.
fn create(path: &Path) -> io::Result<File> {
    File::options().write(true).create_new(true).open(path)
}

fn remove(path: &Path) -> io::Result<()> {
    if is_folder(path) { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

fn pick<T: Copy>(from: &[T], number: u32) -> T {
    from[number as usize % from.len()]
}

/// Nothing outside: these trees are not in a chroot.
fn link_target(number: u32) -> OsString {
    let long = "t/".repeat(70);
    // Never a name that is there outside: writing through the link would change the machine.
    let bytes: [&[u8]; 7] =
        [b"/no/such/file", b"../x", b"no/where", b".", "\u{fc}mlaut".as_bytes(), b"\xff\xfe", long.as_bytes()];
    OsString::from_vec(pick(&bytes, number).to_vec())
}

/// Few names, so that they meet again, and among them all that is hard on a tar.
fn name(kind: u32, number: u32) -> OsString {
    let number = number % 6;
    let text = match kind % 24 {
        0 => return OsString::from_vec(vec![b'l', 0xff, 0xfe, b'0' + number as u8]),
        1 => format!("{number}{}", "x".repeat(254)),
        2 => format!("sp ace {number}\n"),
        3 => format!("\u{e4}\u{4e2d}{number}"),
        4 => pick(&[".wh", ".whx", ".wh_", "..wh.x", "wh.", "..."], number).to_owned(),
        5 => format!("{}{number}", "y".repeat(98 + number as usize)),
        6 => format!("{}{number}", "z".repeat(154)),
        7 => format!("a=b{number}"),
        8 => return OsString::from_vec([b"\xc3(", [b'w'; 120].as_slice(), &[b'0' + number as u8]].concat()),
        9 => format!("back\\slash{number}"),
        _ => format!("n{number}"),
    };
    OsStr::new(&text).to_owned()
}
