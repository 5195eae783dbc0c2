//! Names: images, registries, digests, builds, platforms. What was read shows as text that reads the same.

use crate::check_message;
use osbs_config::RegistryUri;
use osbs_types::{Digest, Nvr, Platform, PullSpec};
use std::fmt::{Debug, Display};
use std::str::FromStr;

/// One name, read as each kind there is.
pub fn names(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    check::<Digest>(&text);
    check::<Nvr>(&text);
    check::<Platform>(&text);
    if let Ok(uri) = RegistryUri::from_str(&text) {
        assert_eq!(RegistryUri::from_str(&uri.uri()).map(|again| again.host), Ok(uri.host));
    }
    if let Some(image) = check::<PullSpec>(&text) {
        let tagged = image.with_explicit_tag();
        assert!(tagged.tag().is_some() || tagged.digest().is_some());
        assert_eq!(tagged.with_explicit_tag(), tagged);
        assert_eq!(check::<PullSpec>(&tagged.to_string()), Some(tagged));
        let moved = image.with_registry(Some("registry.example.com:5000"));
        assert_eq!(moved.registry(), Some("registry.example.com:5000"));
        assert_eq!(check::<PullSpec>(&moved.to_string()), Some(moved));
        let _ = (image.namespace(), image.repo(), image.enclose("org"));
    }
}

fn check<T: FromStr + Display + Debug + PartialEq>(text: &str) -> Option<T>
where
    T::Err: Display,
{
    match T::from_str(text) {
        Ok(value) => {
            let again = T::from_str(&value.to_string()).ok();
            assert_eq!(again.as_ref(), Some(&value), "{text:?} shows as {value}");
            Some(value)
        }
        Err(error) if text.len() < 1000 => {
            check_message(&error.to_string());
            None
        }
        Err(_) => None,
    }
}
