//! The release of a build that goes to Koji: what the hub does not have yet, reserved there (`reactor.md` 3.1.9, M26).

use super::{MAX_CONFLICTS, Wanted, nvr};
use crate::koji::KojiSite;
use crate::koji::release::{incremented, patched};
use crate::koji::reservation::{Reserved, reserve};
use crate::plugin::PluginError;
use crate::run::Run;
use osbs_koji::{Build, BuildInfo, BuildState, FaultCode, KojiError, calls};
use osbs_types::Phase;
use std::time::Duration;

/// Between two tries to reserve the next release.
const BETWEEN: Duration = if cfg!(test) { Duration::from_millis(10) } else { Duration::from_secs(2) };
/// More releases than that no version has.
const MOST_RELEASES: u64 = 1_000_000;

/// The release of this build, reserved if the site reserves and this run imports.
pub(super) async fn release(
    run: &mut Run,
    koji: &KojiSite,
    wanted: &Wanted,
    append: bool,
) -> Result<String, PluginError> {
    if let (Some(release), false) = (&wanted.release, append) {
        return given(run, koji, wanted, release).await;
    }
    for _ in 0..=MAX_CONFLICTS {
        let release = if append { appended(koji, wanted).await? } else { next(koji, wanted).await? };
        match taken(run, koji, wanted, &release).await? {
            None => return Ok(release),
            Some(why) => run.log().info(format!("release {release} was reserved by another build: {why}")),
        }
        tokio::time::sleep(BETWEEN).await;
    }
    Err(PluginError::remote(format!("{MAX_CONFLICTS} times another build reserved the next release first")))
}

/// The Dockerfile's release, which must be new. That of a build that failed or was cancelled is as good as new.
async fn given(run: &mut Run, koji: &KojiSite, wanted: &Wanted, release: &str) -> Result<String, PluginError> {
    let hint = "raise the release label, or remove it to get the next free one";
    let nvr = nvr(wanted, release)?;
    if let Some(build) = find(koji, wanted, release).await? {
        if !matches!(build.state, BuildState::Failed | BuildState::Canceled) {
            let text = format!("{nvr} is in Koji already, as build {} ({})", build.id, build.state);
            return Err(PluginError::user(text).with_hint(hint));
        }
        run.log().info(format!("{nvr} is build {} of Koji, which is {}: it is built anew", build.id, build.state));
    }
    match taken(run, koji, wanted, release).await? {
        None => Ok(release.to_owned()),
        Some(why) => Err(PluginError::user(format!("{nvr} cannot be reserved in Koji: {why}")).with_hint(hint)),
    }
}

async fn find(koji: &KojiSite, wanted: &Wanted, release: &str) -> Result<Option<Build>, KojiError> {
    koji.build(BuildInfo::Parts { name: &wanted.component, version: &wanted.version, release }).await
}

/// The first `<base>.<n>` that the hub does not know.
async fn appended(koji: &KojiSite, wanted: &Wanted) -> Result<String, PluginError> {
    let base = wanted.release.as_deref().unwrap_or("1");
    for number in 1..MOST_RELEASES {
        let release = format!("{base}.{number}");
        if find(koji, wanted, &release).await?.is_none() {
            return Ok(release);
        }
    }
    Err(PluginError::user(format!("every release {base}.N is taken")))
}

/// The next one of the hub, and on from there while the hub knows a build, whatever its state.
async fn next(koji: &KojiSite, wanted: &Wanted) -> Result<String, PluginError> {
    let hint = "give a release with --release, or label the Dockerfile with one";
    let asked = koji.ask(calls::get_next_release(&wanted.component, &wanted.version)).await;
    let first = asked.map_err(|error| {
        let is_uncountable = error.is(FaultCode::BuildError);
        let error = PluginError::from(error);
        if is_uncountable { error.with_hint(hint) } else { error }
    })?;
    let mut release = patched(&first);
    for _ in 0..MOST_RELEASES {
        if find(koji, wanted, &release).await?.is_none() {
            return Ok(release);
        }
        release = incremented(&release).map_err(|error| PluginError::user(error.to_string()).with_hint(hint))?;
    }
    Err(PluginError::user(format!("every release from {first} on is taken")))
}

/// Reserves the release; `Some`: somebody else has it.
async fn taken(run: &mut Run, koji: &KojiSite, wanted: &Wanted, release: &str) -> Result<Option<String>, PluginError> {
    // In arrangements 1 and 2 it is a worker that imports, without the token.
    let imports = run.request.plugins.entry(Phase::Exit, "koji_import").is_some();
    if !koji.reserves || !imports {
        return Ok(None);
    }
    match reserve(run, koji, &nvr(wanted, release)?).await? {
        Reserved::Done => Ok(None),
        Reserved::Taken(why) => Ok(Some(why)),
        Reserved::NotKnown => {
            run.log().warning("this hub does not know reservations: another build may take the release meanwhile");
            Ok(None)
        }
    }
}
