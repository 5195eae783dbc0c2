//! Copies trees of files between folders that are open already: no path is walked from a root for each file, no link is
//! followed, and several threads take a folder each.
//!
//! It knows nothing of instructions: sources and destinations have been resolved inside their roots by the caller. What
//! goes into an empty folder of an overlay can be put off ([`PutOff`](crate::put_off::PutOff)): written straight into the upper
//! folder while the overlay is not mounted it takes half the time.

use crate::copied_folder::{Folder, Own, lock};
use crate::error::FileError;
use crate::file_copy::{Attributes, Failed, copy_node, open_file_kind};
use crate::file_mode::ModeChange;
use crate::hard_links::HardLinks;
use crate::open_folder::{OPEN_DIR, path_below};
use crate::put_off::PutOff;
use osbs_dockerfile::IgnorePatterns;
use osbs_sandbox::rooted::Owner;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, RawDir, ResolveFlags, Stat, fstat, mkdirat, openat, openat2};
use rustix::io::Errno;
use std::ffi::{CStr, CString, OsStr};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use tokio_util::sync::CancellationToken;

/// What a filter says about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Copy it.
    Take,
    /// Leave it out, with everything below.
    Skip,
    /// Leave the folder itself out, but something below it may be wanted.
    Descend,
}

/// Decides by path below the source's root (bytes, no leading slash) and whether it is a folder.
pub(crate) type Filter<'a> = dyn Fn(&Part, &[u8], bool) -> Verdict + Sync + 'a;

/// What of a source's root is copied as a whole: patterns mean paths below it.
#[derive(Debug, Default)]
pub(crate) struct Part {
    /// So many bytes at the start of a path lie above it.
    pub above: usize,
    /// Nothing but this (`--parents`).
    pub include: Option<IgnorePatterns>,
}

/// A folder whose content is copied.
pub(crate) struct SourceTree {
    pub folder: OwnedFd,
    /// Its path for the filter and messages.
    pub rel: Vec<u8>,
    pub part: Arc<Part>,
}

impl SourceTree {
    /// A folder that is its own root.
    pub(crate) fn whole(folder: OwnedFd) -> Self {
        Self { folder, rel: Vec::new(), part: Arc::default() }
    }
}

/// How things are copied.
pub(crate) struct Rules<'a> {
    /// New owner; `None`: as in the source.
    pub owner: Option<Owner>,
    /// `--chmod`.
    pub mode: Option<ModeChange>,
    /// What is left out; `None`: nothing.
    pub filter: Option<&'a Filter<'a>>,
    /// Bounds.
    pub max_files: u64,
    /// Bounds: sizes as files tell them, holes included.
    pub max_bytes: u64,
    /// Bounds.
    pub max_depth: usize,
    /// Threads to use.
    pub threads: usize,
    /// The overlay's upper folder, when work may be put off until the overlay is not mounted; else all is written through.
    pub upper: Option<&'a Path>,
}

/// Why copying stopped.
#[derive(Debug)]
pub(crate) enum CopyStop {
    Failed(FileError),
    TooMany { what: &'static str, limit: String },
    Reserved { path: PathBuf },
    Cancelled,
}

impl From<FileError> for CopyStop {
    fn from(error: FileError) -> Self {
        Self::Failed(error)
    }
}

/// One COPY or ADD: shared by its threads.
pub(crate) struct TreeCopy<'a> {
    pub rules: &'a Rules<'a>,
    /// Where the image's root is mounted, to resolve links that stand where a folder comes.
    pub root: &'a Path,
    pub cancel: &'a CancellationToken,
    pub files: AtomicU64,
    bytes: AtomicU64,
    queue: Mutex<Queue>,
    wake: Condvar,
    stopped: AtomicBool,
    stop: Mutex<Option<CopyStop>>,
    pub links: HardLinks,
    pub put_off: Mutex<PutOff>,
    pub umask: u32,
}

#[derive(Default)]
struct Queue {
    /// Last in, first out: keeps the number of open folders near the depth of the tree.
    waiting: Vec<Work>,
    running: usize,
}

