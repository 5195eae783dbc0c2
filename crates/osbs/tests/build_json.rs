//! The chapters "Creating a build JSON" and "Using plugins", carried out: what would run, and running it by hand.

mod world;

use serde_json::{Value, json};
use std::fs;
use std::process::Stdio;
use world::{World, can_run, check_nothing_left, done, wait_for};

fn names(json: &Value, phase: &str) -> Vec<String> {
    let list = json[phase].as_array().unwrap_or_else(|| panic!("{phase} is no list"));
    list.iter().map(|entry| entry["name"].as_str().expect("a name").to_owned()).collect()
}

/// `osbs build-json` of a request.
fn build_json(world: &World, url: &str, more: &[&str]) -> Value {
    world.json(&[&["build-json", "-g", url, "-b", "main", "-u", "me"][..], more].concat())
}

#[test]
fn what_would_run_is_printed_and_nothing_runs() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let registry = world.registry.clone();
    let url = world.layered("web", "RUN true");
    let six = build_json(&world, &url, &[]);
    assert_eq!((&six["source"]["provider"], &six["source"]["uri"]), (&json!("git"), &json!(url)));
    assert_eq!(six["source"]["provider_params"]["git_branch"], "main");
    assert!(six["image"].as_str().is_some_and(|image| image.starts_with("me/web-container:none-")), "{}", six["image"]);
    assert_eq!(names(&six, "buildstep_plugins"), ["orchestrate_build"]);
    assert!(names(&six, "prebuild_plugins").contains(&"bump_release".to_owned()));
    let given = build_json(&world, &url, &["--release", "7"]);
    assert!(!names(&given, "prebuild_plugins").contains(&"bump_release".to_owned()), "the request gives the release");
    let told = world.run(&["build-json", "-g", &url, "-b", "main", "-u", "me", "--release", "7"]).err;
    assert!(told.contains("bump_release taken out: the request gives the release"), "{told}");

    let worker = build_json(&world, &url, &["--release", "7", "--worker", "x86_64"]);
    assert_eq!(worker["prebuild_plugins"][2]["name"], "pull_base_image", "{worker}");
    assert!(names(&worker, "postbuild_plugins").contains(&"tag_and_push".to_owned()));
    let labels = worker["prebuild_plugins"].as_array().expect("a list").iter();
    let labels: Vec<_> = labels.filter(|it| it["name"] == "add_labels_in_dockerfile").collect();
    assert_eq!(labels[0]["args"]["labels"]["release"], "7", "{worker}");

    let instance =
        format!("can_orchestrate = true\nregistry_uri = http://{registry}\nsource_registry_uri = http://{registry}\n");
    world.write_conf(&instance, "");
    let one = build_json(&world, &url, &["--arrangement-version", "1", "--platforms", "x86_64"]);
    assert_eq!(names(&one, "exit_plugins"), ["store_metadata_in_osv3", "remove_built_image"]);
    let one = build_json(&world, &url, &["--arrangement-version", "1", "--platforms", "x86_64", "--worker", "x86_64"]);
    assert!(names(&one, "postbuild_plugins").contains(&"tag_by_labels".to_owned()), "{one}");

    let yum = "https://alice:not-for-print@r.example/site.repo";
    let shown = world.run(&["build-json", "-g", &url, "-b", "main", "-u", "me", "--add-yum-repo", yum]);
    assert!(shown.out.contains("https://***@r.example/site.repo"), "{}", shown.out);
    assert!(shown.err.contains("logins of URLs are shown as ***"), "{}", shown.err);
    assert!(!format!("{}{}", shown.out, shown.err).contains("not-for-print"));

    let wrong = world.run(&["build-json", "-g", &url, "-b", "main", "-u", "me", "--isolated", "--release", "x"]);
    assert!(wrong.code == 1 && wrong.err.contains("isolated"), "as osbs build: {}", wrong.err);
    assert_eq!(world.ok(&["list-builds", "--workers"]), "", "nothing was created");
    assert!(world.tags("test/web").is_empty());
}

#[test]
fn a_build_json_is_carried_out_by_hand() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let url = world.layered("web", "RUN echo by hand >/hello");
    let worker = build_json(&world, &url, &["--release", "7", "--worker", "x86_64"]);
    let path = world.path("build.json");
    fs::write(&path, worker.to_string()).expect("written");
    let file = format!("path={}", path.display());
    let inside = ["reactor", "inside-build", "--input", "path", "--input-arg", &file];
    let ran = world.run(&[&inside[..], &["--substitute", "image=me/web:by-hand"]].concat());
    assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
    assert!(ran.err.contains("platform:- - atomic_reactor.plugins.tag_and_push - INFO - "), "{}", ran.err);
    assert!(!ran.err.contains(" - DEBUG - "), "without --verbose: {}", ran.err);
    assert!(!world.tags("test/web").is_empty(), "it was pushed");

    // By the environment, verbose or not: a failure is a failure (M4).
    let mut broken = worker;
    broken["source"]["uri"] = json!(format!("{url}-is-not-there"));
    for verbose in [&[][..], &["--verbose"][..]] {
        let mut command =
            world.command(&[verbose, &["reactor", "inside-build", "--input-arg", "env_name=MINE"]].concat());
        command.args(["--input", "env"]).env("MINE", broken.to_string());
        let ran = done(command.output().expect("osbs starts"));
        assert!(ran.code != 0 && ran.err.contains("is-not-there"), "{}: {}", ran.code, ran.err);
    }
    for (args, code, part) in [
        (&["--input", "path", "--input-arg", "path=/no/such/file"][..], 5, "cannot be read from /no/such/file"),
        (&["--input", "env"], 1, "environment variable BUILD_JSON is not set"),
        (&["--input", "osv3"], 1, "environment variable BUILD is not set"),
        (&[], 1, "0 input plugins are usable here"),
        (&["--input", "smoke"], 2, "possible values: auto, path, env, osv3"),
        (&["--input-arg", "path"], 2, "expected KEY=VALUE"),
        (&["--input", "path", "--input-arg", "file=x"], 1, "takes no argument \"file\" (allowed: path)"),
        (&[inside[2], inside[3], inside[4], inside[5], "--substitute", "exit_plugins.x=1"], 1, "PHASE.PLUGIN.ARGUMENT"),
    ] {
        let ran = world.run(&[&["reactor", "inside-build"], args].concat());
        assert_eq!(ran.code, code, "{args:?}: {}", ran.err);
        assert!(ran.err.contains(part), "{args:?}: {part} is not in\n{}", ran.err);
    }
    check_nothing_left(&world);
}

