//! Tags, targets, packages in tags, repositories, events.

use crate::{Value, ValueError};

/// A build target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Tag that is built from.
    pub build_tag: i64,
    /// Its name.
    pub build_tag_name: String,
    /// Tag that builds are tagged with.
    pub dest_tag: i64,
    /// Its name.
    pub dest_tag_name: String,
}

impl Target {
    /// From an answer.
    ///
    /// # Errors
    /// It is none.
    pub fn read(raw: Value) -> Result<Self, ValueError> {
        Ok(Self {
            id: raw.int_of("id")?,
            name: raw.str_of("name")?.to_owned(),
            build_tag: raw.int_of("build_tag")?,
            build_tag_name: raw.str_of("build_tag_name")?.to_owned(),
            dest_tag: raw.int_of("dest_tag")?,
            dest_tag_name: raw.str_of("dest_tag_name")?.to_owned(),
        })
    }
}

/// A tag.
#[derive(Debug, Clone, PartialEq)]
pub struct Tag {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Its own architectures.
    pub arches: Vec<String>,
    /// Nobody may change it.
    pub locked: bool,
    /// All of it.
    pub raw: Value,
}

impl Tag {
    /// From an answer.
    ///
    /// # Errors
    /// It is none.
    pub fn read(raw: Value) -> Result<Self, ValueError> {
        Ok(Self {
            id: raw.int_of("id")?,
            name: raw.str_of("name")?.to_owned(),
            arches: words(&raw, "arches"),
            locked: raw.get("locked").is_true(),
            raw,
        })
    }
}

/// A tag as builds see it: with what it inherits.
#[derive(Debug, Clone, PartialEq)]
pub struct BuildConfig {
    /// The tag's number.
    pub id: i64,
    /// The tag's name.
    pub name: String,
    /// Its architectures, its own or inherited.
    pub arches: Vec<String>,
    /// All of it.
    pub raw: Value,
}

impl BuildConfig {
    /// From an answer.
    ///
    /// # Errors
    /// It is none.
    pub fn read(raw: Value) -> Result<Self, ValueError> {
        let Tag { id, name, arches, raw, .. } = Tag::read(raw)?;
        Ok(Self { id, name, arches, raw })
    }
}

fn words(raw: &Value, name: &str) -> Vec<String> {
    raw.get(name).as_str().unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

/// A package in a tag's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageConfig {
    /// The package's number.
    pub package_id: i64,
    /// The package's name.
    pub package_name: String,
    /// The tag whose list it stands in: this one, or one that is inherited.
    pub tag_name: String,
    /// Its owner in that tag.
    pub owner_name: Option<String>,
    /// Nothing of it may be tagged.
    pub blocked: bool,
}

impl PackageConfig {
    /// From an answer.
    ///
    /// # Errors
    /// It is none.
    pub fn read(raw: Value) -> Result<Self, ValueError> {
        Ok(Self {
            package_id: raw.int_of("package_id")?,
            package_name: raw.str_of("package_name")?.to_owned(),
            tag_name: raw.str_of("tag_name")?.to_owned(),
            owner_name: raw.text("owner_name"),
            blocked: raw.get("blocked").is_true(),
        })
    }
}

/// A yum repository of a tag.
#[derive(Debug, Clone, PartialEq)]
pub struct Repo {
    /// Its number.
    pub id: i64,
    /// All of it.
    pub raw: Value,
}

impl Repo {
    /// From an answer.
    ///
    /// # Errors
    /// It is none.
    pub fn read(raw: Value) -> Result<Self, ValueError> {
        Ok(Self { id: raw.int_of("id")?, raw })
    }
}

/// A moment of the hub's history.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Event {
    /// Its number.
    pub id: i64,
    /// Seconds since the epoch.
    pub ts: f64,
}

impl Event {
    /// From an answer.
    ///
    /// # Errors
    /// It is none.
    pub fn read(raw: Value) -> Result<Self, ValueError> {
        Ok(Self { id: raw.int_of("id")?, ts: raw.double("ts").unwrap_or_default() })
    }
}
