//! `bump_release`: a release that no build of this component and version had before (`reactor.md` 3.1.9, M26).
//!
//! With Koji the hub says which releases there are, and the NVR is reserved there (`koji.rs` beside this file). Without, the
//! record of NVRs is the cluster's.

mod koji;

use crate::koji::{KojiArgs, with_koji_arguments};
use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::run::Run;
use async_trait::async_trait;
use osbs_cluster::ClusterError;
use osbs_dockerfile::{LabelMap, find_label};
use osbs_types::{Nvr, NvrError, Phase};
use serde::Deserialize;
use serde_json::json;

/// How often another build may be quicker with the same release.
const MAX_CONFLICTS: u32 = 20;

/// The plugin.
pub fn plugin() -> PluginType {
    let kind = PluginType::new("bump_release", &[Phase::Prebuild], |args| Ok(Box::new(args.parse::<BumpRelease>()?)))
        .purpose("Gives the build its release, which no other build of the component and version has or gets.")
        .argument(
            "append",
            "true: a number behind the release of the Dockerfile; false (default): the next free release",
        )
        .argument("hub", "XML-RPC URL of the hub, where config.yaml has no `koji`");
    with_koji_arguments(kind)
        .accepts(&["target"])
        .reads(&[
            "labels com.redhat.component, version and release of the Dockerfile",
            "user parameter `release`; labels scratch and isolated of the build",
            "config.yaml: koji; the builds of the hub, without one the cluster's record of the releases that were given",
        ])
        .writes(&[
            "label release in the Dockerfile",
            "the reservation of the NVR in Koji, which koji_import uses up and a build that fails gives back",
            "without Koji: the record of the release that was given",
        ])
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct BumpRelease {
    append: bool,
    #[serde(flatten)]
    koji: KojiArgs,
}

/// What the Dockerfile says.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    component: String,
    version: String,
    release: Option<String>,
}

/// All that is missing in one error.
fn wanted(labels: &LabelMap) -> Result<Wanted, PluginError> {
    let value = |name: &str| find_label(labels, name).map(|(_, value)| value.to_owned());
    let (component, version, release) = (value("com.redhat.component"), value("version"), value("release"));
    let missing: Vec<_> = [("com.redhat.component", &component), ("version", &version)]
        .into_iter()
        .filter(|(_, value)| value.as_ref().is_none_or(String::is_empty))
        .map(|(name, _)| name)
        .chain(release.as_deref().is_some_and(str::is_empty).then_some("release"))
        .collect();
    if !missing.is_empty() {
        let text = format!("labels missing, empty or made of undefined variables: {}", missing.join(", "));
        return Err(PluginError::user(text).with_hint("set them by LABEL in the last stage of the Dockerfile"));
    }
    Ok(Wanted { component: component.unwrap_or_default(), version: version.unwrap_or_default(), release })
}

#[async_trait]
impl Plugin for BumpRelease {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let wanted = wanted(&run.dockerfile_labels()?)?;
        let release = match (&wanted.release, self.append, run.is_scratch()) {
            (Some(_), false, true) => return Ok(Done::Skipped("a scratch build keeps its release".to_owned())),
            (_, _, true) => run.build.name.to_string(),
            _ if run.has_koji(&self.koji) => {
                let site = run.needed_koji(&self.koji).await?;
                koji::release(run, &site, &wanted, self.append).await?
            }
            (Some(release), false, false) => explicit(run, &wanted, release).await?,
            (given, true, false) => append(run, &wanted, given.as_deref().unwrap_or("1")).await?,
            (None, false, false) => next(run, &wanted).await?,
        };
        let env = run.parents.base_inspect.as_ref().map(|base| base.env.clone()).unwrap_or_default();
        let mut dockerfile = run.dockerfile()?;
        dockerfile.set_label("release", &release, &env)?;
        run.source()?.write_dockerfile(&dockerfile)?;
        run.log().info(format!("release is {release}"));
        Ok(Done::Value(json!(release)))
    }
}

fn nvr(wanted: &Wanted, release: &str) -> Result<Nvr, PluginError> {
    Nvr::new(&wanted.component, &wanted.version, release).map_err(|error: NvrError| {
        PluginError::user(error.to_string()).with_hint("mend the labels com.redhat.component, version and release")
    })
}

