//! Uploads: who may write where, and what the answers say (client-and-koji 5.4).

use crate::fixture::*;
use crate::harness::Client;
use base64::Engine as _;
use osbs_koji::{Arguments, Value};

fn submit(user: &Client<'_>) -> i64 {
    let task = user.ok("buildContainer", ["git://example.com/x#1".into(), TAG.into(), Value::members([])]);
    task.as_int().unwrap()
}

#[test]
fn raw_uploads_follow_the_rules() {
    let hub = hub(false);
    let mwells = hub.login("mwells");
    let code = |query: &str| raw_upload(&mwells, query, b"abc").map_or_else(|fault| fault.code, |_| 0);
    for (query, expected) in [
        ("filename=a&filepath=up&offset=0", 0),
        ("filename=a&filepath=up&offset=0", 1000),
        ("filename=a&filepath=up&offset=0&overwrite=1", 0),
        // Behind the end: a gap of zeroes. Into the middle: written, as the real hub does, but it does not end there.
        ("filename=a&filepath=up&offset=10", 0),
        ("filename=a&filepath=up&offset=1", 1000),
        ("filename=a&filepath=up&offset=-1", 0),
        ("filename=a&filepath=up&offset=-2", 1),
        ("filename=.a&filepath=up&offset=0", 1000),
        ("filename=a%2Fb&filepath=up&offset=0", 1000),
        ("filename=a&filepath=..%2Fpackages&offset=0", 1000),
        ("filename=a&filepath=up%2F.hidden&offset=0", 1000),
        ("filename=a&filepath=tasks%2F1%2F1&offset=0", 1002),
        ("filename=a&filepath=up&offset=0&overwrite=1&fileverify=crc", 1000),
        ("filename=a&filepath=up&offset=0&volume=other", 1000),
        ("filepath=up&offset=0", 1),
    ] {
        assert_eq!(code(query), expected, "{query}");
    }
    let there = mwells.ok("checkUpload", ["up".into(), "a".into(), "md5".into()]);
    assert_eq!(there.get("hexdigest"), &md5_of(b"aabc\0\0\0\0\0\0abcabc").into());
    assert_eq!((there.get("size"), there.get("sumlength")), (&Value::Int(16), &Value::Int(16)));
    let tail =
        mwells.call("checkUpload", Arguments::of(["up".into(), "a".into(), "md5".into()]).named("tail", 3)).unwrap();
    assert_eq!(tail.get("hexdigest"), &md5_of(b"abc").into());
    assert_eq!(mwells.ok("checkUpload", ["up".into(), "b".into()]), Value::Nil);
    assert_eq!(mwells.ok("checkUpload", ["nowhere".into(), "b".into()]), Value::Nil);
    // The folder is mwells' own.
    let reactor = hub.login("reactor");
    assert_eq!(raw_upload(&reactor, "filename=b&filepath=up&offset=0", b"x").unwrap_err().code, 1000);
    let answer = raw_upload(&mwells, "filename=e&filepath=up&offset=0&fileverify=adler32", b"Wikipedia").unwrap();
    assert_eq!(answer.get("hexdigest"), &"11e60398".into());
}

#[test]
fn a_piece_may_be_sent_again_with_the_same_number() {
    let hub = hub(false);
    let mwells = hub.login("mwells");
    let query = "filename=a&filepath=up&offset=0&overwrite=1";
    for _ in 0..2 {
        mwells.number.set(7);
        raw_upload(&mwells, query, b"abc").unwrap();
    }
}

#[test]
fn links_are_not_written_through() {
    let hub = hub(false);
    let mwells = hub.login("mwells");
    raw_upload(&mwells, "filename=a&filepath=up&offset=0", b"abc").unwrap();
    let (up, outside) = (hub.folder.path().join("koji/work/up"), hub.folder.path().join("outside"));
    std::fs::write(&outside, "outside").unwrap();
    std::os::unix::fs::symlink(&outside, up.join("link")).unwrap();
    std::os::unix::fs::symlink(hub.folder.path(), up.join("away")).unwrap();
    let code = |query: &str| raw_upload(&mwells, query, b"abc").unwrap_err().code;
    assert_eq!(code("filename=link&filepath=up&offset=0&overwrite=1"), 1000);
    let _ = raw_upload(&mwells, "filename=outside&filepath=up%2Faway&offset=0&overwrite=1", b"abc");
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), "outside");
    assert_eq!(get(&hub, "work/up/link", &[]).status, 404);
}

