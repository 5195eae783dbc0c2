//! Looks into the layers below one that is being unpacked, merged as overlayfs would merge them.
//!
//! Layers need not describe the folders their files are in, and may hard link to files of the layers below. A folder of
//! the store must say both itself.

use crate::layer::{LayerError, is_layer_xattr, is_opaque, is_whiteout};
use crate::rooted::{self, remove_tree, stat};
use crate::unpack::describe::timestamps;
use crate::unpack::tree::{Tree, split};
use osbs_types::OverlayXattrs;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid, XattrFlags};
use rustix::io::Errno;
use std::io::{self, Read, Write};
use std::path::PathBuf;

/// Something found below: its folder, and what it is.
struct Found {
    folder: OwnedFd,
    stat: Stat,
}

/// Gives the folders without description those of the layers below, and makes hard links to files below. `lowers` are
/// complete layers, bottom first.
pub(crate) fn complete(tree: &mut Tree, lowers: &[PathBuf]) -> Result<(), LayerError> {
    let mut roots = Vec::new();
    for path in lowers.iter().rev() {
        roots.push(rooted::open_root(path).map_err(LayerError::file("open", path))?);
    }
    for (path, target) in tree.take_foreign_links() {
        link_below(tree, &roots, &path, &target)?;
    }
    for path in tree.take_whiteouts() {
        remove_idle_whiteout(tree, &roots, &path)?;
    }
    describe_root(tree, &roots)?;
    for path in tree.take_implied() {
        describe(tree, &roots, &path)?;
    }
    Ok(())
}

/// Overlayfs lists the whiteouts of a folder that only one layer has, as names that cannot be opened. So one that hides
/// nothing must go.
fn remove_idle_whiteout(tree: &mut Tree, roots: &[OwnedFd], path: &[u8]) -> Result<(), LayerError> {
    let (folder, name) = split(path);
    // Through a link the path below would be another one.
    let Ok(folder) = rooted::open_folder_beneath(tree.root(), folder) else { return Ok(()) };
    if !stat(&folder, name).is_ok_and(|found| is_whiteout(&found))
        || find(roots, path, tree.overlay_xattrs()).map_err(tree.file("look below for", path))?.is_some()
    {
        return Ok(());
    }
    rustix::fs::unlinkat(&folder, name, AtFlags::empty()).map_err(|e| tree.file("remove whiteout", path)(e.into()))
}

fn describe_root(tree: &mut Tree, roots: &[OwnedFd]) -> Result<(), LayerError> {
    if tree.root_seen() {
        return Ok(());
    }
    let fd = rooted::reopen_dir(tree.root()).map_err(tree.file("open", b""))?;
    if let Some(below) = roots.first() {
        let stat = rustix::fs::fstat(below).map_err(|e| tree.file("inspect", b"")(e.into()))?;
        copy_description(&fd, below, &stat).map_err(tree.file("describe", b""))?;
        tree.remember_time(b"", (stat.st_mtime, stat.st_mtime_nsec as u32))
    } else {
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o755)).map_err(|e| tree.file("describe", b"")(e.into()))?;
        tree.remember_time(b"", (0, 0))
    }
}

/// A folder that no layer describes is 0755, root's, of 1970: the same on every machine.
fn describe(tree: &mut Tree, roots: &[OwnedFd], path: &[u8]) -> Result<(), LayerError> {
    let fd = rooted::open_folder_beneath(tree.root(), path).map_err(tree.file("open folder", path))?;
    let mut mtime = (0, 0);
    let mut mode = Mode::from_raw_mode(0o755);
    if let Some(found) = find(roots, path, tree.overlay_xattrs()).map_err(tree.file("look below for", path))? {
        let name = split(path).1;
        if FileType::from_raw_mode(found.stat.st_mode) == FileType::Directory {
            let below = rooted::open_child_dir(found.folder.as_fd(), name).map_err(tree.file("open", path))?;
            copy_description(&fd, &below, &found.stat).map_err(tree.file("describe", path))?;
            mtime = (found.stat.st_mtime, found.stat.st_mtime_nsec as u32);
            mode = Mode::from_raw_mode(found.stat.st_mode & 0o7777);
        }
    }
    rustix::fs::fchmod(&fd, mode).map_err(|e| tree.file("describe", path)(e.into()))?;
    tree.remember_time(path, mtime)
}

