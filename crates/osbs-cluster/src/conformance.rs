//! What every cluster must pass. Each check takes an empty cluster and panics where a promise of [`Cluster`] is broken. The
//! cluster under test runs builds that obey [`Behaviour`], which they find in `USER_PARAMS`.

#![allow(clippy::missing_panics_doc, clippy::unwrap_used)]

use crate::{
    Build, BuildConfig, BuildFilter, BuildPatch, Cluster, ClusterError, GitSource, NameRule, NewBuild, SecretData,
    Slots, StoredEvent, TextMap, WaitFor,
};
use futures_util::{StreamExt, TryStreamExt};
use osbs_types::{BuildName, BuildState, BuildType, ErrorKind, EventKind, Nvr};
use std::time::Duration;

/// Nothing here takes that long.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a build of these tests does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Writes three log lines, `line 1` to `line 3`, and ends well.
    Complete,
    /// Writes a failure event with kind user and message `no FROM`, and ends as a user error (exit code 1).
    Fail,
    /// Runs until it is cancelled.
    Hold,
}

impl Behaviour {
    /// `{"conformance":"WORD"}`, the value of `USER_PARAMS`.
    pub fn user_params(self) -> String {
        format!(r#"{{"conformance":"{}"}}"#, self.word())
    }

    /// The word in there: `complete`, `fail`, `hold`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Fail => "fail",
            Self::Hold => "hold",
        }
    }

    /// What a build was told to do.
    pub fn of(build: &Build) -> Self {
        let params = build.env.get("USER_PARAMS").map_or("", String::as_str);
        [Self::Fail, Self::Hold].into_iter().find(|b| params == b.user_params()).unwrap_or(Self::Complete)
    }
}

/// A request for such a build.
pub fn request(name: NameRule, behaviour: Behaviour) -> NewBuild {
    let source = GitSource { uri: "https://git.example.com/web.git".into(), git_ref: "main".into() };
    let mut new = NewBuild::new(name, BuildType::Orchestrator, source, "alice/web:none-12345-20240102030405");
    new.env.insert("USER_PARAMS".into(), behaviour.user_params());
    new
}

fn exact(name: &str, behaviour: Behaviour) -> NewBuild {
    request(NameRule::Exact(name.parse().unwrap()), behaviour)
}

fn config(name: &str) -> BuildConfig {
    BuildConfig {
        name: name.to_owned(),
        labels: [("git-repo-name".to_owned(), name.to_owned()), ("git-branch".to_owned(), "f40".to_owned())].into(),
        source: GitSource { uri: "https://git.example.com/web.git".into(), git_ref: "main".into() },
        last_version: 0,
    }
}

fn of_config(name: &str, behaviour: Behaviour) -> NewBuild {
    request(NameRule::Config { build_config: name.to_owned() }, behaviour)
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let result = tokio::time::timeout(PATIENCE, future).await;
    result.unwrap_or_else(|_| panic!("{what}: nothing happened for {} s", PATIENCE.as_secs()))
}

async fn finish(cluster: &dyn Cluster, name: &BuildName) -> Build {
    within("end of a build", cluster.wait_build(name, WaitFor::Finished)).await.unwrap()
}

async fn running(cluster: &dyn Cluster, name: &BuildName) -> Build {
    within("start of a build", cluster.wait_build(name, WaitFor::Scheduled)).await.unwrap()
}

async fn all_events(cluster: &dyn Cluster, name: &BuildName, from: u64, follow: bool) -> Vec<StoredEvent> {
    let stream = cluster.events(name, from, follow).await.unwrap();
    within("end of the events", stream.try_collect()).await.unwrap()
}

fn states(events: &[StoredEvent]) -> Vec<BuildState> {
    let state = |stored: &StoredEvent| match &stored.event.kind {
        EventKind::State { state, .. } => Some(*state),
        _ => None,
    };
    events.iter().filter_map(state).collect()
}

fn lines(events: &[StoredEvent]) -> Vec<String> {
    let line = |stored: &StoredEvent| match &stored.event.kind {
        EventKind::Log(line) => Some(line.text().into_owned()),
        _ => None,
    };
    events.iter().filter_map(line).collect()
}

