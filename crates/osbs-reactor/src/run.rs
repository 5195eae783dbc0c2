//! The state of one run: what plugins read, write and leave to each other (`reactor.md` 1.9).
//!
//! Typed, and public to plugins. Nothing here does work; the engine moves the run through its phases.

use crate::build_json::BuildJson;
use crate::events::{CORE_LOGGER, Logger};
use crate::floating::FloatingName;
use crate::koji::KojiCell;
use crate::plugin::{BuildResult, BuiltImageId, PluginError};
use crate::pulp::PulpRepository;
use crate::services::Services;
use crate::source::SourceTree;
use osbs_cluster::Build;
use osbs_config::{BuildMethod, ContainerYaml, ReactorConfig, UserParams};
use osbs_dockerfile::{Dockerfile, LabelMap};
use osbs_types::{Digest, ErrorKind, Failure, Phase, Platform, PullSpec, Timestamp};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// One run of the pipeline.
pub struct Run {
    /// The instruction: source, image name, plugin lists.
    pub request: BuildJson,
    /// The user parameters (arrangement 6); empty in arrangements 1 to 5, where plugin arguments carry them.
    pub user_params: UserParams,
    /// The site's configuration; the default before `reactor_config` has run, and without it.
    pub config: Arc<ReactorConfig>,
    /// The site's configuration as text (arrangement 6), until `reactor_config` has read it.
    pub reactor_config_text: Option<String>,
    /// Whether that configuration is a real one, to be passed on to workers.
    pub config_loaded: bool,
    /// The build object this run belongs to, as it was when the run began.
    pub build: Build,
    /// The world outside.
    pub services: Services,
    /// When the program started: `build-date`, Koji `start_time`.
    pub started: Timestamp,
    /// The checked-out source. [`Run::source`] gives it or a clear error.
    pub source_tree: Option<SourceTree>,
    /// Parents and base image.
    pub parents: Parents,
    /// The platforms of this build, once decided (`check_and_set_platforms`, or the arguments of `orchestrate_build`).
    pub platforms: Option<BTreeSet<Platform>>,
    /// Absolute path in the image -> text, to be put there before the build.
    pub files: BTreeMap<String, String>,
    /// Image archives made so far; readers take the last.
    pub exported_images: Vec<ExportedImage>,
    /// The operator's manifests, by `export_operator_manifests`.
    pub operator_manifests: Option<OperatorManifests>,
    /// Names the image shall get.
    pub tags: TagConf,
    /// Registries this build has pushed to.
    pub pushed: Vec<PushedRegistry>,
    /// Names that move at the end of the run, when everything else has succeeded.
    pub floating: Vec<FloatingName>,
    /// What this build has brought to Pulp, published or not.
    pub pulp: Vec<PulpRepository>,
    /// What the builder said; `None` before, which counts as failed.
    pub build_result: Option<BuildResult>,
    /// The image a worker has built.
    pub built: Option<crate::imaging::BuiltFacts>,
    /// Content of the Dockerfile as the user wrote it, remembered by who changes it first.
    pub original_dockerfile: Option<String>,
    /// RPM packages of the image, by `all_rpm_packages`.
    pub image_components: Option<Vec<Value>>,
    /// Repository URLs in force.
    pub all_yum_repourls: Option<Vec<String>>,
    /// Names in the image store to be removed at the end.
    pub images_to_remove: Vec<String>,
    /// Worker builds of an orchestrator, by platform.
    pub workers: BTreeMap<String, WorkerBuild>,
    /// The folder of this build in Koji's upload area; the same for all workers.
    pub koji_upload_dir: Option<String>,
    /// The folder was chosen here, and not by an orchestrator: if nothing comes of it, it is removed from here.
    pub owns_koji_upload_dir: bool,
    /// The build that is reserved in Koji for this one, until it is imported.
    pub koji_reservation: Option<osbs_koji::Reservation>,
    /// Parameters of worker builds to be replaced: for all platforms (`None`) or one.
    pub build_kwarg_overrides: BTreeMap<Option<Platform>, Map<String, Value>>,
    /// Facts for the summary, emitted as one Result event at the end of the run.
    pub facts: Map<String, Value>,
    /// What happened so far.
    pub records: Records,
    /// Extremes of the root file system (`reactor.md` 1.7), as of the last sample.
    pub disk: Arc<crate::disk::DiskExtremes>,
    /// Whether the build was cancelled.
    pub cancelled: bool,
    pub(crate) cancel: CancellationToken,
    pub(crate) work: TaskTracker,
    pub(crate) logger: Logger,
    pub(crate) lease: Option<osbs_image::Lease>,
    pub(crate) koji: KojiCell,
    /// A reservation was asked for, and its record has not been removed.
    pub(crate) koji_asked: bool,
}

