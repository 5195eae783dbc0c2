//! The Kubernetes that other tests start is a real one, and goes without a trace: a Job runs and its log is read, a pod
//! reaches the API server with its service account, nothing is left on the machine.
//!
//! Needs: what scripts/kubernetes.sh needs. `OSBS_TEST_SKIP_REAL=1` skips.
#![allow(clippy::print_stdout, reason = "a test, which tells how long what takes")]

#[path = "world/kubernetes.rs"]
mod kubernetes;

use kubernetes::{KubernetesServer, can_run_kubernetes};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a cluster may change on the machine, in lines.
fn traces(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("read").flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(folder) {
            found.push(format!("process {}: {line}", entry.file_name().display()));
        }
    }
    let mounts = fs::read_to_string("/proc/self/mounts").expect("read");
    found.extend(mounts.lines().filter(|line| line.contains(folder)).map(|line| format!("mount {line}")));
    for place in ["/var/lib/kubelet", "/var/lib/cni", "/var/log/pods", "/var/log/containers"] {
        if Path::new(place).exists() {
            found.push(format!("folder {place}"));
        }
    }
    for name in ["vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward"] {
        let value = fs::read_to_string(Path::new("/proc/sys").join(name)).unwrap_or_default();
        found.push(format!("setting {name} {}", value.trim()));
    }
    let commands = "ip -o link | grep -oE '(osbs-k8s|veth)[^:@]*' || true; ls /run/netns 2>/dev/null || true; \
                    find /sys/fs/cgroup -type d -name '*osbs-kubernetes*'; iptables-save 2>/dev/null | grep '^-' || true";
    let told = Command::new("sh").args(["-c", commands]).stdin(Stdio::null()).output().expect("sh starts");
    found.extend(String::from_utf8_lossy(&told.stdout).lines().map(str::to_owned));
    found
}

fn job(kubectl: &str, image: &str) -> String {
    let programs = Path::new(kubectl).parent().expect("in a folder").display();
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: speaks}}\nspec:\n  backoffLimit: 0\n  template:\n    spec:\n\
         \x20     restartPolicy: Never\n      containers:\n      - name: speaks\n        image: {image}\n\
         \x20       command: [sh, -c, 'echo said by a Job; exec /programs/kubectl auth can-i create pods']\n\
         \x20       volumeMounts: [{{name: programs, mountPath: /programs}}]\n\
         \x20     volumes: [{{name: programs, hostPath: {{path: {programs}}}}}]\n"
    )
}

/// One that another program of tests has left ends in the background, and puts the settings back that it has changed.
fn wait_for_the_end_of_others() {
    let shared = Path::new("/run/lock/osbs-kubernetes-shared");
    let end = Instant::now() + Duration::from_mins(2);
    while fs::metadata(shared).is_ok_and(|metadata| metadata.len() > 0) && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_job_runs_and_nothing_is_left() {
    if !can_run_kubernetes() {
        return;
    }
    wait_for_the_end_of_others();
    let (begun, before) = (Instant::now(), traces("/tmp/osbs-k8s-"));
    let server = KubernetesServer::start();
    let folder = server.folder().display().to_string();
    println!("ready: {:.1} s", begun.elapsed().as_secs_f32());
    assert!(traces(&folder).len() > before.len(), "the traces are looked for in the right places");

    // Its account may do what it asks for only after it was allowed to: the API server knows who asks.
    server.kubectl(&["create", "rolebinding", "asks", "--clusterrole=edit", "--serviceaccount=default:default"]);
    server.apply(&job(server.fact("kubectl"), server.fact("busybox_image")));
    server.kubectl(&["wait", "--for=condition=complete", "--timeout=120s", "job/speaks"]);
    let log = server.kubectl(&["logs", "job/speaks"]);
    assert_eq!(log, "said by a Job\nyes\n", "a pod reaches the API server and verifies it");
    println!("the Job's log: {:.1} s", begun.elapsed().as_secs_f32());

    // One API server stopped, the other goes on.
    server.component("apiserver", "kill");
    let second = ["--kubeconfig", server.fact("kubeconfig2"), "get", "node", "--output=name"];
    assert!(!server.try_kubectl(&["get", "node", "--request-timeout=5s"]).status.success());
    assert_eq!(server.kubectl(&second), format!("node/{}\n", server.fact("node")));
    println!("the second API server: {:.1} s", begun.elapsed().as_secs_f32());

    let said = server.stop();
    // The kernel takes network devices of namespaces away in the background.
    let left = || traces(&folder).into_iter().filter(|trace| !before.contains(trace)).collect::<Vec<_>>();
    let end = Instant::now() + Duration::from_mins(1);
    while !left().is_empty() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(left(), Vec::<String>::new(), "{said}");
    println!("gone: {:.1} s", begun.elapsed().as_secs_f32());
}
