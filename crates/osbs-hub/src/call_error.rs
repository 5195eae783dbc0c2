//! Why a call was refused or failed, and which fault the caller gets for it.
//!
//! Must not show a caller more than the fault: SQL and paths of the machine go to the hub's own log.

use osbs_koji::{Fault, FaultCode, ValueError};

/// Why a call did not go well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The caller is told in so many words.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The database failed, or refused what breaks a reference or a unique key.
    #[error("the database failed")]
    Database(#[from] rusqlite::Error),
    /// The file system failed.
    #[error("the file system failed")]
    Files(#[from] std::io::Error),
    /// A struct lacks a member, or it is of another type.
    #[error(transparent)]
    Value(#[from] ValueError),
}

impl CallError {
    /// What the caller is told.
    pub(crate) fn into_fault(self) -> Fault {
        use rusqlite::ErrorCode;
        match self {
            Self::Fault(fault) => fault,
            Self::Value(error) if error.found == "missing" => {
                Fault::new(FaultCode::Exception, format!("<class 'KeyError'>: '{}'", error.path))
            }
            Self::Value(error) => Fault::new(FaultCode::ParameterError, error.to_string()),
            Self::Database(rusqlite::Error::SqliteFailure(error, _)) => match error.code {
                ErrorCode::ConstraintViolation => {
                    Fault::new(FaultCode::Exception, "the database refuses what breaks its references or unique keys")
                }
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                    Fault::new(FaultCode::ServerOffline, "the database is busy, try again")
                }
                ErrorCode::DiskFull => Fault::new(FaultCode::ServerOffline, "the hub's disk is full"),
                _ => Fault::new(FaultCode::Exception, "the database failed; the hub's log says more"),
            },
            Self::Database(_) => Fault::new(FaultCode::Exception, "the database failed; the hub's log says more"),
            Self::Files(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Fault::new(FaultCode::Exception, "<class 'FileNotFoundError'>: a file is missing")
            }
            Self::Files(error) if is_unfit_path(&error) => {
                Fault::new(FaultCode::GenericError, "no file can have that path")
            }
            Self::Files(_) => Fault::new(FaultCode::Exception, "the hub's file system failed; its log says more"),
        }
    }

    /// Whether the hub's own log should hold it: it is nothing that the caller did.
    pub(crate) fn is_ours(&self) -> bool {
        match self {
            Self::Fault(_) | Self::Value(_) => false,
            Self::Database(rusqlite::Error::SqliteFailure(error, _)) => {
                error.code != rusqlite::ErrorCode::ConstraintViolation
            }
            Self::Database(_) => true,
            Self::Files(error) => error.kind() != std::io::ErrorKind::NotFound && !is_unfit_path(error),
        }
    }
}

/// Whether the file system refuses the path itself, which callers choose.
fn is_unfit_path(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::InvalidFilename | ErrorKind::InvalidInput | ErrorKind::NotADirectory)
}

/// A fault of this class, as an error of a call.
pub(crate) fn fault(code: FaultCode, text: impl Into<String>) -> CallError {
    CallError::Fault(Fault::new(code, text))
}

/// The most frequent one: `GenericError`, 1000.
pub(crate) fn refused(text: impl Into<String>) -> CallError {
    fault(FaultCode::GenericError, text)
}

/// An argument is of a wrong type, or not one of those allowed: `ParameterError`, 1019.
pub(crate) fn wrong_parameter(text: impl Into<String>) -> CallError {
    fault(FaultCode::ParameterError, text)
}
