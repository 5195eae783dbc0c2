//! Each permission of `deploy/` is taken away in turn, and named.

use crate::kubernetes_site::{KubernetesSite, ORCHESTRATOR};
use crate::parse;
use crate::world::wait_for;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

pub fn each_permission_that_lacks_is_named(site: &KubernetesSite) {
    for role in ["client", "build", "gc"] {
        let name = format!("osbs-{role}");
        let text = site.server.kubectl(&["get", "role", &name, "-n", ORCHESTRATOR, "-o", "json"]);
        let whole = parse(&text);
        let begun = Instant::now();
        let mut count = 0;
        for (place, rule) in whole["rules"].as_array().expect("rules").iter().enumerate() {
            let group = rule["apiGroups"][0].as_str().expect("a group");
            let resource = rule["resources"][0].as_str().expect("a resource");
            let resource = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
            for verb in rule["verbs"].as_array().expect("verbs") {
                let others: Vec<_> = rule["verbs"].as_array().expect("verbs").iter().filter(|it| *it != verb).collect();
                let left = if others.is_empty() { json!(["deletecollection"]) } else { json!(others) };
                let patch =
                    json!([{"op": "replace", "path": format!("/rules/{place}/verbs"), "value": left}]).to_string();
                let patched = ["patch", "role", &name, "-n", ORCHESTRATOR, "--type=json", "-p", &patch];
                site.server.kubectl(&patched);
                check_lack(site, role, &format!("{} {resource}", verb.as_str().expect("text")));
                count += 1;
                let patch = json!([{"op": "replace", "path": format!("/rules/{place}/verbs"), "value": rule["verbs"]}])
                    .to_string();
                site.server.kubectl(&["patch", "role", &name, "-n", ORCHESTRATOR, "--type=json", "-p", &patch]);
            }
        }
        println!("{role}: {count} permissions, {:.1} s", begun.elapsed().as_secs_f64());
    }
    check_refused_build(site);
}

/// That one lacks, and no other. The authorizer hears of a change a moment later.
#[track_caller]
fn check_lack(site: &KubernetesSite, role: &str, permission: &str) {
    let account = format!("osbs-{role}");
    let asked = ["deploy", "check", "--role", role, "--service-account", &account, "--output", "json"];
    let own = ["deploy", "check", "--output", "json"];
    let (conf, asked) = if role == "client" { ("kube.conf", &own[..]) } else { ("admin.conf", &asked[..]) };
    let mut last = String::new();
    wait_for(permission, 60, || {
        let done = site.run(conf, asked);
        last = format!("{}\n{}", done.out, done.err);
        let Ok(told) = serde_json::from_str::<Value>(&done.out) else { return false };
        let lacks = told["findings"].as_array().expect("a list").iter().filter(|it| it["state"] == "lacks");
        let lacks: Vec<_> = lacks.map(|it| it["what"].as_str().unwrap_or_default().to_owned()).collect();
        done.code == 3 && lacks == [permission]
    });
    drop(last);
}

/// A build that is refused says by which permission, of whom.
#[track_caller]
fn check_refused_build(site: &KubernetesSite) {
    let patch = |verbs: &str| {
        let patch = format!("[{{\"op\": \"replace\", \"path\": \"/rules/0/verbs\", \"value\": {verbs}}}]");
        site.server.kubectl(&["patch", "role", "osbs-client", "-n", ORCHESTRATOR, "--type=json", "-p", &patch]);
    };
    let role = parse(&site.server.kubectl(&["get", "role", "osbs-client", "-n", ORCHESTRATOR, "-o", "json"]));
    patch("[\"get\", \"list\", \"watch\"]");
    let mut refused = site.build("hello", &["--no-logs"]);
    let end = Instant::now() + Duration::from_mins(1);
    while refused.code == 0 && Instant::now() < end {
        refused = site.build("hello", &["--no-logs"]);
    }
    patch(&role["rules"][0]["verbs"].to_string());
    assert_eq!(refused.code, 3, "{}", refused.err);
    for part in ["create jobs.batch", ORCHESTRATOR, "system:serviceaccount:osbs:osbs-client", "osbs deploy check"] {
        assert!(refused.err.contains(part), "{part}: {}", refused.err);
    }
    println!("{}", refused.err);
}
