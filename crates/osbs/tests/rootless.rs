//! Builds of an ordinary user, for real: a user made for the test, its subordinate ids, newuidmap, overlayfs and runc in a
//! user namespace. The measure is root's build of the same: not a byte may differ.

mod rootless_user;
mod world;

use rootless_user::{Place, UserNamespace, check_failure, sh};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Stdio;
use world::{Done, World, done, wait_for};

/// Every kind of change that a build makes, and everything that only root may do outside.
const DOCKERFILE: &str = r#"
FROM oci:BASE AS tree
RUN mkdir -p /made/deep && echo 1 > /made/deep/file && ln /made/deep/file /made/deep/hard && mkfifo /made/pipe
FROM oci:BASE
RUN test "$(id -u) $(id -g)" = "0 0" && chown -R 33:33 /var/www && chmod 6755 /var/www/index
RUN rm /opt/file && rm -r /opt/gone && rm -r /opt/again && mkdir /opt/again && echo new > /opt/again/b
RUN mv /opt/moved /opt/renamed && rm -r /opt/dir && ln -s /srv /opt/dir && mkdir /opt/new && chown 65534:65534 /opt/new
USER 33:33
RUN test "$(id -u) $(id -g)" = "33 33" && touch /tmp/mine && ! touch /srv/refused 2>/dev/null
USER 0
COPY --chown=33:65534 --chmod=640 data /srv/data
COPY --from=tree /made /made
ADD caps.tar /caps
COPY tools /
RUN cp /bin/busybox /bin/tool && /usr/sbin/setcap cap_net_raw+ep /bin/tool && rm -r /usr /lib /lib64
RUN --mount=type=cache,target=/cache --mount=type=tmpfs,target=/memory --mount=type=bind,target=/context,rw \
    touch /cache/x /memory/x /context/x && chown 7:7 /cache/x && rm -r /context/tools
RUN --network=none ! ip addr | grep -q eth0
RUN echo > /dev/null && test -c /dev/urandom && test -z "$(ls /sys/fs/cgroup)" && test "$(ls /proc | grep -c '^[0-9]*$')" -lt 9
WORKDIR /var/www/sub
"#;

#[test]
fn the_same_image_as_roots() {
    let Some(place) = Place::new() else { return };
    place.write_context(DOCKERFILE);
    let as_user = place.build_as_user(&[]);
    assert_eq!(as_user.code, 0, "{}", as_user.err);
    let as_root = done(place.build(&place.root_command(), "root").output().expect("osbs starts"));
    assert_eq!(as_root.code, 0, "{}", as_root.err);
    assert_eq!(as_user.out, as_root.out, "one image id: config, and digests of all layers");

    let manifest = |who: &str| sh(&format!("skopeo inspect --raw oci:{}:latest", place.out(who).display()));
    assert_eq!(manifest("user"), manifest("root"));
    sh(&format!("umoci unpack --image {}:latest {}", place.out("user").display(), place.path("bundle").display()));
    let look = |format: &str, path: &str| {
        let path = place.path("bundle/rootfs").join(path);
        sh(&format!("stat -c '{format}' {}", path.display())).trim().to_owned()
    };
    assert_eq!(look("%u:%g %a", "var/www/index"), "33:33 6755");
    assert_eq!(look("%u:%g %a", "srv/data"), "33:65534 640");
    assert_eq!(look("%h", "made/deep/hard"), "2");
    let names = |path: &str| sh(&format!("ls {}", place.path("bundle/rootfs").join(path).display()));
    assert_eq!(names("opt"), "again\ndir\nnew\nrenamed\n");
    assert_eq!(names("opt/again"), "b\n", "what was in the folder before is hidden");
    // Version 2, without the id that root of the namespace has outside.
    for file in ["bin/tool", "caps/tool"] {
        let value = sh(&format!(
            "getfattr --only-values -n security.capability {} | od -An -tx1",
            place.path("bundle/rootfs").join(file).display()
        ));
        assert_eq!(value.split_whitespace().collect::<String>(), "0100000200200000000000000000000000000000", "{file}");
    }

    // Its store is full of files of ids that are not the user's, and goes all the same.
    let removed = place.as_user(&["gc"]);
    assert_eq!(removed.code, 0, "{}", removed.err);
    assert_eq!(
        sh(&format!("ls {0}/store/layers {0}/store/tmp {0}/work | grep -v :", place.home().display())).trim(),
        ""
    );
    check_failure(
        &place.as_root(&["gc", "--home", &place.home().display().to_string()]),
        5,
        "was made by the ids uid 0",
    );
    place.check_nothing_left();
}

