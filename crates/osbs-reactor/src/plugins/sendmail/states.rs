//! Which ends of a build are worth a mail. Pure.

use crate::plugin::PluginError;

/// How a build ended, as far as mail is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Ended {
    /// `check_and_set_rebuild` says that nobody asked for it.
    pub(super) autorebuild: bool,
    /// It failed; a cancelled build did.
    pub(super) failed: bool,
    /// Somebody stopped it.
    pub(super) cancelled: bool,
}

impl Ended {
    /// The word for subject and body.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self { cancelled: true, .. } => "Canceled",
            Self { failed: true, .. } => "Failed",
            _ => "Succeeded",
        }
    }

    fn is(self, state: State) -> bool {
        let (wants_autorebuild, holds) = match state {
            State::ManualSuccess => (false, !self.failed),
            State::ManualFail => (false, self.failed),
            State::ManualCanceled => (false, self.cancelled),
            State::AutoSuccess => (true, !self.failed),
            State::AutoFail => (true, self.failed),
            State::AutoCanceled => (true, self.cancelled),
        };
        holds && self.autorebuild == wants_autorebuild
    }
}

/// A state of `send_on`, in OSBS's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    ManualSuccess,
    ManualFail,
    ManualCanceled,
    AutoSuccess,
    AutoFail,
    AutoCanceled,
}

const STATES: [(&str, State); 6] = [
    ("manual_success", State::ManualSuccess),
    ("manual_fail", State::ManualFail),
    ("manual_canceled", State::ManualCanceled),
    ("auto_success", State::AutoSuccess),
    ("auto_fail", State::AutoFail),
    ("auto_canceled", State::AutoCanceled),
];

/// What a list without `send_on` means.
pub(super) const DEFAULT: [&str; 4] = ["auto_canceled", "auto_fail", "manual_success", "manual_fail"];

/// Whether one of the states holds.
///
/// # Errors
/// A word that is no state, whatever the others say.
pub(super) fn wanted(send_on: &[String], ended: Ended) -> Result<bool, PluginError> {
    let mut any = false;
    for word in send_on {
        let state = STATES.iter().find(|(name, _)| name == word).map(|(_, state)| *state).ok_or_else(|| {
            let known: Vec<_> = STATES.iter().map(|(name, _)| *name).collect();
            PluginError::policy(format!("send_on of sendmail: {word:?} is none of {}", known.join(", ")))
        })?;
        any |= ended.is(state);
    }
    Ok(any)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDS: [(&str, Ended); 6] = [
        ("success", Ended { autorebuild: false, failed: false, cancelled: false }),
        ("fail", Ended { autorebuild: false, failed: true, cancelled: false }),
        ("cancel", Ended { autorebuild: false, failed: true, cancelled: true }),
        ("auto success", Ended { autorebuild: true, failed: false, cancelled: false }),
        ("auto fail", Ended { autorebuild: true, failed: true, cancelled: false }),
        ("auto cancel", Ended { autorebuild: true, failed: true, cancelled: true }),
    ];

    #[test]
    fn the_table_of_states() {
        // A row a state: whether it holds for each of ENDS.
        let table = [
            ("manual_success", [true, false, false, false, false, false]),
            ("manual_fail", [false, true, true, false, false, false]),
            ("manual_canceled", [false, false, true, false, false, false]),
            ("auto_success", [false, false, false, true, false, false]),
            ("auto_fail", [false, false, false, false, true, true]),
            ("auto_canceled", [false, false, false, false, false, true]),
        ];
        for (state, expected) in table {
            for ((what, ended), expected) in ENDS.iter().zip(expected) {
                assert_eq!(wanted(&[state.to_owned()], *ended).unwrap(), expected, "{state}, {what}");
            }
        }
        let default: Vec<_> = DEFAULT.iter().map(|&state| state.to_owned()).collect();
        let by_default: Vec<_> = ENDS.iter().map(|(_, ended)| wanted(&default, *ended).unwrap()).collect();
        assert_eq!(by_default, [true, true, true, false, true, true]);
        assert!(!wanted(&[], ENDS[1].1).unwrap(), "no state: never");
    }

    #[test]
    fn unknown_states_are_told() {
        let states = ["manual_fail", "auto_failed"].map(str::to_owned);
        let error = wanted(&states, ENDS[1].1).unwrap_err().to_string();
        assert!(error.contains("\"auto_failed\" is none of manual_success, "), "{error}");
    }

    #[test]
    fn words() {
        let words: Vec<_> = ENDS.iter().map(|(_, ended)| ended.word()).collect();
        assert_eq!(words, ["Succeeded", "Failed", "Canceled", "Succeeded", "Failed", "Canceled"]);
    }
}
