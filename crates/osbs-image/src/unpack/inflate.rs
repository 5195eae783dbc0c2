//! A layer blob on its way to its reader: read, verified and inflated by a thread of its own, hashed where it arrives.

use crate::blob::BlobReader;
use crate::decompress::LayerReader;
use crate::gzip_reader::GzipFacts;
use crate::layer::LimitMet;
use crate::limits::Limits;
use crate::note::LayerNote;
use osbs_types::Digest;
use sha2::{Digest as _, Sha256};
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

const CHUNK: usize = 256 << 10;
/// Chunks on their way between the two threads of a layer.
const QUEUE: usize = 8;

type Inflated<'s> = ScopedJoinHandle<'s, io::Result<Option<GzipFacts>>>;

/// Starts the thread that reads, verifies and inflates a blob. Its result comes when everything was read or the reader gone.
pub(crate) fn spawn_inflater<'s>(
    scope: &'s Scope<'s, '_>,
    blob: BlobReader,
    limits: Limits,
    progress: &'s (dyn Fn(u64) + Sync),
) -> (ChannelReader, Inflated<'s>) {
    let (send, receive) = sync_channel(QUEUE);
    let thread = scope.spawn(move || {
        let compressed = AtomicU64::new(0);
        let mut inflated = 0;
        let mut reader = match LayerReader::new(Counting { blob, progress, compressed: &compressed }) {
            Ok(reader) => reader,
            Err(e) => {
                let _ = send.send(Err(e));
                return Ok(None);
            }
        };
        loop {
            let mut chunk = vec![0; CHUNK];
            let mut length = 0;
            let error = loop {
                match reader.read(&mut chunk[length..]) {
                    Ok(0) => break None,
                    Ok(got) => length += got,
                    Err(e) => break Some(e),
                }
            };
            chunk.truncate(length);
            inflated += length as u64;
            if let Err(met) = check_ratio(inflated, compressed.load(Ordering::Relaxed), &limits) {
                let _ = send.send(Err(io::Error::new(io::ErrorKind::InvalidData, met)));
                return Ok(None);
            }
            if length > 0 && send.send(Ok(chunk)).is_err() {
                return Ok(None);
            }
            if let Some(e) = error {
                let _ = send.send(Err(e));
                return Ok(None);
            }
            if length < CHUNK {
                break;
            }
        }
        let (facts, mut counting) = reader.finish()?;
        counting.blob.finish()?;
        Ok(facts)
    });
    (ChannelReader::new(receive), thread)
}

/// Asked while the layer is being inflated, of what was read so far: a bomb must not first go off.
fn check_ratio(inflated: u64, compressed: u64, limits: &Limits) -> Result<(), LimitMet> {
    if inflated <= limits.ratio_from || inflated / limits.ratio.max(1) <= compressed {
        return Ok(());
    }
    Err(LimitMet { limit: limits.ratio, unit: "times its compressed size", option: "ratio" })
}

struct Counting<'a> {
    blob: BlobReader,
    progress: &'a (dyn Fn(u64) + Sync),
    compressed: &'a AtomicU64,
}

impl Read for Counting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.blob.read(buffer)?;
        self.compressed.fetch_add(got as u64, Ordering::Relaxed);
        (self.progress)(got as u64);
        Ok(got)
    }
}

/// The uncompressed bytes, hashed as they are read.
pub(crate) struct ChannelReader {
    receive: Option<Receiver<io::Result<Vec<u8>>>>,
    chunk: Vec<u8>,
    at: usize,
    hash: Sha256,
    crc: crc32fast::Hasher,
    size: u64,
}

impl ChannelReader {
    fn new(receive: Receiver<io::Result<Vec<u8>>>) -> Self {
        let (hash, crc) = (Sha256::new(), crc32fast::Hasher::new());
        Self { receive: Some(receive), chunk: Vec::new(), at: 0, hash, crc, size: 0 }
    }

    /// Lets the sending thread end.
    pub(crate) fn close(&mut self) {
        self.receive = None;
    }

    /// What was learnt, when everything was read.
    pub(crate) fn note(&self, facts: Option<&GzipFacts>) -> LayerNote {
        LayerNote {
            diff_id: Digest::from_sha256(&self.hash.clone().finalize().into()),
            uncompressed_size: self.size,
            crc32: self.crc.clone().finalize(),
            splice: facts.and_then(|facts| facts.splice),
        }
    }
}

impl Read for ChannelReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.chunk.len() {
            match self.receive.as_ref().map(Receiver::recv) {
                Some(Ok(Ok(chunk))) => {
                    self.hash.update(&chunk);
                    self.crc.update(&chunk);
                    self.size += chunk.len() as u64;
                    (self.chunk, self.at) = (chunk, 0);
                }
                Some(Ok(Err(e))) => return Err(e),
                Some(Err(_)) | None => return Ok(0),
            }
        }
        let take = buffer.len().min(self.chunk.len() - self.at);
        buffer[..take].copy_from_slice(&self.chunk[self.at..self.at + take]);
        self.at += take;
        Ok(take)
    }
}
