//! `inject_yum_repo`: makes the queued repo files available while building, and only then (`reactor.md` 3.1.21, 6.2 M29).
//!
//! Stages on `scratch` get nothing: there is no package manager, and no `rm` to take the files away again. That holds
//! with `AS NAME` too, and for stages that continue such a stage. An earlier stage without a RUN gets nothing either; from
//! every other the files go again at its end, so that no `COPY --from` brings them into the image.

use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::run::Run;
use crate::stage_users::{as_root, inherited, on_scratch, own, runs_commands};
use async_trait::async_trait;
use osbs_sandbox::rooted::{Owner, Root};
use osbs_types::Phase;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

/// Where package managers look for repo files.
pub(super) const REPO_FOLDER: &str = "/etc/yum.repos.d/";
/// The folder in the build context. The builder re-includes it whatever `.dockerignore` says.
const CONTEXT_FOLDER: &str = "atomic-reactor-repos";

/// The plugin's type.
pub fn plugin() -> PluginType {
    PluginType::new("inject_yum_repo", &[Phase::Prebuild], |_| Ok(Box::new(InjectYumRepo)))
        .purpose("Makes the queued repo files available to every RUN, and takes them away again.")
        .reads(&["the queue of add_yum_repo_by_url and koji", "the users of the parents"])
        .writes(&[
            "atomic-reactor-repos/ beside the Dockerfile",
            "the Dockerfile: an ADD after FROM and a RUN rm at the end of the stages that can use them",
        ])
}

struct InjectYumRepo;

#[async_trait]
impl Plugin for InjectYumRepo {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let repos = repos(&run.files)?;
        if repos.is_empty() {
            return Ok(Done::Skipped("there are no repo files".to_owned()));
        }
        let mut dockerfile = run.dockerfile()?;
        let on_scratch = on_scratch(&dockerfile)?;
        let last = on_scratch.len() - 1;
        let wanted: Vec<usize> = (0..=last)
            .filter(|&stage| !on_scratch[stage] && (stage == last || runs_commands(&dockerfile, stage)))
            .collect();
        // All users first: a parent that is not known must leave everything as it is.
        let users = wanted
            .iter()
            .map(|&stage| {
                own(&dockerfile, stage).map_or_else(|| inherited(run, &dockerfile, stage), |line| Ok(Some(line)))
            })
            .collect::<Result<Vec<_>, PluginError>>()?;
        write_repos(run.source()?.dockerfile_dir(), &repos)?;
        let add = format!("ADD {CONTEXT_FOLDER}/* '{REPO_FOLDER}'");
        let removal = removal(repos.keys());
        for (&stage, user) in wanted.iter().zip(users).rev() {
            dockerfile.insert_at_stage_end(stage, &as_root(std::slice::from_ref(&removal), user))?;
            dockerfile.insert_after_from(std::slice::from_ref(&add), &|index| index == stage)?;
        }
        let names: Vec<_> = repos.keys().map(|&name| name.to_owned()).collect();
        run.write_dockerfile(&dockerfile)?;
        run.log().info(format!("repo files during the build: {}", names.join(", ")));
        Ok(Done::Value(json!(names)))
    }
}

/// Name -> content of the repo files among all that is queued: those directly in the folder.
fn repos(files: &BTreeMap<String, String>) -> Result<BTreeMap<&str, &str>, PluginError> {
    let mut repos = BTreeMap::new();
    for (path, text) in files {
        let Some(name) = path.strip_prefix(REPO_FOLDER) else { continue };
        if name.contains('/') || name.strip_suffix(".repo").is_none() {
            continue;
        }
        if name.chars().any(|c| c.is_control() || c == '\'' || c == '\\') {
            return Err(PluginError::user(format!("{name:?} cannot be the name of a repo file")));
        }
        repos.insert(name, text.as_str());
    }
    Ok(repos)
}

fn write_repos(context: &Path, repos: &BTreeMap<&str, &str>) -> Result<(), PluginError> {
    let root = Root::open(context)?;
    let folder = Path::new(CONTEXT_FOLDER);
    if root.lstat(folder)?.is_some() {
        let text = format!("the repository has {CONTEXT_FOLDER}, which the build makes for its own repo files");
        return Err(PluginError::user(text).with_hint("remove or rename it"));
    }
    root.mkdir_all(folder, 0o755, Owner { uid: 0, gid: 0 })?;
    for (name, text) in repos {
        let mut file = root.create_file(&folder.join(name), 0o644)?;
        file.write_all(text.as_bytes())
            .map_err(|error| PluginError::resource(format!("the repo file {name} cannot be written: {error}")))?;
    }
    Ok(())
}

