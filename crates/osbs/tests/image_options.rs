//! Options of `osbs image build`, and what a site says of RUN, tried for real.

mod world;

use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use world::World;

/// More memory than any limit of these tests.
const GREEDY: &str = "dd if=/dev/zero of=/dev/null bs=300M count=1";

/// A git checkout of `files` in the folder `name`.
fn checkout(world: &World, name: &str, from: &str) -> String {
    let folder = world.path(name);
    let cloned = Command::new("git").args(["clone", "-q", from]).arg(&folder).status().expect("git starts");
    assert!(cloned.success());
    folder.display().to_string()
}

fn config(layout: &Path) -> Value {
    let read = |path: &Path| -> Value {
        serde_json::from_slice(&fs::read(path).expect("a file of the layout")).expect("JSON")
    };
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().expect("a digest").replace(':', "/");
        read(&layout.join("blobs").join(digest))
    };
    let manifest = blob(&read(&layout.join("index.json"))["manifests"][0]);
    let mut config = blob(&manifest["config"]);
    config["annotations"] = manifest["annotations"].clone();
    config
}

#[test]
fn two_checkouts_give_one_image() {
    if !world::can_run() {
        return;
    }
    let world = World::new();
    let text = format!(
        "FROM {}/base:1 AS one\nRUN date; touch /one\nFROM {0}/base:1\nRUN mkdir /new\nCOPY . /files\nCOPY --from=one /one /one\n",
        world.registry
    );
    let url = world.repository("web", &[("Dockerfile", &text), ("a/b", "b"), ("c", "c"), (".dockerignore", ".git\n")]);
    let output = format!("oci:{}", world.path("out").display());
    let build = |name: &str| {
        let folder = checkout(&world, name, &url);
        world.json(&["image", "build", &folder, "--reproducible", "--output", &output, "--output", "json"])
    };
    let one = build("here");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let two = build("there");
    assert_eq!(one["manifest"]["digest"], two["manifest"]["digest"], "{one:#}\n{two:#}");
    assert_eq!(one["layers"].as_array().map(Vec::len), Some(2), "{one:#}");
    let folder = world.path("no-checkout");
    fs::create_dir(&folder).expect("made");
    fs::write(folder.join("Dockerfile"), text).expect("written");
    let done = world.run(&["image", "build", &folder.display().to_string(), "--reproducible", "--output", &output]);
    assert!(done.code == 1 && done.err.contains("--source-date-epoch"), "{}", done.err);
}

