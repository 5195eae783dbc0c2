//! What the status of a Job and its pods says, in words. Pure.

use crate::job::JobFacts;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, Pod, PodStatus};
use osbs_cluster::{Build, Ending};
use osbs_types::{BuildState, ErrorKind, Timestamp};
use std::time::Duration;

/// How long a pod may stay after its time to go was over, before its node counts as lost.
const NODE_PATIENCE: SignedDuration = SignedDuration::from_secs(60);
/// Longest text of others in a reason.
const LONGEST: usize = 600;

/// How a pod stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PodState {
    /// It will run; why it does not yet.
    Waiting(String),
    /// It runs, or is about to end.
    Running,
    /// It has not run and never will.
    Stuck(Ending),
    /// Its runner is gone.
    Ended(Ending),
}

fn dead(kind: ErrorKind, reason: impl Into<String>) -> Ending {
    Ending { state: BuildState::Error, reason: Some(reason.into()), kind }
}

/// What a pod's status says. `patience`: how long it may fail to start.
pub(crate) fn pod_state(pod: &Pod, now: Timestamp, patience: Duration) -> PodState {
    let status = pod.status.clone().unwrap_or_default();
    let container = status.container_statuses.as_deref().unwrap_or_default().first();
    let state = container.and_then(|container| container.state.clone()).unwrap_or_default();
    if let Some(terminated) = &state.terminated {
        return PodState::Ended(ended(pod, &status, terminated));
    }
    if let Some(ending) = gone(pod, &status) {
        return PodState::Ended(ending);
    }
    if let Some(deleted) = &pod.metadata.deletion_timestamp
        && now.duration_since(deleted.0) > NODE_PATIENCE
    {
        let reason = format!("{} does not answer any more: its pod was deleted and never ended (NodeLost)", node(pod));
        return PodState::Ended(dead(ErrorKind::Resource, reason));
    }
    if state.running.is_some() {
        return PodState::Running;
    }
    match failing(&state, container.map_or("", |container| &container.image)) {
        Some((reason, kind, is_final)) if is_final || waited(pod, &status, now) >= patience => {
            PodState::Stuck(dead(kind, reason))
        }
        Some((reason, ..)) => PodState::Waiting(reason),
        None => PodState::Waiting(waiting(pod, &status)),
    }
}

/// How long its node has tried to start it.
fn waited(pod: &Pod, status: &PodStatus, now: Timestamp) -> Duration {
    let placed = condition(status, "PodScheduled").and_then(|one| one.last_transition_time.as_ref());
    let since = placed.or(pod.metadata.creation_timestamp.as_ref()).map_or(now, |time| time.0);
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

fn condition<'a>(status: &'a PodStatus, wanted: &str) -> Option<&'a k8s_openapi::api::core::v1::PodCondition> {
    status.conditions.as_deref().unwrap_or_default().iter().find(|one| one.type_ == wanted)
}

fn node(pod: &Pod) -> String {
    let name = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    name.map_or_else(|| "its node".to_owned(), |name| format!("node {name}"))
}

/// `: TEXT`, on one line and not too long.
fn colon(text: Option<&str>) -> String {
    let words: Vec<_> = text.unwrap_or_default().split_whitespace().collect();
    let text: String = words.join(" ").chars().take(LONGEST).collect();
    if text.is_empty() { text } else { format!(": {}", text.trim_end_matches('.')) }
}

/// What the status of the whole pod says, when that is its end.
fn gone(pod: &Pod, status: &PodStatus) -> Option<Ending> {
    let is_over = matches!(status.phase.as_deref(), Some("Failed" | "Succeeded"));
    let reason = status.reason.as_deref().unwrap_or_default();
    (is_over || reason == "NodeLost").then(|| of_pod(pod, status, reason))
}

