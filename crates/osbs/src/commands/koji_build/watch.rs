//! Watches a task and those below it to their end, and shows the log of the build meanwhile.
//!
//! States are shown as `koji watch-task` shows them, and asked for in its order (client-and-koji 5.8).

use super::failed;
use crate::follow::Interrupts;
use crate::session::Session;
use crate::terminal::harmless;
use indicatif::{ProgressBar, ProgressStyle};
use osbs_koji::{Koji, KojiError, Task, TaskState, calls};
use osbs_types::{ErrorKind, Failure};
use std::io::Write;
use std::time::Duration;

mod logs;

use logs::Logs;

/// How to watch.
#[derive(Debug, Clone, Copy)]
pub(super) struct How {
    /// Show states on standard output.
    pub(super) text: bool,
    /// Show the build's log on standard error.
    pub(super) logs: bool,
    /// Pause between two looks.
    pub(super) interval: Duration,
}

/// How the task ended.
pub(super) struct Watched {
    pub(super) state: TaskState,
    /// Why it failed.
    pub(super) failure: Option<String>,
}

impl Watched {
    /// Whether it ended well.
    pub(super) fn is_closed(&self) -> bool {
        self.state == TaskState::Closed
    }
}

/// A task that is watched.
struct Seen {
    id: i64,
    level: usize,
    now: Option<Task>,
}

impl Seen {
    fn is_done(&self) -> bool {
        self.now.as_ref().is_some_and(|task| task.state.is_finished())
    }

    fn name(&self) -> String {
        let about = self.now.as_ref().map(|task| format!(" {} ({})", harmless(&task.method), harmless(&task.arch)));
        format!("{}{}{}", "  ".repeat(self.level), self.id, about.unwrap_or_default())
    }
}

/// Where lines go: above a bar, if there is one.
pub(super) struct Screen<'a> {
    session: &'a Session,
    bar: Option<ProgressBar>,
    how: How,
}

impl<'a> Screen<'a> {
    fn new(session: &'a Session, how: How) -> Self {
        let bar = (how.text && session.is_interactive()).then(ProgressBar::new_spinner);
        if let Some(bar) = &bar {
            let style = ProgressStyle::with_template("{spinner} {elapsed:>4} {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        Self { session, bar, how }
    }

    /// A line of ours, to standard output.
    fn line(&self, text: &str) {
        if self.how.text {
            self.above(|| self.session.print(&format!("{text}\n")));
        }
    }

    /// A line of the build's log, to standard error. A reader that has gone must not end the watching.
    fn log(&self, who: &str, text: &str) {
        let who = self.session.paint().dim(&format!("{who:>12} |"));
        self.above(|| {
            let _ = writeln!(std::io::stderr(), "{who} {}", harmless(text));
        });
    }

    fn above(&self, show: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(show),
            None => show(),
        }
    }

    fn message(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_owned());
        }
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

struct Watch<'a> {
    koji: &'a Koji,
    screen: Screen<'a>,
    tasks: Vec<Seen>,
    failure: Option<String>,
}

/// Watches until the task has ended. An interrupt leaves it to itself.
///
/// # Errors
/// The hub fails, does not know the task, or somebody interrupts.
pub(super) async fn watch(
    session: &Session,
    koji: &Koji,
    task: i64,
    how: How,
    mut interrupts: Interrupts,
) -> Result<Watched, Failure> {
    let screen = Screen::new(session, how);
    screen.line("Watching tasks (this may be safely interrupted)...");
    let mut watch = Watch { koji, screen, tasks: vec![Seen { id: task, level: 0, now: None }], failure: None };
    tokio::select! {
        ended = watch.run(how) => ended,
        () = interrupts.next() => Err(Failure::message(ErrorKind::Cancelled, format!("no longer watching task {task}"))
            .with_hint(format!("the build goes on: koji watch-task {task}; koji cancel {task} ends it"))),
    }
}

