//! Files of a build into Koji's upload area.

use super::KojiSite;
use super::fragment::BuildFile;
use crate::plugin::PluginError;
use crate::run::Run;
use osbs_koji::Place;

/// Uploads a file under its name in Koji; one that is there already, whole, is not sent again.
pub(crate) async fn upload(run: &Run, koji: &KojiSite, file: &BuildFile, directory: &str) -> Result<(), PluginError> {
    let name = &file.facts.filename;
    let meter = run.log().meter(format!("upload {name}"));
    let place = Place { directory, name };
    let sent = koji.client.upload_file(&file.path, place, &|done, total| meter.tell(done, total)).await?;
    run.log().info(format!("{name}: {} bytes are in Koji's upload folder {directory}", sent.size));
    if sent.size == file.facts.size {
        return Ok(());
    }
    // What the metadata says of it would not be true any more.
    Err(PluginError::internal(format!("{name} had {} bytes and has {}", file.facts.size, sent.size)))
}
