//! Bytes from a pipe to lines, without losing one.

use crate::StreamId;

/// A line longer than this is handed on in pieces: a program that writes no newline must not fill the memory.
pub(crate) const LONGEST_LINE: usize = 16 << 20;

/// What was read of one stream since its last newline.
#[derive(Debug)]
pub(crate) struct LineSplitter {
    stream: StreamId,
    begun: Vec<u8>,
}

impl LineSplitter {
    pub(crate) fn new(stream: StreamId) -> Self {
        Self { stream, begun: Vec::new() }
    }

    /// Hands on every line that ends in `bytes`, without its newline.
    pub(crate) fn feed(&mut self, bytes: &[u8], on_line: &mut dyn FnMut(StreamId, &[u8])) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, tail) = rest.split_at(end);
            rest = &tail[1..];
            if self.begun.is_empty() {
                on_line(self.stream, line);
            } else {
                self.begun.extend_from_slice(line);
                on_line(self.stream, &self.begun);
                self.begun.clear();
                // A megabyte for one long line is not kept for all the short ones after it.
                self.begun.shrink_to(1 << 16);
            }
        }
        self.begun.extend_from_slice(rest);
        if self.begun.len() >= LONGEST_LINE {
            self.finish(on_line);
        }
    }

    /// Hands on a last line without a newline.
    pub(crate) fn finish(&mut self, on_line: &mut dyn FnMut(StreamId, &[u8])) {
        if !self.begun.is_empty() {
            on_line(self.stream, &std::mem::take(&mut self.begun));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        let mut keep = |_: StreamId, line: &[u8]| found.push(line.to_vec());
        let mut splitter = LineSplitter::new(StreamId::Stdout);
        for piece in pieces {
            splitter.feed(piece, &mut keep);
        }
        splitter.finish(&mut keep);
        found
    }

    fn check_lines(pieces: &[&[u8]], expected: &[&[u8]]) {
        assert_eq!(lines(pieces), expected, "{pieces:?}");
    }

    #[test]
    fn every_cut() {
        check_lines(&[], &[]);
        check_lines(&[b"a\nb\n"], &[b"a", b"b"]);
        check_lines(&[b"a\nb"], &[b"a", b"b"]);
        check_lines(&[b"a", b"b", b"\n", b"\n", b"c"], &[b"ab", b"", b"c"]);
        check_lines(&[b"\xff\xfe\0\n", b"\r\n"], &[b"\xff\xfe\0", b"\r"]);
        let text = b"one\n\ntwo\nthree";
        for cut in 0..text.len() {
            check_lines(&[&text[..cut], &text[cut..]], &[b"one", b"", b"two", b"three"]);
        }
    }

    #[test]
    fn endless_lines_come_in_pieces() {
        let piece = vec![b'x'; 1 << 20];
        let pieces: Vec<&[u8]> = std::iter::repeat_n(piece.as_slice(), 40).collect();
        let found = lines(&pieces);
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [LONGEST_LINE, LONGEST_LINE, 8 << 20]);
    }
}
