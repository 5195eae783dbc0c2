//! Where files lie below the hub's folder (`KojiDir`), as Koji's own programs expect them (client-and-koji 6.5).
//!
//! Names only: what is there is looked at through `osbs_sandbox::Root`.

use crate::call_error::{CallError, refused};
use std::path::{Component, Path, PathBuf};

/// Uploads, and the output of tasks.
pub(crate) const WORK: &str = "work";

/// Builds.
pub(crate) const PACKAGES: &str = "packages";

/// Where an import is put together before it takes its place, and says what it does.
pub(crate) const IMPORTING: &str = "importing";

/// Tasks lie in so many folders, so that none has too many names.
const TASK_FOLDERS: i64 = 10_000;

/// The folder of a task's output, below the work folder.
pub(crate) fn task_folder(id: i64) -> PathBuf {
    Path::new("tasks").join((id.rem_euclid(TASK_FOLDERS)).to_string()).join(id.to_string())
}

/// The task whose output a folder below the work folder is, or is in.
pub(crate) fn task_of_folder(path: &Path) -> Option<Result<i64, CallError>> {
    let mut names = path.components().map(|name| name.as_os_str().to_str().unwrap_or_default());
    if names.next() != Some("tasks") {
        return None;
    }
    let (bucket, id) = (names.next(), names.next());
    let id = id.and_then(|id| id.parse::<i64>().ok());
    let right = id.filter(|id| bucket == Some((id.rem_euclid(TASK_FOLDERS)).to_string().as_str()));
    Some(right.ok_or_else(|| refused(format!("Invalid upload directory: {}", path.display()))))
}

/// The folder of a build, below the hub's.
pub(crate) fn build_folder(name: &str, version: &str, release: &str) -> PathBuf {
    Path::new(PACKAGES).join(name).join(version).join(release)
}

/// A path that somebody sent: names only, no `..`; slashes at its ends and `.` are left out.
///
/// # Errors
/// 1000, with `what` it is.
pub(crate) fn below(what: &str, path: &str) -> Result<PathBuf, CallError> {
    let wrong = || refused(format!("Invalid {what}: {path}"));
    if path.contains('\0') {
        return Err(wrong());
    }
    let mut clean = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(wrong()),
        }
    }
    Ok(clean)
}

/// A file's name that somebody sent: one name, not a hidden one.
///
/// # Errors
/// 1000, with `what` it is.
pub(crate) fn file_name<'a>(what: &str, name: &'a str) -> Result<&'a str, CallError> {
    let wrong = name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) || name.len() > 255;
    if wrong { Err(refused(format!("Invalid {what}: {name}"))) } else { Ok(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_lie_where_koji_looks_for_them() {
        assert_eq!(task_folder(26), Path::new("tasks/26/26"));
        assert_eq!(task_folder(1_230_007), Path::new("tasks/7/1230007"));
    }

    fn check_task(path: &str, expected: Option<Result<i64, i64>>) {
        let found = task_of_folder(Path::new(path)).map(|task| task.map_err(|error| error.into_fault().code));
        assert_eq!(found, expected, "{path}");
    }

    #[test]
    fn folders_of_tasks_are_known() {
        check_task("tasks/7/1230007", Some(Ok(1_230_007)));
        check_task("tasks/7/1230007/sub", Some(Ok(1_230_007)));
        check_task("tasks/8/1230007", Some(Err(1000)));
        check_task("tasks/7", Some(Err(1000)));
        check_task("tasks/x/x", Some(Err(1000)));
        check_task("koji-upload/1505902534.25.AbCdEfGh", None);
        check_task("", None);
    }

    fn check_below(path: &str, expected: Result<&str, i64>) {
        let found = below("directory", path).map_err(|error| error.into_fault().code);
        assert_eq!(found, expected.map(PathBuf::from), "{path}");
    }

    #[test]
    fn paths_stay_below() {
        check_below("a/b", Ok("a/b"));
        check_below("/a//./b/", Ok("a/b"));
        check_below("", Ok(""));
        check_below("a/../b", Err(1000));
        check_below("..", Err(1000));
        check_below("a\0b", Err(1000));
    }

    #[test]
    fn names_are_names() {
        for name in ["", ".hidden", "..", "a/b", "a\0b"] {
            assert!(file_name("name", name).is_err(), "{name}");
        }
        assert!(file_name("name", "docker-image-sha256:6c2f.x86_64.tar.gz").is_ok());
    }
}
