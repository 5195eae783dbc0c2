//! Programs of this machine, gathered with the shared libraries they need into a folder that becomes an image.
//!
//! These are the machine's own files, by its own `ldd`: nothing of a repository or an image is looked at here.

use crate::site::program_path;
use osbs_types::{ErrorKind, Failure};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What git runs beside itself, for repositories by HTTP and by path.
const GIT_HELPERS: [&str; 2] = ["git-remote-http", "git-remote-https"];
const GIT_NAMES: [&str; 3] = ["git", "git-upload-pack", "git-receive-pack"];
/// The user with which pods without privilege run is `builder`.
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbuilder:x:1000:1000:builder:/var/lib/osbs:/bin/sh\n\
    nobody:x:65534:65534:nobody:/:/bin/false\n";
/// Where certificates that the system trusts are, in one file.
const CERTIFICATES: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// The folder, and what is in it already.
pub(super) struct Collection {
    root: PathBuf,
    known: BTreeSet<PathBuf>,
}

impl Collection {
    /// An empty folder.
    pub(super) fn new(root: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(root).map_err(|error| failed(root, &error))?;
        Ok(Self { root: root.to_owned(), known: BTreeSet::new() })
    }

    /// A file under another path of the image.
    pub(super) fn add_as(&mut self, file: &Path, target: &str) -> Result<(), Failure> {
        let target = self.root.join(target.trim_start_matches('/'));
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
        }
        fs::copy(file, &target).map(drop).map_err(|error| failed(file, &error))
    }

    /// A program of `PATH`, with its libraries.
    pub(super) fn add_program(&mut self, name: &str) -> Result<(), Failure> {
        let path = found(name).ok_or_else(|| missing(name))?;
        self.add_file(&path)?;
        self.add_libraries(&path)?;
        // Scripts and runtimes name these two by the whole path.
        if name == "sh" { self.add_as(&path, "/bin/sh") } else { Ok(()) }
    }

    /// A program that gives a user namespace its ids. The right to do so is on the file as a capability: in a pod root itself
    /// lacks it, so a setuid bit would not do.
    pub(super) fn add_id_mapper(&mut self, name: &str, capability: u32) -> Result<(), Failure> {
        self.add_program(name)?;
        let path = found(name).ok_or_else(|| missing(name))?;
        let copy = self.root.join(path.strip_prefix("/").unwrap_or(&path));
        let set = fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).and_then(|()| {
            let value = file_capability(capability);
            Ok(rustix::fs::setxattr(&copy, "security.capability", &value, rustix::fs::XattrFlags::empty())?)
        });
        set.map_err(|error| failed(&copy, &error))
    }

    /// The user that builds without privilege run as, and its further ids.
    pub(super) fn add_sub_ids(&self) -> Result<(), Failure> {
        let folder = self.root.join("etc");
        for name in ["subuid", "subgid"] {
            let path = folder.join(name);
            let made = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, "1000:100000:65536\n"));
            made.map_err(|error| failed(&path, &error))?;
        }
        Ok(())
    }

    /// The first of these that there is.
    pub(super) fn add_one_of(&mut self, names: &[&str]) -> Result<(), Failure> {
        match names.iter().find(|name| found(name).is_some()) {
            Some(name) => self.add_program(name),
            None => Err(missing(&names.join(" or "))),
        }
    }

    /// The shared libraries of a program, and its loader.
    pub(super) fn add_libraries(&mut self, program: &Path) -> Result<(), Failure> {
        let output = Command::new("ldd").arg(program).stdin(Stdio::null()).output().map_err(|error| {
            Failure::message(ErrorKind::Resource, format!("ldd cannot be run: {error}"))
                .with_hint("apt-get install libc-bin, or start from an image: --base IMAGE")
        })?;
        // It says so of a program that needs none, and fails.
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            if let Some(path) = library(line) {
                self.add_file(&path)?;
            } else if line.contains("not found") {
                let text = format!("{} needs a library that is missing: {}", program.display(), line.trim());
                return Err(Failure::message(ErrorKind::Resource, text));
            }
        }
        Ok(())
    }

    /// What git runs beside itself, and the names by which it is run itself.
    pub(super) fn add_git_helpers(&mut self) -> Result<(), Failure> {
        let git = found("git").ok_or_else(|| missing("git"))?;
        let output = Command::new(&git).arg("--exec-path").stdin(Stdio::null()).output();
        let text = output.map_err(|error| failed(&git, &error))?.stdout;
        let folder = PathBuf::from(String::from_utf8_lossy(&text).trim());
        for helper in GIT_HELPERS.map(|name| folder.join(name)).iter().filter(|path| path.exists()) {
            self.add_file(helper)?;
            self.add_libraries(helper)?;
        }
        let place = self.root.join(folder.strip_prefix("/").unwrap_or(&folder));
        fs::create_dir_all(&place).map_err(|error| failed(&place, &error))?;
        for name in GIT_NAMES {
            symlink(&git, place.join(name)).map_err(|error| failed(&place, &error))?;
        }
        let beside = self.root.join(git.strip_prefix("/").unwrap_or(&git)).with_file_name("git-upload-pack");
        symlink("git", &beside).map_err(|error| failed(&beside, &error))
    }

    /// Folders, users, and the certificates that the machine trusts.
    pub(super) fn add_system_files(&mut self) -> Result<(), Failure> {
        for (folder, mode) in
            [("tmp", 0o1777), ("var/tmp", 0o1777), ("root", 0o700), ("run", 0o755), ("proc", 0o555), ("sys", 0o555)]
        {
            let path = self.root.join(folder);
            let made =
                fs::create_dir_all(&path).and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode)));
            made.map_err(|error| failed(&path, &error))?;
        }
        let texts = [
            ("etc/passwd", PASSWD),
            ("etc/group", "root:x:0:\nbuilder:x:1000:\nnogroup:x:65534:\n"),
            ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
        ];
        for (name, text) in texts {
            let path = self.root.join(name);
            let folder = self.root.join("etc");
            fs::create_dir_all(&folder).and_then(|()| fs::write(&path, text)).map_err(|error| failed(&path, &error))?;
        }
        match CERTIFICATES.iter().find(|path| Path::new(path).exists()) {
            Some(path) => self.add_as(Path::new(path), path),
            None => Ok(()),
        }
    }

    /// A file under its own path; what a link leads to is copied.
    fn add_file(&mut self, path: &Path) -> Result<(), Failure> {
        if !self.known.insert(path.to_owned()) {
            return Ok(());
        }
        self.add_as(path, &path.to_string_lossy())
    }
}

