//! "Building a buildroot": the builder image is made by our own builder, started by runc, and carries out a build JSON.

mod world;

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use world::{Done, World, can_run, done};

/// The image's files, out of the archive that was made of it.
fn unpack(archive: &Path) -> (PathBuf, Value) {
    let (layout, root) = (archive.with_extension("layout"), archive.with_extension("rootfs"));
    for folder in [&layout, &root] {
        fs::create_dir(folder).expect("made");
    }
    let tar = |args: &[&str]| assert!(Command::new("tar").args(args).status().is_ok_and(|status| status.success()));
    tar(&["-C", &layout.display().to_string(), "-xf", &archive.display().to_string()]);
    let read =
        |name: &str| -> Value { serde_json::from_slice(&fs::read(layout.join(name)).expect("there")).expect("JSON") };
    let manifest = read("manifest.json");
    for layer in manifest[0]["Layers"].as_array().expect("a list") {
        let layer = layout.join(layer.as_str().expect("a path")).display().to_string();
        tar(&["-C", &root.display().to_string(), "-xf", &layer]);
    }
    (root, read(manifest[0]["Config"].as_str().expect("a path")))
}

/// Runs a command of the image by runc, with the machine's network and the world's folder under its own name.
fn in_container(world: &World, root: &Path, name: &str, env: &[String], args: &[&str]) -> Done {
    let bundle = world.path(name);
    fs::create_dir(&bundle).expect("made");
    let spec = Command::new("runc").arg("spec").current_dir(&bundle).status();
    assert!(spec.is_ok_and(|status| status.success()), "runc spec");
    let path = bundle.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).expect("there")).expect("JSON");
    let folder = world.folder.path().display().to_string();
    let all = capabilities();
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(args);
    config["process"]["env"] = json!(env);
    config["process"]["noNewPrivileges"] = json!(false);
    config["process"]["capabilities"] = json!({"bounding": all, "effective": all, "permitted": all});
    config["root"] = json!({"path": root, "readonly": false});
    for kind in ["maskedPaths", "readonlyPaths", "seccomp"] {
        config["linux"].as_object_mut().expect("an object").remove(kind);
    }
    // A privileged pod, as a build of OSBS is: it makes containers of its own.
    config["linux"]["resources"] = json!({"devices": [{"allow": true, "access": "rwm"}]});
    let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
    namespaces.retain(|it| it["type"] != "network" && it["type"] != "cgroup");
    let mounts = config["mounts"].as_array_mut().expect("a list");
    mounts.retain(|it| it["destination"] != "/sys" && it["destination"] != "/sys/fs/cgroup");
    for (place, kind) in [(folder.as_str(), "rbind"), ("/sys", "rbind")] {
        mounts.push(json!({"destination": place, "source": place, "type": "none", "options": [kind, "rw"]}));
    }
    fs::write(&path, config.to_string()).expect("written");
    let id = format!("osbs-test-{}-{name}", std::process::id());
    let output = Command::new("runc").args(["run", "--bundle"]).arg(&bundle).arg(&id).output().expect("runc starts");
    let _ = Command::new("runc").args(["delete", "--force", &id]).output();
    done(output)
}

/// Those that this process has, by name. `setpriv` lists all in the order of their numbers.
fn capabilities() -> Vec<String> {
    let output = Command::new("setpriv").arg("--list-caps").output().expect("setpriv: apt-get install util-linux");
    let status = fs::read_to_string("/proc/self/status").expect("proc");
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("a line").trim();
    let mask = u64::from_str_radix(mask, 16).expect("hex");
    let names = String::from_utf8(output.stdout).expect("UTF-8");
    let own = names.lines().enumerate().filter(|(number, _)| mask >> number & 1 == 1);
    own.map(|(_, name)| format!("CAP_{}", name.trim().to_uppercase())).collect()
}

