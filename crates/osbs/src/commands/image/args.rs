//! The options of `osbs image build`: what each means, in which form it is written, and what does not go together.
//!
//! Reads neither files nor environment, except where an option says so.

use super::values::{
    Memory, Pair, SecretSource, SshAgent, compression, cpus, duration, memory, named_secret, pair, pair_or_environment,
    ssh_agent,
};
use clap::{Args, ValueEnum};
use osbs_builder::{RunLimits, RunNetwork, UserNamespace};
use osbs_image::Compression;
use osbs_types::{ErrorKind, Failure, Platform, PullSpec};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Build an image of a Dockerfile, with nothing else set up
///
/// Parents come from registries (FROM fedora:40) or from folders (FROM oci:./base). The image gets one new layer.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    osbs image build . --tag localhost:5000/web:1 --output push\n  \
    osbs image build . --output oci:/tmp/web --target test --build-arg VERSION=2\n  \
    osbs image build . --output docker-archive:web.tar.gz --reproducible --memory 2g --run-timeout 20m\n  \
    osbs image build . --output oci:/tmp/web --secret id=token,src=token.txt --ssh default\n\n\
    An ignore file is read: FILE.dockerignore beside the Dockerfile FILE, else .dockerignore of the context.\n\
    What of the Dockerfile is served, and what differs from Docker: docs/user.md, \"Dockerfile\".")]
pub(super) struct ImageBuildArgs {
    /// The build context
    #[arg(default_value = ".", value_name = "DIR")]
    pub(super) context: PathBuf,

    /// The Dockerfile, - for standard input [default: DIR/Dockerfile]
    #[arg(long, short, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,

    /// Value of an ARG; without =VALUE that of the environment (repeatable)
    #[arg(long, value_name = "NAME[=VALUE]", value_parser = pair_or_environment)]
    pub(super) build_arg: Vec<Pair>,

    /// The stage to build: its name or number
    #[arg(long, value_name = "STAGE")]
    pub(super) target: Option<String>,

    /// What the image is for [default: this machine]
    #[arg(long, value_name = "P")]
    pub(super) platform: Option<Platform>,

    /// A parent from somewhere else: NAME=oci:PATH or NAME=REGISTRY/REPOSITORY:TAG (repeatable)
    #[arg(long, value_name = "NAME=WHERE", value_parser = pair)]
    pub(super) parent: Vec<Pair>,

    /// Registries may use plain HTTP or certificates that nobody signed
    #[arg(long)]
    pub(super) insecure: bool,

    /// Address, network or host that ADD may fetch from though it is not public: 10.1.2.3, 10.0.0.0/8, HOST
    /// (repeatable)
    #[arg(long, value_name = "WHERE")]
    pub(super) allow_address: Vec<String>,

    #[command(flatten)]
    pub(super) result: ResultArgs,

    #[command(flatten)]
    pub(super) run: RunArgs,
}

/// What the image says of itself, and where it goes.
#[derive(Debug, Args)]
#[command(next_help_heading = "The image")]
pub(super) struct ResultArgs {
    /// Where the image goes: oci:PATH, docker-archive:FILE (compressed when FILE ends in gz), or push (repeatable);
    /// and with json the result is told as JSON
    #[arg(long, short, value_name = "WHERE", required = true)]
    pub(super) output: Vec<Output>,

    /// Name of the image: [REGISTRY/]REPOSITORY[:TAG] (repeatable)
    #[arg(long, short, value_name = "NAME")]
    pub(super) tag: Vec<PullSpec>,

    /// One more label (repeatable)
    #[arg(long, value_name = "K=V", value_parser = pair)]
    pub(super) label: Vec<Pair>,

    /// An annotation of the manifest, which is an OCI one then (repeatable)
    #[arg(long, value_name = "K=V", value_parser = pair)]
    pub(super) annotation: Vec<Pair>,

    /// Media types of the image
    #[arg(long, value_enum, default_value = "oci")]
    pub(super) format: Format,

    /// Compression of the new layer: gzip[:LEVEL], zstd[:LEVEL] or none
    #[arg(long, value_name = "METHOD", default_value = "gzip", value_parser = compression)]
    pub(super) compression: Compression,

    /// Take times later than this (seconds since 1970) as this; two builds then give the same digest
    #[arg(long, value_name = "SECONDS", env = "SOURCE_DATE_EPOCH")]
    pub(super) source_date_epoch: Option<i64>,

    /// The same with the time of the commit that is checked out in the context, unless a time is given
    #[arg(long)]
    pub(super) reproducible: bool,
}

/// What commands of RUN get and may take.
#[derive(Debug, Args)]
#[command(next_help_heading = "RUN")]
pub(super) struct RunArgs {
    /// A secret for --mount=type=secret: id=ID,src=FILE or id=ID,env=NAME (repeatable)
    #[arg(long, value_name = "id=ID,src=FILE", value_parser = named_secret)]
    pub(super) secret: Vec<(String, SecretSource)>,

