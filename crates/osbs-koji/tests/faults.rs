//! What goes wrong between a client and a hub, over real HTTP: nothing that was done is done again, and what was not is.

#![allow(clippy::unwrap_used)]

mod support;

use osbs_http::Bytes;
use osbs_koji::{Arguments, FaultCode, Koji, KojiError, MethodCall, Place, Settings, Value, calls};
use osbs_types::{ErrorKind, Failure};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::{FakeHub, Injury, PASSWORD, Seen, client_of, quick};
use tokio_util::sync::CancellationToken;

/// What changes something, and must be done once.
const CHANGES: [&str; 3] = ["CGInitBuild", "CGImport", "tagBuild"];
const PLACE: Place<'static> = Place { directory: "koji-upload/1.A", name: "image.tar" };

fn content() -> Vec<u8> {
    (0..2500_u32).map(|at| (at % 251) as u8).collect()
}

/// What an importing build does.
async fn scenario(koji: &Koji) -> Result<(), KojiError> {
    koji.log_in().await?;
    koji.call(calls::cg_init_build("atomic-reactor", "c", "1", "2")).await?;
    koji.upload_from(&mut &content()[..], PLACE, &|_, _| {}).await?;
    koji.call(calls::cg_import(Value::Nil, PLACE.directory, None)).await?;
    koji.call(calls::tag_build("candidate", 37)).await?;
    koji.call(calls::task_finished(27)).await?;
    koji.call(calls::host::set_task_weight(27, 2.0)).await?;
    koji.log_out().await
}

const SCENARIO: [&str; 11] = [
    "login",
    "CGInitBuild",
    "rawUpload",
    "rawUpload",
    "rawUpload",
    "checkUpload",
    "CGImport",
    "tagBuild",
    "taskFinished",
    "host.setTaskWeight",
    "logout",
];

#[tokio::test]
async fn without_faults() {
    let hub = FakeHub::new(|_, _| None);
    scenario(&hub.client()).await.unwrap();
    assert_eq!(hub.methods(), SCENARIO);
    let numbers: Vec<Option<u64>> = hub.seen().iter().map(Seen::number).collect();
    assert_eq!(numbers, [None].into_iter().chain((0..10).map(Some)).collect::<Vec<_>>());
    assert_eq!(hub.state.lock().unwrap().files["koji-upload/1.A/image.tar"], content());
}

/// One injury to one request of the scenario; whether it went through, and what was done.
async fn check_injury(injury: Injury, at: usize) {
    let hub = FakeHub::new(move |number, _| (number == at).then_some(injury));
    let outcome = scenario(&hub.client()).await;
    let name = format!("{injury:?} at {} ({at})", SCENARIO[at]);
    for method in CHANGES {
        assert!(hub.done(method) <= 1, "{name}: {method} was done {} times", hub.done(method));
    }
    let after = matches!(injury, Injury::CutAfter | Injury::CutInAnswer | Injury::Status502After | Injury::PageAfter);
    if after && CHANGES.contains(&SCENARIO[at]) {
        // Its answer is lost for ever; the hub says that it was done.
        let error = outcome.expect_err(&name);
        assert!(matches!(error, KojiError::AnswerLost { done: true, .. }), "{name}: {error}");
        assert_eq!(hub.done(SCENARIO[at]), 1, "{name}");
        return;
    }
    outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
    for method in CHANGES {
        assert_eq!(hub.done(method), 1, "{name}: {method}");
    }
    assert_eq!(hub.state.lock().unwrap().files["koji-upload/1.A/image.tar"], content(), "{name}");
}

#[tokio::test]
async fn one_fault_at_every_request() {
    use Injury::*;
    let injuries = [
        CutBefore,
        CutInRequest,
        CutAfter,
        CutInAnswer,
        Status500,
        Status502After,
        PageAfter,
        Offline,
        Locked,
        Expire,
        Close,
    ];
    for injury in injuries {
        for at in 0..SCENARIO.len() {
            check_injury(injury, at).await;
        }
    }
}

