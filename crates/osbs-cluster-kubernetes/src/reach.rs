//! The way to an API server: its address, the certificates that may sign for it, and who one is there.
//!
//! Given names of files, never the environment. What proves who one is is read again when it changes: tokens are rotated.

mod bearer;

use bearer::{Bearer, BearerLayer};
use futures_util::FutureExt;
use kube::client::ClientBuilder;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use osbs_cluster::{Cause, ClusterError};
use osbs_types::{ErrorKind, Secret};
use std::path::{Path, PathBuf};

/// How the API server is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// Its root URL; a path in it is lost (`client-and-koji.md` 1.5).
    Url(String),
    /// A context of a kubeconfig file, the current one without a name. URLs keep their path there, as with kubectl.
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// The context.
        context: Option<String>,
    },
}

/// A bearer token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// Itself.
    Given(Secret),
    /// The file it is in, read again when that changes, and once when the server refuses the token.
    File(PathBuf),
}

/// Everything that is needed to reach an API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// Which.
    pub server: Server,
    /// Whether the server's certificate is looked at.
    pub verify: bool,
    /// PEM file with the certificates that may sign it; those that the machine trusts, or of the kubeconfig, without.
    pub certificate_authority: Option<PathBuf>,
    /// A token; goes before what the kubeconfig has.
    pub token: Option<Token>,
    /// `use_auth = false`: no token is sent, of whatever source.
    pub anonymous: bool,
    /// PEM files of a client certificate and its key; they go before what the kubeconfig has.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// An API server that can be asked. Nothing was asked yet.
#[derive(Clone)]
pub struct Reached {
    /// The connection.
    pub client: Client,
    /// The server's URL.
    pub url: String,
    /// The namespace of the kubeconfig's context.
    pub namespace: Option<String>,
}

impl Reach {
    /// The server at that URL, its certificate verified by what the machine trusts, and nobody in particular.
    pub fn to(server: Server) -> Self {
        Self { server, verify: true, certificate_authority: None, token: None, anonymous: false, certificate: None }
    }

    /// Reads the files, and makes a client of them. Must be called where tokio runs.
    ///
    /// # Errors
    /// [`ClusterError::Access`]: a file that cannot be read or is none, a URL that is none, a token over plain http.
    pub fn open(&self) -> Result<Reached, ClusterError> {
        let (mut config, namespace) = match &self.server {
            Server::Url(url) => (Config::new(self.root(url)?), None),
            Server::Kubeconfig { path, context } => self.by_kubeconfig(path, context.as_deref())?,
        };
        // What may be sent again is the caller's to know: a creation that was answered by 504 may have happened.
        config.default_retry = false;
        let url = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        if !self.verify {
            (config.accept_invalid_certs, config.root_cert_file) = (true, None);
        } else if let Some(path) = &self.certificate_authority {
            self.check_certificates(path)?;
            (config.root_cert, config.root_cert_file) = (Some(Vec::new()), Some(path.clone()));
        }
        if let Some((certificate, key)) = &self.certificate {
            config.auth_info = AuthInfo {
                client_certificate: Some(path_text(certificate)),
                client_key: Some(path_text(key)),
                ..AuthInfo::default()
            };
        }
        let bearer = self.bearer(&mut config)?;
        if bearer.is_some() && config.cluster_url.scheme_str() != Some("https") {
            return Err(self.access(
                "a token is never sent over http, where everybody on the way could read it",
                "write https:// in openshift_url, or use_auth = false",
                None,
            ));
        }
        let builder = ClientBuilder::try_from(config).map_err(|error| self.unusable(error))?;
        let client = match bearer {
            Some(bearer) => builder.with_layer(&BearerLayer::new(bearer)).build(),
            None => builder.build(),
        };
        Ok(Reached { client, url, namespace })
    }

    /// Where it leads, for messages.
    fn address(&self) -> String {
        match &self.server {
            Server::Url(url) => osbs_types::without_logins(url),
            Server::Kubeconfig { path, context } => {
                let context = context.as_ref().map_or_else(String::new, |name| format!(", context {name}"));
                format!("kubeconfig {}{context}", path.display())
            }
        }
    }

    fn access(&self, problem: impl Into<String>, hint: impl Into<String>, source: Option<Cause>) -> ClusterError {
        let (url, problem, hint) = (self.address(), problem.into(), hint.into());
        ClusterError::Access { url, problem, hint, kind: ErrorKind::Policy, source }
    }

