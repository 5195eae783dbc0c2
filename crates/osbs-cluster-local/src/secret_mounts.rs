//! Secrets where a build looks for them: read-only, at the places its request names, seen by no other process.
//!
//! The runner does this in a mount namespace of its own, from which the build inherits. `secrets/` of the home folder is
//! covered there: it shows the names of all secrets, for an orchestrator build must know whether those of its workers
//! exist, and the content of the build's own.

use crate::layout::Home;
use crate::secret_files::{self, WITHHELD};
use osbs_cluster::{Build, ClusterError, SecretData, SecretMount};
use osbs_sandbox::{MemoryFiles, MountError};
use std::path::{Component, Path, PathBuf};

/// Where no secret may appear: the build, and its containers, live on what the kernel shows there.
const NOT_BELOW: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Checks the places of a request's secrets.
pub(crate) fn check(mounts: &[SecretMount]) -> Result<(), ClusterError> {
    for (index, mount) in mounts.iter().enumerate() {
        let path = Path::new(&mount.mount_path);
        let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        let reason = if !path.is_absolute() || !plain || path.parent().is_none() {
            "an absolute path without '..', and not / itself"
        } else if NOT_BELOW.iter().any(|folder| path.starts_with(folder)) {
            "no path below /proc, /sys or /dev"
        } else if mounts[..index].iter().any(|other| Path::new(&other.mount_path) == path) {
            "a place that no other secret of the build has"
        } else {
            continue;
        };
        return Err(ClusterError::Invalid {
            what: "place of a secret",
            value: format!("{}:{}", mount.secret, mount.mount_path),
            reason: reason.to_owned(),
        });
    }
    Ok(())
}

/// Mounts the secrets of `build` in a new mount namespace of this process, which must have one thread.
pub(crate) fn mount(home: &Home, build: &Build) -> Result<(), ClusterError> {
    let inherited = osbs_sandbox::has_memory_files().map_err(failed)?;
    osbs_sandbox::enter_private_mounts().map_err(failed)?;
    if inherited {
        // An orchestrator build's, whose worker this is.
        osbs_sandbox::unmount_memory_files().map_err(failed)?;
    }
    let mut own = Vec::with_capacity(build.secrets.len());
    for mount in &build.secrets {
        own.push((mount, secret_files::get(home, &build.namespace, &mount.secret)?));
    }
    // What lies inside another one is mounted after it.
    own.sort_by_key(|(mount, _)| Path::new(&mount.mount_path).components().count());
    cover(home, &build.namespace, &own)?;
    for (mount, data) in &own {
        let files = data.keys().map(|key| (PathBuf::from(key), data.reveal(key).unwrap_or_default())).collect();
        MemoryFiles { files, folders: Vec::new() }.mount(Path::new(&mount.mount_path)).map_err(failed)?;
    }
    Ok(())
}

fn cover(home: &Home, namespace: &str, own: &[(&SecretMount, SecretData)]) -> Result<(), ClusterError> {
    if !home.all_secrets().is_dir() {
        return Ok(());
    }
    let mut shown = MemoryFiles::default();
    for name in secret_files::list(home, namespace)? {
        let folder = Path::new(namespace).join(&name);
        let data = own.iter().find(|(mount, _)| mount.secret == name).map(|(_, data)| data);
        match data {
            None => shown.files.push((folder.join(WITHHELD), b"")),
            Some(data) => {
                let files = data.keys().map(|key| (folder.join(key), data.reveal(key).unwrap_or_default()));
                shown.files.extend(files);
            }
        }
        shown.folders.push(folder);
    }
    shown.mount(&home.all_secrets()).map_err(failed)
}

fn failed(error: MountError) -> ClusterError {
    let place = "the build's mount namespace".to_owned();
    ClusterError::Storage { action: "mount secrets", place, source: error.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_places(paths: &[&str], reason: Option<&str>) {
        let mounts: Vec<SecretMount> = paths
            .iter()
            .map(|path| SecretMount { secret: "token".to_owned(), mount_path: (*path).to_owned() })
            .collect();
        match (check(&mounts), reason) {
            (Ok(()), None) => {}
            (Err(ClusterError::Invalid { reason: found, .. }), Some(reason)) if found.contains(reason) => {}
            (found, _) => panic!("{paths:?}: {found:?}"),
        }
    }

    #[test]
    fn places() {
        check_places(&["/var/run/secrets/atomic-reactor/a", "/var/run/secrets/atomic-reactor/b", "/tokens"], None);
        check_places(&["relative/path"], Some("absolute"));
        check_places(&["/"], Some("not /"));
        check_places(&["/a/../etc"], Some("'..'"));
        check_places(&["/proc/x"], Some("/proc"));
        check_places(&["/sys"], Some("/sys"));
        check_places(&["/dev/shm/x"], Some("/dev"));
        check_places(&["/a", "/b", "/a/"], Some("no other secret"));
    }
}
