//! What a build may fetch, as `fetch` of config.yaml says: for ADD, and for steps that fetch what a repository names.

use crate::run::Run;
use osbs_fetch::{FetchLimits, GitProgram, WebFetcher};
use osbs_http::Transport;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// With the site's lists of addresses. Repetitions are told in the log.
pub(crate) fn transport(run: &Run) -> Transport {
    let mut config = run.services.transport.config().clone();
    config.addresses = Arc::new(run.config.fetch.addresses.clone());
    let log = run.log().clone();
    Transport::with_retry_observer(config, move |again| {
        log.warning(format!("{}: {}; again in {:.1} s", again.url, again.reason, again.delay.as_secs_f32()));
    })
}

/// Bytes and time of one download.
pub(crate) fn limits(run: &Run) -> FetchLimits {
    let (config, defaults) = (&run.config.fetch, FetchLimits::default());
    FetchLimits {
        bytes: config.max_size.unwrap_or(defaults.bytes),
        time: config.timeout.map_or(defaults.time, |seconds| Duration::from_secs(seconds.into())),
        ..defaults
    }
}

/// For the builder's thread; made within the runtime.
pub(crate) fn fetcher(run: &Run) -> WebFetcher {
    let services = &run.services;
    let git = GitProgram { program: services.git.program.clone(), path: services.program_path.clone().into() };
    WebFetcher::new(transport(run), Handle::current(), git, run.cancel().clone()).limits(limits(run)).how_to_allow(
        "builds reach public addresses only; the administrator can add others: fetch.allow in config.yaml",
    )
}
