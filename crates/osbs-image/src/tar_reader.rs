//! Entries of a tar, with everything the library leaves to its caller: times below a second, and owned values.

use crate::layer::LayerError;
use std::io::{self, Read};
use tar_core::parse::{Limits, ParseEvent, ParsedEntry, Parser};
use tar_core::{EntryType, PaxExtensions, SparseEntry};

const CHUNK: usize = 64 << 10;

/// One entry.
#[derive(Debug)]
pub(crate) struct TarEntry {
    pub path: Vec<u8>,
    pub kind: EntryType,
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

/// Reads a tar. The content of an entry must be read, or is skipped, before the next.
pub(crate) struct TarReader<R> {
    reader: R,
    what: String,
    parser: Parser,
    buffer: Vec<u8>,
    from: usize,
    content: u64,
    padding: u64,
    ended: bool,
}

impl<R: Read> TarReader<R> {
    /// `what` names the archive in errors.
    pub(crate) fn new(reader: R, what: String) -> Self {
        let mut parser = Parser::new(Limits::default());
        // The library refuses times before 1970, so PAX values are read here.
        parser.set_ignore_pax_errors(true);
        Self { reader, what, parser, buffer: Vec::new(), from: 0, content: 0, padding: 0, ended: false }
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
            if available == 0 {
                // The end marker is missing: GNU tar accepts that too.
                self.ended = true;
                return Ok(None);
            }
            if available < want {
                let cut = LayerError::Read { what: self.what.clone(), source: io::ErrorKind::UnexpectedEof.into() };
                return Err(cut);
            }
            let input = &self.buffer[self.from..];
            let tar = |source| LayerError::Tar { what: self.what.clone(), source };
            match self.parser.parse(input).map_err(tar)? {
                ParseEvent::NeedData { min_bytes } => want = min_bytes.max(want + 1),
                ParseEvent::GlobalExtensions { consumed, .. } => {
                    // Defaults for later entries: nobody writes more than a comment there, and Go ignores them too.
                    self.from += consumed;
                    want = 512;
                }
                ParseEvent::Entry { consumed, entry } => {
                    let owned = own(&entry).map_err(|reason| refuse(&self.what, &entry.path, reason))?;
                    return Ok(Some(self.begin(consumed, owned)));
                }
                ParseEvent::SparseEntry { consumed, entry, sparse_map, real_size } => {
                    let mut owned = own(&entry).map_err(|reason| refuse(&self.what, &entry.path, reason))?;
                    check_sparse(&sparse_map, owned.size, real_size)
                        .map_err(|reason| refuse(&self.what, &owned.path, reason))?;
                    owned.sparse = Some((sparse_map, real_size));
                    return Ok(Some(self.begin(consumed, owned)));
                }
                ParseEvent::End { consumed } => {
                    self.from += consumed;
                    self.ended = true;
                    return Ok(None);
                }
            }
        }
    }

    fn begin(&mut self, consumed: usize, entry: TarEntry) -> TarEntry {
        self.from += consumed;
        self.content = entry.size;
        self.padding = entry.size.wrapping_neg() % 512;
        entry
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
        io::copy(&mut self.reader, &mut io::sink()).map_err(|source| LayerError::Read { what, source })?;
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
                    let source = io::ErrorKind::UnexpectedEof.into();
                    return Err(LayerError::Read { what: self.what.clone(), source });
                }
                Ok(got) => left -= got as u64,
                Err(source) => return Err(LayerError::Read { what: self.what.clone(), source }),
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
                Err(source) => return Err(LayerError::Read { what: self.what.clone(), source }),
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

fn own(entry: &ParsedEntry<'_>) -> Result<TarEntry, String> {
    let mut mtime = (i64::try_from(entry.mtime).unwrap_or(i64::MAX), 0);
    if let Some(pax) = entry.pax {
        for record in PaxExtensions::new(pax) {
            let record = record.map_err(|e| format!("its PAX record cannot be read: {e}"))?;
            let value = record.value_bytes();
            match record.key_bytes() {
                b"mtime" => mtime = parse_time(value).ok_or("its PAX time cannot be read")?,
                b"size" | b"uid" | b"gid" if !is_number(value) => {
                    return Err("its PAX number cannot be read".to_owned());
                }
                _ => {}
            }
        }
    }
    let id = |value: u64| match u32::try_from(value) {
        Ok(id) if id != u32::MAX => Ok(id),
        _ => Err(format!("owner {value} is out of range")),
    };
    if entry.path.contains(&0) || entry.link_target.as_ref().is_some_and(|l| l.contains(&0)) {
        return Err("its name holds a zero byte".to_owned());
    }
    // Links and the like have no content, whatever their size field says; POSIX has readers ignore it.
    let has_content = entry.is_file() || entry.entry_type == EntryType::GnuSparse || !known(entry.entry_type);
    Ok(TarEntry {
        path: entry.path.to_vec(),
        kind: entry.entry_type,
        link: entry.link_target.as_ref().map(|l| l.to_vec()).unwrap_or_default(),
        mode: entry.mode & 0o7777,
        uid: id(entry.uid)?,
        gid: id(entry.gid)?,
        mtime,
        size: if has_content { entry.size } else { 0 },
        device: (entry.dev_major.unwrap_or(0), entry.dev_minor.unwrap_or(0)),
        xattrs: entry.xattrs.iter().map(|(k, v)| (k.to_vec(), v.to_vec())).collect(),
        sparse: None,
    })
}

fn known(kind: EntryType) -> bool {
    kind.is_dir()
        || kind.is_symlink()
        || kind.is_hard_link()
        || kind.is_character_special()
        || kind.is_block_special()
        || kind.is_fifo()
}

fn is_number(value: &[u8]) -> bool {
    std::str::from_utf8(value).is_ok_and(|text| text.parse::<u64>().is_ok())
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
fn check_sparse(map: &[SparseEntry], size: u64, real_size: u64) -> Result<(), String> {
    let mut end = 0;
    let mut sum: u64 = 0;
    for piece in map {
        if piece.offset < end {
            return Err("its sparse map is not in order".to_owned());
        }
        end = piece.offset.checked_add(piece.length).ok_or("its sparse map overflows")?;
        sum += piece.length;
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
        assert!(check_sparse(&[piece(0, 5), piece(10, 5)], 10, 20).is_ok());
        assert!(check_sparse(&[piece(10, 5), piece(0, 5)], 10, 20).is_err());
        assert!(check_sparse(&[piece(u64::MAX, 5)], 5, 20).is_err());
        assert!(check_sparse(&[piece(0, 30)], 30, 20).is_err());
        assert!(check_sparse(&[piece(0, 3)], 5, 20).is_err());
    }
}
