//! The whole build, from request to image.

use crate::commit;
use crate::error::BuildError;
use crate::executor::Executor;
use crate::plan::{Plan, StageParent, Wanted};
use crate::request::{BuildObserver, BuildRequest, BuiltImage};
use crate::stage::Stage;
use crate::stage_root::WorkDir;
use osbs_image::{Store, StoredImage};
use std::time::Instant;
use tokio_util::sync::CancellationToken;

/// Builds one image.
///
/// # Errors
/// See [`BuildError`]. On every way out nothing is left mounted and the work folder is empty.
pub fn build(
    mut request: BuildRequest<'_>,
    observer: &dyn BuildObserver,
    cancel: &CancellationToken,
) -> Result<BuiltImage, BuildError> {
    let (taps, sink) = (std::mem::take(&mut request.taps), request.sink.take());
    let mut timings = Vec::new();
    let started = Instant::now();
    let wanted = Wanted {
        build_args: &request.build_args,
        target: request.target.as_deref(),
        architecture: &request.architecture,
        epoch: request.clamp_mtime,
    };
    let plan = Plan::new(request.dockerfile, &wanted)?;
    let work = WorkDir::new(request.work_dir)?;

    let (stage, unpack) = Executor::new(&request, &plan, &work, observer, cancel).target()?;
    timings.push(("unpack", unpack.as_secs_f64()));
    // Stages side by side unpack at the same time.
    timings.push(("instructions", started.elapsed().saturating_sub(unpack).as_secs_f64()));

    let started = Instant::now();
    let layer = commit::layer(&request, &stage, taps, sink, observer, cancel)?;
    timings.push(("layer", started.elapsed().as_secs_f64()));

    let wanted = match plan.root_parent(plan.target) {
        StageParent::Image { platform: Some(platform), .. } => platform,
        _ => &request.architecture,
    };
    let image = commit::image(&request, &stage, &layer, wanted)?;
    if request.keep_unpacked && request.clamp_mtime.is_none() {
        keep(&stage, &image, request.store);
    }
    let (parent, parent_name) = (stage.image.clone(), stage.image_name.clone());
    drop(stage);

    let started = Instant::now();
    drop(work);
    timings.push(("clean up", started.elapsed().as_secs_f64()));
    Ok(BuiltImage { image, new_layer: layer, parent, parent_name, timings })
}

/// Gives the upper folder to the store as the unpacked form of the new layer, which it is. If that does not work the
/// layer is unpacked when somebody needs it.
fn keep(stage: &Stage, image: &StoredImage, store: &Store) {
    if let ([upper], Some(chain)) = (stage.uppers().as_slice(), image.chain_ids().last()) {
        // Never over a folder that is there, however empty: it may be mounted below another build's stage.
        let (here, flags) = (rustix::fs::CWD, rustix::fs::RenameFlags::NOREPLACE);
        let _ = rustix::fs::renameat_with(here, upper, here, store.layer_path(chain), flags);
    }
}
