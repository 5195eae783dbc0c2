//! Sends requests: the loop of attempts around the loop of redirects around one exchange.

use crate::address::{AddressGuard, Denied, LookupError};
use crate::body::Watch;
use crate::error::{find_in_chain, shown};
use crate::{AddressRule, HttpError, Request, Response, Retried, Timeouts, TransportConfig, redirect, retry, tls};
use jiff::Timestamp;
use osbs_types::Secret;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderValue};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use url::Url;

/// The way out. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Transport {
    inner: Arc<Inner>,
}

type RetryObserver = Arc<dyn Fn(&Retried) + Send + Sync>;

struct Inner {
    config: TransportConfig,
    /// Made when first needed: a machine without root certificates can still speak plain HTTP. By rule and by
    /// verification; connections are never shared between them.
    clients: Mutex<Vec<((AddressRule, bool), reqwest::Client)>>,
    on_retry: Option<RetryObserver>,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

impl Default for Transport {
    fn default() -> Self {
        Self::new(TransportConfig::default())
    }
}

impl Transport {
    /// From its settings.
    pub fn new(config: TransportConfig) -> Self {
        Self { inner: Arc::new(Inner { config, clients: Mutex::default(), on_retry: None }) }
    }

    /// With somebody who is told of every repetition before it is waited for.
    pub fn with_retry_observer(config: TransportConfig, observer: impl Fn(&Retried) + Send + Sync + 'static) -> Self {
        let on_retry: Option<RetryObserver> = Some(Arc::new(observer));
        Self { inner: Arc::new(Inner { config, clients: Mutex::default(), on_retry }) }
    }

    /// The same transport with connections of its own, which trusts these certificates (PEM) beside those it trusts already:
    /// for a server whose certificate a site's own authority has signed.
    ///
    /// # Errors
    /// There is no certificate in them, or one that is none.
    pub fn trusting(&self, pem: &[u8]) -> Result<Self, HttpError> {
        let found =
            reqwest::Certificate::from_pem_bundle(pem).map_err(|source| HttpError::Roots { source: Some(source) })?;
        if found.is_empty() {
            return Err(HttpError::Roots { source: None });
        }
        let mut config = self.inner.config.clone();
        config.extra_roots.push(pem.to_vec());
        let on_retry = self.inner.on_retry.clone();
        Ok(Self { inner: Arc::new(Inner { config, clients: Mutex::default(), on_retry }) })
    }

    /// The same transport with connections of its own, on which it shows this client certificate: certificate and key, PEM.
    ///
    /// # Errors
    /// They are none.
    pub fn presenting(&self, pem: &Secret) -> Result<Self, HttpError> {
        reqwest::Identity::from_pem(pem.reveal().as_bytes()).map_err(|source| HttpError::Identity { source })?;
        let mut config = self.inner.config.clone();
        config.identity = Some(pem.clone());
        let on_retry = self.inner.on_retry.clone();
        Ok(Self { inner: Arc::new(Inner { config, clients: Mutex::default(), on_retry }) })
    }

    /// The settings.
    pub fn config(&self) -> &TransportConfig {
        &self.inner.config
    }

    /// Tells the observer of a repetition that the caller makes itself (a download gone on with after a cut), and waits
    /// for the usual delay. `attempt` counts from 1.
    pub async fn wait_before_retry(&self, url: &Url, attempt: u32, reason: &str) {
        self.pause(url, attempt, reason.to_owned(), None).await;
    }

    /// Sends the request, repeats it while its failure may pass, follows redirects. Any status is an answer: after the
    /// last attempt also one that may pass, with [`Response::attempts`] saying how often it was tried. Drop the future
    /// to cancel.
    ///
    /// # Errors
    /// No answer.
    pub async fn send(&self, request: &Request) -> Result<Response, HttpError> {
        let config = &self.inner.config;
        let limit = if request.use_default_deadline { Some(config.timeouts.request) } else { request.deadline };
        let deadline = limit.map(|limit| Instant::now() + limit);
        let retries = if request.retry && request.body.can_be_sent_again() { config.retry.retries } else { 0 };
        let mut attempt = 1;
        loop {
            let outcome = self.attempt(request, deadline, limit).await;
            let may_pass = match &outcome {
                Ok(response) => retry::is_transient(response.status()),
                Err(error) => error.is_transient(),
            };
            let time_is_up = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if !may_pass || attempt > retries || time_is_up {
                return match outcome {
                    Ok(response) => Ok(response.finish(attempt, deadline)),
                    Err(error) => Err(error.with_attempts(attempt)),
                };
            }
            let (reason, wish) = match &outcome {
                Ok(response) => {
                    (response.status().to_string(), retry::retry_after(response.headers(), Timestamp::now()))
                }
                Err(error) => (error.to_string(), None),
            };
            drop(outcome);
            self.pause(&request.url, attempt, reason, wish).await;
            attempt += 1;
        }
    }

