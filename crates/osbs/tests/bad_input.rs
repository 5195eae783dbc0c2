//! Bad input, each for real: a clear error on one screen, the exit code that names whose fault it is, and nothing half
//! done: no tag has moved, no process, mount or work folder is left, and the next build works.
#![allow(clippy::print_stdout, reason = "shows the screens")]

mod world;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use world::{Done, World, can_run, check_nothing_left};

/// What is wrong, and what must be told.
struct Case<'a> {
    name: &'a str,
    files: &'a [(&'a str, &'a str)],
    more: &'a [&'a str],
    code: i32,
    /// On the screen, all of them.
    says: &'a [&'a str],
}

const LABELS: &str = "LABEL name=test/bad com.redhat.component=bad-container version=1\n";

/// Exit code, screen, and that nothing came of it.
#[track_caller]
fn check(world: &World, case: &Case<'_>) {
    let url = world.repository(case.name, case.files);
    let done = world.build(&url, case.more);
    check_failure(world, case.name, &done, case.code, case.says);
}

#[track_caller]
fn check_failure(world: &World, name: &str, done: &Done, code: i32, says: &[&str]) {
    println!("---- {name}: {}\n{}{}", done.code, tail(&done.out), done.err);
    assert_eq!(done.code, code, "{name}:\n{}\n{}", done.out, done.err);
    for text in says {
        assert!(done.err.contains(text), "{name}: {text:?} is not in\n{}\n----\n{}", done.err, done.out);
    }
    assert!(done.err.lines().count() < 25, "{name}: more than a screen\n{}", done.err);
    assert!(!done.err.contains("kind internal"), "{name}: {}", done.err);
    assert_eq!(world.tags("test/bad"), Vec::<String>::new(), "{name}: nothing was tagged");
    check_nothing_left(world);
}

/// The last lines of a log.
fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n") + "\n"
}

#[test]
fn repositories() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let dockerfile = format!("FROM base:1\n{LABELS}");
    let unknown = format!("FROM base:1\n{LABELS}RUNN true\n");
    let failing = format!("FROM base:1\n{LABELS}RUN echo first; echo the reason is this >&2; exit 7\n");
    let no_parent = format!("FROM nothere:1\n{LABELS}");
    let copies = format!("FROM base:1\n{LABELS}COPY absent.txt /\n");
    let escapes = format!("FROM base:1\n{LABELS}COPY ../../../etc/shadow /\n");
    let none = Case { name: "x", files: &[], more: &[], code: 1, says: &[] };
    let cases = [
        Case { name: "no-dockerfile", files: &[("README", "")], says: &["Dockerfile"], ..none },
        Case { name: "no-from", files: &[("Dockerfile", LABELS)], says: &["FROM", "Dockerfile:1"], ..none },
        Case { name: "empty", files: &[("Dockerfile", "")], says: &["Dockerfile"], ..none },
        Case {
            name: "no-component",
            files: &[("Dockerfile", "FROM base:1\nLABEL name=test/bad version=1\n")],
            says: &["com.redhat.component"],
            ..none
        },
        Case {
            name: "no-labels",
            files: &[("Dockerfile", "FROM base:1\nRUN true\n")],
            says: &["com.redhat.component", "name"],
            ..none
        },
        Case {
            name: "undefined-version",
            files: &[(
                "Dockerfile",
                "FROM base:1\nLABEL name=test/bad com.redhat.component=bad-container version=$NOTHING\n",
            )],
            says: &["version"],
            ..none
        },
        Case {
            name: "bad-container-yaml",
            files: &[("Dockerfile", &dockerfile), ("container.yaml", "platforms:\n  onyl: x86_64\n")],
            says: &["container.yaml:2:3", "\"only\"?"],
            ..none
        },
        Case {
            name: "yaml-syntax",
            files: &[("Dockerfile", &dockerfile), ("container.yaml", "platforms: [x86_64\nflatpak: {}\n")],
            says: &["container.yaml:"],
            ..none
        },
        Case {
            name: "no-cluster",
            files: &[("Dockerfile", &dockerfile), ("container.yaml", "platforms:\n  only: [s390x]\n")],
            says: &["container.yaml:2", "x86_64", "config.yaml"],
            ..none
        },
        Case {
            name: "git-ref",
            files: &[("Dockerfile", &dockerfile)],
            more: &["--git-commit", "0123456789abcdef0123456789abcdef01234567"],
            says: &["0123456789abcdef0123456789abcdef01234567"],
            ..none
        },
        Case { name: "parent", files: &[("Dockerfile", &no_parent)], says: &["nothere:1"], ..none },
        Case {
            name: "instruction",
            files: &[("Dockerfile", &unknown)],
            says: &["RUNN", "RUN", "Dockerfile:3"],
            ..none
        },
        Case {
            name: "run-fails",
            files: &[("Dockerfile", &failing)],
            says: &["7", "the reason is this", "Dockerfile:3"],
            ..none
        },
        Case { name: "copy", files: &[("Dockerfile", &copies)], says: &["absent.txt", "Dockerfile:3"], ..none },
        Case { name: "escape", files: &[("Dockerfile", &escapes)], says: &["etc/shadow", "Dockerfile:3"], ..none },
        Case {
            name: "platform",
            files: &[("Dockerfile", &dockerfile)],
            more: &["--platforms", "s390x"],
            code: 3,
            says: &["s390x", "config.yaml"],
        },
        Case {
            name: "isolated",
            files: &[("Dockerfile", &dockerfile)],
            more: &["--isolated", "--release", "1"],
            says: &["release"],
            ..none
        },
    ];
    for case in &cases {
        check(&world, case);
    }
    let done = world.build("file:///nowhere/at/all", &[]);
    check_failure(&world, "no repository", &done, 1, &["/nowhere/at/all"]);
    let good = world.layered("good", "RUN true");
    let done = world.build(&good, &[]);
    assert_eq!(done.code, 0, "after all that a good build works\n{}\n{}", done.out, done.err);
    assert!(world.tags("test/good").contains(&"1-1".to_owned()), "{:?}", world.tags("test/good"));
}

