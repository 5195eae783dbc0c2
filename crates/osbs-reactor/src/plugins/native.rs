//! The native build step: turns the Dockerfile into an image on this machine, one new layer over the parent.
//!
//! It serves the build methods `docker_api` and `imagebuilder`, so it is the builder of every run whose list names none. Pushes nothing; but where a registry is known, the layer is sent there
//! while it is being made, and `tag_and_push` finds it.

use crate::events::Logger;
use crate::imaging::BuiltFacts;
use crate::plugin::{BuildResult, Done, Plugin, PluginError, PluginResult, PluginType};
use crate::push_targets::{image_repository, push_targets};
use crate::run::Run;
use crate::source::SourceTree;
use async_trait::async_trait;
use osbs_builder::{
    BuildError, BuildObserver, BuildRequest, BuiltImage, ParentImages, RunLimits, RunNetwork, StageLabel, UserNamespace,
};
use osbs_config::{RunConfig, RunUserNamespace};
use osbs_dockerfile::Dockerfile;
use osbs_image::{ImageFormat, ImageRef, Store, StoredImage};
use osbs_registry::{UploadOutcome, UploadSink};
use osbs_types::{Architecture, Digest, ErrorKind, Failure, Level, Phase};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Files that plugins put into the build context. They reach the image whatever `.dockerignore` says (`reactor.md` M28).
const GENERATED: [&str; 4] = ["atomic-reactor-repos/", "help.1", "Dockerfile-*", "artifacts/"];

/// The plugin under the names of the build methods it stands for.
pub fn plugins() -> [PluginType; 2] {
    ["docker_api", "imagebuilder"].map(|name| {
        PluginType::new(name, &[Phase::Buildstep], |_| Ok(Box::new(Native)))
            .accepts_anything()
            .purpose("Makes the image from the Dockerfile, with one new layer; the same builder under both names.")
            .reads(&[
                "the Dockerfile as the plugins before left it, the files beside it, the parents in the store",
                "`run`, `fetch` and `reproducible` of config.yaml; cpu_limit and memory_limit of the instance",
            ])
            .writes(&["the image in the store of this machine", "sizes and packages of the image in the summary"])
    })
}

struct Native;

#[async_trait]
impl Plugin for Native {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let job = Job::of(run)?;
        let upload = start_upload(run, &job.dockerfile).await?;
        let (sink, outcome) = upload.map_or((None, None), |(sink, outcome)| (Some(sink), Some(outcome)));
        let log = run.log().clone();
        let lines = std::sync::Arc::new(AtomicUsize::new(0));
        let counted = std::sync::Arc::clone(&lines);
        let built = run
            .blocking(move |cancel| {
                let observer = Relay { log, lines: counted, shown: AtomicU64::new(0) };
                Ok::<_, PluginError>(job.build(sink, &observer, cancel))
            })
            .await?;
        settle(run, outcome).await;
        match built {
            Ok(built) => Ok(Done::Built(record(run, &built, lines.load(Ordering::Relaxed))?)),
            Err(BuildError::Cancelled) => Err(PluginError::Cancelled),
            Err(error) => {
                let mut failure = error.to_failure().in_step("build");
                // Plugins have inserted lines: the author is told where the line is in the repository.
                if let (Ok(source), Some(place)) = (run.source(), failure.position.take()) {
                    failure.position = Some(source.committed_place(place));
                }
                Ok(Done::Built(BuildResult::failed(failure)))
            }
        }
    }
}

/// What the building thread owns.
struct Job {
    dockerfile: Dockerfile,
    context: PathBuf,
    ignore: Option<String>,
    store: Store,
    work_dir: PathBuf,
    architecture: Architecture,
    format: ImageFormat,
    imaging: crate::imaging::Imaging,
    run_rules: RunConfig,
    clamp_mtime: Option<i64>,
    fetcher: osbs_fetch::WebFetcher,
}

impl Job {
    fn of(run: &Run) -> Result<Self, PluginError> {
        let source = run.source()?;
        let imaging = run.services.imaging.clone();
        let ignore = ignore_file(source)?.map(|mut text| {
            for path in GENERATED {
                text.push_str("\n!");
                text.push_str(path);
            }
            text
        });
        Ok(Self {
            dockerfile: source.dockerfile()?,
            context: source.dockerfile_dir().to_owned(),
            ignore,
            store: run.services.store.clone(),
            work_dir: source.workdir().join("build"),
            architecture: run.config.architecture(&run.platform()),
            format: image_format(run),
            imaging,
            run_rules: run.config.run,
            clamp_mtime: if run.config.reproducible { commit_time(run)? } else { None },
            fetcher: crate::fetching::fetcher(run),
        })
    }