/// A folder whose entries are to be copied. `Child` is opened when its turn comes.
enum Work {
    Open(Arc<Folder>),
    Child { parent: Arc<Folder>, name: CString, verdict: Verdict },
}

pub(crate) fn shown(rel: &[u8]) -> PathBuf {
    if rel.is_empty() { PathBuf::from(".") } else { PathBuf::from(OsStr::from_bytes(rel)) }
}

fn join(rel: &[u8], name: &CStr) -> Vec<u8> {
    let mut path = Vec::with_capacity(rel.len() + 1 + name.to_bytes().len());
    path.extend_from_slice(rel);
    if !rel.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name.to_bytes());
    path
}

impl<'a> TreeCopy<'a> {
    pub(crate) fn new(rules: &'a Rules<'a>, root: &'a Path, cancel: &'a CancellationToken) -> Self {
        Self {
            rules,
            root,
            cancel,
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            queue: Mutex::default(),
            wake: Condvar::new(),
            stopped: AtomicBool::new(false),
            stop: Mutex::default(),
            links: HardLinks::default(),
            put_off: Mutex::default(),
            umask: crate::file_mode::current_umask(),
        }
    }

    /// Copies all that is in `source` into `target`. `time`: the target gets the time of the source's folder. `blank`: the
    /// target is known to be empty, in the view and in the overlay's upper folder.
    pub(crate) fn contents(
        &self,
        source: SourceTree,
        target: OwnedFd,
        time: bool,
        blank: bool,
    ) -> Result<(), CopyStop> {
        let stat = fstat(&source.folder).map_err(|e| FileError::new("read", shown(&source.rel), e))?;
        let own = if time { Own::Time(stat) } else { Own::Keep };
        let failed: Arc<Mutex<Option<FileError>>> = Arc::default();
        let folder = Folder::top(source, target, own, blank, Arc::clone(&failed));
        self.start(vec![folder], failed)
    }

    fn attributes(&self) -> Attributes {
        Attributes { owner: self.rules.owner, mode: self.rules.mode.clone() }
    }

    pub(crate) fn start(&self, folders: Vec<Folder>, failed: Arc<Mutex<Option<FileError>>>) -> Result<(), CopyStop> {
        lock(&self.queue).waiting.extend(folders.into_iter().map(|folder| Work::Open(Arc::new(folder))));
        std::thread::scope(|scope| {
            for _ in 1..self.rules.threads.max(1) {
                scope.spawn(|| self.work());
            }
            self.work();
        });
        lock(&self.queue).waiting.clear();
        if lock(&self.put_off).folders.is_empty() {
            self.links.clear();
        } else {
            self.links.close(self.root);
        }
        if let Some(stop) = lock(&self.stop).take() {
            return Err(stop);
        }
        let late = lock(&failed).take();
        late.map_or(Ok(()), |error| Err(error.into()))
    }

    /// One thread: folders until none is left or somebody stopped.
    fn work(&self) {
        let mut buffer = Vec::with_capacity(64 << 10);
        loop {
            let mut queue = lock(&self.queue);
            let work = loop {
                if self.stopped.load(Ordering::Relaxed) || (queue.waiting.is_empty() && queue.running == 0) {
                    self.wake.notify_all();
                    return;
                }
                if let Some(work) = queue.waiting.pop() {
                    break work;
                }
                queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
            };
            queue.running += 1;
            drop(queue);
            let result = self.open(work).and_then(|folder| match folder {
                Some(folder) => self.entries(&folder, &mut buffer),
                None => Ok(()),
            });
            if let Err(stop) = result {
                lock(&self.stop).get_or_insert(stop);
                self.stopped.store(true, Ordering::Relaxed);
            }
            let mut queue = lock(&self.queue);
            queue.running -= 1;
            if queue.running == 0 {
                self.wake.notify_all();
            }
        }
    }

