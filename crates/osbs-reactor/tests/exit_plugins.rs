//! The real exit plugins in every way a build can end: each runs once, in order, whatever came before, and what one fails
//! of keeps no other from running.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a panic is how a test fails")]

use osbs_cluster::Cluster;
use osbs_config::ReactorConfig;
use osbs_reactor::build_json::{PluginEntry, PluginLists};
use osbs_reactor::testing::{Endless, Scripted, TestRun, entries, run_with, run_without_source};
use osbs_reactor::{BuildResult, Done, Plugin, PluginError, PluginType, PluginTypes, Reactor, plugins};
use osbs_types::{Digest, ErrorKind, EventKind, Failure, Outcome, Phase};
use serde_json::Value;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Those of arrangement 6, without what needs Koji or Pulp: orchestrator and worker.
const ORCHESTRATOR: [&str; 5] =
    ["verify_media", "store_metadata_in_osv3", "sendmail", "remove_built_image", "remove_worker_metadata"];
const WORKER: [&str; 2] = ["store_metadata_in_osv3", "remove_built_image"];

/// How the build goes on until its exit plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Success,
    /// The plugin of this phase fails.
    Fails(Phase),
    /// It is cancelled while the plugin of this phase runs.
    Cancelled(Phase),
    /// Before anything has begun.
    CancelledAtOnce,
    /// The builder makes no image.
    NoImage,
    /// A list names what nobody knows.
    Unknown(Phase),
    NoSource,
}

const MAIN: [Phase; 4] = [Phase::Prebuild, Phase::Buildstep, Phase::Prepublish, Phase::Postbuild];

fn all_ends() -> Vec<End> {
    let mut ends = vec![End::Success, End::CancelledAtOnce, End::NoImage, End::NoSource];
    for phase in MAIN {
        ends.extend([End::Fails(phase), End::Cancelled(phase)]);
        // Builders that nobody knows are passed over.
        ends.extend((phase != Phase::Buildstep).then_some(End::Unknown(phase)));
    }
    ends.push(End::Unknown(Phase::Exit));
    ends
}

/// One plugin a phase, that does what the end wants of it.
fn step(
    name: &'static str,
    phase: Phase,
    phases: &'static [Phase],
    end: End,
    cancel: &CancellationToken,
) -> PluginType {
    let cancel = cancel.clone();
    PluginType::new(name, phases, move |_| {
        let plugin: Box<dyn Plugin> = match end {
            End::Fails(at) if at == phase => Box::new(Scripted(|_: &mut _| Err(PluginError::remote("gone wrong")))),
            End::Cancelled(at) if at == phase => {
                let cancel = cancel.clone();
                drop(tokio::spawn(async move { cancel.cancel() }));
                Box::new(Endless)
            }
            End::NoImage if phase == Phase::Buildstep => {
                let failure = Failure::message(ErrorKind::User, "RUN make: exit code 2");
                Box::new(Scripted(move |_: &mut _| Ok(Done::Built(BuildResult::failed(failure.clone())))))
            }
            _ if phase == Phase::Buildstep => {
                Box::new(Scripted(|_: &mut _| Ok(Done::Built(BuildResult::local(Digest::from_sha256(&[7; 32]))))))
            }
            _ => Box::new(Scripted(|_: &mut _| Ok(Done::nothing()))),
        };
        Ok(plugin)
    })
}

async fn prepare(end: End, exit: &[&str]) -> (TestRun, PluginTypes) {
    let mut lists = PluginLists {
        prebuild_plugins: entries(&["before"]),
        buildstep_plugins: entries(&["builder"]),
        prepublish_plugins: entries(&["between"]),
        postbuild_plugins: entries(&["after"]),
        exit_plugins: entries(exit),
    };
    if let End::Unknown(phase) = end {
        let unknown = PluginEntry::new("no_such_plugin");
        match phase {
            Phase::Prebuild => lists.prebuild_plugins.push(unknown),
            Phase::Prepublish => lists.prepublish_plugins.push(unknown),
            Phase::Postbuild => lists.postbuild_plugins.push(unknown),
            Phase::Exit => lists.exit_plugins.insert(1, unknown),
            Phase::Buildstep => unreachable!("passed over"),
        }
    }
    let mut test = if end == End::NoSource {
        run_without_source(lists).await
    } else {
        run_with("FROM scratch\nLABEL name=ns/web\n", &[], lists).await
    };
    let cancel = test.cancel.clone();
    if end == End::CancelledAtOnce {
        cancel.cancel();
    }
    // A mail server that takes nothing: sendmail is tolerated to fail.
    let config = "version: 1\nsmtp: {host: '127.0.0.1:1', from_address: o@example.org, additional_addresses: [al@example.org]}\n";
    test.run.config = Arc::new(ReactorConfig::parse(config, "config.yaml").unwrap().value);
    let mut types: Vec<PluginType> = plugins::all().iter().cloned().collect();
    types.extend([
        step("before", Phase::Prebuild, &[Phase::Prebuild], end, &cancel),
        step("builder", Phase::Buildstep, &[Phase::Buildstep], end, &cancel),
        step("between", Phase::Prepublish, &[Phase::Prepublish], end, &cancel),
        step("after", Phase::Postbuild, &[Phase::Postbuild], end, &cancel),
    ]);
    (test, PluginTypes::new(types))
}

