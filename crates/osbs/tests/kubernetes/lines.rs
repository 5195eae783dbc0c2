//! Many lines through worker and orchestrator pods, while every connection between them is cut after some seconds.

use crate::kubernetes_site::KubernetesSite;
use crate::memory::MemoryWatch;
use crate::world::{self, done};
use crate::{MIB, name_of};
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long a connection lives.
const CUT_AFTER: Duration = Duration::from_secs(3);

/// A way to a server on which every connection is cut after a while. It ends with the program.
struct Cutter {
    /// Its `https` URL: on the server's own address, for which its certificate is.
    url: String,
    cut: Arc<AtomicUsize>,
}

impl Cutter {
    fn before(url: &str) -> Self {
        let server = url.trim_start_matches("https://").trim_end_matches('/').to_owned();
        let host = server.rsplit_once(':').expect("a port").0;
        let listener = TcpListener::bind((host, 0)).expect("a free port");
        let url = format!("https://{}", listener.local_addr().expect("bound"));
        let cut = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&cut);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(&server) else { continue };
                relay(near, far, Arc::clone(&counted));
            }
        });
        Self { url, cut }
    }

    fn count(&self) -> usize {
        self.cut.load(Ordering::SeqCst)
    }
}

fn relay(near: TcpStream, far: TcpStream, cut: Arc<AtomicUsize>) {
    let both = [(&near, &far), (&far, &near)].map(|(from, to)| {
        let (mut from, mut to) = (from.try_clone().expect("a handle"), to.try_clone().expect("a handle"));
        std::thread::spawn(move || {
            // An end that is cut off is what is wanted here.
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        })
    });
    std::thread::spawn(move || {
        std::thread::sleep(CUT_AFTER);
        if both.iter().any(|thread| !thread.is_finished()) {
            cut.fetch_add(1, Ordering::SeqCst);
        }
        for stream in [near, far] {
            let _ = stream.shutdown(Shutdown::Both);
        }
    });
}

/// Rows of a platform in a log, which must come once each and in order.
#[track_caller]
fn check_rows(log: &str, platform: &str, count: usize, whose: &str) {
    let mut seen = 0;
    for line in log.lines().filter(|line| world::lines::platform(line.as_bytes()) == Some(platform.as_bytes())) {
        let Some((_, number)) = line.rsplit_once(" - row ") else { continue };
        seen += 1;
        assert_eq!(number.parse(), Ok(seen), "rows of {platform} come in order in {whose}");
    }
    assert_eq!(seen, count, "rows of {platform} in {whose}");
}

/// Few here, a million by `OSBS_TEST_LINES=1000000`, divided between two platforms.
pub fn no_line_is_lost_between_pods(site: &KubernetesSite) {
    let lines =
        std::env::var("OSBS_TEST_LINES").map_or(20_000, |text| text.parse().expect("OSBS_TEST_LINES is a number"));
    let ways = ["server", "server2"].map(|server| Cutter::before(site.server.fact(server)));
    site.configure_at(1, [&ways[0].url, &ways[1].url]);
    let own_way = Cutter::before(site.server.fact("server"));
    site.write_conf("kube.conf", &site.by_token_at(&own_way.url, ""));
    check_lines(site, lines / 2);
    let cut = [&ways[0], &ways[1], &own_way].map(Cutter::count);
    println!("connections cut: {} and {} to worker clusters, {} of the client", cut[0], cut[1], cut[2]);
    // Both workers may be on one cluster.
    assert!(cut[0] + cut[1] > 0 && cut[2] > 0, "{cut:?}");
    site.configure(2);
}

fn check_lines(site: &KubernetesSite, count: usize) {
    site.repository("rows", &format!("RUN seq 1 {count} | sed 's/^/row /'"));
    let watch = MemoryWatch::start(site, "osbs/type=orchestrator");
    let begun = Instant::now();
    let built = done(site.start_build("rows", &[]).wait_with_output().expect("osbs ends"));
    let took = begun.elapsed().as_secs_f64();
    let (own, all) = watch.stop();
    assert_eq!(built.code, 0, "{}", built.err);
    let (own, all) = (own as f64 / MIB as f64, all as f64 / MIB as f64);
    println!(
        "2 x {count} lines, followed to the end within {took:.1} s; the orchestrator's pod: {own:.1} MiB of its own, {all:.1} MiB with files"
    );
    assert!(own < 40.0, "{own} MiB");
    let kept = site.ok(&["build-logs", &name_of(&built.err)]);
    for platform in ["x86_64", "aarch64"] {
        check_rows(&built.out, platform, count, "what was followed");
        check_rows(&kept, platform, count, "what is kept");
    }
}
