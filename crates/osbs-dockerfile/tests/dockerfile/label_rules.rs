//! The rules of `add_labels_in_dockerfile`.

use osbs_dockerfile::LabelMap;
use osbs_dockerfile::label_rules::{LabelRules, LabelRulesError};

fn map(pairs: &[(&str, &str)]) -> LabelMap {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn pairs(map: &LabelMap) -> Vec<(&str, &str)> {
    map.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect()
}

const AUTO: [(&str, &str); 5] = [
    ("build-date", "2024-01-02T03:04:05.678901Z"),
    ("architecture", "x86_64"),
    ("vcs-type", "git"),
    ("vcs-ref", "4f2c1d0"),
    ("com.redhat.build-host", "builder-1"),
];

#[test]
fn worked_example() {
    let rules = LabelRules {
        base: map(&[
            ("name", "fedora"),
            ("Version", "40"),
            ("version", "40"),
            ("io.k8s.description", "base"),
            ("distribution-scope", "restricted"),
        ]),
        dockerfile: map(&[
            ("name", "web"),
            ("Version", "7"),
            ("description", "my web"),
            ("distribution-scope", "private"),
        ]),
        labels: map(&[("release", "3")]),
        image_labels: map(&[("vendor", "Acme"), ("distribution-scope", "public")]),
        auto_values: map(&AUTO),
        equal_labels: vec![vec!["description".into(), "io.k8s.description".into()]],
        ..LabelRules::with_defaults()
    };
    let mut emitted =
        pairs(&rules.apply().expect("valid").emit).into_iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>();
    emitted.sort_unstable();
    let mut expected = vec!["release=3", "vendor=Acme", "version=7", "io.k8s.description=my web"]
        .into_iter()
        .map(str::to_owned)
        .chain(AUTO.iter().map(|(k, v)| format!("{k}={v}")))
        .collect::<Vec<_>>();
    expected.sort_unstable();
    assert_eq!(emitted, expected);
}

/// Old and preferred label, each absent, inherited or explicit; with different or equal values.
#[test]
fn alias_combinations() {
    #[derive(Clone, Copy, Debug)]
    enum At {
        Absent,
        Inherited,
        Explicit,
    }
    type Case<'a> = (At, At, bool, &'a [(&'a str, &'a str)]);
    use At::{Absent, Explicit, Inherited};
    let cases: &[Case<'_>] = &[
        // old, preferred, equal values, emitted
        (Absent, Absent, false, &[]),
        (Absent, Inherited, false, &[]),
        (Absent, Explicit, false, &[]),
        (Inherited, Absent, false, &[("name", "old")]),
        (Explicit, Absent, false, &[("name", "old")]),
        (Inherited, Inherited, false, &[("Name", "preferred")]),
        (Inherited, Inherited, true, &[]),
        (Inherited, Explicit, false, &[("Name", "preferred")]),
        (Inherited, Explicit, true, &[]),
        (Explicit, Inherited, false, &[("name", "old")]),
        (Explicit, Inherited, true, &[]),
        (Explicit, Explicit, false, &[("Name", "preferred")]),
        (Explicit, Explicit, true, &[]),
    ];
    for (old, preferred, equal, expected) in cases {
        let mut rules = LabelRules { auto_labels: Vec::new(), ..LabelRules::with_defaults() };
        let old_value = if *equal { "preferred" } else { "old" };
        for (at, label, value) in [(old, "Name", old_value), (preferred, "name", "preferred")] {
            match at {
                Absent => {}
                Inherited => drop(rules.base.insert(label.into(), value.into())),
                Explicit => drop(rules.dockerfile.insert(label.into(), value.into())),
            }
        }
        let outcome = rules.apply().expect("valid");
        assert_eq!(pairs(&outcome.emit), *expected, "old {old:?}, preferred {preferred:?}, equal {equal}");
    }
}

