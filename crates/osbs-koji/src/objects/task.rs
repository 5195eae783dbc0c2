//! Tasks, and what they leave.

use crate::{Fault, Value, ValueError, xmlrpc};
use std::fmt;

/// A number that is no state that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no state of Koji")]
pub struct UnknownKojiState(pub i64);

/// States of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "Koji's own names")]
pub enum TaskState {
    Free = 0,
    Open = 1,
    Closed = 2,
    Canceled = 3,
    Assigned = 4,
    Failed = 5,
}

impl TaskState {
    /// All of them, by number.
    pub const ALL: [Self; 6] = [Self::Free, Self::Open, Self::Closed, Self::Canceled, Self::Assigned, Self::Failed];

    /// Whether nothing more will happen.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Closed | Self::Canceled | Self::Failed)
    }

    /// The word, in capitals, as Koji has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Free => "FREE",
            Self::Open => "OPEN",
            Self::Closed => "CLOSED",
            Self::Canceled => "CANCELED",
            Self::Assigned => "ASSIGNED",
            Self::Failed => "FAILED",
        }
    }
}

impl TryFrom<i64> for TaskState {
    type Error = UnknownKojiState;

    fn try_from(number: i64) -> Result<Self, UnknownKojiState> {
        Self::ALL.into_iter().find(|state| *state as i64 == number).ok_or(UnknownKojiState(number))
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A task.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Its number.
    pub id: i64,
    /// What it is to do.
    pub method: String,
    /// How far it is.
    pub state: TaskState,
    /// User who started it.
    pub owner: Option<i64>,
    /// Host that has it.
    pub host_id: Option<i64>,
    /// Task that started it.
    pub parent: Option<i64>,
    /// Name below its parent.
    pub label: Option<String>,
    /// Channel.
    pub channel_id: Option<i64>,
    /// Architecture, or `noarch`.
    pub arch: String,
    /// Lower is earlier.
    pub priority: Option<i64>,
    /// Its part of a host's capacity.
    pub weight: Option<f64>,
    /// Seconds since the epoch.
    pub create_ts: Option<f64>,
    /// Seconds since the epoch.
    pub start_ts: Option<f64>,
    /// Seconds since the epoch.
    pub completion_ts: Option<f64>,
    /// All of it.
    pub raw: Value,
}

impl Task {
    /// From an answer.
    ///
    /// # Errors
    /// It is no task.
    pub fn read(raw: Value) -> Result<Self, ValueError> {
        let state = raw.int_of("state")?.try_into();
        let unknown = |_| ValueError { path: "state".to_owned(), expected: "a task's state", found: "another number" };
        Ok(Self {
            id: raw.int_of("id")?,
            method: raw.str_of("method")?.to_owned(),
            state: state.map_err(unknown)?,
            owner: raw.int("owner"),
            host_id: raw.int("host_id"),
            parent: raw.int("parent"),
            label: raw.text("label"),
            channel_id: raw.int("channel_id"),
            arch: raw.text("arch").unwrap_or_default(),
            priority: raw.int("priority"),
            weight: raw.double("weight"),
            create_ts: raw.double("create_ts"),
            start_ts: raw.double("start_ts"),
            completion_ts: raw.double("completion_ts"),
            raw,
        })
    }

    /// Its arguments, if they were asked for: decoded, or the document that `host.openTask` hands out.
    pub fn request(&self) -> Option<Vec<Value>> {
        match self.raw.get("request") {
            Value::Array(params) => Some(params.clone()),
            Value::String(document) => xmlrpc::decode_call(document.as_bytes()).ok().map(|call| call.params),
            _ => None,
        }
    }

