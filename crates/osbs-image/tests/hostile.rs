//! Hostile archives: refused or contained, and a canary outside is untouched.

mod support;

use osbs_image::{Descriptor, ExtractOptions, ImageFormat, LayerError, Store, extract_tar, media_type};
use rustix::fd::AsFd;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use support::{image_of, ready};
use tokio_util::sync::CancellationToken;

/// An entry: type flag, name, link, content.
type Entry<'a> = (u8, &'a str, &'a str, &'a [u8]);

fn tar(entries: &[Entry<'_>]) -> Vec<u8> {
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
enum Expect {
    Refused,
    /// Paths below the root that must hold this text.
    Holds(&'static [(&'static str, &'static str)]),
}
use Expect::{Holds, Refused};

/// As a layer and as an archive for ADD, with a canary beside the root.
fn check(what: &str, entries: &[Entry<'_>], as_layer: &Expect, as_archive: &Expect) {
    let dir = tempfile::tempdir().expect("temp folder");
    let canary = dir.path().join("canary");
    fs::create_dir(&canary).expect("canary");
    fs::write(canary.join("file"), "alive").expect("canary");
    let bytes = tar(entries);
    let store = Store::open(&dir.path().join("store")).expect("store");
    let digest = store.put_small(&bytes).expect("put");
    let parts = [(Descriptor::new(media_type::OCI_LAYER, digest.clone(), bytes.len() as u64), digest)];
    let image = image_of(&store, &parts, ImageFormat::Oci);
    let result = store.unpack(&image, &CancellationToken::new(), &|_| ());
    judge(&format!("{what} as layer"), as_layer, result.map(|folders| folders[0].clone()));
    let root = dir.path().join("root");
    fs::create_dir(&root).expect("root");
    let fd = File::open(&root).expect("root");
    let options =
        ExtractOptions { owner: None, mode: None, max_bytes: 1 << 20, max_entries: 1000, name: "x.tar".to_owned() };
    let result = extract_tar(&mut bytes.as_slice(), fd.as_fd(), &options, &CancellationToken::new());
    judge(&format!("{what} by ADD"), as_archive, result.map(|_| root));
    let names: Vec<_> = fs::read_dir(&canary).expect("canary").map(|e| e.expect("entry").file_name()).collect();
    assert_eq!(names, ["file"], "{what}");
    assert_eq!(fs::read_to_string(canary.join("file")).expect("canary"), "alive", "{what}");
    assert_eq!(fs::metadata(canary.join("file")).expect("canary").nlink(), 1, "{what}");
    assert_eq!(fs::read_dir(store.root().join("tmp")).expect("tmp").count(), 0, "{what}: something was left in tmp");
}

fn judge(what: &str, expected: &Expect, result: Result<std::path::PathBuf, LayerError>) {
    match (expected, result) {
        (Refused, Err(LayerError::Entry { .. } | LayerError::File { .. })) => {}
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

#[test]
fn hostile_archives_stay_inside() {
    if !ready(&[]) {
        return;
    }
    let f = b'0';
    let evil: &[u8] = b"evil";
    check("dot dot", &[(f, "../canary/file", "", evil)], &Refused, &Refused);
    check("hidden dot dot", &[(f, "a/../../canary/file", "", evil)], &Refused, &Refused);
    let inside = Holds(&[("tmp/x", "evil")]);
    check("absolute name", &[(f, "/tmp/x", "", evil)], &inside, &inside);
    let through = Holds(&[("canary/file", "evil")]);
    check(
        "relative link, then through it",
        &[(b'2', "l", "../canary", b""), (f, "l/file", "", evil)],
        &through,
        &through,
    );
    let deep = Holds(&[("a", "-> ../../.."), ("canary/file", "evil")]);
    check("many dot dots in a link", &[(b'2', "a", "../../..", b""), (f, "a/canary/file", "", evil)], &deep, &deep);
    check(
        "absolute link, then through it",
        &[(b'2', "l", "/canary", b""), (f, "l/file", "", evil)],
        &through,
        &through,
    );
    let replaced = Holds(&[("l", "evil")]);
    check(
        "link, then a file of its name",
        &[(b'2', "l", "../canary/file", b""), (f, "l", "", evil)],
        &replaced,
        &replaced,
    );
    check(
        "chain of links in a loop",
        &[(b'2', "a", "b", b""), (b'2', "b", "a", b""), (f, "a/x", "", evil)],
        &Refused,
        &Refused,
    );
    check("hard link out", &[(b'1', "h", "../canary/file", b""), (f, "h", "", evil)], &Refused, &Refused);
    check(
        "hard link out through a link",
        &[(b'2', "l", "../canary", b""), (b'1', "h", "l/file", b"")],
        &Refused,
        &Refused,
    );
    check(
        "hard link out through a link, then a file of its name",
        &[(b'2', "l", "../canary", b""), (b'1', "h", "l/file", b""), (f, "h", "", evil)],
        &Holds(&[("h", "evil")]),
        &Refused,
    );
    check("hard link to a folder", &[(b'5', "d", "", b""), (b'1', "h", "d", b"")], &Refused, &Refused);
    let last = Holds(&[("x", "evil")]);
    check("the same name twice", &[(f, "x", "", b"first"), (f, "x", "", evil)], &last, &last);
    check("folder, then file", &[(b'5', "x", "", b""), (f, "x/y", "", b"1"), (f, "x", "", evil)], &last, &last);
    check("file, then below it", &[(f, "x", "", b"1"), (f, "x/y", "", evil)], &Refused, &Refused);
    check("device 0:0", &[(b'3', "x", "", b"")], &Refused, &Refused);
    let names = Holds(&[(".wh.x", "evil")]);
    check("whiteout of dot dot", &[(f, ".wh...", "", b"")], &Refused, &Holds(&[]));
    check("whiteout name", &[(f, ".wh.x", "", evil)], &Holds(&[]), &names);
    check("inside a whiteout", &[(f, ".wh.x/y", "", evil)], &Refused, &Holds(&[(".wh.x/y", "evil")]));
    check(
        "whiteout through a link",
        &[(b'2', "l", "../canary", b""), (f, "l/.wh.file", "", b"")],
        &Holds(&[]),
        &Holds(&[]),
    );
    check("unknown type", &[(b'Z', "x", "", b"")], &Refused, &Refused);
    check("root is a file", &[(f, ".", "", evil)], &Refused, &Refused);
}

#[test]
fn limits() {
    let dir = tempfile::tempdir().expect("temp folder");
    let fd = File::open(dir.path()).expect("root");
    let mut options =
        ExtractOptions { owner: None, mode: None, max_bytes: 3, max_entries: 10, name: "x.tar".to_owned() };
    let bytes = tar(&[(b'0', "a", "", b"12"), (b'0', "b", "", b"12")]);
    let go =
        |options: &ExtractOptions| extract_tar(&mut bytes.as_slice(), fd.as_fd(), options, &CancellationToken::new());
    assert!(matches!(go(&options), Err(LayerError::Limit { limit: 3, unit: "bytes", .. })));
    options.max_bytes = 4;
    options.max_entries = 1;
    assert!(matches!(go(&options), Err(LayerError::Limit { limit: 1, unit: "entries", .. })));
    options.max_entries = 2;
    let done = go(&options).expect("just fits");
    assert_eq!((done.entries, done.bytes), (2, 4));
}
