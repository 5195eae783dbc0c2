//! Several processes on one store: a layer is unpacked at most once a machine, side by side with the others of its image,
//! and a process that dies in the middle leaves nothing that another would believe.

#![allow(clippy::print_stdout, reason = "tells why a test skips, or what it measured")]

mod support;

use osbs_image::{ImageFormat, ImageRef, Store, StoredImage};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use support::{image, layer, ready};
use tokio_util::sync::CancellationToken;

const STORE: &str = "OSBS_TEST_STORE";
const LAYERS: usize = 24;
const PROCESSES: usize = 6;

/// An image of layers with a few hundred files each, named in the store.
fn many_layers(dir: &Path) -> (Store, StoredImage) {
    let store = Store::open(&dir.join("store")).expect("store");
    let mut layers = Vec::new();
    for number in 0..LAYERS {
        let tree = dir.join(format!("tree{number}"));
        fs::create_dir_all(tree.join("shared")).expect("tree");
        for file in 0..100 {
            fs::write(tree.join(format!("shared/{number}-{file}")), vec![number as u8; 2000]).expect("file");
        }
        fs::write(tree.join("top"), number.to_string()).expect("file");
        layers.push(layer(&store, &tree));
    }
    let image = image(&store, &layers.iter().collect::<Vec<_>>(), ImageFormat::Oci);
    store.set_ref("image", &ImageRef { descriptor: image.manifest.clone() }, "test").expect("ref");
    (store, image)
}

/// What a process does: unpacks the image, and tells how many compressed bytes it read for that.
fn unpack_in_child(root: &Path) {
    let store = Store::open(root).expect("store");
    let _lease = store.lease("test").expect("lease");
    let record = store.get_ref("image").expect("ref").expect("there");
    let image = StoredImage::load(&store, &record.image.descriptor).expect("image");
    let read = AtomicU64::new(0);
    let count = |bytes| {
        read.fetch_add(bytes, Ordering::Relaxed);
    };
    let folders = store.unpack(&image, &CancellationToken::new(), &count).expect("unpacks");
    for (number, folder) in folders.iter().enumerate() {
        assert_eq!(fs::read_to_string(folder.join("top")).expect("whole"), number.to_string());
        assert_eq!(fs::read_dir(folder.join("shared")).expect("whole").count(), 100);
    }
    println!("READ {}", read.into_inner());
}

fn start(root: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "each_layer_is_unpacked_once", "--nocapture"]).env(STORE, root);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts")
}

fn end(child: Child) -> u64 {
    let output = child.wait_with_output().expect("ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let read = text.lines().find_map(|line| line.split("READ ").nth(1)).expect("the number");
    read.trim().parse().expect("a number")
}

#[test]
fn each_layer_is_unpacked_once() {
    if let Some(root) = std::env::var_os(STORE) {
        return unpack_in_child(&PathBuf::from(root));
    }
    if !ready(&[]) {
        return;
    }
    let dir = tempfile::tempdir().expect("temp folder");
    let (store, image) = many_layers(dir.path());
    // One that dies in the middle, wherever that is.
    let mut dying = start(store.root());
    std::thread::sleep(std::time::Duration::from_millis(60));
    dying.kill().expect("killed");
    dying.wait().expect("ended");
    let chain = image.chain_ids();
    let done = chain.iter().filter(|id| store.is_unpacked(id)).count();
    let missing: u64 = (0..LAYERS).filter(|n| !store.is_unpacked(&chain[*n])).map(|n| image.layers[n].size).sum();
    let children: Vec<Child> = (0..PROCESSES).map(|_| start(store.root())).collect();
    let read: u64 = children.into_iter().map(end).sum();
    assert_eq!(read, missing, "{done} layers were done by the one that died; every other is read once, by one process");
    assert_eq!(end(start(store.root())), 0, "and never again");
    let report = store.gc(false).expect("gc");
    assert_eq!((report.blobs, report.layers), (0, 0));
    assert_eq!(fs::read_dir(store.root().join("tmp")).expect("tmp").count(), 0, "what the dead left is gone");
}