impl Run {
    /// A run that has not begun. `cancel` stops its main part; exit plugins get a token of their own.
    pub fn new(request: BuildJson, build: Build, services: Services, cancel: CancellationToken) -> Self {
        let logger = Logger::new(Arc::clone(&services.events), Arc::clone(&services.clock), CORE_LOGGER);
        Self {
            started: services.clock.now(),
            request,
            user_params: UserParams::default(),
            config: Arc::new(ReactorConfig::default()),
            reactor_config_text: None,
            config_loaded: false,
            build,
            services,
            source_tree: None,
            parents: Parents::default(),
            platforms: None,
            files: BTreeMap::new(),
            exported_images: Vec::new(),
            operator_manifests: None,
            tags: TagConf::default(),
            pushed: Vec::new(),
            floating: Vec::new(),
            pulp: Vec::new(),
            build_result: None,
            built: None,
            original_dockerfile: None,
            image_components: None,
            all_yum_repourls: None,
            images_to_remove: Vec::new(),
            workers: BTreeMap::new(),
            koji_upload_dir: None,
            owns_koji_upload_dir: false,
            koji_reservation: None,
            build_kwarg_overrides: BTreeMap::new(),
            facts: Map::new(),
            records: Records::default(),
            disk: Arc::default(),
            cancelled: false,
            cancel,
            work: TaskTracker::new(),
            logger,
            lease: None,
            koji: KojiCell::default(),
            koji_asked: false,
        }
    }

    /// The logger of the plugin that runs now. Clone it for other threads.
    pub fn log(&self) -> &Logger {
        &self.logger
    }

    /// Ends when the build is cancelled; in the exit phase it never does. Hand clones to blocking work.
    pub fn cancel(&self) -> &CancellationToken {
        &self.cancel
    }

    /// Runs blocking work on a thread. The engine waits for it before exit plugins run, whatever happens to the plugin,
    /// so it must look at its token at least every second.
    ///
    /// # Errors
    /// What the work returns; a panic is an internal error.
    pub async fn blocking<T, E, F>(&self, work: F) -> Result<T, PluginError>
    where
        T: Send + 'static,
        E: Into<PluginError> + Send + 'static,
        F: FnOnce(&CancellationToken) -> Result<T, E> + Send + 'static,
    {
        let cancel = self.cancel.clone();
        match self.work.spawn_blocking(move || work(&cancel)).await {
            Ok(outcome) => outcome.map_err(Into::into),
            Err(error) => Err(PluginError::internal(format!("work on a thread ended badly: {error}"))),
        }
    }

    /// The source.
    ///
    /// # Errors
    /// It could not be fetched (only exit plugins meet that).
    pub fn source(&self) -> Result<&SourceTree, PluginError> {
        self.source_tree.as_ref().ok_or_else(|| PluginError::internal("the source was never checked out"))
    }

    /// The Dockerfile as it is now.
    ///
    /// # Errors
    /// It cannot be read or parsed.
    pub fn dockerfile(&self) -> Result<Dockerfile, PluginError> {
        self.source()?.dockerfile()
    }

    /// Replaces the Dockerfile. The first to change it leaves what was committed in [`Run::original_dockerfile`].
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_dockerfile(&mut self, dockerfile: &Dockerfile) -> Result<(), PluginError> {
        if self.original_dockerfile.is_none() {
            self.original_dockerfile = Some(self.dockerfile()?.text().to_owned());
        }
        self.source()?.write_dockerfile(dockerfile)
    }

    /// Labels of the final stage with the parent's environment (`reactor.md` 1.12); without it where the parent was not
    /// inspected.
    ///
    /// # Errors
    /// The Dockerfile cannot be read, or a value not be expanded.
    pub fn dockerfile_labels(&self) -> Result<LabelMap, PluginError> {
        let env = self.parents.base_inspect.as_ref().map_or(&[][..], |inspect| &inspect.env);
        Ok(self.dockerfile()?.labels(env)?)
    }

    /// A folder for temporary files that is removed with the run.
    ///
    /// # Errors
    /// As [`Run::source`].
    pub fn workdir(&self) -> Result<PathBuf, PluginError> {
        Ok(self.source()?.workdir().to_owned())
    }

    /// Whether this run drives worker builds.
    pub fn is_orchestrator(&self) -> bool {
        self.request.plugins.entry(Phase::Buildstep, "orchestrate_build").is_some()
    }

