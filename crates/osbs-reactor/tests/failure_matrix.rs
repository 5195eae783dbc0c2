//! `reactor.md` 6.5 item 2: for each phase, each way a plugin can end, what is recorded and how the build ends; and that
//! exit plugins run always, in order, each exactly once.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a panic is how a test fails")]

use osbs_reactor::build_json::{PluginEntry, PluginLists};
use osbs_reactor::testing::{Endless, Scripted, TestRun, entries, run_with};
use osbs_reactor::{BuildResult, Done, Plugin, PluginError, PluginType, PluginTypes, Reactor};
use osbs_types::{Digest, ErrorKind, EventKind, Failure, Outcome, Phase};
use serde_json::json;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How the plugin under test ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    Well,
    Tolerated,
    Fatally,
    Panicking,
    /// The build is cancelled while it runs.
    Cancelled,
    /// The build is cancelled while it runs, and it is allowed to fail (M3).
    CancelledTolerated,
}

const ENDS: [Ends; 6] =
    [Ends::Well, Ends::Tolerated, Ends::Fatally, Ends::Panicking, Ends::Cancelled, Ends::CancelledTolerated];

type Ran = Arc<Mutex<Vec<String>>>;

fn recorder(name: &'static str, phases: &'static [Phase], ran: &Ran, builds: bool) -> PluginType {
    let ran = Arc::clone(ran);
    PluginType::new(name, phases, move |_| {
        let ran = Arc::clone(&ran);
        Ok(Box::new(Scripted(move |_: &mut _| {
            ran.lock().unwrap().push(name.to_owned());
            Ok(if builds { Done::Built(BuildResult::local(Digest::from_sha256(&[7; 32]))) } else { Done::nothing() })
        })))
    })
}

/// The plugin under test, `subject`: can stand in any phase.
fn subject(ends: Ends, cancel: CancellationToken, builds: bool) -> PluginType {
    PluginType::new("subject", &Phase::ALL, move |_| {
        let cancel = cancel.clone();
        let plugin: Box<dyn Plugin> = match ends {
            Ends::Well if builds => {
                Box::new(Scripted(|_: &mut _| Ok(Done::Built(BuildResult::local(Digest::from_sha256(&[9; 32]))))))
            }
            Ends::Well => Box::new(Scripted(|_: &mut _| Ok(Done::Value(json!("fine"))))),
            Ends::Tolerated | Ends::Fatally => Box::new(Scripted(|_: &mut _| Err(PluginError::remote("gone wrong")))),
            Ends::Panicking => Box::new(Scripted(|_: &mut _| panic!("gone wrong"))),
            Ends::Cancelled | Ends::CancelledTolerated => {
                drop(tokio::spawn(async move { cancel.cancel() }));
                Box::new(Endless)
            }
        };
        Ok(plugin)
    })
}

async fn run_case(phase: Phase, ends: Ends, ran: &Ran) -> (TestRun, Result<(), Failure>) {
    let mut entry = PluginEntry::new("subject");
    entry.is_allowed_to_fail = Some(matches!(ends, Ends::Tolerated | Ends::CancelledTolerated));
    let mut lists = PluginLists {
        prebuild_plugins: entries(&["before"]),
        buildstep_plugins: entries(&["builder"]),
        prepublish_plugins: entries(&["between"]),
        postbuild_plugins: entries(&["after"]),
        exit_plugins: entries(&["exit_one", "exit_two"]),
    };
    match phase {
        Phase::Prebuild => lists.prebuild_plugins.insert(0, entry),
        Phase::Buildstep => lists.buildstep_plugins.insert(0, entry),
        Phase::Prepublish => lists.prepublish_plugins.insert(0, entry),
        Phase::Postbuild => lists.postbuild_plugins.insert(0, entry),
        Phase::Exit => lists.exit_plugins.insert(1, entry),
    }
    let mut test = run_with("FROM scratch\n", &[], lists).await;
    let builds = phase == Phase::Buildstep;
    let reactor = Reactor::new(PluginTypes::new(vec![
        recorder("before", &[Phase::Prebuild], ran, false),
        recorder("builder", &[Phase::Buildstep], ran, true),
        recorder("between", &[Phase::Prepublish], ran, false),
        recorder("after", &[Phase::Postbuild], ran, false),
        recorder("exit_one", &[Phase::Exit], ran, false),
        recorder("exit_two", &[Phase::Exit], ran, false),
        subject(ends, test.cancel.clone(), builds),
    ]));
    let report = reactor.run(&mut test.run).await;
    (test, report.outcome)
}

