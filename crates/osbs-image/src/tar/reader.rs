//! Entries of a tar, with everything the library leaves to its caller: times below a second, and owned values.

use crate::layer::LayerError;
use crate::limits::Limits;
use crate::tar::strict::{check_chain, check_global, check_pax};
use std::io::{self, Read};
use tar_core::parse::{ParseEvent, ParsedEntry, Parser};
use tar_core::{EntryType, PaxExtensions, SparseEntry};

const CHUNK: usize = 64 << 10;
/// Headers of one entry together: 1 MiB of names and PAX records, a sparse map of 10,000 pieces.
const MAX_HEADERS: usize = 2 << 20;
/// Bytes of headers in a whole archive, and how many more each entry brings: without it an archive could go on for ever
/// with headers that make no entry, or hardly one.
const HEADERS: u64 = 64 << 20;
const HEADERS_EACH: u64 = 4096;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    HardLink,
    Symlink,
    Char,
    Block,
    Folder,
    Fifo,
}

/// One entry.
#[derive(Debug)]
pub(crate) struct TarEntry {
    pub path: Vec<u8>,
    pub kind: EntryKind,
    pub link: Vec<u8>,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds since 1970 and nanoseconds.
    pub mtime: (i64, u32),
    /// Bytes in the archive.
    pub size: u64,
    pub device: (u32, u32),
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Of a sparse file: where the bytes go, and the file's size.
    pub sparse: Option<(Vec<SparseEntry>, u64)>,
}

impl TarEntry {
    /// Bytes of the file, holes included: who copies it later may not know that they are holes.
    pub(crate) fn file_size(&self) -> u64 {
        self.sparse.as_ref().map_or(self.size, |(_, size)| *size)
    }
}

/// Reads a tar. The content of an entry must be read, or is skipped, before the next.
pub(crate) struct TarReader<R> {
    reader: R,
    what: String,
    parser: Parser,
    limits: Limits,
    buffer: Vec<u8>,
    from: usize,
    content: u64,
    padding: u64,
    /// Bytes of headers that may still come; every entry adds some.
    allowance: u64,
    ended: bool,
}

impl<R: Read> TarReader<R> {
    /// `what` names the archive in errors.
    pub(crate) fn new(reader: R, what: String, limits: &Limits) -> Self {
        let mut parser = Parser::new(tar_core::parse::Limits::default());
        // The library refuses times before 1970, so PAX values are read here.
        parser.set_ignore_pax_errors(true);
        Self {
            reader,
            what,
            parser,
            limits: *limits,
            buffer: Vec::new(),
            from: 0,
            content: 0,
            padding: 0,
            allowance: HEADERS,
            ended: false,
        }
    }

    /// The next entry; `None` at the end of the archive.
    pub(crate) fn next(&mut self) -> Result<Option<TarEntry>, LayerError> {
        self.skip()?;
        if self.ended {
            return Ok(None);
        }
        let mut want = 512;
        loop {
            let available = self.want(want)?;
            if available == 0 || (available == 512 && self.buffer[self.from..].iter().all(|byte| *byte == 0)) {
                // The end marker is missing or cut: GNU tar and Go accept that too.
                self.ended = true;
                return Ok(None);
            }
            if available < want {
                let cut = LayerError::read(&self.what, io::ErrorKind::UnexpectedEof.into());
                return Err(cut);
            }
            let input = &self.buffer[self.from..];
            let tar = |source| LayerError::Tar { what: self.what.clone(), source };
            match self.parser.parse(input).map_err(tar)? {
                // Every attempt begins from the first block: growing by little would take quadratic time.
                ParseEvent::NeedData { min_bytes } if available < min_bytes => want = min_bytes,
                ParseEvent::NeedData { .. } if available < MAX_HEADERS => want = available + available / 2,
                ParseEvent::NeedData { .. } => {
                    let reason = format!("its headers do not end within {MAX_HEADERS} bytes");
                    return Err(refuse(&self.what, input[..100].split(|b| *b == 0).next().unwrap_or_default(), reason));
                }
                ParseEvent::GlobalExtensions { consumed, pax_data } => {
                    // A name that stood in front of it would be the next entry's to some, and nobody's to others.
                    check_chain(input)
                        .and_then(
                            |chain| if chain.last == 0 { Ok(()) } else { Err("it stands behind a name".to_owned()) },
                        )
                        .and_then(|()| check_global(pax_data))
                        .map_err(|reason| refuse(&self.what, b"", reason))?;
                    self.spend(consumed)?;
                    want = 512;
                }
                ParseEvent::Entry { consumed, entry } => {
                    let owned = own(input, &entry, &self.limits).map_err(|e| e.of(&self.what, &entry.path))?;
                    return self.begin(consumed, owned).map(Some);
                }
                ParseEvent::SparseEntry { consumed, entry, sparse_map, real_size } => {
                    let mut owned = own(input, &entry, &self.limits).map_err(|e| e.of(&self.what, &entry.path))?;
                    check_sparse(&sparse_map, &owned, real_size)
                        .map_err(|reason| refuse(&self.what, &owned.path, reason))?;
                    owned.sparse = Some((sparse_map, real_size));
                    return self.begin(consumed, owned).map(Some);
                }
                ParseEvent::End { consumed } => {
                    self.from += consumed;
                    self.ended = true;
                    return Ok(None);
                }
            }
        }
    }

