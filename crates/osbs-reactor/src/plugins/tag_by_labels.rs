//! `tag_by_labels`: names for the image from its labels (arrangements 1 to 3; `reactor.md` 3.4.2).

use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::run::{Run, TagClass};
use async_trait::async_trait;
use osbs_dockerfile::{LabelMap, find_label};
use osbs_image::StoredImage;
use osbs_types::{Phase, PullSpec};
use serde::Deserialize;

/// The plugin's type.
pub fn plugin() -> PluginType {
    PluginType::new("tag_by_labels", &[Phase::Postbuild], |args| Ok(Box::new(args.parse::<TagByLabels>()?)))
        .purpose("Names the image after its labels: NAME:VERSION-RELEASE, NAME:VERSION and NAME:latest.")
        .argument("unique_tag_only", "only the unique name, as for scratch builds; false")
        .reads(&[
            "labels name, version and release of the built image, old names too",
            "the tag of the build JSON's image",
        ])
        .writes(&["unique and primary names, for tag_and_push"])
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct TagByLabels {
    unique_tag_only: bool,
}

fn label(labels: &LabelMap, name: &str) -> Result<String, PluginError> {
    match find_label(labels, name) {
        Some((_, value)) if !value.is_empty() => Ok(value.to_owned()),
        _ => Err(PluginError::user(format!("the image lacks the label {name}"))
            .with_hint("set it in the Dockerfile: LABEL name=... version=... release=...")),
    }
}

/// The names with their class, in the order of the reference.
fn names(labels: &LabelMap, unique_tag: &str, unique_only: bool) -> Result<Vec<(TagClass, PullSpec)>, PluginError> {
    let name: PullSpec =
        label(labels, "name")?.parse().map_err(|e: osbs_types::PullSpecError| PluginError::user(e.to_string()))?;
    let tagged = |tag: &str| name.with_tag(tag).map_err(|e| PluginError::user(e.to_string()));
    let mut names = vec![(TagClass::Unique, tagged(unique_tag)?)];
    if !unique_only {
        let (version, release) = (label(labels, "version")?, label(labels, "release")?);
        for tag in [format!("{version}-{release}"), version, "latest".to_owned()] {
            names.push((TagClass::Primary, tagged(&tag)?));
        }
    }
    Ok(names)
}

#[async_trait]
impl Plugin for TagByLabels {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let facts =
            run.built.as_ref().ok_or_else(|| PluginError::internal("there is no built image to read labels of"))?;
        let image = StoredImage::load(&run.services.store, &facts.manifest)?;
        let labels: LabelMap = image.image_config.config.labels.clone().into_iter().collect();
        let request: PullSpec =
            run.request.image.parse().map_err(|e: osbs_types::PullSpecError| PluginError::user(e.to_string()))?;
        let names = names(&labels, request.tag().unwrap_or("latest"), self.unique_tag_only)?;
        let mut added = Vec::new();
        for (class, name) in names {
            added.push(name.to_string());
            run.tags.add(class, name);
        }
        Ok(Done::Value(added.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use osbs_types::ErrorKind;

    #[track_caller]
    fn check_error(labels: &[(&str, &str)], message: &str) {
        let labels: LabelMap = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let failure = names(&labels, "u1", false).unwrap_err().into_failure();
        assert_eq!((failure.kind, failure.message.as_str()), (ErrorKind::User, message));
    }

    #[test]
    fn labels_that_name_no_image() {
        let (name, version, release) = (("name", "a/web"), ("version", "7"), ("release", "3"));
        check_error(&[version, release], "the image lacks the label name");
        check_error(&[("name", ""), version, release], "the image lacks the label name");
        check_error(&[name, release], "the image lacks the label version");
        check_error(&[name, version], "the image lacks the label release");
        let bad = "A//b".parse::<PullSpec>().unwrap_err().to_string();
        check_error(&[("name", "A//b"), version, release], &bad);
        let bad = "a/web".parse::<PullSpec>().unwrap().with_tag("7 x-3").unwrap_err().to_string();
        check_error(&[name, ("version", "7 x"), release], &bad);
    }

    #[tokio::test]
    async fn without_an_image_there_are_no_labels() {
        let mut test = crate::testing::run_without_source(crate::build_json::PluginLists::default()).await;
        let failure = test.plugin(&plugin(), serde_json::json!({})).await.unwrap_err().into_failure();
        assert_eq!(failure.kind, ErrorKind::Internal);
        assert_eq!(failure.message, "there is no built image to read labels of");
    }

    #[track_caller]
    fn check_names(labels: &[(&str, &str)], unique_only: bool, expect: Option<&[&str]>) {
        let labels: LabelMap = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let got = names(&labels, "u1", unique_only).ok();
        let got: Option<Vec<_>> = got.map(|names| names.into_iter().map(|(_, name)| name.to_string()).collect());
        assert_eq!(got, expect.map(|names| names.iter().map(|name| (*name).to_owned()).collect()));
    }

    #[test]
    fn unique_then_primary() {
        let labels = [("name", "a/web"), ("version", "7"), ("release", "3")];
        check_names(&labels, false, Some(&["a/web:u1", "a/web:7-3", "a/web:7", "a/web:latest"]));
        check_names(&labels, true, Some(&["a/web:u1"]));
        check_names(&labels[..1], false, None);
        check_names(
            &[("Name", "web"), ("Version", "1"), ("Release", "2")],
            false,
            Some(&["web:u1", "web:1-2", "web:1", "web:latest"]),
        );
        check_names(&[], true, None);
    }
}
