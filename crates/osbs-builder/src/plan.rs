//! Which stages a target needs, and which images these need.

use crate::error::BuildError;
use osbs_dockerfile::Dockerfile;
use std::collections::BTreeMap;

/// The images that a build of `target` will ask [`crate::ParentImages`] for, in order, each once: those of FROM, of COPY
/// --from and of RUN --mount from. `scratch` is not among them. ONBUILD triggers of a parent may want more.
///
/// # Errors
/// The target does not exist, or a FROM cannot be expanded.
pub fn required_parents(
    _dockerfile: &Dockerfile,
    _build_args: &BTreeMap<String, String>,
    _target: Option<&str>,
) -> Result<Vec<String>, BuildError> {
    todo!()
}
