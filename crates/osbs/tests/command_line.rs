//! What a user types and sees, with nothing but an empty home folder: no registry, no root, no build.

mod world;

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;
use world::OSBS;

struct Done {
    code: i32,
    out: String,
    err: String,
}

/// `osbs` with HOME and a `PATH`, and these further variables.
fn osbs(home: &Path, env: &[(&str, &str)], args: &[&str]) -> Done {
    let mut command = Command::new(OSBS);
    command.env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").env("HOME", home).envs(env.iter().copied());
    let output = command.args(args).current_dir(home).stdin(Stdio::null()).output().expect("osbs starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Done { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
}

fn folder() -> TempDir {
    tempfile::Builder::new().prefix("osbs-test-").tempdir().expect("a temporary folder")
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("no JSON: {error}\n{text}"))
}

const COMMANDS: [&[&str]; 34] = [
    &[],
    &["build"],
    &["build-json"],
    &["plugins"],
    &["plugins", "list"],
    &["plugins", "show"],
    &["reactor"],
    &["reactor", "inside-build"],
    &["list-builds"],
    &["get-build"],
    &["watch-build"],
    &["build-logs"],
    &["cancel-build"],
    &["image"],
    &["image", "build"],
    &["config"],
    &["config", "check"],
    &["config", "set-secret"],
    &["config", "set-config-map"],
    &["config", "list"],
    &["config", "enable-platform"],
    &["gc"],
    &["completion"],
    &["watch-builds"],
    &["get-build-image-id"],
    &["login"],
    &["get-token"],
    &["get-serviceaccount-token"],
    &["print-token-url"],
    &["get-user"],
    &["config", "schema"],
    &["config", "get-config-map"],
    &["config", "delete-config-map"],
    &["config", "delete-secret"],
];

#[test]
fn every_command_has_help() {
    let home = folder();
    for command in COMMANDS {
        let done = osbs(home.path(), &[], &[command, &["--help"]].concat());
        assert_eq!(done.code, 0, "{command:?}: {}", done.err);
        assert!(done.out.contains("Usage:"), "{command:?}: {}", done.out);
        assert!(done.err.is_empty(), "{command:?}: {}", done.err);
    }
    let all = osbs(home.path(), &[], &["--help"]).out;
    assert!(!all.contains("run-build"), "nobody's business");
    assert!(all.contains("Exit codes"));
    assert_eq!(fs::read_dir(home.path()).expect("readable").count(), 0, "help touches no file");
}

#[test]
fn works_without_configuration_in_an_empty_home() {
    let home = folder();
    let done = osbs(home.path(), &[], &["list-builds"]);
    assert_eq!((done.code, done.out.as_str()), (0, ""), "{}", done.err);
    assert!(done.err.contains("BUILD ID"), "the heading goes to standard error: {}", done.err);
    assert!(home.path().join(".local/share/osbs/cluster.db").exists());
    for args in [["list-builds", "--output", "json"], ["--output", "json", "list-builds"]] {
        let done = osbs(home.path(), &[], &args);
        assert_eq!((done.code, json(&done.out)), (0, Value::Array(Vec::new())), "{args:?}");
        assert!(done.err.is_empty(), "{}", done.err);
    }
    let done = osbs(home.path(), &[], &["config", "check"]);
    assert_eq!(done.code, 0, "{}", done.err);
    for text in ["none: built-in defaults", "can orchestrate true", ".local/share/osbs", std::env::consts::ARCH] {
        assert!(done.out.contains(text), "{text} is not in\n{}", done.out);
    }
    for args in [&["gc", "--dry-run"][..], &["gc"], &["config", "list"]] {
        assert_eq!(osbs(home.path(), &[], args).code, 0, "{args:?}");
    }
    let elsewhere = folder();
    let place = elsewhere.path().join("osbs").display().to_string();
    osbs(home.path(), &[("OSBS_HOME", &place)], &["list-builds"]);
    assert!(elsewhere.path().join("osbs/cluster.db").exists(), "OSBS_HOME is obeyed");
}

/// Arguments, files to be there, exit code, and what standard error must say.
struct Case<'a> {
    args: &'a [&'a str],
    conf: &'a str,
    config: &'a str,
    code: i32,
    says: &'a [&'a str],
}

const GOOD: Case<'static> = Case {
    args: &["config", "check"],
    conf: "[default]\ncan_orchestrate = true\n",
    config: "version: 1\n",
    code: 0,
    says: &[],
};

