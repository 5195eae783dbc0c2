//! Whom only Koji knows: who submitted the task, and who owns the package (`reactor.md` 3.5.8).
//!
//! A lookup that fails is told in the log and leaves its people out: it fails no mail.

use crate::koji::{KojiArgs, KojiSite};
use crate::plugin::PluginError;
use crate::run::Run;
use osbs_config::SmtpConfig;
use osbs_koji::{User, calls};
use osbs_types::Phase;
use serde_json::Value;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) submitter: Option<String>,
    pub(super) owners: Vec<String>,
    /// Who was looked for and not found.
    pub(super) missing: Vec<&'static str>,
}

impl Found {
    /// All addresses.
    pub(super) fn addresses(&self) -> Vec<String> {
        self.submitter.iter().chain(&self.owners).cloned().collect()
    }
}

/// Looks for those that the configuration wants to be told.
pub(super) async fn look_up(run: &Run, args: &KojiArgs, smtp: &SmtpConfig) -> Found {
    let mut found = Found::default();
    if !smtp.send_to_submitter && !smtp.send_to_pkg_owner {
        return found;
    }
    let koji = match run.needed_koji(args).await {
        Ok(koji) => Ok(koji),
        Err(error) => Err(error.to_string()),
    };
    if smtp.send_to_submitter {
        match of_koji(&koji, |koji| submitter(run, koji, smtp)).await {
            Ok(address) => found.submitter = Some(address),
            Err(why) => miss(run, &mut found, "the submitter", &why),
        }
    }
    if smtp.send_to_pkg_owner {
        match of_koji(&koji, |koji| owners(run, koji, smtp)).await {
            Ok(addresses) => found.owners = addresses,
            Err(why) => miss(run, &mut found, "the package's owner", &why),
        }
    }
    found
}

/// Asks Koji, if it lets us in.
async fn of_koji<'a, T, F: Future<Output = Result<T, PluginError>>>(
    koji: &'a Result<KojiSite, String>,
    ask: impl FnOnce(&'a KojiSite) -> F,
) -> Result<T, String> {
    let koji = koji.as_ref().map_err(Clone::clone)?;
    ask(koji).await.map_err(|error| error.to_string())
}

fn miss(run: &Run, found: &mut Found, who: &'static str, why: &str) {
    run.log().warning(format!("the address of {who} is not known: {why}"));
    found.missing.push(who);
}

fn nobody(why: impl Into<String>) -> PluginError {
    PluginError::policy(why.into())
}

/// The owner of the task that asked for the build.
async fn submitter(run: &Run, koji: &KojiSite, smtp: &SmtpConfig) -> Result<String, PluginError> {
    let task = run.koji_task_id().ok_or_else(|| nobody("no task of Koji asked for this build"))?;
    let found = koji.ask(calls::get_task_info(task, false)).await?.and_then(|task| task.owner);
    let owner = found.ok_or_else(|| nobody(format!("Koji does not know task {task}, or whose it is")))?;
    let user = koji.ask(calls::get_user(owner)).await?;
    let user = user.ok_or_else(|| nobody(format!("Koji does not know the owner of task {task}")))?;
    address(&user, smtp.domain.as_deref()).ok_or_else(|| no_address(&user.name))
}

/// The owners of the package in each tag that the build has.
async fn owners(run: &Run, koji: &KojiSite, smtp: &SmtpConfig) -> Result<Vec<String>, PluginError> {
    let results = ["koji_import", "koji_promote"].map(|plugin| run.result(Phase::Exit, plugin));
    let build = results.into_iter().flatten().find_map(Value::as_i64);
    let build = build.ok_or_else(|| nobody("there is no build in Koji"))?;
    let package = koji.build(osbs_koji::BuildInfo::Id(build)).await?.map(|build| build.name);
    let package = package.ok_or_else(|| nobody(format!("Koji does not show build {build}")))?;
    let mut names = Vec::new();
    for tag in koji.ask(calls::list_tags(build)).await? {
        let config = koji.ask(calls::get_package_config(tag.name.as_str(), &package)).await?;
        names.extend(config.and_then(|config| config.owner_name));
    }
    names.sort();
    names.dedup();
    let mut addresses = Vec::new();
    for name in &names {
        let user = koji.ask(calls::get_user(name.as_str())).await?;
        match user.and_then(|user| address(&user, smtp.domain.as_deref())) {
            Some(address) => addresses.push(address),
            None => run.log().warning(no_address(name).to_string()),
        }
    }
    if addresses.is_empty() {
        Err(nobody(format!("no tag of build {build} tells who owns {package}")))
    } else {
        Ok(addresses)
    }
}

