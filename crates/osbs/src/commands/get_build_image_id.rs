//! `osbs get-build-image-id`: images of a build and their ids.

use crate::args::OutputArg;
use crate::session::Session;
use clap::Args;
use osbs_cluster::Build;
use osbs_types::Failure;
use serde_json::{Map, Value};

/// Show the images of a build with their ids: what it made, and what it was made from
#[derive(Debug, Args)]
pub(crate) struct GetBuildImageIdArgs {
    #[command(flatten)]
    pub(crate) output: OutputArg,

    /// Name of the build
    build: String,
}

/// Image to id. An image that has no id yet is not there.
fn images(build: &Build) -> Map<String, Value> {
    let annotation = |key: &str| build.annotations.get(key).filter(|text| !text.is_empty());
    let pairs = [
        (Some(&build.output_image), annotation("image-id")),
        (annotation("base-image-name"), annotation("base-image-id")),
    ];
    pairs.into_iter().filter_map(|(name, id)| Some((name?.clone(), Value::from(id?.as_str())))).collect()
}

/// Runs the command.
pub(crate) async fn run(session: &Session, args: GetBuildImageIdArgs) -> Result<u8, Failure> {
    let build = session.find_build(&args.build).await?;
    let images = images(&build);
    if session.wants_json() {
        session.print_json(&images);
        return Ok(0);
    }
    session.note(&format!("{:<18} IMAGE ID", "TAG"));
    for (name, id) in &images {
        session.print(&format!("{name:<18} {}\n", id.as_str().unwrap_or_default()));
    }
    Ok(0)
}
