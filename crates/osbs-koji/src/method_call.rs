//! One call as data: method, arguments, what it does to the hub, and how its answer is read.
//!
//! Must not know how it is sent.

use crate::{Arguments, Value, ValueError, xmlrpc};
use osbs_types::Secret;
use std::fmt;

/// What a call does to the hub, which decides when it may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Nothing.
    Reads,
    /// Something that comes to the same when it is done twice.
    Repeatable,
    /// Something that must not be done twice.
    Changes,
}

/// Methods that change something, but the same whether once or twice; beside those of 5.3 whose repetition the hub allows.
const REPEATABLE: [&str; 18] = [
    "cancelTask",
    "exclusiveSession",
    "host.freeTasks",
    "host.getTasks",
    "host.setBuildRootState",
    "host.setTaskWeight",
    "host.taskSetWait",
    "host.taskUnwait",
    "host.taskWait",
    "host.updateHost",
    "login",
    "logout",
    "logoutChild",
    "rawUpload",
    "repoProblem",
    "sslLogin",
    "subsession",
    "uploadFile",
];

/// Methods that only read though their names do not begin like it.
const READS: [&str; 8] = [
    "CGTagHistory",
    "countAndFilterResults",
    "downloadTaskOutput",
    "filterResults",
    "host.isEnabled",
    "host.taskWaitResults",
    "readFullInheritance",
    "taskFinished",
];

/// How the names of methods begin that only read.
const READING: [&str; 9] = ["check", "count", "echo", "get", "has", "list", "query", "search", "system."];

impl Effect {
    /// Of a method; one that is not known is taken to change something.
    pub fn of(method: &str) -> Self {
        if REPEATABLE.contains(&method) {
            return Self::Repeatable;
        }
        let name = method.strip_prefix("host.").unwrap_or(method);
        let is_multicall = matches!(method, "multiCall" | "system.multicall");
        if !is_multicall && (READS.contains(&method) || READING.iter().any(|start| name.starts_with(start))) {
            Self::Reads
        } else {
            Self::Changes
        }
    }
}

/// How an answer is read.
type Read<T> = fn(Value) -> Result<T, ValueError>;

/// A call of a method whose answer is a `T`. Made by the functions of [`crate::calls`], sent by [`crate::Koji::call`].
#[derive(Clone)]
pub struct MethodCall<T> {
    method: String,
    arguments: Arguments,
    effect: Effect,
    says_nothing: bool,
    secrets: Vec<Secret>,
    read: Read<T>,
}

impl<T> fmt::Debug for MethodCall<T> {
    /// The method alone: arguments may hold passwords and tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MethodCall").field("method", &self.method).finish_non_exhaustive()
    }
}

impl MethodCall<Value> {
    /// Any method; its answer as it comes.
    pub fn raw(method: impl Into<String>, arguments: Arguments) -> Self {
        Self::new(method, arguments, Ok)
    }
}

impl MethodCall<()> {
    /// One whose answer says nothing: that it was done is all.
    pub(crate) fn order(method: impl Into<String>, arguments: Arguments) -> Self {
        let mut call = Self::new(method, arguments, |_| Ok(()));
        call.says_nothing = true;
        call
    }
}

impl<T> MethodCall<T> {
    pub(crate) fn new(method: impl Into<String>, arguments: Arguments, read: Read<T>) -> Self {
        let method = method.into();
        let effect = Effect::of(&method);
        Self { method, arguments, effect, says_nothing: false, secrets: Vec::new(), read }
    }

    /// One more argument by name.
    #[must_use]
    pub fn named(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.arguments.named.insert(name.to_owned(), value.into());
        self
    }

    /// One more argument by name, if there is a value.
    #[must_use]
    pub fn maybe(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.named(name, value),
            None => self,
        }
    }

    /// What is not there is a fault instead of nothing.
    #[must_use]
    pub fn strict(self) -> Self {
        self.named("strict", true)
    }

    /// An argument that must not be shown in errors.
    #[must_use]
    pub(crate) fn hiding(mut self, secret: &Secret) -> Self {
        self.secrets.push(secret.clone());
        self
    }

    /// Says what it does to the hub, where the name of the method does not.
    #[must_use]
    pub fn with_effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }

    /// The method's name.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// What it does to the hub.
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// The arguments, as they are sent.
    pub fn params(&self) -> Vec<Value> {
        self.arguments.clone().into_params()
    }

    /// The whole document, as it is sent.
    pub fn document(&self) -> String {
        xmlrpc::encode_call(&self.method, &self.params())
    }

    /// What the answer means.
    ///
    /// # Errors
    /// It is of another type.
    pub fn read(&self, answer: Value) -> Result<T, ValueError> {
        (self.read)(answer)
    }

    pub(crate) fn says_nothing(&self) -> bool {
        self.says_nothing
    }

    pub(crate) fn secrets(&self) -> &[Secret] {
        &self.secrets
    }

    /// The same call with its answer as it comes: for a multicall of different ones.
    #[must_use]
    pub fn untyped(self) -> MethodCall<Value> {
        let Self { method, arguments, effect, says_nothing, secrets, .. } = self;
        MethodCall { method, arguments, effect, says_nothing, secrets, read: Ok }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effects() {
        let cases = [
            ("getTaskInfo", Effect::Reads),
            ("host.getHostTasks", Effect::Reads),
            ("taskFinished", Effect::Reads),
            ("checkUpload", Effect::Reads),
            ("downloadTaskOutput", Effect::Reads),
            ("host.updateHost", Effect::Repeatable),
            ("rawUpload", Effect::Repeatable),
            ("cancelTask", Effect::Repeatable),
            ("buildContainer", Effect::Changes),
            ("CGImport", Effect::Changes),
            ("CGInitBuild", Effect::Changes),
            ("host.openTask", Effect::Changes),
            ("host.closeTask", Effect::Changes),
            ("system.multicall", Effect::Changes),
            ("multiCall", Effect::Changes),
            ("somethingNew", Effect::Changes),
        ];
        for (method, effect) in cases {
            assert_eq!(Effect::of(method), effect, "{method}");
        }
    }

    #[test]
    fn arguments_are_not_shown() {
        let call = MethodCall::raw("login", Arguments::of(["me".into(), "hunter2".into()]));
        assert!(!format!("{call:?}").contains("hunter2"));
    }
}
