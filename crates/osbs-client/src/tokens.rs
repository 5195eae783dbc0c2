//! Tokens: which one an instance uses, and those of service accounts (`client-and-koji.md` 1.7, 2.14).
//!
//! Reads no file: whoever calls hands in a reader.

use crate::error::ClientError;
use crate::osbs::Osbs;
use osbs_config::InstanceConfig;
use osbs_types::Secret;

/// Key of a service account's secret that holds its token.
const TOKEN: &str = "token";

/// Where a token of an instance comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// `token` itself.
    Given(Secret),
    /// `token_file`, which must be readable: its path is never taken for a token.
    File(String),
    /// Neither is set: the file that `osbs login` writes, if it is there.
    Login,
}

impl TokenSource {
    /// The source that counts. Within one source `token` goes before `token_file`; an argument goes before an option, and
    /// that before the file.
    pub fn of(instance: &InstanceConfig) -> Self {
        match (&instance.token, &instance.token_file) {
            (Some(token), _) => Self::Given(token.clone()),
            (None, Some(path)) => Self::File(path.clone()),
            (None, None) => Self::Login,
        }
    }
}

impl Osbs {
    /// The tokens of a service account, by the names of their secrets: those that are named after it and hold a `token`.
    ///
    /// # Errors
    /// It has none, or the cluster failed.
    pub async fn get_serviceaccount_tokens(&self, account: &str) -> Result<Vec<(String, Secret)>, ClientError> {
        let cluster = &self.parts.cluster;
        let mut tokens = Vec::new();
        for name in cluster.list_secrets().await? {
            let own = name.strip_prefix(account).is_some_and(|rest| rest.starts_with("-token"));
            if !own {
                continue;
            }
            let data = cluster.get_secret(&name).await?;
            if let Some(token) = data.reveal(TOKEN).and_then(|bytes| std::str::from_utf8(bytes).ok()) {
                tokens.push((name, Secret::new(token.trim())));
            }
        }
        if tokens.is_empty() {
            return Err(ClientError::NoToken { account: account.to_owned() });
        }
        Ok(tokens)
    }
}