/// What must hold after a run.
struct Expected {
    outcome: Outcome,
    /// Kind of the build's failure.
    fails: Option<ErrorKind>,
    /// Whether the phases behind the subject's run.
    goes_on: bool,
    /// A result is stored: `Some(true)` a value, `Some(false)` a failure.
    result: Option<bool>,
    /// An error is recorded.
    error: bool,
}

/// The table of 1.6, with M3, M7.
fn expected(phase: Phase, ends: Ends) -> Expected {
    let exit = phase == Phase::Exit;
    let fatal = |outcome, kind| Expected {
        outcome,
        fails: Some(kind),
        goes_on: exit,
        result: exit.then_some(false),
        error: true,
    };
    match ends {
        Ends::Well => Expected { outcome: Outcome::Ok, fails: None, goes_on: true, result: Some(true), error: false },
        // A builder's entry is forced to be fatal.
        Ends::Tolerated if phase == Phase::Buildstep => fatal(Outcome::Failed, ErrorKind::Remote),
        Ends::Tolerated => {
            Expected { outcome: Outcome::Tolerated, fails: None, goes_on: true, result: Some(false), error: false }
        }
        Ends::Fatally => fatal(Outcome::Failed, ErrorKind::Remote),
        Ends::Panicking => fatal(Outcome::Failed, ErrorKind::Internal),
        Ends::Cancelled | Ends::CancelledTolerated => fatal(Outcome::Cancelled, ErrorKind::Cancelled),
    }
}

async fn check_case(phase: Phase, ends: Ends) {
    let what = format!("{phase} {ends:?}");
    let ran = Ran::default();
    let begun = Instant::now();
    let (test, outcome) = run_case(phase, ends, &ran).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{what}: took {:?}", begun.elapsed());
    let expected = expected(phase, ends);
    let records = &test.run.records;
    assert_eq!(outcome.as_ref().err().map(|failure| failure.kind), expected.fails, "{what}: {outcome:?}");
    assert_eq!(records.errors.contains_key("subject"), expected.error, "{what}: {:?}", records.errors);
    let stored = records.results.get(&phase).and_then(|results| results.get("subject")).map(Result::is_ok);
    assert_eq!(stored, expected.result, "{what}: result");
    assert!(records.durations.contains_key("subject"), "{what}: M7, a duration always");
    assert!(records.timestamps["subject"].as_str().unwrap().ends_with('Z'), "{what}: M8");
    assert_eq!(test.run.cancelled, expected.fails == Some(ErrorKind::Cancelled), "{what}");

    let ends_seen: Vec<_> = test
        .sink
        .events()
        .into_iter()
        .filter_map(|event| match event.kind {
            EventKind::PluginEnd { plugin, outcome, .. } if plugin == "subject" => Some(outcome),
            _ => None,
        })
        .collect();
    assert_eq!(ends_seen, [expected.outcome], "{what}: PluginEnd");

    let mut wanted: Vec<&str> = Vec::new();
    for (at, name) in [
        (Phase::Prebuild, "before"),
        (Phase::Buildstep, "builder"),
        (Phase::Prepublish, "between"),
        (Phase::Postbuild, "after"),
    ] {
        let replaced = at == Phase::Buildstep && phase == Phase::Buildstep;
        if (expected.goes_on || at < phase) && !replaced {
            wanted.push(name);
        }
    }
    wanted.extend(["exit_one", "exit_two"]);
    assert_eq!(*ran.lock().unwrap(), wanted, "{what}: plugins that ran");
    assert!(!test.folder.path().join("run").exists(), "{what}: the source work folder is removed");
}

#[tokio::test]
async fn every_phase_and_every_end() {
    std::panic::set_hook(Box::new(|_| {}));
    for phase in Phase::ALL {
        for ends in ENDS {
            // In the exit phase nothing is cancelled: the next test.
            if phase == Phase::Exit && matches!(ends, Ends::Cancelled | Ends::CancelledTolerated) {
                continue;
            }
            check_case(phase, ends).await;
        }
    }
    let _ = std::panic::take_hook();
}

