//! Log files of a build for Koji, written from its own events.
//!
//! Written line by line: a log may be longer than memory. What has not happened yet is in none of them.

use super::fragment::BuildFile;
use super::metadata::FileFacts;
use crate::plugin::PluginError;
use crate::run::Run;
use futures_util::StreamExt;
use md5::{Digest, Md5};
use osbs_client::entries_of;
use osbs_types::{Event, EventKind, Phase, Platform};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// A file that is being written, with its checksum.
struct Growing {
    path: PathBuf,
    file: BufWriter<File>,
    size: u64,
    md5: Md5,
}

impl Growing {
    fn make(folder: &Path, name: &str) -> io::Result<Self> {
        let path = folder.join(name);
        Ok(Self { file: BufWriter::new(File::create(&path)?), path, size: 0, md5: Md5::new() })
    }

    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        for piece in [line, b"\n"] {
            self.file.write_all(piece)?;
            self.md5.update(piece);
            self.size += piece.len() as u64;
        }
        Ok(())
    }

    fn finish(mut self, filename: String) -> io::Result<BuildFile> {
        self.file.flush()?;
        let md5 = crate::plugins::hex(&self.md5.finalize());
        Ok(BuildFile { path: self.path, facts: FileFacts { filename, size: self.size, md5 } })
    }
}

fn failed(error: io::Error) -> PluginError {
    PluginError::resource(format!("a log for Koji cannot be written: {error}"))
}

/// A folder of the run for files that go to Koji.
pub(crate) fn folder(run: &Run) -> Result<PathBuf, PluginError> {
    let folder = run.workdir()?.join("koji");
    std::fs::create_dir_all(&folder).map_err(failed)?;
    Ok(folder)
}

/// Calls `take` with every event so far.
async fn each_event(run: &Run, mut take: impl FnMut(&Event) -> io::Result<()>) -> Result<(), PluginError> {
    run.log().flush();
    let mut events = run.services.cluster.events(&run.build.name, 0, false).await?;
    while let Some(stored) = events.next().await {
        take(&stored?.event).map_err(failed)?;
    }
    Ok(())
}

/// What the build step wrote.
pub(crate) async fn build_step(run: &Run, filename: &str) -> Result<BuildFile, PluginError> {
    let mut file = Growing::make(&folder(run)?, filename).map_err(failed)?;
    let mut inside = false;
    each_event(run, |event| match &event.kind {
        EventKind::PluginStart { phase: Phase::Buildstep, .. } => {
            inside = true;
            Ok(())
        }
        EventKind::PluginEnd { phase: Phase::Buildstep, .. } => {
            inside = false;
            Ok(())
        }
        EventKind::Log(line) if inside => file.line(String::from_utf8_lossy(&line.message).as_bytes()),
        _ => Ok(()),
    })
    .await?;
    file.finish(filename.to_owned()).map_err(failed)
}

/// The whole log of this build.
pub(crate) async fn whole(run: &Run, filename: &str) -> Result<BuildFile, PluginError> {
    let mut file = Growing::make(&folder(run)?, filename).map_err(failed)?;
    each_event(run, |event| entries_of(event).iter().try_for_each(|entry| file.line(entry.line.as_bytes()))).await?;
    file.finish(filename.to_owned()).map_err(failed)
}

/// `orchestrator.log`, and `PLATFORM.log` for every platform with lines.
pub(crate) async fn by_platform(run: &Run) -> Result<Vec<BuildFile>, PluginError> {
    let folder = folder(run)?;
    let orchestrator = "orchestrator.log".to_owned();
    let mut files = BTreeMap::from([(orchestrator.clone(), Growing::make(&folder, &orchestrator).map_err(failed)?)]);
    each_event(run, |event| {
        for entry in entries_of(event) {
            // Only a platform makes a file name.
            let platform = entry.platform.as_deref().and_then(|name| name.parse::<Platform>().ok());
            let name = platform.map_or_else(|| orchestrator.clone(), |platform| format!("{platform}.log"));
            let file = match files.entry(name) {
                std::collections::btree_map::Entry::Occupied(there) => there.into_mut(),
                std::collections::btree_map::Entry::Vacant(free) => {
                    let file = Growing::make(&folder, free.key())?;
                    free.insert(file)
                }
            };
            file.line(entry.line.as_bytes())?;
        }
        Ok(())
    })
    .await?;
    files.into_iter().map(|(name, file)| file.finish(name).map_err(failed)).collect()
}
