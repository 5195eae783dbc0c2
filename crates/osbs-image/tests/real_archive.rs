//! The spliced archive, read by everybody who has to: skopeo, gunzip, Python in stream mode, zlib.
#![allow(clippy::print_stdout, reason = "tells why a test skips, or what it measured")]

mod support;

use osbs_image::{
    ArchiveDigest, ArchiveInfo, Checksums, Compression, Descriptor, ImageFormat, LayerRequest, Store, StoredImage,
    media_type, write_archive, write_docker_archive_plain, write_layer,
};
use osbs_types::Digest;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use support::{Random, change, image_of, layer, ready, request, run, unpack};
use tokio_util::sync::CancellationToken;

const PROGRAMS: &[(&str, &str)] =
    &[("skopeo", "skopeo"), ("gunzip", "gzip"), ("python3", "python3"), ("tar", "tar"), ("sha256sum", "coreutils")];

/// Reads the archive as Koji's tools do, and prints what it found.
const PYTHON: &str = r#"
import hashlib, json, sys, tarfile, zlib
path = sys.argv[1]
inflate = zlib.decompressobj(31)
digest = hashlib.sha256()
size = 0
with open(path, "rb") as f:
    while chunk := f.read(1 << 20):
        data = inflate.decompress(chunk)
        digest.update(data); size += len(data)
assert inflate.eof and not inflate.unused_data, "more than one member"
files = {}
with tarfile.open(path, "r|gz") as tar:
    for member in tar:
        files[member.name] = hashlib.sha256(tar.extractfile(member).read()).hexdigest()
print(json.dumps({"sha256": digest.hexdigest(), "size": size, "files": files}))
"#;

/// A layer as somebody else would have made it: GNU tar of a tree, compressed by `program`.
fn foreign(store: &Store, dir: &Path, program: &[&str], media_type: &str) -> (Descriptor, Digest) {
    let tar = dir.with_extension("tar");
    run("tar", os!["--numeric-owner", "--xattrs", "--format=pax", "-C", dir, "-cf", tar.as_path(), "."]);
    let plain = fs::read(&tar).expect("tar");
    let diff_id = store.put_small(&plain).expect("put");
    let packed = match program {
        [] => plain,
        ["go", ..] => go_like(&plain),
        [name, args @ ..] => {
            let args: Vec<_> = args.iter().map(std::ffi::OsStr::new).chain([tar.as_os_str()]).collect();
            run(name, &args).stdout
        }
    };
    let digest = store.put_small(&packed).expect("put");
    (Descriptor::new(media_type, digest, packed.len() as u64), diff_id)
}

/// Go's compressor ends with an empty stored block at whatever bit the last one ended.
fn go_like(plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = flate2::GzBuilder::new().filename("x").comment("y").write(&mut out, flate2::Compression::new(5));
    for chunk in plain.chunks(100_000) {
        encoder.write_all(chunk).expect("memory");
        encoder.flush().expect("memory");
    }
    encoder.finish().expect("memory");
    out
}

fn check_archive(store: &Store, image: &StoredImage, dir: &Path, what: &str) -> ArchiveInfo {
    let archive = dir.join("image.tar.gz");
    let names = ["registry.example.com/ns/web:1.0-2".to_owned(), "web:latest".to_owned()];
    let cancel = CancellationToken::new();
    let info = write_archive(store, image, &names, (&archive, Checksums::Koji), &cancel, &|_| ()).expect(what);
    let sums = info.checksums.as_ref().expect("wanted");
    assert_eq!(info.size, fs::metadata(&archive).expect("archive").len());
    let sum = |program: &str| {
        let out = run(program, &[archive.as_os_str()]).stdout;
        String::from_utf8_lossy(&out).split_whitespace().next().unwrap_or_default().to_owned()
    };
    assert_eq!((sum("md5sum"), sum("sha256sum")), (sums.md5.clone(), sums.sha256.hex().to_owned()), "{what}");
    run("gzip", os!["-t", archive.as_path()]);
    let out = run("python3", os!["-c", PYTHON, archive.as_path()]).stdout;
    let seen: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
    assert_eq!(seen["sha256"], sums.uncompressed_sha256.hex(), "{what}: sum of the tar");
    assert_eq!(seen["size"], info.uncompressed_size, "{what}");
    for (number, diff_id) in image.diff_ids.iter().enumerate() {
        assert_eq!(seen["files"][format!("layer-{number}.tar")], diff_id.hex(), "{what}");
    }
    assert_eq!(seen["files"][format!("{}.json", image.image_id().hex())], image.image_id().hex(), "{what}");
    let plain = dir.join("plain.tar");
    let same = write_docker_archive_plain(store, image, &names, (&plain, Checksums::Koji), &cancel).expect(what);
    assert_eq!(same.checksums.expect("wanted").sha256, sums.uncompressed_sha256, "{what}: plain archive");
    let copy = dir.join("copy");
    let _ = fs::remove_dir_all(&copy);
    // skopeo 1.9 of Debian 12 cannot read any gzip docker-archive: its pgzip (before 1.2.6) loses the first block when
    // WriteTo follows Read. Where it fails on what gzip itself made of this tar, it gets the tar.
    let by_gzip = dir.join("by-gzip.tar.gz");
    fs::write(&by_gzip, run("gzip", os!["-1", "-c", plain.as_path()]).stdout).expect("write");
    let skopeo_knows_gzip = Command::new("skopeo")
        .args(["--insecure-policy", "inspect", &format!("docker-archive:{}", by_gzip.display())])
        .output()
        .expect("skopeo")
        .status
        .success();
    if !skopeo_knows_gzip {
        println!("this skopeo cannot read a gzip docker-archive at all; it is given the output of gunzip");
        fs::write(&by_gzip, run("gunzip", os!["-c", archive.as_path()]).stdout).expect("write");
    }
    let read = if skopeo_knows_gzip { &archive } else { &by_gzip };
    let (from, to) = (format!("docker-archive:{}:{}", read.display(), names[0]), format!("dir:{}", copy.display()));
    run("skopeo", os!["--insecure-policy", "copy", &from, &to]);
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(copy.join("manifest.json")).expect("manifest")).expect("JSON");
    assert_eq!(manifest["config"]["digest"], image.image_id().as_str(), "{what}: the same image came back");
    info
}

