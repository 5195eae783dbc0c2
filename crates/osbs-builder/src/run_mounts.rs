//! `RUN --mount=...`: binds, caches, memory file systems, secrets and agents of one command, gone when it has ended.

use crate::accounts::rooted;
use crate::agent_socket::AgentSocket;
use crate::config_change::{absolute, clean_path};
use crate::error::{BuildError, FileError, InstructionError};
use crate::open_folder::OPEN_DIR;
use crate::stage_root::StageRoot;
use crate::tree_copy::{Rules, SourceTree, TreeCopy};
use osbs_dockerfile::{Mount, Sharing};
use osbs_sandbox::rooted::{NodeKind, Owner, Root};
use osbs_sandbox::{BindMount, IdMap, MemoryFolder, Tmpfs};
use osbs_types::{Digest, OverlayXattrs};
use rustix::fs::{CWD, FlockOperation, Gid, Mode, RenameFlags, Uid, flock, openat};
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Shorter secrets are not looked for in the output: they would make it unreadable.
const SHORTEST_REDACTED: usize = 4;

/// What one RUN gets beside its root.
#[derive(Default)]
pub(crate) struct RunMounts {
    pub binds: Vec<BindMount>,
    pub tmpfs: Vec<Tmpfs>,
    /// From secrets with `env=`.
    pub env: Vec<String>,
    /// Where the first agent's socket is in the container.
    pub agent: Option<String>,
    secrets: Vec<Vec<u8>>,
    /// Overlays and locks that live as long as the command.
    overlays: Vec<StageRoot>,
    locks: Vec<File>,
    agents: Vec<AgentSocket>,
    /// Where secrets lie.
    memory: Option<MemoryFolder>,
}

/// The tree that a mount shows a part of.
#[derive(Debug)]
pub(crate) enum MountTree {
    /// One folder, which is never written to.
    Folder(PathBuf),
    /// Folders of an overlay, bottom first; it is mounted for the command.
    Layers(Vec<PathBuf>),
}

/// Where mounts come from.
pub(crate) struct MountSources<'a> {
    /// For relative targets.
    pub working_dir: &'a str,
    /// `--secret`, id to file.
    pub secrets: &'a BTreeMap<String, PathBuf>,
    /// `--ssh`, id to socket.
    pub agents: &'a BTreeMap<String, PathBuf>,
    /// Of the container.
    pub id_map: Option<&'static IdMap>,
    /// Kept caches.
    pub cache_dir: &'a Path,
    /// A new folder of this RUN's own.
    pub scratch: &'a Path,
    pub threads: usize,
    /// Names of the marks of overlays.
    pub overlay_xattrs: OverlayXattrs,
    pub cancel: &'a CancellationToken,
}

