//! Builds with a real runtime, seen through umoci: what each instruction does to files and config.

mod support;

use osbs_builder::{BuildError, ImageFormat, InstructionError};
use osbs_types::ErrorKind;
use std::fs;
use std::time::Instant;
use support::{Seen, Site, ready, run};
use tokio_util::sync::CancellationToken;

const PROGRAMS: &[(&str, &str)] = &[("runc", "runc"), ("umoci", "umoci"), ("skopeo", "skopeo")];

#[test]
fn one_layer_with_all_that_changed() {
    if !ready(PROGRAMS) {
        return;
    }
    let site = Site::new();
    site.file("app/run.sh", "#!/bin/sh\necho hi\n");
    site.file("app/data/x", "x");
    let seen = Seen::default();
    let text = "FROM localhost/base\nARG V=2\nENV A=$V B=\"two words\"\nWORKDIR /srv/app\nCOPY app .\n\
                RUN echo out; echo err >&2; rm /var/lib/app/old; echo $A > a; id -u > uid\nUSER app\n\
                RUN id -un > /tmp/who && echo $HOME >> /tmp/who\nCMD [\"sh\"]\nLABEL k=v\n";
    let built = site.build_with(text, |_| {}, &seen, &CancellationToken::new()).expect("build");
    let config = &built.image.image_config;
    assert_eq!(built.image.layers.len(), 2);
    assert_eq!(config.rootfs.diff_ids.len(), 2);
    assert_eq!(config.history.iter().filter(|entry| !entry.empty_layer).count(), 2);
    assert_eq!(config.history.len(), 10);
    assert_eq!(config.config.env, ["PATH=/bin", "BASE=1", "A=2", "B=two words"]);
    assert_eq!(config.config.working_dir, "/srv/app");
    assert_eq!(config.config.user, "app");
    assert_eq!(config.config.labels.len(), 2);
    let lines = seen.lines.lock().expect("lock").clone();
    assert!(lines.contains(&b"out".to_vec()) && lines.contains(&b"err".to_vec()), "{lines:?}");

    let tree = site.unpack(&built.image, "one");
    let content = |path: &str| String::from_utf8_lossy(&tree[std::path::Path::new(path)].content).into_owned();
    assert_eq!(content("srv/app/a"), "2\n");
    assert_eq!(content("srv/app/uid"), "0\n");
    assert_eq!(content("srv/app/data/x"), "x");
    assert_eq!(content("tmp/who"), "app\n/home/app\n");
    assert!(!tree.contains_key(std::path::Path::new("var/lib/app/old")), "it was removed");
    for stub in ["proc", "sys", "dev", "etc/resolv.conf", "etc/hosts"] {
        assert!(!tree.contains_key(std::path::Path::new(stub)), "{stub} was left in the image");
    }
}

#[test]
fn nothing_changed_is_one_layer_too_and_both_formats_are_read() {
    if !ready(PROGRAMS) {
        return;
    }
    let site = Site::new();
    for (format, name) in [(ImageFormat::Oci, "oci"), (ImageFormat::DockerV2S2, "docker")] {
        let set = |request: &mut osbs_builder::BuildRequest<'_>| request.format = format;
        let built = site
            .build_with("FROM localhost/base\nLABEL a=b\n", set, &Seen::default(), &CancellationToken::new())
            .expect("build");
        assert_eq!(built.image.layers.len(), 2);
        assert!(built.new_layer.empty);
        let kinds: Vec<bool> = built.image.layers.iter().map(|layer| layer.media_type.contains("docker")).collect();
        assert_eq!(kinds, vec![format == ImageFormat::DockerV2S2; 2]);
        let place = site.dir.path().join(name);
        let from = if format == ImageFormat::Oci {
            osbs_image::write_oci_layout(&site.store, &built.image, &place, name).expect("layout");
            format!("oci:{}:{name}", place.display())
        } else {
            let (cancel, names) = (CancellationToken::new(), ["localhost/x:1".to_owned()]);
            osbs_image::write_docker_archive_plain(
                &site.store,
                &built.image,
                &names,
                (&place, osbs_image::Checksums::None),
                &cancel,
            )
            .expect("archive");
            format!("docker-archive:{}", place.display())
        };
        let to = format!("dir:{}-copy", place.display());
        run("skopeo", &["copy", "--quiet", &from, &to]);
    }
}

