//! Which Koji a run talks to, and as whom; what is asked of it by several plugins.
//!
//! From `koji` of the site's configuration, else from plugin arguments (arrangements 1 to 5). One client a build, made and
//! logged in when first needed. What a plugin does with Koji is the plugin's own.

pub(crate) mod facts;
#[cfg(test)]
pub(crate) mod fake_hub;
pub(crate) mod fragment;
mod hub;
pub(crate) mod import;
pub(crate) mod log_files;
pub(crate) mod metadata;
pub(crate) mod release;
pub(crate) mod reservation;
pub(crate) mod task;
pub(crate) mod upload;

pub use reservation::{LeftReservation, give_back_left};

use crate::events::Logger;
use crate::plugin::{Classified, PluginError, PluginType};
use crate::run::Run;
use crate::services::Services;
use osbs_config::{KojiAuth, KojiConfig, ReactorConfig};
use osbs_http::Transport;
use osbs_koji::{Kerberos, Koji, KojiError, Login, LoginError, Server, ServerUrlError, Settings};
use osbs_types::{ErrorKind, Secret};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

/// How long a hub may take for each of a run's last calls.
const AT_THE_END: Duration = Duration::from_secs(10);
/// The largest file with a password or with certificates.
const LONGEST_FILE: u64 = 1 << 20;

/// The arguments that all plugins of Koji know, for runs without a site's configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct KojiArgs {
    /// XML-RPC URL.
    #[serde(alias = "koji_hub", alias = "kojihub")]
    pub(crate) hub: Option<String>,
    /// URL of its files.
    #[serde(alias = "koji_root")]
    pub(crate) root: Option<String>,
    #[serde(alias = "koji_proxyuser")]
    pub(crate) proxyuser: Option<String>,
    /// Folder with `cert` and `serverca`.
    #[serde(alias = "koji_ssl_certs_dir", alias = "koji_ssl_certs")]
    pub(crate) ssl_certs: Option<String>,
    #[serde(alias = "koji_principal", alias = "koji_krb_principal")]
    pub(crate) principal: Option<String>,
    #[serde(alias = "koji_keytab", alias = "koji_krb_keytab")]
    pub(crate) keytab: Option<String>,
}

/// The arguments that say who we are for the hub, told of a plugin.
pub(crate) fn with_koji_arguments(kind: PluginType) -> PluginType {
    const CERTS: &str = "folder with cert and serverca, where config.yaml has no `koji`";
    kind.argument("koji_ssl_certs_dir", CERTS)
        .argument("koji_ssl_certs", CERTS)
        .argument("koji_proxyuser", "who to be at the hub, where config.yaml has no `koji`")
        .accepts(&["koji_principal", "koji_keytab", "koji_krb_principal", "koji_krb_keytab"])
}

/// Koji, as a run uses it.
#[derive(Debug, Clone)]
pub(crate) struct KojiSite {
    /// Logged in as configured.
    pub(crate) client: Koji,
    /// URL of its files, without a slash at the end.
    pub(crate) root_url: String,
    /// Whether the NVR of a build is reserved.
    pub(crate) reserves: bool,
}

/// The one client of a run.
pub(crate) type KojiCell = Arc<OnceCell<KojiSite>>;

impl Classified for KojiError {
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
        Some("`koji.auth.ssl_certs_dir` in config.yaml names a folder with cert and serverca, of a secret".to_owned())
    }
}

impl Classified for ServerUrlError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Policy
    }

    fn hint(&self) -> Option<String> {
        Some("mend `koji.hub_url` and `koji.root_url` in config.yaml".to_owned())
    }
}

impl Run {
    /// Koji, logged in; `None`: this site has none.
    ///
    /// # Errors
    /// Its configuration cannot be used, or it does not let us in.
    pub(crate) async fn koji(&self, args: &KojiArgs) -> Result<Option<KojiSite>, PluginError> {
        let Some(mut config) = self.koji_config(args)? else { return Ok(None) };
        let connected = async {
            for path in paths(&mut config) {
                *path = self.secret_path(path).await?.to_string_lossy().into_owned();
            }
            let Services { transport, kerberos_config, .. } = &self.services;
            connect(&config, kerberos_config.as_deref(), transport, self.log()).await
        };
        let site = self.koji.get_or_try_init(|| connected).await?;
        // Exit plugins of a cancelled build have a token of their own.
        Ok(Some(KojiSite { client: site.client.cancelled_by(self.cancel()), ..site.clone() }))
    }

