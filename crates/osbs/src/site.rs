//! Where this installation keeps things and how it is configured: home folder, `osbs.conf`, `config.yaml`, cluster.
//!
//! The only reader of configuration files and of the environment.

mod capture;
mod connect;
pub(crate) mod kubernetes;
pub(crate) mod reservations;

use crate::args::Global;
pub(crate) use connect::{Connector, Opened, is_kubernetes};
use osbs_client::Osbs;
use osbs_cluster::Cluster;
use osbs_cluster_kubernetes::KubernetesCluster;
use osbs_config::{ConfigError, InstanceConfig, OsbsConf, Parsed, Problem, ReactorConfig, Settings};
use osbs_koji::{Kerberos, LoginError};
use osbs_types::{ErrorKind, Failure};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where `osbs.conf` is looked for.
const SYSTEM_CONF: &str = "/etc/osbs.conf";

/// Where builds have their secrets, a folder each.
pub(crate) const SECRETS_ROOT: &str = "/var/run/secrets/atomic-reactor";

/// Where the libraries of Kerberos find their configuration, if not at its usual place.
pub(crate) const KERBEROS_CONFIG: &str = "KRB5_CONFIG";

/// `PATH` for programs when the environment has none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `PATH` for the programs of a build.
pub(crate) fn program_path() -> OsString {
    std::env::var_os("PATH").filter(|path| !path.is_empty()).unwrap_or_else(|| DEFAULT_PATH.into())
}

/// `KRB5_CONFIG`, for whoever logs in with Kerberos.
pub(crate) fn kerberos_config() -> Option<String> {
    std::env::var(KERBEROS_CONFIG).ok().filter(|value| !value.is_empty())
}

/// A login to Koji with Kerberos: by principal and keytab, else with the ticket that the environment names.
pub(crate) fn kerberos(principal: Option<String>, keytab: Option<String>) -> Result<Kerberos, LoginError> {
    let named = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let cache = if keytab.is_none() { named("KRB5CCNAME") } else { None };
    let keytab = keytab.map(|path| PathBuf::from(path.strip_prefix("FILE:").unwrap_or(&path)));
    let mut kerberos = Kerberos::new(principal, keytab)?;
    (kerberos.cache, kerberos.config) = (cache, kerberos_config());
    Ok(kerberos)
}

/// A configured site.
pub(crate) struct Site {
    home: PathBuf,
    settings: Settings,
    instance: InstanceConfig,
    conf_path: Option<PathBuf>,
    reactor_config: ReactorConfigSource,
    warnings: Vec<Problem>,
    osbs: Osbs,
    cluster: Arc<dyn Cluster>,
    kubernetes: Option<KubernetesCluster>,
}

/// The site's `config.yaml`, unless the instance names a secret or ConfigMap.
#[derive(Debug, Clone)]
pub(crate) struct ReactorConfigSource {
    /// The file; `None`: built in.
    pub(crate) path: Option<PathBuf>,
    /// Its text.
    pub(crate) text: String,
}

impl ReactorConfigSource {
    /// Its name in messages.
    pub(crate) fn name(&self) -> String {
        self.path.as_ref().map_or_else(|| "built-in config.yaml".to_owned(), |path| path.display().to_string())
    }
}

/// A file that the user named and that cannot be read.
pub(crate) fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    let mut failure = Failure::message(ErrorKind::User, format!("cannot read {}", path.display()));
    failure.causes.push(error.to_string());
    failure.with_hint("name a file that can be read")
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))
}

/// The home folder of osbs: that of the local cluster, unless it is configured to lie elsewhere.
pub(crate) fn home_of_osbs(global: &Global) -> Result<PathBuf, Failure> {
    home(global)
}

fn home(global: &Global) -> Result<PathBuf, Failure> {
    if let Some(home) = &global.home {
        return std::path::absolute(home).map_err(|e| Failure::new(ErrorKind::User, &e));
    }
    let data = std::env::var_os("XDG_DATA_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let user = || {
        std::env::var_os("HOME").filter(|path| !path.is_empty()).map(|home| PathBuf::from(home).join(".local/share"))
    };
    data.or_else(user).map(|data| data.join("osbs")).ok_or_else(|| {
        Failure::message(ErrorKind::User, "neither HOME nor OSBS_HOME is set")
            .with_hint("say where to work: --home DIR")
    })
}

/// Turns all problems of a configuration file into one failure.
pub(crate) fn config_failed(error: &ConfigError) -> Failure {
    let mut failure = error.to_failure();
    if let (None, Some(position)) = (&failure.hint, &failure.position) {
        failure.hint = Some(format!("mend {}; osbs config check tells whether it is good", position.file));
    }
    failure
}

/// An instance of `osbs.conf`, read and checked.
pub(crate) struct Configured {
    pub(crate) settings: Settings,
    pub(crate) instance: InstanceConfig,
    conf_path: Option<PathBuf>,
    warnings: Vec<Problem>,
}