#[test]
fn archives_of_all_kinds_of_layers() {
    if !ready(PROGRAMS) {
        return;
    }
    let dir = tempfile::tempdir().expect("temp folder");
    let store = Store::open(&dir.path().join("store")).expect("store");
    let mut random = Random(7);
    let mut tree = |name: &str| {
        let path = dir.path().join(name);
        fs::create_dir(&path).expect("tree");
        change(&mut random, &path, 60);
        fs::write(path.join("big"), random.bytes(3_000_000)).expect("big");
        path
    };
    let gz = media_type::OCI_LAYER_GZIP;
    let mut layers = Vec::new();
    for level in ["-1", "-6", "-9"] {
        layers.push(foreign(&store, &tree(&format!("gzip{level}")), &["gzip", level, "-c"], gz));
    }
    layers.push(foreign(&store, &tree("go"), &["go"], gz));
    layers.push(foreign(&store, &tree("zstd"), &["zstd", "-q", "-c"], media_type::OCI_LAYER_ZSTD));
    layers.push(foreign(&store, &tree("plain"), &[], media_type::OCI_LAYER));
    let parent = image_of(&store, &layers, ImageFormat::DockerV2S2);
    check_archive(&store, &parent, dir.path(), "nothing known before");
    unpack(&store, &parent);
    for compression in [Compression::Gzip { level: 1 }, Compression::Zstd { level: 3 }, Compression::None] {
        let own = tree(&format!("own {compression:?}"));
        let uppers = [own];
        let cancel = CancellationToken::new();
        let tap = ArchiveDigest::begin(&store, Some(&parent), &cancel).expect("state of the parent");
        let request = LayerRequest { compression, taps: vec![Box::new(tap)], ..request(&uppers) };
        let new = write_layer(&store, request, &cancel, &|_, _| ()).expect("layer");
        let all: Vec<_> = layers.iter().cloned().chain([(new.descriptor.clone(), new.diff_id.clone())]).collect();
        let image = image_of(&store, &all, ImageFormat::Oci);
        let chain = image.chain_ids().pop().expect("layers");
        let state = store.root().join(format!("notes/{}.state", chain.hex()));
        assert!(state.is_file(), "the tap left its state");
        let with_tap = check_archive(&store, &image, dir.path(), &format!("{compression:?} with tap"));
        fs::remove_dir_all(store.root().join("notes")).expect("forget everything");
        fs::create_dir(store.root().join("notes")).expect("notes");
        let without = check_archive(&store, &image, dir.path(), &format!("{compression:?} without notes"));
        let tar = |info: &ArchiveInfo| info.checksums.clone().map(|sums| sums.uncompressed_sha256);
        assert_eq!(tar(&with_tap), tar(&without));
        if matches!(compression, Compression::Gzip { .. }) {
            assert_eq!(with_tap, without, "the same archive");
        }
    }
}

#[test]
fn same_bytes_for_any_number_of_threads() {
    let dir = tempfile::tempdir().expect("temp folder");
    let store = Store::open(&dir.path().join("store")).expect("store");
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).expect("tree");
    let mut random = Random(3);
    for number in 0..6 {
        fs::write(tree.join(format!("f{number}")), random.bytes(1_700_000)).expect("file");
    }
    let uppers = [tree.clone()];
    for compression in [Compression::Gzip { level: 3 }, Compression::Zstd { level: 3 }] {
        let made: Vec<_> = [1, 2, 5]
            .into_iter()
            .map(|threads| {
                let request = LayerRequest { compression, threads, ..request(&uppers) };
                write_layer(&store, request, &CancellationToken::new(), &|_, _| ()).expect("layer")
            })
            .collect();
        assert!(made.iter().all(|l| *l == made[0]), "{compression:?}: {made:?}");
    }
    assert_eq!(layer(&store, &tree).files, 6);
}