    fn build(
        self,
        sink: Option<UploadSink>,
        observer: &Relay,
        cancel: &CancellationToken,
    ) -> Result<BuiltImage, BuildError> {
        let parents = ById { store: &self.store };
        let runtime = self.imaging.oci_runtime();
        match &runtime {
            Ok(runtime) => observer.log.debug(format!("containers run by {}", runtime.program.display())),
            Err(error) => observer.log.warning(format!("no container can run here: {error}")),
        }
        let mut request = BuildRequest::new(
            &self.dockerfile,
            &self.context,
            &parents,
            self.architecture.clone(),
            &self.work_dir,
            &self.store,
        );
        request.ignore.clone_from(&self.ignore);
        request.fetcher = Some(&self.fetcher);
        request.format = self.format;
        request.compression = self.imaging.compression;
        request.threads = self.imaging.threads;
        request.clamp_mtime = self.clamp_mtime;
        contain(&mut request, &self.run_rules, self.imaging.run_limits);
        request.cgroup.clone_from(&self.imaging.cgroup);
        request.runtime = runtime.as_ref().ok();
        request.sink = sink.map(|sink| Box::new(sink) as _);
        // So that `compress` need not inflate the layer again to learn the archive's checksum.
        request.prepare_archive = true;
        osbs_builder::build(request, observer, cancel)
    }
}

/// What the site says of every RUN, beside the limits that the build came with.
fn contain(request: &mut BuildRequest<'_>, rules: &RunConfig, limits: RunLimits) {
    request.run_limits = RunLimits {
        pids: rules.pids.or(limits.pids),
        time: rules.timeout.map(|seconds| Duration::from_secs(seconds.into())).or(limits.time),
        ..limits
    };
    request.network = if rules.without_network { RunNetwork::None } else { RunNetwork::Host };
    request.user_namespace = match rules.user_namespace {
        RunUserNamespace::Auto => UserNamespace::Auto,
        RunUserNamespace::Always => UserNamespace::Always,
        RunUserNamespace::Never => UserNamespace::Off,
    };
}

/// The text of the ignore file: that of the Dockerfile's own name, else the context's.
fn ignore_file(source: &SourceTree) -> Result<Option<String>, PluginError> {
    let own = source.build_file().file_name().and_then(|name| name.to_str()).map(|name| format!("{name}.dockerignore"));
    match own.map(|name| source.read_beside(&name)).transpose()?.flatten() {
        Some(text) => Ok(Some(text)),
        None => source.read_beside(".dockerignore"),
    }
}

/// For `reproducible` of the reactor configuration; `None` for a source that is no git repository.
fn commit_time(run: &Run) -> Result<Option<i64>, PluginError> {
    let source = run.source()?;
    if source.commit_id().is_none() {
        return Ok(None);
    }
    let time = run.services.git.commit_time(source.root());
    time.map(Some).map_err(|error| Failure::new(error.kind(), &error).into())
}

/// Media types: Docker's where a registry expects them and no OCI, else the machine's choice.
fn image_format(run: &Run) -> ImageFormat {
    let expects = |part: &str| {
        run.config.registries.iter().any(|r| r.expected_media_types.iter().any(|media_type| media_type.contains(part)))
    };
    if expects("docker.distribution.manifest") && !expects("oci.image") {
        ImageFormat::DockerV2S2
    } else {
        run.services.imaging.format
    }
}

/// Parents by image id: `change_from_in_dockerfile` has put ids into every FROM.
struct ById<'a> {
    store: &'a Store,
}

impl ParentImages for ById<'_> {
    fn parent(
        &self,
        name: &str,
        _platform: &Architecture,
        _cancel: &CancellationToken,
    ) -> Result<StoredImage, BuildError> {
        let failed = |source: Failure| BuildError::parent(name, source);
        let missing = |text: &str| failed(Failure::message(ErrorKind::Internal, text));
        let id: Digest = name.parse().map_err(|_| missing("FROM was not replaced by an image id"))?;
        StoredImage::by_id(self.store, &id)
            .map_err(|e| failed(Failure::new(e.kind(), &e)))?
            .ok_or_else(|| missing("the image was pulled and is no longer in the store"))
    }
}

