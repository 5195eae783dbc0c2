//! A reader among chunks cut anywhere, rotations, repetitions and lost connections: thousands of made-up lives of a log.
//! Whatever happens, every event comes once, in order.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use super::chunk::Piece;
use super::merge::{Merge, Taken};
use super::plan::{Looked, Plan, Step};
use super::pod_log;
use osbs_cluster::{EventParser, Lines, StoredEvent};
use osbs_types::Timestamp;
use proptest::prelude::*;

/// What chance decides, and what happens when it has decided enough: everything goes well.
struct Chance {
    numbers: std::vec::IntoIter<u16>,
}

impl Chance {
    fn below(&mut self, limit: usize) -> Option<usize> {
        let number = usize::from(self.numbers.next()?);
        Some(number * limit.max(1) / (usize::from(u16::MAX) + 1))
    }
}

struct World {
    chance: Chance,
    /// The whole log as it will be.
    log: Vec<u8>,
    written: usize,
    /// Standard output so far, and where the file that the kubelet shows begins in it.
    out: Vec<u8>,
    printed: usize,
    shown_from: usize,
    chunks: Vec<(usize, usize)>,
    finished: bool,
    pod_gone: bool,
}

impl World {
    fn end_of_line(&self, place: usize) -> usize {
        self.log[place..].iter().position(|b| *b == b'\n').map_or(self.log.len(), |end| place + end + 1)
    }

    fn archived(&self) -> usize {
        self.chunks.last().map_or(0, |(_, to)| *to)
    }

    fn print(&mut self, to: usize) {
        pod_log::print(&mut self.out, self.printed as u64, &self.log[self.printed..to]).unwrap();
        self.printed = to;
    }

    /// Something happens.
    fn tick(&mut self) {
        match self.chance.below(10) {
            // Nobody decides: the build ends, as it should.
            None => {
                self.written = self.log.len();
                self.print(self.log.len());
                if !self.finished {
                    self.chunks.push((self.archived(), self.log.len()));
                }
                self.finished = true;
            }
            Some(0..=3) => {
                for _ in 0..self.chance.below(6).unwrap_or(1) {
                    self.written = self.end_of_line(self.written);
                }
            }
            Some(4..=6) => {
                let (mut to, goal) = (self.printed, self.chance.below(self.written + 1).unwrap_or(self.written));
                while to < goal {
                    to = self.end_of_line(to);
                }
                self.print(to);
            }
            // The kubelet rotates; where, nobody knows.
            Some(7) => self.shown_from += self.chance.below(self.out.len() - self.shown_from + 1).unwrap_or(0),
            Some(8) => {
                let from = self.archived();
                let to = from + self.chance.below(self.written - from + 1).unwrap_or(0);
                if to > from {
                    self.chunks.push((from, to));
                }
            }
            Some(_) => self.pod_gone = self.finished || (self.written == self.log.len() && self.pod_gone),
        }
    }

    fn piece(&self, from: usize, to: usize) -> Piece {
        Piece { from: from as u64, bytes: self.log[from..to].to_vec() }
    }
}

/// Reads as `reader.rs` does.
fn read(world: &mut World, from: u64, follow: bool) -> Vec<StoredEvent> {
    let (mut plan, mut merge, mut out) = (Plan::new(follow), Merge::new(from, Timestamp::UNIX_EPOCH), Vec::new());
    for _ in 0..100_000 {
        let before = merge.next();
        match plan.step() {
            Step::Look => {
                world.tick();
                if world.chance.below(8) == Some(0) {
                    plan.failed();
                } else {
                    plan.looked(Looked { finished: world.finished, has_pod: world.written > 0 });
                }
            }
            Step::Archive => {
                let chunks = world.chunks.clone();
                let end = world.finished.then(|| world.archived() as u64);
                for (from, to) in chunks {
                    world.tick();
                    if to as u64 > merge.next() && merge.take(&world.piece(from, to), &mut out) == Taken::Gap {
                        break;
                    }
                }
                plan.read_archive(merge.next(), end, merge.next() > before);
            }
            Step::Pod => {
                let (gap, cut) = read_pod(world, follow, &mut merge, &mut out);
                plan.read_pod(gap, merge.next() > before, cut);
            }
            Step::Wait(_) => {
                world.tick();
                plan.waited();
            }
            Step::Done => return out,
            Step::End => {
                out.extend(merge.rest());
                return out;
            }
            Step::Lost => panic!("lost at {}", merge.next()),
        }
    }
    panic!("a reader that never ends");
}

