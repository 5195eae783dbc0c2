//! What a plugin is, how it is made and how it ends.
//!
//! The plugin author's view is told in [`crate::plugins`]. The engine is in [`crate::engine`].

use crate::Run;
use async_trait::async_trait;
use osbs_types::{Digest, ErrorKind, Failure, Phase, Position};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One step of a run.
#[async_trait]
pub trait Plugin: Send {
    /// Does the work. When the build is cancelled this future is dropped at its next `await`; what must not be torn
    /// apart goes through [`Run::blocking`], which the engine waits for.
    async fn run(&mut self, run: &mut Run) -> PluginResult;

    /// If true, a cancelled build does not drop the future of [`Plugin::run`] but waits for it: the plugin itself looks
    /// at [`Run::cancel`], cleans up elsewhere and returns [`PluginError::Cancelled`].
    fn ends_itself_when_cancelled(&self) -> bool {
        false
    }
}

/// How a plugin ends.
pub type PluginResult = Result<Done, PluginError>;

/// A plugin that did not fail.
#[derive(Debug, Clone, PartialEq)]
pub enum Done {
    /// It did its work; the value is its result for other plugins and the records.
    Value(Value),
    /// It had nothing to do, and this is why.
    Skipped(String),
    /// A builder's result.
    Built(BuildResult),
}

impl Done {
    /// Done, and nothing to tell.
    pub fn nothing() -> Self {
        Self::Value(Value::Null)
    }
}

/// The image a builder made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuiltImageId {
    /// In the store of this machine, by image id (digest of its configuration).
    Local(Digest),
    /// Built elsewhere, by worker builds.
    Remote,
}

/// What a builder returns (`reactor.md` 1.5.1).
#[derive(Debug, Clone, PartialEq)]
pub struct BuildResult {
    /// The image, or why there is none.
    pub image: Result<BuiltImageId, BuildFailure>,
    /// Annotations to store, as JSON; they override those of the same name.
    pub annotations: BTreeMap<String, Value>,
    /// Labels to store.
    pub labels: BTreeMap<String, String>,
    /// Tells `squash` that the image has its single new layer already.
    pub skip_layer_squash: bool,
}

/// Why a builder made no image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildFailure {
    /// The text that is stored: for `orchestrate_build` a JSON object by platform.
    pub fail_reason: String,
    /// The same for people.
    pub failure: Failure,
}

impl BuildResult {
    /// An image in the local store.
    pub fn local(image_id: Digest) -> Self {
        Self::of(Ok(BuiltImageId::Local(image_id)))
    }

    /// An image made elsewhere.
    pub fn remote() -> Self {
        Self::of(Ok(BuiltImageId::Remote))
    }

    /// No image.
    pub fn failed(failure: Failure) -> Self {
        Self::of(Err(BuildFailure { fail_reason: failure.to_string(), failure }))
    }

    fn of(image: Result<BuiltImageId, BuildFailure>) -> Self {
        Self { image, annotations: BTreeMap::new(), labels: BTreeMap::new(), skip_layer_squash: false }
    }
}

/// How a plugin fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PluginError {
    /// It failed. Boxed: results are moved around a lot.
    #[error("{0}")]
    Failed(Box<Failure>),
    /// A builder that is not for this build ("inappropriate build step"); the next one is asked.
    #[error("not for this build: {0}")]
    Declined(String),
    /// It saw that the build was cancelled and stopped.
    #[error("cancelled")]
    Cancelled,
}

impl PluginError {
    /// A failure told in words.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Failure::message(kind, message).into()
    }

    /// The request or the repository is at fault.
    pub fn user(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::User, message)
    }

    /// The site does not allow it.
    pub fn policy(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Policy, message)
    }

    /// Another server failed, also after retries.
    pub fn remote(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Remote, message)
    }

    /// This machine lacks something.
    pub fn resource(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Resource, message)
    }

    /// A mistake in this program.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// What to do next, when more is known than the kind tells.
    #[must_use]
    pub fn with_hint(mut self, hint: &str) -> Self {
        if let Self::Failed(failure) = &mut self {
            failure.hint = Some(hint.to_owned());
        }
        self
    }

    /// The place in the user's file.
    #[must_use]
    pub fn at(mut self, position: Position) -> Self {
        if let Self::Failed(failure) = &mut self {
            failure.position = Some(position);
        }
        self
    }

    /// As a failure, whatever it is.
    pub fn into_failure(self) -> Failure {
        match self {
            Self::Failed(failure) => *failure,
            Self::Declined(why) => Failure::message(ErrorKind::Internal, format!("not for this build: {why}")),
            Self::Cancelled => cancelled(),
        }
    }
}

/// The failure of a cancelled build.
pub(crate) fn cancelled() -> Failure {
    Failure::message(ErrorKind::Cancelled, "the build was cancelled")
}

impl From<Failure> for PluginError {
    fn from(failure: Failure) -> Self {
        if failure.kind == ErrorKind::Cancelled { Self::Cancelled } else { Self::Failed(Box::new(failure)) }
    }
}

/// An error that knows whose fault it is. Every error enum of a plugin implements it, then `?` works.
pub trait Classified: std::error::Error + 'static {
    /// The class.
    fn kind(&self) -> ErrorKind;

    /// The place in the user's file.
    fn position(&self) -> Option<Position> {
        None
    }

    /// What to do next.
    fn hint(&self) -> Option<String> {
        None
    }

    /// All of it. To be written anew where the error's text tells the position itself.
    fn failure(&self) -> Failure
    where
        Self: Sized,
    {
        let mut failure = Failure::new(self.kind(), self);
        failure.position = self.position();
        failure.hint = self.hint();
        failure
    }
}

