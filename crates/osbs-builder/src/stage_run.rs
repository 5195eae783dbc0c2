//! RUN as part of a stage: what one container gets of the request, the stage and the other stages.
//!
//! Must not know how a container is described or started: that is [`crate::run`].

use crate::error::{BuildError, InstructionError};
use crate::executor::Executor;
use crate::run::{RunContext, run};
use crate::run_mounts::{MountSources, RunMounts};
use crate::stage::Stage;
use osbs_dockerfile::{Heredoc, Mount, Run};
use osbs_types::Architecture;
use std::path::{Path, PathBuf};

impl Executor<'_, '_> {
    /// Carries out one RUN in the root of `stage`.
    pub(crate) fn run(&self, stage: &mut Stage, it: &Run, heredocs: &[Heredoc]) -> Result<(), InstructionError> {
        let Some(runtime) = self.request.runtime else {
            let instead = Some("install runc (apt-get install runc), or build without RUN instructions".into());
            return Err(InstructionError::Unsupported { what: "RUN without an OCI runtime".into(), instead });
        };
        let architecture = stage.config.image.architecture();
        self.check_runnable(&architecture)?;
        let scratch = self.scratch()?;
        let label = self.plan.label(stage.index);
        let result = self.run_mounts(stage, it, &scratch).and_then(|mounts| {
            let context = RunContext {
                config: &stage.config,
                global: &self.plan.args,
                runtime,
                network: self.request.network,
                cgroup: self.request.cgroup.as_deref(),
                root: stage.root.mounted()?,
                scratch: &scratch,
                on_line: &|line| self.observer.line(label.as_label(), line),
                cancel: &self.cancel,
            };
            run(&context, it, heredocs, mounts)
        });
        let _ = osbs_sandbox::unmount_below(&scratch);
        let _ = std::fs::remove_dir_all(&scratch);
        result
    }

    fn run_mounts(&self, stage: &Stage, it: &Run, scratch: &Path) -> Result<RunMounts, InstructionError> {
        let mut mounts = RunMounts::default();
        let caches = self.request.cache_dir.clone().unwrap_or_else(|| self.work.path().join("caches"));
        // First what may have to be built, then what is locked: who waits for another stage must hold no cache.
        let mut resolved = Vec::with_capacity(it.mounts.len());
        for text in &it.mounts {
            let (args, env, global) = (&stage.config.args, stage.config.env(), &self.plan.args);
            let mount = text
                .resolve(&|word| osbs_dockerfile::expand(word, &|name| args.lookup(name, env), global.escape))
                .map_err(|error| InstructionError::Expansion {
                    text: text.as_str().to_owned(),
                    source: Box::new(error),
                })?;
            let tree = self.mount_source(&mount, stage)?;
            resolved.push((mount, tree));
        }
        let sources = MountSources {
            working_dir: &stage.config.image.config.working_dir,
            secrets: &self.request.secrets,
            cache_dir: &caches,
            scratch,
            threads: self.threads(),
            overlay_xattrs: self.request.store.overlay_xattrs(),
            cancel: &self.cancel,
        };
        for (mount, tree) in &resolved {
            mounts.add(mount, tree.as_deref(), &sources)?;
        }
        Ok(mounts)
    }

    /// The tree that a mount shows a part of: the context, a stage or an image.
    fn mount_source(&self, mount: &Mount, stage: &Stage) -> Result<Option<PathBuf>, InstructionError> {
        match mount {
            Mount::Bind { from: Some(from), .. } | Mount::Cache { from: Some(from), .. } => {
                Ok(Some(self.tree_of(from, stage)?.0))
            }
            Mount::Bind { from: None, .. } => Ok(Some(self.context()?.path.clone())),
            _ => Ok(None),
        }
    }

    fn check_runnable(&self, architecture: &Architecture) -> Result<(), InstructionError> {
        let name = architecture.to_string();
        let probe = || {
            osbs_sandbox::can_run(architecture)
                .or_else(|_| osbs_sandbox::register_binfmt(architecture))
                .map_err(|source| BuildError::Foreign { architecture: name.clone(), source }.into())
        };
        self.runnable.with(&name, probe, |()| ())
    }
}
