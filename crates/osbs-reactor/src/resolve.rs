//! Looks the plugins of a list up: ours by name, the site's programs by what the list says of them.
//!
//! Must not run anything. A plugin that nobody knows is recorded here, with what can be told of its name.

use crate::build_json::PluginEntry;
use crate::events::{ENGINE_LOGGER, phase_text};
use crate::plugin::{PluginType, PluginTypes};
use crate::plugin_reference::why_absent;
use crate::run::Run;
use crate::site_plugin;
use osbs_dockerfile::nearest;
use osbs_types::{ErrorKind, Failure, Phase};

/// A plugin of a list, looked up.
pub(crate) struct Resolved {
    pub entry: PluginEntry,
    pub kind: PluginType,
    pub tolerated: bool,
}

/// A phase's list, looked up.
#[derive(Default)]
pub(crate) struct ResolvedList {
    pub plugins: Vec<Resolved>,
    pub unknown: Vec<Failure>,
}

/// Looks the list of a phase up. Unknown plugins are recorded; only required ones count.
pub(crate) fn resolve(types: &PluginTypes, run: &mut Run, phase: Phase) -> ResolvedList {
    let mut list = ResolvedList::default();
    for entry in run.request.plugins.phase(phase).to_vec() {
        match find(types, &entry, phase) {
            Ok(kind) => list.plugins.push(Resolved {
                tolerated: entry.is_allowed_to_fail.unwrap_or(kind.allowed_to_fail),
                kind,
                entry,
            }),
            Err(failure) if entry.required => list.unknown.push(refused(run, &entry.name, failure)),
            Err(failure) => run
                .logger
                .named(ENGINE_LOGGER)
                .warning(format!("{failure}; {} is not required: skipped", phase_text(phase, &entry.name))),
        }
    }
    list
}

fn find(types: &PluginTypes, entry: &PluginEntry, phase: Phase) -> Result<PluginType, Failure> {
    let Some(program) = &entry.program else {
        return types.find(&entry.name, phase).cloned().ok_or_else(|| unknown(types, phase, &entry.name));
    };
    if types.names().any(|name| name == entry.name) {
        let text = format!("{} is a program, and has the name of a built-in plugin", phase_text(phase, &entry.name));
        return Err(Failure::message(ErrorKind::Policy, text).with_hint("give the site's program a name of its own"));
    }
    site_plugin::plugin_type(&entry.name, phase, program)
}

/// No such plugin, in that phase or at all.
pub(crate) fn unknown(types: &PluginTypes, phase: Phase, name: &str) -> Failure {
    let text = phase_text(phase, name);
    let policy = |text: String| Failure::message(ErrorKind::Policy, text);
    if let Some(known) = types.iter().find(|kind| kind.name == name) {
        let phases: Vec<_> = known.phases.iter().map(|phase| phase.as_str()).collect();
        return policy(format!("{text} is not known here: it runs in {}", phases.join(" and ")))
            .with_hint("put it into the list of that phase");
    }
    if let Some(why) = why_absent(name) {
        let failure =
            policy(format!("{text} is not known here: a plugin of OSBS that this version does not have ({why})"));
        return failure.with_hint(
            "take what asks for it out of config.yaml or of the site's plugin lists, or mark it \"required\": false there",
        );
    }
    let failure = policy(format!("{text} is not known here"));
    match nearest(name, types.names()) {
        Some(meant) => failure.with_hint(format!("is {meant} meant? osbs plugins list names all there are")),
        None => failure.with_hint(
            "osbs plugins list names all there are; a site's own plugin needs a \"program\" in its list, and a plugin \
             that may be missing \"required\": false",
        ),
    }
}

/// Records a plugin that cannot be run.
pub(crate) fn refused(run: &mut Run, name: &str, failure: Failure) -> Failure {
    let failure = failure.in_step(name);
    run.records.errors.insert(name.to_owned(), failure.to_string().into());
    run.logger.named(ENGINE_LOGGER).error(failure.to_string());
    failure
}

#[cfg(test)]
mod tests {
    use super::*;
    use osbs_types::BuildType;

    #[test]
    fn every_plugin_of_every_arrangement_is_there_or_told_to_be_absent() {
        let types = crate::plugins::all();
        for version in 1..=6 {
            for build_type in [BuildType::Orchestrator, BuildType::Worker] {
                let lists = osbs_arrangement::template(build_type, version).unwrap();
                for (phase, entry) in
                    Phase::ALL.into_iter().flat_map(|phase| lists.phase(phase).iter().map(move |entry| (phase, entry)))
                {
                    let known = types.find(&entry.name, phase).is_some();
                    let absent = why_absent(&entry.name).is_some();
                    assert!(known != absent, "{version} {build_type} {phase} {}: known {known}", entry.name);
                }
            }
        }
    }

    #[track_caller]
    fn check_unknown(phase: Phase, name: &str, message: &str, hint: &str) {
        let failure = unknown(&crate::plugins::all(), phase, name);
        assert_eq!(failure.kind, ErrorKind::Policy);
        assert!(failure.message.contains(message), "{failure}");
        assert!(failure.hint.as_deref().is_some_and(|told| told.contains(hint)), "{:?}", failure.hint);
    }

    #[test]
    fn what_is_told_of_a_name() {
        check_unknown(Phase::Prebuild, "resolve_composes", "does not have (it works with ODCS)", "out of config.yaml");
        check_unknown(Phase::Exit, "sendmial", "exit plugin 'sendmial' is not known here", "is sendmail meant?");
        check_unknown(Phase::Exit, "xyzzyxyzzy", "is not known here", "needs a \"program\"");
        check_unknown(Phase::Prebuild, "sendmail", "it runs in exit", "the list of that phase");
    }
}
