//! Uploads that no import takes: removed by who owns them, or by the hub when they have become old; never while they are
//! being written to.

use crate::fixture::*;
use crate::harness::{Client, PATIENCE, TestHub, add_user};
use osbs_koji::Value;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

fn work(hub: &TestHub, path: &str) -> PathBuf {
    hub.folder.path().join("koji/work").join(path)
}

fn put(client: &Client<'_>, folder: &str, name: &str) {
    let folder = folder.replace('/', "%2F");
    raw_upload(client, &format!("filename={name}&filepath={folder}&offset=0"), b"bytes").unwrap();
}

fn remove(client: &Client<'_>, folder: &str) -> Result<Value, i64> {
    let arguments = osbs_koji::Arguments::of([folder.into()]);
    client.call("osbs.removeUploads", arguments).map_err(|fault| fault.code)
}

/// An upload of ten bytes of which three have come; the hub has the file open.
fn begin_upload(client: &Client<'_>, folder: &str, file: &Path) -> TcpStream {
    let (number, id) = (client.number.replace(client.number.get() + 1), client.id);
    let mut stream = TcpStream::connect(client.hub.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let query = format!("filename=slow&filepath={}&offset=0", folder.replace('/', "%2F"));
    let key = &client.key;
    let head = format!(
        "POST /kojihub?{query} HTTP/1.1\r\nHost: hub\r\nConnection: close\r\nKoji-Session-Id: {id}\r\n\
         Koji-Session-Key: {key}\r\nKoji-Session-Callnum: {number}\r\nContent-Type: application/octet-stream\r\n\
         Content-Length: 10\r\n\r\nabc"
    );
    stream.write_all(head.as_bytes()).unwrap();
    wait_until("the hub has begun to write", || file.exists());
    stream
}

fn wait_until(what: &str, mut check: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < end, "timed out: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Everything in the folder was last written then.
fn set_time(folder: &Path, time: SystemTime) {
    for entry in std::fs::read_dir(folder).unwrap() {
        std::fs::File::open(entry.unwrap().path()).unwrap().set_modified(time).unwrap();
    }
    std::fs::File::open(folder).unwrap().set_modified(time).unwrap();
}

#[test]
fn who_owns_uploads_removes_them() {
    let hub = hub(false);
    let (mwells, reactor) = (hub.login("mwells"), hub.login("reactor"));
    put(&mwells, "up/1.a", "a");
    put(&mwells, "up/1.a/below", "b");
    put(&reactor, "up/1.a/theirs", "c");
    put(&mwells, "up/1.ab", "d");
    assert_eq!(remove(&reactor, "up/1.a"), Err(1000), "it is somebody else's");
    assert_eq!(remove(&mwells, "tasks/1/1"), Err(1000));
    assert_eq!(remove(&mwells, "../packages"), Err(1000));
    assert_eq!(remove(&mwells, ""), Err(1000));
    assert_eq!(remove(&mwells, "up/2.a"), Ok(false.into()), "there is none");
    assert_eq!(remove(&mwells, "up/1.a"), Ok(true.into()));
    assert!(!work(&hub, "up/1.a/a").exists() && !work(&hub, "up/1.a/below").exists());
    assert!(work(&hub, "up/1.a/theirs/c").exists() && work(&hub, "up/1.ab/d").exists());
    assert_eq!(remove(&reactor, "up/1.a/theirs"), Ok(true.into()));
    assert!(!work(&hub, "up/1.a").exists(), "folders that are empty go with it");
    // The name is free again.
    put(&reactor, "up/1.a", "a");
    assert_eq!(remove(&mwells, "up/1.a"), Err(1000));
}

#[test]
fn what_is_being_written_is_not_removed() {
    let hub = hub(false);
    let mwells = hub.login("mwells");
    put(&mwells, "up", "done");
    let upload = begin_upload(&mwells, "up", &work(&hub, "up/slow"));
    wait_until("the upload is known", || remove(&mwells, "up") == Err(1001));
    assert!(work(&hub, "up/done").exists() && work(&hub, "up/slow").exists());
    drop(upload);
    wait_until("the hub sees that it was cut off", || remove(&mwells, "up") == Ok(true.into()));
    assert!(!work(&hub, "up").exists());
}

#[test]
fn an_imported_build_keeps_its_files() {
    let hub = hub(false);
    let reactor = hub.login("reactor");
    import(&reactor, "1");
    let directory = "koji-upload/1.AbCdEfGh";
    assert!(work(&hub, directory).join(LOG).is_symlink());
    assert_eq!(remove(&reactor, directory), Ok(true.into()));
    assert!(!work(&hub, "koji-upload").exists());
    let kept = hub.folder.path().join("koji/packages/caddy-container/2.4/1/data/logs").join(LOG);
    assert_eq!(std::fs::read(kept).unwrap(), LOG_BYTES);
}

#[test]
fn old_uploads_go_by_themselves() {
    let hub = TestHub::start_with(|config| {
        config.settings.keep_uploads = Duration::from_secs(4);
        let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros() as i64;
        config.clock = Arc::new(now);
    });
    add_user(&hub, "mwells");
    let mwells = hub.login("mwells");
    let (long_ago, later) = (SystemTime::UNIX_EPOCH, SystemTime::now() + Duration::from_hours(1));
    put(&mwells, "koji-upload/2.new", "a");
    set_time(&work(&hub, "koji-upload/2.new"), later);
    let mut slow = begin_upload(&mwells, "koji-upload/3.slow", &work(&hub, "koji-upload/3.slow/slow"));
    wait_until("the upload is known", || remove(&mwells, "koji-upload/3.slow") == Err(1001));
    // Written to, and with the times of a file that is not: its lock is what keeps it.
    set_time(&work(&hub, "koji-upload/3.slow"), long_ago);
    put(&mwells, "koji-upload/1.old", "a");
    set_time(&work(&hub, "koji-upload/1.old"), long_ago);
    wait_until("what is old is removed", || !work(&hub, "koji-upload/1.old").exists());
    assert!(work(&hub, "koji-upload/2.new/a").exists() && work(&hub, "koji-upload/3.slow/slow").exists());
    slow.write_all(b"defghij").unwrap();
    let answer = crate::harness::Response::read(&mut slow);
    assert_eq!(answer.status, 200);
    assert_eq!(std::fs::read(work(&hub, "koji-upload/3.slow/slow")).unwrap(), b"abcdefghij");
    wait_until("it becomes old too", || !work(&hub, "koji-upload/3.slow").exists());
    assert!(work(&hub, "koji-upload/2.new/a").exists());
    let claims =
        || -> i64 { hub.database().query_row("SELECT count(*) FROM upload_folders", [], |row| row.get(0)).unwrap() };
    wait_until("whose they were is forgotten", || claims() == 1);
}
