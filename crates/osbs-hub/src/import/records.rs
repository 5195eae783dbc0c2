//! What an import leaves in the database: buildroots, their components, archives.

use super::components::Matched;
use super::metadata::{Buildroot, Output, OutputKind};
use crate::call_error::{CallError, refused};
use osbs_koji::Value;
use rusqlite::{Transaction, params};

fn json(value: &Value) -> Option<String> {
    (!value.is_nil()).then(|| value.to_json().to_string())
}

/// Records a buildroot and returns its hub-wide id.
pub(super) fn buildroot(
    tx: &Transaction<'_>,
    buildroot: &Buildroot,
    cg_id: i64,
    components: &Matched,
) -> Result<i64, CallError> {
    let Buildroot { cg_version, container_type, container_arch, host_os, host_arch, extra, .. } = buildroot;
    tx.prepare_cached(
        "INSERT INTO buildroot (cg_id, cg_version, container_type, container_arch, host_os, host_arch, extra)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![cg_id, cg_version, container_type, container_arch, host_os, host_arch, json(extra)])?;
    let id = tx.last_insert_rowid();
    for (tool, version) in &buildroot.tools {
        tx.prepare_cached("INSERT INTO buildroot_tools (buildroot_id, tool, version) VALUES (?, ?, ?)")?
            .execute(params![id, tool, version])?;
    }
    insert_pairs(tx, "INSERT INTO buildroot_listing (buildroot_id, rpm_id) VALUES (?, ?)", id, &components.rpms)?;
    let sql = "INSERT INTO buildroot_archives (buildroot_id, archive_id) VALUES (?, ?)";
    insert_pairs(tx, sql, id, &components.archives)?;
    Ok(id)
}

fn insert_pairs(tx: &Transaction<'_>, sql: &str, id: i64, others: &[i64]) -> Result<(), CallError> {
    let mut statement = tx.prepare_cached(sql)?;
    for other in others {
        statement.execute([id, *other])?;
    }
    Ok(())
}

/// Records an archive; a log is none.
pub(super) fn archive(
    tx: &Transaction<'_>,
    output: &Output,
    size: u64,
    (build_id, buildroot_id): (i64, i64),
    components: &Matched,
) -> Result<(), CallError> {
    let OutputKind::Archive { btype, arch } = &output.kind else { return Ok(()) };
    let Output { filename, checksum, checksum_type, metadata_only, extra, .. } = output;
    let type_id =
        archive_type(tx, filename)?.ok_or_else(|| refused(format!("Unsupported file extension: {filename}")))?;
    let checksum_type = checksum_type
        .archive_number()
        .ok_or_else(|| refused(format!("Unsupported checksum type for archives: {}", checksum_type.as_str())))?;
    tx.prepare_cached(
        "INSERT INTO archiveinfo (build_id, buildroot_id, btype_id, type_id, filename, size, checksum, checksum_type,
             metadata_only, extra, arch)
         VALUES (?, ?, (SELECT id FROM btype WHERE name = ?), ?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        build_id,
        buildroot_id,
        btype,
        type_id,
        filename,
        size as i64,
        checksum,
        checksum_type,
        metadata_only,
        extra.as_ref().and_then(json),
        arch
    ])?;
    let id = tx.last_insert_rowid();
    let sql = "INSERT INTO archive_rpm_components (archive_id, rpm_id) VALUES (?, ?)";
    insert_pairs(tx, sql, id, &components.rpms)?;
    insert_pairs(
        tx,
        "INSERT INTO archive_components (archive_id, component_id) VALUES (?, ?)",
        id,
        &components.archives,
    )
}

/// The type of an archive by its name: the shortest ending that belongs to one.
fn archive_type(tx: &Transaction<'_>, filename: &str) -> Result<Option<i64>, CallError> {
    let mut statement = tx.prepare_cached("SELECT id, extensions FROM archivetypes ORDER BY id")?;
    let types = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let types: Vec<(i64, String)> = types.collect::<Result<_, _>>()?;
    let belongs = |ending: &str| {
        types.iter().find(|(_, endings)| endings.split_whitespace().any(|one| one.eq_ignore_ascii_case(ending)))
    };
    let endings = filename.rmatch_indices('.').map(|(at, _)| &filename[at + 1..]);
    Ok(endings.filter_map(belongs).map(|(id, _)| *id).next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_ending_decides() {
        let mut database = rusqlite::Connection::open_in_memory().unwrap();
        let tx = database.transaction().unwrap();
        tx.execute_batch(
            "CREATE TABLE archivetypes (id, extensions);
             INSERT INTO archivetypes VALUES (4, 'tar tar.gz tgz'), (9, 'json'), (10, 'raw.xz')",
        )
        .unwrap();
        for (name, expected) in [
            ("docker-image-sha256:6c2f.x86_64.tar.gz", Some(4)),
            ("a.tar", Some(4)),
            ("a.TGZ", Some(4)),
            ("a.tar.json", Some(9)),
            ("a.raw.xz", Some(10)),
            ("a.gz", None),
            ("a.log", None),
            ("tar", None),
        ] {
            assert_eq!(archive_type(&tx, name).unwrap(), expected, "{name}");
        }
    }
}
