//! Which arches a task builds (client-and-koji 4.4, steps 3 and 4).

use crate::TaskError;
use std::collections::BTreeSet;

/// The name under which Koji groups an arch: `i686` is `i386`. These names are what the client calls platforms.
pub fn canonical_arch(arch: &str) -> &str {
    let of_stem = |stem: &'static str| arch.starts_with(stem).then_some(stem);
    match arch {
        "athlon" => "i386",
        "ia32e" => "x86_64",
        "ppc64le" => "ppc64le",
        _ if arch.len() == 4 && arch.starts_with('i') && arch.ends_with("86") => "i386",
        _ if arch.starts_with("ppc64") => "ppc64",
        _ if arch.starts_with("arm") && arch.contains('h') => "armhfp",
        _ => ["arm", "sparc64", "sparc", "alpha"].into_iter().find_map(of_stem).unwrap_or(arch),
    }
}

/// The arches to build of those that tag `tag` has; `asked` (`arch_override`) is for builds that are not kept.
///
/// # Errors
/// The tag has none, none matches, or `asked` with a build that is kept.
pub fn select_arches(tag: &str, arches: &str, asked: Option<&str>, kept: bool) -> Result<Vec<String>, TaskError> {
    let known: BTreeSet<&str> = arches.split_whitespace().map(canonical_arch).collect();
    if known.is_empty() {
        return Err(TaskError::NoArches { tag: tag.to_owned() });
    }
    let asked = asked.map(str::trim).filter(|asked| !asked.is_empty());
    if asked.is_some() && kept {
        return Err(TaskError::ArchOverride);
    }
    let wanted = asked.unwrap_or(arches);
    let mut chosen: Vec<String> = Vec::new();
    for arch in wanted.split([' ', ',', '\t', '\n']).filter(|arch| !arch.is_empty()) {
        let platform = canonical_arch(arch);
        if (platform == "noarch" || known.contains(platform)) && !chosen.iter().any(|one| one == platform) {
            chosen.push(platform.to_owned());
        }
    }
    if chosen.is_empty() {
        let (asked, tag, arches) = (wanted.to_owned(), tag.to_owned(), arches.to_owned());
        return Err(TaskError::NoMatchingArches { asked, tag, arches });
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical() {
        for (arch, expected) in [
            ("i686", "i386"),
            ("i386", "i386"),
            ("athlon", "i386"),
            ("ia32e", "x86_64"),
            ("x86_64", "x86_64"),
            ("ppc64le", "ppc64le"),
            ("ppc64p7", "ppc64"),
            ("armv7hl", "armhfp"),
            ("armv5tel", "arm"),
            ("sparc64v", "sparc64"),
            ("sparcv9", "sparc"),
            ("alphaev6", "alpha"),
            ("aarch64", "aarch64"),
            ("s390x", "s390x"),
            ("ia64", "ia64"),
        ] {
            assert_eq!(canonical_arch(arch), expected, "{arch}");
        }
    }

    #[track_caller]
    fn check(arches: &str, asked: Option<&str>, kept: bool, expected: Result<&[&str], &str>) {
        let found = select_arches("f43-build", arches, asked, kept).map_err(|error| error.to_string());
        let text: Result<Vec<_>, _> = found.as_ref().map(|found| found.iter().map(String::as_str).collect());
        match expected {
            Ok(expected) => assert_eq!(text.unwrap(), expected),
            Err(part) => assert!(text.unwrap_err().contains(part), "{found:?}"),
        }
    }

    #[test]
    fn selection() {
        check("x86_64 aarch64", None, true, Ok(&["x86_64", "aarch64"]));
        check("x86_64 i686 i386", None, true, Ok(&["x86_64", "i386"]));
        check("x86_64 aarch64", Some("aarch64"), false, Ok(&["aarch64"]));
        check("x86_64 aarch64", Some("aarch64, x86_64"), false, Ok(&["aarch64", "x86_64"]));
        check("x86_64", Some(" "), true, Ok(&["x86_64"]));
        check("x86_64", Some("s390x"), false, Err("No matching arches: asked for s390x"));
        check("x86_64", Some("x86_64"), true, Err("only for scratch"));
        check("", None, true, Err("No arches for tag f43-build"));
    }
}
