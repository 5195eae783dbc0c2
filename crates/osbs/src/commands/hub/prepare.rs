//! `osbs hub prepare`: everything that container builds need of a hub, and the configurations of those who call it.
//!
//! May be run again, also after an interrupt: it adds what is missing, and keeps the passwords that it has made.

use super::set_up::{self, ADMINISTRATOR, administer};
use super::{Place, failed};
use crate::session::Session;
use crate::site::unreadable;
use clap::Args;
use osbs_hub::Hub;
use osbs_koji::{Arguments, Value};
use osbs_types::{ErrorKind, Failure};
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// The content generator that builds import as (client-and-koji 6.6).
const GENERATOR: &str = "atomic-reactor";
/// The folder of configurations, in that of the hub.
const FOLDER: &str = "clients";

/// Make all that container builds need: target, packages, accounts, and the configurations of client, builder and builds
#[derive(Debug, Args)]
#[command(
    after_help = "Makes the hub too, if it is new. May be run again: adds what is missing, and keeps the passwords.\n\n\
    Example:\n  \
    osbs hub prepare f43-container --arch x86_64 --arch aarch64 --package web-container \\\n    \
        --allowed-scms 'src.example.com:/containers/*'\n\n\
    Writes into the folder clients of the hub's folder, for their owner only (mode 0600):\n  \
    koji.conf     for who starts and watches builds: osbs koji-build --koji-config FILE, koji -c FILE\n  \
    kojid.conf    for the builder: osbs kojid --kojid-config FILE\n  \
    koji.yaml     to be added to config.yaml: builds are imported and tagged\n  \
    *.password    the password of each account; Koji's own client wants it on its command line:\n                \
        koji -c koji.conf --user NAME --password \"$(cat NAME.password)\" ...\n\n\
    For people and builders on other machines add others: osbs hub add-user, osbs hub add-host."
)]
pub(super) struct PrepareArgs {
    /// What the names of target and tags begin with
    name: String,
    /// Architecture that is built for (repeatable)
    #[arg(long, value_name = "ARCH", required = true)]
    arch: Vec<String>,
    /// Package that may be built: the Dockerfile's label com.redhat.component (repeatable)
    #[arg(long, value_name = "NAME")]
    package: Vec<String>,
    /// Repositories that the builder takes, as kojid.conf has it (repeatable) [default: none]
    #[arg(long, value_name = "HOST:PATH")]
    allowed_scms: Vec<String>,
    /// Account of who starts builds
    #[arg(long, value_name = "NAME", default_value = "builds")]
    user: String,
    /// Account of the builder, which is a host of the hub
    #[arg(long, value_name = "NAME", default_value = "builder1")]
    host: String,
    /// Account that imports builds
    #[arg(long, value_name = "NAME", default_value = "importer")]
    importer: String,
    /// URL of the hub, as the configurations name it [default: where hub.conf says that it listens]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

pub(super) async fn run(session: &Session, place: &Place, args: &PrepareArgs) -> Result<u8, Failure> {
    let names = [ADMINISTRATOR, &args.user, &args.host, &args.importer];
    if let Some(twice) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
        let problem = format!("{} cannot be two accounts", twice.1);
        return Err(Failure::message(ErrorKind::User, problem).with_hint("name others by --user, --host, --importer"));
    }
    if let Some(name) = names.iter().find(|name| name.contains('/')) {
        let problem = format!("{name} cannot be the name of the account: its password lies in a file of that name");
        return Err(Failure::message(ErrorKind::User, problem));
    }
    // Before a hub is made for nothing.
    for name in names {
        set_up::check_name("user", name)?;
    }
    set_up::check_name("target", &args.name)?;
    args.package.iter().try_for_each(|name| set_up::check_name("package", name))?;
    osbs_hub::check_arches(&args.arch).map_err(|fault| set_up::refused(&fault))?;
    let addresses = Addresses::new(place, args)?;
    if place.is_new()
        || !Hub::open(place.conf.hub_config(&place.dir))
            .and_then(|hub| hub.has_administrator())
            .map_err(|error| failed(&error))?
    {
        set_up::make(session, place, ADMINISTRATOR)?;
    }
    let hub = place.open()?;
    let target = make_target(&hub, args).await?;
    let written = Written::new(place, addresses)?;
    let user = account(&hub, &written.folder, &args.user)?;
    for package in &args.package {
        let arguments = Arguments::of([Value::from(&target), package.into(), Value::from(&args.user)]);
        administer(&hub, "packageListAdd", arguments).await?;
    }
    make_host(&hub, args).await?;
    let host = account(&hub, &written.folder, &args.host)?;
    account(&hub, &written.folder, &args.importer)?;
    hub.allow_import(&args.importer, GENERATOR).map_err(|error| failed(&error))?;
    for (name, text) in [
        ("koji.conf", written.of_client(&args.user, &user)),
        ("kojid.conf", written.of_builder(args, &host)),
        ("koji.yaml", written.of_builds(&args.importer)),
    ] {
        write(&written.folder.join(name), &text)?;
        session.print(&format!("{}\n", written.folder.join(name).display()));
    }
    session.note(&format!(
        "builds are asked for with the target {target}; osbs hub prepare --help says which file is whose"
    ));
    Ok(0)
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    set_up::write_secret(path, text.trim_end()).map_err(|error| Failure::new(ErrorKind::Resource, &error))
}

