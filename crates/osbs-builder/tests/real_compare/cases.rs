//! The corpus: files of `tests/corpus/`, many cases each. The format is described in `tests/corpus/README.md`.

use std::fs;
use std::path::{Path, PathBuf};

/// One Dockerfile with what it needs and what is known of its result.
#[derive(Debug, Default, Clone)]
pub struct Case {
    pub name: String,
    pub text: String,
    /// Builds the image that `@parent@` means.
    pub parent: Option<String>,
    pub target: Option<String>,
    pub args: Vec<(String, String)>,
    /// The ignore file instead of the context's.
    pub ignore: Option<String>,
    /// What is new in the tree, when buildah 1.28 cannot tell.
    pub expect: Option<Vec<String>>,
    /// With `expect`: members of the config.
    pub config: Vec<(String, serde_json::Value)>,
    /// The build fails, and the message holds this.
    pub error: Option<String>,
}

/// A difference that is meant.
#[derive(Debug)]
pub struct Known {
    /// Case name; `*` at the end: every name that starts so.
    pub case: String,
    /// Start of the line that tells the difference; `*` is any text.
    pub line: String,
}

pub fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

/// All cases, sorted by file.
pub fn cases() -> Vec<Case> {
    let list = fs::read_dir(corpus()).expect("corpus").map(|entry| entry.expect("entry").path());
    let mut files: Vec<PathBuf> = list.filter(|path| path.extension().is_some_and(|end| end == "cases")).collect();
    files.sort();
    let cases: Vec<Case> = files.iter().flat_map(|file| parse(file)).collect();
    let mut names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    names.sort_unstable();
    for pair in names.windows(2) {
        assert_ne!(pair[0], pair[1], "two cases of one name");
    }
    cases
}

enum Section {
    Dockerfile,
    Parent,
    Ignore,
    Expect,
}

fn parse(file: &Path) -> Vec<Case> {
    let text = fs::read_to_string(file).expect("cases");
    let mut cases = Vec::new();
    for (index, part) in text.split("\n=== ").enumerate() {
        if index == 0 {
            continue;
        }
        let (name, rest) = part.split_once('\n').expect("a case has a body");
        cases.push(parse_case(name, rest));
    }
    assert!(!cases.is_empty(), "no cases in {}", file.display());
    cases
}

fn parse_case(name: &str, body: &str) -> Case {
    let mut case = Case { name: name.trim().to_owned(), ..Case::default() };
    let (mut section, mut crlf) = (Section::Dockerfile, false);
    for line in body.lines() {
        if let Some(option) = line.strip_prefix("--- ") {
            let (key, value) = option.split_once(": ").unwrap_or((option, ""));
            match key {
                "dockerfile" => section = Section::Dockerfile,
                "parent" => section = Section::Parent,
                "ignore" => section = Section::Ignore,
                "expect" => {
                    case.expect.get_or_insert_default();
                    section = Section::Expect;
                }
                "target" => case.target = Some(value.to_owned()),
                "arg" => {
                    let (key, value) = value.split_once('=').expect("NAME=VALUE");
                    case.args.push((key.to_owned(), value.to_owned()));
                }
                "config" => {
                    let (key, value) = value.split_once(' ').expect("KEY JSON");
                    case.config.push((key.to_owned(), serde_json::from_str(value).expect("JSON")));
                }
                "error" => case.error = Some(value.to_owned()),
                "crlf" => crlf = true,
                _ => panic!("{name}: unknown option {option:?}"),
            }
            continue;
        }
        let into = match section {
            Section::Dockerfile => &mut case.text,
            Section::Parent => case.parent.get_or_insert_default(),
            Section::Ignore => case.ignore.get_or_insert_default(),
            Section::Expect => {
                let lines = case.expect.as_mut().expect("begun");
                lines.extend((!line.is_empty()).then(|| line.to_owned()));
                continue;
            }
        };
        into.push_str(line);
        into.push('\n');
    }
    let has_from = |text: &str| text.lines().any(|line| line.trim_start().to_lowercase().starts_with("from "));
    if !has_from(&case.text) {
        case.text.insert_str(0, "FROM localhost/base\n");
    }
    case.text = case.text.trim_end_matches('\n').to_owned() + "\n";
    if crlf {
        case.text = case.text.replace('\n', "\r\n");
    }
    case
}

/// The list of meant differences.
pub fn known() -> Vec<Known> {
    let text = fs::read_to_string(corpus().join("known-differences.txt")).expect("known differences");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let parse = |line: &str| {
        let parts: Vec<&str> = line.splitn(3, " | ").map(str::trim).collect();
        let [case, line, _reason] = parts.as_slice() else { panic!("CASE | LINE | REASON: {line:?}") };
        Known { case: (*case).to_owned(), line: (*line).to_owned() }
    };
    lines.map(parse).collect()
}

impl Known {
    pub fn covers(&self, case: &str, line: &str) -> bool {
        let named = match self.case.strip_suffix('*') {
            Some(start) => case.starts_with(start),
            None => case == self.case,
        };
        named && matches_start(&self.line, line)
    }
}

/// Whether `text` starts with `pattern`, in which `*` stands for any text.
fn matches_start(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}
