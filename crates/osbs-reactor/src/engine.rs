//! The engine: phases in order, what a failure means, records, exit plugins, cancellation (`reactor.md` 1.4 to 1.8).
//!
//! Knows no plugin by name but the two that the rules themselves name: a builder that is chosen by configuration and the
//! pseudo-plugin `BuildStepPlugin`.

use crate::build_json::PluginEntry;
use crate::disk::DiskWatcher;
use crate::events::{CORE_LOGGER, ENGINE_LOGGER, phase_text, plugin_logger_name};
use crate::koji;
use crate::plugin::{
    BuildResult, BuiltImageId, Done, Plugin, PluginArgs, PluginError, PluginResult, PluginTypes, cancelled,
};
use crate::plugins::push_floating_tags;
use crate::resolve::{Resolved, ResolvedList, refused, resolve, unknown};
use crate::run::Run;
use crate::site_plugin;
use crate::source::SourceTree;
use futures_util::FutureExt;
use osbs_types::{ErrorKind, EventKind, Failure, Outcome, Phase};
use serde_json::{Map, Value};
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// After that long, waiting for cancelled work on threads is worth a line in the log.
const SLOW_STOP: Duration = Duration::from_secs(2);

/// Runs builds with a set of known plugins.
pub struct Reactor {
    types: PluginTypes,
}

/// How a run ended. The records stay in the [`Run`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunReport {
    /// All plugins that must succeed did.
    pub outcome: Result<(), Failure>,
}

impl Reactor {
    /// A reactor that knows these plugins.
    pub fn new(types: PluginTypes) -> Self {
        Self { types }
    }

    /// Runs everything: source, the phases, exit plugins, clean-up. Emits the failure or the facts as last event.
    pub async fn run(&self, run: &mut Run) -> RunReport {
        let watcher = DiskWatcher::start(run.services.watched_disk.clone(), run.disk.clone());
        let exit = resolve(&self.types, run, Phase::Exit);
        let main = match (exit.unknown.first(), hold_store(run).await) {
            (None, Ok(())) => self.main_part(run).await,
            (None, Err(failure)) => Err(failure),
            // Before anything is built or published, not after.
            (Some(failure), _) => Err(failure.clone()),
        };
        settle_threads(run).await;
        if let Err(failure) = &main {
            run.cancelled = failure.kind == ErrorKind::Cancelled;
            run.records.failure = Some(failure.clone());
        }
        run.cancel = CancellationToken::new();
        let exit_failures = self.exit_phase(run, exit).await;
        koji::leave(run).await;
        settle_threads(run).await;
        drop(watcher);
        run.lease = None;
        let removed = remove_source(run).await;
        let outcome = combine(main, exit_failures).and(removed);
        report(run, &outcome);
        RunReport { outcome }
    }

    async fn main_part(&self, run: &mut Run) -> Result<(), Failure> {
        let prebuild = resolve(&self.types, run, Phase::Prebuild);
        let prepublish = resolve(&self.types, run, Phase::Prepublish);
        let postbuild = resolve(&self.types, run, Phase::Postbuild);
        for list in [&prebuild, &prepublish, &postbuild] {
            if let Some(failure) = list.unknown.first() {
                return Err(failure.clone());
            }
        }
        adopt_configuration(run)?;
        fetch_source(run).await?;
        self.phase(run, Phase::Prebuild, prebuild.plugins).await?;
        self.build_step(run).await?;
        self.phase(run, Phase::Prepublish, prepublish.plugins).await?;
        self.phase(run, Phase::Postbuild, postbuild.plugins).await
    }

    async fn phase(&self, run: &mut Run, phase: Phase, plugins: Vec<Resolved>) -> Result<(), Failure> {
        for plugin in plugins {
            stop_here(run)?;
            self.one(run, phase, plugin).await?;
        }
        Ok(())
    }

    async fn exit_phase(&self, run: &mut Run, list: ResolvedList) -> Vec<Failure> {
        let mut failures = Vec::new();
        for plugin in list.plugins {
            if let Err(failure) = self.one(run, Phase::Exit, plugin).await {
                failures.push(failure);
            }
        }
        failures.extend(self.floating_tags(run).await);
        failures
    }

    /// Names that move, last of all. The lists of the arrangements do not have this plugin (`reactor.md` 2.3, M16).
    async fn floating_tags(&self, run: &mut Run) -> Option<Failure> {
        let kind = self.types.find(push_floating_tags::NAME, Phase::Exit).filter(|_| run.has_waiting_names())?.clone();
        let entry = PluginEntry::new(push_floating_tags::NAME);
        self.one(run, Phase::Exit, Resolved { entry, kind, tolerated: false }).await.err()
    }

