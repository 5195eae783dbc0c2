//! What the tests with real programs share: a small parent image, a way to build, and trees to compare.
#![allow(dead_code, clippy::print_stdout, reason = "every test file uses another part, and says why it is skipped")]

use osbs_builder::{BuildError, BuildObserver, BuildRequest, BuiltImage, ParentImages, StageLabel, build};
use osbs_dockerfile::Dockerfile;
use osbs_image::{
    Compression, History, ImageConfig, ImageFormat, LayerRequest, Store, StoredImage, write_layer, write_oci_layout,
};
use osbs_sandbox::{Runtime, probe_runtime};
use osbs_types::{Architecture, ErrorKind, Failure, Platform};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// False when real tests are switched off; fails when something they need is missing.
pub fn ready(programs: &[(&str, &str)]) -> bool {
    if std::env::var_os("OSBS_TEST_SKIP_REAL").is_some_and(|value| value == "1") {
        println!("skipped: OSBS_TEST_SKIP_REAL=1");
        return false;
    }
    assert!(rustix::process::geteuid().is_root(), "this test mounts overlayfs and runs containers: run it as root");
    let path = std::env::var_os("PATH").unwrap_or_default();
    for (program, package) in programs {
        let found = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
        assert!(found, "{program} is missing: apt-get install {package}");
    }
    assert!(Path::new("/bin/busybox").is_file(), "busybox is missing: apt-get install busybox-static");
    true
}

/// Runs a program to its end; its output.
pub fn run<S: AsRef<OsStr>>(program: &str, args: &[S]) -> Vec<u8> {
    let output = Command::new(program).args(args).output().expect(program);
    let shown: Vec<_> = args.iter().map(|arg| arg.as_ref().to_string_lossy().into_owned()).collect();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {error}", shown.join(" "));
    output.stdout
}

/// A store with a parent image `base`, a context, and a work folder.
pub struct Site {
    pub dir: tempfile::TempDir,
    pub store: Store,
    pub images: BTreeMap<String, StoredImage>,
    pub runtime: Runtime,
}

/// What an observer saw.
#[derive(Default)]
pub struct Seen {
    pub steps: Mutex<Vec<String>>,
    pub lines: Mutex<Vec<Vec<u8>>>,
    /// Cancelled when a line contains this.
    pub cancel_at: Option<(Vec<u8>, CancellationToken)>,
}

impl BuildObserver for Seen {
    fn step(&self, _stage: StageLabel<'_>, index: usize, total: usize, text: &str) {
        self.steps.lock().expect("lock").push(format!("{index}/{total} {text}"));
    }

    fn line(&self, stage: StageLabel<'_>, line: &[u8]) {
        let line = [stage.prefix().as_bytes(), line].concat();
        if let Some((text, token)) = &self.cancel_at
            && line.windows(text.len()).any(|part| part == text.as_slice())
        {
            token.cancel();
        }
        self.lines.lock().expect("lock").push(line);
    }

    fn progress(&self, _what: &'static str, _done: u64, _total: u64) {}
}

impl ParentImages for Site {
    fn parent(&self, name: &str, _: &Architecture, _: &CancellationToken) -> Result<StoredImage, BuildError> {
        let missing = || Failure::message(ErrorKind::User, "no such image");
        self.images.get(name).cloned().ok_or_else(|| BuildError::parent(name, missing()))
    }
}

pub fn native() -> Architecture {
    Platform::native().architecture()
}

/// A root file system of busybox.
fn base_tree(root: &Path, applets: &[&str]) {
    for dir in ["bin", "etc", "tmp", "root", "var/lib/app", "usr/lib", "home/app", "opt"] {
        fs::create_dir_all(root.join(dir)).expect("folder");
    }
    symlink("usr/lib", root.join("lib")).expect("link");
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox");
    for applet in applets.iter().filter(|name| **name != "busybox") {
        symlink("busybox", root.join("bin").join(applet)).expect("applet");
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).expect("mode");
    let passwd = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:app:/home/app:/bin/sh\n";
    fs::write(root.join("etc/passwd"), passwd).expect("passwd");
    fs::write(root.join("etc/group"), "root:x:0:\napp:x:1001:\nweb:x:33:app\n").expect("group");
    fs::write(root.join("var/lib/app/old"), "old\n").expect("file");
    fs::write(root.join("usr/lib/libold"), "old\n").expect("file");
}

/// An image of one tree.
pub fn image_of(
    store: &Store,
    tree: &Path,
    architecture: &Architecture,
    change: impl FnOnce(&mut ImageConfig),
) -> StoredImage {
    let uppers = [tree.to_owned()];
    let request = LayerRequest {
        uppers: &uppers,
        compression: Compression::Gzip { level: 1 },
        clamp_mtime: Some(1_000_000_000),
        threads: 2,
        taps: Vec::new(),
        sink: None,
    };
    let layer = write_layer(store, request, &CancellationToken::new(), &|_, _| {}).expect("layer");
    let mut config = ImageConfig::scratch(architecture);
    config.rootfs.diff_ids.push(layer.diff_id.clone());
    config.history.push(History { created_by: Some("base".into()), ..History::default() });
    config.created = Some("2001-09-09T01:46:40Z".into());
    change(&mut config);
    StoredImage::create(store, ImageFormat::Oci, &config, &[layer.descriptor], None).expect("image")
}

impl Site {
    pub fn new() -> Self {
        let applets = String::from_utf8(run("/bin/busybox", &["--list"])).expect("names");
        Self::new_in(&std::env::temp_dir(), &applets.lines().collect::<Vec<_>>())
    }

