//! Where a finished image goes: a folder, an archive, registries.
//!
//! Must not change the image.

use super::args::{ImageBuildArgs, Output};
use super::parents;
use crate::session::Session;
use crate::terminal::size;
use osbs_builder::BuiltImage;
use osbs_image::{Checksums, Store};
use osbs_registry::{Progress, Registry};
use osbs_types::{ErrorKind, Failure, PullSpec};
use tokio_util::sync::CancellationToken;

fn registry(tag: &PullSpec, insecure: bool) -> Result<Registry, Failure> {
    let host = tag.registry().unwrap_or_default();
    parents::registry(host, insecure)
}

/// Opens an upload of the new layer, where the image is pushed.
pub(super) async fn start_upload(args: &ImageBuildArgs) -> Result<Option<osbs_registry::Upload>, Failure> {
    let Some(tag) = args
        .result
        .tag
        .iter()
        .find(|tag| tag.registry().is_some())
        .filter(|_| args.result.output.contains(&Output::Push))
    else {
        return Ok(None);
    };
    let upload = registry(tag, args.insecure)?.start_upload(tag.repository()).await;
    upload.map(Some).map_err(|e| Failure::new(e.kind(), &e).in_step("push"))
}

/// Brings the image to one place.
pub(super) async fn deliver(
    session: &Session,
    args: &ImageBuildArgs,
    output: &Output,
    store: &Store,
    built: &BuiltImage,
    cancel: &CancellationToken,
) -> Result<(), Failure> {
    let image = &built.image;
    match output {
        Output::Json => {}
        Output::Oci(path) => {
            let name = args.result.tag.first().and_then(PullSpec::tag).unwrap_or("latest");
            osbs_image::write_oci_layout(store, image, path, name).map_err(|e| Failure::new(e.kind(), &e))?;
            session.note(&format!("wrote oci:{}:{name}", path.display()));
        }
        Output::DockerArchive(path) => {
            let compressed = output.is_compressed_archive();
            let names: Vec<_> = args.result.tag.iter().map(|tag| tag.with_explicit_tag().to_string()).collect();
            let (store, image, path, cancel) = (store.clone(), image.clone(), path.clone(), cancel.clone());
            let shown = path.display().to_string();
            let info = tokio::task::spawn_blocking(move || {
                if compressed {
                    osbs_image::write_archive(&store, &image, &names, (&path, Checksums::None), &cancel, &|_| {})
                } else {
                    osbs_image::write_docker_archive_plain(&store, &image, &names, (&path, Checksums::None), &cancel)
                }
            })
            .await
            .map_err(|e| Failure::new(ErrorKind::Internal, &e))?
            .map_err(|e| Failure::new(e.kind(), &e))?;
            session.note(&format!("wrote docker-archive:{shown}, {}", size(info.size)));
        }
        Output::Push => {
            for tag in args.result.tag.iter().filter(|tag| tag.registry().is_some()) {
                let registry = registry(tag, args.insecure)?;
                let pushed = osbs_registry::push(
                    &registry,
                    store,
                    image,
                    tag.repository(),
                    &tag.reference(),
                    &mount_sources(args, built, tag),
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

/// Repositories of the tag's registry that have layers of the image: the parent's, and those pushed to before. What they
/// have is mounted, not sent.
fn mount_sources(args: &ImageBuildArgs, built: &BuiltImage, tag: &PullSpec) -> Vec<String> {
    let parent = built.parent_name.as_deref().map(|name| {
        let replaced = args.parent.iter().find(|(from, _)| from == name);
        replaced.map_or(name, |(_, place)| place.as_str())
    });
    let parent = parent.and_then(|name| name.parse::<PullSpec>().ok());
    let pushed = args.result.tag.iter().take_while(|other| *other != tag).cloned();
    let mut sources: Vec<String> = Vec::new();
    for source in parent.into_iter().chain(pushed).filter(|source| source.registry() == tag.registry()) {
        let repository = source.repository().to_owned();
        if repository != tag.repository() && !sources.contains(&repository) {
            sources.push(repository);
        }
    }
    sources
}
