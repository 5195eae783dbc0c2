//! Which commands need namespaces of their own, entered before there is a second thread.
//!
//! Builds mount, and files of images have many owners. Root may do both, and gets a mount namespace, so that no mount
//! outlives the process however it ends. An ordinary user may do both as root of a user namespace; so may whoever reads or
//! removes what was built there.

use crate::args::Command;
use crate::session::Session;
use crate::site::{is_kubernetes, kubernetes, program_path};
use osbs_types::Failure;

/// How much a command depends on being root, of the machine or of a user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// It touches nothing.
    Nothing,
    /// It looks at builds, and clears what a dead one left, as far as it may.
    Wish,
    /// It builds, or removes what was built.
    Must,
}

fn need(command: &Command) -> Need {
    match command {
        Command::Completion(_)
        | Command::Plugins(_)
        | Command::Login(_)
        | Command::GetToken(_)
        | Command::PrintTokenUrl(_)
        | Command::KojiBuild(_)
        | Command::RunPod(_)
        | Command::Deploy(_)
        | Command::Hub(_)
        | Command::GetUser(_) => Need::Nothing,
        Command::CreateBuildImage(_)
        | Command::Image(_)
        | Command::Build(_)
        | Command::Gc(_)
        | Command::Kojid(_)
        | Command::RunBuild(_)
        | Command::Reactor(_) => Need::Must,
        Command::ListBuilds(_)
        | Command::GetBuild(_)
        | Command::BuildJson(_)
        | Command::WatchBuild(_)
        | Command::WatchBuilds(_)
        | Command::BuildLogs(_)
        | Command::GetBuildImageId(_)
        | Command::GetServiceaccountToken(_)
        | Command::CancelBuild(_)
        | Command::Config(_) => Need::Wish,
    }
}

/// Commands that do all their work at the cluster: where that is not this machine, nothing is mounted here.
fn is_elsewhere(session: &Session, command: &Command) -> bool {
    match command {
        Command::Image(_) | Command::CreateBuildImage(_) | Command::RunBuild(_) => false,
        // An orchestrator mounts nothing and unpacks nothing, so its pod may do neither.
        Command::Reactor(_) => {
            kubernetes::in_pod() && std::env::var("OSBS_BUILD_TYPE").is_ok_and(|kind| kind == "orchestrator")
        }
        // What is wrong with the configuration is told by the command itself.
        _ => session.configured().is_ok_and(|configured| is_kubernetes(&configured.instance)),
    }
}

/// Enters what `command` needs.
pub(crate) fn enter(session: &Session, command: &Command) -> Result<(), Failure> {
    if osbs_sandbox::is_root() {
        if matches!(command, Command::Image(_) | Command::CreateBuildImage(_)) {
            // Whoever may not do this may not mount either, and is told so by the build.
            let _ = osbs_sandbox::enter_private_mounts();
        }
        return Ok(());
    }
    let need = need(command);
    if need == Need::Nothing || is_elsewhere(session, command) {
        return Ok(());
    }
    match osbs_sandbox::enter_user_namespace(&program_path()) {
        Err(error) if need == Need::Must => {
            let mut failure = Failure::new(error.kind(), &error);
            failure.message = format!("an ordinary user cannot build on this machine: {}", failure.message);
            failure.hint = error.hint();
            Err(failure)
        }
        _ => Ok(()),
    }
}
