//! Names, links and types that lead out of the root: refused or contained, and a canary outside is untouched.

use crate::archive::Expect::{Holds, Refused};
use crate::archive::check;
use crate::support::ready;

const EVIL: &[u8] = b"evil";
const F: u8 = b'0';

/// CVE-2020-10696, CVE-2007-4559.
#[test]
fn absolute_and_dot_dot_names() {
    if !ready(&[]) {
        return;
    }
    check("dot dot", &[(F, "../canary/file", "", EVIL)], &Refused, &Refused);
    check("hidden dot dot", &[(F, "a/../../canary/file", "", EVIL)], &Refused, &Refused);
    let inside = Holds(&[("tmp/x", "evil")]);
    check("absolute name", &[(F, "/tmp/x", "", EVIL)], &inside, &inside);
    check("root is a file", &[(F, ".", "", EVIL)], &Refused, &Refused);
}

/// CVE-2026-42574 of apko.
#[test]
fn a_link_then_through_it() {
    if !ready(&[]) {
        return;
    }
    let through = Holds(&[("canary/file", "evil")]);
    for target in ["../canary", "/canary", "./../canary/", "../../../../../canary"] {
        check(target, &[(b'2', "l", target, b""), (F, "l/file", "", EVIL)], &through, &through);
        let folders = [(b'2', "l", target, b"".as_slice()), (b'5', "l", "", b""), (F, "l/file", "", EVIL)];
        check(
            &format!("{target}, then a folder of its name"),
            &folders,
            &Holds(&[("l/file", "evil")]),
            &Holds(&[("l/file", "evil")]),
        );
    }
    let deep = Holds(&[("a", "-> ../../.."), ("canary/file", "evil")]);
    check("many dot dots", &[(b'2', "a", "../../..", b""), (F, "a/canary/file", "", EVIL)], &deep, &deep);
    let replaced = Holds(&[("l", "evil")]);
    let named = [(b'2', "l", "../canary/file", b"".as_slice()), (F, "l", "", EVIL)];
    check("link, then a file of its name", &named, &replaced, &replaced);
    let chain = [(b'2', "a", "b", b"".as_slice()), (b'2', "b", "a", b""), (F, "a/x", "", EVIL)];
    check("chain of links in a loop", &chain, &Refused, &Refused);
    let proc = [(b'2', "l", "/proc/self/root", b"".as_slice()), (F, "l/canary/file", "", EVIL)];
    let inside = Holds(&[("proc/self/root/canary/file", "evil")]);
    check("link into proc", &proc, &inside, &inside);
}

/// BuildKit 0f87fc84e, 22ea4efb4.
#[test]
fn hard_links_out() {
    if !ready(&[]) {
        return;
    }
    check("hard link out", &[(b'1', "h", "../canary/file", b""), (F, "h", "", EVIL)], &Refused, &Refused);
    for target in ["../canary", "/canary"] {
        let through = [(b'2', "l", target, b"".as_slice()), (b'1', "h", "l/file", b"")];
        check("hard link through a link", &through, &Refused, &Refused);
        let then = [(b'2', "l", target, b"".as_slice()), (b'1', "h", "l/file", b""), (F, "h", "", EVIL)];
        check("the same, then a file of its name", &then, &Holds(&[("h", "evil")]), &Refused);
    }
    // A hard link to a symbolic link is one more name of the link, not of what it points to.
    let to_link = [(b'2', "l", "../canary/file", b"".as_slice()), (b'1', "h", "l", b""), (F, "h", "", EVIL)];
    let kept = Holds(&[("l", "-> ../canary/file"), ("h", "evil")]);
    check("hard link to a link, then written", &to_link, &kept, &kept);
    check("hard link to a folder", &[(b'5', "d", "", b""), (b'1', "h", "d", b"")], &Refused, &Refused);
    check("hard link to itself", &[(b'1', "h", "h", b"")], &Refused, &Refused);
    let circle = [(b'1', "g", "h", b"".as_slice()), (b'1', "h", "g", b"")];
    check("hard links in a circle", &circle, &Refused, &Refused);
}

#[test]
fn whiteouts_through_links() {
    if !ready(&[]) {
        return;
    }
    let names = Holds(&[(".wh.x", "evil")]);
    check("whiteout of dot dot", &[(F, ".wh...", "", b"")], &Refused, &Holds(&[]));
    check("whiteout name", &[(F, ".wh.x", "", EVIL)], &Holds(&[]), &names);
    check("inside a whiteout", &[(F, ".wh.x/y", "", EVIL)], &Refused, &Holds(&[(".wh.x/y", "evil")]));
    for target in ["../canary", "/canary"] {
        for marker in ["l/.wh.file", "l/.wh..wh..opq"] {
            let entries = [(b'2', "l", target, b"".as_slice()), (F, marker, "", b"")];
            check("whiteout through a link", &entries, &Holds(&[]), &Holds(&[]));
        }
    }
}

#[test]
fn devices() {
    if !ready(&[]) {
        return;
    }
    check("device 0:0 would be a whiteout", &[(b'3', "x", "", b"")], &Refused, &Refused);
    check("unknown type", &[(b'Z', "x", "", b"")], &Refused, &Refused);
    let over = [(b'6', "x", "", b"".as_slice()), (F, "x", "", EVIL)];
    let replaced = Holds(&[("x", "evil")]);
    check("a fifo, then written", &over, &replaced, &replaced);
    check("a fifo, then below it", &[(b'6', "x", "", b""), (F, "x/y", "", EVIL)], &Refused, &Refused);
    check("a device with content", &[(b'6', "x", "", EVIL)], &Refused, &Refused);
}

#[test]
fn duplicate_entries() {
    if !ready(&[]) {
        return;
    }
    let last = Holds(&[("x", "evil")]);
    check("the same name twice", &[(F, "x", "", b"first"), (F, "x", "", EVIL)], &last, &last);
    check("folder, then file", &[(b'5', "x", "", b""), (F, "x/y", "", b"1"), (F, "x", "", EVIL)], &last, &last);
    check("file, then below it", &[(F, "x", "", b"1"), (F, "x/y", "", EVIL)], &Refused, &Refused);
    let dots = [(F, "./x", "", b"first".as_slice()), (F, "a/../x", "", EVIL)];
    check("spelt in two ways", &dots, &Refused, &Refused);
    check("slashes", &[(F, "x", "", b"first"), (F, ".//x", "", EVIL)], &last, &last);
}
