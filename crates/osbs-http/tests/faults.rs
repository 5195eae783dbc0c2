//! The transport against servers that fail in every way they know.

mod fake;

use fake::{Fake, Reply};
use osbs_http::{
    AddressRule, HttpError, Method, Request, RequestBody, RetryPolicy, Timeouts, Transport, TransportConfig, Url,
};
use osbs_types::{ErrorKind, Secret};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn config() -> TransportConfig {
    TransportConfig {
        retry: RetryPolicy { base_delay: Duration::from_millis(5), max_delay: Duration::from_secs(2), retries: 3 },
        timeouts: Timeouts { idle: Duration::from_millis(400), ..Timeouts::default() },
        ..TransportConfig::default()
    }
}

fn transport() -> Transport {
    Transport::new(config())
}

fn get(url: &str) -> Request {
    Request::get(Url::parse(url).expect("a URL")).allow_plain_http(true).addresses(AddressRule::Any)
}

#[track_caller]
fn check_attempts(failing: Reply, failures: usize, expected_status: u16, expected_requests: usize) {
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let fake = Fake::start(move |_, before| if before < failures { failing.clone() } else { Reply::ok("fine") });
    let response = runtime.block_on(transport().send(&get(&fake.url("/x")))).expect("an answer");
    assert_eq!((response.status().as_u16(), fake.log().len()), (expected_status, expected_requests));
    assert_eq!(response.attempts() as usize, expected_requests);
}

#[test]
fn what_may_pass_is_tried_again() {
    for status in [408, 429, 500, 502, 503, 504] {
        check_attempts(Reply::new(status), 2, 200, 3);
    }
    check_attempts(Reply::hang_up(), 3, 200, 4);
    check_attempts(Reply::new(503), 9, 503, 4);
    check_attempts(Reply::new(404), 9, 404, 1);
    check_attempts(Reply::new(401), 9, 401, 1);
    check_attempts(Reply::new(501), 9, 501, 1);
}

#[tokio::test]
async fn the_server_says_when() {
    let fake = Fake::start(
        |_, before| {
            if before == 0 { Reply::new(429).header("Retry-After", "1") } else { Reply::ok("fine") }
        },
    );
    let told = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&told);
    let transport =
        Transport::with_retry_observer(config(), move |retried| seen.lock().expect("seen").push(retried.clone()));
    let start = Instant::now();
    let response = transport.send(&get(&fake.url("/x?token=hush"))).await.expect("an answer");
    assert_eq!(response.status(), 200);
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
    let told = told.lock().expect("told");
    assert_eq!((told.len(), told[0].attempt, told[0].delay), (1, 1, Duration::from_secs(1)));
    assert!(!format!("{told:?}").contains("hush"));
}

#[tokio::test]
async fn nobody_there() {
    let gone = Fake::start(|_, _| Reply::ok(""));
    let url = gone.url("/x");
    drop(gone);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let error = transport().send(&get(&url)).await.expect_err("nobody");
    assert!(matches!(error, HttpError::Connect { attempts: 4, .. }), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::Remote);
}

#[tokio::test]
async fn credentials_stay_at_home() {
    let other = Fake::start(|_, _| Reply::ok("blob"));
    let elsewhere = other.url("/blob?sig=1");
    let home = Fake::start(move |asked, _| match asked.target.as_str() {
        "/away" => Reply::new(307).header("Location", elsewhere.clone()),
        "/near" => Reply::new(302).header("Location", "/here"),
        _ => Reply::ok("here"),
    });
    let login = || Some(Secret::new("Basic c2VjcmV0"));
    let away = transport().send(&get(&home.url("/away")).authorization(login())).await.expect("an answer");
    assert_eq!(away.bytes(100).await.expect("body"), "blob");
    assert_eq!(home.log()[0].header("authorization"), Some("Basic c2VjcmV0"));
    assert_eq!(other.log()[0].header("authorization"), None);
    transport().send(&get(&home.url("/near")).authorization(login())).await.expect("an answer");
    assert_eq!(home.log()[2].header("authorization"), Some("Basic c2VjcmV0"));
}

