//! Makes files of tar entries below a folder.
//!
//! Two readings of a tar: a *layer*, where `.wh.` names remove and the result is in overlayfs format, and a *plain* one.
//! Hostile entries are refused or end up inside the root: folders are opened by openat2 with RESOLVE_IN_ROOT, or one
//! component at a time; what is made is made by a single name in an open folder and never follows a link there.
//!
//! This file reads names and markers; `folders` finds the folder of an entry, `make` makes what it names.

use crate::layer::LayerError;
use crate::rooted::{self, stat};
use crate::tar::{EntryKind, TarEntry, TarReader};
use osbs_types::OverlayXattrs;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, XattrFlags};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const COPY: usize = 256 << 10;
/// Bytes of folder names that are kept until the end, for times and descriptions. A million folders need about 100 MB.
const MAX_REMEMBERED: u64 = 512 << 20;

/// How the tar is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Into overlayfs format, with marks of these names.
    Layer(OverlayXattrs),
    Plain,
}

/// Owner and mode that replace the archive's.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Overrides {
    pub owner: Option<(u32, u32)>,
    pub mode: Option<u32>,
}

/// The tree being written, and what is left to do at its end.
pub(crate) struct Tree {
    pub(super) root: OwnedFd,
    pub(super) reading: Reading,
    overrides: Overrides,
    what: String,
    /// The folder used last, by its path in the archive.
    pub(super) folder: Option<(Vec<u8>, OwnedFd)>,
    /// Folder times, set at the end because every new file changes them.
    times: BTreeMap<Vec<u8>, (i64, u32)>,
    /// Folders no entry described, by path. The layers below know their mode and owner.
    implied: BTreeSet<Vec<u8>>,
    /// Hard links whose target is not in this layer: path, then number of the entry and target.
    foreign_links: BTreeMap<Vec<u8>, (u64, Vec<u8>)>,
    /// Device nodes that only root of the machine can make.
    left_out: BTreeSet<Vec<u8>>,
    /// Whiteouts that were made.
    whiteouts: BTreeSet<Vec<u8>>,
    /// Default ACLs of folders, by path.
    acls: BTreeMap<Vec<u8>, Vec<u8>>,
    remembered: u64,
    pub(super) buffer: Vec<u8>,
    pub entries: u64,
    pub bytes: u64,
    root_seen: bool,
}

/// Where an entry goes: its cleaned path, and name in an open folder.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub path: &'a [u8],
    pub folder: &'a OwnedFd,
    pub name: &'a [u8],
}

