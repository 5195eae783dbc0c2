//! The store: what goes in comes out verified, what is damaged is found, gc leaves what references say.

mod support;

use osbs_image::{Descriptor, ImageFormat, ImageRef, Store, StoreError, read_oci_layout, write_oci_layout};
use osbs_types::{Architecture, Digest};
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use support::{image, layer, unpack};

fn store(dir: &Path) -> Store {
    Store::open(&dir.join("store")).expect("store")
}

#[test]
fn blobs_are_verified_both_ways() {
    let dir = tempfile::tempdir().expect("temp folder");
    let store = store(dir.path());
    let digest = store.put_small(b"hello").expect("put");
    let good = Descriptor::new("x/y", digest.clone(), 5);
    assert_eq!(store.read_small(&good, 100).expect("read"), b"hello");
    assert!(matches!(store.read_small(&good, 4), Err(StoreError::Limit { .. })));
    for size in [4, 6] {
        let digest = store.put_small(b"hello").expect("put");
        assert!(store.read_small(&Descriptor::new("x/y", digest, size), 100).is_err(), "size {size}");
    }
    let digest = store.put_small(b"hello").expect("put");
    fs::write(store.root().join("blobs/sha256").join(digest.hex()), b"jello").expect("damage");
    assert!(store.read_small(&good, 100).is_err());
    assert!(!store.has_blob(&digest), "a damaged blob is removed");
    let mut writer = store.blob_writer().expect("writer");
    writer.write_all(b"other").expect("write");
    assert!(matches!(writer.commit(Some(&digest), Some(5)), Err(StoreError::WrongContent { .. })));
    drop(store.blob_writer().expect("writer"));
    assert_eq!(fs::read_dir(store.root().join("tmp")).expect("tmp").count(), 0);
}

#[test]
fn a_cut_download_goes_on() {
    let dir = tempfile::tempdir().expect("temp folder");
    let store = store(dir.path());
    let digest = store.put_small(b"hello world").expect("put");
    fs::remove_file(store.root().join("blobs/sha256").join(digest.hex())).expect("forget");
    let mut first = store.blob_writer_resume(&digest).expect("writer");
    first.write_all(b"hello").expect("write");
    let other = store.blob_writer_resume(&digest).expect("a second process");
    assert_eq!(other.size(), 0, "does not share the part");
    drop((first, other));
    let mut again = store.blob_writer_resume(&digest).expect("writer");
    assert_eq!(again.size(), 5);
    again.write_all(b" world").expect("write");
    again.commit(Some(&digest), Some(11)).expect("right after all");
    let mut text = String::new();
    store.open_blob(&Descriptor::new("", digest.clone(), 11)).expect("open").read_to_string(&mut text).expect("read");
    assert_eq!(text, "hello world");
    assert_eq!(fs::read_dir(store.root().join("partial")).expect("partial").count(), 0);
    let mut wrong = store.blob_writer_resume(&digest).expect("writer");
    wrong.write_all(b"xxxxx").expect("write");
    wrong.restart().expect("restart");
    wrong.write_all(b"hello world").expect("write");
    wrong.commit(Some(&digest), Some(11)).expect("restarted");
}

