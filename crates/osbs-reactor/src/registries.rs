//! Which registries a run talks to, and as whom: from the site's configuration, else from plugin arguments
//! (`reactor.md` 1.13, 1.15, 6.3 X6).
//!
//! Makes clients; does not talk.

use crate::plugin::PluginError;
use crate::run::Run;
use osbs_cluster::ClusterError;
use osbs_config::RegistryUri;
use osbs_http::Transport;
use osbs_registry::{Credentials, Registry, RegistryConfig, RegistryError};
use osbs_types::{Failure, PullSpec};
use serde::Deserialize;
use serde_json::Value;
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

/// How one registry is reached.
#[derive(Debug, Clone, Copy)]
pub struct RegistryAccess<'a> {
    /// Scheme and host. Plain HTTP is spoken only where the site wrote `http://`, and on this machine.
    pub uri: &'a RegistryUri,
    /// Do not verify its certificate.
    pub insecure: bool,
    /// File or folder of its credentials; `None`: nobody's.
    pub credentials: Option<&'a str>,
    /// File with the authorities its certificate may be signed by, beside those of the system; without one `ca.crt` in the
    /// folder of the credentials, if it is there.
    pub ca_file: Option<&'a str>,
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
    /// A name that is none, credentials or certificates that cannot be read, or no registry at all.
    pub async fn output_registries(
        &self,
        fallback: &BTreeMap<String, RegistryArg>,
    ) -> Result<Vec<OutputRegistry>, PluginError> {
        let mut found = Vec::new();
        if self.config.registries.is_empty() {
            for (text, arg) in fallback {
                let uri: RegistryUri = text.parse().map_err(|error| PluginError::policy(format!("{error}")))?;
                let credentials = arg.secret.as_deref();
                let access = RegistryAccess { uri: &uri, insecure: arg.insecure, credentials, ca_file: None };
                let client = self.registry(access).await?;
                found.push(OutputRegistry { host: uri.host, client, expected_media_types: Vec::new() });
            }
        }
        for entry in &self.config.registries {
            let client = self.registry(access_of(entry)).await?;
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
    /// site allows any, without. `said` is the registry of the plugin's arguments, whose scheme counts where the
    /// configuration names no source registry.
    ///
    /// # Errors
    /// Credentials or certificates that cannot be read, or a name without registry.
    pub async fn source_registry(
        &self,
        image: &PullSpec,
        said: Option<&RegistryUri>,
        insecure: bool,
    ) -> Result<Registry, PluginError> {
        let host = image.registry().unwrap_or("docker.io");
        if let Some(source) = self.config.source_registry.as_ref().filter(|source| source.uri.host == host) {
            let (credentials, ca_file) = (source.cfg_path.as_deref(), source.ca_file.as_deref());
            let access = RegistryAccess { uri: &source.uri, insecure: source.insecure, credentials, ca_file };
            return self.registry(access).await;
        }
        if let Some(entry) = self.config.registries.iter().find(|entry| entry.uri.host == host) {
            return self.registry(access_of(entry)).await;
        }
        let as_named = RegistryUri { scheme: None, host: host.to_owned() };
        let uri = said.filter(|uri| uri.host == host).unwrap_or(&as_named);
        self.registry(RegistryAccess { uri, insecure, credentials: None, ca_file: None }).await
    }

    /// A client. It holds the logins of this registry's own secret only, and of those it sends the one for its own host.
    ///
    /// # Errors
    /// A name that is none, or credentials or certificates that cannot be read.
    pub async fn registry(&self, access: RegistryAccess<'_>) -> Result<Registry, PluginError> {
        let RegistryAccess { uri, insecure, credentials, ca_file } = access;
        let text = if uri.scheme.is_some() { uri.uri() } else { uri.host.clone() };
        let mut config = RegistryConfig::new(&text, insecure)?;
        let mut beside = None;
        if let Some(path) = credentials {
            let hint = "its `auth.cfg_path` is a file or folder with .dockerconfigjson or .dockercfg; a secret of the cluster \
                        is kept by `osbs config set-secret` and named in `required_secrets` of config.yaml";
            let failed = |why: PluginError| of_registry(&uri.host, "its login cannot be used", why, hint);
            let path = self.secret_path(path).await.map_err(failed)?;
            let read = Credentials::read(&path).map_err(PluginError::from).map_err(failed)?;
            config = config.with_credentials(read);
            beside = Some(path.join("ca.crt")).filter(|file| file.is_file());
        }
        let ca_file = ca_file.map(str::to_owned).or(beside.map(|file| file.to_string_lossy().into_owned()));
        let transport = match ca_file {
            Some(path) => self.trusting(&uri.host, &path).await?,
            None => self.services.transport.clone(),
        };
        Ok(Registry::new(transport, config))
    }

    /// A transport that trusts the site's own authorities too; for this registry alone.
    async fn trusting(&self, host: &str, path: &str) -> Result<Transport, PluginError> {
        let hint = "`ca_file` names a file with certificates in PEM, on this machine or below a secret";
        let failed = |why: PluginError| of_registry(host, &format!("ca_file {path} cannot be used"), why, hint);
        let file = self.secret_path(path).await.map_err(failed)?;
        let pem = tokio::fs::read(&file).await.map_err(|error| failed(PluginError::policy(error.to_string())))?;
        self.services.transport.trusting(&pem).map_err(|error| failed(error.into()))
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
        let folder = match self.services.cluster.secret_dir(secret).await {
            Ok(folder) => folder,
            Err(error @ (ClusterError::Withheld { .. } | ClusterError::NotFound { .. })) => {
                return Err(self.no_secret(path, secret, matches!(error, ClusterError::Withheld { .. })));
            }
            Err(error) => return Err(error.into()),
        };
        Ok(if rest.is_empty() { folder } else { folder.join(rest) })
    }

    /// Which key names the secret, and where it has to be named besides.
    fn no_secret(&self, path: &str, secret: &str, withheld: bool) -> PluginError {
        let named = match key_of(self.config.raw(), path) {
            Some(key) => format!("{key} in config.yaml"),
            None => format!("{path} in the arguments of the plugin"),
        };
        // Builds with user parameters take their secrets from config.yaml, the others from osbs.conf.
        let add = if self.build.env.contains_key("ATOMIC_REACTOR_PLUGINS") {
            format!("add {secret} to token_secrets of the instance in osbs.conf")
        } else {
            format!("add {secret} to required_secrets in config.yaml")
        };
        let (why, hint) = if withheld {
            ("this build is not given", add)
        } else {
            ("the cluster does not have", format!("keep it there by osbs config set-secret {secret} FILE, and {add}"))
        };
        PluginError::policy(format!("{named} is of secret {secret}, which {why}")).with_hint(&hint)
    }
}

/// Where the configuration says this, as in `registries[0].auth.cfg_path`.
fn key_of(config: &Value, text: &str) -> Option<String> {
    match config {
        Value::String(value) => (value == text).then(String::new),
        Value::Object(members) => members.iter().find_map(|(name, value)| {
            let inner = key_of(value, text)?;
            let dot = if inner.is_empty() || inner.starts_with('[') { "" } else { "." };
            Some(format!("{name}{dot}{inner}"))
        }),
        Value::Array(items) => items.iter().enumerate().find_map(|(index, value)| {
            let inner = key_of(value, text)?;
            let dot = if inner.is_empty() || inner.starts_with('[') { "" } else { "." };
            Some(format!("[{index}]{dot}{inner}"))
        }),
        _ => None,
    }
}

fn access_of(entry: &osbs_config::RegistryEntry) -> RegistryAccess<'_> {
    RegistryAccess {
        uri: &entry.uri,
        insecure: entry.insecure,
        credentials: entry.cfg_path.as_deref(),
        ca_file: entry.ca_file.as_deref(),
    }
}

