//! Programs of the site as plugins: the examples of docs/plugin-author.md, word for word, in real builds.

mod world;

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
