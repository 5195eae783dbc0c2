//! The root file system of a stage while it is built: an overlay that is mounted only when somebody looks at it.

use crate::error::{BuildError, FileError};
use osbs_sandbox::{IdMap, Overlay, OverlayOptions};
use osbs_types::OverlayXattrs;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The folders of one overlay, all in the work folder.
#[derive(Debug)]
pub(crate) struct StageRoot {
    /// For messages.
    name: String,
    /// Bottom first; never empty once made.
    lowers: Vec<PathBuf>,
    upper: PathBuf,
    base: PathBuf,
    target: PathBuf,
    /// And whether it is seen as a container with a user namespace sees it.
    overlay: Option<(Overlay, bool)>,
    mounts: u32,
    xattrs: OverlayXattrs,
}

fn make(path: &Path) -> Result<(), BuildError> {
    fs::create_dir_all(path)
        .map_err(|e| FileError::new("create", path, e).located(path.parent().unwrap_or(path)).into())
}

impl StageRoot {
    /// Lays the folders in `base`, a new folder. `lowers` may be empty (FROM scratch); their marks are `xattrs`.
    pub(crate) fn new(
        name: String,
        base: PathBuf,
        mut lowers: Vec<PathBuf>,
        xattrs: OverlayXattrs,
    ) -> Result<Self, BuildError> {
        let (upper, target) = (base.join("upper"), base.join("root"));
        make(&upper)?;
        make(&target)?;
        like_below(&upper, lowers.last().map(PathBuf::as_path)).map_err(|e| FileError::new("create", &upper, e))?;
        if lowers.is_empty() {
            // An overlay wants at least one.
            let empty = base.join("empty");
            make(&empty)?;
            lowers.push(empty);
        }
        Ok(Self { name, lowers, upper, base, target, overlay: None, mounts: 0, xattrs })
    }

    /// What changed; not to be touched while mounted.
    pub(crate) fn upper(&self) -> &Path {
        &self.upper
    }

    /// Where it is mounted, after mounting if need be, with the ids that are on disk.
    pub(crate) fn mounted(&mut self) -> Result<&Path, BuildError> {
        self.mounted_as(None)
    }

    /// The same with the ids of a container's user namespace. One way at a time: the other one ends.
    pub(crate) fn mounted_as(&mut self, map: Option<&'static IdMap>) -> Result<&Path, BuildError> {
        if self.overlay.as_ref().is_some_and(|(_, mapped)| *mapped != map.is_some()) {
            self.unmount()?;
        }
        if self.overlay.is_none() {
            // A volatile overlay marks its work folder as used; each mount has its own.
            let work = self.base.join(format!("work{}", self.mounts));
            self.mounts += 1;
            make(&work)?;
            let options = OverlayOptions { volatile: true, xattrs: self.xattrs };
            let overlay = match map {
                Some(map) => map.mount_overlay(&self.lowers, &self.upper, &work, &self.target, options),
                None => Overlay::mount(&self.lowers, &self.upper, &work, &self.target, options),
            };
            let overlay = overlay.map_err(|source| BuildError::Mount { stage: self.name.clone(), source })?;
            self.overlay = Some((overlay, map.is_some()));
        }
        Ok(&self.target)
    }

    /// Takes the view away; the upper folder stays.
    pub(crate) fn unmount(&mut self) -> Result<(), BuildError> {
        match self.overlay.take() {
            None => Ok(()),
            Some((overlay, _)) => {
                overlay.unmount().map_err(|source| BuildError::Mount { stage: self.name.clone(), source })
            }
        }
    }
}

/// The root folder of an overlay has the attributes of the topmost layer's: ours must not change them.
fn like_below(upper: &Path, below: Option<&Path>) -> std::io::Result<()> {
    let (mode, owner, group) = match below {
        Some(below) => fs::metadata(below).map(|meta| (meta.mode() & 0o7777, meta.uid(), meta.gid()))?,
        None => (0o755, 0, 0),
    };
    if (owner, group) != (0, 0) {
        std::os::unix::fs::chown(upper, Some(owner), Some(group))?;
    }
    fs::set_permissions(upper, fs::Permissions::from_mode(mode))
}

/// A finished stage or an image, to be read.
#[derive(Debug)]
pub(crate) struct View {
    root: Option<StageRoot>,
    path: PathBuf,
}

impl View {
    /// Of folders bottom first; one folder needs no mount.
    pub(crate) fn new(
        name: String,
        base: PathBuf,
        folders: Vec<PathBuf>,
        xattrs: OverlayXattrs,
    ) -> Result<Self, BuildError> {
        if let [only] = folders.as_slice() {
            return Ok(Self { path: only.clone(), root: None });
        }
        let mut root = StageRoot::new(name, base, folders, xattrs)?;
        let path = root.mounted()?.to_owned();
        Ok(Self { root: Some(root), path })
    }

    pub(crate) fn path(&self) -> &Path {
        debug_assert!(self.root.as_ref().is_none_or(|root| root.overlay.is_some()), "a view stays mounted");
        &self.path
    }
}

/// The work folder: whatever happens, nothing is left mounted or lying in it.
#[derive(Debug)]
pub(crate) struct WorkDir {
    path: PathBuf,
    made: bool,
}

impl WorkDir {
    pub(crate) fn new(path: &Path) -> Result<Self, BuildError> {
        let made = !path.exists();
        make(path)?;
        let path = fs::canonicalize(path).map_err(|e| FileError::new("open", path, e))?;
        let mut entries = fs::read_dir(&path).map_err(|e| FileError::new("open", &path, e))?;
        if entries.next().is_some() {
            let full = std::io::Error::from(std::io::ErrorKind::DirectoryNotEmpty);
            return Err(FileError::new("use as work folder", path, full).into());
        }
        Ok(Self { path, made })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        // Mounts that a half-made build left; then never delete through one that would not go.
        if osbs_sandbox::unmount_below(&self.path).is_err() {
            return;
        }
        crate::removal::remove_content(&self.path);
        if self.made {
            let _ = fs::remove_dir(&self.path);
        }
    }
}
