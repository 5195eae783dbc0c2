//! Holes that builders have had, tried on this one: one test for each incident that concerns RUN, its mounts, WORKDIR and
//! the files of an image that are read for it. Outside lies a canary, which nobody may read, write or remove.

mod support;

use osbs_builder::{BuildError, BuildRequest, BuiltImage, UserNamespace};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::{Entry, Seen, Site, look, ready};
use tokio_util::sync::CancellationToken;

const PROGRAMS: &[(&str, &str)] = &[("runc", "runc")];
const SECRET: &str = "the canary sings";
const BOTH: [UserNamespace; 2] = [UserNamespace::Auto, UserNamespace::Off];

/// A site with a canary beside it.
struct Cage {
    site: Site,
    canary: PathBuf,
    before: BTreeMap<PathBuf, Entry>,
}

impl Cage {
    fn new() -> Option<Self> {
        if !ready(PROGRAMS) {
            return None;
        }
        let site = Site::new();
        let canary = site.dir.path().join("canary");
        for folder in ["y/stub", "empty", "etc", "proc", "sys", "dev"] {
            fs::create_dir_all(canary.join(folder)).expect("folder");
        }
        fs::write(canary.join("secret"), SECRET).expect("canary");
        fs::write(canary.join("y/file"), "").expect("canary");
        let before = look(&canary);
        Some(Self { site, canary, before })
    }

    fn build(
        &self,
        text: &str,
        change: impl FnOnce(&mut BuildRequest<'_>),
    ) -> (Result<BuiltImage, BuildError>, String) {
        let seen = Seen::default();
        let built = self.site.build_with(text, change, &seen, &CancellationToken::new());
        let lines = seen.lines.lock().expect("lock");
        let said = lines.iter().map(|line| String::from_utf8_lossy(line) + "\n").collect();
        (built, said)
    }

    /// Built or refused, in bounded time, and the canary neither heard nor harmed; where root inside is root outside.
    #[track_caller]
    fn contained(&self, text: &str) -> Vec<(Result<BuiltImage, BuildError>, String)> {
        self.contained_as(&[UserNamespace::Off], text)
    }

    #[track_caller]
    fn contained_as(&self, ways: &[UserNamespace], text: &str) -> Vec<(Result<BuiltImage, BuildError>, String)> {
        let try_one = |wanted: &UserNamespace| {
            let begun = Instant::now();
            let (built, said) = self.build(text, |request| request.user_namespace = *wanted);
            assert!(begun.elapsed() < Duration::from_secs(20), "{text}: {:?}", begun.elapsed());
            assert!(!said.contains(SECRET), "{text}: {said}");
            self.unharmed(text);
            (built, said)
        };
        ways.iter().map(try_one).collect()
    }

    #[track_caller]
    fn unharmed(&self, text: &str) {
        assert_eq!(look(&self.canary), self.before, "{text}");
    }

    fn canary(&self) -> std::path::Display<'_> {
        self.canary.display()
    }
}

fn text_of(error: &BuildError) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[test]
fn cve_2024_1753_the_source_of_a_bind_is_a_link_to_the_root() {
    let Some(cage) = Cage::new() else { return };
    let canary = cage.canary();
    for mode in ["", ",rw"] {
        let text = format!(
            "FROM localhost/base AS evil\nRUN ln -s / /src && ln -s {canary} /far && ln -s ../../../../../../../{canary} /up\n\
             FROM localhost/base\n\
             RUN --mount=type=bind,from=evil,source=/src,target=/mnt{mode} cat /mnt/{canary}/secret; touch /mnt{canary}/x; \
             touch /mnt/x; ls /mnt\n"
        );
        for (built, said) in cage.contained_as(&BOTH, &text) {
            built.unwrap_or_else(|error| panic!("{}", text_of(&error)));
            assert!(said.contains("busybox") || said.contains("bin"), "the image's own root: {said}");
        }
        for source in ["/far", "/up", "/src/../../..", "../../.."] {
            let text = format!(
                "FROM localhost/base AS evil\nRUN ln -s / /src && ln -s {canary} /far && ln -s ../../../../../../../{canary} /up\n\
                 FROM localhost/base\nRUN --mount=type=bind,from=evil,source={source},target=/mnt{mode} \
                 cat /mnt/secret; rm -rf /mnt/secret; echo x > /mnt/new; true\n"
            );
            cage.contained(&text);
        }
    }
}

