//! One gzip member made of independent pieces, in the manner of pigz.
//!
//! The tar is cut into blocks of 1 MiB. Each is deflated by itself with the 32 KiB before it as dictionary and ends with a
//! sync flush, which is byte aligned, so that the pieces of any number of threads are simply put one after the other. An
//! empty last block ends the stream; where it begins is therefore always known ([`crate::note::Splice`]).

use crate::layer::LayerError;
use zlib_rs::{Deflate, DeflateFlush, Status};

/// Bytes of tar in one block. It shapes the compressed bytes: changing it changes every digest.
pub(crate) const BLOCK: usize = 1 << 20;
/// The window of deflate.
pub(crate) const WINDOW: usize = 32 << 10;
/// Magic, deflate, no flags, no time, no extra flags, unknown system: nothing that differs between machines.
pub(crate) const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// An empty last block with fixed codes.
const LAST_BLOCK: [u8; 2] = [3, 0];

/// What follows the last piece: last block, CRC, size modulo 2^32.
pub(crate) fn gzip_trailer(crc32: u32, size: u64) -> [u8; 10] {
    let mut trailer = [0; 10];
    trailer[..2].copy_from_slice(&LAST_BLOCK);
    trailer[2..6].copy_from_slice(&crc32.to_le_bytes());
    trailer[6..].copy_from_slice(&(size as u32).to_le_bytes());
    trailer
}

/// Compresses blocks, one after the other; one for each thread.
pub(crate) struct BlockCompressor {
    deflate: Deflate,
    buffer: Vec<u8>,
}

impl BlockCompressor {
    pub(crate) fn new(level: u32) -> Self {
        let deflate = Deflate::new(level.min(9) as i32, false, 15);
        Self { deflate, buffer: vec![0; BLOCK + BLOCK / 64 + 1024] }
    }

    /// Deflates `block`, which stands behind `dictionary` (at most [`WINDOW`] bytes), up to a sync flush.
    pub(crate) fn compress(&mut self, dictionary: &[u8], block: &[u8]) -> Result<Vec<u8>, LayerError> {
        let failed = |reason: String| LayerError::Compressor { reason };
        self.deflate.reset();
        if !dictionary.is_empty() {
            self.deflate.set_dictionary(dictionary).map_err(|e| failed(format!("dictionary refused: {e:?}")))?;
        }
        let mut out = Vec::new();
        loop {
            let (read, written) = (self.deflate.total_in() as usize, self.deflate.total_out());
            let status = self
                .deflate
                .compress(&block[read..], &mut self.buffer, DeflateFlush::SyncFlush)
                .map_err(|e| failed(format!("deflate: {e:?}")))?;
            let got = (self.deflate.total_out() - written) as usize;
            out.extend_from_slice(&self.buffer[..got]);
            // A flush is complete when the output buffer was not filled.
            if got < self.buffer.len() {
                if self.deflate.total_in() as usize == block.len() && status != Status::StreamEnd {
                    return Ok(out);
                }
                return Err(failed(format!("deflate stopped with {status:?}")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn pieces_make_one_member() {
        let data: Vec<u8> = (0..5_000_000u32).flat_map(|n| (n % 1000).to_le_bytes()).collect();
        let mut compressor = BlockCompressor::new(3);
        let mut file = GZIP_HEADER.to_vec();
        let mut before: &[u8] = &[];
        for block in data.chunks(BLOCK) {
            let dictionary = &before[before.len().saturating_sub(WINDOW)..];
            file.extend(compressor.compress(dictionary, block).expect("compresses"));
            before = block;
        }
        file.extend(gzip_trailer(crc32fast::hash(&data), data.len() as u64));
        let mut back = Vec::new();
        let mut decoder = flate2::read::GzDecoder::new(file.as_slice());
        decoder.read_to_end(&mut back).expect("one valid member");
        assert!(back == data && decoder.into_inner().is_empty());
    }

    #[test]
    fn incompressible_block() {
        let mut seed = 1u64;
        let data: Vec<u8> = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 56) as u8
        })
        .take(BLOCK)
        .collect();
        for level in 0..=9 {
            let mut file = GZIP_HEADER.to_vec();
            file.extend(BlockCompressor::new(level).compress(&[], &data).expect("compresses"));
            file.extend(gzip_trailer(crc32fast::hash(&data), data.len() as u64));
            let mut back = Vec::new();
            flate2::read::GzDecoder::new(file.as_slice()).read_to_end(&mut back).expect("valid");
            assert!(back == data, "level {level}");
        }
    }
}
