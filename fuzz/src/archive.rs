//! Compressed layers and archives: what our readers accept, the libraries' own readers see in the same way.

use crate::layer::limits;
use osbs_image::{list_layer, list_tar, open_archive};
use std::io::{Cursor, Read};

/// Most bytes that are unpacked of one input.
const MOST: u64 = 32 << 20;

/// A compressed (gzip, zstd, bzip2, xz) or plain archive.
pub fn archive(data: &[u8]) {
    let as_layer = list_layer(&mut &*data, &limits());
    if data.starts_with(&[0x1f, 0x8b])
        && let Ok(ours) = &as_layer
    {
        let mut plain = Vec::new();
        let mut other = flate2::read::MultiGzDecoder::new(data);
        other.by_ref().take(MOST).read_to_end(&mut plain).expect("ours could inflate it");
        assert_eq!(list_tar(&mut plain.as_slice(), &limits()).ok().as_ref(), Some(ours));
    }
    // What ADD would unpack: it ends, and a tar that a layer may hold is one for ADD too.
    let Ok(Some(reader)) = open_archive(Box::new(Cursor::new(data.to_vec()))) else { return };
    let as_archive = list_tar(&mut reader.take(MOST), &limits());
    if let (Ok(layer), Ok(archive)) = (as_layer, as_archive) {
        assert_eq!(layer, archive);
    }
}
