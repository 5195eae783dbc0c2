//! What an image build reads before it begins: Dockerfile, ignore file, secrets, agents.
//!
//! Must not read the context.

use super::args::ImageBuildArgs;
use super::values::{SecretSource, SshAgent};
use osbs_dockerfile::{Dockerfile, InstructionKind, nearest};
use osbs_types::{ErrorKind, Failure};
use rustix::fs::MemfdFlags;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Largest ignore file.
const IGNORE_FILE: u64 = 1 << 20;

/// The Dockerfile, and the text of the ignore file that belongs to it alone.
pub(super) fn dockerfile(args: &ImageBuildArgs) -> Result<(Dockerfile, Option<String>), Failure> {
    let path = args.dockerfile();
    let (text, name) = match &path {
        None => (read_all(std::io::stdin()), "standard input".to_owned()),
        Some(path) => (File::open(path).and_then(read_all_of), shown(path)),
    };
    let text = text.map_err(|error| {
        let (at, context) = (path.as_deref().unwrap_or(Path::new("-")), args.context.display());
        let hint = if args.file.is_none() { "name it by --file, or name another context" } else { "is --file right?" };
        let message = format!("cannot read the Dockerfile {} (build context {context}): {error}", at.display());
        Failure::message(ErrorKind::User, message).with_hint(hint)
    })?;
    let dockerfile = Dockerfile::parse_bytes(&text, &name).map_err(|e| e.to_failure())?;
    let ignore = path.as_deref().map(ignore_file).transpose()?.flatten();
    Ok((dockerfile, ignore))
}

