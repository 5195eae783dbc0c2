//! Which Pulp a run talks to, and what it has brought there: shared by the plugins `pulp_*`.
//!
//! From `pulp` of the site's configuration, else from plugin arguments (arrangements 1 to 5). Makes clients and names;
//! `publish.rs` shows things to clients; what is uploaded or synchronised is the plugins' own.

mod publish;

pub use publish::{PulpRepository, WaitingName};

use crate::events::Logger;
use crate::plugin::{Classified, PluginError};
use crate::registries::RegistryAccess;
use crate::run::{PushedRegistry, Run};
use osbs_config::{PulpAuth, PulpConfig, RegistryUri};
use osbs_http::Transport;
use osbs_pulp::{Login, LoginError, Pulp, PulpError, Server, ServerUrlError, TaskProgress, Wait};
use osbs_registry::{Credentials, Registry, RegistryConfig};
use osbs_types::{Digest, ErrorKind, PullSpec, Secret};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

/// How long a task, or the appearance of an image, is waited for unless the site says something else (`reactor.md` 1.10).
const LIMIT: Duration = Duration::from_mins(20);

/// What a client gets of the digests recorded for a name (`reactor.md` 1.13).
const PREFERENCE: [&str; 4] = ["v2_list", "oci_index", "oci", "v2"];

/// The arguments that all plugins of Pulp know, for runs without a site's configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PulpArgs {
    /// URL of Pulp 3.
    pub pulp_registry_name: Option<String>,
    /// Folder with `pulp.cer` and `pulp.key`, or with `username` and `password`.
    pub pulp_secret_path: Option<String>,
    pub username: Option<String>,
    pub password: Option<String>,
    pub pulp_repo_prefix: Option<String>,
}

/// Pulp, as a run uses it.
pub(crate) struct PulpSite {
    pub client: Pulp,
    /// Where clients pull.
    pub registry: RegistryUri,
    pub limit: Duration,
    prefix: String,
    login: Option<Login>,
    insecure: bool,
    transport: Transport,
}

impl Classified for PulpError {
    fn kind(&self) -> ErrorKind {
        Self::kind(self)
    }

    fn hint(&self) -> Option<String> {
        Some(Self::hint(self).to_owned())
    }
}

impl Classified for LoginError {
    fn kind(&self) -> ErrorKind {
        Self::kind(self)
    }

    fn hint(&self) -> Option<String> {
        Some(
            "give `pulp.auth` in config.yaml (or the secret) one of them; `osbs config set-secret` makes one"
                .to_owned(),
        )
    }
}

impl Classified for ServerUrlError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Policy
    }

    fn hint(&self) -> Option<String> {
        Some(
            "give `pulp.url` in config.yaml; without one, `pulp.name` or `pulp_registry_name` must be the URL"
                .to_owned(),
        )
    }
}

impl Run {
    /// Pulp, logged in as configured.
    ///
    /// # Errors
    /// It is not configured, or its configuration cannot be used.
    pub(crate) async fn pulp(&self, args: &PulpArgs) -> Result<PulpSite, PluginError> {
        let config = self.config.pulp.as_ref();
        let login = match config {
            Some(config) => Some(self.configured_login(config).await?),
            None => self.login_of_arguments(args).await?,
        };
        let named =
            config.map(|config| config.url.as_ref().unwrap_or(&config.name)).or(args.pulp_registry_name.as_ref());
        let url =
            named.ok_or_else(|| PluginError::policy("no Pulp is configured").with_hint("add `pulp` to config.yaml"))?;
        let insecure = config.is_some_and(|config| config.insecure);
        let server = Server::new(url, insecure)?;
        let own = format!("{}://{}", server.root().scheme(), server.host());
        let registry = match config.and_then(|config| config.registry.clone()) {
            Some(registry) => registry,
            None => own.parse().map_err(|error| PluginError::policy(format!("{error}")))?,
        };
        let transport = match config.and_then(|config| config.ca_file.as_deref()) {
            Some(path) => self.services.transport.trusting(self.pem(path).await?.as_bytes())?,
            None => self.services.transport.clone(),
        };
        let seconds = config.and_then(|config| config.timeout);
        let limit = seconds.map_or(LIMIT, |seconds| Duration::from_secs(seconds.into()));
        let client = Pulp::new(transport.clone(), server, login.as_ref())?.answering_within(limit);
        let prefix = config.map_or(&args.pulp_repo_prefix, |config| &config.repository_prefix);
        Ok(PulpSite { client, registry, limit, prefix: prefix.clone().unwrap_or_default(), login, insecure, transport })
    }

    async fn configured_login(&self, config: &PulpConfig) -> Result<Login, PluginError> {
        match &config.auth {
            PulpAuth::Ssl { certs_dir } => Ok(Login::read(&self.secret_path(certs_dir).await?)?),
            PulpAuth::Password { username, password } => {
                Ok(Login::Password { username: username.clone(), password: password.clone() })
            }
        }
    }