#[test]
fn gc_leaves_what_references_say() {
    if !support::ready(&[]) {
        return;
    }
    let dir = tempfile::tempdir().expect("temp folder");
    let store = store(dir.path());
    let tree = |name: &str| {
        let path = dir.path().join(name);
        fs::create_dir(&path).expect("tree");
        fs::write(path.join(name), name).expect("file");
        path
    };
    let (base, kept, gone) = (layer(&store, &tree("base")), layer(&store, &tree("kept")), layer(&store, &tree("gone")));
    let kept = image(&store, &[&base, &kept], ImageFormat::Oci);
    let gone = image(&store, &[&base, &gone], ImageFormat::Oci);
    unpack(&store, &kept);
    unpack(&store, &gone);
    store.set_ref("web:1", &ImageRef { descriptor: kept.manifest.clone() }, "test").expect("ref");
    fs::create_dir(store.root().join("tmp/dead-1")).expect("litter");
    {
        let _lease = store.lease("build x-1").expect("lease");
        match store.gc(false) {
            Err(StoreError::InUse { owners }) => assert!(owners[0].starts_with("build x-1"), "{owners:?}"),
            other => panic!("{other:?}"),
        }
    }
    let planned = store.gc(true).expect("dry run");
    assert_eq!((planned.blobs, planned.layers, planned.temporary), (3, 1, 1), "manifest, config, layer");
    let done = store.gc(false).expect("gc");
    assert_eq!(done, planned);
    assert_eq!(store.gc(false).expect("gc again").blobs, 0);
    assert!(unpack(&store, &kept).iter().all(|folder| folder.is_dir()));
    assert!(!store.has_blob(&gone.manifest.digest));
    let record = store.get_ref("web:1").expect("ref").expect("there");
    assert_eq!((record.name.as_str(), record.owner.as_str()), ("web:1", "test"));
    assert_eq!(osbs_image::StoredImage::by_id(&store, kept.image_id()).expect("search").expect("there"), kept);
    assert!(store.remove_ref("web:1").expect("remove"));
    store.gc(false).expect("gc");
    assert_eq!(fs::read_dir(store.root().join("blobs/sha256")).expect("blobs").count(), 0);
    assert_eq!(fs::read_dir(store.root().join("notes")).expect("notes").count(), 0);
    assert_eq!(fs::read_dir(store.root().join("layers")).expect("layers").count(), 0);
}

#[test]
fn layouts_travel() {
    if !support::ready(&[]) {
        return;
    }
    let dir = tempfile::tempdir().expect("temp folder");
    let (from, to) = (store(dir.path()), Store::open(&dir.path().join("other")).expect("store"));
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).expect("tree");
    fs::write(tree.join("f"), "x").expect("file");
    let image = image(&from, &[&layer(&from, &tree)], ImageFormat::Oci);
    let layout = dir.path().join("oci");
    write_oci_layout(&from, &image, &layout, "one").expect("write");
    write_oci_layout(&from, &image, &layout, "two").expect("write");
    write_oci_layout(&from, &image, &layout, "one").expect("write");
    let amd64 = Architecture::new("amd64");
    assert_eq!(read_oci_layout(&to, &layout, Some("two"), &amd64).expect("read"), image);
    assert!(read_oci_layout(&to, &layout, None, &amd64).is_err(), "two names, none asked for");
    assert!(read_oci_layout(&to, &layout, Some("three"), &amd64).is_err());
    assert!(read_oci_layout(&to, &layout, Some("one"), &Architecture::new("s390x")).is_err());
    fs::write(layout.join("blobs/sha256").join(image.layers[0].digest.hex()), "damaged").expect("damage");
    let third = Store::open(&dir.path().join("third")).expect("store");
    assert!(read_oci_layout(&third, &layout, Some("one"), &amd64).is_err());
}

#[test]
fn another_layout_version_is_refused() {
    let dir = tempfile::tempdir().expect("temp folder");
    fs::write(dir.path().join("version"), "99\n").expect("version");
    assert!(matches!(Store::open(dir.path()), Err(StoreError::Version { .. })));
}

#[test]
fn a_wrong_diff_id_is_found() {
    if !support::ready(&[]) {
        return;
    }
    let dir = tempfile::tempdir().expect("temp folder");
    let store = store(dir.path());
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).expect("tree");
    let made = layer(&store, &tree);
    assert!(made.empty && made.files == 0);
    let wrong: Digest = format!("sha256:{}", "0".repeat(64)).parse().expect("digest");
    let image = support::image_of(&store, &[(made.descriptor.clone(), wrong)], ImageFormat::Oci);
    let error = store.unpack(&image, &tokio_util::sync::CancellationToken::new(), &|_| ()).expect_err("wrong");
    assert!(matches!(error, osbs_image::LayerError::WrongDiffId { .. }), "{error:?}");
}

