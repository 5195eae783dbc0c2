//! Where a COPY or ADD puts things: folders that are made, files that are replaced, archives that are unpacked.

use super::{Destination, ROOT, TransferContext, stopped};
use crate::accounts::rooted;
use crate::error::{BuildError, FileError, InstructionError};
use crate::file_mode::ModeChange;
use crate::open_folder::{OPEN_DIR, count_entries, path_below};
use crate::source::{Found, SourceRoot};
use crate::tree_copy::{Part, Place, SourceTree, TreeCopy};
use osbs_dockerfile::{IgnorePatterns, Transfer};
use osbs_image::{ExtractOptions, LayerError, extract_tar, open_archive};
use osbs_sandbox::rooted::{FileTime, NodeKind, Owner, Root};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, Mode, ResolveFlags, openat, openat2};
use std::ffi::{CString, OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One instruction at work.
pub(super) struct Put<'p> {
    pub(super) context: &'p TransferContext<'p>,
    pub(super) transfer: &'p Transfer,
    pub(super) add: bool,
    pub(super) source: &'p SourceRoot,
    /// The image, as it is seen now.
    pub(super) root: Root,
    pub(super) view: &'p Path,
    pub(super) upper: &'p Path,
    /// `--chown`.
    pub(super) given: Option<Owner>,
    pub(super) mode: Option<ModeChange>,
    pub(super) destination: Destination,
}