/// `struct vfs_cap_data` of revision 2 (capabilities(7)): this one capability below 32, effective at once.
fn file_capability(number: u32) -> [u8; 20] {
    const REVISION_2: u32 = 0x0200_0000;
    const EFFECTIVE: u32 = 1;
    let mut value = [0; 20];
    value[..4].copy_from_slice(&(REVISION_2 | EFFECTIVE).to_le_bytes());
    value[4..8].copy_from_slice(&(1_u32 << number).to_le_bytes());
    value
}

/// `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x...)`, or the loader without an arrow.
fn library(line: &str) -> Option<PathBuf> {
    let text = line.split_once("=>").map_or(line, |(_, path)| path).trim();
    let path = text.split_once(" (").map_or(text, |(path, _)| path);
    path.starts_with('/').then(|| PathBuf::from(path))
}

fn found(name: &str) -> Option<PathBuf> {
    let path = program_path();
    std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|path| fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0))
}

fn missing(name: &str) -> Failure {
    Failure::message(ErrorKind::Resource, format!("this machine has no program {name}, which builds need"))
        .with_hint("install it, or start from an image that has it: --base IMAGE")
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::message(ErrorKind::Resource, format!("{} cannot be put into the image: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_library(line: &str, expected: Option<&str>) {
        assert_eq!(library(line), expected.map(PathBuf::from), "{line}");
    }

    #[test]
    fn lines_of_ldd() {
        check_library(
            "\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)",
            Some("/lib/x86_64-linux-gnu/libc.so.6"),
        );
        check_library("\t/lib64/ld-linux-x86-64.so.2 (0x00007f)", Some("/lib64/ld-linux-x86-64.so.2"));
        check_library("\tlinux-vdso.so.1 (0x00007f)", None);
        check_library("\tlibx.so => not found", None);
        check_library("\tnot a dynamic executable", None);
        check_library("\tstatically linked", None);
    }
}
