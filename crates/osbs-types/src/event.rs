//! What a build produces: a stream of typed events, appended and kept (`design.md` decision 5).
//!
//! Stored as one JSON object a line. Readers skip kinds they do not know; fields are only ever added. A message that is
//! not UTF-8 is stored as base64 under `bytes`, so that what the program wrote comes back byte for byte.

use crate::{BuildState, Failure, Timestamp};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When, UTC.
    pub time: Timestamp,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// The kinds of event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// The build reached a state.
    State {
        /// Which.
        state: BuildState,
        /// Why, for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// One line of log.
    Log(LogLine),
    /// A plugin is about to run.
    PluginStart {
        /// Its phase.
        phase: Phase,
        /// Its name.
        plugin: String,
    },
    /// A plugin has ended.
    PluginEnd {
        /// Its phase.
        phase: Phase,
        /// Its name.
        plugin: String,
        /// How.
        outcome: Outcome,
        /// How long it took, in milliseconds.
        duration_ms: u64,
    },
    /// How far a long piece of work is.
    Progress {
        /// The platform, in the stream of an orchestrator build.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        platform: Option<String>,
        /// What is being done: `pull fedora:40`, `RUN dnf install ...`, `push`.
        what: String,
        /// Done so far, bytes or steps.
        done: u64,
        /// Of how many, when known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
    },
    /// An orchestrator made a worker build.
    WorkerStart {
        /// Its platform.
        platform: String,
        /// Its cluster.
        cluster: String,
        /// Its name there.
        build: String,
    },
    /// A worker build has ended.
    WorkerEnd {
        /// Its platform.
        platform: String,
        /// Its name.
        build: String,
        /// How.
        state: BuildState,
    },
    /// Why the build failed: the one-screen error.
    Failure(Failure),
    /// Facts for the summary: digests, pull specs, sizes. A JSON object.
    Result {
        /// The platform, or none for the whole build.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        platform: Option<String>,
        /// The facts.
        facts: serde_json::Value,
    },
    /// Written by a newer version.
    #[serde(other)]
    Unknown,
}

/// One line of log, with the fields of `reactor.md` section 4.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// `None` for the build's own lines (`platform:-`); a platform for relayed worker lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Dotted component name, for example `atomic_reactor.plugins.tag_and_push`.
    pub logger: String,
    /// How important.
    pub level: Level,
    /// The text without a final newline. Not always UTF-8.
    #[serde(flatten, serialize_with = "message_to_json", deserialize_with = "message_from_json")]
    pub message: Vec<u8>,
}

/// Levels, as Python's logging writes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// For those who look for a fault.
    Debug,
    /// What goes on.
    Info,
    /// Odd, and survived.
    Warning,
    /// Something failed.
    Error,
    /// All is lost.
    Critical,
}

impl Level {
    /// The word in a log line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Critical => "CRITICAL",
        }
    }
}

/// The phases of a run, in order (`reactor.md` 1.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Before building.
    Prebuild,
    /// The build itself: the first builder that does not decline.
    Buildstep,
    /// On the built image, before publication.
    Prepublish,
    /// Publication and measurement.
    Postbuild,
    /// Always.
    Exit,
}

impl Phase {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [Self::Prebuild, Self::Buildstep, Self::Prepublish, Self::Postbuild, Self::Exit];

    /// `prebuild`, ...
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prebuild => "prebuild",
            Self::Buildstep => "buildstep",
            Self::Prepublish => "prepublish",
            Self::Postbuild => "postbuild",
            Self::Exit => "exit",
        }
    }

    /// The key of its list in the build JSON: `prebuild_plugins`, ...
    pub fn key(self) -> &'static str {
        match self {
            Self::Prebuild => "prebuild_plugins",
            Self::Buildstep => "buildstep_plugins",
            Self::Prepublish => "prepublish_plugins",
            Self::Postbuild => "postbuild_plugins",
            Self::Exit => "exit_plugins",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a plugin ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It did its work.
    Ok,
    /// It had nothing to do, and said why in the log.
    Skipped,
    /// A builder that is not for this build.
    Declined,
    /// It failed and is allowed to.
    Tolerated,
    /// It failed, and so does the build.
    Failed,
    /// It was stopped.
    Cancelled,
}

impl LogLine {
    /// A line of the build itself.
    pub fn new(logger: impl Into<String>, level: Level, message: impl Into<Vec<u8>>) -> Self {
        Self { platform: None, logger: logger.into(), level, message: message.into() }
    }

    /// The message for display, with replacement characters where it is not UTF-8.
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.message)
    }
}

#[derive(Serialize)]
enum MessageRef<'a> {
    #[serde(rename = "message")]
    Text(&'a str),
    #[serde(rename = "bytes")]
    Bytes(String),
}

#[derive(Deserialize)]
struct MessageOwned {
    message: Option<String>,
    bytes: Option<String>,
}

fn message_to_json<S: Serializer>(message: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    match std::str::from_utf8(message) {
        Ok(text) => MessageRef::Text(text),
        Err(_) => MessageRef::Bytes(STANDARD.encode(message)),
    }
    .serialize(serializer)
}

fn message_from_json<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    use serde::de::Error;
    match MessageOwned::deserialize(deserializer)? {
        MessageOwned { message: Some(text), .. } => Ok(text.into_bytes()),
        MessageOwned { bytes: Some(text), .. } => STANDARD.decode(text).map_err(D::Error::custom),
        _ => Err(D::Error::missing_field("message")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_round_trip(kind: EventKind, json: &str) {
        let event = Event { time: "2024-01-02T03:04:05.678Z".parse().expect("valid"), kind };
        let text = serde_json::to_string(&event).expect("serialises");
        assert_eq!(text, json);
        assert_eq!(serde_json::from_str::<Event>(&text).expect("reads back"), event);
    }

    #[test]
    fn events_are_flat_json_objects() {
        check_round_trip(
            EventKind::Log(LogLine::new("osbs", Level::Info, "grüß Gott")),
            r#"{"time":"2024-01-02T03:04:05.678Z","event":"log","logger":"osbs","level":"INFO","message":"grüß Gott"}"#,
        );
        check_round_trip(
            EventKind::Log(LogLine::new("osbs", Level::Info, vec![0xff, 0x00])),
            r#"{"time":"2024-01-02T03:04:05.678Z","event":"log","logger":"osbs","level":"INFO","bytes":"/wA="}"#,
        );
        check_round_trip(
            EventKind::State { state: BuildState::Running, reason: None },
            r#"{"time":"2024-01-02T03:04:05.678Z","event":"state","state":"Running"}"#,
        );
    }

    #[test]
    fn kinds_of_a_newer_version_are_read_as_unknown() {
        let event: Event = serde_json::from_str(r#"{"time":"2024-01-02T03:04:05Z","event":"sbom"}"#).expect("reads");
        assert_eq!(event.kind, EventKind::Unknown);
    }
}