fn removal<'a>(names: impl Iterator<Item = &'a &'a str>) -> String {
    let paths: Vec<_> = names.map(|name| format!("'{REPO_FOLDER}{name}'")).collect();
    format!("RUN rm -f {}", paths.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build_json::PluginLists;
    use crate::run::ParentInspect;
    use crate::testing::{TestRun, run_with};
    use osbs_types::ErrorKind;

    const ADD: &str = "ADD atomic-reactor-repos/* '/etc/yum.repos.d/'\n";

    async fn with_repos(text: &str, user: &str, names: &[&str]) -> TestRun {
        let mut test = run_with(text, &[], PluginLists::default()).await;
        test.run.parents.base_inspect = Some(ParentInspect { user: user.to_owned(), ..Default::default() });
        test.run.files = names.iter().map(|name| ((*name).to_owned(), format!("[{name}]\n"))).collect();
        test
    }

    /// `A` in `expected` stands for the ADD line.
    async fn check_edit(text: &str, user: &str, expected: &str) {
        let mut test = with_repos(text, user, &["/etc/yum.repos.d/r-1a2b3.repo"]).await;
        test.plugin(&plugin(), json!({})).await.unwrap();
        assert_eq!(test.run.dockerfile().unwrap().text(), expected.replace("A\n", ADD), "{text}");
        let written = test.run.source().unwrap().dockerfile_dir().join("atomic-reactor-repos/r-1a2b3.repo");
        assert!(std::fs::read_to_string(written).unwrap().starts_with('['));
    }

    #[tokio::test]
    async fn edits() {
        let rm = "RUN rm -f '/etc/yum.repos.d/r-1a2b3.repo'\n";
        // The worked example of the reference, but for the end of the first stage (6.2, M29).
        check_edit(
            "FROM sha256:aa AS b\nUSER 5\nRUN make\nFROM sha256:bb\nCOPY --from=b /x /x\n",
            "1001",
            &format!(
                "FROM sha256:aa AS b\nA\nUSER 5\nRUN make\nUSER root\n{rm}USER 5\n\
                 FROM sha256:bb\nA\nCOPY --from=b /x /x\nUSER root\n{rm}USER 1001\n"
            ),
        )
        .await;
        check_edit("FROM a\nRUN x", "", &format!("FROM a\nA\nRUN x\n{rm}")).await;
        let own = format!("FROM a\nA\nUSER 5\nUSER  $U\nRUN x\nUSER root\n{rm}USER  $U\n");
        check_edit("FROM a\nUSER 5\nUSER  $U\nRUN x\n", "1001", &own).await;
        // A stage that runs nothing needs no repo files.
        let earlier_only = format!("FROM a AS x\nUSER 5\nFROM b\nA\nRUN x\n{rm}");
        check_edit("FROM a AS x\nUSER 5\nFROM b\nRUN x\n", "", &earlier_only).await;
        let continued = format!("FROM a AS x\nUSER 5\nFROM x\nA\nRUN x\nUSER root\n{rm}USER 5\n");
        check_edit("FROM a AS x\nUSER 5\nFROM x\nRUN x\n", "", &continued).await;
        let last_scratch = format!("FROM a AS x\nA\nUSER 5\nRUN y\nUSER root\n{rm}USER 5\nFROM scratch\nADD z /\n");
        check_edit("FROM a AS x\nUSER 5\nRUN y\nFROM scratch\nADD z /\n", "", &last_scratch).await;
        let named_scratch = format!("FROM scratch AS s\nADD x /\nFROM b\nA\nRUN x\n{rm}");
        check_edit("FROM scratch AS s\nADD x /\nFROM b\nRUN x\n", "", &named_scratch).await;
        let on_scratch = "FROM scratch AS s\nADD x /\nFROM s\nADD y /\n";
        check_edit(on_scratch, "", on_scratch).await;
        // A last instruction that is continued into nothing must not swallow what is appended.
        check_edit("FROM a\nRUN x \\\n", "", &format!("FROM a\nA\nRUN x\n{rm}")).await;
    }

    #[tokio::test]
    async fn only_repo_files_of_the_folder() {
        let names = ["/etc/yum.repos.d/b.repo", "/etc/yum.repos.d/a.repo", "/etc/other", "/etc/yum.repos.d/x/y.repo"];
        let mut test = with_repos("FROM a\n", "", &names).await;
        test.plugin(&plugin(), json!({})).await.unwrap();
        let text = test.run.dockerfile().unwrap().text().to_owned();
        assert!(text.ends_with("RUN rm -f '/etc/yum.repos.d/a.repo' '/etc/yum.repos.d/b.repo'\n"), "{text}");
        let folder = test.run.source().unwrap().dockerfile_dir().join("atomic-reactor-repos");
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), 2);
        let mut none = with_repos("FROM a\n", "", &["/etc/other"]).await;
        assert!(matches!(none.plugin(&plugin(), json!({})).await, Ok(Done::Skipped(_))));
    }

    /// Nothing is changed, and the failure has this kind and text.
    async fn check_refused(test: &mut TestRun, kind: ErrorKind, part: &str) {
        let before = test.run.dockerfile().unwrap().text().to_owned();
        let failure = test.plugin(&plugin(), json!({})).await.unwrap_err().into_failure();
        assert!(failure.kind == kind && failure.to_string().contains(part), "{failure}");
        assert_eq!(test.run.dockerfile().unwrap().text(), before);
    }

    #[tokio::test]
    async fn what_is_refused() {
        let one = ["/etc/yum.repos.d/a.repo"];
        for name in ["/etc/yum.repos.d/a'b.repo", "/etc/yum.repos.d/a\nb.repo"] {
            let mut test = with_repos("FROM a\n", "", &[name]).await;
            check_refused(&mut test, ErrorKind::User, "cannot be the name of a repo file").await;
        }
        let mut test = with_repos("FROM a\n", "x\nRUN y", &one).await;
        check_refused(&mut test, ErrorKind::User, "the parent image's user \"x\\nRUN y\" cannot stand").await;
        let mut test = with_repos("FROM b AS x\nRUN y\nFROM a\n", "", &one).await;
        check_refused(&mut test, ErrorKind::Internal, "the parent b:latest was not pulled").await;
        let mut test = with_repos("FROM a\n", "", &one).await;
        let folder = test.run.source().unwrap().dockerfile_dir().to_owned();
        std::os::unix::fs::symlink("/tmp", folder.join("atomic-reactor-repos")).unwrap();
        check_refused(&mut test, ErrorKind::User, "the repository has atomic-reactor-repos, which the build makes")
            .await;
    }
}
