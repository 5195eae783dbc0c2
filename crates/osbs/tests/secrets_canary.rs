//! A canary in every input that is secret: no byte of it, as it is, in base64 or in a URL, is in any log, event, record,
//! layer, history, label, mail, or on the command line of any process that a build starts.

mod mail_server;
mod world;

use mail_server::{Login, MailServer, certificate};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use world::World;
use world::canaries::{Canaries, base64, in_url};
use world::inspect::worker_of;
use world::registries::{RED, RegistryServer, Setup};

/// Each with letters that base64 and URLs write otherwise.
const SMTP: &str = "kanari/smtp+vogel=1";
const TOKEN: &str = "kanari/token+vogel=2";
const REPOSITORY: &str = "kanari/repository+vogel=3";
const GIT: &str = "kanari/git+vogel=4";
const FILE: &str = "kanari/file+vogel=5";
const VARIABLE: &str = "kanari/variable+vogel=6";
const UNKNOWN_KEY: &str = "kanari/key+vogel=7";
const IN_REPOSITORY_FILE: &str = "kanari/repofile+vogel=8";
const ADDED: &str = "kanari/added+vogel=9";

const ALL: [&str; 10] =
    [SMTP, TOKEN, REPOSITORY, GIT, FILE, VARIABLE, UNKNOWN_KEY, IN_REPOSITORY_FILE, ADDED, RED.password];

/// The canary really sings: each form is found in its usual clothes.
#[test]
fn the_forms_are_right() {
    let canaries = Canaries::of(&ALL);
    let basic = |secret: &str| base64(format!("somebody:{secret}").as_bytes());
    for secret in ALL {
        for text in [
            format!("a {secret} b"),
            format!("http://u:{}@h", in_url(secret)),
            base64(secret.as_bytes()),
            basic(secret),
            base64(format!("x:{secret}").as_bytes()),
            serde_json::to_string(secret).expect("JSON"),
        ] {
            assert_eq!(canaries.sing_in(text.as_bytes()), BTreeSet::from([secret]), "{text}");
        }
    }
    assert_eq!(base64(b"red:red hush 1"), RED.basic);
    assert!(canaries.sing_in(b"nothing of that").is_empty());
}

/// Watches the command lines of everything that runs, but for `osbs build` itself, whose line its user wrote.
struct Watch {
    stop: Arc<AtomicBool>,
    found: Arc<Mutex<BTreeSet<String>>>,
    thread: Option<std::thread::JoinHandle<usize>>,
}

impl Watch {
    fn start() -> Self {
        let (stop, found) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<BTreeSet<String>>>::default());
        let (theirs, told) = (Arc::clone(&stop), Arc::clone(&found));
        let thread = std::thread::spawn(move || {
            let canaries = Canaries::of(&ALL);
            let mut looked = 0;
            while !theirs.load(Ordering::Relaxed) {
                for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
                    let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                    let typed = [&b"\0--add-yum-repo\0"[..], b"server.py\0", b"\0--git-url\0"];
                    let by_the_user = typed.iter().any(|word| line.windows(word.len()).any(|part| part == *word));
                    looked += usize::from(!line.is_empty());
                    if !by_the_user && !canaries.sing_in(&line).is_empty() {
                        told.lock().expect("no panic").insert(String::from_utf8_lossy(&line).replace('\0', " "));
                    }
                }
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            looked
        });
        Self { stop, found, thread: Some(thread) }
    }

    #[track_caller]
    fn check(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let looked = self.thread.take().expect("once").join().expect("no panic");
        assert!(looked > 100, "{looked} command lines were seen");
        let found = self.found.lock().expect("no panic");
        assert!(found.is_empty(), "{found:#?}");
    }
}

