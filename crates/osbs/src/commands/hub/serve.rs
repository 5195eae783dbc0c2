//! `osbs hub serve`: runs the hub until a signal.

use super::{Place, failed, set_up};
use crate::follow::Interrupts;
use crate::session::Session;
use clap::Args;
use osbs_hub::Hub;
use osbs_types::{ErrorKind, Failure};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Run the hub until Ctrl-C; a folder without one gets one
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Where to listen, instead of hub.conf's [default: 127.0.0.1:8080]; port 0: any
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
}

pub(super) async fn run(session: &Session, place: Place, args: ServeArgs) -> Result<u8, Failure> {
    for complaint in &place.conf.complaints {
        session.note(&format!("{} {complaint}", session.paint().yellow("warning")));
    }
    if place.is_new() {
        set_up::make(session, &place, set_up::ADMINISTRATOR)?;
    }
    let mut config = place.conf.hub_config(&place.dir);
    if !session.is_quiet() {
        config.log = Arc::new(|line| eprintln!("hub: {line}"));
    }
    let hub = Hub::open(config).map_err(|error| failed(&error))?;
    let wanted = args.listen.unwrap_or_else(|| place.conf.listen.clone());
    let refused = |error: &std::io::Error| {
        Failure::new(ErrorKind::Resource, error)
            .with_hint(format!("the hub cannot listen on {wanted}: choose another with --listen"))
    };
    let listener = TcpListener::bind(&wanted).await.map_err(|error| refused(&error))?;
    let address = listener.local_addr().map_err(|error| refused(&error))?;
    let scheme = if place.conf.tls.is_some() { "https" } else { "http" };
    if place.conf.tls.is_none() && !address.ip().is_loopback() {
        let warning = session.paint().yellow("warning");
        session
            .note(&format!("{warning} without TLS whoever is on the way reads passwords: see Certificate in hub.conf"));
    }
    session.print(&format!("{scheme}://{address}/kojihub\n"));
    session.note(&format!(
        "files are below {scheme}://{address}/kojifiles; try: koji --noauth -s {scheme}://{address}/kojihub hello"
    ));
    let mut interrupts = Interrupts::new()?;
    let stop = CancellationToken::new();
    let mut serving = std::pin::pin!(hub.serve(listener, stop.clone()));
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = interrupts.next() => {
            stop.cancel();
            serving.await
        }
    };
    ended.map_err(|error| Failure::new(ErrorKind::Resource, &error))?;
    Ok(0)
}
