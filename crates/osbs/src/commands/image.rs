//! `osbs image`: images without a build service around them.

mod parents;
mod work_folder;

use crate::follow::Interrupts;
use crate::session::Session;
use crate::terminal::{duration, harmless, size};
use clap::{Args, Subcommand};
use osbs_builder::{BuildObserver, BuildRequest, BuiltImage, ImageFormat, StageLabel};
use osbs_dockerfile::Dockerfile;
use osbs_image::{Compression, ImageRef, Store, StoredImage};
use osbs_registry::{Progress, Registry};
use osbs_types::{ErrorKind, Failure, Platform, PullSpec};
use parents::Parents;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Instant;
use tokio_util::sync::CancellationToken;
use work_folder::WorkFolder;

/// Images without a build service around them
#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    Build(Box<ImageBuildArgs>),
}

/// Build an image of a Dockerfile, with nothing else set up
///
/// Parents come from registries (FROM fedora:40) or from folders (FROM oci:./base). The image gets one new layer.
#[derive(Debug, Args)]
struct ImageBuildArgs {
    /// The build context
    #[arg(default_value = ".", value_name = "DIR")]
    context: PathBuf,

    /// The Dockerfile [default: DIR/Dockerfile]
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Name of the image: [REGISTRY/]REPOSITORY[:TAG] (repeatable)
    #[arg(long, short, value_name = "NAME")]
    tag: Vec<PullSpec>,

    /// Value of an ARG (repeatable)
    #[arg(long, value_name = "K=V", value_parser = parse_pair)]
    build_arg: Vec<(String, String)>,

    /// One more label (repeatable)
    #[arg(long, value_name = "K=V", value_parser = parse_pair)]
    label: Vec<(String, String)>,

    /// What the image is for [default: this machine]
    #[arg(long, value_name = "P")]
    platform: Option<Platform>,

    /// The stage to build: its name or number
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,

    /// Where the image goes (repeatable): oci:PATH, docker-archive:FILE (compressed when FILE ends in gz), or push
    #[arg(long, short, value_name = "WHERE", required = true)]
    output: Vec<Output>,

    /// A parent from somewhere else: NAME=oci:PATH or NAME=REGISTRY/REPOSITORY:TAG (repeatable)
    #[arg(long, value_name = "NAME=WHERE", value_parser = parse_pair)]
    parent: Vec<(String, String)>,

    /// Media types of the image
    #[arg(long, value_enum, default_value = "oci")]
    format: Format,

    /// Compression of the new layer: gzip[:LEVEL], zstd[:LEVEL] or none
    #[arg(long, value_name = "METHOD", default_value = "gzip", value_parser = parse_compression)]
    compression: Compression,

    /// Take times later than this (seconds since 1970) as this; two builds then give the same digest
    #[arg(long, value_name = "SECONDS", env = "SOURCE_DATE_EPOCH")]
    source_date_epoch: Option<i64>,

    /// Registries may use plain HTTP or certificates that nobody signed
    #[arg(long)]
    insecure: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    Oci,
    Docker,
}

/// Where an image goes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Output {
    Oci(PathBuf),
    DockerArchive(PathBuf),
    Push,
}

impl Output {
    fn is_compressed_archive(&self) -> bool {
        let compressed =
            |path: &PathBuf| path.extension().is_some_and(|extension| extension == "gz" || extension == "tgz");
        matches!(self, Self::DockerArchive(path) if compressed(path))
    }
}

impl FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("oci", path)) if !path.is_empty() => Ok(Self::Oci(path.into())),
            Some(("docker-archive", path)) if !path.is_empty() => Ok(Self::DockerArchive(path.into())),
            None if text == "push" => Ok(Self::Push),
            _ => Err("expected oci:PATH, docker-archive:FILE or push".to_owned()),
        }
    }
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

fn parse_compression(text: &str) -> Result<Compression, String> {
    let (method, level) = text.split_once(':').map_or((text, None), |(method, level)| (method, Some(level)));
    let number = |low: i32, high: i32| match level.map(str::parse::<i32>) {
        None => Ok(None),
        Some(Ok(level)) if (low..=high).contains(&level) => Ok(Some(level)),
        Some(_) => Err(format!("the level of {method} is {low} to {high}")),
    };
    match method {
        "gzip" => {
            Ok(number(1, 9)?.map_or_else(Compression::default, |level| Compression::Gzip { level: level as u32 }))
        }
        "zstd" => Ok(Compression::Zstd { level: number(1, 19)?.unwrap_or(3) }),
        "none" if level.is_none() => Ok(Compression::None),
        _ => Err("expected gzip[:LEVEL], zstd[:LEVEL] or none".to_owned()),
    }
}

/// Runs the command.
pub(crate) async fn run(session: &Session, args: ImageArgs) -> Result<u8, Failure> {
    match args.command {
        ImageCommand::Build(args) => build(session, *args).await,
    }
}

