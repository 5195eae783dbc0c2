//! Every input of the kept corpus through its target, without the engine: what was found once stays mended.
//!
//! `corpus/TARGET/NAME` are inputs that show what a target can reach, `regressions/TARGET/NAME` those that once failed.

#![allow(clippy::print_stdout)]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes of all inputs together: every clone of the repository carries them.
const MOST: u64 = 300_000;
/// A single input, without instrumentation and optimisation.
const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn the_corpus_still_holds() {
    let mut total = 0;
    for folder in ["corpus", "regressions"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for entry in fs::read_dir(&folder).expect("the folder is part of the repository") {
            let name = entry.expect("readable").file_name().into_string().expect("UTF-8");
            assert!(osbs_fuzz::TARGETS.iter().any(|(target, _)| *target == name), "{name} is no target");
        }
        for (target, body) in osbs_fuzz::TARGETS {
            let inputs =
                fs::read_dir(folder.join(target)).map(|entries| entries.map(|entry| entry.expect("readable").path()));
            let mut inputs: Vec<_> = inputs.map(Iterator::collect).unwrap_or_default();
            inputs.sort();
            assert!(!inputs.is_empty() || folder.ends_with("regressions"), "{target} has no corpus");
            for path in inputs {
                // The test's output ends with the input that failed.
                println!("{}", path.display());
                let data = fs::read(&path).expect("readable");
                total += data.len() as u64;
                let started = Instant::now();
                body(&data);
                assert!(started.elapsed() < LIMIT, "{} took {:?}", path.display(), started.elapsed());
            }
        }
    }
    assert!(total <= MOST, "the corpus has {total} bytes, allowed are {MOST}");
}