    /// Runs one plugin of any phase but buildstep, with records. An error ends the phase (not in exit).
    async fn one(&self, run: &mut Run, phase: Phase, plugin: Resolved) -> Result<(), Failure> {
        let name = plugin.entry.name.clone();
        let ended = execute(run, phase, &plugin).await;
        let (stored, outcome) = match ended.result {
            Ok(Done::Value(value)) => (Ok(value), Outcome::Ok),
            Ok(Done::Skipped(why)) => {
                run.logger.named(&plugin_logger_name(&name)).info(format!("nothing to do: {why}"));
                (Ok(Value::Null), Outcome::Skipped)
            }
            Ok(Done::Built(_)) => {
                let text = "only a builder can return a build result";
                (Err(Failure::message(ErrorKind::Internal, text)), Outcome::Failed)
            }
            Err(PluginError::Cancelled) => (Err(cancelled()), Outcome::Cancelled),
            Err(error) if plugin.tolerated => (Err(error.into_failure()), Outcome::Tolerated),
            Err(error) => (Err(error.into_failure()), Outcome::Failed),
        };
        let stored = stored.map_err(|failure| failure.in_step(&name));
        finish(run, phase, &name, outcome, ended.started);
        if let Err(failure) = &stored {
            log_failure(run, phase, &name, outcome, failure);
        }
        let fatal = matches!(outcome, Outcome::Failed | Outcome::Cancelled).then(|| stored.clone().err()).flatten();
        if let Some(failure) = &fatal {
            run.records.errors.insert(name.clone(), failure.to_string().into());
        }
        if fatal.is_none() || phase == Phase::Exit {
            run.records.results.entry(phase).or_default().insert(name, stored);
        }
        fatal.map_or(Ok(()), Err)
    }

    async fn build_step(&self, run: &mut Run) -> Result<(), Failure> {
        let entries = builder_entries(run)?;
        let synthesised = run.request.plugins.phase(Phase::Buildstep).is_empty();
        for mut entry in entries {
            stop_here(run)?;
            if let Some(program) = &entry.program
                && let Err(failure) = site_plugin::plugin_type(&entry.name, Phase::Buildstep, program)
            {
                return Err(refused(run, &entry.name, failure));
            }
            let Some(kind) = self.types.find(&entry.name, Phase::Buildstep).cloned() else {
                if synthesised {
                    let failure = unknown(&self.types, Phase::Buildstep, &entry.name);
                    return Err(refused(run, &entry.name, failure));
                }
                let failure = unknown(&self.types, Phase::Buildstep, &entry.name);
                run.logger.named(ENGINE_LOGGER).warning(format!("{failure}: skipped"));
                continue;
            };
            entry.required = false;
            let plugin = Resolved { entry, kind, tolerated: false };
            if let Some(result) = self.builder(run, &plugin).await? {
                run.build_result = Some(result);
                return Ok(());
            }
        }
        let failure = Failure::message(ErrorKind::User, "no appropriate build step").in_step("BuildStepPlugin");
        run.records.errors.insert("BuildStepPlugin".to_owned(), failure.to_string().into());
        Err(failure)
    }

    /// One builder; `None` when it declined.
    async fn builder(&self, run: &mut Run, plugin: &Resolved) -> Result<Option<BuildResult>, Failure> {
        let name = &plugin.entry.name;
        let ended = execute(run, Phase::Buildstep, plugin).await;
        let (outcome, failure) = match ended.result {
            Ok(Done::Built(result)) => {
                let stored = build_result_value(&result);
                match result.image.clone() {
                    Ok(_) => {
                        finish(run, Phase::Buildstep, name, Outcome::Ok, ended.started);
                        run.records.results.entry(Phase::Buildstep).or_default().insert(name.clone(), Ok(stored));
                        return Ok(Some(result));
                    }
                    Err(why) => {
                        run.records.results.entry(Phase::Buildstep).or_default().insert(name.clone(), Ok(stored));
                        run.records.errors.insert(name.clone(), why.fail_reason.clone().into());
                        run.build_result = Some(result);
                        (Outcome::Failed, why.failure)
                    }
                }
            }
            Ok(_) => (Outcome::Failed, Failure::message(ErrorKind::Internal, "a builder must return a build result")),
            Err(PluginError::Declined(why)) => {
                run.records.timestamps.shift_remove(name);
                run.logger.named(&plugin_logger_name(name)).info(format!("not for this build: {why}"));
                emit_end(run, Phase::Buildstep, name, Outcome::Declined, ended.started);
                return Ok(None);
            }
            Err(PluginError::Cancelled) => (Outcome::Cancelled, cancelled()),
            Err(error) => (Outcome::Failed, error.into_failure()),
        };
        let failure = failure.in_step(name);
        finish(run, Phase::Buildstep, name, outcome, ended.started);
        log_failure(run, Phase::Buildstep, name, outcome, &failure);
        if !run.records.errors.contains_key(name) {
            run.records.errors.insert(name.clone(), failure.to_string().into());
        }
        Err(failure)
    }
}

