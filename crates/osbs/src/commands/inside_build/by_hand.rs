//! The cluster of an orchestrator build that somebody carries out by hand: its own record is kept in memory and goes with
//! it; everything it shares with other builds is that of the site: releases, secrets, ConfigMaps.

use async_trait::async_trait;
use osbs_cluster::{
    Build, BuildConfig, BuildFilter, BuildPatch, Cluster, ClusterError, EventStream, MemoryCluster, NewBuild,
    Reservation, SecretData, TextMap, WaitFor,
};
use osbs_types::{BuildName, Nvr};
use std::path::PathBuf;
use std::sync::Arc;

/// Both of them.
pub(super) struct ByHand {
    /// Where the build itself is.
    pub(super) own: MemoryCluster,
    /// Where everything else is.
    pub(super) site: Arc<dyn Cluster>,
}

#[async_trait]
impl Cluster for ByHand {
    fn namespace(&self) -> &str {
        self.site.namespace()
    }

    fn url(&self) -> String {
        self.site.url()
    }

    async fn create_build(&self, new: NewBuild) -> Result<Build, ClusterError> {
        self.own.create_build(new).await
    }

    async fn get_build(&self, name: &BuildName) -> Result<Build, ClusterError> {
        self.own.get_build(name).await
    }

    async fn list_builds(&self, filter: &BuildFilter) -> Result<Vec<Build>, ClusterError> {
        self.own.list_builds(filter).await
    }

    async fn cancel_build(&self, name: &BuildName) -> Result<Build, ClusterError> {
        self.own.cancel_build(name).await
    }

    async fn wait_build(&self, name: &BuildName, until: WaitFor) -> Result<Build, ClusterError> {
        self.own.wait_build(name, until).await
    }

    async fn update_build(&self, name: &BuildName, patch: BuildPatch) -> Result<Build, ClusterError> {
        self.own.update_build(name, patch).await
    }

    async fn events(&self, name: &BuildName, from: u64, follow: bool) -> Result<EventStream, ClusterError> {
        self.own.events(name, from, follow).await
    }

    async fn active_builds(&self, group: Option<&str>) -> Result<usize, ClusterError> {
        self.own.active_builds(group).await
    }

    async fn ensure_build_config(&self, config: BuildConfig) -> Result<BuildConfig, ClusterError> {
        self.own.ensure_build_config(config).await
    }

    async fn get_build_config(&self, name: &str) -> Result<Option<BuildConfig>, ClusterError> {
        self.own.get_build_config(name).await
    }

    async fn find_build_configs(&self, labels: &TextMap) -> Result<Vec<BuildConfig>, ClusterError> {
        self.own.find_build_configs(labels).await
    }

    async fn delete_build_config(&self, name: &str) -> Result<(), ClusterError> {
        self.own.delete_build_config(name).await
    }

    async fn put_config_map(&self, name: &str, data: &TextMap) -> Result<(), ClusterError> {
        self.site.put_config_map(name, data).await
    }

    async fn get_config_map(&self, name: &str) -> Result<TextMap, ClusterError> {
        self.site.get_config_map(name).await
    }

    async fn list_config_maps(&self) -> Result<Vec<String>, ClusterError> {
        self.site.list_config_maps().await
    }

    async fn delete_config_map(&self, name: &str) -> Result<(), ClusterError> {
        self.site.delete_config_map(name).await
    }

    async fn put_secret(&self, name: &str, data: &SecretData) -> Result<(), ClusterError> {
        self.site.put_secret(name, data).await
    }

    async fn get_secret(&self, name: &str) -> Result<SecretData, ClusterError> {
        self.site.get_secret(name).await
    }

    async fn list_secrets(&self) -> Result<Vec<String>, ClusterError> {
        self.site.list_secrets().await
    }

    async fn delete_secret(&self, name: &str) -> Result<(), ClusterError> {
        self.site.delete_secret(name).await
    }

    async fn secret_dir(&self, name: &str) -> Result<PathBuf, ClusterError> {
        self.site.secret_dir(name).await
    }

    async fn reserve_nvr(&self, nvr: &Nvr, by: &BuildName) -> Result<Reservation, ClusterError> {
        self.site.reserve_nvr(nvr, by).await
    }

    async fn nvr_owner(&self, nvr: &Nvr) -> Result<Option<BuildName>, ClusterError> {
        self.site.nvr_owner(nvr).await
    }

    async fn next_release(&self, component: &str, version: &str) -> Result<String, ClusterError> {
        self.site.next_release(component, version).await
    }
}
