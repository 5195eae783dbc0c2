//! The context as RUN sees it: without what the ignore file leaves out, as if only the rest had been sent.
//!
//! Nothing is copied. A folder of whiteouts, laid over the context by overlayfs, hides what is ignored. Must not write
//! into the context.

use crate::accounts::rooted;
use crate::error::{BuildError, FileError, InstructionError};
use crate::source::SourceRoot;
use crate::tree_copy::Verdict;
use osbs_sandbox::rooted::{FileTime, Node, NodeKind, Root};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// Fills `mask`, a new folder; `None` if nothing of the context is ignored.
pub(crate) fn hide(
    context: &SourceRoot,
    mask: &Path,
    cancel: &CancellationToken,
) -> Result<Option<PathBuf>, InstructionError> {
    if context.ignore.is_none() {
        return Ok(None);
    }
    std::fs::create_dir(mask).map_err(|e| FileError::new("create", mask, e))?;
    let mut hiding = Hiding { context, mask: Root::open(mask).map_err(rooted)?, hidden: false, cancel };
    hiding.all()?;
    Ok(hiding.hidden.then(|| mask.to_owned()))
}

struct Hiding<'a> {
    context: &'a SourceRoot,
    mask: Root,
    hidden: bool,
    cancel: &'a CancellationToken,
}

impl Hiding<'_> {
    /// A folder is made in the mask when the first thing in it is hidden, and then has to look as the context's, which it
    /// covers.
    fn all(&mut self) -> Result<(), InstructionError> {
        let mut waiting = vec![PathBuf::from("/")];
        while let Some(folder) = waiting.pop() {
            if self.cancel.is_cancelled() {
                return Err(BuildError::Cancelled.into());
            }
            let mut covered = None;
            for name in self.context.root.list(&folder).map_err(rooted)? {
                let path = folder.join(name);
                let Some(node) = self.context.root.lstat(&path).map_err(rooted)? else { continue };
                let relative = path.strip_prefix("/").unwrap_or(&path).as_os_str().as_bytes();
                match self.context.verdict(relative, node.is_dir()) {
                    Verdict::Skip => {
                        if covered.is_none() {
                            covered = Some(self.cover(&folder)?);
                        }
                        self.hidden = true;
                        self.mask.make_node(&path, NodeKind::CharDevice, 0, 0).map_err(rooted)?;
                    }
                    // What is wanted below an ignored folder brings that folder with it, empty if nothing is.
                    Verdict::Take | Verdict::Descend if node.is_dir() => waiting.push(path),
                    Verdict::Take | Verdict::Descend => {}
                }
            }
            for (path, time) in covered.into_iter().flatten() {
                self.mask.set_times(&path, time).map_err(rooted)?;
            }
        }
        Ok(())
    }

    /// The folders down to this one, as in the context; their times are set when the mask's is filled.
    fn cover(&self, folder: &Path) -> Result<Vec<(PathBuf, FileTime)>, InstructionError> {
        let mut times = Vec::new();
        let down: Vec<&Path> = folder.ancestors().collect();
        for part in down.into_iter().rev() {
            let Some(Node { mode, owner, modified, .. }) = self.context.root.lstat(part).map_err(rooted)? else {
                continue;
            };
            if self.mask.lstat(part).map_err(rooted)?.is_none() {
                self.mask.mkdir_all(part, mode, owner).map_err(rooted)?;
            }
            self.mask.set_owner(part, owner).map_err(rooted)?;
            self.mask.set_mode(part, mode).map_err(rooted)?;
            times.push((part.to_owned(), modified));
        }
        Ok(times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_ignored_is_hidden() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().expect("temporary folder");
        let context = dir.path().join("context");
        for path in ["keep/a", "keep/b.log", "drop/c", "drop/wanted/d", "e.log"] {
            let path = context.join(path);
            std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
            std::fs::write(path, "x").expect("file");
        }
        let source = SourceRoot::context(&context, Some("**/*.log\ndrop\n!drop/wanted\n")).expect("context");
        let mask = dir.path().join("mask");
        let cancel = CancellationToken::new();
        assert_eq!(hide(&source, &mask, &cancel).expect("hidden").as_deref(), Some(mask.as_path()));
        let root = Root::open(&mask).expect("mask");
        let kind = |path: &str| root.lstat(Path::new(path)).expect(path).map(|node| node.kind);
        for path in ["/keep/b.log", "/drop/c", "/e.log"] {
            assert_eq!(kind(path), Some(NodeKind::CharDevice), "{path}");
        }
        for path in ["/keep/a", "/drop/wanted"] {
            assert_eq!(kind(path), None, "{path}");
        }
        let time = |root: &Root| root.lstat(Path::new("/keep")).expect("keep").expect("there").modified;
        assert_eq!(time(&root), time(&source.root));
        let source = SourceRoot::context(&context, Some("nothing\n")).expect("context");
        assert_eq!(hide(&source, &dir.path().join("none"), &cancel).expect("nothing to hide"), None);
    }
}