/// What a plugin did, and since when.
struct Ended {
    result: PluginResult,
    started: Instant,
}

/// Makes and runs a plugin, with its events, under cancellation and panics.
async fn execute(run: &mut Run, phase: Phase, plugin: &Resolved) -> Ended {
    let name = plugin.entry.name.as_str();
    let started = Instant::now();
    run.logger = run.logger.named(&plugin_logger_name(name));
    run.logger.event(EventKind::PluginStart { phase, plugin: name.to_owned() });
    let args = arguments(run, plugin);
    let result = match (plugin.kind.make)(args) {
        Ok(made) => {
            let now = run.services.clock.now();
            run.records.timestamps.insert(name.to_owned(), format!("{now:.6}").into());
            drive(run, made).await
        }
        Err(error) => Err(error),
    };
    let cancelled = run.cancel.is_cancelled() && result.is_err();
    let result = match run.services.events.check() {
        _ if cancelled => Err(PluginError::Cancelled),
        Err(failure) if result.is_ok() => Err(failure.into()),
        _ => result,
    };
    run.logger = run.logger.named(CORE_LOGGER);
    Ended { result, started }
}

/// Runs the plugin to its end or to the build's cancellation.
async fn drive(run: &mut Run, mut plugin: Box<dyn Plugin>) -> PluginResult {
    let cancel = run.cancel.clone();
    let waits = plugin.ends_itself_when_cancelled();
    let mut work = std::pin::pin!(AssertUnwindSafe(plugin.run(run)).catch_unwind());
    let ended = tokio::select! {
        biased;
        ended = &mut work => ended,
        () = cancel.cancelled() => {
            if !waits {
                return Err(PluginError::Cancelled);
            }
            work.await
        }
    };
    ended.unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        Err(PluginError::internal(format!("the plugin panicked: {text}")))
    })
}

/// Waits for blocking work that a dropped or failed plugin has left.
async fn settle_threads(run: &Run) {
    run.work.close();
    if tokio::time::timeout(SLOW_STOP, run.work.wait()).await.is_err() {
        run.logger.warning("work on a thread has not stopped yet; waiting for it before anything is removed");
        run.work.wait().await;
    }
    run.work.reopen();
}

fn stop_here(run: &Run) -> Result<(), Failure> {
    if run.cancel.is_cancelled() { Err(cancelled()) } else { Ok(()) }
}

/// Lists without `reactor_config` (workers of arrangements 1 to 5) still obey a configuration that was handed in.
fn adopt_configuration(run: &mut Run) -> Result<(), Failure> {
    let Some(text) = run.reactor_config_text.clone() else { return Ok(()) };
    if run.request.plugins.entry(Phase::Prebuild, "reactor_config").is_none() {
        let parsed = osbs_config::ReactorConfig::parse(&text, "REACTOR_CONFIG").map_err(|error| error.to_failure())?;
        run.config = std::sync::Arc::new(parsed.value);
        run.config_loaded = true;
    }
    Ok(())
}

/// Keeps garbage collection away from the images of this run.
async fn hold_store(run: &mut Run) -> Result<(), Failure> {
    let (store, owner) = (run.services.store.clone(), run.build.name.to_string());
    let lease = run.blocking(move |_| store.lease(&owner)).await.map_err(PluginError::into_failure)?;
    run.lease = Some(lease);
    Ok(())
}

async fn fetch_source(run: &mut Run) -> Result<(), Failure> {
    stop_here(run)?;
    if run.source_tree.is_some() {
        return Ok(());
    }
    let cancel = run.cancel.clone();
    let fetched = tokio::select! {
        () = cancel.cancelled() => return Err(cancelled()),
        fetched = SourceTree::fetch(run) => fetched,
    };
    let tree = fetched.map_err(|error| error.into_failure().in_step("source"))?;
    run.parents = tree.parents().map_err(|error| error.into_failure().in_step("source"))?;
    run.source_tree = Some(tree);
    Ok(())
}

async fn remove_source(run: &mut Run) -> Result<(), Failure> {
    let Some(tree) = run.source_tree.take() else { return Ok(()) };
    let removed = tokio::task::spawn_blocking(move || tree.remove()).await;
    match removed {
        Ok(Ok(())) => {}
        Ok(Err(error)) => run.logger.warning(format!("the source work folder could not be removed: {error}")),
        Err(error) => run.logger.warning(format!("the source work folder could not be removed: {error}")),
    }
    Ok(())
}