#[test]
fn old_style_uploads_follow_the_rules() {
    let hub = hub(false);
    let mwells = hub.login("mwells");
    let piece = |name: &str, offset: i64, data: &[u8], size: i64, sum: Value| {
        let data = base64::engine::general_purpose::STANDARD.encode(data);
        let arguments =
            Arguments::of(["up".into(), name.into(), size.to_string().into(), sum, offset.into(), data.into()]);
        mwells.call("uploadFile", arguments).map_err(|fault| fault.code)
    };
    let pair = |kind: &str, hex: &str| Value::Array(vec![kind.into(), hex.into()]);
    let good = || Value::from(md5_of(b"abc"));
    assert_eq!(piece("a", 0, b"abc", 3, good()), Ok(true.into()));
    assert_eq!(piece("a", 0, b"abc", 3, good()), Err(1000), "it is there");
    assert_eq!(piece("a.log", 0, b"abc", 3, pair("adler32", "024d0127")), Ok(true.into()));
    assert_eq!(piece("a.log", 0, b"abc", 3, Value::Nil), Ok(true.into()), "logs are written anew");
    assert_eq!(piece("a", 3, b"abc", 4, good()), Ok(false.into()), "another size");
    assert_eq!(piece("a", 3, b"abc", 3, "0".into()), Ok(false.into()), "another digest");
    assert_eq!(piece("a", 3, b"abc", 3, good()), Ok(true.into()));
    assert_eq!(piece("a", -1, b"", 6, md5_of(b"abcabc").into()), Ok(true.into()));
    assert_eq!(piece("a", -1, b"", 6, "0".into()), Ok(false.into()));
    assert_eq!(piece("a", -1, b"abc", 3, good()), Ok(true.into()), "a whole file at once");
    assert_eq!(piece("a", 0, b"", 0, pair("sha1", "0")), Err(1000));
}

#[test]
fn only_the_host_that_has_a_task_open_writes_its_output() {
    let hub = hub(true);
    let (mwells, builder) = (hub.login("mwells"), builder(&hub));
    let task = submit(&mwells);
    let folder = format!("filepath=tasks%2F{task}%2F{task}&filename=a.log&offset=0&overwrite=1");
    assert_eq!(raw_upload(&mwells, &folder, b"x").unwrap_err().code, 1002);
    assert_eq!(raw_upload(&builder, &folder, b"x").unwrap_err().code, 1004);
    assert_ne!(builder.ok("host.openTask", [task.into()]), Value::Nil);
    raw_upload(&builder, &folder, b"line one\n").unwrap();
    let read = |offset: i64, size: i64| {
        let arguments = Arguments::of([task.into(), "a.log".into()]).named("offset", offset).named("size", size);
        let text = hub.call("downloadTaskOutput", arguments).unwrap();
        base64::engine::general_purpose::STANDARD.decode(text.as_str().unwrap()).unwrap()
    };
    assert_eq!(read(0, -1), b"line one\n");
    assert_eq!(read(5, 2), b"on");
    assert_eq!(read(-4, -1), b"one\n");
    assert_eq!(read(9, 100), b"");
    let missing = hub.call("downloadTaskOutput", Arguments::of([task.into(), "b.log".into()]));
    assert_eq!(missing.unwrap_err().code, 1000);
    let stat = hub.call("listTaskOutput", Arguments::of([task.into()]).named("stat", true)).unwrap();
    assert_eq!(stat.get("a.log").get("st_size"), &"9".into());
    assert_eq!(hub.call("listTaskOutput", Arguments::of([4711.into()])).unwrap(), Value::Array(vec![]));
    mwells.ok("cancelTask", [task.into()]);
    assert_eq!(raw_upload(&builder, &folder, b"x").unwrap_err().code, 1004);
}

#[test]
fn large_files_are_downloaded_whole_and_in_pieces() {
    let hub = hub(false);
    let mwells = hub.login("mwells");
    let bytes: Vec<u8> = (0..300_000_u32).flat_map(u32::to_be_bytes).collect();
    for (number, piece) in bytes.chunks(500_000).enumerate() {
        let query = format!("filename=big&filepath=up&offset={}&overwrite=1", number * 500_000);
        raw_upload(&mwells, &query, piece).unwrap();
    }
    let whole = get(&hub, "work/up/big", &[]);
    assert_eq!((whole.status, whole.body.len()), (200, bytes.len()));
    assert!(whole.body == bytes);
    let piece = get(&hub, "work/up/big", &[("Range", "bytes=100001-900000")]);
    assert_eq!(piece.status, 206);
    assert!(piece.body == bytes[100_001..=900_000]);
    assert!(piece.headers.to_lowercase().contains("content-range: bytes 100001-900000/1200000"), "{}", piece.headers);
    assert_eq!(get(&hub, "work/up/big", &[("Range", "bytes=1200000-")]).status, 416);
    let head = hub.request("HEAD", "/kojifiles/work/up/big", &[], b"");
    assert!(
        head.headers.to_lowercase().contains("content-length: 1200000") && head.body.is_empty(),
        "{}",
        head.headers
    );
    assert_eq!(hub.request("DELETE", "/kojifiles/work/up/big", &[], b"").status, 405);
}
