//! Tasks from their making to their end, and what the scheduler does with them (client-and-koji 5.5 to 5.7).

use crate::fixture::*;
use crate::harness::{Client, TestHub};
use osbs_koji::xmlrpc::{encode_fault, encode_response};
use osbs_koji::{Arguments, Fault, Value};

fn submit(user: &Client<'_>) -> i64 {
    let task = user.ok("buildContainer", ["git://example.com/x#1".into(), TAG.into(), Value::members([])]);
    task.as_int().unwrap()
}

fn check_in(builder: &Client<'_>) {
    let data = Value::members([("methods", Value::Array(vec!["buildContainer".into(), "tagBuild".into()]))]);
    builder.call("host.updateHost", Arguments::of([0.0.into(), true.into()]).named("data", data)).unwrap();
}

fn state(hub: &TestHub, task: i64) -> i64 {
    hub.call("getTaskInfo", Arguments::of([task.into()])).unwrap().int_of("state").unwrap()
}

fn close(builder: &Client<'_>, task: i64, value: Value) {
    builder.ok("host.closeTask", [task.into(), encode_response(&value).into()]);
}

#[test]
fn a_task_is_given_to_a_host_and_ends() {
    let hub = hub(true);
    let (mwells, builder) = (hub.login("mwells"), builder(&hub));
    let tasks = [submit(&mwells), submit(&mwells), submit(&mwells)];
    assert_eq!(tasks.map(|task| state(&hub, task)), [0, 0, 0]);
    check_in(&builder);
    let given = builder.ok("host.getTasks", []);
    assert_eq!(given.as_array().unwrap().len(), 2, "as much as there is room for");
    assert_eq!(builder.ok("host.openTask", [tasks[0].into()]).get("method"), &"buildContainer".into());
    assert_eq!(builder.ok("host.openTask", [tasks[0].into()]), Value::Nil, "it is open already");
    builder.ok("host.setTaskWeight", [tasks[0].into(), 2.0.into()]);
    assert_eq!(hub.call("getTaskResult", Arguments::of([tasks[0].into()])).unwrap_err().code, 1000);
    close(&builder, tasks[0], "done".into());
    assert_eq!(hub.call("getTaskResult", Arguments::of([tasks[0].into()])).unwrap(), "done".into());
    builder.ok("host.openTask", [tasks[1].into()]);
    let fault = Fault { code: 2001, text: "it failed".to_owned() };
    builder.ok("host.failTask", [tasks[1].into(), encode_fault(&fault).into()]);
    assert_eq!(hub.call("getTaskResult", Arguments::of([tasks[1].into()])).unwrap_err(), fault);
    assert_eq!(builder.fault("host.closeTask", [tasks[1].into(), "x".into()]), 1004);
    let again = mwells.ok("resubmitTask", [tasks[1].into()]).as_int().unwrap();
    let request = hub.call("getTaskRequest", Arguments::of([again.into()])).unwrap();
    assert_eq!(request, hub.call("getTaskRequest", Arguments::of([tasks[0].into()])).unwrap());
    assert_eq!(mwells.fault("resubmitTask", [tasks[0].into()]), 1000);
    check_lists(&hub, &mwells, tasks, again);
}

fn check_lists(hub: &TestHub, mwells: &Client<'_>, tasks: [i64; 3], again: i64) {
    let me = mwells.ok("getLoggedInUser", []).int_of("id").unwrap();
    let list = |opts: Value, query: Value| {
        let tasks = hub.call("listTasks", Arguments::of([opts, query])).unwrap();
        tasks.as_array().unwrap().iter().map(|task| task.int_of("id").unwrap()).collect::<Vec<_>>()
    };
    let states = |states: &[i64]| Value::Array(states.iter().map(|state| Value::Int(*state)).collect());
    let unfinished = Value::members([("state", states(&[0, 1, 4])), ("owner", me.into()), ("decode", true.into())]);
    let by_priority = Value::members([("order", "priority,create_time".into())]);
    assert_eq!(list(unfinished, by_priority), [tasks[2], again]);
    assert_eq!(list(Value::members([("not_state", states(&[0, 4]))]), Value::Nil), [tasks[0], tasks[1]]);
    let newest = Value::members([("order", "-id".into()), ("limit", 1.into())]);
    assert_eq!(list(Value::members([("method", "buildContainer".into())]), newest), [again]);
    assert!(list(Value::members([("createdAfter", "2100-01-01 00:00:00".into())]), Value::Nil).is_empty());
    let failed = Value::members([("state", states(&[5])), ("decode", true.into())]);
    let failed = hub.call("listTasks", Arguments::of([failed])).unwrap();
    assert_eq!(failed.as_array().unwrap()[0].get("result").get("faultCode"), &Value::Int(2001));
}

