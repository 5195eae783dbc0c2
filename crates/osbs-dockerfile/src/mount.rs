//! `RUN --mount=...`: the options of each type, with the defaults of the Dockerfile reference.

use crate::expand::ExpandError;
use std::fmt;

/// The text of a `--mount` flag's value, still with variables: resolve it with the environment of the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountText(pub(crate) String);

/// How builds that run at once share a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// All write at once.
    Shared,
    /// Each concurrent writer gets its own.
    Private,
    /// One after the other.
    Locked,
}

/// A mount with its values, variables substituted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mount {
    /// `type=bind`, the default type: a folder or file of the context, a stage or an image.
    Bind {
        /// Stage or image; `None` for the context.
        from: Option<String>,
        /// Path in it, `/` by default.
        source: String,
        /// Path in the container.
        target: String,
        /// Writes are refused (the default), else they are thrown away.
        read_only: bool,
    },
    /// `type=cache`: a folder kept from build to build, never part of the image.
    Cache {
        /// Key; the target by default.
        id: String,
        /// Stage or image whose content the cache starts with.
        from: Option<String>,
        /// Path in it.
        source: String,
        /// Path in the container.
        target: String,
        /// `readonly`.
        read_only: bool,
        /// `sharing=`, default shared.
        sharing: Sharing,
        /// Mode of a new folder, default 0755.
        mode: u32,
        /// Owner of a new folder.
        uid: u32,
        /// Group of a new folder.
        gid: u32,
    },
    /// `type=tmpfs`.
    Tmpfs {
        /// Path in the container.
        target: String,
        /// Upper limit in bytes.
        size: Option<u64>,
    },
    /// `type=secret`: a file or variable for this command only.
    Secret {
        /// Key; the base name of the target by default.
        id: String,
        /// File in the container; `None` when only `env` was asked for.
        target: Option<String>,
        /// Variable to set.
        env: Option<String>,
        /// Without the secret the build fails.
        required: bool,
        /// Mode, default 0400.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// `type=ssh`: an agent's socket.
    Ssh {
        /// Key, `default` by default.
        id: String,
        /// Socket in the container; `None` for one of the builder's choice.
        target: Option<String>,
        /// Without it the build fails.
        required: bool,
        /// Mode, default 0600.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
}

/// What is wrong with a `--mount`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MountError {
    /// A variable in it.
    #[error("a variable in --mount cannot be substituted")]
    Expand(#[source] ExpandError),
}

impl MountText {
    /// As written after `--mount=`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The values; `expand` substitutes variables in one option's value.
    ///
    /// # Errors
    /// An unknown type or option, a value of the wrong form, a missing target, a variable that cannot be substituted.
    pub fn resolve(&self, expand: &dyn Fn(&str) -> Result<String, ExpandError>) -> Result<Mount, MountError> {
        let _ = expand;
        todo!()
    }
}

impl fmt::Display for MountText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
