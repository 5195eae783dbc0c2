//! The lines of the event file on standard output, as they come: what the kubelet gives to followers. In a thread of its
//! own, for standard output may stand still as long as the container runtime likes; the archive does not wait for it.

use super::pod_log;
use osbs_cluster::LineReader;
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;
use tokio::sync::oneshot;

const STACK: usize = 256 << 10;

/// Prints one log.
pub(crate) struct Printer {
    more: SyncSender<()>,
    done: oneshot::Receiver<()>,
}

impl Printer {
    /// Prints the file at `path`, which may come later, to `out`.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(crate) fn start(path: &Path, out: impl Write + Send + 'static) -> io::Result<Self> {
        let (more, asked) = sync_channel(1);
        let (tell, done) = oneshot::channel();
        let reader = LineReader::new(path, 0);
        std::thread::Builder::new().name("printer".to_owned()).stack_size(STACK).spawn(move || {
            // Whoever cannot read it here reads the archive.
            let _ = print_all(reader, out, &asked);
            let _ = tell.send(());
        })?;
        Ok(Self { more, done })
    }

    /// There may be more in the file.
    pub(crate) fn more(&self) {
        match self.more.try_send(()) {
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }

    /// Prints the rest, for so long at most.
    pub(crate) async fn finish(self, at_most: Duration) {
        let Self { more, done } = self;
        drop(more);
        let _ = tokio::time::timeout(at_most, done).await;
    }
}

fn print_all(mut reader: LineReader, mut out: impl Write, asked: &Receiver<()>) -> io::Result<()> {
    loop {
        let is_last = asked.recv().is_err();
        while let Some(lines) = reader.next_lines().map_err(io::Error::other)? {
            pod_log::print(&mut out, lines.from, &lines.bytes)?;
        }
        out.flush()?;
        if is_last {
            return Ok(());
        }
    }
}
