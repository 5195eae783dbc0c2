//! Secrets, in every form that they may be written in, looked for in what a build leaves and says.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// As a URL has it: all that is not letter or digit, by its number.
pub fn in_url(secret: &str) -> String {
    let letter = |b: u8| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") };
    secret.bytes().map(letter).collect()
}

pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let number =
            chunk.iter().fold(0_usize, |number, byte| number << 8 | usize::from(*byte)) << (8 * (3 - chunk.len()));
        (0..=chunk.len()).for_each(|place| out.push(char::from(LETTERS[number >> (18 - 6 * place) & 63])));
    }
    while !out.len().is_multiple_of(4) {
        out.push('=');
    }
    out
}

/// As it is, in a URL, in JSON, and what base64 makes of it wherever it begins in a longer text.
fn forms(secret: &str) -> Vec<String> {
    let mut all = vec![secret.to_owned(), in_url(secret), in_url(secret).to_lowercase(), secret.replace('/', "\\/")];
    for before in 0..3 {
        let encoded = base64(&[&vec![b' '; before], secret.as_bytes()].concat());
        let whole = (before + secret.len()) * 8 / 6;
        all.push(encoded[(before * 8).div_ceil(6)..whole].to_owned());
    }
    all
}

/// Secrets by name.
#[derive(Default)]
pub struct Canaries(Vec<(String, String)>);

impl Canaries {
    /// Those whose name is what they are.
    pub fn of(secrets: &[&str]) -> Self {
        secrets.iter().fold(Self::default(), |canaries, secret| canaries.and(secret, secret))
    }

    /// One more.
    pub fn and(mut self, name: &str, secret: &str) -> Self {
        self.0.extend(forms(secret).into_iter().map(|form| (name.to_owned(), form)));
        self
    }

    /// The names of those that are in these bytes.
    pub fn sing_in(&self, bytes: &[u8]) -> BTreeSet<&str> {
        // The standard library searches texts quickly, in a test that is not optimised too.
        let text = String::from_utf8_lossy(bytes);
        self.0.iter().filter(|(_, form)| text.contains(form)).map(|(name, _)| name.as_str()).collect()
    }

    #[track_caller]
    pub fn check(&self, what: &str, bytes: &[u8]) {
        let found = self.sing_in(bytes);
        let shown = || String::from_utf8_lossy(&bytes[..bytes.len().min(20_000)]).into_owned();
        assert!(found.is_empty(), "{what} holds {found:?}:\n{}", shown());
    }

    /// Every file below, unpacked where it is compressed.
    #[track_caller]
    pub fn check_files(&self, folder: &Path) -> usize {
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
