//! The main job on real input: a base image of RPMs and a layered image on it, for two platforms, from git to an index in
//! a registry, looked at by the programs that have to accept it.
#![allow(clippy::print_stdout, reason = "tells what was measured")]

mod world;

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;
use world::{World, can_run, check_nothing_left};

const PLATFORMS: [(&str, &str); 2] = [("x86_64", "amd64"), ("aarch64", "arm64")];

const SITE: &str = "clusters:\n  x86_64: [{name: local, max_concurrent_builds: 2}]\n  \
    aarch64: [{name: local, max_concurrent_builds: 2}]\nplatform_descriptors:\n  \
    - {platform: x86_64, architecture: amd64}\n  - {platform: aarch64, architecture: arm64}\n\
    group_manifests: true\nimage_labels: {vendor: Example}\n";

/// What Koji's tools do: unpack with zlib (one member, nothing behind it), read with tarfile as a stream.
const READ_ARCHIVE: &str = r#"
import hashlib, json, sys, tarfile, zlib
inflate, digest = zlib.decompressobj(31), hashlib.sha256()
with open(sys.argv[1], "rb") as file:
    while chunk := file.read(1 << 20):
        digest.update(inflate.decompress(chunk))
    digest.update(inflate.flush())
with tarfile.open(sys.argv[1], "r|gz") as tar:
    names = [member.name for member in tar]
print(json.dumps({"eof": inflate.eof, "rest": len(inflate.unused_data), "sha256": digest.hexdigest(), "names": names}))
"#;

/// Waits for the fragment that a worker leaves for its orchestrator, which removes it in the end.
const WAIT_FOR_FRAGMENT: &str = r#"
import sqlite3, sys, time
for _ in range(1200):
    time.sleep(0.05)
    try:
        with sqlite3.connect("file:" + sys.argv[1] + "?mode=ro", uri=True, timeout=5) as database:
            rows = database.execute("select data from config_maps where name like ?", ("%-x86_64-md",)).fetchall()
    except sqlite3.OperationalError:
        continue
    if rows:
        print(rows[0][0])
        break
"#;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace")
}

#[track_caller]
fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let Output { status, stdout, stderr } =
        output.unwrap_or_else(|error| panic!("{program} is missing (apt-get install {program}): {error}"));
    assert!(status.success(), "{program} {args:?}\n{}", String::from_utf8_lossy(&stderr));
    String::from_utf8_lossy(&stdout).into_owned()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("no JSON: {error}\n{text}"))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The distribution, made once a machine.
fn distribution() -> PathBuf {
    let cache = root().join(".cache");
    let (packages, folder) = (cache.join("distribution-cache"), cache.join("distribution"));
    let script = root().join("scripts/make-distribution.sh");
    run(text(&script), &["--cache", text(&packages), text(&folder), "x86_64", "aarch64"]);
    folder
}

/// Builds one of examples/ and gives the build's name and what was printed.
#[track_caller]
fn build(world: &World, example: &str, distribution: &Path) -> (String, String) {
    let repository = world.path("git").join(example);
    let script = root().join("scripts/make-example.sh");
    let url = run(text(&script), &[example, text(distribution), text(&repository)]);
    let started = Instant::now();
    let done = world.build(url.trim(), &[]);
    assert_eq!(done.code, 0, "{example}\n{}\n{}", done.out, done.err);
    let name = done.err.split_once('(').and_then(|(_, rest)| rest.split_once(')')).expect("the build's name").0;
    println!("{example}: {name} in {:.1} s", started.elapsed().as_secs_f64());
    check_nothing_left(world);
    (name.to_owned(), done.out)
}

/// An image as skopeo sees it: manifest, configuration.
fn inspect(world: &World, reference: &str, architecture: &str) -> (Value, Value) {
    let name = format!("docker://{}/{reference}", world.registry);
    let config = ["--override-arch", architecture, "inspect", "--config", "--raw", "--tls-verify=false", &name];
    let index = json(&run("skopeo", &["inspect", "--raw", "--tls-verify=false", &name]));
    let entries = index["manifests"].as_array().expect("an index");
    let entry = entries.iter().find(|entry| entry["platform"]["architecture"] == architecture).expect(architecture);
    let repository = name.rsplit_once(':').expect("a tag").0;
    let by_digest = format!("{repository}@{}", entry["digest"].as_str().expect("a digest"));
    let manifest = json(&run("skopeo", &["inspect", "--raw", "--tls-verify=false", &by_digest]));
    (manifest, json(&run("skopeo", &config)))
}

fn layers(manifest: &Value) -> Vec<String> {
    let layers = manifest["layers"].as_array().expect("layers");
    layers.iter().map(|layer| layer["digest"].as_str().expect("a digest").to_owned()).collect()
}

