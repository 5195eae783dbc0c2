//! What a repository may ask for, and what it is told. The downloads themselves are tried in `osbs/tests/artifacts.rs`.

#[path = "../../../../osbs-http/tests/fake/mod.rs"]
#[allow(clippy::pedantic, missing_docs, reason = "a server for tests of many crates")]
mod fake;

use super::plugin;
use crate::build_json::PluginLists;
use crate::plugin::Done;
use crate::testing::{TestRun, run_with};
use osbs_config::ReactorConfig;
use osbs_types::{ErrorKind, Failure};
use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::sync::Arc;
use std::time::Duration;

use fake::{Asked, Fake, Reply};
use osbs_http::{RetryPolicy, Timeouts, Transport, TransportConfig};

const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

async fn with(files: &[(&str, &str)], config: &str) -> TestRun {
    let mut test = run_with("FROM a\n", files, PluginLists::default()).await;
    let config = ReactorConfig::parse(&format!("version: 1\n{config}"), "config.yaml").unwrap().value;
    test.run.config = Arc::new(config);
    test
}

async fn failure(files: &[(&str, &str)], config: &str) -> Failure {
    let mut test = with(files, config).await;
    let failure = test.plugin(&plugin(), json!({})).await.expect_err("refused").into_failure();
    assert!(!test.run.source().unwrap().root().join("artifacts").exists(), "{failure}");
    failure
}

/// A URL file, `config.yaml`, kind, what is told, the line.
#[tokio::test]
async fn refusals_before_anything_is_fetched() {
    let md5 = "0123456789abcdef0123456789abcdef";
    let allow = "artifacts_allowed_domains: [ok.example, ok.example/deep]\n";
    for (text, config, kind, part, line) in [
        (format!("- url: ftp://h/x\n  md5: {md5}\n"), "", ErrorKind::User, "only http and https", 1),
        (format!("- url: nonsense/x\n  md5: {md5}\n"), "", ErrorKind::User, "not a URL", 1),
        ("- url: http://h/x\n".to_owned(), "", ErrorKind::User, "one of md5, sha1 and sha256 is required", 1),
        (format!("- url: http://h/x\n  md5: {md5}0\n"), "", ErrorKind::User, "32 lower-case", 2),
        (format!("- url: http://h/x\n  sha512: {md5}\n"), "", ErrorKind::User, "2 problems", 1),
        (format!("- url: http://h/x\n  md5: {md5}\n  target: ../x\n"), "", ErrorKind::User, "stays below", 3),
        (format!("- url: http://h/x\n  md5: {md5}\n  target: /etc/x\n"), "", ErrorKind::User, "stays below", 3),
        (
            format!("- {{url: 'http://me:hunter2@ok.example.evil.org/x?hunter2', md5: {md5}}}\n"),
            allow,
            ErrorKind::Policy,
            "http://ok.example.evil.org/x: this site does not allow it",
            1,
        ),
        (
            format!(
                "- {{url: 'http://ok.example/x', md5: {md5}}}\n- {{url: 'http://a/b', md5: {md5}}}\n- {{url: 'http://c/d', md5: {md5}}}\n"
            ),
            allow,
            ErrorKind::Policy,
            "2 URLs of fetch-artifacts-url.yaml cannot be fetched",
            2,
        ),
        (
            format!("- url: http://h/x\n  md5: {md5}\n"),
            "artifacts_allowed_domains: ['https://h']",
            ErrorKind::Policy,
            "artifacts_allowed_domains is wrong",
            0,
        ),
    ] {
        let failure = failure(&[("fetch-artifacts-url.yaml", &text)], config).await;
        assert!(failure.to_string().contains(part) && failure.kind == kind, "{text}: {failure:?}");
        assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
        assert_eq!(failure.position.map_or(0, |position| position.line), line, "{text}");
        assert!(failure.causes.len() <= 4);
    }
}

