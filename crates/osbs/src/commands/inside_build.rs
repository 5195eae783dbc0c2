//! `osbs reactor inside-build`: one run of the pipeline, inside a build. Started by the runner; by hand with
//! `--input path`.
//!
//! Puts the outside world together for the reactor: cluster, store, transport, event log, signals.

mod by_hand;
mod dump;
#[cfg(debug_assertions)]
mod hold;

use crate::commands::run_pod;
use crate::session::Session;
use crate::site::{Connector, KERBEROS_CONFIG, SECRETS_ROOT, Site, kubernetes, program_path};
use by_hand::ByHand;
use clap::Args;
use osbs_builder::RunLimits;
use osbs_client::git::Git;
use osbs_cluster::{Build, Cluster, GitSource, Limits, MemoryCluster, NameRule, NewBuild, Script, SecretMount};
use osbs_cluster_local::{Home, build_cgroup};
use osbs_config::ReactorConfig;
use osbs_http::{Transport, TransportConfig};
use osbs_image::Store;
use osbs_reactor::events::{EventSink, FileSink, SystemClock, TextSink};
use osbs_reactor::imaging::Imaging;
use osbs_reactor::input::{Input, InputOptions, read_input};
use osbs_reactor::masking::{MaskingSink, SecretTexts};
use osbs_reactor::{ClientWorkers, Reactor, Run, Services, plugins};
use osbs_types::{BuildName, BuildType, ErrorKind, Event, EventKind, Failure, Level, Phase, Timestamp, quantity};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Carry out a build JSON: all phases, here and now
///
/// Builds start this by themselves. By hand it takes what `osbs build-json` prints, of an orchestrator build (its worker
/// builds are builds of the cluster) or of a worker build; its log goes to standard error. The
/// site's configuration is that of REACTOR_CONFIG, else that of the command line. SIGUSR1 tells what it is doing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    osbs reactor inside-build --input path --input-arg path=build.json\n  \
    osbs reactor inside-build --input env --input-arg env_name=MY_JSON --substitute image=me/web:2\n  \
    osbs reactor inside-build --input path --substitute prebuild_plugins.add_help.help_file=HELP.md\n\n\
    Keys of --input-arg: path (of path, /run/share/build.json if not given), env_name (of env, BUILD_JSON).\n\
    osv3 reads BUILD, SOURCE_URI, SOURCE_REF, OUTPUT_IMAGE, and USER_PARAMS with REACTOR_CONFIG or\n\
    ATOMIC_REACTOR_PLUGINS. auto takes the one that is usable.")]
pub(crate) struct InsideBuildArgs {
    /// Where the build JSON comes from
    #[arg(long, default_value = "auto", value_name = "NAME", value_parser = ["auto", "path", "env", "osv3"])]
    input: String,

    /// Argument of the input plugin (repeatable)
    #[arg(long = "input-arg", value_name = "KEY=VALUE", value_parser = pair)]
    input_arg: Vec<(String, String)>,

    /// Replacement in the build JSON, by dotted key or PHASE_plugins.PLUGIN.ARGUMENT (repeatable)
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    substitute: Vec<(String, String)>,

    /// Accepted, and without effect
    #[arg(long)]
    dont_pull_base_image: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())).ok_or_else(|| "expected KEY=VALUE".to_owned())
}

/// Runs the pipeline; the exit code tells how it ended.
pub(crate) async fn run(session: &Session, args: InsideBuildArgs) -> Result<u8, Failure> {
    let mut env: BTreeMap<String, String> = std::env::vars().collect();
    let in_a_build = env.contains_key("BUILD");
    if !in_a_build {
        by_hand(session, &mut env)?;
    }
    let events = event_sink(env.get("OSBS_EVENTS").map(Path::new), session.level())?;
    let masking = MaskingSink::over(events);
    let events: Arc<dyn EventSink> = dump::Watching::over(Arc::clone(&masking) as Arc<dyn EventSink>)?;
    match prepare_and_run(session, args, env, &events, &masking).await {
        Ok(code) => Ok(code),
        Err(failure) => {
            events.emit(&Event { time: Timestamp::now(), kind: EventKind::Failure(failure.clone()) });
            events.flush();
            Err(failure)
        }
    }
}

