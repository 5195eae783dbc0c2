//! Whose turn it is: the rule by which clusters start their waiting builds. Pure: no clock, no I/O, no memory of earlier
//! passes. (The cluster of one machine has its own, in SQL: the same, but slots go by age alone.)
//!
//! - Builds of one BuildConfig run one at a time, in the order of their numbers.
//! - No more builds of a slot group run than it has slots.
//! - A free slot goes to the user with the fewest running builds of the group; among equals, to the build that waits longest.
//! - Who waits behind another user's build of the same BuildConfig lends it his turn, where that is the better one: a build in
//!   the middle of a mass rebuild does not hold up the one person who needs that image now.
//!
//! Nobody starves. A user whose builds of the group have all ended stands before everybody who came later, and his builds
//! keep their order. So a build waits, at the longest, until all older ones have had their turn and the builds of its own
//! user have ended; that many more keep coming does not matter.

use crate::Build;
use osbs_types::{BuildState, Timestamp};
use std::collections::BTreeMap;
use std::fmt;

/// What the rule has to know of a build that is not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued<'a> {
    /// Its name; decides between builds that were made at the same moment.
    pub name: &'a str,
    /// Whose it is ([`user_of`]).
    pub user: &'a str,
    /// Its BuildConfig, and its number there.
    pub turn: Option<(&'a str, u64)>,
    /// Its slot group, and how many of the group may run (0 means 1).
    pub slots: Option<(&'a str, u32)>,
    /// Since when it waits.
    pub created: Timestamp,
    /// It runs, or was told to start.
    pub started: bool,
}

impl<'a> Queued<'a> {
    /// `build` as a member of the queue; `None`: it has nothing to do there, because it is finished, or was cancelled
    /// before it started. `granted`: it was told to start, which its state may not show yet.
    pub fn of(build: &'a Build, granted: bool) -> Option<Self> {
        let started = granted || build.state == BuildState::Running;
        if build.is_finished() || (build.cancel_requested && !started) {
            return None;
        }
        Some(Self {
            name: build.name.as_str(),
            user: user_of(&build.output_image),
            turn: build.build_config.as_deref().zip(build.number),
            slots: build.slots.as_ref().map(|slots| (slots.group.as_str(), slots.max)),
            created: build.created,
            started,
        })
    }

    fn age(&self) -> (Timestamp, &'a str) {
        (self.created, self.name)
    }
}

/// The user that an output image's name begins with (`USER/COMPONENT:TAG`, `client-and-koji.md` 2.5), behind the registry,
/// if there is one. A name of one component has no user.
pub fn user_of(output_image: &str) -> &str {
    let mut components = output_image.split('/');
    let (first, rest) = (components.next().unwrap_or_default(), components.count());
    let is_registry = first.contains(['.', ':']) || first == "localhost";
    match rest {
        0 => "",
        // `j.doe/web` is a user's image: a registry stands before a user and a component.
        1 => first,
        _ if is_registry => output_image.split('/').nth(1).unwrap_or_default(),
        _ => first,
    }
}

/// Why a build waits. Its text is what `reason` shows; it does not change while the build only moves up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting<'a> {
    /// For the end of this build, which comes before it in its BuildConfig.
    Build(&'a str),
    /// For a slot of its group.
    Slot {
        /// The group.
        group: &'a str,
        /// So many of it run, those that start now among them.
        running: usize,
        /// So many may.
        max: u32,
    },
}

impl fmt::Display for Waiting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Build(name) => write!(f, "waiting for build {name}"),
            Self::Slot { group, running, max } => {
                write!(f, "waiting for a slot: {running} of {max} builds of group {group} run")
            }
        }
    }
}

/// What [`decide`] found. Numbers are places in the list that it was given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pass<'a> {
    /// Builds that start now; those of one group in the order of their turns.
    pub start: Vec<usize>,
    /// Builds that wait on; those of one group in the order of their turns as things stand, behind them those that wait for
    /// another build.
    pub wait: Vec<(usize, Waiting<'a>)>,
}

