//! Base images by the whole program: `FROM koji/image-build` with a kickstart file, on real RPM repositories, groups and
//! a repo file of the request among them; and what is refused before a worker starts.

#[path = "../../osbs-http/tests/fake/mod.rs"]
mod fake;
#[allow(dead_code, reason = "one test needs a part of it")]
#[path = "../../osbs-fetch/tests/support/repositories.rs"]
mod repositories;
mod world;

use fake::{Fake, Reply};
use repositories::{backend, git};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use world::{Done, World, can_run, check_nothing_left};

fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{program} is missing (apt-get install {program}): {error}"));
    assert!(output.status.success(), "{program} {args:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The distribution, made once a machine.
fn distribution() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace");
    let cache = root.join(".cache");
    let (packages, folder) = (cache.join("distribution-cache"), cache.join("distribution"));
    let script = root.join("scripts/make-distribution.sh");
    run(text(&script), &["--cache", text(&packages), text(&folder), "x86_64", "aarch64"]);
    folder
}

/// A group as distributions have them: one package always, one by default, one for who asks.
const GROUPS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE comps PUBLIC "-//Red Hat, Inc.//DTD Comps info//EN" "comps.dtd">
<comps><group><id>greetings</id><name>Greetings</name><description>Says hello</description><default>true</default>
<uservisible>true</uservisible><packagelist>
<packagereq type="mandatory">hello</packagereq>
<packagereq type="optional">grep</packagereq>
</packagelist></group></comps>
"#;

/// Two repositories out of the distribution: all but jq, with a group; and jq with what it needs.
fn repositories(world: &World) -> (PathBuf, PathBuf) {
    let packages = distribution().join("x86_64");
    let (main, extra) = (world.path("repositories/x86_64/main"), world.path("repositories/extra"));
    for folder in [&main, &extra] {
        fs::create_dir_all(folder).expect("made");
    }
    for entry in fs::read_dir(&packages).expect("the distribution").flatten() {
        let name = entry.file_name().into_string().expect("UTF-8");
        if name.strip_suffix(".rpm").is_none() {
            continue;
        }
        let is_extra = ["jq-", "libjq", "libonig"].iter().any(|start| name.starts_with(start));
        let folder = if is_extra { &extra } else { &main };
        if fs::hard_link(entry.path(), folder.join(&name)).is_err() {
            fs::copy(entry.path(), folder.join(&name)).expect("copied");
        }
    }
    let groups = world.path("comps.xml");
    fs::write(&groups, GROUPS).expect("written");
    run("createrepo_c", &["--quiet", "--groupfile", text(&groups), text(&main)]);
    run("createrepo_c", &["--quiet", text(&extra)]);
    (world.path("repositories"), extra)
}

const CONF: &str = "[image-build]\nname = base%1\nversion = 1\ntarget = t\narches = x86_64\nformat = docker\n\
    disk_size = 1\nkickstart = my.ks\ndistro = Example-1\n\n[factory-parameters]\ncreate_docker_metadata = False\n";

fn build(world: &World, name: &str, dockerfile: &str, kickstart: &str, more: &[&str]) -> Done {
    let dockerfile = format!(
        "FROM koji/image-build:my.conf\nLABEL name=test/{name} com.redhat.component={name} version=1\n{dockerfile}"
    );
    let files = [("Dockerfile", dockerfile.as_str()), ("my.conf", CONF), ("my.ks", kickstart)];
    world.build(&world.repository(name, &files), more)
}

#[test]
fn a_base_image_by_kickstart() {
    if !can_run() {
        return;
    }
    let world = World::bare();
    let (folder, extra) = repositories(&world);
    let repo = format!("[extra]\nname = extra\nbaseurl = file://{}\ngpgcheck = 0\n", extra.display());
    let fake = Fake::start(move |asked, _| match asked.target.as_str() {
        "/extra.repo" => Reply::ok(repo.clone()),
        "/no.repo" => Reply::ok("<html>"),
        _ => Reply::new(404),
    });
    let kickstart = format!(
        "repo --name=main --baseurl=file://{}/$basearch/main --cost=5\n\
         lang C.UTF-8\nrootpw hunter2\npart / --size=100\n\n\
         %packages --nocore --excludedocs --exclude-weakdeps --inst-langs=en\n\
         filesystem\nbash\ncoreutils\nrpm # for the list of packages\n@greetings\njq\n-sed\n%end\n\n\
         %post --interpreter=/usr/bin/bash --erroronfail\n\
         words=(made by $0)\necho \"${{words[1]}} bash\" >/etc/made\n%end\n\
         %post\necho 'told by post'; exit 3\n%end\n",
        folder.display()
    );
    let tests = "RUN [\"/usr/bin/bash\", \"-c\", \"set -ex; hello; echo 1 | jq .+1; [[ $(</etc/made) == 'by bash' ]]; \
                 ! rpm -q sed; rpm -q hello jq; [[ ! -e /.osbs-kickstart-script && ! -e /var/cache/dnf ]]\"]\n";
    let (given, none) = (fake.url("/extra.repo"), fake.url("/no.repo"));
    let done = build(&world, "whole", tests, &kickstart, &["--add-yum-repo", &given, "--add-yum-repo", &none]);
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    for part in [
        "workers make the file system base%1, each for its platform",
        "my.ks:2: lang is not done: do it in %post",
        "my.ks:3: rootpw is not done",
        "/no.repo is no repo file",
        "told by post",
        "ended with exit code 3",
        "Hello, world!",
    ] {
        assert!(done.out.contains(part), "{part:?} is not in\n{}", done.out);
    }
    assert!(!done.out.contains("hunter2"), "{}", done.out);
    check_nothing_left(&world);

    // Errors that only dnf or the file system can find.
    let main = format!("repo --name=main --baseurl=file://{}/$basearch/main\n", folder.display());
    for (name, kickstart, code, parts) in [
        (
            "nothing-there",
            format!("{main}%packages\nfilesystem\nno-such-package\n%end\n"),
            1,
            &["no-such-package", "none of the repositories has one of the packages"][..],
        ),
        (
            "failing",
            format!(
                "{main}%packages\nfilesystem\nbash\ncoreutils\n%end\n%post --erroronfail\necho lost; exit 4\n%end\n"
            ),
            1,
            &["my.ks:7", "%post script of the kickstart file ended with exit code 4", "lost"],
        ),
        (
            "unreachable",
            "repo --name=main --baseurl=http://127.0.0.1:1/\n%packages --retries=1 --timeout=2\nbash\n%end\n"
                .to_owned(),
            4,
            &["dnf could not install the packages", "does not answer"],
        ),
    ] {
        check_failed(&world, &build(&world, name, "", &kickstart, &[]), code, parts, true);
    }
    a_kickstart_of_another_repository(&world, &main);
}

