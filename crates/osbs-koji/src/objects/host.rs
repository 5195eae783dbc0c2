//! Hosts, users, sessions, and the tasks of a host.

use super::task::TaskState;
use crate::{Value, ValueError};

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Kerberos principals; hubs before 1.19 have one, in a member of its own.
    pub krb_principals: Vec<String>,
}

impl User {
    /// From an answer.
    ///
    /// # Errors
    /// It is none.
    pub fn read(raw: Value) -> Result<Self, ValueError> {
        let mut krb_principals = raw.texts("krb_principals");
        krb_principals.extend(raw.text("krb_principal").filter(|_| krb_principals.is_empty()));
        Ok(Self { id: raw.int_of("id")?, name: raw.str_of("name")?.to_owned(), krb_principals })
    }
}

/// A host.
#[derive(Debug, Clone, PartialEq)]
pub struct Host {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// User that it logs in as.
    pub user_id: Option<i64>,
    /// Architectures.
    pub arches: Vec<String>,
    /// What its tasks may weigh together.
    pub capacity: f64,
    /// What they weigh.
    pub task_load: f64,
    /// An administrator lets it work.
    pub enabled: bool,
    /// It takes tasks.
    pub ready: bool,
}

impl Host {
    /// From an answer.
    ///
    /// # Errors
    /// It is none.
    pub fn read(raw: Value) -> Result<Self, ValueError> {
        let arches = raw.get("arches").as_str().unwrap_or_default();
        Ok(Self {
            id: raw.int_of("id")?,
            name: raw.str_of("name")?.to_owned(),
            user_id: raw.int("user_id"),
            arches: arches.split_whitespace().map(str::to_owned).collect(),
            capacity: raw.double("capacity").unwrap_or_default(),
            task_load: raw.double("task_load").unwrap_or_default(),
            enabled: raw.get("enabled").is_true(),
            ready: raw.get("ready").is_true(),
        })
    }
}

/// A task that is open on this host.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HostTask {
    /// Its number.
    pub id: i64,
    /// It waits for others, and weighs nothing.
    pub waiting: bool,
    /// Those it waits for have finished.
    pub alert: bool,
    /// Its part of the host's capacity.
    pub weight: f64,
}

impl HostTask {
    /// From an item of `host.getHostTasks`.
    ///
    /// # Errors
    /// It is none.
    pub fn read(raw: Value) -> Result<Self, ValueError> {
        Ok(Self {
            id: raw.int_of("id")?,
            waiting: raw.get("waiting").is_true(),
            alert: raw.get("alert").is_true(),
            weight: raw.double("weight").unwrap_or_default(),
        })
    }
}

/// A task that the hub offers this host.
#[derive(Debug, Clone, PartialEq)]
pub struct QueuedTask {
    /// Its number.
    pub id: i64,
    /// What it is to do.
    pub method: String,
    /// Free, or assigned to `host_id`.
    pub state: TaskState,
    /// Architecture, or `noarch`.
    pub arch: String,
    /// Channel.
    pub channel_id: Option<i64>,
    /// The host it is assigned to.
    pub host_id: Option<i64>,
    /// Lower is earlier.
    pub priority: Option<i64>,
    /// Seconds since the epoch.
    pub create_ts: Option<f64>,
}

impl QueuedTask {
    /// From an item of `host.getTasks`.
    ///
    /// # Errors
    /// It is none.
    pub fn read(raw: Value) -> Result<Self, ValueError> {
        let unknown = |_| ValueError { path: "state".to_owned(), expected: "a task's state", found: "another number" };
        Ok(Self {
            id: raw.int_of("id")?,
            method: raw.text("method").unwrap_or_default(),
            state: TaskState::try_from(raw.int_of("state")?).map_err(unknown)?,
            arch: raw.text("arch").unwrap_or_default(),
            channel_id: raw.int("channel_id"),
            host_id: raw.int("host_id"),
            priority: raw.int("priority"),
            create_ts: raw.double("create_ts"),
        })
    }
}

/// The session, as the hub sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionInfo {
    /// Whose.
    pub user_id: i64,
    /// The number of the last call that changed something.
    pub callnum: Option<i64>,
    /// It is the only one of its user.
    pub exclusive: bool,
    /// The session it is below of.
    pub master: Option<i64>,
    /// When it began, seconds since the epoch: another one began at another time.
    pub start_ts: Option<f64>,
}

impl SessionInfo {
    /// From an answer.
    ///
    /// # Errors
    /// It is none.
    pub fn read(raw: Value) -> Result<Self, ValueError> {
        Ok(Self {
            user_id: raw.int_of("user_id")?,
            callnum: raw.int("callnum"),
            exclusive: raw.get("exclusive").is_true(),
            master: raw.int("master"),
            start_ts: raw.double("start_ts"),
        })
    }
}
