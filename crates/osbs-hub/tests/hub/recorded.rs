//! The exchanges that were recorded with a real hub, once more with ours: every request as it was sent, in its order,
//! with the same ids. Answers must have the same structure (types and keys), faults the same codes.

use crate::harness::{TestHub, add_user, recordings};
use osbs_koji::xmlrpc::decode_response;
use osbs_koji::{Arguments, Value};
use serde_json::Value as Json;
use std::collections::HashMap;
use std::fs;

/// What the recording's hub had before: its counters, so that ours gives the same ids, and its channel.
const BEFORE: &str = "
    INSERT INTO sqlite_sequence (name, seq) SELECT 'tag', 6 UNION SELECT 'build_target', 3 UNION SELECT 'host', 3
        UNION SELECT 'package', 5 UNION SELECT 'task', 25 UNION SELECT 'build', 36 UNION SELECT 'content_generator', 1
        UNION SELECT 'archiveinfo', 28 UNION SELECT 'buildroot', 30;
    DELETE FROM sqlite_sequence WHERE name IN ('users', 'sessions', 'events');
    INSERT INTO sqlite_sequence (name, seq) VALUES ('users', 11), ('sessions', 60), ('events', 63);
    UPDATE channels SET id = id + 100 WHERE id >= 9;
    UPDATE channels SET id = 9 WHERE name = 'container-binary';
";

/// The one RPM that the recording's hub knew.
const GLIBC: &str = "
    INSERT INTO package (id, name) VALUES (1, 'glibc');
    INSERT INTO build (id, pkg_id, version, release, state, owner, create_event)
        VALUES (1, 1, '2.39', '1.fc40', 1, 1, (SELECT min(id) FROM events));
    INSERT INTO rpminfo (id, build_id, name, version, release, arch, payloadhash, size, buildtime)
        VALUES (2, 1, 'glibc', '2.39', '1.fc40', 'x86_64', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 1000, 1);
";

/// Exchanges that need the web server's part, which `tls.rs` has for real.
const WEB_SERVER: std::ops::RangeInclusive<i64> = 164..=167;

struct Replay {
    hub: TestHub,
    methods: Vec<String>,
    /// The key of a session, by the id it had in the recording.
    keys: HashMap<String, String>,
    /// Reservation tokens, by build.
    token: Option<String>,
    checked: Vec<String>,
    problems: Vec<String>,
}

#[test]
fn recorded_exchanges_have_the_same_structure() {
    let hub = TestHub::start();
    hub.database().execute_batch(BEFORE).unwrap();
    let listed = hub.call("system.listMethods", Arguments::none()).unwrap();
    let methods = listed.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    let index: Json = serde_json::from_slice(&fs::read(recordings().join("index.json")).unwrap()).unwrap();
    let mut replay =
        Replay { hub, methods, keys: HashMap::new(), token: None, checked: Vec::new(), problems: Vec::new() };
    for exchange in index.as_array().unwrap() {
        replay.exchange(exchange);
    }
    assert!(replay.problems.is_empty(), "{}", replay.problems.join("\n"));
    assert!(replay.checked.len() == 164, "only {} were compared", replay.checked.len());
    crate::stock_output::check(&replay.hub);
}

impl Replay {
    fn exchange(&mut self, exchange: &Json) {
        let number = exchange["n"].as_i64().unwrap();
        let method = exchange["method"].as_str().unwrap();
        // Neither is in the list of methods.
        let invented = matches!(method, "noSuchMethod" | "rawUpload");
        if WEB_SERVER.contains(&number) || !(invented || self.methods.iter().any(|known| known == method)) {
            return;
        }
        self.prepare(number);
        let request = fs::read(recordings().join(exchange["request_file"].as_str().unwrap())).unwrap();
        let response = fs::read(recordings().join(exchange["response_file"].as_str().unwrap())).unwrap();
        let request = match (&self.token, String::from_utf8(request)) {
            (Some(token), Ok(text)) => text.replace(&"f".repeat(64), token).into_bytes(),
            (_, Ok(text)) => text.into_bytes(),
            (_, Err(bytes)) => bytes.into_bytes(),
        };
        let headers = self.headers(&exchange["http"]["request_headers"]);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let path = self.path(exchange["http"]["path"].as_str().unwrap());
        let answer = self.hub.request("POST", &path, &headers, &request);
        let recorded = decode_response(&response).unwrap();
        let ours = decode_response(&answer.body);
        let label = format!("{number:03} {method}");
        let ours = match ours {
            Ok(ours) => ours,
            Err(error) => return self.problems.push(format!("{label}: {} {error}", answer.status)),
        };
        if let (Ok(value), "login" | "subsession" | "sslLogin") = (&ours, method) {
            // By the recorded id: renewals and ours have the same.
            let id = recorded.as_ref().ok().and_then(|login| login.get("session-id").as_int());
            let key = value.get("session-key").as_str().unwrap().to_owned();
            self.keys.insert(id.unwrap().to_string(), key);
        }
        if let (Ok(value), "CGInitBuild") = (&ours, method) {
            self.token = value.get("token").as_str().map(str::to_owned);
        }
        match (&recorded, &ours) {
            (Ok(recorded), Ok(ours)) => {
                let mut differences = Vec::new();
                compare("", recorded, ours, &mut differences);
                self.problems.extend(differences.into_iter().map(|difference| format!("{label}: {difference}")));
            }
            (Err(recorded), Err(ours)) if recorded.code == ours.code => {}
            (recorded, ours) => self.problems.push(format!("{label}: {ours:?}, recorded {recorded:?}")),
        }
        self.checked.push(label);
    }

