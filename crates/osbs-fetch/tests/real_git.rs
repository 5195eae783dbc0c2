//! Repositories by the real git, from the real `git http-backend`, and from servers and repositories that mean harm.
//!
//! Needs: git, openssl. `OSBS_TEST_SKIP_REAL=1` skips.

mod support;

use osbs_builder::{CheckedOut, Fetcher as _, GitSource};
use osbs_fetch::FetchLimits;
use osbs_types::{ErrorKind, Failure};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::fake::{Asked, Fake, Reply};
use support::{ALLOWED, Bench, INSIDE, Names, backend, git, make_repository, source};

#[expect(clippy::print_stdout, reason = "whoever reads the test log must see it")]
fn skipped() -> bool {
    let skip = std::env::var_os("OSBS_TEST_SKIP_REAL").is_some();
    if skip {
        println!("skipped: OSBS_TEST_SKIP_REAL is set");
    }
    skip
}

/// A server for the repositories below the bench's folder `served`.
struct Site {
    bench: Bench,
    root: PathBuf,
    fake: Fake,
}

impl Site {
    fn new() -> Self {
        Self::with(|_, _, reply| reply())
    }

    /// `change` sees each request, the number of those before, and how to answer honestly.
    fn with(change: impl Fn(&Asked, usize, &dyn Fn() -> Reply) -> Reply + Send + Sync + 'static) -> Self {
        let bench = Bench::new();
        let root = bench.path("served");
        fs::create_dir(&root).expect("a folder");
        let served = root.clone();
        let fake = Fake::start_at(ALLOWED, move |asked, before| change(asked, before, &|| backend(&served, asked)));
        Self { bench, root, fake }
    }

    fn url(&self) -> String {
        self.fake.url("/web.git")
    }

    fn checkout(&self, repository: &GitSource) -> Result<(PathBuf, CheckedOut), Box<Failure>> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let scratch = self.bench.path(&format!("scratch{}", COUNT.fetch_add(1, Ordering::SeqCst)));
        let into = scratch.join("tree");
        fs::create_dir_all(&into).expect("a folder");
        let result = self.bench.fetcher().checkout(repository, &into);
        let left: Vec<_> =
            fs::read_dir(&scratch).expect("list").map(|entry| entry.expect("entry").file_name()).collect();
        assert_eq!(left, ["tree"], "nothing else is left");
        result.map(|found| (into, found))
    }

    #[track_caller]
    fn refused(&self, repository: &GitSource, kind: ErrorKind, text: &str) -> Failure {
        let failure = self.checkout(repository).expect_err("refused");
        assert_eq!(failure.kind, kind, "{failure}");
        assert!(failure.to_string().contains(text), "{text:?} is not in {failure}");
        *failure
    }
}

/// Path to content, for all but `.git`.
fn files(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).expect("list").map(|entry| entry.expect("entry").path()) {
            let name = entry.strip_prefix(root).expect("below").display().to_string();
            let about = fs::symlink_metadata(&entry).expect("metadata");
            if name == ".git" {
                found.insert(name, "folder".to_owned());
            } else if about.is_dir() {
                waiting.push(entry);
            } else if about.is_symlink() {
                found.insert(name, format!("-> {}", fs::read_link(&entry).expect("link").display()));
            } else {
                found.insert(name, String::from_utf8_lossy(&fs::read(&entry).expect("read")).into_owned());
            }
        }
    }
    found
}

