//! `koji_promote`: makes the build in Koji from within the one worker (arrangements 1 and 2; `reactor.md` 3.5.6, 3.6).

use super::koji_tag_build::tag;
use super::koji_upload::archive_or_error;
use crate::koji::fragment::{BuildFile, SaidTags, buildroot, image_output, manifests_output, operator_manifests};
use crate::koji::import::import;
use crate::koji::metadata::{FileFacts, metadata};
use crate::koji::task::PatienceArgs;
use crate::koji::upload::{own_directory, upload};
use crate::koji::{KojiArgs, facts, log_files, with_koji_arguments};
use crate::plugin::{Done, Plugin, PluginResult, PluginType};
use crate::run::Run;
use async_trait::async_trait;
use osbs_types::{Phase, Platform};
use serde::Deserialize;
use serde_json::{Value, json};

/// The checksum of nothing: what is said of a file that does not come with the build.
const MD5_OF_NOTHING: &str = "d41d8cd98f00b204e9800998ecf8427e";

/// The plugin's type.
pub fn plugin() -> PluginType {
    let kind = PluginType::new("koji_promote", &[Phase::Exit], |args| Ok(Box::new(args.parse::<KojiPromote>()?)))
        .purpose("Uploads the image's archive and logs, and makes the build in Koji (arrangements 1 and 2).")
        .argument("target", "tags the build for it, where no `koji_tag_build` follows")
        .argument("metadata_only", "true: describe the archive as empty and upload none; hubs of today refuse that")
        .argument("kojihub", "XML-RPC URL of the hub, where config.yaml has no `koji`");
    with_koji_arguments(kind)
        .accepts(&["blocksize", "url", "verify_ssl", "use_auth", "build_json_dir"])
        .reads(&[
            "the built image, its archive by `compress`, its packages by `all_rpm_packages`",
            "names and digests by `tag_and_push`; results of `add_help`, `add_filesystem`, `pulp_pull`",
            "labels com.redhat.component, version and release of the Dockerfile; the source and its commit; the build's log",
            "config.yaml: koji",
        ])
        .writes(&[
            "the archive, openshift-final.log, build.log and metadata.json in an upload folder of Koji",
            "the build in Koji; label koji-build-id",
        ])
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct KojiPromote {
    target: Option<String>,
    metadata_only: bool,
    #[serde(flatten)]
    koji: KojiArgs,
}

#[async_trait]
impl Plugin for KojiPromote {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        if run.has_failed() {
            return Ok(Done::Skipped("the build has failed".to_owned()));
        }
        let koji = run.needed_koji(&self.koji).await?;
        let directory = own_directory(run, "koji-promote");
        let machine = Platform::native();
        let mut archive = archive_or_error(run, &machine)?;
        let logs =
            [log_files::whole(run, "openshift-final.log").await?, log_files::build_step(run, "build.log").await?];
        let manifests = operator_manifests(run);
        let mut files: Vec<&BuildFile> = logs.iter().collect();
        if self.metadata_only {
            archive.facts = FileFacts { size: 0, md5: MD5_OF_NOTHING.to_owned(), ..archive.facts };
        } else {
            files.push(&archive);
            files.extend(&manifests);
        }
        for file in files {
            upload(run, &koji, file, &directory).await?;
        }
        let mut facts = facts::gather(run, &koji).await?;
        facts.metadata_only = self.metadata_only;
        let mut output: Vec<Value> = logs.iter().map(|log| log.facts.log(&json!(1), "noarch")).collect();
        output.push(image_output(run, &machine, Some(&archive.facts), SaidTags::ByClass)?);
        output.extend(manifests.iter().filter(|_| !self.metadata_only).map(|file| manifests_output(&file.facts)));
        if self.metadata_only {
            for file in &mut output {
                file["metadata_only"] = true.into();
            }
        }
        let metadata = metadata(Some(&facts), vec![buildroot(run, &machine, 1).await?], output);
        let id = import(run, &koji, &directory, &metadata).await?;
        let follows = run.request.plugins.entry(Phase::Exit, "koji_tag_build").is_some();
        if let (Some(target), false) = (&self.target, follows) {
            tag(run, &self.koji, PatienceArgs::default(), target, id).await?;
        }
        Ok(Done::Value(json!(id)))
    }
}
