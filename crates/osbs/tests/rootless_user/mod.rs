//! An ordinary user with subordinate ids, a parent image and a context, for tests of builds without root.

use crate::world::{self, Done, done};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Runs a line of shell as root.
#[track_caller]
pub fn sh(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).output().expect("sh starts");
    assert!(output.status.success(), "{line}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The failure screen says so, and the exit code is right.
#[track_caller]
pub fn check_failure(done: &Done, code: i32, text: &str) {
    assert_eq!(done.code, code, "{}\n{}", done.out, done.err);
    assert!(done.err.contains(text), "no {text:?} in:\n{}", done.err);
}

/// A user, removed when dropped.
struct User {
    name: String,
    uid: u32,
}

impl User {
    fn new(home: &Path) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("osbst{}n{number}", std::process::id());
        // Nobody's, also of those before; within what useradd gives subordinate ids to.
        let uid = 20_000 + (std::process::id() * 8 + number) % 30_000;
        // Another test may hold the lock of the user database.
        let end = Instant::now() + Duration::from_secs(20);
        let add = || {
            let mut command = Command::new("useradd");
            command.args(["--no-create-home", "--no-user-group", "--gid", "nogroup", "--uid", &uid.to_string()]);
            command.arg("--home-dir").arg(home).arg(&name);
            command.output().expect("useradd starts")
        };
        let mut added = add();
        while !added.status.success() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(100));
            added = add();
        }
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        Self { name, uid }
    }

    /// Ids that belong to nobody else.
    fn owns(&self, uid: u32) -> bool {
        let ranges = fs::read_to_string("/etc/subuid").unwrap_or_default();
        let own = ranges.lines().filter_map(|line| line.strip_prefix(&format!("{}:", self.name)));
        let mut own = own.filter_map(|range| range.split_once(':'));
        uid == self.uid
            || own.any(|(start, count)| {
                let (start, count): (u32, u32) = (start.parse().expect("start"), count.parse().expect("count"));
                (start..start + count).contains(&uid)
            })
    }
}

