//! The part of a kickstart file that makes a root file system: repositories, packages, scripts.
//!
//! Pure: text in, values out. Commands about disks, users and boot loaders mean nothing to an image and are listed as
//! ignored, so that the log can say so.

/// What to install.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Kickstart {
    /// `repo --name --baseurl` and `url --url`, in order.
    pub(crate) repositories: Vec<(String, String)>,
    /// Names, `@groups`; in order.
    pub(crate) packages: Vec<String>,
    /// `-name` in `%packages`.
    pub(crate) excluded: Vec<String>,
    /// `%post` scripts, to be run inside the root.
    pub(crate) post: Vec<Script>,
    /// Commands without a meaning here.
    pub(crate) ignored: Vec<String>,
}

/// A `%post` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Script {
    /// `--interpreter`, `/bin/sh` by default.
    pub(crate) interpreter: String,
    /// Its text.
    pub(crate) text: String,
    /// `--erroronfail`.
    pub(crate) error_on_fail: bool,
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
    /// A script that must run outside the root.
    #[error("{section} --nochroot cannot be done: scripts run inside the image only")]
    Nochroot {
        /// Where.
        line: usize,
        /// Its section.
        section: String,
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
            Self::NoEnd { line, .. } | Self::Nochroot { line, .. } | Self::Quotes { line } => *line,
            Self::NoPackages => 1,
        }
    }
}

/// The value of `--name=value` or `--name value`.
fn option<'a>(words: &'a [String], name: &str) -> Option<&'a str> {
    words.iter().enumerate().find_map(|(index, word)| match word.strip_prefix(name) {
        Some("") => words.get(index + 1).map(String::as_str),
        Some(rest) => rest.strip_prefix('='),
        None => None,
    })
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
        let Some(command) = words.first() else { continue };
        if !command.starts_with('%') {
            read_command(&mut kickstart, &words);
            continue;
        }
        let mut body = Vec::new();
        loop {
            match lines.next() {
                Some((_, line)) if line.trim() == "%end" => break,
                Some((_, line)) => body.push(line),
                None => return Err(KickstartError::NoEnd { line: number, section: command.clone() }),
            }
        }
        read_section(&mut kickstart, &words, &body, number)?;
    }
    if kickstart.packages.is_empty() { Err(KickstartError::NoPackages) } else { Ok(kickstart) }
}

fn read_command(kickstart: &mut Kickstart, words: &[String]) {
    let url = match words[0].as_str() {
        "repo" => option(words, "--baseurl"),
        "url" => option(words, "--url"),
        _ => None,
    };
    match url {
        Some(url) => {
            let name = option(words, "--name").map_or_else(|| "url".to_owned(), str::to_owned);
            kickstart.repositories.push((name, url.to_owned()));
        }
        None => kickstart.ignored.push(words[0].clone()),
    }
}

fn read_section(kickstart: &mut Kickstart, words: &[String], body: &[&str], line: usize) -> Result<(), KickstartError> {
    match words[0].as_str() {
        "%packages" => {
            for entry in body {
                let entry = entry.split('#').next().unwrap_or_default().trim();
                match entry.strip_prefix('-') {
                    Some(name) => kickstart.excluded.push(name.to_owned()),
                    None if !entry.is_empty() => kickstart.packages.push(entry.to_owned()),
                    None => {}
                }
            }
        }
        "%post" => {
            if words.iter().any(|word| word == "--nochroot") {
                return Err(KickstartError::Nochroot { line, section: words[0].clone() });
            }
            kickstart.post.push(Script {
                interpreter: option(words, "--interpreter").unwrap_or("/bin/sh").to_owned(),
                text: body.join("\n"),
                error_on_fail: words.iter().any(|word| word == "--erroronfail"),
            });
        }
        other => kickstart.ignored.push(other.to_owned()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_repositories_scripts() {
        let text = "# base\nlang en_US\nrepo --name=main --baseurl=file:///r/$basearch\n\n%packages --nocore\n\
                    bash # shell\n@core\n-dracut\n%end\n%post --erroronfail\necho hi > /etc/x\n%end\n";
        let kickstart = parse(text).expect("valid");
        assert_eq!(kickstart.repositories, [("main".to_owned(), "file:///r/$basearch".to_owned())]);
        assert_eq!(kickstart.packages, ["bash", "@core"]);
        assert_eq!(kickstart.excluded, ["dracut"]);
        assert_eq!(kickstart.ignored, ["lang"]);
        assert_eq!(kickstart.post[0].text, "echo hi > /etc/x");
        assert!(kickstart.post[0].error_on_fail);
    }

    #[track_caller]
    fn check_refused(text: &str, line: usize) {
        assert_eq!(parse(text).map_err(|error| error.line()), Err(line));
    }

    #[test]
    fn refused() {
        check_refused("%packages\nbash\n", 1);
        check_refused("\n%post --nochroot\n%end\n", 2);
        check_refused("\nrepo --name='x\n", 2);
        check_refused("lang en_US\n", 1);
    }
}
