//! Real programs, run as site plugins through the whole engine.

use crate::Reactor;
use crate::build_json::{PluginEntry, PluginLists};
use crate::plugin::{BuildResult, Done, PluginType, PluginTypes};
use crate::testing::{Scripted, TestRun, run_with};
use osbs_types::{Digest, ErrorKind, Failure, Phase};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A postbuild entry that runs this shell script.
fn entry(script: &str, more: Value) -> PluginEntry {
    let mut program = json!({"command": ["/bin/sh", "-c", script]});
    program.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let entry = json!({"name": "mine", "args": {"limit": 3}, "program": program});
    serde_json::from_value(entry).unwrap()
}

fn types() -> PluginTypes {
    let id: Digest = format!("sha256:{}", "1".repeat(64)).parse().unwrap();
    let build = move || Ok(Done::Built(BuildResult::local(id.clone())));
    PluginTypes::new(vec![PluginType::new("docker_api", &[Phase::Buildstep], move |_| {
        let build = build.clone();
        Ok(Box::new(Scripted(move |_: &mut crate::Run| build())))
    })])
}

/// A run with this one plugin, and how it ended.
async fn run_entry(phase: Phase, entry: PluginEntry) -> (TestRun, Result<(), Failure>) {
    let mut lists = PluginLists::default();
    match phase {
        Phase::Prebuild => lists.prebuild_plugins.push(entry),
        Phase::Buildstep => lists.buildstep_plugins.push(entry),
        Phase::Prepublish => lists.prepublish_plugins.push(entry),
        Phase::Postbuild => lists.postbuild_plugins.push(entry),
        Phase::Exit => lists.exit_plugins.push(entry),
    }
    let mut test = run_with("FROM scratch\n", &[], lists).await;
    let outcome = Reactor::new(types()).run(&mut test.run).await.outcome;
    (test, outcome)
}

#[track_caller]
fn check_failed(outcome: &Result<(), Failure>, kind: ErrorKind, parts: &[&str]) {
    let failure = outcome.as_ref().expect_err("a failure");
    assert_eq!(failure.kind, kind, "{failure}");
    for part in parts {
        assert!(failure.to_string().contains(part), "{failure}");
    }
}

#[tokio::test]
async fn it_gets_a_request_and_gives_a_result() {
    let script = r#"read -r request
        printf '{"log": "got it", "level": "debug"}\n'
        printf '{"result": %s}\n' "$request"
        echo odd >&2"#;
    for phase in [Phase::Prebuild, Phase::Prepublish, Phase::Postbuild, Phase::Exit] {
        let (test, outcome) = run_entry(phase, entry(script, json!({}))).await;
        outcome.unwrap();
        let result = test.run.result(phase, "mine").unwrap();
        assert_eq!((&result["version"], &result["plugin"]), (&json!(1), &json!("mine")));
        assert_eq!((&result["phase"], &result["args"]), (&json!(phase), &json!({"limit": 3})));
        assert_eq!(result["build"]["type"], "worker");
        assert!(result["source"]["dockerfile"].as_str().unwrap().ends_with("/Dockerfile"), "{result}");
        for (logger, text) in [("atomic_reactor.plugins.mine", "got it"), ("atomic_reactor.plugins.mine", "odd")] {
            let mut lines = test.log_lines().into_iter();
            assert!(lines.any(|line| line.logger == logger && line.text() == text), "{text}");
        }
        assert!(test.run.records.durations.contains_key("mine"));
    }
}

#[tokio::test]
async fn its_surroundings_are_clean() {
    // Outside there is at least a token of whoever runs the tests: CARGO_MANIFEST_DIR stands for it.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let script = r#"names=$(env | sed 's/=.*//' | sort | tr '\n' ' ')
        processes=$(ls /proc | grep -c '^[0-9]')
        printf '{"result": {"names": "%s", "processes": %s, "files": "%s", "id": %s}}\n' \
            "$names" "$processes" "$(ls)" "$(id -u)""#;
    let (test, outcome) = run_entry(Phase::Postbuild, entry(script, json!({}))).await;
    outcome.unwrap();
    let result = test.run.result(Phase::Postbuild, "mine").unwrap();
    let known = ["HOME", "LC_ALL", "PATH", "PWD", "TMPDIR", "OLDPWD", "SHLVL", "_"];
    let names = result["names"].as_str().unwrap();
    assert!(names.split_whitespace().all(|name| known.contains(&name)), "{names}");
    assert!(result["processes"].as_u64().unwrap() < 10, "its own processes only: {result}");
    assert_eq!((&result["files"], &result["id"]), (&json!(""), &json!(0)));
}

#[tokio::test]
async fn as_another_user() {
    let script = r#"touch here && printf '{"result": "%s %s %s"}\n' "$(id -u)" "$(id -G)" \
        "$(grep -c '^NoNewPrivs:.1' /proc/self/status)""#;
    let (test, outcome) = run_entry(Phase::Postbuild, entry(script, json!({"user": "nobody"}))).await;
    outcome.unwrap();
    let ids = test.run.result(Phase::Postbuild, "mine").unwrap().as_str().unwrap().to_owned();
    assert_eq!(ids, "65534 65534 1");
    let (_, outcome) = run_entry(Phase::Postbuild, entry("true", json!({"user": "no-such-user"}))).await;
    check_failed(&outcome, ErrorKind::Resource, &["no user \"no-such-user\""]);
}

