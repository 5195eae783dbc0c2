//! Reads gzip and notes on the way what an archive needs to take the deflate blocks over.
//!
//! The inflater is miniz_oxide because it alone tells, in safe Rust, at which bit a block ends. It does two thirds of what
//! zlib-rs does, which is still more than one core can write as files.

use crate::layer::BlockCompressor;
use crate::note::Splice;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};
use std::io::{self, Read};

const IN: usize = 128 << 10;
/// Wrapping output buffer of the inflater: a power of two, at least the 32 KiB window.
const RING: usize = 256 << 10;
const WINDOW: usize = 32 << 10;
/// A last block that holds more is not kept: the whole layer is compressed again for an archive.
const MAX_TAIL: usize = 8 << 20;

/// What was learnt.
#[derive(Debug, Clone)]
pub(crate) struct GzipFacts {
    /// `None` for several members, or a huge last block.
    pub splice: Option<Splice>,
    /// Deflate bytes for the content of the last block; empty when there is none.
    pub tail: Vec<u8>,
}

/// Inflates a gzip stream of one or more members, verifying CRC and size of each.
pub(crate) struct GzipReader<R> {
    input: Input<R>,
    inflater: Box<DecompressorOxide>,
    ring: Vec<u8>,
    /// Where the inflater writes next, and where the reader reads next; both within the ring.
    at: usize,
    ready: (usize, usize),
    state: State,
    crc: crc32fast::Hasher,
    size: u64,
    members: u64,
    /// Bytes of the first member's header.
    start: u64,
    /// Bit at which the block that is being read begins.
    block: u64,
    /// The window before that block, then its content so far; `None` once that is too much.
    recent: Option<Vec<u8>>,
    window: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    Deflate,
    Trailer,
    End,
}