#[test]
fn aliases_see_parameters() {
    let rules = LabelRules {
        base: map(&[("Release", "1"), ("release", "1")]),
        labels: map(&[("release", "2")]),
        auto_labels: Vec::new(),
        ..LabelRules::with_defaults()
    };
    assert_eq!(pairs(&rules.apply().expect("valid").emit), [("release", "2"), ("Release", "2")]);
}

#[test]
fn automatic_labels() {
    let rules = LabelRules {
        labels: map(&[("architecture", "mine")]),
        auto_values: map(&AUTO[..2]),
        auto_labels: vec!["build-date".into(), "architecture".into(), "vcs-url".into()],
        aliases: LabelMap::new(),
        ..LabelRules::default()
    };
    let outcome = rules.apply().expect("valid");
    assert_eq!(pairs(&outcome.emit), [("architecture", "mine"), AUTO[0]], "explicit parameters win (M25)");
    assert_eq!(outcome.warnings.len(), 1);
    assert!(outcome.warnings[0].contains("vcs-url"));
}

#[test]
fn nothing_given_is_nothing_to_do() {
    assert_eq!(LabelRules::default().apply().expect("valid").emit, LabelMap::new());
}

#[test]
fn equal_labels() {
    type Pairs<'a> = &'a [(&'a str, &'a str)];
    let cases: &[(Pairs, Pairs, Pairs)] = &[
        // base, Dockerfile, emitted; the group is a, b, c
        (&[], &[], &[]),
        (&[], &[("b", "1")], &[("a", "1"), ("c", "1")]),
        (&[("a", "0")], &[("b", "1")], &[("a", "1"), ("c", "1")]),
        (&[("a", "1")], &[("b", "1")], &[("c", "1")]),
        (&[("b", "0")], &[], &[("a", "0"), ("c", "0")]),
        (&[("b", "0"), ("c", "2")], &[], &[("a", "0")]),
        (&[], &[("a", "1"), ("b", "2")], &[("c", "1")]),
        (&[], &[("b", "2"), ("a", "1"), ("c", "3")], &[]),
    ];
    for (base, dockerfile, expected) in cases {
        let rules = LabelRules {
            base: map(base),
            dockerfile: map(dockerfile),
            equal_labels: vec![vec!["a".into(), "b".into(), "c".into()]],
            ..LabelRules::default()
        };
        assert_eq!(pairs(&rules.apply().expect("valid").emit), *expected, "{base:?} {dockerfile:?}");
    }
}

#[test]
fn url() {
    let apply = |format: &str| {
        let rules = LabelRules {
            base: map(&[("com.redhat.component", "web"), ("name", "base")]),
            dockerfile: map(&[("name", "n")]),
            labels: map(&[("release", "3")]),
            info_url_format: Some(format.to_owned()),
            ..LabelRules::default()
        };
        rules.apply().map(|outcome| outcome.emit.get("url").cloned().unwrap_or_default())
    };
    assert_eq!(apply("https://x/{com.redhat.component}/{name}-{release}"), Ok("https://x/web/n-3".into()));
    assert_eq!(apply("{{x}}"), Ok("{x}".into()));
    assert!(matches!(apply("{gone}"), Err(LabelRulesError::UnknownLabelInUrl { label, .. }) if label == "gone"));
    for bad in ["{name", "name}", "{"] {
        assert!(matches!(apply(bad), Err(LabelRulesError::UrlFormat { .. })), "{bad}");
    }
}

#[test]
fn what_is_not_overwritten() {
    let rules = LabelRules {
        base: map(&[("keep", "base"), ("both", "base")]),
        dockerfile: map(&[("same", "1"), ("own", "mine"), ("both", "mine")]),
        labels: map(&[("same", "1"), ("own", "theirs"), ("keep", "theirs"), ("both", "theirs"), ("new", "x")]),
        dont_overwrite: vec!["keep".into(), "both".into()],
        dont_overwrite_if_in_dockerfile: vec!["own".into()],
        ..LabelRules::default()
    };
    assert_eq!(pairs(&rules.apply().expect("valid").emit), [("both", "theirs"), ("new", "x")]);
}
