//! Makes files of tar entries below a folder.
//!
//! Two readings of a tar: a *layer*, where `.wh.` names remove and the result is in overlayfs format, and a *plain* one.
//! Hostile entries are refused or end up inside the root: folders are opened by openat2 with RESOLVE_IN_ROOT, or one
//! component at a time; what is made is made by a single name in an open folder and never follows a link there.

use crate::layer::{LayerError, is_whiteout};
use crate::rooted::{self, make_dir, remove_tree, stat};
use crate::tar::{EntryKind, TarEntry, TarReader};
use osbs_types::OverlayXattrs;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, XattrFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// As many links are followed in one path as Linux does.
const MAX_LINKS: usize = 40;
const COPY: usize = 256 << 10;

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
    root: OwnedFd,
    reading: Reading,
    overrides: Overrides,
    what: String,
    /// The folder used last, by its path in the archive.
    folder: Option<(Vec<u8>, OwnedFd)>,
    /// Folder times, set at the end because every new file changes them.
    times: Vec<(Vec<u8>, (i64, u32))>,
    /// Folders no entry described, by path. The layers below know their mode and owner.
    pub implied: BTreeSet<Vec<u8>>,
    /// Hard links whose target is not in this layer: path and target.
    pub foreign_links: Vec<(Vec<u8>, Vec<u8>)>,
    buffer: Vec<u8>,
    pub entries: u64,
    pub bytes: u64,
    root_seen: bool,
}

impl Tree {
    pub(crate) fn new(root: BorrowedFd<'_>, reading: Reading, overrides: Overrides, what: &str) -> io::Result<Self> {
        Ok(Self {
            root: rooted::reopen_dir(root)?,
            reading,
            overrides,
            what: what.to_owned(),
            folder: None,
            times: Vec::new(),
            implied: BTreeSet::new(),
            foreign_links: Vec::new(),
            buffer: vec![0; COPY],
            entries: 0,
            bytes: 0,
            root_seen: false,
        })
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    fn is_layer(&self) -> bool {
        matches!(self.reading, Reading::Layer(_))
    }

    /// Names of the marks of overlayfs; an archive that is no layer has none.
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
        if self.is_layer() && self.marker(&path, folder_path, name)? {
            return Ok(());
        }
        let folder = self.folder(folder_path)?;
        let result = self.make(tar, &entry, &path, &folder, name);
        self.folder = Some((folder_path.to_vec(), folder));
        result
    }

