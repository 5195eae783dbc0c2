//! `add_help`: turns `help.md` into a man page in the image (`reactor.md` 3.1.15, 6.2 M27).
//!
//! Links in the repository lead nowhere outside. The builder re-includes `help.1` whatever `.dockerignore` says. How
//! Markdown becomes a page is [`crate::man_page`].

use crate::man_page::man_page;
use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::run::Run;
use async_trait::async_trait;
use osbs_dockerfile::{LabelMap, find_label};
use osbs_sandbox::rooted::Root;
use osbs_types::{Phase, Timestamp};
use serde::Deserialize;
use serde_json::json;
use std::io::Write;
use std::path::Path;

/// The page in the build context.
const PAGE: &str = "help.1";

/// The plugin's type.
pub fn plugin() -> PluginType {
    PluginType::new("add_help", &[Phase::Prebuild], |args| Ok(Box::new(args.parse::<AddHelp>()?)))
        .allowed_to_fail()
        .purpose("Turns help.md into a man page, /help.1 in the image.")
        .argument("help_file", "the file beside the Dockerfile; default help.md")
        .reads(&["the Dockerfile's labels `name` and `maintainer`, for a file without a title block"])
        .writes(&[
            "help.1 beside the Dockerfile",
            "the Dockerfile: an ADD before its last instruction",
            "the record: annotation help_file",
        ])
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
        write(&context, PAGE, &man_page(&text))?;
        run.write_dockerfile(&dockerfile)?;
        run.log().info(format!("{} is the image's help page", self.help_file));
        Ok(self.result(2))
    }
}

impl AddHelp {
    fn result(&self, status: u32) -> Done {
        Done::Value(json!({ "help_file": self.help_file, "status": status }))
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

    const DOCKERFILE: &str = "FROM a\nLABEL name=web maintainer=\"Ann <a@example.com>\"\nRUN x && \\\n  y\n";

    fn file(test: &TestRun, name: &str) -> Option<String> {
        std::fs::read_to_string(test.run.source().unwrap().dockerfile_dir().join(name)).ok()
    }

    async fn check_page(help: &str, title: &str, markdown: &str) {
        let mut test = run_with(DOCKERFILE, &[("help.md", help)], PluginLists::default()).await;
        test.run.started = "2024-03-05T12:00:00Z".parse().unwrap();
        let ended = test.plugin(&plugin(), json!({})).await.unwrap();
        assert_eq!(ended, Done::Value(json!({"help_file": "help.md", "status": 2})));
        let page = file(&test, PAGE).unwrap();
        assert!(page.lines().any(|line| line == title), "{page}");
        assert_eq!(file(&test, "help.md").unwrap(), markdown);
        let text = "FROM a\nLABEL name=web maintainer=\"Ann <a@example.com>\"\nADD help.1 /help.1\nRUN x && \\\n  y\n";
        assert_eq!(file(&test, "Dockerfile").unwrap(), text);
    }

    #[tokio::test]
    async fn pages() {
        check_page("% web(1)\ntext\n", ".TH web 1 \"\" \"\" \"\"", "% web(1)\ntext\n").await;
        let header = "% web (1) Container Image Pages\n% Ann <a@example.com>\n% March 5, 2024\n";
        let title = ".TH web 1 \"March 5, 2024\" \"\" \"Container Image Pages\"";
        check_page("# Title\n", title, &format!("{header}# Title\n")).await;
        // M27: an empty file is one without a title block.
        check_page("", title, header).await;
    }

    #[tokio::test]
    async fn another_file_of_the_repository() {
        let mut test = run_with(DOCKERFILE, &[("usage.md", "% u(7)\n")], PluginLists::default()).await;
        let ended = test.plugin(&plugin(), json!({"help_file": "usage.md"})).await.unwrap();
        assert_eq!(ended, Done::Value(json!({"help_file": "usage.md", "status": 2})));
        assert!(file(&test, PAGE).unwrap().contains(".TH u 7"));
    }

    /// The Dockerfile stays, and the build goes on without a page or fails this plugin alone.
    async fn check_none(make: impl FnOnce(&Path), expected: Result<u32, (ErrorKind, &str)>) {
        let mut test = run_with(DOCKERFILE, &[], PluginLists::default()).await;
        make(test.run.source().unwrap().dockerfile_dir());
        match (test.plugin(&plugin(), json!({})).await, expected) {
            (Ok(ended), Ok(status)) => {
                assert_eq!(ended, Done::Value(json!({"help_file": "help.md", "status": status})));
            }
            (Err(error), Err((kind, part))) => {
                let failure = error.into_failure();
                assert!(failure.kind == kind && failure.to_string().contains(part), "{failure}");
            }
            (other, _) => panic!("{other:?}, expected {expected:?}"),
        }
        assert_eq!(file(&test, "Dockerfile").unwrap(), DOCKERFILE);
    }

    #[tokio::test]
    async fn without_a_page() {
        use std::os::unix::fs::symlink;
        check_none(|_| (), Ok(1)).await;
        check_none(|folder| symlink("/etc/hostname", folder.join("help.md")).unwrap(), Ok(1)).await;
        let latin = |folder: &Path| std::fs::write(folder.join("help.md"), b"% caf\xe9\n").unwrap();
        check_none(latin, Err((ErrorKind::User, "help.md in the repository is not UTF-8 text"))).await;
    }
}