#[test]
fn stages_mounts_secrets_and_heredocs() {
    if !ready(PROGRAMS) {
        return;
    }
    let site = Site::new();
    site.file("in/tool", "tool\n");
    let secret = site.dir.path().join("secret");
    fs::write(&secret, "hunter2-hunter2").expect("secret");
    let text = r#"ARG TAG=base
FROM localhost/${TAG} AS build
COPY in /in
RUN mkdir /out && cp /in/tool /out/made && chown app:web /out/made && chmod 750 /out/made
FROM localhost/base AS unused
RUN exit 1
FROM build AS more
RUN echo more > /out/more
FROM localhost/base
COPY --from=build /out/made /usr/bin/made
COPY --from=more --chown=app /out/more /lib/more
COPY --chmod=0600 <<one <<"two" /etc/conf/
A=$BASE
one
A=$BASE
two
RUN --mount=type=bind,from=more,source=/out,target=/mnt,rw touch /mnt/x && ls /mnt > /list
RUN --mount=type=bind,source=in,target=/ctx cat /ctx/tool > /ctx-tool
RUN --mount=type=secret,id=s,target=/run/s --mount=type=secret,id=s,env=S cat /run/s; echo $S; echo ${#S} > /length
RUN --mount=type=tmpfs,target=/scratch touch /scratch/x
RUN --mount=type=cache,target=/cache echo 1 >> /cache/n; cat /cache/n > /n
RUN --mount=type=cache,target=/cache echo 2 >> /cache/n; cat /cache/n > /n
RUN --network=none cat /proc/net/dev | grep -c : > /devices
RUN <<EOF
echo first > /first
echo second >> /first
EOF
RUN <<EOF
#!/bin/cat
script
EOF
RUN cat <<EOF > /cat
catted
EOF
"#;
    let seen = Seen::default();
    let set = |request: &mut osbs_builder::BuildRequest<'_>| {
        request.secrets.insert("s".into(), secret.clone());
    };
    let built = site.build_with(text, set, &seen, &CancellationToken::new()).expect("build");
    let tree = site.unpack(&built.image, "stages");
    let at = |path: &str| tree.get(std::path::Path::new(path)).unwrap_or_else(|| panic!("no {path}"));
    let content = |path: &str| String::from_utf8_lossy(&at(path).content).into_owned();
    assert_eq!((at("usr/bin/made").mode & 0o7777, at("usr/bin/made").owner), (0o750, (1000, 33)));
    assert_eq!(at("usr/lib/more").owner, (1000, 1001));
    assert_eq!(content("etc/conf/one"), "A=1\n");
    assert_eq!(content("etc/conf/two"), "A=$BASE\n");
    assert_eq!(at("etc/conf/one").mode & 0o7777, 0o600);
    assert_eq!(content("list"), "made\nmore\nx\n");
    assert_eq!(content("ctx-tool"), "tool\n");
    assert_eq!(content("length"), "15\n");
    assert_eq!(content("n"), "1\n2\n");
    assert_eq!(content("devices"), "1\n");
    assert_eq!(content("first"), "first\nsecond\n");
    assert_eq!(content("cat"), "catted\n");
    for gone in ["mnt", "ctx", "run", "scratch", "cache", "in", "out"] {
        assert!(!tree.contains_key(std::path::Path::new(gone)), "{gone} was left in the image");
    }
    let lines: Vec<u8> = seen.lines.lock().expect("lock").join(&b'\n');
    let lines = String::from_utf8_lossy(&lines);
    assert!(lines.contains("*****") && lines.contains("script") && !lines.contains("hunter2"), "{lines}");
    let config = serde_json::to_string(&built.image.image_config).expect("json");
    assert!(!config.contains("hunter2"), "{config}");
    let steps = seen.steps.lock().expect("lock").join("\n");
    assert!(!steps.contains("unused"), "{steps}");
}

