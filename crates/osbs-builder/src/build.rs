//! The whole build, from request to image.

use crate::commit;
use crate::error::BuildError;
use crate::executor::Executor;
use crate::kept_layer::keep;
use crate::plan::{Plan, StageParent, Wanted};
use crate::request::{BuildObserver, BuildRequest, BuiltImage};
use crate::stage_root::WorkDir;
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
    for warning in request.dockerfile.warnings() {
        observer.warning(&format!("{}: {}", warning.position, warning.message));
    }
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
    if request.keep_unpacked {
        keep(&stage, &image, request.clamp_mtime, request.store);
    }
    let (parent, parent_name) = (stage.image.clone(), stage.image_name.clone());
    drop(stage);

    let started = Instant::now();
    drop(work);
    timings.push(("clean up", started.elapsed().as_secs_f64()));
    Ok(BuiltImage { image, new_layer: layer, parent, parent_name, timings })
}
