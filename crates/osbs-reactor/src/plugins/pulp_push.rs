//! `pulp_push`: the image archive, uploaded to Pulp as a file (`reactor.md` 3.4.5; O1: Docker v1 content is not made).
//!
//! In a list only where the site asks for it (`pulp.image_archives`). Where the names are known it goes into the image's
//! file repository; a worker of an orchestrator leaves it for `pulp_tag`, with a reference in the annotation
//! `pulp-archive`.

use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::pulp::{PulpArgs, PulpRepository, PulpSite, TaskLog, WaitingName};
use crate::run::{ExportType, Run, TagClass};
use async_trait::async_trait;
use osbs_cluster::BuildPatch;
use osbs_image::{Checksums, StoredImage, write_archive};
use osbs_pulp::StoredFile;
use osbs_types::Phase;
use serde::Deserialize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// The annotation by which a worker tells its orchestrator what it has uploaded.
pub(crate) const ANNOTATION: &str = "pulp-archive";

/// The plugin.
pub fn plugin() -> PluginType {
    PluginType::new("pulp_push", &[Phase::Postbuild], |args| Ok(Box::new(args.parse::<PulpPush>()?)))
        .purpose("Uploads the image archive to Pulp as a file; only where the site asks for it.")
        .argument(
            "publish",
            "put it under the image's names and show it to clients; true by default, false leaves it to pulp_tag",
        )
        .argument("pulp_registry_name", "URL of Pulp 3, without `pulp` in config.yaml")
        .argument("pulp_secret_path", "folder with pulp.cer and pulp.key, or with username and password")
        .argument("username", "name to log in to Pulp with, preferred to the folder")
        .argument("password", "its password")
        .argument("pulp_repo_prefix", "put before the names of Pulp's repositories; nothing by default")
        .accepts(&["load_exported_image", "image_names", "dockpulp_loglevel"])
        .reads(&["`pulp` of config.yaml", "the last exported image, else the built one", "all names of the image"])
        .writes(&[
            "files in Pulp",
            "the annotations pulp-archive and pulp-repositories",
            "what pulp_sync or pulp_publish publishes",
            "names that push_floating_tags moves at the end",
        ])
}

#[derive(Deserialize)]
#[serde(default)]
struct PulpPush {
    #[serde(flatten)]
    pulp: PulpArgs,
    publish: bool,
}

impl Default for PulpPush {
    fn default() -> Self {
        Self { pulp: PulpArgs::default(), publish: true }
    }
}

#[async_trait]
impl Plugin for PulpPush {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let unique = run.tags.class(TagClass::Unique).first().or_else(|| run.tags.all().next()).cloned();
        let unique = unique
            .ok_or_else(|| PluginError::internal("the image has no names: no plugin before pulp_push gave any"))?;
        let site = run.pulp(&self.pulp).await?;
        let archive = archive(run).await?;
        let name = archive_name(unique.tag().unwrap_or("latest"), run);
        let stored = upload(run, &site, &archive, &name).await?;
        let record = json!({
            "href": stored.href,
            "artifact": stored.artifact,
            "name": stored.relative_path,
            "digest": stored.digest,
        });
        // At once, so that what is uploaded is recorded whatever comes.
        tell(run, &record).await?;
        if self.publish {
            let platform = run.platform().to_string();
            let mut brought = Brought::default();
            brought.add(run, &site, &stored, &platform).await?;
            brought.leave(run, &site);
            if run.request.plugins.entry(Phase::Postbuild, "pulp_sync").is_none() {
                site.publish(run).await?;
            }
        }
        Ok(Done::Value(record))
    }

    fn ends_itself_when_cancelled(&self) -> bool {
        true
    }
}

/// `TAG/PLATFORM.tar.gz`
pub(crate) fn archive_name(tag: &str, run: &Run) -> String {
    format!("{tag}/{}.tar.gz", run.platform())
}

/// The last exported file, else one made of the built image.
async fn archive(run: &Run) -> Result<PathBuf, PluginError> {
    let is_file = |image_type: ExportType| image_type != ExportType::Oci;
    if let Some(exported) = run.exported_images.iter().rev().find(|exported| is_file(exported.image_type)) {
        return Ok(exported.path.clone());
    }
    let facts = run.built.as_ref().ok_or_else(|| PluginError::internal("there is no built image to upload"))?;
    let image = StoredImage::load(&run.services.store, &facts.manifest)?;
    let names: Vec<_> = run.tags.all().map(|name| name.with_explicit_tag().to_string()).collect();
    let store = run.services.store.clone();
    let folder = run.services.imaging.results_dir.clone();
    let path = folder.join("pulp.tar.gz");
    std::fs::create_dir_all(&folder)
        .map_err(|error| PluginError::resource(format!("the folder {} cannot be made: {error}", folder.display())))?;
    let (out, log) = (path.clone(), run.log().clone());
    let total: u64 = image.layers.iter().map(|layer| layer.size).sum();
    run.blocking(move |cancel| {
        let progress = |done: u64| log.progress("archive for Pulp", done, Some(total));
        write_archive(&store, &image, &names, (&out, Checksums::Koji), cancel, &progress)
    })
    .await?;
    Ok(path)
}

