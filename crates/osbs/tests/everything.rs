//! The whole pipeline at once: one build in arrangement 1 and one in arrangement 6 at a site where every step is switched on
//! that needs no Koji. What each step did is looked at from outside: by skopeo and umoci in the registries, in the mail, in
//! the record, in the order of the event log.
#![allow(clippy::print_stdout, reason = "tells what was measured")]

mod mail_server;
#[path = "../../osbs-pulp/tests/support/mod.rs"]
mod pulp_server;
mod world;

use mail_server::MailServer;
use pulp_server::RealPulp;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use world::distribution::packages_with_dnf;
use world::registries::{Authority, RED, RegistryServer, Setup, Valid};
use world::{World, can_run, check_nothing_left, wait_for};

const MEDIA_TYPES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json"];
const TOOL: &str = "a tool that is no package\n";
const BLOB: &str = "from the look-aside cache\n";
const ADDED: &str = "fetched by ADD\n";
const HELP: &str =
    "% WHOLE(1) Container Image Pages\n% Somebody\n% 2026\n\n# NAME\nwhole - has every step\n\n# USAGE\nRun `it`.\n";

/// Files by HTTP, until it is dropped.
struct Files {
    address: String,
    folder: PathBuf,
    process: Child,
}

impl Files {
    fn serve(folder: PathBuf) -> Self {
        fs::create_dir_all(&folder).expect("made");
        let port = world::free_port();
        let process = Command::new("python3")
            .args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string(), "--directory"])
            .arg(&folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("python3 is missing: apt-get install python3");
        let address = format!("127.0.0.1:{port}");
        wait_for("files are served", 60, || std::net::TcpStream::connect(&address).is_ok());
        Self { address, folder, process }
    }

    /// Puts a file there; its URL.
    fn put(&self, name: &str, content: &str) -> String {
        fs::write(self.folder.join(name), content).expect("written");
        format!("http://{}/{name}", self.address)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[track_caller]
fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{program} is missing (apt-get install {program}): {error}"));
    assert!(output.status.success(), "{program} {args:?}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn sha256(text: &str) -> String {
    use std::io::Write;
    let mut child = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sha256sum");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("sha256sum ends");
    String::from_utf8_lossy(&output.stdout)[..64].to_owned()
}

fn write_program(path: &Path, text: &str) {
    fs::write(path, text).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("changed");
}

/// A site where everything is switched on.
struct Site {
    world: World,
    files: Files,
    mail: MailServer,
    authority: Authority,
    second: RegistryServer,
}

impl Site {
    fn new() -> Self {
        let world = World::bare();
        let packages = packages_with_dnf();
        push_parent(&world, &packages);
        let files = Files::serve(world.path("files"));
        std::os::unix::fs::symlink(&packages, files.folder.join("packages")).expect("linked");
        let mail = MailServer::start(&world.path("mail"), "none", None, None);
        let authority = Authority::new(&world.path("authority"));
        let tls = authority.tls("second", Valid::Now);
        let second = RegistryServer::start(&world, "second", &Setup { tls, login: Some(RED), ..Setup::default() });
        let site = Self { world, files, mail, authority, second };
        site.write_configuration();
        site.write_programs();
        site
    }

    /// One configuration for both arrangements: 1 takes from `osbs.conf` what 6 has in `config.yaml`.
    fn write_configuration(&self) {
        let (world, mail) = (&self.world, &self.mail.address);
        let (first, files) = (&world.registry, &self.files.address);
        let folder = world.path("site").display().to_string();
        let instance = format!(
            "can_orchestrate = true\nregistry_uri = http://{first}\nsource_registry_uri = http://{first}\n\
             registry_api_versions = v2\ntoken_secrets = second\nsources_command = {folder}/fetch-sources\nvendor = Example\n\
             artifacts_allowed_domains = {files}\nsmtp_host = {mail}\nsmtp_from = osbs@example.org\n\
             smtp_additional_addresses = al@example.org\n[general]\nbuild_json_dir = {folder}\n"
        );
        let second = format!(
            "registries:\n  - {{url: 'http://{first}', expected_media_types: [{media}]}}\n  \
             - {{url: 'https://{}', ca_file: '{}', auth: {{cfg_path: /var/run/secrets/atomic-reactor/second}}, \
             expected_media_types: [{media}]}}\n",
            self.second.host,
            self.authority.file(),
            media = MEDIA_TYPES.join(", "),
        );
        let reactor = format!(
            "required_secrets: [second]\nsources_command: {folder}/fetch-sources\nartifacts_allowed_domains: ['{files}']\n\
             fetch: {{allow: [127.0.0.1]}}\nimage_labels: {{vendor: Example}}\n\
             image_equal_labels: [[description, io.k8s.description]]\n\
             image_label_info_url_format: 'https://images.example.org/{{name}}/{{version}}'\n\
             hide_files: {{tmpdir: /tmp, files: [/etc/in-the-way]}}\n\
             smtp: {{host: '{mail}', from_address: osbs@example.org, additional_addresses: [al@example.org]}}\n"
        );
        world.write_conf(&instance, &reactor);
        let config = fs::read_to_string(world.path("config.yaml")).expect("read");
        let one = format!("registries: [{{url: 'http://{first}'}}]\n");
        assert!(config.contains(&one), "{config}");
        fs::write(world.path("config.yaml"), config.replace(&one, &second)).expect("written");
        let login = json!({"auths": {&self.second.host: {"auth": RED.basic}}});
        world.put_login("second", ".dockerconfigjson", &login.to_string());
    }

    /// From now on images go to Pulp, by way of a registry of their own.
    fn switch_pulp_on(&self, pulp: &RealPulp) -> RegistryServer {
        let storage = "  delete: {enabled: true}\n".to_owned();
        let way = RegistryServer::start(&self.world, "way", &Setup { storage, ..Setup::default() });
        let (world, api) = (&self.world, pulp.address("api"));
        let mut secret = vec!["config".to_owned(), "set-secret".to_owned(), "pulp".to_owned()];
        for key in ["username", "password"] {
            fs::write(world.path(key), pulp.address(key)).expect("written");
            secret.push(world.path(key).display().to_string());
        }
        world.ok(&secret.iter().map(String::as_str).collect::<Vec<_>>());
        let conf = fs::read_to_string(world.path("osbs.conf")).expect("read");
        let pushed_to = format!("\nregistry_uri = http://{}\n", world.registry);
        assert!(conf.contains(&pushed_to), "{conf}");
        let new = format!(
            "\nregistry_uri = http://{}\npulp_registry_name = {api}\npulp_secret = pulp\npulp_image_archives = true\n",
            way.host
        );
        fs::write(world.path("osbs.conf"), conf.replace(&pushed_to, &new)).expect("written");
        let config = fs::read_to_string(world.path("config.yaml")).expect("read");
        let (before, rest) = config.split_once("registries:\n").expect("registries");
        let (_, after) = rest.split_once("\nsource_registry:").expect("what follows");
        let config = format!(
            "{before}registries: [{{url: 'http://{}'}}]\nsource_registry:{after}\
             pulp: {{name: test, url: '{api}', image_archives: true, auth: {{ssl_certs_dir: /var/run/secrets/atomic-reactor/pulp}}}}\n",
            way.host
        );
        let config = config.replace("required_secrets: [second]", "required_secrets: [pulp]");
        fs::write(world.path("config.yaml"), config).expect("written");
        way
    }

    fn write_programs(&self) {
        let folder = self.world.path("site");
        fs::create_dir_all(&folder).expect("made");
        let fetch = format!(
            "#!/bin/sh\nset -e\nwhile read -r sum name; do\n  curl -fsS -o \"$name\" \"http://{}/$name\"\n  \
             echo \"$sum  $name\" | sha256sum -c -\ndone <sources\n",
            self.files.address
        );
        write_program(&folder.join("fetch-sources"), &fetch);
        let check = "#!/bin/sh\ncat >request\nprintf '{\"log\": \"the site has looked\"}\\n{\"result\": {\"good\": true}}\\n'\n";
        write_program(&folder.join("look"), check);
        let entry = json!({"enable_plugins": [{
            "plugin_type": "postbuild_plugins", "plugin_name": "site_look", "plugin_args": {},
            "program": {"command": [folder.join("look").display().to_string()], "image": "oci"},
            "before": "tag_and_push",
        }]});
        fs::write(folder.join("worker_customize.json"), entry.to_string()).expect("written");
    }

    /// A repository that asks for everything.
    fn repository(&self, name: &str) -> String {
        self.files.put("blob.txt", BLOB);
        let tool = self.files.put("tool.txt", TOOL);
        let added = self.files.put("added.txt", ADDED);
        let dockerfile = format!(
            "FROM tools:1\nLABEL name=test/{name} com.redhat.component={name}-container version=1.2 \\\n      \
             distribution-scope=private description=\"has every step\"\n\
             COPY blob.txt artifacts/tool.txt /opt/\nADD --checksum=sha256:{} {added} /opt/\n\
             RUN dnf -y install hello && hello && rm -r /var/cache/dnf /var/log/dnf*\n\
             RUN cp /etc/yum.repos.d/*.repo /opt/repository-seen; ls /etc >/opt/etc-seen\n\
             RUN echo somebody:x:1000:1000::/:/bin/sh >>/etc/passwd\nUSER somebody\n",
            sha256(ADDED)
        );
        let artifact = format!("- url: {tool}\n  target: tool.txt\n  sha256: {}\n", sha256(TOOL));
        self.world.repository(
            name,
            &[
                ("Dockerfile", &dockerfile),
                ("sources", &format!("{} blob.txt\n", sha256(BLOB))),
                ("fetch-artifacts-url.yaml", &artifact),
                ("help.md", HELP),
                ("additional-tags", "stable\n"),
            ],
        )
    }

    /// A file of a package repository; its URL.
    fn put_repository(&self) -> String {
        let base = format!("http://{}/packages", self.files.address);
        self.files.put("site.repo", &format!("[site]\nname=site\nbaseurl={base}\nenabled=1\ngpgcheck=0\n"))
    }

    /// Builds it; the name of the build.
    #[track_caller]
    fn build(&self, url: &str, version: &str) -> String {
        let yum = self.put_repository();
        let done =
            self.world.build(url, &["--arrangement-version", version, "--platforms", "x86_64", "--add-yum-repo", &yum]);
        assert_eq!(done.code, 0, "arrangement {version}\n{}\n{}", done.out, done.err);
        check_nothing_left(&self.world);
        done.err.split_once('(').and_then(|(_, rest)| rest.split_once(')')).expect("a name").0.to_owned()
    }

    /// The files of a tag, as umoci unpacks what skopeo copied.
    fn unpack(&self, reference: &str) -> PathBuf {
        let layout = self.world.path(&format!("copied-{}", reference.replace(['/', ':'], "-")));
        let from = format!("docker://{}/{reference}", self.world.registry);
        let image = format!("{}:image", layout.display());
        let to = format!("oci:{image}");
        run("skopeo", &["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", &from, &to]);
        let bundle = layout.join("bundle");
        run("umoci", &["unpack", "--image", &image, bundle.to_str().expect("UTF-8")]);
        bundle.join("rootfs")
    }
}

/// `tools:1`: has dnf, and a file that is in the way of builds.
fn push_parent(world: &World, packages: &Path) {
    let lines = "RUN echo x >/etc/in-the-way\nLABEL distribution-scope=public description=\"of the parent\"\n";
    world.push_dnf_image("tools:1", packages, lines);
}

/// Every plugin of a build in the order in which it ran, by its events; none of them has failed.
#[track_caller]
fn ran(world: &World, build: &str) -> Vec<String> {
    let events = world.events(build);
    let ended = events.iter().filter(|event| event["event"] == "plugin_end");
    for end in ended {
        assert!(end["outcome"] == "ok" || end["outcome"] == "skipped", "{build}: {end}");
    }
    let begun = events.iter().filter(|event| event["event"] == "plugin_start");
    begun.map(|event| event["plugin"].as_str().expect("a name").to_owned()).collect()
}

/// The record has a time for each plugin up to the record itself, and they rise.
#[track_caller]
fn check_times(world: &World, build: &str, order: &[&str]) {
    let record = world.record(build);
    let metadata = &record["annotations"]["plugins-metadata"];
    assert_eq!(metadata["errors"], json!({}), "{build}");
    let recorded = order.iter().take_while(|name| **name != "store_metadata_in_osv3");
    let times: Vec<_> = recorded
        .map(|name| metadata["timestamps"][name].as_str().unwrap_or_else(|| panic!("{build}: no time of {name}")))
        .collect();
    assert!(times.is_sorted(), "{build}: {times:?}");
}

#[track_caller]
fn check_order(world: &World, build: &str, order: &[&str]) {
    assert_eq!(ran(world, build), order, "{build}");
    check_times(world, build, order);
}

/// What the Dockerfile's steps left in the image, and what they did not leave.
#[track_caller]
fn check_files(root: &Path, name: &str) {
    let read = |path: &str| world::read(&root.join(path));
    assert_eq!(read("opt/blob.txt"), BLOB, "sources_command");
    assert_eq!(read("opt/tool.txt"), TOOL, "artefacts by URL");
    assert_eq!(read("opt/added.txt"), ADDED, "ADD");
    assert!(read("opt/repository-seen").starts_with("[site]\nname=site\n"), "RUN saw the repository file");
    assert!(root.join("usr/bin/hello").exists(), "dnf installed from it");
    let folder = root.join("etc/yum.repos.d");
    let left: Vec<_> = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect();
    assert!(left.is_empty(), "nothing of the repositories is in the image: {left:?}");
    let kept = read(&format!("root/buildinfo/Dockerfile-test-{name}-1.2-1"));
    assert!(kept.contains("FROM sha256:") && kept.contains("COPY blob.txt"), "the Dockerfile is kept:\n{kept}");
    let help = read("help.1");
    assert!(help.contains(".TH") && help.contains("has every step"), "the man page:\n{help}");
}

#[track_caller]
fn check_labels(config: &Value, name: &str) {
    let label = |key: &str| config["config"]["Labels"][key].as_str().unwrap_or_default().to_owned();
    for (key, expected) in [
        ("name", format!("test/{name}").as_str()),
        ("release", "1"),
        ("vendor", "Example"),
        ("architecture", "x86_64"),
        ("distribution-scope", "private"),
        ("description", "has every step"),
    ] {
        assert_eq!(label(key), expected, "{key}");
    }
    assert_eq!(label("vcs-ref").len(), 40);
    assert!(!label("build-date").is_empty());
    assert_eq!(config["config"]["User"], "somebody", "what the steps added did not change the user");
}

/// The image's tags in both registries stand for the same bytes; the configuration of the image.
#[track_caller]
fn check_registries(site: &Site, name: &str) -> Value {
    for tag in ["1.2-1", "1.2", "latest", "stable"] {
        let reference = format!("test/{name}:{tag}");
        let (code, first) = site.world.registry_get(&format!("/v2/test/{name}/manifests/{tag}"));
        assert_eq!(code, 200, "{reference}");
        let second = site.second.skopeo(&reference, Some(&site.authority), Some(RED));
        assert_eq!(second.as_deref(), Some(first.as_str()), "{reference} in the second registry");
    }
    assert!(
        site.second.skopeo(&format!("test/{name}:latest"), Some(&site.authority), None).is_none(),
        "it has a login"
    );
    let from = format!("docker://{}/test/{name}:latest", site.world.registry);
    let config = run("skopeo", &["inspect", "--config", "--raw", "--tls-verify=false", &from]);
    serde_json::from_str(&config).expect("JSON")
}

/// One mail, with the names of the image in both registries.
#[track_caller]
fn check_mail(site: &Site, name: &str) {
    let mails = site.mail.mails();
    let subject = format!("Succeeded building image test/{name}");
    let mail = mails.iter().find(|mail| mail["subject"] == subject.as_str()).unwrap_or_else(|| panic!("{mails:#?}"));
    assert_eq!((&mail["to"], &mail["defects"]), (&json!(["al@example.org"]), &json!([])));
    let body = mail["body"].as_str().expect("text");
    for host in [&site.world.registry, &site.second.host] {
        for tag in ["1.2-1", "latest"] {
            let spec = format!("    {host}/test/{name}:{tag}");
            assert!(body.lines().any(|line| line == spec), "{spec} is not in\n{body}");
        }
    }
}

#[track_caller]
fn check_records(site: &Site, build: &str, worker: &str, name: &str) {
    assert_eq!(site.world.record(worker)["annotations"]["help_file"], "\"help.md\"");
    let record = site.world.record(build);
    let annotations = &record["annotations"];
    assert_eq!(annotations["commit_id"].as_str().map(str::len), Some(40));
    assert_eq!(annotations["base-image-name"], "tools:1");
    let primary = annotations["repositories"]["primary"].to_string();
    for host in [&site.world.registry, &site.second.host] {
        assert!(primary.contains(&format!("{host}/test/{name}:1.2-1")), "{primary}");
        let digests = annotations["digests"].as_array().expect("digests");
        assert!(digests.iter().any(|digest| digest["registry"] == host.as_str()), "{digests:?}");
    }
}

#[test]
fn every_step_that_needs_no_koji() {
    if !can_run() {
        return;
    }
    mail_server::check_needs();
    let started = Instant::now();
    let site = Site::new();
    println!("the site: {:.1} s", started.elapsed().as_secs_f64());
    arrangement_1(&site);
    arrangement_6(&site);
    assert_eq!(site.mail.mails().len(), 2, "one mail a build");
    an_error_names_the_line_of_the_author(&site);
    println!("without Pulp {:.1} s", started.elapsed().as_secs_f64());
    let pulp = RealPulp::start();
    println!("with Pulp running {:.1} s", started.elapsed().as_secs_f64());
    let way = site.switch_pulp_on(&pulp);
    arrangement_1_into_pulp(&site, &pulp, &way);
    println!("arrangement 1 into Pulp {:.1} s", started.elapsed().as_secs_f64());
    arrangement_6_into_pulp(&site, &pulp, &way);
    println!("all in all {:.1} s", started.elapsed().as_secs_f64());
}

/// The orchestrator of arrangement 1, in the seed's order (`reactor.md` 2.7).
const ORCHESTRATOR_1: [&str; 7] = [
    "pull_base_image",
    "bump_release",
    "add_labels_in_dockerfile",
    "reactor_config",
    "orchestrate_build",
    "store_metadata_in_osv3",
    "remove_built_image",
];

const WORKER_1: [&str; 22] = [
    "pull_base_image",
    "add_labels_in_dockerfile",
    "change_from_in_dockerfile",
    "add_help",
    "add_dockerfile",
    "distgit_fetch_artefacts",
    "fetch_maven_artifacts",
    "add_yum_repo_by_url",
    "inject_yum_repo",
    "distribution_scope",
    "docker_api",
    "squash",
    "all_rpm_packages",
    "tag_by_labels",
    "tag_from_config",
    "site_look",
    "tag_and_push",
    "compress",
    "store_metadata_in_osv3",
    "sendmail",
    "remove_built_image",
    "push_floating_tags",
];

const ORCHESTRATOR_6: [&str; 17] = [
    "reactor_config",
    "check_and_set_platforms",
    "add_filesystem",
    "pull_base_image",
    "bump_release",
    "add_labels_in_dockerfile",
    "orchestrate_build",
    "fetch_worker_metadata",
    "compare_components",
    "tag_from_config",
    "group_manifests",
    "verify_media",
    "store_metadata_in_osv3",
    "sendmail",
    "remove_built_image",
    "remove_worker_metadata",
    "push_floating_tags",
];

/// The same steps, with these behind that one.
fn with_steps(steps: &[&'static str], added: &[(&str, &[&'static str])]) -> Vec<&'static str> {
    let mut all = steps.to_vec();
    for (behind, more) in added {
        let at = all.iter().position(|step| step == behind).expect("it is there");
        all.splice(at + 1..=at, more.iter().copied());
    }
    all
}