#[track_caller]
fn check(case: &Case<'_>) {
    let home = folder();
    fs::write(home.path().join("osbs.conf"), case.conf).expect("written");
    fs::write(home.path().join("config.yaml"), case.config).expect("written");
    let done = osbs(home.path(), &[], &[&["--config", "osbs.conf"], case.args].concat());
    assert_eq!(done.code, case.code, "{:?}\n{}{}", case.args, done.out, done.err);
    for text in case.says {
        assert!(done.err.contains(text), "{:?}: {text:?} is not in\n{}", case.args, done.err);
    }
    assert!(done.err.lines().count() < 25, "fits a screen: {}", done.err);
}

#[test]
fn exit_codes_name_whose_fault_it_is() {
    check(&GOOD);
    // The command line: 2.
    check(&Case { args: &["frobnicate"], code: 2, says: &["unrecognized subcommand"], ..GOOD });
    check(&Case { args: &["biuld"], code: 2, says: &["build"], ..GOOD });
    check(&Case { args: &["build"], code: 1, says: &["needs: git_branch, git_ref, git_uri"], ..GOOD });
    check(&Case { args: &["build", "-g", "x", "-b", "y", "--isolated"], code: 2, says: &["--release"], ..GOOD });
    check(&Case { args: &["-q", "-v", "list-builds"], code: 2, says: &["--quiet"], ..GOOD });
    check(&Case {
        args: &["build", "-g", "x", "-b", "y", "--arrangement-version", "7"],
        code: 2,
        says: &["1..=6"],
        ..GOOD
    });
    // What the user named is not there: 1.
    check(&Case { args: &["get-build", "nope"], code: 1, says: &["no build nope", "list-builds"], ..GOOD });
    check(&Case { args: &["build-logs", "nope"], code: 1, says: &["no build nope"], ..GOOD });
    check(&Case { args: &["cancel-build", "nope"], code: 1, says: &["no build nope"], ..GOOD });
    check(&Case { args: &["watch-build", "nope"], code: 1, says: &["no build nope"], ..GOOD });
    check(&Case {
        args: &["config", "check", "nope.yaml"],
        code: 1,
        says: &["cannot read nope.yaml", "No such file"],
        ..GOOD
    });
    check(&Case { args: &["--config", "nope.conf", "list-builds"], code: 2, ..GOOD });
    // The site: 3.
    let cluster = "[default]\nopenshift_url = ftp://kubernetes.example/\n";
    check(&Case { args: &["list-builds"], conf: cluster, code: 3, says: &["kubernetes.example", "local:///"], ..GOOD });
    // What is elsewhere: 4. Nothing listens on the first port.
    let cluster = "[default]\nopenshift_url = https://127.0.0.1:1/\ntoken = t\n";
    check(&Case { args: &["list-builds"], conf: cluster, code: 4, says: &["127.0.0.1:1", "does not answer"], ..GOOD });
}

#[test]
fn a_missing_configuration_file_is_named() {
    let home = folder();
    let done = osbs(home.path(), &[], &["--config", "nope.conf", "list-builds"]);
    assert_eq!(done.code, 1);
    assert!(done.err.contains("cannot read nope.conf"), "{}", done.err);
    let done = osbs(home.path(), &[], &["--instance", "other", "list-builds"]);
    assert_eq!(done.code, 1);
    assert!(done.err.contains("no section [other]"), "{}", done.err);
    let done = osbs(home.path(), &[("HOME", "")], &["list-builds"]);
    assert_eq!(done.code, 1);
    assert!(done.err.contains("OSBS_HOME") && done.err.contains("--home DIR"), "{}", done.err);
}

#[test]
fn configuration_errors_have_a_place_and_say_what_is_allowed() {
    let typo = "[default]\ncan_orchestrat = true\n";
    check(&Case { conf: typo, code: 3, says: &["osbs.conf:2:1", "\"can_orchestrate\""], ..GOOD });
    check(&Case { conf: "nonsense\n", code: 3, says: &["osbs.conf:1:1", "[section]"], ..GOOD });
    check(&Case { conf: "[default]\nopenshift_url = ftp://x\n", code: 3, says: &["ftp://x"], ..GOOD });
    let nested = "version: 1\nclusters:\n  x86_64: [{name: a, max_concurrent_build: 2}]\n";
    check(&Case { config: nested, code: 3, says: &["config.yaml:3:", "\"max_concurrent_builds\"?"], ..GOOD });
    let number = "version: 1\nclusters:\n  x86_64: [{name: 3, max_concurrent_builds: 2}]\n";
    check(&Case { config: number, code: 3, says: &["config.yaml:3:", "expected a text"], ..GOOD });
    check(&Case { config: "version: 2\n", code: 3, says: &["config.yaml:1:"], ..GOOD });
    check(&Case { config: "version: [\n", code: 3, says: &["config.yaml:"], ..GOOD });
    // A key of a later version at the top is no mistake in a configuration that several versions read; it is told.
    check(&Case {
        config: "version: 1\nclusterz: {}\n",
        says: &["warning", "config.yaml:2:1", "\"clusters\"?"],
        ..GOOD
    });
}

