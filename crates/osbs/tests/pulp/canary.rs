//! The password and the client key of Pulp, looked for in all that a build leaves and says.

use crate::pulp_server::RealPulp;
use crate::world::{Done, World};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Secrets in the forms they may be written in.
pub struct Canary {
    forms: Vec<(String, String)>,
    /// What was said on terminals.
    said: Mutex<Vec<String>>,
}

/// Without what fills it up to four letters.
pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |place| byte >> place & 1)).peekable();
    let mut text = String::new();
    while bits.peek().is_some() {
        let number = (0..6).fold(0_usize, |number, _| number << 1 | usize::from(bits.next().unwrap_or(0)));
        text.push(char::from(LETTERS[number]));
    }
    text
}

impl Canary {
    pub fn new(pulp: &RealPulp) -> Self {
        let canary = Self { forms: Vec::new(), said: Mutex::default() };
        canary.and("the password", pulp.address("password"))
    }

    /// One more secret, as it is and as base64 has it wherever it begins in a longer text.
    pub fn and(mut self, name: &str, secret: &str) -> Self {
        self.forms.push((name.to_owned(), secret.to_owned()));
        for before in 0..3 {
            let encoded = base64(&[&vec![b' '; before], secret.as_bytes()].concat());
            let (first, last) = ((before * 8).div_ceil(6), (before + secret.len()) * 8 / 6);
            self.forms.push((format!("{name} in base64"), encoded[first..last].to_owned()));
        }
        self
    }

    /// The name of the secret that is in these bytes.
    pub fn sings_in(&self, bytes: &[u8]) -> Option<&str> {
        // The standard library searches texts quickly, in a test that is not optimised too.
        let text = String::from_utf8_lossy(bytes);
        let found = self.forms.iter().find(|(_, form)| text.contains(form));
        found.map(|(name, _)| name.as_str())
    }

    /// Keeps what a command said.
    pub fn hear(&self, done: &Done) {
        let said = format!("{}{}", done.out, done.err);
        self.said.lock().unwrap_or_else(PoisonError::into_inner).push(said);
    }

    #[track_caller]
    pub fn check(&self, what: &str, bytes: &[u8]) {
        let found = self.sings_in(bytes);
        assert!(
            found.is_none(),
            "{what} holds {found:?}: {}",
            String::from_utf8_lossy(&bytes[..bytes.len().min(9000)])
        );
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
        assert!(self.check_files(&world.path("home/builds")) > 1);
        assert!(self.check_files(&world.path("home/store")) > 5);
        for folder in more {
            assert!(self.check_files(folder) > 0, "{} is empty", folder.display());
        }
    }

    #[track_caller]
    fn check_files(&self, folder: &Path) -> usize {
        let mut count = 0;
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, kind) = (entry.path(), entry.file_type().expect("a type"));
            if kind.is_dir() {
                count += self.check_files(&path);
            } else if kind.is_file() {
                let mut bytes = fs::read(&path).unwrap_or_default();
                if bytes.starts_with(&[0x1f, 0x8b]) {
                    bytes = Command::new("gzip").arg("-dc").arg(&path).output().expect("gzip starts").stdout;
                }
                // The parent's programs hold nothing of ours, and are large.
                if bytes.len() < 1 << 20 {
                    self.check(&path.display().to_string(), &bytes);
                }
                count += 1;
            }
        }
        count
    }
}
