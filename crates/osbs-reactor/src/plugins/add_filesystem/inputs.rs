//! What a file system is made of, gathered before anything is made: the configuration, the kickstart file, repo files.
//!
//! An orchestrator does this alone, so that a mistake is told before any worker starts.

use super::conf::{self, ImageBuild};
use crate::fetching::fetcher;
use crate::kickstart::{self, Kickstart};
use crate::plugin::PluginError;
use crate::repo_file::with_options;
use crate::run::Run;
use osbs_builder::{Fetcher as _, GitSource};
use osbs_fetch::AllowedUrls;
use osbs_http::{AddressRule, Request, Url, is_transient, shown};
use osbs_sandbox::rooted::Root;
use osbs_types::{ErrorKind, Failure, Position};
use std::path::Path;

/// The file that is read when FROM names none.
const DEFAULT_CONF: &str = "image-build.conf";
/// The largest kickstart or repo file.
const MAX_FILE: u64 = 4 << 20;

/// All of it.
pub(super) struct Inputs {
    pub(super) build: ImageBuild,
    pub(super) kickstart: Kickstart,
    /// Repo files of the request, as dnf reads them.
    pub(super) repo_files: Vec<String>,
}

/// Reads and checks everything for `FROM parent`; `repos` are URLs of repo files.
pub(super) async fn gather(run: &Run, parent: &str, repos: &[String]) -> Result<Inputs, PluginError> {
    let file = conf_file(parent);
    let text = run.source()?.read_beside(file)?.ok_or_else(|| {
        PluginError::user(format!("FROM {parent} needs the file {file} beside the Dockerfile, and it is not there"))
    })?;
    let build = conf::read(&text, file, &run.dockerfile_labels()?)?;
    for note in &build.notes {
        run.log().info(note.clone());
    }
    let kickstart = read_kickstart(run, &build, file).await?;
    let mut repo_files = Vec::new();
    for url in repos {
        repo_files.extend(repo_file(run, url).await?);
    }
    if build.repositories.is_empty() && kickstart.repositories.is_empty() && repo_files.is_empty() {
        let text = format!("neither {} nor {file} nor the request names a repository", build.kickstart);
        return Err(
            PluginError::user(text).with_hint("add a line to the kickstart file: repo --name=main --baseurl=URL")
        );
    }
    Ok(Inputs { build, kickstart, repo_files })
}

/// The file that `FROM parent` names.
pub(super) fn conf_file(parent: &str) -> &str {
    match parent.split_once(':') {
        Some((_, tag)) if tag != "latest" => tag,
        _ => DEFAULT_CONF,
    }
}

async fn read_kickstart(run: &Run, build: &ImageBuild, conf: &str) -> Result<Kickstart, PluginError> {
    let name = build.kickstart.as_str();
    let text = match build.ksurl.as_deref().and_then(|ksurl| elsewhere(run, ksurl).transpose()) {
        Some(repository) => from_repository(run, repository?, name).await?,
        None => beside_or_at_the_top(run, name)?,
    };
    let text = text.ok_or_else(|| {
        PluginError::user(format!("{conf} names the kickstart file {name}, and it is not there"))
            .with_hint("it is looked for beside the Dockerfile and at the top of the repository, or where ksurl says")
    })?;
    let kickstart = kickstart::parse(&text).map_err(|error| {
        let position = Position { file: name.to_owned(), line: error.line(), column: None };
        PluginError::user(error.to_string()).at(position)
    })?;
    for note in &kickstart.notes {
        let text = format!("{name}:{}: {}", note.line, note.text);
        if note.is_missed { run.log().warning(text) } else { run.log().debug(text) }
    }
    Ok(kickstart)
}

/// Koji reads it from the top of the repository, people put it beside the Dockerfile.
fn beside_or_at_the_top(run: &Run, name: &str) -> Result<Option<String>, PluginError> {
    let source = run.source()?;
    match source.read_beside(name)? {
        Some(text) => Ok(Some(text)),
        None => read_below(source.root(), name),
    }
}

