//! Registries of a site: two at once with TLS and logins of their own, all that can be wrong with one, and names that move
//! only when everything else has succeeded. Needs docker-registry, skopeo, openssl and python3 beside what every whole
//! build needs.

#![allow(clippy::print_stdout, reason = "who reads the test log sees the screens")]

mod world;

use serde_json::{Value, json};
use std::fs;
use world::gate::Gate;
use world::registries::{Authority, BLUE, Login, RED, Recorder, RegistryServer, Setup, Valid};
use world::{Done, World, can_run, check_nothing_left, wait_for};

/// `config.yaml` with these registries; parents come from the world's own.
fn configure(world: &World, registries: &[String], more: &str) {
    // Arrangement 1 asks for parents before it reads config.yaml.
    let parents = format!("can_orchestrate = true\nsource_registry_uri = http://{}\n", world.registry);
    world.write_conf(&parents, "");
    let text = format!(
        "version: 1\nclusters:\n  x86_64: [{{name: local, max_concurrent_builds: 4}}]\nregistries:\n{}\n\
         source_registry: {{url: 'http://{}'}}\n{more}",
        registries.iter().map(|entry| format!("- {entry}")).collect::<Vec<_>>().join("\n"),
        world.registry
    );
    fs::write(world.path("config.yaml"), text).expect("written");
}

/// An entry of `registries`: TLS, verified by the site's authority, a login from a secret.
fn entry(server: &RegistryServer, authority: &Authority, secret: &str) -> String {
    let cfg_path = format!("/var/run/secrets/atomic-reactor/{secret}");
    format!("{{url: 'https://{}', ca_file: {}, auth: {{cfg_path: {cfg_path}}}}}", server.host, authority.file())
}

fn tls_and_login(authority: &Authority, name: &str, login: Login) -> Setup {
    Setup { tls: authority.tls(name, Valid::Now), login: Some(login), ..Setup::default() }
}

fn dockercfg(host: &str, login: Login) -> String {
    json!({ host: { "auth": login.basic } }).to_string()
}

fn docker_config_json(logins: &[(&str, Login)]) -> String {
    let auths: serde_json::Map<_, _> =
        logins.iter().map(|(host, login)| ((*host).to_owned(), json!({ "auth": login.basic }))).collect();
    json!({ "auths": auths }).to_string()
}

/// The name of a build that was followed and went well.
#[track_caller]
fn name(done: &Done) -> String {
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    build_of(done)
}

#[track_caller]
fn build_of(done: &Done) -> String {
    done.err.split_once('(').and_then(|(_, rest)| rest.split_once(')')).expect("a name").0.to_owned()
}

/// A failed build's code, and a screen that says these things and no password.
#[track_caller]
fn check_failure(done: &Done, code: i32, parts: &[&str]) {
    assert_eq!(done.code, code, "{}\n{}", done.out, done.err);
    let screen = done.err.rfind("  error ").map_or(done.err.as_str(), |at| &done.err[at..]);
    println!("{screen}");
    for part in parts {
        assert!(screen.contains(part), "{part:?} is not on the screen\n{screen}");
    }
    assert!(screen.lines().count() <= 24, "more than a screen\n{screen}");
    for login in [RED, BLUE] {
        assert!(!done.err.contains(login.password) && !done.err.contains(login.basic), "{}", done.err);
        assert!(!done.out.contains(login.password) && !done.out.contains(login.basic), "{}", done.out);
    }
}

