//! An NVR that is reserved at the hub, from the reservation to the import, or back (`client-and-koji.md` 6.1).
//!
//! The token stays in memory: it is a secret. What is kept in the cluster, a ConfigMap beside the build, says only which
//! build was asked for and when; that and the login suffice to cancel the build after a crash. A reservation is given back
//! by the run itself, else by whoever next finds the record of a build that has ended.

use super::metadata::CONTENT_GENERATOR;
use super::upload::upload_directory;
use super::{KojiSite, connect, paths};
use crate::events::Logger;
use crate::plugin::PluginError;
use crate::run::Run;
use osbs_arrangement::SECRETS_ROOT;
use osbs_cluster::{Cluster, ClusterError, TextMap};
use osbs_config::ReactorConfig;
use osbs_http::Transport;
use osbs_koji::{Build, BuildInfo, BuildState, FaultCode, KojiError, Reservation, calls};
use osbs_types::{BuildName, Nvr};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What the record's ConfigMap is called, behind the build's name.
const SUFFIX: &str = "-koji-reservation";
/// Its one key.
const KEY: &str = "reservation.json";
/// How far the clocks of hub and builder may be apart, in seconds.
const SKEW: f64 = 600.0;
/// How often a reservation is asked for whose answer was lost.
const TRIES: u32 = 3;

/// What is kept of a reservation outside of this process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Record {
    name: String,
    version: String,
    release: String,
    /// When it was asked for, by our clock.
    asked: f64,
    /// What the hub answered; without it the answer was not seen.
    #[serde(default)]
    build_id: Option<i64>,
    /// When it was made, by the hub's clock.
    #[serde(default)]
    start_ts: Option<f64>,
    /// `koji` of config.yaml: which hub, and where the login is. What the build was asked for is not kept when it has ended.
    #[serde(default)]
    koji: Value,
    /// Where the build's uploads are.
    #[serde(default)]
    uploads: Option<String>,
}

/// What became of a wish to reserve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reserved {
    /// It is ours.
    Done,
    /// Somebody else has it, in the hub's words.
    Taken(String),
    /// The hub is older than reservations.
    NotKnown,
}

/// A reservation that an ended build had left, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftReservation {
    /// Whose it was.
    pub build: BuildName,
    /// Of what.
    pub nvr: String,
    /// Given back or gone already; else why it stays.
    pub outcome: Result<(), String>,
}

impl Record {
    fn of(nvr: &Nvr, asked: f64, koji: Value, uploads: Option<String>) -> Self {
        let (name, version, release) = (nvr.name().to_owned(), nvr.version().to_owned(), nvr.release().to_owned());
        Self { name, version, release, asked, build_id: None, start_ts: None, koji, uploads }
    }

    fn nvr(&self) -> String {
        format!("{}-{}-{}", self.name, self.version, self.release)
    }

    fn named(&self) -> BuildInfo<'_> {
        match self.build_id {
            Some(id) => BuildInfo::Id(id),
            None => BuildInfo::Parts { name: &self.name, version: &self.version, release: &self.release },
        }
    }

    fn data(&self) -> TextMap {
        TextMap::from([(KEY.to_owned(), json!(self).to_string())])
    }

    /// Whether the hub's build is this very reservation: a number may serve again for a later one of the same NVR.
    fn is_of(&self, build: &Build) -> bool {
        let ours = build.cg_name.as_deref().is_none_or(|name| name == CONTENT_GENERATOR);
        let made = match (start_of(build), self.start_ts) {
            (Some(found), Some(known)) => (found - known).abs() < 0.001,
            (Some(found), None) => (found - self.asked).abs() < SKEW,
            (None, _) => true,
        };
        build.state == BuildState::Building && ours && made
    }
}

/// Of a reserved build: when it was reserved.
fn start_of(build: &Build) -> Option<f64> {
    build.raw.get("start_ts").as_double()
}

fn map_of(build: &BuildName) -> String {
    format!("{build}{SUFFIX}")
}

fn now(run: &Run) -> f64 {
    run.services.clock.now().as_microsecond() as f64 / 1e6
}

/// Reserves the NVR for this build.
///
/// # Errors
/// The hub does not let us, or does not answer.
pub(crate) async fn reserve(run: &mut Run, koji: &KojiSite, nvr: &Nvr) -> Result<Reserved, PluginError> {
    let map = map_of(&run.build.name);
    let uploads = upload_directory(run, None);
    for _ in 0..TRIES {
        let section = run.site_config().raw().get("koji").cloned().unwrap_or_default();
        let mut record = Record::of(nvr, now(run), section, Some(uploads.clone()));
        run.services.cluster.put_config_map(&map, &record.data()).await?;
        run.koji_asked = true;
        let call = calls::cg_init_build(CONTENT_GENERATOR, nvr.name(), nvr.version(), nvr.release());
        let outcome = match koji.ask(call).await {
            Ok(reservation) => {
                keep(run, koji, &mut record, reservation).await?;
                return Ok(Reserved::Done);
            }
            Err(KojiError::AnswerLost { .. }) => {
                run.log().warning(format!("the answer to the reservation of {nvr} was lost: it is made anew"));
                free(koji, &record).await?;
                continue;
            }
            Err(error) => refusal(error),
        };
        forget(run).await?;
        return outcome;
    }
    Err(PluginError::remote(format!("the answers to {TRIES} reservations of {nvr} were lost")))
}