/// Turns what the builder tells into log lines and progress.
struct Relay {
    log: Logger,
    lines: std::sync::Arc<AtomicUsize>,
    /// Bytes at the last progress event: one for every 16 MB is enough.
    shown: AtomicU64,
}

impl BuildObserver for Relay {
    fn step(&self, stage: StageLabel<'_>, index: usize, total: usize, text: &str) {
        let first = text.lines().next().unwrap_or_default();
        self.log.info(format!("{}step {index} of {total}: {first}", stage.prefix()));
        self.log.progress(first, index as u64, Some(total as u64));
    }

    fn line(&self, stage: StageLabel<'_>, line: &[u8]) {
        self.lines.fetch_add(1, Ordering::Relaxed);
        self.log.log(Level::Info, [stage.prefix().as_bytes(), line].concat());
    }

    fn warning(&self, text: &str) {
        self.log.warning(text);
    }

    fn progress(&self, what: &'static str, done: u64, total: u64) {
        let before = self.shown.load(Ordering::Relaxed);
        if done < before || done >= before + 16_000_000 {
            self.shown.store(done, Ordering::Relaxed);
            self.log.progress(what, done, (total > 0).then_some(total));
        }
    }
}

/// Opens an upload of the new layer at the first registry. Not being able to is no failure: `tag_and_push` tries again,
/// with retries, and tells. A login or certificate that the site has not put in its place is one: nothing that is built
/// could be pushed.
async fn start_upload(run: &Run, dockerfile: &Dockerfile) -> Result<Option<(UploadSink, UploadOutcome)>, PluginError> {
    let targets = push_targets(run).await?;
    let Some((target, repository)) = targets.first().zip(image_repository(run, dockerfile).ok()) else {
        return Ok(None);
    };
    match target.client.start_upload(repository.repository()).await {
        Ok(upload) => Ok(Some(upload.into_sink())),
        Err(error) => {
            run.log().debug(format!("the layer will be pushed when it is whole: {error}"));
            Ok(None)
        }
    }
}

async fn settle(run: &Run, outcome: Option<UploadOutcome>) {
    if let Some(outcome) = outcome {
        match outcome.wait().await {
            Ok(Some(digest)) => run.log().debug(format!("layer {digest} was sent while it was made")),
            Ok(None) => {}
            Err(error) => run.log().debug(format!("the layer will be pushed again: {error}")),
        }
    }
}

/// Keeps the image for the plugins that follow, under a name that `remove_built_image` takes away.
fn record(run: &mut Run, built: &BuiltImage, log_lines: usize) -> Result<BuildResult, PluginError> {
    let name = format!("build/{}", run.build.name);
    let image = ImageRef { descriptor: built.image.manifest.clone() };
    run.services.store.set_ref(&name, &image, run.build.name.as_str())?;
    run.images_to_remove.push(name);
    let id = built.image.image_id().clone();
    let size: u64 = built.image.layers.iter().map(|layer| layer.size).sum();
    run.log().info(format!(
        "image {id}: {} layers, the new one {} bytes ({} uncompressed, {} entries)",
        built.image.layers.len(),
        built.new_layer.descriptor.size,
        built.new_layer.uncompressed_size,
        built.new_layer.files,
    ));
    for (what, seconds) in &built.timings {
        run.log().debug(format!("{what}: {seconds:.3} s"));
    }
    run.facts.insert("image_id".into(), id.to_string().into());
    run.facts.insert("image_size".into(), size.into());
    run.facts.insert("new_layer_size".into(), built.new_layer.descriptor.size.into());
    run.facts.insert("layers".into(), built.image.layers.len().into());
    run.built = Some(BuiltFacts {
        manifest: built.image.manifest.clone(),
        image_id: id.clone(),
        parent_id: built.parent.as_ref().map(|parent| parent.image_id().clone()),
        layer_sizes: vec![(built.new_layer.diff_id.clone(), built.new_layer.uncompressed_size)],
        log_lines,
    });
    let mut result = BuildResult::local(id);
    result.skip_layer_squash = true;
    Ok(result)
}
