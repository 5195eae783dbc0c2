//! What makes a hub useful: users, hosts, targets, packages. All of it can be done by Koji's own programs too.

use super::conf::EXAMPLE;
use super::{Place, failed};
use crate::session::Session;
use crate::site::unreadable;
use clap::Args;
use osbs_hub::Hub;
use osbs_koji::{Arguments, Fault, Value};
use osbs_types::{ErrorKind, Failure};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The administrator of a new hub, as Koji's documents call it.
pub(super) const ADMINISTRATOR: &str = "kojiadmin";
/// The channels of container builds.
pub(super) const CHANNELS: [&str; 2] = ["container", "container-binary"];
/// How much a host takes at a time, unless said.
pub(super) const CAPACITY: f64 = 10.0;

/// Make a new hub with an administrator
#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// Name of the administrator
    #[arg(long, value_name = "NAME", default_value = ADMINISTRATOR)]
    admin: String,
}

/// Add a user, or give a known one another password
#[derive(Debug, Args)]
pub(super) struct AddUserArgs {
    /// Name of the user
    name: String,
    /// Permission to grant: admin, tag, target, host, ... (repeatable)
    #[arg(long, value_name = "NAME")]
    permission: Vec<String>,
    /// Content generator that the user may import as; made if it is new (repeatable)
    #[arg(long, value_name = "NAME")]
    content_generator: Vec<String>,
    /// File with the password [default: one is made and printed]
    #[arg(long, value_name = "PATH")]
    password_file: Option<PathBuf>,
}

/// Add a host, which takes tasks (`osbs kojid` logs in as one)
#[derive(Debug, Args)]
pub(super) struct AddHostArgs {
    /// Name of the host, which is its user's name too
    name: String,
    /// Architecture that it builds for (repeatable)
    #[arg(long, value_name = "ARCH", required = true)]
    arch: Vec<String>,
    /// Channel that it takes tasks of (repeatable)
    #[arg(long, value_name = "NAME", default_values = CHANNELS)]
    channel: Vec<String>,
    /// How much it takes at a time
    #[arg(long, value_name = "NUMBER", default_value_t = CAPACITY)]
    capacity: f64,
    /// File with the password [default: one is made and printed]
    #[arg(long, value_name = "PATH")]
    password_file: Option<PathBuf>,
}

/// Add a build target: tags NAME-build and NAME-candidate, and the target NAME-candidate between them
#[derive(Debug, Args)]
pub(super) struct AddTargetArgs {
    /// What the names begin with
    name: String,
    /// Architecture that is built for (repeatable)
    #[arg(long, value_name = "ARCH", required = true)]
    arch: Vec<String>,
}

/// Let a package be built for a target
#[derive(Debug, Args)]
pub(super) struct AddPackageArgs {
    /// The target, or a tag
    target: String,
    /// The package: the Dockerfile's label com.redhat.component
    package: String,
    /// Whose package it is
    #[arg(long, value_name = "USER", default_value = ADMINISTRATOR)]
    owner: String,
}

/// Call any method of the hub as its administrator, and show the answer as JSON
#[derive(Debug, Args)]
#[command(after_help = "Arguments are JSON where they are, else text:\n  \
    osbs hub call getTag f43-build\n  \
    osbs hub call createTag f43-build 'arches=\"x86_64 aarch64\"' locked=true")]
pub(super) struct CallArgs {
    /// Name of the method
    method: String,
    /// Its arguments: VALUE, or NAME=VALUE
    arguments: Vec<String>,
}

pub(super) fn init(session: &Session, place: &Place, args: &InitArgs) -> Result<u8, Failure> {
    if !place.is_new() {
        return Err(Failure::message(ErrorKind::User, format!("{} holds a hub already", place.dir.display()))
            .with_hint("osbs hub serve runs it"));
    }
    make(session, place, &args.admin)?;
    Ok(0)
}

/// Makes the folder, its hub.conf and the administrator, whose password lies beside it.
pub(super) fn make(session: &Session, place: &Place, administrator: &str) -> Result<(), Failure> {
    check_name("user", administrator)?;
    let resource = |error: std::io::Error| Failure::new(ErrorKind::Resource, &error);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&place.dir).map_err(resource)?;
    let hub = Hub::open(place.conf.hub_config(&place.dir)).map_err(|error| failed(&error))?;
    let password = new_password();
    let kept = place.dir.join(format!("{administrator}.password"));
    write_secret(&kept, &password).map_err(resource)?;
    let conf = place.dir.join("hub.conf");
    if !conf.exists() {
        fs::write(&conf, EXAMPLE).map_err(resource)?;
    }
    hub.set_user(administrator, Some(&password), &["admin"]).map_err(|error| failed(&error))?;
    session.note(&format!("a new hub in {}", place.dir.display()));
    session.note(&format!("its administrator is {administrator}, the password is in {}", kept.display()));
    Ok(())
}

/// Refuses what can be no name, before anything is done.
pub(super) fn check_name(what: &str, name: &str) -> Result<(), Failure> {
    osbs_hub::check_name(what, name).map_err(|fault| refused(&fault))
}

pub(super) fn write_secret(path: &Path, secret: &str) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    writeln!(file, "{secret}")
}

