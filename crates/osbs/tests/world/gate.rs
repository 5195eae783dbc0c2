//! A TCP gate before a server: what a client asks can be held there as long as a test wants, so that a build stands
//! still in a known place.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Condition = Box<dyn Fn() -> bool + Send>;

struct Hold {
    pattern: Vec<u8>,
    when: Condition,
}

#[derive(Default)]
struct State {
    hold: Option<Hold>,
    /// Grows whenever the hold is lifted: who was held by an earlier one is cut off.
    round: usize,
    held: usize,
}

/// The gate. Open until told otherwise.
pub struct Gate {
    /// Where it listens.
    pub address: String,
    state: Arc<Mutex<State>>,
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Gate {
    /// A gate before the server at `target` (`host:port`).
    pub fn before(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let state = Arc::new(Mutex::new(State::default()));
        let (target, shared) = (target.to_owned(), Arc::clone(&state));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&target) else { continue };
                relay(client, server, &shared);
            }
        });
        Self { address, state }
    }

    /// Holds whatever a client sends with `pattern` in it while `when` says so.
    pub fn hold(&self, pattern: &str, when: impl Fn() -> bool + Send + 'static) {
        let mut state = lock(&self.state);
        state.held = 0;
        state.hold = Some(Hold { pattern: pattern.as_bytes().to_vec(), when: Box::new(when) });
    }

    /// How many requests this hold has stopped.
    pub fn held(&self) -> usize {
        lock(&self.state).held
    }

    /// Lets everything through again. Who was held is cut off: what it sent must not arrive after it has gone.
    pub fn open(&self) {
        let mut state = lock(&self.state);
        state.hold = None;
        state.round += 1;
    }
}

/// The round of the hold that stops these bytes.
fn is_held(state: &Mutex<State>, bytes: &[u8]) -> Option<usize> {
    let mut state = lock(state);
    let hold = state.hold.as_ref()?;
    let stops = bytes.windows(hold.pattern.len()).any(|part| part == hold.pattern) && (hold.when)();
    stops.then(|| {
        state.held += 1;
        state.round
    })
}

fn relay(client: TcpStream, server: TcpStream, state: &Arc<Mutex<State>>) {
    let clones = (client.try_clone(), server.try_clone());
    let (Ok(from_client), Ok(to_server)) = clones else { return };
    std::thread::spawn(move || copy(server, client, |_| true));
    let state = Arc::clone(state);
    std::thread::spawn(move || {
        copy(from_client, to_server, |bytes| {
            let Some(round) = is_held(&state, bytes) else { return true };
            while lock(&state).round == round {
                std::thread::sleep(Duration::from_millis(20));
            }
            false
        });
    });
}

fn copy(mut from: TcpStream, mut to: TcpStream, may_pass: impl Fn(&[u8]) -> bool) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if !may_pass(&buffer[..count]) || to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}
