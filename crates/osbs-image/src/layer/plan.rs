//! The plan of a layer: upper folders merged, sorted, with all metadata, before any content is read.
//!
//! Keeping it costs about 90 bytes a file; it gives the size of the tar before its first byte, and spares a second `stat`.
//!
//! # Rules
//!
//! - Of one name in several upper folders the topmost wins; folders are merged down to an opaque one, a whiteout or
//!   something else of that name.
//! - A whiteout becomes `.wh.NAME`, an opaque folder gets `.wh..wh..opq` as its first entry (image-spec 1.1, layer.md).
//!   Inside an opaque folder there is nothing to hide, so neither is written there.
//! - The root folder is written, as `./`, only if its mode is not 0755, its owner not 0:0, or it has xattrs: an upper
//!   folder always has a root, whether somebody changed it or not.
//! - Sockets are left out, as every other tool does: they mean nothing without their process. What they replaced must not
//!   come back, so there is a whiteout in their place.
//! - Left out of the xattrs: `trusted.overlay.*` and `user.overlay.*` (how the layer is kept here), `security.selinux` (a
//!   property of the host) and `system.nfs4_acl`.
//! - Names are sorted as bytes; a folder comes before what is in it. The first of several hard links holds the content.

use crate::layer::LayerError;
use crate::rooted;
use osbs_types::OverlayXattrs;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Stat};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

pub(crate) const NONE: u32 = u32::MAX;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Folder,
    /// `.wh..wh..opq` in folder `dir`.
    Opaque,
    Whiteout,
    Symlink,
    /// `side` is the index of the entry with the content.
    HardLink,
    Char,
    Block,
    Fifo,
}

/// One entry of the tar to come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub kind: Kind,
    /// Which upper folder it is in.
    pub upper: u16,
    name_len: u16,
    name_at: u32,
    /// Index of the folder it is in, [`NONE`] for the root.
    pub dir: u32,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Index into `links` or of an entry, by kind.
    pub side: u32,
    /// Index into `xattrs`.
    pub xattrs: u32,
    pub mtime: i64,
    /// Size of a file; device number of a device.
    pub size: u64,
}

pub(crate) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// All entries, in the order of the tar.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub entries: Vec<Entry>,
    names: Vec<u8>,
    pub links: Vec<Vec<u8>>,
    pub xattrs: Vec<Xattrs>,
}

impl Plan {
    pub(crate) fn name(&self, entry: &Entry) -> &[u8] {
        &self.names[entry.name_at as usize..][..usize::from(entry.name_len)]
    }

    /// Appends the folder part of the entry's path, with a slash at the end (nothing in the root).
    pub(crate) fn folder_path(&self, dir: u32, out: &mut Vec<u8>) {
        let mut names = Vec::new();
        let mut at = dir;
        while at != NONE {
            let entry = &self.entries[at as usize];
            names.push(self.name(entry));
            at = entry.dir;
        }
        for name in names.into_iter().rev().filter(|name| !name.is_empty()) {
            out.extend_from_slice(name);
            out.push(b'/');
        }
    }

    fn add_name(&mut self, name: &[u8]) -> (u32, u16) {
        let at = self.names.len() as u32;
        self.names.extend_from_slice(name);
        (at, name.len() as u16)
    }
}

/// Walks the upper folders. No content is read.
pub(crate) fn plan(
    uppers: &[OwnedFd],
    xattrs: OverlayXattrs,
    clamp_mtime: Option<i64>,
    cancel: &CancellationToken,
) -> Result<Plan, LayerError> {
    let path = Vec::new();
    let mut walk = Walk { uppers, plan: Plan::default(), seen: HashMap::new(), xattrs, clamp_mtime, cancel, path };
    let mut top = Participants::default();
    let mut hiding = Hiding::No;
    for (number, fd) in uppers.iter().enumerate().rev() {
        let fd = rooted::reopen_dir(fd.as_fd()).map_err(LayerError::file("open", "/"))?;
        let opaque = is_opaque(&fd, xattrs).map_err(LayerError::file("read attributes of", "/"))?;
        top.numbers.push(number as u16);
        top.folders.push(fd);
        if opaque {
            hiding = Hiding::Here;
            break;
        }
    }
    if let (Some(number), Some(fd)) = (top.numbers.first(), top.folders.first()) {
        walk.add_root(*number, fd)?;
    }
    walk.tree(top, hiding)?;
    Ok(walk.plan)
}

