//! Request bodies: nothing, bytes, or a stream that can (or cannot) be made again for a retry.

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Pieces of a body.
pub type BodyStream = BoxStream<'static, io::Result<Bytes>>;

type MakeBody = Arc<dyn Fn() -> io::Result<BodyStream> + Send + Sync>;

/// What a request carries.
#[derive(Clone)]
pub enum RequestBody {
    /// Nothing.
    Empty,
    /// Bytes in memory.
    Bytes(Bytes),
    /// A stream that can be made again for every attempt, with its length when known.
    Replayable {
        /// Bytes, if known: sent as `Content-Length`.
        length: Option<u64>,
        /// Opens a fresh stream.
        make: MakeBody,
    },
    /// A stream that exists once: the request is sent once.
    Once {
        /// Bytes, if known: sent as `Content-Length`.
        length: Option<u64>,
        /// The stream, until it is taken.
        stream: Arc<Mutex<Option<BodyStream>>>,
    },
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::Replayable { length, .. } => write!(f, "Replayable({length:?})"),
            Self::Once { length, .. } => write!(f, "Once({length:?})"),
        }
    }
}

impl RequestBody {
    /// A stream made anew for each attempt.
    pub fn replayable(length: Option<u64>, make: impl Fn() -> io::Result<BodyStream> + Send + Sync + 'static) -> Self {
        Self::Replayable { length, make: Arc::new(make) }
    }

    /// A stream that exists once.
    pub fn once(length: Option<u64>, stream: BodyStream) -> Self {
        Self::Once { length, stream: Arc::new(Mutex::new(Some(stream))) }
    }

    /// Whether another attempt can carry the same body.
    pub fn can_be_sent_again(&self) -> bool {
        !matches!(self, Self::Once { .. })
    }

    /// `Content-Length` to be set by hand, where the body itself does not tell.
    pub(crate) fn explicit_length(&self) -> Option<u64> {
        match self {
            Self::Replayable { length, .. } | Self::Once { length, .. } => *length,
            _ => None,
        }
    }

    /// The body of one attempt; `Ok(None)` when a one-shot body is gone.
    pub(crate) fn open(&self, watch: &Arc<Watch>) -> io::Result<Option<reqwest::Body>> {
        Ok(match self {
            Self::Empty => Some(reqwest::Body::from("")),
            Self::Bytes(bytes) => Some(reqwest::Body::from(bytes.clone())),
            Self::Replayable { make, .. } => Some(watched(make()?, watch)),
            Self::Once { stream, .. } => {
                stream.lock().unwrap_or_else(PoisonError::into_inner).take().map(|stream| watched(stream, watch))
            }
        })
    }
}

/// Sees who is waited for while a body is sent, so that a slow producer (a layer being made) is not taken for a silent
/// server.
#[derive(Debug)]
pub(crate) struct Watch(Mutex<WatchState>);

#[derive(Debug)]
struct WatchState {
    /// Since when the other side has had its turn; `None` while our own producer has it.
    waiting_since: Option<Instant>,
    /// The whole body was handed over.
    sent: bool,
    /// The producer's failure, which reqwest would only show as text.
    failure: Option<io::Error>,
}

impl Watch {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(WatchState { waiting_since: Some(Instant::now()), sent: false, failure: None })))
    }

    fn set(&self, waiting: bool) {
        self.state().waiting_since = waiting.then(Instant::now);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, WatchState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take_failure(&self) -> Option<io::Error> {
        self.state().failure.take()
    }

    /// Ends when the other side has been silent for too long: `idle`, or `commit` once a streamed body is sent. Returns the
    /// limit that was passed.
    pub(crate) async fn silence(&self, idle: Duration, commit: Duration) -> Duration {
        loop {
            let (waited, limit) = {
                let state = self.state();
                let waited = state.waiting_since.map_or(Duration::ZERO, |since| since.elapsed());
                (waited, if state.sent { commit.max(idle) } else { idle })
            };
            if waited >= limit {
                return limit;
            }
            tokio::time::sleep(limit.saturating_sub(waited).max(Duration::from_millis(1))).await;
        }
    }
}

fn watched(stream: BodyStream, watch: &Arc<Watch>) -> reqwest::Body {
    let state = (stream, Arc::clone(watch));
    reqwest::Body::wrap_stream(futures_util::stream::unfold(Some(state), |state| async move {
        let (mut stream, watch) = state?;
        watch.set(false);
        let item = stream.next().await;
        watch.set(true);
        match item {
            Some(Ok(bytes)) => Some((Ok(bytes), Some((stream, watch)))),
            Some(Err(error)) => {
                let kind = error.kind();
                watch.state().failure = Some(error);
                Some((Err(io::Error::from(kind)), None))
            }
            None => {
                watch.state().sent = true;
                None
            }
        }
    }))
}
