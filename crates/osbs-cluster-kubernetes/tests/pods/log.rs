//! Logs: long ones, cut connections, servers that are away.

use crate::cutter::{Cutter, over};
use crate::reading::{check_whole, events, finished, number_of, running, told, within};
use crate::world::{World, options};
use futures_util::{StreamExt, TryStreamExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use osbs_cluster::Cluster;
use osbs_types::{BuildName, BuildState};
use std::time::{Duration, Instant};

async fn config(world: &World) -> kube::Config {
    let kubeconfig = Kubeconfig::read_from(world.server.fact("kubeconfig")).unwrap();
    kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap()
}

/// Nothing but the archive is left.
pub fn a_pod_deleted_right_after_its_end(world: &World) {
    const LINES: u64 = 20_000;
    let namespace = world.namespace();
    let cluster = world.cluster(&namespace);
    world.runtime.block_on(async {
        let name = cluster.create_build(told("a", &format!("flood {LINES}"))).await.unwrap().name;
        let build = finished(&cluster, &name).await;
        assert_eq!(build.state, BuildState::Complete, "{:?}", build.reason);
        tokio::task::block_in_place(|| {
            let of_it = ["--namespace", &namespace, "delete", "pod", "--selector=osbs/build=a"];
            world.server.kubectl(&[&of_it[..], &["--grace-period=0", "--force"]].concat());
        });
        let all = events(&cluster, &name).await;
        check_whole(&all, LINES, BuildState::Complete);
        // From anywhere in it, the rest.
        let from = &all[all.len() / 2];
        let stream = cluster.events(&name, from.offset, true).await.unwrap();
        let rest: Vec<_> = within("the rest", stream.try_collect()).await.unwrap();
        assert_eq!(rest, all[all.len() / 2 + 1..]);

        // Children of dead parents are the runner's.
        let name = cluster.create_build(told("b", "orphans 50")).await.unwrap().name;
        assert_eq!(finished(&cluster, &name).await.state, BuildState::Complete);
    });
}

/// The API server is killed, stands still, etcd stands still for half a minute, the kubelet is restarted and then stopped,
/// while a build logs and ends.
pub fn servers_that_come_and_go(world: &World) {
    const LINES: u64 = 1200;
    let namespace = world.namespace();
    let cluster = world.cluster(&namespace);
    world.runtime.block_on(async {
        let name = cluster.create_build(told("a", &format!("slowly {LINES}"))).await.unwrap().name;
        running(&cluster, &name).await;
        let begun = Instant::now();
        let following = async {
            let mut stream = cluster.events(&name, 0, true).await.unwrap();
            let mut seen = Vec::new();
            while let Some(event) = within("the next event", stream.next()).await {
                seen.push(event.unwrap());
            }
            seen
        };
        let trouble = async {
            let act = |component: &'static str, action: &'static str| {
                tokio::task::block_in_place(|| drop(world.server.component(component, action)));
            };
            let pause = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
            pause(2).await;
            act("apiserver", "kill");
            act("apiserver", "start");
            // A server that misses etcd while it starts gives up: the two are not in trouble at the same time.
            let is_ready = || world.server.try_kubectl(&["get", "--raw=/readyz"]).status.success();
            let begun_again = Instant::now();
            while !tokio::task::block_in_place(is_ready) {
                assert!(begun_again.elapsed() < Duration::from_mins(2), "the API server does not start");
                pause(1).await;
            }
            act("kubelet", "restart");
            pause(2).await;
            act("etcd", "pause");
            pause(30).await;
            act("etcd", "resume");
            pause(2).await;
            act("apiserver", "pause");
            pause(5).await;
            act("apiserver", "resume");
            act("kubelet", "stop");
            println!("  all servers came and went within {:.1} s of the build", begun.elapsed().as_secs_f32());
        };
        let (seen, ()) = futures_util::future::join(following, trouble).await;
        tokio::task::block_in_place(|| world.server.component("kubelet", "start"));
        check_whole(&seen, LINES, BuildState::Complete);
        assert_eq!(finished(&cluster, &name).await.state, BuildState::Complete);
        assert_eq!(events(&cluster, &name).await, seen);
    });
}

/// What a process of a pod has of memory, in KiB: all that is resident, and what is its own.
#[derive(Debug, Default, Clone, Copy)]
struct Resident {
    all: u64,
    own: u64,
}

fn resident(pid: u32) -> Resident {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Resident { all: field("VmRSS:").unwrap_or(0), own: field("RssAnon:").unwrap_or(0) }
}

/// The runner of that build, as this machine sees it.
pub fn runner_of(build: &BuildName) -> Option<u32> {
    let command = format!("/program\0run-pod\0{build}\0");
    std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        (std::fs::read(entry.path().join("cmdline")).ok()? == command.as_bytes()).then_some(pid)
    })
}

/// A million lines, as fast as a program can write them; the kubelet rotates; every connection is cut after some seconds.
pub fn a_million_lines(world: &World) {
    let lines: u64 = std::env::var("OSBS_TEST_LINES").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let namespace = world.namespace();
    world.runtime.block_on(async {
        let config = config(world).await;
        let authority = config.cluster_url.authority().unwrap().to_string();
        let cutter = Cutter::start(authority, Duration::from_secs(3)).await;
        let cluster = over(&cutter, &config, &namespace, options());
        let name: BuildName = "many".parse().unwrap();
        let begun = Instant::now();
        cluster.create_build(told("many", &format!("flood {lines}"))).await.unwrap();
        let watched = name.clone();
        let (end, mut ended) = tokio::sync::oneshot::channel::<()>();
        let memory = tokio::task::spawn_blocking(move || {
            let mut most = Resident::default();
            while ended.try_recv() == Err(tokio::sync::oneshot::error::TryRecvError::Empty) {
                if let Some(now) = runner_of(&watched).map(resident) {
                    most = Resident { all: most.all.max(now.all), own: most.own.max(now.own) };
                }
                std::thread::sleep(Duration::from_millis(200));
            }
            most
        });
        let mut stream = cluster.events(&name, 0, true).await.unwrap();
        let (mut next, mut bytes, mut first) = (1, 0, None);
        while let Some(stored) = within("the next event", stream.next()).await {
            let stored = stored.unwrap();
            assert!(stored.offset > bytes, "offsets grow");
            bytes = stored.offset;
            if let Some(number) = number_of(&stored) {
                assert_eq!(number, next);
                next += 1;
                first = first.or_else(|| Some(begun.elapsed()));
            }
        }
        assert_eq!(next - 1, lines);
        let followed = begun.elapsed();
        let build = finished(&cluster, &name).await;
        assert_eq!(build.state, BuildState::Complete, "{:?}", build.reason);
        drop(end);
        let memory = memory.await.unwrap();
        let took = build.finished.unwrap().duration_since(build.started.unwrap());
        println!(
            "  {lines} lines, {} MB: the build took {:.1} s, followed within {:.1} s (first line after {:.1} s), {} connections cut",
            bytes / 1_000_000,
            took.as_secs_f32(),
            followed.as_secs_f32(),
            first.unwrap_or_default().as_secs_f32(),
            cutter.count(),
        );
        println!("  the runner: {} KiB resident at most, {} KiB of it its own", memory.all, memory.own);
        assert!(memory.own < 10 << 10, "the runner's memory is to stay below 10 MB");
        assert!(cutter.count() > 2 || lines < 500_000, "connections were cut");
        let requests = world.requests(&namespace);
        println!("  requests: {requests:?}");
    });
}
