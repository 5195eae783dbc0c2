//! What must survive in an event log: bytes that are no text, huge lines, many lines, many writers, torn lines, garbage.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use osbs_cluster::{EventLog, EventReader, STRAY_LOGGER};
use osbs_types::{BuildState, Event, EventKind, Level, LogLine, Timestamp};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

fn log_file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    (folder, path)
}

fn line(message: impl Into<Vec<u8>>) -> Event {
    Event { time: Timestamp::now(), kind: EventKind::Log(LogLine::new("x", Level::Info, message)) }
}

/// Every message of the log with its logger, and the offset behind it.
fn read(path: &Path, from: u64) -> Vec<(String, Vec<u8>, u64)> {
    let mut reader = EventReader::new(path, from);
    let mut found = Vec::new();
    loop {
        let batch = reader.next_batch().unwrap();
        if batch.is_empty() {
            break;
        }
        found.extend(batch);
    }
    found.extend(reader.rest());
    found
        .into_iter()
        .filter_map(|stored| match stored.event.kind {
            EventKind::Log(line) => Some((line.logger, line.message, stored.offset)),
            _ => None,
        })
        .collect()
}

fn raw(path: &Path, bytes: &[u8]) {
    std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(bytes).unwrap();
}

#[test]
fn bytes_come_back_as_they_were() {
    let (_folder, path) = log_file();
    let every_byte: Vec<u8> = (0..=255).collect();
    let huge: Vec<u8> = (0..1_500_000_u32).map(|n| (n % 251) as u8).collect();
    let messages = [
        b"".to_vec(),
        b"plain".to_vec(),
        "grüß \u{1f980}\r\n\0".into(),
        every_byte,
        vec![0xff; 3],
        huge,
        vec![b'a'; 1 << 20],
    ];
    let mut log = EventLog::open(&path).unwrap();
    for message in &messages {
        log.append_batch(&[line(message.clone())]).unwrap();
    }
    let found = read(&path, 0);
    assert_eq!(found.len(), messages.len());
    for ((_, found, _), message) in found.iter().zip(&messages) {
        assert!(found == message, "a message of {} bytes changed", message.len());
    }
    // From every offset on, the rest.
    for (index, (_, _, offset)) in found.iter().enumerate() {
        assert_eq!(read(&path, *offset), found[index + 1..]);
    }
    // From the middle of a line, the next whole one.
    assert_eq!(read(&path, found[0].2 + 5), found[2..]);
}

#[test]
fn garbage_is_shown_and_harms_nothing() {
    let (_folder, path) = log_file();
    raw(&path, b"not json\n\n{\"event\":\"log\"}\n\xff\xfe\n");
    let mut log = EventLog::open(&path).unwrap();
    log.append_batch(&[line("good")]).unwrap();
    raw(&path, b"{\"time\":\"2024-01-02T03:04:05Z\",\"event\":\"sbom\",\"new\":1}\n{\"torn");
    let found: Vec<_> = read(&path, 0).into_iter().map(|(logger, message, _)| (logger, message)).collect();
    let stray = |message: &[u8]| (STRAY_LOGGER.to_owned(), message.to_vec());
    let good = ("x".to_owned(), b"good".to_vec());
    assert_eq!(
        found,
        [stray(b"not json"), stray(b"{\"event\":\"log\"}"), stray(b"\xff\xfe"), good.clone(), stray(b"{\"torn")]
    );
    // The next writer closes the torn line.
    EventLog::open(&path).unwrap().append_batch(&[line("good")]).unwrap();
    assert_eq!(read(&path, 0).pop().map(|(logger, message, _)| (logger, message)), Some(good));
    assert_eq!(read(&path, 0).len(), 6);
}

#[test]
fn a_line_without_end_does_not_fill_the_memory() {
    let (_folder, path) = log_file();
    for _ in 0..70 {
        raw(&path, &vec![b'z'; 1 << 20]);
    }
    raw(&path, b"\n");
    EventLog::open(&path).unwrap().append_batch(&[line("good")]).unwrap();
    let found = read(&path, 0);
    let bytes: usize =
        found.iter().filter(|(logger, ..)| logger == STRAY_LOGGER).map(|(_, message, _)| message.len()).sum();
    assert_eq!(bytes, 70 << 20);
    assert_eq!(found.last().unwrap().1, b"good");
}

#[test]
fn many_writers_do_not_mix() {
    const WRITERS: usize = 8;
    const LINES: usize = 2_000;
    let (_folder, path) = log_file();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let path = &path;
            scope.spawn(move || {
                let mut log = EventLog::open(path).unwrap();
                for number in 0..LINES {
                    let padding = "x".repeat(number * 37 % 9_000);
                    log.append_batch(&[line(format!("{writer} {number} {padding}"))]).unwrap();
                }
            });
        }
    });
    let mut next = [0; WRITERS];
    for (logger, message, _) in read(&path, 0) {
        assert_eq!(logger, "x");
        let text = String::from_utf8(message).unwrap();
        let mut fields = text.split(' ').map(str::parse::<usize>);
        let (writer, number) = (fields.next().unwrap().unwrap(), fields.next().unwrap().unwrap());
        assert_eq!(number, next[writer], "lines of one writer stay in order");
        next[writer] += 1;
    }
    assert_eq!(next, [LINES; WRITERS]);
}

#[test]
fn a_hundred_thousand_lines() {
    let (_folder, path) = log_file();
    let mut log = EventLog::open(&path).unwrap();
    let events: Vec<_> = (0..100_000).map(|n| line(format!("line {n} of a build that says a lot"))).collect();
    let start = Instant::now();
    for batch in events.chunks(256) {
        log.append_batch(batch).unwrap();
    }
    let (written, start) = (start.elapsed(), Instant::now());
    let found = read(&path, 0);
    println!("100,000 lines written in {written:?}, read in {:?}", start.elapsed());
    assert_eq!(found.len(), 100_000);
    assert_eq!(found[99_999].1, b"line 99999 of a build that says a lot");
}

#[test]
fn a_reader_sees_lines_as_they_are_written() {
    let (_folder, path) = log_file();
    let mut reader = EventReader::new(&path, 0);
    assert!(reader.next_batch().unwrap().is_empty(), "the file may come later");
    let text = serde_json::to_vec(&line("one")).unwrap();
    for byte in &text {
        raw(&path, &[*byte]);
        assert!(reader.next_batch().unwrap().is_empty(), "half a line is no event");
    }
    raw(&path, b"\n");
    assert_eq!(reader.next_batch().unwrap().len(), 1);
    let mut log = EventLog::open(&path).unwrap();
    log.append(EventKind::State { state: BuildState::Running, reason: None }).unwrap();
    assert_eq!(reader.next_batch().unwrap().len(), 1);
    assert!(reader.rest().is_none());
}
