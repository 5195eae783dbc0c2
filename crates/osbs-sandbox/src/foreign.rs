//! Programs of other architectures, by qemu-user and binfmt_misc.
//!
//! Whether one runs is found out by running one, in an otherwise empty root, as a container has: that needs the `F` flag
//! (the kernel opened the interpreter when it was registered), which no look at a table would show as surely.
#![allow(unsafe_code)]

use crate::probe_program::{MACHINES, Machine, machine, native_machine, probe_dir, write_probe_program};
use crate::rootless::in_user_namespace;
use crate::runtime::installed;
use osbs_types::{Architecture, ErrorKind};
use rustix::mount::MountFlags;
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const BINFMT: &str = "/proc/sys/fs/binfmt_misc";

/// Why programs of an architecture do not run here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForeignError {
    /// Nobody registered an interpreter for it, or not with the `F` flag.
    #[error(
        "this machine cannot run {architecture} programs: no interpreter is registered for them in binfmt_misc; \
         install QEMU's: apt-get install qemu-user-static"
    )]
    CannotRun {
        /// The architecture.
        architecture: Architecture,
        /// What happened when one was started.
        source: io::Error,
    },
    /// The program to run them with is missing.
    #[error("cannot run {architecture} programs here: {program} is not installed; apt-get install qemu-user-static")]
    NotInstalled {
        /// The architecture.
        architecture: Architecture,
        /// The interpreter's name.
        program: String,
    },
    /// QEMU's user mode or we do not know it.
    #[error("this machine cannot run {architecture} programs, and we know no way to make it able")]
    Unknown {
        /// The architecture.
        architecture: Architecture,
    },
    /// The kernel refused the registration.
    #[error("cannot {operation} {}: root on the machine itself is needed, and the kernel module binfmt_misc", path.display())]
    Refused {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl ForeignError {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Resource
    }
}

/// Whether a program of `architecture` runs in a container here, found out by running one (20 ms; none for the
/// machine's own). Needs root.
///
/// # Errors
/// [`ForeignError::CannotRun`] tells what to install.
pub fn can_run(architecture: &Architecture) -> Result<(), ForeignError> {
    if *architecture.name == osbs_types::Platform::native().architecture().name {
        return Ok(());
    }
    let machine = known(architecture)?;
    try_machine(machine).map_err(|source| ForeignError::CannotRun { architecture: architecture.clone(), source })
}

/// Makes the machine able to run `architecture`, if it is not yet: mounts binfmt_misc and registers qemu-user. Needs
/// root. In a mount namespace of its own the registration lasts as long as that namespace. In a user namespace (Linux
/// 6.7) it is for that one only.
///
/// # Errors
/// The interpreter is not installed, the kernel refuses, or it does not run even then.
pub fn register_binfmt(architecture: &Architecture) -> Result<(), ForeignError> {
    if can_run(architecture).is_ok() {
        return Ok(());
    }
    let machine = known(architecture)?;
    let interpreter = interpreter_of(machine).ok_or_else(|| {
        let program = format!("qemu-{}-static", machine.qemu);
        ForeignError::NotInstalled { architecture: architecture.clone(), program }
    })?;
    if mount_binfmt()? {
        // It hides the machine's: what ran before shall run on.
        let own = native_machine().goarch;
        let is_own = |goarch: &str| goarch == own || own == "amd64" && goarch == "386";
        let others = MACHINES.iter().filter(|other| other.goarch != machine.goarch && !is_own(other.goarch));
        for (other, interpreter) in others.filter_map(|other| Some((other, interpreter_of(other)?))) {
            let _ = register(other, &interpreter);
        }
    }
    register(machine, &interpreter)?;
    can_run(architecture)
}

/// Debian 12 and before: -static. Later: the plain name is the static one.
fn interpreter_of(machine: &Machine) -> Option<PathBuf> {
    [format!("qemu-{}-static", machine.qemu), format!("qemu-{}", machine.qemu)].iter().find_map(|name| installed(name))
}