impl Put<'_> {
    pub(super) fn owner_of_new(&self) -> Owner {
        self.given.unwrap_or(ROOT)
    }

    /// Makes a folder of the image with its parents; the path without links, and whether it is new.
    pub(super) fn folder(&self, path: &Path) -> Result<(PathBuf, bool), InstructionError> {
        let made = self.root.mkdir_all(path, 0o755, self.owner_of_new());
        let made = made.map_err(|e| FileError::new("create", path, e.source).located(self.context.scratch))?;
        let real = self.root.resolve(path).map_err(rooted)?;
        Ok((real, !made.is_empty()))
    }

    /// Nothing is in the folder, neither in the view nor in the upper layer, where it must exist.
    pub(super) fn is_blank(&self, folder: &OwnedFd, made: bool) -> bool {
        if made {
            return true;
        }
        let Some(inside) = path_below(self.view, folder.as_fd()) else { return false };
        let none = |fd: &OwnedFd| count_entries(fd.as_fd(), 1).is_ok_and(|count| count == 0);
        none(folder) && open(self.upper, &inside).is_ok_and(|upper| none(&upper))
    }

    pub(super) fn tree(&self, engine: &TreeCopy<'_>, found: &Found) -> Result<(), InstructionError> {
        if found.kind == NodeKind::Directory {
            return self.content(engine, found, None);
        }
        if self.add && self.transfer.unpack != Some(false) && found.kind == NodeKind::File && self.unpack(found)? {
            return Ok(());
        }
        let (folder, name) = self.place(found.named.file_name().unwrap_or_default())?;
        let source = open(&self.source.path, found.real.parent().unwrap_or(Path::new("")))?;
        let c_name = |name: &OsStr| {
            CString::new(name.as_bytes()).map_err(|_| BuildError::Internal("a file name holds a zero byte"))
        };
        let (from, to) = (c_name(found.real.file_name().unwrap_or_default())?, c_name(&name)?);
        let place = Place {
            source: source.as_fd(),
            from: &from,
            target: folder.as_fd(),
            to: &to,
            kind: file_type(found.kind),
            blank: false,
        };
        engine.single(&place, &found.named).map_err(|stop| stopped(self.context, stop))
    }

    /// What is in a folder; the folder itself is not copied, so that a new one has the mode of any new folder.
    pub(super) fn content(
        &self,
        engine: &TreeCopy<'_>,
        found: &Found,
        include: Option<IgnorePatterns>,
    ) -> Result<(), InstructionError> {
        let (real, made) = self.folder(Path::new(&self.destination.path))?;
        let target = open(self.view, &real)?;
        let folder = open(&self.source.path, &found.real)?;
        let blank = self.is_blank(&target, made);
        let rel = found.real.as_os_str().as_bytes().to_vec();
        let above = if rel.is_empty() { 0 } else { rel.len() + 1 };
        let time = made && include.is_none();
        let source = SourceTree { folder, rel, part: Arc::new(Part { above, include }) };
        engine.contents(source, target, time, blank).map_err(|stop| stopped(self.context, stop))
    }

    /// The open folder and the name that a single file gets.
    fn place(&self, name: &OsStr) -> Result<(OwnedFd, OsString), InstructionError> {
        let destination = Path::new(&self.destination.path);
        let path = if self.destination.folder || is_folder(&self.root, &self.destination.path)? {
            destination.join(name)
        } else {
            self.root.resolve(destination).map_err(rooted)?
        };
        let (real, _) = self.folder(path.parent().unwrap_or(Path::new("/")))?;
        let name = path.file_name().unwrap_or(name).to_owned();
        let there = self.root.lstat(&real.join(&name)).map_err(rooted)?;
        if there.is_some_and(|node| node.kind == NodeKind::Directory) {
            let taken = std::io::Error::from(std::io::ErrorKind::IsADirectory);
            return Err(FileError::new("replace the folder", real.join(&name), taken).into());
        }
        Ok((open(self.view, &real)?, name))
    }

    /// Unpacks a local archive; `false`: it is none.
    fn unpack(&self, found: &Found) -> Result<bool, InstructionError> {
        let file = self.source.root.open_file(&found.real).map_err(rooted)?;
        let read = |e| FileError::new("read", &found.real, e);
        let Some(mut archive) = open_archive(Box::new(file)).map_err(read)? else { return Ok(false) };
        self.extract(&mut archive, &found.named.display().to_string())?;
        Ok(true)
    }

    pub(super) fn extract(&self, archive: &mut dyn Read, name: &str) -> Result<(), InstructionError> {
        let (real, _) = self.folder(Path::new(&self.destination.path))?;
        let target = open(self.view, &real)?;
        let options = ExtractOptions {
            owner: self.given.map(|owner| (owner.uid, owner.gid)),
            // --chmod is not for what comes out of an archive, with BuildKit and with buildah.
            mode: None,
            max_bytes: self.context.limits.archive_bytes,
            max_entries: self.context.limits.files,
            name: name.to_owned(),
        };
        match extract_tar(archive, target.as_fd(), &options, self.context.cancel) {
            Ok(_) => Ok(()),
            Err(LayerError::Cancelled) => Err(BuildError::Cancelled.into()),
            Err(error) => Err(InstructionError::Archive { archive: name.to_owned(), source: Box::new(error) }),
        }
    }

    pub(super) fn text(&self, name: &str, content: &[u8]) -> Result<(), InstructionError> {
        self.write(name, 0o644, None, &mut |file| file.write_all(content))
    }

    /// Writes one new file.
    pub(super) fn write(
        &self,
        name: &str,
        mode: u32,
        time: Option<i64>,
        fill: &mut dyn FnMut(&mut std::fs::File) -> std::io::Result<()>,
    ) -> Result<(), InstructionError> {
        let (folder, name) = self.place(OsStr::new(name))?;
        let inside = path_below(self.view, folder.as_fd()).unwrap_or_default().join(name);
        let failed = |e| InstructionError::File(FileError::new("write", &inside, e).located(self.context.scratch));
        let mode = self.mode.as_ref().map_or(mode, |change| change.apply(mode, false));
        let mut file = self.root.create_file(&inside, 0o600).map_err(rooted)?;
        fill(&mut file).map_err(failed)?;
        drop(file);
        self.root.set_owner(&inside, self.owner_of_new()).map_err(rooted)?;
        self.root.set_mode(&inside, mode).map_err(rooted)?;
        if let Some(seconds) = time {
            self.root.set_times(&inside, FileTime { seconds, nanoseconds: 0 }).map_err(rooted)?;
        }
        Ok(())
    }
}

pub(super) fn is_folder(root: &Root, path: &str) -> Result<bool, InstructionError> {
    let node = root.stat(Path::new(path)).map_err(rooted)?;
    Ok(node.is_some_and(|node| node.kind == NodeKind::Directory))
}

/// Opens a folder of a tree, inside it.
pub(super) fn open(base: &Path, inside: &Path) -> Result<OwnedFd, InstructionError> {
    let failed = |e: rustix::io::Errno| FileError::new("open", inside, e);
    let root = openat(rustix::fs::CWD, base, OPEN_DIR, Mode::empty()).map_err(failed)?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let path = if inside.as_os_str().is_empty() { Path::new(".") } else { inside };
    Ok(openat2(&root, path, OPEN_DIR, Mode::empty(), resolve).map_err(failed)?)
}

fn file_type(kind: NodeKind) -> FileType {
    match kind {
        NodeKind::File => FileType::RegularFile,
        NodeKind::Directory => FileType::Directory,
        NodeKind::Symlink => FileType::Symlink,
        NodeKind::Fifo => FileType::Fifo,
        NodeKind::Socket => FileType::Socket,
        NodeKind::CharDevice => FileType::CharacterDevice,
        NodeKind::BlockDevice => FileType::BlockDevice,
    }
}
