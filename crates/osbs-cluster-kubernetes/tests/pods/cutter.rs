//! A way to the API server on which every connection is cut after a while.

use osbs_cluster_kubernetes::{KubernetesCluster, PodOptions};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// The way; ends when it is dropped.
pub struct Cutter {
    pub address: SocketAddr,
    cut: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Cutter {
    /// To the server at that address.
    pub async fn start(server: String, after: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cut = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&cut);
        let task = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (server, counted) = (server.clone(), Arc::clone(&counted));
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(server).await else { return };
                    let both = tokio::io::copy_bidirectional(&mut near, &mut far);
                    if tokio::time::timeout(after, both).await.is_err() {
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        Self { address, cut, task }
    }

    /// How many connections it has cut.
    pub fn count(&self) -> usize {
        self.cut.load(Ordering::Relaxed)
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The same cluster, reached over that way.
pub fn over(cutter: &Cutter, config: &kube::Config, namespace: &str, options: PodOptions) -> KubernetesCluster {
    let mut config = config.clone();
    config.cluster_url = format!("https://{}", cutter.address).parse().unwrap();
    let url = config.cluster_url.to_string();
    KubernetesCluster::new(kube::Client::try_from(config).unwrap(), namespace, url, options)
}
