//! The root file system out of an `image-build` task of Koji (`reactor.md` 3.1.6): started or taken over, waited for,
//! cancelled with the build, its output of one platform brought here.

use super::inputs::conf_file;
use crate::events::Logger;
use crate::koji::KojiSite;
use crate::koji::task::{Patience, finished};
use crate::plugin::PluginError;
use crate::run::Run;
use osbs_config::{ImageBuildConf, parse_image_build_conf};
use osbs_dockerfile::{LabelMap, find_label};
use osbs_image::{ExtractOptions, extract_tar, open_archive};
use osbs_koji::{Arguments, MethodCall, Struct, Value, calls};
use regex::Regex;
use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// Most bytes and entries of a root file system.
const MOST_BYTES: u64 = 64 << 30;
const MOST_ENTRIES: u64 = 10_000_000;
/// Options of `image-build` that are arguments of their own.
const POSITIONAL: [&str; 5] = ["name", "version", "arches", "target", "install_tree"];

/// What is asked of the hub.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct OzRequest {
    pub(super) name: String,
    version: String,
    arches: Vec<String>,
    target: String,
    install_tree: String,
    opts: Struct,
}

/// What the options default to.
#[derive(Debug, Clone, Default)]
pub(super) struct Defaults<'a> {
    pub(super) target: Option<&'a str>,
    /// `URL#COMMIT`.
    pub(super) ksurl: String,
    /// Base URLs of the request's repositories.
    pub(super) base_urls: Vec<String>,
    /// Platforms instead of those of the file.
    pub(super) arches: Vec<String>,
    pub(super) scratch: bool,
}

