//! `koji_parent`: every parent image must be a build that Koji knows, and the very same image (`reactor.md` 3.1.11, M31).

mod digests;

use crate::koji::{KojiArgs, KojiSite, with_koji_arguments};
use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::registries::refused;
use crate::run::Run;
use async_trait::async_trait;
use digests::{Compared, Registered, compare};
use osbs_dockerfile::{LabelMap, find_label, is_custom_base_image};
use osbs_image::{Index, Limits};
use osbs_koji::{Build, BuildInfo, BuildState};
use osbs_registry::inspect;
use osbs_types::{Nvr, Phase, PullSpec};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Seconds between two looks at a build that is not there yet, and until it must be.
const EVERY: f64 = 10.0;
const LIMIT: f64 = 600.0;

/// The plugin's type.
pub fn plugin() -> PluginType {
    let kind = PluginType::new("koji_parent", &[Phase::Prebuild], |args| Ok(Box::new(args.parse::<KojiParent>()?)))
        .purpose("Finds the Koji builds of the parent images, and refuses a parent that is not what Koji has.")
        .argument("poll_interval", "seconds between two looks for a build that is not there yet; 10 unless said")
        .argument("poll_timeout", "seconds until it must be there; 600 unless said")
        .argument("koji_hub", "XML-RPC URL of the hub, where config.yaml has no `koji`");
    with_koji_arguments(kind)
        .reads(&[
            "the parents and their digests by `pull_base_image`; their labels in the registry",
            "config.yaml: koji, skip_koji_check_for_base_image, deep_manifest_list_inspection, fail_on_digest_mismatch",
        ])
        .writes(&["the builds of the parents, for the metadata of `koji_import` and `koji_promote`"])
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct KojiParent {
    poll_interval: Option<f64>,
    poll_timeout: Option<f64>,
    #[serde(flatten)]
    koji: KojiArgs,
}

#[async_trait]
impl Plugin for KojiParent {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let koji = run.needed_koji(&self.koji).await?;
        let parents: Vec<_> =
            run.parents.images.iter().filter(|(name, _)| !is_custom_base_image(name)).map(owned).collect();
        let (mut builds, mut base, mut mismatches) = (Map::new(), None, Vec::new());
        for (written, usable) in parents {
            let Some(nvr) = nvr(run, &written, usable.as_deref()).await? else {
                unknown(run, &written)?;
                builds.insert(written, Value::Null);
                continue;
            };
            let build = self.complete(run, &koji, &written, &nvr).await?;
            run.log().info(format!("parent {written} is Koji's build {nvr}, number {}", build.id));
            if let Some(why) = mismatch(run, &koji, &written, usable.as_deref(), &build).await? {
                mismatches.push(format!("{written}: {why}"));
            }
            let told = json!({"id": build.id, "nvr": build.nvr});
            if run.parents.original_base_image.as_deref() == Some(&written) {
                base = Some(told.clone());
            }
            builds.insert(written, told);
        }
        judge(run, &mismatches)?;
        let mut result = Map::new();
        result.extend(base.map(|build| ("parent-image-koji-build".to_owned(), build)));
        if !builds.is_empty() {
            result.insert("parent-images-koji-builds".to_owned(), Value::Object(builds));
        }
        Ok(if result.is_empty() { Done::nothing() } else { Done::Value(Value::Object(result)) })
    }
}

fn owned((name, usable): (&String, &Option<String>)) -> (String, Option<String>) {
    (name.clone(), usable.clone())
}

/// What a parent calls itself, by its labels; `None`: it does not say.
async fn nvr(run: &Run, written: &str, usable: Option<&str>) -> Result<Option<Nvr>, PluginError> {
    let is_base = run.parents.original_base_image.as_deref() == Some(written);
    let labels: LabelMap = if let Some(inspect) = run.parents.base_inspect.as_ref().filter(|_| is_base) {
        inspect.labels.clone().into_iter().collect()
    } else {
        let spec = spec_of(written, usable)?;
        let registry = run.source_registry(&spec, None, false).await?;
        let found = inspect(&registry, &spec, None).await.map_err(|error| refused(error, "read from"))?;
        found.config.config.labels.into_iter().collect()
    };
    let value = |name: &str| find_label(&labels, name).map(|(_, value)| value);
    let (Some(name), Some(version), Some(release)) =
        (value("com.redhat.component"), value("version"), value("release"))
    else {
        return Ok(None);
    };
    Ok(Nvr::new(name, version, release).ok())
}

fn spec_of(written: &str, usable: Option<&str>) -> Result<PullSpec, PluginError> {
    let name = usable.unwrap_or(written);
    name.parse().map_err(|error| PluginError::user(format!("parent image: {error}")))
}

/// A parent that names no build: an error, unless the site lets it pass.
fn unknown(run: &Run, written: &str) -> Result<(), PluginError> {
    let text =
        format!("parent {written} has no labels com.redhat.component, version and release: was it built in OSBS?");
    if run.site_config().skip_koji_check_for_base_image {
        run.log().warning(text);
        return Ok(());
    }
    let hint =
        "use a parent that was built in OSBS; a site can allow others: skip_koji_check_for_base_image in config.yaml";
    Err(PluginError::user(text).with_hint(hint))
}

