//! Lines of a log, as bytes: what `osbs build-logs` printed, taken apart.

use super::World;
use std::io::Write;
use std::process::Stdio;

/// The message of a line in the OSBS format `DATE TIME platform:P - LOGGER - LEVEL - MESSAGE`; a worker's own lines as
/// `--platform` shows them lack the platform.
pub fn message(line: &[u8]) -> Option<&[u8]> {
    let own = find(line, b" - ")?;
    let logger = own + 3 + find(&line[own + 3..], b" - ")?;
    let level = logger + 3 + find(&line[logger + 3..], b" - ")?;
    Some(&line[level + 3..])
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// The value of the third field, `platform:P`.
pub fn platform(line: &[u8]) -> Option<&[u8]> {
    line.splitn(4, |byte| *byte == b' ').nth(2)?.strip_prefix(b"platform:")
}

/// The lines, without their ends.
pub fn split(log: &[u8]) -> Vec<&[u8]> {
    log.strip_suffix(b"\n").unwrap_or(log).split(|byte| *byte == b'\n').collect()
}

impl World {
    /// `osbs build-logs`, byte for byte.
    #[track_caller]
    pub fn log(&self, build: &str, more: &[&str]) -> Vec<u8> {
        let done = self.command(&[&["build-logs", build], more].concat()).output().expect("osbs starts");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        done.stdout
    }

    /// `osbs build-logs BUILD | grep -w PLATFORM` gives every line of that platform's worker, in order, and no line that
    /// is not about that platform.
    #[track_caller]
    pub fn check_grep(&self, build: &str, name: &str) {
        let log = self.log(build, &[]);
        let mut grep = std::process::Command::new("grep")
            .args(["-a", "-w", name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("grep starts");
        let mut input = grep.stdin.take().expect("a pipe");
        let writer = std::thread::spawn(move || input.write_all(&log));
        let found = grep.wait_with_output().expect("grep ends").stdout;
        writer.join().expect("no panic").expect("written");
        let found = split(&found);
        let foreign: Vec<_> = found.iter().filter(|line| platform(line) != Some(name.as_bytes())).collect();
        let foreign: Vec<_> = foreign.iter().map(|line| String::from_utf8_lossy(line)).collect();
        assert!(foreign.is_empty(), "lines that are not of {name}:\n{}", foreign.join("\n"));
        let worker = self.log(&super::inspect::worker_of(build, name), &[]);
        let worker: Vec<_> = split(&worker).into_iter().map(<[u8]>::trim_ascii_end).collect();
        assert!(worker.len() > 10, "the worker has said something");
        let relayed: Vec<_> = found.iter().filter_map(|line| message(line)).collect();
        let relayed: Vec<_> = relayed.into_iter().filter(|line| platform(line) == Some(b"-")).collect();
        assert_eq!(relayed.len(), worker.len(), "all lines of the worker, and no other");
        assert!(relayed == worker, "byte for byte");
        // What is left the orchestrator says about its worker: that it made it, that it is to be built for.
        assert!(found.len() - relayed.len() < 6, "{} lines of the orchestrator", found.len() - relayed.len());
    }
}
