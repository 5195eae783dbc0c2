//! Large layers and many files: memory stays flat, and how long each phase takes is printed
//! (`cargo test --release -p osbs-builder --test real_size -- --nocapture`).
//!
//! `OSBS_TEST_LARGE_MB` (default 200) and `OSBS_TEST_FILES` (default 5000) choose the size.

#![allow(clippy::print_stdout, reason = "it measures")]

mod support;

use osbs_builder::BuiltImage;
use std::fs;
use std::io::Read;
use std::sync::Mutex;
use std::time::Instant;
use support::{Seen, Site, ready};
use tokio_util::sync::CancellationToken;

const PROGRAMS: &[(&str, &str)] = &[("runc", "runc")];
/// Memory and time are the process's: one test at a time.
static TURN: Mutex<()> = Mutex::new(());

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Largest resident memory of this process, MB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("number") / 1024
}

/// Starts measuring anew (proc(5), clear_refs).
fn reset_peak() {
    fs::write("/proc/self/clear_refs", "5").expect("clear_refs");
}

/// The machine's own libraries, one after the other, over and over, without holding them.
struct Corpus {
    paths: Vec<std::path::PathBuf>,
    next: usize,
    file: Option<fs::File>,
}

impl Corpus {
    fn new() -> Self {
        let mut paths: Vec<_> = fs::read_dir("/usr/lib/x86_64-linux-gnu")
            .or_else(|_| fs::read_dir("/usr/bin"))
            .expect("libraries")
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.metadata().is_ok_and(|meta| meta.is_file() && meta.len() > 10_000))
            .collect();
        paths.sort();
        Self { paths, next: 0, file: None }
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let file = self.file.get_or_insert_with(|| {
                self.next += 1;
                fs::File::open(&self.paths[(self.next - 1) % self.paths.len()]).expect("library")
            });
            match file.read(&mut bytes[done..]).expect("read") {
                0 => self.file = None,
                count => done += count,
            }
        }
    }
}

/// User and system time of this process and its children, in seconds.
fn cpu() -> f64 {
    let ticks = |file: &str| -> u64 {
        let text = fs::read_to_string(file).expect("stat");
        let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        fields[11..15].iter().map(|field| field.parse::<u64>().expect("number")).sum()
    };
    ticks("/proc/self/stat") as f64 / 100.0
}

fn report(what: &str, started: Instant, cpu_before: f64, built: &BuiltImage) -> u64 {
    let memory = peak();
    let layer = &built.new_layer;
    println!(
        "{what}: {:.2} s, {:.2} s of CPU, {:?}; {} entries, {} MB -> {} MB; peak {memory} MB",
        started.elapsed().as_secs_f64(),
        cpu() - cpu_before,
        built.timings,
        layer.files,
        layer.uncompressed_size / 1_000_000,
        layer.descriptor.size / 1_000_000,
    );
    memory
}

#[test]
fn memory_stays_flat_however_large_the_layer() {
    if !ready(PROGRAMS) {
        return;
    }
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let site = Site::new();
    let (total, count) = (number("OSBS_TEST_LARGE_MB", 200) * 1_000_000, 2400);
    let (mut corpus, mut bytes) = (Corpus::new(), vec![0; total / count]);
    for index in 0..count {
        corpus.fill(&mut bytes);
        fs::write(site.file(&format!("data/d{}/f{index}", index / 100), ""), &bytes).expect("write");
    }
    rustix::fs::sync();
    // The parent's unpacking is not what is measured.
    site.build("FROM localhost/base\n").expect("warm");
    reset_peak();
    let set = |request: &mut osbs_builder::BuildRequest<'_>| request.prepare_archive = true;
    let (started, cpu_before) = (Instant::now(), cpu());
    let built = site
        .build_with(
            "FROM localhost/base\nCOPY data /srv/data\nRUN cp -a /srv/data /srv/again\n",
            set,
            &Seen::default(),
            &CancellationToken::new(),
        )
        .expect("build");
    let memory = report("large", started, cpu_before, &built);
    assert!(built.new_layer.uncompressed_size > 2 * total as u64);
    assert!(memory < 100, "{memory} MB");
}

#[test]
fn many_small_files() {
    if !ready(PROGRAMS) {
        return;
    }
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let site = Site::new();
    let count = number("OSBS_TEST_FILES", 5000);
    let (mut corpus, mut bytes) = (Corpus::new(), vec![0; 8000]);
    for index in 0..count {
        let size = 100 + (index * 7919) % 7800;
        corpus.fill(&mut bytes[..size]);
        fs::write(site.file(&format!("data/d{}/f{index}", index / 100), ""), &bytes[..size]).expect("write");
    }
    rustix::fs::sync();
    site.build("FROM localhost/base\n").expect("warm");
    for text in ["FROM localhost/base\nCOPY data /srv/data\n", "FROM localhost/base\nWORKDIR /srv\nCOPY . .\n"] {
        reset_peak();
        let (started, cpu_before) = (Instant::now(), cpu());
        let built = site.build(text).expect("build");
        let memory = report("files", started, cpu_before, &built);
        assert!(built.new_layer.files as usize > count);
        assert!(memory < 100, "{memory} MB");
    }
}