fn copy_description(to: &OwnedFd, from: &OwnedFd, stat: &Stat) -> io::Result<()> {
    rustix::fs::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    for (name, value) in rooted::xattrs_of(from.as_fd())? {
        if is_layer_xattr(&name) {
            rustix::fs::fsetxattr(to, name.as_slice(), &value, XattrFlags::empty())?;
        }
    }
    Ok(())
}

/// Copies the file below up into this layer under its own name, as overlayfs would on linking, and links to it.
fn link_below(tree: &mut Tree, roots: &[OwnedFd], path: &[u8], target: &[u8]) -> Result<(), LayerError> {
    let (target_folder, target_name) = split(target);
    let place = tree.folder(target_folder)?;
    match stat(&place, target_name) {
        // An earlier link brought it up, or is it.
        Ok(here) if !is_whiteout(&here) => {}
        here => {
            let found = find(roots, target, tree.overlay_xattrs()).map_err(tree.file("look below for", target))?;
            let Some(found) = found.filter(|f| FileType::from_raw_mode(f.stat.st_mode) == FileType::RegularFile) else {
                return Err(tree.refuse(path, "it is a hard link to something that is not there"));
            };
            if here.is_ok() {
                rustix::fs::unlinkat(&place, target_name, AtFlags::empty())
                    .map_err(|e| tree.file("replace", target)(e.into()))?;
            }
            copy_up(&found, &place, target_name).map_err(tree.file("copy up", target))?;
        }
    }
    let (folder, name) = split(path);
    let folder = tree.folder(folder)?;
    match rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(Errno::ISDIR) => remove_tree(folder.as_fd(), name).map_err(tree.file("replace", path))?,
        Err(e) => return Err(tree.file("replace", path)(e.into())),
    }
    rustix::fs::linkat(&place, target_name, &folder, name, AtFlags::empty()).map_err(|e| tree.not_made("link", path, e))
}

fn copy_up(found: &Found, place: &OwnedFd, name: &[u8]) -> io::Result<()> {
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let from = rustix::fs::openat(&found.folder, name, read, Mode::empty())?;
    let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let to = rustix::fs::openat(place, name, write, Mode::from_raw_mode(0o600))?;
    let (mut from, mut to) = (std::fs::File::from(from), std::fs::File::from(to));
    copy_content(&mut from, &mut to)?;
    let (from, to) = (OwnedFd::from(from), OwnedFd::from(to));
    copy_description(&to, &from, &found.stat)?;
    rustix::fs::futimens(&to, &timestamps((found.stat.st_mtime, found.stat.st_mtime_nsec as u32)))?;
    Ok(())
}

fn copy_content(from: &mut impl Read, to: &mut impl Write) -> io::Result<u64> {
    io::copy(from, to)
}

/// Finds a path in the merged layers, topmost first; links on the way are not followed. One layer is looked through after
/// the other, so that few folders are open at once.
fn find(roots: &[OwnedFd], path: &[u8], xattrs: OverlayXattrs) -> io::Result<Option<Found>> {
    for root in roots {
        match find_in(root, path, xattrs)? {
            InLayer::Here(found) => return Ok(Some(found)),
            InLayer::Hidden => return Ok(None),
            InLayer::Below => {}
        }
    }
    Ok(None)
}

/// What one layer says about a path.
enum InLayer {
    Here(Found),
    /// It is not there, and nothing below can show.
    Hidden,
    /// Nothing: the layers below may have it.
    Below,
}

fn find_in(root: &OwnedFd, path: &[u8], xattrs: OverlayXattrs) -> io::Result<InLayer> {
    let mut folder = rooted::reopen_dir(root.as_fd())?;
    let mut opaque = is_opaque(&folder, xattrs)?;
    let mut parts = path.split(|b| *b == b'/').peekable();
    while let Some(name) = parts.next() {
        let stat = match stat(&folder, name) {
            Ok(stat) => stat,
            Err(Errno::NOENT) if opaque => return Ok(InLayer::Hidden),
            Err(Errno::NOENT) => return Ok(InLayer::Below),
            Err(e) => return Err(e.into()),
        };
        if is_whiteout(&stat) {
            return Ok(InLayer::Hidden);
        }
        if parts.peek().is_none() {
            return Ok(InLayer::Here(Found { folder, stat }));
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(InLayer::Hidden);
        }
        folder = rooted::open_child_dir(folder.as_fd(), name)?;
        opaque |= is_opaque(&folder, xattrs)?;
    }
    Ok(InLayer::Below)
}