/// The Kerberos principal in lower case, else the name in the site's domain; `None`: there is neither.
fn address(user: &User, domain: Option<&str>) -> Option<String> {
    let principal = user.krb_principals.iter().find(|principal| !principal.is_empty());
    principal
        .map(|principal| principal.to_lowercase())
        .or_else(|| domain.filter(|domain| !domain.is_empty()).map(|domain| format!("{}@{domain}", user.name)))
}

fn no_address(name: &str) -> PluginError {
    nobody(format!("Koji's user {name} has no Kerberos principal, and `smtp.domain` of config.yaml names no domain"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build_json::PluginLists;
    use crate::koji::fake_hub::{Answer, FakeHub};
    use crate::testing::run_with;
    use osbs_config::ReactorConfig;
    use serde_json::json;
    use std::sync::Arc;

    fn hub() -> FakeHub {
        FakeHub::start(|method, arguments| match method {
            "getTaskInfo" if arguments[0] == 26 => Answer::Is(json!({"id": 26, "method": "buildContainer", "state": 1,
                                                                     "arch": "noarch", "owner": 12})),
            "getTaskInfo" => Answer::Is(Value::Null),
            "getUser" => match arguments[0].as_str() {
                None => Answer::Is(json!({"id": 12, "name": "mwells", "krb_principals": ["MWells@EXAMPLE.ORG"]})),
                Some(name) => Answer::Is(json!({"id": 13, "name": name, "krb_principals": []})),
            },
            "getBuild" => Answer::Is(json!({"id": 37, "name": "web", "version": "7", "release": "1", "state": 1})),
            "listTags" => {
                Answer::Is(json!([{"id": 1, "name": "one"}, {"id": 2, "name": "two"}, {"id": 3, "name": "three"}]))
            }
            "getPackageConfig" => {
                let owner = match arguments[0].as_str() {
                    Some("three") => return Answer::Is(Value::Null),
                    Some("one") => "zoe",
                    _ => "al",
                };
                Answer::Is(json!({"package_id": 6, "package_name": "web", "tag_name": "one", "owner_name": owner,
                                  "blocked": false}))
            }
            other => panic!("{other} is not expected"),
        })
    }

    async fn check(hub: Option<&FakeHub>, task: &str, built: bool, smtp: &str, expected: Found) {
        let mut test = run_with("FROM scratch\n", &[], PluginLists::default()).await;
        let site = hub.map_or_else(|| "version: 1\n".to_owned(), FakeHub::config);
        let smtp = format!("{site}smtp: {{host: h, from_address: o@example.org{smtp}}}\n");
        test.run.config = Arc::new(ReactorConfig::parse(&smtp, "config.yaml").unwrap().value);
        test.run.build.labels.insert("koji-task-id".to_owned(), task.to_owned());
        if built {
            test.run.records.results.entry(Phase::Exit).or_default().insert("koji_import".to_owned(), Ok(json!(37)));
        }
        let smtp = test.run.config.smtp.clone().unwrap();
        assert_eq!(look_up(&test.run, &KojiArgs::default(), &smtp).await, expected, "{task} {built} {smtp:?}");
    }

    #[tokio::test]
    async fn people_of_koji() {
        let hub = hub();
        let both = ", send_to_submitter: true, send_to_pkg_owner: true";
        let (who, whose) = ("the submitter", "the package's owner");
        let submitter = Some("mwells@example.org".to_owned());
        let owners = vec!["al@example.com".to_owned(), "zoe@example.com".to_owned()];
        let in_domain = format!("{both}, domain: example.com");
        let all = Found { submitter: submitter.clone(), owners, missing: vec![] };
        check(Some(&hub), "26", true, &in_domain, all).await;
        // Without a domain only principals are addresses.
        let one = Found { submitter: submitter.clone(), missing: vec![whose], ..Found::default() };
        check(Some(&hub), "26", true, both, one).await;
        // A build that failed before its import, of a task that is not there.
        let none = || Found { missing: vec![who, whose], ..Found::default() };
        check(Some(&hub), "27", false, &in_domain, none()).await;
        check(Some(&hub), "", false, &in_domain, none()).await;
        check(None, "26", true, &in_domain, none()).await;
        check(None, "26", true, "", Found::default()).await;
        let only = Found { submitter, ..Found::default() };
        check(Some(&hub), "26", false, ", send_to_submitter: true", only).await;
    }
}