/// Exit plugins that ended, with their outcome, in order.
fn exits(test: &TestRun) -> Vec<(String, Outcome)> {
    let events = test.sink.events().into_iter();
    events
        .filter_map(|event| match event.kind {
            EventKind::PluginEnd { phase: Phase::Exit, plugin, outcome, .. } => Some((plugin, outcome)),
            _ => None,
        })
        .collect()
}

/// Kind of the build's failure.
fn kind(end: End) -> Option<ErrorKind> {
    match end {
        End::Success => None,
        End::Fails(_) => Some(ErrorKind::Remote),
        End::Cancelled(_) | End::CancelledAtOnce => Some(ErrorKind::Cancelled),
        End::NoImage | End::NoSource => Some(ErrorKind::User),
        End::Unknown(_) => Some(ErrorKind::Policy),
    }
}

async fn check_end(end: End, list: &[&str]) {
    let what = format!("{end:?} {list:?}");
    let (mut test, types) = prepare(end, list).await;
    let outcome = Reactor::new(types).run(&mut test.run).await.outcome;
    let failed = end != End::Success;
    let expected: Vec<_> = list
        .iter()
        .map(|name| {
            let outcome = match *name {
                // There is no unique name in this build: the check that only a good build gets fails.
                "verify_media" if !failed => Outcome::Failed,
                "sendmail" => Outcome::Tolerated,
                _ => Outcome::Ok,
            };
            ((*name).to_owned(), outcome)
        })
        .collect();
    let ran: Vec<_> = exits(&test).into_iter().filter(|(name, _)| name != "push_floating_tags").collect();
    assert_eq!(ran, expected, "{what}");
    let wanted = if list.contains(&"verify_media") { kind(end).or(Some(ErrorKind::Internal)) } else { kind(end) };
    assert_eq!(outcome.as_ref().err().map(|failure| failure.kind), wanted, "{what}: {outcome:?}");
    // The record of what happened is there, whatever it was.
    let build = test.cluster.get_build(&test.run.build.name).await.unwrap();
    let metadata: Value = serde_json::from_str(&build.annotations["plugins-metadata"]).unwrap();
    let phase_plugin = |phase| match phase {
        Phase::Prebuild => "before",
        Phase::Buildstep => "builder",
        Phase::Prepublish => "between",
        _ => "after",
    };
    match end {
        End::Fails(phase) | End::Cancelled(phase) => {
            let name = phase_plugin(phase);
            let text = metadata["errors"][name].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{what}: {metadata}");
            assert!(metadata["durations"][name].is_number(), "{what}: M7");
            assert!(metadata["timestamps"][name].as_str().unwrap().ends_with('Z'), "{what}: M8");
        }
        End::NoImage => assert_eq!(metadata["errors"]["builder"], "RUN make: exit code 2", "{what}"),
        End::Unknown(_) => assert!(metadata["errors"]["no_such_plugin"].is_string(), "{what}"),
        End::Success | End::CancelledAtOnce | End::NoSource => {}
    }
    assert_eq!(build.annotations["image-id"].is_empty(), !image_was_made(end), "{what}");
    assert!(test.run.images_to_remove.is_empty(), "{what}");
}

fn image_was_made(end: End) -> bool {
    matches!(
        end,
        End::Success
            | End::Fails(Phase::Prepublish | Phase::Postbuild)
            | End::Cancelled(Phase::Prepublish | Phase::Postbuild)
    )
}

#[tokio::test]
async fn of_a_worker() {
    for end in all_ends() {
        check_end(end, &WORKER).await;
    }
}

#[tokio::test]
async fn of_an_orchestrator() {
    for end in all_ends() {
        check_end(end, &ORCHESTRATOR).await;
    }
}

/// Each exit plugin in turn is one that fails.
#[tokio::test]
async fn a_failing_one_keeps_no_other_from_running() {
    for (index, failing) in ORCHESTRATOR.iter().enumerate() {
        let (mut test, types) = prepare(End::NoImage, &ORCHESTRATOR).await;
        let mut all: Vec<PluginType> = vec![PluginType::new(failing, &[Phase::Exit], |_| {
            Ok(Box::new(Scripted(|_: &mut _| Err(PluginError::internal("gone wrong too")))))
        })];
        all.extend(types.iter().cloned());
        let failure = Reactor::new(PluginTypes::new(all)).run(&mut test.run).await.outcome.unwrap_err();
        assert_eq!(failure.message, "RUN make: exit code 2", "the first failure is the build's");
        let ran = exits(&test);
        let names: Vec<_> =
            ran.iter().map(|(name, _)| name.as_str()).filter(|name| *name != "push_floating_tags").collect();
        assert_eq!(names, ORCHESTRATOR, "{failing}");
        assert_eq!(ran[index].1, Outcome::Failed, "{failing}");
        assert_eq!(test.run.records.errors[*failing], "gone wrong too");
    }
}
