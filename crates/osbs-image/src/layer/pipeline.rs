//! Bytes in, hashed, seen by taps, compressed in parallel and in order, bytes out.
//!
//! ```text
//! source -> 1 MiB blocks -+-> hash thread (SHA-256, CRC-32)
//!  (caller's thread)      +-> tap thread
//!                         +-> N compressor threads -> in order -> output thread -> blob, sink
//! ```
//!
//! All queues are bounded, so memory is too: at most `threads + 4` blocks of 1 MiB and their compressed form live at once.

use crate::layer::LayerError;
use crate::layer::deflate::{BLOCK, BlockCompressor, GZIP_HEADER, WINDOW, gzip_trailer};
use crate::layer::source::BlockSource;
use crate::layer::write::{Compression, LayerTap};
use osbs_types::Digest;
use sha2::{Digest as _, Sha256};
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Scope, ScopedJoinHandle};
use tokio_util::sync::CancellationToken;

/// More threads would only cost memory: one fills 100 MB/s or more.
const MAX_THREADS: usize = 16;

/// Facts about the uncompressed bytes.
#[derive(Debug, Clone)]
pub(crate) struct Passed {
    pub diff_id: Digest,
    pub crc32: u32,
    pub size: u64,
}

/// Receives the compressed bytes, in order.
pub(crate) trait Output: Send {
    fn write(&mut self, bytes: &[u8]) -> Result<(), LayerError>;
}

/// What runs over the bytes.
pub(crate) struct Pipeline<'a> {
    pub compression: Compression,
    /// gzip only: leave out header and trailer, so that what comes out are bare deflate blocks ending byte aligned.
    pub bare: bool,
    pub threads: usize,
    pub cancel: &'a CancellationToken,
    /// Told the number of bytes read so far.
    pub progress: &'a (dyn Fn(u64) + Sync),
}

/// A block of the tar. Its buffer goes back to the pool when the last thread is done with it.
struct Block {
    bytes: Vec<u8>,
    pool: Arc<Pool>,
}

impl Drop for Block {
    fn drop(&mut self) {
        self.pool.give(std::mem::take(&mut self.bytes));
    }
}

#[derive(Default)]
struct Pool {
    free: Mutex<Vec<Vec<u8>>>,
}

impl Pool {
    fn take(&self) -> Vec<u8> {
        let found = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        found.map_or_else(
            || Vec::with_capacity(BLOCK),
            |mut buffer| {
                buffer.clear();
                buffer
            },
        )
    }

    fn give(&self, buffer: Vec<u8>) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

/// A block waiting for a compressor, with the block before it for its dictionary.
struct Job {
    before: Option<Arc<Block>>,
    block: Arc<Block>,
    done: SyncSender<Result<Vec<u8>, LayerError>>,
}

/// What the output thread takes next.
enum Next {
    Compressed(Receiver<Result<Vec<u8>, LayerError>>),
    Plain(Arc<Block>),
}

impl Pipeline<'_> {
    /// Runs until the source ends. The taps' `size` must have been called; their `finish` is left to the caller.
    pub(crate) fn run<O: Output>(
        &self,
        source: &mut dyn BlockSource,
        taps: &mut [Box<dyn LayerTap>],
        output: &mut O,
    ) -> Result<Passed, LayerError> {
        let threads = self.threads.clamp(1, MAX_THREADS);
        thread::scope(|scope| {
            let (next_in, next_out) = sync_channel::<Next>(threads + 1);
            let (hash_in, hash_out) = sync_channel::<Arc<Block>>(2);
            let (tap_in, tap_out) = sync_channel::<Arc<Block>>(2);
            let hasher = scope.spawn(move || hash(&hash_out));
            let has_taps = !taps.is_empty();
            scope.spawn(move || {
                for block in tap_out {
                    for tap in taps.iter_mut() {
                        tap.write(&block.bytes);
                    }
                }
            });
            let jobs = self.start_compressors(scope, threads);
            let (facts_in, facts_out) = sync_channel::<Passed>(1);
            let compression = self.compression;
            let bare = self.bare;
            let writer = scope.spawn(move || emit(compression, bare, &next_out, &facts_out, threads, output));
            let read = self.read(source, |before, block| {
                let next = match &jobs {
                    Some(jobs) => {
                        let (done, result) = sync_channel(1);
                        let sent = jobs.send(Job { before, block: block.clone(), done });
                        (sent.is_ok()).then_some(Next::Compressed(result))
                    }
                    None => Some(Next::Plain(block.clone())),
                };
                // A closed channel means that the other end failed; its error is the one to report.
                next.is_some_and(|next| next_in.send(next).is_ok())
                    && hash_in.send(block.clone()).is_ok()
                    && (!has_taps || tap_in.send(block).is_ok())
            });
            drop((jobs, next_in, hash_in, tap_in));
            let facts = join(hasher);
            if read.is_ok() {
                let _ = facts_in.send(facts.clone());
            }
            drop(facts_in);
            let written = join(writer);
            read.and(written).map(|()| facts)
        })
    }

