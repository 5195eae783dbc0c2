//! RPM's SQLite database (`rpmdb.sqlite`), the default since rpm 4.16.

use crate::header;
use crate::{HeaderError, Package};
use osbs_types::ErrorKind;
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};

/// Where images keep it, inside their root, newest custom first.
pub const DATABASE_FOLDERS: [&str; 3] = ["usr/lib/sysimage/rpm", "var/lib/rpm", "usr/share/rpm"];

/// The database could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// SQLite cannot read it.
    #[error("the RPM database {file} cannot be read")]
    Sqlite {
        /// The file.
        file: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// A package in it makes no sense.
    #[error("the RPM database {file} is damaged at package {number}")]
    Header {
        /// The file.
        file: PathBuf,
        /// The package's number in the database.
        number: i64,
        /// Why.
        source: HeaderError,
    },
}

impl DatabaseError {
    /// An image with a broken database is its author's business.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::User
    }
}

/// All packages in a copy of `rpmdb.sqlite`, sorted by name.
///
/// Give it a copy, together with its `-wal` file when there is one: SQLite writes beside the file it reads, and a database
/// opened as immutable would hide what is in the log (measured: packages installed last go missing).
///
/// # Errors
/// Not a database, or a damaged package.
pub fn read_database(file: &Path) -> Result<Vec<Package>, DatabaseError> {
    let sqlite = |source| DatabaseError::Sqlite { file: file.to_owned(), source };
    // A hostile schema could hide code in views and triggers; reading one table by its plain name runs none.
    let connection =
        Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .map_err(sqlite)?;
    connection.pragma_update(None, "trusted_schema", false).map_err(sqlite)?;
    let mut statement = connection.prepare("SELECT hnum, blob FROM Packages ORDER BY hnum").map_err(sqlite)?;
    let mut rows = statement.query([]).map_err(sqlite)?;
    let mut packages = Vec::new();
    while let Some(row) = rows.next().map_err(sqlite)? {
        let number: i64 = row.get(0).map_err(sqlite)?;
        let blob = row.get_ref(1).and_then(|value| value.as_blob().map_err(Into::into)).map_err(sqlite)?;
        let package = header::read_header(blob).map_err(|source| DatabaseError::Header {
            file: file.to_owned(),
            number,
            source,
        })?;
        if package.name != "gpg-pubkey" {
            packages.push(package);
        }
    }
    packages.sort();
    Ok(packages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_database_is_an_error() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let file = folder.path().join("rpmdb.sqlite");
        std::fs::write(&file, "not a database, but long enough to be looked at as one").expect("written");
        assert!(matches!(read_database(&file), Err(DatabaseError::Sqlite { .. })));
    }
}