    /// The platform a worker builds for; this machine's when nobody said.
    pub fn platform(&self) -> Platform {
        self.build.platform.clone().unwrap_or_else(Platform::native)
    }

    /// A throw-away build.
    pub fn is_scratch(&self) -> bool {
        self.build.flag("scratch")
    }

    /// A patch build that must not move floating tags.
    pub fn is_isolated(&self) -> bool {
        self.build.flag("isolated")
    }

    /// Id of the built image, when it is on this machine.
    pub fn image_id(&self) -> Option<&Digest> {
        match &self.build_result.as_ref()?.image {
            Ok(BuiltImageId::Local(id)) => Some(id),
            _ => None,
        }
    }

    /// Build result is failed (or was never made), a plugin that must not fail has failed so far (`reactor.md` 1.6), or
    /// the main part ended early without any plugin's fault: cancelled between two of them.
    pub fn build_process_failed(&self) -> bool {
        self.build_result.as_ref().is_none_or(|result| result.image.is_err())
            || !self.records.errors.is_empty()
            || self.records.failure.is_some()
    }

    /// The result of a plugin that ran in that phase; `None` too for a tolerated failure.
    pub fn result(&self, phase: Phase, plugin: &str) -> Option<&Value> {
        self.records.results.get(&phase)?.get(plugin)?.as_ref().ok()
    }
}

/// What is recorded of plugins (`reactor.md` 1.7, M7, M8).
#[derive(Debug, Clone, Default)]
pub struct Records {
    /// Plugin -> RFC 3339 UTC time of its start.
    pub timestamps: Map<String, Value>,
    /// Plugin -> seconds, for every plugin that was started.
    pub durations: Map<String, Value>,
    /// Plugin -> plain text; only plugins that must not fail.
    pub errors: Map<String, Value>,
    /// Plugin -> what it returned, or how it failed and was tolerated.
    pub results: BTreeMap<Phase, BTreeMap<String, Result<Value, Failure>>>,
    /// Why the main part ended early, for exit plugins.
    pub failure: Option<Failure>,
}

pub use osbs_dockerfile::is_custom_base_image;

/// Base image and parent images (`reactor.md` 0.2, 1.2).
#[derive(Debug, Clone, Default)]
pub struct Parents {
    /// The image of the last FROM, as the Dockerfile wrote it; `None` for scratch.
    pub original_base_image: Option<String>,
    /// The name of the base image now: pinned, moved to another registry, or the id after `change_from_in_dockerfile`.
    pub base_image: Option<String>,
    /// Every FROM in order, tag made explicit, duplicates kept, `scratch` as it is.
    pub ordered: Vec<String>,
    /// Name in the Dockerfile (tag made explicit) -> usable name, once known. No scratch.
    pub images: BTreeMap<String, Option<String>>,
    /// Usable name -> image id in the local store, of pulled parents.
    pub local_ids: BTreeMap<String, Digest>,
    /// Whether parents are in the local store (false in an orchestrator that only inspects).
    pub pulled: bool,
    /// Image name with registry and original tag -> media type -> digest.
    pub digests: BTreeMap<String, BTreeMap<String, Digest>>,
    /// Configuration of the base image, once inspected.
    pub base_inspect: Option<ParentInspect>,
}

impl Parents {
    /// The base image is `scratch`.
    pub fn base_is_scratch(&self) -> bool {
        self.ordered.last().is_some_and(|name| name == "scratch")
    }

    /// The base image is made by `add_filesystem`.
    pub fn base_is_custom(&self) -> bool {
        self.original_base_image.as_deref().is_some_and(is_custom_base_image)
    }
}

/// What plugins want to know of a parent's image configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParentInspect {
    /// Digest of the configuration.
    pub image_id: Option<Digest>,
    /// `Env`, in order.
    pub env: Vec<(String, String)>,
    /// `Labels`.
    pub labels: BTreeMap<String, String>,
    /// `User`, empty when root.
    pub user: String,
}

/// Kinds of exported image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportType {
    /// What `docker save` writes.
    DockerArchive,
    /// An OCI layout folder.
    Oci,
    /// An OCI layout in a tar file.
    OciTar,
}

impl ExportType {
    /// `docker-archive`, `oci`, `oci-tar`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DockerArchive => "docker-archive",
            Self::Oci => "oci",
            Self::OciTar => "oci-tar",
        }
    }
}

