//! Content generators, and who may import as one.

use super::users;
use super::{Answer, Method, read, write};
use crate::call::{Call, Id, check_new_name};
use crate::call_error::{CallError, refused};
use crate::parameters::{flag, required};
use crate::role::Role;
use crate::versions::{insert, revoke};
use osbs_koji::{Struct, Value};
use rusqlite::{OptionalExtension as _, Transaction};

const ADMIN: Role = Role::Permission("admin");

pub(crate) const METHODS: &[Method] = &[
    write("grantCGAccess", ADMIN, &[required("user"), required("cg"), flag("create")], grant),
    write("revokeCGAccess", ADMIN, &[required("user"), required("cg")], take_back),
    read("listCGs", &[], list),
];

/// The id of a content generator.
///
/// # Errors
/// The database failed.
pub(crate) fn find(tx: &Transaction<'_>, id: &Id) -> Result<Option<i64>, CallError> {
    Ok(match id {
        Id::Number(id) => {
            tx.prepare_cached("SELECT id FROM content_generator WHERE id = ?")?.query_row([id], |row| row.get(0))
        }
        Id::Name(name) => {
            tx.prepare_cached("SELECT id FROM content_generator WHERE name = ?")?.query_row([name], |row| row.get(0))
        }
    }
    .optional()?)
}

fn grant(call: &mut Call<'_>) -> Answer {
    let user = users::id_of(call.tx, &call.id("user")?)?;
    let wanted = call.id("cg")?;
    let generator = match (find(call.tx, &wanted)?, &wanted) {
        (Some(generator), _) => generator,
        (None, Id::Name(name)) if call.flag("create") => {
            check_new_name("content generator", name)?;
            call.tx.execute("INSERT INTO content_generator (name) VALUES (?)", [name])?;
            call.tx.last_insert_rowid()
        }
        _ => return Err(refused(format!("No such content generator: {wanted}"))),
    };
    let held = call
        .tx
        .prepare_cached("SELECT 1 FROM cg_users WHERE cg_id = ? AND user_id = ? AND revoke_event IS NULL")?
        .exists([generator, user])?;
    if held {
        return Err(refused("User already has access to content generator"));
    }
    insert(call, "cg_users", &[("cg_id", &generator), ("user_id", &user)])?;
    Ok(Value::Nil)
}

fn take_back(call: &mut Call<'_>) -> Answer {
    let user = users::id_of(call.tx, &call.id("user")?)?;
    let wanted = call.id("cg")?;
    let generator = find(call.tx, &wanted)?.ok_or_else(|| refused(format!("No such content generator: {wanted}")))?;
    revoke(call, "cg_users", "cg_id = ? AND user_id = ?", &[&generator, &user])?;
    Ok(Value::Nil)
}

fn list(call: &mut Call<'_>) -> Answer {
    let mut statement = call.tx.prepare_cached(
        "SELECT g.id, g.name, u.name FROM content_generator g
         LEFT JOIN cg_users ON cg_users.cg_id = g.id AND cg_users.revoke_event IS NULL
         LEFT JOIN users u ON u.id = cg_users.user_id ORDER BY g.id, u.name",
    )?;
    let mut rows = statement.query([])?;
    let mut generators = Struct::new();
    while let Some(row) = rows.next()? {
        let (id, name, user): (i64, String, Option<String>) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let generator = generators
            .entry(name)
            .or_insert_with(|| Value::members([("id", id.into()), ("users", Value::Array(Vec::new()))]));
        if let (Value::Struct(members), Some(user)) = (generator, user)
            && let Some(Value::Array(users)) = members.get_mut("users")
        {
            users.push(user.into());
        }
    }
    Ok(Value::Struct(generators))
}