fn known(architecture: &Architecture) -> Result<&'static Machine, ForeignError> {
    machine(&architecture.name).ok_or_else(|| ForeignError::Unknown { architecture: architecture.clone() })
}

fn try_machine(machine: &Machine) -> io::Result<()> {
    let dir = probe_dir()?;
    write_probe_program(&dir.path().join("probe"), machine)?;
    let root = CString::new(dir.path().as_os_str().as_bytes())?;
    let mut command = Command::new("/probe");
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: two system calls on strings that exist already; nothing is allocated between fork and exec.
    unsafe {
        command.pre_exec(move || {
            rustix::process::chroot(root.as_c_str())?;
            Ok(rustix::process::chdir(c"/")?)
        });
    }
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("a trial program ended with {status}"))) }
}

/// True when there is a new one, of this user namespace.
fn mount_binfmt() -> Result<bool, ForeignError> {
    let register = Path::new(BINFMT).join("register");
    let may_write = || rustix::fs::access(&register, rustix::fs::Access::WRITE_OK).is_ok();
    let rootless = in_user_namespace();
    if may_write() || !rootless && register.exists() {
        return Ok(false);
    }
    let refused = |source: rustix::io::Errno| ForeignError::Refused {
        operation: "mount binfmt_misc on",
        path: BINFMT.into(),
        source: source.into(),
    };
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    match rustix::mount::mount(c"binfmt_misc", BINFMT, c"binfmt_misc", flags, None) {
        // Another process was quicker.
        Err(rustix::io::Errno::BUSY) if may_write() => Ok(false),
        other => other.map(|()| rootless).map_err(refused),
    }
}

/// Under the name that Debian's package uses; if that is taken by a registration that does not do (switched off, or
/// without F), under one of ours, which the kernel then asks first.
fn register(machine: &Machine, interpreter: &Path) -> Result<(), ForeignError> {
    let path = Path::new(BINFMT).join("register");
    let mut outcome = Ok(());
    for prefix in ["qemu", "osbs-qemu"] {
        outcome = std::fs::write(&path, registration(prefix, machine, interpreter));
        match &outcome {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
            _ => break,
        }
    }
    match outcome {
        // Both names are there: somebody did the same at the same moment. The trial afterwards tells.
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        other => other.map_err(|source| ForeignError::Refused { operation: "register at", path, source }),
    }
}

/// `:NAME:M:OFFSET:MAGIC:MASK:INTERPRETER:FLAGS` (the kernel's admin-guide/binfmt-misc). O and C: the credentials of
/// the program count, so that set-id programs work; F: the interpreter is opened now, and needed in no image; P: the
/// program gets its own argv[0] (busybox and other many-in-one programs go by it), which qemu sees since Linux 5.12.
fn registration(prefix: &str, machine: &Machine, interpreter: &Path) -> Vec<u8> {
    let escape = |bytes: Vec<u8>| bytes.iter().fold(String::new(), |text, byte| text + &format!("\\x{byte:02x}"));
    let (magic, mask) = (escape(machine.magic()), escape(machine.mask()));
    let mut line = format!(":{prefix}-{}:M::{magic}:{mask}:", machine.qemu).into_bytes();
    line.extend_from_slice(interpreter.as_os_str().as_bytes());
    line.extend_from_slice(b":POCF");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_line() {
        let machine = machine("s390x").unwrap();
        let line = String::from_utf8(registration("qemu", machine, Path::new("/usr/bin/qemu-s390x-static"))).unwrap();
        assert_eq!(
            line,
            ":qemu-s390x:M::\\x7f\\x45\\x4c\\x46\\x02\\x02\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\
             \\x00\\x16:\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xfe\\xff\
             \\xff:/usr/bin/qemu-s390x-static:POCF"
        );
        assert!(line.len() < 1920, "the kernel's limit");
    }

    #[test]
    fn the_own_architecture_always_runs() {
        let own = osbs_types::Platform::native().architecture();
        assert!(can_run(&own).is_ok());
        assert!(matches!(can_run(&Architecture::new("pdp11")), Err(ForeignError::Unknown { .. })));
    }
}
