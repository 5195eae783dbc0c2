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
