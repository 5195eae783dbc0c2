//! The plugins `pulp_sync`, `pulp_publish` and `push_floating_tags` against a Pulp in memory that lies and fails when told
//! to: what they compare, what they do again, what they take back.

#[path = "../../../../osbs-pulp/tests/fake/mod.rs"]
mod fake;

use super::*;
use crate::build_json::{PluginEntry, PluginLists};
use crate::floating::FloatingName;
use crate::plugins::{pulp_publish, pulp_sync, push_floating_tags};
use crate::run::TagClass;
use crate::testing::{TestRun, run_without_source};
use crate::{BuildResult, Done};
use fake::Fake;
use osbs_image::Descriptor;
use osbs_registry::{Registry, RegistryConfig};
use osbs_types::ErrorKind;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

const API: &str = "/pulp/api/v3/";
type Tags = BTreeMap<String, Digest>;

/// What a small Pulp knows. Repositories are those of `ns-a`, `ns-b`; ids are names.
#[derive(Default)]
struct State {
    /// Repository -> version -> tags.
    repositories: BTreeMap<String, BTreeMap<u64, Tags>>,
    /// Base path -> repository version.
    distributions: BTreeMap<String, Option<String>>,
    /// What the next synchronisations find; the last goes on being found.
    upstream: VecDeque<Tags>,
    remotes: Vec<String>,
    /// `include_tags` of the last remote.
    include_tags: Value,
    tasks: Vec<Value>,
    /// Requests with this in them are refused.
    refuse: Option<String>,
}

struct MiniPulp {
    fake: Fake,
    state: Arc<Mutex<State>>,
}

fn digest(byte: u8) -> Digest {
    Digest::from_sha256(&[byte; 32])
}

fn tags(all: &[(&str, u8)]) -> Tags {
    all.iter().map(|(tag, byte)| ((*tag).to_owned(), digest(*byte))).collect()
}

fn list(found: &[Value]) -> (u16, String) {
    (200, json!({"count": found.len(), "results": found}).to_string())
}

fn href_of(repository: &str, version: u64) -> String {
    format!("{API}repositories/container/container/{repository}/versions/{version}/")
}

impl State {
    fn repository(&self, name: &str) -> Option<Value> {
        let latest = self.repositories.get(name)?.keys().max()?;
        let href = format!("{API}repositories/container/container/{name}/");
        Some(json!({"pulp_href": href, "latest_version_href": href_of(name, *latest)}))
    }

    fn task(&mut self, created: Option<String>) -> (u16, String) {
        let task = json!({"state": "completed", "created_resources": created.into_iter().collect::<Vec<_>>()});
        self.tasks.push(task);
        (202, json!({"task": format!("{API}tasks/{}/", self.tasks.len() - 1)}).to_string())
    }

    /// A new version with these too, if that changes anything.
    fn advance(&mut self, name: &str, more: &Tags) -> (u16, String) {
        let versions = self.repositories.get_mut(name).unwrap();
        let (number, latest) = versions.last_key_value().map(|(number, tags)| (*number, tags.clone())).unwrap();
        let mut next = latest.clone();
        next.extend(more.clone());
        let made = (next != latest).then(|| {
            versions.insert(number + 1, next);
            href_of(name, number + 1)
        });
        self.task(made)
    }

    fn distribution(&self, path: &str) -> Option<Value> {
        let shows = self.distributions.get(path)?;
        let href = format!("{API}distributions/container/container/{}/", path.replace('/', "-"));
        Some(json!({"pulp_href": href, "base_path": path, "repository_version": shows, "registry_path": path}))
    }