#[tokio::test]
async fn every_second_request_fails() {
    for injury in [Injury::CutBefore, Injury::Status500, Injury::Offline, Injury::CutInRequest] {
        let hub = FakeHub::new(move |number, _| (number % 2 == 0).then_some(injury));
        scenario(&hub.client()).await.unwrap_or_else(|error| panic!("{injury:?}: {error}"));
        assert!(CHANGES.iter().all(|method| hub.done(method) == 1), "{injury:?}");
    }
}

#[tokio::test]
async fn a_hub_that_does_not_count() {
    let (at, quiet) = (1, |_: usize, _: &Seen| None);
    let hub = FakeHub::with_version(false, move |number, _| (number == at).then_some(Injury::CutAfter));
    let error = scenario(&hub.client()).await.unwrap_err();
    assert!(matches!(error, KojiError::AnswerLost { done: false, .. }), "{error}");
    assert_eq!(hub.methods(), ["login", "CGInitBuild"], "it is not sent again");
    let hub = FakeHub::with_version(false, quiet);
    scenario(&hub.client()).await.unwrap();
}

#[tokio::test]
async fn sessions_that_cannot_be_made_again() {
    // Of a task: login, subsession, the call, the look whether it lives.
    let hub = FakeHub::new(|number, _| (number == 2).then_some(Injury::Close));
    let koji = hub.client();
    koji.log_in().await.unwrap();
    let task = koji.subsession().await.unwrap();
    let error = task.call(calls::host::set_task_weight(26, 2.0)).await.unwrap_err();
    assert!(matches!(error, KojiError::SessionLost { .. }) && error.kind() == ErrorKind::Remote, "{error}");
    // The only one of its user.
    let hub = FakeHub::new(|number, _| (number == 2).then_some(Injury::Close));
    let koji = hub.client();
    koji.log_in().await.unwrap();
    koji.exclusive_session(true).await.unwrap();
    let error = koji.call(calls::host::set_task_weight(26, 2.0)).await.unwrap_err();
    assert!(matches!(error, KojiError::SessionLost { .. }), "{error}");
    // The caller makes it again.
    koji.log_in().await.unwrap();
    koji.call(calls::host::set_task_weight(26, 2.0)).await.unwrap();
    // An expired one is renewed, whoever has it.
    let hub = FakeHub::new(|number, _| (number == 2).then_some(Injury::Expire));
    let koji = hub.client();
    koji.log_in().await.unwrap();
    koji.exclusive_session(true).await.unwrap();
    koji.call(calls::host::set_task_weight(26, 2.0)).await.unwrap();
    let renewal = &hub.seen()[3];
    assert_eq!((renewal.method().as_str(), renewal.number()), ("login", Some(2)), "numbers go on");
    assert_eq!(hub.seen()[4].number(), Some(3));
}

#[tokio::test]
async fn an_expired_session_after_a_lost_answer() {
    // The call is done, its answer lost, and then the session is too old: with another number the hub could not tell.
    let hub = FakeHub::new(|number, _| match number {
        1 => Some(Injury::CutAfter),
        2 => Some(Injury::Expire),
        _ => None,
    });
    let error = scenario(&hub.client()).await.unwrap_err();
    assert!(matches!(error, KojiError::AnswerLost { done: false, .. }), "{error}");
    assert_eq!(hub.done("CGInitBuild"), 1);
}

#[tokio::test]
async fn a_fault_of_the_call_is_not_one_of_the_session() {
    let hub = FakeHub::new(|_, _| None);
    let koji = hub.client();
    koji.log_in().await.unwrap();
    let error = koji.call(MethodCall::raw("forbidden", Arguments::none())).await.unwrap_err();
    assert!(error.is(FaultCode::AuthError), "{error}");
    assert_eq!(hub.methods(), ["login", "forbidden", "getLoggedInUser"]);
    koji.call(calls::task_finished(1)).await.unwrap();
    assert_eq!(hub.methods().last().unwrap(), "taskFinished", "the session is kept");
}

