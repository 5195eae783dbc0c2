//! Many builds and few slots.

use crate::cases::{exact, within};
use crate::world::World;
use futures_util::future::try_join_all;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{ListParams, Patch, PatchParams};
use osbs_cluster::conformance::Behaviour;
use osbs_cluster::{Build, BuildFilter, Cluster, Slots, WaitFor};
use osbs_cluster_kubernetes::KubernetesCluster;
use osbs_types::BuildState;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const LIMIT: u32 = 4;
const USERS: [&str; 3] = ["alice", "bob", "carol"];

/// How many builds queue up.
fn builds() -> usize {
    std::env::var("OSBS_TEST_BUILDS").map_or(24, |text| text.parse().expect("a number"))
}

/// Many builds at once by several processes, four slots: never more than four have a turn, nobody starves, and few requests
/// are made.
pub fn builds_queue_up(world: &World) {
    let namespace = world.namespace();
    let clusters: Vec<_> = (0..5).map(|_| world.cluster(&namespace)).collect();
    let count = builds();
    let (most, ended, begun) = world.runtime.block_on(async {
        let over = Arc::new(AtomicBool::new(false));
        let watcher = tokio::spawn(count_turns(clusters[0].clone(), namespace.clone(), Arc::clone(&over)));
        let slots = Some(Slots { group: "worker:local".into(), max: LIMIT });
        // Until all have asked nothing moves.
        let mut first = Vec::new();
        for n in 0..LIMIT {
            let mut new = exact(&format!("first{n}"), Behaviour::Hold);
            new.slots.clone_from(&slots);
            first.push(clusters[0].create_build(new).await.unwrap().name);
        }
        let make = |n: usize| {
            let mut new = exact(&format!("b{n}"), Behaviour::Complete);
            // One user asks for many builds before the others come.
            let user = if n < count / 2 { USERS[0] } else { USERS[n % USERS.len()] };
            new.output_image = format!("{user}/web:{n}");
            new.slots.clone_from(&slots);
            new
        };
        let made = (0..count).map(|n| clusters[n % clusters.len()].create_build(make(n)));
        let made = within("builds", try_join_all(made)).await.unwrap();
        let begun = Instant::now();
        let waits = made
            .iter()
            .enumerate()
            .map(|(n, build)| clusters[n % clusters.len()].wait_build(&build.name, WaitFor::Finished));
        let cancels = first.iter().map(|name| clusters[0].cancel_build(name));
        let all = futures_util::future::try_join(try_join_all(waits), try_join_all(cancels));
        let (ended, _): (Vec<Build>, _) = tokio::time::timeout(Duration::from_mins(15), all).await.unwrap().unwrap();
        over.store(true, Ordering::Relaxed);
        (watcher.await.unwrap(), ended, begun)
    });
    let seconds = begun.elapsed().as_secs_f32();
    for build in &ended {
        assert_eq!(build.state, BuildState::Complete, "{}: {:?}", build.name, build.reason);
    }
    // Exactly: the turns as their records tell them.
    assert!(most_at_once(&ended) <= LIMIT as usize, "{} builds ran at once", most_at_once(&ended));
    let (looks, most) = most;
    assert!(most <= LIMIT as usize, "{most} builds had a turn at once");
    println!("{count} builds, limit {LIMIT}, five processes: {seconds:.0} s; at most {most} turns in {looks} looks");
    let longest = ended.iter().map(|build| build.finished.unwrap().duration_since(build.started.unwrap())).max();
    println!("the longest ran for {} ms", longest.unwrap().as_millis());
    nobody_starved(&ended);

    let mut requests = world.requests(&namespace);
    // Those of the test itself.
    *requests.get_mut("list jobs").unwrap() -= looks;
    let total: usize = requests.values().sum();
    for (what, number) in &requests {
        println!("  {:6.2} a build: {what}", *number as f64 / count as f64);
    }
    let a_build = total as f64 / count as f64;
    println!("API requests a build: {a_build:.1}");
    assert!(a_build < 100.0, "{a_build} requests a build");
}

