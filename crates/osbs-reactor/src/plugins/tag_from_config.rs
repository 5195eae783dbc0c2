//! `tag_from_config`: names for the image from the request's suffixes, or from `additional-tags` (`reactor.md` 3.4.3).

use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::run::{Run, TagClass};
use async_trait::async_trait;
use osbs_config::parse_additional_tags;
use osbs_dockerfile::{LabelMap, find_label};
use osbs_image::StoredImage;
use osbs_types::{Phase, PullSpec};
use serde::Deserialize;
use serde_json::json;

/// The plugin.
pub fn plugin() -> PluginType {
    PluginType::new("tag_from_config", &[Phase::Postbuild], |args| Ok(Box::new(args.parse::<TagFromConfig>()?)))
        .purpose("Names the image after the request's tag suffixes, or after the file additional-tags.")
        .argument(
            "tag_suffixes",
            "lists of tags: unique as they are, primary and floating with {label} replaced; absent: additional-tags is read",
        )
        .reads(&[
            "label name, and those in suffixes, of the built image or of the Dockerfile with the parent's environment",
            "`registries_organization` of config.yaml",
            "additional-tags beside the Dockerfile",
        ])
        .writes(&["unique, primary and floating names, for tag_and_push and group_manifests"])
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct TagFromConfig {
    tag_suffixes: Option<TagSuffixes>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct TagSuffixes {
    unique: Vec<String>,
    primary: Vec<String>,
    /// Absent in requests of old clients.
    floating: Option<Vec<String>>,
}

#[async_trait]
impl Plugin for TagFromConfig {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let labels = labels(run)?;
        let name = name(run, &labels)?;
        let tags = match &self.tag_suffixes {
            Some(suffixes) => suffixes.tags(&labels)?,
            None => additional_tags(run)?,
        };
        let mut added = Vec::new();
        for (class, tag) in tags {
            let image = name.with_tag(&tag).map_err(|error| PluginError::user(error.to_string()))?;
            if run.tags.add(class, image.clone()) {
                run.log().info(format!("the image gets the name {image}"));
                added.push(image.to_string());
            }
        }
        Ok(Done::Value(json!(added)))
    }
}

/// Labels of the built image, or of the Dockerfile when there is none here.
fn labels(run: &Run) -> Result<LabelMap, PluginError> {
    match &run.built {
        Some(built) => {
            let image = StoredImage::load(&run.services.store, &built.manifest)?;
            Ok(image.image_config.config.labels.into_iter().collect())
        }
        None => run.dockerfile_labels(),
    }
}

/// `ns/repo` from label `name`, inside the organisation if there is one.
fn name(run: &Run, labels: &LabelMap) -> Result<PullSpec, PluginError> {
    let hint = "set the label `name` in the Dockerfile, for example name=fedora/web";
    let Some((_, name)) = find_label(labels, "name") else {
        return Err(PluginError::user("the image has no label `name`").with_hint(hint));
    };
    let name: PullSpec =
        name.parse().map_err(|error| PluginError::user(format!("label name: {error}")).with_hint(hint))?;
    Ok(match &run.config.registries_organization {
        Some(organization) => name.enclose(organization),
        None => name,
    })
}

impl TagSuffixes {
    /// Tags with their classes, in the order of adding: unique, floating, primary.
    fn tags(&self, labels: &LabelMap) -> Result<Vec<(TagClass, String)>, PluginError> {
        let mut tags: Vec<_> = self.unique.iter().map(|tag| (TagClass::Unique, tag.clone())).collect();
        for suffix in self.floating.iter().flatten() {
            tags.push((TagClass::Floating, fill(suffix, labels)?));
        }
        for suffix in &self.primary {
            let old_client_floats = self.floating.is_none() && !suffix.contains('-');
            let class = if old_client_floats { TagClass::Floating } else { TagClass::Primary };
            tags.push((class, fill(suffix, labels)?));
        }
        Ok(tags)
    }
}

/// Replaces every `{label}`.
fn fill(suffix: &str, labels: &LabelMap) -> Result<String, PluginError> {
    let mut text = String::new();
    let mut rest = suffix;
    while let Some((before, after)) = rest.split_once('{') {
        let (label, behind) = after
            .split_once('}')
            .ok_or_else(|| PluginError::user(format!("tag suffix {suffix:?} has a '{{' without '}}'")))?;
        let (_, value) = find_label(labels, label).ok_or_else(|| {
            PluginError::user(format!("tag suffix {suffix:?} needs the label {label}, which the image does not have"))
        })?;
        text.push_str(before);
        text.push_str(value);
        rest = behind;
    }
    text.push_str(rest);
    Ok(text)
}

fn additional_tags(run: &Run) -> Result<Vec<(TagClass, String)>, PluginError> {
    let Some(text) = run.source()?.read_beside("additional-tags")? else { return Ok(Vec::new()) };
    let parsed = parse_additional_tags(&text, "additional-tags");
    for warning in &parsed.warnings {
        run.log().warning(warning.to_string());
    }
    Ok(parsed.value.into_iter().map(|tag| (TagClass::Primary, tag)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build_json::PluginLists;
    use crate::testing::run_with;
    use osbs_config::ReactorConfig;
    use serde_json::Value;
    use std::sync::Arc;

    struct Case<'a> {
        name: &'a str,
        suffixes: Value,
        additional: &'a str,
        organization: Option<&'a str>,
    }

    async fn check(case: Case<'_>, expected: Result<[&[&str]; 3], &str>) {
        let text = format!("FROM scratch\nLABEL version=7 release=3 {}\n", case.name);
        let mut test = run_with(&text, &[("additional-tags", case.additional)], PluginLists::default()).await;
        if let Some(organization) = case.organization {
            let text = format!("version: 1\nregistries_organization: {organization}");
            test.run.config = Arc::new(ReactorConfig::parse(&text, "config.yaml").unwrap().value);
        }
        match (test.plugin(&plugin(), json!({ "tag_suffixes": case.suffixes })).await, expected) {
            (Ok(_), Ok(wanted)) => {
                let class = |class| test.run.tags.class(class).iter().map(ToString::to_string).collect::<Vec<_>>();
                let got = [class(TagClass::Unique), class(TagClass::Primary), class(TagClass::Floating)];
                assert_eq!(got, wanted.map(<[&str]>::to_vec), "{}", case.suffixes);
            }
            (Err(error), Err(part)) => {
                let failure = error.into_failure();
                assert_eq!(failure.kind, osbs_types::ErrorKind::User, "{failure}");
                assert!(failure.to_string().contains(part), "{failure}");
            }
            (other, _) => panic!("{}: {other:?}, expected {expected:?}", case.suffixes),
        }
    }

    #[tokio::test]
    async fn suffixes() {
        let base = || Case { name: "name=ns/web", suffixes: Value::Null, additional: "", organization: None };
        let scratch = json!({"unique": ["t-1"], "primary": [], "floating": []});
        check(Case { suffixes: scratch, ..base() }, Ok([&["ns/web:t-1"], &[], &[]])).await;
        let normal =
            json!({"unique": ["t-1"], "primary": ["{version}-{release}"], "floating": ["latest", "{version}"]});
        let all: [&[&str]; 3] = [&["ns/web:t-1"], &["ns/web:7-3"], &["ns/web:latest", "ns/web:7"]];
        check(Case { suffixes: normal.clone(), ..base() }, Ok(all)).await;
        let old = json!({"unique": ["t-1"], "primary": ["latest", "{version}", "{version}-{release}"]});
        check(Case { suffixes: old, ..base() }, Ok(all)).await;
        let twice = json!({"unique": ["t"], "primary": ["7", "t", "7"], "floating": ["7"]});
        check(Case { suffixes: twice, ..base() }, Ok([&["ns/web:t"], &[], &["ns/web:7"]])).await;
        let org: [&[&str]; 3] = [&["org/ns-web:t-1"], &["org/ns-web:7-3"], &["org/ns-web:latest", "org/ns-web:7"]];
        check(Case { suffixes: normal, organization: Some("org"), ..base() }, Ok(org)).await;
        check(Case { suffixes: json!({"primary": ["{nope}"]}), ..base() }, Err("label nope")).await;
        check(Case { suffixes: json!({"primary": ["{version"]}), ..base() }, Err("without")).await;
        check(Case { suffixes: json!({"unique": ["a b"]}), ..base() }, Err("tag")).await;
        check(Case { name: "", suffixes: json!({}), ..base() }, Err("no label `name`")).await;
        check(Case { name: "name=A//b", suffixes: json!({}), ..base() }, Err("label name")).await;
    }

    #[tokio::test]
    async fn additional_tags_file() {
        let base = || Case { name: "name=web", suffixes: Value::Null, additional: "", organization: None };
        check(base(), Ok([&[], &[], &[]])).await;
        let file = "stable\n\nwith-dash\n  v7.1  \n.hidden\n";
        check(Case { additional: file, ..base() }, Ok([&[], &["web:stable", "web:v7.1"], &[]])).await;
    }
}
