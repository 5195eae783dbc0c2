//! Plain tar layers, against another reader of tar: both see the same entries, or ours refuses the archive.
//!
//! What only one of two programs sees in an archive can be shown to the one that checks and hidden from the one that runs.

use crate::check_message;
use osbs_image::{Limits, ListedEntry, list_tar};
use std::io::Read;

/// A tar archive.
pub fn layer(data: &[u8]) {
    match list_tar(&mut &*data, &limits()) {
        Ok(ours) => check_same(&ours, data),
        Err(error) => check_message(&format!("{error:?}").replace('\n', " ").chars().take(4000).collect::<String>()),
    }
}

/// Small enough that no input takes long.
pub(crate) fn limits() -> Limits {
    Limits { entries: 10_000, bytes: 32 << 20, ..Limits::default() }
}

fn check_same(ours: &[ListedEntry], data: &[u8]) {
    if has_lines_in_pax(data) {
        return;
    }
    let mut ours = ours.iter();
    let mut archive = tar::Archive::new(data);
    archive.set_ignore_zeros(false);
    for entry in archive.entries().expect("a slice") {
        let mut entry = match entry {
            Ok(entry) => entry,
            Err(error) => panic!("the other reader fails: {error}; ours goes on with {:?}", ours.next()),
        };
        let kind = entry.header().entry_type();
        // Defaults for later entries; both give them no file.
        if kind.is_pax_global_extensions() {
            continue;
        }
        let Some(own) = ours.next() else { panic!("only the other reader sees {entry:?}", entry = entry.path_bytes()) };
        check_entry(own, &mut entry);
    }
    assert_eq!(ours.next(), None, "only ours sees this entry");
}

fn check_entry(own: &ListedEntry, other: &mut tar::Entry<'_, &[u8]>) {
    // The other reader does not know these, and shows the stored form under a made-up name.
    let is_pax_sparse = has_pax(other, "GNU.sparse.");
    let kind = match other.header().entry_type().as_byte() {
        // Both are files, and an old archive's folder is a file whose name ends with a slash.
        0 | b'7' | b'S' => b'0',
        byte => byte,
    };
    if !(own.kind == b'5' && kind == b'0' && own.path.ends_with(b"/")) {
        assert_eq!(own.kind as char, kind as char, "type of {own:?}");
    }
    if !is_pax_sparse {
        assert_eq!(text(&own.path), text(&other.path_bytes()), "path");
    }
    if matches!(own.kind, b'1' | b'2') {
        assert_eq!(text(&own.link), text(&other.link_name_bytes().unwrap_or_default()), "link of {own:?}");
    }
    let header = other.header();
    assert_eq!(Some(own.mode), header.mode().ok().map(|mode| mode & 0o7777), "mode of {own:?}");
    if matches!(own.kind, b'3' | b'4') {
        let device = (header.device_major().ok().flatten(), header.device_minor().ok().flatten());
        assert_eq!((own.device.0, own.device.1), (device.0.unwrap_or(0), device.1.unwrap_or(0)), "device of {own:?}");
    }
    if own.kind == b'0' && !is_pax_sparse {
        let mut content = Vec::new();
        other.by_ref().take(64 << 20).read_to_end(&mut content).expect("ours could read it");
        assert_eq!(own.size, content.len() as u64, "size of {own:?}");
    }
}

fn has_pax(entry: &mut tar::Entry<'_, &[u8]>, prefix: &str) -> bool {
    let Ok(Some(records)) = entry.pax_extensions() else { return false };
    records.flatten().any(|record| record.key_bytes().starts_with(prefix.as_bytes()))
}

/// Some PAX value holds a line end, where the other reader ends the record; its length, which ours goes by, says more.
fn has_lines_in_pax(data: &[u8]) -> bool {
    let mut archive = tar::Archive::new(data);
    let Ok(entries) = archive.entries() else { return false };
    for mut entry in entries.raw(true).map_while(Result::ok) {
        let kind = entry.header().entry_type();
        let mut records = Vec::new();
        if !kind.is_pax_local_extensions() && !kind.is_pax_global_extensions()
            || entry.read_to_end(&mut records).is_err()
        {
            continue;
        }
        let mut rest = records.as_slice();
        while let Some(space) = rest.iter().position(|byte| *byte == b' ') {
            let length = std::str::from_utf8(&rest[..space]).ok().and_then(|number| number.parse::<usize>().ok());
            let Some(record) = length.and_then(|length| rest.get(..length)).filter(|record| !record.is_empty()) else {
                break;
            };
            if record[..record.len() - 1].contains(&b'\n') {
                return true;
            }
            rest = &rest[record.len()..];
        }
    }
    false
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
