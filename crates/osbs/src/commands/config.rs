//! `osbs config`: what is effective and where it came from; secrets and ConfigMaps of the cluster; platforms.

use crate::args::OutputFormat;
use crate::session::Session;
use crate::site::{config_failed, unreadable};
use crate::terminal::Table;
use clap::{Args, Subcommand};
use osbs_cluster::{SecretData, TextMap};
use osbs_config::{ContainerYaml, OsbsConf, Parsed, Problem, ReactorConfig, SchemaOf, Settings};
use osbs_types::{ErrorKind, Failure, Platform};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Check the configuration; keep secrets and ConfigMaps; enable platforms
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// Form of what is shown
    #[arg(long, value_enum, value_name = "FORM", global = true)]
    pub(crate) output: Option<OutputFormat>,

    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Say what is effective and where each value came from; with files, check those instead
    Check {
        /// config.yaml, container.yaml or osbs.conf files to check
        files: Vec<PathBuf>,
        /// Unset keys too
        #[arg(long)]
        all: bool,
    },
    /// Keep files as a secret of the cluster, for example config.yaml for reactor_config_secret
    SetSecret {
        /// Name of the secret
        name: String,
        /// Its files; the key is the file's name
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Keep files as a ConfigMap of the cluster
    SetConfigMap {
        /// Name of the ConfigMap
        name: String,
        /// Its files; the key is the file's name
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// List secrets and ConfigMaps of the cluster, by name only
    List,
    /// Print the JSON schema of a file, for editors and for checks of one's own
    Schema {
        /// config.yaml, container.yaml or user-params
        #[arg(value_name = "FILE", value_parser = schema_of)]
        file: SchemaOf,
    },
    /// Print a ConfigMap of the cluster: its values as they are, as JSON texts are meant
    GetConfigMap {
        /// Name of the ConfigMap
        name: String,
    },
    /// Remove ConfigMaps of the cluster
    DeleteConfigMap {
        /// Their names
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Remove secrets of the cluster
    DeleteSecret {
        /// Their names
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Make this machine able to run programs of other platforms (registers qemu-user with the kernel)
    EnablePlatform {
        /// For example aarch64
        #[arg(required = true)]
        platforms: Vec<Platform>,
    },
}

/// Runs the command.
pub(crate) async fn run(session: &Session, args: ConfigArgs) -> Result<u8, Failure> {
    match args.command {
        ConfigCommand::Check { files, all } if files.is_empty() => check(session, all),
        ConfigCommand::Check { files, .. } => check_files(session, &files),
        ConfigCommand::SetSecret { name, files } => {
            let data: SecretData = read_files(&files)?.into_iter().collect();
            let cluster = session.cluster()?;
            cluster.put_secret(&name, &data).await.map_err(|e| Failure::new(e.kind(), &e))?;
            session.note(&format!("secret {name} has {} keys", files.len()));
            Ok(0)
        }
        ConfigCommand::SetConfigMap { name, files } => {
            let data = texts(read_files(&files)?)?;
            let cluster = session.cluster()?;
            cluster.put_config_map(&name, &data).await.map_err(|e| Failure::new(e.kind(), &e))?;
            session.note(&format!("ConfigMap {name} has {} keys", files.len()));
            Ok(0)
        }
        ConfigCommand::List => list(session).await,
        ConfigCommand::Schema { file } => {
            session.print_json(&file.json());
            Ok(0)
        }
        ConfigCommand::GetConfigMap { name } => {
            let map = session.osbs()?.get_config_map(&name).await.map_err(|e| e.to_failure())?;
            session.print_json(&map.data());
            Ok(0)
        }
        ConfigCommand::DeleteConfigMap { names } => {
            let osbs = session.osbs()?;
            for name in &names {
                osbs.delete_config_map(name).await.map_err(|e| e.to_failure())?;
            }
            Ok(0)
        }
        ConfigCommand::DeleteSecret { names } => {
            let cluster = session.cluster()?;
            for name in &names {
                cluster.delete_secret(name).await.map_err(|e| Failure::new(e.kind(), &e))?;
            }
            Ok(0)
        }
        ConfigCommand::EnablePlatform { platforms } => enable(session, &platforms),
    }
}

fn schema_of(name: &str) -> Result<SchemaOf, String> {
    let found = SchemaOf::ALL.into_iter().find(|file| file.name() == name);
    found.ok_or_else(|| format!("expected one of {}", SchemaOf::ALL.map(SchemaOf::name).join(", ")))
}

fn show_problem(session: &Session, problem: &Problem) {
    session.note(&format!("{} {problem}", session.paint().yellow("warning")));
}

fn check(session: &Session, all: bool) -> Result<u8, Failure> {
    let site = session.site()?;
    let settings = site.settings().effective();
    let name = site.reactor_config().path.as_ref().map_or("built-in".to_owned(), |path| path.display().to_string());
    let reactor = ReactorConfig::parse(&site.reactor_config().text, &name).map_err(|e| config_failed(&e))?;
    for warning in site.warnings().iter().chain(&reactor.warnings) {
        show_problem(session, warning);
    }
    for section in unserved(&reactor.value) {
        let warning = session.paint().yellow("warning");
        session.note(&format!("{warning} {name}: {section}: this version has no plugins for it, so builds will fail"));
    }
    if session.wants_json() {
        let settings: Vec<_> = settings
            .iter()
            .map(|s| json!({"section": s.section, "key": s.key, "value": s.value, "origin": s.origin.to_string()}))
            .collect();
        session.print_json(&json!({
            "osbs_conf": site.conf_path(),
            "home": site.home(),
            "settings": settings,
            "reactor_config": {"file": site.reactor_config().path, "content": reactor.value.redacted()},
        }));
        return Ok(0);
    }
    let mut table = Table::new(["SECTION", "KEY", "VALUE", "FROM"]);
    for setting in settings.iter().filter(|setting| all || setting.value.is_some()) {
        let value = setting.value.as_deref().unwrap_or("-").replace('\n', " ");
        table.row(vec![setting.section.clone(), setting.key.clone(), value, setting.origin.to_string()]);
    }
    session.print_table(&table);
    let conf = site.conf_path().map_or("none: built-in defaults".to_owned(), |path| path.display().to_string());
    session.print(&format!(
        "\nosbs.conf       {conf}\nreactor config  {name}\nhome            {}\ncan orchestrate {}\n",
        site.home().display(),
        site.instance().can_orchestrate,
    ));
    for platform in reactor.value.enabled_platforms() {
        let clusters = reactor.value.enabled_clusters(&platform);
        let clusters: Vec<_> =
            clusters.iter().map(|c| format!("{} ({} at once)", c.name, c.max_concurrent_builds)).collect();
        session.print(&format!("platform        {platform}: {}\n", clusters.join(", ")));
    }
    for registry in &reactor.value.registries {
        session.print(&format!("pushes to       {}\n", registry.uri.host));
    }
    Ok(0)
}

/// Sections that ask for plugins which this version does not have.
fn unserved(config: &ReactorConfig) -> Vec<&'static str> {
    let asked = [("odcs", config.odcs.is_some())];
    asked.into_iter().filter(|(_, asked)| *asked).map(|(section, _)| section).collect()
}

fn check_files(session: &Session, files: &[PathBuf]) -> Result<u8, Failure> {
    for file in files {
        let text = std::fs::read_to_string(file).map_err(|e| unreadable(file, &e))?;
        let name = file.display().to_string();
        let warnings = if file.file_name().is_some_and(|file| file == "container.yaml") {
            ContainerYaml::parse(&text, &name).map_err(|e| config_failed(&e))?.warnings
        } else if is_osbs_conf(file, &text) {
            check_osbs_conf(&text, &name)?
        } else {
            ReactorConfig::parse(&text, &name).map_err(|e| config_failed(&e))?.warnings
        };
        for warning in &warnings {
            show_problem(session, warning);
        }
        session.note(&format!("{} {name}", session.paint().green("good")));
    }
    Ok(0)
}

/// By its name, or by what it begins with: a section, where `config.yaml` has a key.
fn is_osbs_conf(file: &Path, text: &str) -> bool {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with(['#', ';']));
    let is_section = |line: &str| line.starts_with('[') && line.ends_with(']');
    file.extension().is_some_and(|end| end == "conf") || first.is_some_and(is_section)
}

/// The file, and the values of each of its instances.
fn check_osbs_conf(text: &str, name: &str) -> Result<Vec<Problem>, Failure> {
    let Parsed { value: conf, mut warnings } = OsbsConf::parse(text, name).map_err(|e| config_failed(&e))?;
    let instances: Vec<String> = conf.instances().map(str::to_owned).collect();
    for instance in &instances {
        let settings = Settings::new(Some(conf.clone()), instance, BTreeMap::new(), BTreeMap::new());
        for warning in settings.resolve().map_err(|e| config_failed(&e))?.warnings {
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
    }
    Ok(warnings)
}

fn read_files(files: &[PathBuf]) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let one = |file: &PathBuf| {
        let key = file.file_name().and_then(|name| name.to_str());
        let key =
            key.ok_or_else(|| Failure::message(ErrorKind::User, format!("{} has no usable name", file.display())))?;
        let bytes = std::fs::read(file).map_err(|e| unreadable(file, &e))?;
        Ok((key.to_owned(), bytes))
    };
    files.iter().map(one).collect()
}

fn texts(files: Vec<(String, Vec<u8>)>) -> Result<TextMap, Failure> {
    let text = |(key, bytes): (String, Vec<u8>)| match String::from_utf8(bytes) {
        Ok(text) => Ok((key, text)),
        Err(_) => Err(Failure::message(ErrorKind::User, format!("{key} is not UTF-8 text"))
            .with_hint("keep it as a secret: osbs config set-secret")),
    };
    files.into_iter().map(text).collect()
}

async fn list(session: &Session) -> Result<u8, Failure> {
    let cluster = session.cluster()?;
    let failed = |e: osbs_cluster::ClusterError| Failure::new(e.kind(), &e);
    let secrets = cluster.list_secrets().await.map_err(failed)?;
    let config_maps = cluster.list_config_maps().await.map_err(failed)?;
    if session.wants_json() {
        session.print_json(&json!({"secrets": secrets, "config_maps": config_maps}));
        return Ok(0);
    }
    let mut table = Table::new(["KIND", "NAME"]);
    for name in secrets {
        table.row(vec!["Secret".to_owned(), name]);
    }
    for name in config_maps {
        table.row(vec!["ConfigMap".to_owned(), name]);
    }
    session.print_table(&table);
    Ok(0)
}

fn enable(session: &Session, platforms: &[Platform]) -> Result<u8, Failure> {
    for platform in platforms.iter().filter(|platform| **platform != Platform::native()) {
        let architecture = platform.architecture();
        let enabled = osbs_sandbox::can_run(&architecture).or_else(|error| {
            // A registration of a user namespace ends with this command.
            if osbs_sandbox::in_user_namespace() { Err(error) } else { osbs_sandbox::register_binfmt(&architecture) }
        });
        enabled.map_err(|error| {
            let failure = Failure::new(error.kind(), &error);
            if osbs_sandbox::in_user_namespace() {
                failure.with_hint(format!("as root: osbs config enable-platform {platform}"))
            } else {
                failure
            }
        })?;
        session.note(&format!("{platform} programs run here"));
    }
    Ok(0)
}
