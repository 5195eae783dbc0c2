//! Instructions that only change the image config.

use crate::error::InstructionError;
use crate::signals;
use crate::variables::{GlobalArgs, StageArgs, set_env};
use osbs_dockerfile::{CommandForm, Healthcheck, InstructionKind, Pair};
use osbs_image::ImageConfig;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// What a stage has said so far, beside its files.
#[derive(Debug, Clone)]
pub(crate) struct StageConfig {
    pub image: ImageConfig,
    pub args: StageArgs,
    /// A CMD of this Dockerfile survives a later ENTRYPOINT; an inherited one does not.
    pub own_cmd: bool,
}

impl StageConfig {
    pub(crate) fn env(&self) -> &[String] {
        &self.image.config.env
    }

    pub(crate) fn expand(&self, word: &str, global: &GlobalArgs) -> Result<String, InstructionError> {
        self.args.expand(word, self.env(), global)
    }

    /// SHELL, or the default.
    pub(crate) fn shell(&self) -> Vec<String> {
        match &self.image.config.shell {
            Some(shell) if !shell.is_empty() => shell.clone(),
            _ => vec!["/bin/sh".to_owned(), "-c".to_owned()],
        }
    }

    fn command(&self, form: &CommandForm) -> Vec<String> {
        match form {
            CommandForm::Exec(args) => args.clone(),
            CommandForm::Shell(text) if text.is_empty() => Vec::new(),
            CommandForm::Shell(text) => {
                let mut args = self.shell();
                args.push(text.clone());
                args
            }
        }
    }

    /// The new WORKDIR: absolute, cleaned lexically as Docker does.
    pub(crate) fn workdir(&self, word: &str, global: &GlobalArgs) -> Result<String, InstructionError> {
        let path = self.expand(word, global)?;
        Ok(clean_path(&absolute(&self.image.config.working_dir, &path)))
    }

    /// Carries out an instruction of this module; `false`: it is another's.
    pub(crate) fn apply(&mut self, kind: &InstructionKind, global: &GlobalArgs) -> Result<bool, InstructionError> {
        match kind {
            InstructionKind::Env(pairs) => {
                let pairs = self.pairs(pairs, global)?;
                for (key, value) in &pairs {
                    set_env(&mut self.image.config.env, key, value);
                }
            }
            InstructionKind::Label(pairs) => {
                let pairs = self.pairs(pairs, global)?;
                self.image.config.labels.extend(pairs);
            }
            InstructionKind::Arg(declarations) => {
                for declaration in declarations {
                    self.args.declare(declaration, &self.image.config.env, global)?;
                }
            }
            InstructionKind::User(word) => self.image.config.user = self.expand(word, global)?,
            InstructionKind::Volume(words) => {
                for word in words {
                    let path = self.expand(word, global)?;
                    if path.trim().is_empty() {
                        return Err(bad("VOLUME", &path, "a path"));
                    }
                    self.image.config.volumes.insert(path, Value::Object(Map::new()));
                }
            }
            InstructionKind::Expose(words) => {
                for word in words {
                    for port in self.args.expand_words(word, &self.image.config.env, global)? {
                        for port in ports(&port)? {
                            self.image.config.exposed_ports.insert(port, Value::Object(Map::new()));
                        }
                    }
                }
            }
            InstructionKind::Entrypoint(form) => {
                self.image.config.entrypoint = Some(self.command(form)).filter(|args| !args.is_empty());
                if !self.own_cmd {
                    self.image.config.cmd = None;
                }
            }
            InstructionKind::Cmd(form) => {
                self.image.config.cmd = Some(self.command(form)).filter(|args| !args.is_empty());
                self.own_cmd = true;
            }
            InstructionKind::Shell(words) => self.image.config.shell = Some(words.clone()),
            InstructionKind::Stopsignal(word) => {
                let signal = self.expand(word, global)?;
                signals::check(&signal).map_err(|expected| bad("STOPSIGNAL", &signal, &expected))?;
                self.image.config.stop_signal = Some(signal);
            }
            InstructionKind::Healthcheck(check) => self.image.config.healthcheck = Some(healthcheck(check)),
            InstructionKind::Onbuild { text, .. } => {
                self.image.config.on_build.get_or_insert_default().push(text.clone());
            }
            InstructionKind::Maintainer(name) => self.image.author = Some(name.clone()),
            InstructionKind::From { .. }
            | InstructionKind::Run(_)
            | InstructionKind::Copy(_)
            | InstructionKind::Add(_)
            | InstructionKind::Workdir(_) => return Ok(false),
        }
        Ok(true)
    }

    /// All values see the environment from before the instruction.
    fn pairs(&self, pairs: &[Pair], global: &GlobalArgs) -> Result<Vec<(String, String)>, InstructionError> {
        pairs
            .iter()
            .map(|pair| {
                let key = self.expand(&pair.key, global)?;
                if key.is_empty() {
                    return Err(bad("name", &pair.key, "a name that is not empty"));
                }
                Ok((key, self.expand(&pair.value, global)?))
            })
            .collect()
    }
}

/// Docker's member `Healthcheck`; times are nanoseconds.
fn healthcheck(check: &Healthcheck) -> Value {
    let Healthcheck::Command { command, interval, timeout, start_period, start_interval, retries } = check else {
        return json!({"Test": ["NONE"]});
    };
    let test: Vec<String> = match command {
        CommandForm::Exec(args) => std::iter::once("CMD".to_owned()).chain(args.iter().cloned()).collect(),
        CommandForm::Shell(text) => vec!["CMD-SHELL".to_owned(), text.clone()],
    };
    let mut value = Map::new();
    value.insert("Test".to_owned(), json!(test));
    let times = [
        ("Interval", interval),
        ("Timeout", timeout),
        ("StartPeriod", start_period),
        ("StartInterval", start_interval),
    ];
    for (name, time) in times {
        if let Some(time) = time.filter(|time| *time != Duration::ZERO) {
            value.insert(name.to_owned(), json!(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)));
        }
    }
    if let Some(retries) = retries {
        value.insert("Retries".to_owned(), json!(retries));
    }
    Value::Object(value)
}

fn bad(what: &'static str, value: &str, expected: &str) -> InstructionError {
    InstructionError::BadValue { what, value: value.to_owned(), expected: expected.to_owned() }
}

/// `path` seen from the folder `base`.
pub(crate) fn absolute(base: &str, path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{base}/{path}") }
}

/// Without `.`, `..`, doubled and trailing slashes; links are not looked at, as in Go's `path.Clean`.
pub(crate) fn clean_path(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// `8080`, `8000-8010/udp`, to `PORT/PROTOCOL` each.
fn ports(text: &str) -> Result<Vec<String>, InstructionError> {
    let wrong = || bad("EXPOSE", text, "PORT or FIRST-LAST, 0 to 65535, with /tcp, /udp or /sctp");
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(wrong());
    }
    // `8080:80` of docker run: the last number is the container's.
    let range = range.rsplit(':').next().unwrap_or(range);
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last): (u16, u16) = (first.parse().map_err(|_| wrong())?, last.parse().map_err(|_| wrong())?);
    if first > last {
        return Err(wrong());
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

#[cfg(test)]
mod tests;
