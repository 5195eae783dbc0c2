//! `.dockerignore` and patterns of COPY: what is said of a folder holds for what is in it.

use crate::check_message;
use osbs_dockerfile::{IgnorePatterns, go_match};

/// Patterns, a zero byte, then paths of one line each.
pub fn ignore_patterns(data: &[u8]) {
    let split = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (file, paths) = data.split_at(split);
    let paths = paths.split(|byte| matches!(byte, 0 | b'\n')).filter(|path| is_clean(path)).take(16);
    let paths: Vec<&[u8]> = paths.collect();
    check_globs(file, &paths);
    let patterns = match IgnorePatterns::parse(file) {
        Ok(patterns) => patterns,
        Err(error) => {
            assert!(error.line >= 1 && error.line <= file.split(|byte| *byte == b'\n').count());
            return check_message(&error.to_string());
        }
    };
    for path in paths {
        let below = [path, b"/x"].concat();
        let ignored = patterns.is_ignored(path);
        if patterns.prunes(path) {
            assert!(ignored, "pruned, but not ignored");
            assert!(patterns.is_ignored(&below), "pruned, but something below it is kept");
        }
        if ignored && !patterns.has_exceptions() {
            assert!(patterns.is_ignored(&below), "ignored, but not what is below");
            assert!(patterns.prunes(path), "ignored without exceptions, but not pruned");
        }
        if patterns.is_empty() {
            assert!(!ignored);
        }
    }
}

/// A path as a walk of a folder gives it.
fn is_clean(path: &[u8]) -> bool {
    path.len() <= 4096 && path.split(|byte| *byte == b'/').all(|part| !matches!(part, b"" | b"." | b".."))
}

fn check_globs(file: &[u8], names: &[&[u8]]) {
    let text = String::from_utf8_lossy(file);
    for pattern in text.lines().take(16) {
        let literal = !pattern.contains(['*', '?', '[', '\\']);
        for name in names {
            let Ok(matched) = go_match(pattern, name) else { break };
            if literal && !pattern.contains(char::REPLACEMENT_CHARACTER) {
                assert_eq!(matched, pattern.as_bytes() == *name, "{pattern:?}");
            }
        }
    }
}
