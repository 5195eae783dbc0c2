//! Flags of instructions: which there are, and their values.

use crate::error::Problem;
use crate::instruction::Flag;
use crate::words::nearest;

/// The flags of one instruction, checked for name and repetition.
pub(crate) struct Flags<'a> {
    flags: &'a [Flag],
}

/// May stand several times.
const REPEATABLE: [&str; 2] = ["mount", "exclude"];
/// Need no value.
const SWITCHES: [&str; 4] = ["link", "parents", "keep-git-dir", "unpack"];

/// Flags by keyword.
pub(crate) fn allowed(keyword: &str) -> &'static [&'static str] {
    match keyword {
        "FROM" => &["platform"],
        "RUN" => &["mount", "network", "security"],
        "COPY" => &["from", "chown", "chmod", "link", "parents", "exclude"],
        "ADD" => &["chown", "chmod", "link", "exclude", "checksum", "keep-git-dir", "unpack"],
        "HEALTHCHECK" => &["interval", "timeout", "start-period", "start-interval", "retries"],
        _ => &[],
    }
}

impl<'a> Flags<'a> {
    pub fn check(keyword: &'static str, flags: &'a [Flag]) -> Result<Self, Problem> {
        let allowed = allowed(keyword);
        for (index, flag) in flags.iter().enumerate() {
            let name = flag.name.as_str();
            if !allowed.contains(&name) {
                let suggestion = nearest(name, allowed.iter().copied());
                return Err(Problem::UnknownFlag { keyword, flag: name.to_owned(), allowed, suggestion });
            }
            if !REPEATABLE.contains(&name) && flags[..index].iter().any(|earlier| earlier.name == name) {
                return Err(Problem::RepeatedFlag { flag: name.to_owned() });
            }
            if flag.value.is_none() && !SWITCHES.contains(&name) {
                return Err(wrong(flag, "followed by =VALUE"));
            }
        }
        Ok(Self { flags })
    }

    fn find(&self, name: &str) -> Option<&'a Flag> {
        self.flags.iter().find(|flag| flag.name == name)
    }

    /// The value; an empty one is as good as none.
    pub fn text(&self, name: &str) -> Option<String> {
        self.find(name).and_then(|flag| flag.value.clone()).filter(|value| !value.is_empty())
    }

    pub fn texts(&self, name: &str) -> Vec<String> {
        self.flags.iter().filter(|flag| flag.name == name).filter_map(|flag| flag.value.clone()).collect()
    }

    /// `--name`, `--name=`, `--name=true`, `--name=false`.
    pub fn switch(&self, name: &str) -> Result<Option<bool>, Problem> {
        let Some(flag) = self.find(name) else { return Ok(None) };
        match flag.value.as_deref().map(str::to_ascii_lowercase).as_deref() {
            None | Some("" | "true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(wrong(flag, "true or false")),
        }
    }

    /// A value that `read` understands.
    pub fn parsed<T>(
        &self,
        name: &str,
        expected: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(flag) = self.find(name) else { return Ok(None) };
        let value = flag.value.as_deref().unwrap_or_default();
        read(value).map(Some).ok_or_else(|| wrong(flag, expected))
    }
}

fn wrong(flag: &Flag, expected: &'static str) -> Problem {
    Problem::FlagValue { flag: flag.name.clone(), value: flag.value.clone().unwrap_or_default(), expected }
}
