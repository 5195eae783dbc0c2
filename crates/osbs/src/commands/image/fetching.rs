//! What ADD fetches in `osbs image build`: from public addresses, and from those that the user allows.

use crate::site::program_path;
use osbs_fetch::{GitProgram, WebFetcher};
use osbs_http::{AddressLists, Transport, TransportConfig};
use osbs_types::{ErrorKind, Failure};
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// For the builder's thread. `allow`: `--allow-address`. Call it within the runtime.
pub(super) fn fetcher(allow: &[String], cancel: &CancellationToken) -> Result<WebFetcher, Failure> {
    let addresses = AddressLists::new(allow, &[]).map_err(|e| {
        Failure::new(ErrorKind::User, &e).with_hint("for example: --allow-address artifacts.example.com")
    })?;
    let config = TransportConfig { addresses: Arc::new(addresses), ..TransportConfig::default() };
    let git = GitProgram { program: "git".into(), path: program_path() };
    let fetcher = WebFetcher::new(Transport::new(config), Handle::current(), git, cancel.clone());
    Ok(fetcher
        .how_to_allow("if you trust what is there, allow it: --allow-address with the address or the host's name"))
}