fn of_pod(pod: &Pod, status: &PodStatus, reason: &str) -> Ending {
    let message = colon(status.message.as_deref());
    let text = match reason {
        "Evicted" => format!("its pod was evicted from {}{message} (Evicted)", node(pod)),
        "DeadlineExceeded" => deadline(pod),
        "NodeLost" => format!("{} does not answer any more{message} (NodeLost)", node(pod)),
        "" => format!("its pod ended without a reason on {}{message}", node(pod)),
        other => format!("{} ended its pod{message} ({other})", node(pod)),
    };
    dead(ErrorKind::Resource, text)
}

fn deadline(pod: &Pod) -> String {
    let seconds = pod.spec.as_ref().and_then(|spec| spec.active_deadline_seconds);
    let limit = seconds.map_or_else(String::new, |seconds| format!(" of {seconds} s"));
    format!("it ran longer than its deadline{limit} (DeadlineExceeded)")
}

fn ended(pod: &Pod, status: &PodStatus, end: &ContainerStateTerminated) -> Ending {
    let of_pod_itself = status.reason.as_deref().filter(|reason| !reason.is_empty());
    if let Some(reason) = of_pod_itself {
        return of_pod(pod, status, reason);
    }
    let message = colon(end.message.as_deref());
    let text = match (end.reason.as_deref().unwrap_or_default(), end.exit_code) {
        ("OOMKilled", _) => out_of_memory(memory_limit(pod).as_deref()),
        ("ContainerCannotRun" | "StartError", _) => {
            format!("its container cannot be started{message} (ContainerCannotRun)")
        }
        ("DeadlineExceeded", _) => deadline(pod),
        _ if pod.metadata.deletion_timestamp.is_some() => deleted(pod),
        (_, 137) => "its runner was killed by signal 9".to_owned(),
        (reason, code) => {
            let reason = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
            format!("its runner ended with exit code {code} before it had recorded the build's end{message}{reason}")
        }
    };
    dead(ErrorKind::Resource, text)
}

/// The kernel killed a process for its memory.
pub(crate) fn out_of_memory(limit: Option<&str>) -> String {
    let limit = limit.map_or_else(String::new, |limit| format!(": its limit is {limit}"));
    format!("killed because it ran out of memory{limit} (OOMKilled)")
}

fn memory_limit(pod: &Pod) -> Option<String> {
    let container = pod.spec.as_ref()?.containers.first()?;
    container.resources.as_ref()?.limits.as_ref()?.get("memory").map(|quantity| quantity.0.clone())
}

/// Somebody deleted the pod.
fn deleted(pod: &Pod) -> String {
    format!("its pod was deleted: by hand, or because {} was drained", node(pod))
}

/// Why a pod that still runs was told to stop; nothing if its status does not tell.
pub(crate) fn told_to_stop(pod: &Pod, now: Timestamp) -> Option<String> {
    let status = pod.status.clone().unwrap_or_default();
    if let Some(ending) = gone(pod, &status) {
        return ending.reason;
    }
    if pod.metadata.deletion_timestamp.is_some() {
        return Some(deleted(pod));
    }
    // The kubelet says so only when the pod has ended.
    let limit = pod.spec.as_ref()?.active_deadline_seconds?;
    let ran = now.duration_since(status.start_time?.0);
    (ran >= SignedDuration::from_secs(limit)).then(|| deadline(pod))
}

/// Why a container cannot start: the words, whose fault it is, and whether it is so for ever.
fn failing(state: &ContainerState, image: &str) -> Option<(String, ErrorKind, bool)> {
    let waiting = state.waiting.as_ref()?;
    let message = colon(waiting.message.as_deref());
    let reason = waiting.reason.as_deref()?;
    let (text, kind, is_final) = match reason {
        "ErrImagePull" | "ImagePullBackOff" | "RegistryUnavailable" | "ImageInspectError" => {
            (format!("its builder image {image} cannot be pulled{message} ({reason})"), ErrorKind::Remote, false)
        }
        "InvalidImageName" => (format!("{image} is no name of an image ({reason})"), ErrorKind::Policy, true),
        "ErrImageNeverPull" => (
            format!("its builder image {image} is not on the node, and may not be pulled ({reason})"),
            ErrorKind::Policy,
            true,
        ),
        "CreateContainerConfigError" => {
            (format!("its container cannot be made{message} ({reason})"), ErrorKind::Policy, false)
        }
        "CreateContainerError" | "RunContainerError" | "CrashLoopBackOff" => {
            (format!("its container cannot be started{message} ({reason})"), ErrorKind::Resource, false)
        }
        _ => return None,
    };
    Some((text, kind, is_final))
}

