//! The whole build, from request to image.

use crate::error::BuildError;
use crate::request::{BuildObserver, BuildRequest, BuiltImage};
use tokio_util::sync::CancellationToken;

/// Builds one image.
///
/// # Errors
/// See [`BuildError`]. On every way out nothing is left mounted and the work folder is empty.
pub fn build(
    _request: BuildRequest<'_>,
    _observer: &dyn BuildObserver,
    _cancel: &CancellationToken,
) -> Result<BuiltImage, BuildError> {
    todo!()
}