/// One connection: what it gives, in parts that end anywhere; it may end anywhere, and leave out what was rotated away.
/// The gap at which it was left, and whether it was cut.
fn read_pod(world: &mut World, follow: bool, merge: &mut Merge, out: &mut Vec<StoredEvent>) -> (Option<u64>, bool) {
    let (mut place, mut line) = (world.shown_from, Vec::new());
    while !world.pod_gone {
        let part = world.chance.below(world.out.len() - place + 1).unwrap_or(world.out.len() - place);
        for byte in world.out[place..place + part].iter().copied() {
            line.push(byte);
            if byte == b'\n' {
                let piece = pod_log::parse(&std::mem::take(&mut line));
                if let Some(piece) = piece.filter(|piece| merge.take(piece, out) == Taken::Gap) {
                    return (Some(piece.from), false);
                }
            }
        }
        place += part;
        world.tick();
        if world.chance.below(4) == Some(0) {
            place = place.max(world.shown_from);
        }
        if place == world.out.len() && (!follow || world.finished) {
            return (None, false);
        }
        if world.chance.below(6) == Some(0) {
            return (None, true);
        }
    }
    (None, false)
}

fn log() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        4 => "[a-z0-9: {}\"]{0,40}".prop_map(String::into_bytes),
        1 => "[0-9]{1,3}:[0-9]{1,2} \\{".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>().prop_filter("one line", |b| *b != b'\n'), 0..20),
        3 => (0..1000_u32).prop_map(|n| {
            format!(r#"{{"time":"2024-01-02T03:04:05Z","event":"log","logger":"x","level":"INFO","message":"{n}"}}"#).into()
        }),
    ];
    (proptest::collection::vec(line, 1..40), any::<bool>()).prop_map(|(lines, torn)| {
        let mut log: Vec<u8> = lines.into_iter().flat_map(|line| [line, vec![b'\n']].concat()).collect();
        if torn {
            log.extend_from_slice(b"{\"torn");
        }
        log
    })
}

fn reference(log: &[u8]) -> Vec<StoredEvent> {
    EventParser::new(Timestamp::UNIX_EPOCH).events(&Lines { from: 0, bytes: log.to_vec() })
}

fn check_life(log: Vec<u8>, chance: Vec<u16>, start: usize, follow: bool) {
    let all = reference(&log);
    let start = start % (all.len() + 1);
    let from = if start == 0 { 0 } else { all[start - 1].offset };
    let mut world = World {
        chance: Chance { numbers: chance.into_iter() },
        log,
        written: 0,
        out: Vec::new(),
        printed: 0,
        shown_from: 0,
        chunks: Vec::new(),
        finished: false,
        pod_gone: false,
    };
    let found = read(&mut world, from, follow);
    // The time of a line that is no event is that of the one before it, which a resumed reader has not seen.
    let plain = |events: &[StoredEvent]| {
        events.iter().map(|e| (e.offset, serde_json::to_value(&e.event.kind).unwrap())).collect::<Vec<_>>()
    };
    let (found, rest) = (plain(&found), plain(&all[start..]));
    if follow {
        assert_eq!(found, rest);
    } else {
        assert!(rest.starts_with(&found), "{found:?} of {rest:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn every_event_comes_once_in_order(
        log in log(),
        chance in proptest::collection::vec(any::<u16>(), 0..400),
        start in 0..100_usize,
        follow in proptest::bool::weighted(0.8),
    ) {
        check_life(log, chance, start, follow);
    }
}
