//! Credentials files of Docker and podman: which login belongs to which registry and repository.
//!
//! Knows `.dockercfg` (hosts at the top), `.dockerconfigjson` and `config.json` (hosts under `auths`) and podman's
//! `auth.json`, whose keys may go on after the host: `host/namespace/repo`. The longest key that fits wins.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use osbs_types::{ErrorKind, Secret};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// It cannot be read.
    #[error("cannot read the registry credentials {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A folder without any of the known files.
    #[error("no registry credentials in {}: expected .dockerconfigjson, .dockercfg, config.json or auth.json", path.display())]
    Missing {
        /// The folder.
        path: PathBuf,
    },
    /// Not JSON of the known shape. The content is a secret, so only the place is told.
    #[error("{} is not a registry credentials file: mistake at line {line}, column {column}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// `auth` is not base64 of `user:password`.
    #[error("in {}, \"auth\" of {key:?} is not base64 of user:password", path.display())]
    Auth {
        /// The file.
        path: PathBuf,
        /// The entry.
        key: String,
    },
}

impl CredentialsError {
    /// Whose turn it is: whoever keeps the site's secrets.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Policy
    }
}

/// One login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// User name; empty with an identity token.
    pub user: String,
    /// Password.
    pub password: Secret,
    /// A refresh token that stands for user and password (`identitytoken`).
    pub identity_token: Option<Secret>,
}

impl Login {
    /// The value of `Authorization` for HTTP Basic.
    pub(crate) fn basic(&self) -> Secret {
        let pair = format!("{}:{}", self.user, self.password.reveal());
        Secret::new(format!("Basic {}", STANDARD.encode(pair)))
    }
}

/// Logins by registry and path.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    logins: BTreeMap<String, Login>,
    /// The program that keeps the others, when the file names one.
    helper: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

#[derive(Deserialize)]
struct File {
    auths: Option<BTreeMap<String, Entry>>,
    #[serde(rename = "credsStore")]
    creds_store: Option<String>,
}

impl Credentials {
    /// One login for one registry.
    pub fn single(host: &str, user: &str, password: Secret) -> Self {
        let login = Login { user: user.to_owned(), password, identity_token: None };
        Self { logins: BTreeMap::from([(normal_key(host), login)]), helper: None }
    }

    /// From a file, or from the first of the known files in a folder (a mounted secret).
    ///
    /// # Errors
    /// Nothing there, unreadable, or not of a known shape.
    pub fn read(path: &Path) -> Result<Self, CredentialsError> {
        let file = if path.is_dir() {
            let names = [".dockerconfigjson", ".dockercfg", "config.json", "auth.json"];
            let found = names.into_iter().map(|name| path.join(name)).find(|file| file.exists());
            found.ok_or_else(|| CredentialsError::Missing { path: path.to_owned() })?
        } else {
            path.to_owned()
        };
        let bytes = fs::read(&file).map_err(|source| CredentialsError::Read { path: file.clone(), source })?;
        Self::parse(&bytes, &file)
    }

    /// From the content of a file; `name` is for errors.
    ///
    /// # Errors
    /// The content has none of the known shapes.
    pub fn parse(bytes: &[u8], name: &Path) -> Result<Self, CredentialsError> {
        let syntax = |error: serde_json::Error| CredentialsError::Syntax {
            path: name.to_owned(),
            line: error.line(),
            column: error.column(),
        };
        let value: serde_json::Value = serde_json::from_slice(bytes).map_err(syntax)?;
        let config_shape =
            value.get("auths").is_some() || value.get("credsStore").is_some() || value.get("credHelpers").is_some();
        let (entries, helper) = if config_shape {
            // Out of the text, not out of the value: only then an error has a place.
            let file: File = serde_json::from_slice(bytes).map_err(syntax)?;
            (file.auths.unwrap_or_default(), file.creds_store)
        } else {
            (serde_json::from_slice::<BTreeMap<String, Entry>>(bytes).map_err(syntax)?, None)
        };
        let mut logins = BTreeMap::new();
        for (key, entry) in entries {
            if let Some(login) = login(&key, entry, name)? {
                logins.insert(normal_key(&key), login);
            }
        }
        Ok(Self { logins, helper })
    }

    /// The login for a repository of a registry: the entry with the longest fitting path.
    pub fn find(&self, host: &str, repository: &str) -> Option<&Login> {
        let full = format!("{}/{repository}", normal_key(host));
        let mut key = full.as_str();
        loop {
            if let Some(login) = self.logins.get(key) {
                return Some(login);
            }
            key = key.rsplit_once('/')?.0;
        }
    }