#[tokio::test]
async fn calls_of_one_session_keep_their_order() {
    let hub = FakeHub::new(|number, _| (number % 5 == 3).then_some(Injury::CutAfter));
    let koji = hub.client();
    koji.log_in().await.unwrap();
    let calls = (0..40).map(|task| {
        let koji = koji.clone();
        tokio::spawn(async move { koji.call(calls::host::close_task(task, &Value::Nil)).await })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
    assert_eq!(hub.done("host.closeTask"), 40, "each once, though answers were lost");
    let numbers: Vec<u64> = hub.seen().iter().filter_map(Seen::number).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    assert_eq!(numbers.last(), Some(&39));
}

#[tokio::test]
async fn a_call_that_was_dropped_uses_up_its_number() {
    let hub = FakeHub::new(|number, _| (number == 1).then_some(Injury::Slow));
    let koji = hub.client();
    koji.log_in().await.unwrap();
    let dropped = tokio::time::timeout(Duration::from_millis(50), koji.call(calls::tag_build("t", 1))).await;
    assert!(dropped.is_err());
    koji.call(calls::tag_build("t", 2)).await.unwrap();
    let numbers: Vec<u64> = hub.seen().iter().filter_map(Seen::number).collect();
    assert_eq!(numbers, [0, 1]);
}

#[tokio::test]
async fn cancelled() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/kojihub", silent.local_addr().unwrap());
    let token = CancellationToken::new();
    let koji = client_of(&url, quick()).cancelled_by(&token);
    let later = token.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        later.cancel();
    });
    let started = Instant::now();
    let error = koji.call(calls::task_finished(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(started.elapsed() < Duration::from_secs(30));
    // Nobody there: the wait between two attempts ends.
    drop(silent);
    let patient = Settings { base_delay: Duration::from_mins(10), max_delay: Duration::from_mins(10), ..quick() };
    let settings = Settings { patience: Duration::from_hours(2), ..patient };
    let token = CancellationToken::new();
    let koji = client_of(&url, settings).cancelled_by(&token);
    let waiting = tokio::spawn(async move { koji.call(calls::task_finished(1)).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    token.cancel();
    let ended = tokio::time::timeout(Duration::from_mins(1), waiting).await.unwrap().unwrap();
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::Cancelled);
}

#[tokio::test]
async fn a_change_on_its_way_is_heard_of_though_somebody_cancels() {
    let hub = FakeHub::new(|number, _| (number == 1).then_some(Injury::Slow));
    let token = CancellationToken::new();
    let koji = hub.client_with(Settings { grace: Duration::from_mins(1), ..quick() });
    koji.log_in().await.unwrap();
    let building = koji.cancelled_by(&token);
    let reserving = tokio::spawn(async move { building.call(calls::cg_init_build("cg", "c", "1", "2")).await });
    while hub.seen().len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    token.cancel();
    let reservation = reserving.await.unwrap().unwrap();
    assert_eq!(reservation.build_id, 37);
    // With a token of its own the session can still be cleared up.
    koji.call(calls::cg_refund_build("cg", 37, &reservation.token, osbs_koji::BuildState::Canceled)).await.unwrap();
    koji.log_out().await.unwrap();
    assert_eq!(hub.done("logout"), 1);
}

#[tokio::test]
async fn patience_ends() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    let settings = Settings {
        patience: Duration::from_millis(300),
        on_retry: Some(Arc::new(move |retried| kept.lock().unwrap().push(retried.clone()))),
        ..quick()
    };
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/kojihub", free.local_addr().unwrap());
    drop(free);
    let error = client_of(&url, settings.clone()).call(calls::get_api_version()).await.unwrap_err();
    assert!(matches!(error, KojiError::Transport { .. }) && error.kind() == ErrorKind::Remote, "{error}");
    assert!(error.to_string().starts_with("cannot call getAPIVersion at the Koji hub 127.0.0.1:"), "{error}");
    let retried = seen.lock().unwrap().clone();
    assert!(retried.len() > 2 && retried[0].attempt == 1 && retried[0].delay.is_zero(), "{retried:?}");

    let offline = FakeHub::new(|_, _| Some(Injury::Offline));
    let error = offline.client_with(settings.clone()).call(calls::get_api_version()).await.unwrap_err();
    assert!(error.is(FaultCode::ServerOffline), "{error}");
    let lost = FakeHub::new(|number, _| (number > 0).then_some(Injury::CutAfter));
    let koji = lost.client_with(settings);
    koji.log_in().await.unwrap();
    let error = koji.call(calls::tag_build("t", 1)).await.unwrap_err();
    assert!(matches!(error, KojiError::AnswerLost { .. }) && lost.done("tagBuild") == 1, "{error}");
}

#[tokio::test]
async fn a_hub_that_comes_up_late() {
    // A socket that has its port but does not listen: connections are refused.
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    let listener = TcpListener::from(socket);
    let url = format!("http://{}/kojihub", listener.local_addr().unwrap());
    let refused = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&refused);
    let on_retry = move |_: &osbs_koji::Retried| {
        counter.fetch_add(1, Ordering::SeqCst);
    };
    let koji = client_of(&url, Settings { on_retry: Some(Arc::new(on_retry)), ..quick() });
    let building = tokio::spawn(async move { scenario(&koji).await });
    while refused.load(Ordering::SeqCst) < 5 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    rustix::net::listen(&listener, 16).unwrap();
    let hub = FakeHub::on(listener, true, |_, _| None);
    building.await.unwrap().unwrap();
    assert_eq!(hub.methods(), SCENARIO);
}

