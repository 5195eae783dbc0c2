//! Content generators' calls: reservation, import, and uploads that are no raw ones.

use super::{Answer, Method, read, write};
use crate::builds::{self, NewBuild, Nvr};
use crate::call::Call;
use crate::call_error::{CallError, fault, refused};
use crate::checksum::{Checksum, hex};
use crate::database::Access;
use crate::import::{check_access, import, token_digest, wrong_token};
use crate::parameters::{Default, optional, or, required};
use crate::role::Role;
use crate::states::BuildState;
use crate::uploads::{self, Piece, check_volume, place};
use base64::Engine as _;
use osbs_koji::{FaultCode, Value};
use rusqlite::params;

pub(crate) const METHODS: &[Method] = &[
    write("CGInitBuild", Role::ContentGenerator, &[required("cg"), required("data")], reserve),
    write(
        "CGRefundBuild",
        Role::ContentGenerator,
        &[required("cg"), required("build_id"), required("token"), or("state", Default::Int(3))],
        refund,
    ),
    write(
        "CGImport",
        Role::ContentGenerator,
        &[required("metadata"), required("directory"), optional("token")],
        |call| import(call),
    ),
    // Reads, as far as the call's own transaction goes: its number is not remembered, so that a piece whose answer was
    // lost can be sent again.
    Method {
        name: "uploadFile",
        parameters: &[
            required("path"),
            required("name"),
            required("size"),
            required("md5sum"),
            required("offset"),
            required("data"),
            optional("volume"),
            optional("checksum"),
        ],
        role: Role::LoggedIn,
        access: Access::Read,
        call: upload,
    },
    // None of Koji's: there uploads stay until the site's own clearing takes them.
    write("osbs.removeUploads", Role::LoggedIn, &[required("path")], remove),
    read(
        "checkUpload",
        &[required("path"), required("name"), optional("verify"), optional("tail"), optional("volume")],
        check,
    ),
];

fn reserve(call: &mut Call<'_>) -> Answer {
    let cg_id = check_access(call, call.str("cg")?)?;
    let data = call.value("data");
    // A name or version that is missing is refused, a release is a key of Python's that is not there.
    if data.get("release").is_nil() && !data.get("name").is_nil() && !data.get("version").is_nil() {
        return Err(fault(FaultCode::Exception, "<class 'KeyError'>: 'release'"));
    }
    let nvr = Nvr::of_members(data)?;
    nvr.check()?;
    let build = NewBuild {
        nvr: &nvr,
        epoch: data.get("epoch").as_int(),
        draft: data.get("draft").is_true(),
        state: BuildState::Building,
        task_id: None,
        owner: call.user()?.user_id,
        source: None,
        extra: None,
        cg_id: Some(cg_id),
        event: call.event()?,
        start_time: call.now,
        completion_time: None,
    };
    let id = builds::create(call.tx, &build)?;
    let token = hex(&rand::random::<[u8; 32]>());
    call.tx.execute(
        "INSERT INTO build_reservations (build_id, token_digest, created) VALUES (?, ?, ?)",
        params![id, token_digest(&token), call.now],
    )?;
    Ok(Value::members([("build_id", id.into()), ("token", token.into())]))
}

fn refund(call: &mut Call<'_>) -> Answer {
    let state = BuildState::of(call.int("state")?);
    let Some(state @ (BuildState::Failed | BuildState::Canceled)) = state else {
        return Err(refused("Only FAILED/CANCELED build states are allowed"));
    };
    let cg_id = check_access(call, call.str("cg")?)?;
    let id = call.int("build_id")?;
    let build = builds::get(call.tx, id)?;
    if build.state != BuildState::Building {
        return Err(refused(format!("Build ID {id} is not in BUILDING state")));
    }
    let token = call.str_or_nil("token")?.map(token_digest);
    let reserved = builds::reservation(call.tx, id)?;
    if reserved.is_none() || reserved != token {
        return Err(wrong_token(id));
    }
    if build.cg_id != Some(cg_id) {
        return Err(refused(format!("Build ID {id} is not reserved by this CG")));
    }
    builds::end(call.tx, call.now, id, state)?;
    Ok(Value::Nil)
}

/// A number, which may have come as text because XML-RPC's integers are short.
fn number(call: &Call<'_>, name: &str) -> Result<Option<i64>, CallError> {
    match call.value(name) {
        Value::String(text) => match text.trim().parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(fault(FaultCode::Exception, format!("<class 'ValueError'>: {name}: {text}"))),
        },
        _ => call.int_or_nil(name),
    }
}

/// Digests come as `[TYPE, HEX]`, or as hex alone, which is MD5.
fn digest<'v>(call: &'v Call<'_>) -> Result<Option<(Checksum, &'v str)>, CallError> {
    let given = if call.value("checksum").is_nil() { call.value("md5sum") } else { call.value("checksum") };
    match given {
        Value::Nil => Ok(None),
        Value::String(hex) => Ok(Some((Checksum::Md5, hex))),
        Value::Array(pair) => match &pair[..] {
            [Value::String(name), Value::String(hex)] => {
                let checksum =
                    Checksum::named(name).ok_or_else(|| refused(format!("Unsupported verify type: {name}")))?;
                Ok(Some((checksum, hex)))
            }
            _ => Err(crate::call::wrong_type("checksum", "a type and a digest", given)),
        },
        other => Err(crate::call::wrong_type("checksum", "a type and a digest", other)),
    }
}

fn upload(call: &mut Call<'_>) -> Answer {
    check_volume(call.str_or_nil("volume")?.unwrap_or_default())?;
    let (folder, name) = place(call.str("path")?, call.str("name")?)?;
    let text: String = call.str("data")?.split_ascii_whitespace().collect();
    let data = base64::engine::general_purpose::STANDARD.decode(text);
    let data = data.map_err(|error| fault(FaultCode::Exception, format!("<class 'binascii.Error'>: {error}")))?;
    let offset = match number(call, "offset")? {
        Some(-1) => None,
        Some(offset) if offset >= 0 => Some(offset.unsigned_abs()),
        _ => return Err(refused("Invalid upload offset")),
    };
    let size = number(call, "size")?.map(|size| u64::try_from(size).unwrap_or(u64::MAX));
    let (user, database) = (call.user()?, &call.hub.database);
    if uploads::is_claimed(call.tx, &folder)? {
        uploads::claim(call.tx, user, &folder)?;
    } else {
        database.transaction(Access::Write, |tx| uploads::claim(tx, user, &folder))?;
    }
    let piece = Piece { folder: &folder, name: &name, offset, size, sum: digest(call)?, data: &data };
    let written = uploads::write_piece(call.hub, &piece)?;
    uploads::keep_claim(call.hub, user, &folder)?;
    Ok(written.into())
}

fn remove(call: &mut Call<'_>) -> Answer {
    let folder = uploads::upload_folder(call.str("path")?)?;
    Ok(uploads::removal::remove_own(call.tx, call.hub, call.user()?, &folder)?.into())
}

fn check(call: &mut Call<'_>) -> Answer {
    check_volume(call.str_or_nil("volume")?.unwrap_or_default())?;
    let verify = call.str_or_nil("verify")?.filter(|name| !name.is_empty());
    let verify =
        verify.map(|name| Checksum::named(name).ok_or_else(|| refused(format!("Unsupported verify type: {name}"))));
    let tail = match call.int_or_nil("tail")? {
        Some(tail) if tail < 0 => return Err(refused(format!("Invalid tail value: {tail}"))),
        tail => tail.map(i64::unsigned_abs),
    };
    uploads::check(call, verify.transpose()?, tail)
}
