//! Files by URL, from servers that lie, break off, and send elsewhere. One test for each way out of the address rules.

mod support;

use osbs_builder::Fetcher as _;
use osbs_types::{ErrorKind, Failure};
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write as _};
use std::time::{Duration, Instant};
use support::fake::{Asked, Fake, Reply};
use support::{ALLOWED, Bench, INSIDE, Names};

type Fetched = Result<(Vec<u8>, Option<i64>), Box<Failure>>;

fn fetch(bench: &Bench, url: &str) -> Fetched {
    let path = bench.path("download");
    let mut file = File::options().create(true).truncate(true).read(true).write(true).open(&path).expect("a file");
    // What an earlier attempt left must not shine through.
    file.write_all(&[b'x'; 100]).expect("written");
    file.seek(SeekFrom::Start(7)).expect("anywhere");
    let time = bench.fetcher().fetch(url, &mut file)?;
    Ok((fs::read(&path).expect("read"), time))
}

fn serve(handler: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Fake {
    Fake::start_at(ALLOWED, handler)
}

/// A server inside: it must never be asked.
fn canary() -> Fake {
    Fake::start_at(INSIDE, |_, _| Reply::ok("inner secret"))
}

#[track_caller]
fn check_denied(bench: &Bench, url: &str, address: &str) {
    let failure = fetch(bench, url).expect_err(url);
    assert_eq!(failure.kind, ErrorKind::Policy, "{url}: {failure}");
    assert!(failure.to_string().contains(address), "{url}: {failure}");
    assert_eq!(failure.hint.as_deref(), Some("ask the administrator"), "{url}");
}

#[test]
fn a_file_with_its_time() {
    let body: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    let served = body.clone();
    let fake = serve(move |asked, _| match asked.target.as_str() {
        "/dated" => Reply::ok(served.clone()).header("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        _ => Reply::ok("short"),
    });
    let bench = Bench::new();
    assert_eq!(fetch(&bench, &fake.url("/dated")), Ok((body, Some(784_111_777))));
    assert_eq!(fetch(&bench, &fake.url("/undated")), Ok((b"short".to_vec(), None)));
}

#[test]
fn a_cut_is_gone_on_with() {
    let body: Vec<u8> = (0..500_000_u32).map(|n| (n % 249) as u8).collect();
    let served = body.clone();
    let fake = serve(move |asked, before| {
        let reply = Reply::ranged(asked, &served).header("ETag", "\"one\"");
        if before < 3 { reply.cut_at(100_000) } else { reply }
    });
    assert_eq!(fetch(&Bench::new(), &fake.url("/x")).expect("fetched").0, body);
    let starts: Vec<_> = fake.log().iter().map(Asked::range_start).collect();
    assert_eq!(starts, [None, Some(100_000), Some(200_000), Some(300_000)]);
    assert_eq!(fake.log()[1].header("if-range"), Some("\"one\""));
    assert_eq!(fake.log()[0].header("accept-encoding"), Some("identity"));
}

#[test]
fn what_changed_meanwhile_starts_again() {
    for tag in ["\"strong\"", "W/\"weak\"", ""] {
        let fake = serve(move |_, before| {
            let reply = if tag.is_empty() { Reply::new(200) } else { Reply::new(200).header("ETag", tag) };
            if before == 0 { reply.body(vec![b'a'; 90_000]).cut_at(50_000) } else { reply.body(vec![b'b'; 60_000]) }
        });
        assert_eq!(fetch(&Bench::new(), &fake.url("/x")).expect("fetched").0, vec![b'b'; 60_000], "{tag}");
    }
    // Shorter than what we have.
    let fake = serve(|asked, before| match (before, asked.range_start()) {
        (0, _) => Reply::ok(vec![b'a'; 90_000]).header("ETag", "\"x\"").cut_at(50_000),
        (_, Some(_)) => Reply::new(416),
        (_, None) => Reply::ok("new"),
    });
    assert_eq!(fetch(&Bench::new(), &fake.url("/x")).expect("fetched").0, b"new");
    // Another part than the one asked for.
    let fake = serve(|_, before| {
        let reply = Reply::new(if before == 0 { 200 } else { 206 }).header("ETag", "\"x\"").body(vec![b'a'; 90_000]);
        if before == 0 { reply.cut_at(50_000) } else { reply.header("Content-Range", "bytes 0-89999/90000") }
    });
    assert_eq!(fetch(&Bench::new(), &fake.url("/x")).expect_err("a lie").kind, ErrorKind::Remote);
}

#[test]
fn a_server_that_always_breaks_off_is_given_up() {
    let fake = serve(|_, _| Reply::ok(vec![b'a'; 1000]).cut_at(10));
    let failure = fetch(&Bench::new(), &fake.url("/x")).expect_err("cut");
    assert_eq!((failure.kind, fake.log().len()), (ErrorKind::Remote, 4), "{failure}");
}

#[track_caller]
fn check_status(status: u16, kind: ErrorKind, requests: usize) {
    let fake = serve(move |_, _| Reply::new(status));
    let failure = fetch(&Bench::new(), &fake.url("/x?token=hush")).expect_err("refused");
    assert_eq!((failure.kind, fake.log().len()), (kind, requests), "{status}: {failure}");
    assert!(failure.to_string().contains(&status.to_string()) && !failure.to_string().contains("hush"), "{failure}");
}

#[test]
fn statuses() {
    check_status(404, ErrorKind::User, 1);
    check_status(403, ErrorKind::User, 1);
    check_status(204, ErrorKind::User, 1);
    check_status(503, ErrorKind::Remote, 4);
    check_status(429, ErrorKind::Remote, 4);
    let fake = serve(|_, before| if before < 2 { Reply::new(502) } else { Reply::ok("fine") });
    assert_eq!(fetch(&Bench::new(), &fake.url("/x")).expect("in the end").0, b"fine");
}

#[test]
fn sizes_are_bounded() {
    let mut bench = Bench::new();
    bench.limits.bytes = 10_000;
    // Told beforehand: nothing is read; not told: read up to the limit; lied about: the same.
    let fake = serve(|asked, _| match asked.target.as_str() {
        "/told" => Reply::ok(vec![0; 10_001]),
        "/untold" => Reply::ok(vec![0; 3_000_000]).header("Content-Length", "9000").header("Connection", "close"),
        _ => Reply::ok(vec![0; 10_000]),
    });
    let failure = fetch(&bench, &fake.url("/told")).expect_err("too large");
    assert!(failure.kind == ErrorKind::Policy && failure.to_string().contains("10000 bytes"), "{failure}");
    assert_eq!(fetch(&bench, &fake.url("/untold")).map(|found| found.0.len()), Ok(9000));
    assert_eq!(fetch(&bench, &fake.url("/fits")).map(|found| found.0.len()), Ok(10_000));
}

#[test]
fn times_are_bounded_and_cancelling_ends_at_once() {
    let fake = serve(|_, _| Reply::ok("late").delay(Duration::from_secs(30)));
    let mut bench = Bench::new();
    bench.limits.time = Duration::from_millis(300);
    let start = Instant::now();
    let failure = fetch(&bench, &fake.url("/x")).expect_err("too slow");
    assert!(failure.kind == ErrorKind::Policy && start.elapsed() < Duration::from_secs(2), "{failure}");
    let bench = Bench::new();
    let later = bench.cancel.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        later.cancel();
    });
    let start = Instant::now();
    let failure = fetch(&bench, &fake.url("/x")).expect_err("cancelled");
    assert!(failure.kind == ErrorKind::Cancelled && start.elapsed() < Duration::from_secs(2), "{failure}");
}

