//! Times as Koji says them. In the database they are microseconds since the epoch.

use jiff::Timestamp;
use osbs_koji::Value;

/// What the clock says, in microseconds since the epoch.
pub(crate) fn system_clock() -> i64 {
    Timestamp::now().as_microsecond()
}

/// `2026-11-23 03:35:02.155186+00:00`: microseconds left out when zero (client-and-koji 5.1).
pub(crate) fn time_text(micros: i64) -> String {
    let time = Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH);
    let form =
        if micros.rem_euclid(1_000_000) == 0 { "%Y-%m-%d %H:%M:%S+00:00" } else { "%Y-%m-%d %H:%M:%S.%6f+00:00" };
    time.strftime(form).to_string()
}

/// The text, or nil.
pub(crate) fn time_value(micros: Option<i64>) -> Value {
    micros.map(time_text).into()
}

/// Seconds since the epoch, or nil: the companion `X_ts`.
pub(crate) fn seconds_value(micros: Option<i64>) -> Value {
    micros.map(seconds).into()
}

/// Seconds since the epoch.
pub(crate) fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

/// Microseconds from seconds; what is no time is none.
pub(crate) fn micros_of(seconds: f64) -> Option<i64> {
    let micros = seconds * 1e6;
    // The range that `time_text` can write.
    (micros.is_finite() && micros.abs() < 2e17).then(|| micros.round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_real_hub_writes_them() {
        for (micros, text) in [
            (1_795_405_271_555_333, "2026-11-23 03:41:11.555333+00:00"),
            (1_795_405_271_000_000, "2026-11-23 03:41:11+00:00"),
            (1_795_405_271_000_010, "2026-11-23 03:41:11.000010+00:00"),
            (0, "1970-01-01 00:00:00+00:00"),
        ] {
            assert_eq!(time_text(micros), text);
            assert_eq!(micros_of(seconds(micros)), Some(micros));
        }
        assert_eq!(micros_of(f64::NAN), None);
        assert_eq!(micros_of(1e300), None);
    }
}
