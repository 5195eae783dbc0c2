//! `distgit_fetch_artefacts`: the site's command that fetches look-aside files into the clone (`reactor.md` 3.1.17,
//! 6.3 X9).

use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::program::run_program;
use crate::run::Run;
use async_trait::async_trait;
use osbs_types::Phase;
use serde::Deserialize;
use std::io;

/// The plugin's type.
pub fn plugin() -> PluginType {
    PluginType::new("distgit_fetch_artefacts", &[Phase::Prebuild], |args| Ok(Box::new(args.parse::<Fetch>()?)))
        .accepts(&["command"])
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Fetch {
    command: Option<String>,
}

#[async_trait]
impl Plugin for Fetch {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let command = run.config.sources_command.clone().or_else(|| self.command.clone()).unwrap_or_default();
        let words: Vec<&str> = command.split_whitespace().collect();
        let [program, args @ ..] = words.as_slice() else {
            return Ok(Done::Skipped("no sources_command is configured".to_owned()));
        };
        // Tools keep caches and settings in the home folder: an empty one that goes away.
        let home = tempfile::Builder::new()
            .prefix("home-")
            .tempdir_in(run.workdir()?)
            .map_err(|error| PluginError::resource(format!("the work folder cannot be written: {error}")))?;
        run.log().info(format!("running {command:?} in the source"));
        let ended = run_program(run, program, args, run.source()?.root(), home.path())
            .await
            .map_err(|error| cannot_start(&command, &error))?;
        if ended.status.success() {
            return Ok(Done::nothing());
        }
        Err(PluginError::user(format!("{command:?} failed ({}): {}", ended.status, ended.last_lines))
            .with_hint("check that the sources file is right and that what it names was uploaded"))
    }
}

fn cannot_start(command: &str, error: &io::Error) -> PluginError {
    let failure = PluginError::resource(format!("sources_command {command:?} cannot be run: {error}"));
    match error.kind() {
        io::ErrorKind::NotFound => {
            failure.with_hint("install the program on the build host, or correct sources_command")
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build_json::PluginLists;
    use crate::testing::{TestRun, run_with};
    use osbs_config::ReactorConfig;
    use osbs_types::{ErrorKind, Level};
    use serde_json::json;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    async fn with_script(script: &str) -> TestRun {
        let mut test = run_with("FROM a\n", &[("fetch", script)], PluginLists::default()).await;
        let config = "version: 1\nsources_command: sh fetch  one\n";
        test.run.config = Arc::new(ReactorConfig::parse(config, "config.yaml").unwrap().value);
        test
    }

    #[tokio::test]
    async fn runs_in_the_clone_with_a_minimal_environment() {
        let mut test = with_script(
            "env -u PWD -u SHLVL -u _ | sed 's/=.*//' | sort | tr '\\n' ' '; echo $1; echo odd >&2; touch got",
        )
        .await;
        test.plugin(&plugin(), json!({"command": "false"})).await.unwrap();
        let texts = test.log_texts();
        let known = ["HOME", "LC_ALL", "OLDPWD", "PATH", "one"];
        let line = texts.iter().find(|text| text.contains("LC_ALL")).unwrap();
        assert!(line.split_whitespace().all(|word| known.contains(&word)), "{line}");
        assert!(line.ends_with("one"), "{line}");
        assert!(test.run.source().unwrap().root().join("got").exists());
        assert!(test.log_lines().iter().any(|line| line.level == Level::Warning && line.text() == "odd"));
    }

    async fn check_failure(mut test: TestRun, command: Option<&str>, kind: ErrorKind, part: &str) {
        if let Some(command) = command {
            test.run.config = Arc::default();
            let failure = test.plugin(&plugin(), json!({ "command": command })).await.unwrap_err().into_failure();
            assert!(failure.kind == kind && failure.message.contains(part), "{failure}");
            return;
        }
        let failure = test.plugin(&plugin(), json!({})).await.unwrap_err().into_failure();
        assert!(failure.kind == kind && failure.message.contains(part), "{failure}");
    }

    #[tokio::test]
    async fn failures() {
        check_failure(with_script("echo one; echo lost it >&2; exit 4").await, None, ErrorKind::User, "lost it").await;
        check_failure(with_script("kill -9 $$").await, None, ErrorKind::User, "signal").await;
        let no = "no-such-program-here x";
        check_failure(with_script("").await, Some(no), ErrorKind::Resource, "no-such-program-here").await;
        let mut none = with_script("").await;
        none.run.config = Arc::default();
        assert!(matches!(none.plugin(&plugin(), json!({})).await, Ok(Done::Skipped(_))));
    }

    #[tokio::test]
    async fn what_stays_in_the_background_is_killed() {
        let mut test = with_script("sleep 100 & echo $! > pid; echo done").await;
        let begin = Instant::now();
        test.plugin(&plugin(), json!({})).await.unwrap();
        assert!(begin.elapsed() < Duration::from_secs(20));
        check_gone(&test).await;
    }

    #[tokio::test]
    async fn cancelling_kills_all_of_it() {
        let mut test = with_script("sleep 100 & echo $! > pid; sleep 100").await;
        let pid = test.run.source().unwrap().root().join("pid");
        {
            let kind = plugin();
            let running = test.plugin(&kind, json!({}));
            let started = async {
                while std::fs::read_to_string(&pid).unwrap_or_default().is_empty() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            tokio::select! {
                ended = running => panic!("{ended:?}"),
                () = started => {}
            }
        }
        check_gone(&test).await;
    }

    async fn check_gone(test: &TestRun) {
        let pid = std::fs::read_to_string(test.run.source().unwrap().root().join("pid")).unwrap();
        let path = format!("/proc/{}/stat", pid.trim());
        for _ in 0..200 {
            // An orphan may stay as a zombie where nobody reaps.
            let is_alive = std::fs::read_to_string(&path).is_ok_and(|stat| !stat.contains(") Z "));
            if !is_alive {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("process {pid} is still there");
    }
}
