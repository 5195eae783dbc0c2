//! What is refused before anything is made. File systems are made for real in `osbs/tests/filesystem.rs`.

use super::plugin;
use crate::build_json::PluginLists;
use crate::plugin::Done;
use crate::testing::{TestRun, entries, run_with};
use osbs_config::ReactorConfig;
use osbs_types::{ErrorKind, Failure};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::sync::Arc;

const DOCKERFILE: &str = "FROM koji/image-build\nLABEL version=1\n";
const KICKSTART: &str = "repo --name=a --baseurl=http://a\n%packages --nocore\nbash\n%end\n";

async fn orchestrator(files: &[(&str, &str)]) -> TestRun {
    let lists = PluginLists { buildstep_plugins: entries(&["orchestrate_build"]), ..PluginLists::default() };
    run_with(DOCKERFILE, files, lists).await
}

async fn failure(files: &[(&str, &str)], args: Value) -> Failure {
    orchestrator(files).await.plugin(&plugin(), args).await.expect_err("refused").into_failure()
}

#[tokio::test]
async fn an_orchestrator_checks_and_makes_nothing() {
    let mut other = run_with("FROM a\n", &[], PluginLists::default()).await;
    assert!(matches!(other.plugin(&plugin(), json!({})).await, Ok(Done::Skipped(_))));
    let files = [("image-build.conf", "[image-build]\n"), ("kickstart.ks", KICKSTART)];
    for args in [json!({}), json!({"architectures": ["x86_64", "ppc64le"], "repos": [], "from_task_id": null})] {
        let done = orchestrator(&files).await.plugin(&plugin(), args).await.unwrap();
        let told = json!({"base-image-id": null, "filesystem-koji-task-id": null});
        assert_eq!(done, Done::Value(told));
    }
    let conf = "[image-build]\nksurl = PLACE\n";
    let mut same = orchestrator(&files).await;
    let uri = same.run.source().unwrap().uri().to_owned();
    let path = same.run.source().unwrap().root().join("image-build.conf");
    std::fs::write(path, conf.replace("PLACE", &format!("git+{uri}#HEAD"))).unwrap();
    assert!(same.plugin(&plugin(), json!({})).await.is_ok(), "this build's own source");
}

/// Configuration, kickstart file, arguments, kind, what is told.
#[tokio::test]
async fn refused() {
    let conf = "[image-build]\n";
    for (files, args, kind, part) in [
        (vec![], json!({}), ErrorKind::User, "needs the file image-build.conf"),
        (
            vec![("image-build.conf", conf)],
            json!({}),
            ErrorKind::User,
            "kickstart file kickstart.ks, and it is not there",
        ),
        (
            vec![("image-build.conf", "[image-build]\nkickstart = ../../etc/passwd\n")],
            json!({}),
            ErrorKind::User,
            "not there",
        ),
        (vec![("image-build.conf", conf), ("kickstart.ks", "")], json!({}), ErrorKind::User, "no %packages section"),
        (
            vec![("image-build.conf", conf), ("kickstart.ks", "%packages\na\n%end\n")],
            json!({}),
            ErrorKind::User,
            "neither kickstart.ks nor image-build.conf nor the request names a repository",
        ),
        (
            vec![("image-build.conf", conf), ("kickstart.ks", KICKSTART)],
            json!({"from_task_id": 123}),
            ErrorKind::Policy,
            "task 123 of Koji",
        ),
        (
            vec![("image-build.conf", "[image-build]\nksurl = git://me:hunter2@h/x?f#main\n")],
            json!({}),
            ErrorKind::User,
            "ksurl git://h/x cannot be fetched",
        ),
        (
            vec![("image-build.conf", "[image-build]\nksurl = http://169.254.169.254/x#main\n")],
            json!({}),
            ErrorKind::Policy,
            "169.254.169.254",
        ),
        (
            vec![("image-build.conf", conf), ("kickstart.ks", KICKSTART)],
            json!({"repos": ["nonsense"]}),
            ErrorKind::User,
            "not an http or https URL",
        ),
        (
            vec![("image-build.conf", conf), ("kickstart.ks", KICKSTART)],
            json!({"repos": ["http://169.254.169.254/x.repo"]}),
            ErrorKind::Policy,
            "169.254.169.254",
        ),
    ] {
        let failure = failure(&files, args).await;
        assert!(failure.kind == kind && failure.to_string().contains(part), "{part}: {failure:?}");
        assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
    }
}

#[tokio::test]
async fn repo_files_of_allowed_hosts_only() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream);
            let (mut first, mut line) = (String::new(), String::new());
            let _ = reader.read_line(&mut first);
            while reader.read_line(&mut line).is_ok_and(|count| count > 2) {
                line.clear();
            }
            let (status, more) = match first.split(' ').nth(1) {
                Some("/good.repo") => ("200 OK", ""),
                Some("/lured.repo") => ("302 Found", "Location: http://127.0.0.9:1/x.repo\r\n"),
                _ => ("404 Not Found", ""),
            };
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: 18\r\nConnection: close\r\n{more}\r\n");
            let _ = reader.get_mut().write_all(format!("{head}[a]\nbaseurl=http:/").as_bytes());
        }
    });
    for (path, allowed, expected) in [
        ("good.repo", host.as_str(), None),
        ("good.repo", "other.example", Some((ErrorKind::Policy, "good.repo is not among"))),
        ("lured.repo", host.as_str(), Some((ErrorKind::Policy, "127.0.0.9"))),
        ("absent.repo", host.as_str(), Some((ErrorKind::User, "cannot be fetched: 404"))),
    ] {
        let kickstart = "%packages --nocore\nbash\n%end\n";
        let mut test = orchestrator(&[("image-build.conf", "[image-build]\n"), ("kickstart.ks", kickstart)]).await;
        let config = format!("version: 1\nyum_repo_allowed_domains: ['{allowed}']\n");
        test.run.config = Arc::new(ReactorConfig::parse(&config, "config.yaml").unwrap().value);
        let done = test.plugin(&plugin(), json!({"repos": [format!("http://{host}/{path}")]})).await;
        match (done, expected) {
            (Ok(_), None) => {}
            (Err(error), Some((kind, part))) => {
                let failure = error.into_failure();
                assert!(failure.kind == kind && failure.message.contains(part), "{path}: {failure:?}");
            }
            (done, expected) => panic!("{path}: {done:?}, {expected:?}"),
        }
    }
}
