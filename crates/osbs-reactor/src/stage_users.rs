//! Who a stage of the Dockerfile runs as, and which stages stand on `scratch`: for plugins that insert commands which
//! need root.
//!
//! Reads the Dockerfile and image configurations; changes nothing.

use crate::plugin::PluginError;
use crate::run::Run;
use osbs_dockerfile::{Dockerfile, InstructionKind, Parent};
use osbs_image::StoredImage;
use osbs_types::Digest;

/// Whether each stage stands on `scratch`, directly or through earlier stages. Such a stage may have no shell and no
/// `/etc`, so nothing is inserted into it.
///
/// # Errors
/// A FROM that cannot be read.
pub(crate) fn on_scratch(dockerfile: &Dockerfile) -> Result<Vec<bool>, PluginError> {
    let mut stages: Vec<bool> = Vec::new();
    for parent in dockerfile.parents()? {
        stages.push(match parent {
            Parent::Scratch => true,
            Parent::Stage(earlier) => stages.get(earlier).copied().unwrap_or_default(),
            Parent::Custom(_) | Parent::Image(_) => false,
        });
    }
    Ok(stages)
}

/// Whether a stage runs commands: only there does it matter which files they see.
pub(crate) fn runs_commands(dockerfile: &Dockerfile, stage: usize) -> bool {
    let stages = dockerfile.stages();
    let mut instructions = stages.get(stage).into_iter().flat_map(|stage| stage.instructions.iter());
    instructions.any(|instruction| matches!(instruction.kind, InstructionKind::Run(_)))
}

/// Lines between `USER root` and the user's own line, where there is such a user.
pub(crate) fn as_root(lines: &[String], user: Option<String>) -> Vec<String> {
    let root = user.as_ref().map(|_| "USER root".to_owned());
    root.into_iter().chain(lines.iter().cloned()).chain(user).collect()
}

/// The `USER` line that a stage inherits from its parent, image or stage; `None` for root by default.
///
/// # Errors
/// The parent's configuration is not there, or names a user that cannot stand in a Dockerfile.
pub(crate) fn inherited(run: &Run, dockerfile: &Dockerfile, stage: usize) -> Result<Option<String>, PluginError> {
    let parents = dockerfile.parents()?;
    let mut at = stage;
    loop {
        match parents.get(at) {
            Some(Parent::Stage(earlier)) => {
                if let Some(own) = own(dockerfile, *earlier) {
                    return Ok(Some(own));
                }
                at = *earlier;
            }
            Some(Parent::Custom(image) | Parent::Image(image)) => {
                let is_base = at + 1 == parents.len();
                return user_line(&image_user(run, image, is_base)?);
            }
            Some(Parent::Scratch) | None => return Ok(None),
        }
    }
}

/// The stage's last `USER` instruction, on one line.
pub(crate) fn own(dockerfile: &Dockerfile, stage: usize) -> Option<String> {
    let stages = dockerfile.stages();
    let mut instructions = stages.get(stage)?.instructions.iter().rev();
    let found = instructions.find(|instruction| matches!(instruction.kind, InstructionKind::User(_)))?;
    let is_continued = found.original.contains(['\n', '\r']);
    Some(if is_continued { found.logical.clone() } else { found.original.clone() })
}

fn image_user(run: &Run, image: &str, is_base: bool) -> Result<String, PluginError> {
    if let Some(inspect) = run.parents.base_inspect.as_ref().filter(|_| is_base) {
        return Ok(inspect.user.clone());
    }
    if is_base && run.parents.base_is_custom() {
        return Ok(String::new());
    }
    let usable = run.parents.images.get(image).and_then(Option::as_deref).unwrap_or(image);
    let id: Option<Digest> = run.parents.local_ids.get(usable).cloned().or_else(|| usable.parse().ok());
    let missing = || PluginError::internal(format!("the parent {image} was not pulled, so its user is unknown"));
    let stored = StoredImage::by_id(&run.services.store, &id.ok_or_else(missing)?)?.ok_or_else(missing)?;
    Ok(stored.image_config.config.user)
}

/// An image may name anything as its user; only a name, an id or a pair of them gets into the Dockerfile.
fn user_line(user: &str) -> Result<Option<String>, PluginError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.-+@:".contains(c);
    match user {
        "" => Ok(None),
        _ if user.chars().all(is_plain) => Ok(Some(format!("USER {user}"))),
        _ => Err(PluginError::user(format!("the parent image's user {user:?} cannot stand in a Dockerfile"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_scratch(text: &str, expected: &[bool]) {
        assert_eq!(on_scratch(&Dockerfile::parse(text, "Dockerfile").unwrap()).unwrap(), expected, "{text}");
    }

    #[test]
    fn stages_on_scratch() {
        check_scratch("FROM scratch\n", &[true]);
        check_scratch("FROM scratch AS a\nFROM a AS b\nFROM b\n", &[true, true, true]);
        check_scratch("FROM fedora AS a\nFROM scratch\n", &[false, true]);
        check_scratch("FROM scratch AS fedora\nFROM fedora\n", &[true, true]);
        check_scratch("FROM scratch AS a\nFROM fedora\n", &[true, false]);
        check_scratch("ARG B=scratch\nFROM $B\n", &[true]);
    }

    #[test]
    fn users_of_images() {
        for (user, expected) in [
            ("", Ok(None)),
            ("1001", Ok(Some("USER 1001"))),
            ("app:grp", Ok(Some("USER app:grp"))),
            ("a\nRUN x", Err(())),
            ("$HOME", Err(())),
            ("a b", Err(())),
        ] {
            let found = user_line(user);
            assert_eq!(found.as_ref().map(|line| line.as_deref()).map_err(|_| ()), expected, "{user:?}");
        }
    }

    #[test]
    fn users_of_stages() {
        for (text, expected) in [
            ("FROM a\nRUN x\n", None),
            ("FROM a\nUSER 1\nuser  2\nRUN x\n", Some("user  2")),
            ("FROM a\nUSER \\\n  7\n", Some("USER   7")),
            ("FROM a\nUSER 1\nFROM b\n", None),
        ] {
            let dockerfile = Dockerfile::parse(text, "Dockerfile").unwrap();
            assert_eq!(own(&dockerfile, dockerfile.stages().len() - 1).as_deref(), expected, "{text}");
        }
    }
}
