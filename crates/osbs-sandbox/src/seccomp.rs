//! The system call filter of a container: the `linux.seccomp` part of the OCI runtime specification.
//!
//! What is let through is what Docker's documentation of its default profile says, for Dockerfiles are written for that:
//! everything but calls that reach the kernel as a whole, that have been holes again and again, or that need a
//! capability the container has not. Must not know which capabilities those are: it is told.

use serde_json::{Value, json};

/// Calls without a condition, of all architectures; a runtime leaves out those that its libseccomp does not know.
const ALLOWED: &str = include_str!("seccomp_allowed.txt");

/// Calls that are let through for who has the capability.
const BY_CAPABILITY: [(&str, &[&str]); 14] = [
    (
        "CAP_SYS_ADMIN",
        &[
            "bpf",
            "clone",
            "clone3",
            "fanotify_init",
            "fsconfig",
            "fsmount",
            "fsopen",
            "fspick",
            "lookup_dcookie",
            "mount",
            "mount_setattr",
            "move_mount",
            "open_tree",
            "perf_event_open",
            "quotactl",
            "quotactl_fd",
            "setdomainname",
            "sethostname",
            "setns",
            "syslog",
            "umount",
            "umount2",
            "unshare",
        ],
    ),
    ("CAP_BPF", &["bpf"]),
    ("CAP_DAC_READ_SEARCH", &["open_by_handle_at"]),
    ("CAP_PERFMON", &["perf_event_open"]),
    ("CAP_SYSLOG", &["syslog"]),
    ("CAP_SYS_BOOT", &["reboot"]),
    ("CAP_SYS_CHROOT", &["chroot"]),
    ("CAP_SYS_MODULE", &["delete_module", "finit_module", "init_module"]),
    ("CAP_SYS_NICE", &["get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"]),
    ("CAP_SYS_PACCT", &["acct"]),
    ("CAP_SYS_PTRACE", &["kcmp", "pidfd_getfd", "process_madvise"]),
    ("CAP_SYS_RAWIO", &["ioperm", "iopl"]),
    ("CAP_SYS_TIME", &["clock_settime", "clock_settime64", "settimeofday", "stime"]),
    ("CAP_SYS_TTY_CONFIG", &["vhangup"]),
];

/// CLONE_NEWNS, CGROUP, UTS, IPC, USER, PID and NET: any of them in the flags of clone(2) makes a namespace.
const NAMESPACE_FLAGS: u64 = 0x7E02_0000;

/// personality(2): PER_LINUX, PER_LINUX32, both with UNAME26, and the question what it is.
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Address families of socket(2) that are refused: the kernel's cryptography, and the host of a virtual machine.
const AF_ALG: u64 = 38;
const AF_VSOCK: u64 = 40;

/// The filter for a container with these capabilities.
///
/// The architectures are those whose system calls this machine's kernel takes. A program of another architecture runs
/// in QEMU's user mode, which is a program of this machine's.
pub(crate) fn filter(capabilities: &[String]) -> Value {
    let has = |name: &str| capabilities.iter().any(|capability| capability == name);
    let mut rules = vec![allow(&ALLOWED.split_whitespace().collect::<Vec<_>>())];
    rules.extend(BY_CAPABILITY.iter().filter(|(name, _)| has(name)).map(|(_, calls)| allow(calls)));
    rules.extend(PERSONALITIES.map(|value| allow_if("personality", json!([argument(0, "EQ", value)]))));
    rules.push(allow_if("socket", json!([argument(0, "LT", AF_ALG)])));
    rules.push(allow_if("socket", json!([argument(0, "EQ", AF_ALG + 1)])));
    rules.push(allow_if("socket", json!([argument(0, "GT", AF_VSOCK)])));
    if !has("CAP_SYS_ADMIN") {
        // On s390 the stack comes before the flags.
        let flags = u32::from(cfg!(target_arch = "s390x"));
        let no_namespace = json!({"index": flags, "value": NAMESPACE_FLAGS, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"});
        rules.push(allow_if("clone", json!([no_namespace])));
        // Its flags lie in memory, where no filter can look. Said not to be there, libraries take clone.
        rules.push(json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOSYS}));
    }
    json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": architectures(), "syscalls": rules})
}

fn allow(calls: &[&str]) -> Value {
    json!({"names": calls, "action": "SCMP_ACT_ALLOW"})
}

fn allow_if(call: &str, conditions: Value) -> Value {
    json!({"names": [call], "action": "SCMP_ACT_ALLOW", "args": conditions})
}

fn argument(index: u32, operator: &str, value: u64) -> Value {
    json!({"index": index, "value": value, "op": format!("SCMP_CMP_{operator}")})
}

fn architectures() -> &'static [&'static str] {
    match std::env::consts::ARCH {
        "x86_64" => &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "aarch64" => &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        "powerpc64" => &["SCMP_ARCH_PPC64LE"],
        "s390x" => &["SCMP_ARCH_S390X", "SCMP_ARCH_S390"],
        "riscv64" => &["SCMP_ARCH_RISCV64"],
        // The runtime takes the machine's own.
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::default_capabilities;

    fn allowed(filter: &Value, call: &str) -> bool {
        let rules = filter["syscalls"].as_array().expect("rules");
        let names = |rule: &Value| rule["names"].as_array().is_some_and(|names| names.iter().any(|name| name == call));
        rules.iter().any(|rule| rule["action"] == "SCMP_ACT_ALLOW" && rule.get("args").is_none() && names(rule))
    }

    #[test]
    fn what_a_container_may_call() {
        let usual = filter(&default_capabilities());
        for call in ["read", "openat2", "fchmodat2", "chroot", "mknod", "setxattr", "ptrace", "statx", "mseal"] {
            assert!(allowed(&usual, call), "{call}");
        }
        for call in [
            "keyctl",
            "add_key",
            "request_key",
            "mount",
            "umount2",
            "bpf",
            "unshare",
            "setns",
            "kexec_load",
            "clone",
            "kexec_file_load",
            "init_module",
            "open_by_handle_at",
            "perf_event_open",
            "userfaultfd",
            "reboot",
            "io_uring_setup",
            "pivot_root",
            "swapon",
            "socket",
            "socketcall",
            "personality",
            "syslog",
            "settimeofday",
        ] {
            assert!(!allowed(&usual, call), "{call}");
        }
        let more = filter(&["CAP_SYS_ADMIN".to_owned()]);
        assert!(allowed(&more, "mount") && allowed(&more, "clone3") && !allowed(&more, "chroot"));
    }

    #[test]
    fn the_list_is_in_order() {
        let names: Vec<&str> = ALLOWED.split_whitespace().collect();
        assert!(names.is_sorted(), "sorted by name, so that a change is seen");
        assert!(names.len() > 350);
    }
}
