//! Users, human and otherwise.

use super::Method;
use crate::call::Call;
use crate::call_error::CallError;
use rusqlite::params;

pub(crate) const METHODS: &[Method] = &[];

/// Makes a user; `usertype` 0 is an ordinary one, 1 a host.
pub(crate) fn create(call: &Call<'_>, name: &str, usertype: i64) -> Result<i64, CallError> {
    crate::call::check_new_name("user", name)?;
    call.tx.prepare_cached("INSERT INTO users (name, usertype) VALUES (?, ?)")?.execute(params![name, usertype])?;
    Ok(call.tx.last_insert_rowid())
}
