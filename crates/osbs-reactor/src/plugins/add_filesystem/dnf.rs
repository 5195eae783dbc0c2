//! `dnf --installroot`, and the scripts of a kickstart file inside the root it made.
//!
//! Packages come from the repositories the kickstart file names and are as trusted as those; their scriptlets run as the
//! build does, in a PID and mount namespace of their own. Scripts run in a container.

use super::inputs::Inputs;
use crate::events::Logger;
use crate::host_program::{Ended, HostProgram};
use crate::imaging::Imaging;
use crate::kickstart::{Kickstart, Script};
use crate::plugin::PluginError;
use crate::run::Run;
use osbs_builder::RunLimits;
use osbs_sandbox::rooted::Root;
use osbs_sandbox::{ContainerLimits, Output, RunSpec, StreamId};
use osbs_types::{ErrorKind, Failure, Level, Platform, Position};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// Where a script is while it runs.
const SCRIPT: &str = "/.osbs-kickstart-script";
/// What dnf leaves that no image needs.
const LEFTOVERS: [&str; 6] = [
    "var/cache/dnf",
    "var/log/dnf.log",
    "var/log/dnf.librepo.log",
    "var/log/dnf.rpm.log",
    "var/log/hawkey.log",
    "var/lib/dnf/history.sqlite-shm",
];

/// What to install, and where the work is done.
pub(super) struct Install {
    /// Names and groups.
    pub(super) packages: Vec<String>,
    /// Where output goes.
    pub(super) log: Logger,
    /// The machine the packages are for.
    platform: Platform,
    /// `$releasever`.
    release: String,
    kickstart: Kickstart,
    /// The kickstart file's name.
    file: String,
    /// Repo files.
    repo_files: Vec<String>,
    /// Where root, cache and logs are made.
    folder: PathBuf,
    /// `PATH`.
    program_path: String,
    /// How scripts are run.
    imaging: Imaging,
}

fn resource(what: &str, path: &Path, error: &std::io::Error) -> PluginError {
    PluginError::resource(format!("cannot {what} {}: {error}", path.display()))
}

