//! Which Pulp, and as whom. Reads the login's files; sends nothing.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use osbs_http::{LoginFileError, read_login_file};
use osbs_types::{ErrorKind, Secret};
use std::path::{Path, PathBuf};
use url::Url;

/// Where Pulp's API is unless the URL has a path.
const API_PATH: &str = "/pulp/api/v3/";

/// The URL names no Pulp.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the URL of a Pulp: expected http[s]://HOST[:PORT][/PATH/OF/api/v3/], without login and query")]
pub struct ServerUrlError(String);

/// One Pulp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    root: Url,
    insecure: bool,
}

impl Server {
    /// From `https://HOST`, or from the whole URL of an API that is not at `/pulp/api/v3/`. Plain HTTP is spoken where
    /// `http://` is written, and nowhere else; `insecure` accepts any certificate.
    ///
    /// # Errors
    /// No such URL.
    pub fn new(url: &str, insecure: bool) -> Result<Self, ServerUrlError> {
        // A login in it would be shown with the error.
        let wrong = || ServerUrlError(osbs_types::without_logins(url));
        let mut root = Url::parse(url).map_err(|_| wrong())?;
        let plain = root.username().is_empty() && root.password().is_none() && root.query().is_none();
        if !matches!(root.scheme(), "http" | "https") || !plain || root.fragment().is_some() || root.host().is_none() {
            return Err(wrong());
        }
        let path = root.path().trim_end_matches('/').to_owned();
        root.set_path(&if path.is_empty() { API_PATH.to_owned() } else { format!("{path}/") });
        Ok(Self { root, insecure })
    }

    /// The API's URL; ends with `/`.
    pub fn root(&self) -> &Url {
        &self.root
    }

    /// Whether any certificate is accepted.
    pub fn insecure(&self) -> bool {
        self.insecure
    }

    /// Host and port, as in errors and pull specs.
    pub fn host(&self) -> String {
        let host = self.root.host_str().unwrap_or_default();
        self.root.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }
}

/// Who we are for Pulp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// HTTP Basic.
    Password {
        /// Who.
        username: String,
        /// Proof.
        password: Secret,
    },
    /// A TLS client certificate: certificate and key, PEM.
    Certificate {
        /// Both.
        pem: Secret,
    },
}

/// A folder with a login that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// A file of it cannot be used.
    #[error(transparent)]
    File(#[from] LoginFileError),
    /// Neither kind of login is there.
    #[error("no login of Pulp in {}: expected pulp.cer and pulp.key, or username and password", path.display())]
    Missing {
        /// The folder.
        path: PathBuf,
    },
}

impl LoginError {
    /// Whose fault: the site's.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Policy
    }
}

impl Login {
    /// From a folder with `pulp.cer` and `pulp.key`, else with `username` and `password`, as a Kubernetes secret of type
    /// basic-auth has them.
    ///
    /// # Errors
    /// Neither is there, or a file cannot be used.
    pub fn read(folder: &Path) -> Result<Self, LoginError> {
        let file = |name: &str| read(&folder.join(name));
        if let (Some(certificate), Some(key)) = (file("pulp.cer")?, file("pulp.key")?) {
            return Ok(Self::Certificate { pem: Secret::new(format!("{certificate}\n{key}\n")) });
        }
        if let (Some(username), Some(password)) = (file("username")?, file("password")?) {
            let password = Secret::new(password.trim_end_matches(['\r', '\n']));
            return Ok(Self::Password { username: username.trim().to_owned(), password });
        }
        Err(LoginError::Missing { path: folder.to_owned() })
    }

    /// The `Authorization` value; a certificate needs none.
    pub(crate) fn authorization(&self) -> Option<Secret> {
        match self {
            Self::Password { username, password } => {
                Some(Secret::new(format!("Basic {}", STANDARD.encode(format!("{username}:{}", password.reveal())))))
            }
            Self::Certificate { .. } => None,
        }
    }
}

fn read(path: &Path) -> Result<Option<String>, LoginFileError> {
    read_login_file("Pulp", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let root = |url: &str| Server::new(url, false).map(|server| (server.root().to_string(), server.host()));
        let some = |url: &str, host: &str| Ok((url.to_owned(), host.to_owned()));
        assert_eq!(root("https://p.io"), some("https://p.io/pulp/api/v3/", "p.io"));
        assert_eq!(root("http://p.io:24817/"), some("http://p.io:24817/pulp/api/v3/", "p.io:24817"));
        assert_eq!(root("https://p.io/pulp/team/api/v3"), some("https://p.io/pulp/team/api/v3/", "p.io"));
        for bad in ["", "p.io", "ftp://p.io", "https://me:hunter2@p.io", "https://p.io/?x=1", "https://p.io/#a", "prod"]
        {
            let error = root(bad).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn logins_of_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let check = |files: &[(&str, &[u8])], expected: Option<&str>| {
            let inside = tempfile::tempdir_in(folder.path()).unwrap();
            for (name, content) in files {
                std::fs::write(inside.path().join(name), content).unwrap();
            }
            match Login::read(inside.path()) {
                Ok(login) => {
                    let said =
                        login.authorization().map_or("certificate".to_owned(), |value| value.reveal().to_owned());
                    assert_eq!(Some(said.as_str()), expected);
                    assert!(!format!("{login:?}").contains("hunter2"));
                }
                Err(error) => assert!(expected.is_none() && error.kind() == ErrorKind::Policy, "{error}"),
            }
        };
        check(&[("username", b"me\n"), ("password", b"hunter2\n")], Some("Basic bWU6aHVudGVyMg=="));
        check(&[("pulp.cer", b"C"), ("pulp.key", b"K"), ("username", b"me")], Some("certificate"));
        check(&[("pulp.cer", b"C")], None);
        check(&[("username", b"me"), ("password", b"\xff")], None);
        check(&[], None);
        assert!(matches!(Login::read(Path::new("/proc/version")), Err(LoginError::File(LoginFileError::Read { .. }))));
    }
}
