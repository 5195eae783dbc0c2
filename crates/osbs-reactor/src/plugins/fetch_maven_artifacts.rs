//! `fetch_maven_artifacts`: files that are no RPMs, downloaded beside the Dockerfile and verified (`reactor.md` 3.1.18, 6.3
//! X2 and X3).
//!
//! Works without Koji as long as the repository asks for nothing out of Koji: only `fetch-artifacts-koji.yaml` needs a
//! hub (`koji.rs`). Nothing is downloaded before every request was found to be one that may be.

mod error;
mod koji;
mod verify;

pub(crate) use verify::hex;

use crate::fetching::{limits, transport};
use crate::koji::{KojiArgs, with_koji_arguments};
use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::run::Run;
use async_trait::async_trait;
use error::ArtifactError;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use osbs_config::{KojiArtifacts, UrlArtifact, parse_koji_artifacts, parse_url_artifacts};
use osbs_fetch::{AllowedUrls, Download, FetchError, FetchLimits, shown_url};
use osbs_http::{AddressRule, Transport, Url};
use osbs_sandbox::rooted::{Owner, Root};
use osbs_types::Phase;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// Builds of Koji.
const KOJI_FILE: &str = "fetch-artifacts-koji.yaml";
/// URLs.
const URL_FILE: &str = "fetch-artifacts-url.yaml";
/// Where they go, beside the Dockerfile.
const FOLDER: &str = "artifacts";
/// Downloads at a time.
const PARALLEL: usize = 4;

/// The plugin's type.
pub fn plugin() -> PluginType {
    let kind = PluginType::new("fetch_maven_artifacts", &[Phase::Prebuild], |args| {
        Ok(Box::new(args.parse::<Artifacts>()?))
    })
    .purpose(
        "Downloads the files that the repository names, by URL or as archives of Koji builds, verifies them and puts \
              them into artifacts/.",
    )
    .argument(
        "allowed_domains",
        "list of host[:port][/path] that URLs may begin with; used where the configuration has none. Default: any",
    )
    .argument("koji_hub", "XML-RPC URL of the hub, where config.yaml has no `koji`")
    .argument("koji_root", "URL of the hub's files, where config.yaml has no `koji`");
    with_koji_arguments(kind)
        .reads(&[
            "fetch-artifacts-url.yaml and fetch-artifacts-koji.yaml beside the Dockerfile",
            "config.yaml: artifacts_allowed_domains, fetch; koji, where the repository names builds",
        ])
        .writes(&["the files, in artifacts/ beside the Dockerfile"])
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Artifacts {
    allowed_domains: Option<Vec<String>>,
    #[serde(flatten)]
    koji: KojiArgs,
}

#[async_trait]
impl Plugin for Artifacts {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let source = run.source()?;
        let koji = source.read_beside(KOJI_FILE)?.unwrap_or_default();
        let koji = parse_koji_artifacts(&koji, KOJI_FILE)?;
        let urls = source.read_beside(URL_FILE)?.unwrap_or_default();
        let urls = parse_url_artifacts(&urls, URL_FILE)?;
        if koji.is_empty() && urls.is_empty() {
            return Ok(Done::Skipped("the repository asks for no artifacts".to_owned()));
        }
        let of_koji = self.of_koji(run, &koji).await?;
        let allowed = self.allowed(run)?;
        check_urls(&urls, &allowed)?;
        check_targets(&of_koji, &urls)?;
        let job = Job {
            transport: transport(run),
            limits: limits(run),
            // A list names the hosts itself; without one, they are strangers' choice.
            addresses: if allowed.is_empty() { AddressRule::PublicOnly } else { AddressRule::Any },
            allowed,
            folder: Arc::new(artifacts_folder(run)?),
        };
        // Where Koji's files are is said by the site, not by the repository.
        let koji_job = Job { addresses: AddressRule::Any, allowed: AllowedUrls::default(), ..job.clone() };
        run.log().info(format!("{} artifacts to download", of_koji.len() + urls.len()));
        let mut downloads = Vec::with_capacity(of_koji.len() + urls.len());
        for (job, artifacts) in [(&koji_job, &of_koji), (&job, &urls)] {
            downloads.extend(artifacts.iter().map(|artifact| job.fetch(run, artifact)));
        }
        stream::iter(downloads).buffer_unordered(PARALLEL).try_collect::<Vec<()>>().await?;
        Ok(Done::Value(of_koji.iter().chain(&urls).map(told).collect()))
    }
}

impl Artifacts {
    /// What the repository wants out of Koji. Nobody logs in where it wants nothing.
    async fn of_koji(&self, run: &Run, builds: &[KojiArtifacts]) -> Result<Vec<UrlArtifact>, PluginError> {
        let Some(first) = builds.first() else { return Ok(Vec::new()) };
        if let Some(site) = run.koji(&self.koji).await? {
            return koji::requests(&site, builds).await;
        }
        let position = first.position.clone();
        let builds = builds.iter().map(|build| build.nvr.as_str()).collect::<Vec<_>>().join(", ");
        Err(ArtifactError::NoKoji { builds, position }.into())
    }

