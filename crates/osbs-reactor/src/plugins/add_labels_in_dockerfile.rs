//! `add_labels_in_dockerfile`: the final set of labels, in one LABEL line (`reactor.md` 3.1.10, M24, M25).
//!
//! The rules are `osbs_dockerfile::label_rules`; here is only what they look at.

use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::run::Run;
use async_trait::async_trait;
use osbs_dockerfile::LabelMap;
use osbs_dockerfile::label_rules::LabelRules;
use osbs_types::Phase;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The plugin.
pub fn plugin() -> PluginType {
    PluginType::new("add_labels_in_dockerfile", &[Phase::Prebuild], |args| Ok(Box::new(args.parse::<AddLabels>()?)))
        .purpose("Gives the image its final labels: of the request, the site, the build, with aliases and equal labels.")
        .argument("labels", "labels of the request, as an object or as JSON text of one; default none")
        .argument("auto_labels", "names of labels whose values the build knows; default build-date, architecture, vcs-type, vcs-ref, com.redhat.build-host; vcs-url is known too")
        .argument("aliases", "old name to preferred name; default the usual ones, like Name to name")
        .argument("equal_labels", "groups of labels that get one value, where the configuration has no image_equal_labels; default none")
        .argument("info_url_format", "format of the label url with {label} in it, where the configuration has no image_label_info_url_format; default none")
        .argument("dont_overwrite", "labels of the base image that stay as they are; default none")
        .argument("dont_overwrite_if_in_dockerfile", "labels of the Dockerfile that stay as they are; default distribution-scope, com.redhat.license_terms")
        .reads(&["image_labels, image_equal_labels, image_label_info_url_format", "the labels of the Dockerfile and of the base image"])
        .writes(&["the Dockerfile: one LABEL line at its end"])
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AddLabels {
    labels: Value,
    auto_labels: Option<Vec<String>>,
    aliases: Option<BTreeMap<String, String>>,
    equal_labels: Option<Vec<Vec<String>>>,
    info_url_format: Option<String>,
    dont_overwrite: Option<Vec<String>>,
    dont_overwrite_if_in_dockerfile: Option<Vec<String>>,
}

#[async_trait]
impl Plugin for AddLabels {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let rules = self.rules(run)?;
        let outcome = rules.apply()?;
        for warning in &outcome.warnings {
            run.log().warning(warning.as_str());
        }
        let mut dockerfile = run.dockerfile()?;
        let pairs = outcome.emit.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let line = dockerfile.append_labels(pairs)?;
        if let Some(line) = &line {
            // Values may name a platform, which only lines of that platform's worker may do.
            if run.is_orchestrator() {
                let names: Vec<_> = outcome.emit.iter().map(|(key, _)| key.as_str()).collect();
                run.log().info(format!("appended to the Dockerfile: labels {}", names.join(", ")));
            } else {
                run.log().info(format!("appended to the Dockerfile: {line}"));
            }
            run.source()?.write_dockerfile(&dockerfile)?;
        }
        Ok(Done::Value(json!(line.unwrap_or_default())))
    }
}

impl AddLabels {
    fn rules(&self, run: &Run) -> Result<LabelRules, PluginError> {
        let config = &run.config;
        let mut rules = LabelRules::with_defaults();
        rules.base = base_labels(run)?;
        rules.dockerfile = run.dockerfile_labels()?;
        rules.labels = labels(&self.labels)?;
        rules.image_labels = config.image_labels.clone().into_iter().collect();
        rules.auto_values = auto_values(run)?;
        if let Some(names) = &self.auto_labels {
            rules.auto_labels.clone_from(names);
        }
        if let Some(aliases) = &self.aliases {
            rules.aliases = aliases.clone().into_iter().collect();
        }
        rules.equal_labels = if config.image_equal_labels.is_empty() {
            self.equal_labels.clone().unwrap_or_default()
        } else {
            config.image_equal_labels.clone()
        };
        rules.info_url_format = config.image_label_info_url_format.clone().or_else(|| self.info_url_format.clone());
        if let Some(names) = &self.dont_overwrite {
            rules.dont_overwrite.clone_from(names);
        }
        if let Some(names) = &self.dont_overwrite_if_in_dockerfile {
            rules.dont_overwrite_if_in_dockerfile.clone_from(names);
        }
        Ok(rules)
    }
}

/// An object, or JSON text of one.
fn labels(value: &Value) -> Result<LabelMap, PluginError> {
    let wrong = |problem: &str| PluginError::user(format!("argument `labels` of add_labels_in_dockerfile {problem}"));
    let object = match value {
        Value::Null => return Ok(LabelMap::new()),
        Value::String(text) => serde_json::from_str(text).map_err(|error| wrong(&format!("is no JSON: {error}")))?,
        other => other.clone(),
    };
    let Value::Object(object) = object else { return Err(wrong("is no object")) };
    object
        .into_iter()
        .map(|(name, value)| match value {
            Value::String(text) => Ok((name, text)),
            Value::Null => Err(wrong(&format!("has no value for {name:?}"))),
            other => Ok((name, other.to_string())),
        })
        .collect()
}

/// Labels of the base image; none for scratch and custom base images.
fn base_labels(run: &Run) -> Result<LabelMap, PluginError> {
    match &run.parents.base_inspect {
        Some(inspect) => Ok(inspect.labels.clone().into_iter().collect()),
        None if run.parents.base_is_scratch() || run.parents.base_is_custom() => Ok(LabelMap::new()),
        None => Err(PluginError::internal("the base image was not inspected, so its labels are unknown")),
    }
}

