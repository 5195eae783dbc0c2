//! Files of an import, all or none, whatever happens in the middle.
//!
//! `importing/ID/` holds `build/`, the build's folder in the making, with the uploads as hard links, and `journal.json`,
//! which says where it goes. The order is: links and journal on disk; `build/` renamed to its place; the database's
//! transaction, with a row `ID` in `imports`, committed; every upload replaced by a symbolic link; `importing/ID` removed.
//! Until the commit the uploads are as they were, so that what is found without a row is taken back, and what is found
//! with one is completed: by the call itself, or when the hub starts the next time.

use crate::call_error::CallError;
use crate::paths::IMPORTING;
use crate::uploads::{files, io_error, ourselves};
use osbs_sandbox::rooted::{Root, RootedError};
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::path::{Path, PathBuf};

const JOURNAL: &str = "journal.json";

/// The ending of what is only to be removed.
const DONE: &str = ".done";

/// A journal is short: paths of a build's files.
const LONGEST: u64 = 64 << 20;

/// One file's way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Move {
    /// The upload, below the hub's folder.
    pub from: PathBuf,
    /// Its place in the build's folder.
    pub to: PathBuf,
}

/// What an import does to files.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Journal {
    /// The name of its folder, and of its row in `imports`.
    pub id: String,
    /// The build's folder, below the hub's.
    pub build_folder: PathBuf,
    pub moves: Vec<Move>,
}

/// A small file that the hub itself adds to a build's folder.
#[derive(Debug)]
pub(super) struct Note<'a> {
    pub to: &'a str,
    pub content: &'a str,
}

impl Journal {
    fn folder(&self) -> PathBuf {
        Path::new(IMPORTING).join(&self.id)
    }

    fn staging(&self) -> PathBuf {
        self.folder().join("build")
    }

