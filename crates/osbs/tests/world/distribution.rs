//! An image with dnf, of the example distribution: for builds that install packages themselves.

use super::World;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[track_caller]
fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// The distribution with dnf, made once a machine: the folder with its RPMs and their repository.
#[track_caller]
pub fn packages_with_dnf() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace");
    let (cache, folder) = (root.join(".cache/distribution-cache"), root.join(".cache/distribution-dnf"));
    let script = root.join("scripts/make-distribution.sh");
    run(Command::new(script).arg("--cache").arg(cache).arg("--dnf").arg(&folder).arg("x86_64"));
    folder.join("x86_64")
}

impl World {
    /// Pushes the image `name`: bash, coreutils, rpm, dnf and the gpg it verifies with, of `packages`, and these further
    /// lines of its Dockerfile.
    #[track_caller]
    pub fn push_dnf_image(&self, name: &str, packages: &Path, lines: &str) {
        let (context, home) = (self.path("dnf"), self.path("dnf-home"));
        let root = context.join("root");
        for folder in [&root, &home] {
            fs::create_dir_all(folder).expect("made");
        }
        // Else the database lies in the home folder of whoever reads it (`_dbpath` of Debian's rpm).
        fs::write(home.join(".rpmmacros"), "%_dbpath /var/lib/rpm\n").expect("written");
        let mut dnf = Command::new("dnf");
        dnf.env("HOME", &home).arg("-y").arg("--quiet").arg(format!("--installroot={}", root.display()));
        dnf.arg("--disablerepo=*").arg(format!("--repofrompath=example,file://{}", packages.display()));
        dnf.args(["--setopt=example.gpgcheck=0", "--setopt=install_weak_deps=False", "--releasever=1", "install"]);
        run(dnf.args(["bash", "coreutils", "rpm", "dnf", "gpg", "gpgconf"]));
        for used in ["var/cache/dnf", "var/log"] {
            fs::remove_dir_all(root.join(used)).expect("there");
        }
        let dockerfile =
            format!("FROM scratch\nCOPY root /\nENV PATH=/usr/sbin:/usr/bin PYTHONDONTWRITEBYTECODE=1\n{lines}");
        fs::write(context.join("Dockerfile"), dockerfile).expect("written");
        let tag = format!("{}/{name}", self.registry);
        let context = context.display().to_string();
        self.ok(&["image", "build", &context, "--tag", &tag, "--output", "push", "--quiet"]);
        fs::remove_dir_all(root).expect("there");
    }
}
