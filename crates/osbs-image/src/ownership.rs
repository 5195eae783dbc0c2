//! Whose ids the files of a store have, and under which names overlayfs marks them: fixed when the store is made.
//!
//! A layer unpacked in a user namespace has other owners on disk than one unpacked by root, and other xattrs. A store
//! holds one kind only; taken for the other kind it would give wrong images without a word.

use crate::error::StoreError;
use crate::rooted;
use osbs_types::OverlayXattrs;
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use std::fs;
use std::io;
use std::path::Path;

/// Ids as root of the machine sees them.
const ALL_IDS: &str = "0 0 4294967295";
/// Only root of the machine may set it.
const PROBE: &str = "trusted.osbs";

/// How the files of a store are owned and marked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ownership {
    /// Names of the marks.
    pub xattrs: OverlayXattrs,
    /// Lines of user_namespaces(7), `uid INSIDE OUTSIDE COUNT` and `gid ...`.
    ids: Vec<String>,
}

impl Ownership {
    /// What this process would make; `folder` is one of the store's.
    pub(crate) fn of_this_process(folder: &Path) -> Result<Self, StoreError> {
        let open = rooted::open_root(folder).map_err(StoreError::io("open", folder))?;
        let xattrs = match rustix::fs::fsetxattr(&open, PROBE, b"", XattrFlags::empty()) {
            Err(Errno::PERM) => OverlayXattrs::User,
            // A file system without xattrs says so when the first one is needed.
            result => {
                if result.is_ok() {
                    let _ = rustix::fs::fremovexattr(&open, PROBE);
                }
                OverlayXattrs::Trusted
            }
        };
        let mut ids = Vec::new();
        for kind in ["uid", "gid"] {
            let path = format!("/proc/self/{kind}_map");
            // A kernel without user namespaces has no such file.
            let text = fs::read_to_string(&path).unwrap_or_else(|_| ALL_IDS.to_owned());
            for line in text.lines() {
                let fields: Vec<&str> = line.split_whitespace().collect();
                ids.push(format!("{kind} {}", fields.join(" ")));
            }
        }
        Ok(Self { xattrs, ids })
    }

    /// Of a store that says nothing: those of before 0.2.0 could only be made by root.
    fn of_root() -> Self {
        let ids = ["uid", "gid"].map(|kind| format!("{kind} {ALL_IDS}"));
        Self { xattrs: OverlayXattrs::Trusted, ids: ids.to_vec() }
    }

    /// What the file `ownership` of a store says; `None`: there is no such file.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, StoreError> {
        match fs::read_to_string(path) {
            Ok(text) => Ok(Some(Self::parse(&text))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(StoreError::io("read", path)(e)),
        }
    }

    fn parse(text: &str) -> Self {
        let (marks, ids): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with("xattrs "));
        let user = marks.first() == Some(&"xattrs user");
        let xattrs = if user { OverlayXattrs::User } else { OverlayXattrs::Trusted };
        Self { xattrs, ids: ids.into_iter().map(str::to_owned).collect() }
    }

    /// Content of the file.
    pub(crate) fn render(&self) -> String {
        format!("xattrs {}\n{}\n", self.xattrs.as_str(), self.ids.join("\n"))
    }

    /// Refuses a store of another kind.
    pub(crate) fn check(&self, store: &Path, found: Option<Self>) -> Result<(), StoreError> {
        let found = found.unwrap_or_else(Self::of_root);
        if found == *self {
            return Ok(());
        }
        let (path, made_by, now) = (store.to_owned(), found.describe(), self.describe());
        Err(StoreError::Ownership { path, made_by, now })
    }

    /// For messages.
    fn describe(&self) -> String {
        if *self == Self::of_root() { "root".to_owned() } else { format!("the ids {}", self.ids.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let of_user =
            Ownership { xattrs: OverlayXattrs::User, ids: vec!["uid 0 1001 1".into(), "gid 0 1001 1".into()] };
        for ownership in [of_user, Ownership::of_root()] {
            assert_eq!(Ownership::parse(&ownership.render()), ownership);
        }
    }

    #[test]
    fn a_store_of_another_kind_is_refused() {
        let root = Ownership::of_root();
        let user = Ownership { xattrs: OverlayXattrs::User, ids: vec!["uid 0 1001 1".into()] };
        let other = Ownership { xattrs: OverlayXattrs::User, ids: vec!["uid 0 1002 1".into()] };
        let store = Path::new("/store");
        assert!(root.check(store, None).is_ok(), "stores of old are root's");
        assert!(user.check(store, Some(user.clone())).is_ok());
        for (now, found) in [(&user, None), (&root, Some(user.clone())), (&user, Some(other))] {
            let error = now.check(store, found).expect_err("refused").to_string();
            assert!(error.starts_with("the store /store was made by "), "{error}");
        }
    }
}
