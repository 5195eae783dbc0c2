//! Several worker builds of one build: what one does is nothing to the others.

mod world;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use world::World;
use world::inspect::worker_of;

const TWO_PLATFORMS: &str = "clusters:\n  x86_64: [{name: local, max_concurrent_builds: 4}]\n  \
    second: [{name: local, max_concurrent_builds: 4}]\n\
    platform_descriptors: [{platform: second, architecture: amd64}]\n";

fn sha256(text: &str) -> String {
    let script = "printf %s \"$0\" | sha256sum";
    let sum = Command::new("sh").args(["-c", script, text]).output().expect("sh starts");
    String::from_utf8_lossy(&sum.stdout).split(' ').next().expect("a sum").to_owned()
}

/// Makes `base:1` an index, as a build for several platforms wants its parent.
fn base_for_several_platforms(world: &World) {
    let index = "application/vnd.oci.image.index.v1+json";
    let (code, manifest) = world.registry_get("/v2/base/manifests/1");
    assert_eq!(code, 200, "{manifest}");
    let media_type = serde_json::from_str::<serde_json::Value>(&manifest).expect("JSON")["mediaType"].clone();
    let body = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": index,
        "manifests": [{
            "mediaType": media_type,
            "digest": format!("sha256:{}", sha256(&manifest)),
            "size": manifest.len(),
            "platform": {"os": "linux", "architecture": "amd64"},
        }],
    });
    let url = format!("http://{}/v2/base/manifests/1", world.registry);
    let header = format!("Content-Type: {index}");
    let put = Command::new("curl").args(["-sf", "-X", "PUT", "-H", &header, "-d", &body.to_string(), &url]).output();
    assert!(put.is_ok_and(|put| put.status.success()), "{body}");
}

/// Tells the first who asks to fail, and everybody else to go on.
fn fails_the_first() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            let mut stream = stream;
            let _ = stream.read(&mut [0; 4096]);
            let word = if number == 0 { "fail" } else { "go" };
            let length = word.len();
            let _ = write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n{word}");
        }
    });
    port
}

#[test]
fn one_worker_fails_and_the_other_goes_on_to_its_end() {
    if !world::can_run() {
        return;
    }
    let world = World::new();
    world.write_conf("can_orchestrate = true\n", TWO_PLATFORMS);
    base_for_several_platforms(&world);
    let port = fails_the_first();
    let line = format!(
        "RUN word=$(busybox wget -q -O - http://127.0.0.1:{port}/) && echo told to $word && test $word = go && sleep 2"
    );
    let url = world.layered("pair", &line);
    let done = world.build(&url, &[]);
    assert_ne!(done.code, 0, "{}", done.out);
    let name = world.newest("pair").expect("a build");
    let states = ["x86_64", "second"].map(|platform| (platform, world.status(&worker_of(&name, platform))));
    println!("{states:?}, exit code {}", done.code);
    let failed = states.iter().find(|(_, state)| state == "Failed").expect("one that failed").0;
    let went_on = states.iter().find(|(_, state)| state == "Complete").expect("one that went on").0;
    assert_eq!(world.status(&name), "Failed");

    // The other was still at work when the first had failed, and ended well.
    let (failed_at, _) = world.reached(&worker_of(&name, failed), "Failed").expect("in its log");
    let (ended_at, _) = world.reached(&worker_of(&name, went_on), "Complete").expect("in its log");
    println!("{failed} failed {:.1} s before {went_on} was complete", ended_at - failed_at);
    assert!(ended_at > failed_at + 1.0);
    assert!(world.has_begun(&worker_of(&name, went_on), "compress"), "it went through its whole list");

    // The failure names the platform, and what the step said is in the log of the build, under that platform.
    let record = world.record(&name);
    let failure = record["failure"].to_string();
    assert!(failure.contains(failed) && !failure.contains(&format!("{went_on}:")), "{failure}");
    assert!(done.err.contains(failed), "{}", done.err);
    let said = done.out.lines().find(|line| line.ends_with("told to fail")).expect("relayed");
    assert!(said.contains(&format!("platform:{failed} ")), "{said}");

    // Nothing but the unique name of the worker that ended well is in the registry.
    let tags = world.tags("test/pair");
    println!("tags: {tags:?}");
    assert!(tags.len() == 1 && tags[0].ends_with(went_on), "{tags:?}");

    // Mended, the same repository builds, for both.
    let done = world.build(&url, &[]);
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    let tags = world.tags("test/pair");
    assert!(tags.iter().any(|tag| tag == "latest"), "{tags:?}");
    world::check_nothing_left(&world);
}
