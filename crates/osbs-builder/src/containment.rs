//! Whether the RUNs of a build get a user namespace, decided once a build.
//!
//! Must not mount or run anything: it asks what was found out about the runtime, and the file systems in question.

use crate::error::InstructionError;
use crate::request::{BuildRequest, UserNamespace};
use osbs_sandbox::{IdMap, IdMapError, Runtime, User};
use std::error::Error;
use std::path::Path;

/// The ids of the containers; `None`: they get no user namespace. `tell` says so, where one was hoped for.
///
/// # Errors
/// It must be and cannot be.
pub(crate) fn id_map(
    request: &BuildRequest<'_>,
    runtime: &Runtime,
    work: &Path,
    tell: &dyn Fn(&[u8]),
) -> Result<Option<&'static IdMap>, InstructionError> {
    if request.user_namespace == UserNamespace::Off {
        return Ok(None);
    }
    match find(request, runtime, work) {
        Ok(map) => Ok(map),
        Err(reason) => missing(request.user_namespace, &reason, tell),
    }
}

/// The map for a command's user: not every id that can be written has one.
pub(crate) fn for_user(
    map: Option<&'static IdMap>,
    user: &User,
    wanted: UserNamespace,
    tell: &dyn Fn(&[u8]),
) -> Result<Option<&'static IdMap>, InstructionError> {
    if map.is_none() || IdMap::covers(user) {
        return Ok(map);
    }
    missing(wanted, "the ids of USER are above 1999999999", tell)
}

fn missing(
    wanted: UserNamespace,
    reason: &str,
    tell: &dyn Fn(&[u8]),
) -> Result<Option<&'static IdMap>, InstructionError> {
    if wanted == UserNamespace::Always {
        let instead = Some("mend that, or ask for a user namespace only where it can be (auto)".to_owned());
        return Err(InstructionError::Unsupported { what: format!("RUN in a user namespace ({reason})"), instead });
    }
    tell(format!("RUN without a user namespace: {reason}").as_bytes());
    Ok(None)
}

fn find(request: &BuildRequest<'_>, runtime: &Runtime, work: &Path) -> Result<Option<&'static IdMap>, String> {
    let map = match IdMap::get() {
        Ok(map) => map,
        // Whoever is root in a container of ours is nobody's root already.
        Err(IdMapError::Inside) => return Ok(None),
        Err(error) => return Err(with_causes(&error)),
    };
    if let Some(reason) = &runtime.no_user_namespace {
        return Err(reason.clone());
    }
    let layers = request.store.root().join("layers");
    let context = std::fs::canonicalize(request.context).ok();
    let cache = request.cache_dir.as_deref();
    // A cache folder that is not there yet will be on the file system of the nearest that is.
    let cache = cache.and_then(|folder| Some((folder.ancestors().find(|part| part.exists())?, folder.exists())));
    let folders = [(work, false), (&layers, false)].into_iter();
    for (folder, whole) in folders.chain(context.as_deref().map(|folder| (folder, true))).chain(cache) {
        map.check(folder, whole).map_err(|error| with_causes(&error))?;
    }
    Ok(Some(map))
}

fn with_causes(error: &dyn Error) -> String {
    let (mut text, mut next) = (error.to_string(), error.source());
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn auto_says_so_and_always_fails() {
        let said = RefCell::new(Vec::new());
        let tell = |line: &[u8]| said.borrow_mut().push(String::from_utf8_lossy(line).into_owned());
        assert!(missing(UserNamespace::Auto, "why", &tell).expect("goes on").is_none());
        let error = missing(UserNamespace::Always, "why", &tell).expect_err("must be");
        assert!(error.to_string().contains("why"), "{error}");
        assert_eq!(*said.borrow(), ["RUN without a user namespace: why"]);
    }
}
