//! Checksums of uploads, computed before the transaction of an import and remembered for it.

use super::{directory, metadata_and_text};
use crate::checksum::Checksum;
use crate::database::Access;
use crate::dispatch;
use crate::hub::HubState;
use crate::paths::{WORK, below};
use crate::role::Role;
use crate::sessions::Caller;
use crate::uploads::files;
use osbs_koji::{Arguments, Fault, Value};
use osbs_sandbox::rooted::Root;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Checksums that are remembered.
const MOST: usize = 256;

/// A file's content, as far as the kernel vouches for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            file: (metadata.dev(), metadata.ino()),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// Checksums of files that have not changed since.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    known: Mutex<VecDeque<(Identity, Checksum, String)>>,
}

impl Sums {
    /// The checksum of a file, in hex: the remembered one, if the file is still the same.
    ///
    /// # Errors
    /// Reading failed.
    pub(super) fn of(&self, mut file: &File, checksum: Checksum) -> io::Result<String> {
        let before = Identity::of(file)?;
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.iter().find(|(identity, kind, _)| (*identity, *kind) == (before, checksum));
        if let Some((_, _, hex)) = found {
            return Ok(hex.clone());
        }
        drop(known);
        file.seek(SeekFrom::Start(0))?;
        let hex = checksum.of_file(&mut file)?;
        if Identity::of(file)? == before {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.truncate(MOST - 1);
            known.push_front((before, checksum, hex.clone()));
        }
        Ok(hex)
    }
}

/// Computes the checksums that an import will ask for, for a caller who may import. Whatever is wrong with the import is
/// left for the import to say.
///
/// # Errors
/// The session is none, or may not import.
pub(crate) async fn measure(hub: Arc<HubState>, caller: Caller, params: Vec<Value>) -> Result<(), Fault> {
    let what = ("CGImport", Access::Read, Role::ContentGenerator);
    dispatch::work(hub, caller, what, move |call| {
        let sql = "SELECT EXISTS (SELECT 1 FROM cg_users WHERE user_id = ? AND revoke_event IS NULL)";
        if call.tx.prepare_cached(sql)?.query_row([call.user()?.user_id], |row| row.get(0))? {
            let top = Root::open(&call.hub.topdir).map_err(files)?;
            // The import itself says what is wrong.
            let _ = measure_all(&top, call.hub, params);
        }
        Ok(())
    })
    .await
}

fn measure_all(top: &Root, hub: &HubState, params: Vec<Value>) -> Option<()> {
    let arguments = Arguments::from_params(params);
    let argument = |index: usize, name: &str| {
        arguments.positional.get(index).or_else(|| arguments.named.get(name)).cloned().unwrap_or_default()
    };
    let directory = directory(argument(1, "directory").as_str()?).ok()?;
    let (metadata, _) = metadata_and_text(top, &argument(0, "metadata"), &directory).ok()?;
    for output in metadata.get("output").as_array()? {
        let relpath = below("relpath", output.get("relpath").as_str().unwrap_or_default()).ok()?;
        let name = below("filename", output.get("filename").as_str()?).ok()?;
        let path = Path::new(WORK).join(&directory).join(relpath).join(name);
        let checksum = Checksum::named(output.get("checksum_type").as_str()?)?;
        let file = top.open_file(&path).ok()?;
        if Value::Int(file.metadata().ok()?.len() as i64) != *output.get("filesize") {
            return None;
        }
        hub.sums.of(&file, checksum).ok()?;
    }
    Some(())
}