    fn begin(&mut self, consumed: usize, entry: TarEntry) -> Result<TarEntry, LayerError> {
        self.allowance = self.allowance.saturating_add(HEADERS_EACH);
        self.spend(consumed)?;
        self.content = entry.size;
        self.padding = entry.size.wrapping_neg() % 512;
        Ok(entry)
    }

    fn spend(&mut self, consumed: usize) -> Result<(), LayerError> {
        self.from += consumed;
        match self.allowance.checked_sub(consumed as u64) {
            Some(left) => self.allowance = left,
            None => return Err(refuse(&self.what, b"", "the headers of the archive are too long".to_owned())),
        }
        Ok(())
    }

    /// Reads content of the current entry; 0 at its end.
    pub(crate) fn read_content(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let most = out.len().min(usize::try_from(self.content).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let got = self.read_raw(&mut out[..most])?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.content -= got as u64;
        Ok(got)
    }

    /// Reads on to the end of the stream, so that whoever hashes below sees every byte; gives the reader back.
    pub(crate) fn finish(mut self) -> Result<R, LayerError> {
        let what = self.what;
        io::copy(&mut self.reader, &mut io::sink()).map_err(|source| LayerError::read(&what, source))?;
        Ok(self.reader)
    }

    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    fn skip(&mut self) -> Result<(), LayerError> {
        let mut left = std::mem::take(&mut self.content) + std::mem::take(&mut self.padding);
        let mut scratch = [0; 8192];
        while left > 0 {
            let most = scratch.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            match self.read_raw(&mut scratch[..most]) {
                Ok(0) => {
                    return Err(LayerError::read(&self.what, io::ErrorKind::UnexpectedEof.into()));
                }
                Ok(got) => left -= got as u64,
                Err(source) => return Err(LayerError::read(&self.what, source)),
            }
        }
        Ok(())
    }

    fn read_raw(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let buffered = &self.buffer[self.from..];
        if buffered.is_empty() {
            loop {
                match self.reader.read(out) {
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    other => return other,
                }
            }
        }
        let take = out.len().min(buffered.len());
        out[..take].copy_from_slice(&buffered[..take]);
        self.from += take;
        Ok(take)
    }

    /// Makes `want` bytes available if the stream has them; says how many there are.
    fn want(&mut self, want: usize) -> Result<usize, LayerError> {
        if self.buffer.len() - self.from >= want {
            return Ok(self.buffer.len() - self.from);
        }
        self.buffer.drain(..self.from);
        self.from = 0;
        let most = want.max(CHUNK);
        let mut length = self.buffer.len();
        self.buffer.resize(most, 0);
        while length < want {
            match self.reader.read(&mut self.buffer[length..]) {
                Ok(0) => break,
                Ok(got) => length += got,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(LayerError::read(&self.what, source)),
            }
        }
        self.buffer.truncate(length);
        Ok(length)
    }
}

fn refuse(what: &str, path: &[u8], reason: String) -> LayerError {
    use std::os::unix::ffi::OsStrExt;
    let entry = std::path::PathBuf::from(std::ffi::OsStr::from_bytes(path));
    LayerError::Entry { what: what.to_owned(), entry, reason }
}

/// Why an entry is not taken.
enum Refusal {
    Wrong(String),
    Limit { limit: u64, unit: &'static str, option: &'static str },
}

impl Refusal {
    fn of(self, what: &str, path: &[u8]) -> LayerError {
        match self {
            Self::Wrong(reason) => refuse(what, path, reason),
            Self::Limit { limit, unit, option } => {
                // The path may be the thing that is too long.
                let entry = String::from_utf8_lossy(&path[..path.len().min(100)]).into_owned();
                LayerError::Limit { what: format!("{what}, entry {entry:?}"), limit, unit, option }
            }
        }
    }
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::Wrong(reason)
    }
}

