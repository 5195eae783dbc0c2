//! Users, human and otherwise.

use super::{Answer, Method, read, write};
use crate::call::{Call, Id, check_new_name};
use crate::call_error::{CallError, refused};
use crate::parameters::{Default, flag, optional, or, required};
use crate::patterns::starts_with;
use crate::role::Role;
use crate::rows::{Column, Kind, Query, QueryOpts, column};
use osbs_koji::{Struct, Value};
use rusqlite::{OptionalExtension as _, Transaction, params};

const ADMIN: Role = Role::Permission("admin");

pub(crate) const METHODS: &[Method] = &[
    write("createUser", ADMIN, &[required("username"), optional("status"), optional("krb_principal")], create_user),
    write("editUser", ADMIN, &[required("userInfo"), optional("name"), optional("krb_principal_mappings")], edit_user),
    write("enableUser", ADMIN, &[required("username")], |call| set_status(call, 0)),
    write("disableUser", ADMIN, &[required("username")], |call| set_status(call, 1)),
    read(
        "getUser",
        &[optional("userInfo"), flag("strict"), or("krb_princs", Default::Bool(true)), flag("groups")],
        get_user,
    ),
    read("getLoggedInUser", &[], get_logged_in_user),
    read(
        "listUsers",
        &[
            or("userType", Default::Int(0)),
            optional("prefix"),
            optional("queryOpts"),
            optional("perm"),
            flag("inherited_perm"),
        ],
        list_users,
    ),
    // There are no groups of users here.
    read("getUserGroups", &[required("user")], |_| Ok(Value::Array(Vec::new()))),
];

const COLUMNS: &[Column] = &[
    column("id", "users.id", Kind::Int),
    column("name", "users.name", Kind::Text),
    column("status", "users.status", Kind::Int),
    column("usertype", "users.usertype", Kind::Int),
];

/// A user, without its principals.
///
/// # Errors
/// The database failed.
pub(crate) fn find(tx: &Transaction<'_>, id: &Id) -> Result<Option<Struct>, CallError> {
    let query = Query::new(COLUMNS, "users");
    match id {
        Id::Number(id) => query.bind("users.id = ?", *id),
        Id::Name(name) => query.bind("users.name = ?", name.clone()),
    }
    .first(tx)
}

/// The id of a user that must exist.
///
/// # Errors
/// 1000: it does not.
pub(crate) fn id_of(tx: &Transaction<'_>, id: &Id) -> Result<i64, CallError> {
    let user = find(tx, id)?.and_then(|user| user.get("id").and_then(Value::as_int));
    user.ok_or_else(|| refused(format!("No such user: {id}")))
}

/// Makes a user; `usertype` 0 is an ordinary one, 1 a host.
///
/// # Errors
/// The name is unfit, or taken.
pub(crate) fn create(call: &Call<'_>, name: &str, usertype: i64) -> Result<i64, CallError> {
    check_new_name("user", name)?;
    if find(call.tx, &Id::Name(name.to_owned()))?.is_some() {
        return Err(refused(format!("user already exists: {name}")));
    }
    call.tx.prepare_cached("INSERT INTO users (name, usertype) VALUES (?, ?)")?.execute(params![name, usertype])?;
    Ok(call.tx.last_insert_rowid())
}

fn create_user(call: &mut Call<'_>) -> Answer {
    let status = call.int_or_nil("status")?.unwrap_or(0);
    if !(0..=1).contains(&status) {
        return Err(refused(format!("Invalid status: {status}")));
    }
    let principal = call.str_or_nil("krb_principal")?;
    let id = create(call, call.str("username")?, 0)?;
    call.tx.prepare_cached("UPDATE users SET status = ? WHERE id = ?")?.execute([status, id])?;
    if let Some(principal) = principal {
        check_new_name("krb_principal", principal)?;
        call.tx
            .prepare_cached("INSERT INTO user_krb_principals (user_id, principal) VALUES (?, ?)")?
            .execute(params![id, principal])?;
    }
    Ok(id.into())
}