#[test]
fn cve_2024_9407_options_are_smuggled_into_a_mount() {
    let Some(cage) = Cage::new() else { return };
    cage.site.file("in/a", "x");
    for options in ["bind-propagation=shared", "relabel=shared", "z", "U", "suid", "dev", "exec"] {
        let text = format!("FROM localhost/base\nRUN --mount=type=bind,source=in,target=/mnt,{options} true\n");
        let parsed = osbs_dockerfile::Dockerfile::parse(&text, "Dockerfile");
        if parsed.is_ok() {
            for (built, _) in cage.contained(&text) {
                built.expect_err(options);
            }
        }
    }
    // A colon in a value, which other mount options are made of, stays in the value.
    fs::create_dir_all(cage.site.context().join("a:b:suid")).expect("folder");
    let text = "FROM localhost/base\nRUN --mount=type=bind,source=a:b:suid,target=/m:n:suid,rw touch /m:n:suid/x && \
                grep -c 'm:n:suid .*nosuid' /proc/self/mountinfo\n";
    for (built, said) in cage.contained_as(&BOTH, text) {
        built.unwrap_or_else(|error| panic!("{}", text_of(&error)));
        assert_eq!(said.trim(), "1");
    }
}

#[test]
fn cve_2024_9675_a_cache_leaves_its_folder() {
    let Some(cage) = Cage::new() else { return };
    let canary = cage.canary();
    let caches = cage.site.dir.path().join("caches");
    fs::create_dir(&caches).expect("caches");
    let ids = ["../canary", "../../canary", &cage.canary.display().to_string(), "..", "/", "a/../../canary", "link"];
    symlink(&cage.canary, caches.join("link")).expect("link");
    for id in ids {
        let text = format!(
            "FROM localhost/base\nRUN --mount=type=cache,id={id},target=/c cat /c/secret; rm -rf /c/*; echo x > /c/new; true\n"
        );
        let (built, said) = cage.build(&text, |request| request.cache_dir = Some(caches.clone()));
        built.unwrap_or_else(|error| panic!("{id}: {}", text_of(&error)));
        assert!(!said.contains(SECRET), "{id}");
        cage.unharmed(id);
    }
    for source in ["/far", "/src", "..", "../../..", "/src/../.."] {
        let text = format!(
            "FROM localhost/base AS evil\nRUN ln -s / /src && ln -s {canary} /far\nFROM localhost/base\n\
             RUN --mount=type=cache,from=evil,source={source},id={source}x,target=/c cat /c/secret /c/{canary}/secret; rm -f /c/secret; true\n"
        );
        cage.contained(&text);
    }
    for entry in fs::read_dir(&caches).expect("caches").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(name == "link" || name.len() >= 64, "a hash names it: {name}");
    }
}

/// Two builds share a cache; one keeps flipping a link in it, the other mounts through that link.
#[test]
fn cve_2024_11218_a_link_flips_between_two_builds() {
    let Some(cage) = Cage::new() else { return };
    cage.site.file("in/a", "x");
    let caches = cage.site.dir.path().join("caches");
    let (other_work, done) = (cage.site.dir.path().join("work2"), AtomicBool::new(false));
    let flip = format!(
        "FROM localhost/base\nRUN --mount=type=cache,target=/c mkdir -p /c/real/inner; for i in $(seq 4000); do \
         ln -sfn {} /c/new && mv -T /c/new /c/link; mkdir -p /c/dir && mv -T /c/link /c/old 2>/dev/null; mv -T /c/dir /c/link 2>/dev/null; \
         [ -e /c/stop ] && break; done; true\n",
        cage.canary()
    );
    let through = "FROM localhost/base\nRUN --mount=type=cache,target=/c \
                   --mount=type=bind,source=in,target=/c/link/inner,rw cat /c/link/secret /c/link/inner/*; touch /c/link/inner/x; true\n";
    std::thread::scope(|scope| {
        let flipping = scope.spawn(|| {
            let seen = Seen::default();
            let change = |request: &mut BuildRequest<'_>| request.cache_dir = Some(caches.clone());
            let built = cage.site.build_with(&flip, change, &seen, &CancellationToken::new());
            done.store(true, Ordering::SeqCst);
            built.map(|_| ()).map_err(|error| text_of(&error))
        });
        let begun = Instant::now();
        let mut tried = 0;
        while tried < 2 || (tried < 12 && !done.load(Ordering::SeqCst) && begun.elapsed() < Duration::from_secs(4)) {
            let wanted = BOTH[tried % 2];
            let seen = Seen::default();
            let dockerfile = osbs_dockerfile::Dockerfile::parse(through, "Dockerfile").expect("parsed");
            let context = cage.site.context();
            let mut request =
                BuildRequest::new(&dockerfile, &context, &cage.site, support::native(), &other_work, &cage.site.store);
            request.runtime = Some(&cage.site.runtime);
            request.cache_dir = Some(caches.clone());
            request.user_namespace = wanted;
            // It may fail: the runtime finds the link where a folder was.
            let _ = osbs_builder::build(request, &seen, &CancellationToken::new());
            let said = seen.lines.lock().expect("lock").concat();
            assert!(!String::from_utf8_lossy(&said).contains(SECRET), "read through the link");
            cage.unharmed("flip");
            tried += 1;
        }
        for entry in fs::read_dir(&caches).expect("caches").flatten().filter(|entry| entry.path().is_dir()) {
            let _ = fs::write(entry.path().join("stop"), "");
        }
        flipping.join().expect("thread").expect("the flipping build");
    });
    cage.unharmed("flip");
}

