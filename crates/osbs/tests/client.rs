//! The client's commands as a user types them: with nothing but configuration files, and with real builds, whose secrets
//! are looked at through the build's own namespaces. Text and JSON are snapshots.

mod world;

use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;
use world::{Done, OSBS, World, can_run, check_nothing_left, done, wait_for};

/// Long, so that it is found wherever a byte of it is.
const CANARY: &str = "canary-7f3a9c51d2e84b60";

const CONF: &str = "\
[default]
[web]
openshift_url = https://builds.example.org:8443/
token_file = token
[given]
openshift_url = https://builds.example.org:8443
token = abc123
[login]
openshift_url = https://builds.example.org:8443/
[elsewhere]
token_file = nowhere
";

/// A home with configuration and nothing else.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        let home = tempfile::Builder::new().prefix("osbs-test-").tempdir().expect("a temporary folder");
        fs::write(home.path().join("osbs.conf"), CONF).expect("written");
        fs::write(home.path().join("token"), "from-a-file\n").expect("written");
        Self(home)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(OSBS);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.0.path()).current_dir(self.0.path());
        command.args(["--config", "osbs.conf"]).args(args).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Done {
        done(self.command(args).output().expect("osbs starts"))
    }

    /// What a user sees, and the exit code.
    fn screen(&self, args: &[&str]) -> String {
        let done = self.run(args);
        let text = format!("$ osbs {}\n{}{}[{}]\n", args.join(" "), done.out, done.err, done.code);
        text.replace(&*self.0.path().to_string_lossy(), "HOME")
    }
}

#[test]
fn tokens_and_users() {
    let home = Home::new();
    let mut screens = String::new();
    for args in [
        &["-i", "web", "get-token"][..],
        &["-i", "web", "get-token", "--oc"],
        &["-i", "given", "get-token"],
        &["-i", "given", "--token-file", "token", "get-token"],
        &["-i", "login", "get-token"],
        &["-i", "login", "login", "--token", "kept"],
        &["-i", "login", "get-token"],
        &["-i", "elsewhere", "get-token"],
        &["-i", "web", "print-token-url"],
        &["print-token-url"],
        &["login", "--token", ""],
        &["get-user", "root"],
        &["get-user", "root", "--output", "json"],
        &["get-user", "nobody-of-that-name"],
        &["-i", "web", "--openshift-uri", "ftp://builds.example.org/", "list-builds"],
        &["get-serviceaccount-token", "builder"],
    ] {
        screens.push_str(&home.screen(args));
    }
    insta::assert_snapshot!("tokens_and_users", screens);
    let file = home.0.path().join(".osbs/login.token");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(file.parent().expect("has one"))), (0o600, 0o700));

    // A token that nobody sees in a list of processes, and an old file that somebody has made readable.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).expect("changed");
    let mut login =
        home.command(&["-i", "login", "login"]).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starts");
    login.stdin.take().expect("piped").write_all(b"newer\n").expect("written");
    assert!(login.wait().expect("ends").success());
    assert_eq!((fs::read_to_string(&file).expect("there").as_str(), mode(&file)), ("newer", 0o600));
}

