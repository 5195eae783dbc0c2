//! `tag_and_push`: sends the image to every registry under its names (`reactor.md` 3.4.4).
//!
//! Registries are served side by side. What is recorded of a registry is what was put there (M10, M11), as soon as it is
//! there: a failing registry takes nothing away from the record of another. Names that move wait for the end of the run.

use super::store_metadata_in_osv3::announce_pushes;
use crate::floating::FloatingName;
use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::push_targets::push_targets;
use crate::registries::{OutputRegistry, refused};
use crate::run::{Run, TagClass};
use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use osbs_image::{Store, StoredImage};
use osbs_registry::{Progress, RegistryError, push};
use osbs_types::{Failure, Phase, PullSpec, Reference};
use serde_json::Value;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio_util::sync::CancellationToken;

/// Largest manifest pushed: registries need not take more.
const MAX_MANIFEST: u64 = 4 << 20;

/// The plugin's type.
pub fn plugin() -> PluginType {
    PluginType::new("tag_and_push", &[Phase::Postbuild], |_| Ok(Box::new(TagAndPush)))
        .purpose("Pushes the built image to every registry under its names; names that move wait for the end of the build.")
        .argument(
            "registries",
            "registry to {insecure, secret}: where to push, where config.yaml has no `registries` (arrangements 1 to 5)",
        )
        .reads(&[
            "`registries` of config.yaml: url, insecure, auth.cfg_path, ca_file",
            "the built image in the store",
            "names that tag_by_labels and tag_from_config gave; without a unique one that of the build JSON",
        ])
        .writes(&[
            "the image in every registry, under its unique and primary names",
            "digests and image configuration per registry, for the annotations repositories and digests",
            "names that push_floating_tags moves at the end",
        ])
}

struct TagAndPush;

/// What is sent, for all registries the same.
struct Shared {
    store: Store,
    image: StoredImage,
    bytes: Arc<[u8]>,
    cancel: CancellationToken,
}

/// One manifest to be put.
struct Job {
    /// Without registry.
    name: PullSpec,
    /// `None`: under its digest only, so that a name which moves later finds it.
    named: bool,
    /// The blobs are brought into its repository first.
    with_blobs: bool,
}

/// The work for one registry.
struct Line {
    shared: Arc<Shared>,
    target: OutputRegistry,
    jobs: VecDeque<Job>,
    mount_from: Vec<String>,
    progress: Progress,
}

/// A manifest that is in a registry, or why it is not.
type Outcome = (String, Result<Job, RegistryError>);

#[async_trait]
impl Plugin for TagAndPush {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let facts = run.built.as_ref().ok_or_else(|| PluginError::internal("there is no built image to push"))?;
        let image = StoredImage::load(&run.services.store, &facts.manifest)?;
        if run.tags.class(TagClass::Unique).is_empty() {
            let name: PullSpec =
                run.request.image.parse().map_err(|e: osbs_types::PullSpecError| PluginError::user(e.to_string()))?;
            run.tags.add(TagClass::Unique, name.with_registry(None));
        }
        if let Some(name) = run.tags.all().find(|name| name.registry().is_some()) {
            return Err(PluginError::internal(format!("the name {name} names a registry already")));
        }
        let targets = push_targets(run).await?;
        if targets.is_empty() {
            let why = "no registry is configured: the image stays on this machine";
            run.log().warning(why);
            return Ok(Done::Skipped(why.to_owned()));
        }
        let bytes: Arc<[u8]> = run.services.store.read_small(&image.manifest, MAX_MANIFEST)?.into();
        let (store, cancel) = (run.services.store.clone(), run.cancel().clone());
        let shared = Arc::new(Shared { store, image, bytes, cancel });
        announce_pushes(run, &targets.iter().map(|target| &*target.host).collect::<Vec<_>>()).await?;
        let pushed = push_everywhere(run, &shared, &targets).await?;
        leave_for_the_end(run, &shared, &targets);
        run.facts.insert("pull_specs".into(), pushed.clone().into());
        Ok(Done::Value(pushed.into()))
    }
}

/// Pushes to all registries, each to its end whatever becomes of the others. Gives the names that are there.
async fn push_everywhere(
    run: &mut Run,
    shared: &Arc<Shared>,
    targets: &[OutputRegistry],
) -> Result<Vec<String>, PluginError> {
    let lines: Vec<BoxStream<'static, Outcome>> = targets.iter().map(|target| line(run, shared, target)).collect();
    let mut outcomes = stream::select_all(lines);
    let (mut pushed, mut errors) = (Vec::new(), Vec::new());
    while let Some((host, outcome)) = outcomes.next().await {
        match outcome {
            Ok(job) if job.named => pushed.push(record(run, shared, &host, &job.name)?),
            Ok(_) => {}
            Err(error) => errors.push((host, error)),
        }
    }
    // In the order of the configuration, not of the network.
    let place = |spec: &String| targets.iter().position(|target| spec.starts_with(&format!("{}/", target.host)));
    pushed.sort_by_key(place);
    if errors.is_empty() { Ok(pushed) } else { Err(not_everywhere(run, errors, targets.len())) }
}

