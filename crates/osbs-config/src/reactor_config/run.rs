//! `run` of `config.yaml`: how the site contains the RUN instructions of every worker build. A key of ours.

use crate::fields::Fields;
use crate::problem::Severity;

/// When RUN gets a user namespace of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RunUserNamespace {
    /// Where the machine can.
    #[default]
    Auto,
    /// A build fails where it cannot be.
    Always,
    /// RUN shares that of the build: device nodes can be made then.
    Never,
}

/// What `run` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunConfig {
    /// `user_namespace`: `auto`, `always` or `never`; YAML takes `off` for a truth value.
    pub user_namespace: RunUserNamespace,
    /// `network: none`: RUN sees a loopback device only.
    pub without_network: bool,
    /// `pids`: most processes and threads of one RUN.
    pub pids: Option<u32>,
    /// `timeout`: longest time of one RUN, in seconds.
    pub timeout: Option<u32>,
}

pub(super) fn run(fields: Fields<'_>) -> RunConfig {
    const NAMESPACES: &[(&str, RunUserNamespace)] =
        &[("auto", RunUserNamespace::Auto), ("always", RunUserNamespace::Always), ("never", RunUserNamespace::Never)];
    let positive = |key| fields.whole_number(key, 1).and_then(|number| u32::try_from(number).ok());
    let config = RunConfig {
        user_namespace: fields.choice("user_namespace", NAMESPACES).unwrap_or_default(),
        without_network: fields.choice("network", &[("host", false), ("none", true)]).unwrap_or(false),
        pids: positive("pids"),
        timeout: positive("timeout"),
    };
    fields.finish(Severity::Error);
    config
}
