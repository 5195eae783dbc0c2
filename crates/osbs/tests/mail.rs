//! Mail about builds, taken by a real SMTP server and read by Python's email module: plain, over STARTTLS and over TLS,
//! with login; what a server does never fails a build.

mod mail_server;
mod world;

use mail_server::{Badly, Login, MailServer, bad_server, certificate};
use serde_json::{Value, json};
use std::process::Command;
use world::inspect::worker_of;
use world::{Done, World, wait_for};

const PASSWORD: &str = "correct-horse-battery-7Q";

fn can_run() -> bool {
    let can = world::can_run();
    if can {
        mail_server::check_needs();
    }
    can
}

/// `smtp` with these further keys.
fn write_smtp(world: &World, address: &str, more: &str) {
    let secrets = if more.contains("atomic-reactor/smtp") { "smtp" } else { "" };
    let smtp = format!(
        "smtp: {{host: '{address}', from_address: 'OSBS <osbs@example.org>', \
         additional_addresses: [al@example.org, not an address, bo+x@example.org], \
         error_addresses: [ops@example.org]{more}}}\nrequired_secrets: [{secrets}]\n"
    );
    world.write_conf("can_orchestrate = true\n", &smtp);
}

#[track_caller]
fn newest(server: &MailServer, count: usize) -> Value {
    let mails = server.mails();
    assert_eq!(mails.len(), count, "{mails:#?}");
    let mail = mails.into_iter().next_back().expect("one");
    assert_eq!(mail["defects"], json!([]), "{mail:#}");
    mail
}

fn body(mail: &Value) -> Vec<&str> {
    mail["body"].as_str().expect("text").trim_end().lines().collect()
}

/// The name of a build that was followed.
fn name(done: &Done) -> String {
    done.err.split_once('(').and_then(|(_, rest)| rest.split_once(')')).expect("a name").0.to_owned()
}

#[track_caller]
fn check_sent(world: &World, build: &str) {
    let said: Vec<_> = world.events(build).into_iter().filter(|event| event.to_string().contains("sendmail")).collect();
    let ended =
        world.events(build).into_iter().find(|event| event["event"] == "plugin_end" && event["plugin"] == "sendmail");
    assert_eq!(ended.expect("it ran")["outcome"], "ok", "{said:#?}");
}

#[test]
fn how_builds_end() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let tls = certificate(&world.path(""));
    let secret = world.path("password");
    std::fs::write(&secret, format!("{PASSWORD}\n")).expect("written");
    world.ok(&["config", "set-secret", "smtp", &secret.display().to_string()]);
    let login = Login { user: "osbs", password: PASSWORD };
    let protected = |mode: &str| {
        format!(
            ", tls: {mode}, ca_file: '{}', auth: {{username: osbs, password_path: /var/run/secrets/atomic-reactor/smtp}}",
            tls.0.display()
        )
    };

    // It succeeds; plain, as OSBS sends it.
    let server = MailServer::start(&world.path("plain"), "none", None, None);
    write_smtp(
        &world,
        &server.address,
        ", send_to_submitter: true, log_url: 'https://logs.example.org/{namespace}/{build}'",
    );
    let url = world.layered("good", "");
    let done = world.build(&url, &[]);
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    let build = name(&done);
    let mail = newest(&server, 1);
    assert_eq!((&mail["from"], &mail["tls"]), (&json!("osbs@example.org"), &json!(false)));
    assert_eq!(mail["to"], json!(["al@example.org", "bo+x@example.org"]));
    assert_eq!(mail["addresses"], mail["to"]);
    assert_eq!(mail["subject"], "Succeeded building image test/good");
    assert_eq!(mail["files"], json!({}));
    let record = world.record(&build);
    let repositories = &record["annotations"]["repositories"];
    let listed = |class: &str| {
        let names = repositories[class].as_array().cloned().unwrap_or_default();
        names.into_iter().map(|name| format!("    {}", name.as_str().expect("text"))).collect::<Vec<_>>()
    };
    let listed = [listed("unique"), listed("primary"), listed("floating")].concat();
    assert!(listed.len() > 3, "{repositories}");
    let mut expected = vec!["Image Name: test/good".to_owned(), "Repositories: ".to_owned()];
    expected.extend(listed);
    expected.extend([
        "Status: Succeeded".to_owned(),
        "Submitted by: Unknown".to_owned(),
        format!("Logs: https://logs.example.org/default/{build}"),
        format!("Source url: {url}"),
        format!("Source ref: {}", record["annotations"]["commit_id"].as_str().expect("a commit")),
    ]);
    assert_eq!(body(&mail), expected);
    check_sent(&world, &build);
    assert!(world.has_said(&build, "\"not an address\" is no mail address: dropped"));
    assert!(world.has_said(&build, "the address of the submitter is not known"));
    drop(server);

    // It fails; over STARTTLS, with a login.
    let server = MailServer::start(&world.path("starttls"), "starttls", Some(&tls), Some(login));
    write_smtp(&world, &server.address, &protected("starttls"));
    let done = world.build(&world.layered("bad", "RUN echo grüß Gott; exit 3"), &[]);
    assert_eq!(done.code, 1, "{}\n{}", done.out, done.err);
    let build = name(&done);
    check_sent(&world, &build);
    let mail = newest(&server, 1);
    assert_eq!((&mail["tls"], &mail["login"]), (&json!(true), &json!(true)));
    assert_eq!(mail["subject"], "Failed building image test/bad");
    // What the terminal shows, too.
    let lines = body(&mail);
    let screen: Vec<_> =
        done.err.lines().filter(|line| line.starts_with("  error ") || line.starts_with("  where ")).collect();
    assert_eq!(screen.len(), 2, "{}", done.err);
    assert!(screen.iter().all(|line| lines.contains(line)), "{screen:?} {lines:#?}");
    assert!(lines.iter().any(|line| line.contains("grüß Gott")), "{lines:#?}");
    assert!(lines.contains(&format!("Logs: osbs build-logs {build}").as_str()), "{lines:#?}");
    assert!(lines.contains(&"  where Dockerfile:3"), "{lines:#?}");

    // There is no such repository: the client finds out.
    let done = world.build(&format!("file://{}", world.path("git/none").display()), &[]);
    assert_ne!(done.code, 0);
    assert_eq!(server.mails().len(), 1, "it was refused before there was a build");
    drop(server);

    // It is cancelled; TLS from the first byte.
    let server = MailServer::start(&world.path("implicit"), "implicit", Some(&tls), Some(login));
    write_smtp(&world, &server.address, &protected("implicit"));
    let build = world.submit(&world.layered("stopped", "RUN echo asleep; sleep 600"), &[]);
    wait_for("the build sleeps", 60, || world.has_said(&worker_of(&build, "x86_64"), "asleep"));
    world.ok(&["cancel-build", "--wait", &build]);
    let mail = newest(&server, 1);
    assert_eq!((&mail["tls"], &mail["login"]), (&json!(true), &json!(true)));
    assert_eq!(mail["subject"], "Canceled building image test/stopped");
    assert!(body(&mail).contains(&"Status: Canceled"));
    let grep = Command::new("grep").args(["-rlF", PASSWORD]).arg(world.path("home/builds")).output().expect("grep");
    assert!(grep.stdout.is_empty(), "{}", String::from_utf8_lossy(&grep.stdout));
    world::check_nothing_left(&world);
}