/// They cannot be made, and are in so many images that this must not end the build. Nor may they get lost.
#[test]
fn device_nodes_of_the_parent_are_kept() {
    let Some(place) = Place::new() else { return };
    let tree = place.path("nodes");
    sh(&format!(
        "mkdir -p {0}/dev && mknod {0}/dev/one c 1 3 && mknod {0}/dev/two b 8 0 && ln {0}/dev/one {0}/dev/zwei && \
         mkfifo {0}/dev/pipe && tar -C {0} -cf {0}.tar . && umoci raw add-layer --image {1}:latest {0}.tar && \
         chmod -R a+rX {1}",
        tree.display(),
        place.path("base").display()
    ));
    place.write_context("FROM oci:BASE\nRUN test -p /dev/pipe || touch /made\nCOPY data /data\n");
    // The second time the layer is unpacked already; the reader of this log has not seen the first.
    for _ in 0..2 {
        let built = place.build_as_user(&[]);
        assert_eq!(built.code, 0, "{}", built.err);
        assert_eq!(built.err.matches("warning: device nodes of the parent").count(), 1, "{}", built.err);
        assert!(built.err.contains("(3: /dev/one, /dev/two, /dev/zwei); the image keeps them"), "{}", built.err);
    }
    let as_root = done(place.build(&place.root_command(), "root").output().expect("osbs starts"));
    assert_eq!(
        sh(&format!("skopeo inspect --raw oci:{}:latest", place.out("user").display())),
        sh(&format!("skopeo inspect --raw oci:{}:latest", place.out("root").display())),
        "{}",
        as_root.err
    );

    sh(&format!("cp {}.tar {}", tree.display(), place.path("context/nodes.tar").display()));
    place.write_context("FROM oci:BASE\nADD nodes.tar /there\n");
    let refused = place.build_as_user(&[]);
    check_failure(&refused, 1, "only root of the machine can make device nodes");
    assert!(refused.err.contains("Dockerfile:2"), "{}", refused.err);
    place.check_nothing_left();
}

#[test]
fn ids_that_the_user_does_not_have() {
    let Some(place) = Place::new() else { return };
    place.write_context("FROM oci:BASE\nCOPY --chown=200000:0 data /data\n");
    let refused = place.build_as_user(&[]);
    check_failure(&refused, 1, "subordinate ids only: take a smaller id");
    assert!(refused.err.contains("Dockerfile:2"), "{}", refused.err);

    sh(&format!(
        "mkdir {0} && touch {0}/far && chown 5:300000 {0}/far && tar -C {0} -cf {0}.tar . && \
         umoci raw add-layer --image {1}:latest {0}.tar && chmod -R a+rX {1}",
        place.path("far").display(),
        place.path("base").display()
    ));
    place.write_context("FROM oci:BASE\nCOPY data /data\n");
    check_failure(&place.build_as_user(&[]), 5, "/far belongs to user 5 and group 300000");
    place.check_nothing_left();
}