impl RunMounts {
    /// Adds one mount. `tree` is what its `from` means: context, stage or image.
    pub(crate) fn add(
        &mut self,
        mount: &Mount,
        tree: Option<&MountTree>,
        sources: &MountSources<'_>,
    ) -> Result<(), InstructionError> {
        let target = |text: &str| PathBuf::from(clean_path(&absolute(sources.working_dir, text)));
        match mount {
            Mount::Bind { source, target: at, read_only, .. } => {
                let tree = tree.ok_or(BuildError::Internal("a bind mount without its tree"))?;
                let (source, mapped) = self.bind_source(tree, source, *read_only, sources)?;
                self.binds.push(BindMount { source, target: target(at), readonly: *read_only, mapped });
            }
            Mount::Cache { id, source, target: at, read_only, sharing, mode, uid, gid, .. } => {
                let owner = Owner { uid: *uid, gid: *gid };
                let content = match tree {
                    Some(MountTree::Folder(tree)) => Some(inside(tree, source)?),
                    Some(MountTree::Layers(_)) => return Err(BuildError::Internal("a cache from layers").into()),
                    None => None,
                };
                let folder = self.cache(id, *sharing, sources)?;
                new_cache(&folder, *mode, owner, content, sources)?;
                let (target, readonly) = (target(at), *read_only);
                self.binds.push(BindMount { source: folder, target, readonly, mapped: false });
            }
            Mount::Tmpfs { target: at, size } => {
                self.tmpfs.push(Tmpfs { target: target(at), size: *size, mode: 0o1777 });
            }
            Mount::Secret { id, target: at, env, required, mode, uid, gid } => {
                let Some(file) = sources.secrets.get(id) else {
                    return if *required { Err(InstructionError::NoSecret { id: id.clone() }) } else { Ok(()) };
                };
                let value = fs::read(file).map_err(|e| FileError::new("read the secret", id, e))?;
                if let Some(at) = at {
                    let copy = self.private(sources).join(format!("secret{}", self.binds.len()));
                    write_private(&copy, &value, *mode, *uid, *gid)?;
                    self.binds.push(BindMount { source: copy, target: target(at), readonly: true, mapped: false });
                }
                if let Some(name) = env {
                    self.private(sources);
                    self.env.push(format!("{name}={}", String::from_utf8_lossy(&value)));
                }
                self.remember_secret(&value);
            }
            Mount::Ssh { id, target: at, required, mode, uid, gid } => {
                let Some(agent) = sources.agents.get(id) else {
                    return if *required { Err(InstructionError::NoAgent { id: id.clone() }) } else { Ok(()) };
                };
                let number = self.agents.len();
                let path = sources.scratch.join(format!("ssh{number}"));
                let socket = AgentSocket::open(agent, &path, *mode, *uid, *gid)
                    .map_err(|e| FileError::new("reach the ssh agent at", agent, e))?;
                self.agents.push(socket);
                let at = at.clone().unwrap_or_else(|| format!("/run/buildkit/ssh_agent.{number}"));
                let at = target(&at);
                if number == 0 {
                    self.agent = Some(at.to_string_lossy().into_owned());
                }
                self.binds.push(BindMount { source: path, target: at, readonly: true, mapped: false });
            }
        }
        Ok(())
    }

    /// A lone heredoc with `#!`: its file, and the path in the container.
    pub(crate) fn script(&mut self, scratch: &Path, name: &str, content: &str) -> Result<String, InstructionError> {
        let file = scratch.join("script");
        write_private(&file, content.as_bytes(), 0o755, 0, 0)?;
        // The heredoc's name, as with BuildKit, where it is a file name.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let target = format!("/dev/pipes/{}", if name.chars().all(plain) { name } else { "script" });
        self.binds.push(BindMount { source: file, target: target.clone().into(), readonly: true, mapped: false });
        Ok(target)
    }

    /// A folder for secrets, in memory where the container can be shown files from there: who is killed leaves none.
    fn private(&mut self, sources: &MountSources<'_>) -> PathBuf {
        if let Some(memory) = &self.memory {
            return memory.path().to_owned();
        }
        let folder = sources.scratch.join("private");
        let shown = |memory: &MemoryFolder| sources.id_map.is_none_or(|map| map.check(memory.path(), false).is_ok());
        let made = fs::create_dir(&folder).ok();
        self.memory = made.and_then(|()| MemoryFolder::mount(&folder).ok()).filter(shown);
        self.memory.as_ref().map_or(sources.scratch, MemoryFolder::path).to_owned()
    }

    /// Where the description of the container may lie, which has the secrets of the environment in it.
    pub(crate) fn bundle(&self, scratch: &Path) -> PathBuf {
        self.memory.as_ref().map_or(scratch, MemoryFolder::path).join("bundle")
    }

    fn remember_secret(&mut self, value: &[u8]) {
        for line in value.split(|byte| *byte == b'\n') {
            let line = line.trim_ascii();
            if line.len() >= SHORTEST_REDACTED {
                self.secrets.push(line.to_vec());
            }
        }
    }