#[test]
fn branches_tags_commits_and_subfolders() {
    if skipped() {
        return;
    }
    let site = Site::new();
    let work = make_repository(&site.root);
    let id = |name: &str| git(&work, &["rev-parse", name]);
    let one = ["first"];
    let two = [".gitattributes", "first", "notes.secret", "script", "sub/deep/file", "sub/etc", "version"];
    let branch = ["branch", "first"];
    let check = |reference: Option<&str>, subdir: Option<&str>, names: &[&str], commit: &str| {
        let reference = reference.map(str::to_owned);
        let wanted = GitSource { reference, subdir: subdir.map(str::to_owned), ..source(&site.url()) };
        let (into, found) = site.checkout(&wanted).unwrap_or_else(|error| panic!("{wanted:?}: {error}"));
        let found_names: Vec<String> = files(&into).into_keys().collect();
        assert_eq!(found_names, names, "{wanted:?}");
        assert_eq!(found.commit, id(&format!("{commit}^{{commit}}")), "{wanted:?}");
        (into, found)
    };
    let (into, found) = check(None, None, &two, "main");
    assert_eq!(found.tag, None);
    let content = files(&into);
    // As a checkout has it: nothing left out or replaced by attributes, no filter run.
    assert_eq!(content["version"], "$Format:%H$ $Id$\n");
    assert_eq!(content["sub/etc"], "-> /etc");
    let about = |name: &str| fs::symlink_metadata(into.join(name)).expect("metadata");
    assert_eq!(about("first").permissions().mode() & 0o7777, 0o644);
    assert_eq!(about("script").permissions().mode() & 0o7777, 0o755);
    assert_eq!(about("sub").permissions().mode() & 0o7777, 0o755);
    assert_eq!((about("first").mtime(), about("sub/deep").mtime()), (1_000_000_000, 1_000_000_000));

    check(Some("main"), None, &two, "main");
    check(Some("v1"), None, &one, "v1");
    check(Some("refs/tags/v1"), None, &one, "v1");
    check(Some("v1-branch"), None, &branch, "v1-branch");
    check(Some("refs/heads/v1-branch"), None, &branch, "v1-branch");
    let (_, found) = check(Some("v2"), None, &two, "main");
    assert_eq!(found.tag, Some(id("v2")));
    // A commit that is no tip.
    check(Some(&id("v1")), None, &one, "v1");
    check(Some("main"), Some("sub/deep"), &["file"], "main");
    check(None, Some("./sub//deep/"), &["file"], "main");
    check(None, Some("/"), &two, "main");

    for bad in ["nothing", "v1-branc", &id("v1")[..10], &"ab".repeat(20)] {
        let wanted = GitSource { reference: Some(bad.to_owned()), ..source(&site.url()) };
        let failure = site.refused(&wanted, ErrorKind::User, bad);
        assert!(failure.hint.is_some_and(|hint| hint.contains("all its digits")));
    }
    site.refused(&source(&site.fake.url("/none.git")), ErrorKind::User, "404");
}

/// A branch goes before a tag of the same name.
#[test]
fn a_branch_goes_before_a_tag() {
    if skipped() {
        return;
    }
    let site = Site::new();
    let work = make_repository(&site.root);
    git(&site.root.join("web.git"), &["tag", "v1-branch", "v1"]);
    let wanted = GitSource { reference: Some("v1-branch".into()), ..source(&site.url()) };
    assert_eq!(site.checkout(&wanted).expect("fetched").1.commit, git(&work, &["rev-parse", "v1-branch"]));
}

#[test]
fn the_git_folder_is_kept_when_asked_for() {
    if skipped() {
        return;
    }
    let site = Site::new();
    let work = make_repository(&site.root);
    let wanted = GitSource { keep_git: true, reference: Some("v2".into()), ..source(&site.url()) };
    let (into, found) = site.checkout(&wanted).expect("fetched");
    assert_eq!(git(&into, &["rev-parse", "HEAD"]), found.commit);
    assert_eq!(git(&into, &["rev-parse", "v2"]), git(&work, &["rev-parse", "v2"]));
    assert_eq!(git(&into, &["status", "--porcelain"]), "");
    assert_eq!(git(&into, &["log", "--format=%s"]), "two", "one commit deep");
    assert_eq!(git(&into, &["remote", "get-url", "origin"]), site.url());
    git(&into, &["fsck"]);
    assert!(!into.join(".git/hooks").exists());
    // Not of a subfolder.
    let (into, _) = site.checkout(&GitSource { subdir: Some("sub".into()), ..wanted }).expect("fetched");
    assert!(!into.join(".git").exists());
}

