//! The worker or the orchestrator is killed (SIGKILL) within each of its plugins: what was pushed is recorded or is gone,
//! what was left for others is gone, and the same build succeeds when it is asked for again.
//!
//! Each plugin is hit when it has just begun, at one of the events that it tells (which one is random, and told), and when
//! it has done everything and nobody has taken note yet. Many are over within microseconds: a debug build of osbs stands
//! still where a file of the home folder wants it (`commands/inside_build/hold.rs`).
#![expect(clippy::print_stdout, reason = "figures, for whoever runs this by hand")]

mod world;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Mutex;
use world::inspect::{Dice, Process, kill_9, surroundings, worker_of};
use world::{World, wait_for};

const PLATFORM: &str = "x86_64";
const MEDIA_TYPES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json"];
/// Builds at once.
const SIDE_BY_SIDE: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Worker,
    Orchestrator,
}

impl Who {
    fn build(self, name: &str) -> String {
        match self {
            Self::Worker => worker_of(name, PLATFORM),
            Self::Orchestrator => name.to_owned(),
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Orchestrator => "orchestrator",
        }
    }
}

/// How many events each plugin of a build told, between its start and its end.
fn events_of_plugins(world: &World, build: &str) -> BTreeMap<String, usize> {
    let (mut counts, mut running) = (BTreeMap::new(), None);
    for event in world.events(build) {
        match event["event"].as_str() {
            Some("plugin_start") => {
                let name = event["plugin"].as_str().expect("a name").to_owned();
                counts.insert(name.clone(), 0);
                running = Some(name);
            }
            Some("plugin_end") => running = None,
            _ => {
                if let Some(count) = running.as_ref().and_then(|name| counts.get_mut(name)) {
                    *count += 1;
                }
            }
        }
    }
    counts
}

/// One plugin of one kind of build of an arrangement.
struct Target<'a> {
    world: &'a World,
    arrangement: &'a str,
    who: Who,
    plugin: &'a str,
    options: &'a [&'a str],
}

/// Names that the records of the builds tell of.
fn recorded(world: &World, builds: &[&str]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let there = world.builds();
    for build in builds.iter().filter(|build| there.iter().any(|one| one["name"] == ***build)) {
        let record = world.record(build);
        for class in ["unique", "primary", "floating"] {
            let list = record["annotations"]["repositories"][class].as_array().cloned().unwrap_or_default();
            let tag =
                |name: &Value| name.as_str().and_then(|name| name.rsplit_once(':')).map(|(_, tag)| tag.to_owned());
            names.extend(list.iter().filter_map(tag));
        }
    }
    names
}

impl Target<'_> {
    fn repository(&self) -> String {
        let plugin = self.plugin.replace('_', "");
        format!("{plugin}{}{}", &self.who.kind()[..1], self.arrangement)
    }

    /// Kills the build there; its name.
    fn kill_at(&self, url: &str, place: &str) -> String {
        let (world, repository) = (self.world, self.repository());
        let case = format!("arrangement {}, {:?} in {} at {place}", self.arrangement, self.who, self.plugin);
        let hold = world.path("home/hold").join(format!("{repository}-main-"));
        let held = hold.with_extension("held");
        let _ = fs::remove_file(&held);
        fs::write(&hold, format!("{} {} {place}", self.who.kind(), self.plugin)).expect("written");
        let mut follower = world.start_build(url, self.options);
        wait_for(&case, 120, || held.exists() || follower.try_wait().is_ok_and(|ended| ended.is_some()));
        let name = world.newest(&repository).expect("a build");
        let build = self.who.build(&name);
        let reactor = world.process(&build, Process::Reactor);
        assert!(held.exists(), "{case}: {name} never came there:\n{:?}", world.events(&build).last());
        kill_9(reactor.expect("it stands there"));
        fs::remove_file(&hold).expect("removed");
        let code = world::done(follower.wait_with_output().expect("it ends")).code;
        let events = world.events(&build);
        let last =
            |kind: &str| events.iter().rposition(|event| event["event"] == kind && event["plugin"] == self.plugin);
        let (start, end) = (last("plugin_start"), last("plugin_end"));
        assert_eq!(end > start, place == "end", "{case}: killed within it");
        let state = world.status(&name);
        println!("{case}: {name} is {state}");
        assert_eq!(code == 0, state == "Complete", "{case}: {code}");
        assert!(["Failed", "Error"].contains(&state.as_str()), "{case}: {state}");
        name
    }

    fn check(&self, events: usize, dice: &Mutex<Dice>) {
        let (world, repository) = (self.world, self.repository());
        let url = repository_with_everything(world, &repository);
        let mut places = vec!["0".to_owned(), "end".to_owned()];
        // Most plugins are in both arrangements.
        if events > 0 && self.arrangement == "6" {
            let random = dice.lock().expect("no panic").next();
            places.insert(1, (1 + (random * events as f64) as usize).min(events).to_string());
        }
        let mut builds = Vec::new();
        for place in &places {
            let name = self.kill_at(&url, place);
            builds.extend([worker_of(&name, PLATFORM), name]);
            // What the registry has, somebody knows of.
            let known = recorded(world, &builds.iter().map(String::as_str).collect::<Vec<_>>());
            for tag in world.tags(&format!("test/{repository}")) {
                assert!(known.contains(&tag), "{repository} at {place}: {tag} is in no record: {known:?}");
            }
        }
        // The same again.
        let again = world.build(&url, self.options);
        assert_eq!(again.code, 0, "{repository}, again:\n{}\n{}", again.out, again.err);
        let tags: BTreeSet<String> = world.tags(&format!("test/{repository}")).into_iter().collect();
        assert!(tags.contains("latest") && tags.contains("1"), "{repository}: {tags:?}");
    }
}

