//! Small archives that would be large: each is stopped within a second of work and 100 MB of memory, in a process of its own.

use crate::archive::{apply, end, entry, header, pax, sum};
use crate::support::ready;
use osbs_image::{Descriptor, ImageFormat, Store, media_type};
use std::io::Write;
use std::process::Command;

const BOMB: &str = "OSBS_TEST_BOMB";
const GIB: u64 = 1 << 30;

/// Name, and what the refusal must speak of.
const BOMBS: &[(&str, &str)] = &[
    ("gzip zeros", "ratio"),
    ("zstd zeros", "ratio"),
    ("sparse giant", "bytes"),
    ("sparse map without end", "headers"),
    ("long name without end", "tar"),
    ("long name of 1 MiB", "path"),
    ("attributes", "xattrs"),
    ("global headers", "headers"),
    ("empty blocks", ""),
    ("folders replaced", ""),
    ("deep", "depth"),
];

fn made(name: &str) -> Vec<u8> {
    let file = |size: u64| {
        let mut block = header(b'0', b"x", b"", 0);
        block[124..128].copy_from_slice(&[0x80, 0, 0, 0]);
        block[128..136].copy_from_slice(&size.to_be_bytes());
        sum(&mut block);
        block.to_vec()
    };
    match name {
        // Every mebibyte deflated by itself: 10 GiB in 10 MiB, made in no time.
        "gzip zeros" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
            encoder.write_all(&file(10 * GIB)).expect("memory");
            encoder.flush().expect("memory");
            let before = encoder.get_ref().len();
            encoder.write_all(&vec![0; 1 << 20]).expect("memory");
            encoder.flush().expect("memory");
            let block = encoder.get_ref()[before..].to_vec();
            [encoder.get_ref().as_slice(), &block.repeat(10 * 1024)].concat()
        }
        "zstd zeros" => {
            let mut frame = zstd::stream::write::Encoder::new(Vec::new(), 3).expect("memory");
            for _ in 0..64 {
                frame.write_all(&vec![0; 1 << 20]).expect("memory");
            }
            let frame = frame.finish().expect("memory");
            [zstd::encode_all(file(10 * GIB).as_slice(), 1).expect("memory"), frame.repeat(160)].concat()
        }
        "sparse giant" => {
            let size = (8 * GIB * GIB - 1).to_string();
            let records = pax(&[("GNU.sparse.size", size.as_bytes()), ("GNU.sparse.map", b"0,4")]);
            [records, entry(b'0', b"x", b"", b"1234"), end()].concat()
        }
        "sparse map without end" => {
            let records =
                pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"100")]);
            [records, file(16 << 20), vec![b'1'; 16 << 20]].concat()
        }
        "long name without end" => [header(b'L', b"l", b"", 8 * GIB - 1).to_vec(), vec![b'n'; 8 << 20]].concat(),
        "long name of 1 MiB" => {
            [entry(b'L', b"l", b"", &vec![b'n'; (1 << 20) - 600]), entry(b'0', b"x", b"", b""), end()].concat()
        }
        "attributes" => {
            let keys: Vec<String> = (0..15).map(|n| format!("SCHILY.xattr.user.k{n}")).collect();
            let value = vec![b'v'; 60_000];
            let records: Vec<(&str, &[u8])> = keys.iter().map(|key| (key.as_str(), value.as_slice())).collect();
            [pax(&records), entry(b'0', b"x", b"", b""), end()].concat()
        }
        "global headers" => {
            let mut global = pax(&[("comment", &vec![b'c'; 900_000])]);
            let block: &mut [u8; 512] = global.first_chunk_mut().expect("a header");
            block[156] = b'g';
            sum(block);
            zstd::encode_all(global.repeat(200).as_slice(), 1).expect("memory")
        }
        "empty blocks" => vec![0; 32 << 20],
        "folders replaced" => {
            let mut tar = Vec::new();
            for number in 0..1000 {
                tar.extend(entry(b'5', format!("d{number}").as_bytes(), b"", b""));
            }
            for _ in 0..500 {
                tar.extend(entry(b'0', b"d7", b"", b""));
                tar.extend(entry(b'5', b"d7", b"", b""));
            }
            [tar, end()].concat()
        }
        "deep" => [pax(&[("path", &b"a/".repeat(16_000))]), entry(b'5', b"x", b"", b""), end()].concat(),
        other => panic!("{other}"),
    }
}

