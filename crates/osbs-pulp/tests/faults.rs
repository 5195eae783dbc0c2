//! A Pulp that lies, breaks, dawdles and refuses: every error, as a user would meet it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fake;

use fake::Fake;
use osbs_http::{RetryPolicy, Timeouts, Transport, TransportConfig};
use osbs_pulp::{Login, Pulp, PulpError, Remote, Server, TaskProgress, Wait};
use osbs_types::{ErrorKind, Failure, Secret};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const REPOSITORIES: &str = "/pulp/api/v3/repositories/container/container/";
const REPOSITORY: &str = r#"{"pulp_href": "/pulp/api/v3/repositories/container/container/1/",
    "latest_version_href": "/pulp/api/v3/repositories/container/container/1/versions/0/"}"#;

fn client_of(fake: &Fake) -> Pulp {
    let retry = RetryPolicy { retries: 0, base_delay: Duration::ZERO, max_delay: Duration::ZERO };
    let timeouts = Timeouts { idle: Duration::from_secs(2), ..Timeouts::default() };
    let transport = Transport::new(TransportConfig { retry, timeouts, ..TransportConfig::default() });
    let server = Server::new(&format!("http://{}", fake.address), false).unwrap();
    let login = Login::Password { username: "me".to_owned(), password: Secret::new("hunter2") };
    Pulp::new(transport, server, Some(&login)).unwrap()
}

