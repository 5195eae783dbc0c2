//! `inside-build`: input, build object, run (`reactor.md` 1.1). What the program of a build container does.

use crate::engine::{Reactor, RunReport};
use crate::events::{CORE_LOGGER, Logger};
use crate::input::{Input, InputError, InputOptions, read_input};
use crate::plugins;
use crate::run::Run;
use crate::services::Services;
use osbs_types::{BuildName, EventKind, Failure, Timestamp};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Reads the build JSON, finds the build object it belongs to (variable `BUILD`), and runs all phases with every known
/// plugin. `started` is the start of the program; `cancel` is what SIGTERM triggers. The failure, if any, is the last event.
pub async fn inside_build(
    options: &InputOptions,
    services: Services,
    started: Timestamp,
    cancel: CancellationToken,
) -> RunReport {
    let log = Logger::new(Arc::clone(&services.events), Arc::clone(&services.clock), CORE_LOGGER);
    match prepare(options, services, cancel, &log).await {
        Ok(mut run) => {
            run.started = started;
            Reactor::new(plugins::all()).run(&mut run).await
        }
        Err(failure) => {
            log.event(EventKind::Failure(failure.clone()));
            log.flush();
            RunReport { outcome: Err(failure) }
        }
    }
}

async fn prepare(
    options: &InputOptions,
    services: Services,
    cancel: CancellationToken,
    log: &Logger,
) -> Result<Run, Failure> {
    let input = read_input(options).map_err(|error| error.into_failure().in_step("input"))?;
    let name = build_name(options).map_err(|error| error.into_failure().in_step("input"))?;
    let build = services.cluster.get_build(&name).await.map_err(|error| Failure::new(error.kind(), &error))?;
    let Input { build_json, user_params, reactor_config, notes } = input;
    log.info(format!("build {name} in namespace {}", build.namespace));
    if let Some(version) = &build_json.client_version {
        log.debug(format!("rendered by client version {version}"));
    }
    for note in notes {
        log.debug(note);
    }
    let mut run = Run::new(build_json, build, services, cancel);
    run.user_params = user_params.unwrap_or_default();
    run.reactor_config_text = reactor_config;
    Ok(run)
}

/// `metadata.name` of the Build object.
fn build_name(options: &InputOptions) -> Result<BuildName, InputError> {
    let text = options.env.get("BUILD").ok_or_else(|| InputError::NoVariable { name: "BUILD".to_owned() })?;
    let json = |source| InputError::Json { what: "BUILD".to_owned(), source };
    let object: serde_json::Value = serde_json::from_str(text).map_err(json)?;
    let name = object.pointer("/metadata/name").cloned().unwrap_or_default();
    serde_json::from_value(name).map_err(json)
}
