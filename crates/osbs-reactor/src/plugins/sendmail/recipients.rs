//! Who is told. Pure: what Koji would know comes in as lookups that have been made.

use osbs_config::SmtpConfig;
use osbs_types::ErrorKind;

/// Who gets a mail, and why so.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Recipients {
    /// Valid addresses, each once, in order.
    pub(super) addresses: Vec<String>,
    /// Entries that are no address.
    pub(super) dropped: Vec<String>,
    /// Nobody else was found, so these are `error_addresses`.
    pub(super) only_error_addresses: bool,
}

/// Those of the configuration, `found` by lookups, and `error_addresses` where nobody else is, or where only the site's
/// people can mend what made the build fail.
pub(super) fn recipients(smtp: &SmtpConfig, found: &[String], failure: Option<ErrorKind>) -> Recipients {
    let mut all: Vec<String> = smtp.additional_addresses.iter().chain(found).cloned().collect();
    let only_error_addresses = all.is_empty();
    let of_the_service = matches!(failure, Some(ErrorKind::Remote | ErrorKind::Resource | ErrorKind::Internal));
    if only_error_addresses || of_the_service {
        all.extend(smtp.error_addresses.iter().cloned());
    }
    let mut result = Recipients { only_error_addresses, ..Recipients::default() };
    for address in all {
        if !is_address(&address) {
            result.dropped.push(address);
        } else if !result.addresses.contains(&address) {
            result.addresses.push(address);
        }
    }
    result
}

/// `^[a-zA-Z][a-zA-Z0-9-_.+]+@[a-zA-Z0-9-.]+\.[a-zA-Z0-9-]+$`: no space, no comma, no line end can be in it.
fn is_address(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let Some((local, host)) = text.split_once('@') else { return false };
    let Some((domain, top)) = host.rsplit_once('.') else { return false };
    local.len() > 1
        && local.starts_with(|c: char| c.is_ascii_alphabetic())
        && local.chars().all(|c| word(c) || matches!(c, '_' | '.' | '+'))
        && !domain.is_empty()
        && domain.chars().all(|c| word(c) || c == '.')
        && !top.is_empty()
        && top.chars().all(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn addresses() {
        for good in ["al@example.org", "a-b_c.d+e9@mail.example-1.org", "Root@a.b", "ab@x..y"] {
            assert!(is_address(good), "{good}");
        }
        for bad in [
            "",
            "a@example.org",
            "1a@example.org",
            "al@example",
            "al@.org",
            "al@example.",
            "alexample.org",
            "al@@example.org",
            "al@b@example.org",
            "Al <al@example.org>",
            "al@example.org,bo@example.org",
            "al@example.org\n",
            "al\r\nBcc: x@example.org",
            "älice@example.org",
            "al@exämple.org",
            " al@example.org",
            "<al@example.org>",
        ] {
            assert!(!is_address(bad), "{bad:?}");
        }
    }

    #[track_caller]
    fn check(additional: &[&str], found: &[&str], failure: Option<ErrorKind>, expected: &[&str]) {
        let smtp = SmtpConfig {
            additional_addresses: texts(additional),
            error_addresses: texts(&["ops@example.org", "two@example.org"]),
            ..SmtpConfig::default()
        };
        let got = recipients(&smtp, &texts(found), failure);
        assert_eq!(got.addresses, expected, "{additional:?} {found:?} {failure:?}");
        assert_eq!(got.only_error_addresses, additional.is_empty() && found.is_empty());
    }

    #[test]
    fn who() {
        let ops = ["ops@example.org", "two@example.org"];
        check(&["al@example.org"], &["bo@example.org", "al@example.org"], None, &["al@example.org", "bo@example.org"]);
        check(&[], &["bo@example.org"], None, &["bo@example.org"]);
        check(&[], &[], None, &ops);
        // Invalid ones do not make place for others.
        check(&["nobody"], &[], None, &[]);
        check(&["al@example.org", "no body"], &[], None, &["al@example.org"]);
        // Whose turn it is.
        for kind in [ErrorKind::User, ErrorKind::Policy, ErrorKind::Cancelled] {
            check(&["al@example.org"], &[], Some(kind), &["al@example.org"]);
        }
        for kind in [ErrorKind::Remote, ErrorKind::Resource, ErrorKind::Internal] {
            check(&["al@example.org"], &[], Some(kind), &["al@example.org", ops[0], ops[1]]);
        }
    }
}
