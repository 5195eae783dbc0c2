//! RUN as part of a stage: what one container gets of the request, the stage and the other stages.
//!
//! Must not know how a container is described or started: that is [`crate::run`].

use crate::accounts::{rooted, run_as};
use crate::containment;
use crate::error::{BuildError, InstructionError};
use crate::executor::Executor;
use crate::run::{RunContext, is_insecure, run};
use crate::run_mounts::{MountSources, MountTree, RunMounts};
use crate::stage::Stage;
use osbs_dockerfile::{Heredoc, Mount, Run};
use osbs_sandbox::rooted::Root;
use osbs_sandbox::{IdMap, Runtime, User};
use osbs_types::Architecture;
use std::path::{Path, PathBuf};

impl Executor<'_, '_> {
    /// Carries out one RUN in the root of `stage`.
    pub(crate) fn run(&self, stage: &mut Stage, it: &Run, heredocs: &[Heredoc]) -> Result<(), InstructionError> {
        let Some(runtime) = self.request.runtime else {
            let reason = self.request.no_runtime.clone();
            let instead = reason
                .or_else(|| Some("install runc (apt-get install runc), or build without RUN instructions".into()));
            return Err(InstructionError::Unsupported { what: "RUN without an OCI runtime".into(), instead });
        };
        let architecture = stage.config.image.architecture();
        self.check_runnable(&architecture)?;
        let scratch = self.scratch()?;
        let label = self.plan.label(stage.index);
        let on_line = |line: &[u8]| self.observer.line(label.as_label(), line);
        let (id_map, user, home) = self.who(stage, it, runtime, &on_line)?;
        let result = self.run_mounts(stage, it, &scratch, id_map).and_then(|mounts| {
            let context = RunContext {
                config: &stage.config,
                global: &self.plan.args,
                runtime,
                network: self.request.network,
                cgroup: self.request.cgroup.as_deref(),
                limits: self.request.run_limits,
                allow_insecure: self.request.allow_insecure,
                root: stage.root.mounted_as(id_map)?,
                id_map,
                user,
                home,
                scratch: &scratch,
                on_line: &on_line,
                cancel: &self.cancel,
            };
            run(&context, it, heredocs, mounts)
        });
        let _ = osbs_sandbox::unmount_below(&scratch);
        let _ = std::fs::remove_dir_all(&scratch);
        result
    }

    /// Who runs the command, where they are at home, and through which ids the container sees its files.
    fn who(
        &self,
        stage: &mut Stage,
        it: &Run,
        runtime: &Runtime,
        tell: &dyn Fn(&[u8]),
    ) -> Result<(Option<&'static IdMap>, User, Option<String>), InstructionError> {
        let map = if is_insecure(it) {
            None
        } else {
            let find = || containment::id_map(self.request, runtime, self.work.path(), tell);
            *self.id_map.get_or_make(find)?
        };
        let root = Root::open(stage.root.mounted_as(map)?).map_err(rooted)?;
        let (user, home) = run_as(&root, &stage.config.image.config.user)?;
        let map = containment::for_user(map, &user, self.request.user_namespace, tell)?;
        Ok((map, user, home))
    }

    fn run_mounts(
        &self,
        stage: &Stage,
        it: &Run,
        scratch: &Path,
        id_map: Option<&'static IdMap>,
    ) -> Result<RunMounts, InstructionError> {
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
            let tree = self.mount_source(&mount, stage, id_map.is_some())?;
            resolved.push((mount, tree));
        }
        let sources = MountSources {
            working_dir: &stage.config.image.config.working_dir,
            secrets: &self.request.secrets,
            agents: &self.request.ssh,
            id_map,
            cache_dir: &caches,
            scratch,
            threads: self.threads(),
            overlay_xattrs: self.request.store.overlay_xattrs(),
            cancel: &self.cancel,
        };
        mounts.lock_caches(resolved.iter().map(|(mount, _)| mount), &sources)?;
        for (mount, tree) in &resolved {
            mounts.add(mount, tree.as_ref(), &sources)?;
        }
        Ok(mounts)
    }

    /// The tree that a mount shows a part of: the context, a stage or an image. An overlay of ours cannot be shown with
    /// `mapped` ids; one for the command is mounted from its folders.
    fn mount_source(&self, mount: &Mount, stage: &Stage, mapped: bool) -> Result<Option<MountTree>, InstructionError> {
        match mount {
            Mount::Bind { from: Some(from), .. } if mapped => Ok(Some(tree(self.folders_of(from, stage)?))),
            Mount::Bind { from: Some(from), .. } | Mount::Cache { from: Some(from), .. } => {
                Ok(Some(MountTree::Folder(self.tree_of(from, stage)?.0)))
            }
            Mount::Bind { from: None, .. } => Ok(Some(tree(self.context_layers()?.clone()))),
            _ => Ok(None),
        }
    }

    fn context_layers(&self) -> Result<&Vec<PathBuf>, InstructionError> {
        self.context_layers.get_or_make(|| {
            let context = self.context()?;
            let mask = crate::ignored_files::hide(context, &self.new_path("ignored"), &self.cancel)?;
            Ok(std::iter::once(context.path.clone()).chain(mask).collect())
        })
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

fn tree(mut folders: Vec<PathBuf>) -> MountTree {
    match folders.pop() {
        Some(only) if folders.is_empty() => MountTree::Folder(only),
        last => MountTree::Layers(folders.into_iter().chain(last).collect()),
    }
}
