//! The password and the client key of Pulp, looked for in all that a build leaves and says.

use crate::pulp_server::RealPulp;
use crate::world::canaries::Canaries;
use crate::world::{Done, World};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// The secrets, and what was said.
pub struct Canary {
    secrets: Canaries,
    /// What was said on terminals.
    said: Mutex<Vec<String>>,
}

impl Canary {
    pub fn new(pulp: &RealPulp) -> Self {
        let secrets = Canaries::default().and("the password", pulp.address("password"));
        Self { secrets, said: Mutex::default() }
    }

    /// One more secret.
    pub fn and(self, name: &str, secret: &str) -> Self {
        Self { secrets: self.secrets.and(name, secret), ..self }
    }

    /// The name of the secret that is in these bytes.
    pub fn sings_in(&self, bytes: &[u8]) -> Option<&str> {
        self.secrets.sing_in(bytes).into_iter().next()
    }

    /// Keeps what a command said.
    pub fn hear(&self, done: &Done) {
        let said = format!("{}{}", done.out, done.err);
        self.said.lock().unwrap_or_else(PoisonError::into_inner).push(said);
    }

    #[track_caller]
    pub fn check(&self, what: &str, bytes: &[u8]) {
        self.secrets.check(what, bytes);
    }

    /// Terminals, logs, events, records, layers, histories, labels; and what registries got.
    #[track_caller]
    pub fn check_world(&self, world: &World, more: &[&Path]) {
        for said in self.said.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            self.check("a terminal", said.as_bytes());
        }
        for name in world.build_names() {
            for args in [&["get-build", &name, "--output", "json"][..], &["build-logs", &name]] {
                let done = world.run(args);
                self.check(&format!("osbs {args:?}"), (done.out + &done.err).as_bytes());
            }
        }
        let database = Command::new("sqlite3").arg(world.path("home/cluster.db")).arg(".dump").output();
        let database = database.expect("sqlite3 starts").stdout;
        assert!(database.len() > 1000);
        self.check("cluster.db", &database);
        for entry in fs::read_dir(world.path("home")).expect("there").flatten() {
            if entry.file_name().to_string_lossy().starts_with("cluster.db") {
                self.check("cluster.db", &fs::read(entry.path()).unwrap_or_default());
            }
        }
        assert!(self.secrets.check_files(&world.path("home/builds")) > 1);
        assert!(self.secrets.check_files(&world.path("home/store")) > 5);
        for folder in more {
            assert!(self.secrets.check_files(folder) > 0, "{} is empty", folder.display());
        }
    }
}
