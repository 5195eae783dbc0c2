//! Which registries a run talks to, and as whom: from the site's configuration, else from plugin arguments
//! (`reactor.md` 1.15).
//!
//! Makes clients; does not talk.

use crate::plugin::PluginError;
use crate::run::Run;
use osbs_config::RegistryUri;
use osbs_registry::{Credentials, Registry, RegistryConfig};
use osbs_types::PullSpec;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where secrets are mounted, by contract with the site's configuration.
const SECRETS: &str = "/var/run/secrets/atomic-reactor/";

/// A registry as the argument `registries` of arrangements 1 to 5 has it, under its URI.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RegistryArg {
    /// Do not verify its certificate.
    pub insecure: bool,
    /// Folder of its credentials.
    pub secret: Option<String>,
}

/// A registry this build publishes to.
#[derive(Debug, Clone)]
pub struct OutputRegistry {
    /// `host[:port]`, as in image names.
    pub host: String,
    /// Its client, logged in as configured.
    pub client: Registry,
    /// Media types that `verify_media` expects there.
    pub expected_media_types: Vec<String>,
}

impl Run {
    /// The registries to publish to: `registries` of the configuration, else the plugin's argument.
    ///
    /// # Errors
    /// A name that is none, credentials that cannot be read, or no registry at all.
    pub async fn output_registries(
        &self,
        fallback: &BTreeMap<String, RegistryArg>,
    ) -> Result<Vec<OutputRegistry>, PluginError> {
        let mut found = Vec::new();
        if self.config.registries.is_empty() {
            for (text, arg) in fallback {
                let uri: RegistryUri = text.parse().map_err(|error| PluginError::policy(format!("{error}")))?;
                let client = self.registry(&uri, arg.insecure, arg.secret.as_deref()).await?;
                found.push(OutputRegistry { host: uri.host, client, expected_media_types: Vec::new() });
            }
        }
        for entry in &self.config.registries {
            let client = self.registry(&entry.uri, entry.insecure, entry.cfg_path.as_deref()).await?;
            let expected_media_types = entry.expected_media_types.clone();
            found.push(OutputRegistry { host: entry.uri.host.clone(), client, expected_media_types });
        }
        if found.is_empty() {
            return Err(PluginError::policy("no registry is configured to push to")
                .with_hint("add `registries` to config.yaml"));
        }
        Ok(found)
    }

    /// The registry an image comes from. The configured source registry is used with its login; another one, where the
    /// site allows any, without.
    ///
    /// # Errors
    /// Credentials that cannot be read, or a name without registry.
    pub async fn source_registry(&self, image: &PullSpec, insecure: bool) -> Result<Registry, PluginError> {
        let host = image.registry().unwrap_or("docker.io");
        if let Some(source) = self.config.source_registry.as_ref().filter(|source| source.uri.host == host) {
            return self.registry(&source.uri, source.insecure, source.cfg_path.as_deref()).await;
        }
        let output = self.config.registries.iter().find(|entry| entry.uri.host == host);
        if let Some(entry) = output {
            return self.registry(&entry.uri, entry.insecure, entry.cfg_path.as_deref()).await;
        }
        self.registry(&RegistryUri { scheme: None, host: host.to_owned() }, insecure, None).await
    }

    /// A client.
    ///
    /// # Errors
    /// A name that is none, or credentials that cannot be read.
    pub async fn registry(
        &self,
        uri: &RegistryUri,
        insecure: bool,
        credentials: Option<&str>,
    ) -> Result<Registry, PluginError> {
        let text = if uri.scheme.is_some() { uri.uri() } else { uri.host.clone() };
        let mut config = RegistryConfig::new(&text, insecure)?;
        if let Some(path) = credentials {
            config = config.with_credentials(Credentials::read(&self.secret_path(path).await?)?);
        }
        Ok(Registry::new(self.services.transport.clone(), config))
    }

    /// The real folder of a path in the configuration: where the cluster has put the secret that is named there.
    ///
    /// # Errors
    /// There is no such secret.
    pub async fn secret_path(&self, path: &str) -> Result<PathBuf, PluginError> {
        let Some(inside) = path.strip_prefix(SECRETS).filter(|_| !Path::new(path).exists()) else {
            return Ok(PathBuf::from(path));
        };
        let (secret, rest) = inside.split_once('/').unwrap_or((inside, ""));
        let folder = self.services.cluster.secret_dir(secret).await?;
        Ok(if rest.is_empty() { folder } else { folder.join(rest) })
    }
}