/// The builders to ask: the list, or the configured default.
fn builder_entries(run: &Run) -> Result<Vec<PluginEntry>, Failure> {
    match run.request.plugins.phase(Phase::Buildstep) {
        [] => Ok(vec![PluginEntry::new(&run.image_build_method()?)]),
        list => Ok(list.to_vec()),
    }
}

/// Special values replaced, unknown names dropped (`reactor.md` 1.4).
fn arguments(run: &Run, plugin: &Resolved) -> PluginArgs {
    let mut args = plugin.entry.args.clone();
    let unknown: Vec<_> = args.keys().filter(|name| !plugin.kind.knows(name)).cloned().collect();
    for name in unknown {
        run.logger.warning(format!("argument {name:?} is not known to this plugin: dropped"));
        args.shift_remove(&name);
    }
    let special = special_values(run);
    for value in args.values_mut() {
        replace_special(value, &special);
    }
    PluginArgs(args)
}

fn special_values(run: &Run) -> Map<String, Value> {
    let mut special = Map::new();
    if let Some(id) = run.image_id() {
        special.insert("BUILT_IMAGE_ID".to_owned(), id.as_str().into());
    }
    if let Some(tree) = &run.source_tree {
        let text = |path: &std::path::Path| Value::from(path.to_string_lossy().into_owned());
        special.insert("BUILD_DOCKERFILE_PATH".to_owned(), text(tree.build_file()));
        special.insert("BUILD_SOURCE_PATH".to_owned(), text(tree.root()));
    }
    if let Some(base) = &run.parents.base_image {
        special.insert("BASE_IMAGE".to_owned(), base.as_str().into());
    }
    special
}

fn replace_special(value: &mut Value, special: &Map<String, Value>) {
    match value {
        Value::String(text) => {
            if let Some(replacement) = special.get(text.as_str()) {
                *value = replacement.clone();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| replace_special(item, special)),
        Value::Object(members) => members.values_mut().for_each(|member| replace_special(member, special)),
        _ => {}
    }
}

fn build_result_value(result: &BuildResult) -> Value {
    match &result.image {
        Ok(BuiltImageId::Local(id)) => serde_json::json!({ "image_id": id.as_str() }),
        Ok(BuiltImageId::Remote) => serde_json::json!({ "image_id": null, "remote": true }),
        Err(why) => serde_json::json!({ "fail_reason": why.fail_reason }),
    }
}

fn finish(run: &mut Run, phase: Phase, name: &str, outcome: Outcome, started: Instant) {
    run.records.durations.insert(name.to_owned(), started.elapsed().as_secs_f64().into());
    emit_end(run, phase, name, outcome, started);
}

fn emit_end(run: &Run, phase: Phase, name: &str, outcome: Outcome, started: Instant) {
    let duration_ms = started.elapsed().as_millis() as u64;
    run.logger.event(EventKind::PluginEnd { phase, plugin: name.to_owned(), outcome, duration_ms });
}

fn log_failure(run: &Run, phase: Phase, name: &str, outcome: Outcome, failure: &Failure) {
    let logger = run.logger.named(ENGINE_LOGGER);
    // The causes of an orchestrator's build step go by platform, and stand in lines with that platform's name already.
    let by_platform = phase == Phase::Buildstep && run.is_orchestrator();
    let why = if by_platform { failure.message.clone() } else { failure.to_string() };
    let text = format!("{} failed ({}): {why}", phase_text(phase, name), failure.kind);
    match outcome {
        Outcome::Tolerated => logger.warning(format!("{text}; it is allowed to fail")),
        _ => logger.error(text),
    }
}

/// The main part's error wins; else those of exit plugins, together.
fn combine(main: Result<(), Failure>, exit: Vec<Failure>) -> Result<(), Failure> {
    main?;
    let mut failures = exit.into_iter();
    let Some(mut first) = failures.next() else { return Ok(()) };
    let rest: Vec<_> = failures.map(|failure| failure.to_string()).collect();
    if !rest.is_empty() {
        first.message = format!("{} exit plugins failed: {}", rest.len() + 1, first.message);
        first.causes.extend(rest);
    }
    Err(first)
}

fn report(run: &Run, outcome: &Result<(), Failure>) {
    if let Some(text) = &run.original_dockerfile {
        run.logger.info(format!("Dockerfile before its parents were fixed:\n{}", osbs_types::without_logins(text)));
    }
    if !run.facts.is_empty() {
        run.logger.event(EventKind::Result { platform: None, facts: Value::Object(run.facts.clone()) });
    }
    if let Err(failure) = outcome {
        run.logger.event(EventKind::Failure(failure.clone()));
    }
    run.services.events.flush();
}
