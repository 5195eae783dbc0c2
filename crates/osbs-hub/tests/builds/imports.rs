//! Content-generator imports: what is found afterwards, and what is refused (client-and-koji 6).

use crate::fixture::*;
use crate::harness::{Client, TestHub};
use osbs_koji::{Arguments, Value};
use serde_json::{Value as Json, json};

const DIRECTORY: &str = "koji-upload/1505902534.25.AbCdEfGh";

fn reserve(reactor: &Client<'_>, release: &str) -> (i64, Value) {
    let data = Value::members([("name", PACKAGE.into()), ("version", "2.4".into()), ("release", release.into())]);
    let reserved = reactor.ok("CGInitBuild", ["atomic-reactor".into(), data]);
    (reserved.int_of("build_id").unwrap(), reserved.get("token").clone())
}

#[test]
fn what_was_imported_is_found() {
    let hub = hub(false);
    let reactor = hub.login("reactor");
    let (id, token) = reserve(&reactor, "1");
    upload_all(&reactor, DIRECTORY);
    let mut sent = metadata("1");
    sent["build"]["build_id"] = json!(id);
    let build = reactor.ok("CGImport", [Value::from_json(&sent), DIRECTORY.into(), token]);
    assert_eq!(build.get("state"), &Value::Int(1));
    assert_eq!(build.get("owner_name"), &"mwells".into());
    assert_eq!(build.get("extra").get("typeinfo").get("image"), build.get("extra").get("image"));
    check_files(&hub);
    check_records(&hub, id);
    // Again by the lost answer's caller: the token is gone, the build is there.
    let metadata = Value::from_json(&sent);
    assert_eq!(reactor.fault("CGImport", [metadata, DIRECTORY.into(), "f".into()]), 1000);
}

fn check_files(hub: &TestHub) {
    let folder = format!("packages/{PACKAGE}/2.4/1");
    let image = get(hub, &format!("{folder}/images/{IMAGE}"), &[]);
    assert_eq!((image.status, &*image.body), (200, IMAGE_BYTES));
    let piece = get(hub, &format!("{folder}/images/{IMAGE}"), &[("Range", "bytes=4-8")]);
    assert_eq!((piece.status, &*piece.body), (206, &IMAGE_BYTES[4..9]));
    assert_eq!(get(hub, &format!("{folder}/data/logs/{LOG}"), &[]).body, LOG_BYTES);
    let kept: Json = serde_json::from_slice(&get(hub, &format!("{folder}/metadata.json"), &[]).body).unwrap();
    assert_eq!(kept["output"], metadata("1")["output"]);
    // The upload is a link to its new place, and leads there.
    let upload = hub.folder.path().join("koji/work").join(DIRECTORY).join(LOG);
    assert!(upload.is_symlink());
    assert_eq!(get(hub, &format!("work/{DIRECTORY}/{LOG}"), &[]).body, LOG_BYTES);
    assert_eq!(get(hub, "hub.db", &[]).status, 404);
    assert_eq!(get(hub, "packages/../hub.db", &[]).status, 404);
}

fn check_records(hub: &TestHub, id: i64) {
    let one = |method: &str, arguments: Arguments| hub.call(method, arguments).unwrap();
    let logs = one("getBuildLogs", Arguments::of([id.into()]));
    let names: Vec<_> = logs.as_array().unwrap().iter().map(|log| log.str_of("name").unwrap()).collect();
    assert_eq!(names, ["cg_import.log", LOG]);
    let archives = one("listArchives", Arguments::none().named("buildID", id).named("type", "image"));
    let archive = &archives.as_array().unwrap()[0];
    assert_eq!(archive.get("checksum"), &md5_of(IMAGE_BYTES).into());
    assert_eq!(archive.get("arch"), &"x86_64".into());
    let buildroot = one("getBuildroot", Arguments::of([archive.get("buildroot_id").clone()]));
    assert_eq!(buildroot.get("extra").get("osbs").get("build_id"), &"caddy-1".into());
    assert_eq!(
        one("getBuildType", Arguments::of([id.into()])),
        Value::members([("image", Value::members([("build_id", id.into())]))])
    );
    let release =
        one("getNextRelease", Arguments::of([Value::members([("name", PACKAGE.into()), ("version", "2.4".into())])]));
    assert_eq!(release, "2".into());
}

#[test]
fn uploads_of_an_import_are_not_written_again() {
    let hub = hub(false);
    let reactor = hub.login("reactor");
    import(&reactor, "1");
    let directory = "koji-upload/1.AbCdEfGh";
    let query = format!("filename={LOG}&filepath={directory}&offset=0&overwrite=1");
    assert_eq!(raw_upload(&reactor, &query, b"other").unwrap_err().code, 1000);
    let again = Value::from_json(&metadata("2"));
    assert_eq!(reactor.fault("CGImport", [again, directory.into()]), 1000);
    assert_eq!(hub.call("getBuild", Arguments::of([format!("{PACKAGE}-2.4-2").into()])).unwrap(), Value::Nil);
}

