//! Which addresses a request may reach, judged after name resolution.
//!
//! A build service fetches what strangers name. Without a rule, `http://169.254.169.254/` or a name that resolves to
//! the cluster's inside would be fetched on their behalf.

use futures_util::future::BoxFuture;
use osbs_types::{AddressLists, canonical_address, is_link_local};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::{fmt, io};

/// The addresses allowed, from lax to strict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressRule {
    /// Any: for hosts that the site's configuration names.
    Any,
    /// No link-local addresses, where clouds keep their metadata services: for redirects of configured hosts.
    NoLinkLocal,
    /// Only public addresses, and what [`AddressLists`] say: for URLs out of a repository or a request.
    PublicOnly,
}

impl fmt::Display for AddressRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "any address",
            Self::NoLinkLocal => "no link-local addresses",
            Self::PublicOnly => "public addresses only",
        })
    }
}

impl AddressRule {
    /// Whether the rule lets a connection to this address happen.
    pub fn allows(self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::NoLinkLocal => !is_link_local(canonical_address(address)),
            Self::PublicOnly => is_public(canonical_address(address)),
        }
    }
}

/// Finds the addresses of a host name. The system's is used unless [`crate::TransportConfig`] has another.
pub trait Resolver: Send + Sync + fmt::Debug {
    /// All of them.
    fn lookup(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The system's resolver.
#[derive(Debug)]
struct SystemResolver;

impl Resolver for SystemResolver {
    fn lookup(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let host = host.to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// A rule with all that it needs to judge a host.
#[derive(Debug, Clone)]
pub(crate) struct AddressGuard {
    pub rule: AddressRule,
    lists: Arc<AddressLists>,
    resolver: Arc<dyn Resolver>,
}

impl AddressGuard {
    pub(crate) fn new(rule: AddressRule, lists: &Arc<AddressLists>, resolver: Option<&Arc<dyn Resolver>>) -> Self {
        let resolver = resolver.map_or_else(|| Arc::new(SystemResolver) as Arc<dyn Resolver>, Arc::clone);
        Self { rule, lists: Arc::clone(lists), resolver }
    }

    fn allows(&self, host: &str, address: IpAddr) -> bool {
        let said = if self.rule == AddressRule::PublicOnly { self.lists.verdict(host, address) } else { None };
        said.unwrap_or_else(|| self.rule.allows(address))
    }

    /// The addresses of a name, all of them allowed: one denied address denies the name, for a name with a public and an
    /// inner address is how a rule is slipped past.
    pub(crate) async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, LookupError> {
        let found = self.resolver.lookup(host).await.map_err(LookupError::Failed)?;
        match found.iter().find(|address| !self.allows(host, **address)) {
            Some(denied) => Err(LookupError::Denied(self.denied(host, *denied))),
            None => Ok(found),
        }
    }

    fn denied(&self, host: &str, address: IpAddr) -> Denied {
        Denied { host: host.to_owned(), address, rule: self.rule }
    }

    /// Judges a host that no resolver of ours will see: a literal address, or any host behind a proxy. A name that does
    /// not resolve here passes: the proxy may know it, and a direct connection fails anyway.
    pub(crate) async fn check_host(&self, url: &url::Url, behind_proxy: bool) -> Result<(), Denied> {
        match url.host() {
            Some(url::Host::Domain(name)) if behind_proxy && self.rule != AddressRule::Any => {
                match self.lookup(name).await {
                    Err(LookupError::Denied(denied)) => Err(denied),
                    _ => Ok(()),
                }
            }
            _ => self.check_literal(url),
        }
    }

    fn check_literal(&self, url: &url::Url) -> Result<(), Denied> {
        let Some(address) = literal(url) else { return Ok(()) };
        let host = address.to_string();
        if self.allows(&host, address) { Ok(()) } else { Err(self.denied(&host, address)) }
    }

    /// Where a connection to this URL may go.
    pub(crate) async fn addresses(&self, url: &url::Url) -> Result<Vec<IpAddr>, LookupError> {
        self.check_literal(url).map_err(LookupError::Denied)?;
        match literal(url) {
            Some(address) => Ok(vec![address]),
            None => self.lookup(url.host_str().unwrap_or_default()).await,
        }
    }
}

fn literal(url: &url::Url) -> Option<IpAddr> {
    match url.host()? {
        url::Host::Ipv4(address) => Some(address.into()),
        url::Host::Ipv6(address) => Some(address.into()),
        url::Host::Domain(_) => None,
    }
}

impl Resolve for AddressGuard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let found = guard.lookup(name.as_str()).await.map_err(LookupError::boxed)?;
            let found: Vec<SocketAddr> = found.into_iter().map(|address| SocketAddr::new(address, 0)).collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_broadcast()
                || v4.is_multicast()
                || v4.is_documentation()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (18..20).contains(&b)))
        }
        IpAddr::V6(v6) => {
            let first = v6.segments()[0];
            // Global unicast is 2000::/3; of it, 2001:db8::/32 is for documentation.
            (0x2000..0x4000).contains(&first) && v6.segments()[..2] != [0x2001, 0xdb8]
        }
    }
}

/// The resolver found only addresses that are denied.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{host} is {address}: {rule}")]
pub(crate) struct Denied {
    pub host: String,
    pub address: IpAddr,
    pub rule: AddressRule,
}

/// A name did not lead to an address that may be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookupError {
    #[error(transparent)]
    Denied(Denied),
    #[error(transparent)]
    Failed(io::Error),
}

impl LookupError {
    /// As the resolver's caller hands it on; the sender looks for [`Denied`] in the chain.
    fn boxed(self) -> Box<dyn std::error::Error + Send + Sync> {
        match self {
            Self::Denied(denied) => denied.into(),
            Self::Failed(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_rule(address: &str, link_local_allowed: bool, public: bool) {
        let ip: IpAddr = address.parse().expect("an address");
        assert!(AddressRule::Any.allows(ip));
        assert_eq!(AddressRule::NoLinkLocal.allows(ip), link_local_allowed, "{address}");
        assert_eq!(AddressRule::PublicOnly.allows(ip), public, "{address}");
    }

    #[test]
    fn ranges() {
        check_rule("169.254.169.254", false, false);
        check_rule("::ffff:169.254.169.254", false, false);
        check_rule("64:ff9b::a9fe:a9fe", false, false);
        check_rule("2002:a9fe:a9fe::1", false, false);
        check_rule("::169.254.169.254", false, false);
        check_rule("fe80::1", false, false);
        check_rule("fd00:ec2::254", false, false);
        for inner in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "0.0.0.0",
            "100.64.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "192.0.0.1",
            "::1",
            "::",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "2001:db8::1",
        ] {
            check_rule(inner, true, false);
        }
        for outer in ["8.8.8.8", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8"] {
            check_rule(outer, true, true);
        }
    }
}