/// A build, and what became of its mail.
#[track_caller]
fn check_survives(world: &World, case: &str, warning: &str) {
    let begun = std::time::Instant::now();
    let done = world.build(&world.layered(case, ""), &[]);
    assert_eq!(done.code, 0, "{case}: {}\n{}", done.out, done.err);
    let build = name(&done);
    assert_eq!(world.status(&build), "Complete", "{case}");
    let events = world.events(&build);
    let ended = events.iter().find(|event| event["event"] == "plugin_end" && event["plugin"] == "sendmail");
    assert_eq!(ended.expect("it ran")["outcome"], "tolerated", "{case}");
    let said: Vec<_> = events.iter().filter_map(|event| event["message"].as_str()).collect();
    let line = said.iter().find(|line| line.contains("plugin 'sendmail' failed")).expect("a warning");
    assert!(line.contains(warning) && line.ends_with("it is allowed to fail"), "{case}: {line}");
    assert!(begun.elapsed().as_secs() < 60, "{case}: {:?}", begun.elapsed());
    let log = world.path("home/builds/default").join(&build).join("events.jsonl");
    assert!(!world::read(&log).contains(PASSWORD), "{case}");
}

#[test]
fn bad_servers_fail_no_build() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let tls = certificate(&world.path(""));
    let secret = world.path("password");
    std::fs::write(&secret, "wrong-".to_owned() + PASSWORD).expect("written");
    let closed = format!("127.0.0.1:{}", world::free_port());
    write_smtp(&world, &closed, "");
    check_survives(&world, "closed", "onnection");
    write_smtp(&world, &bad_server(Badly::Hangs), ", timeout: 1");
    check_survives(&world, "hangs", "within 1 s");
    write_smtp(&world, &bad_server(Badly::Drops), "");
    check_survives(&world, "drops", "mail server 127.0.0.1");
    write_smtp(&world, &bad_server(Badly::Refuses), "");
    check_survives(&world, "refuses", "554");
    // Plain where TLS is asked for.
    write_smtp(&world, &bad_server(Badly::Refuses), ", tls: starttls");
    check_survives(&world, "nostarttls", "STARTTLS");

    let server =
        MailServer::start(&world.path("tls"), "starttls", Some(&tls), Some(Login { user: "osbs", password: PASSWORD }));
    write_smtp(&world, &server.address, ", tls: starttls");
    check_survives(&world, "unknownca", "certificate");
    let auth = format!("auth: {{username: osbs, password_path: '{}'}}", secret.display());
    write_smtp(&world, &server.address, &format!(", tls: starttls, ca_file: '{}', {auth}", tls.0.display()));
    check_survives(&world, "wrongpassword", "***");
    assert!(server.mails().is_empty());
    world::check_nothing_left(&world);
}

