//! A build's log, to the files of its task on the hub, as it is written.
//!
//! No line is lost: what the hub has not taken is not read on, and the cluster keeps it. After a restart the hub says how
//! much of each file it has. Must not know which line belongs to which file: `log_files.rs` does.

use crate::task::Observer;
use crate::task_error::{of_client, of_koji};
use crate::{Happening, LogFiles, TaskError};
use bytes::Bytes;
use futures_util::StreamExt;
use osbs_client::Osbs;
use osbs_koji::{Koji, KojiError, Place, calls};
use osbs_types::{BuildName, ErrorKind};
use std::time::Duration;
use tokio::time::Instant;

/// Between two uploads: far below any watcher's own poll, and few requests.
const INTERVAL: Duration = Duration::from_millis(400);
/// When so much waits it is sent at once; a hub that does not take it ends the reading. A task holds little more.
const MOST_WAITING: usize = 512 << 10;
/// Bytes of one upload.
const BLOCK: usize = 256 << 10;
/// Events that are read at once, should there be so many.
const EVENTS: usize = 256;
/// After the client itself has given up.
const PAUSE: Duration = Duration::from_secs(5);

pub(crate) struct LogUpload<'a> {
    koji: &'a Koji,
    task: i64,
    directory: String,
    files: LogFiles,
    observer: &'a Observer,
}

impl<'a> LogUpload<'a> {
    /// Goes on behind what the hub has.
    pub(crate) async fn resume(koji: &'a Koji, task: i64, observer: &'a Observer) -> Result<Self, TaskError> {
        let mut files = LogFiles::new();
        for file in koji.call(calls::list_task_output(task).named("stat", true)).await.map_err(of_koji)? {
            files.resume(&file.name, file.size.unwrap_or(0));
        }
        Ok(Self { koji, task, directory: osbs_koji::task_directory(task), files, observer })
    }

    /// Lines that are not the build's.
    pub(crate) fn add_text(&mut self, name: &str, text: &str) {
        self.files.add_text(name, text);
    }

    /// Until the build has ended and the hub has every line.
    pub(crate) async fn follow(&mut self, osbs: &Osbs, build: &BuildName) -> Result<(), TaskError> {
        let mut events = osbs.events(build, 0, true).await.map_err(of_client)?.ready_chunks(EVENTS);
        let mut due = Instant::now();
        loop {
            let waiting = self.files.waiting();
            let until = if waiting < MOST_WAITING { due } else { Instant::now() };
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(until), if waiting > 0 => {
                    self.flush().await?;
                    due = Instant::now() + INTERVAL;
                }
                chunk = events.next(), if waiting < MOST_WAITING => {
                    let Some(chunk) = chunk else { break };
                    for stored in chunk {
                        self.files.add(&stored.map_err(|error| of_client(error.into()))?.event);
                    }
                }
            }
        }
        self.flush().await
    }

    /// Everything that waits. A hub that is away is waited for.
    pub(crate) async fn flush(&mut self) -> Result<(), TaskError> {
        for name in self.files.with_news() {
            while let Some((offset, bytes)) = self.files.next(&name, BLOCK) {
                let bytes = Bytes::copy_from_slice(bytes);
                let length = bytes.len();
                let place = Place { directory: &self.directory, name: &name };
                match self.koji.upload_block(place, offset, bytes).await {
                    Ok(()) => self.files.taken(&name, length),
                    Err(error) if may_pass(&error) => {
                        let problem = format!("{name} waits for the hub: {error}");
                        (self.observer)(&Happening::Trouble { task: Some(self.task), problem });
                        tokio::time::sleep(PAUSE).await;
                    }
                    Err(error) => return Err(of_koji(error)),
                }
            }
        }
        Ok(())
    }
}

fn may_pass(error: &KojiError) -> bool {
    error.kind() == ErrorKind::Remote
}
