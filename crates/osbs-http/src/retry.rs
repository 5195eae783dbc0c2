//! When to try again, and after how long: pure functions.

use crate::RetryPolicy;
use jiff::Timestamp;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use std::time::Duration;

/// One repetition that is about to be waited for: for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retried {
    /// Where to, [`crate::shown`].
    pub url: String,
    /// The attempt that failed, from 1.
    pub attempt: u32,
    /// Why.
    pub reason: String,
    /// How long is waited now.
    pub delay: Duration,
}

/// Statuses that may pass by themselves (`reactor.md` 1.10).
pub fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// The server's own wish: seconds or an HTTP date (RFC 9110 10.2.3).
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    Some(Duration::try_from(http_date(text)?.duration_since(now)).unwrap_or(Duration::ZERO))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 5.6.7; its two obsolete forms count as none).
pub(crate) fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()
}

/// Delay before repetition `attempt` (from 1). `wish` is the server's, `jitter` a random number in 0..1: without a wish
/// the delay is between a half and the whole of base * 3^(attempt-1), so that many clients do not come back together.
pub(crate) fn delay(policy: &RetryPolicy, attempt: u32, wish: Option<Duration>, jitter: f64) -> Duration {
    if let Some(wish) = wish {
        return wish.min(policy.max_delay);
    }
    let whole = policy.base_delay.saturating_mul(3_u32.saturating_pow(attempt.saturating_sub(1))).min(policy.max_delay);
    whole.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        for code in [408, 429, 500, 502, 503, 504] {
            assert!(is_transient(StatusCode::from_u16(code).expect("status")), "{code}");
        }
        for code in [200, 301, 400, 401, 403, 404, 416, 501] {
            assert!(!is_transient(StatusCode::from_u16(code).expect("status")), "{code}");
        }
    }

    #[track_caller]
    fn check_wish(header: &str, seconds: Option<u64>) {
        let now: Timestamp = "2026-11-23T10:00:00Z".parse().expect("time");
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, header.parse().expect("header"));
        assert_eq!(retry_after(&headers, now), seconds.map(Duration::from_secs), "{header}");
    }

    #[test]
    fn the_servers_wish() {
        check_wish("7", Some(7));
        check_wish("Mon, 23 Nov 2026 10:00:30 GMT", Some(30));
        check_wish("Mon, 23 Nov 2026 09:00:00 GMT", Some(0));
        check_wish("soon", None);
        assert_eq!(retry_after(&HeaderMap::new(), Timestamp::UNIX_EPOCH), None);
    }

    #[test]
    fn delays_grow_and_are_bounded() {
        let policy = RetryPolicy { retries: 9, base_delay: Duration::from_secs(1), max_delay: Duration::from_secs(20) };
        let whole: Vec<u64> = (1..5).map(|n| delay(&policy, n, None, 1.0).as_secs()).collect();
        assert_eq!(whole, [1, 3, 9, 20]);
        assert_eq!(delay(&policy, 1, None, 0.0), Duration::from_millis(500));
        assert_eq!(delay(&policy, 40, None, 1.0), Duration::from_secs(20));
        assert_eq!(delay(&policy, 1, Some(Duration::from_secs(5)), 0.3), Duration::from_secs(5));
        assert_eq!(delay(&policy, 1, Some(Duration::from_secs(500)), 0.3), Duration::from_secs(20));
    }
}
