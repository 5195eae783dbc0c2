//! What is fetched beside the git repository, by the whole program: the look-aside cache by the site's command, artifacts
//! by URL, from servers that are slow, cut off, redirect and lie; and an operator's manifests, taken out of the image.

#[path = "../../osbs-http/tests/fake/mod.rs"]
mod fake;
mod world;

use fake::{Asked, Fake, Reply};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use world::{Done, World, can_run, check_nothing_left};

/// What no log, record or image may hold.
const CANARY: &str = "canary-5b1e9f2a";

#[track_caller]
fn sum(program: &str, bytes: &[u8]) -> String {
    use std::io::Write as _;
    let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect(program);
    child.stdin.take().expect("a pipe").write_all(bytes).expect("written");
    let output = child.wait_with_output().expect("it ends");
    String::from_utf8_lossy(&output.stdout).split_whitespace().next().expect("a sum").to_owned()
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut waiting) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(path) = waiting.pop() {
        match fs::read_dir(&path) {
            Ok(entries) => {
                waiting.extend(entries.flatten().map(|entry| entry.path()).filter(|path| !path.is_symlink()));
            }
            Err(_) => found.push(path),
        }
    }
    found
}

#[track_caller]
fn check_no_canary(world: &World, done: &Done) {
    assert!(!format!("{}{}", done.out, done.err).contains(CANARY), "{}\n{}", done.out, done.err);
    for path in files(&world.path("home")) {
        let bytes = fs::read(&path).unwrap_or_default();
        let is_there = bytes.windows(CANARY.len()).any(|part| part == CANARY.as_bytes());
        assert!(!is_there, "the canary is in {}", path.display());
    }
}

#[track_caller]
fn check_failed(world: &World, done: &Done, code: i32, parts: &[&str]) {
    assert_eq!(done.code, code, "{}\n{}", done.out, done.err);
    let told = format!("{}{}", done.out, done.err);
    for part in parts {
        assert!(told.contains(part), "{part:?} is not in\n{told}");
    }
    check_nothing_left(world);
}

// --- the look-aside cache -----------------------------------------------------------------------------------------------

/// What a site configures: as `fedpkg sources`, with the checksums of a `sources` file.
const FETCH_SOURCES: &str = r#"#!/bin/sh
set -eu
touch "$HOME/cache" "$TMPDIR/scratch"
env | sed 's/=.*//' | sort | tr '\n' ' '
echo
touch /osbs-written-outside ../written-outside || echo 'cannot write outside'
setsid sleep 87654 &
while read -r line; do
  case $line in
    hang) sleep 87655 ;;
    flood) yes flood | head -n 30000 ;;
    fail\ *) echo "lookaside: ${line#fail }" >&2; exit "${line##* }" ;;
    SHA512*)
      hash=${line##*= } name=${line#*(} name=${name%%)*}
      curl -sSf -o "$name" "$1/$name/sha512/$hash/$name"
      echo "$hash  $name" | sha512sum -c - >&2 ;;
  esac
done <sources
"#;

fn has_process(mark: &str) -> bool {
    fs::read_dir("/proc").expect("/proc").flatten().any(|entry| {
        fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == format!("sleep\0{mark}\0").as_bytes())
    })
}

#[test]
fn the_look_aside_cache() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let content = b"from the look-aside cache\n".to_vec();
    let hash = sum("sha512sum", &content);
    let target = format!("/lookaside/data.txt/sha512/{hash}/data.txt");
    let fake =
        Fake::start(move |asked, _| if asked.target == target { Reply::ok(content.clone()) } else { Reply::new(404) });
    let program = world.path("fetch-sources");
    fs::write(&program, FETCH_SOURCES).expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("set");
    let command = format!("sources_command: '{}  {}'\n", program.display(), fake.url("/lookaside"));
    let build = |name: &str, sources: &str, site: &str| {
        world.write_conf("can_orchestrate = true\n", &format!("{command}{site}"));
        let dockerfile = format!(
            "FROM base:1\nLABEL name=test/{name} com.redhat.component={name} version=1\nCOPY data.txt /data.txt\n\
             RUN cat /data.txt\n"
        );
        let url = world.repository(name, &[("Dockerfile", &dockerfile), ("sources", sources)]);
        let mut command = world.command(&["build", "--git-url", &url, "--git-branch", "main", "--user", "test"]);
        world::done(command.env("REACTOR_TOKEN", CANARY).output().expect("osbs starts"))
    };
    let good = format!("SHA512 (data.txt) = {hash}\n");

    let done = build("good", &good, "");
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    for part in
        ["HOME LC_ALL", "PATH PWD", "cannot write outside", "Read-only file system", "from the look-aside cache"]
    {
        assert!(done.out.contains(part), "{part:?} is not in\n{}", done.out);
    }
    check_no_canary(&world, &done);
    assert!(!Path::new("/osbs-written-outside").exists());
    assert!(!has_process("87654"), "what it left behind is gone");
    check_nothing_left(&world);

    let wrong = good.replace(&hash, &hash.replace('1', "2"));
    let done = build("absent", &wrong, "");
    check_failed(&world, &done, 1, &["distgit_fetch_artefacts", "failed (exit status: 22)", "404", "sources file"]);
    let done = build("failing", "flood\nfail quota reached 3\n", "");
    check_failed(&world, &done, 1, &["failed (exit status: 3)", "lookaside: quota reached 3", "were not kept"]);
    let done = build("hanging", "hang\n", "fetch: {timeout: 2}\n");
    check_failed(&world, &done, 3, &["took longer than 2 s", "fetch.timeout"]);
    assert!(!has_process("87655") && !has_process("87654"));
}

