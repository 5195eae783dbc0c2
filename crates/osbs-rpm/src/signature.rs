//! The key id inside an OpenPGP signature packet (RFC 9580, sections 4.2 and 5.2). Nothing is verified here.

use std::fmt::Write;

/// The issuer's key id, 16 hex digits. `None` when the bytes are no signature or name no issuer.
pub(crate) fn key_id(packet: &[u8]) -> Option<String> {
    let body = body(packet)?;
    let id = match body.first()? {
        3 => body.get(7..15)?,
        4 => issuer(body, 4, 2)?,
        6 => issuer(body, 4, 4)?,
        _ => return None,
    };
    Some(hex(id))
}

/// Two lower-case digits a byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The body of the first packet, if it is a signature (tag 2).
fn body(packet: &[u8]) -> Option<&[u8]> {
    let first = *packet.first()?;
    let (tag, start, length) = if first & 0x40 == 0 {
        let length_size = [1, 2, 4].get(usize::from(first & 3)).copied();
        match length_size {
            Some(size) => (first >> 2 & 0xf, 1 + size, big_endian(packet.get(1..1 + size)?)),
            None => (first >> 2 & 0xf, 1, packet.len() - 1),
        }
    } else {
        let (size, length) = subpacket_length(packet.get(1..)?)?;
        (first & 0x3f, 1 + size, length)
    };
    let body = packet.get(start..)?;
    (tag == 2).then(|| body.get(..length).unwrap_or(body))
}

fn big_endian(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// Size of the length field, and the length.
fn subpacket_length(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes.first()? {
        short @ 0..192 => Some((1, usize::from(short))),
        255 => Some((5, big_endian(bytes.get(1..5)?))),
        long => Some((2, (usize::from(long) - 192) * 256 + usize::from(*bytes.get(1)?) + 192)),
    }
}

/// Looks through hashed, then unhashed subpackets for the issuer's key id (16) or fingerprint (33).
fn issuer(body: &[u8], mut at: usize, count_size: usize) -> Option<&[u8]> {
    let mut fingerprint = None;
    for _area in 0..2 {
        let length = big_endian(body.get(at..at + count_size)?);
        at += count_size;
        let mut area = body.get(at..at.checked_add(length)?)?;
        at += length;
        while !area.is_empty() {
            let (size, length) = subpacket_length(area)?;
            let subpacket = area.get(size..size.checked_add(length)?)?;
            match subpacket.split_first() {
                Some((16, id)) if id.len() == 8 => return Some(id),
                // Version 4 keys: the id is the end of the fingerprint; version 6: its beginning.
                Some((33, [4, print @ ..])) if print.len() == 20 => fingerprint = Some(&print[12..]),
                Some((33, [6, print @ ..])) if print.len() == 32 => fingerprint = Some(&print[..8]),
                _ => {}
            }
            area = &area[size + length..];
        }
    }
    fingerprint
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_3_and_4() {
        let mut v3 = vec![0x88, 15, 3, 5, 0, 0, 0, 0, 0];
        v3.extend([0x07, 0x27, 0x70, 0x7e, 0xa1, 0x5b, 0x79, 0xcc]);
        assert_eq!(key_id(&v3).as_deref(), Some("0727707ea15b79cc"));
        let mut v4 = vec![0xc2, 18, 4, 0, 1, 8, 0, 0, 0, 10, 9, 16];
        v4.extend([1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(key_id(&v4).as_deref(), Some("0102030405060708"));
    }

    #[test]
    fn garbage_names_nobody() {
        for end in 0..20 {
            assert_eq!(key_id(&vec![0xc2; end]), None);
            assert_eq!(key_id(&vec![0x00; end]), None);
        }
        assert_eq!(key_id(&[0xc2, 255, 255, 255, 255, 255, 4]), None);
    }
}
