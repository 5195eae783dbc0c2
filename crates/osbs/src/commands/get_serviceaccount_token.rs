//! `osbs get-serviceaccount-token`: what a build on another cluster shows of itself.

use super::get_token::text;
use crate::session::Session;
use clap::Args;
use osbs_types::Failure;

/// Print the token of a service account: of the secret ACCOUNT-token... of the cluster
#[derive(Debug, Args)]
pub(crate) struct GetServiceaccountTokenArgs {
    /// Name of the service account
    #[arg(value_name = "SERVICEACCOUNT")]
    account: String,

    /// As a command for oc
    #[arg(long)]
    oc: bool,
}

/// Runs the command.
pub(crate) async fn run(session: &Session, args: GetServiceaccountTokenArgs) -> Result<u8, Failure> {
    let tokens = session.osbs()?.get_serviceaccount_tokens(&args.account).await.map_err(|e| e.to_failure())?;
    if let Some((_, token)) = tokens.first() {
        session.print(&text(&session.configured()?, token, args.oc));
    }
    Ok(0)
}