    /// Links and notes are made, and the journal is on disk. If it fails, nothing is left.
    ///
    /// # Errors
    /// The file system's refusal.
    pub(super) fn prepare(&self, top: &Root, notes: &[Note<'_>]) -> Result<(), CallError> {
        self.try_prepare(top, notes).inspect_err(|_| self.discard(top))
    }

    fn try_prepare(&self, top: &Root, notes: &[Note<'_>]) -> Result<(), CallError> {
        let staging = self.staging();
        let mut folders = top.mkdir_all(&staging, 0o755, ourselves()).map_err(files)?;
        for Move { from, to } in &self.moves {
            let to = staging.join(to);
            folders.extend(make_parent(top, &to)?);
            if top.lstat(&to).map_err(files)?.is_some() {
                let text = format!("Error importing archive file, two outputs have the name {}", to.display());
                return Err(crate::call_error::refused(text));
            }
            link_or_copy(top, from, &to)?;
        }
        for Note { to, content } in notes {
            let to = staging.join(to);
            folders.extend(make_parent(top, &to)?);
            write_durably(top, &to, content.as_bytes())?;
        }
        let text = serde_json::to_vec(self).map_err(|error| io_error(error.into()))?;
        write_durably(top, &self.folder().join(JOURNAL), &text)?;
        folders.extend([self.folder(), IMPORTING.into()]);
        folders.iter().try_for_each(|folder| top.sync_folder(folder)).map_err(files)
    }

    /// The build's folder takes its place.
    ///
    /// # Errors
    /// The file system's refusal; something is there.
    pub(super) fn take_place(&self, top: &Root) -> Result<(), CallError> {
        make_parent(top, &self.build_folder)?;
        top.rename(&self.staging(), &self.build_folder).map_err(files)?;
        top.sync_folder(parent(&self.build_folder)).map_err(files)
    }

    /// Takes everything back. What cannot be done now is done when the hub starts the next time.
    pub(super) fn take_back(&self, top: &Root) {
        let placed = matches!(top.lstat(&self.staging()), Ok(None));
        if placed {
            // Not found: it never took its place.
            match top.rename(&self.build_folder, &self.staging()) {
                Err(error) if !error.is_not_found() => return,
                _ => {}
            }
        }
        self.discard(top);
    }

    /// Uploads become links to where their bytes are now. What cannot be done now is done when the hub starts the next
    /// time.
    ///
    /// # Errors
    /// The file system's refusal.
    pub(super) fn complete(&self, top: &Root) -> Result<(), RootedError> {
        for Move { from, to } in &self.moves {
            let target = relative(parent(from), &self.build_folder.join(to));
            gone_is_fine(top.symlink(&target, from))?;
        }
        for Move { from, .. } in &self.moves {
            gone_is_fine(top.sync_folder(parent(from)))?;
        }
        self.discard(top);
        Ok(())
    }

    /// Removes the import's own folder. First it gets a name by which its journal is no longer followed.
    fn discard(&self, top: &Root) {
        let (folder, done) = (self.folder(), self.folder().with_extension(&DONE[1..]));
        if top.rename(&folder, &done).is_ok() {
            let _ = top.sync_folder(Path::new(IMPORTING));
            let _ = top.remove_tree(&done);
        }
    }
}

/// Brings every import to an end that the hub did not live to see. `is_committed` says whether there is a row.
///
/// # Errors
/// The database failed, or the file system's refusal.
pub(super) fn recover(
    top: &Root,
    mut is_committed: impl FnMut(&str) -> Result<bool, CallError>,
) -> Result<usize, CallError> {
    let folder = Path::new(IMPORTING);
    if top.lstat(folder).map_err(files)?.is_none() {
        return Ok(0);
    }
    let mut found = 0;
    for name in top.list(folder).map_err(files)? {
        let place = folder.join(&name);
        let journal = match top.read_small(&place.join(JOURNAL), LONGEST) {
            Ok(text) if !name.to_string_lossy().ends_with(DONE) => serde_json::from_slice::<Journal>(&text).ok(),
            _ => None,
        };
        match journal {
            Some(journal) if is_committed(&journal.id)? => journal.complete(top).map_err(files)?,
            Some(journal) => journal.take_back(top),
            // It had not got so far that anything else was touched.
            None => drop(top.remove_tree(&place).map_err(files)?),
        }
        found += 1;
    }
    Ok(found)
}

/// The folder of the uploads may have been removed since.
fn gone_is_fine(done: Result<(), RootedError>) -> Result<(), RootedError> {
    match done {
        Err(error) if error.is_not_found() => Ok(()),
        done => done,
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn make_parent(top: &Root, path: &Path) -> Result<Vec<PathBuf>, CallError> {
    let mut made = top.mkdir_all(parent(path), 0o755, ourselves()).map_err(files)?;
    made.push(parent(path).to_owned());
    Ok(made)
}

fn link_or_copy(top: &Root, from: &Path, to: &Path) -> Result<(), CallError> {
    match top.hard_link(from, to) {
        // The work folder lies on another disk.
        Err(error) if error.source.kind() == std::io::ErrorKind::CrossesDevices => {
            top.copy_file(top, from, to, 0o644).map_err(files)?;
            top.open_file(to).map_err(files)?.sync_all().map_err(io_error)
        }
        linked => linked.map_err(files),
    }
}

fn write_durably(top: &Root, path: &Path, content: &[u8]) -> Result<(), CallError> {
    let mut file = top.create_file(path, 0o644).map_err(files)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(io_error)
}

/// The way from a folder to a path, both below the same root and without links.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let shared = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(shared).map(|_| "..");
    up.map(PathBuf::from).chain(to.components().skip(shared).map(|name| name.as_os_str().into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Place {
        dir: tempfile::TempDir,
        top: Root,
        journal: Journal,
    }

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir_all(dir.path().join("work/up")).unwrap();
            fs::create_dir_all(dir.path().join("packages")).unwrap();
            fs::write(dir.path().join("work/up/i.tar"), "image").unwrap();
            fs::write(dir.path().join("work/up/x.log"), "log").unwrap();
            let moves = [("work/up/i.tar", "images/i.tar"), ("work/up/x.log", "data/logs/x.log")];
            let moves = moves.map(|(from, to)| Move { from: from.into(), to: to.into() }).into();
            let journal = Journal { id: "abc".into(), build_folder: "packages/n/1/1".into(), moves };
            let top = Root::open(dir.path()).unwrap();
            Self { dir, top, journal }
        }

        fn read(&self, path: &str) -> Option<String> {
            fs::read_to_string(self.dir.path().join(path)).ok()
        }

        fn recover(&self, committed: bool) {
            recover(&self.top, |id| {
                assert_eq!(id, "abc");
                Ok(committed)
            })
            .unwrap();
        }

        /// Nothing is there but what was uploaded.
        fn check_nothing(&self) {
            assert!(!self.dir.path().join("packages/n/1/1").exists());
            assert_eq!(fs::read_dir(self.dir.path().join(IMPORTING)).unwrap().count(), 0);
            assert_eq!(self.read("work/up/i.tar").as_deref(), Some("image"));
            assert!(!self.dir.path().join("work/up/i.tar").is_symlink());
        }

        /// Everything is in its place, and found through the links at the uploads' too.
        fn check_all(&self) {
            for path in ["packages/n/1/1/images/i.tar", "work/up/i.tar"] {
                assert_eq!(self.read(path).as_deref(), Some("image"), "{path}");
            }
            assert_eq!(self.read("packages/n/1/1/metadata.json").as_deref(), Some("{}"));
            let link = fs::read_link(self.dir.path().join("work/up/x.log")).unwrap();
            assert_eq!(link, Path::new("../../packages/n/1/1/data/logs/x.log"));
            assert_eq!(fs::read_dir(self.dir.path().join(IMPORTING)).unwrap().count(), 0);
        }
    }

    const NOTES: &[Note<'_>] = &[Note { to: "metadata.json", content: "{}" }];

    #[test]
    fn an_import_is_completed() {
        let place = Place::new();
        place.journal.prepare(&place.top, NOTES).unwrap();
        place.journal.take_place(&place.top).unwrap();
        place.journal.complete(&place.top).unwrap();
        place.check_all();
        place.recover(false);
        place.check_all();
    }

    #[test]
    fn what_was_not_committed_is_taken_back() {
        let place = Place::new();
        place.journal.prepare(&place.top, NOTES).unwrap();
        place.recover(false);
        place.check_nothing();
        place.journal.prepare(&place.top, NOTES).unwrap();
        place.journal.take_place(&place.top).unwrap();
        place.recover(false);
        place.check_nothing();
    }

    #[test]
    fn what_was_committed_is_completed_at_the_next_start() {
        let place = Place::new();
        place.journal.prepare(&place.top, NOTES).unwrap();
        place.journal.take_place(&place.top).unwrap();
        // Killed when the first of two links was made.
        place.top.symlink(Path::new("../../packages/n/1/1/images/i.tar"), Path::new("work/up/i.tar")).unwrap();
        place.recover(true);
        place.check_all();
    }

    #[test]
    fn an_earlier_import_is_not_touched_by_what_is_left_of_another() {
        let place = Place::new();
        place.journal.prepare(&place.top, NOTES).unwrap();
        let done = place.dir.path().join(IMPORTING).join("abc.done");
        fs::rename(place.dir.path().join(IMPORTING).join("abc"), done).unwrap();
        fs::create_dir_all(place.dir.path().join("packages/n/1/1")).unwrap();
        place.recover(false);
        assert!(place.dir.path().join("packages/n/1/1").exists());
    }

    #[test]
    fn two_outputs_of_one_name_are_refused() {
        let mut place = Place::new();
        place.journal.moves[1].to = "images/i.tar".into();
        assert!(place.journal.prepare(&place.top, NOTES).is_err());
        place.check_nothing();
    }
}
