//! `dnf --installroot`, and the scripts of a kickstart file inside the root it made.
//!
//! Packages come from the repositories the kickstart file names and are as trusted as those; their scriptlets run as the
//! build does, in its own PID and mount namespace.

use crate::events::Logger;
use crate::imaging::Imaging;
use crate::kickstart::Script;
use crate::plugin::PluginError;
use osbs_sandbox::rooted::Root;
use osbs_sandbox::{RunSpec, StreamId};
use osbs_types::{ErrorKind, Failure, Platform};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Lines of dnf's output kept for the error.
const LAST_LINES: usize = 12;

/// What to install, and where the work is done.
pub(super) struct Install {
    /// The machine the packages are for.
    pub(super) platform: Platform,
    /// `$releasever`.
    pub(super) release: String,
    /// Names and URLs.
    pub(super) repositories: Vec<(String, String)>,
    /// Names and groups.
    pub(super) packages: Vec<String>,
    /// Left out even if something wants them.
    pub(super) excluded: Vec<String>,
    /// Run in the root afterwards.
    pub(super) scripts: Vec<Script>,
    /// Signatures are checked against it; without it there is nothing to check against.
    pub(super) gpg_key: Option<String>,
    /// Where root, cache and logs are made.
    pub(super) folder: PathBuf,
    /// `PATH`.
    pub(super) program_path: String,
    /// How scripts are run.
    pub(super) imaging: Imaging,
    /// Where output goes.
    pub(super) log: Logger,
}

fn resource(what: &str, path: &Path, error: &std::io::Error) -> PluginError {
    PluginError::resource(format!("cannot {what} {}: {error}", path.display()))
}

impl Install {
    /// Makes the root file system and returns its folder.
    pub(super) fn run(&self, cancel: &CancellationToken) -> Result<PathBuf, PluginError> {
        if self.platform != Platform::native() {
            osbs_sandbox::can_run(&self.platform.architecture())
                .map_err(|error| PluginError::from(Failure::new(error.kind(), &error)))?;
        }
        let root = self.folder.join("root");
        std::fs::create_dir_all(&root).map_err(|e| resource("make", &root, &e))?;
        self.install(&root, cancel)?;
        for script in &self.scripts {
            self.script(&root, script, cancel)?;
        }
        let inside = Root::open(&root).map_err(|error| resource("open", &root, &error.source))?;
        for leftover in
            ["var/cache/dnf", "var/log/dnf.log", "var/log/dnf.librepo.log", "var/log/dnf.rpm.log", "var/log/hawkey.log"]
        {
            // By links that a package may have put there, too, it stays inside the root.
            let _ = inside.remove_tree(Path::new(leftover));
        }
        Ok(root)
    }

    fn arguments(&self, root: &Path) -> Vec<String> {
        let mut arguments: Vec<String> =
            ["-y", "--disablerepo=*", "--setopt=install_weak_deps=False", "--setopt=tsflags=nodocs"]
                .map(str::to_owned)
                .to_vec();
        arguments.push(format!("--installroot={}", root.display()));
        arguments.push(format!("--releasever={}", self.release));
        arguments.push(format!("--forcearch={}", self.platform));
        // No cachedir of our own: dnf would make that path inside the root as well, and leave a file there.
        for (index, (_, url)) in self.repositories.iter().enumerate() {
            let id = format!("osbs-{index}");
            arguments.push(format!("--repofrompath={id},{url}"));
            match &self.gpg_key {
                Some(key) => {
                    arguments.extend([format!("--setopt={id}.gpgcheck=1"), format!("--setopt={id}.gpgkey={key}")]);
                }
                None => arguments.push(format!("--setopt={id}.gpgcheck=0")),
            }
        }
        arguments.extend(self.excluded.iter().map(|name| format!("--exclude={name}")));
        arguments.push("install".to_owned());
        // A name that begins with a dash would be an option.
        arguments.extend(self.packages.iter().map(|name| name.trim_start_matches('-').to_owned()));
        arguments
    }

