//! Secrets in builds: real namespaces, real files, root's own rights.

use crate::site::{Site, block_on, runner, script};
use osbs_cluster::{Cluster, ClusterError, SecretData, SecretMount, WaitFor};
use osbs_cluster_local::LocalCluster;
use osbs_types::{BuildName, BuildState};
use std::path::Path;
use std::process::ExitCode;

const TOKENS: &str = "/var/run/secrets/atomic-reactor";

/// What a build finds out about secrets, into `results/seen`.
fn looking_at_secrets() -> String {
    format!(
        "exec >../results/seen 2>&1
         for place in {TOKENS}/token /osbs-test-tokens/own $OSBS_HOME/secrets/osbs/token $OSBS_HOME/secrets/osbs/other; do
             echo \"$place: $(cat $place/* 2>/dev/null || echo nothing)\"
             ( echo changed >$place/new ) 2>/dev/null && echo \"$place can be written\"
             ( echo changed >$place/key ) 2>/dev/null && echo \"$place/key can be changed\"
             rm -f $place/key 2>/dev/null; chmod 777 $place 2>/dev/null && echo \"$place can be opened\"
         done
         stat -c '%a %U' {TOKENS}/token/key; ls /run | wc -l; echo end"
    )
}

fn mounts(places: &[(&str, &str)]) -> Vec<SecretMount> {
    let mount = |(secret, path): &(&str, &str)| SecretMount { secret: (*secret).into(), mount_path: (*path).into() };
    places.iter().map(mount).collect()
}

async fn put_secrets(site: &Site) {
    for (name, value) in [("token", "hunter2"), ("own", "hunter3"), ("other", "hunter4")] {
        site.cluster.put_secret(name, &SecretData::new().with("key", value)).await.unwrap();
    }
}

async fn seen(site: &Site, new: osbs_cluster::NewBuild) -> String {
    let name = site.create(new).await;
    let build = site.finished(&name).await;
    let text = std::fs::read_to_string(site.cluster.build_paths(&name).results().join("seen")).unwrap_or_default();
    assert_eq!(build.state, BuildState::Complete, "{:?} {text}", build.reason);
    text
}

pub fn of_one_build_alone() {
    let site = Site::new();
    let home = site.home().display().to_string();
    block_on(async {
        put_secrets(&site).await;
        let mut new = script("with", &looking_at_secrets());
        new.secrets = mounts(&[("token", &format!("{TOKENS}/token")), ("own", "/osbs-test-tokens/own")]);
        let text = seen(&site, new).await;
        let in_run = std::fs::read_dir("/run").unwrap().count();
        let hidden = usize::from(!Path::new("/run/secrets").exists());
        assert_eq!(
            text,
            format!(
                "{TOKENS}/token: hunter2\n/osbs-test-tokens/own: hunter3\n{home}/secrets/osbs/token: hunter2\n\
                 {home}/secrets/osbs/other: nothing\n400 root\n{}\nend\n",
                in_run + hidden
            )
        );
        let text = seen(&site, script("without", &looking_at_secrets())).await;
        assert!(!text.contains("hunter") && text.contains(&format!("{TOKENS}/token: nothing")), "{text}");
        assert!(!text.contains("can be"), "{text}");

        // Nothing of it is on the machine, and the cluster has what it had.
        for place in [format!("{TOKENS}/token"), "/osbs-test-tokens".to_owned()] {
            assert!(!Path::new(&place).exists(), "{place} was left behind");
        }
        assert_eq!(site.cluster.get_secret("token").await.unwrap().reveal("key"), Some(&b"hunter2"[..]));
        assert_eq!(site.cluster.list_secrets().await.unwrap(), ["other", "own", "token"]);

        let mut missing = script("missing", "true");
        missing.secrets = mounts(&[("nope", &format!("{TOKENS}/nope"))]);
        let missing = site.create(missing).await;
        let build = site.finished(&missing).await;
        assert_eq!(build.state, BuildState::Error);
        assert!(build.reason.unwrap().contains("no Secret nope"));
        let mut bad = script("bad", "true");
        bad.secrets = mounts(&[("token", "relative")]);
        assert!(matches!(site.cluster.create_build(bad).await, Err(ClusterError::Invalid { .. })));
    });
    site.assert_nothing_left();
}

