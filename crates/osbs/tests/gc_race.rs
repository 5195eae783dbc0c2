//! Sixteen builds at once on one parent and one store, some killed, while `osbs gc` runs without a pause: all that were
//! not killed are right, and at the end the store holds exactly what its references say.

mod world;

use osbs_image::{Descriptor, Store, StoredImage, media_type, read_oci_layout};
use osbs_types::Architecture;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use world::World;

const BUILDS: usize = 16;
/// These are killed in the middle.
const KILLED: [usize; 2] = [5, 11];

/// A build of its own content; every second one keeps a name.
fn start(world: &World, number: usize) -> Child {
    let context = world.path(&format!("context{number}"));
    fs::create_dir_all(&context).expect("made");
    fs::write(context.join("file"), format!("content {number}\n")).expect("written");
    let slow = if KILLED.contains(&number) { "RUN sleep 601\n" } else { "" };
    let text = format!("FROM {}/base:1\nCOPY file /file\nRUN cat /file /file > /twice\n{slow}", world.registry);
    fs::write(context.join("Dockerfile"), text).expect("written");
    let (folder, output) = (context.display().to_string(), format!("oci:{}", world.path(&out(number)).display()));
    let tag = format!("{}/kept:{number}", world.registry);
    let mut args = vec!["image", "build", &folder, "--output", &output];
    if number.is_multiple_of(2) {
        args.extend(["--tag", &tag]);
    }
    let mut command = world.command(&args);
    command.process_group(0).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("osbs starts")
}

fn out(number: usize) -> String {
    format!("out{number}")
}

#[test]
fn builds_at_once_while_garbage_is_collected() {
    if !world::can_run() {
        return;
    }
    let world = World::new();
    let done = AtomicBool::new(false);
    let (collected, refused) = std::thread::scope(|scope| {
        let collector = scope.spawn(|| collect(&world, &done));
        // All at once, then a few with pauses between, into which a collection fits.
        let mut children: Vec<_> = (0..BUILDS).map(|number| (number, start(&world, number))).collect();
        world::wait_for("those to be killed sleep", 60, || world::processes_with("sleep\x00601").len() >= KILLED.len());
        for (_, child) in children.iter_mut().filter(|(number, _)| KILLED.contains(number)) {
            child.kill().expect("killed");
        }
        for (number, child) in children {
            check_end(number, child);
        }
        for number in BUILDS..BUILDS + 4 {
            check_end(number, start(&world, number));
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
        done.store(true, Ordering::Relaxed);
        collector.join().expect("the collector")
    });
    assert!(refused > 0 && collected > 0, "{collected} collections, {refused} while builds ran");
    let planned = world.json(&["gc", "--dry-run", "--output", "json"]);
    let removed = world.json(&["gc", "--output", "json"]);
    for what in ["blobs", "layers", "bytes"] {
        assert_eq!(planned[what], removed[what], "{what}: the dry run told another number");
    }
    check_outputs(&world);
    check_store(&world.path("home/store"));
    world.ok(&["gc"]);
}

/// Collects until the builds are done: how often it went through, and how often it was told that the store is in use.
fn collect(world: &World, done: &AtomicBool) -> (u32, u32) {
    let (mut collected, mut refused) = (0, 0);
    while !done.load(Ordering::Relaxed) {
        let result = world.run(&["gc"]);
        match result.code {
            0 => collected += 1,
            5 => {
                assert!(result.err.contains("in use by"), "{}", result.err);
                refused += 1;
            }
            code => panic!("gc ended with {code}: {}", result.err),
        }
    }
    (collected, refused)
}

fn check_end(number: usize, child: Child) {
    let end = child.wait_with_output().expect("osbs ends");
    let text = String::from_utf8_lossy(&end.stderr).into_owned();
    let expected = if KILLED.contains(&number) { None } else { Some(0) };
    assert_eq!(end.status.code(), expected, "build {number}: {text}");
}

/// Every image is whole, by its digests, and has the content of its own build.
fn check_outputs(world: &World) {
    let fresh = Store::open(&world.path("fresh")).expect("store");
    let here = Architecture::new(match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    });
    for number in (0..BUILDS + 4).filter(|number| !KILLED.contains(number)) {
        let layout = world.path(&out(number));
        let image = read_oci_layout(&fresh, &layout, None, &here).expect("whole");
        let folders = fresh.unpack(&image, &tokio_util::sync::CancellationToken::new(), &|_| ()).expect("unpacks");
        let twice = fs::read_to_string(folders.last().expect("a layer").join("twice")).expect("made by RUN");
        assert_eq!(twice, format!("content {number}\n").repeat(2));
    }
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned()).collect()
}

/// What is there, against what is read from the references here.
fn check_store(root: &Path) {
    let store = Store::open(root).expect("store");
    let (mut blobs, mut chains) = (BTreeSet::new(), BTreeSet::new());
    let mut kept = 0;
    for name in names(&root.join("refs")) {
        let record: Value =
            serde_json::from_slice(&fs::read(root.join("refs").join(&name)).expect("read")).expect("JSON");
        let descriptor: Descriptor = serde_json::from_value(record["descriptor"].clone()).expect("a descriptor");
        assert!(media_type::is_manifest(&descriptor.media_type), "{name}");
        let image = StoredImage::load(&store, &descriptor).expect("all of it is there");
        blobs.extend([&image.manifest, &image.config].map(|part| part.digest.hex().to_owned()));
        blobs.extend(image.layers.iter().map(|layer| layer.digest.hex().to_owned()));
        chains.extend(image.chain_ids().iter().map(|id| id.hex().to_owned()));
        kept += u32::from(record["name"].as_str().is_some_and(|name| name.contains("/kept:")));
    }
    assert_eq!(kept, 10, "every second of 16 and 4 was named");
    assert_eq!(names(&root.join("blobs/sha256")), blobs);
    let unpacked = names(&root.join("layers"));
    assert!(unpacked.is_subset(&chains) && !unpacked.is_empty(), "{unpacked:?} of {chains:?}");
    for note in names(&root.join("notes")) {
        let hex = note.split('.').next().expect("a name").to_owned();
        assert!(blobs.contains(&hex) || chains.contains(&hex), "{note}");
    }
    for folder in ["tmp", "partial", "leases", "locks"] {
        assert_eq!(names(&root.join(folder)), BTreeSet::new(), "{folder}");
    }
}
