//! Who has which permission.

use super::users;
use super::{Answer, Method, read, write};
use crate::call::{Call, Id, check_new_name};
use crate::call_error::{CallError, refused};
use crate::parameters::{Default, flag, optional, or, required};
use crate::role::Role;
use crate::rows::{Kind, Query, column};
use crate::versions::{insert, revoke};
use osbs_koji::{Struct, Value};
use rusqlite::{OptionalExtension as _, Transaction, params};

const ADMIN: Role = Role::Permission("admin");

pub(crate) const METHODS: &[Method] = &[
    write(
        "grantPermission",
        ADMIN,
        &[required("userinfo"), required("permission"), flag("create"), optional("description")],
        grant,
    ),
    write("revokePermission", ADMIN, &[required("userinfo"), required("permission")], take_back),
    write("editPermission", ADMIN, &[required("permission"), required("description")], edit),
    read("getAllPerms", &[], get_all),
    read("getPerms", &[], |call| match call.session {
        Some(session) => names(call.tx, session.user_id),
        None => Ok(Value::Array(Vec::new())),
    }),
    read("hasPerm", &[required("perm"), flag("strict")], has_perm),
    read("getUserPerms", &[optional("userID"), or("with_groups", Default::Bool(true))], get_user_perms),
    read("getUserPermsInheritance", &[required("user")], get_user_perms_inheritance),
];

/// The id of a permission, by id or name.
///
/// # Errors
/// The database failed.
pub(crate) fn find(tx: &Transaction<'_>, id: &Id) -> Result<Option<i64>, CallError> {
    Ok(match id {
        Id::Number(id) => {
            tx.prepare_cached("SELECT id FROM permissions WHERE id = ?")?.query_row([id], |row| row.get(0))
        }
        Id::Name(name) => {
            tx.prepare_cached("SELECT id FROM permissions WHERE name = ?")?.query_row([name], |row| row.get(0))
        }
    }
    .optional()?)
}

fn grant(call: &mut Call<'_>) -> Answer {
    let user = users::id_of(call.tx, &call.id("userinfo")?)?;
    let wanted = call.id("permission")?;
    let description = call.str_or_nil("description")?;
    let permission = match (find(call.tx, &wanted)?, &wanted) {
        (Some(permission), _) => permission,
        (None, Id::Name(name)) if call.flag("create") => {
            check_new_name("permission", name)?;
            call.tx.execute("INSERT INTO permissions (name, description) VALUES (?, ?)", params![name, description])?;
            call.tx.last_insert_rowid()
        }
        _ => return Err(refused(format!("No such permission in system: {wanted}"))),
    };
    let held = call
        .tx
        .prepare_cached("SELECT 1 FROM user_perms WHERE user_id = ? AND perm_id = ? AND revoke_event IS NULL")?
        .exists([user, permission])?;
    if held {
        return Err(refused(format!("user {} already has permission: {wanted}", call.id("userinfo")?)));
    }
    insert(call, "user_perms", &[("user_id", &user), ("perm_id", &permission)])?;
    Ok(Value::Nil)
}

fn take_back(call: &mut Call<'_>) -> Answer {
    let user = users::id_of(call.tx, &call.id("userinfo")?)?;
    let wanted = call.id("permission")?;
    let permission =
        find(call.tx, &wanted)?.ok_or_else(|| refused(format!("No such permission in system: {wanted}")))?;
    if revoke(call, "user_perms", "user_id = ? AND perm_id = ?", &[&user, &permission])? == 0 {
        return Err(refused(format!("user {} does not have permission: {wanted}", call.id("userinfo")?)));
    }
    Ok(Value::Nil)
}

fn edit(call: &mut Call<'_>) -> Answer {
    let wanted = call.id("permission")?;
    let permission =
        find(call.tx, &wanted)?.ok_or_else(|| refused(format!("No such permission in system: {wanted}")))?;
    let description = call.str_or_nil("description")?;
    call.tx.execute("UPDATE permissions SET description = ? WHERE id = ?", params![description, permission])?;
    Ok(Value::Nil)
}

fn get_all(call: &mut Call<'_>) -> Answer {
    let columns = [
        column("id", "id", Kind::Int),
        column("name", "name", Kind::Text),
        column("description", "description", Kind::Text),
    ];
    let rows = Query::new(&columns, "permissions").order("id").rows(call.tx)?;
    Ok(Value::Array(rows.into_iter().map(Value::Struct).collect()))
}

/// The permissions of a user, by name.
fn names(tx: &Transaction<'_>, user: i64) -> Answer {
    let mut statement = tx.prepare_cached(
        "SELECT name FROM user_perms JOIN permissions ON permissions.id = perm_id
         WHERE user_id = ? AND revoke_event IS NULL ORDER BY name",
    )?;
    let names = statement.query_map([user], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(Value::Array(names.into_iter().map(Value::from).collect()))
}

fn has_perm(call: &mut Call<'_>) -> Answer {
    let name = call.str("perm")?;
    let known = find(call.tx, &Id::Name(name.to_owned()))?.is_some();
    if call.flag("strict") && !known {
        return Err(refused(format!("No such permission {name} defined")));
    }
    let Some(session) = call.session else { return Ok(false.into()) };
    // Of `admin` it is only asked whether it is held; it stands for others where they are needed.
    let held = call
        .tx
        .prepare_cached(
            "SELECT 1 FROM user_perms JOIN permissions ON permissions.id = perm_id
             WHERE user_id = ? AND name = ? AND revoke_event IS NULL",
        )?
        .exists(params![session.user_id, name])?;
    Ok(held.into())
}

fn get_user_perms(call: &mut Call<'_>) -> Answer {
    let user = match (call.id_or_nil("userID")?, call.session) {
        (Some(id), _) => users::id_of(call.tx, &id)?,
        (None, Some(session)) => session.user_id,
        (None, None) => return Ok(Value::Nil),
    };
    names(call.tx, user)
}

fn get_user_perms_inheritance(call: &mut Call<'_>) -> Answer {
    let user = users::id_of(call.tx, &call.id("user")?)?;
    let held = names(call.tx, user)?;
    let mut by_name = Struct::new();
    for name in held.as_array().unwrap_or_default() {
        // Nothing comes through groups here: `None` says that the user has it itself.
        let text = name.as_str().unwrap_or_default().to_owned();
        by_name.insert(text, Value::Array(vec![Value::Nil]));
    }
    Ok(Value::Struct(by_name))
}