impl<E: Classified> From<E> for PluginError {
    fn from(error: E) -> Self {
        error.failure().into()
    }
}

/// Makes errors of other crates, which have a `kind()` of their own, usable with `?` in plugins.
macro_rules! classify {
    ($($error:ty),* $(,)?) => {
        $(impl $crate::plugin::Classified for $error {
            fn kind(&self) -> osbs_types::ErrorKind {
                <$error>::kind(self)
            }
        })*
    };
}
pub(crate) use classify;

/// The arguments of one plugin, special values replaced and unknown ones dropped already.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PluginArgs(pub Map<String, Value>);

impl PluginArgs {
    /// As the plugin's own struct: `#[derive(Deserialize)] #[serde(default)]`.
    ///
    /// # Errors
    /// A value of the wrong type, with its name.
    pub fn parse<T: DeserializeOwned>(self) -> Result<T, PluginError> {
        serde_json::from_value(Value::Object(self.0))
            .map_err(|error| PluginError::user(format!("the plugin's arguments in the build JSON are wrong: {error}")))
    }
}

/// Makes a plugin from its arguments.
pub type MakePlugin = dyn Fn(PluginArgs) -> Result<Box<dyn Plugin>, PluginError> + Send + Sync;

/// An argument a plugin knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PluginArgument {
    /// Its name in `args`.
    pub name: &'static str,
    /// What it says, with its default; empty: accepted for old templates and not looked at.
    pub meaning: &'static str,
}

/// A kind of plugin, as the engine knows it, and what `osbs plugins show` tells of it.
#[derive(Clone)]
pub struct PluginType {
    /// Its name in plugin lists.
    pub name: &'static str,
    /// The phases it can be listed in.
    pub phases: &'static [Phase],
    /// Whether a build survives its failure, unless the list says otherwise.
    pub allowed_to_fail: bool,
    /// The arguments it knows; others are dropped with a warning.
    pub arguments: Vec<PluginArgument>,
    /// Whether it takes any argument.
    pub accepts_anything: bool,
    /// What it is for, in one sentence.
    pub purpose: &'static str,
    /// What it looks at besides its arguments: keys of the site's configuration, files of the repository, what other
    /// plugins left.
    pub reads: &'static [&'static str],
    /// What it leaves: changes to the image, the registry, the records, state for other plugins.
    pub writes: &'static [&'static str],
    /// Makes one.
    pub make: Arc<MakePlugin>,
}

impl PluginType {
    /// A type that is not allowed to fail and takes no arguments.
    pub fn new(
        name: &'static str,
        phases: &'static [Phase],
        make: impl Fn(PluginArgs) -> Result<Box<dyn Plugin>, PluginError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            phases,
            allowed_to_fail: false,
            arguments: Vec::new(),
            accepts_anything: false,
            purpose: "",
            reads: &[],
            writes: &[],
            make: Arc::new(make),
        }
    }

    /// What it is for, in one sentence.
    #[must_use]
    pub fn purpose(mut self, purpose: &'static str) -> Self {
        self.purpose = purpose;
        self
    }

    /// With this argument.
    #[must_use]
    pub fn argument(mut self, name: &'static str, meaning: &'static str) -> Self {
        self.arguments.push(PluginArgument { name, meaning });
        self
    }

    /// With these arguments, which are accepted for old templates and not looked at.
    #[must_use]
    pub fn accepts(mut self, names: &[&'static str]) -> Self {
        self.arguments.extend(names.iter().map(|name| PluginArgument { name, meaning: "" }));
        self
    }

    /// With whatever the list says.
    #[must_use]
    pub fn accepts_anything(mut self) -> Self {
        self.accepts_anything = true;
        self
    }

    /// What it looks at besides its arguments.
    #[must_use]
    pub fn reads(mut self, what: &'static [&'static str]) -> Self {
        self.reads = what;
        self
    }

    /// What it leaves.
    #[must_use]
    pub fn writes(mut self, what: &'static [&'static str]) -> Self {
        self.writes = what;
        self
    }

    /// Whether it knows an argument of that name.
    pub fn knows(&self, argument: &str) -> bool {
        self.accepts_anything || self.arguments.iter().any(|known| known.name == argument)
    }

    /// A build survives its failure.
    #[must_use]
    pub fn allowed_to_fail(mut self) -> Self {
        self.allowed_to_fail = true;
        self
    }
}

/// The plugins a reactor knows.
#[derive(Clone, Default)]
pub struct PluginTypes(Vec<PluginType>);

impl PluginTypes {
    /// These types. A later one of the same name and phase is never found: names are unique.
    pub fn new(types: Vec<PluginType>) -> Self {
        Self(types)
    }

    /// The type of that name for that phase.
    pub fn find(&self, name: &str, phase: Phase) -> Option<&PluginType> {
        self.0.iter().find(|kind| kind.name == name && kind.phases.contains(&phase))
    }

    /// Every type, in the order they were given.
    pub fn iter(&self) -> impl Iterator<Item = &PluginType> {
        self.0.iter()
    }

    /// All names, for messages and tests.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.iter().map(|kind| kind.name)
    }
}