/// The jobs for one registry, one after another; an error is the last outcome.
fn line(run: &Run, shared: &Arc<Shared>, target: &OutputRegistry) -> BoxStream<'static, Outcome> {
    let line = Line {
        shared: Arc::clone(shared),
        target: target.clone(),
        jobs: jobs(run),
        mount_from: mount_sources(run, target),
        progress: progress(run, target),
    };
    let next = |mut line: Line| async move {
        let job = line.jobs.pop_front()?;
        let host = line.target.host.clone();
        let outcome = match line.put(&job).await {
            Ok(()) => Ok(job),
            Err(error) => {
                line.jobs.clear();
                Err(error)
            }
        };
        Some(((host, outcome), line))
    };
    stream::unfold(line, next).boxed()
}

/// All names that do not move, in the order primary, unique, floating; then the repositories that only have names that do.
fn jobs(run: &Run) -> VecDeque<Job> {
    let mut seen = BTreeSet::new();
    let (waiting, now): (Vec<_>, Vec<_>) = run.tags.all().cloned().partition(|name| run.moves_last(name));
    let mut job = |name: PullSpec, named| {
        let with_blobs = seen.insert(name.repository().to_owned());
        (named || with_blobs).then_some(Job { name, named, with_blobs })
    };
    let mut jobs: VecDeque<_> = now.into_iter().filter_map(|name| job(name, true)).collect();
    jobs.extend(waiting.into_iter().filter_map(|name| job(name, false)));
    jobs
}

impl Line {
    async fn put(&self, job: &Job) -> Result<(), RegistryError> {
        let Shared { store, image, bytes, cancel } = &*self.shared;
        let reference = if job.named { job.name.reference() } else { Reference::Digest(image.manifest.digest.clone()) };
        let (client, repository) = (&self.target.client, job.name.repository());
        if job.with_blobs {
            let progress = self.progress.clone();
            push(client, store, image, repository, &reference, &self.mount_from, cancel, progress).await?;
        } else {
            client.put_manifest(repository, &reference, &image.manifest.media_type, bytes).await?;
        }
        Ok(())
    }
}

/// Remembers a name that is in a registry.
fn record(run: &mut Run, shared: &Shared, host: &str, name: &PullSpec) -> Result<String, PluginError> {
    let manifest = &shared.image.manifest;
    let config = serde_json::to_value(&shared.image.image_config)
        .map_err(|error| PluginError::internal(format!("the image configuration does not serialise: {error}")))?;
    let registry = run.pushed_registry(host);
    registry.add(name, manifest);
    registry.config.get_or_insert(config);
    let full = name.with_registry(Some(host)).with_explicit_tag().to_string();
    run.log().info(format!("pushed {full}@{}", manifest.digest));
    run.facts.insert("digest".into(), Value::from(manifest.digest.to_string()));
    Ok(full)
}

/// Names that move: their manifest is in every registry now.
fn leave_for_the_end(run: &mut Run, shared: &Shared, targets: &[OutputRegistry]) {
    let waiting: Vec<_> = run.tags.all().filter(|name| run.moves_last(name)).cloned().collect();
    for target in targets {
        run.floating.extend(waiting.iter().map(|name| FloatingName {
            registry: target.client.clone(),
            name: name.clone(),
            manifest: shared.image.manifest.clone(),
            bytes: Arc::clone(&shared.bytes),
        }));
    }
}

/// One error, or several under one line; what did arrive elsewhere stays recorded.
fn not_everywhere(run: &Run, mut errors: Vec<(String, RegistryError)>, targets: usize) -> PluginError {
    let arrived: Vec<_> = run.pushed.iter().map(|registry| registry.host.as_str()).collect();
    if !arrived.is_empty() {
        run.log().warning(format!("the image was pushed to {}; the build's record says so", arrived.join(", ")));
    }
    let (_, first) = errors.remove(0);
    let mut failure = refused(first, "push to").into_failure();
    if !errors.is_empty() {
        let causes = std::mem::take(&mut failure.causes);
        let told = std::mem::replace(
            &mut failure.message,
            format!("the image could not be pushed to {} of {targets} registries", errors.len() + 1),
        );
        failure.causes = [told].into_iter().chain(causes).collect();
        for (_, error) in &errors {
            let Failure { message, causes, .. } = Failure::new(error.kind(), error);
            failure.causes.push(message);
            failure.causes.extend(causes);
        }
    }
    failure.into()
}

/// Repositories of that registry which hold the parents' layers: those need not be sent again.
fn mount_sources(run: &Run, target: &OutputRegistry) -> Vec<String> {
    let names = run.parents.local_ids.keys().filter_map(|name| name.parse::<PullSpec>().ok());
    names.filter(|name| name.registry() == Some(&target.host)).map(|name| name.repository().to_owned()).collect()
}

fn progress(run: &Run, target: &OutputRegistry) -> Progress {
    let log = run.log().clone();
    let what = format!("push to {}", target.host);
    let shown = Arc::new(AtomicU64::new(0));
    Progress::new(move |done, total| {
        if done == total || done >= shown.load(Ordering::Relaxed) + 16_000_000 {
            shown.store(done, Ordering::Relaxed);
            log.progress(what.clone(), done, Some(total));
        }
    })
}