    fn install(&self, root: &Path, cancel: &CancellationToken) -> Result<(), PluginError> {
        // Debian's rpm keeps its database in the caller's home unless told where images have it.
        let home = self.folder.join("home");
        std::fs::create_dir_all(&home).map_err(|e| resource("make", &home, &e))?;
        let macros = home.join(".rpmmacros");
        std::fs::write(&macros, "%_dbpath /var/lib/rpm\n").map_err(|e| resource("write", &macros, &e))?;
        let mut command = Command::new("dnf");
        command.args(self.arguments(root)).env_clear().process_group(0).current_dir(&self.folder);
        command.env("PATH", &self.program_path).env("HOME", &home).env("LC_ALL", "C.UTF-8");
        let text = format!("dnf installs {} packages and what they need", self.packages.len());
        self.log.info(text.clone());
        self.log.progress(text, 0, None);
        let (status, last) = self.relay(command, cancel)?;
        if status.success() {
            return Ok(());
        }
        let mut failure = Failure::message(ErrorKind::User, format!("dnf could not install the packages ({status})"));
        failure.causes = last;
        failure.hint = Some("look at the repositories and packages of the kickstart file".to_owned());
        Err(failure.into())
    }

    /// Runs a program, relays its lines, and returns its last ones.
    fn relay(
        &self,
        mut command: Command,
        cancel: &CancellationToken,
    ) -> Result<(std::process::ExitStatus, Vec<String>), PluginError> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| {
            PluginError::resource(format!("cannot start dnf: {error}")).with_hint("apt-get install dnf rpm")
        })?;
        let last = Arc::new(Mutex::new(Vec::new()));
        let streams: [Option<Box<dyn Read + Send>>; 2] =
            [child.stdout.take().map(|s| Box::new(s) as _), child.stderr.take().map(|s| Box::new(s) as _)];
        let readers: Vec<_> = streams
            .into_iter()
            .flatten()
            .map(|stream| {
                let (log, last) = (self.log.clone(), Arc::clone(&last));
                std::thread::spawn(move || {
                    for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                        log.info(line.clone());
                        let mut last = last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        last.push(String::from_utf8_lossy(&line).trim_end().to_owned());
                        let surplus = last.len().saturating_sub(LAST_LINES);
                        last.drain(..surplus);
                    }
                })
            })
            .collect();
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if cancel.is_cancelled() => {
                    let group = rustix::process::Pid::from_child(&child);
                    // It may have ended this very moment.
                    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
                    let _ = child.wait();
                    return Err(PluginError::Cancelled);
                }
                Ok(None) => std::thread::sleep(Duration::from_millis(20)),
                Err(error) => return Err(PluginError::resource(format!("cannot wait for dnf: {error}"))),
            }
        };
        for reader in readers {
            // A reader cannot panic; if it did, only log lines are missing.
            let _ = reader.join();
        }
        let last = last.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        Ok((status, last))
    }

    fn script(&self, root: &Path, script: &Script, cancel: &CancellationToken) -> Result<(), PluginError> {
        let runtime = self.imaging.oci_runtime()?;
        let bundle = self.folder.join("bundle");
        std::fs::create_dir_all(&bundle).map_err(|e| resource("make", &bundle, &e))?;
        let args = vec![script.interpreter.clone(), "-c".to_owned(), script.text.clone()];
        let mut spec = RunSpec::new(root, &bundle, args);
        spec.env = vec!["PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_owned()];
        spec.cgroup_path.clone_from(&self.imaging.cgroup);
        let mut relay = |_: StreamId, line: &[u8]| self.log.info(line);
        let outcome = osbs_sandbox::run(&runtime, &spec, &mut relay, cancel)?;
        if outcome.exit_code != 0 {
            let text = format!("a %post script of the kickstart file ended with exit code {}", outcome.exit_code);
            if script.error_on_fail {
                return Err(PluginError::user(text));
            }
            self.log.warning(text);
        }
        Ok(())
    }
}
