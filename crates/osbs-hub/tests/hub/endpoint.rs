//! What is no call: verbs, bodies, lengths, and clients that mean harm.

use crate::harness::{PATIENCE, Response, TestHub};
use osbs_koji::xmlrpc::encode_call;
use osbs_koji::{Arguments, Value};
use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

fn check_status(hub: &TestHub, verb: &str, headers: &[(&str, &str)], body: &[u8], status: u16) {
    let response = hub.request(verb, "/kojihub", headers, body);
    let shown = String::from_utf8_lossy(&response.body);
    assert_eq!(response.status, status, "{verb} {headers:?}: {shown}");
    assert!(response.headers.to_lowercase().contains("koji-version: 1.35.3"), "{}", response.headers);
}

#[test]
fn only_calls_are_answered() {
    let hub = TestHub::start();
    let call = encode_call("getAPIVersion", &[]);
    for path in ["/", "/kojihub", "/kojihub/ssllogin", "/anything/below"] {
        assert_eq!(hub.request("POST", path, &[], call.as_bytes()).status, 200, "{path}");
    }
    // The content type is not looked at.
    check_status(&hub, "POST", &[("Content-Type", "application/json")], call.as_bytes(), 200);
    for verb in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"] {
        check_status(&hub, verb, &[], b"", 405);
    }
    assert!(hub.request("GET", "/kojihub", &[], b"").headers.to_lowercase().contains("allow: post"));
    for body in [
        "",
        "no XML",
        "<methodCall>",
        "<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'b'>]><methodCall><methodName>&a;</methodName></methodCall>",
        "<methodCall><methodName>a\u{1}</methodName></methodCall>",
        "<methodResponse></methodResponse>",
        "<methodCall><methodName>echo</methodName><params><param><value><int>x</int></value></param></params></methodCall>",
    ] {
        check_status(&hub, "POST", &[], body.as_bytes(), 400);
    }
    check_status(&hub, "POST", &[], b"\xff\xfe<methodCall/>", 400);
}

#[test]
fn long_requests_are_refused() {
    let hub = TestHub::start_with(|config| config.settings.max_request_length = 10_000);
    let long = encode_call("echo", &["x".repeat(10_500).into()]);
    check_status(&hub, "POST", &[], long.as_bytes(), 413);
    check_status(&hub, "POST", &[("Content-Length", "99999999999999")], b"", 413);
    // Of unknown length.
    let chunked = format!("{:x}\r\n{long}\r\n0\r\n\r\n", long.len());
    let mut stream = TcpStream::connect(hub.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = "POST /kojihub HTTP/1.1\r\nHost: hub\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let _ = stream.write_all(chunked.as_bytes());
    assert_eq!(Response::read(&mut stream).status, 413);
}

#[test]
fn slow_requests_end() {
    let hub = TestHub::start_with(|config| config.settings.read_timeout = Duration::from_millis(200));
    check_status(&hub, "POST", &[("Content-Length", "100")], b"<methodCall>", 408);
}

#[test]
fn deep_values_do_not_exhaust_the_stack() {
    let hub = TestHub::start();
    let deep = |depth: usize| {
        let (open, close) = ("<value><array><data>".repeat(depth), "</data></array></value>".repeat(depth));
        format!("<methodCall><methodName>echo</methodName><params><param>{open}{close}</param></params></methodCall>")
    };
    assert_eq!(hub.request("POST", "/", &[], deep(90).as_bytes()).status, 200);
    check_status(&hub, "POST", &[], deep(50_000).as_bytes(), 400);
}

#[test]
fn text_is_only_text() {
    let hub = TestHub::start();
    let admin = hub.login("kojiadmin");
    for text in ["'; DROP TABLE tag; --", "\" OR 1=1", "%", "*", "\\", "x'00'", "💥", "&lt;"] {
        assert_eq!(hub.call("getTag", Arguments::of([text.into()])).unwrap(), Value::Nil, "{text}");
        let echoed = hub.call("echo", Arguments::of([text.into()])).unwrap();
        assert_eq!(echoed, Value::Array(vec![text.into()]));
        for method in ["listPackages", "listUsers"] {
            let found = hub.call(method, Arguments::none().named("prefix", text)).unwrap();
            assert_eq!(found, Value::Array(Vec::new()), "{method} {text}");
        }
        let order = Value::members([("order", text.into())]);
        assert_eq!(hub.call("listTags", Arguments::none().named("queryOpts", order)).unwrap_err().code, 1000, "{text}");
        let refused = admin.call("createTag", Arguments::of([text.into()])).unwrap_err();
        assert_eq!(refused.code, 1024, "{text}: {refused}");
    }
}

#[test]
fn many_at_once_lose_nothing() {
    let hub = TestHub::start();
    let admin = hub.login("kojiadmin");
    let (id, key) = (admin.id.to_string(), admin.key.clone());
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (hub, id, key) = (&hub, &id, &key);
            scope.spawn(move || {
                for turn in 0..10 {
                    let headers = [("Koji-Session-Id", id.as_str()), ("Koji-Session-Key", key.as_str())];
                    let name = format!("tag-{thread}-{turn}");
                    hub.post("/kojihub", &headers, "createTag", Arguments::of([name.into()])).unwrap();
                }
            });
        }
    });
    let count = Value::members([("countOnly", true.into())]);
    assert_eq!(hub.call("listTags", Arguments::none().named("queryOpts", count)).unwrap(), Value::Int(80));
}

