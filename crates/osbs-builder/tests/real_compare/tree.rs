//! A file tree as it lies on disk, and how images become one.

use crate::support::run;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is compared of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub mode: u32,
    pub owner: (u32, u32),
    /// Of a link: its target.
    pub content: Vec<u8>,
    pub device: u64,
    /// Of a folder: 0.
    pub links: u64,
    pub mtime: i64,
    /// `user.*` and `security.capability`, by name.
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// The first path that is the same file, when there are several.
    pub same_as: Option<PathBuf>,
}

/// By path without leading slash; the root is the empty path.
pub type Tree = BTreeMap<PathBuf, Entry>;

pub fn look(root: &Path) -> Tree {
    let mut found = BTreeMap::new();
    let mut inodes: BTreeMap<(u64, u64), Vec<PathBuf>> = BTreeMap::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(path) = waiting.pop() {
        let full = root.join(&path);
        let meta = fs::symlink_metadata(&full).expect("metadata");
        let kind = meta.file_type();
        let content = if kind.is_file() {
            fs::read(&full).expect("read")
        } else if kind.is_symlink() {
            fs::read_link(&full).expect("link").into_os_string().into_encoded_bytes()
        } else {
            Vec::new()
        };
        if kind.is_dir() {
            let entries = fs::read_dir(&full).expect("list");
            waiting.extend(entries.map(|entry| path.join(entry.expect("entry").file_name())));
        } else if meta.nlink() > 1 {
            inodes.entry((meta.dev(), meta.ino())).or_default().push(path.clone());
        }
        let entry = Entry {
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            content,
            device: if kind.is_char_device() || kind.is_block_device() { meta.rdev() } else { 0 },
            links: if kind.is_dir() { 0 } else { meta.nlink() },
            mtime: meta.mtime(),
            xattrs: xattrs(&full),
            same_as: None,
        };
        found.insert(path, entry);
    }
    for names in inodes.values() {
        for name in names {
            found.get_mut(name).expect("listed").same_as = names.iter().min().cloned();
        }
    }
    found
}

fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0_u8; 4096];
    let length = rustix::fs::llistxattr(path, names.as_mut_slice()).unwrap_or(0);
    let names = String::from_utf8_lossy(&names[..length]).into_owned();
    let wanted = names.split('\0').filter(|name| name.starts_with("user.") || *name == "security.capability");
    let value = |name: &str| {
        let mut value = vec![0_u8; 1 << 16];
        let length = rustix::fs::lgetxattr(path, name, value.as_mut_slice()).expect("attribute");
        value.truncate(length);
        (name.to_owned(), value)
    };
    wanted.map(value).collect()
}

/// The image `name` of an OCI layout as umoci unpacks it.
pub fn umoci(layout: &Path, name: &str, bundle: &Path) -> Tree {
    let image = format!("{}:{name}", layout.display());
    run("umoci", &["unpack", "--image", &image, &bundle.display().to_string()]);
    let tree = look(&bundle.join("rootfs"));
    fs::remove_dir_all(bundle).expect("bundle");
    tree
}

/// A mounted image; unmounted on every way out.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: a program that another thread is starting may hold a folder of it open for a moment.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Unpacked layers, topmost first, seen through overlayfs; `target` is a new folder.
pub fn layers(folders: &[PathBuf], target: PathBuf) -> Tree {
    if let [only] = folders {
        return look(only);
    }
    let lower: Vec<String> = folders.iter().map(|path| path.display().to_string()).collect();
    fs::create_dir(&target).expect("folder");
    let options = format!("ro,lowerdir={}", lower.join(":"));
    run("mount", &["-t", "overlay", "overlay", "-o", &options, &target.display().to_string()]);
    let mounted = Mounted(target);
    look(&mounted.0)
}
