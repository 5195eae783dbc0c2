//! Repo files of yum and dnf: options set in every section, all else kept as it is.
//!
//! Pure: text in, text out. Fetches and writes nothing.

/// An option and its value, one line both.
pub(crate) type RepoOption<'a> = (&'a str, &'a str);

/// Other names that dnf knows for an option.
const ALIASES: [(&str, &str); 1] = [("gpgcheck", "pkg_gpgcheck")];

/// The repo file with these options in every section, in place of those of that name; `None` when it is no repo file.
pub(crate) fn with_options(text: &str, options: &[RepoOption<'_>]) -> Option<String> {
    let mut changed = String::with_capacity(text.len() + 256);
    let (mut in_section, mut in_replaced) = (false, false);
    // What a byte order mark or a carriage return would hide from this reader, dnf might see.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    for line in text.split(['\n', '\r']) {
        let trimmed = line.trim();
        let is_quiet = trimmed.is_empty() || trimmed.starts_with(['#', ';']);
        let is_continuation = line.starts_with([' ', '\t']) && !trimmed.is_empty();
        if is_continuation && in_replaced {
            continue;
        }
        if !(is_quiet || is_continuation && in_section) {
            if trimmed.starts_with('[') {
                if !trimmed.ends_with(']') || trimmed.len() < 3 {
                    return None;
                }
                (in_section, in_replaced) = (true, false);
                changed.extend([trimmed, "\n"]);
                for (name, value) in options {
                    changed.extend([name, " = ", value, "\n"]);
                }
                continue;
            }
            let (key, _) = line.split_once(['=', ':']).filter(|_| in_section)?;
            in_replaced = options.iter().any(|(name, _)| is_name(key.trim(), name));
            if in_replaced {
                continue;
            }
        }
        changed.push_str(line);
        changed.push('\n');
    }
    // The last line's end is no line of its own.
    if text.ends_with('\n') {
        changed.pop();
    }
    in_section.then_some(changed)
}

fn is_name(key: &str, name: &str) -> bool {
    let is_alias = |(of, alias): &(&str, &str)| *of == name && key.eq_ignore_ascii_case(alias);
    key.eq_ignore_ascii_case(name) || ALIASES.iter().any(is_alias)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_options(text: &str, expected: Option<&str>) {
        let options = [("proxy", "P"), ("gpgcheck", "1")];
        let expected = expected.map(|text| text.replace("@\n", "proxy = P\ngpgcheck = 1\n"));
        assert_eq!(with_options(text, &options).as_deref(), expected.as_deref(), "{text:?}");
    }

    #[test]
    fn options() {
        check_options("[a]\nname=x\n[b]\n", Some("[a]\n@\nname=x\n[b]\n@\n"));
        check_options(
            "# why\n\n[a]\nbaseurl=http://x\n  http://y",
            Some("# why\n\n[a]\n@\nbaseurl=http://x\n  http://y\n"),
        );
        check_options("[a]\nProxy = old\n  more\ngpgcheck=0\nx: 1\n", Some("[a]\n@\nx: 1\n"));
        check_options("[a]\npkg_gpgcheck=0\nPKG_GPGCHECK: 0\n", Some("[a]\n@\n"));
        check_options("[a]\r\ngpgcheck=0\r\n", Some("[a]\n@\n"));
        check_options("[a]\nx=1\rgpgcheck=0\n", Some("[a]\n@\nx=1\n"));
        check_options("\u{feff}[a]\n", Some("[a]\n@\n"));
        for text in ["", "# only\n", "text\n", "name=x\n[a]\n", "[a\n", "[]\n", "<html>\n", "[a]\nword\n"] {
            check_options(text, None);
        }
    }
}
