//! The known name that looks most like a misspelt one.

/// The nearest of `known` to `name`, if it is near enough to be meant: a third of its letters may
/// differ, or two of a short name (letters that changed places), or one of three.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let letters = name.chars().count();
    let limit = if letters < 4 { 1 } else { (letters / 3).max(2) };
    known
        .into_iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate.to_owned())
}

/// Levenshtein's, on characters. Names longer than any key are nothing's neighbour.
fn distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 100;
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(LONGEST).collect(), b.chars().take(LONGEST).collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn suggests_only_what_is_near() {
        let known = ["namespace", "can_orchestrate", "git_commit"];
        assert_eq!(nearest("can_orchestate", known).as_deref(), Some("can_orchestrate"));
        assert_eq!(nearest("namespce", known).as_deref(), Some("namespace"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("", known), None);
    }
}