async fn build(session: &Session, args: ImageBuildArgs) -> Result<u8, Failure> {
    let started = Instant::now();
    check(&args)?;
    let home = session.site()?.home().to_owned();
    let store = Store::open(&home.join("store")).map_err(|e| Failure::new(e.kind(), &e))?;
    let lease = store.lease("osbs image build").map_err(|e| Failure::new(e.kind(), &e))?;
    let cancel = CancellationToken::new();
    cancel_on_interrupt(cancel.clone())?;

    let upload = start_upload(&args).await?;
    let (sink, outcome) = match upload {
        Some(upload) => {
            let (sink, outcome) = upload.into_sink();
            (Some(sink), Some(outcome))
        }
        None => (None, None),
    };
    let work = Builder { home, store: store.clone(), cancel: cancel.clone(), observer: observer(session) };
    let parents = Parents::new(store.clone(), args.parent.clone(), args.insecure, cancel.clone());
    let args = std::sync::Arc::new(args);
    let for_thread = std::sync::Arc::clone(&args);
    let built = tokio::task::spawn_blocking(move || work.build(&for_thread, &parents, sink))
        .await
        .map_err(|e| Failure::new(ErrorKind::Internal, &e))??;
    if let Some(outcome) = outcome {
        // The push below sends the layer again if it did not arrive.
        let _ = outcome.wait().await;
    }
    let outputs = args.output.iter().map(|output| deliver(session, &args, output, &store, &built.image, &cancel));
    futures_util::future::try_join_all(outputs).await?;
    drop(lease);
    session.note(&format!(
        "{} {}: one new layer of {}, {} in all, in {}",
        session.paint().green("built"),
        built.image.image_id(),
        size(built.new_layer.descriptor.size),
        size(built.image.layers.iter().map(|layer| layer.size).sum()),
        duration(started.elapsed()),
    ));
    if session.is_verbose() {
        for (what, seconds) in &built.timings {
            session.note(&format!("{seconds:>9.3} s  {what}"));
        }
    }
    session.print(&format!("{}\n", built.image.image_id()));
    Ok(0)
}

fn check(args: &ImageBuildArgs) -> Result<(), Failure> {
    let user = |message: String| Err(Failure::message(ErrorKind::User, message));
    if !args.context.is_dir() {
        return user(format!("{} is not a folder", args.context.display()));
    }
    if args.output.contains(&Output::Push) && !args.tag.iter().any(|tag| tag.registry().is_some()) {
        return Failure::message(ErrorKind::User, "push needs a name with a registry")
            .with_hint("for example: --tag localhost:5000/web:1 --output push")
            .fail();
    }
    Ok(())
}

trait Fail {
    fn fail<T>(self) -> Result<T, Failure>;
}

impl Fail for Failure {
    fn fail<T>(self) -> Result<T, Failure> {
        Err(self)
    }
}

fn cancel_on_interrupt(cancel: CancellationToken) -> Result<(), Failure> {
    let mut interrupts = Interrupts::new()?;
    tokio::spawn(async move {
        interrupts.next().await;
        cancel.cancel();
    });
    Ok(())
}

fn registry(tag: &PullSpec, insecure: bool) -> Result<Registry, Failure> {
    let host = tag.registry().unwrap_or_default();
    parents::registry(host, insecure)
}

async fn start_upload(args: &ImageBuildArgs) -> Result<Option<osbs_registry::Upload>, Failure> {
    let Some(tag) =
        args.tag.iter().find(|tag| tag.registry().is_some()).filter(|_| args.output.contains(&Output::Push))
    else {
        return Ok(None);
    };
    let upload = registry(tag, args.insecure)?.start_upload(tag.repository()).await;
    upload.map(Some).map_err(|e| Failure::new(e.kind(), &e).in_step("push"))
}

async fn deliver(
    session: &Session,
    args: &ImageBuildArgs,
    output: &Output,
    store: &Store,
    image: &StoredImage,
    cancel: &CancellationToken,
) -> Result<(), Failure> {
    match output {
        Output::Oci(path) => {
            let name = args.tag.first().and_then(PullSpec::tag).unwrap_or("latest");
            osbs_image::write_oci_layout(store, image, path, name).map_err(|e| Failure::new(e.kind(), &e))?;
            session.note(&format!("wrote oci:{}:{name}", path.display()));
        }
        Output::DockerArchive(path) => {
            let compressed = output.is_compressed_archive();
            let names: Vec<_> = args.tag.iter().map(|tag| tag.with_explicit_tag().to_string()).collect();
            let (store, image, path, cancel) = (store.clone(), image.clone(), path.clone(), cancel.clone());
            let shown = path.display().to_string();
            let info = tokio::task::spawn_blocking(move || {
                if compressed {
                    osbs_image::write_archive(&store, &image, &names, &path, &cancel, &|_| {})
                } else {
                    osbs_image::write_docker_archive_plain(&store, &image, &names, &path, &cancel)
                }
            })
            .await
            .map_err(|e| Failure::new(ErrorKind::Internal, &e))?
            .map_err(|e| Failure::new(e.kind(), &e))?;
            session.note(&format!("wrote docker-archive:{shown}, {}, {}", size(info.size), info.sha256));
        }
        Output::Push => {
            for tag in args.tag.iter().filter(|tag| tag.registry().is_some()) {
                let registry = registry(tag, args.insecure)?;
                let pushed = osbs_registry::push(
                    &registry,
                    store,
                    image,
                    tag.repository(),
                    &tag.reference(),
                    &[],
                    cancel,
                    Progress::none(),
                )
                .await
                .map_err(|e| Failure::new(e.kind(), &e).in_step("push"))?;
                session.note(&format!("pushed {}@{}", tag.with_explicit_tag(), pushed.digest));
            }
        }
    }
    Ok(())
}

