//! Files that come from Koji and go there, in whole builds: uploads that are cut, parents that are Koji's, sessions that
//! do not last. The hub is ours, the registry and the workers are real.
#![allow(clippy::print_stdout, reason = "tells what was seen")]

mod world;

use osbs_koji::{Build, BuildState, calls};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use world::hub::{IMPORTER, PASSWORD, TARGET, TestHub};
use world::hub_proxy::{self, Decide, Fate};
use world::{Done, World, can_run, check_nothing_left};

/// Bytes of an upload that the client sends at once.
const BLOCK: usize = 10_485_760;

/// A site whose hub is behind a proxy.
fn site(world: &World, packages: &[&str], decide: Arc<Decide>) -> TestHub {
    let hub = TestHub::start(world.folder.path(), packages);
    let port = hub_proxy::before(hub.port, decide);
    let password = world.path("koji-password");
    fs::write(&password, format!("{PASSWORD}\n")).expect("written");
    let koji = format!(
        "koji:\n  hub_url: http://127.0.0.1:{port}/kojihub\n  root_url: http://127.0.0.1:{port}/kojifiles\n  \
         auth: {{username: {IMPORTER}, password_path: '{}'}}\nskip_koji_check_for_base_image: true\n",
        password.display()
    );
    world.write_conf("can_orchestrate = true\n", &koji);
    hub
}

fn passing() -> Arc<Decide> {
    Arc::new(|_, _, _| Fate::Passed)
}

#[track_caller]
fn build(world: &World, url: &str, more: &[&str]) -> Done {
    let done = world.build(url, &[&["--target", TARGET], more].concat());
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    done
}

#[track_caller]
fn built(hub: &TestHub, nvr: &str) -> Build {
    let found = hub.call(&hub.anonymous(), calls::get_build(nvr));
    let build = found.unwrap_or_else(|| panic!("Koji has no build {nvr}"));
    assert_eq!(build.state, BuildState::Complete);
    build
}

#[track_caller]
fn check_tagged(hub: &TestHub, build: &Build) {
    let tagged = hub.call(&hub.anonymous(), calls::list_tagged(TARGET));
    assert_eq!(tagged.iter().map(|one| one.build.id).collect::<Vec<_>>(), [build.id]);
}

fn md5(file: &Path) -> String {
    let output = Command::new("md5sum").arg(file).output().expect("md5sum starts");
    String::from_utf8_lossy(&output.stdout).split_whitespace().next().expect("a sum").to_owned()
}

/// What is asked for in the first line of a raw upload of an image's archive: the offset.
fn archive_offset(head: &str) -> Option<usize> {
    let query = head.lines().next()?.split_once('?')?.1.split(' ').next()?;
    let of = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    of("filename").filter(|name| name.starts_with("docker-image-"))?;
    of("offset")?.parse().ok()
}

/// The archive's upload is cut in the middle of the second of three blocks: that block is sent again, and no other.
#[test]
fn an_upload_that_is_cut_is_gone_on_with() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let blocks: Arc<Mutex<Vec<(usize, usize)>>> = Arc::default();
    let seen = Arc::clone(&blocks);
    let hub = site(
        &world,
        &["big-container"],
        Arc::new(move |head, length, body| {
            let Some(offset) = archive_offset(head).filter(|_| body.is_none()) else { return Fate::Passed };
            let mut seen = seen.lock().expect("no panic");
            let first = !seen.iter().any(|(at, _)| *at == BLOCK);
            seen.push((offset, length));
            if first && offset == BLOCK { Fate::CutAfter(length / 2) } else { Fate::Passed }
        }),
    );
    let url = world.layered("big", "RUN dd if=/dev/urandom of=/big bs=1048576 count=24");
    build(&world, &url, &[]);
    let build = built(&hub, "big-container-1-1");
    let archives = hub.call(&hub.anonymous(), calls::list_archives(build.id, Some("image")));
    let [archive] = &archives[..] else { panic!("{archives:?}") };
    let file = hub.topdir.join("packages/big-container/1/1/images").join(&archive.filename);
    let size = fs::metadata(&file).expect("there").len() as usize;
    assert_eq!((archive.size, &archive.checksum), (Some(size as i64), &Some(md5(&file))));
    let sent = blocks.lock().expect("no panic").clone();
    let expected = [(0, BLOCK), (BLOCK, BLOCK), (BLOCK, BLOCK), (2 * BLOCK, size - 2 * BLOCK)];
    assert_eq!(sent, expected, "a block was sent again that had arrived");
    println!("{size} bytes, sent as {sent:?}");
    check_tagged(&hub, &build);
    check_nothing_left(&world);
}

/// A child is FROM the image of the build that is named, by digest, and not of the newer one that its tag names.
#[test]
fn a_parent_that_is_a_build_of_koji() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let hub = site(&world, &["parent-container", "child-container"], passing());
    for number in [1, 2] {
        let url = world.layered("parent", &format!("RUN echo {number} > /number"));
        build(&world, &url, &[]);
    }
    let first = built(&hub, "parent-container-1-1");
    let index = first.extra.to_json()["image"]["index"].clone();
    let pulls = index["pull"].as_array().expect("a list").clone();
    let by_digest = pulls.iter().filter_map(|spec| spec.as_str()).find(|spec| spec.contains('@')).expect("a digest");
    let dockerfile = "FROM test/parent:1\nLABEL name=test/child com.redhat.component=child-container version=1\n\
                      RUN echo \"parent $(cat /number)\"\n";
    let url = world.repository("child", &[("Dockerfile", dockerfile)]);
    let done = build(&world, &url, &["--koji-parent-build", "parent-container-1-1"]);
    let line = format!("parent test/parent:1 is {by_digest}");
    assert!(done.out.contains(&line), "{line}\n{}", done.out);
    assert!(done.out.contains("parent 1\n") && !done.out.contains("parent 2\n"), "{}", done.out);
    assert_eq!(built(&hub, "child-container-1-1").extra.to_json()["image"]["parent_build_id"], first.id);

    let done = world.build(&url, &["--target", TARGET, "--koji-parent-build", "parent-container-1-9"]);
    assert_eq!(done.code, 1, "the request's fault\n{}\n{}", done.out, done.err);
    let told = "Koji has no build parent-container-1-9, whose image was to be the parent";
    assert!(done.err.contains(told), "{}", done.err);
    check_nothing_left(&world);
}