/// A web server that wants a login for the file of a repository; tells how often it was right.
fn repository_server() -> (String, Arc<Mutex<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let served = Arc::<Mutex<usize>>::default();
    let (count, own) = (Arc::clone(&served), address.clone());
    std::thread::spawn(move || {
        let login = |who: &str| format!("authorization: basic {}", base64(who.as_bytes())).to_lowercase();
        let logins = [login(&format!("alice:{REPOSITORY}")), login(&format!("carl:{ADDED}"))];
        for mut client in listener.incoming().flatten() {
            let lines = BufReader::new(client.try_clone().expect("a socket")).lines();
            let head: Vec<_> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
            let right = head.iter().any(|line| logins.contains(&line.to_lowercase()));
            let (status, body) = if right && head[0].contains("/added.txt") {
                ("200 OK", "added\n".to_owned())
            } else if right {
                *count.lock().expect("no panic") += 1;
                let url = format!("http://bob:{}@{own}/packages", in_url(IN_REPOSITORY_FILE));
                ("200 OK", format!("[site]\nname=site\nbaseurl={url}\npassword={IN_REPOSITORY_FILE}\n"))
            } else {
                ("401 Unauthorized", head.join("\n"))
            };
            let answer =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
            let _ = client.write_all(answer.as_bytes());
        }
    });
    (address, served)
}

/// A docker config with a login for this registry.
fn docker_config(path: &Path, host: &str, user: &str, password: &str) -> PathBuf {
    fs::create_dir_all(path).expect("made");
    let auth = base64(format!("{user}:{password}").as_bytes());
    let file = path.join("config.json");
    fs::write(&file, format!("{{\"auths\": {{\"{host}\": {{\"auth\": \"{auth}\"}}}}}}")).expect("written");
    file
}

/// What anybody may read of the builds: records, logs, events, what the terminal showed.
#[track_caller]
fn check_shown(world: &World, canaries: &Canaries) {
    for name in world.build_names() {
        for args in [
            &["get-build", &name][..],
            &["get-build", &name, "--output", "json"],
            &["build-logs", &name],
            &["build-logs", &name, "--output", "json"],
        ] {
            let done = world.run(args);
            assert_eq!(done.code, 0, "{args:?}: {}", done.err);
            canaries.check(&format!("osbs {args:?}"), (done.out + &done.err).as_bytes());
        }
    }
    for args in [&["list-builds", "--workers", "--output", "json"][..], &["config", "list"], &["config", "check"]] {
        let done = world.run(args);
        canaries.check(&format!("osbs {args:?}"), (done.out + &done.err).as_bytes());
    }
    let sql = "SELECT record, env FROM builds; SELECT record FROM build_configs; SELECT data FROM config_maps;";
    let dump = Command::new("sqlite3").arg(world.path("home/cluster.db")).arg(sql).output().expect("sqlite3 starts");
    assert!(dump.stdout.len() > 1000);
    canaries.check("the cluster's records", &dump.stdout);
    assert!(canaries.check_files(&world.path("home/builds")) > 4);
    assert!(canaries.check_files(&world.path("home/store")) > 10);
}

/// Every byte of the cluster's folder, whatever is in it, but for the secrets themselves; and nobody else may look.
#[track_caller]
fn check_home(world: &World, canaries: &Canaries) {
    let home = world.path("home");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&home), 0o700);
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir(&home).expect("a folder").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_file() {
            canaries.check(&name, &fs::read(entry.path()).expect("read"));
            assert!(!name.starts_with("cluster.db") || mode(&entry.path()) == 0o600, "{name}");
        } else if name == "secrets" {
            check_private(&entry.path());
        } else {
            canaries.check_files(&entry.path());
        }
        seen.insert(name);
    }
    for name in ["builds", "cluster.db", "secrets", "store"] {
        assert!(seen.contains(name), "{seen:?}");
    }
}

#[track_caller]
fn check_private(folder: &Path) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let (path, metadata) = (entry.path(), entry.metadata().expect("there"));
        assert_eq!(metadata.permissions().mode() & 0o077, 0, "{}", path.display());
        if metadata.is_dir() {
            check_private(&path);
        }
    }
}

/// Whether a file below the folder, unpacked where it is compressed, holds the text.
fn some_file_holds(folder: &Path, text: &str) -> bool {
    let found = Command::new("grep").args(["-rlzF", "--", text]).arg(folder).output().expect("grep starts");
    let script = "find \"$0\" -type f -exec sh -c 'for file; do gzip -dc \"$file\" 2>/dev/null; done' sh {} +";
    let unpacked = Command::new("sh").args(["-c", script]).arg(folder).output().expect("sh starts").stdout;
    !found.stdout.is_empty() || unpacked.windows(text.len()).any(|part| part == text.as_bytes())
}

