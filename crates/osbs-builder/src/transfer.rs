//! COPY and ADD: from sources to files in the stage's root.

mod remote;

pub(crate) use remote::shown;

use self::remote::Remote;
use crate::accounts::{chown, rooted};
use crate::config_change::{StageConfig, absolute, clean_path};
use crate::error::{BuildError, FileError, InstructionError};
use crate::fetcher::Fetcher;
use crate::file_mode::ModeChange;
use crate::open_folder::{OPEN_DIR, count_entries, path_below};
use crate::request::Limits;
use crate::source::{Found, SourceRoot, judge};
use crate::stage_root::StageRoot;
use crate::tree_copy::{CopyStop, Place, Rules, TreeCopy, Verdict};
use crate::variables::GlobalArgs;
use osbs_dockerfile::{IgnorePatterns, Source, Transfer};
use osbs_image::{ExtractOptions, LayerError, extract_tar, open_archive};
use osbs_sandbox::rooted::{FileTime, NodeKind, Owner, Root};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, Mode, ResolveFlags, openat, openat2};
use std::ffi::CString;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

const ROOT: Owner = Owner { uid: 0, gid: 0 };

/// What an instruction works with.
pub(crate) struct TransferContext<'a> {
    pub config: &'a StageConfig,
    pub global: &'a GlobalArgs,
    pub limits: &'a Limits,
    pub fetcher: Option<&'a dyn Fetcher>,
    pub threads: usize,
    /// A folder for downloads.
    pub scratch: &'a Path,
    pub cancel: &'a CancellationToken,
}

/// One thing to put into the root.
enum Item {
    Tree(Found),
    Text { name: String, content: Vec<u8> },
    Remote(Remote),
}

/// Where it goes.
struct Destination {
    /// Absolute and clean.
    path: String,
    /// Written with a slash at its end.
    folder: bool,
}

