//! Turns: the Lease `osbs-queue` is the ledger, a *pass* grants what the rule of [`osbs_cluster::queue`] says.
//!
//! A pass reads the ledger, then all unfinished Jobs; writes who starts into the ledger, under the version it read; then
//! unpauses those. So of two passes at once one begins again, and what a process that died had granted is unpaused by the
//! next pass.

use crate::client::{Pauses, asked, code, is_conflict};
use crate::job::{JobFacts, facts};
use crate::names::{GRANTED, QUEUE};
use crate::{KubernetesCluster, closing};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams, PostParams};
use osbs_cluster::queue::{Queued, decide};
use osbs_cluster::{Build, ClusterError, TextMap};
use osbs_types::{BuildName, BuildState, Timestamp};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Mutex;

/// Builds that are not finished.
pub(crate) const SELECTOR: &str = "osbs/build,osbs/finished=false";

/// Name -> uid of builds whose turn was granted.
type Ledger = TextMap;

/// Passes of this process: those that are asked for while one runs are one.
#[derive(Debug, Default)]
pub(crate) struct Passes {
    asked: AtomicU64,
    made: Mutex<u64>,
}

/// Builds that start now, in order: those of the ledger that nobody unpaused, then those whose turn it is.
fn to_start<'a>(jobs: &'a [JobFacts], ledger: &Ledger) -> Vec<&'a JobFacts> {
    let in_ledger =
        |job: &JobFacts| ledger.get(job.build.name.as_str()) == Some(&job.uid) && !job.build.cancel_requested;
    let mut start: Vec<_> = jobs.iter().filter(|job| !job.granted && in_ledger(job)).collect();
    let queue: Vec<_> =
        jobs.iter().filter_map(|job| Some((job, Queued::of(&job.build, job.granted || in_ledger(job))?))).collect();
    let builds: Vec<_> = queue.iter().map(|(_, queued)| queued.clone()).collect();
    start.extend(decide(&builds).start.into_iter().map(|place| queue[place].0));
    start
}

/// Whether a pass would do something for these unfinished builds: start one, or close a dead one.
pub(crate) fn work<'a>(jobs: impl Iterator<Item = &'a JobFacts> + Clone) -> bool {
    let queue: Vec<_> = jobs.clone().filter_map(|job| Queued::of(&job.build, job.granted)).collect();
    jobs.clone().any(JobFacts::looks_dead) || !decide(&queue).start.is_empty()
}

/// Why that build waits.
pub(crate) fn reason<'a>(jobs: impl Iterator<Item = &'a JobFacts>, name: &BuildName) -> Option<String> {
    let queue: Vec<_> = jobs.filter_map(|job| Queued::of(&job.build, job.granted)).collect();
    let waiting = decide(&queue).wait;
    waiting.into_iter().find(|(place, _)| queue[*place].name == name.as_str()).map(|(_, why)| why.to_string())
}

/// Shows why `builds` wait that do, as the queue of all unfinished builds has it.
pub(crate) fn show_reasons(builds: &mut [Build], jobs: &[JobFacts]) {
    let queue: Vec<_> = jobs.iter().filter_map(|job| Queued::of(&job.build, job.granted)).collect();
    let reasons: BTreeMap<&str, String> =
        decide(&queue).wait.into_iter().map(|(place, why)| (queue[place].name, why.to_string())).collect();
    for build in builds.iter_mut().filter(|build| build.state <= BuildState::Pending) {
        if let Some(reason) = reasons.get(build.name.as_str()) {
            build.state = BuildState::Pending;
            build.reason = Some(reason.clone());
        }
    }
}

