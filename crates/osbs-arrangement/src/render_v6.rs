//! Rendering of arrangement 6: only the request goes into plugin arguments (`reactor.md` 2.5).
//!
//! What the environment configuration decides is [`crate::prune_by_environment`]'s.

use crate::customize::Customization;
use crate::error::ArrangementError;
use crate::lists::{PluginLists, Removal};
use crate::render::{check_kind, suffixes};
use crate::worker_request::build_kwargs;
use osbs_config::UserParams;
use osbs_types::{BuildType, Phase, Platform};
use serde_json::{Map, Value, json};

/// Renders `template` for the request in `USER_PARAMS`.
///
/// # Errors
/// A request that contradicts itself.
pub fn render_user_params(
    mut lists: PluginLists,
    params: &UserParams,
    customization: Option<&Customization>,
) -> Result<(PluginLists, Vec<Removal>), ArrangementError> {
    check_kind(params, false)?;
    let mut removed = customization.map_or(Ok(Vec::new()), |customization| customization.apply(&mut lists))?;
    for (condition, plugins, reason) in removals(params) {
        for plugin in plugins.iter().filter(|_| condition) {
            lists.remove(plugin, reason, &mut removed);
        }
    }
    if params.scratch {
        lists.remove_from(Phase::Postbuild, "pulp_pull", "scratch build", &mut removed);
    }
    if params.imagestream_name.is_none() {
        lists.remove_from(Phase::Exit, "import_image", "no image stream", &mut removed);
    }
    set_arguments(&mut lists, params);
    Ok((lists, removed))
}

type Rule = (bool, &'static [&'static str], &'static str);

fn removals(params: &UserParams) -> [Rule; 9] {
    let rebuild = &["check_and_set_rebuild", "stop_autorebuild_if_disabled"];
    let scratch = &["koji_parent", "compress", "compare_components", "import_image", "koji_promote", "koji_tag_build"];
    let of_pulp = &[
        "resolve_composes",
        "squash",
        "pulp_push",
        "pulp_tag",
        "pulp_sync",
        "pulp_publish",
        "pulp_pull",
        "delete_from_registry",
    ];
    let of_flatpak = &["resolve_module_compose", "flatpak_create_dockerfile", "flatpak_create_oci"];
    [
        (params.scratch, scratch, "scratch build"),
        (params.scratch, rebuild, "a scratch build has no triggers"),
        (params.isolated, rebuild, "an isolated build has no triggers"),
        (params.flatpak, of_pulp, "flatpak build"),
        (!params.flatpak, of_flatpak, "not a flatpak build"),
        (params.release.is_some(), &["bump_release"], "the request gives the release"),
        (params.koji_parent_build.is_none(), &["inject_parent_image"], "no koji_parent_build"),
        (!params.yum_repourls.is_empty(), &["koji"], "the request gives yum repositories"),
        (params.koji_target.is_none(), &["koji", "koji_tag_build"], "no Koji target"),
    ]
}

fn set_arguments(lists: &mut PluginLists, params: &UserParams) {
    let platform = params.platform.as_ref().map(Platform::as_str);
    let target = params.koji_target.as_deref();
    let repos = (!params.yum_repourls.is_empty()).then(|| json!(params.yum_repourls));
    let composes = (!params.compose_ids.is_empty()).then(|| json!(params.compose_ids));
    let intent = params.signing_intent.as_deref();
    let is_orchestrator = params.build_type == Some(BuildType::Orchestrator);
    let labels = params.release.as_ref().map(|release| json!({"release": release}));
    let digests = (!params.parent_images_digests.is_empty()).then(|| json!(params.parent_images_digests));
    let extract = params.operator_manifests_extract_platform.as_deref();
    let arguments: [(&str, &str, Option<Value>); 25] = [
        ("bump_release", "append", params.flatpak.then(|| json!(true))),
        ("add_filesystem", "repos", repos.clone()),
        ("add_filesystem", "from_task_id", params.filesystem_koji_task_id.map(Value::from)),
        ("add_filesystem", "architecture", platform.map(Value::from)),
        ("add_filesystem", "koji_target", target.map(Value::from)),
        ("add_labels_in_dockerfile", "labels", labels),
        ("add_yum_repo_by_url", "repourls", repos.clone()),
        ("check_and_set_platforms", "koji_target", target.map(Value::from)),
        ("import_image", "imagestream", params.imagestream_name.as_deref().map(Value::from)),
        ("inject_parent_image", "koji_parent_build", params.koji_parent_build.as_deref().map(Value::from)),
        ("koji", "target", target.map(Value::from)),
        ("koji_tag_build", "target", target.map(Value::from)),
        ("koji_upload", "koji_upload_dir", params.koji_upload_dir.as_deref().map(Value::from)),
        ("koji_upload", "platform", platform.map(Value::from)),
        ("koji_upload", "report_multiple_digests", Some(json!(true))),
        ("export_operator_manifests", "platform", platform.map(Value::from)),
        ("export_operator_manifests", "operator_manifests_extract_platform", extract.map(Value::from)),
        ("pull_base_image", "parent_images_digests", digests),
        ("resolve_composes", "compose_ids", composes.clone()),
        ("resolve_composes", "signing_intent", intent.map(Value::from)),
        ("resolve_composes", "koji_target", target.map(Value::from)),
        ("resolve_composes", "repourls", repos),
        ("resolve_module_compose", "compose_ids", composes),
        ("resolve_module_compose", "signing_intent", intent.map(Value::from)),
        ("tag_from_config", "tag_suffixes", Some(suffixes(params.build_type.unwrap_or(BuildType::Worker), params))),
    ];
    for (plugin, argument, value) in arguments {
        lists.set_some(plugin, argument, value);
    }
    if is_orchestrator {
        let names: Vec<&str> = params.platforms.iter().map(Platform::as_str).collect();
        lists.set("orchestrate_build", "platforms", json!(names));
        let version = params.arrangement_version.unwrap_or(crate::LATEST);
        lists.set("orchestrate_build", "build_kwargs", Value::Object(build_kwargs(params, version)));
        lists.set("orchestrate_build", "config_kwargs", Value::Object(Map::new()));
    }
}