// --- artifacts by URL -----------------------------------------------------------------------------------------------------

/// Two requests that must be there at the same time.
#[derive(Default)]
struct Meeting(AtomicUsize);

impl Meeting {
    fn join(&self) -> bool {
        self.0.fetch_add(1, Ordering::SeqCst);
        let end = Instant::now() + Duration::from_mins(1);
        while self.0.load(Ordering::SeqCst) < 2 {
            if Instant::now() > end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }
}

fn large() -> Vec<u8> {
    (0..3_000_000_u32).map(|n| (n % 251) as u8).collect()
}

fn serve(elsewhere: &str) -> Fake {
    let (meeting, elsewhere) = (Meeting::default(), elsewhere.to_owned());
    let large = large();
    let cuts: Mutex<BTreeMap<String, usize>> = Mutex::default();
    Fake::start(move |asked: &Asked, _| {
        let path = asked.target.split('?').next().unwrap_or_default();
        let seen = {
            let mut cuts = cuts.lock().expect("no panic");
            let seen = cuts.entry(path.to_owned()).or_default();
            *seen += 1;
            *seen
        };
        match path {
            "/files/one.jar" | "/files/two.jar" if meeting.join() => Reply::ok(path.to_owned()),
            "/files/slow.jar" => Reply::ok("slow").delay(Duration::from_secs(2)),
            "/files/cut.bin" => {
                let reply = Reply::ranged(asked, &large).header("ETag", "\"large\"");
                if seen == 1 { reply.cut_at(1_200_000) } else { reply }
            }
            "/files/moved.jar" => Reply::new(302).header("Location", "/files/deeper/moved.jar"),
            "/files/deeper/moved.jar" => Reply::ok("moved"),
            "/files/login.jar" if asked.header("authorization").is_some() => Reply::ok("logged in"),
            "/files/lured.jar" => Reply::new(302).header("Location", elsewhere.clone()),
            "/files/climbs.jar" => Reply::new(302).header("Location", "/private/x"),
            "/private/x" => Reply::ok("private"),
            _ => Reply::new(404),
        }
    })
}

fn entry(url: &str, target: &str, sums: &[(&str, &str)]) -> String {
    let sums: Vec<_> = sums.iter().map(|(name, sum)| format!("  {name}: {sum}\n")).collect();
    let sums = sums.concat();
    let target = if target.is_empty() { String::new() } else { format!("  target: {target}\n") };
    format!("- url: {url}\n{target}{sums}")
}

#[test]
fn artifacts_by_url() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let lure = Fake::start_at("127.0.0.3", |_, _| Reply::ok("lured"));
    let fake = serve(&lure.url("/x"));
    let site = format!("artifacts_allowed_domains: ['{}/files']\n", fake.host());
    let build = |name: &str, yaml: &str, site: &str| {
        world.write_conf("can_orchestrate = true\n", site);
        let dockerfile = format!(
            "FROM base:1\nLABEL name=test/{name} com.redhat.component={name} version=1\nCOPY artifacts /artifacts\n\
             RUN cd /artifacts && busybox sha256sum cut.bin && cat one.jar org/x/two.jar slow.jar moved.jar login.jar\n"
        );
        let url = world.repository(name, &[("Dockerfile", &dockerfile), ("fetch-artifacts-url.yaml", yaml)]);
        world.build(&url, &[])
    };
    let sha256 = |bytes: &[u8]| sum("sha256sum", bytes);
    let with_login = fake.url("/files/login.jar").replace("http://", &format!("http://me:{CANARY}@"));
    let yaml = [
        entry(&fake.url("/files/one.jar"), "", &[("sha256", &sha256(b"/files/one.jar"))]),
        entry(
            &fake.url("/files/two.jar"),
            "org/x/two.jar",
            &[
                ("md5", &sum("md5sum", b"/files/two.jar")),
                ("sha1", &sum("sha1sum", b"/files/two.jar")),
                ("sha256", &sha256(b"/files/two.jar")),
            ],
        ),
        entry(&fake.url("/files/slow.jar"), "", &[("sha1", &sum("sha1sum", b"slow"))]),
        entry(&fake.url("/files/cut.bin"), "", &[("sha256", &sha256(&large()))]),
        entry(&fake.url(&format!("/files/moved.jar?token={CANARY}")), "", &[("md5", &sum("md5sum", b"moved"))]),
        entry(&with_login, "", &[("sha256", &sha256(b"logged in"))]),
    ]
    .concat();

