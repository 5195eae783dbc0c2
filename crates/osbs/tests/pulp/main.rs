//! Builds whose images go to a real Pulp 3: fetched out of the registry, shown to clients after success only, pulled back;
//! and what a user reads, and what stays where it was, when Pulp is down, slow, or fails in its parts. One Pulp for all.
//!
//! Needs: what scripts/pulp.sh needs, docker-registry, skopeo, runc, nginx, aiosmtpd, sqlite3. `OSBS_TEST_SKIP_REAL=1` skips.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests, which tell how long what takes")]

mod canary;
mod kills;
#[path = "../mail_server/mod.rs"]
mod mail_server;
#[path = "../../../osbs-pulp/tests/support/mod.rs"]
mod pulp_server;
mod tls;
#[path = "../world/mod.rs"]
mod world;

use canary::Canary;
use pulp_server::RealPulp;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};
use world::gate::Gate;
use world::{Done, World, can_run, check_nothing_left, wait_for};

/// Beyond what the world writes: images are pushed to a registry of their own, from which Pulp fetches them.
struct Site<'a> {
    world: World,
    output: World,
    pulp: &'a RealPulp,
    canary: Canary,
    begun: Instant,
}

impl<'a> Site<'a> {
    fn new(pulp: &'a RealPulp) -> Self {
        let (world, output, begun) = (World::new(), World::bare(), Instant::now());
        Self { world, output, pulp, canary: Canary::new(pulp), begun }
    }

    fn step(&self, what: &str) {
        println!("{what}: {:.1} s", self.begun.elapsed().as_secs_f32());
    }

    /// Host and port of Pulp's registry.
    fn registry(&self) -> &str {
        self.pulp.address("api").trim_start_matches("http://")
    }

    /// `config.yaml` with these keys in `pulp`.
    fn configure(&self, keys: &str) {
        self.world.write_conf("can_orchestrate = true\n", "group_manifests: true\n");
        let (username, password) = (self.pulp.address("username"), self.pulp.address("password"));
        let text = format!(
            "version: 1\nclusters:\n  x86_64: [{{name: local, max_concurrent_builds: 4}}]\n\
             registries: [{{url: 'http://{}'}}]\nsource_registry: {{url: 'http://{}', insecure: true}}\n\
             group_manifests: true\n\
             pulp:\n  name: test\n  auth: {{username: {username}, password: {password}}}\n  {keys}\n",
            self.output.registry, self.world.registry
        );
        std::fs::write(self.world.path("config.yaml"), text).unwrap();
    }

    /// One build; its release is in `LABEL`, so that every build has another content.
    fn build(&self, what: &str) -> Done {
        let url = self.world.layered("web", &format!("RUN echo {what} >/what"));
        let done = self.world.build(&url, &[]);
        self.step(what);
        self.canary.hear(&done);
        done
    }

    fn served(&self, name: &str) -> Option<String> {
        served(self.pulp, name)
    }

    /// A build that fails because of Pulp: one screen that says these things, clients see what they saw, and the registry
    /// keeps what it got.
    #[track_caller]
    fn check_failure(&self, what: &str, parts: &[&str], served: &str) {
        let done = self.build(what);
        assert_eq!(done.code, 4, "{what}: a remote failure\n{}\n{}", done.out, done.err);
        for part in parts {
            assert!(done.err.contains(part), "{what}: {part:?} is not in\n{}", done.err);
        }
        let told = done.err.lines().skip_while(|line| !line.contains("error")).count();
        assert!(told < 30, "{what}: more than one screen\n{}", done.err);
        let release = self.release();
        let tags = self.output.tags("test/web");
        assert!(tags.contains(&format!("1-{release}")), "{what}: the registry keeps what Pulp may not have: {tags:?}");
        if !served.is_empty() {
            assert_eq!(self.served("test/web:latest").as_deref(), Some(served), "{what}: clients see what they saw");
            assert_eq!(self.served(&format!("test/web:1-{release}")), None, "{what}");
        }
    }

    /// The release of the last build.
    fn release(&self) -> u32 {
        let releases = self.output.tags("test/web").into_iter().filter_map(|tag| tag.strip_prefix("1-")?.parse().ok());
        releases.max().unwrap_or_default()
    }
}

