//! `distribution_scope`: an image must not be distributed more widely than its parent (`reactor.md` 3.1.22).

use crate::events::Logger;
use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::run::Run;
use async_trait::async_trait;
use osbs_types::Phase;

const LABEL: &str = "distribution-scope";

/// From most to least restrictive.
const SCOPES: [&str; 4] = ["private", "authoritative-source-only", "restricted", "public"];

/// The plugin's type.
pub fn plugin() -> PluginType {
    PluginType::new("distribution_scope", &[Phase::Prebuild], |_| Ok(Box::new(DistributionScope)))
        .purpose("Refuses an image that would be distributed more widely than its base image.")
        .reads(&["the label distribution-scope of the Dockerfile and of the base image"])
        .writes(&["nothing"])
}

struct DistributionScope;

#[async_trait]
impl Plugin for DistributionScope {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let labels = run.dockerfile_labels()?;
        let own = scope(run.log(), "this image", labels.get(LABEL).map(String::as_str));
        let inspect = run.parents.base_inspect.as_ref().filter(|_| !run.parents.base_is_scratch());
        let parent = inspect.and_then(|inspect| inspect.labels.get(LABEL)).map(String::as_str);
        let parent = scope(run.log(), "the base image", parent);
        if let (Some(own), Some(parent)) = (own, parent)
            && own > parent
        {
            let text = format!(
                "the image has {LABEL} {:?}, which is less restrictive than {:?} of its base image",
                SCOPES[own], SCOPES[parent]
            );
            return Err(PluginError::policy(text)
                .with_hint("choose a base image of that scope, or a more restrictive scope for this image"));
        }
        Ok(Done::nothing())
    }
}

/// The place in [`SCOPES`].
fn scope(log: &Logger, whose: &str, value: Option<&str>) -> Option<usize> {
    let Some(value) = value else {
        log.debug(format!("{whose} has no label {LABEL}"));
        return None;
    };
    let place = SCOPES.iter().position(|scope| *scope == value);
    if place.is_none() {
        log.warning(format!("{whose} has an unknown {LABEL} {value:?}, which is ignored: {}", SCOPES.join(", ")));
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build_json::PluginLists;
    use crate::run::ParentInspect;
    use crate::testing::run_with;
    use osbs_types::{ErrorKind, Level};
    use serde_json::json;

    /// Allowed or not, and how many warnings.
    async fn check_scope(own: Option<&str>, parent: Option<&str>, allowed: bool, warnings: usize) {
        let label = own.map(|own| format!("LABEL {LABEL}={own}\n")).unwrap_or_default();
        let mut test = run_with(&format!("FROM a\n{label}"), &[], PluginLists::default()).await;
        let labels = parent.map(|parent| (LABEL.to_owned(), parent.to_owned())).into_iter().collect();
        let env = vec![("SCOPE".to_owned(), "public".to_owned())];
        test.run.parents.base_inspect = Some(ParentInspect { env, labels, ..Default::default() });
        match test.plugin(&plugin(), json!({})).await {
            Ok(_) => assert!(allowed, "{own:?} on {parent:?}"),
            Err(error) => {
                assert!(!allowed, "{error}");
                let failure = error.into_failure();
                assert_eq!(failure.kind, ErrorKind::Policy);
                assert!(failure.message.contains(parent.unwrap()), "{failure}");
            }
        }
        assert_eq!(test.log_lines().iter().filter(|line| line.level == Level::Warning).count(), warnings);
    }

    #[tokio::test]
    async fn scopes() {
        for (place, own) in SCOPES.iter().enumerate() {
            for (parent_place, parent) in SCOPES.iter().enumerate() {
                check_scope(Some(own), Some(parent), place <= parent_place, 0).await;
            }
        }
        check_scope(None, Some("private"), true, 0).await;
        check_scope(Some("public"), None, true, 0).await;
        check_scope(Some("Public"), Some("private"), true, 1).await;
        check_scope(Some("public"), Some("secret"), true, 1).await;
        check_scope(Some("$SCOPE"), Some("private"), false, 0).await;
    }

    /// What the site or the request sets counts, unless the Dockerfile says something itself.
    async fn check_with_labels(own: &str, set: &str, parent: &str, allowed: bool) {
        let labels = crate::plugins::all();
        let labels = labels.find("add_labels_in_dockerfile", Phase::Prebuild).unwrap();
        let mut test = run_with(&format!("FROM a\n{own}"), &[], PluginLists::default()).await;
        let base = [(LABEL.to_owned(), parent.to_owned())].into_iter().collect();
        test.run.parents.base_inspect = Some(ParentInspect { labels: base, ..Default::default() });
        test.plugin(labels, json!({"labels": {LABEL: set}})).await.unwrap();
        assert_eq!(test.plugin(&plugin(), json!({})).await.is_ok(), allowed, "{own} {set} {parent}");
    }

    #[tokio::test]
    async fn together_with_the_labels_of_the_site() {
        check_with_labels("", "public", "restricted", false).await;
        check_with_labels("", "private", "restricted", true).await;
        check_with_labels("LABEL distribution-scope=private\n", "public", "restricted", true).await;
        check_with_labels("LABEL distribution-scope=public\n", "private", "restricted", false).await;
    }

    #[tokio::test]
    async fn scratch_has_no_parent() {
        let mut test = run_with("FROM scratch\nLABEL distribution-scope=public\n", &[], PluginLists::default()).await;
        test.plugin(&plugin(), json!({})).await.unwrap();
    }
}
