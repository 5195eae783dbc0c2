//! The release after a release, as `getNextRelease` says it (client-and-koji 5.6).
//!
//! Must not know the database.

/// The release that follows; `None` if there is no rule for this one.
pub(crate) fn next_release(last: Option<&str>, step: i64) -> Option<String> {
    let Some(last) = last.filter(|release| !release.is_empty()) else { return Some(step.to_string()) };
    let parts: Vec<_> = last.split('.').collect();
    match parts[..] {
        [number] => plus(number, step),
        // `N.DIST`.
        [number, dist] => Some(format!("{}.{dist}", plus(number, step)?)),
        // `DATE.nightly.N`.
        [first, second, number] => Some(format!("{first}.{second}.{}", plus(number, step)?)),
        _ => None,
    }
}

fn plus(digits: &str, step: i64) -> Option<String> {
    let number: i128 = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())??;
    Some(number.checked_add(step.into())?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_counted_up() {
        for (last, step, next) in [
            (None, 1, Some("1")),
            (Some(""), 2, Some("2")),
            (Some("7"), 1, Some("8")),
            (Some("7"), 3, Some("10")),
            (Some("1.fc40"), 1, Some("2.fc40")),
            (Some("123.snapshot.456"), 1, Some("123.snapshot.457")),
            (Some("20261123.nightly.x"), 1, None),
            (Some("fc40"), 1, None),
            (Some("fc40.1"), 1, None),
            (Some("1.2.3.4"), 1, None),
            (Some("+1"), 1, None),
        ] {
            assert_eq!(next_release(last, step).as_deref(), next, "{last:?}");
        }
    }
}
