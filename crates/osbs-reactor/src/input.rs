//! Input plugins: where the build JSON comes from (`reactor.md` 1.3).
//!
//! The environment comes in as a map; only `path` reads a file. Nothing is run here, and nothing of the environment is
//! shown in errors but names of variables and places in texts.

mod osv3;
mod substitute;

use crate::build_json::BuildJson;
use crate::plugin::Classified;
use osbs_config::UserParams;
use osbs_types::{ErrorKind, Failure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

/// The file of the `path` input when its argument names no other.
pub const DEFAULT_PATH: &str = "/run/share/build.json";
/// The variable of the `env` input when its argument names no other.
pub const DEFAULT_VARIABLE: &str = "BUILD_JSON";

/// What `inside-build` was asked for.
#[derive(Debug, Clone, Default)]
pub struct InputOptions {
    /// `path`, `env`, `osv3` or `auto`.
    pub name: String,
    /// `--input-arg key=value`.
    pub args: BTreeMap<String, String>,
    /// `--substitute key=value`, in order.
    pub substitutions: Vec<(String, String)>,
    /// The environment.
    pub env: BTreeMap<String, String>,
}

/// What an input plugin gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// The instruction.
    pub build_json: BuildJson,
    /// `USER_PARAMS`.
    pub user_params: Option<UserParams>,
    /// `REACTOR_CONFIG`.
    pub reactor_config: Option<String>,
    /// For the log.
    pub notes: Vec<String>,
}

/// No build JSON.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// `auto` found none or several.
    #[error("{} input plugins are usable here ({}): say which by --input", usable.len(), usable.join(", "))]
    Ambiguous {
        /// Those that are.
        usable: Vec<&'static str>,
    },
    /// No such input plugin.
    #[error("there is no input plugin {0:?}: path, env, osv3 or auto")]
    Unknown(String),
    /// An argument that the input plugin does not take.
    #[error("input plugin {plugin} takes no argument {key:?} (allowed: {})", if allowed.is_empty() { "none" } else { *allowed })]
    Argument {
        /// The input plugin.
        plugin: String,
        /// As given.
        key: String,
        /// What it takes.
        allowed: &'static str,
    },
    /// Substitutions are for build JSON that comes as a text.
    #[error("input plugin osv3 makes the build JSON itself: --substitute goes with path and env")]
    NothingToSubstitute,
    /// A variable is not set.
    #[error("environment variable {name} is not set")]
    NoVariable {
        /// Which.
        name: String,
    },
    /// The file cannot be read.
    #[error("the build JSON cannot be read from {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not JSON, or not of the right shape.
    #[error("{what} is wrong")]
    Json {
        /// `the build JSON`, `USER_PARAMS`, ...
        what: String,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A substitution that makes no sense.
    #[error("substitution {key:?}: {problem}")]
    Substitution {
        /// As given.
        key: String,
        /// Why not.
        problem: &'static str,
    },
    /// A site's customisation of the lists cannot be read.
    #[error("{} cannot be read", path.display())]
    Customization {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// `osv3` without any plugin lists.
    #[error("no plugin configuration: neither USER_PARAMS with REACTOR_CONFIG nor ATOMIC_REACTOR_PLUGINS is set")]
    NoPlugins,
    /// An arrangement that is not rendered from user parameters.
    #[error("arrangement_version {0} is not rendered from user parameters")]
    Arrangement(u32),
    /// User parameters, configuration or template cannot be used: with places, as their readers tell it.
    #[error("the plugin lists cannot be made from the user parameters")]
    Render(#[source] Failure),
}

impl InputError {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::File { .. } | Self::Customization { .. } => ErrorKind::Resource,
            Self::Render(failure) => failure.kind,
            _ => ErrorKind::User,
        }
    }
}

impl InputError {
    /// As shown on one screen.
    pub fn into_failure(self) -> Failure {
        match self {
            Self::Render(failure) => failure,
            other => Failure::new(other.kind(), &other),
        }
    }
}

impl Classified for InputError {
    fn kind(&self) -> ErrorKind {
        InputError::kind(self)
    }
}

/// Chooses the input plugin and reads the build JSON.
///
/// # Errors
/// See [`InputError`]. No phase has begun then.
pub fn read_input(options: &InputOptions) -> Result<Input, InputError> {
    let name = if options.name.is_empty() || options.name == "auto" { choose(options)? } else { &options.name };
    check_arguments(name, options)?;
    match name {
        "path" => {
            let path = PathBuf::from(options.args.get("path").map_or(DEFAULT_PATH, String::as_str));
            let text = std::fs::read_to_string(&path).map_err(|source| InputError::File { path, source })?;
            from_text(&text, options)
        }
        "env" => {
            let name = options.args.get("env_name").map_or(DEFAULT_VARIABLE, String::as_str);
            from_text(variable(&options.env, name)?, options)
        }
        "osv3" => osv3::read(&options.env),
        other => Err(InputError::Unknown(other.to_owned())),
    }
}