fn edit_user(call: &mut Call<'_>) -> Answer {
    let id = id_of(call.tx, &call.id("userInfo")?)?;
    if !call.value("krb_principal_mappings").is_nil() {
        return Err(refused("this hub knows no Kerberos"));
    }
    if let Some(name) = call.str_or_nil("name")? {
        check_new_name("user", name)?;
        let holder = find(call.tx, &Id::Name(name.to_owned()))?.and_then(|user| user["id"].as_int());
        if holder.is_some_and(|holder| holder != id) {
            return Err(refused(format!("Name {name} already taken by user {}", holder.unwrap_or_default())));
        }
        call.tx.prepare_cached("UPDATE users SET name = ? WHERE id = ?")?.execute(params![name, id])?;
    }
    Ok(Value::Nil)
}

fn set_status(call: &mut Call<'_>, status: i64) -> Answer {
    let id = id_of(call.tx, &call.id("username")?)?;
    call.tx.prepare_cached("UPDATE users SET status = ?1 WHERE id = ?2 AND status <> ?1")?.execute([status, id])?;
    Ok(Value::Nil)
}

fn principals(tx: &Transaction<'_>, id: i64) -> Result<Value, CallError> {
    let mut statement = tx.prepare_cached("SELECT principal FROM user_krb_principals WHERE user_id = ? ORDER BY 1")?;
    let names = statement.query_map([id], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(Value::Array(names.into_iter().map(Value::from).collect()))
}

fn get_user(call: &mut Call<'_>) -> Answer {
    let id = match (call.id_or_nil("userInfo")?, call.session) {
        (Some(id), _) => id,
        (None, Some(session)) => Id::Number(session.user_id),
        (None, None) => return Ok(Value::Nil),
    };
    let Some(mut user) = find(call.tx, &id)? else {
        return if call.flag("strict") { Err(refused(format!("No such user: {id}"))) } else { Ok(Value::Nil) };
    };
    if call.flag("krb_princs") {
        let id = user["id"].as_int().unwrap_or_default();
        user.insert("krb_principals".to_owned(), principals(call.tx, id)?);
    }
    if call.flag("groups") {
        user.insert("groups".to_owned(), Value::Array(Vec::new()));
    }
    Ok(Value::Struct(user))
}

fn get_logged_in_user(call: &mut Call<'_>) -> Answer {
    let Some(session) = call.session else { return Ok(Value::Nil) };
    let Some(mut user) = find(call.tx, &Id::Number(session.user_id))? else { return Ok(Value::Nil) };
    let held = principals(call.tx, session.user_id)?;
    user.insert("krb_principal".to_owned(), held.as_array().and_then(<[Value]>::first).cloned().unwrap_or(Value::Nil));
    user.insert("krb_principals".to_owned(), held);
    user.insert("authtype".to_owned(), session.auth_type.into());
    Ok(Value::Struct(user))
}

fn list_users(call: &mut Call<'_>) -> Answer {
    let mut query =
        Query::new(COLUMNS, "users").bind_some("users.usertype = ?", call.int_or_nil("userType")?).order("users.id");
    if let Some(prefix) = call.str_or_nil("prefix")? {
        query = query.bind("users.name GLOB ?", starts_with(prefix));
    }
    if let Some(permission) = call.str_or_nil("perm")? {
        let known = call
            .tx
            .query_row("SELECT id FROM permissions WHERE name = ?", [permission], |row| row.get::<_, i64>(0))
            .optional()?
            .ok_or_else(|| refused(format!("No such permission {permission} defined")))?;
        query = query
            .bind("users.id IN (SELECT user_id FROM user_perms WHERE perm_id = ? AND revoke_event IS NULL)", known);
    }
    let opts = QueryOpts::read(call.value("queryOpts"))?;
    let mut answer = query.answer(call.tx, &opts)?;
    let Value::Array(users) = &mut answer else { return Ok(answer) };
    for user in users {
        if let Value::Struct(members) = user {
            let id = members["id"].as_int().unwrap_or_default();
            members.insert("krb_principals".to_owned(), principals(call.tx, id)?);
        }
    }
    Ok(answer)
}
