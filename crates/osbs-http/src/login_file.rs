//! Files of a login: certificates, keys, names, passwords. Must not know what is in them, nor show it.

use std::io;
use std::path::{Path, PathBuf};

/// No certificate, key or password is longer.
const LONGEST: u64 = 1 << 20;

/// A file of a login that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoginFileError {
    /// It cannot be read.
    #[error("cannot read {} of {of}'s login", path.display())]
    Read {
        /// Whose login it is: a service's name.
        of: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is too long, no text, or no file.
    #[error("{} of {of}'s login is no text of at most 1 MiB", path.display())]
    Content {
        /// Whose login it is.
        of: &'static str,
        /// The file.
        path: PathBuf,
    },
}

/// Reads a file of the login of a service. `None`: it is not there.
///
/// # Errors
/// It is there and cannot be used.
pub fn read_login_file(of: &'static str, path: &Path) -> Result<Option<String>, LoginFileError> {
    let failed = |source| LoginFileError::Read { of, path: path.to_owned(), source };
    let unfit = || LoginFileError::Content { of, path: path.to_owned() };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.is_file() || found.len() > LONGEST => return Err(unfit()),
        Ok(_) => {}
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    String::from_utf8(bytes).map(Some).map_err(|_| unfit())
}
