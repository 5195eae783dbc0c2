//! `koji_tag_build`: tags the imported build for its target (`reactor.md` 3.5.9).

use crate::koji::KojiArgs;
use crate::koji::task::{PatienceArgs, finished};
use crate::koji::with_koji_arguments;
use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::run::Run;
use async_trait::async_trait;
use osbs_koji::{FaultCode, KojiError, calls};
use osbs_types::Phase;
use serde::Deserialize;
use serde_json::{Value, json};

/// The plugin's type.
pub fn plugin() -> PluginType {
    let kind = PluginType::new("koji_tag_build", &[Phase::Exit], |args| Ok(Box::new(args.parse::<KojiTagBuild>()?)))
        .purpose("Tags the build in Koji with the destination tag of its target, and waits until that is done.")
        .argument("target", "the build target; without one nothing is tagged")
        .argument("poll_interval", "seconds between two looks at the task; 5 unless said")
        .argument("poll_timeout", "seconds until the task must have ended; 1800 unless said")
        .argument("kojihub", "XML-RPC URL of the hub, where config.yaml has no `koji`");
    with_koji_arguments(kind)
        .reads(&["result of `koji_import` or `koji_promote`", "config.yaml: koji"])
        .writes(&["the tag of the build in Koji"])
}

/// Seconds between two looks.
const EVERY: f64 = 5.0;
/// Seconds for the task. It is a small one, but it waits for a builder like any other.
const LIMIT: f64 = 1800.0;

#[derive(Deserialize, Default)]
#[serde(default)]
struct KojiTagBuild {
    target: Option<String>,
    #[serde(flatten)]
    patience: PatienceArgs,
    #[serde(flatten)]
    koji: KojiArgs,
}

#[async_trait]
impl Plugin for KojiTagBuild {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        if run.has_failed() {
            return Ok(Done::Skipped("the build has failed".to_owned()));
        }
        let results = ["koji_import", "koji_promote"].map(|plugin| run.result(Phase::Exit, plugin));
        let Some(build) = results.into_iter().flatten().find_map(Value::as_i64) else {
            return Ok(Done::Skipped("there is no build in Koji".to_owned()));
        };
        let Some(target) = &self.target else { return Ok(Done::Skipped("the request has no target".to_owned())) };
        tag(run, &self.koji, self.patience, target, build).await.map(|tag| Done::Value(json!(tag)))
    }
}

/// Tags a build for a target; gives the tag.
pub(super) async fn tag(
    run: &Run,
    args: &KojiArgs,
    patience: PatienceArgs,
    target: &str,
    build: i64,
) -> Result<String, PluginError> {
    let koji = run.needed_koji(args).await?;
    let tag = koji.target(target).await?.dest_tag_name;
    match koji.ask(calls::tag_build(&tag, build)).await {
        Ok(task) => finished(run, &koji, task, &format!("tag {tag}"), patience.or(EVERY, LIMIT)).await?,
        Err(error @ KojiError::AnswerLost { .. }) => {
            run.log().warning(format!("{error}: waiting for the tag itself"));
            koji.tagged(run, build, &tag, patience.or(EVERY, LIMIT)).await?;
        }
        Err(error) => return Err(refused(error, &tag)),
    }
    run.log().info(format!("build {build} of Koji has tag {tag}"));
    Ok(tag)
}

/// The build is in Koji, and stays there without the tag.
fn refused(error: KojiError, tag: &str) -> PluginError {
    if error.is(FaultCode::TagError) {
        let text = format!("the package must be in the list of tag {tag}: koji add-pkg --owner USER {tag} PACKAGE");
        return PluginError::from(error).with_hint(&text);
    }
    PluginError::from(error)
}
