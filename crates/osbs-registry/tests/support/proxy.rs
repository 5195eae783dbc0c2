//! A TCP proxy that breaks, stalls and slows connections at given bytes of all that passes, both ways together.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What happens to the bytes.
#[derive(Debug, Default, Clone)]
pub struct Plan {
    /// The connection is cut just after each of these bytes, counted from the start of the proxy.
    pub cuts: Vec<u64>,
    /// Just after these bytes the connection falls silent for so long.
    pub stalls: Vec<(u64, Duration)>,
    /// Every so many bytes, a pause.
    pub pace: Option<(usize, Duration)>,
}

pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: String,
    plan: Mutex<Plan>,
    passed: AtomicU64,
    stop: AtomicBool,
}

impl Proxy {
    pub fn start(upstream: &str, plan: Plan) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            plan: Mutex::new(plan),
            passed: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if serving.stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(server) = TcpStream::connect(&serving.upstream) else { continue };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
                    let shared = Arc::clone(&serving);
                    thread::spawn(move || pump(from, to, &shared));
                }
            }
        });
        Self { address, shared }
    }

    /// `IP:PORT`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Bytes so far.
    pub fn passed(&self) -> u64 {
        self.shared.passed.load(Ordering::SeqCst)
    }

    /// Cuts and stalls that did not come to pass yet.
    pub fn left(&self) -> usize {
        let plan = self.shared.plan.lock().expect("plan");
        plan.cuts.len() + plan.stalls.len()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, shared: &Shared) {
    let _ = from.set_nodelay(true);
    let mut buffer = [0; 16 << 10];
    loop {
        let pace = shared.plan.lock().expect("plan").pace;
        let room = pace.map_or(buffer.len(), |(bytes, _)| bytes.min(buffer.len()));
        let Ok(count @ 1..) = from.read(&mut buffer[..room]) else { break };
        let before = shared.passed.fetch_add(count as u64, Ordering::SeqCst);
        let within = |at: u64| at >= before && at < before + count as u64;
        let (cut, stall) = {
            let mut plan = shared.plan.lock().expect("plan");
            let cut = plan.cuts.iter().position(|at| within(*at)).map(|index| plan.cuts.remove(index));
            let stall = plan.stalls.iter().position(|(at, _)| within(*at)).map(|index| plan.stalls.remove(index));
            (cut, stall)
        };
        if let Some(at) = cut {
            let _ = to.write_all(&buffer[..(at - before) as usize]);
            break;
        }
        let first = stall.map_or(0, |(at, _)| (at - before) as usize);
        if let Some((_, silence)) = stall {
            let _ = to.write_all(&buffer[..first]);
            thread::sleep(silence);
        }
        if to.write_all(&buffer[first..count]).is_err() {
            break;
        }
        if let Some((_, pause)) = pace {
            thread::sleep(pause);
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