    let done = build("good", &yaml, &site);
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    let printed = format!("{}  cut.bin", sha256(&large()));
    for part in [printed.as_str(), "/files/one.jar/files/two.jarslowmovedlogged in", "6 artifacts to download"] {
        assert!(done.out.contains(part), "{part:?} is not in\n{}", done.out);
    }
    let ranges: Vec<_> =
        fake.log().iter().filter(|asked| asked.target == "/files/cut.bin").map(Asked::range_start).collect();
    assert_eq!(ranges, [None, Some(1_200_000)], "gone on with where it broke");
    check_no_canary(&world, &done);
    check_progress(&world);
    check_nothing_left(&world);

    let wrong = "0f".repeat(32);
    for (name, url, allowed, code, parts) in [
        (
            "wrong",
            fake.url("/files/moved.jar"),
            true,
            1,
            &["artifact moved.jar has sha256", "correct its checksum"][..],
        ),
        (
            "lured",
            fake.url("/files/lured.jar"),
            true,
            3,
            &["http://127.0.0.3:", "artifacts_allowed_domains of this site"],
        ),
        ("climbs", fake.url("/files/climbs.jar"), true, 3, &["/private/x is not among what may be fetched here"]),
        ("inside", fake.url("/files/one.jar"), false, 3, &["may not reach", "fetch.allow"]),
    ] {
        let site = if allowed { site.as_str() } else { "" };
        let url = url.replace("http://", &format!("http://me:{CANARY}@"));
        let done = build(name, &entry(&url, "", &[("sha256", &wrong)]), site);
        check_failed(&world, &done, code, &[parts, &["fetch-artifacts-url.yaml:1"]].concat());
        check_no_canary(&world, &done);
    }
    assert_eq!(lure.lines(), [""; 0], "it was never asked");
    assert!(!fake.lines().iter().any(|line| line.contains("/private/")));
}

/// A download tells how far it is, and of how much.
fn check_progress(world: &World) {
    let logs = files(&world.path("home")).into_iter().filter(|path| path.ends_with("events.jsonl"));
    let told = logs.flat_map(|path| {
        let text = world::read(&path);
        text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).collect::<Vec<_>>()
    });
    let is_last = |event: &Value| {
        let text = event.to_string();
        text.contains("artifact cut.bin") && text.contains("\"done\":3000000") && text.contains("\"total\":3000000")
    };
    assert!(told.into_iter().any(|event| is_last(&event)), "no event tells the end of cut.bin");
}

// --- an operator's manifests ------------------------------------------------------------------------------------------------

const LIST_ZIP: &str = "
import json, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as archive:
    assert archive.testzip() is None
    print(json.dumps({info.filename: archive.read(info).decode() for info in archive.infolist()}))
";

#[test]
fn manifests_of_an_operator() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let build = |name: &str, lines: &str| {
        let dockerfile = format!(
            "FROM base:1\nLABEL name=test/{name} com.redhat.component={name} version=1 \
             com.redhat.delivery.appregistry=True\n{lines}\n"
        );
        let files = [
            ("Dockerfile", dockerfile.as_str()),
            ("manifests/0.1/csv.yaml", "kind: ClusterServiceVersion\n"),
            ("manifests/x.package.yaml", "packageName: x\n"),
        ];
        world.build(&world.repository(name, &files), &[])
    };
    let done = build("operator", "COPY manifests /manifests\nRUN busybox ln -s 0.1/csv.yaml /manifests/latest.yaml");
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    let zips: Vec<_> =
        files(&world.path("home")).into_iter().filter(|p| p.ends_with("operator_manifests.zip")).collect();
    let [zip] = &zips[..] else { panic!("{zips:?}\n{}", done.out) };
    let listed = Command::new("python3").args(["-c", LIST_ZIP]).arg(zip).output().expect("python3");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let listed: Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    let expected = serde_json::json!({
        "0.1/csv.yaml": "kind: ClusterServiceVersion\n",
        "latest.yaml": "kind: ClusterServiceVersion\n",
        "x.package.yaml": "packageName: x\n",
    });
    assert_eq!(listed, expected);
    check_nothing_left(&world);

    let done = build("none", "RUN true");
    check_failed(&world, &done, 1, &["has no folder /manifests", "export_operator_manifests"]);
    let done = build("leaves", "COPY manifests /manifests\nRUN busybox ln -s ../../etc/passwd /manifests/p.yaml");
    check_failed(
        &world,
        &done,
        1,
        &["/manifests/p.yaml in the image is a link to ../../etc/passwd", "outside of /manifests"],
    );
}