    fn answer(&mut self, request: &str, body: &Value) -> (u16, String) {
        if self.refuse.as_ref().is_some_and(|part| request.contains(part.as_str())) {
            return (500, "out of order".to_owned());
        }
        let (method, rest) = request.split_once(' ').unwrap();
        let (path, filters) = rest.split_once('?').unwrap_or((rest, ""));
        let query = |key: &str| {
            let mut pairs = filters.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(name, _)| *name == key).map(|(_, value)| value.replace("%2F", "/").replace("%2C", ","))
        };
        let parts: Vec<_> = path.trim_start_matches(API).trim_end_matches('/').split('/').collect();
        let text = |key: &str| body[key].as_str().unwrap().to_owned();
        match (method, &parts[..]) {
            ("GET", ["repositories", _, _]) => {
                list(&self.repository(&query("name").unwrap()).into_iter().collect::<Vec<_>>())
            }
            ("POST", ["repositories", _, _]) => {
                self.repositories.insert(text("name"), [(0, Tags::new())].into());
                (201, self.repository(&text("name")).unwrap().to_string())
            }
            ("GET", ["repositories", _, _, name]) => (200, self.repository(name).unwrap().to_string()),
            ("POST", ["repositories", _, _, name, "sync"]) => {
                let found = self.upstream.front().unwrap().clone();
                if self.upstream.len() > 1 {
                    self.upstream.pop_front();
                }
                self.advance(name, &found)
            }
            ("POST", ["repositories", _, _, name, "tag"]) => {
                let one = [(text("tag"), text("digest").parse().unwrap())].into();
                self.advance(name, &one)
            }
            ("DELETE", ["repositories", _, _, name, "versions", number]) => {
                self.repositories.get_mut(*name).unwrap().remove(&number.parse().unwrap()).unwrap();
                self.task(None)
            }
            ("GET", ["remotes", _, _]) => {
                let href = |name: &String| json!({"pulp_href": format!("{API}remotes/container/container/{name}/")});
                let name = query("name").unwrap();
                list(&self.remotes.iter().filter(|one| **one == name).map(href).collect::<Vec<_>>())
            }
            ("POST" | "PATCH", ["remotes", ..]) => {
                let name = text("name");
                self.include_tags = body["include_tags"].clone();
                if method == "POST" {
                    self.remotes.push(name.clone());
                }
                (201, json!({"pulp_href": format!("{API}remotes/container/container/{name}/")}).to_string())
            }
            ("GET", ["content", "container", "tags"]) => {
                let version = query("repository_version").unwrap();
                let (name, number) = version.trim_end_matches('/').rsplit_once("/versions/").unwrap();
                let name = name.rsplit('/').next().unwrap();
                let wanted = query("name__in").unwrap();
                let tag = |(tag, digest): (&String, &Digest)| {
                    let manifest = format!("{API}content/container/manifests/{}/", digest.hex());
                    json!({"name": tag, "tagged_manifest": manifest})
                };
                let there = &self.repositories[name][&number.parse().unwrap()];
                let asked = there.iter().filter(|(tag, _)| wanted.split(',').any(|one| one == **tag));
                list(&asked.map(tag).collect::<Vec<_>>())
            }
            ("GET", ["content", "container", "manifests", hex]) => {
                (200, json!({"digest": format!("sha256:{hex}")}).to_string())
            }
            ("GET", ["distributions", _, _]) => {
                list(&self.distribution(&query("base_path").unwrap()).into_iter().collect::<Vec<_>>())
            }
            ("POST", ["distributions", _, _]) => {
                self.distributions.insert(text("base_path"), Some(text("repository_version")));
                self.task(None)
            }
            ("PATCH", ["distributions", _, _, id]) => {
                self.distributions.insert(id.replacen('-', "/", 1), Some(text("repository_version")));
                self.task(None)
            }
            ("DELETE", ["distributions", _, _, id]) => {
                self.distributions.remove(&id.replacen('-', "/", 1)).unwrap();
                self.task(None)
            }
            ("GET", ["tasks", number]) => (200, self.tasks[number.parse::<usize>().unwrap()].to_string()),
            _ => panic!("{request}"),
        }
    }
}

impl MiniPulp {
    fn new(upstream: &[Tags]) -> Self {
        let state = Arc::new(Mutex::new(State { upstream: upstream.iter().cloned().collect(), ..State::default() }));
        let shared = Arc::clone(&state);
        let fake = Fake::with_bodies(move |request, body| {
            let body = serde_json::from_slice(body).unwrap_or_default();
            shared.lock().unwrap().answer(request, &body)
        });
        Self { fake, state }
    }

    fn change(&self, how: impl FnOnce(&mut State)) {
        how(&mut self.state.lock().unwrap());
    }

    fn count(&self, part: &str) -> usize {
        self.fake.seen().iter().filter(|request| request.contains(part)).count()
    }

    /// The tags that clients see of a path; nothing where there is no distribution.
    fn shown(&self, path: &str) -> Option<Tags> {
        let state = self.state.lock().unwrap();
        let version = state.distributions.get(path)?.as_ref()?;
        let (name, number) = version.trim_end_matches('/').rsplit_once("/versions/").unwrap();
        Some(state.repositories[name.rsplit('/').next().unwrap()][&number.parse().unwrap()].clone())
    }

    fn versions(&self, name: &str) -> Vec<u64> {
        self.state.lock().unwrap().repositories[name].keys().copied().collect()
    }

