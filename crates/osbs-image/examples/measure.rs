//! Speed and memory on real data: `cargo run --release -p osbs-image --example measure`. `TREE=DIR` takes another tree,
//! `LEVEL=N` one level of gzip only, `LAYERS=N` measures how long it takes to unpack an image of so many layers instead.
#![allow(clippy::print_stdout, reason = "tells what it measured")]

#[path = "../tests/support/mod.rs"]
mod support;

use osbs_image::{ArchiveDigest, Checksums, Compression, ImageFormat, LayerRequest, Store, write_archive, write_layer};
use std::path::{Path, PathBuf};
use std::time::Instant;
use support::{image, request};
use tokio_util::sync::CancellationToken;

fn status_mb(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc");
    let line = status.lines().find(|l| l.starts_with(key)).expect(key);
    line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).expect("number") / 1024
}

fn main() {
    let dir = tempfile::tempdir_in("/var/tmp").expect("temp folder");
    match std::env::var("LAYERS").ok().and_then(|layers| layers.parse().ok()) {
        Some(layers) => unpacking(dir.path(), layers),
        None => speed(dir.path()),
    }
}

/// An image of many layers of 200 small files and one of 4 MB: unpacked with one core and with all, and written through.
fn unpacking(dir: &Path, count: usize) {
    let store = Store::open(&dir.join("store")).expect("store");
    let mut random = support::Random(1);
    let mut layers = Vec::new();
    for number in 0..count {
        let tree = dir.join(format!("tree{number}"));
        std::fs::create_dir_all(&tree).expect("tree");
        for file in 0..200 {
            std::fs::write(tree.join(format!("{number}-{file}")), random.bytes(4000)).expect("file");
        }
        std::fs::write(tree.join(format!("{number}-large")), random.bytes(4 << 20)).expect("file");
        layers.push(support::layer(&store, &tree));
    }
    let image = image(&store, &layers.iter().collect::<Vec<_>>(), ImageFormat::Oci);
    let descriptor = image.manifest.clone();
    store.set_ref("image", &osbs_image::ImageRef { descriptor }, "measure").expect("ref");
    let all = rustix::thread::sched_getaffinity(None).expect("cores");
    let mut one = rustix::thread::CpuSet::new();
    one.set((0..1024).find(|core| all.is_set(*core)).expect("a core"));
    for (what, cores) in [("one core", &one), ("all cores", &all)] {
        let _ = std::fs::remove_dir_all(store.root().join("layers"));
        std::fs::create_dir(store.root().join("layers")).expect("layers");
        rustix::thread::sched_setaffinity(None, cores).expect("cores");
        let start = Instant::now();
        store.unpack(&image, &CancellationToken::new(), &|_| ()).expect("unpack");
        println!("{count} layers on {what}: {:.2} s, peak {} MB", start.elapsed().as_secs_f64(), status_mb("VmHWM"));
    }
    let start = Instant::now();
    store.unpack(&image, &CancellationToken::new(), &|_| ()).expect("unpack");
    println!("again: {:.4} s", start.elapsed().as_secs_f64());
    let start = Instant::now();
    store.gc(false).expect("gc");
    println!("written through by gc: {:.2} s", start.elapsed().as_secs_f64());
}

fn speed(dir: &Path) {
    let store = Store::open(dir).expect("store");
    let uppers = [PathBuf::from(std::env::var_os("TREE").unwrap_or_else(|| "/usr/lib/x86_64-linux-gnu".into()))];
    let cancel = CancellationToken::new();
    let gzip = |level| Compression::Gzip { level };
    let only = std::env::var("LEVEL").ok().and_then(|l| l.parse().ok()).map(gzip);
    for compression in [
        Compression::None,
        gzip(1),
        gzip(2),
        gzip(3),
        gzip(4),
        gzip(6),
        Compression::Zstd { level: 1 },
        Compression::Zstd { level: 3 },
    ] {
        if only.is_some_and(|only| only != compression) {
            continue;
        }
        let tap = ArchiveDigest::begin(&store, None, &cancel).expect("tap");
        let request = LayerRequest { compression, taps: vec![Box::new(tap)], ..request(&uppers) };
        let start = Instant::now();
        let layer = write_layer(&store, request, &cancel, &|_, _| ()).expect("layer");
        let seconds = start.elapsed().as_secs_f64();
        let (mb, packed) = (layer.uncompressed_size as f64 / 1e6, layer.descriptor.size as f64 / 1e6);
        println!(
            "{compression:?}: {mb:.0} MB, {} entries, {seconds:.2} s, {:.0} MB/s, ratio {:.3}, peak {} MB",
            layer.files,
            mb / seconds,
            mb / packed,
            status_mb("VmHWM")
        );
        if compression == gzip(3) || compression == (Compression::Zstd { level: 3 }) {
            let image = image(&store, &[&layer], ImageFormat::Oci);
            let start = Instant::now();
            let out = dir.join("a.tar.gz");
            write_archive(&store, &image, &["x:1".to_owned()], (&out, Checksums::Koji), &cancel, &|_| ())
                .expect("archive");
            println!("  archive {:.2} s, peak {} MB", start.elapsed().as_secs_f64(), status_mb("VmHWM"));
            let start = Instant::now();
            store.unpack(&image, &cancel, &|_| ()).expect("unpack");
            println!(
                "  unpack {:.2} s, {:.0} MB/s, peak {} MB",
                start.elapsed().as_secs_f64(),
                mb / start.elapsed().as_secs_f64(),
                status_mb("VmHWM")
            );
        }
    }
}
