//! COPY and ADD: what an instruction names, and in which order it comes into the stage's root.

mod put;
mod remote;

pub(crate) use remote::shown;

use self::put::Put;
use self::remote::Remote;
use crate::accounts::{chown, rooted};
use crate::config_change::{StageConfig, absolute, clean_path};
use crate::error::{BuildError, FileError, InstructionError};
use crate::fetcher::Fetcher;
use crate::file_mode::ModeChange;
use crate::open_folder::OPEN_DIR;
use crate::request::Limits;
use crate::source::{Found, SourceRoot, judge};
use crate::stage_root::StageRoot;
use crate::tree_copy::{CopyStop, Part, Rules, TreeCopy, Verdict};
use crate::variables::GlobalArgs;
use osbs_dockerfile::{IgnorePatterns, Source, Transfer};
use osbs_sandbox::rooted::{NodeKind, Owner, Root};
use rustix::fd::AsFd;
use rustix::fs::{Mode, openat};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
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
    /// For lines that the build shows.
    pub log: &'a dyn Fn(&str),
    pub cancel: &'a CancellationToken,
}

/// One thing to put into the root.
enum Item {
    Tree(Found),
    /// With `--parents`: what of a folder's content.
    Parents {
        root: Found,
        include: Option<IgnorePatterns>,
    },
    Text {
        name: String,
        content: Vec<u8>,
    },
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

    let exclude = patterns("--exclude", &transfer.exclude)?;
    let mut items = Vec::new();
    for word in &transfer.sources {
        let found = context.items(transfer, word, add, source)?;
        if let ([], Source::Path(written)) = (found.as_slice(), word) {
            (context.log)(&format!("{written} matches nothing in {}", source.place));
        }
        items.extend(found);
    }
    items.retain(|item| !item.is_excluded(&exclude));
    // Wild cards may match nothing, as with BuildKit.
    if items.is_empty() {
        return Ok(());
    }

    let view = stage.mounted()?.to_owned();
    let root = Root::open(&view).map_err(rooted)?;
    let given = transfer.chown.as_deref().map(|text| chown(&root, &expand(text)?)).transpose()?;
    let several = transfer.sources.len() > 1 || (items.len() > 1 && !items.iter().all(Item::is_content));
    if several && !transfer.parents && !destination.folder && !put::is_folder(&root, &destination.path)? {
        return Err(InstructionError::DestinationNotDirectory { destination: text });
    }
    // What comes from the context belongs to root; what comes from an image keeps its owner.
    let owner = given.or(if transfer.from.is_some() { None } else { Some(ROOT) });
    let filter = |part: &Part, path: &[u8], is_folder: bool| verdict(source, &exclude, part, path, is_folder);
    let filtered = source.ignore.is_some() || !exclude.is_empty() || transfer.parents;
    let upper = stage.upper().to_owned();
    let rules = Rules {
        owner,
        mode: mode.clone(),
        filter: filtered.then_some(&filter as &crate::tree_copy::Filter<'_>),
        max_files: context.limits.files,
        max_bytes: context.limits.copied_bytes,
        max_depth: context.limits.depth,
        threads: context.threads,
        upper: Some(&upper),
    };
    let engine = TreeCopy::new(&rules, &view, context.cancel);
    let put = Put { context, transfer, add, source, root, view: &view, upper: &upper, given, mode, destination };
    for item in items {
        match item {
            Item::Tree(found) => put.tree(&engine, &found)?,
            Item::Parents { root, include } => put.content(&engine, &root, include)?,
            Item::Text { name, content } => put.text(&name, &content)?,
            Item::Remote(remote) => put.remote(&remote)?,
        }
    }
    // Whoever holds a file of the view open keeps it from being unmounted.
    drop(put);
    let put_off = engine.take_put_off();
    if put_off.is_empty() {
        return Ok(());
    }
    stage.unmount()?;
    let upper_fd =
        openat(rustix::fs::CWD, &upper, OPEN_DIR, Mode::empty()).map_err(|e| FileError::new("open", &upper, e))?;
    engine.resume(put_off, upper_fd.as_fd()).map_err(|stop| stopped(context, stop))
}

/// What the ignore file says of a path of the source tree, and `--exclude` and `--parents` of its part below what is
/// copied.
fn verdict(source: &SourceRoot, exclude: &IgnorePatterns, part: &Part, path: &[u8], is_folder: bool) -> Verdict {
    let below = path.get(part.above..).unwrap_or_default();
    let mut verdict = source.verdict(path, is_folder);
    for patterns in [Some(exclude), part.include.as_ref()].into_iter().flatten() {
        verdict = match (verdict, judge(patterns, below, is_folder)) {
            (Verdict::Skip, _) | (_, Verdict::Skip) => return Verdict::Skip,
            (Verdict::Take, other) => other,
            (Verdict::Descend, _) => Verdict::Descend,
        };
    }
    verdict
}

fn patterns<S: AsRef<str>>(what: &'static str, list: &[S]) -> Result<IgnorePatterns, InstructionError> {
    IgnorePatterns::new(list).map_err(|error| InstructionError::BadValue {
        what,
        value: error.pattern.clone(),
        expected: error.to_string(),
    })
}

impl Item {
    /// The content of a folder, which goes into the destination whatever that is.
    fn is_content(&self) -> bool {
        matches!(self, Self::Tree(found) if found.kind == NodeKind::Directory)
    }