/// Why it has not started yet.
fn waiting(pod: &Pod, status: &PodStatus) -> String {
    match condition(status, "PodScheduled") {
        Some(one) if one.status == "False" => {
            let reason = one.reason.as_deref().unwrap_or("Unschedulable");
            format!("no node takes it yet{} ({reason})", colon(one.message.as_deref()))
        }
        Some(_) => format!("{} prepares its pod", node(pod)),
        None => "waiting for a node".to_owned(),
    }
}

/// Secrets that a pod which does not start may be waiting for: nothing in its status says so.
pub(crate) fn may_lack_secrets(pod: &Pod, now: Timestamp, patience: Duration) -> bool {
    let status = pod.status.clone().unwrap_or_default();
    let is_placed = condition(&status, "PodScheduled").is_some_and(|one| one.status == "True");
    let container = status.container_statuses.as_deref().unwrap_or_default().first();
    let state = container.and_then(|container| container.state.as_ref());
    let is_creating = state
        .and_then(|state| state.waiting.as_ref())
        .is_none_or(|waiting| matches!(waiting.reason.as_deref(), None | Some("ContainerCreating")));
    let runs = state.is_some_and(|state| state.running.is_some() || state.terminated.is_some());
    is_placed && is_creating && !runs && waited(pod, &status, now) >= patience
}

/// How the build has ended, if nothing runs it any more and nothing will. `pods` are all that are there of it.
pub(crate) fn ending(facts: &JobFacts, pods: &[Pod], now: Timestamp, patience: Duration) -> Option<Ending> {
    if facts.build.is_finished() {
        return None;
    }
    let own: Vec<_> = pods.iter().filter(|pod| is_of(pod, &facts.uid)).collect();
    let uid = |pod: &Pod| pod.metadata.uid.clone();
    let ran = facts.pod.is_some().then(|| own.iter().find(|pod| uid(pod) == facts.pod));
    let found = match ran {
        // The pod that ran it decides; another one comes too late.
        Some(Some(pod)) => match pod_state(pod, now, patience) {
            PodState::Ended(ending) | PodState::Stuck(ending) => Some(ending),
            PodState::Waiting(_) | PodState::Running => None,
        },
        Some(None) => Some(dead(ErrorKind::Resource, "its pod was deleted, with force or with its node")),
        None => never_ran(facts, &own, now, patience),
    };
    found.map(|ending| wished(facts, ending))
}

/// The Job of that uid owns it.
fn is_of(pod: &Pod, job: &str) -> bool {
    pod.metadata.owner_references.as_deref().unwrap_or_default().iter().any(|owner| owner.uid == job)
}

fn never_ran(facts: &JobFacts, pods: &[&Pod], now: Timestamp, patience: Duration) -> Option<Ending> {
    let states: Vec<_> = pods.iter().map(|pod| pod_state(pod, now, patience)).collect();
    let is_alive = |state: &PodState| matches!(state, PodState::Waiting(_) | PodState::Running);
    if states.iter().any(is_alive) {
        return None;
    }
    let ended = states.into_iter().find_map(|state| match state {
        PodState::Stuck(ending) | PodState::Ended(ending) => Some(ending),
        PodState::Waiting(_) | PodState::Running => None,
    });
    if ended.is_some() {
        return ended;
    }
    if facts.build.cancel_requested {
        return Some(dead(ErrorKind::Cancelled, ""));
    }
    let conditions = facts.status.conditions.as_deref().unwrap_or_default();
    let over =
        conditions.iter().find(|one| matches!(one.type_.as_str(), "Failed" | "Complete") && one.status == "True")?;
    let reason = over.reason.as_deref().unwrap_or(&over.type_);
    let text = format!("its Job ended{} ({reason}), and its pod is gone", colon(over.message.as_deref()));
    Some(dead(ErrorKind::Resource, text))
}