fn check_arguments(name: &str, options: &InputOptions) -> Result<(), InputError> {
    let allowed = match name {
        "path" => "path",
        "env" => "env_name",
        _ => "",
    };
    if let Some(key) = options.args.keys().find(|key| *key != allowed) {
        return Err(InputError::Argument { plugin: name.to_owned(), key: key.clone(), allowed });
    }
    if name == "osv3" && !options.substitutions.is_empty() {
        return Err(InputError::NothingToSubstitute);
    }
    Ok(())
}

fn choose(options: &InputOptions) -> Result<&'static str, InputError> {
    let set = |names: &[&str]| names.iter().all(|name| options.env.contains_key(*name));
    let usable: Vec<_> = [
        ("path", std::path::Path::new(DEFAULT_PATH).is_file()),
        ("env", set(&[DEFAULT_VARIABLE])),
        ("osv3", set(&["BUILD", "SOURCE_URI", "OUTPUT_IMAGE"])),
    ]
    .into_iter()
    .filter_map(|(name, usable)| usable.then_some(name))
    .collect();
    match usable[..] {
        [only] => Ok(only),
        _ => Err(InputError::Ambiguous { usable }),
    }
}

fn variable<'a>(env: &'a BTreeMap<String, String>, name: &str) -> Result<&'a str, InputError> {
    env.get(name).map(String::as_str).ok_or_else(|| InputError::NoVariable { name: name.to_owned() })
}

/// `USER_PARAMS`, when it is set.
fn user_params(env: &BTreeMap<String, String>) -> Result<Option<UserParams>, InputError> {
    let read = |text: &String| UserParams::parse(text, "USER_PARAMS");
    env.get("USER_PARAMS").map(read).transpose().map_err(|error| InputError::Render(error.to_failure()))
}

