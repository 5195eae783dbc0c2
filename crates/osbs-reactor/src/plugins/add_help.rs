//! `add_help`: turns `help.md` into a man page in the image (`reactor.md` 3.1.15, 6.2 M27).
//!
//! The converter sees a copy in a folder of its own: links in the repository lead nowhere. The builder re-includes
//! `help.1` whatever `.dockerignore` says.

use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::program::run_program;
use crate::run::Run;
use async_trait::async_trait;
use osbs_dockerfile::{LabelMap, find_label};
use osbs_sandbox::rooted::Root;
use osbs_types::{Phase, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::Path;

/// The converter; also the name of its package.
const PROGRAM: &str = "go-md2man";
/// The page in the build context.
const PAGE: &str = "help.1";

/// The plugin's type.
pub fn plugin() -> PluginType {
    PluginType::new("add_help", &[Phase::Prebuild], |args| Ok(Box::new(args.parse::<AddHelp>()?)))
        .accepts(&["help_file"])
        .allowed_to_fail()
}

#[derive(Deserialize)]
#[serde(default)]
struct AddHelp {
    help_file: String,
}

impl Default for AddHelp {
    fn default() -> Self {
        Self { help_file: "help.md".to_owned() }
    }
}

#[async_trait]
impl Plugin for AddHelp {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let Some(text) = run.source()?.read_beside(&self.help_file)? else {
            run.log().info(format!("there is no {}", self.help_file));
            return Ok(self.result(1));
        };
        let context = Root::open(run.source()?.dockerfile_dir())?;
        let text = if text.starts_with("% ") {
            text
        } else {
            let text = header(&run.dockerfile_labels()?, run.started) + &text;
            write(&context, &self.help_file, &text)?;
            text
        };
        let mut dockerfile = run.dockerfile()?;
        dockerfile.insert_before_last_instruction(&[format!("ADD {PAGE} /{PAGE}")])?;
        self.convert(run, &context, &text).await?;
        run.write_dockerfile(&dockerfile)?;
        run.log().info(format!("{} is the image's help page", self.help_file));
        Ok(self.result(2))
    }
}

impl AddHelp {
    fn result(&self, status: u32) -> Done {
        let mut result = json!({ "help_file": self.help_file });
        result["status"] = Value::from(status);
        Done::Value(result)
    }

    async fn convert(&self, run: &Run, context: &Root, text: &str) -> Result<(), PluginError> {
        let folder = tempfile::Builder::new()
            .prefix("help-")
            .tempdir_in(run.workdir()?)
            .map_err(|error| PluginError::resource(format!("the work folder cannot be written: {error}")))?;
        let own = Root::open(folder.path())?;
        write(&own, "help.md", text)?;
        let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        let args = [format!("-in={}", path("help.md")), format!("-out={}", path(PAGE))];
        let ended = run_program(run, PROGRAM, &args, folder.path(), folder.path()).await.map_err(missing)?;
        if !ended.status.success() {
            let text =
                format!("{PROGRAM} could not convert {} ({}): {}", self.help_file, ended.status, ended.last_lines);
            return Err(PluginError::user(text));
        }
        if own.lstat(Path::new(PAGE))?.is_none_or(|node| !node.is_file()) {
            return Err(PluginError::resource(format!("{PROGRAM} succeeded but wrote no page")));
        }
        context.copy_file(&own, Path::new(PAGE), Path::new(PAGE), 0o644)?;
        Ok(())
    }
}

fn missing(error: io::Error) -> PluginError {
    let failure = PluginError::resource(format!("{PROGRAM}, which makes the help page, cannot be run: {error}"));
    match error.kind() {
        io::ErrorKind::NotFound => failure.with_hint("install the package go-md2man on the build host"),
        _ => failure,
    }
}

fn write(folder: &Root, name: &str, text: &str) -> Result<(), PluginError> {
    let mut file = folder.create_file(Path::new(name), 0o644)?;
    file.write_all(text.as_bytes()).map_err(|error| PluginError::resource(format!("{name} cannot be written: {error}")))
}