/// Pulp serves the image that the record tells of, and the registry on the way has it no more.
#[track_caller]
fn check_pulp(site: &Site, pulp: &RealPulp, way: &RegistryServer, build: &str, name: &str, is_emptied: bool) {
    let served = pulp.address("api").trim_start_matches("http://");
    let login = format!("{}:{}", pulp.address("username"), pulp.address("password"));
    let record = site.world.record(build);
    let digests = record["annotations"]["digests"].as_array().expect("digests");
    let begun = Instant::now();
    // One of the names: skopeo and Pulp take ten seconds for it.
    let image = format!("docker://{served}/test/{name}:stable");
    let digest = run(
        "skopeo",
        &["inspect", "--no-tags", "--tls-verify=false", "--creds", &login, "--format", "{{.Digest}}", &image],
    );
    let told = digests.iter().any(|entry| entry["registry"] == served && entry["digest"] == digest.trim());
    assert!(told, "{image} is {digest}, but {digests:?}");
    println!("{name} looked at in Pulp {:.1} s", begun.elapsed().as_secs_f64());
    let left = way.skopeo(&format!("test/{name}:1.2-1"), None, None);
    assert_eq!(left.is_none(), is_emptied, "{left:?}");
}

fn arrangement_1_into_pulp(site: &Site, pulp: &RealPulp, way: &RegistryServer) {
    let build = site.build(&site.repository("pulp-one"), "1");
    let worker = format!("{build}-x86_64");
    check_order(&site.world, &build, &ORCHESTRATOR_1);
    let added: [(&str, &[&str]); 2] =
        [("tag_and_push", &["pulp_push", "pulp_sync"]), ("compress", &["pulp_pull", "delete_from_registry"])];
    check_order(&site.world, &worker, &with_steps(&WORKER_1, &added));
    check_pulp(site, pulp, way, &worker, "pulp-one", true);
}