/// Takes an NVR for this build. `false`: another has it.
async fn reserve(run: &Run, nvr: &Nvr) -> Result<bool, PluginError> {
    match run.services.cluster.reserve_nvr(nvr, &run.build.name).await {
        Ok(_) => Ok(true),
        Err(ClusterError::NvrTaken { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Takes the NVR of a build whose request gives the release, in which case this plugin is not listed: nobody else would see
/// to it that it is new before everything is built.
pub(super) async fn claim_given_release(run: &mut Run) -> Result<(), PluginError> {
    let listed = run.request.plugins.entry(Phase::Prebuild, "bump_release").is_some();
    if listed || run.is_scratch() {
        return Ok(());
    }
    // The client has checked the labels already; without them there is no NVR to claim.
    let Ok(wanted) = wanted(&run.dockerfile_labels()?) else { return Ok(()) };
    let args = KojiArgs::default();
    match &wanted.release {
        Some(_) if run.has_koji(&args) => {
            let site = run.needed_koji(&args).await?;
            koji::release(run, &site, &wanted, false).await.map(drop)
        }
        Some(release) => explicit(run, &wanted, release).await.map(drop),
        None => Ok(()),
    }
}

/// The Dockerfile's release, which must be new.
async fn explicit(run: &Run, wanted: &Wanted, release: &str) -> Result<String, PluginError> {
    let nvr = nvr(wanted, release)?;
    if reserve(run, &nvr).await? {
        return Ok(release.to_owned());
    }
    let owner = run.services.cluster.nvr_owner(&nvr).await?;
    let by = owner.map_or_else(String::new, |owner| format!(" by build {owner}"));
    Err(PluginError::user(format!("{nvr} was built already{by}"))
        .with_hint("raise the release label, or remove it to get the next free one"))
}

/// The first free `<base>.<n>`.
async fn append(run: &Run, wanted: &Wanted, base: &str) -> Result<String, PluginError> {
    let mut number = 1_u64;
    loop {
        let release = format!("{base}.{number}");
        if reserve(run, &nvr(wanted, &release)?).await? {
            return Ok(release);
        }
        number += 1;
    }
}

/// The release behind the highest one of this version.
async fn next(run: &Run, wanted: &Wanted) -> Result<String, PluginError> {
    for _ in 0..=MAX_CONFLICTS {
        let release = run.services.cluster.next_release(&wanted.component, &wanted.version).await?;
        if reserve(run, &nvr(wanted, &release)?).await? {
            return Ok(release);
        }
        run.log().info(format!("another build took release {release} first"));
    }
    Err(PluginError::remote(format!("{MAX_CONFLICTS} times another build took the next release first")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build_json::PluginLists;
    use crate::run::ParentInspect;
    use crate::testing::run_with;
    use osbs_cluster::Cluster;

    struct Case<'a> {
        labels: &'a str,
        append: bool,
        scratch: Option<&'a str>,
        /// Releases that other builds have.
        taken: &'a [&'a str],
    }

    const PLAIN: Case<'_> = Case { labels: "", append: false, scratch: None, taken: &[] };

    async fn check(case: Case<'_>, expected: Result<&str, &str>) {
        let text = format!("FROM fedora:40\nLABEL com.redhat.component=web version=7 {}\n", case.labels);
        let mut test = run_with(&text, &[], PluginLists::default()).await;
        let env = vec![("BASE".to_owned(), "5".to_owned())];
        test.run.parents.base_inspect = Some(ParentInspect { env, ..ParentInspect::default() });
        for release in case.taken {
            let nvr = Nvr::new("web", "7", release).unwrap();
            test.cluster.reserve_nvr(&nvr, &"other-1".parse().unwrap()).await.unwrap();
        }
        if let Some(value) = case.scratch {
            test.run.build.labels.insert("scratch".to_owned(), value.to_owned());
        }
        let ended = test.plugin(&plugin(), json!({ "append": case.append })).await;
        match (ended, expected) {
            (Ok(_), Ok(release)) => {
                let labels = test.run.dockerfile_labels().unwrap();
                assert_eq!(find_label(&labels, "release"), Some(("release", release)), "{}", case.labels);
            }
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (other, _) => panic!("{}: {other:?}, expected {expected:?}", case.labels),
        }
    }

    #[tokio::test]
    async fn releases() {
        check(PLAIN, Ok("1")).await;
        check(Case { taken: &["1", "2"], ..PLAIN }, Ok("3")).await;
        check(Case { taken: &["3.fc40"], ..PLAIN }, Ok("4.fc40")).await;
        check(Case { labels: "release=4", ..PLAIN }, Ok("4")).await;
        check(Case { labels: "release=$BASE.1", ..PLAIN }, Ok("5.1")).await;
        check(Case { labels: "release=4", taken: &["4"], ..PLAIN }, Err("web-7-4 was built already by build other-1"))
            .await;
        check(Case { labels: "release=$NOTHING", ..PLAIN }, Err("release")).await;
        check(Case { labels: "release=4-1", ..PLAIN }, Err("dash")).await;
        check(Case { append: true, ..PLAIN }, Ok("1.1")).await;
        check(Case { append: true, labels: "release=4", taken: &["4.1", "4.2"], ..PLAIN }, Ok("4.3")).await;
        check(Case { scratch: Some("true"), ..PLAIN }, Ok("test-1")).await;
        check(Case { scratch: Some("true"), labels: "release=4", taken: &["4"], ..PLAIN }, Ok("4")).await;
        check(Case { scratch: Some("false"), labels: "release=4", taken: &["4"], ..PLAIN }, Err("built already")).await;
    }

    #[test]
    fn everything_missing_is_told_at_once() {
        let labels: LabelMap = [("release".to_owned(), String::new())].into_iter().collect();
        let text = wanted(&labels).unwrap_err().to_string();
        assert!(text.ends_with("com.redhat.component, version, release"), "{text}");
        let old: LabelMap = [("BZComponent", "w"), ("Version", "1"), ("Release", "2")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into();
        assert_eq!(wanted(&old).unwrap().release.as_deref(), Some("2"));
    }
}