#[test]
fn failures_say_where_and_why() {
    if !ready(PROGRAMS) {
        return;
    }
    let site = Site::new();
    site.file("a", "a");
    site.file("b.md", "b");
    site.file(".dockerignore", "*.md\n");
    std::os::unix::fs::symlink("/etc/hostname", site.context().join("out")).expect("link");
    let check = |text: &str, kind: ErrorKind, parts: &[&str]| {
        let error = site.build(text).expect_err(text);
        let failure = error.to_failure();
        let shown = format!("{failure}\n{}", failure.hint.clone().unwrap_or_default());
        assert_eq!(failure.kind, kind, "{shown}");
        for part in parts {
            assert!(shown.contains(part), "{part:?} is not in: {shown}");
        }
    };
    let user = ErrorKind::User;
    check(
        "FROM localhost/base\nENV X=1\nRUN echo before; false; sh -c 'exit 7'\n",
        user,
        &["Dockerfile:3", "RUN echo before", "exit code 7", "before"],
    );
    check("FROM localhost/base\nCOPY none /x\n", user, &["Dockerfile:2", "\"none\" is not in the build context"]);
    check("FROM localhost/base\nCOPY b.md /x\n", user, &["ignore file"]);
    check("FROM localhost/base\nCOPY out /x\n", user, &["\"out\" is not in the build context"]);
    check("FROM localhost/base\nCOPY ../../etc/passwd /x\n", user, &["above the context"]);
    check("FROM localhost/base\nCOPY a a /x\n", user, &["must end in a slash"]);
    check("FROM localhost/base\nCOPY --chown=nobody a /x\n", user, &["no user \"nobody\"", "/etc/passwd"]);
    check("FROM localhost/base\nCOPY --chmod=abc a /x\n", user, &["--chmod"]);
    check(
        "FROM localhost/base AS build\nRUN true\nFROM localhost/base\nCOPY --from=biuld /x /x\n",
        user,
        &["Dockerfile:4", "name is build"],
    );
    check(
        "FROM localhost/base AS build\nCOPY --from=later /x /x\nFROM build AS later\n",
        user,
        &["Dockerfile:2", "move the other one up"],
    );
    site.file("in/tool.sh", "");
    check("FROM localhost/base\nCOPY in/tol.sh /x\n", user, &["did you mean \"in/tool.sh\"?"]);
    check("FROM localhost/none\n", user, &["Dockerfile:1", "localhost/none"]);
    check("FROM localhost/base\nRUN --mount=type=secret,id=x,required=true true\n", user, &["secret \"x\""]);
    check("FROM localhost/base\nRUN [\"/no/such\"]\n", user, &["Dockerfile:2", "/no/such"]);
    check("FROM localhost/base\nEXPOSE 99999\n", user, &["Dockerfile:2", "99999"]);
    check("FROM localhost/base\nCOPY a /bin\nCOPY a /bin/sh/x\n", user, &["Dockerfile:3"]);
    check("FROM localhost/base\nADD https://example.com/x /x\n", user, &["not supported", "COPY it"]);
    check("FROM localhost/base\nUSER nobody\nRUN true\n", user, &["Dockerfile:3", "no user \"nobody\""]);
}

#[test]
fn cancelled_within_a_second() {
    if !ready(PROGRAMS) {
        return;
    }
    let site = Site::new();
    let cancel = CancellationToken::new();
    let seen = Seen { cancel_at: Some((b"now".to_vec(), cancel.clone())), ..Seen::default() };
    let text = "FROM localhost/base\nRUN sleep 0.2; echo now; sleep 100 & sleep 100\n";
    let started = Instant::now();
    let error = site.build_with(text, |_| {}, &seen, &cancel).expect_err("cancelled");
    assert!(matches!(error, BuildError::Cancelled), "{error:?}");
    assert!(started.elapsed().as_secs_f64() < 3.0, "took {:?}", started.elapsed());
}

#[test]
fn a_full_disk_is_named() {
    if !ready(PROGRAMS) {
        return;
    }
    let site = Site::new();
    let small = site.dir.path().join("small");
    fs::create_dir(&small).expect("folder");
    let mount = small.display().to_string();
    run("mount", &["-t", "tmpfs", "-o", "size=4m", "tmpfs", &mount]);
    site.file("big", &"x".repeat(8 << 20));
    let work = small.join("work");
    for text in
        ["FROM localhost/base\nCOPY big /big\n", "FROM localhost/base\nRUN dd if=/dev/zero of=/big bs=1M count=8\n"]
    {
        let dockerfile = osbs_dockerfile::Dockerfile::parse(text, "Dockerfile").expect("parse");
        let context = site.context();
        let mut request =
            osbs_builder::BuildRequest::new(&dockerfile, &context, &site, support::native(), &work, &site.store);
        request.runtime = Some(&site.runtime);
        let error = osbs_builder::build(request, &Seen::default(), &CancellationToken::new()).expect_err("full");
        let failure = error.to_failure();
        let shown = format!("{failure} {}", failure.hint.clone().unwrap_or_default());
        assert_eq!(failure.kind, ErrorKind::Resource, "{shown}");
        assert!(shown.contains("disk full") && shown.contains(&mount), "{shown}");
        assert!(!work.exists(), "work folder left");
    }
    run("umount", &[&mount]);
}

