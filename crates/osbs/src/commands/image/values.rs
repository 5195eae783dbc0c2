//! Values of options of `osbs image build`, as text.
//!
//! What a text means; whether the file or socket it names is there is seen when it is used.

use osbs_image::Compression;
use osbs_types::quantity;
use std::path::PathBuf;
use std::time::Duration;

/// NAME and VALUE.
pub(super) type Pair = (String, String);

/// Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory(pub(super) u64);

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SecretSource {
    File(PathBuf),
    /// A variable of the environment.
    Variable(String),
}

/// An agent by its id; `None`: that of SSH_AUTH_SOCK.
pub(super) type SshAgent = (String, Option<PathBuf>);

/// `NAME=VALUE`.
pub(super) fn pair(text: &str) -> Result<Pair, String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

/// `NAME=VALUE`, or `NAME` of the environment.
pub(super) fn pair_or_environment(text: &str) -> Result<Pair, String> {
    if text.is_empty() || text.contains('=') {
        return pair(text);
    }
    match std::env::var(text) {
        Ok(value) => Ok((text.to_owned(), value)),
        Err(_) => Err(format!("no such variable in the environment: write {text}=VALUE")),
    }
}

/// `gzip[:LEVEL]`, `zstd[:LEVEL]`, `none`.
pub(super) fn compression(text: &str) -> Result<Compression, String> {
    let (method, level) = text.split_once(':').map_or((text, None), |(method, level)| (method, Some(level)));
    let number = |low: i32, high: i32| match level.map(str::parse::<i32>) {
        None => Ok(None),
        Some(Ok(level)) if (low..=high).contains(&level) => Ok(Some(level)),
        Some(_) => Err(format!("the level of {method} is {low} to {high}")),
    };
    match method {
        "gzip" => {
            Ok(number(1, 9)?
                .map_or_else(Compression::default, |level| Compression::Gzip { level: level.unsigned_abs() }))
        }
        "zstd" => Ok(Compression::Zstd { level: number(1, 19)?.unwrap_or(3) }),
        "none" if level.is_none() => Ok(Compression::None),
        _ => Err("expected gzip[:LEVEL], zstd[:LEVEL] or none".to_owned()),
    }
}

/// As Docker writes it (`512m`, `2g`: powers of 1024), or as Kubernetes does (`512Mi`, `2G`).
pub(super) fn memory(text: &str) -> Result<Memory, String> {
    const LEAST: u64 = 6 << 20;
    let lower = text.strip_suffix('b').unwrap_or(text);
    let binary = match lower.chars().last() {
        Some(unit @ ('k' | 'm' | 'g' | 't')) => {
            Some(format!("{}{}i", &lower[..lower.len() - 1], unit.to_ascii_uppercase()))
        }
        _ => None,
    };
    let bytes = quantity::bytes(binary.as_deref().unwrap_or(lower));
    match bytes {
        Some(bytes) if bytes >= LEAST => Ok(Memory(bytes)),
        Some(_) => Err("no command can run in less than 6m".to_owned()),
        None => Err("expected a number with k, m or g, for example 512m or 2g".to_owned()),
    }
}

/// Thousandths of a processor.
pub(super) fn cpus(text: &str) -> Result<u32, String> {
    match quantity::thousandths(text) {
        Some(number) if number >= 10 => Ok(number),
        _ => Err("expected a number of processors, at least 0.01: 2, 1.5 or 500m".to_owned()),
    }
}

/// `90s`, `20m`, `1h30m`; a number alone is seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a time such as 90s, 20m or 1h30m".to_owned();
    let mut seconds: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..end].parse().map_err(|_| wrong())?;
        let (unit, after) = match rest[end..].chars().next() {
            None if rest.len() == text.len() => (1, ""),
            Some('s') => (1, &rest[end + 1..]),
            Some('m') => (60, &rest[end + 1..]),
            Some('h') => (3600, &rest[end + 1..]),
            _ => return Err(wrong()),
        };
        seconds = number.checked_mul(unit).and_then(|it| it.checked_add(seconds)).ok_or_else(wrong)?;
        rest = after;
    }
    if seconds == 0 { Err(wrong()) } else { Ok(Duration::from_secs(seconds)) }
}

