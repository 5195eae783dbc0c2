//! Uploads and downloads over real HTTP: cut, gone on with, compared.

#![allow(clippy::unwrap_used)]

mod support;

use osbs_koji::xmlrpc::encode_response;
use osbs_koji::{Koji, KojiError, Place, Settings, Value};
use osbs_types::ErrorKind;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use support::{FakeHub, Injury, Seen, client_of, quick};
use tokio::io::AsyncReadExt as _;
use tokio_util::sync::CancellationToken;

const PLACE: Place<'static> = Place { directory: "koji-upload/1.A", name: "image.tar" };
const STORED: &str = "koji-upload/1.A/image.tar";

fn content(length: u32) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

async fn upload(koji: &Koji, path: &Path) -> Result<osbs_koji::Uploaded, KojiError> {
    koji.upload_file(path, PLACE, &|_, _| {}).await
}

fn blocks(hub: &FakeHub) -> usize {
    hub.methods().iter().filter(|method| *method == "rawUpload").count()
}

async fn check_upload(length: u32, expected: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, content(length)).unwrap();
    let hub = FakeHub::new(|_, _| None);
    let told = Mutex::new(Vec::new());
    let progress = |done: u64, of: Option<u64>| told.lock().unwrap().push((done, of));
    let done = hub.client().upload_file(&file, PLACE, &progress).await.unwrap();
    assert_eq!((done.size, done.found), (u64::from(length), 0));
    assert_eq!(hub.state.lock().unwrap().files[STORED], content(length));
    assert_eq!(hub.methods(), expected, "{length}");
    let told = told.into_inner().unwrap();
    assert!(told.is_sorted() && told.last() == Some(&(u64::from(length), Some(u64::from(length)))), "{told:?}");
    // Again: it is there.
    let again = upload(&hub.client(), &file).await.unwrap();
    assert_eq!((again.found, again.sha256), (u64::from(length), done.sha256));
}

#[tokio::test]
async fn whole_files() {
    check_upload(0, &["checkUpload", "rawUpload", "checkUpload"]).await;
    check_upload(999, &["checkUpload", "rawUpload", "checkUpload"]).await;
    check_upload(1000, &["checkUpload", "rawUpload", "checkUpload"]).await;
    check_upload(2001, &["checkUpload", "rawUpload", "rawUpload", "rawUpload", "checkUpload"]).await;
}

#[tokio::test]
async fn an_upload_cut_at_half_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, content(8000)).unwrap();
    let token = CancellationToken::new();
    let stop = token.clone();
    // The process is stopped while the fifth of eight blocks is on its way.
    let hub = FakeHub::new(move |number, _| {
        if number == 5 {
            stop.cancel();
            return Some(Injury::CutInRequest);
        }
        None
    });
    let error = upload(&hub.client().cancelled_by(&token), &file).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert_eq!((blocks(&hub), hub.state.lock().unwrap().files[STORED].len()), (4, 4000));
    // Another process goes on, in a task of its own: what is waited for can be sent to another thread.
    let (koji, path) = (hub.client(), file.clone());
    let done = tokio::spawn(async move { upload(&koji, &path).await }).await.unwrap().unwrap();
    assert_eq!((done.size, done.found, blocks(&hub)), (8000, 4000, 8));
    assert_eq!(hub.state.lock().unwrap().files[STORED], content(8000));
    // A third has nothing to send.
    assert_eq!(upload(&hub.client(), &file).await.unwrap().found, 8000);
    assert_eq!(blocks(&hub), 8);
}

#[tokio::test]
async fn what_is_there_is_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, content(1500)).unwrap();
    for there in [content(1500).into_iter().rev().collect::<Vec<_>>(), content(5000), vec![0; 700]] {
        let hub = FakeHub::new(|_, _| None);
        hub.state.lock().unwrap().files.insert(STORED.to_owned(), there);
        assert_eq!(upload(&hub.client(), &file).await.unwrap().found, 0);
        assert_eq!(hub.state.lock().unwrap().files[STORED], content(1500));
    }
}