#[test]
fn metadata_may_be_a_file_or_text() {
    let hub = hub(false);
    let reactor = hub.login("reactor");
    let ways = [("1", None), ("2", Some("metadata.json")), ("3", Some("x.json")), ("4", Some("")), ("5", Some("{"))];
    for (release, way) in ways {
        let directory = format!("koji-upload/{release}");
        upload_all(&reactor, &directory);
        let text = metadata(release).to_string();
        let name = way.filter(|name| name.contains(".json")).unwrap_or("metadata.json");
        raw_upload(&reactor, &format!("filename={name}&filepath={directory}&offset=0"), text.as_bytes()).unwrap();
        let sent = match way {
            None => Value::Nil,
            Some("") => text.into(),
            Some(other) => other.into(),
        };
        match reactor.call("CGImport", Arguments::of([sent, directory.into()])) {
            Ok(build) => assert_eq!(build.get("release"), &release.into()),
            Err(fault) => assert_eq!((way, fault.code), (Some("{"), 1000), "{fault}"),
        }
    }
}

/// One mistake: the fault's code, and nothing has changed.
fn check_mistake(reactor: &Client<'_>, id: i64, token: &Value, change: impl FnOnce(&mut Json), code: i64) {
    let mut sent = metadata("1");
    sent["build"]["build_id"] = json!(id);
    change(&mut sent);
    let found = reactor.fault("CGImport", [Value::from_json(&sent), DIRECTORY.into(), token.clone()]);
    assert_eq!(found, code, "{sent}");
    let hub = reactor.hub;
    let build = hub.call("getBuild", Arguments::of([id.into()])).unwrap();
    assert_eq!(build.get("state"), &Value::Int(0), "{sent}");
    assert!(!hub.folder.path().join("koji/packages").join(PACKAGE).join("2.4/1").exists());
    assert!(!hub.folder.path().join("koji/work").join(DIRECTORY).join(IMAGE).is_symlink());
}

#[test]
fn mistakes_are_refused_and_leave_everything_as_it_was() {
    let hub = hub(false);
    let reactor = hub.login("reactor");
    let (id, token) = reserve(&reactor, "1");
    upload_all(&reactor, DIRECTORY);
    let check = |change: fn(&mut Json), code| check_mistake(&reactor, id, &token, change, code);
    check(|sent| sent["output"][1]["checksum"] = json!("0"), 1000);
    check(|sent| sent["output"][1]["filesize"] = json!(1), 1000);
    check(|sent| sent["output"][1]["filesize"] = json!(IMAGE_BYTES.len().to_string()), 1000);
    check(|sent| sent["output"][1]["checksum_type"] = json!("sha1"), 1000);
    check(|sent| sent["output"][1]["filename"] = json!("missing.tar"), 1);
    check(|sent| sent["output"][1]["relpath"] = json!("elsewhere"), 1);
    check(|sent| sent["output"][1]["buildroot_id"] = json!("other"), 1000);
    check(|sent| sent["build"]["release"] = json!("2"), 1000);
    check(|sent| sent["build"]["owner"] = json!("nobody"), 1000);
    check(|sent| sent["build"]["draft"] = json!(true), 1000);
    check(|sent| sent["build"]["task_id"] = json!(4711), 1);
    check(|sent| sent["build"]["extra"]["typeinfo"] = json!({"unknown-type": {}}), 1000);
    check(|sent| sent["buildroots"][0]["content_generator"]["name"] = json!("unknown"), 1000);
    check(|sent| drop(sent["build"].as_object_mut().unwrap().remove("source")), 1);
    check(|sent| drop(sent["build"].as_object_mut().unwrap().remove("build_id")), 1000);
    // A twice named RPM package breaks a unique key, as on the real hub.
    hub.database()
        .execute(
            "INSERT INTO rpminfo (name, version, release, arch, payloadhash, size, buildtime)
             VALUES ('not-in-koji', '2', '1', 'x86_64', 'b', 1, 1)",
            [],
        )
        .unwrap();
    check(
        |sent| {
            let component = sent["output"][1]["components"][0].clone();
            sent["output"][1]["components"].as_array_mut().unwrap().push(component);
        },
        1,
    );
    check_mistake(&reactor, id, &"0".repeat(64).into(), |_| (), 1000);
    // What is right goes on being right.
    let mut sent = metadata("1");
    sent["build"]["build_id"] = json!(id);
    let mwells = hub.login("mwells");
    assert_eq!(mwells.fault("CGImport", [Value::from_json(&sent), DIRECTORY.into(), token.clone()]), 1002);
    reactor.ok("CGImport", [Value::from_json(&sent), DIRECTORY.into(), token]);
    let rpms = hub.call("listRPMs", Arguments::none().named("imageID", 1)).unwrap();
    assert_eq!(rpms.as_array().unwrap().len(), 1);
}

