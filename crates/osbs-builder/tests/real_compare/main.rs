//! The corpus of `tests/corpus/`: the same Dockerfiles built here and by buildah, compared in every path and every
//! member of the config; and what buildah 1.28 does not know held to what the Dockerfile reference says.
//!
//! `OSBS_TEST_CASE=TEXT` runs only the cases whose name contains the text.

mod buildah;
mod cases;
mod context;
mod differences;
#[path = "../support/mod.rs"]
mod support;
mod tree;

use buildah::Buildah;
use cases::{Case, cases, known};
use differences::{expected_form, of_configs, of_trees};
use osbs_builder::{BuildError, BuildRequest, ParentImages, build};
use osbs_dockerfile::Dockerfile;
use osbs_image::{StoredImage, write_oci_layout};
use osbs_types::Architecture;
use rustix::fs::StatVfsMountFlags;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;
use support::{Seen, Site, native, ready, run};
use tokio_util::sync::CancellationToken;
use tree::{Tree, layers, umoci};

const PROGRAMS: &[(&str, &str)] = &[
    ("runc", "runc"),
    ("umoci", "umoci"),
    ("skopeo", "skopeo"),
    ("buildah", "buildah"),
    ("bzip2", "bzip2"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
];

/// What the cases call; all of busybox would be four hundred links in every tree.
const APPLETS: &[&str] = &[
    "[", "cat", "chgrp", "chmod", "chown", "cp", "cut", "date", "dd", "echo", "env", "expr", "false", "find", "grep",
    "head", "id", "ln", "ls", "mkdir", "mkfifo", "mknod", "mv", "printf", "pwd", "readlink", "rm", "rmdir", "sed",
    "sh", "sleep", "sort", "stat", "tail", "tar", "test", "touch", "tr", "true", "truncate", "wc",
];
/// Cases at once.
const THREADS: usize = 3;
/// Every so many results are read by skopeo and buildah too.
const READ_BY_ALL: usize = 12;

/// The site's images and the one that a case made first.
struct Parents<'a> {
    site: &'a Site,
    extra: Option<(String, StoredImage)>,
}

impl ParentImages for Parents<'_> {
    fn parent(
        &self,
        name: &str,
        platform: &Architecture,
        cancel: &CancellationToken,
    ) -> Result<StoredImage, BuildError> {
        match &self.extra {
            Some((known, image)) if known == name => Ok(image.clone()),
            _ => self.site.parent(name, platform, cancel),
        }
    }
}

/// Builds with a work folder of its own.
fn build_ours(site: &Site, case: &Case, text: &str, parents: &Parents<'_>) -> Result<StoredImage, String> {
    let dockerfile = Dockerfile::parse(text, "Dockerfile").map_err(|e| e.to_string())?;
    let context = site.context();
    let work = site.dir.path().join(format!("work-{}", case.name));
    let mut request = BuildRequest::new(&dockerfile, &context, parents, native(), &work, &site.store);
    request.runtime = Some(&site.runtime);
    request.target.clone_from(&case.target);
    request.build_args = case.args.iter().cloned().collect();
    request.ignore.clone_from(&case.ignore);
    let built = build(request, &Seen::default(), &CancellationToken::new());
    assert!(!work.exists(), "{}: the work folder was left", case.name);
    built.map(|built| built.image).map_err(|error| {
        let failure = error.to_failure();
        let causes = std::iter::successors(std::error::Error::source(&error), |it| it.source());
        causes.fold(failure.to_string(), |text, cause| format!("{text}: {cause}"))
    })
}

fn ours(site: &Site, case: &Case) -> Result<StoredImage, String> {
    let mut parents = Parents { site, extra: None };
    let name = format!("localhost/parent-{}", case.name);
    if let Some(parent) = &case.parent {
        let of_parent = Case { name: case.name.clone(), ..Case::default() };
        let image = build_ours(site, &of_parent, parent, &parents)?;
        parents.extra = Some((name.clone(), image));
    }
    build_ours(site, case, &case.text.replace("@parent@", &name), &parents)
}

/// The tree as our own store unpacks it.
fn unpacked(site: &Site, case: &Case, image: &StoredImage) -> Tree {
    let mut folders = site.store.unpack(image, &CancellationToken::new(), &|_| {}).expect("unpack");
    folders.reverse();
    layers(&folders, site.dir.path().join(format!("view-{}", case.name)))
}

/// Where umoci's tree of an image is not the one that we unpack; all times count here.
fn check_umoci(site: &Site, case: &Case, image: &StoredImage, tree: &Tree) -> Vec<String> {
    let own = unpacked(site, case, image);
    let mut found = of_trees(&own, tree);
    for (path, entry) in tree {
        let other = own.get(path).map(|own| own.mtime);
        if other.is_some_and(|other| other != entry.mtime) && !path.as_os_str().is_empty() {
            found.push(format!("/{}: time {other:?} and {}", path.display(), entry.mtime));
        }
    }
    found.into_iter().map(|line| format!("umoci and our own unpacking: {line}")).collect()
}