fn page(results: &str) -> String {
    let count = usize::from(!results.is_empty());
    format!(r#"{{"count": {count}, "next": "http://evil.example.com/", "results": [{results}]}}"#)
}

fn silent(_: &str, _: &TaskProgress) {}

async fn repository(fake: &Fake) -> Result<(), PulpError> {
    client_of(fake).repository("ns-web").await.map(drop)
}

/// The error of looking for a repository, when that is answered like this.
async fn check_answer(status: u16, body: &str, kind: ErrorKind, parts: &[&str]) {
    let body = body.to_owned();
    let fake = Fake::new(move |_| (status, body.clone()));
    let error = repository(&fake).await.unwrap_err();
    let text = Failure::new(error.kind(), &error).to_string();
    assert_eq!(error.kind(), kind, "{text}");
    for part in parts.iter().chain(&[fake.address.as_str(), "the repository ns-web"]) {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    assert!(!text.contains("hunter2") && !text.contains("bWU6aHVudGVyMg"), "{text}");
    assert!(text.len() < 700, "one screen: {text}");
}

#[tokio::test]
async fn answers_that_are_none() {
    let (remote, policy) = (ErrorKind::Remote, ErrorKind::Policy);
    check_answer(401, r#"{"detail": "Invalid username/password."}"#, policy, &["does not let us", "Invalid user"])
        .await;
    check_answer(403, r#"{"detail": "no"}"#, policy, &["status 403"]).await;
    check_answer(404, "<!doctype html><h1>Not Found</h1>", remote, &["refused", "status 404"]).await;
    check_answer(400, r#"{"name": ["Too long."]}"#, remote, &["name: Too long."]).await;
    check_answer(500, "Basic bWU6aHVudGVyMg== was wrong", remote, &["status 500", "***"]).await;
    check_answer(503, &"x".repeat(100_000), remote, &["status 503"]).await;
    check_answer(200, "", remote, &["not the JSON expected"]).await;
    check_answer(200, "<html>", remote, &["not the JSON expected"]).await;
    check_answer(200, "[]", remote, &["not the JSON expected"]).await;
    check_answer(200, r#"{"count": "two", "results": []}"#, remote, &["not the JSON expected"]).await;
    check_answer(200, r#"{"count": 1, "results": [{"pulp_href": 7}]}"#, remote, &["not the JSON expected"]).await;
    let elsewhere = REPOSITORY.replace("/pulp/", "//evil.example.com/pulp/");
    check_answer(200, &page(&elsewhere), remote, &["not a reference"]).await;
    check_answer(200, &" ".repeat(5 << 20), remote, &["longer than"]).await;
    check_answer(302, "", remote, &["status 302"]).await;
}

#[tokio::test]
async fn nobody_there_and_nobody_answering() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let fake = Fake { address, seen: Arc::default() };
    let error = repository(&fake).await.unwrap_err();
    let text = Failure::new(error.kind(), &error).to_string();
    assert!(text.contains("no answer from") && error.kind() == ErrorKind::Remote, "{text}");
    drop(listener);
    let error = repository(&fake).await.unwrap_err();
    let text = Failure::new(error.kind(), &error).to_string();
    assert!(text.contains("cannot reach") && error.hint().contains("pulp.url"), "{text}");
}

#[tokio::test]
async fn pages_without_end() {
    let endless =
        Fake::new(|_| (200, format!(r#"{{"count": 99999999999, "results": [{}]}}"#, vec![REPOSITORY; 100].join(","))));
    let error = repository(&endless).await.unwrap_err();
    assert!(error.to_string().contains("more than 10000 objects"), "{error}");
    let asked = endless.seen();
    assert!(asked.len() <= 102 && asked[1].ends_with("name=ns-web&limit=100&offset=100"), "{asked:?}");
}

#[tokio::test]
async fn a_repository_that_another_build_made_meanwhile() {
    let made = Arc::new(Mutex::new(0));
    let fake = Fake::new(move |request| {
        let mut made = made.lock().unwrap();
        if request.starts_with("POST") {
            *made += 1;
            return (400, r#"{"name": ["This field must be unique."]}"#.to_owned());
        }
        (200, page(if *made > 0 { REPOSITORY } else { "" }))
    });
    let found = client_of(&fake).repository("ns-web").await.unwrap();
    assert_eq!(found.href.as_str(), format!("{REPOSITORIES}1/"));
}

/// The error of a synchronisation whose task is answered like this, and the requests made.
async fn sync(task: &'static str, limit: Duration, cancel: &CancellationToken) -> (PulpError, Vec<String>) {
    let fake = Fake::new(move |request| match request {
        _ if request.contains("/sync/") => (202, r#"{"task": "/pulp/api/v3/tasks/9/"}"#.to_owned()),
        _ if request.contains("/tasks/") => (200, task.to_owned()),
        _ => (200, page(REPOSITORY)),
    });
    let pulp = client_of(&fake);
    let there = pulp.repository("ns-web").await.unwrap();
    let remote = there.href.clone();
    let wait = Wait { limit, cancel, progress: &silent };
    (pulp.sync(&there, &remote, &wait).await.unwrap_err(), fake.seen())
}

#[tokio::test]
async fn tasks_that_do_not_complete() {
    let (token, long) = (CancellationToken::new(), Duration::from_mins(1));
    let check = |error: &PulpError, part: &str| {
        assert!(error.to_string().contains(part) && error.to_string().contains("tasks/9/"), "{error}");
    };
    let failed = r#"{"state": "failed", "error": {"description": "404, message='Not Found'", "traceback": "..."}}"#;
    let (error, _) = sync(failed, long, &token).await;
    check(&error, "failed to synchronise the repository ns-web: 404, message='Not Found'");
    assert!(error.hint().contains("sync_from"));
    check(&sync(r#"{"state": "canceled"}"#, long, &token).await.0, "was canceled");
    check(&sync(r#"{"state": "skipped"}"#, long, &token).await.0, "was skipped");

    let waiting = r#"{"state": "waiting"}"#;
    let (error, seen) = sync(waiting, Duration::from_millis(300), &token).await;
    check(&error, "its task is waiting");
    assert!(error.hint().contains("no worker of Pulp"), "{}", error.hint());
    assert!(seen.iter().any(|request| request == "PATCH /pulp/api/v3/tasks/9/"), "it is cancelled: {seen:?}");
    let running =
        r#"{"state": "running", "progress_reports": [{"message": "Downloading Artifacts", "done": 3, "total": 7}]}"#;
    check(&sync(running, Duration::from_millis(300), &token).await.0, "running, Downloading Artifacts 3 of 7");

    let later = token.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        later.cancel();
    });
    let (error, seen) = sync(running, long, &token).await;
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(seen.iter().any(|request| request.starts_with("PATCH")), "a cancelled build cancels its task: {seen:?}");
}

#[tokio::test]
async fn tasks_that_make_no_sense() {
    let token = CancellationToken::new();
    for task in ["{}", r#"{"state": "dancing"}"#, r#"{"state": ["completed"]}"#, "null"] {
        let (error, _) = sync(task, Duration::from_mins(1), &token).await;
        assert!(error.to_string().contains("not the JSON expected"), "{task}: {error}");
    }
    // A version of somebody else's repository is not taken for ours, and an answer without one is looked after.
    let other = r#"{"state": "completed", "created_resources": ["/pulp/api/v3/repositories/container/container/2/versions/7/"]}"#;
    let (error, seen) = sync(other, Duration::from_mins(1), &token).await;
    assert!(error.to_string().contains("not the JSON expected"), "{error}");
    assert_eq!(seen.last().unwrap(), &format!("GET {REPOSITORIES}1/"));
}

#[tokio::test]
async fn a_file_that_cannot_be_read_and_an_upload_that_breaks() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::new(|request| match request {
        "POST /pulp/api/v3/uploads/" => (201, r#"{"pulp_href": "/pulp/api/v3/uploads/5/"}"#.to_owned()),
        _ if request.starts_with("PUT") => (500, "disk full".to_owned()),
        _ => (204, String::new()),
    });
    let token = CancellationToken::new();
    let wait = Wait { limit: Duration::from_mins(1), cancel: &token, progress: &silent };
    let missing = folder.path().join("missing");
    let error = client_of(&fake).begin_upload(&missing, "a").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Resource);
    assert!(error.to_string().contains("missing"), "{error}");
    let file = folder.path().join("file");
    std::fs::write(&file, "content").unwrap();
    let begun = client_of(&fake).begin_upload(&file, "a").await.unwrap();
    let error = client_of(&fake).upload(&begun, &wait, &|_, _| {}).await.unwrap_err();
    assert!(error.to_string().contains("status 500, disk full"), "{error}");
    assert_eq!(fake.seen().last().unwrap(), "DELETE /pulp/api/v3/uploads/5/", "nothing stays behind");
}

#[tokio::test]
async fn a_remote_is_brought_up_to_date() {
    let fake = Fake::new(|request| match request {
        _ if request.starts_with("PATCH") => (202, r#"{"task": "/pulp/api/v3/tasks/1/"}"#.to_owned()),
        _ if request.contains("/tasks/") => (200, r#"{"state": "completed"}"#.to_owned()),
        _ => (200, page(r#"{"pulp_href": "/pulp/api/v3/remotes/container/container/3/"}"#)),
    });
    let token = CancellationToken::new();
    let wait = Wait { limit: Duration::from_mins(1), cancel: &token, progress: &silent };
    let remote = Remote {
        name: "ns-web".to_owned(),
        url: "https://r.io".to_owned(),
        upstream_name: "ns/web".to_owned(),
        include_tags: vec!["1".to_owned()],
        tls_validation: true,
        ca_cert: None,
        login: None,
    };
    let href = client_of(&fake).put_remote(&remote, &wait).await.unwrap();
    assert_eq!(href.as_str(), "/pulp/api/v3/remotes/container/container/3/");
    assert_eq!(fake.seen()[1], format!("PATCH {href}"));
}