    /// The credential helper the file names: it is not run, but an error should mention it.
    pub fn helper(&self) -> Option<&str> {
        self.helper.as_deref()
    }
}

fn login(key: &str, entry: Entry, name: &Path) -> Result<Option<Login>, CredentialsError> {
    let identity_token = entry.identitytoken.filter(|token| !token.is_empty()).map(Secret::new);
    if let Some(auth) = entry.auth.filter(|auth| !auth.is_empty()) {
        let bad = || CredentialsError::Auth { path: name.to_owned(), key: key.to_owned() };
        let bytes = STANDARD.decode(auth.trim()).map_err(|_| bad())?;
        let text = String::from_utf8(bytes).map_err(|_| bad())?;
        let (user, password) = text.split_once(':').ok_or_else(bad)?;
        // Docker pads with NUL.
        let password = Secret::new(password.trim_end_matches('\0'));
        return Ok(Some(Login { user: user.to_owned(), password, identity_token }));
    }
    match (entry.username, entry.password, identity_token) {
        (Some(user), Some(password), identity_token) => {
            Ok(Some(Login { user, password: Secret::new(password), identity_token }))
        }
        (_, _, Some(token)) => {
            Ok(Some(Login { user: String::new(), password: Secret::default(), identity_token: Some(token) }))
        }
        _ => Ok(None),
    }
}

/// `https://host/v1/` becomes `host`; a key without a scheme keeps its path. Docker Hub has one name.
fn normal_key(key: &str) -> String {
    let (had_scheme, rest) = match key.split_once("://") {
        Some((_, rest)) => (true, rest),
        None => (false, key),
    };
    let rest = rest.trim_end_matches('/');
    let (host, path) = rest.split_once('/').map_or((rest, ""), |(host, path)| (host, path));
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    };
    let version_only = path == "v1" || path == "v2";
    if had_scheme || path.is_empty() || version_only { host.to_owned() } else { format!("{host}/{path}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Credentials, CredentialsError> {
        Credentials::parse(text.as_bytes(), Path::new("auth.json"))
    }

    #[track_caller]
    fn check_find(text: &str, host: &str, repository: &str, expected: Option<(&str, &str)>) {
        let credentials = parse(text).expect("valid");
        let found = credentials.find(host, repository).map(|login| (login.user.as_str(), login.password.reveal()));
        assert_eq!(found, expected, "{host}/{repository}");
    }

    #[test]
    fn shapes_and_keys() {
        // "me:pw"
        let dockercfg = r#"{"r.example.com": {"auth": "bWU6cHc=", "email": "x"}}"#;
        check_find(dockercfg, "r.example.com", "a/b", Some(("me", "pw")));
        check_find(dockercfg, "other.example.com", "a/b", None);
        check_find(dockercfg, "r.example.com:5000", "a/b", None);
        let config = r#"{"auths": {"https://r.example.com:5000/v1/": {"username": "u", "password": "p"}}}"#;
        check_find(config, "r.example.com:5000", "x", Some(("u", "p")));
        let hub = r#"{"auths": {"https://index.docker.io/v1/": {"auth": "bWU6cHc="}}}"#;
        check_find(hub, "docker.io", "library/x", Some(("me", "pw")));
        let podman =
            r#"{"auths": {"r.io": {"auth": "YTph"}, "r.io/ns": {"auth": "Yjpi"}, "r.io/ns/repo": {"auth": "Yzpj"}}}"#;
        check_find(podman, "r.io", "other/x", Some(("a", "a")));
        check_find(podman, "r.io", "ns/x", Some(("b", "b")));
        check_find(podman, "r.io", "ns/repo", Some(("c", "c")));
        check_find(podman, "r.io", "nsx/repo", Some(("a", "a")));
        check_find(r#"{"auths": {"r.io": {}}}"#, "r.io", "x", None);
    }

    #[test]
    fn mistakes_never_show_the_content() {
        for bad in ["hunter2", r#"{"r.io": "hunter2"}"#, r#"{"auths": {"r.io": {"auth": "hunter2!"}}}"#] {
            let error = parse(bad).expect_err("refused");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
        let missing = Credentials::read(Path::new("/nonexistent/x")).expect_err("refused");
        assert!(matches!(missing, CredentialsError::Read { .. }));
    }

    #[test]
    fn a_folder_is_a_mounted_secret() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(matches!(Credentials::read(folder.path()), Err(CredentialsError::Missing { .. })));
        fs::write(folder.path().join(".dockerconfigjson"), r#"{"auths": {"r.io": {"auth": "bWU6cHc="}}}"#)
            .expect("written");
        assert!(Credentials::read(folder.path()).expect("read").find("r.io", "x").is_some());
    }
}