fn arrangement_6_into_pulp(site: &Site, pulp: &RealPulp, way: &RegistryServer) {
    let build = site.build(&site.repository("pulp-six"), "6");
    let added: [(&str, &[&str]); 1] = [("group_manifests", &["pulp_tag", "pulp_sync", "pulp_publish", "pulp_pull"])];
    let mut steps = with_steps(&ORCHESTRATOR_6, &added);
    steps.retain(|step| *step != "verify_media");
    check_order(&site.world, &build, &steps);
    // Its list does not take the image out of the registry again.
    check_pulp(site, pulp, way, &build, "pulp-six", false);
}

fn arrangement_1(site: &Site) {
    let url = site.repository("one");
    let build = site.build(&url, "1");
    let worker = format!("{build}-x86_64");
    let world = &site.world;
    check_order(world, &build, &ORCHESTRATOR_1);
    check_order(world, &worker, &WORKER_1);
    assert!(world.has_said(&worker, "the site has looked"));
    let config = check_registries(site, "one");
    check_labels(&config, "one");
    check_files(&site.unpack("test/one:latest"), "one");
    check_mail(site, "one");
    check_records(site, &worker, &worker, "one");
    assert!(world.path("home/builds/default").join(&worker).join("results/compressed.tar.gz").exists());
    assert_eq!(world.record(&worker)["annotations"]["tar_metadata"]["filename"], "compressed.tar.gz");
}

