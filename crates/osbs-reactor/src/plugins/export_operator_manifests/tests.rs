//! Whom it is for, and what it takes out of a tree. A real image is exported in `osbs/tests/artifacts.rs`.

use super::manifests::archive;
use super::plugin;
use crate::build_json::PluginLists;
use crate::plugin::{Done, PluginError};
use crate::run::ParentInspect;
use crate::testing::{TestRun, entries, run_with};
use osbs_types::{ErrorKind, Timestamp};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use tokio_util::sync::CancellationToken;

const OPERATOR: &str = "FROM a\nLABEL com.redhat.delivery.appregistry=true\n";

async fn check_skipped(test: &mut TestRun, args: serde_json::Value, part: &str) {
    let done = test.plugin(&plugin(), args).await;
    assert!(matches!(&done, Ok(Done::Skipped(why)) if why.contains(part)), "{part}: {done:?}");
}

#[tokio::test]
async fn whom_it_is_for() {
    let run = |text: &'static str| run_with(text, &[], PluginLists::default());
    check_skipped(&mut run("FROM a\n").await, json!({}), "no operator").await;
    check_skipped(&mut run("FROM a\nLABEL com.redhat.delivery.appregistry=yes\n").await, json!({}), "no operator")
        .await;
    let other = json!({"platform": "x86_64", "operator_manifests_extract_platform": "ppc64le"});
    check_skipped(&mut run(OPERATOR).await, other, "another platform").await;
    let mut scratch = run(OPERATOR).await;
    scratch.run.build.labels.insert("scratch".to_owned(), "true".to_owned());
    check_skipped(&mut scratch, json!({}), "scratch").await;
    let lists = PluginLists { buildstep_plugins: entries(&["orchestrate_build"]), ..PluginLists::default() };
    let mut orchestrator = run_with(OPERATOR, &[], lists).await;
    check_skipped(&mut orchestrator, json!({}), "workers").await;
    assert!(orchestrator.log_texts().iter().any(|text| text.contains("by a worker")));

    // Without an image there is nothing to export: it went on that far.
    for text in ["FROM a\nLABEL com.redhat.delivery.appregistry=$YES\n", OPERATOR] {
        let mut test = run_with(text, &[], PluginLists::default()).await;
        let env = vec![("YES".to_owned(), "TRUE".to_owned())];
        test.run.parents.base_inspect = Some(ParentInspect { env, ..ParentInspect::default() });
        let same = json!({"platform": "x86_64", "operator_manifests_extract_platform": "x86_64"});
        let failure = test.plugin(&plugin(), same).await.unwrap_err().into_failure();
        assert_eq!(failure.kind, ErrorKind::Internal, "{failure}");
    }
}

/// A tree made by `make`, archived.
fn export(make: impl FnOnce(&Path)) -> Result<Vec<(String, String)>, PluginError> {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::write(folder.path().join("secret"), "outside").unwrap();
    make(&root);
    let path = folder.path().join("operator_manifests.zip");
    let written = archive(&root, &path, Timestamp::UNIX_EPOCH, &CancellationToken::new());
    assert_eq!(written.is_ok(), path.exists());
    let written = written?;
    let mut archive = zip::ZipArchive::new(fs::File::open(&path).unwrap()).unwrap();
    let read = (0..archive.len()).map(|index| {
        let mut file = archive.by_index(index).unwrap();
        (file.name().unwrap().into_owned(), std::io::read_to_string(&mut file).unwrap())
    });
    let read: Vec<_> = read.collect();
    assert_eq!((written.files, written.size), (read.len(), fs::metadata(&path).unwrap().len()));
    Ok(read)
}

fn put(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn files_by_their_path_below_the_folder() {
    let found = export(|root| {
        put(root, "manifests/4.1/b.yaml", "b");
        put(root, "manifests/a.package.yaml", "a");
        put(root, "manifests/ü.yaml", "ü");
        put(root, "elsewhere/c.yaml", "c");
        fs::create_dir(root.join("manifests/empty")).unwrap();
        symlink("4.1/b.yaml", root.join("manifests/latest.yaml")).unwrap();
        symlink("/manifests/a.package.yaml", root.join("manifests/same.yaml")).unwrap();
    });
    let expected =
        [("4.1/b.yaml", "b"), ("a.package.yaml", "a"), ("latest.yaml", "b"), ("same.yaml", "a"), ("ü.yaml", "ü")];
    let expected: Vec<_> = expected.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    assert_eq!(found.unwrap(), expected);
}

#[track_caller]
fn check_refused(kind: ErrorKind, part: &str, make: impl FnOnce(&Path)) {
    let failure = export(make).expect_err(part).into_failure();
    assert!(failure.kind == kind && failure.message.contains(part), "{failure:?}");
    assert!(failure.hint.is_some() && !failure.message.contains("outside\n"), "{failure:?}");
}

#[test]
fn what_is_refused() {
    let user = ErrorKind::User;
    check_refused(user, "has no folder /manifests", |_| {});
    check_refused(user, "is a regular file, not a folder", |root| fs::write(root.join("manifests"), "x").unwrap());
    check_refused(user, "is a symbolic link, not a folder", |root| symlink("/etc", root.join("manifests")).unwrap());
    check_refused(user, "holds no files", |root| fs::create_dir_all(root.join("manifests/a/b")).unwrap());
    for (target, why) in [
        ("/etc/passwd", "outside of /manifests"),
        ("../etc/passwd", "outside of /manifests"),
        ("../../../../../etc/passwd", "outside of /manifests"),
        ("/manifests/../etc/passwd", "outside of /manifests"),
        ("/secret", "not there"),
        ("../../secret", "not there"),
        ("/nothing", "not there"),
        ("/etc", "a folder"),
        ("sub", "a folder"),
    ] {
        check_refused(user, &format!("is a link to {target}, which is {why}"), |root| {
            put(root, "etc/passwd", "root");
            put(root, "manifests/sub/x", "x");
            symlink(target, root.join("manifests/link")).unwrap();
        });
    }
    check_refused(user, "is a FIFO", |root| {
        put(root, "manifests/x", "x");
        assert!(Command::new("mkfifo").arg(root.join("manifests/pipe")).status().unwrap().success());
    });
    check_refused(user, "backslash", |root| put(root, "manifests/..\\..\\x", "x"));
    check_refused(ErrorKind::Policy, "more than 268435456 bytes", |root| {
        put(root, "manifests/large", "");
        let file = fs::File::options().write(true).open(root.join("manifests/large")).unwrap();
        file.set_len((256 << 20) + 1).unwrap();
    });
}
