//! `add_filesystem`: the root file system of a base image, for `FROM koji/image-build[:CONF]` (`reactor.md` 3.1.6).
//!
//! The local provider: `dnf --installroot` with the repositories and packages of the kickstart file beside the Dockerfile.
//! A worker makes the file system of its own platform. An orchestrator checks what they will be made of, and makes none:
//! its machine need not be of their platforms. A task of Koji that made them already cannot be used without Koji.

mod conf;
mod dnf;
mod inputs;

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
use tokio_util::sync::CancellationToken;

/// The plugin's type.
pub fn plugin() -> PluginType {
    PluginType::new("add_filesystem", &[Phase::Prebuild], |args| Ok(Box::new(args.parse::<AddFilesystem>()?)))
        .purpose("Makes the root file system of a base image (FROM koji/image-build) from a kickstart file.")
        .argument("repos", "list of URLs of repo files, whose packages can be installed besides. Default: none")
        .argument("architecture", "platform of the file system. Default: that of the worker build, else by arches")
        .argument("from_task_id", "task of Koji that made it; refused where there is no Koji. Default: none")
        .accepts(&["poll_interval", "blocksize", "architectures", "koji_target", "koji_hub", "koji_proxyuser"])
        .accepts(&["koji_ssl_certs_dir", "koji_krb_principal", "koji_krb_keytab"])
        .reads(&[
            "image-build.conf beside the Dockerfile, or the file that the tag of FROM names",
            "the kickstart file it names, beside the Dockerfile, at the top of the repository or where ksurl says",
            "labels com.redhat.component and version of the Dockerfile",
            "config.yaml: yum_repo_allowed_domains, fetch, run",
        ])
        .writes(&["an image of one layer in the store, until the build ends", "state base image"])
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AddFilesystem {
    architecture: Option<Platform>,
    repos: Option<Vec<String>>,
    from_task_id: Option<i64>,
}

#[async_trait]
impl Plugin for AddFilesystem {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let Some(parent) = run.parents.ordered.iter().rev().find(|name| is_custom_base_image(name)).cloned() else {
            return Ok(Done::Skipped("no parent is koji/image-build".to_owned()));
        };
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
    /// As given, else this machine's if `arches` has it, else the first there.
    fn platform(&self, run: &Run, inputs: &Inputs) -> Platform {
        let listed = &inputs.build.platforms;
        let native = Platform::native();
        let by_list = || if listed.contains(&native) { None } else { listed.first().cloned() };
        self.architecture.clone().or_else(|| run.build.platform.clone()).or_else(by_list).unwrap_or(native)
    }
}

async fn make(run: &Run, inputs: &Inputs, platform: &Platform) -> Result<StoredImage, PluginError> {
    let imaging = &run.services.imaging;
    let job = Job {
        install: Install::new(run, inputs, platform)?,
        store: run.services.store.clone(),
        architecture: run.config.architecture(platform),
        format: imaging.format,
        compression: imaging.compression,
        threads: imaging.threads,
        created: run.started,
    };
    run.blocking(move |cancel| job.run(cancel)).await
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

#[cfg(test)]
mod tests;
