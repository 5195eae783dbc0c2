//! `koji_parent` and `add_filesystem` against a hub that answers as it likes.

use super::fake_hub::{Answer, FakeHub};
use crate::build_json::{PluginEntry, PluginLists};
use crate::plugin::{Done, PluginError};
use crate::testing::{TestRun, run_with};
use crate::{ParentInspect, PluginArgs, plugins};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use osbs_config::ReactorConfig;
use osbs_image::media_type::OCI_INDEX;
use osbs_types::{Digest, Phase};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

async fn run_at(hub: &FakeHub, dockerfile: &str, files: &[(&str, &str)], more: &str) -> TestRun {
    let mut test = run_with(dockerfile, files, PluginLists::default()).await;
    let config = format!("{}{more}", hub.config());
    test.run.config = Arc::new(ReactorConfig::parse(&config, "config.yaml").unwrap().value);
    test
}

async fn plugin(test: &mut TestRun, name: &str, args: Value) -> Result<Value, PluginError> {
    let kind = plugins::all().find(name, Phase::Prebuild).unwrap().clone();
    let Value::Object(args) = args else { panic!("arguments are an object") };
    match (kind.make)(PluginArgs(args))?.run(&mut test.run).await? {
        Done::Value(value) => Ok(value),
        other => panic!("{other:?}"),
    }
}

/// A parent with these labels whose index has digest 1; `builds` are what the hub answers, one look after the other.
async fn check_parent(labels: bool, builds: &'static [(i64, u8)], more: &str, expected: Result<bool, &str>) {
    let looks = AtomicUsize::new(0);
    let hub = FakeHub::start(move |method, _| match method {
        "getBuild" => {
            let look = looks.fetch_add(1, Ordering::SeqCst);
            let Some((state, byte)) = builds.get(look.min(builds.len().saturating_sub(1))) else {
                return Answer::Is(Value::Null);
            };
            let digests = json!({ OCI_INDEX: Digest::from_sha256(&[*byte; 32]) });
            Answer::Is(json!({"id": 7, "name": "f", "version": "40", "release": "2", "nvr": "f-40-2", "state": state,
                              "extra": {"image": {"index": {"digests": digests}}}}))
        }
        "listArchives" => Answer::Is(json!([])),
        other => panic!("{other} is not expected"),
    });
    let mut test = run_at(&hub, "FROM r.io/fedora:40\n", &[], more).await;
    let told = [("com.redhat.component", "f"), ("version", "40"), ("release", "2")];
    let labels = told.into_iter().filter(|_| labels).map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    test.run.parents.base_inspect = Some(ParentInspect { labels, ..ParentInspect::default() });
    let captured = [(OCI_INDEX.to_owned(), Digest::from_sha256(&[1; 32]))].into();
    test.run.parents.digests.insert("r.io/fedora:40".to_owned(), captured);
    match (plugin(&mut test, "koji_parent", json!({"poll_interval": 0.01, "poll_timeout": 0.2})).await, expected) {
        (Ok(found), Ok(true)) => {
            let build = json!({"id": 7, "nvr": "f-40-2"});
            let expected =
                json!({"parent-image-koji-build": build, "parent-images-koji-builds": {"r.io/fedora:40": build}});
            assert_eq!(found, expected);
        }
        (Ok(found), Ok(false)) => assert_eq!(found, json!({"parent-images-koji-builds": {"r.io/fedora:40": null}})),
        (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
        (found, _) => panic!("{found:?}, expected {expected:?}"),
    }
}

#[tokio::test]
async fn parents() {
    check_parent(true, &[(1, 1)], "", Ok(true)).await;
    // Being imported.
    check_parent(true, &[(0, 1), (0, 1), (1, 1)], "", Ok(true)).await;
    check_parent(true, &[(0, 1)], "", Err("is not finished after")).await;
    check_parent(true, &[], "", Err("is not there after")).await;
    check_parent(true, &[(3, 1)], "", Err("f-40-2 of parent r.io/fedora:40 is FAILED")).await;
    let shallow = "deep_manifest_list_inspection: false\n";
    check_parent(true, &[(1, 2)], shallow, Err("not those of their Koji builds")).await;
    let lenient = "deep_manifest_list_inspection: false\nfail_on_digest_mismatch: false\n";
    check_parent(true, &[(1, 2)], lenient, Ok(true)).await;
    check_parent(false, &[], "", Err("was it built in OSBS?")).await;
    check_parent(false, &[], "skip_koji_check_for_base_image: true\n", Ok(false)).await;
}

const CUSTOM: &str = "FROM koji/image-build\nLABEL com.redhat.component=base version=8 name=base\n";
const CONF: &str = "[image-build]\ninstall_tree = http://tree\ntarget = f40\n";

/// A tar with one file.
fn tar() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("marker"), "it\n").unwrap();
    let made = std::process::Command::new("tar").args(["-cf", "-", "marker"]).current_dir(folder.path()).output();
    made.unwrap().stdout
}