/// `id=ID,src=FILE` or `id=ID,env=NAME`, with the aliases Docker knows; the file or variable is ID by default.
pub(super) fn named_secret(text: &str) -> Result<(String, SecretSource), String> {
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for part in text.split(',') {
        let (key, value) = part.split_once('=').ok_or_else(|| format!("{part:?} is not KEY=VALUE"))?;
        let place = match key {
            "id" => &mut id,
            "src" | "source" => &mut file,
            "env" => &mut variable,
            "type" if matches!(value, "file" | "env") => &mut kind,
            _ => return Err(format!("{part:?}: expected id=ID with src=FILE or env=NAME")),
        };
        *place = Some(value.to_owned());
    }
    let id = id.filter(|id| !id.is_empty()).ok_or("id=ID is missing")?;
    let source = match (file, variable, kind.as_deref()) {
        (Some(_), Some(_), _) => return Err("src and env do not go together".to_owned()),
        // As Docker has it, `type=env,src=NAME` too.
        (None, Some(name), _) | (Some(name), None, Some("env")) => SecretSource::Variable(name),
        (None, None, Some("env")) => SecretSource::Variable(id.clone()),
        (Some(file), None, _) => SecretSource::File(file.into()),
        (None, None, _) => SecretSource::File(id.clone().into()),
    };
    Ok((id, source))
}

/// `ID` or `ID=SOCKET`.
pub(super) fn ssh_agent(text: &str) -> Result<SshAgent, String> {
    match text.split_once('=') {
        None if !text.is_empty() => Ok((text.to_owned(), None)),
        Some((id, path)) if !id.is_empty() && !path.is_empty() => Ok((id.to_owned(), Some(path.into()))),
        _ => Err("expected ID or ID=SOCKET, for example default".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressions() {
        assert_eq!(compression("gzip:1"), Ok(Compression::Gzip { level: 1 }));
        assert_eq!(compression("zstd"), Ok(Compression::Zstd { level: 3 }));
        assert!(compression("gzip:10").is_err());
        assert!(compression("lzma").is_err());
    }

    #[test]
    fn sizes_and_times() {
        for (text, bytes) in
            [("512m", 512 << 20), ("2g", 2 << 30), ("1Gi", 1 << 30), ("2G", 2_000_000_000), ("64mb", 64 << 20)]
        {
            assert_eq!(memory(text), Ok(Memory(bytes)), "{text}");
        }
        for text in ["", "1k", "-1g", "2x", "m", "1.5.2g"] {
            memory(text).expect_err(text);
        }
        for (text, seconds) in [("90", 90), ("90s", 90), ("20m", 1200), ("1h30m", 5400)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "0", "1x", "m", "1h30", "99999999999999999999s", "18446744073709551615h"] {
            duration(text).expect_err(text);
        }
        for (text, number) in [("2", 2000), ("1.5", 1500), ("500m", 500)] {
            assert_eq!(cpus(text), Ok(number), "{text}");
        }
        for text in ["", "0", "-1", "x", "1m"] {
            cpus(text).expect_err(text);
        }
    }

    #[test]
    fn secrets_and_agents() {
        let file = |path: &str| SecretSource::File(path.into());
        for (text, id, source) in [
            ("id=a,src=b", "a", file("b")),
            ("id=a", "a", file("a")),
            ("type=file,id=a,source=b", "a", file("b")),
            ("id=a,env=B", "a", SecretSource::Variable("B".into())),
            ("id=a,type=env,src=B", "a", SecretSource::Variable("B".into())),
            ("id=a,type=env", "a", SecretSource::Variable("a".into())),
        ] {
            assert_eq!(named_secret(text), Ok((id.to_owned(), source)), "{text}");
        }
        for text in ["", "a", "src=b", "id=", "id=a,src=b,env=C", "id=a,mode=400"] {
            named_secret(text).expect_err(text);
        }
        assert_eq!(ssh_agent("default"), Ok(("default".into(), None)));
        assert_eq!(ssh_agent("k=/run/s"), Ok(("k".into(), Some("/run/s".into()))));
        for text in ["", "=x", "k="] {
            ssh_agent(text).expect_err(text);
        }
    }
}