/// An index in an index in an index, as registries of artifacts have them; and one that never ends.
#[test]
fn indexes_inside_each_other() {
    if !support::ready(&[]) {
        return;
    }
    let dir = tempfile::tempdir().expect("temp folder");
    let (from, to) = (store(dir.path()), Store::open(&dir.path().join("other")).expect("store"));
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).expect("tree");
    fs::write(tree.join("f"), "x").expect("file");
    let image = image(&from, &[&layer(&from, &tree)], ImageFormat::Oci);
    let layout = dir.path().join("oci");
    write_oci_layout(&from, &image, &layout, "one").expect("write");
    let index_path = layout.join("index.json");
    let amd64 = Architecture::new("amd64");
    for depth in 1..7 {
        // The layout's index goes inside, and a new one that names it in its place.
        let bytes = fs::read(&index_path).expect("index");
        let digest = from.put_small(&bytes).expect("put");
        fs::write(layout.join("blobs/sha256").join(digest.hex()), &bytes).expect("blob");
        let outer = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{digest}","size":{}}}]}}"#,
            osbs_image::media_type::OCI_INDEX,
            bytes.len()
        );
        fs::write(&index_path, outer).expect("index");
        let found = read_oci_layout(&to, &layout, None, &amd64);
        assert_eq!(found.is_ok(), depth <= 4, "{depth}: {found:?}");
        if depth > 1 {
            continue;
        }
        // What an index in a reference reaches stays.
        let size = bytes.len() as u64;
        let descriptor = Descriptor::new(osbs_image::media_type::OCI_INDEX, digest, size);
        from.set_ref("nested", &ImageRef { descriptor }, "test").expect("ref");
        assert_eq!(from.gc(false).expect("gc").blobs, 0);
        assert!(osbs_image::StoredImage::by_id(&from, image.image_id()).expect("search").is_some());
    }
}

/// What a hostile layout has in place of its files is neither waited for nor followed to a wrong blob.
#[test]
fn layouts_of_others() {
    if !support::ready(&[]) {
        return;
    }
    let dir = tempfile::tempdir().expect("temp folder");
    let from = store(dir.path());
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).expect("tree");
    fs::write(tree.join("f"), "x").expect("file");
    let image = image(&from, &[&layer(&from, &tree)], ImageFormat::Oci);
    let layout = dir.path().join("oci");
    write_oci_layout(&from, &image, &layout, "one").expect("write");
    let amd64 = Architecture::new("amd64");
    for (number, part) in [&image.layers[0], &image.config, &image.manifest].into_iter().enumerate() {
        let to = Store::open(&dir.path().join(format!("other{number}"))).expect("store");
        let path = layout.join("blobs/sha256").join(part.digest.hex());
        let good = fs::read(&path).expect("blob");
        fs::remove_file(&path).expect("remove");
        support::mknod(&path, libc::S_IFIFO | 0o600, 0);
        let error = read_oci_layout(&to, &layout, None, &amd64).expect_err("a fifo");
        assert!(error.to_string().contains("read"), "{error}");
        fs::remove_file(&path).expect("remove");
        std::os::unix::fs::symlink("/dev/zero", &path).expect("link");
        assert!(read_oci_layout(&to, &layout, None, &amd64).is_err(), "a device");
        fs::remove_file(&path).expect("remove");
        fs::write(&path, &good).expect("mend");
        read_oci_layout(&to, &layout, None, &amd64).expect("mended");
    }
}

/// Garbage collection without the references of dead builds: a dry run counts what the real one removes.
#[test]
fn ended_references_are_garbage() {
    if !support::ready(&[]) {
        return;
    }
    let dir = tempfile::tempdir().expect("temp folder");
    let store = store(dir.path());
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).expect("tree");
    fs::write(tree.join("f"), "x").expect("file");
    let image = image(&store, &[&layer(&store, &tree)], ImageFormat::Oci);
    unpack(&store, &image);
    let reference = ImageRef { descriptor: image.manifest.clone() };
    store.set_ref("dead", &reference, "x-1").expect("ref");
    assert_eq!(store.gc(true).expect("gc").blobs, 0);
    let dead = |record: &osbs_image::RefRecord| record.owner == "x-1";
    let planned = store.gc_without(&dead, true).expect("dry run");
    assert_eq!((planned.blobs, planned.layers), (3, 1));
    assert!(store.get_ref("dead").expect("ref").is_some(), "a dry run removes nothing");
    assert_eq!(store.gc_without(&dead, false).expect("gc"), planned);
    assert!(store.get_ref("dead").expect("ref").is_none());
}