fn arrangement_6(site: &Site) {
    let url = site.repository("six");
    let build = site.build(&url, "6");
    let worker = format!("{build}-x86_64");
    let world = &site.world;
    check_order(world, &build, &ORCHESTRATOR_6);
    let steps = [
        "reactor_config",
        "add_filesystem",
        "pull_base_image",
        "add_labels_in_dockerfile",
        "change_from_in_dockerfile",
        "hide_files",
        "add_help",
        "add_dockerfile",
        "distgit_fetch_artefacts",
        "fetch_maven_artifacts",
        "add_yum_repo_by_url",
        "inject_yum_repo",
        "distribution_scope",
        "docker_api",
        "squash",
        "all_rpm_packages",
        "tag_from_config",
        "site_look",
        "tag_and_push",
        "export_operator_manifests",
        "compress",
        "koji_upload",
        "store_metadata_in_osv3",
        "remove_built_image",
    ];
    check_order(world, &worker, &steps);
    assert!(world.has_said(&worker, "the site has looked"));
    let config = check_registries(site, "six");
    check_labels(&config, "six");
    assert_eq!(config["config"]["Labels"]["io.k8s.description"], "has every step", "labels that are equal");
    assert_eq!(config["config"]["Labels"]["url"], "https://images.example.org/test/six/1.2");
    let root = site.unpack("test/six:latest");
    check_files(&root, "six");
    assert!(!world::read(&root.join("opt/etc-seen")).contains("in-the-way"), "the file was hidden from RUN");
    assert_eq!(world::read(&root.join("etc/in-the-way")), "x\n", "and is there again");
    check_mail(site, "six");
    check_records(site, &build, &worker, "six");
    let record = world.record(&build);
    assert_eq!(record["annotations"]["media-types"], json!(MEDIA_TYPES));
}

/// Steps insert lines into the Dockerfile; the error names the line that its author wrote.
fn an_error_names_the_line_of_the_author(site: &Site) {
    let files = [
        (
            "Dockerfile",
            "FROM tools:1\nLABEL name=test/bad com.redhat.component=bad-container version=1\nRUN echo no; exit 4\n",
        ),
        ("sources", ""),
    ];
    let url = site.world.repository("bad", &files);
    let yum = site.put_repository();
    let done = site.world.build(&url, &["--add-yum-repo", &yum]);
    assert_eq!(done.code, 1, "{}\n{}", done.out, done.err);
    assert!(done.err.contains("  where Dockerfile:3\n"), "{}", done.err);
    let mails = site.mail.mails();
    let body = mails[2]["body"].as_str().expect("text");
    assert!(body.contains("Dockerfile:3"), "{body}");
}
