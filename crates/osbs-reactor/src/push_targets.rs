//! Where a worker pushes, and under which repository.

use crate::plugin::PluginError;
use crate::registries::{OutputRegistry, RegistryArg};
use crate::run::Run;
use osbs_dockerfile::{Dockerfile, find_label};
use osbs_types::{Phase, PullSpec};
use std::collections::BTreeMap;

/// All registries of this build: those of the configuration, else of `tag_and_push`'s arguments. None is no error: the
/// image then stays on this machine.
pub(crate) async fn push_targets(run: &Run) -> Result<Vec<OutputRegistry>, PluginError> {
    let args =
        run.request.plugins.entry(Phase::Postbuild, "tag_and_push").and_then(|entry| entry.args.get("registries"));
    let args: BTreeMap<String, RegistryArg> = match args {
        Some(args) => serde_json::from_value(args.clone())
            .map_err(|error| PluginError::user(format!("registries of tag_and_push in the build JSON: {error}")))?,
        None => BTreeMap::new(),
    };
    if run.config.registries.is_empty() && args.is_empty() {
        return Ok(Vec::new());
    }
    run.output_registries(&args).await
}

/// `ns/repo` of the image: label `name`, inside the organisation if there is one (`reactor.md` 3.4.3).
pub(crate) fn image_repository(run: &Run, dockerfile: &Dockerfile) -> Result<PullSpec, PluginError> {
    let env = run.parents.base_inspect.as_ref().map(|base| base.env.clone()).unwrap_or_default();
    let labels = dockerfile.labels(&env)?;
    let (_, name) =
        find_label(&labels, "name").ok_or_else(|| PluginError::user("the Dockerfile lacks the label name"))?;
    let name: PullSpec = name.parse().map_err(|e: osbs_types::PullSpecError| PluginError::user(e.to_string()))?;
    Ok(run.config.registries_organization.as_deref().map_or(name.clone(), |organization| name.enclose(organization)))
}
