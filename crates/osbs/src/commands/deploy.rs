//! `osbs deploy`: what a Kubernetes cluster needs for builds, and lacks.

use crate::args::OutputArg;
use crate::session::Session;
use crate::site::{Site, config_failed};
use crate::terminal::Table;
use clap::{Args, Subcommand};
use osbs_cluster_kubernetes::{Finding, Role, Standing, Wanted};
use osbs_config::ReactorConfig;
use osbs_types::{ErrorKind, Failure, Platform};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

/// Look at a Kubernetes cluster: whether it has what builds need
#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    #[command(subcommand)]
    command: DeployCommand,
}

#[derive(Debug, Subcommand)]
enum DeployCommand {
    Check(CheckArgs),
}

impl DeployArgs {
    /// The form asked for.
    pub(crate) fn output(&self) -> OutputArg {
        let DeployCommand::Check(args) = &self.command;
        args.output
    }
}

/// Say what the cluster of an instance lacks: permissions, secrets, ConfigMaps, nodes, priority classes
///
/// Asks for whoever is logged in, or, with --service-account, for an account of the namespace, which needs the right to ask
/// that. Ends with 3 if something lacks.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    osbs deploy check                                        may I build here?\n  \
    osbs deploy check --role build --service-account osbs-build    may the pods of builds do what they must?\n  \
    osbs -i worker01 --config worker.conf deploy check --pull      and can its nodes start the builder image?")]
struct CheckArgs {
    #[command(flatten)]
    output: OutputArg,

    /// Whose permissions: client asks for builds, build is a build's pod, gc runs osbs gc
    #[arg(long, default_value = "client", value_parser = role)]
    role: Role,

    /// A service account of the namespace, instead of whoever is logged in
    #[arg(long, value_name = "NAME")]
    service_account: Option<String>,

    /// Start the builder image once, as a Job
    #[arg(long)]
    pull: bool,

    /// How long the image may take to start, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300, requires = "pull")]
    timeout: u64,
}

fn role(text: &str) -> Result<Role, String> {
    let found = Role::ALL.into_iter().find(|role| role.as_str() == text);
    found.ok_or_else(|| format!("expected one of {}", Role::ALL.map(Role::as_str).join(", ")))
}

/// Runs the command.
pub(crate) async fn run(session: &Session, args: DeployArgs) -> Result<u8, Failure> {
    let DeployCommand::Check(args) = args.command;
    let site = session.site()?;
    let cluster = site.kubernetes().ok_or_else(|| {
        Failure::message(ErrorKind::User, "this instance's cluster is no Kubernetes: there is nothing to deploy")
            .with_hint("set openshift_url = https://HOST[:PORT] or kubeconfig in osbs.conf, or name another --instance")
    })?;
    let config = reactor_config(site).await?;
    let findings = cluster.check(&wanted(site, &args, &config)?).await.map_err(|e| e.to_failure())?;
    let lacks = findings.iter().filter(|finding| finding.standing == Standing::Lacks).count();
    let unknown = findings.iter().filter(|finding| finding.standing == Standing::Unknown).count();
    if session.wants_json() {
        let list: Vec<_> = findings.iter().map(as_json).collect();
        session.print_json(&json!({"complete": lacks == 0, "role": args.role.as_str(), "findings": list}));
    } else {
        let mut table = Table::new(["CHECK", "WHAT", "STATE", "WHY"]);
        for finding in &findings {
            let row = [finding.kind, &finding.subject, word(finding.standing), &finding.detail];
            table.row(row.map(str::to_owned).to_vec());
        }
        session.print_table(&table);
        session.note(&summary(lacks, unknown, &args));
    }
    Ok(if lacks == 0 { 0 } else { ErrorKind::Policy.exit_code() })
}

fn summary(lacks: usize, unknown: usize, args: &CheckArgs) -> String {
    let may_be = if unknown == 0 { String::new() } else { format!("; {unknown} could not be looked at") };
    match lacks {
        0 => format!("nothing lacks that was looked at{may_be}"),
        _ => format!(
            "{lacks} lack{may_be}. deploy/bases/{} grants the permissions; docs/kubernetes.md tells of the rest",
            args.role.as_str()
        ),
    }
}

fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Has => "ok",
        Standing::Lacks => "LACKS",
        Standing::Unknown => "unknown",
    }
}

