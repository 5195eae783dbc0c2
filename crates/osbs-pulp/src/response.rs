//! What the answers of Pulp mean, as pure functions. Every byte of them is hostile.

use osbs_types::Digest;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;
use std::fmt;

/// Largest answer read. A page of a hundred tags or a finished task takes some dozens of KiB.
pub(crate) const MAX_ANSWER: u64 = 4 << 20;
/// Longest reference used.
const MAX_HREF: usize = 512;
/// Longest text of Pulp's that is shown.
const MAX_SHOWN: usize = 400;

/// A reference to an object, as Pulp gives it: `/pulp/api/v3/tasks/UUID/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Href(String);

impl Href {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number of a repository version; `None` for anything else.
    pub fn version_number(&self) -> Option<u64> {
        self.0.trim_end_matches('/').rsplit_once("/versions/")?.1.parse().ok()
    }

    /// The repository of a repository version.
    pub fn repository(&self) -> Option<Self> {
        let (repository, _) = self.0.trim_end_matches('/').rsplit_once("/versions/")?;
        Some(Self(format!("{repository}/")))
    }
}

impl fmt::Display for Href {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Href {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // UUIDs, names of plugins, numbers: nothing that could leave the API or change the query.
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.');
        let good = text.starts_with('/')
            && text.ends_with('/')
            && text.len() <= MAX_HREF
            && text.chars().all(known)
            && !text.contains("//")
            && !text.split('/').any(|part| matches!(part, "." | ".."));
        if good { Ok(Self(text)) } else { Err(de::Error::custom("not a reference to an object")) }
    }
}

/// One page of a list.
#[derive(Debug, Deserialize)]
pub(crate) struct Page<T> {
    pub count: u64,
    pub results: Vec<T>,
}

/// What is common to all objects.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Object {
    pub pulp_href: Href,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct RepositoryAnswer {
    pub pulp_href: Href,
    pub latest_version_href: Href,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct DistributionAnswer {
    pub pulp_href: Href,
    pub base_path: String,
    #[serde(default)]
    pub repository_version: Option<Href>,
    #[serde(default)]
    pub publication: Option<Href>,
    /// Where clients pull: `HOST/base_path`. Only of container distributions.
    #[serde(default)]
    pub registry_path: Option<String>,
    /// Where clients download. Only of others.
    #[serde(default)]
    pub base_url: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct TagAnswer {
    pub name: String,
    pub tagged_manifest: Href,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ManifestAnswer {
    pub digest: Digest,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct FileAnswer {
    pub pulp_href: Href,
    pub relative_path: String,
    /// Hex.
    #[serde(default)]
    pub sha256: Option<String>,
    #[serde(default)]
    pub artifact: Option<Href>,
}

/// What starts a task answers with it.
#[derive(Debug, Deserialize)]
pub(crate) struct Started {
    pub task: Href,
}

/// `status/`, as far as it tells who works.
#[derive(Debug, Deserialize)]
pub(crate) struct StatusAnswer {
    #[serde(default)]
    pub online_workers: Vec<de::IgnoredAny>,
    #[serde(default)]
    pub online_content_apps: Vec<de::IgnoredAny>,
}

/// Where a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    /// No worker has it yet.
    Waiting,
    /// At work.
    Running,
    /// Being cancelled.
    Canceling,
    /// Done.
    Completed,
    /// Failed.
    Failed,
    /// Cancelled.
    Canceled,
    /// Never begun.
    Skipped,
}

impl TaskState {
    /// The word, as Pulp has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Canceling => "canceling",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Skipped => "skipped",
        }
    }

    /// Nothing more will come.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Canceled | Self::Skipped)
    }
}

/// One line of a task's progress.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TaskProgress {
    /// What is done.
    #[serde(default)]
    pub message: String,
    /// How often it was done.
    #[serde(default)]
    pub done: Option<u64>,
    /// Of how often, if Pulp knows.
    #[serde(default)]
    pub total: Option<u64>,
}

/// A task.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Task {
    pub state: TaskState,
    #[serde(default)]
    pub error: Option<Value>,
    #[serde(default)]
    pub progress_reports: Vec<TaskProgress>,
    /// References, and while it runs `<unavailable>` for what is not there yet.
    #[serde(default)]
    pub created_resources: Vec<Value>,
}

impl Task {
    /// The first thing it made of that kind, by a part of its reference.
    pub(crate) fn created(&self, part: &str) -> Option<Href> {
        let mut made =
            self.created_resources.iter().filter_map(|made| serde_json::from_value::<Href>(made.clone()).ok());
        made.find(|href| href.as_str().contains(part))
    }

    /// Why it failed, on one line.
    pub(crate) fn reason(&self) -> String {
        let words = |name: &str| self.error.as_ref()?.get(name)?.as_str().filter(|text| !text.is_empty());
        let told = words("description").or_else(|| words("reason")).unwrap_or("it gives no reason");
        one_line(told)
    }

