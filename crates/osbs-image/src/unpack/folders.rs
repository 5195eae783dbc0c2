//! Finds the folder an entry goes into, and makes what is missing of it.

use crate::layer::{LayerError, is_whiteout};
use crate::rooted::{self, make_dir, stat};
use crate::unpack::tree::{Reading, Tree};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

/// As many links are followed in one path as Linux does.
const MAX_LINKS: usize = 40;

/// A walk through the tree, one component at a time.
struct Walk<'t> {
    tree: &'t mut Tree,
    /// The path that is being walked, for messages.
    path: &'t [u8],
    /// Names still to go, the next one last.
    todo: Vec<Vec<u8>>,
    /// Where it is, without links. Only this folder is open: a deep path must not cost a file descriptor a folder.
    here: Vec<u8>,
    at: OwnedFd,
    links: usize,
    make: bool,
}

impl Tree {
    /// The folder at this path of the archive, made if it is not there. Links are followed inside the root.
    pub(crate) fn folder(&mut self, path: &[u8]) -> Result<OwnedFd, LayerError> {
        if let Some((cached, fd)) = self.folder.take() {
            if cached == path {
                return Ok(fd);
            }
            // A tar goes down step by step: from the last folder it is not far, however deep it is.
            if let Some(rest) = path.strip_prefix(cached.as_slice()).and_then(|rest| rest.strip_prefix(b"/"))
                && let Ok(fd) = rooted::open_folder_beneath(fd.as_fd(), rest)
            {
                return Ok(fd);
            }
        }
        match rooted::open_folder_in_root(self.root.as_fd(), path) {
            Ok(fd) => Ok(fd),
            Err(Errno::NOENT | Errno::NAMETOOLONG | Errno::NOTDIR) => {
                let made = self.walk(path, true)?;
                made.ok_or_else(|| self.refuse(path, "a part of its path is not a folder"))
            }
            Err(Errno::LOOP) => Err(self.refuse(path, "too many symbolic links")),
            Err(e) => Err(self.file("open folder", path)(e.into())),
        }
    }

    /// The same, but `None` when it is not there.
    pub(crate) fn find_folder(&mut self, path: &[u8]) -> Result<Option<OwnedFd>, LayerError> {
        match rooted::open_folder_in_root(self.root.as_fd(), path) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NAMETOOLONG) => self.walk(path, false),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(e) => Err(self.file("open folder", path)(e.into())),
        }
    }

    /// Walks one component at a time, as a process in a chroot would: openat2 takes no more than PATH_MAX at once, and
    /// makes nothing.
    fn walk(&mut self, path: &[u8], make: bool) -> Result<Option<OwnedFd>, LayerError> {
        let at = rooted::reopen_dir(self.root.as_fd()).map_err(LayerError::file("open", "/"))?;
        let mut walk = Walk { tree: self, path, todo: components(path), here: Vec::new(), at, links: 0, make };
        while let Some(name) = walk.todo.pop() {
            if !walk.step(&name)? {
                return Ok(None);
            }
        }
        Ok(Some(walk.at))
    }
}

impl Walk<'_> {
    fn step(&mut self, name: &[u8]) -> Result<bool, LayerError> {
        if name == b".." {
            let up = self.here.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
            self.here.truncate(up);
            return self.reopen().map(|()| true);
        }
        let child = if self.here.is_empty() { name.to_vec() } else { [&self.here, b"/".as_slice(), name].concat() };
        let found = stat(&self.at, name);
        let kind = match &found {
            Ok(found) => FileType::from_raw_mode(found.st_mode),
            Err(Errno::NOENT) if self.make => {
                make_dir(self.at.as_fd(), name).map_err(self.tree.file("make folder", &child))?;
                self.tree.remember_implied(child.clone())?;
                FileType::Directory
            }
            Err(Errno::NOENT) => return Ok(false),
            Err(Errno::NAMETOOLONG) => return Err(self.tree.refuse(self.path, "a name is longer than 255 bytes")),
            Err(e) => return Err(self.tree.file("inspect", &child)((*e).into())),
        };
        match kind {
            FileType::Directory => {}
            FileType::Symlink => return self.follow(name, &child).map(|()| true),
            _ if self.make && self.tree.reading != Reading::Plain && found.as_ref().is_ok_and(is_whiteout) => {
                let unlink = rustix::fs::unlinkat(&self.at, name, AtFlags::empty());
                unlink.map_err(|e| self.tree.file("replace", &child)(e.into()))?;
                make_dir(self.at.as_fd(), name).map_err(self.tree.file("make folder", &child))?;
                let fd = rooted::open_child_dir(self.at.as_fd(), name).map_err(self.tree.file("open", &child))?;
                self.tree.set_opaque(&fd, &child)?;
                self.tree.remember_implied(child.clone())?;
            }
            _ => return Ok(false),
        }
        self.at = rooted::open_child_dir(self.at.as_fd(), name).map_err(self.tree.file("open folder", &child))?;
        self.here = child;
        Ok(true)
    }

    fn follow(&mut self, name: &[u8], child: &[u8]) -> Result<(), LayerError> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(self.tree.refuse(self.path, "too many symbolic links"));
        }
        let target = rustix::fs::readlinkat(&self.at, name, Vec::new())
            .map_err(|e| self.tree.file("read link", child)(e.into()))?
            .into_bytes();
        self.todo.extend(components(&target));
        if target.first() == Some(&b'/') {
            self.here.clear();
            return self.reopen();
        }
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), LayerError> {
        self.at = rooted::open_folder_beneath(self.tree.root(), &self.here)
            .map_err(self.tree.file("open folder", &self.here))?;
        Ok(())
    }
}

/// The components, last first, to be popped.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|b| *b == b'/').filter(|part| !matches!(*part, b"" | b".")).rev().map(<[u8]>::to_vec).collect()
}