/// The title block of a man page in Markdown. The date is that of the run's start, in UTC.
fn header(labels: &LabelMap, started: Timestamp) -> String {
    let label = |name: &str| -> String {
        let value = find_label(labels, name).map(|(_, value)| value).unwrap_or_default();
        value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    };
    let date = started.strftime("%B %-d, %Y");
    format!("% {} (1) Container Image Pages\n% {}\n% {date}\n", label("name"), label("maintainer"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build_json::PluginLists;
    use crate::testing::{TestRun, run_with};
    use osbs_types::ErrorKind;
    use std::os::unix::fs::PermissionsExt as _;

    const DOCKERFILE: &str = "FROM a\nLABEL name=web maintainer=\"Ann <a@example.com>\"\nRUN x && \\\n  y\n";

    /// With a stand-in for the converter.
    async fn with_converter(script: &str, files: &[(&str, &str)]) -> TestRun {
        let mut test = run_with(DOCKERFILE, files, PluginLists::default()).await;
        let folder = test.folder.path().join("programs");
        std::fs::create_dir(&folder).unwrap();
        let program = folder.join(PROGRAM);
        std::fs::write(&program, format!("#!/bin/sh\nin=${{1#-in=}} out=${{2#-out=}}\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        test.run.services.program_path = format!("{}:/usr/bin:/bin", folder.display());
        test
    }

    fn file(test: &TestRun, name: &str) -> Option<String> {
        std::fs::read_to_string(test.run.source().unwrap().dockerfile_dir().join(name)).ok()
    }

    async fn check_page(help: &str, expected: &str) {
        let mut test = with_converter("cp \"$in\" \"$out\"", &[("help.md", help)]).await;
        test.run.started = "2024-03-05T12:00:00Z".parse().unwrap();
        let ended = test.plugin(&plugin(), json!({})).await.unwrap();
        assert_eq!(ended, Done::Value(json!({"help_file": "help.md", "status": 2})));
        assert_eq!(file(&test, PAGE).unwrap(), expected);
        assert_eq!(file(&test, "help.md").unwrap(), expected);
        let text = "FROM a\nLABEL name=web maintainer=\"Ann <a@example.com>\"\nADD help.1 /help.1\nRUN x && \\\n  y\n";
        assert_eq!(file(&test, "Dockerfile").unwrap(), text);
    }

    #[tokio::test]
    async fn pages() {
        check_page("% web(1)\ntext\n", "% web(1)\ntext\n").await;
        let header = "% web (1) Container Image Pages\n% Ann <a@example.com>\n% March 5, 2024\n";
        check_page("# Title\n", &format!("{header}# Title\n")).await;
        check_page("", header).await;
    }

    #[tokio::test]
    async fn without_help_no_program_is_needed() {
        let mut test = run_with(DOCKERFILE, &[], PluginLists::default()).await;
        test.run.services.program_path = "/nonexistent".to_owned();
        let ended = test.plugin(&plugin(), json!({})).await.unwrap();
        assert_eq!(ended, Done::Value(json!({"help_file": "help.md", "status": 1})));
        assert_eq!(file(&test, "Dockerfile").unwrap(), DOCKERFILE);
    }

    async fn check_failure(mut test: TestRun, kind: ErrorKind, part: &str) {
        let failure = test.plugin(&plugin(), json!({})).await.unwrap_err().into_failure();
        assert_eq!(failure.kind, kind);
        let whole = format!("{failure} {}", failure.hint.clone().unwrap_or_default());
        assert!(whole.contains(part), "{whole}");
        assert_eq!(file(&test, "Dockerfile").unwrap(), DOCKERFILE);
    }

    #[tokio::test]
    async fn failures() {
        let help = [("help.md", "% x\n")];
        let mut no_program = with_converter("", &help).await;
        no_program.run.services.program_path = "/nonexistent".to_owned();
        check_failure(no_program, ErrorKind::Resource, "package go-md2man").await;
        check_failure(with_converter("echo bad markup >&2; exit 3", &help).await, ErrorKind::User, "bad markup").await;
        check_failure(with_converter("exit 0", &help).await, ErrorKind::Resource, "no page").await;
        let secret = with_converter("cp \"$in\" \"$out\"", &[]).await;
        std::os::unix::fs::symlink("/etc/hostname", secret.run.source().unwrap().dockerfile_dir().join("help.md"))
            .unwrap();
        let mut secret = secret;
        let ended = secret.plugin(&plugin(), json!({})).await.unwrap();
        assert_eq!(ended, Done::Value(json!({"help_file": "help.md", "status": 1})), "a link leads nowhere outside");
    }
}
