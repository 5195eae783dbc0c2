//! The hub as a whole: its configuration, its state, and how it is opened.

use crate::database::{Access, Database, DatabaseError};
use crate::passwords::{self, Brake, PasswordError};
use crate::times;
use crate::tls::{TlsError, TlsFiles};
use rusqlite::{OptionalExtension as _, Transaction, params};
use std::fmt::{self, Display};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What the clock says: microseconds since the epoch. Tests bring their own.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Where a line of the hub's own log goes.
pub type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// Settings, named as in a `hub.conf` of Koji where that has them.
#[derive(Debug, Clone)]
pub struct Settings {
    /// A session that is older must be renewed; zero: never (`SessionRenewalTimeout`).
    pub session_renewal: Duration,
    /// A session is bound to the address that it was opened from (`CheckClientIP`).
    pub check_client_ip: bool,
    /// Sessions in the query string are not looked at (`DisableURLSessions`).
    pub disable_url_sessions: bool,
    /// Longest request, in bytes; raw uploads are exempt (`MaxRequestLength`).
    pub max_request_length: usize,
    /// How long a client may take to send one request that is no upload.
    pub read_timeout: Duration,
    /// Users that a certificate names and nobody knows are made (`LoginCreatesUser`).
    pub login_creates_user: bool,
    /// Subjects of certificates that may log in others (`ProxyDNs`).
    pub proxy_subjects: Vec<String>,
    /// Between two looks of the scheduler (`RunInterval` in Koji: 60 s there, and 1 s here, as we are small).
    pub schedule_interval: Duration,
    /// Uploads that nobody has imported are removed so long after the last write; zero: never (`KeepUploads`).
    pub keep_uploads: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            session_renewal: Duration::from_hours(24),
            check_client_ip: true,
            disable_url_sessions: false,
            max_request_length: 4_194_304,
            read_timeout: Duration::from_mins(1),
            login_creates_user: true,
            proxy_subjects: Vec::new(),
            schedule_interval: Duration::from_secs(1),
            keep_uploads: Duration::from_hours(24),
        }
    }
}

/// Long requests at a time.
const LONG_REQUESTS: usize = 16;
/// Answers with content at a time.
const LONG_ANSWERS: usize = 2;

/// What a hub is opened with.
#[derive(Clone)]
pub struct HubConfig {
    /// `KojiDir`: holds `hub.db`, `work`, `packages`, `vol`, `scratch`. Made if it is missing.
    pub topdir: PathBuf,
    /// Settings.
    pub settings: Settings,
    /// TLS; none: plain HTTP.
    pub tls: Option<TlsFiles>,
    /// The clock.
    pub clock: Clock,
    /// The hub's own log.
    pub log: Log,
}

impl HubConfig {
    /// The defaults for a folder: plain HTTP, the system's clock, no log.
    pub fn new(topdir: impl Into<PathBuf>) -> Self {
        Self {
            topdir: topdir.into(),
            settings: Settings::default(),
            tls: None,
            clock: Arc::new(times::system_clock),
            log: Arc::new(|_| {}),
        }
    }
}

impl fmt::Debug for HubConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubConfig")
            .field("topdir", &self.topdir)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// Why a hub does not open, or a user is not added.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// Its database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// What an import had not finished when the hub was stopped cannot be brought to an end.
    #[error("an import that was interrupted cannot be brought to an end: {text}")]
    Recovery {
        /// Why.
        text: String,
    },
    /// A statement to it.
    #[error("the hub's database failed")]
    Statement(#[from] rusqlite::Error),
    /// Its folder.
    #[error("cannot make the folder {place}")]
    Folder {
        /// Which.
        place: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Its certificate or key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A password.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// A name that cannot be a user's.
    #[error("{name:?} cannot be the name of a user: letters, digits and /_.@+- only, at most 256")]
    UserName {
        /// The name.
        name: String,
    },
    /// It does not exist.
    #[error("there is no permission {name:?}")]
    NoPermission {
        /// Its name.
        name: String,
    },
}

/// What every call can see of the hub.
pub(crate) struct HubState {
    pub database: Database,
    pub topdir: PathBuf,
    pub settings: Settings,
    pub brake: Brake,
    /// Checksums of uploads that an import will ask for.
    pub sums: crate::import::Sums,
    /// Passwords are checked two at a time: each takes 19 MiB and some 30 ms of a core.
    pub hashing: tokio::sync::Semaphore,
    /// Long requests are read a few at a time: the values in one take many times its length.
    pub long_requests: tokio::sync::Semaphore,
    /// Answers with the content of files are made so many at a time: each takes some 20 MiB at most.
    pub long_answers: tokio::sync::Semaphore,
    /// Held while a file of an upload gets its place, and while a folder of uploads is removed. No call waits for the
    /// database while it holds it.
    pub upload_places: std::sync::Mutex<()>,
    clock: Clock,
    log: Log,
}

impl HubState {
    /// Microseconds since the epoch.
    pub(crate) fn now(&self) -> i64 {
        (self.clock)()
    }

    /// A line for the hub's own log. No secrets.
    pub(crate) fn log(&self, line: impl Display) {
        (self.log)(&line.to_string());
    }
}

/// A hub.
#[derive(Clone)]
pub struct Hub {
    pub(crate) state: Arc<HubState>,
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("topdir", &self.state.topdir).finish_non_exhaustive()
    }
}

