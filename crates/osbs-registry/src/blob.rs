//! Blobs: asking for them, and bringing them into a store, verified and resumed after a cut.

use crate::client::{Call, header_value};
use crate::progress::Counter;
use crate::request::{self, Access};
use crate::response::{MAX_CONFIG, digest_of};
use crate::{Registry, RegistryError};
use osbs_http::{HttpError, Method, Request, Response, header};
use osbs_image::{BlobWriter, Descriptor, Store, StoreError};
use osbs_types::Digest;
use std::io::Write;

/// Cuts in the middle of one blob that are made good, when no progress lies between them. Progress renews the budget.
const CUTS: u32 = 4;
/// What counts as progress, in bytes.
const PROGRESS: u64 = 1 << 20;

impl Registry {
    /// Whether the repository has the blob.
    ///
    /// # Errors
    /// Refused or no answer.
    pub async fn blob_exists(&self, repository: &str, digest: &Digest) -> Result<bool, RegistryError> {
        let call = Call::new(repository, Access::Pull, format!("look for blob {digest} of {repository}"));
        self.has_blob(&call, digest).await
    }

    pub(crate) async fn has_blob(&self, call: &Call<'_>, digest: &Digest) -> Result<bool, RegistryError> {
        let response = self
            .call(call, |base| Request::new(Method::HEAD, request::blob_url(base, call.repository, digest)))
            .await?;
        match response.status().as_u16() {
            200..=299 => Ok(true),
            404 => Ok(false),
            _ => Err(self.refused(call, response).await),
        }
    }

    /// A config or another small blob, verified.
    ///
    /// # Errors
    /// Not there, too large, or not the bytes its digest names.
    pub async fn small_blob(&self, repository: &str, descriptor: &Descriptor) -> Result<Vec<u8>, RegistryError> {
        let digest = &descriptor.digest;
        let what = format!("blob {digest} in {repository}");
        let call = Call::new(repository, Access::Pull, format!("read {what}"));
        if descriptor.size > MAX_CONFIG {
            return Err(self.protocol(&call.action, format!("{} bytes are too many for a config", descriptor.size)));
        }
        let (_, bytes) = self
            .call_small(&call, &what, MAX_CONFIG, |base| Request::get(request::blob_url(base, repository, digest)))
            .await?;
        self.check_size(repository, descriptor, bytes.len() as u64)?;
        self.check_digest(repository, "the config", digest, &digest_of(&bytes))?;
        Ok(bytes)
    }

    /// Opens a blob for streaming from `offset`; returns where the stream really begins.
    pub(crate) async fn open_blob(
        &self,
        repository: &str,
        digest: &Digest,
        offset: u64,
    ) -> Result<(Response, u64), RegistryError> {
        let what = format!("blob {digest} in {repository}");
        let call = Call::new(repository, Access::Pull, format!("read {what}"));
        let response = self
            .call(&call, |base| {
                let request = Request::get(request::blob_url(base, repository, digest)).without_deadline();
                if offset == 0 {
                    request
                } else {
                    request.header(header::RANGE, header_value(&format!("bytes={offset}-")))
                }
            })
            .await?;
        match response.status().as_u16() {
            200 => Ok((response, 0)),
            206 => match response.content_range() {
                Some((first, _)) if first == offset => Ok((response, offset)),
                _ => Err(self.protocol(&call.action, "a range other than the one asked for".to_owned())),
            },
            404 => Err(self.not_found(what)),
            _ => Err(self.refused(&call, response).await),
        }
    }

    /// Brings a blob into the store, unless it is there. Goes on where an earlier attempt, also of another process, ended.
    pub(crate) async fn fetch_blob(
        &self,
        repository: &str,
        descriptor: &Descriptor,
        what: &'static str,
        store: &Store,
        counter: &Counter,
    ) -> Result<(), RegistryError> {
        let digest = &descriptor.digest;
        if store.blob_size(digest) == Some(descriptor.size) {
            counter.add(descriptor.size);
            return Ok(());
        }
        let mut writer = store.blob_writer_resume(digest).map_err(store_error(digest))?;
        if writer.size() > descriptor.size {
            writer.restart().map_err(store_error(digest))?;
        }
        let resumed = writer.size() > 0;
        counter.add(writer.size());
        let mut transfer = Transfer { registry: self, repository, descriptor, store, counter };
        transfer.fill(&mut writer).await?;
        match writer.commit(Some(digest), Some(descriptor.size)) {
            Ok(_) => Ok(()),
            // The part that was here may have been the wrong one: once more from nothing.
            Err(StoreError::WrongContent { .. }) if resumed => {
                counter.take_back(descriptor.size);
                let mut writer = store.blob_writer_resume(digest).map_err(store_error(digest))?;
                transfer.fill(&mut writer).await?;
                self.commit(repository, what, writer, descriptor)
            }
            Err(error) => Err(self.commit_error(repository, what, error, descriptor)),
        }
    }

