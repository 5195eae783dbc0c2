//! What a site's configuration says of addresses: networks and hosts that are allowed beside the public ones, and
//! networks that are denied although they are public. Text in, checked lists out; nothing is resolved here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// IPv4 addresses in IPv6 clothes (mapped, compatible, NAT64, 6to4) are judged as what they reach.
pub fn canonical_address(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return v4.into();
    }
    let part = v6.segments();
    let v4 = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match part {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => v4(high, low),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => v4(high, low),
        _ => address,
    }
}

/// Where machines speak only to their neighbours, and clouds keep their metadata services.
pub fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        // fd00:ec2::254 is the one metadata address outside fe80::/10.
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6 == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    }
}

/// An entry of a list that is neither address, network nor host name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressListError {
    /// Neither of the three.
    #[error("{0:?} is neither an address, a network (10.0.0.0/8) nor a host name")]
    Syntax(String),
    /// More bits than the address has, or bits set beyond the prefix.
    #[error("{0:?} is not a network: the bits beyond its prefix must be 0, as in 10.0.0.0/8")]
    Prefix(String),
    /// A list of networks names a host.
    #[error("{0:?} is a host name; what is denied must be an address or a network, whatever name leads there")]
    HostDenied(String),
}

/// A range of addresses: `10.0.0.0/8`, `fd00::/8`, `192.0.2.7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether the address lies in it. An IPv4 address in IPv6 clothes is judged as what it reaches, and as itself.
    pub fn contains(&self, address: IpAddr) -> bool {
        [address, canonical_address(address)].into_iter().any(|address| match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                (first.to_bits() ^ address.to_bits()).checked_shr(32 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                (first.to_bits() ^ address.to_bits()).checked_shr(128 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            _ => false,
        })
    }
}

impl FromStr for Network {
    type Err = AddressListError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let syntax = || AddressListError::Syntax(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u8>().map_err(|_| syntax())?)),
            None => (text, None),
        };
        let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
        let first: IpAddr = bare.parse().map_err(|_| syntax())?;
        let bits = if first.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(bits);
        if prefix > bits || masked(first, prefix) != first {
            return Err(AddressListError::Prefix(text.to_owned()));
        }
        Ok(Self { first, prefix })
    }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

/// The lists. Denied goes before allowed, allowed before what is built in.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AddressLists {
    allowed: Vec<Network>,
    /// Lower case, without the last dot.
    hosts: Vec<String>,
    denied: Vec<Network>,
}

impl fmt::Debug for AddressLists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AddressLists(allow {:?} {:?}, deny {:?})", self.allowed, self.hosts, self.denied)
    }
}

impl AddressLists {
    /// From entries as people write them. `allow`: addresses, networks and host names; a host may then be wherever its
    /// name leads, but for link-local addresses. `deny`: addresses and networks.
    ///
    /// # Errors
    /// The first entry that is none of them.
    pub fn new<S: AsRef<str>>(allow: &[S], deny: &[S]) -> Result<Self, AddressListError> {
        let mut lists = Self::default();
        for text in allow.iter().map(|entry| entry.as_ref().trim()) {
            match text.parse::<Network>() {
                Ok(network) => lists.allowed.push(network),
                Err(error @ AddressListError::Prefix(_)) => return Err(error),
                Err(_) if is_host_name(text) => lists.hosts.push(plain_name(text)),
                Err(error) => return Err(error),
            }
        }
        for text in deny.iter().map(|entry| entry.as_ref().trim()) {
            match text.parse() {
                Ok(network) => lists.denied.push(network),
                Err(AddressListError::Syntax(_)) if is_host_name(text) => {
                    return Err(AddressListError::HostDenied(text.to_owned()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(lists)
    }

    /// What the lists say; `None`: nothing.
    pub fn verdict(&self, host: &str, address: IpAddr) -> Option<bool> {
        if self.denied.iter().any(|network| network.contains(address)) {
            return Some(false);
        }
        let named = || self.hosts.contains(&plain_name(host)) && !is_link_local(canonical_address(address));
        (self.allowed.iter().any(|network| network.contains(address)) || named()).then_some(true)
    }
}

fn plain_name(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// A name that DNS could know. Digits and dots alone would be an address that is written wrong.
fn is_host_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    text.len() <= 253 && text.split('.').all(label) && text.bytes().any(|byte| byte.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_network(text: &str, inside: &[&str], outside: &[&str]) {
        let network: Network = text.parse().expect(text);
        let contains = |address: &str| network.contains(address.parse().expect("an address"));
        for address in inside {
            assert!(contains(address), "{address} is in {text}");
        }
        for address in outside {
            assert!(!contains(address), "{address} is not in {text}");
        }
    }

    #[test]
    fn networks() {
        check_network("10.0.0.0/8", &["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"], &["11.0.0.0", "fd00::1"]);
        check_network("192.0.2.7", &["192.0.2.7"], &["192.0.2.6", "192.0.2.8"]);
        check_network("0.0.0.0/0", &["1.2.3.4", "255.255.255.255"], &["2606:4700::1"]);
        check_network("fd00::/8", &["fd12::1"], &["fe80::1", "10.0.0.1"]);
        check_network("[::1]", &["::1"], &["::2"]);
        check_network("::/0", &["::1", "2606:4700::1"], &["10.0.0.1"]);
        for bad in ["", "10.0.0.0/33", "10.0.0.1/8", "::1/129", "10.0.0", "10.0.0.0/x", "a.example.com"] {
            assert!(bad.parse::<Network>().is_err(), "{bad:?}");
        }
    }

    #[track_caller]
    fn check_verdict(allow: &[&str], deny: &[&str], host: &str, address: &str, expected: Option<bool>) {
        let lists = AddressLists::new(allow, deny).expect("lists");
        assert_eq!(lists.verdict(host, address.parse().expect("an address")), expected, "{lists:?} {host} {address}");
    }

    #[test]
    fn denied_goes_before_allowed() {
        check_verdict(&["10.0.0.0/8"], &["10.9.0.0/16"], "x", "10.1.0.1", Some(true));
        check_verdict(&["10.0.0.0/8"], &["10.9.0.0/16"], "x", "10.9.0.1", Some(false));
        check_verdict(&[], &["203.0.113.0/24"], "x", "203.0.113.9", Some(false));
        check_verdict(&[], &[], "x", "10.1.0.1", None);
    }

    #[test]
    fn a_host_is_allowed_wherever_it_is_but_link_local() {
        let allow = ["Artifacts.Example.com."];
        check_verdict(&allow, &[], "artifacts.example.com", "10.1.2.3", Some(true));
        check_verdict(&allow, &[], "artifacts.example.com.", "127.0.0.1", Some(true));
        check_verdict(&allow, &[], "artifacts.example.com", "169.254.169.254", None);
        check_verdict(&allow, &[], "evil.artifacts.example.com", "10.1.2.3", None);
        check_verdict(&["169.254.0.7"], &[], "x", "169.254.0.7", Some(true));
    }

    #[test]
    fn entries_that_are_none() {
        for bad in ["", "10.0.0", "a b", "http://x/", "-x", "1.2.3.4.5", "x:80"] {
            assert!(AddressLists::new(&[bad], &[]).is_err(), "{bad:?}");
        }
        let error = AddressLists::new(&[], &["a.example.com"]).expect_err("a host");
        assert!(matches!(error, AddressListError::HostDenied(_)), "{error}");
    }
}