#[test]
fn two_registries_with_tls_and_logins_of_their_own() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let authority = Authority::new(&world.path("authority"));
    let red = RegistryServer::start(&world, "red", &tls_and_login(&authority, "red", RED));
    let blue = RegistryServer::start(&world, "blue", &tls_and_login(&authority, "blue", BLUE));
    let ca = fs::read_to_string(authority.file()).expect("there");
    world.put_secret("push-red", &[(".dockercfg", &dockercfg(&red.host, RED)), ("ca.crt", &ca)]);
    let login = docker_config_json(&[(&blue.host, BLUE)]);
    world.put_secret("push-blue", &[(".dockerconfigjson", &login), ("ca.crt", &ca)]);
    let expected =
        "expected_media_types: [application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json]";
    let [first, second] = [entry(&red, &authority, "push-red"), entry(&blue, &authority, "push-blue")];
    let first = format!("{}, {expected}}}", first.strip_suffix('}').expect("an object"));
    configure(&world, &[first, second], "required_secrets: [push-red, push-blue]\n");

    let url = world.layered("both", "RUN true");
    let build = name(&world.build(&url, &["--arrangement-version", "6"]));
    let indexes = [("latest", &red, RED), ("1-1", &red, RED), ("latest", &blue, BLUE), ("1-1", &blue, BLUE)]
        .map(|(tag, server, login)| server.skopeo(&format!("test/both:{tag}"), Some(&authority), Some(login)));
    assert!(indexes[0].as_ref().is_some_and(|index| index.contains("image.index")), "{indexes:?}");
    assert!(indexes.iter().all(|index| *index == indexes[0]), "the same bytes under every name: {indexes:?}");
    assert_eq!(red.skopeo("test/both:latest", Some(&authority), Some(BLUE)), None, "another's password is no password");
    assert_eq!(red.skopeo("test/both:latest", Some(&authority), None), None, "nobody may read without one");

    let record = world.record(&build);
    let floating = json!([format!("{}/test/both:latest", red.host), format!("{}/test/both:1", red.host)]);
    let names = record["annotations"]["repositories"]["floating"].as_array().cloned().unwrap_or_default();
    assert!(floating.as_array().expect("a list").iter().all(|name| names.contains(name)), "{names:?}");
    assert_eq!(names.len(), 4, "{names:?}");
    let types = json!(["application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json"]);
    assert_eq!(record["annotations"]["media-types"], types, "{record}");
    let (exit, _) = world.plugins(&build, "exit");
    assert_eq!(exit.last().map(String::as_str), Some("push_floating_tags"), "{exit:?}");

    // Arrangement 1: the worker gives all names, those that move at its end. The site says it all in osbs.conf; the
    // authority lies beside each login.
    let instance = format!(
        "can_orchestrate = true\nsource_registry_uri = http://{}\nregistry_uri = https://{}, https://{}\n\
         registry_secret = push-red, push-blue\nregistry_api_versions = v2\n",
        world.registry, red.host, blue.host
    );
    world.write_conf(&instance, "");
    fs::remove_file(world.path("config.yaml")).expect("removed");
    let url = world.layered("single", "RUN true");
    let build = name(&world.build(&url, &["--arrangement-version", "1", "--platforms", "x86_64"]));
    for (server, login) in [(&red, RED), (&blue, BLUE)] {
        let names = ["latest", "1", "1-1"]
            .map(|tag| server.skopeo(&format!("test/single:{tag}"), Some(&authority), Some(login)));
        assert!(names[0].is_some() && names.iter().all(|found| *found == names[0]), "{names:?}");
    }
    let worker = format!("{build}-x86_64");
    let (exit, _) = world.plugins(&worker, "exit");
    assert_eq!(exit.last().map(String::as_str), Some("push_floating_tags"), "{exit:?}");
    let primary = world.record(&worker)["annotations"]["repositories"]["primary"].as_array().map(Vec::len);
    assert_eq!(primary, Some(6), "three names in two registries");

    // No byte of a password in anything a build has left.
    for login in [RED, BLUE] {
        for text in [login.password, login.basic] {
            let grep = std::process::Command::new("grep")
                .args(["-rlaF", text])
                .arg(world.path("home/builds"))
                .output()
                .expect("grep starts");
            assert_eq!(String::from_utf8_lossy(&grep.stdout), "", "{text:?}");
        }
    }
    check_nothing_left(&world);
}