    /// A file that `--exclude` means. Patterns are for paths below a source; a file that is a source itself goes by its
    /// name, and by its path as it is written.
    fn is_excluded(&self, exclude: &IgnorePatterns) -> bool {
        let Self::Tree(found) = self else { return false };
        let name = found.named.file_name().unwrap_or_default();
        found.kind != NodeKind::Directory
            && (exclude.is_ignored(name.as_bytes()) || exclude.is_ignored(found.named.as_os_str().as_bytes()))
    }
}

fn stopped(context: &TransferContext<'_>, stop: CopyStop) -> InstructionError {
    match stop {
        CopyStop::Failed(error) => InstructionError::File(error.located(context.scratch)),
        CopyStop::TooMany { what, limit } => {
            let advice = "leave out what is not needed (.dockerignore, --exclude), or copy it in parts: the limit is \
                          that of one instruction";
            InstructionError::Limit { what: what.to_owned(), limit, advice: Some(advice.to_owned()) }
        }
        CopyStop::Reserved { path } => InstructionError::BadValue {
            what: "file name",
            value: path.display().to_string(),
            expected: "names that begin with .wh. mark removed files in image layers and cannot be copied".into(),
        },
        CopyStop::Cancelled => BuildError::Cancelled.into(),
    }
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
            None if transfer.parents => parents(&text, source),
            None => Ok(source.find(&text)?.into_iter().map(Item::Tree).collect()),
        }
    }
}

/// A source of `COPY --parents`: all of the path is kept, or what follows `/./`. `**` is any number of folders.
fn parents(text: &str, source: &SourceRoot) -> Result<Vec<Item>, InstructionError> {
    let (above, kept) = text.split_once("/./").unwrap_or(("/", text));
    let kept = clean_path(kept);
    let kept = kept.trim_start_matches('/');
    let wild = |text: &str| text.contains(['*', '?', '[', '\\']);
    let include = match kept {
        "" => None,
        // All but this is left out.
        kept => Some(patterns("--parents", &["**".to_owned(), format!("!{kept}")])?),
    };
    let roots = source.find(above)?;
    if !wild(text) {
        for root in &roots {
            source.require(&root.real.join(kept), text)?;
        }
    }
    let folders = roots.into_iter().filter(|root| root.kind == NodeKind::Directory);
    Ok(folders.map(|root| Item::Parents { root, include: include.clone() }).collect())
}
