//! Quantities as Kubernetes writes them (`1Gi`, `100m`), and so `osbs.conf`.
//!
//! Knows the notation only, not what is sensible.

/// A number of bytes: `1073741824`, `1Gi`, `2G`, `1.5Gi`. `None` when it is something else, or not a whole number.
pub fn bytes(text: &str) -> Option<u64> {
    let unit = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let factor: u64 = match &text[unit..] {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "P" => 1_000_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "Pi" => 1 << 50,
        _ => return None,
    };
    scaled(&text[..unit], factor)
}

/// Thousandths of a unit, for processors: `2`, `1.5`, `100m`. `None` when it is something else or finer than that.
pub fn thousandths(text: &str) -> Option<u32> {
    let number = match text.strip_suffix('m') {
        Some(number) => scaled(number, 1),
        None => scaled(text, 1000),
    };
    number?.try_into().ok()
}

/// `number * factor`, if it is whole. `number` is decimal, without sign.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()) && text.len() <= 18;
    if whole.is_empty() || !is_number(whole) || !is_number(part) || number.ends_with('.') {
        return None;
    }
    let parts = 10_u128.pow(u32::try_from(part.len()).ok()?);
    let all: u128 = format!("{whole}{part}").parse().ok()?;
    let product = all.checked_mul(u128::from(factor))?;
    if product % parts == 0 { u64::try_from(product / parts).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for (text, expected) in [
            ("1Gi", Some(1 << 30)),
            ("1.5Gi", Some(3 << 29)),
            ("2G", Some(2_000_000_000)),
            ("100", Some(100)),
            ("0", Some(0)),
            ("16Ei", None),
            ("1.Gi", None),
            (".5Gi", None),
            ("1.0001", None),
            ("-1", None),
            ("", None),
            ("Gi", None),
            ("1 Gi", None),
            ("1GiB", None),
            ("99999999999999999999", None),
            ("999999999999999999Pi", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
        for (text, expected) in [
            ("1", Some(1000)),
            ("0.5", Some(500)),
            ("100m", Some(100)),
            ("0.0001", None),
            ("x", None),
            ("", None),
            ("99999999", None),
        ] {
            assert_eq!(thousandths(text), expected, "{text}");
        }
    }
}
