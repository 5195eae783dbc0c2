//! `RUN --mount=type=ssh`: a socket of this command's own that leads to the agent, with the mode and owner it was asked
//! for. The agent's own socket is neither shown to the container nor changed.
//!
//! Must not look at what is said on it: only bytes are passed on.

use rustix::fs::{Gid, Mode, OFlags, Uid};
use std::io;
use std::net::Shutdown;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// More at a time are refused: a command needs one or two.
const MOST_CONNECTIONS: usize = 64;

/// An open socket; closed, with all that was said on it, when dropped.
#[derive(Debug)]
pub(crate) struct AgentSocket {
    listener: Arc<UnixListener>,
    open: Arc<Mutex<Connections>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Connections {
    closing: bool,
    /// Both ends of each.
    ends: Vec<[UnixStream; 2]>,
    threads: Vec<JoinHandle<()>>,
}

impl AgentSocket {
    /// Listens at `path`, which must not exist, and passes on to the socket `agent`.
    pub(crate) fn open(agent: &Path, path: &Path, mode: u32, uid: u32, gid: u32) -> io::Result<Self> {
        // Somebody must be there now: else the command would meet an agent that is gone.
        drop(UnixStream::connect(agent)?);
        let listener = Arc::new(listen(path)?);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        let owner = (Some(Uid::from_raw_unchecked(uid)), Some(Gid::from_raw_unchecked(gid)));
        rustix::fs::chown(path, owner.0, owner.1)?;
        let open = Arc::new(Mutex::new(Connections::default()));
        let (own_listener, own_open, agent) = (Arc::clone(&listener), Arc::clone(&open), agent.to_owned());
        let thread = std::thread::Builder::new()
            .name("ssh agent".into())
            .spawn(move || accept(&own_listener, &own_open, &agent))?;
        Ok(Self { listener, open, thread: Some(thread) })
    }
}

/// A name of a socket has at most 107 bytes; a work folder's may be longer, its descriptor's name never is.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let (folder, name) = (path.parent().ok_or_else(invalid)?, path.file_name().ok_or_else(invalid)?);
    let folder = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    UnixListener::bind(PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name))
}

fn accept(listener: &UnixListener, open: &Arc<Mutex<Connections>>, agent: &Path) {
    while let Ok((program, _)) = listener.accept() {
        let mut connections = open.lock().unwrap_or_else(PoisonError::into_inner);
        if connections.closing {
            return;
        }
        // Those that have ended make room.
        let (ended, going): (Vec<_>, Vec<_>) =
            std::mem::take(&mut connections.threads).into_iter().partition(JoinHandle::is_finished);
        connections.threads = going;
        if !ended.is_empty() && connections.threads.is_empty() {
            connections.ends.clear();
        }
        if connections.threads.len() < 2 * MOST_CONNECTIONS {
            // A connection that cannot be made is closed, and the program sees that.
            let _ = connections.add(program, agent);
        }
    }
}

impl Connections {
    fn add(&mut self, program: UnixStream, agent: &Path) -> io::Result<()> {
        let agent = UnixStream::connect(agent)?;
        for (from, to) in [(&program, &agent), (&agent, &program)] {
            let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
            let pass = move || {
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            };
            self.threads.push(std::thread::Builder::new().name("ssh agent".into()).spawn(pass)?);
        }
        self.ends.push([program, agent]);
        Ok(())
    }
}

impl Drop for AgentSocket {
    fn drop(&mut self) {
        let (ends, threads) = {
            let mut connections = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            connections.closing = true;
            (std::mem::take(&mut connections.ends), std::mem::take(&mut connections.threads))
        };
        // Wakes whoever waits for the next connection.
        let _ = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both);
        for end in ends.iter().flatten() {
            let _ = end.shutdown(Shutdown::Both);
        }
        for thread in self.thread.take().into_iter().chain(threads) {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::time::{Duration, Instant};

    #[test]
    fn bytes_go_both_ways_and_it_ends() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let real = dir.path().join("agent");
        let listener = UnixListener::bind(&real).expect("an agent");
        let agent = std::thread::spawn(move || {
            let _first = listener.accept().expect("whether it is there");
            let (mut stream, _) = listener.accept().expect("the program");
            let mut asked = [0; 3];
            stream.read_exact(&mut asked).expect("a question");
            stream.write_all(&asked.map(|byte| byte + 1)).expect("an answer");
            // Keeps it open until the other side ends.
            let _ = stream.read(&mut asked);
        });
        let long = dir.path().join("l".repeat(120));
        std::fs::create_dir(&long).expect("a folder");
        let path = long.join("ssh");
        let socket = AgentSocket::open(&real, &path, 0o640, 0, 0).expect("a socket");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o640);
        std::os::unix::fs::symlink(&path, dir.path().join("short")).expect("a link");
        let mut stream = UnixStream::connect(dir.path().join("short")).expect("connected");
        stream.write_all(b"abc").expect("asked");
        let mut answer = [0; 3];
        stream.read_exact(&mut answer).expect("answered");
        assert_eq!(&answer, b"bcd");
        let begun = Instant::now();
        drop(socket);
        agent.join().expect("the agent");
        assert!(begun.elapsed() < Duration::from_secs(2));
        assert_eq!(stream.read(&mut answer).expect("closed"), 0);
    }

    #[test]
    fn no_agent_is_an_error() {
        let dir = tempfile::tempdir().expect("temporary folder");
        AgentSocket::open(&dir.path().join("none"), &dir.path().join("ssh"), 0o600, 0, 0).expect_err("nobody there");
    }
}