#[test]
fn in_a_build_of_the_pipeline() {
    if !world::can_run() {
        return;
    }
    mail_server::check_needs();
    let canaries = Canaries::of(&ALL);
    let world = World::new();
    let tls = certificate(&world.path(""));
    let mail =
        MailServer::start(&world.path("mail"), "starttls", Some(&tls), Some(Login { user: "osbs", password: SMTP }));
    let registry = RegistryServer::start(&world, "red", &Setup { login: Some(RED), ..Setup::default() });
    let (repository, served) = repository_server();
    for (secret, file) in [
        ("push", docker_config(&world.path("push"), &registry.host, RED.user, RED.password)),
        ("wrong", docker_config(&world.path("wrong"), &registry.host, RED.user, SMTP)),
    ] {
        world.ok(&["config", "set-secret", secret, &file.display().to_string()]);
    }
    let password = world.path("password");
    fs::write(&password, SMTP).expect("written");
    world.ok(&["config", "set-secret", "smtp", &password.display().to_string()]);
    let write = |push: &str| {
        let conf = format!(
            "can_orchestrate = true\ntoken = {TOKEN}\ntoken_secrets = push wrong smtp\nsource_registry_uri = http://{0}\n\
             registry_uri = http://{1}\nregistry_api_versions = v2\nsmtp_host = {2}\nsmtp_from = o@example.org\n",
            world.registry, registry.host, mail.address
        );
        world.write_conf(&conf, "");
        let config = format!(
            "version: 1\nclusters:\n  x86_64: [{{name: local, max_concurrent_builds: 4}}]\n\
             source_registry: {{url: 'http://{}', insecure: true}}\n\
             registries: [{{url: 'http://{}', auth: {{cfg_path: /var/run/secrets/atomic-reactor/{push}}}}}]\n\
             smtp: {{host: '{}', from_address: o@example.org, additional_addresses: [al@example.org], tls: starttls,\n  \
             ca_file: '{}', auth: {{username: osbs, password_path: /var/run/secrets/atomic-reactor/smtp}}}}\n\
             required_secrets: [push, wrong, smtp]\nfetch: {{allow: [127.0.0.1]}}\nsites_own: {{password: '{UNKNOWN_KEY}', url: 'https://u:{}@h/'}}\n",
            world.registry,
            registry.host,
            mail.address,
            tls.0.display(),
            in_url(UNKNOWN_KEY),
        );
        fs::write(world.path("config.yaml"), config).expect("written");
    };
    let watch = Watch::start();
    let yum = format!("http://alice:{}@{repository}/site.repo", in_url(REPOSITORY));
    let check_told = |what: &str, done: &world::Done| {
        canaries.check(what, done.out.as_bytes());
        canaries.check(what, done.err.as_bytes());
    };

    // All is well.
    write("push");
    let added = format!("ADD http://carl:{}@{repository}/added.txt /opt/added\n", in_url(ADDED));
    let run =
        "RUN echo built; cat /proc/self/environ /var/run/secrets/*/*/* /run/secrets/*/* > /found; cat /found; env";
    let good = world.layered("good", &format!("{added}{run}"));
    let done = world.build(&good, &["--add-yum-repo", &yum]);
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    check_told("osbs build", &done);
    let worker = worker_of(&world.newest("good").expect("a build"), "x86_64");
    assert!(world.has_said(&worker, "a URL with a login in line 3"), "of the Dockerfile in the repository");
    let one = world.build(
        &world.layered("one", &added),
        &["--arrangement-version", "1", "--platforms", "x86_64", "--add-yum-repo", &yum],
    );
    assert_eq!(one.code, 0, "{}\n{}", one.out, one.err);
    check_told("osbs build of arrangement 1", &one);
    for (version, worker) in [("6", &[][..]), ("1", &["--worker", "x86_64"]), ("6", &["--worker", "x86_64"])] {
        let request =
            ["build-json", "--git-url", &good, "--git-branch", "main", "--user", "me", "--platforms", "x86_64"];
        let yum = ["--add-yum-repo", &yum, "--arrangement-version", version];
        let done = world.run(&[&request[..], &yum, worker].concat());
        assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
        assert!(
            done.out.contains("plugins") && done.out.contains(&format!("http://***@{repository}/")),
            "{}",
            done.out
        );
        check_told("osbs build-json", &done);
    }
    assert!(*served.lock().expect("no panic") > 0, "the file of the repository was fetched with its login");
    let digests: Value = world.record(&world.newest("good").expect("a build"))["annotations"]["digests"].clone();
    assert!(digests.to_string().contains(&registry.host), "pushed with the login: {digests}");

    // RUN fails; so does the push; so does the file of the repository.
    let done = world.build(&world.layered("bad", "RUN env; exit 5"), &["--add-yum-repo", &yum]);
    assert_eq!(done.code, 1, "{}\n{}", done.out, done.err);
    check_told("a failed build", &done);
    let missing = format!("http://bob:{}@{repository}/other.repo", in_url(REPOSITORY));
    let done = world.build(&world.layered("norepo", ""), &["--add-yum-repo", &missing]);
    assert_ne!(done.code, 0, "{}\n{}", done.out, done.err);
    check_told("a build without its repository", &done);
    write("wrong");
    let done = world.build(&world.layered("refused", ""), &[]);
    assert_ne!(done.code, 0, "{}\n{}", done.out, done.err);
    check_told("a refused push", &done);
    // A git URL with a password is refused before anything is recorded.
    let done = world.build(&format!("http://al:{}@{repository}/web.git", in_url(GIT)), &[]);
    assert_ne!(done.code, 0);
    check_told("a git URL with a password", &done);
    watch.check();

    let mails = mail.mails();
    assert_eq!(mails.len(), 5, "{mails:#?}");
    for mail in mails {
        canaries.check("a mail", mail.to_string().as_bytes());
    }
    check_shown(&world, &canaries);
    check_home(&world, &canaries);
    // The image tells where its file came from, and not how to get in.
    let of_image = format!("ADD http://***@{repository}/added.txt");
    assert!(some_file_holds(&registry.folder.join("data"), &of_image), "the Dockerfile that is kept in the image");
    assert!(some_file_holds(&registry.folder.join("data"), &format!("ADD http://{repository}/added.txt")), "history");
    assert!(canaries.check_files(&registry.folder.join("data")) > 5, "layers, configurations, manifests");
    assert!(world.has_said(&worker, "built"));
    world::check_nothing_left(&world);
}

