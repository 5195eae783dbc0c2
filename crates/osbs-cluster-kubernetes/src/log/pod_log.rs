//! Lines of an event log on the standard output of a pod: `OFFSET:LENGTH LINE`. Pure.
//!
//! Offset and length make a line safe from what the way through container runtime, kubelet and API server may do to it:
//! a line cut in two by the rotation of the container's log file is known as such and thrown away, here and there.

use super::chunk::Piece;
use std::io::{self, Write};

/// Writes the lines that begin at `from` (whole ones, with their ends; a torn one at the end is left out).
pub(crate) fn print(out: &mut impl Write, from: u64, lines: &[u8]) -> io::Result<()> {
    let mut offset = from;
    for line in lines.split_inclusive(|b| *b == b'\n') {
        if line.ends_with(b"\n") {
            write!(out, "{offset}:{} ", line.len())?;
            out.write_all(line)?;
        }
        offset += line.len() as u64;
    }
    Ok(())
}

/// Reads one line as it comes from the kubelet, with its end. Nothing if it is not whole, or none of ours.
pub(crate) fn parse(line: &[u8]) -> Option<Piece> {
    // Two numbers of at most 20 digits.
    let space = line.iter().take(44).position(|b| *b == b' ')?;
    let head = std::str::from_utf8(&line[..space]).ok()?;
    let (from, length) = head.split_once(':')?;
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    let (from, length) = (number(from)?, number(length)?);
    let bytes = &line[space + 1..];
    let is_whole = bytes.len() as u64 == length && bytes.ends_with(b"\n") && from.checked_add(length).is_some();
    is_whole.then(|| Piece { from, bytes: bytes.to_vec() })
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
        assert_eq!(printed, b"100:8 {\"a\":1}\n108:1 \n109:4 \xff\xfe \n");
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
        let cases: [&[u8]; 12] = [
            b"",
            b"\n",
            b"exec format error\n",
            b"100:8 {\"a\":1}",
            b"100:8 {\"a\":1\n",
            b"100:8 {\"a\":1}0:3 {}\n",
            b"100 {\"a\":1}\n",
            b"+100:8 {\"a\":1}\n",
            b":8 {\"a\":1}\n",
            b"100:18446744073709551616 x\n",
            b"18446744073709551615:2 x\n",
            b"99999999999999999999999999999999999999999999999999999999 x\n",
        ];
        for line in cases {
            assert_eq!(parse(line), None, "{}", String::from_utf8_lossy(line));
        }
    }
}
