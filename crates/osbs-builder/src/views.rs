//! What a stage reads from: the context, images and other stages.
//!
//! Must not change any of them.

use crate::error::{BuildError, InstructionError};
use crate::executor::Executor;
use crate::plan::{FromPlace, from_words};
use crate::source::SourceRoot;
use crate::stage::Stage;
use crate::stage_root::View;
use osbs_dockerfile::{Instruction, nearest};
use osbs_image::{LeftOut, StoredImage};
use osbs_types::{Architecture, ErrorKind, Failure};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// An image and its folders, bottom first.
pub(crate) type Unpacked = (StoredImage, Vec<PathBuf>);

impl Executor<'_, '_> {
    /// The image for a name, checked to be for the platform (`None`: the one that is built for), and unpacked.
    pub(crate) fn unpacked(&self, name: &str, platform: Option<&Architecture>) -> Result<Unpacked, BuildError> {
        let wanted = platform.unwrap_or(&self.request.architecture);
        let make = || {
            let image = self.image(name, wanted)?;
            let folders = self.unpack(&image)?;
            Ok((image, folders))
        };
        self.unpacked.with(&format!("{wanted} {name}"), make, Clone::clone)
    }

    fn image(&self, name: &str, wanted: &Architecture) -> Result<StoredImage, BuildError> {
        let image =
            self.request.parents.parent(name, wanted, &self.cancel).map_err(|error| self.or_a_stage(name, error))?;
        let is = image.image_config.architecture();
        if !is.name.is_empty() && !wanted.accepts(&is) {
            let message = format!("it is for {is}, and {wanted} is wanted");
            return Err(BuildError::parent(name, Failure::message(ErrorKind::User, message)));
        }
        Ok(image)
    }

    /// What is no stage is taken for an image: a misspelt name fails here.
    fn or_a_stage(&self, name: &str, mut error: BuildError) -> BuildError {
        let stages = self.plan.stages.iter().filter_map(|stage| stage.name);
        if let (BuildError::Parent { source, .. }, Some(stage)) = (&mut error, nearest(name, stages)) {
            let meant = format!("if a stage of this Dockerfile is meant: its name is {stage}");
            source.hint = Some(source.hint.take().map_or(meant.clone(), |hint| format!("{meant}\n{hint}")));
        }
        error
    }

    fn unpack(&self, image: &StoredImage) -> Result<Vec<PathBuf>, BuildError> {
        let started = Instant::now();
        let total = image.layers.iter().map(|layer| layer.size).sum();
        let done = AtomicU64::new(0);
        let progress = |more: u64| {
            let now = done.fetch_add(more, Ordering::Relaxed) + more;
            self.observer.progress("unpack", now, total);
        };
        let folders = self.request.store.unpack(image, &self.cancel, &progress);
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.unpack_micros.fetch_add(micros, Ordering::Relaxed);
        let folders =
            folders.map_err(|source| BuildError::layer("unpack the parent image", source, self.request.store))?;
        self.tell_left_out(image);
        Ok(folders)
    }

    /// In a user namespace images are without their device nodes. Nothing is taken from their layers.
    fn tell_left_out(&self, image: &StoredImage) {
        let LeftOut { devices, first } = self.request.store.left_out(image);
        if devices > 0 {
            let more = if devices > first.len() as u64 { ", ..." } else { "" };
            self.observer.warning(&format!(
                "device nodes of the parent image are not there while it is built without root ({devices}: {}{more}); \
                 the image keeps them",
                first.join(", ")
            ));
        }
    }

    /// The build context.
    pub(crate) fn context(&self) -> Result<&SourceRoot, InstructionError> {
        self.context.get_or_make(|| SourceRoot::context(self.request.context, self.request.ignore.as_deref()))
    }

    /// Waits for the stages that an instruction reads. What is wrong with its words is told when it is carried out.
    pub(crate) fn await_sources(&self, stage: &Stage, instruction: &Instruction) -> Result<(), BuildError> {
        for word in from_words(instruction) {
            let Ok(name) = stage.config.expand(&word, &self.plan.args) else { continue };
            if let FromPlace::Stage(other) = self.plan.place_of(self.request.dockerfile, &name, stage.index) {
                self.stage(other)?;
            }
        }
        Ok(())
    }

    /// The folders of the tree that `from=word` means, bottom first.
    pub(crate) fn folders_of(&self, word: &str, stage: &Stage) -> Result<Vec<PathBuf>, InstructionError> {
        let name = stage.config.expand(word, &self.plan.args)?;
        match self.plan.place_of(self.request.dockerfile, &name, stage.index) {
            FromPlace::Later => Err(InstructionError::LaterStage { name }),
            FromPlace::Stage(other) => Ok(self.stage(other)?.all_folders()),
            FromPlace::Image(image) => Ok(self.unpacked(&image, None)?.1),
        }
    }

    /// The tree that `from=word` means, and what to call it.
    pub(crate) fn tree_of(&self, word: &str, stage: &Stage) -> Result<(PathBuf, String), InstructionError> {
        let name = stage.config.expand(word, &self.plan.args)?;
        let view = |key: String, shown: String, folders: &dyn Fn() -> Result<Vec<PathBuf>, BuildError>| {
            let make = || {
                let xattrs = self.request.store.overlay_xattrs();
                View::new(shown.clone(), self.new_path("view"), folders()?, xattrs)
            };
            let path = self.views.with(&key, make, |view| view.path().to_owned())?;
            Ok((path, shown))
        };
        match self.plan.place_of(self.request.dockerfile, &name, stage.index) {
            FromPlace::Later => Err(InstructionError::LaterStage { name }),
            FromPlace::Stage(other) => {
                view(format!("stage {other}"), format!("stage {name}"), &|| Ok(self.stage(other)?.all_folders()))
            }
            FromPlace::Image(image) => {
                let shown = format!("image {image}");
                view(shown.clone(), shown, &|| Ok(self.unpacked(&image, None)?.1))
            }
        }
    }
}
