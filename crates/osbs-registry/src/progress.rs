//! Who is told how far a transfer is.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

type Observer = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// Told the bytes done and the bytes in all, of one image, from any thread and often. Cheap to clone.
#[derive(Clone, Default)]
pub struct Progress(Option<Observer>);

impl Progress {
    /// Nobody wants to know.
    pub fn none() -> Self {
        Self(None)
    }

    /// `observer(done, total)`, both in bytes. `done` can go back when a transfer starts again.
    pub fn new(observer: impl Fn(u64, u64) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(observer)))
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Progress" } else { "Progress(none)" })
    }
}

/// Sums the parallel transfers of one image.
#[derive(Debug, Clone)]
pub(crate) struct Counter {
    progress: Progress,
    done: Arc<AtomicU64>,
    total: u64,
}

impl Counter {
    pub(crate) fn new(progress: Progress, total: u64) -> Self {
        let counter = Self { progress, done: Arc::default(), total };
        counter.tell(0);
        counter
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.tell(self.done.fetch_add(bytes, Ordering::Relaxed) + bytes);
    }

    pub(crate) fn take_back(&self, bytes: u64) {
        self.tell(self.done.fetch_sub(bytes, Ordering::Relaxed).saturating_sub(bytes));
    }

    /// Says that all is done, whatever was mounted or there already.
    pub(crate) fn complete(&self) {
        self.tell(self.total);
    }

    fn tell(&self, done: u64) {
        if let Some(observer) = &self.progress.0 {
            observer(done.min(self.total), self.total);
        }
    }
}