impl Hub {
    /// Opens a hub: makes its folder and its database where they are missing.
    ///
    /// # Errors
    /// The folder, the database, or the files for TLS.
    pub fn open(config: HubConfig) -> Result<Self, HubError> {
        let HubConfig { topdir, settings, tls, clock, log } = config;
        make_folders(&topdir)?;
        let database = Database::open(&topdir.join("hub.db"))?;
        let tls = tls.as_ref().map(TlsFiles::load).transpose()?;
        let (brake, sums, hashing) = (Brake::default(), crate::import::Sums::default(), tokio::sync::Semaphore::new(2));
        let long_requests = tokio::sync::Semaphore::new(LONG_REQUESTS);
        let long_answers = tokio::sync::Semaphore::new(LONG_ANSWERS);
        let state = Arc::new(HubState {
            database,
            topdir,
            settings,
            brake,
            sums,
            hashing,
            long_requests,
            long_answers,
            upload_places: std::sync::Mutex::default(),
            clock,
            log,
        });
        crate::import::recover(&state).map_err(|error| HubError::Recovery { text: error.into_fault().text })?;
        Ok(Self { state, tls })
    }

    /// Adds a user, or gives a known one another password. Without a password only a certificate logs it in.
    ///
    /// # Errors
    /// The name is unfit, or a permission is unknown.
    pub fn set_user(&self, name: &str, password: Option<&str>, permissions: &[&str]) -> Result<i64, HubError> {
        if crate::call::check_new_name("user", name).is_err() {
            return Err(HubError::UserName { name: name.to_owned() });
        }
        let hash = password.map(passwords::hash).transpose()?;
        let now = self.state.now();
        self.state.database.transaction(Access::Write, |tx| {
            let known = tx.query_row("SELECT id FROM users WHERE name = ?", [name], |row| row.get(0)).optional()?;
            let id: i64 = if let Some(id) = known {
                tx.execute(
                    "UPDATE users SET password = coalesce(?, password), status = 0 WHERE id = ?",
                    params![hash, id],
                )?;
                id
            } else {
                tx.execute("INSERT INTO users (name, password) VALUES (?, ?)", params![name, hash])?;
                tx.last_insert_rowid()
            };
            for permission in permissions {
                grant(tx, id, permission, now)?;
            }
            Ok(id)
        })
    }

    /// Lets a user import as a content generator, which is made if it is new.
    ///
    /// # Errors
    /// The user is unknown.
    pub fn allow_import(&self, user: &str, generator: &str) -> Result<(), HubError> {
        let wrong = || HubError::UserName { name: user.to_owned() };
        if crate::call::check_new_name("content generator", generator).is_err() {
            return Err(HubError::UserName { name: generator.to_owned() });
        }
        let now = self.state.now();
        self.state.database.transaction(Access::Write, |tx| {
            let user: Option<i64> =
                tx.query_row("SELECT id FROM users WHERE name = ?", [user], |row| row.get(0)).optional()?;
            let user = user.ok_or_else(wrong)?;
            tx.execute("INSERT INTO content_generator (name) VALUES (?) ON CONFLICT DO NOTHING", [generator])?;
            let generator: i64 =
                tx.query_row("SELECT id FROM content_generator WHERE name = ?", [generator], |row| row.get(0))?;
            tx.execute("INSERT INTO events (at) VALUES (?)", [now])?;
            let event = tx.last_insert_rowid();
            tx.execute(
                "INSERT INTO cg_users (cg_id, user_id, create_event, creator_id) SELECT ?1, ?2, ?3, ?2
                 WHERE NOT EXISTS (SELECT 1 FROM cg_users WHERE cg_id = ?1 AND user_id = ?2 AND revoke_event IS NULL)",
                params![generator, user, event],
            )?;
            Ok(())
        })
    }

    /// Whether anybody is an administrator.
    ///
    /// # Errors
    /// The database failed.
    pub fn has_administrator(&self) -> Result<bool, HubError> {
        self.state.database.transaction(Access::Read, |tx| {
            let count: i64 = tx.query_row(
                "SELECT count(*) FROM user_perms JOIN permissions ON permissions.id = perm_id
                 WHERE name = 'admin' AND revoke_event IS NULL",
                [],
                |row| row.get(0),
            )?;
            Ok(count > 0)
        })
    }
}

fn grant(tx: &Transaction<'_>, user_id: i64, permission: &str, now: i64) -> Result<(), HubError> {
    let id: Option<i64> =
        tx.query_row("SELECT id FROM permissions WHERE name = ?", [permission], |row| row.get(0)).optional()?;
    let id = id.ok_or_else(|| HubError::NoPermission { name: permission.to_owned() })?;
    let held = tx
        .query_row(
            "SELECT 1 FROM user_perms WHERE user_id = ? AND perm_id = ? AND revoke_event IS NULL",
            params![user_id, id],
            |_| Ok(()),
        )
        .optional()?;
    if held.is_none() {
        tx.execute("INSERT INTO events (at) VALUES (?)", [now])?;
        let event = tx.last_insert_rowid();
        tx.execute(
            "INSERT INTO user_perms (user_id, perm_id, create_event, creator_id) VALUES (?, ?, ?, ?)",
            params![user_id, id, event, user_id],
        )?;
    }
    Ok(())
}

fn make_folders(topdir: &std::path::Path) -> Result<(), HubError> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    let wrong = |place: &std::path::Path| {
        let place = place.to_owned();
        move |source| HubError::Folder { place, source }
    };
    let fresh = !topdir.exists();
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(topdir).map_err(wrong(topdir))?;
    if fresh {
        // The database in it holds hashes of passwords.
        std::fs::set_permissions(topdir, std::fs::Permissions::from_mode(0o700)).map_err(wrong(topdir))?;
    }
    for folder in ["work", "packages", "vol", "scratch", "logs"] {
        let place = topdir.join(folder);
        std::fs::create_dir_all(&place).map_err(wrong(&place))?;
    }
    Ok(())
}
