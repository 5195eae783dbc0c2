//! `pulp_sync`: Pulp fetches the image out of the registry it was pushed to, into its container repository (`reactor.md`
//! 3.4.7, O10).
//!
//! Clients see nothing of it before it is published. Only the tags of this build are fetched, and each must then stand for
//! the digest that was pushed.

use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::pulp::{PulpArgs, PulpRepository, PulpSite, TaskLog};
use crate::run::Run;
use async_trait::async_trait;
use osbs_config::RegistryUri;
use osbs_pulp::{Remote, Repository};
use osbs_registry::Credentials;
use osbs_types::{Digest, Phase, PullSpec, Secret};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;

/// Another build of the same repository may change the remote between our change and our synchronisation.
const ROUNDS: u32 = 3;

/// The plugin.
pub fn plugin() -> PluginType {
    PluginType::new("pulp_sync", &[Phase::Postbuild], |args| Ok(Box::new(args.parse::<PulpSync>()?)))
        .purpose("Lets Pulp fetch the pushed image from the registry into its container repository.")
        .argument("pulp_registry_name", "URL of Pulp 3, without `pulp` in config.yaml")
        .argument("pulp_secret_path", "folder with pulp.cer and pulp.key, or with username and password")
        .argument("username", "name to log in to Pulp with, preferred to the folder")
        .argument("password", "its password")
        .argument("docker_registry", "where Pulp reaches the registry; the first of `registries` by default")
        .argument("registry_secret_path", "folder with .dockercfg or .dockerconfigjson of that registry")
        .argument("insecure_registry", "Pulp does not verify that registry's certificate; false by default")
        .argument("pulp_repo_prefix", "put before the names of Pulp's repositories; nothing by default")
        .argument("publish", "show the image to clients at once; true by default")
        .accepts(&["dockpulp_loglevel"])
        .reads(&[
            "`pulp` and `registries` of config.yaml",
            "names of the image that do not move",
            "digests that were pushed",
        ])
        .writes(&[
            "remotes and container repositories in Pulp, named in the annotation pulp-repositories",
            "what pulp_publish publishes",
            "names that push_floating_tags moves at the end",
        ])
}

#[derive(Deserialize)]
#[serde(default)]
struct PulpSync {
    #[serde(flatten)]
    pulp: PulpArgs,
    docker_registry: Option<String>,
    registry_secret_path: Option<String>,
    insecure_registry: bool,
    publish: bool,
}

impl Default for PulpSync {
    fn default() -> Self {
        Self {
            pulp: PulpArgs::default(),
            docker_registry: None,
            registry_secret_path: None,
            insecure_registry: false,
            publish: true,
        }
    }
}

/// The registry, as Pulp reaches it.
struct Source {
    uri: RegistryUri,
    tls_validation: bool,
    ca_cert: Option<String>,
    credentials: Option<Credentials>,
    /// Its host in our records.
    host: String,
}

#[async_trait]
impl Plugin for PulpSync {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let repositories = run.tags_by_repository();
        if repositories.is_empty() {
            return Err(PluginError::internal("the image has no names: no plugin before pulp_sync gave any"));
        }
        let site = run.pulp(&self.pulp).await?;
        let source = self.source(run).await?;
        let ids: Vec<_> = repositories.keys().map(|repository| site.repository_id(repository)).collect();
        run.announce_in_pulp(&site, &ids).await?;
        let mut names = Vec::new();
        for (repository, tags) in &repositories {
            match bring(run, &site, &source, repository, tags).await {
                Ok(brought) => run.pulp.push(brought),
                Err(error) => {
                    // Where no pulp_publish follows, nobody else does it.
                    if self.publish {
                        site.withdraw(run).await;
                    }
                    return Err(error);
                }
            }
            names.extend(tags.iter().map(|tag| format!("{}/{repository}:{tag}", site.registry.host)));
        }
        if self.publish {
            names = site.publish(run).await?;
        }
        Ok(Done::Value(json!(names)))
    }

    fn ends_itself_when_cancelled(&self) -> bool {
        true
    }
}