    /// The addresses that a connection to this URL may use by the rule, for a program that connects by itself and must be
    /// told where to: a name that it resolved again could lead elsewhere by then.
    ///
    /// # Errors
    /// The name is not known, or one of its addresses is denied.
    pub async fn addresses(&self, url: &Url, rule: AddressRule) -> Result<Vec<IpAddr>, HttpError> {
        match guard(&self.inner.config, rule).addresses(url).await {
            Ok(found) => Ok(found),
            Err(LookupError::Denied(found)) => Err(denied(found)),
            Err(LookupError::Failed(source)) => Err(HttpError::Resolve { url: shown(url), source }),
        }
    }

    async fn pause(&self, url: &Url, attempt: u32, reason: String, wish: Option<Duration>) {
        let delay = retry::delay(&self.inner.config.retry, attempt, wish, rand::random());
        if let Some(observer) = &self.inner.on_retry {
            observer(&Retried { url: shown(url), attempt, reason, delay });
        }
        tokio::time::sleep(delay).await;
    }

    async fn attempt(
        &self,
        request: &Request,
        deadline: Option<Instant>,
        limit: Option<Duration>,
    ) -> Result<Response, HttpError> {
        let whole = self.follow(request);
        let (Some(deadline), Some(limit)) = (deadline, limit) else { return whole.await };
        let left = deadline.saturating_duration_since(Instant::now());
        tokio::time::timeout(left, whole).await.unwrap_or_else(|_| {
            Err(HttpError::Timeout { url: shown(&request.url), what: "sending the request", limit, attempts: 1 })
        })
    }

    async fn follow(&self, request: &Request) -> Result<Response, HttpError> {
        let mut hop = Hop::first(request);
        for _ in 0..=self.inner.config.max_redirects {
            if request.urls.as_ref().is_some_and(|rule| !rule.allows(&hop.url)) {
                return Err(HttpError::UrlNotAllowed { url: shown(&hop.url) });
            }
            let response = self.exchange(request, &hop).await?;
            let again = request.body.can_be_sent_again();
            let next = redirect::target(&request.method, &hop.url, response.status(), response.headers(), again)?;
            match next {
                None => return Ok(response),
                Some(url) => hop = hop.next(url)?,
            }
        }
        Err(HttpError::TooManyRedirects { url: shown(&request.url), limit: self.inner.config.max_redirects })
    }

    async fn exchange(&self, request: &Request, hop: &Hop) -> Result<Response, HttpError> {
        hop.check_scheme()?;
        let behind_proxy = self.inner.config.proxy.is_some();
        guard(&self.inner.config, hop.addresses).check_host(&hop.url, behind_proxy).await.map_err(denied)?;
        let watch = Watch::new();
        let Timeouts { idle, commit, .. } = self.inner.config.timeouts;
        let building = self.build(request, hop, &watch)?;
        let sent = tokio::select! {
            sent = building.send() => sent,
            limit = watch.silence(idle, commit) => {
                return Err(HttpError::Timeout { url: shown(&hop.url), what: "waiting for its answer", limit, attempts: 1 });
            }
        };
        match sent {
            Ok(response) => Ok(Response::new(response, hop.url.clone(), idle, hop.authorization.clone())),
            Err(error) => Err(judge(error.without_url(), &hop.url, &watch)),
        }
    }

    fn build(&self, request: &Request, hop: &Hop, watch: &Arc<Watch>) -> Result<reqwest::RequestBuilder, HttpError> {
        let url = || shown(&hop.url);
        let client = self.client(hop.addresses, hop.skip_verification || hop.url.scheme() == "http")?;
        let mut building = client.request(request.method.clone(), hop.url.clone()).headers(request.headers.clone());
        if let Some(secret) = &hop.authorization
            && let Ok(mut value) = HeaderValue::from_str(secret.reveal())
        {
            value.set_sensitive(true);
            building = building.header(AUTHORIZATION, value);
        }
        if let Some(length) = request.body.explicit_length() {
            building = building.header(CONTENT_LENGTH, length);
        }
        let body = request.body.open(watch).map_err(|source| HttpError::RequestBody { url: url(), source })?;
        Ok(building.body(body.ok_or_else(|| HttpError::BodyUsed { url: url() })?))
    }