#[test]
fn repository_files_are_checked_too() {
    let home = folder();
    for (name, text, code, says) in [
        ("container.yaml", "platforms:\n  only: [x86_64]\n", 0, "good"),
        ("container.yaml", "platforms:\n  onyl: x86_64\n", 1, "container.yaml:2:3"),
        ("container.yaml", "platforms:\n  onyl: x86_64\n", 1, "\"only\"?"),
        ("config.yaml", "version: 1\n", 0, "good"),
        ("config.yaml", "versoin: 1\n", 3, "\"version\""),
    ] {
        fs::write(home.path().join(name), text).expect("written");
        let done = osbs(home.path(), &[], &["config", "check", name]);
        assert_eq!(done.code, code, "{text}: {}", done.err);
        assert!(done.err.contains(says), "{says} is not in\n{}", done.err);
        fs::remove_file(home.path().join(name)).expect("removed");
    }
}

#[test]
fn config_check_tells_where_values_come_from() {
    let home = folder();
    fs::write(home.path().join("osbs.conf"), "[default]\ncan_orchestrate = true\nregistry_uri = reg.example\n")
        .expect("written");
    let config = "version: 1\nclusters:\n  x86_64: [{name: big, max_concurrent_builds: 7}]\nregistries: [{url: 'https://reg.example'}]\n\
                  smtp: {host: mail.example, from_address: a@example.org}\n";
    fs::write(home.path().join("config.yaml"), config).expect("written");
    let args = ["--config", "osbs.conf", "config", "check"];
    let done = osbs(home.path(), &[], &args);
    assert_eq!(done.code, 0, "{}", done.err);
    for text in ["osbs.conf:2:19", "osbs.conf:3:16", "x86_64: big (7 at once)", "pushes to       reg.example"] {
        assert!(done.out.contains(text), "{text} is not in\n{}", done.out);
    }
    let done = osbs(home.path(), &[], &[&args[..], &["--output", "json", "--namespace", "team"]].concat());
    let report = json(&done.out);
    let origin = |key: &str| {
        let settings = report["settings"].as_array().expect("a list");
        let setting = settings.iter().find(|setting| setting["key"] == key).expect(key);
        (setting["value"].as_str().map(str::to_owned), setting["origin"].as_str().expect("text").to_owned())
    };
    assert_eq!(origin("can_orchestrate"), (Some("true".to_owned()), "osbs.conf:2:19".to_owned()));
    assert_eq!(origin("namespace"), (Some("team".to_owned()), "option --namespace".to_owned()));
    assert_eq!(origin("arrangement_version").1, "default");
    assert_eq!(report["reactor_config"]["content"]["clusters"]["x86_64"][0]["name"], "big");
}

