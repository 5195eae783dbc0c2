//! A build that stands still where a test wants it, so that it can be killed there. Compiled into debug builds only: a
//! released program has nothing of this.
//!
//! A file `hold/PREFIX` in the home folder is for builds whose names begin so. It holds KIND, PLUGIN and WHERE: `worker` or
//! `orchestrator`; a plugin; and the number of one of its events, its start being 0, or `end`. What is reached is told by a
//! file `hold/PREFIX.held`; the build goes on when the first is removed.

use osbs_cluster::Build;
use osbs_reactor::events::EventSink;
use osbs_types::{Event, EventKind, Failure};
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Passes events on, and does not return from the one that is waited for.
pub(super) struct Holding {
    inner: Arc<dyn EventSink>,
    file: PathBuf,
    plugin: String,
    place: String,
    /// Events of the plugin so far; `None`: it does not run.
    seen: Mutex<Option<usize>>,
}

impl Holding {
    /// Over another sink, if a file asks for it.
    pub(super) fn over(inner: &Arc<dyn EventSink>, home: &Path, build: &Build) -> Arc<dyn EventSink> {
        let wish = Self::wish(home, build).map(|(file, plugin, place)| Self {
            inner: Arc::clone(inner),
            file,
            plugin,
            place,
            seen: Mutex::new(None),
        });
        wish.map_or_else(|| Arc::clone(inner), |holding| Arc::new(holding) as Arc<dyn EventSink>)
    }

    fn wish(home: &Path, build: &Build) -> Option<(PathBuf, String, String)> {
        for entry in std::fs::read_dir(home.join("hold")).ok()?.flatten() {
            let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
            let [kind, plugin, place] = text.split_whitespace().collect::<Vec<_>>()[..] else { continue };
            if build.name.as_str().starts_with(&*entry.file_name().to_string_lossy())
                && kind == build.build_type.as_str()
            {
                return Some((entry.path(), plugin.to_owned(), place.to_owned()));
            }
        }
        None
    }

    /// What this event is called in a wish; `None`: it is not the plugin's.
    fn place_of(&self, event: &Event) -> Option<String> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match &event.kind {
            EventKind::PluginStart { plugin, .. } if *plugin == self.plugin => *seen = Some(0),
            EventKind::PluginEnd { plugin, .. } if *plugin == self.plugin => {
                *seen = None;
                return Some("end".to_owned());
            }
            _ => *seen = seen.map(|count| count + 1),
        }
        seen.map(|count| count.to_string())
    }
}

impl EventSink for Holding {
    fn emit(&self, event: &Event) {
        self.inner.emit(event);
        if self.place_of(event).as_ref() != Some(&self.place) || !self.file.exists() {
            return;
        }
        self.inner.flush();
        let _ = std::fs::write(self.file.with_extension("held"), "");
        while self.file.exists() {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn flush(&self) {
        self.inner.flush();
    }

    fn check(&self) -> Result<(), Failure> {
        self.inner.check()
    }

    fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.inner.mask(text)
    }
}
