//! The part of a kickstart file that makes a root file system: repositories, packages, scripts.
//!
//! Pure: text in, values out. What a command means to an image, and that it means nothing, is said in [`commands`]; nothing
//! is passed over in silence.

mod commands;
mod packages;
#[cfg(test)]
mod tests;

use commands::{Meaning, meaning};
pub(crate) use packages::PackageOptions;

/// What to install.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Kickstart {
    /// `repo` and `url`, in order.
    pub(crate) repositories: Vec<Repository>,
    /// Names, globs, `@groups`; in order.
    pub(crate) packages: Vec<String>,
    /// `-name` in `%packages`.
    pub(crate) excluded: Vec<String>,
    /// Options of `%packages`.
    pub(crate) options: PackageOptions,
    /// `%post` scripts, to be run inside the root.
    pub(crate) post: Vec<Script>,
    /// What is in the file and not done, for the log.
    pub(crate) notes: Vec<Note>,
}

/// Where packages come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Repository {
    /// `--name`, or `url`.
    pub(crate) name: String,
    /// As dnf calls it: `baseurl`, `mirrorlist`, `metalink`.
    pub(crate) kind: &'static str,
    /// Its URL; `$basearch` and `$releasever` are dnf's to replace.
    pub(crate) url: String,
    /// Further options, as dnf calls them.
    pub(crate) options: Vec<(&'static str, String)>,
}

/// A `%post` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Script {
    /// Where it begins, from 1.
    pub(crate) line: usize,
    /// `--interpreter`, `/bin/sh` by default.
    pub(crate) interpreter: String,
    /// Its text.
    pub(crate) text: String,
    /// `--erroronfail`.
    pub(crate) error_on_fail: bool,
}

/// Something that is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    /// Where, from 1.
    pub(crate) line: usize,
    /// What.
    pub(crate) text: String,
    /// Whether somebody may miss it.
    pub(crate) is_missed: bool,
}

/// Why a kickstart cannot be used, with its line (from 1).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KickstartError {
    /// A section without `%end`.
    #[error("{section} has no %end")]
    NoEnd {
        /// Where it begins.
        line: usize,
        /// `%packages`, `%post`.
        section: String,
    },
    /// Something that cannot be done here.
    #[error("{what} cannot be done: {why}")]
    Refused {
        /// Where.
        line: usize,
        /// The command, section or option.
        what: String,
        /// Why not.
        why: &'static str,
    },
    /// A command or section nobody knows.
    #[error("{name} is no kickstart {what}")]
    Unknown {
        /// Where.
        line: usize,
        /// `command`, `section`.
        what: &'static str,
        /// As written.
        name: String,
    },
    /// An option nobody knows.
    #[error("{of} has no option {option}")]
    UnknownOption {
        /// Where.
        line: usize,
        /// The command or section.
        of: String,
        /// As written.
        option: String,
    },
    /// An option without what it needs.
    #[error("{of} needs {option}")]
    Missing {
        /// Where.
        line: usize,
        /// The command, section or option.
        of: String,
        /// What.
        option: &'static str,
    },
    /// Quotes that do not close.
    #[error("the quotes do not close")]
    Quotes {
        /// Where.
        line: usize,
    },
    /// `%packages` is missing or empty.
    #[error("there is no %packages section with packages")]
    NoPackages,
}

impl KickstartError {
    /// The line, from 1.
    pub(crate) fn line(&self) -> usize {
        match self {
            Self::NoEnd { line, .. }
            | Self::Refused { line, .. }
            | Self::Unknown { line, .. }
            | Self::UnknownOption { line, .. }
            | Self::Missing { line, .. }
            | Self::Quotes { line } => *line,
            Self::NoPackages => 1,
        }
    }
}

/// A command or the head of a section, split into words.
struct Head<'a> {
    line: usize,
    name: &'a str,
    words: &'a [String],
}

impl Head<'_> {
    fn refused(&self, why: &'static str) -> KickstartError {
        self.refused_as(self.name, why)
    }

    fn refused_as(&self, what: &str, why: &'static str) -> KickstartError {
        KickstartError::Refused { line: self.line, what: what.to_owned(), why }
    }

    /// The options, `--name=value` or `--name value`; those of `flags` take no value.
    fn options<'k>(&self, valued: &[&'k str], flags: &[&'k str]) -> Result<Vec<(&'k str, String)>, KickstartError> {
        let mut found = Vec::new();
        let mut words = self.words.iter();
        while let Some(word) = words.next() {
            let (name, value) = word.split_once('=').map_or((word.as_str(), None), |(name, value)| (name, Some(value)));
            if let Some(flag) = flags.iter().find(|flag| **flag == name && value.is_none()) {
                found.push((*flag, String::new()));
                continue;
            }
            let Some(option) = valued.iter().find(|option| **option == name) else {
                let (of, option) = (self.name.to_owned(), word.clone());
                return Err(KickstartError::UnknownOption { line: self.line, of, option });
            };
            let value = value.map(str::to_owned).or_else(|| words.next().cloned()).filter(|value| !value.is_empty());
            let Some(value) = value else {
                return Err(KickstartError::Missing { line: self.line, of: word.clone(), option: "a value" });
            };
            if value.contains(char::is_control) {
                return Err(self.refused_as(option, "its value has a control character"));
            }
            found.push((*option, value));
        }
        Ok(found)
    }
}