/// What the child does: makes the bomb, then measures what unpacking it costs.
fn set_off(name: &str) {
    let dir = tempfile::tempdir().expect("temp folder");
    let store = Store::open(&dir.path().join("store")).expect("store");
    let bytes = made(name);
    std::fs::write("/proc/self/clear_refs", "5").expect("the peak begins anew");
    let (own, all, peak) = (status("utime"), status("cpu"), status("VmHWM"));
    let result = if bytes.first() == Some(&0x1f) || bytes.first() == Some(&0x28) {
        let digest = store.put_small(&bytes).expect("put");
        let parts = [(Descriptor::new(media_type::OCI_LAYER, digest.clone(), bytes.len() as u64), digest)];
        let image = crate::support::image_of(&store, &parts, ImageFormat::Oci);
        store.unpack(&image, &tokio_util::sync::CancellationToken::new(), &|_| ())
    } else {
        apply(&store, &bytes)
    };
    let text = result.map_or_else(|error| format!("{:?} {error} {error:?}", error.kind()), |_| "done".to_owned());
    let (own, all) = (status("utime") - own, status("cpu") - all);
    let peak = status("VmHWM").saturating_sub(peak) >> 10;
    println!("BOMB own {own} cpu {all} peak {peak} result {text}");
}

/// A line of the process's status in KiB, or in hundredths of a second its own work (`utime`) or that and what the kernel
/// did for it (`cpu`).
fn status(key: &str) -> u64 {
    let fields: &[usize] = match key {
        "utime" => &[11],
        "cpu" => &[11, 12],
        _ => &[],
    };
    if !fields.is_empty() {
        let stat = std::fs::read_to_string("/proc/self/stat").expect("proc");
        let numbers: Vec<_> = stat.rsplit(") ").next().expect("a name").split(' ').collect();
        return fields.iter().map(|at| numbers[*at].parse::<u64>().expect("number")).sum();
    }
    let status = std::fs::read_to_string("/proc/self/status").expect("proc");
    let line = status.lines().find(|line| line.starts_with(key)).expect("a line");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("number")
}

#[test]
fn bombs_do_not_go_off() {
    if let Ok(name) = std::env::var(BOMB) {
        return set_off(&name);
    }
    if !ready(&[]) {
        return;
    }
    for (name, word) in BOMBS {
        let program = std::env::current_exe().expect("this program");
        let mut command = Command::new(program);
        command.args(["--exact", "bombs::bombs_do_not_go_off", "--nocapture"]).env(BOMB, name);
        let output = command.output().expect("starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let line = text.lines().find(|line| line.starts_with("BOMB ")).unwrap_or_else(|| panic!("{name}: {text}"));
        println!("{name}: {line}");
        let number = |at: usize| line.split(' ').nth(at).and_then(|n| n.parse::<u64>().ok()).expect("a number");
        let (own, all, peak) = (number(2), number(4), number(6));
        // Hundredths of a second, of code that is not optimised. What is no bomb in the end makes and removes folders, which
        // is the file system's work and takes ten times as long on some machines: there only ours is counted.
        let cpu = if word.is_empty() { own } else { all };
        assert!(cpu < 100, "{name}: {cpu} hundredths of a second: {line}");
        assert!(peak < 100, "{name}: {peak} MB: {line}");
        if word.is_empty() {
            assert!(line.ends_with("result done"), "{name}: {line}");
        } else {
            let refused = line.contains("result User") || line.contains("result Policy");
            assert!(refused && line.contains(word), "{name}: {line}");
        }
    }
}