    /// What was set up outside the protocol when the exchanges were recorded.
    fn prepare(&self, number: i64) {
        let database = self.hub.database();
        match number {
            14 => {
                for name in ["mwells", "reactor", "kojibuilder03.example.com"] {
                    add_user(&self.hub, name);
                }
                database.execute("UPDATE host_config SET capacity = 10.0", []).unwrap();
            }
            52 => database.execute_batch(GLIBC).unwrap(),
            113 => {
                crate::stock_output::check_builds(&self.hub);
                // The real hub sends a notification by a task of its own; ours sends none.
                database.execute("UPDATE sqlite_sequence SET seq = 28 WHERE name = 'task'", []).unwrap();
            }
            147 => drop(database.execute("UPDATE sessions SET callnum = 7 WHERE id = 62 AND callnum < 7", []).unwrap()),
            148 => {
                let old = "UPDATE sessions SET start_time = start_time - 172800000000 WHERE id = 62";
                database.execute(old, []).unwrap();
            }
            157 => drop(database.execute("UPDATE sqlite_sequence SET seq = 69 WHERE name = 'sessions'", []).unwrap()),
            _ => {}
        }
    }

    fn headers(&self, recorded: &Json) -> Vec<(String, String)> {
        let session = recorded["Koji-Session-Id"].as_str().and_then(|id| self.keys.get(id));
        let mut headers = Vec::new();
        for (name, value) in recorded.as_object().unwrap() {
            let value = match name.as_str() {
                "Content-Length" => continue,
                "Koji-Session-Key" => session.cloned().unwrap_or_default(),
                _ => value.as_str().unwrap().to_owned(),
            };
            headers.push((name.clone(), value));
        }
        headers
    }

    fn path(&self, recorded: &str) -> String {
        let id = recorded.split(['?', '&']).find_map(|pair| pair.strip_prefix("session-id="));
        match id.and_then(|id| self.keys.get(id)) {
            Some(key) => recorded.replace("12-XXXXXXXXXXXXXXXXXXX", key),
            None => recorded.to_owned(),
        }
    }
}

/// Same types, same keys; the items of lists are compared with the first recorded one.
fn compare(path: &str, recorded: &Value, ours: &Value, differences: &mut Vec<String>) {
    match (recorded, ours) {
        (Value::Struct(recorded), Value::Struct(ours)) => {
            for (name, value) in recorded {
                let path = format!("{path}.{name}");
                match ours.get(name) {
                    None => differences.push(format!("{path} is missing")),
                    // Lines of Python.
                    Some(_) if name == "traceback" => {}
                    Some(ours) => compare(&path, value, ours, differences),
                }
            }
            for name in ours.keys().filter(|name| !recorded.contains_key(*name)) {
                differences.push(format!("{path}.{name} is not in the recording"));
            }
        }
        (Value::Array(recorded), Value::Array(ours)) => {
            if recorded.len() != ours.len() {
                differences.push(format!("{path}: {} items, recorded {}", ours.len(), recorded.len()));
            }
            for (index, (recorded, ours)) in recorded.iter().zip(ours).enumerate() {
                compare(&format!("{path}[{index}]"), recorded, ours, differences);
            }
        }
        _ if recorded.type_name() != ours.type_name() => {
            differences.push(format!("{path} is {}, recorded {}", ours.type_name(), recorded.type_name()));
        }
        // Ids and numbers are ours to give, and the same, as they were set up to be.
        (Value::Int(one), Value::Int(other))
            if one != other && !path.ends_with("event") && !path.ends_with("event_id") =>
        {
            differences.push(format!("{path} is {other}, recorded {one}"));
        }
        (Value::Bool(one), Value::Bool(other)) if one != other => {
            differences.push(format!("{path} is {other}, recorded {one}"));
        }
        (Value::String(one), Value::String(other)) if one != other && !varies(path, one) => {
            differences.push(format!("{path} is {other:?}, recorded {one:?}"));
        }
        _ => {}
    }
}

/// Texts that are different each time: keys, tokens, times.
fn varies(path: &str, recorded: &str) -> bool {
    path.ends_with("session-key")
        || path.ends_with("token")
        || path.ends_with("_time")
        || path.ends_with("faultString")
        || recorded.contains("XXXXXX")
}