/// Reads a kickstart file.
pub(crate) fn parse(text: &str) -> Result<Kickstart, KickstartError> {
    let mut kickstart = Kickstart::default();
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    while let Some((number, line)) = lines.next() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let words = shlex::split(line).ok_or(KickstartError::Quotes { line: number })?;
        let Some((name, words)) = words.split_first() else { continue };
        let head = Head { line: number, name, words };
        if !name.starts_with('%') {
            read_command(&mut kickstart, &head)?;
            continue;
        }
        if matches!(name.as_str(), "%include" | "%ksappend") {
            return Err(head.refused("nothing is read beside the file itself; write it here"));
        }
        let body = body(&head, &mut lines)?;
        read_section(&mut kickstart, &head, &body)?;
    }
    if kickstart.packages.is_empty() { Err(KickstartError::NoPackages) } else { Ok(kickstart) }
}

/// The lines of a section, with their numbers.
fn body<'a>(
    head: &Head<'_>,
    lines: &mut impl Iterator<Item = (usize, &'a str)>,
) -> Result<Vec<(usize, &'a str)>, KickstartError> {
    let mut body = Vec::new();
    for (number, line) in lines {
        if line.trim() == "%end" {
            return Ok(body);
        }
        body.push((number, line));
    }
    Err(KickstartError::NoEnd { line: head.line, section: head.name.to_owned() })
}

fn read_command(kickstart: &mut Kickstart, head: &Head<'_>) -> Result<(), KickstartError> {
    let note = |text: String, is_missed| Note { line: head.line, text, is_missed };
    match meaning(head.name) {
        Some(Meaning::Repository) => kickstart.repositories.push(repository(head)?),
        Some(Meaning::Nothing) => kickstart.notes.push(note(format!("{} means nothing to an image", head.name), false)),
        // Never the words behind it: one is a password.
        Some(Meaning::Missed) => {
            kickstart.notes.push(note(format!("{} is not done: do it in %post", head.name), true));
        }
        Some(Meaning::Refused(why)) => return Err(head.refused(why)),
        None => {
            return Err(KickstartError::Unknown { line: head.line, what: "command", name: head.name.to_owned() });
        }
    }
    Ok(())
}

const PLACES: [(&str, &str); 4] =
    [("--baseurl", "baseurl"), ("--url", "baseurl"), ("--mirrorlist", "mirrorlist"), ("--metalink", "metalink")];

fn repository(head: &Head<'_>) -> Result<Repository, KickstartError> {
    let is_url = head.name == "url";
    let valued: &[&str] = if is_url {
        &["--url", "--mirrorlist", "--metalink", "--proxy"]
    } else {
        &["--name", "--baseurl", "--mirrorlist", "--metalink", "--proxy", "--cost", "--excludepkgs", "--includepkgs"]
    };
    let flags: &[&str] = if is_url { &["--noverifyssl"] } else { &["--noverifyssl", "--install"] };
    let mut name = is_url.then(|| "url".to_owned());
    let (mut place, mut options) = (None, Vec::new());
    for (option, value) in head.options(valued, flags)? {
        match option {
            "--name" => name = Some(value),
            "--proxy" => options.push(("proxy", value)),
            "--cost" => options.push(("cost", value)),
            "--excludepkgs" => options.push(("excludepkgs", value)),
            "--includepkgs" => options.push(("includepkgs", value)),
            "--noverifyssl" => options.push(("sslverify", "0".to_owned())),
            // The repository is for this file system alone; an image gets its repo files in %post.
            "--install" => return Err(head.refused_as("repo --install", "no repo file is written into the image")),
            other => place = PLACES.iter().find(|(place, _)| *place == other).map(|(_, kind)| (*kind, value)),
        }
    }
    let missing = |option| KickstartError::Missing { line: head.line, of: head.name.to_owned(), option };
    let (kind, url) = place.ok_or_else(|| missing(if is_url { "--url" } else { "--baseurl" }))?;
    Ok(Repository { name: name.ok_or_else(|| missing("--name"))?, kind, url, options })
}

fn read_section(kickstart: &mut Kickstart, head: &Head<'_>, body: &[(usize, &str)]) -> Result<(), KickstartError> {
    match head.name {
        "%packages" => packages::read(kickstart, head, body)?,
        "%post" => {
            let script = script(&mut kickstart.notes, head, body)?;
            kickstart.post.push(script);
        }
        "%pre" | "%pre-install" => return Err(head.refused("it would run on the build host; write it in %post")),
        "%onerror" | "%traceback" | "%addon" | "%anaconda" => {
            let text = format!("{} means nothing to an image", head.name);
            kickstart.notes.push(Note { line: head.line, text, is_missed: false });
        }
        name => return Err(KickstartError::Unknown { line: head.line, what: "section", name: name.to_owned() }),
    }
    Ok(())
}

fn script(notes: &mut Vec<Note>, head: &Head<'_>, body: &[(usize, &str)]) -> Result<Script, KickstartError> {
    let options = head.options(&["--interpreter", "--log", "--logfile"], &["--nochroot", "--erroronfail"])?;
    let mut script = Script {
        line: head.line,
        interpreter: "/bin/sh".to_owned(),
        text: body.iter().flat_map(|(_, line)| [*line, "\n"]).collect(),
        error_on_fail: false,
    };
    for (option, value) in options {
        match option {
            "--nochroot" => return Err(head.refused_as("%post --nochroot", "scripts run inside the image only")),
            "--erroronfail" => script.error_on_fail = true,
            "--interpreter" if !value.starts_with('/') => {
                return Err(head.refused_as("%post --interpreter", "it must be an absolute path in the image"));
            }
            "--interpreter" => script.interpreter = value,
            _ => {
                let text = "the output of %post goes into the log of the build, not into a file".to_owned();
                notes.push(Note { line: head.line, text, is_missed: false });
            }
        }
    }
    Ok(script)
}
