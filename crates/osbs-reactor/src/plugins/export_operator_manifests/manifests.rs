//! The folder `/manifests` of an image into a zip archive.
//!
//! The image is anybody's: nothing is followed out of the folder. Names, order and times do not depend on the machine, so
//! that the same manifests make the same archive.

use super::error::ManifestsError;
use crate::plugin::PluginError;
use md5::{Digest as _, Md5};
use osbs_image::{Store, StoredImage};
use osbs_sandbox::rooted::{NodeKind, Root};
use osbs_sandbox::{Overlay, OverlayOptions};
use osbs_types::Timestamp;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write as _};
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

/// Where an operator has them.
const FOLDER: &str = "/manifests";
/// Bytes of all files together; real ones have some hundred kilobytes.
const MAX_BYTES: u64 = 256 << 20;
/// Files and folders.
const MAX_ENTRIES: u64 = 20_000;

/// What the exporting thread owns.
pub(super) struct Export {
    pub(super) image: StoredImage,
    pub(super) store: Store,
    /// A folder of the run's own.
    pub(super) work: PathBuf,
    /// The file to write.
    pub(super) archive: PathBuf,
    /// The time of all entries.
    pub(super) time: Timestamp,
}

/// The archive that was written.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) files: usize,
    /// Bytes of the archive.
    pub(super) size: u64,
    /// Of the archive, hexadecimal.
    pub(super) md5sum: String,
}

impl Export {
    pub(super) fn run(self, cancel: &CancellationToken) -> Result<Written, PluginError> {
        let lowers = self.store.unpack(&self.image, cancel, &|_| {})?;
        let folder = |name: &str| -> Result<PathBuf, PluginError> {
            let path = self.work.join(name);
            std::fs::create_dir_all(&path)
                .map_err(|e| PluginError::resource(format!("the folder {} cannot be made: {e}", path.display())))?;
            Ok(path)
        };
        let (upper, work, target) = (folder("upper")?, folder("work")?, folder("root")?);
        let options = OverlayOptions { volatile: true, xattrs: self.store.overlay_xattrs() };
        let overlay = Overlay::mount(&lowers, &upper, &work, &target, options)?;
        let written = archive(overlay.path(), &self.archive, self.time, cancel);
        overlay.unmount()?;
        written
    }
}

/// Writes the manifests below `root` into `path`; nothing is left there after an error.
pub(super) fn archive(
    root: &Path,
    path: &Path,
    time: Timestamp,
    cancel: &CancellationToken,
) -> Result<Written, PluginError> {
    let root = Root::open(root)?;
    let files = find(&root)?;
    let written = write(&root, &files, path, time, cancel);
    if written.is_err() {
        // What is not whole must not be taken for it.
        let _ = std::fs::remove_file(path);
    }
    written
}

/// A file of the image and its name in the archive.
#[derive(Debug)]
struct Manifest {
    path: PathBuf,
    name: String,
}

/// All files of the folder, by name. Links to files of the folder stand for those.
fn find(root: &Root) -> Result<Vec<Manifest>, PluginError> {
    match root.lstat(Path::new(FOLDER))? {
        None => return Err(ManifestsError::Absent.into()),
        Some(node) if !node.is_dir() => return Err(ManifestsError::NoFolder { found: node.kind.as_str() }.into()),
        Some(_) => {}
    }
    let (mut found, mut waiting, mut entries) = (Vec::new(), vec![PathBuf::from(FOLDER)], 0);
    while let Some(folder) = waiting.pop() {
        for name in root.list(&folder)? {
            entries += 1;
            if entries > MAX_ENTRIES {
                return Err(ManifestsError::TooMuch { limit: MAX_ENTRIES, unit: "files and folders" }.into());
            }
            let path = folder.join(name);
            let Some(node) = root.lstat(&path)? else { continue };
            match node.kind {
                NodeKind::Directory => waiting.push(path),
                NodeKind::File => found.push(manifest(path)?),
                NodeKind::Symlink => {
                    check_link(root, &path)?;
                    found.push(manifest(path)?);
                }
                other => return Err(ManifestsError::Special { path, found: other.as_str() }.into()),
            }
        }
    }
    if found.is_empty() {
        return Err(ManifestsError::Empty.into());
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn manifest(path: PathBuf) -> Result<Manifest, ManifestsError> {
    // Some readers of archives take a backslash for a slash.
    let name = path.strip_prefix(FOLDER).ok().and_then(Path::to_str).filter(|name| !name.contains(['\\', '\0']));
    match name.map(str::to_owned) {
        Some(name) => Ok(Manifest { path, name }),
        None => Err(ManifestsError::Name { path }),
    }
}

/// A link may stand for another file of the folder and for nothing else.
fn check_link(root: &Root, path: &Path) -> Result<(), PluginError> {
    let refused = |why| -> Result<(), PluginError> {
        let target = root.read_link(path)?;
        Err(ManifestsError::Link { path: path.to_owned(), target, why }.into())
    };
    match root.stat(path)? {
        None => return refused("not there"),
        Some(node) if node.is_dir() => return refused("a folder"),
        Some(node) if !node.is_file() => return refused("no file"),
        Some(_) => {}
    }
    if root.resolve(path)?.starts_with(FOLDER) { Ok(()) } else { refused("outside of /manifests") }
}

fn write(
    root: &Root,
    files: &[Manifest],
    path: &Path,
    time: Timestamp,
    cancel: &CancellationToken,
) -> Result<Written, PluginError> {
    let failed = |source: io::Error| PluginError::from(ManifestsError::Write { path: path.to_owned(), source });
    let out = File::options().create(true).truncate(true).read(true).write(true).open(path).map_err(failed)?;
    let mut archive = ZipWriter::new(BufWriter::new(out));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(zip_time(time))
        .unix_permissions(0o644);
    let mut left = MAX_BYTES;
    for file in files {
        if cancel.is_cancelled() {
            return Err(PluginError::Cancelled);
        }
        archive.start_file(file.name.as_str(), options).map_err(|error| failed(error.into()))?;
        let mut content = root.open_file(&file.path)?.take(left + 1);
        left = left
            .checked_sub(io::copy(&mut content, &mut archive).map_err(failed)?)
            .ok_or(ManifestsError::TooMuch { limit: MAX_BYTES, unit: "bytes" })?;
    }
    let mut out = archive.finish().map_err(|error| failed(error.into()))?;
    out.flush().map_err(failed)?;
    let bytes = std::fs::read(path).map_err(failed)?;
    let md5sum = crate::plugins::fetch_maven_artifacts::hex(&Md5::digest(&bytes));
    Ok(Written { files: files.len(), size: bytes.len() as u64, md5sum })
}

/// What a zip archive can say of a time: UTC, to two seconds, from 1980 on.
fn zip_time(time: Timestamp) -> DateTime {
    let text = time.to_string();
    let number = |from: usize, to: usize| text.get(from..to).and_then(|digits| digits.parse::<u8>().ok());
    let parts = || {
        let year = text.get(..4)?.parse().ok()?;
        let (month, day, hour) = (number(5, 7)?, number(8, 10)?, number(11, 13)?);
        DateTime::from_date_and_time(year, month, day, hour, number(14, 16)?, number(17, 19)?).ok()
    };
    parts().unwrap_or_default()
}
