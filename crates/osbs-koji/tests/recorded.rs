//! Every recorded exchange with a real hub is read, and written again byte for byte.
//!
//! The recordings lie in `tests/recorded` of the repository; see its README.

#![allow(clippy::unwrap_used)]

use osbs_koji::xmlrpc::{decode_call, decode_response, encode_call, encode_fault, encode_response};
use std::fs;
use std::path::{Path, PathBuf};

fn recordings(ending: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect();
    files.sort();
    files
}

#[test]
fn requests_are_read_and_written_the_same() {
    let files = recordings(".request.xml");
    assert!(files.len() > 150, "{}", files.len());
    for file in files {
        let document = fs::read_to_string(&file).unwrap();
        let call = decode_call(document.as_bytes()).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert_eq!(encode_call(&call.method, &call.params), document, "{}", file.display());
    }
}

#[test]
fn answers_are_read_and_written_the_same() {
    for file in recordings(".response.xml") {
        let document = fs::read_to_string(&file).unwrap();
        let again = match decode_response(document.as_bytes()) {
            Ok(Ok(value)) => encode_response(&value),
            Ok(Err(fault)) => encode_fault(&fault),
            Err(error) => panic!("{}: {error}", file.display()),
        };
        assert_eq!(again, document, "{}", file.display());
    }
}
