//! What no log line, failure or annotation of a build may hold: the content of its secrets, and the passwords of its
//! configuration and of URLs in its request. Last line of defence: nothing of ours prints them in the first place, but a
//! site's own program may.

use crate::events::EventSink;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use osbs_config::{OsbsConf, ReactorConfig, Settings};
use osbs_types::{ErrorKind, Event, EventKind, Failure};
use regex::bytes::{Regex, RegexBuilder};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// Shorter texts are words of every log.
const SHORTEST: usize = 6;
/// Of the compiled pattern. A bundle of all the world's authorities is a tenth of it.
const LARGEST_PATTERN: usize = 64 << 20;
/// Keys of secrets that are shown: names are no secrets.
const PUBLIC_KEYS: [&str; 5] = ["username", "user", "namespace", "host", "url"];
/// Members of JSON files of registry logins.
const LOGIN_MEMBERS: [&str; 6] = ["auth", "password", "identitytoken", "registrytoken", "token", "secret"];

/// The texts to be masked, gathered.
#[derive(Default)]
pub struct SecretTexts(BTreeSet<Vec<u8>>);

impl SecretTexts {
    /// What is secret in one file of a secret. Of configuration and of registry logins the passwords, of others every line.
    pub fn add_file(&mut self, key: &str, bytes: &[u8]) {
        let Ok(text) = std::str::from_utf8(bytes) else {
            self.add(bytes);
            return;
        };
        match key {
            _ if PUBLIC_KEYS.contains(&key) => {}
            "config.yaml" => self.add_reactor_config(text),
            "osbs.conf" => self.add_osbs_conf(text),
            _ => match serde_json::from_str::<Value>(text) {
                Ok(json @ (Value::Object(_) | Value::Array(_))) => self.add_logins(&json),
                _ => text
                    .lines()
                    .filter(|line| !line.starts_with("-----"))
                    .for_each(|line| self.add(line.trim().as_bytes())),
            },
        }
    }

    /// The passwords of the site's configuration. A text that is none has none.
    pub fn add_reactor_config(&mut self, text: &str) {
        if let Ok(parsed) = ReactorConfig::parse(text, "config.yaml") {
            self.add_hidden(parsed.value.raw(), &parsed.value.redacted());
        }
    }

    /// Files that the site's configuration names for a login: `auth.cfg_path` and its like. Those that are a secret of the
    /// build may be among them.
    pub fn login_files(reactor_config: &str) -> Vec<PathBuf> {
        let mut files = Vec::new();
        if let Ok(parsed) = ReactorConfig::parse(reactor_config, "config.yaml") {
            add_login_files(parsed.value.raw(), &mut files);
        }
        files
    }

    /// The passwords of all `scheme://user:password@host` in a text.
    pub fn add_urls(&mut self, text: &str) {
        for rest in text.split("://").skip(1) {
            let end = rest.find(['/', '?', '#', '"', '\'', '\\', ' ', '\n']).unwrap_or(rest.len());
            let Some((_, password)) = rest[..end].rsplit_once('@').and_then(|(login, _)| login.split_once(':')) else {
                continue;
            };
            self.add(password.as_bytes());
            self.add(&without_percents(password));
        }
    }

    fn add_osbs_conf(&mut self, text: &str) {
        let Ok(parsed) = OsbsConf::parse(text, "osbs.conf") else { return };
        for name in parsed.value.instances() {
            let settings = Settings::new(Some(parsed.value.clone()), name, BTreeMap::new(), BTreeMap::new());
            let Ok(instance) = settings.resolve() else { continue };
            for secret in [instance.value.token, instance.value.password].into_iter().flatten() {
                self.add(secret.reveal().as_bytes());
            }
        }
    }

    /// What the one has and the other has not.
    fn add_hidden(&mut self, raw: &Value, shown: &Value) {
        match (raw, shown) {
            (Value::Object(raw), Value::Object(shown)) => {
                raw.iter()
                    .filter_map(|(key, raw)| Some((raw, shown.get(key)?)))
                    .for_each(|(a, b)| self.add_hidden(a, b));
            }
            (Value::Array(raw), Value::Array(shown)) => {
                raw.iter().zip(shown).for_each(|(raw, shown)| self.add_hidden(raw, shown));
            }
            (Value::String(raw), Value::String(shown)) if raw != shown => {
                let login = raw.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@'));
                let password = login.map_or(raw.as_str(), |(login, _)| login.split_once(':').map_or(login, |(_, p)| p));
                self.add(password.as_bytes());
            }
            _ => {}
        }
    }

