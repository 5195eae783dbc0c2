//! What a tar holds, as a layer reader sees it, without making any file: for comparison with other readers, and for fuzzing.

use crate::decompress::LayerReader;
use crate::layer::LayerError;
use crate::limits::Limits;
use crate::tar::reader::{EntryKind, TarReader};
use std::io::{self, Read};

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedEntry {
    /// Path as it stands in the archive.
    pub path: Vec<u8>,
    /// Type flag of POSIX ustar: `0` file, `1` hard link, `2` symbolic link, `3` and `4` devices, `5` folder, `6` fifo.
    pub kind: u8,
    /// Target of a link.
    pub link: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970, rounded down.
    pub mtime: i64,
    /// Size of the file; of a sparse one with its holes.
    pub size: u64,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes, as they stand in the archive.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// CRC-32 of the bytes in the archive; of a sparse file without its holes.
    pub crc32: u32,
}

/// Lists a tar.
///
/// # Errors
/// It is damaged, refused, or passes a limit.
pub fn list_tar(reader: &mut dyn Read, limits: &Limits) -> Result<Vec<ListedEntry>, LayerError> {
    let mut tar = TarReader::new(reader, "the archive".to_owned(), limits);
    let mut listed = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    let mut bytes: u64 = 0;
    let limit = |limit, unit| LayerError::Limit { what: "the archive".to_owned(), limit, unit, option: unit };
    while let Some(entry) = tar.next()? {
        bytes = bytes.saturating_add(entry.size);
        if listed.len() as u64 >= limits.entries {
            return Err(limit(limits.entries, "entries"));
        }
        if bytes > limits.bytes {
            return Err(limit(limits.bytes, "bytes"));
        }
        let mut crc = crc32fast::Hasher::new();
        loop {
            let got = tar.read_content(&mut buffer).map_err(read_error)?;
            if got == 0 {
                break;
            }
            crc.update(&buffer[..got]);
        }
        listed.push(ListedEntry {
            kind: match entry.kind {
                EntryKind::File => b'0',
                EntryKind::HardLink => b'1',
                EntryKind::Symlink => b'2',
                EntryKind::Char => b'3',
                EntryKind::Block => b'4',
                EntryKind::Folder => b'5',
                EntryKind::Fifo => b'6',
            },
            size: entry.sparse.as_ref().map_or(entry.size, |(_, size)| *size),
            path: entry.path,
            link: entry.link,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime.0,
            device: entry.device,
            xattrs: entry.xattrs,
            crc32: crc.finalize(),
        });
    }
    Ok(listed)
}

/// Lists a layer blob: plain, gzip or zstd.
///
/// # Errors
/// As [`list_tar`], or the compressed stream is damaged.
pub fn list_layer(blob: &mut dyn Read, limits: &Limits) -> Result<Vec<ListedEntry>, LayerError> {
    let mut reader = LayerReader::new(blob).map_err(read_error)?;
    let listed = list_tar(&mut reader, limits)?;
    io::copy(&mut reader, &mut io::sink()).map_err(read_error)?;
    reader.finish().map_err(read_error)?;
    Ok(listed)
}

fn read_error(source: io::Error) -> LayerError {
    LayerError::Read { what: "the archive".to_owned(), source }
}
