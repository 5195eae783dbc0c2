//! What whoever makes a build leaves when he is killed over it, and what a finished build leaves of its request.

use crate::site::{Site, block_on, exact, kill, runner, script};
use osbs_cluster::conformance::Behaviour;
use osbs_cluster::{Cluster, ClusterError, NewBuild};
use osbs_cluster_local::{LocalCluster, recover, remove_unrecorded};
use osbs_types::BuildName;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_mins(2);

/// `create-named HOME NAME`: a build that ends at once.
pub fn create_named(args: &[String]) -> ExitCode {
    let cluster = LocalCluster::open(Path::new(&args[0]), "osbs", runner()).unwrap();
    let name = &args[1];
    block_on(cluster.create_build(exact(name, Behaviour::Complete))).unwrap();
    ExitCode::SUCCESS
}

/// Kills the maker of a build between the folder and the record; its name. The moment is short, so it takes some tries.
fn killed_over(site: &Site, prefix: &str) -> BuildName {
    let start = Instant::now();
    for number in 0.. {
        assert!(start.elapsed() < PATIENCE, "{number} makers were killed too early or too late");
        let name: BuildName = format!("{prefix}{number}").parse().unwrap();
        let folder = site.cluster.build_paths(&name).dir;
        let program = std::env::current_exe().unwrap();
        let mut maker = Command::new(program).arg("create-named").arg(site.home()).arg(name.as_str()).spawn().unwrap();
        while !folder.exists() && maker.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < PATIENCE);
        }
        let _ = maker.kill();
        maker.wait().unwrap();
        match block_on(site.cluster.get_build(&name)) {
            Err(ClusterError::BuildNotFound { .. }) if folder.exists() => return name,
            Err(ClusterError::BuildNotFound { .. }) => {}
            Err(error) => panic!("{error}"),
            Ok(_) => drop(block_on(site.finished(&name))),
        }
    }
    unreachable!("the numbers do not end before the patience")
}

/// No folder but those of recorded builds.
#[track_caller]
fn check_folders(site: &Site) {
    for entry in std::fs::read_dir(site.home().join("builds/osbs")).unwrap().flatten() {
        let name: BuildName = entry.file_name().to_string_lossy().parse().unwrap();
        assert!(block_on(site.cluster.get_build(&name)).is_ok(), "{name} has a folder and no record");
    }
}

pub fn killed_while_a_build_is_made() {
    let site = Site::new();
    block_on(async {
        let parent = site.create(exact("o-1", Behaviour::Hold)).await;
        site.running(&parent).await;
    });
    let worker = killed_over(&site, "o-1-w");
    let lone = killed_over(&site, "lone-");
    let parent = "o-1".parse().unwrap();
    kill(site.runner_pid(&parent).unwrap());
    let start = Instant::now();
    while recover(site.home()).unwrap().is_empty() {
        assert!(start.elapsed() < PATIENCE);
    }
    assert!(!site.cluster.build_paths(&worker).dir.exists(), "it goes with the orchestrator that made it");
    let of_lone = site.cluster.build_paths(&lone).dir;
    assert!(of_lone.exists(), "nobody knows that it is nobody's");
    assert_eq!(remove_unrecorded(site.home()).unwrap(), [lone.as_str()]);
    assert!(!of_lone.exists());
    assert!(remove_unrecorded(site.home()).unwrap().is_empty());
    check_folders(&site);
    // The name is free again.
    block_on(async {
        let again = site.create(exact(worker.as_str(), Behaviour::Complete)).await;
        site.finished(&again).await;
    });
    site.assert_nothing_left();
}

/// Nobody but its maker may see it, and with the build's end it is gone: out of every file.
pub fn passwords_of_a_request() {
    const PASSWORD: &str = "canary-of-a-request";
    let site = Site::new();
    let held = |name: &str| -> NewBuild {
        let mut new = script(name, "while [ ! -e \"$OSBS_HOME/go\" ]; do sleep 0.05; done");
        new.env.insert("URL".into(), format!("https://me:{PASSWORD}@example.com/"));
        new
    };
    let files = || {
        let mut holding = Vec::new();
        for entry in std::fs::read_dir(site.home()).unwrap().flatten() {
            if entry.file_type().unwrap().is_file() && entry.file_name().to_string_lossy().starts_with("cluster.db") {
                let mode = entry.metadata().unwrap().permissions().mode();
                assert_eq!(mode & 0o077, 0, "{} {mode:o}", entry.path().display());
                let bytes = std::fs::read(entry.path()).unwrap();
                if bytes.windows(PASSWORD.len()).any(|part| part == PASSWORD.as_bytes()) {
                    holding.push(entry.file_name());
                }
            }
        }
        holding
    };
    block_on(async {
        let all = [site.create(held("a")).await, site.create(held("b")).await];
        for name in &all {
            let build = site.running(name).await;
            assert!(build.env["URL"].contains(PASSWORD));
        }
        assert!(!files().is_empty(), "the cluster has to know it");
        std::fs::write(site.home().join("go"), "").unwrap();
        for name in &all {
            assert!(site.finished(name).await.env.is_empty());
        }
        // While another connection is at work, the log is left to the next that ends.
        let start = Instant::now();
        while !files().is_empty() {
            assert!(start.elapsed() < PATIENCE, "{:?}", files());
            let next = site.create(exact(&format!("n-{}", start.elapsed().as_micros()), Behaviour::Complete)).await;
            site.finished(&next).await;
        }
        // What an earlier version left goes as well.
        let database = rusqlite::Connection::open(site.home().join("cluster.db")).unwrap();
        let old = format!("UPDATE builds SET env = '{{\"URL\": \"{PASSWORD}\"}}'; PRAGMA user_version = 1;");
        database.execute_batch(&old).unwrap();
        drop(database);
        let cluster = LocalCluster::open(site.home(), "osbs", runner()).unwrap();
        assert!(cluster.get_build(&all[0]).await.unwrap().env.is_empty());
    });
    site.assert_nothing_left();
}