#[test]
fn build_options_that_need_or_exclude_others() {
    let home = Home::new();
    let repository = ["build", "-g", "file:///nowhere", "-b", "main"];
    for (more, code, says) in [
        (&["--worker"][..], 2, "--platform"),
        (&["--worker", "--platform", "x86_64", "--release", "1"], 2, "--arrangement-version"),
        (
            &["--worker", "--platform", "p", "--release", "1", "--arrangement-version", "6", "--platforms", "p"],
            2,
            "--platforms",
        ),
        (&["--orchestrator", "--platform", "x86_64"], 2, "--worker"),
        (&["--orchestrator", "--prod"], 2, "--prod"),
        (&["--prod", "--release", "1"], 2, "--release"),
        (&["--prod", "--platforms", "x86_64"], 2, "--platforms"),
        (&["--prod", "--arrangement-version", "1"], 2, "--arrangement-version"),
        (&["--arch", "x86_64"], 2, "--prod"),
        (&["--scratch", "--isolated", "--release", "1.1"], 2, "--scratch"),
        (&["--isolated"], 2, "--release"),
        (&["--signing-intent", "release", "--compose-id", "1"], 2, "--signing-intent"),
        (&["--build-image", "a", "--build-from", "image:b"], 2, "--build-from"),
        // What needs more than the command line is the library's.
        (&[], 3, "can_orchestrate"),
        (&["--cpu-limit", "many"], 3, "a quantity"),
        (&["--build-from", "docker:x"], 3, "image:PULLSPEC"),
        (&["--openshift-uri", "ftp://elsewhere.example.org/"], 3, "elsewhere.example.org"),
    ] {
        let done = home.run(&[&repository[..], more].concat());
        assert_eq!(done.code, code, "{more:?}\n{}{}", done.out, done.err);
        assert!(done.err.contains(says), "{more:?}: {says:?} is not in\n{}", done.err);
    }
    fs::write(home.0.path().join("osbs.conf"), "[default]\ncan_orchestrate = true\n").expect("written");
    for (more, says) in [
        (&["build"][..], "needs: git_branch, git_ref, git_uri"),
        (&["build", "-g", "file:///x", "-b", "m", "--isolated", "--release", "1"], "N.N or N.N.SUFFIX"),
        (&["build", "-g", "file:///x", "-b", "m", "--add-yum-repo", "x.repo"], "an http or https URL"),
        (&["build", "-g", "file:///x", "-b", "m", "--koji-parent-build", "x"], "name-version-release"),
        (&["build", "-g", "file:///x", "-b", "m", "--arrangement-version", "1"], "needs: platforms"),
        (&["list-builds", "--from-json", "osbs.conf"], "osbs.conf is no list of builds"),
    ] {
        let done = home.run(more);
        assert_eq!(done.code, 1, "{more:?}\n{}{}", done.out, done.err);
        assert!(done.err.contains(says), "{more:?}: {says:?} is not in\n{}", done.err);
    }
    let done = home.run(&["list-builds", "--columns", "name,colour"]);
    assert_eq!(done.code, 2);
    assert!(done.err.contains("colour") && done.err.contains("koji_build_id"), "{}", done.err);
}

#[test]
fn schemas_are_printed() {
    let home = Home::new();
    for (file, title, keys) in [
        ("config.yaml", "config.yaml: the site's configuration of builds", 30),
        ("container.yaml", "container.yaml: what a repository wishes for its builds", 8),
        ("user-params", "USER_PARAMS: what one request asks for", 38),
    ] {
        let done = home.run(&["config", "schema", file]);
        assert_eq!(done.code, 0, "{}", done.err);
        let schema: Value = serde_json::from_str(&done.out).expect("JSON");
        assert_eq!(
            (&schema["$schema"], &schema["title"]),
            (&json!("http://json-schema.org/draft-07/schema#"), &json!(title))
        );
        let properties = schema["properties"].as_object().expect("properties");
        assert!(properties.len() >= keys, "{file}: {}", properties.len());
        assert!(properties.values().all(|property| property["description"].is_string()));
    }
    let done = home.run(&["config", "schema", "osbs.conf"]);
    assert_eq!(done.code, 2);
    assert!(done.err.contains("config.yaml, container.yaml, user-params"), "{}", done.err);
}

#[test]
fn config_maps_come_and_go() {
    let home = Home::new();
    fs::write(home.0.path().join("a.json"), "{\"x\": [1]}").expect("written");
    let mut screens = String::new();
    for args in [
        &["config", "set-config-map", "md", "a.json", "token"][..],
        &["config", "get-config-map", "md"],
        &["config", "delete-config-map", "md"],
        &["config", "get-config-map", "md"],
        &["config", "set-secret", "s", "token"],
        &["config", "delete-secret", "s"],
        &["config", "list", "--output", "json"],
    ] {
        screens.push_str(&home.screen(args));
    }
    insta::assert_snapshot!("config_maps", screens);
}