#[test]
fn cve_2024_23652_a_stub_is_replaced_before_it_is_taken_away() {
    let Some(cage) = Cage::new() else { return };
    cage.site.file("in/a", "x");
    let canary = cage.canary();
    for (target, way) in [
        ("/x/y/stub", format!("mv /x /gone; ln -s {canary} /x")),
        ("/x/y/stub", format!("mv /x/y /gone; ln -s {canary}/y /x/y")),
        ("/x/y/stub", format!("mv /x /gone; ln -s ../../../../../..{canary} /x")),
        ("/x/empty", format!("mv /x /gone; ln -s {canary} /x")),
        ("/etc/x", format!("mv /etc /gone; ln -s {canary} /etc")),
    ] {
        let text = format!(
            "FROM localhost/base\nRUN --mount=type=bind,source=in,target={target} {way}; ls -l / >/dev/null\nRUN true\n"
        );
        cage.contained(&text);
        // A file as stub.
        let text = text.replace("source=in,", "source=in/a,").replace("/x/y/stub", "/x/y/file");
        cage.contained(&text);
    }
}

#[test]
fn cve_2024_23653_and_nobody_is_privileged_by_asking() {
    let Some(cage) = Cage::new() else { return };
    for (built, said) in cage.contained_as(&BOTH, "FROM localhost/base\nRUN --security=insecure id -u\n") {
        built.expect_err("nobody allowed it");
        assert_eq!(said, "");
    }
}

/// The folder a process was started in, or any it has open, as the way out.
#[test]
fn cve_2024_21626_the_working_folder_is_an_open_descriptor() {
    let Some(cage) = Cage::new() else { return };
    let up = "../".repeat(12);
    for number in 0..16 {
        for folder in [format!("/proc/self/fd/{number}"), format!("/proc/1/fd/{number}")] {
            if folder.contains("/1/") && number % 4 != 0 {
                continue;
            }
            let text = format!(
                "FROM localhost/base\nWORKDIR {folder}\nRUN cat {up}{}/secret; touch {up}{}/x; true\n",
                cage.canary(),
                cage.canary()
            );
            let (_, said) = cage.build(&text, |request| request.user_namespace = BOTH[number % 2]);
            assert!(!said.contains(SECRET), "{folder}: {said}");
            cage.unharmed(&folder);
        }
    }
}