    /// Name and password are preferred to a secret (`reactor.md` 3.4.5).
    async fn login_of_arguments(&self, args: &PulpArgs) -> Result<Option<Login>, PluginError> {
        if let (Some(username), Some(password)) = (&args.username, &args.password) {
            return Ok(Some(Login::Password { username: username.clone(), password: Secret::new(password) }));
        }
        match &args.pulp_secret_path {
            Some(path) => Ok(Some(Login::read(&self.secret_path(path).await?)?)),
            None => Ok(None),
        }
    }

    /// The text of a file with certificates that the configuration names.
    pub(crate) async fn pem(&self, path: &str) -> Result<String, PluginError> {
        let file = self.secret_path(path).await?;
        let read = tokio::fs::read_to_string(&file).await;
        read.map_err(|error| PluginError::policy(format!("the certificates {path} of Pulp cannot be read: {error}")))
    }

    /// The tags this build gives, by repository, but for those that move last.
    pub(crate) fn tags_by_repository(&self) -> BTreeMap<String, Vec<String>> {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for name in self.tags.all().filter(|name| !self.moves_last(name)) {
            found.entry(name.repository().to_owned()).or_default().push(name.tag().unwrap_or("latest").to_owned());
        }
        found
    }

    /// What this build has pushed under a name, in that registry if something went there, else in the first one.
    pub(crate) fn pushed_digest(&self, host: &str, name: &PullSpec) -> Option<Digest> {
        let own = |registry: &&PushedRegistry| !registry.server_side_sync;
        let there = self.pushed.iter().filter(own).find(|registry| registry.host == host);
        let registry = there.or_else(|| self.pushed.iter().find(own))?;
        let versions = registry.digests.get(&name.with_explicit_tag().with_registry(None).to_string())?;
        PREFERENCE.iter().find_map(|version| versions.get(*version)).cloned()
    }
}

impl PulpSite {
    /// The name of an image's repository in Pulp (`reactor.md` 1.11).
    pub(crate) fn repository_id(&self, repository: &str) -> String {
        format!("{}{}", self.prefix, repository.replace('/', "-"))
    }

    /// The same for its archives.
    pub(crate) fn archives_id(&self, repository: &str) -> String {
        format!("{}-archives", self.repository_id(repository))
    }

    /// How tasks are waited for in this run; their progress goes into the log.
    pub(crate) fn wait<'a>(&self, run: &'a Run, progress: &'a TaskLog) -> Wait<'a> {
        Wait { limit: self.limit, cancel: run.cancel(), progress: &progress.tell }
    }

    /// Pulp's registry as clients see it, with our login, which a private distribution asks for.
    pub(crate) fn pull_client(&self) -> Result<Registry, PluginError> {
        let mut config = RegistryConfig::new(&self.registry.uri(), self.insecure)?;
        if let Some(Login::Password { username, password }) = &self.login {
            config = config.with_credentials(Credentials::single(&self.registry.host, username, password.clone()));
        }
        let transport = match &self.login {
            Some(Login::Certificate { pem }) => self.transport.presenting(pem)?,
            _ => self.transport.clone(),
        };
        Ok(Registry::new(transport, config))
    }
}

impl Run {
    /// How to reach the registry that Pulp is to sync from, as the reactor knows it.
    pub(crate) fn access_of_first_registry(&self, host: &str) -> Option<RegistryAccess<'_>> {
        let entries = &self.config.registries;
        let entry = entries.iter().find(|entry| entry.uri.host == host).or_else(|| entries.first())?;
        Some(RegistryAccess {
            uri: &entry.uri,
            insecure: entry.insecure,
            credentials: entry.cfg_path.as_deref(),
            ca_file: entry.ca_file.as_deref(),
        })
    }
}

/// Is told what is waited for and how far its task is.
type Tell = Box<dyn Fn(&str, &TaskProgress) + Send + Sync>;

/// Tells the log how far a task is, each step once.
pub(crate) struct TaskLog {
    pub tell: Tell,
}

impl TaskLog {
    pub(crate) fn of(run: &Run) -> Self {
        Self::new(run.log().clone())
    }

