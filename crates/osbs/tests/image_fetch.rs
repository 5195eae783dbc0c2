//! ADD of URLs and git repositories by the whole program: what arrives in the image, what is refused, and that no
//! password is seen anywhere. And that layers of the parent are mounted when the image is pushed.

#[path = "../../osbs-http/tests/fake/mod.rs"]
mod fake;
#[path = "../../osbs-registry/tests/support/front.rs"]
mod front;
#[path = "../../osbs-fetch/tests/support/repositories.rs"]
mod repositories;
#[allow(dead_code, reason = "one test needs a part of it")]
mod rootless_user;
mod world;

use fake::{Asked, Fake, Reply};
use repositories::{backend, git, make_repository};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use world::{Done, World, can_run};

/// Loopback, but no address that a build may reach by itself.
const INSIDE: &str = "127.0.0.2";

/// Path to mode, owner, seconds and content.
type Files = BTreeMap<String, (u32, (u32, u32), i64, String)>;

struct Site {
    world: World,
    context: PathBuf,
    fake: Fake,
    work: PathBuf,
}

impl Site {
    fn new() -> Self {
        let world = World::bare();
        let (context, served) = (world.path("context"), world.path("served"));
        for folder in [&context, &served] {
            fs::create_dir_all(folder).expect("made");
        }
        let work = make_repository(&served);
        let tree = world.path("tree");
        fs::create_dir_all(tree.join("inside")).expect("made");
        fs::write(tree.join("inside/file"), "packed\n").expect("written");
        let archive = world.path("tree.tar.gz");
        let packed = Command::new("tar").arg("-czf").arg(&archive).arg("-C").arg(&tree).arg("inside").status();
        assert!(packed.is_ok_and(|status| status.success()), "tar");
        let archive = fs::read(archive).expect("read");
        let fake = Fake::start_at(INSIDE, move |asked, _| {
            let authorized = asked.header("authorization") == Some("Basic bWU6aHVudGVyMg==");
            match asked.target.as_str() {
                "/dir/file%20one.txt" => Reply::ok("one\n"),
                "/dated" => Reply::ok("dated\n").header("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
                "/tree.tar.gz" => Reply::ok(archive.clone()),
                "/meta" => Reply::new(302).header("Location", "http://169.254.169.254/latest/meta-data/"),
                "/guarded" if authorized => Reply::ok("guarded\n"),
                "/guarded" => Reply::new(401),
                _ => backend(&served, asked),
            }
        });
        Self { world, context, fake, work }
    }

    fn dockerfile(&self, text: &str) {
        fs::write(self.context.join("Dockerfile"), text.replace("HOST", &self.fake.host())).expect("written");
    }

    fn build(&self, text: &str, more: &[&str]) -> Done {
        self.dockerfile(text);
        let (folder, out) = (self.context.display().to_string(), self.world.path("out"));
        let _ = fs::remove_dir_all(&out);
        let output = format!("oci:{}", out.display());
        self.world.run(&[&["image", "build", &folder, "--output", &output], more].concat())
    }

    #[track_caller]
    fn refused(&self, text: &str, more: &[&str], code: i32, parts: &[&str]) {
        let done = self.build(text, more);
        assert_eq!(done.code, code, "{text}: {}", done.err);
        for part in parts {
            assert!(done.err.contains(part), "{part:?} is not in {}", done.err);
        }
        assert!(!self.world.path("out").exists());
    }

    /// The image's files by umoci: mode, owner, seconds, content.
    fn unpack(&self, layout: &str) -> Files {
        let bundle = self.world.path("bundle");
        let _ = fs::remove_dir_all(&bundle);
        let image = format!("{}:latest", self.world.path(layout).display());
        let status = Command::new("umoci").args(["unpack", "--image", &image]).arg(&bundle).output();
        let output = status.expect("umoci: apt-get install umoci");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let (root, mut found) = (bundle.join("rootfs"), BTreeMap::new());
        let mut waiting = vec![root.clone()];
        while let Some(path) = waiting.pop() {
            let about = fs::symlink_metadata(&path).expect("metadata");
            let content = if about.is_dir() {
                waiting.extend(fs::read_dir(&path).expect("list").map(|entry| entry.expect("entry").path()));
                String::new()
            } else if about.is_symlink() {
                fs::read_link(&path).expect("link").display().to_string()
            } else {
                String::from_utf8_lossy(&fs::read(&path).expect("read")).into_owned()
            };
            let name = format!("/{}", path.strip_prefix(&root).expect("below").display());
            found.insert(name, (about.mode() & 0o7777, (about.uid(), about.gid()), about.mtime(), content));
        }
        found
    }
}

/// Every byte of every file below a folder.
fn everything(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(path) = waiting.pop() {
        match fs::read_dir(&path) {
            Ok(entries) => waiting.extend(entries.flatten().map(|entry| entry.path())),
            Err(_) => all.extend(fs::read(&path).unwrap_or_default()),
        }
    }
    all
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

#[test]
fn what_add_brings() {
    if !can_run() {
        return;
    }
    let site = Site::new();
    let commit = git(&site.work, &["rev-parse", "main"]);
    let text = format!(
        "FROM scratch\n\
         ARG WHERE=http://HOST\n\
         ADD $WHERE/dir/file%20one.txt /one/\n\
         ADD --chmod=640 --chown=5:6 http://HOST/dated /dated\n\
         ADD --checksum={DATED_SUM} http://HOST/dated /sum\n\
         ADD --unpack=true http://HOST/tree.tar.gz /tree/\n\
         ADD --unpack=true http://HOST/dated /plain\n\
         ADD http://HOST/tree.tar.gz /raw/\n\
         ADD http://HOST/dated http://HOST/tree.tar.gz /two/\n\
         ADD http://HOST/web.git#v1 /v1\n\
         ADD --keep-git-dir=true --chown=7:8 http://HOST/web.git /kept/\n\
         ADD --exclude=*.secret http://HOST/web.git /some\n\
         ADD http://HOST/web.git#main:sub/deep /deep/\n\
         ADD --checksum={commit} http://HOST/web.git /sum-git\n\
         ADD --chmod=600 http://HOST/web.git?tag=v1 /mode\n",
        DATED_SUM = "sha256:".to_owned() + &sha256(b"dated\n"),
    );
    let done = site.build(&text, &["--allow-address", INSIDE]);
    assert_eq!(done.code, 0, "{}", done.err);
    let found = site.unpack("out");
    let check = |path: &str, mode: u32, owner: (u32, u32), time: Option<i64>, content: &str| {
        let Some((found_mode, found_owner, found_time, found_content)) = found.get(path) else {
            panic!("{path} is not in {:?}", found.keys());
        };
        assert_eq!((*found_mode, *found_owner, found_content.as_str()), (mode, owner, content), "{path}");
        assert!(time.is_none_or(|time| time == *found_time), "{path}: {found_time}");
    };
    check("/one/file one.txt", 0o600, (0, 0), Some(0), "one\n");
    check("/dated", 0o640, (5, 6), Some(784_111_777), "dated\n");
    check("/sum", 0o600, (0, 0), Some(784_111_777), "dated\n");
    check("/tree/inside/file", 0o644, (0, 0), None, "packed\n");
    check("/plain", 0o600, (0, 0), None, "dated\n");
    assert!(found.contains_key("/raw/tree.tar.gz") && found.contains_key("/two/tree.tar.gz"));
    check("/two/dated", 0o600, (0, 0), None, "dated\n");
    check("/v1/first", 0o644, (0, 0), Some(1_000_000_000), "1\n");
    assert!(!found.contains_key("/v1/script") && !found.contains_key("/v1/.git"));
    check("/kept/script", 0o755, (7, 8), None, "#!/bin/sh\n");
    check("/kept/sub/etc", 0o777, (7, 8), None, "/etc");
    check("/kept/.git/HEAD", 0o644, (7, 8), None, &format!("{commit}\n"));
    assert!(found.contains_key("/some/script") && !found.contains_key("/some/notes.secret"));
    check("/deep/file", 0o644, (0, 0), None, "deep\n");
    assert!(found.contains_key("/sum-git/notes.secret"));
    check("/mode/first", 0o600, (0, 0), None, "1\n");
}

/// Files by URL are as buildah puts them: names, modes, owners, times.
#[test]
fn files_are_as_buildah_has_them() {
    if !can_run() {
        return;
    }
    let site = Site::new();
    let text = "FROM scratch\nADD http://HOST/dated /x/\nADD http://HOST/dated /y\n\
                ADD --chmod=755 --chown=3:4 http://HOST/dated /z\nADD http://HOST/dated http://HOST/tree.tar.gz /two/\n";
    let done = site.build(text, &["--allow-address", INSIDE]);
    assert_eq!(done.code, 0, "{}", done.err);
    let ours = site.unpack("out");
    let (root, run) = (site.world.path("buildah"), site.world.path("buildah-run"));
    let buildah = |args: &[&str]| {
        let mut command = Command::new("buildah");
        command.args(["--storage-driver", "vfs", "--root"]).arg(&root).arg("--runroot").arg(&run).args(args);
        let output = command.output().expect("buildah: apt-get install buildah");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    buildah(&["bud", "--quiet", "--isolation", "chroot", "--tag", "same", &site.context.display().to_string()]);
    buildah(&["push", "--quiet", "same", &format!("oci:{}:latest", site.world.path("theirs").display())]);
    let theirs = site.unpack("theirs");
    // Without a time of the server's buildah takes that of the build; new folders have it in both.
    let seen = |tree: &Files| -> Vec<_> {
        let timed = |name: &str| name.ends_with("dated") || matches!(name, "/y" | "/z");
        let entries = tree.iter().filter(|(name, _)| *name != "/");
        entries
            .map(|(name, (mode, owner, time, content))| {
                (name.clone(), *mode, *owner, timed(name).then_some(*time), content.clone())
            })
            .collect()
    };
    assert_eq!(seen(&ours), seen(&theirs));
    assert_eq!(ours.len(), 8);
}

#[test]
fn what_add_refuses() {
    if !can_run() {
        return;
    }
    let site = Site::new();
    let allow = ["--allow-address", INSIDE];
    let policy = 3;
    site.refused("FROM scratch\nADD http://HOST/dated /x\n", &[], policy, &["Dockerfile:2", INSIDE, "--allow-address"]);
    site.refused(
        "FROM scratch\nADD http://HOST/web.git /x\n",
        &[],
        policy,
        &["Dockerfile:2", INSIDE, "--allow-address"],
    );
    site.refused("FROM scratch\nADD http://HOST/meta /x\n", &allow, policy, &["169.254.169.254", "Dockerfile:2"]);
    site.refused("FROM scratch\nADD http://localhost:1/x /x\n", &allow, policy, &["localhost"]);
    let user = 1;
    let wrong = format!("FROM scratch\n\nADD --checksum=sha256:{} http://HOST/dated /x\n", "ab".repeat(32));
    site.refused(&wrong, &allow, user, &["Dockerfile:3", "--checksum", &sha256(b"dated\n")]);
    site.refused("FROM scratch\nADD --checksum=sha256:ab http://HOST/dated /x\n", &allow, user, &["64 hexadecimal"]);
    site.refused("FROM scratch\nADD --checksum=abcdef0 http://HOST/web.git /x\n", &allow, user, &["--checksum"]);
    site.refused("FROM scratch\nADD http://HOST/none /x\n", &allow, user, &["404", "Dockerfile:2"]);
    site.refused("FROM scratch\nADD http://HOST/web.git#main:../etc /x\n", &allow, user, &["not a path inside"]);
    site.refused("FROM scratch\nADD http://HOST/web.git#main:sub/etc /x\n", &allow, user, &["no folder"]);
    site.refused("FROM scratch\nADD git@127.0.0.2:web.git /x\n", &allow, user, &["only http and https"]);
    site.refused("FROM scratch\nADD ext::sh /x\n", &allow, user, &["is not in the build context"]);
    site.refused("FROM scratch\nADD file:///etc/passwd /x\n", &allow, user, &["is not in the build context"]);
    site.refused("FROM scratch\nCOPY http://HOST/dated /x\n", &allow, user, &["write ADD"]);
    site.refused("FROM scratch\nADD http://HOST/ /x/\n", &allow, user, &["file name"]);
    site.refused(
        "FROM scratch\nADD http://HOST/dated /x\n",
        &["--allow-address", "a b"],
        user,
        &["neither an address"],
    );
}

/// A password in a URL reaches its server; it is in no output, image, log or file of the store.
#[test]
fn no_password_is_left_anywhere() {
    if !can_run() {
        return;
    }
    let site = Site::new();
    let text = "FROM scratch\nADD http://me:hunter2@HOST/guarded /x\nADD --keep-git-dir=true http://me:hunter2@HOST/web.git /y\n";
    let done = site.build(text, &["--allow-address", INSIDE, "--verbose"]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(!done.err.contains("hunter2") && !done.out.contains("hunter2"), "{}", done.err);
    for folder in [site.world.path("out"), site.world.path("home")] {
        assert!(!contains(&everything(&folder), "hunter2"), "{}", folder.display());
    }
    site.unpack("out");
    assert!(!contains(&everything(&site.world.path("bundle")), "hunter2"));
    let text = "FROM scratch\nADD http://me:hunter22@HOST/guarded /x\n";
    let done = site.build(text, &["--allow-address", INSIDE, "--verbose"]);
    assert!(done.code == 1 && done.err.contains("401") && !done.err.contains("hunter2"), "{}", done.err);
}

/// `osbs build`: as `fetch` of config.yaml says.
#[test]
fn builds_fetch_as_the_site_allows() {
    if !can_run() {
        return;
    }
    let site = Site::new();
    let mut world = World::new();
    let lines =
        format!("ADD http://{}/dated /dated\nADD http://{}/web.git#v1 /v1\n", site.fake.host(), site.fake.host());
    let url = world.layered("app", &lines);
    let done = world.build(&url, &[]);
    assert_eq!(done.code, 3, "{}", done.err);
    assert!(done.err.contains("fetch.allow") && done.err.contains(INSIDE), "{}", done.err);
    assert_eq!(site.fake.lines(), [""; 0]);
    world.write_conf(
        "can_orchestrate = true\n",
        &format!("fetch: {{allow: [{INSIDE}/32], timeout: 60, max_size: 1000000}}\n"),
    );
    let done = world.build(&url, &[]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(site.fake.lines().iter().any(|line| line.contains("/web.git/git-upload-pack")));
    world.write_conf("can_orchestrate = true\n", "fetch: {allow: ['no address']}\n");
    let done = world.build(&url, &[]);
    assert!(done.code == 3 && done.err.contains("fetch.allow"), "{}", done.err);
    world.stop_registry();
}

/// Layers that the registry has are mounted from the parent's repository.
#[test]
fn a_push_mounts_the_layers_of_the_parent() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let log: Arc<Mutex<Vec<(Asked, u16)>>> = Arc::default();
    let kept = Arc::clone(&log);
    let front = front::front(&world.registry, move |asked, _, honest| {
        let reply = honest(asked);
        kept.lock().expect("log").push((asked.clone(), reply.status));
        reply
    });
    let context = world.path("context");
    fs::create_dir_all(&context).expect("made");
    fs::write(context.join("file"), "new\n").expect("written");
    let host = front.host();
    fs::write(context.join("Dockerfile"), format!("FROM {host}/base:1\nCOPY file /file\n")).expect("written");
    let folder = context.display().to_string();
    let tags = [format!("{host}/ns/app:1"), format!("{host}/ns/other:1"), format!("{host}/ns/app:2")];
    let [one, two, three] = &tags;
    world.ok(&["image", "build", &folder, "--tag", one, "--tag", two, "--tag", three, "--output", "push"]);
    let log = log.lock().expect("log");
    let count = |method: &str, part: &str, status: u16| {
        let found = log
            .iter()
            .filter(|(asked, found)| asked.method == method && asked.target.contains(part) && *found == status);
        found.count()
    };
    assert_eq!(count("POST", "from=base", 201), 2, "once for each repository: {:?}", front.lines());
    // The new layer went up while it was made (PATCH and PUT), the config of the two repositories, nothing else.
    assert_eq!(count("PUT", "/blobs/uploads/", 201), 3, "{:?}", front.lines());
    assert_eq!(count("PATCH", "", 202), 1);
    assert_eq!(count("POST", "from=ns%2Fapp", 201), 1, "the new layer goes on from repository to repository");
    assert_eq!(count("PUT", "/manifests/", 201), 3);
}

/// The same for `osbs build`: the worker's push and the copies between repositories send no byte of the parent.
#[test]
fn a_build_sends_no_layer_of_the_parent() {
    if !can_run() {
        return;
    }
    let mut world = World::new();
    let log: Arc<Mutex<Vec<(Asked, u16)>>> = Arc::default();
    let kept = Arc::clone(&log);
    let front = front::front(&world.registry, move |asked, _, honest| {
        let reply = honest(asked);
        kept.lock().expect("log").push((asked.clone(), reply.status));
        reply
    });
    world.registry = front.host();
    world.write_conf("can_orchestrate = true\n", "");
    let url = world.layered("mounting", "RUN echo new > /new\n");
    let done = world.build(&url, &[]);
    assert_eq!(done.code, 0, "{}", done.err);
    let log = log.lock().expect("log");
    let sent: usize =
        log.iter().filter(|(asked, _)| asked.target.contains("/uploads/")).map(|(asked, _)| asked.body.len()).sum();
    // busybox in the parent's layer is far larger.
    assert!(sent < 100_000, "{sent} bytes: {:?}", front.lines());
    let mounted = log.iter().filter(|(asked, status)| asked.target.contains("mount=") && *status == 201).count();
    assert!(mounted >= 1, "{:?}", front.lines());
}

/// An ordinary user gets the same from ADD as root, to the last byte.
#[test]
fn the_same_without_root() {
    let Some(place) = rootless_user::Place::new() else { return };
    let site = Site::new();
    let host = site.fake.host();
    place.write_context(&format!(
        "FROM oci:BASE\nADD --chown=5:6 http://{host}/dated /dated\nADD http://{host}/web.git /web\n\
         ADD --unpack=true http://{host}/tree.tar.gz /tree/\n"
    ));
    let as_user = place.build_as_user(&["--allow-address", INSIDE]);
    assert_eq!(as_user.code, 0, "{}", as_user.err);
    let mut as_root = place.build(&place.root_command(), "root");
    let as_root = world::done(as_root.args(["--allow-address", INSIDE]).output().expect("osbs starts"));
    assert_eq!(as_root.code, 0, "{}", as_root.err);
    assert_eq!(as_user.out, as_root.out, "one image id");
}

fn sha256(bytes: &[u8]) -> String {
    use std::io::Write as _;
    let mut child = Command::new("sha256sum")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("sha256sum");
    child.stdin.take().expect("a pipe").write_all(bytes).expect("written");
    let output = child.wait_with_output().expect("sha256sum");
    String::from_utf8_lossy(&output.stdout).split(' ').next().unwrap_or_default().to_owned()
}