#[test]
fn completion_knows_every_command() {
    let home = Home::new();
    let script = home.run(&["completion", "bash"]).out;
    for word in [
        "watch-builds",
        "get-build-image-id",
        "login",
        "get-token",
        "get-serviceaccount-token",
        "print-token-url",
        "get-user",
        "build-json",
        "plugins",
        "--worker",
        "--capture-dir",
        "--from-json",
        "schema",
    ] {
        assert!(script.contains(word), "{word}");
    }
}

/// What differs from run to run.
fn steady(world: &World, text: &str) -> String {
    let script = "s/sha256:[0-9a-f]{64}/sha256:DIGEST/g; s/[0-9a-f]{40}/COMMIT/g; s/none-[0-9]{5}-[0-9]{14}/none-UNIQUE/g; \
                  s/(build-host\"=)\"[^\"]*\"/\\1\"HOST\"/; s/[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z/TIME/g; \
                  s/-[0-9a-f]{5}-([0-9]+)/-HASH-\\1/g; s/[ \\t]+$//";
    let mut sed = Command::new("sed")
        .args(["-E", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sed starts");
    let text = text.replace(&*world.folder.path().to_string_lossy(), "WORLD").replace(&world.registry, "REGISTRY");
    sed.stdin.take().expect("piped").write_all(text.as_bytes()).expect("written");
    String::from_utf8(sed.wait_with_output().expect("ends").stdout).expect("text")
}

#[test]
fn a_build_as_its_commands_show_it() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let url = world.layered("web", "RUN true");
    let watching = watch(&world);
    let build = world.submit(&url, &["--orchestrator"]);
    let done = world.run(&["watch-build", &build]);
    assert_eq!((done.code, done.out.as_str()), (0, ""), "{}", done.err);
    let seen = watching.until(&build, "Complete");
    assert_eq!(seen[0]["changetype"], "added", "{seen:?}");
    assert!(seen.iter().all(|change| change["name"] == build.as_str()), "{seen:?}");

    insta::assert_snapshot!("get_build", steady(&world, &world.ok(&["get-build", &build])));
    let columns = "name,status,image,unique_image,base_image,type,koji_build_id,commit";
    insta::assert_snapshot!(
        "list_builds",
        steady(&world, &world.ok(&["list-builds", "--columns", columns, "--workers"]))
    );
    let record = world.record(&build);
    let keys: Vec<_> = record.as_object().expect("an object").keys().cloned().collect();
    insta::assert_snapshot!("record_keys", keys.join("\n"));

    let list = world.ok(&["list-builds", "--output", "json"]);
    fs::write(world.path("builds.json"), &list).expect("written");
    let file = world.path("builds.json").display().to_string();
    let again = world.ok(&["list-builds", "--from-json", &file, "--output", "json"]);
    assert_eq!(again, list);
    let rows = |args: &[&str]| world.ok(&[&["list-builds", "--columns", "name,image,status"], args].concat());
    assert_eq!(rows(&["--from-json", &file]), rows(&[]), "a file shows what the cluster showed");
    for (args, count) in [
        (&["test/web"][..], 1),
        (&["nothing"], 0),
        (&["--running"], 0),
        (&["--label", "git-branch=main"], 1),
        (&["--label", "git-branch=other"], 0),
        (&["--koji-task-id", "7"], 0),
        (&["--from-json", &file, "--running"], 0),
        (&["--from-json", &file, "nothing"], 0),
    ] {
        assert_eq!(rows(args).lines().count(), count, "{args:?}");
    }

    let worker = format!("{build}-x86_64");
    let ids = world.json(&["get-build-image-id", &worker, "--output", "json"]);
    let ids = ids.as_object().expect("an object");
    assert!(
        ids.values().all(|id| id.as_str().is_some_and(|id| id.starts_with("sha256:"))) && !ids.is_empty(),
        "{ids:?}"
    );
    assert_eq!(world.ok(&["get-build-image-id", &worker]).lines().count(), ids.len());

    let log = world.ok(&["build-logs", &build]);
    assert_eq!(world.ok(&["build-logs", &build, "--follow"]), log, "a finished build is followed to its end at once");
    let folder = world.path("answers");
    world.ok(&["--capture-dir", &folder.display().to_string(), "get-build", &build]);
    let answer: Value = serde_json::from_str(&world::read(&folder.join("001-get_build.json"))).expect("JSON");
    assert_eq!(
        (&answer["name"], &answer["env"]),
        (&json!(build), &json!({})),
        "what it was asked for went with its end"
    );
    let next = world.submit(&url, &["--capture-dir", &folder.display().to_string()]);
    let answers = fs::read_dir(&folder).expect("a folder").flatten().map(|entry| entry.path());
    let created: Vec<_> = answers.filter(|path| path.to_string_lossy().ends_with("-create_build.json")).collect();
    assert_eq!(created.len(), 1, "{created:?}");
    let answer: Value = serde_json::from_str(&world::read(&created[0])).expect("JSON");
    assert_eq!((&answer["name"], &answer["env"]["REACTOR_CONFIG"]), (&json!(next), &json!("***")));
    world.ok(&["watch-build", &next]);
    check_nothing_left(&world);
}

/// `watch-builds --output json` beside a build.
struct Watching {
    child: std::process::Child,
}

fn watch(world: &World) -> Watching {
    let mut command = world.command(&["watch-builds", "--output", "json"]);
    Watching { child: command.stdout(Stdio::piped()).spawn().expect("starts") }
}

impl Watching {
    /// Its lines until that build has that state.
    fn until(mut self, build: &str, state: &str) -> Vec<Value> {
        let lines = BufReader::new(self.child.stdout.take().expect("piped")).lines();
        let mut seen = Vec::new();
        for line in lines {
            let change: Value = serde_json::from_str(&line.expect("text")).expect("JSON");
            let last = change["name"] == build && change["status"] == state;
            seen.push(change);
            if last {
                break;
            }
        }
        seen
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn files_are_checked_as_what_they_are() {
    let home = Home::new();
    let conf = "# ours\n[general]\nbuild_json_dir = /srv\n[default]\ncan_orchestrate = true\n";
    for (file, text, code, says) in [
        ("site.conf", conf, 0, "good site.conf"),
        ("osbs.conf.new", conf, 0, "good osbs.conf.new"),
        ("wrong.conf", "[default]\ncpu_limit = many\n", 3, "wrong.conf:2"),
        ("odd.conf", "[default]\nno_such_key = 1\n", 3, "odd.conf:2:1"),
        ("broken.conf", "can_orchestrate = true\n", 3, "broken.conf:1"),
        ("config.yaml", "version: 1\n", 0, "good config.yaml"),
        ("list.yaml", "- version: 1\n", 3, "list.yaml"),
    ] {
        fs::write(home.0.path().join(file), text).expect("written");
        let done = home.run(&["config", "check", file]);
        assert_eq!(done.code, code, "{file}: {}{}", done.out, done.err);
        assert!(done.err.contains(says), "{file}: {says:?} is not in\n{}", done.err);
        assert!(file == "list.yaml" || !done.err.contains("YAML"), "{file}: {}", done.err);
    }
}

#[test]
fn a_repository_on_this_machine_is_a_whole_path() {
    let home = Home::new();
    fs::write(home.0.path().join("osbs.conf"), "[default]\ncan_orchestrate = true\n").expect("written");
    for url in ["web", "./web", "../web.git"] {
        let done = home.run(&["build", "-g", url, "-b", "main", "-u", "me"]);
        assert_eq!(done.code, 1, "{url}: {}", done.err);
        let error = format!("{url:?} is no URL, and as a path it must begin with /");
        assert!(done.err.contains(&error) && done.err.contains("next"), "{url}: {}", done.err);
    }
}

/// A build sees the secrets that are named for it: the error says which key needs which, and where to name it.
#[test]
fn a_secret_that_the_build_is_not_given() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let login = world.path(".dockerconfigjson");
    fs::write(&login, r#"{"auths": {}}"#).expect("written");
    world.ok(&["config", "set-secret", "push", &login.display().to_string()]);
    let plain = world::read(&world.path("config.yaml"));
    let pushed = format!("registries: [{{url: 'http://{}'", world.registry);
    let folder = "/var/run/secrets/atomic-reactor";
    for (case, auth, more, says, next) in [
        (
            "withheld",
            "push",
            "",
            "registries[0].auth.cfg_path in config.yaml is of secret push, which this build is not given",
            "add push to required_secrets in config.yaml",
        ),
        (
            "unknown",
            "pish",
            "",
            "registries[0].auth.cfg_path in config.yaml is of secret pish, which the cluster does not have",
            "keep it there by osbs config set-secret pish FILE, and add pish to required_secrets in config.yaml",
        ),
        ("given", "push", "required_secrets: [push]\n", "", ""),
    ] {
        let with_login = format!("{pushed}, auth: {{cfg_path: {folder}/{auth}}}");
        fs::write(world.path("config.yaml"), plain.replace(&pushed, &with_login) + more).expect("written");
        let done = world.build(&world.layered(case, ""), &[]);
        assert_eq!(done.code, if says.is_empty() { 0 } else { 3 }, "{case}: {}\n{}", done.out, done.err);
        assert!(done.err.contains(says) && done.err.contains(next), "{case}: {}", done.err);
    }
    // Those of the other arrangements are named in osbs.conf.
    let registry = &world.registry;
    let instance =
        format!("can_orchestrate = true\nregistry_uri = http://{registry}\nsource_registry_uri = http://{registry}\n");
    world.write_conf(&instance, "");
    let with_login = format!("{pushed}, auth: {{cfg_path: {folder}/push}}");
    fs::write(world.path("config.yaml"), plain.replace(&pushed, &with_login)).expect("written");
    let done = world.build(&world.layered("one", ""), &["--arrangement-version", "1", "--platforms", "x86_64"]);
    assert_eq!(done.code, 3, "{}\n{}", done.out, done.err);
    assert!(done.err.contains("add push to token_secrets of the instance in osbs.conf"), "{}", done.err);
}

#[test]
fn builds_without_an_orchestrator() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let url = world.layered("lone", "RUN true");
    let done = world.build(&url, &["--worker", "--platform", "x86_64", "--release", "7", "--arrangement-version", "6"]);
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    let builds = world.builds();
    assert_eq!(builds.len(), 1);
    assert_eq!((&builds[0]["type"], &builds[0]["parent"]), (&json!("worker"), &Value::Null));
    assert!(world.tags("test/lone-container").is_empty() && !world.tags("test/lone").is_empty());
    // Nobody fetches its metadata: they go with the next clearing.
    let kept = || world.json(&["config", "list", "--output", "json"])["config_maps"].clone();
    assert_eq!(kept(), json!([format!("{}-md", builds[0]["name"].as_str().expect("a name"))]));
    world.ok(&["gc"]);
    assert_eq!(kept(), json!([]));

    let registry = &world.registry;
    let instance = format!(
        "can_orchestrate = true\nregistry_uri = http://{registry}\nsource_registry_uri = http://{registry}\n\
         registry_api_versions = v2\n"
    );
    world.write_conf(&instance, "");
    let url = world.layered("prod", "RUN true");
    let done = world.build(&url, &["--prod"]);
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    assert!(world.tags("test/prod").contains(&"1-1".to_owned()), "{:?}", world.tags("test/prod"));
    check_nothing_left(&world);
}

const TOKENS: &str = "/var/run/secrets/atomic-reactor";

/// A path as a process with that id sees it. `/var/run` is a link that would lead out of its root again.
fn path_of(pid: u64, path: &str) -> String {
    format!("/proc/{pid}/root{}", path.replace("/var/run/", "/run/"))
}

/// What it sees there.
fn seen_by(pid: u64, path: &str) -> String {
    world::read(Path::new(&path_of(pid, path)))
}

/// A build that stands in its RUN, and the id of its process on this machine.
fn standing(world: &World, name: &str, instance: &str) -> (String, u64) {
    let url = world.layered(name, "RUN ls -R /var/run/secrets /run/secrets 2>&1 || true; echo standing; sleep 600");
    let build = world.submit(&url, &["--instance", instance]);
    wait_for("the build stands", 60, || world.ok(&["build-logs", &build]).contains("standing"));
    let pid = world.record(&build)["pid"].as_u64().expect("an orchestrator build has one");
    (build, pid)
}

#[test]
fn secrets_of_a_build_are_its_own() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let home = world.path("home");
    for name in ["token", "placed", "other"] {
        fs::write(world.path("value"), format!("{CANARY}-{name}")).expect("written");
        world.ok(&["config", "set-secret", name, &world.path("value").display().to_string()]);
    }
    let place = format!("local://{}", home.display());
    let instance = format!(
        "can_orchestrate = true\n[with]\nopenshift_url = {place}\ncan_orchestrate = true\narrangement_version = 1\n\
         token_secrets = token\n  placed:/var/run/own/tokens\n[without]\nopenshift_url = {place}\ncan_orchestrate = true\n\
         [required]\nopenshift_url = {place}\ncan_orchestrate = true\n"
    );
    world.write_conf(&instance, "required_secrets: [other]\n");
    let registry = &world.registry;
    let options = [format!("--registry-uri=http://{registry}"), format!("--source-registry-uri=http://{registry}")];
    let url = world.layered("with", "RUN ls -R /var/run/secrets /run/secrets 2>&1 || true; echo standing; sleep 600");
    let with = world.submit(&url, &[&options[0], &options[1], "--instance", "with", "--platforms", "x86_64"]);
    wait_for("the build stands", 60, || world.ok(&["build-logs", &with]).contains("standing"));
    let with_pid = world.record(&with)["pid"].as_u64().expect("an orchestrator build has one");
    let (required, required_pid) = standing(&world, "required", "required");

    // Each build sees its own secrets where they are documented to be, and nothing of another's.
    let stored = |name: &str| format!("{}/secrets/default/{name}/value", home.display());
    for (pid, path, expected) in [
        (with_pid, format!("{TOKENS}/token/value"), format!("{CANARY}-token")),
        (with_pid, "/var/run/own/tokens/value".to_owned(), format!("{CANARY}-placed")),
        (with_pid, format!("{TOKENS}/placed/value"), String::new()),
        (with_pid, format!("{TOKENS}/other/value"), String::new()),
        (with_pid, stored("token"), format!("{CANARY}-token")),
        (with_pid, stored("other"), String::new()),
        (required_pid, format!("{TOKENS}/other/value"), format!("{CANARY}-other")),
        (required_pid, format!("{TOKENS}/token/value"), String::new()),
        (required_pid, "/var/run/own/tokens/value".to_owned(), String::new()),
        (required_pid, stored("token"), String::new()),
    ] {
        assert_eq!(seen_by(pid, &path), expected, "{path} of process {pid}");
    }
    // Root itself cannot write there.
    for (pid, folder) in [(with_pid, format!("{TOKENS}/token")), (required_pid, format!("{TOKENS}/other"))] {
        for file in ["value", "new"] {
            let error = fs::write(path_of(pid, &format!("{folder}/{file}")), "changed").expect_err("it is read-only");
            assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem, "{folder}/{file}");
        }
    }
    assert!(!Path::new("/var/run/own").exists(), "the machine has nothing of it");
    for build in [&with, &required] {
        let log = world.ok(&["build-logs", build]);
        assert!(!log.contains("token") || !log.contains(CANARY), "RUN sees no secret: {log}");
        world.ok(&["cancel-build", "--wait", build]);
        assert_eq!(world.status(build), "Cancelled");
    }
    check_nothing_left(&world);
    check_no_canary(&home, &["secrets"]);
}

