//! `change_from_in_dockerfile`: builds against exactly the parents that were pulled (`reactor.md` 3.1.13).
//!
//! Its failure is fatal (6.2, M2): a build must not silently use whatever the tag names by then.

use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::run::Run;
use async_trait::async_trait;
use osbs_types::{Digest, Phase};
use serde_json::json;

/// The plugin's type.
pub fn plugin() -> PluginType {
    PluginType::new("change_from_in_dockerfile", &[Phase::Prebuild], |_| Ok(Box::new(ChangeFrom)))
        .purpose("Puts the ids of the pulled parents into every FROM, so that the build uses exactly them.")
        .accepts(&["base_image"])
        .reads(&["the parents as pull_base_image, inject_parent_image or add_filesystem left them"])
        .writes(&["the Dockerfile: its FROM lines", "the parents: their ids as names"])
}

struct ChangeFrom;

/// The image id for each parent of the Dockerfile, `scratch` as it is.
fn ids(run: &Run, parents: &[String]) -> Result<Vec<String>, PluginError> {
    parents
        .iter()
        .map(|parent| {
            if parent == "scratch" {
                return Ok(parent.clone());
            }
            let usable = run
                .parents
                .images
                .get(parent)
                .ok_or_else(|| PluginError::internal(format!("the parent {parent} was lost on the way")))?
                .as_ref()
                .ok_or_else(|| PluginError::internal(format!("the parent {parent} was never pulled")))?;
            let id: Option<Digest> = run.parents.local_ids.get(usable).cloned().or_else(|| usable.parse().ok());
            id.map(|id| id.to_string())
                .ok_or_else(|| PluginError::internal(format!("the parent {usable} has no image id on this machine")))
        })
        .collect()
}

/// The last FROM is still the base image that the other plugins know.
fn check_base(run: &Run, parents: &[String]) -> Result<(), PluginError> {
    let Some(last) = parents.last().filter(|last| *last != "scratch") else { return Ok(()) };
    let known = run.parents.base_image.as_deref().unwrap_or("scratch");
    match run.parents.images.get(last) {
        Some(Some(usable)) if usable != known => Err(PluginError::internal(format!(
            "the base image of the Dockerfile, {last}, is {usable} and not {known}, which was prepared"
        ))),
        _ => Ok(()),
    }
}

#[async_trait]
impl Plugin for ChangeFrom {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let source = run.source()?;
        let mut dockerfile = source.dockerfile()?;
        let original = dockerfile.text().to_owned();
        let parents = dockerfile.parents_ordered()?;
        check_base(run, &parents)?;
        let ids = ids(run, &parents)?;
        dockerfile.set_parents(&ids)?;
        source.write_dockerfile(&dockerfile)?;
        run.original_dockerfile.get_or_insert(original);
        for (parent, id) in parents.iter().zip(&ids).filter(|(parent, _)| *parent != "scratch") {
            run.log().info(format!("FROM {parent} is {id}"));
            run.parents.images.insert(parent.clone(), Some(id.clone()));
        }
        run.parents.base_image = ids.last().filter(|id| *id != "scratch").cloned();
        Ok(Done::Value(json!(ids)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build_json::PluginLists;
    use crate::testing::run_with;
    use osbs_types::ErrorKind;

    const ONE: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
    const TWO: &str = "sha256:2222222222222222222222222222222222222222222222222222222222222222";

    /// With the parents `a` (pulled as `r/a`, id ONE) and `b` (id TWO), and `never` that was not pulled. `expected` is the
    /// Dockerfile afterwards with 1 and 2 for the ids, or a part of the failure.
    async fn check_change(text: &str, base: Option<&str>, expected: Result<&str, &str>) {
        let mut test = run_with(text, &[], PluginLists::default()).await;
        let parents = &mut test.run.parents;
        let usable = [
            ("a:latest", Some("r/a:latest")),
            ("b:latest", Some(TWO)),
            ("never:latest", None),
            ("no-id:latest", Some("r/x")),
        ];
        parents.images = usable.iter().map(|(name, usable)| ((*name).to_owned(), usable.map(str::to_owned))).collect();
        parents.local_ids.insert("r/a:latest".to_owned(), ONE.parse().unwrap());
        parents.base_image = base.map(str::to_owned);
        let ended = test.plugin(&plugin(), json!({})).await;
        let found = test.run.dockerfile().unwrap().text().to_owned();
        match (ended, expected) {
            (Ok(_), Ok(expected)) => {
                assert_eq!(found, expected.replace("=1", ONE).replace("=2", TWO));
                assert_eq!(test.run.original_dockerfile.as_deref(), Some(text));
            }
            (Err(error), Err(part)) => {
                let failure = error.into_failure();
                assert!(failure.kind == ErrorKind::Internal && failure.to_string().contains(part), "{failure}");
                assert_eq!(found, text, "a failure leaves the Dockerfile alone");
            }
            (other, _) => panic!("{text}: {other:?}, expected {expected:?}"),
        }
    }

    #[tokio::test]
    async fn parents() {
        let base = Some("r/a:latest");
        check_change("FROM a\nRUN x\n", base, Ok("FROM =1\nRUN x\n")).await;
        check_change("from b as X\nFROM  a\n", base, Ok("FROM =2 AS X\nFROM =1\n")).await;
        let platform = "FROM --platform=linux/amd64 b AS x\n# why\nFROM scratch\nCOPY --from=x / /\n";
        let changed = "FROM --platform=linux/amd64 =2 AS x\n# why\nFROM scratch\nCOPY --from=x / /\n";
        check_change(platform, None, Ok(changed)).await;
        check_change("FROM a AS x\nFROM x\n", base, Ok("FROM =1 AS x\nFROM x\n")).await;
        check_change("FROM scratch\nADD x /\n", None, Ok("FROM scratch\nADD x /\n")).await;
    }

    #[tokio::test]
    async fn what_went_wrong_before() {
        check_change("FROM lost\n", Some("r/lost"), Err("the parent lost:latest was lost on the way")).await;
        check_change("FROM never\n", Some("r/never"), Err("the parent never:latest was never pulled")).await;
        check_change("FROM no-id\n", Some("r/x"), Err("the parent r/x has no image id on this machine")).await;
        let mismatch = "the base image of the Dockerfile, b:latest, is sha256:2222";
        check_change("FROM b\n", Some("r/a:latest"), Err(mismatch)).await;
        check_change("FROM b\n", None, Err("and not scratch, which was prepared")).await;
    }

    /// M2: the build must not go on with whatever the tag names by then.
    #[test]
    fn its_failure_is_fatal() {
        assert!(!plugin().allowed_to_fail);
    }
}
