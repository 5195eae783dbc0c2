//! The import of a build by its content generator: once, and known to be done even when its answer was lost.
//!
//! Used by `koji_promote` and `koji_import`. Knows nothing of what the metadata means.

use super::log_files::folder;
use super::reservation::{GRANT, forget};
use super::upload::upload;
use super::{KojiSite, fragment::BuildFile, metadata::FileFacts};
use crate::plugin::PluginError;
use crate::run::Run;
use osbs_koji::{Build, BuildInfo, BuildState, Fault, FaultCode, KojiError, MethodCall, calls};
use osbs_types::{ErrorKind, Failure};
use serde_json::Value;
use std::time::Duration;

/// The metadata's file in the upload folder. By file, because a request has at most 4 MiB and an image's packages have more.
pub(crate) const METADATA: &str = "metadata.json";
/// How often the hub is looked at for a build whose import was not answered, and how long in between: the import of
/// gigabytes may still go on.
const LOOKS: u32 = 12;
const BETWEEN: Duration = if cfg!(test) { Duration::from_millis(20) } else { Duration::from_secs(5) };
/// How often the import is asked for.
const TRIES: u32 = 3;

/// Puts the metadata into the upload folder.
pub(crate) async fn upload_metadata(
    run: &Run,
    koji: &KojiSite,
    directory: &str,
    metadata: &Value,
) -> Result<(), PluginError> {
    let path = folder(run)?.join(METADATA);
    let text = serde_json::to_string_pretty(metadata)
        .map_err(|error| PluginError::internal(format!("the metadata is no JSON: {error}")))?;
    std::fs::write(&path, &text)
        .map_err(|error| PluginError::resource(format!("{} cannot be written: {error}", path.display())))?;
    let facts = FileFacts { filename: METADATA.to_owned(), size: text.len() as u64, md5: String::new() };
    upload(run, koji, &BuildFile { path, facts }, directory).await
}

/// Imports what lies in the upload folder, and gives the build's number. A reservation is used up by it.
///
/// # Errors
/// Refused, in the hub's words; or nobody can say whether it was done.
pub(crate) async fn import(
    run: &mut Run,
    koji: &KojiSite,
    directory: &str,
    metadata: &Value,
) -> Result<i64, PluginError> {
    upload_metadata(run, koji, directory, metadata).await?;
    let nvr = nvr(metadata);
    let id = until_known(run, koji, directory, metadata, &nvr).await?;
    forget(run).await?;
    run.log().info(format!("{nvr} is build {id} of Koji"));
    run.facts.insert("koji_build_id".to_owned(), id.into());
    Ok(id)
}

async fn until_known(
    run: &Run,
    koji: &KojiSite,
    directory: &str,
    metadata: &Value,
    nvr: &str,
) -> Result<i64, PluginError> {
    let mut lost = false;
    for _ in 0..TRIES {
        match koji.ask(call(run, directory)).await {
            Ok(Some(build)) => return Ok(build.id),
            // Hubs before 1.11 answer nothing.
            Ok(None) => return there(koji, metadata).await?.ok_or_else(|| not_there(nvr)),
            Err(KojiError::AnswerLost { .. }) => {
                lost = true;
                run.log()
                    .warning(format!("Koji's answer to the import of {nvr} was lost: looking whether it is there"));
                if let Some(id) = look(koji, metadata).await? {
                    return Ok(id);
                }
                run.log().warning(format!("{nvr} is not there: the import is asked for again"));
            }
            Err(error) => {
                // What was done the first time is refused the second: its token is used up, its NVR taken.
                if lost && let Some(id) = look(koji, metadata).await? {
                    return Ok(id);
                }
                return Err(refused(&error, nvr));
            }
        }
    }
    Err(PluginError::remote(format!("Koji did not answer {TRIES} imports of {nvr}"))
        .with_hint("look at the hub's log; `koji buildinfo` tells whether the build is there now"))
}

/// The call, with the token of the reservation where there is one.
fn call(run: &Run, directory: &str) -> MethodCall<Option<Build>> {
    let token = run.koji_reservation.as_ref().map(|held| &held.token);
    calls::cg_import(METADATA.into(), directory, token)
}

