//! What the pod's control group says of its memory, in either of the kernel's two hierarchies.

use std::path::Path;

const COUNTS: [&str; 2] = ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"];
const LIMITS: [&str; 2] = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
/// More than any machine has: no limit.
const NO_LIMIT: u64 = 1 << 60;

/// How many processes the kernel had killed here for their memory.
pub(super) struct OomCount(u64);

impl OomCount {
    /// So far.
    pub(super) fn now() -> Self {
        Self(count())
    }

    /// Whether it has killed more since.
    pub(super) fn has_grown(&self) -> bool {
        count() > self.0
    }
}

fn count() -> u64 {
    first(&COUNTS).and_then(|text| oom_kills(&text)).unwrap_or(0)
}

fn first(paths: &[&str]) -> Option<String> {
    paths.iter().find_map(|path| std::fs::read_to_string(Path::new(path)).ok())
}

fn oom_kills(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// The limit, in bytes with a unit where it is even.
pub(super) fn limit() -> Option<String> {
    first(&LIMITS).and_then(|text| quantity(&text))
}

fn quantity(text: &str) -> Option<String> {
    let bytes: u64 = text.trim().parse().ok().filter(|bytes| *bytes < NO_LIMIT)?;
    let units = [(1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")];
    let unit = units.into_iter().find(|(size, _)| bytes >= *size && bytes.is_multiple_of(*size));
    Some(unit.map_or_else(|| bytes.to_string(), |(size, name)| format!("{}{name}", bytes / size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_hierarchies_are_read() {
        assert_eq!(oom_kills("low 0\nhigh 0\nmax 7\noom 2\noom_kill 3\noom_group_kill 0\n"), Some(3));
        assert_eq!(oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"), Some(4));
        assert_eq!(oom_kills("oom_kill_disable 0\nunder_oom 0\n"), None);
    }

    #[test]
    fn limits_are_told_as_they_were_given() {
        let cases = [
            ("67108864\n", Some("64Mi")),
            ("1073741824\n", Some("1Gi")),
            ("1000\n", Some("1000")),
            ("max\n", None),
            ("9223372036854771712\n", None),
        ];
        for (text, expected) in cases {
            assert_eq!(quantity(text).as_deref(), expected, "{text}");
        }
    }
}
