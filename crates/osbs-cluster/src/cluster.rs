//! The contract between whoever wants builds and the place where they run. `conformance.rs` holds every implementation to it.

use crate::{
    Build, BuildConfig, BuildFilter, BuildPatch, ClusterError, NewBuild, Reservation, SecretData, StoredEvent, TextMap,
    WaitFor,
};
use async_trait::async_trait;
use futures_util::stream::BoxStream;
use osbs_types::{BuildName, Nvr};
use std::path::PathBuf;
use std::time::Duration;

/// Events of one build, in order.
pub type EventStream = BoxStream<'static, Result<StoredEvent, ClusterError>>;

/// One namespace of a place where builds run and are remembered.
///
/// Every method may be called from several tasks and several processes at once. What a method has returned is durable.
/// All of it is cancel-safe: a dropped future leaves either the old or the new state.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// The namespace all names are in.
    fn namespace(&self) -> &str;

    /// Where this cluster is, for people and for the annotation `worker-builds`: a URL.
    fn url(&self) -> String;

    /// Records a build and sets it going. Returns as soon as it is recorded; its state is then New or later.
    async fn create_build(&self, new: NewBuild) -> Result<Build, ClusterError>;

    /// The build as it is now.
    async fn get_build(&self, name: &BuildName) -> Result<Build, ClusterError>;

    /// Builds that match, oldest first.
    async fn list_builds(&self, filter: &BuildFilter) -> Result<Vec<Build>, ClusterError>;

    /// Asks a build to stop and returns at once. A build that has not started never will; a running one gets its chance
    /// to clean up. Asking again, or asking a finished build, changes nothing and is no error.
    async fn cancel_build(&self, name: &BuildName) -> Result<Build, ClusterError>;

    /// Says that somebody wants the build and will say so again within `how_long`. Where that is kept, a running build of
    /// which it was said, and then no more, is cancelled: the orchestrator build that asked for it is gone, and nobody else
    /// would. By default nothing: builds of one machine end with those that asked for them.
    async fn still_wanted(&self, _name: &BuildName, _how_long: Duration) -> Result<(), ClusterError> {
        Ok(())
    }

    /// Waits, as long as it takes, and returns the build as it is then.
    async fn wait_build(&self, name: &BuildName, until: WaitFor) -> Result<Build, ClusterError>;

    /// Merges labels and annotations, atomically. Works on finished builds too.
    async fn update_build(&self, name: &BuildName, patch: BuildPatch) -> Result<Build, ClusterError>;

    /// The events behind offset `from` ([`StoredEvent::offset`]; 0 = all). Without `follow` the stream ends with what is
    /// there now; with it, when the build is finished and every event has been seen.
    async fn events(&self, name: &BuildName, from: u64, follow: bool) -> Result<EventStream, ClusterError>;

    /// How many builds of the namespace are not finished; with `group`, of those that use that slot group.
    async fn active_builds(&self, group: Option<&str>) -> Result<usize, ClusterError>;

    /// Makes a BuildConfig, or brings the one of that name up to date: its labels must not contradict (an existing,
    /// non-empty value that differs is [`ClusterError::BuildConfigDiffers`]), new ones are added, `koji-task-id` is
    /// replaced or dropped.
    async fn ensure_build_config(&self, config: BuildConfig) -> Result<BuildConfig, ClusterError>;

    /// The BuildConfig of that name.
    async fn get_build_config(&self, name: &str) -> Result<Option<BuildConfig>, ClusterError>;

    /// BuildConfigs with all of these labels, by name.
    async fn find_build_configs(&self, labels: &TextMap) -> Result<Vec<BuildConfig>, ClusterError>;

    /// Removes a BuildConfig; its builds stay. No such: no error.
    async fn delete_build_config(&self, name: &str) -> Result<(), ClusterError>;

    /// Writes a ConfigMap, whole.
    async fn put_config_map(&self, name: &str, data: &TextMap) -> Result<(), ClusterError>;

    /// Reads a ConfigMap.
    async fn get_config_map(&self, name: &str) -> Result<TextMap, ClusterError>;

    /// Names of the ConfigMaps, sorted.
    async fn list_config_maps(&self) -> Result<Vec<String>, ClusterError>;

    /// Removes a ConfigMap. No such: no error.
    async fn delete_config_map(&self, name: &str) -> Result<(), ClusterError>;

    /// Writes a secret, whole.
    async fn put_secret(&self, name: &str, data: &SecretData) -> Result<(), ClusterError>;

    /// Reads a secret.
    async fn get_secret(&self, name: &str) -> Result<SecretData, ClusterError>;

    /// Names of the secrets, sorted.
    async fn list_secrets(&self) -> Result<Vec<String>, ClusterError>;

    /// Removes a secret. No such: no error.
    async fn delete_secret(&self, name: &str) -> Result<(), ClusterError>;

    /// The folder with one file for each key of the secret, as a build on this machine sees it.
    async fn secret_dir(&self, name: &str) -> Result<PathBuf, ClusterError>;

    /// Gives an NVR to a build, for ever: no other build gets it. Asking again for the same build is no error.
    async fn reserve_nvr(&self, nvr: &Nvr, by: &BuildName) -> Result<Reservation, ClusterError>;

    /// Whose an NVR is.
    async fn nvr_owner(&self, nvr: &Nvr) -> Result<Option<BuildName>, ClusterError>;

    /// The release behind the highest one reserved for component and version; `1` when there is none. The number before
    /// the first dot is counted up and the rest kept (`3.fc40` -> `4.fc40`). Another build may be quicker: reserve it,
    /// and ask again on [`ClusterError::NvrTaken`].
    async fn next_release(&self, component: &str, version: &str) -> Result<String, ClusterError>;
}