#[test]
fn cve_2026_55686_workdir_goes_through_a_link() {
    let Some(cage) = Cage::new() else { return };
    let canary = cage.canary();
    let text = format!(
        "FROM localhost/base\nRUN ln -s {canary} /a && ln -s ../../../../../../../..{canary} /b && ln -s /proc/self/root /p && ln -s a /c\n\
         WORKDIR /a/made\nWORKDIR /b/made\nWORKDIR /c/deep/made\nUSER app\nWORKDIR /a/apps\nRUN pwd\n"
    );
    for (built, said) in cage.contained(&text) {
        built.unwrap_or_else(|error| panic!("{}", text_of(&error)));
        assert_eq!(said.trim(), format!("{canary}/apps"), "inside the image");
    }
    cage.contained(&format!("FROM localhost/base\nRUN ln -s /proc/self/root /p\nWORKDIR /p/{canary}/made\nRUN true\n"));

    // And somebody turns a folder into a link and back all the while.
    let (work, stop) = (cage.site.work(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                let roots = fs::read_dir(&work).into_iter().flatten().flatten().map(|entry| entry.path().join("root"));
                for root in roots.filter(|root| root.join("bin").is_dir()) {
                    let _ = fs::create_dir(root.join("flip"));
                    let _ = fs::rename(root.join("flip"), root.join("away"));
                    let _ = symlink(&cage.canary, root.join("flip"));
                    let _ = fs::remove_file(root.join("flip"));
                    let _ = fs::rename(root.join("away"), root.join("flip"));
                }
            }
        });
        let workdirs: Vec<String> = (0..200).map(|number| format!("WORKDIR /flip/d{number}/e\n")).collect();
        let workdirs = workdirs.concat();
        for _ in 0..4 {
            let _ = cage.build(&format!("FROM localhost/base\n{workdirs}"), |_| {});
        }
        stop.store(true, Ordering::SeqCst);
    });
    cage.unharmed("race");
}

#[test]
fn cve_2022_27649_all_five_capability_sets() {
    let Some(cage) = Cage::new() else { return };
    let text = "FROM localhost/base\nRUN grep ^Cap /proc/self/status\nUSER app\nRUN grep ^Cap /proc/self/status\n";
    let (none, usual) = ("0000000000000000", "00000000a80425fb");
    let sets = |values: [&str; 5]| -> String {
        let names = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
        let lines: Vec<String> = names.iter().zip(values).map(|(name, value)| format!("{name}:\t{value}\n")).collect();
        lines.concat()
    };
    for (built, said) in cage.contained_as(&BOTH, text) {
        built.expect("build");
        assert_eq!(said, sets([none, usual, usual, usual, none]) + &sets([none, none, none, usual, none]));
    }
}

/// The part of [`cve_2021_3602_the_environment_of_the_service`] that has a secret in its environment.
#[test]
#[ignore = "started by cve_2021_3602_the_environment_of_the_service"]
fn child_with_a_secret_environment() {
    assert_eq!(std::env::var("OSBS_CANARY").as_deref(), Ok(SECRET));
    let cage = Cage::new().expect("only started for real");
    let text = "FROM localhost/base\nRUN env; cat /proc/self/environ /proc/1/environ; echo end\n";
    for (built, said) in cage.contained_as(&BOTH, text) {
        built.expect("build");
        assert!(said.contains("PATH=/bin") && !said.contains("OSBS_CANARY") && !said.contains("CARGO"), "{said}");
    }
}

