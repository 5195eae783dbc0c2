//! Carries out stages: one overlay each, one instruction after the other.

use crate::config_change::StageConfig;
use crate::error::{BuildError, InstructionError};
use crate::executor::Executor;
use crate::history::{Note, created_by};
use crate::plan::{StageParent, position};
use crate::source::SourceRoot;
use crate::stage_root::StageRoot;
use crate::transfer::{TransferContext, transfer};
use crate::variables::{StageArgs, env_value};
use osbs_dockerfile::{Instruction, InstructionKind, Transfer, parse_trigger};
use osbs_image::{ImageConfig, StoredImage};
use osbs_sandbox::rooted::{Owner, Root};
use osbs_types::Position;
use std::path::{Path, PathBuf};

/// A stage at work, or finished.
pub(crate) struct Stage {
    /// In the Dockerfile.
    pub index: usize,
    pub config: StageConfig,
    pub history: Vec<Note>,
    /// The image below; `None` for scratch.
    pub image: Option<StoredImage>,
    pub image_name: Option<String>,
    /// Folders of the image below, bottom first.
    folders: Vec<PathBuf>,
    /// Upper folders of the stages it continues, bottom first.
    below: Vec<PathBuf>,
    pub root: StageRoot,
}

impl Stage {
    /// Before the first instruction, on an image or on nothing.
    fn fresh(
        index: usize,
        config: ImageConfig,
        image: Option<(String, StoredImage)>,
        folders: Vec<PathBuf>,
        root: StageRoot,
    ) -> Self {
        let (image_name, image) = image.unzip();
        let mut config = config;
        if env_value(&config.config.env, "PATH").is_none() {
            // As BuildKit has it; buildah does so for scratch.
            config.config.env.push(crate::run::PATH.to_owned());
        }
        let config = StageConfig { image: config, args: StageArgs::default(), own_cmd: false };
        Self { index, config, history: Vec::new(), image, image_name, folders, below: Vec::new(), root }
    }

    /// All that changed over the image below, bottom first.
    pub(crate) fn uppers(&self) -> Vec<PathBuf> {
        let mut uppers = self.below.clone();
        uppers.push(self.root.upper().to_owned());
        uppers
    }

    pub(crate) fn all_folders(&self) -> Vec<PathBuf> {
        self.folders.iter().cloned().chain(self.uppers()).collect()
    }
}

impl Executor<'_, '_> {
    /// Builds a stage to its end.
    pub(crate) fn build(&self, index: usize) -> Result<Stage, BuildError> {
        let plan = self.plan;
        let from = plan.stages[index].from;
        let needs = &plan.first_needs[index];
        if let (StageParent::Image { name, platform }, [_, ..]) = (&plan.parents[index], needs.as_slice()) {
            // There is time for it while this stage waits for the others.
            self.unpacked(name, platform.as_ref()).map_err(|error| self.at(from, None, error.into()))?;
        }
        for &other in needs {
            self.stage(other)?;
        }
        self.announce(index, from)?;
        let mut stage = self.begin(index).map_err(|error| self.at(from, None, error.into()))?;
        for text in std::mem::take(&mut stage.config.image.config.on_build).unwrap_or_default() {
            let origin = format!("ONBUILD of {}", stage.image_name.as_deref().unwrap_or("the stage"));
            let trigger =
                parse_trigger(&text, &origin).map_err(|error| BuildError::parent(&origin, error.to_failure()))?;
            self.one_more_step();
            self.carry_out(&mut stage, &trigger, Some(from))?;
        }
        for instruction in plan.stages[index].instructions {
            self.carry_out(&mut stage, instruction, None)?;
        }
        stage.root.unmount()?;
        Ok(stage)
    }

    fn announce(&self, index: usize, instruction: &Instruction) -> Result<(), BuildError> {
        if self.cancel.is_cancelled() {
            return Err(BuildError::Cancelled);
        }
        let (step, total) = self.next_step();
        self.observer.step(self.plan.label(index).as_label(), step, total, &crate::transfer::shown(instruction));
        Ok(())
    }

    /// An instruction's error with its place; a trigger's is that of its FROM.
    fn at(&self, instruction: &Instruction, from: Option<&Instruction>, error: InstructionError) -> BuildError {
        let place: Position = position(self.request.dockerfile, from.unwrap_or(instruction));
        match error {
            InstructionError::Build(inner) if matches!(*inner, BuildError::Cancelled | BuildError::Internal(_)) => {
                *inner
            }
            error => {
                let text = crate::transfer::shown(instruction).chars().take(300).collect();
                BuildError::Instruction { position: place, text, source: Box::new(error) }
            }
        }
    }

