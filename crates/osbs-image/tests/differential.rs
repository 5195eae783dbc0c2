//! Our reader of tar against Python's tarfile and GNU tar, on archives of several writers and on mutations of them whose
//! checksums are right: all see the same entries, or ours refuses. What only one of them sees could be hidden from the one
//! that checks. `DIFFERENTIAL_SEED=N` tries other mutations.

#![allow(clippy::print_stdout, reason = "tells why a test skips, or what it measured")]

mod support;

use osbs_image::{Limits, ListedEntry, list_tar};
use serde_json::Value;
use std::fs;
use std::path::Path;
use support::{Random, change, layer, ready, run};

const PROGRAMS: &[(&str, &str)] = &[("python3", "python3"), ("tar", "tar")];
const MUTATIONS: usize = 150;

/// Reads all archives of a folder; prints a line of JSON for each.
const PYTHON: &str = r#"
import json, os, sys, tarfile, zlib
def text(name): return os.fsencode(name).hex()
for name in sorted(os.listdir(sys.argv[1])):
    found, error = [], None
    try:
        with tarfile.open(os.path.join(sys.argv[1], name), "r:", errors="surrogateescape", encoding="utf-8") as tar:
            for m in tar:
                crc = 0
                if m.isreg() and not m.issparse():
                    crc = zlib.crc32(tar.extractfile(m).read())
                found.append([m.type.decode("latin1"), text(m.name), text(m.linkname), m.mode & 0o7777, m.uid, m.gid,
                              m.size, m.devmajor, m.devminor, crc, m.issparse()])
    except Exception as e:
        error = repr(e)
    print(json.dumps([name, error, found]))
"#;

/// Archives that somebody wrote: GNU tar and Python in all their formats, and we.
fn written(dir: &Path) -> Vec<Vec<u8>> {
    let tree = dir.join("tree");
    fs::create_dir(&tree).expect("tree");
    let mut random = Random(7);
    change(&mut random, &tree, 60);
    fs::write(tree.join("file"), "some content\n").expect("file");
    let long = format!("{}/{}", "long".repeat(30), "name".repeat(40));
    fs::create_dir_all(tree.join(&long)).expect("folder");
    fs::write(tree.join(long).join("inside"), "x").expect("file");
    let sparse = fs::File::create(tree.join("sparse")).expect("file");
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"data", 500_000).expect("write");
    sparse.set_len(900_000).expect("size");
    let mut found = Vec::new();
    for format in ["ustar", "gnu", "pax", "oldgnu", "v7"] {
        for sparse in [false, true] {
            let out = dir.join("out.tar");
            let mut args = vec!["--numeric-owner", "--ignore-failed-read", "-C"];
            let (tree, format) = (tree.display().to_string(), format!("--format={format}"));
            args.extend([tree.as_str(), &format]);
            args.extend(sparse.then_some("-S"));
            let out = out.display().to_string();
            args.extend(["-cf", &out, "."]);
            // The old formats cannot hold everything; what they hold is an archive all the same.
            let _ = std::process::Command::new("tar").args(&args).output().expect("tar");
            found.push(fs::read(&out).expect("archive"));
        }
    }
    for format in ["USTAR_FORMAT", "GNU_FORMAT", "PAX_FORMAT"] {
        let script = format!(
            "import sys, tarfile\nt = tarfile.open(sys.argv[2], 'w', format=tarfile.{format})\nt.add(sys.argv[1] + '/file', 'file')\nt.add(sys.argv[1] + '/sparse', 'd/\\u00e4sparse')\nt.close()"
        );
        let out = dir.join("python.tar");
        run("python3", os!["-c", &script, &tree, &out]);
        found.push(fs::read(&out).expect("archive"));
    }
    let store = osbs_image::Store::open(&dir.join("store")).expect("store");
    let made = layer(&store, &tree);
    let mut blob = Vec::new();
    let mut reader = store.open_blob(&made.descriptor).expect("blob");
    std::io::Read::read_to_end(&mut reader, &mut blob).expect("read");
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(blob.as_slice()), &mut plain).expect("inflate");
    found.push(plain);
    found
}

/// Where the header blocks are, as far as they can be followed.
fn headers(tar: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = 0;
    while at + 512 <= tar.len() && tar[at] != 0 {
        found.push(at);
        let size =
            std::str::from_utf8(&tar[at + 124..at + 135]).ok().and_then(|text| u64::from_str_radix(text, 8).ok());
        at += 512 + size.unwrap_or(0).next_multiple_of(512) as usize;
    }
    found
}

