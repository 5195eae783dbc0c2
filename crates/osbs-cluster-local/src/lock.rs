//! The lock that says a build's runner lives. The kernel lets go of it when the last process that holds it dies, however
//! it dies, so nothing has to be believed about process ids.

use crate::layout::{BuildPaths, storage};
use osbs_cluster::ClusterError;
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

fn open(paths: &BuildPaths) -> Result<File, ClusterError> {
    let path = paths.lock();
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(storage("open", &path))
}

/// Takes the lock, if nobody has it. It can be handed to a child process: it is held until both have closed it.
pub(crate) fn take(paths: &BuildPaths) -> Result<Option<File>, ClusterError> {
    let file = open(paths)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(storage("lock", &paths.lock())(error.into())),
    }
}

/// Whether somebody has it. Testing it does not disturb others that test it.
pub(crate) fn is_held(paths: &BuildPaths) -> Result<bool, ClusterError> {
    let path = paths.lock();
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(storage("open", &path)(error)),
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(storage("lock", &path)(error.into())),
    }
}

/// The lock a runner was given as its standard input; without one (started by hand) it is taken here. `None`: another
/// runner has it.
pub(crate) fn inherit_or_take(paths: &BuildPaths) -> Result<Option<File>, ClusterError> {
    let given = io::stdin().as_fd().try_clone_to_owned().map(File::from);
    if let (Ok(given), Ok(ours)) = (given, std::fs::metadata(paths.lock())) {
        let same = given.metadata().is_ok_and(|m| (m.dev(), m.ino()) == (ours.dev(), ours.ino()));
        if same && flock(&given, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Ok(Some(given));
        }
    }
    take(paths)
}
