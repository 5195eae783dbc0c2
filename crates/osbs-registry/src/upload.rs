//! Blobs going up: from the store in one piece, or in a stream while a layer is still being made.

use crate::client::{Call, content_digest, header_value};
use crate::progress::Counter;
use crate::request::{self, Access, scopes};
use crate::response::upload_location;
use crate::{Registry, RegistryError};
use osbs_http::{BodyStream, Bytes, Method, Request, RequestBody, Response, Url, header};
use osbs_image::{BlobSink, Descriptor, Store};
use osbs_types::Digest;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Bytes handed over at once.
const PIECE: usize = 256 << 10;
/// Pieces that may wait for the network: with [`PIECE`] 2 MiB for each upload.
const WAITING: usize = 8;

/// What became of a request to mount a blob.
enum Mounted {
    /// It is in the repository now.
    Done,
    /// The registry opened an upload here instead (distribution-spec 1.1 allows it; `reactor.md` 6.1, O6).
    Upload(Url),
}

impl Registry {
    /// Makes a blob of repository `from` appear in `to`. `false`: the registry does not do it, the blob must be uploaded.
    ///
    /// # Errors
    /// Refused or no answer.
    pub async fn mount_blob(&self, from: &str, to: &str, digest: &Digest) -> Result<bool, RegistryError> {
        match self.begin(to, Some((from, digest))).await? {
            Mounted::Done => Ok(true),
            Mounted::Upload(location) => {
                self.abandon(to, &location).await;
                Ok(false)
            }
        }
    }

    /// Opens an upload, or mounts at once where `mount` names a source and the registry agrees.
    async fn begin(&self, repository: &str, mount: Option<(&str, &Digest)>) -> Result<Mounted, RegistryError> {
        let also = mount.map(|(from, _)| from);
        let action = match mount {
            Some((from, digest)) => format!("mount blob {digest} of {from} into {repository}"),
            None => format!("start an upload to {repository}"),
        };
        let call = Call { repository, scopes: scopes(repository, Access::PullPush, also), action };
        let response = self
            .call(&call, |base| {
                let url = match mount {
                    Some((from, digest)) => request::mount_url(base, from, repository, digest),
                    None => request::uploads_url(base, repository),
                };
                Request::new(Method::POST, url).bytes(Bytes::new())
            })
            .await?;
        match (response.status().as_u16(), mount) {
            (201, Some(_)) => Ok(Mounted::Done),
            (202, _) => self.location(&call, &response).map(Mounted::Upload),
            _ => Err(self.refused(&call, response).await),
        }
    }

    fn location(&self, call: &Call<'_>, response: &Response) -> Result<Url, RegistryError> {
        upload_location(response.url(), response.header("location"))
            .map_err(|problem| self.protocol(&call.action, problem))
    }

    async fn open_upload(&self, repository: &str) -> Result<Url, RegistryError> {
        match self.begin(repository, None).await? {
            Mounted::Upload(location) => Ok(location),
            Mounted::Done => unreachable!("a mount is only answered when one was asked for"),
        }
    }

    /// Tells the registry to forget an upload; it would time out anyway, so nothing depends on it.
    async fn abandon(&self, repository: &str, location: &Url) {
        let call = Call::new(repository, Access::PullPush, "abandon an upload".to_owned());
        let _ = self.call(&call, |_| Request::new(Method::DELETE, location.clone()).without_retry()).await;
    }

    /// Puts a blob of known digest, unless it is there: mounted from one of `mount_from`, else uploaded in one piece and
    /// again from a fresh body when that fails.
    pub(crate) async fn put_blob(
        &self,
        repository: &str,
        digest: &Digest,
        mount_from: &[String],
        body: RequestBody,
    ) -> Result<(), RegistryError> {
        let call = Call::new(repository, Access::PullPush, format!("upload blob {digest} to {repository}"));
        let retries = self.transport().config().retry.retries;
        let mut attempt = 1;
        loop {
            // These small requests are repeated by the transport; the PUT is not: it needs a fresh upload each time. Also
            // after a failed PUT the blob may be there: it may have succeeded, only its answer was lost.
            let Some(location) = self.open_unless_there(&call, digest, mount_from).await? else { return Ok(()) };
            let error = match self.finish_upload(&call, &location, digest, body.clone()).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            // 404: the registry forgot the upload; a success: it did not keep what it took. A failed body of our own will
            // not get better.
            let may_pass = error.is_transient() || matches!(error.status(), Some(404 | 200..=299));
            if !may_pass || attempt > retries || !body.can_be_sent_again() {
                return Err(error.with_attempts(attempt));
            }
            self.transport().wait_before_retry(&location, attempt, &error.to_string()).await;
            attempt += 1;
        }
    }

