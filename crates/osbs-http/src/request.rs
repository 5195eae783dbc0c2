//! One request as data.

use crate::{AddressRule, RequestBody};
use bytes::Bytes;
use osbs_types::Secret;
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// Which URLs a request may reach, itself and by redirects. Of a site's configuration; the addresses behind them are
/// judged besides.
#[derive(Clone)]
pub struct UrlRule(Arc<dyn Fn(&Url) -> bool + Send + Sync>);

impl UrlRule {
    /// Those for which `allows` is true.
    pub fn new(allows: impl Fn(&Url) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(allows))
    }

    /// Whether this URL is one.
    pub fn allows(&self, url: &Url) -> bool {
        (self.0)(url)
    }
}

impl fmt::Debug for UrlRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UrlRule")
    }
}

/// What to send, and what is allowed while sending it. The strict choice is the default everywhere.
#[derive(Debug, Clone)]
pub struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) authorization: Option<Secret>,
    pub(crate) body: RequestBody,
    pub(crate) skip_verification: bool,
    pub(crate) allow_plain_http: bool,
    pub(crate) addresses: AddressRule,
    pub(crate) urls: Option<UrlRule>,
    pub(crate) retry: bool,
    pub(crate) deadline: Option<Duration>,
    pub(crate) use_default_deadline: bool,
}

impl Request {
    /// A request with the strict defaults: verified https, public addresses only, retried.
    pub fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            authorization: None,
            body: RequestBody::Empty,
            skip_verification: false,
            allow_plain_http: false,
            addresses: AddressRule::PublicOnly,
            urls: None,
            retry: true,
            deadline: None,
            use_default_deadline: true,
        }
    }

    /// A GET.
    pub fn get(url: Url) -> Self {
        Self::new(Method::GET, url)
    }

    /// The URL.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Whether another attempt can carry the same body.
    pub fn can_be_sent_again(&self) -> bool {
        self.body.can_be_sent_again()
    }

    /// Adds a header. It goes along on redirects, so it is no place for credentials.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Sets the whole `Authorization` value. It goes to the URL's own origin and to no other.
    #[must_use]
    pub fn authorization(mut self, value: Option<Secret>) -> Self {
        self.authorization = value;
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: RequestBody) -> Self {
        self.body = body;
        self
    }

    /// Sets a body of bytes.
    #[must_use]
    pub fn bytes(self, bytes: impl Into<Bytes>) -> Self {
        self.body(RequestBody::Bytes(bytes.into()))
    }

    /// Accepts any certificate of the URL's own host (not of hosts it redirects to).
    #[must_use]
    pub fn skip_verification(mut self, skip: bool) -> Self {
        self.skip_verification = skip;
        self
    }

    /// Allows `http://`. A redirect from https to http stays forbidden.
    #[must_use]
    pub fn allow_plain_http(mut self, allow: bool) -> Self {
        self.allow_plain_http = allow;
        self
    }

    /// Which addresses may be reached.
    #[must_use]
    pub fn addresses(mut self, rule: AddressRule) -> Self {
        self.addresses = rule;
        self
    }

    /// Which URLs may be reached, by redirects too; `None`: any.
    #[must_use]
    pub fn only(mut self, rule: Option<UrlRule>) -> Self {
        self.urls = rule;
        self
    }

    /// Sends once, whatever happens.
    #[must_use]
    pub fn without_retry(mut self) -> Self {
        self.retry = false;
        self
    }

    /// No limit on the whole: for streams, which only the idle limit guards.
    #[must_use]
    pub fn without_deadline(mut self) -> Self {
        self.use_default_deadline = false;
        self.deadline = None;
        self
    }

    /// A limit on the whole, all attempts and a small answer together.
    #[must_use]
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.use_default_deadline = false;
        self.deadline = Some(limit);
        self
    }
}