    /// The line without secrets of this command.
    pub(crate) fn redact<'l>(&self, line: &'l [u8]) -> Cow<'l, [u8]> {
        let mut line = Cow::Borrowed(line);
        for secret in &self.secrets {
            let find = |text: &[u8]| text.windows(secret.len()).position(|part| part == secret.as_slice());
            let Some(mut at) = find(&line) else { continue };
            let (mut clean, mut rest) = (Vec::new(), &line[..]);
            loop {
                clean.extend_from_slice(&rest[..at]);
                clean.extend_from_slice(b"*****");
                rest = &rest[at + secret.len()..];
                match find(rest) {
                    Some(next) => at = next,
                    None => break,
                }
            }
            clean.extend_from_slice(rest);
            line = Cow::Owned(clean);
        }
        line
    }

    /// What to bind, and whether its owners are the container's already.
    fn bind_source(
        &mut self,
        tree: &MountTree,
        path: &str,
        read_only: bool,
        sources: &MountSources<'_>,
    ) -> Result<(PathBuf, bool), InstructionError> {
        let source = match tree {
            MountTree::Folder(folder) => inside(folder, path)?,
            MountTree::Layers(layers) => {
                // Changes go to a folder of its own, which is thrown away.
                let root = self.overlay(layers.clone(), sources)?;
                return Ok((inside(&root, path)?, sources.id_map.is_some()));
            }
        };
        if read_only {
            return Ok((source, false));
        }
        if source.is_dir() {
            return Ok((self.overlay(vec![source], sources)?, sources.id_map.is_some()));
        }
        let copy = sources.scratch.join(format!("file{}", self.binds.len()));
        fs::copy(&source, &copy).map_err(|e| FileError::new("copy", source, e).located(sources.scratch))?;
        Ok((copy, false))
    }

    /// Mounts an overlay of this command's own.
    fn overlay(&mut self, layers: Vec<PathBuf>, sources: &MountSources<'_>) -> Result<PathBuf, InstructionError> {
        let base = sources.scratch.join(format!("bind{}", self.overlays.len()));
        let mut overlay = StageRoot::new("a bind mount".into(), base, layers, sources.overlay_xattrs)?;
        let path = overlay.mounted_as(sources.id_map)?.to_owned();
        self.overlays.push(overlay);
        Ok(path)
    }

    /// Waits for all caches that a command wants alone. All commands lock in the same order, and each cache once:
    /// nobody waits for somebody who waits for them.
    pub(crate) fn lock_caches<'m>(
        &mut self,
        mounts: impl Iterator<Item = &'m Mount>,
        sources: &MountSources<'_>,
    ) -> Result<(), InstructionError> {
        let alone = mounts.filter_map(|mount| match mount {
            Mount::Cache { id, sharing: Sharing::Locked, .. } => Some((cache_name(id), id.as_str())),
            _ => None,
        });
        for (name, id) in alone.collect::<BTreeMap<_, _>>() {
            let file = lock_file(&name, id, sources)?;
            while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
                if sources.cancel.is_cancelled() {
                    return Err(BuildError::Cancelled.into());
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            self.locks.push(file);
        }
        Ok(())
    }

    /// The folder of a cache; [`RunMounts::lock_caches`] came before.
    fn cache(&mut self, id: &str, sharing: Sharing, sources: &MountSources<'_>) -> Result<PathBuf, InstructionError> {
        let name = cache_name(id);
        if sharing == Sharing::Private {
            for number in 0..1000 {
                let name = format!("{name}-{number}");
                let file = lock_file(&name, id, sources)?;
                if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                    self.locks.push(file);
                    return Ok(sources.cache_dir.join(name));
                }
            }
        }
        fs::create_dir_all(sources.cache_dir)
            .map_err(|e| FileError::new("open the cache", id, e).located(sources.scratch))?;
        Ok(sources.cache_dir.join(name))
    }
}

/// A hash, so that no id leads elsewhere.
fn cache_name(id: &str) -> String {
    Digest::from_sha256(&Sha256::digest(id).into()).hex().to_owned()
}

fn lock_file(name: &str, id: &str, sources: &MountSources<'_>) -> Result<File, InstructionError> {
    let open = || {
        fs::create_dir_all(sources.cache_dir)?;
        File::options().create(true).append(true).open(sources.cache_dir.join(format!("{name}.lock")))
    };
    open().map_err(|e| FileError::new("open the cache", id, e).located(sources.scratch).into())
}

