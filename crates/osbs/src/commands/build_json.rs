//! `osbs build-json`: what a build would run, without running it.
//!
//! The same way as a build goes: the client checks and renders, the `osv3` input makes the build JSON. Nothing is created
//! on the cluster.

use crate::commands::build::BuildArgs;
use crate::session::Session;
use clap::Args;
use osbs_client::{Osbs, WorkerBuildRequest};
use osbs_cluster::NewBuild;
use osbs_reactor::build_json::BuildJson;
use osbs_reactor::input::{Input, InputOptions, read_input};
use osbs_types::{ErrorKind, Failure, Phase, Platform, without_logins};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

/// The release of a worker build JSON when the request gives none.
const UNKNOWN_RELEASE: &str = "0";

/// Print the build JSON of a request: source, image name and every plugin with its arguments
///
/// Takes the options of `osbs build`, checks the request like it, and runs nothing. Logins in URLs are shown as ***. Plugins that were taken out are told
/// on standard error, with the reason.
#[derive(Debug, Args)]
pub(crate) struct BuildJsonArgs {
    #[command(flatten)]
    pub(crate) build: BuildArgs,

    /// The build JSON of the worker build for this platform, instead of the orchestrator build's
    #[arg(long, value_name = "P")]
    worker: Option<Platform>,
}

/// Runs the command.
pub(crate) async fn run(session: &Session, args: BuildJsonArgs) -> Result<u8, Failure> {
    let osbs = session.osbs()?;
    let request = args.build.request_for(osbs);
    let cancel = CancellationToken::new();
    let preview = osbs.preview_orchestrator_build(&request, &cancel);
    let (new, warnings) = tokio::select! {
        preview = preview => preview.map_err(|error| error.to_failure())?,
        _ = tokio::signal::ctrl_c() => return Err(Failure::message(ErrorKind::Cancelled, "interrupted")),
    };
    for warning in warnings {
        session.note(&format!("{} {warning}", session.paint().yellow("warning")));
    }
    let mut input = input_of(&new)?;
    if let Some(platform) = args.worker {
        let release = request.release.clone().unwrap_or_else(|| {
            session.note(&format!("the orchestrator build decides the release: {UNKNOWN_RELEASE} stands for it"));
            UNKNOWN_RELEASE.to_owned()
        });
        let worker = worker(osbs, &new, &input.build_json, platform, release).await?;
        input = input_of(&worker)?;
    }
    for note in &input.notes {
        session.note(note);
    }
    let mut shown = serde_json::to_value(&input.build_json).map_err(|e| Failure::new(ErrorKind::Internal, &e))?;
    let phases = Phase::ALL.map(|phase| format!("{phase}_plugins"));
    let mut hidden = false;
    for phase in &phases {
        hidden |= shown.get_mut(phase).is_some_and(hide_logins);
    }
    if hidden {
        session.note("logins of URLs are shown as ***: put them back before you have this build JSON carried out");
    }
    session.print_json(&shown);
    Ok(0)
}

/// Whether there were any. A build JSON is kept and sent around.
fn hide_logins(value: &mut Value) -> bool {
    match value {
        Value::String(text) => {
            let public = without_logins(text);
            let differs = public != *text;
            *text = public;
            differs
        }
        Value::Array(items) => items.iter_mut().map(hide_logins).filter(|hidden| *hidden).count() > 0,
        Value::Object(members) => members.values_mut().map(hide_logins).filter(|hidden| *hidden).count() > 0,
        _ => false,
    }
}

/// What the build would read from its environment.
fn input_of(new: &NewBuild) -> Result<Input, Failure> {
    let mut env = new.env.clone();
    env.insert("BUILD".to_owned(), json!({"metadata": {}}).to_string());
    env.insert("SOURCE_URI".to_owned(), new.source.uri.clone());
    env.insert("SOURCE_REF".to_owned(), new.source.git_ref.clone());
    env.insert("OUTPUT_IMAGE".to_owned(), new.output_image.clone());
    let options = InputOptions { name: "osv3".to_owned(), env: env.into_iter().collect(), ..InputOptions::default() };
    read_input(&options).map_err(|error| error.into_failure().in_step("input"))
}

/// What `orchestrate_build` would ask of the request's own cluster.
async fn worker(
    osbs: &Osbs,
    orchestrator: &NewBuild,
    build_json: &BuildJson,
    platform: Platform,
    release: String,
) -> Result<NewBuild, Failure> {
    let entry = build_json.plugins.entry(Phase::Buildstep, "orchestrate_build").ok_or_else(|| {
        Failure::message(ErrorKind::User, "this request has no worker builds: orchestrate_build is not in its list")
            .with_hint("name platforms: --platforms x86_64")
    })?;
    let mut parameters = entry.args.get("build_kwargs").and_then(Value::as_object).cloned().unwrap_or_default();
    let version = parameters.get("arrangement_version").and_then(Value::as_u64).unwrap_or(6);
    if let Some(config) = configuration(orchestrator)? {
        parameters.insert("reactor_config_override".to_owned(), config);
    }
    let request = WorkerBuildRequest {
        platform,
        release,
        arrangement_version: u32::try_from(version).unwrap_or(u32::MAX),
        parameters,
        parent: None,
        slots: None,
    };
    osbs.preview_worker_build(&request).await.map_err(|error| error.to_failure())
}

/// The orchestrator's configuration, which it hands on.
fn configuration(orchestrator: &NewBuild) -> Result<Option<Value>, Failure> {
    let Some(text) = orchestrator.env.get("REACTOR_CONFIG") else { return Ok(None) };
    let parsed = osbs_config::ReactorConfig::parse(text, "config.yaml").map_err(|error| error.to_failure())?;
    Ok(Some(parsed.value.raw().clone()).filter(|raw| *raw != Value::Object(Map::new())))
}
