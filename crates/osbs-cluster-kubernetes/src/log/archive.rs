//! The archive of a log: its chunks as ConfigMaps, written by the pod's runner or by whoever closes a dead build, read by
//! everybody. Whoever makes a chunk first has made it.

use super::chunk::{ChunkHead, ClosedChunk, LOG_LABEL, Unpacking, chunk_name, head};
use crate::KubernetesCluster;
use crate::client::{asked, code};
use crate::job::owner;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, PostParams};
use osbs_cluster::ClusterError;
use osbs_types::BuildName;

/// Whose chunk it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stored {
    /// Ours, be it from an earlier call whose answer was lost.
    Ours,
    /// Somebody else made another one of that number: the build was closed by them.
    Theirs,
}

impl KubernetesCluster {
    /// Heads of the chunks of a build, in order.
    pub(crate) async fn chunk_heads(&self, build: &BuildName) -> Result<Vec<ChunkHead>, ClusterError> {
        let with_label = ListParams::default().labels(&format!("{LOG_LABEL}={build}"));
        let api = self.api::<ConfigMap>();
        let found = self.send(|| api.list_metadata(&with_label)).await;
        let found = found.map_err(self.failed(asked("list", "configmaps"), None))?;
        let mut heads = found.items.iter().map(|item| head(&item.metadata)).collect::<Result<Vec<_>, _>>()?;
        heads.sort_unstable_by_key(|head| head.index);
        Ok(heads)
    }

    /// A chunk; nothing if it is not there.
    pub(crate) async fn chunk(&self, name: &str) -> Result<Option<Unpacking>, ClusterError> {
        let api = self.api::<ConfigMap>();
        let found = self.send(|| api.get_opt(name)).await;
        let found = found.map_err(self.failed(asked("get", "configmaps"), Some(name)))?;
        found.map(Unpacking::of).transpose()
    }

    /// Stores a chunk of the build whose Job has that uid.
    pub(crate) async fn store_chunk(
        &self,
        build: &BuildName,
        uid: &str,
        index: u32,
        chunk: &ClosedChunk,
        last: bool,
    ) -> Result<Stored, ClusterError> {
        let api = self.api::<ConfigMap>();
        let map = chunk.config_map(build, index, last, owner(build, uid));
        let params = PostParams::default();
        let Err(error) = self.send(|| api.create(&params, &map)).await else { return Ok(Stored::Ours) };
        let name = chunk_name(build, index);
        if code(&error) != Some(409) {
            return Err(self.failed(asked("create", "configmaps"), Some(&name))(error));
        }
        let theirs =
            self.send(|| api.get(&name)).await.map_err(self.failed(asked("get", "configmaps"), Some(&name)))?;
        // An attempt of ours that was made though its answer was lost is the same, byte for byte.
        let same = theirs.binary_data == map.binary_data
            && theirs.metadata.labels == map.metadata.labels
            && theirs.metadata.annotations == map.metadata.annotations;
        Ok(if same { Stored::Ours } else { Stored::Theirs })
    }
}