fn nvr(metadata: &Value) -> String {
    let text = |key: &str| metadata["build"][key].as_str().unwrap_or_default();
    format!("{}-{}-{}", text("name"), text("version"), text("release"))
}

fn not_there(nvr: &str) -> PluginError {
    PluginError::remote(format!("Koji took the import of {nvr} and does not show the build"))
}

/// Looks several times.
async fn look(koji: &KojiSite, metadata: &Value) -> Result<Option<i64>, PluginError> {
    for turn in 0..LOOKS {
        if turn > 0 {
            tokio::time::sleep(BETWEEN).await;
        }
        if let Some(id) = there(koji, metadata).await? {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// The number of the build, if the hub has it and it is this one.
async fn there(koji: &KojiSite, metadata: &Value) -> Result<Option<i64>, PluginError> {
    let text = |key: &str| metadata["build"][key].as_str().unwrap_or_default();
    let named = BuildInfo::Parts { name: text("name"), version: text("version"), release: text("release") };
    let Some(build) = koji.build(named).await? else { return Ok(None) };
    if build.state != BuildState::Complete {
        return Ok(None);
    }
    let archives = koji.archives(build.id, "image").await?;
    let is_there = |output: &Value| {
        archives.iter().any(|archive| {
            Some(archive.filename.as_str()) == output["filename"].as_str()
                && archive.checksum.as_deref() == output["checksum"].as_str()
        })
    };
    let mut images = metadata["output"].as_array().into_iter().flatten().filter(|one| one["type"] == "docker-image");
    if build.source.as_deref() == metadata["build"]["source"].as_str() && images.all(is_there) {
        return Ok(Some(build.id));
    }
    let text = format!("Koji has another build {}, number {}, that is not this one", build.nvr, build.id);
    Err(PluginError::user(text).with_hint("raise the release: somebody else has built this one meanwhile"))
}

/// One clear error: what the hub said, and whose turn it is.
fn refused(error: &KojiError, nvr: &str) -> PluginError {
    let Some(fault) = error.fault() else {
        return PluginError::from(Failure::new(error.kind(), error).with_hint(error.hint()));
    };
    let (kind, hint) = judged(fault);
    let mut failure = Failure::message(kind, format!("Koji refuses the import of {nvr}"));
    failure.causes.push(error.to_string());
    PluginError::from(failure.with_hint(hint))
}

fn judged(fault: &Fault) -> (ErrorKind, &'static str) {
    match fault.class() {
        FaultCode::AuthError => (ErrorKind::Policy, GRANT),
        FaultCode::ActionNotAllowed => {
            (ErrorKind::Policy, "the hub's policy cg_import does not allow it: ask its administrator")
        }
        FaultCode::GenericError if fault.text.contains("already exists") => {
            (ErrorKind::User, "raise the release label, or remove it to get the next free one")
        }
        _ => (ErrorKind::Remote, "the hub's log tells more; nothing was imported"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_refusal(code: FaultCode, text: &str, kind: ErrorKind, hint: &str) {
        let fault = Fault::new(code, text);
        let error = KojiError::Fault { action: "CGImport".into(), hub: "k.io".into(), fault };
        let failure = refused(&error, "web-7-3").into_failure();
        assert_eq!((failure.kind, failure.message.as_str()), (kind, "Koji refuses the import of web-7-3"));
        assert!(failure.causes[0].contains(text), "{:?}", failure.causes);
        assert!(failure.hint.unwrap().contains(hint));
    }

    #[test]
    fn refusals() {
        check_refusal(FaultCode::AuthError, "not granted", ErrorKind::Policy, "grant-cg-access");
        check_refusal(FaultCode::ActionNotAllowed, "policy", ErrorKind::Policy, "cg_import");
        check_refusal(FaultCode::GenericError, "Build already exists: x (id=3)", ErrorKind::User, "release");
        check_refusal(FaultCode::GenericError, "checksum mismatch for f", ErrorKind::Remote, "nothing was imported");
        check_refusal(FaultCode::Exception, "KeyError", ErrorKind::Remote, "nothing was imported");
    }
}