#[test]
fn triggers_of_the_parent_run_once() {
    if !ready(PROGRAMS) {
        return;
    }
    let mut site = Site::new();
    site.file("app", "app");
    let text = "FROM localhost/base\nONBUILD COPY app /app\nONBUILD RUN echo $BASE > /trigger\n";
    let parent = site.build(text).expect("parent");
    assert_eq!(parent.image.image_config.config.on_build.as_ref().map(Vec::len), Some(2));
    site.images.insert("localhost/onbuild".into(), parent.image);
    let child = site.build("FROM localhost/onbuild\nRUN cat /trigger /app > /both\n").expect("child");
    assert_eq!(child.image.image_config.config.on_build, None);
    assert_eq!(child.image.layers.len(), 3);
    let tree = site.unpack(&child.image, "child");
    assert_eq!(tree[std::path::Path::new("both")].content, b"1\napp");
    fs::remove_file(site.context().join("app")).expect("remove");
    let error = site.build("FROM localhost/onbuild\n").expect_err("no app");
    let BuildError::Instruction { position, source, .. } = &error else { panic!("{error:?}") };
    assert_eq!(position.line, 1);
    assert!(matches!(**source, InstructionError::NoSource { .. }));
}

#[test]
fn many_files_are_copied_alike_through_the_view_and_beside_it() {
    if !ready(PROGRAMS) {
        return;
    }
    let site = Site::new();
    // More than what is worth writing beside the overlay, in new, empty and existing folders, with names in common.
    for index in 0..700 {
        let path = site.file(&format!("tree/d{}/f{index}", index % 3), &index.to_string());
        if index % 50 == 0 {
            let other = site.context().join(format!("tree/d{}/link{index}", (index + 1) % 3));
            fs::create_dir_all(other.parent().expect("parent")).expect("folder");
            fs::hard_link(&path, other).expect("hard link");
        }
    }
    site.file("tree/usr/lib/new", "new");
    let expected = support::look(&site.context().join("tree"));
    let check = |text: &str, place: &str| {
        let built =
            site.build(&format!("FROM localhost/base\n{text}\n")).unwrap_or_else(|e| panic!("{}", e.to_failure()));
        let tree = site.unpack(&built.image, "many");
        for (path, entry) in expected.iter().filter(|(path, _)| !path.as_os_str().is_empty()) {
            let there =
                tree.get(&std::path::Path::new(place).join(path)).unwrap_or_else(|| panic!("{text}: no {path:?}"));
            let facts = |it: &support::Entry| (it.mode, it.content.clone(), it.links, it.mtime);
            let folder = entry.mode & 0o170_000 == 0o040_000;
            assert!(facts(there) == facts(entry) || (folder && there.mode == entry.mode), "{text}: {path:?} {there:?}");
        }
        assert_eq!(tree[std::path::Path::new("usr/lib/libold")].content, b"old\n");
    };
    check("COPY tree /new", "new");
    check("WORKDIR /srv\nCOPY tree .", "srv");
    check("COPY tree /", "");
    check("COPY tree /opt", "opt");
    check(
        "RUN mkdir -p /opt/d1 && echo x > /opt/d1/f1 && ln -s d2 /opt/d0 && mkdir /opt/d2\nRUN rm /opt/d0\nCOPY tree /opt",
        "opt",
    );
}

#[test]
fn links_of_the_image_stay_inside() {
    if !ready(PROGRAMS) {
        return;
    }
    let mut site = Site::new();
    let canary = site.dir.path().join("canary");
    fs::create_dir(&canary).expect("canary");
    let target = canary.display();
    let text = format!(
        "FROM localhost/base\nRUN ln -s {target} /abs; ln -s ../../../../../../..{target} /rel; \
         rm /etc/passwd; mkfifo /etc/passwd; ln -s /proc/self/fd /fds\n"
    );
    let hostile = site.build(&text).expect("hostile parent");
    site.images.insert("localhost/hostile".into(), hostile.image);
    site.file("f", "f");
    for line in ["COPY f /abs/f", "COPY f /rel/f", "WORKDIR /abs/w", "WORKDIR /rel/w", "COPY . /abs/", "ADD f /rel/"] {
        let built = site.build(&format!("FROM localhost/hostile\n{line}\n"));
        assert_eq!(fs::read_dir(&canary).expect("list").count(), 0, "{line} left the image");
        built.unwrap_or_else(|e| panic!("{line}: {}", e.to_failure()));
    }
    for line in ["COPY --chown=app f /x", "USER app\nRUN true"] {
        let started = Instant::now();
        site.build(&format!("FROM localhost/hostile\n{line}\n")).expect_err("a FIFO is no account file");
        assert!(started.elapsed().as_secs() < 2);
    }
}
