//! What a task asks for: its arguments, checked before anything is done.
//!
//! Must not ask anybody: a request is good or bad by itself.

use crate::TaskError;
use osbs_koji::{Arguments, Struct, Value};

/// Options that newer hubs and clients know and that have no meaning here: told, not dropped.
const WITHOUT_MEANING: [&str; 6] = [
    "dependency_replacements",
    "skip_build",
    "triggered_after_koji_task",
    "userdata",
    "operator_csv_modifications_url",
    "module",
];

/// A `buildContainer` task: `[src, target, opts]` (client-and-koji 4.3).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskRequest {
    /// URL of the repository.
    pub src: String,
    /// Name of the target.
    pub target: String,
    /// A build that is not kept.
    pub scratch: bool,
    /// A build that moves no floating tags.
    pub isolated: bool,
    /// An epoch was asked for: only administrators may.
    pub has_epoch: bool,
    /// URLs of package repositories.
    pub yum_repourls: Vec<String>,
    /// The branch.
    pub git_branch: Option<String>,
    /// Arches instead of the tag's.
    pub arch_override: Option<String>,
    /// Release instead of the Dockerfile's or the next one.
    pub release: Option<String>,
    /// NVR of the build that the parent image comes from.
    pub koji_parent_build: Option<String>,
    /// A Flatpak.
    pub flatpak: bool,
    /// ODCS signing intent.
    pub signing_intent: Option<String>,
    /// ODCS composes.
    pub compose_ids: Vec<i64>,
}

impl TaskRequest {
    /// Reads a task's request, as `getTaskInfo` and `host.openTask` give it.
    ///
    /// # Errors
    /// Missing or unknown arguments and options, wrong types, or options that exclude each other.
    pub fn read(request: &[Value]) -> Result<Self, TaskError> {
        let arguments = Arguments::from_params(request.to_vec());
        let argument = |at: usize, name: &str| {
            let found = arguments.positional.get(at).or_else(|| arguments.named.get(name));
            found.unwrap_or(&Value::Nil).clone()
        };
        if arguments.positional.len() > 3 {
            return Err(bad(format!("buildContainer takes src, target and opts, not {} arguments", request.len())));
        }
        let opts = match argument(2, "opts") {
            Value::Struct(opts) => opts,
            Value::Nil => Struct::new(),
            other => return Err(bad(format!("opts is {}, not a struct", other.type_name()))),
        };
        let mut read = Self { src: text(&argument(0, "src"), "src")?, ..Self::default() };
        // Tasks of early clients hold the whole target.
        read.target = match argument(1, "target") {
            Value::Struct(target) => text(target.get("name").unwrap_or(&Value::Nil), "target.name")?,
            target => text(&target, "target")?,
        };
        // rpkg names every option that it has: nil, or false, where nobody asked for it.
        for (name, value) in opts.iter().filter(|(_, value)| !matches!(value, Value::Nil | Value::Bool(false))) {
            read.option(name, value)?;
        }
        read.check()?;
        Ok(read)
    }

    fn option(&mut self, name: &str, value: &Value) -> Result<(), TaskError> {
        match name {
            "scratch" => self.scratch = flag(value, name)?,
            "isolated" => self.isolated = flag(value, name)?,
            "flatpak" => self.flatpak = flag(value, name)?,
            "epoch" => self.has_epoch = value.is_true() && value.as_str() != Some("0"),
            "git_branch" => self.git_branch = Some(text(value, name)?),
            "arch_override" => self.arch_override = Some(text(value, name)?),
            "release" => self.release = Some(text(value, name)?),
            "koji_parent_build" => self.koji_parent_build = Some(text(value, name)?),
            "signing_intent" => self.signing_intent = Some(text(value, name)?),
            "yum_repourls" => {
                self.yum_repourls = items(value, name)?.iter().map(|url| text(url, name)).collect::<Result<_, _>>()?;
            }
            "compose_ids" => {
                let id = |id: &Value| id.as_int().ok_or_else(|| bad(format!("compose_ids holds {}", id.type_name())));
                self.compose_ids = items(value, name)?.iter().map(id).collect::<Result<_, _>>()?;
            }
            // Where the commits of an autorebuild went to.
            "push_url" | "git_push_url" => {}
            name if WITHOUT_MEANING.contains(&name) => {
                return Err(bad(format!("the option {name} has no meaning for this builder: leave it out")));
            }
            name => return Err(bad(format!("the option {name} is not known"))),
        }
        Ok(())
    }