/// Outside of a build, configuration and folders are those of the command line.
fn by_hand(session: &Session, env: &mut BTreeMap<String, String>) -> Result<(), Failure> {
    if !env.contains_key("REACTOR_CONFIG") {
        env.insert("REACTOR_CONFIG".to_owned(), session.site()?.reactor_config().text.clone());
    }
    let global = session.global();
    for (key, path) in [("OSBS_HOME", &global.home), ("OSBS_CONF", &global.config)] {
        if let Some(path) = path {
            let path = std::path::absolute(path).map_err(|e| Failure::new(ErrorKind::User, &e))?;
            env.insert(key.to_owned(), path.to_string_lossy().into_owned());
        }
    }
    Ok(())
}

fn event_sink(path: Option<&Path>, level: Level) -> Result<Arc<dyn EventSink>, Failure> {
    match path {
        Some(path) => {
            let sink = FileSink::append(path).map_err(|e| Failure::new(ErrorKind::Resource, &e))?;
            Ok(Arc::new(sink))
        }
        None => Ok(Arc::new(TextSink::new(Box::new(std::io::stderr()), level))),
    }
}

async fn prepare_and_run(
    session: &Session,
    args: InsideBuildArgs,
    env: BTreeMap<String, String>,
    events: &Arc<dyn EventSink>,
    masking: &MaskingSink,
) -> Result<u8, Failure> {
    let cancel = CancellationToken::new();
    cancel_on_term(cancel.clone())?;
    let options = InputOptions {
        name: args.input,
        args: args.input_arg.into_iter().collect(),
        substitutions: args.substitute,
        env: env.clone(),
    };
    let input = read_input(&options).map_err(|e| e.into_failure().in_step("input"))?;
    let place = Place::of(session, &env, &input).await?;
    masking.mask_from_now_on(&secret_texts(&place, &input, &env).await)?;
    #[cfg(debug_assertions)]
    let events = &hold::Holding::over(events, &place.home, &place.build);
    let services = services(&place, &env, events)?;
    let mut run = Run::new(input.build_json, place.build, services, cancel);
    run.user_params = input.user_params.unwrap_or_default();
    run.reactor_config_text = input.reactor_config;
    for note in input.notes {
        run.log().info(note);
    }
    let report = Reactor::new(plugins::all()).run(&mut run).await;
    events.flush();
    Ok(report.outcome.map_or_else(|failure| failure.kind.exit_code(), |()| 0))
}

/// What no log of this build may hold: its secrets, and the passwords of its configuration and its request.
async fn secret_texts(place: &Place, input: &Input, env: &BTreeMap<String, String>) -> SecretTexts {
    let mut texts = SecretTexts::default();
    if let Some(text) = &input.reactor_config {
        texts.add_reactor_config(text);
        for path in SecretTexts::login_files(text) {
            add_files(&mut texts, &path);
        }
    }
    if let Some(path) = env.get("OSBS_CONF") {
        texts.add_file("osbs.conf", &small_file(Path::new(path)));
    }
    texts.add_urls(env.get("USER_PARAMS").map_or("", String::as_str));
    texts.add_urls(&serde_json::to_string(&input.build_json).unwrap_or_default());
    for mount in &place.build.secrets {
        if place.in_pod {
            add_files(&mut texts, Path::new(&mount.mount_path));
            continue;
        }
        // One that cannot be read cannot be shown either.
        let Ok(data) = place.cluster.get_secret(&mount.secret).await else { continue };
        for key in data.keys() {
            texts.add_file(key, data.reveal(key).unwrap_or_default());
        }
    }
    texts
}

/// A file, or the files of a folder. What cannot be read cannot be shown either.
fn add_files(texts: &mut SecretTexts, path: &Path) {
    let inside = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    for file in inside.chain([path.to_owned()]) {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        texts.add_file(&name, &small_file(&file));
    }
}

/// A regular file of at most a megabyte; else nothing.
fn small_file(path: &Path) -> Vec<u8> {
    let is_small = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() <= 1 << 20);
    if is_small { std::fs::read(path).unwrap_or_default() } else { Vec::new() }
}

