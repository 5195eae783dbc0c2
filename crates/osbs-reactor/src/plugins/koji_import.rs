//! `koji_import`: makes one build in Koji of what all workers have uploaded (`reactor.md` 3.5.6, 3.6).
//!
//! A scratch build is not imported: its metadata is uploaded, and a line of the log says where it is.

use crate::koji::import::{METADATA, import, upload_metadata};
use crate::koji::metadata::{combined, name_only_image};
use crate::koji::upload::{upload, upload_directory};
use crate::koji::{KojiArgs, facts, log_files, with_koji_arguments};
use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::run::Run;
use async_trait::async_trait;
use osbs_types::Phase;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The platform's place in the log line that says where metadata is (`reactor.md` 4.4).
const METADATA_LINE: &str = "_metadata_";

/// The plugin's type.
pub fn plugin() -> PluginType {
    let kind = PluginType::new("koji_import", &[Phase::Exit], |args| Ok(Box::new(args.parse::<KojiImport>()?)))
        .purpose("Makes one build in Koji of the archives and metadata of all worker builds, and of the logs.")
        .argument("kojihub", "XML-RPC URL of the hub, where config.yaml has no `koji`");
    with_koji_arguments(kind)
        .accepts(&["url", "verify_ssl", "use_auth", "build_json_dir"])
        .reads(&[
            "the parts of the metadata by `fetch_worker_metadata`; annotations help_file, media-types and digests of the workers",
            "labels com.redhat.component, version and release of the Dockerfile; the source and its commit; the build's log",
            "results of `koji_parent`, `add_filesystem`, `check_and_set_rebuild`, `group_manifests`, `pulp_pull`, `verify_media`",
            "what `bump_release` has reserved; `go` of container.yaml; labels koji-task-id and isolated of the build",
            "config.yaml: koji",
        ])
        .writes(&[
            "orchestrator.log, a log of each platform and metadata.json in Koji's upload folder",
            "the build in Koji; label koji-build-id; `koji_build_id` in the summary",
            "scratch build: metadata.json only, and a line of the log that names it",
        ])
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct KojiImport {
    #[serde(flatten)]
    koji: KojiArgs,
}

#[async_trait]
impl Plugin for KojiImport {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        if run.has_failed() {
            return Ok(Done::Skipped("the build has failed".to_owned()));
        }
        let koji = run.needed_koji(&self.koji).await?;
        let directory = upload_directory(run, None);
        let fragments = fragments(run)?;
        let facts = facts::gather(run, &koji).await?;
        if run.is_scratch() {
            let metadata = combined(&facts, &fragments, &[]);
            upload_metadata(run, &koji, &directory, &metadata).await?;
            run.log().for_platform(METADATA_LINE).info(format!("{directory}/{METADATA}"));
            return Ok(Done::nothing());
        }
        let logs = log_files::by_platform(run).await?;
        for log in &logs {
            upload(run, &koji, log, &directory).await?;
        }
        let logs: Vec<_> = logs.into_iter().map(|log| log.facts).collect();
        let mut metadata = combined(&facts, &fragments, &logs);
        // In arrangement 3 it is the worker that has given the final names.
        let named_here = run.tags.all().next().is_some();
        if facts.image.index.is_none() && fragments.len() == 1 && named_here {
            name_only_image(&mut metadata, &facts::final_names(run));
        }
        let id = import(run, &koji, &directory, &metadata).await?;
        Ok(Done::Value(json!(id)))
    }
}

/// Platform -> its part of the metadata. None may be missing: an incomplete build would be imported (M18).
fn fragments(run: &Run) -> Result<BTreeMap<String, Value>, PluginError> {
    let found = run.result(Phase::Postbuild, "fetch_worker_metadata").and_then(Value::as_object);
    let fragments: BTreeMap<_, _> =
        found.into_iter().flatten().map(|(platform, part)| (platform.clone(), part.clone())).collect();
    let missing: Vec<_> = run.workers.keys().filter(|platform| !fragments.contains_key(*platform)).cloned().collect();
    if fragments.is_empty() || !missing.is_empty() {
        let text = format!("the metadata of worker builds is missing ({})", missing.join(", "));
        return Err(PluginError::internal(text)
            .with_hint("fetch_worker_metadata must run before koji_import: look at the site's plugin lists"));
    }
    Ok(fragments)
}
