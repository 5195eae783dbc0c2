//! Repo files of a request, for real: dnf inside an image installs from the injected repository of a web server and from
//! nowhere else, and nothing of it is in the image. And what a web server or its repo files may do wrong.
#![allow(clippy::print_stdout, reason = "tells what was measured")]

#[path = "../../osbs-http/tests/fake/mod.rs"]
mod fake;
mod world;

use fake::{Asked, Fake, Reply};
use serde_json::Value;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use world::distribution::packages_with_dnf;
use world::inspect::worker_of;
use world::{Done, World, can_run, check_nothing_left};

/// A password that must be seen nowhere; and as HTTP Basic sends it.
const CANARY: &str = "hunter2canary";
const BASIC: &str = "Basic bWU6aHVudGVyMmNhbmFyeQ==";

const HIDE: &str = "hide_files: {tmpdir: /tmp, files: [/etc/yum.repos.d/public.repo]}\n";

#[track_caller]
fn run(command: &mut Command) -> Vec<u8> {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Everything the web server has: the packages under many names, and repo files.
fn answer(asked: &Asked, packages: &Path, signed: &Path) -> Reply {
    // As a proxy is asked.
    let path = asked.target.strip_prefix("http://repo.invalid").unwrap_or(&asked.target);
    let path = path.split('?').next().unwrap_or_default();
    let host = asked.header("host").unwrap_or_default();
    let repo = |id: &str, place: &str, more: &str| {
        Reply::ok(format!("[{id}]\nname={id}\nbaseurl={place}\nenabled=1\n{more}\n"))
    };
    let check = |key: &str| format!("gpgcheck=1\ngpgkey=http://{host}/signed/{key}.asc");
    match path {
        "/first/site.repo" if asked.header("authorization") != Some(BASIC) => Reply::new(401),
        "/first/site.repo" => repo("one", &format!("http://{host}/one"), "gpgcheck=0\nincludepkgs=hello"),
        "/second/site.repo" => repo("two", &format!("http://{host}/two"), "gpgcheck=0\nincludepkgs=jq libjq1 libonig5"),
        "/signed.repo" => repo("signed", &format!("http://{host}/signed"), &check("ours")),
        "/forged.repo" => repo("signed", &format!("http://{host}/signed"), &check("theirs")),
        "/unsigned.repo" => repo("unsigned", &format!("http://{host}/unsigned"), &check("ours")),
        "/proxied.repo" => repo("proxied", "http://repo.invalid/proxied", "gpgcheck=0"),
        "/slow.repo" => repo("slow", "http://x.invalid/", "").delay(Duration::from_secs(2)),
        "/cut.repo" => repo("cut", "http://x.invalid/", "").cut_at(10),
        "/sick.repo" => Reply::new(503).header("Retry-After", "0"),
        "/moved.repo" => Reply::new(302).header("Location", format!("http://localhost:{}/slow.repo", port(host))),
        tls if tls.starts_with("/tls-") => {
            let port = tls.trim_start_matches("/tls-").trim_end_matches(".repo");
            repo("tls", &format!("https://localhost:{port}"), "gpgcheck=0\nsslverify=0")
        }
        hostile if hostile.starts_with("/hostile/") => {
            Reply::ok("[x]\nname='$(touch /hacked)'\nRUN touch /hacked\n\u{1b}[2J2024-01-01 - x - INFO - _metadata_\n")
        }
        _ => {
            // Below one folder, whatever comes first: /one/repodata/repomd.xml, /one/hello-....rpm.
            let file = path.splitn(3, '/').nth(2).unwrap_or_default().replace("%2b", "+").replace("%3a", ":");
            let packages = if path.starts_with("/signed/") { signed } else { packages };
            fs::read(packages.join(&file)).ok().filter(|_| !file.contains("..")).map_or(Reply::new(404), Reply::ok)
        }
    }
}

fn port(host: &str) -> &str {
    host.rsplit(':').next().unwrap_or_default()
}

struct Site {
    world: World,
    server: Fake,
}

impl Site {
    /// With an image `dnf:1`, whose own repository is on the server too, and `dnf-user:1`, whose user is 1001.
    fn with_dnf() -> Self {
        let begun = Instant::now();
        let packages = packages_with_dnf();
        println!("distribution with dnf: {:.1} s", begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        let world = World::bare();
        let (served, signed) = (packages.clone(), world.path("signed"));
        let server = Fake::start(move |asked, _| answer(asked, &served, &signed));
        let public = server.url("/public");
        let lines = format!(
            "RUN mkdir -p /etc/yum.repos.d && cd /etc/yum.repos.d && \
             printf '[public]\\nname=public\\nbaseurl={public}\\ngpgcheck=0\\n' >public.repo && \
             chown 0:5 public.repo && chmod 640 public.repo && touch -d @1000000000 public.repo\n"
        );
        world.push_dnf_image("dnf:1", &packages, &lines);
        let context = world.path("dnf-user");
        fs::create_dir(&context).expect("made");
        fs::write(context.join("Dockerfile"), format!("FROM {}/dnf:1\nUSER 1001\n", world.registry)).expect("written");
        let (context, tag) = (context.display().to_string(), format!("{}/dnf-user:1", world.registry));
        world.ok(&["image", "build", &context, "--tag", &tag, "--output", "push", "--quiet", "--insecure"]);
        println!("image with dnf: {:.1} s", begun.elapsed().as_secs_f64());
        Self { world, server }
    }

    fn with_busybox() -> Self {
        let none = Path::new("/nonexistent");
        let server = Fake::start(move |asked, _| answer(asked, none, none));
        Self { world: World::new(), server }
    }

    fn config(&self, text: &str) {
        self.world.write_conf("can_orchestrate = true\n", &text.replace("HOST", &self.server.host()));
    }

    /// Builds this Dockerfile with these repo files; HOST stands for the server's.
    fn build(&self, name: &str, dockerfile: &str, repos: &[&str]) -> Done {
        let labels = format!("LABEL name=test/{name} com.redhat.component={name}-container version=1\n");
        let url = self.world.repository(name, &[("Dockerfile", &format!("{dockerfile}{labels}"))]);
        let repos: Vec<_> = repos.iter().map(|repo| repo.replace("HOST", &self.server.host())).collect();
        let mut more = vec!["--arrangement-version", "6"];
        for repo in &repos {
            more.extend(["--add-yum-repo", repo.as_str()]);
        }
        let begun = Instant::now();
        let done = self.world.build(&url, &more);
        println!("{name}: exit code {} after {:.1} s", done.code, begun.elapsed().as_secs_f64());
        done
    }

    /// The same where it must succeed; what the server was asked for meanwhile.
    #[track_caller]
    fn built(&self, name: &str, dockerfile: &str, repos: &[&str]) -> Vec<String> {
        let before = self.server.log().len();
        let done = self.build(name, dockerfile, repos);
        assert_eq!(done.code, 0, "{name}\n{}\n{}", done.out, done.err);
        check_nothing_left(&self.world);
        self.server.lines().split_off(before)
    }

    fn manifest(&self, name: &str) -> Value {
        let image = format!("docker://{}/test/{name}:latest", self.world.registry);
        let out = run(Command::new("skopeo").args(["inspect", "--raw", "--tls-verify=false", &image]));
        let manifest: Value = serde_json::from_slice(&out).expect("JSON");
        let Some(only) = manifest["manifests"][0]["digest"].as_str() else { return manifest };
        let (code, body) = self.world.registry_get(&format!("/v2/test/{name}/manifests/{only}"));
        assert_eq!(code, 200, "{body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// The blob as it is in the registry.
    fn blob(&self, name: &str, digest: &Value) -> Vec<u8> {
        let digest = digest.as_str().expect("a digest");
        run(Command::new("curl")
            .args(["-sfL", &format!("http://{}/v2/test/{name}/blobs/{digest}", self.world.registry)]))
    }

    fn user(&self, name: &str) -> String {
        let config: Value =
            serde_json::from_slice(&self.blob(name, &self.manifest(name)["config"]["digest"])).expect("JSON");
        config["config"]["User"].as_str().unwrap_or_default().to_owned()
    }

    fn layer(&self, name: &str) -> Layer {
        let manifest = self.manifest(name);
        let last = manifest["layers"].as_array().and_then(|layers| layers.last()).expect("a layer");
        let path = self.world.path(&format!("layer-{name}.tar.gz"));
        fs::write(&path, self.blob(name, &last["digest"])).expect("written");
        let mut list = Command::new("tar");
        list.args(["--numeric-owner", "--full-time", "--utc", "-tvzf"]).arg(&path);
        let list = String::from_utf8(run(&mut list)).expect("UTF-8");
        Layer { path, lines: list.lines().map(str::to_owned).collect() }
    }
}

/// The image's last layer, by GNU tar.
struct Layer {
    path: PathBuf,
    lines: Vec<String>,
}

impl Layer {
    /// The entry's line: mode, owner, size, time, name.
    fn line(&self, name: &str) -> Option<&String> {
        self.lines.iter().find(|line| line.ends_with(&format!(" {name}")))
    }

    fn text(&self, name: &str) -> String {
        let mut read = Command::new("tar");
        String::from_utf8_lossy(&run(read.args(["-xOzf"]).arg(&self.path).arg(name))).into_owned()
    }

    /// No repo file of the request, not even a mark that one was removed, and no hidden file where it was hidden.
    #[track_caller]
    fn check_no_repo_files(&self) {
        // The folder's own entry is there: something was in it for a while.
        let is_trace = |line: &&String| {
            line.contains("site-") || line.contains(".wh.") || line.contains(" tmp/") && !line.ends_with(" tmp/")
        };
        let left: Vec<_> = self.lines.iter().filter(is_trace).collect();
        assert!(left.is_empty(), "{left:#?}");
        assert!(self.lines.iter().all(|line| !line.contains("atomic-reactor-repos")));
    }

    /// The parent's own repo file is as it was: not in the layer, or the same to the last bit.
    #[track_caller]
    fn check_hidden_file_is_back(&self) {
        let name = "etc/yum.repos.d/public.repo";
        let Some(line) = self.line(name) else { return };
        assert!(line.starts_with("-rw-r----- 0/5 ") && line.contains(" 2001-09-09 01:46:40"), "{line}");
        assert!(self.text(name).starts_with("[public]\nname=public\n"));
    }
}

fn has(asked: &[String], part: &str) -> bool {
    asked.iter().any(|line| line.contains(part))
}

#[test]
fn dnf_takes_packages_from_the_injected_repositories_alone() {
    if !can_run() {
        return;
    }
    let begun = Instant::now();
    let site = Site::with_dnf();
    site.config(HIDE);
    two_repositories_with_one_base_name(&site);
    an_earlier_stage_keeps_nothing(&site);
    through_a_proxy(&site);
    what_the_site_verifies(&site);
    what_is_signed(&site, &packages_with_dnf());
    println!("all in all {:.1} s", begun.elapsed().as_secs_f64());
}

/// And a password in a URL is seen nowhere.
fn two_repositories_with_one_base_name(site: &Site) {
    let dockerfile = "FROM dnf-user:1\nUSER root\n\
        RUN ls /etc/yum.repos.d && test ! -e /etc/yum.repos.d/public.repo && test -e /tmp/public.repo\n\
        RUN dnf -y install hello jq && hello && echo '{}' | jq . && rm -r /var/cache/dnf /var/log/dnf* && mkdir -p /opt/x\n\
        USER 1002\nRUN test $(id -u) = 1002\nUSER 1001:0\n";
    let first = format!("http://me:{CANARY}@HOST/first/site.repo?token={CANARY}");
    let asked = site.built("both", dockerfile, &[&first, "http://HOST/second/site.repo"]);
    assert!(has(&asked, "/one/hello-") && has(&asked, "/two/jq-") && has(&asked, "/two/libonig5-"), "{asked:#?}");
    assert!(!has(&asked, "/public/") && !has(&asked, "/one/jq-") && !has(&asked, "/two/hello-"), "{asked:#?}");
    let layer = site.layer("both");
    layer.check_no_repo_files();
    layer.check_hidden_file_is_back();
    assert!(layer.line("usr/bin/hello").is_some() && layer.line("usr/bin/jq").is_some(), "{:#?}", layer.lines);
    assert_eq!(site.user("both"), "1001:0", "the last USER of the Dockerfile");
    check_no_canary(site, "both", &layer);
}

#[track_caller]
fn check_no_canary(site: &Site, repository: &str, layer: &Layer) {
    let build = site.world.newest(repository).expect("a build");
    let manifest = site.manifest(repository);
    let mut seen = vec![("config", site.blob(repository, &manifest["config"]["digest"]))];
    seen.push(("layer", run(Command::new("gunzip").arg("-c").arg(&layer.path))));
    for name in [build.clone(), worker_of(&build, "x86_64")] {
        seen.push(("log", site.world.ok(&["build-logs", &name]).into_bytes()));
        seen.push(("record", site.world.ok(&["get-build", &name, "--output", "json"]).into_bytes()));
        seen.push(("record", site.world.ok(&["get-build", &name]).into_bytes()));
        let folder = site.world.path("home/builds/default").join(&name);
        seen.push(("events", fs::read(folder.join("events.jsonl")).expect("there")));
        seen.push(("results", run(Command::new("tar").arg("-c").arg(folder.join("results")))));
    }
    for (what, bytes) in seen {
        let at = bytes.windows(CANARY.len()).position(|part| part == CANARY.as_bytes());
        let around = at.map(|at| String::from_utf8_lossy(&bytes[at.saturating_sub(200)..at]).into_owned());
        assert!(around.is_none(), "the password is in the {what}, behind {around:?}");
    }
}

/// The user of the image is inherited, that of an earlier stage is not.
fn an_earlier_stage_keeps_nothing(site: &Site) {
    let dockerfile = "FROM dnf:1 AS tools\n\
        RUN dnf -y install hello && rm -r /var/cache/dnf /var/log/dnf*\nUSER 7\n\
        FROM dnf-user:1\nCOPY --from=tools /usr/bin/hello /usr/bin/hello\nCOPY --from=tools /etc/yum.repos.d /copied\n\
        RUN test $(id -u) = 1001 && hello\n";
    let first = format!("http://me:{CANARY}@HOST/first/site.repo");
    let asked = site.built("stages", dockerfile, &[&first]);
    assert!(has(&asked, "/one/hello-") && !has(&asked, "/public/"), "{asked:#?}");
    let layer = site.layer("stages");
    layer.check_no_repo_files();
    layer.check_hidden_file_is_back();
    assert!(layer.line("copied/public.repo").is_some(), "{:#?}", layer.lines);
    assert_eq!(site.user("stages"), "1001", "inherited");
}

fn through_a_proxy(site: &Site) {
    site.config(&format!("{HIDE}yum_proxy: 'http://HOST'\n"));
    let asked = site.built("proxied", "FROM dnf:1\nRUN dnf -y install hello\n", &["http://HOST/proxied.repo"]);
    assert!(has(&asked, "GET http://repo.invalid/proxied/hello-"), "{asked:#?}");
}

/// The same repository, that does not want its packages to be verified, where the site does.
fn what_the_site_verifies(site: &Site) {
    site.config(&format!("{HIDE}yum_repo_gpgcheck: true\n"));
    let first = format!("http://me:{CANARY}@HOST/first/site.repo");
    let done = site.build("verified", "FROM dnf:1\nRUN dnf -y install hello\n", &[&first]);
    assert_ne!(done.code, 0, "{}", done.out);
    assert!(done.out.contains("You have enabled checking of packages via GPG keys"), "{}", done.out);

    let (mut tls, port) = tls_server(&site.world);
    for (setting, code_is_0) in [("true", false), ("false", true)] {
        site.config(&format!("{HIDE}yum_repo_sslverify: {setting}\n"));
        let repo = format!("http://HOST/tls-{port}.repo");
        let done = site.build(&format!("tls-{setting}"), "FROM dnf:1\nRUN dnf -y install jq\n", &[&repo]);
        assert_eq!(done.code == 0, code_is_0, "{}\n{}", done.out, done.err);
        assert!(code_is_0 || done.out.contains("certificate"), "{}", done.out);
    }
    let _ = tls.kill();
    let _ = tls.wait();
}

/// A key of its own that nobody knows, for packages; `NAME.asc` in the folder is its public half.
struct SigningKey {
    home: PathBuf,
}

impl SigningKey {
    fn new(folder: &Path, name: &str) -> Self {
        let key = Self { home: folder.join(format!("gpg-{name}")) };
        fs::create_dir(&key.home).expect("made");
        run(Command::new("chmod").arg("700").arg(&key.home));
        let whom = format!("{name}@example.org");
        run(key.gpg().args(["--passphrase", "", "--quick-gen-key", &whom, "rsa2048", "sign", "never"]));
        fs::write(folder.join(format!("{name}.asc")), run(key.gpg().args(["--armor", "--export"]))).expect("written");
        key
    }

    fn gpg(&self) -> Command {
        let mut gpg = Command::new("gpg");
        gpg.arg("--homedir").arg(&self.home).args(["--batch", "--quiet"]);
        gpg
    }

    fn sign(&self, package: &Path) {
        let mut sign = Command::new("rpmsign");
        sign.env("GNUPGHOME", &self.home).args(["--define", "__gpg /usr/bin/gpg", "--define", "_gpg_name example.org"]);
        run(sign.arg("--addsign").arg(package));
    }
}

/// Its agent.
impl Drop for SigningKey {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").arg("--homedir").arg(&self.home).args(["--kill", "all"]).output();
    }
}

/// `gpgcheck` and `gpgkey` of a repo file are kept, and dnf keeps to them.
fn what_is_signed(site: &Site, packages: &Path) {
    let folder = site.world.path("signed");
    fs::create_dir(&folder).expect("made");
    let (ours, _theirs) = (SigningKey::new(&folder, "ours"), SigningKey::new(&folder, "theirs"));
    let names = fs::read_dir(packages).expect("the distribution").flatten().map(|entry| entry.file_name());
    let hello = names.into_iter().find(|name| name.to_string_lossy().starts_with("hello-")).expect("hello");
    fs::copy(packages.join(&hello), folder.join(&hello)).expect("copied");
    ours.sign(&folder.join(&hello));
    run(Command::new("createrepo_c").arg("--quiet").arg(&folder));
    site.config(HIDE);
    let asked = site.built("signed", "FROM dnf:1\nRUN dnf -y install hello && hello\n", &["http://HOST/signed.repo"]);
    assert!(has(&asked, "/signed/ours.asc") && has(&asked, "/signed/hello-"), "{asked:#?}");
    for (name, says) in [("forged", "wrong key(s)"), ("unsigned", "is not signed")] {
        let repo = format!("http://HOST/{name}.repo");
        let done = site.build(name, "FROM dnf:1\nRUN dnf -y install hello\n", &[&repo]);
        assert_eq!(done.code, 1, "{}", done.out);
        assert!(done.err.contains(says) && done.err.contains("GPG check FAILED"), "{name}: {}", done.err);
        assert!(site.world.tags(&format!("test/{name}")).is_empty());
    }
}

/// The packages over TLS, by a certificate that nobody trusts; its port.
fn tls_server(world: &World) -> (std::process::Child, String) {
    let pem = world.path("tls.pem");
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9", "-subj", "/CN=localhost"]);
    run(openssl.arg("-keyout").arg(&pem).arg("-out").arg(world.path("tls.crt")));
    let certificate = fs::read(world.path("tls.crt")).expect("made");
    fs::OpenOptions::new().append(true).open(&pem).and_then(|mut file| file.write_all(&certificate)).expect("written");
    let script = "import http.server, ssl, sys\n\
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\ncontext.load_cert_chain(sys.argv[1])\n\
        server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler)\n\
        server.socket = context.wrap_socket(server.socket, server_side=True)\n\
        print(server.server_port, flush=True)\nserver.serve_forever()\n";
    let mut server = Command::new("python3");
    server.args(["-c", script]).arg(&pem).current_dir(packages_with_dnf()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut server = server.spawn().expect("python3: apt-get install python3");
    let mut port = String::new();
    let mut out = std::io::BufReader::new(server.stdout.take().expect("a pipe"));
    std::io::BufRead::read_line(&mut out, &mut port).expect("it says its port");
    (server, port.trim().to_owned())
}

/// The build fails, and what is told has these parts; nothing of it is in the registry.
#[track_caller]
fn check_refused(site: &Site, name: &str, repos: &[&str], parts: &[&str]) {
    let done = site.build(name, "FROM base:1\nRUN true\n", repos);
    assert_ne!(done.code, 0, "{}", done.out);
    for part in parts {
        let part = part.replace("HOST", &site.server.host());
        assert!(done.err.contains(&part), "{part:?} is not in\n{}", done.err);
    }
    assert!(!done.out.contains(CANARY) && !done.err.contains(CANARY), "{}\n{}", done.out, done.err);
    assert!(site.world.tags(&format!("test/{name}")).is_empty());
}

#[test]
fn what_goes_wrong_with_repo_files() {
    if !can_run() {
        return;
    }
    let site = Site::with_busybox();
    let none = format!("http://me:{CANARY}@HOST/none.repo?x={CANARY}");
    check_refused(&site, "none", &[&none], &["the repo file http://HOST/none.repo cannot be fetched: 404"]);
    check_refused(&site, "locked", &["http://HOST/first/site.repo"], &["http://HOST/first/site.repo", "401"]);
    check_refused(&site, "cut", &["http://HOST/cut.repo"], &["http://HOST/cut.repo", "10 bytes"]);
    check_refused(&site, "sick", &["http://HOST/sick.repo"], &["http://HOST/sick.repo", "503"]);
    site.config("yum_repo_allowed_domains: [example.com, 'HOST']\n");
    check_refused(&site, "moved", &["http://HOST/moved.repo"], &["http://localhost:", "not among what may be fetched"]);
    let elsewhere =
        [&format!("http://me:{CANARY}@localhost/a.repo"), "http://HOST/slow.repo", "http://h.invalid/b.repo"];
    let parts = [
        "yum repositories from hosts that are not allowed here: http://localhost/a.repo, http://h.invalid/b.repo",
        "yum_repo_allowed_domains has example.com, HOST",
    ];
    check_refused(&site, "elsewhere", &elsewhere, &parts);

    // A slow server is waited for, and what a file holds or how it is called is nothing but a file.
    let hostile = "http://HOST/hostile/a'%0ARUN%20touch%20hacked%20.repo";
    let dockerfile = "FROM base:1 AS tools\nUSER 5\n\
        RUN test $(id -u) = 5 && ls /etc/yum.repos.d && cat /etc/yum.repos.d/*.repo\n\
        FROM scratch\nCOPY --from=tools /etc /etc\nCOPY --from=tools /bin/busybox /x\n";
    site.built("hostile", dockerfile, &["http://HOST/slow.repo", hostile]);
    let layer = site.layer("hostile");
    assert!(
        !layer.lines.iter().any(|line| line.contains(".repo") && !line.ends_with(".repos.d/")),
        "{:#?}",
        layer.lines
    );
    assert!(!layer.lines.iter().any(|line| line.contains("hacked")), "{:#?}", layer.lines);
    assert_eq!(site.user("hostile"), "", "that of scratch");
}

#[test]
fn without_repo_files_the_image_has_its_own() {
    if !can_run() {
        return;
    }
    let site = Site::with_busybox();
    let asked = site.built("plain", "FROM base:1\nUSER 5\nRUN test ! -e /etc/yum.repos.d\n", &[]);
    assert!(asked.is_empty(), "{asked:?}");
    assert_eq!(site.user("plain"), "5");
    let layer = site.layer("plain");
    assert!(layer.lines.iter().all(|line| !line.contains("yum.repos.d")), "{:#?}", layer.lines);
}

/// Its `mv` has no `-Z`.
#[test]
fn a_hidden_file_of_a_busybox_image_is_back() {
    if !can_run() {
        return;
    }
    let site = Site::with_busybox();
    let parent = "FROM base:1\nRUN cd /bin && for name in mv chown chmod; do ln -s busybox $name; done\n\
        RUN mkdir -p /etc/yum.repos.d && cd /etc/yum.repos.d && printf '[public]\\nname=public\\n' >public.repo && \
        chown 0:5 public.repo && chmod 640 public.repo && touch -d @1000000000 public.repo\n";
    site.built("parent", parent, &[]);
    site.config(HIDE);
    let looks = "test ! -e /etc/yum.repos.d/public.repo && test -e /tmp/public.repo && ! mv -fZ /none /other";
    site.built("hides", &format!("FROM test/parent\nUSER 5\nRUN {looks}\n"), &[]);
    let layer = site.layer("hides");
    layer.check_no_repo_files();
    layer.check_hidden_file_is_back();
    assert_eq!(site.user("hides"), "5");
}

/// What `.dockerignore` leaves out and how the last instruction is written makes no difference (6.2 M27, M28).
#[test]
fn the_help_page_and_the_dockerfile_are_in_the_image() {
    if !can_run() {
        return;
    }
    let site = Site::with_busybox();
    let dockerfile = "FROM base:1\nLABEL name=test/paper com.redhat.component=paper-container version=1 \\\n  maintainer='Ann'\n\
        USER 5\nRUN true && \\\n  # why\n  true\n\n";
    let help = "# NAME\npaper - it's for <you>\n\n## Usage\n\n    $ podman run paper\n\n- one\n- two\n";
    let files = [("Dockerfile", dockerfile), ("help.md", help), (".dockerignore", "*\n")];
    let url = site.world.repository("paper", &files);
    let done = site.world.build(&url, &["--arrangement-version", "6"]);
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    let layer = site.layer("paper");
    let page = layer.text("help.1");
    assert!(page.contains(".TH test/paper 1 ") && page.contains("\n.SH\nNAME\n"), "{page}");
    let path = site.world.path("help.1");
    fs::write(&path, page).expect("written");
    let mut groff = Command::new("groff");
    let output = groff.args(["-man", "-ww", "-Kutf8", "-Tutf8"]).arg(&path).output();
    let output = output.expect("groff: apt-get install groff-base");
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("$ podman run paper"));
    let shipped = layer.text("root/buildinfo/Dockerfile-test-paper-1-1");
    assert!(
        shipped.contains("maintainer='Ann'") && shipped.contains("  # why\n") && !shipped.contains("buildinfo"),
        "{shipped}"
    );
    let worker = worker_of(&site.world.newest("paper").expect("a build"), "x86_64");
    assert_eq!(site.world.record(&worker)["annotations"]["help_file"], "\"help.md\"");
}
