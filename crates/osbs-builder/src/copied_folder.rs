//! A source folder and its counterpart while a tree is copied.

use crate::error::FileError;
use crate::file_copy::{Attributes, set_time};
use crate::tree_copy::{Part, SourceTree};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::Stat;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// What a copied folder gets of its source's attributes.
#[derive(Default)]
pub(crate) enum Own {
    #[default]
    Keep,
    Time(Stat),
    All(Stat, Attributes),
}

/// When the last entry below it is done, its attributes are set.
pub(crate) struct Folder {
    pub source: OwnedFd,
    /// Path below the root of the source, for the filter and messages.
    pub rel: Vec<u8>,
    pub depth: usize,
    pub part: Arc<Part>,
    /// Empty until something below it is wanted (`Verdict::Descend`).
    pub target: OnceLock<OwnedFd>,
    /// Held by the one that makes the target.
    pub making: Mutex<()>,
    /// `None`: the caller gave the target.
    pub parent: Option<(Arc<Folder>, CString)>,
    pub own: Mutex<Own>,
    /// Nothing can be in the way there.
    pub blank: AtomicBool,
    /// Of setting attributes, which happens when nobody asks any more.
    pub failed: Arc<Mutex<Option<FileError>>>,
}

impl Folder {
    /// One whose counterpart is there already.
    pub(crate) fn top(
        source: SourceTree,
        target: OwnedFd,
        own: Own,
        blank: bool,
        failed: Arc<Mutex<Option<FileError>>>,
    ) -> Self {
        Self {
            source: source.folder,
            rel: source.rel,
            depth: 0,
            part: source.part,
            target: OnceLock::from(target),
            making: Mutex::default(),
            parent: None,
            own: Mutex::new(own),
            blank: AtomicBool::new(blank),
            failed,
        }
    }

    /// Its counterpart, once something was put there.
    pub(crate) fn made(&self) -> Option<BorrowedFd<'_>> {
        self.target.get().map(|fd| fd.as_fd())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let own = std::mem::take(self.own.get_mut().unwrap_or_else(PoisonError::into_inner));
        let Some(target) = self.target.get() else { return };
        let set = match own {
            Own::Keep => Ok(()),
            Own::Time(stat) => set_time(target.as_fd(), &stat),
            Own::All(stat, attributes) => attributes.apply(self.source.as_fd(), target.as_fd(), &stat),
        };
        if let Err(error) = set {
            let at = PathBuf::from(OsStr::from_bytes(&self.rel));
            lock(&self.failed).get_or_insert(FileError::new("set the attributes of the folder", at, error));
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