#[test]
fn reservations_come_and_go() {
    let hub = hub(false);
    let reactor = hub.login("reactor");
    let (id, token) = reserve(&reactor, "1");
    let data = Value::members([("name", PACKAGE.into()), ("version", "2.4".into()), ("release", "1".into())]);
    assert_eq!(reactor.fault("CGInitBuild", ["atomic-reactor".into(), data.clone()]), 1000);
    let refund = |token: Value, state: i64| {
        reactor.call("CGRefundBuild", Arguments::of(["atomic-reactor".into(), id.into(), token, state.into()]))
    };
    assert_eq!(refund("wrong".into(), 4).unwrap_err().code, 1000);
    assert_eq!(refund(token.clone(), 1).unwrap_err().code, 1000);
    refund(token.clone(), 4).unwrap();
    assert_eq!(refund(token, 4).unwrap_err().code, 1000, "it is no longer reserved");
    assert_eq!(reserve(&reactor, "1").0, id, "a refunded one is reserved anew, with its id");
    assert_eq!(reactor.ok("cancelBuild", [id.into()]), true.into());
    assert_eq!(reactor.ok("cancelBuild", [id.into()]), false.into());
    let no_release = Value::members([("name", PACKAGE.into()), ("version", "2.4".into())]);
    assert_eq!(reactor.fault("CGInitBuild", ["atomic-reactor".into(), no_release]), 1);
}

#[test]
fn builds_are_tagged_without_a_builder() {
    let hub = hub(false);
    let reactor = hub.login("reactor");
    let (one, two) = (import(&reactor, "1"), import(&reactor, "2"));
    let task = reactor.ok("tagBuild", [TAG.into(), one.into()]);
    assert_eq!(hub.call("taskFinished", Arguments::of([task.clone()])).unwrap(), true.into());
    assert_eq!(hub.call("getTaskResult", Arguments::of([task])).unwrap(), Value::Nil);
    reactor.ok("tagBuild", [TAG.into(), two.into()]);
    // Already there: the task fails, as a builder's would.
    let again = reactor.ok("tagBuild", [TAG.into(), two.into()]);
    assert_eq!(hub.call("getTaskResult", Arguments::of([again])).unwrap_err().code, 1003);
    assert_eq!(reactor.fault("tagBuild", ["f43-container-build".into(), one.into()]), 1003);
    let latest = |tag: &str| {
        let builds = hub.call("getLatestBuilds", Arguments::of([tag.into()])).unwrap();
        builds.as_array().unwrap().iter().map(|build| build.int_of("build_id").unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(latest(TAG), [two]);
    reactor.ok("untagBuild", [TAG.into(), two.into()]);
    assert_eq!(latest(TAG), [one]);
    assert_eq!(reactor.fault("untagBuild", [TAG.into(), two.into()]), 1003);
    // A tag below inherits builds and packages; a locked one is closed.
    let admin = hub.login("kojiadmin");
    admin.call("createTag", Arguments::of(["child".into()]).named("parent", TAG)).unwrap();
    assert_eq!(latest("child"), [one]);
    admin.call("editTag2", Arguments::of([TAG.into()]).named("locked", true)).unwrap();
    assert_eq!(reactor.fault("tagBuild", [TAG.into(), two.into()]), 1004);
    assert_eq!(reactor.fault("tagBuildBypass", [TAG.into(), two.into()]), 1004);
    admin.call("tagBuildBypass", Arguments::of([TAG.into(), two.into()]).named("force", true)).unwrap();
    assert_eq!(latest(TAG), [two]);
}

#[test]
fn of_two_imports_at_once_one_succeeds() {
    let hub = hub(false);
    let sessions = [hub.login("reactor"), hub.login("reactor")].map(|client| (client.id, client.key));
    upload_all(&hub.login("reactor"), "koji-upload/same");
    let outcomes = std::thread::scope(|scope| {
        let threads = sessions.map(|(id, key)| {
            let hub = &hub;
            scope.spawn(move || {
                let client = Client { hub, id, key, number: std::cell::Cell::new(0) };
                let sent = Value::from_json(&metadata("1"));
                client.call("CGImport", Arguments::of([sent, "koji-upload/same".into()])).map_err(|fault| fault.code)
            })
        });
        threads.map(|thread| thread.join().unwrap())
    });
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    let builds = hub.call("listBuilds", Arguments::none().named("prefix", PACKAGE)).unwrap();
    assert_eq!(builds.as_array().unwrap().len(), 1);
    check_files_of(&hub, "koji-upload/same");
}

fn check_files_of(hub: &TestHub, directory: &str) {
    assert_eq!(get(hub, &format!("packages/{PACKAGE}/2.4/1/images/{IMAGE}"), &[]).body, IMAGE_BYTES);
    assert_eq!(get(hub, &format!("work/{directory}/{LOG}"), &[]).body, LOG_BYTES);
}
