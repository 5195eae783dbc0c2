//! The event log of a build on Kubernetes: in the pod a file; from there lines on standard output, for those who follow it,
//! and ConfigMaps, which stay as long as the Job.

pub(crate) mod archive;
pub(crate) mod chunk;
mod merge;
mod plan;
pub(crate) mod pod_log;
pub(crate) mod printer;
mod reader;
#[cfg(test)]
mod simulation;
pub(crate) mod tail;
pub(crate) mod writer;

pub(crate) use reader::events;

use osbs_cluster::Build;
use osbs_types::{BuildState, Event, EventKind};

/// The first line of every log: state New. It follows from the record, so readers show it before there is a pod.
pub(crate) fn first_line(build: &Build) -> Vec<u8> {
    let kind = EventKind::State { state: BuildState::New, reason: None };
    line_of(&Event { time: build.created, kind })
}

/// An event as a line of the log.
pub(crate) fn line_of(event: &Event) -> Vec<u8> {
    let mut line = serde_json::to_vec(event).expect("an event is made of strings and numbers");
    line.push(b'\n');
    line
}

/// Events as lines of the log.
pub(crate) fn lines_of(events: &[Event]) -> Vec<u8> {
    events.iter().flat_map(line_of).collect()
}
