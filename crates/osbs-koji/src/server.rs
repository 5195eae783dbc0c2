//! Which hub, and as whom. Reads the login's files; sends nothing.

use osbs_http::{LoginFileError, read_login_file};
use osbs_types::{ErrorKind, Secret};
use std::path::{Path, PathBuf};
use url::Url;

/// The URL names no hub.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no URL of Koji: expected http[s]://HOST[:PORT][/PATH], without login and query")]
pub struct ServerUrlError(String);

/// One Koji: its hub, and where people and files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    hub: Url,
    web: Option<Url>,
    top: Option<Url>,
    ca: Option<Vec<u8>>,
    insecure: bool,
}

impl Server {
    /// From the hub's URL, `https://koji.example.com/kojihub`. Plain HTTP is spoken where `http://` is written, and nowhere
    /// else.
    ///
    /// # Errors
    /// No such URL.
    pub fn new(hub: &str) -> Result<Self, ServerUrlError> {
        Ok(Self { hub: url_of(hub)?, web: None, top: None, ca: None, insecure: false })
    }

    /// With the web interface's URL, which people are shown.
    ///
    /// # Errors
    /// No such URL.
    pub fn with_web(mut self, web: &str) -> Result<Self, ServerUrlError> {
        self.web = Some(url_of(web)?);
        Ok(self)
    }

    /// With the URL below which files are downloaded (`topurl`, `koji.root_url`).
    ///
    /// # Errors
    /// No such URL.
    pub fn with_top(mut self, top: &str) -> Result<Self, ServerUrlError> {
        self.top = Some(url_of(top)?);
        Ok(self)
    }

    /// With certificates (PEM) to trust beside those of the system: `serverca`.
    #[must_use]
    pub fn trusting(mut self, pem: Vec<u8>) -> Self {
        self.ca = Some(pem);
        self
    }

    /// Accepting any certificate.
    #[must_use]
    pub fn insecure(mut self, insecure: bool) -> Self {
        self.insecure = insecure;
        self
    }

    /// The hub's URL; without a slash at its end.
    pub fn hub(&self) -> &Url {
        &self.hub
    }

    /// The web interface's page of a task, if it is known where that is.
    pub fn task_page(&self, task: i64) -> Option<String> {
        self.page("taskinfo", "taskID", task)
    }

    /// The web interface's page of a build.
    pub fn build_page(&self, build: i64) -> Option<String> {
        self.page("buildinfo", "buildID", build)
    }

    fn page(&self, page: &str, key: &str, id: i64) -> Option<String> {
        let web = self.web.as_ref()?.as_str().trim_end_matches('/');
        Some(format!("{web}/{page}?{key}={id}"))
    }

    /// Where a file lies that is kept at this path below the top folder; `None` if the top URL is not known, or the path
    /// leads out of it.
    pub fn file_url(&self, path: &str) -> Option<Url> {
        let mut url = self.top.clone()?;
        let parts = || path.split('/').filter(|part| !part.is_empty() && *part != ".");
        if parts().next().is_none() || parts().any(|part| part == "..") {
            return None;
        }
        url.path_segments_mut().ok()?.pop_if_empty().extend(parts());
        Some(url)
    }

    /// Certificates to trust.
    pub(crate) fn ca(&self) -> Option<&[u8]> {
        self.ca.as_deref()
    }

    /// Whether any certificate is accepted.
    pub fn is_insecure(&self) -> bool {
        self.insecure
    }

    /// Host and port, as in errors.
    pub fn host(&self) -> String {
        let host = self.hub.host_str().unwrap_or_default();
        self.hub.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }
}