/// After a power cut the files of a layer that was just unpacked may be empty: it is believed only in the run of the
/// machine that unpacked it, or when gc wrote it through.
#[test]
fn a_layer_of_an_earlier_run_is_unpacked_again() {
    if !support::ready(&[]) {
        return;
    }
    let dir = tempfile::tempdir().expect("temp folder");
    let store = store(dir.path());
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).expect("tree");
    fs::write(tree.join("f"), "whole").expect("file");
    let image = image(&store, &[&layer(&store, &tree)], ImageFormat::Oci);
    store.set_ref("x", &ImageRef { descriptor: image.manifest.clone() }, "test").expect("ref");
    let folder = unpack(&store, &image).remove(0);
    let chain = image.chain_ids().remove(0);
    let mark = store.root().join("notes").join(format!("{}.unpacked", chain.hex()));
    let text = || fs::read_to_string(folder.join("f")).expect("file");
    let damage = || fs::write(folder.join("f"), "").expect("damage");
    damage();
    unpack(&store, &image);
    assert_eq!(text(), "", "believed in this run, for it cannot be damaged");
    for before in ["boot of another day", ""] {
        damage();
        fs::write(&mark, before).expect("mark");
        assert!(!store.is_unpacked(&chain));
        unpack(&store, &image);
        assert_eq!(text(), "whole", "{before:?}");
        assert_eq!(fs::read_dir(store.root().join("tmp")).expect("tmp").count(), 0);
    }
    store.gc(false).expect("gc");
    assert_eq!(fs::read_to_string(&mark).expect("mark"), "synced");
    assert!(store.is_unpacked(&chain));
    fs::remove_file(&mark).expect("mark");
    assert!(!store.is_unpacked(&chain));
}

/// A layer whose file is in `bin/` while `bin` is a link below, and nothing says what `bin` is. Who keeps layers apart for
/// overlayfs lets a folder hide the link (seen: buildah's overlay driver; so do Docker's overlay2 and containerd); who
/// unpacks onto the merged tree follows the link (seen: umoci, buildah's vfs driver). We are of the first kind.
#[test]
fn a_folder_that_no_layer_describes_hides_a_link() {
    if !support::ready(&[("mount", "mount")]) {
        return;
    }
    let dir = tempfile::tempdir().expect("temp folder");
    let store = store(dir.path());
    let base = dir.path().join("base");
    fs::create_dir_all(base.join("usr/bin")).expect("tree");
    fs::write(base.join("usr/bin/sh"), "x").expect("file");
    std::os::unix::fs::symlink("usr/bin", base.join("bin")).expect("link");
    let below = layer(&store, &base);
    let mut tar = Vec::new();
    let mut header = tar_core::Header::new_ustar();
    header.set_path(b"bin/tool").expect("short");
    header.set_entry_type(tar_core::EntryType::Regular);
    header.set_mode(0o755).expect("mode");
    for field in [header.set_uid(0), header.set_gid(0), header.set_mtime(1), header.set_size(0)] {
        field.expect("number");
    }
    header.set_checksum();
    tar.extend_from_slice(header.as_bytes());
    tar.resize(1536, 0);
    let digest = store.put_small(&tar).expect("put");
    let layers = [
        (below.descriptor.clone(), below.diff_id.clone()),
        (Descriptor::new(osbs_image::media_type::OCI_LAYER, digest.clone(), tar.len() as u64), digest),
    ];
    let folders = unpack(&store, &support::image_of(&store, &layers, ImageFormat::Oci));
    let mounted = support::Mounted::overlay(&folders, None, &dir.path().join("merged"));
    assert!(fs::symlink_metadata(mounted.0.join("bin")).expect("bin").is_dir());
    assert!(!mounted.0.join("bin/sh").exists() && mounted.0.join("bin/tool").exists());
    assert!(mounted.0.join("usr/bin/sh").exists());
}
