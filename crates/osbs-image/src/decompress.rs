//! Which compression a stream is in, by its first bytes, and readers for all that ADD and layers know.

use crate::gzip_reader::{GzipFacts, GzipReader};
use std::io::{self, Cursor, Read};

/// Longest magic we look at: the ustar magic in a plain tar's first header, and the whole header for its checksum.
const PEEK: usize = 512;

/// zstd window we accept: 128 MiB, as the zstd program does without `--long`.
const ZSTD_WINDOW_LOG: u32 = 27;

/// Memory for an xz dictionary: `xz -9` needs 65 MiB.
const XZ_MEMORY: u64 = 256 << 20;

/// Compression by magic number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Gzip,
    Bzip2,
    Xz,
    Zstd,
    Other,
}

fn format_of(start: &[u8]) -> Format {
    // A zstd stream may begin with skippable frames (magic 0x184D2A5?), as zstd:chunked layers do at their end.
    let skippable = start.len() >= 4 && start[0] & 0xf0 == 0x50 && start[1..4] == [0x2a, 0x4d, 0x18];
    match start {
        [0x1f, 0x8b, 8, ..] => Format::Gzip,
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Format::Bzip2,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Format::Xz,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Format::Zstd,
        _ if skippable => Format::Zstd,
        _ => Format::Other,
    }
}

/// Reads up to [`PEEK`] bytes and gives them back in front of the rest.
fn peek<R: Read>(mut reader: R) -> io::Result<(Vec<u8>, Peeked<R>)> {
    let mut start = vec![0; PEEK];
    let mut length = 0;
    while length < PEEK {
        match reader.read(&mut start[length..]) {
            Ok(0) => break,
            Ok(got) => length += got,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    start.truncate(length);
    Ok((start.clone(), Cursor::new(start).chain(reader)))
}

/// A layer blob being inflated. The media type is not asked: registries are full of wrong ones, the bytes do not lie, and
/// the digest of what comes out is checked anyway.
pub(crate) enum LayerReader<R: Read> {
    Gzip(Box<GzipReader<Peeked<R>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, io::BufReader<Peeked<R>>>>),
    Plain(Peeked<R>),
}

pub(crate) type Peeked<R> = io::Chain<Cursor<Vec<u8>>, R>;

impl<R: Read> LayerReader<R> {
    pub(crate) fn new(reader: R) -> io::Result<Self> {
        let (start, reader) = peek(reader)?;
        match format_of(&start) {
            Format::Gzip => Ok(Self::Gzip(Box::new(GzipReader::new(reader)))),
            Format::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::new(reader)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Ok(Self::Zstd(Box::new(decoder)))
            }
            Format::Bzip2 | Format::Xz => {
                let reason = "layers are plain, gzip or zstd, this one is bzip2 or xz";
                Err(io::Error::new(io::ErrorKind::InvalidData, reason))
            }
            Format::Other => Ok(Self::Plain(reader)),
        }
    }

    /// Facts, and the reader below, when everything was read.
    pub(crate) fn finish(self) -> io::Result<(Option<GzipFacts>, R)> {
        match self {
            Self::Gzip(reader) => reader.finish().map(|(facts, below)| (Some(facts), below.into_inner().1)),
            Self::Zstd(reader) => Ok((None, reader.finish().into_inner().into_inner().1)),
            Self::Plain(reader) => Ok((None, reader.into_inner().1)),
        }
    }
}

impl<R: Read> Read for LayerReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(reader) => reader.read(buffer),
            Self::Zstd(reader) => reader.read(buffer),
            Self::Plain(reader) => reader.read(buffer),
        }
    }
}

/// A tar archive, decompressed while it is read.
pub struct ArchiveReader {
    inner: Box<dyn Read + Send>,
}

impl std::fmt::Debug for ArchiveReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ArchiveReader")
    }
}

impl Read for ArchiveReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer)
    }
}

/// Finds out by its first bytes whether `reader` is a tar archive, plain or compressed by gzip, bzip2, xz or zstd.
/// `Ok(None)` means it is none: as ADD does, the file is then copied as it is (read it from its start again).
///
/// # Errors
/// The reader fails.
pub fn open_archive(reader: Box<dyn Read + Send>) -> io::Result<Option<ArchiveReader>> {
    let (start, reader) = peek(reader)?;
    let inner: Box<dyn Read + Send> = match format_of(&start) {
        Format::Gzip => Box::new(flate2::read::MultiGzDecoder::new(reader)),
        Format::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(reader)),
        Format::Xz => {
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)
                .map_err(io::Error::other)?;
            Box::new(liblzma::read::XzDecoder::new_stream(reader, stream))
        }
        Format::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(reader)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        Format::Other if is_tar(&start) => return Ok(Some(ArchiveReader { inner: Box::new(reader) })),
        Format::Other => return Ok(None),
    };
    // A compressed file that is no tar is copied as it is; one that is damaged shows only now.
    match peek(inner) {
        Ok((start, inner)) if is_tar(&start) => Ok(Some(ArchiveReader { inner: Box::new(inner) })),
        Ok(_) => Ok(None),
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::InvalidData
                    | io::ErrorKind::InvalidInput
                    | io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::Other
            ) =>
        {
            Ok(None)
        }
        Err(e) => Err(e),
    }
}