#[track_caller]
fn check_index(world: &World, reference: &str) {
    let name = format!("docker://{}/{reference}", world.registry);
    let index = json(&run("skopeo", &["inspect", "--raw", "--tls-verify=false", &name]));
    let mut found: Vec<_> = index["manifests"].as_array().expect("an index").iter().collect();
    found.sort_by_key(|entry| entry["platform"]["architecture"].to_string());
    let architectures: Vec<_> = found.iter().map(|entry| entry["platform"]["architecture"].clone()).collect();
    assert_eq!(architectures, ["amd64", "arm64"], "{index}");
    assert!(found.iter().all(|entry| entry["platform"]["os"] == "linux"), "{index}");
}

/// One layer on the parent's, labels of this platform, and everybody's copy of it.
#[track_caller]
fn check_image(world: &World, platform: &str, architecture: &str, release: &str) {
    let (base, _) = inspect(world, "example/base:latest", architecture);
    let (hello, config) = inspect(world, &format!("example/hello:1.0-{release}"), architecture);
    let (below, all) = (layers(&base), layers(&hello));
    assert_eq!(below.len(), 2, "the file system of RPMs, and one layer of the Dockerfile");
    assert_eq!(all.len(), below.len() + 1, "exactly one layer more than the parent");
    assert!(all.starts_with(&below), "the parent's layers are shared");
    assert_eq!(config["architecture"], architecture);
    let label = |name: &str| config["config"]["Labels"][name].as_str().unwrap_or_default().to_owned();
    assert_eq!(label("architecture"), platform, "the label names the worker's platform");
    assert_eq!(label("release"), release);
    assert_eq!(label("vendor"), "Example");
    assert_eq!(label("name"), "example/hello");
    assert_eq!(label("com.redhat.component"), "example-hello-container", "not the parent's");
    assert_eq!(label("vcs-ref").len(), 40);
    assert!(!label("build-date").is_empty());
}

/// skopeo and umoci take it; what is in it was made by programs of that platform.
#[track_caller]
fn check_copies(world: &World, folder: &Path, platform: &str, architecture: &str) {
    let from = format!("docker://{}/example/hello:latest", world.registry);
    let copy = |from: &str, to: &str| {
        let args = [
            "--insecure-policy",
            "--override-arch",
            architecture,
            "copy",
            "--quiet",
            "--src-tls-verify=false",
            from,
            to,
        ];
        run("skopeo", &args);
    };
    let layout = format!("oci:{}:hello", folder.join("oci").display());
    copy(&from, &format!("dir:{}", folder.join("dir").display()));
    copy(&from, &layout);
    copy(&layout, &format!("docker-archive:{}:example/hello:1", folder.join("copied.tar").display()));
    run(
        "umoci",
        &["unpack", "--image", &format!("{}:hello", folder.join("oci").display()), text(&folder.join("unpacked"))],
    );
    let rootfs = folder.join("unpacked/rootfs");
    assert_eq!(world::read(&rootfs.join("etc/built-for")).trim(), platform, "RUN ran programs of the platform");
    assert!(world::read(&rootfs.join("etc/example-release")).contains(platform), "the base image's %post too");
    let program = fs::read(rootfs.join("usr/bin/jq")).expect("jq is installed");
    // e_machine of the ELF header: EM_X86_64 and EM_AARCH64.
    let machine = if architecture == "amd64" { 62 } else { 183 };
    assert_eq!((&program[..4], u16::from_le_bytes([program[18], program[19]])), (&b"\x7fELF"[..], machine));
    assert!(!rootfs.join("tmp/packages").exists(), "what was removed again is in no layer");
}

/// The archive of a worker is one gzip member that everybody reads, with the recorded checksums.
#[track_caller]
fn check_archive(world: &World, folder: &Path, worker: &str) {
    let archive = world.path("home/builds/default").join(worker).join("results/compressed.tar.gz");
    let record = world.record(worker);
    let tar_metadata = &record["annotations"]["tar_metadata"];
    let facts =
        world.events(worker).into_iter().rfind(|event| event["event"] == "result").expect("a result")["facts"].clone();
    let facts = &facts["archive"];
    let sum = run("sha256sum", &[text(&archive)]);
    assert_eq!(tar_metadata["sha256sum"], sum.split(' ').next().expect("a checksum"));
    assert_eq!(tar_metadata["size"], fs::metadata(&archive).expect("it is there").len());
    let plain = folder.join("plain.tar");
    run("sh", &["-c", "gunzip -c \"$0\" >\"$1\"", text(&archive), text(&plain)]);
    let sum = run("sha256sum", &[text(&plain)]);
    let sum = sum.split(' ').next().expect("a checksum");
    assert_eq!(facts["uncompressed_sha256sum"], sum, "gunzip's bytes are the recorded ones");
    let read = json(&run("python3", &["-c", READ_ARCHIVE, text(&archive)]));
    assert_eq!((&read["eof"], &read["rest"]), (&Value::Bool(true), &Value::from(0)), "one member, to the end");
    assert_eq!(read["sha256"], sum);
    let names = read["names"].as_array().expect("names");
    for name in ["manifest.json", "repositories"] {
        assert!(names.contains(&Value::from(name)), "{name} is not in {names:?}");
    }
    // skopeo before 1.10 reads no gzip docker-archive at all, gzip's own included (its pgzip loses the first block), so it
    // is given what gunzip made of it.
    let to = folder.join("from-archive");
    let version = run("skopeo", &["--version"]);
    let source = if version.contains(" 1.9") || version.contains(" 1.8") { &plain } else { &archive };
    println!("{}: skopeo copy docker-archive: of {}", version.trim(), source.display());
    run(
        "skopeo",
        &[
            "--insecure-policy",
            "copy",
            "--quiet",
            &format!("docker-archive:{}", source.display()),
            &format!("dir:{}", to.display()),
        ],
    );
    let manifest = json(&world::read(&to.join("manifest.json")));
    assert_eq!(manifest["config"]["digest"], record["annotations"]["image-id"], "the same image came out of it");
}

