//! What the plugins' types say of themselves, as a page, a text and JSON. Nothing is said here that a type does not say.

use crate::plugin::{PluginType, PluginTypes};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// What a type lacks to be understood; empty: nothing.
pub fn gaps(kind: &PluginType) -> Vec<String> {
    let mut gaps = Vec::new();
    if kind.purpose.is_empty() {
        gaps.push("purpose".to_owned());
    }
    if kind.reads.is_empty() {
        gaps.push("reads".to_owned());
    }
    if kind.writes.is_empty() {
        gaps.push("writes".to_owned());
    }
    gaps
}

/// As `osbs plugins show --output json` prints it.
pub fn to_json(kind: &PluginType) -> Value {
    let arguments: Vec<_> = kind
        .arguments
        .iter()
        .map(|argument| json!({"name": argument.name, "meaning": argument.meaning, "used": !argument.meaning.is_empty()}))
        .collect();
    json!({
        "name": kind.name,
        "purpose": kind.purpose,
        "phases": kind.phases,
        "allowed_to_fail": kind.allowed_to_fail,
        "arguments": arguments,
        "reads": kind.reads,
        "writes": kind.writes,
    })
}

/// What a plugin of OSBS that is not here waits for; `None` of any other name.
pub fn why_absent(name: &str) -> Option<&'static str> {
    NOT_YET.iter().find(|(names, _)| names.contains(&name)).map(|(_, why)| *why)
}

/// Plugins of OSBS that are not here, and what they wait for.
const NOT_YET: [(&[&str], &str); 4] = [
    (&["koji_delegate"], "it hands autorebuilds over to Koji"),
    (&["resolve_composes"], "it works with ODCS"),
    (&["resolve_module_compose", "flatpak_create_dockerfile", "flatpak_create_oci"], "it is for Flatpaks"),
    (
        &["import_image", "stop_autorebuild_if_disabled", "push_operator_manifests"],
        "it works with OpenShift or services beside it",
    ),
];

fn phases(kind: &PluginType) -> String {
    kind.phases.iter().map(|phase| phase.as_str()).collect::<Vec<_>>().join(", ")
}

fn failure(kind: &PluginType) -> &'static str {
    if kind.allowed_to_fail { "the build goes on, unless a list says otherwise" } else { "the build fails" }
}

/// Names of arguments that are accepted and not looked at.
fn unused(kind: &PluginType) -> Vec<&'static str> {
    kind.arguments.iter().filter(|argument| argument.meaning.is_empty()).map(|argument| argument.name).collect()
}

/// As `osbs plugins show` prints it, for a terminal.
pub fn to_text(kind: &PluginType) -> String {
    let mut text =
        format!("{}: {}\n\nPHASES   {}\nFAILURE  {}\n", kind.name, kind.purpose, phases(kind), failure(kind));
    let mut list = |heading: &str, items: &[String]| {
        if !items.is_empty() {
            let _ = write!(text, "\n{heading}\n  {}\n", items.join("\n  "));
        }
    };
    let owned = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>();
    let used = kind.arguments.iter().filter(|argument| !argument.meaning.is_empty());
    let used: Vec<_> = used.map(|argument| format!("{}: {}", argument.name, argument.meaning)).collect();
    list("ARGUMENTS", &used);
    let unused = unused(kind);
    if !unused.is_empty() {
        list("ACCEPTED AND NOT LOOKED AT", &[unused.join(", ")]);
    }
    list("READS", &owned(kind.reads));
    list("WRITES", &owned(kind.writes));
    text
}

/// All of them, as `docs/plugins.md` has them.
pub fn to_markdown(types: &PluginTypes) -> String {
    let mut text = String::from(
        "# Plugins\n\nEvery step of a build that is part of the program, by name. Which of them run is said by the \
         [arrangement](administrator.md#arrangements-and-site-templates). A site adds steps of its own as \
         [programs](plugin-author.md#a-program-of-the-site).\n\nThis page is made from the program \
         (`OSBS_UPDATE_DOCS=1 cargo test -p osbs-reactor --test plugin_reference`); `osbs plugins list` and \
         `osbs plugins show NAME` tell the same.\n\n| plugin | phases | purpose |\n|---|---|---|\n",
    );
    let mut kinds: Vec<_> = types.iter().collect();
    kinds.sort_by_key(|kind| kind.name);
    for kind in &kinds {
        let _ = writeln!(text, "| [`{0}`](#{0}) | {1} | {2} |", kind.name, phases(kind), cell(kind.purpose));
    }
    for kind in &kinds {
        section(&mut text, kind);
    }
    text
}

fn section(text: &mut String, kind: &PluginType) {
    let _ = write!(
        text,
        "\n## {}\n\n{}\n\nPhases: {}. If it fails, {}.\n",
        kind.name,
        kind.purpose,
        phases(kind),
        failure(kind)
    );
    let used: Vec<_> = kind.arguments.iter().filter(|argument| !argument.meaning.is_empty()).collect();
    if !used.is_empty() {
        text.push_str("\n| argument | meaning |\n|---|---|\n");
        for argument in used {
            let _ = writeln!(text, "| `{}` | {} |", argument.name, cell(argument.meaning));
        }
    }
    let unused = unused(kind);
    if !unused.is_empty() {
        let _ = writeln!(text, "\nAccepted and not looked at: `{}`.", unused.join("`, `"));
    }
    for (heading, items) in [("Reads", kind.reads), ("Writes", kind.writes)] {
        if !items.is_empty() {
            let _ = write!(text, "\n{heading}:\n\n- {}\n", items.join("\n- "));
        }
    }
}

/// A text that keeps to its cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