/// Which of `builds` start now, and why the others do not. `builds` are all unfinished builds that share BuildConfigs or
/// slot groups; their order does not matter. Where builds of a group name different limits, the newest build's holds: it
/// knows the configuration as it is now.
pub fn decide<'a>(builds: &[Queued<'a>]) -> Pass<'a> {
    let mut pass = Pass::default();
    let mut groups: BTreeMap<&str, Group<'a>> = BTreeMap::new();
    let mut behind = Vec::new();
    let queues = Queues::of(builds);
    for (index, build) in builds.iter().enumerate() {
        if let Some((name, max)) = build.slots {
            groups.entry(name).or_default().add(build, max);
        }
        if build.started {
            continue;
        }
        match (queues.before.get(&index), build.slots) {
            (Some(name), _) => behind.push((index, Waiting::Build(name))),
            (None, Some((name, _))) => groups.entry(name).or_default().eligible.push(index),
            (None, None) => pass.start.push(index),
        }
    }
    pass.start.sort_by_key(|index| builds[*index].age());
    for (name, group) in groups {
        group.pass(name, builds, &queues, &mut pass);
    }
    behind.sort_by_key(|(index, _)| builds[*index].age());
    pass.wait.extend(behind);
    pass
}

/// The queues of BuildConfigs.
#[derive(Default)]
struct Queues<'a> {
    /// Place of a build -> name of the build right before it: by number, but behind one that has started.
    before: BTreeMap<usize, &'a str>,
    /// Place of the first build of a BuildConfig -> users of those behind it.
    behind: BTreeMap<usize, Vec<&'a str>>,
}

impl<'a> Queues<'a> {
    fn of(builds: &[Queued<'a>]) -> Self {
        let mut configs: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, build) in builds.iter().enumerate() {
            if let Some((config, _)) = build.turn {
                configs.entry(config).or_default().push(index);
            }
        }
        let mut queues = Self::default();
        for mut places in configs.into_values() {
            places.sort_by_key(|index| (!builds[*index].started, builds[*index].turn, builds[*index].age()));
            queues.before.extend(places.windows(2).map(|pair| (pair[1], builds[pair[0]].name)));
            if let [first, behind @ ..] = &places[..] {
                queues.behind.insert(*first, behind.iter().map(|index| builds[*index].user).collect());
            }
        }
        queues
    }
}

/// A slot group.
#[derive(Default)]
struct Group<'a> {
    /// The newest build, and the limit that it names.
    limit: Option<((Timestamp, &'a str), u32)>,
    /// User -> started builds.
    running: BTreeMap<&'a str, usize>,
    /// Places of builds that wait for nothing but a slot.
    eligible: Vec<usize>,
}

impl<'a> Group<'a> {
    fn add(&mut self, build: &Queued<'a>, max: u32) {
        self.limit = self.limit.max(Some((build.age(), max.max(1))));
        if build.started {
            *self.running.entry(build.user).or_default() += 1;
        }
    }

    /// Gives the free slots away, one by one, and orders the rest as if there were more of them.
    fn pass(self, group: &'a str, builds: &[Queued<'a>], queues: &Queues<'a>, pass: &mut Pass<'a>) {
        let max = self.limit.map_or(1, |(_, max)| max);
        let mut running: usize = self.running.values().sum();
        let mut waiting = Vec::new();
        for index in self.in_turn(builds, queues) {
            if running < max as usize {
                running += 1;
                pass.start.push(index);
            } else {
                waiting.push(index);
            }
        }
        pass.wait.extend(waiting.into_iter().map(|index| (index, Waiting::Slot { group, running, max })));
    }

    /// Eligible builds: the one whose user has the fewest running ones first, and then that counts as one more.
    fn in_turn(self, builds: &[Queued<'a>], queues: &Queues<'a>) -> Vec<usize> {
        let Self { running, mut eligible, .. } = self;
        let of = |user: &str| running.get(user).copied().unwrap_or(0);
        eligible.sort_by_key(|index| builds[*index].age());
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        let mut turns: Vec<_> = eligible
            .into_iter()
            .map(|index| {
                let behind = queues.behind.get(&index).into_iter().flatten().copied();
                // The first of the least: the build's own user, unless another one lends a better turn.
                let user = std::iter::once(builds[index].user).chain(behind).min_by_key(|user| of(user));
                let user = user.unwrap_or(builds[index].user);
                let count = counts.entry(user).or_insert_with(|| of(user));
                let turn = (*count, builds[index].age(), index);
                *count += 1;
                turn
            })
            .collect();
        turns.sort_unstable();
        turns.into_iter().map(|(_, _, index)| index).collect()
    }
}
