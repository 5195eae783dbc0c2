//! `USER_PARAMS`: what one request asks for (`reactor.md` 5.4).
//!
//! Also the struct in which the client holds a request's parameters for the arrangements 1 to 5, which carry the same
//! values inside plugin arguments.

use crate::fields::{Checker, Fields};
use crate::node::{Node, parse_json};
use crate::problem::{ConfigError, Parsed};
use crate::shape::{Fact, MEDIA_TYPE, PLATFORM_NAME, PULL_SPEC, Shape};
use osbs_types::{BuildType, Platform};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The parameters, named as in the JSON object. An absent boolean is false, an absent list empty.
#[derive(Debug, Clone, PartialEq, Default)]
#[allow(missing_docs, reason = "named and documented as the keys of USER_PARAMS")]
pub struct UserParams {
    pub additional_tags: Vec<String>,
    pub arrangement_version: Option<u32>,
    pub base_image: Option<String>,
    pub build_from: Option<String>,
    pub build_image: Option<String>,
    pub build_imagestream: Option<String>,
    /// Required upstream; without it the built-in arrangements are used.
    pub build_json_dir: Option<String>,
    pub build_type: Option<BuildType>,
    pub component: Option<String>,
    pub compose_ids: Vec<i64>,
    pub customize_conf: Option<String>,
    pub filesystem_koji_task_id: Option<i64>,
    pub flatpak: bool,
    pub git_branch: Option<String>,
    pub git_commit_depth: Option<i64>,
    pub git_ref: Option<String>,
    pub git_uri: String,
    pub image_tag: Option<String>,
    pub imagestream_name: Option<String>,
    pub isolated: bool,
    pub koji_parent_build: Option<String>,
    pub koji_target: Option<String>,
    pub koji_task_id: Option<i64>,
    pub koji_upload_dir: Option<String>,
    pub name: Option<String>,
    pub operator_manifests_extract_platform: Option<String>,
    /// Parent image -> media type -> digest.
    pub parent_images_digests: BTreeMap<String, BTreeMap<String, String>>,
    pub platform: Option<Platform>,
    pub platforms: Vec<Platform>,
    pub reactor_config_map: Option<String>,
    pub reactor_config_override: Option<Value>,
    pub release: Option<String>,
    pub scratch: bool,
    pub signing_intent: Option<String>,
    pub tags_from_yaml: bool,
    pub trigger_imagestreamtag: Option<String>,
    pub user: String,
    pub yum_repourls: Vec<String>,
}

impl UserParams {
    /// Reads the JSON text; `null` is refused like an object without the required keys. Unknown keys are accepted.
    ///
    /// # Errors
    /// All wrong types and missing keys together.
    pub fn parse(text: &str, name: &str) -> Result<Self, ConfigError> {
        Self::from_json(&parse_json(text, name)?, name)
    }

    /// From a JSON object.
    ///
    /// # Errors
    /// As [`UserParams::parse`].
    pub fn from_json(json: &Value, name: &str) -> Result<Self, ConfigError> {
        let node = Node::from_json(json);
        let checker = Checker::new(name);
        let params = read(&Fields::new(&checker, &node, ""));
        Parsed::from_problems(Some(params), checker.into_problems()).map(|parsed| parsed.value)
    }

    /// What the reader asks for.
    pub(crate) fn shape() -> Shape {
        Checker::describe(|checker, node| read(&Fields::new(checker, node, "")))
    }

