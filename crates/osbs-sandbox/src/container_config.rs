//! `config.json` of the OCI runtime specification 1.0.2, for a RUN instruction.
//!
//! What is in a container and what it may do follows Docker's defaults, because Dockerfiles are written for those. No
//! rlimits: raising one needs CAP_SYS_RESOURCE, which a build machine need not have.

use crate::container::{BindMount, Network, RunSpec};
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
const MASKED: [&str; 11] = [
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
    "/sys/firmware",
];

/// Readable inside.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// [`CAPABILITIES`], to begin with.
pub fn default_capabilities() -> Vec<String> {
    CAPABILITIES.map(str::to_owned).to_vec()
}

/// The whole document. `binds` are the bind mounts with their real names inside, `cgroup` the container's own path.
pub(crate) fn config(spec: &RunSpec<'_>, binds: &[BindMount], cgroup: &str) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "root": {"path": spec.root, "readonly": false},
        "hostname": spec.hostname,
        "process": process(spec),
        "mounts": mounts(spec, binds),
        "linux": {
            "namespaces": namespaces(spec.network),
            "cgroupsPath": cgroup,
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY,
            // The runtime then allows null, zero, full, random, urandom, tty, pts and making any node.
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
        },
    })
}

fn process(spec: &RunSpec<'_>) -> Value {
    let capabilities = &spec.capabilities;
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
        "noNewPrivileges": false,
    })
}

fn namespaces(network: Network) -> Value {
    let mut kinds = vec!["pid", "ipc", "uts", "mount"];
    if network == Network::None {
        kinds.push("network");
    }
    kinds.into_iter().map(|kind| json!({"type": kind})).collect()
}

fn mounts(spec: &RunSpec<'_>, binds: &[BindMount]) -> Vec<Value> {
    let pts: &[&str] = &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
    let mut mounts = vec![
        mount("proc", "/proc", &["nosuid", "noexec", "nodev"]),
        mount("tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("devpts", "/dev/pts", pts),
        mount("tmpfs", "/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"]),
        mount("sysfs", "/sys", &["nosuid", "noexec", "nodev", "ro"]),
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
    use std::path::Path;

    #[test]
    fn nothing_of_the_machine_by_default() {
        let spec = RunSpec::new(Path::new("/r"), Path::new("/b"), vec!["/bin/true".into()]);
        let config = config(&spec, &[], "/osbs/x");
        assert_eq!(config["process"]["env"], json!([]));
        assert!(config["process"].get("rlimits").is_none());
        assert!(config["mounts"].as_array().unwrap().iter().all(|mount| mount["type"] != "bind"));
        assert_eq!(config["linux"]["cgroupsPath"], "/osbs/x");
        assert!(!config.to_string().contains("CAP_SYS_ADMIN"));
    }

    #[test]
    fn users_and_networks() {
        let mut spec = RunSpec::new(Path::new("/r"), Path::new("/b"), vec![]);
        spec.user.uid = 1000;
        spec.network = Network::None;
        let config = config(&spec, &[], "/x");
        assert_eq!(config["process"]["capabilities"]["effective"], json!([]));
        assert!(config["linux"]["namespaces"].as_array().unwrap().contains(&json!({"type": "network"})));
    }
}
