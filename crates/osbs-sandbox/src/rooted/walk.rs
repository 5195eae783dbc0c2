//! Paths of which a part does not exist yet: their real name, and making the missing folders.

use super::{Context as _, Done, Node, NodeKind, Owner, Place, Root};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

/// As many links as the kernel follows in one path.
const MAX_LINKS: usize = 40;

impl Root {
    /// The path without links, inside the root, beginning with `/`. What is missing, and all after it, is taken as
    /// written. Only advice: the tree may change before the name is used, so use it with this root again.
    ///
    /// # Errors
    /// A loop of links.
    pub fn resolve(&self, path: &Path) -> Done<PathBuf> {
        let walk = self.walk(path, |_| Ok(())).while_trying("resolve", path)?;
        Ok(Path::new("/").join(walk))
    }

    /// Makes a folder and its missing parents, all with this mode and owner; what exists stays as it is. Links are
    /// followed inside the root, dangling ones too. Returns the folders that were made, parents first.
    ///
    /// # Errors
    /// Something on the way is no folder, a loop of links, or the kernel's refusal.
    pub fn mkdir_all(&self, path: &Path, mode: u32, owner: Owner) -> Done<Vec<PathBuf>> {
        let mut made = Vec::new();
        let resolved = self.walk(path, |missing| {
            if self.make_folder(missing, mode, owner)? {
                made.push(Path::new("/").join(missing));
            }
            Ok(())
        });
        let resolved = resolved.while_trying("make the folder", path)?;
        self.open_in(&resolved, OFlags::PATH | OFlags::DIRECTORY).while_trying("make the folder", path)?;
        Ok(made)
    }

    fn make_folder(&self, path: &Path, mode: u32, owner: Owner) -> Result<bool, Errno> {
        let Place { dir, name } = self.place(path)?;
        match rustix::fs::mkdirat(&dir, name.as_os_str(), Mode::from_raw_mode(0o700)) {
            Err(Errno::EXIST) => return Ok(false),
            other => other?,
        }
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        rustix::fs::chownat(&dir, name.as_os_str(), Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        // After the owner, which takes set-id bits away; by handle, because of the umask and of links.
        let made = Place { dir, name }.not_a_link()?.ok_or(Errno::LOOP)?;
        rustix::fs::chmod(made.proc_name(), Mode::from_raw_mode(mode))?;
        Ok(true)
    }

    /// Follows `path` name by name; every name that is missing is shown to `on_missing`, which may make it. The result
    /// is relative to the root.
    fn walk(&self, path: &Path, mut on_missing: impl FnMut(&Path) -> Result<(), Errno>) -> Result<PathBuf, Errno> {
        let mut rest = VecDeque::new();
        push_front(&mut rest, path);
        let mut current = PathBuf::new();
        let mut links = 0;
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                current.pop();
                continue;
            }
            current.push(&name);
            match self.look(&current)? {
                Some(node) if node.kind == NodeKind::Symlink => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::LOOP);
                    }
                    let target = self.place(&current)?.read_link()?;
                    if target.is_absolute() {
                        current.clear();
                    } else {
                        current.pop();
                    }
                    push_front(&mut rest, &target);
                }
                Some(_) => {}
                None => on_missing(&current)?,
            }
        }
        Ok(current)
    }

    fn look(&self, path: &Path) -> Result<Option<Node>, Errno> {
        match self.place(path).and_then(|place| place.stat()) {
            Ok(node) => Ok(Some(node)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn push_front(rest: &mut VecDeque<OsString>, path: &Path) {
    for component in path.components().rev() {
        match component {
            Component::Normal(name) => rest.push_front(name.to_owned()),
            Component::ParentDir => rest.push_front(OsStr::new("..").to_owned()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
}
