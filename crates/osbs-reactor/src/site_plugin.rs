//! A site's own plugin: a program that reads one JSON request and writes JSON lines (`docs/plugin-author.md`).
//!
//! It runs in a PID namespace of its own, in an empty work folder, with nothing of the reactor's environment, and is
//! killed with all it started when its time is over or the build is cancelled. What it may say is in [`output`], how it is
//! started and watched in [`process`].

mod output;
mod process;
#[cfg(test)]
mod tests;

use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::run::{Run, TagClass};
use async_trait::async_trait;
use osbs_arrangement::{ImageForm, SiteProgram};
use osbs_image::{Store, StoredImage};
use osbs_sandbox::{Overlay, OverlayOptions};
use osbs_types::{ErrorKind, Failure, Phase};
use process::Program;
use rustix::fs::Access;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// The version of the request.
const PROTOCOL: u32 = 1;
/// The phases a program can be listed in.
const PHASES: &[Phase] = &[Phase::Prebuild, Phase::Prepublish, Phase::Postbuild, Phase::Exit];
/// Where the image is put, below the program's work folder.
const IMAGE_FOLDER: &str = "image";

/// The type of one entry of a list.
///
/// # Errors
/// It cannot be run in that phase, or its program is not there: told before anything is built.
pub(crate) fn plugin_type(name: &str, phase: Phase, program: &SiteProgram) -> Result<PluginType, Failure> {
    program.check(phase).map_err(|problem| {
        let text = format!("{phase} plugin '{name}': program: {problem}");
        Failure::message(ErrorKind::Policy, text).with_hint("correct the site's plugin lists")
    })?;
    let path = Path::new(&program.command[0]);
    if !path.is_file() || rustix::fs::access(path, Access::EXEC_OK).is_err() {
        let what = if path.exists() { "cannot be executed" } else { "is not there" };
        let text = format!("{phase} plugin '{name}': its program {} {what}", path.display());
        return Err(Failure::message(ErrorKind::Resource, text)
            .with_hint("install it on the build host, executable, or correct the site's plugin lists"));
    }
    let (name, program) = (name.to_owned(), program.clone());
    let make = move |args: crate::PluginArgs| {
        let plugin = SitePlugin { name: name.clone(), phase, program: program.clone(), args: args.0 };
        Ok(Box::new(plugin) as Box<dyn Plugin>)
    };
    Ok(PluginType::new("site_plugin", PHASES, make).accepts_anything())
}

struct SitePlugin {
    name: String,
    phase: Phase,
    program: SiteProgram,
    args: Map<String, Value>,
}

#[async_trait]
impl Plugin for SitePlugin {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let image = match (&self.program.image, &run.built) {
            (Some(_), None) if self.phase != Phase::Exit => {
                return Ok(Done::Skipped("this build makes no image itself".to_owned()));
            }
            (Some(form), Some(facts)) => Some((*form, StoredImage::load(&run.services.store, &facts.manifest)?)),
            _ => None,
        };
        let made = |error: std::io::Error| PluginError::resource(format!("the work folder cannot be written: {error}"));
        // An exit plugin may run without a source.
        let parent = run.workdir().unwrap_or_else(|_| run.services.work_root.clone());
        std::fs::create_dir_all(&parent).map_err(made)?;
        let folder = tempfile::Builder::new().prefix("site-plugin-").tempdir_in(parent).map_err(made)?;
        let work = Work {
            request: self.request(run, image.as_ref().map(|(form, _)| *form)),
            image,
            store: run.services.store.clone(),
            folder: folder.path().to_owned(),
            program: Program {
                spec: self.program.clone(),
                path: run.services.program_path.clone(),
                log: run.log().clone(),
            },
        };
        let done = run.blocking(move |cancel| work.run(cancel)).await;
        drop(folder);
        done
    }
}

impl SitePlugin {
    /// What the program is told. Paths below its work folder are relative: that folder is where it is started.
    fn request(&self, run: &Run, image: Option<ImageForm>) -> Value {
        let source = run.source_tree.as_ref().filter(|_| self.program.user.is_none()).map(|tree| {
            json!({
                "path": tree.root(),
                "dockerfile": tree.build_file(),
            })
        });
        let build = json!({
            "name": run.build.name,
            "namespace": run.build.namespace,
            "type": if run.is_orchestrator() { "orchestrator" } else { "worker" },
            "platform": run.platform(),
            "scratch": run.is_scratch(),
            "isolated": run.is_isolated(),
            "failed": self.phase == Phase::Exit && run.build_process_failed(),
            "cancelled": run.cancelled,
            "git_uri": run.source_tree.as_ref().map(crate::SourceTree::uri),
            "git_commit": run.source_tree.as_ref().and_then(crate::SourceTree::commit_id),
        });
        let names = |class| run.tags.class(class).iter().map(ToString::to_string).collect::<Vec<_>>();
        let form = image.map(|form| match form {
            ImageForm::Oci => json!({"oci": IMAGE_FOLDER}),
            ImageForm::Tree => json!({"tree": format!("{IMAGE_FOLDER}/root")}),
        });
        let image = run.built.as_ref().map(|facts| {
            let mut told = json!({
                "id": facts.image_id,
                "manifest": facts.manifest.digest,
                "unique": names(TagClass::Unique),
                "primary": names(TagClass::Primary),
                "floating": names(TagClass::Floating),
            });
            if let (Some(told), Some(Value::Object(form))) = (told.as_object_mut(), form) {
                told.extend(form);
            }
            told
        });
        let pushed: Vec<_> = run.pushed.iter().map(|to| json!({"registry": to.host, "digests": to.digests})).collect();
        json!({
            "version": PROTOCOL,
            "plugin": self.name,
            "phase": self.phase,
            "args": self.args,
            "build": build,
            "source": source,
            "image": image,
            "pushed": pushed,
        })
    }
}

/// What the thread owns.
struct Work {
    request: Value,
    image: Option<(ImageForm, StoredImage)>,
    store: Store,
    folder: PathBuf,
    program: Program,
}

impl Work {
    fn run(self, cancel: &CancellationToken) -> PluginResult {
        let place = self.folder.join(IMAGE_FOLDER);
        let tree = match &self.image {
            None => None,
            Some((ImageForm::Oci, image)) => {
                osbs_image::write_oci_layout(&self.store, image, &place, "latest")?;
                None
            }
            Some((ImageForm::Tree, image)) => Some(self.tree(image, &place, cancel)?),
        };
        let done = self.program.run(&self.request, &self.folder, cancel);
        if let Some(tree) = tree {
            tree.unmount()?;
        }
        done
    }

    fn tree(&self, image: &StoredImage, place: &Path, cancel: &CancellationToken) -> Result<Overlay, PluginError> {
        let lowers = self.store.unpack(image, cancel, &|_| {})?;
        let [upper, work, root] = ["upper", "work", "root"].map(|name| place.join(name));
        for path in [&upper, &work, &root] {
            std::fs::create_dir_all(path)
                .map_err(|error| PluginError::resource(format!("cannot make {}: {error}", path.display())))?;
        }
        let options = OverlayOptions { volatile: true, xattrs: self.store.overlay_xattrs() };
        Ok(Overlay::mount(&lowers, &upper, &work, &root, options)?)
    }
}