/// COPY (from anywhere) or ADD (`add`).
pub(crate) fn transfer(
    context: &TransferContext<'_>,
    transfer: &Transfer,
    add: bool,
    source: &SourceRoot,
    stage: &mut StageRoot,
) -> Result<(), InstructionError> {
    let expand = |word: &str| context.config.expand(word, context.global);
    let mode = transfer.chmod.as_deref().map(|text| ModeChange::parse(&expand(text)?)).transpose()?;
    let text = expand(&transfer.destination)?;
    let path = absolute(&context.config.image.config.working_dir, &text);
    let last = path.rsplit('/').next().unwrap_or_default();
    let destination = Destination { folder: matches!(last, "" | "." | ".."), path: clean_path(&path) };

    let mut items = Vec::new();
    for word in &transfer.sources {
        items.extend(context.items(transfer, word, add, source)?);
    }
    if items.is_empty() {
        let words = transfer.sources.iter().map(|it| match it {
            Source::Path(path) => path.as_str(),
            Source::Heredoc(heredoc) => heredoc.name.as_str(),
        });
        return Err(source.missing(&words.collect::<Vec<_>>().join(" "), false));
    }

    let view = stage.mounted()?.to_owned();
    let root = Root::open(&view).map_err(rooted)?;
    let given = transfer.chown.as_deref().map(|text| chown(&root, &expand(text)?)).transpose()?;
    let several = items.len() > 1 || transfer.sources.len() > 1;
    if several && !destination.folder && !is_folder(&root, &destination.path)? {
        return Err(InstructionError::DestinationNotDirectory { destination: text });
    }
    let exclude = IgnorePatterns::new(&transfer.exclude).map_err(|error| InstructionError::BadValue {
        what: "--exclude",
        value: transfer.exclude.join(" "),
        expected: error.to_string(),
    })?;
    // What comes from the context belongs to root; what comes from an image keeps its owner.
    let owner = given.or(if transfer.from.is_some() { None } else { Some(ROOT) });
    let filter = |path: &[u8], is_folder: bool| filter(source, &exclude, path, is_folder);
    let filtered = source.ignore.is_some() || !exclude.is_empty();
    let rules = Rules {
        owner,
        mode: mode.clone(),
        filter: filtered.then_some(&filter as &crate::tree_copy::Filter<'_>),
        max_files: context.limits.files,
        max_depth: context.limits.depth,
        threads: context.threads,
        may_postpone: true,
    };
    let engine = TreeCopy::new(&rules, &view, context.cancel);
    let upper = stage.upper().to_owned();
    let put = Put { context, transfer, add, source, root, view: &view, upper: &upper, given, mode, destination };
    for item in items {
        match item {
            Item::Tree(found) => put.tree(&engine, &found)?,
            Item::Text { name, content } => put.text(&name, &content)?,
            Item::Remote(remote) => put.remote(&remote)?,
        }
    }
    // Whoever holds a file of the view open keeps it from being unmounted.
    drop(put);
    let postponed = engine.take_postponed();
    if postponed.is_empty() {
        return Ok(());
    }
    stage.unmount()?;
    let upper_fd =
        openat(rustix::fs::CWD, &upper, OPEN_DIR, Mode::empty()).map_err(|e| FileError::new("open", &upper, e))?;
    engine.resume(postponed, upper_fd.as_fd()).map_err(|stop| stopped(context, stop))
}

/// The ignore file's and `--exclude`'s word on a path of the source tree.
fn filter(source: &SourceRoot, exclude: &IgnorePatterns, path: &[u8], is_folder: bool) -> Verdict {
    let by_file = source.verdict(path, is_folder);
    if exclude.is_empty() || by_file == Verdict::Skip {
        return by_file;
    }
    match judge(exclude, path, is_folder) {
        Verdict::Take => by_file,
        other => other,
    }
}

fn stopped(context: &TransferContext<'_>, stop: CopyStop) -> InstructionError {
    match stop {
        CopyStop::Failed(error) => InstructionError::File(error.located(context.scratch)),
        CopyStop::TooMany { what, limit } => InstructionError::Limit { what: what.to_owned(), limit },
        CopyStop::Reserved { path } => InstructionError::BadValue {
            what: "file name",
            value: path.display().to_string(),
            expected: "names that begin with .wh. mark removed files in image layers and cannot be copied".into(),
        },
        CopyStop::Cancelled => BuildError::Cancelled.into(),
    }
}

fn is_folder(root: &Root, path: &str) -> Result<bool, InstructionError> {
    let node = root.stat(Path::new(path)).map_err(rooted)?;
    Ok(node.is_some_and(|node| node.kind == NodeKind::Directory))
}

impl TransferContext<'_> {
    fn items(
        &self,
        transfer: &Transfer,
        word: &Source,
        add: bool,
        source: &SourceRoot,
    ) -> Result<Vec<Item>, InstructionError> {
        let text = match word {
            Source::Heredoc(heredoc) => {
                let mut content = heredoc.text();
                if heredoc.expand {
                    let lookup = |name: &str| self.config.args.lookup(name, self.config.env());
                    content = osbs_dockerfile::expand_heredoc(&content, &lookup).map_err(|error| {
                        InstructionError::Expansion { text: heredoc.name.clone(), source: Box::new(error) }
                    })?;
                }
                return Ok(vec![Item::Text { name: heredoc.name.clone(), content: content.into_bytes() }]);
            }
            Source::Path(word) => self.config.expand(word, self.global)?,
        };
        let checksum = transfer.checksum.as_deref().map(|sum| self.config.expand(sum, self.global)).transpose()?;
        if checksum.is_some() && transfer.sources.len() > 1 {
            let instead = Some("write an ADD for each of them".into());
            return Err(InstructionError::Unsupported { what: "--checksum of several sources".into(), instead });
        }
        match remote::parse(&text, transfer.keep_git_dir, checksum.as_deref())? {
            Some(remote) if add => Ok(vec![Item::Remote(remote)]),
            Some(_) => Err(InstructionError::Unsupported {
                what: "COPY of a URL".into(),
                instead: Some("write ADD, which fetches; COPY takes files of the context, a stage or an image".into()),
            }),
            None if checksum.is_some() => Err(InstructionError::Unsupported {
                what: "--checksum of a path".into(),
                instead: Some("it is for URLs and git repositories".into()),
            }),
            None => Ok(source.find(&text)?.into_iter().map(Item::Tree).collect()),
        }
    }
}

/// One instruction at work.
struct Put<'p> {
    context: &'p TransferContext<'p>,
    transfer: &'p Transfer,
    add: bool,
    source: &'p SourceRoot,
    /// The image, as it is seen now.
    root: Root,
    view: &'p Path,
    upper: &'p Path,
    /// `--chown`.
    given: Option<Owner>,
    mode: Option<ModeChange>,
    destination: Destination,
}

