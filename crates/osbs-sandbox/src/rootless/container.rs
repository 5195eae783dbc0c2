//! What a container may not ask for where this process is root of a user namespace only.

use serde_json::{Value, json};

/// As the machine's: a fresh one belongs to the machine's network namespace. Masked is what a fresh one does not show.
const SYS: &str = "/sys";
const NOT_IN_A_FRESH_SYS: [&str; 2] = ["/sys/fs/cgroup", "/sys/kernel/debug"];

/// Takes from a `config.json` what is refused: cgroups, and with them limits and the rules for devices (which nobody could
/// make), and a /sys of its own.
pub(crate) fn without_privileges(config: &mut Value) {
    let linux = &mut config["linux"];
    if let Some(linux) = linux.as_object_mut() {
        linux.remove("cgroupsPath");
        linux.remove("resources");
    }
    if let Some(masked) = linux["maskedPaths"].as_array_mut() {
        masked.extend(NOT_IN_A_FRESH_SYS.map(Value::from));
    }
    for mount in config["mounts"].as_array_mut().into_iter().flatten().filter(|mount| mount["type"] == "sysfs") {
        // Recursive, for the mounts in it are locked to it; so each keeps its own flags.
        let options = ["rbind", "rprivate", "nosuid", "noexec", "nodev", "ro"];
        *mount = json!({"destination": SYS, "type": "bind", "source": SYS, "options": options});
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_only_root_can_give() {
        let mut config = json!({
            "mounts": [{"destination": "/proc", "type": "proc"}, {"destination": "/sys", "type": "sysfs"}],
            "linux": {"cgroupsPath": "/x", "resources": {}, "maskedPaths": ["/proc/kcore"], "namespaces": []},
        });
        without_privileges(&mut config);
        assert_eq!(config["mounts"][0]["type"], "proc");
        assert_eq!(config["mounts"][1]["source"], "/sys");
        let masked = ["/proc/kcore", "/sys/fs/cgroup", "/sys/kernel/debug"];
        assert_eq!(config["linux"], json!({"maskedPaths": masked, "namespaces": []}));
    }
}
