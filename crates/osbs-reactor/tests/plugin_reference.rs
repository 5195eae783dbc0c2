//! Every plugin says what it is for, and `docs/plugins.md` says what the plugins say.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use osbs_reactor::{plugin_reference, plugins};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/plugins.md");

#[test]
fn every_plugin_is_documented() {
    let gaps: Vec<_> = plugins::all()
        .iter()
        .map(|kind| (kind.name, plugin_reference::gaps(kind)))
        .filter(|(_, gaps)| !gaps.is_empty())
        .collect();
    assert!(gaps.is_empty(), "plugins without documentation: {gaps:#?}");
}

#[test]
fn names_are_unique_in_a_phase() {
    let types = plugins::all();
    let mut seen = std::collections::BTreeSet::new();
    for kind in types.iter() {
        for phase in kind.phases {
            assert!(seen.insert((kind.name, phase.as_str())), "{} is there twice for {phase}", kind.name);
        }
    }
}

#[test]
fn the_page_is_made_from_the_plugins() {
    let made = plugin_reference::to_markdown(&plugins::all());
    if std::env::var_os("OSBS_UPDATE_DOCS").is_some() {
        std::fs::write(PAGE, &made).unwrap();
    }
    let kept = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(kept == made, "docs/plugins.md is not what the plugins say: run this test with OSBS_UPDATE_DOCS=1");
}