/// Refused calls do not even wait for the one that may change something.
#[test]
fn nobody_is_kept_waiting_by_those_who_may_do_nothing() {
    let hub = TestHub::start();
    let admin = hub.login("kojiadmin");
    // Somebody else writes, for as long as this test wants.
    let writer = hub.database();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = hub.call("createTag", Arguments::of(["t".into()])).unwrap_err();
    assert_eq!(refused.code, 1004);
    let refused = hub.call("login", Arguments::of(["kojiadmin".into(), "wrong".into()])).unwrap_err();
    assert_eq!(refused.code, 1002);
    admin.call("getTag", Arguments::of(["t".into()])).unwrap();
    writer.execute_batch("COMMIT").unwrap();
    admin.call("createTag", Arguments::of(["t".into()])).unwrap();
}

/// Tags inherit from each other in one direction, and what held at an event is kept.
#[test]
fn inheritance_does_not_go_round() {
    let hub = TestHub::start();
    let admin = hub.login("kojiadmin");
    for name in ["a", "b", "c"] {
        admin.ok("createTag", [name.into()]);
    }
    let link = |parent: &str, priority: i64| {
        Value::Array(vec![Value::members([("parent_id", parent.into()), ("priority", priority.into())])])
    };
    admin.ok("setInheritanceData", ["a".into(), link("b", 0)]);
    admin.ok("setInheritanceData", ["b".into(), link("c", 0)]);
    for (tag, parent) in [("c", "a"), ("b", "a"), ("a", "a")] {
        assert_eq!(admin.fault("setInheritanceData", [tag.into(), link(parent, 5)]), 1000, "{tag} {parent}");
    }
    assert_eq!(admin.fault("setInheritanceData", ["a".into(), link("c", 0)]), 1000, "the priority is taken");
    let names = |tag: &str| -> Vec<String> {
        let steps = hub.call("getFullInheritance", Arguments::of([tag.into()])).unwrap();
        steps.as_array().unwrap().iter().map(|step| step.str_of("name").unwrap().to_owned()).collect()
    };
    assert_eq!(names("a"), ["b", "c"]);
    let event = hub.call("getLastEvent", Arguments::none()).unwrap().int_of("id").unwrap();
    admin.ok("setInheritanceData", ["a".into(), Value::Array(Vec::new()), true.into()]);
    assert_eq!(names("a"), Vec::<String>::new());
    let then = hub.call("getInheritanceData", Arguments::of(["a".into()]).named("event", event)).unwrap();
    assert_eq!(then.as_array().unwrap().len(), 1, "what held is kept");
}

/// Long requests that come slowly take their turns, and short ones pass them.
#[test]
fn slow_long_requests_do_not_keep_short_ones_out() {
    let hub = TestHub::start();
    let stalled: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = TcpStream::connect(hub.address).unwrap();
            stream.write_all(b"POST / HTTP/1.1\r\nHost: hub\r\nContent-Length: 1000000\r\n\r\n<methodCall>").unwrap();
            stream
        })
        .collect();
    for _ in 0..3 {
        assert_eq!(hub.call("getAPIVersion", Arguments::none()).unwrap(), Value::Int(1));
    }
    drop(stalled);
    // Their turns are free again.
    let long = hub.call("echo", Arguments::of(["x".repeat(100_000).into()])).unwrap();
    assert_eq!(long.as_array().unwrap().len(), 1);
}
