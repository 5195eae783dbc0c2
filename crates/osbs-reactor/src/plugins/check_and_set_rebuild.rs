//! `check_and_set_rebuild`: is this an autorebuild, and will the next triggered build be seen as one? (`reactor.md` 3.1.2)

use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::run::Run;
use crate::source::SourceTree;
use async_trait::async_trait;
use osbs_types::Phase;
use serde::Deserialize;
use serde_json::json;

/// The plugin's type.
pub fn plugin() -> PluginType {
    PluginType::new("check_and_set_rebuild", &[Phase::Prebuild], |args| Ok(Box::new(args.parse::<CheckRebuild>()?)))
        .purpose(
            "Tells whether nobody asked for this build but a trigger, and lets the next triggered one be seen as such.",
        )
        .argument("label_key", "label that marks such builds; is_autorebuild unless said")
        .argument("label_value", "its value; true unless said")
        .accepts(&["url", "verify_ssl", "use_auth", "build_json_dir"])
        .reads(&["labels of the build", "`autorebuild.from_latest` of container.yaml"])
        .writes(&[
            "the label on the BuildConfig",
            "the clone and the workers' git_ref, moved to the latest commit where container.yaml asks for that",
        ])
}

#[derive(Deserialize)]
#[serde(default)]
struct CheckRebuild {
    label_key: String,
    label_value: String,
}

impl Default for CheckRebuild {
    fn default() -> Self {
        Self { label_key: "is_autorebuild".to_owned(), label_value: "true".to_owned() }
    }
}

#[async_trait]
impl Plugin for CheckRebuild {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        if run.parents.base_is_scratch() || run.parents.base_is_custom() {
            return Ok(Done::Skipped("the base image is no image that could change".to_owned()));
        }
        let is_autorebuild = run.build.labels.get(&self.label_key) == Some(&self.label_value);
        if !is_autorebuild {
            self.mark_build_config(run).await?;
        } else if run.container_yaml()?.autorebuild_from_latest {
            use_latest(run).await?;
        }
        run.log().info(if is_autorebuild { "this is an autorebuild" } else { "this is no autorebuild" });
        Ok(Done::Value(json!(is_autorebuild)))
    }
}

impl CheckRebuild {
    /// Builds that a trigger makes from the BuildConfig inherit its labels.
    async fn mark_build_config(&self, run: &Run) -> Result<(), PluginError> {
        let name = run.build.labels.get("buildconfig").or(run.build.build_config.as_ref());
        let Some(name) = name else {
            run.log().debug("the build has no BuildConfig, so nothing can trigger another");
            return Ok(());
        };
        let cluster = &run.services.cluster;
        let Some(mut config) = cluster.get_build_config(name).await? else {
            run.log().warning(format!("the BuildConfig {name} is gone, so nothing can trigger another build"));
            return Ok(());
        };
        if config.labels.get(&self.label_key) != Some(&self.label_value) {
            config.labels.insert(self.label_key.clone(), self.label_value.clone());
            cluster.ensure_build_config(config).await?;
        }
        Ok(())
    }
}