    fn start_compressors<'s>(&self, scope: &'s Scope<'s, '_>, threads: usize) -> Option<SyncSender<Job>> {
        let Compression::Gzip { level } = self.compression else { return None };
        let (jobs_in, jobs_out) = sync_channel::<Job>(1);
        let jobs_out = Arc::new(Mutex::new(jobs_out));
        for _ in 0..threads {
            let jobs_out = Arc::clone(&jobs_out);
            scope.spawn(move || {
                let mut compressor = BlockCompressor::new(level);
                loop {
                    let job = jobs_out.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(job) = job else { return };
                    let before = job.before.as_ref().map_or(&[][..], |block| block.bytes.as_slice());
                    let dictionary = &before[before.len().saturating_sub(WINDOW)..];
                    let result = compressor.compress(dictionary, &job.block.bytes);
                    // Nobody waits any more when the layer was given up.
                    let _ = job.done.send(result);
                }
            });
        }
        Some(jobs_in)
    }

    fn read(
        &self,
        source: &mut dyn BlockSource,
        mut hand_on: impl FnMut(Option<Arc<Block>>, Arc<Block>) -> bool,
    ) -> Result<(), LayerError> {
        let pool = Arc::new(Pool::default());
        let mut before: Option<Arc<Block>> = None;
        let mut total = 0;
        loop {
            if self.cancel.is_cancelled() {
                return Err(LayerError::Cancelled);
            }
            let mut bytes = pool.take();
            source.fill(&mut bytes, BLOCK)?;
            let length = bytes.len();
            if length == 0 {
                return Ok(());
            }
            total += length as u64;
            let block = Arc::new(Block { bytes, pool: Arc::clone(&pool) });
            if !hand_on(before.take(), Arc::clone(&block)) || length < BLOCK {
                (self.progress)(total);
                return Ok(());
            }
            (self.progress)(total);
            before = Some(block);
        }
    }
}

fn hash(blocks: &Receiver<Arc<Block>>) -> Passed {
    let mut hash = Sha256::new();
    let mut crc = crc32fast::Hasher::new();
    let mut size = 0;
    for block in blocks {
        hash.update(&block.bytes);
        crc.update(&block.bytes);
        size += block.bytes.len() as u64;
    }
    Passed { diff_id: Digest::from_sha256(&hash.finalize().into()), crc32: crc.finalize(), size }
}

/// The output thread.
fn emit<O: Output>(
    compression: Compression,
    bare: bool,
    blocks: &Receiver<Next>,
    facts: &Receiver<Passed>,
    threads: usize,
    output: &mut O,
) -> Result<(), LayerError> {
    match compression {
        Compression::Gzip { .. } => {
            if !bare {
                output.write(&GZIP_HEADER)?;
            }
            for next in blocks {
                if let Next::Compressed(result) = next {
                    let lost = LayerError::Compressor { reason: "a compressor thread ended early".to_owned() };
                    output.write(&result.recv().map_err(|_| lost)??)?;
                }
            }
            // Without facts the source failed, and its error is reported.
            match facts.recv() {
                Ok(facts) if !bare => output.write(&gzip_trailer(facts.crc32, facts.size)),
                _ => Ok(()),
            }
        }
        Compression::Zstd { level } => {
            let mut encoder = zstd_encoder(output, level, threads)?;
            for next in blocks {
                if let Next::Plain(block) = next {
                    encoder.write_all(&block.bytes).map_err(from_adapter)?;
                }
            }
            if facts.recv().is_ok() {
                encoder.finish().map_err(from_adapter)?;
            }
            Ok(())
        }
        Compression::None => {
            for next in blocks {
                if let Next::Plain(block) = next {
                    output.write(&block.bytes)?;
                }
            }
            Ok(())
        }
    }
}

/// At least one worker, always: zero gives other bytes. Jobs of 1 MiB keep memory flat at any level.
fn zstd_encoder<O: Output>(
    output: &mut O,
    level: i32,
    threads: usize,
) -> Result<zstd::stream::write::Encoder<'static, Adapter<'_, O>>, LayerError> {
    use zstd::zstd_safe::CParameter;
    let adapter = Adapter(output);
    let make = move || -> io::Result<_> {
        let mut encoder = zstd::stream::write::Encoder::new(adapter, level)?;
        encoder.set_parameter(CParameter::NbWorkers(threads as u32))?;
        encoder.set_parameter(CParameter::JobSize(1 << 20))?;
        encoder.set_parameter(CParameter::ChecksumFlag(true))?;
        Ok(encoder)
    };
    make().map_err(|e| LayerError::Compressor { reason: format!("zstd: {e}") })
}

/// An [`Output`] where `io::Write` is wanted; the error travels inside the `io::Error`.
struct Adapter<'a, O>(&'a mut O);

impl<O: Output> Write for Adapter<'_, O> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn from_adapter(error: io::Error) -> LayerError {
    match error.downcast::<LayerError>() {
        Ok(error) => error,
        Err(error) => LayerError::Compressor { reason: format!("zstd: {error}") },
    }
}

/// A panic in a thread is a panic here.
pub(crate) fn join<T>(handle: ScopedJoinHandle<'_, T>) -> T {
    handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
