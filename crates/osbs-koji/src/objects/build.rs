//! Builds.

use super::task::UnknownKojiState;
use crate::{Value, ValueError};
use osbs_types::Secret;
use std::fmt;

/// States of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "Koji's own names")]
pub enum BuildState {
    Building = 0,
    Complete = 1,
    Deleted = 2,
    Failed = 3,
    Canceled = 4,
}

impl BuildState {
    /// All of them, by number.
    pub const ALL: [Self; 5] = [Self::Building, Self::Complete, Self::Deleted, Self::Failed, Self::Canceled];

    /// The word, in capitals, as Koji has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Building => "BUILDING",
            Self::Complete => "COMPLETE",
            Self::Deleted => "DELETED",
            Self::Failed => "FAILED",
            Self::Canceled => "CANCELED",
        }
    }
}

impl TryFrom<i64> for BuildState {
    type Error = UnknownKojiState;

    fn try_from(number: i64) -> Result<Self, UnknownKojiState> {
        Self::ALL.into_iter().find(|state| *state as i64 == number).ok_or(UnknownKojiState(number))
    }
}

impl fmt::Display for BuildState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a build is named in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildInfo<'a> {
    /// By its number.
    Id(i64),
    /// By NAME-VERSION-RELEASE.
    Nvr(&'a str),
    /// By the three, which works with any characters in them.
    Parts {
        /// Name of the package.
        name: &'a str,
        /// Version.
        version: &'a str,
        /// Release.
        release: &'a str,
    },
}

impl From<i64> for BuildInfo<'_> {
    fn from(id: i64) -> Self {
        Self::Id(id)
    }
}

impl<'a> From<&'a str> for BuildInfo<'a> {
    fn from(nvr: &'a str) -> Self {
        Self::Nvr(nvr)
    }
}

impl From<BuildInfo<'_>> for Value {
    fn from(info: BuildInfo<'_>) -> Self {
        match info {
            BuildInfo::Id(id) => id.into(),
            BuildInfo::Nvr(nvr) => nvr.into(),
            BuildInfo::Parts { name, version, release } => {
                Self::members([("name", name.into()), ("version", version.into()), ("release", release.into())])
            }
        }
    }
}

/// A build.
#[derive(Debug, Clone, PartialEq)]
pub struct Build {
    /// Its number.
    pub id: i64,
    /// Name of the package.
    pub name: String,
    /// Version.
    pub version: String,
    /// Release.
    pub release: String,
    /// NAME-VERSION-RELEASE.
    pub nvr: String,
    /// How far it is.
    pub state: BuildState,
    /// Task that made it.
    pub task_id: Option<i64>,
    /// User who made it.
    pub owner_id: Option<i64>,
    /// The user's name.
    pub owner_name: Option<String>,
    /// Source.
    pub source: Option<String>,
    /// Volume with its files.
    pub volume_name: Option<String>,
    /// Content generator that it was imported by.
    pub cg_name: Option<String>,
    /// What its makers say of it; `nil` where lists leave it out.
    pub extra: Value,
    /// All of it.
    pub raw: Value,
}

impl Build {
    /// From an answer.
    ///
    /// # Errors
    /// It is no build.
    pub fn read(raw: Value) -> Result<Self, ValueError> {
        let state = raw.int_of("state")?.try_into();
        let unknown = |_| ValueError { path: "state".to_owned(), expected: "a build's state", found: "another number" };
        // Lists leave out one of the two names of the number, and of the name.
        let id = raw.int("id").map_or_else(|| raw.int_of("build_id"), Ok)?;
        let name = raw.text("name").or_else(|| raw.text("package_name"));
        let name = name.map_or_else(|| raw.str_of("name").map(str::to_owned), Ok)?;
        let (version, release) = (raw.str_of("version")?.to_owned(), raw.str_of("release")?.to_owned());
        Ok(Self {
            id,
            nvr: raw.text("nvr").unwrap_or_else(|| format!("{name}-{version}-{release}")),
            name,
            version,
            release,
            state: state.map_err(unknown)?,
            task_id: raw.int("task_id"),
            owner_id: raw.int("owner_id"),
            owner_name: raw.text("owner_name"),
            source: raw.text("source"),
            volume_name: raw.text("volume_name"),
            cg_name: raw.text("cg_name"),
            extra: raw.get("extra").clone(),
            raw,
        })
    }

    /// Where its files are below the top URL.
    pub fn folder(&self) -> String {
        let place = format!("packages/{}/{}/{}", self.name, self.version, self.release);
        match self.volume_name.as_deref() {
            None | Some("DEFAULT") => place,
            Some(volume) => format!("vol/{volume}/{place}"),
        }
    }
}

/// A build in a tag.
#[derive(Debug, Clone, PartialEq)]
pub struct TaggedBuild {
    /// The build, without source and extra.
    pub build: Build,
    /// The tag's number.
    pub tag_id: i64,
    /// The tag's name.
    pub tag_name: String,
}

impl TaggedBuild {
    /// From an item of `listTagged`.
    ///
    /// # Errors
    /// It is none.
    pub fn read(raw: Value) -> Result<Self, ValueError> {
        let (tag_id, tag_name) = (raw.int_of("tag_id")?, raw.str_of("tag_name")?.to_owned());
        Ok(Self { build: Build::read(raw)?, tag_id, tag_name })
    }
}

/// A reserved NVR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The build's number.
    pub build_id: i64,
    /// Proves that it is ours; works once.
    pub token: Secret,
}

impl Reservation {
    /// From the answer of `CGInitBuild`.
    ///
    /// # Errors
    /// It is none.
    pub fn read(raw: Value) -> Result<Self, ValueError> {
        Ok(Self { build_id: raw.int_of("build_id")?, token: Secret::new(raw.str_of("token")?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders() {
        let json = r#"{"build_id": 1, "package_name": "c", "version": "2", "release": "3", "state": 1}"#;
        let mut build = Build::read(Value::from_json(&serde_json::from_str(json).unwrap())).unwrap();
        assert_eq!((build.nvr.as_str(), build.folder().as_str()), ("c-2-3", "packages/c/2/3"));
        build.volume_name = Some("DEFAULT".to_owned());
        assert_eq!(build.folder(), "packages/c/2/3");
        build.volume_name = Some("two".to_owned());
        assert_eq!(build.folder(), "vol/two/packages/c/2/3");
        assert!(Build::read(Value::Nil).is_err());
    }
}