    /// As it is transmitted: sorted keys, only truthy values.
    pub fn to_json(&self) -> Value {
        let text = |text: &Option<String>| text.as_deref().map(Value::from);
        let names = |platforms: &[Platform]| platforms.iter().map(Platform::as_str).collect::<Value>();
        let digests = || serde_json::to_value(&self.parent_images_digests).ok();
        let entries: [(&str, Option<Value>); 38] = [
            ("additional_tags", Some(Value::from(self.additional_tags.clone()))),
            ("arrangement_version", self.arrangement_version.map(Value::from)),
            ("base_image", text(&self.base_image)),
            ("build_from", text(&self.build_from)),
            ("build_image", text(&self.build_image)),
            ("build_imagestream", text(&self.build_imagestream)),
            ("build_json_dir", text(&self.build_json_dir)),
            ("build_type", self.build_type.map(|build_type| Value::from(build_type.to_string()))),
            ("component", text(&self.component)),
            ("compose_ids", Some(Value::from(self.compose_ids.clone()))),
            ("customize_conf", text(&self.customize_conf)),
            ("filesystem_koji_task_id", self.filesystem_koji_task_id.map(Value::from)),
            ("flatpak", Some(Value::from(self.flatpak))),
            ("git_branch", text(&self.git_branch)),
            ("git_commit_depth", self.git_commit_depth.map(Value::from)),
            ("git_ref", text(&self.git_ref)),
            ("git_uri", Some(Value::from(self.git_uri.as_str()))),
            ("image_tag", text(&self.image_tag)),
            ("imagestream_name", text(&self.imagestream_name)),
            ("isolated", Some(Value::from(self.isolated))),
            ("koji_parent_build", text(&self.koji_parent_build)),
            ("koji_target", text(&self.koji_target)),
            ("koji_task_id", self.koji_task_id.map(Value::from)),
            ("koji_upload_dir", text(&self.koji_upload_dir)),
            ("name", text(&self.name)),
            ("operator_manifests_extract_platform", text(&self.operator_manifests_extract_platform)),
            ("parent_images_digests", digests()),
            ("platform", self.platform.as_ref().map(|platform| Value::from(platform.as_str()))),
            ("platforms", Some(names(&self.platforms))),
            ("reactor_config_map", text(&self.reactor_config_map)),
            ("reactor_config_override", self.reactor_config_override.clone()),
            ("release", text(&self.release)),
            ("scratch", Some(Value::from(self.scratch))),
            ("signing_intent", text(&self.signing_intent)),
            ("tags_from_yaml", Some(Value::from(self.tags_from_yaml))),
            ("trigger_imagestreamtag", text(&self.trigger_imagestreamtag)),
            ("user", Some(Value::from(self.user.as_str()))),
            ("yum_repourls", Some(Value::from(self.yum_repourls.clone()))),
        ];
        let truthy = entries.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.filter(is_truthy)?)));
        Value::Object(truthy.collect::<Map<String, Value>>())
    }
}

/// As Python has it.
pub(crate) fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(b) => *b,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

fn read(fields: &Fields<'_>) -> UserParams {
    const BUILD_TYPES: &[(&str, BuildType)] =
        &[("orchestrator", BuildType::Orchestrator), ("worker", BuildType::Worker)];
    let flag = |key| fields.boolean(key).unwrap_or(false);
    let _ = (fields.require("build_type"), fields.require("git_ref"));
    UserParams {
        additional_tags: fields.texts("additional_tags").unwrap_or_default(),
        arrangement_version: fields.small_number("arrangement_version"),
        base_image: fields.text("base_image"),
        build_from: fields.text("build_from"),
        build_image: fields.text("build_image"),
        build_imagestream: fields.text("build_imagestream"),
        build_json_dir: fields.text("build_json_dir"),
        build_type: fields.choice("build_type", BUILD_TYPES),
        component: fields.text("component"),
        compose_ids: compose_ids(fields),
        customize_conf: fields.text("customize_conf"),
        filesystem_koji_task_id: fields.whole_number("filesystem_koji_task_id", 0),
        flatpak: flag("flatpak"),
        git_branch: fields.text("git_branch"),
        git_commit_depth: fields.whole_number("git_commit_depth", 0),
        git_ref: fields.text("git_ref"),
        git_uri: fields.required_text("git_uri").unwrap_or_default(),
        image_tag: fields.text("image_tag"),
        imagestream_name: fields.text("imagestream_name"),
        isolated: flag("isolated"),
        koji_parent_build: fields.text("koji_parent_build"),
        koji_target: fields.text("koji_target"),
        koji_task_id: fields.whole_number("koji_task_id", 0),
        koji_upload_dir: fields.text("koji_upload_dir"),
        name: fields.text("name"),
        operator_manifests_extract_platform: fields.text("operator_manifests_extract_platform"),
        parent_images_digests: parent_images_digests(fields),
        platform: platform(fields),
        platforms: platforms(fields),
        reactor_config_map: fields.text("reactor_config_map"),
        reactor_config_override: fields.object("reactor_config_override").map(|object| object.node.to_json()),
        release: fields.text("release"),
        scratch: flag("scratch"),
        signing_intent: fields.text("signing_intent"),
        tags_from_yaml: flag("tags_from_yaml"),
        trigger_imagestreamtag: fields.text("trigger_imagestreamtag"),
        user: fields.required_text("user").unwrap_or_default(),
        yum_repourls: fields.texts("yum_repourls").unwrap_or_default(),
    }
}