    /// Where to put the blob; `None` when it is in the repository, or was mounted.
    async fn open_unless_there(
        &self,
        call: &Call<'_>,
        digest: &Digest,
        mount_from: &[String],
    ) -> Result<Option<Url>, RegistryError> {
        if self.has_blob(call, digest).await? {
            return Ok(None);
        }
        let mut opened = None;
        for from in mount_from.iter().filter(|from| *from != call.repository) {
            if let Some(old) = opened.take() {
                self.abandon(call.repository, &old).await;
            }
            // A source we may not read is no reason to fail: the blob is uploaded then.
            match self.begin(call.repository, Some((from, digest))).await {
                Ok(Mounted::Done) => return Ok(None),
                Ok(Mounted::Upload(location)) => opened = Some(location),
                Err(error) if error.is_transient() => return Err(error),
                Err(_) => {}
            }
        }
        match opened {
            Some(location) => Ok(Some(location)),
            None => self.open_upload(call.repository).await.map(Some),
        }
    }

    /// The closing PUT, with the whole body or (after PATCHes) with nothing.
    async fn finish_upload(
        &self,
        call: &Call<'_>,
        location: &Url,
        digest: &Digest,
        body: RequestBody,
    ) -> Result<(), RegistryError> {
        let kind = header_value("application/octet-stream");
        let url = request::finish_url(location, digest);
        let response = self
            .call(call, |_| {
                Request::new(Method::PUT, url.clone())
                    .header(header::CONTENT_TYPE, kind.clone())
                    .body(body.clone())
                    .without_retry()
                    .without_deadline()
            })
            .await?;
        let status = response.status();
        if !status.is_success() {
            return Err(self.refused(call, response).await);
        }
        if let Some(told) = content_digest(&response) {
            self.check_digest(call.repository, "the blob we put", digest, &told)?;
        }
        // Only 201 says that the blob is there (distribution-spec 1.1, "Pushing a blob monolithically").
        if status.as_u16() == 201 || Box::pin(self.has_blob(call, digest)).await? {
            return Ok(());
        }
        Err(self.unkept(call, &response))
    }

    /// Starts to send a blob whose digest is not known yet. Call it within a tokio runtime.
    ///
    /// # Errors
    /// Refused or no answer.
    pub async fn start_upload(&self, repository: &str) -> Result<Upload, RegistryError> {
        let location = self.open_upload(repository).await?;
        let (sender, receiver) = mpsc::channel(WAITING);
        let patch = tokio::spawn(patch(self.clone(), repository.to_owned(), location.clone(), receiver));
        Ok(Upload { registry: self.clone(), repository: repository.to_owned(), location, sender, patch, size: 0 })
    }
}

async fn patch(
    registry: Registry,
    repository: String,
    location: Url,
    mut receiver: mpsc::Receiver<Bytes>,
) -> Result<Url, RegistryError> {
    let call = Call::new(&repository, Access::PullPush, format!("upload a layer to {repository}"));
    let pieces = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context).map(|piece| piece.map(Ok)));
    let body = RequestBody::once(None, Box::pin(pieces));
    let kind = header_value("application/octet-stream");
    let response = registry
        .call(&call, |_| {
            Request::new(Method::PATCH, location.clone())
                .header(header::CONTENT_TYPE, kind.clone())
                .body(body.clone())
                .without_deadline()
        })
        .await?;
    match response.status().as_u16() {
        202 | 204 => registry.location(&call, &response),
        _ => Err(registry.refused(&call, response).await),
    }
}

/// A blob going up while it is made: pieces in order, then its digest.
#[derive(Debug)]
pub struct Upload {
    registry: Registry,
    repository: String,
    location: Url,
    sender: mpsc::Sender<Bytes>,
    patch: JoinHandle<Result<Url, RegistryError>>,
    size: u64,
}

impl Upload {
    /// The next piece. Waits when the network is slower than the producer.
    ///
    /// # Errors
    /// The upload failed; the reason comes from [`Upload::finish`].
    pub async fn write(&mut self, piece: Bytes) -> Result<(), RegistryError> {
        let length = piece.len() as u64;
        if length == 0 || self.sender.send(piece).await.is_ok() {
            self.size += length;
            return Ok(());
        }
        let action = format!("upload a layer to {}", self.repository);
        Err(self.registry.protocol(&action, format!("the connection was closed after {} bytes", self.size)))
    }

    /// All pieces were written; the registry compares the digest.
    ///
    /// # Errors
    /// The upload failed at any time since its start.
    pub async fn finish(self, digest: &Digest) -> Result<(), RegistryError> {
        let Self { registry, repository, sender, patch, .. } = self;
        drop(sender);
        let location = patch.await.map_err(|error| RegistryError::Task(error.to_string()))??;
        let call = Call::new(&repository, Access::PullPush, format!("finish blob {digest} of {repository}"));
        registry.finish_upload(&call, &location, digest, RequestBody::Empty).await
    }

