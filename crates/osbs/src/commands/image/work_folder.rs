//! The work folder of one image build. It goes with the build; what a killed build left is removed by the next.
//!
//! A lock on the folder says that its build lives. Mounts are not looked for: they vanish with the process.

use std::fs::File;
use std::io;
use std::path::Path;
use tempfile::TempDir;

const PREFIX: &str = "image-build-";

/// A locked folder.
pub(super) struct WorkFolder {
    folder: TempDir,
    _lock: File,
}

impl WorkFolder {
    /// A new one below `root`, after those of the dead are gone.
    pub(super) fn new(root: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(root)?;
        // Nobody makes a folder, and has not locked it yet, while another looks for folders without a lock.
        let all = File::open(root)?;
        all.lock()?;
        remove_dead(root);
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(root)?;
        let lock = File::open(folder.path())?;
        lock.lock()?;
        Ok(Self { folder, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The cgroup of the build's containers.
    pub(super) fn cgroup(&self) -> Option<String> {
        cgroup(self.folder.path())
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        remove_cgroup(self.folder.path());
    }
}

fn cgroup(folder: &Path) -> Option<String> {
    Some(format!("/osbs-{}", folder.file_name()?.to_str()?))
}

/// Empty folders in memory: not worth an error.
fn remove_cgroup(folder: &Path) {
    if let Some(cgroup) = cgroup(folder) {
        let _ = osbs_sandbox::remove_cgroups(&cgroup);
    }
}

/// Space, not correctness: what cannot be removed now is tried again by the next.
fn remove_dead(root: &Path) {
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let is_dead = || File::open(&path).is_ok_and(|folder| folder.try_lock().is_ok());
        if is_ours && is_dead() {
            remove_cgroup(&path);
            let _ = std::fs::remove_dir_all(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_dead_are_removed() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let living = WorkFolder::new(root.path()).expect("made");
        for name in ["image-build-dead/upper", "osbs-clone-x"] {
            std::fs::create_dir_all(root.path().join(name)).expect("made");
        }
        let other = WorkFolder::new(root.path()).expect("made");
        assert!(living.path().exists() && other.path().exists());
        assert!(!root.path().join("image-build-dead").exists());
        assert!(root.path().join("osbs-clone-x").exists(), "not ours to judge");
        let path = living.path().to_owned();
        drop(living);
        assert!(!path.exists());
    }
}