impl KojiParent {
    /// The finished build of that name; one that is being imported is waited for.
    async fn complete(&self, run: &Run, koji: &KojiSite, written: &str, nvr: &Nvr) -> Result<Build, PluginError> {
        let seconds = |said: Option<f64>, usual| Duration::from_secs_f64(said.unwrap_or(usual).clamp(0.01, 1e7));
        let (every, limit) = (seconds(self.poll_interval, EVERY), seconds(self.poll_timeout, LIMIT));
        let (started, mut told) = (Instant::now(), false);
        let hint = "build the parent first, or use one that is in Koji";
        loop {
            let named = BuildInfo::Parts { name: nvr.name(), version: nvr.version(), release: nvr.release() };
            let why = match koji.build(named).await? {
                Some(build) if build.state == BuildState::Complete => return Ok(build),
                Some(build) if build.state != BuildState::Building => {
                    let text = format!("Koji's build {nvr} of parent {written} is {}", build.state);
                    return Err(PluginError::user(text).with_hint(hint));
                }
                Some(_) => "is not finished",
                None => "is not there",
            };
            if started.elapsed() + every > limit {
                let text = format!("Koji's build {nvr} of parent {written} {why} after {} s", limit.as_secs());
                return Err(PluginError::user(text).with_hint(hint));
            }
            if !std::mem::replace(&mut told, true) {
                run.log().info(format!("Koji's build {nvr} of parent {written} {why} yet: waiting"));
            }
            tokio::time::sleep(every).await;
        }
    }
}

/// Why the parent is not the image that Koji has; `None`: it is.
async fn mismatch(
    run: &Run,
    koji: &KojiSite,
    written: &str,
    usable: Option<&str>,
    build: &Build,
) -> Result<Option<String>, PluginError> {
    let spec = spec_of(written, usable)?;
    let Some((media_type, digest)) = captured(run, written, &spec) else {
        run.log().warning(format!("the digest of parent {written} is not known: it is not compared with Koji's"));
        return Ok(None);
    };
    let registered = Registered::of(&build.extra.to_json(), &koji.archives(build.id, "image").await?);
    let deep = run.site_config().deep_manifest_list_inspection;
    match compare(&registered, &media_type, &digest, deep) {
        Compared::Same => Ok(None),
        Compared::Different(why) => Ok(Some(why)),
        Compared::LookInside(expected) => {
            let members = members(run, &spec, &digest).await?;
            if members == expected {
                run.log().info(format!("the index of {written} is another than Koji's, its images are the same"));
                return Ok(None);
            }
            Ok(Some(format!("its images are {}, in Koji {}", listed(&members), listed(&expected))))
        }
    }
}

/// Media type and digest that were captured of a parent, the index's preferred.
fn captured(run: &Run, written: &str, spec: &PullSpec) -> Option<(String, String)> {
    let of_tag = written.parse::<PullSpec>().ok().and_then(|written| {
        let tag = written.tag()?.to_owned();
        spec.with_tag(&tag).ok()
    });
    let keys = [of_tag.map(|spec| spec.to_string()), Some(spec.to_string())];
    let found = keys.into_iter().flatten().find_map(|key| run.parents.digests.get(&key))?;
    let index = found.iter().find(|(media_type, _)| osbs_image::media_type::is_index(media_type));
    let (media_type, digest) = index.or_else(|| found.iter().next())?;
    Some((media_type.clone(), digest.to_string()))
}

/// Architecture -> digest of the images in an index.
async fn members(run: &Run, spec: &PullSpec, digest: &str) -> Result<BTreeMap<String, String>, PluginError> {
    let wrong = |error: osbs_types::DigestError| PluginError::internal(error.to_string());
    let pinned = spec.with_digest(digest.parse().map_err(wrong)?);
    let registry = run.source_registry(&pinned, None, false).await?;
    let found = registry.manifest(pinned.repository(), &pinned.reference()).await;
    let found = found.map_err(|error| refused(error, "read from"))?;
    let index = Index::parse(&found.bytes, &found.descriptor.media_type, digest, &Limits::default())?;
    let member = |entry: &osbs_image::Descriptor| {
        Some((entry.platform.as_ref()?.architecture.clone(), entry.digest.to_string()))
    };
    Ok(index.manifests.iter().filter_map(member).collect())
}

fn listed(images: &BTreeMap<String, String>) -> String {
    let all: Vec<_> = images.iter().map(|(architecture, digest)| format!("{architecture} {digest}")).collect();
    if all.is_empty() { "not known".to_owned() } else { all.join(", ") }
}

fn judge(run: &Run, mismatches: &[String]) -> Result<(), PluginError> {
    if mismatches.is_empty() {
        return Ok(());
    }
    let text = format!("parent images are not those of their Koji builds: {}", mismatches.join("; "));
    if run.site_config().fail_on_digest_mismatch {
        return Err(PluginError::user(text).with_hint("the parent must be rebuilt, or its tag moved back"));
    }
    run.log().warning(text);
    Ok(())
}
