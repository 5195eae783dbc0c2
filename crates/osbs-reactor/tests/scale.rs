//! A small day of the simulation in `examples/scale`: whatever happens, every build ends, no limit is exceeded, nobody
//! starves, and nobody asks more than there is to know.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../examples/scale/figures.rs"]
mod figures;
#[path = "../examples/scale/load.rs"]
mod load;
#[path = "../examples/scale/simulation.rs"]
mod simulation;
#[path = "../examples/scale/site.rs"]
mod site;

use load::{Day, Request, Work};
use osbs_types::BuildState;
use simulation::{Played, Rule, play};
use site::Spec;
use std::time::Duration;

const ORCHESTRATORS: u32 = 40;
const HOUR: Duration = Duration::from_hours(1);

/// The twenty clusters with a fifth of their slots, and a day of two hours.
fn small_site() -> Vec<Spec> {
    let mut specs = site::twenty_clusters();
    for spec in &mut specs {
        spec.max_concurrent_builds = (spec.max_concurrent_builds / 5).max(1);
        spec.away = spec.away.map(|(from, to)| (from / 12, to / 12));
    }
    specs
}

async fn small_day(rule: Rule) -> Played {
    let day = Day { builds: 250, seed: 3, hours: 2.0 };
    play(rule, small_site(), ORCHESTRATORS, 0.01, day.requests()).await
}

fn limits_are_kept(played: &Played, specs: &[Spec]) {
    for spec in specs {
        let most = figures::most_at_once(&figures::ran(&played.builds[&spec.name]));
        assert!(most <= spec.max_concurrent_builds as usize, "{most} at once on {}", spec.name);
    }
    assert!(figures::most_at_once(&figures::ran(&played.orchestrators)) <= ORCHESTRATORS as usize);
}

#[tokio::test(start_paused = true)]
async fn a_day_at_a_site() {
    let specs = small_site();
    let played = small_day(Rule::Osbs).await;
    assert_eq!(played.images.len(), 250);
    limits_are_kept(&played, &specs);
    let all = figures::figures(&played, &specs);
    for (cluster, builds) in &played.builds {
        let open: Vec<_> =
            builds.iter().filter(|build| !build.is_finished()).map(|build| build.name.as_str()).collect();
        assert!(open.is_empty(), "{open:?} still on {cluster}");
    }
    // Only what runs on a cluster when it goes away is lost: at most all of its slots.
    assert!(all["not_served"].as_u64().unwrap() <= 10, "{}", all["not_served"]);
    // Who asks for little waits less than who asks for much.
    let p95 = |user: &str| all["users"][user]["p95"].as_f64().unwrap();
    assert!(p95("37 other developers") < p95("rebuild"), "{}", all["users"]);
    let per_build = all["requests"]["per_worker_build"].as_f64().unwrap();
    assert!(per_build < 14.0, "{per_build} requests a worker build: {}", all["requests"]["by_kind"]);
}

/// What the figures are compared with obeys the same limits.
#[tokio::test(start_paused = true)]
async fn a_day_by_the_rule_of_upstream() {
    let specs = small_site();
    let played = small_day(Rule::Upstream).await;
    limits_are_kept(&played, &specs);
    let all = figures::figures(&played, &specs);
    assert!(all["not_served"].as_u64().unwrap() > 10, "one failed request ends a build: {}", all["not_served"]);
}

/// Images of one platform, asked for within a second.
fn crowd(count: usize, takes: Duration) -> Vec<Request> {
    let request = |number: usize| Request {
        at: Duration::from_millis(number as u64),
        user: format!("user{}", number % 5),
        build_config: None,
        work: vec![Work { platform: "x86_64", takes, fails: false }],
        prepare: Duration::from_secs(1),
        publish: Duration::from_secs(1),
    };
    (0..count).map(request).collect()
}

fn one_cluster(name: &str, slots: u32) -> Spec {
    Spec {
        name: name.to_owned(),
        platforms: vec!["x86_64"],
        max_concurrent_builds: slots,
        slowness: 1.0,
        latency: Duration::from_millis(5),
        away: None,
    }
}

/// 30 builds wait for hours behind others: not one request is made for it.
#[tokio::test(start_paused = true)]
async fn waiting_is_quiet() {
    let specs = vec![one_cluster("a", 2), one_cluster("b", 2)];
    let played = play(Rule::Osbs, specs, 100, 0.0, crowd(34, HOUR)).await;
    assert!(played.images.iter().all(|image| image.served));
    assert!(played.images.iter().any(|image| image.waited() > 7.0 * 3600.0), "nobody had to wait");
    // Two loads, a creation, the log, and a look at the end.
    assert_eq!(played.world.requests(), 34 * 5);
    let seconds = played.world.by_second.lock().unwrap();
    let idle = &seconds[60..3500];
    assert_eq!(idle.iter().sum::<u32>(), 0, "requests while nothing happens");
}

/// A cluster goes away with builds that run and builds that wait: those that wait are built elsewhere.
#[tokio::test(start_paused = true)]
async fn what_waits_on_a_lost_cluster_moves() {
    let away = Some((Duration::from_mins(5), Duration::from_mins(95)));
    let specs = vec![Spec { away, ..one_cluster("a", 2) }, one_cluster("b", 2)];
    let played = play(Rule::Osbs, specs, 100, 0.0, crowd(20, HOUR)).await;
    let (served, lost): (Vec<_>, Vec<_>) = played.images.iter().partition(|image| image.served);
    assert_eq!(lost.len(), 2, "what ran there cannot be watched any more: {lost:?}");
    let complete = played.builds["b"].iter().filter(|build| build.state == BuildState::Complete);
    assert_eq!(complete.count(), served.len(), "all that was not lost was built on the other");
    // What was given up was told to stop when the cluster was back, and nothing of it is left.
    assert!(played.builds["a"].iter().all(osbs_cluster::Build::is_finished));
    let given_up = played.builds["a"].iter().filter(|build| build.state == BuildState::Cancelled);
    assert_eq!(given_up.count(), played.builds["a"].len() - 2);
}