#[test]
fn tasks_of_hosts_that_keep_silent_are_taken_back() {
    let hub = hub(true);
    let (mwells, builder) = (hub.login("mwells"), builder(&hub));
    let (opened, assigned) = (submit(&mwells), submit(&mwells));
    check_in(&builder);
    builder.ok("host.openTask", [opened.into()]);
    assert_eq!((state(&hub, opened), state(&hub, assigned)), (1, 4));
    let ready = || hub.call("getHost", Arguments::of(["builder".into()])).unwrap().get("ready").is_true();
    let becomes = |what: &dyn Fn() -> bool| {
        let start = std::time::Instant::now();
        while !what() {
            assert!(start.elapsed() < crate::harness::PATIENCE, "it never came to be");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    };
    assert!(ready());
    hub.wait(181);
    becomes(&|| !ready());
    assert_eq!(state(&hub, assigned), 4);
    hub.wait(120);
    becomes(&|| state(&hub, assigned) == 0);
    assert_eq!(state(&hub, opened), 1);
    hub.wait(600);
    becomes(&|| state(&hub, opened) == 0);
    assert_eq!(builder.fault("host.closeTask", [opened.into(), "x".into()]), 1004);
    check_in(&builder);
    assert_eq!(state(&hub, opened), 4, "it is given out again");
}

#[test]
fn who_may_cancel_a_task_cancels_what_is_below_it_too() {
    let hub = hub(true);
    let (mwells, builder) = (hub.login("mwells"), builder(&hub));
    let task = submit(&mwells);
    builder.ok("host.openTask", [task.into()]);
    let child = |label: &str| {
        let arguments = Arguments::of(["createContainer".into(), Value::Array(vec![1.into()]), task.into()]);
        builder.call("host.subtask", arguments.named("label", label).named("arch", "x86_64")).unwrap()
    };
    let (one, two) = (child("one"), child("two"));
    assert_eq!(child("one"), one, "a label names one child");
    let info = hub.call("getTaskInfo", Arguments::of([one.clone()])).unwrap();
    assert_eq!((info.get("priority"), info.get("arch")), (&Value::Int(19), &"x86_64".into()));
    builder.ok("host.taskSetWait", [task.into(), Value::Array(vec![one.clone(), two.clone()])]);
    builder.ok("host.openTask", [one.clone()]);
    close(&builder, one.as_int().unwrap(), "one".into());
    let open = builder.ok("host.getHostTasks", []);
    assert_eq!(open.as_array().unwrap()[0].get("alert"), &true.into());
    let list = |ids: &[&Value]| Value::Array(ids.iter().map(|id| (*id).clone()).collect());
    assert_eq!(builder.ok("host.taskWait", [task.into()]), Value::Array(vec![list(&[&one]), list(&[&two])]));
    let results = builder.ok("host.taskWaitResults", [task.into(), list(&[&one])]);
    assert_eq!(results, Value::Array(vec![list(&[&one, &"one".into()])]));
    let reactor = hub.login("reactor");
    assert_eq!(reactor.fault("cancelTask", [task.into()]), 1004);
    assert_eq!(mwells.fault("cancelTask", [4711.into()]), 1000);
    mwells.ok("cancelTask", [task.into()]);
    assert_eq!((state(&hub, task), state(&hub, two.as_int().unwrap())), (3, 3));
    assert_eq!(state(&hub, one.as_int().unwrap()), 2, "what has ended stays");
    mwells.ok("cancelTask", [task.into()]);
    let below = hub.call("getTaskDescendents", Arguments::of([task.into()])).unwrap();
    assert_eq!(below.get(&task.to_string()).as_array().unwrap().len(), 2);
}

#[test]
fn a_builder_that_tags_is_given_the_task() {
    let hub = hub(true);
    let (reactor, builder) = (hub.login("reactor"), builder(&hub));
    let build = import(&reactor, "1");
    check_in(&builder);
    let task = reactor.ok("tagBuild", [TAG.into(), build.into()]).as_int().unwrap();
    assert_eq!(state(&hub, task), 0, "there is a builder for it");
    check_in(&builder);
    builder.ok("host.openTask", [task.into()]);
    let tag = hub.call("getTag", Arguments::of([TAG.into()])).unwrap().get("id").clone();
    builder.ok("host.tagBuild", [task.into(), tag.clone(), build.into()]);
    builder.ok("host.tagNotification", [true.into(), tag, Value::Nil, build.into(), 1.into(), false.into()]);
    close(&builder, task, Value::Nil);
    let tagged = hub.call("listTagged", Arguments::of([TAG.into()])).unwrap();
    assert_eq!(tagged.as_array().unwrap()[0].get("build_id"), &build.into());
    // The builder is gone before it takes the next: the hub does it.
    reactor.ok("untagBuild", [TAG.into(), build.into()]);
    let task = reactor.ok("tagBuild", [TAG.into(), build.into()]).as_int().unwrap();
    hub.wait(1000);
    let start = std::time::Instant::now();
    while state(&hub, task) != 2 {
        assert!(start.elapsed() < crate::harness::PATIENCE, "the hub did not do it");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn a_refused_task_goes_to_nobody_who_refused_it() {
    let hub = hub(true);
    let (mwells, builder) = (hub.login("mwells"), builder(&hub));
    let task = submit(&mwells);
    check_in(&builder);
    let refusal = Arguments::of([task.into()]).named("soft", false).named("msg", "no handler");
    builder.call("host.refuseTask", refusal).unwrap();
    check_in(&builder);
    assert_eq!(state(&hub, task), 0);
    let mut plain = hub.login("builder");
    assert_eq!(plain.call("host.getHost", Arguments::none()).unwrap_err().code, 1006, "another session is exclusive");
    builder.ok("logout", []);
    plain = hub.login("builder");
    assert_eq!(plain.fault("host.getHost", []), 1002, "it is not exclusive");
}

/// Root file systems: a task in the channel of those who make them, offered only where there is somebody.
#[test]
fn image_tasks_are_for_image_builders() {
    let hub = hub(true);
    let (admin, mwells) = (hub.login("kojiadmin"), hub.login("mwells"));
    let offered = || {
        let methods = hub.call("system.listMethods", Arguments::none()).unwrap();
        methods.as_array().unwrap().contains(&"buildImageOz".into())
    };
    let arches = || Value::Array(vec!["x86_64".into()]);
    let ask = |client: &Client<'_>| {
        let opts = Value::members([("format", Value::Array(vec!["docker".into()]))]);
        let arguments = ["base".into(), "1".into(), arches(), TAG.into(), "http://tree/$arch".into(), opts];
        client.call("buildImageOz", Arguments::of(arguments)).map_err(|fault| fault.code)
    };
    assert!(!offered());
    assert_eq!(ask(&mwells), Err(1004), "it needs the permission `image`");
    admin.ok("addHost", ["imagebuilder".into(), arches()]);
    admin.ok("addHostToChannel", ["imagebuilder".into(), "image".into()]);
    assert!(offered());
    admin.ok("disableHost", ["imagebuilder".into()]);
    assert!(!offered());
    admin.ok("grantPermission", ["mwells".into(), "image".into()]);
    let id = ask(&mwells).unwrap().as_int().unwrap();
    let task = hub.call("getTaskInfo", Arguments::of([id.into(), true.into()])).unwrap();
    assert_eq!((task.get("method"), task.get("arch")), (&"image".into(), &"noarch".into()));
    assert_eq!(task.get("priority"), &Value::Int(20));
    let request = task.get("request").as_array().unwrap();
    assert_eq!((&request[0], request[2].clone(), request.len()), (&"base".into(), arches(), 6));
    let channel = hub.call("getChannel", Arguments::of(["image".into()])).unwrap();
    assert_eq!(task.get("channel_id"), channel.get("id"));
}