    fn sync_args(&self) -> Value {
        json!({"pulp_registry_name": format!("http://{}", self.fake.address), "docker_registry": "http://r.io",
               "publish": false})
    }

    fn args(&self) -> Value {
        json!({"pulp_registry_name": format!("http://{}", self.fake.address)})
    }

    /// A run that has pushed these names as the image 1 to r.io, but for `latest`, which waits.
    async fn run(&self, repositories: &[&str]) -> TestRun {
        let mut lists = PluginLists::default();
        let mut entry = PluginEntry::new("pulp_sync");
        entry.args = self.sync_args().as_object().unwrap().clone();
        lists.postbuild_plugins.push(entry);
        let mut test = run_without_source(lists).await;
        let run = &mut test.run;
        run.build_result = Some(BuildResult::local(digest(9)));
        for repository in repositories {
            run.tags.add(TagClass::Primary, format!("{repository}:1-1").parse().unwrap());
            run.tags.add(TagClass::Floating, format!("{repository}:latest").parse().unwrap());
            let manifest = Descriptor::new("application/vnd.oci.image.index.v1+json", digest(1), 7);
            run.pushed_registry("r.io").add(&format!("{repository}:1-1").parse().unwrap(), &manifest);
            let config = RegistryConfig::new("http://r.io", true).unwrap();
            run.floating.push(FloatingName {
                registry: Registry::new(run.services.transport.clone(), config),
                name: format!("{repository}:latest").parse().unwrap(),
                manifest,
                bytes: Arc::from(&b"{}"[..]),
            });
        }
        test
    }

    async fn sync(&self, test: &mut TestRun) -> Result<Done, PluginError> {
        test.plugin(&pulp_sync::plugin(), self.sync_args()).await
    }

    async fn publish(&self, test: &mut TestRun) -> Result<Done, PluginError> {
        test.plugin(&pulp_publish::plugin(), self.args()).await
    }

    /// The registry on the way is emptied, and what is left moves.
    async fn move_floating(&self, test: &mut TestRun) -> Result<Done, PluginError> {
        test.run.floating.clear();
        test.plugin(&push_floating_tags::plugin(), json!({})).await
    }
}

#[tokio::test]
async fn what_pulp_took_must_be_what_was_pushed() {
    let pulp = MiniPulp::new(&[tags(&[("1-1", 2)])]);
    let mut test = pulp.run(&["ns/a"]).await;
    let failure = pulp.sync(&mut test).await.unwrap_err().into_failure();
    assert_eq!(failure.kind, ErrorKind::Remote);
    let (took, pushed) = (digest(2), digest(1));
    assert_eq!(failure.to_string(), format!("Pulp took {took} as ns/a:1-1, but {pushed} was pushed"));
    assert!(failure.hint.unwrap().contains("pulp.sync_from"));
    assert_eq!(pulp.count("/sync/"), 3, "tried again: {:?}", pulp.fake.seen());
    assert_eq!(pulp.versions("ns-a"), [0], "the wrong image goes again");
    assert_eq!(pulp.shown("ns/a"), None);
    let build = osbs_cluster::Cluster::get_build(&test.cluster, &test.run.build.name).await.unwrap();
    assert!(build.annotations["pulp-repositories"].contains("ns-a"), "{:?}", build.annotations);
}

#[tokio::test]
async fn another_build_has_changed_the_remote() {
    // The first synchronisation brings the other build's tags.
    let pulp = MiniPulp::new(&[tags(&[("1-7", 7)]), tags(&[("1-1", 1)])]);
    let mut test = pulp.run(&["ns/a"]).await;
    pulp.sync(&mut test).await.unwrap();
    assert!(test.log_texts().iter().any(|line| line.contains("found no ns/a:1-1") && line.contains("once more")));
    assert_eq!((pulp.count("POST /pulp/api/v3/remotes"), pulp.count("PATCH /pulp/api/v3/remotes")), (1, 1));
    assert_eq!(pulp.state.lock().unwrap().include_tags, json!(["1-1"]), "no name that moves, and never all there are");
    pulp.publish(&mut test).await.unwrap();
    assert_eq!(pulp.shown("ns/a"), Some(tags(&[("1-1", 1), ("1-7", 7)])));
}

