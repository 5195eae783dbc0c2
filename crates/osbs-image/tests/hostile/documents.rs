//! Documents that lie: digests, sizes, media types, and images that would make a store wait for itself.

use crate::archive::{apply, end, entry, limited};
use crate::support::{self, image_of, ready};
use osbs_image::{
    Descriptor, ImageConfig, ImageFormat, Index, Limits, Manifest, Store, StoreError, StoredImage, media_type,
    read_oci_layout,
};
use osbs_types::{Architecture, ErrorKind};
use std::fs;
use std::sync::mpsc::channel;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const GOOD: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// CVE-2024-3727: a digest is a path in more than one place.
#[test]
fn malformed_digests_in_every_field() {
    let wrong = [
        "",
        "sha256",
        "sha256:",
        "sha256:abc",
        "../../etc/passwd",
        "sha256:../../../etc/passwd",
        "sha512:00",
        "SHA256:00",
        &format!("sha256:{}", "g".repeat(64)),
        &format!("sha256:{}", "A".repeat(64)),
        &format!("{GOOD}0"),
        &format!(" {GOOD}"),
        &format!("{GOOD}\\n"),
        &format!("sha256:{}/", "0".repeat(63)),
        &GOOD.replace(':', "+"),
    ];
    let manifest = |config: &str, layer: &str, subject: &str| {
        format!(
            r#"{{"schemaVersion":2,"config":{{"digest":"{config}","size":0}},"layers":[{{"digest":"{layer}","size":0}}]{subject}}}"#
        )
    };
    let limits = Limits::default();
    Manifest::parse(manifest(GOOD, GOOD, "").as_bytes(), "", "x", &limits).expect("all is well");
    for digest in wrong {
        for text in [manifest(digest, GOOD, ""), manifest(GOOD, digest, "")] {
            let error = Manifest::parse(text.as_bytes(), "", "x", &limits).expect_err(&text);
            assert_eq!(error.kind(), ErrorKind::User, "{error:?}");
        }
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{{"digest":"{digest}","size":0}}]}}"#);
        Index::parse(index.as_bytes(), "", "x", &limits).expect_err(&index);
        let config = format!(r#"{{"rootfs":{{"type":"layers","diff_ids":["{digest}"]}}}}"#);
        ImageConfig::parse(config.as_bytes(), "x", &limits).expect_err(&config);
    }
    for size in ["-1", "1.5", "18446744073709551616", "\"1\"", "null"] {
        let text = manifest(GOOD, GOOD, "").replacen("\"size\":0", &format!("\"size\":{size}"), 1);
        Manifest::parse(text.as_bytes(), "", "x", &limits).expect_err(&text);
    }
}

/// CVE-2021-41190: the same bytes as an index to one and a manifest to the other.
#[test]
fn one_document_under_two_media_types() {
    let limits = Limits::default();
    let blob = format!(r#"{{"digest":"{GOOD}","size":0}}"#);
    let both = format!(r#"{{"schemaVersion":2,"config":{blob},"layers":[{blob}],"manifests":[{blob}]}}"#);
    for kind in [media_type::OCI_MANIFEST, media_type::DOCKER_MANIFEST, ""] {
        Manifest::parse(both.as_bytes(), kind, "x", &limits).expect_err("could be an index");
    }
    for kind in [media_type::OCI_INDEX, media_type::DOCKER_MANIFEST_LIST, ""] {
        Index::parse(both.as_bytes(), kind, "x", &limits).expect_err("could be a manifest");
    }
    let manifest =
        format!(r#"{{"schemaVersion":2,"mediaType":"{}","config":{blob},"layers":[]}}"#, media_type::OCI_MANIFEST);
    Manifest::parse(manifest.as_bytes(), media_type::OCI_MANIFEST, "x", &limits).expect("agrees");
    for said in [media_type::OCI_INDEX, media_type::DOCKER_MANIFEST, media_type::OCI_CONFIG, "text/plain"] {
        Manifest::parse(manifest.as_bytes(), said, "x", &limits).expect_err(said);
        Index::parse(manifest.as_bytes(), said, "x", &limits).expect_err(said);
    }
    let old = format!(r#"{{"schemaVersion":1,"fsLayers":[],"history":[],"config":{blob},"layers":[]}}"#);
    Manifest::parse(old.as_bytes(), "", "x", &limits).expect_err("schema 1");
    // And in a store: what the reference calls it decides, and must be what it says.
    let dir = tempfile::tempdir().expect("temp folder");
    let store = Store::open(dir.path()).expect("store");
    let digest = store.put_small(manifest.as_bytes()).expect("put");
    let descriptor = Descriptor::new(media_type::OCI_INDEX, digest, manifest.len() as u64);
    assert_eq!(StoredImage::load(&store, &descriptor).expect_err("an index").kind(), ErrorKind::User);
}

/// CVE-2020-15157: a layer says from where else it could be had. Nobody asks there.
#[test]
fn foreign_layer_urls() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("set");
    let url = format!("http://{}/layer", listener.local_addr().expect("address"));
    let dir = tempfile::tempdir().expect("temp folder");
    let store = Store::open(&dir.path().join("store")).expect("store");
    let config =
        format!(r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{GOOD}"]}}}}"#);
    let config_digest = store.put_small(config.as_bytes()).expect("put");
    for kind in ["application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", media_type::OCI_LAYER_GZIP] {
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"digest":"{config_digest}","size":{}}},"layers":[{{"mediaType":"{kind}","digest":"{GOOD}","size":7,"urls":["{url}"]}}]}}"#,
            media_type::OCI_MANIFEST,
            config.len(),
        );
        let digest = store.put_small(text.as_bytes()).expect("put");
        let descriptor = Descriptor::new(media_type::OCI_MANIFEST, digest, text.len() as u64);
        let error = StoredImage::load(&store, &descriptor).expect_err("the layer is not here");
        assert!(matches!(error, StoreError::Missing { .. }), "{error:?}");
        assert_eq!(store.read_small(&descriptor, 1 << 20).expect("kept as it came"), text.as_bytes());
    }
    assert_eq!(listener.accept().expect_err("nobody came").kind(), std::io::ErrorKind::WouldBlock);
}