#[test]
fn inner_addresses_are_denied_however_they_are_written() {
    let canary = canary();
    let port = canary.host().rsplit_once(':').map(|(_, port)| port.to_owned()).expect("a port");
    let bench = Bench::new();
    for host in ["127.0.0.1", "0x7f.1", "2130706433", "127.1", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "017700000001"]
    {
        check_denied(&bench, &format!("http://{host}:{port}/x"), "127.0.0.1");
    }
    for (host, address) in [
        // Which of the two loopback addresses it is, the machine decides.
        ("localhost", "may not reach"),
        ("[::1]", "::1"),
        ("0.0.0.0", "0.0.0.0"),
        ("0", "0.0.0.0"),
        ("[::]", "::"),
        ("169.254.169.254", "169.254.169.254"),
        ("[::ffff:a9fe:a9fe]", "::ffff:169.254.169.254"),
        ("[64:ff9b::a9fe:a9fe]", "64:ff9b::a9fe:a9fe"),
        ("[fd00:ec2::254]", "fd00:ec2::254"),
        ("10.0.0.1", "10.0.0.1"),
        ("192.168.0.1", "192.168.0.1"),
        ("172.16.5.4", "172.16.5.4"),
        ("100.64.0.1", "100.64.0.1"),
        ("224.0.0.1", "224.0.0.1"),
        ("[ff02::1]", "ff02::1"),
        ("[fe80::1]", "fe80::1"),
    ] {
        check_denied(&bench, &format!("http://{host}:{port}/x"), address);
    }
    assert_eq!(canary.lines(), [""; 0]);
}