impl Watch<'_> {
    async fn run(&mut self, how: How) -> Result<Watched, Failure> {
        let mut logs = Logs::new(self.tasks[0].id);
        loop {
            let done = self.look().await?;
            if how.logs {
                logs.follow(self.koji, &self.screen, done).await.map_err(|error| failed(&error))?;
            }
            if done {
                return Ok(self.end());
            }
            tokio::time::sleep(how.interval).await;
        }
    }

    /// One look at every task; whether all have ended.
    async fn look(&mut self) -> Result<bool, Failure> {
        let mut all_done = true;
        // Tasks that are found on the way are looked at the next time.
        for index in 0..self.tasks.len() {
            let changed = self.update(index).await?;
            if !self.tasks[index].is_done() {
                all_done = false;
            } else if changed {
                self.counts();
            }
            let (id, level) = (self.tasks[index].id, self.tasks[index].level);
            for child in self.koji.call(calls::get_task_children(id)).await.map_err(|error| failed(&error))? {
                if !self.tasks.iter().any(|seen| seen.id == child.id) {
                    self.tasks.push(Seen { id: child.id, level: level + 1, now: None });
                    self.update(self.tasks.len() - 1).await?;
                    all_done = false;
                }
            }
        }
        Ok(all_done)
    }

    /// Asks for a task, and tells what has changed; whether anything has.
    async fn update(&mut self, index: usize) -> Result<bool, Failure> {
        if self.tasks[index].is_done() {
            return Ok(false);
        }
        let id = self.tasks[index].id;
        let asked = self.koji.call(calls::get_task_info(id, true)).await.map_err(|error| failed(&error))?;
        let now = asked.ok_or_else(|| Failure::message(ErrorKind::Remote, format!("No such task id: {id}")))?;
        let before = self.tasks[index].now.replace(now.clone());
        let changed = before.as_ref().is_some_and(|before| before.state != now.state);
        if before.is_none() || changed {
            let was = match &before {
                Some(before) if self.screen.how.text => format!("{} -> ", self.shown(before).await?),
                _ => String::new(),
            };
            let is = self.shown(&now).await?;
            let line = format!("{}: {was}{is}", self.tasks[index].name());
            self.screen.line(&line);
            self.screen.message(&format!("{}: {is}", self.tasks[index].name().trim_start()));
        }
        Ok(changed)
    }

    /// A task's state in words, with its host or what it failed of.
    async fn shown(&mut self, task: &Task) -> Result<String, Failure> {
        let word = task.state.as_str().to_lowercase();
        match (task.state, task.host_id) {
            (TaskState::Open | TaskState::Assigned, Some(host)) if self.screen.how.text => {
                let host = self.koji.call(calls::get_host(host)).await.map_err(|error| failed(&error))?;
                Ok(host.map_or(word.clone(), |host| format!("{word} ({})", harmless(&host.name))))
            }
            (TaskState::Failed, _) => {
                let why = self.why(task.id).await.map_err(|error| failed(&error))?;
                if task.parent.is_none() {
                    self.failure = Some(why.clone());
                }
                Ok(format!("FAILED: {}", harmless(&why)))
            }
            _ => Ok(word),
        }
    }

    /// The fault of a task that failed.
    async fn why(&self, task: i64) -> Result<String, KojiError> {
        match self.koji.call(calls::get_task_result(task)).await {
            Ok(_) => Ok(String::new()),
            Err(error) => match error.fault() {
                Some(fault) => Ok(fault.to_string().trim().to_owned()),
                None => Err(error),
            },
        }
    }

    fn counts(&self) {
        let states = || self.tasks.iter().filter_map(|seen| seen.now.as_ref()).map(|task| task.state);
        let count = |which: &[TaskState]| states().filter(|state| which.contains(state)).count();
        let free = count(&[TaskState::Free]);
        let open = count(&[TaskState::Open, TaskState::Assigned]);
        let done = count(&[TaskState::Closed, TaskState::Canceled]);
        let failed = count(&[TaskState::Failed]);
        self.screen.line(&format!("  {free} free  {open} open  {done} done  {failed} failed"));
    }

    fn end(&mut self) -> Watched {
        self.screen.line("");
        for seen in self.tasks.iter().filter(|seen| seen.level == 0) {
            let how = match seen.now.as_ref().map(|task| task.state) {
                Some(TaskState::Closed) => "completed successfully",
                Some(TaskState::Failed) => "failed",
                Some(TaskState::Canceled) => "was canceled",
                _ => "has not completed",
            };
            self.screen.line(&format!("{} {how}", seen.name()));
        }
        let state = self.tasks[0].now.as_ref().map_or(TaskState::Failed, |task| task.state);
        Watched { state, failure: self.failure.take() }
    }
}
