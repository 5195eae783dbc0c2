//! What each command of a kickstart file means where no machine is installed but a root file system is made.

/// The meaning of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Names a repository.
    Repository,
    /// About disks, boot loaders, networks, the installer: an image has none.
    Nothing,
    /// Would change the file system; scripts do that here.
    Missed,
    /// What comes out would be something else than what was asked for.
    Refused(&'static str),
}

const NOTHING: &[&str] = &[
    "autopart",
    "autostep",
    "bootloader",
    "btrfs",
    "clearpart",
    "cmdline",
    "device",
    "deviceprobe",
    "displaymode",
    "dmraid",
    "driverdisk",
    "eula",
    "fcoe",
    "firstboot",
    "graphical",
    "halt",
    "ignoredisk",
    "install",
    "interactive",
    "iscsi",
    "iscsiname",
    "keyboard",
    "logging",
    "logvol",
    "mediacheck",
    "monitor",
    "mount",
    "multipath",
    "network",
    "nvdimm",
    "part",
    "partition",
    "poweroff",
    "raid",
    "rdp",
    "reboot",
    "reqpart",
    "rescue",
    "shutdown",
    "skipx",
    "snapshot",
    "sshpw",
    "text",
    "timesource",
    "unsupported_hardware",
    "updates",
    "upgrade",
    "vnc",
    "volgroup",
    "xconfig",
    "zerombr",
    "zfcp",
    "zipl",
];

const MISSED: &[&str] = &[
    "auth",
    "authconfig",
    "authselect",
    "firewall",
    "group",
    "lang",
    "realm",
    "rhsm",
    "rootpw",
    "selinux",
    "services",
    "sshkey",
    "syspurpose",
    "timezone",
    "user",
];

const SOURCES: &[&str] = &["bootc", "cdrom", "harddrive", "hmc", "liveimg", "nfs", "ostreecontainer", "ostreesetup"];

/// `None`: no command of any version of kickstart.
pub(super) fn meaning(command: &str) -> Option<Meaning> {
    match command {
        "repo" | "url" => Some(Meaning::Repository),
        "module" => Some(Meaning::Refused("write @NAME:STREAM into %packages")),
        _ if NOTHING.contains(&command) => Some(Meaning::Nothing),
        _ if MISSED.contains(&command) => Some(Meaning::Missed),
        _ if SOURCES.contains(&command) => {
            Some(Meaning::Refused("packages come from repositories: name them with repo or url"))
        }
        _ => None,
    }
}
