//! Manifests, indexes and configs from bytes: the one place where such a document is believed to be what it says.
//!
//! A document that could be read as two things is refused. The same bytes under two media types would be one image to the
//! one who checked them and another to the one who runs them (CVE-2021-41190).

use crate::error::StoreError;
use crate::image_config::ImageConfig;
use crate::limits::Limits;
use crate::manifest::{Index, Manifest};
use crate::media_type::{is_index, is_manifest};
use serde::de::DeserializeOwned;

impl Manifest {
    /// Reads the manifest of an image. `media_type` is what the registry or descriptor said, empty when it said nothing;
    /// `name` is for messages.
    ///
    /// # Errors
    /// It is not valid, too large, of another media type than was said, or could be read as an index too.
    pub fn parse(bytes: &[u8], media_type: &str, name: &str, limits: &Limits) -> Result<Self, StoreError> {
        let refused = |reason: String| refused("manifest", name, reason);
        let parsed: Self = parse(bytes, "manifest", name, limits)?;
        check_media_type(&parsed.media_type, media_type, is_manifest).map_err(refused)?;
        if let Some(member) = ["manifests", "fsLayers", "history"].iter().find(|key| parsed.other.contains_key(**key)) {
            return Err(refused(format!("it has layers and {member:?}: it could be read as two kinds of document")));
        }
        if parsed.schema_version != 2 {
            return Err(refused(format!("schema version {} is not 2", parsed.schema_version)));
        }
        if parsed.layers.len() as u64 > limits.layers {
            let (limit, what) = (limits.layers, format!("manifest {name}"));
            return Err(StoreError::Limit { what, limit, unit: "layers", option: "layers" });
        }
        Ok(parsed)
    }
}

impl Index {
    /// Reads an index or manifest list; arguments as for [`Manifest::parse`].
    ///
    /// # Errors
    /// It is not valid, too large, of another media type than was said, or could be read as a manifest too.
    pub fn parse(bytes: &[u8], media_type: &str, name: &str, limits: &Limits) -> Result<Self, StoreError> {
        let refused = |reason: String| refused("index", name, reason);
        let parsed: Self = parse(bytes, "index", name, limits)?;
        check_media_type(&parsed.media_type, media_type, is_index).map_err(refused)?;
        if let Some(member) = ["layers", "config", "fsLayers"].iter().find(|key| parsed.other.contains_key(**key)) {
            return Err(refused(format!("it has manifests and {member:?}: it could be read as two kinds of document")));
        }
        if parsed.schema_version != 2 {
            return Err(refused(format!("schema version {} is not 2", parsed.schema_version)));
        }
        Ok(parsed)
    }
}

impl ImageConfig {
    /// Reads an image config; `name` is for messages.
    ///
    /// # Errors
    /// It is not valid or too large.
    pub fn parse(bytes: &[u8], name: &str, limits: &Limits) -> Result<Self, StoreError> {
        parse(bytes, "image config", name, limits)
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8], what: &'static str, name: &str, limits: &Limits) -> Result<T, StoreError> {
    if bytes.len() as u64 > limits.document {
        let what = format!("{what} {name}");
        return Err(StoreError::Limit { what, limit: limits.document, unit: "bytes", option: "document" });
    }
    serde_json::from_slice(bytes).map_err(|source| StoreError::Document { what, name: name.to_owned(), source })
}

/// What the document says of itself, and what was said of it, must not differ, and must be of the right kind.
fn check_media_type(inside: &str, outside: &str, right: fn(&str) -> bool) -> Result<(), String> {
    if !inside.is_empty() && !outside.is_empty() && inside != outside {
        return Err(format!("it was said to be {outside:?}, but says itself that it is {inside:?}"));
    }
    match [inside, outside].into_iter().find(|said| !said.is_empty() && !right(said)) {
        Some(wrong) => Err(format!("media type {wrong:?} is another kind of document")),
        None => Ok(()),
    }
}

fn refused(what: &'static str, name: &str, reason: String) -> StoreError {
    StoreError::Inconsistent { what, name: name.to_owned(), reason }
}