/// BuildKit CVE-2026-33748: `#REF:SUBDIR` leaves the checkout.
#[test]
fn a_subfolder_never_leads_out() {
    if skipped() {
        return;
    }
    let site = Site::new();
    make_repository(&site.root);
    let with = |subdir: &str| GitSource { subdir: Some(subdir.to_owned()), ..source(&site.url()) };
    site.refused(&with("sub/etc"), ErrorKind::User, "no folder");
    site.refused(&with("sub/etc/ssl"), ErrorKind::User, "no folder");
    site.refused(&with("first"), ErrorKind::User, "no folder");
    site.refused(&with("nothing"), ErrorKind::User, "no folder");
    for bad in ["..", "../..", "sub/../../x", "/../etc"] {
        site.refused(&with(bad), ErrorKind::User, "not a path inside");
    }
    // No magic in a path.
    site.refused(&with(":(glob)**"), ErrorKind::User, "no folder");
    site.refused(&with("--output=x"), ErrorKind::User, "no folder");
}

/// `ext::` runs a program, `file://` reads the builder's disk, and an option in the place of a URL does either.
#[test]
fn only_http_transports_and_no_options() {
    if skipped() {
        return;
    }
    let site = Site::new();
    make_repository(&site.root);
    let canary = site.bench.path("canary");
    let touch = canary.display().to_string();
    for url in [
        format!("ext::touch {touch}"),
        format!("ext::sh -c 'touch% {touch}'"),
        format!("file://{}", site.root.join("web.git").display()),
        site.root.join("web.git").display().to_string(),
        format!("--upload-pack=touch {touch}"),
        "ssh://git@127.0.0.2/web.git".to_owned(),
        "ssh://-oProxyCommand=x/web.git".to_owned(),
        "git@127.0.0.2:web.git".to_owned(),
        "git://127.0.0.2/web.git".to_owned(),
        "fd::17/foo".to_owned(),
        "ftp://127.0.0.2/web.git".to_owned(),
        "http::ext::sh -c id".to_owned(),
    ] {
        site.refused(&source(&url), ErrorKind::User, "only http and https are spoken");
    }
    for bad in ["--upload-pack=x", "-x", "a:b", "+main", "a..b", "a b", "main\nx", ":refs/heads/x", "*"] {
        let wanted = GitSource { reference: Some(bad.to_owned()), ..source(&site.url()) };
        site.refused(&wanted, ErrorKind::User, "is not the name of a branch");
    }
    assert!(!canary.exists());
    assert_eq!(site.fake.lines(), [""; 0], "refused before anybody was asked");
}

/// Git CVEs of submodules (CVE-2018-11235, CVE-2024-32002, .gitmodules URL tricks): none is ever fetched.
#[test]
fn submodules_are_refused_or_left_out() {
    if skipped() {
        return;
    }
    let site = Site::new();
    let work = make_repository(&site.root);
    let canary = site.bench.path("canary");
    let id = git(&work, &["rev-parse", "v1"]);
    for url in [format!("ext::sh -c touch% {}", canary.display()), "http://127.0.0.1:1/x".into(), "../../etc".into()] {
        fs::write(work.join(".gitmodules"), format!("[submodule \"x\"]\n\tpath = x\n\turl = {url}\n"))
            .expect("written");
        git(&work, &["add", ".gitmodules"]);
        git(&work, &["update-index", "--add", "--cacheinfo", &format!("160000,{id},x")]);
        git(&work, &["commit", "--quiet", "-m", "submodule"]);
        git(&site.root.join("web.git"), &["fetch", "--quiet", "../work", "+main:main"]);
        let result = site.checkout(&source(&site.url()));
        let failure = result.expect_err("refused");
        // Git's own check refuses the first, the rest is refused for having a submodule.
        assert_eq!(failure.kind, ErrorKind::User, "{failure}");
        assert!(failure.to_string().contains("submodules") || failure.to_string().contains("refuses"), "{failure}");
        assert!(!canary.exists());
    }
    let (into, _) = site.checkout(&GitSource { submodules: Some(false), ..source(&site.url()) }).expect("without them");
    assert!(fs::read_dir(into.join("x")).expect("an empty folder").next().is_none());
    // A name that leads out of the folder of submodules.
    fs::write(work.join(".gitmodules"), "[submodule \"../../x\"]\n\tpath = x\n\turl = https://h/x\n").expect("written");
    git(&work, &["commit", "--quiet", "-a", "-m", "bad name"]);
    git(&site.root.join("web.git"), &["fetch", "--quiet", "../work", "+main:main"]);
    let wanted = GitSource { submodules: Some(false), ..source(&site.url()) };
    site.refused(&wanted, ErrorKind::User, "gitmodulesName");
}

