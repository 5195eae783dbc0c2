//! Arithmetic of releases (`reactor.md` 3.1.9). Pure.

/// A release that cannot be counted up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("release {release:?} cannot be counted up: what stands before its first dot is no number")]
pub(crate) struct NoNumber {
    /// The release.
    pub(crate) release: String,
}

/// What an isolated build has put in between is taken out: `3.2.el8` becomes `3.el8`, `3.2` becomes `3`.
pub(crate) fn patched(release: &str) -> String {
    let mut parts: Vec<&str> = release.splitn(3, '.').collect();
    if parts.get(1).is_some_and(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())) {
        parts.remove(1);
    }
    parts.join(".")
}

/// The one behind it: its first part counted up, and patched.
pub(crate) fn incremented(release: &str) -> Result<String, NoNumber> {
    let (first, rest) = release.split_once('.').map_or((release, None), |(first, rest)| (first, Some(rest)));
    let wrong = || NoNumber { release: release.to_owned() };
    let number = first.parse::<u64>().ok().and_then(|number| number.checked_add(1)).ok_or_else(wrong)?;
    Ok(patched(&rest.map_or_else(|| number.to_string(), |rest| format!("{number}.{rest}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases() {
        for (release, is_patched, next) in [
            ("3", "3", Some("4")),
            ("3.el8", "3.el8", Some("4.el8")),
            ("3.2.el8", "3.el8", Some("4.el8")),
            ("3.2", "3", Some("4")),
            ("3.2.4.el8", "3.4.el8", Some("4.4.el8")),
            ("3.2a.el8", "3.2a.el8", Some("4.2a.el8")),
            ("9.fc40", "9.fc40", Some("10.fc40")),
            ("a.1", "a", None),
            ("", "", None),
            ("18446744073709551615", "18446744073709551615", None),
        ] {
            assert_eq!(patched(release), is_patched, "{release}");
            assert_eq!(incremented(release).ok().as_deref(), next, "{release}");
        }
    }
}