/// Whether the content of the layers below is hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hiding {
    No,
    /// By this folder: it gets the marker.
    Here,
    /// By a folder above.
    Above,
}

/// Levels of the tree whose folders are open at once; those above are opened again on the way back.
const OPEN_LEVELS: usize = 64;

struct Walk<'a> {
    uppers: &'a [OwnedFd],
    plan: Plan,
    seen: HashMap<(u64, u64), u32>,
    xattrs: OverlayXattrs,
    clamp_mtime: Option<i64>,
    cancel: &'a CancellationToken,
    path: Vec<u8>,
}

/// The upper folders that take part in a merged folder, topmost first: their numbers and the folders, open.
#[derive(Default)]
struct Participants {
    numbers: Vec<u16>,
    folders: Vec<OwnedFd>,
}

/// A merged folder that is being walked.
struct Level {
    participants: Participants,
    /// What is still to do: names, each with the participants that have it, topmost first.
    names: std::collections::btree_map::IntoIter<Vec<u8>, Vec<usize>>,
    dir: u32,
    hidden: bool,
}

impl Walk<'_> {
    /// The whole tree. A stack of its own instead of recursion: who made the tree chose its depth.
    fn tree(&mut self, top: Participants, hiding: Hiding) -> Result<(), LayerError> {
        let mut stack = vec![self.level(top, NONE, hiding)?];
        while let Some(mut level) = stack.pop() {
            let Some((name, owners)) = level.names.next() else {
                let parent = self.path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                self.path.truncate(parent);
                continue;
            };
            if level.participants.folders.is_empty() {
                level.participants.folders = self.reopen(&level.participants.numbers)?;
            }
            let below = self.entry(&level, &name, &owners)?;
            if below.is_some() && stack.len() >= OPEN_LEVELS {
                level.participants.folders.clear();
            }
            stack.push(level);
            stack.extend(below);
        }
        Ok(())
    }

    fn reopen(&self, numbers: &[u16]) -> Result<Vec<OwnedFd>, LayerError> {
        let path = self.path.strip_prefix(b"/").unwrap_or(&self.path);
        let open = |number: &u16| rooted::open_folder_beneath(self.uppers[usize::from(*number)].as_fd(), path);
        numbers.iter().map(open).collect::<Result<_, _>>().map_err(LayerError::file("open", self.display(b"")))
    }

    fn display(&self, name: &[u8]) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        let mut path = self.path.clone();
        path.push(b'/');
        path.extend_from_slice(name);
        PathBuf::from(std::ffi::OsStr::from_bytes(&path))
    }

    fn add_root(&mut self, upper: u16, fd: &OwnedFd) -> Result<(), LayerError> {
        let stat = rustix::fs::fstat(fd).map_err(|e| LayerError::file("inspect", "/")(e.into()))?;
        let xattrs = self.xattrs_of(fd, b"")?;
        if stat.st_mode & 0o7777 != 0o755 || stat.st_uid != 0 || stat.st_gid != 0 || xattrs != NONE {
            self.add(b"", (upper, NONE), Kind::Folder, &stat, (NONE, xattrs));
        }
        Ok(())
    }

    /// Begins with one merged folder.
    fn level(&mut self, participants: Participants, dir: u32, hiding: Hiding) -> Result<Level, LayerError> {
        if self.cancel.is_cancelled() {
            return Err(LayerError::Cancelled);
        }
        // Positions are kept in 32 bits; a folder's worth of names is the room that is left.
        if self.plan.names.len() > u32::MAX as usize / 2 || self.plan.entries.len() > u32::MAX as usize / 2 {
            let what = "the new layer".to_owned();
            return Err(LayerError::Limit { what, limit: 1 << 31, unit: "bytes of names", option: "entries" });
        }
        if hiding == Hiding::Here {
            let (name_at, name_len) = self.plan.add_name(b".wh..wh..opq");
            self.plan.entries.push(marker(Kind::Opaque, participants.numbers[0], dir, (name_at, name_len)));
        }
        let names = self.names(&participants)?.into_iter();
        Ok(Level { participants, names, dir, hidden: hiding != Hiding::No })
    }

    /// The names in the folder, sorted, each with the participants that have it, topmost first.
    fn names(&self, participants: &Participants) -> Result<BTreeMap<Vec<u8>, Vec<usize>>, LayerError> {
        let mut names: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
        for (number, fd) in participants.folders.iter().enumerate() {
            let list = Dir::read_from(fd).map_err(|e| LayerError::file("list", self.display(b""))(e.into()))?;
            for item in list {
                let item = item.map_err(|e| LayerError::file("list", self.display(b""))(e.into()))?;
                let name = item.file_name().to_bytes();
                if name != b"." && name != b".." {
                    names.entry(name.to_vec()).or_default().push(number);
                }
            }
        }
        Ok(names)
    }

    /// Adds one name of a level. A folder comes back as the next level.
    fn entry(&mut self, level: &Level, name: &[u8], owners: &[usize]) -> Result<Option<Level>, LayerError> {
        let (upper, parent) = level.participant(owners[0]);
        let stat = self.stat(parent, name)?;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => return self.sub_folder(level, name, owners, &stat).map(Some),
            FileType::CharacterDevice if is_whiteout(&stat) => {
                if !level.hidden {
                    let name = self.plan.add_name(&[b".wh.", name].concat());
                    self.plan.entries.push(marker(Kind::Whiteout, upper, level.dir, name));
                }
                return Ok(None);
            }
            FileType::RegularFile => Kind::File,
            FileType::Symlink => Kind::Symlink,
            FileType::CharacterDevice => Kind::Char,
            FileType::BlockDevice => Kind::Block,
            FileType::Fifo => Kind::Fifo,
            // A socket, which tar does not know. What it replaced must not come back.
            _ if !level.hidden => {
                let name = self.plan.add_name(&[b".wh.", name].concat());
                self.plan.entries.push(marker(Kind::Whiteout, upper, level.dir, name));
                return Ok(None);
            }
            _ => return Ok(None),
        };
        if name.starts_with(b".wh.") {
            let reason = "a name that begins with .wh. cannot be kept in a layer".to_owned();
            return Err(LayerError::Entry { what: "the new layer".to_owned(), entry: self.display(name), reason });
        }
        let index = self.plan.entries.len() as u32;
        if stat.st_nlink > 1 {
            let first = *self.seen.entry((stat.st_dev, stat.st_ino)).or_insert(index);
            if first != index {
                self.add(name, (upper, level.dir), Kind::HardLink, &stat, (first, NONE));
                return Ok(None);
            }
        }
        let mut side = NONE;
        if kind == Kind::Symlink {
            let target = rustix::fs::readlinkat(parent, name, Vec::new())
                .map_err(|e| LayerError::file("read link", self.display(name))(e.into()))?;
            side = self.plan.links.len() as u32;
            self.plan.links.push(target.into_bytes());
        }
        let xattrs = self.xattrs_at(parent, name)?;
        self.add(name, (upper, level.dir), kind, &stat, (side, xattrs));
        Ok(None)
    }

    fn sub_folder(&mut self, above: &Level, name: &[u8], owners: &[usize], stat: &Stat) -> Result<Level, LayerError> {
        let mut merged = Participants::default();
        let mut opaque = false;
        for owner in owners {
            let (upper, parent) = above.participant(*owner);
            if !merged.numbers.is_empty()
                && FileType::from_raw_mode(self.stat(parent, name)?.st_mode) != FileType::Directory
            {
                // A whiteout or a file lies between: what the parent image has there is hidden.
                opaque = true;
                break;
            }
            let fd = rooted::open_child_dir(parent.as_fd(), name)
                .map_err(|e| LayerError::file("open", self.display(name))(e))?;
            opaque = is_opaque(&fd, self.xattrs).map_err(LayerError::file("read attributes of", self.display(name)))?;
            merged.numbers.push(upper);
            merged.folders.push(fd);
            if opaque {
                break;
            }
        }
        let xattrs = self.xattrs_of(&merged.folders[0], name)?;
        let index = self.plan.entries.len() as u32;
        self.add(name, (merged.numbers[0], above.dir), Kind::Folder, stat, (NONE, xattrs));
        let hiding = match (above.hidden, opaque) {
            (true, _) => Hiding::Above,
            (false, true) => Hiding::Here,
            (false, false) => Hiding::No,
        };
        self.path.push(b'/');
        self.path.extend_from_slice(name);
        self.level(merged, index, hiding)
    }

    fn stat(&self, parent: &OwnedFd, name: &[u8]) -> Result<Stat, LayerError> {
        rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| LayerError::file("inspect", self.display(name))(e.into()))
    }

    fn add(&mut self, name: &[u8], (upper, dir): (u16, u32), kind: Kind, stat: &Stat, (side, xattrs): (u32, u32)) {
        let (name_at, name_len) = self.plan.add_name(name);
        let mtime = self.clamp_mtime.map_or(stat.st_mtime, |most| stat.st_mtime.min(most));
        let size = match kind {
            Kind::File => stat.st_size as u64,
            Kind::Char | Kind::Block => stat.st_rdev,
            _ => 0,
        };
        let (mode, uid, gid) = (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid);
        self.plan.entries.push(Entry {
            kind,
            upper,
            name_len,
            name_at,
            dir,
            mode,
            uid,
            gid,
            side,
            xattrs,
            mtime,
            size,
        });
    }

    fn xattrs_of(&mut self, fd: &OwnedFd, name: &[u8]) -> Result<u32, LayerError> {
        let found =
            rooted::xattrs_of(fd.as_fd()).map_err(LayerError::file("read attributes of", self.display(name)))?;
        self.keep_xattrs(found, name)
    }

    fn xattrs_at(&mut self, parent: &OwnedFd, name: &[u8]) -> Result<u32, LayerError> {
        let found = rooted::xattrs_at(parent.as_fd(), name)
            .map_err(LayerError::file("read attributes of", self.display(name)))?;
        self.keep_xattrs(found, name)
    }

    fn keep_xattrs(&mut self, found: Xattrs, name: &[u8]) -> Result<u32, LayerError> {
        let partial = [self.xattrs.redirect().as_bytes(), self.xattrs.metacopy().as_bytes()];
        if found.iter().any(|(key, _)| partial.contains(&key.as_slice())) {
            let reason = "the folder was made by an overlay with redirect_dir or metacopy, and is not whole".to_owned();
            return Err(LayerError::Entry { what: "the new layer".to_owned(), entry: self.display(name), reason });
        }
        let mut kept: Xattrs = found.into_iter().filter(|(key, _)| is_layer_xattr(key)).collect();
        if kept.is_empty() {
            return Ok(NONE);
        }
        kept.sort();
        kept.iter_mut().filter(|(key, _)| key == b"security.capability").for_each(|(_, value)| without_root_id(value));
        self.plan.xattrs.push(kept);
        Ok(self.plan.xattrs.len() as u32 - 1)
    }
}

