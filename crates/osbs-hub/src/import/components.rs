//! What an import was made of, matched against the RPM packages and archives that this hub knows (client-and-koji 6.4).

use super::metadata::Component;
use crate::builds;
use crate::call_error::{CallError, fault, refused};
use osbs_koji::{FaultCode, Value};
use rusqlite::{OptionalExtension as _, Transaction, params};

/// Components that are known here.
#[derive(Debug, Default)]
pub(super) struct Matched {
    pub rpms: Vec<i64>,
    pub archives: Vec<i64>,
}

/// Matches components. Those that are not known are left out, with a line in `log`.
///
/// # Errors
/// 1000: a `kojifile` is not what it is said to be; 1: a known RPM package without `sigmd5`.
pub(super) fn match_all(
    tx: &Transaction<'_>,
    components: &[Component],
    log: &mut Vec<String>,
) -> Result<Matched, CallError> {
    let mut matched = Matched::default();
    for component in components {
        match component {
            Component::Rpm { name, version, release, arch, sigmd5 } => {
                let nvra = format!("{name}-{version}-{release}.{arch}");
                match find_rpm(tx, [name, version, release, arch])? {
                    None => log.push(format!("left out, no such RPM package is known here: {nvra}")),
                    Some((id, digest)) => {
                        let sigmd5 = sigmd5.as_ref().ok_or_else(|| key_error("sigmd5"))?;
                        if *sigmd5 != digest {
                            log.push(format!("RPM package {nvra} has another sigmd5 here: {digest}, not {sigmd5}"));
                        }
                        matched.rpms.push(id);
                    }
                }
            }
            Component::File { filename, filesize, checksum, checksum_type } => {
                let number = match checksum_type.as_str() {
                    "md5" => 0,
                    "sha1" => 1,
                    "sha256" => 2,
                    other => return Err(key_error(other)),
                };
                match find_archive(tx, filename, *filesize, number, checksum)? {
                    None => log.push(format!("left out, no such archive is known here: {filename} ({checksum})")),
                    Some(id) => matched.archives.push(id),
                }
            }
            Component::KojiFile { archive_id, given } => matched.archives.push(koji_file(tx, *archive_id, given)?),
        }
    }
    Ok(matched)
}

fn key_error(name: &str) -> CallError {
    fault(FaultCode::Exception, format!("<class 'KeyError'>: '{name}'"))
}

fn find_rpm(tx: &Transaction<'_>, nvra: [&String; 4]) -> Result<Option<(i64, String)>, CallError> {
    let sql = "SELECT id, payloadhash FROM rpminfo WHERE name = ? AND version = ? AND release = ? AND arch = ?";
    Ok(tx.prepare_cached(sql)?.query_row(nvra, |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

fn find_archive(
    tx: &Transaction<'_>,
    filename: &str,
    size: i64,
    checksum_type: i64,
    checksum: &str,
) -> Result<Option<i64>, CallError> {
    let sql = "SELECT id FROM archiveinfo WHERE filename = ? AND size = ? AND checksum_type = ? AND checksum = ?
               ORDER BY id LIMIT 1";
    let found = tx.prepare_cached(sql)?.query_row(params![filename, size, checksum_type, checksum], |row| row.get(0));
    Ok(found.optional()?)
}

fn koji_file(tx: &Transaction<'_>, id: i64, given: &Value) -> Result<i64, CallError> {
    let sql = "SELECT build_id, filename, size, checksum, checksum_type FROM archiveinfo WHERE id = ?";
    let found = tx.prepare_cached(sql)?.query_row([id], |row| {
        let (build, filename, size): (i64, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (checksum, checksum_type): (String, i64) = (row.get(3)?, row.get(4)?);
        Ok((build, filename, size, checksum, checksum_type))
    });
    let no_such = || refused(format!("No such archive: {id}"));
    let (build, filename, size, checksum, checksum_type) = found.optional()?.ok_or_else(no_such)?;
    let nvr = builds::get(tx, build)?.nvr.to_string();
    let checksum_type = if checksum_type == 0 { "md5" } else { "sha256" };
    for required in ["nvr", "filename"] {
        if given.get(required).is_nil() {
            return Err(refused(format!("{required} field missing for component, archive_id={id}")));
        }
    }
    let expected: [(&str, Value); 5] = [
        ("nvr", nvr.into()),
        ("filename", filename.into()),
        ("filesize", size.into()),
        ("checksum", checksum.into()),
        ("checksum_type", checksum_type.into()),
    ];
    for (name, value) in expected {
        let is_given = given.as_struct().is_some_and(|members| members.contains_key(name));
        if is_given && *given.get(name) != value {
            let (value, given) = (value.to_json(), given.get(name).to_json());
            return Err(refused(format!(
                "Component field {name} does not match for archive_id={id}: {value} != {given}"
            )));
        }
    }
    Ok(id)
}
