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