/// CVE-2021-20291: an image that makes a store wait for itself. A watchdog looks on.
#[test]
fn no_image_makes_the_store_wait() {
    if !ready(&[]) {
        return;
    }
    let (send, receive) = channel();
    let work = std::thread::spawn(move || {
        let dir = tempfile::tempdir().expect("temp folder");
        let store = Store::open(&dir.path().join("store")).expect("store");
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).expect("tree");
        fs::write(tree.join("f"), "x").expect("file");
        let layer = support::layer(&store, &tree);
        let part = (layer.descriptor.clone(), layer.diff_id.clone());
        // The same layer many times over, none at all, and two images that share and contradict each other, at once.
        for count in [0, 1, 2, 40] {
            let image = image_of(&store, &vec![part.clone(); count], ImageFormat::Oci);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| store.unpack(&image, &CancellationToken::new(), &|_| ()).expect("unpacks"));
                }
            });
        }
        let wrong =
            image_of(&store, &[part.clone(), (part.0.clone(), GOOD.parse().expect("digest"))], ImageFormat::Oci);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| store.unpack(&wrong, &CancellationToken::new(), &|_| ()).expect_err("a wrong diff id"));
            }
        });
        send.send(()).expect("the test waits");
    });
    receive.recv_timeout(Duration::from_mins(1)).expect("the store waits for itself");
    work.join().expect("all is well");
}

#[test]
fn every_limit_is_told_with_its_name() {
    if !ready(&[]) {
        return;
    }
    let dir = tempfile::tempdir().expect("temp folder");
    let two = [entry(b'0', b"folder/a", b"", b"1"), entry(b'0', b"b", b"", &[7; 3000]), end()].concat();
    let long =
        [crate::archive::pax(&[("SCHILY.xattr.user.note", &[b'x'; 500])]), entry(b'0', b"x", b"", b""), end()].concat();
    #[expect(clippy::type_complexity, reason = "a table")]
    let cases: &[(&str, &[u8], fn(&mut Limits))] = &[
        ("entries", &two, |limits| limits.entries = 1),
        ("bytes", &two, |limits| limits.bytes = 3000),
        ("path", &two, |limits| limits.path = 7),
        ("depth", &two, |limits| limits.depth = 0),
        ("xattrs", &long, |limits| limits.xattrs = 500),
        ("document", &two, |limits| limits.document = 100),
        ("layers", &two, |limits| limits.layers = 0),
    ];
    for (number, (option, bytes, set)) in cases.iter().enumerate() {
        let home = dir.path().join(number.to_string());
        let mut limits = Limits::default();
        drop(apply(&limited(&home, limits), bytes).expect("within the defaults"));
        fs::remove_dir_all(home.join("layers")).expect("removed");
        set(&mut limits);
        let store = limited(&home, limits);
        let error = match *option {
            "document" | "layers" => {
                let manifest = fs::read_dir(home.join("blobs/sha256")).expect("list").map(|e| e.expect("entry").path());
                let manifest = manifest.filter(|path| fs::read(path).is_ok_and(|b| b.starts_with(b"{\"schemaVersion")));
                let bytes = fs::read(manifest.last().expect("the manifest")).expect("read");
                let digest = store.put_small(&bytes).expect("put");
                let descriptor = Descriptor::new(media_type::OCI_MANIFEST, digest, bytes.len() as u64);
                let error = StoredImage::load(&store, &descriptor).expect_err(option);
                (error.kind(), error.to_string())
            }
            _ => {
                let error = apply(&store, bytes).expect_err(option);
                (error.kind(), error.to_string())
            }
        };
        assert_eq!(error.0, ErrorKind::Policy, "{option}: {}", error.1);
        assert!(error.1.contains(&format!("raise \"{option}\" in limits.json")), "{option}: {}", error.1);
    }
    // The way the message tells.
    let home = dir.path().join("raised");
    let low = Limits { entries: 1, ..Limits::default() };
    apply(&limited(&home, low), &two).expect_err("too many");
    fs::write(home.join("limits.json"), r#"{"entries": 2}"#).expect("raise");
    apply(&limited(&home, low), &two).expect("raised");
    for wrong in [r#"{"entires": 2}"#, "2"] {
        fs::write(home.join("limits.json"), wrong).expect("write");
        let error = Store::open(&home).expect_err(wrong);
        assert_eq!(error.kind(), ErrorKind::User, "{error:?}");
    }
    let huge = dir.path().join("layout");
    fs::create_dir(&huge).expect("layout");
    fs::File::create(huge.join("index.json")).and_then(|f| f.set_len(1 << 40)).expect("a terabyte of nothing");
    let store = limited(&dir.path().join("store"), Limits::default());
    let error = read_oci_layout(&store, &huge, None, &Architecture::new("amd64")).expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::Policy, "{error:?}");
}