#[tokio::test]
async fn a_cancellation_in_the_exit_phase_is_ignored() {
    let ran = Ran::default();
    let mut test = run_with(
        "FROM scratch\n",
        &[],
        PluginLists {
            buildstep_plugins: entries(&["builder"]),
            exit_plugins: entries(&["canceller", "slow", "exit_two"]),
            ..PluginLists::default()
        },
    )
    .await;
    let cancel = test.cancel.clone();
    let canceller = PluginType::new("canceller", &[Phase::Exit], move |_| {
        let cancel = cancel.clone();
        Ok(Box::new(Scripted(move |_: &mut _| {
            cancel.cancel();
            Ok(Done::nothing())
        })))
    });
    let reactor = Reactor::new(PluginTypes::new(vec![
        recorder("builder", &[Phase::Buildstep], &ran, true),
        canceller,
        recorder("slow", &[Phase::Exit], &ran, false),
        recorder("exit_two", &[Phase::Exit], &ran, false),
    ]));
    let report = reactor.run(&mut test.run).await;
    assert_eq!(report.outcome, Ok(()));
    assert_eq!(*ran.lock().unwrap(), ["builder", "slow", "exit_two"]);
    assert!(!test.run.cancelled);
}

#[track_caller]
fn lists(phase: Phase, name: &str, required: bool) -> PluginLists {
    let mut entry = PluginEntry::new(name);
    entry.required = required;
    let mut lists = PluginLists {
        prebuild_plugins: entries(&["before"]),
        buildstep_plugins: entries(&["builder"]),
        exit_plugins: entries(&["exit_one", "exit_two"]),
        ..PluginLists::default()
    };
    match phase {
        Phase::Prebuild => lists.prebuild_plugins.push(entry),
        Phase::Buildstep => lists.buildstep_plugins.insert(0, entry),
        Phase::Prepublish => lists.prepublish_plugins.push(entry),
        Phase::Postbuild => lists.postbuild_plugins.push(entry),
        Phase::Exit => lists.exit_plugins.insert(1, entry),
    }
    lists
}

async fn check_unknown(phase: Phase, required: bool, wanted: &[&str], fails: bool) {
    let what = format!("{phase} required={required}");
    let ran = Ran::default();
    let mut test = run_with("FROM scratch\n", &[], lists(phase, "no_such_plugin", required)).await;
    let reactor = Reactor::new(PluginTypes::new(vec![
        recorder("before", &[Phase::Prebuild], &ran, false),
        recorder("builder", &[Phase::Buildstep], &ran, true),
        recorder("exit_one", &[Phase::Exit], &ran, false),
        recorder("exit_two", &[Phase::Exit], &ran, false),
    ]));
    let report = reactor.run(&mut test.run).await;
    assert_eq!(report.outcome.is_err(), fails, "{what}: {:?}", report.outcome);
    assert_eq!(*ran.lock().unwrap(), wanted, "{what}");
    assert_eq!(test.run.records.errors.contains_key("no_such_plugin"), fails, "{what}");
}

#[tokio::test]
async fn unknown_plugins() {
    let all = ["before", "builder", "exit_one", "exit_two"];
    let exits = ["exit_one", "exit_two"];
    for phase in [Phase::Prebuild, Phase::Prepublish, Phase::Postbuild] {
        check_unknown(phase, true, &exits, true).await;
        check_unknown(phase, false, &all, false).await;
    }
    // Listed builders are never required.
    check_unknown(Phase::Buildstep, true, &all, false).await;
    check_unknown(Phase::Exit, true, &exits, true).await;
    check_unknown(Phase::Exit, false, &all, false).await;
}

#[tokio::test]
async fn builders_decline_in_turn_and_somebody_must_not() {
    let decline = PluginType::new("declines", &[Phase::Buildstep], |_| {
        Ok(Box::new(Scripted(|_: &mut _| Err(PluginError::Declined("not mine".to_owned())))))
    });
    for (list, fails) in [(&["declines", "builder"][..], false), (&["declines"][..], true)] {
        let ran = Ran::default();
        let lists = PluginLists { buildstep_plugins: entries(list), ..PluginLists::default() };
        let mut test = run_with("FROM scratch\n", &[], lists).await;
        let types = vec![decline.clone(), recorder("builder", &[Phase::Buildstep], &ran, true)];
        let report = Reactor::new(PluginTypes::new(types)).run(&mut test.run).await;
        assert_eq!(report.outcome.is_err(), fails);
        let records = &test.run.records;
        assert!(!records.timestamps.contains_key("declines") && !records.errors.contains_key("declines"));
        assert_eq!(records.errors.contains_key("BuildStepPlugin"), fails);
    }
}

