//! The event file: whole lines in order from many threads, prompt when calm, complete after `kill -9` of what was
//! written, no memory without bound.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a panic is how a test fails")]

use osbs_reactor::events::{EventSink, FileSink, TextSink};
use osbs_types::{ErrorKind, Event, EventKind, Failure, Level, LogLine, Timestamp};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn line(text: impl Into<Vec<u8>>) -> Event {
    Event { time: Timestamp::now(), kind: EventKind::Log(LogLine::new("t", Level::Info, text)) }
}

fn read(path: &std::path::Path) -> Vec<Event> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_calm_line_is_there_within_20_ms() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let sink = FileSink::append(&path).unwrap();
    for _ in 0..5 {
        let before = read(&path).len();
        let begun = Instant::now();
        sink.emit(&line("x"));
        while read(&path).len() == before {
            assert!(begun.elapsed() < Duration::from_millis(500), "never written");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
    }
}

#[test]
fn many_threads_and_large_lines_keep_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let sink = Arc::new(FileSink::append(&path).unwrap());
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let sink = Arc::clone(&sink);
            std::thread::spawn(move || {
                for number in 0..25_000 {
                    sink.emit(&line(format!("{thread} {number}")));
                }
                sink.emit(&line(vec![b'x'; 1 << 20]));
            })
        })
        .collect();
    let begun = Instant::now();
    for thread in threads {
        thread.join().unwrap();
    }
    sink.flush();
    println!("100,000 lines in {:?}", begun.elapsed());
    let mut next = [0; 4];
    let mut large = 0;
    for event in read(&path) {
        let EventKind::Log(line) = event.kind else { panic!() };
        let text = line.text();
        match text.split_once(' ') {
            Some((thread, number)) => {
                let thread: usize = thread.parse().unwrap();
                assert_eq!(number.parse::<usize>().unwrap(), next[thread]);
                next[thread] += 1;
            }
            None => large += 1,
        }
    }
    assert_eq!((next, large), ([25_000; 4], 4));
}

#[test]
fn two_runs_append_to_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    for text in ["one", "two"] {
        FileSink::append(&path).unwrap().emit(&line(text));
    }
    assert_eq!(read(&path).len(), 2, "dropping a sink writes what it holds");
}

#[test]
fn a_disk_that_stays_full_is_told_once_and_blocks_nobody() {
    let sink = FileSink::over(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap()).unwrap();
    sink.emit(&line("x"));
    sink.flush();
    assert_eq!(sink.check().unwrap_err().kind, ErrorKind::Resource);
    let begun = Instant::now();
    for _ in 0..100 {
        sink.emit(&line(vec![b'x'; 1 << 20]));
    }
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[test]
fn text_of_lines_and_of_the_failure() {
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);
    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let out = Shared::default();
    let sink = TextSink::new(Box::new(out.clone()), Level::Info);
    let mut debug = LogLine::new("t", Level::Debug, "hidden");
    debug.level = Level::Debug;
    sink.emit(&Event { time: Timestamp::now(), kind: EventKind::Log(debug) });
    sink.emit(&line("shown"));
    let failure = Failure::message(ErrorKind::User, "no Dockerfile");
    sink.emit(&Event { time: Timestamp::now(), kind: EventKind::Failure(failure) });
    let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
    let ends: Vec<_> = text.lines().map(|line| line.split_once(" platform:").unwrap().1).collect();
    assert_eq!(ends, ["- - t - INFO - shown", "- - atomic_reactor.core - ERROR - no Dockerfile"]);
}
