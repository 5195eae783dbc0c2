//! An event log put together again from the pieces of it that come from the archive and from the pod: in any number of
//! cuts, with repetitions, with gaps. Pure.

use super::chunk::Piece;
use osbs_cluster::{EventParser, StoredEvent};
use osbs_types::Timestamp;

/// A line of ours is never longer; memory stays flat whatever comes.
const LONGEST_LINE: usize = 32 << 20;

/// What became of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// All that was new in it, which may be nothing.
    Yes,
    /// Nothing: what stands before it has not come yet.
    Gap,
}

/// The log up to some byte.
pub(crate) struct Merge {
    /// The first byte that has not come.
    next: u64,
    /// The line that has begun before it.
    line: Vec<u8>,
    parser: EventParser,
}

impl Merge {
    /// Of which everything before `from` is known.
    pub(crate) fn new(from: u64, time: Timestamp) -> Self {
        Self { next: from, line: Vec::new(), parser: EventParser::new(time) }
    }

    /// The first byte that has not come.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Takes a piece. Events that are whole now are appended to `out`.
    pub(crate) fn take(&mut self, piece: &Piece, out: &mut Vec<StoredEvent>) -> Taken {
        let Some(known) = self.next.checked_sub(piece.from) else { return Taken::Gap };
        let new = usize::try_from(known).ok().and_then(|known| piece.bytes.get(known..)).unwrap_or_default();
        for part in new.split_inclusive(|b| *b == b'\n') {
            self.next += part.len() as u64;
            let is_end = part.ends_with(b"\n");
            let text = part.strip_suffix(b"\n").unwrap_or(part);
            if is_end && self.line.is_empty() {
                out.extend(self.parser.event(text, self.next));
                continue;
            }
            self.line.extend_from_slice(text);
            if is_end || self.line.len() >= LONGEST_LINE {
                out.extend(self.rest());
            }
        }
        Taken::Yes
    }

    /// What is left when no more will come: a torn last line.
    pub(crate) fn rest(&mut self) -> Option<StoredEvent> {
        let line = std::mem::take(&mut self.line);
        self.parser.event(&line, self.next)
    }
}