#[test]
fn what_can_be_wrong_with_a_registry() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let authority = Authority::new(&world.path("authority"));
    let stranger = Authority::new(&world.path("stranger"));
    let red = RegistryServer::start(&world, "red", &tls_and_login(&authority, "red", RED));
    let host = red.host.clone();
    world.put_login("good", ".dockercfg", &dockercfg(&host, RED));
    let wrong = json!({ &host: { "username": "red", "password": BLUE.password } });
    world.put_login("wrong", ".dockercfg", &wrong.to_string());
    world.put_login("foreign", ".dockerconfigjson", &docker_config_json(&[("elsewhere.example.com", BLUE)]));
    world.put_login("empty", "README", "nothing here");
    let expired = Setup { tls: authority.tls("expired", Valid::UntilLastYear), ..Setup::default() };
    let expired = RegistryServer::start(&world, "expired", &expired);
    let read_only = "  maintenance: {readonly: {enabled: true}}\n".to_owned();
    let read_only = RegistryServer::start(&world, "read-only", &Setup { storage: read_only, ..Setup::default() });
    let secrets = "required_secrets: [good, wrong, foreign, empty]\n";
    let url = world.layered("fails", "RUN true");

    let of_red = |secret: &str| entry(&red, &authority, secret);
    let missing = format!("{{url: 'https://{host}', auth: {{cfg_path: /var/run/secrets/atomic-reactor/nosuch}}}}");
    let file = format!("{{url: 'https://{host}', auth: {{cfg_path: /nonexistent/auth.json}}}}");
    let not_trusted = entry(&red, &stranger, "good");
    let not_verified = format!("{{url: 'https://{}', ca_file: {}}}", expired.host, authority.file());
    let no_ca = format!("{{url: 'https://{host}', ca_file: /nonexistent/ca.pem}}");
    let no_tls = format!("{{url: 'https://{}'}}", world.registry);
    for (registry, code, parts) in [
        (of_red("wrong"), 3, &["does not let us", "not accepted", "is the password right"][..]),
        (of_red("foreign"), 3, &["does not let us", "has no login", "auth.cfg_path"]),
        (of_red("empty"), 3, &["its login cannot be used", ".dockerconfigjson", "policy"]),
        (missing, 3, &["its login cannot be used", "nosuch", "required_secrets"]),
        (file, 3, &["its login cannot be used", "/nonexistent/auth.json", "No such file"]),
        (no_ca, 3, &["ca_file /nonexistent/ca.pem cannot be used", "No such file"]),
        (not_trusted, 4, &["no trusted TLS connection", "UnknownIssuer", "`ca_file`"]),
        (not_verified, 4, &["no trusted TLS connection", "xpired", "renewed"]),
        (no_tls, 4, &["no trusted TLS connection", "written http://"]),
        (format!("{{url: 'http://{}'}}", read_only.host), 3, &["405", "read-only?"]),
    ] {
        configure(&world, std::slice::from_ref(&registry), secrets);
        let done = world.build(&url, &[]);
        println!("{registry}");
        check_failure(&done, code, parts);
    }
    // Skipping verification is one thing, and enough for an expired certificate.
    configure(&world, &[format!("{{url: 'https://{}', insecure: true}}", expired.host)], "");
    name(&world.build(&url, &[]));
    assert!(expired.skopeo("test/fails:latest", None, None).is_some());
    check_nothing_left(&world);
}

#[test]
fn one_of_two_is_down() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let up = RegistryServer::start(&world, "up", &Setup::default());
    let mut down = RegistryServer::start(&world, "down", &Setup::default());
    configure(&world, &[&up, &down].map(|server| format!("{{url: 'http://{}'}}", server.host)), "");
    down.stop();
    let url = world.layered("half", "RUN true");
    let done = world.build(&url, &["--arrangement-version", "6"]);
    check_failure(&done, 4, &[&down.host, "refused", &format!("is {} up", down.host)]);
    assert!(!done.err[done.err.rfind("  error ").expect("a screen")..].contains(&up.host), "{}", done.err);
    // What did arrive is on record, and no name but the unique one was given.
    let worker = world.record(&format!("{}-x86_64", build_of(&done)));
    let unique = worker["annotations"]["repositories"]["unique"].as_array().cloned().unwrap_or_default();
    let [unique] = &unique[..] else { panic!("one name: {worker}") };
    let unique =
        unique.as_str().expect("a text").strip_prefix(&format!("{}/", up.host)).expect("at the one that is up");
    assert!(up.skopeo(unique, None, None).is_some());
    assert_eq!(up.skopeo("test/half:latest", None, None), None);
    // The same build again succeeds.
    down.go_on();
    name(&world.build(&url, &["--arrangement-version", "6"]));
    for server in [&up, &down] {
        assert!(server.skopeo("test/half:latest", None, None).is_some());
    }
    check_nothing_left(&world);
}

#[test]
fn a_login_goes_to_its_own_registry_alone() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let authority = Authority::new(&world.path("authority"));
    let red = RegistryServer::start(&world, "red", &tls_and_login(&authority, "red", RED));
    let blue = RegistryServer::start(&world, "blue", &Setup { login: Some(BLUE), ..Setup::default() });
    let recorder = Recorder::before(&blue.host);
    // Both secrets hold both logins.
    let both = docker_config_json(&[(&red.host, RED), (&recorder.address, BLUE)]);
    world.put_login("push", ".dockerconfigjson", &both);
    let cfg_path = "/var/run/secrets/atomic-reactor/push";
    let second = format!("{{url: 'http://{}', auth: {{cfg_path: {cfg_path}}}}}", recorder.address);
    configure(&world, &[entry(&red, &authority, "push"), second], "required_secrets: [push]\n");
    let url = world.layered("alone", "RUN true");
    name(&world.build(&url, &["--arrangement-version", "6"]));
    let sent = recorder.sent();
    assert!(sent.contains(BLUE.basic), "its own login was used, and in the clear");
    assert!(!sent.contains(RED.basic) && !sent.contains(RED.password), "the other registry's login was sent");
    assert!(red.skopeo("test/alone:latest", Some(&authority), Some(RED)).is_some());
    check_nothing_left(&world);
}