#[test]
fn secrets_ignore_files_and_annotations() {
    if !world::can_run() {
        return;
    }
    let world = World::new();
    let context = world.path("context");
    fs::create_dir_all(&context).expect("made");
    for (name, text) in
        [("a", "a"), ("b", "b"), (".dockerignore", "a\n"), ("web.dockerignore", "b\n"), ("pw", "hunter2-file")]
    {
        fs::write(context.join(name), text).expect("written");
    }
    let text = format!(
        "FROM {}/base:1\nARG WHO\nRUN --mount=type=secret,id=f --mount=type=secret,id=e,env=E \
         test $(wc -c < /run/secrets/f) = 12; test ${{#E}} = 16; echo it is $E\n\
         COPY . /files\nRUN test -e /files/a && test ! -e /files/b && test $WHO = me\n",
        world.registry
    );
    let (folder, file) = (context.display().to_string(), context.join("web").display().to_string());
    let output = format!("oci:{}", world.path("out").display());
    let secret = format!("id=f,src={}", context.join("pw").display());
    let args = ["image", "build", &folder, "--file", &file, "--output", &output, "--secret", &secret];
    let more = ["--secret", "id=e,env=SECRET", "--build-arg", "WHO", "--build-arg", "WOH=1", "--annotation", "k=v"];
    fs::write(&file, &text).expect("written");
    let mut command = world.command(&[&args[..], &more[..]].concat());
    let done = command.env("SECRET", "hunter2-variable").env("WHO", "me").output().expect("osbs starts");
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{told}");
    assert!(told.contains("it is *****") && !told.contains("hunter2"), "{told}");
    assert!(told.contains("did you mean WHO?"), "{told}");
    let config = config(&world.path("out"));
    assert_eq!(config["annotations"]["k"], "v");
    assert!(!config.to_string().contains("hunter2"), "{config}");

    // From standard input there is no other ignore file than the context's.
    let mut command = world.command(&["image", "build", &folder, "--file", "-", "--output", &output]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("osbs starts");
    let text = format!("FROM {}/base:1\nCOPY a /a\n", world.registry);
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("written");
    let told = child.wait_with_output().expect("osbs ends").stderr;
    let told = String::from_utf8_lossy(&told);
    assert!(told.contains("ignore file") && told.contains("standard input:2"), "{told}");
}

#[test]
fn a_command_may_take_no_more_than_it_is_given() {
    if !world::can_run() {
        return;
    }
    let world = World::new();
    let context = world.path("context");
    fs::create_dir_all(&context).expect("made");
    let folder = context.display().to_string();
    let output = format!("oci:{}", world.path("out").display());
    let check = |run: &str, limit: [&str; 2], part: &str| {
        fs::write(context.join("Dockerfile"), format!("FROM {}/base:1\nRUN {run}\n", world.registry)).expect("written");
        let done = world.run(&["image", "build", &folder, "--output", &output, limit[0], limit[1]]);
        assert!(done.code != 0 && done.err.contains(part) && done.err.contains("Dockerfile:2"), "{run}: {}", done.err);
    };
    check(GREEDY, ["--memory", "64m"], "memory");
    check("for i in 1 2 3 4 5 6 7 8; do sleep 5 & done; wait", ["--pids-limit", "4"], "processes");
    check("sleep 60", ["--run-timeout", "1s"], "1 s");
}

#[test]
fn limits_of_the_site_reach_the_workers_commands() {
    if !world::can_run() {
        return;
    }
    let world = World::new();
    world.write_conf("can_orchestrate = true\nmemory_limit = 64Mi\n", "");
    let url = world.layered("greedy", &format!("RUN {GREEDY}"));
    let done = world.build(&url, &[]);
    assert!(done.code != 0 && done.err.contains("memory"), "{}\n{}", done.out, done.err);
    world.write_conf("can_orchestrate = true\nmemory_limit = lots\n", "");
    let done = world.build(&url, &[]);
    assert!(done.code == 3 && done.err.contains("memory_limit") && done.err.contains("osbs.conf:4"), "{}", done.err);
}

#[test]
fn a_site_may_take_the_commits_time() {
    if !world::can_run() {
        return;
    }
    let world = World::new();
    world.write_conf("can_orchestrate = true\n", "reproducible: true\n");
    let url = world.layered("timely", "RUN touch /new");
    let log = ["-C", &world.path("git/timely").display().to_string(), "log", "-1", "--format=%ct"].map(str::to_owned);
    let committed = Command::new("git").args(&log).output().expect("git starts").stdout;
    let committed: i64 = String::from_utf8_lossy(&committed).trim().parse().expect("seconds");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let done = world.build(&url, &[]);
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    let get = |path: String| -> Value {
        let (code, body) = world.registry_get(&format!("/v2/test/timely/{path}"));
        assert_eq!(code, 200, "{path}: {body}");
        serde_json::from_str(&body).expect("JSON")
    };
    let digest = |descriptor: &Value| descriptor["digest"].as_str().expect("a digest").to_owned();
    let index = get("manifests/latest".to_owned());
    let manifest = get(format!("manifests/{}", digest(&index["manifests"][0])));
    let config = get(format!("blobs/{}", digest(&manifest["config"])));
    let created: jiff::Timestamp = config["created"].as_str().expect("a time").parse().expect("RFC 3339");
    assert_eq!(created.as_second(), committed);
}
