//! The worker or the orchestrator is killed (SIGKILL) in the middle of each plugin that has to do with Pulp: what was
//! brought is recorded, nothing has gone from the registry before Pulp shows it, no floating name has moved, and the same
//! build succeeds when it is asked for again.
//!
//! A build is killed, asked for again and killed further on, and so forth until it is left alone: with what all the others
//! have left behind.
//!
//! In the middle: what the plugin asks of Pulp, or of the registry, is held at a gate; then its process dies.

use crate::canary::Canary;
use crate::pulp_server::RealPulp;
use crate::served;
use crate::world::gate::Gate;
use crate::world::inspect::{Process, kill_9, worker_of};
use crate::world::{self, Done, World, check_nothing_left, wait_for};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::{Child, Command};
use std::time::Instant;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Worker,
    Orchestrator,
}
use Who::{Orchestrator, Worker};

/// Whose process dies, in which plugin, and the request that is held then.
type Kill = (Who, &'static str, &'static str);

/// Where a task is looked at, Pulp goes on to its end: nobody takes note of it.
const TASK: &str = "GET /pulp/api/v3/tasks/";

/// Arrangement, and where its build is killed one time after another. Arrangements 1 to 3 leave all to the worker.
const CHAINS: [(&str, &[Kill]); 3] = [
    ("2", &[(Worker, "pulp_push", "PUT /pulp/api/v3/uploads/")]),
    ("3", &[(Worker, "pulp_sync", TASK), (Worker, "pulp_pull", "GET /v2/")]),
    (
        "4",
        &[
            (Orchestrator, "pulp_tag", TASK),
            (Orchestrator, "pulp_sync", "/sync/"),
            (Orchestrator, "pulp_publish", TASK),
            (Orchestrator, "pulp_pull", "GET /v2/"),
            (Orchestrator, "delete_from_registry", "DELETE /v2/"),
            (Orchestrator, "push_floating_tags", "/tag/"),
        ],
    ),
];

/// Registries of its own, and gates before Pulp and before the registry on the way to it.
struct Site<'a> {
    world: World,
    output: World,
    to_pulp: Gate,
    to_output: Gate,
    pulp: &'a RealPulp,
}

impl<'a> Site<'a> {
    fn new(pulp: &'a RealPulp) -> Self {
        let (world, output) = (World::new(), World::bare());
        let to_pulp = Gate::before(pulp.address("api").trim_start_matches("http://"));
        let to_output = Gate::before(&output.registry);
        world.put_secret("pulp-login", &["username", "password"].map(|key| (key, pulp.address(key))));
        Self { world, output, to_pulp, to_output, pulp }
    }

    fn configure(&self, with_archives: bool) {
        let instance = format!(
            "can_orchestrate = true\nregistry_uri = http://{}\nsource_registry_uri = http://{}\n\
             registry_api_versions = v2\ngroup_manifests = true\npulp_registry_name = http://{}\npulp_secret = pulp-login\n\
             pulp_image_archives = {with_archives}\n",
            self.to_output.address, self.world.registry, self.to_pulp.address
        );
        self.world.write_conf(&instance, "");
        let text = format!(
            "version: 1\nclusters:\n  x86_64: [{{name: local, max_concurrent_builds: 4}}]\n\
             registries: [{{url: 'http://{}'}}]\nsource_registry: {{url: 'http://{}', insecure: true}}\n",
            self.to_output.address, self.world.registry
        );
        std::fs::write(self.world.path("config.yaml"), text).expect("written");
    }

    fn check_chain(&self, arrangement: &str, kills: &[Kill], canary: &Canary) {
        let name = format!("chain{arrangement}");
        let url = self.world.layered(&name, &format!("RUN echo {name} >/what"));
        let args = ["--arrangement-version", arrangement, "--platforms", "x86_64"];
        let begun = Instant::now();
        for (number, (who, plugin, held)) in (1..).zip(kills) {
            let case = format!("arrangement {arrangement}, {who:?} in {plugin} at {held}");
            self.configure(matches!(*plugin, "pulp_push" | "pulp_tag"));
            let earlier = self.world.newest(&name);
            let follower = self.world.start_build(&url, &args);
            wait_for("the build has a folder", 120, || self.world.newest(&name) != earlier);
            canary.hear(&self.kill(&name, follower, (*who, plugin, held)));
            self.check_known(&name, &case);
            let tag = format!("1-{number}");
            let shown = served(self.pulp, &format!("test/{name}:{tag}")).is_some();
            let there = self.output.tags(&format!("test/{name}"));
            assert!(shown || there.contains(&tag), "{case}: gone before it was shown: {there:?}");
            assert_eq!(served(self.pulp, &format!("test/{name}:latest")), None, "{case}: it moves last");
            println!("{case}: {:.1} s", begun.elapsed().as_secs_f32());
        }
        let again = self.world.build(&url, &args);
        canary.hear(&again);
        let case = format!("arrangement {arrangement}, again");
        assert_eq!(again.code, 0, "{case}:\n{}\n{}", again.out, again.err);
        let tag = format!("1-{}", kills.len() + 1);
        let digest = served(self.pulp, &format!("test/{name}:{tag}"));
        assert!(digest.is_some(), "{case}: {tag} of {:?}", self.output.tags(&format!("test/{name}")));
        for floating in ["1", "latest"] {
            assert_eq!(served(self.pulp, &format!("test/{name}:{floating}")), digest, "{case}");
        }
        let there = self.output.tags(&format!("test/{name}"));
        assert!(!there.contains(&tag), "{case}: shown, and so taken out: {there:?}");
        println!("{case}: {:.1} s", begun.elapsed().as_secs_f32());
    }