fn refusal(error: KojiError) -> Result<Reserved, PluginError> {
    match error.fault() {
        Some(fault) if fault.class() == FaultCode::GenericError && fault.text.contains("Invalid method") => {
            Ok(Reserved::NotKnown)
        }
        Some(fault) if fault.class() == FaultCode::GenericError => Ok(Reserved::Taken(fault.text.clone())),
        Some(fault) if matches!(fault.class(), FaultCode::AuthError | FaultCode::ActionNotAllowed) => {
            Err(PluginError::from(error).with_hint(GRANT))
        }
        _ => Err(error.into()),
    }
}

/// What to do when the hub does not know us as a content generator.
pub(crate) const GRANT: &str = "the hub's administrator grants it once: koji grant-cg-access USER atomic-reactor --new; \
                                a login is given by `koji.auth` in config.yaml";

async fn keep(
    run: &mut Run,
    koji: &KojiSite,
    record: &mut Record,
    reservation: Reservation,
) -> Result<(), PluginError> {
    let build_id = reservation.build_id;
    run.koji_reservation = Some(reservation);
    record.build_id = Some(build_id);
    // Only for the certainty of whoever may have to give it back; without it the time of asking serves.
    let found = koji.build(BuildInfo::Id(build_id)).await.ok().flatten();
    record.start_ts = found.as_ref().and_then(start_of);
    run.services.cluster.put_config_map(&map_of(&run.build.name), &record.data()).await?;
    run.log().info(format!("{} is reserved in Koji as build {build_id}", record.nvr()));
    Ok(())
}

/// The reservation has become a build, or was never made.
pub(crate) async fn forget(run: &mut Run) -> Result<(), ClusterError> {
    run.koji_reservation = None;
    run.koji_asked = false;
    run.services.cluster.delete_config_map(&map_of(&run.build.name)).await
}

/// Gives back what is left when a run ends: it has led to no import. Nothing of it fails the build; what cannot be done now
/// is done by the next command that finds the record.
pub(crate) async fn give_back(run: &mut Run) {
    if !run.koji_asked {
        return;
    }
    if let Err(error) = try_to_give_back(run).await {
        let text = "the reservation in Koji could not be given back now; the next build or `osbs gc` does it";
        run.log().warning(format!("{text}: {}", error.into_failure()));
    }
}

