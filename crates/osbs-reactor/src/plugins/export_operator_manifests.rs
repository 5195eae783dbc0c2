//! `export_operator_manifests`: takes `/manifests` of an operator's image out into `operator_manifests.zip` (`reactor.md`
//! 3.4.10, 6.3 X4).
//!
//! The archive is kept with the build's results, and its place in the run's state and in the worker's metadata. Sending it
//! anywhere is not this plugin's.

mod error;
mod manifests;

use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::run::{OperatorManifests, Run};
use async_trait::async_trait;
use manifests::Export;
use osbs_dockerfile::find_label;
use osbs_image::StoredImage;
use osbs_types::{Phase, Platform};
use serde::Deserialize;
use serde_json::json;

/// The label that marks an operator.
const OPERATOR_LABEL: &str = "com.redhat.delivery.appregistry";
/// The archive's name, also in Koji.
const ARCHIVE: &str = "operator_manifests.zip";

/// The plugin's type.
pub fn plugin() -> PluginType {
    PluginType::new("export_operator_manifests", &[Phase::Postbuild], |args| Ok(Box::new(args.parse::<Manifests>()?)))
        .purpose("Takes the folder /manifests of an operator's image out as operator_manifests.zip.")
        .argument("platform", "the platform of this build. Default: that of the worker build, else this machine's")
        .argument(
            "operator_manifests_extract_platform",
            "the platform whose worker exports them, for one is enough. Default: this worker's",
        )
        .reads(&["the built image", "label com.redhat.delivery.appregistry of the Dockerfile and its parent"])
        .writes(&[
            "operator_manifests.zip among the build's results",
            "state operator_manifests, for koji_upload",
            "summary: operator_manifests",
        ])
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Manifests {
    platform: Option<Platform>,
    operator_manifests_extract_platform: Option<Platform>,
}

#[async_trait]
impl Plugin for Manifests {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        if let Some(why) = self.why_not(run)? {
            return Ok(Done::Skipped(why.to_owned()));
        }
        let facts =
            run.built.as_ref().ok_or_else(|| PluginError::internal("there is no built image to export from"))?;
        let folder = run.services.imaging.results_dir.clone();
        std::fs::create_dir_all(&folder)
            .map_err(|e| PluginError::resource(format!("the folder {} cannot be made: {e}", folder.display())))?;
        let path = folder.join(ARCHIVE);
        let export = Export {
            image: StoredImage::load(&run.services.store, &facts.manifest)?,
            store: run.services.store.clone(),
            work: run.workdir()?.join("operator-manifests"),
            archive: path.clone(),
            time: run.started,
        };
        let written = run.blocking(move |cancel| export.run(cancel)).await?;
        run.log().info(format!("{}: {} files of /manifests, {} bytes", path.display(), written.files, written.size));
        let told = json!({"path": path, "files": written.files, "size": written.size, "md5sum": written.md5sum});
        run.facts.insert("operator_manifests".to_owned(), told);
        run.operator_manifests =
            Some(OperatorManifests { path: path.clone(), size: written.size, md5sum: written.md5sum });
        Ok(Done::Value(json!(path)))
    }
}

impl Manifests {
    /// Nearly all builds have nothing to export.
    fn why_not(&self, run: &Run) -> Result<Option<&'static str>, PluginError> {
        if run.is_orchestrator() {
            run.log().warning("operator manifests are exported by a worker, not by the orchestrator");
            return Ok(Some("workers export manifests"));
        }
        let own = self.platform.clone().unwrap_or_else(|| run.platform());
        if self.operator_manifests_extract_platform.as_ref().is_some_and(|platform| *platform != own) {
            return Ok(Some("the worker of another platform exports them"));
        }
        if run.is_scratch() {
            return Ok(Some("a scratch build exports nothing"));
        }
        let labels = run.dockerfile_labels()?;
        let is_operator = find_label(&labels, OPERATOR_LABEL).is_some_and(|(_, v)| v.eq_ignore_ascii_case("true"));
        Ok((!is_operator).then_some("the image is no operator"))
    }
}

#[cfg(test)]
mod tests;
