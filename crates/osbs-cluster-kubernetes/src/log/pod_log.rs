//! Lines of an event log on the standard output of a pod: `OFFSET:CHECK LINE`. Pure.
//!
//! Offset and check make a line safe from what the way through container runtime, kubelet and API server may do to it: the
//! runtime cuts long lines in parts, and where the container's log file is rotated between them, the head of one line may
//! meet the tail of another, even with the right length. Such a line is known by its check and thrown away.

use super::chunk::Piece;
use flate2::Crc;
use std::io::{self, Write};

/// Eight hexadecimal digits of CRC-32.
const CHECK: usize = 8;

/// Of the offset and the line with its end.
fn check(offset: u64, line: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(&offset.to_le_bytes());
    crc.update(line);
    crc.sum()
}

/// Writes the lines that begin at `from` (whole ones, with their ends; a torn one at the end is left out).
pub(crate) fn print(out: &mut impl Write, from: u64, lines: &[u8]) -> io::Result<()> {
    let mut offset = from;
    for line in lines.split_inclusive(|b| *b == b'\n') {
        if line.ends_with(b"\n") {
            write!(out, "{offset}:{:0width$x} ", check(offset, line), width = CHECK)?;
            out.write_all(line)?;
        }
        offset += line.len() as u64;
    }
    Ok(())
}

/// Reads one line as it comes from the kubelet, with its end. Nothing if it is not whole, or none of ours.
pub(crate) fn parse(line: &[u8]) -> Option<Piece> {
    // A number of at most 20 digits before it.
    let space = line.iter().take(20 + 1 + CHECK + 1).position(|b| *b == b' ')?;
    let (from, told) = std::str::from_utf8(&line[..space]).ok()?.split_once(':')?;
    let is_number = from.bytes().all(|b| b.is_ascii_digit()) && told.len() == CHECK;
    let from: u64 = from.parse().ok().filter(|_| is_number)?;
    let bytes = &line[space + 1..];
    let is_whole = bytes.ends_with(b"\n") && u32::from_str_radix(told, 16) == Ok(check(from, bytes));
    let fits = from.checked_add(bytes.len() as u64).is_some();
    (is_whole && fits).then(|| Piece { from, bytes: bytes.to_vec() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    #[test]
    fn lines_come_back() {
        let text = b"{\"a\":1}\n\n\xff\xfe \n{\"torn";
        let mut printed = Vec::new();
        print(&mut printed, 100, text).unwrap();
        assert!(printed.starts_with(b"100:") && printed[12..].starts_with(b" {\"a\":1}\n108:"));
        let pieces: Vec<_> = printed.split_inclusive(|b| *b == b'\n').map(|line| parse(line).unwrap()).collect();
        assert_eq!(pieces.iter().map(|piece| piece.from).collect::<Vec<_>>(), [100, 108, 109]);
        assert_eq!(pieces.concat_bytes(), text[..13]);
    }

    trait Concat {
        fn concat_bytes(&self) -> Vec<u8>;
    }

    impl Concat for Vec<Piece> {
        fn concat_bytes(&self) -> Vec<u8> {
            self.iter().flat_map(|piece| piece.bytes.clone()).collect()
        }
    }

    #[test]
    fn what_is_not_whole_is_nothing() {
        let mut good = Vec::new();
        print(&mut good, 100, b"{\"a\":1}\n").unwrap();
        assert!(parse(&good).is_some());
        for place in 0..good.len() {
            assert_eq!(parse(&good[..place]), None);
            let mut other = good.clone();
            other[place] ^= 2;
            assert_eq!(parse(&other), None, "{}", String::from_utf8_lossy(&other));
            other.remove(place);
            assert_eq!(parse(&other), None);
        }
        let cases: [&[u8]; 6] =
            [b"\n", b"exec format error\n", b"100 {\"a\":1}\n", b":00000000 \n", b"+1:00000000 \n", &[b'9'; 60]];
        for line in cases {
            assert_eq!(parse(line), None, "{}", String::from_utf8_lossy(line));
        }
    }
}
