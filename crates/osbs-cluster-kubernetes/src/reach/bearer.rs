//! A bearer token on every request, as new as its file.

use super::Token;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Response, StatusCode, header::AUTHORIZATION};
use kube::client::Body;
use std::future::poll_fn;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tower::{BoxError, Layer, Service};

/// No token.
#[derive(Debug, thiserror::Error)]
pub(super) enum BearerError {
    /// The file cannot be read.
    #[error("token file {} cannot be read: {why}", path.display())]
    Unreadable { path: PathBuf, why: std::io::Error },
    /// It is empty, or no text of a header.
    #[error("{place} holds no token")]
    NoToken { place: String },
}

/// Tells one content of a file from the next. A mounted secret changes by another file taking the name.
type Stamp = (u64, u64, i64, i64, u64);

struct Known {
    stamp: Option<Stamp>,
    header: HeaderValue,
}

/// The header, and the file it came from.
#[derive(Clone)]
pub(super) struct Bearer {
    file: Option<PathBuf>,
    known: Arc<Mutex<Known>>,
}

impl Bearer {
    pub(super) fn new(token: &Token) -> Result<Self, BearerError> {
        let (file, stamp, header) = match token {
            Token::Given(secret) => (None, None, header(secret.reveal(), || "the key token".to_owned())?),
            Token::File(path) => {
                let (stamp, header) = read(path)?;
                (Some(path.clone()), Some(stamp), header)
            }
        };
        Ok(Self { file, known: Arc::new(Mutex::new(Known { stamp, header })) })
    }

    /// The header as the file has it now. One that cannot be read for a moment leaves the last.
    fn current(&self) -> HeaderValue {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = &self.file
            && stamp(path).ok() != known.stamp
            && let Ok((stamp, header)) = read(path)
        {
            *known = Known { stamp: Some(stamp), header };
        }
        known.header.clone()
    }

    /// The header if it is another than the one refused, the file read whatever its times say.
    fn other_than(&self, refused: &HeaderValue) -> Option<HeaderValue> {
        let (stamp, header) = read(self.file.as_ref()?).ok()?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Known { stamp: Some(stamp), header: header.clone() };
        (header != *refused).then_some(header)
    }
}

fn stamp(path: &Path) -> std::io::Result<Stamp> {
    let found = std::fs::metadata(path)?;
    Ok((found.dev(), found.ino(), found.mtime(), found.mtime_nsec(), found.len()))
}

fn read(path: &Path) -> Result<(Stamp, HeaderValue), BearerError> {
    let failed = |why| BearerError::Unreadable { path: path.to_owned(), why };
    let stamp = stamp(path).map_err(failed)?;
    let text = std::fs::read_to_string(path).map_err(failed)?;
    Ok((stamp, header(text.trim(), || format!("token file {}", path.display()))?))
}

fn header(token: &str, place: impl Fn() -> String) -> Result<HeaderValue, BearerError> {
    let made = HeaderValue::try_from(format!("Bearer {token}")).ok().filter(|_| !token.is_empty());
    let mut made = made.ok_or_else(|| BearerError::NoToken { place: place() })?;
    made.set_sensitive(true);
    Ok(made)
}

/// Puts the token on requests.
pub(super) struct BearerLayer {
    bearer: Bearer,
}

impl BearerLayer {
    pub(super) fn new(bearer: Bearer) -> Self {
        Self { bearer }
    }
}

impl<S> Layer<S> for BearerLayer {
    type Service = WithBearer<S>;

    fn layer(&self, inner: S) -> WithBearer<S> {
        WithBearer { bearer: self.bearer.clone(), inner: Arc::new(tokio::sync::Mutex::new(inner)) }
    }
}

/// A service whose requests carry the token. What was refused is sent once more where the file has another token by now.
pub(super) struct WithBearer<S> {
    bearer: Bearer,
    /// Held only while a request is handed over.
    inner: Arc<tokio::sync::Mutex<S>>,
}

impl<S, B> Service<Request<Body>> for WithBearer<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError> + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (bearer, inner) = (self.bearer.clone(), Arc::clone(&self.inner));
        Box::pin(async move {
            let again = copy(&request);
            let sent = bearer.current();
            let response = send(&inner, request, sent.clone()).await?;
            let refused = response.status() == StatusCode::UNAUTHORIZED;
            match again.filter(|_| refused).zip(bearer.other_than(&sent).filter(|_| refused)) {
                Some((again, fresh)) => send(&inner, again, fresh).await,
                None => Ok(response),
            }
        })
    }
}

fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let mut copy = Request::new(request.body().try_clone()?);
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    copy.extensions_mut().clone_from(request.extensions());
    Some(copy)
}

async fn send<S, B>(
    inner: &tokio::sync::Mutex<S>,
    mut request: Request<Body>,
    header: HeaderValue,
) -> Result<Response<B>, BoxError>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
{
    request.headers_mut().insert(AUTHORIZATION, header);
    let answer = {
        let mut service = inner.lock().await;
        poll_fn(|context| service.poll_ready(context)).await?;
        service.call(request)
    };
    answer.await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A server that takes one token only, and counts what it is sent.
    fn server(
        good: &'static str,
        count: Arc<AtomicUsize>,
    ) -> impl Service<Request<Body>, Response = Response<Body>, Error = BoxError, Future: Send> + Send {
        tower::service_fn(move |request: Request<Body>| {
            count.fetch_add(1, Ordering::SeqCst);
            let sent = request.headers()[AUTHORIZATION].to_str().expect("text").to_owned();
            let status = if sent == format!("Bearer {good}") { 200 } else { 401 };
            let answer = Response::builder().status(status).body(Body::empty()).map_err(Into::into);
            std::future::ready(answer)
        })
    }

    async fn ask(service: &mut impl Service<Request<Body>, Response = Response<Body>, Error = BoxError>) -> u16 {
        let request = Request::new(Body::from(b"{}".to_vec()));
        service.call(request).await.expect("an answer").status().as_u16()
    }

    #[tokio::test]
    async fn a_token_that_was_rotated_is_read_again_and_what_was_refused_sent_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        std::fs::write(&path, "old\n").expect("written");
        let count = Arc::new(AtomicUsize::new(0));
        let bearer = Bearer::new(&Token::File(path.clone())).expect("a token");
        let mut service = BearerLayer::new(bearer.clone()).layer(server("new", Arc::clone(&count)));
        assert_eq!((ask(&mut service).await, count.load(Ordering::SeqCst)), (401, 1), "the file has no other");
        std::fs::write(&path, "new").expect("written");
        assert_eq!((ask(&mut service).await, count.load(Ordering::SeqCst)), (200, 2), "seen by its times");
        // The same times and length: only the refusal tells.
        *bearer.known.lock().expect("nobody failed") =
            Known { stamp: stamp(&path).ok(), header: HeaderValue::from_static("Bearer stale") };
        assert_eq!((ask(&mut service).await, count.load(Ordering::SeqCst)), (200, 4), "sent again, once");
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(ask(&mut service).await, 200, "the last one known");
    }

    #[test]
    fn what_is_no_token() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        let told = |token: &Token| Bearer::new(token).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(told(&Token::File(path.clone())).contains("cannot be read"));
        std::fs::write(&path, " \n").expect("written");
        assert!(told(&Token::File(path)).contains("holds no token"));
        assert!(told(&Token::Given(osbs_types::Secret::new("a\nb"))).contains("key token holds no token"));
    }
}