    fn commit(
        &self,
        repository: &str,
        what: &'static str,
        writer: BlobWriter,
        descriptor: &Descriptor,
    ) -> Result<(), RegistryError> {
        let committed = writer.commit(Some(&descriptor.digest), Some(descriptor.size));
        committed.map(drop).map_err(|error| self.commit_error(repository, what, error, descriptor))
    }

    fn commit_error(
        &self,
        repository: &str,
        what: &'static str,
        error: StoreError,
        descriptor: &Descriptor,
    ) -> RegistryError {
        match error {
            StoreError::WrongContent { expected, actual, .. } => RegistryError::WrongDigest {
                registry: self.host().to_owned(),
                repository: repository.to_owned(),
                what,
                expected,
                found: actual,
            },
            error => store_error(&descriptor.digest)(error),
        }
    }

    pub(crate) fn check_size(
        &self,
        repository: &str,
        descriptor: &Descriptor,
        found: u64,
    ) -> Result<(), RegistryError> {
        if found == descriptor.size {
            return Ok(());
        }
        Err(RegistryError::WrongSize {
            registry: self.host().to_owned(),
            repository: repository.to_owned(),
            digest: descriptor.digest.clone(),
            expected: descriptor.size,
            found,
        })
    }
}

/// One blob on its way into the store.
struct Transfer<'a> {
    registry: &'a Registry,
    repository: &'a str,
    descriptor: &'a Descriptor,
    store: &'a Store,
    counter: &'a Counter,
}

impl Transfer<'_> {
    /// Fills the writer up to the promised size, over as many connections as it takes.
    async fn fill(&mut self, writer: &mut BlobWriter) -> Result<(), RegistryError> {
        let (mut cuts, mut mark) = (0, writer.size());
        while writer.size() < self.descriptor.size {
            let Err(cut) = self.stream(writer).await? else { return Ok(()) };
            if writer.size() >= mark + PROGRESS {
                (cuts, mark) = (0, writer.size());
            }
            cuts += 1;
            let action = format!("read blob {} in {}", self.descriptor.digest, self.repository);
            if !cut.is_transient() || cuts > CUTS {
                return Err(self.registry.failed(&action, cut));
            }
            let base = self.registry.base(&action).await?;
            let url = request::blob_url(base, self.repository, &self.descriptor.digest);
            self.registry.transport().wait_before_retry(&url, cuts, &cut.to_string()).await;
        }
        Ok(())
    }

    /// One connection. The inner error is a cut.
    async fn stream(&mut self, writer: &mut BlobWriter) -> Result<Result<(), HttpError>, RegistryError> {
        let Descriptor { digest, size, .. } = self.descriptor;
        let (mut response, start) = self.registry.open_blob(self.repository, digest, writer.size()).await?;
        if start < writer.size() {
            self.counter.take_back(writer.size());
            writer.restart().map_err(store_error(digest))?;
        }
        loop {
            let chunk = match response.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(cut) => return Ok(Err(cut)),
            };
            if writer.size() + chunk.len() as u64 > *size {
                let found = writer.size() + chunk.len() as u64;
                // A part that is too long must not greet the next attempt.
                writer.restart().map_err(store_error(digest))?;
                self.registry.check_size(self.repository, self.descriptor, found)?;
            }
            writer.write_all(&chunk).map_err(|source| {
                let path = self.store.root().to_owned();
                store_error(digest)(StoreError::Io { action: "write a blob to the store", path, source })
            })?;
            self.counter.add(chunk.len() as u64);
        }
        if writer.size() != *size {
            let found = writer.size();
            writer.restart().map_err(store_error(digest))?;
            self.registry.check_size(self.repository, self.descriptor, found)?;
        }
        Ok(Ok(()))
    }
}

/// Names the blob that was being worked on.
pub(crate) fn store_error(digest: &Digest) -> impl FnOnce(StoreError) -> RegistryError {
    let action = format!("transfer of blob {}", digest.short());
    move |source| RegistryError::Store { action, source }
}
