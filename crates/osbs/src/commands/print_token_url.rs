//! `osbs print-token-url`: where a person gets a token.

use crate::session::Session;
use clap::Args;
use osbs_types::{ErrorKind, Failure};

/// Print the web page that gives a token for the cluster
#[derive(Debug, Args)]
pub(crate) struct PrintTokenUrlArgs {}

/// Runs the command.
pub(crate) fn run(session: &Session, _: &PrintTokenUrlArgs) -> Result<u8, Failure> {
    let configured = session.configured()?;
    let url = configured.instance.openshift_url.as_deref().unwrap_or_default();
    if !url.starts_with("https://") && !url.starts_with("http://") {
        let instance = configured.settings.instance();
        let text = format!("the cluster of instance {instance} is on this machine: it asks for no token");
        return Err(Failure::message(ErrorKind::Policy, text));
    }
    session.print(&format!("{}/oauth/token/request\n", url.trim_end_matches('/')));
    Ok(0)
}
