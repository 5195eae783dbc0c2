//! The programs that ask a hub for a build: the official `koji` with our plugin, `osbs koji-build`, and rpkg, which fedpkg
//! is made of. The hub is ours, the builder is `osbs kojid`, the build is a real one.

mod world;

use osbs_koji::{Arguments, BuildState, MethodCall, Task, TaskState, calls};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use world::hub::{HOST, IMPORTER, PASSWORD, TARGET, TestHub, USER};
use world::image_builder::ImageBuilder;
use world::{Done, World, can_run, wait_for};

/// Starts a program of Python's with shorter pauses: the stock client looks at a task once a minute.
const QUICK: &str = "import runpy, sys, time\nwait = time.sleep\ntime.sleep = lambda seconds: wait(min(seconds, 0.5))\n\
                     sys.argv = sys.argv[1:]\nrunpy.run_path(sys.argv[0], run_name='__main__')\n";

/// Two platforms on one machine.
const TWO_PLATFORMS: &str = "skip_koji_check_for_base_image: true\nclusters:\n  \
    x86_64: [{name: local, max_concurrent_builds: 4}]\n  second: [{name: local, max_concurrent_builds: 4}]\n\
    platform_descriptors: [{platform: second, architecture: amd64}]\n";

fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace")
}

/// A site with everything: hub, builder, registry, and the programs of PyPI.
struct Site {
    world: World,
    hub: TestHub,
    builder: Child,
    programs: PathBuf,
}

impl Site {
    fn start(packages: &[&str]) -> Self {
        Self::configured(packages, |_, _| {})
    }

    /// A site whose builds end in Koji.
    fn with_koji(packages: &[&str]) -> Self {
        Self::configured(packages, |world, hub| {
            let password = world.path("koji-password");
            fs::write(&password, format!("{PASSWORD}\n")).expect("written");
            let (url, root) = (hub.url(), hub.url().replace("/kojihub", "/kojifiles"));
            let auth = format!("{{username: {IMPORTER}, password_path: '{}'}}", password.display());
            let koji = format!("koji:\n  hub_url: {url}\n  root_url: {root}\n  auth: {auth}\n{TWO_PLATFORMS}");
            world.write_conf("can_orchestrate = true\n", &koji);
            let edit = Arguments::of(["f43-build".into()]).named("arches", "x86_64 second");
            hub.call(&hub.log_in("kojiadmin"), MethodCall::raw("editTag2", edit));
        })
    }

    fn configured(packages: &[&str], configure: impl FnOnce(&World, &TestHub)) -> Self {
        let world = World::new();
        let hub = TestHub::start_program(world.folder.path(), packages);
        configure(&world, &hub);
        let cache = std::env::var_os("OSBS_TEST_CACHE").map_or_else(|| project().join(".cache"), PathBuf::from);
        let found =
            Command::new(project().join("scripts/koji.sh")).arg("bin").arg(cache).output().expect("bash starts");
        assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
        let programs = PathBuf::from(String::from_utf8_lossy(&found.stdout).trim());
        let url = hub.url();
        let conf = format!(
            "[kojid]\nserver = {url}\nuser = {HOST}\npassword = {PASSWORD}\nsleeptime = 1\nallowed_scms = *:{}/*\n",
            world.folder.path().display()
        );
        fs::write(world.path("kojid.conf"), conf).expect("written");
        fs::create_dir(world.path(".koji")).expect("made");
        let plugins = project().join("integrations/koji/cli");
        let profile = format!(
            "[koji]\nserver = {url}\ntopurl = {}\nweburl = http://koji.test/koji\nauthtype = password\npoll_interval = 1\n\
             plugin_paths = {}\nuser = {USER}\npassword = {PASSWORD}\n",
            url.replace("/kojihub", "/kojifiles"),
            plugins.display()
        );
        fs::write(world.path(".koji/config"), profile).expect("written");
        let log = fs::File::create(world.path("kojid.log")).expect("a log");
        let mut command = world.command(&["kojid", "--kojid-config"]);
        let builder = command.arg(world.path("kojid.conf")).stdout(Stdio::null()).stderr(log).spawn();
        Self { builder: builder.expect("osbs starts"), world, hub, programs }
    }

