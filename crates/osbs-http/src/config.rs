//! Settings of the transport: plain data, with the defaults of `reactor.md` 1.10.

use crate::{AddressLists, Resolver};
use osbs_types::Secret;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// How often and how fast a request is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Repetitions after the first attempt.
    pub retries: u32,
    /// Delay before the first repetition; each further one waits three times as long, with jitter.
    pub base_delay: Duration,
    /// No delay is longer, whatever `Retry-After` asks for.
    pub max_delay: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { retries: 3, base_delay: Duration::from_secs(1), max_delay: Duration::from_mins(2) }
    }
}

/// How long to wait for what. There is no limit on a whole stream: a large layer may take as long as it moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Name resolution, TCP and TLS together.
    pub connect: Duration,
    /// The longest silence of the other side: before the response head, or between two pieces of a body.
    pub idle: Duration,
    /// Silence after a streamed body was sent whole: a registry may copy a large blob before it answers.
    pub commit: Duration,
    /// A request with a small answer, all attempts together, unless [`crate::Request::without_deadline`].
    pub request: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            idle: Duration::from_mins(1),
            commit: Duration::from_mins(10),
            request: Duration::from_mins(10),
        }
    }
}

/// Everything a [`crate::Transport`] is made of.
#[derive(Debug, Clone)]
pub struct TransportConfig {
    /// Sent as `User-Agent`.
    pub user_agent: String,
    /// Retry policy of every request that does not switch it off.
    pub retry: RetryPolicy,
    /// Limits.
    pub timeouts: Timeouts,
    /// Redirects followed before the answer is called a loop.
    pub max_redirects: usize,
    /// Proxy for both schemes. The environment is never asked.
    pub proxy: Option<Url>,
    /// Hosts reached without the proxy, in the usual `no_proxy` notation.
    pub no_proxy: Option<String>,
    /// Certificates (PEM) trusted beside those of the system.
    pub extra_roots: Vec<Vec<u8>>,
    /// A client certificate and its key (PEM), shown to servers that ask for one.
    pub identity: Option<Secret>,
    /// What [`crate::AddressRule::PublicOnly`] allows beside public addresses, and denies of them.
    pub addresses: Arc<AddressLists>,
    /// Finds the addresses of names; `None`: the system does.
    pub resolver: Option<Arc<dyn Resolver>>,
}

impl Default for TransportConfig {
    fn default() -> Self {
        Self {
            user_agent: concat!("osbs/", env!("CARGO_PKG_VERSION")).to_owned(),
            retry: RetryPolicy::default(),
            timeouts: Timeouts::default(),
            max_redirects: 10,
            proxy: None,
            no_proxy: None,
            extra_roots: Vec::new(),
            identity: None,
            addresses: Arc::default(),
            resolver: None,
        }
    }
}