/// One that most steps have something to do for.
fn repository_with_everything(world: &World, name: &str) -> String {
    let dockerfile = format!(
        "FROM base:1\nLABEL name=test/{name} com.redhat.component={name}-container version=1 \\\n      \
         distribution-scope=private\nRUN echo a > /a\n"
    );
    world.repository(name, &[("Dockerfile", &dockerfile), ("help.md", "# HELP\n"), ("sources", "nothing\n")])
}

/// A site with as much switched on as needs no server but the registry. Nobody takes its mail.
fn write_site(world: &World) {
    let closed = world::free_port();
    let program = world.path("fetch-sources");
    fs::write(&program, "#!/bin/sh\ntest -e sources\n").expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("changed");
    let (program, registry) = (program.display(), &world.registry);
    let instance = format!(
        "can_orchestrate = true\nmax_concurrent_builds = 16\nregistry_uri = http://{registry}\n\
         source_registry_uri = http://{registry}\nregistry_api_versions = v2\nsources_command = {program}\n\
         smtp_host = 127.0.0.1:{closed}\nsmtp_from = osbs@example.org\nsmtp_additional_addresses = al@example.org\n"
    );
    let reactor = format!(
        "clusters:\n  x86_64: [{{name: local, max_concurrent_builds: 16}}]\nsources_command: {program}\n\
         hide_files: {{tmpdir: /tmp, files: [/etc/group]}}\ngroup_manifests: true\n\
         smtp: {{host: '127.0.0.1:{closed}', from_address: osbs@example.org, additional_addresses: [al@example.org]}}\n"
    );
    world.write_conf(&instance, &reactor);
    let config = world::read(&world.path("config.yaml"));
    let (plain, types) = (format!("url: 'http://{registry}'}}]"), MEDIA_TYPES.join(", "));
    assert!(config.contains(&plain), "{config}");
    let checked = format!("url: 'http://{registry}', expected_media_types: [{types}]}}]");
    fs::write(world.path("config.yaml"), config.replacen(&plain, &checked, 1)).expect("written");
    fs::create_dir_all(world.path("home/hold")).expect("made");
}

/// Serves the same file of a package repository for ever; its URL.
fn serve_repository_file() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/site.repo", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let lines = BufReader::new(client.try_clone().expect("a socket")).lines();
            let _ = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).count();
            let body = "[site]\nname=site\nbaseurl=http://127.0.0.1:1/\nenabled=1\n";
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = client.write_all((head + body).as_bytes());
        }
    });
    url
}

fn check_all(who: Who, arrangement: &str) {
    if !world::can_run() {
        return;
    }
    let dice = Mutex::new(Dice::new(&format!("{who:?} of arrangement {arrangement}")));
    let before = surroundings();
    let world = World::new();
    write_site(&world);
    // Which plugins there are, a build that succeeds tells.
    let yum = serve_repository_file();
    let options = ["--arrangement-version", arrangement, "--platforms", PLATFORM, "--add-yum-repo", &yum];
    let done = world.build(&repository_with_everything(&world, "first"), &options);
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    let plugins = events_of_plugins(&world, &who.build(&world.newest("first").expect("a build")));
    println!("arrangement {arrangement}, {who:?}: {plugins:?}");
    for one in ["remove_built_image", "store_metadata_in_osv3"] {
        assert!(plugins.contains_key(one), "{plugins:?}");
    }
    let left = Mutex::new(plugins.into_iter().collect::<Vec<_>>());
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                while let Some((plugin, events)) = { left.lock().expect("no panic").pop() } {
                    Target { world: &world, arrangement, who, plugin: &plugin, options: &options }.check(events, &dice);
                }
            });
        }
    });
    // What workers left for an orchestrator that was killed goes, whether they said that it was there or not.
    world.ok(&["gc"]);
    let sql = "SELECT name FROM config_maps;";
    let maps = Command::new("sqlite3").arg(world.path("home/cluster.db")).arg(sql).output().expect("sqlite3 starts");
    assert_eq!(String::from_utf8_lossy(&maps.stdout), "", "ConfigMaps are left");
    let recorded: BTreeSet<_> = world.builds().iter().map(|build| build["name"].to_string()).collect();
    for folder in world.build_names() {
        assert!(recorded.contains(&format!("{folder:?}")), "{folder} is a folder without a record");
    }
    world::check_nothing_left(&world);
    drop(world);
    world::wait_until_clean(&before);
}

#[test]
fn the_worker_of_arrangement_6() {
    check_all(Who::Worker, "6");
}

#[test]
fn the_orchestrator_of_arrangement_6() {
    check_all(Who::Orchestrator, "6");
}

#[test]
fn the_worker_of_arrangement_1() {
    check_all(Who::Worker, "1");
}

#[test]
fn the_orchestrator_of_arrangement_1() {
    check_all(Who::Orchestrator, "1");
}