/// No byte of a secret's content is in any file below the folder, but for these parts of it.
fn check_no_canary(folder: &Path, but: &[&str]) {
    for entry in fs::read_dir(folder).expect("readable").flatten() {
        let name = entry.file_name();
        if but.iter().any(|part| name == *part) {
            continue;
        }
        let kind = entry.file_type().expect("known");
        if kind.is_dir() {
            check_no_canary(&entry.path(), &[]);
        } else if kind.is_file() {
            let bytes = fs::read(entry.path()).unwrap_or_default();
            let found = bytes.windows(CANARY.len()).any(|part| part == CANARY.as_bytes());
            assert!(!found, "{} holds a secret", entry.path().display());
        }
    }
}

#[test]
fn a_secret_that_is_not_there_is_told_before_the_build() {
    if !can_run() {
        return;
    }
    let world = World::bare();
    let url = world.layered("web", "");
    for (instance, reactor, says) in [
        ("can_orchestrate = true\n", "required_secrets: [nope]\n", "secret \"nope\", named by required_secrets in"),
        (
            "can_orchestrate = true\n",
            "worker_token_secrets: [nope]\n",
            "secret \"nope\", named by worker_token_secrets in",
        ),
        (
            "can_orchestrate = true\narrangement_version = 1\ntoken_secrets = nope\n",
            "",
            "secret \"nope\", named by instance \"default\" of osbs.conf",
        ),
        (
            "can_orchestrate = true\narrangement_version = 1\nclient_config_secret = nope\n",
            "",
            "secret \"nope\", named by instance \"default\"",
        ),
        ("can_orchestrate = true\narrangement_version = 1\nreactor_config_secret = nope\n", "", "nope"),
    ] {
        world.write_conf(instance, reactor);
        let done = world.build(&url, &["--platforms", "x86_64"]);
        assert!([1, 3].contains(&done.code), "{says}: {} {}", done.code, done.err);
        assert!(done.err.contains(says), "{says:?} is not in\n{}", done.err);
        assert!(world.builds().is_empty());
    }
    world.write_conf("can_orchestrate = true\narrangement_version = 1\ntoken_secrets = value:relative/path\n", "");
    fs::write(world.path("value"), "x").expect("written");
    world.ok(&["config", "set-secret", "value", &world.path("value").display().to_string()]);
    let done = world.build(&url, &["--platforms", "x86_64"]);
    assert_eq!(done.code, 1, "{}", done.err);
    assert!(done.err.contains("value:relative/path") && done.err.contains("an absolute path"), "{}", done.err);
}

