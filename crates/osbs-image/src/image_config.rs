//! The image config: what Docker and OCI say about an image beside its layers.
//!
//! Unknown members are kept (`container_config`, `docker_version`, ...). Maps are sorted so that one value has one digest.

use osbs_types::{Architecture, Digest};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// An image config (OCI image-spec 1.1, config.md; Docker image spec 1.2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// RFC 3339 time of creation, as text so that it comes back unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// GOARCH.
    #[serde(default)]
    pub architecture: String,
    /// For example `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// GOOS.
    #[serde(default)]
    pub os: String,
    /// Version of the operating system.
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Features of the operating system.
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub os_features: Vec<String>,
    /// How a container runs.
    #[serde(default, deserialize_with = "nullable")]
    pub config: RunConfig,
    /// The layers by content.
    pub rootfs: RootFs,
    /// One entry for each instruction.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub history: Vec<History>,
    /// Everything else, unchanged.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl ImageConfig {
    /// The config of `FROM scratch`: no layer, nothing set.
    pub fn scratch(architecture: &Architecture) -> Self {
        Self {
            created: None,
            author: None,
            architecture: architecture.name.clone(),
            variant: architecture.variant.clone(),
            os: "linux".to_owned(),
            os_version: None,
            os_features: Vec::new(),
            config: RunConfig::default(),
            rootfs: RootFs { kind: "layers".to_owned(), diff_ids: Vec::new() },
            history: Vec::new(),
            other: Map::new(),
        }
    }

    /// GOARCH and variant.
    pub fn architecture(&self) -> Architecture {
        Architecture { name: self.architecture.clone(), variant: self.variant.clone() }
    }
}

/// The member `config`: defaults for a container.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RunConfig {
    /// `USER`.
    #[serde(rename = "User", default, skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub user: String,
    /// `EXPOSE`, `8080/tcp` and so on.
    #[serde(
        rename = "ExposedPorts",
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "nullable"
    )]
    pub exposed_ports: BTreeMap<String, Value>,
    /// `ENV`, `K=V` in order.
    #[serde(rename = "Env", default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub env: Vec<String>,
    /// `ENTRYPOINT`; absent and empty differ in Docker.
    #[serde(rename = "Entrypoint", default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// `CMD`; absent and empty differ in Docker.
    #[serde(rename = "Cmd", default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// `HEALTHCHECK`, Docker only.
    #[serde(rename = "Healthcheck", default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Value>,
    /// Docker on Windows only.
    #[serde(rename = "ArgsEscaped", default, skip_serializing_if = "Option::is_none")]
    pub args_escaped: Option<bool>,
    /// `VOLUME`.
    #[serde(rename = "Volumes", default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "nullable")]
    pub volumes: BTreeMap<String, Value>,
    /// `WORKDIR`.
    #[serde(rename = "WorkingDir", default, skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub working_dir: String,
    /// `ONBUILD`, Docker only.
    #[serde(rename = "OnBuild", default, skip_serializing_if = "Option::is_none")]
    pub on_build: Option<Vec<String>>,
    /// `LABEL`, sorted.
    #[serde(rename = "Labels", default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "nullable")]
    pub labels: BTreeMap<String, String>,
    /// `STOPSIGNAL`.
    #[serde(rename = "StopSignal", default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// `SHELL`, Docker only.
    #[serde(rename = "Shell", default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    /// Everything else, unchanged.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The member `rootfs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Digests of the layers' uncompressed tars, bottom first.
    #[serde(default, deserialize_with = "nullable")]
    pub diff_ids: Vec<Digest>,
}

/// One entry of `history`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct History {
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The instruction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// The instruction made no layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
    /// Everything else, unchanged.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// `null` stands for the empty value: Go writes it for nil slices and maps.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::canonical_json;

    #[test]
    fn docker_members_survive() {
        let text = r#"{"architecture":"amd64","os":"linux","config":{"Cmd":["sh"],"Healthcheck":{"Test":["NONE"]},"OnBuild":["RUN x"],"Labels":{"a":"1","b":"2"},"Shell":["/bin/sh"],"Tty":false},"rootfs":{"type":"layers","diff_ids":[]},"docker_version":"20","container_config":{"Z":1,"A":2}}"#;
        let config: ImageConfig = serde_json::from_str(text).expect("valid");
        assert_eq!(String::from_utf8(canonical_json(&config)).expect("utf-8"), text);
    }

    #[test]
    fn null_is_empty() {
        let text = r#"{"architecture":"amd64","os":"linux","config":{"Env":null,"Labels":null,"Volumes":null,"User":null},"rootfs":{"type":"layers","diff_ids":null},"history":null}"#;
        let config: ImageConfig = serde_json::from_str(text).expect("valid");
        assert!(config.config.env.is_empty() && config.history.is_empty());
        let none: ImageConfig =
            serde_json::from_str(r#"{"config":null,"rootfs":{"type":"layers","diff_ids":[]}}"#).expect("valid");
        assert_eq!(none.config, RunConfig::default());
    }
}
