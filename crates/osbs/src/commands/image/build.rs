//! `osbs image build`, from the options to the line that says what was built.

use super::args::{Format, ImageBuildArgs};
use super::deliver::{deliver, start_upload};
use super::fetching::fetcher;
use super::inputs;
use super::parents::Parents;
use super::shown::observer;
use super::work_folder::WorkFolder;
use crate::follow::Interrupts;
use crate::session::Session;
use crate::site::program_path;
use crate::terminal::{duration, size};
use osbs_builder::{BuildObserver, BuildRequest, BuiltImage, ImageFormat};
use osbs_client::git::Git;
use osbs_fetch::WebFetcher;
use osbs_image::{ImageRef, Store};
use osbs_types::{ErrorKind, Failure, Platform};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use tokio_util::sync::CancellationToken;

/// Builds, and brings the image where it is wanted.
pub(super) async fn run(session: &Session, args: ImageBuildArgs) -> Result<u8, Failure> {
    let started = Instant::now();
    args.check()?;
    let home = session.site()?.home().to_owned();
    let store = Store::open(&home.join("store")).map_err(|e| Failure::new(e.kind(), &e))?;
    let lease = store.lease("osbs image build").map_err(|e| Failure::new(e.kind(), &e))?;
    let cancel = CancellationToken::new();
    cancel_on_interrupt(cancel.clone())?;

    let (sink, outcome) = start_upload(&args).await?.map(osbs_registry::Upload::into_sink).unzip();
    let work = Builder {
        home,
        store: store.clone(),
        cancel: cancel.clone(),
        observer: observer(session),
        fetcher: fetcher(&args.allow_address, &cancel)?,
    };
    let parents = Parents::new(store.clone(), args.parent.clone(), args.insecure);
    let args = Arc::new(args);
    let for_thread = Arc::clone(&args);
    let built = tokio::task::spawn_blocking(move || work.build(&for_thread, &parents, sink))
        .await
        .map_err(|e| Failure::new(ErrorKind::Internal, &e))??;
    if let Some(outcome) = outcome {
        // The push below sends the layer again if it did not arrive.
        let _ = outcome.wait().await;
    }
    let outputs = args.result.output.iter().map(|output| deliver(session, &args, output, &store, &built, &cancel));
    futures_util::future::try_join_all(outputs).await?;
    drop(lease);
    tell(session, &args, &built, started);
    Ok(0)
}

fn cancel_on_interrupt(cancel: CancellationToken) -> Result<(), Failure> {
    let mut interrupts = Interrupts::new()?;
    tokio::spawn(async move {
        interrupts.next().await;
        cancel.cancel();
    });
    Ok(())
}

fn tell(session: &Session, args: &ImageBuildArgs, built: &BuiltImage, started: Instant) {
    let whole: u64 = built.image.layers.iter().map(|layer| layer.size).sum();
    session.note(&format!(
        "{} {}: one new layer of {}, {} in all, in {}",
        session.paint().green("built"),
        built.image.image_id(),
        size(built.new_layer.descriptor.size),
        size(whole),
        duration(started.elapsed()),
    ));
    if session.is_verbose() {
        for (what, seconds) in &built.timings {
            session.note(&format!("{seconds:>9.3} s  {what}"));
        }
    }
    if session.wants_json() {
        session.print_json(&result(args, built, started));
    } else {
        session.print(&format!("{}\n", built.image.image_id()));
    }
}

/// What `--output json` shows.
fn result(args: &ImageBuildArgs, built: &BuiltImage, started: Instant) -> serde_json::Value {
    let layers = built.image.layers.iter().zip(&built.image.diff_ids);
    json!({
        "image_id": built.image.image_id(),
        "manifest": built.image.manifest,
        "tags": args.result.tag.iter().map(|tag| tag.with_explicit_tag().to_string()).collect::<Vec<_>>(),
        "parent": built.parent_name,
        "layers": layers
            .map(|(layer, diff_id)| json!({"digest": layer.digest, "size": layer.size, "diff_id": diff_id}))
            .collect::<Vec<_>>(),
        "new_layer": {
            "digest": built.new_layer.descriptor.digest,
            "size": built.new_layer.descriptor.size,
            "uncompressed_size": built.new_layer.uncompressed_size,
            "files": built.new_layer.files,
        },
        "seconds": started.elapsed().as_secs_f64(),
        "timings": built.timings.iter().map(|(what, seconds)| json!({"what": what, "seconds": seconds})).collect::<Vec<_>>(),
    })
}

