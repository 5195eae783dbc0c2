//! Values of `--chmod`: octal or symbolic, as chmod(1) has them.

use crate::error::InstructionError;

/// A change of permission bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ModeChange {
    /// All bits.
    Octal(u32),
    /// `u=rwX,go-w`.
    Symbolic(Vec<Clause>),
}

/// One of `[ugoa]*[-+=][rwxXst]*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clause {
    /// Which of 0o4700, 0o2070 and 0o1007 it is about.
    who: u32,
    operator: char,
    permissions: String,
}

const USER: u32 = 0o4700;
const GROUP: u32 = 0o2070;
const OTHER: u32 = 0o1007;

impl ModeChange {
    pub(crate) fn parse(text: &str) -> Result<Self, InstructionError> {
        let wrong = || InstructionError::BadValue {
            what: "--chmod",
            value: text.to_owned(),
            expected: "an octal mode such as 0755, or a symbolic one such as u=rwX,go=rX".into(),
        };
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8).map_err(|_| wrong())?;
            return if mode <= 0o7777 { Ok(Self::Octal(mode)) } else { Err(wrong()) };
        }
        let mut clauses = Vec::new();
        for clause in text.split(',') {
            let at = clause.find(['+', '-', '=']).ok_or_else(wrong)?;
            let mut who = 0;
            for class in clause[..at].chars() {
                who |= match class {
                    'u' => USER,
                    'g' => GROUP,
                    'o' => OTHER,
                    'a' => USER | GROUP | OTHER,
                    _ => return Err(wrong()),
                };
            }
            if who == 0 {
                who = USER | GROUP | OTHER;
            }
            // Several operators after one class: `u+r-x`.
            let mut rest = &clause[at..];
            while let Some(operator) = rest.chars().next() {
                let end = rest[1..].find(['+', '-', '=']).map_or(rest.len(), |next| next + 1);
                let permissions = &rest[1..end];
                if !permissions.chars().all(|c| "rwxXstugo".contains(c)) {
                    return Err(wrong());
                }
                clauses.push(Clause { who, operator, permissions: permissions.to_owned() });
                rest = &rest[end..];
            }
        }
        Ok(Self::Symbolic(clauses))
    }

    /// The new mode of something that has `old`.
    pub(crate) fn apply(&self, old: u32, folder: bool) -> u32 {
        match self {
            Self::Octal(mode) => *mode,
            Self::Symbolic(clauses) => clauses.iter().fold(old, |mode, clause| clause.apply(mode, folder)),
        }
    }
}

impl Clause {
    fn apply(&self, mode: u32, folder: bool) -> u32 {
        let mut bits = 0;
        for permission in self.permissions.chars() {
            bits |= match permission {
                'r' => 0o444,
                'w' => 0o222,
                'x' => 0o111,
                'X' if folder || mode & 0o111 != 0 => 0o111,
                's' => 0o6000,
                't' => 0o1000,
                'u' => ((mode >> 6) & 7) * 0o111,
                'g' => ((mode >> 3) & 7) * 0o111,
                'o' => (mode & 7) * 0o111,
                _ => 0,
            };
        }
        let bits = bits & self.who;
        match self.operator {
            '+' => mode | bits,
            '-' => mode & !bits,
            _ => (mode & !(self.who & 0o777)) | bits,
        }
    }
}

/// The umask of this process, without changing it.
pub(crate) fn current_umask() -> u32 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix("Umask:"));
    // Unknown: as if it hid everything, which costs a call for each file.
    value.and_then(|value| u32::from_str_radix(value.trim(), 8).ok()).unwrap_or(0o777)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_change_as_by_chmod() {
        let check = |text: &str, old: u32, folder: bool, expected: u32| {
            assert_eq!(ModeChange::parse(text).expect(text).apply(old, folder), expected, "{text} on {old:o}");
        };
        check("755", 0o600, false, 0o755);
        check("0", 0o644, false, 0);
        check("4711", 0o600, false, 0o4711);
        check("u=rwX,go=rX", 0o600, false, 0o644);
        check("u=rwX,go=rX", 0o600, true, 0o755);
        check("+x", 0o644, false, 0o755);
        check("g-w,o=", 0o666, false, 0o640);
        check("u+s,g+s", 0o755, false, 0o6755);
        check("a+t", 0o777, true, 0o1777);
        check("g=u", 0o640, false, 0o660);
        check("u+r-x", 0o100, false, 0o400);
        for text in ["", "999", "77777", "u", "z+x", "u+q", "0x1"] {
            ModeChange::parse(text).expect_err(text);
        }
    }
}
