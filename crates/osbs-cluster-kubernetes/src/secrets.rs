//! Secrets: those of callers, and the environment of a build.

use crate::KubernetesCluster;
use crate::client::{asked, code, is_conflict};
use crate::names::{KIND, check_object, env_secret, invalid};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, PostParams};
use osbs_cluster::{ClusterError, SecretData, TextMap};
use osbs_types::BuildName;
use std::path::PathBuf;

/// In RBAC's words.
pub(crate) const SECRETS: &str = "secrets";
/// Value of the label `osbs/kind`.
const CALLERS: &str = "secret";

fn check_key(key: &str) -> Result<(), ClusterError> {
    let fits = (1..=253).contains(&key.len())
        && key != "."
        && !key.starts_with("..")
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if fits {
        return Ok(());
    }
    Err(invalid("key of a Secret", key, "Kubernetes takes letters, digits, '-', '_' and '.', at most 253"))
}

impl KubernetesCluster {
    pub(crate) async fn put_secret_whole(&self, name: &str, data: &SecretData) -> Result<(), ClusterError> {
        check_object("Secret name", name)?;
        data.keys().try_for_each(check_key)?;
        let bytes = |key: &str| ByteString(data.reveal(key).unwrap_or_default().to_vec());
        let (api, params) = (self.api::<Secret>(), PostParams::default());
        let mut secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                labels: Some([(KIND.to_owned(), CALLERS.to_owned())].into()),
                ..ObjectMeta::default()
            },
            data: Some(data.keys().map(|key| (key.to_owned(), bytes(key))).collect()),
            ..Secret::default()
        };
        loop {
            match self.send(|| api.get_opt(name)).await.map_err(self.failed(asked("get", SECRETS), Some(name)))? {
                Some(there) => {
                    // A Secret keeps its type for life: `kubernetes.io/dockerconfigjson`, ...
                    secret.type_ = there.type_;
                    match self.send(|| api.replace(name, &params, &secret)).await {
                        Ok(_) => return Ok(()),
                        Err(error) if code(&error) == Some(404) || is_conflict(&error) => {}
                        Err(error) => return Err(self.failed(asked("update", SECRETS), Some(name))(error)),
                    }
                }
                None => match self.send(|| api.create(&params, &secret)).await {
                    Ok(_) => return Ok(()),
                    Err(error) if code(&error) == Some(409) => {}
                    Err(error) => return Err(self.failed(asked("create", SECRETS), Some(name))(error)),
                },
            }
        }
    }

    /// A Secret, whoever made it.
    pub(crate) async fn secret_data(&self, name: &str) -> Result<SecretData, ClusterError> {
        check_object("Secret name", name)?;
        let api = self.api::<Secret>();
        let secret = self.send(|| api.get_opt(name)).await.map_err(self.failed(asked("get", SECRETS), Some(name)))?;
        let secret = secret.ok_or_else(|| self.not_found("Secret", name))?;
        Ok(secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect())
    }

    pub(crate) async fn secret_names(&self) -> Result<Vec<String>, ClusterError> {
        let secrets: Vec<Secret> = self.list_all(SECRETS, &format!("{KIND}={CALLERS}")).await?;
        let mut names: Vec<_> = secrets.into_iter().filter_map(|secret| secret.metadata.name).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Removes a Secret; none there: no error.
    pub(crate) async fn remove_secret(&self, name: &str) -> Result<(), ClusterError> {
        let (api, params) = (self.api::<Secret>(), DeleteParams::background());
        match self.send(|| api.delete(name, &params)).await {
            Ok(_) => Ok(()),
            Err(error) if code(&error) == Some(404) => Ok(()),
            Err(error) => Err(self.failed(asked("delete", SECRETS), Some(name))(error)),
        }
    }

    /// Where this process sees a Secret: in a build's pod only.
    pub(crate) fn mounted_secret(&self, name: &str) -> Result<PathBuf, ClusterError> {
        check_object("Secret name", name)?;
        match self.secret_mounts() {
            Some(mounts) => mounts
                .iter()
                .find(|mount| mount.secret == name)
                .map(|mount| PathBuf::from(&mount.mount_path))
                .ok_or_else(|| ClusterError::Withheld { secret: name.to_owned() }),
            // On a cluster a secret is a folder in the pods that mount it, and nowhere else.
            None => Err(self.not_found("folder of Secret", name)),
        }
    }

    /// Removes a finished build's environment: it may hold passwords.
    pub(crate) async fn forget_env(&self, name: &BuildName) -> Result<(), ClusterError> {
        self.remove_secret(&env_secret(name)).await
    }

    /// An unfinished build's environment; nothing for a finished one.
    pub(crate) async fn environment_of(&self, name: &BuildName) -> Result<TextMap, ClusterError> {
        // A build's pod has its own, and may read no other.
        if self.secret_mounts().is_some() {
            return Ok(TextMap::new());
        }
        let secret = match self.secret_data(&env_secret(name)).await {
            Err(ClusterError::NotFound { .. }) => return Ok(TextMap::new()),
            answer => answer?,
        };
        let text = |key: &str| Some((key.to_owned(), String::from_utf8(secret.reveal(key)?.to_vec()).ok()?));
        Ok(secret.keys().filter(|key| *key != "BUILD").filter_map(text).collect())
    }
}
