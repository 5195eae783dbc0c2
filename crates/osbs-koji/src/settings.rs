//! How patient a client is, and what it bears: plain data.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// One repetition that is about to be waited for: for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retried {
    /// The method that is called, or what is uploaded.
    pub action: String,
    /// Host and port of the hub.
    pub hub: String,
    /// The attempt that failed, from 1.
    pub attempt: u32,
    /// Why.
    pub reason: String,
    /// How long is waited now.
    pub delay: Duration,
}

/// Who is told of repetitions.
pub type RetryObserver = Arc<dyn Fn(&Retried) + Send + Sync>;

/// Settings of a client.
#[derive(Clone)]
pub struct Settings {
    /// How long a hub that does not answer, or is offline, is waited for. The stock client gives up after 10 minutes.
    pub patience: Duration,
    /// Longest delay between two attempts; the first repetition comes at once, then delays double from `base_delay`.
    pub max_delay: Duration,
    /// The second repetition's delay.
    pub base_delay: Duration,
    /// Longest wait for the answer to a call that only reads.
    pub read_limit: Duration,
    /// Longest wait for the answer to any other call: an import digests gigabytes before it answers.
    pub change_limit: Duration,
    /// How long a call that changes something, and is on its way, is still waited for after a cancellation: its answer
    /// tells what must be undone.
    pub grace: Duration,
    /// Most bytes of an answer.
    pub max_answer: u64,
    /// Bytes of a block of an upload (`reactor.md` 1.10).
    pub block: usize,
    /// Upload raw bytes; else in calls with base64 (`koji.use_fast_upload`).
    pub fast_upload: bool,
    /// Keep the session in the URL as clients before 1.31 did, whatever the hub understands.
    pub sessions_in_url: bool,
    /// Who is told of repetitions.
    pub on_retry: Option<RetryObserver>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            patience: Duration::from_mins(15),
            max_delay: Duration::from_secs(20),
            base_delay: Duration::from_secs(1),
            read_limit: Duration::from_mins(5),
            change_limit: Duration::from_hours(1),
            grace: Duration::from_secs(10),
            max_answer: 32 << 20,
            block: 10_485_760,
            fast_upload: true,
            sessions_in_url: false,
            on_retry: None,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("patience", &self.patience).finish_non_exhaustive()
    }
}

impl Settings {
    /// Delay before repetition `attempt`, from 1: the first one at once, as many connections are only stale. `jitter` is a
    /// random number in 0..1.
    pub(crate) fn delay(&self, attempt: u32, jitter: f64) -> Duration {
        let Some(doublings) = attempt.checked_sub(2) else { return Duration::ZERO };
        let whole = self.base_delay.saturating_mul(2_u32.saturating_pow(doublings)).min(self.max_delay);
        whole.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays() {
        let settings = Settings::default();
        let seconds: Vec<u64> = (1..9).map(|attempt| settings.delay(attempt, 1.0).as_secs()).collect();
        assert_eq!(seconds, [0, 1, 2, 4, 8, 16, 20, 20]);
        assert_eq!(settings.delay(u32::MAX, 0.0), Duration::from_secs(10));
    }
}