async fn try_to_give_back(run: &mut Run) -> Result<(), PluginError> {
    let Some(koji) = run.koji.get().cloned() else { return Ok(()) };
    // The build's own cancellation must not keep it from this.
    let koji = KojiSite { client: koji.client.cancelled_by(&CancellationToken::new()), ..koji };
    if let Some(reservation) = run.koji_reservation.clone() {
        let state = if run.cancelled { BuildState::Canceled } else { BuildState::Failed };
        let Reservation { build_id, token } = reservation;
        match koji.ask(calls::cg_refund_build(CONTENT_GENERATOR, build_id, &token, state)).await {
            Ok(()) => {
                run.log().info(format!("the reservation of build {build_id} in Koji is given back"));
                remove_uploads(&koji, run.koji_upload_dir.as_deref()).await?;
                run.owns_koji_upload_dir = false;
                return Ok(forget(run).await?);
            }
            // Given back already, or imported after all; or the answer was lost: the hub tells.
            Err(error) if error.fault().is_some() || matches!(error, KojiError::AnswerLost { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let map = map_of(&run.build.name);
    match run.services.cluster.get_config_map(&map).await {
        Ok(data) => {
            if let Some(record) = record_in(&data) {
                free(&koji, &record).await?;
                remove_uploads(&koji, record.uploads.as_deref()).await?;
            }
        }
        Err(ClusterError::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(forget(run).await?)
}

/// Removes what was uploaded, where the hub can do that. One of Koji's own cannot: there the site's own clearing does.
pub(super) async fn remove_uploads(koji: &KojiSite, directory: Option<&str>) -> Result<(), KojiError> {
    let Some(directory) = directory else { return Ok(()) };
    match koji.ask(calls::remove_uploads(directory)).await {
        // It has no such call; or it still writes there, and removes the folder when it has become old.
        Err(error) if error.fault().is_some() => Ok(()),
        done => done.map(drop),
    }
}

fn record_in(data: &TextMap) -> Option<Record> {
    serde_json::from_str(data.get(KEY)?).ok()
}

/// Cancels the build of a reservation, if it is still that and nothing else.
async fn free(koji: &KojiSite, record: &Record) -> Result<(), KojiError> {
    match koji.build(record.named()).await? {
        Some(build) if record.is_of(&build) => koji.ask(calls::cancel_build(build.id)).await.map(drop),
        _ => Ok(()),
    }
}

/// Gives back what builds of this cluster have left that were killed before they could. `kerberos_config` is the
/// `KRB5_CONFIG` of logins with Kerberos.
///
/// # Errors
/// The cluster cannot be read. What a hub refuses is in the outcomes.
pub async fn give_back_left(
    cluster: &Arc<dyn Cluster>,
    kerberos_config: Option<&str>,
    transport: &Transport,
    log: &Logger,
) -> Result<Vec<LeftReservation>, ClusterError> {
    let mut found = Vec::new();
    for map in cluster.list_config_maps().await? {
        let Some(name) = map.strip_suffix(SUFFIX).and_then(|name| name.parse::<BuildName>().ok()) else { continue };
        match cluster.get_build(&name).await {
            Ok(build) if !build.is_finished() => continue,
            Ok(_) | Err(ClusterError::BuildNotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        let data = match cluster.get_config_map(&map).await {
            Ok(data) => data,
            // Somebody else was quicker.
            Err(ClusterError::NotFound { .. }) => continue,
            Err(error) => return Err(error),
        };
        let Some(record) = record_in(&data) else { continue };
        let outcome = give_back_one(cluster, kerberos_config, transport, log, &record).await;
        if outcome.is_ok() {
            cluster.delete_config_map(&map).await?;
        }
        let outcome = outcome.map_err(|error| error.into_failure().to_string());
        found.push(LeftReservation { build: name, nvr: record.nvr(), outcome });
    }
    Ok(found)
}

async fn give_back_one(
    cluster: &Arc<dyn Cluster>,
    kerberos_config: Option<&str>,
    transport: &Transport,
    log: &Logger,
    record: &Record,
) -> Result<(), PluginError> {
    let none = || PluginError::internal("the record of the reservation does not say of which hub");
    let site = ReactorConfig::from_json(&json!({"version": 1, "koji": record.koji}), "reservation.json")?;
    let mut config = site.value.koji.ok_or_else(none)?;
    for path in paths(&mut config) {
        if let Some(inside) = path.strip_prefix(&format!("{SECRETS_ROOT}/")) {
            let (secret, rest) = inside.split_once('/').unwrap_or((inside, ""));
            *path = cluster.secret_dir(secret).await?.join(rest).to_string_lossy().into_owned();
        }
    }
    let koji = connect(&config, kerberos_config, transport, log).await?;
    let freed = match free(&koji, record).await {
        Ok(()) => remove_uploads(&koji, record.uploads.as_deref()).await,
        freed => freed,
    };
    // A session that is not closed ends by itself.
    let _ = koji.client.log_out().await;
    Ok(freed?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(build_id: Option<i64>, start_ts: Option<f64>) -> Record {
        Record { build_id, start_ts, ..Record::of(&Nvr::new("web", "7", "3").unwrap(), 1000.0, Value::Null, None) }
    }

    fn build(state: BuildState, cg: Option<&str>, start_ts: Option<f64>) -> Build {
        let answer = json!({"id": 37, "name": "web", "version": "7", "release": "3",
            "state": state as i64, "cg_name": cg, "start_ts": start_ts});
        Build::read(osbs_koji::Value::from_json(&answer)).unwrap()
    }

    #[test]
    fn what_is_ours() {
        use BuildState::{Building, Complete, Failed};
        let cg = Some(CONTENT_GENERATOR);
        for (record, found, expected) in [
            (record(Some(37), Some(1001.5)), build(Building, cg, Some(1001.5)), true),
            // The same number, reserved again by another build.
            (record(Some(37), Some(1001.5)), build(Building, cg, Some(1002.5)), false),
            (record(Some(37), None), build(Building, cg, Some(1002.5)), true),
            (record(None, None), build(Building, cg, Some(1700.0)), false),
            (record(None, None), build(Building, None, None), true),
            (record(None, None), build(Building, Some("other"), Some(1000.0)), false),
            (record(Some(37), Some(1001.5)), build(Complete, cg, Some(1001.5)), false),
            (record(Some(37), Some(1001.5)), build(Failed, cg, Some(1001.5)), false),
        ] {
            assert_eq!(record.is_of(&found), expected, "{record:?} {found:?}");
        }
    }

    #[test]
    fn records_hold_no_token() {
        let data = record(Some(37), Some(1.5)).data();
        assert_eq!(record_in(&data), Some(record(Some(37), Some(1.5))));
        let held = Reservation { build_id: 37, token: osbs_types::Secret::new("hunter2") };
        assert!(!format!("{held:?} {data:?}").contains("hunter2"));
        assert_eq!(record_in(&TextMap::new()), None);
    }
}
