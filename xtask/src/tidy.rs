//! The rules: crates import only crates of lower rank, every file opens with `//!`, no file has more than
//! [`MAX_LINES`] production lines without a reason in `xtask/long-files.txt`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Rank of each crate: the table of ARCHITECTURE.md. A crate may use crates of a lower rank only.
const RANKS: &[(&str, u8)] = &[
    ("osbs-types", 0),
    ("osbs-config", 1),
    ("osbs-dockerfile", 1),
    ("osbs-http", 1),
    ("osbs-image", 1),
    ("osbs-rpm", 1),
    ("osbs-sandbox", 1),
    ("osbs-arrangement", 2),
    ("osbs-builder", 2),
    ("osbs-koji", 2),
    ("osbs-pulp", 2),
    ("osbs-registry", 2),
    ("osbs-cluster", 2),
    ("osbs-cluster-kubernetes", 3),
    ("osbs-cluster-local", 3),
    ("osbs-client", 3),
    ("osbs-fetch", 3),
    ("osbs-hub", 4),
    ("osbs-kojid", 4),
    ("osbs-reactor", 4),
    ("osbs", 6),
];

/// Lines of production code a file may have; test modules at its end are not counted.
const MAX_LINES: usize = 500;

/// All problems, each one line: `path: what, and what to do`.
pub(crate) fn check(root: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    check_ranks(root, &mut problems);
    let long_files = long_files(root, &mut problems);
    let mut sources = Vec::new();
    for folder in ["crates", "fuzz", "xtask"] {
        rust_files(&root.join(folder), &mut sources);
    }
    sources.sort();
    for path in sources {
        let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        match fs::read_to_string(&path) {
            Ok(text) => check_file(&name, &text, long_files.contains_key(&name), &mut problems),
            Err(error) => problems.push(format!("{name}: cannot be read: {error}")),
        }
    }
    problems
}

fn check_ranks(root: &Path, problems: &mut Vec<String>) {
    let ranks: BTreeMap<_, _> = RANKS.iter().copied().collect();
    let Ok(folders) = fs::read_dir(root.join("crates")) else {
        problems.push("crates/: cannot be read".to_owned());
        return;
    };
    for folder in folders.flatten() {
        let name = folder.file_name().to_string_lossy().into_owned();
        let Some(rank) = ranks.get(name.as_str()) else {
            problems.push(format!("crates/{name}: has no rank; add it to xtask/src/tidy.rs and ARCHITECTURE.md"));
            continue;
        };
        let manifest = fs::read_to_string(folder.path().join("Cargo.toml")).unwrap_or_default();
        for used in dependencies(&manifest) {
            if ranks.get(used.as_str()).is_some_and(|other| other >= rank) {
                problems.push(format!("crates/{name}/Cargo.toml: rank {rank} must not use {used}: not of lower rank"));
            }
        }
    }
}

/// Names in `[dependencies]` and `[build-dependencies]`; tests may look sideways.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut counts = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if let Some(section) = line.strip_prefix('[') {
            counts = section.starts_with("dependencies") || section.starts_with("build-dependencies");
        } else if counts && let Some(name) = line.split(['.', ' ', '=']).next() {
            names.push(name.to_owned());
        }
    }
    names
}

fn long_files(root: &Path, problems: &mut Vec<String>) -> BTreeMap<String, String> {
    let list = fs::read_to_string(root.join("xtask/long-files.txt")).unwrap_or_default();
    let mut files = BTreeMap::new();
    for line in list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.split_once(": ") {
            Some((file, reason)) if root.join(file).is_file() => {
                files.insert(file.to_owned(), reason.to_owned());
            }
            _ => problems.push(format!("xtask/long-files.txt: {line:?} is not \"EXISTING FILE: REASON\"")),
        }
    }
    files
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            if entry.file_name() != "target" {
                rust_files(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn check_file(name: &str, text: &str, may_be_long: bool, problems: &mut Vec<String>) {
    if !text.starts_with("//!") {
        problems.push(format!("{name}: does not open with //! saying what it is for and what it must not do"));
    }
    let lines = production_lines(text);
    let is_test = name.contains("/tests/");
    if lines > MAX_LINES && !may_be_long && !is_test {
        problems.push(format!("{name}: {lines} production lines; split it, or give a reason in xtask/long-files.txt"));
    }
}

fn production_lines(text: &str) -> usize {
    let lines: Vec<_> = text.lines().collect();
    let tests = lines.windows(2).position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod "));
    tests.unwrap_or(lines.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_production_dependencies_count() {
        let manifest = "[package]\nname = \"x\"\n[dependencies]\nosbs-types.workspace = true\nserde = \"1\"\n\
                        [dev-dependencies]\nosbs-cluster.workspace = true\n";
        assert_eq!(dependencies(manifest), ["osbs-types", "serde"]);
    }

    #[test]
    fn test_modules_do_not_count() {
        assert_eq!(production_lines("//! x\nfn a() {}\n\n#[cfg(test)]\nmod tests {\n}\n"), 3);
        assert_eq!(production_lines("a\n#[cfg(test)]\nfn only_for_tests() {}\nb\n"), 4);
    }

    #[track_caller]
    fn check_problem(text: &str, may_be_long: bool, expect: Option<&str>) {
        let mut problems = Vec::new();
        check_file("crates/a/src/b.rs", text, may_be_long, &mut problems);
        assert_eq!(problems.first().map(String::as_str), expect);
    }

    #[test]
    fn files() {
        check_problem("//! Fine.\n", false, None);
        check_problem(
            "fn a() {}\n",
            false,
            Some("crates/a/src/b.rs: does not open with //! saying what it is for and what it must not do"),
        );
        let long = format!("//! Long.\n{}", "// x\n".repeat(MAX_LINES));
        check_problem(&long, true, None);
        check_problem(
            &long,
            false,
            Some("crates/a/src/b.rs: 501 production lines; split it, or give a reason in xtask/long-files.txt"),
        );
    }
}
