//! Headers that lie: about sizes, holes and names. What another reader would see in another way is refused.

use crate::archive::Expect::{Holds, Refused};
use crate::archive::{check_bytes, end, entry, header, pax, sum};
use crate::support::ready;

#[track_caller]
fn refused(what: &str, parts: &[&[u8]]) {
    check_bytes(what, &parts.concat(), &Refused, &Refused);
}

/// CVE-2025-62518: the PAX header says how much content there is, the ustar header another number, and an archive in the
/// content comes to light for whoever believes the wrong one.
#[test]
fn tarmageddon() {
    if !ready(&[]) {
        return;
    }
    let inner = [entry(b'0', b"hidden", b"", b"evil"), end()].concat();
    let size = inner.len().to_string();
    // Content of the size that PAX tells, ustar says 0: only the outer entries are there.
    let nested =
        [pax(&[("size", size.as_bytes())]), header(b'0', b"x", b"", 0).to_vec(), inner.clone(), end()].concat();
    let text = String::from_utf8(inner.clone()).expect("ASCII");
    let only_outer = [("x", &*Box::leak(text.into_boxed_str()))];
    let holds = Holds(Box::leak(Box::new(only_outer)));
    check_bytes("PAX says more than ustar", &nested, &holds, &holds);
    // The same for a long name in between: the size belongs to the file, not to the name.
    let long = [
        pax(&[("size", size.as_bytes())]),
        entry(b'L', b"././@LongLink", b"", b"x\0"),
        header(b'0', b"short", b"", 0).to_vec(),
        inner.clone(),
        end(),
    ];
    check_bytes("with a long name in between", &long.concat(), &holds, &holds);
    for kind in [b'5', b'2', b'6', b'3', b'4'] {
        refused("a size where there is no content", &[&header(kind, b"x", b"y", inner.len() as u64), &inner, &end()]);
        let records = pax(&[("size", size.as_bytes())]);
        refused("a PAX size there", &[&records, &header(kind, b"x", b"y", 0), &inner, &end()]);
    }
    let mut huge = header(b'0', b"x", b"", 0);
    huge[124..136].copy_from_slice(b"\x80\x01\0\0\0\0\0\0\0\0\x04\0");
    sum(&mut huge);
    refused("a size of more than 64 bits", &[&huge, &inner, &end()]);
    for field in [
        b"+0000000004\0",
        b"\x0000000000004",
        b"-0000000004\0",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"0x000000004\0",
    ] {
        let mut block = header(b'0', b"x", b"", 0);
        block[124..136].copy_from_slice(field);
        sum(&mut block);
        refused("a size some cannot read", &[&block, &inner, &end()]);
    }
    refused(
        "an entry behind one empty block",
        &[&entry(b'0', b"a", b"", b"1"), &[0; 512], &entry(b'0', b"x", b"", b"2"), &end()],
    );
    refused("cut in the middle", &[&header(b'0', b"x", b"", 5000), &inner]);
}

#[test]
fn malformed_pax() {
    if !ready(&[]) {
        return;
    }
    let file = entry(b'0', b"x", b"", b"1");
    let bodies: &[&[u8]] = &[
        b"garbage",
        b"8 path=y\n",
        b"99 path=y\n",
        b"xx path=y\n",
        b"-9 path=y\n",
        b"9999999999999999999999 path=y\n",
        b"11 path=y\n",
        b"8 path=y\n\n",
        b"4 =\n",
        b"8 path=\n",
        b"12 linkpath=\n",
        b"9 size=x\n",
        b"10 size=-1\n",
        b"10 size=+1\n",
        b"26 size=18446744073709551616\n",
        b"9 uid=-1\n",
        b"18 uid=4294967295\n",
        b"11 mtime=x\n",
        b"15 mtime=1.2.3\n",
        b"10 path=a\0\n",
        b"8 path\n\n\n",
    ];
    for body in bodies {
        refused(&body.escape_ascii().to_string(), &[&entry(b'x', b"p", b"", body), &file, &end()]);
    }
    let name = pax(&[("path", b"y")]);
    refused("two PAX headers", &[&name, &name, &file, &end()]);
    refused("a name by PAX and by GNU", &[&name, &entry(b'L', b"l", b"", b"z\0"), &file, &end()]);
    refused("only a PAX header", &[&name, &end()]);
    refused("an empty block in front of the entry", &[&name, &[0; 512], &file, &end()]);
    for key in ["path", "size", "linkpath", "GNU.sparse.map", "SCHILY.xattr.user.x"] {
        let mut global = pax(&[(key, b"1")]);
        let block: &mut [u8; 512] = global.first_chunk_mut().expect("a header");
        block[156] = b'g';
        sum(block);
        refused(&format!("a global {key}"), &[&global, &file, &end()]);
    }
    let mut v7 = name.clone();
    let block: &mut [u8; 512] = v7.first_chunk_mut().expect("a header");
    block[257..265].fill(0);
    sum(block);
    refused("PAX in an archive of 1979", &[&v7, &file, &end()]);
}