async fn upload(run: &Run, site: &PulpSite, archive: &std::path::Path, name: &str) -> Result<StoredFile, PluginError> {
    let (progress, log) = (TaskLog::of(run), run.log().clone());
    let bytes = move |done: u64, total: u64| log.progress("upload to Pulp", done, Some(total));
    let begun = site.client.begin_upload(archive, name).await?;
    // Before the first byte: a build that is killed leaves nothing there of which nobody knows.
    tell(run, &json!({"upload": begun.href, "name": name})).await?;
    let stored = site.client.upload(&begun, &site.wait(run, &progress), &bytes).await?;
    run.log().info(format!("uploaded {} to Pulp as {name}, {}", archive.display(), stored.digest));
    Ok(stored)
}

async fn tell(run: &Run, record: &serde_json::Value) -> Result<(), PluginError> {
    let patch = BuildPatch::default().annotation(ANNOTATION, record.to_string());
    run.services.cluster.update_build(&run.build.name, patch).await?;
    Ok(())
}

/// Archives as they are put under the names of the image.
#[derive(Default)]
pub(crate) struct Brought(BTreeMap<String, PulpRepository>);

impl Brought {
    /// One platform's archive, under every name.
    pub(crate) async fn add(
        &mut self,
        run: &Run,
        site: &PulpSite,
        stored: &StoredFile,
        platform: &str,
    ) -> Result<(), PluginError> {
        let artifact = stored.artifact.as_ref().ok_or_else(|| {
            PluginError::remote(format!(
                "Pulp {} does not tell where the bytes of {} are",
                site.client.host(),
                stored.relative_path
            ))
        })?;
        let progress = TaskLog::of(run);
        let wait = site.wait(run, &progress);
        let repositories: BTreeSet<String> = run.tags.all().map(|name| name.repository().to_owned()).collect();
        let ids: Vec<_> = repositories.iter().map(|repository| site.archives_id(repository)).collect();
        run.announce_in_pulp(site, &ids).await?;
        for repository in repositories {
            let name = site.archives_id(&repository);
            let found = site.client.file_repository(&name).await?;
            let new = || PulpRepository::new(&found, &repository, true);
            let brought = self.0.entry(repository.clone()).or_insert_with(new);
            let mut before = found.latest_version.clone();
            for image in run.tags.all().filter(|image| image.repository() == repository) {
                let tag = image.tag().unwrap_or("latest");
                let path = format!("{tag}/{platform}.tar.gz");
                if run.moves_last(image) {
                    brought.waiting.push(WaitingName::File { path, artifact: artifact.clone() });
                    continue;
                }
                let version = site.client.add_file(&found, artifact, &path, &wait).await?;
                run.log().info(format!("{path} is in Pulp's repository {name}, unpublished"));
                brought.advance(version.clone(), &before);
                brought.tags.insert(tag.to_owned(), None);
                before = version;
            }
        }
        Ok(())
    }

    /// For whoever publishes. Gives repository -> tags.
    pub(crate) fn leave(self, run: &mut Run, site: &PulpSite) -> serde_json::Value {
        let tags = self
            .0
            .values()
            .map(|brought| (site.archives_id(&brought.base_path), json!(brought.tags.keys().collect::<Vec<_>>())));
        let result = tags.collect();
        run.pulp.extend(self.0.into_values());
        serde_json::Value::Object(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build_json::PluginLists;
    use crate::testing::run_without_source;

    #[tokio::test]
    async fn what_is_missing_is_told() {
        let mut test = run_without_source(PluginLists::default()).await;
        let error = test.plugin(&plugin(), json!({})).await.unwrap_err();
        assert!(error.to_string().contains("no names"), "{error}");
        test.run.tags.add(TagClass::Unique, "ns/web:u".parse().unwrap());
        let failure = test.plugin(&plugin(), json!({})).await.unwrap_err().into_failure();
        assert_eq!(failure.to_string(), "no Pulp is configured");
        let args = json!({"pulp_registry_name": "prod"});
        let failure = test.plugin(&plugin(), args).await.unwrap_err().into_failure();
        assert!(failure.to_string().contains("\"prod\" is not the URL of a Pulp"), "{failure}");
        assert!(failure.hint.unwrap().contains("pulp.url"));
    }
}
