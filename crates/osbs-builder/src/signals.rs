//! Names of signals, for STOPSIGNAL: those that a container engine on Linux knows.

use osbs_dockerfile::nearest;

const NAMES: [&str; 37] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL",
    "PROF", "PWR", "QUIT", "RTMAX", "RTMIN", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU",
    "UNUSED", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
];

/// Whether `text` is a signal: a number, or a name with or without `SIG`, in any letter case. Else what may be meant.
pub(crate) fn check(text: &str) -> Result<(), String> {
    if let Ok(number) = text.parse::<u32>() {
        return if (1..=64).contains(&number) { Ok(()) } else { Err("the numbers are 1 to 64".into()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |prefix: &str, most: u32| {
        name.strip_prefix(prefix).and_then(|number| number.parse().ok()).is_some_and(|it: u32| (1..=most).contains(&it))
    };
    if NAMES.contains(&name) || real_time("RTMIN+", 15) || real_time("RTMAX-", 14) {
        return Ok(());
    }
    Err(match nearest(name, NAMES) {
        Some(meant) => format!("did you mean SIG{meant}?"),
        None => "expected a name such as SIGTERM, or a number".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn names_and_numbers() {
        for text in ["9", "64", "SIGTERM", "KILL", "sigint", "SIGRTMIN+3", "RTMAX-14", "SIGRTMAX"] {
            check(text).expect(text);
        }
        for text in ["", "0", "65", "SIG", "TERM;x", "SIGRTMIN+16", "RTMAX-0", "SIGRTMIN+x", "-9"] {
            check(text).expect_err(text);
        }
        assert!(check("SIGTREM").expect_err("misspelt").contains("SIGTERM"));
    }
}