impl<R: Read> GzipReader<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self {
            input: Input { reader, buffer: vec![0; IN], from: 0, to: 0, consumed: 0 },
            inflater: Box::default(),
            ring: vec![0; RING],
            at: 0,
            ready: (0, 0),
            state: State::Header,
            crc: crc32fast::Hasher::new(),
            size: 0,
            members: 0,
            start: 0,
            block: 0,
            recent: Some(Vec::new()),
            window: 0,
        }
    }

    /// What was learnt, once the stream was read to its end; and the reader below, which is at its end too.
    pub(crate) fn finish(self) -> io::Result<(GzipFacts, R)> {
        if self.state != State::End {
            return Err(invalid("the gzip stream was not read to its end"));
        }
        let mut facts = GzipFacts { splice: None, tail: Vec::new() };
        if let (1, Some(recent)) = (self.members, &self.recent) {
            let (window, content) = recent.split_at(self.window);
            if !content.is_empty() {
                facts.tail = BlockCompressor::new(6).compress(window, content).map_err(io::Error::other)?;
            }
            let tail = facts.tail.len() as u64;
            facts.splice = Some(Splice { start: self.start, last_block: self.block, tail });
        }
        Ok((facts, self.input.reader))
    }

    fn header(&mut self) -> io::Result<()> {
        let mut fixed = [0; 10];
        self.input.exact(&mut fixed)?;
        if fixed[..3] != [0x1f, 0x8b, 8] || fixed[3] & 0xe0 != 0 {
            return Err(invalid("not a gzip header"));
        }
        let flags = fixed[3];
        if flags & 4 != 0 {
            let mut length = [0; 2];
            self.input.exact(&mut length)?;
            for _ in 0..u16::from_le_bytes(length) {
                self.input.exact(&mut [0])?;
            }
        }
        for flag in [8, 16] {
            let mut byte = [1];
            while flags & flag != 0 && byte[0] != 0 {
                self.input.exact(&mut byte)?;
            }
        }
        if flags & 2 != 0 {
            self.input.exact(&mut [0; 2])?;
        }
        *self.inflater = DecompressorOxide::default();
        self.crc = crc32fast::Hasher::new();
        self.size = 0;
        self.members += 1;
        if self.members == 1 {
            self.start = self.input.consumed;
            self.block = self.start * 8;
        } else {
            self.recent = None;
        }
        self.state = State::Deflate;
        Ok(())
    }

    fn inflate(&mut self) -> io::Result<()> {
        let more = self.input.fill()?;
        let flags = inflate_flags::TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY
            | if more { inflate_flags::TINFL_FLAG_HAS_MORE_INPUT } else { 0 };
        let (status, read, written) = decompress(&mut self.inflater, self.input.rest(), &mut self.ring, self.at, flags);
        self.input.take(read);
        let new = &self.ring[self.at..self.at + written];
        self.crc.update(new);
        self.size += written as u64;
        if let Some(recent) = &mut self.recent {
            recent.extend_from_slice(new);
            if recent.len() > MAX_TAIL {
                self.recent = None;
            }
        }
        self.ready = (self.at, self.at + written);
        self.at = (self.at + written) % RING;
        match status {
            TINFLStatus::Done => self.state = State::Trailer,
            TINFLStatus::BlockBoundary => {
                let unused = self.inflater.block_boundary_state().map_or(0, |state| u64::from(state.num_bits));
                self.block = self.input.consumed * 8 - unused;
                if self.members == 1 {
                    let recent = self.recent.get_or_insert_default();
                    // A window that was thrown away with a huge block cannot be had back from `recent`, but from the ring.
                    self.window = self.size.min(WINDOW as u64) as usize;
                    if recent.len() >= self.window {
                        recent.drain(..recent.len() - self.window);
                    } else {
                        *recent = ring_tail(&self.ring, self.at, self.window);
                    }
                }
            }
            TINFLStatus::HasMoreOutput | TINFLStatus::NeedsMoreInput if more || written > 0 => {}
            _ => return Err(invalid("the deflate stream is damaged or cut off")),
        }
        Ok(())
    }

    fn trailer(&mut self) -> io::Result<()> {
        let mut trailer = [0; 8];
        self.input.exact(&mut trailer)?;
        let [c0, c1, c2, c3, s0, s1, s2, s3] = trailer;
        if u32::from_le_bytes([c0, c1, c2, c3]) != self.crc.clone().finalize()
            || u32::from_le_bytes([s0, s1, s2, s3]) != self.size as u32
        {
            return Err(invalid("the gzip checksum is wrong"));
        }
        self.state = if !self.input.fill()? {
            State::End
        } else if self.input.rest()[0] == 0 {
            self.zeros()?;
            State::End
        } else {
            State::Header
        };
        Ok(())
    }

    /// Zero bytes behind the last member are padding, as GNU gzip has it.
    fn zeros(&mut self) -> io::Result<()> {
        while self.input.fill()? {
            if self.input.rest().iter().any(|b| *b != 0) {
                return Err(invalid("garbage behind the gzip stream"));
            }
            self.input.take(self.input.rest().len());
        }
        Ok(())
    }
}

/// The `length` bytes of the ring before `at`.
fn ring_tail(ring: &[u8], at: usize, length: usize) -> Vec<u8> {
    let mut tail = Vec::with_capacity(length);
    if at < length {
        tail.extend_from_slice(&ring[RING - (length - at)..]);
    }
    tail.extend_from_slice(&ring[at.saturating_sub(length)..at]);
    tail
}

impl<R: Read> Read for GzipReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let (from, to) = self.ready;
            if from < to {
                let take = buffer.len().min(to - from);
                buffer[..take].copy_from_slice(&self.ring[from..from + take]);
                self.ready.0 += take;
                return Ok(take);
            }
            match self.state {
                State::Header => self.header()?,
                State::Deflate => self.inflate()?,
                State::Trailer => self.trailer()?,
                State::End => return Ok(0),
            }
        }
    }
}

/// The compressed bytes, with their position.
struct Input<R> {
    reader: R,
    buffer: Vec<u8>,
    from: usize,
    to: usize,
    consumed: u64,
}

impl<R: Read> Input<R> {
    /// Makes sure that there is something to read; false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        while self.from == self.to {
            match self.reader.read(&mut self.buffer) {
                Ok(0) => return Ok(false),
                Ok(got) => (self.from, self.to) = (0, got),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.from..self.to]
    }

    fn take(&mut self, count: usize) {
        self.from += count;
        self.consumed += count as u64;
    }

    fn exact(&mut self, out: &mut [u8]) -> io::Result<()> {
        for byte in out {
            if !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            *byte = self.rest()[0];
            self.take(1);
        }
        Ok(())
    }
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