#[test]
fn a_redirect_to_an_inner_address_is_denied() {
    let canary = canary();
    let inner = canary.url("/latest/meta-data/");
    let fake = serve(move |asked, _| {
        let location = match asked.target.as_str() {
            "/metadata" => "http://169.254.169.254/latest/meta-data/",
            "/inner" => inner.as_str(),
            "/mapped" => "http://[::ffff:169.254.169.254]/",
            "/again" => "/metadata",
            _ => "//169.254.169.254/x",
        };
        Reply::new(302).header("Location", location)
    });
    let bench = Bench::new();
    check_denied(&bench, &fake.url("/metadata"), "169.254.169.254");
    check_denied(&bench, &fake.url("/inner"), INSIDE);
    check_denied(&bench, &fake.url("/mapped"), "169.254.169.254");
    check_denied(&bench, &fake.url("/again"), "169.254.169.254");
    check_denied(&bench, &fake.url("/relative"), "169.254.169.254");
    assert_eq!(canary.lines(), [""; 0]);
}

#[test]
fn redirects_are_bounded_and_stay_on_the_web() {
    let fake = serve(|asked, _| {
        let step: u32 = asked.target[1..].parse().unwrap_or(0);
        match asked.target.as_str() {
            "/file" => Reply::new(302).header("Location", "file:///etc/passwd"),
            "/loop" => Reply::new(302).header("Location", "/loop"),
            _ if step < 5 => Reply::new(307).header("Location", format!("/{}", step + 1)),
            _ => Reply::ok("there"),
        }
    });
    let bench = Bench::new();
    assert_eq!(fetch(&bench, &fake.url("/1")).expect("five are fine").0, b"there");
    let failure = fetch(&bench, &fake.url("/loop")).expect_err("a loop");
    assert!(failure.to_string().contains("more than 10 times"), "{failure}");
    fetch(&bench, &fake.url("/file")).expect_err("a file");
}

#[test]
fn a_name_with_an_inner_address_among_others_is_denied() {
    let canary = canary();
    let port = canary.host().rsplit_once(':').map(|(_, port)| port.to_owned()).expect("a port");
    let names = Names::default();
    names.add("one.test", &[&[INSIDE]]);
    names.add("mixed.test", &[&["8.8.8.8", INSIDE]]);
    names.add("mapped.test", &[&["::ffff:127.0.0.1"]]);
    names.add("meta.test", &[&["169.254.169.254"]]);
    let bench = Bench { names: Some(names), ..Bench::new() };
    for host in ["one.test", "mixed.test", "mapped.test", "meta.test"] {
        check_denied(&bench, &format!("http://{host}:{port}/x"), host);
    }
    assert_eq!(canary.lines(), [""; 0]);
}