/// A hub whose tasks end in the last of these states.
fn image_hub(states: &'static [i64]) -> FakeHub {
    let (looks, archive) = (AtomicUsize::new(0), tar());
    FakeHub::start(move |method, arguments| match method {
        "system.listMethods" => Answer::Is(json!(["buildImageOz"])),
        "buildImageOz" => Answer::Is(json!(9)),
        "getTaskInfo" => {
            let look = looks.fetch_add(1, Ordering::SeqCst).min(states.len() - 1);
            Answer::Is(json!({"id": 9, "method": "image", "state": states[look], "arch": "noarch"}))
        }
        "getTaskResult" => Answer::Is(json!({"faultCode": 1, "faultString": "no packages"})),
        "cancelTask" => Answer::Is(Value::Null),
        "listTaskOutput" if arguments[0] == 9 => Answer::Is(json!({"base.log": ["DEFAULT"]})),
        "listTaskOutput" => Answer::Is(json!({"base-8.s390x.tar": ["DEFAULT"], "base-8.x86_64.tar": ["DEFAULT"]})),
        "getTaskChildren" if arguments[0] == 9 => {
            Answer::Is(json!([{"id": 10, "method": "createImage", "state": 2, "arch": "x86_64"}]))
        }
        "getTaskChildren" => Answer::Is(json!([])),
        "downloadTaskOutput" => {
            assert_eq!(arguments[1], "base-8.x86_64.tar");
            let offset = arguments.last().unwrap()["offset"].as_i64().unwrap_or_default() as usize;
            Answer::Is(json!(STANDARD.encode(&archive[offset.min(archive.len())..])))
        }
        other => panic!("{other} is not expected"),
    })
}

fn orchestrates(test: &mut TestRun) {
    test.run.request.plugins.buildstep_plugins.push(PluginEntry::new("orchestrate_build"));
    test.run.platforms = Some(["x86_64", "s390x"].map(|name| name.parse().unwrap()).into());
}

#[tokio::test]
async fn an_orchestrator_starts_one_task_for_all_platforms() {
    for (states, expected) in [(&[0, 1, 2][..], Ok(9)), (&[1, 5], Err("no packages")), (&[3], Err("cancelled"))] {
        let hub = image_hub(states);
        let mut test = run_at(&hub, CUSTOM, &[("image-build.conf", CONF)], "").await;
        orchestrates(&mut test);
        match (plugin(&mut test, "add_filesystem", json!({"poll_interval": 0.01})).await, expected) {
            (Ok(found), Ok(task)) => {
                assert_eq!(found, json!({"base-image-id": null, "filesystem-koji-task-id": task}));
            }
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (found, _) => panic!("{found:?}, expected {expected:?}"),
        }
        let asked = hub.calls("buildImageOz");
        assert_eq!(
            asked[0][..5],
            [json!("base"), json!("8"), json!(["s390x", "x86_64"]), json!("f40"), json!("http://tree")]
        );
        assert!(hub.calls("cancelTask").is_empty());
    }
}

#[tokio::test]
async fn a_task_is_cancelled_with_the_build() {
    let hub = image_hub(&[1]);
    let mut test = run_at(&hub, CUSTOM, &[("image-build.conf", CONF)], "").await;
    orchestrates(&mut test);
    let cancel = test.cancel.clone();
    let stop = async {
        while hub.calls("getTaskInfo").is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        cancel.cancel();
    };
    let (ended, ()) = tokio::join!(plugin(&mut test, "add_filesystem", json!({"poll_interval": 0.01})), stop);
    assert_eq!(ended, Err(PluginError::Cancelled));
    assert_eq!(hub.calls("cancelTask"), [vec![json!(9)]]);
}

#[tokio::test]
async fn a_worker_takes_its_platforms_output_of_a_task() {
    let hub = image_hub(&[2]);
    let mut test = run_at(&hub, CUSTOM, &[("image-build.conf", CONF)], "").await;
    let args = json!({"from_task_id": 9, "architecture": "x86_64", "poll_interval": 0.01});
    let found = plugin(&mut test, "add_filesystem", args).await.unwrap();
    assert_eq!(found["filesystem-koji-task-id"], 9);
    assert_eq!(test.run.parents.base_image.as_deref(), found["base-image-id"].as_str());
    assert!(hub.calls("buildImageOz").is_empty() && hub.calls("cancelTask").is_empty(), "it is another one's task");
    let layers = test.run.services.store.list_refs().unwrap();
    assert_eq!(layers.len(), 1, "{layers:?}");
}
