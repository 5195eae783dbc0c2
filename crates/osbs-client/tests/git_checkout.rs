//! Checking out commits with the real git.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod repository;

use osbs_client::git::{CheckoutRequest, Git, GitError};
use osbs_types::ErrorKind;
use repository::{DOCKERFILE, Repository, git_in};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

fn git() -> Git {
    Git { retry_after: Vec::new(), ..Git::new("/usr/bin:/bin") }
}

fn request(uri: &str, branch: Option<&str>, git_ref: &str) -> CheckoutRequest {
    CheckoutRequest { uri: uri.into(), branch: branch.map(str::to_owned), git_ref: git_ref.into(), depth: None }
}

async fn checkout(request: &CheckoutRequest) -> Result<(tempfile::TempDir, String), GitError> {
    let folder = tempfile::tempdir().unwrap();
    let checkout = git().checkout(request, &folder.path().join("source"), &CancellationToken::new()).await?;
    assert_eq!(git_in(&checkout.root, &["rev-parse", "HEAD"]), checkout.commit);
    assert_eq!(git_in(&checkout.root, &["status", "--porcelain"]), "");
    Ok((folder, checkout.commit))
}

#[tokio::test]
async fn every_kind_of_ref() {
    let repository = Repository::new(&[("Dockerfile", DOCKERFILE)]);
    let first = repository.git(&["rev-parse", "HEAD"]);
    repository.git(&["tag", "-a", "v1", "-m", "one"]);
    let second = repository.commit(&[("a", "2")]);
    repository.git(&["branch", "feature/x", &first]);
    for uri in [repository.uri(), repository.path().display().to_string()] {
        for (branch, git_ref, expect) in [
            (Some("f40"), "f40", &second),
            (None, "f40", &second),
            (None, "HEAD", &second),
            (Some("f40"), second.as_str(), &second),
            (Some("f40"), first.as_str(), &first),
            (Some("f40"), &first[..9], &first),
            (None, &first[..9], &first),
            (None, "v1", &first),
            (Some("feature/x"), "feature/x", &first),
            (None, "refs/heads/feature/x", &first),
        ] {
            let (_folder, commit) = checkout(&request(&uri, branch, git_ref)).await.unwrap();
            assert_eq!(&commit, expect, "{git_ref} on {branch:?}");
        }
    }
}

#[track_caller]
fn check_error(result: Result<(tempfile::TempDir, String), GitError>, kind: ErrorKind, contains: &str) {
    let error = result.map(|(_, commit)| commit).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(contains), "{error}");
}

#[tokio::test]
async fn what_is_not_there() {
    let repository = Repository::new(&[("Dockerfile", DOCKERFILE)]);
    let uri = repository.uri();
    let none = "0123456789012345678901234567890123456789";
    check_error(checkout(&request(&uri, Some("f99"), "f40")).await, ErrorKind::User, "no branch \"f99\"");
    check_error(
        checkout(&request(&uri, Some("f40"), "f99")).await,
        ErrorKind::User,
        "tag or branch \"f99\" on branch \"f40\"",
    );
    check_error(checkout(&request(&uri, None, none)).await, ErrorKind::User, none);
    check_error(checkout(&request("file:///nonexistent", None, "f40")).await, ErrorKind::User, "no git repository");
    check_error(checkout(&request("ext::sh -c touch% /tmp/x", None, "f40")).await, ErrorKind::User, "not allowed");
    check_error(checkout(&request("https://127.0.0.1:1/x.git", None, "f40")).await, ErrorKind::Remote, "127.0.0.1");
}

#[tokio::test]
async fn remote_failures_are_tried_again() {
    let git = Git { retry_after: vec![Duration::from_millis(100), Duration::from_millis(200)], ..git() };
    let folder = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let request = request("git://127.0.0.1:1/x.git", None, "f40");
    let error = git.checkout(&request, folder.path(), &CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Remote, "{error}");
    assert!(start.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn cancelling_stops_at_once() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("git://{}/x.git", silent.local_addr().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let cancel = CancellationToken::new();
    let later = cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        later.cancel();
    });
    let start = Instant::now();
    let error = git().checkout(&request(&uri, None, "f40"), folder.path(), &cancel).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(start.elapsed() < Duration::from_secs(2));
    let impatient = Git { time_limit: Duration::from_millis(200), ..git() };
    let folder = tempfile::tempdir().unwrap();
    let error = impatient.checkout(&request(&uri, None, "f40"), folder.path(), &CancellationToken::new()).await;
    assert!(matches!(error, Err(GitError::TooSlow { .. })), "{error:?}");
}

#[tokio::test]
async fn nothing_of_the_repository_runs() {
    let trap = tempfile::tempdir().unwrap();
    let mark = trap.path().join("ran");
    let repository = Repository::new(&[("Dockerfile", DOCKERFILE), (".gitattributes", "* filter=evil\n")]);
    let hook = repository.path().join(".git/hooks/post-checkout");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, format!("#!/bin/sh\ntouch {}\n", mark.display())).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", repository.path().join("link")).unwrap();
    repository.git(&["config", "filter.evil.smudge", &format!("touch {}", mark.display())]);
    repository.git(&["config", "uploadpack.packObjectsHook", &format!("touch {}", mark.display())]);
    let inner = Repository::new(&[("f", "x")]);
    repository.git(&["submodule", "--quiet", "add", &inner.uri(), "sub"]);
    repository.git(&["add", "link"]);
    repository.commit(&[]);
    let (folder, _) = checkout(&request(&repository.uri(), Some("f40"), "f40")).await.unwrap();
    assert!(!mark.exists(), "something of the repository was run");
    assert!(!folder.path().join("source/sub/f").exists(), "a submodule was fetched");
}

/// Objects are checked as they come: a tree with `.git` in it could plant a hook (CVE-2014-9390, CVE-2021-21300), and a
/// submodule's name could lead out of its folder (CVE-2018-11235).
#[tokio::test]
async fn hostile_objects_are_refused() {
    let repository = Repository::new(&[("Dockerfile", DOCKERFILE)]);
    let blob = repository.git(&["rev-parse", "HEAD:Dockerfile"]);
    let id: Vec<u8> = (0..40).step_by(2).map(|at| u8::from_str_radix(&blob[at..at + 2], 16).unwrap()).collect();
    for name in [".git", ".GIT", "git~1", ".."] {
        let tree = repository.path().join("hostile-tree");
        std::fs::write(&tree, [format!("100755 {name}\0").as_bytes(), &id].concat()).unwrap();
        let tree = repository.git(&["hash-object", "-t", "tree", "-w", "--literally", "hostile-tree"]);
        let commit = repository.git(&["commit-tree", &tree, "-m", "bad"]);
        repository.git(&["update-ref", "refs/heads/bad", &commit]);
        let result = checkout(&request(&repository.uri(), Some("bad"), "bad")).await;
        check_error(result, ErrorKind::User, "objects that git refuses");
    }
    repository.commit(&[(".gitmodules", "[submodule \"../../x\"]\n\tpath = x\n\turl = https://h/x\n")]);
    check_error(checkout(&request(&repository.uri(), None, "f40")).await, ErrorKind::User, "gitmodulesName");
}