/// A first header with a right checksum, or nothing but an end marker.
fn is_tar(start: &[u8]) -> bool {
    let Ok(header) = <&[u8; PEEK]>::try_from(start) else { return false };
    header.iter().all(|b| *b == 0) || tar_core::Header::from_bytes(header).verify_checksum().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use std::io::Write;

    fn tar() -> Vec<u8> {
        let mut tar = Vec::new();
        let data: Vec<u8> = (0..3_000_000u32).flat_map(|n| (n / 7 % 251).to_le_bytes()).collect();
        let fields = crate::layer::header::HeaderFields::plain_file(b"data", data.len() as u64);
        crate::layer::header::write_header(&mut tar, &fields);
        tar.extend_from_slice(&data);
        tar.resize(tar.len().next_multiple_of(512) + 1024, 0);
        tar
    }

    fn gzip(data: &[u8], level: u32) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::new(level));
        encoder.write_all(data).expect("memory");
        encoder.finish().expect("memory")
    }

    #[test]
    fn archives_of_all_kinds() {
        let tar = tar();
        let mut bz = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bz.write_all(&tar).expect("memory");
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(&tar).expect("memory");
        let cases = [
            tar.clone(),
            gzip(&tar, 6),
            bz.finish().expect("memory"),
            xz.finish().expect("memory"),
            zstd::encode_all(tar.as_slice(), 1).expect("memory"),
        ];
        for bytes in cases {
            let mut reader = open_archive(Box::new(Cursor::new(bytes))).expect("reads").expect("is a tar");
            let mut back = Vec::new();
            reader.read_to_end(&mut back).expect("reads");
            assert!(back == tar);
        }
    }

    #[test]
    fn other_files_are_no_archives() {
        let text = b"hello".repeat(1000);
        for bytes in [text.clone(), gzip(&text, 6), Vec::new(), vec![0x1f, 0x8b, 8, 0, 1, 2], b"BZh9garbage".to_vec()] {
            assert!(open_archive(Box::new(Cursor::new(bytes))).expect("reads").is_none());
        }
    }

    /// Takes over the blocks of a gzip stream as an archive does, and inflates the result.
    #[track_caller]
    fn check_splice(plain: &[u8], zipped: &[u8]) {
        let mut reader = GzipReader::new(zipped);
        let mut back = Vec::new();
        reader.read_to_end(&mut back).expect("valid");
        assert!(back == plain);
        let (facts, _) = reader.finish().expect("at the end");
        let splice = facts.splice.expect("one member");
        assert_eq!(splice.tail, facts.tail.len() as u64);
        let mut joined = Vec::new();
        let mut splicer = crate::archive::Splicer::new(splice);
        splicer.pass(zipped, &mut joined);
        splicer.finish(&mut joined);
        joined.extend_from_slice(&facts.tail);
        joined.extend_from_slice(&[3, 0]);
        let mut back = Vec::new();
        flate2::read::DeflateDecoder::new(joined.as_slice()).read_to_end(&mut back).expect("valid deflate");
        assert!(back == plain);
    }

    #[test]
    fn blocks_of_others_are_taken_over() {
        let tar = tar();
        for level in 0..=9 {
            check_splice(&tar, &gzip(&tar, level));
            for length in [0, 1, 100, 70_000] {
                check_splice(&tar[..length], &gzip(&tar[..length], level));
            }
        }
        let zeros = vec![0; 40_000_000];
        check_splice(&zeros, &gzip(&zeros, 6));
    }

    /// Gives a few bytes at a time, as a slow connection does.
    struct Drops<'a>(&'a [u8], usize);

    impl Read for Drops<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 += 1;
            let take = (self.1 % 5 + 1).min(buffer.len()).min(self.0.len());
            buffer[..take].copy_from_slice(&self.0[..take]);
            self.0 = &self.0[take..];
            Ok(take)
        }
    }

    #[test]
    fn small_reads_give_the_same_facts() {
        let tar = tar();
        for level in [1, 4, 9] {
            let zipped = gzip(&tar[..400_000], level);
            let facts = |reader: &mut dyn Read| {
                let mut reader = GzipReader::new(reader);
                io::copy(&mut reader, &mut io::sink()).expect("valid");
                reader.finish().expect("at the end").0.splice
            };
            assert_eq!(facts(&mut Drops(&zipped, level as usize)), facts(&mut zipped.as_slice()), "level {level}");
        }
    }

    #[test]
    fn damage_is_found() {
        let good = gzip(&tar(), 6);
        let cases: [(&str, Vec<u8>); 4] = [
            ("cut", good[..good.len() - 9].to_vec()),
            ("crc", [&good[..good.len() - 8], &[0; 8]].concat()),
            ("garbage", [&good[..], b"x"].concat()),
            ("flip", good.iter().enumerate().map(|(n, b)| if n == 1000 { !b } else { *b }).collect()),
        ];
        for (what, bytes) in cases {
            assert!(io::copy(&mut GzipReader::new(bytes.as_slice()), &mut io::sink()).is_err(), "{what}");
        }
        let two = [good.clone(), good.clone(), vec![0; 100]].concat();
        let mut reader = GzipReader::new(two.as_slice());
        io::copy(&mut reader, &mut io::sink()).expect("two members are valid");
        assert!(reader.finish().expect("at the end").0.splice.is_none());
    }
}
