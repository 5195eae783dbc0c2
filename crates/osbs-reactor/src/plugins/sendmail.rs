//! `sendmail`: tells people how a build ended (`reactor.md` 3.5.8, M34).
//!
//! Nothing depends on it: whatever the mail server does, the build ends as it would have without.

mod lookups;
mod message;
mod recipients;
mod server;
mod states;

use crate::koji::{KojiArgs, with_koji_arguments};
use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::run::Run;
use async_trait::async_trait;
use futures_util::StreamExt;
use lettre::Address;
use message::{LogFile, Story};
use osbs_config::SmtpConfig;
use osbs_dockerfile::find_label;
use osbs_types::{Phase, PullSpec, Secret};
use serde::Deserialize;
use serde_json::{Value, json};
use server::{Login, Server};
use states::Ended;
use std::collections::BTreeMap;
use std::path::Path;

/// Most bytes of one attached log: its end.
const LONGEST_LOG: usize = 4 << 20;
/// Most bytes of a file with a password or with certificates.
const LONGEST_FILE: u64 = 1 << 20;

/// The plugin.
pub fn plugin() -> PluginType {
    let kind = PluginType::new("sendmail", &[Phase::Exit], |args| Ok(Box::new(args.parse::<SendMail>()?)))
        .allowed_to_fail()
        .purpose("Tells people by mail how a build ended, with the error of a failed one and where its log is.")
        .argument(
            "send_on",
            "which ends are told: auto_canceled, auto_fail, auto_success, manual_canceled, manual_fail, manual_success; \
             by default auto_canceled, auto_fail, manual_success and manual_fail",
        )
        .argument("smtp_host", "server, where `smtp` of config.yaml is missing; HOST or HOST:PORT")
        .argument("from_address", "sender, where `smtp` of config.yaml is missing")
        .argument("additional_addresses", "who is always told, where `smtp` of config.yaml is missing")
        .argument("error_addresses", "who is told when nobody else is, where `smtp` of config.yaml is missing")
        .argument("email_domain", "appended to Koji user names, where `smtp` of config.yaml is missing")
        .argument("to_koji_submitter", "tell who submitted the Koji task, where `smtp` of config.yaml is missing")
        .argument("to_koji_pkgowner", "tell the package's owner, where `smtp` of config.yaml is missing")
        .argument("koji_hub", "XML-RPC URL of the hub, where config.yaml has no `koji`")
        .argument("koji_root", "URL of its files, where config.yaml has no `koji`");
    with_koji_arguments(kind)
        .accepts(&["url", "verify_ssl", "use_auth"])
        .reads(&[
            "`smtp` of config.yaml, and the secret its `auth.password_path` names",
            "result of `check_and_set_rebuild`: whether this is an autorebuild",
            "config.yaml: koji; the task that asked for the build and its owner, the owners of the package",
            "annotation `repositories` as `store_metadata_in_osv3` stored it",
            "label `name` of the Dockerfile; commit and URL of the source",
            "the failure of the build; the log of a failed autorebuild",
        ])
        .writes(&["a mail"])
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SendMail {
    send_on: Option<Vec<String>>,
    smtp_host: Option<String>,
    from_address: Option<String>,
    additional_addresses: Option<Vec<String>>,
    error_addresses: Option<Vec<String>>,
    email_domain: Option<String>,
    to_koji_submitter: Option<bool>,
    to_koji_pkgowner: Option<bool>,
    #[serde(flatten)]
    koji: KojiArgs,
}

#[async_trait]
impl Plugin for SendMail {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let ended = ended(run);
        let send_on = self.send_on.clone().unwrap_or_else(|| states::DEFAULT.map(str::to_owned).to_vec());
        if !states::wanted(&send_on, ended)? {
            return Ok(Done::Skipped(format!("nobody wants to be told of this end ({})", send_on.join(", "))));
        }
        let Some(smtp) = self.smtp(run) else {
            return Ok(Done::Skipped("no mail server is configured".to_owned()));
        };
        let found = lookups::look_up(run, &self.koji, &smtp).await;
        let kind = run.records.failure.as_ref().map(|failure| failure.kind);
        let who = recipients::recipients(&smtp, &found.addresses(), kind);
        for entry in &who.dropped {
            run.log().warning(format!("{entry:?} is no mail address: dropped"));
        }
        let to: Vec<Address> = who.addresses.iter().filter_map(|text| text.parse().ok()).collect();
        if to.is_empty() {
            return Ok(Done::Skipped("there is nobody to be told".to_owned()));
        }
        let mut story = story(run, ended, &smtp);
        story.note = who.only_error_addresses.then(|| note(&found.missing));
        story.submitter = found.submitter;
        let files = if ended.autorebuild && ended.failed { log_files(run).await } else { Vec::new() };
        let id = format!("{}.{:016x}", run.build.name, rand::random::<u64>());
        let letter = story.letter(|text| run.services.events.mask(text).into_owned());
        let subject = letter.subject.clone();
        let message = message::message(&smtp.from_address, &to, &id, letter, files)?;
        let server =
            Server { authorities: authorities(run, &smtp).await?, login: login(run, &smtp).await?, smtp: &smtp };
        let refused = server.deliver(&message).await?;
        for refused in &refused {
            run.log().warning(format!("the mail server refuses {}: {}", refused.address, refused.why));
        }
        let told: Vec<_> = to.iter().filter(|address| refused.iter().all(|one| one.address != **address)).collect();
        let told: Vec<_> = told.into_iter().map(ToString::to_string).collect();
        run.log().info(format!("mail {subject:?} is sent to {}", told.join(", ")));
        Ok(Done::Value(json!({ "subject": subject, "recipients": told })))
    }
}

