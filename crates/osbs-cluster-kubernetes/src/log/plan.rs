//! What a reader of a build's log does next: ask for the record, read the archive, read the pod's log, wait. Pure: a state
//! machine that is told what came of each step.

use std::time::Duration;

/// The first wait after something that brought nothing new; each further one is twice as long.
const SHORTEST: Duration = Duration::from_millis(100);
/// A connection to a pod's log is made anew after this long at the latest, and a missing chunk looked for.
const LONGEST: Duration = Duration::from_secs(10);
/// Nothing is going on before the build runs: only a change of its record ends the wait, or this.
const IDLE: Duration = Duration::from_secs(30);
/// How often the rest of a finished build's log is looked for before it is given up: the archive of a build is whole
/// before the build is recorded as finished.
const TRIES: u32 = 5;
/// How often a reader that does not follow looks for a chunk that is on its way.
const TRIES_NOW: u32 = 10;

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask how the build stands, and tell it by [`Plan::looked`].
    Look,
    /// Read all chunks behind what is known; [`Plan::read_archive`].
    Archive,
    /// Read the pod's log as long as it gives something, up to the first gap; [`Plan::read_pod`].
    Pod,
    /// Wait until the build's record changes, or for so long; [`Plan::waited`].
    Wait(Duration),
    /// There is no more, now.
    Done,
    /// There is no more, ever: what is left of a torn last line is told too.
    End,
    /// The archive of a finished build has a hole.
    Lost,
}

/// How a build stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Looked {
    /// It is finished: the archive is whole.
    pub finished: bool,
    /// A pod runs it, or has run it.
    pub has_pod: bool,
}

/// Where a reader stands.
#[derive(Debug)]
pub(crate) struct Plan {
    follow: bool,
    step: Step,
    /// What stands before this place comes from the archive.
    gap: Option<u64>,
    finished: bool,
    /// Steps since the last that brought something.
    in_vain: u32,
    /// Failures since the server answered last.
    delay: u32,
}

impl Plan {
    /// Of a reader that follows the log, or wants what is there now.
    pub(crate) fn new(follow: bool) -> Self {
        Self { follow, step: Step::Look, gap: None, finished: false, in_vain: 0, delay: 0 }
    }

    /// What to do next.
    pub(crate) fn step(&self) -> Step {
        self.step
    }

    /// After [`Step::Look`].
    pub(crate) fn looked(&mut self, looked: Looked) {
        self.delay = 0;
        if looked.finished && !self.finished {
            self.finished = true;
            self.in_vain = 0;
        }
        self.step = if self.finished || self.gap.is_some() {
            Step::Archive
        } else if looked.has_pod {
            Step::Pod
        } else if self.follow {
            Step::Wait(IDLE)
        } else {
            Step::Done
        };
    }

    /// After [`Step::Archive`]: everything before `next` is known; `end` is where the last chunk ends, if it was seen.
    pub(crate) fn read_archive(&mut self, next: u64, end: Option<u64>, brought: bool) {
        if end == Some(next) {
            self.step = Step::End;
            return;
        }
        self.gap = self.gap.filter(|gap| *gap > next);
        self.in_vain = if brought { 0 } else { self.in_vain + 1 };
        self.step = match (self.finished, self.follow) {
            (true, _) if self.in_vain >= TRIES => Step::Lost,
            (false, false) if self.in_vain >= TRIES_NOW => Step::Done,
            _ if self.in_vain == 0 => Step::Look,
            _ => Step::Wait(self.pause()),
        };
    }

    /// After [`Step::Pod`]: it ended, or was left at a line that begins at `gap`. `cut`: there may be more of it now.
    pub(crate) fn read_pod(&mut self, gap: Option<u64>, brought: bool, cut: bool) {
        self.in_vain = if brought { 0 } else { self.in_vain + 1 };
        self.gap = gap;
        let is_all = !self.follow && (!cut || self.in_vain >= TRIES_NOW);
        self.step = match gap {
            Some(_) => Step::Archive,
            None if is_all => Step::Done,
            None if self.in_vain == 0 => Step::Look,
            None => Step::Wait(self.pause()),
        };
    }

    /// After a step that failed because the server was away: it is tried again after a while.
    pub(crate) fn failed(&mut self) {
        self.delay = self.delay.saturating_add(1);
        self.step = Step::Wait(pause(self.delay));
    }

    /// After [`Step::Wait`].
    pub(crate) fn waited(&mut self) {
        self.step = Step::Look;
    }

    fn pause(&self) -> Duration {
        pause(self.in_vain)
    }
}

fn pause(in_vain: u32) -> Duration {
    (SHORTEST * 2_u32.pow(in_vain.min(10))).min(LONGEST)
}