#[test]
fn cve_2021_3602_the_environment_of_the_service() {
    if !ready(PROGRAMS) {
        return;
    }
    let output = std::process::Command::new(std::env::current_exe().expect("own program"))
        .args(["--exact", "child_with_a_secret_environment", "--ignored"])
        .env("OSBS_CANARY", SECRET)
        .output()
        .expect("started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn cve_2024_9676_the_account_files_are_traps() {
    let Some(cage) = Cage::new() else { return };
    cage.site.file("a", "x");
    let canary = cage.canary();
    for trap in [
        "mkfifo /etc/passwd".to_owned(),
        "mkdir /etc/passwd".to_owned(),
        "ln -s /dev/zero /etc/passwd".to_owned(),
        format!("ln -s {canary}/secret /etc/passwd"),
        "ln -s passwd /etc/passwd".to_owned(),
        "truncate -s 20G /etc/passwd".to_owned(),
        "mknod /etc/passwd c 1 5".to_owned(),
        "mv /etc /e; ln -s /proc/self /etc".to_owned(),
    ] {
        let uses = ["USER app\nRUN id\n", "COPY --chown=app a /a\n", "USER app\nWORKDIR /w\n"];
        for use_it in &uses[..if trap.contains("fifo") { 3 } else { 1 }] {
            let text = format!("FROM localhost/base\nRUN rm /etc/passwd; {trap}\n{use_it}");
            let begun = Instant::now();
            let (built, said) = cage.build(&text, |request| request.user_namespace = UserNamespace::Off);
            let error = text_of(&built.expect_err(&text));
            assert!(!said.contains(SECRET) && !error.contains(SECRET), "{text}: {error}");
            assert!(begun.elapsed() < Duration::from_secs(5), "{text}: {:?}", begun.elapsed());
        }
    }
    cage.unharmed("accounts");
    let peak = fs::read_to_string("/proc/self/status").expect("status");
    let peak = peak.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("peak");
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(kib < 500 << 10, "{kib} KiB of memory");
}

/// What the runtime mounts and masks, where the image has links instead.
#[test]
fn cve_2025_31133_and_52565_and_52881_kernel_folders_are_redirected() {
    let Some(cage) = Cage::new() else { return };
    let canary = cage.canary();
    for folder in ["proc", "sys", "dev"] {
        for target in [format!("{canary}/{folder}"), format!("../../../../../..{canary}"), "/etc".to_owned()] {
            let tree = cage.site.context();
            let _ = fs::remove_file(tree.join(folder));
            symlink(&target, tree.join(folder)).expect("link");
            let text = format!(
                "FROM localhost/base\nCOPY {folder} /{folder}\nRUN cat /{folder}/secret; echo x > /{folder}/x; ls /{folder} > /dev/null\n"
            );
            cage.contained(&text);
            fs::remove_file(tree.join(folder)).expect("link");
        }
    }
    let masked = "for file in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts; do [ -e $file ] && head -c 1 $file 2>/dev/null; done; \
                  ls /sys/firmware /proc/acpi /proc/scsi 2>/dev/null | grep -v : | grep .; for file in /proc/sys/kernel/core_pattern \
                  /proc/sysrq-trigger /proc/sys/kernel/hostname /sys/kernel/uevent_helper; do (echo x > $file) 2>/dev/null && echo wrote $file; done; echo end";
    for (built, said) in cage.contained_as(&BOTH, &format!("FROM localhost/base\nRUN {masked}\n")) {
        built.expect("build");
        assert_eq!(said, "end\n");
    }
}

#[test]
fn mount_targets_lead_through_links() {
    let Some(cage) = Cage::new() else { return };
    cage.site.file("in/a", "x");
    let canary = cage.canary();
    for target in ["/far/new", "/far/y/stub", "/up/new/deep", "/far", "/loop/x"] {
        for mount in
            ["type=bind,source=in", "type=bind,source=in/a", "type=tmpfs", "type=cache", "type=bind,source=in,rw"]
        {
            let text = format!(
                "FROM localhost/base\nRUN ln -s {canary} /far && ln -s ../../../../../..{canary} /up && ln -s loop /loop\n\
                 RUN --mount={mount},target={target} cat {canary}/secret; touch {target}/x; true\n"
            );
            let wanted = if mount.len() % 2 == 0 { UserNamespace::Auto } else { UserNamespace::Off };
            let (_, said) = cage.build(&text, |request| request.user_namespace = wanted);
            assert!(!said.contains(SECRET), "{text}: {said}");
            cage.unharmed(&text);
        }
    }
}

#[test]
fn cve_2019_5736_the_runtimes_own_program() {
    let Some(cage) = Cage::new() else { return };
    let program = &cage.site.runtime.program;
    let before = fs::read(program).expect("runtime");
    let text = "FROM localhost/base\nRUN ln -s /proc/self/exe /again\nRUN [\"/proc/self/exe\", \"init\"]\n";
    cage.contained_as(&BOTH, text);
    let text = "FROM localhost/base\nRUN for i in $(seq 200); do (echo x > /proc/1/exe) 2>/dev/null && echo wrote; done; \
                ls -l /proc/1/exe | grep -c runc; true\n";
    for (built, said) in cage.contained_as(&BOTH, text) {
        built.expect("build");
        assert_eq!(said.trim(), "0");
    }
    assert!(fs::read(program).expect("runtime") == before, "overwritten");
}

#[test]
fn nothing_is_left_of_the_cage() {
    let Some(cage) = Cage::new() else { return };
    cage.contained("FROM localhost/base\nRUN true\n");
    let names = |path: &Path| fs::read_dir(path).map_or(0, Iterator::count);
    assert_eq!(names(Path::new("/run/osbs-container")), 0);
}