    fn allowed(&self, run: &Run) -> Result<AllowedUrls, PluginError> {
        let configured = &run.config.artifacts_allowed_domains;
        let entries =
            if configured.is_empty() { self.allowed_domains.as_deref().unwrap_or_default() } else { configured };
        AllowedUrls::parse(entries).map_err(|error| ArtifactError::AllowedDomains { source: error }.into())
    }
}

/// Two files of one name: one would be the other's.
fn check_targets(of_koji: &[UrlArtifact], urls: &[UrlArtifact]) -> Result<(), PluginError> {
    let mut seen = BTreeSet::new();
    let twice = of_koji.iter().chain(urls).find(|artifact| !seen.insert(artifact.target.as_str()));
    match twice {
        None => Ok(()),
        Some(artifact) => {
            let text = format!("artifacts/{} is named twice", artifact.target);
            Err(PluginError::user(text).at(artifact.position.clone()))
        }
    }
}

/// All that cannot be fetched, in one error.
fn check_urls(artifacts: &[UrlArtifact], allowed: &AllowedUrls) -> Result<(), ArtifactError> {
    let mut refused = Vec::new();
    for artifact in artifacts {
        let problem = match Url::parse(&artifact.url) {
            Ok(url) if !matches!(url.scheme(), "http" | "https") => "only http and https are fetched",
            Ok(url) if url.has_host() && allowed.allows(&url) => continue,
            Ok(url) if url.has_host() => "this site does not allow it",
            _ => "it is not a URL",
        };
        refused.push((artifact.position.clone(), format!("{}: {problem}", shown_url(&artifact.url))));
    }
    if refused.is_empty() { Ok(()) } else { Err(ArtifactError::Urls { refused, allowed: allowed.to_string() }) }
}

/// The folder for artifacts, made if it is not there. A link in its place could put files anywhere else in the clone.
fn artifacts_folder(run: &Run) -> Result<Root, PluginError> {
    let beside = Root::open(run.source()?.dockerfile_dir())?;
    let path = Path::new(FOLDER);
    match beside.lstat(path)? {
        Some(node) if !node.is_dir() => return Err(ArtifactError::Folder { found: node.kind.as_str() }.into()),
        Some(_) => {}
        None => drop(beside.mkdir_all(path, 0o755, Owner { uid: 0, gid: 0 })?),
    }
    Ok(beside.subroot(path)?)
}

/// What all downloads share.
#[derive(Clone)]
struct Job {
    transport: Transport,
    limits: FetchLimits,
    addresses: AddressRule,
    allowed: AllowedUrls,
    folder: Arc<Root>,
}

impl Job {
    async fn fetch(&self, run: &Run, artifact: &UrlArtifact) -> Result<(), PluginError> {
        let target = Path::new(&artifact.target);
        if let Some(parent) = target.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.folder.mkdir_all(parent, 0o755, Owner { uid: 0, gid: 0 })?;
        }
        let mut file = self.folder.create_file(target, 0o644)?;
        let meter = run.log().meter(format!("artifact {}", artifact.target));
        let download = Download {
            transport: &self.transport,
            limits: self.limits,
            addresses: self.addresses,
            urls: self.allowed.rule(),
            progress: &|done, total| meter.tell(done, total),
        };
        download.run(&artifact.url, &mut file).await.map_err(|error| self.failed(artifact, error))?;
        drop(file);
        let (folder, path, wanted) = (Arc::clone(&self.folder), target.to_owned(), artifact.checksums.clone());
        let found = run.blocking(move |cancel| verify::checksums(&folder, &path, &wanted, cancel)).await?;
        found.check(artifact).inspect_err(|_| {
            // Nothing that failed its check may reach an image.
            let _ = self.folder.remove_tree(target);
        })?;
        run.log().info(format!(
            "artifact {}: {} bytes from {}",
            artifact.target,
            found.bytes,
            shown_url(&artifact.url)
        ));
        Ok(())
    }

    fn failed(&self, artifact: &UrlArtifact, source: FetchError) -> PluginError {
        if matches!(source, FetchError::Cancelled) {
            return PluginError::Cancelled;
        }
        let (target, position) = (artifact.target.clone(), artifact.position.clone());
        ArtifactError::Fetch { target, position, allowed: self.allowed.to_string(), source }.into()
    }
}

/// One entry of the result; the URL without what must not be seen.
fn told(artifact: &UrlArtifact) -> Value {
    let sums: Map<_, _> =
        verify::wanted(&artifact.checksums).map(|(name, sum)| (name.to_owned(), json!(sum))).collect();
    json!({"url": shown_url(&artifact.url), "target": artifact.target, "checksums": sums})
}

#[cfg(test)]
mod tests;
