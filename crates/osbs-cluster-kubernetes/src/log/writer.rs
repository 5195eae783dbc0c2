//! The archiver: follows the event file in the pod and stores what comes as chunks. Holds one chunk in memory, compressed;
//! while the API server is away, the rest waits in the file.

use super::chunk::{ClosedChunk, FULL, OpenChunk};
use crate::KubernetesCluster;
use crate::log::archive::Stored;
use osbs_cluster::{ClusterError, storage};
use osbs_types::{BuildName, ErrorKind};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A log longer than [`FULL`] is archived at this interval: from 10 MiB on the kubelet hides what it has rotated away.
const EVERY: Duration = Duration::from_secs(10);
/// Read at once.
const BLOCK: usize = 64 << 10;
/// Waits between attempts, the first and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// How often something is tried that the server refuses: a right may come a little late, but not ever.
const REFUSALS: u32 = 5;

/// Whose log it is and where it is.
#[derive(Clone)]
pub(crate) struct Source {
    pub cluster: KubernetesCluster,
    pub build: BuildName,
    /// Of the Job.
    pub uid: String,
    /// The event file.
    pub path: PathBuf,
}

/// Archives one log.
pub(crate) struct Archiver {
    source: Source,
    file: Option<File>,
    open: OpenChunk,
    index: u32,
    /// Closed, and not stored yet.
    closed: Option<ClosedChunk>,
    stored: Instant,
    buffer: Vec<u8>,
}

impl Archiver {
    /// Of a log that begins.
    pub(crate) fn new(source: Source) -> Self {
        Self {
            source,
            file: None,
            open: OpenChunk::new(0),
            index: 0,
            closed: None,
            stored: Instant::now(),
            buffer: vec![0; BLOCK],
        }
    }

    /// Stores what is due. `Theirs`: somebody else has closed the build.
    ///
    /// # Errors
    /// The file cannot be read, or the server does not take it now: call again.
    pub(crate) async fn work(&mut self) -> Result<Stored, ClusterError> {
        loop {
            if self.closed.is_some() && self.store(false).await? == Stored::Theirs {
                return Ok(Stored::Theirs);
            }
            let is_end = self.absorb()?;
            let is_due = self.open.to() > FULL && self.stored.elapsed() >= EVERY && !self.open.is_empty();
            if self.open.is_full() || is_due {
                self.close();
            } else if is_end {
                return Ok(Stored::Ours);
            }
        }
    }

    /// Stores the rest of the file and `tail`, which could not be written to it, as the last chunk; as often as it takes.
    ///
    /// # Errors
    /// The file cannot be read, or the server refuses.
    pub(crate) async fn finish(mut self, tail: &[u8]) -> Result<Stored, ClusterError> {
        loop {
            if patiently(&mut self, |this| Box::pin(this.work())).await? == Stored::Theirs {
                return Ok(Stored::Theirs);
            }
            if self.absorb()? {
                break;
            }
        }
        let mut rest = tail;
        while !rest.is_empty() {
            rest = &rest[self.open.take(rest)..];
            if self.open.is_full() && !rest.is_empty() {
                self.close();
                if patiently(&mut self, |this| Box::pin(this.store(false))).await? == Stored::Theirs {
                    return Ok(Stored::Theirs);
                }
            }
        }
        self.close();
        patiently(&mut self, |this| Box::pin(this.store(true))).await
    }

    fn close(&mut self) {
        let next = OpenChunk::new(self.open.to());
        self.closed = Some(std::mem::replace(&mut self.open, next).close());
    }

    async fn store(&mut self, last: bool) -> Result<Stored, ClusterError> {
        let Some(chunk) = &self.closed else { return Ok(Stored::Ours) };
        let Source { cluster, build, uid, .. } = &self.source;
        let stored = cluster.store_chunk(build, uid, self.index, chunk, last).await?;
        self.closed = None;
        self.index += 1;
        self.stored = Instant::now();
        Ok(stored)
    }

    /// Takes from the file until the chunk is full, or the file is at its end (true).
    fn absorb(&mut self) -> Result<bool, ClusterError> {
        self.read_on().map_err(storage("read the event log", &self.source.path))
    }

    fn read_on(&mut self) -> io::Result<bool> {
        if self.file.is_none() {
            match File::open(&self.source.path) {
                Ok(file) => self.file = Some(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        let Some(file) = &self.file else { return Ok(true) };
        while !self.open.is_full() {
            let count = file.read_at(&mut self.buffer, self.open.to())?;
            if count == 0 {
                return Ok(true);
            }
            self.open.take(&self.buffer[..count]);
        }
        Ok(false)
    }
}

/// Does something until it works: a server that is away comes back, and nobody but the kubelet ends a pod that waits.
///
/// # Errors
/// The server refuses, again and again, or it was no server that failed.
pub(crate) async fn patiently<S, T>(
    state: &mut S,
    mut work: impl for<'a> FnMut(&'a mut S) -> std::pin::Pin<Box<dyn Future<Output = Result<T, ClusterError>> + Send + 'a>>,
) -> Result<T, ClusterError> {
    let (mut pause, mut refusals) = (PAUSES.0, 0);
    loop {
        match work(state).await {
            Ok(done) => return Ok(done),
            Err(error @ (ClusterError::BuildNotFound { .. } | ClusterError::Storage { .. })) => return Err(error),
            Err(error) if error.kind() != ErrorKind::Remote && refusals >= REFUSALS => return Err(error),
            Err(error) => refusals += u32::from(error.kind() != ErrorKind::Remote),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}
