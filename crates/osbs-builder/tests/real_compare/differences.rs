//! Two trees, two configs: what differs, one line each.

use crate::tree::{Entry, Tree};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Anything made by a build is later. Files that are copied keep their time, so earlier times must agree; folders change
/// theirs when something is put into them, so those of folders are not compared.
const BEFORE_ANY_BUILD: i64 = 1_500_000_000;

/// Everything but the times of what the build made.
pub fn of_trees(ours: &Tree, theirs: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    let paths: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    for path in paths {
        let shown = format!("/{}", path.display());
        match (ours.get(path), theirs.get(path)) {
            (Some(_), None) => found.push(format!("{shown}: only ours")),
            (None, Some(_)) => found.push(format!("{shown}: only theirs")),
            (Some(a), Some(b)) => found.extend(of_entries(a, b).into_iter().map(|line| format!("{shown}: {line}"))),
            (None, None) => {}
        }
    }
    found
}

fn of_entries(a: &Entry, b: &Entry) -> Vec<String> {
    let mut found = Vec::new();
    let head = |e: &Entry| format!("{:o} {}:{} device {}", e.mode, e.owner.0, e.owner.1, e.device);
    if head(a) != head(b) {
        found.push(format!("ours {} theirs {}", head(a), head(b)));
    }
    if (&a.same_as, a.links) != (&b.same_as, b.links) {
        found.push(format!("links ours {} {:?} theirs {} {:?}", a.links, a.same_as, b.links, b.same_as));
    }
    if a.xattrs != b.xattrs {
        found.push(format!("xattrs ours {:?} theirs {:?}", a.xattrs.keys(), b.xattrs.keys()));
    }
    if a.content != b.content {
        let show = |e: &Entry| String::from_utf8_lossy(&e.content[..e.content.len().min(80)]).into_owned();
        found.push(format!("content ours {:?} theirs {:?}", show(a), show(b)));
    }
    let is_folder = a.mode & 0o170_000 == 0o040_000;
    if a.mtime != b.mtime && a.mtime.min(b.mtime) < BEFORE_ANY_BUILD && !is_folder {
        found.push(format!("time ours {} theirs {}", a.mtime, b.mtime));
    }
    found
}

/// The config, member by member, and the history.
pub fn of_configs(ours: &Value, theirs: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for key in ["architecture", "os", "variant", "author"] {
        if ours[key] != theirs[key] {
            found.push(format!("{key}: ours {} theirs {}", ours[key], theirs[key]));
        }
    }
    let (a, b) = (members(ours), members(theirs));
    let keys: BTreeSet<_> = a.keys().chain(b.keys()).collect();
    for key in keys {
        if a.get(key) != b.get(key) {
            let show = |map: &Map<String, Value>| map.get(key).map_or_else(|| "nothing".into(), Value::to_string);
            found.push(format!("config.{key}: ours {} theirs {}", show(&a), show(&b)));
        }
    }
    let (a, b) = (history(ours), history(theirs));
    if a != b {
        found.push(format!("history: ours {a:?} theirs {b:?}"));
    }
    for (whose, config) in [("ours", ours), ("theirs", theirs)] {
        let entries = config["history"].as_array().cloned().unwrap_or_default();
        let with_layer = entries.iter().filter(|entry| entry["empty_layer"] != true).count();
        let layers = config["rootfs"]["diff_ids"].as_array().map_or(0, Vec::len);
        if with_layer != layers {
            found.push(format!("history of {whose}: {with_layer} entries with a layer, {layers} layers"));
        }
    }
    found
}

/// What is set; Docker's form writes out what is not, and buildah signs its work.
fn members(config: &Value) -> Map<String, Value> {
    let mut members = config["config"].as_object().cloned().unwrap_or_default();
    if let Some(labels) = members.get_mut("Labels").and_then(Value::as_object_mut) {
        labels.remove("io.buildah.version");
    }
    members.retain(|key, value| match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::String(text) => !text.is_empty() && key != "Image" && key != "Hostname",
        Value::Bool(set) => *set,
        Value::Null => false,
        Value::Number(_) => true,
    });
    members
}

/// The instruction of each entry: the text after it is every builder's own (buildah writes digests of files, and
/// `/bin/sh -c #(nop)` before all but RUN). Which entry stands for the one new layer differs too: for buildah the last,
/// for us the last that may have changed files.
fn history(config: &Value) -> Vec<String> {
    let entries = config["history"].as_array().cloned().unwrap_or_default();
    let word = |entry: &Value| {
        let text = entry["created_by"].as_str().unwrap_or_default();
        let word = match text.split_once("#(nop)") {
            Some((_, rest)) => rest.split_whitespace().next().unwrap_or_default(),
            None => text.split_whitespace().next().unwrap_or_default(),
        };
        if text.contains("#(nop)") || word.chars().all(|c| c.is_ascii_uppercase()) || text == "base" {
            word.to_uppercase()
        } else {
            "RUN".to_owned()
        }
    };
    entries.iter().map(word).collect()
}

/// What is new in `tree` over `base`, in the form that cases expect it: kind, mode, owner, path, content.
pub fn expected_form(tree: &Tree, base: &Tree) -> Vec<String> {
    let mut lines = Vec::new();
    for (path, entry) in tree {
        let old = base.get(path);
        let same = |old: &Entry| (old.mode, old.owner, &old.content) == (entry.mode, entry.owner, &entry.content);
        if path.as_os_str().is_empty() || old.is_some_and(same) {
            continue;
        }
        let kind = match entry.mode & 0o170_000 {
            0o040_000 => 'd',
            0o100_000 => 'f',
            0o120_000 => 'l',
            0o010_000 => 'p',
            0o020_000 => 'c',
            0o060_000 => 'b',
            _ => '?',
        };
        let (uid, gid) = entry.owner;
        let mut line = format!("{kind} {:o} {uid}:{gid} /{}", entry.mode & 0o7777, path.display());
        if matches!(kind, 'f' | 'l') {
            line.push_str(&format!(" {}", String::from_utf8_lossy(&entry.content).escape_debug()));
        }
        lines.push(line);
    }
    lines.extend(base.keys().filter(|path| !tree.contains_key(*path)).map(|path| format!("- /{}", path.display())));
    lines
}
