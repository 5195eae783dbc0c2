//! `osbs run-build`: the runner of one build. Started by the local cluster, never by people.

use crate::args::Global;
use crate::site::{Connector, KERBEROS_CONFIG, kerberos_config, reservations};
use clap::Args;
use osbs_cluster::{Cluster, InsideCommand};
use osbs_types::{BuildName, ErrorKind, Failure};
use std::ffi::OsString;
use std::sync::Arc;

/// Run one build of a local cluster, given by --home and --namespace (started by osbs itself)
#[derive(Debug, Args)]
pub(crate) struct RunBuildArgs {
    /// Name of the build
    build: BuildName,
}

/// Runs the build to its end. The build's own failure is in its record, not in the exit code.
pub(crate) fn run(global: &Global, args: &RunBuildArgs) -> Result<u8, Failure> {
    let (Some(home), Some(namespace)) = (&global.home, &global.namespace) else {
        return Err(Failure::message(ErrorKind::User, "run-build needs --home and --namespace"));
    };
    let program = std::env::current_exe().map_err(|e| Failure::new(ErrorKind::Resource, &e))?;
    let mut inside = InsideCommand::new(program);
    inside.args = ["reactor", "inside-build", "--input", "osv3"].map(OsString::from).to_vec();
    inside.env = vec![
        ("PATH".into(), crate::site::program_path()),
        ("OSBS_HOME".into(), home.clone().into_os_string()),
        ("LC_ALL".into(), "C.UTF-8".into()),
    ];
    if let Some(conf) = std::env::var_os("OSBS_CONF") {
        inside.env.push(("OSBS_CONF".into(), conf));
    }
    inside.env.extend(kerberos_config().map(|path| (KERBEROS_CONFIG.into(), path.into())));
    osbs_cluster_local::run_build(home, namespace, &args.build, &inside).map_err(|e| Failure::new(e.kind(), &e))?;
    // The reactor may have been killed before it could do so. The build is closed: nobody waits for this.
    if let Ok(cluster) = Connector::new(home, None).open(home, namespace) {
        let cluster: Arc<dyn Cluster> = Arc::new(cluster);
        reservations::give_back_at_the_end(&cluster);
    }
    Ok(0)
}
