//! The content of one file into a new one, by the cheapest way that kernel and file systems have: shared extents, a copy
//! inside the file system, a copy inside the kernel, and only then through this process. Holes stay holes.

use rustix::fd::OwnedFd;
use rustix::fs::{SeekFrom, Stat, copy_file_range, ftruncate, ioctl_ficlone, seek, sendfile};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

/// Up to here one read and one write are cheapest.
const SMALL: u64 = 64 << 10;
/// So much at once, then somebody may have cancelled.
const CHUNK: u64 = 64 << 20;

/// Both files at their start; the target is empty. `stat` is the source's.
pub(crate) struct CopyBytes<'c> {
    pub source: &'c OwnedFd,
    pub target: &'c OwnedFd,
    pub cancel: &'c CancellationToken,
}

impl CopyBytes<'_> {
    /// # Errors
    /// The kernel's; ECANCELED when somebody cancelled.
    #[allow(clippy::cast_sign_loss)] // the kernel tells no negative sizes
    pub(crate) fn copy(&self, stat: &Stat, buffer: &mut Vec<u8>) -> rustix::io::Result<()> {
        let size = stat.st_size as u64;
        if size == 0 {
            return Ok(());
        }
        if size <= SMALL {
            return self.small(size, buffer);
        }
        if ioctl_ficlone(self.target, self.source).is_ok() {
            return Ok(());
        }
        if (stat.st_blocks as u64) * 512 < size {
            return self.sparse(size, buffer);
        }
        self.range(0, size, buffer)
    }

    fn small(&self, size: u64, buffer: &mut Vec<u8>) -> rustix::io::Result<()> {
        buffer.resize(SMALL as usize, 0);
        let mut done = 0;
        while done < size {
            let count = rustix::io::read(self.source, &mut buffer[..(size - done) as usize])?;
            if count == 0 {
                break;
            }
            let mut written = 0;
            while written < count {
                written += rustix::io::write(self.target, &buffer[written..count])?;
            }
            done += count as u64;
        }
        Ok(())
    }

    fn sparse(&self, size: u64, buffer: &mut Vec<u8>) -> rustix::io::Result<()> {
        let mut at = 0;
        while at < size {
            let data = match seek(self.source, SeekFrom::Data(at)) {
                Ok(data) => data.min(size),
                Err(Errno::NXIO) => break,
                Err(_) => return self.range(at, size, buffer),
            };
            let hole = seek(self.source, SeekFrom::Hole(data))?.min(size);
            self.range(data, hole, buffer)?;
            at = hole;
        }
        ftruncate(self.target, size)
    }

    fn chunk(&self, at: u64, to: u64) -> rustix::io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(Errno::CANCELED);
        }
        Ok((to - at).min(CHUNK) as usize)
    }

    /// Bytes `from..to` at the same place of the target.
    fn range(&self, from: u64, to: u64, buffer: &mut Vec<u8>) -> rustix::io::Result<()> {
        let (mut off_in, mut off_out) = (from, from);
        while off_in < to {
            let want = self.chunk(off_in, to)?;
            match copy_file_range(self.source, Some(&mut off_in), self.target, Some(&mut off_out), want) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM) => {
                    return self.between_file_systems(off_in, to, buffer);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn between_file_systems(&self, mut at: u64, to: u64, buffer: &mut Vec<u8>) -> rustix::io::Result<()> {
        seek(self.target, SeekFrom::Start(at))?;
        while at < to {
            let want = self.chunk(at, to)?;
            match sendfile(self.target, self.source, Some(&mut at), want) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => return self.by_hand(at, to, buffer),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn by_hand(&self, mut at: u64, to: u64, buffer: &mut Vec<u8>) -> rustix::io::Result<()> {
        buffer.resize(256 << 10, 0);
        while at < to {
            let want = self.chunk(at, to)?.min(buffer.len());
            let count = rustix::io::pread(self.source, &mut buffer[..want], at)?;
            if count == 0 {
                break;
            }
            let mut written = 0;
            while written < count {
                written += rustix::io::pwrite(self.target, &buffer[written..count], at + written as u64)?;
            }
            at += count as u64;
        }
        buffer.truncate(SMALL as usize);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::unix::fs::{FileExt, MetadataExt};
    use std::path::Path;

    /// Copies from one folder to another, and gives the copy's blocks.
    fn check_copy(from: &Path, to: &Path, fill: impl FnOnce(&File)) -> u64 {
        let (source, target) = (from.join("source"), to.join("target"));
        fill(&File::create(&source).expect("source"));
        let open: OwnedFd = File::open(&source).expect("source").into();
        let new: OwnedFd = File::create_new(&target).expect("target").into();
        let stat = rustix::fs::fstat(&open).expect("stat");
        let cancel = CancellationToken::new();
        CopyBytes { source: &open, target: &new, cancel: &cancel }.copy(&stat, &mut Vec::new()).expect("copy");
        assert!(fs::read(&source).expect("read") == fs::read(&target).expect("read"), "the same content");
        let blocks = fs::metadata(&target).expect("metadata").blocks();
        fs::remove_file(&source).expect("remove");
        fs::remove_file(&target).expect("remove");
        blocks
    }

    #[test]
    fn content_and_holes_are_kept_on_one_file_system_and_between_two() {
        let here = tempfile::tempdir().expect("folder");
        let there = tempfile::tempdir_in("/dev/shm").expect("folder in memory");
        for to in [here.path(), there.path()] {
            for size in [0, 1, 65_536, 65_537, 3_000_000] {
                let bytes: Vec<u8> = (0..size).map(|at: u32| (at % 251) as u8).collect();
                check_copy(here.path(), to, |file| file.write_all_at(&bytes, 0).expect("write"));
            }
            let blocks = check_copy(here.path(), to, |file| {
                file.write_all_at(b"begin", 0).expect("write");
                file.write_all_at(b"middle", 20 << 20).expect("write");
                file.set_len(40 << 20).expect("length");
            });
            assert!(blocks * 512 < 1 << 20, "{blocks} blocks for two words");
        }
    }

    #[test]
    fn a_large_copy_can_be_cancelled() {
        let dir = tempfile::tempdir().expect("folder");
        let source = File::create_new(dir.path().join("source")).expect("source");
        source.write_all_at(b"x", 1 << 20).expect("write");
        let (source, target): (OwnedFd, OwnedFd) =
            (source.into(), File::create_new(dir.path().join("target")).expect("target").into());
        let cancel = CancellationToken::new();
        cancel.cancel();
        let copy = CopyBytes { source: &source, target: &target, cancel: &cancel };
        assert_eq!(copy.range(0, 1 << 20, &mut Vec::new()), Err(Errno::CANCELED));
    }
}