fn as_json(finding: &Finding) -> serde_json::Value {
    let state = match finding.standing {
        Standing::Has => "ok",
        Standing::Lacks => "lacks",
        Standing::Unknown => "unknown",
    };
    json!({"check": finding.kind, "what": finding.subject, "state": state, "why": finding.detail})
}

/// The configuration that builds get: the cluster's, where the instance names one there and it can be read, else the site's.
async fn reactor_config(site: &Site) -> Result<ReactorConfig, Failure> {
    const KEY: &str = "config.yaml";
    let (instance, cluster, source) = (site.instance(), site.cluster(), site.reactor_config());
    let there = match (&instance.reactor_config_map, &instance.reactor_config_secret) {
        (Some(name), _) => cluster.get_config_map(name).await.ok().and_then(|mut map| map.remove(KEY)),
        (None, Some(name)) => {
            let data = cluster.get_secret(name).await.ok();
            data.and_then(|data| String::from_utf8(data.reveal(KEY)?.to_vec()).ok())
        }
        (None, None) => None,
    };
    let (text, name) = match &there {
        Some(text) => (text, KEY.to_owned()),
        None => (&source.text, source.name()),
    };
    Ok(ReactorConfig::parse(text, &name).map_err(|e| config_failed(&e))?.value)
}

/// What the configuration names.
fn wanted(site: &Site, args: &CheckArgs, config: &ReactorConfig) -> Result<Wanted, Failure> {
    let instance = site.instance();
    let mut secrets: Vec<(String, String)> = Vec::new();
    let mut name = |secret: &str, by: &str| {
        if !secrets.iter().any(|(known, _)| known == secret) {
            secrets.push((secret.to_owned(), by.to_owned()));
        }
    };
    let keys = [
        ("reactor_config_secret", &instance.reactor_config_secret),
        ("client_config_secret", &instance.client_config_secret),
        ("koji_certs_secret", &instance.koji_certs_secret),
        ("pulp_secret", &instance.pulp_secret),
    ];
    for (key, value) in keys {
        if let Some(secret) = value {
            name(secret, key);
        }
    }
    for token in &instance.token_secrets {
        name(&token.secret, "token_secrets");
    }
    let of_workers: &[String] = if instance.can_orchestrate { &config.worker_token_secrets } else { &[] };
    for (by, secrets) in [
        ("image_pull_secrets", &instance.pods.image_pull_secrets[..]),
        ("required_secrets", &config.required_secrets),
        ("worker_token_secrets", of_workers),
    ] {
        for secret in secrets {
            name(secret, by);
        }
    }
    let config_maps =
        instance.reactor_config_map.iter().map(|map| (map.clone(), "reactor_config_map".to_owned())).collect();
    let classes = [
        ("priority_class_name", &instance.pods.priority_class_name),
        ("low_priority_class_name", &instance.pods.low_priority_class_name),
    ];
    let classes = classes.iter().filter_map(|(key, value)| Some(((*value).clone()?, (*key).to_owned())));
    let image = builder_image(site);
    if args.pull && image.is_none() {
        return Err(Failure::message(ErrorKind::Policy, "osbs.conf names no builder image")
            .with_hint("set build_image; osbs create-build-image makes one"));
    }
    Ok(Wanted {
        role: Some(args.role),
        service_account: args.service_account.clone(),
        secrets,
        config_maps,
        nodes: nodes(site, config),
        priority_classes: classes.collect(),
        image: image.filter(|_| args.pull).map(|image| (image, Duration::from_secs(args.timeout))),
    })
}

fn builder_image(site: &Site) -> Option<String> {
    site.instance().build_from.as_ref().map(|from| match from {
        osbs_config::BuildFrom::Image(image) | osbs_config::BuildFrom::ImageStream(image) => image.clone(),
    })
}

/// Platforms that this instance has a selector for, or that the site's configuration builds at it.
fn nodes(site: &Site, config: &ReactorConfig) -> Vec<(String, std::collections::BTreeMap<String, String>)> {
    let instance = site.instance();
    let here = |platform: &Platform| {
        config.enabled_clusters(platform).iter().any(|cluster| cluster.name == site.settings().instance())
    };
    let configured = config.enabled_platforms().into_iter().filter(here).map(|platform| platform.to_string());
    let platforms: BTreeSet<String> = configured.chain(instance.node_selectors.keys().cloned()).collect();
    let selector = |name: &String| instance.node_selectors.get(name).cloned().unwrap_or_default();
    platforms.into_iter().map(|name| (name.clone(), selector(&name))).collect()
}
