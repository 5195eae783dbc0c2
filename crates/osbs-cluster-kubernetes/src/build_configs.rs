//! BuildConfigs: a ConfigMap each, with its labels.

use crate::KubernetesCluster;
use crate::config_maps::{CONFIG_MAPS, new_config_map};
use crate::job::to_text;
use crate::names::{KIND, PREFIX, build_config, check_labels, label_value};
use k8s_openapi::api::core::v1::ConfigMap;
use osbs_cluster::{BuildConfig, ClusterError, TextMap, merge_build_config};

/// Value of the label `osbs/kind`.
const BUILD_CONFIGS: &str = "build-config";
/// Keys of its data: the BuildConfig as JSON; the number of its last build.
const RECORD: &str = "build-config.json";
const LAST_VERSION: &str = "last-version";

fn read(map: &ConfigMap) -> Result<BuildConfig, ClusterError> {
    let corrupt = |source| ClusterError::Corrupt {
        what: "the BuildConfig",
        place: format!("ConfigMap {}", map.metadata.name.as_deref().unwrap_or_default()),
        source,
    };
    let data = map.data.clone().unwrap_or_default();
    let text = |key: &str| data.get(key).map_or("", String::as_str);
    let config: BuildConfig = serde_json::from_str(text(RECORD)).map_err(|error| corrupt(error.into()))?;
    let last_version = text(LAST_VERSION).parse::<u64>().map_err(|error| corrupt(error.into()))?;
    Ok(BuildConfig { last_version, ..config })
}

/// The ConfigMap with that BuildConfig in it; `before` keeps its version.
fn write(name: &str, before: Option<ConfigMap>, config: &BuildConfig) -> Result<ConfigMap, ClusterError> {
    let slim = BuildConfig { last_version: 0, ..config.clone() };
    let data: TextMap =
        [(RECORD.to_owned(), to_text(&slim)?), (LAST_VERSION.to_owned(), config.last_version.to_string())].into();
    let mut map = before.unwrap_or_else(|| new_config_map(name, BUILD_CONFIGS, TextMap::new()));
    let labels = map.metadata.labels.get_or_insert_default();
    labels.retain(|key, _| key.starts_with(PREFIX));
    labels.extend(config.labels.clone());
    map.data = Some(data);
    Ok(map)
}

impl KubernetesCluster {
    pub(crate) async fn ensure_config(&self, wanted: &BuildConfig) -> Result<BuildConfig, ClusterError> {
        let name = build_config(&wanted.name)?;
        check_labels(&wanted.labels)?;
        self.change_config_map(&name, |before| {
            let config = match &before {
                Some(map) => {
                    let mut config = read(map)?;
                    let there = config.clone();
                    merge_build_config(&mut config, wanted)?;
                    if config == there {
                        return Ok((None, config));
                    }
                    config
                }
                None => BuildConfig { last_version: 0, ..wanted.clone() },
            };
            Ok((Some(write(&name, before, &config)?), config))
        })
        .await
    }

    pub(crate) async fn read_config(&self, name: &str) -> Result<Option<BuildConfig>, ClusterError> {
        self.read_config_map(&build_config(name)?).await?.as_ref().map(read).transpose()
    }

    pub(crate) async fn configs_with(&self, labels: &TextMap) -> Result<Vec<BuildConfig>, ClusterError> {
        let mut selector = format!("{KIND}={BUILD_CONFIGS}");
        for (key, value) in labels {
            if label_value(value).as_ref() != Some(value) {
                // No label has such a value.
                return Ok(Vec::new());
            }
            selector.push_str(&format!(",{key}={value}"));
        }
        let maps: Vec<ConfigMap> = self.list_all(CONFIG_MAPS, &selector).await?;
        let mut configs = maps.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        configs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(configs)
    }

    pub(crate) async fn remove_config(&self, name: &str) -> Result<(), ClusterError> {
        self.remove_config_map(&build_config(name)?).await
    }

    /// The next number of a BuildConfig.
    pub(crate) async fn count_up(&self, name: &str) -> Result<u64, ClusterError> {
        let place = build_config(name)?;
        self.change_config_map(&place, |before| {
            let before = before.ok_or_else(|| self.not_found("BuildConfig", name))?;
            let mut config = read(&before)?;
            config.last_version += 1;
            Ok((Some(write(&place, Some(before), &config)?), config.last_version))
        })
        .await
    }
}