/// A server that answers everything with these bytes, again and again if `endless`.
fn raw_server(bytes: Vec<u8>, endless: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut reader = std::io::BufReader::new(stream.try_clone().unwrap());
            let Some((_, headers)) = support::read_head(&mut reader) else { continue };
            let mut body = vec![0; headers.get("content-length").map_or(0, |length| length.parse().unwrap())];
            std::io::Read::read_exact(&mut reader, &mut body).unwrap();
            while stream.write_all(&bytes).is_ok() && endless {}
        }
    });
    format!("http://{address}/kojihub")
}

fn http(status: u16, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).into_bytes()
}

async fn check_answer(bytes: Vec<u8>, endless: bool, kind: ErrorKind, part: &str) {
    let settings = Settings { max_answer: 100_000, patience: Duration::from_millis(100), ..quick() };
    let koji = client_of(&raw_server(bytes, endless), settings);
    let error = koji.call(calls::get_api_version()).await.unwrap_err();
    let text = Failure::new(error.kind(), &error).to_string();
    assert!(error.kind() == kind && text.contains(part), "{part:?} is not in {text}");
    assert!(text.len() < 2500, "one screen: {text}");
}

#[tokio::test]
async fn answers_that_are_none() {
    let remote = ErrorKind::Remote;
    check_answer(http(200, ""), false, remote, "senseless answer").await;
    check_answer(http(200, "<html><body>hello"), false, remote, "senseless answer").await;
    check_answer(http(404, "not here"), false, remote, "status 404, not here").await;
    check_answer(http(413, &"x".repeat(50_000)), false, remote, "status 413").await;
    check_answer(http(302, ""), false, remote, "status 302").await;
    check_answer(http(200, &"x".repeat(200_000)), false, remote, "longer than 100000 bytes").await;
    let body = "<methodResponse><params><param><value><string>1</string></value></param></params></methodResponse>";
    check_answer(http(200, body), false, remote, "a string, not an integer").await;
    let bomb = "<!DOCTYPE x [<!ENTITY a \"b\">]><methodResponse/>";
    check_answer(http(200, bomb), false, remote, "document type").await;
    check_answer(b"HTTP/1.1 200 X\r\n\r\n".to_vec(), true, remote, "longer than 100000 bytes").await;
    let fault =
        osbs_koji::xmlrpc::encode_fault(&osbs_koji::Fault::new(FaultCode::Exception, "Traceback\n".repeat(5000)));
    check_answer(http(200, &fault), false, remote, "Exception: Traceback").await;
    let elsewhere = b"HTTP/1.1 307 X\r\nLocation: http://evil.example.com/\r\nContent-Length: 0\r\n\r\n".to_vec();
    check_answer(elsewhere, false, ErrorKind::Policy, "is not among what may be fetched").await;
}

