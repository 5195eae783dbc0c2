//! Secrets as folders of files that only their owner can read: `secrets/NAMESPACE/NAME/KEY`.

use crate::layout::{Home, check_name, make_dir, storage};
use osbs_cluster::{ClusterError, SecretData};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;

/// In the folder of a secret as a build sees it whose secret it is not. No key can have that name.
pub(crate) const WITHHELD: &str = "..withheld";

/// The folder of a secret that exists.
pub(crate) fn dir(home: &Home, namespace: &str, name: &str) -> Result<PathBuf, ClusterError> {
    check_name("Secret name", name)?;
    let dir = home.secrets(namespace).join(name);
    if dir.join(WITHHELD).exists() {
        return Err(ClusterError::Withheld { secret: name.to_owned() });
    }
    if dir.is_dir() {
        return Ok(dir);
    }
    Err(ClusterError::NotFound { kind: "Secret", name: name.to_owned(), namespace: namespace.to_owned() })
}

/// Writes a secret whole: a folder made beside takes the place of the old one.
pub(crate) fn put(home: &Home, namespace: &str, name: &str, data: &SecretData) -> Result<(), ClusterError> {
    check_name("Secret name", name)?;
    for key in data.keys() {
        // `.dockerconfigjson` is the usual name of registry logins.
        check_name("key of a Secret", key.strip_prefix('.').unwrap_or(key))?;
    }
    let all = home.secrets(namespace);
    make_dir(&all)?;
    // A leading dot: no secret can have that name.
    let private = std::fs::Permissions::from_mode(0o700);
    let fresh = tempfile::Builder::new().prefix(".new-").permissions(private).tempdir_in(&all);
    let fresh = fresh.map_err(storage("make a folder", &all))?;
    for key in data.keys() {
        let path = fresh.path().join(key);
        let mut file = std::fs::OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(storage("write a secret", &path))?;
        let bytes = data.reveal(key).unwrap_or_default();
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(storage("write a secret", &path))?;
    }
    let place = all.join(name);
    let old = tempfile::Builder::new().prefix(".old-").tempdir_in(&all).map_err(storage("make a folder", &all))?;
    match std::fs::rename(&place, old.path().join("secret")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(storage("replace a secret", &place)(error));
        }
        _ => {}
    }
    let fresh = fresh.keep();
    std::fs::rename(&fresh, &place).map_err(storage("write a secret", &place))
}

/// Reads a secret.
pub(crate) fn get(home: &Home, namespace: &str, name: &str) -> Result<SecretData, ClusterError> {
    let dir = dir(home, namespace, name)?;
    let read = || -> io::Result<SecretData> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                files.push((entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path())?));
            }
        }
        Ok(files.into_iter().collect())
    };
    read().map_err(storage("read a secret", &dir))
}

/// Names of the secrets, sorted.
pub(crate) fn list(home: &Home, namespace: &str) -> Result<Vec<String>, ClusterError> {
    let all = home.secrets(namespace);
    let entries = match std::fs::read_dir(&all) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(storage("list secrets", &all)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(storage("list secrets", &all))?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Removes a secret, if it is there.
pub(crate) fn delete(home: &Home, namespace: &str, name: &str) -> Result<(), ClusterError> {
    match dir(home, namespace, name) {
        Err(ClusterError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
        Ok(dir) => std::fs::remove_dir_all(&dir).map_err(storage("remove a secret", &dir)),
    }
}
