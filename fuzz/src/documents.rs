//! JSON documents of images and of the event log: what was read once can be written and read again, to the same bytes.

use osbs_image::{Descriptor, ImageConfig, Index, LayerNote, Manifest, canonical_json};
use osbs_types::{Architecture, Event};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// One document, read as each kind there is.
pub fn documents(data: &[u8]) {
    check::<Manifest>(data);
    check::<Descriptor>(data);
    check::<ImageConfig>(data);
    check::<LayerNote>(data);
    check::<Event>(data);
    if let Some(index) = check::<Index>(data) {
        for name in ["amd64", "arm64", "arm"] {
            let _ = index.select(&Architecture::new(name));
        }
    }
}

fn check<T: Serialize + DeserializeOwned + Debug>(data: &[u8]) -> Option<T> {
    let first: T = serde_json::from_slice(data).ok()?;
    let bytes = canonical_json(&first);
    let second: T = serde_json::from_slice(&bytes)
        .unwrap_or_else(|error| panic!("{error} in our own {}", String::from_utf8_lossy(&bytes)));
    assert_eq!(canonical_json(&second), bytes, "written again: {}", String::from_utf8_lossy(&bytes));
    Some(first)
}