/// skopeo copies it, and buildah makes a container of the copy.
fn check_readers(buildah: &Buildah, layout: &Path, name: &str) {
    let from = format!("oci:{}:{name}", layout.display());
    run("skopeo", &["copy", "--quiet", &from, &format!("dir:{}-dir", layout.display())]);
    run("skopeo", &["copy", "--quiet", &from, &buildah.stored(&format!("localhost/ours-{name}:latest"))]);
    buildah.buildah(&["from", "--pull-never", &format!("localhost/ours-{name}")]).expect("buildah from");
}

struct Corpus {
    site: Site,
    buildah: Buildah,
    base: Tree,
}

/// Memory where there is enough: hundreds of builds write some gigabytes, which nobody keeps.
fn place() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let limits = StatVfsMountFlags::NODEV | StatVfsMountFlags::NOSUID | StatVfsMountFlags::NOEXEC;
    let room = rustix::fs::statvfs(memory)
        .is_ok_and(|stat| stat.f_bavail * stat.f_frsize > 4 << 30 && !stat.f_flag.intersects(limits));
    if room { memory.to_owned() } else { std::env::temp_dir() }
}

impl Corpus {
    fn new() -> Self {
        let site = Site::new_in(&place(), APPLETS);
        context::fill(&site.context(), &site.dir.path().join("archive"));
        let buildah = Buildah::new(&site);
        let layout = site.dir.path().join("oci-base");
        write_oci_layout(&site.store, &site.images["localhost/base"], &layout, "base").expect("layout");
        let base = umoci(&layout, "base", &site.dir.path().join("bundle-base"));
        Self { site, buildah, base }
    }

    /// All differences of one case.
    fn check(&self, index: usize, case: &Case) -> Vec<String> {
        let image = match (ours(&self.site, case), &case.error) {
            (Ok(_), Some(error)) => return vec![format!("built, and should fail with {error:?}")],
            (Err(error), Some(wanted)) if error.contains(wanted) => return Vec::new(),
            (Err(error), _) => return vec![format!("failed: {error}")],
            (Ok(image), None) => image,
        };
        let name = &case.name;
        let layout = self.site.dir.path().join(format!("oci-{name}"));
        write_oci_layout(&self.site.store, &image, &layout, name).expect("layout");
        let tree = umoci(&layout, name, &self.site.dir.path().join(format!("bundle-{name}")));
        let mut found = check_umoci(&self.site, case, &image, &tree);
        if index.is_multiple_of(READ_BY_ALL) {
            check_readers(&self.buildah, &layout, name);
        }
        if let Some(expected) = &case.expect {
            let nothing = Tree::new();
            let base = if image.layers.len() == 1 { &nothing } else { &self.base };
            let actual = expected_form(&tree, base);
            found.extend(
                actual.iter().filter(|line| !expected.contains(line)).map(|line| format!("not expected: {line}")),
            );
            found.extend(expected.iter().filter(|line| !actual.contains(line)).map(|line| format!("missing: {line}")));
            let config = serde_json::to_value(&image.image_config.config).expect("json");
            let wrong = case.config.iter().filter(|(key, value)| config[key] != *value);
            found.extend(wrong.map(|(key, value)| format!("config.{key}: {} instead of {value}", config[key])));
            return found;
        }
        match self.buildah.build(case, &self.site.context()) {
            Ok((theirs, config)) => {
                found.extend(of_trees(&tree, &theirs));
                let ours = serde_json::to_value(&image.image_config).expect("json");
                found.extend(of_configs(&ours, &config));
            }
            Err(error) => found.push(format!("buildah failed: {}", error.trim())),
        }
        found
    }
}

#[test]
fn the_same_as_buildah_and_the_reference() {
    if !ready(PROGRAMS) {
        return;
    }
    let started = Instant::now();
    let wanted = std::env::var("OSBS_TEST_CASE").unwrap_or_default();
    let cases: Vec<Case> = cases().into_iter().filter(|case| case.name.contains(&wanted)).collect();
    let corpus = Corpus::new();
    let known = known();
    let used: Vec<AtomicBool> = known.iter().map(|_| AtomicBool::new(false)).collect();
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(index) else { break };
                    for line in corpus.check(index, case) {
                        let mut meant = false;
                        for (_, used) in known.iter().zip(&used).filter(|(known, _)| known.covers(&case.name, &line)) {
                            used.store(true, Ordering::Relaxed);
                            meant = true;
                        }
                        if !meant {
                            wrong.lock().expect("lock").push(format!("{}: {line}", case.name));
                        }
                    }
                }
            });
        }
    });
    let mut wrong = wrong.into_inner().expect("lock");
    wrong.sort();
    if wanted.is_empty() {
        assert!(cases.len() >= 150, "the corpus has only {} cases", cases.len());
        let unused = known.iter().zip(&used).filter(|(_, used)| !used.load(Ordering::Relaxed));
        wrong.extend(unused.map(|(known, _)| format!("known and not seen: {} | {}", known.case, known.line)));
    }
    let seconds = started.elapsed().as_secs();
    assert!(
        wrong.is_empty(),
        "{} cases in {seconds} s, {} differences:\n{}",
        cases.len(),
        wrong.len(),
        wrong.join("\n")
    );
    println!("{} cases in {seconds} s", cases.len());
}
