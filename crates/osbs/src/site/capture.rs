//! `--capture-dir`: every answer of the cluster as a file, for a report of what went wrong.

use osbs_cluster::{CapturedCluster, Cluster};
use osbs_types::{ErrorKind, Failure};
use serde_json::Value;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The same cluster, whose answers are kept as `001-get_build.json` and so on in `folder`, for the user's eyes only.
pub(crate) fn into_folder(cluster: Arc<dyn Cluster>, folder: &Path) -> Result<Arc<dyn Cluster>, Failure> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| {
        let mut failure = Failure::message(ErrorKind::User, format!("cannot make the folder {}", folder.display()));
        failure.causes.push(error.to_string());
        failure.with_hint("--capture-dir names a folder that can be written")
    })?;
    let (folder, count) = (folder.to_owned(), AtomicUsize::new(0));
    let capture = move |operation: &'static str, answer: &Value| {
        let number = count.fetch_add(1, Ordering::Relaxed) + 1;
        let path = folder.join(format!("{number:03}-{operation}.json"));
        let file = std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&path);
        let written = file.and_then(|mut file| writeln!(file, "{answer:#}"));
        if let Err(error) = written {
            eprintln!("osbs: cannot write {}: {error}", path.display());
        }
    };
    Ok(Arc::new(CapturedCluster::new(cluster, Arc::new(capture))))
}
