//! The files and folders in an image's root that a container's mounts need, made before it runs and taken away after:
//! an image does not get a `/proc` or an `/etc/resolv.conf` because something was run in it.

use crate::rooted::{FileTime, Node, Owner, Root, RootedError};
use crate::run_spec::{BindMount, RunSpec};
use std::path::{Path, PathBuf};

const KERNEL: [&str; 3] = ["/proc", "/dev", "/sys"];

/// What was made; removed on drop.
#[derive(Debug)]
pub(crate) struct MountPoints {
    root: Root,
    /// Whose what is made is: the container's root, as it is seen from here.
    owner: Owner,
    /// In the order they were made, with what the folder they are in was like.
    made: Vec<Stub>,
}

#[derive(Debug)]
struct Stub {
    path: PathBuf,
    is_folder: bool,
    /// The modification time of the folder it is in, before and after it was made.
    parent_times: Option<(FileTime, FileTime)>,
}

impl MountPoints {
    /// Makes what is missing for `spec`; returns its bind mounts (and `extra`, before them) with the links in their
    /// targets resolved.
    pub(crate) fn prepare(spec: &RunSpec<'_>, extra: Vec<BindMount>) -> Result<(Self, Vec<BindMount>), RootedError> {
        let id = if spec.id_map.is_some() { crate::id_map::FIRST } else { 0 };
        let mut points = Self { root: Root::open(spec.root)?, owner: Owner { uid: id, gid: id }, made: Vec::new() };
        for dir in KERNEL {
            points.ensure(Path::new(dir), true)?;
        }
        let mut covered: Vec<PathBuf> = KERNEL.iter().map(PathBuf::from).collect();
        for tmpfs in &spec.tmpfs {
            let target = points.root.resolve(&tmpfs.target)?;
            points.ensure_unless_covered(&target, true, &covered)?;
            covered.push(target);
        }
        let mut binds = Vec::new();
        for mut bind in extra.into_iter().chain(spec.mounts.iter().cloned()) {
            bind.target = points.root.resolve(&bind.target)?;
            let is_folder = bind.source.is_dir();
            points.ensure_unless_covered(&bind.target, is_folder, &covered)?;
            if is_folder {
                covered.push(bind.target.clone());
            }
            binds.push(bind);
        }
        Ok((points, binds))
    }

    /// Below another mount the runtime makes the mount point there, where it is no part of the image.
    fn ensure_unless_covered(&mut self, path: &Path, is_folder: bool, covered: &[PathBuf]) -> Result<(), RootedError> {
        if covered.iter().any(|mount| path.starts_with(mount)) { Ok(()) } else { self.ensure(path, is_folder) }
    }

    fn ensure(&mut self, path: &Path, is_folder: bool) -> Result<(), RootedError> {
        if self.root.lstat(path)?.is_some() {
            return Ok(());
        }
        let missing: Vec<&Path> = path.ancestors().take_while(|part| self.is_missing(part)).collect();
        for part in missing.into_iter().rev() {
            let as_folder = is_folder || part != path;
            let before = self.parent(part);
            if as_folder {
                self.root.mkdir_all(part, 0o755, self.owner)?;
            } else {
                self.root.create_file(part, 0o644)?;
                self.root.set_owner(part, self.owner)?;
            }
            let after = self.parent(part);
            let parent_times = before.zip(after).map(|(before, after)| (before.modified, after.modified));
            self.made.push(Stub { path: part.to_owned(), is_folder: as_folder, parent_times });
        }
        Ok(())
    }

    fn is_missing(&self, path: &Path) -> bool {
        matches!(self.root.lstat(path), Ok(None))
    }

    fn parent(&self, path: &Path) -> Option<Node> {
        path.parent().and_then(|parent| self.root.lstat(parent).ok().flatten())
    }

    /// Removes a stub that nobody used: a file that is empty, a folder that is. What the container put there stays.
    fn take_away(&self, stub: &Stub) {
        let Some(node) = self.root.lstat(&stub.path).ok().flatten() else { return };
        let unused = if stub.is_folder {
            node.is_dir() && self.root.list(&stub.path).is_ok_and(|names| names.is_empty())
        } else {
            node.is_file() && node.size == 0
        };
        if !unused {
            return;
        }
        let found = self.parent(&stub.path).map(|parent| parent.modified);
        let removed = self.root.remove_tree(&stub.path);
        if let (Ok(true), Some(parent), Some(found), Some((before, after))) =
            (removed, stub.path.parent(), found, stub.parent_times)
        {
            // The program's own changes to that folder keep their time.
            let time = if found == after { before } else { found };
            let _ = self.root.set_times(parent, time);
        }
    }
}

impl Drop for MountPoints {
    fn drop(&mut self) {
        for stub in self.made.iter().rev() {
            self.take_away(stub);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn bind(source: &Path, target: &str) -> BindMount {
        BindMount { source: source.to_owned(), target: target.into(), readonly: true, mapped: false }
    }

    #[test]
    fn made_and_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let (root, bundle) = (dir.path().join("root"), dir.path().join("bundle"));
        std::fs::create_dir_all(root.join("etc")).unwrap();
        std::fs::create_dir_all(root.join("sys")).unwrap();
        symlink("../run/resolve/stub.conf", root.join("etc/resolv.conf")).unwrap();
        let source = dir.path().join("file");
        std::fs::write(&source, "").unwrap();
        let opened = Root::open(&root).unwrap();
        let past = FileTime { seconds: 1000, nanoseconds: 1 };
        for folder in ["/etc", "/"] {
            opened.set_times(Path::new(folder), past).unwrap();
        }
        let mut spec = RunSpec::new(&root, &bundle, vec![]);
        spec.mounts = vec![bind(&source, "/etc/resolv.conf"), bind(dir.path(), "/mnt/a"), bind(&source, "/mnt/a/deep")];
        let (points, binds) = MountPoints::prepare(&spec, vec![bind(&source, "/etc/hosts")]).unwrap();
        let targets: Vec<_> = binds.iter().map(|bind| bind.target.to_str().unwrap()).collect();
        assert_eq!(targets, ["/etc/hosts", "/run/resolve/stub.conf", "/mnt/a", "/mnt/a/deep"]);
        for made in ["proc", "dev", "etc/hosts", "run/resolve/stub.conf", "mnt/a"] {
            assert!(root.join(made).exists(), "{made}");
        }
        assert!(!root.join("mnt/a/deep").exists(), "below another mount");
        std::fs::write(root.join("run/kept"), "by the program").unwrap();
        drop(points);
        let names: Vec<_> = opened.list(Path::new("/")).unwrap();
        assert_eq!(names, ["etc", "run", "sys"]);
        assert_eq!(opened.list(Path::new("/run")).unwrap(), ["kept"]);
        assert_eq!(opened.lstat(Path::new("/etc")).unwrap().unwrap().modified, past);
    }
}
