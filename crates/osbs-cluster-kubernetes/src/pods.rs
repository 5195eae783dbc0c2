//! The pods of a build.

use crate::KubernetesCluster;
use crate::client::asked;
use crate::names;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use osbs_cluster::ClusterError;
use osbs_types::BuildName;

/// Those that are there, ended ones too.
pub(crate) async fn pods_of(cluster: &KubernetesCluster, build: &BuildName) -> Result<Vec<Pod>, ClusterError> {
    let with_label = ListParams::default().labels(&format!("{}={build}", names::BUILD));
    let api = cluster.api::<Pod>();
    let found = cluster.send(|| api.list(&with_label)).await;
    Ok(found.map_err(cluster.failed(asked("list", "pods"), None))?.items)
}
