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

/// `KIND/SECONDS.LETTERS`: a folder of Koji's upload area that no other attempt has.
fn new_directory(kind: &str) -> String {
    const LETTERS: &[u8; 52] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let letters: String = (0..8).map(|_| char::from(LETTERS[rand::random::<u32>() as usize % 52])).collect();
    let seconds = osbs_types::Timestamp::now().as_microsecond() as f64 / 1e6;
    format!("{kind}/{seconds}.{letters}")
}

/// The folder of this build: the request's, the orchestrator's, else a new one.
pub(crate) fn upload_directory(run: &mut Run, said: Option<&str>) -> String {
    match (&run.koji_upload_dir, said) {
        (Some(known), _) => known.clone(),
        (None, Some(said)) => run.koji_upload_dir.insert(said.to_owned()).clone(),
        (None, None) => own_directory(run, "koji-upload"),
    }
}

/// A new folder, which is ours to remove if nothing comes of it.
pub(crate) fn own_directory(run: &mut Run, kind: &str) -> String {
    run.owns_koji_upload_dir = true;
    run.koji_upload_dir.insert(new_directory(kind)).clone()
}