/// What was asked for is not an error.
fn wished(facts: &JobFacts, ending: Ending) -> Ending {
    if !facts.build.cancel_requested {
        return ending;
    }
    let wish = facts.build.reason.clone().unwrap_or_else(|| "cancelled on request".to_owned());
    let reason = match ending.reason.filter(|reason| !reason.is_empty() && facts.pod.is_some()) {
        Some(reason) => format!("{wish}; {reason}"),
        None => wish,
    };
    Ending { state: BuildState::Cancelled, reason: Some(reason), kind: ErrorKind::Cancelled }
}

/// The build as it is shown: the record, and for an unfinished one what its pods say beyond it (why it is pending, that it is
/// dead though nobody has closed it yet). `pods` are all that have the label `osbs/build` of this build.
pub(crate) fn shown(facts: &JobFacts, pods: &[Pod]) -> Build {
    let mut build = facts.build.clone();
    if build.is_finished() || pods.is_empty() {
        return build;
    }
    let (now, patience) = (Timestamp::now(), Duration::MAX);
    if let Some(ending) = ending(facts, pods, now, patience) {
        build.state = ending.state;
        build.reason = ending.reason;
    } else if facts.pod.is_none() && !build.cancel_requested {
        let waits =
            pods.iter().filter(|pod| is_of(pod, &facts.uid)).find_map(|pod| match pod_state(pod, now, patience) {
                PodState::Waiting(reason) => Some(reason),
                _ => None,
            });
        if let Some(reason) = waits {
            build.state = build.state.max(BuildState::Pending);
            build.reason = Some(reason);
        }
    }
    build
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;
    use crate::names::{RECORD, STATE};
    use serde_json::{Value, json};

    const NOW: &str = "2026-11-23T19:10:00Z";
    const PATIENCE: Duration = Duration::from_mins(5);

    fn now() -> Timestamp {
        NOW.parse().unwrap()
    }

    /// A pod of the Job `j` on node `n1`, with uid `p1`, placed eight minutes ago.
    fn pod(status: Value, deleted: Option<&str>) -> Pod {
        let mut status = status;
        if status.get("conditions").is_none() {
            status["conditions"] =
                json!([{"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-11-23T19:02:00Z"}]);
        }
        let pod = json!({
            "metadata": {
                "name": "web-1-abcde", "uid": "p1", "deletionTimestamp": deleted,
                "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "web-1", "uid": "j"}],
            },
            "spec": {
                "nodeName": "n1", "activeDeadlineSeconds": 60,
                "containers": [{"name": "build", "resources": {"limits": {"memory": "64Mi"}}}],
            },
            "status": status,
        });
        serde_json::from_value(pod).unwrap()
    }

    fn container(state: Value) -> Value {
        json!({"phase": "Running", "containerStatuses": [
            {"name": "build", "image": "i:1", "imageID": "", "ready": false, "restartCount": 0, "state": state},
        ]})
    }

    fn terminated(reason: &str, code: i32) -> Value {
        container(json!({"terminated": {"reason": reason, "exitCode": code, "message": "a\n  b."}}))
    }

    fn waiting_for(reason: &str) -> Value {
        container(json!({"waiting": {"reason": reason, "message": "because"}}))
    }

    #[test]
    fn each_status_has_its_words() {
        let running = || container(json!({"running": {}}));
        let unschedulable = json!({"phase": "Pending", "conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available"}]});
        let evicted =
            json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."});
        let cases = [
            (json!({"phase": "Pending", "conditions": []}), None, "waiting: waiting for a node"),
            (unschedulable, None, "waiting: no node takes it yet: 0/1 nodes are available (Unschedulable)"),
            (json!({"phase": "Pending"}), None, "waiting: node n1 prepares its pod"),
            (waiting_for("ContainerCreating"), None, "waiting: node n1 prepares its pod"),
            (running(), None, "running"),
            (running(), Some("2026-11-23T19:09:30Z"), "running"),
            (
                running(),
                Some("2026-11-23T19:08:30Z"),
                "ended: node n1 does not answer any more: its pod was deleted and never ended (NodeLost)",
            ),
            (
                waiting_for("ErrImagePull"),
                None,
                "stuck: its builder image i:1 cannot be pulled: because (ErrImagePull)",
            ),
            (waiting_for("InvalidImageName"), None, "stuck: i:1 is no name of an image (InvalidImageName)"),
            (
                waiting_for("ErrImageNeverPull"),
                None,
                "stuck: its builder image i:1 is not on the node, and may not be pulled (ErrImageNeverPull)",
            ),
            (
                waiting_for("CreateContainerConfigError"),
                None,
                "stuck: its container cannot be made: because (CreateContainerConfigError)",
            ),
            (
                terminated("OOMKilled", 137),
                None,
                "ended: killed because it ran out of memory: its limit is 64Mi (OOMKilled)",
            ),
            (terminated("Error", 137), None, "ended: its runner was killed by signal 9"),
            (
                terminated("Error", 2),
                None,
                "ended: its runner ended with exit code 2 before it had recorded the build's end: a b (Error)",
            ),
            (
                terminated("ContainerCannotRun", 127),
                None,
                "ended: its container cannot be started: a b (ContainerCannotRun)",
            ),
            (
                terminated("Error", 137),
                Some(NOW),
                "ended: its pod was deleted: by hand, or because node n1 was drained",
            ),
            (evicted, None, "ended: its pod was evicted from node n1: The node was low on resource: memory (Evicted)"),
            (
                json!({"phase": "Failed", "reason": "DeadlineExceeded"}),
                None,
                "ended: it ran longer than its deadline of 60 s (DeadlineExceeded)",
            ),
            (
                json!({"phase": "Failed", "reason": "OutOfcpu", "message": "too much"}),
                None,
                "ended: node n1 ended its pod: too much (OutOfcpu)",
            ),
            (
                json!({"phase": "Running", "reason": "NodeLost"}),
                None,
                "ended: node n1 does not answer any more (NodeLost)",
            ),
        ];
        for (status, deleted, expected) in cases {
            let said = match pod_state(&pod(status, deleted), now(), PATIENCE) {
                PodState::Waiting(reason) => format!("waiting: {reason}"),
                PodState::Running => "running".to_owned(),
                PodState::Stuck(ending) => format!("stuck: {}", ending.reason.unwrap()),
                PodState::Ended(ending) => format!("ended: {}", ending.reason.unwrap()),
            };
            assert_eq!(said, expected);
        }
        // Not before its patience is at its end.
        let state = pod_state(&pod(waiting_for("ErrImagePull"), None), now(), Duration::from_mins(10));
        assert!(matches!(state, PodState::Waiting(reason) if reason.contains("ErrImagePull")));
    }

    /// A Job whose record says so.
    fn facts(ran_by: Option<&str>, cancelled: bool, failed: bool) -> JobFacts {
        let record = json!({"build_type": "worker", "created": NOW, "output_image": "a/b:1",
            "source": {"uri": "u", "git_ref": "r"}});
        let state = json!({"state": if ran_by.is_some() { "Running" } else { "New" }, "cancel_requested": cancelled,
            "pod": ran_by, "reason": cancelled.then_some("cancelled on request")});
        let condition = json!([{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]);
        let job = json!({
            "metadata": {"name": "web-1", "uid": "j", "annotations": {RECORD: record.to_string(), STATE: state.to_string()}},
            "spec": {"parallelism": 1, "template": {}},
            "status": {"conditions": if failed { condition } else { Value::Null }},
        });
        crate::job::facts(&serde_json::from_value(job).unwrap()).unwrap()
    }

    #[test]
    fn who_is_dead() {
        type Case = (&'static str, JobFacts, Vec<Pod>, Option<&'static str>);
        let running = || pod(container(json!({"running": {}})), None);
        let ended = || pod(terminated("OOMKilled", 137), None);
        let other = |mut pod: Pod| {
            pod.metadata.uid = Some("p2".to_owned());
            pod
        };
        let foreign = |mut pod: Pod| {
            pod.metadata.owner_references = None;
            pod
        };
        let oom = "Error: killed because it ran out of memory: its limit is 64Mi (OOMKilled)";
        let deleted = "Error: its pod was deleted, with force or with its node";
        let cases: Vec<Case> = vec![
            ("not started", facts(None, false, false), vec![], None),
            ("running", facts(Some("p1"), false, false), vec![running()], None),
            ("ended", facts(Some("p1"), false, false), vec![ended()], Some(oom)),
            (
                "ended, and another was made",
                facts(Some("p1"), false, false),
                vec![other(running()), ended()],
                Some(oom),
            ),
            ("gone", facts(Some("p1"), false, false), vec![], Some(deleted)),
            ("gone, and another was made", facts(Some("p1"), false, false), vec![other(running())], Some(deleted)),
            ("another Job's pod", facts(None, false, false), vec![foreign(ended())], None),
            ("ended before it began", facts(None, false, false), vec![ended()], Some(oom)),
            (
                "ended before it began, and another runs",
                facts(None, false, false),
                vec![ended(), other(running())],
                None,
            ),
            ("cancelled before it began", facts(None, true, false), vec![], Some("Cancelled: cancelled on request")),
            ("cancelled, its pod is there still", facts(None, true, false), vec![running()], None),
            (
                "cancelled while it ran",
                facts(Some("p1"), true, false),
                vec![ended()],
                Some(
                    "Cancelled: cancelled on request; killed because it ran out of memory: its limit is 64Mi (OOMKilled)",
                ),
            ),
            (
                "its pod is gone with all it said",
                facts(None, false, true),
                vec![],
                Some("Error: its Job ended (BackoffLimitExceeded), and its pod is gone"),
            ),
        ];
        for (name, facts, pods, expected) in cases {
            let found = ending(&facts, &pods, now(), PATIENCE);
            let said = found.map(|ending| format!("{}: {}", ending.state, ending.reason.unwrap_or_default()));
            assert_eq!(said.as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn a_waiting_build_shows_what_its_pod_waits_for() {
        let build = shown(&facts(None, false, false), &[pod(waiting_for("ErrImagePull"), None)]);
        assert_eq!(build.state, BuildState::Pending);
        assert_eq!(build.reason.as_deref(), Some("its builder image i:1 cannot be pulled: because (ErrImagePull)"));
        let build = shown(&facts(Some("p1"), false, false), &[pod(terminated("Error", 137), None)]);
        assert_eq!(
            (build.state, build.reason.as_deref()),
            (BuildState::Error, Some("its runner was killed by signal 9"))
        );
    }

    #[test]
    fn secrets_are_asked_for_only_when_nothing_else_is_wrong() {
        let lacks = |status| may_lack_secrets(&pod(status, None), now(), PATIENCE);
        assert!(lacks(json!({"phase": "Pending"})) && lacks(waiting_for("ContainerCreating")));
        assert!(!lacks(waiting_for("ErrImagePull")) && !lacks(container(json!({"running": {}}))));
        assert!(!lacks(json!({"phase": "Pending", "conditions": []})));
    }
}