/// More than 140 random bits.
pub(super) fn new_password() -> String {
    const LETTERS: &[u8] = b"abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    (0..24).map(|_| char::from(LETTERS[rand::random_range(0..LETTERS.len())])).collect()
}

/// The password of the file, or a new one.
fn password(file: Option<&Path>) -> Result<(String, bool), Failure> {
    let Some(path) = file else { return Ok((new_password(), true)) };
    let text = fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    let line = text.lines().next().unwrap_or_default().to_owned();
    if line.is_empty() {
        return Err(Failure::message(ErrorKind::User, format!("{} holds no password", path.display())));
    }
    Ok((line, false))
}

pub(super) fn add_user(session: &Session, place: &Place, args: &AddUserArgs) -> Result<u8, Failure> {
    let hub = place.open()?;
    set_password(session, &hub, &args.name, args.password_file.as_deref(), &args.permission)?;
    for generator in &args.content_generator {
        hub.allow_import(&args.name, generator).map_err(|error| failed(&error))?;
    }
    Ok(0)
}

fn set_password(
    session: &Session,
    hub: &Hub,
    name: &str,
    file: Option<&Path>,
    permissions: &[String],
) -> Result<(), Failure> {
    let (password, is_new) = password(file)?;
    let permissions: Vec<&str> = permissions.iter().map(String::as_str).collect();
    hub.set_user(name, Some(&password), &permissions).map_err(|error| failed(&error))?;
    if is_new {
        session.note(&format!("the password of {name}, shown once:"));
        session.print(&format!("{password}\n"));
    }
    Ok(())
}

/// The hub is this process: what it refuses is what was asked for.
pub(super) fn refused(fault: &Fault) -> Failure {
    Failure::new(ErrorKind::User, fault)
}

pub(super) async fn administer(hub: &Hub, method: &str, arguments: Arguments) -> Result<Value, Failure> {
    hub.administer(method, arguments).await.map_err(|fault| refused(&fault))
}

pub(super) async fn add_host(session: &Session, place: &Place, args: &AddHostArgs) -> Result<u8, Failure> {
    let hub = place.open()?;
    make_host(&hub, &args.name, &args.arch, args.capacity).await?;
    for channel in &args.channel {
        add_to_channel(&hub, &args.name, channel).await?;
    }
    set_password(session, &hub, &args.name, args.password_file.as_deref(), &[])?;
    Ok(0)
}

/// Makes a host that takes nothing yet.
pub(super) async fn make_host(hub: &Hub, name: &str, arches: &[String], capacity: f64) -> Result<(), Failure> {
    let arches = Value::Array(arches.iter().map(Value::from).collect());
    administer(hub, "addHost", Arguments::of([name.into(), arches])).await?;
    administer(hub, "editHost", Arguments::of([name.into()]).named("capacity", capacity)).await?;
    Ok(())
}

/// Lets a host take tasks of a channel, which is made if it is new.
pub(super) async fn add_to_channel(hub: &Hub, host: &str, channel: &str) -> Result<(), Failure> {
    let arguments = Arguments::of([host.into(), channel.into()]).named("create", true);
    administer(hub, "addHostToChannel", arguments).await?;
    Ok(())
}

pub(super) async fn add_target(session: &Session, place: &Place, args: &AddTargetArgs) -> Result<u8, Failure> {
    let hub = place.open()?;
    let (build, candidate) = (format!("{}-build", args.name), format!("{}-candidate", args.name));
    let arches = args.arch.join(" ");
    administer(&hub, "createTag", Arguments::of([Value::from(&candidate)])).await?;
    let arguments = Arguments::of([Value::from(&build)]).named("arches", arches).named("parent", &candidate);
    administer(&hub, "createTag", arguments).await?;
    let arguments = Arguments::of([Value::from(&candidate), Value::from(&build), Value::from(&candidate)]);
    administer(&hub, "createBuildTarget", arguments).await?;
    session.print(&format!("{candidate}\n"));
    Ok(0)
}

pub(super) async fn add_package(_: &Session, place: &Place, args: &AddPackageArgs) -> Result<u8, Failure> {
    let hub = place.open()?;
    let target = administer(&hub, "getBuildTarget", Arguments::of([Value::from(&args.target)])).await?;
    let tag = target.get("dest_tag_name").as_str().unwrap_or(&args.target);
    let arguments = Arguments::of([tag.into(), Value::from(&args.package), Value::from(&args.owner)]);
    administer(&hub, "packageListAdd", arguments).await?;
    Ok(0)
}

pub(super) async fn call(session: &Session, place: &Place, args: &CallArgs) -> Result<u8, Failure> {
    let mut arguments = Arguments::none();
    for argument in &args.arguments {
        let is_name = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        match argument.split_once('=').filter(|(name, _)| is_name(name)) {
            Some((name, value)) => arguments = arguments.named(name, value_of(value)),
            None => arguments.positional.push(value_of(argument)),
        }
    }
    let answer = administer(&place.open()?, &args.method, arguments).await?;
    session.print_json(&answer.to_json());
    Ok(0)
}

fn value_of(text: &str) -> Value {
    serde_json::from_str(text).map_or_else(|_| Value::from(text), |json| Value::from_json(&json))
}
