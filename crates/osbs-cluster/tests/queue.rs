//! The rule of turns: tables of what it decides, and what holds whatever comes and goes.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use osbs_cluster::queue::{Queued, decide, user_of};
use osbs_types::Timestamp;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// One build of a table: `NAME USER [CONFIG] [GROUP/MAX] [+]`, `+` for one that has started; `-` for nothing.
fn table(lines: &'static str) -> Vec<Queued<'static>> {
    let line = |(second, line): (i64, &'static str)| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let some = |index: usize| fields.get(index).copied().filter(|field| *field != "-");
        let number = || fields[0].rsplit('-').next().and_then(|n| n.parse().ok()).unwrap();
        Queued {
            name: fields[0],
            user: fields[1],
            turn: some(2).map(|config| (config, number())),
            slots: some(3)
                .map(|slots| slots.split_once('/').map(|(group, max)| (group, max.parse().unwrap())).unwrap()),
            created: Timestamp::from_second(second).unwrap(),
            started: some(4) == Some("+"),
        }
    };
    (0..).zip(lines.lines().map(str::trim).filter(|line| !line.is_empty())).map(line).collect()
}

fn check_pass(lines: &'static str, start: &str, wait: &[&str]) {
    let builds = table(lines);
    let pass = decide(&builds);
    let started: Vec<_> = pass.start.iter().map(|index| builds[*index].name).collect();
    assert_eq!(started.join(" "), start, "{lines}");
    let waiting: Vec<_> = pass.wait.iter().map(|(index, why)| format!("{}: {why}", builds[*index].name)).collect();
    assert_eq!(waiting, wait, "{lines}");
}

#[test]
fn turns() {
    check_pass("", "", &[]);
    check_pass("a alice\n b bob - - +\n c carol", "a c", &[]);
    // One BuildConfig: in the order of numbers, whoever was recorded first.
    check_pass("web-2 alice web\n web-1 alice web\n db-7 alice db", "web-1 db-7", &["web-2: waiting for build web-1"]);
    check_pass(
        "web-1 alice web\n web-3 bob web\n web-2 bob web - +",
        "",
        &["web-1: waiting for build web-2", "web-3: waiting for build web-1"],
    );
    // Slots: fewest running builds of the user first, then the oldest.
    check_pass(
        "a1 alice - g/3 +\n a2 alice - g/3\n a3 alice - g/3\n b1 bob - g/3\n b2 bob - g/3",
        "b1 a2",
        &[
            "b2: waiting for a slot: 3 of 3 builds of group g run",
            "a3: waiting for a slot: 3 of 3 builds of group g run",
        ],
    );
    // A build that waits for another takes no slot, and groups know nothing of each other.
    check_pass(
        "web-1 alice web h/1 +\n web-2 alice web g/1\n b bob - g/1\n c carol - h/1",
        "b",
        &["c: waiting for a slot: 1 of 1 builds of group h run", "web-2: waiting for build web-1"],
    );
    // Bob waits behind alice's build and has none that runs: it goes first, before her older one. Carol gains nothing.
    check_pass(
        "a1 alice - g/2 +\n a2 alice - g/2\n web-1 alice web g/2\n web-2 bob web g/2\n c1 carol - g/2 +\n c2 carol - g/2",
        "",
        &[
            "web-1: waiting for a slot: 2 of 2 builds of group g run",
            "a2: waiting for a slot: 2 of 2 builds of group g run",
            "c2: waiting for a slot: 2 of 2 builds of group g run",
            "web-2: waiting for build web-1",
        ],
    );
    // The newest build knows the limit, which is at least 1.
    check_pass("a a - g/9 +\n b b - g/9 +\n c c - g/1", "", &["c: waiting for a slot: 2 of 1 builds of group g run"]);
    check_pass("a a - g/1 +\n b b - g/1\n c c - g/3", "b c", &[]);
    check_pass("a a - g/0", "a", &[]);
}

#[test]
fn users() {
    let cases = [
        ("alice/web:f40-12345-20240102030405", "alice"),
        ("alice/fedora/web:1", "alice"),
        ("j.doe/web:1", "j.doe"),
        ("registry.example.com/alice/web:1", "alice"),
        ("registry:5000/alice/web", "alice"),
        ("localhost/alice/web", "alice"),
        ("registry.example.com:443/alice/fedora/web:1", "alice"),
        ("web:1", ""),
        ("", ""),
    ];
    for (image, user) in cases {
        assert_eq!(user_of(image), user, "{image}");
    }
}

/// A build of the model.
#[derive(Debug, Clone)]
struct Entry {
    name: String,
    user: &'static str,
    turn: Option<(&'static str, u64)>,
    group: Option<&'static str>,
    /// Ends since it was recorded, and since it started.
    waited: usize,
    started: Option<usize>,
}

/// What happens next.
#[derive(Debug, Clone)]
enum Step {
    Create {
        user: usize,
        config: Option<usize>,
        group: Option<usize>,
    },
    /// One of the running builds ends.
    End(prop::sample::Index),
    /// A build that waits is cancelled.
    Cancel(prop::sample::Index),
}

const USERS: [&str; 4] = ["alice", "bob", "carol", "dan"];
const CONFIGS: [&str; 3] = ["web", "db", "ci"];
const GROUPS: [(&str, u32); 2] = [("orchestrator", 2), ("worker:a", 3)];
/// No build runs longer than that many ends of others.
const LONGEST: usize = 6;

fn step() -> impl Strategy<Value = Step> {
    // Alice asks for most.
    let user = prop_oneof![4 => Just(0), 2 => 1..USERS.len()];
    let config = prop::option::of(0..CONFIGS.len());
    let group = prop::option::weighted(0.9, 0..GROUPS.len());
    prop_oneof![
        5 => (user, config, group).prop_map(|(user, config, group)| Step::Create { user, config, group }),
        5 => any::<prop::sample::Index>().prop_map(Step::End),
        1 => any::<prop::sample::Index>().prop_map(Step::Cancel),
    ]
}

#[derive(Default)]
struct Model {
    builds: Vec<Entry>,
    numbers: BTreeMap<&'static str, u64>,
    made: usize,
}

impl Model {
    fn queue(&self) -> Vec<Queued<'_>> {
        // Three builds share a moment.
        let created = |entry: &Entry| Timestamp::from_second(entry.name[1..].parse::<i64>().unwrap() / 3).unwrap();
        let max = |group: &str| GROUPS.iter().find(|(name, _)| *name == group).unwrap().1;
        self.builds
            .iter()
            .map(|entry| Queued {
                name: &entry.name,
                user: entry.user,
                turn: entry.turn,
                slots: entry.group.map(|group| (group, max(group))),
                created: created(entry),
                started: entry.started.is_some(),
            })
            .collect()
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Create { user, config, group } => {
                let turn = config.map(|config| {
                    let number = self.numbers.entry(CONFIGS[config]).or_default();
                    *number += 1;
                    (CONFIGS[config], *number)
                });
                let group = group.map(|group| GROUPS[group].0);
                self.builds.push(Entry {
                    name: format!("b{:05}", self.made),
                    user: USERS[*user],
                    turn,
                    group,
                    waited: 0,
                    started: None,
                });
                self.made += 1;
            }
            Step::End(which) => {
                let running: Vec<_> = (0..self.builds.len()).filter(|i| self.builds[*i].started.is_some()).collect();
                if running.is_empty() {
                    return;
                }
                let overdue = running.iter().copied().find(|i| self.builds[*i].started >= Some(LONGEST));
                self.builds.remove(overdue.unwrap_or_else(|| running[which.index(running.len())]));
                for entry in &mut self.builds {
                    entry.waited += 1;
                    entry.started = entry.started.map(|ends| ends + 1);
                }
            }
            Step::Cancel(which) => {
                let waiting: Vec<_> = (0..self.builds.len()).filter(|i| self.builds[*i].started.is_none()).collect();
                if !waiting.is_empty() {
                    self.builds.remove(waiting[which.index(waiting.len())]);
                }
            }
        }
    }

    /// A pass, and what must hold after it.
    fn pass(&mut self) {
        let start = {
            let queue = self.queue();
            let pass = decide(&queue);
            let mut backwards = queue.clone();
            backwards.reverse();
            let again = decide(&backwards);
            let names = |queue: &[Queued<'_>], places: Vec<usize>| -> Vec<String> {
                places.into_iter().map(|place| queue[place].name.to_owned()).collect()
            };
            let start = names(&queue, pass.start.clone());
            assert_eq!(start, names(&backwards, again.start), "the order of the list matters");
            let waits = |queue: &[Queued<'_>], wait: &[(usize, osbs_cluster::queue::Waiting<'_>)]| -> Vec<String> {
                wait.iter().map(|(place, why)| format!("{} {why}", queue[*place].name)).collect()
            };
            assert_eq!(waits(&queue, &pass.wait), waits(&backwards, &again.wait));
            let started = queue.iter().filter(|build| build.started).count();
            assert_eq!(started + pass.start.len() + pass.wait.len(), queue.len(), "every build is somewhere once");
            start
        };
        self.starts_are_fair(&start);
        for name in &start {
            let entry = self.builds.iter_mut().find(|entry| entry.name == *name).unwrap();
            assert_eq!(entry.started, None, "{name} runs already");
            entry.started = Some(0);
        }
        self.limits_are_kept();
        self.nothing_idles();
        assert!(decide(&self.queue()).start.is_empty(), "a second pass has nothing to do");
    }

    fn running(&self, group: &str) -> usize {
        self.builds.iter().filter(|entry| entry.group == Some(group) && entry.started.is_some()).count()
    }

    fn limits_are_kept(&self) {
        for (group, max) in GROUPS {
            assert!(self.running(group) <= max as usize, "{group} is above its limit");
        }
        for config in CONFIGS {
            let of: Vec<_> = self
                .builds
                .iter()
                .filter_map(|e| Some((e.turn.filter(|turn| turn.0 == config)?.1, e.started)))
                .collect();
            let running: Vec<_> =
                of.iter().filter(|(_, started)| started.is_some()).map(|(number, _)| *number).collect();
            assert!(running.len() <= 1, "builds {running:?} of {config} run at once");
            let lowest = of.iter().map(|(number, _)| *number).min();
            assert!(running.iter().all(|number| Some(*number) == lowest), "{config} out of order: {of:?}");
        }
    }

    /// Nobody waits who waits neither for a build nor for a slot that is taken.
    fn nothing_idles(&self) {
        for entry in self.builds.iter().filter(|entry| entry.started.is_none()) {
            let first = entry
                .turn
                .is_none_or(|turn| !self.builds.iter().any(|e| e.turn.is_some_and(|t| t.0 == turn.0 && t.1 < turn.1)));
            let free = entry.group.is_none_or(|group| {
                let max = GROUPS.iter().find(|(name, _)| *name == group).unwrap().1;
                self.running(group) < max as usize
            });
            assert!(!(first && free), "{} could run", entry.name);
        }
    }

    /// Whoever starts has no more running builds than anybody of the group who could have started instead. Where others
    /// wait behind a build, turns are lent; that is in the table.
    fn starts_are_fair(&self, start: &[String]) {
        for (place, name) in start.iter().enumerate() {
            let entry = self.builds.iter().find(|entry| entry.name == *name).unwrap();
            let Some(group) = entry.group else { continue };
            let alone = |entry: &Entry| {
                let of = |other: &&Entry| other.turn.map(|turn| turn.0) == entry.turn.map(|turn| turn.0);
                entry.turn.is_none() || self.builds.iter().filter(of).count() == 1
            };
            if !alone(entry) {
                continue;
            }
            let now = |user: &str| {
                let starts = |e: &&Entry| e.started.is_some() || start[..place].contains(&e.name);
                self.builds.iter().filter(|e| e.group == Some(group) && e.user == user).filter(starts).count()
            };
            let eligible = |e: &&Entry| {
                let first = e.turn.is_none_or(|turn| {
                    !self.builds.iter().any(|o| o.turn.is_some_and(|t| t.0 == turn.0 && t.1 < turn.1))
                });
                e.group == Some(group) && e.started.is_none() && first && !start[..=place].contains(&e.name)
            };
            for other in self.builds.iter().filter(eligible).filter(|other| alone(other)) {
                let (ours, theirs) = ((now(entry.user), &entry.name), (now(other.user), &other.name));
                assert!(ours < theirs, "{ours:?} before {theirs:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Limits, order, fairness, no idle slot, after every pass of any history.
    #[test]
    fn whatever_comes_and_goes(steps in prop::collection::vec(step(), 1..120)) {
        let mut model = Model::default();
        for step in &steps {
            model.apply(step);
            model.pass();
        }
    }

    /// A build starts after a bounded number of ends, however many builds of others keep coming.
    #[test]
    fn nobody_starves(
        steps in prop::collection::vec(step(), 1..60),
        flood in prop::collection::vec((0..USERS.len(), any::<prop::sample::Index>()), 1..8),
    ) {
        let mut model = Model::default();
        for step in &steps {
            model.apply(step);
            model.pass();
        }
        let group = GROUPS[0].0;
        let step = Step::Create { user: 3, config: Some(0), group: Some(0) };
        model.apply(&step);
        model.pass();
        let name = model.builds.last().unwrap().name.clone();
        // Each older build may have to start and end, and the builds of the same user with it.
        let bound = (2 * LONGEST + 1) * (model.builds.len() + 1);
        for (user, which) in flood.iter().cycle() {
            let Some(entry) = model.builds.iter().find(|entry| entry.name == name) else { break };
            if entry.started.is_some() {
                break;
            }
            prop_assert!(entry.waited <= bound, "{} ends, and {name} has not started", entry.waited);
            while model.builds.iter().filter(|e| e.group == Some(group) && e.started.is_none()).count() < 12 {
                model.apply(&Step::Create { user: *user, config: None, group: Some(0) });
            }
            model.pass();
            model.apply(&Step::End(*which));
            model.pass();
        }
    }
}