/// What a machine can lack, each with the command that mends it. Nothing has happened then.
#[test]
fn what_the_machine_lacks_is_told() {
    let Some(place) = Place::new() else { return };
    place.write_context("FROM oci:BASE\n");
    let check = |done: &Done, what: &str, next: &str| {
        check_failure(done, 5, what);
        assert!(done.err.contains("an ordinary user cannot build on this machine: "), "{}", done.err);
        assert!(done.err.contains(next), "{}", done.err);
        assert!(done.err.lines().count() <= 5 && done.out.is_empty(), "one screen: {}", done.err);
        assert!(!place.home().exists(), "something was left");
    };
    let user = || place.user_command();
    let built = |command: &std::process::Command| done(place.build(command, "user").output().expect("osbs starts"));

    let mut command = user();
    command.env("PATH", place.path("empty"));
    check(&built(&command), "newuidmap is not installed", "as root: apt-get install uidmap");

    // Nobody may make one more; not on this machine, but in a user namespace of root's with the same ids.
    let namespace = UserNamespace::new();
    let script =
        "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --reuid $0 --regid $0 --clear-groups \"$@\"";
    let command = place.wrapped(&["nsenter", "--user", "--target", &namespace.pid(), "sh", "-c", script, &place.uid()]);
    check(&built(&command), "user.max_user_namespaces is 0", "as root: sysctl -w user.max_user_namespaces=28633");

    let command = place.wrapped(&["setpriv", "--no-new-privs"]);
    check(&built(&command), "newuidmap could not map the ids", "no_new_privs is set");

    sh(&format!("usermod --del-subgids 0-4294967294 {}", place.name()));
    check(&built(&user()), "has no entry in /etc/subgid", "--add-subgids ");
    sh(&format!("usermod --del-subuids 0-4294967294 {}", place.name()));
    let done = built(&user());
    check(&done, "has no entry in /etc/subuid", "as root: usermod --add-subuids ");

    // The hint is right.
    let hint = done.err.lines().find_map(|line| line.split_once("as root: ")).expect("a hint").1.to_owned();
    sh(&hint);
    let built = built(&user());
    assert_eq!(built.code, 0, "{}", built.err);
    place.check_nothing_left();
}

/// Where Linux lets a user namespace have interpreters of its own, nobody has to ask root for them.
#[test]
fn other_platforms() {
    let Some(place) = Place::new() else { return };
    let foreign = if std::env::consts::ARCH == "aarch64" { "s390x" } else { "aarch64" };
    place.write_context("FROM scratch\nRUN [\"/nothing\"]\n");
    // As on a machine that was just started: binfmt_misc is there, and empty.
    let namespace = UserNamespace::new();
    let enter = ["nsenter", "--user", "--mount", "--target", &namespace.pid()];
    let mount = ["mount", "-t", "binfmt_misc", "none", "/proc/sys/fs/binfmt_misc"];
    let mounted = std::process::Command::new(enter[0]).args(&enter[1..]).args(mount).output().expect("nsenter starts");
    if !mounted.status.success() {
        println!("not tried: this kernel has one binfmt_misc for all (Linux before 6.7)");
        return;
    }
    let uid = place.uid();
    let wrapper = [&enter[..], &["setpriv", "--reuid", &uid, "--regid", "nogroup", "--clear-groups"]].concat();
    let run = |more: &[&str]| done(place.wrapped_for(&wrapper, more).output().expect("nsenter starts"));
    let enabled = run(&["config", "enable-platform", foreign]);
    check_failure(&enabled, 5, &format!("as root: osbs config enable-platform {foreign}"));
    let output = format!("oci:{}", place.out("user").display());
    let context = place.path("context").display().to_string();
    let built = run(&["image", "build", "--platform", foreign, "--output", &output, &context]);
    // A trial program of that platform has run.
    check_failure(&built, 1, "cannot start \"/nothing\" in the container");
    place.check_nothing_left();
}

/// What touches no build works for everybody, and at once.
#[test]
fn looking_needs_nothing() {
    let Some(place) = Place::new() else { return };
    sh(&format!("usermod --del-subuids 0-4294967294 {}", place.name()));
    for args in [&["--help"][..], &["completion", "bash"], &["list-builds"], &["config", "check"]] {
        let done = place.as_user(args);
        assert_eq!(done.code, 0, "{args:?}: {}", done.err);
    }
    check_failure(&place.as_user(&["gc"]), 5, "/etc/subuid");
}

