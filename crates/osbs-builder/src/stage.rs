//! Carries out stages: one overlay each, one instruction after the other.

use crate::config_change::StageConfig;
use crate::error::{BuildError, InstructionError};
use crate::plan::{Plan, StageParent, position};
use crate::request::{BuildObserver, BuildRequest};
use crate::source::SourceRoot;
use crate::stage_root::{StageRoot, View, WorkDir};
use crate::transfer::{TransferContext, transfer};
use crate::variables::StageArgs;
use osbs_dockerfile::{CommandForm, Dockerfile, Instruction, InstructionKind, Run, Transfer, parse_trigger};
use osbs_image::{ImageConfig, StoredImage};
use osbs_sandbox::rooted::{Owner, Root};
use osbs_types::Position;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// An instruction's entry in the history.
#[derive(Debug, Clone)]
pub(crate) struct Note {
    pub text: String,
    /// It may have changed files.
    pub files: bool,
}

/// A stage at work, or finished.
pub(crate) struct Stage {
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

/// The build while stages are carried out.
pub(crate) struct Executor<'b, 'a> {
    pub request: &'b BuildRequest<'a>,
    pub plan: &'b Plan<'a>,
    pub observer: &'b dyn BuildObserver,
    pub cancel: &'b CancellationToken,
    // Views before stages before the folder: what is mounted on something goes first.
    pub views: HashMap<String, View>,
    pub stages: Vec<Option<Stage>>,
    pub context: Option<SourceRoot>,
    pub work: &'b WorkDir,
    scratch_number: u32,
    step: usize,
    total: usize,
    stage_number: usize,
    pub runnable: Vec<String>,
    pub unpack_seconds: f64,
}

impl<'b, 'a> Executor<'b, 'a> {
    pub(crate) fn new(
        request: &'b BuildRequest<'a>,
        plan: &'b Plan<'a>,
        work: &'b WorkDir,
        observer: &'b dyn BuildObserver,
        cancel: &'b CancellationToken,
    ) -> Self {
        let total = plan.order.iter().map(|&index| plan.stages[index].instructions.len() + 1).sum();
        Self {
            request,
            plan,
            observer,
            cancel,
            views: HashMap::new(),
            stages: (0..plan.stages.len()).map(|_| None).collect(),
            context: None,
            work,
            scratch_number: 0,
            step: 0,
            total,
            stage_number: 0,
            runnable: Vec::new(),
            unpack_seconds: 0.0,
        }
    }

    pub(crate) fn dockerfile(&self) -> &'a Dockerfile {
        self.request.dockerfile
    }

    pub(crate) fn threads(&self) -> usize {
        threads(self.request.threads)
    }

    /// Builds the target and what it needs; the target stage, unmounted.
    pub(crate) fn target(&mut self) -> Result<Stage, BuildError> {
        for &index in &self.plan.order {
            self.ensure(index)?;
        }
        let stage = self.stages[self.plan.target].take();
        stage.ok_or(BuildError::Internal("the target stage was not built"))
    }

    pub(crate) fn ensure(&mut self, index: usize) -> Result<(), BuildError> {
        if self.stages[index].is_none() {
            let stage = self.build(index)?;
            self.stages[index] = Some(stage);
        }
        Ok(())
    }

    fn build(&mut self, index: usize) -> Result<Stage, BuildError> {
        if let StageParent::Stage(parent) = self.plan.parents[index] {
            self.ensure(parent)?;
        }
        self.stage_number += 1;
        let plan = self.plan;
        let from = plan.stages[index].from;
        self.announce(from)?;
        let mut stage = self.begin(index).map_err(|error| self.at(from, None, error.into()))?;
        for text in std::mem::take(&mut stage.config.image.config.on_build).unwrap_or_default() {
            let origin = format!("ONBUILD of {}", stage.image_name.as_deref().unwrap_or("the stage"));
            let trigger =
                parse_trigger(&text, &origin).map_err(|error| BuildError::parent(&origin, error.to_failure()))?;
            self.total += 1;
            self.carry_out(&mut stage, index, &trigger, Some(from))?;
        }
        for instruction in plan.stages[index].instructions {
            self.carry_out(&mut stage, index, instruction, None)?;
        }
        stage.root.unmount()?;
        Ok(stage)
    }

    fn announce(&mut self, instruction: &Instruction) -> Result<(), BuildError> {
        if self.cancel.is_cancelled() {
            return Err(BuildError::Cancelled);
        }
        self.step += 1;
        self.observer.step(self.stage_number, self.step, self.total, &instruction.logical);
        Ok(())
    }

    /// An instruction's error with its place; a trigger's is that of its FROM.
    fn at(&self, instruction: &Instruction, from: Option<&Instruction>, error: InstructionError) -> BuildError {
        let place: Position = position(self.dockerfile(), from.unwrap_or(instruction));
        match error {
            InstructionError::Build(inner) if matches!(*inner, BuildError::Cancelled | BuildError::Internal(_)) => {
                *inner
            }
            error => {
                let text = instruction.logical.chars().take(300).collect();
                BuildError::Instruction { position: place, text, source: Box::new(error) }
            }
        }
    }