    /// Gives the upload up and tells the registry.
    pub async fn cancel(self) {
        self.patch.abort();
        self.registry.abandon(&self.repository, &self.location).await;
    }

    /// The two ends for a layer writer: a sink for its thread, and a handle that tells what became of it. Call it within a
    /// tokio runtime; the sink must not be used on one of the runtime's own worker threads (`spawn_blocking` is right).
    pub fn into_sink(self) -> (UploadSink, UploadOutcome) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let task = tokio::spawn(drive(self, receiver));
        (UploadSink { sender: Some(sender), piece: Vec::with_capacity(PIECE) }, UploadOutcome { task })
    }
}

#[derive(Debug)]
enum Message {
    Piece(Bytes),
    Finish(Digest),
}

async fn drive(mut upload: Upload, mut receiver: mpsc::Receiver<Message>) -> Result<Option<Digest>, RegistryError> {
    while let Some(message) = receiver.recv().await {
        match message {
            Message::Piece(piece) => {
                if let Err(error) = upload.write(piece).await {
                    // The request knows better why it ended.
                    return Err(match upload.patch.await {
                        Ok(Err(cause)) => cause,
                        _ => error,
                    });
                }
            }
            Message::Finish(digest) => return upload.finish(&digest).await.map(|()| Some(digest)),
        }
    }
    upload.cancel().await;
    Ok(None)
}

/// Takes the bytes of a layer while it is made. It never fails: a broken upload must not end a layer that the store holds
/// anyway. [`UploadOutcome`] tells, and [`crate::push`] sends again what is missing.
#[derive(Debug)]
pub struct UploadSink {
    sender: Option<mpsc::Sender<Message>>,
    piece: Vec<u8>,
}

impl UploadSink {
    fn send(&mut self, message: Message) {
        if self.sender.as_ref().is_some_and(|sender| sender.blocking_send(message).is_err()) {
            self.sender = None;
        }
    }

    fn flush_piece(&mut self) {
        if !self.piece.is_empty() {
            let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
            self.send(Message::Piece(piece.into()));
        }
    }
}

impl BlobSink for UploadSink {
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while self.sender.is_some() && !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PIECE - self.piece.len()));
            self.piece.extend_from_slice(now);
            bytes = later;
            if self.piece.len() == PIECE {
                self.flush_piece();
            }
        }
        Ok(())
    }

    fn finish(&mut self, digest: &Digest, _size: u64) -> io::Result<()> {
        self.flush_piece();
        self.send(Message::Finish(digest.clone()));
        Ok(())
    }
}

/// What became of an upload whose sink was given away.
#[derive(Debug)]
pub struct UploadOutcome {
    task: JoinHandle<Result<Option<Digest>, RegistryError>>,
}

impl UploadOutcome {
    /// Waits for the end: the digest, `None` when the sink was dropped without finish, or why it failed.
    ///
    /// # Errors
    /// The upload failed.
    pub async fn wait(self) -> Result<Option<Digest>, RegistryError> {
        self.task.await.map_err(|error| RegistryError::Task(error.to_string()))?
    }
}

/// The body of a blob in the store, opened and verified anew for each attempt.
pub(crate) fn body_from_store(store: &Store, descriptor: &Descriptor, counter: &Counter) -> RequestBody {
    let (store, descriptor, counter) = (store.clone(), descriptor.clone(), counter.clone());
    let sent = Arc::new(AtomicU64::new(0));
    RequestBody::replayable(Some(descriptor.size), move || {
        counter.take_back(sent.swap(0, Ordering::Relaxed));
        let reader = store.open_blob(&descriptor).map_err(io::Error::other)?;
        Ok(read_in_background(reader, counter.clone(), Arc::clone(&sent)))
    })
}

/// Reading and hashing on a thread of its own, a few pieces ahead of the network.
fn read_in_background(mut reader: impl Read + Send + 'static, counter: Counter, sent: Arc<AtomicU64>) -> BodyStream {
    let (sender, mut receiver) = mpsc::channel(WAITING / 2);
    tokio::task::spawn_blocking(move || {
        loop {
            let mut piece = vec![0; PIECE];
            let message = match reader.read(&mut piece) {
                Ok(0) => return,
                Ok(length) => {
                    piece.truncate(length);
                    Ok(Bytes::from(piece))
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let failed = message.is_err();
            if sender.blocking_send(message).is_err() || failed {
                return;
            }
        }
    });
    Box::pin(futures_util::stream::poll_fn(move |context| {
        let polled = receiver.poll_recv(context);
        if let std::task::Poll::Ready(Some(Ok(piece))) = &polled {
            sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
            counter.add(piece.len() as u64);
        }
        polled
    }))
}