#[test]
fn the_buildroot_runs_the_reactor() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let archive = world.path("buildroot.tar");
    let output = format!("docker-archive:{}", archive.display());
    let tag = format!("{}/osbs-buildroot:1", world.registry);
    let plain = ["--", "--compression", "none"];
    world.ok(&[&["create-build-image", "--tag", &tag, "-o", &output, "-o", "push"][..], &plain].concat());
    let (root, config) = unpack(&archive);
    let command = json!(["/usr/bin/osbs", "--verbose", "reactor", "inside-build"]);
    assert_eq!(config["config"]["Cmd"], command);
    let mut env: Vec<String> = config["config"]["Env"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| it.as_str().expect("text").to_owned())
        .collect();
    assert!(env.contains(&"LC_ALL=C.UTF-8".to_owned()), "{env:?}");

    let told = in_container(&world, &root, "version", &env, &["osbs", "--version"]);
    assert_eq!((told.code, told.out.trim()), (0, concat!("osbs ", env!("CARGO_PKG_VERSION"))), "{}", told.err);

    // A worker's build JSON in the environment, as in OSBS.
    let url = world.layered("inside", "RUN echo from-inside >/hello");
    let request = ["build-json", "-g", &url, "-b", "main", "-u", "me", "--release", "3", "--worker", "x86_64"];
    let worker = world.json(&request);
    env.push(format!("BUILD_JSON={worker}"));
    env.push(format!("REACTOR_CONFIG={}", fs::read_to_string(world.path("config.yaml")).expect("there")));
    env.push(format!("OSBS_HOME={}", world.path("inside").display()));
    let words: Vec<_> = command.as_array().expect("a list").iter().map(|it| it.as_str().expect("text")).collect();
    let ran = in_container(&world, &root, "build", &env, &words);
    assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
    assert!(ran.err.contains("atomic_reactor.plugins.docker_api - INFO - "), "{}", ran.err);
    assert!(!world.tags("test/inside").is_empty(), "it was pushed from inside");
    on_a_base_image(&world, &tag, &env);
}

/// The base is an image of a registry that has what is needed but this program, and lacks a file.
fn on_a_base_image(world: &World, base: &str, env: &[String]) {
    let archive = world.path("upon.tar");
    let output = format!("docker-archive:{}", archive.display());
    let made = ["create-build-image", "--base", base, "--tag", "upon:1", "-o", &output];
    let commands =
        ["--run", "cp /bin/sh /usr/bin/osbs && ! osbs --version", "--run", "echo \"prepared by $0\" >/prepared"];
    world.ok(&[&made[..], &commands, &["--", "--compression", "none", "--insecure"]].concat());
    let (root, config) = unpack(&archive);
    assert_eq!(config["config"]["Cmd"], json!(["/usr/bin/osbs", "--verbose", "reactor", "inside-build"]));
    let told = in_container(
        world,
        &root,
        "upon",
        env,
        &["sh", "-c", "read -r line </prepared && echo \"$line\" && osbs --version"],
    );
    let expected = concat!("prepared by /bin/sh\nosbs ", env!("CARGO_PKG_VERSION"));
    assert_eq!((told.code, told.out.trim()), (0, expected), "{}", told.err);
    let ran = in_container(world, &root, "again", env, &["osbs", "reactor", "inside-build", "--input", "env"]);
    assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
}

#[test]
fn a_base_image_is_built_upon_and_what_it_lacks_is_told() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let base = format!("{}/base:1", world.registry);
    let folder = world.path("out");
    let output = format!("oci:{}", folder.display());
    let made = ["create-build-image", "--base", &base, "--tag", "b:1", "-o", &output];
    let plain = ["--", "--compression", "none", "--insecure"];
    // busybox has no libc for our program.
    let lacking = world.run(&[&made[..], &["--run", "echo prepared >/prepared"], &plain].concat());
    assert_eq!(lacking.code, 1, "{}", lacking.err);
    assert!(lacking.err.contains("prepared") && lacking.err.contains("/usr/bin/osbs"), "{}", lacking.err);
    assert!(!folder.exists(), "nothing is left of it");
    let wrong = world.run(&["create-build-image", "--tag", "b:1", "-o", "nowhere:x"]);
    assert_eq!(wrong.code, 1, "{}", wrong.err);
    assert!(wrong.err.contains("nowhere"), "{}", wrong.err);
    let wrong = world.run(&["create-build-image", "--tag", "b:1", "-o", "push", "--run", "x"]);
    assert!(wrong.code == 2 && wrong.err.contains("--base"), "{}", wrong.err);
}