/// What the building thread owns.
struct Builder {
    home: PathBuf,
    store: Store,
    cancel: CancellationToken,
    observer: Box<dyn BuildObserver>,
}

impl Builder {
    fn build(
        self,
        args: &ImageBuildArgs,
        parents: &Parents,
        sink: Option<osbs_registry::UploadSink>,
    ) -> Result<BuiltImage, Failure> {
        let file = args.file.clone().unwrap_or_else(|| args.context.join("Dockerfile"));
        let text = std::fs::read_to_string(&file).map_err(|e| {
            Failure::new(ErrorKind::User, &e)
                .with_hint(format!("{} must be a Dockerfile: name it with --file", file.display()))
        })?;
        let name = file.file_name().map_or_else(|| "Dockerfile".to_owned(), |name| name.to_string_lossy().into_owned());
        let dockerfile = Dockerfile::parse(&text, &name).map_err(|e| e.to_failure())?;
        let platform = args.platform.clone().unwrap_or_else(Platform::native);
        let work = WorkFolder::new(&self.home.join("work")).map_err(|e| Failure::new(ErrorKind::Resource, &e))?;
        let runtime =
            osbs_sandbox::known_runtime(None, &self.home.join("runtime.json")).map_err(|e| Failure::new(e.kind(), &e));
        let mut request =
            BuildRequest::new(&dockerfile, &args.context, parents, platform.architecture(), work.path(), &self.store);
        request.build_args = args.build_arg.iter().cloned().collect::<BTreeMap<_, _>>();
        request.labels.clone_from(&args.label);
        request.target.clone_from(&args.target);
        request.compression = args.compression;
        request.clamp_mtime = args.source_date_epoch;
        request.format = match args.format {
            Format::Oci => ImageFormat::Oci,
            Format::Docker => ImageFormat::DockerV2S2,
        };
        // So that writing the archive need not inflate the layer again to learn its checksum.
        request.prepare_archive = args.output.iter().any(Output::is_compressed_archive);
        request.sink = sink.map(|sink| Box::new(sink) as _);
        request.runtime = runtime.as_ref().ok();
        request.cgroup = work.cgroup();
        let built = osbs_builder::build(request, self.observer.as_ref(), &self.cancel).map_err(|e| e.to_failure())?;
        for tag in &args.tag {
            let image = ImageRef { descriptor: built.image.manifest.clone() };
            self.store
                .set_ref(&tag.with_explicit_tag().to_string(), &image, "osbs image build")
                .map_err(|e| Failure::new(e.kind(), &e))?;
        }
        Ok(built)
    }
}

fn observer(session: &Session) -> Box<dyn BuildObserver> {
    Box::new(Shown { quiet: session.global().quiet, paint: session.paint() })
}

/// Steps and output lines as they come.
struct Shown {
    quiet: bool,
    paint: crate::terminal::Paint,
}

impl BuildObserver for Shown {
    fn step(&self, stage: StageLabel<'_>, index: usize, total: usize, text: &str) {
        if !self.quiet {
            let first = text.lines().next().unwrap_or_default();
            let (number, prefix) = (self.paint.bold(&format!("[{index}/{total}]")), harmless(&stage.prefix()));
            eprintln!("{number} {prefix}{}", harmless(first));
        }
    }

    fn line(&self, stage: StageLabel<'_>, line: &[u8]) {
        if !self.quiet {
            let text = format!("{}{}", stage.prefix(), String::from_utf8_lossy(line));
            let mut out = std::io::stderr().lock();
            let _ = writeln!(out, "    {}", harmless(&text));
        }
    }

    fn warning(&self, text: &str) {
        eprintln!("{} {}", self.paint.yellow("warning:"), harmless(text));
    }

    fn progress(&self, _what: &'static str, _done: u64, _total: u64) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs() {
        assert_eq!("oci:a/b".parse(), Ok(Output::Oci("a/b".into())));
        assert_eq!("docker-archive:x.tar.gz".parse(), Ok(Output::DockerArchive("x.tar.gz".into())));
        assert_eq!("push".parse(), Ok(Output::Push));
        assert!("oci:".parse::<Output>().is_err());
        assert!("docker:x".parse::<Output>().is_err());
    }

    #[test]
    fn compressions() {
        assert_eq!(parse_compression("gzip:1"), Ok(Compression::Gzip { level: 1 }));
        assert_eq!(parse_compression("zstd"), Ok(Compression::Zstd { level: 3 }));
        assert!(parse_compression("gzip:10").is_err());
        assert!(parse_compression("lzma").is_err());
    }
}