#[tokio::test]
async fn checksums_that_differ() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, content(1500)).unwrap();
    let hub = FakeHub::new(|_, _| None);
    hub.state.lock().unwrap().wrong_checksums = 3;
    upload(&hub.client(), &file).await.unwrap();
    assert_eq!(blocks(&hub), 5);
    let verified = hub.seen().iter().any(|seen| String::from_utf8_lossy(&seen.body).contains("verify"));
    assert!(verified, "after a repetition the whole is compared");

    let hub = FakeHub::new(|_, _| None);
    hub.state.lock().unwrap().wrong_checksums = 1000;
    let error = upload(&hub.client(), &file).await.unwrap_err();
    assert!(matches!(error, KojiError::Mismatch { .. }) && error.kind() == ErrorKind::Remote, "{error}");
    assert_eq!(blocks(&hub), 6);

    // The blocks arrive well, but the file is another in the end: it is sent once more.
    for (rotten, fine) in [(1, true), (9, false)] {
        let hub = FakeHub::new(|number, _| (number == 1).then_some(Injury::CutAfter));
        hub.state.lock().unwrap().rotten = rotten;
        let done = upload(&hub.client(), &file).await;
        assert_eq!(done.is_ok(), fine, "{done:?}");
        assert_eq!(blocks(&hub), 5);
    }
}

#[tokio::test]
async fn blocks_that_are_lost_on_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, content(5500)).unwrap();
    for injury in
        [Injury::CutBefore, Injury::CutInRequest, Injury::CutAfter, Injury::CutInAnswer, Injury::Status502After]
    {
        let hub = FakeHub::new(move |number, _| (number % 3 == 2).then_some(injury));
        upload(&hub.client(), &file).await.unwrap_or_else(|error| panic!("{injury:?}: {error}"));
        assert_eq!(hub.state.lock().unwrap().files[STORED], content(5500), "{injury:?}");
    }
}

#[tokio::test]
async fn hubs_without_raw_uploads() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, content(2500)).unwrap();
    let hub = FakeHub::new(|number, _| (number == 2).then_some(Injury::CutAfter));
    let koji = hub.client_with(Settings { fast_upload: false, ..quick() });
    let done = upload(&koji, &file).await.unwrap();
    assert_eq!((done.size, done.found), (2500, 0));
    let methods = hub.methods();
    assert!(!methods.contains(&"rawUpload".to_owned()) && methods.len() >= 5, "{methods:?}");
    assert_eq!(hub.state.lock().unwrap().files[STORED], content(2500));
}

#[tokio::test]
async fn files_that_cannot_be_read() {
    let hub = FakeHub::new(|_, _| None);
    let error = upload(&hub.client(), Path::new("/nowhere/image.tar")).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Resource && error.to_string().contains("/nowhere/image.tar"), "{error}");
    assert!(hub.seen().is_empty());
}

/// A server of one file that sends at most `most` bytes an answer, then closes; whether it knows `Range`.
fn file_server(file: Vec<u8>, most: usize, ranges: bool) -> (String, Arc<Mutex<Vec<Seen>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::<Mutex<Vec<Seen>>>::default();
    let kept = Arc::clone(&seen);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut reader = std::io::BufReader::new(stream.try_clone().unwrap());
            let Some((path, headers)) = support::read_head(&mut reader) else { continue };
            let range =
                headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
            kept.lock().unwrap().push(Seen { path: path.clone(), headers, body: Vec::new() });
            if path.contains("missing") {
                let _ = stream.write_all(b"HTTP/1.1 404 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                continue;
            }
            let start: usize = range.filter(|_| ranges).unwrap_or(0);
            let rest = &file[start..];
            let status = if start > 0 { "206 X" } else { "200 X" };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Range: bytes {start}-{}/{}\r\nETag: \"1\"\r\nConnection: close\r\n\r\n",
                rest.len(),
                file.len() - 1,
                file.len()
            );
            // Without ranges the cut comes later every time.
            let most = if ranges { most } else { most * kept.lock().unwrap().len() };
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&rest[..most.min(rest.len())]));
        }
    });
    (format!("http://{address}/kojihub"), seen)
}

