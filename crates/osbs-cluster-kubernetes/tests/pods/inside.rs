//! What runs inside the builds of these tests: `USER_PARAMS` is a word and a number.

use crate::pod;
use osbs_cluster::EventLog;
use osbs_types::{Event, EventKind, Level, LogLine, Timestamp, exit_code};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Obeys, or does what the conformance tests want.
pub fn run() -> ExitCode {
    let params = std::env::var("USER_PARAMS").unwrap_or_default();
    let mut words = params.split(' ');
    let word = words.next().unwrap_or_default();
    let number = words.next().and_then(|number| number.parse().ok()).unwrap_or(0);
    let mut log = EventLog::open(Path::new(&std::env::var("OSBS_EVENTS").unwrap())).unwrap();
    match word {
        "flood" => {
            let all: Vec<u64> = (1..=number).collect();
            all.chunks(500)
                .for_each(|some| log.append_batch(&some.iter().map(|n| line(*n)).collect::<Vec<_>>()).unwrap());
        }
        "slowly" => {
            for n in 1..=number {
                log.append_batch(&[line(n)]).unwrap();
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        "eat" => {
            log.append_batch(&[line(1)]).unwrap();
            let mut eaten: Vec<Vec<u8>> = Vec::new();
            loop {
                eaten.push(vec![1; 1 << 20]);
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        "orphans" => {
            for _ in 0..number {
                let program = std::env::current_exe().unwrap();
                drop(std::process::Command::new(program).arg("--list").spawn().unwrap());
            }
            log.append_batch(&[line(1)]).unwrap();
        }
        "panic" => {
            println!("last words");
            return ExitCode::from(exit_code::INTERNAL);
        }
        _ => return pod::inside(),
    }
    ExitCode::SUCCESS
}

fn line(number: u64) -> Event {
    let text = format!("line {number} of a build that says a lot about what it does");
    Event { time: Timestamp::now(), kind: EventKind::Log(LogLine::new("test", Level::Info, text)) }
}