/// The server refuses one of several; arguments of the plugin list stand in for config.yaml.
#[test]
fn arguments_of_an_arrangement() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let server = MailServer::start(&world.path("mail"), "none", None, None);
    let registry = &world.registry;
    let instance = format!(
        "can_orchestrate = true\nregistry_uri = http://{registry}\nsource_registry_uri = http://{registry}\n\
         registry_api_versions = v2\nsmtp_host = {}\nsmtp_from = osbs@example.org\n\
         smtp_additional_addresses = refused@example.org, al@example.org\n",
        server.address
    );
    world.write_conf(&instance, "");
    let done = world.build(&world.layered("one", ""), &["--arrangement-version", "1", "--platforms", "x86_64"]);
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    let mail = newest(&server, 1);
    assert_eq!(mail["to"], json!(["al@example.org"]));
    assert_eq!(mail["subject"], "Succeeded building image test/one");
    let worker = worker_of(&name(&done), "x86_64");
    assert!(world.has_said(&worker, "the mail server refuses refused@example.org: "), "{mail:#}");

    // Nobody is told: the error addresses are, and why they are.
    let instance = instance.replace(
        "smtp_additional_addresses = refused@example.org, al@example.org",
        "smtp_error_addresses = ops@example.org\nsmtp_to_submitter = true",
    );
    world.write_conf(&instance, "");
    let done = world.build(&world.layered("two", ""), &["--arrangement-version", "5", "--platforms", "x86_64"]);
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    let mail = newest(&server, 2);
    assert_eq!(mail["to"], json!(["ops@example.org"]));
    let first = body(&mail)[0].to_owned();
    assert_eq!(first, "This is sent to error_addresses, for the address of the submitter could not be found.");
    world::check_nothing_left(&world);
}

/// Nobody looked on when a trigger's build failed: its mail brings the logs.
#[test]
fn a_failed_autorebuild_brings_its_logs() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let server = MailServer::start(&world.path("mail"), "none", None, None);
    let registry = &world.registry;
    let instance = format!(
        "can_orchestrate = true\nregistry_uri = http://{registry}\nsource_registry_uri = http://{registry}\n\
         registry_api_versions = v2\nmax_concurrent_builds = 1\nsmtp_host = {}\nsmtp_from = osbs@example.org\n\
         smtp_additional_addresses = al@example.org\n",
        server.address
    );
    world.write_conf(&instance, "");
    let options = ["--arrangement-version", "5", "--platforms", "x86_64"];
    let first = world.submit(&world.layered("first", "RUN echo asleep; sleep 600"), &options);
    wait_for("the first sleeps", 120, || world.has_said(&worker_of(&first, "x86_64"), "asleep"));
    let dockerfile = "FROM base:1\nLABEL name=test/auto com.redhat.component=auto-container version=1\n\
                      RUN echo what-went-wrong; exit 4\n";
    let files = [("Dockerfile", dockerfile), (".osbs-repo-config", "[autorebuild]\nenabled = true\n")];
    let build = world.submit(&world.repository("auto", &files), &options);
    wait_for("it waits for the first", 120, || world.status(&build) == "Pending");
    // Nothing triggers builds here yet: this is the label that a trigger's build has from its BuildConfig.
    let sql = format!(
        "UPDATE builds SET record = json_set(record, '$.labels.is_autorebuild', 'true') WHERE name = '{build}';"
    );
    let mut sqlite = Command::new("sqlite3");
    sqlite.args(["-cmd", ".timeout 15000"]).arg(world.path("home/cluster.db")).arg(sql);
    assert!(sqlite.status().expect("sqlite3 starts").success());
    world.ok(&["cancel-build", "--wait", &first]);
    world.run(&["watch-build", &build]);
    assert_eq!(world.status(&build), "Failed");
    check_sent(&world, &build);

    let mails = server.mails();
    let mail = mails.iter().find(|mail| mail["subject"] == "Failed building image test/auto").expect("a mail");
    assert_eq!(mail["defects"], json!([]), "{mail:#}");
    assert!(body(mail).contains(&"Submitted by: <autorebuild>"), "{mail:#}");
    let files = mail["files"].as_object().expect("files");
    assert_eq!(files.keys().collect::<Vec<_>>(), ["orchestrator.log", "x86_64.log"]);
    let text = |name: &str| files[name][2].as_str().expect("text").to_owned();
    assert!(text("x86_64.log").contains("what-went-wrong"), "{}", text("x86_64.log"));
    assert!(text("orchestrator.log").contains("this is an autorebuild"), "{}", text("orchestrator.log"));
    assert!(files.values().all(|file| file[0] == "application/octet-stream" && file[1] == "base64"), "{files:#?}");
    // Of the first, which somebody had asked for, only that it was cancelled.
    for mail in mails.iter().filter(|mail| mail["subject"] != "Failed building image test/auto") {
        assert_eq!(mail["files"], json!({}), "{mail:#}");
    }
    world::check_nothing_left(&world);
}
