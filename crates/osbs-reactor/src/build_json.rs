//! The build JSON: the complete instruction for one run (`reactor.md` 1.2).
//!
//! Text in, typed value out. Knows no plugin by name except where the format itself does.

use osbs_arrangement::SiteProgram;
use osbs_types::Phase;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What to build and with which plugins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuildJson {
    /// Where the source is.
    pub source: SourceSpec,
    /// The name of the image to be; its tag is the unique tag.
    pub image: String,
    /// The five plugin lists.
    #[serde(flatten)]
    pub plugins: PluginLists,
    /// Path part of the Build object's URL, for links to logs.
    #[serde(default)]
    pub openshift_build_selflink: Option<String>,
    /// Version of the client that rendered this.
    #[serde(default)]
    pub client_version: Option<String>,
    /// Keys nobody knows: accepted with a warning.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// The plugin lists of a run, one a phase.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PluginLists {
    /// Before building.
    #[serde(default)]
    pub prebuild_plugins: Vec<PluginEntry>,
    /// Builders; empty means the configured default build method.
    #[serde(default)]
    pub buildstep_plugins: Vec<PluginEntry>,
    /// On the built image before publication.
    #[serde(default)]
    pub prepublish_plugins: Vec<PluginEntry>,
    /// Publication and measurement.
    #[serde(default)]
    pub postbuild_plugins: Vec<PluginEntry>,
    /// Always run.
    #[serde(default)]
    pub exit_plugins: Vec<PluginEntry>,
}

impl PluginLists {
    /// The list of one phase.
    pub fn phase(&self, phase: Phase) -> &[PluginEntry] {
        match phase {
            Phase::Prebuild => &self.prebuild_plugins,
            Phase::Buildstep => &self.buildstep_plugins,
            Phase::Prepublish => &self.prepublish_plugins,
            Phase::Postbuild => &self.postbuild_plugins,
            Phase::Exit => &self.exit_plugins,
        }
    }

    /// The first entry of that name in a phase.
    pub fn entry(&self, phase: Phase, name: &str) -> Option<&PluginEntry> {
        self.phase(phase).iter().find(|entry| entry.name == name)
    }
}

/// One plugin of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PluginEntry {
    /// Which plugin.
    pub name: String,
    /// Its arguments.
    #[serde(default)]
    pub args: Map<String, Value>,
    /// If false, a plugin nobody knows is skipped with a warning.
    #[serde(default = "yes")]
    pub required: bool,
    /// Overrides the plugin's own default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_allowed_to_fail: Option<bool>,
    /// The site's own program that this plugin is; else it is one of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<SiteProgram>,
}

impl PluginEntry {
    /// An entry without arguments.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), args: Map::new(), required: true, is_allowed_to_fail: None, program: None }
    }
}

fn yes() -> bool {
    true
}

/// The source of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceSpec {
    /// `git` or `path`, any letter case.
    pub provider: String,
    /// Git URL, path or `file://` URL.
    pub uri: String,
    /// A folder inside the source, or a path ending in `Dockerfile` or `container.yaml`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dockerfile_path: Option<String>,
    /// What git needs besides.
    #[serde(default)]
    pub provider_params: ProviderParams,
}

/// Parameters of the git provider.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderParams {
    /// Ref to check out; `master` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_commit: Option<String>,
    /// Clone only this branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_branch: Option<String>,
    /// Shallow clone of that depth, with a branch only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_commit_depth: Option<u32>,
}
