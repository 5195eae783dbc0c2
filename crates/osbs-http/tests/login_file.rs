//! Which files of a login are read, and what is said of the others.

use osbs_http::{LoginFileError, read_login_file};
use std::path::{Path, PathBuf};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("login-file-{name}"))
}

fn check(name: &str, content: &[u8], expected: Option<&str>) {
    let path = path(name);
    std::fs::write(&path, content).expect("written");
    match (read_login_file("Koji", &path), expected) {
        (Ok(Some(text)), Some(expected)) => assert!(text == expected, "{name}"),
        (Err(error @ LoginFileError::Content { .. }), None) => {
            assert!(error.to_string().contains("of Koji's login is no text"), "{error}");
        }
        (read, _) => panic!("{name}: {read:?}"),
    }
    std::fs::remove_file(path).expect("removed");
}

#[test]
fn files_of_a_login() {
    check("usual", b"hunter2\n", Some("hunter2\n"));
    check("no text", b"\xff", None);
    check("long", &vec![b'a'; 1_048_576], Some(&"a".repeat(1_048_576)));
    check("too long", &vec![b'a'; 1_048_577], None);
    assert!(matches!(read_login_file("Koji", &path("none")), Ok(None)));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    assert!(matches!(read_login_file("Koji", folder), Err(LoginFileError::Content { .. })));
}