fn read_all(from: impl Read) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    // A file that is too large is refused by the parser, with its own words.
    from.take(osbs_dockerfile::MAX_FILE_SIZE as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

fn read_all_of(file: File) -> std::io::Result<Vec<u8>> {
    read_all(file)
}

fn shown(path: &Path) -> String {
    path.file_name().map_or_else(|| "Dockerfile".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// `FILE.dockerignore` beside the Dockerfile FILE, which then counts instead of the context's.
fn ignore_file(dockerfile: &Path) -> Result<Option<String>, Failure> {
    let mut path = dockerfile.as_os_str().to_owned();
    path.push(".dockerignore");
    let failed = |error: std::io::Error| {
        Failure::message(ErrorKind::User, format!("cannot read {}: {error}", Path::new(&path).display()))
    };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut text = String::new();
    file.take(IGNORE_FILE).read_to_string(&mut text).map_err(failed)?;
    Ok(Some(text))
}

/// Build arguments that no ARG asks for: often slips of the keyboard. One remark each.
pub(super) fn unused_arguments(dockerfile: &Dockerfile, given: &BTreeMap<String, String>) -> Vec<String> {
    let mut declared = BTreeSet::new();
    for instruction in dockerfile.instructions() {
        let kind = match &instruction.kind {
            InstructionKind::Onbuild { trigger, .. } => &trigger.kind,
            kind => kind,
        };
        if let InstructionKind::Arg(declarations) = kind {
            declared.extend(declarations.iter().map(|it| it.name.as_str()));
        }
    }
    let known = |name: &str| declared.contains(name) || osbs_builder::is_predefined(name);
    let remark = |name: &String| {
        let meant = nearest(name, declared.iter().copied()).map(|it| format!("; did you mean {it}?"));
        format!("no ARG of the Dockerfile takes the build argument {name}{}", meant.unwrap_or_default())
    };
    given.keys().filter(|name| !known(name)).map(remark).collect()
}

/// Secrets by id; those of the environment are in memory, as long as this lives.
#[derive(Default)]
pub(super) struct Secrets {
    pub(super) files: BTreeMap<String, PathBuf>,
    in_memory: Vec<File>,
}

impl Secrets {
    pub(super) fn new(given: &[(String, SecretSource)]) -> Result<Self, Failure> {
        let mut secrets = Self::default();
        for (id, source) in given {
            let path = match source {
                SecretSource::File(path) => {
                    File::open(path).map_err(|error| {
                        let message = format!("cannot read the secret {id:?} from {}: {error}", path.display());
                        Failure::message(ErrorKind::User, message).with_hint("is src= of --secret right?")
                    })?;
                    path.clone()
                }
                SecretSource::Variable(name) => secrets.remember(id, name)?,
            };
            secrets.files.insert(id.clone(), path);
        }
        Ok(secrets)
    }

    /// The file that holds a variable's value, in no file system.
    fn remember(&mut self, id: &str, variable: &str) -> Result<PathBuf, Failure> {
        let value = std::env::var_os(variable).ok_or_else(|| {
            let message = format!("the secret {id:?} is to come from ${variable}, which is not set");
            Failure::message(ErrorKind::User, message).with_hint("set it, or take a file: --secret id=ID,src=FILE")
        })?;
        let resource = |error: std::io::Error| Failure::new(ErrorKind::Resource, &error);
        let mut file: File =
            rustix::fs::memfd_create("secret", MemfdFlags::CLOEXEC).map_err(|e| resource(e.into()))?.into();
        file.write_all(value.as_encoded_bytes()).map_err(resource)?;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd()).into();
        self.in_memory.push(file);
        Ok(path)
    }
}

/// Sockets of agents, by id.
pub(super) fn agents(given: &[SshAgent]) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let mut sockets = BTreeMap::new();
    for (id, path) in given {
        let wrong = |message: String, hint: &str| Err(Failure::message(ErrorKind::User, message).with_hint(hint));
        let Some(path) = path.clone().or_else(|| std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from)) else {
            return wrong(
                format!("there is no SSH agent for {id:?}: SSH_AUTH_SOCK is not set"),
                "start one (eval $(ssh-agent); ssh-add), or name its socket: --ssh ID=SOCKET",
            );
        };
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.file_type().is_socket() => {
                sockets.insert(id.clone(), path);
            }
            Ok(_) => {
                return wrong(
                    format!("{} is not the socket of an SSH agent", path.display()),
                    "keys are given through an agent: ssh-add KEY, then --ssh ID",
                );
            }
            Err(error) => {
                return wrong(format!("cannot use the SSH agent {}: {error}", path.display()), "is the agent running?");
            }
        }
    }
    Ok(sockets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_that_nothing_takes_are_told() {
        let text = "ARG BASE\nFROM a\nARG VERSION=1 OTHER\nONBUILD ARG LATER\n";
        let dockerfile = Dockerfile::parse(text, "Dockerfile").expect("parse");
        let check = |name: &str, expected: Option<&str>| {
            let remarks = unused_arguments(&dockerfile, &BTreeMap::from([(name.to_owned(), String::new())]));
            assert_eq!(remarks.first().map(String::as_str), expected, "{name}");
        };
        for name in ["BASE", "VERSION", "OTHER", "LATER", "HTTP_PROXY", "TARGETARCH", "SOURCE_DATE_EPOCH"] {
            check(name, None);
        }
        check("VERSOIN", Some("no ARG of the Dockerfile takes the build argument VERSOIN; did you mean VERSION?"));
        check("X", Some("no ARG of the Dockerfile takes the build argument X"));
    }

    #[test]
    fn the_ignore_file_beside_the_dockerfile_is_found() {
        let dir = tempfile::tempdir().expect("temp folder");
        let path = dir.path().join("web.Dockerfile");
        assert_eq!(ignore_file(&path).expect("none"), None);
        std::fs::write(dir.path().join("web.Dockerfile.dockerignore"), "*.md\n").expect("written");
        assert_eq!(ignore_file(&path).expect("there").as_deref(), Some("*.md\n"));
    }

    #[test]
    fn a_secret_of_the_environment_is_read_like_a_file() {
        let secrets = Secrets::new(&[("p".into(), SecretSource::Variable("PATH".into()))]).expect("set");
        let value = std::fs::read(&secrets.files["p"]).expect("read");
        assert_eq!(value, std::env::var_os("PATH").expect("set").as_encoded_bytes());
        Secrets::new(&[("p".into(), SecretSource::Variable("OSBS_NO_SUCH_VARIABLE".into()))]).err().expect("not set");
        Secrets::new(&[("p".into(), SecretSource::File("/no/such/file".into()))]).err().expect("not there");
        agents(&[("a".into(), Some("/etc/passwd".into()))]).expect_err("no socket");
    }
}
