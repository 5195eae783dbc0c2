//! What a machine lacks for builds of ordinary users, and the command that mends it.

use crate::mounts::MountError;
use crate::process::ProcessError;
use osbs_types::ErrorKind;
use std::fs;
use std::io;

/// This machine lets no ordinary user build, or not this one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootlessError {
    /// newuidmap or newgidmap is not in `PATH`.
    #[error("{program} is not installed (it is in no folder of PATH)")]
    NoProgram {
        /// Its name.
        program: &'static str,
    },
    /// The user has no name to look up.
    #[error("user id {uid} has no entry in the user database")]
    NoUser {
        /// Effective user id.
        uid: u32,
    },
    /// The user has no subordinate ids.
    #[error("user {user} has no entry in {file}, and an image needs more ids than one")]
    NoSubIds {
        /// Who.
        user: String,
        /// `/etc/subuid` or `/etc/subgid`.
        file: &'static str,
        /// First id after all that were given out.
        free: u32,
    },
    /// The kernel refuses a user namespace, or one that is good for anything.
    #[error("user namespaces are forbidden here: {reason}")]
    Forbidden {
        /// Which of its switches.
        reason: String,
        /// What to do.
        remedy: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// newuidmap or newgidmap refused.
    #[error("{program} could not map the ids: {said}")]
    Mapping {
        /// Its name.
        program: &'static str,
        /// Its last words.
        said: String,
        /// Whether this process may not gain privileges, not even by a set-uid program.
        no_new_privileges: bool,
    },
    /// overlayfs cannot be mounted in a user namespace.
    #[error("the kernel ({release}) does not let overlayfs be mounted in a user namespace")]
    Overlay {
        /// Of the kernel.
        release: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A mount namespace.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// A process.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

impl RootlessError {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Mount(error) => error.kind(),
            Self::Process(error) => error.kind(),
            _ => ErrorKind::Resource,
        }
    }

    /// The command that mends it, for the administrator.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoProgram { .. } => "as root: apt-get install uidmap".to_owned(),
            Self::NoUser { .. } => "build as a user that getent passwd knows".to_owned(),
            Self::NoSubIds { user, free, .. } => {
                let range = format!("{free}-{}", free.saturating_add(65_535));
                format!("as root: usermod --add-subuids {range} --add-subgids {range} {user}")
            }
            Self::Forbidden { remedy, .. } => remedy.clone(),
            Self::Mapping { no_new_privileges: true, .. } => {
                "start osbs where programs may gain privileges: no_new_privs is set (systemd: NoNewPrivileges=no; \
                 docker: without --security-opt no-new-privileges)"
                    .to_owned()
            }
            Self::Mapping { said, .. } if said.contains("owned by a different user") => {
                "start osbs with the group that the user database has for you, not inside of newgrp or sg".to_owned()
            }
            Self::Mapping { program, .. } => format!(
                "look at {program}: it must be set-uid root, and {} must give out ids that are free (as root: apt-get \
                 install --reinstall uidmap)",
                if *program == "newuidmap" { "/etc/subuid" } else { "/etc/subgid" }
            ),
            Self::Overlay { source, .. } if source.raw_os_error() == Some(libc::ENODEV) => {
                "as root: modprobe overlay".to_owned()
            }
            Self::Overlay { .. } => "use Linux 5.11 or newer, or build as root".to_owned(),
            Self::Mount(_) | Self::Process(_) => return None,
        })
    }

    /// Names the switch that is most likely off.
    pub(super) fn forbidden(source: io::Error) -> Self {
        let (reason, remedy) = why_forbidden(source.raw_os_error(), &|name| {
            let text = fs::read_to_string(format!("/proc/sys/{name}")).ok()?;
            text.trim().parse().ok()
        });
        Self::Forbidden { reason: reason.to_owned(), remedy: remedy.to_owned(), source }
    }
}

/// `setting` reads a number of `/proc/sys`.
fn why_forbidden(errno: Option<i32>, setting: &dyn Fn(&str) -> Option<u64>) -> (&'static str, &'static str) {
    if matches!(errno, Some(libc::ENOSPC | libc::EUSERS)) {
        if setting("user/max_user_namespaces") == Some(0) {
            return ("user.max_user_namespaces is 0", "as root: sysctl -w user.max_user_namespaces=28633");
        }
        return (
            "there are too many of them, or too deep in one another",
            "end what holds them (lsns --type user), or as root: sysctl -w user.max_user_namespaces=28633",
        );
    }
    if matches!(errno, Some(libc::ENOSYS | libc::EINVAL)) {
        return ("this kernel was built without them", "use a kernel with CONFIG_USER_NS=y, or build as root");
    }
    if setting("kernel/unprivileged_userns_clone") == Some(0) {
        return ("kernel.unprivileged_userns_clone is 0", "as root: sysctl -w kernel.unprivileged_userns_clone=1");
    }
    if setting("kernel/apparmor_restrict_unprivileged_userns").is_some_and(|value| value > 0) {
        return (
            "AppArmor restricts them (kernel.apparmor_restrict_unprivileged_userns)",
            "as root: write an AppArmor profile with \"userns,\" for osbs, or sysctl -w \
             kernel.apparmor_restrict_unprivileged_userns=0",
        );
    }
    (
        "osbs runs in a chroot, or under a seccomp filter or security module that refuses them",
        "start osbs outside of it (docker: --security-opt seccomp=unconfined), or build as root",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_switch_is_named() {
        let check = |errno: i32, settings: &[(&str, u64)], word: &str| {
            let setting = |name: &str| settings.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
            let (reason, remedy) = why_forbidden(Some(errno), &setting);
            assert!(reason.contains(word), "{reason}");
            assert!(remedy.contains("as root"), "{remedy}");
        };
        check(libc::ENOSPC, &[("user/max_user_namespaces", 0)], "user.max_user_namespaces is 0");
        check(libc::ENOSPC, &[("user/max_user_namespaces", 100)], "too many");
        check(libc::EUSERS, &[], "too many");
        check(libc::EINVAL, &[], "without them");
        check(libc::EPERM, &[("kernel/unprivileged_userns_clone", 0)], "unprivileged_userns_clone");
        check(libc::EPERM, &[("kernel/apparmor_restrict_unprivileged_userns", 1)], "AppArmor");
        check(libc::EACCES, &[("kernel/apparmor_restrict_unprivileged_userns", 1)], "AppArmor");
        check(libc::EPERM, &[("kernel/unprivileged_userns_clone", 1)], "chroot");
    }
}
