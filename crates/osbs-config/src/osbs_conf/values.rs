//! Texts of `osbs.conf` to values (`client-and-koji.md` 1.3, 1.5).

use crate::problem::ProblemKind;
use crate::registry_uri::{RegistryUri, RegistryUriError};
use std::collections::BTreeMap;

/// A secret that every build of an instance gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSecret {
    /// Its name.
    pub secret: String,
    /// Where it appears; `None` = the default place.
    pub path: Option<String>,
}

/// What a build runs in: `image:PULLSPEC` or `imagestream:STREAM:TAG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildFrom {
    /// A pull spec.
    Image(String),
    /// `STREAM:TAG`.
    ImageStream(String),
}

pub(super) fn bad(value: &str, expected: &str) -> ProblemKind {
    ProblemKind::BadValue { value: value.to_owned(), expected: expected.to_owned() }
}

/// A number that is not 0, or `true` in any case. Everything else is false, never an error; the second value says
/// whether it was spelt so that nobody can mistake it.
pub(super) fn boolean(text: &str) -> (bool, bool) {
    if let Ok(number) = text.trim().parse::<i128>() {
        (number != 0, true)
    } else {
        let truth = text.eq_ignore_ascii_case("true");
        (truth, truth || text.eq_ignore_ascii_case("false"))
    }
}

pub(super) fn list(text: &str) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    text.split(',').map(|item| item.trim().to_owned()).collect()
}

pub(super) fn node_selector(text: &str) -> Result<BTreeMap<String, String>, ProblemKind> {
    if text.is_empty() || text == "none" {
        return Ok(BTreeMap::new());
    }
    text.split(',')
        .map(|part| {
            let (key, value) =
                part.split_once('=').ok_or_else(|| bad(text, "none, or LABEL=VALUE, LABEL=VALUE ..."))?;
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        })
        .collect()
}

/// Every bad entry is told; the same secret twice: the last wins, at the place of the first.
pub(super) fn token_secrets(text: &str) -> (Vec<TokenSecret>, Vec<ProblemKind>) {
    let (mut secrets, mut problems) = (Vec::<TokenSecret>::new(), Vec::new());
    for entry in text.split_whitespace() {
        let (secret, path) = entry.split_once(':').map_or((entry, None), |(secret, path)| (secret, Some(path)));
        if secret.is_empty() || path.is_some_and(|path| path.trim_end_matches('/').is_empty()) {
            problems.push(bad(entry, "SECRET or SECRET:PATH with a path that is not empty or /"));
            continue;
        }
        let new = TokenSecret { secret: secret.to_owned(), path: path.map(str::to_owned) };
        match secrets.iter_mut().find(|known| known.secret == new.secret) {
            Some(known) => *known = new,
            None => secrets.push(new),
        }
    }
    (secrets, problems)
}

pub(super) fn equal_labels(text: &str) -> Result<Vec<Vec<String>>, ProblemKind> {
    let wrong = || bad(text, "groups of two or more labels, as in name1:name2, release1:release2");
    let groups: Vec<Vec<String>> = text
        .split(',')
        .filter(|_| !text.trim().is_empty())
        .map(|group| group.split(':').map(|label| label.trim().to_owned()).collect())
        .collect();
    let labels = groups.iter().flatten();
    let sound = labels.clone().all(|label| !label.is_empty() && !label.contains(char::is_whitespace));
    if sound && groups.iter().all(|group| group.len() >= 2) { Ok(groups) } else { Err(wrong()) }
}

pub(super) fn registries(text: &str) -> Result<Vec<RegistryUri>, RegistryUriError> {
    list(text).iter().map(|item| item.parse()).collect()
}

pub(super) fn build_from(text: &str) -> Result<BuildFrom, ProblemKind> {
    match text.split_once(':') {
        Some(("image", image)) if !image.is_empty() => Ok(BuildFrom::Image(image.to_owned())),
        Some(("imagestream", stream)) if stream.contains(':') => Ok(BuildFrom::ImageStream(stream.to_owned())),
        _ => Err(bad(text, "image:PULLSPEC or imagestream:STREAM:TAG")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans() {
        for (text, value, clear) in [
            ("1", true, true),
            ("2", true, true),
            ("-1", true, true),
            ("0", false, true),
            ("true", true, true),
            ("TRUE", true, true),
            ("False", false, true),
            ("yes", false, false),
            ("on", false, false),
            ("", false, false),
            ("treu", false, false),
        ] {
            assert_eq!(boolean(text), (value, clear), "{text:?}");
        }
    }

    #[test]
    fn node_selectors() {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        for (text, expected) in [
            ("", Some(map(&[]))),
            ("none", Some(map(&[]))),
            ("a=b, c = d=e", Some(map(&[("a", "b"), ("c", "d=e")]))),
            ("None", None),
            ("a=b,", None),
        ] {
            assert_eq!(node_selector(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn secrets() {
        let (secrets, problems) = token_secrets("a:b:c\n d  e:/x e:/y");
        assert!(problems.is_empty());
        let got: Vec<_> = secrets.iter().map(|s| (s.secret.as_str(), s.path.as_deref())).collect();
        assert_eq!(got, [("a", Some("b:c")), ("d", None), ("e", Some("/y"))]);
        assert_eq!(token_secrets("a: b:/ :/c").1.len(), 3);
    }

    #[test]
    fn label_groups() {
        let groups = equal_labels("a:b:c, d:e").unwrap();
        assert_eq!(groups, [vec!["a", "b", "c"], vec!["d", "e"]]);
        for text in ["a", "a:b, c", "a b:c", "a:", ":"] {
            assert!(equal_labels(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn images_to_build_in() {
        assert_eq!(build_from("image:r/x:1"), Ok(BuildFrom::Image("r/x:1".into())));
        assert_eq!(build_from("imagestream:s:t"), Ok(BuildFrom::ImageStream("s:t".into())));
        for text in ["r/x:1", "imagestream:s", "image:", ""] {
            assert!(build_from(text).is_err(), "{text:?}");
        }
    }
}