#[tokio::test]
async fn user_information_never_becomes_a_header() {
    let other = Fake::start(|_, _| Reply::ok(""));
    let location = format!("http://evil:pw@{}/", other.host());
    let home = Fake::start(move |_, _| Reply::new(302).header("Location", location.clone()));
    let url = format!("http://me:hunter2@{}/", home.host());
    transport().send(&get(&url)).await.expect("an answer");
    assert_eq!(home.log()[0].header("authorization"), None);
    assert_eq!(other.log()[0].header("authorization"), None);
}

#[tokio::test]
async fn loops_and_bad_redirects_end() {
    let fake = Fake::start(|asked, _| match asked.target.as_str() {
        "/loop" => Reply::new(302).header("Location", "/loop"),
        _ => Reply::new(302).header("Location", "file:///etc/passwd"),
    });
    let error = transport().send(&get(&fake.url("/loop"))).await.expect_err("a loop");
    assert!(matches!(error, HttpError::TooManyRedirects { limit: 10, .. }), "{error:?}");
    let error = transport().send(&get(&fake.url("/file"))).await.expect_err("a file");
    assert!(matches!(error, HttpError::BadRedirect { .. } | HttpError::Scheme { .. }), "{error:?}");
}

#[tokio::test]
async fn addresses_are_judged_on_every_hop() {
    let fake = Fake::start(|asked, _| match asked.target.as_str() {
        "/meta" => Reply::new(302).header("Location", "http://169.254.169.254/latest"),
        "/mapped" => Reply::new(302).header("Location", "http://[::ffff:169.254.169.254]/latest"),
        _ => Reply::ok("inside"),
    });
    let strict = |url: &str| get(url).addresses(AddressRule::PublicOnly);
    let port = fake.host().rsplit_once(':').map(|(_, port)| port.to_owned()).expect("a port");
    for url in [fake.url("/x"), format!("http://localhost:{port}/x")] {
        let error = transport().send(&strict(&url)).await.expect_err("inside");
        assert!(matches!(error, HttpError::AddressDenied { .. }), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::Policy);
    }
    assert!(fake.log().is_empty());
    for path in ["/meta", "/mapped"] {
        let error = transport().send(&get(&fake.url(path))).await.expect_err("metadata service");
        assert!(matches!(error, HttpError::AddressDenied { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn plain_http_only_when_allowed() {
    let fake = Fake::start(|_, _| Reply::ok(""));
    let request = Request::get(Url::parse(&fake.url("/")).expect("a URL")).addresses(AddressRule::Any);
    let error = transport().send(&request).await.expect_err("plain");
    assert!(matches!(error, HttpError::PlainHttp { .. }), "{error:?}");
    assert!(fake.log().is_empty());
    let https = Url::parse(&fake.url("/").replace("http:", "https:")).expect("a URL");
    let error = transport().send(&Request::get(https).addresses(AddressRule::Any)).await.expect_err("no TLS");
    assert!(error.is_unreachable_over_tls(), "{error:?}");
}

#[tokio::test]
async fn bodies_are_bounded_and_cuts_are_seen() {
    let fake = Fake::start(|asked, _| match asked.target.as_str() {
        "/cut" => Reply::ok(vec![7; 1000]).cut_at(300),
        _ => Reply::ok(vec![7; 1000]),
    });
    let fetch = async |path: &str| transport().send(&get(&fake.url(path))).await.expect("a head");
    assert_eq!(fetch("/").await.bytes(1000).await.expect("fits").len(), 1000);
    let error = fetch("/").await.bytes(999).await.expect_err("too long");
    assert!(matches!(error, HttpError::TooLarge { limit: 999, .. }), "{error:?}");
    let error = fetch("/cut").await.bytes(5000).await.expect_err("cut");
    assert!(matches!(error, HttpError::Interrupted { received: 300, .. }), "{error:?}");
}

#[tokio::test]
async fn silence_ends() {
    let fake = Fake::start(|_, before| {
        let delay = if before == 0 { Duration::from_secs(3) } else { Duration::ZERO };
        Reply::ok("late").delay(delay)
    });
    let start = Instant::now();
    let response = transport().send(&get(&fake.url("/"))).await.expect("the second time");
    assert_eq!(response.attempts(), 2);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    let slow = Fake::start(|_, _| Reply::ok("").delay(Duration::from_secs(3)));
    let request = get(&slow.url("/")).deadline(Duration::from_millis(200));
    let error = transport().send(&request).await.expect_err("deadline");
    assert!(matches!(error, HttpError::Timeout { .. }), "{error:?}");
}

#[tokio::test]
async fn a_body_is_made_again_for_each_attempt() {
    let fake = Fake::start(|_, before| if before < 2 { Reply::new(500) } else { Reply::new(201) });
    let made = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&made);
    let body = RequestBody::replayable(Some(6), move || {
        counter.fetch_add(1, Ordering::SeqCst);
        Ok(Box::pin(futures_util::stream::iter([Ok("abc".into()), Ok("def".into())])))
    });
    let url = Url::parse(&fake.url("/")).expect("a URL");
    let request = Request::new(Method::PUT, url.clone()).allow_plain_http(true).addresses(AddressRule::Any);
    let response = transport().send(&request.clone().body(body)).await.expect("an answer");
    assert_eq!((response.status().as_u16(), made.load(Ordering::SeqCst)), (201, 3));
    let log = fake.log();
    assert_eq!((log[2].header("content-length"), log[2].body.as_slice()), (Some("6"), b"abcdef".as_slice()));

    let busy = Fake::start(|_, _| Reply::new(500));
    let request = Request::new(Method::PUT, Url::parse(&busy.url("/")).expect("a URL"));
    let once = RequestBody::once(None, Box::pin(futures_util::stream::iter([Ok("abc".into())])));
    let request = request.allow_plain_http(true).addresses(AddressRule::Any).body(once);
    assert_eq!(transport().send(&request).await.expect("an answer").status(), 500);
    assert_eq!(busy.log().len(), 1);
}

#[tokio::test]
async fn our_own_body_may_be_slow_or_fail() {
    let fake = Fake::start(|_, _| Reply::new(201));
    let url = Url::parse(&fake.url("/")).expect("a URL");
    let put =
        |body| Request::new(Method::PUT, url.clone()).allow_plain_http(true).addresses(AddressRule::Any).body(body);
    // Longer than the idle limit, but it is not the server that is silent.
    let slow = futures_util::stream::unfold(0, |n| async move {
        tokio::time::sleep(Duration::from_millis(600)).await;
        (n < 2).then(|| (Ok("x".into()), n + 1))
    });
    let response = transport().send(&put(RequestBody::once(None, Box::pin(slow)))).await.expect("an answer");
    assert_eq!((response.status().as_u16(), fake.log()[0].body.as_slice()), (201, b"xx".as_slice()));

    // A registry that thinks before it commits a large blob is not silent either.
    let thinking = Fake::start(|_, _| Reply::new(201).delay(Duration::from_millis(900)));
    let body = RequestBody::replayable(None, || Ok(Box::pin(futures_util::stream::iter([Ok("abc".into())]))));
    let request = Request::new(Method::PUT, Url::parse(&thinking.url("/")).expect("a URL")).body(body);
    let request = request.allow_plain_http(true).addresses(AddressRule::Any);
    assert_eq!(transport().send(&request).await.expect("an answer").attempts(), 1);

    let failing = RequestBody::replayable(None, || {
        Ok(Box::pin(futures_util::stream::iter([Ok("abc".into()), Err(io::Error::other("disk on fire"))])))
    });
    let error = transport().send(&put(failing)).await.expect_err("no body");
    let HttpError::RequestBody { source, .. } = &error else { panic!("{error:?}") };
    assert_eq!((source.to_string().as_str(), error.kind()), ("disk on fire", ErrorKind::Resource));
}

#[tokio::test]
async fn error_pages_do_not_show_what_we_sent() {
    let fake =
        Fake::start(|asked, _| Reply::new(403).body(format!("no: {}\n", asked.header("authorization").unwrap_or(""))));
    let request = get(&fake.url("/")).authorization(Some(Secret::new("Bearer hunter2hunter2")));
    let response = transport().send(&request).await.expect("an answer");
    assert!(!format!("{request:?} {response:?}").contains("hunter2"));
    assert_eq!(response.error_text(200).await, "no: ***");
}