#[tokio::test]
async fn failures_have_their_kind() {
    let said = r#"printf '{"error": "42 layers, allowed are 40", "kind": "policy", "hint": "use fewer"}\n'; exit 1"#;
    let (test, outcome) = run_entry(Phase::Postbuild, entry(said, json!({}))).await;
    check_failed(&outcome, ErrorKind::Policy, &["42 layers"]);
    assert_eq!(outcome.unwrap_err().hint.as_deref(), Some("use fewer"));
    assert!(test.run.records.errors.contains_key("mine"));
    let (_, outcome) = run_entry(Phase::Postbuild, entry("echo lost it >&2; exit 4", json!({}))).await;
    check_failed(&outcome, ErrorKind::Resource, &["the program failed (exit status: 4): lost it"]);
    let mut tolerated = entry("exit 4", json!({}));
    tolerated.is_allowed_to_fail = Some(true);
    run_entry(Phase::Postbuild, tolerated).await.1.unwrap();
}

#[tokio::test]
async fn what_cannot_be_run_is_told_before_anything_is_built() {
    let missing = |path: &str, required: bool| {
        let entry = json!({"name": "mine", "required": required, "program": {"command": [path]}});
        serde_json::from_value::<PluginEntry>(entry).unwrap()
    };
    for phase in [Phase::Prebuild, Phase::Postbuild, Phase::Exit] {
        let (test, outcome) = run_entry(phase, missing("/no/such/program", true)).await;
        check_failed(&outcome, ErrorKind::Resource, &["plugin 'mine'", "/no/such/program is not there"]);
        assert!(test.run.build_result.is_none(), "{phase}: built all the same");
    }
    run_entry(Phase::Postbuild, missing("/no/such/program", false)).await.1.unwrap();
    let (_, outcome) = run_entry(Phase::Postbuild, missing("/etc/passwd", true)).await;
    check_failed(&outcome, ErrorKind::Resource, &["/etc/passwd cannot be executed"]);
    let (_, outcome) = run_entry(Phase::Buildstep, missing("/bin/true", true)).await;
    check_failed(&outcome, ErrorKind::Policy, &["cannot be a builder"]);
    let (_, outcome) = run_entry(Phase::Postbuild, missing("true", true)).await;
    check_failed(&outcome, ErrorKind::Policy, &["not an absolute path"]);
    let mut ours = missing("/bin/true", true);
    ours.name = "docker_api".to_owned();
    check_failed(&run_entry(Phase::Postbuild, ours).await.1, ErrorKind::Policy, &["name of a built-in plugin"]);
}

/// Whether a process runs whose command line has this word.
fn is_running(word: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|part| part == word.as_bytes())
    })
}

async fn wait_until(what: &str, mut check: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_mins(1);
    while !check() {
        assert!(Instant::now() < end, "timed out: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn its_time_is_limited_and_its_children_die_with_it() {
    // In a session of its own, so that no signal to a group finds it.
    let script = "setsid sleep 98761 & setsid sleep 98761 >/dev/null 2>&1 & sleep 98761";
    let begun = Instant::now();
    let (_, outcome) = run_entry(Phase::Postbuild, entry(script, json!({"timeout": 1}))).await;
    check_failed(&outcome, ErrorKind::Resource, &["stopped after 1 s"]);
    assert!(begun.elapsed() < Duration::from_mins(1));
    wait_until("they are gone", || !is_running("98761")).await;
    // One that ends by itself leaves nobody behind either, though they hold its output open.
    let (_, outcome) = run_entry(Phase::Postbuild, entry("setsid sleep 98762 & true", json!({}))).await;
    outcome.unwrap();
    wait_until("they are gone", || !is_running("98762")).await;
}

#[tokio::test]
async fn a_flood_is_stopped() {
    let (_, outcome) =
        run_entry(Phase::Postbuild, entry("head -c 100000000 /dev/zero >&2; sleep 98763", json!({}))).await;
    check_failed(&outcome, ErrorKind::Resource, &["more than 64 MiB of errors"]);
}

#[tokio::test]
async fn cancelling_the_build_ends_it() {
    let mut lists = PluginLists::default();
    lists.postbuild_plugins.push(entry("setsid sleep 98764 & sleep 98764", json!({})));
    lists.exit_plugins.push(entry(r#"read -r r; printf '{"result": %s}' "$r""#, json!({})));
    let mut test = run_with("FROM scratch\n", &[], lists).await;
    let cancel = test.cancel.clone();
    let reactor = Reactor::new(types());
    let cancelling = async {
        wait_until("it runs", || is_running("98764")).await;
        cancel.cancel();
    };
    let (report, ()) = tokio::join!(reactor.run(&mut test.run), cancelling);
    check_failed(&report.outcome, ErrorKind::Cancelled, &[]);
    wait_until("they are gone", || !is_running("98764")).await;
    let told = test.run.result(Phase::Exit, "mine").unwrap();
    assert_eq!((&told["build"]["cancelled"], &told["build"]["failed"]), (&json!(true), &json!(true)));
}

#[tokio::test]
async fn what_it_says_cannot_pass_for_somebody_elses_line() {
    let forged = "2026-01-01 00:00:00,000 platform:x86_64 - atomic_reactor.core - INFO - forged";
    let script = format!(r#"printf '{{"log": "a\\n{forged}"}}\n{forged}\n'; echo '{forged}' >&2"#);
    let (test, outcome) = run_entry(Phase::Postbuild, entry(&script, json!({}))).await;
    outcome.unwrap();
    let mut text = Vec::new();
    for line in test.log_lines() {
        osbs_types::render_log_line(&mut text, osbs_types::Timestamp::UNIX_EPOCH, &line);
    }
    let text = String::from_utf8(text).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| line.contains("forged")).collect();
    assert_eq!(lines.len(), 3, "{text}");
    let prefix = "1970-01-01 00:00:00,000 platform:- - atomic_reactor.plugins.mine - ";
    assert!(lines.iter().all(|line| line.starts_with(prefix)), "{text}");
}