    /// An SSH agent for --mount=type=ssh; without SOCKET that of SSH_AUTH_SOCK (repeatable)
    #[arg(long, value_name = "ID[=SOCKET]", value_parser = ssh_agent)]
    pub(super) ssh: Vec<SshAgent>,

    /// Network of commands that do not choose theirs by --network
    #[arg(long, value_enum, default_value = "host", value_name = "WHICH")]
    pub(super) network: Network,

    /// Folder that keeps what --mount=type=cache holds for the next build [default: gone with the build]
    #[arg(long, value_name = "DIR")]
    pub(super) cache_dir: Option<PathBuf>,

    /// Most memory of one command, swap included: 512m, 2g, 1Gi
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    memory: Option<Memory>,

    /// Most processes and threads of one command
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pids_limit: Option<u32>,

    /// Processors that one command may use: 2, 1.5, 500m
    #[arg(long, value_name = "NUMBER", value_parser = cpus)]
    cpus: Option<u32>,

    /// How long one command may take: 90s, 20m, 1h30m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    run_timeout: Option<Duration>,

    /// Whether commands get a user namespace, in which their root is nobody outside
    #[arg(long, value_enum, default_value = "auto", value_name = "WHEN")]
    pub(super) userns: Userns,

    /// Carry out RUN --security=insecure, which can take over this machine
    #[arg(long)]
    pub(super) allow_insecure: bool,
}

impl RunArgs {
    pub(super) fn limits(&self) -> RunLimits {
        RunLimits {
            memory: self.memory.map(|Memory(bytes)| bytes),
            pids: self.pids_limit,
            milli_cpus: self.cpus,
            time: self.run_timeout,
        }
    }
}

/// `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// OCI
    Oci,
    /// Docker v2 schema 2
    Docker,
}

/// `--network`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Network {
    /// That of this machine
    #[value(alias = "default")]
    Host,
    /// Nothing but loopback
    None,
}

impl From<Network> for RunNetwork {
    fn from(network: Network) -> Self {
        match network {
            Network::Host => Self::Host,
            Network::None => Self::None,
        }
    }
}

/// `--userns`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Userns {
    /// Where this machine can; else the log says why not
    Auto,
    /// An error where it cannot
    Always,
    /// Never: commands can make device nodes then
    Off,
}

impl From<Userns> for UserNamespace {
    fn from(when: Userns) -> Self {
        match when {
            Userns::Auto => Self::Auto,
            Userns::Always => Self::Always,
            Userns::Off => Self::Off,
        }
    }
}

/// Where an image goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Output {
    Oci(PathBuf),
    DockerArchive(PathBuf),
    Push,
    /// No place: the form of what is told.
    Json,
}

impl Output {
    pub(super) fn is_compressed_archive(&self) -> bool {
        let compressed =
            |path: &PathBuf| path.extension().is_some_and(|extension| extension == "gz" || extension == "tgz");
        matches!(self, Self::DockerArchive(path) if compressed(path))
    }
}

impl FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("oci", path)) if !path.is_empty() => Ok(Self::Oci(path.into())),
            Some(("docker-archive", path)) if !path.is_empty() => Ok(Self::DockerArchive(path.into())),
            None if text == "push" => Ok(Self::Push),
            None if text == "json" => Ok(Self::Json),
            _ => Err("expected oci:PATH, docker-archive:FILE, push or json".to_owned()),
        }
    }
}

impl ImageBuildArgs {
    /// What does not go together.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let user = |message: String, hint: &str| Err(Failure::message(ErrorKind::User, message).with_hint(hint));
        let result = &self.result;
        if !self.context.is_dir() {
            let message = format!("the build context {} is not a folder", self.context.display());
            return user(message, "name the folder that COPY takes files from; the Dockerfile is named by --file");
        }
        if result.output.iter().all(|output| *output == Output::Json) {
            return user("the image goes nowhere".into(), "say where: --output oci:PATH, docker-archive:FILE or push");
        }
        if result.output.contains(&Output::Push) && !result.tag.iter().any(|tag| tag.registry().is_some()) {
            return user(
                "push needs a name with a registry".into(),
                "for example: --tag localhost:5000/web:1 --output push",
            );
        }
        if !result.annotation.is_empty() && result.format == Format::Docker {
            return user(
                "only OCI manifests have annotations".into(),
                "leave --format docker out, or write --label instead of --annotation",
            );
        }
        Ok(())
    }

    /// The Dockerfile; `None`: standard input.
    pub(super) fn dockerfile(&self) -> Option<PathBuf> {
        match &self.file {
            None => Some(self.context.join("Dockerfile")),
            Some(path) if path.as_os_str() == "-" => None,
            Some(path) => Some(path.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs() {
        assert_eq!("oci:a/b".parse(), Ok(Output::Oci("a/b".into())));
        assert_eq!("docker-archive:x.tar.gz".parse(), Ok(Output::DockerArchive("x.tar.gz".into())));
        assert_eq!("push".parse(), Ok(Output::Push));
        assert_eq!("json".parse(), Ok(Output::Json));
        assert!("oci:".parse::<Output>().is_err());
        assert!("docker:x".parse::<Output>().is_err());
    }
}