    fn root(&self, text: &str) -> Result<http::Uri, ClusterError> {
        let no_url = |source| self.access("openshift_url is no URL", "write https://HOST[:PORT]", source);
        let url: http::Uri = text.parse().map_err(|error: http::uri::InvalidUri| no_url(Some(error.into())))?;
        let authority = url.authority().ok_or_else(|| no_url(None))?;
        if authority.as_str().contains('@') {
            let hint = "put a token into a file and name it in token_file";
            return Err(self.access("openshift_url has a login in it, which Kubernetes does not take", hint, None));
        }
        let parts = format!("{}://{authority}", url.scheme_str().unwrap_or("https"));
        parts.parse().map_err(|error: http::uri::InvalidUri| no_url(Some(error.into())))
    }

    fn by_kubeconfig(&self, path: &Path, context: Option<&str>) -> Result<(Config, Option<String>), ClusterError> {
        let hint = "check the keys kubeconfig and kube_context; kubectl config get-contexts shows what is in the file";
        let failed = |error: kube::config::KubeconfigError| {
            self.access("the kubeconfig cannot be used", hint, Some(error.into()))
        };
        let file = Kubeconfig::read_from(path).map_err(failed)?;
        let wanted = context.map(str::to_owned).or_else(|| file.current_context.clone());
        let found = file.contexts.iter().find(|named| Some(&named.name) == wanted.as_ref());
        let namespace = found.and_then(|named| named.context.as_ref()?.namespace.clone());
        let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
        // It reads files and waits for nothing.
        let config = Config::from_custom_kubeconfig(file, &options).now_or_never();
        let config = config.ok_or_else(|| ClusterError::Internal("a kubeconfig was waited for".to_owned()))?;
        Ok((config.map_err(failed)?, namespace))
    }

    /// rustls would say of a wrong file only that no certificate is good.
    fn check_certificates(&self, path: &Path) -> Result<(), ClusterError> {
        let hint = "name a PEM file with the certificate of the cluster's authority; kubectl config view --raw --minify shows it";
        let text = std::fs::read(path).map_err(|error| {
            self.access(format!("certificate_authority {} cannot be read", path.display()), hint, Some(error.into()))
        })?;
        if String::from_utf8_lossy(&text).contains("-----BEGIN CERTIFICATE-----") {
            return Ok(());
        }
        Err(self.access(format!("certificate_authority {} holds no certificate", path.display()), hint, None))
    }

    /// The token that counts, where it is ours to send: a kubeconfig's own ways beside files are left to the client.
    fn bearer(&self, config: &mut Config) -> Result<Option<Bearer>, ClusterError> {
        let auth = &mut config.auth_info;
        if self.anonymous || self.token.is_some() {
            (auth.token, auth.token_file, auth.exec, auth.auth_provider) = (None, None, None, None);
            (auth.username, auth.password) = (None, None);
        }
        let of_file = if auth.token.is_none() { auth.token_file.take() } else { None };
        let token = match (&self.token, of_file) {
            _ if self.anonymous => return Ok(None),
            (Some(token), _) => token.clone(),
            (None, Some(path)) => Token::File(PathBuf::from(path)),
            (None, None) => return Ok(None),
        };
        let bearer = Bearer::new(&token).map_err(|error| {
            let hint = "osbs login keeps a token; or name a file with one in token_file";
            self.access(error.to_string(), hint, None)
        })?;
        Ok(Some(bearer))
    }

    fn unusable(&self, error: kube::Error) -> ClusterError {
        let hint = "check client_cert, client_key and certificate_authority: PEM files, the key without a password";
        self.access("the credentials cannot be used", hint, Some(error.into()))
    }
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// What a failed handshake means, if that is what the error is.
pub(crate) fn certificate_problem(url: &str, error: &kube::Error) -> Option<ClusterError> {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    let mut problem = None;
    while let Some(error) = cause {
        let text = error.to_string();
        if let Some((_, why)) = text.rsplit_once("invalid peer certificate: ") {
            problem = Some(format!("its certificate is not to be trusted: {why}"));
        } else if text.contains("received fatal alert") {
            problem = Some(format!("it refused the TLS connection: {text}"));
        } else if text.contains("received corrupt message") {
            problem = Some("it does not speak TLS".to_owned());
        }
        cause = error.source();
    }
    let hint =
        "name the certificate that signs the server's in certificate_authority; check the host name in openshift_url";
    let access = |problem| ClusterError::Access {
        url: url.to_owned(),
        problem,
        hint: hint.to_owned(),
        kind: ErrorKind::Policy,
        source: None,
    };
    problem.map(access)
}