fn url_of(text: &str) -> Result<Url, ServerUrlError> {
    // A login in it would be shown with the error.
    let wrong = || ServerUrlError(osbs_types::without_logins(text));
    let mut url = Url::parse(text).map_err(|_| wrong())?;
    let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    if !matches!(url.scheme(), "http" | "https") || !plain || url.fragment().is_some() || url.host().is_none() {
        return Err(wrong());
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// Who we are for a hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// Nobody: what may be read by everyone.
    Anonymous,
    /// User name and password.
    Password {
        /// Who.
        user: String,
        /// Proof.
        password: Secret,
    },
    /// A TLS client certificate.
    Certificate {
        /// Certificate and key, PEM.
        pem: Secret,
        /// Who to be instead, for those whom the hub lets.
        proxyuser: Option<String>,
    },
    /// A Kerberos ticket.
    Kerberos(crate::Kerberos),
}

/// A folder with a login that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// A file of it cannot be used.
    #[error(transparent)]
    File(#[from] LoginFileError),
    /// No certificate in it.
    #[error("no certificate of Koji's login in {}: expected the file cert, with certificate and key in PEM", path.display())]
    Missing {
        /// The folder.
        path: PathBuf,
    },
    /// A principal without a keytab, or a keytab without a principal.
    #[error("principal and keytab of Koji's login go together: one of them is missing")]
    Half,
    /// Not a principal's name.
    #[error("{name:?} of Koji's login is no principal: expected NAME@REALM")]
    Principal {
        /// What stands there.
        name: String,
    },
}

impl LoginError {
    /// Whose fault: the site's.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Policy
    }
}

impl Login {
    /// From a folder with `cert` (certificate and key), as `koji.auth.ssl_certs_dir` names it; and the certificates of
    /// `serverca` there, if it exists, for [`Server::trusting`].
    ///
    /// # Errors
    /// There is none, or it cannot be used.
    pub fn read(folder: &Path, proxyuser: Option<String>) -> Result<(Self, Option<Vec<u8>>), LoginError> {
        let pem = read(&folder.join("cert"))?.ok_or_else(|| LoginError::Missing { path: folder.to_owned() })?;
        let ca = read(&folder.join("serverca"))?.map(String::into_bytes);
        Ok((Self::Certificate { pem: Secret::new(pem), proxyuser }, ca))
    }

    /// Whether a session is made at all.
    pub fn is_anonymous(&self) -> bool {
        matches!(self, Self::Anonymous)
    }
}

fn read(path: &Path) -> Result<Option<String>, LoginFileError> {
    read_login_file("Koji", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let hub = |url: &str| Server::new(url).map(|server| (server.hub().to_string(), server.host()));
        let some = |url: &str, host: &str| Ok((url.to_owned(), host.to_owned()));
        assert_eq!(hub("https://k.io/kojihub/"), some("https://k.io/kojihub", "k.io"));
        assert_eq!(hub("http://k.io:8080"), some("http://k.io:8080/", "k.io:8080"));
        for bad in ["", "k.io", "ftp://k.io", "https://me:hunter2@k.io", "https://k.io/?x=1", "https://k.io/#a"] {
            let error = hub(bad).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn files_and_pages() {
        let server = Server::new("https://k.io/kojihub").unwrap();
        assert_eq!((server.task_page(1), server.file_url("work/x")), (None, None));
        let server = server.with_web("https://k.io/koji/").unwrap().with_top("https://k.io/kojifiles/").unwrap();
        assert_eq!(server.task_page(26).as_deref(), Some("https://k.io/koji/taskinfo?taskID=26"));
        let url = |path: &str| server.file_url(path).map(|url| url.to_string());
        let image = url("packages/c/1/2/data/logs/./a b#c.log").unwrap();
        assert_eq!(image, "https://k.io/kojifiles/packages/c/1/2/data/logs/a%20b%23c.log");
        for bad in ["", "/", "../x", "work/../../x"] {
            assert_eq!(url(bad), None, "{bad}");
        }
    }

    #[test]
    fn logins_of_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Login::read(folder.path(), None), Err(LoginError::Missing { .. })));
        std::fs::write(folder.path().join("cert"), "hunter2").unwrap();
        let (login, ca) = Login::read(folder.path(), Some("me".to_owned())).unwrap();
        assert!(ca.is_none() && !format!("{login:?}").contains("hunter2"));
        std::fs::write(folder.path().join("serverca"), "CA").unwrap();
        assert_eq!(Login::read(folder.path(), None).unwrap().1, Some(b"CA".to_vec()));
        std::fs::write(folder.path().join("cert"), b"\xff").unwrap();
        assert!(matches!(Login::read(folder.path(), None), Err(LoginError::File(LoginFileError::Content { .. }))));
    }
}
