//! Files that come from Koji and go there, in whole builds: uploads that are cut, parents that are Koji's, sessions that
//! do not last. The hub is ours, the registry and the workers are real.
#![allow(clippy::print_stdout, reason = "tells what was seen")]

mod world;

use osbs_koji::{Build, BuildState, calls};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use world::hub::{IMPORTER, PASSWORD, TARGET, TestHub, is_not_for_a_real_hub};
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
    println!("{size} bytes, sent as {sent:?}");
    // More than twice, where the hub still holds the file for the connection that was cut.
    assert!(sent.iter().filter(|block| **block == (BLOCK, BLOCK)).count() >= 2, "{sent:?}");
    let mut once = sent;
    once.dedup();
    let expected = [(0, BLOCK), (BLOCK, BLOCK), (2 * BLOCK, size - 2 * BLOCK)];
    assert_eq!(once, expected, "a block was sent again that had arrived");
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

/// What a hub with a Maven plugin says of the archives of a build.
fn maven_archives(md5: &str, size: usize) -> String {
    let member = |(name, value): (&str, String)| format!("<member><name>{name}</name><value>{value}</value></member>");
    let int = |number: usize| format!("<int>{number}</int>");
    let string = |text: &str| format!("<string>{text}</string>");
    let members: String = [
        ("id", int(1)),
        ("build_id", int(1)),
        ("btype", string("maven")),
        ("filename", string("y-1.0.jar")),
        ("size", int(size)),
        ("checksum", string(md5)),
        ("checksum_type", int(0)),
        ("group_id", string("org.x")),
        ("artifact_id", string("y")),
        ("version", string("1.0")),
    ]
    .map(member)
    .concat();
    format!(
        "<?xml version='1.0'?><methodResponse><params><param><value><array><data><value><struct>{members}</struct>\
         </value></data></array></value></param></params></methodResponse>"
    )
}

/// An archive of a build of Koji is in the build's context, whole; another file in its place is refused. The build and
/// the files are the hub's; that the file is a Maven archive is said in its place, for it does not import such.
#[test]
fn archives_of_a_build_of_koji() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let (jar, other) = ("a jar\n".repeat(1000), "a bar\n".repeat(1000));
    let file = world.path("y-1.0.jar");
    fs::write(&file, &jar).expect("written");
    let (sum, answer) = (md5(&file), maven_archives(&md5(&file), jar.len()));
    let hub = site(
        &world,
        &["lib-container", "user-container"],
        Arc::new(move |_, _, body| {
            let body = String::from_utf8_lossy(body.unwrap_or_default());
            let asked = body.contains("<methodName>listArchives<") && body.contains("<string>maven<");
            if asked { Fate::Answered(answer.clone()) } else { Fate::Passed }
        }),
    );
    let url = world.layered("lib", "RUN true");
    build(&world, &url, &[]);
    built(&hub, "lib-container-1-1");
    let folder = hub.topdir.join("packages/lib-container/1/1/maven/org/x/y/1.0");
    fs::create_dir_all(&folder).expect("made");
    fs::copy(&file, folder.join("y-1.0.jar")).expect("copied");

    let dockerfile = "FROM base:1\nLABEL name=test/user com.redhat.component=user-container version=1\n\
                      COPY artifacts/org/x/y/1.0/y-1.0.jar /y.jar\nRUN busybox md5sum /y.jar\n";
    let wanted = "- nvr: lib-container-1-1\n  archives:\n  - {filename: '*.jar', group_id: org.x}\n";
    let url = world.repository("user", &[("Dockerfile", dockerfile), ("fetch-artifacts-koji.yaml", wanted)]);
    let done = build(&world, &url, &[]);
    assert!(done.out.contains(&format!("{sum}  /y.jar")), "{}", done.out);
    built(&hub, "user-container-1-1");

    fs::write(folder.join("y-1.0.jar"), &other).expect("written");
    let done = world.build(&url, &["--target", TARGET]);
    assert_eq!(done.code, 4, "{}\n{}", done.out, done.err);
    assert!(done.err.contains(&format!("not {sum}")) && done.err.contains("org/x/y/1.0/y-1.0.jar"), "{}", done.err);
    check_nothing_left(&world);
}

/// Sessions last a second, and the build does not: from the reservation to the tag it goes on with new ones.
#[test]
fn a_build_outlives_its_sessions() {
    if !can_run() || is_not_for_a_real_hub("sessions of a real hub last minutes at least") {
        return;
    }
    let world = World::new();
    let renewals: Arc<Mutex<usize>> = Arc::default();
    let seen = Arc::clone(&renewals);
    let mut hub = site(
        &world,
        &["long-container"],
        Arc::new(move |_, _, body| {
            let body = String::from_utf8_lossy(body.unwrap_or_default());
            if body.contains("<methodName>login<") && body.contains("<name>renew<") {
                *seen.lock().expect("no panic") += 1;
            }
            Fate::Passed
        }),
    );
    hub.pause();
    hub.session_renewal = Duration::from_secs(1);
    hub.resume();
    let url = world.layered("long", "RUN sleep 3");
    build(&world, &url, &[]);
    let build = built(&hub, "long-container-1-1");
    check_tagged(&hub, &build);
    let renewals = *renewals.lock().expect("no panic");
    assert!(renewals > 0, "no session has expired");
    println!("{renewals} renewals");
    let open = hub.call(&hub.anonymous(), calls::list_builds().named("state", BuildState::Building as i64));
    assert!(open.is_empty(), "{open:?}");
    check_nothing_left(&world);
}
