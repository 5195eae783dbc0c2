//! `koji`: a package repository of the target's build tag, for use while the image is built (`reactor.md` 3.1.19).

use crate::koji::{KojiArgs, with_koji_arguments};
use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::plugins::inject_yum_repo::REPO_FOLDER;
use crate::run::Run;
use crate::stage_users::on_scratch;
use async_trait::async_trait;
use md5::{Digest as _, Md5};
use osbs_koji::calls;
use osbs_types::Phase;
use serde::Deserialize;
use serde_json::json;

/// The plugin's type.
pub fn plugin() -> PluginType {
    let kind = PluginType::new("koji", &[Phase::Prebuild], |args| Ok(Box::new(args.parse::<KojiRepository>()?)))
        .purpose("Makes the repository of the target's build tag in Koji available while the image is built.")
        .argument("target", "the build target")
        .argument("proxy", "proxy for it, where config.yaml has no yum_proxy; default none")
        .argument("hub", "XML-RPC URL of the hub, where config.yaml has no `koji`")
        .argument("root", "URL of the hub's files, where config.yaml has no `koji`");
    with_koji_arguments(kind)
        .reads(&["config.yaml: koji, yum_proxy, yum_repo_gpgcheck, yum_repo_sslverify"])
        .writes(&["the queue of files for inject_yum_repo, under /etc/yum.repos.d/"])
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct KojiRepository {
    target: Option<String>,
    proxy: Option<String>,
    #[serde(flatten)]
    koji: KojiArgs,
}

#[async_trait]
impl Plugin for KojiRepository {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let Some(target) = &self.target else { return Ok(Done::Skipped("the request has no target".to_owned())) };
        if on_scratch(&run.dockerfile()?)?.iter().all(|scratch| *scratch) {
            return Ok(Done::Skipped("the image is from scratch".to_owned()));
        }
        let koji = run.needed_koji(&self.koji).await?;
        if koji.root_url.is_empty() {
            let text = "the URL of Koji's files is not known, so its repository cannot be used";
            return Err(PluginError::policy(text).with_hint("give koji.root_url in config.yaml"));
        }
        let tag = koji.target(target).await?.build_tag_name;
        let Some(repo) = koji.ask(calls::get_repo(tag.as_str())).await? else {
            run.log().warning(format!("Koji has no repository of tag {tag}: no packages come from it"));
            return Ok(Done::nothing());
        };
        let base_url = format!("{}/repos/{tag}/{}/$basearch", koji.root_url, repo.id);
        let proxy = run.config.yum_proxy.as_deref().or(self.proxy.as_deref()).filter(|proxy| !proxy.is_empty());
        let config = &run.config;
        let text = repo_file(target, &base_url, proxy, (config.yum_repo_gpgcheck, config.yum_repo_sslverify))?;
        let path = path(target);
        run.log().info(format!("packages of Koji's tag {tag}: {base_url}"));
        run.files.insert(path.clone(), text);
        Ok(Done::Value(json!(path)))
    }
}

/// The repo file. Signatures are not checked unless the site says so: what Koji has built is often not signed yet.
/// Certificates are verified unless the site says otherwise (`reactor.md` X5).
fn repo_file(
    target: &str,
    base_url: &str,
    proxy: Option<&str>,
    (gpgcheck, sslverify): (Option<bool>, Option<bool>),
) -> Result<String, PluginError> {
    if [Some(target), Some(base_url), proxy].into_iter().flatten().any(|text| text.chars().any(char::is_control)) {
        return Err(PluginError::policy("the target, root_url and yum_proxy must be one line each"));
    }
    let flag = |value: bool| u8::from(value);
    let name = format!("atomic-reactor-koji-plugin-{target}");
    let mut text =
        format!("[{name}]\nname={name}\nbaseurl={base_url}\nenabled=1\ngpgcheck={}\n", flag(gpgcheck.unwrap_or(false)));
    if base_url.starts_with("https:") {
        text.push_str(&format!("sslverify={}\n", flag(sslverify.unwrap_or(true))));
    }
    if let Some(proxy) = proxy {
        text.push_str(&format!("proxy={proxy}\n"));
    }
    Ok(text)
}

/// `/etc/yum.repos.d/TARGET-HASH.repo`; what a file name should not have becomes `_`.
fn path(target: &str) -> String {
    let hash = Md5::digest(format!("{REPO_FOLDER}{target}"));
    let digits = format!("{:02x}{:02x}{:02x}", hash[0], hash[1], hash[2]);
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._+-".contains(c) { c } else { '_' };
    let stem: String = target.chars().map(plain).collect();
    format!("{REPO_FOLDER}{stem}-{}.repo", &digits[..5])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files() {
        let text = repo_file("f40", "https://k/repos/f40-build/7/$basearch", Some("http://p"), (None, None)).unwrap();
        let expected = "[atomic-reactor-koji-plugin-f40]\nname=atomic-reactor-koji-plugin-f40\n\
                        baseurl=https://k/repos/f40-build/7/$basearch\nenabled=1\ngpgcheck=0\nsslverify=1\nproxy=http://p\n";
        assert_eq!(text, expected);
        let text = repo_file("f40", "http://k/x", None, (Some(true), Some(false))).unwrap();
        assert!(text.ends_with("enabled=1\ngpgcheck=1\n"), "{text}");
        let text = repo_file("f40", "https://k/x", None, (Some(true), Some(false))).unwrap();
        assert!(text.ends_with("gpgcheck=1\nsslverify=0\n"), "{text}");
        assert!(repo_file("f40\n[x]", "http://k", None, (None, None)).is_err());
    }

    #[test]
    fn paths() {
        assert!(path("f40").starts_with("/etc/yum.repos.d/f40-"));
        assert_eq!(path("f40").len(), "/etc/yum.repos.d/f40-12345.repo".len());
        assert!(path("../x y").starts_with("/etc/yum.repos.d/.._x_y-"));
    }
}
