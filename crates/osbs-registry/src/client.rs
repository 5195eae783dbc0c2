//! The thin sender: finds out how a registry is spoken to, sends what `request.rs` makes, judges by `response.rs`.

use crate::auth::Session;
use crate::config::Scheme;
use crate::request::{self, Access, scopes};
use crate::response::{self, MAX_MANIFEST, MAX_SMALL, digest_of, error_detail};
use crate::{RegistryConfig, RegistryError};
use osbs_http::{
    AddressRule, HeaderValue, HttpError, Method, Request, Response, Transport, Url, header, parse_challenges,
    same_origin,
};
use osbs_image::Descriptor;
use osbs_types::{Digest, PullSpec, Reference};
use std::sync::Arc;

/// A manifest or index, with the bytes it was believed for.
#[derive(Debug, Clone, PartialEq)]
pub struct Fetched {
    /// Media type, digest (computed here) and size.
    pub descriptor: Descriptor,
    /// The document.
    pub bytes: Vec<u8>,
}

/// A client of one registry. Cheap to clone; clones share tokens and connections. Methods take repositories without the
/// registry (`namespace/repo`) and are retried as [`Transport::send`] says. Dropping a future cancels.
#[derive(Debug, Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    transport: Transport,
    config: RegistryConfig,
    /// `scheme://host/v2/`, known after the first answer.
    base: tokio::sync::OnceCell<Url>,
    session: Session,
}

/// What a call is about: repository and scopes for the token, words for errors.
pub(crate) struct Call<'a> {
    pub repository: &'a str,
    pub scopes: Vec<String>,
    pub action: String,
}

impl<'a> Call<'a> {
    pub(crate) fn new(repository: &'a str, access: Access, action: String) -> Self {
        Self { repository, scopes: scopes(repository, access, None), action }
    }
}

impl Registry {
    /// A client; nothing is sent yet.
    pub fn new(transport: Transport, config: RegistryConfig) -> Self {
        let inner = Inner { transport, config, base: tokio::sync::OnceCell::new(), session: Session::new() };
        Self { inner: Arc::new(inner) }
    }

    /// Host and port, as in pull specs.
    pub fn host(&self) -> &str {
        self.inner.config.host()
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.inner.transport
    }

    /// Asks whether it is there and speaks version 2. Every other call does it first by itself.
    ///
    /// # Errors
    /// No answer, also after retries.
    pub async fn ping(&self) -> Result<(), RegistryError> {
        self.base("ask for its API version").await.map(drop)
    }

    /// The manifest or index under a tag or digest: one GET for all known types; digest computed from the bytes and
    /// compared with what was asked for and with what the registry says (`reactor.md` 6.1, O5).
    ///
    /// # Errors
    /// Not there, not allowed, no answer, or bytes that cannot be believed.
    pub async fn manifest(&self, repository: &str, reference: &Reference) -> Result<Fetched, RegistryError> {
        let name = self.checked_name(repository, reference)?;
        let call = Call::new(repository, Access::Pull, format!("read the manifest of {name}"));
        let accept = header_value(&request::accept());
        let (head, bytes) = self
            .call_small(&call, &name, MAX_MANIFEST, |base| {
                Request::get(request::manifest_url(base, repository, reference)).header(header::ACCEPT, accept.clone())
            })
            .await?;
        let digest = digest_of(&bytes);
        let asked = match reference {
            Reference::Digest(digest) => Some(digest.clone()),
            Reference::Tag(_) => None,
        };
        for expected in asked.into_iter().chain(head.digest) {
            self.check_digest(repository, "the manifest", &expected, &digest)?;
        }
        let media_type = response::manifest_type(head.content_type.as_deref(), &bytes)
            .map_err(|problem| self.protocol(&call.action, problem))?;
        Ok(Fetched { descriptor: Descriptor::new(&media_type, digest, bytes.len() as u64), bytes })
    }