/// A build that runs already when the first secret of its cluster comes does not see it either.
pub fn that_come_later() {
    let site = Site::new();
    block_on(async {
        let look = format!(
            "echo waiting >../results/ready; while [ ! -e ../results/go ]; do sleep 0.01; done; {}",
            looking_at_secrets()
        );
        let name = site.create(script("early", &look)).await;
        let results = site.cluster.build_paths(&name).results();
        while !results.join("ready").exists() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        put_secrets(&site).await;
        std::fs::write(results.join("go"), "").unwrap();
        assert_eq!(site.finished(&name).await.state, BuildState::Complete);
        let text = std::fs::read_to_string(results.join("seen")).unwrap();
        assert!(text.ends_with("end\n") && !text.contains("hunter"), "{text}");
    });
    site.assert_nothing_left();
}

pub fn of_an_orchestrator_and_its_worker() {
    let site = Site::new();
    block_on(async {
        put_secrets(&site).await;
        let program = std::env::current_exe().unwrap();
        let (program, home) = (program.display(), site.home().display());
        let script_text =
            format!("{program} create-worker-with-secret {home} parent >../results/said && {}", looking_at_secrets());
        let mut parent = script("parent", &script_text);
        parent.secrets = mounts(&[("token", &format!("{TOKENS}/token"))]);
        let text = seen(&site, parent).await;
        assert!(text.contains(&format!("{TOKENS}/token: hunter2\n")), "{text}");
        let worker: BuildName = "worker".parse().unwrap();
        assert_eq!(site.finished(&worker).await.state, BuildState::Complete);
        let results = site.cluster.build_paths(&worker).results();
        let text = std::fs::read_to_string(results.join("seen")).unwrap();
        // A secret that its orchestrator does not have, and none that its orchestrator has.
        assert!(text.contains("/osbs-test-tokens/own: hunter3\n"), "{text}");
        // The empty mount point of its orchestrator's is a folder like any other.
        assert!(!text.contains("hunter2") && !text.contains("hunter4"), "{text}");
        for place in ["/osbs-test-tokens/own", "/secrets/osbs/token", "/secrets/osbs/other"] {
            assert!(!text.contains(&format!("{place} can be")), "{text}");
        }
        let said = std::fs::read_to_string(site.cluster.build_paths(&"parent".parse().unwrap()).results().join("said"));
        assert_eq!(said.unwrap(), "[\"other\", \"own\", \"token\"] hunter2 withheld\n");
    });
    site.assert_nothing_left();
}

/// `create-worker-with-secret HOME PARENT`, from inside an orchestrator build.
pub fn create_worker(args: &[String]) -> ExitCode {
    let cluster = LocalCluster::open(Path::new(&args[0]), "osbs", runner()).unwrap();
    let mut new = script("worker", &looking_at_secrets());
    new.parent = Some(args[1].parse().unwrap());
    new.secrets = mounts(&[("own", "/osbs-test-tokens/own")]);
    block_on(async {
        let worker = cluster.create_build(new).await.unwrap().name;
        cluster.wait_build(&worker, WaitFor::Finished).await.unwrap();
        let own = cluster.get_secret("token").await.unwrap();
        let other = match cluster.get_secret("other").await {
            Err(ClusterError::Withheld { .. }) => "withheld",
            _ => "shown",
        };
        let own = String::from_utf8_lossy(own.reveal("key").unwrap()).into_owned();
        println!("{:?} {own} {other}", cluster.list_secrets().await.unwrap());
        assert!(cluster.put_secret("new", &SecretData::new()).await.is_err(), "a build changes no secret");
    });
    ExitCode::SUCCESS
}
