//! What can go wrong while a Dockerfile becomes an image: where, whose fault, what next. Texts end up on one screen.

pub use crate::file_error::FileError;
use crate::plan_error::PlanError;
use osbs_image::{LayerError, Store, StoreError};
use osbs_sandbox::{ForeignError, MountError, RuntimeError};
use osbs_types::{ErrorKind, Failure, Position};
use std::fmt::Write as _;
use std::io;

/// A build failed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// One instruction of the Dockerfile failed or makes no sense.
    #[error("{position}: {text}")]
    Instruction {
        /// Where it stands.
        position: Position,
        /// The instruction as written, shortened to one line.
        text: String,
        /// What happened.
        #[source]
        source: Box<InstructionError>,
    },
    /// The Dockerfile as a whole cannot be built with this request.
    #[error("the Dockerfile cannot be built as asked")]
    Plan(#[source] PlanError),
    /// An image named in FROM, COPY --from or RUN --mount could not be had. Implementers of
    /// [`ParentImages`](crate::ParentImages) return this.
    #[error("image {name} is not available")]
    Parent {
        /// The name as written.
        name: String,
        /// Why; its kind decides.
        #[source]
        source: Box<Failure>,
    },
    /// A layer of the parent could not be unpacked, or the new layer not be written.
    #[error("{}cannot {action}", disk_full(full.as_deref()))]
    Layer {
        /// `unpack the parent image` or `write the layer`.
        action: &'static str,
        /// The file system of the image store, if it is full.
        full: Option<String>,
        /// Why.
        #[source]
        source: LayerError,
    },
    /// The image store refused.
    #[error("cannot record the image in the store")]
    Store(#[source] StoreError),
    /// The root file system of a stage could not be put together.
    #[error("cannot mount the root file system of {stage}")]
    Mount {
        /// `stage 0 (name)`.
        stage: String,
        /// Why.
        #[source]
        source: MountError,
    },
    /// The image's programs cannot be run here.
    #[error("this machine cannot run RUN instructions for {architecture}")]
    Foreign {
        /// GOARCH.
        architecture: String,
        /// What is missing.
        #[source]
        source: ForeignError,
    },
    /// A file of the work folder.
    #[error(transparent)]
    File(FileError),
    /// Something that cannot be.
    #[error("internal mistake: {0}")]
    Internal(&'static str),
    /// Somebody asked to stop.
    #[error("cancelled")]
    Cancelled,
}

/// Why one instruction failed.
#[derive(Debug, thiserror::Error)]
pub enum InstructionError {
    /// A command of RUN ended badly.
    #[error("{}", command_failed(*.exit_code, *.signal))]
    Command {
        /// Exit code; 128 + N when the shell or the runtime reported a signal so.
        exit_code: i32,
        /// The signal, if one ended the container's first process.
        signal: Option<i32>,
        /// The end of its output, without secrets.
        last_lines: Vec<String>,
        /// Disk full and the like, as seen afterwards.
        hint: Option<String>,
    },
    /// The runtime could not start or end the container.
    #[error("cannot run the command")]
    Runtime(#[source] RuntimeError),
    /// A COPY or ADD source does not exist.
    #[error("{source_path:?} is not in {place}{}", .hint.as_deref().map(|hint| format!(": {hint}")).unwrap_or_default())]
    NoSource {
        /// As written, expanded.
        source_path: String,
        /// `the build context`, `stage x`, `image y`.
        place: String,
        /// `.dockerignore excludes it`, `paths start at the context's root`.
        hint: Option<String>,
    },
    /// Several sources want a directory as destination.
    #[error("with more than one source the destination {destination:?} must end in a slash")]
    DestinationNotDirectory {
        /// As expanded.
        destination: String,
    },
    /// A variable expression is wrong.
    #[error("cannot expand {text:?}")]
    Expansion {
        /// The word.
        text: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A value (flag, port, signal, duration) makes no sense.
    #[error("{what} {value:?} is not valid: {expected}")]
    BadValue {
        /// What it should be: `--chmod`.
        what: &'static str,
        /// What it is.
        value: String,
        /// What is allowed.
        expected: String,
    },
    /// A user or group is not in the image.
    #[error("there is no {what} {name:?} in {file} of the image")]
    NoSuchAccount {
        /// `user` or `group`.
        what: &'static str,
        /// The name.
        name: String,
        /// `/etc/passwd` or `/etc/group`.
        file: &'static str,
    },
    /// A stage named in --from or from= does not exist before this instruction.
    #[error("--from={name} is this stage itself or a later one")]
    LaterStage {
        /// The name.
        name: String,
    },
    /// A secret was not given with the request.
    #[error("the secret {id:?} is required and was not given")]
    NoSecret {
        /// Its id.
        id: String,
    },
    /// An ssh agent was not given with the request.
    #[error("the ssh agent {id:?} is required and was not given")]
    NoAgent {
        /// Its id.
        id: String,
    },
    /// Not done by this builder.
    #[error("{what} is not supported")]
    Unsupported {
        /// What.
        what: String,
        /// What to do instead.
        instead: Option<String>,
    },
    /// A download failed.
    #[error("cannot download {url}")]
    Fetch {
        /// Without credentials.
        url: String,
        /// Why; its kind decides.
        #[source]
        source: Box<Failure>,
    },
    /// A limit of the request was reached.
    #[error("{what} is larger than the limit of {limit}")]
    Limit {
        /// `the build context`.
        what: String,
        /// In its unit.
        limit: String,
        /// How to stay below it, and how to raise it.
        advice: Option<String>,
    },
    /// An archive to be unpacked is broken or hostile.
    #[error("cannot unpack {archive:?}")]
    Archive {
        /// Path in the context.
        archive: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Something outside the instruction: parent image, mount, cancel.
    #[error(transparent)]
    Build(Box<BuildError>),
}

fn command_failed(exit_code: i32, signal: Option<i32>) -> String {
    match signal {
        Some(9) => "the command was killed (signal 9); often the machine or the limit ran out of memory".to_owned(),
        Some(signal) => format!("the command was ended by signal {signal}"),
        None => format!("the command ended with exit code {exit_code}"),
    }
}

pub(crate) fn disk_full(full: Option<&str>) -> String {
    full.map(|full| format!("disk full: {full}; ")).unwrap_or_default()
}

/// ENOSPC or EDQUOT.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// ENOSPC anywhere in the chain of causes.
fn chain_is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut at = Some(error);
    while let Some(error) = at {
        if error.downcast_ref::<io::Error>().is_some_and(is_full) {
            return true;
        }
        at = error.source();
    }
    false
}

impl InstructionError {
    /// Whose fault.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Command { hint: Some(hint), .. } if hint.starts_with("disk full") => ErrorKind::Resource,
            Self::Runtime(error) => error.kind(),
            Self::Fetch { source, .. } => source.kind,
            Self::File(error) => error.kind(),
            Self::Archive { source, .. } if chain_is_full(&**source) => ErrorKind::Resource,
            Self::Build(error) => error.kind(),
            _ => ErrorKind::User,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Command { hint, last_lines, .. } => {
                let mut text = hint.clone().unwrap_or_default();
                if !last_lines.is_empty() {
                    let _ = write!(text, "{}its last lines were:", if text.is_empty() { "" } else { "\n" });
                    for line in last_lines {
                        let _ = write!(text, "\n  {line}");
                    }
                }
                (!text.is_empty()).then_some(text)
            }
            Self::Unsupported { instead, .. } => instead.clone(),
            Self::Limit { advice, .. } => advice.clone(),
            Self::Fetch { source, .. } => source.hint.clone(),
            Self::NoAgent { id } => {
                Some(format!("osbs image build --ssh {id} gives one; or leave required out, if it can do without"))
            }
            Self::LaterStage { .. } => Some("a stage reads from those above it only: move the other one up".into()),
            Self::NoSuchAccount { what, file, .. } => {
                let make = if *what == "user" { "useradd" } else { "groupadd" };
                Some(format!("make it by RUN {make} before, write its number, or look at {file} of the parent image"))
            }
            Self::NoSecret { id } => Some(format!(
                "osbs image build --secret id={id},src=FILE gives it; or leave required out, if it can do without"
            )),
            Self::File(FileError { full: Some(_), .. }) => Some("free some space, then build again".into()),
            Self::File(FileError { action: "set the owner of", source, .. })
                if source.kind() == io::ErrorKind::InvalidInput =>
            {
                Some(
                    "a build without root has the user's subordinate ids only: take a smaller id, or get more ids \
                     (usermod --add-subuids, --add-subgids)"
                        .into(),
                )
            }
            Self::Build(error) => error.hint(),
            _ => None,
        }
    }
}

impl BuildError {
    /// An image could not be had.
    pub fn parent(name: &str, why: Failure) -> Self {
        Self::Parent { name: name.to_owned(), source: Box::new(why) }
    }

    /// A layer of an image in `store` cannot be read or written.
    pub(crate) fn layer(action: &'static str, source: LayerError, store: &Store) -> Self {
        match source {
            LayerError::Cancelled => Self::Cancelled,
            source => {
                let full = chain_is_full(&source).then(|| crate::disk::describe(store.root()));
                Self::Layer { action, full, source }
            }
        }
    }

    /// Whose fault.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Instruction { source, .. } => source.kind(),
            Self::Plan(error) => error.kind(),
            Self::Parent { source, .. } => source.kind,
            Self::Layer { source, .. } if chain_is_full(source) => ErrorKind::Resource,
            Self::Layer { source, .. } => source.kind(),
            Self::Store(source) if chain_is_full(source) => ErrorKind::Resource,
            Self::Store(source) => source.kind(),
            Self::Mount { source, .. } => source.kind(),
            Self::Foreign { source, .. } => source.kind(),
            Self::File(error) if error.kind() == ErrorKind::User => ErrorKind::Internal,
            Self::File(error) => error.kind(),
            Self::Internal(_) => ErrorKind::Internal,
            Self::Cancelled => ErrorKind::Cancelled,
        }
    }

    /// What to do next, when more is known than the kind's advice; may have several lines.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Instruction { source, .. } => source.hint(),
            Self::Plan(error) => error.hint(),
            Self::Parent { source, .. } => source.hint.clone(),
            Self::File(FileError { full: Some(_), .. }) | Self::Layer { full: Some(_), .. } => {
                Some("free some space, then build again".into())
            }
            _ => None,
        }
    }

    /// The place in the Dockerfile.
    pub fn position(&self) -> Option<&Position> {
        match self {
            Self::Instruction { position, .. }
            | Self::Plan(
                PlanError::Expansion { position, .. }
                | PlanError::EmptyFrom { position, .. }
                | PlanError::Platform { position, .. },
            ) => Some(position),
            _ => None,
        }
    }

    /// As it is stored with a build.
    pub fn to_failure(&self) -> Failure {
        let mut failure = Failure::new(self.kind(), self);
        if let Self::Instruction { position, text, .. } = self {
            // The position stands in its own field; not twice on the screen.
            failure.message.clone_from(text);
            failure.position = Some(position.clone());
        } else {
            failure.position = self.position().cloned();
        }
        failure.hint = self.hint();
        failure
    }
}

/// An error inside an instruction that is not the instruction's fault keeps its kind.
impl From<BuildError> for InstructionError {
    fn from(error: BuildError) -> Self {
        Self::Build(Box::new(error))
    }
}

impl From<FileError> for BuildError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}