/// The digest that clients of Pulp get for a name; nothing when they get none. By curl: skopeo speaks TLS first, which
/// makes Pulp's server wait for the end of a line.
fn served(pulp: &RealPulp, name: &str) -> Option<String> {
    let (repository, tag) = name.split_once(':').unwrap();
    let url = format!("{}/v2/{repository}/manifests/{tag}", pulp.address("api"));
    let accept = "Accept: application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json";
    let script = "set -o pipefail; curl -fsS -H \"$0\" \"$1\" | sha256sum";
    let got = Command::new("bash").args(["-c", script, accept, &url]).output().expect("bash starts");
    let text = String::from_utf8(got.stdout).unwrap();
    got.status.success().then(|| format!("sha256:{}", text.split_whitespace().next().unwrap()))
}

/// Everything of `to`, each connection after a delay.
fn slow_proxy(to: &str, delay: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let to = to.to_owned();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let to = to.clone();
            std::thread::spawn(move || {
                std::thread::sleep(delay);
                let Ok(server) = TcpStream::connect(to) else { return };
                let (from, into) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || copy(from, into));
                copy(server, client);
            });
        }
    });
    address
}

fn copy(mut from: TcpStream, mut into: TcpStream) {
    let mut buffer = [0; 8192];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if into.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = into.shutdown(std::net::Shutdown::Write);
}

/// The digest that a record has for a registry.
fn digest_of_annotation(record: &Value, host: &str) -> String {
    let digests = record["annotations"]["digests"].as_array().expect("digests");
    let there = digests.iter().find(|entry| entry["registry"] == host).expect("of Pulp");
    there["digest"].as_str().unwrap().to_owned()
}

#[test]
fn images_go_through_pulp_and_nothing_is_lost_when_it_fails() {
    if !can_run() {
        return;
    }
    let begun = Instant::now();
    let pulp = RealPulp::start();
    println!("started: {:.1} s", begun.elapsed().as_secs_f32());
    std::thread::scope(|scope| {
        let killed = scope.spawn(|| kills::check(&pulp));
        let encrypted = scope.spawn(|| tls::check(&pulp));
        let site = Site::new(&pulp);
        let digest = check_success(&site);
        // What comes now takes Pulp away from everybody.
        let records = killed.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        encrypted.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        kills::check_uploads(&pulp, &(records + &kills::records(&site.world)));
        site.step("killed and encrypted");
        check_end_between(&site, &digest);
        check_failures(&site);
        site.canary.check_world(&site.world, &[&site.output.path("registry")]);
    });
}

/// Builds that go well. Gives the digest that clients get at the end.
fn check_success(site: &Site<'_>) -> String {
    let api = site.pulp.address("api").to_owned();

    // All is well, archives included.
    site.configure(&format!("url: {api}\n  image_archives: true"));
    let done = site.build("good");
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    let build = site.world.builds().iter().find(|build| build["type"] == "orchestrator").unwrap()["name"].clone();
    let record = site.world.record(build.as_str().unwrap());
    let digest = digest_of_annotation(&record, site.registry());
    for tag in ["1-1", "latest", "1"] {
        assert_eq!(site.served(&format!("test/web:{tag}")).as_ref(), Some(&digest), "{tag}");
    }
    let primary = &record["annotations"]["repositories"]["primary"];
    assert_eq!(primary[0], format!("{}/test/web:1-1", site.registry()), "records tell of Pulp only: {primary}");
    assert_eq!(primary.as_array().unwrap().len(), 1, "{primary}");
    assert!(record["annotations"]["media-types"].to_string().contains("oci.image.index"), "{record}");
    check_pull(site);
    check_archive(site);
    digest
}

