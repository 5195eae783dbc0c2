//! `osbs plugins`: what the plugins of this program are for, from the plugins themselves.

use crate::args::OutputArg;
use crate::session::Session;
use crate::terminal::Table;
use clap::{Args, Subcommand, ValueEnum};
use osbs_dockerfile::nearest;
use osbs_reactor::{plugin_reference, plugins};
use osbs_types::{ErrorKind, Failure, Phase};
use serde_json::Value;

/// The built-in plugins: what each is for, reads and writes
#[derive(Debug, Args)]
pub(crate) struct PluginsArgs {
    #[command(subcommand)]
    command: PluginsCommand,
}

#[derive(Debug, Subcommand)]
enum PluginsCommand {
    /// Names, phases and purposes
    List {
        #[command(flatten)]
        output: OutputArg,

        /// Only those of this phase
        #[arg(long, value_enum, value_name = "PHASE")]
        phase: Option<PhaseArg>,
    },
    /// All that is to be known of one: arguments, what it reads and writes, what its failure means
    Show {
        #[command(flatten)]
        output: OutputArg,

        /// As plugin lists name it
        name: String,
    },
}

/// The phases, as an option has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PhaseArg {
    Prebuild,
    Buildstep,
    Prepublish,
    Postbuild,
    Exit,
}

impl From<PhaseArg> for Phase {
    fn from(phase: PhaseArg) -> Self {
        match phase {
            PhaseArg::Prebuild => Self::Prebuild,
            PhaseArg::Buildstep => Self::Buildstep,
            PhaseArg::Prepublish => Self::Prepublish,
            PhaseArg::Postbuild => Self::Postbuild,
            PhaseArg::Exit => Self::Exit,
        }
    }
}

impl PluginsArgs {
    /// `--output` behind the command's name.
    pub(crate) fn output(&self) -> OutputArg {
        match &self.command {
            PluginsCommand::List { output, .. } | PluginsCommand::Show { output, .. } => *output,
        }
    }
}

/// Runs the command.
pub(crate) fn run(session: &Session, args: &PluginsArgs) -> Result<u8, Failure> {
    match &args.command {
        PluginsCommand::List { phase, .. } => list(session, phase.map(Phase::from)),
        PluginsCommand::Show { name, .. } => show(session, name)?,
    }
    Ok(0)
}

fn list(session: &Session, phase: Option<Phase>) {
    let types = plugins::all();
    let mut kinds: Vec<_> =
        types.iter().filter(|kind| phase.is_none_or(|phase| kind.phases.contains(&phase))).collect();
    kinds.sort_by_key(|kind| kind.name);
    if session.wants_json() {
        session.print_json(&kinds.into_iter().map(plugin_reference::to_json).collect::<Vec<Value>>());
        return;
    }
    let mut table = Table::new(["PLUGIN", "PHASES", "PURPOSE"]);
    for kind in kinds {
        let phases: Vec<_> = kind.phases.iter().map(|phase| phase.as_str()).collect();
        table.row(vec![kind.name.to_owned(), phases.join(","), kind.purpose.to_owned()]);
    }
    session.print_table(&table);
}

fn show(session: &Session, name: &str) -> Result<(), Failure> {
    let types = plugins::all();
    let found: Vec<_> = types.iter().filter(|kind| kind.name == name).collect();
    let Some(kind) = found.first() else {
        if let Some(why) = plugin_reference::why_absent(name) {
            let text = format!("{name} is a plugin of OSBS that this version does not have ({why})");
            return Err(Failure::message(ErrorKind::User, text).with_hint("osbs plugins list names all there are"));
        }
        let hint = match nearest(name, types.names()) {
            Some(meant) => format!("is {meant} meant?"),
            None => "osbs plugins list names all there are".to_owned(),
        };
        return Err(Failure::message(ErrorKind::User, format!("there is no plugin {name:?}")).with_hint(hint));
    };
    if session.wants_json() {
        session.print_json(&plugin_reference::to_json(kind));
    } else {
        session.print(&plugin_reference::to_text(kind));
    }
    Ok(())
}