    fn add_logins(&mut self, json: &Value) {
        match json {
            Value::Object(members) => {
                for (key, value) in members {
                    match value {
                        Value::String(text) if LOGIN_MEMBERS.contains(&key.as_str()) => self.add_login(text),
                        value => self.add_logins(value),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.add_logins(item)),
            _ => {}
        }
    }

    /// A password, or `USER:PASSWORD` in base64.
    fn add_login(&mut self, text: &str) {
        self.add(text.as_bytes());
        if let Ok(login) = STANDARD.decode(text)
            && let Some(colon) = login.iter().position(|byte| *byte == b':')
        {
            self.add(&login[colon + 1..]);
        }
    }

    fn add(&mut self, text: &[u8]) {
        if text.len() >= SHORTEST {
            self.0.insert(with_percents(text));
            self.0.insert(text.to_owned());
        }
    }

    /// One pattern for all; the longest first, so that no part of one is left.
    fn pattern(&self) -> Result<Option<Regex>, Failure> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let mut texts: Vec<&Vec<u8>> = self.0.iter().collect();
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        let escaped: Vec<String> = texts.iter().map(|text| escape(text)).collect();
        let built = RegexBuilder::new(&escaped.join("|")).unicode(false).size_limit(LARGEST_PATTERN).build();
        built.map(Some).map_err(|_| {
            Failure::message(ErrorKind::Policy, "the secrets of this build are too large to be kept out of its log")
                .with_hint("a secret is for passwords, tokens and keys: keep large files in a ConfigMap")
        })
    }
}

/// Members of `config.yaml` that name a file or folder with a login.
const LOGIN_FILES: [&str; 4] = ["cfg_path", "password_path", "ssl_certs_dir", "krb_keytab_path"];

fn add_login_files(value: &Value, files: &mut Vec<PathBuf>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                match value {
                    Value::String(path) if LOGIN_FILES.contains(&key.as_str()) => files.push(path.into()),
                    value => add_login_files(value, files),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| add_login_files(item, files)),
        _ => {}
    }
}

/// As a URL has it (RFC 3986, 2.1).
fn with_percents(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(*byte),
            byte => out.extend(format!("%{byte:02X}").bytes()),
        }
    }
    out
}

/// What a part of a URL stands for.
fn without_percents(text: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            out.push(byte);
            rest = &tail[2..];
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    out
}

fn escape(text: &[u8]) -> String {
    text.iter().flat_map(|byte| ["\\x".to_owned(), format!("{byte:02x}")]).collect()
}

/// Passes events on with every secret text replaced by `***`.
pub struct MaskingSink {
    inner: Arc<dyn EventSink>,
    pattern: OnceLock<Regex>,
}

impl MaskingSink {
    /// Over another sink; masks nothing yet.
    pub fn over(inner: Arc<dyn EventSink>) -> Arc<Self> {
        Arc::new(Self { inner, pattern: OnceLock::new() })
    }

    /// From now on these are masked. To be called once.
    ///
    /// # Errors
    /// They are too many.
    pub fn mask_from_now_on(&self, texts: &SecretTexts) -> Result<(), Failure> {
        if let Some(pattern) = texts.pattern()? {
            let _ = self.pattern.set(pattern);
        }
        Ok(())
    }

    fn bytes<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        match self.pattern.get() {
            Some(pattern) => pattern.replace_all(text, &b"***"[..]),
            None => Cow::Borrowed(text),
        }
    }

    fn failure(&self, failure: &Failure) -> Failure {
        let text = |text: &String| self.mask(text).into_owned();
        let mut masked = failure.clone();
        masked.message = text(&failure.message);
        masked.causes = failure.causes.iter().map(text).collect();
        masked.hint = failure.hint.as_ref().map(text);
        masked
    }

    /// The same event without secrets; `None`: there was none in it.
    fn masked(&self, event: &Event) -> Option<Event> {
        let pattern = self.pattern.get()?;
        let kind = match &event.kind {
            EventKind::Log(line) if pattern.is_match(&line.message) => {
                let mut line = line.clone();
                line.message = self.bytes(&line.message).into_owned();
                EventKind::Log(line)
            }
            EventKind::Failure(failure) => EventKind::Failure(self.failure(failure)),
            EventKind::State { state, reason: Some(reason) } => {
                EventKind::State { state: *state, reason: Some(self.mask(reason).into_owned()) }
            }
            EventKind::Progress { platform, what, done, total } if pattern.is_match(what.as_bytes()) => {
                let (platform, what) = (platform.clone(), self.mask(what).into_owned());
                EventKind::Progress { platform, what, done: *done, total: *total }
            }
            _ => return None,
        };
        Some(Event { time: event.time, kind })
    }
}

impl EventSink for MaskingSink {
    fn emit(&self, event: &Event) {
        match self.masked(event) {
            Some(masked) => self.inner.emit(&masked),
            None => self.inner.emit(event),
        }
    }