    fn check(&self) -> Result<(), TaskError> {
        let exclusive = [
            (self.scratch && self.isolated, "scratch and isolated"),
            (self.signing_intent.is_some() && !self.compose_ids.is_empty(), "signing_intent and compose_ids"),
            (!self.compose_ids.is_empty() && !self.yum_repourls.is_empty(), "compose_ids and yum_repourls"),
        ];
        match exclusive.iter().find(|(both, _)| *both) {
            Some((_, names)) => Err(bad(format!("{names} exclude each other"))),
            None => Ok(()),
        }
    }
}

fn bad(problem: String) -> TaskError {
    TaskError::Request { problem }
}

fn text(value: &Value, name: &str) -> Result<String, TaskError> {
    match value.as_str() {
        Some("") => Err(bad(format!("{name} is empty"))),
        Some(text) => Ok(text.to_owned()),
        None => Err(bad(format!("{name} is {}, not a string", value.type_name()))),
    }
}

fn flag(value: &Value, name: &str) -> Result<bool, TaskError> {
    match value {
        Value::Bool(_) | Value::Int(0 | 1) => Ok(value.is_true()),
        _ => Err(bad(format!("{name} is {}, not a boolean", value.type_name()))),
    }
}

fn items<'a>(value: &'a Value, name: &str) -> Result<&'a [Value], TaskError> {
    value.as_array().ok_or_else(|| bad(format!("{name} is {}, not an array", value.type_name())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(opts: Value) -> Vec<Value> {
        vec!["git://h/web#a".into(), "f43".into(), opts]
    }

    #[test]
    fn good_ones() {
        let bare = TaskRequest { src: "git://h/web#a".into(), target: "f43".into(), ..TaskRequest::default() };
        assert_eq!(TaskRequest::read(&request(Value::Nil)), Ok(bare.clone()));
        assert_eq!(TaskRequest::read(&request(Value::Nil)[..2]), Ok(bare.clone()));
        let target = Value::members([("name", "f43".into()), ("id", 3.into())]);
        assert_eq!(TaskRequest::read(&["git://h/web#a".into(), target]), Ok(bare.clone()));
        let opts = Value::members([
            ("scratch", true.into()),
            ("git_branch", "f43".into()),
            ("yum_repourls", vec![Value::from("http://h/a.repo")].into()),
            ("arch_override", "x86_64 aarch64".into()),
            ("epoch", Value::Nil),
            ("release", Value::Nil),
            ("skip_build", false.into()),
            ("push_url", "ssh://h/web".into()),
        ]);
        let expected = TaskRequest {
            scratch: true,
            git_branch: Some("f43".into()),
            yum_repourls: vec!["http://h/a.repo".into()],
            arch_override: Some("x86_64 aarch64".into()),
            ..bare
        };
        assert_eq!(TaskRequest::read(&request(opts)), Ok(expected));
        assert!(TaskRequest::read(&request(Value::members([("epoch", 1.into())]))).unwrap().has_epoch);
    }

    #[test]
    fn bad_ones() {
        let option = |name: &str, value: Value| request(Value::members([(name, value)]));
        let ids = || Value::from(vec![Value::from(1)]);
        for (request, problem) in [
            (vec![], "src is nil"),
            (vec!["git://h/web#a".into()], "target is nil"),
            (vec!["".into(), "f43".into()], "src is empty"),
            (request("opts".into()), "opts is a string"),
            ([request(Value::Nil), vec![1.into()]].concat(), "not 4 arguments"),
            (option("scratch", "yes".into()), "scratch is a string"),
            (option("git_branch", 1.into()), "git_branch is an integer"),
            (option("yum_repourls", "http://h".into()), "not an array"),
            (option("compose_ids", vec![Value::from("1")].into()), "compose_ids holds a string"),
            (option("userdata", Value::members([])), "no meaning"),
            (option("scrach", true.into()), "scrach is not known"),
            (request(Value::members([("scratch", true.into()), ("isolated", true.into())])), "exclude each other"),
            (
                request(Value::members([("signing_intent", "release".into()), ("compose_ids", ids())])),
                "exclude each other",
            ),
        ] {
            let error = TaskRequest::read(&request).expect_err(problem);
            assert!(error.to_string().contains(problem), "{error}");
            assert_eq!(error.to_fault().code, 1005);
        }
    }
}
