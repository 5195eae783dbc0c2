//! What was asked of the API servers, by their audit logs: no more than is granted, and all of it.

use crate::kubernetes_site::{KubernetesSite, ORCHESTRATOR};
use crate::parse;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// A moment in the audit logs: how long each was.
pub type Moment = BTreeMap<String, usize>;

fn logs(site: &KubernetesSite) -> BTreeMap<String, String> {
    let files = site.server.ready["audit_logs"].as_array().expect("a list").iter();
    let files = files.map(|file| file.as_str().expect("a path").to_owned());
    files.map(|file| (file.clone(), fs::read_to_string(file).unwrap_or_default())).collect()
}

/// Now.
pub fn now(site: &KubernetesSite) -> Moment {
    // A line that is being written is of later.
    logs(site).into_iter().map(|(file, text)| (file, text.rfind('\n').map_or(0, |end| end + 1))).collect()
}

/// Requests of service accounts since then: who, verb, resource, code.
pub fn audit(site: &KubernetesSite, since: &Moment) -> Vec<(String, String, String, u64)> {
    let mut found = Vec::new();
    for (file, text) in logs(site) {
        let begin = since.get(&file).copied().unwrap_or_default();
        for event in text[begin..].lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let user = event["user"]["username"].as_str().unwrap_or_default();
            let Some(account) = user.strip_prefix("system:serviceaccount:").and_then(|it| it.split(':').nth(1)) else {
                continue;
            };
            if !account.starts_with("osbs-") {
                continue;
            }
            let object = &event["objectRef"];
            let text = |key: &str| object[key].as_str().unwrap_or_default();
            let mut resource = text("resource").to_owned();
            for (sign, part) in [("/", text("subresource")), (".", text("apiGroup"))] {
                if !part.is_empty() {
                    resource.push_str(sign);
                    resource.push_str(part);
                }
            }
            let code = event["responseStatus"]["code"].as_u64().unwrap_or(0);
            found.push((account.to_owned(), event["verb"].as_str().unwrap_or_default().to_owned(), resource, code));
        }
    }
    found
}

/// Of what is granted all is used, and nothing else was wanted: by a build, or where the text says by what.
#[track_caller]
pub fn check_audit(site: &KubernetesSite, before: &Moment) {
    let requests = audit(site, &Moment::new());
    let of_build = audit(site, before).len();
    println!("{of_build} requests to the API for a build of two platforms, all of its accounts together");
    let mut used: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (account, verb, resource, code) in &requests {
        // `deploy check` asks for these, and takes no for an answer.
        let may_be_refused = resource == "nodes" || resource.starts_with("priorityclasses");
        assert!(*code != 403 || may_be_refused, "{account} wanted to {verb} {resource}");
        if !resource.contains("accessreviews")
            && !resource.starts_with("nodes")
            && !resource.starts_with("priorityclasses")
        {
            used.entry(account).or_default().insert(format!("{verb} {resource}"));
        }
    }
    for (role, elsewhere) in [
        // When the environment of a build cannot be kept; when a build is cancelled before it began.
        ("client", &["delete jobs.batch", "delete secrets"][..]),
        // To close a build whose pod died; when a build ends while others wait; records of Koji's reservations.
        (
            "build",
            &["list pods", "get pods/log", "list configmaps", "update leases.coordination.k8s.io", "delete configmaps"],
        ),
    ] {
        let granted = granted(site, role);
        let account = format!("osbs-{role}");
        let used = &used[account.as_str()];
        let unused: Vec<_> = granted.difference(used).filter(|it| !elsewhere.contains(&it.as_str())).collect();
        assert!(unused.is_empty(), "granted to {role} and not used: {unused:?}");
        assert!(used.is_subset(&granted), "{role}: {:?}", used.difference(&granted));
    }
}

/// What a Role of `deploy/` says, which is what `osbs deploy check` asks for.
#[track_caller]
fn granted(site: &KubernetesSite, role: &str) -> BTreeSet<String> {
    let text = site.server.kubectl(&["get", "role", &format!("osbs-{role}"), "-n", ORCHESTRATOR, "-o", "json"]);
    let mut granted = BTreeSet::new();
    for rule in parse(&text)["rules"].as_array().expect("rules") {
        let group = rule["apiGroups"][0].as_str().expect("a group");
        let resource = rule["resources"][0].as_str().expect("a resource");
        let full = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
        let verbs = rule["verbs"].as_array().expect("verbs").iter().map(|verb| verb.as_str().expect("text").to_owned());
        granted.extend(verbs.map(|verb| format!("{verb} {full}")));
    }
    let asked = site.run("admin.conf", &["deploy", "check", "--role", role, "--output", "json"]);
    let asked = parse(&asked.out);
    let permissions = asked["findings"].as_array().expect("a list").iter().filter(|it| it["check"] == "permission");
    let asked: BTreeSet<_> = permissions.map(|it| it["what"].as_str().expect("text").to_owned()).collect();
    assert_eq!(granted, asked, "deploy/ and osbs deploy check, for {role}");
    granted
}