    fn new(log: Logger) -> Self {
        let told = Mutex::new(BTreeSet::new());
        let tell = move |action: &str, progress: &TaskProgress| {
            let (Some(done), what) = (progress.done.filter(|done| *done > 0), &progress.message) else { return };
            let total = progress.total.map(|total| format!(" of {total}")).unwrap_or_default();
            let printable = what.chars().map(|c| if c.is_control() { ' ' } else { c }).take(100).collect::<String>();
            let line = format!("{action}: {printable} {done}{total}");
            // A hostile Pulp shall not fill the log.
            if let Ok(mut told) = told.lock()
                && told.len() < 1000
                && told.insert(line.clone())
            {
                log.info(line);
            }
        };
        Self { tell: Box::new(tell) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build_json::PluginLists;
    use crate::run::TagClass;
    use crate::testing::{TestRun, run_without_source};
    use osbs_config::ReactorConfig;
    use std::sync::Arc;

    async fn with_config(pulp: &str) -> TestRun {
        let mut test = run_without_source(PluginLists::default()).await;
        let text = format!("version: 1\npulp: {pulp}\n");
        test.run.config = Arc::new(ReactorConfig::parse(&text, "config.yaml").unwrap().value);
        test
    }

    /// The one screen of a `pulp` that cannot be used.
    async fn check_error(pulp: &str, parts: &[&str]) {
        let test = with_config(pulp).await;
        let failure = test.run.pulp(&PulpArgs::default()).await.map(drop).unwrap_err().into_failure();
        let text = format!("{failure} {}", failure.hint.clone().unwrap_or_default());
        assert_eq!(failure.kind, ErrorKind::Policy, "{text}");
        for part in parts {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[tokio::test]
    async fn what_can_be_wrong_with_the_configuration() {
        let auth = "auth: {username: me, password: hunter2}";
        check_error(&format!("{{name: prod, {auth}}}"), &["\"prod\" is not the URL of a Pulp", "pulp.url"]).await;
        check_error(&format!("{{name: p, {auth}, url: 'https://me:hunter2@p.io'}}"), &["***@p.io", "pulp.url"]).await;
        let ca = format!("{{name: p, {auth}, url: 'https://p.io', ca_file: /nonexistent/ca.pem}}");
        check_error(&ca, &["the certificates /nonexistent/ca.pem of Pulp cannot be read"]).await;
        let empty = tempfile::tempdir().unwrap();
        let certs = format!("{{name: p, url: 'https://p.io', auth: {{ssl_certs_dir: {}}}}}", empty.path().display());
        check_error(&certs, &["no login of Pulp in", "pulp.cer and pulp.key", "pulp.auth"]).await;
        std::fs::write(empty.path().join("pulp.cer"), "hunter2").unwrap();
        std::fs::write(empty.path().join("pulp.key"), "hunter2").unwrap();
        check_error(&certs, &["cannot show its certificate at Pulp p.io"]).await;
        let secret = "{name: p, url: 'https://p.io', auth: {ssl_certs_dir: /var/run/secrets/atomic-reactor/none}}";
        let test = with_config(secret).await;
        assert!(test.run.pulp(&PulpArgs::default()).await.is_err(), "no such secret");
    }

    #[tokio::test]
    async fn places_and_names() {
        let auth = "auth: {username: me, password: hunter2}";
        let test =
            with_config(&format!("{{name: 'http://p.io:24817', {auth}, timeout: 7, repository_prefix: redhat-}}"))
                .await;
        let site = test.run.pulp(&PulpArgs::default()).await.unwrap();
        assert_eq!((site.registry.uri().as_str(), site.limit.as_secs()), ("http://p.io:24817", 7));
        assert_eq!(site.repository_id("ns/web"), "redhat-ns-web");
        assert_eq!(site.archives_id("web"), "redhat-web-archives");
        let elsewhere = format!("{{name: p, {auth}, url: 'https://p.io', registry: images.io}}");
        let site = with_config(&elsewhere).await.run.pulp(&PulpArgs::default()).await.unwrap();
        assert_eq!((site.registry.host.as_str(), site.limit), ("images.io", LIMIT));
        let args = PulpArgs { pulp_registry_name: Some("https://q.io".to_owned()), ..PulpArgs::default() };
        let site = run_without_source(PluginLists::default()).await.run.pulp(&args).await.unwrap();
        assert_eq!(site.client.host(), "q.io", "arrangements 1 to 5 have no configuration");
    }

    #[tokio::test]
    async fn what_was_pushed_where() {
        let mut test = run_without_source(PluginLists::default()).await;
        let run = &mut test.run;
        let name: PullSpec = "ns/web:1-1".parse().unwrap();
        run.tags.add(TagClass::Primary, name.clone());
        run.tags.add(TagClass::Floating, "ns/web:latest".parse().unwrap());
        assert_eq!(
            run.tags_by_repository(),
            [("ns/web".to_owned(), vec!["1-1".to_owned()])].into(),
            "latest moves last"
        );
        let digest = |byte| Digest::from_sha256(&[byte; 32]);
        let mut record = |host: &str, version: &str, digest: Digest| {
            let digests = &mut run.pushed_registry(host).digests;
            digests.entry("ns/web:1-1".to_owned()).or_default().insert(version.to_owned(), digest);
        };
        record("p.io", "oci_index", digest(9));
        record("r.io", "oci", digest(1));
        record("r.io", "oci_index", digest(2));
        record("s.io", "v2", digest(3));
        run.pushed_registry("p.io").server_side_sync = true;
        assert_eq!(run.pushed_digest("r.io", &name), Some(digest(2)), "the index");
        assert_eq!(run.pushed_digest("s.io", &name), Some(digest(3)));
        assert_eq!(
            run.pushed_digest("registry-as-pulp-sees-it", &name),
            Some(digest(2)),
            "the first that is not Pulp's"
        );
        assert_eq!(run.pushed_digest("r.io", &"ns/web:9".parse().unwrap()), None);
    }
}
