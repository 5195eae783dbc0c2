//! JSON documents of images and of the event log: what was read once can be written and read again, to the same bytes;
//! nothing is a manifest and an index at once.

use osbs_image::{Descriptor, ImageConfig, Index, LayerNote, Limits, Manifest, canonical_json};
use osbs_types::{Architecture, Event};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt::Debug;

/// One document, read as each kind there is.
pub fn documents(data: &[u8]) {
    check::<Manifest>(data);
    check::<Descriptor>(data);
    check::<ImageConfig>(data);
    check::<LayerNote>(data);
    check::<Event>(data);
    check_kind(data);
    if let Some(index) = check::<Index>(data) {
        for name in ["amd64", "arm64", "arm"] {
            let _ = index.select(&Architecture::new(name));
        }
    }
}

/// A document is believed to be one thing only, whatever it was said to be.
fn check_kind(data: &[u8]) {
    let limits = Limits::default();
    let manifest = Manifest::parse(data, "", "x", &limits).is_ok();
    let index = Index::parse(data, "", "x", &limits).is_ok();
    assert!(!(manifest && index), "a manifest and an index at once");
    let _ = ImageConfig::parse(data, "x", &limits);
}

fn check<T: Serialize + DeserializeOwned + Debug>(data: &[u8]) -> Option<T> {
    let first: T = serde_json::from_slice(data).ok()?;
    let bytes = canonical_json(&first);
    // The library rounds the last digit of these, and no document of the specifications has any.
    if serde_json::from_slice(&bytes).is_ok_and(|value: Value| has_fractions(&value)) {
        return Some(first);
    }
    let second: T = serde_json::from_slice(&bytes)
        .unwrap_or_else(|error| panic!("{error} in our own {}", String::from_utf8_lossy(&bytes)));
    assert_eq!(canonical_json(&second), bytes, "written again: {}", String::from_utf8_lossy(&bytes));
    Some(first)
}

fn has_fractions(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(values) => values.iter().any(has_fractions),
        Value::Object(members) => members.values().any(has_fractions),
        _ => false,
    }
}
