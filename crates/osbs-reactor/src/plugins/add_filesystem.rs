//! `add_filesystem`: the root file system of a base image, for `FROM koji/image-build[:CONF]` (`reactor.md` 3.1.6).
//!
//! Where Koji makes such file systems, by a task of its own: the orchestrator starts one for all platforms, each worker takes
//! its output (`image_build.rs`). Else the local provider: `dnf --installroot` with the repositories and packages of the
//! kickstart file beside the Dockerfile. A worker makes the file system of its own platform; an orchestrator checks what they
//! will be made of, and makes none: its machine need not be of their platforms.

mod conf;
mod dnf;
mod image_build;
mod inputs;

use crate::events::Logger;
use crate::koji::task::PatienceArgs;
use crate::koji::{KojiArgs, KojiSite, with_koji_arguments};
use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::run::{ParentInspect, Run, is_custom_base_image};
use async_trait::async_trait;
use dnf::Install;
use inputs::Inputs;
use osbs_image::{
    Compression, History, ImageConfig, ImageFormat, ImageRef, LayerRequest, Store, StoredImage, write_layer,
};
use osbs_types::{Architecture, Phase, Platform, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

/// The plugin's type.
pub fn plugin() -> PluginType {
    let kind =
        PluginType::new("add_filesystem", &[Phase::Prebuild], |args| Ok(Box::new(args.parse::<AddFilesystem>()?)))
            .purpose("Makes the root file system of a base image (FROM koji/image-build) from a kickstart file.")
            .argument("repos", "list of URLs of repo files, whose packages can be installed besides. Default: none")
            .argument("architecture", "platform of the file system. Default: that of the worker build, else by arches")
            .argument("from_task_id", "task of Koji that made it; refused where there is no Koji. Default: none")
            .argument("architectures", "platforms of a task of Koji; those of the build unless said")
            .argument("koji_target", "build target of a task of Koji, where image-build.conf names none")
            .argument("poll_interval", "seconds between two looks at a task of Koji; 5 unless said")
            .argument("poll_timeout", "seconds until a task of Koji must have ended; a day unless said")
            .argument("koji_hub", "XML-RPC URL of the hub, where config.yaml has no `koji`");
    with_koji_arguments(kind)
        .accepts(&["blocksize"])
        .reads(&[
            "image-build.conf beside the Dockerfile, or the file that the tag of FROM names",
            "the kickstart file it names, beside the Dockerfile, at the top of the repository or where ksurl says",
            "labels com.redhat.component and version of the Dockerfile",
            "config.yaml: yum_repo_allowed_domains, fetch, run; koji, whose hub may make file systems (buildImageOz)",
        ])
        .writes(&[
            "an image of one layer in the store, until the build ends",
            "state base image",
            "Koji: an image-build task, which workers get as filesystem_koji_task_id; label filesystem-koji-task-id",
        ])
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AddFilesystem {
    architecture: Option<Platform>,
    repos: Option<Vec<String>>,
    from_task_id: Option<i64>,
    architectures: Option<Vec<Platform>>,
    koji_target: Option<String>,
    #[serde(flatten)]
    patience: PatienceArgs,
    #[serde(flatten)]
    koji: KojiArgs,
}

/// Seconds between two looks at a task, and until it must have ended.
const EVERY: f64 = 5.0;
const LIMIT: f64 = 86_400.0;

#[async_trait]
impl Plugin for AddFilesystem {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let Some(parent) = run.parents.ordered.iter().rev().find(|name| is_custom_base_image(name)).cloned() else {
            return Ok(Done::Skipped("no parent is koji/image-build".to_owned()));
        };
        if let Some(koji) = self.provider(run).await? {
            return self.of_koji(run, &koji, parent).await;
        }
        if let Some(task) = self.from_task_id {
            let text =
                format!("the file system of task {task} of Koji was asked for, and this site takes none from Koji");
            let hint = "build without filesystem_koji_task_id: it is made from the kickstart file then";
            return Err(PluginError::policy(text).with_hint(hint));
        }
        let inputs = inputs::gather(run, &parent, self.repos.as_deref().unwrap_or_default()).await?;
        if run.is_orchestrator() {
            run.log().info(format!("workers make the file system {}, each for its platform", inputs.build.name));
            return Ok(Done::Value(json!({"base-image-id": Value::Null, "filesystem-koji-task-id": Value::Null})));
        }
        let platform = self.platform(run, &inputs);
        run.log().info(format!("making the file system {} for {platform}", inputs.build.name));
        let image = make(run, &inputs, &platform).await?;
        become_base(run, parent, &image, None)
    }

    /// A task of Koji is cancelled with the build.
    fn ends_itself_when_cancelled(&self) -> bool {
        true
    }
}

/// Makes the image the base image, or the custom parent of another stage.
fn become_base(run: &mut Run, parent: String, image: &StoredImage, task: Option<i64>) -> PluginResult {
    let id = image.image_id().to_string();
    let name = format!("build/{}-filesystem", run.build.name);
    let reference = ImageRef { descriptor: image.manifest.clone() };
    run.services.store.set_ref(&name, &reference, run.build.name.as_str())?;
    run.images_to_remove.push(name);
    run.parents.images.insert(parent, Some(id.clone()));
    run.parents.local_ids.insert(id.clone(), image.image_id().clone());
    if run.parents.base_is_custom() {
        run.parents.base_image = Some(id.clone());
        run.parents.base_inspect =
            Some(ParentInspect { image_id: Some(image.image_id().clone()), ..ParentInspect::default() });
    }
    run.log().info(format!("the base file system is image {id}"));
    Ok(Done::Value(json!({"base-image-id": id, "filesystem-koji-task-id": task})))
}

impl AddFilesystem {
    /// Koji, if it makes the file system. A hub that has no such tasks does not.
    async fn provider(&self, run: &Run) -> Result<Option<KojiSite>, PluginError> {
        let Some(koji) = run.koji(&self.koji).await? else { return Ok(None) };
        if self.from_task_id.is_some() || image_build::is_offered(&koji).await? {
            return Ok(Some(koji));
        }
        run.log().info("this hub makes no file systems (buildImageOz): it is made here");
        Ok(None)
    }

    async fn of_koji(&self, run: &mut Run, koji: &KojiSite, parent: String) -> PluginResult {
        let request = self.request(run, &parent).await?;
        let task = match self.from_task_id {
            Some(task) => task,
            None => image_build::start(run, koji, &request).await?,
        };
        let patience = self.patience.or(EVERY, LIMIT);
        image_build::wait(run, koji, task, self.from_task_id.is_none(), patience).await?;
        if run.is_orchestrator() {
            return Ok(Done::Value(json!({"base-image-id": Value::Null, "filesystem-koji-task-id": task})));
        }
        let platform = self.architecture.clone().or_else(|| run.build.platform.clone());
        let named = platform.as_ref().map(Platform::as_str);
        let archive = image_build::fetch(run, koji, task, &request.name, named).await?;
        let job = Job {
            source: RootSource::Archive(archive, run.log().clone()),
            ..Job::new(run, &platform.unwrap_or_else(Platform::native), format!("Koji image-build task {task}"))
        };
        let image = run.blocking(move |cancel| job.run(cancel)).await?;
        become_base(run, parent, &image, Some(task))
    }

    /// What the task makes; read also when another one's is taken over, for its name.
    async fn request(&self, run: &Run, parent: &str) -> Result<image_build::OzRequest, PluginError> {
        let (conf, file) = image_build::conf_of(run, parent)?;
        let mut base_urls = Vec::new();
        for url in self.repos.iter().flatten() {
            let text = inputs::repo_file(run, url).await?.unwrap_or_default();
            base_urls.extend(image_build::base_urls(&text));
        }
        let source = run.source()?;
        let of_build = run.platforms.iter().flatten().map(ToString::to_string).collect::<Vec<_>>();
        let said = self.architectures.iter().flatten().map(ToString::to_string).collect::<Vec<_>>();
        let arches = match run.is_orchestrator() {
            true if said.is_empty() => of_build,
            true => said,
            false => self.architecture.iter().map(ToString::to_string).collect(),
        };
        let target = self.koji_target.as_deref().or(run.user_params.koji_target.as_deref());
        let commit = source.commit_id().unwrap_or("HEAD");
        let ksurl = format!("{}#{commit}", osbs_types::without_logins(source.uri()));
        let defaults = image_build::Defaults { target, ksurl, base_urls, arches, scratch: run.is_scratch() };
        image_build::request(&conf, &file, &run.dockerfile_labels()?, &defaults)
    }

    /// As given, else this machine's if `arches` has it, else the first there.
    fn platform(&self, run: &Run, inputs: &Inputs) -> Platform {
        let listed = &inputs.build.platforms;
        let native = Platform::native();
        let by_list = || if listed.contains(&native) { None } else { listed.first().cloned() };
        self.architecture.clone().or_else(|| run.build.platform.clone()).or_else(by_list).unwrap_or(native)
    }
}

async fn make(run: &Run, inputs: &Inputs, platform: &Platform) -> Result<StoredImage, PluginError> {
    let install = Install::new(run, inputs, platform)?;
    let made_by = install.packages.join(" ");
    let job = Job { source: RootSource::Packages(Box::new(install)), ..Job::new(run, platform, made_by) };
    run.blocking(move |cancel| job.run(cancel)).await
}

/// What the file system comes out of.
enum RootSource {
    /// The local provider.
    Packages(Box<Install>),
    /// The output of a task of Koji.
    Archive(PathBuf, Logger),
    /// Not said yet.
    Nothing,
}

/// What the thread owns.
struct Job {
    source: RootSource,
    log: Logger,
    /// For the image's history.
    made_by: String,
    store: Store,
    architecture: Architecture,
    format: ImageFormat,
    compression: Compression,
    threads: usize,
    created: Timestamp,
}

impl Job {
    fn new(run: &Run, platform: &Platform, made_by: String) -> Self {
        let imaging = &run.services.imaging;
        Self {
            source: RootSource::Nothing,
            log: run.log().clone(),
            made_by,
            store: run.services.store.clone(),
            architecture: run.config.architecture(platform),
            format: imaging.format,
            compression: imaging.compression,
            threads: imaging.threads,
            created: run.started,
        }
    }

    fn run(self, cancel: &CancellationToken) -> Result<StoredImage, PluginError> {
        let root = match &self.source {
            RootSource::Packages(install) => install.run(cancel)?,
            RootSource::Archive(archive, log) => image_build::unpack(archive, log, cancel)?,
            RootSource::Nothing => return Err(PluginError::internal("nothing says what the file system is made of")),
        };
        let log = &self.log;
        let request = LayerRequest {
            uppers: std::slice::from_ref(&root),
            compression: self.compression,
            clamp_mtime: None,
            threads: if self.threads == 0 { 2 } else { self.threads },
            taps: Vec::new(),
            sink: None,
        };
        let progress = |done: u64, total: u64| {
            if done == total {
                log.progress("base file system", done, Some(total));
            }
        };
        let layer = write_layer(&self.store, request, cancel, &progress)?;
        let mut config = ImageConfig::scratch(&self.architecture);
        let created = self.created.to_string();
        config.created = Some(created.clone());
        config.rootfs.diff_ids.push(layer.diff_id.clone());
        config.history.push(History {
            created: Some(created),
            created_by: Some(format!("osbs add_filesystem {}", self.made_by)),
            ..History::default()
        });
        // The tree is not needed any more, and it is large.
        std::fs::remove_dir_all(&root)
            .map_err(|e| PluginError::resource(format!("{} cannot be removed: {e}", root.display())))?;
        Ok(StoredImage::create(&self.store, self.format, &config, &[layer.descriptor], None)?)
    }
}

#[cfg(test)]
mod tests;