/// All checks, one after the other, each on a cluster of its own.
pub async fn all<C: Cluster>(mut fresh: impl FnMut() -> C) {
    builds_are_recorded(&fresh()).await;
    names_are_used_once(&fresh()).await;
    events_come_in_order_and_can_be_resumed(&fresh()).await;
    failures_are_kept(&fresh()).await;
    followers_see_events_as_they_come(&fresh()).await;
    cancelling_stops_and_is_idempotent(&fresh()).await;
    waiting_builds_can_be_cancelled(&fresh()).await;
    a_build_config_runs_one_at_a_time(&fresh()).await;
    slots_are_kept(&fresh()).await;
    patches_merge(&fresh()).await;
    filters_select(&fresh()).await;
    build_configs_are_reused(&fresh()).await;
    config_maps_are_kept(&fresh()).await;
    secrets_are_kept(&fresh()).await;
    an_nvr_is_given_once(&fresh()).await;
    releases_never_collide(&fresh()).await;
}

/// What was asked for is what is recorded.
pub async fn builds_are_recorded(cluster: &dyn Cluster) {
    let mut new = exact("scratch-12345-20240102030405", Behaviour::Complete);
    new.labels.insert("scratch".into(), "true".into());
    new.platform = Some("x86_64".parse().unwrap());
    let created = cluster.create_build(new.clone()).await.unwrap();
    assert_eq!(created.namespace, cluster.namespace());
    assert_eq!(created.env, new.env);
    let build = finish(cluster, &created.name).await;
    assert_eq!(NameRule::Exact(build.name.clone()), new.name);
    assert_eq!((&build.labels, &build.source), (&new.labels, &new.source));
    assert!(build.env.is_empty() || build.env == new.env, "all of it, or none any more");
    assert_eq!((build.state, build.platform.as_ref()), (BuildState::Complete, new.platform.as_ref()));
    assert!(build.flag("scratch") && !build.flag("isolated"));
    let (started, finished) = (build.started.unwrap(), build.finished.unwrap());
    assert!(build.created <= started && started <= finished);

    let missing: BuildName = "missing".parse().unwrap();
    let error = cluster.get_build(&missing).await.unwrap_err();
    assert!(matches!(error, ClusterError::BuildNotFound { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::User);
    assert!(cluster.cancel_build(&missing).await.is_err());
    assert!(cluster.events(&missing, 0, false).await.is_err());
}

/// A name is given once; a BuildConfig must exist.
pub async fn names_are_used_once(cluster: &dyn Cluster) {
    let first = cluster.create_build(exact("a", Behaviour::Complete)).await.unwrap();
    finish(cluster, &first.name).await;
    let error = cluster.create_build(exact("a", Behaviour::Complete)).await.unwrap_err();
    assert!(matches!(error, ClusterError::NameTaken { .. }), "{error}");
    let error = cluster.create_build(of_config("none", Behaviour::Complete)).await.unwrap_err();
    assert!(matches!(error, ClusterError::NotFound { kind: "BuildConfig", .. }), "{error}");
    assert_eq!(cluster.list_builds(&BuildFilter::default()).await.unwrap().len(), 1);
}

/// Every event once, in order, from any place.
pub async fn events_come_in_order_and_can_be_resumed(cluster: &dyn Cluster) {
    let build = cluster.create_build(exact("a", Behaviour::Complete)).await.unwrap();
    let followed = all_events(cluster, &build.name, 0, true).await;
    assert_eq!(lines(&followed), ["line 1", "line 2", "line 3"]);
    let states = states(&followed);
    assert_eq!((states.first(), states.last()), (Some(&BuildState::New), Some(&BuildState::Complete)));
    assert!(states.is_sorted() && states.contains(&BuildState::Running), "{states:?}");
    assert!(cluster.get_build(&build.name).await.unwrap().is_finished(), "a followed log ends after its build");
    assert_eq!(all_events(cluster, &build.name, 0, false).await, followed);
    for (index, stored) in followed.iter().enumerate() {
        assert_eq!(all_events(cluster, &build.name, stored.offset, true).await, followed[index + 1..]);
    }
}

/// Why it failed is in its record and in its events.
pub async fn failures_are_kept(cluster: &dyn Cluster) {
    let build = cluster.create_build(exact("a", Behaviour::Fail)).await.unwrap();
    let build = finish(cluster, &build.name).await;
    assert_eq!(build.state, BuildState::Failed);
    let failure = build.failure.clone().unwrap();
    assert_eq!((failure.kind, failure.message.as_str()), (ErrorKind::User, "no FROM"));
    assert_eq!(build.reason.as_deref(), Some("no FROM"));
    let events = all_events(cluster, &build.name, 0, false).await;
    let failures = events.iter().filter(|stored| matches!(stored.event.kind, EventKind::Failure(_)));
    assert_eq!(failures.count(), 1);
}

/// A follower does not wait for the end.
pub async fn followers_see_events_as_they_come(cluster: &dyn Cluster) {
    let build = cluster.create_build(exact("a", Behaviour::Hold)).await.unwrap();
    let mut stream = cluster.events(&build.name, 0, true).await.unwrap();
    let mut seen = Vec::new();
    while states(&seen).last() != Some(&BuildState::Running) {
        seen.push(within("the next event", stream.next()).await.unwrap().unwrap());
    }
    cluster.cancel_build(&build.name).await.unwrap();
    let rest: Vec<_> = within("end of the events", stream.try_collect()).await.unwrap();
    assert_eq!(states(&rest).last(), Some(&BuildState::Cancelled));
}

/// A running build is stopped; asking again changes nothing.
pub async fn cancelling_stops_and_is_idempotent(cluster: &dyn Cluster) {
    let build = cluster.create_build(exact("a", Behaviour::Hold)).await.unwrap();
    assert_eq!(running(cluster, &build.name).await.state, BuildState::Running);
    for _ in 0..2 {
        assert!(cluster.cancel_build(&build.name).await.unwrap().cancel_requested);
    }
    let ended = finish(cluster, &build.name).await;
    assert_eq!(ended.state, BuildState::Cancelled);
    assert_eq!(cluster.cancel_build(&build.name).await.unwrap(), ended);

    let build = cluster.create_build(exact("b", Behaviour::Complete)).await.unwrap();
    let ended = finish(cluster, &build.name).await;
    assert_eq!(cluster.cancel_build(&build.name).await.unwrap(), ended, "a finished build stays as it is");
}

/// A build that waits and is cancelled never starts, and does not hold up others.
pub async fn waiting_builds_can_be_cancelled(cluster: &dyn Cluster) {
    cluster.ensure_build_config(config("web")).await.unwrap();
    let mut names = Vec::new();
    for behaviour in [Behaviour::Hold, Behaviour::Complete, Behaviour::Complete] {
        names.push(cluster.create_build(of_config("web", behaviour)).await.unwrap().name);
    }
    running(cluster, &names[0]).await;
    cluster.cancel_build(&names[1]).await.unwrap();
    let second = finish(cluster, &names[1]).await;
    assert_eq!((second.state, second.started), (BuildState::Cancelled, None));
    assert!(cluster.get_build(&names[2]).await.unwrap().state <= BuildState::Pending);
    cluster.cancel_build(&names[0]).await.unwrap();
    assert_eq!(finish(cluster, &names[2]).await.state, BuildState::Complete);
}

/// Builds of one BuildConfig run one at a time, in the order they were asked for.
pub async fn a_build_config_runs_one_at_a_time(cluster: &dyn Cluster) {
    cluster.ensure_build_config(config("web")).await.unwrap();
    let mut names = Vec::new();
    for _ in 0..4 {
        names.push(cluster.create_build(of_config("web", Behaviour::Complete)).await.unwrap().name);
    }
    assert_eq!(names.iter().map(BuildName::as_str).collect::<Vec<_>>(), ["web-1", "web-2", "web-3", "web-4"]);
    let mut before = None;
    for name in &names {
        let build = finish(cluster, name).await;
        assert_eq!(build.state, BuildState::Complete);
        assert!(build.started >= before, "{name} started before the one ahead of it had ended");
        before = build.finished;
    }
}

/// No more builds of a group run than it has slots.
pub async fn slots_are_kept(cluster: &dyn Cluster) {
    let slots = Some(Slots { group: "worker:local".into(), max: 2 });
    let mut names = Vec::new();
    for index in 0..4 {
        let mut new = exact(&format!("b{index}"), Behaviour::Hold);
        new.slots.clone_from(&slots);
        names.push(cluster.create_build(new).await.unwrap().name);
    }
    for (index, name) in names.iter().enumerate() {
        running(cluster, name).await;
        let builds = cluster.list_builds(&BuildFilter::default()).await.unwrap();
        let running = builds.iter().filter(|build| build.state == BuildState::Running).count();
        assert!(running <= 2, "{running} run at once");
        assert_eq!(cluster.active_builds(Some("worker:local")).await.unwrap(), 4 - index);
        assert_eq!(cluster.active_builds(Some("other")).await.unwrap(), 0);
        cluster.cancel_build(name).await.unwrap();
        finish(cluster, name).await;
    }
    assert_eq!(cluster.active_builds(None).await.unwrap(), 0);
}

/// Values replace, null removes, the rest stays; nothing is lost among many at once.
pub async fn patches_merge(cluster: &dyn Cluster) {
    let mut new = exact("a", Behaviour::Hold);
    new.labels.insert("keep".into(), "1".into());
    new.labels.insert("drop".into(), "1".into());
    let name = cluster.create_build(new).await.unwrap().name;
    let mut patch = BuildPatch::default().label("added", "2").annotation("digests", "[]");
    patch.labels.insert("drop".into(), None);
    let build = cluster.update_build(&name, patch).await.unwrap();
    let labels: Vec<_> = build.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(labels, ["added=2", "keep=1"]);
    let patches = (0..16).map(|n| {
        let patch = BuildPatch::default().annotation(format!("n{n}"), "x");
        cluster.update_build(&name, patch)
    });
    futures_util::future::try_join_all(patches).await.unwrap();
    cluster.cancel_build(&name).await.unwrap();
    let build = finish(cluster, &name).await;
    assert_eq!(build.annotations.len(), 17);
    let build = cluster.update_build(&name, BuildPatch::default().label("late", "1")).await.unwrap();
    assert!(build.is_finished() && build.labels.contains_key("late"));
}

/// Each condition of a filter selects.
pub async fn filters_select(cluster: &dyn Cluster) {
    let mut first = exact("a", Behaviour::Hold);
    first.labels.insert("koji-task-id".into(), "7".into());
    let mut second = exact("b", Behaviour::Complete);
    second.build_type = BuildType::Worker;
    second.parent = Some("a".parse().unwrap());
    let first = cluster.create_build(first).await.unwrap().name;
    let second = cluster.create_build(second).await.unwrap().name;
    finish(cluster, &second).await;
    let task = BuildFilter { labels: [("koji-task-id".into(), "7".into())].into(), ..BuildFilter::default() };
    let cases = [
        (BuildFilter::default(), "a b"),
        (task, "a"),
        (BuildFilter { unfinished: true, ..BuildFilter::default() }, "a"),
        (BuildFilter { states: vec![BuildState::Complete], ..BuildFilter::default() }, "b"),
        (BuildFilter { build_type: Some(BuildType::Worker), ..BuildFilter::default() }, "b"),
        (BuildFilter { parent: Some(first.clone()), ..BuildFilter::default() }, "b"),
        (BuildFilter { build_config: Some("none".into()), ..BuildFilter::default() }, ""),
        (BuildFilter { limit: Some(1), ..BuildFilter::default() }, "b"),
    ];
    for (filter, expect) in cases {
        let found = cluster.list_builds(&filter).await.unwrap();
        let names: Vec<_> = found.iter().map(|build| build.name.as_str()).collect();
        assert_eq!(names.join(" "), expect, "{filter:?}");
    }
    cluster.cancel_build(&first).await.unwrap();
    finish(cluster, &first).await;
}

/// A BuildConfig is found by its labels, goes on counting, and refuses another branch.
pub async fn build_configs_are_reused(cluster: &dyn Cluster) {
    cluster.ensure_build_config(config("web")).await.unwrap();
    let build = cluster.create_build(of_config("web", Behaviour::Complete)).await.unwrap();
    finish(cluster, &build.name).await;
    assert_eq!((build.build_config.as_deref(), build.number), (Some("web"), Some(1)));
    assert_eq!(cluster.ensure_build_config(config("web")).await.unwrap().last_version, 1);
    let found = cluster.find_build_configs(&config("web").labels).await.unwrap();
    assert_eq!(found.len(), 1);
    assert!(cluster.find_build_configs(&config("db").labels).await.unwrap().is_empty());
    let mut other = config("web");
    other.labels.insert("git-branch".into(), "f41".into());
    let error = cluster.ensure_build_config(other).await.unwrap_err();
    assert!(matches!(error, ClusterError::BuildConfigDiffers { .. }), "{error}");
    for bad in ["", "../web", "a/b"] {
        assert!(cluster.ensure_build_config(config(bad)).await.is_err(), "{bad:?}");
    }
    for _ in 0..2 {
        cluster.delete_build_config("web").await.unwrap();
        assert_eq!(cluster.get_build_config("web").await.unwrap(), None);
    }
    assert_eq!(cluster.get_build(&build.name).await.unwrap().name, build.name, "its builds stay");
}

/// ConfigMaps come back whole.
pub async fn config_maps_are_kept(cluster: &dyn Cluster) {
    let data: TextMap = [("metadata.json".to_owned(), "{\"a\": \"ü\"}".to_owned())].into();
    cluster.put_config_map("web-1-md", &data).await.unwrap();
    assert_eq!(cluster.get_config_map("web-1-md").await.unwrap(), data);
    cluster.put_config_map("web-1-md", &TextMap::new()).await.unwrap();
    assert_eq!(cluster.get_config_map("web-1-md").await.unwrap(), TextMap::new());
    assert_eq!(cluster.list_config_maps().await.unwrap(), ["web-1-md"]);
    assert!(cluster.put_config_map("../x", &data).await.is_err());
    for _ in 0..2 {
        cluster.delete_config_map("web-1-md").await.unwrap();
        let error = cluster.get_config_map("web-1-md").await.unwrap_err();
        assert!(matches!(error, ClusterError::NotFound { kind: "ConfigMap", .. }), "{error}");
    }
}

/// Secrets come back byte for byte, and their names cannot leave the cluster.
pub async fn secrets_are_kept(cluster: &dyn Cluster) {
    let data = SecretData::new().with("token", "hunter2").with("key", vec![0xff, 0x00]);
    cluster.put_secret("reg", &data).await.unwrap();
    assert_eq!(cluster.get_secret("reg").await.unwrap(), data);
    cluster.put_secret("reg", &SecretData::new().with("token", "new")).await.unwrap();
    assert_eq!(cluster.get_secret("reg").await.unwrap().keys().collect::<Vec<_>>(), ["token"]);
    assert_eq!(cluster.list_secrets().await.unwrap(), ["reg"]);
    for bad in ["..", "a/b", ""] {
        assert!(cluster.put_secret(bad, &data).await.is_err(), "name {bad:?}");
        assert!(cluster.put_secret("x", &SecretData::new().with(bad, "1")).await.is_err(), "key {bad:?}");
    }
    cluster.delete_secret("reg").await.unwrap();
    assert!(cluster.get_secret("reg").await.is_err());
    assert!(cluster.secret_dir("reg").await.is_err());
}

/// An NVR has one owner, for ever.
pub async fn an_nvr_is_given_once(cluster: &dyn Cluster) {
    let nvr: Nvr = "web-container-1.0-3.fc40".parse().unwrap();
    let (first, second): (BuildName, BuildName) = ("web-1".parse().unwrap(), "web-2".parse().unwrap());
    assert_eq!(cluster.nvr_owner(&nvr).await.unwrap(), None);
    let reservation = cluster.reserve_nvr(&nvr, &first).await.unwrap();
    assert_eq!(cluster.reserve_nvr(&nvr, &first).await.unwrap(), reservation);
    let error = cluster.reserve_nvr(&nvr, &second).await.unwrap_err();
    assert!(matches!(&error, ClusterError::NvrTaken { by, .. } if *by == first), "{error}");
    assert_eq!(cluster.nvr_owner(&nvr).await.unwrap(), Some(first));
    assert_eq!(cluster.next_release("web-container", "1.0").await.unwrap(), "4.fc40");
    assert_eq!(cluster.next_release("web-container", "2.0").await.unwrap(), "1");
}

/// Many builds that take "the next" release get different ones.
pub async fn releases_never_collide(cluster: &dyn Cluster) {
    let take = |n: usize| async move {
        let by: BuildName = format!("web-{n}").parse().unwrap();
        loop {
            let release = cluster.next_release("web", "1").await.unwrap();
            match cluster.reserve_nvr(&Nvr::new("web", "1", &release).unwrap(), &by).await {
                Ok(_) => return release.parse::<u32>().unwrap(),
                Err(ClusterError::NvrTaken { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    let mut releases = futures_util::future::join_all((1..=8).map(take)).await;
    releases.sort_unstable();
    assert_eq!(releases, (1..=8).collect::<Vec<u32>>());
}