/// An image archive in the work folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedImage {
    /// The file (or folder).
    pub path: PathBuf,
    /// What it is.
    pub image_type: ExportType,
    /// Bytes of the file.
    pub size: Option<u64>,
    /// Hex.
    pub md5sum: Option<String>,
    /// Hex.
    pub sha256sum: Option<String>,
    /// Bytes before compression.
    pub uncompressed_size: Option<u64>,
    /// Hex, of the bytes before compression.
    pub uncompressed_sha256sum: Option<String>,
    /// Name inside an OCI layout.
    pub ref_name: Option<String>,
}

/// The archive of an operator's manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorManifests {
    /// The file; its name is the one it has in Koji.
    pub path: PathBuf,
    /// Its bytes.
    pub size: u64,
    /// Hex.
    pub md5sum: String,
}

/// Names for the image, each list in the order of adding, without duplicates and without registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagConf {
    unique: Vec<PullSpec>,
    primary: Vec<PullSpec>,
    floating: Vec<PullSpec>,
}

/// The class of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TagClass {
    /// Made by the client, never used twice.
    Unique,
    /// `{version}-{release}`.
    Primary,
    /// `latest`, `{version}`: moves.
    Floating,
}

impl TagConf {
    /// Adds a name unless it is there in any class. Tells whether it was added.
    pub fn add(&mut self, class: TagClass, image: PullSpec) -> bool {
        if self.all().any(|known| *known == image) {
            return false;
        }
        match class {
            TagClass::Unique => self.unique.push(image),
            TagClass::Primary => self.primary.push(image),
            TagClass::Floating => self.floating.push(image),
        }
        true
    }

    /// The names of a class.
    pub fn class(&self, class: TagClass) -> &[PullSpec] {
        match class {
            TagClass::Unique => &self.unique,
            TagClass::Primary => &self.primary,
            TagClass::Floating => &self.floating,
        }
    }

    /// Primary, unique, floating.
    pub fn all(&self) -> impl Iterator<Item = &PullSpec> {
        self.primary.iter().chain(&self.unique).chain(&self.floating)
    }
}

/// A registry this build pushed to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PushedRegistry {
    /// `host[:port]`.
    pub host: String,
    /// `ns/repo:tag` -> version (`v2`, `v2_list`, `oci`, `oci_index`) -> digest.
    pub digests: BTreeMap<String, BTreeMap<String, Digest>>,
    /// The image configuration it serves.
    pub config: Option<Value>,
    /// Pulp's, which has fetched the image out of another one of these and shows it to clients.
    pub server_side_sync: bool,
}

impl Run {
    /// The push record of a registry, made when it is not there.
    pub fn pushed_registry(&mut self, host: &str) -> &mut PushedRegistry {
        let at = self.pushed.iter().position(|registry| registry.host == host).unwrap_or_else(|| {
            self.pushed.push(PushedRegistry { host: host.to_owned(), ..PushedRegistry::default() });
            self.pushed.len() - 1
        });
        &mut self.pushed[at]
    }
}

/// A worker build, as its orchestrator knows it.
#[derive(Clone)]
pub struct WorkerBuild {
    /// Name of the cluster in the configuration.
    pub cluster_name: String,
    /// The cluster it ran on.
    pub cluster: Arc<dyn osbs_cluster::Cluster>,
    /// As it was when last seen.
    pub build: Build,
}

impl Run {
    /// `container.yaml` beside the Dockerfile; the empty one when there is none. Warnings are logged by the first reader,
    /// `check_and_set_platforms` or the client.
    ///
    /// # Errors
    /// It is there and wrong.
    pub fn container_yaml(&self) -> Result<ContainerYaml, PluginError> {
        match self.source()?.read_beside("container.yaml")? {
            Some(text) => Ok(ContainerYaml::parse(&text, "container.yaml")?.value),
            None => Ok(ContainerYaml::default()),
        }
    }

    /// The builder's name when the list names none: container.yaml, then the site's default, then `docker_api`.
    pub(crate) fn image_build_method(&self) -> Result<String, Failure> {
        let wanted = self.container_yaml().map_err(PluginError::into_failure)?.image_build_method;
        let method = self.config.build_method(wanted).map_err(refused_build_method)?;
        Ok(method.as_str().to_owned())
    }
}

/// A build method that the configuration knows and that no builder serves, as in OSBS (`reactor.md` 1.5.2).
pub(crate) fn refused_build_method(method: BuildMethod) -> Failure {
    let text = format!("no builder here serves image_build_method {}", method.as_str());
    Failure::message(ErrorKind::Policy, text).with_hint("use docker_api or imagebuilder")
}