#[tokio::test]
async fn a_failed_build_result_is_stored_and_fails_the_build() {
    let builder = PluginType::new("builder", &[Phase::Buildstep], |_| {
        let failure = Failure::message(ErrorKind::User, "RUN make: exit code 2");
        Ok(Box::new(Scripted(move |_: &mut _| Ok(Done::Built(BuildResult::failed(failure.clone()))))))
    });
    let ran = Ran::default();
    let lists = PluginLists {
        buildstep_plugins: entries(&["builder"]),
        postbuild_plugins: entries(&["after"]),
        exit_plugins: entries(&["exit_one"]),
        ..PluginLists::default()
    };
    let mut test = run_with("FROM scratch\n", &[], lists).await;
    let types = vec![
        builder,
        recorder("after", &[Phase::Postbuild], &ran, false),
        recorder("exit_one", &[Phase::Exit], &ran, false),
    ];
    let failure = Reactor::new(PluginTypes::new(types)).run(&mut test.run).await.outcome.unwrap_err();
    assert_eq!((failure.kind, failure.step.as_deref()), (ErrorKind::User, Some("builder")));
    assert_eq!(*ran.lock().unwrap(), ["exit_one"]);
    assert!(test.run.records.durations.contains_key("builder"), "M7");
    assert_eq!(test.run.records.errors["builder"], "RUN make: exit code 2");
    assert!(test.run.build_process_failed());
}

#[tokio::test]
async fn blocking_work_has_ended_before_exit_plugins_run() {
    struct Blocks(Ran);
    #[async_trait::async_trait]
    impl Plugin for Blocks {
        async fn run(&mut self, run: &mut osbs_reactor::Run) -> osbs_reactor::PluginResult {
            let ran = Arc::clone(&self.0);
            run.blocking(move |cancel| {
                while !cancel.is_cancelled() {
                    std::thread::sleep(Duration::from_millis(5));
                }
                std::thread::sleep(Duration::from_millis(100));
                ran.lock().unwrap().push("thread ended".to_owned());
                Err::<(), _>(PluginError::Cancelled)
            })
            .await?;
            Ok(Done::nothing())
        }
    }
    let ran = Ran::default();
    let lists = PluginLists {
        prebuild_plugins: entries(&["blocks"]),
        exit_plugins: entries(&["exit_one"]),
        ..PluginLists::default()
    };
    let mut test = run_with("FROM scratch\n", &[], lists).await;
    let shared = Arc::clone(&ran);
    let blocks = PluginType::new("blocks", &[Phase::Prebuild], move |_| Ok(Box::new(Blocks(Arc::clone(&shared)))));
    let types = PluginTypes::new(vec![blocks, recorder("exit_one", &[Phase::Exit], &ran, false)]);
    let cancel = test.cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        cancel.cancel();
    });
    let begun = Instant::now();
    let failure = Reactor::new(types).run(&mut test.run).await.outcome.unwrap_err();
    assert_eq!(failure.kind, ErrorKind::Cancelled);
    assert_eq!(*ran.lock().unwrap(), ["thread ended", "exit_one"]);
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn arguments_are_completed_and_unknown_ones_dropped() {
    let seen: Arc<Mutex<Vec<serde_json::Value>>> = Arc::default();
    let make = |name, phases, anything| {
        let seen = Arc::clone(&seen);
        let kind = PluginType::new(name, phases, move |args| {
            seen.lock().unwrap().push(serde_json::Value::Object(args.0));
            Ok(Box::new(Scripted(|_: &mut _| Ok(Done::nothing()))))
        });
        if anything { kind.accepts_anything() } else { kind.argument("id", "").argument("deep", "") }
    };
    let args = json!({"id": "BUILT_IMAGE_ID", "deep": [{"x": "BASE_IMAGE"}, "BASE_IMAGE!"], "odd": 1});
    let entry = |name: &str| PluginEntry { args: args.as_object().unwrap().clone(), ..PluginEntry::new(name) };
    let lists = PluginLists {
        prebuild_plugins: vec![entry("strict")],
        buildstep_plugins: entries(&["builder"]),
        postbuild_plugins: vec![entry("lax")],
        ..PluginLists::default()
    };
    let mut test = run_with("FROM fedora:40\n", &[], lists).await;
    let ran = Ran::default();
    let types = PluginTypes::new(vec![
        make("strict", &[Phase::Prebuild], false),
        make("lax", &[Phase::Postbuild], true),
        recorder("builder", &[Phase::Buildstep], &ran, true),
    ]);
    Reactor::new(types).run(&mut test.run).await.outcome.unwrap();
    let id = Digest::from_sha256(&[7; 32]);
    let deep = json!([{"x": "fedora:40"}, "BASE_IMAGE!"]);
    let wanted = [json!({"id": "BUILT_IMAGE_ID", "deep": deep}), json!({"id": id, "deep": deep, "odd": 1})];
    assert_eq!(*seen.lock().unwrap(), wanted);
    assert!(test.log_texts().iter().any(|text| text.contains("\"odd\"")));
}
