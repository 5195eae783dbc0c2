//! `osbs get-token`: the token of an instance.

use crate::session::Session;
use crate::site::{Configured, unreadable};
use clap::Args;
use osbs_client::TokenSource;
use osbs_types::{ErrorKind, Failure, Secret};
use std::path::{Path, PathBuf};

/// Print the token for the cluster: of osbs.conf, of its token file, or of osbs login
#[derive(Debug, Args)]
pub(crate) struct GetTokenArgs {
    /// As a command for oc
    #[arg(long)]
    oc: bool,
}

/// `~/.osbs/INSTANCE.token`, where `osbs login` keeps the token.
pub(crate) fn login_file(instance: &str) -> Result<PathBuf, Failure> {
    if instance.contains('/') || instance.starts_with('.') {
        return Err(Failure::message(ErrorKind::User, format!("instance {instance:?} cannot be part of a file name")));
    }
    let home = std::env::var_os("HOME").filter(|path| !path.is_empty());
    let home = home.ok_or_else(|| Failure::message(ErrorKind::User, "HOME is not set: it is where tokens are kept"))?;
    Ok(PathBuf::from(home).join(".osbs").join(format!("{instance}.token")))
}

fn read(path: &Path) -> Result<Secret, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    Ok(Secret::new(text.trim()))
}

/// The token that counts.
pub(crate) fn token(configured: &Configured) -> Result<Secret, Failure> {
    match TokenSource::of(&configured.instance) {
        TokenSource::Given(token) => Ok(token),
        TokenSource::File(path) => read(Path::new(&path)),
        TokenSource::Login => {
            let instance = configured.settings.instance();
            let path = login_file(instance)?;
            if path.exists() {
                return read(&path);
            }
            let failure = Failure::message(ErrorKind::User, format!("instance {instance} has no token"));
            Err(failure.with_hint("osbs login keeps one; or set token_file in osbs.conf"))
        }
    }
}

/// The text to print: the token alone or as arguments of oc.
pub(crate) fn text(configured: &Configured, token: &Secret, oc: bool) -> String {
    if oc {
        let url = configured.instance.openshift_url.as_deref().unwrap_or_default();
        return format!("oc login --token {} {url}\n", token.reveal());
    }
    format!("{}\n", token.reveal())
}

/// Runs the command.
pub(crate) fn run(session: &Session, args: GetTokenArgs) -> Result<u8, Failure> {
    let configured = session.configured()?;
    let token = token(&configured)?;
    session.print(&text(&configured, &token, args.oc));
    Ok(0)
}
