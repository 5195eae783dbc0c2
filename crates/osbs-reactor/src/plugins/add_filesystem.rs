//! `add_filesystem`: the root file system of a base image, for `FROM koji/image-build[:CONF]` (`reactor.md` 3.1.6).
//!
//! The local provider: `dnf --installroot` with the repositories and packages of the kickstart file beside the Dockerfile.
//! A worker makes the file system of its own platform; an orchestrator has nothing to do.

mod dnf;

use crate::kickstart::{self, Kickstart, KickstartError};
use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::run::{ParentInspect, Run, is_custom_base_image};
use async_trait::async_trait;
use dnf::Install;
use osbs_config::{ImageBuildConf, parse_image_build_conf};
use osbs_image::{
    Compression, History, ImageConfig, ImageFormat, ImageRef, LayerRequest, Store, StoredImage, write_layer,
};
use osbs_types::{Architecture, Phase, Platform, Position, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// The plugin's type.
pub fn plugin() -> PluginType {
    PluginType::new("add_filesystem", &[Phase::Prebuild], |args| Ok(Box::new(args.parse::<AddFilesystem>()?))).accepts(
        &["from_task_id", "poll_interval", "blocksize", "repos", "architecture", "architectures", "koji_target"],
    )
}

/// The file that is read when FROM names none.
const DEFAULT_CONF: &str = "image-build.conf";

#[derive(Deserialize, Default)]
#[serde(default)]
struct AddFilesystem {
    architecture: Option<Platform>,
    repos: Vec<String>,
}

#[async_trait]
impl Plugin for AddFilesystem {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let Some(parent) = run.parents.ordered.iter().rev().find(|name| is_custom_base_image(name)).cloned() else {
            return Ok(Done::Skipped("no parent is koji/image-build".to_owned()));
        };
        if run.is_orchestrator() {
            return Ok(Done::Skipped("each worker makes the file system of its own platform".to_owned()));
        }
        let platform =
            self.architecture.clone().or_else(|| run.build.platform.clone()).unwrap_or_else(Platform::native);
        let image = self.make(run, &parent, &platform).await?;
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
        Ok(Done::Value(json!({"base-image-id": id, "filesystem-koji-task-id": Value::Null})))
    }
}

impl AddFilesystem {
    async fn make(&self, run: &Run, parent: &str, platform: &Platform) -> Result<StoredImage, PluginError> {
        let source = run.source()?;
        let file = match parent.split_once(':') {
            Some((_, tag)) if tag != "latest" => tag.to_owned(),
            _ => DEFAULT_CONF.to_owned(),
        };
        let text = source.read_beside(&file)?.ok_or_else(|| {
            PluginError::user(format!("FROM {parent} needs the file {file} beside the Dockerfile, and it is not there"))
        })?;
        let conf = parse_image_build_conf(&text, &file).map_err(|error| PluginError::from(error.to_failure()))?;
        let kickstart_file = conf.image_build.get("kickstart").map_or("kickstart.ks", String::as_str);
        let text = source.read_beside(kickstart_file)?.ok_or_else(|| {
            PluginError::user(format!("{file} names the kickstart file {kickstart_file}, and it is not beside it"))
        })?;
        let kickstart = kickstart::parse(&text).map_err(|error| kickstart_failed(kickstart_file, &error))?;
        for command in &kickstart.ignored {
            run.log().debug(format!("{kickstart_file}: {command} means nothing to an image"));
        }
        let job = Job {
            install: self.install(run, &conf, &kickstart, platform)?,
            store: run.services.store.clone(),
            architecture: run.config.architecture(platform),
            format: run.services.imaging.format,
            compression: run.services.imaging.compression,
            threads: run.services.imaging.threads,
            created: run.started,
        };
        run.blocking(move |cancel| job.run(cancel)).await
    }

    fn install(
        &self,
        run: &Run,
        conf: &ImageBuildConf,
        kickstart: &Kickstart,
        platform: &Platform,
    ) -> Result<Install, PluginError> {
        let configured = conf.image_build.get("repo").map_or("", String::as_str).split(',');
        let configured = configured.map(str::trim).filter(|url| !url.is_empty()).map(str::to_owned);
        let tree = conf.image_build.get("install_tree").filter(|url| !url.is_empty()).cloned();
        let urls = configured.chain(tree).chain(self.repos.iter().cloned());
        let named = urls.enumerate().map(|(index, url)| (format!("image-build-{index}"), url));
        let architecture = |url: &str| url.replace("$basearch", platform.as_str()).replace("$arch", platform.as_str());
        let repositories: Vec<_> =
            kickstart.repositories.iter().cloned().chain(named).map(|(name, url)| (name, architecture(&url))).collect();
        if repositories.is_empty() {
            return Err(PluginError::user("neither the kickstart file nor image-build.conf names a repository")
                .with_hint("add a line to the kickstart file: repo --name=main --baseurl=URL"));
        }
        Ok(Install {
            platform: platform.clone(),
            release: conf.image_build.get("version").cloned().unwrap_or_else(|| "1".to_owned()),
            repositories,
            packages: kickstart.packages.clone(),
            excluded: kickstart.excluded.clone(),
            scripts: kickstart.post.clone(),
            gpg_key: conf.image_build.get("gpgkey").cloned(),
            folder: run.workdir()?.join("filesystem"),
            program_path: run.services.program_path.clone(),
            imaging: run.services.imaging.clone(),
            log: run.log().clone(),
        })
    }
}

fn kickstart_failed(file: &str, error: &KickstartError) -> PluginError {
    PluginError::user(error.to_string()).at(Position { file: file.to_owned(), line: error.line(), column: None })
}

/// What the thread owns.
struct Job {
    install: Install,
    store: Store,
    architecture: Architecture,
    format: ImageFormat,
    compression: Compression,
    threads: usize,
    created: Timestamp,
}

impl Job {
    fn run(self, cancel: &CancellationToken) -> Result<StoredImage, PluginError> {
        let root = self.install.run(cancel)?;
        let log = &self.install.log;
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
            created_by: Some(format!("osbs add_filesystem {}", self.install.packages.join(" "))),
            ..History::default()
        });
        // The tree is not needed any more, and it is large.
        std::fs::remove_dir_all(&root)
            .map_err(|e| PluginError::resource(format!("{} cannot be removed: {e}", root.display())))?;
        Ok(StoredImage::create(&self.store, self.format, &config, &[layer.descriptor], None)?)
    }
}
