//! One run of the program: what the user wants to see, where it goes, and which cluster is meant.

use crate::args::{Global, OutputFormat};
use crate::failure_screen;
use crate::site::{Configured, Site};
use crate::terminal::{self, Paint, Table};
use osbs_client::Osbs;
use osbs_cluster::{Build, Cluster, ClusterError};
use osbs_types::{BuildName, ErrorKind, Failure, Level};
use std::io::{IsTerminal, Write};
use std::sync::{Arc, OnceLock};

/// Options and the site they lead to, opened when first needed: `--help` and `completion` touch no file.
pub(crate) struct Session {
    global: Global,
    output: OutputFormat,
    settings: Vec<(&'static str, String)>,
    site: OnceLock<Site>,
}

impl Session {
    /// Nothing is read yet. `settings` are options of the command that stand for keys of osbs.conf.
    pub(crate) fn new(global: Global, output: OutputFormat, settings: Vec<(&'static str, String)>) -> Self {
        Self { global, output, settings, site: OnceLock::new() }
    }

    /// The configured instance, whether or not its cluster can be reached from here.
    pub(crate) fn configured(&self) -> Result<Configured, Failure> {
        Configured::read(&self.global, &self.settings)
    }

    /// The global options.
    pub(crate) fn global(&self) -> &Global {
        &self.global
    }

    /// The configured site.
    pub(crate) fn site(&self) -> Result<&Site, Failure> {
        if self.site.get().is_none() {
            let site = Site::open(&self.global, &self.settings)?;
            // Somebody else may have been quicker; theirs is the same.
            let _ = self.site.set(site);
        }
        self.site.get().ok_or_else(|| Failure::message(ErrorKind::Internal, "the site was set and is not there"))
    }

    /// The instance's client.
    pub(crate) fn osbs(&self) -> Result<&Osbs, Failure> {
        Ok(self.site()?.osbs())
    }

    /// The instance's cluster.
    pub(crate) fn cluster(&self) -> Result<Arc<dyn Cluster>, Failure> {
        Ok(self.site()?.cluster())
    }

    /// A build by the name a user typed.
    pub(crate) async fn find_build(&self, name: &str) -> Result<Build, Failure> {
        let name: BuildName = name.parse().map_err(|text: String| Failure::message(ErrorKind::User, text))?;
        self.cluster()?.get_build(&name).await.map_err(|error| match error {
            ClusterError::BuildNotFound { .. } => {
                error.to_failure().with_hint("osbs list-builds --workers shows all names")
            }
            _ => error.to_failure(),
        })
    }

    /// `--output json`.
    pub(crate) fn wants_json(&self) -> bool {
        self.output == OutputFormat::Json
    }

    /// `--quiet`.
    pub(crate) fn is_quiet(&self) -> bool {
        self.global.quiet
    }

    /// `--verbose`.
    pub(crate) fn is_verbose(&self) -> bool {
        self.global.verbose
    }

    /// Whether bars can be drawn.
    pub(crate) fn is_interactive(&self) -> bool {
        !self.wants_json() && !self.global.quiet && terminal::is_interactive()
    }

    /// The least important level of log that is shown.
    pub(crate) fn level(&self) -> Level {
        match (self.global.verbose, self.global.quiet) {
            (true, _) => Level::Debug,
            (_, true) => Level::Warning,
            _ => Level::Info,
        }
    }

    /// Colours of standard output.
    pub(crate) fn paint(&self) -> Paint {
        Paint::new(self.global.color, std::io::stdout().is_terminal())
    }

    /// A result, to standard output. A reader that has gone is no error of ours.
    #[expect(clippy::unused_self, reason = "all that is shown goes through the session")]
    pub(crate) fn print(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// A JSON document, to standard output.
    pub(crate) fn print_json(&self, value: &impl serde::Serialize) {
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.print(&format!("{text}\n")),
            Err(error) => eprintln!("osbs: cannot write JSON: {error}"),
        }
    }

    /// A table: heading to standard error, rows to standard output.
    pub(crate) fn print_table(&self, table: &Table) {
        let (heading, rows) = table.render();
        if !self.global.quiet {
            eprintln!("{}", Paint::new(self.global.color, std::io::stderr().is_terminal()).bold(&heading));
        }
        for row in rows {
            self.print(&format!("{row}\n"));
        }
    }

    /// A remark to the user, to standard error.
    pub(crate) fn note(&self, text: &str) {
        if !self.global.quiet {
            eprintln!("{text}");
        }
    }

    /// A failure, to standard error, on one screen.
    pub(crate) fn report(&self, failure: &Failure) {
        if self.wants_json() {
            eprintln!("{}", serde_json::json!({"failure": failure}));
        } else {
            let paint = Paint::new(self.global.color, std::io::stderr().is_terminal());
            eprint!("{}", failure_screen::render(failure, paint));
        }
    }
}