    /// Its result, if that was asked for: a value, or the fault of a task that failed.
    pub fn result(&self) -> Option<Result<Value, Fault>> {
        match self.raw.get("result") {
            Value::Nil => None,
            Value::String(document) => xmlrpc::decode_response(document.as_bytes()).ok(),
            Value::Array(values) => values.first().cloned().map(Ok),
            other => Some(value_or_fault(other.clone())),
        }
    }
}

/// A struct with a fault's members is one.
pub(crate) fn value_or_fault(value: Value) -> Result<Value, Fault> {
    match (value.int("faultCode"), value.text("faultString")) {
        (Some(code), Some(text)) => Err(Fault { code, text }),
        _ => Ok(value),
    }
}

/// A file that a task has left.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputFile {
    /// Its name: a path below the task's folder.
    pub name: String,
    /// The volumes it is on.
    pub volumes: Vec<String>,
    /// Bytes, if that was asked for.
    pub size: Option<u64>,
}

impl OutputFile {
    /// From the answer of `listTaskOutput`, in the order of the hub: a list of names, or a struct by name with volumes, or with
    /// what `stat` says, whose size is a text.
    ///
    /// # Errors
    /// It is none.
    pub fn read_list(answer: Value) -> Result<Vec<Self>, ValueError> {
        let bare = |name: String| Self { name, volumes: Vec::new(), size: None };
        match answer {
            Value::Array(_) => answer.into_list(Value::into_text).map(|names| names.into_iter().map(bare).collect()),
            Value::Struct(files) => Ok(files.into_iter().map(|(name, about)| Self::of(name, &about)).collect()),
            other => Err(other.is_not("an array or a struct")),
        }
    }

    fn of(name: String, about: &Value) -> Self {
        let size = |stat: &Value| match stat.get("st_size") {
            Value::String(text) => text.parse().ok(),
            Value::Int(number) => u64::try_from(*number).ok(),
            _ => None,
        };
        match about {
            Value::Array(volumes) => {
                let volumes = volumes.iter().filter_map(|volume| volume.as_str().map(str::to_owned)).collect();
                Self { name, volumes, size: None }
            }
            // With both: by volume.
            Value::Struct(by_volume) if by_volume.values().any(|stat| stat.as_struct().is_some()) => Self {
                name,
                volumes: by_volume.keys().cloned().collect(),
                size: by_volume.values().next().and_then(size),
            },
            stat => Self { name, volumes: Vec::new(), size: size(stat) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states() {
        for (number, state) in TaskState::ALL.into_iter().enumerate() {
            assert_eq!(TaskState::try_from(number as i64), Ok(state));
        }
        assert_eq!(TaskState::try_from(6), Err(UnknownKojiState(6)));
        let finished = TaskState::ALL.into_iter().filter(|state| state.is_finished()).map(TaskState::as_str);
        assert_eq!(finished.collect::<Vec<_>>(), ["CLOSED", "CANCELED", "FAILED"]);
    }

    #[track_caller]
    fn check_output(json: &str, expected: &[(&str, &[&str], Option<u64>)]) {
        let files = OutputFile::read_list(Value::from_json(&serde_json::from_str(json).unwrap())).unwrap();
        let found: Vec<(String, Vec<String>, Option<u64>)> =
            files.into_iter().map(|file| (file.name, file.volumes, file.size)).collect();
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let expected: Vec<_> =
            expected.iter().map(|(name, volumes, size)| ((*name).to_owned(), owned(volumes), *size)).collect();
        assert_eq!(found, expected, "{json}");
    }

    #[test]
    fn outputs() {
        check_output("[]", &[]);
        check_output("{}", &[]);
        check_output(r#"["a.log", "b/c.json"]"#, &[("a.log", &[], None), ("b/c.json", &[], None)]);
        check_output(r#"{"a.log": ["DEFAULT", "two"]}"#, &[("a.log", &["DEFAULT", "two"], None)]);
        check_output(r#"{"a.log": {"st_size": "18", "st_mtime": 1.5}}"#, &[("a.log", &[], Some(18))]);
        check_output(r#"{"a.log": {"DEFAULT": {"st_size": "18"}}}"#, &[("a.log", &["DEFAULT"], Some(18))]);
        assert!(OutputFile::read_list(Value::Int(1)).is_err());
    }
}