    fn open(&self, work: Work) -> Result<Option<Arc<Folder>>, CopyStop> {
        let (parent, name, verdict) = match work {
            Work::Open(folder) => return Ok(Some(folder)),
            Work::Child { parent, name, verdict } => (parent, name, verdict),
        };
        let rel = join(&parent.rel, &name);
        let failed = |action, error: Errno| FileError::new(action, shown(&rel), error);
        let source = openat(&parent.source, &name, OPEN_DIR, Mode::empty()).map_err(|e| failed("open", e))?;
        let stat = fstat(&source).map_err(|e| failed("read", e))?;
        let depth = parent.depth + 1;
        if depth > self.rules.max_depth {
            let limit = format!("{} levels of folders", self.rules.max_depth);
            return Err(CopyStop::TooMany { what: "the depth of the tree", limit });
        }
        let folder = Folder {
            source,
            rel,
            depth,
            target: OnceLock::new(),
            making: Mutex::default(),
            failed: Arc::clone(&parent.failed),
            own: Mutex::new(Own::All(stat, self.attributes())),
            blank: AtomicBool::new(false),
            part: Arc::clone(&parent.part),
            parent: Some((parent, name)),
        };
        if verdict == Verdict::Take {
            self.target(&folder)?;
            if self.postpone(&folder)? {
                return Ok(None);
            }
        }
        Ok(Some(Arc::new(folder)))
    }