fn compose_ids(fields: &Fields<'_>) -> Vec<i64> {
    let Some(node) = fields.get("compose_ids") else { return Vec::new() };
    fields.tell("compose_ids[0]", Fact::Whole(i64::MIN, None));
    let mut ids = Vec::new();
    for (index, item) in fields.checker.items(node, "compose_ids").iter().enumerate() {
        match item.value {
            crate::node::Value::Int(id) => ids.push(id),
            _ => fields.checker.wrong_type(item, &format!("compose_ids[{index}]"), "a whole number"),
        }
    }
    ids
}

fn named_platform(fields: &Fields<'_>, node: &Node, path: &str, name: &str) -> Option<Platform> {
    let platform = name.parse().ok();
    if platform.is_none() {
        fields.checker.bad_value(node, path, name, "a platform name: letters, digits and _ only");
    }
    platform
}

fn platform(fields: &Fields<'_>) -> Option<Platform> {
    fields.tell("platform", Fact::Pattern(PLATFORM_NAME.pattern));
    let name = fields.text("platform")?;
    named_platform(fields, fields.get("platform")?, "platform", &name)
}

fn platforms(fields: &Fields<'_>) -> Vec<Platform> {
    fields.tell("platforms[0]", Fact::Pattern(PLATFORM_NAME.pattern));
    let names = fields.texts("platforms").unwrap_or_default();
    let Some(node) = fields.get("platforms") else { return Vec::new() };
    names.iter().filter_map(|name| named_platform(fields, node, "platforms", name)).collect()
}

fn parent_images_digests(fields: &Fields<'_>) -> BTreeMap<String, BTreeMap<String, String>> {
    let Some(node) = fields.get("parent_images_digests") else { return BTreeMap::new() };
    let checker = fields.checker;
    let mut images = BTreeMap::new();
    for (image, digests) in checker.named(node, "parent_images_digests", &PULL_SPEC) {
        let path = format!("parent_images_digests.{}", image.name);
        let one = Fields::new(checker, digests, path.clone());
        let mut by_type = BTreeMap::new();
        checker.tell(&format!("{path}.{}", MEDIA_TYPE.sample), Fact::Pattern("^sha256:"));
        for (media_type, digest) in checker.named(one.node, &path, &MEDIA_TYPE) {
            let Some(text) = checker.text(digest, &format!("{path}.{}", media_type.name)) else { continue };
            if !media_type.name.starts_with("application/") || !media_type.name.ends_with("json") {
                checker.bad_value(digest, &path, &media_type.name, "a media type application/...json");
            } else if !text.starts_with("sha256:") {
                checker.bad_value(digest, &path, &text, "a digest sha256:...");
            } else {
                by_type.insert(media_type.name.clone(), text);
            }
        }
        images.insert(image.name.clone(), by_type);
    }
    images
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let text = r#"{"build_json_dir": "/usr/share/osbs", "build_type": "worker", "git_ref": "abc", "git_uri": "u",
            "user": "me", "platform": "x86_64", "scratch": false, "compose_ids": [1, 2], "future": 1,
            "reactor_config_override": {"version": 1},
            "parent_images_digests": {"r/b:1": {"application/x+json": "sha256:00"}}}"#;
        let params = UserParams::parse(text, "USER_PARAMS").unwrap();
        assert_eq!(params.build_type, Some(BuildType::Worker));
        let json = params.to_json();
        let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
        assert!(keys.is_sorted(), "{keys:?}");
        assert!(json.get("scratch").is_none(), "only truthy values are transmitted");
        assert_eq!(UserParams::from_json(&json, "again").unwrap(), params);
    }

    #[test]
    fn mistakes() {
        let error =
            UserParams::parse(r#"{"build_type": "both", "git_uri": 3, "platforms": ["x-y"]}"#, "U").unwrap_err();
        let text = error.to_string();
        for part in [
            "\"both\" is not one of orchestrator, worker",
            "git_uri: expected a text",
            "\"x-y\"",
            "\"git_ref\"",
            "\"user\"",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let error = UserParams::parse("{\n \"a\": }", "U").unwrap_err();
        assert_eq!(error.problems()[0].position.line, 2);
    }
}