#[test]
fn sparse_maps_that_lie() {
    if !ready(&[]) {
        return;
    }
    let maps: &[(&[u8], &[u8])] = &[
        (b"0,1,5,1", b"4"),
        (b"5,1,0,1", b"10"),
        (b"0,2,1,2", b"10"),
        (b"18446744073709551615,4", b"10"),
        (b"0,18446744073709551615,1,5", b"10"),
        (b"0,1", b"10"),
        (b"0", b"10"),
        (b"0,4", b"9223372036854775808"),
        (b"0,4", b"9223372036854775807"),
    ];
    for (map, size) in maps {
        let records = pax(&[("GNU.sparse.size", *size), ("GNU.sparse.map", *map)]);
        refused(&map.escape_ascii().to_string(), &[&records, &entry(b'0', b"x", b"", b"1234"), &end()]);
    }
    let records = |size: &[u8]| {
        pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"x"),
            ("GNU.sparse.realsize", size),
        ])
    };
    for map in [b"1\n0\n9\n".as_slice(), b"9\n0\n1\n", b"x\n", b"-1\n", b"1\n0\n18446744073709551616\n", b""] {
        let mut content = map.to_vec();
        content.resize(512, if map.is_empty() { b'1' } else { 0 });
        content.extend_from_slice(b"data");
        refused(&map.escape_ascii().to_string(), &[&records(b"100"), &entry(b'0', b"s", b"", &content), &end()]);
    }
    let both = pax(&[("GNU.sparse.size", b"4"), ("GNU.sparse.realsize", b"5"), ("GNU.sparse.map", b"0,4")]);
    refused("two sizes", &[&both, &entry(b'0', b"x", b"", b"1234"), &end()]);
    let unknown = pax(&[("GNU.sparse.major", b"2"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.map", b"0,4")]);
    refused("a version of later", &[&unknown, &entry(b'0', b"x", b"", b"1234"), &end()]);
    refused("a folder with holes", &[&records(b"4"), &entry(b'5', b"x", b"", b""), &end()]);
}

#[test]
fn long_names() {
    if !ready(&[]) {
        return;
    }
    let file = entry(b'0', b"x", b"", b"1");
    let long = |length: usize| pax(&[("path", &vec![b'a'; length])]);
    refused("a name of 256 bytes", &[&long(256), &file, &end()]);
    refused("a name of 260 bytes", &[&long(260), &file, &end()]);
    refused("a name of 100,000 bytes", &[&long(100_000), &file, &end()]);
    refused("100,000 folders", &[&pax(&[("path", &b"a/".repeat(100_000))]), &file, &end()]);
    refused("5,000 folders", &[&pax(&[("path", &b"a/".repeat(5000))]), &file, &end()]);
    refused("a link of 5,000 bytes", &[&pax(&[("linkpath", &[b'l'; 5000])]), &entry(b'2', b"x", b"", b""), &end()]);
    refused("a link to nothing", &[&entry(b'2', b"x", b"", b""), &end()]);
    refused("a file named as a folder", &[&entry(b'0', b"x/", b"", b"1"), &end()]);
    refused("no name", &[&entry(b'0', b"", b"", b"1"), &end()]);
    let mut times = pax(&[("mtime", b"99999999999999999999")]);
    times.extend_from_slice(&file);
    refused("a time beyond all", &[&times, &end()]);
}

#[test]
fn attributes_that_no_file_can_have() {
    if !ready(&[]) {
        return;
    }
    let file = entry(b'0', b"x", b"", b"1");
    let values: &[(&str, Vec<u8>)] =
        &[("SCHILY.xattr.security.capability", vec![7; 3]), ("SCHILY.xattr.user.large", vec![b'x'; 70_000])];
    for (key, value) in values {
        refused(key, &[&pax(&[(key, value.as_slice())]), &file, &end()]);
    }
    let long_key = format!("SCHILY.xattr.user.{}", "k".repeat(300));
    refused("a long key", &[&pax(&[(long_key.as_str(), b"x")]), &file, &end()]);
    // Marks of overlayfs are its own affair: an image must not bring them.
    for key in ["trusted.overlay.opaque", "trusted.overlay.redirect", "user.overlay.opaque", "trusted.overlay.metacopy"]
    {
        let bytes = [pax(&[(&format!("SCHILY.xattr.{key}"), b"y")]), file.clone(), end()].concat();
        let dir = tempfile::tempdir().expect("temp folder");
        let store = osbs_image::Store::open(&dir.path().join("store")).expect("store");
        let folder = crate::archive::apply(&store, &bytes).expect("unpacks").remove(0);
        assert_eq!(xattr::get(folder.join("x"), key).expect("read"), None, "{key}");
    }
}