impl Level {
    /// An upper folder's number, and its folder.
    fn participant(&self, index: usize) -> (u16, &OwnedFd) {
        (self.participants.numbers[index], &self.participants.folders[index])
    }
}

fn marker(kind: Kind, upper: u16, dir: u32, (name_at, name_len): (u32, u16)) -> Entry {
    Entry { kind, upper, name_len, name_at, dir, mode: 0, uid: 0, gid: 0, side: NONE, xattrs: NONE, mtime: 0, size: 0 }
}

/// Whether the xattr belongs to the file rather than to the place it is kept in. PAX keys end at `=`, so that a name with
/// one cannot be written.
pub(crate) fn is_layer_xattr(name: &[u8]) -> bool {
    !name.starts_with(b"trusted.overlay.")
        && !name.starts_with(b"user.overlay.")
        && name != b"security.selinux"
        && name != b"system.nfs4_acl"
        && !name.contains(&b'=')
}

/// Capabilities of version 3 (capabilities(7)) hold the id that root of their user namespace has outside, which is nobody's
/// where the layer is used: version 2 is the same without it. Docker writes the same.
fn without_root_id(value: &mut Vec<u8>) {
    const SIZE_2: usize = 20;
    const SIZE_3: usize = 24;
    if value.len() == SIZE_3 && value[3] == 3 {
        value[3] = 2;
        value.truncate(SIZE_2);
    }
}

pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// `y` in the xattr of that name.
pub(crate) fn is_opaque(fd: &OwnedFd, xattrs: OverlayXattrs) -> std::io::Result<bool> {
    let mut value = [0; 4];
    match rustix::fs::fgetxattr(fd, xattrs.opaque(), &mut value) {
        Ok(length) => Ok(&value[..length] == b"y"),
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::NOTSUP | rustix::io::Errno::RANGE) => Ok(false),
        Err(e) => Err(e.into()),
    }
}