/// Another byte or two in a header, or in what follows it, and a right checksum.
fn mutate(random: &mut Random, tar: &[u8]) -> Vec<u8> {
    let mut tar = tar.to_vec();
    let headers = headers(&tar);
    for _ in 0..=random.below(2) {
        let header = *random.pick(&headers);
        // Size, type, magic, name, prefix, numbers: the fields that decide most come up most.
        let at = match random.below(10) {
            0..=2 => 124 + random.below(12),
            3 => 156,
            4 => 257 + random.below(8),
            5 => random.below(100),
            6 => 345 + random.below(155),
            7 => 100 + random.below(48),
            8 => 512 + random.below(100),
            _ => random.below(512),
        };
        let byte = match random.below(4) {
            0 => *random.pick(b"\0 01234567 xgLKSV5/9\x80\xff"),
            1 => b'0' + random.below(8) as u8,
            2 => tar.get(header + at).copied().unwrap_or(0) ^ (1 << random.below(8)),
            _ => random.next() as u8,
        };
        if let Some(place) = tar.get_mut(header + at) {
            *place = byte;
        }
        let block = &mut tar[header..header + 512];
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    tar
}

#[test]
fn other_readers_see_the_same() {
    if !ready(PROGRAMS) {
        return;
    }
    let dir = tempfile::tempdir().expect("temp folder");
    let archives = dir.path().join("archives");
    fs::create_dir(&archives).expect("folder");
    let seed = std::env::var("DIFFERENTIAL_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(42);
    let mut random = Random(seed);
    let mut ours = Vec::new();
    for (writer, tar) in written(dir.path()).into_iter().enumerate() {
        assert!(
            list_tar(&mut tar.as_slice(), &Limits::default()).is_ok(),
            "writer {writer} is honest: {:?}",
            list_tar(&mut tar.as_slice(), &Limits::default())
        );
        for number in 0..MUTATIONS {
            let bytes = if number == 0 { tar.clone() } else { mutate(&mut random, &tar) };
            if let Ok(listed) = list_tar(&mut bytes.as_slice(), &Limits::default()) {
                let name = format!("{writer:02}-{number:04}.tar");
                fs::write(archives.join(&name), bytes).expect("write");
                ours.push((name, listed));
            }
        }
    }
    assert!(ours.len() > 500, "only {} archives were taken by ours", ours.len());
    let out = run("python3", os!["-c", PYTHON, &archives]).stdout;
    let theirs = String::from_utf8(out).expect("UTF-8");
    let mut differences = Vec::new();
    for ((name, listed), line) in ours.iter().zip(theirs.lines()) {
        let seen: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(seen[0], name.as_str());
        differences.extend(compare(listed, &seen).map(|text| format!("{name}, Python: {text}")));
        differences.extend(compare_gnu(&archives.join(name), listed).map(|text| format!("{name}, GNU tar: {text}")));
    }
    println!("{} archives were read by all", ours.len());
    assert!(differences.is_empty(), "seed {seed}: {} differences\n{}", differences.len(), differences.join("\n"));
}

/// `None` when all is the same.
fn compare(ours: &[ListedEntry], seen: &Value) -> Option<String> {
    if !seen[1].is_null() {
        return Some(format!("fails with {}, ours sees {} entries", seen[1], ours.len()));
    }
    let theirs = seen[2].as_array().expect("a list");
    for (own, other) in ours.iter().zip(theirs) {
        let hex = |bytes: &[u8]| bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(digit).collect::<String>();
        let name = |at: usize| other[at].as_str().expect("text").trim_end_matches("2f").to_owned();
        let kind = match other[0].as_str().expect("text") {
            "\0" | "7" | "S" => "0",
            kind => kind,
        };
        let mut same = kind.as_bytes() == [own.kind] && name(1) == hex(&own.path).trim_end_matches("2f");
        if matches!(own.kind, b'1' | b'2') {
            same &= other[2] == hex(&own.link).as_str();
        }
        same &= other[3] == own.mode && other[4] == own.uid && other[5] == own.gid;
        if own.kind == b'0' {
            same &= other[6] == own.size && (other[10] == true || other[9] == own.crc32);
        }
        if matches!(own.kind, b'3' | b'4') {
            same &= other[7] == own.device.0 && other[8] == own.device.1;
        }
        if !same {
            return Some(format!("{other} is to us {own:?}"));
        }
    }
    (ours.len() != theirs.len()).then(|| format!("{} entries, ours {}", theirs.len(), ours.len()))
}

fn digit(value: u8) -> char {
    char::from_digit(value.into(), 16).expect("below 16")
}

/// Names only, where they are plain.
fn compare_gnu(archive: &Path, ours: &[ListedEntry]) -> Option<String> {
    let output =
        std::process::Command::new("tar").args(["--quoting-style=literal", "-tf"]).arg(archive).output().expect("tar");
    let plain = |name: &[u8]| name.iter().all(|byte| (b'!'..=b'~').contains(byte));
    if !output.status.success() || !ours.iter().all(|entry| plain(&entry.path)) {
        // It fails for more reasons than the archive; what it lists is compared where all is plain.
        return None;
    }
    let theirs: Vec<&[u8]> = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let own: Vec<&[u8]> = ours.iter().map(|entry| entry.path.as_slice()).collect();
    let trim = |names: &[&[u8]]| -> Vec<Vec<u8>> {
        names.iter().map(|name| name.strip_suffix(b"/").unwrap_or(name).to_vec()).collect()
    };
    (trim(&own) != trim(&theirs)).then(|| format!("{:?}, ours {:?}", trim(&theirs).len(), own.len()))
}
