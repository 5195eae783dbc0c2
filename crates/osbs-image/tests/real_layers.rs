//! Layers as overlayfs makes them, written, and applied by us and by umoci: the tree must be the one overlayfs showed.

mod support;

use osbs_image::{ImageFormat, Store, write_oci_layout};
use std::fs;
use support::{Mounted, Random, assert_same, change, image, layer, ready, run, snapshot, unpack};

const PROGRAMS: &[(&str, &str)] = &[("umoci", "umoci"), ("mount", "mount")];

/// One history: a base, then `steps` layers of changes on top.
fn check_history(seed: u64, steps: usize) {
    let dir = tempfile::tempdir().expect("temp folder");
    let at = |name: &str| dir.path().join(name);
    let store = Store::open(&at("store")).expect("store");
    let mut random = Random(seed);
    let base = at("base");
    fs::create_dir(&base).expect("base");
    change(&mut random, &base, 40);
    let mut expected = snapshot(&base);
    let mut layers = vec![layer(&store, &base)];
    for step in 0..steps {
        let below = unpack(&store, &image(&store, &layers.iter().collect::<Vec<_>>(), ImageFormat::Oci));
        let (upper, work, target) = (at(&format!("upper{step}")), at(&format!("work{step}")), at("merged"));
        {
            let mounted = Mounted::overlay(&below, Some((&upper, &work)), &target);
            assert_same(&format!("seed {seed}, overlay of what we unpacked"), &expected, &snapshot(&mounted.0));
            change(&mut random, &mounted.0, 30);
            expected = snapshot(&mounted.0);
        }
        layers.push(layer(&store, &upper));
    }
    let image = image(&store, &layers.iter().collect::<Vec<_>>(), ImageFormat::Oci);
    let folders = unpack(&store, &image);
    {
        let mounted = Mounted::overlay(&folders, None, &at("final"));
        assert_same(&format!("seed {seed}, applied by us"), &expected, &snapshot(&mounted.0));
    }
    let layout = at("oci");
    write_oci_layout(&store, &image, &layout, "latest").expect("layout");
    let name = format!("{}:latest", layout.display());
    run("umoci", os!["raw", "unpack", "--image", &name, at("umoci").as_path()]);
    assert_same(&format!("seed {seed}, applied by umoci"), &expected, &snapshot(&at("umoci")));
}

#[test]
fn random_histories() {
    if ready(PROGRAMS) {
        for seed in 0..12 {
            check_history(seed, 1 + (seed % 3) as usize);
        }
    }
}