#[test]
fn stopped_and_killed() {
    let Some(place) = Place::new() else { return };
    let work = place.home().join("work");
    let folders = || fs::read_dir(&work).into_iter().flatten().count();
    for (signal, code) in [("-INT", Some(130)), ("-TERM", Some(130)), ("-KILL", None)] {
        place.write_context("FROM oci:BASE\nRUN mkdir -m 0 /closed && chown 33:33 /closed && sleep 603\n");
        let mut command = place.build(&place.user_command(), "user");
        let child = command.process_group(0).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("osbs starts");
        wait_for("the RUN step sleeps", 30, || !world::processes_with("sleep\x00603").is_empty());
        // As the user would.
        sh(&format!("setpriv --reuid {0} --regid {0} --clear-groups kill {signal} -- -{1}", place.uid(), child.id()));
        let done = child.wait_with_output().expect("osbs ends");
        assert_eq!(done.status.code(), code, "{signal}: {}", String::from_utf8_lossy(&done.stderr));
        place.check_nothing_left();
        assert_eq!(folders(), usize::from(code.is_none()), "{signal}");
    }
    place.write_context("FROM oci:BASE\nRUN echo awake\n");
    let built = place.build_as_user(&[]);
    assert_eq!(built.code, 0, "{}", built.err);
    assert_eq!(folders(), 0, "the next build removes what the killed one left");
}

/// All of it: git, an orchestrator build, a worker build, the registry. Then one that is cancelled, and one that is killed.
#[test]
fn the_main_job() {
    let Some(place) = Place::new() else { return };
    let world = World::new();
    fs::set_permissions(world.folder.path(), fs::Permissions::from_mode(0o755)).expect("mode");
    let registry = format!("http://{}", world.registry);
    let osbs = |args: &[&str]| {
        let mut command = place.user_command();
        command.args(["--registry-uri", &registry, "--source-registry-uri", &registry]).args(args);
        command
    };
    let repository = |name: &str, run: &str| {
        let labels = format!("LABEL name=test/{name} com.redhat.component={name}-container version=1");
        let dockerfile = format!("FROM base:1\n{labels}\nRUN {run}\nCOPY file.txt /\n");
        let only = format!("platforms:\n  only: [{}]\n", std::env::consts::ARCH);
        let files = [("Dockerfile", dockerfile.as_str()), ("container.yaml", &only), ("file.txt", "content\n")];
        let url = world.repository(name, &files);
        sh(&format!("chown -R {}: {}", place.name(), world.path("git").display()));
        url
    };
    let start = |url: &str| {
        let mut command = osbs(&["build", "--git-url", url, "--git-branch", "main", "--user", "test"]);
        command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("osbs starts")
    };
    let ended = |child: std::process::Child| done(child.wait_with_output().expect("osbs ends"));
    let states = || {
        let list = done(osbs(&["list-builds", "--workers", "--output", "json"]).output().expect("osbs starts"));
        let list: serde_json::Value =
            serde_json::from_str(&list.out).unwrap_or_else(|error| panic!("{error}: {}", list.err));
        let state = |build: &serde_json::Value| build["status"].as_str().expect("a status").to_owned();
        list.as_array().expect("a list").iter().map(state).collect::<Vec<_>>()
    };
    let work_folders = || {
        let all = sh(&format!("find {} -path '*/work' -prune -not -empty", place.home().display()));
        all.lines().map(str::to_owned).collect::<Vec<_>>()
    };

    let built = ended(start(&repository("web", "chown 33:33 /tmp && touch /tmp/x && test $(id -u) = 0")));
    assert_eq!(built.code, 0, "{}\n{}", built.out, built.err);
    assert!(world.tags("test/web").contains(&"1-1".to_owned()), "{:?}", world.tags("test/web"));
    assert_eq!(states(), ["Complete", "Complete"]);

    let asleep = || !world::processes_with("sleep\x00604").is_empty();
    let closed = "mkdir -m 0 /closed && chown 33:33 /closed && sleep 604";
    let child = start(&repository("cancelled", closed));
    wait_for("the RUN step sleeps", 30, asleep);
    sh(&format!("setpriv --reuid {0} --regid {0} --clear-groups kill -INT -- -{1}", place.uid(), child.id()));
    assert_eq!(ended(child).code, 130);
    place.check_nothing_left();
    assert_eq!(states().iter().filter(|state| *state == "Cancelled").count(), 2, "{:?}", states());
    assert_eq!(work_folders(), [""; 0]);

    let child = start(&repository("killed", closed));
    wait_for("the RUN step sleeps", 30, asleep);
    // Runners and all; what is left dies of that.
    for process in place.processes_with("run-build") {
        world::inspect::kill_9(process);
    }
    drop(ended(child));
    place.check_nothing_left();
    let states = states();
    assert!(states.contains(&"Error".to_owned()), "{states:?}");
    let finished = |state: &String| ["Complete", "Cancelled", "Error"].contains(&state.as_str());
    assert!(states.len() == 6 && states.iter().all(finished), "{states:?}");
    assert_eq!(work_folders(), [""; 0], "the next command clears what was killed");
    let removed = place.as_user(&["gc"]);
    assert_eq!(removed.code, 0, "{}", removed.err);
}

