//! What an orchestrator hands to its workers (`client-and-koji.md` 2.8, `reactor.md` 2.5).

use osbs_config::{GeneralConfig, InstanceConfig, UserParams};
use serde_json::{Map, Value, json};

/// Arguments of `create_worker_build`. The orchestrator adds `platform` and `release` when it knows them.
///
/// Up to arrangement 5 absent values are there as null; from 6 on only truthy ones, and `target`.
pub fn build_kwargs(params: &UserParams, arrangement_version: u32) -> Map<String, Value> {
    let mut kwargs = Map::new();
    let mut put = |key: &str, value: Value| kwargs.insert(key.to_owned(), value);
    put("component", json!(params.component));
    put("git_branch", json!(params.git_branch));
    put("git_ref", json!(params.git_ref));
    put("git_uri", json!(params.git_uri));
    put("koji_task_id", json!(params.koji_task_id));
    put("filesystem_koji_task_id", json!(params.filesystem_koji_task_id));
    put("scratch", json!(params.scratch));
    put("user", json!(params.user));
    put("yum_repourls", json!(params.yum_repourls));
    put("arrangement_version", json!(arrangement_version));
    put("koji_parent_build", json!(params.koji_parent_build));
    put("isolated", json!(params.isolated));
    if arrangement_version >= 6 {
        put("reactor_config_map", json!(params.reactor_config_map));
        put("reactor_config_override", params.reactor_config_override.clone().unwrap_or_default());
        put("git_commit_depth", json!(params.git_commit_depth));
        kwargs.retain(|_, value| is_truthy(value));
        if params.flatpak {
            kwargs.insert("flatpak".to_owned(), json!(true));
        }
    } else {
        put("flatpak", json!(params.flatpak));
    }
    kwargs.insert("target".to_owned(), json!(params.koji_target));
    kwargs
}

/// As Python has it.
fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(b) => *b,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// Overrides of the workers' `osbs.conf`: nothing that is unset, everything as text.
#[rustfmt::skip]
pub fn config_kwargs(config: &InstanceConfig, general: &GeneralConfig) -> Map<String, Value> {
    let list = |items: &[String]| (!items.is_empty()).then(|| items.join(","));
    // As Python writes them.
    let flag = |value: bool| if value { "True" } else { "False" }.to_owned();
    let groups: Vec<String> = config.equal_labels.iter().map(|group| group.join(":")).collect();
    let build_image = config.build_from.as_ref().and_then(|build_from| match build_from {
        osbs_config::BuildFrom::Image(image) => Some(image.clone()),
        osbs_config::BuildFrom::ImageStream(_) => None,
    });
    let entries: [(&str, Option<String>); 26] = [
        ("authoritative_registry", config.authoritative_registry.clone()),
        ("distribution_scope", config.distribution_scope.clone()),
        ("info_url_format", config.info_url_format.clone()),
        ("koji_hub", config.koji_hub.clone()), ("koji_root", config.koji_root.clone()),
        ("openshift_required_version", general.openshift_required_version.clone()),
        ("pulp_registry_name", config.pulp_registry_name.clone()),
        ("registry_api_versions", Some("v2".to_owned())),
        ("smtp_host", config.smtp_host.clone()), ("smtp_from", config.smtp_from.clone()),
        ("smtp_additional_addresses", list(&config.smtp_additional_addresses)),
        ("smtp_error_addresses", list(&config.smtp_error_addresses)),
        ("smtp_email_domain", config.smtp_email_domain.clone()),
        ("smtp_to_submitter", config.smtp_host.as_ref().map(|_| flag(config.smtp_to_submitter))),
        ("smtp_to_pkgowner", config.smtp_host.as_ref().map(|_| flag(config.smtp_to_pkgowner))),
        ("source_registry_uri", config.source_registry.as_ref().map(osbs_config::RegistryUri::uri)),
        ("sources_command", config.sources_command.clone()), ("vendor", config.vendor.clone()),
        ("equal_labels", list(&groups)), ("artifacts_allowed_domains", list(&config.artifacts_allowed_domains)),
        ("yum_proxy", config.yum_proxy.clone()), ("flatpak_base_image", config.flatpak_base_image.clone()),
        ("odcs_url", config.odcs_url.clone()),
        ("odcs_insecure", config.odcs_url.as_ref().map(|_| flag(config.odcs_insecure))),
        ("pdc_url", config.pdc_url.clone()), ("build_image", build_image),
    ];
    let set = entries.into_iter().filter_map(|(key, value)| Some((key.to_owned(), Value::from(value?))));
    set.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_up_to_five_truthy_from_six() {
        let params = UserParams { git_uri: "u".into(), user: "me".into(), scratch: false, ..UserParams::default() };
        assert_eq!(build_kwargs(&params, 5)["koji_task_id"], Value::Null);
        let six = build_kwargs(&params, 6);
        assert!(!six.contains_key("scratch") && !six.contains_key("koji_task_id"));
        assert_eq!(six["target"], Value::Null);
        assert_eq!(six["arrangement_version"], 6);
    }

    #[test]
    fn overrides_are_texts() {
        let config = InstanceConfig {
            equal_labels: vec![vec!["a".into(), "b".into()], vec!["c".into(), "d".into()]],
            odcs_url: Some("o".into()),
            ..InstanceConfig::default()
        };
        let kwargs = config_kwargs(&config, &GeneralConfig::default());
        assert_eq!(kwargs["equal_labels"], "a:b,c:d");
        assert_eq!(kwargs["odcs_insecure"], "False");
        assert!(!kwargs.contains_key("vendor") && kwargs.values().all(Value::is_string));
    }
}