    /// The stage before its first instruction.
    fn begin(&self, index: usize) -> Result<Stage, BuildError> {
        let base = self.work.path().join(format!("stage{index}"));
        let name = match self.plan.stages[index].name {
            Some(name) => format!("stage {index} ({name})"),
            None => format!("stage {index}"),
        };
        let root = |lowers| StageRoot::new(name, base, lowers, self.request.store.overlay_xattrs());
        match &self.plan.parents[index] {
            StageParent::Scratch => {
                let image = ImageConfig::scratch(&self.request.architecture);
                Ok(Stage::fresh(index, image, None, Vec::new(), root(Vec::new())?))
            }
            StageParent::Image { name: parent, platform } => {
                let (image, folders) = self.unpacked(parent, platform.as_ref())?;
                let root = root(folders.clone())?;
                Ok(Stage::fresh(index, image.image_config.clone(), Some((parent.clone(), image)), folders, root))
            }
            StageParent::Stage(parent) => {
                let parent = self.stage(*parent)?;
                Ok(Stage {
                    index,
                    config: StageConfig { own_cmd: false, ..parent.config.clone() },
                    history: parent.history.clone(),
                    image: parent.image.clone(),
                    image_name: parent.image_name.clone(),
                    folders: parent.folders.clone(),
                    below: parent.uppers(),
                    root: root(parent.all_folders())?,
                })
            }
        }
    }

    fn carry_out(
        &self,
        stage: &mut Stage,
        instruction: &Instruction,
        from: Option<&Instruction>,
    ) -> Result<(), BuildError> {
        self.await_sources(stage, instruction)?;
        self.announce(stage.index, instruction)?;
        let files = self.instruction(stage, instruction).map_err(|error| self.at(instruction, from, error))?;
        stage.history.push(Note { text: created_by(instruction, &stage.config), files });
        Ok(())
    }

    /// Whether files may have changed.
    fn instruction(&self, stage: &mut Stage, instruction: &Instruction) -> Result<bool, InstructionError> {
        let global = &self.plan.args;
        if stage.config.apply(&instruction.kind, global)? {
            return Ok(false);
        }
        match &instruction.kind {
            InstructionKind::Workdir(word) => {
                let path = stage.config.workdir(word, global)?;
                self.make_workdir(stage, &path)?;
                stage.config.image.config.working_dir = path;
            }
            InstructionKind::Copy(it) => self.transfer(stage, it, false)?,
            InstructionKind::Add(it) => self.transfer(stage, it, true)?,
            InstructionKind::Run(it) => self.run(stage, it, &instruction.heredocs)?,
            _ => return Err(BuildError::Internal("an instruction that nobody carries out").into()),
        }
        Ok(true)
    }

    /// WORKDIR makes the folder, for the user that the image runs as.
    fn make_workdir(&self, stage: &mut Stage, path: &str) -> Result<(), InstructionError> {
        let view = stage.root.mounted()?;
        let root = Root::open(view).map_err(crate::accounts::rooted)?;
        let owner = match stage.config.image.config.user.as_str() {
            "" => Owner { uid: 0, gid: 0 },
            user => {
                let (user, _) = crate::accounts::run_as(&root, user)?;
                Owner { uid: user.uid, gid: user.gid }
            }
        };
        root.mkdir_all(Path::new(path), 0o755, owner)
            .map_err(|e| crate::FileError::new("create", path, e.source).located(self.work.path()))?;
        Ok(())
    }

    fn transfer(&self, stage: &mut Stage, it: &Transfer, add: bool) -> Result<(), InstructionError> {
        let scratch = self.scratch()?;
        let other;
        let source = match &it.from {
            None => self.context()?,
            Some(word) => {
                let (path, place) = self.tree_of(word, stage)?;
                other = SourceRoot::open(&path, place, None)?;
                &other
            }
        };
        let context = TransferContext {
            config: &stage.config,
            global: &self.plan.args,
            limits: &self.request.limits,
            fetcher: self.request.fetcher,
            threads: self.threads(),
            scratch: &scratch,
            log: &|line| self.observer.line(self.plan.label(stage.index).as_label(), line.as_bytes()),
            cancel: &self.cancel,
        };
        let result = transfer(&context, it, add, source, &mut stage.root);
        let _ = std::fs::remove_dir_all(&scratch);
        result
    }
}
