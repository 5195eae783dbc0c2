//! The same Dockerfiles built here and by buildah: every path with type, mode, owner and content, and the config.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Entry, Site, ready, run, umoci};

const PROGRAMS: &[(&str, &str)] = &[("runc", "runc"), ("umoci", "umoci"), ("skopeo", "skopeo"), ("buildah", "buildah")];

struct Case {
    name: &'static str,
    text: &'static str,
    /// Paths and config keys where the two differ, with the reason.
    differs: &'static [(&'static str, &'static str)],
}

const CASES: &[Case] = &[
    Case { name: "files", text: "COPY a.txt /x/y/\nCOPY a.txt b.txt /x/\nCOPY a.txt /x/renamed\n", differs: &[] },
    Case { name: "folder", text: "COPY dir /new/\nCOPY dir /var/lib/app\nCOPY dir/. /dot\n", differs: &[] },
    Case { name: "everything", text: "WORKDIR /srv\nCOPY . .\n", differs: &[] },
    Case { name: "globs", text: "COPY *.txt /g/\nCOPY d?r/sub/* /h/\nCOPY [ab].txt /i/\n", differs: &[] },
    Case {
        name: "owners",
        text: "COPY --chown=app a.txt /o/app\nCOPY --chown=1:2 dir /o/ids\nCOPY --chown=app:web a.txt /o/web\n\
               COPY --chmod=4711 a.txt /o/mode\n",
        differs: &[],
    },
    Case { name: "links", text: "COPY link /l/\nCOPY links /ls\nCOPY a.txt /lib/\nCOPY hard /hard\n", differs: &[] },
    Case {
        name: "config",
        text: "ENV A=1 B=$BASE C=\"a b\"\nENV OLD style value\nLABEL l=1 m=\"$A\"\nEXPOSE 80 53/udp\nVOLUME /data /more\n\
               ENTRYPOINT [\"/bin/sh\"]\nCMD [\"-c\", \"true\"]\nSTOPSIGNAL SIGINT\nUSER app:web\nWORKDIR /w\nWORKDIR x\n\
               MAINTAINER me\n",
        differs: &[],
    },
    Case { name: "shell-form", text: "CMD echo $A\nENTRYPOINT exec top\n", differs: &[] },
    Case { name: "entrypoint", text: "ENTRYPOINT [\"/bin/true\"]\n", differs: &[] },
    Case {
        name: "run",
        text: "RUN mkdir -p /a/b && echo x > /a/b/c && chmod 2755 /a/b && ln -s b /a/l && rm -r /var/lib/app\n\
               RUN mkdir /var/lib/app && touch /var/lib/app/new && mkfifo /a/fifo\n\
               RUN mv /home/app /home/other && chown 5:6 /home/other\n",
        differs: &[],
    },
    Case {
        name: "args",
        text: "ARG X=1\nARG Y=${X}2\nRUN echo $X $Y > /args\nENV X=3\nRUN echo $X > /env\n",
        differs: &[],
    },
    Case {
        name: "add",
        text: "ADD tree.tar.gz /t/\nADD a.txt /t/\nADD tree.tar /u\n",
        differs: &[
            ("/t: ", "an archive's entry ./ does not change the destination, as with Docker"),
            ("/u: ", "the same"),
        ],
    },
    Case { name: "workdir", text: "USER app\nWORKDIR /made/by/app\nRUN id -u > /tmp/u; pwd > /tmp/p\n", differs: &[] },
    Case {
        name: "shell",
        text: "SHELL [\"/bin/sh\", \"-ec\"]\nRUN echo $- > /flags\nCMD x\n",
        differs: &[("config.Cmd", "buildah does not use SHELL for CMD; BuildKit does")],
    },
    Case {
        name: "docker-only",
        text: "HEALTHCHECK --interval=5s --timeout=1m --retries=3 CMD test -f /x\nONBUILD RUN touch /x\nONBUILD COPY . /y\n",
        differs: &[],
    },
    Case { name: "no-check", text: "HEALTHCHECK NONE\n", differs: &[] },
    Case {
        name: "stages",
        text: "RUN mkdir /out && echo 1 > /out/f && chown 3:4 /out/f && chmod 640 /out/f && ln -s f /out/l\n\
               FROM localhost/base\nCOPY --from=0 /out /got\nCOPY --from=0 /out/f /one\nCOPY --from=0 --chown=app /out/f /two\n",
        differs: &[],
    },
    Case {
        name: "replace",
        text: "COPY a.txt /var/lib/app/old\nCOPY b.txt /var/lib/app/old\nRUN cat /var/lib/app/old > /o\n",
        differs: &[],
    },
];

