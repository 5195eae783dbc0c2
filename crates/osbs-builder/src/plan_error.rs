//! Why a Dockerfile cannot be built before anything is built: its stages, its parents, the target.

use osbs_types::{ErrorKind, Position};

/// Why the Dockerfile as a whole cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// No FROM at all.
    #[error("there is no FROM instruction")]
    NoFrom,
    /// The target stage does not exist.
    #[error("there is no stage {target:?}{}", did_you_mean(.nearest.as_deref()))]
    NoSuchTarget {
        /// What was asked for.
        target: String,
        /// A stage with a similar name.
        nearest: Option<String>,
        /// The names of all.
        stages: Vec<String>,
    },
    /// A build argument's default before FROM cannot be expanded.
    #[error("{position}: cannot expand {text:?}")]
    Expansion {
        /// Where.
        position: Position,
        /// The word.
        text: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// FROM is empty after expansion.
    #[error("{position}: FROM names no image once variables are expanded: {text:?}")]
    EmptyFrom {
        /// Where.
        position: Position,
        /// As written.
        text: String,
    },
    /// `FROM --platform` wants something the request does not.
    #[error("{position}: --platform={platform} is not a platform")]
    Platform {
        /// Where.
        position: Position,
        /// As expanded.
        platform: String,
    },
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean {name:?}?")).unwrap_or_default()
}

impl PlanError {
    /// Whose fault.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::User
    }

    /// What to do next.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::NoSuchTarget { stages, .. } if stages.is_empty() => {
                Some("no stage has a name: write FROM IMAGE AS NAME, or give its number, from 0".into())
            }
            Self::NoSuchTarget { stages, .. } => Some(format!("the stages are {}", stages.join(", "))),
            Self::EmptyFrom { text, .. } => Some(format!(
                "give the variables of {text} a value: ARG NAME=DEFAULT before the first FROM, or a build argument"
            )),
            Self::Platform { .. } => Some("write it as linux/ARCHITECTURE, for example linux/arm64".into()),
            Self::NoFrom | Self::Expansion { .. } => None,
        }
    }
}