/// Looks at the Jobs until it is over: how often, and how many had a turn at once.
async fn count_turns(cluster: KubernetesCluster, namespace: String, over: Arc<AtomicBool>) -> (usize, usize) {
    let jobs = kube::Api::<Job>::namespaced(cluster.client().clone(), &namespace);
    let (mut looks, mut most) = (0, 0);
    while !over.load(Ordering::Relaxed) {
        let unfinished = jobs.list(&ListParams::default().labels("osbs/finished=false")).await.unwrap();
        let with_turn = unfinished.items.iter().filter(|job| job.spec.as_ref().unwrap().parallelism == Some(1)).count();
        looks += 1;
        most = most.max(with_turn);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    (looks, most)
}

fn most_at_once(builds: &[Build]) -> usize {
    let mut changes: Vec<_> =
        builds.iter().flat_map(|build| [(build.started.unwrap(), 1), (build.finished.unwrap(), -1)]).collect();
    // An end before a start at the same moment.
    changes.sort_unstable();
    let (mut now, mut most) = (0_i32, 0);
    for (_, change) in changes {
        now += change;
        most = most.max(now);
    }
    most as usize
}

/// Builds of one user start in the order in which they were asked for, but for those of one round of slots; who came late
/// with few builds does not wait for all of who came first with many.
fn nobody_starved(builds: &[Build]) {
    let mut starts: Vec<_> = builds.iter().map(|build| (build.started.unwrap(), build)).collect();
    starts.sort_by_key(|(started, _)| *started);
    let place: BTreeMap<&str, usize> =
        starts.iter().enumerate().map(|(place, (_, build))| (build.name.as_str(), place)).collect();
    let mut last: BTreeMap<&str, usize> = BTreeMap::new();
    for build in builds {
        let user = build.output_image.split('/').next().unwrap();
        let last = last.entry(user).or_default();
        *last = (*last).max(place[build.name.as_str()]);
    }
    println!("place of the last build of each user among all starts: {last:?}");
    for user in USERS {
        let mut of_user: Vec<_> = builds.iter().filter(|build| build.output_image.starts_with(user)).collect();
        of_user.sort_by_key(|build| build.created);
        for pair in of_user.windows(2 * LIMIT as usize) {
            let (first, later) = (pair[0], pair[pair.len() - 1]);
            assert!(place[first.name.as_str()] < place[later.name.as_str()], "{} overtook {}", later.name, first.name);
        }
    }
    // His share is a quarter of the slots at least, and a sixth of the builds is his.
    let latest = builds.len() * 17 / 20;
    assert!(USERS[1..].iter().all(|user| last[user] < latest), "few builds wait for many of another user: {last:?}");
}

/// A process wrote its decision into the ledger and died before it unpaused the build: the next pass does it.
pub fn a_granted_build_starts_though_its_granter_died(world: &World) {
    let namespace = world.namespace();
    let cluster = world.cluster(&namespace);
    world.runtime.block_on(async {
        let slots = Some(Slots { group: "one".into(), max: 1 });
        let mut first = exact("first", Behaviour::Hold);
        first.slots.clone_from(&slots);
        let mut second = exact("second", Behaviour::Complete);
        second.slots = slots;
        cluster.create_build(first).await.unwrap();
        let second = cluster.create_build(second).await.unwrap().name;
        let first = "first".parse().unwrap();
        within("its start", cluster.wait_build(&first, WaitFor::Scheduled)).await.unwrap();
        let waits = cluster.get_build(&second).await.unwrap();
        assert_eq!((waits.state, waits.started), (BuildState::Pending, None));
        assert!(waits.reason.as_ref().is_some_and(|reason| reason.contains("1 of 1")), "{:?}", waits.reason);
        let all = cluster.list_builds(&BuildFilter::default()).await.unwrap();
        assert_eq!((all[1].state, &all[1].reason), (waits.state, &waits.reason));
        let jobs = kube::Api::<Job>::namespaced(cluster.client().clone(), &namespace);
        let uid = jobs.get("second").await.unwrap().metadata.uid.unwrap();
        let leases =
            kube::Api::<k8s_openapi::api::coordination::v1::Lease>::namespaced(cluster.client().clone(), &namespace);
        let ledger = serde_json::json!({"second": uid}).to_string();
        let patch = Patch::Merge(serde_json::json!({"metadata": {"annotations": {"osbs/granted": ledger}}}));
        leases.patch("osbs-queue", &PatchParams::default(), &patch).await.unwrap();
        cluster.pass().await.unwrap();
        let build = within("its end", cluster.wait_build(&second, WaitFor::Finished)).await.unwrap();
        assert_eq!(build.state, BuildState::Complete);
        cluster.cancel_build(&first).await.unwrap();
        within("its end", cluster.wait_build(&first, WaitFor::Finished)).await.unwrap();
    });
}
