//! Folders of builds that nobody has a record of: whoever made the build was killed between its folder and the commit of
//! its record. Removes such folders and nothing else.

use crate::database::{Database, is_recorded};
use crate::layout::{Home, check_name, storage};
use osbs_cluster::ClusterError;
use osbs_sandbox::rooted::Root;
use std::path::Path;

/// Removes them in all namespaces; gives their names.
///
/// # Errors
/// The home cannot be read or written.
pub fn remove_unrecorded(root: &Path) -> Result<Vec<String>, ClusterError> {
    let home = Home::new(root);
    let mut removed = Vec::new();
    if !home.database().exists() {
        return Ok(removed);
    }
    let mut database = Database::open(&home)?;
    for namespace in names_in(&home.all_builds())? {
        if check_name("namespace", &namespace).is_ok() {
            removed.extend(remove(&home, &mut database, &namespace, "")?);
        }
    }
    Ok(removed)
}

/// Those of a namespace whose names begin so. A build is made by the only writer of the database, from its folder to the
/// commit: while we are that writer, a folder without a record belongs to nobody.
pub(crate) fn remove(
    home: &Home,
    database: &mut Database,
    namespace: &str,
    prefix: &str,
) -> Result<Vec<String>, ClusterError> {
    let folder = home.all_builds().join(namespace);
    let mut found = names_in(&folder)?;
    found.retain(|name| name.starts_with(prefix));
    // Most often there are none: then nobody has to wait for us.
    let mut unknown = Vec::new();
    for name in found {
        if !is_recorded(database.connection(), database.place(), namespace, &name)? {
            unknown.push(name);
        }
    }
    if unknown.is_empty() {
        return Ok(unknown);
    }
    database.write("remove folders of builds that were never made", |transaction, place| {
        let inside = Root::open(&folder).map_err(failed(&folder))?;
        let mut removed = Vec::new();
        for name in unknown {
            if !is_recorded(transaction, place, namespace, &name)? {
                inside.remove_tree(Path::new(&name)).map_err(failed(&folder))?;
                removed.push(name);
            }
        }
        Ok(removed)
    })
}

fn failed<E: std::error::Error + Send + Sync + 'static>(place: &Path) -> impl FnOnce(E) -> ClusterError {
    let place = place.display().to_string();
    move |source| ClusterError::Storage { action: "remove a build's folder", place, source: source.into() }
}

/// Names in a folder; none where it is not there.
fn names_in(folder: &Path) -> Result<Vec<String>, ClusterError> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(storage("read", folder))?,
    };
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    names.collect::<Result<_, _>>().map_err(storage("read", folder))
}
