//! Reservations in Koji that builds of this machine have left when they were killed.
//!
//! A build gives its own back; this is for those that could not. Nothing of it fails whoever calls it.

use super::kerberos_config;
use osbs_cluster::{Cluster, ClusterError};
use osbs_http::{Transport, TransportConfig};
use osbs_reactor::events::{Logger, MemorySink, SystemClock};
use osbs_reactor::{LeftReservation, give_back_left};
use std::sync::Arc;
use std::time::Duration;

/// How long a hub that does not answer is waited for; the next one who looks tries again.
const PATIENCE: Duration = Duration::from_mins(1);

/// Gives back what ended builds of the cluster have left.
///
/// # Errors
/// The cluster cannot be read.
pub(crate) async fn give_back(cluster: &Arc<dyn Cluster>) -> Result<Vec<LeftReservation>, ClusterError> {
    let transport = Transport::new(TransportConfig::default());
    // What went wrong is in the outcomes; repetitions interest nobody here.
    let log = Logger::new(Arc::new(MemorySink::default()), Arc::new(SystemClock), "osbs.koji");
    let kerberos = kerberos_config();
    let work = give_back_left(cluster, kerberos.as_deref(), &transport, &log);
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| Ok(Vec::new()))
}

/// The same for a process without a runtime: the runner of a build, when that has ended.
pub(crate) fn give_back_at_the_end(cluster: &Arc<dyn Cluster>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    if let Ok(runtime) = runtime {
        // The records stay, and the next one who looks tries again.
        let _ = runtime.block_on(give_back(cluster));
    }
}