    /// Components joined by one slash. `..` is refused: no tool writes it.
    fn clean(&self, path: &[u8]) -> Result<Vec<u8>, LayerError> {
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
        self.times.push((Vec::new(), entry.mtime));
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
                    .map_err(|e| self.file("make whiteout", path)(e.into()))?;
            }
            Err(e) => return Err(self.file("inspect", path)(e.into())),
        }
        self.folder = Some((folder_path.to_vec(), folder));
        Ok(true)
    }

    fn set_opaque(&self, folder: &OwnedFd, path: &[u8]) -> Result<(), LayerError> {
        rustix::fs::fsetxattr(folder, self.overlay_xattrs().opaque(), b"y", XattrFlags::empty())
            .map_err(|e| self.file("mark as opaque", path)(e.into()))
    }

    /// The folder at this path of the archive, made if it is not there. Links are followed inside the root.
    pub(crate) fn folder(&mut self, path: &[u8]) -> Result<OwnedFd, LayerError> {
        if let Some((cached, fd)) = self.folder.take()
            && cached == path
        {
            return Ok(fd);
        }
        match rooted::open_folder_in_root(self.root.as_fd(), path) {
            Ok(fd) => Ok(fd),
            Err(Errno::NOENT | Errno::NAMETOOLONG | Errno::NOTDIR) => self.make_folders(path),
            Err(e) => Err(self.file("open folder", path)(e.into())),
        }
    }

    /// Walks one component at a time, as a process in a chroot would, and makes what is missing.
    fn make_folders(&mut self, path: &[u8]) -> Result<OwnedFd, LayerError> {
        let mut todo: Vec<Vec<u8>> = components(path);
        let mut stack: Vec<(Vec<u8>, OwnedFd)> = Vec::new();
        let mut links = 0;
        while let Some(name) = todo.pop() {
            if name == b".." {
                stack.pop();
                continue;
            }
            let at = stack.last().map_or(self.root.as_fd(), |(_, fd)| fd.as_fd());
            let found = stat(&at, &name);
            let here = || {
                let mut here: Vec<u8> = Vec::new();
                for (part, _) in &stack {
                    here.extend_from_slice(part);
                    here.push(b'/');
                }
                [here.as_slice(), &name].concat()
            };
            let kind = match &found {
                Ok(found) => FileType::from_raw_mode(found.st_mode),
                Err(Errno::NOENT) => {
                    make_dir(at, &name).map_err(self.file("make folder", &here()))?;
                    self.implied.insert(here());
                    FileType::Directory
                }
                Err(e) => return Err(self.file("inspect", &here())((*e).into())),
            };
            match kind {
                FileType::Directory => {}
                FileType::Symlink => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(self.refuse(path, "too many symbolic links"));
                    }
                    let target = rustix::fs::readlinkat(at, name.as_slice(), Vec::new())
                        .map_err(|e| self.file("read link", &here())(e.into()))?
                        .into_bytes();
                    if target.first() == Some(&b'/') {
                        stack.clear();
                    }
                    todo.extend(components(&target));
                    continue;
                }
                _ if self.is_layer() && found.as_ref().is_ok_and(is_whiteout) => {
                    let unlink = rustix::fs::unlinkat(at, name.as_slice(), AtFlags::empty());
                    unlink.map_err(|e| self.file("replace", &here())(e.into()))?;
                    make_dir(at, &name).map_err(self.file("make folder", &here()))?;
                    let fd = rooted::open_child_dir(at, &name).map_err(self.file("open", &here()))?;
                    self.set_opaque(&fd, &here())?;
                    self.implied.insert(here());
                }
                _ => return Err(self.refuse(path, "a part of its path is not a folder")),
            }
            let fd = rooted::open_child_dir(at, &name).map_err(self.file("open folder", &here()))?;
            stack.push((name, fd));
        }
        match stack.pop() {
            Some((_, fd)) => Ok(fd),
            None => rooted::reopen_dir(self.root.as_fd()).map_err(LayerError::file("open", "/")),
        }
    }

    fn make<R: Read>(
        &mut self,
        tar: &mut TarReader<R>,
        entry: &TarEntry,
        path: &[u8],
        folder: &OwnedFd,
        name: &[u8],
    ) -> Result<(), LayerError> {
        if name.len() > 255 {
            return Err(self.refuse(path, "its name is longer than 255 bytes"));
        }
        match entry.kind {
            EntryKind::Folder => return self.make_dir_entry(entry, path, folder, name),
            EntryKind::HardLink => return self.make_hard_link(entry, path, folder, name),
            _ => self.clear_place(folder, name, path)?,
        }
        let failed = |e: Errno| self.file("make", path)(e.into());
        let special = match entry.kind {
            EntryKind::File => return self.make_file(tar, entry, path, folder, name),
            EntryKind::Symlink => {
                rustix::fs::symlinkat(entry.link.as_slice(), folder, name).map_err(failed)?;
                return self.describe_name(folder, name, entry, path);
            }
            EntryKind::Fifo => FileType::Fifo,
            EntryKind::Block => FileType::BlockDevice,
            _ => FileType::CharacterDevice,
        };
        let device = rustix::fs::makedev(entry.device.0, entry.device.1);
        if special == FileType::CharacterDevice && device == 0 {
            return Err(self.refuse(path, "a device 0:0 would be a whiteout"));
        }
        rustix::fs::mknodat(folder, name, special, Mode::empty(), device).map_err(failed)?;
        self.describe_name(folder, name, entry, path)
    }

    fn make_dir_entry(
        &mut self,
        entry: &TarEntry,
        path: &[u8],
        folder: &OwnedFd,
        name: &[u8],
    ) -> Result<(), LayerError> {
        let mut opaque = false;
        match stat(folder, name) {
            Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => {}
            Ok(found) => {
                opaque = self.is_layer() && is_whiteout(&found);
                // ADD over a link to a folder keeps the link, as Docker does.
                if self.reading == Reading::Plain
                    && FileType::from_raw_mode(found.st_mode) == FileType::Symlink
                    && rooted::open_folder_in_root(self.root.as_fd(), path).is_ok()
                {
                    return Ok(());
                }
                self.clear_place(folder, name, path)?;
                make_dir(folder.as_fd(), name).map_err(self.file("make folder", path))?;
            }
            Err(Errno::NOENT) => make_dir(folder.as_fd(), name).map_err(self.file("make folder", path))?,
            Err(e) => return Err(self.file("inspect", path)(e.into())),
        }
        let fd = rooted::open_child_dir(folder.as_fd(), name).map_err(self.file("open folder", path))?;
        if opaque {
            self.set_opaque(&fd, path)?;
        }
        self.implied.remove(path);
        self.times.push((path.to_vec(), entry.mtime));
        self.describe(&fd, entry, path)
    }

    fn make_hard_link(
        &mut self,
        entry: &TarEntry,
        path: &[u8],
        folder: &OwnedFd,
        name: &[u8],
    ) -> Result<(), LayerError> {
        let target = self.clean(&entry.link)?;
        let (target_folder, target_name) = split(&target);
        if target_name.is_empty() {
            return Err(self.refuse(path, "it is a hard link to the root"));
        }
        let place = match rooted::open_folder_in_root(self.root.as_fd(), target_folder) {
            Ok(place) => stat(&place, target_name).map(|found| (place, found)),
            Err(e) => Err(e),
        };
        let (place, found) = match place {
            Ok((place, found)) if !(self.is_layer() && is_whiteout(&found)) => (place, found),
            Ok(_) | Err(Errno::NOENT) if self.is_layer() => {
                self.foreign_links.push((path.to_vec(), target));
                return Ok(());
            }
            Ok(_) => return Err(self.refuse(path, "it is a hard link to a device 0:0")),
            Err(e) => return Err(self.file("find the target of the hard link", path)(e.into())),
        };
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            return Err(self.refuse(path, "it is a hard link to a folder"));
        }
        if stat(folder, name).is_ok_and(|mine| mine.st_ino == found.st_ino && mine.st_dev == found.st_dev) {
            return Ok(());
        }
        self.clear_place(folder, name, path)?;
        rustix::fs::linkat(&place, target_name, folder, name, AtFlags::empty())
            .map_err(|e| self.file("make hard link", path)(e.into()))
    }

    fn make_file<R: Read>(
        &mut self,
        tar: &mut TarReader<R>,
        entry: &TarEntry,
        path: &[u8],
        folder: &OwnedFd,
        name: &[u8],
    ) -> Result<(), LayerError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o600))
            .map_err(|e| self.file("make", path)(e.into()))?;
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = match &entry.sparse {
            None => self.copy(tar, &mut buffer, &fd, path, (0, entry.size)),
            Some((map, real_size)) => map
                .iter()
                .try_for_each(|piece| self.copy(tar, &mut buffer, &fd, path, (piece.offset, piece.length)))
                .and_then(|()| rustix::fs::ftruncate(&fd, *real_size).map_err(|e| self.file("size", path)(e.into()))),
        };
        self.buffer = buffer;
        result?;
        self.bytes += entry.size;
        self.describe(&fd, entry, path)?;
        self.set_times(&fd, entry.mtime, path)
    }

    /// Copies `length` bytes of the entry's content to `offset`.
    fn copy<R: Read>(
        &self,
        tar: &mut TarReader<R>,
        buffer: &mut [u8],
        fd: &OwnedFd,
        path: &[u8],
        (mut offset, mut length): (u64, u64),
    ) -> Result<(), LayerError> {
        while length > 0 {
            let most = buffer.len().min(usize::try_from(length).unwrap_or(usize::MAX));
            let got = match tar.read_content(&mut buffer[..most]) {
                Ok(got) if got > 0 => got,
                Ok(_) => {
                    return Err(LayerError::Read {
                        what: self.what.clone(),
                        source: io::ErrorKind::UnexpectedEof.into(),
                    });
                }
                Err(source) => return Err(LayerError::Read { what: self.what.clone(), source }),
            };
            let mut rest = &buffer[..got];
            while !rest.is_empty() {
                let written = rustix::io::retry_on_intr(|| rustix::io::pwrite(fd, rest, offset))
                    .map_err(|e| self.file("write", path)(e.into()))?;
                rest = &rest[written..];
                offset += written as u64;
            }
            length -= got as u64;
        }
        Ok(())
    }

    /// Removes what stands in the way, a whole folder if need be.
    fn clear_place(&mut self, folder: &OwnedFd, name: &[u8], path: &[u8]) -> Result<(), LayerError> {
        let found = match stat(folder, name) {
            Err(Errno::NOENT) => return Ok(()),
            other => other.map_err(|e| self.file("inspect", path)(e.into()))?,
        };
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            remove_tree(folder.as_fd(), name).map_err(self.file("replace", path))?;
            let inside = [path, b"/"].concat();
            self.implied.retain(|dir| dir != path && !dir.starts_with(&inside));
            self.times.retain(|(dir, _)| dir != path && !dir.starts_with(&inside));
            self.foreign_links.retain(|(link, _)| !link.starts_with(&inside));
        } else {
            rustix::fs::unlinkat(folder, name, AtFlags::empty()).map_err(|e| self.file("replace", path)(e.into()))?;
        }
        Ok(())
    }

    /// Remembers a folder's time, for [`Tree::finish`].
    pub(crate) fn remember_time(&mut self, path: &[u8], mtime: (i64, u32)) {
        self.times.push((path.to_vec(), mtime));
    }

    /// Sets the times of the folders.
    pub(crate) fn finish(&mut self) -> Result<(), LayerError> {
        for (path, mtime) in std::mem::take(&mut self.times) {
            match rooted::open_folder_in_root(self.root.as_fd(), &path) {
                Ok(fd) => self.set_times(&fd, mtime, &path)?,
                // Replaced by a link that leads nowhere.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG) => {}
                Err(e) => return Err(self.file("open folder", &path)(e.into())),
            }
        }
        Ok(())
    }

    #[expect(clippy::unused_self, reason = "reads as `refuse` does, and names the archive one day")]
    pub(crate) fn file(&self, action: &'static str, path: &[u8]) -> impl FnOnce(io::Error) -> LayerError + use<> {
        LayerError::file(action, display(path))
    }

    pub(crate) fn refuse(&self, path: &[u8], reason: &str) -> LayerError {
        let entry = PathBuf::from(OsStr::from_bytes(path));
        LayerError::Entry { what: self.what.clone(), entry, reason: reason.to_owned() }
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

/// The components, last first, to be popped.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|b| *b == b'/').filter(|part| !matches!(*part, b"" | b".")).rev().map(<[u8]>::to_vec).collect()
}