impl From<&str> for Refusal {
    fn from(reason: &str) -> Self {
        Self::Wrong(reason.to_owned())
    }
}

fn own(input: &[u8], entry: &ParsedEntry<'_>, limits: &Limits) -> Result<TarEntry, Refusal> {
    let chain = check_chain(input)?;
    // The library knows no times before 1970: to it they are very late ones.
    let negative = input.get(chain.last + 136) == Some(&0xff);
    let mut mtime = if negative {
        (entry.mtime as i64, 0)
    } else {
        (i64::try_from(entry.mtime).map_err(|_| "its time is out of range")?, 0)
    };
    if let Some(pax) = entry.pax {
        check_pax(pax, &chain)?;
        for record in PaxExtensions::new(pax).flatten().filter(|record| record.key_bytes() == b"mtime") {
            mtime = parse_time(record.value_bytes()).ok_or("its PAX time cannot be read")?;
        }
    }
    let id = |value: u64| match u32::try_from(value) {
        Ok(id) if id != u32::MAX => Ok(id),
        _ => Err(format!("owner {value} is out of range")),
    };
    if entry.path.contains(&0) || entry.link_target.as_ref().is_some_and(|l| l.contains(&0)) {
        return Err("its name holds a zero byte".into());
    }
    check_limits(entry, limits)?;
    let kind = kind_of(entry)?;
    // A hard link has no content, whatever its size field says; of the others readers disagree.
    if !matches!(kind, EntryKind::File | EntryKind::HardLink) && entry.size != 0 {
        return Err("it has a size, but is no file".into());
    }
    Ok(TarEntry {
        path: entry.path.to_vec(),
        kind,
        link: entry.link_target.as_ref().map(|l| l.to_vec()).unwrap_or_default(),
        mode: entry.mode & 0o7777,
        uid: id(entry.uid)?,
        gid: id(entry.gid)?,
        mtime,
        size: if kind == EntryKind::File { entry.size } else { 0 },
        device: (entry.dev_major.unwrap_or(0), entry.dev_minor.unwrap_or(0)),
        xattrs: entry.xattrs.iter().map(|(k, v)| (k.to_vec(), v.to_vec())).collect(),
        sparse: None,
    })
}

fn check_limits(entry: &ParsedEntry<'_>, limits: &Limits) -> Result<(), Refusal> {
    let within = |value: usize, limit: u64, unit, option| {
        if value as u64 > limit { Err(Refusal::Limit { limit, unit, option }) } else { Ok(()) }
    };
    within(entry.path.len(), limits.path, "bytes of a path", "path")?;
    within(entry.link_target.as_ref().map_or(0, |link| link.len()), limits.path, "bytes of a link's target", "path")?;
    let depth = entry.path.split(|b| *b == b'/').filter(|part| !matches!(*part, b"" | b".")).count();
    within(depth, limits.depth.saturating_add(1), "folders above an entry", "depth")?;
    let xattrs = entry.xattrs.iter().map(|(key, value)| key.len() + value.len()).sum();
    within(xattrs, limits.xattrs, "bytes of extended attributes of an entry", "xattrs")?;
    // The kernel's own limits (XATTR_NAME_MAX, XATTR_SIZE_MAX).
    match entry.xattrs.iter().find(|(key, value)| key.len() > 255 || value.len() > 65536) {
        Some((key, _)) => Err(format!("no file system keeps its attribute {}", key.escape_ascii()).into()),
        None => Ok(()),
    }
}