#[tokio::test]
async fn downloads_are_gone_on_with() {
    for ranges in [true, false] {
        let file = content(100_000);
        let (url, seen) = file_server(file.clone(), 30_000, ranges);
        let mut got = Vec::new();
        let koji = client_of(&url, quick());
        let bytes = koji.download("work/tasks/26/26/a b.tar", 1 << 20, &mut got, &|_, _| {}).await.unwrap();
        assert!(bytes == 100_000 && got == file, "{ranges}");
        let seen = seen.lock().unwrap();
        assert_eq!((seen.len(), seen[0].path.as_str()), (4, "/kojifiles/work/tasks/26/26/a%20b.tar"));
        assert_eq!(seen[1].headers["range"], "bytes=30000-");
        assert_eq!(seen[1].headers["if-range"], "\"1\"");
        assert!(seen.iter().all(|seen| !seen.headers.contains_key("koji-session-key")));
    }
}

#[tokio::test]
async fn downloads_that_fail() {
    let (url, _) = file_server(content(100_000), 1 << 20, true);
    let koji = client_of(&url, quick());
    let mut sink = Vec::new();
    let error = koji.download("x", 50_000, &mut sink, &|_, _| {}).await.unwrap_err();
    assert!(format!("{error:?}").contains("TooLarge") && sink.is_empty(), "{error:?}");
    let error = koji.download("missing", 50_000, &mut sink, &|_, _| {}).await.unwrap_err();
    assert!(matches!(error, KojiError::Status { status: 404, .. }), "{error}");
    for outside in ["../etc/passwd", "", "work/../../x"] {
        let error = koji.download(outside, 50_000, &mut sink, &|_, _| {}).await.unwrap_err();
        assert!(matches!(error, KojiError::NoTop { .. }) && error.kind() == ErrorKind::Policy, "{error}");
    }
    let (url, seen) = file_server(content(100_000), 0, true);
    let error = client_of(&url, quick()).download("x", 1 << 20, &mut sink, &|_, _| {}).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Remote);
    assert_eq!(seen.lock().unwrap().len(), 5, "it is not tried for ever");
}

/// Takes blocks and forgets them.
fn forgetful_hub() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut taken = 0;
        for mut stream in listener.incoming().flatten() {
            let mut reader = std::io::BufReader::new(stream.try_clone().unwrap());
            let Some((path, headers)) = support::read_head(&mut reader) else { continue };
            let (mut left, mut sum) = (headers["content-length"].parse::<usize>().unwrap(), adler2::Adler32::new());
            let (length, mut piece) = (left, vec![0; 1 << 16]);
            while left > 0 {
                let read = reader.read(&mut piece[..left.min(1 << 16)]).unwrap();
                sum.write_slice(&piece[..read]);
                left -= read;
            }
            let is_block = path.contains("offset=");
            taken += if is_block { length as i64 } else { 0 };
            let answer = if is_block {
                let digest = format!("{:08x}", sum.checksum());
                Value::members([("size", (length as i64).into()), ("hexdigest", digest.into())])
            } else {
                Value::members([("size", taken.into())])
            };
            let body = encode_response(&answer);
            let head = format!("HTTP/1.1 200 X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all((head + &body).as_bytes());
        }
    });
    format!("http://{address}/kojihub")
}

/// The most memory that this process has had, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn a_large_upload_takes_the_memory_of_a_block() {
    let koji = client_of(&forgetful_hub(), Settings { block: 10_485_760, ..quick() });
    let mut reader = tokio::io::repeat(7).take(200 << 20);
    let before = peak();
    let done = koji.upload_from(&mut reader, PLACE, &|_, _| {}).await.unwrap();
    assert_eq!(done.size, 200 << 20);
    let grown = (peak() - before) >> 10;
    assert!(grown < 100, "{grown} MiB for an upload of 200 MiB");
}
