//! Reading a build's log: carries out what `plan.rs` says and gives what comes to `merge.rs`.

use super::chunk::{ChunkHead, Piece, Unpacking};
use super::first_line;
use super::merge::{Merge, Taken};
use super::plan::{Looked, Plan, Step};
use super::pod_log;
use crate::KubernetesCluster;
use crate::closing::close_if_dead;
use crate::job::JobFacts;
use crate::pods::pods_of;
use crate::watch::Changes;
use futures_util::io::AsyncRead;
use futures_util::{AsyncReadExt, StreamExt};
use kube::api::LogParams;
use osbs_cluster::{ClusterError, EventStream, StoredEvent};
use osbs_types::{BuildName, BuildState, ErrorKind, Event, EventKind, Timestamp};
use std::collections::VecDeque;
use std::pin::Pin;
use std::time::{Duration, Instant};

/// How long the API server may be away before a reader gives up.
const PATIENCE: Duration = Duration::from_mins(10);
/// The same, for one who wants what is there now.
const PATIENCE_NOW: Duration = Duration::from_secs(20);
/// A connection that has been silent for so long may be one that nobody serves any more: the build is looked at.
const SILENCE: Duration = Duration::from_mins(2);
/// Read from a connection at once.
const BUFFER: usize = 64 << 10;
/// A longer line on a pod's standard output is none of ours.
const LONGEST_LINE: usize = 33 << 20;

/// The events of a build behind offset `from`.
pub(crate) async fn events(
    cluster: &KubernetesCluster,
    name: &BuildName,
    from: u64,
    follow: bool,
) -> Result<EventStream, ClusterError> {
    let facts = cluster.facts_of(name).await?;
    let reader = Reader::new(cluster.clone(), &facts, from, follow);
    let batches = futures_util::stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        match reader.next().await {
            Ok(Some(batch)) => Some((Ok(batch), Some(reader))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    });
    let events = batches.flat_map(|batch| {
        futures_util::stream::iter(match batch {
            Ok(events) => events.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => vec![Err(error)],
        })
    });
    Ok(events.boxed())
}

struct Reader {
    cluster: KubernetesCluster,
    name: BuildName,
    follow: bool,
    plan: Plan,
    merge: Merge,
    /// Where the log goes on behind its first line, if the reader began before it.
    behind_first: Option<u64>,
    changes: Option<Changes>,
    /// The pod that runs the build: its uid.
    pod: Option<String>,
    connection: Option<PodLog>,
    /// The chunk that is being read.
    chunk: Option<Unpacking>,
    /// Chunks to be read.
    chunks: VecDeque<ChunkHead>,
    /// Where the archive ends, if its end was seen.
    end: Option<u64>,
    /// Where the step now being done began.
    step_from: u64,
    listed: bool,
    /// The reason for waiting that was told last.
    told: Option<String>,
    trouble: Option<Instant>,
    out: Vec<StoredEvent>,
}

impl Reader {
    fn new(cluster: KubernetesCluster, facts: &JobFacts, from: u64, follow: bool) -> Self {
        let mut merge = Merge::new(from, facts.build.created);
        let mut out = Vec::new();
        let first = first_line(&facts.build);
        let behind_first = (from == 0).then_some(first.len() as u64);
        if from == 0 {
            merge.take(&Piece { from: 0, bytes: first }, &mut out);
        }
        let name = facts.build.name.clone();
        Self {
            // Before the first look: no change is missed.
            changes: follow.then(|| cluster.changes_of(&name)),
            cluster,
            name,
            follow,
            plan: Plan::new(follow),
            step_from: merge.next(),
            merge,
            behind_first,
            pod: None,
            connection: None,
            chunk: None,
            chunks: VecDeque::new(),
            end: None,
            listed: false,
            told: None,
            trouble: None,
            out,
        }
    }

    /// The next events; `None`: there are no more.
    async fn next(&mut self) -> Result<Option<Vec<StoredEvent>>, ClusterError> {
        loop {
            if !self.out.is_empty() {
                return Ok(Some(std::mem::take(&mut self.out)));
            }
            let step = self.plan.step();
            let done = match step {
                Step::Look => self.look().await,
                Step::Archive => self.read_archive().await,
                Step::Pod => self.read_pod().await,
                Step::Wait(at_most) => self.wait(at_most).await,
                Step::Done => return Ok(None),
                Step::End => return Ok(self.merge.rest().map(|event| vec![event])),
                Step::Lost => return Err(self.lost()),
            };
            match done {
                Ok(()) if matches!(step, Step::Wait(_)) => {}
                Ok(()) => self.trouble = None,
                Err(error) => self.survive(error)?,
            }
        }
    }

    /// A server that is away comes back.
    fn survive(&mut self, error: ClusterError) -> Result<(), ClusterError> {
        let patience = if self.follow { PATIENCE } else { PATIENCE_NOW };
        let since = *self.trouble.get_or_insert_with(Instant::now);
        if error.kind() != ErrorKind::Remote || since.elapsed() > patience {
            return Err(error);
        }
        self.connection = None;
        self.listed = false;
        self.plan.failed();
        Ok(())
    }

    async fn look(&mut self) -> Result<(), ClusterError> {
        let facts = match self.cluster.facts_of(&self.name).await {
            Err(ClusterError::BuildNotFound { build, .. }) => return Err(ClusterError::Deleted { build }),
            facts => facts?,
        };
        let closed = if self.follow { close_if_dead(&self.cluster, &facts).await? } else { None };
        if closed.is_some() {
            // The build is closed: others may start, and if this does not tell them something else will.
            let _ = self.cluster.pass().await;
        }
        let facts = closed.unwrap_or(facts);
        self.tell_waiting(&facts);
        self.pod.clone_from(&facts.pod);
        self.plan.looked(Looked { finished: facts.build.is_finished(), has_pod: facts.pod.is_some() });
        self.step_from = self.merge.next();
        Ok(())
    }

