//! `osbs kojid`: a Koji builder that takes container builds.

mod conf;

use crate::follow::Interrupts;
use crate::session::Session;
use crate::site::{Site, unreadable};
use clap::Args;
use conf::KojidConf;
use osbs_client::Osbs;
use osbs_http::{Transport, TransportConfig};
use osbs_koji::{Koji, KojiError, Settings};
use osbs_kojid::{Happening, Kojid};
use osbs_types::{ErrorKind, Failure};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Where Koji's own builder has its configuration.
const SYSTEM_CONF: &str = "/etc/kojid/kojid.conf";
/// Instance of osbs.conf for builds that are not kept (client-and-koji 4.4, step 11).
const SCRATCH_INSTANCE: &str = "scratch";

/// Take container builds from a Koji hub: a builder beside kojid, for the tasks buildContainer and createContainer
///
/// Each task becomes a build of this instance; its log, one file a platform and one with everything, goes to the task as
/// it is written. As many tasks are taken as the cluster has slots for. Builds go on while this program is stopped or
/// upgraded: the next start finds them again, and no task is lost or done twice.
#[derive(Debug, Args)]
#[command(after_help = "Example of a configuration:\n  \
    [kojid]\n  \
    server = https://koji.example.com/kojihub\n  \
    user = builder01.example.com\n  \
    cert = /etc/kojid/client.pem\n  \
    serverca = /etc/kojid/serverca.pem\n  \
    allowed_scms = src.example.com:/containers/*\n\n\
    On the hub, once:\n  \
    koji add-channel container\n  \
    koji add-host builder01.example.com x86_64\n  \
    koji add-host-to-channel builder01.example.com container\n\n\
    Exit codes: 0 stopped by a signal; 1 the configuration; 2 the command line; 3 the hub does not let us in, or another builder works under\n\
    our name; 4 the hub failed.")]
pub(crate) struct KojidArgs {
    /// Configuration, with the keys of Koji's own builder
    #[arg(long, value_name = "FILE", default_value = SYSTEM_CONF)]
    kojid_config: PathBuf,

    /// URL of the hub, instead of the configuration's
    #[arg(long, value_name = "URL")]
    server: Option<String>,

    /// Name of the host on the hub, instead of the configuration's
    #[arg(long, value_name = "NAME")]
    user: Option<String>,

    /// Most tasks at once, should that be fewer than the cluster has slots for
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    max_jobs: Option<u16>,
}

fn failed(error: &KojiError) -> Failure {
    Failure::new(error.kind(), error).with_hint(error.hint())
}

fn read_conf(path: &Path, args: &KojidArgs) -> Result<KojidConf, Failure> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        // Options may say everything.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && path == Path::new(SYSTEM_CONF) => {
            "[kojid]\n".to_owned()
        }
        Err(error) => return Err(unreadable(path, &error)),
    };
    KojidConf::parse(&text, &path.display().to_string(), args.server.as_deref(), args.user.as_deref())
}

/// The client of the instance for builds that are not kept; the same one, if there is none.
fn scratch_osbs(session: &Session) -> Result<Osbs, Failure> {
    let site = session.site()?;
    let has_own = site.settings().conf().is_some_and(|conf| conf.ini().section(SCRATCH_INSTANCE).is_some());
    if !has_own {
        return Ok(site.osbs().clone());
    }
    let mut global = session.global().clone();
    SCRATCH_INSTANCE.clone_into(&mut global.instance);
    Ok(Site::open(&global, &[])?.osbs().clone())
}

/// Runs the command, until a signal.
pub(crate) async fn run(session: &Session, args: KojidArgs) -> Result<u8, Failure> {
    let conf = read_conf(&args.kojid_config, &args)?;
    for complaint in &conf.complaints {
        session.note(&format!("{} {complaint}", session.paint().yellow("warning")));
    }
    let settings = Settings {
        on_retry: Some(Arc::new(|retried: &osbs_koji::Retried| {
            if retried.delay.as_secs() > 0 {
                eprintln!("waiting for the Koji hub {}: {}", retried.hub, retried.reason);
            }
        })),
        ..Settings::default()
    };
    let transport = Transport::new(TransportConfig::default());
    let koji = Koji::new(&transport, conf.server, conf.login, settings).map_err(|error| failed(&error))?;
    let json = session.wants_json();
    let quiet = session.is_quiet();
    let kojid = Kojid {
        koji,
        osbs: Arc::new(session.osbs()?.clone()),
        scratch_osbs: Arc::new(scratch_osbs(session)?),
        allowed_scms: conf.allowed_scms,
        poll: conf.sleeptime,
        max_jobs: args.max_jobs.map(usize::from).or(conf.max_jobs),
        observer: Arc::new(move |happening| show(happening, json, quiet)),
    };
    let mut interrupts = Interrupts::new()?;
    let cancel = CancellationToken::new();
    let mut running = std::pin::pin!(kojid.run(&cancel));
    let ended = tokio::select! {
        ended = &mut running => ended,
        () = interrupts.next() => {
            session.note("stopping; builds go on, and the next start watches them again");
            cancel.cancel();
            running.await
        }
    };
    match ended {
        Ok(()) | Err(KojiError::Cancelled) => Ok(0),
        Err(error) => Err(failed(&error)),
    }
}

/// One line a happening, with the time: on standard error for people, on standard output for programs.
fn show(happening: &Happening, json: bool, quiet: bool) {
    let now = osbs_types::Timestamp::now();
    if json {
        use std::io::Write as _;
        let line = serde_json::json!({"time": now, "message": happening.to_string()});
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    } else if !quiet || matches!(happening, Happening::Trouble { .. }) {
        eprintln!("{now} {happening}");
    }
}

/// What is wrong with the configuration, and where.
fn wrong(problem: String) -> Failure {
    Failure::message(ErrorKind::User, problem).with_hint("osbs kojid --help shows an example of a configuration")
}