impl Put<'_> {
    fn owner_of_new(&self) -> Owner {
        self.given.unwrap_or(ROOT)
    }

    /// Makes a folder of the image with its parents; the path without links, and whether it is new.
    fn folder(&self, path: &str) -> Result<(PathBuf, bool), InstructionError> {
        let made = self.root.mkdir_all(Path::new(path), 0o755, self.owner_of_new());
        let made = made.map_err(|e| FileError::new("create", path, e.source).located(self.context.scratch))?;
        let real = self.root.resolve(Path::new(path)).map_err(rooted)?;
        Ok((real, !made.is_empty()))
    }

    /// Nothing is in the folder, neither in the view nor in the upper layer, where it must exist.
    fn is_blank(&self, folder: &OwnedFd, made: bool) -> bool {
        if made {
            return true;
        }
        let Some(inside) = path_below(self.view, folder.as_fd()) else { return false };
        let none = |fd: &OwnedFd| count_entries(fd.as_fd(), 1).is_ok_and(|count| count == 0);
        none(folder) && open(self.upper, &inside).is_ok_and(|upper| none(&upper))
    }

    fn tree(&self, engine: &TreeCopy<'_>, found: &Found) -> Result<(), InstructionError> {
        let base = self.below_pivot(&found.named);
        if found.kind == NodeKind::Directory {
            let path = match &base {
                Some(kept) => format!("{}/{kept}", self.destination.path),
                None => self.destination.path.clone(),
            };
            let (real, made) = self.folder(&path)?;
            let target = open(self.view, &real)?;
            let source = open(&self.source.path, &found.real)?;
            let blank = self.is_blank(&target, made);
            let rel = found.real.as_os_str().as_bytes().to_vec();
            return engine.contents(source, rel, target, made, blank).map_err(|stop| stopped(self.context, stop));
        }
        if self.add && self.transfer.unpack != Some(false) && found.kind == NodeKind::File && self.unpack(found)? {
            return Ok(());
        }
        let name = found.named.file_name().unwrap_or_default();
        let (folder, name) = self.place(base.as_deref(), name)?;
        let (_, parent) = (found.real.file_name(), found.real.parent().unwrap_or(Path::new("")));
        let source = open(&self.source.path, parent)?;
        let c_name = |name: &std::ffi::OsStr| {
            CString::new(name.as_bytes()).map_err(|_| BuildError::Internal("a file name holds a zero byte"))
        };
        let (from, to) = (c_name(found.real.file_name().unwrap_or_default())?, c_name(&name)?);
        let place = Place {
            source: source.as_fd(),
            from: &from,
            target: folder.as_fd(),
            to: &to,
            kind: file_type(found.kind),
            blank: false,
        };
        engine.single(&place, &found.named).map_err(|stop| stopped(self.context, stop))
    }

    /// With `--parents`: the part of the path that is kept below the destination.
    fn below_pivot(&self, named: &Path) -> Option<String> {
        if !self.transfer.parents {
            return None;
        }
        let mut prefixes = self.transfer.sources.iter().filter_map(|source| match source {
            Source::Path(path) => path.split_once("/./").map(|(prefix, _)| clean_path(prefix)),
            Source::Heredoc(_) => None,
        });
        let kept = prefixes.find_map(|prefix| named.strip_prefix(prefix.trim_start_matches('/')).ok()).unwrap_or(named);
        Some(kept.to_string_lossy().into_owned())
    }

    /// The open folder and the name that a single file gets.
    fn place(
        &self,
        kept: Option<&str>,
        name: &std::ffi::OsStr,
    ) -> Result<(OwnedFd, std::ffi::OsString), InstructionError> {
        let into_folder = self.destination.folder || is_folder(&self.root, &self.destination.path)?;
        let path = match kept {
            Some(kept) => Path::new(&self.destination.path).join(kept),
            None if into_folder => Path::new(&self.destination.path).join(name),
            None => self.root.resolve(Path::new(&self.destination.path)).map_err(rooted)?,
        };
        let parent = path.parent().unwrap_or(Path::new("/")).to_string_lossy().into_owned();
        let (real, _) = self.folder(&parent)?;
        let name = path.file_name().unwrap_or(name).to_owned();
        let there = self.root.lstat(&real.join(&name)).map_err(rooted)?;
        if there.is_some_and(|node| node.kind == NodeKind::Directory) {
            let taken = std::io::Error::from(std::io::ErrorKind::IsADirectory);
            return Err(FileError::new("replace the folder", real.join(&name), taken).into());
        }
        Ok((open(self.view, &real)?, name))
    }

    /// Unpacks a local archive; `false`: it is none.
    fn unpack(&self, found: &Found) -> Result<bool, InstructionError> {
        let file = self.source.root.open_file(&found.real).map_err(rooted)?;
        let read = |e| FileError::new("read", &found.real, e);
        let Some(mut archive) = open_archive(Box::new(file)).map_err(read)? else { return Ok(false) };
        self.extract(&mut archive, &found.named.display().to_string())?;
        Ok(true)
    }

    fn extract(&self, archive: &mut dyn Read, name: &str) -> Result<(), InstructionError> {
        let (real, _) = self.folder(&self.destination.path)?;
        let target = open(self.view, &real)?;
        let mode = match &self.mode {
            None => None,
            Some(ModeChange::Octal(mode)) => Some(*mode),
            Some(ModeChange::Symbolic(_)) => {
                let instead = Some("write the mode as an octal number".into());
                return Err(InstructionError::Unsupported { what: "a symbolic --chmod of an archive".into(), instead });
            }
        };
        let options = ExtractOptions {
            owner: self.given.map(|owner| (owner.uid, owner.gid)),
            mode,
            max_bytes: self.context.limits.archive_bytes,
            max_entries: self.context.limits.files,
            name: name.to_owned(),
        };
        match extract_tar(archive, target.as_fd(), &options, self.context.cancel) {
            Ok(_) => Ok(()),
            Err(LayerError::Cancelled) => Err(BuildError::Cancelled.into()),
            Err(error) => Err(InstructionError::Archive { archive: name.to_owned(), source: Box::new(error) }),
        }
    }

    fn text(&self, name: &str, content: &[u8]) -> Result<(), InstructionError> {
        self.write(name, 0o644, None, &mut |file| file.write_all(content))
    }

    /// Writes one new file.
    fn write(
        &self,
        name: &str,
        mode: u32,
        time: Option<i64>,
        fill: &mut dyn FnMut(&mut std::fs::File) -> std::io::Result<()>,
    ) -> Result<(), InstructionError> {
        let (folder, name) = self.place(None, std::ffi::OsStr::new(name))?;
        let inside = path_below(self.view, folder.as_fd()).unwrap_or_default().join(name);
        let failed = |e| InstructionError::File(FileError::new("write", &inside, e).located(self.context.scratch));
        let mode = self.mode.as_ref().map_or(mode, |change| change.apply(mode, false));
        let mut file = self.root.create_file(&inside, 0o600).map_err(rooted)?;
        fill(&mut file).map_err(failed)?;
        drop(file);
        self.root.set_owner(&inside, self.owner_of_new()).map_err(rooted)?;
        self.root.set_mode(&inside, mode).map_err(rooted)?;
        if let Some(seconds) = time {
            self.root.set_times(&inside, FileTime { seconds, nanoseconds: 0 }).map_err(rooted)?;
        }
        Ok(())
    }
}

/// Opens a folder of a tree, inside it.
fn open(base: &Path, inside: &Path) -> Result<OwnedFd, InstructionError> {
    let failed = |e: rustix::io::Errno| FileError::new("open", inside, e);
    let root = openat(rustix::fs::CWD, base, OPEN_DIR, Mode::empty()).map_err(failed)?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let path = if inside.as_os_str().is_empty() { Path::new(".") } else { inside };
    Ok(openat2(&root, path, OPEN_DIR, Mode::empty(), resolve).map_err(failed)?)
}

fn file_type(kind: NodeKind) -> FileType {
    match kind {
        NodeKind::File => FileType::RegularFile,
        NodeKind::Directory => FileType::Directory,
        NodeKind::Symlink => FileType::Symlink,
        NodeKind::Fifo => FileType::Fifo,
        NodeKind::Socket => FileType::Socket,
        NodeKind::CharDevice => FileType::CharacterDevice,
        NodeKind::BlockDevice => FileType::BlockDevice,
    }
}
