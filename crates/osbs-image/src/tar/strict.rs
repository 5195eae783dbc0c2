//! Refuses headers that well-known readers understand in different ways.
//!
//! Who checks an archive and who unpacks it are often two programs. Where they can be made to see different entries, one of
//! them is deceived (CVE-2025-62518). So what GNU tar, Go's archive/tar (all of Docker, containerd, buildah, skopeo) and
//! Python's tarfile do not read alike is no archive here. Honest writers make none of this.

use tar_core::Header;

const BLOCK: usize = 512;

/// What the records before an entry's own header say, beyond what the tar library makes of them.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    long_name: bool,
    long_link: bool,
    /// The entry's own header stands here.
    pub last: usize,
}

/// Looks at every header block of one entry: GNU long names, PAX records, and its own header.
pub(crate) fn check_chain(input: &[u8]) -> Result<Chain, String> {
    let mut chain = Chain::default();
    let mut at = 0;
    loop {
        let block: &[u8; BLOCK] =
            input.get(at..).and_then(<[u8]>::first_chunk).ok_or("its headers are cut off in the middle")?;
        if block.iter().all(|byte| *byte == 0) {
            // GNU tar and Python end here, Go refuses, others go on.
            return Err("an empty block stands in front of it, where some programs end".to_owned());
        }
        let header = Header::from_bytes(block);
        check_header(block, header)?;
        chain.last = at;
        match block[156] {
            b'L' => chain.long_name = true,
            b'K' => chain.long_link = true,
            b'x' => {}
            _ => return Ok(chain),
        }
        let size = header.entry_size().map_err(|e| e.to_string())?;
        let size = usize::try_from(size).map_err(|e| e.to_string())?;
        let padded = size.checked_next_multiple_of(BLOCK).ok_or("its size overflows")?;
        let next = at.checked_add(BLOCK).and_then(|at| at.checked_add(padded)).ok_or("its size overflows")?;
        if block[156] != b'x' {
            let content = input.get(at + BLOCK..next).ok_or("its headers are cut off in the middle")?;
            check_long_name(content, size)?;
        }
        at = next;
    }
}

/// A long name ends with a zero byte, or with its size; to some the one counts, to some the other.
fn check_long_name(content: &[u8], size: usize) -> Result<(), String> {
    let by_size = content[..size].strip_suffix(&[0]).unwrap_or(&content[..size]);
    let by_zero = content.split(|byte| *byte == 0).next().unwrap_or_default();
    if by_size == by_zero { Ok(()) } else { Err("its long name ends in two places".to_owned()) }
}

fn check_header(block: &[u8; BLOCK], header: &Header) -> Result<(), String> {
    for (name, field) in [("mode", 100..108), ("owner", 108..116), ("group", 116..124), ("size", 124..136)] {
        check_number(&block[field], false).map_err(|reason| format!("its {name} {reason}"))?;
    }
    check_number(&block[136..148], true).map_err(|reason| format!("its time {reason}"))?;
    for field in [329..337, 337..345] {
        check_number(&block[field], false).map_err(|reason| format!("its device number {reason}"))?;
    }
    let (magic, prefix, kind) = (&block[257..265], &block[345..500], block[156]);
    let star = &block[508..512] == b"tar\0";
    if header.is_gnu() {
        // GNU keeps times there, in incremental archives, which are no images; a Go of 2017 wrote a prefix there by mistake.
        if kind != b'S' && prefix[0] != 0 {
            return Err("it has a prefix in a GNU header, which has no place for one".to_owned());
        }
    } else if header.is_ustar() {
        if star && !prefix[..131].contains(&0) {
            return Err("its prefix is longer than star's headers allow".to_owned());
        }
    } else if prefix[0] != 0 || matches!(kind, b'3' | b'4' | b'x' | b'g' | b'L' | b'K' | b'S') {
        let magic = magic.escape_ascii();
        return Err(format!("its header is neither ustar nor GNU ({magic}), but uses what only they have"));
    }
    Ok(())
}

/// Octal digits between blanks, or GNU's base 256 as far as it fits 64 bits.
fn check_number(field: &[u8], signed: bool) -> Result<(), String> {
    let (first, rest) = field.split_first().ok_or("has no room")?;
    let high = &rest[..rest.len().saturating_sub(8)];
    match first {
        0x80 if high.iter().all(|byte| *byte == 0) => return Ok(()),
        0xff if signed && high.iter().all(|byte| *byte == 0xff) => return Ok(()),
        0x80.. => return Err("is out of range".to_owned()),
        _ => {}
    }
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | 0x0b | 0x0c | b'\r' | b'\n');
    let start = field.iter().position(|byte| !blank(byte)).unwrap_or(field.len());
    let digits = field[start..].iter().take_while(|byte| matches!(byte, b'0'..=b'7')).count();
    let rest = &field[start + digits..];
    // What stands behind the first zero byte is nothing to all.
    let (until_zero, behind) = rest.split_at(rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len()));
    if digits == 0 && behind.iter().any(u8::is_ascii_digit) {
        // But some skip zero bytes in front.
        return Err("begins with a zero byte".to_owned());
    }
    if until_zero.iter().all(blank) { Ok(()) } else { Err("is no octal number".to_owned()) }
}

