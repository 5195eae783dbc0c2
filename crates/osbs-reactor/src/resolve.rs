//! Looks the plugins of a list up: ours by name, the site's programs by what the list says of them.
//!
//! Must not run anything. A plugin that nobody knows is recorded here, with what can be told of its name.

use crate::build_json::PluginEntry;
use crate::events::{ENGINE_LOGGER, phase_text};
use crate::plugin::{PluginType, PluginTypes};
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
    if let Some((_, why)) = NOT_YET.iter().find(|(names, _)| names.contains(&name)) {
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

/// Plugins of OSBS that are not here, and what they wait for.
const NOT_YET: [(&[&str], &str); 4] = [
    (
        &[
            "koji",
            "koji_parent",
            "koji_promote",
            "koji_import",
            "koji_tag_build",
            "koji_delegate",
            "inject_parent_image",
        ],
        "it works with Koji",
    ),
    (&["resolve_composes"], "it works with ODCS"),
    (&["resolve_module_compose", "flatpak_create_dockerfile", "flatpak_create_oci"], "it is for Flatpaks"),
    (
        &["import_image", "stop_autorebuild_if_disabled", "push_operator_manifests", "push_floating_tags"],
        "it works with OpenShift or services beside it",
    ),
];

/// Records a plugin that cannot be run.
pub(crate) fn refused(run: &mut Run, name: &str, failure: Failure) -> Failure {
    let failure = failure.in_step(name);
    run.records.errors.insert(name.to_owned(), failure.to_string().into());
    run.logger.named(ENGINE_LOGGER).error(failure.to_string());
    failure
}