#[tokio::test]
async fn koji_is_missed_only_where_it_is_asked_for() {
    let text = "- nvr: lib-1-2\n- nvr: more-1-2\n  archives: [{filename: '*.jar'}]\n";
    let missed = failure(&[("fetch-artifacts-koji.yaml", text)], "").await;
    assert!(missed.message.contains("has no Koji") && missed.message.contains("lib-1-2, more-1-2"), "{missed}");
    assert_eq!((missed.kind, missed.position.unwrap().line), (ErrorKind::Policy, 1));
    for text in ["- nvr: a-1-2\n  extra: 1\n", "- archives: []\n", "- nvr: a\n  archives: [{name: x}]\n", "nvr: a\n"] {
        assert_eq!(failure(&[("fetch-artifacts-koji.yaml", text)], "").await.kind, ErrorKind::User, "{text}");
    }
    for files in [&[][..], &[("fetch-artifacts-koji.yaml", ""), ("fetch-artifacts-url.yaml", "# nothing\n")]] {
        let done = with(files, "").await.plugin(&plugin(), json!({})).await;
        assert!(matches!(done, Ok(Done::Skipped(_))), "{done:?}");
    }
}

/// Answers every request with `abc`.
fn serve() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream);
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|count| count > 2) {
                line.clear();
            }
            let _ = reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc");
        }
    });
    address.to_string()
}

#[tokio::test]
async fn a_file_is_where_its_target_says_and_nowhere_else() {
    let host = serve();
    let config = format!("artifacts_allowed_domains: ['{host}']\n");
    let text = format!("- {{url: 'http://me:pw@{host}/abc?q', sha256: {ABC}, target: a/b/c.jar}}\n");
    let files = [("fetch-artifacts-url.yaml", text.as_str())];
    let mut test = with(&files, &config).await;
    let Done::Value(value) = test.plugin(&plugin(), json!({"allowed_domains": ["not.asked"]})).await.unwrap() else {
        panic!("no value")
    };
    let shown = format!("http://{host}/abc");
    assert_eq!(value, json!([{"url": shown, "target": "a/b/c.jar", "checksums": {"sha256": ABC}}]));
    let root = test.run.source().unwrap().root().to_owned();
    assert_eq!(std::fs::read_to_string(root.join("artifacts/a/b/c.jar")).unwrap(), "abc");

    // A link of the repository in the way leads nowhere.
    let outside = test.folder.path().join("outside");
    for (link, expected) in
        [("artifacts", Some("is a symbolic link")), ("artifacts/a", None), ("artifacts/a/b/c.jar", None)]
    {
        let mut test = with(&files, &config).await;
        let root = test.run.source().unwrap().root().to_owned();
        std::fs::create_dir_all(&outside).unwrap();
        std::fs::create_dir_all(root.join(link).parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(&outside, root.join(link)).unwrap();
        let done = test.plugin(&plugin(), json!({})).await;
        match expected {
            Some(part) => assert!(done.unwrap_err().to_string().contains(part)),
            None => assert!(done.is_ok(), "{link}: {done:?}"),
        }
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "{link}");
    }
}

#[tokio::test]
async fn a_wrong_file_does_not_stay() {
    let host = serve();
    let config = format!("artifacts_allowed_domains: ['{host}']\n");
    let text =
        format!("- url: http://me:hunter2@{host}/abc\n  sha256: {ABC}\n  md5: 0123456789abcdef0123456789abcdef\n");
    let mut test = with(&[("fetch-artifacts-url.yaml", &text)], &config).await;
    let failure = test.plugin(&plugin(), json!({})).await.unwrap_err().into_failure();
    let told = "artifact abc has md5 900150983cd24fb0d6963f7d28e17f72, not 0123456789abcdef0123456789abcdef (3 bytes";
    assert!(failure.message.starts_with(told) && failure.kind == ErrorKind::User, "{failure}");
    assert_eq!(failure.position.unwrap().line, 1);
    assert!(!test.run.source().unwrap().root().join("artifacts/abc").exists());
    assert!(!test.log_texts().concat().contains("hunter2"));
}