fn read_ledger(lease: &Lease) -> Ledger {
    let text = lease.metadata.annotations.as_ref().and_then(|annotations| annotations.get(GRANTED));
    // A ledger that somebody spoiled only loses who was granted this very moment.
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

impl KubernetesCluster {
    /// Starts every waiting build whose turn it is, and closes dead ones. Anybody may, at any time: what is granted twice
    /// is granted once.
    ///
    /// # Errors
    /// The cluster cannot be asked.
    pub async fn pass(&self) -> Result<(), ClusterError> {
        let passes = self.passes();
        let mine = passes.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut made = passes.made.lock().await;
        if *made >= mine {
            return Ok(());
        }
        let covers = passes.asked.load(Ordering::SeqCst);
        let mut pauses = Pauses::short();
        while !self.try_pass().await? {
            pauses.wait().await;
        }
        *made = covers;
        Ok(())
    }

    /// One pass; `false`: another one was quicker.
    async fn try_pass(&self) -> Result<bool, ClusterError> {
        let mut lease = self.ledger().await?;
        let jobs = self.unfinished().await?;
        let ledger = read_ledger(&lease);
        let start = to_start(&jobs, &ledger);
        let granted: Ledger = start.iter().map(|job| (job.build.name.to_string(), job.uid.clone())).collect();
        if granted.iter().any(|(name, uid)| ledger.get(name) != Some(uid)) {
            let text = crate::job::to_text(&granted)?;
            lease.metadata.annotations.get_or_insert_default().insert(GRANTED.to_owned(), text);
            let api = self.api::<Lease>();
            let params = PostParams::default();
            match self.send(|| api.replace(QUEUE, &params, &lease)).await {
                Ok(_) => {}
                Err(error) if is_conflict(&error) => return Ok(false),
                Err(error) => {
                    return Err(self.failed(asked("update", "leases.coordination.k8s.io"), Some(QUEUE))(error));
                }
            }
        }
        for job in start {
            self.grant(job).await?;
        }
        Ok(true)
    }

    /// Unfinished builds. A Job that somebody spoiled is left out: it must not stop all others.
    pub(crate) async fn queue(&self) -> Result<Vec<JobFacts>, ClusterError> {
        let jobs: Vec<Job> = self.list_all("jobs.batch", SELECTOR).await?;
        Ok(jobs.iter().filter_map(|job| facts(job).ok()).collect())
    }

    /// Unfinished builds, after those that turned out to be dead were closed.
    async fn unfinished(&self) -> Result<Vec<JobFacts>, ClusterError> {
        let mut unfinished = self.queue().await?;
        let mut closed = Vec::new();
        for job in unfinished.iter().filter(|job| job.looks_dead()) {
            // Nor one that cannot be closed: whoever waits for it is told why.
            if let Ok(Some(_)) = Box::pin(closing::close_if_dead(self, job)).await {
                closed.push(job.uid.clone());
            }
        }
        unfinished.retain(|job| !closed.contains(&job.uid));
        Ok(unfinished)
    }

    async fn ledger(&self) -> Result<Lease, ClusterError> {
        let api = self.api::<Lease>();
        let get = || async { self.send(|| api.get_opt(QUEUE)).await };
        let failed = |verb| self.failed(asked(verb, "leases.coordination.k8s.io"), Some(QUEUE));
        loop {
            if let Some(lease) = get().await.map_err(failed("get"))? {
                return Ok(lease);
            }
            let lease = Lease {
                metadata: ObjectMeta { name: Some(QUEUE.to_owned()), ..ObjectMeta::default() },
                ..Lease::default()
            };
            let params = PostParams::default();
            match self.send(|| api.create(&params, &lease)).await {
                Ok(lease) => return Ok(lease),
                Err(error) if code(&error) == Some(409) => {}
                Err(error) => return Err(failed("create")(error)),
            }
        }
    }

    /// Unpauses a build, unless it was cancelled or unpaused meanwhile.
    pub(crate) async fn grant(&self, job: &JobFacts) -> Result<(), ClusterError> {
        let name = job.build.name.as_str();
        let api = self.api::<Job>();
        let params = PatchParams::default();
        let mut version = job.resource_version.clone();
        let mut pauses = Pauses::short();
        loop {
            let patch = Patch::Merge(json!({
                "metadata": {"resourceVersion": version, "annotations": {GRANTED: Timestamp::now().to_string()}},
                "spec": {"parallelism": 1},
            }));
            match self.send(|| api.patch(name, &params, &patch)).await {
                Ok(_) => return Ok(()),
                Err(error) if code(&error) == Some(404) => return Ok(()),
                Err(error) if is_conflict(&error) => {}
                Err(error) => return Err(self.failed(asked("patch", "jobs.batch"), Some(name))(error)),
            }
            pauses.wait().await;
            match self.facts_of(&job.build.name).await {
                Ok(now)
                    if now.uid != job.uid || now.granted || now.build.cancel_requested || now.build.is_finished() =>
                {
                    return Ok(());
                }
                Ok(now) => version = now.resource_version,
                Err(ClusterError::BuildNotFound { .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PodOptions;
    use crate::names::STATE;
    use osbs_cluster::{Build, GitSource, NameRule, NewBuild, Slots};
    use osbs_types::BuildType;

    /// `NAME STATE`, all in one group of two.
    fn jobs(builds: &[&str]) -> Vec<JobFacts> {
        let options = PodOptions { image: Some("i".into()), ..PodOptions::default() };
        let job = |(place, text): (usize, &&str)| {
            let (name, state) = text.split_once(' ').expect("two words");
            let source = GitSource { uri: "u".into(), git_ref: "r".into() };
            let name: BuildName = name.parse().expect("valid");
            let mut new = NewBuild::new(NameRule::Exact(name.clone()), BuildType::Worker, source, "alice/web:1");
            new.slots = Some(Slots { group: "worker:x".into(), max: 2 });
            let created = Timestamp::from_second(place as i64).expect("valid");
            let build = Build::from_new("osbs", name.clone(), None, new, created);
            let mut job = crate::job::job(&build, &options, None).expect("a Job");
            job.metadata.uid = Some(format!("uid-{name}"));
            let annotations = job.metadata.annotations.as_mut().expect("some");
            let (state, cancelled) = match state {
                "waits" => ("New", false),
                "cancelled" => ("New", true),
                _ => {
                    annotations.insert(GRANTED.to_owned(), "x".to_owned());
                    ("New", state == "stops")
                }
            };
            let state = format!(r#"{{"state":"{state}","cancel_requested":{cancelled}}}"#);
            annotations.insert(STATE.to_owned(), state);
            facts(&job).expect("ours")
        };
        builds.iter().enumerate().map(job).collect()
    }

    #[track_caller]
    fn check_start(builds: &[&str], ledger: &[&str], expect: &[&str]) {
        let jobs = jobs(builds);
        let entry = |name: &&str| match name.split_once('=') {
            Some((name, uid)) => (name.to_owned(), uid.to_owned()),
            None => ((*name).to_owned(), format!("uid-{name}")),
        };
        let start = to_start(&jobs, &ledger.iter().map(entry).collect());
        assert_eq!(start.iter().map(|job| job.build.name.as_str()).collect::<Vec<_>>(), expect);
    }

    #[test]
    fn the_ledger_counts_as_running() {
        check_start(&["a waits", "b waits", "c waits"], &[], &["a", "b"]);
        check_start(&["a granted", "b waits", "c waits"], &["a"], &["b"]);
        // Granted by a process that died before it unpaused: unpaused now, and counted once.
        check_start(&["a granted", "b waits", "c waits"], &["c"], &["c"]);
        check_start(&["a waits", "b waits", "c waits"], &["c"], &["c", "a"]);
        // An old build of that name was granted, not this one.
        check_start(&["a granted", "b granted", "c waits"], &["c=old"], &[]);
        // What is being cancelled holds its slot until it has ended; what never started holds none.
        check_start(&["a stops", "b granted", "c waits"], &[], &[]);
        check_start(&["a cancelled", "b granted", "c waits"], &["a"], &["c"]);
    }

    #[test]
    fn whether_there_is_work() {
        let check = |builds: &[&str], expect| assert_eq!(work(jobs(builds).iter()), expect, "{builds:?}");
        check(&[], false);
        check(&["a waits"], true);
        check(&["a granted", "b granted", "c waits"], false);
        check(&["a granted", "b granted", "c cancelled"], true);
    }

    #[test]
    fn reasons() {
        let jobs = jobs(&["a granted", "b granted", "c waits"]);
        let of = |name: &str| reason(jobs.iter(), &name.parse().expect("valid"));
        assert_eq!(of("a"), None);
        assert!(of("c").expect("it waits").contains("2 of 2"), "{:?}", of("c"));
        let mut builds: Vec<_> = jobs.iter().map(|job| job.build.clone()).collect();
        show_reasons(&mut builds, &jobs);
        assert_eq!((builds[0].state, &builds[0].reason), (BuildState::New, &None));
        assert_eq!((builds[2].state, &builds[2].reason), (BuildState::Pending, &of("c")));
    }
}
