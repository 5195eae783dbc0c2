//! `add_dockerfile`: ships the Dockerfile inside the image (`reactor.md` 3.1.16, 6.2 M27, M28).
//!
//! What is shipped is the Dockerfile as this plugin finds it, without its own line and without logins in URLs: whoever may
//! pull the image need not be who may read the repository. The builder re-includes
//! `Dockerfile-*` whatever `.dockerignore` says.

use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::run::Run;
use async_trait::async_trait;
use osbs_dockerfile::{Dockerfile, find_label};
use osbs_sandbox::rooted::Root;
use osbs_types::{Phase, without_logins};
use serde::Deserialize;
use serde_json::json;
use std::io::Write;
use std::path::Path;

/// The plugin's type.
pub fn plugin() -> PluginType {
    PluginType::new("add_dockerfile", &[Phase::Prebuild], |args| Ok(Box::new(args.parse::<AddDockerfile>()?)))
        .allowed_to_fail()
        .purpose("Ships the Dockerfile inside the image.")
        .argument("nvr", "what names the copy, Dockerfile-NVR; default NAME-VERSION-RELEASE of the labels, `/` as `-`")
        .argument("destdir", "folder in the image; default /root/buildinfo/")
        .argument(
            "use_final_dockerfile",
            "ship the Dockerfile as it is at the end, not as this plugin finds it; default false",
        )
        .reads(&["the Dockerfile's labels `name`, `version` and `release`, without the parent's environment"])
        .writes(&["Dockerfile-NVR beside the Dockerfile", "the Dockerfile: an ADD before its last instruction"])
}

#[derive(Deserialize)]
#[serde(default)]
struct AddDockerfile {
    nvr: Option<String>,
    destdir: String,
    use_final_dockerfile: bool,
}

impl Default for AddDockerfile {
    fn default() -> Self {
        Self { nvr: None, destdir: "/root/buildinfo/".to_owned(), use_final_dockerfile: false }
    }
}

#[async_trait]
impl Plugin for AddDockerfile {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let mut dockerfile = run.dockerfile()?;
        let nvr = match &self.nvr {
            Some(nvr) => nvr.clone(),
            None => nvr(&dockerfile)?,
        };
        let shipped = format!("Dockerfile-{}", nvr.replace('/', "-"));
        let source = if self.use_final_dockerfile { "Dockerfile" } else { &shipped };
        let target = format!("{}/{shipped}", self.destdir.trim_end_matches('/'));
        for name in [source, &target] {
            check_plain(name)?;
        }
        let line = format!("ADD {source} {target}");
        let original = dockerfile.text().to_owned();
        dockerfile.insert_before_last_instruction(std::slice::from_ref(&line))?;
        let context = Root::open(run.source()?.dockerfile_dir())?;
        let public = without_logins(&original);
        // Lines as their author knows them.
        let committed = run.original_dockerfile.as_deref().unwrap_or(&original);
        let lines = lines_that_differ(committed, &without_logins(committed));
        if !lines.is_empty() {
            run.log().warning(format!(
                "Dockerfile: a URL with a login in line {lines}. Whoever may read the repository may read it; the image's \
                 copy and its history do not show it"
            ));
        }
        if !self.use_final_dockerfile {
            write(&context, source, &public)?;
        } else if public == original {
            include_dockerfile(run, &context)?;
        } else {
            let text = format!("the Dockerfile holds a URL with a login in line {lines}: it is not put into the image");
            return Err(PluginError::policy(text).with_hint("leave out use_final_dockerfile, or take the login out"));
        }
        run.write_dockerfile(&dockerfile)?;
        run.log().info(format!("added to the Dockerfile: {line}"));
        Ok(Done::Value(json!(line)))
    }
}

/// `NAME-VERSION-RELEASE` from the labels, without the parent's environment.
fn nvr(dockerfile: &Dockerfile) -> Result<String, PluginError> {
    let labels = dockerfile.labels(&[])?;
    let part = |name: &str| {
        find_label(&labels, name).map(|(_, value)| value).filter(|value| !value.is_empty()).ok_or_else(|| {
            PluginError::user(format!("the Dockerfile has no value for the label {name:?}, which names its copy"))
        })
    };
    Ok([part("name")?, part("version")?, part("release")?].join("-"))
}

/// Numbers of the lines, as in "3, 7".
fn lines_that_differ(one: &str, other: &str) -> String {
    let pairs = one.lines().zip(other.lines()).enumerate();
    let numbers = pairs.filter(|(_, (one, other))| one != other).map(|(index, _)| (index + 1).to_string());
    numbers.collect::<Vec<_>>().join(", ")
}

/// Names go into an ADD as they are, so nothing that would split, expand or match.
fn check_plain(name: &str) -> Result<(), PluginError> {
    let is_plain = |c: char| c.is_alphanumeric() || "._+~^:@%=,-/".contains(c);
    if name.chars().all(is_plain) && !name.split('/').any(|part| part == "..") {
        return Ok(());
    }
    Err(PluginError::user(format!("{name:?} cannot be the name of the Dockerfile's copy"))
        .with_hint("use letters, digits and ._+~-/ in the labels name, version and release"))
}

/// The builder always re-includes the copies; the Dockerfile itself only when it is what is shipped.
fn include_dockerfile(run: &Run, context: &Root) -> Result<(), PluginError> {
    match run.source()?.read_beside(".dockerignore")? {
        Some(text) => write(context, ".dockerignore", &format!("{text}\n!Dockerfile\n")),
        None => Ok(()),
    }
}