fn from_text(text: &str, options: &InputOptions) -> Result<Input, InputError> {
    let json = |source| InputError::Json { what: "the build JSON".to_owned(), source };
    let mut document: serde_json::Map<String, Value> = serde_json::from_str(text).map_err(json)?;
    let mut notes = substitute::apply(&mut document, &options.substitutions)?;
    let build_json: BuildJson = serde_json::from_value(Value::Object(document)).map_err(json)?;
    notes.extend(build_json.unknown.keys().map(|key| format!("unknown key {key:?} in the build JSON")));
    let user_params = user_params(&options.env)?;
    Ok(Input { build_json, user_params, reactor_config: options.env.get("REACTOR_CONFIG").cloned(), notes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn options(name: &str, env: &[(&str, &str)]) -> InputOptions {
        let env = env.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        InputOptions { name: name.to_owned(), env, ..InputOptions::default() }
    }

    const BUILD_JSON: &str = r#"{"source": {"provider": "git", "uri": "https://x/y.git"}, "image": "a/b:c",
        "prebuild_plugins": [{"name": "bump_release", "args": {"append": "no"}}], "who": 1}"#;
    const OSV3: [(&str, &str); 4] = [
        ("BUILD", r#"{"metadata": {"selfLink": "/self"}}"#),
        ("SOURCE_URI", "https://x/y.git"),
        ("OUTPUT_IMAGE", "a/b:c"),
        ("ATOMIC_REACTOR_PLUGINS", r#"{"exit_plugins": [{"name": "x", "required": false}]}"#),
    ];

    #[track_caller]
    fn check_chosen(env: &[(&str, &str)], expected: Result<&str, &[&str]>) {
        match (choose(&options("auto", env)), expected) {
            (Ok(name), Ok(wanted)) => assert_eq!(name, wanted),
            (Err(InputError::Ambiguous { usable }), Err(wanted)) => assert_eq!(usable, wanted),
            (other, _) => panic!("{other:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn exactly_one_input_must_be_usable() {
        check_chosen(&[], Err(&[]));
        check_chosen(&[("BUILD_JSON", "{}")], Ok("env"));
        check_chosen(&OSV3, Ok("osv3"));
        check_chosen(&OSV3[..2], Err(&[]));
        check_chosen(&[OSV3[0], OSV3[1], OSV3[2], ("BUILD_JSON", "{}")], Err(&["env", "osv3"]));
    }

    #[test]
    fn env_with_substitutions() {
        let mut options = options("env", &[("BUILD_JSON", BUILD_JSON)]);
        options.substitutions = vec![("prebuild_plugins.bump_release.append".to_owned(), "yes".to_owned())];
        let input = read_input(&options).unwrap();
        assert_eq!(input.build_json.plugins.prebuild_plugins[0].args["append"], "yes");
        assert_eq!(input.notes, ["unknown key \"who\" in the build JSON"]);
    }

    #[test]
    fn osv3_takes_its_lists_from_the_environment() {
        let input = read_input(&options("osv3", &OSV3)).unwrap();
        assert_eq!(input.build_json.openshift_build_selflink.as_deref(), Some("/self"));
        assert!(!input.build_json.plugins.exit_plugins[0].required);
        assert_eq!(input.build_json.source.uri, "https://x/y.git");
        assert!(matches!(read_input(&options("osv3", &OSV3[..3])), Err(InputError::NoPlugins)));
    }

    /// The whole text of the failure, and its kind.
    #[track_caller]
    fn check_error(options: &InputOptions, kind: ErrorKind, expected: &str) {
        let failure = read_input(options).expect_err(expected).into_failure();
        let text = failure.to_string();
        assert!(failure.kind == kind && text.starts_with(expected), "{kind:?}: {text:?}, expected {expected:?}");
    }

    #[test]
    fn every_error_has_its_text() {
        let user = ErrorKind::User;
        for (name, env, expected) in [
            ("smoke", &[][..], "there is no input plugin \"smoke\": path, env, osv3 or auto"),
            ("auto", &[], "0 input plugins are usable here (): say which by --input"),
            ("env", &[], "environment variable BUILD_JSON is not set"),
            ("env", &[("BUILD_JSON", "[]")], "the build JSON is wrong: invalid type: sequence, expected a map"),
            ("env", &[("BUILD_JSON", "{\"source\": ")], "the build JSON is wrong: EOF while parsing a value at line 1"),
            ("env", &[("BUILD_JSON", "{}")], "the build JSON is wrong: missing field `source`"),
            ("env", &[("BUILD_JSON", BUILD_JSON), ("USER_PARAMS", "[]")], "USER_PARAMS"),
            ("osv3", &[], "environment variable BUILD is not set"),
            ("osv3", &[("BUILD", "{")], "BUILD is wrong: EOF"),
            ("osv3", &OSV3[..1], "environment variable SOURCE_URI is not set"),
            ("osv3", &OSV3[..2], "environment variable OUTPUT_IMAGE is not set"),
            ("osv3", &OSV3[..3], "no plugin configuration: neither USER_PARAMS with REACTOR_CONFIG"),
        ] {
            check_error(&options(name, env), user, expected);
        }
        let with_argument = |name: &str, key: &str, value: &str| {
            let mut options = options(name, &[]);
            options.args.insert(key.to_owned(), value.to_owned());
            options
        };
        check_error(
            &with_argument("path", "path", "/no/such"),
            ErrorKind::Resource,
            "the build JSON cannot be read from /no/such: No such file",
        );
        check_error(&with_argument("env", "env_name", "X"), user, "environment variable X is not set");
        check_error(
            &with_argument("env", "path", "X"),
            user,
            "input plugin env takes no argument \"path\" (allowed: env_name)",
        );
        check_error(
            &with_argument("osv3", "path", "X"),
            user,
            "input plugin osv3 takes no argument \"path\" (allowed: none)",
        );
        let substitute = |name: &str, key: &str| {
            let mut options = options(name, &[OSV3[0], OSV3[1], OSV3[2], OSV3[3], ("BUILD_JSON", BUILD_JSON)]);
            options.substitutions.push((key.to_owned(), "x".to_owned()));
            options
        };
        check_error(&substitute("osv3", "image"), user, "input plugin osv3 makes the build JSON itself");
        check_error(
            &substitute("env", "exit_plugins.x"),
            user,
            "substitution \"exit_plugins.x\": a plugin's argument is",
        );
        check_error(
            &substitute("env", "source"),
            user,
            "the build JSON is wrong: invalid type: string \"x\", expected struct",
        );
    }

    #[test]
    fn user_parameters_come_along_with_every_input() {
        let params = r#"{"git_uri": "https://x/y.git", "user": "me", "build_type": "worker", "git_ref": "a"}"#;
        let input = read_input(&options("env", &[("BUILD_JSON", BUILD_JSON), ("USER_PARAMS", params)])).unwrap();
        assert_eq!(input.user_params.unwrap().user, "me");
    }

    #[test]
    fn errors_name_variable_file_and_place() {
        let error = read_input(&options("env", &[])).unwrap_err();
        assert_eq!(error.to_string(), "environment variable BUILD_JSON is not set");
        let error = read_input(&options("env", &[("BUILD_JSON", "[]")])).unwrap_err();
        assert!(matches!(error, InputError::Json { .. }), "{error:?}");
        assert!(matches!(read_input(&options("smoke", &[])), Err(InputError::Unknown(_))));
        let mut path = options("path", &[]);
        path.args.insert("path".to_owned(), "/nonexistent/x".to_owned());
        assert_eq!(read_input(&path).unwrap_err().kind(), ErrorKind::Resource);
    }

    #[test]
    fn a_bad_list_is_refused_before_anything_runs() {
        let lists = json!({"exit_plugins": [{"args": {}}]}).to_string();
        let env = [OSV3[0], OSV3[1], OSV3[2], ("ATOMIC_REACTOR_PLUGINS", lists.as_str())];
        let error = read_input(&options("osv3", &env)).unwrap_err();
        assert_eq!(error.to_string(), "ATOMIC_REACTOR_PLUGINS is wrong");
    }
}