/// A process that dies with its test.
struct Dies(std::process::Child);

impl Drop for Dies {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_login_does_not_go_along_with_a_redirect() {
    if !can_run() {
        return;
    }
    let world = World::new();
    // The registry sends readers of blobs to a file server over its own storage.
    let folder = world.path("registry-parents/data");
    fs::create_dir_all(&folder).expect("made");
    let files = world::free_port().to_string();
    let server = std::process::Command::new("python3")
        .args(["-m", "http.server", "--bind", "127.0.0.1", &files, "--directory"])
        .arg(&folder)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("python3 starts");
    let _server = Dies(server);
    let address = format!("127.0.0.1:{files}");
    wait_for("the file server", 60, || std::net::TcpStream::connect(&address).is_ok());
    let recorder = Recorder::before(&address);
    let redirect = format!(
        "middleware: {{storage: [{{name: redirect, options: {{baseurl: 'http://{}/'}}}}]}}\n",
        recorder.address
    );
    let parents =
        RegistryServer::start(&world, "parents", &Setup { login: Some(RED), more: redirect, ..Setup::default() });
    let copied = std::process::Command::new("skopeo")
        .args(["copy", "--quiet", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false"])
        .args(["--dest-creds", &format!("{}:{}", RED.user, RED.password)])
        .arg(format!("docker://{}/base:1", world.registry))
        .arg(format!("docker://{}/base:1", parents.host))
        .output()
        .expect("skopeo starts");
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    world.put_login("pull", ".dockercfg", &dockercfg(&parents.host, RED));
    let text = format!(
        "version: 1\nclusters:\n  x86_64: [{{name: local, max_concurrent_builds: 4}}]\nrequired_secrets: [pull]\n\
         registries: [{{url: 'http://{}'}}]\nsource_registry: {{url: 'http://{}', auth: {{cfg_path: \
         /var/run/secrets/atomic-reactor/pull}}}}\n",
        world.registry, parents.host
    );
    fs::write(world.path("config.yaml"), text).expect("written");
    fs::remove_dir_all(world.path("home/store")).expect("the parent has to be pulled");
    let url = world.layered("redirected", "RUN true");
    let done = world.build(&url, &["--arrangement-version", "6"]);
    name(&done);
    let sent = recorder.sent();
    assert!(sent.contains("GET /docker/registry/v2/blobs/"), "blobs came from the other server");
    assert!(!sent.to_lowercase().contains("authorization") && !sent.contains(RED.basic), "a login was sent");
}

/// The environment of the parent in the image a build has made.
#[track_caller]
fn generation(world: &World, repository: &str) -> String {
    let image = format!("docker://{}/{repository}:latest", world.registry);
    let done = std::process::Command::new("skopeo")
        .args(["inspect", "--config", "--tls-verify=false", &image])
        .output()
        .expect("skopeo starts");
    let config: Value = serde_json::from_slice(&done.stdout).expect("JSON");
    let env = config["config"]["Env"].as_array().cloned().unwrap_or_default();
    env.iter().filter_map(Value::as_str).find(|entry| entry.starts_with("GENERATION=")).unwrap_or_default().to_owned()
}

/// `base:1`, another one each time.
#[track_caller]
fn move_parent(world: &World, generation: &str) {
    let context = world.path("base");
    let text = fs::read_to_string(context.join("Dockerfile")).expect("there");
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("ENV GENERATION")).collect();
    fs::write(context.join("Dockerfile"), format!("{}\nENV GENERATION={generation}\n", lines.join("\n")))
        .expect("written");
    let tag = format!("{}/base:1", world.registry);
    world.ok(&["image", "build", &context.display().to_string(), "--tag", &tag, "--output", "push", "--quiet"]);
}

#[test]
fn the_parent_moves_between_orchestrator_and_worker() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let gate = Gate::before(&world.registry);
    let instance = format!(
        "can_orchestrate = true\nregistry_uri = http://{}\nsource_registry_uri = http://{}\nregistry_api_versions = v2\n",
        world.registry, gate.address
    );
    for arrangement in ["1", "6"] {
        move_parent(&world, "old");
        world.write_conf(if arrangement == "1" { &instance } else { "can_orchestrate = true\n" }, "");
        let text = if arrangement == "1" {
            "version: 1\nclusters:\n  x86_64: [{name: local, max_concurrent_builds: 4}]\n".to_owned()
        } else {
            let text = fs::read_to_string(world.path("config.yaml")).expect("there");
            text.replace(
                &format!("source_registry: {{url: 'http://{}'", world.registry),
                &format!("source_registry: {{url: 'http://{}'", gate.address),
            )
        };
        fs::write(world.path("config.yaml"), text).expect("written");
        let repository = format!("moved{arrangement}");
        let url = world.layered(&repository, "RUN true");
        // The worker stands before the parents' registry, and the orchestrator has asked there already.
        let events = world.path("home/builds/default");
        let prefix = format!("{repository}-main-");
        let worker_runs = move || {
            let entries = fs::read_dir(&events).into_iter().flatten().flatten();
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).any(|name| {
                let log = fs::read_to_string(events.join(&name).join("events.jsonl")).unwrap_or_default();
                name.starts_with(&prefix) && name.ends_with("-x86_64") && log.contains("pull_base_image")
            })
        };
        gate.hold("/v2/base/manifests/", worker_runs);
        let child = world.start_build(&url, &["--arrangement-version", arrangement, "--platforms", "x86_64"]);
        wait_for("the worker asks for its parent", 120, || gate.held() > 0);
        move_parent(&world, "new");
        gate.open();
        let build = name(&world::done(child.wait_with_output().expect("osbs ends")));
        assert_eq!(generation(&world, &format!("test/{repository}")), "GENERATION=old", "arrangement {arrangement}");
        let worker = format!("{build}-x86_64");
        assert!(world.has_said(&worker, "is pinned to"), "arrangement {arrangement}");
        // The next build takes the new one.
        name(&world.build(&url, &["--arrangement-version", arrangement, "--platforms", "x86_64"]));
        assert_eq!(generation(&world, &format!("test/{repository}")), "GENERATION=new", "arrangement {arrangement}");
    }
    check_nothing_left(&world);
}

