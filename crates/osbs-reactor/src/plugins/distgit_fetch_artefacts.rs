//! `distgit_fetch_artefacts`: the site's command that fetches look-aside files into the clone (`reactor.md` 3.1.17,
//! 6.3 X9).
//!
//! The command is the site's, what it reads is the repository's: it gets no environment and can write in the clone only.

use crate::fetching::limits;
use crate::host_program::{Ended, HostProgram};
use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::run::Run;
use async_trait::async_trait;
use osbs_types::{ErrorKind, Failure, Level, Phase};
use serde::Deserialize;
use std::time::Duration;

/// The plugin's type.
pub fn plugin() -> PluginType {
    PluginType::new("distgit_fetch_artefacts", &[Phase::Prebuild], |args| Ok(Box::new(args.parse::<Fetch>()?)))
        .purpose("Runs the site's command that fetches the files of the look-aside cache into the source.")
        .argument(
            "command",
            "program and arguments, split at white space, no shell; used where the configuration has no sources_command",
        )
        .reads(&["config.yaml: sources_command, fetch.timeout", "whatever the command reads, such as a file sources"])
        .writes(&["what the command fetches, in the source", "its output, in the log"])
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
        let mut words = command.split_whitespace().map(str::to_owned);
        let Some(program) = words.next() else {
            return Ok(Done::Skipped("no sources_command is configured".to_owned()));
        };
        // Tools keep caches and settings in the home folder: an empty one that goes away.
        let home = tempfile::Builder::new()
            .prefix("home-")
            .tempdir_in(run.workdir()?)
            .map_err(|error| PluginError::resource(format!("the work folder cannot be written: {error}")))?;
        run.log().info(format!("running {command:?} in the source"));
        let (folder, limit) = (run.source()?.root().to_owned(), limits(run).time);
        let job = HostProgram {
            program,
            args: words.collect(),
            writable: Some(vec![folder.clone()]),
            folder,
            home: home.path().to_owned(),
            path: run.services.program_path.clone(),
            time: Some(limit),
        };
        let log = run.log().clone();
        let what = format!("the program of sources_command {command:?}");
        let ended = run
            .blocking(move |cancel| {
                let ended = job.run(&log, Level::Warning, cancel);
                ended
                    .map_err(|e| e.into_plugin_error(&what, "install it on the build host, or correct sources_command"))
            })
            .await?;
        judge(&command, ended, limit)
    }
}

fn judge(command: &str, ended: Ended, limit: Duration) -> PluginResult {
    if ended.is_late {
        let text = format!("{command:?} was killed: it took longer than {} s", limit.as_secs());
        let mut failure = Failure::message(ErrorKind::Policy, text)
            .with_hint("the limit is the site's: fetch.timeout in config.yaml");
        failure.causes = ended.last_lines;
        return Err(failure.into());
    }
    if ended.status.success() {
        return Ok(Done::nothing());
    }
    let mut failure = Failure::message(ErrorKind::User, format!("{command:?} failed ({})", ended.status))
        .with_hint("check that the sources file is right and that what it names was uploaded");
    failure.causes = ended.last_lines;
    Err(failure.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build_json::PluginLists;
    use crate::testing::{TestRun, run_with};
    use osbs_config::ReactorConfig;
    use serde_json::json;
    use std::sync::Arc;

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
        let known = ["HOME", "LC_ALL", "OLDPWD", "PATH", "TMPDIR", "one"];
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
            assert!(failure.kind == kind && failure.to_string().contains(part), "{failure}");
            return;
        }
        let failure = test.plugin(&plugin(), json!({})).await.unwrap_err().into_failure();
        assert!(failure.kind == kind && failure.to_string().contains(part), "{failure}");
    }

    #[tokio::test]
    async fn failures() {
        check_failure(with_script("echo one; echo lost it >&2; exit 4").await, None, ErrorKind::User, "lost it").await;
        check_failure(with_script("exec sh -c 'kill -9 0; exit 3'").await, None, ErrorKind::User, "exit status: 3")
            .await;
        let no = "no-such-program-here x";
        check_failure(with_script("").await, Some(no), ErrorKind::Resource, "no-such-program-here").await;
        let mut none = with_script("").await;
        none.run.config = Arc::default();
        assert!(matches!(none.plugin(&plugin(), json!({})).await, Ok(Done::Skipped(_))));
    }

    #[tokio::test]
    async fn what_stays_in_the_background_is_killed() {
        let mut test = with_script("sleep 98761 & setsid sleep 98761 & echo done").await;
        test.plugin(&plugin(), json!({})).await.unwrap();
        check_gone("98761").await;
    }

    #[tokio::test]
    async fn cancelling_kills_all_of_it() {
        let mut test = with_script("setsid sleep 98762 & echo begun > begun; sleep 98762").await;
        let (begun, cancel) = (test.run.source().unwrap().root().join("begun"), test.cancel.clone());
        let kind = plugin();
        let cancelled = async {
            while !begun.exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            cancel.cancel();
        };
        let (ended, ()) = tokio::join!(test.plugin(&kind, json!({})), cancelled);
        assert_eq!(ended, Err(PluginError::Cancelled));
        check_gone("98762").await;
    }

    #[tokio::test]
    async fn what_takes_too_long_is_killed() {
        let mut test = with_script("echo slowly; sleep 98763 & sleep 98763").await;
        let config = "version: 1\nsources_command: sh fetch\nfetch: {timeout: 1}\n";
        test.run.config = Arc::new(ReactorConfig::parse(config, "config.yaml").unwrap().value);
        let failure = test.plugin(&plugin(), json!({})).await.unwrap_err().into_failure();
        assert!(failure.kind == ErrorKind::Policy && failure.message.contains("longer than 1 s"), "{failure}");
        assert_eq!(failure.causes, ["slowly"]);
        check_gone("98763").await;
    }

    #[tokio::test]
    async fn it_writes_in_the_clone_and_nowhere_else() {
        let script = "touch in ../out /osbs-out $HOME/home $TMPDIR/tmp; ls $HOME/home $TMPDIR/tmp >&2; test -e in";
        let mut test = with_script(script).await;
        test.plugin(&plugin(), json!({})).await.unwrap();
        let root = test.run.source().unwrap().root().to_owned();
        assert!(root.join("in").exists() && !root.join("../out").exists());
        assert!(!std::path::Path::new("/osbs-out").exists());
        let told = test.log_texts();
        assert!(told.iter().any(|line| line.contains("Read-only file system")), "{told:?}");
        assert!(told.iter().any(|line| line.ends_with("/home")), "{told:?}");
    }

    #[tokio::test]
    async fn a_flood_ends_in_the_log() {
        let mut test = with_script("head -c 40000000 /dev/zero | tr '\\0' x; echo; echo lost >&2; exit 7").await;
        let failure = test.plugin(&plugin(), json!({})).await.unwrap_err().into_failure();
        assert_eq!(failure.causes, ["lost"]);
        let texts = test.log_texts();
        let logged: usize = texts.iter().map(String::len).sum();
        assert!((8_000_000..9_000_000).contains(&logged), "{logged}");
        assert!(texts.last().is_some_and(|text| text.contains("more lines of output")));
    }

    /// No process has `mark` in its command line any more.
    async fn check_gone(mark: &str) {
        for _ in 0..500 {
            let lines = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path().join("cmdline"));
            let is_there = |path: std::path::PathBuf| {
                std::fs::read(path)
                    .is_ok_and(|line| line.starts_with(b"sleep\0") && line.ends_with(format!("{mark}\0").as_bytes()))
            };
            if !lines.into_iter().any(is_there) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("sleep {mark} is still there");
    }
}