fn kind_of(entry: &ParsedEntry<'_>) -> Result<EntryKind, String> {
    let folder_name = entry.path.ends_with(b"/");
    match entry.entry_type {
        // The tar of 1979 knew a folder by the slash.
        EntryType::Regular if entry.header.as_bytes()[156] == 0 && entry.header.path_bytes().ends_with(b"/") => {
            if folder_name {
                Ok(EntryKind::Folder)
            } else {
                Err("one of its names is that of a folder".to_owned())
            }
        }
        EntryType::Regular | EntryType::Continuous | EntryType::GnuSparse if folder_name => {
            Err("it is a file with the name of a folder".to_owned())
        }
        EntryType::Regular | EntryType::Continuous | EntryType::GnuSparse => Ok(EntryKind::File),
        EntryType::Link => Ok(EntryKind::HardLink),
        EntryType::Symlink => Ok(EntryKind::Symlink),
        EntryType::Char => Ok(EntryKind::Char),
        EntryType::Block => Ok(EntryKind::Block),
        EntryType::Directory => Ok(EntryKind::Folder),
        EntryType::Fifo => Ok(EntryKind::Fifo),
        other => Err(format!("its type {:?} is not known", char::from(other.to_byte()))),
    }
}

/// `[-]SECONDS[.FRACTION]`
fn parse_time(value: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: u32 = digits.parse().ok()?;
    // -1.25 is 1.25 seconds before 1970, but the nanoseconds of a timespec always count forward.
    match (whole.starts_with('-'), nanos) {
        (true, 1..) => Some((seconds.checked_sub(1)?, 1_000_000_000 - nanos)),
        _ => Some((seconds, nanos)),
    }
}

/// The pieces must be in order, inside the file, and together as long as what is in the archive.
fn check_sparse(map: &[SparseEntry], entry: &TarEntry, real_size: u64) -> Result<(), String> {
    let size = entry.size;
    if entry.kind != EntryKind::File {
        return Err("it has holes, but is no file".to_owned());
    }
    if i64::try_from(real_size).is_err() {
        return Err(format!("no file has {real_size} bytes"));
    }
    let mut end = 0;
    let mut sum: u64 = 0;
    for piece in map {
        if piece.offset < end {
            return Err("its sparse map is not in order".to_owned());
        }
        end = piece.offset.checked_add(piece.length).ok_or("its sparse map overflows")?;
        sum = sum.checked_add(piece.length).ok_or("its sparse map overflows")?;
    }
    if end > real_size || sum != size {
        return Err(format!("its sparse map tells of {sum} bytes up to {end}, but there are {size} of {real_size}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let cases: [(&str, Option<(i64, u32)>); 7] = [
            ("12", Some((12, 0))),
            ("12.5", Some((12, 500_000_000))),
            ("12.1234567891", Some((12, 123_456_789))),
            ("-1", Some((-1, 0))),
            ("-1.25", Some((-2, 750_000_000))),
            ("1.x", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_time(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn sparse_maps() {
        let piece = |offset, length| SparseEntry { offset, length };
        let check = |map: &[SparseEntry], size| {
            let entry = TarEntry {
                path: b"f".to_vec(),
                kind: EntryKind::File,
                link: Vec::new(),
                mode: 0,
                uid: 0,
                gid: 0,
                mtime: (0, 0),
                size,
                device: (0, 0),
                xattrs: Vec::new(),
                sparse: None,
            };
            check_sparse(map, &entry, 20)
        };
        assert!(check(&[piece(0, 5), piece(10, 5)], 10).is_ok());
        let wrong: [(&[SparseEntry], u64); 5] = [
            (&[piece(10, 5), piece(0, 5)], 10),
            (&[piece(u64::MAX, 5)], 5),
            (&[piece(0, 30)], 30),
            (&[piece(0, 3)], 5),
            (&[piece(0, 8), piece(4, 8)], 16),
        ];
        for (map, size) in wrong {
            assert!(check(map, size).is_err(), "{map:?}");
        }
    }
}
