//! The checksums that Koji knows, over bytes that come piece by piece.

use std::io::{self, Read};

/// A kind of checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checksum {
    Md5,
    Sha256,
    Adler32,
}

/// One in the making.
pub(crate) enum Sum {
    Md5(md5::Md5),
    Sha256(sha2::Sha256),
    Adler32(adler2::Adler32),
}

impl std::fmt::Debug for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sum")
    }
}

/// Bytes in hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// Bytes that are read at a time.
const PIECE: usize = 256 * 1024;

impl Checksum {
    /// By its name in Koji. `sha1` is refused there too.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "md5" => Some(Self::Md5),
            "sha256" => Some(Self::Sha256),
            "adler32" => Some(Self::Adler32),
            _ => None,
        }
    }

    /// Its name.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha256 => "sha256",
            Self::Adler32 => "adler32",
        }
    }

    /// Its number in an archive's `checksum_type`: Adler-32 is none for archives.
    pub(crate) fn archive_number(self) -> Option<i64> {
        match self {
            Self::Md5 => Some(0),
            Self::Sha256 => Some(2),
            Self::Adler32 => None,
        }
    }

    /// Begins one.
    pub(crate) fn begin(self) -> Sum {
        match self {
            Self::Md5 => Sum::Md5(md5::Md5::default()),
            Self::Sha256 => Sum::Sha256(sha2::Sha256::default()),
            Self::Adler32 => Sum::Adler32(adler2::Adler32::new()),
        }
    }

    /// Of bytes at hand, in hex.
    pub(crate) fn of(self, bytes: &[u8]) -> String {
        let mut sum = self.begin();
        sum.update(bytes);
        sum.hex()
    }

    /// Of what is left to read, in hex.
    ///
    /// # Errors
    /// Reading failed.
    pub(crate) fn of_file(self, file: &mut impl Read) -> io::Result<String> {
        let mut sum = self.begin();
        let mut piece = vec![0; PIECE];
        loop {
            match file.read(&mut piece)? {
                0 => return Ok(sum.hex()),
                length => sum.update(&piece[..length]),
            }
        }
    }
}

impl Sum {
    /// Takes the next bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        use md5::Digest as _;
        match self {
            Self::Md5(sum) => sum.update(bytes),
            Self::Sha256(sum) => sum.update(bytes),
            Self::Adler32(sum) => sum.write_slice(bytes),
        }
    }

    /// In hex.
    pub(crate) fn hex(self) -> String {
        use md5::Digest as _;
        match self {
            Self::Md5(sum) => hex(&sum.finalize()),
            Self::Sha256(sum) => hex(&sum.finalize()),
            Self::Adler32(sum) => format!("{:08x}", sum.checksum()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_recordings() {
        for (name, bytes, hex) in [
            ("md5", &b""[..], "d41d8cd98f00b204e9800998ecf8427e"),
            ("adler32", b"", "00000001"),
            ("adler32", b"Wikipedia", "11e60398"),
            ("sha256", b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ] {
            let checksum = Checksum::named(name).unwrap();
            assert_eq!(checksum.of(bytes), hex);
            assert_eq!(checksum.of_file(&mut &*bytes).unwrap(), hex);
        }
        assert_eq!(Checksum::named("sha1"), None);
    }
}