/// DNS rebinding: the name leads to an allowed address when it is judged, and inside when it is asked for again.
#[test]
fn the_address_that_was_judged_is_the_one_connected_to() {
    let honest = serve(|_, _| Reply::ok("honest"));
    let port = honest.host().rsplit_once(':').map(|(_, port)| port.to_owned()).expect("a port");
    let names = Names::default();
    names.add("rebind.test", &[&[ALLOWED], &[INSIDE]]);
    let bench = Bench { names: Some(names), ..Bench::new() };
    let url = format!("http://rebind.test:{port}/x");
    assert_eq!(fetch(&bench, &url).expect("judged and used").0, b"honest");
    check_denied(&bench, &url, INSIDE);
}

#[test]
fn what_the_site_allows_is_reached() {
    let fake = Fake::start_at("127.0.0.3", |_, _| Reply::ok("fine"));
    let port = fake.host().rsplit_once(':').map(|(_, port)| port.to_owned()).expect("a port");
    let names = Names::default();
    names.add("artifacts.test", &[&["127.0.0.3"]]);
    names.add("other.test", &[&["127.0.0.3"]]);
    let bench = Bench { names: Some(names), allow: vec!["artifacts.test".into()], ..Bench::new() };
    assert_eq!(fetch(&bench, &format!("http://artifacts.test:{port}/x")).expect("allowed").0, b"fine");
    check_denied(&bench, &format!("http://other.test:{port}/x"), "other.test");
    check_denied(&bench, &fake.url("/x"), "127.0.0.3");
    let bench = Bench { allow: vec!["127.0.0.0/29".into()], ..Bench::new() };
    assert_eq!(fetch(&bench, &fake.url("/x")).expect("allowed").0, b"fine");
}

#[test]
fn a_login_goes_to_its_own_host_only_and_is_never_shown() {
    let thief = Fake::start_at(ALLOWED, |_, _| Reply::ok("taken"));
    let elsewhere = thief.url("/x");
    let fake = serve(move |asked, _| match asked.target.as_str() {
        "/away" => Reply::new(302).header("Location", elsewhere.clone()),
        "/near" => Reply::new(302).header("Location", "/here"),
        "/bad" => Reply::new(401).header("WWW-Authenticate", "Basic realm=\"x\""),
        _ => Reply::ok("here"),
    });
    let bench = Bench::new();
    let url = |path: &str| format!("http://me:hunter2@{}{path}", fake.host());
    for path in ["/here", "/near", "/away"] {
        fetch(&bench, &url(path)).expect(path);
    }
    assert!(fake.log().iter().all(|asked| asked.header("authorization") == Some("Basic bWU6aHVudGVyMg==")));
    assert_eq!(thief.log()[0].header("authorization"), None);
    let failure = fetch(&bench, &url("/bad")).expect_err("refused");
    let text = format!("{failure} {failure:?}");
    assert!(!text.contains("hunter2") && !text.contains("bWU6"), "{text}");
    assert!(failure.hint.as_deref().is_some_and(|hint| hint.contains("login")), "{failure:?}");
}

#[test]
fn only_http_and_https() {
    let bench = Bench::new();
    for url in ["file:///etc/passwd", "ext::sh -c id", "ftp://h/x", "gopher://h/x", "--upload-pack=x", "/etc/passwd"] {
        let failure = fetch(&bench, url).expect_err(url);
        assert_eq!(failure.kind, ErrorKind::User, "{url}: {failure}");
    }
}

#[test]
fn a_host_that_is_not_known_is_told() {
    let bench = Bench { names: Some(Names::default()), retries: 1, ..Bench::new() };
    let failure = fetch(&bench, "http://nowhere.test/x").expect_err("nowhere");
    assert!(failure.kind == ErrorKind::Remote && failure.to_string().contains("nowhere.test"), "{failure}");
}