#[test]
fn the_site_forbids_or_is_wrong() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let url = world.layered("bad", "RUN true");
    let reactor = fs::read_to_string(world.path("config.yaml")).expect("readable");
    world.write_conf("can_orchestrate = false\n", "");
    check_failure(&world, "can_orchestrate", &world.build(&url, &[]), 3, &["can_orchestrate", "osbs.conf"]);
    world.write_conf("", "");
    check_failure(&world, "no can_orchestrate", &world.build(&url, &[]), 3, &["can_orchestrate"]);
    world.write_conf("can_orchestrate = true\nregistri_uri = x\n", "");
    check_failure(&world, "osbs.conf", &world.build(&url, &[]), 3, &["osbs.conf:4:1", "registry_uri"]);
    world.write_conf("can_orchestrate = true\n", "registry: x\nplatform_descriptors: [{platfrom: x86_64}]\n");
    check_failure(&world, "config.yaml", &world.build(&url, &[]), 3, &["config.yaml:6:", "\"platform\"?"]);
    fs::write(world.path("config.yaml"), reactor.replace("version: 1", "version: 1\nclustres: {}")).expect("written");
    world.write_conf("can_orchestrate = true\n", "clustres: {}\n");
    let good = world.layered("warned", "RUN true");
    let done = world.build(&good, &[]);
    assert_eq!(done.code, 0, "a key of a later version is only told\n{}", done.err);
    assert!(done.out.contains("clustres") && done.out.contains("\"clusters\"?"), "{}", done.out);
}

#[test]
fn the_registry_goes_down_before_the_push() {
    if !can_run() {
        return;
    }
    let mut world = World::new();
    // The parent is here already, so that only the push needs the registry once RUN has begun.
    let url = world.layered("bad", "RUN echo ready; sleep 3");
    let child = world.start_build(&url, &[]);
    let mut name = None;
    world::wait_for("RUN has begun", 30, || {
        name = name.clone().or_else(|| world.newest("bad"));
        name.as_ref().is_some_and(|name| world.has_said(&world::inspect::worker_of(name, "x86_64"), "ready"))
    });
    world.stop_registry();
    let started = Instant::now();
    let done = child.wait_with_output().expect("osbs ends");
    let waited = started.elapsed().as_secs_f64();
    world.start_registry();
    let registry = world.registry.clone();
    check_failure(&world, "registry down", &world::done(done), 4, &[&registry, "kind remote"]);
    println!("told after {waited:.1} s");
    assert!(waited < 60.0, "{waited}");
}