/// The first SIGTERM or SIGINT cancels the build; further ones change nothing, so that exit plugins always complete.
fn cancel_on_term(cancel: CancellationToken) -> Result<(), Failure> {
    let listen = |kind| signal(kind).map_err(|e| Failure::new(ErrorKind::Resource, &e));
    let (mut term, mut int) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = term.recv() => cancel.cancel(),
                _ = int.recv() => cancel.cancel(),
            }
        }
    });
    Ok(())
}

/// The build, its cluster, its folders.
struct Place {
    home: PathBuf,
    connector: Connector,
    cluster: Arc<dyn Cluster>,
    build: Build,
    work: PathBuf,
    results: PathBuf,
    cgroup: Option<String>,
    in_pod: bool,
}

impl Place {
    async fn of(session: &Session, env: &BTreeMap<String, String>, input: &Input) -> Result<Self, Failure> {
        let home = env.get("OSBS_HOME").map_or_else(|| own_folder(env), PathBuf::from);
        let conf_path = env.get("OSBS_CONF").map(PathBuf::from);
        let connector = Connector::new(&home, conf_path);
        let Some(text) = env.get("BUILD") else {
            let orchestrates = input.build_json.plugins.entry(Phase::Buildstep, "orchestrate_build").is_some();
            let site = if orchestrates { Some(session.site()?) } else { None };
            return Self::alone(home, connector, input, site).await;
        };
        let object: Value = serde_json::from_str(text).map_err(|e| Failure::new(ErrorKind::Internal, &e))?;
        let field = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
        let name: BuildName = field("name").parse().map_err(|e: String| Failure::message(ErrorKind::Internal, e))?;
        let namespace = field("namespace");
        if kubernetes::in_pod() {
            return Self::in_pod(home, connector, &name).await;
        }
        let failed = |e: osbs_cluster::ClusterError| Failure::new(e.kind(), &e);
        let cluster = connector.open(&home, &namespace).map_err(failed)?;
        let build = cluster.get_build(&name).await.map_err(failed)?;
        let paths = Home::new(&home).build(&namespace, &name);
        Ok(Self {
            connector,
            cluster: Arc::new(cluster),
            build,
            work: paths.work(),
            results: paths.results(),
            cgroup: Some(format!("{}/run", build_cgroup(&namespace, &name))),
            home,
            in_pod: false,
        })
    }

    /// In the build's pod all there is belongs to it: cluster, folders, and whatever binds it is the pod's.
    async fn in_pod(home: PathBuf, connector: Connector, name: &BuildName) -> Result<Self, Failure> {
        let cluster = run_pod::open()?;
        let build = cluster.get_build(name).await.map_err(|e| e.to_failure())?;
        let cluster: Arc<dyn Cluster> = Arc::new(cluster.with_secret_mounts(build.secrets.clone()));
        // Workers of a site that says nothing of an image run in this one.
        let connector = connector.with_build_image(build.build_image.clone());
        let (work, results) = (home.join("work"), home.join("results"));
        Ok(Self { home, connector, cluster, build, work, results, cgroup: None, in_pod: true })
    }

    /// Without a record, for someone who tries a build JSON by hand. Where it has worker builds, those are builds of the
    /// site like any others.
    async fn alone(
        home: PathBuf,
        mut connector: Connector,
        input: &Input,
        site: Option<&Site>,
    ) -> Result<Self, Failure> {
        let own = MemoryCluster::new("default", |_| Script::holds());
        // Releases are given to it, so each is another build.
        let name = format!("inside-build-{}-{}", Timestamp::now().as_second(), std::process::id());
        let name: BuildName = name.parse().map_err(|e: String| Failure::message(ErrorKind::Internal, e))?;
        let source = GitSource { uri: input.build_json.source.uri.clone(), git_ref: String::new() };
        let kind = if site.is_some() { BuildType::Orchestrator } else { BuildType::Worker };
        let mut new = NewBuild::new(NameRule::Exact(name), kind, source, input.build_json.image.clone());
        if site.is_some() {
            new.secrets = secrets_of_all(input.reactor_config.as_deref());
        }
        let build = own.create_build(new).await.map_err(|e| Failure::new(e.kind(), &e))?;
        let cluster: Arc<dyn Cluster> = match site {
            None => Arc::new(own),
            Some(site) => {
                connector = Connector::new(site.home(), site.conf_path().map(Path::to_owned));
                Arc::new(ByHand { own, site: site.cluster() })
            }
        };
        let (work, results) = (home.join("work"), home.join("results"));
        Ok(Self { home, connector, cluster, build, work, results, cgroup: None, in_pod: false })
    }
}

