//! `compress`: the image archive for Koji, one gzip member spliced from layers that are compressed already (`design.md`
//! decision 3).

use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::run::{ExportType, ExportedImage, Run};
use async_trait::async_trait;
use osbs_image::{Checksums, StoredImage, write_archive};
use osbs_types::Phase;
use serde::Deserialize;
use serde_json::json;

/// The plugin's type.
pub fn plugin() -> PluginType {
    // `load_exported_image` means nothing: the archive is always made from the store.
    PluginType::new("compress", &[Phase::Postbuild], |args| Ok(Box::new(args.parse::<Compress>()?)))
        .purpose("Makes a compressed archive of the built image, as `docker save` would.")
        .argument("method", "gzip, the only one there is")
        .accepts(&["load_exported_image"])
        .reads(&["the built image in the store"])
        .writes(&["compressed.tar.gz in the results of the build", "annotation tar_metadata"])
}

#[derive(Deserialize)]
#[serde(default)]
struct Compress {
    method: String,
}

impl Default for Compress {
    fn default() -> Self {
        Self { method: "gzip".to_owned() }
    }
}

#[async_trait]
impl Plugin for Compress {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        if self.method != "gzip" {
            return Err(PluginError::user(format!("compress: the method {:?} is not known: gzip", self.method)));
        }
        let facts = run.built.as_ref().ok_or_else(|| PluginError::internal("there is no built image to archive"))?;
        let image = StoredImage::load(&run.services.store, &facts.manifest)?;
        let names: Vec<_> = run.tags.all().map(|name| name.with_explicit_tag().to_string()).collect();
        let store = run.services.store.clone();
        let folder = run.services.imaging.results_dir.clone();
        std::fs::create_dir_all(&folder)
            .map_err(|e| PluginError::resource(format!("the folder {} cannot be made: {e}", folder.display())))?;
        let path = folder.join("compressed.tar.gz");
        let (out, log) = (path.clone(), run.log().clone());
        let total: u64 = image.layers.iter().map(|layer| layer.size).sum();
        let info = run
            .blocking(move |cancel| {
                let progress = |done: u64| log.progress("archive", done, Some(total));
                write_archive(&store, &image, &names, (&out, Checksums::Koji), cancel, &progress)
            })
            .await?;
        let Some(sums) = info.checksums else {
            return Err(PluginError::internal("the archive was written without its checksums"));
        };
        run.log().info(format!("{}: {} bytes, {} uncompressed", path.display(), info.size, info.uncompressed_size));
        let result = json!({
            "path": path,
            "type": ExportType::DockerArchive.as_str(),
            "size": info.size,
            "md5sum": sums.md5,
            "sha256sum": sums.sha256.hex(),
            "uncompressed_size": info.uncompressed_size,
            "uncompressed_sha256sum": sums.uncompressed_sha256.hex(),
        });
        run.facts.insert("archive".into(), result.clone());
        run.exported_images.push(ExportedImage {
            path,
            image_type: ExportType::DockerArchive,
            size: Some(info.size),
            md5sum: Some(sums.md5),
            sha256sum: Some(sums.sha256.hex().to_owned()),
            uncompressed_size: Some(info.uncompressed_size),
            uncompressed_sha256sum: Some(sums.uncompressed_sha256.hex().to_owned()),
            ref_name: None,
        });
        Ok(Done::Value(result))
    }
}
