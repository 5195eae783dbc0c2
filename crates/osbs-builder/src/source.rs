//! Where COPY and ADD take files from: the context, a stage or an image. Finds what a source pattern names, inside.

use crate::accounts::rooted;
use crate::config_change::clean_path;
use crate::error::{FileError, InstructionError};
use crate::tree_copy::Verdict;
use osbs_dockerfile::{IgnorePatterns, go_match, nearest};
use osbs_sandbox::rooted::{NodeKind, Root};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// A tree to copy from.
pub(crate) struct SourceRoot {
    pub root: Root,
    /// Where it is on this machine, without links.
    pub path: PathBuf,
    /// `the build context`, `stage build`, `image fedora`.
    pub place: String,
    pub ignore: Option<IgnorePatterns>,
}

/// Something a source names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Path in the tree as named, without leading slash; empty for the whole tree.
    pub named: PathBuf,
    /// The same without links.
    pub real: PathBuf,
    pub kind: NodeKind,
}

fn is_pattern(part: &[u8]) -> bool {
    part.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\'))
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

impl SourceRoot {
    pub(crate) fn open(path: &Path, place: String, ignore: Option<IgnorePatterns>) -> Result<Self, InstructionError> {
        let path = std::fs::canonicalize(path).map_err(|e| FileError::new("open", path, e))?;
        let root = Root::open(&path).map_err(rooted)?;
        let ignore = ignore.filter(|patterns| !patterns.is_empty());
        Ok(Self { root, path, place, ignore })
    }

    /// The build context. `ignore`: text of the ignore file; `None`: its `.dockerignore`, if there.
    pub(crate) fn context(path: &Path, ignore: Option<&str>) -> Result<Self, InstructionError> {
        let file = Path::new(".dockerignore");
        let source = Self::open(path, "the build context".to_owned(), None)?;
        let text = match ignore {
            Some(text) => text.as_bytes().to_vec(),
            None if source.root.stat(file).map_err(rooted)?.is_none() => return Ok(source),
            None => source.root.read_small(file, 1 << 20).map_err(rooted)?,
        };
        let patterns = IgnorePatterns::parse(&text).map_err(|error| InstructionError::BadValue {
            what: ".dockerignore",
            value: error.pattern.clone(),
            expected: error.to_string(),
        })?;
        Ok(Self { ignore: Some(patterns).filter(|patterns| !patterns.is_empty()), ..source })
    }

    /// What `pattern` names, sorted; empty when it has wild cards and nothing that may be copied matches. `**` is `*`, as
    /// with BuildKit and buildah: only `--parents` knows more.
    pub(crate) fn find(&self, pattern: &str) -> Result<Vec<Found>, InstructionError> {
        let clean = clean_path(pattern);
        let parts: Vec<&str> = clean.split('/').filter(|part| !part.is_empty()).collect();
        let wild = is_pattern(clean.as_bytes());
        let mut paths = vec![PathBuf::from("/")];
        for part in parts {
            if is_pattern(part.as_bytes()) {
                paths = self.matches(&paths, part)?;
            } else {
                for path in &mut paths {
                    path.push(part);
                }
            }
        }
        let mut found = Vec::new();
        let mut ignored = false;
        for path in paths {
            let real = self.root.resolve(&path).map_err(rooted)?;
            let Some(node) = self.root.lstat(&real).map_err(rooted)? else { continue };
            let is_folder = node.kind == NodeKind::Directory;
            if self.verdict(relative(&real).as_os_str().as_bytes(), is_folder) == Verdict::Skip {
                ignored = true;
                continue;
            }
            found.push(Found { named: relative(&path).to_owned(), real: relative(&real).to_owned(), kind: node.kind });
        }
        if found.is_empty() && !wild {
            return Err(self.missing(pattern, ignored));
        }
        Ok(found)
    }

    /// Fails when nothing is at `path`, or nothing that may be copied; `written`: as the Dockerfile has it.
    pub(crate) fn require(&self, path: &Path, written: &str) -> Result<(), InstructionError> {
        let node = self.root.lstat(&Path::new("/").join(path)).map_err(rooted)?;
        let is_folder = node.as_ref().is_some_and(|node| node.kind == NodeKind::Directory);
        let ignored = self.verdict(path.as_os_str().as_bytes(), is_folder) == Verdict::Skip;
        if node.is_some() && !ignored { Ok(()) } else { Err(self.missing(written, node.is_some() && ignored)) }
    }

    fn missing(&self, pattern: &str, ignored: bool) -> InstructionError {
        let hint = if ignored {
            Some("the ignore file (.dockerignore) excludes it".to_owned())
        } else if pattern.starts_with("..") {
            Some("nothing above the context's folder can be copied".to_owned())
        } else {
            self.similar(pattern).map(|name| format!("did you mean {name:?}?"))
        };
        InstructionError::NoSource { source_path: pattern.to_owned(), place: self.place.clone(), hint }
    }

    /// A name in the same folder that differs from a missing one by a slip.
    fn similar(&self, pattern: &str) -> Option<String> {
        let path = PathBuf::from(clean_path(pattern));
        let (folder, name) = (path.parent()?, path.file_name()?.to_str()?);
        // A folder with more names than this is nobody's to mistype in.
        let names = self.root.list(folder).ok().filter(|names| names.len() <= 1000)?;
        let names: Vec<_> = names.iter().filter_map(|name| std::str::from_utf8(name.as_bytes()).ok()).collect();
        let meant = nearest(name, names.iter().copied())?;
        Some(relative(&folder.join(meant)).to_str()?.to_owned())
    }

    /// Entries of the folders that match one part of a pattern.
    fn matches(&self, folders: &[PathBuf], part: &str) -> Result<Vec<PathBuf>, InstructionError> {
        let mut paths = Vec::new();
        for folder in folders {
            let there = self.root.stat(folder).map_err(rooted)?;
            if there.is_none_or(|node| node.kind != NodeKind::Directory) {
                continue;
            }
            for name in self.root.list(folder).map_err(rooted)? {
                let hit = go_match(part, name.as_bytes()).map_err(|error| InstructionError::BadValue {
                    what: "pattern",
                    value: part.to_owned(),
                    expected: error.to_string(),
                })?;
                if hit {
                    paths.push(folder.join(std::ffi::OsString::from_vec(name.as_bytes().to_vec())));
                }
            }
        }
        Ok(paths)
    }

    /// What the ignore file says.
    pub(crate) fn verdict(&self, path: &[u8], is_folder: bool) -> Verdict {
        self.ignore.as_ref().map_or(Verdict::Take, |patterns| judge(patterns, path, is_folder))
    }
}

/// A pattern list's verdict on one path.
pub(crate) fn judge(patterns: &IgnorePatterns, path: &[u8], is_folder: bool) -> Verdict {
    if path.is_empty() || !patterns.is_ignored(path) {
        Verdict::Take
    } else if is_folder && patterns.has_exceptions() && !patterns.prunes(path) {
        Verdict::Descend
    } else {
        Verdict::Skip
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("temp folder");
        for path in ["a/one.txt", "a/two.txt", "b/one.txt", "c.md", "deep/er/x"] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("parent")).expect("folder");
            fs::write(path, "x").expect("file");
        }
        std::os::unix::fs::symlink("/a", dir.path().join("link")).expect("link");
        std::os::unix::fs::symlink("/etc/hostname", dir.path().join("out")).expect("link");
        dir
    }

    #[test]
    fn patterns_find_files_inside() {
        let dir = tree();
        let source = SourceRoot::open(dir.path(), "here".into(), None).expect("root");
        let check = |pattern: &str, expected: &[&str]| {
            let found = source.find(pattern).expect(pattern);
            let real: Vec<&str> = found.iter().map(|it| it.real.to_str().expect("utf-8")).collect();
            assert_eq!(real, expected, "{pattern}");
        };
        check("a", &["a"]);
        check(".", &[""]);
        check("../../a/one.txt", &["a/one.txt"]);
        check("*/one.txt", &["a/one.txt", "b/one.txt", "a/one.txt"]);
        check("a/t*", &["a/two.txt"]);
        check("*.nothing", &[]);
        check("link", &["a"]);
        check("link/one.txt", &["a/one.txt"]);
        for pattern in ["none", "out", "a/none"] {
            source.find(pattern).expect_err(pattern);
        }
    }

    #[test]
    fn ignored_files_are_told_apart_from_missing_ones() {
        let dir = tree();
        let ignore = IgnorePatterns::parse(b"*.md\nb\n").expect("patterns");
        let source = SourceRoot::open(dir.path(), "here".into(), Some(ignore)).expect("root");
        let error = source.find("c.md").expect_err("ignored");
        assert!(error.to_string().contains("ignore file"), "{error}");
        let error = source.find("d.md").expect_err("missing");
        assert!(!error.to_string().contains("ignore file"), "{error}");
        assert_eq!(source.find("*/one.txt").expect("found").len(), 2);
    }
}