/// The text that ends `osbs build`.
#[track_caller]
fn check_summary(world: &World, build: &str, out: &str) {
    let summary = out.rsplit_once(&format!("\n{build} is Complete")).expect("a summary").1;
    let record = world.record(build);
    let annotations = &record["annotations"];
    for (platform, _) in PLATFORMS {
        let worker = &annotations["worker-builds"][platform];
        let digest = worker["digests"][0]["digest"].as_str().expect("a digest");
        assert!(summary.contains(digest), "digest of {platform} {digest} is not in\n{summary}");
        assert!(summary.contains(&format!("{build}-{platform}")), "{summary}");
    }
    let index = annotations["digests"][0]["digest"].as_str().expect("a digest");
    for text in [
        "36 RPMs",
        "MB in 3 layers",
        "kB",
        "compressed.tar.gz",
        index,
        "example/hello:latest",
        "build-logs",
        "get-build",
    ] {
        assert!(summary.contains(text), "{text} is not in\n{summary}");
    }
    println!("{build} is Complete{summary}");
}

#[test]
fn base_and_layered_images_for_two_platforms() {
    if !can_run() {
        return;
    }
    let started = Instant::now();
    let distribution = distribution();
    println!("distribution: {:.1} s", started.elapsed().as_secs_f64());
    let world = World::bare();
    world.write_conf("can_orchestrate = true\n", SITE);
    world.ok(&["config", "enable-platform", "x86_64", "aarch64"]);
    build(&world, "base", &distribution);
    check_index(&world, "example/base:latest");

    let fragment = Command::new("python3")
        .args(["-c", WAIT_FOR_FRAGMENT, text(&world.path("home/cluster.db"))])
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is missing: apt-get install python3");
    let (first, out) = build(&world, "hello", &distribution);
    let fragment = fragment.wait_with_output().expect("python3 ends");
    check_components(&json(&String::from_utf8_lossy(&fragment.stdout)));
    check_index(&world, "example/hello:latest");
    check_index(&world, "example/hello:1.0-1");
    check_summary(&world, &first, &out);
    for (platform, architecture) in PLATFORMS {
        let folder = world.path(platform);
        fs::create_dir(&folder).expect("made");
        check_image(&world, platform, architecture, "1");
        check_copies(&world, &folder, platform, architecture);
        check_archive(&world, &folder, &format!("{first}-{platform}"));
        world.check_grep(&first, platform);
    }

    let (second, _) = build(&world, "hello", &distribution);
    assert_ne!(first, second);
    for (platform, architecture) in PLATFORMS {
        check_image(&world, platform, architecture, "2");
    }
    let tags = world.tags("example/hello");
    for tag in ["latest", "1.0", "1.0-1", "1.0-2"] {
        assert!(tags.contains(&tag.to_owned()), "{tag} is not in {tags:?}");
    }
    println!("all in all {:.1} s", started.elapsed().as_secs_f64());
}

/// The worker's metadata names every RPM, the installed ones too.
#[track_caller]
fn check_components(config_map: &Value) {
    let metadata = json(config_map["metadata.json"].as_str().expect("the fragment"));
    let outputs = metadata["output"].as_array().expect("outputs");
    let image = outputs.iter().find(|output| output["type"] == "docker-image").expect("an image");
    assert_eq!((&image["arch"], &image["checksum_type"]), (&Value::from("x86_64"), &Value::from("md5")));
    let components = image["components"].as_array().expect("components");
    assert_eq!(components.len(), 36);
    for name in ["bash", "rpm", "hello", "jq", "libjq1", "libonig5"] {
        let component = components.iter().find(|component| component["name"] == name).expect(name);
        assert_eq!(component["type"], "rpm", "{component}");
        assert_eq!(component["arch"], "x86_64", "{component}");
        let text = |key: &str| component[key].as_str().unwrap_or_default().to_owned();
        assert!(!text("version").is_empty() && !text("release").is_empty(), "{component}");
        assert_eq!(text("sigmd5").len(), 32, "{component}");
    }
}
