//! `koji_upload`: brings the worker's archive and log to Koji, and leaves the worker's part of the metadata for the
//! orchestrator (`reactor.md` 3.4.9, 3.6).
//!
//! Without a Koji hub nothing is uploaded; the fragment in the ConfigMap is what `fetch_worker_metadata` and
//! `compare_components` work on.

use crate::koji::fragment::{
    BuildFile, SaidTags, archive, buildroot, image_output, manifests_output, operator_manifests,
};
use crate::koji::metadata::metadata;
use crate::koji::upload::{upload, upload_directory};
use crate::koji::{KojiArgs, log_files, with_koji_arguments};
use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::run::Run;
use async_trait::async_trait;
use osbs_cluster::TextMap;
use osbs_types::{BuildName, Phase, Platform};
use serde::Deserialize;
use serde_json::{Value, json};

/// The plugin's type.
pub fn plugin() -> PluginType {
    let kind = PluginType::new("koji_upload", &[Phase::Postbuild], |args| Ok(Box::new(args.parse::<KojiUpload>()?)))
        .purpose(
            "Uploads this worker's archive and log to Koji, and leaves its part of the metadata for the orchestrator.",
        )
        .argument("platform", "what the image is for; the build's own platform unless said")
        .argument("koji_upload_dir", "folder in Koji's upload area, the same for all workers of a build")
        .argument("kojihub", "XML-RPC URL of the hub, where config.yaml has no `koji`");
    with_koji_arguments(kind)
        .accepts(&["blocksize", "report_multiple_digests", "prefer_schema1_digest", "build_json_dir"])
        .accepts(&["url", "use_auth", "verify_ssl"])
        .reads(&[
            "the built image, its archive by `compress`, its packages by `all_rpm_packages`",
            "names and digests by `tag_and_push`; operator manifests by `export_operator_manifests`",
            "what the build step wrote; packages of this machine",
            "config.yaml: koji; without it nothing is uploaded",
        ])
        .writes(&[
            "the archive, PLATFORM-build.log and operator manifests in the upload folder; nothing of a scratch build",
            "ConfigMap BUILD-md",
            "annotations metadata_fragment, metadata_fragment_key",
        ])
}

/// Key of the fragment in the ConfigMap.
const FRAGMENT_KEY: &str = "metadata.json";

/// The ConfigMap of a build's metadata.
pub(super) fn config_map_of(build: &BuildName) -> String {
    format!("{build}-md")
}

/// The archive, without which there is nothing to import.
pub(super) fn archive_or_error(run: &Run, platform: &Platform) -> Result<BuildFile, PluginError> {
    archive(run, platform).ok_or_else(|| {
        PluginError::policy("there is no archive of the image to upload to Koji")
            .with_hint("the plugin `compress` makes it: look at the site's plugin lists")
    })
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct KojiUpload {
    platform: Option<Platform>,
    #[serde(rename = "koji_upload_dir")]
    folder: Option<String>,
    #[serde(flatten)]
    koji: KojiArgs,
}

#[async_trait]
impl Plugin for KojiUpload {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        if run.build_process_failed() {
            return Ok(Done::Skipped("the build has failed".to_owned()));
        }
        let platform = self.platform.clone().unwrap_or_else(|| run.platform());
        let manifests = operator_manifests(run);
        let (mut output, mut image_file) = (Vec::new(), archive(run, &platform));
        if run.has_koji(&self.koji) {
            let log = log_files::build_step(run, &format!("{platform}-build.log")).await?;
            output.push(log.facts.log(&json!(1), platform.as_str()));
            if !run.is_scratch() {
                let archive = archive_or_error(run, &platform)?;
                self.bring(run, [&log, &archive].into_iter().chain(&manifests)).await?;
                image_file = Some(archive);
            }
        }
        let facts = image_file.as_ref().map(|file| &file.facts);
        output.push(image_output(run, &platform, facts, SaidTags::All)?);
        output.extend(manifests.iter().map(|file| manifests_output(&file.facts)));
        let fragment = metadata(None, vec![buildroot(run, &platform, 1).await?], output);
        leave(run, &fragment).await
    }
}

impl KojiUpload {
    async fn bring(&self, run: &mut Run, files: impl Iterator<Item = &BuildFile>) -> Result<(), PluginError> {
        let koji = run.needed_koji(&self.koji).await?;
        let directory = upload_directory(run, self.folder.as_deref());
        for file in files {
            upload(run, &koji, file, &directory).await?;
        }
        Ok(())
    }
}

/// Where `fetch_worker_metadata` of the orchestrator finds it.
async fn leave(run: &Run, fragment: &Value) -> PluginResult {
    let name = config_map_of(&run.build.name);
    let data = TextMap::from([(FRAGMENT_KEY.to_owned(), fragment.to_string())]);
    run.services.cluster.put_config_map(&name, &data).await?;
    run.log().debug(format!("the metadata fragment is ConfigMap {name}"));
    Ok(Done::Value(json!({
        "metadata_fragment": format!("configmap/{name}"),
        "metadata_fragment_key": FRAGMENT_KEY,
    })))
}
