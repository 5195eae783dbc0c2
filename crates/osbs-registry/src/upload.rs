//! skeleton
use crate::*;
use osbs_image::BlobSink;
use osbs_types::Digest;
use std::io;
/// A blob going up while it is made.
#[derive(Debug)]
pub struct Upload {}
/// What became of an upload whose sink was given away.
#[derive(Debug)]
pub struct UploadOutcome {}
/// The end for synchronous code. Never fails: a broken upload is told by [`UploadOutcome`], and [`push`] does it again from the store.
#[derive(Debug)]
pub struct UploadSink {}
#[allow(clippy::unused_async, unused_variables, missing_docs, clippy::todo, clippy::missing_errors_doc)]
impl Upload {
    pub async fn write(&mut self, bytes: osbs_http::Bytes) -> Result<(), RegistryError> { todo!() }
    pub async fn finish(self, digest: &Digest) -> Result<(), RegistryError> { todo!() }
    pub async fn cancel(self) { todo!() }
    /// Must be called within a tokio runtime; the sink may then be used from any thread that is not one of the runtime's workers.
    pub fn into_sink(self) -> (UploadSink, UploadOutcome) { todo!() }
}
#[allow(clippy::unused_async, missing_docs, clippy::todo, clippy::missing_errors_doc)]
impl UploadOutcome {
    /// `Ok(None)` when the sink was dropped without finish.
    pub async fn wait(self) -> Result<Option<Digest>, RegistryError> { todo!() }
}
#[allow(unused_variables, clippy::todo)]
impl BlobSink for UploadSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> { todo!() }
    fn finish(&mut self, digest: &Digest, size: u64) -> io::Result<()> { todo!() }
}
