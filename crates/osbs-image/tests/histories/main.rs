//! 500 random histories of a file system, each carried out on a real overlayfs: what we write as layers, applied by us and
//! by umoci, is the tree that overlayfs showed.
//!
//! A history is data ([`history::History`]): steps of operations that pick their paths by number, so that any of them can be
//! left out. Many histories share one image, each in a folder of its own, because an `umoci` call costs more than they do.
//! One that fails is tried again alone and shortened until nothing more can be left out. `HISTORIES=N` runs another number,
//! `HISTORY_SEED=N` begins at another seed.
//!
//! # What is not compared, for tar or umoci cannot carry it
//!
//! | what | why |
//! |---|---|
//! | sockets | tar has no type for them; Docker, BuildKit and buildah leave them out too. What they replaced is gone |
//! | names that begin with `.wh.` | whiteouts are spelt so (image-spec, layer.md); making the layer is refused with the path |
//! | fractions of a second | layers hold whole seconds, as Docker's do |
//! | time of an unchanged root | the root is part of a layer only when its mode, owner or attributes are |
//! | xattrs with an empty value, or `=` in the name (umoci) | an empty PAX value takes a record back, to Go; a key ends at `=` |
//! | paths beyond PATH_MAX (umoci) | it hands whole paths to the system; ours are compared in `edges` |
#![allow(clippy::print_stdout, reason = "tells why a test skips, and its seeds")]

mod edges;
mod history;
#[macro_use]
#[path = "../support/mod.rs"]
mod support;

use history::History;
use osbs_image::{ImageFormat, Store, WrittenLayer, write_oci_layout};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use support::{Mounted, Seen, difference, image, layer, ready, run, snapshot, unpack};

const PROGRAMS: &[(&str, &str)] = &[("umoci", "umoci"), ("mount", "mount")];
/// Histories in one image.
const TOGETHER: usize = 25;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn random_histories() {
    if !ready(PROGRAMS) {
        return;
    }
    let first = number("HISTORY_SEED", 0);
    let seeds: Vec<u64> = (first..first + number("HISTORIES", 500)).collect();
    let batches: Vec<&[u64]> = seeds.chunks(TOGETHER).collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    // Two at once: one waits for umoci while the other writes.
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    while let Some(seeds) = batches.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                        // All of one image have as many layers: one to three below the last.
                        let steps = 2 + (seeds[0] / TOGETHER as u64 % 3) as usize;
                        let histories: Vec<_> = seeds.iter().map(|seed| History::random(*seed, steps)).collect();
                        check_together(&histories);
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().expect("see above");
        }
    });
}

fn check_together(histories: &[History]) {
    let Err(failure) = carry_out(histories) else { return };
    for history in histories {
        let Err(alone) = carry_out(std::slice::from_ref(history)) else { continue };
        let (shortest, failure) = shorten(history.clone(), alone);
        panic!("seed {} fails alone, shortened to\n{shortest}\n{failure}", history.seed);
    }
    panic!("seeds {:?} fail only together: {failure}", histories.iter().map(|h| h.seed).collect::<Vec<_>>());
}

/// Leaves out one operation after the other as long as the history still fails.
fn shorten(mut history: History, mut failure: String) -> (History, String) {
    for step in 0..history.steps.len() {
        let mut at = history.steps[step].len();
        while at > 0 {
            at -= 1;
            let mut shorter = history.clone();
            shorter.steps[step].remove(at);
            if let Err(other) = carry_out(std::slice::from_ref(&shorter)) {
                (history, failure) = (shorter, other);
            }
        }
    }
    (history, failure)
}

/// Mostly in memory, which takes a fifth of the time, and now and then on the disk.
fn folder(seed: u64) -> tempfile::TempDir {
    let on_disk = || tempfile::tempdir().expect("temp folder");
    if seed / TOGETHER as u64 % 10 == 9 {
        return on_disk();
    }
    match tempfile::tempdir_in("/dev/shm") {
        // Linux before 6.6 keeps no such attributes there.
        Ok(dir) if xattr::set(dir.path(), "user.test", b"x").is_ok() => dir,
        _ => on_disk(),
    }
}

/// Carries the histories out side by side, makes a layer of every step, and compares.
fn carry_out(histories: &[History]) -> Result<(), String> {
    let dir = folder(histories[0].seed);
    let at = |name: &str| dir.path().join(name);
    let store = Store::open(&at("store")).expect("store");
    let mut layers: Vec<WrittenLayer> = Vec::new();
    let mut expected = BTreeMap::new();
    let mut paths: Vec<history::Paths> = histories.iter().map(|_| history::Paths::default()).collect();
    for step in 0..histories[0].steps.len() {
        let upper = at(&format!("upper{step}"));
        fs::create_dir(&upper).expect("upper");
        if step == 0 {
            play(histories, step, &upper, &mut paths);
            expected = without_sockets(snapshot(&upper), &upper);
        } else {
            let below = unpack(&store, &image(&store, &layers.iter().collect::<Vec<_>>(), ImageFormat::Oci));
            let mounted = Mounted::overlay(&below, Some((&upper, &at(&format!("work{step}")))), &at("merged"));
            difference("the overlay of what we unpacked", &expected, &snapshot(&mounted.0))?;
            play(histories, step, &mounted.0, &mut paths);
            expected = without_sockets(snapshot(&mounted.0), &mounted.0);
        }
        layers.push(layer(&store, &upper));
    }
    let image = image(&store, &layers.iter().collect::<Vec<_>>(), ImageFormat::Oci);
    {
        let mounted = Mounted::overlay(&unpack(&store, &image), None, &at("final"));
        difference("applied by us", &expected, &snapshot(&mounted.0))?;
    }
    write_oci_layout(&store, &image, &at("oci"), "latest").expect("layout");
    let name = format!("{}:latest", at("oci").display());
    run("umoci", os!["raw", "unpack", "--image", &name, at("umoci").as_path()]);
    difference("applied by umoci", &expected, &snapshot(&at("umoci")))
}

fn play(histories: &[History], step: usize, root: &Path, paths: &mut [history::Paths]) {
    for (history, paths) in histories.iter().zip(paths) {
        let folder = root.join(format!("h{}", history.seed));
        if step == 0 {
            fs::create_dir(&folder).expect("folder");
        }
        history::play(&folder, &history.steps[step], paths);
    }
}

/// Tar has no sockets: they are left out, and only they.
fn without_sockets(mut tree: BTreeMap<PathBuf, Seen>, root: &Path) -> BTreeMap<PathBuf, Seen> {
    tree.retain(|path, _| !fs::symlink_metadata(root.join(path)).expect("just seen").file_type().is_socket());
    tree
}