impl Drop for User {
    fn drop(&mut self) {
        for _ in 0..50 {
            let removed = Command::new("userdel").arg(&self.name).stderr(Stdio::null()).status();
            if removed.is_ok_and(|status| status.success()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// A folder with all that a build needs.
pub struct Place {
    user: User,
    folder: TempDir,
}

impl Place {
    /// `None` where real tests are switched off.
    pub fn new() -> Option<Self> {
        if !world::can_run() {
            return None;
        }
        for (program, package) in [
            ("newuidmap", "uidmap"),
            ("umoci", "umoci"),
            ("skopeo", "skopeo"),
            ("getfattr", "attr"),
            ("setcap", "libcap2-bin"),
        ] {
            let found = Command::new("sh").args(["-c", "command -v \"$0\"", program]).output();
            assert!(found.is_ok_and(|found| found.status.success()), "{program} is missing: apt-get install {package}");
        }
        let folder = tempfile::Builder::new().prefix("osbs-test-").tempdir().expect("a temporary folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("mode");
        let place = Self { user: User::new(&folder.path().join("user")), folder };
        for name in ["user", "out", "empty"] {
            fs::create_dir(place.path(name)).expect("made");
        }
        for name in ["user", "out"] {
            std::os::unix::fs::chown(place.path(name), Some(place.user.uid), None).expect("owner");
        }
        // Where the user cannot go, no program of its can be started.
        let program = place.path("osbs");
        fs::hard_link(world::OSBS, &program)
            .or_else(|_| fs::copy(world::OSBS, &program).map(drop))
            .expect("the program");
        place.make_base();
        Some(place)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn name(&self) -> &str {
        &self.user.name
    }

    pub fn uid(&self) -> String {
        self.user.uid.to_string()
    }

    /// Where the user's builds are.
    pub fn home(&self) -> PathBuf {
        self.path("user/.local/share/osbs")
    }

    /// The layout a build of `who` goes into.
    pub fn out(&self, who: &str) -> PathBuf {
        self.path("out").join(who)
    }

    /// A parent with things to remove and replace, as an OCI layout. Made by root.
    fn make_base(&self) {
        let root = self.path("tree/root");
        for folder in ["bin", "etc", "tmp", "srv", "var/www", "opt/gone/deep", "opt/again", "opt/moved", "opt/dir"] {
            fs::create_dir_all(root.join(folder)).expect("made");
        }
        fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).expect("mode");
        fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox: apt-get install busybox-static");
        for program in sh("/bin/busybox --list").lines().filter(|program| *program != "busybox") {
            symlink("busybox", root.join("bin").join(program)).expect("linked");
        }
        for file in ["opt/file", "opt/gone/deep/file", "opt/again/a", "opt/moved/m", "opt/dir/d", "var/www/index"] {
            fs::write(root.join(file), "old\n").expect("written");
        }
        fs::write(self.path("tree/Dockerfile"), "FROM scratch\nCOPY root /\nENV PATH=/bin\n").expect("written");
        let (tree, base) = (self.path("tree"), format!("oci:{}", self.path("base").display()));
        let mut command = self.root_command();
        command.args(["image", "build", "-q", "--output", &base]).arg(tree);
        let built = done(command.output().expect("osbs starts"));
        assert_eq!(built.code, 0, "{}", built.err);
    }

    /// The build context: this Dockerfile on the parent image, and what it copies.
    pub fn write_context(&self, dockerfile: &str) {
        let context = self.path("context");
        fs::create_dir_all(context.join("tools/usr/sbin")).expect("made");
        let text = dockerfile.replace("BASE", &self.path("base").display().to_string());
        fs::write(context.join("Dockerfile"), text).expect("written");
        fs::write(context.join("data"), "data\n").expect("written");
        if dockerfile.contains("tools") {
            // setcap and the libraries it names.
            let libraries = sh("ldd $(command -v setcap) | grep -o '/[^ ]*'");
            fs::copy(sh("command -v setcap").trim(), context.join("tools/usr/sbin/setcap")).expect("setcap");
            for library in libraries.lines() {
                let place = context.join("tools").join(library.trim_start_matches('/'));
                fs::create_dir_all(place.parent().expect("has one")).expect("made");
                fs::copy(library, place).expect("copied");
            }
            sh(&format!(
                "mkdir {0} && cp /bin/busybox {0}/tool && setcap cap_net_raw+ep {0}/tool && chown 33:33 {0} && \
                 tar --xattrs --xattrs-include='*' -C {0} -cf {1}/caps.tar .",
                self.path("caps").display(),
                context.display()
            ));
        }
        sh(&format!("chown -R {}: {}", self.user.name, context.display()));
    }

    /// The program, as root.
    pub fn root_command(&self) -> Command {
        let mut command = Command::new(self.path("osbs"));
        let home = self.path("root");
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", &home);
        command.env("LC_ALL", "C.UTF-8").env("OSBS_HOME", home).stdin(Stdio::null()).current_dir("/");
        command
    }

    /// The program, as the user.
    pub fn user_command(&self) -> Command {
        self.wrapped(&[])
    }

    /// The same, started by another.
    pub fn wrapped(&self, wrapper: &[&str]) -> Command {
        let osbs = self.path("osbs").into_os_string().into_string().expect("text");
        let words: Vec<&str> = wrapper.iter().copied().chain([osbs.as_str()]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.path("user")).env("LC_ALL", "C.UTF-8").stdin(Stdio::null()).current_dir("/");
        command.uid(self.user.uid).gid(nogroup());
        command
    }

    /// The program with these arguments, as root starts it for the user.
    pub fn wrapped_for(&self, wrapper: &[&str], args: &[&str]) -> Command {
        let mut command = self.wrapped(wrapper);
        command.uid(0).gid(0).args(args);
        command
    }

    /// `command` with `image build` of the context.
    pub fn build(&self, command: &Command, who: &str) -> Command {
        let mut build = Command::new(command.get_program());
        build.args(command.get_args()).env_clear().stdin(Stdio::null()).current_dir("/");
        build.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
        let is_root = command.get_envs().any(|(key, _)| key == "OSBS_HOME") || command.get_program() == "nsenter";
        if !is_root {
            build.uid(self.user.uid).gid(nogroup());
        }
        let output = format!("oci:{}", self.out(who).display());
        build.args(["image", "build", "--source-date-epoch", "1000", "--output", &output]).arg(self.path("context"));
        build
    }

    pub fn build_as_user(&self, more: &[&str]) -> Done {
        done(self.build(&self.user_command(), "user").args(more).output().expect("osbs starts"))
    }

    pub fn as_user(&self, args: &[&str]) -> Done {
        done(self.user_command().args(args).output().expect("osbs starts"))
    }

    pub fn as_root(&self, args: &[&str]) -> Done {
        done(self.root_command().args(args).output().expect("osbs starts"))
    }

    /// The user's own processes with this word among their arguments.
    pub fn processes_with(&self, word: &str) -> Vec<u32> {
        let own = world::processes_with(&self.path("osbs").display().to_string());
        let has_word = |pid: &u32| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            words.split(|byte| *byte == 0).any(|part| part == word.as_bytes())
        };
        own.into_iter().filter(has_word).collect()
    }

    /// No process of any of the user's ids, no mount in its folders.
    #[track_caller]
    pub fn check_nothing_left(&self) {
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            let left = self.leftovers();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "left behind:\n{}", left.join("\n"));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn leftovers(&self) -> Vec<String> {
        let folder = self.folder.path().display().to_string();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mut left: Vec<String> = mounts.lines().filter(|line| line.contains(&folder)).map(str::to_owned).collect();
        for entry in fs::read_dir("/proc").expect("/proc").flatten() {
            let is_process = entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit());
            if is_process && entry.metadata().is_ok_and(|process| self.user.owns(process.uid())) {
                let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                left.push(format!("{} {}", entry.path().display(), String::from_utf8_lossy(&command)));
            }
        }
        left
    }
}

/// A user namespace of root's with all ids that a test needs, for switches that would stop the machine.
pub struct UserNamespace(Child);

impl UserNamespace {
    pub fn new() -> Self {
        let mut child = Command::new("unshare")
            .args(["--user", "--mount", "cat"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("unshare starts");
        let pid = child.id();
        let own = fs::read_link("/proc/self/ns/user").expect("a namespace");
        world::wait_for("the namespace is made", 5, || {
            let made = fs::read_link(format!("/proc/{pid}/ns/user")).is_ok_and(|namespace| namespace != own);
            assert!(child.try_wait().is_ok_and(|ended| ended.is_none()), "unshare has ended");
            made
        });
        for file in ["uid_map", "gid_map"] {
            fs::write(format!("/proc/{pid}/{file}"), "0 0 1000000\n").expect("mapped");
        }
        Self(child)
    }

    /// A process in it.
    pub fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for UserNamespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn nogroup() -> u32 {
    sh("getent group nogroup | cut -d: -f3").trim().parse().expect("a number")
}
