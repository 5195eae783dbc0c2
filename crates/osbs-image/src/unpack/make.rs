//! Makes what an entry names: a folder, link, device or file, by one name in an open folder.

use crate::layer::{LayerError, is_whiteout};
use crate::rooted::{self, make_dir, remove_tree, stat};
use crate::tar::{EntryKind, TarEntry, TarReader};
use crate::unpack::tree::{Place, Reading, Tree, split};
use osbs_types::OverlayXattrs;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::io::{self, Read};

impl Tree {
    pub(super) fn make<R: Read>(
        &mut self,
        tar: &mut TarReader<R>,
        entry: &TarEntry,
        place: Place<'_>,
    ) -> Result<(), LayerError> {
        let Place { path, folder, name } = place;
        if name.len() > 255 {
            return Err(self.refuse(path, "its name is longer than 255 bytes"));
        }
        match entry.kind {
            EntryKind::Folder => return self.make_dir_entry(entry, place),
            EntryKind::HardLink => return self.make_hard_link(entry, place),
            _ => self.clear_place(place)?,
        }
        let special = match entry.kind {
            EntryKind::File => return self.make_file(tar, entry, place),
            EntryKind::Symlink => {
                rustix::fs::symlinkat(entry.link.as_slice(), folder, name)
                    .map_err(|e| self.not_made("make", path, e))?;
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
        if special != FileType::Fifo && self.reading == Reading::Layer(OverlayXattrs::User) {
            // As podman and docker do in a user namespace. The layer itself still has it, and is handed on as it is.
            return self.leave_out(path);
        }
        rustix::fs::mknodat(folder, name, special, Mode::empty(), device).map_err(|e| match e {
            Errno::PERM => self.refuse(path, "only root of the machine can make device nodes"),
            other => self.not_made("make", path, other),
        })?;
        self.describe_name(folder, name, entry, path)
    }

    fn make_dir_entry(&mut self, entry: &TarEntry, place: Place<'_>) -> Result<(), LayerError> {
        let Place { path, folder, name } = place;
        let mut opaque = false;
        match stat(folder, name) {
            Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => {}
            Ok(found) => {
                opaque = self.reading != Reading::Plain && is_whiteout(&found);
                // ADD over a link to a folder keeps the link, as Docker does.
                if self.reading == Reading::Plain
                    && FileType::from_raw_mode(found.st_mode) == FileType::Symlink
                    && rooted::open_folder_in_root(self.root.as_fd(), path).is_ok()
                {
                    return Ok(());
                }
                self.clear_place(place)?;
                make_dir(folder.as_fd(), name).map_err(self.file("make folder", path))?;
            }
            Err(Errno::NOENT) => {
                self.forget(path, false);
                make_dir(folder.as_fd(), name).map_err(self.file("make folder", path))?;
            }
            Err(e) => return Err(self.file("inspect", path)(e.into())),
        }
        let fd = rooted::open_child_dir(folder.as_fd(), name).map_err(self.file("open folder", path))?;
        if opaque {
            self.set_opaque(&fd, path)?;
        }
        self.described(path);
        self.remember_time(path, entry.mtime)?;
        self.describe(&fd, entry, path)
    }

    fn make_hard_link(&mut self, entry: &TarEntry, place: Place<'_>) -> Result<(), LayerError> {
        let Place { path, folder, name } = place;
        let target = self.clean(&entry.link)?;
        let (target_folder, target_name) = split(&target);
        if target_name.is_empty() {
            return Err(self.refuse(path, "it is a hard link to the root"));
        }
        let in_layer = self.reading != Reading::Plain;
        let found = match self.find_folder(target_folder)? {
            Some(folder) => stat(&folder, target_name).map(|found| (folder, found)),
            None => Err(Errno::NOENT),
        };
        let (target_folder, found) = match found {
            Ok((_, found)) if is_whiteout(&found) && !in_layer => {
                return Err(self.refuse(path, "it is a hard link to a device 0:0"));
            }
            Ok((folder, found)) if !is_whiteout(&found) => (folder, found),
            Err(Errno::NOENT) if self.is_left_out(&target) => return self.leave_out(path),
            Ok(_) | Err(Errno::NOENT) if in_layer => {
                // What stands there is replaced once the layers below are known.
                self.forget(path, false);
                return self.remember_link(path, target);
            }
            Ok(_) | Err(Errno::NOENT | Errno::NAMETOOLONG) => {
                return Err(self.refuse(path, "it is a hard link to something that is not there"));
            }
            Err(e) => return Err(self.file("find the target of the hard link", path)(e.into())),
        };
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            return Err(self.refuse(path, "it is a hard link to a folder"));
        }
        if stat(folder, name).is_ok_and(|mine| mine.st_ino == found.st_ino && mine.st_dev == found.st_dev) {
            return Ok(());
        }
        self.clear_place(place)?;
        // The place that was cleared may have been, or held, the target.
        rustix::fs::linkat(&target_folder, target_name, folder, name, AtFlags::empty())
            .map_err(|e| self.not_made("link", path, e))
    }

    fn make_file<R: Read>(
        &mut self,
        tar: &mut TarReader<R>,
        entry: &TarEntry,
        place: Place<'_>,
    ) -> Result<(), LayerError> {
        let Place { path, folder, name } = place;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o600))
            .map_err(|e| self.not_made("make", path, e))?;
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = match &entry.sparse {
            None => self.copy(tar, &mut buffer, &fd, path, (0, entry.size)),
            Some((map, real_size)) => map
                .iter()
                .try_for_each(|piece| self.copy(tar, &mut buffer, &fd, path, (piece.offset, piece.length)))
                .and_then(|()| rustix::fs::ftruncate(&fd, *real_size).map_err(|e| self.not_made("size", path, e))),
        };
        self.buffer = buffer;
        result?;
        self.bytes = self.bytes.saturating_add(entry.file_size());
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
                Ok(_) => return Err(LayerError::read(self.what(), io::ErrorKind::UnexpectedEof.into())),
                Err(source) => return Err(LayerError::read(self.what(), source)),
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
    fn clear_place(&mut self, place: Place<'_>) -> Result<(), LayerError> {
        let Place { path, folder, name } = place;
        let found = match stat(folder, name) {
            Err(Errno::NOENT) => {
                self.forget(path, false);
                return Ok(());
            }
            other => other.map_err(|e| self.file("inspect", path)(e.into()))?,
        };
        let is_folder = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
        self.forget(path, is_folder);
        if is_folder {
            remove_tree(folder.as_fd(), name).map_err(self.file("replace", path))
        } else {
            rustix::fs::unlinkat(folder, name, AtFlags::empty()).map_err(|e| self.file("replace", path)(e.into()))
        }
    }
}
