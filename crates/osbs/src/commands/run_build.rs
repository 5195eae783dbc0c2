//! `osbs run-build`: the runner of one build. Started by the local cluster, never by people.

use clap::Args;
use osbs_cluster_local::InsideCommand;
use osbs_types::{BuildName, ErrorKind, Failure};
use std::ffi::OsString;
use std::path::PathBuf;

/// Run one build of a local cluster (started by osbs itself)
#[derive(Debug, Args)]
pub(crate) struct RunBuildArgs {
    /// Folder of the local cluster
    #[arg(long = "home", id = "run_home")]
    home: PathBuf,

    /// Namespace of the build
    #[arg(long = "namespace", id = "run_namespace")]
    namespace: String,

    /// Name of the build
    build: BuildName,
}

/// Runs the build to its end. The build's own failure is in its record, not in the exit code.
pub(crate) fn run(args: RunBuildArgs) -> Result<u8, Failure> {
    let program = std::env::current_exe().map_err(|e| Failure::new(ErrorKind::Resource, &e))?;
    let mut inside = InsideCommand::new(program);
    inside.args = ["inside-build", "--input", "osv3"].map(OsString::from).to_vec();
    inside.env = vec![
        ("PATH".into(), crate::site::program_path()),
        ("OSBS_HOME".into(), args.home.clone().into_os_string()),
        ("LC_ALL".into(), "C.UTF-8".into()),
    ];
    if let Some(conf) = std::env::var_os("OSBS_CONF") {
        inside.env.push(("OSBS_CONF".into(), conf));
    }
    osbs_cluster_local::run_build(&args.home, &args.namespace, &args.build, &inside)
        .map_err(|e| Failure::new(e.kind(), &e))?;
    Ok(0)
}
