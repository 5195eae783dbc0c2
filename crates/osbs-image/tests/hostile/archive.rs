//! Archives made block by block, and what a reader must make of them.

use crate::support::image_of;
use osbs_image::{
    Descriptor, ExtractOptions, ImageFormat, LayerError, Limits, Store, StoreOptions, extract_tar, media_type,
};
use rustix::fd::AsFd;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// An entry: type flag, name, link, content.
pub type Entry<'a> = (u8, &'a str, &'a str, &'a [u8]);

pub fn tar(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, name, link, content) in entries {
        let mut header = tar_core::Header::new_ustar();
        header.set_path(name.as_bytes()).expect("short");
        header.set_link_name(link.as_bytes()).expect("short");
        header.set_entry_type(tar_core::EntryType::from_byte(*kind));
        header.set_mode(0o755).expect("mode");
        header.set_uid(0).expect("uid");
        header.set_gid(0).expect("gid");
        header.set_mtime(1).expect("mtime");
        header.set_size(content.len() as u64).expect("size");
        header.set_device(0, 0).expect("device");
        header.set_checksum();
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

/// What a case must come to.
pub enum Expect {
    Refused,
    /// Paths below the root that must hold this text.
    Holds(&'static [(&'static str, &'static str)]),
}
use Expect::{Holds, Refused};

/// As a layer and as an archive for ADD, with a canary beside the root.
pub fn check(what: &str, entries: &[Entry<'_>], as_layer: &Expect, as_archive: &Expect) {
    check_bytes(what, &tar(entries), as_layer, as_archive);
}

/// The same with any bytes.
pub fn check_bytes(what: &str, bytes: &[u8], as_layer: &Expect, as_archive: &Expect) {
    let dir = tempfile::tempdir().expect("temp folder");
    let canary = dir.path().join("canary");
    fs::create_dir(&canary).expect("canary");
    fs::write(canary.join("file"), "alive").expect("canary");
    let store = Store::open(&dir.path().join("store")).expect("store");
    let result = apply(&store, bytes).map(|folders| folders[0].clone());
    judge(&format!("{what} as layer"), as_layer, result);
    let root = dir.path().join("root");
    fs::create_dir(&root).expect("root");
    let fd = File::open(&root).expect("root");
    let options =
        ExtractOptions { owner: None, mode: None, max_bytes: 1 << 20, max_entries: 1000, name: "x.tar".to_owned() };
    let result = extract_tar(&mut &*bytes, fd.as_fd(), &options, &CancellationToken::new());
    judge(&format!("{what} by ADD"), as_archive, result.map(|_| root));
    let names: Vec<_> = fs::read_dir(&canary).expect("canary").map(|e| e.expect("entry").file_name()).collect();
    assert_eq!(names, ["file"], "{what}");
    assert_eq!(fs::read_to_string(canary.join("file")).expect("canary"), "alive", "{what}");
    assert_eq!(fs::metadata(canary.join("file")).expect("canary").nlink(), 1, "{what}");
    assert_eq!(fs::read_dir(store.root().join("tmp")).expect("tmp").count(), 0, "{what}: something was left in tmp");
}

/// As the only layer of an image.
pub fn apply(store: &Store, bytes: &[u8]) -> Result<Vec<std::path::PathBuf>, LayerError> {
    let digest = store.put_small(bytes).expect("put");
    let parts = [(Descriptor::new(media_type::OCI_LAYER, digest.clone(), bytes.len() as u64), digest)];
    let image = image_of(store, &parts, ImageFormat::Oci);
    store.unpack(&image, &CancellationToken::new(), &|_| ())
}

/// A store with other limits.
pub fn limited(dir: &Path, limits: Limits) -> Store {
    Store::open_with(dir, StoreOptions { limits, ..StoreOptions::default() }).expect("store")
}

/// A header; numbers that do not fit are cut. GNU ones have GNU's magic.
pub fn header(kind: u8, name: &[u8], link: &[u8], size: u64) -> [u8; 512] {
    let mut block = [0; 512];
    block[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
    block[100..108].copy_from_slice(b"0000755\0");
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[136..148].copy_from_slice(b"00000000001\0");
    block[156] = kind;
    block[157..157 + link.len().min(100)].copy_from_slice(&link[..link.len().min(100)]);
    let magic = if matches!(kind, b'L' | b'K' | b'S') { b"ustar  \0" } else { b"ustar\x0000" };
    block[257..265].copy_from_slice(magic);
    sum(&mut block);
    block
}

/// Sets the checksum right.
pub fn sum(block: &mut [u8; 512]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// A header with its content, padded.
pub fn entry(kind: u8, name: &[u8], link: &[u8], content: &[u8]) -> Vec<u8> {
    let mut out = header(kind, name, link, content.len() as u64).to_vec();
    out.extend_from_slice(content);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

/// A PAX header with these records.
pub fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, value) in records {
        let rest = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
        let digits = (1..20).find(|digits| (rest.len() + digits).to_string().len() == *digits).expect("some number");
        body.extend_from_slice((rest.len() + digits).to_string().as_bytes());
        body.extend_from_slice(&rest);
    }
    entry(b'x', b"PaxHeaders/x", b"", &body)
}

/// The end of an archive.
pub fn end() -> Vec<u8> {
    vec![0; 1024]
}

fn judge(what: &str, expected: &Expect, result: Result<std::path::PathBuf, LayerError>) {
    match (expected, result) {
        // Never a failure of the machine: it is the archive's fault.
        (Refused, Err(e)) if e.kind() == osbs_types::ErrorKind::User || e.kind() == osbs_types::ErrorKind::Policy => {}
        (Refused, other) => panic!("{what}: not refused: {other:?}"),
        (Holds(files), Ok(root)) => {
            for (path, text) in *files {
                let found = read_inside(&root, path);
                assert_eq!(found.as_deref(), Some(*text), "{what}: {path}");
            }
        }
        (Holds(_), Err(e)) => panic!("{what}: {e:?}"),
    }
}

fn read_inside(root: &Path, path: &str) -> Option<String> {
    let at = root.join(path);
    let metadata = fs::symlink_metadata(&at).ok()?;
    if metadata.is_symlink() {
        return Some(format!("-> {}", fs::read_link(&at).ok()?.display()));
    }
    fs::read_to_string(&at).ok()
}