fn read_below(folder: &Path, name: &str) -> Result<Option<String>, PluginError> {
    match Root::open(folder)?.read_small(Path::new(name), MAX_FILE) {
        Ok(bytes) => String::from_utf8(bytes)
            .map(Some)
            .map_err(|_| PluginError::user(format!("the kickstart file {name} is not UTF-8 text"))),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// `[git+]URL[?FOLDER][#REF]`; `None` when it names the source of this build as it is.
fn elsewhere(run: &Run, ksurl: &str) -> Result<Option<GitSource>, PluginError> {
    let source = run.source()?;
    let (place, reference) = ksurl.split_once('#').map_or((ksurl, None), |(place, r)| (place, Some(r)));
    let (url, subdir) = place.split_once('?').map_or((place, None), |(url, subdir)| (url, Some(subdir)));
    let url = url.strip_prefix("git+").unwrap_or(url);
    let reference = reference.filter(|reference| !reference.is_empty());
    let is_this = url == source.uri() && reference.is_none_or(|r| Some(r) == source.commit_id() || r == "HEAD");
    if is_this && subdir.is_none_or(str::is_empty) {
        return Ok(None);
    }
    if !url.starts_with("https://") && !url.starts_with("http://") {
        let text = format!("ksurl {} cannot be fetched: only this build's repository, or one by https", told(url));
        return Err(
            PluginError::user(text).with_hint("leave ksurl out: the kickstart file is taken from this repository")
        );
    }
    Ok(Some(GitSource {
        url: url.to_owned(),
        reference: reference.map(str::to_owned),
        subdir: subdir.filter(|subdir| !subdir.is_empty()).map(str::to_owned),
        keep_git: false,
        submodules: Some(false),
    }))
}

fn told(url: &str) -> String {
    osbs_fetch::shown_url(url)
}

async fn from_repository(run: &Run, repository: GitSource, name: &str) -> Result<Option<String>, PluginError> {
    let folder = tempfile::Builder::new()
        .prefix("kickstart-")
        .tempdir_in(run.workdir()?)
        .map_err(|error| PluginError::resource(format!("the work folder cannot be written: {error}")))?;
    let shown = told(&repository.url);
    let (fetcher, into) = (fetcher(run), folder.path().to_owned());
    let below = repository.subdir.clone().unwrap_or_default();
    let checked_out = run
        .blocking(move |cancel| {
            let fetched = fetcher.cancelled_by(cancel).checkout(&repository, &into);
            fetched.map_err(|failure| PluginError::from(*failure))
        })
        .await?;
    run.log().info(format!("the kickstart file is of {shown}, commit {}", checked_out.commit));
    // A folder that was asked for comes out by itself.
    match read_below(folder.path(), name)? {
        Some(text) => Ok(Some(text)),
        None => read_below(&folder.path().join(below), name),
    }
}

/// A repo file's text; `None`, with a warning, when it is none.
pub(super) async fn repo_file(run: &Run, text: &str) -> Result<Option<String>, PluginError> {
    let url = Url::parse(text).map_err(|_| PluginError::user("a yum repository URL is not an http or https URL"))?;
    let configured = if run.is_scratch() { &[][..] } else { &run.config.yum_repo_allowed_domains };
    let allowed = AllowedUrls::parse(configured)
        .map_err(|error| PluginError::policy(format!("yum_repo_allowed_domains is wrong: {error}")))?;
    let request = Request::get(url.clone()).allow_plain_http(true).addresses(AddressRule::NoLinkLocal);
    let response = run.services.transport.send(&request.only(allowed.rule())).await.map_err(|error| {
        let failure = Failure::new(error.kind(), &error);
        let hint = format!("yum_repo_allowed_domains has {allowed}");
        PluginError::from(if error.kind() == ErrorKind::Policy { failure.with_hint(hint) } else { failure })
    })?;
    let status = response.status();
    if !status.is_success() {
        let text = format!("the repo file {} cannot be fetched: {status}", shown(&url));
        return Err(if is_transient(status) { PluginError::remote(text) } else { PluginError::user(text) });
    }
    let bytes = response.bytes(MAX_FILE).await?;
    let file = std::str::from_utf8(&bytes).ok().and_then(|text| with_options(text, &[]));
    if file.is_none() {
        run.log().warning(format!("{} is no repo file: no packages come from it", shown(&url)));
    }
    Ok(file)
}