/// `required_secrets`: nobody mounts them for it, and what is in them is not shown either.
fn secrets_of_all(config: Option<&str>) -> Vec<SecretMount> {
    let parsed = config.and_then(|text| ReactorConfig::parse(text, "config.yaml").ok());
    let names = parsed.map(|parsed| parsed.value.required_secrets).unwrap_or_default();
    let mount = |secret: String| SecretMount { mount_path: format!("{SECRETS_ROOT}/{secret}"), secret };
    names.into_iter().map(mount).collect()
}

/// Where nobody says where: never below /tmp, where somebody else could have made a folder of that name.
fn own_folder(env: &BTreeMap<String, String>) -> PathBuf {
    let of = |key: &str| env.get(key).filter(|path| !path.is_empty()).map(PathBuf::from);
    let data = of("XDG_DATA_HOME").or_else(|| Some(of("HOME")?.join(".local/share")));
    data.unwrap_or_else(|| PathBuf::from("/var/lib")).join("osbs/inside-build")
}

/// `cpu_limit` and `memory_limit` of the instance that made the build, for each RUN.
fn run_limits(limits: &Limits) -> Result<RunLimits, Failure> {
    let read = |key: &str, text: &Option<String>, number: &dyn Fn(&str) -> Option<u64>| match text {
        None => Ok(None),
        Some(text) => number(text).map(Some).ok_or_else(|| {
            Failure::message(ErrorKind::Policy, format!("{key} = {text} of osbs.conf is no quantity"))
                .with_hint("write it as 500m or 2 for processors, 512Mi or 2Gi for memory")
        }),
    };
    let milli_cpus = read("cpu_limit", &limits.cpu, &|text| quantity::thousandths(text).map(u64::from))?;
    Ok(RunLimits {
        memory: read("memory_limit", &limits.memory, &quantity::bytes)?,
        milli_cpus: milli_cpus.and_then(|number| u32::try_from(number).ok()),
        ..RunLimits::default()
    })
}

fn services(place: &Place, env: &BTreeMap<String, String>, events: &Arc<dyn EventSink>) -> Result<Services, Failure> {
    let store = Store::open(&place.home.join("store")).map_err(|e| Failure::new(e.kind(), &e))?;
    let path = env.get("PATH").cloned().unwrap_or_else(|| program_path().to_string_lossy().into_owned());
    let git = Git::new(&path);
    let workers = ClientWorkers {
        connector: Arc::new(place.connector.clone()),
        namespace: place.build.namespace.clone(),
        fallback_conf: env.get("OSBS_CONF").map(PathBuf::from),
        git: git.clone(),
        scratch_dir: place.work.clone(),
    };
    let mut imaging = Imaging::in_folder(&place.work);
    imaging.results_dir.clone_from(&place.results);
    imaging.cgroup.clone_from(&place.cgroup);
    imaging.run_limits = run_limits(&place.build.limits)?;
    imaging.runtime_memory = place.home.join("runtime.json");
    Ok(Services {
        cluster: Arc::clone(&place.cluster),
        workers: Arc::new(workers),
        events: Arc::clone(events),
        clock: Arc::new(SystemClock),
        work_root: place.work.clone(),
        store,
        imaging,
        transport: Transport::new(TransportConfig::default()),
        program_path: path,
        kerberos_config: env.get(KERBEROS_CONFIG).cloned(),
        git,
        watched_disk: if place.in_pod { place.home.clone() } else { PathBuf::from("/") },
    })
}
