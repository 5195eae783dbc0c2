//! One tar header, with a PAX record before it where ustar has no room.
//!
//! ustar is read by everything; PAX (POSIX.1-2001) is read by GNU tar, Go, Python and libarchive. GNU's own extensions are
//! not written. Bytes depend on nothing but the arguments.

use tar_core::builder::PaxBuilder;
use tar_core::{EntryType, Header};

/// Largest values of the octal fields.
const MAX_ID: u64 = 0o7_777_777;
const MAX_SIZE: u64 = 0o77_777_777_777;
const MAX_DEVICE: u32 = 0o7_777_777;

/// What a header says.
#[derive(Debug, Clone)]
pub(crate) struct HeaderFields<'a> {
    /// Path, relative, with a slash at the end for folders.
    pub path: &'a [u8],
    pub kind: EntryType,
    /// Target of a symbolic or hard link.
    pub link: &'a [u8],
    /// Permission bits only.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds since 1970, maybe negative.
    pub mtime: i64,
    /// Bytes of content that follow.
    pub size: u64,
    /// Major and minor number.
    pub device: Option<(u32, u32)>,
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

impl HeaderFields<'_> {
    /// A regular file of an archive we make: mode 0644, owner root, time 0.
    pub(crate) fn plain_file(path: &[u8], size: u64) -> HeaderFields<'_> {
        HeaderFields {
            path,
            kind: EntryType::Regular,
            link: b"",
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 0,
            size,
            device: None,
            xattrs: &[],
        }
    }
}

/// Appends the header blocks to `out`.
pub(crate) fn write_header(out: &mut Vec<u8>, fields: &HeaderFields<'_>) {
    let mut pax = PaxBuilder::new();
    let mut header = Header::new_ustar();
    if !set_path(&mut header, fields.path) {
        pax.path(fields.path);
    }
    if fields.link.len() > 100 || !fields.link.is_ascii() {
        pax.linkpath(fields.link);
    }
    let cut_link = &fields.link[..fields.link.len().min(100)];
    if header.set_link_name(cut_link).is_err() {
        pax.linkpath(fields.link);
    }
    if u64::from(fields.uid) > MAX_ID {
        pax.uid(u64::from(fields.uid));
    }
    if u64::from(fields.gid) > MAX_ID {
        pax.gid(u64::from(fields.gid));
    }
    if fields.size > MAX_SIZE {
        pax.size(fields.size);
    }
    if fields.mtime < 0 || fields.mtime as u64 > MAX_SIZE {
        pax.add("mtime", fields.mtime.to_string());
    }
    for (name, value) in fields.xattrs {
        if let Ok(name) = std::str::from_utf8(name) {
            pax.add(&format!("SCHILY.xattr.{name}"), value);
        }
    }
    let pax = pax.finish();
    if !pax.is_empty() {
        write_pax(out, fields.path, &pax);
    }
    let fits = "every value is within the octal field";
    header.set_entry_type(fields.kind);
    header.set_mode(fields.mode & 0o7777).expect(fits);
    header.set_uid(u64::from(fields.uid).min(MAX_ID)).expect(fits);
    header.set_gid(u64::from(fields.gid).min(MAX_ID)).expect(fits);
    header.set_size(fields.size.min(MAX_SIZE)).expect(fits);
    header.set_mtime(u64::try_from(fields.mtime).unwrap_or(0).min(MAX_SIZE)).expect(fits);
    let (major, minor) = fields.device.unwrap_or((0, 0));
    header.set_device(major.min(MAX_DEVICE), minor.min(MAX_DEVICE)).expect(fits);
    header.set_checksum();
    out.extend_from_slice(header.as_bytes());
}

/// Zero bytes to the next multiple of 512.
pub(crate) fn padding(size: u64) -> u64 {
    size.wrapping_neg() % 512
}

/// Puts the path into name and prefix; false when it needs PAX (and the header then has a cut name, for old readers).
fn set_path(header: &mut Header, path: &[u8]) -> bool {
    // Bytes beyond ASCII have no meaning in ustar; PAX says UTF-8, and readers take raw bytes there (a known practice).
    let plain = path.is_ascii();
    let ustar = header.as_ustar_mut();
    if path.len() <= 100 {
        ustar.name[..path.len()].copy_from_slice(path);
        return plain;
    }
    // The slash between prefix and name is not stored; a slash at the end belongs to the name.
    let body = &path[..path.len() - 1];
    let split = (0..=155.min(body.len() - 1)).rev().find(|at| body[*at] == b'/' && path.len() - at - 1 <= 100);
    match split {
        Some(at) if plain && at > 0 => {
            ustar.prefix[..at].copy_from_slice(&path[..at]);
            ustar.name[..path.len() - at - 1].copy_from_slice(&path[at + 1..]);
            true
        }
        _ => {
            ustar.name.copy_from_slice(&path[..100]);
            false
        }
    }
}

/// The record's own header is like that of Go's archive/tar: name `PaxHeaders.0/BASE`, everything else zero.
fn write_pax(out: &mut Vec<u8>, path: &[u8], records: &[u8]) {
    let trimmed = path.strip_suffix(b"/").unwrap_or(path);
    let base = trimmed.rsplit(|b| *b == b'/').next().unwrap_or(trimmed);
    let ascii: Vec<u8> = base.iter().copied().filter(u8::is_ascii).take(80).collect();
    let name = [b"PaxHeaders.0/".as_slice(), &ascii].concat();
    let mut header = Header::new_ustar();
    header.as_ustar_mut().name[..name.len()].copy_from_slice(&name);
    header.set_entry_type(EntryType::XHeader);
    let fits = "a PAX record is far smaller than 8 GiB";
    header.set_mode(0).expect(fits);
    header.set_uid(0).expect(fits);
    header.set_gid(0).expect(fits);
    header.set_mtime(0).expect(fits);
    header.set_size(records.len() as u64).expect(fits);
    header.set_checksum();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(records);
    out.resize(out.len() + padding(records.len() as u64) as usize, 0);
}
