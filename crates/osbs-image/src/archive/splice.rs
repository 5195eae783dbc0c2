//! Takes deflate blocks out of one gzip member and puts them into another.
//!
//! A deflate stream is a row of blocks of bits; the last one is marked. All blocks but the last are passed on as they are.
//! The last is left out and replaced by blocks with the same content that are not marked and end on a byte
//! ([`crate::note::Splice`]: none at all when it is empty, as in our own layers). In between an empty stored block fills up
//! to the next byte (RFC 1951, 3.2.4). What follows in the output may not refer to what is before: it never does, as
//! everything taken over began with an empty window.

use crate::note::Splice;

/// Passes the blob of a layer through, piece by piece.
#[derive(Debug)]
pub(crate) struct Splicer {
    splice: Splice,
    at: u64,
    /// The byte in which the last block begins.
    boundary: u8,
}

impl Splicer {
    pub(crate) fn new(splice: Splice) -> Self {
        Self { splice, at: 0, boundary: 0 }
    }

    /// The part of the next bytes of the blob that belongs to the output.
    pub(crate) fn pass(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let whole = self.splice.last_block / 8;
        let end = self.at + bytes.len() as u64;
        let from = self.splice.start.clamp(self.at, end);
        let to = whole.clamp(from, end);
        out.extend_from_slice(&bytes[(from - self.at) as usize..(to - self.at) as usize]);
        if whole >= self.at && whole < end {
            self.boundary = bytes[(whole - self.at) as usize];
        }
        self.at = end;
    }

    /// What fills up to the next byte.
    pub(crate) fn finish(&self, out: &mut Vec<u8>) {
        let bits = self.splice.last_block % 8;
        if bits == 0 {
            return;
        }
        let kept = self.boundary & ((1u16 << bits) - 1) as u8;
        // Three zero bits: not the last, stored. They may reach into the next byte.
        out.push(kept);
        if bits > 5 {
            out.push(0);
        }
        out.extend_from_slice(&[0, 0, 0xff, 0xff]);
    }
}