    /// In a new folder of `place`, with these programs of busybox in the parent image.
    pub fn new_in(place: &Path, applets: &[&str]) -> Self {
        let dir = tempfile::tempdir_in(place).expect("temp folder");
        let store = Store::open(&dir.path().join("store")).expect("store");
        let tree = dir.path().join("tree");
        base_tree(&tree, applets);
        let base = image_of(&store, &tree, &native(), |config| {
            config.config.env = vec!["PATH=/bin".into(), "BASE=1".into()];
            config.config.cmd = Some(vec!["/bin/sh".into()]);
            config.config.labels.insert("from".into(), "base".into());
        });
        fs::remove_dir_all(&tree).expect("tree");
        let context = dir.path().join("context");
        fs::create_dir(&context).expect("context");
        let images = BTreeMap::from([("localhost/base".to_owned(), base)]);
        let runtime = probe_runtime(None).expect("an OCI runtime: apt-get install runc");
        Self { dir, store, images, runtime }
    }

    pub fn context(&self) -> PathBuf {
        self.dir.path().join("context")
    }

    pub fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// Writes a file of the context.
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.context().join(name);
        fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        fs::write(&path, content).expect("file");
        path
    }

    pub fn build(&self, text: &str) -> Result<BuiltImage, BuildError> {
        self.build_with(text, |_| {}, &Seen::default(), &CancellationToken::new())
    }

    pub fn build_with(
        &self,
        text: &str,
        change: impl FnOnce(&mut BuildRequest<'_>),
        seen: &Seen,
        cancel: &CancellationToken,
    ) -> Result<BuiltImage, BuildError> {
        let dockerfile = Dockerfile::parse(text, "Dockerfile").unwrap_or_else(|e| panic!("{e}: {text}"));
        let (context, work) = (self.context(), self.work());
        let mut request = BuildRequest::new(&dockerfile, &context, self, native(), &work, &self.store);
        request.runtime = Some(&self.runtime);
        change(&mut request);
        let result = build(request, seen, cancel);
        self.assert_clean();
        result
    }

    /// Nothing is mounted, nothing lies in the work folder.
    #[track_caller]
    pub fn assert_clean(&self) {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let work = self.work().display().to_string();
        assert!(!mounts.contains(&work), "still mounted: {mounts}");
        assert!(
            !self.work().exists() || fs::read_dir(self.work()).expect("list").next().is_none(),
            "work folder in use"
        );
    }

    /// The image as umoci unpacks it.
    pub fn unpack(&self, image: &StoredImage, name: &str) -> BTreeMap<PathBuf, Entry> {
        let layout = self.dir.path().join(format!("oci-{name}"));
        write_oci_layout(&self.store, image, &layout, name).expect("layout");
        umoci(&layout, name, &self.dir.path().join(format!("bundle-{name}")))
    }
}

/// Unpacks by umoci and looks at the tree.
pub fn umoci(layout: &Path, name: &str, bundle: &Path) -> BTreeMap<PathBuf, Entry> {
    let image = format!("{}:{name}", layout.display());
    run("umoci", &["unpack", "--image", &image, &bundle.display().to_string()]);
    let tree = look(&bundle.join("rootfs"));
    fs::remove_dir_all(bundle).expect("bundle");
    tree
}

/// What is compared of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub mode: u32,
    pub owner: (u32, u32),
    pub content: Vec<u8>,
    pub device: u64,
    pub links: u64,
    pub mtime: i64,
}

/// A whole tree, by path.
pub fn look(root: &Path) -> BTreeMap<PathBuf, Entry> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(path) = waiting.pop() {
        let full = root.join(&path);
        let meta = fs::symlink_metadata(&full).expect("metadata");
        let kind = meta.file_type();
        let content = if kind.is_file() {
            fs::read(&full).expect("read")
        } else if kind.is_symlink() {
            fs::read_link(&full).expect("link").into_os_string().into_encoded_bytes()
        } else {
            Vec::new()
        };
        if kind.is_dir() {
            waiting
                .extend(fs::read_dir(&full).expect("list").map(|entry| path.join(entry.expect("entry").file_name())));
        }
        let device = if kind.is_char_device() || kind.is_block_device() { meta.rdev() } else { 0 };
        let links = if kind.is_dir() { 0 } else { meta.nlink() };
        let owner = (meta.uid(), meta.gid());
        let entry = Entry { mode: meta.mode(), owner, content, device, links, mtime: meta.mtime() };
        found.insert(path, entry);
    }
    found
}
