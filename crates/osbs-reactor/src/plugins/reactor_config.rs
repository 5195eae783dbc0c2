//! `reactor_config`: the site's configuration, read, checked and published (`reactor.md` 3.1.1).
//!
//! What it logs is redacted (X1), and names no platform: a line that does belongs to that platform's worker.

use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::run::{Run, refused_build_method};
use async_trait::async_trait;
use osbs_config::ReactorConfig;
use osbs_types::Phase;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// The plugin.
pub fn plugin() -> PluginType {
    PluginType::new("reactor_config", &[Phase::Prebuild], |args| Ok(Box::new(args.parse::<ReadConfig>()?)))
        .purpose("Reads and checks the site's configuration, config.yaml.")
        .argument("config_path", "folder of the file, when the environment has no REACTOR_CONFIG")
        .argument("basename", "the file's name; config.yaml unless said")
        .reads(&["environment REACTOR_CONFIG, else the file"])
        .writes(&["the configuration that all later plugins go by; the log shows it without its secrets"])
}

#[derive(Deserialize)]
#[serde(default)]
struct ReadConfig {
    config_path: Option<String>,
    basename: String,
}

impl Default for ReadConfig {
    fn default() -> Self {
        Self { config_path: None, basename: "config.yaml".to_owned() }
    }
}

impl ReadConfig {
    /// Text and the name it is known by: `REACTOR_CONFIG`, else the file.
    async fn text(&self, run: &Run) -> Result<Option<(String, String)>, PluginError> {
        if let Some(text) = &run.reactor_config_text {
            return Ok(Some((text.clone(), "REACTOR_CONFIG".to_owned())));
        }
        let Some(folder) = &self.config_path else { return Ok(None) };
        let path = run.secret_path(folder).await?.join(&self.basename);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            let text = format!("the site's configuration {} cannot be read: {error}", path.display());
            PluginError::policy(text)
        })?;
        Ok(Some((text, self.basename.clone())))
    }
}

#[async_trait]
impl Plugin for ReadConfig {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let Some((text, name)) = self.text(run).await? else {
            return Ok(Done::Skipped("no configuration was handed in".to_owned()));
        };
        let parsed = ReactorConfig::parse(&text, &name)?;
        for warning in &parsed.warnings {
            run.log().warning(warning.to_string());
        }
        let config = parsed.value;
        let wanted = run.container_yaml()?.image_build_method;
        config.build_method(wanted).map_err(refused_build_method)?;
        run.log().info(format!("configuration: {}", without_platforms(config.redacted())));
        run.config = Arc::new(config);
        run.config_loaded = true;
        Ok(Done::Value(json!(null)))
    }
}

/// The configuration but for what goes by platform; `osbs config check` shows that.
fn without_platforms(mut config: Value) -> Value {
    if let Value::Object(members) = &mut config {
        for key in ["clusters", "platform_descriptors", "build_image_override"] {
            members.shift_remove(key);
        }
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build_json::PluginLists;
    use crate::testing::run_with;

    async fn check(text: Option<&str>, yaml: &str, expected: Result<bool, &str>) {
        let mut test = run_with("FROM scratch\n", &[("container.yaml", yaml)], PluginLists::default()).await;
        test.run.reactor_config_text = text.map(str::to_owned);
        match (test.plugin(&plugin(), json!({})).await, expected) {
            (Ok(_), Ok(loaded)) => assert_eq!(test.run.config_loaded, loaded),
            (Err(error), Err(part)) => assert!(format!("{error}").contains(part), "{error}"),
            (other, _) => panic!("{other:?}, expected {expected:?}"),
        }
        assert!(!test.log_texts().join("\n").contains("hunter2"));
    }

    #[tokio::test]
    async fn texts() {
        check(None, "", Ok(false)).await;
        check(Some("version: 1"), "", Ok(true)).await;
        check(Some("version: 2"), "", Err("REACTOR_CONFIG:1")).await;
        check(Some("version: 1"), "image_build_method: buildah_bud", Err("buildah_bud")).await;
        let pulp = "version: 1\npulp: {name: p, auth: {username: u, password: hunter2}}";
        check(Some(pulp), "", Ok(true)).await;
    }

    #[tokio::test]
    async fn a_file_in_a_secret() {
        let mut test = run_with("FROM scratch\n", &[], PluginLists::default()).await;
        let folder = test.folder.path().join("config");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("config.yaml"), "version: 1\nsources_command: fetch").unwrap();
        test.plugin(&plugin(), json!({ "config_path": folder })).await.unwrap();
        assert_eq!(test.run.config.sources_command.as_deref(), Some("fetch"));
        let error = test.plugin(&plugin(), json!({ "config_path": "/nonexistent" })).await.unwrap_err();
        assert_eq!(error.into_failure().kind, osbs_types::ErrorKind::Policy);
    }
}