/// What the building thread owns.
struct Builder {
    home: PathBuf,
    store: Store,
    cancel: CancellationToken,
    observer: Box<dyn BuildObserver>,
    fetcher: WebFetcher,
}

impl Builder {
    fn build(
        self,
        args: &ImageBuildArgs,
        parents: &Parents,
        sink: Option<osbs_registry::UploadSink>,
    ) -> Result<BuiltImage, Failure> {
        let (dockerfile, ignore) = inputs::dockerfile(args)?;
        let build_args: BTreeMap<_, _> = args.build_arg.iter().cloned().collect();
        for remark in inputs::unused_arguments(&dockerfile, &build_args) {
            self.observer.warning(&remark);
        }
        let secrets = inputs::Secrets::new(&args.run.secret)?;
        let platform = args.platform.clone().unwrap_or_else(Platform::native);
        let work = WorkFolder::new(&self.home.join("work")).map_err(|e| Failure::new(ErrorKind::Resource, &e))?;
        let runtime =
            osbs_sandbox::known_runtime(None, &self.home.join("runtime.json")).map_err(|e| Failure::new(e.kind(), &e));
        let mut request =
            BuildRequest::new(&dockerfile, &args.context, parents, platform.architecture(), work.path(), &self.store);
        request.ignore = ignore;
        request.fetcher = Some(&self.fetcher);
        request.clamp_mtime = source_date_epoch(args, &build_args)?;
        request.build_args = build_args;
        request.target.clone_from(&args.target);
        request.labels.clone_from(&args.result.label);
        request.annotations = args.result.annotation.iter().cloned().collect();
        request.compression = args.result.compression;
        request.format = match args.result.format {
            Format::Oci => ImageFormat::Oci,
            Format::Docker => ImageFormat::DockerV2S2,
        };
        request.sink = sink.map(|sink| Box::new(sink) as _);
        request.runtime = runtime.as_ref().ok();
        request.no_runtime = runtime.as_ref().err().map(ToString::to_string);
        request.cgroup = work.cgroup();
        request.network = args.run.network.into();
        request.run_limits = args.run.limits();
        request.user_namespace = args.run.userns.into();
        request.allow_insecure = args.run.allow_insecure;
        request.ssh = inputs::agents(&args.run.ssh)?;
        request.secrets.clone_from(&secrets.files);
        request.cache_dir.clone_from(&args.run.cache_dir);
        let built = osbs_builder::build(request, self.observer.as_ref(), &self.cancel).map_err(|e| e.to_failure())?;
        for tag in &args.result.tag {
            let image = ImageRef { descriptor: built.image.manifest.clone() };
            self.store
                .set_ref(&tag.with_explicit_tag().to_string(), &image, "osbs image build")
                .map_err(|e| Failure::new(e.kind(), &e))?;
        }
        Ok(built)
    }
}

/// The time that later ones become: as given, else the build argument of that name, which Docker's builder takes for
/// it too, else the commit's.
fn source_date_epoch(args: &ImageBuildArgs, build_args: &BTreeMap<String, String>) -> Result<Option<i64>, Failure> {
    if let Some(seconds) = args.result.source_date_epoch {
        return Ok(Some(seconds));
    }
    if let Some(text) = build_args.get("SOURCE_DATE_EPOCH") {
        let wrong =
            || Failure::message(ErrorKind::User, format!("the build argument SOURCE_DATE_EPOCH={text} is no time"));
        return text.parse().map(Some).map_err(|_| wrong().with_hint("write it as seconds since 1970"));
    }
    if !args.result.reproducible {
        return Ok(None);
    }
    Git::new(program_path()).commit_time(&args.context).map(Some).map_err(|e| {
        let hint = "--reproducible takes the time of the commit; outside a git checkout give --source-date-epoch";
        Failure::new(e.kind(), &e).with_hint(hint)
    })
}