/// Objects are checked when they come: a tree with `.git` in it could plant a hook (CVE-2014-9390, CVE-2021-21300).
#[test]
fn broken_and_hostile_objects_are_refused() {
    if skipped() {
        return;
    }
    for name in [".git", ".GIT", "git~1", "..", ".g\u{200c}it"] {
        let site = Site::new();
        make_repository(&site.root);
        let bare = site.root.join("web.git");
        let blob = git(&bare, &["rev-parse", "main:first"]);
        let raw: Vec<u8> =
            (0..40).step_by(2).map(|at| u8::from_str_radix(&blob[at..at + 2], 16).expect("hex")).collect();
        let tree = [format!("100755 {name}\0").as_bytes(), &raw].concat();
        fs::write(site.root.join("tree"), tree).expect("written");
        let tree = git(&bare, &["hash-object", "-t", "tree", "-w", "--literally", "../tree"]);
        let commit = git(&bare, &["commit-tree", &tree, "-m", "bad"]);
        git(&bare, &["update-ref", "refs/heads/main", &commit]);
        site.refused(&source(&site.url()), ErrorKind::User, "git refuses");
    }
}

/// SSRF by redirects: those of the first request are followed and judged by us, later ones not at all.
#[test]
fn redirects_of_a_repository_are_judged() {
    if skipped() {
        return;
    }
    let canary = Fake::start_at(INSIDE, |_, _| Reply::ok("inner"));
    let inner = canary.url("/web.git");
    let site = Site::with(move |asked, _, reply| {
        let to = |target: &str| Reply::new(302).header("Location", target);
        let rest = asked.target.trim_start_matches("/moved").trim_start_matches("/late");
        match asked.target.as_str() {
            target if target.starts_with("/meta") => {
                to("http://169.254.169.254/web.git/info/refs?service=git-upload-pack")
            }
            target if target.starts_with("/inner") => to(&format!("{inner}/info/refs?service=git-upload-pack")),
            target if target.starts_with("/moved") => to(rest),
            // Honest at first, then away.
            target if target.starts_with("/late") && asked.method == "POST" => to(&format!("{inner}/git-upload-pack")),
            target if target.starts_with("/late") => {
                Reply::ok("001e# service=git-upload-pack\n0000000eversion 2\n0011ls-refs\n000afetch\n0000")
                    .header("Content-Type", "application/x-git-upload-pack-advertisement")
            }
            _ => reply(),
        }
    });
    make_repository(&site.root);
    let denied = |path: &str, address: &str| {
        let failure = site.refused(&source(&site.fake.url(path)), ErrorKind::Policy, address);
        assert_eq!(failure.hint.as_deref(), Some("ask the administrator"));
    };
    denied("/meta/web.git", "169.254.169.254");
    denied("/inner/web.git", INSIDE);
    site.checkout(&source(&site.fake.url("/moved/web.git"))).expect("moved on the same server");
    site.refused(&source(&site.fake.url("/late/web.git")), ErrorKind::Remote, "git cannot fetch");
    assert_eq!(canary.lines(), [""; 0]);
}

/// The other URLs that a server could name: alternates of the dumb protocol, packs and bundles elsewhere.
#[test]
fn only_the_smart_protocol_is_spoken() {
    if skipped() {
        return;
    }
    let site = Site::with(|asked, _, _| match asked.target.as_str() {
        "/page.git/info/refs?service=git-upload-pack" => Reply::ok("<html>"),
        "/dumb.git/info/refs?service=git-upload-pack" => Reply::ok("").header("Content-Type", "text/plain"),
        _ => Reply::new(404),
    });
    for path in ["/page.git", "/dumb.git"] {
        site.refused(&source(&site.fake.url(path)), ErrorKind::User, "is not a git repository");
    }
    assert_eq!(site.fake.log().len(), 2);
}

