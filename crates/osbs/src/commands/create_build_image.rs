//! `osbs create-build-image`: an image that holds this program and what a build needs, made by our own builder.
//!
//! Writes a Dockerfile and its context, and leaves the rest to `osbs image build`.

mod host_programs;

use crate::commands::image;
use crate::session::Session;
use clap::Args;
use host_programs::Collection;
use osbs_types::{ErrorKind, Failure};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Programs that every build asks for; those of `all` must be there, of the others one.
const ALL: [&str; 5] = ["git", "sh", "cp", "getent", "setpriv"];
const RUNTIMES: [&str; 3] = ["runc", "crun", "youki"];
/// Which give a user namespace its ids, and by which capability (`CAP_SETUID`, `CAP_SETGID`).
const ID_MAPPERS: [(&str, u32); 2] = [("newuidmap", 7), ("newgidmap", 6)];
/// Where the program is in the image.
const OSBS: &str = "usr/bin/osbs";

/// Make the image that holds the reactor: this program, git and an OCI runtime
///
/// Without --base it is made of the programs of this machine, with the libraries they need and nothing else.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    osbs create-build-image --tag localhost:5000/osbs-buildroot:1 -o push\n  \
    osbs create-build-image --base fedora:40 --run 'dnf -y install git runc' --tag buildroot:1 -o oci:/tmp/buildroot\n  \
    osbs create-build-image --tag buildroot:1 -o docker-archive:buildroot.tar.gz -- --reproducible\n\n\
    The image runs `osbs --verbose reactor inside-build`. See docs/administrator.md, \"Building a buildroot\".")]
pub(crate) struct CreateBuildImageArgs {
    /// The image to start from: [REGISTRY/]REPOSITORY[:TAG] or oci:PATH. It must have git and runc, or --run install them
    #[arg(long, value_name = "IMAGE")]
    base: Option<String>,

    /// Command to run in the base image first (repeatable)
    #[arg(long = "run", value_name = "COMMAND", requires = "base")]
    commands: Vec<String>,

    /// The program to put in, instead of this one
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,

    /// Name of the image: [REGISTRY/]REPOSITORY[:TAG] (repeatable)
    #[arg(long, short, value_name = "NAME")]
    tag: Vec<String>,

    /// Where the image goes: oci:PATH, docker-archive:FILE, or push (repeatable)
    #[arg(long, short, value_name = "WHERE", required = true)]
    output: Vec<String>,

    /// Further options of osbs image build
    #[arg(last = true, value_name = "OPTION")]
    more: Vec<OsString>,
}

/// Runs the command.
pub(crate) async fn run(session: &Session, args: CreateBuildImageArgs) -> Result<u8, Failure> {
    let place = session.site()?.home().join("work");
    let failed = |path: &Path, e: std::io::Error| {
        Failure::message(ErrorKind::Resource, format!("the work folder {} cannot be written: {e}", path.display()))
    };
    std::fs::create_dir_all(&place).map_err(|e| failed(&place, e))?;
    let context = tempfile::Builder::new().prefix("build-image-").tempdir_in(&place).map_err(|e| failed(&place, e))?;
    fill(&args, context.path())?;
    image::build_from(session, words(&args, context.path())).await
}

/// Writes the context: the Dockerfile and the files.
fn fill(args: &CreateBuildImageArgs, context: &Path) -> Result<(), Failure> {
    let root = context.join("root");
    let mut files = Collection::new(&root)?;
    let program = match &args.program {
        Some(path) => path.clone(),
        None => std::env::current_exe().map_err(|e| Failure::new(ErrorKind::Resource, &e))?,
    };
    files.add_as(&program, OSBS)?;
    if args.base.is_none() {
        files.add_libraries(&program)?;
        for name in ALL {
            files.add_program(name)?;
        }
        files.add_one_of(&RUNTIMES)?;
        files.add_git_helpers()?;
        for (name, capability) in ID_MAPPERS {
            files.add_id_mapper(name, capability)?;
        }
        files.add_system_files()?;
    }
    files.add_sub_ids()?;
    let path = context.join("Dockerfile");
    std::fs::write(&path, dockerfile(args)).map_err(|e| Failure::new(ErrorKind::Resource, &e))
}

fn dockerfile(args: &CreateBuildImageArgs) -> String {
    let from = if args.base.is_some() { "buildroot-base:1" } else { "scratch" };
    let mut text = format!("FROM {from}\n");
    for command in &args.commands {
        // As an exec form, so that no text of it is taken for another instruction.
        let words = serde_json::json!(["/bin/sh", "-c", command]);
        let _ = writeln!(text, "RUN {words}");
    }
    if args.base.is_some() {
        // The program that maps ids wants to know its user by name.
        let user = "getent passwd 1000 >/dev/null || \
                    echo 'builder:x:1000:1000:builder:/var/lib/osbs:/bin/sh' >>/etc/passwd";
        let _ = writeln!(text, "RUN {}", serde_json::json!(["/bin/sh", "-c", user]));
    }
    let version = env!("CARGO_PKG_VERSION");
    let _ = write!(
        text,
        "COPY root /\n\
         LABEL name=\"osbs-buildroot\" version=\"{version}\" summary=\"The reactor of OSBS, and what it needs\"\n\
         ENV LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
         USER 0\n\
         RUN [\"/{OSBS}\", \"--version\"]\n\
         RUN [\"/bin/sh\", \"-c\", \"git --version && {{ runc --version || crun --version || youki --version; }}\"]\n\
         CMD [\"/{OSBS}\", \"--verbose\", \"reactor\", \"inside-build\"]\n"
    );
    text
}

/// The command line of `osbs image build`.
fn words(args: &CreateBuildImageArgs, context: &Path) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec![context.into()];
    let mut option = |name: &str, value: &str| words.extend([OsString::from(name), OsString::from(value)]);
    args.tag.iter().for_each(|tag| option("--tag", tag));
    args.output.iter().for_each(|output| option("--output", output));
    if let Some(base) = &args.base {
        option("--parent", &format!("buildroot-base:1={base}"));
    }
    words.extend(args.more.iter().cloned());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(base: Option<&str>, commands: &[&str]) -> CreateBuildImageArgs {
        CreateBuildImageArgs {
            base: base.map(str::to_owned),
            commands: commands.iter().map(|&command| command.to_owned()).collect(),
            program: None,
            tag: vec!["x:1".to_owned()],
            output: vec!["push".to_owned()],
            more: vec!["--reproducible".into()],
        }
    }

    #[test]
    fn the_dockerfile_parses_whatever_the_command_says() {
        for command in ["dnf -y install git", "a \\\nFROM evil\n", "say \"x\" # y"] {
            let text = dockerfile(&args(Some("fedora:40"), &[command]));
            let parsed = osbs_dockerfile::Dockerfile::parse(&text, "Dockerfile").expect("valid");
            assert_eq!(parsed.parents_ordered().expect("parents"), ["buildroot-base:1"], "{text}");
        }
        assert!(dockerfile(&args(None, &[])).starts_with("FROM scratch\nCOPY root /\n"));
    }

    #[test]
    fn the_rest_is_left_to_image_build() {
        let words = words(&args(Some("oci:/base"), &[]), Path::new("/context"));
        let expected = [
            "/context",
            "--tag",
            "x:1",
            "--output",
            "push",
            "--parent",
            "buildroot-base:1=oci:/base",
            "--reproducible",
        ];
        assert_eq!(words, expected.map(OsString::from));
    }
}