impl SendMail {
    /// The configuration, else the arguments; `None`: neither names server and sender.
    fn smtp(&self, run: &Run) -> Option<SmtpConfig> {
        if let Some(smtp) = &run.config.smtp {
            return Some(smtp.clone());
        }
        Some(SmtpConfig {
            host: self.smtp_host.clone()?,
            from_address: self.from_address.clone()?,
            additional_addresses: self.additional_addresses.clone().unwrap_or_default(),
            error_addresses: self.error_addresses.clone().unwrap_or_default(),
            domain: self.email_domain.clone(),
            send_to_submitter: self.to_koji_submitter.unwrap_or(false),
            send_to_pkg_owner: self.to_koji_pkgowner.unwrap_or(false),
            ..SmtpConfig::default()
        })
    }
}

fn ended(run: &Run) -> Ended {
    let autorebuild = run.result(Phase::Prebuild, "check_and_set_rebuild") == Some(&Value::Bool(true));
    Ended { autorebuild, failed: run.build_process_failed(), cancelled: run.cancelled }
}

/// What stands above a mail to `error_addresses` (M34).
fn note(missing: &[&str]) -> String {
    let why = match missing {
        [] => "no other recipient is configured".to_owned(),
        missing => format!("the address of {} could not be found", missing.join(" and of ")),
    };
    format!("This is sent to error_addresses, for {why}.")
}

fn story(run: &Run, ended: Ended, smtp: &SmtpConfig) -> Story {
    let repositories = repositories(run);
    let tree = run.source_tree.as_ref();
    let is_git = run.request.source.provider.eq_ignore_ascii_case("git");
    Story {
        ended,
        image: image_name(run, &repositories),
        repositories,
        submitter: None,
        logs: logs(run, smtp.log_url.as_deref()),
        source_url: is_git.then(|| run.request.source.uri.clone()),
        source_ref: tree.and_then(|tree| tree.commit_id()).map(str::to_owned),
        failure: run.records.failure.clone().or_else(|| exit_failure(run)),
        note: None,
    }
}

/// A build that only an exit plugin has failed so far.
fn exit_failure(run: &Run) -> Option<osbs_types::Failure> {
    let results = run.records.results.get(&Phase::Exit)?;
    results.iter().find(|(name, _)| run.records.errors.contains_key(*name)).and_then(|(_, result)| result.clone().err())
}

