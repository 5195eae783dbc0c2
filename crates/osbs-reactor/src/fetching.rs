//! What ADD may fetch in a build, as `fetch` of config.yaml says.

use crate::run::Run;
use osbs_fetch::{FetchLimits, GitProgram, WebFetcher};
use osbs_http::Transport;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// For the builder's thread; made within the runtime.
pub(crate) fn fetcher(run: &Run) -> WebFetcher {
    let config = &run.config.fetch;
    let services = &run.services;
    let mut transport = services.transport.config().clone();
    transport.addresses = Arc::new(config.addresses.clone());
    let git = GitProgram { program: services.git.program.clone(), path: services.program_path.clone().into() };
    let defaults = FetchLimits::default();
    let limits = FetchLimits {
        bytes: config.max_size.unwrap_or(defaults.bytes),
        time: config.timeout.map_or(defaults.time, |seconds| Duration::from_secs(seconds.into())),
        ..defaults
    };
    let fetcher = WebFetcher::new(Transport::new(transport), Handle::current(), git, run.cancel().clone());
    fetcher.limits(limits).how_to_allow(
        "builds reach public addresses only; the administrator can add others: fetch.allow in config.yaml",
    )
}