/// Every record of a PAX header, and nothing between or behind them.
pub(crate) fn check_pax(pax: &[u8], chain: &Chain) -> Result<(), String> {
    let mut sparse_sizes = 0;
    let (mut major, mut minor) = (None, None);
    for record in pax_records(pax)? {
        let (key, value) = record;
        let number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        match key {
            b"path" | b"linkpath" | b"GNU.sparse.name" if value.is_empty() => {
                // POSIX: an empty value takes back what was said before. Not every reader does.
                return Err("it has an empty PAX record for a name".to_owned());
            }
            b"path" | b"GNU.sparse.name" if chain.long_name => {
                return Err("its name is given twice, by PAX and by GNU".to_owned());
            }
            b"linkpath" if chain.long_link => return Err("its link is given twice, by PAX and by GNU".to_owned()),
            b"size" | b"uid" | b"gid" if !number => return Err("its PAX number cannot be read".to_owned()),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => sparse_sizes += 1,
            b"GNU.sparse.major" => major = Some(value),
            b"GNU.sparse.minor" => minor = Some(value),
            _ => {}
        }
    }
    let known = [
        (None, None),
        (Some(b"0".as_slice()), Some(b"0".as_slice())),
        (Some(b"0"), Some(b"1")),
        (Some(b"1"), Some(b"0")),
    ];
    if sparse_sizes > 1 || !known.contains(&(major, minor)) {
        return Err("its sparse records contradict each other".to_owned());
    }
    Ok(())
}

/// Defaults for all later entries: GNU tar and Python apply them, Go does not. A comment, as `git archive` writes, is fine.
pub(crate) fn check_global(pax: &[u8]) -> Result<(), String> {
    for (key, _) in pax_records(pax)? {
        let matters = matches!(key, b"path" | b"linkpath" | b"size" | b"uid" | b"gid" | b"mtime")
            || key.starts_with(b"GNU.sparse.")
            || key.starts_with(b"SCHILY.xattr.");
        if matters {
            return Err(format!("a global PAX header sets {:?} for all entries", String::from_utf8_lossy(key)));
        }
    }
    Ok(())
}

type PaxRecord<'a> = (&'a [u8], &'a [u8]);

/// Keys and values. The library's own iterator ends silently at a record whose length it cannot read.
fn pax_records(pax: &[u8]) -> Result<Vec<PaxRecord<'_>>, String> {
    let mut found = Vec::new();
    let mut rest = pax;
    while !rest.is_empty() {
        let (record, later) = pax_record(rest).ok_or("its PAX records cannot be read")?;
        found.push(record);
        rest = later;
    }
    Ok(found)
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
#[expect(clippy::type_complexity, reason = "key and value, and what follows")]
fn pax_record(input: &[u8]) -> Option<((&[u8], &[u8]), &[u8])> {
    let digits = input.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let length: usize = std::str::from_utf8(&input[..digits]).ok()?.parse().ok()?;
    let (record, later) = input.split_at_checked(length)?;
    let body = record.get(digits..)?.strip_prefix(b" ")?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|byte| *byte == b'=')?;
    (equals > 0).then_some(((&body[..equals], &body[equals + 1..]), later))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let good: [&[u8]; 6] =
            [b"0000644\0", b"   644 \0", b"\0\0\0\0\0\0\0\0", b"00000644", b"644\0junk", b"\x80\0\0\0\0\0\0\x05"];
        for field in good {
            assert_eq!(check_number(field, false), Ok(()), "{field:?}");
        }
        let bad: [&[u8]; 7] = [
            b"+000644\0",
            b"-1\0\0\0\0\0\0",
            b"\x0000644\0",
            b"12x\0\0\0\0\0",
            b"00 0000\0",
            b"\x81\0\0\0\0\0\0\0",
            b"\xff\xff\xff\xff\xff\xff\xff\xff",
        ];
        for field in bad {
            assert!(check_number(field, false).is_err(), "{field:?}");
        }
        assert!(check_number(b"\x80\0\x01\0\0\0\0\0\0\0\0\x05", false).is_err(), "more than 64 bits");
        assert!(check_number(&[0xff; 12], true).is_ok(), "one second before 1970");
    }

    #[test]
    fn pax() {
        let chain = Chain { long_name: true, long_link: false, last: 0 };
        let ok: [&[u8]; 4] = [b"", b"12 comment=\n", b"10 size=5\n", b"16 linkpath=abc\n"];
        for pax in ok {
            assert_eq!(check_pax(pax, &chain), Ok(()), "{}", pax.escape_ascii());
        }
        let bad: [&[u8]; 10] = [
            b"x",
            b"xx path=a\n",
            b"10 size=5\njunk",
            b"9 size=+\n",
            b"12 linkpath=\n",
            b"9 path=a\n\n",
            b"9 path=ab\n",
            b"4 =a\n",
            b"99 path=a\n",
            b"22 GNU.sparse.major=2\n",
        ];
        for pax in bad {
            assert!(check_pax(pax, &chain).is_err(), "{}", pax.escape_ascii());
        }
        assert!(check_global(b"14 comment=ab\n").is_ok());
        assert!(check_global(b"9 path=a\n").is_err());
    }
}