impl Tree {
    pub(crate) fn new(root: BorrowedFd<'_>, reading: Reading, overrides: Overrides, what: &str) -> io::Result<Self> {
        Ok(Self {
            root: rooted::reopen_dir(root)?,
            reading,
            overrides,
            what: what.to_owned(),
            folder: None,
            times: BTreeMap::new(),
            implied: BTreeSet::new(),
            foreign_links: BTreeMap::new(),
            left_out: BTreeSet::new(),
            whiteouts: BTreeSet::new(),
            acls: BTreeMap::new(),
            remembered: 0,
            buffer: vec![0; COPY],
            entries: 0,
            bytes: 0,
            root_seen: false,
        })
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Names of the marks in the tree.
    pub(crate) fn overlay_xattrs(&self) -> OverlayXattrs {
        match self.reading {
            Reading::Layer(xattrs) => xattrs,
            Reading::Plain => OverlayXattrs::default(),
        }
    }

    /// Whether an entry described the root itself.
    pub(crate) fn root_seen(&self) -> bool {
        self.root_seen
    }

    /// Makes one entry, reading its content from `tar`.
    pub(crate) fn apply<R: Read>(&mut self, tar: &mut TarReader<R>, mut entry: TarEntry) -> Result<(), LayerError> {
        self.entries += 1;
        let path = self.clean(&entry.path)?;
        if let Some((uid, gid)) = self.overrides.owner {
            (entry.uid, entry.gid) = (uid, gid);
        }
        if let Some(mode) = self.overrides.mode {
            entry.mode = mode;
        }
        if path.is_empty() {
            return self.apply_root(&entry);
        }
        let (folder_path, name) = split(&path);
        if self.reading != Reading::Plain && self.marker(&path, folder_path, name)? {
            return Ok(());
        }
        let folder = self.folder(folder_path)?;
        let result = self.make(tar, &entry, Place { path: &path, folder: &folder, name });
        self.folder = Some((folder_path.to_vec(), folder));
        result
    }

    /// Components joined by one slash. `..` is refused: no tool writes it.
    pub(super) fn clean(&self, path: &[u8]) -> Result<Vec<u8>, LayerError> {
        let mut clean = Vec::with_capacity(path.len());
        for part in path.split(|b| *b == b'/') {
            match part {
                b"" | b"." => {}
                b".." => return Err(self.refuse(path, "its path contains ..")),
                _ if part.len() > 255 + b".wh.".len() => {
                    return Err(self.refuse(path, "a name is longer than 255 bytes"));
                }
                _ => {
                    if !clean.is_empty() {
                        clean.push(b'/');
                    }
                    clean.extend_from_slice(part);
                }
            }
        }
        Ok(clean)
    }

    fn apply_root(&mut self, entry: &TarEntry) -> Result<(), LayerError> {
        if entry.kind != EntryKind::Folder {
            return Err(self.refuse(&entry.path, "only a folder can be the root"));
        }
        if self.reading == Reading::Plain {
            // The place an archive is unpacked into keeps its own mode and owner.
            return Ok(());
        }
        self.root_seen = true;
        self.remember_time(b"", entry.mtime)?;
        let root = self.root.try_clone().map_err(LayerError::file("open", "/"))?;
        self.describe(&root, entry, b"/")
    }

    /// Whiteouts and opaque markers; true when the entry was one.
    fn marker(&mut self, path: &[u8], folder_path: &[u8], name: &[u8]) -> Result<bool, LayerError> {
        if folder_path.split(|b| *b == b'/').any(|part| part.starts_with(b".wh.")) {
            return Err(self.refuse(path, "it is inside a whiteout"));
        }
        if name == b".wh..wh..opq" {
            let folder = self.folder(folder_path)?;
            self.set_opaque(&folder, path)?;
            self.folder = Some((folder_path.to_vec(), folder));
            return Ok(true);
        }
        let Some(target) = name.strip_prefix(b".wh.") else { return Ok(false) };
        if target.starts_with(b".wh.") {
            // Bookkeeping of aufs (`.wh..wh.plnk`, ...): without meaning elsewhere.
            return Ok(true);
        }
        if matches!(target, b"" | b"." | b"..") {
            return Err(self.refuse(path, "it is a whiteout of nothing"));
        }
        let folder = self.folder(folder_path)?;
        // A whiteout hides what is below this layer, never what this layer brings, in whichever order they come.
        match stat(&folder, target) {
            Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => {
                let existing = rooted::open_child_dir(folder.as_fd(), target).map_err(self.file("open", path))?;
                self.set_opaque(&existing, path)?;
            }
            Ok(_) => {}
            Err(Errno::NOENT) => {
                rustix::fs::mknodat(&folder, target, FileType::CharacterDevice, Mode::empty(), 0)
                    .map_err(|e| self.not_made("make whiteout", path, e))?;
                let hidden =
                    if folder_path.is_empty() { target.to_vec() } else { [folder_path, b"/", target].concat() };
                self.remember(hidden.len())?;
                self.whiteouts.insert(hidden);
            }
            Err(e) => return Err(self.file("inspect", path)(e.into())),
        }
        self.folder = Some((folder_path.to_vec(), folder));
        Ok(true)
    }

    pub(super) fn set_opaque(&self, folder: &OwnedFd, path: &[u8]) -> Result<(), LayerError> {
        rustix::fs::fsetxattr(folder, self.overlay_xattrs().opaque(), b"y", XattrFlags::empty())
            .map_err(|e| self.file("mark as opaque", path)(e.into()))
    }

    /// Remembers a folder's time, for [`Tree::finish`].
    pub(crate) fn remember_time(&mut self, path: &[u8], mtime: (i64, u32)) -> Result<(), LayerError> {
        self.times.insert(path.to_vec(), mtime);
        self.remember(path.len())
    }

    /// Remembers a folder's default ACL, for [`Tree::finish`].
    pub(super) fn remember_acl(&mut self, path: &[u8], acl: &[u8]) -> Result<(), LayerError> {
        self.acls.insert(path.to_vec(), acl.to_vec());
        self.remember(path.len() + acl.len())
    }

    /// Remembers a folder that no entry described yet.
    pub(super) fn remember_implied(&mut self, path: Vec<u8>) -> Result<(), LayerError> {
        let length = path.len();
        self.implied.insert(path);
        self.remember(length)
    }

    pub(super) fn described(&mut self, path: &[u8]) {
        self.implied.remove(path);
    }

    /// Remembers a hard link to something that this layer does not bring.
    pub(super) fn remember_link(&mut self, path: &[u8], target: Vec<u8>) -> Result<(), LayerError> {
        let length = path.len() + target.len();
        self.foreign_links.insert(path.to_vec(), (self.entries, target));
        self.remember(length)
    }

    /// Does without an entry that cannot be made here.
    pub(super) fn leave_out(&mut self, path: &[u8]) -> Result<(), LayerError> {
        self.left_out.insert(path.to_vec());
        self.remember(path.len())
    }

    pub(super) fn is_left_out(&self, path: &[u8]) -> bool {
        self.left_out.contains(path)
    }

    /// What was done without, by path.
    pub(crate) fn left_out(&self) -> &BTreeSet<Vec<u8>> {
        &self.left_out
    }

    fn remember(&mut self, length: usize) -> Result<(), LayerError> {
        self.remembered += length as u64 + 64;
        if self.remembered <= MAX_REMEMBERED {
            return Ok(());
        }
        let (what, limit) = (self.what.clone(), MAX_REMEMBERED);
        Err(LayerError::Limit { what, limit, unit: "bytes of folder names", option: "entries" })
    }

    /// Forgets what was remembered of something that is replaced, and of all in it.
    pub(super) fn forget(&mut self, path: &[u8], folder: bool) {
        self.foreign_links.remove(path);
        self.left_out.remove(path);
        if !folder {
            return;
        }
        self.implied.remove(path);
        self.times.remove(path);
        self.acls.remove(path);
        // All that begin with the path and a slash: `0` is the byte after it.
        let inside = [path, b"/"].concat()..[path, b"0"].concat();
        let implied: Vec<_> = self.implied.range(inside.clone()).cloned().collect();
        for path in implied {
            self.implied.remove(&path);
        }
        let times: Vec<_> = self.times.range(inside.clone()).map(|(path, _)| path.clone()).collect();
        for path in times {
            self.times.remove(&path);
        }
        let acls: Vec<_> = self.acls.range(inside.clone()).map(|(path, _)| path.clone()).collect();
        for path in acls {
            self.acls.remove(&path);
        }
        let links: Vec<_> = self.foreign_links.range(inside).map(|(path, _)| path.clone()).collect();
        for path in links {
            self.foreign_links.remove(&path);
        }
    }

    /// Hard links to what the layers below bring: path and target, in the order of the archive.
    pub(super) fn take_foreign_links(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut links: Vec<_> = std::mem::take(&mut self.foreign_links).into_iter().collect();
        links.sort_by_key(|(_, (number, _))| *number);
        links.into_iter().map(|(path, (_, target))| (path, target)).collect()
    }

    /// Whiteouts, by the path of what they hide. Some may have been replaced since.
    pub(super) fn take_whiteouts(&mut self) -> BTreeSet<Vec<u8>> {
        std::mem::take(&mut self.whiteouts)
    }

    /// Folders that no entry described, by path.
    pub(super) fn take_implied(&mut self) -> BTreeSet<Vec<u8>> {
        std::mem::take(&mut self.implied)
    }

    /// Sets the default ACLs and the times of the folders.
    pub(crate) fn finish(&mut self) -> Result<(), LayerError> {
        for (path, acl) in std::mem::take(&mut self.acls) {
            if let Some(fd) = self.find_folder(&path)? {
                self.set_default_acl(&fd, &acl, &path)?;
            }
        }
        for (path, mtime) in std::mem::take(&mut self.times) {
            // It may have been replaced by a link that leads nowhere.
            if let Some(fd) = self.find_folder(&path)? {
                self.set_times(&fd, mtime, &path)?;
            }
        }
        Ok(())
    }

    #[expect(clippy::unused_self, reason = "reads as `refuse` does, and names the archive one day")]
    pub(crate) fn file(&self, action: &'static str, path: &[u8]) -> impl FnOnce(io::Error) -> LayerError + use<> {
        LayerError::file(action, display(path))
    }

    /// The system does not take what the entry says, or is out of something.
    pub(crate) fn not_made(&self, action: &'static str, path: &[u8], error: Errno) -> LayerError {
        let of_entry = [
            Errno::NAMETOOLONG,
            Errno::INVAL,
            Errno::NOENT,
            Errno::FBIG,
            Errno::LOOP,
            Errno::NOTDIR,
            Errno::RANGE,
            Errno::TOOBIG,
            Errno::OVERFLOW,
            Errno::MLINK,
        ];
        if of_entry.contains(&error) {
            return self.refuse(path, &format!("the system cannot {action} it: {error}"));
        }
        self.file(action, path)(error.into())
    }

    pub(crate) fn refuse(&self, path: &[u8], reason: &str) -> LayerError {
        // A path may have thousands of bytes; its end tells more than its beginning.
        let shown = &path[path.len().saturating_sub(300)..];
        let entry = PathBuf::from(OsStr::from_bytes(shown));
        LayerError::Entry { what: self.what.clone(), entry, reason: reason.to_owned() }
    }

    pub(crate) fn what(&self) -> &str {
        &self.what
    }
}

pub(crate) fn display(path: &[u8]) -> PathBuf {
    Path::new("/").join(OsStr::from_bytes(path))
}

/// Folder and name.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}