    /// As [`Run::koji`], for plugins that are of no use without.
    pub(crate) async fn needed_koji(&self, args: &KojiArgs) -> Result<KojiSite, PluginError> {
        let none = || PluginError::policy("no Koji is configured").with_hint("add `koji` to config.yaml");
        self.koji(args).await?.ok_or_else(none)
    }

    /// Whether there is a Koji.
    pub(crate) fn has_koji(&self, args: &KojiArgs) -> bool {
        args.hub.is_some() || self.site_config().koji.is_some()
    }

    /// The site's configuration, also for plugins that come before `reactor_config` (arrangements 1 to 3). A text that is
    /// none is that plugin's to tell.
    pub(crate) fn site_config(&self) -> Arc<ReactorConfig> {
        let text = self.reactor_config_text.as_ref().filter(|_| !self.config_loaded);
        let parsed = text.and_then(|text| ReactorConfig::parse(text, "REACTOR_CONFIG").ok());
        parsed.map_or_else(|| Arc::clone(&self.config), |parsed| Arc::new(parsed.value))
    }

    /// The configuration, else what the arguments say.
    fn koji_config(&self, args: &KojiArgs) -> Result<Option<KojiConfig>, PluginError> {
        if let Some(config) = &self.site_config().koji {
            return Ok(Some(config.clone()));
        }
        let Some(hub_url) = args.hub.clone() else { return Ok(None) };
        let auth = match (&args.ssl_certs, &args.principal, &args.keytab) {
            (Some(certs_dir), _, _) => KojiAuth::Ssl { certs_dir: certs_dir.clone() },
            (None, Some(principal), Some(keytab)) => {
                KojiAuth::Kerberos { principal: principal.clone(), keytab_path: keytab.clone(), cache_path: None }
            }
            (None, None, None) => KojiAuth::Anonymous,
            _ => {
                let text = "koji_principal and koji_keytab go together: one of them is missing";
                return Err(PluginError::policy(text).with_hint("mend them in osbs.conf"));
            }
        };
        Ok(Some(KojiConfig {
            root_url: args.root.clone().unwrap_or_default(),
            hub_url,
            auth,
            proxyuser: args.proxyuser.clone(),
            use_fast_upload: true,
            reserve_build: false,
            ca_file: None,
        }))
    }

    /// The Koji task that asked for this build, by its label; a text that is no number is told and left out.
    pub(crate) fn koji_task_id(&self) -> Option<i64> {
        let text = self.build.labels.get("koji-task-id")?;
        let id = text.parse::<i64>().ok();
        if id.is_none() {
            self.log().error(format!("label koji-task-id of the build, {text:?}, is no number: left out"));
        }
        id
    }
}

/// What a run does last with Koji: gives back what it has reserved and not imported, removes what it has uploaded for
/// nothing, and ends its session. A hub that does not answer is not waited for: the record of the reservation stays for the
/// runner, and a session ends by itself.
pub(crate) async fn leave(run: &mut Run) {
    if tokio::time::timeout(AT_THE_END, reservation::give_back(run)).await.is_err() {
        run.log().warning("Koji does not answer: the build's runner gives the reservation back, or `osbs gc`");
        return;
    }
    if let Some(koji) = run.koji.get() {
        let client = koji.client.cancelled_by(&CancellationToken::new());
        if run.has_failed() && run.owns_koji_upload_dir {
            let site = KojiSite { client: client.clone(), ..koji.clone() };
            let removal = reservation::remove_uploads(&site, run.koji_upload_dir.as_deref());
            // The hub's own clearing does what cannot be done now.
            let _ = tokio::time::timeout(AT_THE_END, removal).await;
        }
        let _ = tokio::time::timeout(AT_THE_END, client.log_out()).await;
    }
}

