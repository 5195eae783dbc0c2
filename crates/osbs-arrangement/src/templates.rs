//! The twelve plugin lists as data: built in, or a site's own in its `build_json_dir`.

use crate::error::ArrangementError;
use crate::lists::PluginLists;
use osbs_types::BuildType;
use std::path::Path;

/// The newest arrangement.
pub const LATEST: u32 = 6;

macro_rules! arrangement {
    ($version:literal) => {
        (
            include_str!(concat!("../arrangements/", $version, "/orchestrator.json")),
            include_str!(concat!("../arrangements/", $version, "/worker.json")),
        )
    };
}

/// Orchestrator and worker, from arrangement 1 on.
const BUILT_IN: [(&str, &str); 6] =
    [arrangement!("1"), arrangement!("2"), arrangement!("3"), arrangement!("4"), arrangement!("5"), arrangement!("6")];

/// The file name upstream gives a template: `orchestrator_inner:4.json`.
pub fn inner_template_name(build_type: BuildType, version: u32) -> String {
    format!("{build_type}_inner:{version}.json")
}

/// The built-in lists.
///
/// # Errors
/// When there is no such arrangement.
pub fn template(build_type: BuildType, version: u32) -> Result<PluginLists, ArrangementError> {
    let index = usize::try_from(version).ok().and_then(|version| version.checked_sub(1));
    let pair = index.and_then(|index| BUILT_IN.get(index));
    let (orchestrator, worker) = pair.ok_or(ArrangementError::UnknownVersion { version })?;
    let text = match build_type {
        BuildType::Orchestrator => orchestrator,
        BuildType::Worker => worker,
    };
    PluginLists::parse(text, &inner_template_name(build_type, version))
}

/// A site's lists from its `build_json_dir`; the built-in ones when the folder has no such file.
///
/// # Errors
/// When there is no such arrangement, or the file cannot be read or is not plugin lists.
pub fn template_from_dir(
    build_type: BuildType,
    version: u32,
    build_json_dir: Option<&Path>,
) -> Result<PluginLists, ArrangementError> {
    let Some(dir) = build_json_dir else { return template(build_type, version) };
    let path = dir.join(inner_template_name(build_type, version));
    let name = path.display().to_string();
    match std::fs::read_to_string(&path) {
        Ok(text) => PluginLists::parse(&text, &name),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => template(build_type, version),
        Err(source) => Err(ArrangementError::Unreadable { build_type, version, path: name, source }),
    }
}