    /// Kills a build where the plugin asks for something.
    fn kill(&self, name: &str, mut follower: Child, (who, plugin, held): Kill) -> Done {
        let newest = self.world.newest(name).expect("there is one");
        let build = if who == Worker { worker_of(&newest, "x86_64") } else { newest.clone() };
        let log = self.world.path("home/builds/default").join(&build).join("events.jsonl");
        let gate = if held.starts_with("DELETE") { &self.to_output } else { &self.to_pulp };
        let start = format!("\"plugin\":\"{plugin}\"");
        gate.hold(held, move || world::read(&log).contains(&start));
        wait_for(plugin, 300, || gate.held() > 0 || follower.try_wait().is_ok_and(|ended| ended.is_some()));
        let pid = self.world.process(&build, Process::Reactor);
        pid.into_iter().for_each(kill_9);
        gate.open();
        let done = world::done(follower.wait_with_output().expect("it ends"));
        assert!(pid.is_some() && done.code != 0, "{plugin}: {pid:?} {}\n{}\n{}", done.code, done.out, done.err);
        assert!(["Failed", "Error"].contains(&self.world.status(&newest).as_str()), "{plugin}");
        done
    }

    /// What registry and Pulp have of this image, some record tells of.
    fn check_known(&self, name: &str, case: &str) {
        let records = records(&self.world);
        for tag in self.output.tags(&format!("test/{name}")) {
            assert!(records.contains(&format!("test/{name}:{tag}")), "{case}: {tag} is in no record");
        }
        for (kind, id) in
            [("container/container", format!("test-{name}")), ("file/file", format!("test-{name}-archives"))]
        {
            let found = ask(self.pulp, &format!("repositories/{kind}/?name={id}"));
            let is_there = found["count"].as_u64().expect("a number") > 0;
            assert!(!is_there || records.contains(&format!("\\\"{id}\\\"")), "{case}: {id} is in no record: {records}");
        }
    }
}

/// What is recorded of the builds of a world, as one text.
pub fn records(world: &World) -> String {
    let sql = "SELECT record FROM builds;";
    let dump = Command::new("sqlite3").arg(world.path("home/cluster.db")).arg(sql).output();
    String::from_utf8_lossy(&dump.expect("sqlite3 starts").stdout).into_owned()
}

/// GET of Pulp's API.
fn ask(pulp: &RealPulp, path: &str) -> Value {
    let login = format!("{}:{}", pulp.address("username"), pulp.address("password"));
    let url = format!("{}/pulp/api/v3/{path}", pulp.address("api"));
    let got = Command::new("curl").args(["-fsS", "-u", &login, &url]).output().expect("curl starts");
    serde_json::from_slice(&got.stdout).unwrap_or_else(|error| panic!("{url}: {error}"))
}

/// All of them. Gives the records of all builds.
pub fn check(pulp: &RealPulp) -> String {
    let canary = Canary::new(pulp);
    let canary = &canary;
    let one = |(arrangement, kills): (&str, &[Kill])| {
        let site = Site::new(pulp);
        site.check_chain(arrangement, kills, canary);
        check_nothing_left(&site.world);
        canary.check_world(&site.world, &[&site.output.path("registry")]);
        records(&site.world)
    };
    let one = &one;
    std::thread::scope(|scope| {
        let threads: Vec<_> = CHAINS.into_iter().map(|chain| scope.spawn(move || one(chain))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a chain")).collect()
    })
}

/// What Pulp holds of uploads, done or broken off, some record tells of.
pub fn check_uploads(pulp: &RealPulp, records: &str) {
    for upload in ask(pulp, "uploads/?limit=1000")["results"].as_array().expect("a list") {
        let href = upload["pulp_href"].as_str().expect("a reference");
        assert!(records.contains(href), "the upload {href} is in no record");
    }
    // Under unique tags; others are in repositories, which records name.
    let files = ask(pulp, "content/file/files/?limit=1000");
    let paths = files["results"].as_array().expect("a list").iter().filter_map(|file| file["relative_path"].as_str());
    let is_final = |path: &str| path.starts_with("latest/") || path.starts_with("1/") || path.starts_with("1-");
    let uploaded: BTreeSet<_> = paths.filter(|path| !is_final(path)).collect();
    println!("uploaded: {uploaded:?}");
    assert!(!uploaded.is_empty());
    for path in uploaded {
        let tag = path.split('/').next().expect("a part");
        assert!(records.contains(tag), "the file {path} is in no record");
    }
}