#[tokio::test]
async fn several_repositories_are_shown_together_or_not_at_all() {
    let pulp = MiniPulp::new(&[tags(&[("1-1", 1)])]);
    let old = |name: &str| (name.to_owned(), [(0, tags(&[("old", 5)]))].into());
    for has_been_shown in [true, false] {
        pulp.change(|state| {
            state.repositories = [old("ns-a"), old("ns-b")].into();
            let shown = ["a", "b"].map(|name| (format!("ns/{name}"), Some(href_of(&format!("ns-{name}"), 0))));
            state.distributions = if has_been_shown { shown.into() } else { BTreeMap::new() };
            state.refuse = Some(if has_been_shown {
                "PATCH /pulp/api/v3/distributions/container/container/ns-b/".to_owned()
            } else {
                // Found to be not there, it cannot be looked for again.
                "distributions/container/container/?base_path=ns%2Fb".to_owned()
            });
        });
        let mut test = pulp.run(&["ns/a", "ns/b"]).await;
        pulp.sync(&mut test).await.unwrap();
        assert_eq!(pulp.versions("ns-a"), [0, 1]);
        let failure = pulp.publish(&mut test).await.unwrap_err().into_failure();
        assert!(failure.to_string().contains("ns/b") && failure.to_string().contains("out of order"), "{failure}");
        let before = has_been_shown.then(|| tags(&[("old", 5)]));
        assert_eq!(pulp.shown("ns/a"), before, "a: {:?}", test.log_texts());
        assert_eq!(pulp.shown("ns/b"), before);
        assert!(test.run.pushed.iter().all(|registry| !registry.server_side_sync), "Pulp has published nothing");
    }
}

#[tokio::test]
async fn floating_names_move_in_pulp_when_all_else_has_succeeded() {
    let pulp = MiniPulp::new(&[tags(&[("1-1", 1)])]);
    pulp.change(|state| {
        state.repositories = [("ns-a".to_owned(), [(0, tags(&[("latest", 5)]))].into())].into();
        state.distributions = [("ns/a".to_owned(), Some(href_of("ns-a", 0)))].into();
    });
    let mut test = pulp.run(&["ns/a"]).await;
    pulp.sync(&mut test).await.unwrap();
    pulp.publish(&mut test).await.unwrap();
    assert_eq!(pulp.shown("ns/a"), Some(tags(&[("1-1", 1), ("latest", 5)])), "published, and latest where it was");
    let record = test.run.published();
    let of_pulp = record.iter().find(|registry| registry.server_side_sync).unwrap();
    assert_eq!(of_pulp.digests["ns/a:latest"]["oci_index"], digest(1), "the record is written before it moves");

    // Pulp refuses one of two: none moves, and nothing of it is left.
    pulp.change(|state| state.refuse = Some("PATCH /pulp/api/v3/distributions".to_owned()));
    let failure = pulp.move_floating(&mut test).await.unwrap_err().into_failure();
    assert!(failure.to_string().contains("ns/a:latest cannot be moved (no floating tag was moved)"), "{failure}");
    assert_eq!(pulp.shown("ns/a"), Some(tags(&[("1-1", 1), ("latest", 5)])));
    assert_eq!(pulp.versions("ns-a"), [0, 1], "the version with the name goes again");
    assert!(!test.run.published().iter().any(|registry| registry.digests.contains_key("ns/a:latest")));

    pulp.change(|state| state.refuse = None);
    let mut test = pulp.run(&["ns/a"]).await;
    pulp.sync(&mut test).await.unwrap();
    pulp.publish(&mut test).await.unwrap();
    let done = pulp.move_floating(&mut test).await.unwrap();
    assert_eq!(done, Done::Value(json!([format!("{}/ns/a:latest", pulp.fake.address)])));
    assert_eq!(pulp.shown("ns/a"), Some(tags(&[("1-1", 1), ("latest", 1)])));
}

#[tokio::test]
async fn a_failed_build_leaves_pulp_as_it_was() {
    let pulp = MiniPulp::new(&[tags(&[("1-1", 1)])]);
    let mut test = pulp.run(&["ns/a"]).await;
    pulp.sync(&mut test).await.unwrap();
    test.run.records.errors.insert("compare_components".to_owned(), "differ".into());
    let done = pulp.publish(&mut test).await.unwrap();
    assert!(matches!(done, Done::Skipped(_)), "{done:?}");
    assert_eq!((pulp.versions("ns-a"), pulp.shown("ns/a")), (vec![0], None));
    let done = pulp.move_floating(&mut test).await.unwrap();
    assert!(matches!(done, Done::Skipped(_)), "{done:?}");
    assert_eq!(pulp.count("/tag/"), 0);
}