/// Pulp's API dies between `pulp_sync` and `pulp_publish`; with it back, the same build succeeds.
fn check_end_between(site: &Site<'_>, digest: &str) {
    let gate = Gate::before(site.registry());
    site.configure(&format!("url: 'http://{}'\n  timeout: 60", gate.address));
    let url = site.world.layered("web", "RUN echo between >/what");
    let earlier = site.world.newest("web");
    let mut follower = site.world.start_build(&url, &[]);
    wait_for("the build has a folder", 120, || site.world.newest("web") != earlier);
    let build = site.world.newest("web").unwrap();
    let log = site.world.path("home/builds/default").join(&build).join("events.jsonl");
    gate.hold("/pulp/api/", move || world::read(&log).contains("\"plugin\":\"pulp_publish\""));
    wait_for("pulp_publish asks Pulp", 300, || {
        gate.held() > 0 || follower.try_wait().is_ok_and(|ended| ended.is_some())
    });
    site.pulp.kill("api");
    gate.open();
    let done = world::done(follower.wait_with_output().unwrap());
    site.canary.hear(&done);
    site.step("between");
    assert_eq!(done.code, 4, "a remote failure\n{}\n{}", done.out, done.err);
    for part in ["pulp_publish", "look for the distribution of test/web", "is Pulp up"] {
        assert!(done.err.contains(part), "{part:?} is not in\n{}", done.err);
    }
    let name = format!("1-{}", site.release());
    assert!(!site.world.plugins(&build, "exit").0.contains(&"delete_from_registry".to_owned()), "not in arrangement 6");
    let record = site.world.record(&build);
    assert!(record["annotations"]["pulp-repositories"].to_string().contains("test-web"), "{record}");
    site.pulp.start_again("api");
    assert_eq!(site.served("test/web:latest").as_deref(), Some(digest), "clients see what they saw");
    assert_eq!(site.served(&format!("test/web:{name}")), None);
    assert!(site.output.tags("test/web").contains(&name), "the registry keeps it");
    let done = site.world.build(&url, &[]);
    site.step("between, again");
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    let served = site.served("test/web:latest");
    assert!(served.is_some() && served.as_deref() != Some(digest));
    assert_eq!(served, site.served(&format!("test/web:1-{}", site.release())));
}

/// Pulp down, slow, without its parts.
fn check_failures(site: &Site<'_>) {
    let api = site.pulp.address("api").to_owned();
    let digest = site.served("test/web:latest").unwrap();
    // Pulp's upstream is not there.
    let nobody = format!("127.0.0.1:{}", world::free_port());
    site.configure(&format!("url: {api}\n  sync_from: 'http://{nobody}'"));
    site.check_failure(
        "upstream",
        &["pulp_sync", "failed to synchronise the repository test-web", "sync_from"],
        &digest,
    );

    // Slower than the site's patience.
    let slow = slow_proxy(site.registry(), Duration::from_mins(1));
    site.configure(&format!("url: 'http://{slow}'\n  timeout: 3"));
    site.check_failure("slow", &["pulp_sync", &slow, "no answer from", "for 3 s"], &digest);

    // The content server is dead: names are served, layers are not.
    site.pulp.kill("content");
    site.configure(&format!("url: {api}\n  timeout: 20"));
    site.check_failure("content", &["pulp_pull", "did not serve", "within 20 s"], "");
    assert_eq!(site.served("test/web:latest").as_ref(), Some(&digest), "floating names wait for everything else");

    // Nobody takes tasks.
    site.pulp.kill("worker");
    site.configure(&format!("url: {api}\n  timeout: 5"));
    site.check_failure("worker", &["pulp_sync", "its task is waiting", "no worker of Pulp"], "");

    // Nobody is there.
    site.pulp.kill("api");
    site.check_failure("down", &["pulp_sync", "cannot find or make the repository test-web", "is Pulp up"], "");
    check_nothing_left(&site.world);
}

/// The whole image, layers and all, comes out of Pulp.
fn check_pull(site: &Site<'_>) {
    let image = format!("docker://{}/test/web:latest", site.registry());
    let target = format!("dir:{}", site.world.path("pulled").display());
    let login = format!("{}:{}", site.pulp.address("username"), site.pulp.address("password"));
    let args = ["copy", "--insecure-policy", "--src-tls-verify=false", "--src-creds", &login, &image, &target];
    let pulled = Command::new("skopeo").args(args).output().expect("skopeo starts");
    assert!(pulled.status.success(), "{}", String::from_utf8_lossy(&pulled.stderr));
    let manifest = std::fs::read_to_string(site.world.path("pulled/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(2), "{manifest}");
}

/// The archive under the image's names, as it was uploaded.
fn check_archive(site: &Site<'_>) {
    let worker = site.world.builds().into_iter().find(|build| build["type"] == "worker").unwrap();
    let record = site.world.record(worker["name"].as_str().unwrap());
    let uploaded = record["annotations"]["pulp-archive"].clone();
    let uploaded = uploaded.as_str().map_or(uploaded.clone(), |text| serde_json::from_str(text).unwrap());
    for tag in ["1-1", "latest"] {
        let url = format!("{}/pulp/content/image-archives/test/web/{tag}/x86_64.tar.gz", site.pulp.address("content"));
        let script = format!("curl -fsS {url} | sha256sum | cut -d' ' -f1");
        let sum = Command::new("sh").args(["-c", &script]).output().unwrap();
        let sum = format!("sha256:{}", String::from_utf8(sum.stdout).unwrap().trim());
        assert_eq!(uploaded["digest"], sum, "{url} {uploaded}");
    }
}