#[test]
fn secrets_and_config_maps_are_kept_and_never_shown() {
    let home = folder();
    fs::write(home.path().join("password"), "hunter2").expect("written");
    let done = osbs(home.path(), &[], &["config", "set-secret", "registry", "password"]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert_eq!(osbs(home.path(), &[], &["config", "set-config-map", "site", "password"]).code, 0);
    let done = osbs(home.path(), &[], &["config", "list", "--output", "json"]);
    let list = json(&done.out);
    assert_eq!((&list["secrets"][0], &list["config_maps"][0]), (&Value::from("registry"), &Value::from("site")));
    assert!(!done.out.contains("hunter2"));
    fs::write(home.path().join("binary"), b"\xff").expect("written");
    let done = osbs(home.path(), &[], &["config", "set-config-map", "site", "binary"]);
    assert_eq!(done.code, 1);
    assert!(done.err.contains("set-secret"), "{}", done.err);
}

#[test]
fn failures_as_json() {
    let home = folder();
    let done = osbs(home.path(), &[], &["get-build", "nope", "--output", "json"]);
    assert_eq!((done.code, done.out.as_str()), (1, ""));
    let failure = json(&done.err);
    assert_eq!(failure["failure"]["kind"], "user");
    assert!(failure["failure"]["hint"].as_str().expect("text").contains("list-builds"));
}

#[test]
fn completion_is_understood_by_bash() {
    let home = folder();
    let script = osbs(home.path(), &[], &["completion", "bash"]);
    assert_eq!(script.code, 0);
    fs::write(home.path().join("osbs.bash"), &script.out).expect("written");
    let ask = "set -eu; source ./osbs.bash; COMP_WORDS=(osbs build-l); COMP_CWORD=1; _osbs osbs build-l osbs; \
               printf '%s\\n' \"${COMPREPLY[@]}\"";
    let bash = Command::new("bash").args(["--norc", "-c", ask]).current_dir(home.path()).output().expect("bash starts");
    assert_eq!(String::from_utf8_lossy(&bash.stdout), "build-logs\n", "{}", String::from_utf8_lossy(&bash.stderr));
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert_eq!(osbs(home.path(), &[], &["completion", shell]).code, 0, "{shell}");
    }
}

#[test]
fn colours_switch_off_and_on() {
    let home = folder();
    let escape = |env: &[(&str, &str)], args: &[&str]| {
        let done = osbs(home.path(), env, &[args, &["get-build", "nope"]].concat());
        done.err.contains('\u{1b}')
    };
    assert!(!escape(&[], &[]), "a pipe gets none");
    assert!(escape(&[], &["--color", "always"]));
    assert!(escape(&[("NO_COLOR", "1")], &["--color", "always"]), "who asks on the command line means it");
    assert!(!escape(&[], &["--color", "never"]));
    assert!(!on_a_terminal(home.path(), "NO_COLOR=1").contains("\u{1b}[31m"));
    assert!(!on_a_terminal(home.path(), "TERM=dumb").contains("\u{1b}[31m"));
    assert!(on_a_terminal(home.path(), "TERM=xterm").contains("\u{1b}[31m"));
}

/// What `osbs get-build nope` writes to a terminal, made by `script`.
fn on_a_terminal(home: &Path, variable: &str) -> String {
    let inner = format!("env -i PATH=/usr/bin:/bin HOME={} {variable} {OSBS} get-build nope", home.display());
    let output =
        Command::new("script").args(["--quiet", "--command", &inner, "/dev/null"]).stdin(Stdio::null()).output();
    let output = output.expect("script is missing: apt-get install bsdutils");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("no build nope"), "{text}");
    text
}

#[test]
fn plugins_are_listed_and_shown() {
    let home = folder();
    let list = osbs(home.path(), &[], &["plugins", "list", "--output", "json"]);
    let list = json(&list.out);
    let names: Vec<_> = list.as_array().expect("a list").iter().map(|it| it["name"].as_str().expect("text")).collect();
    assert!(names.is_sorted() && names.contains(&"tag_and_push") && names.contains(&"docker_api"), "{names:?}");
    let exit = osbs(home.path(), &[], &["plugins", "list", "--phase", "exit"]).out;
    assert!(exit.contains("sendmail") && !exit.contains("tag_and_push"), "{exit}");
    for name in names {
        let shown = osbs(home.path(), &[], &["plugins", "show", name]);
        assert!(shown.code == 0 && shown.out.starts_with(&format!("{name}: ")), "{name}: {}", shown.out);
        assert!(shown.out.contains("PHASES") && shown.out.contains("FAILURE"), "{}", shown.out);
    }
    let shown = json(&osbs(home.path(), &[], &["plugins", "show", "add_help", "--output", "json"]).out);
    assert_eq!((&shown["phases"][0], &shown["allowed_to_fail"]), (&"prebuild".into(), &true.into()));
    let wrong = osbs(home.path(), &[], &["plugins", "show", "tag_and_psh"]);
    assert!(wrong.code == 1 && wrong.err.contains("is tag_and_push meant?"), "{}", wrong.err);
    assert_eq!(osbs(home.path(), &[], &["plugins", "show", "xyzzy"]).code, 1);
    let absent = osbs(home.path(), &[], &["plugins", "show", "resolve_composes"]);
    assert!(absent.code == 1 && absent.err.contains("does not have (it works with ODCS)"), "{}", absent.err);
    assert_eq!(fs::read_dir(home.path()).expect("readable").count(), 0, "it touches no file");
}