/// Unique, primary, floating; as stored, or as known where storing failed (M34).
fn repositories(run: &Run) -> Vec<String> {
    let stored = run
        .result(Phase::Exit, "store_metadata_in_osv3")
        .and_then(|result| result["annotations"]["repositories"].as_str().map(str::to_owned))
        .or_else(|| super::store_metadata_in_osv3::annotations(run).get("repositories")?.as_str().map(str::to_owned));
    let all: Value = stored.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let of = |class: &str| all[class].as_array().cloned().unwrap_or_default();
    ["unique", "primary", "floating"]
        .iter()
        .flat_map(|class| of(class))
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect()
}

/// `ns/repo` of the first repository, else label `name`, else what the request calls the image.
fn image_name(run: &Run, repositories: &[String]) -> String {
    let pushed = repositories.first().and_then(|name| name.parse::<PullSpec>().ok());
    let label = || {
        let labels = run.dockerfile_labels().ok()?;
        find_label(&labels, "name").map(|(_, value)| value.to_owned())
    };
    pushed.map(|name| name.repository().to_owned()).or_else(label).unwrap_or_else(|| run.request.image.clone())
}

/// Where the site says, else the files of Koji's task, else the command that shows them.
fn logs(run: &Run, url: Option<&str>) -> String {
    if let Some(url) = url {
        return url.replace("{build}", run.build.name.as_str()).replace("{namespace}", &run.build.namespace);
    }
    let files = run.koji.get().map(|koji| koji.root_url.as_str()).filter(|root| !root.is_empty());
    match (files, run.koji_task_id()) {
        (Some(root), Some(task)) => format!("{root}/work/{}", osbs_koji::task_directory(task)),
        _ => format!("osbs build-logs {}", run.build.name),
    }
}

/// `orchestrator.log` and one file a platform, from the build's own events. What cannot be read is missing.
async fn log_files(run: &Run) -> Vec<LogFile> {
    run.log().flush();
    let mut events = match run.services.cluster.events(&run.build.name, 0, false).await {
        Ok(events) => events,
        Err(error) => {
            run.log().warning(format!("the log cannot be attached: {error}"));
            return Vec::new();
        }
    };
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    while let Some(Ok(stored)) = events.next().await {
        for entry in osbs_client::entries_of(&stored.event) {
            let file = files.entry(entry.platform.unwrap_or_else(|| "orchestrator".to_owned())).or_default();
            file.extend_from_slice(entry.line.as_bytes());
            file.push(b'\n');
            if file.len() > 2 * LONGEST_LOG {
                file.drain(..file.len() - LONGEST_LOG);
            }
        }
    }
    let end = |content: Vec<u8>| content[content.len().saturating_sub(LONGEST_LOG)..].to_vec();
    files.into_iter().map(|(name, content)| LogFile { name: format!("{name}.log"), content: end(content) }).collect()
}

async fn authorities(run: &Run, smtp: &SmtpConfig) -> Result<Option<Vec<u8>>, PluginError> {
    let Some(path) = &smtp.ca_file else { return Ok(None) };
    let file = run.secret_path(path).await?;
    read(&file, path).await.map(Some)
}

/// The login; its password is a file, or `password` in the folder of a secret.
async fn login(run: &Run, smtp: &SmtpConfig) -> Result<Option<Login>, PluginError> {
    let Some(auth) = &smtp.auth else { return Ok(None) };
    let mut file = run.secret_path(&auth.password_path).await?;
    if file.is_dir() {
        file.push("password");
    }
    let bytes = read(&file, &auth.password_path).await?;
    let text = String::from_utf8(bytes)
        .map_err(|_| PluginError::policy(format!("{} is not UTF-8 text", auth.password_path)))?;
    Ok(Some(Login { username: auth.username.clone(), password: Secret::new(text.trim_end_matches(['\r', '\n'])) }))
}

async fn read(file: &Path, named: &str) -> Result<Vec<u8>, PluginError> {
    let wrong = |why: String| PluginError::policy(format!("smtp of config.yaml: {named}: {why}"));
    let size = tokio::fs::metadata(file).await.map_err(|error| wrong(error.to_string()))?.len();
    if size > LONGEST_FILE {
        return Err(wrong("too large".to_owned()));
    }
    tokio::fs::read(file).await.map_err(|error| wrong(error.to_string()))
}

#[cfg(test)]
mod tests;
