//! The layout of a store on disk. Documentation only; the code is in [`crate::Store`] and its neighbours.
//!
//! | path | content | may be removed |
//! |---|---|---|
//! | `version` | [`VERSION`] in decimal and a newline | never |
//! | `ownership` | `xattrs trusted` or `xattrs user` (names of overlayfs marks), then the id maps the files were made in, one range a line | never |
//! | `limits.json` | members of [`crate::Limits`] that are not as by default; optional, an administrator's | by the administrator |
//! | `lock` | empty; `flock` shared while a lease lives, exclusive while garbage is collected | never |
//! | `blobs/sha256/HEX` | a blob, named by its SHA-256, complete, mode 0644 | by gc |
//! | `layers/HEX/` | the layer whose *chain id* (image-spec 1.1, config.md) is HEX, unpacked in overlayfs format | by gc |
//! | `notes/HEX.json` | [`crate::LayerNote`] about the blob HEX: sizes, CRC, where its last deflate block begins | any time: made again |
//! | `notes/HEX.tail` | the deflate bytes that replace the last block of the blob HEX in an archive | with its note |
//! | `notes/HEX.deflate` | the whole layer blob HEX deflated again, where its own blocks cannot be taken over | any time: made again |
//! | `notes/HEX.state` | SHA-256 state over the uncompressed archive up to the end of the layer with chain id HEX (parent or new layer) | any time: made again |
//! | `notes/HEX.left-out` | [`crate::LeftOut`] of the unpacked layer with chain id HEX, where it does without something | with that layer |
//! | `notes/HEX.unpacked` | whether `layers/HEX` can be believed: `synced` when it was written through to the disk, or `boot ID` for the run of the machine it was unpacked in | with its layer; the layer is then unpacked again |
//! | `refs/NAME.json` | [`crate::RefRecord`]: a name, what it keeps alive, its owner and time | by its owner |
//! | `locks/HEX` | `flock` exclusive while the layer HEX is being unpacked | while nobody holds `lock` |
//! | `leases/NAME` | one empty file a lease, named by owner, process and number; only for the message "in use by" | by its holder, by gc |
//! | `tmp/NAME` | files and folders being written | by gc |
//! | `partial/HEX` | a blob of which a part was downloaded, and `HEX.state`, the hash state | by gc |
//!
//! # Rules
//!
//! - Nothing becomes visible under its final name before it is complete: written in `tmp/`, then renamed. A reader never
//!   sees half of anything, whatever process or machine dies. With [`crate::StoreOptions::fsync`] this holds for power
//!   cuts too; without, a blob damaged by one is found when it is read ([`crate::BlobReader`] verifies) and removed then,
//!   and a layer unpacked before one is unpacked again, unless gc wrote it through meanwhile.
//! - Overlayfs format: a whiteout is a character device 0:0, an opaque folder has the xattr `trusted.overlay.opaque=y`,
//!   or `user.overlay.opaque=y` in a store of a user namespace. A store of other ids than the process has is refused.
//! - What a reference names is kept: index, manifests, config, layers, the notes and unpacked folders of those layers.
//!   Everything else is garbage as soon as no lease is held. Whoever works with blobs that no reference names yet holds
//!   a lease meanwhile.
//! - File names in `refs/` are the names with all but `[A-Za-z0-9._-]` as `%XX`.
//!
//! # Compatibility
//!
//! | version | since | read by |
//! |---|---|---|
//! | 1 | 0.1.0 | 0.1.0 |
//!
//! A store of another version is refused, not converted: it is a cache, `osbs gc` or removing the folder is enough.

/// The version of the layout this program reads and writes.
pub const VERSION: u32 = 1;
