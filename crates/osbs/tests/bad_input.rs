//! Bad input, each for real: a clear error on one screen, the exit code that names whose fault it is, and nothing half
//! done: no tag has moved, no process, mount or work folder is left, and the next build works.

mod world;

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
    lines[lines.len().saturating_sub(12)..].iter().map(|line| format!("{line}\n")).collect()
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
            files: &[("Dockerfile", "FROM base:1\nLABEL name=test/bad com.redhat.component=bad-container version=$NOTHING\n")],
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
        Case { name: "run-fails", files: &[("Dockerfile", &failing)], says: &["7", "the reason is this", "Dockerfile:3"], ..none },
        Case { name: "copy", files: &[("Dockerfile", &copies)], says: &["absent.txt", "Dockerfile:3"], ..none },
        Case { name: "escape", files: &[("Dockerfile", &escapes)], says: &["etc/shadow", "Dockerfile:3"], ..none },
        Case {
            name: "platform",
            files: &[("Dockerfile", &dockerfile)],
            more: &["--platforms", "s390x"],
            code: 3,
            says: &["s390x", "config.yaml"],
        },
        Case { name: "isolated", files: &[("Dockerfile", &dockerfile)], more: &["--isolated", "--release", "1"], says: &["release"], ..none },
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