    /// Why the build waits for its turn, to those who have seen nothing yet. It is no part of the log.
    fn tell_waiting(&mut self, facts: &JobFacts) {
        if facts.granted || facts.pod.is_some() || self.behind_first != Some(self.merge.next()) {
            return;
        }
        let reason = self.changes.as_ref().and_then(Changes::waiting_reason);
        if reason.is_some() && self.told != reason {
            self.told.clone_from(&reason);
            let kind = EventKind::State { state: BuildState::Pending, reason };
            let event = Event { time: Timestamp::now(), kind };
            self.out.push(StoredEvent { offset: self.merge.next(), event });
        }
    }

    /// Reads on in the archive: a piece of a chunk a call.
    async fn read_archive(&mut self) -> Result<(), ClusterError> {
        if !self.listed {
            let heads = self.cluster.chunk_heads(&self.name).await?;
            self.end = heads.last().filter(|head| head.last).map(|head| head.to);
            self.chunks = heads.into_iter().filter(|head| head.to > self.merge.next()).collect();
            self.chunk = None;
            self.listed = true;
            self.step_from = self.merge.next();
        }
        if self.chunk.is_none()
            && let Some(head) = self.chunks.pop_front()
        {
            self.chunk = self.cluster.chunk(&head.name).await?;
        }
        if let Some(chunk) = &mut self.chunk {
            let Some(piece) = chunk.next()? else {
                self.chunk = None;
                return Ok(());
            };
            if self.merge.take(&piece, &mut self.out) == Taken::Yes {
                return Ok(());
            }
        }
        let next = self.merge.next();
        self.listed = false;
        self.plan.read_archive(next, self.end, next > self.step_from);
        Ok(())
    }

    /// Reads what a connection to the pod's log gives next.
    async fn read_pod(&mut self) -> Result<(), ClusterError> {
        if self.connection.is_none() {
            self.step_from = self.merge.next();
            self.connection = self.connect().await?;
        }
        let mut gap = None;
        let merge = &mut self.merge;
        let out = &mut self.out;
        // No connection: the kubelet gives none.
        let mut given = Given::All;
        if let Some(connection) = &mut self.connection {
            given = connection
                .read(|line| {
                    if gap.is_none()
                        && let Some(piece) = pod_log::parse(line)
                        && merge.take(&piece, out) == Taken::Gap
                    {
                        gap = Some(piece.from);
                    }
                })
                .await;
        }
        if given != Given::Some || gap.is_some() {
            self.connection = None;
            self.plan.read_pod(gap, self.merge.next() > self.step_from, given == Given::Cut);
        }
        Ok(())
    }

    /// `None`: there is no pod any more, or it gives no log.
    async fn connect(&mut self) -> Result<Option<PodLog>, ClusterError> {
        let pods = pods_of(&self.cluster, &self.name).await?;
        let pod = pods.into_iter().find(|pod| pod.metadata.uid.is_some() && pod.metadata.uid == self.pod);
        let Some(name) = pod.and_then(|pod| pod.metadata.name) else { return Ok(None) };
        let wanted = LogParams { follow: self.follow, ..LogParams::default() };
        // Whatever the kubelet has against it: what it does not give comes from the archive, later.
        let stream = self.cluster.api::<k8s_openapi::api::core::v1::Pod>().log_stream(&name, &wanted).await;
        Ok(stream.ok().map(|stream| PodLog { stream: Box::pin(stream), line: Vec::new(), buffer: vec![0; BUFFER] }))
    }

    async fn wait(&mut self, at_most: Duration) -> Result<(), ClusterError> {
        let mut changed = Ok(());
        if let Some(changes) = &mut self.changes {
            changed = tokio::time::timeout(at_most, changes.changed()).await.unwrap_or(changed);
        } else {
            tokio::time::sleep(at_most).await;
        }
        self.plan.waited();
        changed
    }

    fn lost(&self) -> ClusterError {
        ClusterError::Corrupt {
            what: "the event log",
            place: format!("ConfigMaps {}-log-*", self.name),
            source: format!("what stands behind byte {} was deleted", self.merge.next()).into(),
        }
    }
}

/// What a connection gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Given {
    /// Something; there may be more.
    Some,
    /// That was all.
    All,
    /// It was cut, or has been silent for long.
    Cut,
}

/// A connection to the log of a pod.
struct PodLog {
    stream: Pin<Box<dyn AsyncRead + Send>>,
    /// A line that has begun.
    line: Vec<u8>,
    buffer: Vec<u8>,
}

impl PodLog {
    /// Reads what comes next and shows its whole lines.
    async fn read(&mut self, mut show: impl FnMut(&[u8])) -> Given {
        let read = tokio::time::timeout(SILENCE, self.stream.read(&mut self.buffer)).await;
        let count = match read {
            Ok(Ok(0)) => return Given::All,
            Ok(Ok(count)) => count,
            Ok(Err(_)) | Err(_) => return Given::Cut,
        };
        for part in self.buffer[..count].split_inclusive(|b| *b == b'\n') {
            match (self.line.is_empty(), part.ends_with(b"\n")) {
                (true, true) => show(part),
                (_, is_end) => {
                    self.line.extend_from_slice(part);
                    if is_end {
                        show(&self.line);
                        self.line.clear();
                    }
                }
            }
        }
        if self.line.len() > LONGEST_LINE {
            self.line = Vec::new();
        }
        Given::Some
    }
}
