//! The bytes of the tar, in order: headers from the plan, content from the files.

use crate::layer::LayerError;
use crate::layer::header::{HeaderFields, padding, write_header};
use crate::layer::plan::{Entry, Kind, NONE, Plan};
use crate::rooted;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use std::path::PathBuf;
use tar_core::EntryType;

/// Two zero blocks end a tar (POSIX ustar).
pub(crate) const END: usize = 1024;

/// Where the pipeline's bytes come from.
pub(crate) trait BlockSource {
    /// Fills `block` (cleared, with capacity) as far as it can; fewer bytes than `most` mean the end.
    fn fill(&mut self, block: &mut Vec<u8>, most: usize) -> Result<(), LayerError>;
}

/// The size of the whole tar.
pub(crate) fn tar_size(plan: &Plan) -> u64 {
    let mut header = Vec::new();
    let mut path = Vec::new();
    let mut total = END as u64;
    for entry in &plan.entries {
        header.clear();
        encode(plan, entry, &mut path, &mut header);
        total += header.len() as u64 + content_size(entry) + padding(content_size(entry));
    }
    total
}

fn content_size(entry: &Entry) -> u64 {
    if entry.kind == Kind::File { entry.size } else { 0 }
}

/// Appends the header of an entry. `path` is scratch space.
fn encode(plan: &Plan, entry: &Entry, path: &mut Vec<u8>, out: &mut Vec<u8>) {
    entry_path(plan, entry, path);
    let mut link = Vec::new();
    let mut device = None;
    let kind = match entry.kind {
        Kind::File | Kind::Opaque | Kind::Whiteout => EntryType::Regular,
        Kind::Folder => {
            path.push(b'/');
            EntryType::Directory
        }
        Kind::Symlink => {
            link.clone_from(&plan.links[entry.side as usize]);
            EntryType::Symlink
        }
        Kind::HardLink => {
            entry_path(plan, &plan.entries[entry.side as usize], &mut link);
            EntryType::Link
        }
        Kind::Char | Kind::Block => {
            device = Some((rustix::fs::major(entry.size), rustix::fs::minor(entry.size)));
            if entry.kind == Kind::Char { EntryType::Char } else { EntryType::Block }
        }
        Kind::Fifo => EntryType::Fifo,
    };
    let xattrs = if entry.xattrs == NONE { &[] } else { plan.xattrs[entry.xattrs as usize].as_slice() };
    let fields = HeaderFields {
        path,
        kind,
        link: &link,
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        mtime: entry.mtime,
        size: content_size(entry),
        device,
        xattrs,
    };
    write_header(out, &fields);
}

fn entry_path(plan: &Plan, entry: &Entry, path: &mut Vec<u8>) {
    path.clear();
    plan.folder_path(entry.dir, path);
    path.extend_from_slice(plan.name(entry));
    if path.is_empty() {
        path.push(b'.');
    }
}

/// Reads a planned layer.
pub(crate) struct TreeSource<'a> {
    plan: &'a Plan,
    uppers: &'a [OwnedFd],
    next: usize,
    /// Bytes that did not fit into the last block: headers and padding.
    pending: Vec<u8>,
    pending_at: usize,
    file: Option<OpenFile>,
    folder: Option<(u16, u32, OwnedFd)>,
    path: Vec<u8>,
    ended: bool,
}

struct OpenFile {
    fd: OwnedFd,
    left: u64,
    padding: u64,
    index: usize,
}

impl<'a> TreeSource<'a> {
    pub(crate) fn new(plan: &'a Plan, uppers: &'a [OwnedFd]) -> Self {
        Self {
            plan,
            uppers,
            next: 0,
            pending: Vec::new(),
            pending_at: 0,
            file: None,
            folder: None,
            path: Vec::new(),
            ended: false,
        }
    }

    fn display(&self, index: usize) -> PathBuf {
        use std::os::unix::ffi::OsStringExt;
        let mut path = Vec::new();
        entry_path(self.plan, &self.plan.entries[index], &mut path);
        path.insert(0, b'/');
        PathBuf::from(std::ffi::OsString::from_vec(path))
    }

    /// Puts the next header into `pending` and opens its file; false at the end.
    fn advance(&mut self) -> Result<bool, LayerError> {
        self.pending.clear();
        self.pending_at = 0;
        let Some(entry) = self.plan.entries.get(self.next) else {
            if !self.ended {
                self.ended = true;
                self.pending.resize(END, 0);
                return Ok(true);
            }
            return Ok(false);
        };
        let index = self.next;
        self.next += 1;
        encode(self.plan, entry, &mut self.path, &mut self.pending);
        if content_size(entry) > 0 {
            let fd = self.open(entry, index)?;
            self.file = Some(OpenFile { fd, left: entry.size, padding: padding(entry.size), index });
        }
        Ok(true)
    }

    fn open(&mut self, entry: &Entry, index: usize) -> Result<OwnedFd, LayerError> {
        let same = self.folder.as_ref().is_some_and(|(upper, dir, _)| *upper == entry.upper && *dir == entry.dir);
        if !same {
            let mut path = Vec::new();
            self.plan.folder_path(entry.dir, &mut path);
            let root = self.uppers[usize::from(entry.upper)].as_fd();
            let fd = rooted::open_folder_beneath(root, &path)
                .map_err(LayerError::file("open folder of", self.display(index)))?;
            self.folder = Some((entry.upper, entry.dir, fd));
        }
        let folder = &self.folder.as_ref().expect("set just above").2;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let name = self.plan.name(entry);
        // Reading should not change the access time; only the owner may ask for that.
        openat(folder, name, flags | OFlags::NOATIME, Mode::empty())
            .or_else(|e| if e == Errno::PERM { openat(folder, name, flags, Mode::empty()) } else { Err(e) })
            .map_err(|e| LayerError::file("open", self.display(index))(e.into()))
    }
}

impl BlockSource for TreeSource<'_> {
    fn fill(&mut self, block: &mut Vec<u8>, most: usize) -> Result<(), LayerError> {
        while block.len() < most {
            let room = most - block.len();
            if self.pending_at < self.pending.len() {
                let take = room.min(self.pending.len() - self.pending_at);
                block.extend_from_slice(&self.pending[self.pending_at..self.pending_at + take]);
                self.pending_at += take;
            } else if let Some(file) = &mut self.file {
                if file.left == 0 {
                    self.pending.clear();
                    self.pending.resize(file.padding as usize, 0);
                    self.pending_at = 0;
                    self.file = None;
                    continue;
                }
                let start = block.len();
                let take = room.min(usize::try_from(file.left).unwrap_or(room));
                block.resize(start + take, 0);
                let got = rustix::io::retry_on_intr(|| rustix::io::read(&file.fd, &mut block[start..]));
                let index = file.index;
                match got {
                    Ok(got) if got > 0 => {
                        block.truncate(start + got);
                        file.left -= got as u64;
                    }
                    Ok(_) => return Err(LayerError::Changed { path: self.display(index) }),
                    Err(e) => return Err(LayerError::file("read", self.display(index))(e.into())),
                }
            } else if !self.advance()? {
                break;
            }
        }
        Ok(())
    }
}