/// A program that the site itself configured may read what the build may read, and print it.
#[test]
fn what_is_in_a_secret_is_masked_wherever_it_is_printed() {
    if !can_run() {
        return;
    }
    let world = World::new();
    fs::write(world.path("value"), format!("{CANARY}\n")).expect("written");
    world.ok(&["config", "set-secret", "leaky", &world.path("value").display().to_string()]);
    let program = world.path("sources");
    let text = format!("#!/bin/sh\ncat {TOKENS}/leaky/value\necho out of $(cat {TOKENS}/leaky/value) >&2\nexit 3\n");
    fs::write(&program, text).expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("changed");
    let reactor = format!("required_secrets: [leaky]\nsources_command: {}\n", program.display());
    world.write_conf("can_orchestrate = true\n", &reactor);
    let url = world.layered("leaky", "RUN true");
    let done = world.build(&url, &[]);
    assert_ne!(done.code, 0);
    let build = world.builds()[0]["name"].as_str().expect("text").to_owned();
    let log = world.ok(&["build-logs", &build]);
    assert!(log.contains("out of ***"), "{log}");
    for text in [&done.out, &done.err, &log, &world.ok(&["list-builds", "--workers", "--output", "json"])] {
        assert!(!text.contains(CANARY), "{text}");
    }
    check_nothing_left(&world);
    check_no_canary(&world.path("home"), &["secrets"]);
}
