//! Programs of the site as plugins: the examples of docs/plugin-author.md, word for word, in real builds.

#[path = "../../osbs-http/tests/fake/mod.rs"]
mod fake;
mod world;

use fake::{Fake, Reply};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use world::{World, can_run, check_nothing_left};

const GUIDE: &str = include_str!("../../../docs/plugin-author.md");

/// The first fenced block of the guide that begins so.
#[track_caller]
fn example(start: &str) -> &'static str {
    let blocks = GUIDE.split("\n```").skip(1).step_by(2);
    let mut texts = blocks.filter_map(|block| block.split_once('\n')).map(|(_, text)| text);
    texts.find(|text| text.starts_with(start)).unwrap_or_else(|| panic!("the guide has no example {start:?}"))
}

/// A world whose site has the guide's two plugins.
struct Site {
    world: World,
}

impl Site {
    fn new() -> Self {
        let world = World::new();
        for program in ["/usr/bin/python3", "/usr/bin/perl"] {
            assert!(fs::metadata(program).is_ok(), "{program} is missing: apt-get install python3 perl");
        }
        let folder = world.path("site");
        fs::create_dir(&folder).expect("made");
        // One of the programs runs as nobody, who must come there.
        for path in [world.folder.path(), &folder] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("changed");
        }
        for (name, start) in [("max_size", "#!/usr/bin/python3"), ("no_setuid", "#!/usr/bin/perl")] {
            let path = folder.join(name);
            fs::write(&path, example(start)).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("changed");
        }
        let general = format!("can_orchestrate = true\n[general]\nbuild_json_dir = {}\n", folder.display());
        world.write_conf(&general, "");
        let site = Self { world };
        site.customize(|_| {});
        site
    }

    /// Writes the guide's `worker_customize.json`, with the site's own paths and a change.
    fn customize(&self, change: impl FnOnce(&mut Value)) {
        let folder = self.world.path("site");
        let text = example("{\n  \"enable_plugins\"").replace("/usr/local/libexec/osbs", &folder.display().to_string());
        let mut json: Value = serde_json::from_str(&text).expect("the guide's example is JSON");
        change(&mut json);
        fs::write(folder.join("worker_customize.json"), json.to_string()).expect("written");
    }
}

#[test]
fn the_examples_of_the_guide_check_images() {
    if !can_run() {
        return;
    }
    let site = Site::new();
    let world = &site.world;
    let url = world.layered("good", "RUN echo hello >/hello");
    let list = world.json(&["build-json", "-g", &url, "-b", "main", "-u", "me", "--worker", "x86_64", "--quiet"]);
    let names: Vec<_> = list["postbuild_plugins"].as_array().expect("a list").iter().map(|it| &it["name"]).collect();
    let position = |name: &str| names.iter().position(|it| **it == json!(name)).expect("in the list");
    assert!(position("max_size") + 1 == position("no_setuid"), "{names:?}");
    assert!(position("no_setuid") < position("tag_and_push"), "{names:?}");

    let done = world.build(&url, &[]);
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    assert!(done.out.contains("bytes, allowed are 500000000"), "{}", done.out);
    check_nothing_left(world);

    // Nothing is published of an image that a check refuses.
    let setuid = "RUN /bin/busybox cp /bin/busybox /bin/evil && /bin/busybox chmod 4755 /bin/evil";
    let done = world.build(&world.layered("setuid", setuid), &[]);
    check_refused(world, &done, "setuid", "set-uid files: /bin/evil");
    site.customize(|json| json["enable_plugins"][0]["plugin_args"]["limit"] = json!(10));
    let done = world.build(&world.layered("large", "RUN true"), &[]);
    check_refused(world, &done, "large", "the image is too large");
    check_nothing_left(world);
}

#[track_caller]
fn check_refused(world: &World, done: &world::Done, name: &str, part: &str) {
    assert_eq!(done.code, 3, "{}\n{}", done.out, done.err);
    assert!(done.err.contains(part), "{}", done.err);
    assert!(world.tags(&format!("test/{name}")).is_empty(), "nothing was pushed");
}

impl Site {
    /// The site's only plugins are shell scripts: phase, name, more of the program's object, text.
    fn scripts(&self, scripts: &[(&str, &str, Value, &str)]) {
        let folder = self.world.path("site");
        let entries = scripts.iter().map(|(phase, name, more, text)| {
            let path = folder.join(name);
            fs::write(&path, format!("#!/bin/sh\nread -r request\n{text}")).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("changed");
            let mut program = json!({"command": [path]});
            program.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            json!({"plugin_type": phase, "plugin_name": name, "plugin_args": {}, "program": program})
        });
        let entries: Vec<_> = entries.collect();
        let text = json!({"enable_plugins": entries}).to_string();
        fs::write(folder.join("worker_customize.json"), text).expect("written");
    }
}

/// Of a secret, of a login file that is none, of a URL of the request.
const CANARIES: [&str; 3] = ["kanari/secret+1", "kanari-login-2", "kanari-request-3"];