/// `path` in `tree`, links resolved inside it.
fn inside(tree: &Path, path: &str) -> Result<PathBuf, InstructionError> {
    let root = Root::open(tree).map_err(rooted)?;
    let real = root.resolve(Path::new("/").join(path).as_path()).map_err(rooted)?;
    let there = root.lstat(&real).map_err(rooted)?;
    if there.is_none_or(|node| !matches!(node.kind, NodeKind::File | NodeKind::Directory)) {
        let (source_path, place) = (path.to_owned(), "the source of the mount".to_owned());
        return Err(InstructionError::NoSource { source_path, place, hint: None });
    }
    Ok(tree.join(real.strip_prefix("/").unwrap_or(&real)))
}

/// Of the caches that this process makes.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Makes the folder, unless it is there. With content it is made under another name first: whoever sees the cache sees
/// it whole, also after a kill.
fn new_cache(
    folder: &Path,
    mode: u32,
    owner: Owner,
    content: Option<PathBuf>,
    sources: &MountSources<'_>,
) -> Result<(), InstructionError> {
    if folder.exists() {
        return Ok(());
    }
    let failed = |e: std::io::Error| FileError::new("create the cache", folder, e).located(sources.scratch);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let new = folder.with_extension(format!("new-{}-{number}", std::process::id()));
    let _ = fs::remove_dir_all(&new);
    fs::create_dir(&new).map_err(failed)?;
    if let Some(content) = content {
        copy_content(&content, &new, owner, sources)?;
    }
    std::os::unix::fs::chown(&new, Some(owner.uid), Some(owner.gid)).map_err(failed)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(mode)).map_err(failed)?;
    match rustix::fs::renameat_with(CWD, &new, CWD, folder, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // Somebody else's is there, filled already.
        Err(_) if folder.exists() => {
            let _ = fs::remove_dir_all(&new);
            Ok(())
        }
        Err(error) => Err(failed(error.into()).into()),
    }
}

fn copy_content(from: &Path, to: &Path, owner: Owner, sources: &MountSources<'_>) -> Result<(), InstructionError> {
    let open = |path: &Path| openat(CWD, path, OPEN_DIR, Mode::empty()).map_err(|e| FileError::new("open", path, e));
    let rules = Rules {
        owner: Some(owner),
        mode: None,
        filter: None,
        max_files: u64::MAX,
        max_bytes: u64::MAX,
        max_depth: 1000,
        threads: sources.threads,
        upper: None,
    };
    TreeCopy::new(&rules, to, sources.cancel)
        .contents(SourceTree::whole(open(from)?), open(to)?, false, true)
        .map_err(|stop| match stop {
            crate::tree_copy::CopyStop::Failed(error) => InstructionError::File(error.located(sources.scratch)),
            _ => BuildError::Cancelled.into(),
        })?;
    Ok(())
}

fn write_private(path: &Path, bytes: &[u8], mode: u32, uid: u32, gid: u32) -> Result<(), InstructionError> {
    let failed = |e: std::io::Error| FileError::new("write", path, e).located(path.parent().unwrap_or(path));
    let mut file = File::options().create_new(true).write(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    let owner = (Some(Uid::from_raw_unchecked(uid)), Some(Gid::from_raw_unchecked(gid)));
    rustix::fs::fchown(&file, owner.0, owner.1).map_err(|e| failed(e.into()))?;
    file.set_permissions(fs::Permissions::from_mode(mode)).map_err(failed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_reach_the_log() {
        let mut mounts = RunMounts::default();
        mounts.remember_secret(b"hunter2\nab\n");
        let check = |line: &str, expected: &str| {
            assert_eq!(mounts.redact(line.as_bytes()), Cow::<[u8]>::Owned(expected.as_bytes().to_vec()));
        };
        check("password is hunter2, hunter2!", "password is *****, *****!");
        check("ab stays", "ab stays");
        check("", "");
    }

    #[test]
    fn mount_sources_stay_inside() {
        let dir = tempfile::tempdir().expect("temp folder");
        std::os::unix::fs::symlink("/etc", dir.path().join("out")).expect("link");
        fs::create_dir(dir.path().join("etc")).expect("folder");
        assert_eq!(inside(dir.path(), "out").expect("inside"), dir.path().join("etc"));
        assert_eq!(inside(dir.path(), "../../etc").expect("inside"), dir.path().join("etc"));
        inside(dir.path(), "none").expect_err("missing");
    }
}