#[tokio::test]
async fn secrets_are_not_shown() {
    let hub = FakeHub::new(|_, _| None);
    let koji = hub.client();
    koji.log_in().await.unwrap();
    let error = koji.call(MethodCall::raw("forbidden", Arguments::none())).await.unwrap_err();
    let reservation = koji.call(calls::cg_init_build("cg", "c", "1", "2")).await.unwrap();
    let call = calls::cg_import(Value::Nil, "d", Some(&reservation.token));
    let shown = format!("{error} {error:?} {koji:?} {reservation:?} {call:?}");
    for secret in [PASSWORD, "secretkey", "ffff"] {
        assert!(!shown.contains(secret), "{secret} is in {shown}");
    }
    assert!(shown.contains("no *** for you"), "{shown}");
    // A page that shows what it was sent.
    let echo = format!("you sent {PASSWORD} and {}", "f".repeat(64));
    let koji = client_of(&raw_server(http(403, &echo), false), quick());
    let login = koji.log_in().await.unwrap_err();
    assert!(login.to_string().contains("you sent *** and fff"), "{login}");
    let import = koji.call(calls::cg_import(Value::Nil, "d", Some(&reservation.token))).await.unwrap_err();
    assert!(import.to_string().contains("you sent *** and ***"), "{import}");
    // A session that cannot be read may hold a key.
    let body = "<methodResponse><params><param><value><int>1-secretkey</int></value></param></params></methodResponse>";
    let koji = client_of(&raw_server(http(200, body), false), Settings { patience: Duration::ZERO, ..quick() });
    let error = koji.log_in().await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("secretkey"), "{error:?}");
}

#[tokio::test]
async fn logins_that_are_refused() {
    let hub = FakeHub::new(|_, _| None);
    let url = format!("http://{}/kojihub", hub.address);
    let refused = |login| {
        let server = osbs_koji::Server::new(&url).unwrap();
        let koji = Koji::new(&support::transport(), server, login, quick()).unwrap();
        async move { koji.log_in().await }
    };
    let password = osbs_types::Secret::new("wrong-password");
    let error = refused(osbs_koji::Login::Password { user: "me".to_owned(), password }).await.unwrap_err();
    assert!(matches!(error, KojiError::Denied { .. }) && error.kind() == ErrorKind::Policy, "{error}");
    let mut kerberos = osbs_koji::Kerberos::new(None, None).unwrap();
    kerberos.curl = "/nonexistent/curl".into();
    let error = refused(osbs_koji::Login::Kerberos(kerberos)).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Policy && error.to_string().contains("install curl"), "{error}");
    refused(osbs_koji::Login::Anonymous).await.unwrap();
}

#[tokio::test]
async fn several_calls_at_once() {
    let hub = FakeHub::new(|_, _| None);
    let results = hub.client().multicall(&[calls::task_finished(1), calls::task_finished(2)]).await.unwrap();
    assert!(matches!(&results[0], Ok(true)));
    assert!(matches!(&results[1], Err(error) if error.is(FaultCode::GenericError)));
    let error = hub.client().multicall(&[calls::task_finished(1)]).await.unwrap_err();
    assert!(error.to_string().contains("2 results for 1 calls"), "{error}");
}

#[tokio::test]
async fn blocks_of_a_log() {
    let hub = FakeHub::new(|number, _| (number == 2).then_some(Injury::CutAfter));
    let koji = hub.client();
    koji.log_in().await.unwrap();
    let place = Place { directory: "tasks/26/26", name: "x86_64.log" };
    let mut offset = 0;
    for text in ["one\n", "two\n", "three\n"] {
        koji.upload_block(place, offset, Bytes::from(text)).await.unwrap();
        offset += text.len() as u64;
    }
    assert_eq!(hub.state.lock().unwrap().files["tasks/26/26/x86_64.log"], b"one\ntwo\nthree\n");
}