/// A repo file for the repositories of the kickstart file and of image-build.conf.
fn own_repo_file(inputs: &Inputs, platform: &Platform) -> String {
    let mut text = String::new();
    let mut section = |name: &str, kind: &str, url: &str, options: &[(&'static str, String)]| {
        // Koji's `$arch` is what dnf calls `$basearch`.
        let url = url.replace("$basearch", platform.as_str()).replace("$arch", platform.as_str());
        let _ = writeln!(text, "[osbs-{name}]\nname = {name}\n{kind} = {url}");
        for (option, value) in options {
            let _ = writeln!(text, "{option} = {value}");
        }
        let _ = match &inputs.build.gpg_key {
            Some(key) => writeln!(text, "gpgcheck = 1\ngpgkey = {key}"),
            None => writeln!(text, "gpgcheck = 0"),
        };
    };
    for (index, repository) in inputs.kickstart.repositories.iter().enumerate() {
        section(&index.to_string(), repository.kind, &repository.url, &repository.options);
    }
    for (index, url) in inputs.build.repositories.iter().enumerate() {
        section(&format!("image-build-{index}"), "baseurl", url, &[]);
    }
    text
}

impl Install {
    pub(super) fn new(run: &Run, inputs: &Inputs, platform: &Platform) -> Result<Self, PluginError> {
        Ok(Self {
            packages: inputs.kickstart.packages.clone(),
            log: run.log().clone(),
            platform: platform.clone(),
            release: inputs.build.release.clone(),
            kickstart: inputs.kickstart.clone(),
            file: inputs.build.kickstart.clone(),
            repo_files: [&[own_repo_file(inputs, platform)], inputs.repo_files.as_slice()].concat(),
            folder: run.workdir()?.join("filesystem"),
            program_path: run.services.program_path.clone(),
            imaging: run.services.imaging.clone(),
        })
    }

    /// Makes the root file system and returns its folder.
    pub(super) fn run(&self, cancel: &CancellationToken) -> Result<PathBuf, PluginError> {
        if self.platform != Platform::native() {
            osbs_sandbox::can_run(&self.platform.architecture())
                .map_err(|error| PluginError::from(Failure::new(error.kind(), &error)))?;
        }
        let root = self.folder.join("root");
        std::fs::create_dir_all(&root).map_err(|e| resource("make", &root, &e))?;
        self.install(&root, cancel)?;
        for script in &self.kickstart.post {
            self.script(&root, script, cancel)?;
        }
        let inside = Root::open(&root).map_err(|error| resource("open", &root, &error.source))?;
        for leftover in LEFTOVERS {
            // By links that a package may have put there, too, it stays inside the root.
            let _ = inside.remove_tree(Path::new(leftover));
        }
        Ok(root)
    }

    fn arguments(&self, root: &Path) -> Vec<String> {
        let options = &self.kickstart.options;
        let mut arguments: Vec<String> = ["-y", "--noplugins"].map(str::to_owned).to_vec();
        arguments.push(format!("--config={}", self.folder.join("dnf.conf").display()));
        arguments.push(format!("--setopt=reposdir={}", self.folder.join("repos").display()));
        arguments.push(format!("--setopt=varsdir={}", self.folder.join("vars").display()));
        arguments.push(format!("--installroot={}", root.display()));
        arguments.push(format!("--releasever={}", self.release));
        arguments.push(format!("--forcearch={}", self.platform));
        // No cachedir of our own: dnf would make that path inside the root as well, and leave a file there.
        let mut set = |option: &str, is_set: bool| {
            if is_set {
                arguments.push(format!("--setopt={option}"));
            }
        };
        set("tsflags=nodocs", options.no_docs);
        set("install_weak_deps=False", options.no_weak_dependencies);
        set("strict=False", options.ignore_missing || options.ignore_broken);
        set("multilib_policy=all", options.multilib);
        for (name, value) in [("retries", options.retries), ("timeout", options.timeout)] {
            arguments.extend(value.map(|value| format!("--setopt={name}={value}")));
        }
        arguments.extend(options.ignore_broken.then(|| "--skip-broken".to_owned()));
        arguments.extend(self.kickstart.excluded.iter().map(|name| format!("--exclude={name}")));
        arguments.push("install".to_owned());
        arguments.extend(self.packages.iter().cloned());
        arguments
    }

    /// The machine's own configuration of dnf has no say.
    fn write_configuration(&self, home: &Path) -> Result<(), PluginError> {
        let write = |path: PathBuf, text: &str| {
            let folder = path.parent().unwrap_or(&self.folder).to_owned();
            std::fs::create_dir_all(&folder).map_err(|e| resource("make", &folder, &e))?;
            std::fs::write(&path, text).map_err(|e| resource("write", &path, &e))
        };
        write(self.folder.join("dnf.conf"), "[main]\nbest = 1\nskip_if_unavailable = 0\ninstallonly_limit = 0\n")?;
        write(self.folder.join("vars/.none"), "")?;
        for (index, text) in self.repo_files.iter().enumerate() {
            write(self.folder.join(format!("repos/{index}.repo")), text)?;
        }
        // Debian's rpm keeps its database in the caller's home unless told where images have it.
        let mut macros = "%_dbpath /var/lib/rpm\n".to_owned();
        if let Some(languages) = &self.kickstart.options.languages {
            let _ = writeln!(macros, "%_install_langs {languages}");
        }
        write(home.join(".rpmmacros"), &macros)
    }

    fn install(&self, root: &Path, cancel: &CancellationToken) -> Result<(), PluginError> {
        let home = self.folder.join("home");
        self.write_configuration(&home)?;
        let dnf = HostProgram {
            program: "dnf".to_owned(),
            args: self.arguments(root),
            folder: self.folder.clone(),
            home,
            path: self.program_path.clone(),
            writable: None,
            time: None,
        };
        let text = format!("dnf installs {} packages and what they need", self.packages.len());
        self.log.info(text.clone());
        self.log.progress(text, 0, None);
        let ended = dnf.run(&self.log, Level::Info, cancel);
        let ended = ended.map_err(|error| error.into_plugin_error("dnf", "apt-get install dnf rpm"))?;
        if ended.status.success() { Ok(()) } else { Err(dnf_failed(ended, &self.file)) }
    }

    /// Runs a script as a kickstart does: from a file, by its interpreter.
    fn script(&self, root: &Path, script: &Script, cancel: &CancellationToken) -> Result<(), PluginError> {
        let runtime = self.imaging.oci_runtime()?;
        let bundle = self.folder.join("bundle");
        std::fs::create_dir_all(&bundle).map_err(|e| resource("make", &bundle, &e))?;
        let inside = Root::open(root)?;
        let file = Path::new(SCRIPT);
        let mut written = inside.create_file(file, 0o700)?;
        written.write_all(script.text.as_bytes()).map_err(|e| resource("write", file, &e))?;
        drop(written);
        let mut spec = RunSpec::new(root, &bundle, vec![script.interpreter.clone(), SCRIPT.to_owned()]);
        spec.env = vec!["PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_owned(), "HOME=/root".to_owned()];
        spec.output = Output::Together;
        spec.cgroup_path.clone_from(&self.imaging.cgroup);
        let RunLimits { memory, pids, milli_cpus, time } = self.imaging.run_limits;
        spec.limits = ContainerLimits { memory, pids, milli_cpus, time };
        let mut relay = |_: StreamId, line: &[u8]| self.log.info(line);
        let outcome = osbs_sandbox::run(&runtime, &spec, &mut relay, cancel);
        inside.remove_tree(file)?;
        let position = Position { file: self.file.clone(), line: script.line, column: None };
        let outcome = outcome.map_err(|error| PluginError::from(error).at(position.clone()))?;
        if outcome.exit_code != 0 {
            let text = format!("a %post script of the kickstart file ended with exit code {}", outcome.exit_code);
            if script.error_on_fail {
                return Err(PluginError::user(text).at(position).with_hint("its last words are in the log"));
            }
            self.log.warning(format!("{position}: {text}"));
        }
        Ok(())
    }
}

/// What dnf says of whose fault it is: the first that is found in its last lines.
const SIGNS: [(&str, ErrorKind, &str); 8] = [
    ("No space left", ErrorKind::Resource, "make room on the disk that holds the builds"),
    ("more space needed", ErrorKind::Resource, "make room on the disk that holds the builds"),
    ("Unable to find a match", ErrorKind::User, "none of the repositories has one of the packages: look at its name"),
    ("is not available", ErrorKind::User, "none of the repositories has one of the groups: look at its name"),
    ("GPG", ErrorKind::User, "the packages are not signed with the key that gpgkey names"),
    ("Failed to download metadata", ErrorKind::Remote, "a repository of the kickstart file does not answer"),
    ("Cannot download", ErrorKind::Remote, "a repository of the kickstart file does not answer"),
    ("Error downloading packages", ErrorKind::Remote, "a repository of the kickstart file lacks what it lists"),
];

fn dnf_failed(ended: Ended, file: &str) -> PluginError {
    let all = ended.last_lines.join("\n");
    let sign = SIGNS.iter().find(|(sign, ..)| all.contains(sign));
    let (kind, hint) = sign.map_or((ErrorKind::User, "look at the repositories and packages of the kickstart file"), {
        |(_, kind, hint)| (*kind, *hint)
    });
    let text = format!("dnf could not install the packages of {file} ({})", ended.status);
    let mut failure = Failure::message(kind, text).with_hint(hint);
    failure.causes = ended.last_lines;
    failure.into()
}