/// DNS rebinding: git is told the address that was judged.
#[test]
fn git_connects_to_the_address_that_was_judged() {
    if skipped() {
        return;
    }
    let mut site = Site::new();
    make_repository(&site.root);
    let port = site.fake.host().rsplit_once(':').map(|(_, port)| port.to_owned()).expect("a port");
    let names = Names::default();
    // Only this test knows the names: had git resolved them itself, nothing would be found.
    names.add("git.test", &[&[ALLOWED]]);
    names.add("rebind.test", &[&[ALLOWED], &[INSIDE]]);
    names.add("inner.test", &[&[INSIDE]]);
    site.bench.names = Some(names);
    let at = |host: &str| source(&format!("http://{host}:{port}/web.git"));
    site.checkout(&at("git.test")).expect("by the address we gave");
    site.refused(&at("rebind.test"), ErrorKind::Policy, INSIDE);
    site.refused(&at("inner.test"), ErrorKind::Policy, INSIDE);
    site.refused(&source("http://localhost:1/web.git"), ErrorKind::Remote, "localhost");
    let site = Site::new();
    site.refused(&source("http://localhost:1/web.git"), ErrorKind::Policy, "localhost");
}

/// A password reaches its server, and is seen neither in the process list nor in what is left or told.
#[test]
fn passwords_are_for_the_server_alone() {
    if skipped() {
        return;
    }
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let processes = Arc::clone(&seen);
    let site = Site::with(move |asked, _, reply| {
        for entry in fs::read_dir("/proc").expect("proc").flatten() {
            processes.lock().expect("seen").extend(fs::read(entry.path().join("cmdline")).unwrap_or_default());
        }
        match asked.header("authorization") {
            Some("Basic bWU6aHVudGVyMg==") => reply(),
            _ => Reply::new(401).header("WWW-Authenticate", "Basic realm=\"x\""),
        }
    });
    make_repository(&site.root);
    let url = |user: &str| format!("http://{user}@{}/web.git", site.fake.host());
    let wanted = GitSource { keep_git: true, ..source(&url("me:hunter2")) };
    let (into, _) = site.checkout(&wanted).expect("with the password");
    let config = fs::read_to_string(into.join(".git/config")).expect("read");
    assert!(config.contains(&site.url()) && !config.contains("hunter2"), "{config}");
    let seen = String::from_utf8_lossy(&seen.lock().expect("seen")).into_owned();
    assert!(seen.contains("git") && !seen.contains("hunter2") && !seen.contains("bWU6"));
    let failure = site.refused(&source(&url("me:wr0ngone")), ErrorKind::User, "401");
    assert!(!format!("{failure:?}").contains("wr0ngone"), "{failure:?}");
}

/// Git and what it starts, of this test's folder, still running.
fn running(folder: &Path) -> Vec<String> {
    let needle = folder.display().to_string();
    let processes = fs::read_dir("/proc").expect("proc").flatten().filter_map(|entry| {
        let environment = fs::read(entry.path().join("environ")).ok()?;
        let text = String::from_utf8_lossy(&environment).into_owned();
        (text.contains("GIT_DIR=") && text.contains(&needle)).then(|| entry.file_name().to_string_lossy().into_owned())
    });
    processes.collect()
}

/// A server that falls silent, a time limit, a cancel: git and its helpers are gone afterwards.
#[test]
fn nothing_of_git_is_left_running() {
    if skipped() {
        return;
    }
    let stuck = |asked: &Asked, _, reply: &dyn Fn() -> Reply| {
        if asked.method == "POST" { Reply::ok("").delay(Duration::from_secs(20)) } else { reply() }
    };
    let mut site = Site::with(stuck);
    make_repository(&site.root);
    site.bench.limits.time = Duration::from_millis(700);
    let start = Instant::now();
    site.refused(&source(&site.url()), ErrorKind::Policy, "was not fetched within");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    let site = Site::with(stuck);
    make_repository(&site.root);
    let later = site.bench.cancel.clone();
    let folder = site.bench.folder.path().to_owned();
    let watch = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(500));
        let seen = running(&folder).len();
        later.cancel();
        seen
    });
    let start = Instant::now();
    site.refused(&source(&site.url()), ErrorKind::Cancelled, "cancelled");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert!(watch.join().expect("seen") >= 2, "git and its helper were there");
    // A killed process may still be on its way out.
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(running(site.bench.folder.path()), [""; 0]);
}

