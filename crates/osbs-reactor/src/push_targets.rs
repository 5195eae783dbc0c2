//! Where a worker pushes: the registries of the site's configuration, else those of the plugin's arguments.

use crate::plugin::PluginError;
use crate::run::Run;
use osbs_dockerfile::{Dockerfile, find_label};
use osbs_registry::{Credentials, Registry, RegistryConfig};
use osbs_types::{Phase, PullSpec};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// A registry to push to.
pub(crate) struct PushTarget {
    /// Its client.
    pub(crate) registry: Registry,
    /// `host[:port]`.
    pub(crate) host: String,
}

/// One entry of `tag_and_push`'s argument `registries` (arrangements 1 to 5).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct RegistryArgs {
    insecure: bool,
    secret: Option<String>,
}

/// A client for a registry.
pub(crate) fn registry(
    run: &Run,
    uri: &str,
    insecure: bool,
    credentials: Option<&str>,
) -> Result<PushTarget, PluginError> {
    let mut config = RegistryConfig::new(uri, insecure).map_err(|e| PluginError::policy(e.to_string()))?;
    if let Some(path) = credentials {
        let read = Credentials::read(Path::new(path)).map_err(|e| PluginError::new(e.kind(), e.to_string()))?;
        config = config.with_credentials(read);
    }
    let host = config.host().to_owned();
    Ok(PushTarget { registry: Registry::new(run.services.transport.clone(), config), host })
}

/// All registries of this build, in the order of the configuration.
pub(crate) fn push_targets(run: &Run) -> Result<Vec<PushTarget>, PluginError> {
    if !run.config.registries.is_empty() {
        return run
            .config
            .registries
            .iter()
            .map(|entry| registry(run, &entry.uri.to_string(), entry.insecure, entry.cfg_path.as_deref()))
            .collect();
    }
    let args = run.request.plugins.entry(Phase::Postbuild, "tag_and_push").and_then(|entry| entry.args.get("registries"));
    let Some(args) = args else { return Ok(Vec::new()) };
    let args: BTreeMap<String, RegistryArgs> = serde_json::from_value(args.clone())
        .map_err(|error| PluginError::user(format!("registries of tag_and_push in the build JSON: {error}")))?;
    args.iter().map(|(uri, entry)| registry(run, uri, entry.insecure, entry.secret.as_deref())).collect()
}

/// `ns/repo` of the image: label `name`, inside the organisation if there is one (`reactor.md` 3.4.3).
pub(crate) fn image_repository(run: &Run, dockerfile: &Dockerfile) -> Result<PullSpec, PluginError> {
    let env = run.parents.base_inspect.as_ref().map(|base| base.env.clone()).unwrap_or_default();
    let labels = dockerfile.labels(&env)?;
    let (_, name) =
        find_label(&labels, "name").ok_or_else(|| PluginError::user("the Dockerfile lacks the label name"))?;
    let name: PullSpec = name.parse().map_err(|e: osbs_types::PullSpecError| PluginError::user(e.to_string()))?;
    Ok(run.config.registries_organization.as_deref().map_or(name.clone(), |organization| name.enclose(organization)))
}