#[test]
fn in_an_image_that_is_built_by_hand() {
    if !world::can_run() {
        return;
    }
    let canaries = Canaries::of(&ALL);
    let world = World::new();
    let context = world.path("context");
    fs::create_dir_all(&context).expect("made");
    fs::write(world.path("pw"), FILE).expect("written");
    let text = format!(
        "FROM {}/base:1\nRUN --mount=type=secret,id=f --mount=type=secret,id=e,env=E \
         cat /run/secrets/f; echo $E; ls /run/secrets > /listed; test \"$E\" = '{VARIABLE}'\n",
        world.registry
    );
    let text = text.replace(&format!("test \"$E\" = '{VARIABLE}'"), "test -n \"$E\"");
    fs::write(context.join("Dockerfile"), &text).expect("written");
    let secret = format!("id=f,src={}", world.path("pw").display());
    let output = format!("oci:{}", world.path("out").display());
    let folder = context.display().to_string();
    let watch = Watch::start();
    for (file, code) in [(text.clone(), 0), (format!("{text}RUN --mount=type=secret,id=e,env=E echo $E; exit 3\n"), 1)]
    {
        fs::write(context.join("Dockerfile"), file).expect("written");
        let mut command = world.command(&[
            "image",
            "build",
            &folder,
            "--output",
            &output,
            "--secret",
            &secret,
            "--secret",
            "id=e,env=SECRET",
        ]);
        let done = world::done(command.env("SECRET", VARIABLE).output().expect("osbs starts"));
        assert_eq!(done.code, code, "{}\n{}", done.out, done.err);
        canaries.check("osbs image build", (done.out + &done.err).as_bytes());
    }
    watch.check();
    assert!(canaries.check_files(&world.path("out")) > 3);
    canaries.check_files(&world.path("home"));
}