    /// What is under a tag or digest now, `None` when nothing is. Without reading the document, where the registry tells
    /// enough; the digest is then the registry's word.
    ///
    /// # Errors
    /// As [`Registry::manifest`].
    pub async fn head_manifest(
        &self,
        repository: &str,
        reference: &Reference,
    ) -> Result<Option<Descriptor>, RegistryError> {
        let name = self.checked_name(repository, reference)?;
        let call = Call::new(repository, Access::Pull, format!("look for {name}"));
        let accept = header_value(&request::accept());
        let response = self
            .call(&call, |base| {
                Request::new(Method::HEAD, request::manifest_url(base, repository, reference))
                    .header(header::ACCEPT, accept.clone())
            })
            .await?;
        match response.status().as_u16() {
            200 => {
                let digest = content_digest(&response);
                match (digest, response.header("content-type"), response.content_length()) {
                    (Some(digest), Some(kind), Some(size)) => Ok(Some(Descriptor::new(kind, digest, size))),
                    _ => Ok(Some(self.manifest(repository, reference).await?.descriptor)),
                }
            }
            404 => Ok(None),
            _ => Err(self.refused(&call, response).await),
        }
    }

    /// Puts a manifest or index. Its blobs must be in the repository.
    ///
    /// # Errors
    /// Refused, no answer, or the registry computed another digest.
    pub async fn put_manifest(
        &self,
        repository: &str,
        reference: &Reference,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest, RegistryError> {
        let digest = digest_of(bytes);
        let name = self.checked_name(repository, reference)?;
        let call = Call::new(repository, Access::PullPush, format!("put the manifest of {name}"));
        let (kind, body) = (header_value(media_type), osbs_http::Bytes::copy_from_slice(bytes));
        let response = self
            .call(&call, |base| {
                Request::new(Method::PUT, request::manifest_url(base, repository, reference))
                    .header(header::CONTENT_TYPE, kind.clone())
                    .bytes(body.clone())
            })
            .await?;
        if !response.status().is_success() {
            return Err(self.refused(&call, response).await);
        }
        if let Some(told) = content_digest(&response) {
            self.check_digest(repository, "the manifest we put", &digest, &told)?;
        }
        if response.status().as_u16() != 201 {
            // Taken, but is it there? Not every registry answers 201.
            // Boxed: rarely needed, and a future is as large as its largest branch.
            let found = Box::pin(self.head_manifest(repository, reference)).await?;
            if found.is_none_or(|found| found.digest != digest) {
                return Err(self.unkept(&call, &response));
            }
        }
        Ok(digest)
    }

    /// Deletes a manifest or index by digest, with all its tags.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`]; status 405 where deletion is switched off; no answer.
    pub async fn delete_manifest(&self, repository: &str, digest: &Digest) -> Result<(), RegistryError> {
        let reference = Reference::Digest(digest.clone());
        let name = image_name(repository, &reference);
        let call = Call::new(repository, Access::Delete, format!("delete {name}"));
        let response = self
            .call(&call, |base| Request::new(Method::DELETE, request::manifest_url(base, repository, &reference)))
            .await?;
        match response.status().as_u16() {
            200..=299 => Ok(()),
            404 => Err(self.not_found(name)),
            _ => Err(self.refused(&call, response).await),
        }
    }

    /// The tags of a repository, in the registry's order; none when there is no such repository.
    ///
    /// # Errors
    /// Refused or no answer.
    pub async fn tags(&self, repository: &str) -> Result<Vec<String>, RegistryError> {
        // Far more than honest repositories have; each page may be as large as [`MAX_SMALL`].
        const TAGS: usize = 200_000;
        let call = Call::new(repository, Access::Pull, format!("list the tags of {repository}"));
        let mut tags = Vec::new();
        let mut page: Option<Url> = None;
        loop {
            let asked = page.clone();
            let answer = self
                .call_small(&call, repository, MAX_SMALL, |base| {
                    Request::get(asked.clone().unwrap_or_else(|| request::tags_url(base, repository)))
                })
                .await;
            let (head, bytes) = match answer {
                Err(RegistryError::NotFound { .. }) => break,
                answer => answer?,
            };
            let found: response::TagsAnswer = serde_json::from_slice(&bytes)
                .map_err(|error| self.protocol(&call.action, format!("not the JSON expected: {error}")))?;
            let found = found.tags.unwrap_or_default();
            let was_empty = found.is_empty();
            tags.extend(found);
            page = response::next_page(&head.url, head.link.as_deref());
            if page.is_none() {
                break;
            }
            if was_empty || tags.len() > TAGS || page == asked {
                let problem = format!("pages of tags without end, {} tags so far", tags.len());
                return Err(self.protocol(&call.action, problem));
            }
        }
        Ok(tags)
    }

    /// Sends, with the authorization the registry wants; repeated once when that turns out to be stale or missing.
    pub(crate) async fn call(
        &self,
        call: &Call<'_>,
        make: impl Fn(&Url) -> Request,
    ) -> Result<Response, RegistryError> {
        self.check_repository(call.repository)?;
        let base = self.base(&call.action).await?;
        let mut first = true;
        loop {
            let request = make(base);
            let ours = same_origin(request.url(), base);
            let authorization = if ours { self.authorization(call, base).await? } else { None };
            let again = request.can_be_sent_again();
            let request = self.prepare(request, base).authorization(authorization);
            let sent = self.transport().send(&request).await;
            let response = sent.map_err(|source| self.failed(&call.action, source))?;
            // Only the registry itself may ask who we are, not a host it redirected to.
            let asks = response.status().as_u16() == 401 && same_origin(response.url(), base);
            if !(asks && first && again && self.inner.session.learn(&parse_challenges(response.headers()), base)) {
                return Ok(response);
            }
            self.inner.session.forget(&call.scopes).await;
            first = false;
        }
    }

    /// As [`Registry::call`], with the whole small answer, read again when it was cut. 404 is an error.
    pub(crate) async fn call_small(
        &self,
        call: &Call<'_>,
        what: &str,
        limit: u64,
        make: impl Fn(&Url) -> Request,
    ) -> Result<(Head, Vec<u8>), RegistryError> {
        let mut cuts = 0;
        loop {
            let response = self.call(call, &make).await?;
            match response.status().as_u16() {
                200 => {}
                404 => return Err(self.not_found(what.to_owned())),
                _ => return Err(self.refused(call, response).await),
            }
            let head = Head::of(&response);
            match response.bytes(limit).await {
                Ok(bytes) => return Ok((head, bytes.to_vec())),
                Err(error) if error.is_transient() && cuts < self.transport().config().retry.retries => {
                    cuts += 1;
                    self.transport().wait_before_retry(&head.url, cuts, &error.to_string()).await;
                }
                Err(source) => return Err(self.failed(&call.action, source)),
            }
        }
    }

    async fn authorization(&self, call: &Call<'_>, base: &Url) -> Result<Option<osbs_types::Secret>, RegistryError> {
        let Inner { transport, config, session, .. } = &*self.inner;
        session.authorization(transport, config, base, call.repository, &call.scopes).await
    }

    /// What is allowed for a request: everything configured for the registry's own host, nothing of it elsewhere.
    fn prepare(&self, request: Request, base: &Url) -> Request {
        let same_host = request.url().host() == base.host();
        request
            .skip_verification(self.inner.config.skip_verification && same_host)
            .allow_plain_http(base.scheme() == "http")
            .addresses(if same_host { AddressRule::Any } else { AddressRule::NoLinkLocal })
    }

    /// The base URL. The first request decides between https and plain HTTP where both are allowed, and hears how to
    /// authenticate.
    /// `action` is what it is needed for, told when nobody answers.
    pub(crate) async fn base(&self, action: &str) -> Result<&Url, RegistryError> {
        self.inner.base.get_or_try_init(|| self.first_contact(action)).await
    }

    async fn first_contact(&self, action: &str) -> Result<Url, RegistryError> {
        let config = &self.inner.config;
        if config.scheme == Scheme::HttpsElseHttp {
            let base = config.base("https");
            let request = self.prepare(Request::get(base.clone()), &base).without_retry();
            match self.transport().send(&request).await {
                Ok(response) => return self.greeted(base, response, action).await,
                Err(error) if error.is_unreachable_over_tls() => {}
                Err(source) => return Err(self.failed(action, source)),
            }
        }
        let base = config.base(if config.scheme == Scheme::Https { "https" } else { "http" });
        let request = self.prepare(Request::get(base.clone()), &base);
        let response = self.transport().send(&request).await.map_err(|source| self.failed(action, source))?;
        self.greeted(base, response, action).await
    }

    async fn greeted(&self, base: Url, response: Response, action: &str) -> Result<Url, RegistryError> {
        let status = response.status();
        if status.as_u16() == 401 && same_origin(response.url(), &base) {
            self.inner.session.learn(&parse_challenges(response.headers()), &base);
        }
        if osbs_http::is_transient(status) {
            let call = Call { repository: "", scopes: Vec::new(), action: action.to_owned() };
            return Err(self.refused(&call, response).await);
        }
        // Read to its end, so that the connection can be used again.
        let _ = response.bytes(MAX_SMALL).await;
        Ok(base)
    }

    /// The repository as the registry knows it: on Docker Hub `fedora` means `library/fedora`.
    pub(crate) fn repository_of(&self, spec: &PullSpec) -> String {
        let repository = spec.repository();
        let hub = self.inner.config.address() == "registry-1.docker.io";
        if hub && !repository.contains('/') { format!("library/{repository}") } else { repository.to_owned() }
    }

    fn check_repository(&self, repository: &str) -> Result<(), RegistryError> {
        // The parser of image names is the one place that knows what a repository is.
        let spec = format!("registry.invalid/{repository}").parse::<PullSpec>();
        if spec.is_ok_and(|spec| spec.repository() == repository) {
            return Ok(());
        }
        Err(RegistryError::BadName { registry: self.host().to_owned(), name: repository.to_owned() })
    }

    /// The tag too must not be able to leave its place in the URL.
    fn checked_name(&self, repository: &str, reference: &Reference) -> Result<String, RegistryError> {
        let name = image_name(repository, reference);
        if format!("registry.invalid/{name}").parse::<PullSpec>().is_ok() {
            return Ok(name);
        }
        Err(RegistryError::BadName { registry: self.host().to_owned(), name })
    }

    pub(crate) fn check_digest(
        &self,
        repository: &str,
        what: &'static str,
        expected: &Digest,
        found: &Digest,
    ) -> Result<(), RegistryError> {
        if expected == found {
            return Ok(());
        }
        Err(RegistryError::WrongDigest {
            registry: self.host().to_owned(),
            repository: repository.to_owned(),
            what,
            expected: expected.clone(),
            found: found.clone(),
        })
    }

    pub(crate) fn failed(&self, action: &str, source: HttpError) -> RegistryError {
        RegistryError::Transport { registry: self.host().to_owned(), action: action.to_owned(), source }
    }

    pub(crate) fn protocol(&self, action: &str, problem: String) -> RegistryError {
        RegistryError::Protocol { registry: self.host().to_owned(), action: action.to_owned(), problem }
    }

    pub(crate) fn not_found(&self, what: String) -> RegistryError {
        RegistryError::NotFound { registry: self.host().to_owned(), what }
    }

    /// The error of an answer that says yes, when what was sent is not there afterwards.
    pub(crate) fn unkept(&self, call: &Call<'_>, response: &Response) -> RegistryError {
        RegistryError::Status {
            registry: self.host().to_owned(),
            action: call.action.clone(),
            status: response.status().as_u16(),
            attempts: response.attempts(),
            detail: "it took what was sent, but does not have it".to_owned(),
        }
    }

    /// The error an answer with a bad status stands for.
    pub(crate) async fn refused(&self, call: &Call<'_>, response: Response) -> RegistryError {
        let (status, attempts) = (response.status().as_u16(), response.attempts());
        let detail = error_detail(&response.error_text(2000).await);
        let (registry, action) = (self.host().to_owned(), call.action.clone());
        if !matches!(status, 401 | 403) {
            return RegistryError::Status { registry, action, status, attempts, detail };
        }
        let credentials = &self.inner.config.credentials;
        let with_login = credentials.find(self.host(), call.repository).is_some();
        RegistryError::Denied { registry, action, with_login, helper: credentials.helper().map(str::to_owned), detail }
    }
}

/// The headers of a small answer that are still needed when its body was read.
#[derive(Debug)]
pub(crate) struct Head {
    pub url: Url,
    pub content_type: Option<String>,
    pub digest: Option<Digest>,
    pub link: Option<String>,
}

impl Head {
    fn of(response: &Response) -> Self {
        Self {
            url: response.url().clone(),
            content_type: response.header("content-type").map(str::to_owned),
            digest: content_digest(response),
            link: response.header("link").map(str::to_owned),
        }
    }
}

/// The registry's word on the digest; another algorithm than ours counts as no word.
pub(crate) fn content_digest(response: &Response) -> Option<Digest> {
    response.header("docker-content-digest")?.parse().ok()
}

/// For values we make ourselves.
pub(crate) fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"))
}

/// `repo:tag` or `repo@digest`.
pub(crate) fn image_name(repository: &str, reference: &Reference) -> String {
    match reference {
        Reference::Tag(tag) => format!("{repository}:{tag}"),
        Reference::Digest(digest) => format!("{repository}@{digest}"),
    }
}
