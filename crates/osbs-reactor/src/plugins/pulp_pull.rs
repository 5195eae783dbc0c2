//! `pulp_pull`: waits until clients can pull the image from Pulp, and looks at what they would get (`reactor.md` 3.5.2, O2).
//!
//! Asks for one tag only, the unique one. Its digest must be that which was pushed, and its configuration, which comes out
//! of Pulp's content server like every layer, that of the image that was built.

use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::pulp::{PulpArgs, PulpSite};
use crate::run::{Run, TagClass};
use async_trait::async_trait;
use osbs_image::media_type::is_index;
use osbs_image::{Index, Limits};
use osbs_registry::{Registry, RegistryError, inspect};
use osbs_types::{Digest, ErrorKind, Failure, Phase, PullSpec};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Pause after the first look; later ones are longer, up to `retry_delay`.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The plugin.
pub fn plugin() -> PluginType {
    PluginType::new("pulp_pull", &[Phase::Postbuild, Phase::Exit], |args| Ok(Box::new(args.parse::<PulpPull>()?)))
        .purpose("Waits until Pulp's registry serves the image, and verifies its digest and image id there.")
        .argument("timeout", "seconds to wait; `pulp.timeout` of config.yaml by default, else 1200")
        .argument("retry_delay", "longest pause between two looks, in seconds; 30 by default")
        .argument("pulp_registry_name", "URL of Pulp 3, without `pulp` in config.yaml")
        .argument("pulp_secret_path", "folder with pulp.cer and pulp.key, or with username and password")
        .argument("username", "name to log in to Pulp with, preferred to the folder")
        .argument("password", "its password")
        .accepts(&["insecure", "secret", "expect_v2schema2", "pulp_repo_prefix", "dockpulp_loglevel"])
        .reads(&["`pulp` of config.yaml", "the first unique name", "digest and image id of this build and its workers"])
        .writes(&["the media types found, for the annotation media-types"])
}

#[derive(Deserialize)]
#[serde(default)]
struct PulpPull {
    #[serde(flatten)]
    pulp: PulpArgs,
    timeout: Option<u64>,
    retry_delay: u64,
}

impl Default for PulpPull {
    fn default() -> Self {
        Self { pulp: PulpArgs::default(), timeout: None, retry_delay: 30 }
    }
}

/// What clients must get.
struct Expected {
    digest: Option<Digest>,
    /// Image ids of this build; empty when not known.
    image_ids: BTreeSet<Digest>,
}

#[async_trait]
impl Plugin for PulpPull {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        if run.has_failed() {
            return Ok(Done::Value(json!([])));
        }
        let name = run.tags.class(TagClass::Unique).first().cloned();
        let name = name.ok_or_else(|| PluginError::internal("the image has no unique name to pull from Pulp"))?;
        if !run.pulp.iter().any(|brought| !brought.holds_archives) {
            return Err(PluginError::internal("this build has brought no image to Pulp that could be pulled from it"));
        }
        let site = run.pulp(&self.pulp).await?;
        let client = site.pull_client()?;
        let expected = expected(run, &name);
        let full = name.with_registry(Some(&site.registry.host)).with_explicit_tag();
        let types = self.wait(run, &site, &client, &full, &expected).await?;
        Ok(Done::Value(json!(types)))
    }
}

impl PulpPull {
    async fn wait(
        &self,
        run: &Run,
        site: &PulpSite,
        client: &Registry,
        name: &PullSpec,
        expected: &Expected,
    ) -> Result<BTreeSet<String>, PluginError> {
        let limit = self.timeout.map_or(site.limit, Duration::from_secs);
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            // A Pulp that never answers must not stretch the limit.
            let left = limit.saturating_sub(begun.elapsed()).max(FIRST_PAUSE);
            let looked = tokio::time::timeout(left, look(client, name, expected)).await;
            let problem = match looked {
                Ok(Ok(types)) => {
                    let waited = begun.elapsed().as_secs_f32();
                    run.log().info(format!("Pulp serves {name} as {} after {waited:.1} s", joined(&types)));
                    return Ok(types);
                }
                Ok(Err(Problem::Final(failure))) => return Err(PluginError::from(*failure)),
                Ok(Err(Problem::NotYet(failure))) => *failure,
                Err(_) => Failure::message(ErrorKind::Remote, "no answer in time"),
            };
            let (waited, limit_seconds) = (begun.elapsed().as_secs(), limit.as_secs());
            if begun.elapsed() >= limit {
                let text = format!("Pulp {} did not serve {name} within {limit_seconds} s", site.registry.host);
                let mut failure = Failure::message(ErrorKind::Remote, text).with_hint(hint(site).await);
                failure.causes.push(problem.message);
                failure.causes.extend(problem.causes);
                return Err(failure.into());
            }
            run.log().info(format!("waiting for {name}, {waited} of at most {limit_seconds} s: {problem}"));
            tokio::time::sleep(pause.min(limit.saturating_sub(begun.elapsed()))).await;
            pause = (pause * 2).min(Duration::from_secs(self.retry_delay.max(1)));
        }
    }
}

