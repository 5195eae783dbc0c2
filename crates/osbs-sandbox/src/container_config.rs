//! `config.json` of the OCI runtime specification 1.0.2, for a RUN instruction.
//!
//! What is in a container and what it may do follows Docker's defaults, because Dockerfiles are written for those. No
//! rlimits: raising one needs CAP_SYS_RESOURCE, which a build machine need not have.

use crate::id_map::{COUNT, FIRST};
use crate::run_group::RunGroup;
use crate::run_spec::{BindMount, Network, RunSpec, Security};
use crate::{place, seccomp};
use serde_json::{Value, json};

/// The capabilities Docker gives a container.
const CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Unreadable inside: they tell about, or reach, the machine.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// The processors' folders; each may have one that tells how hot it is, which tells what others compute.
const PROCESSORS: &str = "/sys/devices/system/cpu";

/// Readable inside.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// [`CAPABILITIES`], to begin with.
pub fn default_capabilities() -> Vec<String> {
    CAPABILITIES.map(str::to_owned).to_vec()
}

/// Every capability this process could give, for a container that is to have all.
fn all_capabilities() -> Vec<String> {
    let set = rustix::thread::capabilities(None).map_or(0, |sets| sets.permitted.bits());
    let known = CAPABILITY_NAMES.iter().enumerate();
    known.filter(|(bit, _)| set >> bit & 1 == 1).map(|(_, name)| format!("CAP_{name}")).collect()
}

/// By number, linux/capability.h.
const CAPABILITY_NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The whole document. `binds` are the bind mounts with their real names inside.
pub(crate) fn config(spec: &RunSpec<'_>, binds: &[BindMount], group: &RunGroup) -> Value {
    let mut linux = json!({
        "namespaces": namespaces(spec),
        "cgroupsPath": group.container(),
        "resources": group.resources(),
    });
    match spec.security {
        Security::Sandbox => {
            linux["maskedPaths"] = masked().into();
            linux["readonlyPaths"] = READ_ONLY.as_slice().into();
            linux["seccomp"] = seccomp::filter(&spec.capabilities);
            // The runtime then allows null, zero, full, random, urandom, tty, pts and making any node.
            linux["resources"]["devices"] = json!([{"allow": false, "access": "rwm"}]);
        }
        Security::Insecure => linux["resources"]["devices"] = json!([{"allow": true, "access": "rwm"}]),
    }
    let mut root = spec.root.to_owned();
    if spec.id_map.is_some() {
        let ids = json!([{"containerID": 0, "hostID": FIRST, "size": COUNT}]);
        linux["uidMappings"] = ids.clone();
        linux["gidMappings"] = ids;
        root = place::root();
    }
    json!({
        "ociVersion": "1.0.2",
        "root": {"path": root, "readonly": false},
        "hostname": spec.hostname,
        "process": process(spec),
        "mounts": mounts(spec, binds),
        "linux": linux,
    })
}

fn masked() -> Vec<String> {
    let names = std::fs::read_dir(PROCESSORS).into_iter().flatten().flatten().map(|entry| entry.path());
    let hot = names.map(|path| path.join("thermal_throttle")).filter(|path| path.is_dir());
    let hot = hot.map(|path| path.to_string_lossy().into_owned());
    MASKED.iter().map(|path| (*path).to_owned()).chain(hot).collect()
}

fn process(spec: &RunSpec<'_>) -> Value {
    let capabilities = match spec.security {
        Security::Sandbox => spec.capabilities.clone(),
        Security::Insecure => all_capabilities(),
    };
    json!({
        "terminal": false,
        "user": {
            "uid": spec.user.uid,
            "gid": spec.user.gid,
            "additionalGids": spec.user.additional_gids,
            "umask": 0o022,
        },
        "args": spec.args,
        "env": spec.env,
        "cwd": spec.cwd,
        // As Docker: a user other than root has them only through set-id programs.
        "capabilities": {
            "bounding": capabilities,
            "effective": if spec.user.uid == 0 { capabilities.as_slice() } else { &[] },
            "permitted": if spec.user.uid == 0 { capabilities.as_slice() } else { &[] },
        },
        "noNewPrivileges": spec.no_new_privileges,
    })
}

