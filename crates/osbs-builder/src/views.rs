//! What a stage reads from: the context, images and other stages.
//!
//! Must not change any of them.

use crate::config_change::StageConfig;
use crate::error::{BuildError, InstructionError};
use crate::plan::FromPlace;
use crate::source::SourceRoot;
use crate::stage::Executor;
use crate::stage_root::View;
use osbs_image::StoredImage;
use osbs_types::{Architecture, ErrorKind, Failure};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

impl Executor<'_, '_> {
    /// The image for a name, checked to be for the platform.
    pub(crate) fn image(&self, name: &str, wanted: &Architecture) -> Result<StoredImage, BuildError> {
        let image = self.request.parents.parent(name, wanted)?;
        let is = image.image_config.architecture();
        if !is.name.is_empty() && !wanted.accepts(&is) {
            let message = format!("it is for {is}, and {wanted} is wanted");
            return Err(BuildError::parent(name, Failure::message(ErrorKind::User, message)));
        }
        Ok(image)
    }

    /// The folders of an image, bottom first.
    pub(crate) fn unpack(&mut self, image: &StoredImage) -> Result<Vec<PathBuf>, BuildError> {
        let started = Instant::now();
        let total = image.layers.iter().map(|layer| layer.size).sum();
        let done = AtomicU64::new(0);
        let progress = |more: u64| {
            let now = done.fetch_add(more, Ordering::Relaxed) + more;
            self.observer.progress("unpack", now, total);
        };
        let folders = self.request.store.unpack(image, self.cancel, &progress);
        self.unpack_seconds += started.elapsed().as_secs_f64();
        folders.map_err(|source| BuildError::layer("unpack the parent image", source, self.request.store))
    }

    /// The build context; put back after use.
    pub(crate) fn take_context(&mut self) -> Result<SourceRoot, InstructionError> {
        match self.context.take() {
            Some(source) => Ok(source),
            None => SourceRoot::context(self.request.context, self.request.ignore.as_deref()),
        }
    }

    /// The tree that `from=word` means, and what to call it.
    pub(crate) fn tree_of(
        &mut self,
        word: &str,
        index: usize,
        config: &StageConfig,
    ) -> Result<(PathBuf, String), InstructionError> {
        let name = config.expand(word, &self.plan.args)?;
        let (key, place) = match self.plan.place_of(self.dockerfile(), &name, index) {
            FromPlace::Later => return Err(InstructionError::LaterStage { name }),
            FromPlace::Stage(other) => {
                self.ensure(other)?;
                (format!("stage{other}"), FromPlace::Stage(other))
            }
            FromPlace::Image(image) => (format!("image {image}"), FromPlace::Image(image)),
        };
        let shown = match &place {
            FromPlace::Image(image) => format!("image {image}"),
            _ => format!("stage {name}"),
        };
        if let Some(view) = self.views.get(&key) {
            return Ok((view.path().to_owned(), shown));
        }
        let folders = match place {
            FromPlace::Stage(other) => self.stages[other]
                .as_ref()
                .ok_or(BuildError::Internal("a stage was read before it was built"))?
                .all_folders(),
            FromPlace::Image(image) => {
                let image = self.image(&image, &self.request.architecture)?;
                self.unpack(&image)?
            }
            FromPlace::Later => Vec::new(),
        };
        let base = self.work.path().join(format!("view{}", self.views.len()));
        let view = View::new(shown.clone(), base, folders, self.request.store.overlay_xattrs())?;
        let path = view.path().to_owned();
        self.views.insert(key, view);
        Ok((path, shown))
    }
}
