//! `osbs image build`, told to stop or killed in the middle of a RUN: nothing is left, at the latest after the next one.

mod world;

use std::os::unix::process::CommandExt;
use std::process::Stdio;
use world::inspect::surroundings;
use world::{World, wait_for};

/// Processes of the RUN step.
fn sleepers() -> Vec<u32> {
    world::processes_with("sleep\x00601")
}

#[test]
fn stopped_and_killed() {
    if !world::can_run() {
        return;
    }
    let before = surroundings();
    let world = World::new();
    let context = world.path("context");
    std::fs::create_dir_all(&context).expect("made");
    let dockerfile = |run: &str| {
        let text = format!("FROM {}/base:1\nRUN {run}\n", world.registry);
        std::fs::write(context.join("Dockerfile"), text).expect("written");
    };
    let folder = context.display().to_string();
    let output = format!("oci:{}", world.path("out").display());
    let args = ["image", "build", &folder, "--output", &output];
    let work = world.path("home/work");
    let folders = || std::fs::read_dir(&work).into_iter().flatten().count();
    for (signal, code) in [("-INT", Some(130)), ("-TERM", Some(130)), ("-KILL", None)] {
        dockerfile("sleep 601");
        let mut command = world.command(&args);
        let child = command.process_group(0).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("osbs starts");
        wait_for("the RUN step sleeps", 30, || !sleepers().is_empty());
        let group = format!("-{}", child.id());
        let sent = std::process::Command::new("kill").args([signal, "--", &group]).status();
        assert!(sent.is_ok_and(|status| status.success()));
        let done = child.wait_with_output().expect("osbs ends");
        let text = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), code, "{signal}: {text}");
        wait_for("the RUN step has ended", 5, || sleepers().is_empty());
        world::check_nothing_left(&world);
        assert_eq!(folders(), usize::from(code.is_none()), "{signal}");
        assert!(!world.path("out").exists(), "{signal}: half an image");
    }
    dockerfile("echo awake");
    world.ok(&args);
    assert_eq!(folders(), 0, "the next build removes what the killed one left");
    drop(world);
    world::wait_until_clean(&before);
}