fn namespaces(spec: &RunSpec<'_>) -> Value {
    let mut kinds = vec!["pid", "ipc", "uts", "mount"];
    if spec.network == Network::None {
        kinds.push("network");
    }
    if spec.id_map.is_some() {
        kinds.push("user");
    }
    kinds.into_iter().map(|kind| json!({"type": kind})).collect()
}

fn mounts(spec: &RunSpec<'_>, binds: &[BindMount]) -> Vec<Value> {
    let pts: &[&str] = &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
    let access = if spec.security == Security::Insecure { "rw" } else { "ro" };
    let sys = if place::binds_sys(spec) {
        let options = ["bind", "rprivate", "nosuid", "noexec", "nodev", access];
        json!({"destination": "/sys", "type": "bind", "source": place::sys(), "options": options})
    } else {
        mount("sysfs", "/sys", &["nosuid", "noexec", "nodev", access])
    };
    let mut mounts = vec![
        mount("proc", "/proc", &["nosuid", "noexec", "nodev"]),
        mount("tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("devpts", "/dev/pts", pts),
        mount("tmpfs", "/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"]),
        sys,
    ];
    for tmpfs in &spec.tmpfs {
        let mut options = vec!["nosuid".to_owned(), "nodev".to_owned(), format!("mode={:o}", tmpfs.mode)];
        options.extend(tmpfs.size.map(|size| format!("size={size}")));
        mounts.push(json!({"destination": tmpfs.target, "type": "tmpfs", "source": "tmpfs", "options": options}));
    }
    for bind in binds {
        let access = if bind.readonly { "ro" } else { "rw" };
        let options = ["rbind", "rprivate", "nosuid", "nodev", access];
        mounts.push(json!({"destination": bind.target, "type": "bind", "source": bind.source, "options": options}));
    }
    mounts
}

fn mount(kind: &str, target: &str, options: &[&str]) -> Value {
    json!({"destination": target, "type": kind, "source": kind, "options": options})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ContainerLimits;
    use std::path::Path;

    fn made(spec: &RunSpec<'_>) -> Value {
        config(spec, &[], &RunGroup::make("/osbs/x", ContainerLimits::default()).expect("no limits"))
    }

    #[test]
    fn nothing_of_the_machine_by_default() {
        let spec = RunSpec::new(Path::new("/r"), Path::new("/b"), vec!["/bin/true".into()]);
        let config = made(&spec);
        assert_eq!(config["process"]["env"], json!([]));
        assert!(config["process"].get("rlimits").is_none());
        assert!(config["mounts"].as_array().unwrap().iter().all(|mount| mount["type"] != "bind"));
        assert_eq!(config["linux"]["cgroupsPath"], "/osbs/x");
        assert!(!config["process"].to_string().contains("CAP_SYS_ADMIN"));
        assert_eq!(config["linux"]["seccomp"]["defaultAction"], "SCMP_ACT_ERRNO");
    }

    #[test]
    fn users_and_networks() {
        let mut spec = RunSpec::new(Path::new("/r"), Path::new("/b"), vec![]);
        spec.user.uid = 1000;
        spec.network = Network::None;
        let config = made(&spec);
        assert_eq!(config["process"]["capabilities"]["effective"], json!([]));
        assert!(config["linux"]["namespaces"].as_array().unwrap().contains(&json!({"type": "network"})));
    }

    #[test]
    fn an_insecure_one_has_no_walls() {
        let mut spec = RunSpec::new(Path::new("/r"), Path::new("/b"), vec![]);
        spec.security = Security::Insecure;
        let config = made(&spec);
        for wall in ["seccomp", "maskedPaths", "readonlyPaths"] {
            assert!(config["linux"].get(wall).is_none(), "{wall}");
        }
    }
}