    fn flush(&self) {
        self.inner.flush();
    }

    fn check(&self) -> Result<(), Failure> {
        self.inner.check()
    }

    fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.bytes(text.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::MemorySink;
    use osbs_types::{Level, LogLine, Timestamp};

    #[track_caller]
    fn check(key: &str, content: &str, text: &str, expected: &str) {
        let sink = MaskingSink::over(Arc::new(MemorySink::default()));
        let mut texts = SecretTexts::default();
        texts.add_file(key, content.as_bytes());
        sink.mask_from_now_on(&texts).unwrap();
        assert_eq!(sink.mask(text), expected, "{key}");
    }

    #[test]
    fn what_is_masked() {
        check("token", "hunter2hunter2\n", "a hunter2hunter2 b", "a *** b");
        check("token", "short", "short is a word", "short is a word");
        check("username", "builder", "builder", "builder");
        check(
            "key.pem",
            "-----BEGIN KEY-----\nMIIabcdef\n-----END KEY-----\n",
            "MIIabcdef -----BEGIN KEY-----",
            "*** -----BEGIN KEY-----",
        );
        check(
            ".dockercfg",
            r#"{"r.example": {"auth": "bWU6aHVudGVyMg==", "email": "e@x.org"}}"#,
            "hunter2 bWU6aHVudGVyMg== e@x.org",
            "*** *** e@x.org",
        );
        check(
            "config.yaml",
            "version: 1\nregistries: [{url: r.example}]\nfuture: {api_token: hunter22}\nodcs_url: 'https://u:hunter33@h/'\n",
            "hunter22 hunter33 r.example",
            "*** *** r.example",
        );
        check(
            "osbs.conf",
            "[a]\npassword = hunter44\ntoken_file = /tmp/token\n",
            "hunter44 /tmp/token",
            "*** /tmp/token",
        );
        check("token", "secret.*", "secret.* secretxx", "*** secretxx");
        check("token", "hush/hush+1", "https://u:hush%2Fhush%2B1@h", "https://u:***@h");
    }

    #[track_caller]
    fn check_urls(request: &str, text: &str, expected: &str) {
        let sink = MaskingSink::over(Arc::new(MemorySink::default()));
        let mut texts = SecretTexts::default();
        texts.add_urls(request);
        sink.mask_from_now_on(&texts).unwrap();
        assert_eq!(sink.mask(text), expected, "{request}");
    }

    #[test]
    fn passwords_of_urls() {
        let request =
            r#"{"yum_repourls": ["http://me:hush%2Fhush@h/a.repo", "https://you:hunter2@h?x=1"], "c": "a:b@c"}"#;
        check_urls(request, "hush/hush hush%2Fhush hunter2 yum_repourls", "*** *** *** yum_repourls");
        check_urls("http://host:portport/a@b http://user@host", "portport host", "portport host");
        check_urls("http://u:p@ssword@h 50%", "p@ssword", "***");
    }

    #[test]
    fn files_with_logins() {
        let config = "version: 1\nregistries: [{url: 'https://r.io', auth: {cfg_path: /a}}]\n\
            smtp: {host: h, from_address: a@b.c, tls: starttls, auth: {username: u, password_path: /b}}\n";
        assert_eq!(SecretTexts::login_files(config), [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert!(SecretTexts::login_files("- no").is_empty());
    }

    #[test]
    fn every_kind_of_event() {
        let list = Arc::new(MemorySink::default());
        let sink = MaskingSink::over(Arc::clone(&list) as Arc<dyn EventSink>);
        let mut texts = SecretTexts::default();
        texts.add_file("token", b"hunter2hunter2");
        texts.add_file("longer", b"hunter2hunter2andmore");
        sink.mask_from_now_on(&texts).unwrap();
        let mut failure =
            Failure::message(ErrorKind::Remote, "no hunter2hunter2").with_hint("not hunter2hunter2andmore");
        failure.causes.push("hunter2hunter2".to_owned());
        for kind in [
            EventKind::Log(LogLine::new("x", Level::Info, &b"\xffhunter2hunter2andmore"[..])),
            EventKind::Failure(failure),
            EventKind::State { state: osbs_types::BuildState::Failed, reason: Some("hunter2hunter2".to_owned()) },
            EventKind::Progress {
                platform: None,
                what: "ADD https://hunter2hunter2@h".to_owned(),
                done: 1,
                total: None,
            },
        ] {
            sink.emit(&Event { time: Timestamp::now(), kind });
        }
        let told = format!("{:?}", list.events());
        assert!(!told.contains("hunter2") && !told.contains("104, 117, 110, 116, 101, 114, 50"), "{told}");
        assert!(!told.contains("andmore"), "{told}");
    }
}
