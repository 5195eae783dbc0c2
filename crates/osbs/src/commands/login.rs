//! `osbs login`: keeps a token for an instance.

use super::get_token::login_file;
use crate::session::Session;
use clap::Args;
use osbs_types::{ErrorKind, Failure, Secret};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use std::io::{BufRead, IsTerminal, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Keep a token for the cluster, in ~/.osbs/INSTANCE.token
///
/// Without --token it is asked for, or read from standard input. A cluster on this machine asks for no token.
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// The token. Other users of this machine can see it while the command runs: better leave it out
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
}

fn failed(error: &std::io::Error) -> Failure {
    Failure::new(ErrorKind::Resource, error)
}

/// One line of standard input, which a terminal does not show.
pub(super) fn ask(prompt: &str) -> Result<Secret, Failure> {
    let stdin = std::io::stdin();
    let shown = stdin.is_terminal().then(|| tcgetattr(&stdin).ok()).flatten();
    if let Some(shown) = &shown {
        eprint!("{prompt}");
        let _ = std::io::stderr().flush();
        let mut hidden = shown.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Flush, &hidden).map_err(|error| failed(&error.into()))?;
    }
    let mut line = String::new();
    let read = stdin.lock().read_line(&mut line);
    if let Some(shown) = &shown {
        let _ = tcsetattr(&stdin, OptionalActions::Flush, shown);
        eprintln!();
    }
    read.map_err(|error| failed(&error))?;
    Ok(Secret::new(line.trim()))
}

/// Writes a file that nobody else has open or can read.
fn keep(path: &Path, token: &Secret) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
    file.write_all(token.reveal().as_bytes())?;
    file.sync_all()
}

/// Runs the command.
pub(crate) fn run(session: &Session, args: LoginArgs) -> Result<u8, Failure> {
    let configured = session.configured()?;
    let path = login_file(configured.settings.instance())?;
    let token = match args.token {
        Some(token) => Secret::new(token.trim()),
        None => ask("Token: ")?,
    };
    if token.reveal().is_empty() || token.reveal().contains(char::is_whitespace) {
        return Err(Failure::message(ErrorKind::User, "this is no token: it is empty, or has white space in it"));
    }
    keep(&path, &token).map_err(|error| failed(&error))?;
    session.note(&format!("the token is in {}", path.display()));
    if !configured.instance.openshift_url.as_deref().is_some_and(|url| url.starts_with("http")) {
        session.note("nobody has checked it: the cluster of this instance is on this machine and asks for none");
    }
    Ok(0)
}