#[test]
fn secrets_that_a_program_prints_are_masked() {
    if !can_run() {
        return;
    }
    let site = Site::new();
    let world = &site.world;
    let [secret, login, request] = CANARIES;
    let (password, logins) = (world.path("password"), world.path("logins.json"));
    fs::write(&password, secret).expect("written");
    world.ok(&["config", "set-secret", "site", &password.display().to_string()]);
    fs::write(&logins, json!({"auths": {"r.example": {"username": "me", "password": login}}}).to_string())
        .expect("written");
    let reactor = format!("required_secrets: [site]\nsites_own: {{auth: {{cfg_path: '{}'}}}}\n", logins.display());
    let general = format!("can_orchestrate = true\n[general]\nbuild_json_dir = {}\n", world.path("site").display());
    world.write_conf(&general, &reactor);
    // The last line is cut in the error, in the midst of the secret.
    let says = format!(
        "secret=$(cat /var/run/secrets/atomic-reactor/site/password)\nlogin=$(cat {})\n\
         printf '{{\"log\": \"it is %s and {request}\"}}\\n' \"$secret\"\necho \"it $login\"\n\
         printf '%0190d%s\\n' 0 \"$secret\" >&2\n",
        logins.display()
    );
    let result = format!("{says}printf '{{\"result\": {{\"%s\": \"{request}\"}}}}\\n' \"$secret\"\n");
    let fails = format!("{says}exit 4\n");
    site.scripts(&[
        ("prebuild_plugins", "tells", json!({}), &result),
        ("postbuild_plugins", "fails", json!({}), &fails),
    ]);
    let server = Fake::start(|_, _| Reply::ok("[x]\nname=x\nbaseurl=http://x.invalid/\n"));
    let yum = format!("http://me:{request}@{}/x.repo", server.host());
    let url = world.repository(
        "told",
        &[("Dockerfile", "FROM base:1\nLABEL name=test/told com.redhat.component=told version=1\n")],
    );
    let done = world.build(&url, &["--add-yum-repo", &yum, "--arrangement-version", "6"]);
    assert_eq!(done.code, 5, "{}\n{}", done.out, done.err);
    assert!(done.out.contains("it is *** and ***"), "{}", done.out);
    assert!(done.err.contains("the program failed (exit status: 4)"), "{}", done.err);
    let mut seen = vec![done.out, done.err];
    for name in world.build_names() {
        seen.push(world.ok(&["build-logs", &name, "--output", "json"]));
        seen.push(world.ok(&["get-build", &name, "--output", "json"]));
    }
    for text in seen {
        // A part of one counts.
        assert!(!text.contains("kanari/") && !text.contains("kanari-"), "{text}");
    }
}

#[test]
fn a_program_of_another_user_has_little() {
    if !can_run() {
        return;
    }
    let site = Site::new();
    let world = &site.world;
    fs::write(world.path("password"), "kanari/secret+1").expect("written");
    world.ok(&["config", "set-secret", "site", &world.path("password").display().to_string()]);
    let general = format!("can_orchestrate = true\n[general]\nbuild_json_dir = {}\n", world.path("site").display());
    world.write_conf(&general, "required_secrets: [site]\n");
    let text = "case $request in *'\"source\":null'*) echo no source;; *) exit 1;; esac\n\
        touch mine image/root/mine && test -x image/root/bin/busybox && echo writes\n\
        echo \"is $(id -u) of $(id -G)\"\n\
        for file in /var/run/secrets/atomic-reactor/site/password /etc/shadow ../* /proc/1/root/root/*; do\n\
        cat $file >/dev/null 2>&1 && test $file != ../site && echo \"reads $file\"; done\n\
        touch /run/mine 2>/dev/null && echo writes elsewhere\nexit 0\n";
    site.scripts(&[("postbuild_plugins", "looks", json!({"user": "daemon", "image": "tree"}), text)]);
    let done = world.build(&world.layered("looked", "RUN true"), &[]);
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    let said: Vec<_> = done.out.lines().filter_map(|line| line.split_once(".looks - INFO - ")).map(|it| it.1).collect();
    assert!(said.starts_with(&["no source", "is 1 of 1"]), "{said:?}\n{}", done.out);
    assert!(!said.iter().any(|line| line.starts_with("reads") || line.ends_with("elsewhere")), "{said:?}");
    check_nothing_left(world);
}

#[test]
fn mistakes_of_the_site_are_told_before_anything_is_built() {
    if !can_run() {
        return;
    }
    let site = Site::new();
    let world = &site.world;
    let url = world.layered("web", "RUN true");
    let changes: [(&str, Value, &str); 5] = [
        ("plugin_type", json!("postbild_plugins"), "\"postbild_plugins\" is no phase"),
        ("plugin_type", json!("buildstep_plugins"), "a program cannot be a builder"),
        ("program", json!({"command": ["/no/such/program"]}), "its program /no/such/program is not there"),
        ("before", json!("tag_and_psh"), "postbuild_plugins of this arrangement has no tag_and_psh"),
        ("plugin_name", json!("sendmail"), "name of a built-in plugin"),
    ];
    for (key, value, part) in changes {
        site.customize(|json| json["enable_plugins"][0][key] = value);
        if key == "plugin_name" {
            site.customize(|json| {
                json["enable_plugins"][0]["plugin_name"] = json!("sendmail");
                json["enable_plugins"].as_array_mut().expect("a list").truncate(1);
            });
        }
        let done = world.build(&url, &[]);
        assert!([3, 5].contains(&done.code), "{part}: {}\n{}", done.code, done.err);
        assert!(done.err.contains(part), "{part} is not in\n{}", done.err);
        assert!(!done.out.contains("RUN true"), "it was built all the same\n{}", done.out);
    }
    check_nothing_left(world);
}