/// The secrets of a build are where they are documented to be, although the user may not write there, or mount anything.
#[test]
fn secrets_of_a_build() {
    let Some(place) = Place::new() else { return };
    let world = World::new();
    fs::set_permissions(world.folder.path(), fs::Permissions::from_mode(0o755)).expect("mode");
    let path = |name: &str| world.path(name).display().to_string();
    fs::write(path("value"), "rootless-canary").expect("written");
    let secret = "/var/run/secrets/atomic-reactor/token";
    let program = format!(
        "#!/bin/sh\necho content: $(cat {secret}/value)\ntouch {secret}/new && echo written || echo read-only\n"
    );
    fs::write(path("sources"), program).expect("written");
    fs::set_permissions(path("sources"), fs::Permissions::from_mode(0o755)).expect("mode");
    let (registry, arch) = (&world.registry, std::env::consts::ARCH);
    let config = format!(
        "version: 1\nclusters: {{{arch}: [{{name: local, max_concurrent_builds: 1}}]}}\nrequired_secrets: [token]\n\
         registries: [{{url: 'http://{registry}'}}]\nsource_registry: {{url: 'http://{registry}'}}\nsources_command: {}\n",
        path("sources")
    );
    fs::write(path("config.yaml"), config).expect("written");
    let url = world.layered("web", "RUN true");
    sh(&format!("chown -R {}: {}", place.name(), path("git")));
    let run = |args: &[&str]| done(place.user_command().args(args).output().expect("osbs starts"));
    let kept = run(&["config", "set-secret", "token", &path("value")]);
    assert_eq!(kept.code, 0, "{}", kept.err);
    let config = path("config.yaml");
    let args = ["--reactor-config", &config, "build", "--git-url", &url, "--git-branch", "main", "--user", "test"];
    let built = run(&args);
    assert_eq!(built.code, 0, "{}\n{}", built.out, built.err);
    for text in ["content: ***", "read-only"] {
        assert!(built.out.contains(text), "{text} is not in\n{}", built.out);
    }
    assert!(!built.out.contains("rootless-canary") && !Path::new("/run/secrets/atomic-reactor").exists());
    place.check_nothing_left();
    assert_eq!(run(&["gc"]).code, 0);
}

/// Nobody could keep to them.
#[test]
fn limits_are_refused() {
    let Some(place) = Place::new() else { return };
    place.write_context("FROM oci:BASE\nRUN true\n");
    for limit in [["--memory", "1g"], ["--pids-limit", "100"], ["--cpus", "0.5"]] {
        check_failure(&place.build_as_user(&limit), 5, "can only be limited by root");
    }
    place.check_nothing_left();
}