/// The request, from the file, the labels of the Dockerfile and the build.
pub(super) fn request(
    conf: &ImageBuildConf,
    file: &str,
    labels: &LabelMap,
    defaults: &Defaults<'_>,
) -> Result<OzRequest, PluginError> {
    let label = |name: &str| find_label(labels, name).map(|(_, value)| value.to_owned());
    let mut options: BTreeMap<String, String> = [
        ("name", label("com.redhat.component").unwrap_or_else(|| "default-name".to_owned())),
        ("version", label("version").unwrap_or_default()),
        ("arches", "x86_64".to_owned()),
        ("format", "docker".to_owned()),
        ("disk_size", "10".to_owned()),
        ("target", defaults.target.unwrap_or_default().to_owned()),
        ("install_tree", defaults.base_urls.first().cloned().unwrap_or_default()),
        ("repo", defaults.base_urls.join(",")),
        ("ksurl", defaults.ksurl.clone()),
        ("kickstart", "kickstart.ks".to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    options.extend(conf.image_build.clone());
    if !defaults.arches.is_empty() {
        options.insert("arches".to_owned(), defaults.arches.join(","));
    }
    for key in POSITIONAL {
        if options.get(key).is_none_or(|value| value.trim().is_empty()) {
            let text = format!("[image-build] {key} cannot be empty for a file system made by Koji");
            return Err(PluginError::user(text).with_hint(&format!("write {key} = ... into {file}")));
        }
    }
    let take = |key: &str| options.get(key).cloned().unwrap_or_default();
    Ok(OzRequest {
        name: take("name"),
        version: take("version"),
        arches: list(&take("arches")),
        target: take("target"),
        install_tree: take("install_tree"),
        opts: opts(conf, file, &options, defaults.scratch)?,
    })
}

fn opts(
    conf: &ImageBuildConf,
    file: &str,
    options: &BTreeMap<String, String>,
    scratch: bool,
) -> Result<Struct, PluginError> {
    let mut opts = Struct::new();
    for (key, value) in options.iter().filter(|(key, _)| !POSITIONAL.contains(&key.as_str())) {
        let value = match key.as_str() {
            "repo" | "format" => texts(list(value)),
            "disk_size" => value.trim().parse::<i64>().map(Value::Int).map_err(|_| {
                PluginError::user(format!("[image-build] disk_size {value:?} of {file} is not a whole number"))
            })?,
            _ => value.as_str().into(),
        };
        opts.insert(key.clone(), value);
    }
    let mut factory: BTreeMap<String, String> = [("create_docker_metadata".to_owned(), "False".to_owned())].into();
    factory.extend(conf.factory_parameters.clone());
    let pair = |(key, value): (String, String)| Value::Array(vec![key.into(), value.into()]);
    opts.insert("factory_parameter".to_owned(), Value::Array(factory.into_iter().map(pair).collect()));
    if !conf.ova_options.is_empty() {
        let ova = conf.ova_options.iter().map(|(key, value)| format!("{key}={value}")).collect();
        opts.insert("ova_option".to_owned(), texts(ova));
    }
    if scratch {
        opts.insert("scratch".to_owned(), true.into());
    }
    Ok(opts)
}

fn texts(list: Vec<String>) -> Value {
    Value::Array(list.into_iter().map(Value::from).collect())
}

fn list(text: &str) -> Vec<String> {
    text.split([',', '\n']).map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

/// `baseurl` of every section of a repo file, for any architecture of the task.
pub(super) fn base_urls(text: &str) -> Vec<String> {
    let value = |line: &str| {
        let (key, value) = line.split_once('=')?;
        key.trim().eq_ignore_ascii_case("baseurl").then(|| value.trim().replace("$basearch", "$arch"))
    };
    text.lines().filter_map(value).filter(|url| !url.is_empty()).collect()
}

/// Whether the hub makes such file systems at all: a small one does not.
pub(super) async fn is_offered(koji: &KojiSite) -> Result<bool, PluginError> {
    let methods = koji.ask(MethodCall::raw("system.listMethods", Arguments::none())).await?;
    let methods = methods.as_array().unwrap_or_default();
    Ok(methods.iter().any(|method| method.as_str() == Some("buildImageOz")))
}

/// Reads the file that FROM names.
pub(super) fn conf_of(run: &Run, parent: &str) -> Result<(ImageBuildConf, String), PluginError> {
    let file = conf_file(parent);
    let text = run.source()?.read_beside(file)?.ok_or_else(|| {
        PluginError::user(format!("FROM {parent} needs the file {file} beside the Dockerfile, and it is not there"))
    })?;
    Ok((parse_image_build_conf(&text, file)?, file.to_owned()))
}

/// Starts the task.
pub(super) async fn start(run: &Run, koji: &KojiSite, request: &OzRequest) -> Result<i64, PluginError> {
    let OzRequest { name, version, arches, target, install_tree, opts } = request;
    let call = calls::build_image_oz(name, version, arches, target, install_tree, opts.clone());
    let task = koji.ask(call).await?;
    run.log().info(format!("Koji task {task} makes the file system {name} for target {target}"));
    Ok(task)
}

/// Waits for the task. A task of our own is cancelled with the build.
pub(super) async fn wait(
    run: &Run,
    koji: &KojiSite,
    task: i64,
    own: bool,
    patience: Patience,
) -> Result<(), PluginError> {
    let ended = tokio::select! {
        biased;
        () = run.cancel().cancelled() => Err(PluginError::Cancelled),
        ended = finished(run, koji, task, "base file system", patience) => ended,
    };
    if own && matches!(ended, Err(PluginError::Cancelled)) {
        let client = koji.client.cancelled_by(&CancellationToken::new());
        match client.call(calls::cancel_task(task)).await {
            Ok(()) => run.log().info(format!("Koji task {task} is cancelled")),
            Err(error) => run.log().warning(format!("Koji task {task} could not be cancelled: {error}")),
        }
    }
    ended
}

/// The output that is the root file system: of that platform, if one is said.
fn pattern(name: &str, platform: Option<&str>) -> Result<Regex, PluginError> {
    let platform = platform.map_or_else(String::new, |platform| format!("{}.*", regex::escape(platform)));
    let text = format!(r"(?i)^{}.*{platform}\.tar(\.gz|\.bz2|\.xz)?$", regex::escape(name));
    Regex::new(&text).map_err(|error| PluginError::internal(error.to_string()))
}

/// Task and file of the output; the task's own first, then those of its children, depth first.
async fn find(
    koji: &KojiSite,
    task: i64,
    wanted: &Regex,
) -> Result<Option<(i64, String, Option<String>)>, PluginError> {
    let mut open = vec![task];
    while let Some(task) = open.pop() {
        let files = koji.ask(calls::list_task_output(task)).await?;
        if let Some(found) = files.into_iter().find(|file| wanted.is_match(&file.name)) {
            return Ok(Some((task, found.name, found.volumes.into_iter().next())));
        }
        let children = koji.ask(calls::get_task_children(task)).await?;
        open.extend(children.iter().rev().map(|child| child.id));
    }
    Ok(None)
}

/// Downloads the output for a platform.
pub(super) async fn fetch(
    run: &Run,
    koji: &KojiSite,
    task: i64,
    name: &str,
    platform: Option<&str>,
) -> Result<PathBuf, PluginError> {
    let wanted = pattern(name, platform)?;
    let (of, file, volume) = find(koji, task, &wanted).await?.ok_or_else(|| {
        PluginError::remote(format!("Koji task {task} has left no root file system {name} for this platform"))
            .with_hint("`koji download-task` shows what it has left; its name must begin with that of image-build.conf")
    })?;
    let path = run.workdir()?.join("filesystem.tar");
    let failed = |error: std::io::Error| PluginError::resource(format!("{}: {error}", path.display()));
    let mut sink = tokio::fs::File::create(&path).await.map_err(failed)?;
    let meter = run.log().meter(format!("download {file}"));
    let progress = |done, total| meter.tell(done, total);
    let size = koji.client.download_output(of, &file, volume.as_deref(), &mut sink, &progress).await?;
    run.log().info(format!("{file} of Koji task {of}: {size} bytes"));
    Ok(path)
}

/// Unpacks it into a folder, which becomes the layer.
pub(super) fn unpack(archive: &Path, log: &Logger, cancel: &CancellationToken) -> Result<PathBuf, PluginError> {
    let failed = |error: std::io::Error| PluginError::resource(format!("{}: {error}", archive.display()));
    let root = archive.with_file_name("filesystem-root");
    std::fs::create_dir_all(&root).map_err(failed)?;
    let file = std::fs::File::open(archive).map_err(failed)?;
    let Some(mut reader) = open_archive(Box::new(file)).map_err(failed)? else {
        return Err(PluginError::remote("the root file system of Koji is no tar archive"));
    };
    let options = ExtractOptions {
        owner: None,
        mode: None,
        max_bytes: MOST_BYTES,
        max_entries: MOST_ENTRIES,
        name: "the root file system of Koji".to_owned(),
    };
    let folder = std::fs::File::open(&root).map_err(failed)?;
    let found = extract_tar(&mut reader, folder.as_fd(), &options, cancel)?;
    log.info(format!("the root file system has {} entries", found.entries));
    std::fs::remove_file(archive).map_err(failed)?;
    Ok(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = "[image-build]\narches = x86_64, ppc64le\nrepo = http://a/$arch,http://b\nksversion = F40\n\
        disk_size = 12\n[factory-parameters]\noz_overrides = {}\n[ova-options]\nx = 1\n";

    fn asked(text: &str, defaults: &Defaults<'_>) -> Result<OzRequest, PluginError> {
        let labels: LabelMap =
            [("com.redhat.component", "base"), ("version", "8")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        request(&parse_image_build_conf(text, "image-build.conf").unwrap(), "image-build.conf", &labels, defaults)
    }

    fn defaults() -> Defaults<'static> {
        let base_urls = vec!["http://r/$arch".to_owned()];
        Defaults { target: Some("f40"), ksurl: "git://x#1".into(), base_urls, ..Defaults::default() }
    }

    #[test]
    fn what_is_asked() {
        let found = asked(CONF, &Defaults { scratch: true, ..defaults() }).unwrap();
        assert_eq!((found.name.as_str(), found.version.as_str(), found.target.as_str()), ("base", "8", "f40"));
        assert_eq!(
            (found.arches.join(" ").as_str(), found.install_tree.as_str()),
            ("x86_64 ppc64le", "http://r/$arch")
        );
        let expected = serde_json::json!({
            "repo": ["http://a/$arch", "http://b"], "format": ["docker"], "disk_size": 12, "ksversion": "F40",
            "ksurl": "git://x#1", "kickstart": "kickstart.ks", "scratch": true, "ova_option": ["x=1"],
            "factory_parameter": [["create_docker_metadata", "False"], ["oz_overrides", "{}"]]});
        assert_eq!(Value::Struct(found.opts).to_json(), expected);
        let arches = vec!["s390x".to_owned()];
        assert_eq!(asked(CONF, &Defaults { arches: arches.clone(), ..defaults() }).unwrap().arches, arches);
    }

    #[track_caller]
    fn check_refused(text: &str, defaults: &Defaults<'_>, part: &str) {
        let error = asked(text, defaults).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn what_must_be_there() {
        check_refused(CONF, &Defaults { target: None, ..defaults() }, "target cannot be empty");
        check_refused(CONF, &Defaults { base_urls: Vec::new(), ..defaults() }, "install_tree cannot be empty");
        check_refused("[image-build]\nname =\n", &defaults(), "name cannot be empty");
        check_refused("[image-build]\ndisk_size = much\n", &defaults(), "disk_size");
    }

    #[test]
    fn outputs() {
        for (name, platform, file, expected) in [
            ("base", None, "base-8.tar.xz", true),
            ("base", Some("x86_64"), "Base-8-1.x86_64.tar.gz", true),
            ("base", Some("x86_64"), "base-8-1.ppc64le.tar.gz", false),
            ("base", None, "base-8.ks", false),
            ("base", None, "other-base-8.tar", false),
            // A name is no pattern (M35).
            ("b.se", None, "base-8.tar", false),
            ("c++", None, "c++-8.tar", true),
        ] {
            assert_eq!(pattern(name, platform).unwrap().is_match(file), expected, "{name} {platform:?} {file}");
        }
    }

    #[test]
    fn repositories_of_repo_files() {
        let text = "[a]\nname=x\nbaseurl = http://a/$basearch/os\n[b]\nBaseURL=http://b\n[c]\nmetalink=http://c\n";
        assert_eq!(base_urls(text), ["http://a/$arch/os", "http://b"]);
    }
}
