//! Remembers which OCI runtime was seen working, so that not every build has to try one (40 ms and more).
//!
//! A finding holds for one boot of the machine and one file of the runtime; anything else, and any doubt, means trying
//! again. Never an error of its own.

use crate::runtime::{Runtime, RuntimeError, RuntimeKind, probe_runtime};
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What is kept, as JSON.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Finding {
    preferred: Option<String>,
    boot_id: String,
    kind: String,
    program: PathBuf,
    version: String,
    /// Not an `Option`: a finding that says nothing of it is an older one, and is tried again.
    user_namespace: Result<(), String>,
    /// Inode, size and modification time of the program.
    file: (u64, u64, i64),
}

fn boot_id() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|text| text.trim().to_owned())
}

fn file_of(program: &Path) -> Option<(u64, u64, i64)> {
    let meta = fs::metadata(program).ok()?;
    Some((meta.ino(), meta.size(), meta.mtime()))
}

fn recall(preferred: Option<&str>, memory: &Path) -> Option<Runtime> {
    let finding: Finding = serde_json::from_slice(&fs::read(memory).ok()?).ok()?;
    let same = finding.preferred.as_deref() == preferred
        && finding.boot_id == boot_id()?
        && finding.file == file_of(&finding.program)?;
    let kind = RuntimeKind::ALL.into_iter().find(|kind| kind.as_str() == finding.kind)?;
    let (program, version, no_user_namespace) = (finding.program, finding.version, finding.user_namespace.err());
    same.then_some(Runtime { kind, program, version, no_user_namespace })
}

fn remember(preferred: Option<&str>, memory: &Path, runtime: &Runtime) -> Option<()> {
    let finding = Finding {
        preferred: preferred.map(str::to_owned),
        boot_id: boot_id()?,
        kind: runtime.kind.as_str().to_owned(),
        program: runtime.program.clone(),
        version: runtime.version.clone(),
        user_namespace: runtime.no_user_namespace.clone().map_or(Ok(()), Err),
        file: file_of(&runtime.program)?,
    };
    let new = memory.with_extension(format!("new-{}", std::process::id()));
    fs::write(&new, serde_json::to_vec(&finding).ok()?).ok()?;
    fs::rename(&new, memory).ok()
}

/// [`probe_runtime`], with the finding kept in the file `memory`.
///
/// # Errors
/// As [`probe_runtime`]; failures are not remembered.
pub fn known_runtime(preferred: Option<&str>, memory: &Path) -> Result<Runtime, RuntimeError> {
    if let Some(runtime) = recall(preferred, memory) {
        return Ok(runtime);
    }
    let runtime = probe_runtime(preferred)?;
    // Not being able to write only costs the time of trying again.
    let _ = remember(preferred, memory, &runtime);
    Ok(runtime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_for_the_same_file_and_question_only() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let (memory, program) = (folder.path().join("runtime.json"), folder.path().join("runc"));
        fs::write(&program, "one").expect("written");
        let runtime = Runtime {
            kind: RuntimeKind::Runc,
            program: program.clone(),
            version: "1".to_owned(),
            no_user_namespace: Some("why".to_owned()),
        };
        assert_eq!(recall(None, &memory), None);
        remember(None, &memory, &runtime).expect("written");
        assert_eq!(recall(None, &memory), Some(runtime));
        assert_eq!(recall(Some("crun"), &memory), None);
        fs::write(&program, "another").expect("written");
        assert_eq!(recall(None, &memory), None);
        fs::write(&memory, "garbage").expect("written");
        assert_eq!(recall(None, &memory), None);
    }
}