/// A file system of this many megabytes, unmounted when dropped.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(path: &'a Path, megabytes: u32) -> Self {
        fs::create_dir_all(path).expect("made");
        let size = format!("size={megabytes}m");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).status();
        assert!(done.expect("mount starts").success());
        Self(path)
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

#[test]
fn the_disk_is_full() {
    if !can_run() {
        return;
    }
    let world = World::new();
    // Not below the world's home, which may have no mounts left: a home of its own, on the small disk.
    let home = world.path("small");
    let disk = SmallDisk::mount(&home, 24);
    let conf = format!("[default]\nopenshift_url = local://{}\ncan_orchestrate = true\n", home.display());
    fs::write(world.path("osbs.conf"), conf).expect("written");
    for (name, lines) in [
        ("bad-run", "RUN dd if=/dev/urandom of=/large bs=1M count=64"),
        // Fits as a file, not again as a layer beside it.
        ("bad-layer", "RUN dd if=/dev/urandom of=/large bs=1M count=12"),
    ] {
        let url = world.layered(name, lines);
        let mut command = world.command(&["build", "--git-url", &url, "--git-branch", "main", "--user", "test"]);
        let done = world::done(command.env("OSBS_HOME", &home).output().expect("osbs starts"));
        println!("---- {name}: {}\n{}{}", done.code, tail(&done.out), done.err);
        assert_eq!(done.code, 5, "{name}: {}", done.err);
        for text in ["disk full", "No space left", "kind resource", "/small"] {
            assert!(done.err.contains(text), "{name}: {text} is not in\n{}", done.err);
        }
        assert!(world.tags(&format!("test/{name}")).is_empty());
        for build in fs::read_dir(home.join("builds/default")).expect("readable").flatten() {
            assert!(!build.path().join("work").exists(), "{} is left", build.path().display());
        }
    }
    let url = world.layered("fits", "RUN dd if=/dev/urandom of=/small bs=1M count=2");
    let mut command = world.command(&["build", "--git-url", &url, "--git-branch", "main", "--user", "test"]);
    let done = world::done(command.env("OSBS_HOME", &home).output().expect("osbs starts"));
    assert_eq!(done.code, 0, "there is room again\n{}\n{}", done.out, done.err);
    drop(disk);
}

/// Passes everything on to the registry, and turns one byte of every large body over.
fn lying_registry(registry: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let registry = registry.clone();
            std::thread::spawn(move || {
                // Either side may go away at any moment: nothing is to be done then.
                let _ = pass_on(client, &registry);
            });
        }
    });
    address
}

/// One request a connection, so that no length has to be understood.
fn pass_on(mut client: TcpStream, registry: &str) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && client.read(&mut byte)? == 1 {
        request.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&request).into_owned();
    let mut server = TcpStream::connect(registry)?;
    let head = text.trim_end();
    write!(server, "{head}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n").unwrap_or(0) + 4;
    if answer.len() > end + 100_000 {
        answer[end + 50_000] ^= 1;
    }
    let head = String::from_utf8_lossy(&answer[..end - 4]).into_owned();
    let closes = if head.to_ascii_lowercase().contains("connection: close") { "" } else { "\r\nConnection: close" };
    write!(client, "{head}{closes}\r\n\r\n")?;
    client.write_all(&answer[end..])
}

#[test]
fn the_registry_gives_other_bytes() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let liar = lying_registry(world.registry.clone());
    // The parent must come from the registry, not from what pushing it has left here.
    fs::remove_dir_all(world.path("home")).expect("removed");
    let config = fs::read_to_string(world.path("config.yaml")).expect("readable");
    let source = format!("source_registry: {{url: 'http://{}'", world.registry);
    assert!(config.contains(&source), "{config}");
    fs::write(world.path("config.yaml"), config.replace(&source, &format!("source_registry: {{url: 'http://{liar}'")))
        .expect("written");
    let done = world.build(&world.layered("bad", "RUN true"), &[]);
    check_failure(&world, "wrong digest", &done, 4, &["sha256:", &liar]);
    let store = world.path("home/store");
    let left = Command::new("find").arg(store.join("tmp")).args(["-type", "f"]).output().expect("find starts");
    assert_eq!(String::from_utf8_lossy(&left.stdout), "", "nothing wrong is kept");
}