/// Of the commit that `ksurl` names, in the folder that it names: what came later is not looked at.
fn a_kickstart_of_another_repository(world: &World, repo: &str) {
    let served = world.path("served");
    let work = served.join("kickstarts");
    fs::create_dir_all(work.join("images")).expect("made");
    git(&work, &["init", "--quiet", "--initial-branch=main"]);
    let commit = |text: &str| {
        fs::write(work.join("images/far.ks"), text).expect("written");
        git(&work, &["add", "."]);
        git(&work, &["commit", "--quiet", "-m", "x"]);
        git(&work, &["rev-parse", "HEAD"])
    };
    let post = "%post --interpreter=/usr/bin/bash --erroronfail\necho from afar >/etc/made\n%end\n";
    let wanted = commit(&format!("{repo}%packages\nfilesystem\nbash\n%end\n{post}"));
    commit("pakages\n");
    git(&served, &["clone", "--quiet", "--bare", "kickstarts", "ks.git"]);
    let server = Fake::start(move |asked, _| backend(&served, asked));
    world.write_conf("can_orchestrate = true\n", "fetch: {allow: [127.0.0.1]}\n");
    let ksurl = format!("git+{}?images#{wanted}", server.url("/ks.git"));
    let conf = CONF.replace("my.ks", &format!("far.ks\nksurl = {ksurl}"));
    let dockerfile = "FROM koji/image-build:my.conf\nLABEL name=test/far com.redhat.component=far version=1\n\
        RUN [\"/usr/bin/bash\", \"-c\", \"[[ $(</etc/made) == 'from afar' ]]\"]\n";
    let files = [("Dockerfile", dockerfile), ("my.conf", conf.as_str()), ("my.ks", "not this one\n")];
    let done = world.build(&world.repository("far", &files), &[]);
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    let told = format!("the kickstart file is of {}, commit {wanted}", server.url("/ks.git"));
    assert!(done.out.contains(&told), "{told} is not in\n{}", done.out);
    check_nothing_left(world);
}

#[track_caller]
fn check_failed(world: &World, done: &Done, code: i32, parts: &[&str], in_a_worker: bool) {
    let told = format!("{}{}", done.out, done.err);
    assert_eq!(done.code, code, "{told}");
    for part in parts {
        assert!(told.contains(part), "{part:?} is not in\n{told}");
    }
    let workers = told.contains("atomic_reactor.plugins.orchestrate_build");
    assert_eq!(workers, in_a_worker, "{told}");
    check_nothing_left(world);
}

#[test]
fn refused_before_a_worker_starts() {
    if !can_run() {
        return;
    }
    let world = World::bare();
    let packages = "repo --name=main --baseurl=file:///nowhere\n%packages\nbash\n%end\n";
    for (name, kickstart, parts) in [
        ("include", format!("{packages}%include /etc/passwd\n"), &["my.ks:5", "%include cannot be done"][..]),
        ("nochroot", format!("{packages}%post --nochroot\nid\n%end\n"), &["my.ks:5", "run inside the image only"]),
        ("unknown", format!("{packages}pakages\n"), &["my.ks:5", "pakages is no kickstart command"]),
        ("no-repository", "%packages\nbash\n%end\n".to_owned(), &["names a repository", "repo --name=main"]),
    ] {
        check_failed(&world, &build(&world, name, "", &kickstart, &[]), 1, parts, false);
    }
    let files = [("Dockerfile", "FROM koji/image-build\nLABEL name=test/x com.redhat.component=x version=1\n")];
    let done = world.build(&world.repository("no-conf", &files), &[]);
    check_failed(&world, &done, 1, &["needs the file image-build.conf beside the Dockerfile"], false);
}