/// Who is missing, as Pulp itself sees it.
async fn hint(site: &PulpSite) -> String {
    const PATIENCE: Duration = Duration::from_secs(10);
    match tokio::time::timeout(PATIENCE, site.client.alive()).await {
        Ok(Ok((_, 0))) => "Pulp says that no content server of its is alive: start pulpcore-content".to_owned(),
        Ok(Ok(_)) => "do clients reach Pulp's registry and content server? `pulp.registry` and `pulp.timeout` in \
                      config.yaml say where and how long"
            .to_owned(),
        _ => "Pulp's API does not answer either: is it up?".to_owned(),
    }
}

enum Problem {
    /// It may come.
    NotYet(Box<Failure>),
    /// It will not.
    Final(Box<Failure>),
}

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Self {
        let failure = Box::new(Failure::new(error.kind(), &error));
        match error.kind() {
            // 403 as well: a private distribution that is being made (`reactor.md` 3.5.2).
            ErrorKind::Remote | ErrorKind::User => Self::NotYet(failure),
            _ if error.status() == Some(403) || matches!(error, RegistryError::NotFound { .. }) => {
                Self::NotYet(failure)
            }
            _ => Self::Final(failure),
        }
    }
}

/// One look: manifest or index by its tag, and the configurations of all its images.
async fn look(client: &Registry, name: &PullSpec, expected: &Expected) -> Result<BTreeSet<String>, Problem> {
    let named = client.manifest(name.repository(), &name.reference()).await?;
    let found = &named.descriptor;
    if let Some(digest) = expected.digest.as_ref().filter(|digest| **digest != found.digest) {
        let text = format!("it serves {}, but {digest} was pushed", found.digest);
        return Err(Problem::NotYet(Box::new(Failure::message(ErrorKind::Remote, text))));
    }
    let mut types = BTreeSet::from([found.media_type.clone()]);
    let mut members = vec![found.digest.clone()];
    if is_index(&found.media_type) {
        let index = Index::parse(&named.bytes, &found.media_type, found.digest.as_str(), &Limits::default());
        let index = index.map_err(|error| Problem::Final(Box::new(Failure::new(error.kind(), &error))))?;
        types.extend(index.manifests.iter().map(|member| member.media_type.clone()));
        members = index.manifests.into_iter().map(|member| member.digest).collect();
    }
    for digest in members {
        let member = format!("{}/{}@{digest}", client.host(), name.repository()).parse::<PullSpec>();
        let member = member
            .map_err(|error| Problem::Final(Box::new(Failure::message(ErrorKind::Internal, format!("{error}")))))?;
        let image_id = inspect(client, &member, None).await?.parsed.config.digest;
        if !expected.image_ids.is_empty() && !expected.image_ids.contains(&image_id) {
            let text = format!("{member} is the image {image_id}, which this build has not made");
            return Err(Problem::Final(Box::new(Failure::message(ErrorKind::Remote, text))));
        }
    }
    Ok(types)
}

/// Digests of what pulp_sync brought, and of what was built, here or by the workers.
fn expected(run: &Run, name: &PullSpec) -> Expected {
    let of_worker = |annotation: &String| {
        let text = serde_json::from_str::<Value>(annotation).ok();
        text.as_ref().and_then(Value::as_str).unwrap_or(annotation).parse::<Digest>().ok()
    };
    let annotations = run.workers.values().filter_map(|worker| worker.build.annotations.get("image-id"));
    let mut image_ids: BTreeSet<Digest> = annotations.filter_map(of_worker).collect();
    if image_ids.len() < run.workers.len() {
        // Of some worker it is not known: then any may be right.
        image_ids.clear();
    } else {
        image_ids.extend(run.image_id().cloned());
    }
    let brought = run.pulp.iter().find(|brought| !brought.holds_archives && brought.base_path == name.repository());
    let digest = brought.and_then(|brought| brought.tags.get(name.tag().unwrap_or("latest")).cloned().flatten());
    Expected { digest, image_ids }
}

fn joined(types: &BTreeSet<String>) -> String {
    types.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build_json::PluginLists;
    use crate::testing::{TestRun, run_without_source};
    use crate::{BuildResult, PluginError};

    async fn built() -> TestRun {
        let mut test = run_without_source(PluginLists::default()).await;
        test.run.build_result = Some(BuildResult::local(Digest::from_sha256(&[1; 32])));
        test
    }

    #[track_caller]
    fn check(done: Result<Done, PluginError>, expected: Result<Value, &str>) {
        match (done, expected) {
            (Ok(Done::Value(value)), Ok(expected)) => assert_eq!(value, expected),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (done, expected) => panic!("{done:?}, expected {expected:?}"),
        }
    }

    #[tokio::test]
    async fn nothing_to_pull() {
        let mut failed = run_without_source(PluginLists::default()).await;
        check(failed.plugin(&plugin(), json!({"insecure": true})).await, Ok(json!([])));
        let mut test = built().await;
        check(test.plugin(&plugin(), json!({})).await, Err("no unique name"));
        test.run.tags.add(TagClass::Unique, "ns/web:u".parse().unwrap());
        check(test.plugin(&plugin(), json!({})).await, Err("brought no image to Pulp"));
    }
}
