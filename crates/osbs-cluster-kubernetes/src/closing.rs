//! Closing builds whose runner died without doing so: what the kubelet still has of their log behind the archive is kept, the
//! last events name the Kubernetes reason, the end is recorded. Whoever makes the last chunk of the log first has closed the
//! build; all others read what stands there.

use crate::KubernetesCluster;
use crate::job::{CONTAINER, JobFacts};
use crate::log::archive::Stored;
use crate::log::chunk::{ChunkHead, OpenChunk};
use crate::log::tail::Tail;
use crate::log::{first_line, lines_of};
use crate::pod_reason::{ending, may_lack_secrets};
use crate::pods::pods_of;
use futures_util::AsyncReadExt;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{LogParams, Patch, PatchParams};
use osbs_cluster::{BuildFilter, Cluster, ClusterError, Conclusion, Ending, Verdict, conclude, console_events};
use osbs_types::{BuildName, BuildState, ErrorKind, Timestamp};
use serde_json::json;
use std::time::Duration;

/// A pod that is being prepared for longer may lack a secret.
const SECRETS_PATIENCE: Duration = Duration::from_mins(1);
/// What is read of a dead pod's log: the kubelet shows one file, which it rotates from 10 MiB on.
const MOST_OF_A_LOG: u64 = 64 << 20;
/// How often the closing begins anew because somebody else stored a chunk meanwhile.
const ROUNDS: u32 = 20;

/// Closes the build if nothing runs it any more and nothing will: the new facts, or `None` if it lives, waits or is finished.
pub(crate) async fn close_if_dead(
    cluster: &KubernetesCluster,
    facts: &JobFacts,
) -> Result<Option<JobFacts>, ClusterError> {
    let may_be_dead = facts.granted || facts.pod.is_some() || facts.build.cancel_requested;
    if facts.build.is_finished() || !may_be_dead {
        return Ok(None);
    }
    let pods = pods_of(cluster, &facts.build.name).await?;
    let now = Timestamp::now();
    let patience = cluster.options().start_patience;
    let found = match ending(facts, &pods, now, patience) {
        Some(ending) => Some(ending),
        None if facts.pod.is_none() => lacking_secret(cluster, facts, &pods, now, patience).await?,
        None => None,
    };
    let Some(ending) = found else { return Ok(None) };
    // What the caller knows may be old by now: the record decides.
    let facts = cluster.facts_of(&facts.build.name).await?;
    if facts.build.is_finished() {
        return Ok(Some(facts));
    }
    // In a task of its own: whoever waited may go away meanwhile.
    let cluster = cluster.clone();
    let task = tokio::spawn(async move { close(&cluster, &facts, &pods, &ending).await });
    task.await.map_err(|error| ClusterError::Internal(format!("the closing of a build was lost: {error}")))?.map(Some)
}

/// A pod waits for ever for a secret that is not there, and its status does not say so.
async fn lacking_secret(
    cluster: &KubernetesCluster,
    facts: &JobFacts,
    pods: &[Pod],
    now: Timestamp,
    patience: Duration,
) -> Result<Option<Ending>, ClusterError> {
    if !pods.iter().any(|pod| may_lack_secrets(pod, now, patience.min(SECRETS_PATIENCE))) {
        return Ok(None);
    }
    for mount in &facts.build.secrets {
        // One that is not for us to read the kubelet may read.
        if let Err(ClusterError::NotFound { .. }) = cluster.get_secret(&mount.secret).await {
            let reason = format!("there is no Secret {} in namespace {}", mount.secret, facts.build.namespace);
            let reason = Some(format!("{reason}, which its pod is to mount at {}", mount.mount_path));
            return Ok(Some(Ending { state: BuildState::Error, reason, kind: ErrorKind::Policy }));
        }
    }
    Ok(None)
}

/// Closes an unfinished build that has ended so.
pub(crate) async fn close(
    cluster: &KubernetesCluster,
    facts: &JobFacts,
    pods: &[Pod],
    ending: &Ending,
) -> Result<JobFacts, ClusterError> {
    let name = &facts.build.name;
    let trouble = cancel_workers(cluster, name).await;
    let conclusion = end_log(cluster, facts, pods, ending, trouble).await?;
    take_pods_away(cluster, facts).await?;
    cluster.forget_env(name).await?;
    // Last: whoever is interrupted before has it done again by the next who looks.
    record_end(cluster, name, &conclusion).await
}

/// An orchestrator's workers in this namespace end with it. What did not work.
pub(crate) async fn cancel_workers(cluster: &KubernetesCluster, name: &BuildName) -> Vec<String> {
    let of_it = BuildFilter { unfinished: true, parent: Some(name.clone()), ..BuildFilter::default() };
    let workers = match cluster.list_builds(&of_it).await {
        Ok(workers) => workers,
        Err(error) => return vec![format!("cannot look for worker builds that still run: {error}")],
    };
    let mut trouble = Vec::new();
    for worker in workers {
        if let Err(error) = Box::pin(cluster.cancel_build(&worker.name)).await {
            trouble.push(format!("cannot cancel worker build {}: {error}", worker.name));
        }
    }
    trouble
}

