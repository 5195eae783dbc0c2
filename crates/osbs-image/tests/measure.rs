//! Speed and memory on real data; by hand: `cargo test -p osbs-image --test measure --config
//! 'profile.dev.package.osbs-image.opt-level=3' -- --ignored --nocapture --test-threads 1`.
#![allow(clippy::print_stdout, reason = "tells why a test skips, or what it measured")]

mod support;

use osbs_image::{ArchiveDigest, Compression, ImageFormat, LayerRequest, Store, write_archive, write_layer};
use std::path::PathBuf;
use std::time::Instant;
use support::{image, request};
use tokio_util::sync::CancellationToken;

fn status_mb(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc");
    let line = status.lines().find(|l| l.starts_with(key)).expect(key);
    line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).expect("number") / 1024
}

#[test]
#[ignore = "a measurement"]
fn speed() {
    let dir = tempfile::tempdir_in("/var/tmp").expect("temp folder");
    let store = Store::open(dir.path()).expect("store");
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
            let out = dir.path().join("a.tar.gz");
            write_archive(&store, &image, &["x:1".to_owned()], &out, &cancel, &|_| ()).expect("archive");
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