    fn client(&self, rule: AddressRule, any_certificate: bool) -> Result<reqwest::Client, HttpError> {
        let mut clients = self.inner.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (rule, any_certificate);
        if let Some((_, client)) = clients.iter().find(|(found, _)| *found == key) {
            return Ok(client.clone());
        }
        let client =
            new_client(&self.inner.config, rule, any_certificate).map_err(|source| HttpError::Setup { source })?;
        clients.push((key, client.clone()));
        Ok(client)
    }
}

fn new_client(config: &TransportConfig, rule: AddressRule, any_certificate: bool) -> reqwest::Result<reqwest::Client> {
    tls::install_provider();
    let mut builder = reqwest::Client::builder()
        .user_agent(&config.user_agent)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .connect_timeout(config.timeouts.connect)
        .pool_idle_timeout(Duration::from_secs(15))
        .tcp_keepalive(Duration::from_secs(30));
    if rule != AddressRule::Any || config.resolver.is_some() {
        builder = builder.dns_resolver(Arc::new(guard(config, rule)));
    }
    if any_certificate {
        builder = builder.tls_danger_accept_invalid_certs(true);
    } else {
        for pem in &config.extra_roots {
            builder = builder.tls_certs_merge(reqwest::Certificate::from_pem_bundle(pem)?);
        }
    }
    if let Some(pem) = &config.identity {
        builder = builder.identity(reqwest::Identity::from_pem(pem.reveal().as_bytes())?);
    }
    if let Some(proxy) = &config.proxy {
        let exceptions = config.no_proxy.as_deref().and_then(reqwest::NoProxy::from_string);
        builder = builder.proxy(reqwest::Proxy::all(proxy.clone())?.no_proxy(exceptions));
    }
    builder.build()
}

fn guard(config: &TransportConfig, rule: AddressRule) -> AddressGuard {
    AddressGuard::new(rule, &config.addresses, config.resolver.as_ref())
}

fn denied(denied: Denied) -> HttpError {
    HttpError::AddressDenied { host: denied.host, address: denied.address, rule: denied.rule }
}

fn judge(source: reqwest::Error, url: &Url, watch: &Watch) -> HttpError {
    if let Some(failure) = watch.take_failure() {
        return HttpError::RequestBody { url: shown(url), source: failure };
    }
    if let Some(found) = find_in_chain::<Denied>(&source) {
        return denied(found.clone());
    }
    if find_in_chain::<rustls::Error>(&source).is_some() {
        return HttpError::Tls { url: shown(url), source };
    }
    HttpError::Connect { url: shown(url), attempts: 1, source }
}

/// User information would become an `Authorization` header behind our back; in a `Location` one of somebody else's choice.
fn without_user(mut url: Url) -> Url {
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

/// What holds for one step of a chain of redirects.
#[derive(Clone)]
struct Hop {
    url: Url,
    authorization: Option<Secret>,
    skip_verification: bool,
    allow_plain_http: bool,
    addresses: AddressRule,
}

impl Hop {
    fn first(request: &Request) -> Self {
        Self {
            url: without_user(request.url.clone()),
            authorization: request.authorization.clone(),
            skip_verification: request.skip_verification,
            allow_plain_http: request.allow_plain_http,
            addresses: request.addresses,
        }
    }

    fn check_scheme(&self) -> Result<(), HttpError> {
        match self.url.scheme() {
            "https" => Ok(()),
            "http" if self.allow_plain_http => Ok(()),
            "http" => Err(HttpError::PlainHttp { url: shown(&self.url) }),
            _ => Err(HttpError::Scheme { url: shown(&self.url) }),
        }
    }

    /// The next step. On the same origin all stays; elsewhere credentials and the leave to skip verification do not go
    /// along, and not even a configured host may send us to a metadata service. There is no way back from https.
    fn next(self, url: Url) -> Result<Self, HttpError> {
        let allow_plain_http = self.allow_plain_http && self.url.scheme() == "http";
        let url = without_user(url);
        let hop = if redirect::same_origin(&self.url, &url) {
            Self { url, allow_plain_http, ..self }
        } else {
            let addresses = self.addresses.max(AddressRule::NoLinkLocal);
            Self { url, authorization: None, skip_verification: false, allow_plain_http, addresses }
        };
        hop.check_scheme()?;
        Ok(hop)
    }
}
