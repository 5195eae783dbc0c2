//! Progress bars on a terminal: one for the orchestrator build and one for each platform.

use crate::terminal::{Paint, harmless};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use osbs_types::{BuildState, EventKind, LogLine, Outcome};
use std::collections::BTreeMap;
use std::time::Duration;

/// All bars of one build.
pub(crate) struct Bars {
    all: MultiProgress,
    own: ProgressBar,
    platforms: BTreeMap<String, ProgressBar>,
    paint: Paint,
}

const SPINNER: &str = "{prefix:>12} {spinner} {elapsed:>4} {wide_msg}";
const BYTES: &str = "{prefix:>12} {spinner} {elapsed:>4} [{bar:24}] {msg} {binary_bytes}/{binary_total_bytes}";

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
        .tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏·")
}

impl Bars {
    /// A spinner for the build itself.
    pub(crate) fn new(paint: Paint) -> Self {
        let all = MultiProgress::new();
        let own = add(&all, "build");
        Self { all, own, platforms: BTreeMap::new(), paint }
    }

    fn bar(&mut self, platform: Option<&str>) -> &ProgressBar {
        match platform {
            None => &self.own,
            Some(name) => {
                let all = &self.all;
                self.platforms.entry(name.to_owned()).or_insert_with(|| add(all, name))
            }
        }
    }

    /// Brings the bars up to date with one event.
    pub(crate) fn show(&mut self, event: &EventKind) {
        match event {
            EventKind::PluginStart { plugin, .. } => self.own.set_message(plugin.clone()),
            EventKind::PluginEnd { plugin, outcome: Outcome::Failed, .. } => {
                self.own.set_message(self.paint.red(&format!("{plugin} failed")));
            }
            EventKind::State { state, reason } => {
                let reason = reason.as_deref().map(|r| format!(": {r}")).unwrap_or_default();
                self.own.set_message(format!("{state}{}", harmless(&reason)));
            }
            EventKind::Progress { platform, what, done, total } => {
                self.show_progress(platform.as_deref(), what, *done, *total);
            }
            EventKind::WorkerStart { platform, build, .. } => {
                self.bar(Some(platform)).set_message(format!("{build} waits"));
            }
            EventKind::WorkerEnd { platform, state, .. } => {
                let paint = self.paint;
                let text = state.to_string();
                let bar = self.bar(Some(platform));
                bar.set_style(style(SPINNER));
                bar.finish_with_message(if *state == BuildState::Complete {
                    paint.green(&text)
                } else {
                    paint.red(&text)
                });
            }
            _ => {}
        }
    }

    fn show_progress(&mut self, platform: Option<&str>, what: &str, done: u64, total: Option<u64>) {
        let bar = self.bar(platform);
        if bar.is_finished() {
            return;
        }
        // Steps are counted in their text; only large numbers are bytes.
        if let Some(total) = total.filter(|total| *total > 100_000) {
            bar.set_style(style(BYTES));
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(harmless(what));
        } else {
            bar.set_style(style(SPINNER));
            bar.set_message(match total {
                Some(total) => format!("{done}/{total} {}", harmless(what)),
                None => harmless(what),
            });
        }
    }

    /// A log line above the bars.
    pub(crate) fn print(&self, line: &LogLine) {
        let who = line.platform.as_deref().unwrap_or("build");
        for text in line.text().lines() {
            let text = harmless(text);
            self.note(&format!("{} {text}", self.paint.dim(&format!("{who:>12} |"))));
        }
    }

    /// A line of our own above the bars.
    pub(crate) fn note(&self, text: &str) {
        // Only a lost terminal can fail here, and then nobody reads.
        let _ = self.all.println(text);
    }

    /// Takes the bars away.
    pub(crate) fn finish(self) {
        self.own.finish_and_clear();
        for bar in self.platforms.values() {
            bar.finish_and_clear();
        }
        let _ = self.all.clear();
    }
}

fn add(all: &MultiProgress, name: &str) -> ProgressBar {
    let bar = all.add(ProgressBar::new_spinner());
    bar.set_style(style(SPINNER));
    bar.set_prefix(name.to_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}
