//! Starts a site's program, watches it and ends it.
//!
//! In a PID namespace: whatever it starts dies with it. As another user by `setpriv`, which also takes away the way back.

use super::output::Listener;
use crate::events::Logger;
use crate::plugin::{PluginError, PluginResult};
use osbs_arrangement::SiteProgram;
use osbs_sandbox::{Isolation, spawn_isolated};
use osbs_types::{ErrorKind, Failure};
use serde_json::Value;
use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How often time, cancellation and the end are looked at, at first and at most.
const FIRST_LOOK: Duration = Duration::from_millis(2);
const LONGEST_LOOK: Duration = Duration::from_millis(50);

/// A program and what it is started with.
pub(super) struct Program {
    pub spec: SiteProgram,
    /// `PATH`.
    pub path: String,
    pub log: Logger,
}

/// Why the program was not left to its end.
enum Stopped {
    Cancelled,
    Late,
    Broken,
}

impl Program {
    /// Runs it in `folder` with `request` on its standard input.
    pub(super) fn run(&self, request: &Value, folder: &Path, cancel: &CancellationToken) -> PluginResult {
        let resource = |what: &str, error: io::Error| PluginError::resource(format!("{what}: {error}"));
        let stdin = stored(request, folder).map_err(|error| resource("the request cannot be written", error))?;
        let mut command = self.command(folder)?;
        command
            .current_dir(folder)
            .env_clear()
            .env("PATH", &self.path)
            .env("LC_ALL", "C.UTF-8")
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // Another user could not come to the folder by its whole name.
        let home = if self.spec.user.is_some() { Path::new(".") } else { folder };
        command.env("HOME", home).env("TMPDIR", home);
        let mut child = spawn_isolated(command, Isolation::FULL)?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let listener = Listener::new(&self.log);
        let ended = std::thread::scope(|scope| {
            scope.spawn(|| out.map(|stream| listener.output(stream)));
            scope.spawn(|| err.map(|stream| listener.errors(stream)));
            self.watch(&mut child, &listener, cancel)
        });
        match ended.map_err(|error| resource("the program cannot be waited for", error))? {
            Ok(status) if status.success() => listener.ended(None),
            Ok(status) => listener.ended(Some(status.to_string())),
            Err(Stopped::Broken) => listener.ended(Some("stopped".to_owned())),
            Err(Stopped::Cancelled) => Err(PluginError::Cancelled),
            Err(Stopped::Late) => {
                let text = format!("the program was stopped after {} s", self.spec.timeout);
                Err(PluginError::resource(text).with_hint("it is the site's own plugin: its \"timeout\" says how long"))
            }
        }
    }

    /// Waits for the end, or makes one.
    fn watch(
        &self,
        child: &mut Child,
        listener: &Listener<'_>,
        cancel: &CancellationToken,
    ) -> io::Result<Result<ExitStatus, Stopped>> {
        let end = Instant::now() + Duration::from_secs(self.spec.timeout.into());
        let mut look = FIRST_LOOK;
        let why = loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Ok(status));
            }
            if cancel.is_cancelled() {
                break Stopped::Cancelled;
            }
            if Instant::now() >= end {
                break Stopped::Late;
            }
            if listener.is_broken() {
                break Stopped::Broken;
            }
            std::thread::sleep(look);
            look = (look * 2).min(LONGEST_LOOK);
        };
        // Process 1 of its namespace: all others go with it, and with them the last writers of the pipes.
        child.kill()?;
        child.wait()?;
        Ok(Err(why))
    }

    fn command(&self, folder: &Path) -> Result<Command, PluginError> {
        let words = &self.spec.command;
        let Some(user) = &self.spec.user else {
            let mut command = Command::new(&words[0]);
            command.args(&words[1..]);
            return Ok(command);
        };
        let (uid, gid) = self.ids(user)?;
        std::os::unix::fs::chown(folder, Some(uid), Some(gid)).map_err(|error| {
            PluginError::resource(format!("the work folder cannot be given to user {user}: {error}"))
        })?;
        let mut command = Command::new("setpriv");
        command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}"));
        command.args(["--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--"]).args(words);
        Ok(command)
    }

    /// The user's number and its group's, as the machine's user database has them.
    fn ids(&self, user: &str) -> Result<(u32, u32), PluginError> {
        let output = Command::new("getent")
            .args(["passwd", user])
            .env_clear()
            .env("PATH", &self.path)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| PluginError::resource(format!("getent cannot be run: {error}")))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let mut fields = text.trim_end().split(':').skip(2);
        let mut number = || fields.next().and_then(|field| field.parse().ok());
        match (number(), number(), user.parse::<u32>()) {
            (Some(uid), Some(gid), _) => Ok((uid, gid)),
            // A number needs no name.
            (_, _, Ok(uid)) => Ok((uid, uid)),
            _ => {
                let text = format!("there is no user {user:?} on this machine, as whom the program shall run");
                Err(Failure::message(ErrorKind::Resource, text)
                    .with_hint("make the user on the build host, or correct \"user\" in the site's plugin lists")
                    .into())
            }
        }
    }
}

/// The request as a file that is nowhere: a program that does not read it cannot hold anybody up.
fn stored(request: &Value, folder: &Path) -> io::Result<File> {
    let mut file = tempfile::tempfile_in(folder)?;
    serde_json::to_writer(&mut file, request)?;
    file.write_all(b"\n")?;
    file.rewind()?;
    Ok(file)
}