type Handler = Box<dyn Fn(&Asked, usize) -> Reply + Send + Sync>;

/// A server that behaves badly, and a transport that does not wait long for it.
async fn from_a_bad_server(
    config: &str,
    handler: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static,
) -> Result<(), Failure> {
    let fake = Fake::start(handler);
    let text = format!("- url: http://me:hunter2@{}/abc\n  sha256: {ABC}\n", fake.host());
    let config = format!("artifacts_allowed_domains: ['{}']\n{config}", fake.host());
    let mut test = with(&[("fetch-artifacts-url.yaml", &text)], &config).await;
    let wait = Duration::from_millis(10);
    test.run.services.transport = Transport::new(TransportConfig {
        retry: RetryPolicy { retries: 2, base_delay: wait, max_delay: wait },
        timeouts: Timeouts { idle: Duration::from_secs(2), ..Timeouts::default() },
        ..TransportConfig::default()
    });
    let done = test.plugin(&plugin(), json!({})).await;
    assert!(!test.log_texts().concat().contains("hunter2"));
    done.map(drop).map_err(|error| {
        let failure = error.into_failure();
        assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
        failure
    })
}

#[tokio::test]
async fn bad_servers() {
    let endless = || Reply::new(200).header("Content-Length", "100000000").body(vec![b'x'; 200_000]);
    let cases: Vec<(&str, Handler, ErrorKind, &str)> = vec![
        ("", Box::new(|_, _| Reply::new(404)), ErrorKind::User, "answers 404"),
        ("", Box::new(|_, _| Reply::new(401)), ErrorKind::User, "answers 401"),
        ("", Box::new(|_, _| Reply::new(503)), ErrorKind::Remote, "answers 503 (3 attempts)"),
        ("", Box::new(|_, _| Reply::hang_up()), ErrorKind::Remote, "cannot reach"),
        // Longer than told, shorter than told, another part than asked for.
        ("", Box::new(|_, _| Reply::ok("abcdef").header("Content-Length", "2")), ErrorKind::User, "has sha256"),
        ("", Box::new(|_, _| Reply::ok("abc").header("Content-Length", "9")), ErrorKind::Remote, "broke after"),
        (
            "",
            Box::new(|_, before| {
                let part = Reply::new(206).header("Content-Range", "bytes 7-9/10").body("abc");
                let whole = Reply::ok("abcdefghij").cut_at(2);
                (if before == 0 { whole } else { part }).header("ETag", "\"x\"")
            }),
            ErrorKind::Remote,
            "other bytes than those asked for",
        ),
        ("fetch: {max_size: 2}\n", Box::new(|_, _| Reply::ok("abc")), ErrorKind::Policy, "larger than the limit of 2"),
        ("fetch: {max_size: 100000}\n", Box::new(move |_, _| endless()), ErrorKind::Policy, "larger than the limit"),
        (
            "fetch: {timeout: 1}\n",
            Box::new(|_, _| Reply::ok("abc").delay(Duration::from_secs(30))),
            ErrorKind::Policy,
            "not fetched within 1 s",
        ),
        (
            "",
            Box::new(|_, _| Reply::new(302).header("Location", "http://169.254.169.254/latest")),
            ErrorKind::Policy,
            "http://169.254.169.254/latest is not among",
        ),
        ("", Box::new(|_, _| Reply::new(302).header("Location", "/abc")), ErrorKind::Remote, "redirected more than"),
    ];
    for (config, handler, kind, part) in cases {
        let failure = from_a_bad_server(config, handler).await.expect_err(part);
        assert!(failure.kind == kind && failure.to_string().contains(part), "{part}: {failure:?}");
        assert_eq!(failure.position.map(|position| position.line), Some(1), "{part}");
    }
    // One that is only slow, or fails at first, is waited for.
    let patient = |_: &Asked, before| if before < 2 { Reply::new(503) } else { Reply::ok("abc") };
    assert_eq!(from_a_bad_server("", patient).await, Ok(()));
}
