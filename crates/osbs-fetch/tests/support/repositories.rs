//! Git repositories, and git over HTTP by the real `git http-backend`. Also used by the tests of `osbs`.

use super::fake::{Asked, Reply};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Git without anybody's configuration; what it says, trimmed.
#[track_caller]
pub fn git(folder: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args(args)
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").expect("PATH"))
        .env("HOME", folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_DATE"), "1000000000 +0000")))
        .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_NAME"), "me")))
        .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_EMAIL"), "me@example.com")))
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("git: {error}: apt-get install git"));
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Answers as `git http-backend` does, for the repositories below `root`.
pub fn backend(root: &Path, asked: &Asked) -> Reply {
    let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", &asked.method)
        .env("CONTENT_TYPE", asked.header("content-type").unwrap_or_default())
        .env("CONTENT_LENGTH", asked.body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", asked.header("content-encoding").unwrap_or_default())
        .env("GIT_PROTOCOL", asked.header("git-protocol").unwrap_or_default())
        .env("GIT_CONFIG_GLOBAL", root.join("backend-config"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("git http-backend");
    let mut stdin = child.stdin.take().expect("a pipe");
    let body = asked.body.clone();
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(&body);
    });
    let output = child.wait_with_output().expect("git http-backend");
    writer.join().expect("written");
    let end = output.stdout.windows(4).position(|part| part == b"\r\n\r\n").unwrap_or(output.stdout.len());
    let head = String::from_utf8_lossy(&output.stdout[..end]).into_owned();
    let mut reply = Reply::ok(output.stdout.get(end + 4..).unwrap_or_default());
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
        match name {
            "Status" => reply.status = value.split(' ').next().and_then(|code| code.parse().ok()).expect("a status"),
            _ => reply = reply.header(name, value),
        }
    }
    reply
}

/// A repository `web.git` below `root`: two commits on main, a branch, a tag, an annotated tag.
pub fn make_repository(root: &Path) -> PathBuf {
    let work = root.join("work");
    std::fs::create_dir_all(work.join("sub/deep")).expect("folders");
    let write = |name: &str, text: &str| std::fs::write(work.join(name), text).expect("written");
    git(&work, &["init", "--quiet", "--initial-branch=main"]);
    write("first", "1\n");
    git(&work, &["add", "."]);
    git(&work, &["commit", "--quiet", "-m", "one"]);
    git(&work, &["tag", "v1"]);
    write("script", "#!/bin/sh\n");
    std::fs::set_permissions(work.join("script"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("mode");
    write("sub/deep/file", "deep\n");
    write("notes.secret", "not for an archive, but for a checkout\n");
    write("version", "$Format:%H$ $Id$\n");
    write(".gitattributes", "*.secret export-ignore\nversion export-subst\nfirst filter=evil\n");
    std::os::unix::fs::symlink("/etc", work.join("sub/etc")).expect("a link");
    git(&work, &["add", "."]);
    git(&work, &["commit", "--quiet", "-m", "two"]);
    git(&work, &["tag", "-a", "v2", "-m", "two"]);
    git(&work, &["checkout", "--quiet", "-b", "v1-branch", "v1"]);
    write("branch", "b\n");
    git(&work, &["add", "."]);
    git(&work, &["commit", "--quiet", "-m", "branch"]);
    git(&work, &["checkout", "--quiet", "main"]);
    git(root, &["clone", "--quiet", "--bare", "work", "web.git"]);
    work
}