/// An orchestrator's: its worker build is a build of the cluster like any other, and so is the release it takes.
#[test]
fn an_orchestrators_build_json_is_carried_out_by_hand() {
    if !can_run() {
        return;
    }
    let world = World::new();
    world.write_conf("can_orchestrate = true\n", "group_manifests: true\n");
    let url = world.layered("web", "RUN echo by hand >/hello");
    let path = world.path("build.json");
    let file = format!("path={}", path.display());
    let by_hand = || {
        let mut command = world.command(&["reactor", "inside-build", "--input", "path", "--input-arg", &file]);
        // Not where builds are: its own files are elsewhere.
        command.env("OSBS_HOME", world.path("by-hand"));
        done(command.output().expect("osbs starts"))
    };
    // Of arrangement 6, and of 1, where the worker does everything.
    fs::write(&path, build_json(&world, &url, &[]).to_string()).expect("written");
    let ran = by_hand();
    assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
    let relayed = "platform:x86_64 - atomic_reactor.plugins.orchestrate_build - INFO - ";
    assert!(ran.err.lines().any(|line| line.contains(relayed) && line.contains("tag_and_push")), "{}", ran.err);
    let workers = world.builds();
    assert_eq!(workers.len(), 1, "{workers:?}");
    assert_eq!((&workers[0]["status"], &workers[0]["type"]), (&json!("Complete"), &json!("worker")));
    assert!(workers[0]["parent"].as_str().is_some_and(|parent| parent.starts_with("inside-build-")), "{workers:?}");
    let tags = world.tags("test/web");
    for tag in ["1-1", "1", "latest"] {
        assert!(tags.contains(&tag.to_owned()), "{tag} is not in {tags:?}");
    }
    let maps = world.json(&["config", "list", "--output", "json"]);
    assert_eq!(maps["config_maps"], json!([]), "the worker's metadata is taken away");

    // A build of the cluster goes on where it stopped, and so does the next by hand.
    let next = world.build(&url, &[]);
    assert_eq!(next.code, 0, "{}\n{}", next.out, next.err);
    assert!(world.tags("test/web").contains(&"1-2".to_owned()), "{:?}", world.tags("test/web"));
    let registry = &world.registry;
    let instance =
        format!("can_orchestrate = true\nregistry_uri = http://{registry}\nsource_registry_uri = http://{registry}\n");
    world.write_conf(&instance, "");
    let one = build_json(&world, &url, &["--arrangement-version", "1", "--platforms", "x86_64"]);
    fs::write(&path, one.to_string()).expect("written");
    let ran = by_hand();
    assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
    assert!(world.tags("test/web").contains(&"1-3".to_owned()), "{:?}", world.tags("test/web"));

    // A given release that somebody has taken is refused, as in any build.
    fs::write(&path, build_json(&world, &url, &["--release", "2"]).to_string()).expect("written");
    let ran = by_hand();
    assert!(ran.code == 1 && ran.err.contains("1-2"), "{}: {}", ran.code, ran.err);
    check_nothing_left(&world);
}

#[test]
fn it_tells_what_it_is_doing_and_ends_when_asked() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let url = world.layered("slow", "RUN echo now-it-runs; sleep 600");
    let worker = build_json(&world, &url, &["--release", "1", "--worker", "x86_64"]);
    let log = world.path("log");
    let mut command = world.command(&["reactor", "inside-build", "--input", "env"]);
    command.env("BUILD_JSON", worker.to_string()).stdout(Stdio::null());
    let mut child = command.stderr(fs::File::create(&log).expect("made")).spawn().expect("osbs starts");
    let text = || fs::read_to_string(&log).unwrap_or_default();
    let kill = |signal: &str| {
        let sent = std::process::Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()));
    };
    wait_for("RUN runs", 120, || text().contains("now-it-runs\n"));
    kill("-USR1");
    wait_for("it tells", 60, || text().contains("SIGUSR1: buildstep plugin docker_api has been running for"));
    assert!(text().contains("  ended: reactor_config, "), "{}", text());
    kill("-TERM");
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(130), "{}", text());
    assert!(text().contains("the build was cancelled"), "{}", text());
    check_nothing_left(&world);
}
