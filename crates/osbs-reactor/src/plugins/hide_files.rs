//! `hide_files`: hides files of the parents, typically their repo files, while building (`reactor.md` 3.1.14, 6.2 M30).
//!
//! A `mv` that knows no `-Z`, as that of busybox, leaves a file where it was hidden: one more RUN brings back what is still
//! there then, and is quiet where nothing is.
//!
//! Stages on `scratch` have nothing to hide and are left alone, and so are those without a RUN, which may have no shell
//! to hide it with.

use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::run::Run;
use crate::stage_users::{as_root, inherited, on_scratch, own, runs_commands};
use async_trait::async_trait;
use osbs_config::HideFiles as Wanted;
use osbs_types::Phase;
use serde_json::json;
use std::collections::BTreeSet;

/// The plugin's type.
pub fn plugin() -> PluginType {
    PluginType::new("hide_files", &[Phase::Prebuild], |_| Ok(Box::new(HideFiles)))
        .allowed_to_fail()
        .purpose("Hides files of the parents, typically their repo files, from every RUN.")
        .reads(&["hide_files", "the users of the parents"])
        .writes(&["the Dockerfile: commands after FROM and at the end of each stage that has a RUN"])
}

struct HideFiles;

#[async_trait]
impl Plugin for HideFiles {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let Some(wanted) = run.config.hide_files.clone() else {
            return Ok(Done::Skipped("the configuration has no hide_files".to_owned()));
        };
        let (hide, restore) = commands(&wanted)?;
        let mut dockerfile = run.dockerfile()?;
        let on_scratch = on_scratch(&dockerfile)?;
        // All users first: a parent that is not known must leave the Dockerfile as it is.
        let stages: Vec<usize> = (0..on_scratch.len()).rev().filter(|stage| !on_scratch[*stage]).collect();
        let stages: Vec<usize> = stages.into_iter().filter(|stage| runs_commands(&dockerfile, *stage)).collect();
        let users = stages
            .iter()
            .map(|stage| Ok((inherited(run, &dockerfile, *stage)?, own(&dockerfile, *stage))))
            .collect::<Result<Vec<_>, PluginError>>()?;
        for (stage, (inherited, own)) in stages.iter().zip(users) {
            let last = own.or_else(|| inherited.clone());
            dockerfile.insert_at_stage_end(*stage, &as_root(&restore, last))?;
            dockerfile.insert_after_from(&as_root(&hide, inherited), &|index| index == *stage)?;
        }
        run.write_dockerfile(&dockerfile)?;
        run.log().info(format!("{} files are hidden in {} stages", wanted.files.len(), stages.len()));
        Ok(Done::Value(json!({ "files": wanted.files, "stages": stages.len() })))
    }
}

/// The RUN lines that hide the files, and those that bring them back.
fn commands(wanted: &Wanted) -> Result<(Vec<String>, Vec<String>), PluginError> {
    let mut hide = Vec::new();
    let (mut restore, mut again) = (Vec::new(), Vec::new());
    let folder = wanted.tmpdir.trim_end_matches('/');
    let mut names = BTreeSet::new();
    for file in &wanted.files {
        let name = file.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        if !names.insert(name) {
            let text = format!("hide_files: two files are named {name:?} and would meet in {}", wanted.tmpdir);
            return Err(PluginError::policy(text));
        }
        let (file, tmpdir, hidden) = (word(file)?, word(&wanted.tmpdir)?, word(&format!("{folder}/{name}"))?);
        hide.push(format!("RUN mv -f {file} {tmpdir} || :"));
        restore.push(format!("RUN mv -fZ {hidden} {file} || :"));
        again.push(format!("mv -f {hidden} {file} 2>/dev/null"));
    }
    restore.push(format!("RUN {} || :", again.join("; ")));
    Ok((hide, restore))
}