impl PulpSync {
    async fn source(&self, run: &Run) -> Result<Source, PluginError> {
        let config = run.config.pulp.as_ref();
        let said = match &self.docker_registry {
            Some(text) => Some(text.parse::<RegistryUri>().map_err(|error| PluginError::policy(format!("{error}")))?),
            None => None,
        };
        let uri = config.and_then(|config| config.sync_from.clone());
        let first = run.config.registries.first().map(|entry| entry.uri.clone());
        let uri = uri.or(first).or(said).ok_or_else(|| {
            PluginError::policy("there is no registry that Pulp could fetch the image from")
                .with_hint("add `registries` to config.yaml")
        })?;
        let access = run.access_of_first_registry(&uri.host);
        let (insecure, host) = match &access {
            Some(access) => (access.insecure, access.uri.host.clone()),
            None => (self.insecure_registry, uri.host.clone()),
        };
        let secret = access.as_ref().and_then(|access| access.credentials).or(self.registry_secret_path.as_deref());
        let credentials = match secret {
            Some(path) => Some(Credentials::read(&run.secret_path(path).await?)?),
            None => None,
        };
        let own_ca = access.as_ref().and_then(|access| access.ca_file);
        let ca_file = config.and_then(|config| config.sync_ca_file.as_deref()).or(own_ca);
        let ca_cert = match ca_file {
            Some(path) => Some(run.pem(path).await?),
            None => None,
        };
        Ok(Source { tls_validation: !insecure && !uri.is_plain_http(), uri, ca_cert, credentials, host })
    }
}

impl Source {
    fn login(&self, repository: &str) -> Option<(String, Secret)> {
        let login = self.credentials.as_ref()?.find(&self.host, repository)?;
        Some((login.user.clone(), login.password.clone()))
    }
}

/// One repository: remote, synchronisation, and a look at what came of it.
async fn bring(
    run: &Run,
    site: &PulpSite,
    source: &Source,
    repository: &str,
    tags: &[String],
) -> Result<PulpRepository, PluginError> {
    let name = site.repository_id(repository);
    let remote = Remote {
        name: name.clone(),
        url: source.uri.uri(),
        upstream_name: repository.to_owned(),
        include_tags: tags.to_vec(),
        tls_validation: source.tls_validation,
        ca_cert: source.ca_cert.clone(),
        login: source.login(repository),
    };
    let mut brought: Option<PulpRepository> = None;
    for round in 1.. {
        let there = site.client.repository(&name).await?;
        let brought = brought.get_or_insert_with(|| PulpRepository::new(&there, repository, false));
        let synced = sync(run, site, &there, &remote).await;
        let (version, found) = match synced {
            Ok(synced) => synced,
            Err(error) => {
                site.remove_versions(run, &brought.made).await;
                return Err(error);
            }
        };
        brought.advance(version, &there.latest_version);
        let problem = compare(run, source, repository, tags, &found);
        match problem {
            None => {
                run.log().info(format!("{repository} is in Pulp, unpublished: {}", brought.version));
                brought.tags = found.into_iter().map(|(tag, digest)| (tag, Some(digest))).collect();
                brought.waiting = run.waiting_tags(repository);
                return Ok(brought.clone());
            }
            Some(problem) if round < ROUNDS => run.log().warning(format!("{problem}; once more")),
            Some(problem) => {
                site.remove_versions(run, &brought.made).await;
                let hint = "does Pulp reach the same registry at `pulp.sync_from` as this build at `registries`?";
                return Err(PluginError::remote(problem).with_hint(hint));
            }
        }
    }
    Err(PluginError::internal("rounds without end"))
}

async fn sync(
    run: &Run,
    site: &PulpSite,
    repository: &Repository,
    remote: &Remote,
) -> Result<(osbs_pulp::Href, BTreeMap<String, Digest>), PluginError> {
    let progress = TaskLog::of(run);
    let wait = site.wait(run, &progress);
    let href = site.client.put_remote(remote, &wait).await?;
    let version = site.client.sync(repository, &href, &wait).await?;
    let found = site.client.tags(&version, &remote.include_tags).await?;
    Ok((version, found))
}

/// What is wrong with what Pulp took: a name that is not there, or stands for something else.
fn compare(
    run: &Run,
    source: &Source,
    repository: &str,
    tags: &[String],
    found: &BTreeMap<String, Digest>,
) -> Option<String> {
    for tag in tags {
        let Some(digest) = found.get(tag) else {
            return Some(format!("Pulp found no {repository}:{tag} at {}", source.uri.host));
        };
        let name: PullSpec = format!("{repository}:{tag}").parse().ok()?;
        let pushed = run.pushed_digest(&source.host, &name);
        if let Some(pushed) = pushed.filter(|pushed| pushed != digest) {
            return Some(format!("Pulp took {digest} as {repository}:{tag}, but {pushed} was pushed"));
        }
    }
    None
}