    /// The counterpart of a folder, made when first needed.
    pub(crate) fn target<'f>(&self, folder: &'f Folder) -> Result<BorrowedFd<'f>, CopyStop> {
        if let Some(fd) = folder.target.get() {
            return Ok(fd.as_fd());
        }
        let _only_one = lock(&folder.making);
        if let Some(fd) = folder.target.get() {
            return Ok(fd.as_fd());
        }
        let (parent, name) = folder.parent.as_ref().expect("the first folder of a copy has its target");
        let above = self.target(parent)?;
        let made = match mkdirat(above, name, Mode::from_raw_mode(0o700)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(FileError::new("create", shown(&folder.rel), error).into()),
        };
        if made {
            self.count()?;
            folder.blank.store(true, Ordering::Relaxed);
        }
        let fd = match openat(above, name, OPEN_DIR, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::LOOP | Errno::NOTDIR) if !made => self.linked_folder(above, name, &folder.rel)?,
            Err(error) => return Err(FileError::new("open", shown(&folder.rel), error).into()),
        };
        Ok(folder.target.get_or_init(|| fd).as_fd())
    }

    /// A link to a folder stands where a folder is to be: it is followed, inside the image's root.
    fn linked_folder(&self, above: BorrowedFd<'_>, name: &CStr, rel: &[u8]) -> Result<OwnedFd, CopyStop> {
        let failed = |error: Errno| CopyStop::from(FileError::new("put a folder in the place of", shown(rel), error));
        let inside = path_below(self.root, above).ok_or_else(|| failed(Errno::NAMETOOLONG))?;
        let root = openat(rustix::fs::CWD, self.root, OPEN_DIR, Mode::empty()).map_err(failed)?;
        let mut path = inside.into_os_string().into_encoded_bytes();
        path.push(b'/');
        path.extend_from_slice(name.to_bytes());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        openat2(&root, path.as_slice(), flags, Mode::empty(), resolve).map_err(failed)
    }

    fn count(&self) -> Result<(), CopyStop> {
        let done = self.files.fetch_add(1, Ordering::Relaxed);
        if done >= self.rules.max_files {
            return Err(CopyStop::TooMany {
                what: "the number of files",
                limit: format!("{} files", self.rules.max_files),
            });
        }
        if done.is_multiple_of(64) && self.cancel.is_cancelled() {
            return Err(CopyStop::Cancelled);
        }
        Ok(())
    }

    /// All entries of one folder; folders among them are queued.
    fn entries(&self, folder: &Arc<Folder>, buffer: &mut Vec<u8>) -> Result<(), CopyStop> {
        if folder.parent.is_none() && folder.target.get().is_some() && self.postpone(folder)? {
            return Ok(());
        }
        let failed = |error: Errno| FileError::new("list", shown(&folder.rel), error);
        let mut space = vec![MaybeUninit::<u8>::uninit(); 32 << 10];
        let mut listing = RawDir::new(&folder.source, &mut space);
        let mut folders = Vec::new();
        while let Some(entry) = listing.next() {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if self.stopped.load(Ordering::Relaxed) {
                return Ok(());
            }
            let kind = match entry.file_type() {
                FileType::Unknown => open_file_kind(folder.source.as_fd(), name).map_err(failed)?,
                known => known,
            };
            let is_folder = kind == FileType::Directory;
            let verdict = match self.rules.filter {
                Some(filter) => filter(&folder.part, &join(&folder.rel, name), is_folder),
                None => Verdict::Take,
            };
            match verdict {
                Verdict::Skip => {}
                _ if is_folder => folders.push((name.to_owned(), verdict)),
                Verdict::Descend => {}
                Verdict::Take => self.leaf(folder, name, kind, buffer)?,
            }
        }
        if !folders.is_empty() {
            let mut queue = lock(&self.queue);
            queue.waiting.extend(folders.into_iter().map(|(name, verdict)| Work::Child {
                parent: Arc::clone(folder),
                name,
                verdict,
            }));
            drop(queue);
            self.wake.notify_all();
        }
        Ok(())
    }

    /// Anything but a folder.
    fn leaf(&self, folder: &Arc<Folder>, name: &CStr, kind: FileType, buffer: &mut Vec<u8>) -> Result<(), CopyStop> {
        let target = self.target(folder)?;
        self.count()?;
        let rel = || shown(&join(&folder.rel, name));
        if name.to_bytes().starts_with(b".wh.") {
            return Err(CopyStop::Reserved { path: rel() });
        }
        let blank = folder.blank.load(Ordering::Relaxed);
        let place = Place { source: folder.source.as_fd(), from: name, target, to: name, kind, blank };
        let first = |stat: &Stat| {
            self.count_bytes(stat)?;
            if stat.st_nlink > 1 { self.links.link(folder, name, stat, &self.stopped) } else { Ok(false) }
        };
        copy_node(self, &place, buffer, &first).map_err(|failure| self.failure(failure, &rel()))
    }

    /// One file, link or device that the caller resolved.
    pub(crate) fn single(&self, place: &Place<'_>, shown_as: &Path) -> Result<(), CopyStop> {
        self.count()?;
        let mut buffer = Vec::new();
        let first = |stat: &Stat| self.count_bytes(stat).map(|()| false);
        copy_node(self, place, &mut buffer, &first).map_err(|failure| self.failure(failure, shown_as))
    }

    /// Before anything of the file is copied.
    #[allow(clippy::cast_sign_loss)] // the kernel tells no negative sizes
    fn count_bytes(&self, stat: &Stat) -> rustix::io::Result<()> {
        let size = stat.st_size as u64;
        let before = self.bytes.fetch_add(size, Ordering::Relaxed);
        if before.saturating_add(size) > self.rules.max_bytes { Err(Errno::FBIG) } else { Ok(()) }
    }

    pub(crate) fn failure(&self, (action, error): Failed, path: &Path) -> CopyStop {
        if error.raw_os_error() == Some(Errno::CANCELED.raw_os_error()) {
            return CopyStop::Cancelled;
        }
        if self.bytes.load(Ordering::Relaxed) <= self.rules.max_bytes {
            return FileError::new(action, path, error).into();
        }
        let limit = format!("{} bytes, reached at {}", self.rules.max_bytes, path.display());
        CopyStop::TooMany { what: "what is copied", limit }
    }
}

/// From where to where, one entry.
pub(crate) struct Place<'p> {
    pub source: BorrowedFd<'p>,
    pub from: &'p CStr,
    pub target: BorrowedFd<'p>,
    pub to: &'p CStr,
    pub kind: FileType,
    /// Nothing is in the way.
    pub blank: bool,
}
