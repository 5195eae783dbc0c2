//! `osbs hub`: a small Koji hub on this machine, for a site that has none. What it does is in the crate `osbs-hub`.

mod conf;
mod prepare;
mod serve;
mod set_up;

use crate::session::Session;
use crate::site::home_of_osbs;
use clap::{Args, Subcommand};
use conf::HubConf;
use osbs_hub::{Hub, HubError};
use osbs_types::{ErrorKind, Failure};
use std::path::PathBuf;

/// A small Koji hub on this machine, for a site that has none
#[derive(Debug, Args)]
#[command(after_help = "First steps:\n  \
    osbs hub prepare f43-container --arch x86_64     hub, target, accounts, ready configurations\n  \
    osbs hub serve                                   runs the hub until Ctrl-C\n\n\
    Or one by one (the target is NAME-candidate):\n  \
    osbs hub init                                    a hub with an administrator\n  \
    osbs hub add-target f43-container --arch x86_64  two tags and a target between them\n  \
    osbs hub add-user mwells                         prints the new user's password\n  \
    osbs hub add-package f43-container-candidate web what may be built for the target\n  \
    osbs hub add-host builder1 --arch x86_64         a host for `osbs kojid`, with its password\n  \
    osbs hub call listTags                           any call of Koji's, as the administrator\n\n\
    Koji's own programs work with it: koji --noauth -s http://127.0.0.1:8080/kojihub hello\n\
    docs/hub.md says what it leaves out, and how to move to a real hub.")]
pub(crate) struct HubArgs {
    /// Folder of the hub: its database, its files, its hub.conf [default: hub in the home folder of osbs]
    #[arg(long, value_name = "DIR", global = true, env = "OSBS_HUB_DIR")]
    dir: Option<PathBuf>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Init(set_up::InitArgs),
    Prepare(prepare::PrepareArgs),
    Serve(serve::ServeArgs),
    AddUser(set_up::AddUserArgs),
    AddHost(set_up::AddHostArgs),
    AddTarget(set_up::AddTargetArgs),
    AddPackage(set_up::AddPackageArgs),
    Call(set_up::CallArgs),
}

/// The folder, and what its configuration says.
struct Place {
    dir: PathBuf,
    conf: HubConf,
}

impl Place {
    fn is_new(&self) -> bool {
        !self.dir.join("hub.db").exists()
    }

    /// Opens the hub that is there.
    fn open(&self) -> Result<Hub, Failure> {
        if self.is_new() {
            return Err(Failure::message(ErrorKind::User, format!("there is no hub in {}", self.dir.display()))
                .with_hint("make one with: osbs hub init"));
        }
        Hub::open(self.conf.hub_config(&self.dir)).map_err(|error| failed(&error))
    }
}

fn failed(error: &HubError) -> Failure {
    let kind = match error {
        HubError::UserName { .. } | HubError::NoPermission { .. } | HubError::Tls(_) | HubError::Password(_) => {
            ErrorKind::User
        }
        // The folder, the database, what an import left behind.
        _ => ErrorKind::Resource,
    };
    Failure::new(kind, error)
}

/// Runs the command.
pub(crate) async fn run(session: &Session, args: HubArgs) -> Result<u8, Failure> {
    let dir = match args.dir {
        Some(dir) => dir,
        None => home_of_osbs(session.global())?.join("hub"),
    };
    let conf = HubConf::read(&dir)?;
    let place = Place { dir, conf };
    let done = act(session, place, args.action).await;
    done.map_err(|mut failure| {
        if failure.kind == ErrorKind::User {
            failure.hint.get_or_insert_with(|| "osbs hub COMMAND --help says what may be given".to_owned());
        }
        failure
    })
}

async fn act(session: &Session, place: Place, action: Action) -> Result<u8, Failure> {
    match action {
        Action::Init(args) => set_up::init(session, &place, &args),
        Action::Prepare(args) => prepare::run(session, &place, &args).await,
        Action::Serve(args) => serve::run(session, place, args).await,
        Action::AddUser(args) => set_up::add_user(session, &place, &args),
        Action::AddHost(args) => set_up::add_host(session, &place, &args).await,
        Action::AddTarget(args) => set_up::add_target(session, &place, &args).await,
        Action::AddPackage(args) => set_up::add_package(session, &place, &args).await,
        Action::Call(args) => set_up::call(session, &place, &args).await,
    }
}