/// A word for the shell of a RUN line, bare where it can be.
fn word(text: &str) -> Result<String, PluginError> {
    let wrong = || PluginError::policy(format!("hide_files: {text:?} cannot stand in a Dockerfile"));
    if text.is_empty() || text.starts_with('-') || text.chars().any(char::is_control) || text.ends_with('\\') {
        return Err(wrong());
    }
    shlex::try_quote(text).map(std::borrow::Cow::into_owned).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build_json::PluginLists;
    use crate::run::ParentInspect;
    use crate::testing::run_with;
    use osbs_config::ReactorConfig;
    use osbs_types::ErrorKind;
    use std::sync::Arc;

    const CONFIG: &str = "version: 1\nhide_files: {tmpdir: /tmp, files: [/etc/yum.repos.d/a.repo, '/etc/b c']}\n";
    const HIDE: &str = "RUN mv -f /etc/yum.repos.d/a.repo /tmp || :\nRUN mv -f '/etc/b c' /tmp || :\n";
    const SHOW: &str = "RUN mv -fZ /tmp/a.repo /etc/yum.repos.d/a.repo || :\nRUN mv -fZ '/tmp/b c' '/etc/b c' || :\n\
        RUN mv -f /tmp/a.repo /etc/yum.repos.d/a.repo 2>/dev/null; mv -f '/tmp/b c' '/etc/b c' 2>/dev/null || :\n";

    /// `H` and `S` in `expected` stand for the lines that hide and show.
    async fn check_edit(text: &str, base_user: &str, expected: Option<&str>) {
        let mut test = run_with(text, &[], PluginLists::default()).await;
        test.run.config = Arc::new(ReactorConfig::parse(CONFIG, "config.yaml").unwrap().value);
        test.run.parents.base_inspect = Some(ParentInspect { user: base_user.to_owned(), ..Default::default() });
        let ended = test.plugin(&plugin(), json!({})).await;
        let found = test.run.dockerfile().unwrap().text().to_owned();
        assert_eq!(ended.is_ok(), expected.is_some(), "{text}: {ended:?}");
        let expected = expected.map(|expected| expected.replace("H\n", HIDE).replace("S\n", SHOW));
        assert_eq!(found, expected.as_deref().unwrap_or(text), "a failure leaves the Dockerfile alone");
    }

    #[tokio::test]
    async fn edits() {
        check_edit("FROM a\nRUN x\n", "", Some("FROM a\nH\nRUN x\nS\n")).await;
        let inherited = "FROM a\nUSER root\nH\nUSER 7\nRUN x\nUSER root\nS\nUSER 7\n";
        check_edit("FROM a\nRUN x\n", "7", Some(inherited)).await;
        let own = "FROM a\nH\nUSER 8\nRUN x\nUSER root\nS\nUSER 8\n";
        check_edit("FROM a\nUSER 8\nRUN x\n", "", Some(own)).await;
        let both = "FROM a\nUSER root\nH\nUSER 7\nRUN x\nUSER 8\nUSER root\nS\nUSER 8\n";
        check_edit("FROM a\nRUN x\nUSER 8\n", "7", Some(both)).await;
        let last_scratch = "FROM scratch AS s\nADD x /\nFROM a\nH\nRUN x\nS\n";
        check_edit("FROM scratch AS s\nADD x /\nFROM a\nRUN x\n", "", Some(last_scratch)).await;
        check_edit("FROM scratch\nADD x /\n", "", Some("FROM scratch\nADD x /\n")).await;
        check_edit(
            "FROM b AS c\nUSER 1\nFROM a\nCOPY --from=c /x /\n",
            "",
            Some("FROM b AS c\nUSER 1\nFROM a\nCOPY --from=c /x /\n"),
        )
        .await;
        // The parent of the first stage was not pulled.
        check_edit("FROM b AS c\nRUN x\nFROM a\nRUN x\n", "", None).await;
    }

    #[tokio::test]
    async fn a_stage_on_a_stage_inherits_its_user() {
        let text = "FROM a AS one\nUSER 8\nFROM one\nRUN x\n";
        let mut test = run_with(text, &[], PluginLists::default()).await;
        let dockerfile = test.run.dockerfile().unwrap();
        assert_eq!(inherited(&test.run, &dockerfile, 1).unwrap().as_deref(), Some("USER 8"));
        assert!(matches!(test.plugin(&plugin(), json!({})).await, Ok(Done::Skipped(_))));
    }

    #[track_caller]
    fn check_refused(tmpdir: &str, files: &[&str], part: &str) {
        let files = files.iter().map(|&file| file.to_owned()).collect();
        let failure = commands(&Wanted { tmpdir: tmpdir.to_owned(), files }).unwrap_err().into_failure();
        assert!(failure.kind == ErrorKind::Policy && failure.to_string().contains(part), "{failure}");
    }

    #[test]
    fn what_is_refused() {
        check_refused("/tmp", &["/a/x.repo", "/b/x.repo"], "two files are named \"x.repo\" and would meet in /tmp");
        check_refused("/tmp", &["-rf"], "\"-rf\" cannot stand in a Dockerfile");
        check_refused("/t\nRUN y", &["/a"], "cannot stand in a Dockerfile");
        check_refused("/tmp", &["/a\\"], "cannot stand in a Dockerfile");
    }

    #[test]
    fn words() {
        for (text, expected) in [("/a", Some("/a")), ("/a b", Some("'/a b'")), ("-rf", None), ("a\nb", None)] {
            assert_eq!(word(text).ok().as_deref(), expected);
        }
    }
}