/// Writes the end into the record, unless somebody has.
pub(crate) async fn record_end(
    cluster: &KubernetesCluster,
    name: &BuildName,
    conclusion: &Conclusion,
) -> Result<JobFacts, ClusterError> {
    cluster
        .change_state(name, |state| {
            let is_new = state.advance(conclusion.state, conclusion.reason.clone());
            if is_new {
                state.failure.clone_from(&conclusion.failure);
                state.finished = Some(Timestamp::now());
            }
            is_new
        })
        .await
}

/// A closed build has no pods: one that cannot start, or was made anew, goes.
pub(crate) async fn take_pods_away(cluster: &KubernetesCluster, facts: &JobFacts) -> Result<(), ClusterError> {
    let conditions = facts.status.conditions.as_deref().unwrap_or_default();
    let is_over = |one: &k8s_openapi::api::batch::v1::JobCondition| {
        matches!(one.type_.as_str(), "Failed" | "Complete") && one.status == "True"
    };
    if conditions.iter().any(is_over) {
        return Ok(());
    }
    let (api, params) = (cluster.api::<Job>(), PatchParams::default());
    let patch = Patch::Merge(json!({"spec": {"parallelism": 0}}));
    let name = facts.build.name.as_str();
    let done = cluster.send(|| api.patch(name, &params, &patch)).await;
    done.map(drop).map_err(|error| cluster.job_failed("patch", &facts.build.name, error))
}

/// Brings the archive to its end; what it says of the build's.
async fn end_log(
    cluster: &KubernetesCluster,
    facts: &JobFacts,
    pods: &[Pod],
    ending: &Ending,
    trouble: Vec<String>,
) -> Result<Conclusion, ClusterError> {
    for _ in 0..ROUNDS {
        let heads = cluster.chunk_heads(&facts.build.name).await?;
        let verdict = verdict_of(cluster, &heads).await?;
        if heads.last().is_some_and(|head| head.last) {
            return Ok(conclude(ending, verdict, Vec::new, Vec::new()));
        }
        let mut tail = Tail::behind(heads.last().map_or(0, |head| head.to));
        tail.line(0, &first_line(&facts.build));
        read_rest(cluster, facts, pods, &mut tail).await?;
        let (from, mut bytes, console) = tail.into_parts();
        let mut verdict = verdict;
        verdict.read(&bytes[..]);
        let conclusion = conclude(ending, verdict, || console_events(&console), trouble.clone());
        if bytes.last().is_some_and(|last| *last != b'\n') {
            bytes.push(b'\n');
        }
        bytes.extend(lines_of(&conclusion.events));
        let index = heads.last().map_or(0, |head| head.index + 1);
        if store_end(cluster, facts, index, from, &bytes).await? == Stored::Ours {
            return Ok(conclusion);
        }
        // Somebody else made a chunk: the runner that is not dead after all, or another who closes it.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Err(ClusterError::Internal(format!("the log of build {} grows while it is being closed", facts.build.name)))
}

/// What the archive says of the end. Failure and final state are among the last lines.
async fn verdict_of(cluster: &KubernetesCluster, heads: &[ChunkHead]) -> Result<Verdict, ClusterError> {
    let mut bytes = Vec::new();
    for head in &heads[heads.len().saturating_sub(2)..] {
        let Some(mut chunk) = cluster.chunk(&head.name).await? else { continue };
        while let Some(piece) = chunk.next()? {
            bytes.extend(piece.bytes);
        }
    }
    let mut verdict = Verdict::default();
    verdict.read(&bytes[..]);
    Ok(verdict)
}

/// What the kubelet still has of the log of the pod that ran the build, or of any if none did.
async fn read_rest(
    cluster: &KubernetesCluster,
    facts: &JobFacts,
    pods: &[Pod],
    tail: &mut Tail,
) -> Result<(), ClusterError> {
    let pod = pods.iter().find(|pod| facts.pod.is_none() || pod.metadata.uid == facts.pod);
    let Some(pod) = pod.and_then(|pod| pod.metadata.name.as_deref()) else { return Ok(()) };
    let wanted = LogParams { container: Some(CONTAINER.to_owned()), ..LogParams::default() };
    // A node that does not answer, a container that never was: then there is nothing to be had.
    let Ok(mut stream) = cluster.api::<Pod>().log_stream(pod, &wanted).await else { return Ok(()) };
    let (mut buffer, mut read) = (vec![0; 64 << 10], 0);
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        tail.pod_log(&buffer[..count]);
        read += count as u64;
        if read > MOST_OF_A_LOG {
            break;
        }
    }
    Ok(())
}

/// Stores what stands behind the archive, which ends at `from`, to the log's end.
async fn store_end(
    cluster: &KubernetesCluster,
    facts: &JobFacts,
    mut index: u32,
    mut from: u64,
    mut bytes: &[u8],
) -> Result<Stored, ClusterError> {
    loop {
        let mut open = OpenChunk::new(from);
        bytes = &bytes[open.take(bytes)..];
        from = open.to();
        let last = bytes.is_empty();
        let stored = cluster.store_chunk(&facts.build.name, &facts.uid, index, &open.close(), last).await?;
        if last || stored == Stored::Theirs {
            return Ok(stored);
        }
        index += 1;
    }
}
