//! How a RUN is held, by real builds: user namespace, limits, privileges, agents, secrets, the ignore file.

#![allow(clippy::print_stdout, reason = "a test that is started in a container says what it saw")]
mod support;

use osbs_builder::{BuildError, BuildRequest, BuiltImage, InstructionError, RunLimits, RunNetwork, UserNamespace};
use osbs_types::ErrorKind;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};
use support::{Seen, Site, look, ready};
use tokio_util::sync::CancellationToken;

const PROGRAMS: &[(&str, &str)] = &[("runc", "runc")];

/// A build and what its commands said.
fn build(
    site: &Site,
    text: &str,
    change: impl FnOnce(&mut BuildRequest<'_>),
) -> (Result<BuiltImage, BuildError>, Vec<String>) {
    let seen = Seen::default();
    let built = site.build_with(text, change, &seen, &CancellationToken::new());
    let lines = seen.lines.lock().expect("lock");
    (built, lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect())
}

#[track_caller]
fn lines(site: &Site, text: &str, change: impl FnOnce(&mut BuildRequest<'_>)) -> Vec<String> {
    let (built, lines) = build(site, text, change);
    assert!(built.is_ok(), "{:?}: {lines:?}", built.err());
    lines
}

#[track_caller]
fn failure(site: &Site, text: &str, change: impl FnOnce(&mut BuildRequest<'_>)) -> (BuildError, Vec<String>) {
    let (built, lines) = build(site, text, change);
    (built.expect_err(text), lines)
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

const MIXED: &str = "FROM localhost/base AS made\nCOPY --chown=3:4 in /in\nRUN echo run > /in/run && chown 5:6 /in/run && \
     chmod 2755 /in && rm /var/lib/app/old\nCOPY --chown=7 in/file /in/again\nRUN rm -rf /home/app /opt /var/lib && mkdir /home/app && chown 1:2 /home/app && ln -s x /opt && mkfifo /var/lib\nRUN ls -ln /in && cp -a /in /copy\n\
     FROM localhost/base\n\
     RUN --mount=type=bind,from=made,source=/in,target=/mnt stat -c '%n %u:%g' /mnt/* && cp -a /mnt/. /kept\n\
     RUN --mount=type=bind,from=made,source=/in,target=/mnt,rw echo gone > /mnt/gone && chown 9 /mnt/gone\n\
     RUN --mount=type=bind,source=in,target=/ctx cat /ctx/private && stat -c %u:%g /ctx/private\n\
     RUN --mount=type=bind,source=in,target=/ctx,rw echo more >> /ctx/private && cp -a /ctx/private /private\n\
     RUN --mount=type=cache,target=/c,uid=12,gid=13,mode=0700 stat -c '%u:%g %a' /c && echo x > /c/x && chown 14 /c/x\n\
     RUN --mount=type=cache,target=/c stat -c %u /c/x > /cached\n\
     RUN --mount=type=tmpfs,target=/t,size=65536 stat -c '%u %a' /t && dd if=/dev/zero of=/t/x bs=100000 count=1 \
     2>/dev/null || echo full\n";

/// With and without a user namespace the same image comes out, and nothing that a command sees of owners differs.
#[test]
fn a_user_namespace_changes_nothing_but_the_outside() {
    if !ready(PROGRAMS) {
        return;
    }
    let mut seen = Vec::new();
    for wanted in [UserNamespace::Always, UserNamespace::Off] {
        let site = Site::new();
        site.file("in/file", "file\n");
        let private = site.file("in/private", "private\n");
        fs::set_permissions(&private, fs::Permissions::from_mode(0o600)).expect("mode");
        let (built, said) = build(&site, MIXED, |request| request.user_namespace = wanted);
        let built = built.unwrap_or_else(|error| panic!("{}: {said:?}", with_causes(&error)));
        assert_eq!(fs::read_to_string(&private).expect("context"), "private\n");
        let chain = built.image.chain_ids();
        let mut tree = look(&site.store.layer_path(chain.last().expect("a layer")));
        for entry in tree.values_mut() {
            entry.mtime = 0;
            // In a whiteout overlayfs writes whose it was when it made it; a layer does not.
            if entry.mode & 0o170_000 == 0o020_000 {
                entry.owner = (0, 0);
            }
        }
        assert!(said.iter().all(|line| !line.contains("65534")), "{said:?}");
        let said: Vec<String> = said.into_iter().filter(|line| !line.contains("total")).map(without_times).collect();
        seen.push((said, tree));
    }
    assert_eq!(seen[0].0, seen[1].0);
    assert_eq!(seen[0].1, seen[1].1);
}

/// `ls -l` shows times.
fn without_times(line: String) -> String {
    line.split_whitespace().filter(|word| !word.contains(':') || word.len() != 5).collect::<Vec<_>>().join(" ")
}

#[test]
fn root_of_a_run_is_nobody_outside() {
    if !ready(PROGRAMS) {
        return;
    }
    let site = Site::new();
    let map = "FROM localhost/base\nRUN cat /proc/self/uid_map\n";
    let whole = |line: &String| line.split_whitespace().eq(["0", "0", "4294967295"]);
    let ours = |line: &String| line.split_whitespace().eq(["0", "2000000000", "2000000000"]);
    assert!(lines(&site, map, |_| {}).iter().any(ours), "by default");
    assert!(lines(&site, map, |request| request.user_namespace = UserNamespace::Off).iter().any(whole));
    // Ids that no namespace has: without one, and said so; or not at all.
    let high = "FROM localhost/base\nUSER 2100000000\nRUN id -u\n";
    let said = lines(&site, high, |_| {});
    assert!(said[0].contains("without a user namespace") && said[1] == "2100000000", "{said:?}");
    let (error, _) = failure(&site, high, |request| request.user_namespace = UserNamespace::Always);
    assert!(with_causes(&error).contains("user namespace"), "{error}");
    // Device nodes: the hint says what to do, and doing it works.
    let node = "FROM localhost/base\nRUN mknod /node c 1 3\n";
    let (error, _) = failure(&site, node, |_| {});
    assert!(error.hint().is_some_and(|hint| hint.contains("--userns off")), "{error:?}");
    lines(&site, node, |request| request.user_namespace = UserNamespace::Off);
    // The machine's network is not its own; a network of its own is.
    let port = "FROM localhost/base\nRUN FLAG timeout 1 nc -l -p 80; [ $? -ge 124 ]\n";
    let (error, _) = failure(&site, &port.replace("FLAG ", ""), |_| {});
    assert!(error.hint().is_some_and(|hint| hint.contains("--network=none")), "{error:?}");
    lines(&site, &port.replace("FLAG", "--network=none"), |_| {});
}

#[test]
fn privileges_are_given_up_where_root_needs_none() {
    if !ready(PROGRAMS) {
        return;
    }
    let site = Site::new();
    let text = "FROM localhost/base\nRUN grep -E 'NoNewPrivs|Seccomp:' /proc/self/status\nUSER app\n\
                RUN grep NoNewPrivs /proc/self/status\nUSER 0\nRUN mkdir -p /usr/bin && touch /usr/bin/sudo\n\
                RUN grep NoNewPrivs /proc/self/status\n";
    let expected = ["NoNewPrivs:\t1", "Seccomp:\t2", "NoNewPrivs:\t0", "NoNewPrivs:\t0"];
    assert_eq!(lines(&site, text, |_| {}), expected);

    let text = "FROM localhost/base\nRUN --security=insecure grep -E 'NoNewPrivs|Seccomp:' /proc/self/status && \
                mount -t tmpfs none /tmp && cat /proc/self/uid_map\n";
    let (error, _) = failure(&site, text, |_| {});
    assert!(with_causes(&error).contains("insecure") && error.hint().is_some(), "{error:?}");
    let seen = lines(&site, text, |request| request.allow_insecure = true);
    assert_eq!(&seen[..2], ["NoNewPrivs:\t0", "Seccomp:\t0"]);

    let text = "FROM localhost/base\nRUN --network=host true\n";
    let (error, _) = failure(&site, text, |request| request.network = RunNetwork::None);
    assert!(with_causes(&error).contains("without network"), "{error:?}");
    let devices =
        "FROM localhost/base\nRUN --network=none grep -c : /proc/net/dev\nRUN --network=default ls /sys/class/net\n";
    assert_eq!(lines(&site, devices, |request| request.network = RunNetwork::None), ["1", "lo"]);
}

#[test]
fn limits_end_a_run_and_say_so() {
    if !ready(PROGRAMS) {
        return;
    }
    let site = Site::new();
    let check = |limits: RunLimits, command: &str, said: &str, kind: ErrorKind| {
        let begun = Instant::now();
        let (error, lines) =
            failure(&site, &format!("FROM localhost/base\nRUN {command}\n"), |request| request.run_limits = limits);
        let text = format!("{}; {}", with_causes(&error), error.hint().unwrap_or_default());
        assert!(text.contains(said), "{said}: {text}: {lines:?}");
        assert_eq!(error.kind(), kind, "{text}");
        assert!(begun.elapsed() < Duration::from_secs(10));
    };
    let none = RunLimits::default();
    let memory = RunLimits { memory: Some(64 << 20), ..none };
    let eat = "x=$(head -c 300000000 /dev/zero | tr '\\0' x); echo ${#x}";
    check(memory, eat, "killed by the memory limit of 64 MiB", ErrorKind::User);
    let pids = RunLimits { pids: Some(16), ..none };
    check(pids, "for i in $(seq 60); do sleep 1 & done; wait; exit 1", "the limit of 16 processes", ErrorKind::User);
    let time = RunLimits { time: Some(Duration::from_millis(500)), ..none };
    check(time, "trap '' TERM; sleep 60", "limit of 0.5 s", ErrorKind::User);
}

#[test]
fn an_ssh_agent_is_passed_on() {
    if !ready(PROGRAMS) {
        return;
    }
    let site = Site::new();
    let socket = site.dir.path().join("agent.sock");
    let listener = UnixListener::bind(&socket).expect("agent");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("connection");
            let mut asked = [0; 5];
            if stream.read_exact(&mut asked).is_ok() {
                let _ = stream.write_all(b"hello ");
                let _ = stream.write_all(&asked);
            }
        }
    });
    let ask = own_program(&site, "child_that_asks_the_agent");
    let text = format!(
        "FROM localhost/base\n\
         RUN --mount=type=bind,source=host,target=/host --mount=type=ssh echo $SSH_AUTH_SOCK; {ask}; \
         stat -c '%a %u:%g' $SSH_AUTH_SOCK\n\
         USER app\n\
         RUN --mount=type=bind,source=host,target=/host --mount=type=ssh,id=other,target=/tmp/a,mode=0620,uid=1000,gid=33 \
         {ask}; stat -c '%a %u:%g' /tmp/a\n\
         RUN --mount=type=ssh,id=none echo \"none:$SSH_AUTH_SOCK\"\n"
    );
    for wanted in [UserNamespace::Auto, UserNamespace::Off] {
        let seen = lines(&site, &text, |request| {
            request.ssh = BTreeMap::from([("default".into(), socket.clone()), ("other".into(), socket.clone())]);
            request.user_namespace = wanted;
        });
        let seen: Vec<&str> = seen.iter().map(String::as_str).filter(|line| !is_harness(line)).collect();
        let expected = ["/run/buildkit/ssh_agent.0", "hello ASK-1", "600 0:0", "hello ASK-1", "620 1000:33", "none:"];
        assert_eq!(seen, expected, "{wanted:?}");
    }
    let (error, _) = failure(&site, "FROM localhost/base\nRUN --mount=type=ssh,required true\n", |_| {});
    assert!(matches!(inner(&error), InstructionError::NoAgent { id } if id == "default"), "{error:?}");
}

/// What the test harness says in a container.
fn is_harness(line: &str) -> bool {
    line.is_empty() || line.starts_with("running ") || line.starts_with("test ")
}

#[test]
#[ignore = "started by an_ssh_agent_is_passed_on"]
fn child_that_asks_the_agent() {
    let mut agent =
        std::os::unix::net::UnixStream::connect(std::env::var_os("SSH_AUTH_SOCK").expect("set")).expect("agent");
    agent.write_all(b"ASK-1").expect("asked");
    let mut answer = String::new();
    agent.read_to_string(&mut answer).expect("answered");
    println!("\n{answer}");
}

/// This program with its libraries in the context's folder `host`, to be mounted at `/host`; the command that runs one
/// test there.
fn own_program(site: &Site, test: &str) -> String {
    let program = std::env::current_exe().expect("own program");
    let host = site.context().join("host");
    fs::create_dir(&host).expect("folder");
    fs::copy(&program, host.join("probe")).expect("program");
    let listed = support::run("ldd", &[program]);
    let mut loader = None;
    for word in String::from_utf8_lossy(&listed).split_whitespace().filter(|word| word.starts_with('/')) {
        let name = Path::new(word).file_name().expect("name");
        fs::copy(word, host.join(name)).expect("library");
        loader = name.to_str().filter(|name| name.starts_with("ld")).map(str::to_owned).or(loader);
    }
    let loader = loader.expect("a dynamic loader");
    format!("/host/{loader} --library-path /host /host/probe --exact {test} --ignored --nocapture")
}

fn inner(error: &BuildError) -> &InstructionError {
    match error {
        BuildError::Instruction { source, .. } => source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_mounted_context_has_no_ignored_files() {
    if !ready(PROGRAMS) {
        return;
    }
    let site = Site::new();
    for name in ["src/main.c", "src/main.o", "src/deep/x.o", "src/deep/y.c", ".git/config", "out/a", "out/keep"] {
        site.file(name, "x");
    }
    site.file(".dockerignore", "**/*.o\n.git\nout\n!out/keep\n");
    let find = "cd /c && find . | sort | tr '\\n' ' '";
    let text = format!(
        "FROM localhost/base\nRUN --mount=type=bind,target=/c {find}; echo\nRUN --mount=type=bind,target=/c,rw rm -r /c/src && {find}; echo\n\
         RUN --mount=type=bind,source=src/deep,target=/c {find}; echo\n"
    );
    for wanted in [UserNamespace::Auto, UserNamespace::Off] {
        let seen = lines(&site, &text, |request| request.user_namespace = wanted);
        let expected = [
            ". ./.dockerignore ./out ./out/keep ./src ./src/deep ./src/deep/y.c ./src/main.c ",
            ". ./.dockerignore ./out ./out/keep ",
            ". ./y.c ",
        ];
        assert_eq!(seen, expected, "{wanted:?}");
    }
    let (error, _) = failure(&site, "FROM localhost/base\nRUN --mount=type=bind,source=.git,target=/c ls /c\n", |_| {});
    assert!(matches!(inner(&error), InstructionError::NoSource { .. }), "{error:?}");
    assert!(site.context().join("src/main.o").exists(), "the context itself is as it was");
}

/// Whether some file below holds `needle`.
fn somewhere(folder: &Path, needle: &[u8]) -> Option<std::path::PathBuf> {
    for entry in fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        let found = match entry.file_type() {
            Ok(kind) if kind.is_dir() => somewhere(&path, needle),
            Ok(kind) if kind.is_file() => {
                let content = fs::read(&path).unwrap_or_default();
                content.windows(needle.len()).any(|part| part == needle).then_some(path)
            }
            _ => None,
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

/// Neither in the image nor in the log nor in what the runtime and we leave on disk; also not after a failure.
#[test]
fn secrets_leave_no_trace() {
    if !ready(PROGRAMS) {
        return;
    }
    let site = Site::new();
    let secret = site.dir.path().join("secret");
    let canary = "canary-4711-secret";
    fs::write(&secret, canary).expect("secret");
    let text = "FROM localhost/base\n\
         RUN --mount=type=secret,id=s --mount=type=secret,id=s,env=TOKEN --mount=type=secret,id=s,target=/etc/given,uid=3,gid=4,mode=0440 \
         cat /run/secrets/s; echo; echo \"x${TOKEN}x\"; stat -c '%u:%g %a' /etc/given; wc -c < /run/secrets/s; touch /etc/given || echo readonly\n";
    let set = |request: &mut BuildRequest<'_>| {
        request.secrets = BTreeMap::from([("s".to_owned(), secret.clone())]);
        request.keep_unpacked = true;
    };
    let seen = lines(&site, text, set);
    assert!(seen.iter().all(|line| !line.contains(canary)), "{seen:?}");
    assert!(seen.contains(&"3:4 440".to_owned()) && seen.contains(&canary.len().to_string()), "{seen:?}");
    let (error, seen) =
        failure(&site, &format!("{text}RUN --mount=type=secret,id=s,env=TOKEN echo $TOKEN; exit 1\n"), set);
    assert!(!format!("{error:?} {:?} {seen:?}", error.hint()).contains(canary), "{error:?}");
    fs::remove_file(&secret).expect("secret");
    assert_eq!(somewhere(site.dir.path(), canary.as_bytes()), None);
    assert_eq!(somewhere(Path::new("/run/runc"), canary.as_bytes()), None);
}

#[test]
fn rpm_tar_and_many_users_work_inside() {
    if !ready(PROGRAMS) {
        return;
    }
    let site = Site::new();
    // What package managers do: owners far and wide, set-id, capabilities, hard links, chroot, locks, fifos, sockets.
    let text = "FROM localhost/base\n\
         RUN mkdir /t && cd /t && echo a > a && ln a b && chown 65534:65534 a && chmod 6755 a && mkfifo f && \
         tar cf /t.tar . && mkdir /u && tar xpf /t.tar -C /u && stat -c '%n %u:%g %a %h' /u/a /u/b && \
         chroot / /bin/true && su app -s /bin/sh -c 'id -u' && chown -R 1999999999 /u && \
         stat -c %u /u/a && setpriv --help >/dev/null 2>&1; unshare -U true 2>/dev/null || echo no namespaces\n";
    let seen = lines(&site, text, |_| {});
    let expected = ["/u/a 65534:65534 6755 2", "/u/b 65534:65534 6755 2", "1000", "1999999999", "no namespaces"];
    assert_eq!(seen, expected);
}

#[test]
fn a_run_leaves_nothing_where_the_runtime_found_its_root() {
    if !ready(PROGRAMS) {
        return;
    }
    let site = Site::new();
    lines(&site, "FROM localhost/base\nRUN true\n", |_| {});
    let place = Path::new("/run/osbs-container");
    assert!(!place.exists() || fs::read_dir(place).expect("list").next().is_none());
    assert_eq!(fs::metadata("/run").expect("run").uid(), 0);
}

/// The machine's own rpm and dnf, in a container that sees its `/usr`: owners, set-id, capabilities, scriptlets, chroot.
#[test]
fn rpm_and_dnf_work_inside() {
    if !ready(&[("runc", "runc"), ("rpmbuild", "rpm"), ("dnf", "dnf"), ("getcap", "libcap2-bin")]) {
        return;
    }
    let site = Site::new();
    let rpms = site.dir.path().join("rpms");
    fs::create_dir(&rpms).expect("folder");
    let spec = "Name: tried\nVersion: 1\nRelease: 1\nSummary: x\nLicense: x\nBuildArch: noarch\nAutoReqProv: no\n\
                %description\nx\n%install\nmkdir -p %{buildroot}/opt/tried\ncd %{buildroot}/opt/tried\necho a > suid\n\
                echo b > cap\necho c > owned\nln owned hard\nln -s owned link\n%post -p <lua>\nio.open('/opt/tried/post','w'):close()\n\
                %files\n%attr(4755,root,root) /opt/tried/suid\n%caps(cap_net_raw=ep) /opt/tried/cap\n\
                %attr(0640,daemon,mail) /opt/tried/owned\n%attr(0640,daemon,mail) /opt/tried/hard\n/opt/tried/link\n";
    fs::write(rpms.join("tried.spec"), spec).expect("spec");
    let top = format!("_topdir {}/top", rpms.display());
    support::run("rpmbuild", &["-bb", "--quiet", "--define", &top, &rpms.join("tried.spec").display().to_string()]);
    let cache = site.dir.path().join("cache");
    let text = "FROM localhost/base AS start\nENV PATH=/usr/bin:/usr/sbin:/bin\n\
         RUN ln -s usr/lib64 /lib64; echo daemon:x:1:1::/:/bin/sh >> /etc/passwd; echo mail:x:8: >> /etc/group; rm -rf /usr/lib/libold\n\
         COPY <<E /list\nlist\nE\n\
         FROM start\n\
         RUN --mount=type=bind,target=/usr --mount=type=secret,id=rpm,target=/tried.rpm /usr/bin/rpm -i --nodeps /tried.rpm && /usr/bin/rpm -V --nodeps tried; /usr/bin/rpm -q tried && stat -c '%a %U:%G %n' /opt/tried/*\n\
         RUN --mount=type=bind,target=/usr --mount=type=secret,id=rpm,target=/tried.rpm mkdir -p /c/etc && cp /etc/passwd /etc/group /c/etc && \
         /usr/bin/dnf -y -q --installroot=/c --setopt=reposdir=/none --setopt=tsflags= install /tried.rpm && stat -c '%a %U:%G %n' /c/opt/tried/*\n\
         RUN --mount=type=bind,target=/usr /usr/bin/tar -C /opt -cpf /t.tar --xattrs --xattrs-include='*' tried && mkdir /x && /usr/bin/tar -C /x -xpf /t.tar --xattrs --xattrs-include='*' && \
         stat -c '%a %U:%G %h' /x/tried/owned && /usr/sbin/getcap /x/tried/cap\n";
    let rpm = rpms.join("top/RPMS/noarch/tried-1-1.noarch.rpm");
    for wanted in [UserNamespace::Always, UserNamespace::Off] {
        let (built, seen) = build(&site, text, |request| {
            request.context = Path::new("/usr");
            request.ignore = Some(String::new());
            request.secrets = BTreeMap::from([("rpm".to_owned(), rpm.clone())]);
            request.cache_dir = Some(cache.clone());
            request.user_namespace = wanted;
        });
        built.unwrap_or_else(|error| panic!("{}: {seen:#?}", with_causes(&error)));
        for expected in [
            "tried-1-1.noarch",
            "640 daemon:mail /opt/tried/owned",
            "4755 root:root /opt/tried/suid",
            "640 daemon:mail /c/opt/tried/hard",
            "4755 root:root /c/opt/tried/suid",
            "640 daemon:mail 2",
            "/x/tried/cap cap_net_raw=ep",
        ] {
            assert!(seen.iter().any(|line| line == expected), "{wanted:?}: {expected}: {seen:#?}");
        }
    }
}