/// What a tag of the world's registry stands for.
fn digest(world: &World, name: &str) -> String {
    let (repository, tag) = name.split_once(':').expect("a tag");
    let (code, manifest) = world.registry_get(&format!("/v2/{repository}/manifests/{tag}"));
    if code == 200 { manifest } else { code.to_string() }
}

#[test]
fn floating_tags_stay_where_they_are_when_a_last_step_fails() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let registry = |expected: &str| format!("{{url: 'http://{}'{expected}}}", world.registry);
    let in_vain = ", expected_media_types: [application/vnd.docker.distribution.manifest.list.v2+json, \
                   application/vnd.oci.image.manifest.v1+json]";
    // Lists of the site: a last step that fails in the worker of arrangement 1 too.
    let site = world.path("site");
    fs::create_dir_all(&site).expect("made");
    let verify = json!({"enable_plugins": [
        {"plugin_type": "exit_plugins", "plugin_name": "verify_media", "plugin_args": {}}]});
    fs::write(site.join("worker_customize.json"), verify.to_string()).expect("written");
    for arrangement in ["1", "6"] {
        let args = ["--arrangement-version", arrangement, "--platforms", "x86_64"];
        let url = world.layered(&format!("floats{arrangement}"), "RUN true");
        let [latest, first, second] = ["latest", "1-1", "1-2"].map(|tag| format!("test/floats{arrangement}:{tag}"));
        let all = |expected: &str| {
            configure(&world, &[registry(expected)], "");
            if arrangement == "1" {
                let conf = fs::read_to_string(world.path("osbs.conf")).expect("there");
                let general = format!("[general]\nbuild_json_dir = {}\n{conf}", site.display());
                fs::write(world.path("osbs.conf"), general).expect("written");
            }
        };
        all("");
        name(&world.build(&url, &args));
        let before = digest(&world, &latest);
        assert_eq!(before, digest(&world, &first));
        all(in_vain);
        let done = world.build(&url, &args);
        check_failure(&done, 3, &["expected media types are missing", "manifest.list.v2+json", "verify_media"]);
        assert_eq!(digest(&world, &latest), before, "arrangement {arrangement}: latest stays");
        assert!(digest(&world, &second).len() > 3, "the image itself is there");
        let build = build_of(&done);
        let recorded = if arrangement == "1" { format!("{build}-x86_64") } else { build };
        let names = world.record(&recorded)["annotations"]["repositories"].to_string();
        assert!(names.contains("1-2") && !names.contains("latest"), "{names}");
        all("");
        name(&world.build(&url, &args));
        assert_ne!(digest(&world, &latest), before, "arrangement {arrangement}: it moves when all is well again");
    }
    check_nothing_left(&world);
}