/// What the site's configuration gets wrong about a registry: which one, what, why.
fn of_registry(host: &str, what: &str, why: PluginError, hint: &str) -> PluginError {
    let why = why.into_failure();
    let mut failure = Failure::message(osbs_types::ErrorKind::Policy, format!("registry {host}: {what}"));
    failure.causes.push(why.message);
    failure.causes.extend(why.causes);
    let hint = why.hint.unwrap_or_else(|| hint.to_owned());
    PluginError::from(failure.with_hint(hint))
}

/// A registry's refusal, with what to look at. `to` is what was tried, as in "push to".
pub(crate) fn refused(error: RegistryError, to: &str) -> PluginError {
    let hint = hint(&error, to);
    PluginError::from(Failure::new(error.kind(), &error).with_hint(hint))
}

fn hint(error: &RegistryError, to: &str) -> String {
    use osbs_http::HttpError::{Connect, Timeout, Tls};
    match error {
        RegistryError::Transport { registry, source: Tls { .. }, .. } => format!(
            "a certificate signed by the site's own authority needs `ca_file` at {registry} in config.yaml; an expired one \
             has to be renewed there; a registry without TLS is written http://{registry}"
        ),
        RegistryError::Transport { registry, source: Connect { .. } | Timeout { .. }, .. } => {
            format!("is {registry} up, and can this machine reach it?")
        }
        RegistryError::Denied { registry, with_login: false, .. } => {
            format!("give {registry} a login in config.yaml: auth.cfg_path, a secret with .dockerconfigjson")
        }
        RegistryError::Denied { registry, .. } => {
            format!("may the user of auth.cfg_path {to} {registry}, and is the password right?")
        }
        RegistryError::Status { registry, status: 405, .. } => format!("is {registry} read-only?"),
        error => error.kind().advice().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build_json::PluginLists;
    use crate::testing::{TestRun, run_without_source};
    use osbs_config::ReactorConfig;
    use osbs_types::ErrorKind;
    use std::sync::Arc;

    async fn with_config(registry: &str) -> TestRun {
        let mut test = run_without_source(PluginLists::default()).await;
        let text = format!("version: 1\nregistries: [{registry}]\n");
        test.run.config = Arc::new(ReactorConfig::parse(&text, "config.yaml").unwrap().value);
        test
    }

    /// The one screen of a configuration that cannot be used.
    async fn check_error(test: &TestRun, parts: &[&str]) {
        let error = test.run.output_registries(&BTreeMap::new()).await.unwrap_err().into_failure();
        assert_eq!(error.kind, ErrorKind::Policy, "{error}");
        let text = format!("{error} {}", error.hint.clone().unwrap_or_default());
        for part in parts {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[tokio::test]
    async fn what_can_be_wrong_with_a_registry_of_the_configuration() {
        let test = run_without_source(PluginLists::default()).await;
        check_error(&test, &["no registry is configured", "config.yaml"]).await;

        let test = with_config("{url: r.io, auth: {cfg_path: /var/run/secrets/atomic-reactor/push}}").await;
        let parts = [
            "registry r.io: its login cannot be used",
            "registries[0].auth.cfg_path in config.yaml is of secret push, which the cluster does not have",
            "osbs config set-secret push FILE, and add push to required_secrets in config.yaml",
        ];
        check_error(&test, &parts).await;

        // A mounted secret.
        let folder = tempfile::tempdir().unwrap();
        let test = with_config(&format!("{{url: r.io, auth: {{cfg_path: {}}}}}", folder.path().display())).await;
        check_error(&test, &["registry r.io", "no registry credentials in", ".dockerconfigjson"]).await;
        for (key, content, part) in [
            (".dockercfg", "hunter2", "line 1, column 1"),
            (".dockerconfigjson", r#"{"auths": {"r.io": {"auth": "hunter2!"}}}"#, "\"auth\" of \"r.io\""),
            (".dockerconfigjson", r#"{"auths": ["hunter2"]}"#, "line 1, column"),
        ] {
            std::fs::write(folder.path().join(key), content).unwrap();
            check_error(&test, &["registry r.io", part]).await;
        }
        std::fs::remove_file(folder.path().join(".dockerconfigjson")).unwrap();
        std::fs::write(folder.path().join(".dockercfg"), r#"{"r.io": {"auth": "bWU6cHc="}}"#).unwrap();
        assert_eq!(test.run.output_registries(&BTreeMap::new()).await.unwrap().len(), 1);

        let test = with_config("{url: r.io, auth: {cfg_path: /nonexistent/auth.json}}").await;
        check_error(&test, &["r.io", "/nonexistent/auth.json", "No such file"]).await;

        let test = with_config("{url: r.io, ca_file: /nonexistent/ca.pem}").await;
        check_error(&test, &["r.io", "ca_file /nonexistent/ca.pem", "No such file"]).await;
        let test = with_config("{url: r.io, ca_file: /proc/version}").await;
        check_error(&test, &["r.io", "ca_file /proc/version", "BEGIN CERTIFICATE"]).await;
    }

    #[tokio::test]
    async fn names_that_are_no_registry_in_arguments() {
        let test = run_without_source(PluginLists::default()).await;
        for bad in ["ftp://x", "host/v1", "a b"] {
            let args = BTreeMap::from([(bad.to_owned(), RegistryArg::default())]);
            let error = test.run.output_registries(&args).await.unwrap_err().into_failure();
            assert!(error.kind == ErrorKind::Policy && error.message.contains(bad), "{bad}: {error}");
        }
    }
}
