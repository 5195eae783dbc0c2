//! Connections: accepts them, with TLS where it is configured, and hands their requests to the endpoint.
//!
//! Must not look into requests.

use crate::endpoint::{self, Peer};
use crate::hub::Hub;
use crate::tls;
use axum::Extension;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections at a time; further ones wait to be accepted.
const MOST_CONNECTIONS: usize = 1000;
/// For a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(20);
/// For the head of a request, and between two requests.
const IDLE: Duration = Duration::from_mins(5);
/// For calls that are under way when the hub is told to stop.
const FAREWELL: Duration = Duration::from_secs(10);

impl Hub {
    /// Serves until `stop`, then ends what is under way, for ten seconds at most.
    ///
    /// # Errors
    /// The listener fails for good.
    pub async fn serve(&self, listener: TcpListener, stop: CancellationToken) -> io::Result<()> {
        let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        let tasks = TaskTracker::new();
        let farewell = CancellationToken::new();
        let scheduler = tokio::spawn(crate::scheduler::run(self.state.clone()));
        let _stopped = tokio_util::task::AbortOnDropHandle::new(scheduler);
        let clearing = tokio::spawn(crate::uploads::removal::run(self.state.clone()));
        let _cleared = tokio_util::task::AbortOnDropHandle::new(clearing);
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { break };
            let (stream, address) = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    // The client is gone already, or files have run out for a moment.
                    Err(error) => {
                        self.state.log(format_args!("accepting a connection: {error}"));
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            let (hub, stop, farewell) = (self.clone(), stop.clone(), farewell.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = hub.connection(stream, address, stop) => {}
                    () = farewell.cancelled() => {}
                }
                drop(place);
            });
        }
        tasks.close();
        if tokio::time::timeout(FAREWELL, tasks.wait()).await.is_err() {
            farewell.cancel();
            tasks.wait().await;
        }
        Ok(())
    }

    async fn connection(&self, stream: TcpStream, address: SocketAddr, stop: CancellationToken) {
        // Answers are small and waited for.
        let _ = stream.set_nodelay(true);
        // `::ffff:127.0.0.1` and `127.0.0.1` are one address.
        let address = address.ip().to_canonical();
        let Some(config) = self.tls.clone() else {
            return self.requests(stream, Peer { address, certificate: None }, stop).await;
        };
        let handshake = tokio_rustls::TlsAcceptor::from(config).accept(stream);
        // A client that cannot, or that waits too long, is nobody's concern.
        let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, handshake).await else { return };
        let certificate =
            stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).and_then(tls::subject_of);
        self.requests(stream, Peer { address, certificate }, stop).await;
    }

    async fn requests(&self, stream: impl AsyncRead + AsyncWrite + Unpin, peer: Peer, stop: CancellationToken) {
        let service = TowerToHyperService::new(endpoint::router(self.state.clone()).layer(Extension(peer)));
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(IDLE).max_buf_size(128 * 1024);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        tokio::select! {
            // How a client takes its leave is its own affair.
            _ = &mut connection => return,
            () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    }
}
