//! The `osv3` input: everything from the environment of a build container (`reactor.md` 1.3.3).

use super::{Input, InputError, variable};
use crate::build_json::{BuildJson, PluginLists, ProviderParams, SourceSpec};
use osbs_arrangement::{
    ArrangementError, Customization, LATEST, prune_by_environment, render_user_params, template_from_dir,
};
use osbs_config::{ReactorConfig, UserParams};
use osbs_types::BuildType;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// Reads the variables and makes the build JSON.
pub(super) fn read(env: &BTreeMap<String, String>) -> Result<Input, InputError> {
    let build: Value = parse("BUILD", variable(env, "BUILD")?)?;
    let source_uri = variable(env, "SOURCE_URI")?;
    let image = variable(env, "OUTPUT_IMAGE")?;
    let reactor_config = env.get("REACTOR_CONFIG").cloned();
    let user_params = super::user_params(env)?;
    let mut notes = Vec::new();
    let plugins = match (&user_params, &reactor_config) {
        (Some(params), Some(config)) => render(params, config, &mut notes)?,
        _ => match env.get("ATOMIC_REACTOR_PLUGINS") {
            Some(text) => parse("ATOMIC_REACTOR_PLUGINS", text)?,
            None => return Err(InputError::NoPlugins),
        },
    };
    let params = user_params.as_ref();
    let depth = params.and_then(|params| params.git_commit_depth);
    let build_json = BuildJson {
        source: SourceSpec {
            provider: "git".to_owned(),
            uri: source_uri.to_owned(),
            dockerfile_path: None,
            provider_params: ProviderParams {
                git_commit: env.get("SOURCE_REF").filter(|text| !text.is_empty()).cloned(),
                git_branch: params.and_then(|params| params.git_branch.clone()),
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
fn render(params: &UserParams, config: &str, notes: &mut Vec<String>) -> Result<PluginLists, InputError> {
    let version = params.arrangement_version.unwrap_or(LATEST);
    if version < LATEST {
        return Err(InputError::Arrangement(version));
    }
    let build_type = params.build_type.unwrap_or(BuildType::Orchestrator);
    let failed = |error: ArrangementError| InputError::Render(error.to_failure());
    let folder = params.build_json_dir.as_deref().map(Path::new);
    let template = template_from_dir(build_type, version, folder).map_err(failed)?;
    let customization = customization(params, build_type, folder)?;
    notes.extend(
        customization
            .iter()
            .flat_map(|custom| &custom.skipped)
            .map(|entry| format!("{entry} of the site's customisation lacks a key: left out")),
    );
    let (mut lists, mut removed) = render_user_params(template, params, customization.as_ref()).map_err(failed)?;
    let config =
        ReactorConfig::parse(config, "REACTOR_CONFIG").map_err(|error| InputError::Render(error.to_failure()))?;
    removed.extend(prune_by_environment(&mut lists, &config.value, params));
    let told = removed.iter().map(|gone| format!("{} plugin {} taken out: {}", gone.phase, gone.plugin, gone.reason));
    notes.extend(told);
    parse("the rendered plugin lists", &lists.to_json().to_string())
}

/// The site's own changes of the lists, from its `build_json_dir`.
fn customization(
    params: &UserParams,
    build_type: BuildType,
    folder: Option<&Path>,
) -> Result<Option<Customization>, InputError> {
    let Some(folder) = folder else { return Ok(None) };
    let name = params.customize_conf.clone().unwrap_or_else(|| Customization::file_name(build_type));
    let path = folder.join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Customization::parse(&text, &path.display().to_string())
            .map(Some)
            .map_err(|error| InputError::Render(error.to_failure())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(InputError::Customization { path, source }),
    }
}