fn auto_values(run: &Run) -> Result<LabelMap, PluginError> {
    let uname = rustix::system::uname();
    let mut values: LabelMap = [
        ("build-date", format!("{:.6}", run.started)),
        ("architecture", run.config.architecture(&run.platform()).machine().to_owned()),
        ("com.redhat.build-host", uname.nodename().to_string_lossy().into_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    let source = run.source()?;
    if let Some(commit) = source.commit_id() {
        values.insert("vcs-type".to_owned(), "git".to_owned());
        values.insert("vcs-url".to_owned(), source.uri().to_owned());
        values.insert("vcs-ref".to_owned(), commit.to_owned());
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build_json::PluginLists;
    use crate::run::ParentInspect;
    use crate::testing::run_with;
    use osbs_config::ReactorConfig;
    use osbs_types::ErrorKind;
    use std::sync::Arc;

    #[track_caller]
    fn check_labels(value: Value, expected: Result<&[(&str, &str)], &str>) {
        match (labels(&value), expected) {
            (Ok(got), Ok(wanted)) => {
                let got: Vec<_> = got.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
                assert_eq!(got, wanted);
            }
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (other, _) => panic!("{other:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn argument() {
        check_labels(json!(null), Ok(&[]));
        check_labels(json!({"a": "b", "n": 1}), Ok(&[("a", "b"), ("n", "1")]));
        check_labels(json!("{\"a\": \"b\"}"), Ok(&[("a", "b")]));
        check_labels(json!(["a"]), Err("no object"));
        check_labels(json!("a=b"), Err("no JSON"));
        check_labels(json!({"a": null}), Err("\"a\""));
    }

    /// The failure's kind and a part of its text.
    async fn check_failure(config: &str, args: Value, kind: ErrorKind, part: &str) {
        let mut test = run_with("FROM a\nLABEL name=web\n", &[], PluginLists::default()).await;
        test.run.parents.base_inspect = Some(ParentInspect::default());
        test.run.config = Arc::new(ReactorConfig::parse(&format!("version: 1\n{config}\n"), "c").unwrap().value);
        let failure = test.plugin(&plugin(), args).await.unwrap_err().into_failure();
        assert!(failure.kind == kind && failure.to_string().contains(part), "{failure}");
        assert_eq!(test.run.dockerfile().unwrap().text(), "FROM a\nLABEL name=web\n");
    }

    #[tokio::test]
    async fn failures() {
        check_failure(
            "",
            json!({"labels": ["a"]}),
            ErrorKind::User,
            "argument `labels` of add_labels_in_dockerfile is no object",
        )
        .await;
        check_failure("", json!({"labels": "a=b"}), ErrorKind::User, "is no JSON").await;
        check_failure(
            "",
            json!({"equal_labels": {"a": "b"}}),
            ErrorKind::User,
            "arguments in the build JSON are wrong",
        )
        .await;
        check_failure(
            "",
            json!({"equal_labels": ["a", "b"]}),
            ErrorKind::User,
            "arguments in the build JSON are wrong",
        )
        .await;
        let url = "image_label_info_url_format: 'http://x/{gone}'";
        check_failure(url, json!({}), ErrorKind::User, "uses label \"gone\", which the image does not have").await;
        let brace = "image_label_info_url_format: 'http://x/{name'";
        check_failure(brace, json!({}), ErrorKind::Policy, "has a brace without its partner").await;
    }

    /// What comes out of a value is the value, whatever the builder expands and unquotes.
    #[tokio::test]
    async fn values_arrive_as_they_are() {
        let values = ["a b", "a\"b", "a\\b", "a\\", "$HOME ${X:-y}", "\\$HOME", "'q'", "a=b", "#", "caf\u{e9}", " "];
        let labels: BTreeMap<_, _> = values.iter().enumerate().map(|(at, value)| (format!("l{at}"), *value)).collect();
        let mut test = run_with("FROM a\nENV HOME=/x\n", &[], PluginLists::default()).await;
        test.run.parents.base_inspect = Some(ParentInspect::default());
        test.plugin(&plugin(), json!({ "labels": labels })).await.unwrap();
        let found = test.run.dockerfile_labels().unwrap();
        for (name, value) in labels {
            assert_eq!(found[&name], value);
        }
    }

    #[tokio::test]
    async fn one_line_is_appended_with_what_is_new() {
        let text = "FROM fedora:40\nLABEL name=web version=7\n";
        let mut test = run_with(text, &[], PluginLists::default()).await;
        assert!(test.plugin(&plugin(), json!({})).await.is_err(), "the base image was not inspected");
        let inspect = ParentInspect { labels: [("version".to_owned(), "40".to_owned())].into(), ..Default::default() };
        test.run.parents.base_inspect = Some(inspect);
        test.plugin(&plugin(), json!({ "labels": {"release": "3"} })).await.unwrap();
        let labels = test.run.dockerfile_labels().unwrap();
        assert_eq!(labels["release"], "3");
        assert!(labels["build-date"].ends_with('Z'));
        assert!(!labels.contains_key("vcs-ref"), "no git source here");
        assert_eq!(test.run.dockerfile().unwrap().text().lines().count(), 3);
    }
}
