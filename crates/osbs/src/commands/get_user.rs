//! `osbs get-user`: who one is for the cluster. One on this machine knows the machine's users.

use crate::args::OutputArg;
use crate::session::Session;
use clap::Args;
use osbs_types::{ErrorKind, Failure};
use serde_json::json;

/// Show who you are for the cluster: for one on this machine, its user
#[derive(Debug, Args)]
pub(crate) struct GetUserArgs {
    #[command(flatten)]
    pub(crate) output: OutputArg,

    /// Somebody else
    #[arg(value_name = "USERNAME")]
    user: Option<String>,
}

/// Name and full name of a user, found by name or, without one, by id.
fn find(passwd: &str, name: Option<&str>, id: u32) -> Option<(String, String)> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [user, _, uid, _, comment, ..] = fields[..] else { return None };
        let wanted = name.map_or_else(|| uid.parse() == Ok(id), |name| name == user);
        // Of the comment's parts the first is the name.
        wanted.then(|| (user.to_owned(), comment.split(',').next().unwrap_or_default().to_owned()))
    })
}

/// Runs the command.
pub(crate) fn run(session: &Session, args: GetUserArgs) -> Result<u8, Failure> {
    let passwd = std::fs::read_to_string("/etc/passwd").map_err(|e| Failure::new(ErrorKind::Resource, &e))?;
    let id = rustix::process::geteuid().as_raw();
    let (name, full_name) = find(&passwd, args.user.as_deref(), id).ok_or_else(|| {
        let who = args.user.unwrap_or_else(|| id.to_string());
        Failure::message(ErrorKind::User, format!("there is no user {who} on this machine"))
    })?;
    if session.wants_json() {
        session.print_json(&json!({"kind": "User", "metadata": {"name": name}, "fullName": full_name}));
    } else {
        session.print(&format!("Name: \"{name}\"\nFull Name: \"{full_name}\"\n"));
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000:Alice A.,,,:/home/alice:/bin/sh\nbroken\n";
        let found = |name, id| find(passwd, name, id).map(|(user, full)| format!("{user}/{full}"));
        assert_eq!(found(None, 1000).as_deref(), Some("alice/Alice A."));
        assert_eq!(found(Some("root"), 1000).as_deref(), Some("root/root"));
        assert_eq!(found(Some("bob"), 0), None);
    }
}
