//! A site's own plugin: a program, as an entry of a plugin list or of a site's customisation describes it.
//!
//! Only what is said of it. The reactor starts it (`osbs-reactor`, `site_plugin.rs`); `docs/plugin-author.md` teaches it.

use osbs_types::Phase;
use serde::{Deserialize, Serialize};

/// Most seconds a program may be given.
const MAX_TIMEOUT: u32 = 24 * 3600;

/// The member `program` of a plugin's entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteProgram {
    /// Absolute path of the program, then its arguments.
    pub command: Vec<String>,
    /// Longest time it may take, in seconds.
    #[serde(default = "default_timeout")]
    pub timeout: u32,
    /// User of the machine to run as, by name or number; else whoever runs the build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Form in which it wants the built image; else it gets none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageForm>,
}

/// How a program gets the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageForm {
    /// An OCI image layout.
    Oci,
    /// The image's files; what is changed there is thrown away.
    Tree,
}

fn default_timeout() -> u32 {
    600
}

impl SiteProgram {
    /// Whether it can be run in that phase; else what is wrong.
    ///
    /// # Errors
    /// A text for people, about the member it names.
    pub fn check(&self, phase: Phase) -> Result<(), String> {
        let Some(program) = self.command.first() else { return Err("command: it names no program".to_owned()) };
        if !program.starts_with('/') {
            return Err(format!("command: {program:?} is not an absolute path"));
        }
        if !(1..=MAX_TIMEOUT).contains(&self.timeout) {
            return Err(format!("timeout: {} is not 1 to {MAX_TIMEOUT} seconds", self.timeout));
        }
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '.');
        if let Some(user) = &self.user
            && (user.is_empty() || user.starts_with('-') || !user.chars().all(is_name))
        {
            return Err(format!("user: {user:?} is not the name or the number of a user"));
        }
        match (phase, self.image) {
            (Phase::Buildstep, _) => Err("a program cannot be a builder: buildstep_plugins take none".to_owned()),
            (Phase::Prebuild, Some(_)) => Err("image: there is no image in prebuild_plugins yet".to_owned()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_one(phase: Phase, text: &str, expected: Result<(), &str>) {
        let read: Result<SiteProgram, _> = serde_json::from_str(text);
        let checked = read.map_err(|error| error.to_string()).and_then(|program| program.check(phase));
        match expected {
            Ok(()) => assert_eq!(checked, Ok(()), "{text}"),
            Err(part) => assert!(checked.as_ref().is_err_and(|told| told.contains(part)), "{text}: {checked:?}"),
        }
    }

    #[test]
    fn what_can_be_said_of_a_program() {
        let post = Phase::Postbuild;
        check_one(post, r#"{"command": ["/bin/x", "a"]}"#, Ok(()));
        check_one(post, r#"{"command": ["/x"], "timeout": 5, "user": "nobody", "image": "tree"}"#, Ok(()));
        check_one(post, r#"{"command": []}"#, Err("names no program"));
        check_one(post, r#"{"timeout": 5}"#, Err("missing field `command`"));
        check_one(post, r#"{"command": ["x"]}"#, Err("not an absolute path"));
        check_one(post, r#"{"command": ["/x"], "timeout": 0}"#, Err("not 1 to 86400 seconds"));
        check_one(post, r#"{"command": ["/x"], "user": "-u"}"#, Err("not the name or the number of a user"));
        check_one(post, r#"{"command": ["/x"], "image": "docker"}"#, Err("unknown variant `docker`"));
        check_one(post, r#"{"command": ["/x"], "env": {}}"#, Err("unknown field `env`"));
        check_one(Phase::Buildstep, r#"{"command": ["/x"]}"#, Err("cannot be a builder"));
        check_one(Phase::Prebuild, r#"{"command": ["/x"], "image": "oci"}"#, Err("no image in prebuild_plugins"));
        check_one(Phase::Exit, r#"{"command": ["/x"], "image": "oci"}"#, Ok(()));
    }
}