/// The paths of a configuration, which may be below secrets.
fn paths(config: &mut KojiConfig) -> Vec<&mut String> {
    let of_login = match &mut config.auth {
        KojiAuth::Ssl { certs_dir: path }
        | KojiAuth::Password { password_path: path, .. }
        | KojiAuth::Kerberos { keytab_path: path, .. } => Some(path),
        KojiAuth::Anonymous => None,
    };
    of_login.into_iter().chain(&mut config.ca_file).collect()
}

/// A client of the configured hub, logged in. Its paths are of this machine; `kerberos` is its `KRB5_CONFIG`.
async fn connect(
    config: &KojiConfig,
    kerberos: Option<&str>,
    transport: &Transport,
    log: &Logger,
) -> Result<KojiSite, PluginError> {
    let mut server = Server::new(&config.hub_url)?;
    if !config.root_url.is_empty() {
        server = server.with_top(&config.root_url)?;
    }
    let (login, authorities) = login(config, kerberos).await?;
    if let Some(pem) = authorities {
        server = server.trusting(pem);
    }
    let observer = log.clone();
    let settings = Settings {
        fast_upload: config.use_fast_upload,
        on_retry: Some(Arc::new(move |again| {
            let seconds = again.delay.as_secs_f32();
            observer
                .warning(format!("Koji {}, {}: {}; again in {seconds:.1} s", again.hub, again.action, again.reason));
        })),
        ..Settings::default()
    };
    let client = Koji::new(transport, server, login, settings)?;
    client.log_in().await?;
    log.debug(format!("Koji is {}", client.server().host()));
    let root_url = config.root_url.trim_end_matches('/').to_owned();
    Ok(KojiSite { client, root_url, reserves: config.reserve_build })
}

/// Who we are, and by which authorities the hub is verified.
async fn login(config: &KojiConfig, kerberos_config: Option<&str>) -> Result<(Login, Option<Vec<u8>>), PluginError> {
    let mut authorities = match &config.ca_file {
        Some(path) => Some(small_file(path).await?),
        None => None,
    };
    let login = match &config.auth {
        KojiAuth::Anonymous => Login::Anonymous,
        KojiAuth::Kerberos { principal, keytab_path, cache_path } => {
            let keytab = keytab_path.strip_prefix("FILE:").unwrap_or(keytab_path);
            let mut kerberos = Kerberos::new(Some(principal.clone()), Some(keytab.into()))?;
            kerberos.cache.clone_from(cache_path);
            kerberos.config = kerberos_config.map(str::to_owned);
            Login::Kerberos(kerberos)
        }
        KojiAuth::Password { username, password_path } => {
            let text = String::from_utf8(small_file(password_path).await?)
                .map_err(|_| PluginError::policy("koji.auth.password_path names no file of text"))?;
            let password = Secret::new(text.trim_end_matches(['\r', '\n']));
            Login::Password { user: username.clone(), password }
        }
        KojiAuth::Ssl { certs_dir } => {
            let (login, of_folder) = Login::read(Path::new(certs_dir), config.proxyuser.clone())?;
            authorities = authorities.or(of_folder);
            login
        }
    };
    Ok((login, authorities))
}

/// A file, or `password` in the folder of a secret.
async fn small_file(path: &str) -> Result<Vec<u8>, PluginError> {
    let mut file = PathBuf::from(path);
    if file.is_dir() {
        file.push("password");
    }
    read_bounded(&file).await.map_err(|why| {
        PluginError::policy(format!("koji in config.yaml: {}: {why}", file.display()))
            .with_hint("is the secret there, and is it listed in required_secrets?")
    })
}

async fn read_bounded(file: &Path) -> Result<Vec<u8>, String> {
    let size = tokio::fs::metadata(file).await.map_err(|error| error.to_string())?.len();
    if size > LONGEST_FILE {
        return Err("it is too large".to_owned());
    }
    tokio::fs::read(file).await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod parent_tests;
#[cfg(test)]
mod tests;
