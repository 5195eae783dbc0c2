//! Lines of the Dockerfile as it was committed, for lines of the one that plugins have edited: an error has to name the line
//! that its author sees.
//!
//! Compares texts only. Plugins insert lines, and replace some by as many others; they reorder none.

/// How far ahead a committed line is looked for, to tell an inserted line from a replaced one.
const AHEAD: usize = 1000;

/// The line of `committed` that line `number` (from 1) of `edited` was; `None` for one that a plugin has inserted.
pub(crate) fn committed_line(committed: &str, edited: &str, number: usize) -> Option<usize> {
    let committed: Vec<_> = committed.lines().collect();
    let edited: Vec<_> = edited.lines().collect();
    let mut next = 0;
    for (index, line) in edited.iter().enumerate().take(number) {
        let expected = committed.get(next)?;
        let is_inserted = line != expected && edited[index..].iter().take(AHEAD).any(|later| later == expected);
        if !is_inserted {
            next += 1;
        }
        if index + 1 == number {
            return (!is_inserted).then_some(next);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::committed_line;

    #[test]
    fn lines_are_those_of_the_author() {
        let committed = "FROM a\nLABEL x=1\nUSER root\nRUN one\n\nRUN two \\\n  more\nUSER me\n";
        let edited = "FROM sha256:1\nADD repos /etc\nUSER root\nRUN mv x\nLABEL x=1\nUSER root\nRUN one\n\nRUN two \\\n  more\n\
                      USER me\nUSER root\nRUN rm repos\nUSER me\nLABEL y=2\n";
        for (line, expected) in [
            (1, Some(1)),
            (2, None),
            (4, None),
            (5, Some(2)),
            (6, Some(3)),
            (7, Some(4)),
            (9, Some(6)),
            (10, Some(7)),
            (13, None),
            (15, None),
            (99, None),
        ] {
            assert_eq!(committed_line(committed, edited, line), expected, "{line}");
        }
        assert_eq!(committed_line(committed, committed, 4), Some(4));
        assert_eq!(committed_line("", "RUN x\n", 1), None);
    }
}