impl Configured {
    /// Reads `osbs.conf`; `more` are keys that the command line overrides.
    pub(crate) fn read(global: &Global, more: &[(&'static str, String)]) -> Result<Self, Failure> {
        let conf_path = match &global.config {
            Some(path) => Some(path.clone()),
            None => Some(PathBuf::from(SYSTEM_CONF)).filter(|path| path.exists()),
        };
        let mut warnings = Vec::new();
        let conf = match &conf_path {
            Some(path) => {
                let Parsed { value, warnings: found } =
                    OsbsConf::parse(&read(path)?, &path.display().to_string()).map_err(|e| config_failed(&e))?;
                warnings.extend(found);
                Some(value)
            }
            None => None,
        };
        let settings = Settings::new(conf, &global.instance, options(global, more), defaults(conf_path.is_some()));
        if (settings.lacks_instance() || conf_path.is_none()) && global.instance != "default" {
            return Err(Failure::message(
                ErrorKind::User,
                format!("there is no section [{}] in {}", global.instance, shown(conf_path.as_deref())),
            ));
        }
        let Parsed { value: instance, warnings: found } = settings.resolve().map_err(|e| config_failed(&e))?;
        warnings.extend(found);
        Ok(Self { settings, instance, conf_path, warnings })
    }
}

impl Site {
    /// Reads the configuration and opens the cluster.
    pub(crate) fn open(global: &Global, more: &[(&'static str, String)]) -> Result<Self, Failure> {
        let default_home = home(global)?;
        let Configured { settings, instance, conf_path, warnings } = Configured::read(global, more)?;
        let reactor_config = reactor_config(global, conf_path.as_deref(), &default_home)?;
        let connector = Connector::new(&default_home, conf_path.clone());
        let home = connector.home_of(&instance)?;
        let opened = connector.open_instance(&settings, &instance).map_err(|e| e.to_failure())?;
        let kubernetes = match &opened {
            Opened::Kubernetes(cluster) => Some(cluster.clone()),
            Opened::Local(_) => None,
        };
        let mut cluster = opened.into_cluster();
        if let Some(folder) = &global.capture_dir {
            cluster = capture::into_folder(cluster, folder)?;
        }
        let osbs = connect::client(&home, Arc::clone(&cluster), &settings, &reactor_config)?;
        Ok(Self { home, settings, instance, conf_path, reactor_config, warnings, osbs, cluster, kubernetes })
    }

    /// The folder of the local cluster and its image store.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// Every key with its origin.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The instance's values.
    pub(crate) fn instance(&self) -> &InstanceConfig {
        &self.instance
    }

    /// The `osbs.conf` in use.
    pub(crate) fn conf_path(&self) -> Option<&Path> {
        self.conf_path.as_deref()
    }

    /// The `config.yaml` in use.
    pub(crate) fn reactor_config(&self) -> &ReactorConfigSource {
        &self.reactor_config
    }

    /// What is odd in the configuration and does no harm.
    pub(crate) fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// The instance's client.
    pub(crate) fn osbs(&self) -> &Osbs {
        &self.osbs
    }

    /// The instance's cluster, if it is Kubernetes.
    pub(crate) fn kubernetes(&self) -> Option<&KubernetesCluster> {
        self.kubernetes.as_ref()
    }

    /// The instance's cluster.
    pub(crate) fn cluster(&self) -> Arc<dyn Cluster> {
        Arc::clone(&self.cluster)
    }
}

fn shown(path: Option<&Path>) -> String {
    path.map_or_else(|| "the built-in configuration".to_owned(), |path| path.display().to_string())
}

/// Options of the command line, by the names of the keys they stand for.
fn options(global: &Global, more: &[(&'static str, String)]) -> BTreeMap<String, String> {
    let mut options: BTreeMap<String, String> =
        more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    for (key, value) in [("openshift_uri", &global.openshift_uri), ("token_file", &global.token_file)] {
        options.extend(value.iter().map(|value| (key.to_owned(), value.clone())));
    }
    if let Some(namespace) = &global.namespace {
        options.insert("namespace".to_owned(), namespace.clone());
    }
    if !global.registry_uri.is_empty() {
        options.insert("registry_uri".to_owned(), global.registry_uri.join(","));
    }
    if let Some(uri) = &global.source_registry_uri {
        options.insert("source_registry_uri".to_owned(), uri.clone());
    }
    options
}

/// Without any configuration file this machine is the user's own: it may orchestrate.
fn defaults(has_conf: bool) -> BTreeMap<String, String> {
    if has_conf { BTreeMap::new() } else { BTreeMap::from([("can_orchestrate".to_owned(), "true".to_owned())]) }
}

/// `--reactor-config`, else `config.yaml` beside `osbs.conf`, else in the home folder, else what this machine can do.
fn reactor_config(global: &Global, conf: Option<&Path>, home: &Path) -> Result<ReactorConfigSource, Failure> {
    let beside = conf.and_then(Path::parent).map(|folder| folder.join("config.yaml"));
    let path = match &global.reactor_config {
        Some(path) => Some(path.clone()),
        None => [beside, Some(home.join("config.yaml"))].into_iter().flatten().find(|path| path.exists()),
    };
    let text = match &path {
        Some(path) => read(path)?,
        None => built_in_reactor_config(global),
    };
    let source = ReactorConfigSource { path, text };
    ReactorConfig::parse(&source.text, &source.name()).map_err(|e| config_failed(&e))?;
    Ok(source)
}

/// Every platform whose programs run here, on this machine; registries as given by options.
fn built_in_reactor_config(global: &Global) -> String {
    use std::fmt::Write;
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let mut text = "version: 1\nclusters:\n".to_owned();
    for name in ["x86_64", "aarch64", "ppc64le", "s390x"] {
        let Ok(platform) = name.parse::<osbs_types::Platform>() else { continue };
        if platform == osbs_types::Platform::native() || osbs_sandbox::can_run(&platform.architecture()).is_ok() {
            let _ = writeln!(text, "  {name}: [{{name: local, max_concurrent_builds: {cores}}}]");
        }
    }
    if !global.registry_uri.is_empty() {
        text.push_str("registries:\n");
        for uri in &global.registry_uri {
            let _ = writeln!(text, "  - {{url: {}, insecure: true}}", serde_json::json!(uri));
        }
    }
    if let Some(uri) = &global.source_registry_uri {
        let _ = writeln!(text, "source_registry: {{url: {}, insecure: true}}", serde_json::json!(uri));
    }
    text
}