/// Makes the target with its tags, or gives a known one these architectures; its name.
async fn make_target(hub: &Hub, args: &PrepareArgs) -> Result<String, Failure> {
    let (build, target) = (format!("{}-build", args.name), format!("{}-candidate", args.name));
    let arches = args.arch.join(" ");
    if administer(hub, "getTag", Arguments::of([Value::from(&target)])).await? == Value::Nil {
        administer(hub, "createTag", Arguments::of([Value::from(&target)])).await?;
    }
    let known = administer(hub, "getTag", Arguments::of([Value::from(&build)])).await?;
    if known == Value::Nil {
        let arguments = Arguments::of([Value::from(&build)]).named("arches", arches).named("parent", &target);
        administer(hub, "createTag", arguments).await?;
    } else if known.get("arches").as_str() != Some(&arches) {
        administer(hub, "editTag2", Arguments::of([Value::from(&build)]).named("arches", arches)).await?;
    }
    if administer(hub, "getBuildTarget", Arguments::of([Value::from(&target)])).await? == Value::Nil {
        let arguments = Arguments::of([Value::from(&target), Value::from(&build), Value::from(&target)]);
        administer(hub, "createBuildTarget", arguments).await?;
    }
    Ok(target)
}

/// Makes the host, in the channels of container builds.
async fn make_host(hub: &Hub, args: &PrepareArgs) -> Result<(), Failure> {
    let name = || Value::from(&args.host);
    if administer(hub, "getHost", Arguments::of([name()])).await? == Value::Nil {
        set_up::make_host(hub, &args.host, &args.arch, set_up::CAPACITY).await?;
    }
    let channels = administer(hub, "listChannels", Arguments::of([name()])).await?;
    for channel in set_up::CHANNELS {
        let is_in =
            channels.as_array().is_some_and(|known| known.iter().any(|one| one.get("name").as_str() == Some(channel)));
        if !is_in {
            set_up::add_to_channel(hub, &args.host, channel).await?;
        }
    }
    Ok(())
}

/// Makes an account with the password that lies in its file, or with a new one, which is put there; the password.
fn account(hub: &Hub, folder: &Path, name: &str) -> Result<String, Failure> {
    let path = folder.join(format!("{name}.password"));
    let kept = match fs::read_to_string(&path) {
        Ok(text) => text.lines().next().map(str::to_owned).filter(|line| !line.is_empty()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(unreadable(&path, &error)),
    };
    let password = kept.unwrap_or_else(set_up::new_password);
    hub.set_user(name, Some(&password), &[]).map_err(|error| failed(&error))?;
    write(&path, &password)?;
    Ok(password)
}

/// Where the hub is.
struct Addresses {
    /// `http://HOST:PORT`.
    site: String,
    /// `http://HOST:PORT/kojihub`.
    hub: String,
}

impl Addresses {
    fn new(place: &Place, args: &PrepareArgs) -> Result<Self, Failure> {
        let scheme = if place.conf.tls.is_some() { "https" } else { "http" };
        let hub = args.url.clone().unwrap_or_else(|| format!("{scheme}://{}/kojihub", place.conf.listen));
        let Some(site) = hub.trim_end_matches('/').strip_suffix("/kojihub").map(str::to_owned) else {
            let problem = format!("{hub} is no URL of a hub: it does not end in /kojihub");
            return Err(Failure::message(ErrorKind::User, problem));
        };
        Ok(Self { site, hub })
    }
}

/// What the configurations say alike.
struct Written {
    folder: PathBuf,
    site: String,
    hub: String,
}

impl Written {
    fn new(place: &Place, Addresses { site, hub }: Addresses) -> Result<Self, Failure> {
        let resource = |error: std::io::Error| Failure::new(ErrorKind::Resource, &error);
        let folder = place.dir.canonicalize().map_err(resource)?.join(FOLDER);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(resource)?;
        Ok(Self { folder, site, hub })
    }

    fn of_client(&self, user: &str, password: &str) -> String {
        let (hub, site) = (ini(&self.hub), ini(&self.site));
        format!(
            "# Koji's client: koji -c FILE ..., osbs koji-build --koji-config FILE ...\n[koji]\nserver = {hub}\n\
             topurl = {site}/kojifiles\nweburl = {site}/koji\nauthtype = password\n\
             # The next two are read by osbs; koji itself takes --user and --password.\nuser = {user}\npassword = {}\n\
             poll_interval = 1\n",
            ini(password)
        )
    }

    fn of_builder(&self, args: &PrepareArgs, password: &str) -> String {
        format!(
            "# The builder: osbs kojid --kojid-config FILE\n[kojid]\nserver = {}\nuser = {}\npassword = {}\nsleeptime = 1\n\
             # Repositories that are built: HOST:PATH, with *, separated by spaces; none if it is empty.\n\
             allowed_scms = {}\n",
            ini(&self.hub),
            args.host,
            ini(password),
            ini(&args.allowed_scms.join(" "))
        )
    }

    fn of_builds(&self, importer: &str) -> String {
        let text = |value: &str| format!("'{}'", value.replace('\'', "''"));
        let password = self.folder.join(format!("{importer}.password"));
        format!(
            "# To be added to config.yaml: builds are imported and tagged.\nkoji:\n  hub_url: {}\n  root_url: {}\n  auth:\n    \
             username: {}\n    password_path: {}\n",
            text(&self.hub),
            text(&format!("{}/kojifiles", self.site)),
            text(importer),
            text(&password.display().to_string())
        )
    }
}

/// A value of an INI file: a percent sign is written twice.
fn ini(value: &str) -> String {
    value.replace('%', "%%")
}