/// Builds from the newest commit of the branch instead of the one the BuildConfig names, here and in the workers.
async fn use_latest(run: &mut Run) -> Result<(), PluginError> {
    let Some(branch) = run.build.labels.get("git-branch").cloned() else {
        let text = "container.yaml wants autorebuilds from the latest commit, but the build has no label git-branch";
        return Err(PluginError::user(text));
    };
    let written = run.request.source.clone();
    run.request.source.provider_params.git_branch = Some(branch.clone());
    run.request.source.provider_params.git_commit = Some(branch.clone());
    let fetched = SourceTree::fetch(run).await;
    run.request.source = written;
    let tree = fetched?;
    let parents = tree.parents()?;
    let Some(commit) = tree.commit_id().map(str::to_owned) else {
        return Err(PluginError::user("the source is no git repository, so it has no latest commit"));
    };
    run.parents = parents;
    if let Some(old) = run.source_tree.replace(tree) {
        let removed = tokio::task::spawn_blocking(move || old.remove()).await;
        if !matches!(removed, Ok(Ok(()))) {
            run.log().warning("the source of the commit that is not built could not be removed");
        }
    }
    run.request.source.provider_params.git_commit = Some(commit.clone());
    run.log().info(format!("autorebuild from the latest commit of {branch}: {commit}"));
    run.build_kwarg_overrides.entry(None).or_default().insert("git_ref".to_owned(), commit.into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build_json::{PluginLists, ProviderParams, SourceSpec};
    use crate::testing::{TestRun, run_with, run_without_source};
    use osbs_cluster::{BuildConfig, Cluster as _, GitSource};
    use std::path::Path;
    use std::process::Command;

    async fn with_config(dockerfile: &str, label: Option<&str>) -> TestRun {
        let mut test = run_with(dockerfile, &[], PluginLists::default()).await;
        let source = GitSource { uri: "https://git.example.com/web.git".to_owned(), git_ref: "main".to_owned() };
        let labels = [("git-branch".to_owned(), "main".to_owned())].into();
        let config = BuildConfig { name: "web-main".to_owned(), labels, source, last_version: 0 };
        test.cluster.ensure_build_config(config).await.unwrap();
        test.run.build.labels.insert("buildconfig".to_owned(), "web-main".to_owned());
        if let Some(value) = label {
            test.run.build.labels.insert("is_autorebuild".to_owned(), value.to_owned());
        }
        test
    }

    async fn check_rebuild(dockerfile: &str, label: Option<&str>, expected: Option<bool>, marked: bool) {
        let mut test = with_config(dockerfile, label).await;
        let ended = test.plugin(&plugin(), json!({})).await.unwrap();
        match expected {
            Some(expected) => assert_eq!(ended, Done::Value(json!(expected))),
            None => assert!(matches!(ended, Done::Skipped(_))),
        }
        let config = test.cluster.get_build_config("web-main").await.unwrap().unwrap();
        assert_eq!(config.labels.contains_key("is_autorebuild"), marked, "{dockerfile} {label:?}");
        assert_eq!(config.labels["git-branch"], "main", "other labels stay");
    }

    #[tokio::test]
    async fn labels() {
        check_rebuild("FROM a\n", None, Some(false), true).await;
        check_rebuild("FROM a\n", Some("false"), Some(false), true).await;
        check_rebuild("FROM a\n", Some("true"), Some(true), false).await;
        check_rebuild("FROM scratch\n", Some("true"), None, false).await;
        check_rebuild("FROM koji/image-build\n", None, None, false).await;
    }

    #[tokio::test]
    async fn without_build_config() {
        for name in [None, Some("gone")] {
            let mut test = run_with("FROM a\n", &[], PluginLists::default()).await;
            test.run.build.labels.extend(name.map(|name| ("buildconfig".to_owned(), name.to_owned())));
            assert_eq!(test.plugin(&plugin(), json!({})).await.unwrap(), Done::Value(json!(false)));
        }
    }

    fn git(folder: &Path, args: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"])
            .args(args)
            .current_dir(folder)
            .output()
            .unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    #[tokio::test]
    async fn from_latest() {
        let mut test = run_without_source(PluginLists::default()).await;
        let repo = test.folder.path().join("repo");
        git(&repo, &["init", "-q"]);
        let mut commits = Vec::new();
        for base in ["old", "new"] {
            std::fs::write(repo.join("Dockerfile"), format!("FROM {base}\n")).unwrap();
            std::fs::write(repo.join("container.yaml"), "autorebuild: {from_latest: true}\n").unwrap();
            git(&repo, &["add", "."]);
            git(&repo, &["commit", "-q", "-m", base]);
            commits.push(git(&repo, &["rev-parse", "HEAD"]));
        }
        test.run.request.source = SourceSpec {
            provider: "git".to_owned(),
            uri: repo.to_string_lossy().into_owned(),
            dockerfile_path: None,
            provider_params: ProviderParams { git_commit: Some(commits[0].clone()), ..Default::default() },
        };
        let tree = SourceTree::fetch(&test.run).await.unwrap();
        test.run.parents = tree.parents().unwrap();
        test.run.source_tree = Some(tree);
        test.run.build.labels.insert("is_autorebuild".to_owned(), "true".to_owned());
        let failure = test.plugin(&plugin(), json!({})).await.unwrap_err().into_failure();
        assert!(failure.message.contains("git-branch"), "{failure}");
        test.run.build.labels.insert("git-branch".to_owned(), "main".to_owned());
        test.plugin(&plugin(), json!({})).await.unwrap();
        assert_eq!(test.run.source().unwrap().commit_id(), Some(commits[1].as_str()));
        assert_eq!(test.run.build_kwarg_overrides[&None]["git_ref"], commits[1].as_str());
        assert_eq!(test.run.parents.base_image.as_deref(), Some("new:latest"));
    }
}