fn write(context: &Root, name: &str, text: &str) -> Result<(), PluginError> {
    let mut file = context.create_file(Path::new(name), 0o644)?;
    file.write_all(text.as_bytes()).map_err(|error| PluginError::resource(format!("{name} cannot be written: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build_json::PluginLists;
    use crate::testing::run_with;
    use serde_json::Value;

    const LABELS: &str = "FROM a\nLABEL name=ns/web Version=7 release=3";

    /// The Dockerfile afterwards, or a part of the error.
    async fn check_edit(text: &str, args: Value, expected: Result<&str, &str>) {
        let mut test = run_with(text, &[], PluginLists::default()).await;
        match (test.plugin(&plugin(), args).await, expected) {
            (Ok(Done::Value(line)), Ok(expected)) => {
                let found = test.run.dockerfile().unwrap().text().to_owned();
                assert_eq!(found, expected);
                assert!(found.contains(line.as_str().unwrap()));
            }
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (other, _) => panic!("{other:?}, expected {expected:?}"),
        }
    }

    #[tokio::test]
    async fn edits() {
        let add = "ADD Dockerfile-ns-web-7-3 /root/buildinfo/Dockerfile-ns-web-7-3\n";
        let last = "LABEL name=ns/web Version=7 release=3";
        check_edit(LABELS, json!({}), Ok(&format!("FROM a\n{add}{last}"))).await;
        // Never inside an instruction of several lines, never in a blank line.
        let run = "RUN a && \\\n  # why\n  b\n\n\n";
        check_edit(&format!("{LABELS}\n{run}"), json!({}), Ok(&format!("FROM a\n{last}\n{add}{run}"))).await;
        let given = json!({"nvr": "x-1-2", "destdir": "/info"});
        check_edit("FROM a\nRUN x\n", given, Ok("FROM a\nADD Dockerfile-x-1-2 /info/Dockerfile-x-1-2\nRUN x\n")).await;
        let last_of_all = json!({"nvr": "x-1-2", "use_final_dockerfile": true});
        check_edit(
            "FROM a\nRUN x\n",
            last_of_all,
            Ok("FROM a\nADD Dockerfile /root/buildinfo/Dockerfile-x-1-2\nRUN x\n"),
        )
        .await;
        check_edit("FROM a\nLABEL name=x version=1\n", json!({}), Err("\"release\"")).await;
        check_edit("FROM a\nLABEL name=x version=1 release=$R\n", json!({}), Err("\"release\"")).await;
        for nvr in ["a b", "a*", "$HOME", "a\nRUN x", "a'"] {
            check_edit("FROM a\n", json!({ "nvr": nvr }), Err("cannot be the name")).await;
        }
    }

    #[tokio::test]
    async fn the_copy_is_the_text_before() {
        let mut test = run_with(LABELS, &[], PluginLists::default()).await;
        let folder = test.run.source().unwrap().dockerfile_dir().to_owned();
        let outside = test.folder.path().join("outside");
        std::fs::write(&outside, "mine").unwrap();
        std::os::unix::fs::symlink(&outside, folder.join("Dockerfile-ns-web-7-3")).unwrap();
        test.plugin(&plugin(), json!({})).await.unwrap();
        assert_eq!(std::fs::read_to_string(folder.join("Dockerfile-ns-web-7-3")).unwrap(), LABELS);
        assert_eq!(std::fs::read_to_string(outside).unwrap(), "mine");
    }

    #[tokio::test]
    async fn logins_stay_out() {
        let text = format!("{LABELS}\nADD https://me:hunter2@h.example/f.tar /\nRUN curl -u me:x http://h.example\n");
        let mut test = run_with(&text, &[], PluginLists::default()).await;
        test.plugin(&plugin(), json!({})).await.unwrap();
        let folder = test.run.source().unwrap().dockerfile_dir().to_owned();
        let copy = std::fs::read_to_string(folder.join("Dockerfile-ns-web-7-3")).unwrap();
        assert_eq!(copy, text.replace("me:hunter2", "***"));
        assert!(test.run.dockerfile().unwrap().text().contains("me:hunter2"), "the build needs it");
        let said: Vec<String> = test.log_lines().iter().map(|line| line.text().into_owned()).collect();
        assert!(said.iter().any(|line| line.contains("a URL with a login in line 3. ")), "{said:?}");
        assert!(!said.iter().any(|line| line.contains("hunter2")), "{said:?}");

        let mut test = run_with(&text, &[], PluginLists::default()).await;
        let error = test.plugin(&plugin(), json!({"use_final_dockerfile": true})).await.unwrap_err().into_failure();
        assert_eq!(error.kind, osbs_types::ErrorKind::Policy);
        assert!(error.message.contains("line 3") && !error.to_string().contains("hunter2"), "{error}");
        assert_eq!(test.run.dockerfile().unwrap().text(), text, "nothing was changed");
    }

    #[tokio::test]
    async fn the_final_dockerfile_is_not_ignored() {
        let mut test = run_with(LABELS, &[(".dockerignore", "*")], PluginLists::default()).await;
        test.plugin(&plugin(), json!({"use_final_dockerfile": true})).await.unwrap();
        let ignored = test.run.source().unwrap().read_beside(".dockerignore").unwrap().unwrap();
        assert_eq!(ignored, "*\n!Dockerfile\n");
    }
}