    /// Runs a program of Python's as the user, within two minutes.
    fn python(&self, program: PathBuf, folder: &str, args: &[&str]) -> Done {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", "120"]).arg(self.programs.join("python")).args(["-c", QUICK]).arg(program);
        command.args(["--user", USER, "--password", PASSWORD]).args(args);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.world.folder.path()).env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        let output = command.current_dir(self.world.path(folder)).stdin(Stdio::null()).output().expect("it starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Done { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Runs `koji`, which must end well.
    #[track_caller]
    fn koji(&self, args: &[&str]) -> String {
        let done = self.python(self.programs.join("koji"), "", args);
        assert_eq!(done.code, 0, "koji {args:?}\n{}\n{}\n{}", done.out, done.err, self.log());
        done.out
    }

    fn log(&self) -> String {
        fs::read_to_string(self.world.path("kojid.log")).unwrap_or_default()
    }

    /// What the result of a task says, as Koji's programs show it.
    fn result(&self, task: i64) -> String {
        let result = self.hub.call(&self.hub.anonymous(), calls::get_task_result(task));
        let specs = result.array_of("repositories").expect("a list").iter().filter_map(|spec| spec.as_str());
        specs.flat_map(|spec| ["    ", spec, "\n"]).collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.builder.kill();
        let _ = self.builder.wait();
    }
}

/// The task that a program tells of.
#[track_caller]
fn task_of(shown: &str) -> i64 {
    let told = shown.lines().find_map(|line| line.strip_prefix("Created task: ")).unwrap_or_else(|| panic!("{shown}"));
    told.parse().expect("a number")
}

#[test]
fn three_programs_start_the_same_build() {
    if !can_run() {
        return;
    }
    let site = Site::start(&["web-container"]);
    let source = format!("git+{}#main", site.world.layered("container/web", "RUN echo hello from the build"));
    let source = source.as_str();

    // The official client.
    let stock = site.koji(&["container-build", "--wait", "--scratch", "--git-branch", "main", TARGET, source]);
    let task = task_of(&stock);
    assert!(stock.contains(&format!("{task} buildContainer (noarch) completed successfully\nTask Result ({task}):\n")));
    assert!(stock.contains(&site.result(task)) && !site.result(task).is_empty(), "{stock}");
    let watched = site.koji(&["watch-logs", &task.to_string()]);
    let own: Vec<_> = watched.lines().filter(|line| line.contains("hello from the build")).collect();
    assert!(own.iter().any(|line| line.contains("platform:x86_64")), "{watched}");
    let info = site.koji(&["taskinfo", "-v", "-r", &task.to_string()]);
    for said in
        ["Type: buildContainer", "State: closed", &format!("Owner: {USER}"), &format!("Host: {HOST}"), "x86_64.log"]
    {
        assert!(info.contains(said), "{said}: {info}");
    }

    // Ours: the same on standard output, and the log beside it.
    let args = ["koji-build", "--wait", "--scratch", "--git-branch", "main", TARGET, source];
    let ours = site.world.run(&args);
    assert_eq!(ours.code, 0, "{}\n{}", ours.out, ours.err);
    let own_task = task_of(&ours.out);
    let told = format!("{own_task} buildContainer (noarch) completed successfully\nTask Result ({own_task}):\n");
    assert!(ours.out.contains(&told) && ours.out.contains(&site.result(own_task)), "{}", ours.out);
    assert!(ours.err.lines().any(|line| line.starts_with("      x86_64 | ") && line.contains("hello from the build")));
    assert!(ours.err.contains("orchestrator | "), "{}", ours.err);
    let json = site.world.run(&[&args[..1], &["--output", "json"], &args[1..]].concat());
    let record: Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!((record["state"].as_str(), record["failure"].as_str()), (Some("CLOSED"), None), "{record}");

    // A build that fails is told by both with exit code 1.
    let bad = format!("git+{}#main", site.world.layered("container/web", "RUN false"));
    let args = ["--wait", "--scratch", "--git-branch", "main", TARGET, bad.as_str()];
    let failed = site.python(site.programs.join("koji"), "", &[&["container-build"], &args[..]].concat());
    assert_eq!(failed.code, 1, "{}", failed.out);
    assert!(failed.out.contains("Image build failed") && failed.out.contains("(noarch) failed"), "{}", failed.out);
    let failed = site.world.run(&[&["koji-build"], &args[..]].concat());
    assert_eq!(failed.code, 1, "{}", failed.out);
    assert!(failed.out.contains("FAILED: ContainerError: Image build failed"), "{}", failed.out);
}

#[test]
fn a_build_of_the_official_client_ends_with_a_tag() {
    if !can_run() {
        return;
    }
    let site = Site::with_koji(&["web-container"]);
    let dockerfile =
        "FROM scratch\nLABEL name=test/web com.redhat.component=web-container version=1\nCOPY file.txt /\n";
    let files = [("Dockerfile", dockerfile), ("file.txt", "content\n")];
    let source = format!("git+{}#main", site.world.repository("web", &files));
    let shown = site.koji(&["container-build", "--wait", "--git-branch", "main", TARGET, &source]);
    let task = task_of(&shown);
    let link = shown.lines().find(|line| line.contains("buildinfo?buildID=")).unwrap_or_else(|| panic!("{shown}"));
    let id = link.rsplit('=').next().expect("an id");
    let info = site.koji(&["buildinfo", id]);
    let nvr = info.lines().next().and_then(|line| line.split(' ').nth(1)).expect("BUILD: NVR [ID]");
    for said in
        ["State: COMPLETE", &format!("Task: {task} buildContainer"), &format!("Tags: {TARGET}"), "Image archives:"]
    {
        assert!(info.contains(said), "{said}: {info}");
    }
    for command in [
        &["list-tagged", TARGET][..],
        &["latest-build", TARGET, "web-container"],
        &["list-builds", "--package", "web-container"],
    ] {
        let listed = site.koji(command);
        assert!(listed.lines().any(|line| line.starts_with(nvr)), "{command:?}: {listed}");
    }
    for platform in ["x86_64", "second"] {
        let log = site.koji(&["watch-logs", "--log", &format!("{platform}.log"), &task.to_string()]);
        assert!(log.contains("COPY file.txt"), "{log}");
    }
    // The archive that comes down is the one that was imported, whole.
    site.koji(&["download-build", "--type", "image", "--noprogress", nvr]);
    let archives = site.koji(&["call", "--json-output", "listArchives", id]);
    let archives: Value = serde_json::from_str(&archives).expect("JSON");
    assert_eq!(archives.as_array().map(Vec::len), Some(2), "one a platform: {archives}");
    for archive in archives.as_array().expect("a list") {
        let name = archive["filename"].as_str().expect("a name");
        let file = fs::File::open(site.world.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(Some(file.metadata().expect("read").len()), archive["size"].as_u64(), "{name}");
        let sum = Command::new("md5sum").stdin(file).output().expect("md5sum starts").stdout;
        let sum = String::from_utf8_lossy(&sum).into_owned();
        assert_eq!(sum.split(' ').next(), archive["checksum"].as_str(), "{name}");
    }
}

#[test]
fn rpkg_builds_from_a_clone() {
    if !can_run() {
        return;
    }
    let site = Site::start(&["web-container"]);
    let origin = site.world.layered("container/web", "RUN echo hello from dist-git");
    let clone = Command::new("git").args(["clone", "-q", &origin, "web"]).current_dir(site.world.path("")).status();
    assert!(clone.expect("git starts").success());
    let root = site.world.path("git");
    let conf = fs::read_to_string(project().join("integrations/koji/rpkg/sitepkg.conf")).expect("read");
    let there = format!("anongiturl = git+file://{}/%(repo)s", root.display());
    let lines = conf.lines().map(|line| if line.starts_with("anongiturl") { there.as_str() } else { line });
    let conf: Vec<&str> = lines.collect();
    fs::write(site.world.path("sitepkg.conf"), conf.join("\n")).expect("written");
    let conf = site.world.path("sitepkg.conf").display().to_string();
    let sitepkg = project().join("integrations/koji/rpkg/sitepkg");
    let done = site.python(sitepkg, "web", &["--config", &conf, "container-build", "--scratch", "--target", TARGET]);
    assert_eq!(done.code, 0, "{}\n{}\n{}", done.out, done.err, site.log());
    let task = task_of(&done.out);
    assert!(done.out.contains(&format!("{task} buildContainer (noarch) completed successfully")), "{}", done.out);
    let spec = site.result(task);
    assert!(done.out.contains(spec.trim().lines().next().expect("a pull specification")), "{}", done.out);
}

/// Tasks of a method, newest last.
fn tasks(hub: &TestHub, method: &str) -> Vec<Task> {
    let listed = MethodCall::raw("listTasks", Arguments::of([osbs_koji::Value::members([("method", method.into())])]));
    let listed = hub.call(&hub.anonymous(), listed);
    let id = |task: &osbs_koji::Value| task.get("id").as_int().expect("an id");
    listed.as_array().expect("a list").iter().map(|task| hub.task(id(task))).collect()
}

/// `FROM koji/image-build`: Koji's own task makes the root file system of each platform, is seen beside the build's, taken
/// over by every worker, and cancelled with the build.
#[test]
fn koji_makes_the_file_system_of_a_base_image() {
    if !can_run() {
        return;
    }
    let site = Site::with_koji(&["base-container"]);
    let hub = &site.hub;
    let grant = Arguments::of([IMPORTER.into(), "image".into()]);
    hub.call(&hub.log_in("kojiadmin"), MethodCall::raw("grantPermission", grant));
    let images = ImageBuilder::start(hub, &["x86_64", "second"], site.world.folder.path());
    images.holds.store(true, Ordering::SeqCst);
    let dockerfile = "FROM koji/image-build:my.conf\nLABEL name=test/base com.redhat.component=base-container version=1\n\
                      RUN cat /etc/made\n";
    let conf = "[image-build]\nname = base\nversion = 1\ninstall_tree = http://tree.example.com/$arch\n";
    let source =
        format!("git+{}#main", site.world.repository("base", &[("Dockerfile", dockerfile), ("my.conf", conf)]));
    let start = || task_of(&site.koji(&["container-build", "--nowait", "--git-branch", "main", TARGET, &source]));
    let parts = |number: usize| {
        let begun = || tasks(hub, "createImage").iter().filter(|task| task.state == TaskState::Open).count();
        wait_for("both platforms' tasks are open", 180, || begun() == 2);
        let all = tasks(hub, "image");
        assert_eq!(all.len(), number, "one task for all platforms of a build: {}", site.log());
        all[number - 1].id
    };

    // It is seen while it is being done.
    let build = start();
    let image = parts(1);
    let listed = site.koji(&["list-tasks"]);
    for said in [format!("{image} "), "createImage".into(), "x86_64".into(), "second".into(), format!("{build} ")] {
        assert!(listed.contains(&said), "{said}: {listed}");
    }
    let info = site.koji(&["taskinfo", "-r", &image.to_string()]);
    for said in ["Type: image", "Type: createImage", "State: open", &format!("Owner: {IMPORTER}")] {
        assert!(info.contains(said), "{said}: {info}");
    }

    // Each worker takes its own platform's output of the one task.
    images.holds.store(false, Ordering::SeqCst);
    let ended = hub.wait_for(build, 240);
    assert_eq!(ended.state, TaskState::Closed, "{}\n{}", site.log(), hub.output(build, "openshift-incremental.log"));
    for platform in ["x86_64", "second"] {
        let log = hub.output(build, &format!("{platform}.log"));
        assert!(log.contains(&format!("made for {platform}")), "{log}");
        assert!(log.contains(&format!("base-1-1.{platform}.tar.gz of Koji task ")), "{log}");
    }
    assert_eq!(tasks(hub, "image").len(), 1, "workers start none of their own");
    let done = hub.call(&hub.anonymous(), calls::get_build("base-container-1-1")).expect("the build is in Koji");
    assert_eq!(done.state, BuildState::Complete);
    assert_eq!(done.extra.to_json()["filesystem_koji_task_id"], image);
    let info = site.koji(&["taskinfo", "-r", "-v", &image.to_string()]);
    assert!(info.contains("State: closed") && info.contains("base-1-1.second.tar.gz"), "{info}");

    // It ends with the build.
    images.holds.store(true, Ordering::SeqCst);
    let build = start();
    let image = parts(2);
    site.koji(&["cancel", &build.to_string()]);
    assert_eq!(hub.wait_for(build, 60).state, TaskState::Canceled);
    assert_eq!(hub.wait_for(image, 120).state, TaskState::Canceled, "{}", site.log());
    let open = |task: &Task| !task.state.is_finished();
    assert!(!tasks(hub, "createImage").iter().any(open), "its parts are cancelled with it");
}