/// Everywhere: mount points that buildah leaves in the image after a RUN. BuildKit takes them away too.
const STUBS: &[&str] = &["/dev", "/proc", "/sys", "/run", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];

fn context(site: &Site) {
    for (path, content) in
        [("a.txt", "a"), ("b.txt", "bb"), ("c.md", "c"), ("dir/one", "1"), ("dir/sub/two", "2"), ("dir/sub/three", "3")]
    {
        site.file(path, content);
    }
    site.file(".dockerignore", "*.md\ndir/sub/three\n");
    let context = site.context();
    fs::set_permissions(context.join("b.txt"), fs::Permissions::from_mode(0o640)).expect("mode");
    fs::set_permissions(context.join("dir/sub"), fs::Permissions::from_mode(0o700)).expect("mode");
    fs::create_dir_all(context.join("links")).expect("folder");
    symlink("dir", context.join("link")).expect("link");
    symlink("/nowhere", context.join("links/dangling")).expect("link");
    symlink("../a.txt", context.join("links/up")).expect("link");
    fs::create_dir_all(context.join("hard")).expect("folder");
    fs::write(context.join("hard/1"), "hard").expect("file");
    fs::hard_link(context.join("hard/1"), context.join("hard/2")).expect("hard link");
    fs::create_dir_all(context.join("empty")).expect("folder");
    let dir = context.join("dir").display().to_string();
    for (name, flag) in [("tree.tar.gz", "-czf"), ("tree.tar", "-cf")] {
        let out = context.join(name).display().to_string();
        run("tar", &["--owner=7", "--group=8", "--mtime=@1000000000", flag, &out, "-C", &dir, "."]);
    }
}

struct Buildah {
    options: Vec<String>,
    dir: PathBuf,
}

impl Buildah {
    fn new(site: &Site) -> Self {
        let dir = site.dir.path().join("buildah");
        let (root, run_root) = (dir.join("root"), dir.join("run"));
        fs::create_dir_all(&dir).expect("folder");
        let layout = dir.join("base");
        osbs_image::write_oci_layout(&site.store, &site.images["localhost/base"], &layout, "base").expect("layout");
        let target = format!("containers-storage:[vfs@{}+{}]localhost/base:latest", root.display(), run_root.display());
        run("skopeo", &["copy", "--quiet", &format!("oci:{}:base", layout.display()), &target]);
        let options = ["--root".into(), root.display().to_string(), "--runroot".into(), run_root.display().to_string()];
        let options = options.into_iter().chain(["--storage-driver".into(), "vfs".into()]).collect();
        Self { options, dir }
    }

    fn buildah(&self, args: &[&str]) {
        let args: Vec<&str> = self.options.iter().map(String::as_str).chain(args.iter().copied()).collect();
        run("buildah", &args);
    }

    /// Tree and config.
    fn build(&self, name: &str, text: &str, context: &Path) -> (BTreeMap<PathBuf, Entry>, serde_json::Value) {
        let file = self.dir.join(format!("{name}.Dockerfile"));
        fs::write(&file, text).expect("Dockerfile");
        let (file, context) = (file.display().to_string(), context.display().to_string());
        // buildah sets limits of its own, which not every root may raise again.
        let limit = |resource| rustix::process::getrlimit(resource).maximum.unwrap_or(20_000);
        let files = limit(rustix::process::Resource::Nofile);
        let processes = limit(rustix::process::Resource::Nproc).min(32_768);
        let limits = [format!("nofile={files}:{files}"), format!("nproc={processes}:{processes}")];
        let mut args = vec![
            "bud",
            "--format",
            "docker",
            "--isolation",
            "chroot",
            "--quiet",
            "--pull-never",
            "-t",
            name,
            "-f",
            &file,
        ];
        for limit in &limits {
            args.extend(["--ulimit", limit]);
        }
        args.push(&context);
        self.buildah(&args);
        let layout = self.dir.join(format!("out-{name}"));
        self.buildah(&["push", "--quiet", name, &format!("oci:{}:{name}", layout.display())]);
        // The OCI copy has lost what only Docker's config has.
        let (root, run_root) = (&self.options[1], &self.options[3]);
        let stored = format!("containers-storage:[vfs@{root}+{run_root}]localhost/{name}:latest");
        (umoci(&layout, name, &self.dir.join("bundle")), config_of(&stored))
    }
}

