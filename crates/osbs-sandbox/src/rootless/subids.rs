//! Subordinate ids of a user: subuid(5) and subgid(5), and getsubids(1) where a directory service gives them out.
#![allow(unsafe_code)]

use super::{IdKind, RootlessError, find};
use std::ffi::{CStr, OsStr};
use std::process::{Command, Stdio};

/// Where the first user's ids begin, as useradd(8) has it.
const FIRST: u32 = 100_000;

/// Ids that belong to a user beside its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    start: u32,
    count: u32,
}

/// Of one user.
#[derive(Debug)]
pub(super) struct SubIds {
    users: Vec<Range>,
    groups: Vec<Range>,
}

impl SubIds {
    /// As given out on this machine.
    pub(super) fn of_user(uid: u32, path: &OsStr) -> Result<Self, RootlessError> {
        let name = user_name(uid).ok_or(RootlessError::NoUser { uid })?;
        let read = |kind: IdKind| std::fs::read_to_string(kind.file()).unwrap_or_default();
        let ranges = |kind: IdKind| {
            let mut found = ranges_of(&read(kind), &name, uid);
            if found.is_empty() {
                found = of_directory(kind, &name, path);
            }
            if found.is_empty() {
                let free = first_free(&[read(IdKind::User), read(IdKind::Group)]);
                return Err(RootlessError::NoSubIds { user: name.clone(), file: kind.file(), free });
            }
            Ok(found)
        };
        Ok(Self { users: ranges(IdKind::User)?, groups: ranges(IdKind::Group)? })
    }

    /// Arguments of newuidmap or newgidmap: triples of id inside, id outside and count. `own` becomes 0.
    pub(super) fn map(&self, kind: IdKind, own: u32) -> Vec<String> {
        let ranges = if kind == IdKind::User { &self.users } else { &self.groups };
        let mut map = vec!["0".to_owned(), own.to_string(), "1".to_owned()];
        let mut inside = 1_u32;
        for range in ranges {
            map.extend([inside, range.start, range.count].map(|number| number.to_string()));
            inside = inside.saturating_add(range.count);
        }
        map
    }
}

/// Lines `NAME:START:COUNT`; the name may be a number.
fn ranges_of(text: &str, name: &str, uid: u32) -> Vec<Range> {
    let number = uid.to_string();
    let own = |line: &&str| line.split(':').next().is_some_and(|owner| owner == name || owner == number);
    text.lines().filter(own).filter_map(range_of_line).collect()
}

fn range_of_line(line: &str) -> Option<Range> {
    let mut fields = line.split(':').skip(1).map(|field| field.trim().parse::<u32>());
    let (start, count) = (fields.next()?.ok()?, fields.next()?.ok()?);
    (count > 0).then_some(Range { start, count })
}

/// The first id behind all ranges.
fn first_free(files: &[String]) -> u32 {
    let lines = files.iter().flat_map(|text| text.lines());
    let ends = lines.filter_map(range_of_line).map(|range| range.start.saturating_add(range.count));
    ends.max().unwrap_or(FIRST).max(FIRST)
}

/// `getsubids NAME` prints `0: NAME START COUNT`. It asks what nsswitch.conf names; older machines have no such program.
fn of_directory(kind: IdKind, name: &str, path: &OsStr) -> Vec<Range> {
    let Some(program) = find(path, "getsubids") else { return Vec::new() };
    let mut command = Command::new(program);
    if kind == IdKind::Group {
        command.arg("-g");
    }
    let output = command.arg(name).env_clear().stdin(Stdio::null()).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let range = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [.., start, count] = fields.as_slice() else { return None };
        range_of_line(&format!("{name}:{start}:{count}"))
    };
    text.lines().filter_map(range).collect()
}

/// By the user database, whatever it is kept in.
fn user_name(uid: u32) -> Option<String> {
    let mut buffer = vec![0; 16 << 10];
    // SAFETY: all-zero is a value of this struct of integers and pointers.
    let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
    let mut found: *mut libc::passwd = std::ptr::null_mut();
    // SAFETY: every pointer is to a live variable, and the length is that of the buffer.
    let code = unsafe { libc::getpwuid_r(uid, &raw mut entry, buffer.as_mut_ptr(), buffer.len(), &raw mut found) };
    if code != 0 || found.is_null() {
        return None;
    }
    // SAFETY: after success the name is a C string in `buffer`, which lives until the end.
    let name = unsafe { CStr::from_ptr(entry.pw_name) };
    name.to_str().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "alice:100000:65536\n1007:300000:10\nbob:165536:65536\nalice:231072:1000\nbroken\neve:1:0\n";

    #[test]
    fn by_name_or_number() {
        let check = |name: &str, uid: u32, starts: &[u32]| {
            let found: Vec<u32> = ranges_of(FILE, name, uid).iter().map(|range| range.start).collect();
            assert_eq!(found, starts, "{name}");
        };
        check("alice", 1000, &[100_000, 231_072]);
        check("bob", 1001, &[165_536]);
        check("carol", 1007, &[300_000]);
        check("eve", 1, &[]);
        check("broken", 2, &[]);
        check("ali", 3, &[]);
    }

    #[test]
    fn ranges_follow_each_other_inside() {
        let ids = SubIds { users: ranges_of(FILE, "alice", 1000), groups: Vec::new() };
        let words = "0 1000 1 1 100000 65536 65537 231072 1000";
        assert_eq!(ids.map(IdKind::User, 1000).join(" "), words);
        assert_eq!(ids.map(IdKind::Group, 5).join(" "), "0 5 1");
    }

    #[test]
    fn the_next_user_gets_ids_of_nobody() {
        assert_eq!(first_free(&[]), 100_000);
        assert_eq!(first_free(&[FILE.to_owned(), "x:400000:65536\n".to_owned()]), 465_536);
    }

    #[test]
    fn names_of_users() {
        assert_eq!(user_name(0).as_deref(), Some("root"));
        assert_eq!(user_name(4_000_000_001), None);
    }
}