    /// The stage before its first instruction.
    fn begin(&mut self, index: usize) -> Result<Stage, BuildError> {
        let base = self.work.path().join(format!("stage{index}"));
        let name = match self.plan.stages[index].name {
            Some(name) => format!("stage {index} ({name})"),
            None => format!("stage {index}"),
        };
        match &self.plan.parents[index] {
            StageParent::Scratch => {
                let image = ImageConfig::scratch(&self.request.architecture);
                self.fresh(name, base, image, None, Vec::new())
            }
            StageParent::Image { name: parent, platform } => {
                let wanted = platform.as_ref().unwrap_or(&self.request.architecture);
                let image = self.image(parent, wanted)?;
                let folders = self.unpack(&image)?;
                self.fresh(name, base, image.image_config.clone(), Some((parent.clone(), image)), folders)
            }
            StageParent::Stage(parent) => {
                let parent =
                    self.stages[*parent].as_ref().ok_or(BuildError::Internal("a stage was built before its parent"))?;
                let root = StageRoot::new(name, base, parent.all_folders(), self.request.store.overlay_xattrs())?;
                Ok(Stage {
                    config: StageConfig { own_cmd: false, ..parent.config.clone() },
                    history: parent.history.clone(),
                    image: parent.image.clone(),
                    image_name: parent.image_name.clone(),
                    folders: parent.folders.clone(),
                    below: parent.uppers(),
                    root,
                })
            }
        }
    }

    fn fresh(
        &self,
        name: String,
        base: PathBuf,
        config: ImageConfig,
        image: Option<(String, StoredImage)>,
        folders: Vec<PathBuf>,
    ) -> Result<Stage, BuildError> {
        let root = StageRoot::new(name, base, folders.clone(), self.request.store.overlay_xattrs())?;
        let (image_name, image) = image.unzip();
        let config = StageConfig { image: config, args: StageArgs::default(), own_cmd: false };
        Ok(Stage { config, history: Vec::new(), image, image_name, folders, below: Vec::new(), root })
    }

    /// A new folder for one instruction.
    pub(crate) fn scratch(&mut self) -> Result<PathBuf, InstructionError> {
        self.scratch_number += 1;
        let path = self.work.path().join(format!("scratch{}", self.scratch_number));
        std::fs::create_dir(&path).map_err(|e| crate::FileError::new("create", &path, e).located(self.work.path()))?;
        Ok(path)
    }

    fn carry_out(
        &mut self,
        stage: &mut Stage,
        index: usize,
        instruction: &Instruction,
        from: Option<&Instruction>,
    ) -> Result<(), BuildError> {
        self.announce(instruction)?;
        let files = self.instruction(stage, index, instruction).map_err(|error| self.at(instruction, from, error))?;
        stage.history.push(Note { text: history_text(instruction, &stage.config), files });
        Ok(())
    }

    /// Whether files may have changed.
    fn instruction(
        &mut self,
        stage: &mut Stage,
        index: usize,
        instruction: &Instruction,
    ) -> Result<bool, InstructionError> {
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
            InstructionKind::Copy(it) => self.transfer(stage, index, it, false)?,
            InstructionKind::Add(it) => self.transfer(stage, index, it, true)?,
            InstructionKind::Run(it) => self.run(stage, index, it, &instruction.heredocs)?,
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

    fn transfer(&mut self, stage: &mut Stage, index: usize, it: &Transfer, add: bool) -> Result<(), InstructionError> {
        let scratch = self.scratch()?;
        let from = match &it.from {
            None => None,
            Some(word) => Some(self.tree_of(word, index, &stage.config)?),
        };
        let source = match from {
            None => self.take_context()?,
            Some((path, place)) => SourceRoot::open(&path, place, None)?,
        };
        let context = TransferContext {
            config: &stage.config,
            global: &self.plan.args,
            limits: &self.request.limits,
            fetcher: self.request.fetcher,
            threads: self.threads(),
            scratch: &scratch,
            cancel: self.cancel,
        };
        let result = transfer(&context, it, add, &source, &mut stage.root);
        if it.from.is_none() {
            self.context = Some(source);
        }
        let _ = std::fs::remove_dir_all(&scratch);
        result
    }
}

/// 0 means as many as the machine has.
pub(crate) fn threads(wanted: usize) -> usize {
    if wanted > 0 { wanted } else { std::thread::available_parallelism().map_or(1, usize::from) }
}

/// As `docker history` shows it; never with the values of arguments or secrets.
fn history_text(instruction: &Instruction, config: &StageConfig) -> String {
    match &instruction.kind {
        InstructionKind::Run(Run { command: CommandForm::Shell(text), .. }) => {
            format!("RUN {} {text}", config.shell().join(" "))
        }
        _ => instruction.logical.clone(),
    }
}