#[test]
fn the_size_of_a_repository_is_bounded() {
    if skipped() {
        return;
    }
    let mut site = Site::new();
    let work = make_repository(&site.root);
    // Does not compress, and compresses very well.
    let mut state = 1_u32;
    let noise: Vec<u8> = (0..3_000_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    let commit = |name: &str, content: &[u8]| {
        fs::write(work.join(name), content).expect("written");
        git(&work, &["add", "."]);
        git(&work, &["commit", "--quiet", "-m", name]);
        git(&site.root.join("web.git"), &["fetch", "--quiet", "../work", &format!("+main:{name}")]);
    };
    commit("noise", &noise);
    git(&work, &["rm", "--quiet", "noise"]);
    commit("zeros", &vec![0; 20_000_000]);
    site.bench.limits.bytes = 1_000_000;
    let url = site.url();
    let at = |name: &str| GitSource { reference: Some(name.to_owned()), ..source(&url) };
    site.refused(&at("noise"), ErrorKind::Policy, "larger than the limit of 1000000 bytes");
    let failure = site.checkout(&at("zeros")).expect_err("unpacked it is too large");
    assert!(failure.to_string().contains("1000000 bytes"), "{failure}");
    site.checkout(&at("v1")).expect("small enough");
    // What git may hold is bounded, in every process that it starts.
    site.bench.limits = FetchLimits { git_memory: 300 << 20, ..Bench::new().limits };
    site.checkout(&at("zeros")).expect("20 MB of zeros");
    site.bench.limits.git_memory = 12 << 20;
    site.refused(&at("zeros"), ErrorKind::Policy, "bytes of memory for git");
    site.bench.limits = FetchLimits { git_memory: 300 << 20, bytes: 40_000_000, ..Bench::new().limits };
    site.bench.limits.files = 3;
    let failure = site.checkout(&GitSource { reference: Some("v2".into()), ..source(&site.url()) }).expect_err("many");
    assert!(failure.to_string().contains("3 entries"), "{failure}");
}

#[test]
fn what_may_pass_is_tried_again() {
    if skipped() {
        return;
    }
    let failures = AtomicUsize::new(0);
    let site = Site::with(move |asked, before, reply| {
        let post = asked.method == "POST";
        match before {
            0 => Reply::new(503),
            1 => Reply::hang_up(),
            _ if post && failures.fetch_add(1, Ordering::SeqCst) == 0 => Reply::new(502),
            _ if post && failures.load(Ordering::SeqCst) == 2 => {
                let whole = reply();
                let half = whole.body.len() / 2;
                whole.cut_at(half)
            }
            _ => reply(),
        }
    });
    make_repository(&site.root);
    let (into, _) =
        site.checkout(&GitSource { reference: Some("main".into()), ..source(&site.url()) }).expect("at last");
    assert!(into.join("script").exists());
    // Never well: told after the budget.
    let site = Site::with(|asked, _, reply| if asked.method == "POST" { Reply::new(500) } else { reply() });
    make_repository(&site.root);
    site.refused(&source(&site.url()), ErrorKind::Remote, "500");
    assert_eq!(site.fake.lines().iter().filter(|line| line.starts_with("POST")).count(), 4);
}

/// TLS with a certificate of the site's own.
#[test]
fn over_https() {
    if skipped() {
        return;
    }
    let mut bench = Bench::new();
    let root = bench.path("served");
    fs::create_dir(&root).expect("a folder");
    let (certificate, key) = (bench.path("certificate.pem"), bench.path("key.pem"));
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=git.test", "-addext", "subjectAltName=DNS:git.test"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl: apt-get install openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let pem = fs::read(&certificate).expect("read");
    let config = support::tls::config(&pem, &fs::read(&key).expect("read"));
    let served = root.clone();
    let fake = Fake::start_wrapped(
        ALLOWED,
        move |stream| support::tls::wrap(&config, stream),
        move |asked, _| backend(&served, asked),
    );
    let names = Names::default();
    names.add("git.test", &[&[ALLOWED]]);
    bench.names = Some(names);
    bench.retries = 0;
    let site = Site { bench, root, fake };
    make_repository(&site.root);
    let port = site.fake.host().rsplit_once(':').map(|(_, port)| port.to_owned()).expect("a port");
    let wanted = source(&format!("https://git.test:{port}/web.git"));
    // Nobody vouches for it yet.
    assert_eq!(site.checkout(&wanted).expect_err("unknown").kind, ErrorKind::Remote);
    let mut site = site;
    site.bench.extra_roots = vec![pem];
    site.checkout(&wanted).expect("fetched");
}
