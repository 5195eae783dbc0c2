//! The record of NVRs: one ConfigMap for each component and version, so that the next release is found by one request.

use crate::KubernetesCluster;
use crate::config_maps::new_config_map;
use crate::job::to_text;
use crate::names::nvrs;
use k8s_openapi::api::core::v1::ConfigMap;
use osbs_cluster::{ClusterError, Reservation, TextMap, next_release};
use osbs_types::{BuildName, Nvr, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Value of the label `osbs/kind`.
const NVRS: &str = "nvr";
/// Key of its data: release -> owner, JSON. Releases may hold what a ConfigMap's keys cannot.
const RELEASES: &str = "releases.json";

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Owner {
    by: BuildName,
    at: Timestamp,
}

type Releases = BTreeMap<String, Owner>;

fn read(map: Option<&ConfigMap>) -> Result<Releases, ClusterError> {
    let Some(map) = map else { return Ok(Releases::new()) };
    let text = map.data.as_ref().and_then(|data| data.get(RELEASES)).map_or("", String::as_str);
    serde_json::from_str(text).map_err(|source| ClusterError::Corrupt {
        what: "the record of NVRs",
        place: format!("ConfigMap {}", map.metadata.name.as_deref().unwrap_or_default()),
        source: source.into(),
    })
}

impl KubernetesCluster {
    pub(crate) async fn reserve(&self, nvr: &Nvr, by: &BuildName) -> Result<Reservation, ClusterError> {
        let name = nvrs(nvr.name(), nvr.version());
        let now = Timestamp::now();
        self.change_config_map(&name, |before| {
            let mut releases = read(before.as_ref())?;
            if let Some(owner) = releases.get(nvr.release()) {
                if owner.by == *by {
                    return Ok((None, Reservation { nvr: nvr.clone(), by: by.clone(), at: owner.at }));
                }
                return Err(ClusterError::NvrTaken { nvr: nvr.clone(), by: owner.by.clone() });
            }
            releases.insert(nvr.release().to_owned(), Owner { by: by.clone(), at: now });
            let mut map = before.unwrap_or_else(|| new_config_map(&name, NVRS, TextMap::new()));
            // The name is a digest: these are for people.
            let about = [("component", nvr.name()), ("version", nvr.version())];
            let data = map.data.get_or_insert_default();
            data.extend(about.map(|(key, value)| (key.to_owned(), value.to_owned())));
            data.insert(RELEASES.to_owned(), to_text(&releases)?);
            Ok((Some(map), Reservation { nvr: nvr.clone(), by: by.clone(), at: now }))
        })
        .await
    }

    pub(crate) async fn owner_of(&self, nvr: &Nvr) -> Result<Option<BuildName>, ClusterError> {
        let map = self.read_config_map(&nvrs(nvr.name(), nvr.version())).await?;
        Ok(read(map.as_ref())?.remove(nvr.release()).map(|owner| owner.by))
    }

    pub(crate) async fn release_after(&self, component: &str, version: &str) -> Result<String, ClusterError> {
        let map = self.read_config_map(&nvrs(component, version)).await?;
        Ok(next_release(read(map.as_ref())?.keys().map(String::as_str)))
    }
}