    /// What it is at, on one line.
    pub(crate) fn progress(&self) -> String {
        let reports = self.progress_reports.iter().filter(|report| report.done.is_some_and(|done| done > 0));
        let shown: Vec<String> = reports
            .take(8)
            .map(|report| {
                let total = report.total.map(|total| format!(" of {total}")).unwrap_or_default();
                format!("{} {}{total}", report.message, report.done.unwrap_or_default())
            })
            .collect();
        one_line(&shown.join(", "))
    }
}

/// Text of Pulp's for an error or the log: printable, on one line, not endless.
pub(crate) fn one_line(text: &str) -> String {
    let printable: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_SHOWN * 4).collect();
    let words: Vec<&str> = printable.split_whitespace().collect();
    words.join(" ").chars().take(MAX_SHOWN).collect()
}

/// What an error page says, on one line: `name: this field must be unique; ...`, or the plain text; of HTML nothing.
pub(crate) fn error_detail(page: &str) -> String {
    let text = match serde_json::from_str::<Value>(page) {
        Ok(Value::Object(members)) => {
            let parts = members.iter().map(|(name, value)| {
                let told = told(value);
                if matches!(name.as_str(), "detail" | "non_field_errors") { told } else { format!("{name}: {told}") }
            });
            parts.collect::<Vec<_>>().join("; ")
        }
        Ok(value) => told(&value),
        Err(_) if page.trim_start().starts_with('<') => String::new(),
        Err(_) => page.to_owned(),
    };
    one_line(&text)
}

fn told(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(told).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn references_stay_what_they_are() {
        let href = |text: &str| serde_json::from_value::<Href>(json!(text));
        let version = href("/pulp/api/v3/repositories/container/container/01a2/versions/12/").unwrap();
        assert_eq!(version.version_number(), Some(12));
        assert_eq!(version.repository().unwrap().as_str(), "/pulp/api/v3/repositories/container/container/01a2/");
        assert_eq!(href("/pulp/api/v3/tasks/1/").unwrap().version_number(), None);
        let long = format!("/{}/", "a".repeat(MAX_HREF));
        for bad in
            ["", "tasks/1/", "//evil.io/", "/a/../b/", "/a", "/a?b/", "/a b/", "/a/%2e%2e/", "http://evil.io/", &long]
        {
            assert!(href(bad).is_err(), "{bad}");
        }
        assert!(serde_json::from_value::<Href>(json!(7)).is_err());
    }

    #[test]
    fn tasks() {
        let task: Task = serde_json::from_value(json!({
            "state": "failed", "error": {"description": "404,\n message='Not Found'", "traceback": "long"},
            "progress_reports": [{"message": "Downloading Artifacts", "done": 3, "total": null, "code": "x"},
                {"message": "Processing Manifests", "done": 1, "total": 2}, {"message": "nothing yet", "done": 0}],
            "created_resources": [null, "<unavailable>", "/pulp/api/v3/r/1/versions/1/"], "unknown": {},
        }))
        .unwrap();
        assert!(task.state.is_final());
        assert_eq!(task.reason(), "404, message='Not Found'");
        assert_eq!(task.progress(), "Downloading Artifacts 3, Processing Manifests 1 of 2");
        assert_eq!(task.created("/versions/").as_ref().map(Href::as_str), Some("/pulp/api/v3/r/1/versions/1/"));
        assert_eq!(task.created("/publications/"), None);
        let silent: Task = serde_json::from_value(json!({"state": "failed", "error": null})).unwrap();
        assert_eq!(silent.reason(), "it gives no reason");
        for wrong in [json!({}), json!({"state": "dancing"}), json!({"state": 1}), json!([])] {
            assert!(serde_json::from_value::<Task>(wrong.clone()).is_err(), "{wrong}");
        }
        for state in ["waiting", "running", "canceling", "completed", "failed", "canceled", "skipped"] {
            let state: TaskState = serde_json::from_value(json!(state)).unwrap();
            assert_eq!(serde_json::from_value::<TaskState>(json!(state.as_str())).unwrap(), state);
        }
    }

    #[test]
    fn error_pages_on_one_line() {
        let check = |page: &str, expected: &str| assert_eq!(error_detail(page), expected, "{page}");
        check(r#"{"detail": "Invalid username/password."}"#, "Invalid username/password.");
        let fields = r#"{"name": ["This field must be unique."], "url": ["Too long.", "Not a URL."]}"#;
        check(fields, "name: This field must be unique.; url: Too long., Not a URL.");
        check(r#"{"non_field_errors": ["no\nline"]}"#, "no line");
        check(r#"["a", {"b": 1}]"#, r#"a, {"b":1}"#);
        check("<!doctype html><html>", "");
        check("plain\u{1b}[31m", "plain [31m");
        check("", "");
        assert_eq!(error_detail(&"x".repeat(10_000)).len(), MAX_SHOWN);
    }
}
