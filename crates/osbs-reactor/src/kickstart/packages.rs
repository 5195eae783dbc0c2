//! The section `%packages`.

use super::{Head, Kickstart, KickstartError, Note};

/// How packages are installed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub(crate) struct PackageOptions {
    /// `--excludedocs`.
    pub(crate) no_docs: bool,
    /// `--exclude-weakdeps`: not what packages only recommend.
    pub(crate) no_weak_dependencies: bool,
    /// `--ignoremissing`: what no repository has is left out.
    pub(crate) ignore_missing: bool,
    /// `--ignorebroken`: what cannot be installed is left out.
    pub(crate) ignore_broken: bool,
    /// `--multilib`.
    pub(crate) multilib: bool,
    /// `--inst-langs`: files of these languages only; as rpm has it, separated by colons.
    pub(crate) languages: Option<String>,
    /// `--retries`.
    pub(crate) retries: Option<u32>,
    /// `--timeout`, in seconds.
    pub(crate) timeout: Option<u32>,
}

const FLAGS: [&str; 11] = [
    "--nocore",
    "--nobase",
    "--default",
    "--excludedocs",
    "--excludeWeakdeps",
    "--exclude-weakdeps",
    "--ignoremissing",
    "--ignorebroken",
    "--multilib",
    "--resolvedeps",
    "--ignore-missing",
];
const VALUED: [&str; 4] = ["--instLangs", "--inst-langs", "--retries", "--timeout"];

/// Reads the section into what is known so far.
pub(super) fn read(kickstart: &mut Kickstart, head: &Head<'_>, body: &[(usize, &str)]) -> Result<(), KickstartError> {
    let number = |value: &str, option: &str| {
        value.parse().map_err(|_| head.refused_as(option, "its value is not a whole number"))
    };
    let (mut says_core, options) = (false, &mut kickstart.options);
    for (option, value) in head.options(&VALUED, &FLAGS)? {
        match option {
            "--nocore" => says_core = true,
            "--excludedocs" => options.no_docs = true,
            "--excludeWeakdeps" | "--exclude-weakdeps" => options.no_weak_dependencies = true,
            "--ignoremissing" | "--ignore-missing" => options.ignore_missing = true,
            "--ignorebroken" => options.ignore_broken = true,
            "--multilib" => options.multilib = true,
            "--instLangs" | "--inst-langs" => options.languages = Some(languages(head, &value)?),
            "--retries" => options.retries = Some(number(&value, option)?),
            "--timeout" => options.timeout = Some(number(&value, option)?),
            _ => {}
        }
    }
    for (line, entry) in body {
        read_entry(kickstart, *line, entry.split('#').next().unwrap_or_default().trim())?;
    }
    if !says_core && !kickstart.packages.iter().any(|name| name == "@core") {
        let text = "only what is listed is installed: the group core is not added, as with --nocore".to_owned();
        kickstart.notes.push(Note { line: head.line, text, is_missed: false });
    }
    Ok(())
}

/// `en_US,de` for rpm.
fn languages(head: &Head<'_>, value: &str) -> Result<String, KickstartError> {
    if value.chars().all(|c| c.is_ascii_alphanumeric() || "_.@,:-".contains(c)) {
        return Ok(value.replace(',', ":"));
    }
    Err(head.refused_as("--inst-langs", "its value is not a list of languages"))
}

fn read_entry(kickstart: &mut Kickstart, line: usize, entry: &str) -> Result<(), KickstartError> {
    let refused = |why| Err(KickstartError::Refused { line, what: entry.to_owned(), why });
    if entry.is_empty() {
        return Ok(());
    }
    if entry.starts_with('%') {
        return refused("nothing is read beside the file itself, and a section begins after %end");
    }
    if entry.starts_with("-@") {
        return refused("a group is left out by not naming it; leave out packages by name");
    }
    if entry.starts_with('@') && entry.contains(" --") {
        return refused("a group is installed with its mandatory and default packages; name others by name");
    }
    let (name, list) = match entry.strip_prefix('-') {
        Some(name) => (name, &mut kickstart.excluded),
        None => (entry, &mut kickstart.packages),
    };
    // A second dash would make it an option of dnf.
    let is_name = !name.is_empty() && !name.starts_with('-');
    if !is_name || name.contains(|c: char| c.is_whitespace() || c.is_control() || c == ',') {
        return refused("it is not the name of one package or group");
    }
    list.push(name.to_owned());
    Ok(())
}
