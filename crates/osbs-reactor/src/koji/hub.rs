//! What several plugins ask a hub.

use super::KojiSite;
use super::task::Patience;
use crate::plugin::PluginError;
use crate::run::Run;
use osbs_koji::{Archive, Build, BuildInfo, FaultCode, KojiError, MethodCall, Target, calls};
use std::time::Instant;

impl KojiSite {
    /// One call.
    pub(crate) async fn ask<T>(&self, call: MethodCall<T>) -> Result<T, KojiError> {
        self.client.call(call).await
    }

    /// A build; `None`: there is none. A text that is no NVR is a build that is not there.
    pub(crate) async fn build(&self, named: BuildInfo<'_>) -> Result<Option<Build>, KojiError> {
        match self.ask(calls::get_build(named)).await {
            Err(error) if error.is(FaultCode::GenericError) && matches!(named, BuildInfo::Nvr(_)) => Ok(None),
            answer => answer,
        }
    }

    /// Archives of a build, of one type.
    pub(crate) async fn archives(&self, build: i64, btype: &str) -> Result<Vec<Archive>, KojiError> {
        self.ask(calls::list_archives(build, Some(btype))).await
    }

    /// A target that must be there.
    pub(crate) async fn target(&self, name: &str) -> Result<Target, PluginError> {
        self.target_by(calls::get_build_target(name), name).await
    }

    async fn target_by(&self, call: MethodCall<Option<Target>>, name: &str) -> Result<Target, PluginError> {
        self.ask(call).await?.ok_or_else(|| {
            PluginError::user(format!("Koji has no build target {name}"))
                .with_hint("`koji list-targets` tells which there are; --target names one")
        })
    }

    /// The arches of a target's build tag, as of one moment; none: the tag says nothing.
    pub(crate) async fn arches_of_target(&self, target: &str) -> Result<Vec<String>, PluginError> {
        let event = self.ask(calls::get_last_event()).await?.id;
        let found = self.target_by(calls::get_build_target(target).named("event", event), target).await?;
        let tag = calls::get_build_config(found.build_tag_name.as_str()).named("event", event);
        let config = self.ask(tag).await?;
        Ok(config.map(|config| config.arches).unwrap_or_default())
    }

    /// Whose session this is.
    pub(crate) async fn user(&self) -> Result<Option<String>, KojiError> {
        Ok(self.ask(calls::get_logged_in_user()).await?.map(|user| user.name))
    }

    /// Who a task belongs to; `None`: no such task.
    pub(crate) async fn owner_of_task(&self, task: i64) -> Result<Option<String>, KojiError> {
        let Some(owner) = self.ask(calls::get_task_info(task, false)).await?.and_then(|task| task.owner) else {
            return Ok(None);
        };
        Ok(self.ask(calls::get_user(owner)).await?.map(|user| user.name))
    }

    /// Waits until a build has a tag, whatever task gives it.
    pub(crate) async fn tagged(&self, run: &Run, build: i64, tag: &str, patience: Patience) -> Result<(), PluginError> {
        let started = Instant::now();
        loop {
            if self.ask(calls::list_tags(build)).await?.iter().any(|found| found.name == tag) {
                return Ok(());
            }
            if started.elapsed() + patience.every > patience.limit {
                let text = format!("build {build} of Koji does not get tag {tag}, and the answer of tagBuild was lost");
                return Err(PluginError::remote(text).with_hint("tag it by hand: koji tag-build TAG NVR"));
            }
            run.log().debug(format!("build {build} of Koji has not tag {tag} yet"));
            tokio::time::sleep(patience.every).await;
        }
    }
}