fn config_of(place: &str) -> serde_json::Value {
    let out = run("skopeo", &["inspect", "--config", "--raw", place]);
    serde_json::from_slice(&out).expect("json")
}

/// Differences of two trees, one line each.
fn tree_differences(ours: &BTreeMap<PathBuf, Entry>, theirs: &BTreeMap<PathBuf, Entry>) -> Vec<String> {
    let mut found = Vec::new();
    let paths: std::collections::BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    for path in paths {
        let shown = format!("/{}", path.display());
        match (ours.get(path), theirs.get(path)) {
            (Some(_), None) => found.push(format!("{shown}: only ours")),
            (None, Some(_)) => found.push(format!("{shown}: only theirs")),
            (Some(a), Some(b)) => {
                if (a.mode, a.owner, a.device, a.links) != (b.mode, b.owner, b.device, b.links) {
                    let show = |e: &Entry| format!("{:o} {:?} dev {} links {}", e.mode, e.owner, e.device, e.links);
                    found.push(format!("{shown}: ours {} theirs {}", show(a), show(b)));
                }
                if a.content != b.content {
                    let show = |e: &Entry| String::from_utf8_lossy(&e.content[..e.content.len().min(80)]).into_owned();
                    found.push(format!("{shown}: content ours {:?} theirs {:?}", show(a), show(b)));
                }
            }
            (None, None) => {}
        }
    }
    found
}

fn config_differences(ours: &serde_json::Value, theirs: &serde_json::Value) -> Vec<String> {
    let mut found = Vec::new();
    for key in ["architecture", "os", "variant", "author"] {
        if ours[key] != theirs[key] {
            found.push(format!("{key}: ours {} theirs {}", ours[key], theirs[key]));
        }
    }
    let members = |value: &serde_json::Value| value["config"].as_object().cloned().unwrap_or_default();
    let (mut a, mut b) = (members(ours), members(theirs));
    if let Some(labels) = b.get_mut("Labels").and_then(|labels| labels.as_object_mut()) {
        // buildah signs its work.
        labels.remove("io.buildah.version");
    }
    for map in [&mut a, &mut b] {
        // Docker writes out what is not set.
        map.retain(|key, value| match value {
            serde_json::Value::Object(map) => !map.is_empty(),
            serde_json::Value::Array(list) => !list.is_empty(),
            serde_json::Value::String(text) => !text.is_empty() && key != "Image" && key != "Hostname",
            serde_json::Value::Bool(set) => *set,
            serde_json::Value::Null => false,
            serde_json::Value::Number(_) => true,
        });
    }
    let keys: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).cloned().collect();
    for key in keys {
        if a.get(&key) != b.get(&key) {
            found.push(format!("config.{key}: ours {:?} theirs {:?}", a.get(&key), b.get(&key)));
        }
    }
    found
}

#[test]
fn the_same_as_buildah() {
    if !ready(PROGRAMS) {
        return;
    }
    assert!(Command::new("buildah").arg("--version").output().is_ok_and(|it| it.status.success()));
    let site = Site::new();
    context(&site);
    let buildah = Buildah::new(&site);
    let mut wrong = Vec::new();
    for case in CASES {
        let text = format!("FROM localhost/base\n{}", case.text);
        let built = site.build(&text).unwrap_or_else(|e| panic!("{}: {}", case.name, e.to_failure()));
        let ours = site.unpack(&built.image, case.name);
        let our_config = serde_json::to_value(&built.image.image_config).expect("json");
        let (theirs, their_config) = buildah.build(case.name, &text, &site.context());
        let mut differences = tree_differences(&ours, &theirs);
        differences.extend(config_differences(&our_config, &their_config));
        differences.retain(|line| !STUBS.iter().any(|path| *line == format!("{path}: only theirs")));
        differences.retain(|line| !case.differs.iter().any(|(start, _)| line.starts_with(start)));
        wrong.extend(differences.into_iter().map(|line| format!("{}: {line}", case.name)));
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}
