//! `export_operator_manifests`: takes `/manifests` of operator images out for Koji (`reactor.md` 3.4.10).
//!
//! Images that are no operators, which is nearly all, have nothing to export. Operators are refused here until there is a
//! place to send their manifests to: an image without them would be published incomplete.

use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::run::Run;
use async_trait::async_trait;
use osbs_dockerfile::find_label;
use osbs_types::{Phase, Platform};
use serde::Deserialize;

/// The label that marks an operator.
const OPERATOR_LABEL: &str = "com.redhat.delivery.appregistry";

/// The plugin's type.
pub fn plugin() -> PluginType {
    PluginType::new("export_operator_manifests", &[Phase::Postbuild], |args| Ok(Box::new(args.parse::<Export>()?)))
        .accepts(&["platform", "operator_manifests_extract_platform"])
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Export {
    operator_manifests_extract_platform: Option<Platform>,
}

#[async_trait]
impl Plugin for Export {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let skipped = |why: &str| Ok(Done::Skipped(why.to_owned()));
        if run.is_orchestrator() {
            return skipped("workers export manifests");
        }
        if self.operator_manifests_extract_platform.as_ref().is_some_and(|platform| *platform != run.platform()) {
            return skipped("the worker of another platform exports them");
        }
        if run.is_scratch() {
            return skipped("a scratch build exports nothing");
        }
        let env = run.parents.base_inspect.as_ref().map(|base| base.env.clone()).unwrap_or_default();
        let labels = run.source()?.dockerfile()?.labels(&env)?;
        if !find_label(&labels, OPERATOR_LABEL).is_some_and(|(_, value)| value.eq_ignore_ascii_case("true")) {
            return skipped("the image is no operator");
        }
        Err(PluginError::policy(format!(
            "label {OPERATOR_LABEL} asks for an export of manifests, and this site has no place for them"
        ))
        .with_hint("remove the label, or build as scratch"))
    }
}
